/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest layer above a front-end, to try vhost-user against a real QEMU without tunnel or appliance:
 *
 *	vhost_echo DIR [disk=NAME:FILE[:DELAY_MS]]... [nic=NAME]... [merge=0]
 *
 * A disk is a virtio-blk whose blocks are FILE, mapped; each request is answered after DELAY_MS, so that a
 *kill finds some in flight. All NICs together are a hub: a frame sent by one is received by the others. One
 *line per event on standard output; SIGTERM ends it and prints the counters.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostagent/frontend/frontend.h"

#define DEVICES	   16
#define QUEUE_SIZE 256
#define BLK_QUEUES 4
#define INFLIGHT   512

#define VIRTIO_BLK_F_SEG_MAX  (1ull << 2)
#define VIRTIO_BLK_F_BLK_SIZE (1ull << 6)
#define VIRTIO_BLK_F_FLUSH    (1ull << 9)
#define VIRTIO_BLK_F_MQ	      (1ull << 12)
#define VIRTIO_F_RINGS	      (1ull << 28 | 1ull << 29 | 1ull << 34)
#define VIRTIO_F_VERSION_1    (1ull << 32)
/* CSUM, GUEST_CSUM, GUEST_TSO4/6, HOST_TSO4/6, MRG_RXBUF */
#define VIRTIO_NET_FEATURES                                                                                  \
	(1ull << 0 | 1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 11 | 1ull << 12 | 1ull << 15)
#define VIRTIO_NET_F_MRG_RXBUF (1ull << 15)

struct request {
	struct request *next;
	struct device *dev;
	unsigned q;
	struct vqt_chain chain;
	struct event *timer;
};

struct device {
	char name[FE_NAME_MAX];
	enum fe_kind kind;
	struct fe *fe;
	struct fe_queue queues[BLK_QUEUES];
	bool started[BLK_QUEUES], stopping[BLK_QUEUES];
	bool merge;
	uint8_t *bytes; /* disk */
	uint64_t size;
	unsigned delay_ms;
	unsigned inflight[BLK_QUEUES];
	uint64_t requests, frames, dropped;
};

static struct device devices[DEVICES];
static unsigned ndevices;
static struct request *idle;
static struct event_base *base;
static uint64_t net_features = VIRTIO_NET_FEATURES;

static void copy_iov(struct iovec *iov, unsigned n, uint64_t off, void *mem, uint64_t len, bool to_iov)
{
	for (unsigned i = 0; i < n && len; i++) {
		uint64_t here;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		here = iov[i].iov_len - off < len ? iov[i].iov_len - off : len;
		if (to_iov)
			memcpy((uint8_t *)iov[i].iov_base + off, mem, here);
		else
			memcpy(mem, (uint8_t *)iov[i].iov_base + off, here);
		mem = (uint8_t *)mem + here;
		len -= here;
		off = 0;
	}
}

/* --- disk --- */

struct blk_hdr {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

static uint32_t do_block(struct device *d, struct vqt_chain *c)
{
	struct blk_hdr h = {0};
	struct iovec *in = &c->iov[c->nout];
	uint64_t at, len;
	uint8_t status = 0;
	char id[20] = "echo";

	if (c->in_len < 1 || c->out_len < sizeof(h))
		return 0;
	copy_iov(c->iov, c->nout, 0, &h, sizeof(h), false);
	at = h.sector * 512;
	len = h.type == 1 ? c->out_len - sizeof(h) : c->in_len - 1;
	if (h.type <= 1 && (h.sector > d->size / 512 || len > d->size - at))
		status = 1;
	else if (h.type == 0)
		copy_iov(in, c->nin, 0, d->bytes + at, len, true);
	else if (h.type == 1)
		copy_iov(c->iov, c->nout, sizeof(h), d->bytes + at, len, false);
	else if (h.type == 8)
		copy_iov(in, c->nin, 0, id, len < sizeof(id) ? len : sizeof(id), true);
	else if (h.type != 4)
		status = 2;
	copy_iov(in, c->nin, c->in_len - 1, &status, 1, true);
	return c->in_len;
}

static void complete(struct request *r)
{
	struct device *d = r->dev;
	unsigned q = r->q;

	d->queues[q].ops->push(d->queues[q].ring, &r->chain, do_block(d, &r->chain));
	d->requests++;
	r->next = idle;
	idle = r;
	d->inflight[q]--;
	if (d->stopping[q] && !d->inflight[q]) {
		d->stopping[q] = false;
		printf("%s: queue %u drained\n", d->name, q);
		d->queues[q].ops->flush(d->queues[q].ring);
		fe_queue_drained(d->fe, q);
	}
}

static void serve_disk(struct device *d, unsigned q)
{
	struct fe_queue *fq = &d->queues[q];

	while (d->started[q] && idle) {
		struct request *r = idle;
		int got = fq->ops->pop(fq->ring, &r->chain);

		if (got <= 0) {
			if (got < 0)
				d->started[q] = false;
			break;
		}
		idle = r->next;
		r->dev = d;
		r->q = q;
		d->inflight[q]++;
		if (d->delay_ms) {
			struct timeval tv = {0, d->delay_ms * 1000};

			evtimer_add(r->timer, &tv);
		} else {
			complete(r);
		}
	}
	fq->ops->flush(fq->ring);
}

static void on_delay(evutil_socket_t fd, short what, void *arg)
{
	struct request *r = arg;
	struct device *d = r->dev;
	unsigned q = r->q;

	(void)fd;
	(void)what;
	complete(r);
	serve_disk(d, q);
}

/* --- hub --- */

static uint8_t frame[65562];

static void give_frame(struct device *d, uint32_t len)
{
	struct fe_queue *fq = &d->queues[0];
	static struct vqt_chain got[QUEUE_SIZE];
	uint32_t room = 0;
	unsigned n = 0;

	while (d->started[0] && room < len && n < QUEUE_SIZE && (n == 0 || d->merge)) {
		if (fq->ops->pop(fq->ring, &got[n]) <= 0)
			break;
		room += got[n++].in_len;
	}
	if (room < len) {
		if (n)
			fq->ops->unpop(fq->ring, n);
		d->dropped++;
		return;
	}
	memcpy(frame + 10, &(uint16_t){(uint16_t)n}, 2);
	for (unsigned i = 0, off = 0; i < n; i++) {
		uint32_t part = len - off < got[i].in_len ? len - off : got[i].in_len;

		copy_iov(&got[i].iov[got[i].nout], got[i].nin, 0, frame + off, part, true);
		fq->ops->push(fq->ring, &got[i], part);
		off += part;
	}
}

static void serve_nic(struct device *d)
{
	static struct vqt_chain c;
	struct fe_queue *fq = &d->queues[1];

	for (;;) {
		if (!d->started[1] || fq->ops->pop(fq->ring, &c) <= 0)
			break;
		if (c.out_len <= sizeof(frame)) {
			copy_iov(c.iov, c.nout, 0, frame, c.out_len, false);
			for (unsigned i = 0; i < ndevices; i++) {
				if (&devices[i] != d && devices[i].kind == FE_NET)
					give_frame(&devices[i], c.out_len);
			}
			d->frames++;
		}
		fq->ops->push(fq->ring, &c, 0);
	}
	fq->ops->flush(fq->ring);
	for (unsigned i = 0; i < ndevices; i++) {
		if (devices[i].started[0] && devices[i].kind == FE_NET)
			devices[i].queues[0].ops->flush(devices[i].queues[0].ring);
	}
}

static void serve(struct device *d, unsigned q)
{
	if (d->kind == FE_BLK)
		serve_disk(d, q);
	else if (q == 1)
		serve_nic(d);
}

/* --- calls up --- */

static void up_attached(void *arg, const struct fe_queue *queues, unsigned n)
{
	struct device *d = arg;

	memcpy(d->queues, queues, n * sizeof(*queues));
	printf("%s: attached\n", d->name);
}

static void up_features(void *arg, uint64_t acked)
{
	struct device *d = arg;

	d->merge = acked & VIRTIO_NET_F_MRG_RXBUF;
	printf("%s: features 0x%llx\n", d->name, (unsigned long long)acked);
}

static uint64_t counter(const struct device *d, const char *want)
{
	const char *name;
	uint64_t value;

	for (unsigned i = 0; (name = fe_counter(d->fe, i, &value)); i++) {
		if (!strcmp(name, want))
			return value;
	}
	return 0;
}

static void up_start(void *arg, unsigned q)
{
	struct device *d = arg;

	printf("%s: queue %u starts\n", d->name, q);
	d->started[q] = true;
	serve(d, q);
	if (d->kind == FE_BLK)
		printf("%s: taken again: %llu\n", d->name,
		       (unsigned long long)counter(d, "chains_resubmitted"));
}

static void up_stop(void *arg, unsigned q)
{
	struct device *d = arg;

	printf("%s: queue %u stops, %u in flight\n", d->name, q, d->inflight[q]);
	d->started[q] = false;
	if (d->inflight[q])
		d->stopping[q] = true;
	else
		fe_queue_drained(d->fe, q);
}

static void up_kick(void *arg, unsigned q)
{
	serve(arg, q);
}

static void up_broken(void *arg, unsigned q, const char *reason)
{
	printf("%s: queue %u broken: %s\n", ((struct device *)arg)->name, q, reason);
}

static struct request requests[INFLIGHT];

static void up_gone(void *arg)
{
	struct device *d = arg;

	printf("%s: gone\n", d->name);
	for (unsigned i = 0; i < INFLIGHT; i++) {
		struct request *r = &requests[i];

		if (r->dev != d || !evtimer_pending(r->timer, NULL))
			continue;
		evtimer_del(r->timer);
		r->next = idle;
		idle = r;
	}
	memset(d->inflight, 0, sizeof(d->inflight));
	memset(d->started, 0, sizeof(d->started));
	memset(d->stopping, 0, sizeof(d->stopping));
}

static void up_rarp(void *arg, const uint8_t mac[6])
{
	printf("%s: rarp %02x:%02x:%02x:%02x:%02x:%02x\n", ((struct device *)arg)->name, mac[0], mac[1],
	       mac[2], mac[3], mac[4], mac[5]);
}

static const struct fe_up up = {up_attached, up_features, up_start, up_stop,
				up_kick,     up_broken,	  up_gone,  up_rarp};

/* --- set up --- */

static int map_file(struct device *d, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	d->size = (uint64_t)st.st_size;
	d->bytes = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return d->bytes == MAP_FAILED ? -errno : 0;
}

static int add_device(const char *dir, const char *arg)
{
	struct device *d = &devices[ndevices];
	uint8_t config[60] = {0};
	char file[256] = "";
	struct fe_config cfg = {.name = d->name, .dir = dir, .queue_size = QUEUE_SIZE};

	if (ndevices == DEVICES)
		return -ENOSPC;
	if (sscanf(arg, "nic=%63s", d->name) == 1) {
		d->kind = cfg.kind = FE_NET;
		cfg.nqueues = 2;
		cfg.features = net_features | VIRTIO_F_RINGS | VIRTIO_F_VERSION_1;
	} else if (sscanf(arg, "disk=%63[^:]:%255[^:]:%u", d->name, file, &d->delay_ms) >= 2) {
		int err = map_file(d, file);

		if (err)
			return err;
		d->kind = cfg.kind = FE_BLK;
		cfg.nqueues = BLK_QUEUES;
		cfg.features = VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |
			       VIRTIO_BLK_F_MQ | VIRTIO_F_RINGS | VIRTIO_F_VERSION_1;
		memcpy(config, &(uint64_t){d->size / 512}, 8);
		memcpy(config + 12, &(uint32_t){126}, 4);
		memcpy(config + 20, &(uint32_t){512}, 4);
		memcpy(config + 34, &(uint16_t){BLK_QUEUES}, 2);
		cfg.config = config;
		cfg.config_len = sizeof(config);
	} else {
		return -EINVAL;
	}
	ndevices++;
	return fe_create(&fe_vhost_user, &d->fe, base, &cfg, &up, d);
}

static void on_term(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	event_base_loopbreak(arg);
}

static void print_counters(const struct device *d)
{
	const char *name;
	uint64_t value;

	printf("%s: requests %llu frames %llu dropped %llu", d->name, (unsigned long long)d->requests,
	       (unsigned long long)d->frames, (unsigned long long)d->dropped);
	for (unsigned i = 0; (name = fe_counter(d->fe, i, &value)); i++)
		printf(" %s %llu", name, (unsigned long long)value);
	printf("\n");
}

int main(int argc, char **argv)
{
	struct event *term;

	if (argc < 3) {
		fprintf(stderr, "usage: vhost_echo DIR [disk=NAME:FILE[:DELAY_MS]]... [nic=NAME]...\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	base = event_base_new();
	for (unsigned i = 0; i < INFLIGHT; i++) {
		requests[i].next = idle;
		requests[i].timer = evtimer_new(base, on_delay, &requests[i]);
		idle = &requests[i];
	}
	for (int i = 2; i < argc; i++) {
		int err = strcmp(argv[i], "merge=0") ? add_device(argv[1], argv[i]) : 0;

		if (!strcmp(argv[i], "merge=0"))
			net_features &= ~VIRTIO_NET_F_MRG_RXBUF;
		if (err) {
			fprintf(stderr, "vhost_echo: %s: %s\n", argv[i], strerror(-err));
			return 1;
		}
	}
	term = evsignal_new(base, SIGTERM, on_term, base);
	event_add(term, NULL);
	printf("ready\n");
	event_base_dispatch(base);
	for (unsigned i = 0; i < ndevices; i++) {
		print_counters(&devices[i]);
		fe_destroy(devices[i].fe);
	}
	return 0;
}
