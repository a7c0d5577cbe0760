/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See modes.h. */
#include "store/sync/modes.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/sync/model.h"

static void add(struct model *m, enum ns_told told, const char *ns, const struct ns_modes *modes)
{
	struct modes *q = &m->modes;
	struct msg_ns_modes *msg;

	if (q->n == q->room) {
		size_t room = max_of(q->room * 2, (size_t)16);
		struct msg_ns_modes *p = realloc(q->queue, room * sizeof *p);

		if (!p) {
			m->shortages++;
			return;
		}
		q->queue = p;
		q->room = room;
	}
	msg = &q->queue[q->n++];
	*msg = (struct msg_ns_modes){ .told = told };
	snprintf(msg->ns, sizeof msg->ns, "%s", ns);
	if (modes)
		msg->modes = *modes;
}

void modes_said(struct modes *q)
{
	if (++q->next == q->n)
		q->next = q->n = 0;
}

void modes_all(struct model *m)
{
	m->modes.telling = true;
	m->modes.next = m->modes.n = 0;
	add(m, NS_TOLD_BEGIN, "", NULL);
	for (const struct node *n = m->all_spaces.next; n != &m->all_spaces; n = n->next) {
		const struct space *s = container_of(n, struct space, in_model);
		const struct row *row = s->resource ? s->resource->served->row : NULL;

		if (row && !ns_modes_are_default(&row->namespace.modes))
			add(m, NS_TOLD_ONE, s->name, &row->namespace.modes);
	}
	add(m, NS_TOLD_END, "", NULL);
}

void modes_changed(struct model *m, const char *ns, const struct ns_modes *was, const struct ns_modes *now)
{
	static const struct ns_modes none;

	was = was ?: &none;
	now = now ?: &none;
	if (m->modes.telling && !ns_modes_eq(was, now))
		add(m, NS_TOLD_ONE, ns, now);
}

void modes_fini(struct modes *q)
{
	free(q->queue);
	*q = (struct modes){ 0 };
}
