/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See shed.h. */
#include "workers/sched/shed.h"

#include "nodeproxy/lib/base/rand.h"

/* Wants and shares are per weight, of which the largest is 1000: in so small pieces. */
#define PIECES 1024u
/* No interval is longer than this (a worker that was stopped): 2^42 ns, times 2^8 for what was refused,
 * times PIECES are within 64 bits. */
#define USED_MAX_NS (3600 * NS_PER_S)

bool shed_look(struct shedding *s, struct mono now, int64_t delay_ns, int64_t target_ns)
{
	int64_t before = s->delay_ns;

	if (s->at.ns && now.ns - s->at.ns < SHED_LOOK_NS)
		return false;
	*s = (struct shedding){ .at = now, .delay_ns = delay_ns, .late = s->late, .move = SHED_HOLD };
	s->late = target_ns && delay_ns > target_ns ? s->late + 1 : 0;
	if (target_ns == 0)
		s->move = SHED_NONE;
	else if (s->late >= 2 && delay_ns > before - before / 32)
		s->move = SHED_MORE;
	else if (delay_ns < target_ns / 2 && delay_ns <= before)
		s->move = SHED_LESS;
	return true;
}

/* For each of its weight. */
static uint64_t used(const struct shed *t, uint32_t weight)
{
	return (uint64_t)min_of(t->used_ns, USED_MAX_NS) * PIECES / weight;
}

/* The same, had nothing been refused. */
static uint64_t wanted(const struct shed *t, uint32_t weight)
{
	uint64_t asked = max_of(t->asked, 1u), served = max_of(asked - t->refused, asked / 16 + 1);

	return used(t, weight) / 16 * (asked * 16 / served);
}

void shed_weigh(struct shedding *s, const struct shed *t, uint32_t weight)
{
	if (t->used_ns == 0)
		return;
	s->used_ns += (uint64_t)min_of(t->used_ns, USED_MAX_NS);
	s->weights += weight;
	if (t->portion < SHED_MOST)
		s->most = max_of(s->most, used(t, weight));
}

static uint32_t portion_after(const struct shedding *s, const struct shed *t, uint32_t weight)
{
	if (s->move == SHED_NONE || s->weights == 0 ||
	    wanted(t, weight) <= s->used_ns * PIECES / s->weights / 10 * 9)
		return 0;
	if (s->move == SHED_MORE && used(t, weight) >= s->most - s->most / 8)
		return min_of(t->portion + SHED_UP, SHED_MOST);
	if (s->move == SHED_LESS)
		return t->portion - min_of(t->portion, SHED_DOWN);
	return t->portion;
}

uint32_t shed_next(const struct shedding *s, struct shed *t, uint32_t weight)
{
	uint32_t portion = portion_after(s, t, weight);

	*t = (struct shed){ .portion = portion };
	return portion;
}

bool shed_draws(struct shed *t)
{
	bool refused = rand_below(SHED_ALL) < t->portion;

	t->asked++;
	t->refused += refused;
	return refused;
}
