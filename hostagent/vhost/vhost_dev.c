/* SPDX-License-Identifier: Apache-2.0 */
/* The device: creation, disconnection, configuration. */
#include "hostagent/vhost/vhost_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool config_valid(const struct vhost_config *c)
{
	if (c->nqueues == 0 || c->nqueues > VHOST_QUEUES_MAX || (c->net && c->nqueues % 2))
		return false;
	if (c->queue_size == 0 || c->queue_size > VHOST_QSIZE_MAX || (c->queue_size & (c->queue_size - 1)))
		return false;
	return !(c->features & VHOST_F_LOG_ALL);
}

struct vhost *vhost_create(const struct vhost_config *cfg, const struct vhost_sys *sys, void *sys_arg,
			   const struct vhost_fx *fx, void *fx_arg)
{
	struct vhost *v;

	if (!config_valid(cfg))
		return NULL;
	v = calloc(1, sizeof(*v) + cfg->nqueues * sizeof(v->rings[0]));
	if (!v)
		return NULL;
	v->cfg = *cfg;
	v->sys = sys;
	v->sys_arg = sys_arg;
	v->fx = fx;
	v->fx_arg = fx_arg;
	v->backend_fd = -1;
	v->log_fd = -1;
	for (uint16_t q = 0; q < cfg->nqueues; q++)
		ring_init(v, q);
	return v;
}

void vhost_disconnect(struct vhost *v)
{
	for (unsigned q = 0; q < v->cfg.nqueues; q++)
		ring_reset(&v->rings[q]);
	v->waiting = 0;
	inflight_drop(v);
	log_drop(v);
	vhost_mem_put(v->mem);
	v->mem = NULL;
	if (v->backend_fd >= 0)
		v->sys->close(v->sys_arg, v->backend_fd);
	v->backend_fd = -1;
	v->acked = v->proto_acked = 0;
	v->have_features = false;
	v->fault = v->fault_told = false;
}

void vhost_destroy(struct vhost *v)
{
	if (!v)
		return;
	vhost_disconnect(v);
	free(v);
}

bool vhost_blocked(const struct vhost *v)
{
	return v->waiting > 0;
}

int vhost_set_config(struct vhost *v, const void *config, size_t len)
{
	/* Never with NEED_REPLY: the front-end may be waiting for us at this moment. */
	static const struct vhost_hdr changed = {VHOST_BACKEND_CONFIG_CHANGE, VHOST_FLAG_VERSION, 0};

	if (len > sizeof(v->config))
		return -EMSGSIZE;
	memset(v->config, 0, sizeof(v->config));
	if (len)
		memcpy(v->config, config, len);
	v->config_len = (uint16_t)len;
	if (v->backend_fd < 0 || !(v->proto_acked & VHOST_PF_CONFIG) ||
	    v->sys->send(v->sys_arg, v->backend_fd, &changed, sizeof(changed)))
		return -ENOTSUP;
	return 0;
}

struct vhost_ring *vhost_ring(struct vhost *v, unsigned q)
{
	return q < v->cfg.nqueues ? &v->rings[q] : NULL;
}

uint32_t vhost_chains(const struct vhost *v, unsigned q)
{
	return v->rings[q].chains;
}

const uint64_t *vhost_counters(const struct vhost *v)
{
	return v->counters;
}

bool vhost_news(struct vhost *v)
{
	bool news = v->news;

	v->news = false;
	return news;
}
