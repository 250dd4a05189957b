/* SPDX-License-Identifier: Apache-2.0 */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/cli/table.h"

struct table {
	unsigned columns;
	bool heading;
	bool *right;
	char **cells;
	size_t n, room;
};

struct table *table_new(unsigned columns, bool heading)
{
	struct table *t = calloc(1, sizeof *t);

	if (!t || !(t->right = calloc(columns, sizeof *t->right)))
		err(1, "table");
	t->columns = columns;
	t->heading = heading;
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->right);
	free(t);
}

/* What others chose must not steer the terminal; UTF-8 passes, C1 controls (0xc2 0x80..0x9f) do not. */
void table_clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		if (*p < 32 || *p == 127)
			*p = '?';
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?';
	}
}

void table_add(struct table *t, const char *text)
{
	if (t->n == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cells = realloc(t->cells, t->room * sizeof *t->cells);
		if (!t->cells)
			err(1, "table");
	}
	t->cells[t->n] = strdup(text && *text ? text : "-");
	if (!t->cells[t->n])
		err(1, "table");
	table_clean(t->cells[t->n++]);
}

void table_right(struct table *t, unsigned column)
{
	t->right[column] = true;
}

static unsigned width(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static const char *paint(const struct table *t, size_t i)
{
	if (t->heading && i < t->columns)
		return "\033[1m";
	if (strcmp(t->cells[i], "up") == 0 || strcmp(t->cells[i], "connected") == 0)
		return "\033[32m";
	if (strcmp(t->cells[i], "down") == 0)
		return "\033[31m";
	return NULL;
}

static void cell(const struct table *t, FILE *out, bool color, size_t i, unsigned w)
{
	const char *on = color ? paint(t, i) : NULL;
	bool blank = strcmp(t->cells[i], " ") == 0;
	unsigned pad = blank ? w : w - width(t->cells[i]), col = (unsigned)(i % t->columns);

	if (t->right[col])
		fprintf(out, "%*s", (int)pad, "");
	if (!blank)
		fprintf(out, "%s%s%s", on ? on : "", t->cells[i], on ? "\033[0m" : "");
	/* Nothing but blanks to the end of the line? */
	if (col + 2 == t->columns && strcmp(t->cells[i + 1], " ") == 0)
		return;
	if (col + 1 == t->columns)
		fputc('\n', out);
	else
		fprintf(out, "%*s", (int)(t->right[col] ? 2 : pad + 2), "");
}

void table_print(const struct table *t, FILE *out, bool color)
{
	unsigned *w = calloc(t->columns, sizeof *w);

	if (!w)
		err(1, "table");
	for (size_t i = 0; i < t->n; i++)
		if (width(t->cells[i]) > w[i % t->columns])
			w[i % t->columns] = width(t->cells[i]);
	for (size_t i = 0; i < t->n; i++)
		cell(t, out, color, i, w[i % t->columns]);
	free(w);
}
