/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/session/session.h"

#include <errno.h>
#include <stdlib.h>

int session_send(struct chan *c, const Outrigger__Session__V1__Message *m)
{
	size_t len = outrigger__session__v1__message__get_packed_size(m);
	uint8_t *bytes;
	int r;

	if (!c)
		return -ENOTCONN;
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return -ENOMEM;
	outrigger__session__v1__message__pack(m, bytes);
	r = chan_send(c, bytes, len);
	free(bytes);
	return r;
}

Outrigger__Session__V1__Message *session_unpack(const uint8_t *bytes, size_t len)
{
	return outrigger__session__v1__message__unpack(NULL, len, bytes);
}
