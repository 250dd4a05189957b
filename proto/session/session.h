/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends' way of putting a session message on a channel and taking one off it. Bytes from
 * the peer are bounded by the channel (CHAN_MESSAGE_MAX) and decoded here once.
 */
#ifndef OUTRIGGER_PROTO_SESSION_H
#define OUTRIGGER_PROTO_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "fabric/chan/chan.h"
#include "proto/session/session.pb-c.h"

/* Versions of the session protocol and packet format spoken by this build. */
#define SESSION_VERSION_MIN 3
#define SESSION_VERSION	    3

/* 0, or chan_send()'s error, -ENOMEM. */
int session_send(struct chan *c, const Outrigger__Session__V1__Message *m);
/* NULL: not a message. One of a kind that this build does not know has body_case NOT_SET.
 * Free with outrigger__session__v1__message__free_unpacked(). */
Outrigger__Session__V1__Message *session_unpack(const uint8_t *bytes, size_t len);

#endif
