/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vqt_adapter.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void adapter_init(struct adapter *a)
{
	memset(a, 0, sizeof(*a));
	a->up = true;
	a->key = 1000;
	a->qpn = 1;
}

void adapter_fini(struct adapter *a)
{
	assert(!a->n);
	for (unsigned i = 0; i < a->nlate; i++)
		free(a->landing[i].data);
	a->nlate = 0;
}

unsigned adapter_pieces(struct adapter *a, const struct iovec *iov, unsigned n, struct vqt_seg *out,
			unsigned max)
{
	if (a->max_segs && max > a->max_segs)
		max = a->max_segs;
	if (!a->up || n > max)
		return 0;
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct vqt_seg){a->key, (uint32_t)iov[i].iov_len, (uintptr_t)iov[i].iov_base};
	return n;
}

void adapter_revoke(struct adapter *a)
{
	a->revokes++;
	a->key++;
}

void adapter_fence(struct adapter *a, unsigned path, uint32_t qpn)
{
	assert(path == ADAPTER_PATH);
	a->fences++;
	if (qpn == a->qpn)
		a->qpn++;
}

int adapter_start(struct adapter *a, struct vqt_move *m)
{
	struct adapter_move *am = &a->move[a->n];
	uint64_t sum = 0;

	if (!a->up || a->down_there) {
		a->refused++;
		return -ENOTCONN;
	}
	assert(a->n < ADAPTER_MOVES && m->n && m->n <= VQT_SEGS_MAX);
	a->n++;
	*am = (struct adapter_move){.m = m, .n = m->n, .qpn = a->qpn};
	memcpy(am->seg, m->seg, m->n * sizeof(*m->seg));
	for (unsigned i = 0; i < m->n; i++)
		sum += m->seg[i].len;
	assert(sum == m->len);
	return 0;
}

static void copy(const struct adapter_move *am, bool write, uint8_t *local)
{
	for (unsigned i = 0; i < am->n; i++) {
		uint8_t *at = (uint8_t *)(uintptr_t)am->seg[i].off;

		memcpy(write ? at : local, write ? local : at, am->seg[i].len);
		local += am->seg[i].len;
	}
}

static bool stale(const struct adapter *a, const struct adapter_move *am)
{
	for (unsigned i = 0; i < am->n; i++)
		if (am->seg[i].region != a->key)
			return true;
	return am->qpn != a->qpn;
}

static void keep_late(struct adapter *a, const struct adapter_move *am)
{
	struct adapter_move *l = &a->landing[a->nlate++];

	assert(a->nlate <= ADAPTER_MOVES);
	*l = *am;
	l->data = malloc(am->m->len);
	assert(l->data);
	memcpy(l->data, am->m->local, am->m->len);
}

unsigned adapter_run(struct adapter *a)
{
	unsigned done = 0;

	while (a->n && !a->hold) {
		struct adapter_move am = a->move[0];
		bool bad = a->fail > 0;

		memmove(a->move, a->move + 1, --a->n * sizeof(am));
		a->fail -= bad;
		if (bad && a->late && am.m->write)
			keep_late(a, &am);
		bad |= stale(a, &am);
		if (!bad)
			copy(&am, am.m->write, am.m->local);
		a->moves++;
		a->failed += bad;
		am.m->path = ADAPTER_PATH;
		am.m->qpn = am.qpn;
		vqt_dev_moved(am.m, bad ? -EIO : 0);
		done++;
	}
	return done;
}

unsigned adapter_land(struct adapter *a)
{
	unsigned landed = 0;

	for (unsigned i = 0; i < a->nlate; i++) {
		struct adapter_move *l = &a->landing[i];

		if (!stale(a, l)) {
			copy(l, true, l->data);
			landed++;
		}
		free(l->data);
	}
	a->nlate = 0;
	return landed;
}
