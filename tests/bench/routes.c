/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What finding the rule of a request costs, and building the unit: N routes of 16 matches on one
 * Service, requests uniform over all matches, against one route with one.
 *
 *   paths    each match has a prefix of its own
 *   exact    the same with exact paths
 *   headers  a prefix per route, told apart by the value of one of ten headers
 *   one      all of one path, told apart by the value of a header
 *
 * From an optimised build:
 *   gcc -O2 -D_GNU_SOURCE -I. -I_build -o /tmp/routes tests/bench/routes.c _build/libnpview.a \
 *       _build/libnprows.a _build/libnpnet.a _build/libnpbase.a && /tmp/routes */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/view/build.h"

#define LOOKS 1000000

enum shape { PATHS, EXACT, HEADERS, ONE, SHAPES };
static const char *const shape_name[SHAPES] = { "paths", "exact", "headers", "one" };

struct want {
	char path[48], value[24];
};

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The ninth of ten is the one that routes ask for. */
static bool header_of(const void *arg, struct slice name, uint32_t *at, struct slice *ret)
{
	static const char *const names[] = { "host", "user-agent", "accept", "accept-encoding", "cookie",
					     "x-request-id", "traceparent", "x-a", "x-route", "via" };

	for (uint32_t i = *at; i < countof(names); i++) {
		if (!slice_caseeq(slice_str(names[i]), name))
			continue;
		*ret = slice_str(((const struct want *)arg)->value);
		*at = i + 1;
		return true;
	}
	return false;
}

static void make_match(struct row_match *m, struct want *w, enum shape shape, unsigned route, unsigned i,
		       unsigned n)
{
	if (shape == ONE)
		snprintf(w->path, sizeof w->path, "/");
	else if (shape == HEADERS)
		snprintf(w->path, sizeof w->path, "/api/team-%u", route);
	else
		snprintf(w->path, sizeof w->path, "/api/team-%u/service-%u", n % 37, n);
	snprintf(w->value, sizeof w->value, "value-%u", shape == HEADERS ? i : n);
	*m = (struct row_match){ .type = shape == EXACT ? ROW_PATH_EXACT : ROW_PATH_PREFIX,
				 .path = w->path };
	if (shape == PATHS || shape == EXACT)
		return;
	m->n_headers = 1;
	m->headers = calloc(1, sizeof *m->headers);
	must(m->headers != NULL);
	*m->headers = (struct row_pair){ (char *)(uintptr_t)"x-route", w->value };
}

static void measure(enum shape shape, unsigned routes, unsigned matches)
{
	static struct row_service_port port = { .name = (char *)(uintptr_t)"", .port = 80 };
	static struct row_parent parent = { .ns = (char *)(uintptr_t)"shop", .name = (char *)(uintptr_t)"web",
					    .section = (char *)(uintptr_t)"" };
	static struct row_backend backend = { .ns = (char *)(uintptr_t)"shop",
					      .name = (char *)(uintptr_t)"web", .port = 80, .weight = 1 };
	struct row service = { .kind = ROW_SERVICE, .ns = parent.ns, .name = parent.name,
			       .service = { .n_ports = 1, .ports = &port } };
	unsigned n = routes * matches, x = 1, hits = 0;
	struct row *row = calloc(routes, sizeof *row);
	const struct row **rows = calloc(routes, sizeof *rows);
	struct row_rule *rule = calloc(routes, sizeof *rule);
	struct row_match *match = calloc(n, sizeof *match);
	struct want *want = calloc(n, sizeof *want);
	struct unit_service unit = { .service = &service, .routes = rows, .n_routes = routes };
	struct builder *b;
	struct built file;
	struct view *v;
	struct vservice s;
	struct vport p;
	double built, looked;

	must(row && rows && rule && match && want);
	for (unsigned i = 0; i < routes; i++) {
		for (unsigned k = 0; k < matches; k++)
			make_match(&match[i * matches + k], &want[i * matches + k], shape, i, k,
				   i * matches + k);
		rule[i] = (struct row_rule){ .n_matches = matches, .matches = &match[i * matches],
					     .n_backends = 1, .backends = &backend };
		row[i] = (struct row){ .kind = ROW_HTTPROUTE, .ns = parent.ns, .name = want[i * matches].value,
				       .route = { .n_parents = 1, .parents = &parent, .n_rules = 1,
						  .rules = &rule[i] } };
		rows[i] = &row[i];
	}
	must(builder_new(SLICE("cluster.local"), &b) == 0);
	built = cpu_ms();
	must(builder_set_service(b, &unit) == 0);
	built = cpu_ms() - built;
	must(builder_commit(b, 1, &file) == 0 && view_open_base(&file.fd, 1, &v) == 0);
	while (view_check_step(v, 1000000) == 0)
		;
	must(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s) && vservice_port(&s, 80, &p));
	looked = cpu_ms();
	for (unsigned i = 0; i < LOOKS; i++) {
		const struct want *w = &want[((x = x * 1664525u + 1013904223u) >> 8) % n];
		struct vrequest q = { .method = SLICE("GET"), .path = slice_str(w->path),
				      .header = header_of, .arg = w };
		struct vrule r;

		hits += vport_match(&p, SLICE("shop"), &q, &r) == MATCH_RULE;
	}
	looked = cpu_ms() - looked;
	must(hits == LOOKS);
	printf("%-8s %5u x %2u matches: %4.0f ns a request; unit of %llu KiB built in %.1f ms\n",
	       shape_name[shape], routes, matches, looked * 1e6 / LOOKS,
	       (unsigned long long)file.bytes >> 10, built);
	view_unref(v);
	builder_free(&b);
	for (unsigned i = 0; i < n; i++)
		free(match[i].headers);
	free(row);
	free(rows);
	free(rule);
	free(match);
	free(want);
}

int main(void)
{
	for (int shape = 0; shape < SHAPES; shape++) {
		measure((enum shape)shape, 1, 1);
		measure((enum shape)shape, 1, 16);
		measure((enum shape)shape, 1000, 16);
	}
	return 0;
}
