/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/verbs/verbs_api.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fabric/base/clock.h"

static int no_wait(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static struct ibv_context *ib_open(const char *name, int *err)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);
	struct ibv_context *c = NULL;

	*err = -ENODEV;
	for (int i = 0; list && i < n; i++) {
		if (strcmp(ibv_get_device_name(list[i]), name))
			continue;
		c = ibv_open_device(list[i]);
		*err = c ? no_wait(c->async_fd) : errno ? -errno : -EIO;
		break;
	}
	if (list)
		ibv_free_device_list(list);
	if (c && *err) {
		ibv_close_device(c);
		return NULL;
	}
	return c;
}

static void ib_list(char *out, size_t size)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);
	size_t used = 0;

	*out = '\0';
	for (int i = 0; list && i < n && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "",
					 ibv_get_device_name(list[i]));
	if (list)
		ibv_free_device_list(list);
}

static bool ib_odp(struct ibv_context *c)
{
	const uint32_t need = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
	struct ibv_device_attr_ex a;

	return !ibv_query_device_ex(c, NULL, &a) && a.odp_caps.general_caps & IBV_ODP_SUPPORT &&
	       (a.odp_caps.per_transport_caps.rc_odp_caps & need) == need;
}

static int ib_query_port(struct ibv_context *c, uint8_t port, struct ibv_port_attr *a)
{
	return ibv_query_port(c, port, a);
}

static int ib_query_gid(struct ibv_context *c, uint8_t port, uint32_t index, struct ibv_gid_entry *e)
{
	return ibv_query_gid_ex(c, port, index, e, 0);
}

static struct ibv_mr *ib_reg_mr(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned access)
{
	return ibv_reg_mr_iova2(pd, addr, len, iova, access);
}

static struct ibv_comp_channel *ib_create_channel(struct ibv_context *c)
{
	struct ibv_comp_channel *ch = ibv_create_comp_channel(c);

	if (ch && no_wait(ch->fd)) {
		ibv_destroy_comp_channel(ch);
		return NULL;
	}
	return ch;
}

static struct ibv_cq *ib_create_cq(struct ibv_context *c, int cqe, void *ctx, struct ibv_comp_channel *ch)
{
	return ibv_create_cq(c, cqe, ctx, ch, 0);
}

static int ib_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
	return ibv_poll_cq(cq, n, wc);
}

static int ib_req_notify(struct ibv_cq *cq, int solicited_only)
{
	return ibv_req_notify_cq(cq, solicited_only);
}

static int ib_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	return ibv_post_srq_recv(srq, wr, bad);
}

static int ib_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	return ibv_post_send(qp, wr, bad);
}

static int ib_spawn(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static int ib_join(pthread_t t)
{
	return pthread_join(t, NULL);
}

const struct verbs_api verbs_api_ib = {
	.open = ib_open,
	.close = ibv_close_device,
	.list = ib_list,
	.query_device = ibv_query_device,
	.odp = ib_odp,
	.query_port = ib_query_port,
	.query_gid = ib_query_gid,
	.alloc_pd = ibv_alloc_pd,
	.dealloc_pd = ibv_dealloc_pd,
	.reg_mr = ib_reg_mr,
	.dereg_mr = ibv_dereg_mr,
	.create_channel = ib_create_channel,
	.destroy_channel = ibv_destroy_comp_channel,
	.create_cq = ib_create_cq,
	.destroy_cq = ibv_destroy_cq,
	.poll_cq = ib_poll_cq,
	.req_notify = ib_req_notify,
	.get_cq_event = ibv_get_cq_event,
	.ack_cq_events = ibv_ack_cq_events,
	.create_srq = ibv_create_srq,
	.destroy_srq = ibv_destroy_srq,
	.post_srq_recv = ib_post_srq_recv,
	.create_qp = ibv_create_qp,
	.modify_qp = ibv_modify_qp,
	.destroy_qp = ibv_destroy_qp,
	.post_send = ib_post_send,
	.get_async_event = ibv_get_async_event,
	.ack_async_event = ibv_ack_async_event,
	.spawn = ib_spawn,
	.join = ib_join,
	.now = clock_now_ns,
};
