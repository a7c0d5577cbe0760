/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pressure.h. */
#include "workers/path/pressure.h"

#include "nodeproxy/lib/base/log.h"

/* Idle connections closed, and slots looked at for free pages, per tick.  While there is no shortage,
 * no more of them than are so many bytes: the kernel takes 60 µs to take them back. */
#define TICK_BACKS 256
#define TICK_SLOTS 4096u
#define TICK_BYTES (1u << 20)
/* Shares are reckoned anew after this. */
#define SHARES_NS  NS_PER_MS

static bool changed(struct path *p, uint8_t *grade, const struct budget *b, const struct tenant *t)
{
	enum grade was = (enum grade)*grade, now = grade_next(was, b->used, b->limit);

	if (now == was)
		return false;
	*grade = (uint8_t)now;
	board_add(&p->mine->c[WC_memory_grade_changes], 1);
	log_limited(now > was ? LOG_WARN : LOG_INFO, "memory_grade",
		    "of=%s namespace=%s slot=%u from=%s to=%s used=%zu limit=%zu",
		    t ? "tenant" : "worker", path_namespace_of(p, t), t ? t->slot : 0, grade_name(was),
		    grade_name(now), b->used, b->limit);
	return true;
}

void pressure_look(struct path *p, struct tenant *t)
{
	if (t && changed(p, &t->grade, &t->memory, t))
		board_set(&t->board->c[TC_memory_grade_gauge], t->grade);
	if (changed(p, &p->grade, &p->memory, NULL)) {
		board_set(&p->mine->c[WC_memory_grade_gauge], p->grade);
		p->shares.at.ns = 0;
	}
}

/* Who uses how much for its weight: only while the worker is short. */
static void reckon(struct path *p)
{
	const struct tenants *ts = &p->tenants;
	const struct tenant *most = NULL;
	uint64_t weights = 0;

	if (p->shares.at.ns && clock_now().ns - p->shares.at.ns < SHARES_NS)
		return;
	p->shares.at = clock_now();
	for (uint32_t i = 0; i < BOARD_TENANTS; i++) {
		const struct tenant *t = ts->at[i];

		if (t == NULL || t->memory.used == 0)
			continue;
		weights += t->weight;
		if (most == NULL || (uint64_t)t->memory.used * most->weight >
					    (uint64_t)most->memory.used * t->weight)
			most = t;
	}
	p->shares.weights = weights;
	p->shares.most = most;
}

bool pressure_keeps_nothing(struct path *p, struct tenant *t)
{
	if (!pressure_is_near(p, t))
		return false;
	pressure_look(p, t);
	return t->grade >= GRADE_lean || p->grade >= GRADE_lean;
}

/* When all who hold more than their part of what the grade is left at stop, it is left. */
static bool is_over_share(struct path *p, const struct tenant *t)
{
	size_t enough = grade_leave_bytes(GRADE_slow, p->memory.limit);

	reckon(p);
	return p->shares.weights &&
	       (uint64_t)t->memory.used * p->shares.weights >= (uint64_t)enough * t->weight;
}

bool pressure_stops_reading(struct path *p, struct tenant *t)
{
	bool stops;

	if (!pressure_is_near(p, t))
		return false;
	pressure_look(p, t);
	stops = t->grade >= GRADE_slow || (p->grade >= GRADE_slow && is_over_share(p, t));
	if (stops) {
		board_add(&p->mine->c[WC_reads_stopped], 1);
		board_add(&t->board->c[TC_reads_stopped], 1);
	}
	return stops;
}

bool pressure_refuses(struct path *p, struct tenant *t)
{
	bool refuses;

	if (!pressure_is_near(p, t))
		return false;
	pressure_look(p, t);
	refuses = t->grade >= GRADE_refuse;
	if (!refuses && p->grade >= GRADE_refuse) {
		reckon(p);
		refuses = p->shares.most == t;
	}
	if (refuses)
		board_add(&p->mine->c[WC_memory_refused], 1);
	return refuses;
}

/* What a burst has filled and nobody uses any more goes back within seconds; in a shortage, all that
 * is free does. */
static void trim(struct path *p, bool short_of)
{
	struct slab *const all[] = { &p->chunks.small, &p->chunks.large, &p->conns, &p->exchanges,
				     &p->blocks, &p->pool.backs, &p->pool.entries, &p->h2.sessions,
				     &p->h2.streams, &p->trunks.trunks, &p->trunks.bundles,
				     &p->tls.conns };

	static_must(countof(all) == PATH_SLABS);
	for (size_t i = 0; i < countof(all); i++) {
		uint32_t some = (uint32_t)(TICK_BYTES / all[i]->size);

		slab_trim(all[i], &p->trim[i], short_of ? TICK_SLOTS : min_of(some, TICK_SLOTS),
			  short_of ? SLAB_TRIM_FREE : SLAB_TRIM_IDLE);
	}
	h2_stock_trim(&p->h2);
}

void pressure_tick(struct path *p)
{
	struct tenants *ts = &p->tenants;

	for (uint32_t i = 0; i < BOARD_TENANTS; i++) {
		struct tenant *t = ts->at[i];

		if (t == NULL || !pressure_is_near(p, t))
			continue;
		pressure_look(p, t);
		if (t->grade >= GRADE_lean && p->grade < GRADE_lean)
			path_give_back(p, t, TICK_BACKS);
	}
	pressure_look(p, NULL);
	if (p->grade >= GRADE_lean) {
		path_give_back(p, NULL, TICK_BACKS);
		pipes_trim(&p->pipes);
	}
	trim(p, p->grade >= GRADE_lean);
}
