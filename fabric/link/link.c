/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fabric/base/counter.h"

COUNTERS_DEFINE(link, LINK_COUNTERS)

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */

static int parse_port(uint16_t *port, const char *text)
{
	uint32_t v = 0;

	if (!*text || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		v = v * 10 + (uint32_t)(*text - '0');
	}
	if (v > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)v;
	return 0;
}

int link_addr_parse(struct link_addr *a, const char *text, uint16_t default_port)
{
	struct link_addr out = {.port = default_port};
	const char *first = strchr(text, ':'), *port = NULL;
	bool bracketed = *text == '[';
	char host[INET6_ADDRSTRLEN];
	size_t len;

	if (bracketed) {
		const char *close = strchr(++text, ']');

		if (!close || (close[1] && close[1] != ':'))
			return -EINVAL;
		len = (size_t)(close - text);
		port = close[1] ? close + 2 : NULL;
	} else if (first && !strchr(first + 1, ':')) {
		len = (size_t)(first - text);
		port = first + 1;
	} else {
		len = strlen(text);
	}
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = 0;
	if (port && parse_port(&out.port, port))
		return -EINVAL;
	if (strchr(host, ':')) {
		if (inet_pton(AF_INET6, host, out.ip) != 1)
			return -EINVAL;
	} else {
		memcpy(out.ip, v4_prefix, sizeof(v4_prefix));
		if (bracketed || inet_pton(AF_INET, host, out.ip + 12) != 1)
			return -EINVAL;
	}
	*a = out;
	return 0;
}

void link_addr_format(const struct link_addr *a, char out[LINK_ADDR_STR])
{
	char host[INET6_ADDRSTRLEN];

	if (link_addr_is_v4(a)) {
		inet_ntop(AF_INET, a->ip + 12, host, sizeof(host));
		snprintf(out, LINK_ADDR_STR, "%s:%u", host, (unsigned)a->port);
	} else {
		inet_ntop(AF_INET6, a->ip, host, sizeof(host));
		snprintf(out, LINK_ADDR_STR, "[%s]:%u", host, (unsigned)a->port);
	}
}

bool link_addr_equal(const struct link_addr *a, const struct link_addr *b)
{
	return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool link_addr_is_v4(const struct link_addr *a)
{
	return memcmp(a->ip, v4_prefix, sizeof(v4_prefix)) == 0;
}
