/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* get: documents as the registry has them.  See resources.h. */
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
	registry_close(&r);
	list = resources_sorted(list);
	if (*code == EXIT_DONE)
		return json_pack("{s:o}", "documents", list);
	json_decref(list);
	return NULL;
}
