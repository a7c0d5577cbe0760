/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See residents.h. */
#include "workers/path/residents.h"

#include <errno.h>

#include "workers/path/exchange.h"
#include "workers/path/pods.h"

static struct resident *find(struct path *p, uint32_t ref)
{
	struct resident *r = &p->residents.at[ref % BANKS];

	return ref && r->ref == ref ? r : NULL;
}

/* ---- by address ---- */

static struct addr without_port(const struct addr *a)
{
	struct addr ip = *a;

	ip.port = 0;
	return ip;
}

static uint64_t hash_of(const struct addr *ip)
{
	return hash_slice(slice_of(ip, sizeof *ip));
}

const struct resident *residents_at(const struct path *p, const struct addr *a)
{
	struct addr ip = without_port(a);
	const struct resident *found = NULL;

	for (struct hash_node *n = hash_first(&p->residents.by_ip, hash_of(&ip)); n; n = hash_next(n)) {
		const struct resident_at *at = container_of(n, struct resident_at, by_ip);

		if (!addr_eq(&at->addr, &ip))
			continue;
		if (found)
			return NULL;
		found = at->of;
	}
	return found;
}

static void leave_addresses(struct path *p, struct resident *r)
{
	while (r->first) {
		struct resident_at *at = r->first;

		r->first = at->next;
		hash_remove(&p->residents.by_ip, &at->by_ip);
		slab_give(&p->residents.addresses, at);
	}
}

static int take_addresses(struct path *p, struct resident *r, const struct resident_told *told)
{
	struct resident_at **last = &r->first;

	for (uint32_t i = 0; i < min_of(told->n, (uint32_t)RESIDENT_ADDRESSES); i++) {
		struct resident_at *at = slab_take(&p->residents.addresses, NULL);

		if (at == NULL)
			return -ENOMEM;
		at->addr = without_port(&told->at[i]);
		at->of = r;
		if (hash_add(&p->residents.by_ip, &at->by_ip, hash_of(&at->addr)) < 0) {
			slab_give(&p->residents.addresses, at);
			return -ENOMEM;
		}
		*last = at;
		last = &at->next;
	}
	return 0;
}

/* ---- coming and going ---- */

int residents_init(struct path *p)
{
	return slab_init(&p->residents.addresses, "resident_at", sizeof(struct resident_at), BANKS * RESIDENT_ADDRESSES);
}

static void end_at(struct path *p, struct resident *r, struct mono until)
{
	p->residents.ending -= r->bound_until.ns != 0;
	r->bound_until = until;
	p->residents.ending += until.ns != 0;
}

static void take_origin(struct path *p, struct resident *r, uint8_t origin)
{
	if (r->origin == origin)
		return;
	/* What waits for a next request was opened for another way. */
	path_pod_close_idle(p, r->ref);
	if (r->origin == MODE_PRESERVE)
		end_at(p, r, mono_after_ms(clock_now(), p->knobs->drain_ms));
	else if (origin == MODE_PRESERVE)
		end_at(p, r, (struct mono){ 0 });
	r->origin = origin;
}

int residents_here(struct path *p, const struct resident_told *told)
{
	struct resident *r = &p->residents.at[told->ref % BANKS];

	path_pod_bury(p, told->ref);
	if (r->ref && r->ref != told->ref)
		path_pod_gone(p, r->ref);	/* the same, of one that had no gates here */
	if (r->ref == 0) {
		r->ref = told->ref;
		r->origin = told->origin;
	}
	take_origin(p, r, told->origin);
	r->has_ipv6 = told->has_ipv6;
	memcpy(r->name, told->name, strnlen(told->name, sizeof r->name - 1));
	memcpy(r->ns, told->ns, strnlen(told->ns, sizeof r->ns - 1));
	leave_addresses(p, r);
	return take_addresses(p, r, told);
}

void residents_gone(struct path *p, uint32_t ref)
{
	struct resident *r = find(p, ref);

	if (r == NULL)
		return;
	end_at(p, r, (struct mono){ 0 });
	leave_addresses(p, r);
	*r = (struct resident){ .ref = 0 };
}

void residents_fini(struct path *p)
{
	for (unsigned i = 0; i < BANKS; i++)
		residents_gone(p, p->residents.at[i].ref);
	hash_fini(&p->residents.by_ip);
	slab_fini(&p->residents.addresses);
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
		struct resident *r = &p->residents.at[i];

		if (r->bound_until.ns == 0 || clock_now().ns < r->bound_until.ns)
			continue;
		end_at(p, r, (struct mono){ 0 });
		cut_bound(p, r->ref);
	}
}

/* ---- whose address is shown ---- */

/* Who has only an address of its link cannot be shown elsewhere: it has no name of the link there. */
static bool is_of_link(const struct addr *a)
{
	return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

/* Of the endpoint's family: the caller's, or another one of the pod that the caller is in. */
static bool address_of(const struct exchange *ex, unsigned family, struct addr *ret)
{
	struct conn *c = ex->conn;
	const struct resident *caller = c->gate->direction == GATE_OUT ? find(c->path, c->gate->pod) : NULL;
	const struct resident_at *at = caller ? caller->first : NULL;

	if (addr_parse_ip(conn_peer_text(c), ret) < 0)
		return false;
	for (; ret->family != family && at; at = at->next)
		if (at->addr.family == family)
			*ret = at->addr;
	return ret->family == family;
}

static void show(const struct exchange *ex, const struct resident *r, struct back_key *key)
{
	struct addr from;

	if (r->origin == MODE_OWN || !address_of(ex, key->addr.family, &from))
		return;
	if (r->origin == MODE_PROXY_PROTOCOL) {
		from.port = ex->conn->peer_port;
		key->how = ORIGIN_TOLD;
	} else if (is_of_link(&from)) {
		return;
	} else {
		key->how = ORIGIN_BOUND;
	}
	key->origin = from;
}

/* ---- guests ---- */

/* The pod whose application it goes straight to; NULL: none. */
static const struct resident *host_of(const struct exchange *ex, const struct back_key *key)
{
	const struct gate *g = ex->conn->gate;
	const struct resident *r;

	if (g->direction != GATE_OUT || g->modes.of[MODE_same_host] != MODE_DIRECT ||
	    pod_port_is_ours(key->addr.port))
		return NULL;
	r = residents_at(g->path, &key->addr);
	return r && (key->addr.family == 4 || r->has_ipv6) ? r : NULL;
}

static enum reason enter(struct exchange *ex, const struct resident *r)
{
	struct path *p = ex->conn->path;
	struct gate *g = path_pod_gate(p, r->ref, GATE_IN, r->ns, r->name);

	if (g == NULL)
		return REASON_NO_MEMORY;
	gate_now(g);
	if (tenant_admit(g->tenant) < 0) {
		board_add(&g->board->c[LC_refused], 1);
		return REASON_BACK_REFUSED;
	}
	if (tenant_request(g->tenant) < 0) {
		tenant_leave(g->tenant);
		board_add(&g->board->c[LC_refused], 1);
		return REASON_BACK_REFUSED;
	}
	ex->guest.gate = g;
	gate_ref(g);
	g->conns++;
	board_add(&g->board->c[LC_conns], 1);
	ex->guest.tenant = g->tenant;
	tenant_ref(g->tenant);
	bank_open(&p->banks, r->ref, r->has_ipv6, true);
	return REASON_NONE;
}

void residents_leave(struct exchange *ex)
{
	struct gate *g = ex->guest.gate;

	tenant_request_over(ex->guest.tenant);
	tenant_leave(ex->guest.tenant);
	tenant_give(&ex->guest.tenant);
	g->conns--;
	gate_unref(&ex->guest.gate);
}

enum reason residents_way(struct exchange *ex, struct back_key *key)
{
	const struct resident *r = host_of(ex, key);

	if (r) {
		enum reason why = enter(ex, r);

		if (why != REASON_NONE)
			return why;
		key->pod = r->ref;
	} else if (ex->conn->gate->direction == GATE_IN) {
		r = find(ex->conn->path, key->pod);
	}
	if (r)
		show(ex, r, key);
	return REASON_NONE;
}
