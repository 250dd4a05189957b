/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vhost_front.h"

#include <assert.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_STRIDE 0x10000u

void vfront_init(struct vfront *f, const struct vfront_wire *wire)
{
	vfront_init_sized(f, wire, VFRONT_MEM);
}

void vfront_init_sized(struct vfront *f, const struct vfront_wire *wire, uint64_t len)
{
	uint64_t half = len / 2;
	void *p;

	memset(f, 0, sizeof(*f));
	f->wire = *wire;
	f->len = len;
	f->inflight_fd = f->log_fd = -1;
	for (unsigned q = 0; q < VFRONT_QUEUES; q++)
		f->q[q].kick = f->q[q].call = -1;
	f->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert(f->memfd >= 0 && !ftruncate(f->memfd, len));
	f->mem = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(f->mem != MAP_FAILED);
	p = mmap(f->mem, half, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f->memfd, half);
	assert(p == f->mem);
	p = mmap(f->mem + half, half, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f->memfd, 0);
	assert(p == f->mem + half);
	f->brk = VFRONT_QUEUES * RING_STRIDE;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void log_forget(struct vfront *f)
{
	if (f->log)
		munmap(f->log, f->log_len);
	f->log = NULL;
	close_fd(&f->log_fd);
}

void vfront_fini(struct vfront *f)
{
	for (unsigned q = 0; q < VFRONT_QUEUES; q++) {
		close_fd(&f->q[q].kick);
		close_fd(&f->q[q].call);
	}
	close_fd(&f->inflight_fd);
	close_fd(&f->memfd);
	log_forget(f);
	munmap(f->mem, f->len);
}

void *vfront_ptr(struct vfront *f, uint64_t gpa)
{
	assert(gpa < f->len);
	return f->mem + gpa;
}

uint64_t vfront_alloc(struct vfront *f, uint64_t len, uint64_t align)
{
	uint64_t at = (f->brk + align - 1) / align * align;

	assert(at + len <= f->len);
	f->brk = at + len;
	return at;
}

static uint64_t uva(const struct vfront *f, uint64_t gpa)
{
	return VFRONT_UVA + gpa + (gpa >= f->len / 2 ? VFRONT_GAP : 0);
}

uint64_t vfront_uva(uint64_t gpa)
{
	return VFRONT_UVA + gpa + (gpa >= VFRONT_MEM / 2 ? VFRONT_GAP : 0);
}

int vfront_send(struct vfront *f, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
		const int *fds, unsigned nfds)
{
	struct vhost_hdr h = {request, VHOST_FLAG_VERSION | flags, size};
	uint8_t m[VHOST_MSG_MAX];

	assert(size <= VHOST_PAYLOAD_MAX);
	memcpy(m, &h, sizeof(h));
	if (size)
		memcpy(m + sizeof(h), payload, size);
	return f->wire.send(f->wire.arg, m, sizeof(h) + size, fds, nfds);
}

static int get_reply(struct vfront *f, uint32_t request, void *reply, uint32_t room, int *fd)
{
	uint8_t m[VHOST_MSG_MAX];
	struct vhost_hdr h;
	int n = f->wire.recv(f->wire.arg, m, sizeof(m), fd);

	if (n < 0)
		return -1;
	assert((size_t)n >= sizeof(h));
	memcpy(&h, m, sizeof(h));
	assert(h.request == request && h.flags == (VHOST_FLAG_VERSION | VHOST_FLAG_REPLY));
	assert(h.size == (size_t)n - sizeof(h) && h.size <= room);
	memcpy(reply, m + sizeof(h), h.size);
	return (int)h.size;
}

int vfront_ask(struct vfront *f, uint32_t request, const void *payload, uint32_t size, void *reply,
	       uint32_t room, int *fd)
{
	int none = -1;

	if (vfront_send(f, request, 0, payload, size, NULL, 0))
		return -1;
	return get_reply(f, request, reply, room, fd ? fd : &none);
}

uint64_t vfront_ask_u64(struct vfront *f, uint32_t request)
{
	uint64_t v;

	assert(vfront_ask(f, request, NULL, 0, &v, sizeof(v), NULL) == sizeof(v));
	return v;
}

uint64_t vfront_tell(struct vfront *f, uint32_t request, const void *payload, uint32_t size, const int *fds,
		     unsigned nfds)
{
	bool ack = f->proto & VHOST_PF_REPLY_ACK;
	uint64_t v = 0;
	int fd = -1, n;

	n = vfront_send(f, request, ack ? VHOST_FLAG_NEED_REPLY : 0, payload, size, fds, nfds);
	assert(n == 0);
	if (ack) {
		n = get_reply(f, request, &v, sizeof(v), &fd);
		assert(n == sizeof(v));
	}
	return v;
}

void vfront_negotiate(struct vfront *f, uint64_t features, uint64_t proto)
{
	uint64_t have = vfront_ask_u64(f, VHOST_GET_FEATURES);

	f->features = features & have;
	if (features & VHOST_F_PROTOCOL_FEATURES) {
		uint64_t p = proto & vfront_ask_u64(f, VHOST_GET_PROTOCOL_FEATURES);

		assert(vfront_send(f, VHOST_SET_PROTOCOL_FEATURES, 0, &p, sizeof(p), NULL, 0) == 0);
		f->proto = p;
	}
	assert(vfront_send(f, VHOST_SET_OWNER, 0, NULL, 0, NULL, 0) == 0);
	assert(vfront_tell(f, VHOST_SET_FEATURES, &f->features, 8, NULL, 0) == 0);
}

uint64_t vfront_mem_table(struct vfront *f)
{
	uint64_t half = f->len / 2;
	struct vhost_mem_desc d = {.nregions = 2,
				   .regions = {{half, half, uva(f, half), 0}, {0, half, uva(f, 0), half}}};
	int fds[2] = {f->memfd, f->memfd};

	return vfront_tell(f, VHOST_SET_MEM_TABLE, &d, 8 + 2 * 32, fds, 2);
}

static void fd_message(struct vfront *f, uint32_t request, unsigned q, int fd)
{
	uint64_t u = q;

	assert(vfront_tell(f, request, &u, sizeof(u), &fd, 1) == 0);
}

static struct vhost_vring_addr ring_addr(const struct vfront *f, unsigned q)
{
	uint64_t at = (uint64_t)q * RING_STRIDE;

	return (struct vhost_vring_addr){.index = q,
					 .flags = f->logging ? VHOST_VRING_F_LOG : 0,
					 .desc_uva = uva(f, at),
					 .avail_uva = uva(f, at + 0x4000),
					 .used_uva = uva(f, at + 0x8000),
					 .log = at + 0x8000};
}

void vfront_queue_up(struct vfront *f, unsigned q, uint16_t num, bool fresh)
{
	struct vfront_queue *vq = &f->q[q];
	uint64_t at = (uint64_t)q * RING_STRIDE;
	struct vhost_vring_state s = {q, num};
	struct vhost_vring_addr a = ring_addr(f, q);

	vq->num = num;
	vq->pdesc = vfront_ptr(f, at);
	vq->driver = vfront_ptr(f, at + 0x4000);
	vq->device = vfront_ptr(f, at + 0x8000);
	vq->desc = vfront_ptr(f, at);
	vq->avail = vfront_ptr(f, at + 0x4000);
	vq->used = vfront_ptr(f, at + 0x8000);
	if (fresh) {
		memset(vq->desc, 0, RING_STRIDE);
		vq->avail_idx = vq->used_seen = vq->next_free = 0;
		memset(vq->ndesc, 0, sizeof(vq->ndesc));
		vq->base = vfront_packed(f) ? 0x80008000 : 0;
	}
	if (vq->kick < 0) {
		vq->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vq->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	assert(vfront_tell(f, VHOST_SET_VRING_NUM, &s, sizeof(s), NULL, 0) == 0);
	s.num = vfront_packed(f) ? vq->base : vq->used_seen;
	assert(vfront_tell(f, VHOST_SET_VRING_BASE, &s, sizeof(s), NULL, 0) == 0);
	assert(vfront_tell(f, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0) == 0);
	fd_message(f, VHOST_SET_VRING_KICK, q, vq->kick);
	fd_message(f, VHOST_SET_VRING_CALL, q, vq->call);
	if (f->features & VHOST_F_PROTOCOL_FEATURES) {
		s.num = 1;
		assert(vfront_tell(f, VHOST_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0) == 0);
	}
	if (q >= f->nqueues)
		f->nqueues = q + 1;
}

uint32_t vfront_queue_down(struct vfront *f, unsigned q)
{
	struct vhost_vring_state s = {q, 0}, r;

	assert(vfront_ask(f, VHOST_GET_VRING_BASE, &s, sizeof(s), &r, sizeof(r), NULL) == sizeof(r));
	assert(r.index == q);
	f->q[q].base = r.num;
	return r.num;
}

void vfront_inflight_get(struct vfront *f, uint16_t queues, uint16_t qsize)
{
	struct vhost_inflight_desc d = {.num_queues = queues, .queue_size = qsize};

	close_fd(&f->inflight_fd);
	assert(vfront_ask(f, VHOST_GET_INFLIGHT_FD, &d, sizeof(d), &f->inflight, sizeof(d),
			  &f->inflight_fd) == sizeof(d));
	assert(f->inflight_fd >= 0 && f->inflight.mmap_size);
}

void vfront_inflight_set(struct vfront *f)
{
	assert(vfront_tell(f, VHOST_SET_INFLIGHT_FD, &f->inflight, sizeof(f->inflight), &f->inflight_fd, 1) ==
	       0);
}

void vfront_log_set(struct vfront *f, uint64_t len)
{
	struct vhost_log_desc d = {len, 0};
	uint64_t answer;
	int fd = -1;
	void *p;

	log_forget(f);
	f->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert(f->log_fd >= 0 && !ftruncate(f->log_fd, (off_t)len));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, f->log_fd, 0);
	assert(p != MAP_FAILED);
	f->log = p;
	f->log_len = len;
	assert(!vfront_send(f, VHOST_SET_LOG_BASE, 0, &d, sizeof(d), &f->log_fd, 1));
	assert(get_reply(f, VHOST_SET_LOG_BASE, &answer, sizeof(answer), &fd) >= 0);
}

void vfront_log_run(struct vfront *f, bool on)
{
	f->features = on ? f->features | VHOST_F_LOG_ALL : f->features & ~VHOST_F_LOG_ALL;
	f->logging = on;
	assert(vfront_tell(f, VHOST_SET_FEATURES, &f->features, 8, NULL, 0) == 0);
	for (unsigned q = 0; q < f->nqueues; q++) {
		struct vhost_vring_addr a = ring_addr(f, q);

		assert(vfront_tell(f, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0) == 0);
	}
}

bool vfront_log_dirty(const struct vfront *f, uint64_t gpa)
{
	uint64_t page = gpa / VHOST_LOG_PAGE;

	return __atomic_load_n(&f->log[page / 8], __ATOMIC_ACQUIRE) >> page % 8 & 1;
}

static uint16_t next_desc(struct vfront_queue *vq)
{
	return (uint16_t)(vq->next_free++ % vq->num);
}

void vfront_publish(struct vfront *f, unsigned q, uint16_t head)
{
	struct vfront_queue *vq = &f->q[q];

	vq->avail->ring[vq->avail_idx % vq->num] = head;
	__atomic_store_n(&vq->avail->idx, ++vq->avail_idx, __ATOMIC_RELEASE);
}

static struct vring_desc make(const struct vfront_seg *s, bool in, bool more, uint16_t next)
{
	uint16_t flags = (uint16_t)((in ? VRING_DESC_WRITE : 0) | (more ? VRING_DESC_NEXT : 0));

	return (struct vring_desc){s->gpa, s->len, flags, more ? next : 0};
}

bool vfront_packed(const struct vfront *f)
{
	return f->features & VIRTIO_F_RING_PACKED;
}

uint16_t vfront_packed_flags(const struct vfront_queue *vq, uint16_t pos)
{
	return pos & vq->num ? VRING_DESC_USED : VRING_DESC_AVAIL;
}

static uint16_t free_id(struct vfront_queue *vq)
{
	for (;;) {
		uint16_t id = next_desc(vq);

		if (!vq->ndesc[id])
			return id;
	}
}

static struct vring_packed_desc make_packed(const struct vfront_seg *s, bool in, uint16_t id)
{
	return (struct vring_packed_desc){s->gpa, s->len, id, in ? VRING_DESC_WRITE : 0};
}

static uint16_t add_packed(struct vfront *f, unsigned q, const struct vfront_seg *segs, unsigned nout,
			   unsigned nin, bool indirect)
{
	struct vfront_queue *vq = &f->q[q];
	unsigned n = indirect ? 1 : nout + nin;
	uint16_t id = free_id(vq), first = 0;

	for (unsigned i = n; i-- > 0;) {
		uint16_t pos = (uint16_t)(vq->avail_idx + i);
		struct vring_packed_desc d = make_packed(&segs[i], i >= nout, id);

		if (indirect) {
			uint64_t gpa = vfront_alloc(f, (nout + nin) * sizeof(d), 16);
			struct vring_packed_desc *t = vfront_ptr(f, gpa);

			for (unsigned k = 0; k < nout + nin; k++)
				t[k] = make_packed(&segs[k], k >= nout, 0);
			d = (struct vring_packed_desc){gpa, (uint32_t)((nout + nin) * sizeof(d)), id,
						       VRING_DESC_INDIRECT};
		}
		d.flags |= (uint16_t)(vfront_packed_flags(vq, pos) | (i + 1 < n ? VRING_DESC_NEXT : 0));
		if (i == 0)
			first = d.flags;
		else
			vq->pdesc[pos % vq->num] = d;
		if (i == 0) {
			vq->pdesc[pos % vq->num].addr = d.addr;
			vq->pdesc[pos % vq->num].len = d.len;
			vq->pdesc[pos % vq->num].id = d.id;
		}
	}
	/* The head's flags last: the chain appears whole. */
	__atomic_store_n(&vq->pdesc[vq->avail_idx % vq->num].flags, first, __ATOMIC_RELEASE);
	vq->avail_idx = (uint16_t)(vq->avail_idx + n);
	vq->ndesc[id] = (uint16_t)n;
	return id;
}

uint16_t vfront_add(struct vfront *f, unsigned q, const struct vfront_seg *segs, unsigned nout, unsigned nin,
		    bool indirect)
{
	struct vfront_queue *vq = &f->q[q];
	unsigned n = nout + nin;
	uint16_t head, at;

	assert(n > 0);
	if (vfront_packed(f))
		return add_packed(f, q, segs, nout, nin, indirect);
	head = at = next_desc(vq);
	if (indirect) {
		uint64_t gpa = vfront_alloc(f, n * sizeof(struct vring_desc), 16);
		struct vring_desc *t = vfront_ptr(f, gpa);

		for (unsigned i = 0; i < n; i++)
			t[i] = make(&segs[i], i >= nout, i + 1 < n, (uint16_t)(i + 1));
		vq->desc[head] = (struct vring_desc){gpa, (uint32_t)(n * sizeof(*t)), VRING_DESC_INDIRECT, 0};
	}
	for (unsigned i = 0; !indirect && i < n; i++) {
		uint16_t next = i + 1 < n ? next_desc(vq) : 0;

		vq->desc[at] = make(&segs[i], i >= nout, i + 1 < n, next);
		at = next;
	}
	vfront_publish(f, q, head);
	return head;
}

uint16_t vfront_add1(struct vfront *f, unsigned q, uint64_t out, uint32_t nout, uint64_t in, uint32_t nin)
{
	struct vfront_seg segs[2] = {{out, nout}, {in, nin}};

	return vfront_add(f, q, nout ? segs : segs + 1, nout > 0, nin > 0, false);
}

bool vfront_kick(struct vfront *f, unsigned q, uint16_t old)
{
	struct vfront_queue *vq = &f->q[q];
	uint64_t one = 1;
	bool want;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vfront_packed(f)) {
		struct vring_packed_event e = *(volatile struct vring_packed_event *)vq->device;
		uint16_t off = e.off_wrap & 0x7fff, now = vq->avail_idx % vq->num;

		if (!(e.off_wrap >> 15) != !!(vq->avail_idx & vq->num))
			off = (uint16_t)(off - vq->num);
		want = e.flags == VRING_EVENT_DESC
			       ? (uint16_t)(now - off - 1) < (uint16_t)(vq->avail_idx - old)
			       : e.flags != VRING_EVENT_DISABLE;
	} else if (f->features & VIRTIO_RING_F_EVENT_IDX) {
		uint16_t event = *(volatile uint16_t *)&vq->used->ring[vq->num];

		want = (uint16_t)(vq->avail_idx - event - 1) < (uint16_t)(vq->avail_idx - old);
	} else {
		want = !(*(volatile uint16_t *)&vq->used->flags & VRING_USED_NO_NOTIFY);
	}
	if (want)
		assert(write(vq->kick, &one, sizeof(one)) == sizeof(one));
	return want;
}

static bool used_packed(struct vfront *f, struct vfront_queue *vq, uint32_t *head, uint32_t *len)
{
	struct vring_packed_desc *d = &vq->pdesc[vq->used_seen % vq->num];
	uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE),
		 both = VRING_DESC_AVAIL | VRING_DESC_USED;

	if ((flags & both) != (vq->used_seen & vq->num ? 0 : both))
		return false;
	*head = d->id;
	*len = d->len;
	assert(d->id < vq->num && vq->ndesc[d->id]);
	vq->used_seen = (uint16_t)(vq->used_seen + vq->ndesc[d->id]);
	vq->ndesc[d->id] = 0;
	if (f->features & VIRTIO_RING_F_EVENT_IDX)
		*(volatile struct vring_packed_event *)vq->driver = (struct vring_packed_event){
			(uint16_t)(vq->used_seen % vq->num | (vq->used_seen & vq->num ? 0 : 0x8000)),
			VRING_EVENT_DESC};
	return true;
}

bool vfront_used(struct vfront *f, unsigned q, uint32_t *head, uint32_t *len)
{
	struct vfront_queue *vq = &f->q[q];

	if (vfront_packed(f))
		return used_packed(f, vq, head, len);
	if (__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) == vq->used_seen)
		return false;
	*head = vq->used->ring[vq->used_seen % vq->num].id;
	*len = vq->used->ring[vq->used_seen % vq->num].len;
	vq->used_seen++;
	if (f->features & VIRTIO_RING_F_EVENT_IDX)
		*(volatile uint16_t *)&vq->avail->ring[vq->num] = vq->used_seen;
	return true;
}

unsigned vfront_calls(struct vfront *f, unsigned q)
{
	uint64_t n = 0;

	return read(f->q[q].call, &n, sizeof(n)) == sizeof(n) ? (unsigned)n : 0;
}
