/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See server_name.h. */
#include "nodeproxy/lib/net/server_name.h"

#include <errno.h>

/* The last label of the name, which then ends before it. */
static struct slice last_label(struct slice *name)
{
	size_t at = name->n;
	struct slice label;

	while (at && name->p[at - 1] != '.')
		at--;
	label = slice_from(*name, at);
	name->n = at ? at - 1 : 0;
	return label;
}

static bool may_be_in_label(uint8_t c)
{
	c = byte_lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int server_name_path(struct slice name, bool may_be_wild, char out[SERVER_NAME_PATH])
{
	bool below = may_be_wild && slice_starts(name, SLICE("*."));
	size_t n = 0;

	if (below)
		name = slice_from(name, 2);
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n > SERVER_NAME_MAX || (name.n && name.p[0] == '.'))
		return -EINVAL;
	if (name.n == 0)
		out[n++] = '/';
	while (name.n) {
		struct slice label = last_label(&name);

		out[n++] = '/';
		for (size_t i = 0; i < label.n; i++) {
			if (!may_be_in_label(label.p[i]))
				return -EINVAL;
			out[n++] = (char)byte_lower(label.p[i]);
		}
		if (label.n == 0)
			return -EINVAL;
	}
	if (n > 1 && !below)
		out[n++] = '=';
	out[n] = 0;
	return (int)n;
}

void server_name_of_path(struct slice path, char out[SERVER_NAME_PATH])
{
	bool exact = path.n && path.p[path.n - 1] == '=';
	size_t n = 0;

	path.n = min_of(path.n - exact, (size_t)SERVER_NAME_MAX);
	if (!exact && path.n > 1)
		out[n++] = '*';
	while (path.n > 1) {
		size_t at = path.n;

		while (path.p[at - 1] != '/')
			at--;
		if (n)
			out[n++] = '.';
		memcpy(out + n, path.p + at, path.n - at);
		n += path.n - at;
		path.n = at - 1;
	}
	out[n] = 0;
}
