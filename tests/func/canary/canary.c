/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes memory that holds payload alone away from the processor, in the process that it is loaded into
 * (LD_PRELOAD): adapters go on reaching it, who touches it by a load or store dies.
 *
 * Such memory is registered for remote access and begins with PAYLOAD_MARK (tests/lib/guest.h). While the
 * file /run/deny is there it is PROT_NONE, and so that one can wait for it there is /run/denied, with the
 * number of bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAYLOAD_MARK "payload only\n"
#define REGIONS	     64
#define PAGE	     4096u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region {
	struct ibv_mr *mr;
	unsigned char *at;
	size_t len;
	bool denied;
} regions[REGIONS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* All but the page with the mark, which is looked at when the memory is registered again. */
static void set(struct region *r, bool deny)
{
	if (r->denied != deny &&
	    mprotect(r->at + PAGE, r->len - PAGE, deny ? PROT_NONE : PROT_READ | PROT_WRITE) == 0)
		r->denied = deny;
}

static void report(bool deny)
{
	size_t sum = 0;
	FILE *f;

	for (int i = 0; i < REGIONS; i++)
		if (regions[i].mr && regions[i].denied)
			sum += regions[i].len - PAGE;
	if (!deny) {
		unlink("/run/denied");
		return;
	}
	f = fopen("/run/denied.new", "w");
	if (!f)
		return;
	fprintf(f, "%zu\n", sum);
	fclose(f);
	rename("/run/denied.new", "/run/denied");
}

static void *watch(void *arg)
{
	for (;; usleep(10000)) {
		bool deny = access("/run/deny", F_OK) == 0;

		pthread_mutex_lock(&lock);
		for (int i = 0; i < REGIONS; i++)
			if (regions[i].mr)
				set(&regions[i], deny);
		report(deny);
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

static void start(void)
{
	pthread_t t;

	pthread_create(&t, NULL, watch, NULL);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *at, size_t len, uint64_t iova, unsigned access)
{
	struct ibv_mr *(*next)(struct ibv_pd *, void *, size_t, uint64_t, unsigned) =
		(struct ibv_mr * (*)(struct ibv_pd *, void *, size_t, uint64_t, unsigned))
			dlsym(RTLD_NEXT, "ibv_reg_mr_iova2");
	struct ibv_mr *mr = next(pd, at, len, iova, access);

	if (!mr || !(access & IBV_ACCESS_REMOTE_WRITE) || len <= PAGE ||
	    memcmp(at, PAYLOAD_MARK, sizeof(PAYLOAD_MARK) - 1))
		return mr;
	pthread_once(&once, start);
	pthread_mutex_lock(&lock);
	for (int i = 0; i < REGIONS; i++) {
		if (regions[i].mr)
			continue;
		regions[i] = (struct region){.mr = mr, .at = at, .len = len};
		break;
	}
	pthread_mutex_unlock(&lock);
	return mr;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	int (*next)(struct ibv_mr *) = (int (*)(struct ibv_mr *))dlsym(RTLD_NEXT, "ibv_dereg_mr");

	pthread_mutex_lock(&lock);
	for (int i = 0; i < REGIONS; i++) {
		if (regions[i].mr != mr)
			continue;
		set(&regions[i], false);
		regions[i].mr = NULL;
	}
	pthread_mutex_unlock(&lock);
	return next(mr);
}
