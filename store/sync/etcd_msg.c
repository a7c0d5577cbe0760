/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd_msg.h. */
#include "store/sync/etcd_msg.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "store/sync/etcd.pb-c.h"

#define BLOCK_BYTES 16384u
#define WATCH_ID    1		/* one of each stream */
#define NOBODYS_ID  (-1)	/* of an answer to a question of progress */

struct etcd_block {
	struct etcd_block *next;
	size_t n, room;
	_Alignas(max_align_t) uint8_t p[];
};

/* ---- memory ---- */

void *etcd_mem_take(struct etcd_mem *m, size_t n)
{
	struct etcd_block *b = m->first;
	void *p;

	if (n > ETCD_MEM_MAX) {
		m->is_short = true;
		return NULL;
	}
	n = (n + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
	if (b == NULL || b->room - b->n < n) {
		size_t room = max_of(n, (size_t)BLOCK_BYTES);

		b = m->used + room <= ETCD_MEM_MAX ? malloc(sizeof *b + room) : NULL;
		if (b == NULL) {
			m->is_short = true;
			return NULL;
		}
		*b = (struct etcd_block){ .next = m->first, .room = room };
		m->first = b;
		m->used += room;
	}
	p = b->p + b->n;
	b->n += n;
	return memset(p, 0, n);
}

void etcd_mem_fini(struct etcd_mem *m)
{
	while (m->first) {
		struct etcd_block *b = m->first;

		m->first = b->next;
		if (m->is_secret)
			explicit_bzero(b->p, b->n);
		free(b);
	}
	m->used = 0;
}

static void *take_cb(void *arg, size_t n)
{
	return etcd_mem_take(arg, n);
}

static void give_cb(void *arg, void *p)
{
	(void)arg;
	(void)p;
}

static ProtobufCAllocator allocator(struct etcd_mem *m)
{
	return (ProtobufCAllocator){ take_cb, give_cb, m };
}

/* ---- requests ---- */

static int pack(struct etcd_mem *m, const ProtobufCMessage *message, struct slice *ret)
{
	size_t n = protobuf_c_message_get_packed_size(message);
	uint8_t *p = etcd_mem_take(m, max_of(n, (size_t)1));

	if (p == NULL)
		return -ENOMEM;
	*ret = slice_of(p, protobuf_c_message_pack(message, p));
	return 0;
}

/* Borrowed: what is packed is not changed. */
static ProtobufCBinaryData bytes(struct slice s)
{
	return (ProtobufCBinaryData){ s.n, (uint8_t *)(uintptr_t)s.p };
}

static Etcd__RangeRequest range_of(const struct etcd_op *op)
{
	Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;

	r.key = bytes(op->key);
	r.range_end = bytes(op->end);
	r.limit = op->limit;
	r.revision = op->revision;
	r.keys_only = op->keys_only;
	return r;
}

static Etcd__PutRequest put_of(const struct etcd_op *op)
{
	Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;

	r.key = bytes(op->key);
	r.value = bytes(op->value);
	r.lease = op->lease;
	return r;
}

static Etcd__DeleteRangeRequest delete_of(const struct etcd_op *op)
{
	Etcd__DeleteRangeRequest r = ETCD__DELETE_RANGE_REQUEST__INIT;

	r.key = bytes(op->key);
	r.range_end = bytes(op->end);
	return r;
}

union one {
	Etcd__RangeRequest range;
	Etcd__PutRequest put;
	Etcd__DeleteRangeRequest delete;
};

static const ProtobufCMessage *request_of(const struct etcd_op *op, union one *room)
{
	switch (op->kind) {
	case ETCD_RANGE:
		room->range = range_of(op);
		return &room->range.base;
	case ETCD_PUT:
		room->put = put_of(op);
		return &room->put.base;
	case ETCD_DELETE:
		room->delete = delete_of(op);
		return &room->delete.base;
	}
	return NULL;
}

int etcd_msg_op(struct etcd_mem *m, const struct etcd_op *op, struct slice *ret)
{
	union one room;

	return pack(m, request_of(op, &room), ret);
}

struct wrapped {
	Etcd__RequestOp op;
	union one one;
};

static int wrap(struct etcd_mem *m, const struct etcd_op *op, unsigned n, Etcd__RequestOp ***ret)
{
	Etcd__RequestOp **list = etcd_mem_take(m, n * sizeof *list);
	struct wrapped *w = etcd_mem_take(m, n * sizeof *w);

	if (list == NULL || w == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++, op++) {
		Etcd__RequestOp *o = list[i] = &w[i].op;

		etcd__request_op__init(o);
		request_of(op, &w[i].one);
		switch (op->kind) {
		case ETCD_RANGE:
			o->request_case = ETCD__REQUEST_OP__REQUEST_RANGE;
			o->range = &w[i].one.range;
			break;
		case ETCD_PUT:
			o->request_case = ETCD__REQUEST_OP__REQUEST_PUT;
			o->put = &w[i].one.put;
			break;
		case ETCD_DELETE:
			o->request_case = ETCD__REQUEST_OP__REQUEST_DELETE_RANGE;
			o->delete_range = &w[i].one.delete;
			break;
		}
	}
	*ret = list;
	return 0;
}

static void compare_of(const struct etcd_if *c, Etcd__Compare *ret)
{
	etcd__compare__init(ret);
	ret->result = ETCD__COMPARE__RESULT__EQUAL;
	ret->key = bytes(c->key);
	switch (c->what) {
	case ETCD_CREATED:
		ret->target = ETCD__COMPARE__TARGET__CREATE;
		ret->with_case = ETCD__COMPARE__WITH_CREATE_REVISION;
		ret->create_revision = c->revision;
		break;
	case ETCD_MODIFIED:
		ret->target = ETCD__COMPARE__TARGET__MOD;
		ret->with_case = ETCD__COMPARE__WITH_MOD_REVISION;
		ret->mod_revision = c->revision;
		break;
	case ETCD_VALUE:
		ret->target = ETCD__COMPARE__TARGET__VALUE;
		ret->with_case = ETCD__COMPARE__WITH_VALUE;
		ret->value = bytes(c->value);
		break;
	}
}

int etcd_msg_txn(struct etcd_mem *m, const struct etcd_txn *t, struct slice *ret)
{
	Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
	Etcd__Compare *c = etcd_mem_take(m, t->n_conds * sizeof *c);

	r.compare = etcd_mem_take(m, t->n_conds * sizeof *r.compare);
	if (c == NULL || r.compare == NULL || wrap(m, t->then, t->n_then, &r.success) < 0 ||
	    wrap(m, t->otherwise, t->n_otherwise, &r.failure) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < t->n_conds; i++) {
		compare_of(&t->conds[i], &c[i]);
		r.compare[i] = &c[i];
	}
	r.n_compare = t->n_conds;
	r.n_success = t->n_then;
	r.n_failure = t->n_otherwise;
	return pack(m, &r.base, ret);
}

int etcd_msg_watch(struct etcd_mem *m, struct slice key, struct slice end, int64_t from,
		   struct slice *ret)
{
	Etcd__WatchCreateRequest c = ETCD__WATCH_CREATE_REQUEST__INIT;
	Etcd__WatchRequest r = ETCD__WATCH_REQUEST__INIT;

	c.key = bytes(key);
	c.range_end = bytes(end);
	c.start_revision = from;
	c.progress_notify = true;
	c.watch_id = WATCH_ID;
	c.fragment = true;
	r.request_case = ETCD__WATCH_REQUEST__REQUEST_CREATE;
	r.create = &c;
	return pack(m, &r.base, ret);
}

int etcd_msg_progress(struct etcd_mem *m, struct slice *ret)
{
	Etcd__WatchProgressRequest p = ETCD__WATCH_PROGRESS_REQUEST__INIT;
	Etcd__WatchRequest r = ETCD__WATCH_REQUEST__INIT;

	r.request_case = ETCD__WATCH_REQUEST__REQUEST_PROGRESS;
	r.progress = &p;
	return pack(m, &r.base, ret);
}

int etcd_msg_grant(struct etcd_mem *m, int64_t ttl_s, struct slice *ret)
{
	Etcd__LeaseGrantRequest r = ETCD__LEASE_GRANT_REQUEST__INIT;

	r.ttl = ttl_s;
	return pack(m, &r.base, ret);
}

int etcd_msg_lease(struct etcd_mem *m, int64_t id, struct slice *ret)
{
	Etcd__LeaseRequest r = ETCD__LEASE_REQUEST__INIT;

	r.id = id;
	return pack(m, &r.base, ret);
}

int etcd_msg_authenticate(struct etcd_mem *m, const char *user, const char *password, struct slice *ret)
{
	Etcd__AuthenticateRequest r = ETCD__AUTHENTICATE_REQUEST__INIT;

	m->is_secret = true;
	r.name = (char *)(uintptr_t)user;
	r.password = (char *)(uintptr_t)password;
	return pack(m, &r.base, ret);
}

/* ---- answers ---- */

static int broken(const struct etcd_mem *m)
{
	return m->is_short ? -ENOMEM : -EBADMSG;
}

static void take_head(const Etcd__Header *h, struct etcd_head *ret)
{
	if (h)
		*ret = (struct etcd_head){ h->cluster_id, h->member_id, h->revision };
}

static struct slice slice_from_bytes(const ProtobufCBinaryData *d)
{
	return slice_of(d->data, d->len);
}

static struct etcd_kv kv_of(const Etcd__KeyValue *k)
{
	return (struct etcd_kv){ .key = slice_from_bytes(&k->key), .value = slice_from_bytes(&k->value),
				 .created = k->create_revision, .modified = k->mod_revision,
				 .lease = k->lease };
}

static int take_range(struct etcd_mem *m, const Etcd__RangeResponse *r, struct etcd_result *ret)
{
	struct etcd_kv *kv = etcd_mem_take(m, r->n_kvs * sizeof *kv);

	if (kv == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_kvs; i++)
		kv[i] = kv_of(r->kvs[i]);
	*ret = (struct etcd_result){ .kv = kv, .kvs = r->n_kvs, .more = r->more, .count = r->count };
	return 0;
}

static int take_result(struct etcd_mem *m, const Etcd__ResponseOp *o, struct etcd_result *ret)
{
	switch (o->response_case) {
	case ETCD__RESPONSE_OP__RESPONSE_RANGE:
		return take_range(m, o->range, ret);
	case ETCD__RESPONSE_OP__RESPONSE_DELETE_RANGE:
		ret->count = o->delete_range->deleted;
		return 0;
	case ETCD__RESPONSE_OP__RESPONSE_PUT:
		return 0;
	default:
		return -EBADMSG;
	}
}

static int take_txn(struct etcd_mem *m, const Etcd__TxnResponse *t, struct etcd_result **ret, size_t *n)
{
	*ret = etcd_mem_take(m, t->n_responses * sizeof **ret);
	if (*ret == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_responses; i++) {
		int r = take_result(m, t->responses[i], &(*ret)[i]);

		if (r < 0)
			return r;
	}
	*n = t->n_responses;
	return 0;
}

static const ProtobufCMessageDescriptor *shape_of(enum etcd_method method)
{
	switch (method) {
	case ETCD_DO_RANGE:
		return &etcd__range_response__descriptor;
	case ETCD_DO_PUT:
		return &etcd__put_response__descriptor;
	case ETCD_DO_DELETE:
		return &etcd__delete_range_response__descriptor;
	case ETCD_DO_TXN:
		return &etcd__txn_response__descriptor;
	case ETCD_DO_GRANT:
	case ETCD_DO_KEEP:
		return &etcd__lease_response__descriptor;
	case ETCD_DO_REVOKE:
		return &etcd__lease_revoke_response__descriptor;
	case ETCD_DO_AUTHENTICATE:
		return &etcd__authenticate_response__descriptor;
	case ETCD_DO_WATCH:
	case ETCD_METHODS:
		break;
	}
	return NULL;
}

int etcd_msg_answer(struct etcd_mem *m, enum etcd_method method, struct slice in, struct etcd_answer *ret)
{
	ProtobufCAllocator a = allocator(m);
	const void *p = protobuf_c_message_unpack(shape_of(method), &a, in.n, in.p);
	struct etcd_answer out = { .status = GRPC_OK, .words = "", .token = "", .holds = true };
	struct etcd_result *result = etcd_mem_take(m, sizeof *result);
	int r = 0;

	if (p == NULL || result == NULL)
		return broken(m);
	switch (method) {
	case ETCD_DO_RANGE:
		take_head(((const Etcd__RangeResponse *)p)->header, &out.head);
		r = take_range(m, p, result);
		out.results = 1;
		break;
	case ETCD_DO_PUT:
		take_head(((const Etcd__PutResponse *)p)->header, &out.head);
		out.results = 1;
		break;
	case ETCD_DO_DELETE:
		take_head(((const Etcd__DeleteRangeResponse *)p)->header, &out.head);
		result->count = ((const Etcd__DeleteRangeResponse *)p)->deleted;
		out.results = 1;
		break;
	case ETCD_DO_TXN:
		take_head(((const Etcd__TxnResponse *)p)->header, &out.head);
		out.holds = ((const Etcd__TxnResponse *)p)->succeeded;
		r = take_txn(m, p, &result, &out.results);
		break;
	case ETCD_DO_GRANT:
	case ETCD_DO_KEEP:
		take_head(((const Etcd__LeaseResponse *)p)->header, &out.head);
		out.lease = ((const Etcd__LeaseResponse *)p)->id;
		out.ttl_s = ((const Etcd__LeaseResponse *)p)->ttl;
		break;
	case ETCD_DO_REVOKE:
		take_head(((const Etcd__LeaseRevokeResponse *)p)->header, &out.head);
		break;
	case ETCD_DO_AUTHENTICATE:
		take_head(((const Etcd__AuthenticateResponse *)p)->header, &out.head);
		out.token = ((const Etcd__AuthenticateResponse *)p)->token;
		break;
	case ETCD_DO_WATCH:
	case ETCD_METHODS:
		return -EBADMSG;
	}
	if (r < 0)
		return r;
	out.result = result;
	*ret = out;
	return 0;
}

int etcd_msg_watched(struct etcd_mem *m, struct slice in, struct etcd_watched *ret)
{
	ProtobufCAllocator a = allocator(m);
	const Etcd__WatchResponse *w =
		(const void *)protobuf_c_message_unpack(&etcd__watch_response__descriptor, &a, in.n, in.p);
	struct etcd_event *event = w ? etcd_mem_take(m, w->n_events * sizeof *event) : NULL;

	if (event == NULL)
		return broken(m);
	for (size_t i = 0; i < w->n_events; i++) {
		if (w->events[i]->kv == NULL)
			return -EBADMSG;
		event[i].kv = kv_of(w->events[i]->kv);
		event[i].is_delete = w->events[i]->type == ETCD__EVENT__TYPE__DELETE;
	}
	if (w->watch_id != WATCH_ID && w->watch_id != NOBODYS_ID)
		return -EBADMSG;
	*ret = (struct etcd_watched){
		.told = { .event = event, .events = w->n_events, .whole = !w->fragment },
		.compacted = w->compact_revision,
		.reason = w->cancel_reason,
		.is_created = w->created,
		.is_end = w->canceled || w->compact_revision > 0,
		.is_progress = w->watch_id == NOBODYS_ID,
	};
	take_head(w->header, &ret->told.head);
	return 0;
}
