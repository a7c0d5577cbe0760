/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See check.h.  Phases: the head, then per directory entry the unit's head and its parts one after
 * the other, then the two indexes and the two sets. */
#include "store/view/check.h"

#include <errno.h>

#include "store/view/edit.h"
#include "store/view/layout.h"
#include "store/view/view.h"

enum phase { PHASE_HEAD, PHASE_DIR, PHASE_UNIT, PHASE_NAMES, PHASE_VIPS, PHASE_KNOWN, PHASE_GONE };
enum part {
	PART_TEXTS,
	PART_PORTS,
	PART_ENDPOINTS,
	PART_TABLES,
	PART_ENTRIES,
	PART_CONDS,
	PART_ASKS,
	PART_FORKS,
	PART_TWIGS,
	PART_RULES,
	PART_BACKENDS,
	PART_POLICIES,
	PART_LEVELS,
	PART_RATES,
	PART_FILTERS,
	PART_TIMES,
	PART_TLS,
	PART_TLS_NAMES,
	PART_CAS,
	PARTS
};

static int bad(struct check *c, const char *why)
{
	c->problem = why;
	c->problem_unit = c->phase == PHASE_UNIT ? c->last_id : 0;
	c->result = -EBADMSG;
	return -1;
}

/* n elements of size at this offset lie inside [from, end). */
static bool spans(uint64_t at, uint64_t n, size_t size, uint64_t from, uint64_t end, unsigned align)
{
	return at % align == 0 && at >= from && at <= end && n <= (end - at) / size;
}

/* The buckets, and behind them, at a multiple of 8, the addresses. */
static bool set_fits(const struct view_set *s, struct slice f)
{
	uint64_t starts = ((uint64_t)s->n_buckets + 2) / 2 * 8;

	return s->n_buckets && (s->n_buckets & (s->n_buckets - 1)) == 0 &&
	       spans(s->at, s->n_buckets + 1ull, sizeof(uint32_t), sizeof(struct view_head), f.n, 8) &&
	       spans(s->at + starts, s->n, 16, sizeof(struct view_head), f.n, 8);
}

static int check_head(struct check *c, struct slice f)
{
	const struct view_head *h = (const struct view_head *)f.p;

	if (f.n < sizeof *h || h->magic != VIEW_MAGIC)
		return bad(c, "not a view");
	if (h->version != VIEW_VERSION)
		return bad(c, "a version of another build");
	if (h->bytes != f.n || f.n > VIEW_MAX_BYTES)
		return bad(c, "the size in the head is not the size of the file");
	if (h->layer != LAYER_BASE && h->layer != LAYER_OVERLAY)
		return bad(c, "neither base nor overlay");
	if (h->layer == LAYER_BASE ? h->base_rev != h->rev : h->base_rev >= h->rev)
		return bad(c, "the revisions do not fit the layer");
	if (!spans(h->dir, h->n_dir, sizeof(struct view_dir), sizeof *h, f.n, 8))
		return bad(c, "directory outside the file");
	if (h->n_names == 0 || (h->n_names & (h->n_names - 1)) != 0 ||
	    !spans(h->names, h->n_names, sizeof(struct view_slot), sizeof *h, f.n, 8))
		return bad(c, "index of names outside the file or not a power of two");
	if (h->n_vips == 0 || (h->n_vips & (h->n_vips - 1)) != 0 ||
	    !spans(h->vips, h->n_vips, sizeof(struct view_slot), sizeof *h, f.n, 8))
		return bad(c, "index of addresses outside the file or not a power of two");
	if (!set_fits(&h->known, f) || !set_fits(&h->gone, f))
		return bad(c, "set of addresses outside the file or its buckets not a power of two");
	if (h->domain_n > VIEW_DOMAIN)
		return bad(c, "domain too long");
	c->phase = PHASE_DIR;
	return 0;
}

/* The unit under way: checked by check_dir before PHASE_UNIT. */
static struct slice unit_of(const struct check *c, struct slice f)
{
	const struct view_head *h = (const struct view_head *)f.p;
	const struct view_dir *d = (const struct view_dir *)(f.p + h->dir) + c->dir;

	return slice_of(f.p + d->at, d->bytes);
}

static bool placed_are_fine(struct slice u)
{
	const struct unit_nspace *n = (const struct unit_nspace *)u.p;
	const struct unit_placed *p = (const struct unit_placed *)(const void *)(u.p + n->placed);

	if (!spans(n->placed, n->n_placed, sizeof *p, sizeof *n, u.n, 4))
		return false;
	for (uint32_t i = 0; i < n->n_placed; i++)
		if (p[i].account >= n->head.n_texts || p[i].node >= n->head.n_texts)
			return false;
	return true;
}

static int check_unit_head(struct check *c, struct slice u)
{
	const struct unit_head *h = (const struct unit_head *)u.p;

	c->phase = PHASE_UNIT;
	if (u.n < sizeof *h || h->magic != UNIT_MAGIC || h->bytes != u.n || h->id != c->last_id)
		return bad(c, "unit head does not fit its directory entry");
	if (!spans(h->texts, h->n_texts, sizeof(struct unit_text), sizeof *h, u.n, 4) ||
	    h->n_texts == 0 || h->ns >= h->n_texts || h->name >= h->n_texts)
		return bad(c, "texts outside the unit");
	if (h->kind == UNIT_NAMESPACE) {
		const struct unit_nspace *n = (const struct unit_nspace *)u.p;

		if (u.n < sizeof *n || n->tenant >= h->n_texts || n->weight < 1 || n->weight > 1000 ||
		    !ns_modes_are_valid(&n->modes) || !placed_are_fine(u))
			return bad(c, "namespace unit with impossible values");
		c->namespaces++;
	} else if (h->kind == UNIT_SERVICE) {
		const struct unit_svc *s = (const struct unit_svc *)u.p;

		if (u.n < sizeof *s ||
		    !spans(s->ports, s->n_ports, sizeof(struct unit_port), sizeof *s, u.n, 4) ||
		    !spans(s->endpoints, s->n_endpoints, sizeof(struct unit_endpoint), sizeof *s,
			   u.n, 4) ||
		    !spans(s->tables, s->n_tables, sizeof(struct unit_table), sizeof *s, u.n, 4) ||
		    !spans(s->entries, s->n_entries, sizeof(struct unit_entry), sizeof *s, u.n,
			   4) ||
		    !spans(s->conds, s->n_conds, sizeof(struct unit_cond), sizeof *s, u.n, 4) ||
		    !spans(s->asks, s->n_asks, sizeof(struct unit_ask), sizeof *s, u.n, 4) ||
		    !spans(s->forks, s->n_forks, sizeof(struct unit_fork), sizeof *s, u.n, 4) ||
		    !spans(s->twigs, s->n_twigs, sizeof(uint32_t), sizeof *s, u.n, 4) ||
		    !spans(s->rules, s->n_rules, sizeof(struct unit_rule), sizeof *s, u.n, 4) ||
		    !spans(s->backends, s->n_backends, sizeof(struct unit_backend), sizeof *s, u.n,
			   4) ||
		    !spans(s->policies, s->n_policies, sizeof(struct unit_policy), sizeof *s, u.n,
			   4) ||
		    !spans(s->rates, s->n_rates, sizeof(struct unit_rate), sizeof *s, u.n, 4) ||
		    !spans(s->sums, s->n_sums, sizeof(uint32_t), sizeof *s, u.n, 4) ||
		    !spans(s->levels, s->n_levels, sizeof(struct unit_level), sizeof *s, u.n, 4) ||
		    !spans(s->slots, s->n_slots, sizeof(uint16_t), sizeof *s, u.n, 2) ||
		    !spans(s->filters, s->n_filters, sizeof(struct unit_filter), sizeof *s, u.n, 4) ||
		    !spans(s->times, s->n_times, sizeof(struct unit_times), sizeof *s, u.n, 4) ||
		    !spans(s->tls, s->n_tls, sizeof(struct unit_tls), sizeof *s, u.n, 4) ||
		    !spans(s->tls_names, s->n_tls_names, sizeof(struct unit_tls_name), sizeof *s, u.n, 4) ||
		    !spans(s->cas, s->n_cas, sizeof(uint32_t), sizeof *s, u.n, 4))
			return bad(c, "arrays outside the unit");
		for (int i = 0; i < 2; i++)
			if (s->vip[i].family != 0 && s->vip[i].family != 4 && s->vip[i].family != 6)
				return bad(c, "address of an unknown family");
		if (s->budget.policy >= h->n_texts || s->budget.backend_policy > 1 ||
		    s->budget.percent > 100 ||
		    s->budget.interval_ms < 1000 || s->budget.interval_ms > 3600000)
			return bad(c, "retry budget with impossible values");
		if (s->lacks_endpoints > 1 || (s->lacks_endpoints && s->n_endpoints))
			return bad(c, "endpoints that are here and are not");
		c->services++;
	} else {
		return bad(c, "unknown kind of unit");
	}
	c->part = PART_TEXTS;
	c->item = 0;
	return 0;
}

static int check_dir(struct check *c, struct slice f)
{
	const struct view_head *h = (const struct view_head *)f.p;
	const struct view_dir *d = (const struct view_dir *)(f.p + h->dir) + c->dir;

	if (c->dir == h->n_dir) {
		if (c->services != h->services || c->namespaces != h->namespaces)
			return bad(c, "the head counts other units than there are");
		c->phase = PHASE_NAMES;
		c->item = c->empty = 0;
		return 0;
	}
	if (d->id <= c->last_id)
		return bad(c, "directory not in order");
	c->last_id = d->id;
	if (d->bytes == 0) {
		if (h->layer == LAYER_BASE)
			return bad(c, "tombstone in a base");
		c->dir++;
		return 0;
	}
	if (!spans(d->at, d->bytes, 1, sizeof *h, f.n, 8))
		return bad(c, "unit outside the file");
	return check_unit_head(c, unit_of(c, f));
}

/* [first, first + n) inside [0, of). */
static bool run_fits(uint32_t first, uint32_t n, uint32_t of)
{
	return first <= of && n <= of - first;
}

static int check_port(struct check *c, const struct unit_svc *s, const struct unit_port *p)
{
	if (p->port == 0 || p->protocol > APP_H2 || p->zero ||
	    p->name >= s->head.n_texts || !run_fits(p->endpoint, p->n_endpoints, s->n_endpoints) ||
	    p->n_ready > p->n_endpoints || !run_fits(p->entry, p->n_entries, s->n_entries) ||
	    !run_fits(p->table, p->n_tables, s->n_tables) || p->policy > s->n_policies ||
	    p->rate > s->n_rates || p->tls > s->n_tls ||
	    (p->sum && !run_fits(p->sum - 1, p->n_endpoints, s->n_sums)) ||
	    p->n_levels > VPORT_LEVELS || !run_fits(p->level, p->n_levels, s->n_levels))
		return bad(c, "port with impossible values");
	return 0;
}

static int check_endpoint(struct check *c, const struct unit_svc *s, const struct unit_endpoint *e)
{
	if (e->port == 0 || (e->family != 4 && e->family != 6) || e->flags > 7 ||
	    e->zone >= s->head.n_texts || e->node >= s->head.n_texts || e->host >= s->head.n_texts)
		return bad(c, "endpoint with impossible values");
	return 0;
}

static int check_entry(struct check *c, struct slice u, const struct unit_entry *e)
{
	const struct unit_svc *s = (const struct unit_svc *)u.p;
	const struct unit_text *t = (const struct unit_text *)(u.p + s->head.texts);

	if (e->path >= s->head.n_texts || e->rule >= s->n_rules || e->exact > 1 ||
	    e->key_n > t[e->path].n || !run_fits(e->cond, e->n_conds, s->n_conds) ||
	    e->fork > s->n_forks)
		return bad(c, "match with impossible values");
	return 0;
}

static int check_table(struct check *c, const struct unit_svc *s, const struct unit_table *t)
{
	if (t->ns >= s->head.n_texts || t->kind >= ROUTE_KINDS ||
	    !run_fits(t->entry, t->n_entries, s->n_entries) || t->n_exact > t->n_entries)
		return bad(c, "table of routes with impossible values");
	return 0;
}

static int check_cond(struct check *c, const struct unit_svc *s, const struct unit_cond *o)
{
	if (o->ask >= s->n_asks || o->value >= s->head.n_texts)
		return bad(c, "condition with impossible values");
	return 0;
}

static int check_ask(struct check *c, const struct unit_svc *s, const struct unit_ask *a)
{
	if (a->what >= ASKS || a->name >= s->head.n_texts)
		return bad(c, "condition on nothing that is known");
	return 0;
}

static int check_fork(struct check *c, const struct unit_svc *s, const struct unit_fork *f)
{
	if (f->ask >= s->n_asks || !run_fits(f->twig, f->n_valued, s->n_twigs) ||
	    f->n_rest > s->n_twigs - f->twig - f->n_valued)
		return bad(c, "fork with impossible values");
	return 0;
}

static int check_twig(struct check *c, const struct unit_svc *s, const uint32_t *twig)
{
	return *twig < s->n_entries ? 0 : bad(c, "fork to a match that is not there");
}

static int check_rule(struct check *c, const struct unit_svc *s, const struct unit_rule *r)
{
	if (r->route_ns >= s->head.n_texts || r->route_name >= s->head.n_texts ||
	    r->name >= s->head.n_texts || r->times > s->n_times ||
	    !run_fits(r->backend, r->n_backends, s->n_backends) ||
	    !run_fits(r->filter, r->n_filters, s->n_filters))
		return bad(c, "rule with impossible values");
	return 0;
}

static int check_backend(struct check *c, const struct unit_svc *s, const struct unit_backend *b)
{
	if (b->ns >= s->head.n_texts || b->name >= s->head.n_texts || b->weight > 1000000 ||
	    !run_fits(b->filter, b->n_filters, s->n_filters))
		return bad(c, "backend with impossible values");
	return 0;
}

/* That a level's endpoints are those of its port, and those of its table are its own, is looked at
 * when they are followed. */
static int check_level(struct check *c, const struct unit_svc *s, const struct unit_level *l)
{
	if (l->n_ready == 0 || !run_fits(l->first, l->n_ready, s->n_endpoints) ||
	    !run_fits(l->slot, l->n_slots, s->n_slots) || l->n_total < l->n_ready || l->n_total > s->n_endpoints || l->far > 1 ||
	    (l->zero[0] | l->zero[1]))
		return bad(c, "level with impossible values");
	return 0;
}

static bool balancing_is_possible(const struct balancing *b)
{
	return b->overprovision_percent >= 100 && b->overprovision_percent <= OVERPROVISION_MAX &&
	       b->panic_percent <= 100 && b->zero2 == 0 && b->slow_ms <= SLOW_MS_MAX &&
	       b->slow_aggression_percent >= 10 && b->slow_aggression_percent <= SLOW_AGGRESSION_MAX &&
	       b->slow_min_percent >= 1 && b->slow_min_percent <= 100;
}

static bool ejection_is_possible(const struct ejection *e)
{
	return e->percent >= 1 && e->percent <= 100 && e->jitter_percent <= 100 && e->base_ms >= 1 &&
	       e->max_ms >= e->base_ms && e->max_ms <= EJECTION_BASE_MS_MAX && e->rate_interval_ms <= EJECTION_BASE_MS_MAX &&
	       e->rate_deviation <= EJECTION_RATE_DEVIATION_MAX && e->rate_requests >= 1 &&
	       e->rate_requests <= 1000000;
}

/* The health check of a policy. */
static bool check_is_sane(const struct unit_svc *s, const struct unit_policy *p)
{
	static const uint32_t hour_ms = 3600 * 1000, minute_ms = 60 * 1000;

	static_must(countof(p->check_status) == VCHECK_STATUSES);
	if (p->balancing.checked != (p->check != 0))
		return false;
	if (p->check == 0)
		return true;
	return p->check <= CHECK_HTTP && p->check_path < s->head.n_texts && p->check_interval_ms >= 1 &&
	       p->check_interval_ms <= hour_ms && p->check_timeout_ms >= 1 &&
	       p->check_timeout_ms <= minute_ms && p->check_healthy >= 1 && p->check_healthy <= 60 &&
	       p->check_unhealthy >= 1 && p->check_unhealthy <= 60 &&
	       p->check_statuses <= countof(p->check_status);
}

static int check_policy(struct check *c, const struct unit_svc *s, const struct unit_policy *p)
{
	static const uint32_t week_ms = 7 * 24 * 3600 * 1000u;

	if (p->name >= s->head.n_texts || p->balancer >= BALANCERS ||
	    !check_is_sane(s, p) || p->zero || (p->zeros[0] | p->zeros[1] | p->zeros[2]) || p->prefer_zone > 1 ||
	    p->hash_by >= HASH_BYS || p->hash_name >= s->head.n_texts ||
	    p->connect_ms > week_ms || p->response_ms > week_ms || p->stall_ms > week_ms ||
	    p->tcp_idle_ms > week_ms || p->connections > 1000000 || p->requests > 1000000 ||
	    p->pending > 100000 || p->pending_ms > 600000 || !p->pending != !p->pending_ms ||
	    p->delay_ms > 600000 || p->delay_percent > 100 || p->abort_percent > 100 || p->abort_grpc > 17 ||
	    (p->abort_status && (p->abort_status < 400 || p->abort_status > 599)) ||
	    p->times > s->n_times ||
	    !balancing_is_possible(&p->balancing) || !ejection_is_possible(&p->ejection))
		return bad(c, "policy with impossible values");
	return 0;
}

/* All 0 is no limit. */
static bool pace_is_sane(const struct unit_pace *p)
{
	static const uint32_t day_ms = 24 * 3600 * 1000;

	if (p->requests == 0)
		return p->interval_ms == 0 && p->burst == 0;
	return p->requests <= 1000000 && p->burst >= 1 && p->burst <= 1000000 && p->interval_ms >= 1 &&
	       p->interval_ms <= day_ms && (uint64_t)p->burst * p->interval_ms / p->requests <= 7ull * day_ms;
}

static int check_rate(struct check *c, const struct unit_svc *s, const struct unit_rate *r)
{
	if (r->name >= s->head.n_texts || r->key >= RATE_KEYS || !pace_is_sane(&r->identity) ||
	    !pace_is_sane(&r->total))
		return bad(c, "rate limit with impossible values");
	return 0;
}

static bool edit_fits(struct slice u, uint32_t at, uint32_t n)
{
	return spans(at, n, 1, sizeof(struct unit_svc), u.n, 4) && edit_is_whole(slice_of(u.p + at, n));
}

static int check_filter(struct check *c, struct slice u, const struct unit_filter *f)
{
	bool cors = f->kind == FILTER_CORS;
	bool edits = cors || f->kind == FILTER_REQUEST_HEADERS || f->kind == FILTER_RESPONSE_HEADERS;
	uint32_t n_texts = ((const struct unit_head *)u.p)->n_texts;

	if (f->kind >= FILTERS || f->host >= n_texts || f->path >= n_texts || f->path_is >= NEW_PATHS ||
	    f->scheme >= NEW_SCHEMES || f->zero ||
	    f->to_ns >= n_texts || f->to_name >= n_texts ||
	    (f->kind == FILTER_MIRROR && f->denominator == 0) ||
	    (f->kind == FILTER_REDIRECT && (f->status < 300 || f->status > 399)) ||
	    (edits && !edit_fits(u, f->edit, f->n_edit)) ||
	    (cors && (!edit_fits(u, f->miss, f->n_miss) || !edit_fits(u, f->plain, f->n_plain) ||
		      !spans(f->lines, f->n_lines, 1, sizeof(struct unit_svc), u.n, 4) ||
		      !spans(f->origins, f->n_origins, 1, sizeof(struct unit_svc), u.n, 4))))
		return bad(c, "filter with impossible values");
	return 0;
}

static int check_times(struct check *c, const struct unit_times *t)
{
	if (t->set > (TIMES_REQUEST | TIMES_ATTEMPT) || t->retry.attempts > 100 ||
	    t->retry.on >> RETRY_ONS || t->retry.max_ms < t->retry.base_ms)
		return bad(c, "times with impossible values");
	return 0;
}

static int check_tls(struct check *c, const struct unit_svc *s, const struct unit_tls *t)
{
	if (t->name >= s->head.n_texts || t->host >= s->head.n_texts || t->flags > TLS_TRUSTS_HOST ||
	    t->n_cas > VTLS_CAS || t->n_names > VTLS_NAMES ||
	    !run_fits(t->ca, t->n_cas, s->n_cas) || !run_fits(t->first, t->n_names, s->n_tls_names))
		return bad(c, "TLS to endpoints with impossible values");
	return 0;
}

static int check_tls_name(struct check *c, const struct unit_svc *s, const struct unit_tls_name *n)
{
	return n->is_uri <= 1 && n->text < s->head.n_texts ? 0 : bad(c, "name of endpoints that is none");
}

static int check_ca(struct check *c, const struct unit_svc *s, const uint32_t *text)
{
	return *text < s->head.n_texts ? 0 : bad(c, "issuers that are not there");
}

/* One item of the unit under way, or the step to its next part. */
static int check_unit(struct check *c, struct slice f)
{
	struct slice u = unit_of(c, f);
	const struct unit_svc *s = (const struct unit_svc *)u.p;
	uint32_t i = c->item++, n = 0;
	int r = 0;

	switch ((enum part)c->part) {
	case PART_TEXTS: {
		const struct unit_text *t = (const struct unit_text *)(u.p + s->head.texts) + i;

		n = s->head.n_texts;
		if (i < n && (t->at > u.n || t->n > u.n - t->at))
			r = bad(c, "text outside the unit");
		break;
	}
	case PART_PORTS:
		n = s->n_ports;
		if (i < n)
			r = check_port(c, s, (const struct unit_port *)(u.p + s->ports) + i);
		break;
	case PART_ENDPOINTS:
		n = s->n_endpoints;
		if (i < n)
			r = check_endpoint(c, s,
					   (const struct unit_endpoint *)(u.p + s->endpoints) + i);
		break;
	case PART_ENTRIES:
		n = s->n_entries;
		if (i < n)
			r = check_entry(c, u, (const struct unit_entry *)(u.p + s->entries) + i);
		break;
	case PART_TABLES:
		n = s->n_tables;
		if (i < n)
			r = check_table(c, s, (const struct unit_table *)(u.p + s->tables) + i);
		break;
	case PART_CONDS:
		n = s->n_conds;
		if (i < n)
			r = check_cond(c, s, (const struct unit_cond *)(u.p + s->conds) + i);
		break;
	case PART_ASKS:
		n = s->n_asks;
		if (i < n)
			r = check_ask(c, s, (const struct unit_ask *)(u.p + s->asks) + i);
		break;
	case PART_FORKS:
		n = s->n_forks;
		if (i < n)
			r = check_fork(c, s, (const struct unit_fork *)(u.p + s->forks) + i);
		break;
	case PART_TWIGS:
		n = s->n_twigs;
		if (i < n)
			r = check_twig(c, s, (const uint32_t *)(u.p + s->twigs) + i);
		break;
	case PART_RULES:
		n = s->n_rules;
		if (i < n)
			r = check_rule(c, s, (const struct unit_rule *)(u.p + s->rules) + i);
		break;
	case PART_BACKENDS:
		n = s->n_backends;
		if (i < n)
			r = check_backend(c, s,
					  (const struct unit_backend *)(u.p + s->backends) + i);
		break;
	case PART_POLICIES:
		n = s->n_policies;
		if (i < n)
			r = check_policy(c, s,
					 (const struct unit_policy *)(u.p + s->policies) + i);
		break;
	case PART_LEVELS:
		n = s->n_levels;
		if (i < n)
			r = check_level(c, s, (const struct unit_level *)(u.p + s->levels) + i);
		break;
	case PART_RATES:
		n = s->n_rates;
		if (i < n)
			r = check_rate(c, s, (const struct unit_rate *)(u.p + s->rates) + i);
		break;
	case PART_FILTERS:
		n = s->n_filters;
		if (i < n)
			r = check_filter(c, u, (const struct unit_filter *)(u.p + s->filters) + i);
		break;
	case PART_TIMES:
		n = s->n_times;
		if (i < n)
			r = check_times(c, (const struct unit_times *)(u.p + s->times) + i);
		break;
	case PART_TLS:
		n = s->n_tls;
		if (i < n)
			r = check_tls(c, s, (const struct unit_tls *)(u.p + s->tls) + i);
		break;
	case PART_TLS_NAMES:
		n = s->n_tls_names;
		if (i < n)
			r = check_tls_name(c, s, (const struct unit_tls_name *)(u.p + s->tls_names) + i);
		break;
	case PART_CAS:
		n = s->n_cas;
		if (i < n)
			r = check_ca(c, s, (const uint32_t *)(u.p + s->cas) + i);
		break;
	case PARTS:
		break;
	}
	if (i + 1 >= n) {
		c->item = 0;
		c->part = s->head.kind == UNIT_NAMESPACE ? (uint8_t)PARTS : c->part + 1;
	}
	if (r == 0 && c->part == PARTS) {
		c->dir++;
		c->phase = PHASE_DIR;
	}
	return r;
}

/* One slot of an index: the ids are looked up when they are used, only the shape matters. */
static int check_slot(struct check *c, struct slice f, uint64_t at, uint32_t n)
{
	const struct view_slot *s = (const struct view_slot *)(f.p + at) + c->item;

	c->empty += s->id == 0;
	if (++c->item < n)
		return 0;
	/* A full table would make each miss read all of it. */
	if (c->empty < (n + 3) / 4)
		return bad(c, "index too full");
	c->item = c->empty = 0;
	c->phase++;
	return 0;
}

static int check_bucket(struct check *c, struct slice f, const struct view_set *s)
{
	const uint32_t *start = (const uint32_t *)(const void *)(f.p + s->at);

	if (start[c->item] > start[c->item + 1] || start[c->item + 1] > s->n)
		return bad(c, "bucket of addresses outside its set");
	if (++c->item < s->n_buckets)
		return 0;
	c->item = 0;
	if (c->phase == PHASE_GONE)
		c->result = 1;
	c->phase++;
	return 0;
}

int check_items(struct check *c, struct slice f, uint32_t n)
{
	const struct view_head *h = (const struct view_head *)f.p;

	while (n-- > 0 && c->result == 0) {
		switch ((enum phase)c->phase) {
		case PHASE_HEAD:
			check_head(c, f);
			break;
		case PHASE_DIR:
			check_dir(c, f);
			break;
		case PHASE_UNIT:
			check_unit(c, f);
			break;
		case PHASE_NAMES:
			check_slot(c, f, h->names, h->n_names);
			break;
		case PHASE_VIPS:
			check_slot(c, f, h->vips, h->n_vips);
			break;
		case PHASE_KNOWN:
			check_bucket(c, f, &h->known);
			break;
		case PHASE_GONE:
			check_bucket(c, f, &h->gone);
			break;
		}
	}
	return c->result;
}
