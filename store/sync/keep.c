/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keep.h. */
#include "store/sync/keep.h"

#include <errno.h>
#include <stdio.h>

#include "store/db/apply.h"

static int open_store(struct keep *k)
{
	int r = db_open(k->dir, &k->db, &k->found);

	if (r < 0)
		snprintf(k->problem, sizeof k->problem, "%.*s", (int)sizeof k->problem - 1,
			 k->found.why);
	return r;
}

int keep_open(struct keep *k, int dir)
{
	int r;

	*k = (struct keep){ .dir = dir };
	r = open_store(k);
	k->durable = r == 0;
	return r;
}

void keep_close(struct keep *k)
{
	db_close(&k->db);
}

/* ---- from the store ---- */

struct loading {
	struct model *m;
	struct keep_loaded *loaded;
};

static int load_slot(void *arg, const struct db_slot *s)
{
	struct loading *l = arg;

	for (int scope = 0; scope < SLOT_SCOPES; scope++)
		if (slice_eq(s->scope, slot_scope_name((enum slot_scope)scope)))
			model_slot(l->m, (enum slot_scope)scope, s->key,
				   (struct slot_gen){ s->slot, s->gen });
	l->loaded->slots++;
	return 0;
}

static int load_row(void *arg, const struct db_resource *d)
{
	struct loading *l = arg;
	struct refusal *refusal = NULL;
	struct row *row = NULL;
	char place[300];
	int r;

	/* Names of places are ours, but the file could have been written by anybody. */
	snprintf(place, sizeof place, "%.*s", (int)min_of(d->source.n, (size_t)280), d->source.p);
	r = resource_json(place, d->line, d->json, &row, &refusal);
	if (r < 0)
		return r;
	if (row) {
		l->loaded->rows++;
		model_add_stored(l->m, place, d->line, &row);
	} else {
		l->loaded->refused++;
		model_add_refusal(l->m, place, &refusal);
	}
	return 0;
}

int keep_load(struct keep *k, struct model *m, struct keep_loaded *ret)
{
	struct loading l = { m, ret };
	uint64_t gen = 0;
	int r = -EIO;

	*ret = (struct keep_loaded){ 0 };
	if (k->db == NULL)
		return r;
	r = db_meta(k->db, "rev", &k->rev);
	if (r == 0)
		r = db_meta(k->db, "gen", &gen);
	if (r == 0 && gen <= UINT32_MAX)
		m->gen = max_of(m->gen, (uint32_t)gen);
	if (r == 0)
		r = db_each_slot(k->db, load_slot, &l);
	if (r == 0)
		r = db_each_resource(k->db, load_row, &l);
	if (r < 0)
		snprintf(k->problem, sizeof k->problem, "%s", k->db->problem);
	return r;
}

/* ---- into the store ---- */

static int put_row(struct db *db, const struct row *row, uint64_t rev)
{
	struct db_resource d = {
		.kind = slice_str(row_kind_name(row->kind)),
		.ns = slice_str(row->ns),
		.name = slice_str(row->name),
		.json = slice_str(row->json),
		.source = slice_str(row->source),
		.line = row->line,
		.created_unix_ms = row->created_unix_ms,
		.generation = row->generation,
	};

	memcpy(d.digest, row->digest, sizeof d.digest);
	return db_put_resource(db, &d, rev);
}

static int put_slot(struct db *db, enum slot_scope scope, struct slice key, struct slot_gen g)
{
	struct db_slot s = { slot_scope_name(scope), key, g.slot, g.gen };

	return g.slot ? db_put_slot(db, &s) : 0;
}

static int write_notes(struct db *db, const struct journal *j, uint64_t rev)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < j->n; i++) {
		const struct note *n = &j->note[i];

		switch (n->kind) {
		case NOTE_ROW:
			r = put_row(db, n->held->row, rev);
			break;
		case NOTE_ROW_GONE:
			r = db_delete_resource(db, slice_str(row_kind_name(n->row_kind)),
					       slice_str(n->ns), slice_str(n->key));
			break;
		case NOTE_SLOT:
			r = put_slot(db, n->scope, slice_str(n->key), n->slot);
			break;
		case NOTE_SLOT_GONE:
			r = db_delete_slot(db, slot_scope_name(n->scope), slice_str(n->key));
			break;
		}
	}
	return r;
}

static int write_service(struct db *db, const struct service *s)
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
	}
	return r;
}

static int write_everything(struct db *db, const struct model *m, uint64_t rev)
{
	int r;

	/* In the order of hash tables every insertion lands elsewhere in the tables: with the small
	 * cache of every day 120,000 rows take 2.4 s, with this one a fraction. */
	db_cache(db, KEEP_REWRITE_CACHE_KIB);
	r = db_clear(db);

	for (size_t b = 0; b < m->resources.buckets; b++) {
		for (const struct hash_node *n = m->resources.bucket[b]; r == 0 && n; n = n->next) {
			const struct resource *x = container_of(n, struct resource, by_key);

			if (x->served)
				r = put_row(db, x->served->row, rev);
		}
	}
	for (size_t b = 0; b < m->services.buckets; b++)
		for (const struct hash_node *n = m->services.bucket[b]; r == 0 && n; n = n->next)
			r = write_service(db, container_of(n, struct service, by_name));
	for (size_t b = 0; b < m->tenants.buckets; b++) {
		for (const struct hash_node *n = m->tenants.bucket[b]; r == 0 && n; n = n->next) {
			const struct tenant *t = container_of(n, struct tenant, by_key);

			r = put_slot(db, SLOT_TENANT, slice_str(t->key), t->slot);
		}
	}
	return r;
}

static int write_once(struct keep *k, struct model *m, uint64_t rev)
{
	int r;

	if (k->db && !db_is_in_place(k->db))
		db_close(&k->db);
	if (k->db == NULL) {
		r = open_store(k);
		if (r < 0)
			return r;
		journal_clear(&m->journal);
		m->journal.rewrite = true;
	}
	r = db_change_begin(k->db);
	if (r == 0)
		r = m->journal.rewrite ? write_everything(k->db, m, rev)
				       : write_notes(k->db, &m->journal, rev);
	if (r == 0)
		r = db_put_meta(k->db, "gen", m->gen);
	if (r == 0)
		r = db_change_commit(k->db, rev);
	if (r < 0) {
		snprintf(k->problem, sizeof k->problem, "%s", k->db->problem);
		db_change_drop(k->db);
		/* Opening again finds out whether it is damaged, and moves it aside. */
		if (r != -ENOSPC)
			db_close(&k->db);
	}
	return r;
}

bool keep_write(struct keep *k, struct model *m, uint64_t rev, bool force)
{
	struct mono now = clock_tick();
	bool rewrite;

	if (k->durable && journal_is_empty(&m->journal) && rev == k->rev)
		return true;
	if (!k->durable && !force && now.ns < k->again.ns)
		return false;
	if (write_once(k, m, rev) < 0) {
		k->durable = false;
		k->failures++;
		k->wait_ms = k->wait_ms ? min_of(k->wait_ms * 2, (int64_t)KEEP_WAIT_MAX_MS)
					: KEEP_WAIT_MIN_MS;
		k->again = mono_after_ms(now, k->wait_ms);
		return false;
	}
	rewrite = m->journal.rewrite;
	journal_clear(&m->journal);
	k->rev = rev;
	k->durable = true;
	k->wait_ms = 0;
	k->problem[0] = 0;
	k->commits++;
	if (rewrite)
		db_cache(k->db, 0);
	return true;
}
