/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See residents.h. */
#include "workers/path/residents.h"

#include "workers/path/exchange.h"
#include "workers/path/pods.h"

static struct resident *find(struct path *p, uint32_t ref)
{
	struct resident *l = &p->residents.at[ref % BANKS];

	return ref && l->ref == ref ? l : NULL;
}

static void end_at(struct path *p, struct resident *l, struct mono until)
{
	p->residents.ending -= l->bound_until.ns != 0;
	l->bound_until = until;
	p->residents.ending += until.ns != 0;
}

void residents_here(struct path *p, uint32_t ref, uint8_t origin)
{
	struct resident *l = &p->residents.at[ref % BANKS];
	bool same = l->ref == ref;

	if (!same)
		end_at(p, l, (struct mono){ 0 });
	if (same && l->origin != origin) {
		/* What waits for a next request was opened for another way. */
		path_pod_close_idle(p, ref);
		if (l->origin == MODE_PRESERVE)
			end_at(p, l, mono_after_ms(clock_now(), p->knobs->drain_ms));
		else if (origin == MODE_PRESERVE)
			end_at(p, l, (struct mono){ 0 });
	}
	l->ref = ref;
	l->origin = origin;
}

void residents_gone(struct path *p, uint32_t ref)
{
	struct resident *l = find(p, ref);

	if (l == NULL)
		return;
	end_at(p, l, (struct mono){ 0 });
	l->ref = 0;
}

/* Answers to them have no way any more. */
static void cut_bound(struct path *p, uint32_t ref)
{
	for (uint32_t i = 0; i < p->conns.fresh; i++) {
		struct conn *c = slab_at(&p->conns, (struct slot_ref){ i, p->conns.gen[i] });
		const struct back *b = c && c->magic == CONN_MAGIC && c->state == CONN_BUSY && c->ex ?
					       c->ex->back : NULL;

		if (b && b->key.pod == ref && b->key.how == ORIGIN_BOUND)
			conn_end(c, REASON_ORIGIN_CHANGED, CONN_EV_DRAIN_END);
	}
	path_pod_close_idle(p, ref);
}

void residents_tick(struct path *p)
{
	for (unsigned i = 0; p->residents.ending && i < BANKS; i++) {
		struct resident *l = &p->residents.at[i];

		if (l->bound_until.ns == 0 || clock_now().ns < l->bound_until.ns)
			continue;
		end_at(p, l, (struct mono){ 0 });
		cut_bound(p, l->ref);
	}
}

/* Who has only an address of its link cannot be shown elsewhere: it has no name of the link there. */
static bool is_of_link(const struct addr *a)
{
	return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

void residents_origin(const struct exchange *ex, struct back_key *key)
{
	struct conn *c = ex->conn;
	const struct resident *l = find(c->path, key->pod);
	struct addr from;

	if (c->gate->direction != GATE_IN || l == NULL || l->origin == MODE_OWN ||
	    addr_parse_ip(conn_peer_text(c), &from) < 0 || from.family != key->addr.family)
		return;
	if (l->origin == MODE_PROXY_PROTOCOL) {
		from.port = c->peer_port;
		key->how = ORIGIN_TOLD;
	} else if (is_of_link(&from)) {
		return;
	} else {
		key->how = ORIGIN_BOUND;
	}
	key->origin = from;
}
