/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See balance.h. */
#include "workers/pool/balance.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/check.h"
#include "workers/pool/outlier.h"

#define DRAWS	  4		/* pairs, before all are looked at */
#define REHASHES  8		/* slots of Maglev likewise */
#define WARM_DRAWS 16		/* pairs or turns while somebody starts slowly: most draws of him count for nothing */
#define RECOUNT_NS (100 * NS_PER_MS)

/* One pick: what is asked, and what is known while it lasts. */
struct pick {
	struct balance *b;
	struct balance_port *mine;
	const struct vport *port;
	const struct tried *tried;
	const struct wish *wish;
	uint32_t all;		/* ready ones of the port */
	/* The level at hand; of a port without levels, all of it. */
	uint32_t first, ready;	/* its positions among the ready ones */
	uint32_t before, weights;	/* of the ready ones before it, and of its own; weights 0: they are alike */
	bool panics;		/* nobody in it is passed over */
	bool warms;		/* somebody starts slowly */
	struct vlevel level;	/* of a port that has them */
};

static struct balance_port *position(struct balance *b, const struct vport *port)
{
	uint64_t key = ((uint64_t)port->service.id << 16 | port->port) + 1;
	uint64_t mixed = key * 0x9e3779b97f4a7c15u;	/* Fibonacci hashing: ids are small numbers */
	struct balance_port *p = &b->slot[mixed >> 52];	/* 4096 = 2^12 */

	static_must(BALANCE_SLOTS == 4096);
	if (p->key != key)
		*p = (struct balance_port){ .key = key, .at = rand_u32() };
	return p;
}

static bool was_tried(const struct tried *t, const struct addr *a)
{
	for (unsigned i = 0; i < t->n; i++)
		if (addr_eq(&t->addr[i], a))
			return true;
	return false;
}

/* What is known of it; NULL: it shares its slot with others, so nothing is. */
static struct board_endpoint *live(const struct pick *k, const struct vendpoint *e)
{
	if (e->slot.slot == 0 || e->slot.slot >= BOARD_ENDPOINTS)
		return NULL;
	return board_endpoint(k->b->board, e->slot.slot, e->slot.gen);
}

static bool nth_ready(const struct pick *k, uint32_t n, struct vendpoint *ret)
{
	return vport_endpoint(k->port, vport_ready_at(k->port, n), ret);
}

static enum standing standing(const struct pick *k, const struct vendpoint *e,
			      const struct board_endpoint *l)
{
	return endpoint_standing(k->b->board, l, e->slot.slot, e->slot.gen, k->wish->ejection,
				 k->wish->balancing, clock_now());
}

/* Who goes out, who is out, and so what each level gets.  Counted at most ten times a second. */
static void recount(const struct pick *k)
{
	uint32_t may = levels_may_be_out(k->all, k->wish->ejection), ejected = 0, until = 0;
	struct level level[VPORT_LEVELS] = { 0 };
	struct balance_port *m = k->mine;
	struct mono now = clock_now();
	unsigned n = max_of(k->port->levels, (uint8_t)1);

	if (m->counted_ns && now.ns - m->counted_ns < RECOUNT_NS)
		return;
	if (k->wish->ejection->rate_interval_ms)
		k->b->ejected += outlier_sweep(k->b->board, k->port, k->wish->ejection, now);
	for (unsigned l = 0; l < n; l++) {
		struct vlevel v = { .ready = k->all, .total = k->all };

		if (k->port->levels && !vport_level(k->port, l, &v))
			break;
		level[l] = (struct level){ .total = v.total, .ready = v.ready };
		for (uint32_t i = v.first; i < v.first + v.ready; i++) {
			struct board_endpoint *e;
			enum standing is;
			struct vendpoint of;

			e = nth_ready(k, i, &of) ? live(k, &of) : NULL;
			is = e ? standing(k, &of, e) : STANDS_WELL;
			level[l].out += is != STANDS_WELL;
			ejected += is == STANDS_EJECTED;
			if (ejected <= may)
				until = i + 1;
		}
	}
	m->warms = false;
	for (uint32_t i = 0; k->wish->balancing->slow_ms && i < k->port->endpoints; i++) {
		struct board_endpoint *e;
		struct vendpoint of;

		e = vport_endpoint(k->port, i, &of) ? live(k, &of) : NULL;
		if (e == NULL)
			continue;
		endpoint_seen(e, of.ready, now);
		m->warms |= endpoint_warmth(e, k->wish->balancing, now) < ENDPOINT_WARM;
	}
	levels_share(level, n, k->wish->ejection, k->wish->balancing);
	m->passed = until;
	m->panics = 0;
	for (unsigned l = 0; l < n; l++) {
		m->panics |= (uint8_t)(level[l].panics << l);
		m->load[l] = level[l].load;
	}
	m->counted_ns = now.ns;
}

/* Nobody in the level at hand is passed over.  Asked only when somebody would be. */
static bool panics(const struct pick *k)
{
	recount(k);
	return k->port->levels ? k->panics : k->mine->panics;
}

/* The n-th ready one may be passed over when it is out. */
static bool is_passed(const struct pick *k, uint32_t n)
{
	return !panics(k) && n < k->mine->passed;
}

static bool is_passed_over(const struct pick *k, uint32_t n, const struct vendpoint *e,
			   const struct board_endpoint *l)
{
	switch (standing(k, e, l)) {
	case STANDS_UNHEALTHY:
		return !panics(k);
	case STANDS_EJECTED:
		return is_passed(k, n);
	case STANDS_WELL:
		break;
	}
	return false;
}

/* What taking an endpoint costs; all of it, or by weight its parts as well. */
struct load {
	uint64_t all;
	uint64_t us, flight;
};

/* One that may be taken. */
struct seen {
	struct vendpoint *e;		/* where to write it */
	struct board_endpoint *live;	/* NULL: nothing is known of it */
	struct load load;
	bool ails;			/* it is out, or was: it needs a probe */
	bool may_be_out;		/* then, it may be taken all the same */
};

/* In flight counts in proportion to the weight: an endpoint of the mean weight has what it would have
 * without weights, but for the scale. */
static struct load weighed(const struct pick *k, uint32_t n, const struct board_endpoint *l)
{
	uint64_t w = max_of(vport_weight(k->port, n), 1u), mean = max_of(k->weights / k->ready, 1u);
	struct load r = { .us = endpoint_expected_us(l, clock_now()),
			  .flight = endpoint_in_flight(l) * mean * 1024 / w };	/* 2^32 * 2^10 * 2^10 */
	unsigned __int128 all = (unsigned __int128)(r.flight + 1024) * r.us;

	r.all = (uint64_t)min_of(all, (unsigned __int128)UINT64_MAX);
	return r;
}

/* The first of two, unless the second is better off. */
static bool keeps_first(const struct pick *k, const struct load *one, const struct load *two)
{
	if (likely(k->weights == 0) ||
	    (k->wish->how == BALANCER_PEAK_EWMA && (one->us > 2 * two->us || two->us > 2 * one->us)))
		return one->all <= two->all;
	return one->flight <= two->flight;
}

/* The n-th ready one, when it may be taken; with what taking it costs. */
static bool look(const struct pick *k, uint32_t n, bool also_out, struct seen *ret)
{
	struct board_endpoint *l;

	if (!nth_ready(k, n, ret->e) || (k->tried->n && was_tried(k->tried, &ret->e->addr)))
		return false;
	ret->live = l = live(k, ret->e);
	if (l == NULL) {
		ret->load = (struct load){ 0 };
		ret->ails = false;
		return true;
	}
	ret->ails = unlikely(!endpoint_is_well(l)) &&
		    endpoint_breaker(l, k->wish->ejection) != BREAKER_CLOSED;
	ret->may_be_out = also_out || (ret->ails && !is_passed(k, n));
	if (unlikely(ret->ails | k->wish->balancing->checked) && !also_out &&
	    is_passed_over(k, n, ret->e, l))
		return false;
	if (unlikely(k->weights)) {
		ret->load = weighed(k, n, l);
		return true;
	}
	ret->load.all = k->wish->how == BALANCER_PEAK_EWMA ? endpoint_load(l, clock_now()) :
							 endpoint_in_flight(l);
	return true;
}

/* Takes one that was looked at; false: another worker's exchange is its probe. */
static inline bool take(const struct pick *k, const struct seen *s)
{
	return likely(!s->ails) || endpoint_probe(s->live, k->wish->ejection, clock_now()) ||
	       s->may_be_out;
}

/* The first of the level that may be taken, from a place on. */
static bool scan(const struct pick *k, uint32_t from, bool also_out, struct vendpoint *ret)
{
	struct seen s = { .e = ret };

	from %= k->ready;
	for (uint32_t i = 0; i < k->ready; i++) {
		if (look(k, k->first + from, also_out, &s) && take(k, &s))
			return true;
		from = from + 1 < k->ready ? from + 1 : 0;
	}
	return false;
}

/* Two different positions. */
static void draw(const struct pick *k, uint32_t *a, uint32_t *b)
{
	uint32_t at, w;

	if (likely(k->weights == 0)) {
		*a = rand_below(k->ready);
		at = rand_below(k->ready - 1);
		*b = k->first + (at < *a ? at : at + 1);
		*a += k->first;
		return;
	}
	*a = vport_by_weight(k->port, k->before + rand_below(k->weights));
	w = vport_weight(k->port, *a);
	/* Drawn from what is left when those of a are taken out; never a view to trust. */
	at = k->before + (w < k->weights ? rand_below(k->weights - w) : 0);
	*b = vport_by_weight(k->port, at);
	if (*b >= *a)
		*b = vport_by_weight(k->port, at + w);
	if (*b == *a)
		*b = *a > k->first ? k->first : k->first + 1;
}

/* In 1,024ths: the part that it gets while it starts slowly. */
static uint32_t warmth(const struct pick *k, const struct seen *s)
{
	return s->live ? endpoint_warmth(s->live, k->wish->balancing, clock_now()) : ENDPOINT_WARM;
}

static bool draw_two(const struct pick *k, struct vendpoint *ret)
{
	unsigned draws = unlikely(k->warms) ? WARM_DRAWS : DRAWS;

	for (unsigned i = 0; i < draws && k->ready > 1; i++) {
		struct vendpoint e;
		struct seen one = { .e = ret }, two = { .e = &e };
		bool may_one, may_two;
		uint32_t a, b;

		draw(k, &a, &b);
		may_one = look(k, a, false, &one);
		may_two = look(k, b, false, &two);
		if (unlikely(k->warms)) {
			may_one = may_one && rand_below(ENDPOINT_WARM) < warmth(k, &one);
			may_two = may_two && warmth(k, &two) == ENDPOINT_WARM;
		}
		if (!may_one && !may_two)
			continue;
		if (may_one && (!may_two || keeps_first(k, &one.load, &two.load))) {
			if (take(k, &one))
				return true;
		} else if (take(k, &two)) {
			*ret = e;
			return true;
		}
	}
	return false;
}

/* Nobody is ready: those that still serve while they terminate, in turn. */
static bool terminating(const struct pick *k, struct vendpoint *ret)
{
	for (uint32_t i = 0; i < k->port->endpoints; i++)
		if (vport_endpoint(k->port, k->mine->at++ % k->port->endpoints, ret) &&
		    ret->serving && !was_tried(k->tried, &ret->addr))
			return true;
	return false;
}

/* Where round robin is: a step of the golden section through all weights; from the level's first. */
static uint32_t turn(const struct pick *k)
{
	uint32_t at = k->mine->at++;

	if (likely(k->weights == 0))
		return at;
	at = (uint32_t)((uint64_t)(at * 2654435769u) * k->weights >> 32);
	return vport_by_weight(k->port, k->before + at) - k->first;
}

/* Round robin while somebody starts slowly: most of his turns are the next one's. */
static bool warm_turn(const struct pick *k, struct vendpoint *ret)
{
	struct seen s = { .e = ret };

	for (unsigned i = 0; i < WARM_DRAWS; i++)
		if (look(k, k->first + turn(k) % k->ready, false, &s) &&
		    rand_below(ENDPOINT_WARM) < warmth(k, &s) && take(k, &s))
			return true;
	return false;
}

/* ---- levels ---- */

static bool enter(struct pick *k, unsigned level)
{
	const struct vlevel *l = &k->level;

	if (!vport_level(k->port, level, &k->level) || l->ready == 0 || l->first >= k->all ||
	    l->ready > k->all - l->first)
		return false;
	k->first = l->first;
	k->ready = l->ready;
	k->panics = k->mine->panics >> level & 1;
	k->before = k->weights = 0;
	if (k->port->weighted) {
		k->before = vport_weights_before(k->port, l->first);
		k->weights = vport_weights_before(k->port, l->first + l->ready) - k->before;
	}
	return true;
}

/* The level that so much of a hundred falls to. */
static bool enter_by_load(struct pick *k, unsigned percent)
{
	recount(k);
	for (unsigned l = 0; l < k->port->levels && l < VPORT_LEVELS; l++) {
		if (percent < k->mine->load[l])
			return enter(k, l);
		percent -= k->mine->load[l];
	}
	return false;
}

/* The one in the slot of the key; while that may not be taken, in the slot of the key hashed on as
 * Envoy does it for further attempts. */
static bool by_key(const struct pick *k, struct vendpoint *ret)
{
	struct seen s = { .e = ret };

	if (k->level.slots == 0)
		return false;
	for (uint64_t i = 0; i < REHASHES; i++) {
		uint32_t n = vlevel_slot(k->port, &k->level,
					 (uint32_t)((k->wish->hash ^ -i) % k->level.slots));

		if (n - k->first < k->ready && look(k, n, false, &s) && take(k, &s))
			return true;
	}
	return false;
}

/* One of the level at hand. */
static inline bool pick(const struct pick *k, struct vendpoint *ret)
{
	uint32_t from;

	if (k->wish->how == BALANCER_ROUND_ROBIN) {
		if (unlikely(k->warms) && warm_turn(k, ret))
			return true;
		from = turn(k);
	} else if (unlikely(k->wish->how == BALANCER_MAGLEV)) {
		if (by_key(k, ret))
			return true;
		from = (uint32_t)k->wish->hash;
	} else {
		if (draw_two(k, ret))
			return true;
		from = rand_u32();
	}
	return scan(k, from, false, ret);
}

/* None of the level at hand: any of the others, the best first; at last all that are left of this
 * exchange are out. */
static __attribute__((cold, noinline)) bool what_is_left(struct pick *k, struct vendpoint *ret)
{
	if (k->port->levels == 0)
		return scan(k, rand_u32(), true, ret);
	for (unsigned also_out = 0; also_out < 2; also_out++)
		for (unsigned l = 0; l < k->port->levels; l++)
			if (enter(k, l) && scan(k, rand_u32(), also_out, ret))
				return true;
	return false;
}

bool balance_pick(struct balance *b, const struct vport *port, const struct wish *wish,
		  const struct tried *tried, struct vendpoint *ret)
{
	struct pick k;

	k.b = b;
	k.mine = position(b, port);
	k.port = port;
	k.tried = tried;
	k.wish = wish;
	k.all = k.ready = vport_ready(port);
	k.first = k.before = k.weights = 0;
	k.panics = k.warms = false;
	k.level.slots = 0;
	if (k.all == 0)
		return terminating(&k, ret);
	if (unlikely(wish->balancing->slow_ms | wish->ejection->rate_interval_ms)) {
		recount(&k);
		k.warms = k.mine->warms;
	}
	if (unlikely(port->levels)) {
		/* A key stays in its level, too. */
		if (!enter_by_load(&k, wish->how == BALANCER_MAGLEV ? (unsigned)(wish->hash % 100) :
								      rand_below(100)))
			return what_is_left(&k, ret);
	} else if (unlikely(port->weighted)) {
		k.weights = vport_weights(port);
	}
	return likely(pick(&k, ret)) || what_is_left(&k, ret);
}
