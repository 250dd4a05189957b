/* SPDX-License-Identifier: Apache-2.0 */
/* How a host gets and loses its certificate. */
#include "appliance/control/api_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "fabric/base/log.h"
#include "fabric/chan/token.h"

#define TTL_MIN_S     60u
#define TTL_MAX_S     604800u
#define TTL_DEFAULT_S 3600u
#define CERT_DAYS     730

static bool known_host(struct api *a, struct connect_call *call, const char *host)
{
	if (resource_name_ok(host) && model_host(a->cfg.model, host))
		return true;
	if (str_empty(host))
		api_answer_error(call, API_INVALID_ARGUMENT, "host: is missing");
	else
		api_answer_error(call, API_NOT_FOUND, "host: \"%.63s\" does not exist", host);
	return false;
}

static void store_failed(struct api *a, struct connect_call *call)
{
	api_answer_error(call, API_UNAVAILABLE, "the store cannot be written, nothing has changed: %s",
			 store_error(a->cfg.store));
}

API_HANDLER(api_create_enroll_token)
{
	struct api *a = ctx;
	const Outrigger__V1__CreateEnrollTokenRequest *in = (const void *)req;
	Outrigger__V1__CreateEnrollTokenResponse out = OUTRIGGER__V1__CREATE_ENROLL_TOKEN_RESPONSE__INIT;
	uint32_t ttl = in->ttl_seconds ? in->ttl_seconds : TTL_DEFAULT_S;
	uint8_t secret[TOKEN_SECRET_LEN], ca[PKI_FINGERPRINT_LEN];
	struct token_parts parts;
	char text[TOKEN_TEXT_SIZE];

	(void)m;
	if (!known_host(a, call, in->host))
		return;
	if (ttl < TTL_MIN_S || ttl > TTL_MAX_S) {
		api_answer_error(call, API_INVALID_ARGUMENT, "ttl_seconds: %u is out of range %u..%u", ttl,
				 TTL_MIN_S, TTL_MAX_S);
		return;
	}
	if (RAND_bytes(secret, sizeof(secret)) != 1) {
		api_answer_error(call, API_UNAVAILABLE, "no random bytes");
		return;
	}
	pki_ca_fingerprint(a->cfg.pki, ca);
	token_format(secret, ca, text);
	OPENSSL_cleanse(secret, sizeof(secret));
	out.expires = time(NULL) + ttl;
	out.token = text;
	if (token_parse(text, &parts) || store_token_set(a->cfg.store, in->host, parts.hash, out.expires)) {
		store_failed(a, call);
	} else {
		log_info("api: enrolment token for host %s made by %s, good for %u s", in->host,
			 connect_caller(call), ttl);
		connect_reply(call, &out.base);
	}
	OPENSSL_cleanse(text, sizeof(text));
}

API_HANDLER(api_revoke_host)
{
	struct api *a = ctx;
	const Outrigger__V1__RevokeHostRequest *in = (const void *)req;

	(void)m;
	if (!known_host(a, call, in->host))
		return;
	if (store_revoke(a->cfg.store, in->host)) {
		store_failed(a, call);
		return;
	}
	log_info("api: certificate and token of host %s revoked by %s", in->host, connect_caller(call));
	if (a->cfg.ops.host_revoked)
		a->cfg.ops.host_revoked(a->cfg.ops.ctx, in->host);
	api_answer_object(a, call, KIND_HOST, in->host);
}

/* Whose token this is and that it is good now; else says why not. */
static int check_token(struct api *a, const char *text, struct token_parts *parts, char *host,
		       struct api_err *err)
{
	uint8_t ca[PKI_FINGERPRINT_LEN];
	int64_t expires;
	bool used;
	int rc;

	if (token_parse(text, parts))
		return api_fail(err, API_INVALID_ARGUMENT, "token: is not an enrolment token");
	pki_ca_fingerprint(a->cfg.pki, ca);
	if (CRYPTO_memcmp(ca, parts->ca, sizeof(ca)) != 0)
		return api_fail(err, API_UNAUTHENTICATED, "token: is of another appliance");
	rc = store_token_find(a->cfg.store, parts->hash, host, &expires, &used);
	if (rc == -ENOENT)
		return api_fail(err, API_UNAUTHENTICATED,
				"token: is not known; it may have been revoked or replaced by a newer one");
	if (rc)
		return api_fail(err, API_UNAVAILABLE, "%s", store_error(a->cfg.store));
	if (used)
		return api_fail(err, API_UNAUTHENTICATED, "token: was used already; ask for a new one");
	if (expires <= time(NULL))
		return api_fail(err, API_UNAUTHENTICATED, "token: has expired; ask for a new one");
	if (!model_host(a->cfg.model, host))
		return api_fail(err, API_UNAUTHENTICATED, "token: host \"%s\" was deleted", host);
	return 0;
}

static int issue(struct api *a, const char *host, const Outrigger__V1__EnrollRequest *in,
		 const struct token_parts *parts, struct pki_issued *cert, struct api_err *err)
{
	struct store_cert record;
	struct pki_why why;
	int rc = pki_issue_csr(a->cfg.pki, PKI_ROLE_HOST, host, in->csr, strlen(in->csr), CERT_DAYS, cert,
			       &why);

	if (rc)
		return api_fail(err, API_INVALID_ARGUMENT, "csr: %s", why.text);
	memset(&record, 0, sizeof(record));
	memcpy(record.serial, cert->serial, sizeof(record.serial));
	memcpy(record.fingerprint, cert->fingerprint, sizeof(record.fingerprint));
	record.not_after = cert->not_after;
	rc = store_enroll(a->cfg.store, host, parts->hash, &record);
	if (rc == -ENOENT)
		return api_fail(err, API_UNAUTHENTICATED, "token: was used already; ask for a new one");
	if (rc)
		return api_fail(err, API_UNAVAILABLE, "the store cannot be written, nothing has changed: %s",
				store_error(a->cfg.store));
	return 0;
}

API_HANDLER(api_enroll)
{
	struct api *a = ctx;
	const Outrigger__V1__EnrollRequest *in = (const void *)req;
	Outrigger__V1__EnrollResponse out = OUTRIGGER__V1__ENROLL_RESPONSE__INIT;
	struct pki_issued cert = {.pem = NULL};
	struct token_parts parts;
	struct api_err err;
	char host[RESOURCE_NAME_MAX + 1] = "";

	(void)m;
	if (check_token(a, in->token, &parts, host, &err) || issue(a, host, in, &parts, &cert, &err)) {
		log_warn("enrolment from %s refused%s%s: %s", connect_caller(call),
			 host[0] ? " for host " : "", host, err.msg);
		pki_issued_clear(&cert);
		connect_fail(call, &err);
		return;
	}
	log_info("host %s enrolled from %s, certificate %s", host, connect_caller(call), cert.serial);
	/* A session under the certificate that this one replaces. */
	if (a->cfg.ops.host_revoked)
		a->cfg.ops.host_revoked(a->cfg.ops.ctx, host);
	out.host = host;
	out.certificate = cert.pem;
	out.ca_certificate = (char *)(uintptr_t)pki_ca_pem(a->cfg.pki);
	out.session_port = a->cfg.session_port;
	connect_reply(call, &out.base);
	pki_issued_clear(&cert);
}
