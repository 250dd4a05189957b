/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "appliance/dataplane/mailbox.h"

#define SENDERS 3
#define LETTERS 20000

struct letter {
	struct mail mail; /* first */
	int sender, number;
};

static int next_of[SENDERS];
static int got;

static void run(struct mail *m)
{
	struct letter *l = (struct letter *)m;

	/* Order is kept per sender. */
	assert_int_equal(l->number, next_of[l->sender]++);
	got++;
	free(l);
}

static struct letter *letter(int sender, int number)
{
	struct letter *l = calloc(1, sizeof(*l));

	l->mail.run = run;
	l->sender = sender;
	l->number = number;
	return l;
}

static void one_after_the_other(void **state)
{
	struct mailbox mb;
	struct pollfd p;

	(void)state;
	assert_int_equal(mailbox_init(&mb), 0);
	p = (struct pollfd){.fd = mailbox_fd(&mb), .events = POLLIN};
	next_of[0] = got = 0;
	assert_true(mailbox_empty(&mb));
	assert_int_equal(mailbox_drain(&mb), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	for (int i = 0; i < 5; i++)
		mailbox_send(&mb, &letter(0, i)->mail);
	assert_false(mailbox_empty(&mb));
	assert_int_equal(poll(&p, 1, 0), 1);
	mailbox_clear(&mb);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(mailbox_drain(&mb), 5);
	assert_true(mailbox_empty(&mb));
	mailbox_send(&mb, &letter(0, 5)->mail);
	assert_int_equal(mailbox_drain(&mb), 1);
	assert_int_equal(got, 6);
	mailbox_fini(&mb);
}

struct again {
	struct mail mail; /* first */
	struct mailbox *mb;
	int left;
};

static void run_again(struct mail *m)
{
	struct again *a = (struct again *)m;

	if (a->left-- > 0)
		mailbox_send(a->mb, &a->mail);
}

/* A letter may be sent again from its own run(). */
static void from_inside(void **state)
{
	struct mailbox mb;
	struct again a = {.mail.run = run_again, .mb = &mb, .left = 3};

	(void)state;
	assert_int_equal(mailbox_init(&mb), 0);
	mailbox_send(&mb, &a.mail);
	assert_int_equal(mailbox_drain(&mb), 4);
	mailbox_fini(&mb);
}

struct sender {
	struct mailbox *mb;
	int id;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (int i = 0; i < LETTERS; i++)
		mailbox_send(s->mb, &letter(s->id, i)->mail);
	return NULL;
}

static void many_senders(void **state)
{
	struct mailbox mb;
	pthread_t t[SENDERS];
	struct sender s[SENDERS];
	struct pollfd p;

	(void)state;
	assert_int_equal(mailbox_init(&mb), 0);
	got = 0;
	for (int i = 0; i < SENDERS; i++) {
		next_of[i] = 0;
		s[i] = (struct sender){&mb, i};
		assert_int_equal(pthread_create(&t[i], NULL, send_all, &s[i]), 0);
	}
	p = (struct pollfd){.fd = mailbox_fd(&mb), .events = POLLIN};
	/* Sleeping on the descriptor is enough: no letter waits without it being readable. */
	while (got < SENDERS * LETTERS) {
		assert_int_equal(poll(&p, 1, 60000), 1);
		mailbox_clear(&mb);
		mailbox_drain(&mb);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(t[i], NULL);
	assert_true(mailbox_empty(&mb));
	mailbox_fini(&mb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(from_inside),
		cmocka_unit_test(many_senders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
