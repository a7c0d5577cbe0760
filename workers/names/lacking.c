/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See lacking.h. */
#include "workers/names/lacking.h"

#include <errno.h>

struct lacking {
	struct node node;
	struct names_from from;
	struct dns_query q;
	struct tenant *tenant;		/* holds a reference */
	struct mono until;
};

size_t lacking_bytes(void)
{
	return sizeof(struct lacking);
}

static void drop(struct names *ns, struct lacking *w)
{
	list_remove(&w->node);
	w->tenant->names--;
	w->from.pod->waiters--;
	tenant_give(&w->tenant);
	slab_give(&ns->lacking, w);
}

int lacking_wait(struct names *ns, const struct names_from *from, const struct dns_query *q,
		 const struct vservice *s)
{
	struct tenant *t = from->pod->gate->tenant;
	struct lacking *w;

	if (t->names >= (uint32_t)ns->path->knobs->names_pending || !await_ask(ns->path, s, t))
		return -EUSERS;
	w = slab_take(&ns->lacking, NULL);
	if (w == NULL)
		return -EUSERS;
	w->from = *from;
	w->q = *q;
	w->tenant = t;
	tenant_ref(t);
	t->names++;
	from->pod->waiters++;
	w->until = mono_after_ms(clock_now(), ns->path->knobs->endpoints_ms);
	list_add_tail(&ns->lacks, &w->node);
	return 0;
}

void lacking_view(struct names *ns)
{
	list_each(it, &ns->lacks) {
		struct lacking *w = container_of(it, struct lacking, node);

		if (names_answer(ns, &w->from, &w->q))
			drop(ns, w);
	}
}

void lacking_tick(struct names *ns)
{
	list_each(it, &ns->lacks) {
		struct lacking *w = container_of(it, struct lacking, node);

		if (clock_now().ns < w->until.ns)
			break;		/* those behind it came later */
		names_refuse(ns, &w->from, &w->q, DNS_SERVFAIL);
		drop(ns, w);
	}
}

void lacking_end(struct names *ns, const struct names_pod *p)
{
	list_each(it, &ns->lacks) {
		struct lacking *w = container_of(it, struct lacking, node);

		if (w->from.pod == p)
			drop(ns, w);
	}
}
