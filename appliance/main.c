/* SPDX-License-Identifier: Apache-2.0 */
/* outriggerd: the appliance. Puts the rooms together; implementations are chosen here. */
#include <errno.h>
#include <event2/event.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appliance/control/control.h"
#include "appliance/dataplane/dataplane.h"
#include "appliance/hosts/hosts.h"
#include "appliance/options.h"
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
#define RDMA_RX		1024u
#define RDMA_KEPT	512u
#define RDMA_PEERS	64u
#define RDMA_TX		1536u
#define RDMA_SPINS	32u
#define WORKER_LCORE	1u
#define SHUTDOWN_S	5
#define PACKET_OVERHEAD 48u /* base header and the longer tag */

struct appliance {
	const struct options *o;
	struct event_base *base;
	char fabric_ip[HOSTS_FABRICS][64], api_ip[64];
	struct buf_pool *bufs, *rdma_bufs[HOSTS_FABRICS];
	struct storage *storage;
	struct hosts *hosts;
	struct dp *dp;
	struct control *control;
	bool eal, applied, failed;
	char why[512];
};

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
		.local = a->o->fabric_addr[i],
		.max_payload = o->chunk > (int)RT_CHUNK_DEFAULT ? (uint32_t)o->chunk + PACKET_OVERHEAD : 0};
	char path[PATH_MAX];
	struct link *l, *over;
	int r = 0;

	if (o->nports) {
		dc.xdp_prog = o->xdp_prog ? o->xdp_prog : find_xdp(path, sizeof(path));
		l = link_dpdk_create(&dc, &r, a->why, sizeof(a->why));
	} else {
		l = link_udp_create(&a->o->fabric_addr[i], a->bufs, &r);
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
	if (r)
		log_warn("fabric: %s; its paths wait for it", a->why);
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
	memcpy(hc.fabric, a->o->fabric_addr, sizeof(hc.fabric));
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
		.api_port = a->o->api_addr.port,
		.session_port = a->o->fabric_addr[0].port,
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
		r = hosts_listen(a->hosts, a->fabric_ip[i], a->o->fabric_addr[i].port, tls);
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
	struct options o;
	struct appliance a = {.o = &o};
	int r;

	signal(SIGPIPE, SIG_IGN);
	r = options_parse(argc, argv, &o);
	if (r)
		return r - 1;
	log_init("outriggerd", o.level);
	nofile_raise();
	for (unsigned i = 0; i < o.nfabrics; i++)
		ip_text(&o.fabric_addr[i], a.fabric_ip[i], sizeof(a.fabric_ip[i]));
	if (o.nports && geteuid() != 0) {
		log_err("--fabric-port needs root: run it as root or leave the fabric to the kernel");
		return 1;
	}
	ip_text(&o.api_addr, a.api_ip, sizeof(a.api_ip));
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
