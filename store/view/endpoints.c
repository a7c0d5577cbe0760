/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Ports of a Service, the endpoints behind each, and the policies of each. */
#include "store/view/reader.h"

static void port_at(const struct vservice *s, uint32_t i, const struct unit_port *p,
		    struct vport *ret)
{
	*ret = (struct vport){
		.service = *s,
		.index = i,
		.port = p->port,
		.protocol = (enum app_protocol)p->protocol,
		.has_routes = p->n_tables > 0,
		.has_policy = p->policy != 0,
		.has_rate = p->rate != 0,
		.has_tls = p->tls != 0,
		.weighted = p->sum != 0,
		.levels = (uint8_t)p->n_levels,
		.endpoints = p->n_endpoints,
	};
}

uint32_t vservice_ports(const struct vservice *s)
{
	return vservice_svc(s)->n_ports;
}

bool vservice_port_at(const struct vservice *s, uint32_t i, struct vport *ret)
{
	const struct unit_svc *u = vservice_svc(s);
	const struct unit_port *p = unit_item(vservice_unit(s), u->ports, u->n_ports, sizeof *p, i);

	if (p == NULL)
		return false;
	port_at(s, i, p, ret);
	return true;
}

bool vservice_port(const struct vservice *s, uint16_t port, struct vport *ret)
{
	const struct unit_svc *u = vservice_svc(s);

	for (uint32_t i = 0; i < u->n_ports; i++) {
		const struct unit_port *p =
			unit_item(vservice_unit(s), u->ports, u->n_ports, sizeof *p, i);

		if (p && p->port == port) {
			port_at(s, i, p, ret);
			return true;
		}
	}
	return false;
}

struct slice vport_name(const struct vport *p)
{
	const struct unit_port *u = vport_unit(p);

	return u ? unit_text(vservice_unit(&p->service), u->name) : (struct slice){ 0 };
}

bool vport_endpoint(const struct vport *p, uint32_t i, struct vendpoint *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *u = vport_unit(p);
	const struct unit_endpoint *e;

	if (u == NULL || i >= u->n_endpoints || u->endpoint > s->n_endpoints)
		return false;
	e = unit_item(unit, s->endpoints, s->n_endpoints, sizeof *e, u->endpoint + i);
	if (e == NULL)
		return false;
	*ret = (struct vendpoint){
		.addr = { .port = e->port, .family = e->family },
		.slot = { e->slot, e->gen },
		.ready = e->flags & ENDPOINT_READY,
		.serving = e->flags & ENDPOINT_SERVING,
		.terminating = e->flags & ENDPOINT_TERMINATING,
		.zone = unit_text(unit, e->zone),
		.node = unit_text(unit, e->node),
		.host = unit_text(unit, e->host),
	};
	memcpy(ret->addr.ip, e->ip, sizeof e->ip);
	return true;
}

uint32_t vport_ready(const struct vport *p)
{
	const struct unit_port *u = vport_unit(p);

	return u ? u->n_ready : 0;
}

uint32_t vport_ready_at(const struct vport *p, uint32_t n)
{
	(void)p;
	return n; /* ready ones stand first */
}

bool vport_level(const struct vport *p, uint32_t i, struct vlevel *ret)
{
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *u = vport_unit(p);
	const struct unit_level *l;

	if (u == NULL || i >= u->n_levels || u->level > s->n_levels)
		return false;
	l = unit_item(vservice_unit(&p->service), s->levels, s->n_levels, sizeof *l, u->level + i);
	if (l == NULL)
		return false;
	*ret = (struct vlevel){ .first = l->first, .ready = l->n_ready, .total = l->n_total,
				.priority = l->priority, .far = l->far, .slots = l->n_slots,
				.slot = l->slot };
	return true;
}

uint32_t vlevel_slot(const struct vport *p, const struct vlevel *l, uint32_t i)
{
	const struct unit_svc *s = vservice_svc(&p->service);
	const uint16_t *slot = NULL;

	if (i < l->slots && l->slot <= s->n_slots)
		slot = unit_item(vservice_unit(&p->service), s->slots, s->n_slots, sizeof *slot,
				 l->slot + i);
	return l->first + (slot ? *slot : 0);
}

/* ---- weights ---- */

/* Of the endpoints up to i; 0: they are alike, or there are no more. */
static uint32_t sum_at(const struct vport *p, uint32_t i)
{
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *u = vport_unit(p);
	const uint32_t *sum;

	if (u == NULL || u->sum == 0 || i >= u->n_endpoints || u->sum > s->n_sums)
		return 0;
	sum = unit_item(vservice_unit(&p->service), s->sums, s->n_sums, sizeof *sum, u->sum - 1 + i);
	return sum ? *sum : 0;
}

uint32_t vport_weight(const struct vport *p, uint32_t i)
{
	return p->weighted ? sum_at(p, i) - (i ? sum_at(p, i - 1) : 0) : VPORT_WEIGHT;
}

uint32_t vport_weights_before(const struct vport *p, uint32_t n)
{
	return n ? sum_at(p, n - 1) : 0;
}

uint32_t vport_weights(const struct vport *p)
{
	uint32_t n = vport_ready(p);

	return n ? sum_at(p, n - 1) : 0;
}

uint32_t vport_by_weight(const struct vport *p, uint32_t at)
{
	uint32_t lo = 0, hi = vport_ready(p);

	/* The first whose sum is above. */
	while (lo + 1 < hi) {
		uint32_t mid = lo + (hi - lo - 1) / 2;

		if (sum_at(p, mid) > at)
			hi = mid + 1;
		else
			lo = mid + 1;
	}
	return lo;
}

/* ---- policies ---- */

static const struct unit_policy *policy_unit(const struct vport *p, struct slice unit)
{
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *port = vport_unit(p);

	if (port == NULL || port->policy == 0)
		return NULL;
	return unit_item(unit, s->policies, s->n_policies, sizeof(struct unit_policy), port->policy - 1);
}

bool vport_check(const struct vport *p, struct vcheck *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_policy *u = policy_unit(p, unit);

	if (u == NULL || u->check == 0)
		return false;
	*ret = (struct vcheck){
		.type = (enum check_type)u->check,
		.path = unit_text(unit, u->check_path),
		.interval_ms = u->check_interval_ms,
		.timeout_ms = u->check_timeout_ms,
		.healthy = u->check_healthy,
		.unhealthy = u->check_unhealthy,
		.n_statuses = u->check_statuses,
	};
	for (unsigned i = 0; i < VCHECK_STATUSES; i++)
		ret->status[i] = (struct vstatuses){ u->check_status[i].from, u->check_status[i].to };
	return true;
}

bool vport_policy(const struct vport *p, struct vpolicy *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_policy *u = policy_unit(p, unit);

	if (u == NULL)
		return false;
	*ret = (struct vpolicy){
		.name = unit_text(unit, u->name),
		.balancer = (enum balancer)u->balancer,
		.connect_ms = u->connect_ms,
		.response_ms = u->response_ms,
		.stall_ms = u->stall_ms,
		.tcp_idle_ms = u->tcp_idle_ms,
		.connections = u->connections,
		.requests = u->requests,
		.pending = u->pending,
		.pending_ms = u->pending_ms,
		.limit = { u->slot, u->gen },
		.hash_by = (enum hash_by)u->hash_by,
		.hash_name = unit_text(unit, u->hash_name),
		.prefer_zone = u->prefer_zone,
		.balancing = u->balancing,
		.ejection = u->ejection,
		.times = u->times,
		.delay_ms = u->delay_ms,
		.abort_status = u->abort_status,
		.abort_grpc = u->abort_grpc,
		.delay_percent = u->delay_percent,
		.abort_percent = u->abort_percent,
	};
	return true;
}

const char *balancer_name(enum balancer b)
{
	static const char *const name[BALANCERS] = {
		[BALANCER_DEFAULT] = "default",
		[BALANCER_PEAK_EWMA] = "PeakEWMA",
		[BALANCER_LEAST_REQUEST] = "LeastRequest",
		[BALANCER_ROUND_ROBIN] = "RoundRobin",
		[BALANCER_MAGLEV] = "Maglev",
	};

	return (unsigned)b < BALANCERS ? name[b] : "?";
}

const char *hash_by_name(enum hash_by h)
{
	static const char *const name[HASH_BYS] = {
		[HASH_BY_NOTHING] = "",
		[HASH_BY_HEADER] = "Header",
		[HASH_BY_COOKIE] = "Cookie",
		[HASH_BY_SOURCE] = "SourceIP",
	};

	return (unsigned)h < HASH_BYS ? name[h] : "?";
}

/* ---- rate limits ---- */

static struct vpace pace_of(const struct unit_pace *u)
{
	struct vpace p = { u->requests, u->interval_ms, u->burst, 0 };

	if (p.requests)
		p.every_ns = ((uint64_t)p.interval_ms * 1000000 + p.requests - 1) / p.requests;
	return p;
}

bool vport_rate(const struct vport *p, struct vrate *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *port = vport_unit(p);
	const struct unit_rate *u;

	if (port == NULL || port->rate == 0)
		return false;
	u = unit_item(unit, s->rates, s->n_rates, sizeof *u, port->rate - 1);
	if (u == NULL)
		return false;
	*ret = (struct vrate){
		.name = unit_text(unit, u->name),
		.key = (enum rate_key)u->key,
		.identity = pace_of(&u->identity),
		.total = pace_of(&u->total),
		.slot = { u->slot, u->gen },
	};
	return true;
}

const char *rate_key_name(enum rate_key k)
{
	static const char *const name[RATE_KEYS] = {
		[RATE_KEY_NAMESPACE] = "Namespace",
		[RATE_KEY_TENANT] = "Tenant",
	};

	return (unsigned)k < RATE_KEYS ? name[k] : "?";
}
