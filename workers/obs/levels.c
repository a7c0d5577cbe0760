/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See levels.h. */
#include "workers/obs/levels.h"

uint32_t levels_may_be_out(uint32_t ready, const struct ejection *ej)
{
	uint64_t part = (uint64_t)ready * ej->percent / 100;

	return ready ? (uint32_t)min_of(max_of(part, (uint64_t)1), (uint64_t)ready - 1) : 0;
}

static unsigned health(const struct level *l, const struct balancing *b)
{
	uint64_t healthy = l->ready - min_of(l->out, l->ready);

	return l->total ? (unsigned)min_of(b->overprovision_percent * healthy / l->total,
					   (uint64_t)100) : 0;
}

static void by_number(struct level *l, unsigned n, uint64_t ready)
{
	unsigned left = 100, first = n;

	for (unsigned i = 0; i < n; i++) {
		if (l[i].ready && first == n)
			first = i;
		l[i].load = (uint8_t)(100ull * l[i].ready / ready);
		left -= l[i].load;
	}
	l[first].load = (uint8_t)(l[first].load + left);
}

static void by_health(struct level *l, unsigned n, unsigned sum, const struct balancing *b)
{
	unsigned left = 100, first = n;

	for (unsigned i = 0; i < n; i++) {
		unsigned h = health(&l[i], b);

		if (h && first == n)
			first = i;
		l[i].load = (uint8_t)min_of(left, h * 100 / sum);
		left -= l[i].load;
	}
	l[first].load = (uint8_t)(l[first].load + left);
}

void levels_share(struct level *l, unsigned n, const struct ejection *ej, const struct balancing *b)
{
	uint64_t ready = 0, out = 0;
	unsigned sum = 0;
	bool panics = true, too_many;

	for (unsigned i = 0; i < n; i++) {
		ready += l[i].ready;
		out += l[i].out;
		sum += health(&l[i], b);
		l[i].load = 0;
	}
	sum = min_of(sum, 100u);
	/* What may be passed over is passed over, however little that leaves. */
	too_many = out > levels_may_be_out((uint32_t)ready, ej);
	for (unsigned i = 0; i < n; i++) {
		uint64_t healthy = l[i].ready - min_of(l[i].out, l[i].ready);

		l[i].panics = too_many && sum < 100 &&
			      healthy * 100 < (uint64_t)b->panic_percent * l[i].ready;
		panics &= l[i].panics || l[i].ready == 0;
	}
	if (ready == 0)
		return;
	if (panics || sum == 0)
		by_number(l, n, ready);
	else
		by_health(l, n, sum, b);
}
