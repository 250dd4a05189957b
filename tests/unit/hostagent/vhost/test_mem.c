/* SPDX-License-Identifier: Apache-2.0 */
/* vhost_mem: tables judged, and translation against an oracle that looks at single bytes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "hostagent/vhost/vhost_mem.h"

/* Memory that is only addresses: fd n of length 1 << 40 lies at n << 40. Never touched. */
static int mapped;

static int fake_map(void *arg, int fd, uint64_t off, uint64_t len, struct vhost_map *m)
{
	(void)arg;
	if (fd < 0)
		return -ERANGE;
	mapped++;
	m->at = (uint8_t *)(uintptr_t)(((uint64_t)fd << 40) + off);
	m->len = len;
	return 0;
}

static void fake_unmap(void *arg, struct vhost_map *m)
{
	(void)arg;
	(void)m;
	mapped--;
}

static const struct vhost_sys fake_sys = {.map = fake_map, .unmap = fake_unmap};

static int make(struct vhost_mem **m, const struct vhost_mem_desc *d)
{
	static const int fds[VHOST_REGIONS_MAX] = {1, 2, 3, 4, 5, 6, 7, 8};
	static bool fault;

	return vhost_mem_create(m, d, fds, &fake_sys, NULL, &fault);
}

static void table__is_judged(void **state)
{
	static const struct {
		struct vhost_mem_desc d;
		int want;
	} cases[] = {
		{{.nregions = 0}, -EINVAL},
		{{.nregions = 9}, -EINVAL},
		{{1, 0, {{0, 0x1000, 0, 0}}}, 0},
		{{1, 0, {{0, 0, 0, 0}}}, -EINVAL},
		{{1, 0, {{UINT64_MAX - 0xfff, 0x1000, 0, 0}}}, -EINVAL},
		{{1, 0, {{UINT64_MAX - 0x1000, 0x1000, 0, 0}}}, 0},
		{{1, 0, {{0, 0x1000, UINT64_MAX, 0}}}, -EINVAL},
		{{1, 0, {{0, 0x1000, 0, UINT64_MAX}}}, -EINVAL},
		{{2, 0, {{0, 0x1000, 0, 0}, {0x1000, 0x1000, 0x1000, 0}}}, 0},
		{{2, 0, {{0, 0x1000, 0, 0}, {0xfff, 0x1000, 0x1000, 0}}}, -EINVAL},
		{{2, 0, {{0x1000, 0x1000, 0, 0}, {0, 0x1001, 0x1000, 0}}}, -EINVAL},
		{{2, 0, {{0, 0x1000, 0, 0}, {0x1000, 0x1000, 0xfff, 0}}}, -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vhost_mem *m = NULL;

		assert_int_equal(make(&m, &cases[i].d), cases[i].want);
		vhost_mem_put(m);
		assert_int_equal(mapped, 0);
	}
}

static void table__unmaps_what_it_mapped_when_one_fails(void **state)
{
	struct vhost_mem_desc d = {3, 0, {{0, 1, 0, 0}, {1, 1, 1, 0}, {2, 1, 2, 0}}};
	int fds[3] = {1, 2, -1};
	struct vhost_mem *m;
	bool fault;

	(void)state;
	assert_int_equal(vhost_mem_create(&m, &d, fds, &fake_sys, NULL, &fault), -ERANGE);
	assert_int_equal(mapped, 0);
}

static void table__lives_until_the_last_reference(void **state)
{
	struct vhost_mem_desc d = {1, 0, {{0, 0x1000, 0, 0}}};
	struct vhost_mem *m;

	(void)state;
	assert_int_equal(make(&m, &d), 0);
	vhost_mem_ref(m);
	vhost_mem_put(m);
	assert_int_equal(mapped, 1);
	vhost_mem_put(m);
	assert_int_equal(mapped, 0);
	vhost_mem_put(NULL);
}

/* Where guest byte gpa lies, by looking at every region; 0: nowhere. */
static uint64_t oracle(const struct vhost_mem_desc *d, uint64_t gpa)
{
	for (uint32_t i = 0; i < d->nregions; i++) {
		const struct vhost_region_desc *r = &d->regions[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size)
			return ((uint64_t)(i + 1) << 40) + r->offset + (gpa - r->gpa);
	}
	return 0;
}

/* Small regions near each other, sometimes touching, in random order; near 0 or near the top. */
static void random_table(struct rng *r, struct vhost_mem_desc *d, uint64_t *base)
{
	uint64_t at = 1 + rng_below(r, 8);

	memset(d, 0, sizeof(*d));
	*base = rng_chance(r, 500000) ? 0 : UINT64_MAX - 400;
	d->nregions = (uint32_t)(1 + rng_below(r, VHOST_REGIONS_MAX));
	for (uint32_t i = 0; i < d->nregions; i++) {
		uint64_t size = 1 + rng_below(r, 24);

		d->regions[i] = (struct vhost_region_desc){*base + at, size, 0x10000 + at,
							   rng_below(r, 1000)};
		at += size + (rng_chance(r, 600000) ? 0 : rng_below(r, 12));
	}
	for (uint32_t i = d->nregions; i > 1; i--) {
		uint32_t j = (uint32_t)rng_below(r, i);
		struct vhost_region_desc t = d->regions[i - 1];

		d->regions[i - 1] = d->regions[j];
		d->regions[j] = t;
	}
}

static void check_range(const struct vhost_mem *m, const struct vhost_mem_desc *d, uint64_t gpa, uint64_t len,
			unsigned max)
{
	struct iovec iov[VHOST_REGIONS_MAX];
	int n = vhost_mem_iov(m, gpa, len, iov, max);
	uint64_t at = gpa;
	bool all = true;

	for (uint64_t i = 0; i < len; i++)
		all = all && gpa + i >= gpa && oracle(d, gpa + i);
	if (n == -E2BIG) {
		assert_true(max < VHOST_REGIONS_MAX);
		return;
	}
	if (!all) {
		assert_int_equal(n, -EFAULT);
		return;
	}
	assert_in_range(n, len ? 1 : 0, max);
	for (int i = 0; i < n; i++) {
		assert_true(iov[i].iov_len > 0);
		for (size_t k = 0; k < iov[i].iov_len; k++)
			assert_int_equal((uintptr_t)iov[i].iov_base + k, oracle(d, at++));
	}
	assert_int_equal(at - gpa, len);
}

static void translate__agrees_with_single_bytes(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 1);
	for (int map = 0; map < 3000; map++) {
		struct vhost_mem_desc d;
		struct vhost_mem *m;
		uint64_t base;

		random_table(&r, &d, &base);
		assert_int_equal(make(&m, &d), 0);
		for (int i = 0; i < 60; i++)
			check_range(m, &d, base + rng_below(&r, 300), rng_below(&r, 60),
				    rng_chance(&r, 800000) ? VHOST_REGIONS_MAX : 2);
		check_range(m, &d, UINT64_MAX - 3, 10, VHOST_REGIONS_MAX);
		assert_int_equal(vhost_mem_iov(m, base, UINT64_MAX, &(struct iovec){0}, 1) < 0, 1);
		vhost_mem_put(m);
	}
}

static void uva__stays_in_one_region(void **state)
{
	struct vhost_mem_desc d = {2, 0, {{0, 16, 100, 0}, {16, 16, 116, 0}}};
	struct vhost_mem *m;

	(void)state;
	assert_int_equal(make(&m, &d), 0);
	assert_ptr_equal(vhost_mem_uva(m, 100, 16), (void *)(1ull << 40));
	assert_ptr_equal(vhost_mem_uva(m, 115, 1), (void *)((1ull << 40) + 15));
	assert_ptr_equal(vhost_mem_uva(m, 116, 16), (void *)(2ull << 40));
	assert_null(vhost_mem_uva(m, 115, 2));
	assert_null(vhost_mem_uva(m, 99, 1));
	assert_null(vhost_mem_uva(m, 132, 1));
	assert_null(vhost_mem_uva(m, 116, UINT64_MAX));
	vhost_mem_put(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table__is_judged),
		cmocka_unit_test(table__unmaps_what_it_mapped_when_one_fails),
		cmocka_unit_test(table__lives_until_the_last_reference),
		cmocka_unit_test(translate__agrees_with_single_bytes),
		cmocka_unit_test(uva__stays_in_one_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
