/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* JSON to the tree of doc.h, over jansson.
 *
 * jansson checks the grammar, UTF-8 and equal keys, and remembers no lines; the limits of doc.h
 * are checked before it sees a byte (size, depth) and while its tree is copied (nodes). */
#include "nodeproxy/lib/doc/doc.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"

static int wrong(struct doc_error *e, uint32_t line, const char *text)
{
	e->line = line;
	doc_clean(slice_str(text), e->text, sizeof e->text);
	return -EINVAL;
}

/* How deep brackets nest outside strings; jansson recurses, so this comes first. */
static unsigned depth_of(struct slice s)
{
	unsigned depth = 0, most = 0;
	bool quoted = false;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (quoted) {
			i += c == '\\';
			quoted = c != '"';
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			depth++;
			most = max_of(most, depth);
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return most;
}

static int copy(struct doc *d, json_t *from, uint32_t line, struct doc_node **ret);

static int copy_members(struct doc *d, json_t *from, struct doc_node *n)
{
	const struct doc_node *twice;
	struct doc_node *m;
	const char *key;
	json_t *v;
	size_t i;
	int e;

	if (n->type == DOC_LIST) {
		json_array_foreach(from, i, v) {
			e = copy(d, v, n->line, &m);
			if (e < 0)
				return e;
			doc_append(n, m);
		}
		return 0;
	}
	json_object_foreach(from, key, v) {
		e = copy(d, v, n->line, &m);
		if (e == 0)
			e = doc_text(d, slice_str(key), &m->key);
		if (e < 0)
			return e;
		doc_append(n, m);
	}
	return doc_seal(d, n, &twice);
}

/* Bounded by depth_of(). */
static int copy(struct doc *d, json_t *from, uint32_t line, struct doc_node **ret)
{
	char num[40] = "";
	struct slice text = slice_str(num);
	enum doc_type type = DOC_NULL;
	struct doc_node *n;

	switch (json_typeof(from)) {
	case JSON_OBJECT:
		type = DOC_MAP;
		break;
	case JSON_ARRAY:
		type = DOC_LIST;
		break;
	case JSON_STRING:
		type = DOC_STR;
		text = slice_of(json_string_value(from), json_string_length(from));
		break;
	case JSON_INTEGER:
		type = DOC_INT;
		snprintf(num, sizeof num, "%lld", (long long)json_integer_value(from));
		break;
	case JSON_REAL:
		type = DOC_NUMBER;
		snprintf(num, sizeof num, "%.17g", json_real_value(from));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		type = DOC_BOOL;
		snprintf(num, sizeof num, "%s", json_is_true(from) ? "true" : "false");
		break;
	case JSON_NULL:
		break;
	}
	if (d->nodes >= DOC_NODES_MAX)
		return -E2BIG;
	n = doc_node_new(d, type, line);
	if (n == NULL)
		return -ENOMEM;
	*ret = n;
	if (type == DOC_MAP || type == DOC_LIST)
		return copy_members(d, from, n);
	if (type == DOC_INT)
		n->number = json_integer_value(from);
	n->boolean = json_is_true(from);
	return doc_text(d, type == DOC_STR ? text : slice_str(num), &n->text);
}

/* Jansson calls a text that it had no memory for an "invalid token", and goes on without a byte that
 * its buffer did not take ("v1alpha1" was read as "valpha1").  So we look ourselves. */
static bool out_of_memory;

static void *take(size_t n)
{
	void *p = malloc(n);

	out_of_memory |= p == NULL;
	return p;
}

int doc_json(struct slice bytes, uint32_t line, struct doc *ret, struct doc_error *err)
{
	static bool seeded;
	json_error_t je;
	char text[DOC_ERROR];
	json_t *j;
	int e;

	*ret = (struct doc){ .line = line };
	if (bytes.n > DOC_BYTES_MAX)
		return wrong(err, line, "a document of more than 1048576 bytes");
	if (depth_of(bytes) > DOC_DEPTH_MAX)
		return wrong(err, line, "nested deeper than 32");
	if (!seeded) {		/* else jansson opens /dev/urandom, which a sandbox forbids */
		json_object_seed(rand_u32() | 1);
		json_set_alloc_funcs(take, free);
		seeded = true;
	}
	out_of_memory = false;
	j = json_loadb((const char *)bytes.p, bytes.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (out_of_memory) {
		json_decref(j);
		return -ENOMEM;
	}
	if (j == NULL) {
		if (json_error_code(&je) == json_error_out_of_memory)
			return -ENOMEM;
		snprintf(text, sizeof text, "not JSON: %s, column %d", je.text, je.column);
		return wrong(err, line + (je.line > 0 ? (uint32_t)je.line - 1 : 0), text);
	}
	e = copy(ret, j, line, &ret->root);
	json_decref(j);
	if (e == -E2BIG)
		return wrong(err, line, "more than 100000 values in one document");
	return e;
}
