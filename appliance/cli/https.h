/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the appliance is, who we are, and one call to it: TLS 1.3, its CA pinned, its name
 * checked. Blocking, with one deadline for everything.
 */
#ifndef OUTRIGGER_CLI_HTTPS_H
#define OUTRIGGER_CLI_HTTPS_H

#include "appliance/cli/cli.h"
#include "appliance/cli/http.h"

#define CONTEXT_SYSTEM "/var/lib/outrigger/admin" /* that outriggerd writes at its first start */

/* Empty strings: not known. */
struct context {
	char dir[4096 - 64];
	char host[256], port[16];
	char cert[4096], key[4096], cacert[4096];
	char token[512];
	char server_name[256];
	unsigned timeout; /* seconds */
};

/*
 * Options first, then the directory: --context, $OUTRIGGER_CONTEXT, ~/.config/outrigger,
 * CONTEXT_SYSTEM, the first of these that is there. A certificate is used if there is one, else
 * the token. 0, or -errno and a line in why that says what to do.
 */
int context_load(struct context *c, const struct cli_args *a, char *why, size_t size);
/* "HOST:PORT", "https://HOST:PORT/", "[::1]:7443" -> host, port (default 7443). -EINVAL. */
int context_api(struct context *c, const char *api);

/* POST body to method; a->body is owned by the caller on success. -EINVAL: a file of the context cannot
 * be used; other -errno: the appliance was not reached, or is not ours. A line in why. */
int https_call(const struct context *c, const char *method, const char *body, struct http_answer *a,
	       char *why, size_t size);

#endif
