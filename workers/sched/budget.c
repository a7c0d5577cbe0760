/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See budget.h. */
#include "workers/sched/budget.h"

#include <errno.h>

static void set_terms(struct tenants *ts, struct tenant *t, const struct tenant_terms *terms)
{
	t->weight = min_of(max_of(terms->weight, 1u), TENANT_WEIGHT_MAX);
	t->memory.limit = max_of(terms->memory_bytes ? terms->memory_bytes : ts->memory_default,
				 (uint64_t)TENANT_MEMORY_MIN);
	t->conns_max = terms->connections ? terms->connections : ts->conns_default;
	t->requests_max = terms->requests ? terms->requests : ts->requests_default;
	t->memory_is_default = terms->memory_bytes == 0;
	t->conns_are_default = terms->connections == 0;
	t->requests_are_default = terms->requests == 0;
}

static struct tenant *tenant_new(struct tenants *ts, uint32_t slot, uint32_t gen)
{
	struct tenant *t = slab_take(&ts->slab, NULL);

	if (t == NULL)
		return NULL;
	list_init(&t->runnable);
	list_init(&t->on);
	t->memory.parent = ts->all;
	t->slot = slot;
	t->gen = gen;
	t->board = board_tenant(ts->board, ts->worker, slot, gen);
	t->home = ts;
	ts->at[slot] = t;
	return t;
}

static bool is_current(const struct tenant *t)
{
	return t->home->at[t->slot] == t;
}

static void tenant_free(struct tenant *t)
{
	must(t->refs == 0 && list_is_empty(&t->runnable) && t->memory.used == 0);
	list_remove(&t->on);
	slab_give(&t->home->slab, t);
}

int tenants_init(struct tenants *ts, struct board *b, unsigned worker, struct budget *all,
		 uint64_t memory_default, uint32_t conns_default, uint32_t requests_default)
{
	struct tenant_terms nobody = { .weight = 1 };
	int r;

	*ts = (struct tenants){ .board = b, .worker = worker, .all = all,
				.memory_default = memory_default, .conns_default = conns_default,
				.requests_default = requests_default };
	/* As many again as there are slots: superseded ones whose conns live on. */
	r = slab_init(&ts->slab, "tenant", sizeof(struct tenant), 2 * BOARD_TENANTS);
	if (r < 0)
		return r;
	if (tenant_new(ts, 0, 0) == NULL) {
		slab_fini(&ts->slab);
		return -ENOMEM;
	}
	set_terms(ts, ts->at[0], &nobody);
	return 0;
}

void tenants_fini(struct tenants *ts)
{
	slab_fini(&ts->slab);
	*ts = (struct tenants){ 0 };
}

static void supersede(struct tenants *ts, uint32_t slot)
{
	struct tenant *t = ts->at[slot];

	ts->at[slot] = NULL;
	t->board = &ts->nowhere;
	t->shed = (struct shed){ 0 };	/* nobody looks at it any more */
	if (t->refs == 0)
		tenant_free(t);
}

struct tenant *tenant_take(struct tenants *ts, const struct tenant_terms *terms)
{
	uint32_t slot = terms->slot < BOARD_TENANTS ? terms->slot : 0;
	struct tenant *t = ts->at[slot];

	if (slot != 0) {
		if (t && t->gen != terms->gen) {
			supersede(ts, slot);
			t = NULL;
		}
		if (t == NULL)
			t = tenant_new(ts, slot, terms->gen);
	}
	if (t && slot != 0)
		set_terms(ts, t, terms);
	else
		t = ts->at[0];
	t->refs++;
	return t;
}

void tenant_ref(struct tenant *t)
{
	t->refs++;
}

void tenant_give(struct tenant **tp)
{
	struct tenant *t = *tp;

	*tp = NULL;
	must(t->refs > 0);
	if (--t->refs == 0 && !is_current(t))
		tenant_free(t);
}

void tenants_update(struct tenants *ts, const struct tenant_terms *terms)
{
	if (terms->slot == 0 || terms->slot >= BOARD_TENANTS || ts->at[terms->slot] == NULL)
		return;
	if (ts->at[terms->slot]->gen == terms->gen)
		set_terms(ts, ts->at[terms->slot], terms);
}

void tenants_defaults(struct tenants *ts, uint64_t memory, uint32_t conns, uint32_t requests)
{
	ts->memory_default = memory;
	ts->conns_default = conns;
	ts->requests_default = requests;
	for (uint32_t i = 0; i < BOARD_TENANTS; i++) {
		struct tenant *t = ts->at[i];

		if (t && t->memory_is_default)
			t->memory.limit = max_of(memory, (uint64_t)TENANT_MEMORY_MIN);
		if (t && t->conns_are_default)
			t->conns_max = conns;
		if (t && t->requests_are_default)
			t->requests_max = requests;
	}
}

int tenant_admit(struct tenant *t)
{
	if (t->conns >= t->conns_max) {
		board_add(&t->board->c[TC_refused], 1);
		return -EUSERS;
	}
	t->conns++;
	board_add(&t->board->c[TC_conns], 1);
	board_set(&t->board->c[TC_conns_gauge], t->conns);
	return 0;
}

void tenant_leave(struct tenant *t)
{
	must(t->conns > 0);
	t->conns--;
	board_set(&t->board->c[TC_conns_gauge], t->conns);
}

int tenant_request(struct tenant *t)
{
	if (unlikely(t->requests >= t->requests_max))
		return -EUSERS;
	t->requests++;
	board_set(&t->board->c[TC_requests_gauge], t->requests);
	return 0;
}

void tenant_request_over(struct tenant *t)
{
	must(t->requests > 0);
	t->requests--;
	board_set(&t->board->c[TC_requests_gauge], t->requests);
}
