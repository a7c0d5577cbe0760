/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What it costs the sync process that a captured pod comes, changes and goes, with many Services that select
 * pods: CPU of the model and the view, for S Services and P pods of one namespace.
 *
 *   selectors [SERVICES PODS]...            (default: 100 100, 10000 1000; an optimised build)
 *
 * Each Service selects two labels: one that all pods have, and one of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/model.h"

#define CHANGES 200

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct world {
	struct model model;
	uint64_t rev;
};

static void must_be(bool is)
{
	if (!is)
		abort();
}

static void tell(struct world *w, const char *place, const char *text)
{
	struct documents docs = { 0 };

	must_be(documents_read(&docs, place, slice_str(text)) == 0);
	model_place(&w->model, place, &docs);
}

/* The change set is true, and what is to be published is made. */
static void settle(struct world *w)
{
	struct built b;
	int r;

	(void)!model_settle(&w->model);
	must_be(w->model.shortages == 0 && builder_commit(w->model.builder, ++w->rev, &b) == 0);
	fd_close(&b.fd);
	while (builder_wants_work(w->model.builder)) {
		r = builder_work(w->model.builder, 1000000, &b);
		must_be(r >= 0);
		if (r == 1)
			fd_close(&b.fd);
	}
}

static void service(struct world *w, unsigned i)
{
	char place[40], text[400];

	snprintf(place, sizeof place, "s%u.yaml", i);
	snprintf(text, sizeof text,
		 "apiVersion: v1\nkind: Service\nmetadata: {name: s%u, namespace: shop}\nspec: {clusterIP: 10.%u.%u.%u, "
		 "selector: {app: a%u, tier: back}, ports: [{port: 80, targetPort: 8080}]}\n",
		 i, 96 + (i >> 16), i >> 8 & 255, i & 255, i);
	tell(w, place, text);
}

static void pod(struct world *w, unsigned i, unsigned services, bool drains)
{
	char place[PLACE_MAX], text[600];

	snprintf(place, sizeof place, "/r/c/node/n%u/pod/shop/p%u", i / 10, i);
	snprintf(text, sizeof text,
		 "{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":{\"namespace\":\"shop\",\"name\":"
		 "\"p%u.n%u\",\"labels\":{\"app\":\"a%u\",\"tier\":\"back\"}},\"spec\":{\"node\":\"n%u\",\"pod\":\"p%u\","
		 "\"addresses\":[\"10.1.%u.%u\"],\"draining\":%s}}",
		 i, i / 10, i % services, i / 10, i, i >> 8, i & 255, drains ? "true" : "false");
	tell(w, place, text);
}

static void measure(unsigned services, unsigned pods)
{
	struct world w = { .rev = 0 };
	double began, all;

	must_be(model_init(&w.model, "cluster.local", "", "") == 0);
	model_snapshot(&w.model);
	for (unsigned i = 0; i < services; i++)
		service(&w, i);
	for (unsigned i = 0; i < pods; i++)
		pod(&w, i, services, false);
	began = cpu_ms();
	settle(&w);
	all = cpu_ms() - began;
	began = cpu_ms();
	for (unsigned i = 0; i < CHANGES; i++) {
		pod(&w, i * 7 % pods, services, i % 2 == 0);
		settle(&w);
	}
	printf("%u Services, %u pods: all at once %.0f ms CPU, a pod that changes %.3f ms\n", services, pods, all,
	       (cpu_ms() - began) / CHANGES);
	model_fini(&w.model);
}

int main(int argc, char **argv)
{
	rand_init();
	for (int i = 1; i + 1 < argc; i += 2)
		measure((unsigned)atoi(argv[i]), (unsigned)atoi(argv[i + 1]));
	if (argc < 3) {
		measure(100, 100);
		measure(10000, 1000);
	}
	return 0;
}
