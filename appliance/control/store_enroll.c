/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials in the database: enrolment tokens and administrators' tokens by hash, certificates of hosts. */
#include "appliance/control/store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int run(struct store *s, const char *sql, const char *host, const uint8_t *hash, int64_t number)
{
	sqlite3_stmt *st;
	int err = store_prepare(s, &st, sql);

	if (err)
		return err;
	if (host)
		sqlite3_bind_text(st, 1, host, -1, SQLITE_STATIC);
	if (hash)
		sqlite3_bind_blob(st, 2, hash, STORE_HASH_LEN, SQLITE_STATIC);
	if (sqlite3_bind_parameter_count(st) >= 3)
		sqlite3_bind_int64(st, 3, number);
	return store_finish(s, st, sqlite3_step(st));
}

int store_token_set(struct store *s, const char *host, const uint8_t hash[STORE_HASH_LEN], int64_t expires)
{
	int err = store_begin(s);

	if (err)
		return err;
	/* Used ones stay: their second use is told from a token nobody knows. */
	err = run(s, "DELETE FROM enroll_token WHERE host=?1 AND used=0", host, NULL, 0);
	if (!err)
		err = run(s, "INSERT INTO enroll_token VALUES(?2,?1,?3,0)", host, hash, expires);
	return store_end(s, err);
}

int store_token_find(struct store *s, const uint8_t hash[STORE_HASH_LEN], char host[RESOURCE_NAME_MAX + 1],
		     int64_t *expires, bool *used)
{
	sqlite3_stmt *st;
	int rc, err = store_prepare(s, &st, "SELECT host, expires, used FROM enroll_token WHERE hash=?");

	if (err)
		return err;
	sqlite3_bind_blob(st, 1, hash, STORE_HASH_LEN, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		snprintf(host, RESOURCE_NAME_MAX + 1, "%s", (const char *)sqlite3_column_text(st, 0));
		*expires = sqlite3_column_int64(st, 1);
		*used = sqlite3_column_int(st, 2) != 0;
	}
	err = store_finish(s, st, rc);
	return err ? err : rc == SQLITE_ROW ? 0 : -ENOENT;
}

int store_token_expires(struct store *s, const char *host, int64_t *expires)
{
	sqlite3_stmt *st;
	int rc, err = store_prepare(s, &st, "SELECT expires FROM enroll_token WHERE host=? AND used=0");

	if (err)
		return err;
	sqlite3_bind_text(st, 1, host, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*expires = sqlite3_column_int64(st, 0);
	err = store_finish(s, st, rc);
	return err ? err : rc == SQLITE_ROW ? 0 : -ENOENT;
}

static int put_cert(struct store *s, const char *host, const struct store_cert *cert)
{
	sqlite3_stmt *st;
	int err = store_prepare(s, &st, "INSERT OR REPLACE INTO host_cert VALUES(?,?,?,?)");

	if (err)
		return err;
	sqlite3_bind_text(st, 1, host, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, cert->serial, -1, SQLITE_STATIC);
	sqlite3_bind_blob(st, 3, cert->fingerprint, STORE_HASH_LEN, SQLITE_STATIC);
	sqlite3_bind_int64(st, 4, cert->not_after);
	return store_finish(s, st, sqlite3_step(st));
}

int store_enroll(struct store *s, const char *host, const uint8_t hash[STORE_HASH_LEN],
		 const struct store_cert *cert)
{
	int err = store_begin(s);

	if (err)
		return err;
	err = run(s, "UPDATE enroll_token SET used=1 WHERE host=?1 AND hash=?2 AND used=0", host, hash, 0);
	if (!err && sqlite3_changes(s->db) != 1)
		err = -ENOENT;
	if (!err)
		err = put_cert(s, host, cert);
	return store_end(s, err);
}

int store_cert_get(struct store *s, const char *host, struct store_cert *out)
{
	sqlite3_stmt *st;
	int rc, err = store_prepare(s, &st,
				    "SELECT serial, fingerprint, not_after FROM host_cert WHERE host=?");

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	sqlite3_bind_text(st, 1, host, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		snprintf(out->serial, sizeof(out->serial), "%s", (const char *)sqlite3_column_text(st, 0));
		if (sqlite3_column_bytes(st, 1) == STORE_HASH_LEN)
			memcpy(out->fingerprint, sqlite3_column_blob(st, 1), STORE_HASH_LEN);
		out->not_after = sqlite3_column_int64(st, 2);
	}
	err = store_finish(s, st, rc);
	return err ? err : rc == SQLITE_ROW ? 0 : -ENOENT;
}

int store_revoke(struct store *s, const char *host)
{
	int err = store_begin(s);

	if (err)
		return err;
	err = run(s, "DELETE FROM enroll_token WHERE host=?1 AND used=0", host, NULL, 0);
	if (!err)
		err = run(s, "DELETE FROM host_cert WHERE host=?1", host, NULL, 0);
	return store_end(s, err);
}

int store_admin_token_add(struct store *s, const char *name, const uint8_t hash[STORE_HASH_LEN])
{
	int err = store_begin(s);

	return err ? err
		   : store_end(s, run(s, "INSERT OR REPLACE INTO admin_token VALUES(?2,?1)", name, hash, 0));
}

bool store_admin_token_ok(struct store *s, const uint8_t hash[STORE_HASH_LEN])
{
	sqlite3_stmt *st;
	int rc;

	if (store_prepare(s, &st, "SELECT 1 FROM admin_token WHERE hash=?"))
		return false;
	sqlite3_bind_blob(st, 1, hash, STORE_HASH_LEN, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_finalize(st);
	return rc == SQLITE_ROW;
}
