/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proto3 JSON mapping (protobuf.dev/programming-guides/json) for protobuf-c messages, walked by
 * their descriptors: 64-bit integers are strings (numbers are taken too), bytes base64 (any
 * alphabet, padded or not), enumerations names (or numbers), names lowerCamelCase (snake_case is
 * taken too), null is absence, defaults are left out.
 *
 * protobuf-c keeps no map flag: a repeated message whose type is called *Entry with the fields
 * key and value is a map. The well-known types with a JSON form of their own are not used in our API.
 */
#ifndef OUTRIGGER_CONTROL_JSON_H
#define OUTRIGGER_CONTROL_JSON_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "appliance/control/apierr.h"

/* Objects within objects, deeper is refused. */
#define JSON_DEPTH_MAX 32

/* *out like from protobuf_c_message_unpack(). On error err names the field and -1 is returned. */
int json_decode(const char *text, size_t len, const ProtobufCMessageDescriptor *d, ProtobufCMessage **out,
		struct api_err *err);
/* malloc'ed and terminated, compact; NULL: no memory, or a string that is not UTF-8. */
char *json_encode(const ProtobufCMessage *m);

/* proto3 strings are UTF-8, which protobuf-c does not check; ours have no control characters either. */
int message_check_strings(const ProtobufCMessage *m, struct api_err *err);

#endif
