/* SPDX-License-Identifier: Apache-2.0 */
/* outrigger-agent: the light process on a host that tunnels its guests' virtqueues to the appliance. */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/base/nofile.h"
#include "fabric/chan/pki.h"
#include "fabric/link/link.h"
#include "fabric/link/link_impair.h"
#include "fabric/rt/rt.h"
#include "hostagent/control/enroll.h"
#include "hostagent/control/session.h"
#include "hostagent/engine/engine.h"
#include "hostagent/engine/lanes.h"
#include "hostagent/io_threads.h"

#define STATE_DIR "/var/lib/outrigger-agent"
#define RUN_DIR	  "/run/outrigger"
/* Of a VM with a vNIC and a disk of one queue each: sockets, kicks, calls, the region of requests in flight.
 */
#define FILES_PER_VM 8u
/* A host's certificate is not renewed by itself: from so many days before its end each start says so. */
#define CERT_DAYS_LEFT 60u
#define FILES_WANTED   4096u

struct options {
	const char *state, *run_dir, *group, *token;
	const char *appliance[AGENT_TARGETS];
	unsigned nappliances;
	struct verbs_port rdma[ENGINE_RDMA_PORTS];
	unsigned nrdma;
	struct link_impair_cfg impair;
	bool impaired;
	unsigned poll_us;
	unsigned nthreads;
	int cpu[LANES_MAX]; /* -1: any */
	unsigned ncpus;
	unsigned ready_fd; /* UINT_MAX: not given */
	unsigned chunk;	   /* 0: not given */
	enum log_level level;
};

static const char usage_text[] =
	"Usage: outrigger-agent [OPTIONS] --appliance ADDRESS[:PORT]\n"
	"       outrigger-agent enroll --appliance ADDRESS:PORT --token TOKEN [--state DIR]\n"
	"\n"
	"Tunnels the virtual NICs and disks of this host's guests to an Outrigger appliance.\n"
	"Enrol once with a token from `outriggerctl host enroll-token NAME`, then run it.\n"
	"\n"
	"      --appliance ADDRESS[:PORT]  enroll: the appliance's API; else its fabric address\n"
	"                                  (port 4793); may be given again: other ways to the same "
	"appliance\n"
	"      --fabric verbs:DEVICE[/PORT[/GID]][,tc=N][,sl=N][,pkey=N][,mtu=N][,sealed=1]\n"
	"                        an RDMA port with a way to the appliance's; up to three times, in the\n"
	"                        order of the appliance's. Without it the fabric is UDP alone\n"
	"      --token TOKEN     one-time enrolment token\n"
	"      --state DIR       certificate and key of this host (" STATE_DIR ")\n"
	"      --run-dir DIR     sockets of the guests, DIR/DEVICE.sock (" RUN_DIR ")\n"
	"      --group NAME      group that may use DIR and the sockets in it: QEMU's\n"
	"      --chunk BYTES     largest packet payload to try where the fabric's MTU allows, 256 to 8192\n"
	"                        (8192); 1344 fits an MTU of 1500\n"
	"      --io-threads N    share the devices among N I/O threads (1 to 16, default 1), each with a "
	"session\n"
	"                        of its own; for hosts whose load is more than one processor can move\n"
	"      --cpu N[,N...]    stay on processor N, one that the guests are kept off; one for each I/O "
	"thread\n"
	"      --poll-us N       after work, look for more during N microseconds (1 to 1000) before "
	"sleeping,\n"
	"                        while work comes at least so often: lower latency and fewer wake-ups for a\n"
	"                        processor that is busy meanwhile; only with --cpu (0: never)\n"
	"      --impair SPEC     damage the fabric for tests: drop=1%,dup=0.1%,reorder=1%,delay=2ms,\n"
	"                        corrupt=0.01%,seed=7\n"
	"      --log-level L     error, warning, info (default), debug\n"
	"      --ready-fd N      write a newline to descriptor N when serving\n"
	"  -h, --help            this text\n"
	"  -V, --version         the version\n";

static int usage_error(const char *fmt, const char *arg)
{
	fprintf(stderr, "outrigger-agent: ");
	fprintf(stderr, fmt, arg);
	fprintf(stderr, "\nTry `outrigger-agent --help`.\n");
	return 2;
}

static bool parse_number(const char *text, unsigned max, unsigned *out)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n > max)
		return false;
	*out = (unsigned)n;
	return true;
}

/* N[,N...] */
static bool parse_cpus(const char *text, struct options *o)
{
	char one[16];
	size_t len;
	unsigned n;

	for (o->ncpus = 0; o->ncpus < LANES_MAX; text += len + 1) {
		len = strcspn(text, ",");
		if (len >= sizeof(one))
			return false;
		memcpy(one, text, len);
		one[len] = '\0';
		if (!parse_number(one, CPU_SETSIZE - 1, &n))
			return false;
		o->cpu[o->ncpus++] = (int)n;
		if (!text[len])
			return true;
	}
	return false;
}

static int check_enroll(const struct options *o)
{
	if (o->nappliances != 1)
		return 1 + usage_error("enroll: %s",
				       o->nappliances ? "one --appliance is enough, any of its addresses"
						      : "--appliance is missing: where is its API?");
	if (!o->token)
		return 1 + usage_error("%s is missing: get one with `outriggerctl host enroll-token NAME`",
				       "--token");
	return 0;
}

static int check(const struct options *o)
{
	if (o->token)
		return 1 + usage_error("%s belongs to `outrigger-agent enroll`", "--token");
	if (!o->nappliances)
		return 1 + usage_error("%s is missing: where is the appliance?", "--appliance");
	if (o->ncpus && o->ncpus != o->nthreads)
		return 1 + usage_error("--cpu: %s", "one processor is needed for each of the --io-threads");
	if (o->poll_us && !o->ncpus)
		return 1 +
		       usage_error("%s needs --cpu: polling takes a processor that must be the agent's own",
				   "--poll-us");
	return 0;
}

/* 0: go on; else the exit status + 1. */
static int parse(int argc, char **argv, bool enroll, struct options *o)
{
	static const struct option longs[] = {
		{"appliance", required_argument, NULL, 'a'},  {"token", required_argument, NULL, 't'},
		{"state", required_argument, NULL, 's'},      {"run-dir", required_argument, NULL, 'r'},
		{"group", required_argument, NULL, 'g'},      {"cpu", required_argument, NULL, 'C'},
		{"io-threads", required_argument, NULL, 'n'}, {"chunk", required_argument, NULL, 'c'},
		{"poll-us", required_argument, NULL, 'p'},    {"fabric", required_argument, NULL, 'F'},
		{"impair", required_argument, NULL, 'i'},     {"log-level", required_argument, NULL, 'l'},
		{"ready-fd", required_argument, NULL, 'f'},   {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},	      {NULL, 0, NULL, 0},
	};
	char why[240];
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		switch (c) {
		case 'a':
			if (o->nappliances == AGENT_TARGETS)
				return 1 +
				       usage_error("--appliance %s is one too many: four addresses at most",
						   optarg);
			o->appliance[o->nappliances++] = optarg;
			break;
		case 'F':
			if (strncmp(optarg, "verbs:", 6))
				return 1 +
				       usage_error("--fabric: '%s' is not verbs:DEVICE; UDP needs no option",
						   optarg);
			if (o->nrdma == ENGINE_RDMA_PORTS)
				return 1 + usage_error("--fabric %s is one too many: three at most", optarg);
			if (verbs_port_parse(&o->rdma[o->nrdma++], optarg + 6, why, sizeof(why)))
				return 1 + usage_error("--fabric verbs: %s", why);
			break;
		case 't':
			o->token = optarg;
			break;
		case 's':
			o->state = optarg;
			break;
		case 'r':
			o->run_dir = optarg;
			break;
		case 'g':
			o->group = optarg;
			break;
		case 'c':
			if (!parse_number(optarg, RT_CHUNK_MAX, &o->chunk) || o->chunk < RT_CHUNK_MIN)
				return 1 + usage_error("--chunk: '%s' is not within 256 to 8192", optarg);
			break;
		case 'i':
			if (link_impair_parse(&o->impair, optarg, why, sizeof(why)))
				return 1 + usage_error("--impair: %s", why);
			o->impaired = true;
			break;
		case 'C':
			if (!parse_cpus(optarg, o))
				return 1 + usage_error("--cpu: '%s' is not N[,N...]: processors, 16 at most",
						       optarg);
			break;
		case 'n':
			if (!parse_number(optarg, LANES_MAX, &o->nthreads) || !o->nthreads)
				return 1 + usage_error("--io-threads: '%s' is not 1 to 16", optarg);
			break;
		case 'p':
			if (!parse_number(optarg, 1000, &o->poll_us))
				return 1 + usage_error("--poll-us: '%s' is not 0 to 1000", optarg);
			break;
		case 'l':
			if (log_level_parse(optarg, &o->level))
				return 1 +
				       usage_error("--log-level: '%s' is none of error, warning, info, debug",
						   optarg);
			break;
		case 'f':
			if (!parse_number(optarg, INT_MAX, &o->ready_fd))
				return 1 + usage_error("--ready-fd: '%s' is no descriptor", optarg);
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 1;
		case 'V':
			puts("outrigger-agent " OUTRIGGER_VERSION);
			return 1;
		default:
			return 1 + usage_error("unknown option or missing value: %s", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return 1 + usage_error(strcmp(argv[optind], "enroll")
					       ? "unexpected argument: %s"
					       : "%s comes first, its options behind it",
				       argv[optind]);
	return enroll ? check_enroll(o) : check(o);
}

static void ready(unsigned fd)
{
	if (fd == UINT_MAX)
		return;
	if (write((int)fd, "\n", 1) != 1)
		log_warn("--ready-fd %u: %s", fd, strerror(errno));
	close((int)fd);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	log_info("signal %d: leaving; the guests' rings wait for the next agent", (int)sig);
	event_base_loopbreak(arg);
}

/* [ADDRESS]:PORT or NAME:PORT; NULL: malformed. The result is malloc'ed. */
static char *split_host(const char *text, uint16_t *port)
{
	struct link_addr a;
	const char *colon = strrchr(text, ':');
	char buf[LINK_ADDR_STR], *host;
	unsigned long n;
	char *end;

	if (!link_addr_parse(&a, text, *port)) {
		*port = a.port;
		link_addr_format(&a, buf);
		host = buf[0] == '[' ? strndup(buf + 1, strcspn(buf + 1, "]"))
				     : strndup(buf, strcspn(buf, ":"));
		return host;
	}
	if (!*text || colon == text)
		return NULL;
	if (!colon)
		return strdup(text);
	n = strtoul(colon + 1, &end, 10);
	if (*end || !n || n > 65535)
		return NULL;
	*port = (uint16_t)n;
	return strndup(text, (size_t)(colon - text));
}

static SSL_CTX *load_identity(const char *state)
{
	char ca[4096], crt[4096], key[4096];
	struct pki_why why;
	SSL_CTX *tls;

	snprintf(ca, sizeof(ca), "%s/ca.crt", state);
	snprintf(crt, sizeof(crt), "%s/host.crt", state);
	snprintf(key, sizeof(key), "%s/host.key", state);
	if (access(crt, F_OK)) {
		log_err("this host is not enrolled (no %s): on the appliance `outriggerctl host enroll-token "
			"NAME`, "
			"here `outrigger-agent enroll --appliance ADDRESS:PORT --token TOKEN`",
			crt);
		return NULL;
	}
	tls = pki_client_ctx(ca, crt, key, &why);
	if (!tls)
		log_err("cannot use this host's certificate: %s; enrol again to have another", why.text);
	else if (pki_cert_dates(crt, CERT_DAYS_LEFT, &why))
		log_warn("%s: is this host's clock right? Else enrol again (`outriggerctl host enroll-token "
			 "NAME`) "
			 "and restart the agent",
			 why.text);
	return tls;
}

/* Found once, at the start: what answers may be a directory service. */
static int find_group(const char *name, gid_t *gid)
{
	const struct group *g = getgrnam(name);

	if (!g) {
		log_err("--group %s: there is no such group here; name QEMU's", name);
		return -ENOENT;
	}
	*gid = g->gr_gid;
	return 0;
}

/* QEMU must get at the disks' sockets in it, and makes the NICs' itself. */
static int make_run_dir(const char *path, gid_t group)
{
	const mode_t all = S_IRWXG, others = S_IRWXO;
	struct stat st;

	if ((mkdir(path, 0750) && errno != EEXIST) || stat(path, &st))
		return -errno;
	if (!group || (st.st_gid == group && (st.st_mode & all) == all) || (st.st_mode & others) == others)
		return 0;
	return chown(path, (uid_t)-1, group) || chmod(path, (st.st_mode & 07777) | all) ? -errno : 0;
}

static int serve(const struct options *o)
{
	struct agent_session_cfg cfg = {
		.run_dir = o->run_dir,
		.impair = o->impaired ? &o->impair : NULL,
		.chunk = o->chunk,
		.poll_ns = o->poll_us * NSEC_PER_USEC,
		.rdma = o->rdma,
		.nrdma = o->nrdma,
	};
	char why[256];
	struct io_threads *threads = NULL;
	struct event *sig[2] = {NULL, NULL};
	struct event_base *base = NULL;
	unsigned long files;
	int status = 1;

	for (; cfg.ntargets < o->nappliances; cfg.ntargets++) {
		struct agent_target *t = &cfg.target[cfg.ntargets];

		t->port = LINK_FABRIC_PORT;
		t->host = split_host(o->appliance[cfg.ntargets], &t->port);
		if (!t->host)
			return usage_error("--appliance: '%s' is not ADDRESS[:PORT]",
					   o->appliance[cfg.ntargets]);
	}
	for (unsigned i = 0; i < o->nrdma; i++) {
		if (engine_rdma_check(&o->rdma[i], why, sizeof(why))) {
			log_err("--fabric verbs: %s", why);
			goto out;
		}
	}
	if (o->group && find_group(o->group, &cfg.group))
		goto out;
	cfg.tls = load_identity(o->state);
	if (!cfg.tls)
		goto out;
	if (make_run_dir(o->run_dir, cfg.group)) {
		log_err("cannot make the run directory %s, or give it to --group: %s", o->run_dir,
			strerror(errno));
		goto out;
	}
	base = event_base_new();
	if (!base)
		goto out;
	cfg.base = base;
	sig[0] = evsignal_new(base, SIGTERM, on_signal, base);
	sig[1] = evsignal_new(base, SIGINT, on_signal, base);
	if (!sig[0] || !sig[1] || event_add(sig[0], NULL) || event_add(sig[1], NULL))
		goto out;
	if (io_threads_start(&cfg, o->nthreads, o->cpu, &threads))
		goto out;
	log_info("outrigger-agent " OUTRIGGER_VERSION " for the appliance at %s port %u", cfg.target[0].host,
		 cfg.target[0].port);
	files = nofile_raise();
	if (files < FILES_WANTED)
		log_warn("may open only %lu files, which is enough for about %lu VMs: raise the limit "
			 "(LimitNOFILE= of systemd, ulimit -Hn)",
			 files, files / FILES_PER_VM);
	ready(o->ready_fd);
	event_base_dispatch(base);
	status = 0;
out:
	io_threads_stop(threads);
	for (int i = 0; i < 2; i++)
		if (sig[i])
			event_free(sig[i]);
	if (base)
		event_base_free(base);
	SSL_CTX_free(cfg.tls);
	for (unsigned i = 0; i < cfg.ntargets; i++)
		free((char *)cfg.target[i].host);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {.state = STATE_DIR,
			    .run_dir = RUN_DIR,
			    .nthreads = 1,
			    .ready_fd = UINT_MAX,
			    .level = LOG_INFO};
	bool enroll = argc > 1 && !strcmp(argv[1], "enroll");
	int r;

	for (unsigned i = 0; i < LANES_MAX; i++)
		o.cpu[i] = -1;
	signal(SIGPIPE, SIG_IGN);
	r = parse(argc - enroll, argv + enroll, enroll, &o);
	if (r)
		return r - 1;
	log_init("outrigger-agent", o.level);
	return enroll ? agent_enroll(o.appliance[0], o.token, o.state) : serve(&o);
}
