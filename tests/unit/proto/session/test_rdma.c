/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA ends on the control session: what crosses unchanged, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "proto/session/rdma.h"

static void ends_cross_unchanged(void **state)
{
	struct verbs_end in = {.qpn = 0xffffff, .psn = 0x123456, .lid = 0xffff, .mtu = 5}, out;
	Outrigger__Session__V1__RdmaEnd m;

	(void)state;
	for (int i = 0; i < 16; i++)
		in.gid[i] = (uint8_t)(i * 17);
	session_rdma_put(&m, &in);
	assert_int_equal(session_rdma_get(&m, &out), 0);
	assert_memory_equal(in.gid, out.gid, 16);
	assert_true(in.qpn == out.qpn && in.psn == out.psn && in.lid == out.lid && in.mtu == out.mtu);
}

static void others_are_refused(void **state)
{
	static const struct {
		size_t field;
		uint32_t value;
	} bad[] = {
		{offsetof(Outrigger__Session__V1__RdmaEnd, qpn), 1u << 24},
		{offsetof(Outrigger__Session__V1__RdmaEnd, qpn), UINT32_MAX},
		{offsetof(Outrigger__Session__V1__RdmaEnd, psn), 1u << 24},
		{offsetof(Outrigger__Session__V1__RdmaEnd, lid), 1u << 16},
		{offsetof(Outrigger__Session__V1__RdmaEnd, mtu), 0},
		{offsetof(Outrigger__Session__V1__RdmaEnd, mtu), 6},
		{offsetof(Outrigger__Session__V1__RdmaEnd, mtu), 257},
	};
	struct verbs_end in = {.qpn = 1, .psn = 2, .mtu = 3}, out;
	Outrigger__Session__V1__RdmaEnd m;

	(void)state;
	assert_int_equal(session_rdma_get(NULL, &out), -EINVAL);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		session_rdma_put(&m, &in);
		memcpy((uint8_t *)&m + bad[i].field, &bad[i].value, 4);
		assert_int_equal(session_rdma_get(&m, &out), -EINVAL);
	}
	for (size_t len = 0; len < 32; len++) {
		uint8_t gid[32] = {0};

		session_rdma_put(&m, &in);
		m.gid.data = gid;
		m.gid.len = len;
		assert_int_equal(session_rdma_get(&m, &out), len == 16 ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_cross_unchanged),
		cmocka_unit_test(others_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
