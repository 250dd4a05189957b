/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: a token is good for one host, once. */
#include "tests/unit/appliance/control/control_world.h"

#include "fabric/chan/token.h"

static void get_token(const char *host, char out[TOKEN_TEXT_SIZE])
{
	char json[100], *t;

	snprintf(json, sizeof(json), "{\"host\":\"%s\"}", host);
	must("HostService/CreateEnrollToken", json);
	t = strstr(answer.body, "ort1.");
	assert_non_null(t);
	snprintf(out, TOKEN_TEXT_SIZE, "%.92s", t);
}

/* As an agent does, without a certificate. Fills cert_fp on success. */
static int enroll(const char *text, uint8_t cert_fp[32])
{
	Outrigger__V1__EnrollRequest req = OUTRIGGER__V1__ENROLL_REQUEST__INIT;
	Outrigger__V1__EnrollResponse *resp;
	char *key, *csr;
	uint8_t body[4096];
	size_t len;
	int status;

	assert_int_equal(pki_make_csr("whoever", &key, &csr, NULL), 0);
	req.token = (char *)(uintptr_t)text;
	req.csr = csr;
	len = outrigger__v1__enroll_request__pack(&req, body);
	status = raw(bare_tls, request,
		     compose("/outrigger.v1.EnrollService/Enroll", "application/proto", "", body, len));
	free(key);
	free(csr);
	if (status != 200)
		return status;
	resp = outrigger__v1__enroll_response__unpack(NULL, answer.body_len, (uint8_t *)answer.body);
	assert_non_null(resp);
	assert_string_equal(resp->host, "h1");
	assert_int_equal(resp->session_port, 7444);
	assert_int_equal(pki_pem_fingerprint(resp->certificate, strlen(resp->certificate), cert_fp), 0);
	outrigger__v1__enroll_response__free_unpacked(resp, NULL);
	return 200;
}

static void a_token_enrols_once(void **state)
{
	char t[TOKEN_TEXT_SIZE];
	uint8_t fp[32] = {0}, none[32] = {0};

	(void)state;
	provision();
	get_token("h1", t);
	assert_int_equal(control_host_check(ctl, "h1", none), -EACCES);
	assert_int_equal(enroll(t, fp), 200);
	assert_int_equal(control_host_check(ctl, "h1", fp), 0);
	assert_int_equal(control_host_check(ctl, "h2", fp), -ENOENT);
	assert_int_equal(enroll(t, fp), 401);
	assert_true(says("used already"));
	must("HostService/GetHost", "{\"name\":\"h1\"}");
	assert_true(says("HOST_STATE_ENROLLED"));
	assert_string_equal(effects, "revoked h1; ");
	must("HostService/RevokeHost", "{\"host\":\"h1\"}");
	assert_true(says("HOST_STATE_PENDING"));
	assert_int_equal(control_host_check(ctl, "h1", fp), -EACCES);
}

static void bad_tokens(void **state)
{
	char t[TOKEN_TEXT_SIZE], newer[TOKEN_TEXT_SIZE];
	uint8_t secret[32] = {1}, ca[32] = {2}, fp[32];

	(void)state;
	provision();
	assert_int_equal(enroll("rubbish", fp), 400);
	token_format(secret, ca, t);
	assert_int_equal(enroll(t, fp), 401);
	assert_true(says("another appliance"));
	get_token("h1", t);
	get_token("h1", newer);
	assert_int_equal(enroll(t, fp), 401); /* replaced */
	assert_true(says("not known"));
	must("HostService/RevokeHost", "{\"host\":\"h1\"}");
	assert_int_equal(enroll(newer, fp), 401);
	assert_int_equal(call("HostService/CreateEnrollToken", "{\"host\":\"nope\"}"), 404);
	assert_int_equal(call("HostService/CreateEnrollToken", "{\"host\":\"h1\",\"ttlSeconds\":59}"), 400);
	/* Expired: the store is told a time that has gone by. */
	get_token("h1", t);
	{
		struct token_parts parts;

		assert_int_equal(token_parse(t, &parts), 0);
		assert_int_equal(store_token_set(control_store(ctl), "h1", parts.hash, 1), 0);
	}
	assert_int_equal(enroll(t, fp), 401);
	assert_true(says("expired"));
	/* A good token with a bad request is not spent. */
	get_token("h1", t);
	snprintf(request + 20000, 400, "{\"token\":\"%s\",\"csr\":\"x\"}", t);
	assert_int_equal(call_as(bare_tls, "", "EnrollService/Enroll", request + 20000), 400);
	assert_true(says("csr: "));
	assert_int_equal(enroll(t, fp), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(a_token_enrols_once),
		WORLD(bad_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
