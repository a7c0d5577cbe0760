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
	const char *name;
	uint64_t exchanges, failed, now;
	bool has_bytes, has_busy, has_time;
	uint64_t in, out, busy_ns;
	uint64_t time_ns, time_of;	/* sum and number of durations */
};

static void row(struct rows *r, const struct totals *s)
{
	struct text *t = r->t;

	if (r->n++ >= ROWS_MAX)
		return;
	js_open(t, NULL, '{');
	js_str(t, "name", s->name);
	js_u64(t, "exchanges_total", s->exchanges);
	js_u64(t, "failed_total", s->failed);
	js_u64(t, "now", s->now);
	if (s->has_bytes) {
		js_u64(t, "received_bytes", s->in);
		js_u64(t, "sent_bytes", s->out);
	} else {
		js_null(t, "received_bytes");
		js_null(t, "sent_bytes");
	}
	if (s->has_busy)
		js_u64(t, "busy_ns", s->busy_ns);
	else
		js_null(t, "busy_ns");
	if (s->has_time) {
		js_u64(t, "time_ns", s->time_ns);
		js_u64(t, "time_of", s->time_of);
	} else {
		js_null(t, "time_ns");
		js_null(t, "time_of");
	}
	js_close(t, '}');
}

static void tenant_row(void *arg, const struct vnamespace *ns)
{
	struct rows *r = arg;
	struct tenant_sums n;
	char name[256];

	gather_tenant(r->st, ns->tenant_slot, &n);
	snprintf(name, sizeof name, "%.*s", (int)min_of(ns->tenant.n, sizeof name - 1),
		 (const char *)ns->tenant.p);
	row(r, &(struct totals){
		.name = name[0] ? name : "(all others)",
		.exchanges = n.c[TC_exchanges], .failed = n.c[TC_refused],
		.now = n.c[TC_conns_gauge], .has_bytes = true, .in = n.c[TC_bytes_in],
		.out = n.c[TC_bytes_out], .has_busy = true, .busy_ns = n.c[TC_busy_ns],
	});
}

static void service_row(struct rows *r, const struct vservice *s)
{
	struct slice ns = vservice_ns(s), name = vservice_name(s);
	struct service_sums n;
	char text[400];

	if (slot_is_shared(vservice_slot(s), BOARD_SERVICES))
		return;
	gather_service(r->st, vservice_slot(s), &n);
	snprintf(text, sizeof text, "%.*s/%.*s", (int)min_of(ns.n, (size_t)63), (const char *)ns.p,
		 (int)min_of(name.n, (size_t)253), (const char *)name.p);
	row(r, &(struct totals){
		.name = text, .exchanges = n.requests + n.c[SC_flows],
		.failed = n.c[SC_requests_5xx] + n.c[SC_requests_none], .has_bytes = true,
		.in = n.c[SC_bytes_in], .out = n.c[SC_bytes_out], .has_time = true,
		.time_ns = n.c[SC_duration_us] * 1000, .time_of = n.finished,
	});
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
			gather_endpoint(r->st, e.slot, &n);
			snprintf(text, sizeof text, "%.*s/%.*s %s", (int)min_of(ns.n, (size_t)63),
				 (const char *)ns.p, (int)min_of(name.n, (size_t)253),
				 (const char *)name.p, addr_text(&e.addr, true, addr));
			row(r, &(struct totals){
				.name = text, .exchanges = n.exchanges, .failed = n.failures,
				.now = n.in_flight, .has_time = n.rtt_us > 0,
				.time_ns = n.rtt_us * 1000ull, .time_of = n.rtt_us > 0,
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
