/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small language to drive a switch in tests, one statement a line, `#` comments:
 *
 *	net ID [UPLINK VLAN]			configuration, gathered until `apply`
 *	vnic ID NET MAC|any [nospoof] [down] [max N] [ip ADDR[/BITS]]...
 *	uplink ID [down]
 *	apply [=> ENOSPC|EEXIST|...]		adopts it, and starts to gather anew
 *	in PORT[:VLAN] SRC DST WHAT... => OUT...	one frame, and where it goes: `2 9:100` or `drop_x`
 *	wait SECONDS				virtual time passes
 *	tick, flush PORT
 *	fdb => NET/MAC=PORT[*]...		stations, sorted; * pinned
 *	count PORT NAME => N
 *
 * MACs: a1 .. aff are 02:00:00:00:00:xx, x1 .. 06:00:00:00:00:xx, bc is broadcast, or written out.
 * WHAT: raw TYPE | len N | arp SMAC SIP | rarp SMAC SIP | ip4 SRC | ip6 SRC | nd TYPE SRC TARGET OPTMAC
 * Each script runs once per shape of scattering: whole, in pieces of 7, in pieces of 2 bytes.
 */
#ifndef TESTS_UNIT_SWITCH_SCRIPT_H
#define TESTS_UNIT_SWITCH_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/switch/switch.h"

#define SCRIPT_SEC 1000000000ull

struct script {
	struct sw *sw;
	struct sw_network nets[64];
	struct sw_port ports[64];
	struct sw_addr addrs[64];
	struct sw_config conf;
	uint32_t naddrs;
	uint64_t now;
	uint32_t piece; /* bytes per segment, 0: whole */
	const char *line;
	char *save;
};

static inline void script_frame(struct frame *f, const uint8_t *data, uint32_t len, uint32_t piece)
{
	memset(f, 0, sizeof *f);
	/* The last piece takes the rest. */
	while (f->len < len) {
		uint32_t n = piece && f->nseg < FRAME_SEGS - 1 && len - f->len > piece ? piece : len - f->len;

		assert_int_equal(frame_add(f, data + f->len, n, NULL), 0);
	}
}

static inline char *script_word(struct script *s)
{
	return strtok_r(NULL, " \t", &s->save);
}

static inline char *script_need(struct script *s)
{
	char *w = script_word(s);

	if (!w)
		fail_msg("line ends too early: %s", s->line);
	return w;
}

static inline uint32_t script_u32(struct script *s)
{
	return (uint32_t)strtoul(script_need(s), NULL, 0);
}

static inline void script_mac(const char *w, uint8_t mac[6])
{
	memset(mac, 0, 6);
	if (strcmp(w, "bc") == 0)
		memset(mac, 255, 6);
	else if (strlen(w) == 17)
		for (int i = 0; i < 6; i++)
			mac[i] = (uint8_t)strtoul(w + 3 * i, NULL, 16);
	else {
		mac[0] = w[0] == 'a' ? 2 : 6;
		mac[5] = (uint8_t)strtoul(w + 1, NULL, 16);
	}
}

static inline void script_ip(const char *w, uint8_t *dst)
{
	assert_int_equal(inet_pton(strchr(w, ':') ? AF_INET6 : AF_INET, w, dst), 1);
}

static inline void script_net(struct script *s)
{
	struct sw_network *n = &s->nets[s->conf.nnetworks++];
	char *w;

	*n = (struct sw_network){.id = script_u32(s), .uplink = SW_NO_PORT};
	w = script_word(s);
	if (w) {
		n->uplink = (uint32_t)atoi(w);
		n->vlan = (uint16_t)script_u32(s);
	}
}

static inline void script_addr(struct script *s, struct sw_port *p, char *w)
{
	struct sw_addr *a = &s->addrs[s->naddrs++];
	char *slash = strchr(w, '/');

	if (slash)
		*slash = 0;
	memset(a, 0, sizeof *a);
	a->family = strchr(w, ':') ? 6 : 4;
	a->prefix = slash ? (uint8_t)atoi(slash + 1) : a->family == 4 ? 32 : 128;
	script_ip(w, a->bytes);
	if (!p->addrs)
		p->addrs = a;
	p->naddrs++;
}

static inline void script_port(struct script *s, enum sw_port_kind kind)
{
	struct sw_port *p = &s->ports[s->conf.nports++];
	char *w;

	*p = (struct sw_port){.id = script_u32(s), .kind = kind, .up = true};
	if (kind == SW_VNIC) {
		p->network = script_u32(s);
		p->anti_spoof = true;
		w = script_need(s);
		p->pinned = strcmp(w, "any") != 0;
		if (p->pinned)
			script_mac(w, p->mac);
	}
	while ((w = script_word(s))) {
		if (strcmp(w, "nospoof") == 0)
			p->anti_spoof = false;
		else if (strcmp(w, "down") == 0)
			p->up = false;
		else if (strcmp(w, "max") == 0)
			p->max_macs = script_u32(s);
		else if (strcmp(w, "ip") == 0)
			script_addr(s, p, script_need(s));
		else
			fail_msg("what is %s in: %s", w, s->line);
	}
}

static inline const char *script_apply(struct script *s)
{
	int err;

	s->conf.networks = s->nets;
	s->conf.ports = s->ports;
	err = sw_apply(s->sw, &s->conf);
	memset(&s->conf, 0, sizeof s->conf);
	s->naddrs = 0;
	return err ? strerrorname_np(-err) : "";
}

static inline uint32_t script_ip6(uint8_t *b, const char *src, uint8_t next, uint16_t payload)
{
	b[0] = 0x60;
	b[4] = (uint8_t)(payload >> 8);
	b[5] = (uint8_t)payload;
	b[6] = next;
	b[7] = 255;
	script_ip(src, b + 8);
	b[24] = 0xff;
	b[25] = 2;
	b[39] = 1;
	return 40;
}

/* nd TYPE SRC TARGET OPTMAC: a message with a target where its type has one, and one option. */
static inline uint32_t script_nd(struct script *s, uint8_t *b)
{
	uint8_t type = (uint8_t)script_u32(s);
	uint32_t body = type == 133 ? 8 : type == 134 ? 16 : type == 137 ? 40 : 24;
	uint32_t at = script_ip6(b, script_need(s), 58, (uint16_t)(body + 8));
	char *target = script_need(s), *mac = script_need(s);

	b[at] = type;
	if (body >= 24)
		script_ip(target, b + at + 8);
	if (strcmp(mac, "-") == 0)
		return at + body;
	b[at + body] = type == 136 || type == 137 ? 2 : 1;
	b[at + body + 1] = 1;
	script_mac(mac, b + at + body + 2);
	return at + body + 8;
}

/* The Ethernet payload; its length. */
static inline uint32_t script_payload(struct script *s, uint8_t *eth)
{
	char *w = script_need(s);
	uint8_t *b = eth + 14;
	uint16_t type = 0;
	uint32_t n = 0;

	if (strcmp(w, "raw") == 0) {
		type = (uint16_t)script_u32(s);
		n = 46;
	} else if (strcmp(w, "len") == 0) {
		type = 0x88b5;
		n = script_u32(s) - 14;
	} else if (strstr(w, "arp")) {
		type = w[0] == 'a' ? 0x0806 : 0x8035;
		memcpy(b, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, 1}, 8);
		script_mac(script_need(s), b + 8);
		script_ip(script_need(s), b + 14);
		n = 28;
	} else if (strcmp(w, "ip4") == 0) {
		type = 0x0800;
		b[0] = 0x45;
		b[9] = 17;
		script_ip(script_need(s), b + 12);
		n = 64;
	} else if (strcmp(w, "ip6") == 0) {
		type = 0x86dd;
		n = script_ip6(b, script_need(s), 17, 24) + 24;
	} else if (strcmp(w, "nd") == 0) {
		type = 0x86dd;
		n = script_nd(s, b);
	} else {
		fail_msg("what is %s in: %s", w, s->line);
	}
	eth[12] = (uint8_t)(type >> 8);
	eth[13] = (uint8_t)type;
	return n;
}

static inline void script_outs(const struct sw_out *out, char *text, size_t size)
{
	size_t at = 0;

	if (out->n == 0)
		snprintf(text, size, "%s", sw_counter_names[out->drop]);
	for (uint32_t i = 0; i < out->n; i++) {
		at += (size_t)snprintf(text + at, size - at, "%s%u", i ? " " : "", out->to[i].port);
		if (out->to[i].vlan)
			at += (size_t)snprintf(text + at, size - at, ":%u", out->to[i].vlan);
	}
}

static inline void script_in(struct script *s, char *text, size_t size)
{
	static uint8_t data[FRAME_MAX + 64];
	char *port = script_need(s), *colon = strchr(port, ':');
	struct frame f;
	struct sw_out out;
	uint32_t n;

	memset(data, 0, 256);
	script_mac(script_need(s), data + 18);
	script_mac(script_need(s), data + 12);
	n = script_payload(s, data + 12);
	script_frame(&f, data, 12 + 14 + n, s->piece);
	n = sw_input(s->sw, (uint32_t)atoi(port), colon ? (uint16_t)atoi(colon + 1) : 0, &f, s->now, &out);
	assert_int_equal(n, out.n);
	script_outs(&out, text, size);
}

static inline int script_row_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

static inline void script_fdb(struct script *s, char *text, size_t size)
{
	struct sw_fdb_row r;
	char rows[64][40];
	uint32_t cursor = 0, n = 0;
	size_t at = 0;

	/* One row at a time: the cursor is tried at each place. */
	while (n < 64 && sw_fdb_dump(s->sw, &cursor, &r, 1, s->now))
		snprintf(rows[n++], sizeof rows[0], "%u/%s%x=%u%s", r.network, r.mac[0] == 2 ? "a" : "x",
			 r.mac[5], r.port, r.pinned ? "*" : "");
	qsort(rows, n, sizeof rows[0], script_row_cmp);
	text[0] = 0;
	for (uint32_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, size - at, "%s%s", i ? " " : "", rows[i]);
}

static inline void script_count(struct script *s, char *text, size_t size)
{
	uint32_t port = script_u32(s);
	char *name = script_need(s);

	for (uint32_t i = 0; i < SW_NCOUNTERS; i++) {
		if (strcmp(name, sw_counter_names[i]))
			continue;
		assert_non_null(sw_port_counters(s->sw, port));
		snprintf(text, size, "%lu", (unsigned long)sw_port_counters(s->sw, port)[i]);
		return;
	}
	fail_msg("no counter %s", name);
}

static inline void script_line(struct script *s, char *line)
{
	char got[1024] = "", *want = strstr(line, "=>"), *hash = strchr(line, '#'), *verb;

	if (hash)
		*hash = 0;
	if (want) {
		*want = 0;
		want += 2 + strspn(want + 2, " ");
		for (char *e = want + strlen(want); e > want && e[-1] == ' '; *--e = 0)
			;
	}
	verb = strtok_r(line, " \t", &s->save);
	if (!verb)
		return;
	if (strcmp(verb, "net") == 0)
		script_net(s);
	else if (strcmp(verb, "vnic") == 0 || strcmp(verb, "uplink") == 0)
		script_port(s, verb[0] == 'v' ? SW_VNIC : SW_UPLINK);
	else if (strcmp(verb, "apply") == 0)
		snprintf(got, sizeof got, "%s", script_apply(s));
	else if (strcmp(verb, "in") == 0)
		script_in(s, got, sizeof got);
	else if (strcmp(verb, "wait") == 0)
		s->now += script_u32(s) * SCRIPT_SEC;
	else if (strcmp(verb, "tick") == 0)
		sw_tick(s->sw, s->now, UINT32_MAX);
	else if (strcmp(verb, "flush") == 0)
		sw_flush(s->sw, script_u32(s));
	else if (strcmp(verb, "fdb") == 0)
		script_fdb(s, got, sizeof got);
	else if (strcmp(verb, "count") == 0)
		script_count(s, got, sizeof got);
	else
		fail_msg("what is: %s", s->line);
	if (strcmp(got, want ? want : ""))
		fail_msg("pieces of %u: %s\n    wanted \"%s\"\n    got    \"%s\"", s->piece, s->line,
			 want ? want : "", got);
}

static inline void script_run_limits(const struct sw_limits *limits, const char *text)
{
	static const uint32_t pieces[] = {0, 7, 2};

	for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
		struct script *s = calloc(1, sizeof *s);
		const char *p = text;

		assert_non_null(s);
		s->piece = pieces[i];
		s->now = SCRIPT_SEC;
		s->sw = sw_create(limits);
		assert_non_null(s->sw);
		while (*p) {
			size_t n = strcspn(p, "\n");
			char line[512], shown[512];

			snprintf(line, sizeof line, "%.*s", (int)n, p);
			snprintf(shown, sizeof shown, "%s", line);
			s->line = shown;
			script_line(s, line);
			p += n + (p[n] == '\n');
		}
		sw_destroy(s->sw);
		free(s);
	}
}

static inline void script_run(const char *text)
{
	script_run_limits(
		&(struct sw_limits){
			.ports = 16, .uplinks = 2, .networks = 8, .addrs = 16, .fdb = 64, .seed = 0x1234},
		text);
}

#endif
