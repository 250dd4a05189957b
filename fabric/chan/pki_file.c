/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the CA: atomic writes, bounded reads, PEM. */
#include "fabric/chan/pki_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

int pki_fail(struct pki_why *why, int err, const char *fmt, ...)
{
	unsigned long e = ERR_peek_last_error();

	if (why) {
		va_list ap;
		int n;

		va_start(ap, fmt);
		n = vsnprintf(why->text, sizeof(why->text), fmt, ap);
		va_end(ap);
		if (e && n >= 0 && (size_t)n < sizeof(why->text))
			snprintf(why->text + n, sizeof(why->text) - (size_t)n, ": %s",
				 ERR_reason_error_string(e) ? ERR_reason_error_string(e) : "OpenSSL error");
	}
	ERR_clear_error();
	return err;
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return fsync(fd) ? -errno : 0;
}

/* So that the new name survives a power cut. */
static int sync_parent(const char *path)
{
	char dir[PATH_MAX];
	char *slash;
	int fd, rc;

	if (snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	slash = strrchr(dir, '/');
	if (!slash)
		strcpy(dir, ".");
	else if (slash == dir)
		dir[1] = '\0';
	else
		*slash = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = fsync(fd) ? -errno : 0;
	close(fd);
	return rc;
}

int pki_write_file(const char *path, const void *bytes, size_t len, unsigned mode, struct pki_why *why)
{
	char tmp[PATH_MAX];
	int fd, rc;

	ERR_clear_error();
	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
		return pki_fail(why, -ENAMETOOLONG, "%s: path is too long", path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		return pki_fail(why, rc, "%s: cannot be written: %s", path, strerror(-rc));
	}
	rc = fchmod(fd, (mode_t)mode) ? -errno : write_all(fd, bytes, len);
	close(fd);
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc)
		unlink(tmp);
	else
		rc = sync_parent(path);
	return rc ? pki_fail(why, rc, "%s: cannot be written: %s", path, strerror(-rc)) : 0;
}

static int read_fd(int fd, size_t max, char **out, size_t *len)
{
	char *buf = malloc(max + 1);
	size_t n = 0;

	if (!buf)
		return -ENOMEM;
	while (n <= max) {
		ssize_t got = read(fd, buf + n, max + 1 - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int err = -errno;

			pki_wipe_free(buf);
			return err;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	if (n > max) {
		OPENSSL_cleanse(buf, n);
		free(buf);
		return -EFBIG;
	}
	buf[n] = '\0';
	*out = buf;
	if (len)
		*len = n;
	return 0;
}

int pki_read_file(const char *path, size_t max, char **out, size_t *len, struct pki_why *why)
{
	int fd, rc;

	ERR_clear_error();
	fd = open(path, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : read_fd(fd, max, out, len);
	if (fd >= 0)
		close(fd);
	return rc ? pki_fail(why, rc, "%s: cannot be read: %s", path, strerror(-rc)) : 0;
}

void pki_wipe_free(char *secret)
{
	if (secret)
		OPENSSL_cleanse(secret, strlen(secret));
	free(secret);
}

void pki_hex(const uint8_t *bytes, size_t len, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		*hex++ = digits[bytes[i] >> 4];
		*hex++ = digits[bytes[i] & 15];
	}
	*hex = '\0';
}

X509 *pki_parse_cert(const char *pem, size_t len)
{
	BIO *bio = len <= PKI_PEM_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static char *bio_string(BIO *bio)
{
	char *data, *copy;
	long n = BIO_get_mem_data(bio, &data);

	copy = n >= 0 ? strndup(data, (size_t)n) : NULL;
	return copy;
}

char *pki_cert_to_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = bio && PEM_write_bio_X509(bio, cert) ? bio_string(bio) : NULL;

	BIO_free(bio);
	return pem;
}

char *pki_key_to_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? bio_string(bio)
											 : NULL;

	BIO_free(bio);
	return pem;
}

void pki_fingerprint(X509 *cert, uint8_t out[PKI_FINGERPRINT_LEN])
{
	unsigned n = PKI_FINGERPRINT_LEN;

	if (!X509_digest(cert, EVP_sha256(), out, &n))
		memset(out, 0, PKI_FINGERPRINT_LEN);
}

int pki_pem_fingerprint(const char *pem, size_t len, uint8_t out[PKI_FINGERPRINT_LEN])
{
	X509 *cert = pki_parse_cert(pem, len);

	ERR_clear_error();
	if (!cert)
		return -EINVAL;
	pki_fingerprint(cert, out);
	X509_free(cert);
	return 0;
}
