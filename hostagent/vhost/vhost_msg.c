/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch of messages. One table says for each request its payload size, the number of descriptors that may
 * come along, and the protocol feature it needs; handlers see only messages that fit.
 */
#include "hostagent/vhost/vhost_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

COUNTERS_DEFINE(vhost, VHOST_COUNTERS)

static uint64_t proto_offered(const struct vhost *v)
{
	uint64_t f = VHOST_PF_MQ | VHOST_PF_LOG_SHMFD | VHOST_PF_REPLY_ACK | VHOST_PF_BACKEND_REQ;

	return v->cfg.net ? f | VHOST_PF_RARP | VHOST_PF_MTU : f | VHOST_PF_CONFIG | VHOST_PF_INFLIGHT;
}

void vhost_reply(struct vhost *v, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct vhost_hdr h = {request, VHOST_FLAG_VERSION | VHOST_FLAG_REPLY, size};
	uint8_t m[VHOST_MSG_MAX];

	memcpy(m, &h, VHOST_HDR_LEN);
	memcpy(m + VHOST_HDR_LEN, payload, size);
	v->fx->reply(v->fx_arg, m, VHOST_HDR_LEN + size, fd);
}

static void reply_u64(struct vhost *v, const struct vhost_call *c, uint64_t value)
{
	vhost_reply(v, c->hdr.request, &value, sizeof(value), -1);
}

static int get_features(struct vhost *v, struct vhost_call *c)
{
	reply_u64(v, c, vhost_offered(v));
	return 0;
}

static int set_features(struct vhost *v, struct vhost_call *c)
{
	if (c->p.u64 & ~vhost_offered(v))
		return -EINVAL;
	if (v->have_features && c->p.u64 == v->acked)
		return 0;
	/* A migration begins or ends while the guest runs. */
	if (v->have_features && (c->p.u64 ^ v->acked) == VHOST_F_LOG_ALL) {
		v->acked = c->p.u64;
		return 0;
	}
	/* Rings in use keep what they were started with: a change needs them stopped first. */
	if (ring_any_active(v))
		return -EBUSY;
	v->acked = c->p.u64;
	v->have_features = true;
	v->fx->features(v->fx_arg, v->acked & ~(VHOST_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL));
	for (unsigned q = 0; q < v->cfg.nqueues; q++)
		ring_eval(&v->rings[q]);
	return 0;
}

static int get_proto(struct vhost *v, struct vhost_call *c)
{
	reply_u64(v, c, proto_offered(v));
	return 0;
}

static int set_proto(struct vhost *v, struct vhost_call *c)
{
	if (c->p.u64 & ~proto_offered(v))
		return -EINVAL;
	v->proto_acked = c->p.u64;
	return 0;
}

static int set_owner(struct vhost *v, struct vhost_call *c)
{
	(void)v;
	(void)c;
	return 0;
}

static int get_queue_num(struct vhost *v, struct vhost_call *c)
{
	/* A network device counts pairs. */
	reply_u64(v, c, v->cfg.net ? v->cfg.nqueues / 2u : v->cfg.nqueues);
	return 0;
}

static int set_mem_table(struct vhost *v, struct vhost_call *c)
{
	const struct vhost_mem_desc *d = &c->p.mem;
	struct vhost_mem *m, *old = v->mem;
	int err;

	if (d->nregions != c->nfds || c->hdr.size != 8 + 32 * d->nregions)
		return -EINVAL;
	err = vhost_mem_create(&m, d, c->fds, v->sys, v->sys_arg, &v->fault);
	if (err)
		return err;
	v->mem = m;
	vhost_mem_tell(m, v->cfg.memory, v->fx_arg);
	for (unsigned q = 0; q < v->cfg.nqueues; q++) {
		struct vhost_ring *r = &v->rings[q];

		if (r->state == RING_IDLE)
			ring_eval(r);
		else if (ring_remap(r))
			ring_break(r, "ring outside the new memory table");
	}
	vhost_mem_put(old); /* chains in flight hold their own references */
	return 0;
}

/* The answer has no meaning but that it came: from now on the new log is written. QEMU wants no payload
 * and takes any; others wait for the value of an acknowledgement. */
static int set_log_base(struct vhost *v, struct vhost_call *c)
{
	int err = log_set(v, &c->p.log, c->fds[0]);

	if (!err)
		reply_u64(v, c, 0);
	return err;
}

static int set_log_fd(struct vhost *v, struct vhost_call *c)
{
	if (v->sys->event(v->sys_arg, c->fds[0]))
		return -EINVAL;
	if (v->log_fd >= 0)
		v->sys->close(v->sys_arg, v->log_fd);
	v->log_fd = call_take_fd(c);
	return 0;
}

static int send_rarp(struct vhost *v, struct vhost_call *c)
{
	uint8_t mac[6];

	memcpy(mac, &c->p.u64, sizeof(mac));
	v->fx->rarp(v->fx_arg, mac);
	return 0;
}

static int net_set_mtu(struct vhost *v, struct vhost_call *c)
{
	/* virtio 1.2 section 5.1.4: 68 to 65535. */
	if (c->p.u64 < 68 || c->p.u64 > UINT16_MAX)
		return -EINVAL;
	return v->cfg.mtu && c->p.u64 > v->cfg.mtu ? -EINVAL : 0;
}

static int set_backend_fd(struct vhost *v, struct vhost_call *c)
{
	if (v->backend_fd >= 0)
		v->sys->close(v->sys_arg, v->backend_fd);
	v->backend_fd = call_take_fd(c);
	return 0;
}

static bool config_ok(const struct vhost_call *c)
{
	const struct vhost_config_desc *d = &c->p.config;

	return d->size == c->hdr.size - VHOST_CONFIG_HDR && d->offset <= VHOST_CONFIG_MAX &&
	       d->size <= VHOST_CONFIG_MAX - d->offset;
}

static int get_config(struct vhost *v, struct vhost_call *c)
{
	struct vhost_config_desc *d = &c->p.config;

	if (!config_ok(c)) {
		/* No payload is how this reply says error. */
		vhost_reply(v, VHOST_GET_CONFIG, d, 0, -1);
		return 0;
	}
	/* config[] is zero past config_len: a longer reader sees fields of features not offered. */
	memcpy(d->bytes, v->config + d->offset, d->size);
	vhost_reply(v, VHOST_GET_CONFIG, d, c->hdr.size, -1);
	return 0;
}

/* Nothing in the configuration space is the driver's to write: WCE is not offered. */
static int set_config(struct vhost *v, struct vhost_call *c)
{
	(void)v;
	return config_ok(c) ? -EPERM : -EINVAL;
}

static int get_inflight(struct vhost *v, struct vhost_call *c)
{
	struct vhost_inflight_desc d = c->p.inflight;
	int fd = inflight_get(v, &d);

	if (fd < 0) {
		memset(&d, 0, sizeof(d)); /* a size of 0 and no descriptor: refused */
		vhost_reply(v, VHOST_GET_INFLIGHT_FD, &d, c->hdr.size, -1);
		return 0;
	}
	vhost_reply(v, VHOST_GET_INFLIGHT_FD, &d, c->hdr.size, fd);
	v->sys->close(v->sys_arg, fd);
	return 0;
}

static int set_inflight(struct vhost *v, struct vhost_call *c)
{
	return inflight_set(v, &c->p.inflight, c->fds[0]);
}

struct kind {
	int (*run)(struct vhost *v, struct vhost_call *c);
	uint16_t min, max;    /* bytes of payload */
	uint8_t fdmin, fdmax; /* descriptors */
	bool answers;	      /* has a reply of its own */
	bool soft;	      /* a failure is nobody's protocol error: go on without an answer */
	uint64_t proto;	      /* protocol feature that must have been acknowledged */
};

static const struct kind kinds[VHOST_REQUEST_MAX] = {
	[VHOST_GET_FEATURES] = {get_features, 0, 0, 0, 0, true, false, 0},
	[VHOST_SET_FEATURES] = {set_features, 8, 8, 0, 0, false, false, 0},
	[VHOST_SET_OWNER] = {set_owner, 0, 0, 0, 0, false, false, 0},
	[VHOST_RESET_OWNER] = {set_owner, 0, 0, 0, 0, false, false, 0},
	[VHOST_SET_MEM_TABLE] = {set_mem_table, 8, 264, 0, VHOST_REGIONS_MAX, false, false, 0},
	[VHOST_SET_LOG_BASE] = {set_log_base, 16, 16, 1, 1, true, false, VHOST_PF_LOG_SHMFD},
	[VHOST_SET_LOG_FD] = {set_log_fd, 0, 8, 1, 1, false, false, VHOST_PF_LOG_SHMFD},
	[VHOST_SET_VRING_NUM] = {vring_num, 8, 8, 0, 0, false, false, 0},
	[VHOST_SET_VRING_ADDR] = {vring_addr, 40, 40, 0, 0, false, false, 0},
	[VHOST_SET_VRING_BASE] = {vring_base, 8, 8, 0, 0, false, false, 0},
	[VHOST_GET_VRING_BASE] = {vring_get_base, 8, 8, 0, 0, true, false, 0},
	[VHOST_SET_VRING_KICK] = {vring_kick, 8, 8, 0, 1, false, false, 0},
	[VHOST_SET_VRING_CALL] = {vring_call, 8, 8, 0, 1, false, false, 0},
	[VHOST_SET_VRING_ERR] = {vring_err, 8, 8, 0, 1, false, false, 0},
	[VHOST_GET_PROTOCOL_FEATURES] = {get_proto, 0, 0, 0, 0, true, false, 0},
	[VHOST_SET_PROTOCOL_FEATURES] = {set_proto, 8, 8, 0, 0, false, false, 0},
	[VHOST_GET_QUEUE_NUM] = {get_queue_num, 0, 0, 0, 0, true, false, VHOST_PF_MQ},
	[VHOST_SET_VRING_ENABLE] = {vring_enable, 8, 8, 0, 0, false, false, 0},
	[VHOST_SEND_RARP] = {send_rarp, 8, 8, 0, 0, false, false, VHOST_PF_RARP},
	[VHOST_NET_SET_MTU] = {net_set_mtu, 8, 8, 0, 0, false, true, VHOST_PF_MTU},
	[VHOST_SET_BACKEND_REQ_FD] = {set_backend_fd, 0, 0, 1, 1, false, false, VHOST_PF_BACKEND_REQ},
	[VHOST_GET_CONFIG] = {get_config, 12, 268, 0, 0, true, false, VHOST_PF_CONFIG},
	[VHOST_SET_CONFIG] = {set_config, 12, 268, 0, 0, false, true, VHOST_PF_CONFIG},
	[VHOST_GET_INFLIGHT_FD] = {get_inflight, 20, 24, 0, 0, true, false, VHOST_PF_INFLIGHT},
	[VHOST_SET_INFLIGHT_FD] = {set_inflight, 20, 24, 1, 1, false, false, VHOST_PF_INFLIGHT},
};

static int dispatch(struct vhost *v, struct vhost_call *c, bool too_many_fds)
{
	const struct vhost_hdr *h = &c->hdr;
	const struct kind *k = h->request < VHOST_REQUEST_MAX ? &kinds[h->request] : NULL;
	bool need_reply = h->flags & VHOST_FLAG_NEED_REPLY && v->proto_acked & VHOST_PF_REPLY_ACK;
	int err;

	if (!k || !k->run || (k->proto & ~v->proto_acked))
		err = -EOPNOTSUPP;
	else if (h->size < k->min || h->size > k->max || too_many_fds || c->nfds < k->fdmin ||
		 c->nfds > k->fdmax)
		return -EPROTO;
	else
		err = k->run(v, c);
	/* A message with a reply of its own gave it, or cannot give any. */
	if (k && k->answers && k->run)
		return err;
	if (need_reply) {
		/* Read again: SET_PROTOCOL_FEATURES itself may have brought the feature. */
		reply_u64(v, c, err ? 1 : 0);
		if (err)
			vhost_count(v, VHOST_C_messages_refused);
		return 0;
	}
	return k && k->soft ? 0 : err;
}

int vhost_message(struct vhost *v, const void *msg, size_t len, const int *fds, unsigned nfds)
{
	struct vhost_call c = {.nfds = nfds < VHOST_FDS_MAX ? nfds : VHOST_FDS_MAX};
	int err = -EPROTO;

	vhost_count(v, VHOST_C_messages);
	for (unsigned i = 0; i < c.nfds; i++)
		c.fds[i] = fds[i];
	if (len >= VHOST_HDR_LEN && len <= VHOST_MSG_MAX) {
		const struct vhost_hdr *h = &c.hdr;

		memcpy(&c.hdr, msg, VHOST_HDR_LEN);
		memcpy(&c.p, (const uint8_t *)msg + VHOST_HDR_LEN, len - VHOST_HDR_LEN);
		if (h->size == len - VHOST_HDR_LEN &&
		    (h->flags & VHOST_FLAG_VERSION_MASK) == VHOST_FLAG_VERSION &&
		    !(h->flags & VHOST_FLAG_REPLY))
			err = dispatch(v, &c, nfds > VHOST_FDS_MAX);
	}
	for (unsigned i = 0; i < nfds; i++) {
		int fd = i < c.nfds ? c.fds[i] : fds[i];

		if (fd >= 0)
			v->sys->close(v->sys_arg, fd);
	}
	if (err)
		vhost_count(v, VHOST_C_messages_refused);
	return err;
}
