/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	bench_vms WORD...
 *
 * disks=PATTERN   sockets of disks, %u is the guest's number      nics=PATTERN   likewise of NICs
 * vms=N  seconds=S  warm=S  poll=1 (never sleeps)  idle=1 (no load, until its standard input ends)
 * op=read|write  size=BYTES  depth=N  span=BYTES  seq=1  verify=1  think=NS (work before each request)
 * packed=1 (the disks' rings)
 * rate=N (requests a second of all guests together; 0: as many as go)
 * frames=N (frames a second of all guests together, each to its neighbour)  frame=BYTES  tick=US
 * flood=1 (as many frames as go)  ping=1 (every other guest sends one at a time, its neighbour sends it back;
 * latencies are of the round trip)
 *
 * Says "ready" when all guests run, "start" when the measurement begins, and ends with one line of JSON. NICs
 *have the MAC addresses 02:0b:00:00:HI:LO of their number.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/vms/vms.h"

#define PING_LOOK_NS (100 * NSEC_PER_MSEC) /* a lost frame is missed so late */

struct load {
	const char *disks, *nics;
	unsigned vms;
	unsigned first; /* of the next turn */
	double seconds, warm, rate, frames;
	uint64_t tick_ns;
	bool poll, idle, flood, ping;
	struct disk_cfg disk;
	struct nic_cfg nic;
	struct disk *disk_of;
	struct nic *nic_of;
	int call;
	uint64_t sleeps, calls;
	struct hist hist;
};

void die(const char *what, const char *which)
{
	fprintf(stderr, "bench_vms: %s %s (%s)\n", what, which, strerror(errno));
	exit(1);
}

/* ---- latencies ---- */

static unsigned class_of(uint64_t ns)
{
	unsigned octave;

	if (ns < 16)
		return (unsigned)ns;
	octave = 63 - (unsigned)__builtin_clzll(ns);
	return (octave - 3) * 16 + (unsigned)(ns >> (octave - 4) & 15);
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->n[class_of(ns)]++;
}

/* The middle of the class in which the percentile lies. */
uint64_t hist_percentile(const struct hist *h, double part)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < HIST_CLASSES; i++)
		all += h->n[i];
	for (unsigned i = 0; i < HIST_CLASSES; i++) {
		seen += h->n[i];
		if (seen && (double)seen >= part * (double)all) {
			unsigned octave = i / 16 + 3;

			return i < 16 ? i : (uint64_t)(2 * (16 + i % 16) + 1) << (octave - 4) >> 1;
		}
	}
	return 0;
}

/* ---- what is to be done ---- */

static bool word(struct load *l, const char *w)
{
	const char *eq = strchr(w, '=');
	size_t n = eq ? (size_t)(eq - w) : 0;
	const char *v = eq ? eq + 1 : "";
	const struct {
		const char *name;
		double *real;
		uint64_t *whole;
		uint32_t *word;
		unsigned *number;
		bool *flag;
		const char **text;
	} names[] = {
		{"disks", .text = &l->disks},	      {"nics", .text = &l->nics},
		{"vms", .number = &l->vms},	      {"seconds", .real = &l->seconds},
		{"warm", .real = &l->warm},	      {"rate", .real = &l->rate},
		{"frames", .real = &l->frames},	      {"poll", .flag = &l->poll},
		{"idle", .flag = &l->idle},	      {"size", .word = &l->disk.size},
		{"depth", .number = &l->disk.depth},  {"span", .whole = &l->disk.span},
		{"seq", .flag = &l->disk.sequential}, {"verify", .flag = &l->disk.verify},
		{"packed", .flag = &l->disk.packed},  {"think", .whole = &l->disk.think_ns},
		{"frame", .word = &l->nic.frame},     {"flood", .flag = &l->flood},
		{"ping", .flag = &l->ping},
	};

	if (!strcmp(w, "op=write") || !strcmp(w, "op=read")) {
		l->disk.write = w[3] == 'w';
		return true;
	}
	if (n == 4 && !strncmp(w, "tick", 4)) {
		l->tick_ns = strtoull(v, NULL, 0) * NSEC_PER_USEC;
		return true;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i].name) != n || strncmp(w, names[i].name, n))
			continue;
		if (names[i].text)
			*names[i].text = v;
		else if (names[i].real)
			*names[i].real = atof(v);
		else if (names[i].whole)
			*names[i].whole = strtoull(v, NULL, 0);
		else if (names[i].word)
			*names[i].word = (uint32_t)strtoul(v, NULL, 0);
		else if (names[i].number)
			*names[i].number = (unsigned)strtoul(v, NULL, 0);
		else
			*names[i].flag = *v == '1';
		return true;
	}
	return false;
}

static const char *numbered(const char *pattern, unsigned i)
{
	const char *at = strstr(pattern, "%u");
	char path[256];

	if (at)
		snprintf(path, sizeof(path), "%.*s%u%s", (int)(at - pattern), pattern, i, at + 2);
	else
		snprintf(path, sizeof(path), "%s", pattern);
	return strdup(path);
}

static void mac_of(uint8_t mac[6], unsigned i)
{
	const uint8_t m[6] = {0x02, 0x0b, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};

	memcpy(mac, m, 6);
}

static void open_all(struct load *l)
{
	l->disk.call = l->nic.call = l->call;
	l->disk_of = l->disks ? calloc(l->vms, sizeof(*l->disk_of)) : NULL;
	l->nic_of = l->nics ? calloc(l->vms, sizeof(*l->nic_of)) : NULL;
	for (unsigned i = 0; l->nic_of && i < l->vms; i++) {
		struct nic_cfg c = l->nic;

		c.path = numbered(l->nics, i);
		mac_of(c.mac, i);
		mac_of(c.peer, l->vms > 1 ? (i ^ 1) % l->vms : 0);
		nic_listen(&l->nic_of[i], &c);
	}
	for (unsigned i = 0; l->disk_of && i < l->vms; i++) {
		struct disk_cfg c = l->disk;

		c.path = numbered(l->disks, i);
		disk_open(&l->disk_of[i], &c, i + 1);
		l->disk_of[i].due = (double)i / l->vms; /* one after another, not all at once */
	}
	for (unsigned i = 0; l->nic_of && i < l->vms; i++)
		nic_open(&l->nic_of[i]);
	for (unsigned i = 0; l->nic_of && i < l->vms; i++)
		l->nic_of[i].due = (double)i / l->vms;
}

/* ---- the loop ---- */

static unsigned allowed(double *due, double more, unsigned most)
{
	unsigned n;

	*due += more;
	if (*due > most)
		*due = most; /* what could not be done in time is not done later in a heap */
	n = (unsigned)*due;
	*due -= n;
	return n;
}

static void submit_paced(struct load *l, uint64_t now, double seconds)
{
	for (unsigned i = 0; i < l->vms; i++) {
		if (l->disk_of && l->rate > 0)
			disk_submit(&l->disk_of[i],
				    allowed(&l->disk_of[i].due, l->rate * seconds / l->vms, l->disk.depth),
				    now);
		if (l->nic_of && l->frames > 0)
			nic_submit(&l->nic_of[i],
				   allowed(&l->nic_of[i].due, l->frames * seconds / l->vms, NIC_RING / 4));
	}
}

static bool nic_turn(struct load *l, unsigned i, uint64_t now)
{
	struct nic *n = &l->nic_of[i];

	if (l->flood)
		return nic_flood(n);
	if (l->ping)
		return i % 2 ? nic_answer(n) : nic_ping(n, now);
	return nic_ready(n) && nic_reap(n) > 0;
}

/* Each turn begins with the VM after the one that the last began with: VMs are not served in any order. */
static bool turn(struct load *l, uint64_t now)
{
	bool some = false;

	l->first = (l->first + 1) % l->vms;
	for (unsigned k = 0; k < l->vms; k++) {
		unsigned i = (l->first + k) % l->vms;

		if (l->nic_of)
			some |= nic_turn(l, i, now);
		if (!l->disk_of)
			continue;
		if (disk_ready(&l->disk_of[i]))
			some |= disk_reap(&l->disk_of[i], now) > 0;
		if (l->rate == 0 && l->frames == 0)
			some |= disk_submit(&l->disk_of[i], l->disk.depth, now) > 0;
	}
	return some;
}

static void sleep_until(struct load *l, uint64_t at)
{
	uint64_t now = clock_now_ns(), wait = at > now ? at - now : 0, n;
	struct timespec ts = {(time_t)(wait / NSEC_PER_SEC), (long)(wait % NSEC_PER_SEC)};
	struct pollfd p = {l->call, POLLIN, 0};

	l->sleeps++;
	if (ppoll(&p, 1, &ts, NULL) > 0 && read(l->call, &n, sizeof(n)) == sizeof(n))
		l->calls += n;
}

static void run_until(struct load *l, uint64_t end)
{
	bool paced = l->rate > 0 || l->frames > 0;
	uint64_t ticked = clock_now_ns(), now;

	while ((now = clock_now_ns()) < end) {
		if (paced && now - ticked >= l->tick_ns) {
			submit_paced(l, now, (double)(now - ticked) / 1e9);
			ticked = now;
		}
		if (!turn(l, now) && !l->poll)
			sleep_until(l, paced ? ticked + l->tick_ns : l->ping ? now + PING_LOOK_NS : end);
	}
}

/* ---- figures ---- */

struct sum {
	uint64_t requests, frames, bytes, kicks, errors, least, most;
};

static struct sum sum_up(const struct load *l, uint64_t *before)
{
	struct sum s = {.least = UINT64_MAX};

	for (unsigned i = 0; i < l->vms; i++) {
		const struct disk *d = l->disk_of ? &l->disk_of[i] : NULL;
		const struct nic *n = l->nic_of ? &l->nic_of[i] : NULL;
		uint64_t bytes = (d ? d->done * d->cfg.size : 0) + (n ? n->received_bytes : 0);

		s.requests += d ? d->done : 0;
		s.frames += n ? n->received : 0;
		s.kicks += (d ? d->kicks : 0) + (n ? n->kicks : 0);
		s.errors += (d ? d->errors : 0) + (n ? n->errors : 0);
		s.bytes += bytes;
		bytes -= before[i];
		before[i] += bytes;
		s.least = bytes < s.least ? bytes : s.least;
		s.most = bytes > s.most ? bytes : s.most;
	}
	return s;
}

static void say(const char *line)
{
	puts(line);
	fflush(stdout);
}

static void measure(struct load *l)
{
	uint64_t *before = calloc(l->vms, sizeof(*before)), start = clock_now_ns();
	struct sum a, b;

	run_until(l, start + (uint64_t)(l->warm * 1e9));
	a = sum_up(l, before);
	memset(&l->hist, 0, sizeof(l->hist));
	l->sleeps = l->calls = 0;
	say("start");
	start = clock_now_ns();
	run_until(l, start + (uint64_t)(l->seconds * 1e9));
	b = sum_up(l, before);
	printf("{\"seconds\":%.4f,\"requests\":%llu,\"frames\":%llu,\"bytes\":%llu,\"kicks\":%llu,"
	       "\"calls\":%llu,\"sleeps\":%llu,\"errors\":%llu,\"least\":%llu,\"most\":%llu,"
	       "\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
	       (double)(clock_now_ns() - start) / 1e9, (unsigned long long)(b.requests - a.requests),
	       (unsigned long long)(b.frames - a.frames), (unsigned long long)(b.bytes - a.bytes),
	       (unsigned long long)(b.kicks - a.kicks), (unsigned long long)l->calls,
	       (unsigned long long)l->sleeps, (unsigned long long)b.errors, (unsigned long long)b.least,
	       (unsigned long long)b.most, (double)hist_percentile(&l->hist, 0.5) / 1e3,
	       (double)hist_percentile(&l->hist, 0.99) / 1e3);
	fflush(stdout);
	free(before);
}

/* No request stays behind: the back-end would wait for its end. */
static void settle(struct load *l)
{
	uint64_t end = clock_now_ns() + 5 * NSEC_PER_SEC;

	for (unsigned i = 0; l->disk_of && i < l->vms; i++) {
		struct disk *d = &l->disk_of[i];

		while (d->nfree < d->cfg.depth && clock_now_ns() < end)
			disk_reap(d, clock_now_ns());
		disk_close(d);
	}
	for (unsigned i = 0; l->nic_of && i < l->vms; i++)
		nic_close(&l->nic_of[i]);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	static struct load l = {
		.vms = 1,
		.seconds = 2,
		.warm = 0.5,
		.tick_ns = NSEC_PER_MSEC,
		.disk = {.size = 4096, .depth = 32, .span = 64u << 20},
		.nic = {.frame = NIC_FRAME},
	};

	for (int i = 1; i < argc; i++)
		if (!word(&l, argv[i]))
			die("cannot understand", argv[i]);
	if (!l.vms || l.nic.frame > NIC_FRAME_MAX || !l.disk.size || l.disk.depth < 1 || l.disk.depth > 256 ||
	    (!l.disks && !l.nics))
		die("nothing to do:", "disks=, nics=");
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_TIMERSLACK, 1);
	l.call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l.disk.hist = l.nic.hist = &l.hist;
	open_all(&l);
	say("ready");
	if (l.idle) {
		char c;

		while (read(0, &c, 1) > 0)
			;
	} else {
		measure(&l);
	}
	settle(&l);
	return 0;
}
