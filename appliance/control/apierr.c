/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/control/apierr.h"

#include <stdarg.h>
#include <stdio.h>

/* Codes and HTTP statuses of the Connect protocol. */
static const struct {
	const char *name;
	int http;
} codes[] = {
	[API_OK] = {"ok", 200},
	[API_INVALID_ARGUMENT] = {"invalid_argument", 400},
	[API_NOT_FOUND] = {"not_found", 404},
	[API_ALREADY_EXISTS] = {"already_exists", 409},
	[API_FAILED_PRECONDITION] = {"failed_precondition", 400},
	[API_RESOURCE_EXHAUSTED] = {"resource_exhausted", 429},
	[API_ABORTED] = {"aborted", 409},
	[API_UNAUTHENTICATED] = {"unauthenticated", 401},
	[API_PERMISSION_DENIED] = {"permission_denied", 403},
	[API_UNIMPLEMENTED] = {"unimplemented", 501},
	[API_UNAVAILABLE] = {"unavailable", 503},
	[API_INTERNAL] = {"internal", 500},
};

int api_fail(struct api_err *e, enum api_code code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return -1;
}

const char *api_code_name(enum api_code code)
{
	return codes[code].name;
}

int api_code_http(enum api_code code)
{
	return codes[code].http;
}
