/* SPDX-License-Identifier: Apache-2.0 */
/* outriggerd's command line: parsed and checked here, each value once; --help's text. Control thread, at
 * start only. */
#ifndef APPLIANCE_OPTIONS_H
#define APPLIANCE_OPTIONS_H

#include <stdbool.h>

#include "appliance/hosts/hosts.h"
#include "appliance/port/eal.h"
#include "fabric/base/log.h"
#include "fabric/link/link.h"
#include "fabric/link/link_impair.h"
#include "fabric/link/verbs/verbs.h"

/* Texts are argv's own, or are never freed. What was not given has its default. */
struct options {
	const char *state, *listen_api, *xdp_prog, *run_dir;
	const char *fabric[HOSTS_FABRICS], *fabric_port[HOSTS_FABRICS];
	struct link_addr fabric_addr[HOSTS_FABRICS], api_addr; /* of fabric and listen_api */
	const char *rdma[HOSTS_FABRICS];
	struct verbs_port rdma_port[HOSTS_FABRICS];
	unsigned nfabrics, nports, nrdma;
	bool sleep_idle, clear, impaired;
	enum eal_memory memory;
	int ready_fd, worker_cpu, gro_us, rekey_s;
	int chunk; /* 0: not given */
	enum log_level level;
	struct link_impair_cfg impair;
};

/* 0: go on with *o; else the exit status + 1, and what was wrong is on stderr. Makes and enters --run-dir on
 * the way. */
int options_parse(int argc, char **argv, struct options *o);

#endif
