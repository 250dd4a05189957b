/* SPDX-License-Identifier: Apache-2.0 */
/* The database: opening it, its schema, and resources. What enrolment keeps is in store_enroll.c. */
#include "appliance/control/store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/control/model.h"
#include "fabric/base/log.h"

/* PRAGMA application_id ("ORig") tells our file from any other; user_version is the schema. */
#define APPLICATION_ID 0x4f526967
#define SCHEMA_VERSION 1
#define BUSY_MS	       2000

static const char schema[] =
	"CREATE TABLE object(kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,"
	"  body BLOB NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;"
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE epoch(volume TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE enroll_token(hash BLOB PRIMARY KEY, host TEXT NOT NULL, expires INTEGER NOT NULL,"
	"  used INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE host_cert(host TEXT PRIMARY KEY, serial TEXT NOT NULL, fingerprint BLOB NOT NULL,"
	"  not_after INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE admin_token(hash BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;";

int store_fail(struct store *s, int sqlite_rc)
{
	int kind = sqlite_rc & 0xff;

	/* What can be saved of it is not for a daemon to decide. */
	snprintf(s->error, sizeof(s->error), "%s: %s%s", s->path, sqlite3_errmsg(s->db),
		 kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB
			 ? "; put a copy of it back, see BACKUP in outriggerd(8)"
			 : "");
	switch (kind) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

int store_exec(struct store *s, const char *sql)
{
	int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : store_fail(s, rc);
}

int store_prepare(struct store *s, sqlite3_stmt **st, const char *sql)
{
	int rc = sqlite3_prepare_v2(s->db, sql, -1, st, NULL);

	return rc == SQLITE_OK ? 0 : store_fail(s, rc);
}

int store_finish(struct store *s, sqlite3_stmt *st, int rc)
{
	int err = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : store_fail(s, rc);

	sqlite3_finalize(st);
	return err;
}

int store_begin(struct store *s)
{
	return store_exec(s, "BEGIN IMMEDIATE");
}

int store_end(struct store *s, int err)
{
	if (!err)
		err = store_exec(s, "COMMIT");
	if (err)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	else
		s->error[0] = '\0';
	return err;
}

static int pragma_int(struct store *s, const char *sql, int64_t *out)
{
	sqlite3_stmt *st;
	int err = store_prepare(s, &st, sql), rc;

	if (err)
		return err;
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	return store_finish(s, st, rc);
}

static int make_schema(struct store *s)
{
	char sql[128];
	int err = store_begin(s);

	if (err)
		return err;
	err = store_exec(s, schema);
	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID,
		 SCHEMA_VERSION);
	if (!err)
		err = store_exec(s, sql);
	return store_end(s, err);
}

static int check_schema(struct store *s)
{
	int64_t id = 0, version = 0, tables = 0;
	int err = pragma_int(s, "PRAGMA application_id", &id);

	if (!err)
		err = pragma_int(s, "PRAGMA user_version", &version);
	if (!err)
		err = pragma_int(s, "SELECT count(*) FROM sqlite_master", &tables);
	if (err)
		return err;
	if (id == 0 && version == 0 && tables == 0)
		return make_schema(s);
	if (id != APPLICATION_ID) {
		snprintf(s->error, sizeof(s->error), "%s: not a database of an Outrigger appliance", s->path);
		return -EINVAL;
	}
	if (version != SCHEMA_VERSION) {
		snprintf(s->error, sizeof(s->error),
			 "%s: made by another version of outriggerd (schema %lld, this one knows %d)",
			 s->path, (long long)version, SCHEMA_VERSION);
		return -EINVAL;
	}
	return 0;
}

static int read_revision(struct store *s)
{
	char text[32];
	int err = store_meta_get(s, "revision", text, sizeof(text));

	if (err == -ENOENT)
		return 0;
	if (!err)
		s->revision = strtoull(text, NULL, 10);
	return err;
}

static int open_db(struct store *s)
{
	int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	int err;

	if (rc != SQLITE_OK)
		return store_fail(s, rc);
	sqlite3_busy_timeout(s->db, BUSY_MS);
	/* EXCLUSIVE: one daemon per state directory, and the WAL index needs no shared memory file. */
	err = store_exec(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			    "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF");
	if (!err)
		err = check_schema(s);
	return err ? err : read_revision(s);
}

int store_open(const char *path, struct store **out, char *why, size_t why_size)
{
	struct store *s = calloc(1, sizeof(*s));
	int err;

	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		store_close(s);
		snprintf(why, why_size, "no memory");
		return -ENOMEM;
	}
	err = open_db(s);
	if (err) {
		snprintf(why, why_size, "%s%s", s->error,
			 err == -EBUSY ? " (is another outriggerd running on this state directory?)" : "");
		store_close(s);
		return err;
	}
	s->error[0] = '\0';
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	free(s->path);
	free(s);
}

const char *store_error(const struct store *s)
{
	return s->error;
}

uint64_t store_revision(const struct store *s)
{
	return s->revision;
}

static int load_row(struct store *s, enum kind k, sqlite3_stmt *st,
		    int (*fn)(void *ctx, enum kind k, ProtobufCMessage *obj), void *ctx)
{
	const uint8_t *body = sqlite3_column_blob(st, 1);
	int n = sqlite3_column_bytes(st, 1);
	ProtobufCMessage *obj = protobuf_c_message_unpack(kind_info(k)->desc, NULL, (size_t)n, body);

	if (!obj) {
		snprintf(s->error, sizeof(s->error), "%s: %s \"%s\" cannot be read", s->path,
			 kind_info(k)->name, (const char *)sqlite3_column_text(st, 0));
		return -EIO;
	}
	return fn(ctx, k, obj);
}

int store_load(struct store *s, int (*fn)(void *ctx, enum kind k, ProtobufCMessage *obj), void *ctx)
{
	for (enum kind k = 0; k < NKINDS; k++) {
		sqlite3_stmt *st;
		int rc, err = store_prepare(s, &st,
					    "SELECT name, body FROM object WHERE kind=? ORDER BY name");

		if (err)
			return err;
		sqlite3_bind_text(st, 1, kind_info(k)->name, -1, SQLITE_STATIC);
		while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
			err = load_row(s, k, st, fn, ctx);
			if (err) {
				sqlite3_finalize(st);
				return err;
			}
		}
		err = store_finish(s, st, rc);
		if (err)
			return err;
	}
	return 0;
}

static int put_object(struct store *s, const struct change *chg)
{
	size_t n = protobuf_c_message_get_packed_size(chg->after);
	uint8_t *body = malloc(n ? n : 1);
	sqlite3_stmt *st = NULL;
	int err = body ? store_prepare(s, &st, "INSERT OR REPLACE INTO object VALUES(?,?,?,?)") : -ENOMEM;

	if (!err) {
		protobuf_c_message_pack(chg->after, body);
		sqlite3_bind_text(st, 1, kind_info(chg->kind)->name, -1, SQLITE_STATIC);
		sqlite3_bind_text(st, 2, chg->name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(st, 3, (sqlite3_int64)obj_revision(chg->after));
		sqlite3_bind_blob(st, 4, body, (int)n, SQLITE_STATIC);
		err = store_finish(s, st, sqlite3_step(st));
	}
	free(body);
	return err;
}

/* A statement without result, of one or two text parameters. */
static int run_texts(struct store *s, const char *sql, const char *a, const char *b)
{
	sqlite3_stmt *st;
	int err = store_prepare(s, &st, sql);

	if (err)
		return err;
	sqlite3_bind_text(st, 1, a, -1, SQLITE_STATIC);
	if (b)
		sqlite3_bind_text(st, 2, b, -1, SQLITE_STATIC);
	return store_finish(s, st, sqlite3_step(st));
}

/* What hangs on an object beside its row goes with it. The epoch of a volume stays: a new volume
 * of the same name must not start below it. */
static int delete_object(struct store *s, const struct change *chg)
{
	int err = run_texts(s, "DELETE FROM object WHERE kind=? AND name=?", kind_info(chg->kind)->name,
			    chg->name);

	if (!err && chg->kind == KIND_HOST)
		err = run_texts(s, "DELETE FROM host_cert WHERE host=?", chg->name, NULL);
	if (!err && chg->kind == KIND_HOST)
		err = run_texts(s, "DELETE FROM enroll_token WHERE host=?", chg->name, NULL);
	return err;
}

int store_meta_put(struct store *s, const char *key, const char *value)
{
	return run_texts(s, "INSERT OR REPLACE INTO meta VALUES(?,?)", key, value);
}

int store_change(struct store *s, const struct change *chg)
{
	uint64_t revision = chg->revision > s->revision ? chg->revision : s->revision;
	char text[32];
	int err = store_begin(s);

	if (err)
		return err;
	err = chg->after ? put_object(s, chg) : delete_object(s, chg);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)revision);
	if (!err)
		err = store_meta_put(s, "revision", text);
	err = store_end(s, err);
	if (!err)
		s->revision = revision;
	return err;
}

int store_meta_get(struct store *s, const char *key, char *buf, size_t size)
{
	sqlite3_stmt *st;
	int rc, err = store_prepare(s, &st, "SELECT value FROM meta WHERE key=?");

	if (err)
		return err;
	sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		snprintf(buf, size, "%s", (const char *)sqlite3_column_text(st, 0));
	err = store_finish(s, st, rc);
	return err ? err : rc == SQLITE_ROW ? 0 : -ENOENT;
}

int store_meta_set(struct store *s, const char *key, const char *value)
{
	int err = store_begin(s);

	return err ? err : store_end(s, store_meta_put(s, key, value));
}

int store_epoch_get(struct store *s, const char *volume, uint64_t *out)
{
	sqlite3_stmt *st;
	int rc, err = store_prepare(s, &st, "SELECT epoch FROM epoch WHERE volume=?");

	*out = 0;
	if (err)
		return err;
	sqlite3_bind_text(st, 1, volume, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = (uint64_t)sqlite3_column_int64(st, 0);
	return store_finish(s, st, rc);
}

int store_epoch_raise(struct store *s, const char *volume, uint64_t *out)
{
	int err = store_begin(s);

	if (err)
		return err;
	err = run_texts(s,
			"INSERT INTO epoch VALUES(?,1) ON CONFLICT(volume) DO UPDATE SET epoch = epoch + 1",
			volume, NULL);
	if (!err)
		err = store_epoch_get(s, volume, out);
	return store_end(s, err);
}
