/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Series of Services: how exchanges with them ended and how long they took, what their policies limit,
 * and how their endpoints do. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/metrics_inner.h"

/* The Services that have a slot of their own, and once the shared one if anybody is in it. */
struct named {
	struct slice ns, name;
	struct slot_gen at;
	bool used;		/* most are not, and cost nothing then */
};

static size_t services(const struct state *st, struct named **ret)
{
	uint32_t n = st->view ? view_service_count(st->view) : 0;
	struct named *all = calloc((size_t)n + 1, sizeof *all);
	struct slot_gen at;
	bool shared = false;
	struct vservice s;
	size_t got = 0;

	*ret = all;
	for (uint32_t i = 0; all && i < n && view_service_nth(st->view, i, &s); i++) {
		at = vservice_slot(&s);
		if (slot_is_shared(at, BOARD_SERVICES))
			shared = true;
		else
			all[got++] = (struct named){ vservice_ns(&s), vservice_name(&s), at,
						     gather_service_used(st, at) };
	}
	if (shared && all)
		all[got++].used = true;
	return got;
}

static void service_labels(struct text *t, const char *metric, const struct named *s)
{
	text_adds(t, metric);
	metrics_label(t, '{', "namespace", s->ns);
	metrics_label(t, ',', "service", s->name);
}

/* Of the buckets one bound per octave is told, from 66 µs on (below lives nothing but the proxy). */
#define SERVICE_BOUND_FIRST 15
#define SERVICE_BOUND_STEP  4

static void service_hist(struct text *t, const char *name, const struct named *s,
			 const struct hist *h)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		sum += h->n[i];
		if (i != HIST_BUCKETS - 1 &&
		    (i < SERVICE_BOUND_FIRST || i % SERVICE_BOUND_STEP != SERVICE_BOUND_STEP - 1))
			continue;
		text_adds(t, name);
		service_labels(t, "_bucket", s);
		metrics_bucket_end(t, i, sum);
	}
	text_adds(t, name);
	service_labels(t, "_sum", s);
	text_addc(t, '}');
	metrics_seconds(t, h->sum_ns);
	text_adds(t, name);
	service_labels(t, "_count", s);
	metrics_value(t, sum);
}

static void outcome_line(struct text *t, const struct named *s, bool is_http, const char *code,
			 const char *reason, const char *flag, uint64_t n)
{
	service_labels(t, metrics_name(is_http ? M_requests : M_flows), s);
	if (is_http)
		metrics_label(t, ',', "code", slice_str(code));
	metrics_label(t, ',', "reason", slice_str(reason));
	metrics_label(t, ',', "flag", slice_str(flag));
	metrics_value(t, n);
}

/* Of one family: requests or flows. */
static void outcomes(struct text *t, const struct named *s, const struct service_sums *n,
		     bool is_http)
{
	for (unsigned i = 0; i < n->outcomes; i++) {
		const struct outcome_id *o = &n->outcome[i].what;
		const struct reason_row *r = reason_row(o->reason);
		char code[16];

		snprintf(code, sizeof code, "%u", o->status);
		if (o->is_http == is_http)
			outcome_line(t, s, is_http, code, r->name, r->flag, n->outcome[i].n);
	}
	for (unsigned i = 0; i < OUTCOME_CLASSES; i++)
		if (n->other[i] && (i != OUTCOME_flow) == is_http)
			outcome_line(t, s, is_http, i == OUTCOME_none ? "0" : outcome_class_name(
				     (enum outcome_class)i), "OTHER", "-", n->other[i]);
}

static void grpc_statuses(struct text *t, const struct named *s, const struct service_sums *n)
{
	for (unsigned i = 0; i < GRPC_STATUSES; i++) {
		char status[16];

		if (n->grpc[i] == 0)
			continue;
		snprintf(status, sizeof status, "%u", i);
		service_labels(t, metrics_name(M_grpc), s);
		metrics_label(t, ',', "status", slice_str(status));
		metrics_value(t, n->grpc[i]);
	}
}

/* What was never used has no series of outcomes and times: there would be nothing to see. */
void metrics_services(const struct state *st, struct text *t)
{
	struct service_sums n;
	struct counter_row row;
	struct named *all;
	size_t count = services(st, &all);

	for (unsigned k = 0; k < 3; k++) {
		static const uint8_t families[] = { M_requests, M_grpc, M_flows };

		metrics_begin(t, families[k]);
		for (size_t i = 0; i < count; i++) {
			if (!all[i].used)
				continue;
			gather_service(st, all[i].at, &n);
			if (families[k] == M_grpc)
				grpc_statuses(t, &all[i], &n);
			else
				outcomes(t, &all[i], &n, families[k] == M_requests);
		}
	}
	for (unsigned k = 0; service_counter_row(k, &row); k++) {
		if (!row.prom[0])
			continue;
		metrics_family(t, row.prom, metrics_type_of(&row), row.help);
		for (size_t i = 0; i < count; i++) {
			if (all[i].used)
				gather_service(st, all[i].at, &n);
			service_labels(t, row.prom, &all[i]);
			metrics_value(t, all[i].used ? n.c[k] : 0);
		}
	}
	for (unsigned k = 0; service_histogram_row(k, &row); k++) {
		metrics_family(t, row.prom, "histogram", row.help);
		for (size_t i = 0; i < count; i++) {
			if (!all[i].used)
				continue;
			gather_service(st, all[i].at, &n);
			if (hist_count(&n.hist[k]))
				service_hist(t, row.prom, &all[i], &n.hist[k]);
		}
	}
	free(all);
}

/* One line per Service port that has this limit. */
static void limit_lines(const struct state *st, enum metric m, struct text *t)
{
	const char *metric = metrics_begin(t, m);
	static const char *const name[] = { [LIMIT_CONNECTIONS] = "connections",
					    [LIMIT_REQUESTS] = "requests" };
	struct vservice s;

	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++) {
		struct vpolicy v;
		struct vport p;

		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			if (!vport_policy(&p, &v) || v.limit.slot == 0)
				continue;
			for (unsigned what = 0; what < countof(name); what++) {
				uint32_t max = what == LIMIT_CONNECTIONS ? v.connections :
									   v.requests;

				if (max == 0)
					continue;
				text_adds(t, metric);
				metrics_label(t, '{', "namespace", vservice_ns(&s));
				metrics_label(t, ',', "service", vservice_name(&s));
				text_printf(t, ",port=\"%u\",limit=\"%s\"", p.port, name[what]);
				metrics_value(t, m == M_limit_held ? gather_limit(st, v.limit, (enum limit)what) : max);
			}
		}
	}
}

void metrics_limits(const struct state *st, struct text *t)
{
	limit_lines(st, M_limit, t);
	limit_lines(st, M_limit_held, t);
}

static uint64_t endpoint_value(const struct endpoint_sums *n, enum metric m)
{
	switch ((int)m) {
	case M_ep_in_flight: return n->in_flight;
	case M_ep_exchanges: return n->exchanges;
	case M_ep_connects: return n->connects;
	case M_ep_connect_failures: return n->connect_failures;
	case M_ep_failures: return n->failures;
	case M_ep_waiting: return n->waiting;
	case M_ep_out: return n->out_ms > 0 || n->probing;
	case M_ep_slow: return n->warmth < ENDPOINT_WARM;
	case M_ep_unhealthy: return n->check == CHECK_UNHEALTHY;
	}
	return 0;
}

/* One line per endpoint slot: an address that several ports or Services name has one slot, and is
 * shown under the first that names it.  Returns how many there were. */
static uint32_t endpoint_lines(const struct state *st, const char *metric, enum metric m,
			       uint8_t *seen, struct text *t)
{
	uint32_t lines = 0;
	struct vservice s;

	memset(seen, 0, BOARD_ENDPOINTS / 8);
	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++) {
		struct vport p;

		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			struct vendpoint e;

			for (uint32_t j = 0; j < p.endpoints && vport_endpoint(&p, j, &e); j++) {
				uint32_t at = e.slot.slot;
				struct endpoint_sums n;
				char addr[ADDR_TEXT];

				if (slot_is_shared(e.slot, BOARD_ENDPOINTS) ||
				    seen[at / 8] & 1u << at % 8)
					continue;
				seen[at / 8] |= (uint8_t)(1u << at % 8);
				if (++lines > METRICS_ENDPOINTS || !metric)
					continue;
				gather_endpoint(st, &p, &e, &n);
				text_adds(t, metric);
				metrics_label(t, '{', "namespace", vservice_ns(&s));
				metrics_label(t, ',', "service", vservice_name(&s));
				metrics_label(t, ',', "endpoint", slice_str(addr_text(&e.addr, true, addr)));
				metrics_value(t, endpoint_value(&n, m));
			}
		}
	}
	return lines;
}

void metrics_endpoints(const struct state *st, struct text *t)
{
	uint8_t *seen = malloc(BOARD_ENDPOINTS / 8);
	uint32_t n = seen ? endpoint_lines(st, NULL, M_ep_in_flight, seen, t) : 0;

	for (enum metric m = M_ep_in_flight; seen && n && m <= M_ep_unhealthy; m++)
		endpoint_lines(st, metrics_begin(t, m), m, seen, t);
	free(seen);
	metrics_plain(t, M_ep_without, n > METRICS_ENDPOINTS ? n - METRICS_ENDPOINTS : 0);
}

