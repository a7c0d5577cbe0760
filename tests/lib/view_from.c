/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See view_from.h. */
#include "tests/lib/view_from.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/net/server_name.h"
#include "store/view/dump.h"

#define WORDS 32
#define ROWS  16384

struct world {
	struct builder *builder;
	struct view *view;
	uint64_t rev;
	struct row *rows[ROWS];
	uint32_t n_rows;
	char zone[64];
	struct row *route; /* the rules that come are this one's */
};

static _Noreturn void printf_like(2, 3) wrong(const char *line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "view_from: \"%s\": ", line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

static char *copy_of(const char *s, size_t n)
{
	char *p = strndup(s, n);

	must(p != NULL);
	return p;
}

static void *more(void *p, uint32_t n, size_t size)
{
	uint8_t *q = realloc(p, (n + 1) * size);

	must(q != NULL);
	memset(q + n * size, 0, size);
	return q;
}

/* "ns/name" at the start of s; what follows is returned. */
static const char *split_name(const char *line, const char *s, char **ns, char **name)
{
	size_t a = strcspn(s, "/"), b;

	if (s[a] != '/')
		wrong(line, "no / in %s", s);
	b = strcspn(s + a + 1, ":#*");
	*ns = copy_of(s, a);
	*name = copy_of(s + a + 1, b);
	return s + a + 1 + b;
}

static const char *value(const char *word, const char *key)
{
	size_t n = strlen(key);

	return strncmp(word, key, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static struct slot_gen slot_of(const char *s)
{
	struct slot_gen g = { 0 };

	must(sscanf(s, "%u/%u", &g.slot, &g.gen) == 2);
	return g;
}

static struct row *row_new(struct world *w, enum row_kind kind, char *ns, char *name)
{
	struct row *r = calloc(1, sizeof *r);

	must(r != NULL && w->n_rows < ROWS);
	r->kind = kind;
	r->ns = ns;
	r->name = name;
	r->json = copy_of("{}", 2);
	r->source = copy_of("test", 4);
	w->rows[w->n_rows++] = r;
	return r;
}

static void row_drop(struct world *w, enum row_kind kind, const char *ns, const char *name)
{
	for (uint32_t i = 0; i < w->n_rows; i++) {
		struct row *r = w->rows[i];

		if (r->kind == kind && strcmp(r->ns, ns) == 0 && strcmp(r->name, name) == 0) {
			row_free(&w->rows[i]);
			w->rows[i--] = w->rows[--w->n_rows];
		}
	}
}

static struct slot_gen slot_of_endpoint(void *arg, const struct addr *a)
{
	(void)arg;
	return (struct slot_gen){ 100u + a->port, 7 };
}

static struct slot_gen slot_of_limit(void *arg, uint16_t port)
{
	(void)arg;
	return (struct slot_gen){ port, 9 };
}

/* ---- one line each ---- */

/* LABEL:VALUE */
static void say_mode(const char *line, const char *v, struct ns_modes *modes)
{
	const char *colon = strchr(v, ':');
	char label[64];
	enum ns_mode m;

	snprintf(label, sizeof label, NS_MODES_PREFIX "%.*s", colon ? (int)(colon - v) : 0, v);
	m = ns_mode_by_label(slice_str(label));
	if (m == NS_MODES || !ns_mode_parse(m, slice_str(colon + 1), &modes->of[m]))
		wrong(line, "no mode: %s", v);
}

static void say_namespace(struct world *w, const char *line, char **word, int n)
{
	struct placed placed[16];
	struct unit_namespace u = { .name = slice_str(word[1]), .weight = 1, .placed = placed };

	for (int i = 2; i < n; i++) {
		const char *v;

		if ((v = value(word[i], "tenant")))
			u.tenant = slice_str(v);
		else if ((v = value(word[i], "slot")))
			u.tenant_slot = slot_of(v);
		else if ((v = value(word[i], "weight")))
			u.weight = (uint32_t)atoi(v);
		else if ((v = value(word[i], "memory")))
			u.memory_bytes = (uint64_t)atoll(v);
		else if ((v = value(word[i], "connections")))
			u.connections = (uint32_t)atoi(v);
		else if ((v = value(word[i], "requests")))
			u.requests = (uint32_t)atoi(v);
		else if ((v = value(word[i], "mode")))
			say_mode(line, v, &u.modes);
		else if ((v = value(word[i], "placed")) && strchr(v, '@') && u.n_placed < countof(placed)) {
			char *at = strchr(v, '@');

			*at = 0;
			placed[u.n_placed++] = (struct placed){ v, at + 1 };
		}
		else
			wrong(line, "what is %s?", word[i]);
	}
	must(builder_set_namespace(w->builder, &u) == 0);
}

static void add_port(const char *line, struct row_service *s, const char *v)
{
	char name[64] = "", app[64] = "", proto[64] = "";
	struct row_service_port *p;
	unsigned port;

	if (sscanf(v, "%u/%63[^/]/%63[^/]/%63s", &port, name, app, proto) < 1)
		wrong(line, "no port in %s", v);
	s->ports = more(s->ports, s->n_ports, sizeof *s->ports);
	p = &s->ports[s->n_ports++];
	p->name = copy_of(name, strlen(name));
	p->app_protocol = copy_of(app, strlen(app));
	p->port = (uint16_t)port;
	p->protocol = strcmp(proto, "udp") == 0 ? ROW_UDP : ROW_TCP;
	p->app = strcmp(app, "http") == 0  ? ROW_APP_HTTP
		 : strcmp(app, "tcp") == 0 ? ROW_APP_TCP
		 : strcmp(app, "h2") == 0  ? ROW_APP_H2
					   : ROW_APP_AUTO;
}

/* A Service's slot rides in the row's generation, and that it lacks its endpoints in created_rev, which nothing
 * else here reads of Services. */
static void say_service(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;
	struct row *r;
	int vips = 0;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_SERVICE, ns, name);
	r = row_new(w, ROW_SERVICE, ns, name);
	for (int i = 2; i < n; i++) {
		const char *v;

		if ((v = value(word[i], "vip"))) {
			if (vips == 2 ||
			    addr_parse_ip(slice_str(v), &r->service.cluster_ip[vips++]) < 0)
				wrong(line, "no address: %s", v);
		} else if ((v = value(word[i], "port"))) {
			add_port(line, &r->service, v);
		} else if ((v = value(word[i], "slot"))) {
			struct slot_gen g = slot_of(v);

			r->generation = (int64_t)g.slot << 32 | g.gen;
		} else if (strcmp(word[i], "headless") == 0) {
			r->service.headless = true;
		} else if (strcmp(word[i], "lacking") == 0) {
			r->created_rev = 1;
		} else {
			wrong(line, "what is %s?", word[i]);
		}
	}
}

static char *put_text(char **next, const char *v)
{
	char *at = *next;

	*next = stpcpy(at, v) + 1;
	return at;
}

static void say_endpoint(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name, *port = strchr(word[1], ':');
	struct row_endpoint *e;
	char *next;
	struct row *r;

	split_name(line, word[1], &ns, &name);
	r = row_new(w, ROW_SLICE, ns, copy_of("slice", 5));
	r->slice.service = name;
	r->slice.ports = more(NULL, 0, sizeof *r->slice.ports);
	r->slice.endpoints = more(NULL, 0, sizeof *r->slice.endpoints);
	r->slice.n_ports = r->slice.n_endpoints = 1;
	e = r->slice.endpoints;
	if (n < 3 || addr_parse(slice_str(word[2]), &e->addr) < 0)
		wrong(line, "no address with port");
	r->slice.ports->name = copy_of(port ? port + 1 : "", port ? strlen(port + 1) : 0);
	r->slice.ports->port = e->addr.port;
	r->slice.family = e->addr.family;
	r->slice.weight = ROW_WEIGHT;
	e->addr.port = 0;
	e->n_addrs = 1;
	e->ready = e->serving = true;
	r->slice.texts = next = calloc(1, strlen(line) + 2);
	must(next != NULL);
	e->target = e->zone = e->node = e->host = next++;	/* "" */
	for (int i = 3; i < n; i++) {
		const char *v;

		if (strcmp(word[i], "notready") == 0)
			e->ready = e->serving = false;
		else if (strcmp(word[i], "terminating") == 0)
			e->ready = false, e->terminating = true;
		else if ((v = value(word[i], "zone")))
			e->zone = put_text(&next, v);
		else if ((v = value(word[i], "node")))
			e->node = put_text(&next, v);
		else if ((v = value(word[i], "host")))
			e->host = put_text(&next, v);
		else if ((v = value(word[i], "weight")))
			r->slice.weight = (uint16_t)atoi(v);
		else if ((v = value(word[i], "priority")))
			r->slice.priority = (uint8_t)atoi(v);
		else
			wrong(line, "what is %s?", word[i]);
	}
}

static void say_route(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;
	enum row_kind kind;
	struct row *r;

	split_name(line, word[1], &ns, &name);
	kind = strcmp(word[0], "grpcroute") == 0 ? ROW_GRPCROUTE :
	       strcmp(word[0], "tlsroute") == 0  ? ROW_TLSROUTE :
	       strcmp(word[0], "tcproute") == 0  ? ROW_TCPROUTE :
						    ROW_HTTPROUTE;
	row_drop(w, kind, ns, name);
	w->route = r = row_new(w, kind, ns, name);
	for (int i = 2; i < n; i++) {
		const char *v;

		if ((v = value(word[i], "parent"))) {
			struct row_parent *p;
			const char *rest;

			r->route.parents = more(r->route.parents, r->route.n_parents, sizeof *p);
			p = &r->route.parents[r->route.n_parents++];
			rest = split_name(line, v, &p->ns, &p->name);
			if (*rest == ':')
				p->port =
					(uint16_t)strtoul(rest + 1, (char **)(uintptr_t)&rest, 10);
			rest = *rest == '#' ? rest + 1 : "";
			p->section = copy_of(rest, strlen(rest));
		} else if ((v = value(word[i], "created"))) {
			r->created_unix_ms = atoll(v);
		} else {
			wrong(line, "what is %s?", word[i]);
		}
	}
}

static void take_codes(const char *v, struct retries *r)
{
	for (char *at = (char *)(uintptr_t)v; *at; at += *at == ',')
		retries_add_code(r, (unsigned)strtoul(at, &at, 10));
	r->on |= 1u << RETRY_ON_retriable_status_codes;
}

static void take_conditions(const char *line, const char *v, struct retries *r)
{
	while (*v) {
		size_t n = strcspn(v, ",");
		unsigned i = 0;

		while (i < RETRY_ONS && !slice_eq(slice_str(retry_row(i)->text), slice_of(v, n)))
			i++;
		if (i == RETRY_ONS)
			wrong(line, "what is %s?", v);
		r->on |= 1u << i;
		v += n + (v[n] == ',');
	}
}

static void take_budget(const char *line, const char *v, struct row_budget *b)
{
	b->is_set = true;
	b->per_ms = 1000;
	if (sscanf(v, "%u/%u/%u", &b->percent, &b->interval_ms, &b->count) != 3)
		wrong(line, "what is %s?", v);
}

/* What a policy says of retries; false: something else. */
static bool take_retries(const char *line, const char *word, struct row_policy *p)
{
	const char *v;

	if ((v = value(word, "on"))) {
		take_conditions(line, v, &p->retry);
		p->retry.attempts = p->retry.attempts ?: 1;
		p->retry.base_ms = p->retry.base_ms ?: 25;
		p->retry.max_ms = p->retry.max_ms ?: 250;
	} else if ((v = value(word, "retries"))) {
		p->retry.attempts = (uint32_t)atoi(v);
	} else if ((v = value(word, "codes"))) {
		take_codes(v, &p->retry);
	} else if ((v = value(word, "try"))) {
		p->times.has_attempt = true;
		p->times.attempt_ms = (uint32_t)atoi(v);
	} else if ((v = value(word, "backoff"))) {
		if (sscanf(v, "%u/%u", &p->retry.base_ms, &p->retry.max_ms) != 2)
			wrong(line, "what is %s?", v);
	} else if ((v = value(word, "budget"))) {
		take_budget(line, v, &p->budget);
	} else {
		return false;
	}
	return true;
}

static void add_target(struct row_target **targets, uint32_t *n, const char *v)
{
	struct row_target *t;
	size_t at = strcspn(v, "#");

	*targets = more(*targets, *n, sizeof *t);
	t = &(*targets)[(*n)++];
	t->name = copy_of(v, at);
	t->section = copy_of(v + at + (v[at] == '#'), strlen(v + at + (v[at] == '#')));
}

static void say_rate(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;
	struct row *r;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_RATE, ns, name);
	r = row_new(w, ROW_RATE, ns, name);
	for (int i = 2; i < n; i++) {
		struct row_pace *p = NULL;
		const char *v;

		if ((v = value(word[i], "target")))
			add_target(&r->rate.targets, &r->rate.n_targets, v);
		else if ((v = value(word[i], "created")))
			r->created_unix_ms = atoll(v);
		else if (strcmp(word[i], "key=Tenant") == 0)
			r->rate.key = ROW_RATE_TENANT;
		else if ((v = value(word[i], "identity")))
			p = &r->rate.identity;
		else if ((v = value(word[i], "total")))
			p = &r->rate.total;
		else
			wrong(line, "what is %s?", word[i]);
		if (p && sscanf(v, "%u/%u/%u", &p->requests, &p->interval_ms, &p->burst) != 3)
			wrong(line, "not N/MS/BURST: %s", v);
	}
}

static void say_backend_tls(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;
	struct row_backend_tls *p;
	struct row *r;
	const char *v;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_BACKEND_TLS, ns, name);
	r = row_new(w, ROW_BACKEND_TLS, ns, name);
	p = &r->backend_tls;
	for (int i = 2; i < n; i++) {
		if ((v = value(word[i], "target"))) {
			add_target(&p->targets, &p->n_targets, v);
		} else if ((v = value(word[i], "created"))) {
			r->created_unix_ms = atoll(v);
		} else if ((v = value(word[i], "host"))) {
			free(p->hostname);
			p->hostname = copy_of(v, strlen(v));
		} else if ((v = value(word[i], "ca"))) {
			p->refs = more(p->refs, p->n_refs, sizeof *p->refs);
			p->refs[p->n_refs].name = copy_of(v, strlen(v));
			p->refs[p->n_refs++].other = copy_of("", 0);
		} else if (strcmp(word[i], "system") == 0) {
			p->system = true;
		} else if ((v = value(word[i], "dns")) || (v = value(word[i], "uri"))) {
			p->names = more(p->names, p->n_names, sizeof *p->names);
			p->names[p->n_names].is_uri = word[i][0] == 'u';
			p->names[p->n_names++].text = copy_of(v, strlen(v));
		} else {
			wrong(line, "what is %s?", word[i]);
		}
	}
	p->hostname = p->hostname ? p->hostname : copy_of("web.example", 11);
}

static void say_config_map(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name, pem[600];
	struct row *r;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_CONFIG_MAP, ns, name);
	r = row_new(w, ROW_CONFIG_MAP, ns, name);
	snprintf(pem, sizeof pem, "pem of %s", name);
	for (int i = 2; i < n; i++)
		if (value(word[i], "flaw"))
			r->config_map.flaw = "has no certificate";
		else if (value(word[i], "pem"))
			snprintf(pem, sizeof pem, "%s", value(word[i], "pem"));
		else
			wrong(line, "what is %s?", word[i]);
	r->config_map.ca = copy_of(pem, strlen(pem));
}

static const struct row *config_map(void *arg, const char *ns, const char *name)
{
	const struct world *w = arg;

	for (uint32_t i = 0; i < w->n_rows; i++)
		if (w->rows[i]->kind == ROW_CONFIG_MAP && strcmp(w->rows[i]->ns, ns) == 0 &&
		    strcmp(w->rows[i]->name, name) == 0)
			return w->rows[i];
	return NULL;
}

static void say_backend_policy(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;
	struct row *r;
	const char *v;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_BACKEND_POLICY, ns, name);
	r = row_new(w, ROW_BACKEND_POLICY, ns, name);
	take_budget(line, "20/10000/10", &r->policy.budget);
	for (int i = 2; i < n; i++) {
		if ((v = value(word[i], "target")))
			add_target(&r->policy.targets, &r->policy.n_targets, v);
		else if ((v = value(word[i], "created")))
			r->created_unix_ms = atoll(v);
		else if ((v = value(word[i], "budget")))
			take_budget(line, v, &r->policy.budget);
		else
			wrong(line, "what is %s?", word[i]);
	}
}

static void say_policy(struct world *w, const char *line, char **word, int n)
{
	static const char *const balancer[] = { "", "PeakEWMA", "LeastRequest", "RoundRobin",
					       "Maglev" };
	char *ns, *name;
	struct row_policy *p;
	struct row *r;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_POLICY, ns, name);
	r = row_new(w, ROW_POLICY, ns, name);
	p = &r->policy;
	p->balancing = balancing_default;
	p->hash_name = copy_of("", 0);
	p->ejection = ejection_default;
	for (int i = 2; i < n; i++) {
		const struct {
			const char *key;
			uint32_t *to;
		} number[] = {
			{ "connect", &p->connect_ms },	    { "response", &p->response_ms },
			{ "stall", &p->stall_ms },	    { "tcp_idle", &p->tcp_idle_ms },
			{ "connections", &p->connections }, { "requests", &p->requests },
			{ "pending", &p->pending },	    { "pending_ms", &p->pending_ms },
			{ "slow", &p->balancing.slow_ms },
			{ "rate", &p->ejection.rate_interval_ms },
			{ "base", &p->ejection.base_ms },	    { "max", &p->ejection.max_ms },
		};
		const char *v = NULL;

		for (size_t k = 0; k < countof(number) && !v; k++)
			if ((v = value(word[i], number[k].key)))
				*number[k].to = (uint32_t)atoi(v);
		if (v)
			continue;
		if ((v = value(word[i], "target"))) {
			add_target(&p->targets, &p->n_targets, v);
		} else if ((v = value(word[i], "created"))) {
			r->created_unix_ms = atoll(v);
		} else if ((v = value(word[i], "failures"))) {
			p->ejection.failures = (uint8_t)atoi(v);
		} else if ((v = value(word[i], "percent"))) {
			p->ejection.percent = (uint8_t)atoi(v);
		} else if ((v = value(word[i], "hash"))) {
			const char *of = strchr(v, '/');

			p->hash = *v == 'H' ? ROW_HASH_HEADER : *v == 'C' ? ROW_HASH_COOKIE : ROW_HASH_SOURCE;
			p->table_size = p->table_size ? p->table_size : 1021;
			free(p->hash_name);
			p->hash_name = copy_of(of ? of + 1 : "", of ? strlen(of + 1) : 0);
		} else if ((v = value(word[i], "slots"))) {
			p->table_size = (uint32_t)atoi(v);
		} else if (strcmp(word[i], "prefer_zone") == 0) {
			p->prefer_zone = true;
		} else if ((v = value(word[i], "overprovision"))) {
			p->balancing.overprovision_percent = (uint16_t)atoi(v);
		} else if ((v = value(word[i], "panic"))) {
			p->balancing.panic_percent = (uint8_t)atoi(v);
		} else if ((v = value(word[i], "check"))) {
			p->health = (struct row_health){ .type = *v == '/' ? ROW_CHECK_HTTP : ROW_CHECK_TCP,
							 .path = copy_of(v, strlen(v)), .interval_ms = 100,
							 .timeout_ms = 10000, .healthy = 1, .unhealthy = 2,
							 .n_statuses = 1,
							 .status = { { 200, 299 } } };
		} else if ((v = value(word[i], "abort"))) {
			unsigned status, grpc, percent;

			if (sscanf(v, "%u/%u/%u", &status, &grpc, &percent) != 3)
				wrong(line, "not STATUS/GRPC/PERCENT: %s", v);
			p->abort_status = (uint16_t)status;
			p->abort_grpc = (uint8_t)(grpc + 1);
			p->abort_percent = (uint8_t)percent;
		} else if ((v = value(word[i], "delay"))) {
			unsigned percent;

			if (sscanf(v, "%u/%u", &p->delay_ms, &percent) != 2)
				wrong(line, "not MS/PERCENT: %s", v);
			p->delay_percent = (uint8_t)percent;
		} else if ((v = value(word[i], "check_timeout"))) {
			p->health.timeout_ms = (uint32_t)atoi(v);
		} else if ((v = value(word[i], "balancer"))) {
			for (size_t k = 1; k < countof(balancer); k++)
				if (strcmp(v, balancer[k]) == 0)
					p->balancer = (enum row_balancer)k;
		} else if (!take_retries(line, word[i], p)) {
			wrong(line, "what is %s?", word[i]);
		}
	}
}

static void add_match(struct row_rule *u, enum row_path type, const char *path)
{
	u->matches = more(u->matches, u->n_matches, sizeof *u->matches);
	u->matches[u->n_matches].type = type;
	u->matches[u->n_matches++].path = copy_of(path, strlen(path));
}

/* What is said without a path is said of PathPrefix /. */
static struct row_match *last_match(struct row_rule *u)
{
	if (u->n_matches == 0)
		add_match(u, ROW_PATH_PREFIX, "/");
	return &u->matches[u->n_matches - 1];
}

static void add_pair(const char *line, const char *v, struct row_pair **pairs, uint32_t *n)
{
	const char *colon = strchr(v, ':');

	if (colon == NULL)
		wrong(line, "NAME:VALUE");
	*pairs = more(*pairs, *n, sizeof **pairs);
	(*pairs)[*n].name = copy_of(v, (size_t)(colon - v));
	(*pairs)[(*n)++].value = copy_of(colon + 1, strlen(colon + 1));
}

static void say_grant(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;
	struct row *r;

	split_name(line, word[1], &ns, &name);
	row_drop(w, ROW_GRANT, ns, name);
	r = row_new(w, ROW_GRANT, ns, name);
	for (int i = 2; i < n; i++) {
		struct row_grant *g = &r->grant;
		const char *v;

		if ((v = value(word[i], "from"))) {
			struct row_grant_from *f;

			g->from = more(g->from, g->n_from, sizeof *f);
			f = &g->from[g->n_from++];
			f->group = copy_of("gateway.networking.k8s.io", 25);
			split_name(line, v, &f->kind, &f->ns);
		} else if ((v = value(word[i], "to"))) {
			struct row_grant_to *t;

			g->to = more(g->to, g->n_to, sizeof *t);
			t = &g->to[g->n_to++];
			t->group = copy_of("", 0);
			t->kind = copy_of("Service", 7);
			t->name = copy_of(v, strcmp(v, "*") ? strlen(v) : 0);
		} else {
			wrong(line, "what is %s?", word[i]);
		}
	}
}

static bool is_granted(void *arg, const struct row *route, const struct row_backend *b)
{
	const struct world *w = arg;

	for (uint32_t i = 0; i < w->n_rows; i++)
		if (w->rows[i]->kind == ROW_GRANT && strcmp(w->rows[i]->ns, b->ns) == 0 &&
		    row_grants(w->rows[i], route->kind, route->ns, b->name))
			return true;
	return false;
}

static struct row_filter *filter_of(struct row_filter **all, uint32_t *n, enum row_filter_type type)
{
	for (uint32_t i = 0; i < *n; i++)
		if ((*all)[i].type == type)
			return &(*all)[i];
	*all = more(*all, *n, sizeof **all);
	(*all)[*n].type = type;
	return &(*all)[(*n)++];
}

static void say_address(const char *line, const char *words, struct row_filter *f)
{
	char *all = copy_of(words, strlen(words)), *save = NULL;

	f->status = 302;
	for (char *w = strtok_r(all, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		char *v = strchr(w, ':');

		if (v == NULL)
			wrong(line, "no colon in %s", w);
		*v++ = 0;
		if (strcmp(w, "host") == 0)
			f->hostname = copy_of(v, strlen(v));
		else if (strcmp(w, "scheme") == 0)
			f->scheme = copy_of(v, strlen(v));
		else if (strcmp(w, "port") == 0)
			f->port = (uint16_t)atoi(v);
		else if (strcmp(w, "status") == 0)
			f->status = (uint16_t)atoi(v);
		else if (strcmp(w, "path") != 0 && strcmp(w, "prefix") != 0)
			wrong(line, "what is %s?", w);
		if (w[0] != 'p' || w[1] == 'o')
			continue;
		f->new_path = w[1] == 'a' ? ROW_PATH_WHOLE : ROW_PATH_OTHER_PREFIX;
		f->path = copy_of(v, strlen(v));
	}
	free(all);
}

static void add_texts(char *words, char ***to, uint32_t *n)
{
	char *save = NULL;

	for (char *w = strtok_r(words, "|", &save); w; w = strtok_r(NULL, "|", &save)) {
		*to = more(*to, *n, sizeof **to);
		(*to)[(*n)++] = copy_of(w, strlen(w));
	}
}

static void say_cors(const char *line, const char *words, struct row_filter *f)
{
	char *all = copy_of(words, strlen(words)), *save = NULL, *w = strtok_r(all, ",", &save);

	f->max_age_s = 5;
	add_texts(w, &f->origins, &f->n_origins);
	while ((w = strtok_r(NULL, ",", &save))) {
		if (strncmp(w, "methods:", 8) == 0)
			add_texts(w + 8, &f->methods, &f->n_methods);
		else if (strncmp(w, "headers:", 8) == 0)
			add_texts(w + 8, &f->headers, &f->n_headers);
		else if (strncmp(w, "expose:", 7) == 0)
			add_texts(w + 7, &f->expose, &f->n_expose);
		else if (strncmp(w, "age:", 4) == 0)
			f->max_age_s = (uint32_t)atoi(w + 4);
		else if (strcmp(w, "cred") == 0)
			f->credentials = true;
		else
			wrong(line, "what is %s?", w);
	}
	free(all);
}

/* False: it is no filter. */
static bool say_filter(const char *line, const char *word, struct row_filter **all, uint32_t *n)
{
	bool request = strncmp(word, "request.", 8) == 0;
	struct row_filter *f;
	const char *v;

	if ((v = value(word, "redirect"))) {
		say_address(line, v, filter_of(all, n, ROW_REDIRECT));
		return true;
	}
	if ((v = value(word, "mirror"))) {
		*all = more(*all, *n, sizeof **all);
		f = &(*all)[(*n)++];
		f->type = ROW_MIRROR;
		v = split_name(line, v, &f->to_ns, &f->to_name);
		f->numerator = f->denominator = 1;
		if (sscanf(v, ":%hu*%u/%u", &f->port, &f->numerator, &f->denominator) < 1)
			wrong(line, "no port in %s", word);
		return true;
	}
	if ((v = value(word, "cors"))) {
		say_cors(line, v, filter_of(all, n, ROW_CORS));
		return true;
	}
	if ((v = value(word, "rewrite"))) {
		say_address(line, v, filter_of(all, n, ROW_REWRITE));
		return true;
	}
	if (!request && strncmp(word, "response.", 9) != 0)
		return false;
	f = filter_of(all, n, request ? ROW_REQUEST_HEADERS : ROW_RESPONSE_HEADERS);
	word += request ? 8 : 9;
	if ((v = value(word, "set"))) {
		add_pair(line, v, &f->set, &f->n_set);
	} else if ((v = value(word, "add"))) {
		add_pair(line, v, &f->add, &f->n_add);
	} else if ((v = value(word, "remove"))) {
		f->remove = more(f->remove, f->n_remove, sizeof *f->remove);
		f->remove[f->n_remove++] = copy_of(v, strlen(v));
	} else {
		return false;
	}
	return true;
}

static void say_rule(struct world *w, const char *line, char **word, int n)
{
	struct row_route *r;
	struct row_rule *u;

	if (w->route == NULL)
		wrong(line, "no route above");
	r = &w->route->route;
	r->rules = more(r->rules, r->n_rules, sizeof *u);
	u = &r->rules[r->n_rules++];
	for (int i = 1; i < n; i++) {
		const char *v;

		if ((v = value(word[i], "prefix"))) {
			add_match(u, ROW_PATH_PREFIX, v);
		} else if ((v = value(word[i], "exact"))) {
			add_match(u, ROW_PATH_EXACT, v);
		} else if ((v = value(word[i], "server_name"))) {
			char path[SERVER_NAME_PATH];

			must(server_name_path(slice_str(v), true, path) > 0);
			add_match(u, v[0] == '*' ? ROW_PATH_PREFIX : ROW_PATH_EXACT, path);
		} else if ((v = value(word[i], "call"))) {
			add_match(u, ROW_PATH_EXACT, v);
		} else if ((v = value(word[i], "grpc_service"))) {
			add_match(u, ROW_PATH_PREFIX, v);
		} else if ((v = value(word[i], "grpc_method"))) {
			add_match(u, ROW_PATH_PREFIX, "/");
			last_match(u)->grpc_method = copy_of(v, strlen(v));
		} else if ((v = value(word[i], "method"))) {
			last_match(u)->method = copy_of(v, strlen(v));
		} else if ((v = value(word[i], "header"))) {
			add_pair(line, v, &last_match(u)->headers, &last_match(u)->n_headers);
		} else if ((v = value(word[i], "param"))) {
			add_pair(line, v, &last_match(u)->params, &last_match(u)->n_params);
		} else if ((v = value(word[i], "name"))) {
			u->name = copy_of(v, strlen(v));
		} else if ((v = value(word[i], "request"))) {
			u->times.has_request = true;
			u->times.request_ms = (uint32_t)atoi(v);
		} else if ((v = value(word[i], "attempt"))) {
			u->times.has_attempt = true;
			u->times.attempt_ms = (uint32_t)atoi(v);
		} else if ((v = value(word[i], "retries"))) {
			u->retry.attempts = (uint32_t)atoi(v);
			u->retry.on |= 1u << RETRY_ON_connect_failure | 1u << RETRY_ON_refused_stream |
				       1u << RETRY_ON_reset;
			u->retry.base_ms = u->retry.base_ms ?: 25;
			u->retry.max_ms = 250;
		} else if ((v = value(word[i], "codes"))) {
			take_codes(v, &u->retry);
		} else if ((v = value(word[i], "backoff"))) {
			u->retry.least_ms = u->retry.base_ms = (uint32_t)atoi(v);
			u->retry.max_ms = 10 * u->retry.base_ms;
		} else if ((v = value(word[i], "backend"))) {
			struct row_backend *b;
			const char *rest;

			u->backends = more(u->backends, u->n_backends, sizeof *b);
			b = &u->backends[u->n_backends++];
			rest = split_name(line, v, &b->ns, &b->name);
			b->weight = 1;
			if (*rest == ':')
				b->port =
					(uint16_t)strtoul(rest + 1, (char **)(uintptr_t)&rest, 10);
			if (*rest == '*')
				b->weight = (uint32_t)strtoul(rest + 1, NULL, 10);
		} else if (word[i][0] == '@' && u->n_backends) {
			struct row_backend *b = &u->backends[u->n_backends - 1];

			if (!say_filter(line, word[i] + 1, &b->filters, &b->n_filters))
				wrong(line, "what is %s?", word[i]);
		} else if (!say_filter(line, word[i], &u->filters, &u->n_filters)) {
			wrong(line, "what is %s?", word[i]);
		}
	}
	if (u->n_matches == 0)
		add_match(u, ROW_PATH_PREFIX, "/");
	u->name = u->name ? u->name : copy_of("", 0);
}

static void say_remove(struct world *w, const char *line, char **word, int n)
{
	char *ns, *name;

	if (n < 3)
		wrong(line, "remove what?");
	if (strcmp(word[1], "namespace") == 0) {
		must(builder_remove_namespace(w->builder, slice_str(word[2])) == 0);
		return;
	}
	split_name(line, word[2], &ns, &name);
	if (strcmp(word[1], "service") == 0) {
		row_drop(w, ROW_SERVICE, ns, name);
		must(builder_remove_service(w->builder, slice_str(ns), slice_str(name)) == 0);
	} else if (strcmp(word[1], "route") == 0) {
		row_drop(w, ROW_HTTPROUTE, ns, name);
	} else if (strcmp(word[1], "grpcroute") == 0) {
		row_drop(w, ROW_GRPCROUTE, ns, name);
	} else if (strcmp(word[1], "tlsroute") == 0) {
		row_drop(w, ROW_TLSROUTE, ns, name);
	} else if (strcmp(word[1], "tcproute") == 0) {
		row_drop(w, ROW_TCPROUTE, ns, name);
	} else if (strcmp(word[1], "grant") == 0) {
		row_drop(w, ROW_GRANT, ns, name);
	} else if (strcmp(word[1], "policy") == 0) {
		row_drop(w, ROW_POLICY, ns, name);
	} else if (strcmp(word[1], "rate") == 0) {
		row_drop(w, ROW_RATE, ns, name);
	} else if (strcmp(word[1], "backendtls") == 0) {
		row_drop(w, ROW_BACKEND_TLS, ns, name);
	} else if (strcmp(word[1], "configmap") == 0) {
		row_drop(w, ROW_CONFIG_MAP, ns, name);
	} else if (strcmp(word[1], "backendpolicy") == 0) {
		row_drop(w, ROW_BACKEND_POLICY, ns, name);
	} else if (strcmp(word[1], "endpoints") == 0) {
		for (uint32_t i = 0; i < w->n_rows; i++)
			if (w->rows[i]->kind == ROW_SLICE && strcmp(w->rows[i]->ns, ns) == 0 &&
			    strcmp(w->rows[i]->slice.service, name) == 0) {
				row_free(&w->rows[i]);
				w->rows[i--] = w->rows[--w->n_rows];
			}
	} else {
		wrong(line, "remove what?");
	}
	free(ns);
	free(name);
}

static void say_line(struct world *w, const char *text, size_t len)
{
	char *line = copy_of(text, len), *copy = copy_of(text, len), *word[WORDS], *save = NULL;
	int n = 0;

	for (char *t = strtok_r(copy, " \t", &save); t && *t != '#';
	     t = strtok_r(NULL, " \t", &save)) {
		if (n == WORDS)
			wrong(line, "too long");
		word[n++] = t;
	}
	if (n == 0)
		;
	else if (n >= 2 && strcmp(word[0], "namespace") == 0)
		say_namespace(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "service") == 0)
		say_service(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "endpoint") == 0)
		say_endpoint(w, line, word, n);
	else if (n >= 2 && (strcmp(word[0], "route") == 0 || strcmp(word[0], "grpcroute") == 0 ||
			    strcmp(word[0], "tlsroute") == 0 || strcmp(word[0], "tcproute") == 0))
		say_route(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "grant") == 0)
		say_grant(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "policy") == 0)
		say_policy(w, line, word, n);
	else if (n == 2 && strcmp(word[0], "host") == 0 && value(word[1], "zone"))
		snprintf(w->zone, sizeof w->zone, "%s", value(word[1], "zone"));
	else if (n >= 2 && strcmp(word[0], "rate") == 0)
		say_rate(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "backendtls") == 0)
		say_backend_tls(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "configmap") == 0)
		say_config_map(w, line, word, n);
	else if (n >= 2 && strcmp(word[0], "backendpolicy") == 0)
		say_backend_policy(w, line, word, n);
	else if (strcmp(word[0], "rule") == 0)
		say_rule(w, line, word, n);
	else if (strcmp(word[0], "remove") == 0)
		say_remove(w, line, word, n);
	else
		wrong(line, "what is %s?", word[0]);
	free(line);
	free(copy);
}

/* Sets every Service again: those whose bytes did not change are not a change to the builder. */
static void set_services(struct world *w)
{
	const struct row **slices = calloc(w->n_rows + 1, sizeof(struct row *));
	const struct row **routes = calloc(w->n_rows + 1, sizeof(struct row *));
	const struct row **policies = calloc(w->n_rows + 1, sizeof(struct row *));
	const struct row **rates = calloc(w->n_rows + 1, sizeof(struct row *));
	const struct row **tls = calloc(w->n_rows + 1, sizeof(struct row *));
	uint32_t n_routes = 0, n_policies = 0, n_rates = 0, n_tls = 0;

	must(tls != NULL && policies != NULL && rates != NULL);
	must(slices != NULL && routes != NULL);
	for (uint32_t i = 0; i < w->n_rows; i++)
		if (row_kind_is_route(w->rows[i]->kind))
			routes[n_routes++] = w->rows[i];
		else if (w->rows[i]->kind == ROW_POLICY || w->rows[i]->kind == ROW_BACKEND_POLICY)
			policies[n_policies++] = w->rows[i];
		else if (w->rows[i]->kind == ROW_RATE)
			rates[n_rates++] = w->rows[i];
		else if (w->rows[i]->kind == ROW_BACKEND_TLS)
			tls[n_tls++] = w->rows[i];
	for (uint32_t i = 0; i < w->n_rows; i++) {
		const struct row *s = w->rows[i];
		uint32_t n_slices = 0;

		if (s->kind != ROW_SERVICE)
			continue;
		for (uint32_t k = 0; k < w->n_rows; k++)
			if (w->rows[k]->kind == ROW_SLICE && strcmp(w->rows[k]->ns, s->ns) == 0 &&
			    strcmp(w->rows[k]->slice.service, s->name) == 0)
				slices[n_slices++] = w->rows[k];
		must(builder_set_service(w->builder,
					 &(struct unit_service){
						 .service = s,
						 .slices = slices,
						 .n_slices = s->created_rev ? 0 : n_slices,
						 .lacks_endpoints = s->created_rev,
						 .routes = routes,
						 .n_routes = n_routes,
						 .slot = { (uint32_t)(s->generation >> 32),
							   (uint32_t)s->generation },
						 .zone = slice_str(w->zone),
						 .policies = policies,
						 .n_policies = n_policies,
						 .endpoint_slot = slot_of_endpoint,
						 .rates = rates,
						 .n_rates = n_rates,
						 .tls = tls,
						 .n_tls = n_tls,
						 .config_map = config_map,
						 .limit_slot = slot_of_limit,
						 .rate_slot = slot_of_limit,
						 .granted = is_granted,
						 .arg = w,
					 }) == 0);
	}
	free(slices);
	free(routes);
	free(policies);
	free(rates);
	free(tls);
}

/* What a worker does with a file. */
static void adopt(struct world *w, struct built *f)
{
	struct view *v;
	int r;

	if (f->is_base) {
		r = view_open_base(&f->fd, f->rev, &v);
		if (r < 0 || view_check_step(v, 1000000) != 1) {
			fprintf(stderr, "base refused: %s\n", view_problem(r < 0 ? NULL : v));
			abort();
		}
	} else if (view_open_overlay(w->view, &f->fd, f->rev, &v) < 0) {
		fprintf(stderr, "overlay refused: %s\n", view_problem(NULL));
		abort();
	}
	view_unref(w->view);
	w->view = v;
}

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof *w);

	must(w != NULL && builder_new(SLICE("cluster.local"), &w->builder) == 0);
	return w;
}

void world_say_files(struct world *w, const char *text, struct built *ret)
{
	w->route = NULL;
	while (*text) {
		size_t n = strcspn(text, "\n");

		say_line(w, text, n);
		text += n + (text[n] == '\n');
	}
	set_services(w);
	must(builder_commit(w->builder, ++w->rev, ret) == 0);
}

const struct view *world_say(struct world *w, const char *text)
{
	struct built f;

	world_say_files(w, text, &f);
	adopt(w, &f);
	return w->view;
}

const struct view *world_work(struct world *w, int slices, int64_t budget_us)
{
	struct built f;

	for (int i = 0; i < slices && builder_wants_work(w->builder); i++) {
		int r = builder_work(w->builder, budget_us, &f);

		must(r >= 0);
		if (r == 1) {
			adopt(w, &f);
			break;
		}
	}
	return w->view;
}

const struct view *world_view(const struct world *w)
{
	return w->view;
}

struct builder *world_builder(struct world *w)
{
	return w->builder;
}

void world_free(struct world **pw)
{
	struct world *w = *pw;

	*pw = NULL;
	for (uint32_t i = 0; i < w->n_rows; i++)
		row_free(&w->rows[i]);
	view_unref(w->view);
	while (view_trim())
		;
	builder_free(&w->builder);
	free(w);
}

struct view *view_from(const char *text)
{
	struct world *w = world_new();
	struct view *v = (struct view *)(uintptr_t)world_say(w, text);

	view_ref(v);
	world_free(&w);
	return v;
}

struct text {
	char *p;
	size_t n;
};

static void text_add(void *arg, const char *p, size_t n)
{
	struct text *t = arg;

	t->p = realloc(t->p, t->n + n + 1);
	must(t->p != NULL);
	memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = 0;
}

char *view_text(const struct view *v)
{
	struct text t = { calloc(1, 1), 0 };

	view_dump(v, text_add, &t);
	return t.p;
}
