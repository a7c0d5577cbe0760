/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See fellows.h. */
#include "nodeproxy/fellows.h"

#include <errno.h>
#include <string.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

static bool hears(const struct child *c)
{
	return child_is_alive(c) && c->has_chan && c->told;
}

static bool say_line(struct child *c, const struct child *other, const struct fd *own, const struct fd *its)
{
	struct msg_fellow_line line = { .worker = other->id };
	int ends[2] = { own->v, its->v };

	return chan_send(&c->chan, MSG_FELLOW_LINE, &line, (struct slice){ 0 }, ends, 2) == 0;
}

static void connect_two(struct master *m, struct child *low, struct child *high)
{
	__auto_type line = &m->fellows.line[low->id][high->id];
	struct fd pair[2];
	int r;

	if (!hears(low) || !hears(high) || (line->low == low->generation && line->high == high->generation))
		return;
	r = chan_pair_short(pair);
	if (r < 0) {		/* each keeps what it accepts */
		log_limited(LOG_WARN, "fellows_not_connected", "workers=%u,%u error=\"%s\"", low->id, high->id,
			    strerror(-r));
		return;
	}
	if (say_line(low, high, &pair[0], &pair[1]) && say_line(high, low, &pair[1], &pair[0])) {
		line->low = low->generation;
		line->high = high->generation;
	}
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

uint32_t fellow_of(const struct pod *p, unsigned slot)
{
	uint64_t other = p->told & ~(1ull << slot);

	static_must(POD_HOMES == 2);
	return other ? (uint32_t)__builtin_ctzll(other) : NO_FELLOW;
}

void fellows_connect(struct master *m, const struct pod *p)
{
	uint64_t rest = p->told & (p->told - 1);	/* without the lowest */

	if (rest)
		connect_two(m, &m->child[__builtin_ctzll(p->told)], &m->child[__builtin_ctzll(rest)]);
}

void fellows_tell(struct master *m, const struct pod *p, uint64_t has)
{
	for (uint64_t bits = has; bits; bits &= bits - 1) {
		struct child *c = &m->child[__builtin_ctzll(bits)];
		struct msg_pod_fellow f = { .ref = p->ref, .worker = fellow_of(p, c->id) };

		if (hears(c) && chan_say(&c->chan, MSG_POD_FELLOW, &f) == -ENOBUFS)
			child_kill(c, "channel full");
	}
}

void fellows_again(struct master *m, unsigned slot)
{
	for (unsigned s = 0; s < BOARD_WORKERS; s++)
		m->fellows.line[min_of(s, slot)][max_of(s, slot)].low = 0;
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].state == POD_CAPTURED && m->pods.at[i].told & 1ull << slot)
			fellows_connect(m, &m->pods.at[i]);
}
