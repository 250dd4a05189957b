/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appliance/cli/https.h"

#define API_PORT "7443"

static int copy(char *to, size_t size, const char *from, size_t n)
{
	if (n == 0 || n >= size)
		return -EINVAL;
	memcpy(to, from, n);
	to[n] = 0;
	return 0;
}

int context_api(struct context *c, const char *api)
{
	const char *host = strncmp(api, "https://", 8) == 0 ? api + 8 : api, *end, *port = NULL;
	size_t all = strcspn(host, "/"), port_len = 0;
	uint64_t number;

	if (strncmp(api, "http://", 7) == 0)
		return -EINVAL;
	if (host[0] == '[') {
		host++;
		end = memchr(host, ']', all);
		if (!end)
			return -EINVAL;
		if (end[1] == ':')
			port = end + 2;
		else if (end[1] && end[1] != '/')
			return -EINVAL;
	} else {
		end = memchr(host, ':', all);
		if (end)
			port = end + 1;
		else
			end = host + all;
	}
	if (port)
		port_len = strcspn(port, "/");
	if (copy(c->host, sizeof c->host, host, (size_t)(end - host)))
		return -EINVAL;
	if (copy(c->port, sizeof c->port, port ? port : API_PORT, port ? port_len : strlen(API_PORT)))
		return -EINVAL;
	return cli_uint_parse(c->port, 65535, &number) || number == 0 ? -EINVAL : 0;
}

/* The first line of a file; -ENOENT and its like. */
static int first_line(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");
	char *got;

	if (!f)
		return -errno;
	got = fgets(out, (int)size, f);
	fclose(f);
	if (!got)
		return -ENODATA;
	out[strcspn(out, "\r\n")] = 0;
	return *out ? 0 : -ENODATA;
}

static void find_dir(struct context *c, const struct cli_args *a)
{
	const char *env = getenv("OUTRIGGER_CONTEXT"), *home = getenv("HOME");

	if (a->context) {
		snprintf(c->dir, sizeof c->dir, "%s", a->context);
		return;
	}
	if (env && *env) {
		snprintf(c->dir, sizeof c->dir, "%s", env);
		return;
	}
	snprintf(c->dir, sizeof c->dir, "%s/.config/outrigger", home ? home : "");
	if (!home || access(c->dir, X_OK))
		snprintf(c->dir, sizeof c->dir, "%s", CONTEXT_SYSTEM);
}

/* An option, or a file of the directory if it is there. */
static void choose(char *to, size_t size, const char *option, const struct context *c, const char *file)
{
	char path[4096];

	if (option) {
		snprintf(to, size, "%s", option);
		return;
	}
	snprintf(path, sizeof path, "%s/%s", c->dir, file);
	if (access(path, F_OK) == 0)
		snprintf(to, size, "%s", path);
}

static int load_token(struct context *c, const struct cli_args *a, char *why, size_t size)
{
	char path[4096];
	int ret;

	if (a->token && a->token[0] != '@') {
		snprintf(c->token, sizeof c->token, "%s", a->token);
	} else {
		snprintf(path, sizeof path, "%s%s", a->token ? a->token + 1 : c->dir,
			 a->token ? "" : "/token");
		ret = first_line(path, c->token, sizeof c->token);
		if (ret && a->token) {
			snprintf(why, size, "--token @%s: %s", path, strerror(-ret));
			return ret;
		}
	}
	/* It goes into a header line. */
	if (strpbrk(c->token, "\r\n")) {
		snprintf(why, size, "--token: has a line break in it");
		return -EINVAL;
	}
	return 0;
}

static int load_api(struct context *c, const struct cli_args *a, char *why, size_t size)
{
	char path[4096], line[320];
	int ret;

	if (a->api) {
		ret = context_api(c, a->api);
		if (ret)
			snprintf(why, size, "--api %s: must be HOST:PORT", a->api);
		return ret;
	}
	snprintf(path, sizeof path, "%s/api", c->dir);
	ret = first_line(path, line, sizeof line);
	if (ret) {
		snprintf(why, size,
			 "where is the appliance? %s: %s. Give --context DIR (a copy of the "
			 "appliance's " CONTEXT_SYSTEM "), or set OUTRIGGER_CONTEXT",
			 path, strerror(-ret));
		return ret;
	}
	ret = context_api(c, line);
	if (ret)
		snprintf(why, size, "%s: \"%s\" must be HOST:PORT", path, line);
	return ret;
}

int context_load(struct context *c, const struct cli_args *a, char *why, size_t size)
{
	int ret;

	memset(c, 0, sizeof *c);
	c->timeout = a->timeout;
	find_dir(c, a);
	ret = load_api(c, a, why, size);
	if (ret)
		return ret;
	snprintf(c->server_name, sizeof c->server_name, "%s", a->server_name ? a->server_name : c->host);
	choose(c->cacert, sizeof c->cacert, a->cacert, c, "ca.crt");
	/* A token given by hand is meant instead of the directory's certificate. */
	if (a->cert || !a->token) {
		choose(c->cert, sizeof c->cert, a->cert, c, "admin.crt");
		choose(c->key, sizeof c->key, a->key, c, "admin.key");
	}
	if (!*c->cert || a->token)
		ret = load_token(c, a, why, size);
	if (ret)
		return ret;
	if (!*c->cacert) {
		snprintf(why, size,
			 "no CA certificate: give --cacert FILE (the appliance has it in " CONTEXT_SYSTEM
			 "/ca.crt)");
		return -ENOENT;
	}
	if (!*c->cert && !*c->token) {
		snprintf(why, size,
			 "no credential: give --cert and --key, or --token, or a --context DIR with them");
		return -ENOENT;
	}
	return 0;
}
