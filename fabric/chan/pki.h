/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The appliance's own small certificate authority, and the TLS contexts of everybody who
 * trusts it. Keys are EC P-256, signatures ECDSA with SHA-256 (RFC 5280 profile, version 3).
 *
 * Roles are the subject's organizational unit, the name its common name:
 *	OU=ca             the authority itself, self-signed, without an end
 *	OU=appliance      the server; subjectAltName has its addresses and names
 *	OU=host           an agent; CN is the host's name; clientAuth only
 *	OU=network-admin  an administrator; clientAuth only
 *
 * Files: PEM, written to a temporary name in the same directory, synced and renamed: a file
 * is there whole or not at all. Keys have mode 0600, certificates 0644.
 * Errors are 0 or -errno, with a line saying what and where in `why` (may be NULL).
 * Thread rule: none of these share state but the struct pki they are given.
 */
#ifndef OUTRIGGER_CHAN_PKI_H
#define OUTRIGGER_CHAN_PKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#define PKI_FINGERPRINT_LEN 32
#define PKI_ROLE_CA	    "ca"
#define PKI_ROLE_APPLIANCE  "appliance"
#define PKI_ROLE_HOST	    "host"
#define PKI_ROLE_ADMIN	    "network-admin"
/* A PEM certificate or request that this room makes or takes fits in this. */
#define PKI_PEM_MAX 16384

struct pki_why {
	char text[256];
};

struct pki;

/* The CA in DIR (ca.key, ca.crt), made when there is no ca.crt yet (a key alone has signed nothing: the
 * certificate is written last). -ENOENT: the key is missing; -EINVAL: they do not belong together. */
int pki_open(const char *dir, struct pki **out, struct pki_why *why);
bool pki_was_made(const struct pki *p); /* by this pki_open() */
void pki_close(struct pki *p);
const char *pki_ca_pem(const struct pki *p);
void pki_ca_fingerprint(const struct pki *p, uint8_t out[PKI_FINGERPRINT_LEN]);

struct pki_issued {
	char *pem; /* malloc'ed */
	char serial[41];
	uint8_t fingerprint[PKI_FINGERPRINT_LEN];
	int64_t not_after; /* Unix seconds */
};
void pki_issued_clear(struct pki_issued *i);

/* A new key and a certificate for it into key_path and cert_path. sans: numeric addresses and
 * DNS names (only for OU appliance), nsans <= 32. days: validity. */
int pki_issue_files(struct pki *p, const char *role, const char *name, const char *const *sans, size_t nsans,
		    unsigned days, const char *key_path, const char *cert_path, struct pki_why *why);
/* A certificate of that role and name for the key of a PKCS #10 request (PEM). What the request
 * asks for is ignored; its own signature must hold and its key be EC P-256 (-EINVAL). */
int pki_issue_csr(struct pki *p, const char *role, const char *name, const char *csr, size_t csr_len,
		  unsigned days, struct pki_issued *out, struct pki_why *why);
/* Whether cert_path is of this CA, matches key_path, names all sans, and is valid now and for min_days more.
 */
bool pki_cert_usable(struct pki *p, const char *key_path, const char *cert_path, const char *const *sans,
		     size_t nsans, unsigned min_days);

/* Whether a certificate is valid now and for min_days more: -ESTALE, and `why` says when it is. */
int pki_cert_dates(const char *cert_path, unsigned min_days, struct pki_why *why);

/* For the agent: a new key and a request for it. Both PEM, malloc'ed. */
int pki_make_csr(const char *name, char **key_pem, char **csr_pem, struct pki_why *why);

enum pki_client {
	PKI_CLIENT_OPTIONAL, /* asked for; if given it must be of the CA (API) */
	PKI_CLIENT_REQUIRED, /* no handshake without (agents) */
};
/* TLS 1.3 only, no session tickets (a resumed session would outlive its certificate).
 * NULL on error. Release with SSL_CTX_free(). */
SSL_CTX *pki_server_ctx(const char *ca_path, const char *cert_path, const char *key_path,
			enum pki_client client, struct pki_why *why);
/* cert_path and key_path may be NULL: without a certificate of its own. */
SSL_CTX *pki_client_ctx(const char *ca_path, const char *cert_path, const char *key_path,
			struct pki_why *why);
/* TLS 1.3 that trusts exactly the server whose chain contains a CA certificate of this fingerprint: for
 * enrolment, before the CA is known. The fingerprint is copied. */
SSL_CTX *pki_pinned_ctx(const uint8_t fingerprint[PKI_FINGERPRINT_LEN], struct pki_why *why);

/* Name and role of the verified peer. -ENOENT: it gave no certificate; -EACCES: not of our CA. */
int pki_peer(SSL *ssl, char name[65], char role[65], uint8_t fingerprint[PKI_FINGERPRINT_LEN]);
int pki_pem_fingerprint(const char *pem, size_t len, uint8_t out[PKI_FINGERPRINT_LEN]);
/* hex must have room for 2 * len + 1. */
void pki_hex(const uint8_t *bytes, size_t len, char *hex);

/* The whole file atomically, with the mode given, synced. */
int pki_write_file(const char *path, const void *bytes, size_t len, unsigned mode, struct pki_why *why);
/* malloc'ed and terminated; -EFBIG beyond max. */
int pki_read_file(const char *path, size_t max, char **out, size_t *len, struct pki_why *why);

#endif
