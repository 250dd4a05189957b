/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Add 1 to an eventfd that somebody else holds too, without ever waiting.
 *
 * write() waits while the counter is full, unless the file is non-blocking; both the counter and that flag
 * are the front-end's to change at any moment, so neither a look before the write nor setting the flag helps.
 * The kernel's own way to raise an eventfd never waits; it is reached by an asynchronous read whose
 * completion is told to the eventfd (io_submit(2), IOCB_FLAG_RESFD). Costs two to three times a write().
 *
 * Where the kernel gives no such context (fs.aio-max-nr used up) it is poll() and write(), which leaves a
 * hostile front-end a moment to race for.
 *
 * Between vhost_signal_hold() and vhost_signal_go() notifications are gathered, each descriptor's into one,
 * and go in one call. A descriptor that is closed meanwhile must be told before it is: vhost_signal_go()
 * does.
 *
 * Thread rule: any thread; each has its own context and gathers for itself.
 */
#ifndef OUTRIGGER_VHOST_SIGNAL_H
#define OUTRIGGER_VHOST_SIGNAL_H

void vhost_signal(int fd);
void vhost_signal_hold(void);
void vhost_signal_go(void); /* harmless when nothing is held */

#endif
