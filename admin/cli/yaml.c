/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* JSON -> YAML: block style, two blanks a level; every string that could be read as something else
 * is written as JSON, which YAML 1.2 reads the same way. */
#include <stdio.h>

#include "admin/cli/print.h"

/* A word that YAML cannot take for anything but a string. */
static bool is_plain(const char *s)
{
	static const char *const special[] = { "true", "false", "null", "yes", "no", "on", "off",
					       "y", "n" };

	if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_' || *s == '/'))
		return false;
	for (const char *p = s; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || (*p && strchr("-_./", *p))))
			return false;
	for (size_t i = 0; i < countof(special); i++)
		if (slice_caseeq(slice_str(s), slice_str(special[i])))
			return false;
	return true;
}

static void string(const char *s, struct text *out)
{
	bool comma = out->comma;

	if (is_plain(s)) {
		text_adds(out, s);
		return;
	}
	out->comma = false;
	js_str(out, NULL, s);
	out->comma = comma;
}

static bool is_block(const json_t *v)
{
	return (json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v));
}

static void indent(struct text *out, unsigned depth)
{
	while (depth--)
		text_adds(out, "  ");
}

static void scalar(const json_t *v, struct text *out)
{
	out->comma = false;
	if (json_is_string(v))
		string(json_string_value(v), out);
	else
		js_node(out, NULL, v);	/* numbers, booleans, null, {} and [] */
	text_addc(out, '\n');
}

static void block(const json_t *v, unsigned depth, bool in_list, struct text *out)
{
	const json_t *item;
	const char *key;
	json_t *field;
	size_t i;

	json_array_foreach(v, i, item) {
		if (i || !in_list)
			indent(out, depth);
		text_adds(out, "- ");
		if (is_block(item))
			block(item, depth + 1, true, out);
		else
			scalar(item, out);
	}
	i = 0;
	json_object_foreach((json_t *)(uintptr_t)v, key, field) {
		if (i++ || !in_list)
			indent(out, depth);
		string(key, out);
		text_addc(out, ':');
		if (is_block(field)) {
			text_addc(out, '\n');
			block(field, depth + 1, false, out);
		} else {
			text_addc(out, ' ');
			scalar(field, out);
		}
	}
}

void print_yaml(const json_t *v, struct text *out)
{
	if (is_block(v))
		block(v, 0, false, out);
	else
		scalar(v, out);
}
