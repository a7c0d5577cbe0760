/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keep.h. */
#include "store/sync/keep.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store/db/anew.h"
#include "store/db/apply.h"
#include "store/db/dir.h"

static void not_durable(struct keep *k)
{
	if (k->durable || k->since.ns == 0) {
		k->since = clock_tick();
		k->since_unix_ms = clock_unix_ms();
	}
	k->durable = false;
}

static void was_moved_aside(struct keep *k)
{
	if (k->found.aside[0] == 0)
		return;
	memcpy(k->aside, k->found.aside, sizeof k->aside);
	memcpy(k->aside_why, k->found.why, sizeof k->aside_why);
	k->asides++;
}

static int open_store(struct keep *k)
{
	bool none = k->dir < 0 || keep_dir_is_removed(k);
	int r = none ? -ENOENT : db_open(k->dir, &k->db, &k->found);

	if (r < 0)
		snprintf(k->problem, sizeof k->problem, "%.*s", (int)sizeof k->problem - 1,
			 k->dir < 0 ? "there is no state directory"
			 : none	    ? "the state directory was removed"
				    : k->found.why);
	if (!none)
		was_moved_aside(k);
	return r;
}

int keep_open_again(struct keep *k)
{
	int r = k->db ? 0 : open_store(k);

	if (r < 0)
		not_durable(k);
	else
		k->durable = true;
	return r;
}

int keep_open(struct keep *k, int dir)
{
	*k = (struct keep){ .dir = dir };
	return keep_open_again(k);
}

/* The open store is not what was written into it.  What is in memory will be written anew. */
static void give_up_store(struct keep *k, const char *why)
{
	db_close(&k->db);
	k->found = (struct db_found){ 0 };
	if (db_move_aside(k->dir, why, &k->found) == 0)
		was_moved_aside(k);
}

void keep_close(struct keep *k)
{
	rewrite_drop(&k->rewrite);
	db_close(&k->db);
}

int keep_move(struct keep *k, struct model *m, int dir, uint64_t *ret_rev)
{
	int r;

	rewrite_drop(&k->rewrite);
	db_close(&k->db);
	k->dir = dir;
	m->journal.rewrite = true;
	*ret_rev = 0;
	r = keep_open_again(k);
	return r == 0 ? db_meta(k->db, "rev", ret_rev) : r;
}

/* ---- from the store ---- */

struct loading {
	struct model *m;
	struct keep_loaded *loaded;
	char damage[256];	/* what is wrong with a row; "": nothing */
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
	char place[PLACE_MAX];
	uint8_t digest[32];
	int r;

	/* SQLite finds what breaks its pages, not a flipped bit in a text. */
	resource_digest(d->json, digest);
	if (memcmp(digest, d->digest, sizeof digest) != 0) {
		snprintf(l->damage, sizeof l->damage, "the text of a %.32s is not what was stored",
			 (const char *)d->kind.p);
		return -EBADMSG;
	}
	/* Names of places are ours, but the file could have been written by anybody. */
	snprintf(place, sizeof place, "%.*s", (int)min_of(d->source.n, sizeof place - 1), d->source.p);
	r = resource_json(place, d->line, d->json, &row, &refusal);
	if (r < 0)
		return r;
	if (row && !(slice_eq(slice_str(row_kind_name(row->kind)), d->kind) &&
		     slice_eq(slice_str(row->ns), d->ns) && slice_eq(slice_str(row->name), d->name))) {
		row_free(&row);
		snprintf(l->damage, sizeof l->damage, "a document is stored under another's name");
		return -EBADMSG;
	}
	if (row) {
		row->created_rev = d->created_rev;
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
	struct loading l = { m, ret, "" };
	uint64_t gen = 0, rev = 0;
	int r = -EIO;

	*ret = (struct keep_loaded){ 0 };
	if (k->db == NULL)
		return r;
	r = db_meta(k->db, "rev", &rev);
	if (r == 0)
		r = db_meta(k->db, "gen", &gen);
	if (r == 0 && (rev > KEEP_REV_MAX || gen > UINT32_MAX)) {
		snprintf(l.damage, sizeof l.damage, "revision %llu or generation %llu cannot be",
			 (unsigned long long)rev, (unsigned long long)gen);
		r = -EBADMSG;
	}
	if (r == 0)
		m->gen = max_of(m->gen, (uint32_t)gen);
	if (r == 0)
		r = db_each_slot(k->db, load_slot, &l);
	if (r == 0)
		r = db_each_resource(k->db, load_row, &l);
	if (r == 0) {
		uint32_t taken = 0;

		for (int i = 0; i < SLOT_SCOPES; i++)
			taken += m->slot[i].taken;
		/* Slots that make no sense cost counters, not traffic; but they must not stay. */
		m->journal.rewrite |= taken != ret->slots;
		k->rev = rev;
		return 0;
	}
	snprintf(k->problem, sizeof k->problem, "%s", l.damage[0] ? l.damage : k->db->problem);
	if (r == -EBADMSG)
		give_up_store(k, k->problem);
	else
		not_durable(k);
	db_close(&k->db);	/* what could not be read is looked at once more */
	return r;
}

/* ---- into the store ---- */

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

bool keep_dir_is_removed(const struct keep *k)
{
	struct stat st;

	return k->dir >= 0 && fstat(k->dir, &st) == 0 && st.st_nlink == 0;
}

bool keep_is_removed(struct keep *k)
{
	if (k->db == NULL || db_is_in_place(k->db))
		return false;
	snprintf(k->problem, sizeof k->problem, "%s",
		 keep_dir_is_removed(k) ? "the state directory was removed" : DB_NAME " was removed");
	db_close(&k->db);
	not_durable(k);
	k->again = (struct mono){ 0 };
	return true;
}

/* 0: written; 1: a rewrite has begun; -errno with words in k->problem. */
static int write_once(struct keep *k, struct model *m, uint64_t rev)
{
	int r;

	(void)keep_is_removed(k);
	if (k->db == NULL) {
		r = open_store(k);
		if (r < 0)
			return r;
		m->journal.rewrite = true;
	}
	if (m->journal.rewrite) {
		r = rewrite_begin(&k->rewrite, m, k->dir, k->problem);
		if (r < 0)
			return r;
		journal_clear(&m->journal);
		return 1;
	}
	r = db_change_begin(k->db);
	if (r == 0)
		r = write_notes(k->db, &m->journal, rev);
	if (r == 0)
		r = db_put_meta(k->db, "gen", m->gen);
	if (r == 0)
		r = db_change_commit(k->db, rev);
	if (r < 0) {
		snprintf(k->problem, sizeof k->problem, "%s", k->db->problem);
		db_change_drop(k->db);
		/* Opening again finds out what is wrong with it. */
		if (r == -EBADMSG)
			give_up_store(k, k->problem);
		else if (r != -ENOSPC)
			db_close(&k->db);
	}
	return r;
}

/* The rewrite has everything there was; now what changed meanwhile, and it is the store. */
static int end_rewrite(struct keep *k, struct model *m, uint64_t rev)
{
	struct db *anew = rewrite_take(&k->rewrite);
	int r = write_notes(anew, &m->journal, rev);

	if (r == 0)
		r = db_put_meta(anew, "gen", m->gen);
	if (r == 0)
		return db_anew_end(&anew, &k->db, rev, k->problem);
	snprintf(k->problem, sizeof k->problem, "%s", anew->problem);
	db_anew_drop(&anew);
	return r;
}

static void has_failed(struct keep *k)
{
	not_durable(k);
	k->failures++;
	k->wait_ms = k->wait_ms ? min_of(k->wait_ms * 2, (int64_t)KEEP_WAIT_MAX_MS) : KEEP_WAIT_MIN_MS;
	k->again = mono_after_ms(clock_tick(), k->wait_ms);
}

static void is_written(struct keep *k, struct model *m, uint64_t rev)
{
	journal_clear(&m->journal);
	k->rev = rev;
	k->durable = true;
	k->wait_ms = 0;
	k->problem[0] = 0;
	k->commits++;
	/* It cannot be written back, or would be much shorter.  A new store has none. */
	m->journal.rewrite = k->db && db_log_bytes(k->db) > (k->log_max ? k->log_max : KEEP_LOG_MAX);
}

bool keep_begin(struct keep *k, struct model *m, uint64_t rev, bool force)
{
	int r;

	if (rewrite_is_on(&k->rewrite))
		return k->durable;	/* what changed is noted, and written at its end */
	if (k->durable && journal_is_empty(&m->journal) && rev == k->rev)
		return true;
	if (!k->durable && !force && clock_tick().ns < k->again.ns)
		return false;
	r = write_once(k, m, rev);
	if (r < 0)
		has_failed(k);
	else if (r == 0)
		is_written(k, m, rev);
	return k->durable;
}

bool keep_work(struct keep *k, struct model *m, uint64_t rev, int64_t budget_us)
{
	int r;

	if (!rewrite_is_on(&k->rewrite))
		return false;
	if (m->journal.rewrite) {	/* so much has changed that the notes were dropped */
		r = rewrite_begin(&k->rewrite, m, k->dir, k->problem);
		if (r == 0)
			journal_clear(&m->journal);
	} else {
		r = rewrite_step(&k->rewrite, m, rev, budget_us, k->problem);
		if (r == 1) {
			r = end_rewrite(k, m, rev);
			if (r == 0)
				is_written(k, m, rev);
		}
	}
	if (r < 0) {
		journal_clear(&m->journal);
		m->journal.rewrite = true;
		has_failed(k);
	}
	return rewrite_is_on(&k->rewrite);
}

bool keep_write(struct keep *k, struct model *m, uint64_t rev, bool force)
{
	(void)keep_begin(k, m, rev, force);
	while (keep_work(k, m, rev, INT64_MAX))
		;
	return k->durable;
}
