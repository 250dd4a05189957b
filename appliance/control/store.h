/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The desired state on disk: one SQLite database (WAL, synchronous=FULL), one transaction per
 * change: after a crash a change is there whole or not at all, and one that was answered is there.
 *
 * Everything here blocks on the disk and returns 0 or -errno; store_error() says why in a
 * line. A store that cannot be written (disk full, read-only) refuses changes; what was
 * loaded goes on working. The next change tries again.
 * Thread rule: the control thread.
 */
#ifndef OUTRIGGER_CONTROL_STORE_H
#define OUTRIGGER_CONTROL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "appliance/control/kind.h"

struct change;
struct store;

/* path is made when missing (not its directory). -EBUSY: another process has it; -EINVAL: not ours, or
 * newer than this program. why gets a line on error. */
int store_open(const char *path, struct store **out, char *why, size_t why_size);
void store_close(struct store *s);		/* NULL is fine */
const char *store_error(const struct store *s); /* of the last failure; "" when the last write worked */

/* Every object in order of kind and name. fn takes obj. Nonzero from fn ends the walk and is returned. */
int store_load(struct store *s, int (*fn)(void *ctx, enum kind k, ProtobufCMessage *obj), void *ctx);
uint64_t store_revision(const struct store *s);
/* One object written or deleted, and the revision raised to chg->revision, in one transaction. */
int store_change(struct store *s, const struct change *chg);

/* Appliance-wide strings: "uid". -ENOENT. */
int store_meta_get(struct store *s, const char *key, char *buf, size_t size);
int store_meta_set(struct store *s, const char *key, const char *value);

/*
 * Epoch of a volume: raised before each attach and durable before this returns, so that two
 * attachments, also with a restart between, never share one. Starts at 1.
 */
int store_epoch_raise(struct store *s, const char *volume, uint64_t *out);
int store_epoch_get(struct store *s, const char *volume, uint64_t *out); /* 0: never raised */

/* Enrolment. A host has one unused token and one certificate at most; times are Unix seconds. */
#define STORE_HASH_LEN 32
struct store_cert {
	char serial[41];
	uint8_t fingerprint[STORE_HASH_LEN];
	int64_t not_after;
};
int store_token_set(struct store *s, const char *host, const uint8_t hash[STORE_HASH_LEN], int64_t expires);
/* Whose token that is. -ENOENT: nobody's. used: somebody enrolled with it already. */
int store_token_find(struct store *s, const uint8_t hash[STORE_HASH_LEN], char host[RESOURCE_NAME_MAX + 1],
		     int64_t *expires, bool *used);
int store_token_expires(struct store *s, const char *host, int64_t *expires); /* unused one; -ENOENT */
/* The token is used up and the certificate is the host's, in one transaction. -ENOENT: used meanwhile. */
int store_enroll(struct store *s, const char *host, const uint8_t hash[STORE_HASH_LEN],
		 const struct store_cert *cert);
int store_cert_get(struct store *s, const char *host, struct store_cert *out); /* -ENOENT */
int store_revoke(struct store *s, const char *host);			       /* token and certificate */

/* Administrators' bearer tokens, by SHA-256. */
int store_admin_token_add(struct store *s, const char *name, const uint8_t hash[STORE_HASH_LEN]);
bool store_admin_token_ok(struct store *s, const uint8_t hash[STORE_HASH_LEN]);

#endif
