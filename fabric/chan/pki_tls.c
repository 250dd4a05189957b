/* SPDX-License-Identifier: Apache-2.0 */
/* TLS contexts that trust the CA, and who the peer of a handshake is. */
#include "fabric/chan/pki_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

/* One version, no renegotiation, nothing resumed. */
static SSL_CTX *new_ctx(const SSL_METHOD *method, struct pki_why *why)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION)) {
		pki_fail(why, 0, "TLS 1.3 cannot be set up");
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	/* An idle connection keeps no record buffers. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	return ctx;
}

static bool load_own(SSL_CTX *ctx, const char *cert_path, const char *key_path, struct pki_why *why)
{
	if (SSL_CTX_use_certificate_file(ctx, cert_path, SSL_FILETYPE_PEM) == 1 &&
	    SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) == 1 &&
	    SSL_CTX_check_private_key(ctx) == 1)
		return true;
	pki_fail(why, 0, "%s and %s cannot be used", cert_path, key_path);
	return false;
}

static bool load_ca(SSL_CTX *ctx, const char *ca_path, struct pki_why *why)
{
	if (SSL_CTX_load_verify_file(ctx, ca_path) == 1)
		return true;
	pki_fail(why, 0, "%s cannot be used as CA certificate", ca_path);
	return false;
}

/* The CA goes out with the chain: a client that knows only its fingerprint can check it. */
static bool send_ca(SSL_CTX *ctx, const char *ca_path, struct pki_why *why)
{
	char *pem = NULL;
	size_t len;
	X509 *ca;

	if (pki_read_file(ca_path, PKI_PEM_MAX, &pem, &len, why))
		return false;
	ca = pki_parse_cert(pem, len);
	free(pem);
	if (ca && SSL_CTX_add_extra_chain_cert(ctx, ca) == 1)
		return true;
	X509_free(ca);
	pki_fail(why, 0, "%s cannot be used as CA certificate", ca_path);
	return false;
}

SSL_CTX *pki_server_ctx(const char *ca_path, const char *cert_path, const char *key_path,
			enum pki_client client, struct pki_why *why)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = new_ctx(TLS_server_method(), why);
	if (!ctx)
		return NULL;
	if (!load_own(ctx, cert_path, key_path, why) || !load_ca(ctx, ca_path, why) ||
	    !send_ca(ctx, ca_path, why)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_verify(
		ctx, SSL_VERIFY_PEER | (client == PKI_CLIENT_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
		NULL);
	SSL_CTX_set_verify_depth(ctx, 2);
	return ctx;
}

SSL_CTX *pki_client_ctx(const char *ca_path, const char *cert_path, const char *key_path, struct pki_why *why)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = new_ctx(TLS_client_method(), why);
	if (!ctx)
		return NULL;
	if (!load_ca(ctx, ca_path, why) || (cert_path && !load_own(ctx, cert_path, key_path, why))) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(ctx, 2);
	return ctx;
}

/* Finds the pinned CA among what the server sent and verifies the leaf under it alone. */
static int verify_pinned(X509_STORE_CTX *sctx, void *arg)
{
	const uint8_t *pin = arg;
	STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(sctx);
	X509 *leaf = X509_STORE_CTX_get0_cert(sctx), *ca = NULL;
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *again = X509_STORE_CTX_new();
	int ok = 0, error = X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;

	for (int i = 0; i < sk_X509_num(sent); i++) {
		uint8_t fp[PKI_FINGERPRINT_LEN];

		pki_fingerprint(sk_X509_value(sent, i), fp);
		if (!memcmp(fp, pin, sizeof(fp)))
			ca = sk_X509_value(sent, i);
	}
	if (ca && leaf && store && again && X509_STORE_add_cert(store, ca) &&
	    X509_STORE_CTX_init(again, store, leaf, sent)) {
		X509_STORE_CTX_set_default(again, "ssl_server");
		ok = X509_verify_cert(again) == 1;
		error = X509_STORE_CTX_get_error(again);
	}
	X509_STORE_CTX_set_error(sctx, ok ? X509_V_OK : error);
	X509_STORE_CTX_free(again);
	X509_STORE_free(store);
	return ok;
}

static void free_pin(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

SSL_CTX *pki_pinned_ctx(const uint8_t fingerprint[PKI_FINGERPRINT_LEN], struct pki_why *why)
{
	static int slot = -1; /* made by the first call; enrolment is one thread */
	uint8_t *pin = malloc(PKI_FINGERPRINT_LEN);
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = new_ctx(TLS_client_method(), why);
	if (slot < 0)
		slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_pin);
	if (!ctx || !pin || slot < 0 || !SSL_CTX_set_ex_data(ctx, slot, pin)) {
		SSL_CTX_free(ctx);
		free(pin);
		pki_fail(why, 0, "TLS cannot be set up");
		return NULL;
	}
	memcpy(pin, fingerprint, PKI_FINGERPRINT_LEN);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify_pinned, pin);
	return ctx;
}

static void subject_text(X509_NAME *subject, int nid, char out[65])
{
	/* A subject with the attribute twice, or with a NUL in it, is nobody. */
	int at = X509_NAME_get_index_by_NID(subject, nid, -1);
	ASN1_STRING *s;
	int n;

	out[0] = '\0';
	if (at < 0 || X509_NAME_get_index_by_NID(subject, nid, at) >= 0)
		return;
	s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	n = ASN1_STRING_length(s);
	if (n > 64 || memchr(ASN1_STRING_get0_data(s), 0, (size_t)n))
		return;
	memcpy(out, ASN1_STRING_get0_data(s), (size_t)n);
	out[n] = '\0';
}

int pki_peer(SSL *ssl, char name[65], char role[65], uint8_t fingerprint[PKI_FINGERPRINT_LEN])
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	name[0] = role[0] = '\0';
	memset(fingerprint, 0, PKI_FINGERPRINT_LEN);
	if (!cert)
		return -ENOENT;
	if (SSL_get_verify_result(ssl) != X509_V_OK)
		return -EACCES;
	subject_text(X509_get_subject_name(cert), NID_commonName, name);
	subject_text(X509_get_subject_name(cert), NID_organizationalUnitName, role);
	pki_fingerprint(cert, fingerprint);
	return 0;
}
