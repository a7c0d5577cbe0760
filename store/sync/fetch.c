/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See fetch.h. */
#include "store/sync/fetch.h"

#include <stdio.h>
#include <string.h>

#define GROUP "discovery.k8s.io"
#define KIND  "EndpointSlice"

bool fetch_is_slice(const struct key_parts *k)
{
	return k->place == KEY_NS && slice_eq(k->kind, SLICE(KIND)) && slice_eq(k->group, SLICE(GROUP));
}

bool fetch_key(const char *root, const struct demand_slice *x, char out[KEY_MAX])
{
	int n = snprintf(out, KEY_MAX, "%sns/%s/" GROUP "/" KIND "/%s", root, x->text, demand_slice_name(x));

	return n > 0 && (unsigned)n < KEY_MAX;
}

static bool is_under_way(const struct fetcher *f, const struct demand_slice *x)
{
	for (unsigned i = 0; i < FETCHES; i++)
		if (f->v[i].call && slice_eq(f->v[i].ns, slice_str(x->text)) &&
		    slice_eq(f->v[i].name, slice_str(demand_slice_name(x))))
			return true;
	return false;
}

static void again_cb(void *arg)
{
	struct fetcher *f = arg;

	clock_tick();
	if (f->e)
		fetcher_run(f, f->e);
}

static void on_answer(void *arg, const struct etcd_answer *a)
{
	struct fetch *one = arg;
	struct fetcher *f = one->of;
	struct demand_slice *x = demand_slice_find(f->demand, one->ns, one->name);

	one->call = NULL;
	if (a->status != GRPC_OK) {
		loop_timer_start(f->loop, &f->again, FETCH_AGAIN_MS * NS_PER_MS, 0, again_cb, f);
		return;
	}
	if (x && demand_is_due(f->demand, x)) {
		/* Gone since: the watch will tell. */
		demand_told(f->demand, x);
		if (a->results == 1 && a->result[0].kvs == 1 &&
		    slice_eq(a->result[0].kv[0].key, slice_str(one->key)))
			f->got(f->arg, &a->result[0].kv[0]);
	}
	fetcher_run(f, f->e);
}

/* False: it cannot be asked for now. */
static bool begin(struct fetcher *f, struct fetch *one, const struct demand_slice *x)
{
	struct etcd_op op = { .kind = ETCD_RANGE };

	if (!fetch_key(f->root, x, one->key))
		return false;
	op.key = slice_str(one->key);
	one->of = f;
	one->ns = slice_of(op.key.p + strlen(f->root) + 3, x->ns_n);
	one->name = slice_from(op.key, op.key.n - strlen(demand_slice_name(x)));
	one->call = etcd_op(f->e, &op, on_answer, one);
	return one->call != NULL;
}

void fetcher_run(struct fetcher *f, struct etcd *e)
{
	const struct demand_slice *x = NULL;

	f->e = e;
	if (loop_timer_is_running(&f->again))
		return;
	for (unsigned i = 0; i < FETCHES; i++) {
		if (f->v[i].call)
			continue;
		do
			x = demand_next(f->demand, x);
		while (x && is_under_way(f, x));
		if (x == NULL)
			break;
		if (!begin(f, &f->v[i], x)) {
			loop_timer_start(f->loop, &f->again, FETCH_AGAIN_MS * NS_PER_MS, 0, again_cb, f);
			break;
		}
	}
	f->done(f->arg);
}

void fetcher_stop(struct fetcher *f)
{
	for (unsigned i = 0; i < FETCHES; i++)
		etcd_call_cancel(&f->v[i].call);
	loop_timer_stop(f->loop, &f->again);
	f->e = NULL;
}
