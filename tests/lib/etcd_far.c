/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd_far.h. */
#include "tests/lib/etcd_far.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/sync/etcd.pb-c.h"

#define GRPC_RESOURCE_EXHAUSTED_CODE 8
#define GRPC_OUT_OF_RANGE_CODE	   11
#define GRPC_UNAUTHENTICATED_CODE 16

static struct etcd_far *far_of(struct far_call *c)
{
	return container_of(c->far, struct etcd_far, far);
}

static Etcd__Header header(const struct etcd_far *f)
{
	Etcd__Header h = ETCD__HEADER__INIT;

	h.cluster_id = f->cluster;
	h.member_id = 7;
	h.revision = f->revision;
	return h;
}

static void say(struct far_call *c, const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *p = malloc(n + 1);

	must(p != NULL);
	protobuf_c_message_pack(m, p);
	far_send(c, far_of(c)->lie == LIE_GARBAGE ? SLICE("\xff\xff\xff") : slice_of(p, n));
	free(p);
}

static void answer(struct far_call *c, const ProtobufCMessage *m)
{
	say(c, m);
	if (far_of(c)->lie == LIE_TWICE)
		say(c, m);
	far_end(c, 0, "");
}

static ProtobufCBinaryData data(const char *p, size_t n)
{
	return (ProtobufCBinaryData){ n, (uint8_t *)(uintptr_t)p };
}

static void text(const ProtobufCBinaryData *d, char *out, size_t room)
{
	must(d->len < room);
	if (d->len)
		memcpy(out, d->data, d->len);
	out[d->len] = 0;
}

static bool in_range(const char *key, const char *from, const char *end)
{
	return end[0] ? strcmp(key, from) >= 0 && strcmp(key, end) < 0 : strcmp(key, from) == 0;
}

static Etcd__KeyValue kv_of(const struct etcd_far_event *e)
{
	Etcd__KeyValue kv = ETCD__KEY_VALUE__INIT;

	kv.key = data(e->key, strlen(e->key));
	kv.value = data(e->value, e->bytes);
	kv.mod_revision = e->revision;
	kv.create_revision = e->is_delete ? 0 : e->created;
	return kv;
}

/* The last thing that happened to a key, until a revision. */
static const struct etcd_far_event *last_of(const struct etcd_far *f, const char *key, int64_t revision)
{
	const struct etcd_far_event *found = NULL;

	for (size_t i = 0; i < f->events; i++)
		if (f->event[i].revision <= revision && strcmp(f->event[i].key, key) == 0)
			found = &f->event[i];
	return found;
}

static int by_key(const void *a, const void *b)
{
	const struct etcd_far_event *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

static void range(struct far_call *c, const Etcd__RangeRequest *q)
{
	struct etcd_far *f = far_of(c);
	int64_t at = q->revision ? q->revision : f->revision;
	const struct etcd_far_event **list = calloc(f->events + 1, sizeof *list);
	Etcd__RangeResponse r = ETCD__RANGE_RESPONSE__INIT;
	Etcd__Header h = header(f);
	char from[512], end[512];
	size_t n = 0, most;
	bool behind;

	must(list != NULL);
	f->ranges++;
	text(&q->key, from, sizeof from);
	behind = q->key.len && q->key.data[q->key.len - 1] == 0;	/* a page behind a key */
	text(&q->range_end, end, sizeof end);
	if (at > f->revision || at < f->compacted) {
		far_refuse(c, "200", GRPC_OUT_OF_RANGE_CODE,
			   at > f->revision ? "etcdserver: mvcc: required revision is a future revision"
					    : "etcdserver: mvcc: required revision has been compacted");
		free(list);
		return;
	}
	for (size_t i = 0; i < f->events; i++) {
		const struct etcd_far_event *e = &f->event[i];

		if (in_range(e->key, from, end) && !(behind && strcmp(e->key, from) == 0) && last_of(f, e->key, at) == e && !e->is_delete)
			list[n++] = e;
	}
	qsort(list, n, sizeof *list, by_key);
	most = q->limit ? (size_t)q->limit : n;
	if (f->page_max)
		most = min_of(most, f->page_max);
	r.header = &h;
	r.count = (int64_t)n;
	r.n_kvs = min_of(n, most);
	r.more = n > r.n_kvs;
	r.kvs = calloc(r.n_kvs + 1, sizeof *r.kvs);
	must(r.kvs != NULL);
	for (size_t i = 0; i < r.n_kvs; i++) {
		r.kvs[i] = malloc(sizeof *r.kvs[i]);
		must(r.kvs[i] != NULL);
		*r.kvs[i] = kv_of(list[i]);
		if (q->keys_only)
			r.kvs[i]->value.len = 0;
	}
	if (f->bytes_max && protobuf_c_message_get_packed_size(&r.base) > f->bytes_max)
		far_refuse(c, "200", GRPC_RESOURCE_EXHAUSTED_CODE, "grpc: trying to send message larger than max");
	else
		answer(c, &r.base);
	for (size_t i = 0; i < r.n_kvs; i++)
		free(r.kvs[i]);
	free(r.kvs);
	free(list);
}

/* ---- watches ---- */

static void tell(struct etcd_far *f, unsigned w)
{
	Etcd__Event *event = calloc(f->events + 1, sizeof *event);
	Etcd__Event **list = calloc(f->events + 1, sizeof *list);
	Etcd__KeyValue *kv = calloc(f->events + 1, sizeof *kv);
	size_t n = 0;
	Etcd__WatchResponse r = ETCD__WATCH_RESPONSE__INIT;
	Etcd__Header h = header(f);

	must(event && list && kv);
	for (size_t i = 0; i < f->events; i++) {
		const struct etcd_far_event *e = &f->event[i];

		if (e->revision < f->watch[w].next || !in_range(e->key, f->watch[w].key, f->watch[w].end))
			continue;
		etcd__event__init(&event[n]);
		kv[n] = kv_of(e);
		event[n].kv = &kv[n];
		event[n].type = e->is_delete ? ETCD__EVENT__TYPE__DELETE : ETCD__EVENT__TYPE__PUT;
		list[n] = &event[n];
		n++;
	}
	f->watch[w].next = f->revision + 1;
	r.header = &h;
	r.watch_id = 1;
	r.events = list;
	r.n_events = n;
	if (n && f->fragments) {
		r.n_events = 1;
		for (size_t i = 0; i < n; i++) {
			r.events = list + i;
			r.fragment = i + 1 < n;
			say(f->watch[w].call, &r.base);
		}
	} else if (n) {
		say(f->watch[w].call, &r.base);
	}
	free(event);
	free(list);
	free(kv);
}

static void tell_all(struct etcd_far *f)
{
	for (unsigned i = 0; i < ETCD_FAR_WATCHES; i++)
		if (f->watch[i].call && f->lie != LIE_SILENT)
			tell(f, i);
}

static void watch(struct far_call *c, const Etcd__WatchRequest *q)
{
	struct etcd_far *f = far_of(c);
	Etcd__WatchResponse r = ETCD__WATCH_RESPONSE__INIT;
	Etcd__Header h = header(f);
	unsigned w = 0;

	r.header = &h;
	if (q->request_case == ETCD__WATCH_REQUEST__REQUEST_PROGRESS) {
		r.watch_id = -1;
		say(c, &r.base);
		return;
	}
	while (f->watch[w].call)
		must(++w < ETCD_FAR_WATCHES);
	f->watches++;
	r.watch_id = 1;
	r.created = true;
	say(c, &r.base);
	r.created = false;
	if (q->create->start_revision && q->create->start_revision <= f->compacted) {
		r.canceled = true;
		r.compact_revision = f->compacted;
		say(c, &r.base);
		return;
	}
	f->watch[w].call = c;
	text(&q->create->key, f->watch[w].key, sizeof f->watch[w].key);
	text(&q->create->range_end, f->watch[w].end, sizeof f->watch[w].end);
	f->watch[w].next = q->create->start_revision ? q->create->start_revision : f->revision + 1;
	tell(f, w);
}

void etcd_far_progress(struct etcd_far *f)
{
	Etcd__WatchResponse r = ETCD__WATCH_RESPONSE__INIT;
	Etcd__Header h = header(f);

	r.header = &h;
	r.watch_id = 1;
	for (unsigned i = 0; i < ETCD_FAR_WATCHES; i++)
		if (f->watch[i].call)
			say(f->watch[i].call, &r.base);
}

/* ---- calls ---- */

static void token(struct far_call *c)
{
	Etcd__AuthenticateResponse r = ETCD__AUTHENTICATE_RESPONSE__INIT;
	Etcd__Header h = header(far_of(c));

	far_of(c)->proofs++;
	r.header = &h;
	r.token = (char *)(uintptr_t) "abc.1";
	answer(c, &r.base);
}

static void got(struct far_call *c, struct slice m)
{
	struct etcd_far *f = far_of(c);
	const char *name = strrchr(c->method, '/');

	if (f->lie == LIE_SILENT && f->ranges >= f->lie_at)
		return;
	if (f->lie == LIE_REFUSE && f->ranges >= f->lie_at) {
		far_refuse(c, "200", f->status, f->words);
		return;
	}
	if (strcmp(name, "/Authenticate") == 0) {
		token(c);
		return;
	}
	if (f->asks_for_token && strstr(c->lines, "token: abc.1\n") == NULL) {
		far_refuse(c, "200", GRPC_UNAUTHENTICATED_CODE, "etcdserver: invalid auth token");
		return;
	}
	if (strcmp(name, "/Range") == 0) {
		Etcd__RangeRequest *q = etcd__range_request__unpack(NULL, m.n, m.p);

		must(q != NULL);
		range(c, q);
		etcd__range_request__free_unpacked(q, NULL);
	} else if (strcmp(name, "/Watch") == 0) {
		Etcd__WatchRequest *q = etcd__watch_request__unpack(NULL, m.n, m.p);

		must(q != NULL);
		watch(c, q);
		etcd__watch_request__free_unpacked(q, NULL);
	} else {
		far_refuse(c, "200", 12, "not of this etcd");
	}
}

static void gone(struct far_call *c)
{
	struct etcd_far *f = far_of(c);

	for (unsigned i = 0; i < ETCD_FAR_WATCHES; i++)
		if (f->watch[i].call == c)
			f->watch[i].call = NULL;
}

/* ---- what it keeps ---- */

static void add(struct etcd_far *f, const char *key, struct slice value, bool is_delete)
{
	const struct etcd_far_event *was = last_of(f, key, INT64_MAX);
	int64_t created = was && !was->is_delete ? was->created : 0;
	struct etcd_far_event *e;
	bool held = f->revision < 0;

	if (held)
		f->revision = -f->revision;
	else
		f->revision++;
	e = realloc(f->event, (f->events + 1) * sizeof *e);
	must(e != NULL);
	f->event = e;
	e += f->events++;
	*e = (struct etcd_far_event){ .revision = f->revision, .is_delete = is_delete, .key = strdup(key),
				      .value = malloc(value.n + 1), .bytes = value.n };
	must(e->key && e->value);
	e->created = created ? created : f->revision;
	if (value.n)
		memcpy(e->value, value.p, value.n);
	if (held)
		f->revision = -f->revision;
	else
		tell_all(f);
}

void etcd_far_put(struct etcd_far *f, const char *key, struct slice value)
{
	add(f, key, value, false);
}

void etcd_far_delete(struct etcd_far *f, const char *key)
{
	add(f, key, SLICE(""), true);
}

void etcd_far_hold(struct etcd_far *f, bool hold)
{
	f->revision = hold ? -(f->revision + 1) : -f->revision;
	if (!hold)
		tell_all(f);
}

void etcd_far_forget(struct etcd_far *f, int64_t back_to)
{
	while (f->events && f->event[f->events - 1].revision > back_to) {
		f->events--;
		free(f->event[f->events].key);
		free(f->event[f->events].value);
	}
	f->revision = back_to;
}

void etcd_far_open(struct etcd_far *f, struct loop *l)
{
	memset(f, 0, sizeof *f);
	far_open(&f->far, l);
	f->far.got = got;
	f->far.gone = gone;
	f->cluster = 0xc1;
	f->revision = 1;
}

void etcd_far_close(struct etcd_far *f)
{
	far_close(&f->far);
	etcd_far_forget(f, 0);
	free(f->event);
}
