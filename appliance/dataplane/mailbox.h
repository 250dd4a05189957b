/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two one-way doors between the control thread and a worker are mailboxes: unbounded,
 * intrusive, lock-free queues of letters. A letter is a struct of the sender's with a `struct
 * mail` inside and a function that runs on the receiver's thread; whoever runs it owns it.
 *
 * Down (control -> worker): the letter changes the worker's world between two bursts. Up
 * (worker -> control): news, or the same letter back as its own receipt. Sending never blocks,
 * allocates or fails; order is kept per sender.
 *
 * Thread rule: any thread sends; one thread drains. mailbox_fd() polls readable when letters
 * wait; the receiver that busy-polls may ignore it.
 */
#ifndef OUTRIGGER_DATAPLANE_MAILBOX_H
#define OUTRIGGER_DATAPLANE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

struct mail {
	_Atomic(struct mail *) next;
	void (*run)(struct mail *m); /* on the receiver's thread; owns m from then on */
};

struct mailbox {
	_Atomic(struct mail *) head; /* senders: last sent */
	struct mail *tail;	     /* receiver: next to run */
	struct mail rest;	     /* keeps the queue non-empty */
	int fd;			     /* eventfd */
};

int mailbox_init(struct mailbox *mb);  /* 0 / -errno */
void mailbox_fini(struct mailbox *mb); /* must be empty */
void mailbox_send(struct mailbox *mb, struct mail *m);
/* Runs what has arrived; the number run. */
unsigned mailbox_drain(struct mailbox *mb);
bool mailbox_empty(const struct mailbox *mb); /* receiver only */
int mailbox_fd(const struct mailbox *mb);
/* Clear the eventfd after it polled readable, before mailbox_drain(). */
void mailbox_clear(struct mailbox *mb);

#endif
