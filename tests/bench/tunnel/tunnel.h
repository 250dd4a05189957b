/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of the virtqueue tunnel in one process, for programs that count what the own code costs: the real
 * transport between them, what the fabric would carry copied from one end to the other, the clock a number.
 * One at a time in a process; a failure ends it.
 */
#ifndef OUTRIGGER_BENCH_TUNNEL_H
#define OUTRIGGER_BENCH_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/aead/aead.h"
#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"

/* A stage is a function of its own, so that a profile has its name. */
#define STAGE	      __attribute__((noinline))
#define TUNNEL_BUDGET 256u   /* of a service, as the agent's engine */
#define TUNNEL_TICK   20000u /* ns of the clock that a stage takes */

/* ns; rt starts with it. */
extern uint64_t tunnel_now;

/* Before anything else: name, for messages. */
void tunnel_init(const char *name);
__attribute__((noreturn)) void tunnel_fail(const char *what);

/* One session, and the device at the appliance's end of it. */
struct tunnel {
	struct rt *rt[2]; /* agent's, appliance's */
	struct vqt_host *host;
	struct vqt_hdev *hdev;
	struct vqt_peer *peer;
	struct vqt_dev *dev;
};

/* What differs. Of dev and bind: wire id, epoch and reliability are filled in here. */
struct tunnel_cfg {
	const struct aead_ops *aead;
	const struct vqt_dev_ops *ops;
	struct vqt_hdev_cfg host;
	struct vqt_dev_cfg dev;
	struct vqt_bind bind;
	struct vqt_mem mem;
	struct frame_pool *frames;
};

void tunnel_open(struct tunnel *t, const struct tunnel_cfg *cfg);

/* All that rt has to send; what was sent, into the other end: true if there was any. Only one side's at a
 * time. */
void tunnel_send(struct rt *from);
bool tunnel_receive(struct rt *to);
/* Until both have nothing more to say: acknowledgements. */
void tunnel_settle(struct tunnel *t);
/* As the agent's engine: until nothing is ready. */
void tunnel_serve(struct tunnel *t);
/* Laps: what each stage took, and the clock goes on. The names' order is that of the stages. */
#define TUNNEL_STAGES 16u
void tunnel_start(void);
void tunnel_lap(unsigned stage);
void tunnel_forget(void); /* the laps so far */
/* A line of JSON: {"what": count, "NAME": ns per one, ...}; n names. */
void tunnel_print(const char *what, uint64_t count, const char *const *names, unsigned n);

#endif
