/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See podorders.h. */
#include "nodeproxy/podorders.h"

#include <errno.h>
#include <stdio.h>

#include "nodeproxy/master.h"

/* What is said now counts instead of what was to be captured again and is not yet: 1, or 0 when there is
 * none such; -EBUSY: an order for that name is under way. */
static int forget_waiting(struct master *m, const struct pod_words *w, char *text, size_t n)
{
	struct pod *p = pods_find(m, w->ns, w->name, POD_WAITING);

	if (p && p->asker == 0) {
		p->state = POD_NONE;
		pod_touched(m, p);
		m->pods.waiting--;
		return 1;
	}
	if (!p && !pods_find(m, w->ns, w->name, POD_ENTERING))
		return 0;
	snprintf(text, n, "pod %s/%s is being added", w->ns, w->name);
	return -EBUSY;
}

static int may_be_done(struct master *m, const struct msg_order *o, bool remove, char *text, size_t n)
{
	const char *problem = pod_problem(&o->pod, remove);
	int r = pods_may_change(m, text, n);

	if (r == 0 && problem) {
		snprintf(text, n, "%s", problem);
		r = -EINVAL;
	}
	return r;
}

int podorders_add(struct master *m, struct child *from, const struct msg_order *o, char *text, size_t n)
{
	struct pod *p;
	int r = may_be_done(m, o, false, text, n);

	if (r == 0)
		r = workload_has(m, &o->pod, text, n);
	if (r == 0)
		r = forget_waiting(m, &o->pod, text, n);
	if (r < 0)
		return r;
	p = pods_slot(m, &o->pod, POD_OF_ORDER);
	if (!p) {
		snprintf(text, n, "there are %d pods already", PODS_MAX);
		return -EBUSY;
	}
	p->order = o->serial;
	p->asker = from->generation;
	p->state = POD_WAITING;
	m->pods.waiting++;
	pods_enter_some(m);
	return -EINPROGRESS;
}

/* Of that name, but not in the network namespace that is meant. */
static bool is_another(const struct pod *p, const struct pod_words *w)
{
	return p && w->netns[0] && strcmp(p->words.netns, w->netns) != 0;
}

int podorders_remove(struct master *m, const struct msg_order *o, char *text, size_t n)
{
	struct pod *p;
	int r = may_be_done(m, o, true, text, n);

	if (r < 0)
		return r;
	p = pods_find(m, o->pod.ns, o->pod.name, POD_CAPTURED);
	if (is_another(p, &o->pod) ||
	    is_another(pods_find(m, o->pod.ns, o->pod.name, POD_WAITING), &o->pod)) {
		snprintf(text, n, "pod %s/%s is in another network namespace", o->pod.ns, o->pod.name);
		return -ENOENT;
	}
	if (!p || p->source == POD_OF_WORKLOAD)
		r = workload_has(m, &o->pod, text, n);
	if (r == 0)
		r = forget_waiting(m, &o->pod, text, n);
	if (r < 0)
		return r;
	if (!p && r == 0) {
		snprintf(text, n, "there is no pod %s/%s", o->pod.ns, o->pod.name);
		return -ENOENT;
	}
	if (p)
		pods_leave(m, p, "removed");
	pods_free_some(m);
	pods_changed(m);
	workload_may_come(m, &o->pod);
	snprintf(text, n, "pod %s/%s is free", o->pod.ns, o->pod.name);
	return 0;
}
