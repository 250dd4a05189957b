/* SPDX-License-Identifier: Apache-2.0 */
/* Naming a device, and finding out whether it can serve. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/link/verbs/verbs_impl.h"

#define MTU_MIN 256u
#define MTU_MAX 4096u

static int bad(char *why, size_t why_len, const char *text, const char *what)
{
	snprintf(why, why_len, "'%s' is not DEVICE[/PORT[/GID]][,OPTION=N]...: %s", text, what);
	return -EINVAL;
}

/* A number up to max that ends at one of "stops" or the string's end. */
static int number(const char **p, unsigned long max, const char *stops, unsigned long *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	*out = strtoul(*p, &end, 10);
	if (*out > max || (*end && !strchr(stops, *end)))
		return -EINVAL;
	*p = end;
	return 0;
}

/* NULL, or what it must be. */
static const char *option(struct verbs_port *p, const char **at)
{
	static const struct {
		const char *name, *must;
		unsigned long max;
	} known[] = {{"tc=", "tc is 0 to 255", 255},
		     {"sl=", "sl is 0 to 15", 15},
		     {"pkey=", "pkey is an index, 0 to 65535", UINT16_MAX},
		     {"mtu=", "mtu is 256, 512, 1024, 2048 or 4096", MTU_MAX},
		     {"sealed=", "sealed is 0 or 1", 1}};
	unsigned long n;

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t len = strlen(known[i].name);

		if (strncmp(*at, known[i].name, len))
			continue;
		*at += len;
		if (number(at, known[i].max, ",", &n) || (i == 3 && (n < MTU_MIN || n & (n - 1))))
			return known[i].must;
		if (i == 0)
			p->traffic_class = (uint8_t)n;
		else if (i == 1)
			p->sl = (uint8_t)n;
		else if (i == 2)
			p->pkey = (uint16_t)n;
		else if (i == 3)
			p->mtu = (uint16_t)n;
		else
			p->sealed = n;
		return NULL;
	}
	return "an OPTION is tc, sl, pkey, mtu or sealed";
}

int verbs_port_parse(struct verbs_port *out, const char *text, char *why, size_t why_len)
{
	struct verbs_port p = {.port = 1, .gid = VERBS_GID_AUTO};
	size_t len = strcspn(text, "/,");
	const char *at = text + len, *must;
	unsigned long n;

	if (!len || len >= sizeof(p.device))
		return bad(why, why_len, text, "DEVICE is a name that ibv_devices lists");
	memcpy(p.device, text, len);
	if (*at == '/') {
		at++;
		if (number(&at, 254, "/,", &n) || !n)
			return bad(why, why_len, text, "PORT is 1 to 254");
		p.port = (uint8_t)n;
	}
	if (*at == '/') {
		at++;
		if (number(&at, 255, ",", &n))
			return bad(why, why_len, text, "GID is an index, 0 to 255");
		p.gid = (int)n;
	}
	while (*at == ',') {
		at++;
		must = option(&p, &at);
		if (must)
			return bad(why, why_len, text, must);
	}
	*out = p;
	return 0;
}

static bool is_v4(const union ibv_gid *g)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(g->raw, prefix, sizeof(prefix));
}

/* The entry that was found before, if it is what it was: a table may have a thousand. */
static bool gid_stands(struct verbs_dev *d)
{
	struct ibv_gid_entry e;

	return d->found && !d->api->query_gid(d->ctx, d->port.port, d->gid.gid_index, &e) &&
	       e.gid_type == d->gid.gid_type && !memcmp(&e.gid, &d->gid.gid, sizeof(e.gid)) && is_v4(&e.gid);
}

/* The entry that was named, or the best there is. */
static int find_gid(struct verbs_dev *d)
{
	struct ibv_gid_entry e;
	bool found = false;

	if (d->port.gid >= 0 || !d->ethernet) {
		uint32_t index = d->port.gid >= 0 ? (uint32_t)d->port.gid : 0;

		return d->api->query_gid(d->ctx, d->port.port, index, &d->gid) ? -ENODATA : 0;
	}
	if (gid_stands(d))
		return 0;
	for (int i = 0; i < d->pattr.gid_tbl_len; i++) {
		if (d->api->query_gid(d->ctx, d->port.port, (uint32_t)i, &e) ||
		    e.gid_type != IBV_GID_TYPE_ROCE_V2)
			continue;
		if (!found || is_v4(&e.gid))
			d->gid = e;
		found = true;
		if (is_v4(&e.gid))
			break;
	}
	d->found = found;
	return found ? 0 : -ENODATA;
}

int vdev_look(struct verbs_dev *d, char *why, size_t why_len)
{
	const struct verbs_port *p = &d->port;

	if (d->api->query_port(d->ctx, p->port, &d->pattr)) {
		snprintf(why, why_len, "RDMA device %s has no port %u", p->device, p->port);
		return -EINVAL;
	}
	while (p->mtu && d->pattr.active_mtu > IBV_MTU_256 &&
	       MTU_MIN << (d->pattr.active_mtu - IBV_MTU_256) > p->mtu)
		d->pattr.active_mtu--;
	d->ethernet = d->pattr.link_layer == IBV_LINK_LAYER_ETHERNET;
	if (d->pattr.state != IBV_PORT_ACTIVE && d->pattr.state != IBV_PORT_ACTIVE_DEFER) {
		snprintf(why, why_len,
			 "port %u of RDMA device %s is not active: is its cable in, its interface up%s?",
			 p->port, p->device, d->ethernet ? "" : ", a subnet manager running");
		return -ENETDOWN;
	}
	if (!find_gid(d))
		return 0;
	if (p->gid >= 0)
		snprintf(why, why_len, "port %u of RDMA device %s has no GID %d: see ibv_devinfo -v", p->port,
			 p->device, p->gid);
	else
		snprintf(why, why_len,
			 "port %u of RDMA device %s has no RoCEv2 GID: give its network interface an IP "
			 "address",
			 p->port, p->device);
	return -ENETDOWN;
}

int vdev_open(struct verbs_dev *d, const struct verbs_api *api, const struct verbs_port *port, char *why,
	      size_t why_len)
{
	char names[160];
	int r;

	memset(d, 0, sizeof(*d));
	d->api = api ? api : &verbs_api_ib;
	d->port = *port;
	d->ctx = d->api->open(port->device, &r);
	if (!d->ctx && r == -ENODEV) {
		d->api->list(names, sizeof(names));
		snprintf(why, why_len, "there is no RDMA device %s here%s%s", port->device,
			 names[0] ? "; there is " : ", nor any other", names);
	} else if (!d->ctx) {
		snprintf(why, why_len, "RDMA device %s cannot be opened: %s", port->device, strerror(-r));
	}
	if (!d->ctx)
		return r;
	d->odp = d->api->odp(d->ctx);
	r = -EIO;
	if (d->api->query_device(d->ctx, &d->attr))
		snprintf(why, why_len, "RDMA device %s does not answer", port->device);
	else
		r = vdev_look(d, why, why_len);
	if (r && r != -ENETDOWN)
		vdev_close(d);
	return r;
}

void vdev_close(struct verbs_dev *d)
{
	if (d->ctx)
		d->api->close(d->ctx);
	d->ctx = NULL;
}
