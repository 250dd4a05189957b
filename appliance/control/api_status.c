/* SPDX-License-Identifier: Apache-2.0 */
/* Status fields and counters: what the doors and the store know about an object. */
#include "appliance/control/api_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/control/field.h"
#include "fabric/base/counter.h"

/* The object's empty status, of its own type. */
static void *new_status(ProtobufCMessage *obj)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(obj->descriptor,
											    "status");
	const ProtobufCMessageDescriptor *d = f->descriptor;
	ProtobufCMessage *s = calloc(1, d->sizeof_message);

	if (s)
		d->message_init(s);
	*(ProtobufCMessage **)(void *)((char *)obj + f->offset) = s;
	return s;
}

/* Appends to a repeated field of pointers; 0 or -1 (no memory; value is not taken then). */
static int append(void *value, void *array, size_t *n)
{
	void **items = reallocarray(*(void **)array, *n + 1, sizeof(void *));

	if (!items)
		return -1;
	items[(*n)++] = value;
	*(void **)array = items;
	return 0;
}

static void append_name(const char *name, char ***names, size_t *n)
{
	char *copy = strdup(name);

	if (copy && append(copy, names, n))
		free(copy);
}

/* Every *Status.counters is a map of strings to uint64, laid out alike. */
static void on_counter(void *arg, const char *scope, const char *name, uint64_t value)
{
	ProtobufCMessage *status = arg;
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(
		status->descriptor, "counters");
	const ProtobufCMessageDescriptor *d = f->descriptor;
	Outrigger__V1__VNicStatus__CountersEntry *e = calloc(1, d->sizeof_message);

	(void)scope;
	if (!e)
		return;
	d->message_init(&e->base);
	e->value = value;
	if (str_set(&e->key, name) ||
	    append(e, (char *)status + f->offset, (size_t *)(void *)((char *)status + f->quantifier_offset)))
		protobuf_c_message_free_unpacked(&e->base, NULL);
}

static void add_counters(struct api *a, enum kind k, const char *name, ProtobufCMessage *status)
{
	if (a->cfg.status.counters)
		a->cfg.status.counters(a->cfg.status.ctx, k, name, on_counter, status);
}

static Outrigger__V1__LinkState link_state(enum status_link l)
{
	return l == STATUS_LINK_UP     ? OUTRIGGER__V1__LINK_STATE__LINK_STATE_UP
	       : l == STATUS_LINK_DOWN ? OUTRIGGER__V1__LINK_STATE__LINK_STATE_DOWN
				       : OUTRIGGER__V1__LINK_STATE__LINK_STATE_UNSPECIFIED;
}

static Outrigger__V1__PathState path_state(enum status_path_state s)
{
	switch (s) {
	case STATUS_PATH_UP:
		return OUTRIGGER__V1__PATH_STATE__PATH_STATE_UP;
	case STATUS_PATH_PROBING:
		return OUTRIGGER__V1__PATH_STATE__PATH_STATE_PROBING;
	case STATUS_PATH_SUSPECT:
		return OUTRIGGER__V1__PATH_STATE__PATH_STATE_SUSPECT;
	default:
		return OUTRIGGER__V1__PATH_STATE__PATH_STATE_DOWN;
	}
}

static void add_path(Outrigger__V1__HostStatus *s, const struct status_path *p)
{
	Outrigger__V1__PathInfo *i = calloc(1, sizeof(*i));

	if (!i)
		return;
	outrigger__v1__path_info__init(i);
	i->state = path_state(p->state);
	i->rtt_us = p->rtt_us;
	i->mtu = p->mtu;
	i->loss_ppm = p->loss_ppm;
	i->share_permille = p->share_permille;
	i->tx_packets = p->tx_packets;
	i->rx_packets = p->rx_packets;
	i->retransmits = p->retransmits;
	if (str_set(&i->local, p->local) || str_set(&i->remote, p->remote) ||
	    append(i, &s->paths, &s->n_paths))
		outrigger__v1__path_info__free_unpacked(i, NULL);
}

/* Devices that are attached to the host's I/O thread of that number. */
static void add_thread_devices(struct api *a, const char *host, unsigned number,
			       Outrigger__V1__IoThreadInfo *t)
{
	const struct status_ops *st = &a->cfg.status;
	const struct model *m = a->cfg.model;

	for (size_t i = 0; st->vnic && i < model_count(m, KIND_VNIC); i++) {
		struct status_device d = {.io_thread = 0};

		if (st->vnic(st->ctx, model_vnic_at(m, i)->name, &d) && d.io_thread == number &&
		    !strcmp(d.host, host))
			append_name(model_vnic_at(m, i)->name, &t->devices, &t->n_devices);
	}
	for (size_t i = 0; st->vdisk && i < model_count(m, KIND_VDISK); i++) {
		struct status_device d = {.io_thread = 0};

		if (st->vdisk(st->ctx, model_vdisk_at(m, i)->name, &d) && d.io_thread == number &&
		    !strcmp(d.host, host))
			append_name(model_vdisk_at(m, i)->name, &t->devices, &t->n_devices);
	}
}

static void add_thread(struct api *a, const char *host, unsigned number, const struct status_thread *from,
		       Outrigger__V1__HostStatus *s)
{
	Outrigger__V1__IoThreadInfo *t = calloc(1, sizeof(*t));

	if (!t)
		return;
	outrigger__v1__io_thread_info__init(t);
	t->number = number;
	t->connected = from->connected;
	t->paths_up = from->paths_up;
	t->busy_permille = from->busy_permille;
	add_thread_devices(a, host, number, t);
	if (append(t, &s->io_threads, &s->n_io_threads))
		outrigger__v1__io_thread_info__free_unpacked(t, NULL);
}

static void describe_host(struct api *a, const char *name, Outrigger__V1__HostStatus *s)
{
	struct status_host h = {.connected = false};
	struct store_cert cert;
	char hex[2 * STORE_HASH_LEN + 1];

	s->state = OUTRIGGER__V1__HOST_STATE__HOST_STATE_PENDING;
	if (store_cert_get(a->cfg.store, name, &cert) == 0) {
		s->state = OUTRIGGER__V1__HOST_STATE__HOST_STATE_ENROLLED;
		pki_hex(cert.fingerprint, sizeof(cert.fingerprint), hex);
		str_set(&s->certificate_serial, cert.serial);
		str_set(&s->certificate_fingerprint, hex);
		s->certificate_not_after = cert.not_after;
	}
	store_token_expires(a->cfg.store, name, &s->token_expires);
	if (a->cfg.status.host && a->cfg.status.host(a->cfg.status.ctx, name, &h) && h.connected) {
		s->state = OUTRIGGER__V1__HOST_STATE__HOST_STATE_CONNECTED;
		s->session_id = h.session_id;
		s->connected_since = h.connected_since;
	}
	if (h.agent_version[0])
		str_set(&s->agent_version, h.agent_version);
	for (unsigned i = 0; i < h.npaths && i < sizeof(h.paths) / sizeof(h.paths[0]); i++)
		add_path(s, &h.paths[i]);
	for (unsigned i = 0; i < h.nthreads; i++)
		add_thread(a, name, i + 1, &h.threads[i], s);
	add_counters(a, KIND_HOST, name, &s->base);
}

static void describe_profile(struct api *a, const char *name, Outrigger__V1__ProfileStatus *s)
{
	const struct model *m = a->cfg.model;

	for (size_t i = 0; i < model_count(m, KIND_VNIC); i++)
		if (!strcmp(model_vnic_at(m, i)->profile, name))
			append_name(model_vnic_at(m, i)->name, &s->vnics, &s->n_vnics);
	for (size_t i = 0; i < model_count(m, KIND_VDISK); i++)
		if (!strcmp(model_vdisk_at(m, i)->profile, name))
			append_name(model_vdisk_at(m, i)->name, &s->vdisks, &s->n_vdisks);
}

static void describe_vnic(struct api *a, const char *name, Outrigger__V1__VNicStatus *s)
{
	struct status_device d;

	memset(&d, 0, sizeof(d));
	if (a->cfg.status.vnic && a->cfg.status.vnic(a->cfg.status.ctx, name, &d)) {
		s->link = link_state(d.link);
		str_set(&s->host, d.host);
		str_set(&s->socket_path, d.socket_path);
	}
	add_counters(a, KIND_VNIC, name, &s->base);
}

static void describe_vdisk(struct api *a, const Outrigger__V1__VDisk *v, Outrigger__V1__VDiskStatus *s)
{
	struct status_device d;

	memset(&d, 0, sizeof(d));
	if (a->cfg.status.vdisk && a->cfg.status.vdisk(a->cfg.status.ctx, v->name, &d)) {
		s->link = link_state(d.link);
		str_set(&s->host, d.host);
		str_set(&s->socket_path, d.socket_path);
	}
	store_epoch_get(a->cfg.store, v->volume, &s->epoch);
	add_counters(a, KIND_VDISK, v->name, &s->base);
}

static void describe_volume(struct api *a, const Outrigger__V1__Volume *v, Outrigger__V1__VolumeStatus *s)
{
	const struct volume_ops *vo = &a->cfg.volumes;
	const Outrigger__V1__VDisk *d = model_volume_vdisk(a->cfg.model, v->name);
	struct volume_bytes b;

	if (vo->stat && vo->stat(vo->ctx, v->pool, v->name, &b) == 0)
		s->allocated_bytes = b.allocated;
	if (d)
		str_set(&s->vdisk, d->name);
	store_epoch_get(a->cfg.store, v->name, &s->epoch);
}

static void describe_pool(struct api *a, const char *name, Outrigger__V1__StoragePoolStatus *s)
{
	const struct volume_ops *vo = &a->cfg.volumes;
	struct pool_bytes b;

	if (vo->pool_bytes && vo->pool_bytes(vo->ctx, name, &b) == 0) {
		s->capacity_bytes = b.capacity;
		s->allocated_bytes = b.used;
		model_pool_available(a->cfg.model, name, &s->free_bytes);
	}
	for (size_t i = 0; i < model_count(a->cfg.model, KIND_VOLUME); i++)
		s->volumes += !strcmp(model_volume_at(a->cfg.model, i)->pool, name);
}

static void describe_network(struct api *a, const char *name, Outrigger__V1__NetworkStatus *s)
{
	const struct model *m = a->cfg.model;

	for (size_t i = 0; i < model_count(m, KIND_VNIC); i++)
		if (!strcmp(model_vnic_at(m, i)->network, name))
			append_name(model_vnic_at(m, i)->name, &s->vnics, &s->n_vnics);
	add_counters(a, KIND_NETWORK, name, &s->base);
}

static void describe_port(struct api *a, const char *name, Outrigger__V1__PortStatus *s)
{
	struct status_port p;

	memset(&p, 0, sizeof(p));
	if (a->cfg.status.port && a->cfg.status.port(a->cfg.status.ctx, name, &p)) {
		s->link = link_state(p.link);
		str_set(&s->mac, p.mac);
		s->speed_mbps = p.speed_mbps;
	}
	add_counters(a, KIND_PORT, name, &s->base);
}

static void describe_group(struct api *a, const Outrigger__V1__UplinkGroup *g,
			   Outrigger__V1__UplinkGroupStatus *s)
{
	const struct model *m = a->cfg.model;

	s->link = OUTRIGGER__V1__LINK_STATE__LINK_STATE_DOWN;
	for (size_t i = 0; i < g->n_ports; i++) {
		struct status_port p;

		memset(&p, 0, sizeof(p));
		if (a->cfg.status.port && a->cfg.status.port(a->cfg.status.ctx, g->ports[i], &p) &&
		    p.link == STATUS_LINK_UP)
			s->link = OUTRIGGER__V1__LINK_STATE__LINK_STATE_UP;
	}
	for (size_t i = 0; i < model_count(m, KIND_NETWORK); i++)
		if (!strcmp(model_network_at(m, i)->uplink_group, g->name))
			append_name(model_network_at(m, i)->name, &s->networks, &s->n_networks);
}

static void describe(struct api *a, enum kind k, const ProtobufCMessage *obj, void *status)
{
	const char *name = obj_name(obj);
	const void *o = obj;

	switch (k) {
	case KIND_HOST:
		describe_host(a, name, status);
		break;
	case KIND_PROFILE:
		describe_profile(a, name, status);
		break;
	case KIND_VNIC:
		describe_vnic(a, name, status);
		break;
	case KIND_VDISK:
		describe_vdisk(a, o, status);
		break;
	case KIND_VOLUME:
		describe_volume(a, o, status);
		break;
	case KIND_POOL:
		describe_pool(a, name, status);
		break;
	case KIND_NETWORK:
		describe_network(a, name, status);
		break;
	case KIND_UPLINK_GROUP:
		describe_group(a, o, status);
		break;
	case KIND_PORT:
		describe_port(a, name, status);
		break;
	default:
		break;
	}
}

ProtobufCMessage *api_describe(struct api *a, enum kind k, const ProtobufCMessage *obj)
{
	ProtobufCMessage *copy = obj_copy(obj);
	void *status = copy ? new_status(copy) : NULL;

	if (!status) {
		obj_free(copy);
		return NULL;
	}
	describe(a, k, obj, status);
	return copy;
}

/* ListCounters collects in this. */
struct listing {
	Outrigger__V1__ListCountersResponse out;
	const char *prefix;
	char scope[96]; /* of the object that is being asked */
};

static void list_counter(void *arg, const char *scope, const char *name, uint64_t value)
{
	struct listing *l = arg;
	Outrigger__V1__Counter *c;
	char full[200];

	scope = scope ? scope : l->scope;
	snprintf(full, sizeof(full), "%s/%s", scope, name);
	if (strncmp(full, l->prefix, strlen(l->prefix)) != 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	outrigger__v1__counter__init(c);
	c->value = value;
	if (str_set(&c->scope, scope) || str_set(&c->name, name) ||
	    append(c, &l->out.counters, &l->out.n_counters))
		outrigger__v1__counter__free_unpacked(c, NULL);
}

static void list_objects(struct api *a, enum kind k, struct listing *l)
{
	for (size_t i = 0; i < model_count(a->cfg.model, k); i++) {
		const char *name = obj_name(model_at(a->cfg.model, k, i));

		snprintf(l->scope, sizeof(l->scope), "%s/%s", kind_info(k)->name, name);
		a->cfg.status.counters(a->cfg.status.ctx, k, name, list_counter, l);
	}
}

API_HANDLER(api_list_counters)
{
	struct api *a = ctx;
	const Outrigger__V1__ListCountersRequest *in = (const void *)req;
	struct listing l = {.out = OUTRIGGER__V1__LIST_COUNTERS_RESPONSE__INIT, .prefix = in->prefix};

	(void)m;
	for (enum kind k = 0; a->cfg.status.counters && k < NKINDS; k++)
		list_objects(a, k, &l);
	snprintf(l.scope, sizeof(l.scope), "appliance");
	if (a->cfg.status.counters)
		a->cfg.status.counters(a->cfg.status.ctx, KIND_NONE, NULL, list_counter, &l);
	for (int i = 0; a->server && i < CONNECT_NCOUNTERS; i++)
		list_counter(&l, "api", connect_counter_names[i],
			     counter_get(&connect_counters(a->server)[i]));
	connect_reply(call, &l.out.base);
	for (size_t i = 0; i < l.out.n_counters; i++)
		outrigger__v1__counter__free_unpacked(l.out.counters[i], NULL);
	free(l.out.counters);
}
