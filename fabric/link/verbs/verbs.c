/* SPDX-License-Identifier: Apache-2.0 */
/* A link's life: what it takes from the device, and gives back. */
#include "fabric/link/verbs/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fabric/link/verbs/verbs_impl.h"

COUNTERS_DEFINE(verbs, VERBS_COUNTERS)

#define INLINE_WANTED 512u

static int vlink_fd(struct link *l)
{
	return verbs_of(l)->epoll;
}

static void vlink_local(struct link *l, struct link_addr *addr, uint32_t *max_payload)
{
	(void)l;
	memset(addr, 0, sizeof(*addr));
	*max_payload = VERBS_BUF_SIZE;
}

/* In the order that the library wants: users before what they use. */
static void vlink_destroy(struct link *l)
{
	struct link_verbs *v = verbs_of(l);
	const struct verbs_api *api = v->dev.api;
	struct verbs_news news;

	vqp_free_all(v);
	vjob_drain(v);
	vmove_tell(v);
	while (link_verbs_news(l, &news))
		;
	if (v->srq)
		api->destroy_srq(v->srq);
	if (v->rcq)
		api->destroy_cq(v->rcq);
	if (v->scq)
		api->destroy_cq(v->scq);
	vmem_free_all(v);
	if (v->rx_mr)
		api->dereg_mr(v->rx_mr);
	if (v->tx_mr)
		api->dereg_mr(v->tx_mr);
	if (v->channel)
		api->destroy_channel(v->channel);
	if (v->pd)
		api->dealloc_pd(v->pd);
	vdev_close(&v->dev);
	if (v->epoll >= 0)
		close(v->epoll);
	if (v->wake >= 0)
		close(v->wake);
	for (uint32_t i = 0; v->posted && i < v->rx_depth; i++)
		if (v->posted[i])
			buf_put(v->posted[i]);
	idmap_fini(&v->by_id);
	idmap_fini(&v->by_gen);
	idmap_fini(&v->by_qpn);
	free(v->posted);
	free(v->free_index);
	free(v->free_slot);
	free(v->tx_memory);
	free(v);
}

static const struct link_ops verbs_ops = {
	.recv = vio_recv,
	.send = vio_send,
	.fd = vlink_fd,
	.deadline = vio_deadline,
	.local = vlink_local,
	.destroy = vlink_destroy,
};

/* ---- creation ---- */

static int take_memory(struct link_verbs *v)
{
	v->posted = calloc(v->rx_depth, sizeof(struct buf *));
	v->free_index = calloc(v->rx_depth, sizeof(uint32_t));
	v->free_slot = calloc(v->tx_slots, sizeof(uint16_t));
	v->tx_memory = aligned_alloc(64, (size_t)v->tx_slots * VERBS_BUF_SIZE + FLUSH_ROOM);
	if (!v->posted || !v->free_index || !v->free_slot || !v->tx_memory)
		return -ENOMEM;
	for (uint32_t i = 0; i < v->rx_depth; i++)
		v->free_index[i] = i;
	for (uint32_t i = v->tx_slots; i-- > 0;)
		v->free_slot[v->nfree_slots++] = (uint16_t)i;
	return 0;
}

static int register_memory(struct link_verbs *v, char *why, size_t why_len)
{
	size_t rx_len, tx_len = (size_t)v->tx_slots * VERBS_BUF_SIZE + FLUSH_ROOM;
	uint8_t *rx = buf_pool_memory(v->pool, &rx_len);

	v->rx_mr = v->dev.api->reg_mr(v->pd, rx, rx_len, (uintptr_t)rx, IBV_ACCESS_LOCAL_WRITE);
	if (v->rx_mr)
		v->tx_mr = v->dev.api->reg_mr(v->pd, v->tx_memory, tx_len, (uintptr_t)v->tx_memory,
					      IBV_ACCESS_LOCAL_WRITE);
	if (v->rx_mr && v->tx_mr)
		return 0;
	vmem_say_locked(why, why_len, rx_len + tx_len);
	return -ENOMEM;
}

static int watch(struct link_verbs *v, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	return epoll_ctl(v->epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static int make_queues(struct link_verbs *v)
{
	const struct verbs_api *api = v->dev.api;
	struct ibv_srq_init_attr a = {.attr = {.max_wr = v->rx_depth, .max_sge = 1}};
	/* Of a broken queue pair everything posted comes back; and one may be dying while the next lives. */
	uint32_t sends = 2 * v->max_peers * VERBS_SQ_DEPTH;

	v->channel = api->create_channel(v->dev.ctx);
	if (!v->channel)
		return -EIO;
	v->rcq = api->create_cq(v->dev.ctx, (int)v->rx_depth, v, v->channel);
	v->scq = api->create_cq(v->dev.ctx, (int)sends, v, v->channel);
	v->srq = v->rcq && v->scq ? api->create_srq(v->pd, &a) : NULL;
	if (!v->srq)
		return -ENOMEM;
	v->epoll = epoll_create1(EPOLL_CLOEXEC);
	v->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (v->epoll < 0 || v->wake < 0)
		return -errno;
	if (watch(v, v->wake))
		return -EIO;
	return watch(v, v->channel->fd) ? -EIO : watch(v, v->dev.ctx->async_fd);
}

static uint32_t at_most(uint32_t n, int limit)
{
	return limit > 0 && n > (uint32_t)limit ? (uint32_t)limit : n;
}

static int build(struct link_verbs *v, const struct link_verbs_cfg *cfg, char *why, size_t why_len)
{
	size_t len;
	int r = vdev_open(&v->dev, cfg->api, &cfg->port, why, why_len);

	v->port_down = r == -ENETDOWN;
	if (r && !v->port_down)
		return r;
	buf_pool_memory(v->pool, &len);
	v->rx_depth = cfg->rx_depth ? cfg->rx_depth : buf_pool_available(v->pool) / 2;
	v->rx_depth = at_most(at_most(v->rx_depth, v->dev.attr.max_srq_wr), v->dev.attr.max_cqe);
	v->max_peers = cfg->max_peers ? cfg->max_peers : 1;
	v->max_peers = at_most(v->max_peers, v->dev.attr.max_cqe / (int)(2 * VERBS_SQ_DEPTH));
	v->tx_slots = cfg->tx_slots ? cfg->tx_slots : VERBS_SQ_DEPTH;
	if (!v->rx_depth || !v->max_peers || v->tx_slots >= NO_SLOT ||
	    len < (size_t)v->rx_depth * VERBS_BUF_SIZE) {
		snprintf(why, why_len, "RDMA device %s: queues or buffers are too small", cfg->port.device);
		return -EINVAL;
	}
	r = take_memory(v);
	v->pd = r ? NULL : v->dev.api->alloc_pd(v->dev.ctx);
	if (!v->pd) {
		snprintf(why, why_len, "RDMA device %s: out of memory", cfg->port.device);
		return -ENOMEM;
	}
	r = register_memory(v, why, why_len);
	if (r)
		return r;
	r = make_queues(v);
	if (r)
		snprintf(why, why_len, "RDMA device %s: no queues: %s", cfg->port.device, strerror(-r));
	return r;
}

struct link *link_verbs_create(const struct link_verbs_cfg *cfg, int *err, char *why, size_t why_len)
{
	struct link_verbs *v = calloc(1, sizeof(*v));

	if (!v) {
		snprintf(why, why_len, "out of memory");
		*err = -ENOMEM;
		return NULL;
	}
	v->base.ops = &verbs_ops;
	v->base.name = "verbs";
	v->pool = cfg->pool;
	v->spins = cfg->spins;
	v->serves = cfg->serves;
	v->max_inline = INLINE_WANTED;
	v->epoll = v->wake = -1;
	list_init(&v->peers);
	list_init(&v->dying);
	list_init(&v->busy);
	list_init(&v->news);
	list_init(&v->moved);
	/* Ids are random or our own, never chosen by a peer. */
	idmap_init(&v->by_id, 0);
	idmap_init(&v->by_gen, 0);
	idmap_init(&v->by_qpn, 0);
	*err = build(v, cfg, why, why_len);
	if (*err) {
		vlink_destroy(&v->base);
		return NULL;
	}
	*err = v->port_down ? -ENETDOWN : 0;
	vio_refill(v);
	return &v->base;
}

const uint64_t *link_verbs_counters(const struct link *l)
{
	return verbs_of(l)->counters;
}
