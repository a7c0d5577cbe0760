/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See change.h. */
#include "store/registry/change.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static json_t *load(const char *json)
{
	return json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
}

/* Equal in everything but metadata. */
static bool same_outside_metadata(json_t *a, json_t *b)
{
	json_t *x = json_copy(a), *y = json_copy(b);
	bool same;

	json_object_del(x, "metadata");
	json_object_del(y, "metadata");
	same = x && y && json_equal(x, y);
	json_decref(x);
	json_decref(y);
	return same;
}

static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) < 0 ? -ENOMEM : 0;
}

static int put_new(json_t *meta, int64_t now_unix_ms)
{
	time_t s = (time_t)(now_unix_ms / 1000);
	char text[32];
	struct tm tm;
	int r = 0;

	gmtime_r(&s, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (json_object_get(meta, "creationTimestamp") == NULL)
		r = put(meta, "creationTimestamp", json_string(text));
	if (r == 0 && json_integer_value(json_object_get(meta, "generation")) == 0)
		r = put(meta, "generation", json_integer(1));
	return r;
}

static int put_history(json_t *w, json_t *h)
{
	json_t *meta = json_object_get(w, "metadata"), *was = json_object_get(h, "metadata");
	json_t *created = json_object_get(was, "creationTimestamp");
	json_int_t g = json_integer_value(json_object_get(was, "generation"));
	bool same = same_outside_metadata(w, h);
	int r = 0;

	if (created)
		r = json_object_set(meta, "creationTimestamp", created) < 0 ? -ENOMEM : 0;
	else
		json_object_del(meta, "creationTimestamp");
	if (!same && g < INT64_MAX)
		g++;
	if (g)
		return r < 0 ? r : put(meta, "generation", json_integer(g));
	json_object_del(meta, "generation");
	return r;
}

int change_make(const struct row *want, const struct registry_value *have, const char *vip,
		int64_t now_unix_ms, struct change *ret)
{
	json_t *w = load(want->json), *h = load(have->json);
	json_t *meta = json_object_get(w, "metadata");
	struct refusal *refusal = NULL;
	char *text = NULL;
	int r = meta && (h || have->json == NULL) ? 0 : -ENOMEM;

	*ret = (struct change){ 0 };
	if (r == 0 && vip)
		r = put(json_object_get(w, "spec"), "clusterIP", json_string(vip));
	if (r == 0 && h)
		r = put_history(w, h);
	else if (r == 0 && have->version == 0)
		r = put_new(meta, now_unix_ms);
	if (r == 0 && (text = json_dumps(w, JSON_COMPACT | JSON_SORT_KEYS)) == NULL)
		r = -ENOMEM;
	if (r == 0)	/* once more: what is written is what was judged */
		r = resource_json(want->source, want->line, slice_str(text), &ret->row, &refusal);
	if (r == 0 && ret->row == NULL)
		r = -EINVAL;
	if (r == 0)
		ret->result = have->version == 0 ? CHANGE_CREATED
			    : have->json && strcmp(have->json, ret->row->json) == 0
				    ? CHANGE_UNCHANGED : CHANGE_CONFIGURED;
	refusal_free(&refusal);
	free(text);
	json_decref(w);
	json_decref(h);
	return r;
}

bool change_wants_vip(const struct row *r)
{
	return r->kind == ROW_SERVICE && !r->service.headless && r->service.n_ports &&
	       r->service.cluster_ip[0].family == 0;
}

bool change_vip_of(const struct registry_value *v, char *ret, size_t room)
{
	json_t *o = load(v->json);
	const char *ip = json_string_value(json_object_get(json_object_get(o, "spec"), "clusterIP"));
	struct addr a;
	bool any = ip && addr_parse_ip(slice_str(ip), &a) == 0;

	if (any)
		snprintf(ret, room, "%s", ip);
	json_decref(o);
	return any;
}

struct registry_key change_key(const struct row *r, char group[CHANGE_GROUP])
{
	return (struct registry_key){ resource_group(r->kind, group, CHANGE_GROUP), row_kind_name(r->kind), r->ns, r->name };
}
