/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See registry_etcd.h. */
#include "store/sync/registry_etcd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/registry/key.h"
#include "store/resource/resource.h"
#include "store/sync/said.h"

#define PAGE	  200	/* keys at once; fewer when they are too large together */
#define PASS_MS	  100
#define TRIES	  4	/* of a write whose answer got lost */

struct etcd_registry {
	struct registry r;
	struct loop loop;
	struct grpc_stock stock;
	struct etcd *e;
	char root[KEY_MAX];
	char why[GRPC_WORDS + 80];	/* it is not up */
	bool is_refused;		/* whoever we are, we are not let in */
	int64_t wait_ms;
};

static struct etcd_registry *of(struct registry *r)
{
	return container_of(r, struct etcd_registry, r);
}

/* ---- waiting ---- */

static void on_up(void *arg)
{
	struct etcd_registry *r = arg;

	r->is_refused = false;
}

static void on_down(void *arg, const char *why)
{
	struct etcd_registry *r = arg;

	snprintf(r->why, sizeof r->why, "%s", why);
	r->is_refused = strstr(why, "authentication failed") != NULL;
}

static void pass(struct etcd_registry *r, struct mono until)
{
	int64_t ms = (min_of(loop_due(&r->loop).ns, until.ns) - clock_tick().ns) / NS_PER_MS;
	struct pollfd p = { loop_fd(&r->loop), POLLIN, 0 };

	(void)!poll(&p, 1, (int)min_of(max_of(ms + 1, (int64_t)0), (int64_t)PASS_MS));
	clock_tick();
	loop_once(&r->loop);
}

static bool await_up(struct etcd_registry *r, struct mono until)
{
	while (!etcd_is_up(r->e) && !r->is_refused && clock_tick().ns < until.ns)
		pass(r, until);
	return etcd_is_up(r->e);
}

/* ---- one call ---- */

/* An answer, as far as it is needed when the call is over. */
struct outcome {
	bool is_over, holds;
	int64_t revision;
	enum grpc_status status;
	char words[GRPC_WORDS];
	void (*take)(void *arg, const struct etcd_result *);	/* of the last op; NULL: nobody wants it */
	void *arg;
};

static void on_done(void *arg, const struct etcd_answer *a)
{
	struct outcome *o = arg;

	o->is_over = true;
	o->status = a->status;
	o->holds = a->holds;
	o->revision = a->head.revision;
	snprintf(o->words, sizeof o->words, "%s", a->words ? a->words : "");
	if (a->status == GRPC_OK && o->take && a->results)
		o->take(o->arg, &a->result[a->results - 1]);
}

static enum registry_error error_of(struct etcd_registry *r, const struct outcome *o)
{
	switch (o->status) {
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return registry_fail(&r->r, REGISTRY_DENIED, "%s", o->words);
	case GRPC_INVALID_ARGUMENT:
	case GRPC_OUT_OF_RANGE:
		return registry_fail(&r->r, REGISTRY_UNFIT, "%s", o->words);
	case GRPC_RESOURCE_EXHAUSTED:
	case GRPC_NOT_FOUND:
	case GRPC_ALREADY_EXISTS:
		return registry_fail(&r->r, REGISTRY_FAILED, "%s", o->words);
	default:
		return registry_fail(&r->r, REGISTRY_AWAY, "etcd: %s", o->words[0] ? o->words
								      : grpc_status_name(o->status));
	}
}

static enum registry_error not_up(struct etcd_registry *r)
{
	return registry_fail(&r->r, r->is_refused ? REGISTRY_DENIED : REGISTRY_AWAY, "etcd: %s",
			     r->why[0] ? r->why : "no member answers");
}

/* One of op and txn, once.  DONE: there is an answer, of whatever status. */
static enum registry_error call(struct etcd_registry *r, const struct etcd_op *op, const struct etcd_txn *txn,
				struct outcome *o)
{
	struct mono until = mono_after_ms(clock_tick(), r->wait_ms);
	struct etcd_call *c;

	o->is_over = false;
	if (!await_up(r, until))
		return not_up(r);
	c = op ? etcd_op(r->e, op, on_done, o) : etcd_txn(r->e, txn, on_done, o);
	if (c == NULL)
		return registry_fail(&r->r, REGISTRY_AWAY, "etcd: no call can be made");
	until = mono_after_ms(clock_tick(), max_of(r->wait_ms, (int64_t)ETCD_CALL_MS));
	while (!o->is_over && clock_tick().ns < until.ns)
		pass(r, until);
	if (o->is_over)
		return REGISTRY_DONE;
	etcd_call_cancel(&c);
	return registry_fail(&r->r, REGISTRY_AWAY, "etcd: no answer");
}

/* What asks again is as good as what asked. */
static enum registry_error read_op(struct etcd_registry *r, const struct etcd_op *op, struct outcome *o)
{
	enum registry_error e = REGISTRY_AWAY;

	for (int i = 0; i < TRIES && e == REGISTRY_AWAY; i++) {
		e = call(r, op, NULL, o);
		if (e == REGISTRY_DONE && o->status != GRPC_OK)
			e = error_of(r, o);
		else if (e != REGISTRY_DONE)
			break;		/* nobody was there all the time */
	}
	return e;
}

/* ---- values ---- */

static char *dup_text(struct slice s)
{
	return s.n ? strndup((const char *)s.p, s.n) : strdup("");
}

/* What the object says of itself must be what its key says. */
static bool agrees(const struct row *row, const struct registry_key *k, char *out, size_t room)
{
	char group[128];

	if (strcmp(row_kind_name(row->kind), k->kind) == 0 && strcmp(row->ns, k->ns) == 0 &&
	    strcmp(row->name, k->name) == 0 &&
	    strcmp(resource_group(row->kind, group, sizeof group), k->group) == 0)
		return true;
	snprintf(out, room, "the object is %s %s%s%s, which its key is not", row_kind_name(row->kind), row->ns,
		 row->ns[0] ? "/" : "", row->name);
	return false;
}

/* A value as it is; also one that is none. */
static int value_of(const struct registry_key *k, const struct etcd_kv *kv, struct registry_value *ret)
{
	struct refusal *refusal = NULL;
	struct row *row = NULL;
	char text[1024];
	int r;

	*ret = (struct registry_value){ .version = (uint64_t)kv->modified, .where = dup_text(kv->key) };
	r = ret->where ? resource_json(ret->where, 1, kv->value, &row, &refusal) : -ENOMEM;
	if (r == 0 && refusal)
		ret->refusal = strdup(refusal_text(refusal, text, sizeof text));
	else if (r == 0 && !agrees(row, k, text, sizeof text))
		ret->refusal = strdup(text);
	else if (r == 0)
		ret->json = strdup(row->json);
	if (r == 0 && !ret->json && !ret->refusal)
		r = -ENOMEM;
	row_free(&row);
	refusal_free(&refusal);
	if (r < 0)
		registry_value_fini(ret);
	return r;
}

/* The groups of keys that callers do not fill in. */
static struct registry_key with_group(const struct registry_key *k, char group[128])
{
	struct registry_key full = *k;
	enum row_kind kind;

	if (full.group[0] == 0 && resource_kind_of(k->kind, &kind))
		full.group = resource_group(kind, group, 128);
	return full;
}

static enum registry_error key_of(struct etcd_registry *r, const struct registry_key *k, char out[KEY_MAX])
{
	char group[128];
	struct registry_key full = with_group(k, group);

	return key_write(r->root, &full, out) < 0
		       ? registry_fail(&r->r, REGISTRY_UNFIT, "the key of %s is too long", k->name)
		       : REGISTRY_DONE;
}

/* ---- get and list ---- */

struct getting {
	const struct registry_key *key;
	struct registry_value *value;
	int error;
};

static void take_one(void *arg, const struct etcd_result *res)
{
	struct getting *g = arg;

	if (res->kvs)
		g->error = value_of(g->key, &res->kv[0], g->value);
}

static enum registry_error etcd_get(struct registry *reg, const struct registry_key *k,
				    struct registry_value *ret)
{
	struct etcd_registry *r = of(reg);
	char key[KEY_MAX], group[128];
	struct registry_key full = with_group(k, group);
	struct getting g = { .key = &full, .value = ret };
	struct outcome o = { .take = take_one, .arg = &g };
	enum registry_error e = key_of(r, k, key);

	if (e == REGISTRY_DONE)
		e = read_op(r, &(struct etcd_op){ .kind = ETCD_RANGE, .key = slice_str(key) }, &o);
	if (e == REGISTRY_DONE && g.error < 0)
		e = registry_fail(reg, REGISTRY_MEMORY, "out of memory");
	return e;
}

/* Nodes that say something, one after the other, each with its NUL. */
struct hosts {
	char *name;
	size_t n, room;
};

struct listing {
	struct etcd_registry *r;
	const char *kind;
	registry_each_fn *fn;
	void *arg;
	struct hosts *hosts;		/* their keys are wanted, instead */
	char next[KEY_MAX + 1];		/* the next page begins here */
	size_t n_next;
	bool more, stop;
	int error;
};

/* One key: told when it is an object's, of the kind that is wanted. */
static void take_key(struct listing *l, const struct etcd_kv *kv)
{
	char group[128], kind[128], ns[256], name[256];
	struct registry_key k = { group, kind, ns, name };
	struct key_parts p;
	struct registry_value v;
	const char *words;
	struct slice rest = slice_from(kv->key, strlen(l->r->root));

	if (key_read(rest, &p, &words) < 0 || (p.place != KEY_NS && p.place != KEY_GLOBAL) ||
	    p.group.n >= sizeof group || p.kind.n >= sizeof kind || p.ns.n >= sizeof ns ||
	    p.name.n >= sizeof name)
		return;
	snprintf(group, sizeof group, "%.*s", (int)p.group.n, (const char *)p.group.p);
	snprintf(kind, sizeof kind, "%.*s", (int)p.kind.n, (const char *)p.kind.p);
	snprintf(ns, sizeof ns, "%.*s", (int)p.ns.n, (const char *)p.ns.p);
	snprintf(name, sizeof name, "%.*s", (int)p.name.n, (const char *)p.name.p);
	if (l->kind && strcmp(l->kind, kind) != 0)
		return;
	l->error = value_of(&k, kv, &v);
	if (l->error == 0) {
		l->stop = !l->fn(l->arg, &k, &v);
		registry_value_fini(&v);
	}
}

static void take_host(struct listing *l, const struct etcd_kv *kv)
{
	struct slice rest = slice_from(kv->key, strlen(l->r->root));
	struct hosts *h = l->hosts;
	struct key_parts p;
	const char *words;

	if (key_read(rest, &p, &words) < 0 || p.place != KEY_NODE || !slice_eq(p.rest, SLICE(SAID_KEY)) ||
	    memchr(p.node.p, 0, p.node.n))
		return;
	if (h->n + p.node.n + 1 > h->room) {
		size_t room = max_of(h->room * 2, (size_t)4096);
		char *name = realloc(h->name, room);	/* a key is shorter than that */

		if (name == NULL) {
			l->error = -ENOMEM;
			return;
		}
		h->name = name;
		h->room = room;
	}
	memcpy(h->name + h->n, p.node.p, p.node.n);
	h->name[h->n + p.node.n] = 0;
	h->n += p.node.n + 1;
}

static void take_page(void *arg, const struct etcd_result *res)
{
	struct listing *l = arg;

	for (size_t i = 0; i < res->kvs && !l->stop && l->error == 0; i++)
		if (l->hosts)
			take_host(l, &res->kv[i]);
		else
			take_key(l, &res->kv[i]);
	l->more = res->more && res->kvs && !l->stop && l->error == 0;
	if (!l->more)
		return;
	/* Right behind the last: a key of ours or of somebody else's, who may have made it any length. */
	l->n_next = min_of(res->kv[res->kvs - 1].key.n, (size_t)KEY_MAX);
	memcpy(l->next, res->kv[res->kvs - 1].key.p, l->n_next);
	l->next[l->n_next++] = res->kv[res->kvs - 1].key.n > KEY_MAX ? '\xff' : 0;
}

/* All below a prefix, page by page. */
static enum registry_error list_below(struct listing *l, const char *prefix)
{
	uint8_t room[KEY_MAX];
	struct outcome o = { .take = take_page, .arg = l };
	struct etcd_op op = { .kind = ETCD_RANGE, .end = etcd_end(slice_str(prefix), room), .limit = PAGE,
			      .keys_only = l->hosts != NULL };
	enum registry_error e;

	l->n_next = strlen(prefix);
	memcpy(l->next, prefix, l->n_next);
	do {
		l->more = false;
		op.key = slice_of(l->next, l->n_next);
		e = read_op(l->r, &op, &o);
		if (e == REGISTRY_FAILED && o.status == GRPC_RESOURCE_EXHAUSTED && op.limit > 1) {
			op.limit = (op.limit + 3) / 4;	/* together they are more than a message */
			l->more = true;
			e = REGISTRY_DONE;
		}
	} while (e == REGISTRY_DONE && l->more);
	if (e == REGISTRY_DONE && l->error < 0)
		e = registry_fail(&l->r->r, REGISTRY_MEMORY, "out of memory");
	return e;
}

static enum registry_error etcd_list(struct registry *reg, const char *kind, const char *ns,
				     registry_each_fn *fn, void *arg)
{
	struct etcd_registry *r = of(reg);
	struct listing l = { .r = r, .kind = kind, .fn = fn, .arg = arg };
	enum registry_error e = REGISTRY_DONE;
	char prefix[KEY_MAX];
	enum row_kind k;
	bool known = kind && resource_kind_of(kind, &k);
	bool in_ns = !known || resource_is_namespaced(k), global = !ns && (!known || !in_ns);

	if (in_ns) {
		if (snprintf(prefix, sizeof prefix, "%sns/%s%s", r->root, ns ? ns : "", ns ? "/" : "") >=
		    (int)sizeof prefix)
			return registry_fail(reg, REGISTRY_UNFIT, "the namespace is too long");
		e = list_below(&l, prefix);
	}
	if (e == REGISTRY_DONE && global && !l.stop) {
		if (snprintf(prefix, sizeof prefix, "%sglobal/", r->root) >= (int)sizeof prefix)
			return registry_fail(reg, REGISTRY_UNFIT, "the prefix is too long");
		e = list_below(&l, prefix);
	}
	return e;
}

struct hearing {
	const char *node;
	registry_host_fn *fn;
	void *arg;
	bool more;
};

static void take_said(void *arg, const struct etcd_result *res)
{
	struct hearing *h = arg;

	if (res->kvs)
		h->more = h->fn(h->arg, h->node, res->kv[0].value);
}

static enum registry_error etcd_hosts(struct registry *reg, registry_host_fn *fn, void *arg)
{
	struct etcd_registry *r = of(reg);
	struct hosts hosts = { 0 };
	struct listing l = { .r = r, .hosts = &hosts };
	struct hearing h = { .fn = fn, .arg = arg, .more = true };
	struct outcome o = { .take = take_said, .arg = &h };
	char key[KEY_MAX];
	enum registry_error e;

	if (snprintf(key, sizeof key, "%snode/", r->root) >= (int)sizeof key)
		return registry_fail(reg, REGISTRY_UNFIT, "the prefix is too long");
	e = list_below(&l, key);
	for (size_t at = 0; e == REGISTRY_DONE && h.more && at < hosts.n; at += strlen(hosts.name + at) + 1) {
		h.node = hosts.name + at;
		if (snprintf(key, sizeof key, "%snode/%s/" SAID_KEY, r->root, h.node) >= (int)sizeof key)
			continue;
		e = read_op(r, &(struct etcd_op){ .kind = ETCD_RANGE, .key = slice_str(key) }, &o);
	}
	free(hosts.name);
	return e;
}

/* ---- writing ---- */

/* What is there when the conditions do not hold. */
struct there {
	bool any;
	int64_t modified;
	struct slice wanted;	/* is it this? */
	bool is_wanted;
};

static void take_there(void *arg, const struct etcd_result *res)
{
	struct there *t = arg;

	t->any = res->kvs > 0;
	t->modified = res->kvs ? res->kv[0].modified : 0;
	t->is_wanted = res->kvs && slice_eq(res->kv[0].value, t->wanted);
}

/* The op, if the condition holds.  unsure: an answer got lost on the way, so it may have been done. */
static enum registry_error write_if(struct etcd_registry *r, const struct etcd_if *cond,
				    const struct etcd_op *op, struct there *there, bool *ret_holds,
				    bool *ret_unsure)
{
	const struct etcd_op look = { .kind = ETCD_RANGE, .key = op->key };
	const struct etcd_txn txn = { cond, op, &look, 1, 1, 1 };
	enum registry_error e = REGISTRY_AWAY;
	struct outcome o;

	*ret_unsure = false;
	for (int i = 0; i < TRIES; i++) {
		*there = (struct there){ .wanted = op->value };
		o = (struct outcome){ .take = take_there, .arg = there };
		e = call(r, NULL, &txn, &o);
		if (e != REGISTRY_DONE)
			return e;
		*ret_holds = o.holds;
		if (o.status == GRPC_OK) {
			r->r.written = (uint64_t)max_of(o.revision, (int64_t)0);
			return REGISTRY_DONE;
		}
		e = error_of(r, &o);
		if (e != REGISTRY_AWAY)
			return e;
		*ret_unsure = true;	/* and once more: the condition keeps it from being done twice */
	}
	return e;
}

static struct etcd_if as_seen(struct slice key, uint64_t version)
{
	return version ? (struct etcd_if){ ETCD_MODIFIED, key, (int64_t)version, { 0 } }
		       : (struct etcd_if){ ETCD_CREATED, key, 0, { 0 } };
}

static enum registry_error conflict(struct etcd_registry *r, const struct there *t, uint64_t version)
{
	return registry_fail(&r->r, REGISTRY_CONFLICT, "it was %s meanwhile",
			     !t->any ? "removed" : version == 0 ? "written" : "changed");
}

static enum registry_error etcd_put_if(struct registry *reg, const struct registry_key *k,
				       struct slice json, uint64_t version, char **ret_where)
{
	struct etcd_registry *r = of(reg);
	char key[KEY_MAX];
	enum registry_error e = key_of(r, k, key);
	struct etcd_op put = { .kind = ETCD_PUT, .key = slice_str(key), .value = json };
	struct etcd_if cond = as_seen(put.key, version);
	struct there there;
	bool holds, unsure;

	if (e == REGISTRY_DONE)
		e = write_if(r, &cond, &put, &there, &holds, &unsure);
	/* What we wrote before the answer got lost. */
	if (e == REGISTRY_DONE && !holds && !(unsure && there.is_wanted))
		e = conflict(r, &there, version);
	if (e == REGISTRY_DONE && ret_where)
		*ret_where = strdup(key);
	return e;
}

static enum registry_error etcd_delete_if(struct registry *reg, const struct registry_key *k,
					  uint64_t version)
{
	struct etcd_registry *r = of(reg);
	char key[KEY_MAX];
	enum registry_error e = key_of(r, k, key);
	struct etcd_op op = { .kind = ETCD_DELETE, .key = slice_str(key) };
	struct etcd_if cond = as_seen(op.key, version);
	struct there there;
	bool holds, unsure;

	if (e == REGISTRY_DONE)
		e = write_if(r, &cond, &op, &there, &holds, &unsure);
	if (e == REGISTRY_DONE && !holds && !(unsure && !there.any))
		e = conflict(r, &there, version);
	return e;
}

/* ---- addresses ---- */

static enum registry_error vip_key(struct etcd_registry *r, const char *ip, char out[KEY_MAX])
{
	return snprintf(out, KEY_MAX, "%svip/%s", r->root, ip) >= (int)KEY_MAX
		       ? registry_fail(&r->r, REGISTRY_UNFIT, "the key of %s is too long", ip)
		       : REGISTRY_DONE;
}

static enum registry_error etcd_vip_claim(struct registry *reg, const char *ip, const char *owner)
{
	struct etcd_registry *r = of(reg);
	char key[KEY_MAX];
	enum registry_error e = vip_key(r, ip, key);
	struct etcd_op put = { .kind = ETCD_PUT, .key = slice_str(key), .value = slice_str(owner) };
	struct etcd_if cond = as_seen(put.key, 0);
	struct there there;
	bool holds, unsure;

	if (e == REGISTRY_DONE)
		e = write_if(r, &cond, &put, &there, &holds, &unsure);
	if (e == REGISTRY_DONE && !holds && !there.is_wanted)
		e = registry_fail(reg, REGISTRY_TAKEN, "%s is another's", ip);
	if (e == REGISTRY_DENIED)
		return registry_fail(reg, e, "no address can be claimed: you may not write vip/; a Service that "
				     "says its clusterIP needs none");
	return e;
}

static enum registry_error etcd_vip_release(struct registry *reg, const char *ip, const char *owner)
{
	struct etcd_registry *r = of(reg);
	char key[KEY_MAX];
	enum registry_error e = vip_key(r, ip, key);
	struct etcd_op op = { .kind = ETCD_DELETE, .key = slice_str(key) };
	struct etcd_if cond = { .what = ETCD_VALUE, .key = op.key, .value = slice_str(owner) };
	struct there there;
	bool holds, unsure;

	if (e == REGISTRY_DONE)
		e = write_if(r, &cond, &op, &there, &holds, &unsure);
	return e;
}

/* ---- life ---- */

static void etcd_close(struct registry *reg)
{
	struct etcd_registry *r = of(reg);

	etcd_free(&r->e);
	grpc_stock_fini(&r->stock);
	loop_fini(&r->loop);
	free(r);
}

static const struct registry_ops ops = {
	.kind = "etcd",
	.list = etcd_list,
	.get = etcd_get,
	.put_if = etcd_put_if,
	.delete_if = etcd_delete_if,
	.vip_claim = etcd_vip_claim,
	.vip_release = etcd_vip_release,
	.hosts = etcd_hosts,
	.close = etcd_close,
};

static int connect_to(struct etcd_registry *r, const struct registry_etcd_terms *t, char problem[512])
{
	const struct etcd_terms terms = {
		.endpoint = t->endpoint, .endpoints = t->endpoints, .ca = t->ca, .cert = t->cert, .key = t->key,
		.name = t->name, .user = t->user, .password = t->password,
		.up = on_up, .down = on_down, .arg = r,
	};
	char why[GRPC_WORDS] = "out of memory";
	int e = key_root(t->prefix, t->cluster, r->root);

	if (e < 0)
		snprintf(why, sizeof why, "the prefix is too long");
	else
		e = etcd_new(&r->loop, &r->stock, &terms, &r->e, why);
	if (e < 0)
		snprintf(problem, 512, "etcd: %s", why);
	return min_of(e, 0);
}

enum registry_error registry_etcd_open(const struct registry_etcd_terms *t, struct registry **ret,
				       char problem[512])
{
	struct etcd_registry *r = calloc(1, sizeof *r);
	enum registry_error e = REGISTRY_MEMORY;

	*ret = NULL;
	snprintf(problem, 512, "out of memory");
	if (r == NULL)
		return e;
	r->r.ops = &ops;
	r->wait_ms = t->wait_ms;
	if (loop_init(&r->loop) < 0) {
		free(r);
		return e;
	}
	if (grpc_stock_init(&r->stock) < 0) {
		loop_fini(&r->loop);
		free(r);
		return e;
	}
	if (connect_to(r, t, problem) < 0) {
		e = REGISTRY_UNFIT;
	} else if (await_up(r, mono_after_ms(clock_tick(), t->wait_ms))) {
		*ret = &r->r;
		return REGISTRY_DONE;
	} else {
		e = not_up(r);
		snprintf(problem, 512, "%.511s", r->r.problem);
	}
	etcd_close(&r->r);
	return e;
}
