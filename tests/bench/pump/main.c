/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "fabric/base/clock.h"
#include "tests/bench/pump/pump.h"

volatile bool pump_stopped;

static void on_signal(int sig)
{
	(void)sig;
	pump_stopped = true;
}

uint64_t pump_cpu_ns(void)
{
	unsigned long long ns = 0;
	FILE *f = fopen("/proc/self/schedstat", "r");

	if (f && fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return ns;
}

void pump_count(struct pump *p, uint64_t len, uint64_t now)
{
	if (!p->start) { /* the first byte: the stream warms up from here */
		p->start = now + p->warm_ns;
		p->end = p->start + p->seconds_ns;
	}
	if (now < p->start || now >= p->end)
		return;
	if (!p->last) {
		p->last = now;
		p->cpu_start = pump_cpu_ns();
		puts("start");
		fflush(stdout);
	}
	if (now - p->last > p->longest_gap)
		p->longest_gap = now - p->last;
	p->last = now;
	p->bytes += len;
}

bool pump_done(const struct pump *p, uint64_t now)
{
	return pump_stopped || (p->start && now >= p->end);
}

static bool word(struct pump *p, const char *w)
{
	if (!strncmp(w, "seconds=", 8))
		p->seconds_ns = (uint64_t)(atof(w + 8) * 1e9);
	else if (!strncmp(w, "warm=", 5))
		p->warm_ns = (uint64_t)(atof(w + 5) * 1e9);
	else if (!strncmp(w, "cc=", 3))
		p->cc = w + 3;
	else if (!strcmp(w, "aead=best"))
		p->aead = aead_gcm_best();
	else if (!strcmp(w, "aead=openssl"))
		p->aead = &aead_gcm;
	else if (!strcmp(w, "aead=crc"))
		p->aead = &aead_crc;
	else if (!strcmp(w, "class=net") || !strcmp(w, "class=data"))
		p->net = w[6] == 'n';
	else
		return false;
	return true;
}

static void usage(void)
{
	fputs("pump recv rt|tcp ADDR [WORD...]\npump send rt|tcp ADDR PEER [WORD...]\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct pump p = {
		.seconds_ns = 3 * NSEC_PER_SEC, .warm_ns = NSEC_PER_SEC / 2, .aead = aead_gcm_best()};
	const struct sigaction act = {.sa_handler = on_signal};
	bool tcp;
	int at = 4;

	if (argc < 4 || (strcmp(argv[1], "send") && strcmp(argv[1], "recv")) ||
	    (strcmp(argv[2], "rt") && strcmp(argv[2], "tcp")))
		usage();
	p.sender = !strcmp(argv[1], "send");
	tcp = !strcmp(argv[2], "tcp");
	if (link_addr_parse(&p.own, argv[3], p.sender ? 0 : PUMP_PORT))
		usage();
	if (p.sender && (argc < 5 || link_addr_parse(&p.peer, argv[at++], PUMP_PORT)))
		usage();
	for (; at < argc; at++)
		if (!word(&p, argv[at]))
			usage();
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_TIMERSLACK, 1);
	if (tcp)
		pump_tcp(&p);
	else
		pump_rt(&p);
	if (!p.sender)
		printf("{\"bytes\":%llu,\"seconds\":%.3f,\"gbps\":%.4f,\"longest_gap_us\":%.0f,\"cpu_s\":%."
		       "4f}\n",
		       (unsigned long long)p.bytes, (double)p.seconds_ns / 1e9,
		       (double)p.bytes * 8 / (double)p.seconds_ns, (double)p.longest_gap / 1e3,
		       (double)(pump_cpu_ns() - p.cpu_start) / 1e9);
	return 0;
}
