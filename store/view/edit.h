/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An edit: names of lines that leave a head, and lines that come behind its others.
 *
 *   edit_head | names | index | lines | CRLF
 *
 * names: each a byte with its length - 1, then its bytes; the shorter first, of one length by bytes.
 * index: per line two numbers of 16 bits, the lengths of its name and value.
 * lines: "Name: value\r\n" one after the other, as they go out, and behind the last the empty line of
 * a head.
 *
 * It is written when a unit is compiled, lies there in one piece without alignment, and may be copied
 * like any bytes: a response needs its changes when the view they came from is let go of already. */
#ifndef NODEPROXY_STORE_VIEW_EDIT_H
#define NODEPROXY_STORE_VIEW_EDIT_H

#include "nodeproxy/lib/base/slice.h"

#define EDIT_NAME_MAX  256
#define EDIT_VALUE_MAX 4096
#define EDIT_LINE(name_n, value_n) ((size_t)(name_n) + 2 + (value_n) + 2)

struct edit_head {
	uint32_t lengths;	/* bit n % 32 for each length of a name */
	uint16_t names_n;	/* bytes */
	uint16_t lines;
};

struct edit {
	uint32_t lengths;
	struct slice names;
	uint32_t lines;
	struct slice index, text;
};

/* False: it is not whole. */
static inline bool edit_open(struct slice bytes, struct edit *ret)
{
	struct edit_head h;

	if (bytes.n < sizeof h)
		return false;
	memcpy(&h, bytes.p, sizeof h);
	bytes = slice_from(bytes, sizeof h);
	if (bytes.n < h.names_n + 4u * h.lines)
		return false;
	*ret = (struct edit){ .lengths = h.lengths, .names = slice_of(bytes.p, h.names_n),
			      .lines = h.lines };
	bytes = slice_from(bytes, h.names_n);
	ret->index = slice_of(bytes.p, 4u * h.lines);
	ret->text = slice_from(bytes, 4u * h.lines);
	return true;
}

/* The next name; false: that was the last. */
static inline bool edit_name(struct slice *rest, struct slice *ret)
{
	size_t n = rest->n ? rest->p[0] + 1u : 0;

	if (n == 0 || n >= rest->n)
		return false;
	*ret = slice_of(rest->p + 1, n);
	*rest = slice_from(*rest, 1 + n);
	return true;
}

/* A line with this name leaves. */
static inline bool edit_drops(const struct edit *e, struct slice name)
{
	struct slice rest = e->names, one;

	if (!(e->lengths >> name.n % 32 & 1))
		return false;
	while (edit_name(&rest, &one) && one.n <= name.n)
		if (slice_caseeq(one, name))
			return true;
	return false;
}

/* Line i, the first of the text *rest; then *rest begins with the next. */
static inline bool edit_line(const struct edit *e, uint32_t i, struct slice *rest, struct slice *line,
			     struct slice *name, struct slice *value)
{
	uint16_t n[2];
	size_t all;

	if (i >= e->lines)
		return false;
	memcpy(n, e->index.p + 4u * i, sizeof n);
	all = EDIT_LINE(n[0], n[1]);
	if (all > rest->n)
		return false;
	*line = slice_of(rest->p, all);
	*name = slice_of(rest->p, n[0]);
	*value = slice_of(rest->p + n[0] + 2, n[1]);
	*rest = slice_from(*rest, all);
	return true;
}

/* All of it can be read. */
static inline bool edit_is_whole(struct slice bytes)
{
	struct slice rest, line, name, value;
	struct edit e;

	if (!edit_open(bytes, &e))
		return false;
	for (rest = e.names; edit_name(&rest, &name);)
		;
	if (rest.n)
		return false;
	rest = e.text;
	for (uint32_t i = 0; i < e.lines; i++)
		if (!edit_line(&e, i, &rest, &line, &name, &value) || name.n == 0 ||
		    name.n > EDIT_NAME_MAX || value.n > EDIT_VALUE_MAX)
			return false;
	return slice_eq(rest, SLICE("\r\n"));
}

#endif
