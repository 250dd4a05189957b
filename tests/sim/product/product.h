/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-product: guests, agents, fabric, appliance and disks in one deterministic world.
 *
 * Production code: the transport, both ends of the tunnel, the device models, the attachment core, the
 * block core and its fence, the group of backends and the switch. The world's own: the guests and their
 * rings, the glue that daemons have around the cores, the control channel (messages that arrive
 * late but in order), the cables (tests/sim/sim.h) and the disks.
 *
 *	vm.c, vm_blk.c, vm_net.c	guests: rings, requests, frames
 *	check.c				one register checker per sector
 *	disk.c				a disk with latency, disorder, a volatile cache, errors
 *	agent.c				the host end: front-end and engine glue
 *	app.c, app_dev.c		the appliance: worker and attachment glue
 *	world.c				fabric, faults, start and end
 *
 * What survives what. An agent's death: guests and their rings; chains the agent had taken are taken
 * again in their order, as the inflight region of vhost-user has it. The appliance's death: disks,
 * the epochs in its store, and I/O that is under way at a disk: it ends when it ends, and until
 * then no other process can open the volume. A power cut: what disks hold stably, and the epochs.
 */
#ifndef OUTRIGGER_SIM_PRODUCT_H
#define OUTRIGGER_SIM_PRODUCT_H

#include "appliance/bdev/bdev_impl.h"
#include "appliance/device/reqmem.h"
#include "appliance/device/vdisk.h"
#include "appliance/device/vnic.h"
#include "appliance/hosts/attach.h"
#include "appliance/switch/switch.h"
#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"
#include "tests/sim/sim.h"

#define HOSTS	   4u
#define LANES	   2u /* I/O threads of an agent, in worlds that have them */
#define VMS	   5u
#define PATHS	   2u
#define BLKQ	   2u /* request queues of a disk */
#define PAIRS	   2u
#define NETQ	   (2 * PAIRS)
#define RING	   64u
#define RING_IOV   6u
#define SECTORS	   2560u /* of a volume; 1 MiB requests fit */
#define SECTOR	   512u
#define HISTORY	   48u /* datagrams an attacker remembers */
#define MSEC	   1000000ull
#define FOREVER	   UINT64_MAX
#define PPM	   1000000u
#define DEV_BLK	   0u
#define DEV_NET	   1u
#define WIRE(v, k) ((uint16_t)(1 + 2 * (v) + (k)))

struct world;
struct vm;

/* ---- what is measured ---- */
#define PRODUCT_STATS(X)                                                                                     \
	X(requests)                                                                                          \
	X(reads)                                                                                             \
	X(writes)                                                                                            \
	X(flushes)                                                                                           \
	X(long_writes)                                                                                       \
	X(io_errors)                                                                                         \
	X(given_up)                                                                                          \
	X(resent)                                                                                            \
	X(frames_sent)                                                                                       \
	X(frames_received)                                                                                   \
	X(frames_super)                                                                                      \
	X(frames_spoofed)                                                                                    \
	X(datagrams)                                                                                         \
	X(replayed)                                                                                          \
	X(agent_kills)                                                                                       \
	X(appliance_kills)                                                                                   \
	X(power_cuts)                                                                                        \
	X(late_ios)                                                                                          \
	X(sessions)                                                                                          \
	X(moves)                                                                                             \
	X(lane_moves)                                                                                        \
	X(reattaches)                                                                                        \
	X(guest_kills)                                                                                       \
	X(reboots)                                                                                           \
	X(path_cuts)                                                                                         \
	X(rekeys)                                                                                            \
	X(disks_sick)                                                                                        \
	X(events)                                                                                            \
	X(faults)
#define PRODUCT_STAT_ENUM(name) S_##name,
enum product_stat { PRODUCT_STATS(PRODUCT_STAT_ENUM) S_COUNT };
extern const char *const product_counter_names[S_COUNT];

/* ---- check.c: a register per sector ---- */

struct wr {
	uint64_t tag, value; /* value: what a read gives; 0 for zeroes */
	uint64_t inv, rsp;   /* rsp: FOREVER while pending */
	uint64_t seen;	     /* a read had it by then; FOREVER: none had */
	uint64_t dead;	     /* reads that begin later cannot have it */
	bool ok, stable;
};

struct reg {
	struct wr *w;
	uint32_t n, room;
};

void check_write(struct vm *vm, uint32_t lba, uint64_t tag, uint64_t value);
/* The write has ended; not ok: it may or may not have happened. */
void check_written(struct vm *vm, uint32_t lba, uint64_t tag, bool ok, bool stable);
void check_read(struct vm *vm, uint32_t lba, uint64_t value, uint64_t inv);
/* A flush that began at inv has ended well. */
void check_flushed(struct vm *vm, uint64_t inv);
void check_power_cut(struct vm *vm);

/* ---- disk.c ---- */

struct disk_req {
	struct list node;
	struct disk *d;
	struct bdev_io *io; /* NULL: whoever asked is dead */
	enum bdev_op op;
	bool fua, done_half, failed;
	uint32_t lba, count, half;
	uint64_t id, flush_seq;
	uint64_t value[]; /* of count sectors */
};

#define VOLATILE 6u
struct sector {
	uint64_t durable;
	uint32_t n;
	struct {
		uint64_t value, id, done;
	} v[VOLATILE]; /* in the order they took effect */
};

struct disk {
	struct world *w;
	unsigned index;
	struct sector s[SECTORS];
	struct list reqs; /* at work */
	uint32_t nreqs;
	uint64_t next_id, seq;
	bool cache;
	uint32_t error, slow; /* ppm */
	uint64_t latency;
	uint64_t sick_until; /* before that it fails everything, or is slow at all of it */
	bool fails;
	uint64_t errors; /* given out */
};

void disk_init(struct disk *d, struct world *w, unsigned index);
void disk_fini(struct disk *d);
struct bdev *disk_open(struct disk *d);
/* The process that has it open is gone. */
void disk_orphan(struct disk *d);
void disk_power_cut(struct disk *d);
/* The bytes of a sector, and back: false if they are none that anybody wrote. */
void sector_fill(uint8_t *p, uint32_t lba, uint64_t value);
bool sector_value(const uint8_t *p, uint32_t lba, uint64_t *value);

/* ---- vm.c: rings and lives of guests ---- */

enum slot_state { GS_FREE, GS_AVAIL, GS_TAKEN, GS_PUSHED, GS_USED };

struct greq {
	uint8_t type; /* enum blk_type */
	bool invalid;
	uint32_t lba, count;
	uint64_t tag, inv;
};

struct gslot {
	enum slot_state state;
	uint16_t nout, nin;
	uint32_t out_len, in_len, written;
	uint64_t order;
	struct iovec iov[RING_IOV];
	uint8_t *mem; /* readable bytes, then writable ones */
	struct greq req;
};

struct gring {
	struct vm *vm;
	unsigned vq;
	bool net;
	struct gport *user; /* who may touch it */
	struct gslot slot[RING];
	uint16_t avail[4 * RING];
	uint32_t head, tail;
	uint16_t used[2 * RING];
	uint32_t pushed, published, seen;
	uint64_t order;
	bool irq;
};

/* A ring as one front-end sees it: the door's `ring`. */
struct gport {
	struct gring *ring;
};
extern const struct vqt_ring_ops gring_ops;

struct vm {
	struct world *w;
	unsigned index, host;
	uint32_t life;
	bool running, write_through, super, mergeable, rebooting;
	unsigned net;
	struct gring blk[BLKQ], eth[NETQ];
	struct reg reg[SECTORS];
	uint64_t *unstable; /* lba << 32 | index in reg */
	uint32_t nunstable, room;
	uint32_t base; /* of the sectors most requests fight for */
	uint32_t inflight, depth;
	uint64_t requests, frames;
	uint64_t tx_seq[PAIRS][VMS + 1], rx_seq[VMS][PAIRS][2]; /* [source][pair][unicast, group] */
	uint64_t sent_to[VMS], got_from[VMS];
	uint64_t io_errors;
};

void vm_init(struct vm *vm, struct world *w, unsigned index);
void vm_fini(struct vm *vm);
void vm_start(struct vm *vm);  /* a new life */
void vm_kill(struct vm *vm);   /* its requests are given up */
void vm_reboot(struct vm *vm); /* in order: drains its queues first */
/* For agent.c: the front-end gets the rings, and takes chains again that a former one had. */
void gring_connect(struct gring *r, struct gport *p);
struct gslot *gring_free_slot(struct gring *r);
/* Cut mem into iovecs at random and make the slot available. */
void gring_offer(struct gring *r, struct gslot *s, uint32_t out_len, uint32_t in_len);
void gring_kick(struct gring *r);
void vm_poll(struct vm *vm); /* what is used in its rings */

void vm_blk_submit(struct vm *vm); /* another request, if there is room */
void vm_blk_used(struct vm *vm, struct gring *r, struct gslot *s);
void vm_blk_give_up(struct vm *vm, struct gslot *s);
void vm_net_fill(struct vm *vm); /* receive buffers */
void vm_net_send(struct vm *vm);
void vm_net_used(struct vm *vm, struct gring *r);
void vm_mac(uint8_t mac[6], unsigned index);

/* ---- agent.c ---- */

/* A device of an agent. */
struct adev {
	struct agent *a; /* the lane that holds it, or will: mailed */
	bool mailed;	 /* it is on its way there */
	struct vm *vm;
	unsigned kind, nvq;
	bool fe;	/* there is a socket */
	bool connected; /* the guest is on it */
	bool known;	/* attached in this session */
	bool detaching;
	struct vqt_hdev *hdev;
	struct vqt_bind bind;
	struct gport port[NETQ];
};

/* An agent, or one of its lanes: they live and die together, and have their devices in common. */
struct agent {
	struct world *w;
	unsigned index;
	uint32_t boot;
	bool alive;
	struct vqt_host *host;
	struct rt *rt; /* NULL: no session */
	uint64_t session, ctl_at, wake_at;
	uint32_t rx_spi[PATHS][2]; /* the second: of keys on their way, and from then on */
	struct adev dev[VMS][2];   /* the first lane's are those of all */
	struct {
		uint64_t session;
		uint32_t epoch;		       /* 0: none */
	} awaited[VMS][2];		       /* attached here, held by another lane */
	uint64_t counters[VQT_HDEV_NCOUNTERS]; /* of devices that are gone */
};

void agent_start(struct agent *a);
void agent_stop(struct agent *a); /* dies */
void agent_input(struct agent *a, uint8_t *data, uint32_t len, bool ce);
void agent_wake(struct agent *a, uint64_t when);
void agent_welcome(struct agent *a, uint64_t session, const struct rt_path_cfg *paths);
void agent_session_over(struct agent *a, uint64_t session);
/* Fresh keys of a path; answers with app_rekeyed(). */
void agent_rekey(struct agent *a, uint64_t session, unsigned path, const struct rt_path_cfg *next);
void agent_attach(struct agent *a, uint64_t session, unsigned vm, unsigned kind, uint32_t epoch);
/* keep: another lane will have it. */
void agent_detach(struct agent *a, uint64_t session, unsigned vm, unsigned kind, bool keep);
/* From guests; a: the first lane. */
void agent_connect(struct agent *a, struct vm *vm); /* it may be on any of its sockets that exist */
void agent_gone(struct agent *a, struct vm *vm);
bool agent_drain(struct agent *a, struct vm *vm); /* stop its queues; true: nothing is in flight */
void agent_kick(struct agent *a, struct vm *vm, bool net, unsigned vq);

/* ---- app.c ---- */

struct asess {
	struct list node, marked;
	struct app *app;
	uint64_t id, ctl_at;
	unsigned end; /* which of world.agent */
	bool ending;
	struct rt *rt;
	struct vqt_peer *peer;
	uint32_t rx_spi[PATHS][2];
};

struct appdev {
	struct app *app;
	unsigned vm, kind;
	struct attach a;
	struct bdev *bdev;
	struct vdisk *vdisk;
	struct vnic *vnic;
	uint32_t epoch;
	bool joined, retrying;
	unsigned letters;
};

struct app {
	struct world *w;
	uint32_t boot;
	bool alive, killed;
	struct frame_pool *frames;
	struct buf_pool *bufs, *shape, *waiting, *datagrams;
	struct reqmem mem;
	struct sw *sw;
	struct bdev_group *group;
	struct list sessions, marked;
	struct appdev dev[VMS][2];
	uint64_t wake_at;
	uint32_t net_epoch;
};

void app_start(struct app *app);
void app_stop(struct app *app); /* dies: nothing of what it has leaves it */
void app_input(struct app *app, uint8_t *data, uint32_t len, bool ce);
void app_wake(struct app *app, uint64_t when);
void app_hello(struct app *app, unsigned end); /* an agent wants a session */
void app_session_over(struct app *app, uint64_t session);
void app_rekey(struct asess *s, unsigned path); /* under load; not while the last one is under way */
void app_rekeyed(struct app *app, uint64_t session, unsigned path);
void app_session_down(struct asess *s);
void app_detached(struct app *app, uint64_t session, unsigned vm, unsigned kind);
void app_state(struct app *app, uint64_t session, unsigned vm, unsigned kind, uint64_t features,
	       unsigned pairs);
bool app_settled(const struct app *app);
/* app_dev.c */
void appdev_init(struct app *app, unsigned vm, unsigned kind);
void appdev_fini(struct appdev *d);
void appdev_refresh(struct appdev *d);
void appdev_session_down(struct appdev *d, uint64_t session);
void appdev_reattach(struct appdev *d); /* a new attachment in the same session, the agent not asked */
struct asess *app_session_of(const struct app *app, unsigned end);
struct asess *app_session(const struct app *app, uint64_t id);
void app_mark(void *session);
extern const struct vnic_world app_vnic_world;

/* ---- world.c ---- */

enum level { CALM, LOSSY, FULL };

struct path {
	struct sim_link link[2]; /* to the appliance, to the host */
	struct {
		uint8_t *data;
		uint32_t len;
	} seen[2][HISTORY];
	struct path_end {
		struct world *w;
		unsigned at; /* which of world.agent */
		bool to_app;
	} end[2];
};

struct world {
	struct sim s;
	enum level level;
	bool small;		    /* few guests, bad cables, something fails every other millisecond */
	unsigned hosts, vms, lanes; /* lanes: of each agent */
	unsigned ends;		    /* hosts * lanes */
	bool quiet;		    /* no more work, no more faults */
	uint64_t start;
	uint32_t chunk, window, spi;
	uint32_t psn_start;
	uint64_t txn_start;
	uint64_t lost_ns, session, rto;
	const struct aead_ops *aead;
	unsigned home[VMS]; /* where profiles say the VM is */
	unsigned lane[VMS][2];
	uint64_t epoch[VMS]; /* durable */
	struct agent agent[HOSTS * LANES];
	struct app app;
	struct path path[HOSTS * LANES][PATHS];
	uint64_t stat[S_COUNT];
	/* Large, and made by their own: those of the world's VMs alone. */
	struct disk disk[VMS];
	struct vm vm[VMS];
};

void world_run(struct world *w, uint64_t seed, enum level level, bool small, bool lanes, uint64_t length,
	       const char *replay);
void world_send(struct world *w, unsigned end, unsigned path, bool to_app, const uint8_t *data, uint32_t len);

/* The first lane of a host. */
static inline struct agent *agent_of(struct world *w, unsigned host)
{
	return &w->agent[host * w->lanes];
}
static inline uint64_t below(struct world *w, uint64_t n)
{
	return rng_below(&w->s.rng, n);
}
static inline bool chance(struct world *w, uint32_t ppm)
{
	return rng_chance(&w->s.rng, ppm);
}
static inline void stat_add(struct world *w, enum product_stat s, uint64_t n)
{
	w->stat[s] += n;
}

#endif
