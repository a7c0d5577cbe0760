/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* store check and store export: what this host has kept, whether its daemon runs or not.  See
 * resources.h, snapshot.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/resources/resources.h"
#include "admin/resources/snapshot.h"
#include "store/db/query.h"
#include "store/resource/resource.h"
#include "store/sync/keep.h"
#include "store/sync/model.h"

#define VIEW_SLICE_US 1000000

struct store {
	struct knobs *knobs;
	struct snapshot copy;
	struct keep keep;
	uint64_t rev;
};

static void store_close(struct store *s)
{
	keep_close(&s->keep);
	snapshot_close(&s->copy);
	free(s->knobs);
}

/* Opens a copy; false: said why not.  store_close is due in both cases. */
static bool store_open(const struct options *o, struct store *s, int *code)
{
	const char *dir = options_value(o, "--dir");
	char problem[512];
	int r;

	*s = (struct store){ .copy.dir = -1, .keep.dir = -1 };
	s->knobs = resources_knobs(o, dir == NULL, code);
	if (s->knobs == NULL)
		return false;
	dir = dir ? dir : s->knobs->state_dir;
	r = snapshot_take(&s->copy, dir, problem);
	if (r < 0) {
		*code = say_error(EXIT_REFUSED, r == -EACCES ? "%s: only root and the store's own account may "
				  "read it" : "%s", problem);
		return false;
	}
	r = keep_open(&s->keep, s->copy.dir);
	snapshot_remove(&s->copy);
	if (r == 0 && !s->keep.found.fresh)
		r = db_meta(s->keep.db, "rev", &s->rev);
	if (r == 0 && !s->keep.found.fresh)
		return true;
	*code = say_error(EXIT_REFUSED, "%s/store.db: %s\nnodeproxy would move it aside and take everything from "
			  "its source", dir, s->keep.found.why[0] ? s->keep.found.why : s->keep.problem[0] ?
			  s->keep.problem : "it is empty");
	return false;
}

static json_t *text_of_slice(struct slice s)
{
	json_t *v = json_stringn((const char *)s.p, s.n);

	return v ? v : json_string("?");	/* no UTF-8 */
}

static char *dup_text(struct slice s)
{
	return s.n ? strndup((const char *)s.p, s.n) : strdup("");
}

static bool is_as_stored(const struct db_resource *d)
{
	uint8_t digest[32];

	resource_digest(d->json, digest);
	return memcmp(digest, d->digest, sizeof digest) == 0;
}

/* ---- check ---- */

struct checking {
	json_t *problems;
	json_int_t documents;
};

static void add_problem(json_t *list, const struct db_resource *d, const char *field, const char *reason)
{
	json_t *p = json_object();

	json_object_set_new(p, "kind", d ? text_of_slice(d->kind) : json_null());
	json_object_set_new(p, "namespace", d ? text_of_slice(d->ns) : json_null());
	json_object_set_new(p, "name", d ? text_of_slice(d->name) : json_null());
	json_object_set_new(p, "source", d ? text_of_slice(d->source) : json_null());
	json_object_set_new(p, "line", d ? json_integer(d->line) : json_null());
	json_object_set_new(p, "field", json_string(field));
	json_object_set_new(p, "reason", json_string(reason));
	json_array_append_new(list, p);
}

static int check_row(void *arg, const struct db_resource *d)
{
	struct checking *c = arg;
	struct refusal *refusal = NULL;
	struct row *row = NULL;
	int r;

	c->documents++;
	if (!is_as_stored(d)) {
		add_problem(c->problems, d, "", "its text is not what was stored");
		return 0;
	}
	r = resource_json("store", d->line, d->json, &row, &refusal);
	if (r == 0 && refusal)
		add_problem(c->problems, d, refusal->field, refusal->reason);
	else if (r == 0 && !(slice_eq(slice_str(row_kind_name(row->kind)), d->kind) &&
			     slice_eq(slice_str(row->ns), d->ns) && slice_eq(slice_str(row->name), d->name)))
		add_problem(c->problems, d, "", "it is stored under another's name");
	row_free(&row);
	refusal_free(&refusal);
	return r;
}

/* A view of the whole, as workers would be given it, read as they would.  Returns words, NULL: it is
 * good; takes the store's rows (keep_load). */
static const char *try_view(struct store *s, json_int_t *ret_bytes)
{
	static char words[300];
	struct keep_loaded loaded;
	struct built built = { .fd = FD_NONE };
	struct view *view = NULL;
	struct model m;
	int r = model_init(&m, s->knobs->domain, s->knobs->service_cidr, s->knobs->zone);

	words[0] = 0;
	if (r < 0)
		return strerror(-r);
	r = keep_load(&s->keep, &m, &loaded);
	if (r < 0)
		snprintf(words, sizeof words, "%.250s", s->keep.problem);
	if (r == 0) {
		bool any = model_settle(&m);	/* none: an empty view is one, too */

		(void)any;
		r = m.shortages ? -ENOMEM : builder_commit(m.builder, max_of(s->rev, (uint64_t)1), &built);
	}
	if (r == 0)
		r = view_open_base(&built.fd, built.rev, &view);
	while (r == 0 && (r = view_check_step(view, VIEW_SLICE_US)) == 0)
		;
	if (r < 0 && !words[0])
		snprintf(words, sizeof words, "no view can be made of it: %.200s",
			 r == -EBADMSG ? view_problem(view) : strerror(-r));
	*ret_bytes = (json_int_t)built.bytes;
	if (view)
		view_unref(view);
	fd_close(&built.fd);
	model_fini(&m);
	return words[0] ? words : NULL;
}

json_t *resources_store_check(const struct options *o, int *code)
{
	struct checking c = { .problems = json_array() };
	json_int_t bytes = 0;
	json_t *ret = NULL;
	struct store s;

	if (store_open(o, &s, code)) {
		const char *why = NULL;
		int r = db_each_resource(s.keep.db, check_row, &c);

		if (r < 0)
			add_problem(c.problems, NULL, "", r == -ENOMEM ? "out of memory" : s.keep.db->problem);
		else if (json_array_size(c.problems) == 0)	/* else the view would lack them */
			why = try_view(&s, &bytes);
		if (why)
			add_problem(c.problems, NULL, "", why);
		if (json_array_size(c.problems))
			*code = EXIT_REFUSED;
		ret = json_pack("{s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "ok", *code == EXIT_DONE,
				"state_dir", options_value(o, "--dir") ? options_value(o, "--dir")
								       : s.knobs->state_dir,
				"schema", (json_int_t)DB_VERSION, "rev", (json_int_t)s.rev, "documents",
				c.documents, "store_bytes", (json_int_t)s.copy.bytes, "log_bytes",
				(json_int_t)s.copy.log_bytes, "view_bytes", bytes, "problems", c.problems);
	}
	json_decref(c.problems);
	store_close(&s);
	return ret;
}

/* ---- export ---- */

struct exporting {
	json_t *documents;
	const char *kind, *ns;	/* NULL: all */
	int code;
};

static int export_row(void *arg, const struct db_resource *d)
{
	struct exporting *e = arg;
	struct registry_value v = { .version = 1 };
	struct registry_key k = { .group = "" };
	char *kind = dup_text(d->kind), *ns = dup_text(d->ns), *name = dup_text(d->name);
	int r = kind && ns && name ? 0 : -ENOMEM;

	if (r == 0 && (!e->kind || strcmp(e->kind, kind) == 0) && (!e->ns || strcmp(e->ns, ns) == 0)) {
		k.kind = kind;
		k.ns = ns;
		k.name = name;
		v.json = dup_text(d->json);
		if (!is_as_stored(d))
			e->code = say_error(EXIT_REFUSED, "%s %s%s%s: left out, its text is not what was "
					    "stored", kind, ns, ns[0] ? "/" : "", name);
		else if (v.json)
			json_array_append_new(e->documents, resources_document(&k, &v));
		else
			r = -ENOMEM;
	}
	registry_value_fini(&v);
	free(kind);
	free(ns);
	free(name);
	return r;
}

json_t *resources_store_export(const struct options *o, int *code)
{
	struct exporting e = { .ns = options_value(o, "-n"), .documents = json_array() };
	struct registry_key k;
	json_t *ret = NULL;
	struct store s;

	*code = resources_key(o, &k);
	if (*code >= 0)
		return NULL;
	*code = EXIT_DONE;
	e.kind = k.kind;
	if (store_open(o, &s, code)) {
		int r = db_each_resource(s.keep.db, export_row, &e);

		if (r < 0)
			*code = say_error(EXIT_REFUSED, "the store cannot be read: %s",
					  r == -ENOMEM ? "out of memory" : s.keep.db->problem);
		else
			*code = e.code;
		e.documents = resources_sorted(e.documents);
		ret = json_pack("{s:O}", "documents", e.documents);
	}
	json_decref(e.documents);
	store_close(&s);
	return ret;
}
