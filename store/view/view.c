/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See view.h: the life of a view, and finding a unit by id, kind and name.
 *
 * A view is a base and perhaps an overlay; several views share one mapped base.  The last user of a
 * large mapping does not unmap it at once (14 MiB take 1 ms, 3 ms when that frees the pages): it
 * goes to a list, and view_trim() unmaps a piece of it per call. */
#include "store/view/view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/memfd.h"
#include "store/view/reader.h"

#define TRIM_BYTES  (1u << 20) /* per view_trim(): about 70 us */
#define CHECK_ITEMS 64	       /* between two looks at the clock: under 1 us */

static struct layer *trash; /* unused large mappings, being unmapped */
static char problem[160];   /* of the last file refused */

static const char *say_problem(const struct check *c)
{
	if (c->problem_unit)
		snprintf(problem, sizeof problem, "unit %u: %s", c->problem_unit, c->problem);
	else
		snprintf(problem, sizeof problem, "%s", c->problem);
	return problem;
}

static int layer_open(struct fd *fd, uint64_t rev, enum view_layer kind, struct layer **ret)
{
	struct layer *l = calloc(1, sizeof *l);
	const struct view_head *h;
	size_t max = kind == LAYER_BASE ? VIEW_MAX_BYTES : OVERLAY_MAX_BYTES;
	int r = l ? memfd_map_sealed(*fd, max, &l->bytes) : -ENOMEM;

	fd_close(fd);
	if (r < 0) {
		snprintf(problem, sizeof problem, "%s",
			 r == -EPERM	  ? "not sealed"
			 : r == -EMSGSIZE ? "empty or too large"
					  : "cannot be mapped");
		free(l);
		return r;
	}
	l->refs = 1;
	l->rev = rev;
	check_init(&l->check);
	h = layer_head(l);
	if (check_items(&l->check, l->bytes, 1) < 0) {
		say_problem(&l->check);
		r = -EBADMSG;
	} else if (h->rev != rev || h->layer != kind) {
		snprintf(problem, sizeof problem, "not the file that was announced");
		r = -EBADMSG;
	}
	if (r < 0) {
		memfd_unmap(&l->bytes);
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

bool view_has_trash(void)
{
	return trash != NULL;
}

bool view_trim(void)
{
	struct layer *l = trash;

	if (l) {
		size_t left = l->bytes.n - l->unmapped;
		size_t n = left < TRIM_BYTES ? left : TRIM_BYTES;

		munmap((void *)(uintptr_t)(l->bytes.p + l->unmapped), n);
		l->unmapped += n;
		if (l->unmapped == l->bytes.n) {
			trash = l->next;
			free(l);
		}
	}
	return trash != NULL;
}

static void layer_unref(struct layer *l)
{
	if (l == NULL || --l->refs > 0)
		return;
	if (l->bytes.n <= TRIM_BYTES) {
		memfd_unmap(&l->bytes);
		free(l);
		return;
	}
	l->next = trash;
	trash = l;
}

static int view_new(struct layer *base, struct layer *over, struct view **ret)
{
	struct view *v = calloc(1, sizeof *v);

	if (v == NULL) {
		layer_unref(over);
		layer_unref(base);
		return -ENOMEM;
	}
	v->magic = VIEW_LIVE;
	v->refs = 1;
	v->base = base;
	v->over = over;
	v->services = layer_head(base)->services;
	v->namespaces = layer_head(base)->namespaces;
	*ret = v;
	return 0;
}

int view_open_base(struct fd *fd, uint64_t rev, struct view **ret)
{
	struct layer *l;
	int r;

	while (view_trim()) /* at most two bases are mapped */
		;
	r = layer_open(fd, rev, LAYER_BASE, &l);
	return r < 0 ? r : view_new(l, NULL, ret);
}

/* What both layers hold together: an overlay's unit replaces or adds, a tombstone takes away. */
static void view_count(struct view *v)
{
	const struct view_head *h = layer_head(v->over);
	const struct view_dir *d = (const struct view_dir *)(v->over->bytes.p + h->dir);
	struct slice u;

	v->services += h->services;
	v->namespaces += h->namespaces;
	for (uint32_t i = 0; i < h->n_dir; i++) {
		if (!layer_unit(v->base, d[i].id, &u) || u.n < sizeof(struct unit_head))
			continue;
		if (((const struct unit_head *)u.p)->kind == UNIT_SERVICE)
			v->services--;
		else
			v->namespaces--;
	}
}

int view_open_overlay(const struct view *on, struct fd *fd, uint64_t rev, struct view **ret)
{
	struct layer *l;
	int r;

	must(on->magic == VIEW_LIVE);
	if (on->base->check.result != 1) {
		fd_close(fd);
		return -EBUSY;
	}
	r = layer_open(fd, rev, LAYER_OVERLAY, &l);
	if (r < 0)
		return r;
	if (layer_head(l)->base_rev != on->base->rev ||
	    memcmp(layer_head(l)->key, layer_head(on->base)->key, sizeof layer_head(l)->key) != 0) {
		snprintf(problem, sizeof problem, "lies on another base");
		layer_unref(l);
		return -ESTALE;
	}
	if (check_items(&l->check, l->bytes, UINT32_MAX) != 1) {
		say_problem(&l->check);
		layer_unref(l);
		return -EBADMSG;
	}
	on->base->refs++;
	r = view_new(on->base, l, ret);
	if (r == 0)
		view_count(*ret);
	return r;
}

int view_check_step(struct view *v, int64_t budget_us)
{
	struct check *c = &v->base->check;
	struct mono start = clock_tick();

	must(v->magic == VIEW_LIVE);
	while (c->result == 0) {
		check_items(c, v->base->bytes, CHECK_ITEMS);
		if (c->result == 0 && mono_diff_us(clock_tick(), start) >= budget_us)
			break;
	}
	if (c->result < 0)
		say_problem(c);
	return c->result;
}

const char *view_problem(const struct view *v)
{
	return v && v->base->check.result < 0 ? say_problem(&v->base->check) : problem;
}

uint64_t view_rev(const struct view *v)
{
	return v->over ? v->over->rev : v->base->rev;
}

struct slice view_domain(const struct view *v)
{
	const struct view_head *h = layer_head(v->base);

	return slice_of(h->domain, h->domain_n);
}

uint64_t view_base_rev(const struct view *v)
{
	return v->base->rev;
}

void view_ref(const struct view *cv)
{
	struct view *v = (struct view *)(uintptr_t)cv;

	must(v->magic == VIEW_LIVE && v->refs > 0);
	v->refs++;
}

void view_unref(const struct view *cv)
{
	struct view *v = (struct view *)(uintptr_t)cv;

	if (v == NULL)
		return;
	must(v->magic == VIEW_LIVE && v->refs > 0);
	if (--v->refs > 0)
		return;
	layer_unref(v->over);
	layer_unref(v->base);
	v->magic = 0;
	free(v->order);
	free(v);
}

/* ---- by id and by name ---- */

uint32_t index_hash_name(const uint8_t key[16], enum unit_kind kind, struct slice ns,
			 struct slice name)
{
	uint8_t b[KEY_ROOM];
	size_t n = 0;

	if (ns.n + name.n + 2 > sizeof b)
		return 0;
	b[n++] = (uint8_t)kind;
	if (ns.n)
		memcpy(b + n, ns.p, ns.n);
	n += ns.n;
	b[n++] = '/';
	if (name.n)
		memcpy(b + n, name.p, name.n);
	n += name.n;
	return (uint32_t)siphash(key, slice_of(b, n));
}

static uint32_t find_name_in(const struct layer *l, enum unit_kind kind, struct slice ns,
			     struct slice name, struct slice *ret_unit)
{
	const struct view_head *h = layer_head(l);
	const struct view_slot *s = (const struct view_slot *)(l->bytes.p + h->names);
	uint32_t hash = index_hash_name(h->key, kind, ns, name), mask = h->n_names - 1;

	for (uint32_t i = hash & mask; s[i].id != 0; i = (i + 1) & mask) {
		const struct unit_head *u;

		if (s[i].hash != hash || !layer_unit(l, s[i].id, ret_unit) ||
		    ret_unit->n < sizeof *u)
			continue;
		u = (const struct unit_head *)ret_unit->p;
		if (u->kind == (uint32_t)kind && slice_eq(unit_text(*ret_unit, u->name), name) &&
		    slice_eq(unit_text(*ret_unit, u->ns), ns))
			return s[i].id;
	}
	return 0;
}

bool view_find_name(const struct view *v, enum unit_kind kind, struct slice ns, struct slice name,
		    uint32_t *ret_id, struct slice *ret_unit)
{
	struct slice found;
	uint32_t id = v->over ? find_name_in(v->over, kind, ns, name, &found) : 0;

	if (id == 0)
		id = find_name_in(v->base, kind, ns, name, &found);
	/* The base may know a unit that the overlay has taken away or replaced. */
	if (id == 0 || !view_unit(v, id, kind, ret_unit))
		return false;
	*ret_id = id;
	return true;
}

bool view_service(const struct view *v, uint32_t id, struct vservice *ret)
{
	struct slice u;

	if (!view_unit(v, id, UNIT_SERVICE, &u))
		return false;
	*ret = (struct vservice){ .view = v, .unit = u.p, .bytes = (uint32_t)u.n, .id = id };
	return true;
}

/* The first entry of this layer with an id above that; UINT32_MAX: there is none. */
static uint32_t id_after(const struct layer *l, uint32_t id)
{
	const struct view_head *h = layer_head(l);
	const struct view_dir *d = (const struct view_dir *)(l->bytes.p + h->dir);
	uint32_t lo = 0, hi = h->n_dir;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d[mid].id <= id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < h->n_dir ? d[lo].id : UINT32_MAX;
}

bool view_service_after(const struct view *v, uint32_t id, struct vservice *ret)
{
	do {
		uint32_t base = id_after(v->base, id);

		id = v->over ? min_of(base, id_after(v->over, id)) : base;
		if (id == UINT32_MAX)
			return false;
	} while (!view_service(v, id, ret));
	return true;
}

bool view_service_by_name(const struct view *v, struct slice ns, struct slice name,
			  struct vservice *ret)
{
	struct slice u;
	uint32_t id;

	if (!view_find_name(v, UNIT_SERVICE, ns, name, &id, &u))
		return false;
	*ret = (struct vservice){ .view = v, .unit = u.p, .bytes = (uint32_t)u.n, .id = id };
	return true;
}

struct slice vservice_name(const struct vservice *s)
{
	return unit_text(vservice_unit(s), vservice_svc(s)->head.name);
}

struct slice vservice_ns(const struct vservice *s)
{
	return unit_text(vservice_unit(s), vservice_svc(s)->head.ns);
}

struct slot_gen vservice_slot(const struct vservice *s)
{
	return (struct slot_gen){ vservice_svc(s)->slot, vservice_svc(s)->gen };
}

bool vservice_lacks_endpoints(const struct vservice *s)
{
	return vservice_svc(s)->lacks_endpoints;
}

bool vservice_vip(const struct vservice *s, unsigned i, struct addr *ret)
{
	if (i >= 2 || vservice_svc(s)->vip[i].family == 0)
		return false;
	*ret = vservice_svc(s)->vip[i];
	return true;
}

/* ---- namespaces ---- */

static void namespace_of(struct slice u, struct vnamespace *ret)
{
	const struct unit_nspace *n = (const struct unit_nspace *)u.p;
	struct slice tenant = unit_text(u, n->tenant), name = unit_text(u, n->head.name);

	*ret = (struct vnamespace){
		.name = name,
		.tenant = tenant.n ? tenant : name,
		.tenant_slot = { n->slot, n->gen },
		.weight = n->weight,
		.memory_bytes = n->memory_bytes,
		.connections = n->connections,
		.requests = n->requests,
		.modes = n->modes,
	};
}

void view_namespace(const struct view *v, struct slice ns, struct vnamespace *ret)
{
	struct slice u;
	uint32_t id;

	if (view_find_name(v, UNIT_NAMESPACE, (struct slice){ 0 }, ns, &id, &u))
		namespace_of(u, ret);
	else
		*ret = (struct vnamespace){ .name = ns, .tenant = ns, .weight = 1 };
}

static bool placed_at(struct slice u, uint32_t i, struct slice *ret_account, struct slice *ret_node)
{
	const struct unit_nspace *n = (const struct unit_nspace *)u.p;
	const struct unit_placed *p = unit_item(u, n->placed, n->n_placed, sizeof *p, i);

	if (p == NULL)
		return false;
	*ret_account = unit_text(u, p->account);
	*ret_node = unit_text(u, p->node);
	return true;
}

bool view_placed_nth(const struct view *v, struct slice ns, uint32_t i, struct slice *ret_account,
		     struct slice *ret_node)
{
	struct slice u;
	uint32_t id;

	return view_find_name(v, UNIT_NAMESPACE, (struct slice){ 0 }, ns, &id, &u) &&
	       placed_at(u, i, ret_account, ret_node);
}

bool view_places(const struct view *v, struct slice ns, struct slice account, struct slice node)
{
	struct slice u, a, n;
	uint32_t id, lo = 0, hi;

	if (!view_find_name(v, UNIT_NAMESPACE, (struct slice){ 0 }, ns, &id, &u))
		return false;
	hi = ((const struct unit_nspace *)u.p)->n_placed;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c;

		if (!placed_at(u, mid, &a, &n))
			return false;
		c = slice_cmp(account, a);
		if (c == 0)
			c = slice_cmp(node, n);
		if (c == 0)
			return true;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

/* ---- all of it ---- */

struct order_item {
	uint32_t id, kind;
	struct slice ns, name;
};

static int order_cmp(const void *a, const void *b)
{
	const struct order_item *x = a, *y = b;
	int c;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	c = slice_cmp(x->ns, y->ns);
	if (c == 0)
		c = slice_cmp(x->name, y->name);
	return c ? c : (x->id > y->id) - (x->id < y->id);
}

static uint32_t order_collect(const struct layer *l, const struct layer *hidden_by,
			      struct order_item *o, uint32_t n, uint32_t room)
{
	const struct view_head *h = layer_head(l);
	const struct view_dir *d = (const struct view_dir *)(l->bytes.p + h->dir);

	for (uint32_t i = 0; i < h->n_dir && n < room; i++) {
		const struct unit_head *u;
		struct slice s, newer;

		if (!layer_unit(l, d[i].id, &s) || s.n < sizeof *u ||
		    (hidden_by && layer_unit(hidden_by, d[i].id, &newer)))
			continue;
		u = (const struct unit_head *)s.p;
		o[n++] = (struct order_item){ d[i].id, u->kind, unit_text(s, u->ns),
					      unit_text(s, u->name) };
	}
	return n;
}

/* Sorts once per view, for those who list it (admind, dumps); a worker never comes here. */
static bool view_order(const struct view *cv)
{
	struct view *v = (struct view *)(uintptr_t)cv;
	uint32_t room = v->services + v->namespaces, n = 0;
	struct order_item *o;
	uint32_t *order;

	if (v->order)
		return true;
	o = calloc(room + 1, sizeof *o);
	order = calloc(room + 1, sizeof *order);
	if (o == NULL || order == NULL) {
		free(o);
		free(order);
		return false;
	}
	if (v->over)
		n = order_collect(v->over, NULL, o, n, room);
	n = order_collect(v->base, v->over, o, n, room);
	qsort(o, n, sizeof *o, order_cmp);
	for (uint32_t i = 0; i < n; i++)
		order[i] = o[i].id;
	free(o);
	v->order = order;
	v->n_order = n;
	return true;
}

uint32_t view_service_count(const struct view *v)
{
	return v->services;
}

bool view_service_nth(const struct view *v, uint32_t n, struct vservice *ret)
{
	return n < v->services && view_order(v) && n < v->n_order &&
	       view_service(v, v->order[n], ret);
}

uint32_t view_namespace_count(const struct view *v)
{
	return v->namespaces;
}

bool view_namespace_nth(const struct view *v, uint32_t n, struct vnamespace *ret)
{
	struct slice u;

	if (n >= v->namespaces || !view_order(v) || v->services + n >= v->n_order ||
	    !view_unit(v, v->order[v->services + n], UNIT_NAMESPACE, &u))
		return false;
	namespace_of(u, ret);
	return true;
}
