/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the room share; nobody else includes this. */
#ifndef OUTRIGGER_HOSTS_HOSTS_IMPL_H
#define OUTRIGGER_HOSTS_HOSTS_IMPL_H

#include <event2/event.h>

#include "appliance/dataplane/worker.h"
#include "appliance/device/vdisk.h"
#include "appliance/device/vnic.h"
#include "appliance/hosts/attach.h"
#include "appliance/hosts/hosts.h"
#include "appliance/port/port.h"
#include "appliance/switch/switch.h"
#include "fabric/aead/spi.h"
#include "fabric/base/list.h"
#include "fabric/chan/chan.h"
#include "proto/session/session.h"

/* Wire ids, and the switch's ids of vNICs: one space, so that a device has one number everywhere. */
#define DEVICES_MAX	(DP_UPLINK_BASE - 1)
#define NAME_SIZE	(RESOURCE_NAME_MAX + 1)
#define FE_CONFIG_BYTES 64u /* the longer of both configuration spaces */

#define LANES	    16u /* of an agent at most */
#define STATS_EVERY 5u	/* ticks: an idle agent is woken so seldom for its counters */

struct session;

/* A counter as an agent reported it last. */
struct remote_counter {
	char name[48];
	uint64_t value;
};

/* A vNIC or vDisk of the desired state, and where it is. */
struct hdev {
	struct list node;
	struct hosts *h;
	enum kind kind; /* KIND_VNIC, KIND_VDISK */
	uint16_t slot;	/* 1..DEVICES_MAX */
	char name[NAME_SIZE];
	char uid[64];
	char shape[256];      /* what a change of means a new device for the guest; compared as text */
	char host[NAME_SIZE]; /* desired place, "": nowhere */
	bool admin_up;
	struct attach a;
	bool removed, freed;
	unsigned letters;   /* on their way to the worker and back */
	bool unbinding;	    /* one of them takes it from its session */
	bool guest_letter;  /* one of them says what the guest negotiated */
	bool guest_changed; /* meanwhile it was negotiated anew */
	struct event *late; /* an agent that does not answer a detach; a bind or open to be tried again */
	unsigned retry_ms;  /* of the last try; 0: none failed */
	char said[256];	    /* the trouble that was logged last: each kind once */

	uint8_t io_thread;	   /* of its host, from 1, where it is to be; 0: any */
	uint8_t lane;		   /* where it is or was last, from 0; LANES: not placed yet */
	unsigned waits;		   /* tick + 1 since its lane has no session; 0: it has */
	unsigned moved;		   /* tick of the last move for balance; 0: none */
	uint64_t work, work_total; /* of its guest: between the last two reports, and ever */
	unsigned work_tick;

	/* As the agent reported. */
	bool connected;
	uint64_t features, running;
	char endpoint[128], broken[128], error[256];
	bool refused; /* the agent could not make it: to be tried again */
	struct remote_counter *remote;
	size_t nremote;

	struct vnic *vnic;
	char network[NAME_SIZE];
	struct vnic_cfg vcfg;
	enum rt_rel rel; /* of its frames */
	bool tap;
	char tap_name[NAME_SIZE];
	const uint64_t *sw_counters; /* of its switch port, while published */

	struct vdisk *vdisk;
	struct bdev *bdev;
	bool joined; /* the worker serves it */
	char pool[NAME_SIZE], volume[NAME_SIZE], serial[32];
	uint64_t size, epoch;
	bool read_only;
	unsigned queues;
};

enum session_state { SESSION_NEW, SESSION_STARTING, SESSION_LIVE, SESSION_ENDING };

struct session {
	struct list node;
	struct hosts *h;
	enum session_state state;
	uint64_t id;
	struct chan *chan; /* NULL: gone */
	char name[NAME_SIZE];
	char address[64];
	char agent_version[64];
	int64_t since;	      /* Unix seconds */
	unsigned lane, lanes; /* of the agent's I/O threads: this one of so many */
	uint8_t boot_id[16];
	struct session_load {
		bool known;
		uint64_t at, cpu_us, runs, empty; /* as reported last */
		unsigned busy;			  /* permille of a processor */
		unsigned hot;			  /* times in a row that a device was to leave */
	} load;
	struct wsession *ws;
	bool letter; /* add or delete is on its way */
	bool asked;  /* the worker is about to say how its path is */
	bool synced;
	unsigned rekeyed;  /* tick of the last */
	unsigned rekeying; /* letters of it on their way */
	unsigned opening;  /* bit per path: one of them, to connect it over RDMA */
	struct rt_path_cfg
		next[RT_PATHS];	  /* as cfg.path: rx issued, the agent's part awaited; rx_spi 0: none */
	bool ended;		  /* on purpose: its channel is not waited for */
	unsigned born;		  /* tick */
	uint32_t messages, bytes; /* since the last tick */
	unsigned lines;		  /* logged on the agent's account since the last tick */
	struct event *closer;	  /* after a refusal */
	struct wsession_cfg cfg;
	unsigned rdma_port[RT_PATHS]; /* as cfg.path: the agent's RDMA port, from 1; 0: not RDMA */
	/* Of each path, as of the last tick. */
	struct session_path {
		bool known; /* peer is */
		struct link_addr peer;
		struct rt_path_info info;
	} path[RT_PATHS];
	struct remote_counter *remote;
	size_t nremote;
};

/* A network's number at the data plane, kept while the process runs. */
struct netid {
	struct list node;
	char name[NAME_SIZE];
	uint32_t id;
	const uint64_t *counters;
};

struct uplink {
	char name[NAME_SIZE];
	char device[256];
	uint32_t mtu;
	struct port *port; /* NULL: could not be opened */
	bool used;	   /* this entry is taken */
	bool wanted;
};

struct hosts {
	struct hosts_cfg cfg;
	struct dp *dp;
	struct control *control;
	struct chan_listener *listener[HOSTS_FABRICS];
	unsigned nlisteners;
	struct event *tick; /* once a second: status from the worker */
	unsigned ticks;
	struct event *dp_ev;
	struct event *settle; /* hosts_wake() */
	struct list devs, sessions, nets;
	unsigned nremoved; /* of devs */
	struct hdev *slots[DEVICES_MAX + 1];
	struct uplink uplinks[DP_UPLINKS];
	uint32_t next_net;
	uint64_t round; /* the last Synced */
	struct spi_issuer issuer;
	uint32_t net_epoch;
	/* The apply under way. */
	void (*apply_done)(void *arg, int err, const char *msg);
	void *apply_arg;
	unsigned apply_tick; /* when it began */
	unsigned publishing; /* letters on their way */
	bool tick_letter;
	const struct dp_config *published; /* what the worker works by; NULL: nothing yet */
	bool started;			   /* the first apply is over */
	char apply_msg[256];
	void (*shutdown_done)(void *arg);
	void *shutdown_arg;
	bool stopping;
};

/* hosts.c */
/* Something may have settled: soon, from the loop, free what is free, answer the apply, go on with a
 * shutdown. */
void hosts_wake(struct hosts *h);
uint32_t hosts_net_id(struct hosts *h, const char *name);

/* devmodel.c */
struct hdev *device_find(struct hosts *h, enum kind kind, const char *name);
/* Bring the devices in line with the model; their binds and detaches follow by themselves. */
int devices_apply(struct hosts *h, const struct model *m, char *why, size_t why_size);
/* Frees it if nothing holds it any more. */
bool device_free_if_done(struct hdev *d);

/* device.c */
void device_remove(struct hdev *d);
void device_grown(struct hdev *d); /* its volume */
/* With what has changed, on the same session: the guest's queues stand still for a moment. */
void device_reattach(struct hdev *d);
void device_leave(struct hdev *d); /* the worker forgets the disk; nothing is bound */
struct event *device_timer(struct hdev *d);
/* Look again where it should be; where each device should be. */
void device_refresh(struct hdev *d);
void devices_refresh(struct hosts *h);
void devices_session_up(struct session *s);
void devices_session_down(struct session *s);
/* On its way, or removed and not let go: its volume is open still. */
bool device_pending(const struct hdev *d);
void device_on_attached(struct session *s, const Outrigger__Session__V1__Attached *m);
void device_on_detached(struct session *s, uint32_t dev);
void device_on_state(struct session *s, const Outrigger__Session__V1__DeviceState *m);

/* device_say.c */
void device_say_attach(struct hdev *d, struct session *s);
void device_say_detach(struct hdev *d, struct session *s);
/* Its configuration space has changed: a guest that is there hears of it. */
void device_say_configure(struct hdev *d);
void devices_check_synced(struct session *s);
/* A new channel of a session: what was said on the old one and may not have arrived. */
void devices_say_again(struct session *s);

/* session.c */
extern const struct chan_ops session_chan_ops;			    /* ctx: struct hosts */
struct session *session_of_host(struct hosts *h, const char *name); /* live, its first lane's; or NULL */
struct session *session_by_id(struct hosts *h, uint64_t id);
int session_say(struct session *s, const Outrigger__Session__V1__Message *m);
void session_end(struct session *s, const char *reason);
/* Text of an agent, as far as it is printable ASCII. */
void session_text(char *out, size_t size, const char *text);
/* Whether one more line on the agent's account may be logged now. */
bool session_may_log(struct session *s);
/* Its last device let go: the worker may forget it. From the settling alone: it may free s. */
void session_del_if_done(struct session *s);
void session_poll_stats(struct session *s);

/* lanes.c */
/* The live sessions of a host in the order of their lanes; how many. */
unsigned lanes_live(struct hosts *h, const char *host, struct session *out[LANES]);
/* The session of its host that the device is to be attached to now; NULL: none, for the moment. */
struct session *lanes_place(struct hdev *d);
void lanes_move(struct hdev *d, unsigned lane);
/* NULL, or what is wrong with it. */
const char *lanes_hello(struct session *s, const Outrigger__Session__V1__Hello *m);
void lanes_held(struct session *s, const Outrigger__Session__V1__Hello *m);
/* Two lanes of one agent process. */
bool lanes_siblings(const struct session *a, const struct session *b);
void lanes_stats(struct session *s, const Outrigger__Session__V1__Stats *m);
void lanes_tick(struct hosts *h);

/* session_rekey.c */
void session_rekey(struct session *s);
/* NULL, or what was wrong: the session ends. */
const char *session_on_rekeyed(struct session *s, const Outrigger__Session__V1__Rekeyed *m);

/* session_rdma.c */
/* NULL, or what was wrong: the session ends. */
const char *session_on_rdma_open(struct session *s, const Outrigger__Session__V1__RdmaOpen *m);

/* session_memory.c */
/* NULL, or what was wrong: the session ends. */
const char *session_on_rdma_memory(struct session *s, const Outrigger__Session__V1__RdmaMemory *m);

/* publish.c */
int publish_ports(struct hosts *h, const struct model *m, char *why, size_t why_size);
int publish(struct hosts *h, const struct model *m);
void publish_close_ports(struct hosts *h);
/* The configuration in force, or one on its way, may name this device: it must not be freed. */
bool publish_names(const struct hosts *h, const struct hdev *d);
/* The worker has stopped. */
void publish_forget(struct hosts *h);

#endif
