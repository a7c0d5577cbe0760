/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See metrics.h: the listener, and series of processes, workers, tenants, listeners, pods, certificates
 * and the sync process.  Those of Services are in metrics_service.c. */
#include <stdio.h>

#include "admin/metrics_inner.h"

/* How long ago it was, on the clock of all our processes. */
static uint64_t ns_since(const struct state *st, uint64_t mono_ms)
{
	uint64_t now = (uint64_t)max_of(st->now_mono_ms, (int64_t)0);

	return mono_ms && mono_ms < now ? (now - mono_ms) * NS_PER_MS : 0;
}

static void worker_ages(const struct state *st, struct text *t, enum metric m)
{
	const char *name = metrics_begin(t, m);

	for (unsigned w = 0; w < st->workers; w++) {
		const struct proc *p = gather_proc(st, ROLE_WORKER, w);
		uint64_t beat = gather_worker(st, w, WC_beat_ms_gauge);

		if (!p || (m == M_beat_age && beat == 0))
			continue;	/* nobody is there, or has not begun */
		text_printf(t, "%s{worker=\"%u\"}", name, w);
		metrics_seconds(t, ns_since(st, m == M_beat_age ? beat : p->behind_mono_ms));
	}
}

static void log_series(const struct state *st, struct text *t)
{
	const char *name = metrics_begin(t, M_log_dropped);

	for (unsigned w = 0; w < st->workers; w++) {
		text_printf(t, "%s{worker=\"%u\",at=\"ring\"} %llu\n", name, w,
			    (unsigned long long)st->losses[w].ring);
		text_printf(t, "%s{worker=\"%u\",at=\"sink\"} %llu\n", name, w,
			    (unsigned long long)st->losses[w].sink);
	}
	name = metrics_begin(t, M_log_lost);
	text_printf(t, "%s{process=\"master\"} %llu\n", name,
		    st->has_procs ? (unsigned long long)st->procs.log_lost : 0);
	text_printf(t, "%s{process=\"admind\"} %llu\n", name, (unsigned long long)log_lost());
}

static void worker_series(const struct state *st, struct text *t)
{
	struct counter_row row;

	for (unsigned i = 0; worker_counter_row(i, &row); i++) {
		if (!row.prom[0])
			continue;
		metrics_family(t, row.prom, metrics_type_of(&row), row.help);
		for (unsigned w = 0; w < st->workers; w++) {
			text_printf(t, "%s{worker=\"%u\"", row.prom, w);
			metrics_row_value(t, &row, gather_worker(st, w, (enum worker_counter)i));
		}
	}
	worker_ages(st, t, M_view_lag);
	worker_ages(st, t, M_beat_age);
}

static void reason_series(const struct state *st, struct text *t)
{
	const char *name = metrics_begin(t, M_reasons);

	for (unsigned i = REASON_NONE + 1; i < REASONS; i++) {
		const struct reason_row *r = reason_row((enum reason)i);

		text_adds(t, name);
		metrics_label(t, '{', "reason", slice_str(r->name));
		metrics_label(t, ',', "fault", slice_str(fault_name(r->fault)));
		metrics_label(t, ',', "flag", slice_str(r->flag));
		metrics_value(t, gather_reason(st, (enum reason)i));
	}
}

/* Of a process; what is not known (-1) is not told. */
static void process_line(struct text *t, enum metric m, enum role role, uint32_t id, int64_t v)
{
	if (v < 0)
		return;
	text_adds(t, metrics_name(m));
	metrics_label(t, '{', "role", slice_str(role_name(role)));
	text_printf(t, ",id=\"%u\"", id);
	if (m == M_process_cpu) {
		text_addc(t, '}');
		metrics_seconds(t, (uint64_t)v);
	} else {
		metrics_value(t, (uint64_t)v);
	}
}

static int64_t process_value(const struct proc *p, enum metric m)
{
	switch ((int)m) {
	case M_process_up: return p->state == PROC_READY;
	case M_process_restarts: return p->restarts;
	case M_process_panics: return p->panics;
	case M_process_cpu: return p->usage.cpu_ns;
	case M_process_resident: return p->usage.resident_bytes;
	case M_process_private: return p->usage.private_bytes;
	}
	return -1;
}

static int64_t master_value(const struct usage *u, enum metric m)
{
	switch ((int)m) {
	case M_process_cpu: return u->cpu_ns;
	case M_process_resident: return u->resident_bytes;
	case M_process_private: return u->private_bytes;
	}
	return -1;
}

static void process_series(const struct state *st, struct text *t)
{
	for (enum metric m = M_process_up; m <= M_process_private; m++) {
		metrics_begin(t, m);
		for (uint32_t i = 0; st->has_procs && i < st->procs.count; i++) {
			const struct proc *p = &st->procs.proc[i];

			if (p->state != PROC_NONE && p->role < ROLES &&
			    gather_proc(st, (enum role)p->role, p->id) == p)
				process_line(t, m, (enum role)p->role, p->id, process_value(p, m));
		}
		if (st->has_procs)
			process_line(t, m, ROLE_MASTER, 0, master_value(&st->procs.master, m));
	}
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
	metrics_label(a->t, '{', "tenant", ten->tenant);
	metrics_row_value(a->t, a->row, n.c[a->counter]);
}

/* Of a tenant every eighth bound is told: two octaves. */
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
		metrics_label(a->t, '{', "tenant", ten->tenant);
		metrics_bucket_end(a->t, i, sum);
	}
	text_printf(a->t, "%s_sum", a->row->prom);
	metrics_label(a->t, '{', "tenant", ten->tenant);
	text_addc(a->t, '}');
	metrics_seconds(a->t, h->sum_ns);
	text_printf(a->t, "%s_count", a->row->prom);
	metrics_label(a->t, '{', "tenant", ten->tenant);
	metrics_value(a->t, sum);
}

static void tenant_series(const struct state *st, struct text *t)
{
	struct counter_row row;

	for (unsigned i = 0; tenant_counter_row(i, &row); i++) {
		struct tenant_rows a = { .st = st, .t = t, .row = &row, .counter = i };

		if (!row.prom[0])
			continue;
		metrics_family(t, row.prom, metrics_type_of(&row), row.help);
		gather_tenants(st, tenant_line, &a);
	}
	for (unsigned i = 0; tenant_histogram_row(i, &row); i++) {
		struct tenant_rows a = { .st = st, .t = t, .row = &row, .counter = i };

		metrics_family(t, row.prom, "histogram", row.help);
		gather_tenants(st, tenant_hist, &a);
	}
}

static void listener_series(const struct state *st, struct text *t)
{
	struct counter_row row;

	for (unsigned k = 0; listener_counter_row(k, &row); k++) {
		if (!row.prom[0])
			continue;
		metrics_family(t, row.prom, metrics_type_of(&row), row.help);
		for (uint32_t i = 0; i < st->knobs->n_listeners && i < KNOBS_LISTENERS; i++) {
			const char *name = st->knobs->listener[i].name;
			uint64_t n[LCS];

			gather_listener(st, name, n);
			text_adds(t, row.prom);
			metrics_label(t, '{', "listener", slice_str(name));
			metrics_value(t, n[k]);
		}
	}
}

static void sync_steps(const json_t *timings, struct text *t)
{
	static const char *const steps[] = { "change", "snapshot", "store_to_view", "store_write",
					     "store_step", "report_step" };
	static const char *const of[] = { "last", "max" };
	const char *name = metrics_begin(t, M_sync_step);

	for (size_t k = 0; k < countof(steps); k++) {
		const json_t *step = json_object_get(timings, steps[k]);

		for (size_t i = 0; i < countof(of) && jget_u64(step, "count"); i++)
			text_printf(t, "%s{step=\"%s\",of=\"%s\"} %.6f\n", name, steps[k], of[i],
				    json_number_value(json_object_get(step, of[i])) / 1000);
	}
}

/* Of sources that fetch endpoints on demand. */
static void demand_series(const json_t *report, struct text *t)
{
	static const struct {
		enum metric m;
		const char *key;
	} of[] = { { M_source_here, "services_here" }, { M_source_fetches, "fetches" },
		   { M_source_let_go, "let_go" }, { M_source_fetches_refused, "refused" } };
	const json_t *o;
	size_t i;

	for (size_t k = 0; k < countof(of); k++) {
		const char *name = metrics_begin(t, of[k].m);

		json_array_foreach(jget_array(report, "sources"), i, o) {
			const json_t *d = json_object_get(o, "on_demand");

			if (!d)
				continue;
			text_adds(t, name);
			metrics_label(t, '{', "kind", slice_str(jget_str(o, "kind")));
			text_printf(t, ",source=\"%zu\"", i);
			metrics_value(t, jget_u64(d, of[k].key));
		}
	}
}

static void sync_series(struct state *st, struct text *t)
{
	const json_t *report = report_brief(&st->report), *o;
	const char *name;
	size_t i;

	metrics_plain(t, M_report_present, report != NULL);
	if (!report)
		return;
	metrics_plain(t, M_store_rev, jget_u64(report, "rev"));
	if (json_is_boolean(json_object_get(report, "durable")))
		metrics_plain(t, M_durable, jget_bool(report, "durable"));
	o = json_object_get(report, "store");
	metrics_plain(t, M_not_durable, json_is_false(json_object_get(report, "durable"))
					? (uint64_t)gather_age_s(st, jget_u64(o, "since_mono_ms")) : 0);
	metrics_plain(t, M_store_failures, jget_u64(o, "failures"));
	metrics_plain(t, M_store_asides, jget_u64(o, "asides"));
	metrics_plain(t, M_refused_documents, json_array_size(jget_array(report, "refused")));
	name = metrics_begin(t, M_source_synced);
	json_array_foreach(jget_array(report, "sources"), i, o) {
		text_adds(t, name);
		metrics_label(t, '{', "kind", slice_str(jget_str(o, "kind")));
		text_printf(t, ",source=\"%zu\"", i);
		metrics_value(t, strcmp(jget_str(o, "state"), "synced") == 0);
	}
	name = metrics_begin(t, M_source_stale);
	json_array_foreach(jget_array(report, "sources"), i, o) {
		bool synced = strcmp(jget_str(o, "state"), "synced") == 0;

		text_adds(t, name);
		metrics_label(t, '{', "kind", slice_str(jget_str(o, "kind")));
		text_printf(t, ",source=\"%zu\"", i);
		metrics_value(t, synced ? 0 : (uint64_t)gather_age_s(st, jget_u64(o, "since_mono_ms")));
	}
	name = metrics_begin(t, M_source_snapshots);
	json_array_foreach(jget_array(report, "sources"), i, o) {
		if (!json_object_get(o, "snapshots"))
			continue;
		text_adds(t, name);
		metrics_label(t, '{', "kind", slice_str(jget_str(o, "kind")));
		text_printf(t, ",source=\"%zu\"", i);
		metrics_value(t, jget_u64(o, "snapshots"));
	}
	demand_series(report, t);
	sync_steps(json_object_get(report, "timings_ms"), t);
}

static void master_series(const struct state *st, struct text *t)
{
	const struct procs *p = &st->procs;

	metrics_plain(t, M_view_rev, p->rev);
	metrics_plain(t, M_view_failed_rev, p->failed_rev);
	metrics_plain(t, M_master_starts, p->master_starts);
	metrics_plain(t, M_config_generation, p->config_generation);
	metrics_plain(t, M_reload_ok, p->reload.at_unix_ms == 0 || p->reload.ok);
	metrics_plain(t, M_reload_at, p->reload.at_unix_ms / 1000);
	metrics_plain(t, M_pods, state_pods_page(st) ? pods_captured(state_pods_page(st)) : 0);
	metrics_plain(t, M_stalls, p->stalls);
	metrics_plain(t, M_bad_messages, p->bad_messages);
}

static void pod_labels(struct text *t, enum metric m, const struct pod_told *p)
{
	text_adds(t, metrics_name(m));
	metrics_label(t, '{', "namespace", slice_str(p->words.ns));
	metrics_label(t, ',', "pod", slice_str(p->words.name));
}

static void pod_series(const struct state *st, struct text *t)
{
	static const char *const passed[PASSED] = {
		[PASSED_OUT_OTHER] = ",direction=\"out\",what=\"other\"",
		[PASSED_OUT_LINK_LOCAL] = ",direction=\"out\",what=\"link_local\"",
		[PASSED_IN_OTHER] = ",direction=\"in\",what=\"other\"",
		[PASSED_IN_LINK_LOCAL] = ",direction=\"in\",what=\"link_local\"",
	};
	const struct pods_page *page = state_pods_page(st);
	const struct proofs_page *proofs = state_proofs_page(st);

	for (enum metric m = M_pod_captured; m <= M_pod_passed; m++) {
		metrics_begin(t, m);
		for (uint32_t i = 0; page && i < page->n; i++) {
			const struct pod_told *p = &page->pod[i];
			const struct pod_proof *f = proof_of(proofs, p->ref);

			if (p->leaves || !f)
				continue;
			if (m == M_pod_captured && f->state != PROOF_NONE) {
				pod_labels(t, m, p);
				metrics_value(t, f->state == PROOF_PROVEN);
			}
			for (unsigned k = 0; m == M_pod_passed && k < PASSED; k++) {
				pod_labels(t, m, p);
				text_adds(t, passed[k]);
				metrics_value(t, f->passed[k]);
			}
		}
	}
}

static void ends_in(struct text *t, const char *name, const char *kind, const char *what, int64_t seconds_left)
{
	text_adds(t, name);
	metrics_label(t, '{', "kind", slice_str(kind));
	metrics_label(t, ',', "name", slice_str(what));
	text_printf(t, "} %lld\n", (long long)seconds_left);
}

static void certificate_series(const struct state *st, struct text *t)
{
	const struct certs *c = st->certs;
	const struct certs_identity *all = certs_identities(c);
	const char *name = metrics_begin(t, M_certificate_expiry);
	int64_t now = st->now_unix_ms / 1000;
	uint32_t n[IDENTITY_STATES] = { 0 };
	char whose[CERTS_NAMES];

	if (c->issuer.to_unix_s)
		ends_in(t, name, "issuer", c->issuer.trust_domain, c->issuer.to_unix_s - now);
	for (uint32_t i = 0; i < c->n; i++)
		ends_in(t, name, "listener", c->at[i].listener, c->at[i].leaf.to_unix_s - now);
	for (uint32_t i = 0; i < c->identities; i++) {
		n[certs_identity_state(&all[i], now)]++;
		snprintf(whose, sizeof whose, "%s/%s", all[i].ns, all[i].account);
		if (all[i].leaves)
			ends_in(t, name, "identity", whose, certs_identity_ends(&all[i]) - now);
	}
	name = metrics_begin(t, M_identities);
	for (uint32_t i = 0; i < IDENTITY_STATES; i++)
		text_printf(t, "%s{state=\"%s\"} %u\n", name, identity_state_name(i), n[i]);
	for (enum metric m = M_identity_renewals; m <= M_identity_failures; m++) {
		name = metrics_begin(t, m);
		for (uint32_t i = 0; i < c->identities; i++) {
			text_adds(t, name);
			metrics_label(t, '{', "namespace", slice_str(all[i].ns));
			metrics_label(t, ',', "account", slice_str(all[i].account));
			metrics_value(t, m == M_identity_renewals ? all[i].renewals : all[i].failures);
		}
	}
	name = metrics_begin(t, M_key_refusals);
	for (unsigned i = SIGN_FINE + 1; i < SIGN_REFUSALS; i++)
		text_printf(t, "%s{why=\"%s\"} %llu\n", name, sign_refusal_label((enum sign_refusal)i),
			    (unsigned long long)c->refused[i]);
}

void metrics_text(struct state *st, struct text *t)
{
	struct text why = text_of(2048);

	text_printf(t, "%s{version=\"%s\"} 1\n", metrics_begin(t, M_build_info), PACKAGE_VERSION);
	metrics_plain(t, M_ready, gather_ready(st, &why));
	text_fini(&why);
	metrics_plain(t, M_start_time, st->started_unix_ms / 1000);
	if (st->has_procs)
		master_series(st, t);
	if (st->certs)
		certificate_series(st, t);
	metrics_plain(t, M_log_lines, st->log_lines);
	log_series(st, t);
	process_series(st, t);
	sync_series(st, t);
	pod_series(st, t);
	worker_series(st, t);
	reason_series(st, t);
	tenant_series(st, t);
	listener_series(st, t);
	metrics_services(st, t);
	metrics_limits(st, t);
	metrics_endpoints(st, t);
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
