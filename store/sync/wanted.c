/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Endpoints on demand in the life of the sync process: who asks, what the source fetches, when it becomes
 * true, and when it is let go.  See demand.h, uses.h; with source.slices: all there is nothing of this.
 *
 * Nothing is let go while the source is lost: it could not be fetched again. */
#include <stdio.h>

#include "nodeproxy/lib/base/log.h"
#include "store/sync/syncd.h"

static void due_cb(void *arg)
{
	struct syncd *s = arg;

	/* The end of what is being told takes it along. */
	if (s->model.demanded && syncd_may_apply(s))
		syncd_make_true(s, model_settle(&s->model), &s->report.change, (struct mono){ 0 });
}

static void on_changed(void *arg, uint64_t service)
{
	struct syncd *s = arg;

	model_demanded(&s->model, service);
	loop_timer_start(&s->loop, &s->demand_due, 0, 0, due_cb, s);
	syncd_report_soon(s);
}

static void fetch(struct syncd *s)
{
	if (s->source && s->source->ops->fetch)
		s->source->ops->fetch(s->source);
}

void wanted_ask(struct syncd *s, const struct msg_service *of)
{
	const struct service *service;

	if (s->model.demand == NULL || !msg_text(of->ns, sizeof of->ns) || !msg_text(of->name, sizeof of->name))
		return;
	service = service_find(&s->model, slice_str(of->ns), slice_str(of->name));
	if (service && service->resource && demand_want(&s->demand, of->ns, of->name))
		fetch(s);
}

/* ---- letting go ---- */

static void look_cb(void *arg);

static void look_later(struct syncd *s)
{
	int64_t ms = max_of(s->knobs->source_slices_idle_ms / USES_LOOKS, (int64_t)USES_LOOK_MIN_MS);

	loop_timer_start(&s->loop, &s->demand_look, ms * NS_PER_MS, 0, look_cb, s);
}

static void look_cb(void *arg)
{
	struct syncd *s = arg;

	clock_tick();
	uses_look(&s->uses, &s->model, &s->demand);
	list_each(it, &s->demand.wanted) {
		const struct demand_service *of = container_of(it, struct demand_service, in_wanted);

		if (s->report.state != SOURCE_SYNCED)
			break;
		if (!uses_is_idle(of, s->knobs->source_slices_idle_ms))
			continue;
		log_debug("endpoints_let_go", "service=%s/%s", of->ns, of->name);
		s->source->ops->leave(s->source, of->ns, of->name);
	}
	look_later(s);
}

/* ---- life ---- */

void wanted_pins(struct syncd *s, bool wanted)
{
	if (s->demand.changed == NULL)
		return;
	for (uint32_t i = 0; i < s->knobs->n_listeners; i++) {
		const struct knobs_listener *l = &s->knobs->listener[i];

		if (l->route == LISTEN_SERVICE)
			demand_pin(&s->demand, l->service_ns, l->service_name, wanted);
	}
	fetch(s);
}

void wanted_init(struct syncd *s)
{
	if (s->knobs->source_kind != SOURCE_ETCD || s->knobs->source_slices != SLICES_ON_DEMAND)
		return;
	demand_init(&s->demand, SOURCE_KEYS_MAX, on_changed, s);
	s->report.demand = &s->demand;
	if (s->born.nfds)
		uses_init(&s->uses, s->born.fd[0]);
	look_later(s);
}

void wanted_fini(struct syncd *s)
{
	loop_timer_stop(&s->loop, &s->demand_due);
	loop_timer_stop(&s->loop, &s->demand_look);
	if (s->demand.changed)
		demand_fini(&s->demand);
}
