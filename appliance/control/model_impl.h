/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by model.c, validate*.c and mask.c alone. */
#ifndef OUTRIGGER_CONTROL_MODEL_IMPL_H
#define OUTRIGGER_CONTROL_MODEL_IMPL_H

#include "appliance/control/field.h"
#include "appliance/control/model.h"

struct table {
	ProtobufCMessage **rows; /* sorted by name */
	size_t count, room;
};

struct model {
	struct model_env env;
	uint64_t revision;
	struct table tables[NKINDS];
};

/* Who may refer to whom, by which field. */
struct reference {
	enum kind from;
	const char *field; /* string or repeated string */
	enum kind to;
	bool required;
};
extern const struct reference references[];
extern const size_t nreferences;

/* Gives fields their defaults and canonical forms, and checks everything that can be wrong with obj beside
 * the rest of the model. before: what it replaces, or NULL. Fills err and returns -1. */
int validate(const struct model *m, enum kind k, ProtobufCMessage *obj, const ProtobufCMessage *before,
	     struct api_err *err);
/* The kinds whose rules are long. */
int validate_vnic(const struct model *m, Outrigger__V1__VNic *v, struct api_err *err);
int validate_storage(const struct model *m, enum kind k, ProtobufCMessage *obj,
		     const ProtobufCMessage *before, struct api_err *err);
/* A vNIC other than `except` that is TAP interface `tap` of that profile, or on that host (if not empty); or
 * NULL. */
const Outrigger__V1__VNic *model_tap_clash(const struct model *m, const char *host, const char *profile,
					   const char *tap, const char *except);

bool field_is_fixed(enum kind k, const char *field); /* cannot be changed after Create */
/* Moves the fields that mask names from in (a copy, left in pieces) into obj. */
int mask_apply(enum kind k, ProtobufCMessage *obj, ProtobufCMessage *in, const char *mask,
	       struct api_err *err);

#endif
