/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: appliance/control */
/*
 * Bodies of API requests. The first byte picks the message and whether the rest is JSON or binary. What
 * decodes and has only good text encodes as JSON, and that decodes to the same message again.
 */
#include <stdlib.h>
#include <string.h>

#include "appliance/control/json.h"
#include "proto/api/outrigger.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const messages[] = {
	&outrigger__v1__create_vnic_request__descriptor,
	&outrigger__v1__create_storage_pool_request__descriptor,
	&outrigger__v1__update_profile_request__descriptor,
	&outrigger__v1__create_volume_request__descriptor,
	&outrigger__v1__list_hosts_response__descriptor,
	&outrigger__v1__create_network_request__descriptor,
	&outrigger__v1__enroll_request__descriptor,
	&outrigger__v1__list_counters_response__descriptor,
};

static void there_and_back(const ProtobufCMessage *m)
{
	ProtobufCMessage *again;
	struct api_err err;
	char *text, *text2;

	if (message_check_strings(m, &err))
		return;
	text = json_encode(m);
	if (!text || json_decode(text, strlen(text), m->descriptor, &again, &err))
		abort();
	text2 = json_encode(again);
	/* Not the binary form: a map with a key twice is one entry in JSON. */
	if (!text2 || strcmp(text, text2) != 0)
		abort();
	protobuf_c_message_free_unpacked(again, NULL);
	free(text);
	free(text2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *d;
	ProtobufCMessage *m = NULL;
	struct api_err err;

	if (size == 0)
		return 0;
	d = messages[data[0] % 8];
	if (data[0] & 8)
		m = protobuf_c_message_unpack(d, NULL, size - 1, data + 1);
	else if (json_decode((const char *)data + 1, size - 1, d, &m, &err) && m)
		abort();
	if (m) {
		there_and_back(m);
		protobuf_c_message_free_unpacked(m, NULL);
	}
	return 0;
}
