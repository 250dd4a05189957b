/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the worker and its uplinks. What they bring is coalesced before the switch sees it
 * (appliance/port/offload/gro.h), what they are to send is gathered per turn.
 */
#include <errno.h>

#include "appliance/dataplane/worker_impl.h"
#include "appliance/port/offload/gro.h"

static void uplink_out(struct worker *w, struct uplink_tx *u, struct port *p)
{
	if (!u->n)
		return;
	if (p)
		p->ops->send(p, u->tx, (int)u->n);
	else
		counter_add(&w->counters[WORKER_C_drop_uplink_gone], u->n);
	for (uint32_t i = 0; i < u->n; i++)
		frame_put((struct frame *)u->tx[i].frame);
	u->n = 0;
}

static struct port *uplink(const struct worker *w, uint32_t i)
{
	return w->config ? w->config->uplinks[i] : NULL;
}

void uplink_send(struct worker *w, uint32_t port, uint16_t vlan, struct frame *f)
{
	uint32_t i = port - DP_UPLINK_BASE;
	struct uplink_tx *u = &w->uplink_tx[i];

	u->tx[u->n].frame = f;
	u->tx[u->n].vlan = vlan;
	if (++u->n == UPLINK_BURST)
		uplink_out(w, u, uplink(w, i));
	counter_add(&w->counters[WORKER_C_frames_out], 1);
}

static void from_uplink(void *ctx, struct frame *f, uint16_t vlan)
{
	struct uplink_rx *u = ctx;

	worker_forward(u->w, DP_UPLINK_BASE + u->index, vlan, f);
}

void uplinks_release(struct worker *w, bool all)
{
	for (uint32_t i = 0; w->has_uplinks && i < DP_UPLINKS; i++)
		if (w->uplink_rx[i].gro)
			gro_flush(w->uplink_rx[i].gro, all, w->now);
}

int uplinks_open(struct worker *w, uint64_t hold_ns)
{
	struct gro_cfg cfg = {.hold_ns = hold_ns,
			      .out = from_uplink,
			      .merged = &w->counters[WORKER_C_gro_merged],
			      .super = &w->counters[WORKER_C_gro_super]};

	for (uint32_t i = 0; i < DP_UPLINKS; i++) {
		struct uplink_rx *u = &w->uplink_rx[i];

		*u = (struct uplink_rx){.w = w, .index = i};
		cfg.ctx = u;
		u->gro = hold_ns ? gro_create(&cfg) : NULL;
		if (hold_ns && !u->gro)
			return -ENOMEM;
	}
	return 0;
}

void uplinks_close(struct worker *w)
{
	for (uint32_t i = 0; i < DP_UPLINKS; i++)
		gro_destroy(w->uplink_rx[i].gro);
}

int uplinks_in(struct worker *w)
{
	struct port_rx rx[UPLINK_BURST];
	int total = 0;

	for (uint32_t i = 0; w->has_uplinks && i < DP_UPLINKS; i++) {
		struct port *p = uplink(w, i);
		int n = p ? p->ops->recv(p, rx, UPLINK_BURST) : 0;

		for (int k = 0; k < n; k++) {
			if (w->uplink_rx[i].gro)
				gro_take(w->uplink_rx[i].gro, rx[k].frame, rx[k].vlan, w->now);
			else
				from_uplink(&w->uplink_rx[i], rx[k].frame, rx[k].vlan);
		}
		total += n > 0 ? n : 0;
	}
	return total;
}

void uplinks_out(struct worker *w)
{
	for (uint32_t i = 0; w->has_uplinks && i < DP_UPLINKS; i++)
		uplink_out(w, &w->uplink_tx[i], uplink(w, i));
}
