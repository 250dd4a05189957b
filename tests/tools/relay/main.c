/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay: a wire with faults between two network interfaces, for tests where the kernel has no netem.
 *
 *	relay IF_A IF_B [WORD...]
 *
 * Every frame that comes in by one interface leaves by the other, after what the words say. They are
 * taken from the command line and then from standard input, a line at a time, each answered by a
 * line "ok" or "error: WHY":
 *
 *	drop=1%,delay=200us,...	both directions, as link_impair.h has it; replaces what was said before
 *	rate=1000000000		bits per second of each direction; 0: none
 *	queue=262144		bytes that may wait for the bottleneck; 0: no limit
 *	cut, heal		nothing passes; it does again
 *	stats			a line of JSON
 *
 * The direction from A to B draws from the seed, the other from the seed and one. It ends with the end
 * of standard input or a signal, and its last line is the stats.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/tools/relay/lane.h"
#include "tests/tools/relay/wire.h"

static struct lane lanes[2]; /* [0] from A to B */
static struct wire wires[2];

static void set(const struct lane_cfg *cfg)
{
	for (unsigned i = 0; i < 2; i++) {
		struct lane_cfg c = *cfg;

		c.impair.seed += i;
		lane_set(&lanes[i], &c);
	}
}

static void stats(void)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct lane_stats *s = &lanes[i].stats;
		const struct wire *w = &wires[i];

		wire_count(&wires[i]);
		printf("%s{\"frames\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"delivered\":%" PRIu64
		       ",\"lost\":%" PRIu64 ",\"queue_full\":%" PRIu64 ",\"cut\":%" PRIu64
		       ",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"corrupted\":%" PRIu64
		       ",\"overrun\":%" PRIu64 ",\"super\":%" PRIu64 ",\"refused\":%" PRIu64 "}",
		       i ? "," : "[", s->frames, s->bytes, s->delivered, s->lost, s->queue_full, s->cut,
		       s->duplicated, s->reordered, s->corrupted, w->overrun, w->super, wires[!i].refused);
	}
	printf("]\n");
}

static bool number(const char *word, const char *name, uint64_t *value)
{
	size_t n = strlen(name);
	char *end;

	if (strncmp(word, name, n) || word[n] < '0' || word[n] > '9')
		return false;
	errno = 0;
	*value = strtoull(word + n, &end, 10);
	return !*end && !errno;
}

/* False: *why says what is wrong with it. */
static bool obey(struct lane_cfg *cfg, const char *word, char *why, size_t len)
{
	if (!strcmp(word, "cut") || !strcmp(word, "heal")) {
		cfg->cut = word[0] == 'c';
	} else if (!strncmp(word, "rate=", 5) || !strncmp(word, "queue=", 6)) {
		if (!number(word, "rate=", &cfg->rate_bps) && !number(word, "queue=", &cfg->queue_bytes)) {
			snprintf(why, len, "'%s' wants a whole number", word);
			return false;
		}
	} else if (link_impair_parse(&cfg->impair, word, why, len)) {
		return false;
	}
	set(cfg);
	return true;
}

static void command(struct lane_cfg *cfg, char *line)
{
	char why[200];

	line[strcspn(line, "\r\n")] = '\0';
	if (!strcmp(line, "stats"))
		stats();
	else if (obey(cfg, line, why, sizeof(why)))
		puts("ok");
	else
		printf("error: %s\n", why);
	fflush(stdout);
}

/* All whole lines of what is there. False: standard input has ended. */
static bool commands(struct lane_cfg *cfg)
{
	static char text[4096];
	static size_t have;
	ssize_t n = read(STDIN_FILENO, text + have, sizeof(text) - 1 - have);
	char *end;

	if (n <= 0)
		return false;
	have += (size_t)n;
	text[have] = '\0';
	while ((end = strchr(text, '\n'))) {
		size_t len = (size_t)(end + 1 - text);

		*end = '\0';
		command(cfg, text);
		have -= len;
		memmove(text, text + len, have + 1);
	}
	return have < sizeof(text) - 1;
}

static void nap(struct pollfd *p, nfds_t n)
{
	uint64_t now = clock_now_ns(), due = lane_due(&lanes[0]), other = lane_due(&lanes[1]);
	struct timespec t;

	if (other < due)
		due = other;
	if (due <= now)
		due = now;
	t = (struct timespec){(time_t)((due - now) / NSEC_PER_SEC), (long)((due - now) % NSEC_PER_SEC)};
	ppoll(p, n, due == UINT64_MAX ? NULL : &t, NULL);
}

static void serve(struct lane_cfg *cfg, int signals)
{
	struct pollfd p[] = {{wires[0].fd, POLLIN, 0},
			     {wires[1].fd, POLLIN, 0},
			     {STDIN_FILENO, POLLIN, 0},
			     {signals, POLLIN, 0}};

	for (;;) {
		nap(p, 4);
		if (p[3].revents || (p[2].revents && !commands(cfg)))
			return;
		for (unsigned i = 0; i < 2; i++) {
			uint64_t now = clock_now_ns();
			int n = 0;

			if (p[i].revents)
				n = wire_receive(&wires[i], &lanes[i], now);
			if (n < 0) {
				fprintf(stderr, "relay: %s: %s\n", wires[i].ifname, strerror(-n));
				return;
			}
			wire_send(&wires[!i], &lanes[i], now);
		}
	}
}

static int stop_signals(void)
{
	sigset_t set_of;

	sigemptyset(&set_of);
	sigaddset(&set_of, SIGTERM);
	sigaddset(&set_of, SIGINT);
	sigprocmask(SIG_BLOCK, &set_of, NULL);
	return signalfd(-1, &set_of, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct lane_cfg cfg = {.cut = false};
	char why[200];
	int r, signals = stop_signals();

	if (argc < 3) {
		fprintf(stderr, "relay IF_A IF_B [WORD...]\n");
		return 2;
	}
	for (unsigned i = 0; i < 2; i++) {
		r = lane_init(&lanes[i], &cfg);
		if (!r)
			r = wire_open(&wires[i], argv[1 + i]);
		if (r) {
			fprintf(stderr, "relay: %s: %s\n", argv[1 + i], strerror(-r));
			return 1;
		}
	}
	for (int i = 3; i < argc; i++)
		if (!obey(&cfg, argv[i], why, sizeof(why))) {
			fprintf(stderr, "relay: %s\n", why);
			return 2;
		}
	prctl(PR_SET_TIMERSLACK, 1); /* else a nap of 100 us lasts 150 */
	puts("ok");
	fflush(stdout);
	serve(&cfg, signals);
	stats();
	for (unsigned i = 0; i < 2; i++) {
		lane_fini(&lanes[i]);
		close(wires[i].fd);
	}
	return 0;
}
