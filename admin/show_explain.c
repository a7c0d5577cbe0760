/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* explain: where a request would go, step by step, with the functions that the workers use on the
 * view that they serve.  Nothing is sent and no dice are thrown: of backends and endpoints all are
 * shown with what speaks for each, and with the chance of each to get the next request. */
#include "admin/show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/server_name.h"
#include "workers/obs/endpoint.h"
#include "workers/obs/levels.h"

#define RULES_TOLD     32
#define ENDPOINTS_TOLD 64

struct asked {
	struct slice authority, path, query, method;
	struct slice headers;			/* lines of "name: value" */
	struct slice ns;
	const struct knobs_listener *listener;	/* the caller's; NULL: one that goes by host */
	const struct pod_told *pod;		/* the caller, captured: it dials addresses */
	bool given;				/* who asks was said */
};

static void step(struct text *t, const char *name, const char *what, const char *why, ...)
	printf_like(4, 5);

static void step_open(struct text *t, const char *name, const char *what, const char *why)
{
	js_open(t, NULL, '{');
	js_str(t, "step", name);
	js_str(t, "what", what);
	js_str(t, "why", why);
}

static void step(struct text *t, const char *name, const char *what, const char *why, ...)
{
	char words[640];
	va_list ap;

	va_start(ap, why);
	vsnprintf(words, sizeof words, why, ap);
	va_end(ap);
	step_open(t, name, what, words);
	js_close(t, '}');
}

/* The end, with the reason that the access log would have. */
static void nowhere(struct text *t, enum reason why)
{
	const struct reason_row *row = reason_row(why);

	step(t, "answer", row->name, "status %d: %s", row->http, row->words);
}

static const char *name_of(struct slice ns, struct slice name, unsigned port, char out[400])
{
	int n = snprintf(out, 400, "%.*s/%.*s", (int)min_of(ns.n, (size_t)63), (const char *)ns.p,
			 (int)min_of(name.n, (size_t)253), (const char *)name.p);

	if (port)
		snprintf(out + n, 400 - (size_t)n, ":%u", port);
	return out;
}

/* The captured pod of this name; NULL: there is none. */
static const struct pod_told *pod_of(const struct state *st, struct slice ns, const char *name)
{
	const struct pods_page *page = st->pods_bytes.n ? pods_page(st->pods_bytes) : NULL;

	for (uint32_t i = 0; page && i < page->n; i++)
		if (!page->pod[i].leaves && !page->pod[i].waits &&
		    strcmp(page->pod[i].words.name, name) == 0 &&
		    slice_eq(slice_str(page->pod[i].words.ns), ns))
			return &page->pod[i];
	return NULL;
}

/* NAMESPACE, NAMESPACE/POD, NAMESPACE/LISTENER, or nothing: the first listener. */
static bool who(const struct state *st, const char *from, struct asked *a, struct answer *error)
{
	const char *slash = from ? strchr(from, '/') : NULL;

	a->given = from != NULL;
	a->listener = from || st->knobs->n_listeners == 0 ? NULL : &st->knobs->listener[0];
	if (!from) {
		a->ns = slice_str(a->listener ? a->listener->ns : "default");
		return true;
	}
	a->ns = slice_of(from, slash ? (size_t)(slash - from) : strlen(from));
	if (!slash)
		return true;
	a->pod = pod_of(st, a->ns, slash + 1);
	for (uint32_t i = 0; i < st->knobs->n_listeners && !a->listener && !a->pod; i++)
		if (strcmp(st->knobs->listener[i].name, slash + 1) == 0 &&
		    slice_eq(slice_str(st->knobs->listener[i].ns), a->ns))
			a->listener = &st->knobs->listener[i];
	if (!a->listener && !a->pod)
		answer_error(error, 404, "no pod and no listener of that namespace has this name", from,
			     "list them with `nodeproxyctl get pods` and `nodeproxyctl get listeners`");
	return a->listener || a->pod;
}

static bool next_line(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
	const uint8_t *end, *colon;
	struct slice line;

	if (rest->n == 0)
		return false;
	end = memchr(rest->p, '\n', rest->n);
	line = slice_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
	*rest = slice_from(*rest, line.n + 1);
	colon = line.n ? memchr(line.p, ':', line.n) : NULL;
	*ret_name = slice_of(line.p, colon ? (size_t)(colon - line.p) : 0);
	*ret_value = slice_trim(slice_from(line, ret_name->n + 1));
	return true;
}

static bool headers_are_good(struct slice lines)
{
	struct slice name, value;

	while (next_line(&lines, &name, &value))
		if (name.n == 0)
			return false;
	return true;
}

/* See vrequest; as a worker sees them.  Host is that of the URL unless it was given. */
static bool header_of(const void *arg, struct slice name, uint32_t *at, struct slice *ret)
{
	const struct asked *a = arg;
	struct slice rest = a->headers, key;

	for (uint32_t i = 0; next_line(&rest, &key, ret); i++) {
		if (i < *at || !slice_caseeq(key, name))
			continue;
		*at = i + 1;
		return true;
	}
	if (!slice_eq(name, SLICE("host")) || *at || a->authority.n == 0)
		return false;
	*ret = a->authority;
	*at = UINT32_MAX;
	return true;
}

static struct vrequest request_of(const struct asked *a)
{
	return (struct vrequest){ .method = a->method, .path = a->path, .query = a->query,
				  .header = header_of, .arg = a };
}

static bool parse(struct state *st, const struct call *c, struct asked *a, struct answer *error)
{
	const char *url = call_text(c, "url"), *method = call_text(c, "method"), *slash;
	const char *headers = call_text(c, "header");

	if (!url || !url[0]) {
		answer_error(error, 400, "what is asked for is missing", "url",
			     "for example: nodeproxyctl explain web.shop/cart");
		return false;
	}
	if (strncmp(url, "http://", 7) == 0)
		url += 7;
	slash = strpbrk(url, "/?");
	a->authority = slice_of(url, slash ? (size_t)(slash - url) : strlen(url));
	a->path = slash && *slash == '/' ? slice_of(slash, strcspn(slash, "?")) : SLICE("/");
	a->query = slice_str(slash ? strchrnul(slash, '?') : "");
	a->query = slice_from(a->query, a->query.n ? 1 : 0);
	a->headers = slice_str(headers ? headers : "");
	a->method = method ? slice_str(method) : SLICE("GET");
	if (!headers_are_good(a->headers)) {
		answer_error(error, 400, "a header is NAME: VALUE", headers, NULL);
		return false;
	}
	return who(st, call_text(c, "from"), a, error);
}

/* "connect 500 ms, response 15000 ms" of what a policy says. */
static void add_words(char *out, size_t room, const char *name, uint32_t n, const char *unit)
{
	size_t at = strlen(out);

	if (n)
		snprintf(out + at, room - at, "%s%s %u%s", at ? ", " : "", name, n, unit);
}

static void add_limit(const struct state *st, const struct vpolicy *v, enum limit what, uint32_t max,
		      const char *name, char *out, size_t room)
{
	char unit[64];

	snprintf(unit, sizeof unit, " (%llu now)",
		 (unsigned long long)gather_limit(st, v->limit, what));
	add_words(out, room, name, max, v->limit.slot ? unit : " (not kept)");
}

static void policy(const struct state *st, const struct vport *p, struct text *t)
{
	char name[400], words[400] = "";
	struct vpolicy v;
	struct vcheck c;

	if (!vport_policy(p, &v)) {
		step(t, "policy", "none", "no TrafficPolicy is about this port");
		return;
	}
	add_words(words, sizeof words, "connect", v.connect_ms, " ms");
	add_words(words, sizeof words, "response", v.response_ms, " ms");
	add_words(words, sizeof words, "stall", v.stall_ms, " ms");
	add_words(words, sizeof words, "tcpIdle", v.tcp_idle_ms, " ms");
	add_limit(st, &v, LIMIT_CONNECTIONS, v.connections, "connections", words, sizeof words);
	add_limit(st, &v, LIMIT_REQUESTS, v.requests, "requests", words, sizeof words);
	add_words(words, sizeof words, "pending", v.pending, " on each worker");
	if (v.ejection.failures)
		add_words(words, sizeof words, "ejection after", v.ejection.failures, " failures");
	if (v.delay_ms)
		add_words(words, sizeof words, "delays", v.delay_percent, "% of the requests");
	if (v.abort_status)
		add_words(words, sizeof words, "fails", v.abort_percent, "% of the requests");
	if (vport_check(p, &c))
		add_words(words, sizeof words, "health check each", c.interval_ms, " ms");
	step(t, "policy", name_of(vservice_ns(&p->service), v.name, 0, name), "%s%s%s", words,
	     words[0] ? ", " : "", v.ejection.failures ? "the rest as in nodeproxy.yaml" :
						       "no ejection, the rest as in nodeproxy.yaml");
}

static void add_pace(const char *name, const struct vpace *v, char *out, size_t room)
{
	size_t at = strlen(out);

	if (v->requests)
		snprintf(out + at, room - at, "%s%s %u requests in %u ms, %u at once", at ? "; " : "", name,
			 v->requests, v->interval_ms, v->burst);
}

static void rate_limit(const struct vport *p, struct text *t)
{
	char name[400], words[300] = "";
	struct vrate v;

	if (!vport_rate(p, &v))
		return;
	add_pace(v.key == RATE_KEY_TENANT ? "each tenant" : "each namespace", &v.identity, words,
		 sizeof words);
	add_pace("all", &v.total, words, sizeof words);
	step(t, "rate limit", name_of(vservice_ns(&p->service), v.name, 0, name), "%s%s", words,
	     v.slot.slot ? "" : " (not kept)");
}

static void endpoints_tls(const struct vport *p, struct text *t)
{
	char name[400];
	struct vtls v;

	if (!vport_tls(p, &v))
		return;
	if (v.cas == 0 && !v.trusts_host)
		step(t, "tls", name_of(vservice_ns(&p->service), v.name, 0, name),
		     "it trusts nobody: requests are answered 503");
	else
		step(t, "tls", name_of(vservice_ns(&p->service), v.name, 0, name), "endpoints are asked for %.*s",
		     (int)v.host.n, (const char *)v.host.p);
}

static const struct {
	const char *name, *how;
} words_of[BALANCERS] = {
	[BALANCER_PEAK_EWMA] = { "peak EWMA",
		"of two ready endpoints at random the one that is likely to be done first" },
	[BALANCER_LEAST_REQUEST] = { "least request",
		"of two ready endpoints at random the one with less in flight" },
	[BALANCER_ROUND_ROBIN] = { "round robin", "ready endpoints in turn" },
	[BALANCER_MAGLEV] = { "Maglev",
		"the endpoint in whose slots the key of the request lies; chances are of an unknown key" },
};

static enum balancer balancer_of(const struct vport *p)
{
	struct vpolicy v;

	if (vport_policy(p, &v) && v.balancer != BALANCER_DEFAULT && v.balancer < BALANCERS)
		return v.balancer;
	return p->protocol == APP_TCP ? BALANCER_LEAST_REQUEST : BALANCER_PEAK_EWMA;
}

/* What the balancers draw from, and what each costs: see workers/pool/balance.h. */
struct candidates {
	uint32_t n, eligible;
	unsigned levels;		/* at least one: of a port without, all of it */
	struct stratum {
		struct vlevel of;
		struct level share;	/* what it gets */
		uint64_t *sorted;	/* loads of the eligible */
		uint64_t weights;	/* of the eligible, together */
		uint64_t slots;		/* likewise */
		uint32_t eligible, sick;
		uint64_t warm;		/* weight times warmth, likewise */
	} level[VPORT_LEVELS];
	bool warms;			/* somebody starts slowly */
	bool last_resort;		/* all are passed over: any of the first level */
	struct candidate {
		uint64_t load;
		enum standing standing;
		bool takes, out;	/* out: passed over */
		uint32_t warmth;	/* of 1,024 */
		uint8_t level;
		uint32_t slots;		/* of Maglev's table */
	} *all;
	uint64_t *sorted;
	bool in_turn;			/* nobody is ready: those that still serve, in turn */
};

static void candidates_free(struct candidates *c)
{
	free(c->all);
	free(c->sorted);
}

static int by_load(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* What the board says of it. */
static void look(const struct state *st, const struct vendpoint *e, enum balancer how,
		 const struct ejection *ej, const struct balancing *b, struct candidate *k)
{
	struct mono now = { st->now_mono_ms * NS_PER_MS };
	const struct board_endpoint *l;

	if (st->workers == 0 || slot_is_shared(e->slot, BOARD_ENDPOINTS))
		return;
	l = &st->board->endpoint[e->slot.slot];
	if (__atomic_load_n(&l->gen, __ATOMIC_RELAXED) != e->slot.gen)
		l = NULL;
	k->standing = endpoint_standing(st->board, l, e->slot.slot, e->slot.gen, ej, b, now);
	if (l == NULL)
		return;
	k->load = how == BALANCER_PEAK_EWMA ? endpoint_load(l, now) : endpoint_in_flight(l);
	k->warmth = endpoint_warmth(l, b, now);
}

/* All are passed over, and no policy's panic is near: those of the first level serve all the same. */
static void last_resort(struct candidates *c, struct level *level)
{
	unsigned first = 0;

	c->last_resort = true;
	while (first + 1 < c->levels && level[first].ready == 0)
		first++;
	for (unsigned i = 0; i < c->levels; i++)
		level[i].load = i == first ? 100 : 0;
	for (uint32_t k = 0; k < c->n; k++)
		c->all[k].out &= c->all[k].level != first;
}

/* Which of those that are out are passed over, and what each level gets. */
static void share_out(struct candidates *c, const struct vport *p)
{
	struct balancing balancing = gather_balancing(p);
	struct ejection ejection = gather_ejection(p);
	uint32_t may = levels_may_be_out(vport_ready(p), &ejection), passed = 0, left = 0;
	struct level level[VPORT_LEVELS] = { 0 };

	for (unsigned i = 0; i < c->levels; i++) {
		const struct vlevel *of = &c->level[i].of;

		level[i] = (struct level){ .total = of->total, .ready = of->ready };
		for (uint32_t k = of->first; k < of->first + of->ready && k < c->n; k++) {
			c->all[k].level = (uint8_t)i;
			level[i].out += c->all[k].standing != STANDS_WELL;
			c->level[i].sick += c->all[k].standing == STANDS_UNHEALTHY;
		}
	}
	levels_share(level, c->levels, &ejection, &balancing);
	/* Of more ejected ones than are allowed only the first. */
	for (uint32_t k = 0; k < c->n; k++) {
		struct candidate *x = &c->all[k];
		bool ejected = x->standing == STANDS_EJECTED && x->takes && passed < may;

		passed += ejected;
		x->out = (ejected || (x->standing == STANDS_UNHEALTHY && x->takes)) &&
			 !level[x->level].panics && !c->in_turn;
		left += x->takes && !x->out;
	}
	if (left == 0)
		last_resort(c, level);
	for (unsigned i = 0; i < c->levels; i++)
		c->level[i].share = level[i];
}

static void sort_loads(struct candidates *c, const struct vport *p)
{
	uint64_t *sorted = c->sorted;

	for (unsigned i = 0; i < c->levels; i++) {
		struct stratum *s = &c->level[i];

		s->sorted = sorted;
		for (uint32_t k = 0; k < c->n; k++) {
			const struct candidate *x = &c->all[k];

			if (!x->takes || x->out || x->level != i)
				continue;
			s->sorted[s->eligible++] = x->load;
			s->weights += vport_weight(p, k);
			s->warm += (uint64_t)vport_weight(p, k) * x->warmth;
			s->slots += x->slots;
		}
		qsort(s->sorted, s->eligible, sizeof *s->sorted, by_load);
		sorted += s->eligible;
		c->eligible += s->eligible;
	}
}

/* Which endpoints the tables lead to. */
static void count_slots(struct candidates *c, const struct vport *p)
{
	for (unsigned i = 0; i < c->levels; i++)
		for (uint32_t k = 0; k < c->level[i].of.slots; k++) {
			uint32_t at = vlevel_slot(p, &c->level[i].of, k);

			if (at < c->n)
				c->all[at].slots++;
		}
}

static bool candidates_of(const struct state *st, const struct vport *p, enum balancer how,
			  struct candidates *c)
{
	struct balancing balancing = gather_balancing(p);
	struct ejection ejection = gather_ejection(p);
	uint32_t ready = vport_ready(p);
	struct vendpoint e;

	*c = (struct candidates){ .in_turn = ready == 0,
				  .all = calloc((size_t)p->endpoints + 1, sizeof *c->all),
				  .sorted = calloc((size_t)p->endpoints + 1, sizeof *c->sorted) };
	if (!c->all || !c->sorted)
		return false;
	for (uint32_t i = 0; i < p->endpoints && vport_endpoint(p, i, &e); i++) {
		struct candidate *k = &c->all[c->n++];

		k->takes = ready ? e.ready : e.serving;
		k->warmth = ENDPOINT_WARM;
		look(st, &e, how, &ejection, &balancing, k);
		c->warms |= k->takes && k->warmth < ENDPOINT_WARM;
	}
	for (unsigned i = 0; i < VPORT_LEVELS && vport_level(p, i, &c->level[i].of); i++)
		c->levels++;
	if (c->levels == 0) {
		c->level[0].of = (struct vlevel){ .ready = ready, .total = ready };
		c->levels = 1;
	}
	if (how == BALANCER_MAGLEV)
		count_slots(c, p);
	share_out(c, p);
	sort_loads(c, p);
	return true;
}

/* How many of the eligible of a level have less than so much. */
static uint32_t below(const struct stratum *s, uint64_t load)
{
	uint32_t from = 0, to = s->eligible;

	while (from < to) {
		uint32_t at = from + (to - from) / 2;

		if (s->sorted[at] < load)
			from = at + 1;
		else
			to = at;
	}
	return from;
}

/* The chance to be picked for the next request that comes to its level: of all pairs that can be drawn
 * those that it wins.  Equal ones share; who is out loses to everybody, and a pair of such is drawn
 * again.  By weight, and while somebody starts slowly, it is what the weight says, which is what it
 * comes to while nobody has more to do than that. */
static double chance_in_level(const struct candidates *c, const struct vport *p, enum balancer how,
			      uint32_t i)
{
	const struct candidate *k = &c->all[i];
	const struct stratum *s = &c->level[k->level];
	double n = s->of.ready, out = n - s->eligible;
	double pairs = n * (n - 1) / 2 - out * (out - 1) / 2, less, same;

	if (!k->takes || k->out || s->eligible == 0)
		return 0;
	if (c->last_resort)
		return 1.0 / s->eligible;
	if (how == BALANCER_MAGLEV && !c->in_turn)
		return s->slots ? (double)k->slots / (double)s->slots : 0;
	if (c->warms && !c->in_turn)
		return s->warm ? (double)vport_weight(p, i) * k->warmth / (double)s->warm : 0;
	if (p->weighted && !c->in_turn)
		return s->weights ? (double)vport_weight(p, i) / (double)s->weights : 0;
	if (c->in_turn || s->eligible == 1 || how == BALANCER_ROUND_ROBIN)
		return 1.0 / s->eligible;
	less = below(s, k->load);
	same = (k->load == UINT64_MAX ? s->eligible : below(s, k->load + 1)) - less - 1;
	return (out + (s->eligible - less - same - 1) + same / 2) / pairs;
}

static double chance(const struct candidates *c, const struct vport *p, enum balancer how,
		     uint32_t i)
{
	double in = chance_in_level(c, p, how, i);

	return c->levels == 1 ? in : in * c->level[c->all[i].level].share.load / 100;
}

/* Why endpoints of a level get what they get. */
static void level_steps(const struct candidates *c, struct text *t)
{
	for (unsigned i = 0; i < c->levels && c->levels > 1; i++) {
		const struct stratum *s = &c->level[i];
		char name[64], sick[32] = "";

		snprintf(name, sizeof name, "priority %u%s", s->of.priority,
			 s->of.far ? ", other zones" : "");
		if (s->sick)
			snprintf(sick, sizeof sick, " (%u unhealthy)", s->sick);
		step(t, "level", name, "%u%%: %u of %u endpoints are ready, %u of those are out%s%s",
		     s->share.load, s->of.ready, s->of.total, s->share.out, sick,
		     s->share.panics ? ", so many that it counts for nothing" : "");
	}
}

static void endpoint_step(const struct state *st, const struct vport *p, uint32_t i,
			  const struct candidate *k, double odds, struct text *t)
{
	char addr[ADDR_TEXT], why[200], times[64] = "has not answered lately", weight[64] = "";
	struct endpoint_sums n;
	struct vendpoint e;

	if (!vport_endpoint(p, i, &e))
		return;
	gather_endpoint(st, p, &e, &n);
	if (p->weighted)
		snprintf(weight, sizeof weight, "weight %u, ", vport_weight(p, i));
	if (k->warmth < ENDPOINT_WARM) {
		size_t at = strlen(weight);

		snprintf(weight + at, sizeof weight - at, "slow start at %u%%, ",
			 k->warmth * 100 / ENDPOINT_WARM);
	}
	if (n.rtt_us)
		snprintf(times, sizeof times, "likely to answer within %u.%03u ms", n.rtt_us / 1000,
			 n.rtt_us % 1000);
	if (!k->takes)
		snprintf(why, sizeof why, e.terminating ? "terminating: takes nothing new"
							 : "not ready: takes nothing");
	else if (k->out && k->standing == STANDS_UNHEALTHY)
		snprintf(why, sizeof why, "%sunhealthy for %u s: health checks failed", weight, n.check_s);
	else if (k->out && n.probing)
		snprintf(why, sizeof why, "%sprobing: its time is over, and it has its one exchange",
			 weight);
	else if (k->out)
		snprintf(why, sizeof why, "%sejected for %u.%u s: %s", weight, n.out_ms / 1000,
			 n.out_ms / 100 % 10,
			 n.by_rate ? "succeeds less often than the others" : "failed in a row");
	else
		snprintf(why, sizeof why, "%s%.3g%% now: %s%s, %llu in flight%s",
			 p->weighted || k->warmth < ENDPOINT_WARM ? "about " : "", odds * 100, weight, times,
			 (unsigned long long)n.in_flight,
			 k->standing == STANDS_UNHEALTHY ? "; is unhealthy, as too many are" :
			 n.out_ms ? "; is out, as too many are" : "");
	step_open(t, "endpoint", addr_text(&e.addr, true, addr), why);
	if (t->comma)
		text_addc(t, ',');
	text_printf(t, "\"probability\":%.6f", odds);
	js_u64(t, "in_flight", n.in_flight);
	js_u64(t, "response_time_ns", n.rtt_us * 1000ull);
	js_u64(t, "ejected_for_ms", n.out_ms);
	js_close(t, '}');
}

/* What rule (NULL: none) and policy say of times and retries, and how many of these there may be. */
static void times(const struct vrule *r, const struct vport *p, struct text *t)
{
	struct vbudget b = vservice_budget(&p->service);
	char words[640], name[400];
	struct vtimes v;

	vtimes_of(r, p, &v);
	vtimes_words(&v, words, sizeof words);
	if (words[0] == 0)
		return;
	step_open(t, "times", v.retry.attempts ? "retries" : "no retries", words);
	js_close(t, '}');
	if (v.retry.attempts)
		step(t, "budget", b.policy.n ? name_of(vservice_ns(&p->service), b.policy, 0, name) :
					       "defaults",
		     "at most %u %% of the requests of %u ms may be sent again, or %u where that is more",
		     b.percent, b.interval_ms, b.least);
}

/* share: of the requests that come as far as this.  True: somebody could take it. */
static bool endpoints(const struct state *st, const struct vrule *r, const struct vport *p, double share,
		      struct text *t)
{
	enum balancer how = balancer_of(p);
	struct candidates c;
	bool any;

	policy(st, p, t);
	rate_limit(p, t);
	endpoints_tls(p, t);
	times(r, p, t);
	if (vservice_lacks_endpoints(&p->service)) {
		char name[400];

		step(t, "endpoints", name_of(vservice_ns(&p->service), vservice_name(&p->service), 0, name),
		     "are in the registry only: nobody here has used them lately. They would be fetched, and the request would wait for them, "
		     "at most timeouts.endpoints");
		return true;
	}
	if (!candidates_of(st, p, how, &c)) {
		candidates_free(&c);
		nowhere(t, REASON_NO_MEMORY);
		return false;
	}
	step(t, "balancer", words_of[how].name, "%s%s",
	     c.in_turn ? "none is ready: those that still serve while they terminate, in turn" :
			 words_of[how].how,
	     p->weighted ? ", by weight" : "");
	level_steps(&c, t);
	for (uint32_t i = 0; i < c.n && i < ENDPOINTS_TOLD; i++)
		endpoint_step(st, p, i, &c.all[i], share * chance(&c, p, how, i), t);
	if (c.n > ENDPOINTS_TOLD)
		step(t, "endpoint", "...", "and %u more: see `nodeproxyctl get endpoints`",
		     c.n - ENDPOINTS_TOLD);
	any = c.eligible > 0;
	candidates_free(&c);
	if (!any)
		nowhere(t, REASON_NO_ENDPOINT);
	return any;
}

/* of: "" of the rule, or ", of this back end".  False: the request goes no further. */
static bool filters(const struct vrule *r, const struct vfilters *all, const char *of, struct text *t)
{
	struct vfilter f;

	for (uint32_t i = 0; vfilter_at(&r->port.service, all, i, &f); i++) {
		char words[FILTER_WORDS];

		vfilter_words(&f, words, sizeof words);
		step(t, "filter", filter_name(f.kind), "%s%s", words, of);
		if (f.kind == FILTER_REDIRECT) {
			nowhere(t, REASON_REDIRECTED);
			return false;
		}
	}
	return true;
}

static bool backends(const struct state *st, const struct vrule *r, struct text *t)
{
	struct vbackend b;
	bool all = true;

	if (r->total_weight == 0) {
		nowhere(t, REASON_NO_BACKEND);
		return false;
	}
	for (uint32_t i = 0; vrule_backend_at(r, i, &b); i++) {
		char name[400];

		name_of(b.ns, b.name, b.number, name);
		if (b.weight == 0) {
			step(t, "backend", name, "weight 0: gets nothing");
			continue;
		}
		step(t, "backend", name, "weight %u of %u: %.3g%%", b.weight, r->total_weight,
		     100.0 * b.weight / r->total_weight);
		if (!b.valid) {
			nowhere(t, REASON_NO_BACKEND);
			all = false;
			continue;
		}
		if (!filters(r, &b.filters, ", of this back end", t)) {
			all = false;
			continue;
		}
		all &= endpoints(st, r, &b.port, (double)b.weight / r->total_weight, t);
	}
	return all;
}

/* Why the others did not win: the first that matches does, in order of precedence. */
static void other_rules(const struct vport *p, const struct asked *a, const struct vrule *won,
			uint32_t first, uint32_t n, struct text *t)
{
	struct vrequest q = request_of(a);
	struct vrule r;

	for (uint32_t i = 0; i < min_of(n, (uint32_t)RULES_TOLD) && vport_rule_at(p, first + i, &r); i++) {
		char words[512], why[512], name[400];

		if (won && r.index == won->index)
			continue;
		vrule_words(&r, words, sizeof words);
		if (!vrule_misses(&r, &q, why, sizeof why))
			snprintf(why, sizeof why, "comes later in order of precedence");
		step(t, "other-rule", name_of(r.route_ns, r.route_name, 0, name), "%u: %s: %s", i + 1,
		     words, why);
	}
	if (n > RULES_TOLD)
		step(t, "other-rule", "...", "and %u more: see `nodeproxyctl get routes`",
		     n - RULES_TOLD);
}

/* A TLS caller asks for the host; a header host says for which. */
static struct slice name_asked(const struct asked *a)
{
	struct slice host = a->authority;
	uint32_t at = 0;
	uint16_t port;

	(void)header_of(a, SLICE("host"), &at, &host);
	return authority_split(host, &host, &port) ? host : a->authority;
}

static enum match_result match_by_name(const struct vport *p, const struct asked *a, struct vrequest *q,
				       char path[SERVER_NAME_PATH], struct vrule *ret)
{
	int n = server_name_path(name_asked(a), false, path);

	q->is_tls = true;
	q->path = slice_of(path, n > 0 ? (size_t)n : 0);
	return vport_match(p, a->ns, q, ret) == MATCH_RULE ? MATCH_RULE : MATCH_BY_NAME;
}

/* From the port on.  True: it would arrive. */
static bool from_port(const struct state *st, const struct asked *a, const struct vport *p,
		      struct text *t)
{
	struct vrequest q = request_of(a);
	bool is_http = p->protocol != APP_TCP;
	uint32_t first = 0, n = vport_rules_for(p, a->ns, &first);
	struct vrule r;
	char words[512], name[400], whose[100] = "", path[SERVER_NAME_PATH];
	enum match_result found;

	found = vport_match(p, a->ns, is_http ? &q : NULL, &r);
	if (found == MATCH_BY_NAME)
		found = match_by_name(p, a, &q, path, &r);
	switch (found) {
	case MATCH_BY_NAME:
		step(t, "route", "none", "of %u rules of TLSRoutes none is for the server name %.*s, which is the "
		     "host unless a header host is asked with", n, (int)min_of(name_asked(a).n, (size_t)255),
		     (const char *)name_asked(a).p);
		nowhere(t, REASON_NO_TLS_ROUTE);
		return false;
	case MATCH_DIRECT:
		step(t, "route", "none", "%s", n ? "HTTPRoutes and GRPCRoutes are not looked at for TCP" :
				     p->has_routes ? "routes are for the callers of other namespaces: "
						     "its own endpoints serve" :
						     "no route is attached: its own endpoints serve");
		return endpoints(st, NULL, p, 1, t);
	case MATCH_NOTHING:
		step(t, "route", "none", "of %u rules none matches %.*s %.*s", n,
		     (int)min_of(a->method.n, (size_t)32), (const char *)a->method.p,
		     (int)min_of(a->path.n, (size_t)256), (const char *)a->path.p);
		other_rules(p, a, NULL, first, n, t);
		nowhere(t, REASON_NO_ROUTE);
		return false;
	case MATCH_RULE:
		break;
	}
	vrule_words(&r, words, sizeof words);
	if (r.callers.n)
		snprintf(whose, sizeof whose, " for callers of namespace %.*s",
			 (int)min_of(r.callers.n, (size_t)63), (const char *)r.callers.p);
	step(t, "route", name_of(r.route_ns, r.route_name, 0, name),
	     "%s%s, rule %u of %u in order of precedence: %s", route_kind_name(r.kind), whose,
	     r.index - first + 1, n, words);
	other_rules(p, a, &r, first, n, t);
	return filters(&r, &r.filters, "", t) && backends(st, &r, t);
}

static void caller(const struct state *st, const struct asked *a, struct text *t)
{
	static const char *const routes[] = {
		[LISTEN_SERVICE] = ", which leads to one Service",
		[LISTEN_HOST] = ", which goes by host",
		[LISTEN_ORIGINAL] = ", which goes by the address that was dialled",
	};
	const struct knobs_listener *l = a->listener;
	struct vnamespace tenant;
	char name[400];

	view_namespace(st->view, a->ns, &tenant);
	snprintf(name, sizeof name, "%.*s", (int)min_of(a->ns.n, (size_t)63), (const char *)a->ns.p);
	step(t, "caller", name, "%s%s%s; pays as tenant %.*s of weight %u",
	     l ? "through listener " : a->pod ? "pod " : a->given ? "as asked, by host" :
								   "there is no listener: by host",
	     l ? l->name : a->pod ? a->pod->words.name : "", l && l->route < countof(routes) ? routes[l->route] : "",
	     (int)min_of(tenant.tenant.n, (size_t)253), (const char *)tenant.tenant.p, tenant.weight);
}

/* The Service of a listener that always leads to that one. */
static bool of_listener(const struct state *st, const struct knobs_listener *l, struct vport *ret,
			struct text *t)
{
	char name[400];
	struct vservice s;

	name_of(slice_str(l->service_ns), slice_str(l->service_name), l->service_port, name);
	if (view_service_by_name(st->view, slice_str(l->service_ns), slice_str(l->service_name),
				 &s) &&
	    vservice_port(&s, (uint16_t)l->service_port, ret)) {
		step(t, "service", name,
		     "the listener names it; host and port of the request do not count");
		return true;
	}
	step(t, "service", "none", "the listener names %s, which does not exist", name);
	nowhere(t, REASON_NO_LISTENER_SERVICE);
	return false;
}

/* What a captured pod dialled that is no Service's: whether it goes there. */
static bool passes(const struct state *st, const struct asked *a, const struct addr *dialled, struct text *t)
{
	const struct pod_told *pod = state_pod_at(st, dialled);
	bool known = pod || view_knows(st->view, dialled);
	struct vnamespace ns;
	char ip[ADDR_TEXT];

	view_namespace(st->view, a->ns, &ns);
	step(t, "service", "none", "no Service has %s%s; nodeproxy.io/unknown-destination: %s",
	     addr_text(dialled, true, ip), pod ? ", a captured pod of this host has the address" :
	     known ? ", an endpoint has the address" : "",
	     ns_mode_text(MODE_unknown_destination, ns.modes.of[MODE_unknown_destination]));
	if (!known && ns.modes.of[MODE_unknown_destination] == MODE_DENY) {
		nowhere(t, REASON_UNKNOWN_DESTINATION);
		return false;
	}
	if (pod && ns.modes.of[MODE_same_host] == MODE_DIRECT)
		step(t, "endpoint", ip, "it goes straight to pod %s/%s as it was dialled, its bytes unread",
		     pod->words.ns, pod->words.name);
	else
		step(t, "endpoint", ip, "it goes there as it was dialled, its bytes unread");
	return true;
}

/* Not a Service's: *ret_passes, whether it goes there all the same. */
static bool of_address(const struct state *st, const struct asked *a, struct vport *ret,
		       bool *ret_passes, struct text *t)
{
	char name[400];
	struct vservice s;
	struct addr dialled;

	if (addr_parse(a->authority, &dialled) == 0 && view_service_by_vip(st->view, &dialled, &s) &&
	    vservice_port(&s, dialled.port, ret)) {
		step(t, "service", name_of(vservice_ns(&s), vservice_name(&s), ret->port, name),
		     "its clusterIP was dialled");
		return true;
	}
	if (a->pod) {
		*ret_passes = passes(st, a, &dialled, t);
		return false;
	}
	step(t, "service", "none", "%.*s is no address and port of a Service: ask for CLUSTERIP:PORT",
	     (int)min_of(a->authority.n, (size_t)253), (const char *)a->authority.p);
	nowhere(t, REASON_NO_SERVICE);
	return false;
}

static bool of_host(const struct state *st, const struct asked *a, struct vport *ret, struct text *t)
{
	char name[400], number[16];
	struct vservice s;
	struct slice host;
	uint16_t port;

	if (!authority_split(a->authority, &host, &port) ||
	    !view_service_by_host(st->view, host, a->ns, &s)) {
		step(t, "service", "none", "no Service is called %.*s; forms: NAME, NAME.NAMESPACE, "
		     "NAME.NAMESPACE.svc[.DOMAIN]", (int)min_of(a->authority.n, (size_t)253),
		     (const char *)a->authority.p);
		nowhere(t, REASON_NO_SERVICE);
		return false;
	}
	step(t, "service", name_of(vservice_ns(&s), vservice_name(&s), 0, name), "the host names it");
	if (!vservice_port_of_host(&s, port, ret)) {
		step(t, "port", "none", "it has neither port %u nor 80, nor only one", port);
		nowhere(t, REASON_NO_SERVICE);
		return false;
	}
	snprintf(number, sizeof number, "%u", ret->port);
	step(t, "port", number, "%s", ret->port == port ? "as asked" :
	     port ? "the Service does not have the one that was asked for" : "no port was asked for");
	return true;
}

static bool from_caller(const struct state *st, const struct asked *a, struct text *t)
{
	const struct knobs_listener *l = a->listener;
	bool found, passes = false;
	struct vport p;

	caller(st, a, t);
	if (l && l->route == LISTEN_SERVICE)
		found = of_listener(st, l, &p, t);
	else if ((l && l->route == LISTEN_ORIGINAL) ||
		 (a->pod && addr_parse(a->authority, &(struct addr){ 0 }) == 0))
		found = of_address(st, a, &p, &passes, t);
	else	/* a pod's names are those of addresses */
		found = of_host(st, a, &p, t);
	return found ? from_port(st, a, &p, t) : passes;
}

void show_explain(struct state *st, const struct call *c, struct answer *ret)
{
	struct asked a;
	bool ok;

	if (!show_has_view(st, ret) || !parse(st, c, &a, ret))
		return;
	*ret = show_ok();
	js_open(&ret->body, "steps", '[');
	ok = from_caller(st, &a, &ret->body);
	js_close(&ret->body, ']');
	js_bool(&ret->body, "ok", ok);
	js_u64(&ret->body, "rev", view_rev(st->view));
	show_end(ret);
}
