/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes at an offset of a scatter list, against a flat twin. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/vqt/vqt_iov.h"

#define MAX 64

static uint32_t make_list(struct rng *rng, uint8_t *mem, struct iovec *iov, unsigned n)
{
	uint32_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = (uint32_t)rng_below(rng, 40); /* 0 among them */

		iov[i] = (struct iovec){mem + total, len};
		total += len;
	}
	return total;
}

static void write_is_a_flat_write(void **state)
{
	uint8_t mem[MAX * 40], twin[MAX * 40], src[MAX * 40];
	struct iovec iov[MAX];
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	for (int round = 0; round < 2000; round++) {
		unsigned n = (unsigned)rng_below(&rng, MAX);
		struct vqt_at at = {0, 0};
		uint32_t total = make_list(&rng, mem, iov, n);

		memset(mem, 0, sizeof(mem));
		memset(twin, 0, sizeof(twin));
		for (int k = 0; k < 20; k++) {
			uint32_t off = (uint32_t)rng_below(&rng, total + 20),
				 len = (uint32_t)rng_below(&rng, 100);
			uint32_t fits = off < total ? (total - off < len ? total - off : len) : 0;

			for (uint32_t i = 0; i < len; i++)
				src[i] = (uint8_t)rng_u64(&rng);
			memcpy(twin + (fits ? off : 0), src, fits);
			assert_int_equal(vqt_iov_write(iov, n, &at, off, src, len), fits);
			assert_memory_equal(mem, twin, sizeof(mem));
		}
	}
}

static void slice_is_a_flat_slice(void **state)
{
	uint8_t mem[MAX * 40], flat[MAX * 40];
	struct iovec iov[MAX], out[MAX];
	struct rng rng;

	(void)state;
	rng_init(&rng, 2);
	for (uint32_t i = 0; i < sizeof(mem); i++)
		mem[i] = (uint8_t)rng_u64(&rng);
	for (int round = 0; round < 2000; round++) {
		unsigned n = (unsigned)rng_below(&rng, MAX);
		struct vqt_at at = {0, 0};
		uint32_t total = make_list(&rng, mem, iov, n);

		for (int k = 0; k < 20; k++) {
			uint32_t off = (uint32_t)rng_below(&rng, total + 20),
				 len = (uint32_t)rng_below(&rng, 200);
			uint32_t fits = off < total ? (total - off < len ? total - off : len) : 0, got = 0;
			unsigned m = vqt_iov_slice(iov, n, &at, off, len, out);

			for (unsigned i = 0; i < m; i++) {
				assert_true(out[i].iov_len > 0);
				memcpy(flat + got, out[i].iov_base, out[i].iov_len);
				got += (uint32_t)out[i].iov_len;
			}
			assert_int_equal(got, fits);
			if (fits)
				assert_memory_equal(flat, mem + off, fits);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_is_a_flat_write),
		cmocka_unit_test(slice_is_a_flat_slice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
