/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One field of a protobuf-c message by its descriptor: found, compared, exchanged. Both messages of
 * a call must be of the field's type and come from protobuf_c_message_unpack().
 */
#ifndef OUTRIGGER_CONTROL_FIELD_H
#define OUTRIGGER_CONTROL_FIELD_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

/* The longest field name in lowerCamelCase, with its terminator. */
#define FIELD_NAME_MAX 64

/* By "snake_case" or "lowerCamelCase" name (the JSON form of proto3); NULL if there is none. */
const ProtobufCFieldDescriptor *field_find(const ProtobufCMessageDescriptor *d, const char *name, size_t len);
void field_camel(const char *snake, char out[FIELD_NAME_MAX]);

/* Bytes of one value of this field in memory. */
size_t field_width(const ProtobufCFieldDescriptor *f);
bool field_is_oneof(const ProtobufCFieldDescriptor *f);
/* Not the default value; for a member of a oneof: it is the one that is set. */
bool field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
bool field_equal(const ProtobufCMessage *a, const ProtobufCMessage *b, const ProtobufCFieldDescriptor *f);
/* Exchanges the field's value between the two; for a member of a oneof, that of the whole oneof. */
void field_swap(ProtobufCMessage *a, ProtobufCMessage *b, const ProtobufCFieldDescriptor *f);

/* A string field as a list: a single one has one element, or none when empty. */
size_t field_strings(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
const char *field_string(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i);

#endif
