/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See balance.h. */
#include "workers/pool/balance.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/endpoint.h"

#define DRAWS	  4		/* pairs, before all are looked at */
#define RECOUNT_NS (100 * NS_PER_MS)

/* One pick: what is asked, and what is known while it lasts. */
struct pick {
	struct balance *b;
	struct balance_port *mine;
	const struct vport *port;
	const struct tried *tried;
	enum balancer how;
	uint32_t ready;
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

/* Counted at most ten times a second, and only when somebody is out at all. */
static bool most_are_out(const struct pick *k)
{
	struct mono now = clock_now();
	uint32_t out = 0;

	if (k->mine->counted_ns && now.ns - k->mine->counted_ns < RECOUNT_NS)
		return k->mine->most_out;
	for (uint32_t i = 0; i < k->ready; i++) {
		struct board_endpoint *l;
		struct vendpoint e;

		l = nth_ready(k, i, &e) ? live(k, &e) : NULL;
		out += l && endpoint_out_ms(l, now) > 0;
	}
	k->mine->most_out = out > k->ready / 2;
	k->mine->counted_ns = now.ns;
	return k->mine->most_out;
}

/* The n-th ready one, when it may be taken; with what taking it costs. */
static bool look(const struct pick *k, uint32_t n, bool also_out, struct vendpoint *ret,
		 uint64_t *ret_load)
{
	struct board_endpoint *l;

	*ret_load = 0;
	if (!nth_ready(k, n, ret) || (k->tried->n && was_tried(k->tried, &ret->addr)))
		return false;
	l = live(k, ret);
	if (l == NULL)
		return true;
	if (unlikely(endpoint_is_out(l, clock_now())) && !also_out && !most_are_out(k))
		return false;
	*ret_load = k->how == BALANCER_PEAK_EWMA ? endpoint_load(l, clock_now()) :
						     endpoint_in_flight(l);
	return true;
}

/* The first that may be taken, from a place on. */
static bool scan(const struct pick *k, uint32_t from, bool also_out, struct vendpoint *ret)
{
	uint64_t load;

	for (uint32_t i = 0; i < k->ready; i++)
		if (look(k, (from + i) % k->ready, also_out, ret, &load))
			return true;
	return false;
}

static bool draw_two(const struct pick *k, struct vendpoint *ret)
{
	for (unsigned i = 0; i < DRAWS && k->ready > 1; i++) {
		uint32_t a = rand_below(k->ready), b = rand_below(k->ready - 1);
		struct vendpoint one, two;
		uint64_t load_one, load_two;
		bool may_one = look(k, a, false, &one, &load_one);
		bool may_two = look(k, b < a ? b : b + 1, false, &two, &load_two);

		if (!may_one && !may_two)
			continue;
		*ret = may_one && (!may_two || load_one <= load_two) ? one : two;
		return true;
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

bool balance_pick(struct balance *b, const struct vport *port, enum balancer how,
		  const struct tried *tried, struct vendpoint *ret)
{
	struct pick k = { .b = b, .mine = position(b, port), .port = port, .tried = tried,
			  .how = how, .ready = vport_ready(port) };
	uint32_t from;

	if (k.ready == 0)
		return terminating(&k, ret);
	if (how != BALANCER_ROUND_ROBIN && draw_two(&k, ret))
		return true;
	from = how == BALANCER_ROUND_ROBIN ? k.mine->at++ : rand_u32();
	/* The last: all that are left of this exchange are out. */
	return scan(&k, from % k.ready, false, ret) || scan(&k, from % k.ready, true, ret);
}
