/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/port/eal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "fabric/base/log.h"

#define MEMORY_MB 64u
#define HUGE_MB	  2u
#define HUGE_DIR  "/sys/kernel/mm/hugepages/hugepages-2048kB/"

/* What DPDK complained of last: its functions return -1 and print the reason. One per process, as the EAL. */
static char last_error[256];
static bool started;

/* DPDK's log stream: each write is a message. */
static ssize_t take_message(void *cookie, const char *text, size_t len)
{
	uint32_t level = (uint32_t)rte_log_cur_msg_loglevel();
	int n = (int)len;

	(void)cookie;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (level <= RTE_LOG_ERR && n > 0)
		snprintf(last_error, sizeof(last_error), "%.*s", n, text);
	log_debug("dpdk: %.*s", n, text);
	return (ssize_t)len;
}

static void capture_log(void)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = take_message});

	if (!f)
		return;
	setvbuf(f, NULL, _IOLBF, 512);
	rte_openlog_stream(f);
}

unsigned eal_hugepages_free(void)
{
	FILE *f = fopen(HUGE_DIR "free_hugepages", "re");
	unsigned n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%u", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

/* Hugepages or not; -ENOMEM and why when there are too few and they are wanted. */
static int choose_memory(const struct eal_cfg *cfg, unsigned mb, bool *huge, char *why, size_t len)
{
	unsigned need = (mb + HUGE_MB - 1) / HUGE_MB, have = eal_hugepages_free();

	*huge = cfg->memory != EAL_MEMORY_PLAIN && have >= need;
	if (cfg->memory == EAL_MEMORY_HUGE && !*huge) {
		snprintf(why, len,
			 "%u hugepages of 2 MiB are free, %u are needed: echo %u > " HUGE_DIR
			 "nr_hugepages, or run without hugepages",
			 have, need, need);
		return -ENOMEM;
	}
	return 0;
}

/* One CPU that this thread may run on, as the EAL wants to be told one. */
static void default_lcores(char *out, size_t size, const cpu_set_t *cpus)
{
	int cpu = 0;

	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, cpus))
		cpu++;
	snprintf(out, size, "0@%d", cpu);
}

static int run_init(const struct eal_cfg *cfg, unsigned mb, bool huge, const cpu_set_t *cpus)
{
	static const char *const huge_args[] = {"--in-memory", NULL};
	static const char *const plain_args[] = {"--no-huge", "--no-shconf", NULL};
	char memory[16], lcores[256];
	const char *argv[16] = {"outriggerd", "--no-telemetry", "-m", memory, "--lcores", lcores};
	int argc = 6;

	snprintf(memory, sizeof(memory), "%u", mb);
	if (cfg->lcores)
		snprintf(lcores, sizeof(lcores), "%s", cfg->lcores);
	else
		default_lcores(lcores, sizeof(lcores), cpus);
	for (const char *const *a = huge ? huge_args : plain_args; *a; a++)
		argv[argc++] = *a;
	if (!cfg->pci)
		argv[argc++] = "--no-pci";
	argv[argc] = NULL;
	return rte_eal_init(argc, (char **)(uintptr_t)argv);
}

int eal_start(const struct eal_cfg *cfg, char *why, size_t len)
{
	unsigned mb = cfg->memory_mb ? cfg->memory_mb : MEMORY_MB;
	cpu_set_t cpus;
	bool huge;
	int err;

	if (started) {
		snprintf(why, len, "DPDK was started before in this process");
		return -EALREADY;
	}
	err = choose_memory(cfg, mb, &huge, why, len);
	if (err)
		return err;
	started = true;
	capture_log();
	pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	err = run_init(cfg, mb, huge, &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	if (err < 0) {
		snprintf(why, len, "DPDK does not start with %u MiB of %s: %s", mb,
			 huge ? "hugepages" : "memory", last_error[0] ? last_error : rte_strerror(rte_errno));
		return -EIO;
	}
	return 0;
}

void eal_stop(void)
{
	rte_eal_cleanup();
}
