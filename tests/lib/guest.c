/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/guest.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void guest_payload(struct vfront *f)
{
	f->brk = VFRONT_MEM / 2;
	strcpy(vfront_ptr(f, vfront_alloc(f, 4096, 4096)), PAYLOAD_MARK);
}

uint64_t guest_buffer(struct vfront *f, uint32_t len, uint32_t margin)
{
	uint64_t data = vfront_alloc(f, len + 2 * margin, 4096) + margin;

	guest_clean(f, data, len, margin);
	return data;
}

void guest_clean(struct vfront *f, uint64_t data, uint32_t len, uint32_t margin)
{
	memset(vfront_ptr(f, data - margin), AFTER, len + 2 * margin);
}

long guest_touched(struct vfront *f, uint64_t data, long from, long to)
{
	const uint8_t *p = vfront_ptr(f, data);

	/* The first is, and each is like the one before it. */
	if (from < to && p[from] == AFTER && !memcmp(p + from, p + from + 1, (size_t)(to - from - 1)))
		return to;
	while (from < to && p[from] == AFTER)
		from++;
	return from;
}

bool guest_left(const struct vhost_sock *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN | POLLRDHUP};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLRDHUP | POLLERR);
}

void guest_wait(void *arg)
{
	(void)arg;
	usleep(200);
}

void guest_tell(const char *path, const char *fmt, ...)
{
	char temporary[256];
	va_list ap;
	FILE *f;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	f = fopen(temporary, "w");
	if (!f)
		exit(1);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
	rename(temporary, path);
}
