/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What programs that are a VM in QEMU's place have in common (tests/func/disk_guest, nic_guest): a
 * vhost_front whose memory holds payload alone from the middle on, and begins with PAYLOAD_MARK there, so
 * that whoever is to touch none can be denied it; buffers in it, with margins that nobody may write; a file
 * that says how the VM is.
 */
#ifndef OUTRIGGER_TESTS_GUEST_H
#define OUTRIGGER_TESTS_GUEST_H

#include "tests/lib/vhost_sock.h"

#define PAYLOAD_MARK "payload only\n"
#define AFTER	     0x5au /* in memory that nobody may write */

/* From here on vfront_alloc() gives memory for payload. */
void guest_payload(struct vfront *f);
/* A buffer for payload of len bytes, with margins of so many; it holds AFTER all over. */
uint64_t guest_buffer(struct vfront *f, uint32_t len, uint32_t margin);
/* All over, margins too. */
void guest_clean(struct vfront *f, uint64_t data, uint32_t len, uint32_t margin);
/* The first byte of [from, to) of a buffer that is not AFTER, or to; its margins lie at -margin and len. */
long guest_touched(struct vfront *f, uint64_t data, long from, long to);

/* The peer has closed, or is about to. */
bool guest_left(const struct vhost_sock *s);
/* For vhost_sock.pump: the peer is another process. */
void guest_wait(void *arg);
/* What the VM says of itself, whole: who reads it gets this or what was said before. Exits if it cannot. */
void guest_tell(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
