/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See report.h. */
#include "admin/report.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/memfd.h"

void report_fini(struct report *r)
{
	fd_close(&r->fd);
	json_decref(r->brief);
	*r = report_none();
}

void report_put(struct report *r, struct fd *fd)
{
	fd_close(&r->fd);
	r->fd = fd_take(fd);
	r->parsed = false;
}

static json_t *broken(struct report *r, const char *what, const char *why)
{
	r->broken = true;
	snprintf(r->problem, sizeof r->problem, "%s: %.100s", what, why);
	return NULL;
}

/* The last line of the text; all of it when it has one only. */
static struct slice last_line(struct slice s)
{
	const uint8_t *at;

	while (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	at = s.n ? memrchr(s.p, '\n', s.n) : NULL;
	return at ? slice_from(s, (size_t)(at + 1 - s.p)) : s;
}

/* NULL: r->problem says why. */
static json_t *parse(struct report *r, bool brief)
{
	struct slice s, line;
	json_error_t e = { .text = "" };
	json_t *all, *more;
	int err;

	if (!fd_is_open(r->fd))
		return NULL;
	err = memfd_map_sealed(r->fd, REPORT_BYTES, &s);
	if (err < 0)
		return broken(r, "cannot map it", strerror(-err));
	line = last_line(s);
	all = json_loadb((const char *)line.p, line.n, 0, &e);
	if (!brief && json_is_object(all) && line.p != s.p) {
		more = json_loadb((const char *)s.p, (size_t)(line.p - s.p), 0, &e);
		if (json_is_object(more)) {
			json_object_update_missing(all, more);
		} else {
			json_decref(all);
			all = NULL;
		}
		json_decref(more);
	}
	memfd_unmap(&s);
	if (!json_is_object(all)) {
		broken(r, "not a JSON object", all ? "" : e.text);
		json_decref(all);
		return NULL;
	}
	r->broken = false;
	r->problem[0] = 0;
	return all;
}

json_t *report_full(struct report *r)
{
	return parse(r, false);
}

void report_drop(json_t *all)
{
	json_decref(all);
	malloc_trim(0);
}

const json_t *report_brief(struct report *r)
{
	json_t *all;

	if (r->parsed)
		return r->brief;
	r->parsed = true;
	all = parse(r, true);
	if (all) {
		json_object_del(all, "resources");
		json_decref(r->brief);
		r->brief = all;
		malloc_trim(0);		/* also what other answers left */
	}
	return r->brief;
}

const char *jget_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

uint64_t jget_u64(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? (uint64_t)v : 0;
}

bool jget_bool(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

const json_t *jget_array(const json_t *o, const char *key)
{
	const json_t *a = json_object_get(o, key);

	return json_is_array(a) ? a : NULL;
}
