/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded big-endian reader and writer: the only way bytes from outside are looked at.
 *
 * A cursor never reads or writes past its end. The first access that would do so sets
 * `bad`; from then on reads give 0 and writes do nothing, so a decoder reads all its
 * fields and checks cur_ok() once. No ownership: the bytes belong to the caller.
 * Thread rule: a cursor belongs to one thread.
 */
#ifndef OUTRIGGER_BASE_CURSOR_H
#define OUTRIGGER_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cur_r {
	const uint8_t *p;
	size_t left;
	bool bad;
};

struct cur_w {
	uint8_t *p;
	size_t left;
	bool bad;
};

static inline void cur_r_init(struct cur_r *c, const void *p, size_t len)
{
	c->p = p;
	c->left = len;
	c->bad = false;
}

static inline void cur_w_init(struct cur_w *c, void *p, size_t len)
{
	c->p = p;
	c->left = len;
	c->bad = false;
}

/* The next n bytes, or NULL (and bad) if fewer are left. */
static inline const uint8_t *cur_take(struct cur_r *c, size_t n)
{
	const uint8_t *at = c->p;

	if (c->bad || c->left < n) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	c->left -= n;
	return at;
}

static inline uint8_t *cur_reserve(struct cur_w *c, size_t n)
{
	uint8_t *at = c->p;

	if (c->bad || c->left < n) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	c->left -= n;
	return at;
}

static inline uint64_t cur_be(struct cur_r *c, size_t n)
{
	const uint8_t *at = cur_take(c, n);
	uint64_t v = 0;

	for (size_t i = 0; at && i < n; i++)
		v = v << 8 | at[i];
	return v;
}

static inline uint8_t cur_u8(struct cur_r *c)
{
	return (uint8_t)cur_be(c, 1);
}
static inline uint16_t cur_u16(struct cur_r *c)
{
	return (uint16_t)cur_be(c, 2);
}
static inline uint32_t cur_u32(struct cur_r *c)
{
	return (uint32_t)cur_be(c, 4);
}
static inline uint64_t cur_u64(struct cur_r *c)
{
	return cur_be(c, 8);
}
static inline bool cur_ok(const struct cur_r *c)
{
	return !c->bad;
}

static inline void cur_put_be(struct cur_w *c, uint64_t v, size_t n)
{
	uint8_t *at = cur_reserve(c, n);

	for (size_t i = 0; at && i < n; i++)
		at[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static inline void cur_put_u8(struct cur_w *c, uint8_t v)
{
	cur_put_be(c, v, 1);
}
static inline void cur_put_u16(struct cur_w *c, uint16_t v)
{
	cur_put_be(c, v, 2);
}
static inline void cur_put_u32(struct cur_w *c, uint32_t v)
{
	cur_put_be(c, v, 4);
}
static inline void cur_put_u64(struct cur_w *c, uint64_t v)
{
	cur_put_be(c, v, 8);
}

static inline void cur_put(struct cur_w *c, const void *src, size_t n)
{
	uint8_t *at = cur_reserve(c, n);

	if (at && n)
		memcpy(at, src, n);
}

#endif
