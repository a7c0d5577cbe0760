/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resource.h: from bytes to rows and refusals, document by document. */
#include "store/resource/resource.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/resource/make.h"

#define DEFAULT_NAMESPACE "default"

void refusal_free(struct refusal **r)
{
	if (*r == NULL)
		return;
	free((*r)->source);
	free((*r)->field);
	free((*r)->reason);
	free((*r)->kind);
	free((*r)->ns);
	free((*r)->name);
	free(*r);
	*r = NULL;
}

const char *refusal_text(const struct refusal *r, char *out, size_t room)
{
	snprintf(out, room, "%s:%u: %s%s%s", r->source, r->line, r->field, r->field[0] ? ": " : "",
		 r->reason);
	return out;
}

void resource_digest(struct slice json, uint8_t ret[32])
{
	SHA256(json.p, json.n, ret);
}

char *make_text(const struct doc_node *map, const char *field, const char *def)
{
	const struct doc_node *n = doc_get(map, field);

	return strdup(n ? (const char *)n->text.p : def);
}

int64_t make_number(const struct doc_node *map, const char *field, int64_t def)
{
	const struct doc_node *n = doc_get(map, field);

	return n ? n->number : def;
}

uint32_t make_duration(const struct doc_node *map, const char *field, uint32_t def)
{
	const struct doc_node *n = doc_get(map, field);
	uint32_t ms;

	return n && schema_duration(n->text, &ms) ? ms : def;
}

bool make_flag(const struct doc_node *map, const char *field, bool def)
{
	const struct doc_node *n = doc_get(map, field);

	return n ? n->boolean : def;
}

struct slice make_slice_of(const struct doc_node *map, const char *field)
{
	const struct doc_node *n = doc_get(map, field);

	return n ? n->text : (struct slice){ 0 };
}

int make_must_be_service(struct judge *j, const struct doc_node *ref, const char *where)
{
	const struct doc_node *group = doc_get(ref, "group"), *kind = doc_get(ref, "kind");
	char seen[64];

	judge_field(j, "%s.kind", where);
	if (kind && !slice_eq(kind->text, SLICE("Service")))
		return judge_refuse(j, kind->line, "%s is not supported by this release: only Service",
				    doc_clean(kind->text, seen, sizeof seen));
	judge_field(j, "%s.group", where);
	if (group && group->text.n)
		return judge_refuse(j, group->line, "must be \"\", the group of Service, not \"%s\"",
				    doc_clean(group->text, seen, sizeof seen));
	return 0;
}

enum row_protocol make_protocol(const struct doc_node *map)
{
	struct slice s = make_slice_of(map, "protocol");

	return slice_eq(s, SLICE("UDP")) ? ROW_UDP : slice_eq(s, SLICE("SCTP")) ? ROW_SCTP : ROW_TCP;
}

/* ASCII of one line for the refusal, whatever was in the document. */
static char *clean(struct slice s)
{
	char buf[256];

	return strdup(doc_clean(s, buf, sizeof buf));
}

static struct slice text_of(const struct doc_node *n)
{
	return n && n->type == DOC_STR ? n->text : (struct slice){ 0 };
}

/* Whose document it is, from whatever could be read of it. */
static int new_refusal(const char *source, const struct judge *j, const struct doc *d, bool broken,
		       struct refusal **ret)
{
	const struct doc_node *meta = doc_get(d->root, "metadata");
	struct slice kind = text_of(doc_get(d->root, "kind")), name = text_of(doc_get(meta, "name"));
	struct slice ns = text_of(doc_get(meta, "namespace"));
	struct refusal *r = calloc(1, sizeof *r);

	if (r == NULL)
		return -ENOMEM;
	for (unsigned i = 0; !broken && ns.n == 0 && name.n && schema_kind_at(i); i++)
		if (schema_kind_at(i)->namespaced && slice_eq(kind, slice_str(schema_kind_at(i)->kind)))
			ns = SLICE(DEFAULT_NAMESPACE);
	r->broken = broken;
	r->source = strdup(source);
	r->line = j->line ? j->line : d->line ? d->line : 1;
	r->generation = make_number(meta, "generation", 0);
	r->doc_line = d->line ? d->line : r->line;
	r->field = strdup(j->field);
	r->reason = clean(slice_str(j->reason));
	r->kind = clean(kind);
	r->ns = clean(ns);
	r->name = clean(name);
	if (!r->source || !r->field || !r->reason || !r->kind || !r->ns || !r->name) {
		refusal_free(&r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

static int make(struct judge *j, const struct doc_node *root, struct row *r)
{
	switch (r->kind) {
	case ROW_NAMESPACE:
		return make_namespace(j, root, r);
	case ROW_TENANT:
		return make_tenant(j, root, r);
	case ROW_SERVICE:
		return make_service(j, root, r);
	case ROW_SLICE:
		return make_slice(j, root, r);
	case ROW_GRANT:
		return make_grant(j, root, r);
	case ROW_HTTPROUTE:
	case ROW_GRPCROUTE:
	case ROW_TLSROUTE:
	case ROW_TCPROUTE:
		return make_route(j, root, r);
	case ROW_POLICY:
		return make_policy(j, root, r);
	case ROW_RATE:
		return make_rate(j, root, r);
	case ROW_BACKEND_POLICY:
		return make_backend_policy(j, root, r);
	case ROW_WORKLOAD:
		return make_workload(j, root, r);
	case ROW_BACKEND_TLS:
		return make_backend_tls(j, root, r);
	case ROW_CONFIG_MAP:
		return make_config_map(j, root, r);
	case ROW_RESIDENT:
		return make_resident(j, root, r);
	case ROW_KINDS:
		break;
	}
	return -EINVAL;
}

static int new_row(struct judge *j, const char *source, const struct doc *d, struct row **ret)
{
	const struct schema_kind *k;
	const struct doc_node *meta, *created;
	struct row *r;
	size_t n;
	int e = schema_kind_of(j, d->root, &k);

	if (e == 0)
		e = schema_check(j, k, d->root);
	if (e < 0)
		return e;
	r = calloc(1, row_bytes(k->row));
	if (r == NULL)
		return -ENOMEM;
	meta = doc_get(d->root, "metadata");
	r->kind = k->row;
	r->line = d->line;
	r->source = strdup(source);
	r->name = make_text(meta, "name", "");
	r->ns = k->namespaced ? make_text(meta, "namespace", DEFAULT_NAMESPACE) : strdup("");
	r->generation = make_number(meta, "generation", 0);
	created = doc_get(meta, "creationTimestamp");
	if (r->source == NULL || r->name == NULL || r->ns == NULL)
		e = -ENOMEM;
	if (e == 0 && created && !schema_time(created->text, &r->created_unix_ms))
		e = -EINVAL;	/* the schema has read it already */
	if (e == 0)
		e = make(j, d->root, r);
	if (e == 0) {
		e = doc_canonical(d->root, &r->json, &n);
		judge_field(j, "%s", "");
		if (e == -EINVAL)
			judge_refuse(j, d->line, "has a number that is not a whole number");
	}
	if (e < 0) {
		row_free(&r);
		return e;
	}
	resource_digest(slice_of(r->json, n), r->digest);
	*ret = r;
	return 0;
}

/* e is what the parser said. */
static int judged(const char *source, int e, struct doc *d, const struct doc_error *de,
		  struct row **ret_row, struct refusal **ret_refusal)
{
	struct judge j = { 0 };

	if (e == -EINVAL) {
		judge_refuse(&j, de->line, "%s", de->text);
		e = new_refusal(source, &j, d, true, ret_refusal);
	} else if (e == 0) {
		e = new_row(&j, source, d, ret_row);
		if (e == -EINVAL)
			e = new_refusal(source, &j, d, false, ret_refusal);
	}
	doc_fini(d);
	return e;
}

void resource_reader_init(struct resource_reader *r, const char *source, struct slice bytes)
{
	*r = (struct resource_reader){ .source = source, .too_large = bytes.n > DOC_FILE_MAX };
	if (!r->too_large)
		doc_stream_init(&r->stream, bytes);
}

int resource_next(struct resource_reader *r, struct row **ret_row, struct refusal **ret_refusal)
{
	struct doc_error de = { 0 };
	struct doc d = { 0 };
	int e;

	*ret_row = NULL;
	*ret_refusal = NULL;
	if (r->too_large) {
		r->too_large = false;
		de.line = 1;
		snprintf(de.text, sizeof de.text, "a file of more than %u bytes", DOC_FILE_MAX);
		e = -EINVAL;
	} else {
		e = doc_yaml_next(&r->stream, &d, &de);
		if (e == 0) {
			doc_fini(&d);
			return 0;
		}
	}
	e = judged(r->source, e == 1 ? 0 : e, &d, &de, ret_row, ret_refusal);
	return e < 0 ? e : 1;
}

int resource_json(const char *source, uint32_t line, struct slice json, struct row **ret_row,
		  struct refusal **ret_refusal)
{
	struct doc_error de = { 0 };
	struct doc d = { 0 };
	int e;

	*ret_row = NULL;
	*ret_refusal = NULL;
	e = doc_json(json, line, &d, &de);
	return judged(source, e, &d, &de, ret_row, ret_refusal);
}

const char *resource_kinds(void)
{
	static char text[400];

	return schema_kinds(text, sizeof text);
}

static const struct schema_kind *kind_row(enum row_kind kind)
{
	const struct schema_kind *k;

	for (unsigned i = 0; (k = schema_kind_at(i)); i++)
		if (k->row == kind)
			return k;
	return NULL;
}

bool resource_kind_of(const char *word, enum row_kind *ret)
{
	const struct schema_kind *k;

	for (unsigned i = 0; (k = schema_kind_at(i)); i++)
		if (k->row != ROW_RESIDENT && slice_caseeq(slice_str(word), slice_str(k->kind))) {
			*ret = k->row;
			return true;
		}
	return false;
}

bool resource_is_namespaced(enum row_kind kind)
{
	const struct schema_kind *k = kind_row(kind);

	return k && k->namespaced;
}

const char *resource_group(enum row_kind kind, char *out, size_t room)
{
	const struct schema_kind *k = kind_row(kind);
	const char *slash = k ? strchr(k->versions, '/') : NULL, *end = k ? strchrnul(k->versions, '|') : NULL;

	snprintf(out, room, "%.*s", slash && slash < end ? (int)(slash - k->versions) : 0,
		 k ? k->versions : "");
	return out;
}

bool resource_is_file(const char *name)
{
	static const char *const ends[] = { ".yaml", ".yml", ".json" };
	size_t n = strlen(name);
	bool ours = false;

	if (name[0] == '.' || n >= RESOURCE_FILE_NAME)
		return false;
	for (size_t i = 0; i < n; i++)
		if (name[i] < 0x20 || name[i] > 0x7e)
			return false;
	for (size_t i = 0; i < countof(ends); i++) {
		size_t e = strlen(ends[i]);

		ours |= n > e && strcmp(name + n - e, ends[i]) == 0;
	}
	return ours;
}
