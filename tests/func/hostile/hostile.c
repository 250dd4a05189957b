/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes an appliance hostile to its hosts' memory (LD_PRELOAD): one datagram that it posts to an RDMA
 * connection becomes what /run/hostile says, three words:
 *
 *	write, read, send, send-imm or write-imm
 *	first	the first place that this device was told of, with the key of then
 *	last	the last one
 *	beyond	far behind that, with its key
 *	BYTES
 *
 * The file is gone when it was posted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ORDER	"/run/hostile"
#define LOCAL	(4u << 20)
#define FAR	(1ull << 30)
#define DEVICES 4u

struct place {
	uint64_t addr;
	uint32_t rkey;
};

typedef int post_fn(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);

/* Each device has keys of its own. */
static struct device {
	const struct ibv_context *ctx;
	struct place first, last;
} devices[DEVICES];

static post_fn *post;
static char local[LOCAL];

static struct device *device_of(const struct ibv_qp *qp)
{
	unsigned i;

	for (i = 0; i < DEVICES - 1 && devices[i].ctx && devices[i].ctx != qp->context; i++)
		;
	devices[i].ctx = qp->context;
	return &devices[i];
}

static void look(struct device *d, const struct ibv_send_wr *wr)
{
	for (; wr; wr = wr->next) {
		if (wr->opcode != IBV_WR_RDMA_READ && wr->opcode != IBV_WR_RDMA_WRITE)
			continue;
		d->last = (struct place){wr->wr.rdma.remote_addr, wr->wr.rdma.rkey};
		if (!d->first.rkey)
			d->first = d->last;
	}
}

static int opcode_of(const char *word)
{
	static const struct {
		const char *word;
		int opcode;
	} known[] = {{"write", IBV_WR_RDMA_WRITE},
		     {"read", IBV_WR_RDMA_READ},
		     {"send", IBV_WR_SEND},
		     {"send-imm", IBV_WR_SEND_WITH_IMM},
		     {"write-imm", IBV_WR_RDMA_WRITE_WITH_IMM}};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(word, known[i].word))
			return known[i].opcode;
	return -1;
}

/* Memory that the device may send from and read into, of this connection's domain. */
static uint32_t local_key(struct ibv_pd *pd)
{
	static struct ibv_mr *mr[8];
	unsigned i;

	for (i = 0; i < 8 && mr[i]; i++)
		if (mr[i]->pd == pd)
			return mr[i]->lkey;
	memset(local, 0xee, sizeof(local));
	mr[i % 8] = ibv_reg_mr(pd, local, sizeof(local), IBV_ACCESS_LOCAL_WRITE);
	return mr[i % 8] ? mr[i % 8]->lkey : 0;
}

static void obey(struct device *d, struct ibv_qp *qp, struct ibv_send_wr *wr)
{
	static struct ibv_sge sge;
	const struct place *place;
	char op[16], where[16];
	unsigned len;
	FILE *f = fopen(ORDER, "r");
	int n = f ? fscanf(f, "%15s %15s %u", op, where, &len) : 0;

	if (f)
		fclose(f);
	/* A datagram is lost by it, which is sent again; a move would end in other bytes. */
	if (n != 3 || len > LOCAL || opcode_of(op) < 0 || !d->last.rkey || wr->opcode != IBV_WR_SEND ||
	    !wr->num_sge)
		return;
	unlink(ORDER);
	sge = (struct ibv_sge){(uintptr_t)local, len, local_key(qp->pd)};
	wr->opcode = (enum ibv_wr_opcode)opcode_of(op);
	wr->send_flags = (wr->send_flags & ~(unsigned)IBV_SEND_INLINE) | IBV_SEND_SIGNALED;
	wr->sg_list = &sge;
	wr->num_sge = len ? 1 : 0;
	place = !strcmp(where, "first") ? &d->first : &d->last;
	wr->wr.rdma.remote_addr = place->addr;
	wr->wr.rdma.rkey = place->rkey;
	if (!strcmp(where, "beyond"))
		wr->wr.rdma.remote_addr += FAR;
}

static int hostile_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct device *d = device_of(qp);

	look(d, wr);
	if (!access(ORDER, R_OK))
		obey(d, qp, wr);
	return post(qp, wr, bad);
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *a)
{
	struct ibv_qp *(*create)(struct ibv_pd *, struct ibv_qp_init_attr *) = dlsym(RTLD_NEXT,
										     "ibv_create_qp");
	struct ibv_qp *qp = create(pd, a);

	if (qp && qp->context->ops.post_send != hostile_post) {
		post = qp->context->ops.post_send;
		qp->context->ops.post_send = hostile_post;
	}
	return qp;
}
