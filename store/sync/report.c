/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See report.h. */
#include "store/sync/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/memfd.h"
#include "store/sync/status.h"

void timing_add(struct timing *t, int64_t us)
{
	t->last_us = us;
	if (t->count++ == 0 || us > t->max_us)
		t->max_us = us;
}

const char *source_state_name(enum source_state s)
{
	static const char *const name[] = {
		[SOURCE_STARTING] = "starting", [SOURCE_SYNCED] = "synced", [SOURCE_LOST] = "lost"
	};

	return (unsigned)s < countof(name) ? name[s] : "?";
}

/* ---- refused ---- */

struct refused_list {
	FILE *f;
	uint32_t n, said;
};

static void one_refused(struct refused_list *l, const char *source, uint32_t line,
			const char *field, const char *reason, const char *kind, const char *ns,
			const char *name, bool last_good)
{
	const char *const text[] = { "source", source, "field", field, "reason", reason, "kind", kind,
				     "namespace", ns, "name", name };

	if (l->n++ >= REPORT_REFUSED_MAX)
		return;
	fprintf(l->f, "%s{\"line\":%u,\"serving_last_good\":%s", l->said++ ? "," : "", line,
		last_good ? "true" : "false");
	for (size_t i = 0; i < countof(text); i += 2) {
		fprintf(l->f, ",\"%s\":", text[i]);
		json_text(l->f, text[i + 1]);
	}
	fputc('}', l->f);
}

/* An older version of something of this place is served, and this refusal may be why. */
static bool keeps_last_good(const struct place *p, const struct refused *f)
{
	if (f->resource)
		return f->resource->served && f->resource->winner == NULL;
	for (const struct node *n = p->claims.next; n != &p->claims; n = n->next) {
		const struct claim *c = container_of(n, struct claim, in_place);

		/* The place as a whole cannot be read: all of it is what it was. */
		if (f->refusal->line == 0 ? c == c->resource->winner
					  : c->held == NULL && !c->refused &&
						    c->resource->winner == NULL &&
						    c->resource->served)
			return true;
	}
	return false;
}

static void refused_of_place(struct refused_list *l, const struct place *p)
{
	for (const struct node *n = p->refusals.next; n != &p->refusals; n = n->next) {
		const struct refused *f = container_of(n, struct refused, in_place);
		const struct refusal *r = f->refusal;

		one_refused(l, p->name, r->line, r->field, r->reason, r->kind, r->ns, r->name,
			    keeps_last_good(p, f));
	}
	for (const struct node *n = p->claims.next; n != &p->claims; n = n->next) {
		const struct claim *c = container_of(n, struct claim, in_place);
		const struct resource *r = c->resource;
		char reason[512];

		if (c->held == NULL)
			continue;
		if (c == r->winner) {
			if (r->conflict)
				one_refused(l, p->name, c->line,
					    r->kind == ROW_SERVICE  ? "spec.clusterIP"
					    : r->kind == ROW_TENANT ? "spec.namespaces"
					    : r->kind == ROW_WORKLOAD ? "spec.node"
					    : r->kind == ROW_RESIDENT ? "spec.addresses"
								      : "",
					    r->conflict, row_kind_name(r->kind), r->ns, r->name,
					    false);
			continue;
		}
		if (r->winner == NULL)
			continue;	/* told, and not settled yet: nobody was refused */
		snprintf(reason, sizeof reason, "is written at %s:%u already, which counts",
			 r->winner->place->name, r->winner->line);
		one_refused(l, p->name, c->line, "metadata.name", reason, row_kind_name(r->kind), r->ns,
			    r->name, r->served != NULL);
	}
}

static int by_place(const void *a, const void *b)
{
	const struct place *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int refused_json(FILE *f, const struct model *m, uint32_t *ret_n)
{
	struct refused_list l = { .f = f };
	const struct place **all = malloc(max_of(m->places.count, (size_t)1) * sizeof(void *));
	size_t n = 0;

	if (all == NULL)
		return -ENOMEM;
	for (const struct node *x = m->all_places.next; x != &m->all_places; x = x->next)
		all[n++] = container_of(x, struct place, in_model);
	qsort(all, n, sizeof(void *), by_place);
	for (size_t i = 0; i < n; i++)
		refused_of_place(&l, all[i]);
	free(all);
	*ret_n = l.n;
	return 0;
}

/* ---- resources ---- */

static void resource_json_out(FILE *f, const struct model *m, struct resource *r, bool first)
{
	const struct row *row = r->served ? r->served->row : NULL;
	const struct refusal *why = status_refusal(r);
	const char *const text[] = { "kind", row_kind_name(r->kind), "namespace", r->ns, "name",
				     r->name, "source", row ? row->source : why ? why->source : "" };

	fputs(first ? "{" : ",\n{", f);
	for (size_t i = 0; i < countof(text); i += 2) {
		fprintf(f, "%s\"%s\":", i ? "," : "", text[i]);
		json_text(f, text[i + 1]);
	}
	fprintf(f, ",\"line\":%u,\"created\":%lld,\"generation\":%lld,\"status\":",
		row   ? row->line
		: why ? why->doc_line
		      : 0,
		(long long)(row ? row->created_unix_ms : 0),
		(long long)(row ? row->generation : 0));
	status_json(f, m, r);
	fputc('}', f);
}

/* Routes and policies first: they are what has conditions worth asking for.  Works until the
 * deadline, whole buckets of the table at a time: no resource is remembered over a pause.  True: all
 * said. */
static bool resources_json(FILE *f, struct model *m, struct report_job *j, struct mono end)
{
	static const enum row_kind order[] = { ROW_HTTPROUTE, ROW_GRPCROUTE, ROW_TLSROUTE, ROW_TCPROUTE,
					       ROW_POLICY, ROW_BACKEND_POLICY, ROW_RATE, ROW_BACKEND_TLS, ROW_GRANT, ROW_TENANT,
					       ROW_WORKLOAD, ROW_NAMESPACE, ROW_SERVICE, ROW_CONFIG_MAP };

	for (; j->kind < countof(order); j->kind++, j->bucket = 0) {
		for (; j->bucket < j->buckets; j->bucket++) {
			for (struct hash_node *n = m->resources.bucket[j->bucket]; n; n = n->next) {
				struct resource *r = container_of(n, struct resource, by_key);

				if (r->kind != order[j->kind] ||
				    (r->served == NULL && !status_refusal(r)))
					continue;
				if (j->said == REPORT_RESOURCES_MAX) {
					j->cut = true;
					return true;
				}
				resource_json_out(f, m, r, j->said++ == 0);
			}
			if (j->bucket % 16 == 15 && clock_tick().ns >= end.ns) {
				j->bucket++;
				return false;
			}
		}
	}
	return true;
}

/* ---- the whole ---- */

static void timing_json(FILE *f, const char *name, const struct timing *t, bool first)
{
	fprintf(f, "%s\"%s\":{\"count\":%llu", first ? "" : ",", name, (unsigned long long)t->count);
	if (t->count)
		fprintf(f, ",\"last\":%lld.%03lld,\"max\":%lld.%03lld", (long long)t->last_us / 1000,
			(long long)t->last_us % 1000, (long long)t->max_us / 1000,
			(long long)t->max_us % 1000);
	fputc('}', f);
}

static void registry_json(FILE *f, const struct source_news *n)
{
	fputs(",\"endpoint\":", f);
	json_text(f, n->endpoint);
	fprintf(f, ",\"connected\":%s,\"revision\":%lld,\"cluster_id\":\"%llx\",\"snapshots\":%llu,"
		   "\"snapshot_why\":",
		n->is_connected ? "true" : "false", (long long)n->revision, (unsigned long long)n->cluster,
		(unsigned long long)n->snapshots);
	json_text(f, n->snapshot_why);
}

static void demand_json(FILE *f, const struct demand *d)
{
	const struct demand_service *oldest = demand_oldest(d);

	fprintf(f, ",\"on_demand\":{\"services_here\":%u,\"services_fetched\":%u,\"slices_left\":%u,"
		   "\"fetches\":%llu,\"let_go\":%llu,\"refused\":%llu,\"last_ms\":%llu,\"max_ms\":%llu,"
		   "\"oldest_mono_ms\":%lld,\"oldest\":",
		d->here, d->fetching, d->left, (unsigned long long)d->fetches, (unsigned long long)d->let_go,
		(unsigned long long)d->refused, (unsigned long long)d->last_ms, (unsigned long long)d->max_ms,
		oldest ? (long long)(oldest->since.ns / NS_PER_MS) : 0);
	if (oldest)
		fprintf(f, "\"%s/%s\"}", oldest->ns, oldest->name);	/* names of a Service: plain */
	else
		fputs("null}", f);
}

static void source_json(FILE *f, const struct report *r, const struct model_counts *n)
{
	uint32_t good = 0;

	for (int k = 0; k < ROW_KINDS; k++)
		good += n->served[k];
	good -= n->conflicts;
	fputs("{\"kind\":", f);
	json_text(f, r->kind);
	fputs(",\"path\":", f);
	json_text(f, r->path);
	fprintf(f, ",\"state\":\"%s\",\"since_unix_ms\":%lld,\"since_mono_ms\":%lld,\"places\":%u,\"documents\":%u,"
		   "\"accepted\":%u,\"refused\":%u,\"problem\":",
		source_state_name(r->state), (long long)clock_unix_ms() - mono_diff_ms(clock_now(), r->since),
		(long long)(r->since.ns / NS_PER_MS), n->places,
		n->documents, good, n->refused);
	json_text(f, r->problem ? r->problem : "");
	if (r->news.is_registry)
		registry_json(f, &r->news);
	if (r->demand)
		demand_json(f, r->demand);
	fputc('}', f);
}

static void store_json(FILE *f, const struct keep *k, const struct report *r,
		       const struct model_counts *n)
{
	fputs("{\"path\":", f);
	json_text(f, r->store_path);
	fprintf(f, ",\"rev\":%llu,\"commits\":%llu,\"failures\":%llu,\"problem\":",
		(unsigned long long)k->rev, (unsigned long long)k->commits,
		(unsigned long long)k->failures);
	json_text(f, k->durable ? "" : k->problem);
	if (!k->durable)
		fprintf(f, ",\"since_unix_ms\":%lld,\"since_mono_ms\":%lld",
			(long long)k->since_unix_ms, (long long)(k->since.ns / NS_PER_MS));
	fprintf(f, ",\"asides\":%llu", (unsigned long long)k->asides);
	fputs(",\"moved_aside\":", f);
	json_text(f, k->aside);
	fputs(",\"moved_aside_why\":", f);
	json_text(f, k->aside_why);
	fputs(",\"rows\":{", f);
	for (int i = 0; i < ROW_KINDS; i++)
		fprintf(f, "%s\"%s\":%u", i ? "," : "", row_kind_name((enum row_kind)i),
			n->served[i]);
	fputs("}}", f);
}

/* Everything but the resources, as it is now, in one line. */
static int brief_json(FILE *f, struct model *m, const struct keep *k, const struct report *r)
{
	struct model_counts n;
	uint32_t refused = 0;
	int e;

	model_counts(m, &n);
	fputs("{\"sources\":[", f);
	source_json(f, r, &n);
	fputs("],\"refused\":[", f);
	e = refused_json(f, m, &refused);
	fprintf(f, "],\"refused_cut\":%s,\"rev\":%llu,\"durable\":%s,\"store\":",
		refused > REPORT_REFUSED_MAX ? "true" : "false", (unsigned long long)r->rev,
		k->durable ? "true" : "false");
	store_json(f, k, r, &n);
	fprintf(f, ",\"views\":{\"made\":%llu,\"bases\":%llu,\"failed\":%llu,\"failed_rev\":%llu},",
		(unsigned long long)r->views, (unsigned long long)r->bases,
		(unsigned long long)r->failed_views, (unsigned long long)r->failed_rev);
	fprintf(f, "\"slots\":{\"tenants\":%u,\"services\":%u,\"endpoints\":%u,\"limits\":%u,"
		   "\"rates\":%u,\"exhausted\":%llu},",
		m->slot[SLOT_TENANT].taken, m->slot[SLOT_SERVICE].taken,
		m->slot[SLOT_ENDPOINT].taken, m->slot[SLOT_LIMIT].taken, m->slot[SLOT_RATE].taken,
		(unsigned long long)(m->slot[SLOT_TENANT].exhausted + m->slot[SLOT_SERVICE].exhausted +
				     m->slot[SLOT_ENDPOINT].exhausted +
				     m->slot[SLOT_LIMIT].exhausted +
				     m->slot[SLOT_RATE].exhausted));
	fprintf(f, "\"shortages\":%llu,\"timings_ms\":{", (unsigned long long)m->shortages);
	timing_json(f, "store_to_view", &r->load, true);
	timing_json(f, "snapshot", &r->snapshot, false);
	timing_json(f, "change", &r->change, false);
	timing_json(f, "store_write", &r->store, false);
	timing_json(f, "store_step", &r->store_step, false);
	timing_json(f, "report_step", &r->report_step, false);
	fputs("}}\n", f);
	return e;
}

static int job_start(struct report_job *j, const struct model *m)
{
	report_drop(j);
	j->fd.v = memfd_create("sources", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (j->fd.v < 0)
		return -errno;
	j->on = true;
	j->buckets = m->resources.buckets;
	return 0;
}

static int append(struct fd fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd.v, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -ENOSPC;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

int report_step(struct report_job *j, struct model *m, const struct keep *k, const struct report *r,
		int64_t budget_us, struct fd *ret)
{
	struct mono end = { clock_tick().ns + budget_us * NS_PER_US };
	char *text = NULL;
	size_t bytes = 0;
	bool done;
	FILE *f;
	int e = 0;

	if (!j->on || j->buckets != m->resources.buckets) {	/* the table grew: from the start */
		e = job_start(j, m);
		if (e < 0)
			return e;
	}
	f = open_memstream(&text, &bytes);
	if (f == NULL) {
		report_drop(j);
		return -ENOMEM;
	}
	if (!j->began) {
		fputs("{\"resources\":[", f);
		j->began = true;
	}
	done = j->listed;
	if (!j->listed)
		j->listed = resources_json(f, m, j, end);
	/* The rest is short, and says how things are at the end. */
	done |= j->listed && clock_tick().ns < end.ns;
	if (done) {
		fprintf(f, "],\"resources_cut\":%s}\n", j->cut ? "true" : "false");
		e = brief_json(f, m, k, r);
	}
	if (ferror(f))
		e = -ENOMEM;
	if (fclose(f) != 0)
		e = -ENOMEM;
	if (e == 0)
		e = append(j->fd, text, bytes);
	free(text);
	if (e == 0 && done)
		e = memfd_seal(j->fd);
	if (e == 0 && done)
		*ret = fd_take(&j->fd);
	if (e < 0 || done)
		report_drop(j);
	return e < 0 ? e : done;
}

void report_drop(struct report_job *j)
{
	if (j->on)
		fd_close(&j->fd);
	*j = (struct report_job){ .fd = FD_NONE };
}

int report_make(struct model *m, const struct keep *k, const struct report *r, struct fd *ret)
{
	struct report_job j = { 0 };
	int e;

	while ((e = report_step(&j, m, k, r, INT32_MAX, ret)) == 0)
		;
	return e < 0 ? e : 0;
}
