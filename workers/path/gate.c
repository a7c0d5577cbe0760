/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Gates, and the settings of the path taken over while it works: see path.h.
 *
 *   phase    who                  how
 *   current  path->gate[i]        path_init(), path_use(); sockets and conns hold references
 *   gone     its sockets, conns   another path_use() had no listener for it: answers say "last one",
 *                                 at its deadline the rest is cut (path_gates_expire)
 *   free     the last reference   gate_unref() */
#include "workers/path/exchange.h"
#include "workers/path/mux.h"
#include "workers/path/secure.h"

#include <errno.h>

#include "workers/obs/rate.h"

#define GATES_MAX (GATES_OF_LISTENERS + GATE_DIRECTIONS * BANKS)
static_must(GATES_MAX <= BOARD_LISTENERS);
static_must(sizeof(struct gate) <= 768);	/* of each pod its home workers have two */

/* ---- one gate ---- */

/* A namespace and a Tenant may have one name, so a tenant is known by its slot. */
static void rate_keys(struct gate *g, const struct vnamespace *ns)
{
	const struct path *p = g->path;
	uint32_t slot[2] = { ns->tenant_slot.slot, ns->tenant_slot.gen };
	uint64_t *key = g->rate_key;

	key[RATE_KEY_NAMESPACE] = rate_key(p->board, slice_str(g->terms.ns));
	key[RATE_KEY_TENANT] = slot[0] ? rate_key(p->board, slice_of(slot, sizeof slot)) :
					 key[RATE_KEY_NAMESPACE];
}

void gate_resolve(struct gate *g)
{
	struct path *p = g->path;
	const struct gate_terms *k = &g->terms;
	struct vnamespace ns = { .tenant = slice_str(k->ns), .weight = 1 };
	struct tenant_terms terms;
	struct tenant *old = g->tenant;
	struct vservice s;

	if (p->view)
		view_namespace(p->view, slice_str(k->ns), &ns);
	terms = (struct tenant_terms){ .slot = ns.tenant_slot.slot, .gen = ns.tenant_slot.gen,
				       .weight = ns.weight, .connections = ns.connections,
				       .requests = ns.requests,
				       .memory_bytes = ns.memory_bytes };
	g->tenant = tenant_take(&p->tenants, &terms);
	if (old)
		tenant_give(&old);
	rate_keys(g, &ns);
	g->modes = ns.modes;
	g->has_service = p->view && k->route == LISTEN_SERVICE &&
			 view_service_by_name(p->view, slice_str(k->service_ns),
					      slice_str(k->service_name), &s);
	g->has_port = g->has_service && vservice_port(&s, (uint16_t)k->service_port, &g->port);
	g->who_n = (uint16_t)accesslog_who(&p->log, ns.tenant, slice_str(k->ns), slice_str(k->name), g->who);
	g->seen = p->view;
}

struct gate *gate_new(struct path *p, const struct gate_terms *terms)
{
	struct slot_ref ref;
	struct gate *g = slab_take(&p->gates, &ref);

	if (g == NULL)
		return NULL;
	g->path = p;
	g->terms = *terms;
	g->board = &p->mine->listener[ref.slot];
	board_set(&p->mine->listeners, p->gates.fresh);
	memset(g->board, 0, sizeof *g->board);
	memcpy(g->board->name, terms->name, sizeof g->board->name);
	g->refs = 1;
	gate_resolve(g);
	return g;
}

void gate_ref(struct gate *g)
{
	g->refs++;
}

void gate_unref(struct gate **gp)
{
	struct gate *g = *gp;

	*gp = NULL;
	must(g->refs > 0);
	if (--g->refs)
		return;
	g->path->gates_gone -= g->gone;
	g->path->gates_of_pods -= g->pod != 0;
	tenant_give(&g->tenant);
	if (g->side)
		tls_side_unref(&g->side);
	memset(g->board, 0, sizeof *g->board);
	slab_give(&g->path->gates, g);
}

static struct gate_terms terms_of(const struct knobs_listener *k)
{
	struct gate_terms t = { .service_port = k->service_port, .route = k->route,
				.forwarded = k->forwarded, .proxy_protocol = k->proxy_protocol,
				.tls = k->tls, .connections = (uint32_t)k->connections,
				.requests = (uint32_t)k->requests };

	memcpy(t.name, k->name, sizeof t.name);
	memcpy(t.ns, k->ns, sizeof t.ns);
	memcpy(t.service_ns, k->service_ns, sizeof t.service_ns);
	memcpy(t.service_name, k->service_name, sizeof t.service_name);
	return t;
}

static struct gate *of_listener(struct path *p, const struct knobs_listener *k)
{
	struct gate_terms t = terms_of(k);
	struct gate *g = gate_new(p, &t);

	if (g)
		secure_gate(g, k);
	return g;
}

/* ---- all of them ---- */

/* at start */
int path_gates_init(struct path *p)
{
	const struct knobs *k = p->knobs;
	int r = slab_init(&p->gates, "gate", sizeof(struct gate), GATES_MAX);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < k->n_listeners; i++)
		p->gate[i] = of_listener(p, &k->listener[i]);
	return 0;
}

void path_gates_fini(struct path *p)
{
	for (uint32_t i = 0; i < KNOBS_LISTENERS; i++)
		if (p->gate[i])
			gate_unref(&p->gate[i]);
	for (uint32_t i = 0; i < BANKS; i++)
		for (unsigned d = 0; d < GATE_DIRECTIONS; d++)
			if (p->pod[i][d])
				gate_unref(&p->pod[i][d]);
	slab_fini(&p->gates);
}

const char *path_namespace_of(const struct path *p, const struct tenant *t)
{
	for (uint32_t i = 0; t && i < p->knobs->n_listeners; i++)
		if (p->gate[i] && p->gate[i]->tenant == t)
			return p->knobs->listener[i].ns;
	return "-";
}

static void each_gone(struct path *p, void (*fn)(struct gate *))
{
	for (uint32_t i = 0; p->gates_gone && i < p->gates.fresh; i++) {
		struct gate *g = slab_at(&p->gates, (struct slot_ref){ i, p->gates.gen[i] });

		if (g && g->gone)
			fn(g);
	}
}

static void expire(struct gate *g)
{
	struct path *p = g->path;

	if (clock_now().ns < g->gone_at.ns)
		return;
	for (uint32_t i = 0; i < p->conns.fresh; i++) {
		struct conn *c = slab_at(&p->conns, (struct slot_ref){ i, p->conns.gen[i] });

		if (c && c->magic == CONN_MAGIC && c->state != CONN_CLOSED && c->gate == g)
			conn_end(c, g->pod ? REASON_POD_GONE : REASON_LISTENER_GONE, CONN_EV_DRAIN_END);
	}
}

void path_gates_expire(struct path *p)
{
	each_gone(p, expire);
}

static void gauges(struct gate *g)
{
	board_set(&g->board->c[LC_conns_gauge], g->conns);
	board_set(&g->board->c[LC_requests_gauge], g->requests);
}

void path_gates_gauges(struct path *p)
{
	for (uint32_t i = 0; i < p->knobs->n_listeners; i++)
		gauges(p->gate[i]);
	for (uint32_t i = 0; i < BANKS; i++)
		for (unsigned d = 0; d < GATE_DIRECTIONS; d++)
			if (p->pod[i][d])
				gauges(p->pod[i][d]);
	each_gone(p, gauges);
}

/* ---- other settings ---- */

/* The same callers are let in: theirs is the tenant that they were accepted for, and what was found
 * out about their connection at that time is enough. */
static bool is_same_gate(const struct knobs_listener *was, const struct knobs_listener *now)
{
	return strcmp(was->ns, now->ns) == 0 && was->route == now->route;
}

/* Of the listener of the settings in use that this one takes the place of; -1: it is a new one. */
static int gate_before(const struct path *p, const struct knobs_listener *now)
{
	int i = knobs_find_socket(p->knobs, now);

	return i >= 0 && is_same_gate(&p->knobs->listener[i], now) ? i : -1;
}

int path_try(const struct path *p, const struct knobs *now)
{
	uint32_t fresh = 0;

	for (uint32_t i = 0; i < now->n_listeners; i++)
		fresh += gate_before(p, &now->listener[i]) < 0;
	return p->gates.live - p->gates_of_pods + fresh > GATES_OF_LISTENERS ? -EAGAIN : 0;
}

void gate_retire(struct path *p, struct gate **gp, int64_t drain_ms)
{
	(*gp)->gone = true;
	(*gp)->gone_at = mono_after_ms(clock_now(), drain_ms);
	p->gates_gone++;
	gate_unref(gp);
}

static void use_gates(struct path *p, const struct knobs *now)
{
	struct gate *was[KNOBS_LISTENERS];

	memcpy(was, p->gate, sizeof was);
	memset(p->gate, 0, sizeof p->gate);
	for (uint32_t i = 0; i < now->n_listeners; i++) {
		int at = gate_before(p, &now->listener[i]);

		if (at < 0) {
			p->gate[i] = of_listener(p, &now->listener[i]);
			must(p->gate[i] != NULL);	/* path_try() saw to it */
			continue;
		}
		p->gate[i] = was[at];
		p->gate[i]->terms = terms_of(&now->listener[i]);
		secure_gate(p->gate[i], &now->listener[i]);
		memcpy(p->gate[i]->board->name, now->listener[i].name, sizeof p->gate[i]->board->name);
		was[at] = NULL;
	}
	for (uint32_t i = 0; i < KNOBS_LISTENERS; i++)
		if (was[i])
			gate_retire(p, &was[i], now->drain_ms);
	path_wake_sessions(p);
}

void path_use(struct path *p, const struct knobs *now, struct ring *access_ring)
{
	p->limits = (struct http1_limits){ .head_bytes = (uint32_t)now->head_bytes,
					   .headers = (uint32_t)now->headers,
					   .uri_bytes = (uint32_t)now->uri_bytes };
	mux_limits(&p->h2_limits, now);
	p->pool.keep = (uint32_t)now->pooled;
	path_trunks_use(p, now);
	pipes_limit(&p->pipes, (unsigned)now->pipes);
	sched_turns(&p->sched, now->turn_us, now->turn_bytes);
	tenants_defaults(&p->tenants, (uint64_t)now->tenant_memory, (uint32_t)now->tenant_conns,
			 (uint32_t)now->tenant_requests);
	p->log.json = now->access_log_format == LOG_JSON;
	p->log.ring = access_ring;
	use_gates(p, now);
	p->knobs = now;
	for (uint32_t i = 0; i < now->n_listeners; i++)
		gate_resolve(p->gate[i]);
	each_gone(p, gate_resolve);
}
