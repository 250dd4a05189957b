/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts DPDK's environment (EAL) once in the process's life, without any device: ports come later, from
 * fabric/dpdk/ethdev.h. Nothing is left on disk, other instances are not disturbed (--in-memory
 * or --no-shconf, --no-telemetry), nothing is printed: what DPDK says goes to log_debug().
 *
 * The calling thread becomes DPDK's main thread; it keeps the CPU affinity it had. Other threads
 * that touch ports call rte_thread_register() for mempool caches of their own.
 */
#ifndef OUTRIGGER_PORT_EAL_H
#define OUTRIGGER_PORT_EAL_H

#include <stdbool.h>
#include <stddef.h>

enum eal_memory {
	EAL_MEMORY_AUTO, /* hugepages when enough of them are free, ordinary pages otherwise */
	EAL_MEMORY_HUGE, /* hugepages, or fail */
	EAL_MEMORY_PLAIN,
};

struct eal_cfg {
	enum eal_memory memory;
	unsigned memory_mb; /* reserved at start; 0: 64 */
	const char *lcores; /* DPDK's --lcores, as "0@0,1@1"; NULL: one, on any CPU this thread may use */
	bool pci;	    /* look for PCI devices: only where a NIC is given to DPDK */
};

/* 0; or -ENOMEM (memory), -EALREADY (started before), -EIO (DPDK's own reason) with one line in why that
 * says what to do. */
int eal_start(const struct eal_cfg *cfg, char *why, size_t why_len);
/* After every port is destroyed. A process cannot start it again. */
void eal_stop(void);
/* Free 2 MiB hugepages of the machine. */
unsigned eal_hugepages_free(void);

#endif
