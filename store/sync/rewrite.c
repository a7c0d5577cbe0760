/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See rewrite.h. */
#include "store/sync/rewrite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/clock.h"
#include "store/db/anew.h"
#include "store/db/apply.h"

#define FLUSH_PUTS 8192		/* about 2 MiB, some milliseconds */

int put_row(struct db *db, const struct row *row, uint64_t rev)
{
	struct db_resource d = {
		.kind = slice_str(row_kind_name(row->kind)),
		.ns = slice_str(row->ns),
		.name = slice_str(row->name),
		.json = slice_str(row->json),
		.source = slice_str(row->source),
		.line = row->line,
		.created_unix_ms = row->created_unix_ms,
		.created_rev = row->created_rev,
		.generation = row->generation,
	};

	memcpy(d.digest, row->digest, sizeof d.digest);
	return db_put_resource(db, &d, rev);
}

int put_slot(struct db *db, enum slot_scope scope, struct slice key, struct slot_gen g)
{
	struct db_slot s = { slot_scope_name(scope), key, g.slot, g.gen };

	return g.slot ? db_put_slot(db, &s) : 0;
}

static int write_ports(struct db *db, const struct service *s, enum slot_scope scope,
		       const struct port_slots *ports, unsigned *puts)
{
	char key[700];
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < ports->n; i++) {
		int n = snprintf(key, sizeof key, "%s/%s/%u", s->ns, s->name, ports->p[i].port);

		r = put_slot(db, scope, slice_of(key, (size_t)n), ports->p[i].slot);
		++*puts;
	}
	return r;
}

static int write_service(struct db *db, const struct service *s, unsigned *puts)
{
	char key[700], ip[ADDR_TEXT];
	int r, n = snprintf(key, sizeof key, "%s/%s", s->ns, s->name);

	r = put_slot(db, SLOT_SERVICE, slice_of(key, (size_t)n), s->slot);
	for (uint32_t i = 0; r == 0 && i < s->room; i++) {
		const struct endpoint_slot *e = &s->endpoint[i];

		if (e->addr.family == 0)
			continue;
		n = snprintf(key, sizeof key, "%s/%s/%s", s->ns, s->name,
			     addr_text(&e->addr, true, ip));
		r = put_slot(db, SLOT_ENDPOINT, slice_of(key, (size_t)n), e->slot);
		++*puts;
	}
	if (r == 0)
		r = write_ports(db, s, SLOT_LIMIT, &s->limits, puts);
	if (r == 0)
		r = write_ports(db, s, SLOT_RATE, &s->rates, puts);
	return r;
}

static int write_tenants(struct db *db, const struct model *m)
{
	int r = 0;

	for (size_t b = 0; b < m->tenants.buckets; b++) {
		for (const struct hash_node *n = m->tenants.bucket[b]; r == 0 && n; n = n->next) {
			const struct tenant *t = container_of(n, struct tenant, by_key);

			r = put_slot(db, SLOT_TENANT, slice_str(t->key), t->slot);
		}
	}
	return r;
}

/* As SQLite compares them: the tables then grow at their end. */
static int by_key(const void *a, const void *b)
{
	const struct row *x = (*(struct held *const *)a)->row, *y = (*(struct held *const *)b)->row;
	int d = strcmp(row_kind_name(x->kind), row_kind_name(y->kind));

	if (d == 0)
		d = strcmp(x->ns, y->ns);
	return d ? d : strcmp(x->name, y->name);
}

int rewrite_begin(struct rewrite *w, const struct model *m, int dir, char why[256])
{
	int r;

	rewrite_drop(w);
	w->held = malloc(max_of(m->resources.count, (size_t)1) * sizeof(void *));
	if (w->held == NULL) {
		snprintf(why, 256, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	r = db_anew_begin(dir, &w->db, why);
	if (r < 0) {
		rewrite_drop(w);
		return r;
	}
	for (size_t b = 0; b < m->resources.buckets; b++) {
		for (struct hash_node *n = m->resources.bucket[b]; n; n = n->next) {
			struct resource *x = container_of(n, struct resource, by_key);

			if (x->served)
				w->held[w->n++] = held_ref(x->served);
		}
	}
	if (w->n)
		qsort(w->held, w->n, sizeof(void *), by_key);
	return 0;
}

/* The next of this part; 1: the part is at its end. */
static int one(struct rewrite *w, const struct model *m, uint64_t rev)
{
	const struct row *row = w->at < w->n ? w->held[w->at]->row : NULL;
	const struct service *s;

	if (row == NULL)
		return 1;
	w->at++;
	w->unflushed++;
	if (w->part == REWRITE_ROWS)
		return put_row(w->db, row, rev);
	/* Slots are looked up as they are now: what came or went since is noted. */
	s = row->kind == ROW_SERVICE ? service_find(m, slice_str(row->ns), slice_str(row->name)) : NULL;
	return s ? write_service(w->db, s, &w->unflushed) : 0;
}

int rewrite_step(struct rewrite *w, const struct model *m, uint64_t rev, int64_t budget_us,
		 char why[256])
{
	struct mono began = clock_tick();
	int r = 0;

	for (unsigned i = 1; r == 0; i++) {
		r = one(w, m, rev);
		if (r == 1 && w->part == REWRITE_ROWS) {
			w->part = REWRITE_SLOTS;
			w->at = 0;
			r = 0;
		} else if (r == 1) {
			w->part = REWRITE_TENANTS;
			r = write_tenants(w->db, m) ?: 1;
		}
		if (r == 0 && w->unflushed >= FLUSH_PUTS) {
			w->unflushed = 0;
			r = db_anew_flush(w->db);
			break;
		}
		if (i % 16 == 0 && mono_diff_us(clock_tick(), began) >= budget_us)
			break;
	}
	if (r < 0) {
		snprintf(why, 256, "%s", w->db->problem);
		rewrite_drop(w);
	}
	return r;
}

struct db *rewrite_take(struct rewrite *w)
{
	struct db *db = w->db;

	w->db = NULL;
	rewrite_drop(w);
	return db;
}

void rewrite_drop(struct rewrite *w)
{
	db_anew_drop(&w->db);
	for (size_t i = 0; i < w->n; i++)
		held_unref(&w->held[i]);
	free(w->held);
	*w = (struct rewrite){ 0 };
}
