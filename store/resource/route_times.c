/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How long a request may take and when it is sent again: `timeouts` (GEP-1742) and `retry` (GEP-1731)
 * of a route's rule, `retries` of a TrafficPolicy, and retry budgets (GEP-3388). */
#include "store/resource/make.h"

#include <errno.h>

/* Envoy's. */
#define ATTEMPTS  1
#define BASE_MS	  25
#define MAX_TIMES 10

static uint32_t times_max(uint32_t base_ms)
{
	return (uint32_t)min_of((uint64_t)base_ms * MAX_TIMES, (uint64_t)UINT32_MAX);
}

static void codes(const struct doc_node *list, struct retries *r)
{
	for (const struct doc_node *m = list ? list->first : NULL; m; m = m->next) {
		retries_add_code(r, (unsigned)m->number);
		r->on |= 1u << RETRY_ON_retriable_status_codes;
	}
}

int make_rule_times(struct judge *j, const struct doc_node *rule, uint32_t at, struct row_rule *r)
{
	const struct doc_node *times = doc_get(rule, "timeouts"), *retry = doc_get(rule, "retry");
	const struct doc_node *attempt = doc_get(times, "backendRequest");
	struct row_times *t = &r->times;
	char most[SCHEMA_DURATION_TEXT];

	t->has_request = doc_get(times, "request") != NULL;
	t->has_attempt = attempt != NULL;
	t->request_ms = make_duration(times, "request", 0);
	t->attempt_ms = make_duration(times, "backendRequest", 0);
	judge_field(j, "spec.rules[%u].timeouts.backendRequest", at);
	if (t->request_ms && t->attempt_ms > t->request_ms)
		return judge_refuse(j, attempt->line, "must be at most request, %s",
				    schema_duration_text(t->request_ms, most));
	if (retry == NULL)
		return 0;
	r->retry.attempts = (uint32_t)make_number(retry, "attempts", ATTEMPTS);
	/* What the GEP calls errors of the connection: with any `retry`. */
	r->retry.on = 1u << RETRY_ON_connect_failure | 1u << RETRY_ON_refused_stream | 1u << RETRY_ON_reset;
	codes(doc_get(retry, "codes"), &r->retry);
	r->retry.least_ms = make_duration(retry, "backoff", 0);
	r->retry.base_ms = doc_get(retry, "backoff") ? r->retry.least_ms : BASE_MS;
	r->retry.max_ms = times_max(r->retry.base_ms);
	return 0;
}

static uint32_t conditions(const struct doc_node *list)
{
	uint32_t on = 0;

	for (const struct doc_node *m = list ? list->first : NULL; m; m = m->next)
		for (unsigned i = 0; i < RETRY_ONS; i++)
			if (slice_eq(m->text, slice_str(retry_row(i)->text)))
				on |= 1u << i;
	return on;
}

int make_policy_retries(struct judge *j, const struct doc_node *spec, struct row_policy *p)
{
	static const char *const needs_on[] = { "statusCodes", "attempts", "backoff" };
	const struct doc_node *m = doc_get(spec, "retries"), *backoff = doc_get(m, "backoff");
	const struct doc_node *list = doc_get(m, "statusCodes");
	uint32_t by_code = 1u << RETRY_ON_retriable_status_codes;
	struct retries *r = &p->retry;
	char base[SCHEMA_DURATION_TEXT];

	if (m == NULL)
		return 0;
	make_budget(doc_get(m, "budget"), doc_get(doc_get(m, "budget"), "minRetryRate"), &p->budget);
	p->budget.is_set = doc_get(m, "budget") != NULL;
	p->times.attempt_ms = make_duration(m, "perTryTimeout", 0);
	p->times.has_attempt = p->times.attempt_ms != 0;
	r->on = conditions(doc_get(m, "on"));
	for (size_t i = 0; i < countof(needs_on) && r->on == 0; i++) {
		const struct doc_node *x = doc_get(m, needs_on[i]);

		judge_field(j, "spec.retries.%s", needs_on[i]);
		if (x)
			return judge_refuse(j, x->line, "has no effect without on, which says what is tried again");
	}
	judge_field(j, "spec.retries.statusCodes");
	if (r->on & by_code && (list == NULL || list->n == 0))
		return judge_refuse(j, m->line, "is required with retriable-status-codes");
	if (list && list->n && !(r->on & by_code))
		return judge_refuse(j, list->line, "has no effect without retriable-status-codes in on");
	if (r->on == 0)
		return 0;
	codes(list, r);
	r->attempts = (uint32_t)make_number(m, "attempts", ATTEMPTS);
	r->base_ms = make_duration(backoff, "base", BASE_MS);
	r->max_ms = make_duration(backoff, "max", times_max(r->base_ms));
	judge_field(j, "spec.retries.backoff.max");
	if (r->max_ms < r->base_ms)
		return judge_refuse(j, doc_get(backoff, "max")->line, "must be at least base, %s",
				    schema_duration_text(r->base_ms, base));
	return 0;
}

void make_budget(const struct doc_node *budget, const struct doc_node *rate, struct row_budget *b)
{
	b->percent = (uint32_t)make_number(budget, "percent", RETRY_PERCENT);
	b->interval_ms = make_duration(budget, "interval", RETRY_INTERVAL_MS);
	b->count = (uint32_t)make_number(rate, "count", RETRY_RATE);
	b->per_ms = make_duration(rate, "interval", RETRY_RATE_MS);
	b->is_set = true;
}
