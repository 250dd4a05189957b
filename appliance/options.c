/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance/control/control.h"
#include "appliance/options.h"
#include "fabric/rt/rt.h"

/* The old keys of a path are kept for a second or two: a rekeying must be over before the next. */
#define REKEY_MIN_S 5

static const char usage_text[] =
	"Usage: outriggerd --fabric ADDRESS[:PORT] [OPTIONS]\n"
	"\n"
	"The Outrigger appliance: switches the frames and serves the disks of enrolled hosts.\n"
	"\n"
	"      --fabric ADDRESS[:PORT]    where host agents reach it, UDP data and TCP control (port 4793);\n"
	"                                 up to three times: each is a path of every session\n"
	"      --fabric verbs:DEVICE[/PORT[/GID]][,tc=N][,sl=N][,pkey=N][,mtu=N][,sealed=1]\n"
	"                                 an RDMA port as one more path, for agents that have one too; goes\n"
	"                                 before the addresses, which stay for control and as its backup\n"
	"      --listen-api ADDRESS:PORT  management API (0.0.0.0:7443)\n"
	"      --state DIR        certificates, desired state; DIR/admin is outriggerctl's context\n"
	"                         (" CONTROL_STATE_DIR ")\n"
	"      --fabric-port DEV  give the fabric port to DPDK: af_xdp:IFACE, a PCI address or devargs;\n"
	"                         without it the fabric is a kernel UDP socket\n"
	"      --xdp-prog FILE    fabric.bpf.o for --fabric-port af_xdp:...\n"
	"      --sleep-idle       the worker sleeps when there is nothing to do\n"
	"      --busy-poll        the worker never sleeps (default); give it a CPU of its own\n"
	"      --worker-cpu N     pin the worker to this CPU\n"
	"      --gro-us N         a TCP packet of an uplink waits for its successor so long at most, to go "
	"to the\n"
	"                         host as one frame with it (20; at most 50); 0: packets stay single\n"
	"      --hugepages        fail when no hugepages are free (default: use them when they are)\n"
	"      --no-hugepages     do without\n"
	"      --chunk BYTES      largest packet payload to try where the fabric's MTU allows, 256 to 8192\n"
	"                         (8192); 1344 fits an MTU of 1500\n"
	"      --integrity-only   do not encrypt fabric packets: only on a physically isolated fabric\n"
	"      --rekey SECONDS    fresh keys for every path so often (3600); 0: never\n"
	"      --impair SPEC      damage the fabric for tests: drop=1%,dup=0.1%,reorder=1%,delay=2ms,\n"
	"                         corrupt=0.01%,seed=7\n"
	"      --run-dir DIR      working directory for what does not outlive the process\n"
	"      --log-level L      error, warning, info (default), debug\n"
	"      --ready-fd N       write a newline to descriptor N when serving\n"
	"  -h, --help             this text\n"
	"  -V, --version          the version\n";

static int usage_error(const char *fmt, const char *arg)
{
	fprintf(stderr, "outriggerd: ");
	fprintf(stderr, fmt, arg);
	fprintf(stderr, "\nTry `outriggerd --help`.\n");
	return 2;
}

enum {
	O_FABRIC = 256,
	O_API,
	O_STATE,
	O_PORT,
	O_XDP,
	O_SLEEP,
	O_BUSY,
	O_CPU,
	O_GRO,
	O_HUGE,
	O_NOHUGE,
	O_CLEAR,
	O_IMPAIR,
	O_RUN,
	O_LEVEL,
	O_READY,
	O_REKEY,
	O_CHUNK
};

static const struct option longs[] = {
	{"fabric", required_argument, NULL, O_FABRIC},
	{"listen-api", required_argument, NULL, O_API},
	{"state", required_argument, NULL, O_STATE},
	{"fabric-port", required_argument, NULL, O_PORT},
	{"xdp-prog", required_argument, NULL, O_XDP},
	{"sleep-idle", no_argument, NULL, O_SLEEP},
	{"busy-poll", no_argument, NULL, O_BUSY},
	{"worker-cpu", required_argument, NULL, O_CPU},
	{"gro-us", required_argument, NULL, O_GRO},
	{"hugepages", no_argument, NULL, O_HUGE},
	{"no-hugepages", no_argument, NULL, O_NOHUGE},
	{"integrity-only", no_argument, NULL, O_CLEAR},
	{"impair", required_argument, NULL, O_IMPAIR},
	{"run-dir", required_argument, NULL, O_RUN},
	{"log-level", required_argument, NULL, O_LEVEL},
	{"ready-fd", required_argument, NULL, O_READY},
	{"rekey", required_argument, NULL, O_REKEY},
	{"chunk", required_argument, NULL, O_CHUNK},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static int parse_number(const char *text, int max, int *out)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 0 || n > max)
		return -EINVAL;
	*out = (int)n;
	return 0;
}

/* 0: go on; else the exit status + 1. */
static int parse_one(struct options *o, int c)
{
	char why[240];

	switch (c) {
	case O_FABRIC:
		if (o->nfabrics + o->nrdma == HOSTS_FABRICS)
			return 1 + usage_error("--fabric %s is one too many: three at most", optarg);
		if (strncmp(optarg, "verbs:", 6)) {
			o->fabric[o->nfabrics++] = optarg;
			return 0;
		}
		o->rdma[o->nrdma] = optarg + 6;
		return verbs_port_parse(&o->rdma_port[o->nrdma++], optarg + 6, why, sizeof(why))
			       ? 1 + usage_error("--fabric verbs: %s", why)
			       : 0;
	case O_API:
		o->listen_api = optarg;
		return 0;
	case O_STATE:
		o->state = optarg;
		return 0;
	case O_PORT:
		if (o->nports == HOSTS_FABRICS)
			return 1 + usage_error("--fabric-port %s is one too many: three at most", optarg);
		o->fabric_port[o->nports++] = optarg;
		return 0;
	case O_XDP:
		o->xdp_prog = optarg;
		return 0;
	case O_SLEEP:
	case O_BUSY:
		o->sleep_idle = c == O_SLEEP;
		return 0;
	case O_GRO:
		return parse_number(optarg, 50, &o->gro_us)
			       ? 1 + usage_error("--gro-us: '%s' is not 0 to 50", optarg)
			       : 0;
	case O_CPU:
		return parse_number(optarg, 1023, &o->worker_cpu)
			       ? 1 + usage_error("--worker-cpu: '%s' is no CPU", optarg)
			       : 0;
	case O_HUGE:
	case O_NOHUGE:
		o->memory = c == O_HUGE ? EAL_MEMORY_HUGE : EAL_MEMORY_PLAIN;
		return 0;
	case O_CLEAR:
		o->clear = true;
		return 0;
	case O_IMPAIR:
		if (link_impair_parse(&o->impair, optarg, why, sizeof(why)))
			return 1 + usage_error("--impair: %s", why);
		o->impaired = true;
		return 0;
	case O_RUN:
		o->run_dir = optarg;
		return 0;
	case O_LEVEL:
		return log_level_parse(optarg, &o->level)
			       ? 1 + usage_error("--log-level: '%s' is none of error, warning, info, debug",
						 optarg)
			       : 0;
	case O_READY:
		return parse_number(optarg, INT_MAX, &o->ready_fd)
			       ? 1 + usage_error("--ready-fd: '%s' is no descriptor", optarg)
			       : 0;
	case O_REKEY:
		if (parse_number(optarg, INT_MAX, &o->rekey_s) || (o->rekey_s && o->rekey_s < REKEY_MIN_S))
			return 1 + usage_error("--rekey: '%s' is neither 0 nor 5 seconds or more", optarg);
		return 0;
	case O_CHUNK:
		if (parse_number(optarg, RT_CHUNK_MAX, &o->chunk) || o->chunk < (int)RT_CHUNK_MIN)
			return 1 + usage_error("--chunk: '%s' is not within 256 to 8192", optarg);
		return 0;
	case 'h':
		fputs(usage_text, stdout);
		return 1;
	case 'V':
		puts("outriggerd " OUTRIGGER_VERSION);
		return 1;
	default:
		return 1 + usage_error("unknown option or missing value: %s", "see below");
	}
}

/* A path that was meant from where we were started. */
static int keep_path(const char **path)
{
	char here[PATH_MAX], *whole;

	if (!*path || **path == '/')
		return 0;
	if (!getcwd(here, sizeof(here)) || asprintf(&whole, "%s/%s", here, *path) < 0)
		return -errno;
	*path = whole;
	return 0;
}

static int enter_run_dir(struct options *o)
{
	if (!o->run_dir)
		return 0;
	if (keep_path(&o->state) || keep_path(&o->xdp_prog))
		return -errno;
	return (mkdir(o->run_dir, 0750) && errno != EEXIST) || chdir(o->run_dir) ? -errno : 0;
}

static bool is_twice(const struct options *o, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (link_addr_equal(&o->fabric_addr[i], &o->fabric_addr[j]))
			return true;
	return false;
}

/* What several options say together, and their addresses. */
static int check(struct options *o)
{
	int r;

	if (o->nports && o->nports != o->nfabrics)
		return 1 + usage_error("one --fabric-port for each --fabric, in the same order%s", "");
	if (!o->nfabrics)
		return 1 + usage_error("%s is missing: the address that host agents reach this appliance at",
				       "--fabric");
	for (unsigned i = 0; i < o->nfabrics; i++) {
		if (link_addr_parse(&o->fabric_addr[i], o->fabric[i], LINK_FABRIC_PORT))
			return 1 + usage_error("--fabric: '%s' is not an address; write ADDRESS or "
					       "ADDRESS:PORT, IPv6 in brackets",
					       o->fabric[i]);
		if (is_twice(o, i))
			return 1 + usage_error("--fabric: %s is there twice; a second path has an address of "
					       "its own",
					       o->fabric[i]);
	}
	if (link_addr_parse(&o->api_addr, o->listen_api, CONTROL_API_PORT))
		return 1 + usage_error("--listen-api: '%s' is not an address; write ADDRESS:PORT, IPv6 in "
				       "brackets",
				       o->listen_api);
	r = enter_run_dir(o);
	if (r) {
		fprintf(stderr, "outriggerd: --run-dir: cannot use %s: %s\n", o->run_dir, strerror(-r));
		return 2;
	}
	return 0;
}

int options_parse(int argc, char **argv, struct options *o)
{
	int c, r = 0;

	*o = (struct options){.listen_api = "0.0.0.0:7443",
			      .ready_fd = -1,
			      .worker_cpu = -1,
			      .gro_us = 20,
			      .rekey_s = 3600,
			      .memory = EAL_MEMORY_AUTO,
			      .level = LOG_INFO};
	opterr = 0;
	while (!r && (c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		if (c == '?')
			return 1 + usage_error("unknown option or missing value: %s", argv[optind - 1]);
		r = parse_one(o, c);
	}
	if (r)
		return r;
	if (optind < argc)
		return 1 + usage_error("unexpected argument: %s", argv[optind]);
	return check(o);
}
