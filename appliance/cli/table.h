/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of text: cells are copied, columns get as wide as their widest cell (in characters of
 * UTF-8, control characters shown as '?'), two blanks between them, none at a line's end.
 * Empty cells show as "-", those of one blank as nothing.
 */
#ifndef OUTRIGGER_CLI_TABLE_H
#define OUTRIGGER_CLI_TABLE_H

#include <stdbool.h>
#include <stdio.h>

struct table;

struct table *table_new(unsigned columns, bool heading); /* heading: the first row is one */
void table_free(struct table *t);
/* The next cell, row by row. */
void table_add(struct table *t, const char *text);
void table_right(struct table *t, unsigned column); /* for numbers */
/* color: the heading is bold, what is up green, what is down red. */
void table_print(const struct table *t, FILE *out, bool color);
/* One cell's text made safe for a terminal, in place. */
void table_clean(char *text);

#endif
