/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and front-ends of vNICs. */
#include "appliance/control/model_impl.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IP_ADDRESSES_MAX 32
#define MAC_TRIES	 1000

static int no_memory(struct api_err *err)
{
	return api_fail(err, API_UNAVAILABLE, "out of memory");
}

static bool parse_mac(const char *s, uint8_t mac[6])
{
	for (int i = 0; i < 6; i++) {
		char byte[3];

		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) ||
		    s[2] != (i < 5 ? ':' : '\0'))
			return false;
		byte[0] = s[0];
		byte[1] = s[1];
		byte[2] = '\0';
		mac[i] = (uint8_t)strtoul(byte, NULL, 16);
		s += 3;
	}
	return true;
}

static void format_mac(const uint8_t mac[6], char out[18])
{
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static const Outrigger__V1__VNic *mac_owner(const struct model *m, const char *mac, const char *except)
{
	for (size_t i = 0; i < model_count(m, KIND_VNIC); i++) {
		const Outrigger__V1__VNic *v = model_vnic_at(m, i);

		if (!strcmp(v->mac, mac) && strcmp(v->name, except) != 0)
			return v;
	}
	return NULL;
}

/* From a locally administered range: 02:4f:52 and three random bytes. */
static int allot_mac(const struct model *m, Outrigger__V1__VNic *v, struct api_err *err)
{
	uint8_t mac[6] = {0x02, 0x4f, 0x52};
	char text[18];

	for (int i = 0; i < MAC_TRIES; i++) {
		m->env.random(m->env.ctx, mac + 3, 3);
		format_mac(mac, text);
		if (!mac_owner(m, text, v->name))
			return str_set(&v->mac, text) ? no_memory(err) : 0;
	}
	return api_fail(err, API_RESOURCE_EXHAUSTED, "mac: no free address was found; choose one");
}

static int check_mac(const struct model *m, Outrigger__V1__VNic *v, struct api_err *err)
{
	const Outrigger__V1__VNic *other;
	uint8_t mac[6];
	char text[18];

	if (str_empty(v->mac))
		return allot_mac(m, v, err);
	if (!parse_mac(v->mac, mac))
		return api_fail(err, API_INVALID_ARGUMENT,
				"mac: \"%.32s\" is not of the form 02:00:5e:00:00:01", v->mac);
	if ((mac[0] & 1) || !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]))
		return api_fail(err, API_INVALID_ARGUMENT, "mac: %.17s is not a unicast address", v->mac);
	format_mac(mac, text);
	other = mac_owner(m, text, v->name);
	if (other)
		return api_fail(err, API_ALREADY_EXISTS, "mac: %s is already used by vnic \"%s\"", text,
				other->name);
	return str_set(&v->mac, text) ? no_memory(err) : 0;
}

/* Canonical text, so that equal addresses compare equal. */
static int check_ips(Outrigger__V1__VNic *v, struct api_err *err)
{
	if (v->n_ip_addresses > IP_ADDRESSES_MAX)
		return api_fail(err, API_INVALID_ARGUMENT, "ip_addresses: more than %d", IP_ADDRESSES_MAX);
	for (size_t i = 0; i < v->n_ip_addresses; i++) {
		struct in6_addr a;
		char text[INET6_ADDRSTRLEN];
		int family = inet_pton(AF_INET, v->ip_addresses[i], &a) == 1	? AF_INET
			     : inet_pton(AF_INET6, v->ip_addresses[i], &a) == 1 ? AF_INET6
										: AF_UNSPEC;

		if (family == AF_UNSPEC)
			return api_fail(err, API_INVALID_ARGUMENT,
					"ip_addresses: \"%.45s\" is not an IPv4 or IPv6 address",
					v->ip_addresses[i]);
		inet_ntop(family, &a, text, sizeof(text));
		for (size_t j = 0; j < i; j++)
			if (!strcmp(text, v->ip_addresses[j]))
				return api_fail(err, API_INVALID_ARGUMENT, "ip_addresses: %s is there twice",
						text);
		if (str_set(&v->ip_addresses[i], text))
			return no_memory(err);
	}
	return 0;
}

static bool ifname_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= IFNAMSIZ || !strcmp(s, ".") || !strcmp(s, ".."))
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static int check_frontend(const struct model *m, Outrigger__V1__VNic *v, struct api_err *err)
{
	const Outrigger__V1__Profile *p = model_profile(m, v->profile);
	const Outrigger__V1__VNic *other;

	if (v->frontend != OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_TAP) {
		if (!str_empty(v->tap_name))
			return api_fail(err, API_INVALID_ARGUMENT,
					"tap_name: only a vNIC with frontend TAP has one");
		return 0;
	}
	if (str_empty(v->tap_name) && strlen(v->name) < IFNAMSIZ && str_set(&v->tap_name, v->name))
		return no_memory(err);
	if (!ifname_ok(v->tap_name))
		return api_fail(err, API_INVALID_ARGUMENT,
				"tap_name: \"%.32s\" is not an interface name of 1..15 characters",
				v->tap_name);
	other = model_tap_clash(m, p->host, v->profile, v->tap_name, v->name);
	if (other)
		return api_fail(err, API_ALREADY_EXISTS,
				"tap_name: %s is already vnic \"%s\" on the same host", v->tap_name,
				other->name);
	return 0;
}

int validate_vnic(const struct model *m, Outrigger__V1__VNic *v, struct api_err *err)
{
	return check_mac(m, v, err) || check_ips(v, err) || check_frontend(m, v, err) ? -1 : 0;
}
