/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See metrics.h. */
#include "admin/metrics.h"

#include <stdlib.h>

static void family(struct text *t, const char *name, const char *type, const char *help)
{
	text_printf(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label value: backslash, quote and newline escaped, other control bytes and what is not UTF-8
 * replaced (strbuf_json's rules would not do: Prometheus knows no \u). */
static void label(struct text *t, char before, const char *name, struct slice v)
{
	text_addc(t, before);
	text_adds(t, name);
	text_adds(t, "=\"");
	for (size_t i = 0; i < v.n; i++) {
		uint8_t c = v.p[i];

		if (c == '\\' || c == '"')
			text_addc(t, '\\');
		if (c == '\n')
			text_adds(t, "\\n");
		else
			text_addc(t, c < 0x20 || c >= 0x7f ? '?' : (char)c);
	}
	text_addc(t, '"');
}

static void value(struct text *t, uint64_t v)
{
	text_adds(t, "} ");
	text_u64(t, v);
	text_addc(t, '\n');
}

static void plain(struct text *t, const char *name, const char *type, const char *help, uint64_t v)
{
	family(t, name, type, help);
	text_printf(t, "%s %llu\n", name, (unsigned long long)v);
}

static const char *type_of(const struct counter_row *row)
{
	size_t n = strlen(row->name);

	return n > 6 && strcmp(row->name + n - 6, "_gauge") == 0 ? "gauge" : "counter";
}

static void by_worker(struct text *t, const char *name, unsigned worker, uint64_t v)
{
	text_printf(t, "%s{worker=\"%u\"} %llu\n", name, worker, (unsigned long long)v);
}

static void worker_series(const struct state *st, struct text *t)
{
	struct counter_row row;

	for (unsigned i = 0; worker_counter_row(i, &row); i++) {
		if (!row.prom[0])
			continue;
		family(t, row.prom, type_of(&row), row.help);
		for (unsigned w = 0; w < st->workers; w++)
			by_worker(t, row.prom, w, gather_worker(st, w, (enum worker_counter)i));
	}
	family(t, "nodeproxy_log_dropped_records_total", "counter",
	       "log records lost: ring (it was full), sink (the file did not take them)");
	for (unsigned w = 0; w < st->workers; w++) {
		text_printf(t, "nodeproxy_log_dropped_records_total{worker=\"%u\",at=\"ring\"} %llu\n",
			    w, (unsigned long long)st->losses[w].ring);
		text_printf(t, "nodeproxy_log_dropped_records_total{worker=\"%u\",at=\"sink\"} %llu\n",
			    w, (unsigned long long)st->losses[w].sink);
	}
	family(t, "nodeproxy_log_lines_lost_total", "counter",
	       "event lines of a process that standard error did not take");
	text_printf(t, "nodeproxy_log_lines_lost_total{process=\"master\"} %llu\n",
		    st->has_procs ? (unsigned long long)st->procs.log_lost : 0);
	text_printf(t, "nodeproxy_log_lines_lost_total{process=\"admind\"} %llu\n",
		    (unsigned long long)log_lost());
}

static void reason_series(const struct state *st, struct text *t)
{
	family(t, "nodeproxy_reasons_total", "counter",
	       "how connections and exchanges ended, who was at fault, Envoy's response flag");
	for (unsigned i = REASON_NONE + 1; i < REASONS; i++) {
		const struct reason_row *r = reason_row((enum reason)i);

		text_adds(t, "nodeproxy_reasons_total");
		label(t, '{', "reason", slice_str(r->name));
		label(t, ',', "fault", slice_str(fault_name(r->fault)));
		label(t, ',', "flag", slice_str(r->flag));
		value(t, gather_reason(st, (enum reason)i));
	}
}

static void process_series(const struct state *st, struct text *t)
{
	static const struct { const char *name, *type, *help; } rows[] = {
		{ "nodeproxy_process_up", "gauge", "1: the process is ready" },
		{ "nodeproxy_process_restarts_total", "counter", "starts after the first" },
		{ "nodeproxy_process_panics_total", "counter", "panic pages it left" },
	};

	for (unsigned k = 0; k < countof(rows); k++) {
		family(t, rows[k].name, rows[k].type, rows[k].help);
		for (uint32_t i = 0; st->has_procs && i < st->procs.count; i++) {
			const struct proc *p = &st->procs.proc[i];

			if (p->state == PROC_NONE || p->role >= ROLES ||
			    gather_proc(st, (enum role)p->role, p->id) != p)
				continue;
			text_adds(t, rows[k].name);
			label(t, '{', "role", slice_str(role_name((enum role)p->role)));
			text_printf(t, ",id=\"%u\"", p->id);
			value(t, k == 0 ? p->state == PROC_READY : k == 1 ? p->restarts : p->panics);
		}
	}
}

/* The Services that have a slot of their own, and once the shared one if anybody is in it. */
struct named {
	struct slice ns, name;
	struct service_sums sums;
};

static size_t services(const struct state *st, struct named **ret)
{
	uint32_t n = st->view ? view_service_count(st->view) : 0;
	struct named *all = calloc((size_t)n + 1, sizeof *all);
	bool shared = false;
	struct vservice s;
	size_t got = 0;

	*ret = all;
	for (uint32_t i = 0; all && i < n && view_service_nth(st->view, i, &s); i++) {
		if (slot_is_shared(vservice_slot(&s), BOARD_SERVICES)) {
			shared = true;
			continue;
		}
		all[got].ns = vservice_ns(&s);
		all[got].name = vservice_name(&s);
		gather_service(st, vservice_slot(&s), &all[got++].sums);
	}
	if (shared && all)
		gather_service(st, (struct slot_gen){ 0, 0 }, &all[got++].sums);
	return got;
}

static void service_labels(struct text *t, const char *metric, const struct named *s)
{
	text_adds(t, metric);
	label(t, '{', "namespace", s->ns);
	label(t, ',', "service", s->name);
}

static void duration_series(const struct named *all, size_t n, struct text *t)
{
	static const char name[] = "nodeproxy_service_request_duration_seconds";

	family(t, name, "histogram", "from the first byte of a request to the last of its response");
	for (size_t i = 0; i < n; i++) {
		const struct service_sums *s = &all[i].sums;
		uint64_t sum = 0, us = s->c[SC_duration_us];

		for (unsigned b = 0; b < BOARD_BUCKETS; b++) {
			uint64_t le = board_bucket_us[b];

			sum += s->bucket[b];
			text_adds(t, name);
			service_labels(t, "_bucket", &all[i]);
			if (le == UINT64_MAX)
				text_adds(t, ",le=\"+Inf\"");
			else
				text_printf(t, ",le=\"%g\"", (double)le / 1e6);
			value(t, sum);
		}
		text_adds(t, name);
		service_labels(t, "_sum", &all[i]);
		text_printf(t, "} %llu.%06llu\n", (unsigned long long)(us / 1000000),
			    (unsigned long long)(us % 1000000));
		text_adds(t, name);
		service_labels(t, "_count", &all[i]);
		value(t, sum);
	}
}

static void service_series(const struct state *st, struct text *t)
{
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx", "none" };
	static const char requests[] = "nodeproxy_service_requests_total";
	struct counter_row row;
	struct named *all;
	size_t n = services(st, &all);

	family(t, requests, "counter",
	       "requests by class of the status the caller saw; none: no response");
	for (size_t i = 0; i < n; i++)
		for (unsigned k = 0; k < countof(classes); k++) {
			service_labels(t, requests, &all[i]);
			label(t, ',', "code_class", slice_str(classes[k]));
			value(t, all[i].sums.c[SC_requests_1xx + k]);
		}
	for (unsigned k = 0; service_counter_row(k, &row); k++) {
		if (!row.prom[0])
			continue;
		family(t, row.prom, type_of(&row), row.help);
		for (size_t i = 0; i < n; i++) {
			service_labels(t, row.prom, &all[i]);
			value(t, all[i].sums.c[k]);
		}
	}
	duration_series(all, n, t);
	free(all);
}

struct tenant_rows {
	const struct state *st;
	struct text *t;
	const struct counter_row *row;
	unsigned counter;
};

static void tenant_line(void *arg, const struct vnamespace *ten)
{
	struct tenant_rows *a = arg;
	struct tenant_sums n;

	gather_tenant(a->st, ten->tenant_slot, &n);
	if (ten->tenant.n == 0 && n.c[TC_conns] == 0)
		return;
	text_adds(a->t, a->row->prom);
	label(a->t, '{', "tenant", ten->tenant);
	value(a->t, n.c[a->counter]);
}

/* Of the 81 buckets every eighth bound is told: two octaves. */
#define HIST_TOLD 8

static void tenant_hist(void *arg, const struct vnamespace *ten)
{
	struct tenant_rows *a = arg;
	struct tenant_sums n;
	const struct hist *h;
	uint64_t sum = 0;

	gather_tenant(a->st, ten->tenant_slot, &n);
	h = &n.hist[a->counter];
	if (ten->tenant.n == 0 && n.c[TC_conns] == 0)
		return;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		sum += h->n[i];
		if (i % HIST_TOLD != HIST_TOLD - 1 && i != HIST_BUCKETS - 1)
			continue;
		text_adds(a->t, a->row->prom);
		text_adds(a->t, "_bucket");
		label(a->t, '{', "tenant", ten->tenant);
		if (i == HIST_BUCKETS - 1)
			text_adds(a->t, ",le=\"+Inf\"");
		else
			text_printf(a->t, ",le=\"%.10g\"", (double)hist_until_ns(i) / 1e9);
		value(a->t, sum);
	}
	text_printf(a->t, "%s_sum", a->row->prom);
	label(a->t, '{', "tenant", ten->tenant);
	text_printf(a->t, "} %llu.%09llu\n", (unsigned long long)(h->sum_ns / NS_PER_S),
		    (unsigned long long)(h->sum_ns % NS_PER_S));
	text_printf(a->t, "%s_count", a->row->prom);
	label(a->t, '{', "tenant", ten->tenant);
	value(a->t, sum);
}

static void tenant_series(const struct state *st, struct text *t)
{
	struct counter_row row;

	for (unsigned i = 0; tenant_counter_row(i, &row); i++) {
		struct tenant_rows a = { .st = st, .t = t, .row = &row, .counter = i };

		if (!row.prom[0])
			continue;
		family(t, row.prom, type_of(&row), row.help);
		gather_tenants(st, tenant_line, &a);
	}
	for (unsigned i = 0; tenant_histogram_row(i, &row); i++) {
		struct tenant_rows a = { .st = st, .t = t, .row = &row, .counter = i };

		family(t, row.prom, "histogram", row.help);
		gather_tenants(st, tenant_hist, &a);
	}
}

static void listener_series(const struct state *st, struct text *t)
{
	struct counter_row row;

	for (unsigned k = 0; listener_counter_row(k, &row); k++) {
		family(t, row.prom, type_of(&row), row.help);
		for (uint32_t i = 0; i < st->knobs->n_listeners && i < KNOBS_LISTENERS; i++) {
			const char *name = st->knobs->listener[i].name;
			uint64_t n[LCS];

			gather_listener(st, name, n);
			text_adds(t, row.prom);
			label(t, '{', "listener", slice_str(name));
			value(t, n[k]);
		}
	}
}

enum endpoint_metric { EM_IN_FLIGHT, EM_EXCHANGES, EM_CONNECTS, EM_CONNECT_FAILURES, EM_FAILURES,
		       EM_WAITING, EM_OUT, EMS };

static uint64_t endpoint_value(const struct endpoint_sums *n, enum endpoint_metric m)
{
	switch (m) {
	case EM_IN_FLIGHT: return n->in_flight;
	case EM_EXCHANGES: return n->exchanges;
	case EM_CONNECTS: return n->connects;
	case EM_CONNECT_FAILURES: return n->connect_failures;
	case EM_FAILURES: return n->failures;
	case EM_WAITING: return n->waiting;
	case EM_OUT: return n->out_ms > 0;
	case EMS: break;
	}
	return 0;
}

/* One line per endpoint slot: an address that several ports or Services name has one slot, and is
 * shown under the first that names it.  Returns how many there were. */
static uint32_t endpoint_lines(const struct state *st, const char *metric, enum endpoint_metric m,
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
				gather_endpoint(st, e.slot, &n);
				text_adds(t, metric);
				label(t, '{', "namespace", vservice_ns(&s));
				label(t, ',', "service", vservice_name(&s));
				label(t, ',', "endpoint", slice_str(addr_text(&e.addr, true, addr)));
				value(t, endpoint_value(&n, m));
			}
		}
	}
	return lines;
}

static void endpoint_series(const struct state *st, struct text *t)
{
	static const struct { const char *name, *type, *help; } rows[EMS] = {
		[EM_IN_FLIGHT] = { "nodeproxy_endpoint_in_flight", "gauge",
				   "exchanges and opaque flows now" },
		[EM_EXCHANGES] = { "nodeproxy_endpoint_exchanges_total", "counter",
				   "exchanges and opaque flows" },
		[EM_CONNECTS] = { "nodeproxy_endpoint_connects_total", "counter",
				  "connections opened" },
		[EM_CONNECT_FAILURES] = { "nodeproxy_endpoint_connect_failures_total", "counter",
					  "connections that could not be opened" },
		[EM_FAILURES] = { "nodeproxy_endpoint_failures_total", "counter",
				  "5xx answers, cuts and timeouts" },
		[EM_WAITING] = { "nodeproxy_endpoint_waiting", "gauge",
				 "exchanges now that the endpoint has not answered yet" },
		[EM_OUT] = { "nodeproxy_endpoint_ejected", "gauge",
			     "1: passed over because it failed in a row" },
	};
	uint8_t *seen = malloc(BOARD_ENDPOINTS / 8);
	uint32_t n = seen ? endpoint_lines(st, NULL, EM_IN_FLIGHT, seen, t) : 0;

	for (unsigned m = 0; seen && n && m < EMS; m++) {
		family(t, rows[m].name, rows[m].type, rows[m].help);
		endpoint_lines(st, rows[m].name, (enum endpoint_metric)m, seen, t);
	}
	free(seen);
	plain(t, "nodeproxy_endpoints_without_series", "gauge",
	      "endpoints left out of this scrape because there are too many",
	      n > METRICS_ENDPOINTS ? n - METRICS_ENDPOINTS : 0);
}

static void sync_series(struct state *st, struct text *t)
{
	static const char *const steps[] = { "change", "snapshot", "store_to_view", "store_write",
					 "store_step", "report_step" };
	const json_t *report = report_brief(&st->report), *o;
	size_t i;

	plain(t, "nodeproxy_report_present", "gauge", "1: the sync process has reported", report != NULL);
	if (!report)
		return;
	plain(t, "nodeproxy_store_rev", "gauge", "revision of the store", jget_u64(report, "rev"));
	if (json_is_boolean(json_object_get(report, "durable")))
		plain(t, "nodeproxy_durable", "gauge", "1: the store is written, 0: it cannot be",
		      jget_bool(report, "durable"));
	o = json_object_get(report, "store");
	plain(t, "nodeproxy_not_durable_seconds", "gauge", "for how long the store could not be written",
	      json_is_false(json_object_get(report, "durable"))
		      ? (uint64_t)gather_age_s(st, jget_u64(o, "since_mono_ms")) : 0);
	plain(t, "nodeproxy_store_write_failures_total", "counter",
	      "writes of the store that failed and were tried again", jget_u64(o, "failures"));
	plain(t, "nodeproxy_store_moved_aside_total", "counter",
	      "stores that were damaged, moved aside and written anew", jget_u64(o, "asides"));
	plain(t, "nodeproxy_refused_documents", "gauge", "documents refused now",
	      json_array_size(jget_array(report, "refused")));
	family(t, "nodeproxy_source_synced", "gauge", "1: the source is there and read");
	json_array_foreach(jget_array(report, "sources"), i, o) {
		text_adds(t, "nodeproxy_source_synced");
		label(t, '{', "kind", slice_str(jget_str(o, "kind")));
		text_printf(t, ",source=\"%zu\"", i);
		value(t, strcmp(jget_str(o, "state"), "synced") == 0);
	}
	family(t, "nodeproxy_sync_step_milliseconds", "gauge",
	       "the last time and the longest that a step took: change (event to view), snapshot, "
	       "store_to_view (at the start), store_write; store_step and report_step are the slices "
	       "in which nothing else could be done");
	for (size_t k = 0; k < countof(steps); k++) {
		const json_t *step = json_object_get(json_object_get(report, "timings_ms"), steps[k]);

		if (jget_u64(step, "count") == 0)
			continue;
		text_printf(t, "nodeproxy_sync_step_milliseconds{step=\"%s\",of=\"last\"} %.3f\n", steps[k],
			    json_number_value(json_object_get(step, "last")));
		text_printf(t, "nodeproxy_sync_step_milliseconds{step=\"%s\",of=\"max\"} %.3f\n", steps[k],
			    json_number_value(json_object_get(step, "max")));
	}
}

void metrics_text(struct state *st, struct text *t)
{
	struct text why = text_of(2048);

	family(t, "nodeproxy_build_info", "gauge", "version of this build");
	text_adds(t, "nodeproxy_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
	plain(t, "nodeproxy_ready", "gauge", "1: as /healthz/ready", gather_ready(st, &why));
	text_fini(&why);
	plain(t, "nodeproxy_start_time_seconds", "gauge", "when the instance was started, Unix time",
	      st->started_unix_ms / 1000);
	if (st->has_procs) {
		plain(t, "nodeproxy_view_rev", "gauge", "newest view the master holds", st->procs.rev);
		plain(t, "nodeproxy_view_failed_rev", "gauge",
		      "newest view that all workers refused", st->procs.failed_rev);
		plain(t, "nodeproxy_master_starts_total", "counter", "masters started by the keeper",
		      st->procs.master_starts);
		plain(t, "nodeproxy_config_generation", "gauge",
		      "times that settings came into use, 1 since the start",
		      st->procs.config_generation);
		plain(t, "nodeproxy_config_last_reload_successful", "gauge",
		      "0: the last reload was refused", st->procs.reload.at_unix_ms == 0 ||
							       st->procs.reload.ok);
		plain(t, "nodeproxy_config_last_reload_timestamp_seconds", "gauge",
		      "when the last reload ended, Unix time; 0: there was none",
		      st->procs.reload.at_unix_ms / 1000);
		plain(t, "nodeproxy_worker_stalls_total", "counter",
		      "times a worker gave no sign of life for two seconds", st->procs.stalls);
		plain(t, "nodeproxy_bad_messages_total", "counter",
		      "messages between our processes that broke the rules", st->procs.bad_messages);
	}
	plain(t, "nodeproxy_log_lines_total", "counter", "lines written to the access log",
	      st->log_lines);
	process_series(st, t);
	sync_series(st, t);
	worker_series(st, t);
	reason_series(st, t);
	tenant_series(st, t);
	listener_series(st, t);
	service_series(st, t);
	endpoint_series(st, t);
}

void metrics_answer(struct state *st, const struct wire_request *req, struct answer *ret)
{
	struct slice path = req->target;
	const uint8_t *q = memchr(path.p, '?', path.n);
	bool ready;

	if (q)
		path.n = (size_t)(q - path.p);
	*ret = (struct answer){ .status = 200, .type = "text/plain; charset=utf-8",
				.body = text_of(SERVE_ANSWER_BYTES) };
	if (!slice_eq(path, SLICE("/metrics")) && !slice_eq(path, SLICE("/healthz/ready")) &&
	    !slice_eq(path, SLICE("/healthz/live"))) {
		ret->status = 404;
		text_adds(&ret->body, "not found; try /metrics, /healthz/ready or /healthz/live\n");
		return;
	}
	if (req->method != WIRE_GET && req->method != WIRE_HEAD_METHOD) {
		ret->status = 405;
		ret->allow = "GET, HEAD";
		text_adds(&ret->body, "only GET and HEAD\n");
		return;
	}
	if (slice_eq(path, SLICE("/metrics"))) {
		ret->type = "text/plain; version=0.0.4; charset=utf-8";
		metrics_text(st, &ret->body);
	} else if (slice_eq(path, SLICE("/healthz/live"))) {
		text_adds(&ret->body, "live\n");
	} else {
		struct text why = text_of(2048);

		ready = gather_ready(st, &why);
		ret->status = ready ? 200 : 503;
		text_adds(&ret->body, ready ? "ready" : "not ready: ");
		text_add(&ret->body, text_slice(&why));
		text_addc(&ret->body, '\n');
		text_fini(&why);
	}
}
