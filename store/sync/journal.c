/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See journal.h. */
#include "store/sync/journal.h"

#include <stdlib.h>

struct held *held_new(struct row **row)
{
	struct held *h = malloc(sizeof *h);

	if (h == NULL)
		return NULL;
	*h = (struct held){ *row, 1 };
	*row = NULL;
	return h;
}

struct held *held_ref(struct held *h)
{
	if (h)
		h->refs++;
	return h;
}

void held_unref(struct held **p)
{
	struct held *h = *p;

	*p = NULL;
	if (h == NULL || --h->refs > 0)
		return;
	row_free(&h->row);
	free(h);
}

struct slice slot_scope_name(enum slot_scope s)
{
	static const char *const name[SLOT_SCOPES] = {
		[SLOT_TENANT] = "tenant", [SLOT_SERVICE] = "service", [SLOT_ENDPOINT] = "endpoint",
		[SLOT_LIMIT] = "limit",     [SLOT_RATE] = "rate",
	};

	return slice_str(name[s]);
}

static char *copy(struct slice a)
{
	char *p = malloc(a.n + 1);

	if (p) {
		if (a.n)
			memcpy(p, a.p, a.n);
		p[a.n] = 0;
	}
	return p;
}

static void drop(struct note *n)
{
	held_unref(&n->held);
	free(n->ns);
	free(n->key);
}

/* Room for one more, or NULL: then everything will be written anew. */
static struct note *add(struct journal *j)
{
	if (j->rewrite)
		return NULL;
	if (j->n >= max_of(j->limit, (size_t)4096)) {
		journal_clear(j);
		j->rewrite = true;
		return NULL;
	}
	if (j->n == j->room) {
		size_t room = j->room ? j->room * 2 : 64;
		struct note *p = realloc(j->note, room * sizeof *p);

		if (p == NULL) {
			journal_clear(j);
			j->rewrite = true;
			return NULL;
		}
		j->note = p;
		j->room = room;
	}
	j->note[j->n] = (struct note){ 0 };
	return &j->note[j->n++];
}

/* A note without its words would be wrong: write everything instead. */
static void need(struct journal *j, bool complete)
{
	if (complete)
		return;
	journal_clear(j);
	j->rewrite = true;
}

void journal_row(struct journal *j, struct held *h)
{
	struct note *n = add(j);

	if (n) {
		n->kind = NOTE_ROW;
		n->held = held_ref(h);
	}
}

void journal_row_gone(struct journal *j, enum row_kind kind, const char *ns, const char *name)
{
	struct note *n = add(j);

	if (n) {
		n->kind = NOTE_ROW_GONE;
		n->row_kind = kind;
		n->ns = copy(slice_str(ns));
		n->key = copy(slice_str(name));
		need(j, n->ns && n->key);
	}
}

void journal_slot(struct journal *j, enum slot_scope scope, struct slice key, struct slot_gen slot)
{
	struct note *n = add(j);

	if (n) {
		n->kind = NOTE_SLOT;
		n->scope = scope;
		n->slot = slot;
		n->key = copy(key);
		need(j, n->key);
	}
}

void journal_slot_gone(struct journal *j, enum slot_scope scope, struct slice key)
{
	struct note *n = add(j);

	if (n) {
		n->kind = NOTE_SLOT_GONE;
		n->scope = scope;
		n->key = copy(key);
		need(j, n->key);
	}
}

void journal_clear(struct journal *j)
{
	for (size_t i = 0; i < j->n; i++)
		drop(&j->note[i]);
	j->n = 0;
	j->rewrite = false;
	if (j->room > 1024) {
		free(j->note);
		j->note = NULL;
		j->room = 0;
	}
}

void journal_fini(struct journal *j)
{
	journal_clear(j);
	free(j->note);
	*j = (struct journal){ 0 };
}
