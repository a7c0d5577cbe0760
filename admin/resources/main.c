/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-resources: see resources.h.  This file turns words into a command and its answer into text.
 *
 * A program of its own because it links what reads documents, registries and the store.  Exit codes as
 * nodeproxyctl's: 0 done, 1 refused or not found, 2 usage, 3 the registry, or the daemon that was to be
 * waited for, cannot be reached. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "admin/cli/call.h"
#include "admin/cli/print.h"
#include "admin/resources/resources.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/rand.h"

enum format { TABLE, YAML, JSON };

static const char *text_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void add_json(const json_t *v, struct text *out)
{
	char *dump = json_dumps(v, JSON_INDENT(2));

	if (dump)
		text_adds(out, dump);
	text_addc(out, '\n');
	free(dump);
}

static void add_object(const json_t *v, enum format f, struct text *out)
{
	if (f == JSON)
		add_json(v, out);
	else
		print_yaml(v, out);
}

/* Documents, as apply -f and a file source take them. */
static void show_documents(const json_t *list, enum format f, struct text *out)
{
	const json_t *d;
	size_t i, any = 0;

	json_array_foreach(list, i, d) {
		const json_t *object = json_object_get(d, "object");

		if (!json_is_object(object))
			continue;
		if (any++)
			text_adds(out, "---\n");
		add_object(object, f, out);
	}
}

/* One JSON value, as programs want it: kubectl's List. */
static void show_list(const json_t *list, struct text *out)
{
	json_t *items = json_array(), *all;
	const json_t *d;
	size_t i;

	json_array_foreach(list, i, d)
		if (json_is_object(json_object_get(d, "object")))
			json_array_append(items, json_object_get(d, "object"));
	all = json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items);
	add_json(all, out);
	json_decref(all);
}

/* One line for each object. */
static void show_changes(const json_t *answer, struct text *out)
{
	const json_t *c;
	size_t i;

	json_array_foreach(json_object_get(answer, "changes"), i, c) {
		const char *ns = text_at(c, "namespace"), *where = text_at(c, "where");
		const char *state = text_at(c, "state");

		print_clean(out, text_at(c, "kind"));
		text_addc(out, ' ');
		print_clean(out, ns);
		if (ns[0])
			text_addc(out, '/');
		print_clean(out, text_at(c, "name"));
		text_addc(out, ' ');
		print_clean(out, text_at(c, "result"));
		if (json_is_true(json_object_get(answer, "dry_run")))
			text_adds(out, " (dry run)");
		if (where[0]) {
			text_adds(out, " (");
			print_clean(out, where);
			text_addc(out, ')');
		}
		if (state[0]) {
			text_adds(out, ": ");
			print_clean(out, state);
		}
		text_addc(out, '\n');
	}
}

static void show_check(const json_t *answer, struct text *out)
{
	json_t *flat = json_copy((json_t *)(uintptr_t)answer);
	const json_t *problems = json_object_get(answer, "problems");

	json_object_del(flat, "problems");
	print_object(flat, clock_unix_ms(), out);
	if (json_array_size(problems))
		text_addc(out, '\n');
	print_list(problems, clock_unix_ms(), out);
	json_decref(flat);
}

/* Without what only programs want. */
static void show_table(const json_t *documents, struct text *out)
{
	json_t *d;
	size_t i;

	json_array_foreach(documents, i, d)
		json_object_del(d, "object");
	if (json_array_size(documents) == 0)
		text_adds(out, "no documents\n");
	print_list(documents, clock_unix_ms(), out);
}

static void show(const struct options *o, enum format f, json_t *answer, struct text *out)
{
	const json_t *documents = json_object_get(answer, "documents");

	if (o->what == LOCAL_store_export)
		show_documents(documents, f == TABLE ? YAML : f, out);
	else if (o->what == LOCAL_get && f == TABLE)
		show_table(documents, out);
	else if (o->what == LOCAL_get && f == JSON && !options_value(o, "[[NAMESPACE/]NAME]"))
		show_list(documents, out);
	else if (o->what == LOCAL_get)
		show_documents(documents, f, out);
	else if (f != TABLE)
		add_object(answer, f, out);
	else if (o->what == LOCAL_store_check)
		show_check(answer, out);
	else
		show_changes(answer, out);
}

static bool format_of(const struct options *o, enum format *ret)
{
	static const char *const names[] = { [TABLE] = "table", [YAML] = "yaml", [JSON] = "json" };
	const char *asked = options_value(o, "-o");

	*ret = TABLE;
	for (unsigned i = 0; asked && i < countof(names); i++)
		if (strcmp(asked, names[i]) == 0) {
			*ret = (enum format)i;
			return true;
		}
	return asked == NULL;
}

int main(int argc, char **argv)
{
	static json_t *(*const does[LOCALS])(const struct options *, int *) = {
		[LOCAL_apply] = resources_apply, [LOCAL_delete] = resources_delete,
		[LOCAL_get] = resources_get, [LOCAL_store_check] = resources_store_check,
		[LOCAL_store_export] = resources_store_export,
	};
	struct text out = text_of(CALL_ANSWER_BYTES * 4ull);
	struct options o;
	enum format format;
	json_t *answer;
	int code;

	rand_init();
	code = options_read(argc, argv, "nodeproxy-resources", &o);
	if (code >= 0)
		return code;
	if (!format_of(&o, &format))
		return options_wrong("the format is table, yaml or json, not ", options_value(&o, "-o"));
	code = EXIT_DONE;
	answer = does[o.what](&o, &code);
	if (answer)
		show(&o, format, answer, &out);
	if (out.cut)
		code = say_error(EXIT_REFUSED, "there is more than can be printed");
	if (out.n && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0))
		code = code == EXIT_DONE ? EXIT_REFUSED : code;
	json_decref(answer);
	text_fini(&out);
	return code;
}
