/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How long requests may take, when they are sent again, and how many may be. */
#include <stdarg.h>
#include <stdio.h>

#include "store/view/reader.h"

static const struct unit_times *times_at(const struct vservice *s, uint32_t times)
{
	const struct unit_svc *u = vservice_svc(s);

	return times ? unit_item(vservice_unit(s), u->times, u->n_times, sizeof(struct unit_times),
				 times - 1) : NULL;
}

/* What is not said yet. */
static void add(struct vtimes *to, const struct unit_times *t)
{
	if (t == NULL)
		return;
	if (t->set & TIMES_REQUEST && !to->has_request) {
		to->has_request = true;
		to->request_ms = t->request_ms;
	}
	if (t->set & TIMES_ATTEMPT && !to->has_attempt) {
		to->has_attempt = true;
		to->attempt_ms = t->attempt_ms;
	}
	if (to->retry.attempts == 0)
		to->retry = t->retry;
}

void vtimes_of(const struct vrule *r, const struct vport *to, struct vtimes *ret)
{
	struct vpolicy y;

	*ret = (struct vtimes){ 0 };
	if (r)
		add(ret, times_at(&r->port.service, r->times));
	if (to->has_policy && vport_policy(to, &y))
		add(ret, times_at(&to->service, y.times));
}

struct vbudget vservice_budget(const struct vservice *s)
{
	const struct unit_budget *b = &vservice_svc(s)->budget;

	return (struct vbudget){ unit_text(vservice_unit(s), b->policy),
				 b->backend_policy, b->percent, b->interval_ms,
				 b->least };
}

/* ---- words ---- */

struct words {
	char *out;
	size_t n, room;
};

static void say(struct words *w, const char *fmt, ...) printf_like(2, 3);
static void say(struct words *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->n >= w->room)
		return;
	va_start(ap, fmt);
	n = vsnprintf(w->out + w->n, w->room - w->n, fmt, ap);
	va_end(ap);
	w->n += n > 0 ? (size_t)n : 0;
}

static void say_limit(struct words *w, const char *what, bool has, uint32_t ms)
{
	if (has && ms)
		say(w, "%s%s %u ms", w->n ? ", " : "", what, ms);
	else if (has)
		say(w, "%s%s without limit", w->n ? ", " : "", what);
}

void vtimes_words(const struct vtimes *t, char *out, size_t n)
{
	struct words w = { out, 0, n };
	const char *sep = " on ";

	out[0] = 0;
	say_limit(&w, "request", t->has_request, t->request_ms);
	say_limit(&w, "attempt", t->has_attempt, t->attempt_ms);
	if (t->retry.attempts == 0)
		return;
	say(&w, "%sat most %u retr%s", w.n ? ", " : "", t->retry.attempts,
	    t->retry.attempts == 1 ? "y" : "ies");
	for (unsigned i = 0; i < RETRY_ONS; i++) {
		if (!(t->retry.on >> i & 1))
			continue;
		say(&w, "%s%s", sep, retry_row(i)->text);
		sep = ", ";
		for (unsigned c = RETRY_CODE_MIN; i == RETRY_ON_retriable_status_codes && c <= RETRY_CODE_MAX; c++)
			if (retries_have_code(&t->retry, c))
				say(&w, " %u", c);
	}
	say(&w, ", each after %u ms to %u ms, doubled up to %u ms", t->retry.least_ms,
	    t->retry.least_ms + t->retry.base_ms, t->retry.least_ms + t->retry.max_ms);
}
