/* SPDX-License-Identifier: Apache-2.0 */
/* State directory and credentials at start; model, store and API put together. */
#include "appliance/control/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/rand.h>
#include <openssl/sha.h>

#include "appliance/control/api.h"
#include "fabric/base/log.h"

#define SERVER_DAYS	 825
#define SERVER_RENEW	 90 /* made anew at start when it has fewer days left */
#define ADMIN_DAYS	 3650
#define SANS_MAX	 32
#define ADMIN_TOKEN_SIZE 32

struct control {
	struct control_cfg cfg;
	char dir[PATH_MAX - 64];
	char uid[40];
	struct pki *pki;
	struct store *store;
	struct model *model;
	struct api *api;
	struct connect_server *server;
};

struct why {
	char *text;
	size_t size;
};

static int say(const struct why *w, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int say(const struct why *w, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text, w->size, fmt, ap);
	va_end(ap);
	return err;
}

static void path_of(const struct control *c, const char *file, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", c->dir, file);
}

static int make_dir(const char *path, const struct why *w)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return say(w, -errno, "%s: cannot be made: %s", path, strerror(errno));
	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return say(w, -ENOTDIR, "%s: is not a directory", path);
	return 0;
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	if (RAND_bytes(buf, (int)len) != 1) {
		log_err("the system gives no random bytes");
		abort();
	}
}

static int pool_bytes_door(void *ctx, const char *pool, struct pool_bytes *out)
{
	struct control *c = ctx;

	return c->cfg.volumes.pool_bytes ? c->cfg.volumes.pool_bytes(c->cfg.volumes.ctx, pool, out) : -ENODEV;
}

static int load_object(void *ctx, enum kind k, ProtobufCMessage *obj)
{
	struct control *c = ctx;

	return model_load(c->model, k, obj);
}

static int load_state(struct control *c, const struct why *w)
{
	struct model_env env = {.ctx = c, .pool_bytes = pool_bytes_door, .random = random_bytes};
	char path[PATH_MAX];
	int rc;

	path_of(c, "state.db", path);
	rc = store_open(path, &c->store, w->text, w->size);
	if (rc)
		return rc;
	rc = model_new(&env, &c->model);
	if (!rc)
		rc = store_load(c->store, load_object, c);
	if (rc && store_error(c->store)[0])
		return say(w, rc, "%s", store_error(c->store));
	if (rc)
		return say(w, rc, "%s: %s", path, strerror(-rc));
	model_set_revision(c->model, store_revision(c->store));
	return 0;
}

/* The appliance's own identity, given once. */
static int load_uid(struct control *c, const struct why *w)
{
	int rc = store_meta_get(c->store, "uid", c->uid, sizeof(c->uid));
	char ca[PATH_MAX];
	uint8_t raw[16];

	if (rc != -ENOENT)
		return rc ? say(w, rc, "%s", store_error(c->store)) : 0;
	path_of(c, "pki/ca.crt", ca);
	if (!access(ca, F_OK))
		log_warn("%s/state.db is empty, but the appliance is not new: all that was configured is "
			 "gone. If "
			 "that is not meant, stop it and put a copy back, see BACKUP in outriggerd(8)",
			 c->dir);
	random_bytes(NULL, raw, sizeof(raw));
	pki_hex(raw, sizeof(raw), c->uid);
	rc = store_meta_set(c->store, "uid", c->uid);
	return rc ? say(w, rc, "%s", store_error(c->store)) : 0;
}

/* A pool that cannot be opened now (a disk that is missing) must not keep the rest from working. */
static void open_pools(struct control *c)
{
	const struct volume_ops *vo = &c->cfg.volumes;

	for (size_t i = 0; vo->pool_open && i < model_count(c->model, KIND_POOL); i++) {
		const Outrigger__V1__StoragePool *p = model_pool_at(c->model, i);
		char why[256] = "";
		int rc = vo->pool_open(vo->ctx, p, why, sizeof(why));

		if (rc)
			log_err("storage-pool %s cannot be opened, its disks stay away: %s", p->name,
				why[0] ? why : strerror(-rc));
	}
}

static size_t collect_sans(const struct control *c, char hostname[256], const char *sans[SANS_MAX])
{
	size_t n = 0;

	sans[n++] = "127.0.0.1";
	sans[n++] = "::1";
	sans[n++] = "localhost";
	if (gethostname(hostname, 255) == 0 && hostname[0] && strcmp(hostname, "localhost") != 0)
		sans[n++] = hostname;
	if (c->cfg.api_address && strcmp(c->cfg.api_address, "0.0.0.0") != 0 &&
	    strcmp(c->cfg.api_address, "::") != 0)
		sans[n++] = c->cfg.api_address;
	for (size_t i = 0; i < c->cfg.nsans && n < SANS_MAX; i++)
		sans[n++] = c->cfg.sans[i];
	return n;
}

static int make_server_cert(struct control *c, struct pki_why *pw)
{
	const char *sans[SANS_MAX];
	char hostname[256] = "", key[PATH_MAX], crt[PATH_MAX];
	size_t n = collect_sans(c, hostname, sans);
	int rc;

	path_of(c, "pki/server.key", key);
	path_of(c, "pki/server.crt", crt);
	if (pki_cert_usable(c->pki, key, crt, sans, n, SERVER_RENEW))
		return 0;
	rc = pki_issue_files(c->pki, PKI_ROLE_APPLIANCE, "outrigger", sans, n, SERVER_DAYS, key, crt, pw);
	if (!rc)
		log_info("made a certificate for the API server: %s", crt);
	return rc;
}

static int make_admin_token(struct control *c, const char *path, struct pki_why *pw)
{
	uint8_t raw[ADMIN_TOKEN_SIZE], hash[SHA256_DIGEST_LENGTH];
	char text[2 * ADMIN_TOKEN_SIZE + 2];
	int rc;

	random_bytes(NULL, raw, sizeof(raw));
	pki_hex(raw, sizeof(raw), text);
	SHA256((const uint8_t *)text, strlen(text), hash);
	rc = store_admin_token_add(c->store, "admin", hash);
	if (rc)
		snprintf(pw->text, sizeof(pw->text), "%.250s", store_error(c->store));
	strcat(text, "\n");
	if (!rc)
		rc = pki_write_file(path, text, strlen(text), 0600, pw);
	OPENSSL_cleanse(text, sizeof(text));
	OPENSSL_cleanse(raw, sizeof(raw));
	return rc;
}

/* Left alone when it says this already: a start needs no room on a full disk. */
static int write_if_new(const char *path, const char *text, struct pki_why *pw)
{
	char *have = NULL;
	bool same = !pki_read_file(path, PKI_PEM_MAX, &have, NULL, NULL) && !strcmp(have, text);

	free(have);
	return same ? 0 : pki_write_file(path, text, strlen(text), 0644, pw);
}

/* What outriggerctl on this machine works with. Files that are there stay. */
static int make_admin(struct control *c, struct pki_why *pw)
{
	char key[PATH_MAX], crt[PATH_MAX], ca[PATH_MAX], token[PATH_MAX];
	int rc = 0;

	path_of(c, "admin/admin.key", key);
	path_of(c, "admin/admin.crt", crt);
	path_of(c, "admin/ca.crt", ca);
	path_of(c, "admin/token", token);
	if (!pki_cert_usable(c->pki, key, crt, NULL, 0, 1)) {
		rc = pki_issue_files(c->pki, PKI_ROLE_ADMIN, "admin", NULL, 0, ADMIN_DAYS, key, crt, pw);
		if (!rc)
			log_info("made an administrator's certificate: %s", crt);
	}
	if (!rc)
		rc = write_if_new(ca, pki_ca_pem(c->pki), pw);
	if (!rc && access(token, F_OK)) {
		rc = make_admin_token(c, token, pw);
		if (!rc)
			log_info("made an administrator's token: %s", token);
	}
	return rc;
}

static int make_credentials(struct control *c, const struct why *w)
{
	char dir[PATH_MAX];
	struct pki_why pw = {.text = ""};
	int rc;

	path_of(c, "pki", dir);
	rc = make_dir(dir, w);
	if (rc)
		return rc;
	rc = pki_open(dir, &c->pki, &pw);
	if (!rc && pki_was_made(c->pki))
		log_info("made a certificate authority: %s/ca.crt", dir);
	if (!rc)
		rc = make_server_cert(c, &pw);
	path_of(c, "admin", dir);
	if (!rc) {
		int err = make_dir(dir, w);

		if (err)
			return err;
		rc = make_admin(c, &pw);
	}
	return rc ? say(w, rc, "%s", pw.text) : 0;
}

static int make_api(struct control *c)
{
	struct api_cfg cfg = {
		.model = c->model,
		.store = c->store,
		.pki = c->pki,
		.ops = c->cfg.ops,
		.status = c->cfg.status,
		.volumes = c->cfg.volumes,
		.session_port = c->cfg.session_port,
		.uid = c->uid,
	};

	return api_new(&cfg, &c->api);
}

int control_init(const struct control_cfg *cfg, struct control **out, char *why, size_t why_size)
{
	const char *dir = cfg->state_dir ? cfg->state_dir : CONTROL_STATE_DIR;
	struct why w = {why, why_size};
	struct control *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return say(&w, -ENOMEM, "no memory");
	c->cfg = *cfg;
	if (snprintf(c->dir, sizeof(c->dir), "%s", dir) >= (int)sizeof(c->dir))
		rc = say(&w, -ENAMETOOLONG, "%s: path is too long", dir);
	else
		rc = make_dir(c->dir, &w);
	if (!rc)
		rc = load_state(c, &w);
	if (!rc)
		rc = load_uid(c, &w);
	if (!rc)
		rc = make_credentials(c, &w);
	if (!rc && make_api(c))
		rc = say(&w, -ENOMEM, "no memory");
	if (rc) {
		control_fini(c);
		return rc;
	}
	open_pools(c);
	*out = c;
	return 0;
}

static SSL_CTX *server_tls(struct control *c, enum pki_client client, const struct why *w)
{
	char ca[PATH_MAX], crt[PATH_MAX], key[PATH_MAX];
	struct pki_why pw = {.text = ""};
	SSL_CTX *tls;

	path_of(c, "pki/ca.crt", ca);
	path_of(c, "pki/server.crt", crt);
	path_of(c, "pki/server.key", key);
	tls = pki_server_ctx(ca, crt, key, client, &pw);
	if (!tls)
		say(w, 0, "%s", pw.text);
	return tls;
}

/* Where outriggerctl on this machine finds the API. A full disk does not keep the appliance from serving. */
static void write_api_file(struct control *c)
{
	const char *a = c->cfg.api_address;
	char path[PATH_MAX], text[128];
	struct pki_why pw = {.text = ""};
	struct in6_addr in6;
	bool any = !a || !strcmp(a, "0.0.0.0") || !strcmp(a, "::");
	bool v6 = !any && inet_pton(AF_INET6, a, &in6) == 1;

	snprintf(text, sizeof(text), v6 ? "[%s]:%u\n" : "%s:%u\n", any ? "127.0.0.1" : a,
		 connect_port(c->server));
	path_of(c, "admin/api", path);
	if (write_if_new(path, text, &pw))
		log_warn("%s: outriggerctl may need --api", pw.text);
}

int control_listen(struct control *c, char *why, size_t why_size)
{
	struct why w = {why, why_size};
	struct connect_cfg cfg = {
		.base = c->cfg.base,
		.address = c->cfg.api_address,
		.port = c->cfg.api_port,
		.tls = server_tls(c, PKI_CLIENT_OPTIONAL, &w),
		.ctx = c->api,
		.token_ok = api_token_ok,
	};
	int rc;

	if (!cfg.tls)
		return -EINVAL;
	cfg.methods = api_methods(&cfg.nmethods);
	rc = connect_listen(&cfg, &c->server);
	SSL_CTX_free(cfg.tls);
	if (rc)
		return say(&w, rc, "API address %s port %u: %s; choose another or stop what uses it",
			   c->cfg.api_address ? c->cfg.api_address : "*", c->cfg.api_port, strerror(-rc));
	api_set_server(c->api, c->server);
	write_api_file(c);
	return 0;
}

void control_fini(struct control *c)
{
	if (!c)
		return;
	api_free(c->api);
	connect_free(c->server);
	model_free(c->model);
	store_close(c->store);
	pki_close(c->pki);
	free(c);
}

const struct model *control_model(const struct control *c)
{
	return c->model;
}

struct store *control_store(struct control *c)
{
	return c->store;
}

uint16_t control_api_port(const struct control *c)
{
	return c->server ? connect_port(c->server) : 0;
}

SSL_CTX *control_session_tls(struct control *c, char *why, size_t why_size)
{
	struct why w = {why, why_size};

	return server_tls(c, PKI_CLIENT_REQUIRED, &w);
}

int control_host_check(struct control *c, const char *name, const uint8_t fingerprint[32])
{
	struct store_cert cert;

	if (!resource_name_ok(name) || !model_host(c->model, name))
		return -ENOENT;
	if (store_cert_get(c->store, name, &cert) ||
	    memcmp(cert.fingerprint, fingerprint, STORE_HASH_LEN) != 0)
		return -EACCES;
	return 0;
}
