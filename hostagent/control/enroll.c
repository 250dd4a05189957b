/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/enroll.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "fabric/base/log.h"
#include "fabric/chan/pki.h"
#include "fabric/chan/token.h"
#include "hostagent/control/https.h"
#include "proto/api/outrigger.pb-c.h"

#define PATH_ENROLL "/outrigger.v1.EnrollService/Enroll"
#define NAME_CSR    "host" /* the appliance puts the real name in */

/* What an enrolment works with; everything that must be released at its end. */
struct enrollment {
	const char *appliance, *token, *state;
	struct token_parts parts;
	char *key, *csr;
	struct https_reply reply;
	Outrigger__V1__EnrollResponse *answer;
};

/* The token is good once: everything that can fail on this side is tried before it is spent. */
static int check_state_dir(const char *dir)
{
	if (mkdir(dir, 0700) && errno != EEXIST) {
		log_err("enrolment: cannot make the state directory %s: %s", dir, strerror(errno));
		return -1;
	}
	if (access(dir, W_OK | X_OK)) {
		log_err("enrolment: cannot write to the state directory %s: %s", dir, strerror(errno));
		return -1;
	}
	return 0;
}

/* The text of "message" in an error of the Connect protocol: {"code":"...","message":"..."}. */
static void error_message(const char *body, char *out, size_t size)
{
	const char *p = body ? strstr(body, "\"message\":\"") : NULL;
	size_t n = 0;

	for (p = p ? p + 11 : ""; *p && *p != '"' && n + 1 < size; p++) {
		if (*p == '\\' && p[1])
			p++;
		out[n++] = (unsigned char)*p < 0x20 ? ' ' : *p;
	}
	out[n] = '\0';
}

static int ask(struct enrollment *e)
{
	Outrigger__V1__EnrollRequest req = OUTRIGGER__V1__ENROLL_REQUEST__INIT;
	char version[] = OUTRIGGER_VERSION, why[300], text[300];
	uint8_t *body;
	size_t len;
	int rc;

	req.token = (char *)(uintptr_t)e->token;
	req.csr = e->csr;
	req.agent_version = version;
	len = outrigger__v1__enroll_request__get_packed_size(&req);
	body = malloc(len);
	if (!body)
		return -1;
	outrigger__v1__enroll_request__pack(&req, body);
	rc = https_post(e->appliance, ENROLL_API_PORT, e->parts.ca, PATH_ENROLL, "application/proto", body,
			len, &e->reply, why, sizeof(why));
	free(body);
	if (rc) {
		log_err("enrolment with the token failed: %s", why);
		return -1;
	}
	if (e->reply.status != 200) {
		error_message(e->reply.body, text, sizeof(text));
		log_err("enrolment refused by the appliance at %s: %s (HTTP %d)", e->appliance,
			text[0] ? text : "no reason given", e->reply.status);
		return -1;
	}
	e->answer = outrigger__v1__enroll_response__unpack(NULL, e->reply.body_len, (uint8_t *)e->reply.body);
	if (!e->answer)
		log_err("enrolment: %s did not answer as an appliance does; is it the API's port?",
			e->appliance);
	return e->answer ? 0 : -1;
}

static bool belongs_to_key(const char *cert_pem, const char *key_pem)
{
	BIO *cb = BIO_new_mem_buf(cert_pem, -1), *kb = BIO_new_mem_buf(key_pem, -1);
	X509 *cert = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, NULL) : NULL;
	bool ok = cert && key && X509_check_private_key(cert, key) == 1;

	X509_free(cert);
	EVP_PKEY_free(key);
	BIO_free(cb);
	BIO_free(kb);
	return ok;
}

static int check_answer(const struct enrollment *e)
{
	uint8_t fp[PKI_FINGERPRINT_LEN];

	if (pki_pem_fingerprint(e->answer->ca_certificate, strlen(e->answer->ca_certificate), fp) ||
	    memcmp(fp, e->parts.ca, sizeof(fp)) != 0 || !belongs_to_key(e->answer->certificate, e->key)) {
		log_err("enrolment: the certificate that the appliance at %s gave is not for this key and CA",
			e->appliance);
		return -1;
	}
	return 0;
}

static int store_file(const char *dir, const char *file, const char *text, unsigned mode)
{
	struct pki_why why;
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path)) {
		log_err("enrolment: %s: path is too long", dir);
		return -1;
	}
	if (pki_write_file(path, text, strlen(text), mode, &why)) {
		log_err("enrolment: %s; ask for a new token and enrol again", why.text);
		return -1;
	}
	return 0;
}

static int enroll(struct enrollment *e)
{
	struct pki_why why;

	if (token_parse(e->token, &e->parts)) {
		log_err("enrolment: this is not an enrolment token; get one with "
			"`outriggerctl host enroll-token NAME`");
		return -1;
	}
	if (check_state_dir(e->state))
		return -1;
	if (pki_make_csr(NAME_CSR, &e->key, &e->csr, &why)) {
		log_err("enrolment: %s", why.text);
		return -1;
	}
	if (ask(e) || check_answer(e))
		return -1;
	if (store_file(e->state, "host.key", e->key, 0600) ||
	    store_file(e->state, "ca.crt", e->answer->ca_certificate, 0644) ||
	    store_file(e->state, "host.crt", e->answer->certificate, 0644))
		return -1;
	log_info("this host is enrolled as %s, its certificate is %s/host.crt", e->answer->host, e->state);
	return 0;
}

int agent_enroll(const char *appliance, const char *token, const char *state_dir)
{
	struct enrollment e = {.appliance = appliance, .token = token, .state = state_dir};
	int rc = enroll(&e);

	if (e.answer)
		outrigger__v1__enroll_response__free_unpacked(e.answer, NULL);
	https_reply_clear(&e.reply);
	if (e.key)
		OPENSSL_cleanse(e.key, strlen(e.key));
	free(e.key);
	free(e.csr);
	return rc ? 1 : 0;
}
