/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See workloads.h. */
#include "store/sync/workloads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/sync/model.h"

void workloads_init(struct workloads *w)
{
	*w = (struct workloads){ 0 };
	list_init(&w->all);
	list_init(&w->due);
}

static void forget(struct workloads *w, struct workload *one)
{
	hash_remove(&w->by_name, &one->by_name);
	list_remove(&one->in_all);
	list_remove(&one->due);
	free(one);
}

void workloads_fini(struct workloads *w)
{
	list_each(it, &w->all)
		forget(w, container_of(it, struct workload, in_all));
	hash_fini(&w->by_name);
}

void workloads_node(struct workloads *w, const char *node, bool shared)
{
	snprintf(w->node, sizeof w->node, "%s", node);
	w->shared = shared;
}

static struct workload *find(const struct workloads *w, const char *ns, const char *name)
{
	uint64_t h = key_hash(ROW_WORKLOAD, slice_str(ns), slice_str(name));

	for (struct hash_node *n = hash_first(&w->by_name, h); n; n = hash_next(n)) {
		struct workload *one = container_of(n, struct workload, by_name);

		if (strcmp(one->ns, ns) == 0 && strcmp(one->name, name) == 0)
			return one;
	}
	return NULL;
}

const struct workload *workloads_find(const struct workloads *w, const char *ns, const char *name)
{
	const struct workload *one = find(w, ns, name);

	return one && one->resource ? one : NULL;
}

static struct workload *make(struct workloads *w, const char *ns, const char *name)
{
	struct workload *one = find(w, ns, name);
	size_t n_ns = strlen(ns) + 1, n_name = strlen(name) + 1;

	if (one)
		return one;
	one = calloc(1, sizeof *one + n_ns + n_name);
	if (one == NULL || hash_add(&w->by_name, &one->by_name,
				    key_hash(ROW_WORKLOAD, slice_str(ns), slice_str(name))) < 0) {
		free(one);
		return NULL;
	}
	memcpy(one->text, ns, n_ns);
	memcpy(one->text + n_ns, name, n_name);
	one->ns = one->text;
	one->name = one->text + n_ns;
	list_init(&one->due);
	list_add_tail(&w->all, &one->in_all);
	return one;
}

static void make_due(struct workloads *w, struct workload *one)
{
	if (!node_is_linked(&one->due))
		list_add_tail(&w->due, &one->due);
}

const char *workloads_host(const struct workloads *w, const struct row_workload *row)
{
	return row->node[0] ? row->node : w->shared ? NULL : w->node;
}

static bool is_here(const struct workloads *w, const struct row_workload *row)
{
	const char *host = workloads_host(w, row);

	return host && strcmp(host, w->node) == 0;
}

/* The words of its row are within these bounds. */
static void words_of(const struct workload *one, const struct row_workload *row, struct pod_words *ret)
{
	*ret = (struct pod_words){ .name = "" };
	snprintf(ret->name, sizeof ret->name, "%s", one->name);
	snprintf(ret->ns, sizeof ret->ns, "%s", one->ns);
	snprintf(ret->account, sizeof ret->account, "%s", row->account);
	snprintf(ret->netns, sizeof ret->netns, "%s", row->netns);
	ret->uid = row->uid;
	static_must(ROW_RESOLVERS == POD_RESOLVERS);
	ret->n_resolvers = row->n_resolvers;
	for (uint32_t i = 0; i < row->n_resolvers; i++) {
		ret->resolver[i].family = row->resolver[i].family;
		memcpy(ret->resolver[i].ip, row->resolver[i].ip, sizeof ret->resolver[i].ip);
	}
	snprintf(ret->labels, sizeof ret->labels, "%s", row->labels);
}

void workloads_served(struct model *m, struct resource *r)
{
	struct workloads *w = &m->workloads;
	const struct row_workload *row = r->served ? &r->served->row->workload : NULL;
	struct workload *one = row ? make(w, r->ns, r->name) : find(w, r->ns, r->name);

	if (one == NULL) {
		m->shortages += row != NULL;
		return;
	}
	one->resource = row ? r : NULL;
	one->state = row && is_here(w, row) ? WORKLOAD_TOLD : WORKLOAD_ELSEWHERE;
	one->why[0] = 0;
	if (one->state == WORKLOAD_TOLD || one->said)
		make_due(w, one);
	else if (row == NULL)
		forget(w, one);
	if (row && !row->node[0] && w->shared)
		resource_conflict(r, "is required: this source tells every host the same, so it must say "
				     "which of them has it");
}

void workloads_again(struct workloads *w)
{
	for (struct node *n = w->all.next; n != &w->all; n = n->next) {
		struct workload *one = container_of(n, struct workload, in_all);

		if (one->said)
			make_due(w, one);
	}
	w->all_due = w->all_known;
}

void workloads_all(struct workloads *w)
{
	w->all_due |= !w->all_known;
	w->all_known = true;
}

static int say_one(struct workload *one, struct chan *ch)
{
	const struct row_workload *row = one->resource ? &one->resource->served->row->workload : NULL;
	struct msg_workload_name gone = { .name = "" };
	struct msg_workload here;

	one->said = one->state != WORKLOAD_ELSEWHERE;
	if (row && one->said) {
		words_of(one, row, &here.words);
		return chan_send(ch, MSG_WORKLOAD_HERE, &here, (struct slice){ 0 }, NULL, 0);
	}
	snprintf(gone.name, sizeof gone.name, "%s", one->name);
	snprintf(gone.ns, sizeof gone.ns, "%s", one->ns);
	return chan_send(ch, MSG_WORKLOAD_GONE, &gone, (struct slice){ 0 }, NULL, 0);
}

/* Nothing is queued that must wait behind others: views go by the same channel. */
int workloads_say(struct workloads *w, struct chan *ch)
{
	struct msg_empty none = { 0 };

	while (!list_is_empty(&w->due)) {
		struct workload *one = container_of(w->due.next, struct workload, due);

		if (ch->queued || say_one(one, ch) < 0)
			return -EAGAIN;	/* still due */
		list_remove(&one->due);
		if (one->resource == NULL)
			forget(w, one);
	}
	if (w->all_due && (ch->queued || chan_send(ch, MSG_WORKLOADS_ALL, &none, (struct slice){ 0 }, NULL,
						   0) < 0))
		return -EAGAIN;
	w->all_due = false;
	return 0;
}

bool workloads_heard(struct workloads *w, const struct msg_workload_state *m, struct slice words)
{
	struct workload *one;
	char why[sizeof one->why];

	snprintf(why, sizeof why, "%.*s", (int)min_of(words.n, sizeof why - 1), (const char *)words.p);
	if (!msg_text(m->ns, sizeof m->ns) || !msg_text(m->name, sizeof m->name) ||
	    (why[0] && !msg_text(why, sizeof why)))
		return false;
	one = find(w, m->ns, m->name);
	/* What is due was not yet said as it is now: this answers what it was before. */
	if (!one || !one->resource || one->state == WORKLOAD_ELSEWHERE || node_is_linked(&one->due))
		return false;
	one->state = m->error ? WORKLOAD_NOT : WORKLOAD_ENROLLED;
	memcpy(one->why, why, sizeof why);
	return true;
}
