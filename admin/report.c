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

json_t *report_full(struct report *r)
{
	json_error_t e;
	struct slice s;
	json_t *all;
	int err;

	if (!fd_is_open(r->fd))
		return NULL;
	err = memfd_map_sealed(r->fd, REPORT_BYTES, &s);
	if (err < 0) {
		r->broken = true;
		snprintf(r->problem, sizeof r->problem, "cannot map it: %s", strerror(-err));
		return NULL;
	}
	all = json_loadb((const char *)s.p, s.n, 0, &e);
	memfd_unmap(&s);
	if (!json_is_object(all)) {
		r->broken = true;
		snprintf(r->problem, sizeof r->problem, "not a JSON object: %.100s",
			 all ? "" : e.text);
		json_decref(all);
		return NULL;
	}
	r->broken = false;
	r->problem[0] = 0;
	return all;
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
	all = report_full(r);
	if (all) {
		json_object_del(all, "resources");
		json_object_del(all, "objects");
		json_decref(r->brief);
		r->brief = all;
		malloc_trim(0);
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
