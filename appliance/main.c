/* SPDX-License-Identifier: Apache-2.0 */
/* outriggerd: the appliance. Puts the rooms together; implementations are chosen here. */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance/control/control.h"
#include "appliance/dataplane/dataplane.h"
#include "appliance/hosts/hosts.h"
#include "appliance/port/eal.h"
#include "appliance/storage/storage.h"
#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/base/nofile.h"
#include "fabric/link/dpdk/link_dpdk.h"
#include "fabric/link/link_impair.h"
#include "fabric/link/link_udp.h"
#include "fabric/link/verbs/verbs.h"
#include "fabric/rt/rt.h"

#define RX_BUFS 256u
/* An RDMA port: messages that may wait, those that are kept longer than a burst, hosts, messages under way.
 */
#define RDMA_RX	     1024u
#define RDMA_KEPT    512u
#define RDMA_PEERS   64u
#define RDMA_TX	     1536u
#define RDMA_SPINS   32u
#define WORKER_LCORE 1u
/* The old keys of a path are kept for a second or two: a rekeying must be over before the next. */
#define REKEY_MIN_S	5
#define SHUTDOWN_S	5
#define PACKET_OVERHEAD 48u /* base header and the longer tag */

struct options {
	const char *state, *listen_api, *xdp_prog;
	const char *fabric[HOSTS_FABRICS], *fabric_port[HOSTS_FABRICS];
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

struct appliance {
	const struct options *o;
	struct event_base *base;
	struct link_addr fabric[HOSTS_FABRICS], api;
	char fabric_ip[HOSTS_FABRICS][64], api_ip[64];
	struct buf_pool *bufs, *rdma_bufs[HOSTS_FABRICS];
	struct storage *storage;
	struct hosts *hosts;
	struct dp *dp;
	struct control *control;
	bool eal, applied, failed;
	char why[512];
};

static const char usage_text[] =
	"Usage: outriggerd --fabric ADDRESS[:PORT] [OPTIONS]\n"
	"\n"
	"The Outrigger appliance: switches the frames and serves the disks of enrolled hosts.\n"
	"\n"
	"      --fabric ADDRESS[:PORT]    where host agents reach it, UDP data and TCP control (port 4793);\n"
	"                                 up to three times: each is a path of every session\n"
	"      --fabric verbs:DEVICE[/PORT[/GID]][,tc=N][,sl=N][,pkey=N]\n"
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
	char why[160];

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
		if ((mkdir(optarg, 0750) && errno != EEXIST) || chdir(optarg))
			return 1 + usage_error("--run-dir: cannot use %s", optarg);
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
		return 1 + usage_error("unknown option or missing value: %s", "see the options below --help");
	}
}

static int parse(int argc, char **argv, struct options *o)
{
	int c, r = 0;

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
	if (o->nports && o->nports != o->nfabrics)
		return 1 + usage_error("one --fabric-port for each --fabric, in the same order%s", "");
	if (!o->nfabrics)
		return 1 + usage_error("%s is missing: the address that host agents reach this appliance at",
				       "--fabric");
	return 0;
}

/* Numeric text of an address alone, as sockets take it. */
static void ip_text(const struct link_addr *a, char *out, size_t size)
{
	char text[LINK_ADDR_STR], *end;

	link_addr_format(a, text);
	end = strrchr(text, ':');
	*end = '\0';
	if (text[0] == '[') {
		text[strlen(text) - 1] = '\0';
		snprintf(out, size, "%s", text + 1);
	} else {
		snprintf(out, size, "%s", text);
	}
}

/* The program beside this one in a build tree, or where it is installed. */
static const char *find_xdp(char *buf, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		snprintf(buf, size, "%.3900s/../fabric/link/dpdk/fabric.bpf.o", dirname(self));
		if (!access(buf, R_OK))
			return buf;
	}
	snprintf(buf, size, "/usr/lib/outrigger/fabric.bpf.o");
	return buf;
}

static struct link *open_link(struct appliance *a, unsigned i)
{
	const struct options *o = a->o;
	struct link_dpdk_cfg dc = {
		.dev = o->fabric_port[i],
		.local = a->fabric[i],
		.max_payload = o->chunk > (int)RT_CHUNK_DEFAULT ? (uint32_t)o->chunk + PACKET_OVERHEAD : 0};
	char path[PATH_MAX];
	struct link *l, *over;
	int r = 0;

	if (o->nports) {
		dc.xdp_prog = o->xdp_prog ? o->xdp_prog : find_xdp(path, sizeof(path));
		l = link_dpdk_create(&dc, &r, a->why, sizeof(a->why));
	} else {
		l = link_udp_create(&a->fabric[i], a->bufs, &r);
		if (!l)
			snprintf(a->why, sizeof(a->why), "fabric port UDP %s: %s", o->fabric[i],
				 r == -EADDRINUSE
					 ? "another process has it: is an outriggerd running already?"
				 : r == -EADDRNOTAVAIL ? "this machine does not have that address"
						       : strerror(-r));
	}
	if (!l || !o->impaired)
		return l;
	over = link_impair_create(l, &o->impair);
	if (!over)
		l->ops->destroy(l);
	return over;
}

/* Only agents with the keys of a session get a queue pair, so its peers are known. */
static int open_rdma(struct appliance *a, struct dp_cfg *dc, unsigned i)
{
	struct link_verbs_cfg vc = {.port = a->o->rdma_port[i],
				    .rx_depth = RDMA_RX,
				    .tx_slots = RDMA_TX,
				    .max_peers = RDMA_PEERS,
				    .spins = RDMA_SPINS};
	struct link *l;
	int r;

	vc.pool = a->rdma_bufs[i] = buf_pool_create(RDMA_RX + RDMA_KEPT, VERBS_BUF_SIZE);
	l = vc.pool ? link_verbs_create(&vc, &r, a->why, sizeof(a->why)) : NULL;
	if (!l)
		return -EIO;
	dc->verbs[dc->nlinks] = l;
	dc->rdma_bufs[i] = vc.pool;
	dc->link[dc->nlinks] = a->o->impaired ? link_impair_create(l, &a->o->impair) : l;
	return dc->link[dc->nlinks++] ? 0 : -ENOMEM;
}

/* What this link's MTU, as it is now, carries: the least of all is what every path of every session is held
 * to carry, as far as an MTU of 1500 would; the largest is what paths are probed for. */
static void chunks(const struct options *o, struct link *l, struct hosts_cfg *hc)
{
	struct link_addr local;
	uint32_t most, least;

	l->ops->local(l, &local, &most);
	most -= PACKET_OVERHEAD;
	if (most > (o->chunk ? (uint32_t)o->chunk : RT_CHUNK_MAX))
		most = o->chunk ? (uint32_t)o->chunk : RT_CHUNK_MAX;
	least = most < RT_CHUNK_DEFAULT ? most : RT_CHUNK_DEFAULT;
	if (!hc->chunk || least < hc->chunk)
		hc->chunk = least;
	if (most > hc->chunk_max)
		hc->chunk_max = most;
}

/* DPDK, the fabric link, the worker, and what joins them to the desired state. */
static int start_data_plane(struct appliance *a)
{
	const struct options *o = a->o;
	struct eal_cfg ec = {.memory = o->memory, .memory_mb = 64};
	struct dp_cfg dc = {
		.lcore = WORKER_LCORE,
		.sleep_idle = o->sleep_idle,
		.gro_hold_ns = (uint64_t)o->gro_us * NSEC_PER_USEC,
		.limits = {.ports = DP_UPLINK_BASE + DP_UPLINKS - 1,
			   .uplinks = DP_UPLINKS,
			   .networks = 1024,
			   .addrs = 16384,
			   .fdb = 65536},
		.session_lost = hosts_session_lost,
		.carry = hosts_carry,
	};
	struct hosts_cfg hc = {.base = a->base,
			       .lost_ms = 3000,
			       .storage = a->storage,
			       .nfabrics = o->nfabrics + o->nrdma,
			       .rekey_s = (unsigned)o->rekey_s,
			       .clear = o->clear};
	char lcores[64];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int r;

	/* Unpinned, the kernel finds the worker a place; a worker that never sleeps wants one of its own. */
	if (o->worker_cpu >= 0)
		snprintf(lcores, sizeof(lcores), "0@(0-%ld),1@%d", cpus - 1, o->worker_cpu);
	else
		snprintf(lcores, sizeof(lcores), "(0-1)@(0-%ld)", cpus - 1);
	ec.lcores = lcores;
	for (unsigned i = 0; i < o->nports; i++)
		ec.pci |= !strchr(o->fabric_port[i], '_');
	r = eal_start(&ec, a->why, sizeof(a->why));
	if (r)
		return r;
	a->eal = true;
	a->bufs = buf_pool_create(RX_BUFS, LINK_UDP_BUF_SIZE);
	for (; a->bufs && dc.nlinks < o->nfabrics; dc.nlinks++) {
		dc.link[dc.nlinks] = open_link(a, dc.nlinks);
		if (!dc.link[dc.nlinks])
			return -EIO;
		chunks(o, dc.link[dc.nlinks], &hc);
	}
	for (unsigned i = 0; i < o->nrdma; i++) {
		r = open_rdma(a, &dc, i);
		if (r)
			return r;
		chunks(o, dc.verbs[o->nfabrics + i], &hc);
		hc.rdma[o->nfabrics + i] = o->rdma[i];
	}
	dc.rx_bufs = o->nports ? NULL : a->bufs;
	memcpy(hc.fabric, a->fabric, sizeof(hc.fabric));
	r = hosts_create(&hc, &a->hosts);
	if (r)
		return r;
	RAND_bytes((uint8_t *)&dc.limits.seed, sizeof(dc.limits.seed));
	dc.ctx = a->hosts;
	a->dp = dp_start(&dc, &r);
	if (!a->dp) {
		snprintf(a->why, sizeof(a->why), "the worker cannot start: %s%s", strerror(-r),
			 r == -ENOSYS || r == -EPERM
				 ? " (io_uring is switched off? see sysctl kernel.io_uring_disabled)"
				 : "");
		return r;
	}
	hosts_set_dp(a->hosts, a->dp);
	return 0;
}

static int start_control(struct appliance *a)
{
	const char *sans[HOSTS_FABRICS];
	struct control_cfg cc = {
		.base = a->base,
		.state_dir = a->o->state,
		.api_address = a->api_ip,
		.api_port = a->api.port,
		.session_port = a->fabric[0].port,
		.sans = sans,
		.nsans = a->o->nfabrics,
		.ops = hosts_control_ops(a->hosts),
		.status = hosts_status_ops(a->hosts),
		.volumes = storage_volume_ops(a->storage),
	};
	int r;

	for (unsigned i = 0; i < a->o->nfabrics; i++)
		sans[i] = a->fabric_ip[i];
	r = control_init(&cc, &a->control, a->why, sizeof(a->why));

	if (!r)
		hosts_set_control(a->hosts, a->control);
	return r;
}

static void ready(int fd)
{
	if (fd < 0)
		return;
	if (write(fd, "\n", 1) != 1)
		log_warn("--ready-fd %d: %s", fd, strerror(errno));
	close(fd);
}

/* The desired state of the store is at work: open the doors. */
static void first_applied(void *arg, int err, const char *msg)
{
	struct appliance *a = arg;
	SSL_CTX *tls;
	unsigned i = 0;
	int r;

	a->failed = true;
	if (err) {
		log_err("the stored configuration cannot be applied: %s", msg);
		event_base_loopbreak(a->base);
		return;
	}
	tls = control_session_tls(a->control, a->why, sizeof(a->why));
	r = tls ? 0 : -EIO;
	for (; !r && i < a->o->nfabrics; i++)
		r = hosts_listen(a->hosts, a->fabric_ip[i], a->fabric[i].port, tls);
	SSL_CTX_free(tls);
	if (r && tls)
		snprintf(a->why, sizeof(a->why), "control port TCP %s: %s", a->o->fabric[i - 1],
			 r == -EADDRINUSE ? "another process has it: is an outriggerd running already?"
					  : strerror(-r));
	if (!r)
		r = control_listen(a->control, a->why, sizeof(a->why));
	if (r) {
		log_err("%s", a->why);
		event_base_loopbreak(a->base);
		return;
	}
	a->failed = false;
	a->applied = true;
	log_info("outriggerd " OUTRIGGER_VERSION " serves: fabric %s%s, API %s port %u", a->o->fabric[0],
		 a->o->nfabrics > 1 ? " and more" : "", a->api_ip, control_api_port(a->control));
	ready(a->o->ready_fd);
}

static void shut(void *arg)
{
	event_base_loopbreak(arg);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	log_warn("something does not let go; leaving all the same, the store has everything");
	_exit(0);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	static int times;
	struct appliance *a = arg;
	struct timeval late = {.tv_sec = SHUTDOWN_S};

	(void)what;
	if (times++)
		_exit(1);
	log_info("signal %d: leaving; guests wait for the next appliance", (int)sig);
	event_base_once(a->base, -1, EV_TIMEOUT, on_late, a, &late);
	hosts_shutdown(a->hosts, shut, a->base);
}

static int run(struct appliance *a)
{
	struct event *sig[2];
	int status = 1, r;

	sig[0] = evsignal_new(a->base, SIGTERM, on_signal, a);
	sig[1] = evsignal_new(a->base, SIGINT, on_signal, a);
	r = start_data_plane(a);
	if (!r)
		r = start_control(a);
	if (r) {
		log_err("%s", a->why[0] ? a->why : strerror(-r));
		_exit(1);
	}
	event_add(sig[0], NULL);
	event_add(sig[1], NULL);
	{
		struct control_ops ops = hosts_control_ops(a->hosts);

		ops.apply(ops.ctx, control_model(a->control), first_applied, a);
	}
	event_base_dispatch(a->base);
	if (a->failed)
		_exit(1); /* nothing served yet, nothing to take down */
	status = 0;
	dp_stop(a->dp);
	control_fini(a->control);
	hosts_destroy(a->hosts);
	storage_destroy(a->storage);
	buf_pool_destroy(a->bufs);
	for (unsigned i = 0; i < a->o->nrdma; i++)
		buf_pool_destroy(a->rdma_bufs[i]);
	eal_stop();
	event_free(sig[0]);
	event_free(sig[1]);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {.state = NULL,
			    .listen_api = "0.0.0.0:7443",
			    .ready_fd = -1,
			    .worker_cpu = -1,
			    .gro_us = 20,
			    .rekey_s = 3600,
			    .memory = EAL_MEMORY_AUTO,
			    .level = LOG_INFO};
	struct appliance a = {.o = &o};
	int r;

	signal(SIGPIPE, SIG_IGN);
	r = parse(argc, argv, &o);
	if (r)
		return r - 1;
	log_init("outriggerd", o.level);
	nofile_raise();
	for (unsigned i = 0; i < o.nfabrics; i++) {
		if (link_addr_parse(&a.fabric[i], o.fabric[i], LINK_FABRIC_PORT))
			return usage_error("--fabric: '%s' is not an address; write ADDRESS or ADDRESS:PORT, "
					   "IPv6 in brackets",
					   o.fabric[i]);
		ip_text(&a.fabric[i], a.fabric_ip[i], sizeof(a.fabric_ip[i]));
	}
	if (link_addr_parse(&a.api, o.listen_api, CONTROL_API_PORT))
		return usage_error(
			"--listen-api: '%s' is not an address; write ADDRESS:PORT, IPv6 in brackets",
			o.listen_api);
	if (o.nports && geteuid() != 0) {
		log_err("--fabric-port needs root: run it as root or leave the fabric to the kernel");
		return 1;
	}
	ip_text(&a.api, a.api_ip, sizeof(a.api_ip));
	a.base = event_base_new();
	a.storage = storage_create();
	if (!a.base || !a.storage) {
		log_err("out of memory");
		return 1;
	}
	r = run(&a);
	event_base_free(a.base);
	return r;
}
