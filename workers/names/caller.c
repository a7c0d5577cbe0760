/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers by TCP (RFC 7766): a message behind its length, one question after the other, any number.
 *
 *   phase    what happens                                     ends with
 *   READS    what is written goes out; questions are read     a question that cannot be answered at
 *                                                             once: WAITS; the caller's end, time: OVER
 *   WAITS    for an answer, which comes, good or bad (ask.h)  it: READS; the caller's end: OVER
 *   OVER     names_reap() takes it
 *
 * Buffers are there while bytes wait, and charged to the pod's tenant, of whom it is a connection. */
#include <errno.h>

#include "workers/names/names.h"

#define CALLER_MAGIC	0x4e504e43u	/* "NPNC" */
#define CALLER_IDLE_MS	10000		/* also for the rest of a question, and to take an answer */
#define STEP_QUESTIONS	8u
#define LENGTH		2u		/* bytes, before each message */
#define OUT_MOST	65536u		/* so much waits to be taken before more is read */

enum phase { CALLER_READS, CALLER_WAITS, CALLER_OVER };

struct caller {
	uint32_t magic;
	uint8_t phase;			/* enum phase */
	uint8_t ready;			/* READY_ bits */
	bool expired;
	bool asked;			/* a question came */
	struct sched_unit unit;
	struct wheel_entry deadline;
	struct node dead;
	struct names_pod *pod;		/* whose end is the caller's */
	struct tenant *tenant;		/* holds a reference */
	struct stream s;
	struct chunk *in;
	struct chunkq out;
};

size_t caller_bytes(void)
{
	return sizeof(struct caller);
}

static void over(struct caller *c)
{
	struct names *ns = c->pod->names;
	struct path *p = ns->path;

	if (c->phase == CALLER_OVER)
		return;
	c->phase = CALLER_OVER;
	stream_close(&c->s, false);
	p->fds.names--;
	wheel_clear(&ns->wheel, &c->deadline);
	sched_forget(&p->sched, &c->unit);
	if (c->in)
		chunk_give(&p->chunks, &c->in);
	chunkq_clear(&c->out, &p->chunks);
	tenant_leave(c->tenant);
	c->pod->callers--;
	list_add_tail(&ns->dead, &c->dead);
}

void callers_reap(struct names *ns)
{
	struct caller *c;

	while ((c = list_pop(&ns->dead, struct caller, dead))) {
		tenant_give(&c->tenant);
		c->magic = 0;
		slab_give(&ns->callers, c);
	}
}

/* ---- a step ---- */

/* What waits to be taken; false: it is over. */
static bool write_some(struct caller *c)
{
	struct path *p = c->pod->names->path;

	while (c->out.bytes && c->ready & READY_OUT) {
		struct iovec v[16];
		int n = chunkq_iov(&c->out, v, countof(v));
		ssize_t k = c->s.ops->write(&c->s, v, n);

		if (k == -EAGAIN) {
			c->ready &= (uint8_t)~READY_OUT;
			break;
		}
		if (k < 0)
			return false;
		chunkq_consume(&c->out, &p->chunks, (size_t)k);
	}
	return true;
}

/* Bytes of the caller: 1; 0: none now; -1: no more will come. */
static int read_some(struct caller *c)
{
	struct path *p = c->pod->names->path;
	ssize_t n;

	if (!(c->ready & (READY_IN | READY_END)))
		return 0;
	if (c->in == NULL)
		c->in = chunk_take(&p->chunks, &c->tenant->memory, false);
	if (c->in == NULL)
		return -1;		/* over its memory */
	if (c->in->end == c->in->room && c->in->at) {
		memmove(c->in->data, c->in->data + c->in->at, c->in->end - c->in->at);
		c->in->end -= c->in->at;
		c->in->at = 0;
	}
	n = c->s.ops->read(&c->s, c->in->data + c->in->end, c->in->room - c->in->end);
	if (n == -EAGAIN) {
		c->ready &= (uint8_t)~READY_IN;
		return c->ready & READY_END ? -1 : 0;
	}
	if (n <= 0)
		return -1;
	c->in->end += (uint32_t)n;
	sched_charge(&p->sched, (size_t)n);
	return 1;
}

/* The question that is there as a whole: 1; 0: it is not; -1: it will never be. */
static int question(const struct caller *c, struct slice *ret)
{
	struct slice in = c->in ? slice_of(c->in->data + c->in->at, c->in->end - c->in->at) :
				  (struct slice){ 0 };
	size_t n;

	if (in.n < LENGTH)
		return 0;
	n = (size_t)in.p[0] << 8 | in.p[1];
	if (n + LENGTH > c->in->room)
		return -1;
	if (in.n < n + LENGTH)
		return 0;
	*ret = slice_of(in.p + LENGTH, n);
	return 1;
}

/* One question, if there is one: 1; 0: not now; -1: it is over. */
static int serve(struct caller *c)
{
	struct names *ns = c->pod->names;
	struct names_from from = { .pod = c->pod, .caller = slab_ref(&ns->callers, c) };
	struct slice m;
	int r = question(c, &m);

	if (r == 0)
		r = read_some(c);
	else if (r == 1) {
		c->asked = true;
		c->phase = CALLER_WAITS;	/* unless it is answered at once */
		if (names_question(ns, &from, m) < 0) {
			c->phase = CALLER_READS;
			r = -1;
		}
		c->in->at += (uint32_t)(m.n + LENGTH);
		if (c->phase == CALLER_WAITS)
			wheel_clear(&ns->wheel, &c->deadline);
	}
	if (c->in && c->in->at == c->in->end)
		chunk_give(&ns->path->chunks, &c->in);
	return r;
}

/* Nothing of it is under way.  (Who has just come has a question on its way.) */
static bool is_idle(const struct caller *c)
{
	return c->phase == CALLER_READS && c->asked && c->in == NULL && c->out.bytes == 0;
}

static void step(struct sched_unit *u)
{
	struct caller *c = container_of(u, struct caller, unit);
	struct sched *s = &c->pod->names->path->sched;
	int r = 1;

	if (c->phase == CALLER_OVER)
		return;
	if (c->expired || c->ready & READY_ERR) {
		over(c);
		return;
	}
	for (unsigned i = 0; r == 1 && i < STEP_QUESTIONS && c->phase == CALLER_READS &&
	     c->out.bytes < OUT_MOST && sched_may_go_on(s); i++)
		r = serve(c);
	/* Who has said all still gets what was asked for. */
	if (!write_some(c) || (r < 0 && c->out.bytes == 0) || (c->pod->names->draining && is_idle(c)))
		over(c);
	else if (r == 1 && c->phase == CALLER_READS && c->out.bytes < OUT_MOST)
		sched_wake(s, u);
}

/* ---- from outside ---- */

void caller_say(struct names *ns, struct slot_ref ref, size_t n)
{
	struct caller *c = slab_at(&ns->callers, ref);
	const uint8_t length[LENGTH] = { (uint8_t)(n >> 8), (uint8_t)n };
	struct path *p = ns->path;

	if (c == NULL || c->phase != CALLER_WAITS)
		return;
	if (chunkq_add(&c->out, &p->chunks, &c->tenant->memory, slice_of(length, LENGTH)) < 0 ||
	    chunkq_add(&c->out, &p->chunks, &c->tenant->memory, slice_of(ns->out, n)) < 0) {
		c->expired = true;	/* no memory: cut */
	}
	c->phase = CALLER_READS;
	names_deadline(ns, &c->deadline, CALLER_IDLE_MS);
	sched_wake(&p->sched, &c->unit);
}

void caller_event(struct names *ns, struct slot_ref ref, unsigned bits)
{
	struct caller *c = slab_at(&ns->callers, ref);

	if (c == NULL || c->phase == CALLER_OVER)
		return;
	c->ready |= (uint8_t)bits;
	sched_wake(&ns->path->sched, &c->unit);
}

void caller_deadline(struct wheel_entry *e)
{
	struct caller *c = container_of(e, struct caller, deadline);

	c->expired = true;
	sched_wake(&c->pod->names->path->sched, &c->unit);
}

void caller_new(struct names_pod *pod, struct tenant *t, struct stream *s)
{
	struct names *ns = pod->names;
	struct path *p = ns->path;
	struct slot_ref ref;
	struct caller *c = NULL;

	if (pod->callers < NAMES_CALLERS_POD && tenant_admit(t) == 0) {
		c = slab_take(&ns->callers, &ref);
		if (c == NULL)
			tenant_leave(t);
	}
	if (c == NULL) {
		stream_close(s, true);
		return;
	}
	c->magic = CALLER_MAGIC;
	c->pod = pod;
	c->tenant = t;
	tenant_ref(t);
	c->s = *s;
	*s = (struct stream){ 0 };
	list_init(&c->dead);
	chunkq_init(&c->out);
	sched_unit_init(&c->unit, t, step);
	wheel_entry_init(&c->deadline);
	pod->callers++;
	p->fds.names++;
	if (tcp_world->watch(&p->poll, &c->s, names_token(NAMES_KIND_CALLER, ref)) < 0) {
		over(c);
		return;
	}
	names_deadline(ns, &c->deadline, CALLER_IDLE_MS);
}

void callers_end(struct names *ns, const struct names_pod *pod)
{
	for (uint32_t i = 0; i < ns->callers.fresh && ns->callers.live; i++) {
		struct caller *c = slab_at(&ns->callers, (struct slot_ref){ i, ns->callers.gen[i] });

		if (c && c->magic == CALLER_MAGIC &&
		    (pod ? c->pod == pod : is_idle(c)))
			over(c);
	}
}
