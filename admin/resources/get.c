/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* get: documents as the registry has them, and what hosts say of them.  See resources.h. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/resources/reach.h"
#include "admin/resources/resources.h"

static bool collect(void *arg, const struct registry_key *k, const struct registry_value *v)
{
	return json_array_append_new(arg, resources_document(k, v)) == 0;
}

static enum registry_error read_one(struct registry *r, const struct registry_key *k, json_t *list, int *code)
{
	struct registry_value v;
	enum registry_error e = registry_get(r, k, &v);

	if (e == REGISTRY_DONE && v.version)
		collect(list, k, &v);
	else if (e == REGISTRY_DONE)
		*code = say_error(EXIT_REFUSED, "there is no %s %s%s%s in the registry", k->kind, k->ns,
				  k->ns[0] ? "/" : "", k->name);
	registry_value_fini(&v);
	return e;
}

/* ---- what hosts say ---- */

#define SAID_MAX (64u << 10)	/* of one host; more is none of ours */

struct heard {
	json_t *documents;	/* each gets "problems", of those that were said */
	json_int_t hosts;
};

static const char *text_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is_about(const json_t *document, const json_t *problem)
{
	return strcmp(text_at(document, "kind"), text_at(problem, "kind")) == 0 &&
	       strcmp(text_at(document, "namespace"), text_at(problem, "namespace")) == 0 &&
	       strcmp(text_at(document, "name"), text_at(problem, "name")) == 0;
}

static void note(json_t *document, const char *node, const json_t *problem)
{
	json_t *list = json_object_get(document, "problems");

	if (!list) {
		list = json_array();
		json_object_set_new(document, "problems", list);
	}
	json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:s}", "node", node, "generation",
					      json_integer_value(json_object_get(problem, "generation")), "type",
					      text_at(problem, "type"), "reason", text_at(problem, "reason")));
}

static bool hear(void *arg, const char *node, struct slice said)
{
	struct heard *h = arg;
	json_t *o = said.n <= SAID_MAX ? json_loadb((const char *)said.p, said.n, 0, NULL) : NULL, *p, *d;
	size_t i, k;

	h->hosts += json_is_array(json_object_get(o, "problems"));
	json_array_foreach(json_object_get(o, "problems"), i, p)
		json_array_foreach(h->documents, k, d)
			if (is_about(d, p))
				note(d, node, p);
	json_decref(o);
	return true;
}

/* One line for a table: "2 of 3 hosts: host-b: Accepted=False (NoMatchingParent), ..." */
static json_t *hosts_words(const json_t *document, json_int_t hosts)
{
	const json_t *list = json_object_get(document, "problems"), *p;
	char words[300];
	size_t i, n = 0;

	if (!json_array_size(list))
		return json_sprintf("%lld ok", (long long)hosts);
	n = (size_t)snprintf(words, sizeof words, "%zu of %lld not:", json_array_size(list), (long long)hosts);
	json_array_foreach(list, i, p)
		if (n < sizeof words)
			n += (size_t)snprintf(words + n, sizeof words - n, "%s %.60s: %.40s=False (%.40s)", i ? "," : "",
					      text_at(p, "node"), text_at(p, "type"), text_at(p, "reason"));
	return json_string(words);
}

/* Slices have no conditions, so nobody says anything of them. */
static void add_hosts(struct registry *r, json_t *documents, bool one)
{
	struct heard h = { .documents = documents };
	json_t *d;
	size_t i;

	if (!r->ops->hosts || r->ops->hosts(r, hear, &h) != REGISTRY_DONE || h.hosts == 0)
		return;		/* whoever may not read below node/ does not see it */
	json_array_foreach(documents, i, d) {
		json_t *problems = json_object_get(d, "problems"), *object = json_object_get(d, "object");

		if (strcmp(text_at(d, "kind"), "EndpointSlice") == 0)
			continue;
		json_object_set_new(d, "hosts", hosts_words(d, h.hosts));
		if (one && json_is_object(object))
			json_object_set_new(object, "status", json_pack("{s:I, s:o}", "hosts", h.hosts, "problems",
					    problems ? json_incref(problems) : json_array()));
		json_object_del(d, "problems");
	}
}

json_t *resources_get(const struct options *o, int *code)
{
	struct registry_key k;
	struct registry *r;
	struct knobs *knobs;
	json_t *list;
	enum registry_error e;

	*code = resources_key(o, &k);
	if (*code >= 0)
		return NULL;
	*code = EXIT_DONE;
	knobs = resources_knobs(o, options_value(o, "--registry") == NULL, code);
	r = knobs ? reach_registry(o, knobs, false, code) : NULL;
	free(knobs);
	if (!r)
		return NULL;
	list = json_array();
	e = k.name[0] ? read_one(r, &k, list, code)
		      : registry_list(r, k.kind, options_value(o, "-n"), collect, list);
	if (e != REGISTRY_DONE)
		*code = say_error(e == REGISTRY_AWAY ? EXIT_AWAY : EXIT_REFUSED, "%s: %s", r->problem,
				  registry_todo(e));
	if (e == REGISTRY_DONE)
		add_hosts(r, list, k.name[0]);
	registry_close(&r);
	list = resources_sorted(list);
	if (*code == EXIT_DONE)
		return json_pack("{s:o}", "documents", list);
	json_decref(list);
	return NULL;
}
