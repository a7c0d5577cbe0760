/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* TrafficPolicy and XBackendTrafficPolicy, attached to Services of their own namespace (GEP-713,
 * direct). */
#include "store/resource/make.h"

#include <errno.h>
#include <stdlib.h>

#define MAGLEV_SIZE 16381	/* 32 KiB of a view: enough for 160 endpoints */
#define PENDING_MS     1000

static enum row_balancer balancer(const struct doc_node *spec)
{
	struct slice type = make_slice_of(doc_get(spec, "loadBalancer"), "type");

	return slice_eq(type, SLICE("PeakEWMA"))     ? ROW_PEAK_EWMA :
	       slice_eq(type, SLICE("LeastRequest")) ? ROW_LEAST_REQUEST :
	       slice_eq(type, SLICE("RoundRobin"))   ? ROW_ROUND_ROBIN :
	       slice_eq(type, SLICE("Maglev"))	     ? ROW_MAGLEV :
						       ROW_BALANCER_NONE;
}

static int pending(struct judge *j, const struct doc_node *limits, struct row_policy *p)
{
	const struct doc_node *n = doc_get(limits, "pending"), *time = doc_get(limits, "pendingTime");

	p->pending = (uint32_t)make_number(limits, "pending", 0);
	p->pending_ms = n ? make_duration(limits, "pendingTime", PENDING_MS) : 0;
	judge_field(j, "spec.limits.pending");
	if (n && p->connections == 0 && p->requests == 0)
		return judge_refuse(j, n->line, "there is nothing to wait for without connections or requests");
	judge_field(j, "spec.limits.pendingTime");
	if (time && n == NULL)
		return judge_refuse(j, time->line, "nobody waits without pending");
	return 0;
}

static void faults(const struct doc_node *m, struct row_policy *p)
{
	const struct doc_node *delay = doc_get(m, "delay"), *abort = doc_get(m, "abort");

	p->delay_ms = make_duration(delay, "fixed", 0);
	p->delay_percent = (uint8_t)make_number(delay, "percent", delay ? 100 : 0);
	p->abort_status = (uint16_t)make_number(abort, "status", 0);
	p->abort_grpc = (uint8_t)(make_number(abort, "grpcStatus", -1) + 1);
	p->abort_percent = (uint8_t)make_number(abort, "percent", abort ? 100 : 0);
}

static bool is_prime(uint32_t n)
{
	for (uint32_t i = 2; i * i <= n; i++)
		if (n % i == 0)
			return false;
	return n > 1;
}

/* The key of Maglev. */
static int hash(struct judge *j, const struct doc_node *spec, struct row_policy *p)
{
	const struct doc_node *lb = doc_get(spec, "loadBalancer"), *m = doc_get(lb, "hash"), *name;
	struct slice type = make_slice_of(m, "type");

	p->hash_name = make_text(m, "name", "");
	if (p->hash_name == NULL)
		return -ENOMEM;
	judge_field(j, "spec.loadBalancer.hash");
	if (p->balancer == ROW_MAGLEV ? m == NULL : m != NULL)
		return judge_refuse(j, m ? m->line : lb->line, m ? "is for type Maglev only" :
				    "is required for type Maglev: the key that decides");
	if (m == NULL)
		return 0;
	p->hash = slice_eq(type, SLICE("Header")) ? ROW_HASH_HEADER :
		  slice_eq(type, SLICE("Cookie")) ? ROW_HASH_COOKIE : ROW_HASH_SOURCE;
	p->table_size = (uint32_t)make_number(m, "tableSize", MAGLEV_SIZE);
	name = doc_get(m, "name");
	judge_field(j, "spec.loadBalancer.hash.name");
	if (name == NULL && p->hash != ROW_HASH_SOURCE)
		return judge_refuse(j, m->line, "is required: the name of the %s",
				    p->hash == ROW_HASH_HEADER ? "header" : "cookie");
	if (name && p->hash == ROW_HASH_SOURCE)
		return judge_refuse(j, name->line, "is for types Header and Cookie only");
	judge_field(j, "spec.loadBalancer.hash.tableSize");
	if (!is_prime(p->table_size))
		return judge_refuse(j, doc_get(m, "tableSize")->line, "must be a prime, not %u",
				    p->table_size);
	return 0;
}

static struct balancing balancing(const struct doc_node *m)
{
	const struct balancing *def = &balancing_default;
	const struct doc_node *slow = doc_get(m, "slowStart");

	return (struct balancing){
		.slow_ms = make_duration(slow, "window", def->slow_ms),
		.slow_aggression_percent = (uint16_t)make_number(slow, "aggressionPercent",
								 def->slow_aggression_percent),
		.slow_min_percent = (uint8_t)make_number(slow, "minPercent", def->slow_min_percent),
		.overprovision_percent = (uint16_t)make_number(m, "overprovisioningPercent",
							       def->overprovision_percent),
		.panic_percent = (uint8_t)make_number(m, "panicPercent", def->panic_percent),
	};
}

static int ejection(struct judge *j, const struct doc_node *m, struct ejection *ej)
{
	const struct doc_node *rate = doc_get(m, "successRate");
	const struct ejection *def = &ejection_default;
	char base[SCHEMA_DURATION_TEXT];

	ej->failures = (uint8_t)make_number(m, "consecutiveFailures", def->failures);
	ej->percent = (uint8_t)make_number(m, "maxPercent", def->percent);
	ej->jitter_percent = (uint8_t)make_number(m, "jitterPercent", def->jitter_percent);
	ej->rate_interval_ms = rate ? make_duration(rate, "interval", EJECTION_RATE_INTERVAL_MS) :
				      def->rate_interval_ms;
	ej->rate_endpoints = (uint8_t)make_number(rate, "minEndpoints", def->rate_endpoints);
	ej->rate_requests = (uint32_t)make_number(rate, "minRequests", def->rate_requests);
	ej->rate_deviation = (uint32_t)make_number(rate, "deviationThousandths", def->rate_deviation);
	ej->base_ms = make_duration(m, "baseTime", def->base_ms);
	ej->max_ms = make_duration(m, "maxTime", max_of(ej->base_ms, def->max_ms));
	judge_field(j, "spec.ejection.maxTime");
	if (ej->max_ms < ej->base_ms)
		return judge_refuse(j, doc_get(m, "maxTime")->line, "must be at least baseTime, %s",
				    schema_duration_text(ej->base_ms, base));
	return 0;
}

int make_policy(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec");
	const struct doc_node *times = doc_get(spec, "timeouts"), *limits = doc_get(spec, "limits");
	struct row_policy *p = &r->policy;
	int e = make_targets(j, spec, &p->targets, &p->n_targets);

	if (e < 0)
		return e;
	p->balancer = balancer(spec);
	e = hash(j, spec, p);
	if (e < 0)
		return e;
	p->balancing = balancing(doc_get(spec, "loadBalancer"));
	judge_field(j, "spec.loadBalancer.slowStart");
	if (p->balancing.slow_ms && p->balancer == ROW_MAGLEV)
		return judge_refuse(j, doc_get(doc_get(spec, "loadBalancer"), "slowStart")->line,
				    "is not for type Maglev: keys would move");
	p->prefer_zone = make_flag(doc_get(spec, "loadBalancer"), "preferSameZone", false);
	p->connect_ms = make_duration(times, "connect", 0);
	p->response_ms = make_duration(times, "response", 0);
	p->stall_ms = make_duration(times, "stall", 0);
	p->tcp_idle_ms = make_duration(times, "tcpIdle", 0);
	p->connections = (uint32_t)make_number(limits, "connections", 0);
	p->requests = (uint32_t)make_number(limits, "requests", 0);
	if (make_policy_retries(j, spec, p) < 0)
		return -EINVAL;
	faults(doc_get(spec, "faults"), p);
	e = pending(j, limits, p);
	if (e == 0)
		e = make_health(j, doc_get(spec, "healthCheck"), &p->health);
	return e < 0 ? e : ejection(j, doc_get(spec, "ejection"), &p->ejection);
}

int make_backend_policy(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *limit = doc_get(spec, "retryConstraint");
	int e = make_targets(j, spec, &r->policy.targets, &r->policy.n_targets);

	if (e == 0)
		make_budget(doc_get(limit, "budget"), doc_get(limit, "minRetryRate"),
			    &r->policy.budget);
	return e;
}
