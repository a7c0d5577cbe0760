/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* top: totals of many things in one shape, with the time they were read, for whoever compares two
 * answers.  What is not known of a kind is null. */
#include "admin/show.h"

#include <stdio.h>

#define ROWS_MAX 20000

struct rows {
	const struct state *st;
	struct text *t;
	unsigned n;
};

struct totals {
	const char *name, *state;	/* state NULL: it has none */
	uint64_t exchanges, now;
	bool has_bytes, has_busy;
	uint64_t in, out, busy_ns, memory_bytes;
	uint64_t response_ns;		/* 0: not known, or not of this kind */
	uint64_t failed;		/* the sum of failures, and what has no reason of its own */
	uint64_t reason[REASONS];
	uint64_t other, connect_failures;
	const struct service_sums *statuses;	/* NULL: none */
	const struct hist *time;	/* NULL: none */
};

/* An end that somebody should look into; what callers do and what policy wants is none. */
static bool is_failure(enum reason r)
{
	enum fault f = reason_row(r)->fault;

	return f == FAULT_BACK || f == FAULT_TENANT || f == FAULT_OPERATOR || f == FAULT_US;
}

/* An endpoint that answers 5xx fails with reason DONE: its status is what tells. */
static bool is_failed_status(const struct outcome_id *o)
{
	return o->is_http && o->status >= 500 && !is_failure(o->reason);
}

/* {"BACK_CUT": n, "503": n}: what failed, by reason, or by the status that the endpoint gave. */
static void failures(struct text *t, const struct totals *s)
{
	uint64_t status[1000] = { 0 };

	js_open(t, "failures", '{');
	for (unsigned i = 0; i < REASONS; i++)
		if (s->reason[i] && is_failure((enum reason)i))
			js_u64(t, reason_row((enum reason)i)->name, s->reason[i]);
	for (unsigned i = 0; s->statuses && i < s->statuses->outcomes; i++) {
		const struct outcome_id *o = &s->statuses->outcome[i].what;

		if (is_failed_status(o))
			status[o->status] += s->statuses->outcome[i].n;
	}
	for (unsigned i = 0; i < countof(status); i++) {
		char name[8];

		snprintf(name, sizeof name, "%u", i);
		if (status[i])
			js_u64(t, name, status[i]);
	}
	if (s->other)
		js_u64(t, "OTHER", s->other);
	if (s->connect_failures)
		js_u64(t, "connect", s->connect_failures);
	js_close(t, '}');
}

static void number_or_null(struct text *t, const char *key, bool has, uint64_t v)
{
	if (has)
		js_u64(t, key, v);
	else
		js_null(t, key);
}

static void row(struct rows *r, const struct totals *s)
{
	struct text *t = r->t;

	if (r->n++ >= ROWS_MAX)
		return;
	js_open(t, NULL, '{');
	js_str(t, "name", s->name);
	js_str(t, "state", s->state);
	js_u64(t, "exchanges_total", s->exchanges);
	js_u64(t, "failed_total", s->failed);
	failures(t, s);
	js_u64(t, "now", s->now);
	number_or_null(t, "received_bytes", s->has_bytes, s->in);
	number_or_null(t, "sent_bytes", s->has_bytes, s->out);
	number_or_null(t, "busy_ns", s->has_busy, s->busy_ns);
	number_or_null(t, "memory_bytes", s->has_busy, s->memory_bytes);
	number_or_null(t, "response_ns", s->response_ns > 0, s->response_ns);
	if (s->time)
		show_hist(t, "time", s->time);
	else
		js_null(t, "time");
	js_close(t, '}');
}

static void tenant_row(void *arg, const struct vnamespace *ns)
{
	struct rows *r = arg;
	struct tenant_sums n;
	struct totals s = { .has_bytes = true, .has_busy = true };
	char name[256];

	gather_tenant(r->st, ns->tenant_slot, &n);
	if (ns->tenant.n == 0 && n.c[TC_conns] == 0)
		return;
	snprintf(name, sizeof name, "%.*s", (int)min_of(ns->tenant.n, sizeof name - 1),
		 (const char *)ns->tenant.p);
	s.name = name[0] ? name : "(others)";
	s.exchanges = n.c[TC_exchanges];
	s.now = n.c[TC_conns_gauge];
	s.in = n.c[TC_bytes_in];
	s.out = n.c[TC_bytes_out];
	s.busy_ns = n.c[TC_busy_ns];
	s.memory_bytes = n.c[TC_memory_gauge];
	s.time = &n.hist[TH_inside];
	for (unsigned i = 0; i < REASONS; i++) {
		s.reason[i] = n.reasons[i];
		s.failed += is_failure((enum reason)i) ? n.reasons[i] : 0;
	}
	row(r, &s);
}

/* What its endpoints have now: a Service has no gauge of its own. */
static uint64_t in_flight(const struct state *st, const struct vservice *s)
{
	struct endpoint_sums n;
	struct vendpoint e;
	uint64_t sum = 0;
	struct vport p;

	for (uint32_t k = 0; vservice_port_at(s, k, &p); k++)
		for (uint32_t i = 0; i < p.endpoints && vport_endpoint(&p, i, &e); i++) {
			if (slot_is_shared(e.slot, BOARD_ENDPOINTS))
				continue;
			gather_endpoint(st, &p, &e, &n);
			sum += n.in_flight;
		}
	return sum;
}

static void service_row(struct rows *r, const struct vservice *s)
{
	struct slice ns = vservice_ns(s), name = vservice_name(s);
	struct totals row_of = { .has_bytes = true };
	struct service_sums n;
	char text[400];

	if (slot_is_shared(vservice_slot(s), BOARD_SERVICES))
		return;
	gather_service(r->st, vservice_slot(s), &n);
	snprintf(text, sizeof text, "%.*s/%.*s", (int)min_of(ns.n, (size_t)63), (const char *)ns.p,
		 (int)min_of(name.n, (size_t)253), (const char *)name.p);
	row_of.name = text;
	row_of.exchanges = n.requests + n.class[OUTCOME_flow];
	row_of.now = in_flight(r->st, s);
	row_of.in = n.c[SC_bytes_in];
	row_of.out = n.c[SC_bytes_out];
	row_of.statuses = &n;
	row_of.time = &n.hist[SH_duration];
	for (unsigned i = 0; i < n.outcomes; i++) {
		const struct outcome_id *o = &n.outcome[i].what;

		row_of.reason[o->reason] += n.outcome[i].n;
		if (is_failure(o->reason) || is_failed_status(o))
			row_of.failed += n.outcome[i].n;
	}
	row_of.other = n.other[OUTCOME_5xx] + n.other[OUTCOME_none];
	row_of.failed += row_of.other;
	row(r, &row_of);
}

static void endpoint_rows(struct rows *r, const struct vservice *s)
{
	struct vport p;

	for (uint32_t k = 0; vservice_port_at(s, k, &p); k++) {
		struct vendpoint e;

		for (uint32_t i = 0; i < p.endpoints && vport_endpoint(&p, i, &e); i++) {
			struct slice ns = vservice_ns(s), name = vservice_name(s);
			char text[400], addr[ADDR_TEXT];
			struct endpoint_sums n;

			if (slot_is_shared(e.slot, BOARD_ENDPOINTS))
				continue;
			gather_endpoint(r->st, &p, &e, &n);
			snprintf(text, sizeof text, "%.*s/%.*s %s", (int)min_of(ns.n, (size_t)63),
				 (const char *)ns.p, (int)min_of(name.n, (size_t)253),
				 (const char *)name.p, addr_text(&e.addr, true, addr));
			row(r, &(struct totals){
				.name = text, .state = show_endpoint_state(&e, &n),
				.exchanges = n.exchanges, .now = n.in_flight,
				.failed = n.failures + n.connect_failures,
				.connect_failures = n.connect_failures,
				.response_ns = n.rtt_us * 1000ull,
			});
		}
	}
}

void show_top(struct state *st, const struct call *c, struct answer *ret)
{
	const char *by = call_text(c, "by") ? call_text(c, "by") : "tenants";
	bool endpoints = strcmp(by, "endpoints") == 0;
	struct rows r = { .st = st };
	struct vservice s;

	if (!show_has_view(st, ret))
		return;
	if (!endpoints && strcmp(by, "tenants") != 0 && strcmp(by, "services") != 0) {
		answer_error(ret, 400, "what is compared is tenants, services or endpoints", by, NULL);
		return;
	}
	*ret = show_ok();
	r.t = &ret->body;
	js_str(r.t, "by", by);
	js_i64(r.t, "at_mono_ms", st->now_mono_ms);
	js_open(r.t, "rows", '[');
	if (strcmp(by, "tenants") == 0)
		gather_tenants(st, tenant_row, &r);
	else
		for (uint32_t i = 0; view_service_nth(st->view, i, &s); i++)
			if (endpoints)
				endpoint_rows(&r, &s);
			else
				service_row(&r, &s);
	js_close(r.t, ']');
	js_u64(r.t, "left_out", r.n > ROWS_MAX ? r.n - ROWS_MAX : 0);
	show_end(ret);
}
