/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session_stats.h"

#include <stdlib.h>

/* Of one message of counters: far below CHAN_MESSAGE_MAX, as names have at most 47 bytes. A device has some
 * sixty. */
#define STATS_DEVICES  32u
#define STATS_COUNTERS (STATS_DEVICES * 96u)
#define STATS_FABRIC   512u /* those of the transport and the links, at most */

/* An answer to one request: a message for so many devices, then the next, so that a host of many needs no
 * more memory for it than one of few. */
struct stats {
	bool (*say)(void *ctx, Outrigger__Session__V1__Message *m);
	void *ctx;
	uint64_t id;
	size_t n, ndev, nfabric;
	Outrigger__Session__V1__DeviceStats devices[STATS_DEVICES];
	Outrigger__Session__V1__DeviceStats *devices_at[STATS_DEVICES];
	Outrigger__Session__V1__Counter counters[STATS_COUNTERS];
	Outrigger__Session__V1__Counter *counters_at[STATS_COUNTERS];
};

static void send_stats(struct stats *st)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Stats reply = OUTRIGGER__SESSION__V1__STATS__INIT;

	reply.id = st->id;
	reply.n_devices = st->ndev;
	reply.devices = st->devices_at;
	reply.n_fabric = st->nfabric;
	reply.fabric = st->counters_at + (st->n - st->nfabric);
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_STATS;
	m.stats = &reply;
	st->say(st->ctx, &m);
	st->n = st->ndev = st->nfabric = 0;
}

/* engine_stats() gives each device's counters in one run, and those of the fabric last. */
static void collect(void *arg, uint32_t dev, const char *name, uint64_t value)
{
	struct stats *st = arg;
	bool fresh = dev != UINT32_MAX && (!st->ndev || st->devices[st->ndev - 1].dev != dev);
	size_t room = STATS_COUNTERS - st->n;
	Outrigger__Session__V1__DeviceStats *d;

	if ((fresh && (st->ndev == STATS_DEVICES || room < STATS_COUNTERS / STATS_DEVICES)) ||
	    (dev == UINT32_MAX && !st->nfabric && room < STATS_FABRIC))
		send_stats(st);
	if (st->n == STATS_COUNTERS)
		return;
	if (fresh) {
		d = st->devices_at[st->ndev] = &st->devices[st->ndev];
		outrigger__session__v1__device_stats__init(d);
		d->dev = dev;
		d->counters = &st->counters_at[st->n];
		st->ndev++;
	}
	outrigger__session__v1__counter__init(&st->counters[st->n]);
	st->counters[st->n].name = (char *)name;
	st->counters[st->n].value = value;
	st->counters_at[st->n] = &st->counters[st->n];
	st->n++;
	if (dev == UINT32_MAX)
		st->nfabric++;
	else
		st->devices[st->ndev - 1].n_counters++;
}

void session_stats_tell(struct engine *e, uint64_t id,
			bool (*say)(void *ctx, Outrigger__Session__V1__Message *m), void *ctx)
{
	struct stats *st = calloc(1, sizeof(*st));

	if (!st)
		return;
	st->say = say;
	st->ctx = ctx;
	st->id = id;
	engine_stats(e, collect, st);
	send_stats(st);
	free(st);
}
