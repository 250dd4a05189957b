/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate authority: making it, and what it signs. */
#include "fabric/chan/pki_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define SERIAL_BYTES  16
#define CLOCK_SLACK_S 300 /* hosts whose clock is a little behind accept a new certificate */
#define SANS_MAX      32
#define SECONDS_A_DAY 86400l

static int add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

static int set_serial(X509 *cert)
{
	uint8_t raw[SERIAL_BYTES];
	BIGNUM *bn;
	int ok;

	if (RAND_bytes(raw, sizeof(raw)) != 1)
		return 0;
	raw[0] = (raw[0] & 0x7f) | 0x40; /* positive and of full length (RFC 5280 section 4.1.2.2) */
	bn = BN_bin2bn(raw, sizeof(raw), NULL);
	ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
	BN_free(bn);
	return ok;
}

static int set_subject(X509 *cert, const char *role, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const uint8_t *)"Outrigger", -1, -1,
					  0) &&
	       X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_UTF8, (const uint8_t *)role, -1, -1, 0) &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0);
}

/* subjectAltName by value, not by OpenSSL's configuration syntax: a name cannot inject another. */
static int add_sans(X509 *cert, const char *const *sans, size_t nsans)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	int ok = names != NULL;

	for (size_t i = 0; ok && i < nsans; i++) {
		struct in6_addr a;
		int alen = inet_pton(AF_INET, sans[i], &a) == 1	   ? 4
			   : inet_pton(AF_INET6, sans[i], &a) == 1 ? 16
								   : 0;
		ASN1_STRING *v = ASN1_STRING_type_new(alen ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
		GENERAL_NAME *g = GENERAL_NAME_new();

		ok = v && g && (alen ? ASN1_STRING_set(v, &a, alen) : ASN1_STRING_set(v, sans[i], -1));
		if (ok) {
			GENERAL_NAME_set0_value(g, alen ? GEN_IPADD : GEN_DNS, v);
			v = NULL;
			ok = sk_GENERAL_NAME_push(names, g) > 0;
			if (ok)
				g = NULL;
		}
		ASN1_STRING_free(v);
		GENERAL_NAME_free(g);
	}
	ok = ok && (nsans == 0 || X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1);
	sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
	return ok;
}

static int add_role_exts(X509 *cert, X509 *issuer, const char *role)
{
	if (!strcmp(role, PKI_ROLE_CA))
		return add_ext(cert, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		       add_ext(cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		       add_ext(cert, issuer, NID_subject_key_identifier, "hash");
	return add_ext(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_ext(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
	       add_ext(cert, issuer, NID_ext_key_usage,
		       strcmp(role, PKI_ROLE_APPLIANCE) ? "clientAuth" : "serverAuth") &&
	       add_ext(cert, issuer, NID_subject_key_identifier, "hash") &&
	       add_ext(cert, issuer, NID_authority_key_identifier, "keyid");
}

/* 0 days: always. A CA may be made before the machine's clock was ever set: it must not be over, or not
 * begun, once it is (RFC 5280 sections 4.1.2.5 and 4.1.2.5.1). */
static int set_validity(X509 *cert, unsigned days)
{
	if (!days)
		return ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), "19700101000000Z") &&
		       ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), "99991231235959Z");
	return X509_gmtime_adj(X509_getm_notBefore(cert), -CLOCK_SLACK_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), (long)days * SECONDS_A_DAY);
}

/* ca NULL: self-signed with key, for ever. */
static X509 *make_cert(const struct pki *ca, EVP_PKEY *key, const char *role, const char *name,
		       const char *const *sans, size_t nsans, unsigned days)
{
	X509 *cert = X509_new();
	X509 *issuer = ca ? ca->cert : cert;

	if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
	    set_subject(cert, role, name) && X509_set_issuer_name(cert, X509_get_subject_name(issuer)) &&
	    set_validity(cert, ca ? days : 0) && X509_set_pubkey(cert, key) &&
	    add_role_exts(cert, issuer, role) && add_sans(cert, sans, nsans) &&
	    X509_sign(cert, ca ? ca->key : key, EVP_sha256()))
		return cert;
	X509_free(cert);
	return NULL;
}

static int write_pair(EVP_PKEY *key, X509 *cert, const char *key_path, const char *cert_path,
		      struct pki_why *why)
{
	char *key_pem = pki_key_to_pem(key), *cert_pem = pki_cert_to_pem(cert);
	int rc = key_pem && cert_pem ? 0 : pki_fail(why, -ENOMEM, "%s: no memory", cert_path);

	if (!rc)
		rc = pki_write_file(key_path, key_pem, strlen(key_pem), 0600, why);
	if (!rc)
		rc = pki_write_file(cert_path, cert_pem, strlen(cert_pem), 0644, why);
	pki_wipe_free(key_pem);
	free(cert_pem);
	return rc;
}

/* Either may be absent: the caller looks at what came. */
static int read_pair(const char *key_path, const char *cert_path, EVP_PKEY **key, X509 **cert,
		     struct pki_why *why)
{
	char *pem = NULL;
	size_t len;
	int rc = pki_read_file(key_path, PKI_PEM_MAX, &pem, &len, why);
	BIO *bio;

	if (rc)
		return rc;
	bio = BIO_new_mem_buf(pem, (int)len);
	*key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	pki_wipe_free(pem);
	if (!*key)
		return pki_fail(why, -EINVAL, "%s: not a private key in PEM", key_path);
	rc = pki_read_file(cert_path, PKI_PEM_MAX, &pem, &len, why);
	if (rc)
		return rc;
	*cert = pki_parse_cert(pem, len);
	free(pem);
	if (!*cert)
		return pki_fail(why, -EINVAL, "%s: not a certificate in PEM", cert_path);
	if (X509_check_private_key(*cert, *key) != 1)
		return pki_fail(why, -EINVAL, "%s and %s do not belong together", key_path, cert_path);
	return 0;
}

static int make_ca(struct pki *p, const char *key_path, const char *cert_path, struct pki_why *why)
{
	p->key = EVP_EC_gen("P-256");
	p->cert = p->key ? make_cert(NULL, p->key, PKI_ROLE_CA, "Outrigger CA", NULL, 0, 0) : NULL;
	if (!p->cert)
		return pki_fail(why, -ENOMEM, "%s: the CA cannot be made", cert_path);
	p->made = true;
	return write_pair(p->key, p->cert, key_path, cert_path, why);
}

int pki_open(const char *dir, struct pki **out, struct pki_why *why)
{
	char key_path[PATH_MAX], cert_path[PATH_MAX];
	struct pki *p;
	int rc;

	ERR_clear_error();
	if (snprintf(key_path, sizeof(key_path), "%s/ca.key", dir) >= (int)sizeof(key_path) ||
	    snprintf(cert_path, sizeof(cert_path), "%s/ca.crt", dir) >= (int)sizeof(cert_path))
		return pki_fail(why, -ENAMETOOLONG, "%s: path is too long", dir);
	p = calloc(1, sizeof(*p));
	if (!p)
		return pki_fail(why, -ENOMEM, "no memory");
	/* A crash between the two writes of make_ca() leaves a key alone that has signed nothing. */
	if (access(cert_path, F_OK) && errno == ENOENT)
		rc = make_ca(p, key_path, cert_path, why);
	else
		rc = read_pair(key_path, cert_path, &p->key, &p->cert, why);
	if (!rc) {
		p->pem = pki_cert_to_pem(p->cert);
		rc = p->pem ? 0 : pki_fail(why, -ENOMEM, "no memory");
	}
	if (rc) {
		pki_close(p);
		return rc;
	}
	*out = p;
	return 0;
}

void pki_close(struct pki *p)
{
	if (!p)
		return;
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
	free(p->pem);
	free(p);
}

bool pki_was_made(const struct pki *p)
{
	return p->made;
}

const char *pki_ca_pem(const struct pki *p)
{
	return p->pem;
}

void pki_ca_fingerprint(const struct pki *p, uint8_t out[PKI_FINGERPRINT_LEN])
{
	pki_fingerprint(p->cert, out);
}

int pki_issue_files(struct pki *p, const char *role, const char *name, const char *const *sans, size_t nsans,
		    unsigned days, const char *key_path, const char *cert_path, struct pki_why *why)
{
	EVP_PKEY *key;
	X509 *cert;
	int rc;

	ERR_clear_error();
	if (nsans > SANS_MAX)
		return pki_fail(why, -EINVAL, "more than %d addresses and names for a certificate", SANS_MAX);
	key = EVP_EC_gen("P-256");
	cert = key ? make_cert(p, key, role, name, sans, nsans, days) : NULL;
	rc = cert ? write_pair(key, cert, key_path, cert_path, why)
		  : pki_fail(why, -EINVAL, "%s: the certificate for %s cannot be made", cert_path, name);
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

static X509_REQ *parse_csr(const char *csr, size_t len, struct pki_why *why)
{
	BIO *bio = len <= PKI_PEM_MAX ? BIO_new_mem_buf(csr, (int)len) : NULL;
	X509_REQ *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = req ? X509_REQ_get0_pubkey(req) : NULL;
	char group[32] = "";

	BIO_free(bio);
	if (!req) {
		pki_fail(why, 0, "not a certificate request in PEM");
		return NULL;
	}
	/* The group first: no work is done on keys of absurd size. */
	if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
	    EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 || strcmp(group, "prime256v1") != 0)
		pki_fail(why, 0, "the key of the request is not EC P-256");
	else if (X509_REQ_verify(req, key) != 1)
		pki_fail(why, 0, "the signature of the request does not hold");
	else
		return req;
	X509_REQ_free(req);
	return NULL;
}

static int describe(X509 *cert, struct pki_issued *out)
{
	BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = bn ? BN_bn2hex(bn) : NULL;
	struct tm tm;

	memset(out, 0, sizeof(*out));
	if (hex)
		snprintf(out->serial, sizeof(out->serial), "%s", hex);
	OPENSSL_free(hex);
	BN_free(bn);
	pki_fingerprint(cert, out->fingerprint);
	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
		out->not_after = timegm(&tm);
	out->pem = pki_cert_to_pem(cert);
	return out->pem && out->serial[0] ? 0 : -ENOMEM;
}

int pki_issue_csr(struct pki *p, const char *role, const char *name, const char *csr, size_t csr_len,
		  unsigned days, struct pki_issued *out, struct pki_why *why)
{
	X509_REQ *req;
	X509 *cert;
	int rc;

	ERR_clear_error();
	req = parse_csr(csr, csr_len, why);
	if (!req)
		return -EINVAL;
	cert = make_cert(p, X509_REQ_get0_pubkey(req), role, name, NULL, 0, days);
	rc = cert ? describe(cert, out) : -EINVAL;
	if (rc)
		pki_fail(why, rc, "the certificate for %s cannot be made", name);
	X509_free(cert);
	X509_REQ_free(req);
	return rc;
}

void pki_issued_clear(struct pki_issued *i)
{
	free(i->pem);
	memset(i, 0, sizeof(*i));
}

static bool sans_match(X509 *cert, const char *const *sans, size_t nsans)
{
	for (size_t i = 0; i < nsans; i++) {
		struct in6_addr a;
		bool ip = inet_pton(AF_INET, sans[i], &a) == 1 || inet_pton(AF_INET6, sans[i], &a) == 1;

		if ((ip ? X509_check_ip_asc(cert, sans[i], 0) : X509_check_host(cert, sans[i], 0, 0, NULL)) !=
		    1)
			return false;
	}
	return true;
}

bool pki_cert_usable(struct pki *p, const char *key_path, const char *cert_path, const char *const *sans,
		     size_t nsans, unsigned min_days)
{
	time_t until = time(NULL) + (time_t)min_days * SECONDS_A_DAY;
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	bool ok = !read_pair(key_path, cert_path, &key, &cert, NULL) && X509_verify(cert, p->key) == 1 &&
		  X509_cmp_current_time(X509_get0_notBefore(cert)) < 0 &&
		  X509_cmp_time(X509_get0_notAfter(cert), &until) > 0 && sans_match(cert, sans, nsans);

	ERR_clear_error();
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

static int say_date(struct pki_why *why, const char *path, const char *what, const ASN1_TIME *t)
{
	char when[32] = "?";
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return pki_fail(why, -ESTALE, "%s is good %s %s", path, what, when);
}

int pki_cert_dates(const char *cert_path, unsigned min_days, struct pki_why *why)
{
	time_t until = time(NULL) + (time_t)min_days * SECONDS_A_DAY;
	char *pem = NULL;
	size_t len;
	X509 *cert;
	int rc = pki_read_file(cert_path, PKI_PEM_MAX, &pem, &len, why);

	if (rc)
		return rc;
	cert = pki_parse_cert(pem, len);
	free(pem);
	if (!cert)
		return pki_fail(why, -EINVAL, "%s: not a certificate in PEM", cert_path);
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) >= 0)
		rc = say_date(why, cert_path, "only from", X509_get0_notBefore(cert));
	else if (X509_cmp_time(X509_get0_notAfter(cert), &until) <= 0)
		rc = say_date(why, cert_path, "until", X509_get0_notAfter(cert));
	X509_free(cert);
	return rc;
}

static char *req_to_pem(X509_REQ *req)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *pem = NULL;

	if (bio && PEM_write_bio_X509_REQ(bio, req)) {
		long n = BIO_get_mem_data(bio, &data);

		pem = strndup(data, (size_t)n);
	}
	BIO_free(bio);
	return pem;
}

int pki_make_csr(const char *name, char **key_pem, char **csr_pem, struct pki_why *why)
{
	EVP_PKEY *key;
	X509_REQ *req;
	X509_NAME *subject;
	char *k = NULL, *c = NULL;

	ERR_clear_error();
	key = EVP_EC_gen("P-256");
	req = X509_REQ_new();
	subject = req ? X509_REQ_get_subject_name(req) : NULL;
	if (key && subject &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0) &&
	    X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256())) {
		k = pki_key_to_pem(key);
		c = req_to_pem(req);
	}
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	if (!k || !c) {
		pki_wipe_free(k);
		free(c);
		return pki_fail(why, -EINVAL, "the key and request for %s cannot be made", name);
	}
	*key_pem = k;
	*csr_pem = c;
	return 0;
}
