/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See uses.h. */
#include "store/sync/uses.h"

#include <sys/stat.h>

#include "nodeproxy/lib/base/memfd.h"
#include "store/sync/model.h"
#include "workers/obs/board.h"

void uses_of(struct uses *u, const struct board *b, unsigned workers)
{
	*u = (struct uses){ .board = b, .workers = workers };
}

void uses_init(struct uses *u, struct fd fd)
{
	struct stat st;
	void *p;

	*u = (struct uses){ .board = NULL };
	if (fstat(fd.v, &st) < 0 || st.st_size <= 0 ||
	    memfd_map_shared(fd, (size_t)st.st_size, false, &p) < 0)
		return;
	if (board_check(p, (size_t)st.st_size) == 0)
		uses_of(u, p, board_slots((size_t)st.st_size));
}

/* All that was ever counted for it.  A worker may lie, for as long as it lives. */
static uint64_t counted(const struct uses *u, const struct service *s)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < min_of(u->workers, __atomic_load_n(&u->board->used, __ATOMIC_RELAXED)); w++) {
		const struct board_service *b = board_service_seen(u->board, w, s->slot.slot, s->slot.gen);

		if (b)
			n += board_get(&b->c[SC_exchanges]) + board_get(&b->c[SC_routed]) +
			     board_get(&b->c[SC_lookups]);
	}
	return n;
}

/* Something is under way with one of its endpoints. */
static bool is_busy(const struct uses *u, const struct service *s)
{
	for (uint32_t i = 0; i < s->room; i++) {
		const struct endpoint_slot *e = &s->endpoint[i];

		if (e->addr.family && e->slot.slot && e->slot.slot < BOARD_ENDPOINTS &&
		    __atomic_load_n(&u->board->endpoint[e->slot.slot].gen, __ATOMIC_RELAXED) == e->slot.gen &&
		    board_get(&u->board->endpoint[e->slot.slot].load))
			return true;
	}
	return false;
}

void uses_look(const struct uses *u, const struct model *m, struct demand *d)
{
	list_each(it, &d->wanted) {
		struct demand_service *of = container_of(it, struct demand_service, in_wanted);
		const struct service *s = service_find(m, slice_str(of->ns), slice_str(of->name));
		uint64_t n;

		if (s == NULL)
			continue;
		n = u->board && s->slot.slot ? counted(u, s) : 0;
		/* Of one in the shared slot nobody can say that it is not used. */
		if (u->board == NULL || s->slot.slot == 0 || n != of->uses || is_busy(u, s))
			of->used = clock_now();
		of->uses = n;
	}
}

bool uses_is_idle(const struct demand_service *s, int64_t idle_ms)
{
	return !s->pinned && mono_diff_ms(clock_now(), s->used) >= idle_ms;
}
