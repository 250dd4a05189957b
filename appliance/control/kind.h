/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds of resources, and access by field name to the part all of them share: name, uid,
 * revision and status stand in every resource message (proto/api/outrigger.proto), so that
 * storing, masking and listing are written once.
 *
 * Messages whose memory is changed here must come from protobuf_c_message_unpack() or
 * obj_copy(): their strings are malloc'ed.
 */
#ifndef OUTRIGGER_CONTROL_KIND_H
#define OUTRIGGER_CONTROL_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/api/outrigger.pb-c.h"

enum kind {
	KIND_HOST,
	KIND_PROFILE,
	KIND_VNIC,
	KIND_VDISK,
	KIND_VOLUME,
	KIND_POOL,
	KIND_NETWORK,
	KIND_UPLINK_GROUP,
	KIND_PORT,
	NKINDS,
	KIND_NONE = NKINDS, /* the appliance itself, where a scope is meant */
};

struct kind_info {
	const char *name; /* in the store and in counter scopes: "vnic", "storage-pool" */
	const ProtobufCMessageDescriptor *desc;
};

#define RESOURCE_NAME_MAX 63

const struct kind_info *kind_info(enum kind k);

bool resource_name_ok(const char *name); /* ^[a-z][a-z0-9-]{0,62}$ */

/* The shared fields. The strings belong to the message. */
const char *obj_name(const ProtobufCMessage *m);
uint64_t obj_revision(const ProtobufCMessage *m);
void obj_set_revision(ProtobufCMessage *m, uint64_t revision);
int obj_set_uid(ProtobufCMessage *m, const char *uid); /* -ENOMEM */

/* Replaces a string field (of obj_* memory rules) by a copy. -ENOMEM. */
int str_set(char **field, const char *value);
static inline bool str_empty(const char *s)
{
	return !s || !s[0];
}

/* A deep copy, or NULL. Release with obj_free(). */
ProtobufCMessage *obj_copy(const ProtobufCMessage *m);
void obj_free(ProtobufCMessage *m); /* NULL is fine */
/* Removes the status sub-message: it is never stored nor taken from a request. */
void obj_drop_status(ProtobufCMessage *m);

#endif
