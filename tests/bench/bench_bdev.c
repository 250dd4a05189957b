/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IOPS of bdev_uring beside fio's io_uring engine, on the same file, in turns (ours, fio, ours, fio): on a
 * shared machine only ratios from one run mean something.
 *
 *	bench-bdev [FILE [SECONDS]]	default: build/bench-bdev.raw, 2 s a turn; FILE is overwritten
 *
 * 4 KiB random reads and writes at queue depths 1 and 32, direct I/O where the file system has it. CPU is
 * user + system time of the process per request, kernel threads excluded on both sides alike.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appliance/bdev/bdev_uring.h"
#include "fabric/base/clock.h"
#include "fabric/base/rng.h"

#define SIZE  (256ull << 20)
#define BLOCK 4096u
#define TURNS 2
#define QD    32

struct figure {
	double iops, cpu_us;
};

struct lane {
	struct bdev_io io;
	struct iovec iov;
};

static struct rng rng;
static uint64_t done_count;
static bool stop;

static double cpu_us(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void again(struct bdev_io *io)
{
	if (io->result) {
		fprintf(stderr, "bench-bdev: %s\n", strerror(-io->result));
		exit(1);
	}
	done_count++;
	io->offset = rng_below(&rng, SIZE / BLOCK) * BLOCK;
	if (!stop && bdev_submit(io->bdev, io))
		exit(1);
}

static struct figure ours(const char *path, enum bdev_op op, unsigned qd, unsigned seconds)
{
	struct bdev_uring_cfg cfg = {.path = path};
	struct lane lanes[QD];
	struct bdev_group *g;
	uint64_t from, now;
	struct bdev *b;
	double cpu;
	int err;

	g = bdev_group_create(QD, &err);
	if (!g || (err = bdev_uring_open(&cfg, &b)) || (err = bdev_join(b, g))) {
		fprintf(stderr, "bench-bdev: %s: %s\n", path, strerror(-err));
		exit(1);
	}
	done_count = 0;
	stop = false;
	for (unsigned i = 0; i < qd; i++) {
		lanes[i].iov = (struct iovec){aligned_alloc(BLOCK, BLOCK), BLOCK};
		memset(lanes[i].iov.iov_base, (int)i, BLOCK);
		lanes[i].io = (struct bdev_io){.op = op,
					       .offset = rng_below(&rng, SIZE / BLOCK) * BLOCK,
					       .length = BLOCK,
					       .iov = &lanes[i].iov,
					       .niov = 1,
					       .done = again};
		if (bdev_submit(b, &lanes[i].io))
			exit(1);
	}
	cpu = cpu_us(RUSAGE_SELF);
	from = now = clock_now_ns();
	while (bdev_outstanding(b)) {
		struct pollfd p = {.fd = bdev_group_fd(g), .events = POLLIN};

		if (bdev_group_poll(g, now, QD) == 0 && bdev_group_arm(g))
			poll(&p, 1, -1);
		now = clock_now_ns();
		stop = now - from > seconds * NSEC_PER_SEC;
	}
	cpu = cpu_us(RUSAGE_SELF) - cpu;
	for (unsigned i = 0; i < qd; i++)
		free(lanes[i].iov.iov_base);
	bdev_leave(b);
	bdev_close(b);
	bdev_group_destroy(g);
	return (struct figure){(double)done_count * 1e9 / (double)(now - from), cpu / (double)done_count};
}

/* fio's terse output, version 3: fields 8 and 49 are the IOPS of reads and writes. */
static struct figure fios(const char *path, enum bdev_op op, unsigned qd, unsigned seconds)
{
	double cpu = cpu_us(RUSAGE_CHILDREN), iops = 0;
	char cmd[512], *line = NULL, *field, *rest;
	size_t n = 0;
	FILE *f;

	snprintf(cmd, sizeof(cmd),
		 "fio --name=b --filename='%s' --ioengine=io_uring --direct=1 --bs=4k --size=%llu "
		 "--iodepth=%u --rw=%s "
		 "--runtime=%u --time_based --norandommap --minimal --terse-version=3 --thread 2>/dev/null",
		 path, SIZE, qd, op == BDEV_READ ? "randread" : "randwrite", seconds);
	f = popen(cmd, "r");
	if (!f || getline(&line, &n, f) < 0) {
		fprintf(stderr, "bench-bdev: fio is needed (apt-get install fio)\n");
		exit(1);
	}
	rest = line;
	for (int i = 1; (field = strsep(&rest, ";")); i++)
		if (i == (op == BDEV_READ ? 8 : 49))
			iops = atof(field);
	free(line);
	pclose(f);
	cpu = cpu_us(RUSAGE_CHILDREN) - cpu;
	return (struct figure){iops, iops > 0 ? cpu / (iops * seconds) : 0};
}

static void make_file(const char *path)
{
	static uint8_t block[1 << 20];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	memset(block, 1, sizeof(block));
	for (uint64_t at = 0; fd >= 0 && at < SIZE; at += sizeof(block))
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			break;
	if (fd < 0 || fsync(fd) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

static double mid(double a, double b)
{
	return (a + b) / 2;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "build/bench-bdev.raw";
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 2;
	static const struct {
		const char *name;
		enum bdev_op op;
		unsigned qd;
	} rows[] = {{"read", BDEV_READ, 1},
		    {"read", BDEV_READ, QD},
		    {"write", BDEV_WRITE, 1},
		    {"write", BDEV_WRITE, QD}};

	rng_init(&rng, 1);
	make_file(path);
	printf("%-6s %3s %12s %12s %16s %10s %10s\n", "4 KiB", "qd", "bdev IOPS", "fio IOPS", "ratio (turns)",
	       "bdev us", "fio us");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct figure a[TURNS], b[TURNS];
		double ratio;

		for (int t = 0; t < TURNS; t++) {
			a[t] = ours(path, rows[i].op, rows[i].qd, seconds);
			b[t] = fios(path, rows[i].op, rows[i].qd, seconds);
		}
		ratio = (a[0].iops + a[1].iops) / (b[0].iops + b[1].iops);
		printf("%-6s %3u %12.0f %12.0f %5.2f (%.2f %.2f) %10.2f %10.2f\n", rows[i].name, rows[i].qd,
		       mid(a[0].iops, a[1].iops), mid(b[0].iops, b[1].iops), ratio, a[0].iops / b[0].iops,
		       a[1].iops / b[1].iops, mid(a[0].cpu_us, a[1].cpu_us), mid(b[0].cpu_us, b[1].cpu_us));
		printf("{\"bench\":\"bdev\",\"op\":\"%s\",\"qd\":%u,\"iops_ratio\":%.3f}\n", rows[i].name,
		       rows[i].qd, ratio);
	}
	if (argc <= 1)
		unlink(path);
	return 0;
}
