/* SPDX-License-Identifier: Apache-2.0 */
/* The value of an option -> JSON of the type its field has in the API. */
#ifndef OUTRIGGER_CLI_VALUE_H
#define OUTRIGGER_CLI_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/*
 * Set object[key]. Lists are comma-separated and grow when given again, an empty one empties;
 * maps are KEY=VALUE,...; a message with one field takes that field's value; sizes take K, M, G, T.
 * -EINVAL with what it must be in why.
 */
int cli_value_set(json_t *object, const char *key, const ProtobufCFieldDescriptor *f, const char *text,
		  char *why, size_t size);
/* true, yes, on, 1 and their opposites. -EINVAL. */
int cli_bool_parse(const char *text, bool *value);
/* Is the field a number of bytes, by its name? */
bool cli_field_is_size(const ProtobufCFieldDescriptor *f);
/* Is it a part of a whole, by its name? Then how many of its units are one; else 0. */
unsigned cli_field_part(const ProtobufCFieldDescriptor *f);
/* Is it a map? */
bool cli_field_is_map(const ProtobufCFieldDescriptor *f);

#endif
