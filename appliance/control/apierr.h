/* SPDX-License-Identifier: Apache-2.0 */
/* What a call of the API can answer instead of its response: a code of the Connect protocol and a line. */
#ifndef OUTRIGGER_CONTROL_APIERR_H
#define OUTRIGGER_CONTROL_APIERR_H

enum api_code {
	API_OK,
	API_INVALID_ARGUMENT,
	API_NOT_FOUND,
	API_ALREADY_EXISTS,
	API_FAILED_PRECONDITION,
	API_RESOURCE_EXHAUSTED,
	API_ABORTED,
	API_UNAUTHENTICATED,
	API_PERMISSION_DENIED,
	API_UNIMPLEMENTED,
	API_UNAVAILABLE,
	API_INTERNAL,
};

struct api_err {
	enum api_code code;
	char msg[480];
};

/* Fills e and returns -1, so that a check is `return api_fail(e, ...)`. */
int api_fail(struct api_err *e, enum api_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const char *api_code_name(enum api_code code); /* "invalid_argument" */
int api_code_http(enum api_code code);	       /* 400 */

#endif
