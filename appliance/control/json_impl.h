/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by json_*.c alone. */
#ifndef OUTRIGGER_CONTROL_JSON_IMPL_H
#define OUTRIGGER_CONTROL_JSON_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "appliance/control/field.h"
#include "appliance/control/json.h"

bool json_is_map(const ProtobufCFieldDescriptor *f);
/* A number, or a string of decimal digits, within [min, max]; integral reals are taken. */
bool json_get_signed(const json_t *j, int64_t min, int64_t max, int64_t *out);
bool json_get_unsigned(const json_t *j, uint64_t max, uint64_t *out);
bool json_get_double(const json_t *j, double *out); /* "NaN", "Infinity", "-Infinity" too */
/* malloc'ed; NULL and *ok false: not base64, or no memory. */
uint8_t *json_base64_decode(const char *text, size_t *len, bool *ok);
char *json_base64_encode(const uint8_t *bytes, size_t len); /* malloc'ed, RFC 4648 section 4, padded */

#endif
