/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A model with what the master and a worker would be around it: documents in as YAML text, the
 * newest view out as text. */
#ifndef TESTS_UNIT_STORE_SYNC_WORLD_H
#define TESTS_UNIT_STORE_SYNC_WORLD_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sync/keep.h"
#include "store/sync/report.h"
#include "store/view/dump.h"

struct world {
	struct model model;
	uint64_t rev;
	struct view *base, *view;	/* base: the newest; view: what a worker serves */
	char *text;			/* of the last world_dump */
};

static inline void world_init(struct world *w, const char *cidr)
{
	*w = (struct world){ 0 };
	ck_assert_int_eq(model_init(&w->model, "cluster.local", cidr, ""), 0);
}

static inline void world_fini(struct world *w)
{
	if (w->view)
		view_unref(w->view);
	if (w->base)
		view_unref(w->base);
	free(w->text);
	model_fini(&w->model);
}

static inline void tell(struct world *w, const char *place, const char *yaml)
{
	struct documents docs = { 0 };

	ck_assert_int_eq(documents_read(&docs, place, slice_str(yaml)), 0);
	model_place(&w->model, place, &docs);
}

static inline void adopt(struct world *w, struct built *b)
{
	struct view *v = NULL;
	int r;

	if (b->is_base) {
		ck_assert_int_eq(view_open_base(&b->fd, b->rev, &v), 0);
		while ((r = view_check_step(v, 1000)) == 0)
			;
		ck_assert_msg(r == 1, "%s", view_problem(v));
		if (w->base)
			view_unref(w->base);
		w->base = v;
		view_ref(v);
	} else {
		ck_assert_int_eq(view_open_overlay(w->base, &b->fd, b->rev, &v), 0);
	}
	if (w->view)
		view_unref(w->view);
	w->view = v;
}

/* Commits what was settled, lets the builder finish its work, adopts all of it. */
static inline void publish(struct world *w)
{
	struct built b;

	ck_assert_int_eq(builder_commit(w->model.builder, ++w->rev, &b), 0);
	adopt(w, &b);
	while (builder_wants_work(w->model.builder)) {
		int r = builder_work(w->model.builder, 1000000, &b);

		ck_assert_int_ge(r, 0);
		if (r == 1)
			adopt(w, &b);
	}
}

/* Ends the change set; true when something served changed. */
static inline bool settle(struct world *w)
{
	bool changed = model_settle(&w->model);

	ck_assert_uint_eq(w->model.shortages, 0);
	publish(w);
	return changed;
}

static inline void dump_say(void *arg, const char *p, size_t n)
{
	fwrite(p, 1, n, arg);
}

/* The view as text, without slots (which depend on history). */
static inline const char *world_dump(struct world *w)
{
	size_t n = 0;
	FILE *f;
	char *in, *out;

	free(w->text);
	w->text = NULL;
	f = open_memstream(&w->text, &n);
	view_dump(w->view, dump_say, f);
	fclose(f);
	for (in = out = w->text; *in;) {
		if (strncmp(in, " slot=", 6) == 0)
			in += 6 + strspn(in + 6, "0123456789/");
		else
			*out++ = *in++;
	}
	*out = 0;
	return w->text;
}

static inline bool serves(struct world *w, const char *what)
{
	return strstr(world_dump(w), what) != NULL;
}

/* The report as text; free it. */
static inline char *report_text(struct world *w, const struct keep *k)
{
	const struct report r = { .kind = "file", .path = "/x", .problem = "", .store_path = "/s",
				  .state = SOURCE_SYNCED, .rev = w->rev };
	static const struct keep none = { .durable = true };
	struct fd fd = FD_NONE;
	char *text = calloc(1, 1 << 20);
	ssize_t n;

	ck_assert_int_eq(report_make(&w->model, k ? k : &none, &r, &fd), 0);
	n = pread(fd.v, text, (1 << 20) - 1, 0);
	ck_assert_int_gt(n, 0);
	fd_close(&fd);
	return text;
}

#define SERVICE(name, ip)                                                                          \
	"apiVersion: v1\nkind: Service\nmetadata: {name: " name ", namespace: shop}\n"             \
	"spec: {" ip " ports: [{port: 80, targetPort: 8080}]}\n---\n"
#define SLICES(name, service, endpoints)                                                           \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"                                   \
	"metadata: {name: " name ", namespace: shop, labels: {kubernetes.io/service-name: " service \
	"}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints: [" endpoints "]\n---\n"
#define AT(ip) "{addresses: [" ip "], conditions: {ready: true}}"
#define ROUTE(name, parent, path, backend)                                                         \
	"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"                              \
	"metadata: {name: " name ", namespace: shop}\n"                                            \
	"spec: {parentRefs: [{group: \"\", kind: Service, name: " parent ", port: 80}],\n"         \
	"  rules: [{matches: [{path: {type: PathPrefix, value: " path "}}],\n"                     \
	"    backendRefs: [{name: " backend ", port: 80}]}]}\n---\n"
#define POLICY(name, target, more)                                                                 \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\n"                                 \
	"metadata: {name: " name ", namespace: shop}\n"                                            \
	"spec: {targetRefs: [" target "], " more "}\n---\n"
#define TO(more) "{group: \"\", kind: Service, name: web" more "}"
#define TENANT(name, namespaces)                                                                   \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: Tenant\nmetadata: {name: " name "}\n"            \
	"spec: {namespaces: [" namespaces "], weight: 7}\n---\n"

#endif
