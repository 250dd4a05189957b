/* SPDX-License-Identifier: Apache-2.0 */
/* The CA: what it makes, keeps and refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "fabric/chan/pki.h"
#include "fabric/chan/token.h"

static char dir[64];
static char path_buf[4][128];

static const char *in_dir(int slot, const char *file)
{
	snprintf(path_buf[slot], sizeof(path_buf[slot]), "%s/%s", dir, file);
	return path_buf[slot];
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/outrigger-pki-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const files[] = {"ca.key", "ca.crt", "s.key", "s.crt", "x"};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(in_dir(0, files[i]));
	return rmdir(dir);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 0777;
}

static void ca_is_made_once(void **state)
{
	struct pki *a, *b;
	uint8_t fa[32], fb[32];

	(void)state;
	assert_int_equal(pki_open(dir, &a, NULL), 0);
	assert_true(pki_was_made(a));
	assert_int_equal(pki_open(dir, &b, NULL), 0);
	assert_false(pki_was_made(b));
	pki_ca_fingerprint(a, fa);
	pki_ca_fingerprint(b, fb);
	assert_memory_equal(fa, fb, sizeof(fa));
	assert_int_equal(mode_of(in_dir(0, "ca.key")), 0600);
	assert_int_equal(mode_of(in_dir(0, "ca.crt")), 0644);
	pki_close(a);
	pki_close(b);
}

static void ca_with_a_missing_or_foreign_key_is_refused(void **state)
{
	struct pki_why why;
	struct pki *p, *q = NULL;
	char *pem;
	size_t len;

	(void)state;
	assert_int_equal(pki_open(dir, &p, NULL), 0);
	assert_int_equal(pki_issue_files(p, PKI_ROLE_ADMIN, "x", NULL, 0, 1, in_dir(0, "s.key"),
					 in_dir(1, "s.crt"), NULL),
			 0);
	assert_int_equal(pki_read_file(in_dir(0, "s.key"), PKI_PEM_MAX, &pem, &len, NULL), 0);
	assert_int_equal(pki_write_file(in_dir(0, "ca.key"), pem, len, 0600, NULL), 0);
	free(pem);
	assert_int_equal(pki_open(dir, &q, &why), -EINVAL);
	assert_non_null(strstr(why.text, "do not belong together"));
	unlink(in_dir(0, "ca.key"));
	assert_int_equal(pki_open(dir, &q, &why), -ENOENT);
	pki_close(p);
}

static void server_certificate_names_its_addresses(void **state)
{
	static const char *const sans[] = {"127.0.0.1", "fe80::1", "app.example"};
	static const char *const more[] = {"127.0.0.1", "192.0.2.1"};
	struct pki *p;
	const char *key, *crt;

	(void)state;
	assert_int_equal(pki_open(dir, &p, NULL), 0);
	key = in_dir(0, "s.key");
	crt = in_dir(1, "s.crt");
	assert_int_equal(pki_issue_files(p, PKI_ROLE_APPLIANCE, "outrigger", sans, 3, 100, key, crt, NULL),
			 0);
	assert_int_equal(mode_of(key), 0600);
	assert_true(pki_cert_usable(p, key, crt, sans, 3, 90));
	assert_false(pki_cert_usable(p, key, crt, more, 2, 90));
	assert_false(pki_cert_usable(p, key, crt, sans, 3, 101));
	assert_false(pki_cert_usable(p, in_dir(2, "x"), crt, sans, 3, 1));
	pki_close(p);
}

static X509 *parse(const char *pem)
{
	BIO *b = BIO_new_mem_buf(pem, -1);
	X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

	BIO_free(b);
	return x;
}

/* As made while the clock was an hour ahead. */
static void begins_later(const char *crt)
{
	char *pem = NULL, *ca_pem = NULL;
	size_t len;
	EVP_PKEY *ca;
	BIO *b;
	X509 *x;
	FILE *f;

	assert_int_equal(pki_read_file(crt, PKI_PEM_MAX, &pem, NULL, NULL), 0);
	assert_int_equal(pki_read_file(in_dir(3, "ca.key"), PKI_PEM_MAX, &ca_pem, &len, NULL), 0);
	x = parse(pem);
	b = BIO_new_mem_buf(ca_pem, (int)len);
	ca = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 3600));
	assert_true(X509_sign(x, ca, EVP_sha256()));
	f = fopen(crt, "w");
	assert_non_null(f);
	PEM_write_X509(f, x);
	fclose(f);
	BIO_free(b);
	EVP_PKEY_free(ca);
	X509_free(x);
	free(pem);
	free(ca_pem);
}

static void certificates_and_wrong_clocks(void **state)
{
	time_t year_1970 = 1000, year_9000 = 221845392000;
	struct pki_why why;
	struct pki *p;
	const char *key, *crt;
	X509 *ca;

	(void)state;
	assert_int_equal(pki_open(dir, &p, NULL), 0);
	key = in_dir(0, "s.key");
	crt = in_dir(1, "s.crt");
	assert_int_equal(pki_issue_files(p, PKI_ROLE_HOST, "h1", NULL, 0, 100, key, crt, NULL), 0);
	assert_true(pki_cert_usable(p, key, crt, NULL, 0, 90));
	assert_int_equal(pki_cert_dates(crt, 90, &why), 0);
	assert_int_equal(pki_cert_dates(crt, 101, &why), -ESTALE);
	assert_non_null(strstr(why.text, "s.crt is good until"));
	begins_later(crt);
	assert_false(pki_cert_usable(p, key, crt, NULL, 0, 90));
	assert_int_equal(pki_cert_dates(crt, 90, &why), -ESTALE);
	assert_non_null(strstr(why.text, "s.crt is good only from"));
	ca = parse(pki_ca_pem(p));
	assert_int_equal(X509_cmp_time(X509_get0_notBefore(ca), &year_1970), -1);
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(ca), &year_9000), 1);
	X509_free(ca);
	pki_close(p);
}

/* The request says "root"; the certificate says what the CA was told. */
static void csr_gives_only_its_key(void **state)
{
	struct pki *p;
	struct pki_issued issued;
	char *key, *csr, *subject;
	uint8_t fp[32];
	X509 *x;

	(void)state;
	assert_int_equal(pki_open(dir, &p, NULL), 0);
	assert_int_equal(pki_make_csr("root", &key, &csr, NULL), 0);
	assert_int_equal(pki_issue_csr(p, PKI_ROLE_HOST, "h1", csr, strlen(csr), 30, &issued, NULL), 0);
	x = parse(issued.pem);
	assert_non_null(x);
	subject = X509_NAME_oneline(X509_get_subject_name(x), NULL, 0);
	assert_string_equal(subject, "/O=Outrigger/OU=host/CN=h1");
	OPENSSL_free(subject);
	assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_CLIENT);
	assert_false(X509_get_extension_flags(x) & EXFLAG_CA);
	assert_int_equal(pki_pem_fingerprint(issued.pem, strlen(issued.pem), fp), 0);
	assert_memory_equal(fp, issued.fingerprint, sizeof(fp));
	assert_int_equal(strlen(issued.serial), 32);
	X509_free(x);
	free(key);
	free(csr);
	pki_issued_clear(&issued);
	pki_close(p);
}

static char *rsa_csr(void)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509_REQ *req = X509_REQ_new();
	BIO *b = BIO_new(BIO_s_mem());
	char *data, *pem;
	long n;

	X509_REQ_set_pubkey(req, key);
	X509_REQ_sign(req, key, EVP_sha256());
	PEM_write_bio_X509_REQ(b, req);
	n = BIO_get_mem_data(b, &data);
	pem = strndup(data, (size_t)n);
	BIO_free(b);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return pem;
}

static void bad_requests_are_refused(void **state)
{
	struct pki *p;
	struct pki_issued issued = {0};
	struct pki_why why;
	char *key, *csr, *rsa = rsa_csr(), *big = malloc(PKI_PEM_MAX + 2);

	(void)state;
	assert_int_equal(pki_open(dir, &p, NULL), 0);
	assert_int_equal(pki_issue_csr(p, PKI_ROLE_HOST, "h1", "", 0, 30, &issued, &why), -EINVAL);
	assert_int_equal(pki_issue_csr(p, PKI_ROLE_HOST, "h1", rsa, strlen(rsa), 30, &issued, &why), -EINVAL);
	assert_non_null(strstr(why.text, "P-256"));
	memset(big, 'A', PKI_PEM_MAX + 1);
	assert_int_equal(pki_issue_csr(p, PKI_ROLE_HOST, "h1", big, PKI_PEM_MAX + 1, 30, &issued, &why),
			 -EINVAL);
	/* One bit of the signature: the last base64 line but one carries it. */
	assert_int_equal(pki_make_csr("x", &key, &csr, NULL), 0);
	strstr(csr, "-----END")[-8] ^= 1;
	assert_int_equal(pki_issue_csr(p, PKI_ROLE_HOST, "h1", csr, strlen(csr), 30, &issued, &why), -EINVAL);
	assert_null(issued.pem);
	free(key);
	free(csr);
	free(rsa);
	free(big);
	pki_close(p);
}

static void files_are_replaced_whole(void **state)
{
	struct pki_why why;
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(pki_write_file(in_dir(0, "x"), "one", 3, 0644, NULL), 0);
	assert_int_equal(pki_write_file(in_dir(0, "x"), "second", 6, 0600, NULL), 0);
	assert_int_equal(mode_of(in_dir(0, "x")), 0600);
	assert_int_equal(pki_read_file(in_dir(0, "x"), 6, &text, &len, NULL), 0);
	assert_string_equal(text, "second");
	free(text);
	assert_int_equal(pki_read_file(in_dir(0, "x"), 5, &text, &len, &why), -EFBIG);
	assert_int_equal(pki_write_file("/nonexistent/dir/x", "a", 1, 0600, &why), -ENOENT);
	assert_non_null(strstr(why.text, "/nonexistent/dir/x"));
}

static void token_is_its_own_inverse(void **state)
{
	uint8_t secret[32], ca[32];
	char text[TOKEN_TEXT_SIZE], bad[TOKEN_TEXT_SIZE];
	struct token_parts a, b;

	(void)state;
	for (int i = 0; i < 32; i++) {
		secret[i] = (uint8_t)(255 - i * 7);
		ca[i] = (uint8_t)(i * 11);
	}
	token_format(secret, ca, text);
	assert_int_equal(strlen(text), 92);
	assert_int_equal(token_parse(text, &a), 0);
	assert_memory_equal(a.ca, ca, 32);
	secret[31] ^= 1;
	token_format(secret, ca, bad);
	assert_int_equal(token_parse(bad, &b), 0);
	assert_memory_not_equal(a.hash, b.hash, 32);
	/* Every single character matters: no second text means the same token. */
	for (size_t i = 0; i < strlen(text); i++) {
		memcpy(bad, text, sizeof(bad));
		bad[i] = bad[i] == 'A' ? 'B' : 'A';
		if (token_parse(bad, &b) == 0)
			assert_true(memcmp(&a, &b, sizeof(a)) != 0);
	}
	assert_int_equal(token_parse("", &a), -EINVAL);
	text[strlen(text) - 1] = '\0';
	assert_int_equal(token_parse(text, &a), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ca_is_made_once, setup, teardown),
		cmocka_unit_test_setup_teardown(ca_with_a_missing_or_foreign_key_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(server_certificate_names_its_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(certificates_and_wrong_clocks, setup, teardown),
		cmocka_unit_test_setup_teardown(csr_gives_only_its_key, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_requests_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(files_are_replaced_whole, setup, teardown),
		cmocka_unit_test(token_is_its_own_inverse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
