/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold for every kind: references, fixed fields, numbers in range. Errors begin with the field. */
#include "appliance/control/model_impl.h"

#include <string.h>

#define DESCRIPTION_MAX 1024
#define LABELS_MAX	64
#define LABEL_KEY_MAX	63
#define LABEL_VALUE_MAX 255
#define DEVICE_MAX	255
#define VLAN_MAX	4094
#define GROUP_PORTS_MAX 8
#define MTU_MIN		576
#define MTU_MAX		9000
#define MTU_DEFAULT	1500
#define QUEUES_MAX	8
#define IO_THREADS_MAX	16 /* of an agent */
#define SERIAL_MAX	20 /* virtio 1.2 section 5.2.6: VIRTIO_BLK_ID_BYTES */

const struct reference references[] = {
	{KIND_PROFILE, "host", KIND_HOST, false},
	{KIND_VNIC, "profile", KIND_PROFILE, true},
	{KIND_VNIC, "network", KIND_NETWORK, true},
	{KIND_VDISK, "profile", KIND_PROFILE, true},
	{KIND_VDISK, "volume", KIND_VOLUME, true},
	{KIND_VOLUME, "pool", KIND_POOL, true},
	{KIND_NETWORK, "uplink_group", KIND_UPLINK_GROUP, false},
	{KIND_UPLINK_GROUP, "ports", KIND_PORT, false},
};
const size_t nreferences = sizeof(references) / sizeof(references[0]);

bool field_is_fixed(enum kind k, const char *field)
{
	static const struct {
		enum kind kind;
		const char *field;
	} fixed[] = {
		{KIND_VNIC, "frontend"},  {KIND_VDISK, "volume"}, {KIND_VOLUME, "pool"},
		{KIND_POOL, "directory"}, {KIND_POOL, "memory"},  {KIND_PORT, "device"},
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (fixed[i].kind == k && !strcmp(fixed[i].field, field))
			return true;
	return false;
}

static int check_references(const struct model *m, enum kind k, const ProtobufCMessage *obj,
			    struct api_err *err)
{
	for (size_t r = 0; r < nreferences; r++) {
		const struct reference *ref = &references[r];
		const ProtobufCFieldDescriptor *f;

		if (ref->from != k)
			continue;
		f = field_find(obj->descriptor, ref->field, strlen(ref->field));
		if (ref->required && field_strings(obj, f) == 0)
			return api_fail(err, API_INVALID_ARGUMENT, "%s: is missing", ref->field);
		for (size_t i = 0; i < field_strings(obj, f); i++)
			if (!model_get(m, ref->to, field_string(obj, f, i)))
				return api_fail(err, API_INVALID_ARGUMENT, "%s: %s \"%.63s\" does not exist",
						ref->field, kind_info(ref->to)->name,
						field_string(obj, f, i));
	}
	return 0;
}

/* proto3 enumerations are open: any number can come. 0 becomes the default. */
static int check_enums(ProtobufCMessage *obj, struct api_err *err)
{
	for (unsigned i = 0; i < obj->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &obj->descriptor->fields[i];
		int32_t *v;

		if (f->type != PROTOBUF_C_TYPE_ENUM || f->label == PROTOBUF_C_LABEL_REPEATED)
			continue;
		v = (int32_t *)(void *)((char *)obj + f->offset);
		if (!protobuf_c_enum_descriptor_get_value(f->descriptor, *v))
			return api_fail(err, API_INVALID_ARGUMENT, "%s: %d is not a value of %s", f->name, *v,
					((const ProtobufCEnumDescriptor *)f->descriptor)->short_name);
		if (*v == 0)
			*v = 1; /* every enumeration of a writable field has its default there */
	}
	return 0;
}

/* A number field by name with a range and a default for 0; nothing when the kind has no such field. */
static int check_range(ProtobufCMessage *obj, const char *field, uint32_t min, uint32_t max, uint32_t def,
		       struct api_err *err)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(obj->descriptor,
											    field);
	uint32_t *v;

	if (!f)
		return 0;
	v = (uint32_t *)(void *)((char *)obj + f->offset);
	if (*v == 0)
		*v = def;
	if (*v < min || *v > max)
		return api_fail(err, API_INVALID_ARGUMENT, "%s: %u is out of range %u..%u", field, *v, min,
				max);
	return 0;
}

static int check_description(const ProtobufCMessage *obj, struct api_err *err)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(obj->descriptor,
											    "description");

	if (field_strings(obj, f) && strlen(field_string(obj, f, 0)) > DESCRIPTION_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "description: is longer than %d bytes",
				DESCRIPTION_MAX);
	return 0;
}

const Outrigger__V1__VNic *model_tap_clash(const struct model *m, const char *host, const char *profile,
					   const char *tap, const char *except)
{
	for (size_t i = 0; i < model_count(m, KIND_VNIC); i++) {
		const Outrigger__V1__VNic *v = model_vnic_at(m, i);
		const Outrigger__V1__Profile *p = model_profile(m, v->profile);

		if (v->frontend == OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_TAP &&
		    !strcmp(v->tap_name, tap) && strcmp(v->name, except) != 0 &&
		    (!strcmp(v->profile, profile) || (!str_empty(host) && p && !strcmp(p->host, host))))
			return v;
	}
	return NULL;
}

static int validate_profile(const struct model *m, const Outrigger__V1__Profile *p, struct api_err *err)
{
	if (p->n_labels > LABELS_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "labels: more than %d", LABELS_MAX);
	for (size_t i = 0; i < p->n_labels; i++) {
		size_t key = strlen(p->labels[i]->key);

		if (key == 0 || key > LABEL_KEY_MAX || strlen(p->labels[i]->value) > LABEL_VALUE_MAX)
			return api_fail(err, API_INVALID_ARGUMENT,
					"labels: \"%.63s\": a key has 1..%d bytes, a value %d at most",
					p->labels[i]->key, LABEL_KEY_MAX, LABEL_VALUE_MAX);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(p->labels[i]->key, p->labels[j]->key))
				return api_fail(err, API_INVALID_ARGUMENT, "labels: \"%.63s\" is there twice",
						p->labels[i]->key);
	}
	/* Its TAP interfaces come along and must not meet one of the same name on the new host. */
	for (size_t i = 0; !str_empty(p->host) && i < model_count(m, KIND_VNIC); i++) {
		const Outrigger__V1__VNic *v = model_vnic_at(m, i), *other;

		if (strcmp(v->profile, p->name) != 0 ||
		    v->frontend != OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_TAP)
			continue;
		other = model_tap_clash(m, p->host, p->name, v->tap_name, v->name);
		if (other)
			return api_fail(
				err, API_FAILED_PRECONDITION,
				"host: vnic \"%s\" and vnic \"%s\" would both be TAP interface %s there",
				v->name, other->name, v->tap_name);
	}
	return 0;
}

static int validate_vdisk(const struct model *m, Outrigger__V1__VDisk *d, struct api_err *err)
{
	const Outrigger__V1__VDisk *other = model_volume_vdisk(m, d->volume);
	char serial[SERIAL_MAX + 1];

	if (other && strcmp(other->name, d->name) != 0)
		return api_fail(err, API_ALREADY_EXISTS, "volume: \"%s\" is already given to vdisk \"%s\"",
				d->volume, other->name);
	if (str_empty(d->serial)) {
		memcpy(serial, d->uid, SERIAL_MAX);
		serial[SERIAL_MAX] = '\0';
		return str_set(&d->serial, serial) ? api_fail(err, API_UNAVAILABLE, "out of memory") : 0;
	}
	if (strlen(d->serial) > SERIAL_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "serial: is longer than %d characters",
				SERIAL_MAX);
	for (const char *p = d->serial; *p; p++)
		if (*p < 0x21 || *p > 0x7e)
			return api_fail(err, API_INVALID_ARGUMENT,
					"serial: only printable ASCII without blanks");
	return 0;
}

static int validate_network(const struct model *m, const Outrigger__V1__Network *n, struct api_err *err)
{
	if (n->vlan > VLAN_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "vlan: %u is out of range 0..%d", n->vlan,
				VLAN_MAX);
	if (str_empty(n->uplink_group))
		return n->vlan ? api_fail(err, API_INVALID_ARGUMENT,
					  "vlan: a network without uplink_group has no VLAN")
			       : 0;
	for (size_t i = 0; i < model_count(m, KIND_NETWORK); i++) {
		const Outrigger__V1__Network *o = model_network_at(m, i);

		if (o->vlan == n->vlan && !strcmp(o->uplink_group, n->uplink_group) &&
		    strcmp(o->name, n->name) != 0)
			return api_fail(err, API_ALREADY_EXISTS,
					"vlan: %u on uplink-group \"%s\" is taken by network \"%s\"", n->vlan,
					n->uplink_group, o->name);
	}
	return 0;
}

static int validate_group(const struct model *m, const Outrigger__V1__UplinkGroup *g, struct api_err *err)
{
	if (g->n_ports > GROUP_PORTS_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "ports: more than %d", GROUP_PORTS_MAX);
	for (size_t i = 0; i < g->n_ports; i++) {
		const Outrigger__V1__UplinkGroup *o = model_port_group(m, g->ports[i]);

		if (o && strcmp(o->name, g->name) != 0)
			return api_fail(err, API_ALREADY_EXISTS,
					"ports: \"%s\" is already in uplink-group \"%s\"", g->ports[i],
					o->name);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(g->ports[i], g->ports[j]))
				return api_fail(err, API_INVALID_ARGUMENT, "ports: \"%s\" is there twice",
						g->ports[i]);
	}
	return 0;
}

static int validate_port(const struct model *m, const Outrigger__V1__Port *p, struct api_err *err)
{
	if (str_empty(p->device))
		return api_fail(err, API_INVALID_ARGUMENT, "device: is missing");
	if (strlen(p->device) > DEVICE_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "device: is longer than %d characters",
				DEVICE_MAX);
	for (const char *c = p->device; *c; c++)
		if (*c < 0x21 || *c > 0x7e)
			return api_fail(err, API_INVALID_ARGUMENT,
					"device: only printable ASCII without blanks");
	for (size_t i = 0; i < model_count(m, KIND_PORT); i++) {
		const Outrigger__V1__Port *o = model_port_at(m, i);

		if (!strcmp(o->device, p->device) && strcmp(o->name, p->name) != 0)
			return api_fail(err, API_ALREADY_EXISTS, "device: is already port \"%s\"", o->name);
	}
	return 0;
}

int validate(const struct model *m, enum kind k, ProtobufCMessage *obj, const ProtobufCMessage *before,
	     struct api_err *err)
{
	void *o = obj;

	if (check_description(obj, err) || check_references(m, k, obj, err) || check_enums(obj, err) ||
	    check_range(obj, "mtu", MTU_MIN, MTU_MAX, MTU_DEFAULT, err) ||
	    check_range(obj, "queues", 1, QUEUES_MAX, 1, err) ||
	    check_range(obj, "io_thread", 0, IO_THREADS_MAX, 0, err))
		return -1;
	switch (k) {
	case KIND_PROFILE:
		return validate_profile(m, o, err);
	case KIND_VNIC:
		return validate_vnic(m, o, err);
	case KIND_VDISK:
		return validate_vdisk(m, o, err);
	case KIND_VOLUME:
	case KIND_POOL:
		return validate_storage(m, k, obj, before, err);
	case KIND_NETWORK:
		return validate_network(m, o, err);
	case KIND_UPLINK_GROUP:
		return validate_group(m, o, err);
	case KIND_PORT:
		return validate_port(m, o, err);
	default:
		return 0;
	}
}
