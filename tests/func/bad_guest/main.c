/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM that behaves badly, in QEMU's place at a NIC's socket:
 *
 *	bad_guest SOCKET kicks		kicks both rings without work, as fast as it can
 *	bad_guest SOCKET idle		posts no receive buffers, and takes nothing back
 *	bad_guest SOCKET silent		half a message header, and nothing more
 *
 * Says "ready" when it has begun; goes on until it is killed.
 */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "tests/lib/vhost_sock.h"

#define PATIENCE 12 /* of 5 s each, until the agent connects */

static struct vhost_sock sock;
static struct vfront front;

static void wait_a_little(void *arg)
{
	(void)arg;
	usleep(500);
}

static int meet(const char *path)
{
	int lfd, fd = -1;

	unlink(path);
	lfd = vhost_sock_listen(path);
	for (int i = 0; i < PATIENCE && fd < 0; i++)
		fd = vhost_sock_accept(&sock, lfd);
	return fd;
}

static void start_rings(void)
{
	struct vfront_wire wire = vhost_sock_wire(&sock);

	vfront_init(&front, &wire);
	vfront_negotiate(&front,
			 VIRTIO_F_VERSION_1 | VIRTIO_RING_F_EVENT_IDX | VIRTIO_NET_F_MRG_RXBUF |
				 VHOST_F_PROTOCOL_FEATURES,
			 VHOST_PF_REPLY_ACK | VHOST_PF_MQ);
	vfront_mem_table(&front);
	for (unsigned q = 0; q < 2; q++)
		vfront_queue_up(&front, q, 256, true);
}

static void kick_for_ever(void)
{
	uint64_t one = 1;

	nice(19); /* what it has of a lone processor is not the point */
	for (unsigned q = 0;; q ^= 1)
		if (write(front.q[q].kick, &one, sizeof(one)) < 0)
			usleep(1000);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sock.pump = wait_a_little;
	sock.fd = meet(argv[1]);
	if (sock.fd < 0)
		return 1;
	if (!strcmp(argv[2], "silent")) {
		if (write(sock.fd, "\1\0\0\0\1", 5) != 5)
			return 1;
	} else {
		start_rings();
	}
	puts("ready");
	fflush(stdout);
	if (!strcmp(argv[2], "kicks"))
		kick_for_ever();
	for (;;)
		pause();
}
