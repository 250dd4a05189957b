/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One blocking HTTPS POST (HTTP/1.1, TLS 1.3) to an appliance that is known by the fingerprint of its CA
 * alone. For the enrolment; nothing else of the agent speaks HTTP.
 */
#ifndef OUTRIGGER_HOSTAGENT_HTTPS_H
#define OUTRIGGER_HOSTAGENT_HTTPS_H

#include <stddef.h>
#include <stdint.h>

struct https_reply {
	int status;
	char *body; /* malloc'ed, terminated */
	size_t body_len;
};

/* address: HOST, HOST:PORT or [HOST]:PORT. 0, or -1 with a line in why. */
int https_post(const char *address, uint16_t default_port, const uint8_t ca_sha256[32], const char *path,
	       const char *type, const void *body, size_t len, struct https_reply *out, char *why,
	       size_t why_size);
void https_reply_clear(struct https_reply *r);

#endif
