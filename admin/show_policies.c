/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* TrafficPolicies, XBackendTrafficPolicies, RateLimitPolicies and BackendTLSPolicies: the list of them with what each target says
 * (from the report: one that counts
 * for nothing is in no view), and what holds for a port (from the view and the board). */
#include "admin/show.h"
#include "workers/obs/rate.h"

#include <stdio.h>
#include <string.h>

static void ms_or_knob(struct text *t, const char *key, uint32_t ms, int64_t knob_ms)
{
	js_i64(t, key, ms ? ms : knob_ms);
}

static void limit(const struct state *st, const struct vpolicy *v, const char *key, enum limit what,
		  uint32_t max, struct text *t)
{
	if (max == 0) {
		js_null(t, key);
		return;
	}
	js_open(t, key, '{');
	js_u64(t, "max", max);
	js_u64(t, "now", gather_limit(st, v->limit, what));
	js_bool(t, "kept", v->limit.slot != 0);
	js_close(t, '}');
}

static void levels(const struct vport *p, struct text *t)
{
	struct vlevel l;

	js_open(t, "levels", '[');
	for (uint32_t i = 0; vport_level(p, i, &l); i++) {
		js_open(t, NULL, '{');
		js_u64(t, "priority", l.priority);
		js_bool(t, "far", l.far);
		js_u64(t, "ready", l.ready);
		js_u64(t, "total", l.total);
		js_close(t, '}');
	}
	js_close(t, ']');
}

static void pace(const struct state *st, const char *key, const struct vpace *v, const uint64_t *at,
		 struct text *t)
{
	struct pace p = { v->every_ns, v->every_ns * v->burst };
	struct mono now = { st->now_mono_ms * NS_PER_MS };

	if (v->requests == 0) {
		js_null(t, key);
		return;
	}
	js_open(t, key, '{');
	js_u64(t, "requests", v->requests);
	js_u64(t, "interval_ms", v->interval_ms);
	js_u64(t, "burst", v->burst);
	if (at)
		js_u64(t, "left", rate_left(board_get(at), &p, now));
	js_close(t, '}');
}

static void faults(const struct vpolicy *v, struct text *t)
{
	js_open(t, "faults", '{');
	js_u64(t, "delay_ms", v->delay_ms);
	js_u64(t, "delay_percent", v->delay_percent);
	js_u64(t, "abort_status", v->abort_status);
	js_u64(t, "abort_percent", v->abort_percent);
	js_close(t, '}');
}

static void health_check(const struct vport *p, struct text *t)
{
	struct vcheck c;

	if (!vport_check(p, &c)) {
		js_null(t, "health_check");
		return;
	}
	js_open(t, "health_check", '{');
	js_str(t, "type", c.type == CHECK_HTTP ? "HTTP" : "TCP");
	js_slice(t, "path", c.path);
	js_u64(t, "interval_ms", c.interval_ms);
	js_u64(t, "timeout_ms", c.timeout_ms);
	js_u64(t, "healthy_threshold", c.healthy);
	js_u64(t, "unhealthy_threshold", c.unhealthy);
	js_close(t, '}');
}

static void rate_limit(const struct state *st, const struct vport *p, struct text *t)
{
	const struct board_rate *r;
	struct vrate v;

	if (!vport_rate(p, &v)) {
		js_null(t, "rate_limit");
		return;
	}
	r = gather_rate(st, v.slot);
	js_open(t, "rate_limit", '{');
	js_slice(t, "policy", v.name);
	js_str(t, "key", rate_key_name(v.key));
	pace(st, "identity", &v.identity, NULL, t);
	pace(st, "total", &v.total, r ? &r->total : NULL, t);
	js_bool(t, "kept", v.slot.slot != 0);
	js_close(t, '}');
}

static void endpoints_tls(const struct vport *p, struct text *t)
{
	struct vtls v;

	if (!vport_tls(p, &v)) {
		js_null(t, "tls");
		return;
	}
	js_open(t, "tls", '{');
	js_slice(t, "policy", v.name);
	js_slice(t, "hostname", v.host);
	js_bool(t, "system", v.trusts_host);
	js_u64(t, "issuers", v.cas);
	js_open(t, "names", '[');
	for (uint32_t i = 0; i < v.names; i++) {
		bool is_uri;

		js_slice(t, NULL, vport_tls_name(p, i, &is_uri));
	}
	js_close(t, ']');
	js_close(t, '}');
}

/* Of requests that no rule says anything else of. */
static void retries(const struct vport *p, struct text *t)
{
	struct vbudget b = vservice_budget(&p->service);
	struct vtimes v;

	vtimes_of(NULL, p, &v);
	js_open(t, "retries", '{');
	js_open(t, "on", '[');
	for (unsigned i = 0; i < RETRY_ONS; i++)
		if (v.retry.on >> i & 1)
			js_str(t, NULL, retry_row(i)->text);
	js_close(t, ']');
	js_open(t, "status_codes", '[');
	for (unsigned c = RETRY_CODE_MIN; c <= RETRY_CODE_MAX; c++)
		if (retries_have_code(&v.retry, c))
			js_u64(t, NULL, c);
	js_close(t, ']');
	js_u64(t, "attempts", v.retry.attempts);
	js_u64(t, "per_try_timeout_ms", v.attempt_ms);
	js_u64(t, "backoff_base_ms", v.retry.base_ms);
	js_u64(t, "backoff_max_ms", v.retry.max_ms);
	js_open(t, "budget", '{');
	js_slice(t, "policy", b.policy);
	js_bool(t, "backend_policy", b.backend_policy);
	js_u64(t, "percent", b.percent);
	js_u64(t, "interval_ms", b.interval_ms);
	js_u64(t, "least", b.least);
	js_close(t, '}');
	js_close(t, '}');
}

void show_policy(const struct state *st, const struct vport *p, struct text *t)
{
	struct balancing b = gather_balancing(p);
	struct ejection ej = gather_ejection(p);
	struct vpolicy v = { .balancer = BALANCER_DEFAULT };
	struct vlevel l;
	char name[400];

	if (vport_policy(p, &v)) {
		struct slice ns = vservice_ns(&p->service);

		snprintf(name, sizeof name, "%.*s/%.*s", (int)min_of(ns.n, (size_t)63),
			 (const char *)ns.p, (int)min_of(v.name.n, (size_t)253),
			 (const char *)v.name.p);
		js_str(t, "policy", name);
	} else {
		js_null(t, "policy");
	}
	js_str(t, "balancer", balancer_name(v.balancer));
	if (v.hash_by) {
		js_open(t, "hash", '{');
		js_str(t, "by", hash_by_name(v.hash_by));
		js_slice(t, "name", v.hash_name);
		js_u64(t, "table_size", vport_level(p, 0, &l) ? l.slots : 0);
		js_close(t, '}');
	} else {
		js_null(t, "hash");
	}
	js_bool(t, "weighted", p->weighted);
	if (b.slow_ms) {
		js_open(t, "slow_start", '{');
		js_u64(t, "window_ms", b.slow_ms);
		js_u64(t, "aggression_percent", b.slow_aggression_percent);
		js_u64(t, "min_percent", b.slow_min_percent);
		js_close(t, '}');
	} else {
		js_null(t, "slow_start");
	}
	js_bool(t, "prefer_zone", v.prefer_zone);
	js_u64(t, "overprovisioning_percent", b.overprovision_percent);
	js_u64(t, "panic_percent", b.panic_percent);
	levels(p, t);
	js_open(t, "timeouts_ms", '{');
	ms_or_knob(t, "connect", v.connect_ms, st->knobs->connect_ms);
	ms_or_knob(t, "response", v.response_ms, st->knobs->response_ms);
	ms_or_knob(t, "stall", v.stall_ms, st->knobs->stall_ms);
	ms_or_knob(t, "tcp_idle", v.tcp_idle_ms, st->knobs->tcp_idle_ms);
	js_close(t, '}');
	js_open(t, "limits", '{');
	limit(st, &v, "connections", LIMIT_CONNECTIONS, v.connections, t);
	limit(st, &v, "requests", LIMIT_REQUESTS, v.requests, t);
	js_u64(t, "pending", v.pending);
	js_u64(t, "pending_ms", v.pending_ms);
	js_close(t, '}');
	js_open(t, "ejection", '{');
	js_u64(t, "consecutive_failures", ej.failures);
	js_u64(t, "base_ms", ej.base_ms);
	js_u64(t, "max_ms", ej.max_ms);
	js_u64(t, "jitter_percent", ej.jitter_percent);
	if (ej.rate_interval_ms) {
		js_open(t, "success_rate", '{');
		js_u64(t, "interval_ms", ej.rate_interval_ms);
		js_u64(t, "min_endpoints", ej.rate_endpoints);
		js_u64(t, "min_requests", ej.rate_requests);
		js_u64(t, "deviation_thousandths", ej.rate_deviation);
		js_close(t, '}');
	} else {
		js_null(t, "success_rate");
	}
	js_u64(t, "max_percent", ej.percent);
	js_close(t, '}');
	faults(&v, t);
	health_check(p, t);
	rate_limit(st, p, t);
	endpoints_tls(p, t);
	retries(p, t);
}

/* One target of a policy, as its condition Accepted says. */
static void target_row(const json_t *resource, const json_t *ancestor, struct text *t)
{
	const json_t *ref = json_object_get(ancestor, "ancestorRef");
	const json_t *cond = json_array_get(jget_array(ancestor, "conditions"), 0);

	js_open(t, NULL, '{');
	js_str(t, "kind", jget_str(resource, "kind"));
	js_str(t, "namespace", jget_str(resource, "namespace"));
	js_str(t, "name", jget_str(resource, "name"));
	js_str(t, "service", jget_str(ref, "name"));
	js_str(t, "port", jget_str(ref, "sectionName"));
	js_str(t, "accepted", jget_str(cond, "status"));
	js_str(t, "reason", jget_str(cond, "reason"));
	js_str(t, "message", jget_str(cond, "message"));
	js_close(t, '}');
}

static bool is_policy(const char *kind)
{
	return strcmp(kind, "TrafficPolicy") == 0 || strcmp(kind, "XBackendTrafficPolicy") == 0 ||
	       strcmp(kind, "RateLimitPolicy") == 0 || strcmp(kind, "BackendTLSPolicy") == 0;
}

void show_policies(struct state *st, const struct call *c, struct answer *ret)
{
	const char *only = call_text(c, "namespace");
	json_t *all = report_full(&st->report);
	const json_t *resource, *ancestor;
	size_t i, k;
	struct text *t;

	*ret = show_ok();
	t = &ret->body;
	js_open(t, "policies", '[');
	json_array_foreach(jget_array(all, "resources"), i, resource) {
		if (!is_policy(jget_str(resource, "kind")) ||
		    (only && strcmp(jget_str(resource, "namespace"), only) != 0))
			continue;
		json_array_foreach(jget_array(json_object_get(resource, "status"), "ancestors"), k,
				   ancestor)
			target_row(resource, ancestor, t);
	}
	js_close(t, ']');
	show_end(ret);
	report_drop(all);
}
