/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See locals.h. */
#include "store/sync/locals.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/base/memfd.h"
#include "store/sync/model.h"

enum local_state { LOCAL_IN, LOCAL_DRAINING };

struct local {
	struct node in_locals;
	struct pod_told pod;		/* as the list has it, or had it last */
	bool is_listed;
	enum local_state state;
	struct mono until;		/* not listed any more: said to be draining until then */
	bool due;			/* the model and others are to hear of it */
};

static struct local *local_of(struct node *n)
{
	return container_of(n, struct local, in_locals);
}

void locals_init(struct locals *l, struct loop *loop, const char *node, const struct locals_events *on)
{
	*l = (struct locals){ .loop = loop, .on = *on, .drain_ms = LOCALS_DRAIN_MS };
	snprintf(l->node, sizeof l->node, "%s", node);
	list_init(&l->all);
}

static void forget(struct local *p)
{
	list_remove(&p->in_locals);
	free(p);
}

void locals_fini(struct locals *l)
{
	loop_timer_stop(l->loop, &l->timer);
	list_each(it, &l->all)
		forget(local_of(it));
	for (unsigned i = 0; i < PODS_PAGES; i++) {
		free(l->page[i]);
		l->page[i] = NULL;
	}
}

static struct local *find(const struct locals *l, const char *ns, const char *name)
{
	for (struct node *n = l->all.next; n != &l->all; n = n->next)
		if (strcmp(local_of(n)->pod.words.name, name) == 0 && strcmp(local_of(n)->pod.words.ns, ns) == 0)
			return local_of(n);
	return NULL;
}

/* ---- the list ---- */

/* Of a uid there are no addresses but the host's own. */
static bool counts(const struct pod_told *t)
{
	return !t->waits && t->words.uid == 0 && t->addresses.n > 0;
}

static bool same(const struct pod_told *a, const struct pod_told *b)
{
	return strcmp(a->words.account, b->words.account) == 0 && strcmp(a->words.labels, b->words.labels) == 0 &&
	       memcmp(&a->addresses, &b->addresses, sizeof a->addresses) == 0;
}

/* False: no memory. */
static bool list_one(struct locals *l, const struct pod_told *t)
{
	enum local_state state = t->leaves ? LOCAL_DRAINING : LOCAL_IN;
	struct local *p = find(l, t->words.ns, t->words.name);

	if (p == NULL) {
		p = calloc(1, sizeof *p);
		if (p == NULL)
			return false;
		list_add_tail(&l->all, &p->in_locals);
		p->due = true;
	} else if (p->is_listed && state == LOCAL_DRAINING) {
		return true;		/* the one that stays counts */
	}
	p->due |= p->state != state || !same(&p->pod, t);
	p->pod = *t;
	p->state = state;
	p->is_listed = true;
	return true;
}

static void drain_cb(void *arg)
{
	struct locals *l = arg;

	clock_tick();
	l->on.due(l->on.arg);
}

static bool is_over(const struct local *p)
{
	return !p->is_listed && clock_now().ns >= p->until.ns;
}

static void drain_later(struct locals *l)
{
	int64_t first = INT64_MAX;

	for (struct node *n = l->all.next; n != &l->all; n = n->next)
		if (!local_of(n)->is_listed)
			first = min_of(first, local_of(n)->until.ns);
	if (first != INT64_MAX)
		loop_timer_start(l->loop, &l->timer, max_of(first - clock_now().ns, (int64_t)1), 0, drain_cb, l);
}

/* The pages as they are now, against what was said. */
static int compare(struct locals *l)
{
	bool good = true;

	for (struct node *n = l->all.next; n != &l->all; n = n->next)
		local_of(n)->is_listed = false;
	for (unsigned i = 0; i < PODS_PAGES; i++)
		for (uint32_t k = 0; l->page[i] && k < l->page[i]->n; k++)
			if (counts(&l->page[i]->pod[k]))
				good &= list_one(l, &l->page[i]->pod[k]);
	for (struct node *n = l->all.next; n != &l->all; n = n->next) {
		struct local *p = local_of(n);

		if (p->is_listed) {
			p->until = (struct mono){ 0 };
		} else if (p->until.ns == 0) {
			p->until = mono_after_ms(clock_now(), l->drain_ms);
			p->due |= p->state != LOCAL_DRAINING;
			p->state = LOCAL_DRAINING;
		}
	}
	drain_later(l);
	l->on.due(l->on.arg);
	return good ? 0 : -ENOMEM;
}

int locals_page(struct locals *l, uint32_t page, struct fd f)
{
	const struct pods_page *p;
	struct pods_page *copy = NULL;
	struct slice bytes;
	int r = memfd_map_sealed(f, PODS_PAGE_BYTES(PODS_A_PAGE), &bytes);

	if (r < 0)
		return r;
	p = pods_page(bytes);
	if (p && page < PODS_PAGES)
		copy = malloc(bytes.n);
	if (copy)
		memcpy(copy, bytes.p, bytes.n);
	r = p == NULL || page >= PODS_PAGES ? -EBADMSG : copy == NULL ? -ENOMEM : 0;
	memfd_unmap(&bytes);
	if (r < 0)
		return r;
	free(l->page[page]);
	l->page[page] = copy;
	l->pages |= 1u << page;
	return compare(l);
}

static bool is_known(const struct locals *l)
{
	return l->all_said && (l->wanted & ~l->pages) == 0;
}

void locals_all(struct locals *l, uint32_t pages)
{
	l->all_said = true;
	l->wanted = pages;
	l->swept = false;
	for (unsigned i = 0; i < PODS_PAGES; i++) {
		if (pages >> i & 1)
			continue;
		free(l->page[i]);	/* a former master's */
		l->page[i] = NULL;
	}
	if (compare(l) < 0)
		l->all_said = false;
}

bool locals_lacks(const struct locals *l)
{
	return l->all_said && !is_known(l);
}

void locals_again(struct locals *l)
{
	l->all_said = false;
	l->pages = 0;
}

void locals_zone(struct locals *l, const char *zone)
{
	if (strcmp(l->zone, zone) == 0)
		return;
	snprintf(l->zone, sizeof l->zone, "%s", zone);
	for (struct node *n = l->all.next; n != &l->all; n = n->next)
		local_of(n)->due = true;
	l->on.due(l->on.arg);
}

/* ---- what is said of one ---- */

static json_t *labels_json(const char *labels)
{
	json_t *o = json_object();

	for (const char *s = labels; *s;) {
		size_t n = strcspn(s, ","), k = strcspn(s, "=,");
		char key[sizeof(((struct pod_words *)0)->labels)];

		snprintf(key, sizeof key, "%.*s", (int)k, s);
		json_object_set_new(o, key, k < n ? json_stringn(s + k + 1, n - k - 1) : json_string(""));
		s += n + (s[n] == ',');
	}
	return o;
}

static json_t *addresses_json(const struct pod_addresses *all)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	json_t *list = json_array();

	for (uint32_t i = 0; i < all->n && i < POD_ADDRESSES; i++) {
		bool is_v4 = memcmp(all->ip[i], mapped, sizeof mapped) == 0;
		struct addr a = { .family = is_v4 ? 4 : 6 };
		char text[ADDR_TEXT];

		memcpy(a.ip, all->ip[i] + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
		if (resource_resident_may_have(&a))
			json_array_append_new(list, json_string(addr_text(&a, false, text)));
	}
	return list;
}

/* malloc'ed; NULL: no memory, or nothing that others could reach it by. */
static char *text_of(const struct locals *l, const struct local *p)
{
	const struct pod_words *w = &p->pod.words;
	json_t *addresses = addresses_json(&p->pod.addresses), *o;
	char name[600], *text = NULL;

	if (json_array_size(addresses) == 0) {
		json_decref(addresses);
		return NULL;
	}
	/* One that does not fit is refused by whoever reads it, this host first, which says so. */
	if (!resource_resident_name(w->name, l->node, name, sizeof name))
		snprintf(name, sizeof name, "%s.%s", w->name, l->node);
	o = json_pack("{s:s, s:s, s:{s:s, s:s, s:o}, s:{s:s, s:s, s:s, s:s, s:b, s:o}}", "apiVersion",
		      "nodeproxy.io/v1alpha1", "kind", "Resident", "metadata", "namespace", w->ns, "name", name,
		      "labels", labels_json(w->labels), "spec", "node", l->node, "pod", w->name, "serviceAccount",
		      w->account, "zone", l->zone, "draining", p->state == LOCAL_DRAINING, "addresses", addresses);
	text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(o);
	return text;
}

static bool place_of(const struct locals *l, const char *ns, const char *pod, char out[PLACE_MAX])
{
	return resource_resident_place("", l->node, ns, pod, out, PLACE_MAX);
}

/* ---- the model ---- */

static void apply_one(struct locals *l, struct model *m, struct local *p)
{
	const char *ns = p->pod.words.ns, *pod = p->pod.words.name;
	char place[PLACE_MAX], *text = is_over(p) ? NULL : text_of(l, p);
	struct documents docs = { 0 };

	p->due = false;
	if (place_of(l, ns, pod, place) && text) {
		if (documents_read(&docs, place, slice_str(text)) < 0)
			m->shortages++;
		model_place(m, place, &docs);
	} else if (place_of(l, ns, pod, place)) {
		model_gone(m, place);
	}
	l->on.post(l->on.arg, ns, pod, text);
	free(text);
}

/* A place of ours, and whose: both stand in room.  False: it is somebody else's. */
static bool place_is_ours(const struct locals *l, const char *place, char room[PLACE_MAX], const char **ret_pod)
{
	size_t n = strlen(l->node);
	char *slash;

	if (strncmp(place, "node/", 5) != 0 || strncmp(place + 5, l->node, n) != 0 ||
	    strncmp(place + 5 + n, "/pod/", 5) != 0)
		return false;
	snprintf(room, PLACE_MAX, "%s", place + 5 + n + 5);
	slash = strchr(room, '/');
	if (slash)
		*slash = 0;
	*ret_pod = slash ? slash + 1 : "";
	return true;
}

/* What an earlier life had, which may have told others, too. */
static bool sweep(struct locals *l, struct model *m)
{
	char name[PLACE_MAX], ns[PLACE_MAX];
	const char *pod;
	bool any = false;

	list_each(it, &m->all_places) {
		snprintf(name, sizeof name, "%s", container_of(it, struct place, in_model)->name);
		if (!place_is_ours(l, name, ns, &pod) || find(l, ns, pod))
			continue;
		model_gone(m, name);
		l->on.post(l->on.arg, ns, pod, NULL);
		any = true;
	}
	l->swept = true;
	return any;
}

bool locals_apply(struct locals *l, struct model *m)
{
	bool any = false;

	list_each(it, &l->all) {
		struct local *p = local_of(it);

		if (!p->due && !is_over(p))
			continue;
		apply_one(l, m, p);
		any = true;
		if (is_over(p))
			forget(p);
	}
	if (is_known(l) && !l->swept)
		any |= sweep(l, m);
	drain_later(l);
	return any;
}

void locals_keep(const struct locals *l, struct model *m)
{
	char ns[PLACE_MAX];
	const char *pod;

	for (struct node *n = m->all_places.next; n != &m->all_places; n = n->next) {
		struct place *p = container_of(n, struct place, in_model);

		if (place_is_ours(l, p->name, ns, &pod))
			p->seen = true;		/* sweep() lets go of those that are not there */
	}
}

void locals_post(struct locals *l)
{
	for (struct node *n = l->all.next; n != &l->all; n = n->next) {
		struct local *p = local_of(n);
		char *text = text_of(l, p);

		l->on.post(l->on.arg, p->pod.words.ns, p->pod.words.name, text);
		free(text);
	}
}
