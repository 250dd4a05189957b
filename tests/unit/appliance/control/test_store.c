/* SPDX-License-Identifier: Apache-2.0 */
/* The store: what was said to be stored is there after any end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appliance/control/model.h"
#include "appliance/control/store.h"

static char dir[64], path[128], why[256];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/outrigger-store-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/state.db", dir);
	return 0;
}

static int teardown(void **state)
{
	char cmd[100];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static struct store *reopen(struct store *s)
{
	store_close(s);
	if (store_open(path, &s, why, sizeof(why)))
		fail_msg("%s", why);
	return s;
}

/* A host of that name and description; description NULL: its deletion. */
static int put(struct store *s, const char *name, const char *description, uint64_t revision)
{
	Outrigger__V1__Host h = OUTRIGGER__V1__HOST__INIT;
	struct change chg = {.kind = KIND_HOST, .revision = revision};

	snprintf(chg.name, sizeof(chg.name), "%s", name);
	h.name = chg.name;
	h.revision = revision;
	h.description = (char *)(uintptr_t)description;
	chg.after = description ? &h.base : NULL;
	return store_change(s, &chg);
}

struct seen {
	size_t n;
	char last[64];
	char description[64];
};

static int see(void *ctx, enum kind k, ProtobufCMessage *obj)
{
	struct seen *seen = ctx;

	assert_int_equal(k, KIND_HOST);
	seen->n++;
	snprintf(seen->last, sizeof(seen->last), "%s", obj_name(obj));
	snprintf(seen->description, sizeof(seen->description), "%s",
		 ((Outrigger__V1__Host *)(void *)obj)->description);
	obj_free(obj);
	return 0;
}

static void objects_survive(void **state)
{
	struct store *s = reopen(NULL);
	struct seen seen = {0};

	(void)state;
	assert_int_equal(put(s, "h1", "one", 1), 0);
	assert_int_equal(put(s, "h2", "two", 2), 0);
	assert_int_equal(put(s, "h2", "again", 3), 0);
	assert_int_equal(put(s, "h1", NULL, 4), 0);
	s = reopen(s);
	assert_int_equal(store_revision(s), 4);
	assert_int_equal(store_load(s, see, &seen), 0);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.last, "h2");
	assert_string_equal(seen.description, "again");
	store_close(s);
}

static void epochs_only_grow(void **state)
{
	struct store *s = reopen(NULL);
	uint64_t e;

	(void)state;
	assert_int_equal(store_epoch_get(s, "v", &e), 0);
	assert_int_equal(e, 0);
	for (uint64_t want = 1; want < 5; want++) {
		assert_int_equal(store_epoch_raise(s, "v", &e), 0);
		assert_int_equal(e, want);
		s = reopen(s);
	}
	assert_int_equal(store_epoch_raise(s, "w", &e), 0);
	assert_int_equal(e, 1);
	store_close(s);
}

static void one_daemon_per_store(void **state)
{
	struct store *s = reopen(NULL);
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		struct store *t;

		_exit(store_open(path, &t, why, sizeof(why)) == -EBUSY && strstr(why, "another outriggerd")
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	store_close(s);
}

static void a_foreign_file_is_refused(void **state)
{
	struct store *s;
	FILE *f = fopen(path, "w");

	(void)state;
	fputs("this is not a database, whatever its name says; long enough to be looked at", f);
	for (int i = 0; i < 1000; i++)
		fputs("................", f);
	fclose(f);
	assert_true(store_open(path, &s, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, path));
	assert_true(store_open("/nonexistent/state.db", &s, why, sizeof(why)) < 0);
}

/* A full disk, as the kernel reports it for a file at its limit. */
static void a_full_disk_refuses_and_recovers(void **state)
{
	struct rlimit old, full;
	struct store *s = reopen(NULL);
	struct seen seen = {0};
	uint64_t e;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(put(s, "h1", "one", 1), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	full = old;
	full.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &full);
	assert_true(put(s, "h1", "lost", 2) < 0);
	assert_true(strlen(store_error(s)) > 0);
	assert_true(store_epoch_raise(s, "v", &e) < 0);
	assert_int_equal(store_revision(s), 1);
	assert_int_equal(store_load(s, see, &seen), 0); /* reading goes on */
	assert_string_equal(seen.description, "one");
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(put(s, "h1", "two", 2), 0);
	assert_string_equal(store_error(s), "");
	s = reopen(s);
	assert_int_equal(store_load(s, see, &seen), 0);
	assert_string_equal(seen.description, "two");
	store_close(s);
}

/* Writes and tells each revision once it is stored, until it is killed. */
static void write_until_killed(int fd, uint64_t revision)
{
	struct store *s;
	char text[24];
	uint64_t e;

	if (store_open(path, &s, why, sizeof(why)))
		_exit(1);
	for (;;) {
		revision++;
		snprintf(text, sizeof(text), "%llu", (unsigned long long)revision);
		if (put(s, "h1", text, revision) || store_epoch_raise(s, "v", &e) || e != revision ||
		    write(fd, &revision, sizeof(revision)) != sizeof(revision))
			_exit(2);
	}
}

static void killed_writers_lose_nothing(void **state)
{
	uint64_t told = 0;

	(void)state;
	for (int round = 0; round < 10; round++) {
		int fds[2], status, reads = round * 3 + 1;
		struct store *s;
		struct seen seen = {0};
		uint64_t e;
		pid_t child;

		assert_int_equal(pipe(fds), 0);
		child = fork();
		if (child == 0)
			write_until_killed(fds[1], told);
		close(fds[1]);
		while (reads-- && read(fds[0], &told, sizeof(told)) == sizeof(told))
			;
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &told, sizeof(told)) == sizeof(told))
			;
		close(fds[0]);
		s = reopen(NULL);
		assert_int_equal(store_load(s, see, &seen), 0);
		/* One more change than told may be in, whole. */
		assert_in_range(store_revision(s), told, told + 1);
		assert_int_equal(strtoull(seen.description, NULL, 10), store_revision(s));
		assert_int_equal(store_epoch_get(s, "v", &e), 0);
		assert_in_range(e, told, store_revision(s));
		told = store_revision(s);
		while (e < told) /* the child counts both from here */
			assert_int_equal(store_epoch_raise(s, "v", &e), 0);
		store_close(s);
	}
}

static void tokens_are_used_once(void **state)
{
	static const uint8_t a[32] = {1}, b[32] = {2}, c[32] = {3};
	struct store_cert cert = {.serial = "AB", .fingerprint = {9}, .not_after = 77}, got;
	struct store *s = reopen(NULL);
	char host[64];
	int64_t expires;
	bool used;

	(void)state;
	assert_int_equal(store_token_set(s, "h1", a, 100), 0);
	assert_int_equal(store_token_set(s, "h1", b, 200), 0); /* replaces a */
	assert_int_equal(store_token_find(s, a, host, &expires, &used), -ENOENT);
	assert_int_equal(store_token_find(s, b, host, &expires, &used), 0);
	assert_string_equal(host, "h1");
	assert_int_equal(expires, 200);
	assert_false(used);
	assert_int_equal(store_cert_get(s, "h1", &got), -ENOENT);
	assert_int_equal(store_enroll(s, "h1", c, &cert), -ENOENT);
	assert_int_equal(store_cert_get(s, "h1", &got), -ENOENT);
	assert_int_equal(store_enroll(s, "h1", b, &cert), 0);
	s = reopen(s);
	assert_int_equal(store_enroll(s, "h1", b, &cert), -ENOENT);
	assert_int_equal(store_token_find(s, b, host, &expires, &used), 0);
	assert_true(used);
	assert_int_equal(store_cert_get(s, "h1", &got), 0);
	assert_string_equal(got.serial, cert.serial);
	assert_memory_equal(got.fingerprint, cert.fingerprint, sizeof(got.fingerprint));
	assert_int_equal(got.not_after, 77);
	assert_int_equal(store_token_expires(s, "h1", &expires), -ENOENT);
	assert_int_equal(store_revoke(s, "h1"), 0);
	assert_int_equal(store_cert_get(s, "h1", &got), -ENOENT);
	/* With the host goes what hangs on it. */
	assert_int_equal(store_token_set(s, "h1", c, 1), 0);
	assert_int_equal(put(s, "h1", NULL, 1), 0);
	assert_int_equal(store_token_find(s, c, host, &expires, &used), -ENOENT);
	store_close(s);
}

static void admin_tokens_by_hash(void **state)
{
	static const uint8_t a[32] = {1}, b[32] = {1, 1};
	struct store *s = reopen(NULL);

	(void)state;
	assert_int_equal(store_admin_token_add(s, "admin", a), 0);
	s = reopen(s);
	assert_true(store_admin_token_ok(s, a));
	assert_false(store_admin_token_ok(s, b));
	store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(objects_survive),
		T(epochs_only_grow),
		T(one_daemon_per_store),
		T(a_foreign_file_is_refused),
		T(a_full_disk_refuses_and_recovers),
		T(killed_writers_lose_nothing),
		T(tokens_are_used_once),
		T(admin_tokens_by_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
