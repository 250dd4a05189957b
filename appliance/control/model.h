/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The desired state in memory: every resource an administrator made, by kind and name, and
 * the rules a change must hold to. Pure: no store, no clock; what it must know of the world
 * comes through struct model_env.
 *
 * A change is prepared (validated; nothing is touched), then made durable by the caller
 * (store.h), then committed here:
 *
 *	struct change chg;
 *	if (model_prepare_create(m, KIND_VNIC, msg, &chg, &err)) ... err says field and reason
 *	store_change(st, &chg) ...
 *	model_commit(m, &chg);
 *	change_clear(&chg);
 *
 * One change at a time: a prepared change is only good until the next commit.
 * Readers (the reconciler) may keep pointers into the model until the next commit of that object.
 * Thread rule: the control thread.
 */
#ifndef OUTRIGGER_CONTROL_MODEL_H
#define OUTRIGGER_CONTROL_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "appliance/control/apierr.h"
#include "appliance/control/kind.h"

struct model;

/* Bytes of a storage pool as its backend sees them. */
struct pool_bytes {
	uint64_t capacity; /* that may be promised in all */
	uint64_t used;	   /* really allocated by volumes */
	uint64_t free;	   /* that can still be allocated */
};

struct model_env {
	void *ctx;
	/* 0, or -errno: then no volume can be made or grown in that pool. */
	int (*pool_bytes)(void *ctx, const char *pool, struct pool_bytes *out);
	/* Random bytes for uids and MAC addresses. */
	void (*random)(void *ctx, void *buf, size_t len);
};

int model_new(const struct model_env *env, struct model **out);
void model_free(struct model *m); /* NULL is fine */

uint64_t model_revision(const struct model *m); /* of the newest change */
size_t model_count(const struct model *m, enum kind k);
const ProtobufCMessage *model_at(const struct model *m, enum kind k, size_t i); /* in order of name */
const ProtobufCMessage *model_get(const struct model *m, enum kind k, const char *name); /* or NULL */

/* Typed: model_vnic(m, "web0")->mac; model_vnic_at(m, 0). */
#define MODEL_ACCESSORS(X)                                                                                   \
	X(host, KIND_HOST, Outrigger__V1__Host)                                                              \
	X(profile, KIND_PROFILE, Outrigger__V1__Profile)                                                     \
	X(vnic, KIND_VNIC, Outrigger__V1__VNic)                                                              \
	X(vdisk, KIND_VDISK, Outrigger__V1__VDisk)                                                           \
	X(volume, KIND_VOLUME, Outrigger__V1__Volume)                                                        \
	X(pool, KIND_POOL, Outrigger__V1__StoragePool)                                                       \
	X(network, KIND_NETWORK, Outrigger__V1__Network)                                                     \
	X(uplink_group, KIND_UPLINK_GROUP, Outrigger__V1__UplinkGroup)                                       \
	X(port, KIND_PORT, Outrigger__V1__Port)
#define MODEL_ACCESSOR(noun, kind, type)                                                                     \
	static inline const type *model_##noun(const struct model *m, const char *name)                      \
	{                                                                                                    \
		return (const type *)(const void *)model_get(m, kind, name);                                 \
	}                                                                                                    \
	static inline const type *model_##noun##_at(const struct model *m, size_t i)                         \
	{                                                                                                    \
		return (const type *)(const void *)model_at(m, kind, i);                                     \
	}
MODEL_ACCESSORS(MODEL_ACCESSOR)

/* What a change does to one object: made (before NULL), replaced, or deleted (after NULL). */
struct change {
	enum kind kind;
	char name[RESOURCE_NAME_MAX + 1];
	uint64_t revision;	  /* of this change */
	ProtobufCMessage *before; /* a copy */
	ProtobufCMessage *after;
	ProtobufCMessage *install; /* a second copy of after, which model_commit() takes */
};

/* in is copied. On error err is filled, chg is empty and -1 is returned. */
int model_prepare_create(struct model *m, enum kind k, const ProtobufCMessage *in, struct change *chg,
			 struct api_err *err);
/* mask as outrigger.proto has it. in's name picks the object, in's revision (not 0) must match. */
int model_prepare_update(const struct model *m, enum kind k, const ProtobufCMessage *in, const char *mask,
			 struct change *chg, struct api_err *err);
int model_prepare_delete(const struct model *m, enum kind k, const char *name, uint64_t revision,
			 struct change *chg, struct api_err *err);
/* Cannot fail: prepare has reserved what it takes. */
void model_commit(struct model *m, struct change *chg);
/* The change that takes a committed one back. -ENOMEM. */
int change_invert(const struct change *chg, struct change *out);
void change_clear(struct change *chg);

/* An object from the store, at start: no rule but unique names is checked. Takes obj. */
int model_load(struct model *m, enum kind k, ProtobufCMessage *obj);
void model_set_revision(struct model *m, uint64_t revision);

/* The one virtual disk of a volume, or NULL. */
const Outrigger__V1__VDisk *model_volume_vdisk(const struct model *m, const char *volume);
/* The uplink group a port is in, or NULL. */
const Outrigger__V1__UplinkGroup *model_port_group(const struct model *m, const char *port);
/* Bytes of a pool that are promised to no volume yet. -errno of env->pool_bytes. */
int model_pool_available(const struct model *m, const char *pool, uint64_t *out);

#endif
