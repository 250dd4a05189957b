/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list with a sentinel head. Not thread-safe. */
#ifndef OUTRIGGER_BASE_LIST_H
#define OUTRIGGER_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_between(struct list *n, struct list *prev, struct list *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}

static inline void list_add_head(struct list *l, struct list *n)
{
	list_add_between(n, l, l->next);
}
static inline void list_add_tail(struct list *l, struct list *n)
{
	list_add_between(n, l->prev, l);
}

/* Leaves n pointing at itself, so that removing twice is harmless. */
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* The first element, unlinked, or NULL. */
static inline struct list *list_pop(struct list *l)
{
	struct list *n = l->next;

	if (n == l)
		return NULL;
	list_del(n);
	return n;
}

#define list_for_each(it, l) for (struct list *it = (l)->next; it != (l); it = it->next)
/* The body may unlink `it`. */
#define list_for_each_safe(it, l)                                                                            \
	for (struct list *it = (l)->next, *it##_next = it->next; it != (l);                                  \
	     it = it##_next, it##_next = it->next)

#endif
