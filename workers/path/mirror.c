/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See mirror.h. */
#include "workers/path/mirror.h"

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/path/codecs.h"

#define TARGETS_MAX 32	/* of a rule and a backend */
#define PIECES	    64	/* of a queue: twice what a head or a body of 64 KiB has */

struct target {
	uint32_t id;		/* of a Service */
	struct slot_gen slot;
	uint16_t port;
};

/* What is wanted; lies in a chunk that the exchange holds. */
struct wanted {
	struct target target[TARGETS_MAX];
	uint32_t n;
	struct chunkq head, body;
	bool is_chunked, is_grpc;
};
static_must(sizeof(struct wanted) <= CHUNK_SMALL_ROOM);

/* What is under way; lies in a chunk that its stream holds. */
struct mirror {
	struct stream s;
	struct path *path;
	struct target target;
	struct chunkq bytes;	/* of the request, that were not read yet */
	bool is_grpc;
};
static_must(sizeof(struct mirror) <= CHUNK_SMALL_ROOM);

static struct wanted *wanted(const struct exchange *ex)
{
	return (struct wanted *)ex->mirror->data;
}

static void dropped(struct exchange *ex, uint32_t n)
{
	board_add(&ex->conn->path->mine->c[WC_mirrors_dropped], n);
}

/* ---- the stream ---- */

static struct mirror *mirror_of(struct stream *s)
{
	return container_of(s, struct mirror, s);
}

static ssize_t read_some(struct stream *s, uint8_t *buf, size_t room)
{
	struct mirror *m = mirror_of(s);
	struct iovec v;
	size_t n = 0;

	while (n < room && chunkq_iov(&m->bytes, &v, 1)) {
		size_t k = min_of(v.iov_len, room - n);

		memcpy(buf + n, v.iov_base, k);
		chunkq_consume(&m->bytes, &m->path->chunks, k);
		n += k;
	}
	return (ssize_t)n;
}

static ssize_t throw_away(struct stream *s __attribute__((unused)), const struct iovec *v, int n)
{
	ssize_t all = 0;

	for (int i = 0; i < n; i++)
		all += (ssize_t)v[i].iov_len;
	return all;
}

static int nothing(struct stream *s __attribute__((unused)))
{
	return 0;
}

static void close_it(struct stream *s, bool abort __attribute__((unused)))
{
	struct mirror *m = mirror_of(s);
	struct chunk *c = (struct chunk *)((uint8_t *)m - offsetof(struct chunk, data));
	struct path *p = m->path;

	chunkq_clear(&m->bytes, &p->chunks);
	chunk_give(&p->chunks, &c);
}

static const struct stream_ops ops = { .name = "mirror", .read = read_some, .write = throw_away,
				       .finish = nothing, .error = nothing, .close = close_it };

/* ---- wanted ---- */

void mirror_want(struct exchange *ex, const struct vservice *s, const struct vfilter *f)
{
	struct path *p = ex->conn->path;
	struct vport port;
	struct wanted *w;

	if (f->numerator < f->denominator && rand_below(f->denominator) >= f->numerator)
		return;
	if (ex->mirror == NULL) {
		ex->mirror = chunk_take(&p->chunks, &ex->tenant->memory, false);
		if (ex->mirror == NULL) {
			dropped(ex, 1);
			return;
		}
		w = wanted(ex);
		memset(w, 0, sizeof *w);
		chunkq_init(&w->head);
		chunkq_init(&w->body);
	}
	w = wanted(ex);
	if (w->n == TARGETS_MAX || !vfilter_target(s, f, &port)) {
		dropped(ex, 1);
		return;
	}
	w->target[w->n++] = (struct target){ port.service.id, vservice_slot(&port.service), port.port };
}

void mirror_drop(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct wanted *w = wanted(ex);

	dropped(ex, w->n);
	w->n = 0;
	chunkq_clear(&w->head, &p->chunks);
	chunkq_clear(&w->body, &p->chunks);
	chunk_give(&p->chunks, &ex->mirror);
}

/* The bytes, or all is dropped. */
static bool keep(struct exchange *ex, struct chunkq *q, const struct iovec *v, int n)
{
	struct path *p = ex->conn->path;

	for (int i = 0; i < n; i++)
		if (chunkq_add(q, &p->chunks, &ex->tenant->memory, slice_of(v[i].iov_base, v[i].iov_len)) < 0)
			return false;
	return true;
}

void mirror_head(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct head *h = &p->head;
	struct wanted *w = wanted(ex);
	struct http1_out how = { .chunked = h->body == BODY_CHUNKED };
	struct iovec v[HEAD_IOVS];
	int n = -1;

	w->is_chunked = how.chunked;
	w->is_grpc = ex->is_grpc;
	/* A tunnel has no end at which it could be copied. */
	if (w->n && !h->upgrade)
		n = http1_put_request(h, &how, &p->arena, v, HEAD_IOVS);
	if (n < 0 || !keep(ex, &w->head, v, n))
		mirror_drop(ex);
}

void mirror_take(struct exchange *ex, const struct iovec *v, int n)
{
	struct wanted *w = wanted(ex);

	if (!keep(ex, &w->body, v, n) || w->body.bytes > MIRROR_BODY_MAX)
		mirror_drop(ex);
}

void mirror_rewind(struct exchange *ex)
{
	chunkq_clear(&wanted(ex)->body, &ex->conn->path->chunks);
}

/* ---- under way ---- */

/* The request as it is read: a body that was not framed by us is one chunk. */
static bool put_request(struct exchange *ex, const struct wanted *w, struct chunkq *q)
{
	bool frame = w->is_chunked && !ex->up.body.encode;
	struct iovec v[PIECES];
	char size[12];
	struct strbuf b = strbuf_on(size, sizeof size);

	strbuf_hex(&b, w->body.bytes, 5);	/* at most 64 KiB */
	strbuf_adds(&b, "\r\n");
	if (!keep(ex, q, v, chunkq_iov(&w->head, v, PIECES)))
		return false;
	if (frame && w->body.bytes && !keep(ex, q, &(struct iovec){ size, b.n }, 1))
		return false;
	if (!keep(ex, q, v, chunkq_iov(&w->body, v, PIECES)))
		return false;
	if (frame && w->body.bytes && !keep(ex, q, &(struct iovec){ (void *)(uintptr_t)"\r\n", 2 }, 1))
		return false;
	return !frame || keep(ex, q, &(struct iovec){ (void *)(uintptr_t)"0\r\n\r\n", 5 }, 1);
}

static bool launch(struct exchange *ex, const struct target *t)
{
	struct conn *from = ex->conn, *c;
	struct path *p = from->path;
	const struct wanted *w = wanted(ex);
	struct chunk *room;
	struct mirror *m;

	if (p->draining || p->mirrors >= MIRRORS_MAX)
		return false;
	room = chunk_take(&p->chunks, &ex->tenant->memory, false);
	if (room == NULL)
		return false;
	m = (struct mirror *)room->data;
	*m = (struct mirror){ .s = { .ops = &ops }, .path = p, .target = *t, .is_grpc = w->is_grpc };
	chunkq_init(&m->bytes);
	c = put_request(ex, w, &m->bytes) ? slab_take(&p->conns, NULL) : NULL;
	if (c == NULL) {
		chunkq_clear(&m->bytes, &p->chunks);
		chunk_give(&p->chunks, &room);
		return false;
	}
	p->mirrors++;
	c->magic = CONN_MAGIC;
	c->state = CONN_HEAD;
	c->is_mirror = true;
	c->path = p;
	c->gate = from->gate;
	gate_ref(c->gate);
	c->tenant = from->tenant;
	tenant_ref(c->tenant);
	sched_unit_init(&c->unit, c->tenant, from->unit.step);
	wheel_entry_init(&c->deadline);
	list_init(&c->node);
	leg_init(&c->front);
	c->front.s = stream_through(&m->s);
	c->front.ready = READY_IN | READY_OUT | READY_END;
	c->extra_n = from->extra_n;
	memcpy(c->extra, from->extra, from->extra_n);
	c->peer_port = from->peer_port;
	board_add(&p->mine->c[WC_mirrors], 1);
	conn_wake(c);
	return true;
}

void mirror_launch(struct exchange *ex)
{
	struct wanted *w = wanted(ex);
	uint32_t launched = 0;

	for (uint32_t i = 0; i < w->n; i++)
		launched += launch(ex, &w->target[i]);
	w->n -= launched;
	mirror_drop(ex);
}

bool mirror_port(struct conn *c, struct vport *ret)
{
	const struct target *t = &mirror_of(c->front.s.other)->target;
	struct vservice s;
	struct slot_gen slot;

	if (!view_service(c->path->view, t->id, &s))
		return false;
	slot = vservice_slot(&s);
	return slot.slot == t->slot.slot && slot.gen == t->slot.gen && vservice_port(&s, t->port, ret);
}

bool mirror_is_grpc(const struct conn *c)
{
	return mirror_of(c->front.s.other)->is_grpc;
}
