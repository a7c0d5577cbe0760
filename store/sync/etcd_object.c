/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd_object.h. */
#include "store/sync/etcd_object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/hash.h"

static_must(KEY_MAX == PLACE_MAX);

#define SHOWN 400u	/* bytes of a key that is not its own name */

static bool is_plain(uint8_t c)
{
	return c > ' ' && c <= '~' && c != '"' && c != '\\' && c != '%';
}

bool etcd_object_name(struct slice key, char out[KEY_MAX])
{
	bool plain = key.n > 0 && key.n < KEY_MAX;
	size_t n = 0;

	for (size_t i = 0; i < key.n && plain; i++)
		plain = is_plain(key.p[i]);
	if (plain) {
		memcpy(out, key.p, key.n);
		out[key.n] = 0;
		return true;
	}
	for (size_t i = 0; i < key.n && n < SHOWN; i++)
		n += (size_t)snprintf(out + n, KEY_MAX - n, is_plain(key.p[i]) ? "%c" : "%%%02x", key.p[i]);
	/* Two that begin alike are two. */
	snprintf(out + n, KEY_MAX - n, "%%%016llx", (unsigned long long)hash_slice(key));
	return false;
}

static int refuse(const char *name, const char *field, const char *reason, struct documents *docs)
{
	struct refusal *no = refusal_of_place(name, reason);
	char *copy = strdup(field);

	if (no == NULL || copy == NULL) {
		refusal_free(&no);
		free(copy);
		return -ENOMEM;
	}
	free(no->field);
	no->field = copy;
	no->line = no->doc_line = field[0] ? 1 : 0;
	return documents_add_refusal(docs, &no);
}

static int agree(const char *name, const struct key_parts *k, const struct row *row, struct documents *docs)
{
	char group[64], reason[400];
	const struct {
		const char *field, *is;
		struct slice should;
	} rows[] = {
		{ "apiVersion", resource_group(row->kind, group, sizeof group), k->group },
		{ "kind", row_kind_name(row->kind), k->kind },
		{ "metadata.namespace", row->ns, k->ns },
		{ "metadata.name", row->name, k->name },
	};

	if (k->place == KEY_NODE && row->kind == ROW_RESIDENT)
		return 0;		/* which has looked at its place itself */
	for (size_t i = 0; i < countof(rows); i++) {
		if (slice_eq(slice_str(rows[i].is), rows[i].should))
			continue;
		snprintf(reason, sizeof reason, "the object is of \"%s\", but its key says \"%.*s\"", rows[i].is,
			 (int)min_of(rows[i].should.n, (size_t)300), (const char *)rows[i].should.p);
		return refuse(name, rows[i].field, reason, docs) < 0 ? -ENOMEM : 1;
	}
	return 0;
}

int etcd_object_read(const char *name, const struct key_parts *k, const struct etcd_kv *kv,
		     struct documents *docs)
{
	struct row *row;
	struct refusal *no;
	char reason[80];
	int r;

	if (kv->value.n > ETCD_VALUE_MAX) {
		snprintf(reason, sizeof reason, "a value of more than %u bytes", ETCD_VALUE_MAX);
		return refuse(name, "", reason, docs);
	}
	r = resource_json(name, 1, kv->value, &row, &no);
	if (r < 0)
		return r;
	if (no)
		return documents_add_refusal(docs, &no);
	r = agree(name, k, row, docs);
	if (r != 0) {
		row_free(&row);
		return min_of(r, 0);
	}
	row->created_rev = kv->created;
	return documents_add_row(docs, &row);
}
