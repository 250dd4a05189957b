/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/control/kind.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Every resource message begins like this one: name, uid, revision are its first three members. */
#define COMMON_HEAD(type)                                                                                    \
	static_assert(offsetof(type, name) == offsetof(Outrigger__V1__Host, name) &&                         \
			      offsetof(type, uid) == offsetof(Outrigger__V1__Host, uid) &&                   \
			      offsetof(type, revision) == offsetof(Outrigger__V1__Host, revision),           \
		      "the common fields come first")
COMMON_HEAD(Outrigger__V1__Profile);
COMMON_HEAD(Outrigger__V1__VNic);
COMMON_HEAD(Outrigger__V1__VDisk);
COMMON_HEAD(Outrigger__V1__Volume);
COMMON_HEAD(Outrigger__V1__StoragePool);
COMMON_HEAD(Outrigger__V1__Network);
COMMON_HEAD(Outrigger__V1__UplinkGroup);
COMMON_HEAD(Outrigger__V1__Port);

static const struct kind_info infos[NKINDS] = {
	[KIND_HOST] = {"host", &outrigger__v1__host__descriptor},
	[KIND_PROFILE] = {"profile", &outrigger__v1__profile__descriptor},
	[KIND_VNIC] = {"vnic", &outrigger__v1__vnic__descriptor},
	[KIND_VDISK] = {"vdisk", &outrigger__v1__vdisk__descriptor},
	[KIND_VOLUME] = {"volume", &outrigger__v1__volume__descriptor},
	[KIND_POOL] = {"storage-pool", &outrigger__v1__storage_pool__descriptor},
	[KIND_NETWORK] = {"network", &outrigger__v1__network__descriptor},
	[KIND_UPLINK_GROUP] = {"uplink-group", &outrigger__v1__uplink_group__descriptor},
	[KIND_PORT] = {"port", &outrigger__v1__port__descriptor},
};

const struct kind_info *kind_info(enum kind k)
{
	return &infos[k];
}

bool resource_name_ok(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (n == 0 || n > RESOURCE_NAME_MAX || name[0] < 'a' || name[0] > 'z')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static const Outrigger__V1__Host *head(const ProtobufCMessage *m)
{
	return (const Outrigger__V1__Host *)(const void *)m;
}

static Outrigger__V1__Host *head_mut(ProtobufCMessage *m)
{
	return (Outrigger__V1__Host *)(void *)m;
}

const char *obj_name(const ProtobufCMessage *m)
{
	return head(m)->name;
}

uint64_t obj_revision(const ProtobufCMessage *m)
{
	return head(m)->revision;
}

void obj_set_revision(ProtobufCMessage *m, uint64_t revision)
{
	head_mut(m)->revision = revision;
}

int obj_set_uid(ProtobufCMessage *m, const char *uid)
{
	return str_set(&head_mut(m)->uid, uid);
}

int str_set(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = copy;
	return 0;
}

ProtobufCMessage *obj_copy(const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *buf = malloc(n ? n : 1);
	ProtobufCMessage *copy = NULL;

	if (buf) {
		protobuf_c_message_pack(m, buf);
		copy = protobuf_c_message_unpack(m->descriptor, NULL, n, buf);
	}
	free(buf);
	return copy;
}

void obj_free(ProtobufCMessage *m)
{
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

void obj_drop_status(ProtobufCMessage *m)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(m->descriptor,
											    "status");
	ProtobufCMessage **at = (ProtobufCMessage **)(void *)((char *)m + f->offset);

	obj_free(*at);
	*at = NULL;
}
