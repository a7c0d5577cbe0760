/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See said.h. */
#include "store/sync/said.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"

#define AGAIN_MS  1000	/* after it could not be said */
#define DENIED_MS 60000	/* after it was forbidden */

/* ---- saying it ---- */

static void say_cb(void *arg);

static void soon(struct said *s, int64_t ms)
{
	loop_timer_start(s->loop, &s->timer, ms * NS_PER_MS, 0, say_cb, s);
}

static void spread(struct said *s)
{
	if (s->text && !s->is_told && s->lease_id && !s->call && !loop_timer_is_running(&s->timer))
		soon(s, (int64_t)rand_below((uint32_t)s->spread_ms + 1));
}

static void on_said(void *arg, const struct etcd_answer *a)
{
	struct said *s = arg;

	s->call = NULL;
	if (a->status != GRPC_OK) {	/* it may not, or nobody is there */
		s->is_told = false;
		soon(s, (a->status == GRPC_PERMISSION_DENIED ? DENIED_MS : AGAIN_MS) +
				(int64_t)rand_below((uint32_t)s->spread_ms + 1));
	}
	spread(s);			/* what changed meanwhile */
}

static void say_cb(void *arg)
{
	struct said *s = arg;
	const struct etcd_op put = { .kind = ETCD_PUT, .key = slice_str(s->key),
				     .value = slice_str(s->text), .lease = s->lease_id };

	if (s->e == NULL || s->lease_id == 0 || s->call || s->is_told)
		return;
	s->call = etcd_op(s->e, &put, on_said, s);
	s->is_told = s->call != NULL;
	if (!s->is_told)
		soon(s, AGAIN_MS);
}

static void on_held(void *arg, int64_t id)
{
	struct said *s = arg;

	s->lease_id = id;
	s->is_told = false;
	posts_lease(&s->posts, id);
	spread(s);
}

static void on_lost(void *arg, const char *why)
{
	struct said *s = arg;

	(void)why;
	s->lease_id = 0;
	posts_lease(&s->posts, 0);
}

int said_init(struct said *s, struct loop *loop, const char *root, const char *node)
{
	*s = (struct said){ .loop = loop, .spread_ms = SAID_SPREAD_MS };
	if (snprintf(s->key, sizeof s->key, "%snode/%s/" SAID_KEY, root, node) >= (int)sizeof s->key)
		return -ENAMETOOLONG;
	return posts_init(&s->posts, loop, root, node);
}

void said_fini(struct said *s)
{
	said_client(s, NULL);
	posts_fini(&s->posts);
	free(s->text);
	s->text = NULL;
}

/* There is a lease once there is something to keep. */
static void want_lease(struct said *s)
{
	const struct etcd_lease_terms t = { .ttl_s = SAID_LEASE_S, .held = on_held, .lost = on_lost, .arg = s };

	if (s->e && (s->text || posts_any(&s->posts)) && !s->lease)
		s->lease = etcd_lease_new(s->e, &t);
}

void said_client(struct said *s, struct etcd *e)
{
	loop_timer_stop(s->loop, &s->timer);
	etcd_call_cancel(&s->call);
	posts_client(&s->posts, e);
	etcd_lease_free(&s->lease, false);	/* a host that restarts says the same again before it ends */
	s->lease_id = 0;
	s->is_told = false;
	s->e = e;
	want_lease(s);
}

void said_text(struct said *s, char **text)
{
	if (*text && s->text && strcmp(*text, s->text) == 0) {
		free(*text);
	} else if (*text) {
		free(s->text);
		s->text = *text;
		s->is_told = false;
	}
	*text = NULL;
	want_lease(s);
	spread(s);
}

int said_post(struct said *s, const char *ns, const char *pod, const char *text)
{
	int r = posts_set(&s->posts, ns, pod, text);

	want_lease(s);
	return r;
}

/* ---- what there is to say ---- */

static const char *text_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* The first condition that is False, anywhere in a status. */
static const json_t *bad_condition(const json_t *v)
{
	const json_t *bad = NULL;
	const char *key;
	json_t *x;
	size_t i;

	if (json_is_object(v) && strcmp(text_at(v, "status"), "False") == 0 && json_object_get(v, "type"))
		return v;
	json_object_foreach((json_t *)(uintptr_t)v, key, x)
		if (!bad && (json_is_object(x) || json_is_array(x)))
			bad = bad_condition(x);
	json_array_foreach(v, i, x)
		if (!bad)
			bad = bad_condition(x);
	return bad;
}

static json_t *problem_of(const json_t *resource)
{
	const json_t *bad = bad_condition(json_object_get(resource, "status"));

	if (!bad)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "kind", text_at(resource, "kind"), "namespace",
			 text_at(resource, "namespace"), "name", text_at(resource, "name"), "generation",
			 json_integer_value(json_object_get(resource, "generation")), "type",
			 text_at(bad, "type"), "reason", text_at(bad, "reason"));
}

/* One line of the report is one resource; most have nothing False, and cost a look. */
char *said_of_report(struct slice report, const char *node)
{
	static const char start[] = "{\"kind\":";
	json_t *problems = json_array(), *all;
	json_int_t more = 0;
	char *text;

	while (report.n) {
		const uint8_t *nl = memchr(report.p, '\n', report.n);
		size_t n = nl ? (size_t)(nl - report.p) + 1 : report.n;
		const char *at = memmem(report.p, n, "\"status\":\"False\"", 16)
					 ? memmem(report.p, n, start, sizeof start - 1) : NULL;
		json_t *o = at ? json_loadb(at, n - (size_t)(at - (const char *)report.p),
					    JSON_DISABLE_EOF_CHECK, NULL) : NULL;
		json_t *p = problem_of(o);

		if (p && json_array_size(problems) < SAID_PROBLEMS)
			json_array_append(problems, p);
		else if (p)
			more++;
		json_decref(p);
		json_decref(o);
		report = slice_from(report, n);
	}
	all = json_pack("{s:s, s:I, s:o}", "node", node, "more", more, "problems", problems);
	text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(all);
	return text;
}
