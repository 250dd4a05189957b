/* SPDX-License-Identifier: Apache-2.0 */
/* The dispatch table, and the calls that only read. */
#include "appliance/control/api_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/control/field.h"
#include "fabric/base/clock.h"

#define STANDARD(svc, M, Ms, kind)                                                                           \
	{&outrigger__v1__##svc##__descriptor, "Create" #M, false, api_change, kind},                         \
		{&outrigger__v1__##svc##__descriptor, "Get" #M, false, api_get, kind},                       \
		{&outrigger__v1__##svc##__descriptor, "List" #Ms, false, api_list, kind},                    \
		{&outrigger__v1__##svc##__descriptor, "Update" #M, false, api_change, kind},                 \
	{                                                                                                    \
		&outrigger__v1__##svc##__descriptor, "Delete" #M, false, api_change, kind                    \
	}

static const struct connect_method methods[] = {
	STANDARD(host_service, Host, Hosts, KIND_HOST),
	STANDARD(profile_service, Profile, Profiles, KIND_PROFILE),
	STANDARD(vnic_service, VNic, VNics, KIND_VNIC),
	STANDARD(vdisk_service, VDisk, VDisks, KIND_VDISK),
	STANDARD(volume_service, Volume, Volumes, KIND_VOLUME),
	STANDARD(storage_pool_service, StoragePool, StoragePools, KIND_POOL),
	STANDARD(network_service, Network, Networks, KIND_NETWORK),
	STANDARD(uplink_group_service, UplinkGroup, UplinkGroups, KIND_UPLINK_GROUP),
	STANDARD(port_service, Port, Ports, KIND_PORT),
	{&outrigger__v1__host_service__descriptor, "CreateEnrollToken", false, api_create_enroll_token, 0},
	{&outrigger__v1__host_service__descriptor, "RevokeHost", false, api_revoke_host, 0},
	{&outrigger__v1__enroll_service__descriptor, "Enroll", true, api_enroll, 0},
	{&outrigger__v1__appliance_service__descriptor, "GetAppliance", false, api_get_appliance, 0},
	{&outrigger__v1__appliance_service__descriptor, "ListCounters", false, api_list_counters, 0},
};

const struct connect_method *api_methods(size_t *n)
{
	*n = sizeof(methods) / sizeof(methods[0]);
	return methods;
}

int api_new(const struct api_cfg *cfg, struct api **out)
{
	struct api *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->cfg = *cfg;
	a->started_ns = clock_now_ns();
	list_init(&a->queue);
	*out = a;
	return 0;
}

bool api_token_ok(void *ctx, const uint8_t sha256[32])
{
	struct api *a = ctx;

	return store_admin_token_ok(a->cfg.store, sha256);
}

void api_set_server(struct api *a, const struct connect_server *s)
{
	a->server = s;
}

const ProtobufCMessage *req_message(const ProtobufCMessage *req, unsigned id)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(req->descriptor, id);

	return *(const ProtobufCMessage *const *)(const void *)((const char *)req + f->offset);
}

const char *req_string(const ProtobufCMessage *req, unsigned id)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(req->descriptor, id);

	return *(const char *const *)(const void *)((const char *)req + f->offset);
}

void api_answer_error(struct connect_call *call, enum api_code code, const char *fmt, ...)
{
	struct api_err err = {.code = code};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
	va_end(ap);
	connect_fail(call, &err);
}

void api_answer_object(struct api *a, struct connect_call *call, enum kind k, const char *name)
{
	const ProtobufCMessage *obj = model_get(a->cfg.model, k, name);
	ProtobufCMessage *out;

	if (!obj) {
		api_answer_error(call, API_NOT_FOUND, "name: %s \"%.63s\" does not exist", kind_info(k)->name,
				 name);
		return;
	}
	out = api_describe(a, k, obj);
	if (out)
		connect_reply(call, out);
	else
		api_answer_error(call, API_UNAVAILABLE, "out of memory");
	obj_free(out);
}

API_HANDLER(api_get)
{
	const char *name = req_string(req, 1);

	if (resource_name_ok(name))
		api_answer_object(ctx, call, (enum kind)m->arg, name);
	else
		api_answer_error(call, API_INVALID_ARGUMENT, "name: %s",
				 str_empty(name) ? "is missing" : "is not a name");
}

/* Every List*Request and List*Response has the layout of the first kind's: number and token; array and token.
 */
static size_t fill_page(struct api *a, enum kind k, const Outrigger__V1__ListHostsRequest *req,
			Outrigger__V1__ListHostsResponse *out)
{
	size_t n = model_count(a->cfg.model, k), i = 0;

	while (i < n && req->page_token[0] &&
	       strcmp(obj_name(model_at(a->cfg.model, k, i)), req->page_token) <= 0)
		i++;
	out->hosts = calloc(n - i ? n - i : 1, sizeof(out->hosts[0]));
	for (; out->hosts && i < n; i++) {
		if (req->page_size && out->n_hosts == req->page_size) {
			if (str_set(&out->next_page_token, obj_name(model_at(a->cfg.model, k, i - 1))))
				return 0;
			break;
		}
		out->hosts[out->n_hosts] = (void *)api_describe(a, k, model_at(a->cfg.model, k, i));
		if (!out->hosts[out->n_hosts])
			return 0;
		out->n_hosts++;
	}
	return out->hosts != NULL;
}

API_HANDLER(api_list)
{
	const ProtobufCMessageDescriptor *d =
		protobuf_c_service_descriptor_get_method_by_name(m->service, m->name)->output;
	ProtobufCMessage *out = calloc(1, d->sizeof_message);

	if (out)
		d->message_init(out);
	if (out && fill_page(ctx, (enum kind)m->arg, (const void *)req, (void *)out))
		connect_reply(call, out);
	else
		api_answer_error(call, API_UNAVAILABLE, "out of memory");
	obj_free(out);
}

API_HANDLER(api_get_appliance)
{
	struct api *a = ctx;
	Outrigger__V1__Appliance out = OUTRIGGER__V1__APPLIANCE__INIT;
	uint8_t fp[PKI_FINGERPRINT_LEN];
	char hex[2 * PKI_FINGERPRINT_LEN + 1], version[] = OUTRIGGER_VERSION, api[] = "outrigger.v1";

	(void)m, (void)req;
	pki_ca_fingerprint(a->cfg.pki, fp);
	pki_hex(fp, sizeof(fp), hex);
	out.uid = (char *)(uintptr_t)a->cfg.uid;
	out.version = version;
	out.api_version = api;
	out.uptime_seconds = (clock_now_ns() - a->started_ns) / NSEC_PER_SEC;
	out.revision = model_revision(a->cfg.model);
	out.store_error = (char *)(uintptr_t)store_error(a->cfg.store);
	out.ca_fingerprint = hex;
	connect_reply(call, &out.base);
}
