/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the store*.c files alone. All return 0 or -errno and leave the reason in s->error. */
#ifndef OUTRIGGER_CONTROL_STORE_IMPL_H
#define OUTRIGGER_CONTROL_STORE_IMPL_H

#include <sqlite3.h>

#include "appliance/control/store.h"

struct store {
	sqlite3 *db;
	char *path;
	uint64_t revision;
	char error[400];
};

int store_fail(struct store *s, int sqlite_rc);
int store_exec(struct store *s, const char *sql);
int store_prepare(struct store *s, sqlite3_stmt **st, const char *sql);
/* Finalizes; rc is what the last step gave. */
int store_finish(struct store *s, sqlite3_stmt *st, int rc);
int store_begin(struct store *s);
/* Commits if err is 0, else rolls back; the outcome of both. */
int store_end(struct store *s, int err);
int store_meta_put(struct store *s, const char *key, const char *value);

#endif
