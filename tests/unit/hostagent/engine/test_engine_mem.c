/* SPDX-License-Identifier: Apache-2.0 */
/* Guests' memory at two RDMA ports, over the verbs double: what is told of it, what requests may name of it,
 * and what a peer reaches of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "hostagent/engine/engine_impl.h"
#include "tests/lib/verbs_double.h"

#define PORTS 2u /* vd0 and vd1 are the agent's, vd2 the appliance's */
#define BUFS  32u
#define RX    16u
#define LEN   8192u
#define DEV   5u
#define ALL   ((1u << PORTS) - 1)

static struct event_base *base;
static struct engine e;
static struct edev d;
static struct buf_pool *pool[PORTS + 1];
static struct link *appliance;
static struct verbs_end end[2];
static uint8_t one[LEN], other[LEN];

static void no_work(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static struct link *port(unsigned i)
{
	struct link_verbs_cfg cfg = {
		.api = &verbs_double, .rx_depth = RX, .max_peers = 2, .serves = i < PORTS};
	char name[8], why[200];
	int err;

	snprintf(name, sizeof(name), "vd%u", i);
	cfg.pool = pool[i] = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	assert_int_equal(verbs_port_parse(&cfg.port, name, why, sizeof(why)), 0);
	return link_verbs_create(&cfg, &err, why, sizeof(why));
}

/* The appliance has a connection to the first port. */
static void join(void)
{
	struct link *l[2] = {e.rdma[0], appliance};

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(link_verbs_open(l[i], 1, 100 + i, &end[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(link_verbs_connect(l[i], 1, &end[!i]), 0);
}

static int setup(void **state)
{
	(void)state;
	vd_world(PORTS + 1);
	base = event_base_new();
	e = (struct engine){.base = base};
	e.work = event_new(base, -1, 0, no_work, NULL);
	list_init(&e.devs);
	d = (struct edev){.e = &e, .name = (char *)"nic", .dev = DEV, .known = true};
	list_init(&d.mem);
	list_add_tail(&e.devs, &d.node);
	for (unsigned i = 0; i < PORTS; i++)
		assert_non_null(e.rdma[i] = port(i));
	assert_non_null(appliance = port(PORTS));
	e.rdma_up = ALL;
	join();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	emem_free(&d);
	for (unsigned i = 0; i < PORTS; i++)
		if (e.rdma[i])
			e.rdma[i]->ops->destroy(e.rdma[i]);
	appliance->ops->destroy(appliance);
	for (unsigned i = 0; i <= PORTS; i++)
		buf_pool_destroy(pool[i]);
	event_free(e.work);
	event_base_free(base);
	assert_int_equal(vd_leaks(), 0);
	return 0;
}

/* What the session does after the news: the list is told, and taken. */
static unsigned tell(struct engine_region out[ENGINE_REGIONS])
{
	uint32_t serial;
	unsigned n;

	assert_true(d.mem_news);
	assert_true(emem_settle(&d));
	assert_int_equal(engine_memory(&e, DEV, out, &n, &serial), 0);
	engine_memory_taken(&e, DEV, serial);
	return n;
}

static unsigned pieces(const struct iovec *iov, unsigned n, struct vqt_seg *out, unsigned max)
{
	return emem_keys.pieces(&d, iov, n, out, max);
}

static bool named(const uint8_t *at, size_t len)
{
	struct vqt_seg s;

	return pieces(&(struct iovec){(void *)(uintptr_t)at, len}, 1, &s, 1) == 1;
}

/* Whether the appliance can write there by a key of the first port; it loses its connection if not. */
static bool reaches(const struct engine_region *r, uint64_t off)
{
	uint8_t byte = 0xaa;
	struct verbs_key k = r->key[0].key;

	assert_int_equal(r->key[0].path, 0);
	return vd_access(end[1].qpn, true, k.base + off, k.rkey, &byte, 1) == IBV_WC_SUCCESS;
}

static void memory_is_told_with_a_key_for_each_port(void **state)
{
	struct engine_region r[ENGINE_REGIONS];

	(void)state;
	emem_memory(&d, one, LEN, true);
	assert_false(named(one, 1)); /* nobody knows of it */
	assert_int_equal(tell(r), 1);
	assert_int_equal(r[0].length, LEN);
	assert_int_equal(r[0].stage, 0);
	assert_int_equal(r[0].nkeys, PORTS);
	assert_true(r[0].key[0].key.base != r[0].key[1].key.base);
	assert_true(named(one, LEN));
	assert_true(reaches(&r[0], LEN - 1));
	assert_int_equal(one[LEN - 1], 0xaa);
}

static void a_list_that_is_not_taken_is_not_named(void **state)
{
	struct engine_region r[ENGINE_REGIONS];
	uint32_t serial;
	unsigned n;

	(void)state;
	emem_memory(&d, one, LEN, true);
	assert_int_equal(tell(r), 1);
	emem_memory(&d, other, LEN, true);
	assert_false(named(one, 1)); /* it is to be told anew */
	assert_true(emem_settle(&d));
	assert_false(named(one, 1));
	assert_int_equal(engine_memory(&e, DEV, r, &n, &serial), 0);
	assert_int_equal(n, 2);
	engine_memory_taken(&e, DEV, serial - 1); /* an old answer */
	assert_false(named(one, 1));
	engine_memory_taken(&e, DEV, serial);
	assert_true(named(one, 1) && named(other, 1));
	assert_int_equal(engine_memory(&e, DEV + 1, r, &n, &serial), -ENOENT);
	assert_int_equal(n, 0);
}

static void requests_name_what_lies_in_regions_alone(void **state)
{
	struct engine_region r[ENGINE_REGIONS];
	struct vqt_seg s[4];
	static uint8_t foreign[16];
	struct iovec apart[] = {{one, 16}, {one + 32, 16}, {other, 16}};
	struct iovec joined[] = {{one + 8, 8}, {one + 16, 24}};
	struct iovec partly[] = {{one, 16}, {foreign, 16}};

	(void)state;
	emem_memory(&d, one, LEN, true);
	emem_memory(&d, other, LEN, true);
	assert_int_equal(tell(r), 2);
	assert_int_equal(pieces(apart, 3, s, 4), 3);
	assert_int_equal(s[1].off, 32);
	assert_int_equal(s[1].len, 16);
	assert_true(s[0].region == s[1].region && s[2].region != s[0].region);
	assert_int_equal(pieces(apart, 3, s, 2), 0); /* more than it may name */
	assert_int_equal(pieces(joined, 2, s, 1), 1);
	assert_int_equal(s[0].off, 8);
	assert_int_equal(s[0].len, 32);
	assert_int_equal(pieces(partly, 2, s, 4), 0);
	assert_true(named(one + LEN - 1, 1));
	assert_false(named(one + LEN - 1, 2));
}

static void a_port_that_is_down_serves_nobody(void **state)
{
	struct engine_region r[ENGINE_REGIONS];

	(void)state;
	emem_memory(&d, one, LEN, true);
	assert_int_equal(tell(r), 1);
	e.rdma_up = 2;
	assert_true(named(one, 1));
	e.rdma_up = 0;
	assert_false(named(one, 1));
}

static void memory_that_went_is_out_of_reach(void **state)
{
	struct engine_region r[ENGINE_REGIONS], then[ENGINE_REGIONS];

	(void)state;
	emem_memory(&d, one, LEN, true);
	emem_memory(&d, other, LEN, true);
	assert_int_equal(tell(then), 2);
	memset(one, 0, LEN);
	emem_memory(&d, one, LEN, false);
	assert_false(reaches(&then[1], 0)); /* the latest is told first */
	assert_int_equal(one[0], 0);
	assert_int_equal(tell(r), 1);
	assert_int_equal(r[0].id, then[0].id);
	assert_false(named(one, 1));
	assert_true(named(other, 1));
}

static void revoked_memory_has_new_keys(void **state)
{
	struct engine_region r[ENGINE_REGIONS], then[ENGINE_REGIONS];

	(void)state;
	emem_memory(&d, one, LEN, true);
	assert_int_equal(tell(then), 1);
	memset(one, 0, LEN);
	emem_keys.revoke(&d);
	assert_false(named(one, 1));
	assert_false(reaches(&then[0], 0));
	assert_int_equal(one[0], 0);
	assert_int_equal(tell(r), 1);
	assert_true(r[0].id != then[0].id);
	assert_true(r[0].key[0].key.rkey != then[0].key[0].key.rkey);
	assert_true(named(one, 1));
}

static void memory_that_cannot_be_locked_is_copied(void **state)
{
	struct engine_region r[ENGINE_REGIONS];

	(void)state;
	vd_memlock(0, 1);
	emem_memory(&d, one, LEN, true);
	assert_int_equal(tell(r), 1);
	assert_int_equal(r[0].nkeys, 1); /* the other port has it */
	assert_int_equal(r[0].key[0].path, 1);
	e.rdma_up = 1;
	assert_false(named(one, 1));
	vd_memlock(1, 1);
	emem_memory(&d, other, LEN, true);
	assert_int_equal(tell(r), 1); /* without a key it is not told */
	e.rdma_up = ALL;
	assert_false(named(other, 1));
}

static void a_session_that_ended_takes_its_keys(void **state)
{
	struct engine_region r[ENGINE_REGIONS], then[ENGINE_REGIONS];

	(void)state;
	emem_memory(&d, one, LEN, true);
	assert_int_equal(tell(then), 1);
	for (unsigned i = 0; i < PORTS; i++) {
		e.rdma[i]->ops->destroy(e.rdma[i]);
		buf_pool_destroy(pool[i]);
	}
	emem_session(&d, false);
	assert_false(d.mem_news);
	assert_false(named(one, 1));
	for (unsigned i = 0; i < PORTS; i++)
		assert_non_null(e.rdma[i] = port(i));
	emem_session(&d, true);
	assert_int_equal(tell(r), 1);
	assert_true(r[0].id != then[0].id);
	assert_true(named(one, 1));
}

static void without_a_port_there_is_nothing_to_tell(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PORTS; i++) {
		e.rdma[i]->ops->destroy(e.rdma[i]);
		e.rdma[i] = NULL;
	}
	emem_memory(&d, one, LEN, true);
	assert_false(emem_settle(&d));
	assert_false(named(one, 1));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(memory_is_told_with_a_key_for_each_port),  T(a_list_that_is_not_taken_is_not_named),
		T(requests_name_what_lies_in_regions_alone), T(a_port_that_is_down_serves_nobody),
		T(memory_that_went_is_out_of_reach),	     T(revoked_memory_has_new_keys),
		T(memory_that_cannot_be_locked_is_copied),   T(a_session_that_ended_takes_its_keys),
		T(without_a_port_there_is_nothing_to_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
