/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vhost_env.h"

#include <assert.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hostagent/vhost/vhost_guard.h"

static void note(struct vhost_env *e, const char *fmt, ...)
{
	size_t have = strlen(e->log);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->log + have, sizeof(e->log) - have, fmt, ap);
	va_end(ap);
}

static void fx_reply(void *arg, const void *msg, size_t len, int fd)
{
	struct vhost_env *e = arg;
	const struct vhost_hdr *h = msg;

	note(e, "reply %u; ", h->request);
	assert(len <= sizeof(e->reply) && !e->reply_len);
	memcpy(e->reply, msg, len);
	e->reply_len = len;
	e->reply_fd = fd >= 0 ? dup(fd) : -1;
}

static void fx_features(void *arg, uint64_t acked)
{
	struct vhost_env *e = arg;

	e->acked = acked;
	note(e, "features %llx; ", (unsigned long long)acked);
}

static void fx_kick_fd(void *arg, unsigned q, int fd)
{
	note(arg, fd < 0 ? "unwatch %u; " : "watch %u; ", q);
}

static void fx_start(void *arg, unsigned q)
{
	note(arg, "start %u; ", q);
}

static void fx_stop(void *arg, unsigned q)
{
	note(arg, "stop %u; ", q);
}

static void fx_broken(void *arg, unsigned q, const char *reason)
{
	note(arg, "broken %u %s; ", q, reason);
}

static void fx_rarp(void *arg, const uint8_t mac[6])
{
	note(arg, "rarp %02x:%02x; ", mac[0], mac[5]);
}

static void fx_fault(void *arg)
{
	note(arg, "fault; ");
}

static const struct vhost_fx effects = {fx_reply, fx_features, fx_kick_fd, fx_start,
					fx_stop,  fx_broken,   fx_rarp,	   fx_fault};

static int wire_send(void *arg, const void *msg, size_t len, const int *fds, unsigned nfds)
{
	struct vhost_env *e = arg;
	int given[64];

	assert(nfds <= 64);
	for (unsigned i = 0; i < nfds; i++)
		given[i] = dup(fds[i]);
	e->error = vhost_message(e->v, msg, len, given, nfds);
	return e->error ? -1 : 0;
}

static int wire_recv(void *arg, void *msg, size_t room, int *fd)
{
	struct vhost_env *e = arg;
	size_t n = e->reply_len;

	assert(n && n <= room);
	memcpy(msg, e->reply, n);
	*fd = e->reply_fd;
	e->reply_len = 0;
	return (int)n;
}

static void new_core(struct vhost_env *e, const struct vhost_config *cfg)
{
	e->v = vhost_create(cfg, &vhost_sys_linux, NULL, &effects, e);
	assert(e->v);
	e->front.proto = e->front.features = 0;
}

void vhost_env_init(struct vhost_env *e, const struct vhost_config *cfg)
{
	struct vfront_wire wire = {wire_send, wire_recv, e};

	memset(e, 0, sizeof(*e));
	assert(!vhost_guard_install());
	vfront_init(&e->front, &wire);
	new_core(e, cfg);
}

void vhost_env_fini(struct vhost_env *e)
{
	vhost_destroy(e->v);
	vfront_fini(&e->front);
}

const char *vhost_env_log(struct vhost_env *e)
{
	static char last[sizeof(e->log)];

	memcpy(last, e->log, sizeof(last));
	e->log[0] = '\0';
	return last;
}

void vhost_env_run(struct vhost_env *e, uint64_t features, unsigned n, uint16_t num)
{
	vfront_negotiate(&e->front, features | VHOST_F_PROTOCOL_FEATURES, ~0ull);
	assert(vfront_mem_table(&e->front) == 0);
	for (unsigned q = 0; q < n; q++)
		vfront_queue_up(&e->front, q, num, true);
	vhost_env_log(e);
}

void vhost_env_restart(struct vhost_env *e, const struct vhost_config *cfg)
{
	vhost_destroy(e->v);
	new_core(e, cfg);
	e->log[0] = '\0';
	e->reply_len = 0;
}

unsigned vhost_env_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
