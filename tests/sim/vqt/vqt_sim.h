/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-vqt: one guest with a NIC and a disk, both ends of the tunnel, two transports and a bad cable.
 *
 *	guest.c	  what the guest does, and what must be true of what it sees
 *	world.c	  sessions, the backend, the cable; kills
 *	carrier.c the bring-up carrier: the same packets through an ordered stream that loses none
 *	adapter.c those that move frames by key, in worlds that have them
 *	oracle.c  one script over datagrams and over the carrier: the guest must see the same
 *	main.c	  one seed after the other
 */
#ifndef OUTRIGGER_SIM_VQT_H
#define OUTRIGGER_SIM_VQT_H

#include "fabric/base/list.h"
#include "fabric/link/link_pipe.h"
#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"
#include "tests/lib/fake_ring.h"
#include "tests/sim/sim.h"

#define USEC	 1000ull
#define MSEC	 1000000ull
#define LBAS	 48u
#define BLKQ	 2u
#define DEPTH	 16u
#define OPS	 256u /* at the backend */
#define NET_WIRE 3
#define BLK_WIRE 5

/* One block of the disk as its guest knows it. */
struct lba {
	bool busy;
	uint64_t stamp; /* of the last completed write */
	uint32_t done;	/* requests */
};

/* What a guest asks for, the same in every run of a script, and what it saw of it. */
#define SCRIPT_OPS    10u  /* of each block, one after the other */
#define SCRIPT_FRAMES 300u /* each way */
struct script {
	uint64_t seed;
	uint64_t seen[LBAS][SCRIPT_OPS]; /* stamps: written, or read */
	bool frame[2][SCRIPT_FRAMES];	 /* arrived: at the appliance, at the guest */
};

struct op {
	struct vqt_req *r;
	bool used;
};

struct guest {
	struct lba lba[LBAS];
	uint64_t stamp;	   /* of the newest write */
	uint64_t done[2];  /* reads, writes */
	unsigned busy;	   /* requests in flight */
	uint32_t tx, rx;   /* frames sent; number the next received one has at least */
	uint64_t received; /* frames */
	unsigned posted;   /* receive buffers */
	uint32_t owned; /* of the ring's first so many, those that are not used are the guest's: it stopped */
};

struct world {
	struct sim s;
	struct fake_ring net[2], blk[BLKQ];
	struct guest g;
	struct vqt_host *host;
	struct vqt_hdev *hnet, *hblk;
	struct vqt_peer *peer; /* NULL: no session */
	struct vqt_dev *dnet, *dblk;
	struct rt *rt[2];
	struct sim_link link[2];
	struct frame_pool *frames;
	struct buf_pool *bufs, *wire;
	/* The appliance. */
	uint64_t disk[LBAS];
	struct op ops[OPS];
	unsigned pending; /* ops in use */
	uint32_t epoch, session;
	uint32_t tx, rx; /* frames to the guest sent; number the next one from it has at least */
	uint64_t rx_count;
	uint32_t refused; /* bytes of a frame to the guest that waits; 0: none */
	uint64_t mem;
	enum rt_rel rel;
	uint32_t window, max_inflight;
	uint64_t mem_max, slow_ns;
	bool calm; /* no faults, no new work: things come to their end */
	bool fenced, fencing;
	bool skip_drain;       /* break the rule that old I/O is over before a new owner's begins */
	bool scarce;	       /* the guest posts few receive buffers, and some at a time */
	bool flood;	       /* frames alone, as many as possible */
	struct script *script; /* NULL: all is drawn from the seed */
	bool carried, blocked; /* there is a carrier; datagrams do not come through now */
	bool switching;	       /* they do at times */
	struct stream {
		struct world *w;
		unsigned to;
		struct link *pipe;	      /* of the end that receives; sends into the other stream */
		struct carried *first, *last; /* on their way */
	} stream[2];
	uint64_t carried_packets;
	/* The adapters, in worlds by_key. */
	bool by_key;
	const struct vqt_key_ops *key_ops;
	struct vqt_bulk bulk;
	struct buf_pool *slots;
	struct list moves;
	uint32_t keys, incarnation, qpn; /* times that keys were revoked, agents there were, moves */
	uint64_t adapter_faults;
	bool rx_stopping, rx_stopped; /* the guest's receive queue */
	uint64_t cuts, kills, fences, stops, resent, posted;
};

/* What is not drawn from the seed. */
struct world_cfg {
	bool skip_drain, flood, steady; /* steady: no session ends, no agent dies */
	struct script *script;
	enum { DATAGRAMS, SWITCHING, CARRIER } over;
};

/* world.c */
void world_init(struct world *w, uint64_t seed, const char *replay, const struct world_cfg *cfg);
void world_run(struct world *w, uint64_t ns);
void world_finish(struct world *w); /* everything must come to a good end */
void world_fini(struct world *w);

/* carrier.c */
#define CARRIER_PATH 1u
void carrier_init(struct world *w);
void carrier_fini(struct world *w);
void carrier_send(struct world *w, unsigned end, const uint8_t *data, uint32_t len);
void carrier_poll(struct world *w, unsigned end);

/* adapter.c */
void adapter_init(struct world *w);
void adapter_fini(struct world *w);

/* oracle.c: fails the run where two histories differ. Returns packets that the carrier carried. */
uint64_t oracle_run(struct world *w, uint64_t seed, const char *replay);

/* guest.c */
bool guest_done(const struct world *w); /* with its script */
uint32_t script_frame_len(const struct script *t, unsigned to_guest, uint32_t number);
void guest_work(struct world *w);  /* new requests, frames, buffers */
void guest_look(struct world *w);  /* at what was completed */
void guest_owns(struct world *w);  /* its receive queue has stopped */
void guest_check(struct world *w); /* nobody wrote to what is its own; it gives it away again */
void backend_apply(struct world *w, struct vqt_req *r); /* and answer */
void frame_fill(uint8_t *p, uint32_t len, uint32_t number);
/* The number of a frame; fails if its bytes are not what they were. to_guest: num_buffers was the host's. */
uint32_t frame_number(struct world *w, const uint8_t *p, uint32_t len, bool to_guest);

#endif
