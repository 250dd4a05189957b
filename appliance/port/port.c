/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/port/port.h"

#include <stdlib.h>
#include <string.h>

COUNTERS_DEFINE(port, PORT_COUNTERS)

static int null_recv(struct port *p, struct port_rx *rx, int max)
{
	(void)p;
	(void)rx;
	(void)max;
	return 0;
}

static int null_send(struct port *p, const struct port_tx *tx, int n)
{
	uint64_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += tx[i].frame->len;
	counter_add(&p->counters[PORT_C_tx_frames], (uint64_t)n);
	counter_add(&p->counters[PORT_C_tx_bytes], bytes);
	return n;
}

static void null_mac(const struct port *p, uint8_t mac[6])
{
	(void)p;
	memcpy(mac, "\x02\0\0\0\0", 6); /* locally administered */
}

static bool null_link_up(const struct port *p)
{
	(void)p;
	return true;
}

static void null_destroy(struct port *p)
{
	free(p);
}

static const struct port_ops null_ops = {
	.recv = null_recv,
	.send = null_send,
	.mac = null_mac,
	.link_up = null_link_up,
	.destroy = null_destroy,
};

struct port *port_null_create(void)
{
	struct port *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->ops = &null_ops;
	p->name = "null";
	p->mtu = 65535;
	return p;
}
