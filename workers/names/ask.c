/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See ask.h. */
#include "workers/names/ask.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/rand.h"

#define ASK_MAGIC   0x4e504e51u	/* "NPNQ" */
#define LENGTH	    2u		/* bytes, before each message on TCP */
#define READ_BURST  8u		/* messages of a step */
#define STRAYS_MOST 16u		/* answers to what was not asked: somebody guesses */
#define LEFT_MOST   4u		/* of them, in a socket that goes back to the bank */

enum phase { ASK_BEGINS, ASK_SOCKET, ASK_UDP, ASK_LINE, ASK_CONNECTS, ASK_HEARS, ASK_OVER };

struct ask {
	uint32_t magic;
	uint8_t phase;			/* enum phase */
	uint8_t ready;			/* READY_ bits */
	uint8_t tries;			/* resolvers asked so far */
	uint8_t first, which;		/* of them */
	uint8_t strays;
	uint8_t worst;			/* enum dns_rcode to be told when nobody has a better answer */
	bool expired;
	bool plain;			/* without EDNS, which somebody did not understand */
	bool heard;			/* a resolver said something, if nothing of use */
	uint16_t id;
	struct sched_unit unit;
	struct wheel_entry deadline;
	struct node in_bucket;		/* or of the dead */
	struct node thirsty;		/* SOCKET, LINE: of the pod */
	struct node waiters;
	struct names_pod *pod;		/* whose end is the ask's */
	struct tenant *tenant;		/* holds a reference */
	struct dns_query q;		/* of who asked first */
	struct names_key key;
	struct addr to;
	struct fd udp;
	struct stream tcp;
	struct chunk *in;
};

struct waiter {
	struct node node;
	struct names_from from;
	struct dns_query q;
	struct tenant *tenant;		/* holds a reference */
};

size_t ask_bytes(void)
{
	return sizeof(struct ask);
}

size_t waiter_bytes(void)
{
	return sizeof(struct waiter);
}

static struct names *names_of(const struct ask *a)
{
	return a->pod->names;
}

static void count(const struct ask *a, enum worker_counter c)
{
	board_add(&names_of(a)->path->mine->c[c], 1);
}

/* ---- who waits ---- */

static void waiter_free(struct names *ns, struct waiter *w)
{
	list_remove(&w->node);
	w->tenant->names--;
	w->from.pod->waiters--;
	tenant_give(&w->tenant);
	slab_give(&ns->waiters, w);
}

static void say_failed(struct names *ns, const struct waiter *w, enum dns_rcode rcode)
{
	struct dns_out o;

	dns_begin(&o, ns->out, sizeof ns->out, &w->q, 0, rcode);
	dns_put_opt(&o, &w->q, rcode);
	names_say(ns, &w->from, o.n);
}

static void say_all(struct ask *a, struct slice message, uint16_t additional)
{
	struct names *ns = names_of(a);
	struct waiter *w;

	while ((w = list_pop(&a->waiters, struct waiter, node))) {
		names_say(ns, &w->from, dns_pass_on(ns->out, names_room(&w->from, &w->q), message, additional,
						    &w->q, 0, UINT32_MAX));
		waiter_free(ns, w);
	}
}

void ask_say_cached(struct names *ns, const struct names_from *from, const struct dns_query *q,
		    struct cached *c, bool stale)
{
	struct slice m = slice_of(c->message, c->n);

	names_say(ns, from, dns_pass_on(ns->out, names_room(from, q), m, c->additional, q,
					stale ? 0 : cached_age_s(c), stale ? STALE_TTL_S : UINT32_MAX));
	board_add(&ns->path->mine->c[stale ? WC_names_stale : WC_names_cached], 1);
	cache_touch(&ns->cache, c);
}

/* Nobody has answered (yet): what is old is better than nothing.  false: there is nothing. */
static bool say_stale(struct ask *a)
{
	struct names *ns = names_of(a);
	struct cached *c = cache_find(&ns->cache, &a->key);
	struct waiter *w;

	if (c == NULL || !cached_is_of_use(c, ns->path->knobs->names_stale_ms))
		return false;
	c->again_at = mono_after_ms(clock_now(), STALE_HOLD_MS);
	while ((w = list_pop(&a->waiters, struct waiter, node))) {
		ask_say_cached(ns, &w->from, &w->q, c, true);
		waiter_free(ns, w);
	}
	return true;
}

/* ---- sockets ---- */

/* The next question shall come from another port, and what is on its way for this one be lost. */
static void put_udp(struct ask *a)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct names *ns = names_of(a);
	unsigned left = 0;

	if (!fd_is_open(a->udp))
		return;
	poll_remove(&ns->path->poll, a->udp.v);
	ns->path->fds.names--;
	if (connect(a->udp.v, &none, sizeof none) < 0)
		left = LEFT_MOST;
	while (left < LEFT_MOST && recv(a->udp.v, ns->in, 1, 0) >= 0)
		left++;
	if (left < LEFT_MOST)
		bank_give_udp(&ns->path->banks, a->pod->ref, a->to.family, &a->udp);
	else
		fd_close(&a->udp);
}

static void leave(struct ask *a)
{
	struct path *p = names_of(a)->path;

	put_udp(a);
	if (stream_is_open(&a->tcp)) {
		stream_close(&a->tcp, false);
		p->fds.names--;
	}
	if (a->in)
		chunk_give(&p->chunks, &a->in);
	list_remove(&a->thirsty);
	a->phase = ASK_BEGINS;
	a->ready = 0;
	a->expired = false;
}

static void over(struct ask *a)
{
	struct names *ns = names_of(a);
	struct waiter *w;

	if (a->phase == ASK_OVER)
		return;
	leave(a);
	a->phase = ASK_OVER;
	wheel_clear(&ns->wheel, &a->deadline);
	sched_forget(&ns->path->sched, &a->unit);
	while ((w = list_pop(&a->waiters, struct waiter, node)))
		waiter_free(ns, w);
	list_remove(&a->in_bucket);
	list_add_tail(&ns->dead_asks, &a->in_bucket);
}

void asks_reap(struct names *ns)
{
	struct ask *a;

	while ((a = list_pop(&ns->dead_asks, struct ask, in_bucket))) {
		tenant_give(&a->tenant);
		a->magic = 0;
		slab_give(&ns->asks, a);
	}
}

/* ---- asking ---- */

/* Each resolver is asked once, a lone one twice. */
static unsigned tries_most(const struct ask *a)
{
	return max_of(names_resolvers(a->pod)->n, 2u);
}

/* Of names.timeout: the last has what is left of three, for one that is slow and not dead. */
static int64_t shares(const struct ask *a)
{
	return a->tries < tries_most(a) ? 1 : max_of(NAMES_RESOLVERS + 1 - a->tries, 1);
}

static void wait_for(struct ask *a, enum phase phase)
{
	struct names *ns = names_of(a);
	bool bank = phase == ASK_SOCKET || phase == ASK_LINE;

	if (bank)
		list_add_tail(&a->pod->thirsty, &a->thirsty);
	if (!bank || a->phase != phase)		/* whoever comes in vain gets no more time */
		names_deadline(ns, &a->deadline, ns->path->knobs->names_timeout_ms * shares(a));
	a->phase = (uint8_t)phase;
}

static uint64_t token_of(struct ask *a)
{
	struct names *ns = names_of(a);

	return names_token(NAMES_KIND_ASK, slab_ref(&ns->asks, a));
}

/* Traffic goes before, as with callers. */
static bool no_descriptors(const struct path *p)
{
	return path_fds_free(p) <= p->fds.reserve;
}

static int send_udp(struct ask *a)
{
	uint8_t m[DNS_QUERY + DNS_OPT];
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&a->to, &ss);
	size_t n;

	a->id = (uint16_t)rand_u32();
	n = dns_ask(m, &a->q, a->id, !a->plain);
	if (connect(a->udp.v, (struct sockaddr *)&ss, len) < 0 || send(a->udp.v, m, n, MSG_NOSIGNAL) < 0)
		return -errno;
	sched_charge(&names_of(a)->path->sched, n);
	return 0;
}

/* 0: it is under way, or waits for a socket; else -errno. */
static int begin_udp(struct ask *a)
{
	struct path *p = names_of(a)->path;
	int r = no_descriptors(p) ? -EMFILE : bank_take_udp(&p->banks, a->pod->ref, a->to.family, &a->udp);

	if (r == -EAGAIN) {
		wait_for(a, ASK_SOCKET);
		return 0;
	}
	if (r < 0)
		return r;
	p->fds.names++;
	r = poll_add(&p->poll, a->udp.v, token_of(a));
	if (r == 0)
		r = send_udp(a);
	if (r < 0)
		return r;
	count(a, WC_names_asked);
	wait_for(a, ASK_UDP);
	return 0;
}

static int begin_tcp(struct ask *a)
{
	struct path *p = names_of(a)->path;
	const struct back_key key = { .addr = a->to, .pod = a->pod->ref };
	int r = no_descriptors(p) ? -EMFILE : bank_dial(&p->banks, &key, &a->tcp);

	if (r == -EAGAIN) {
		wait_for(a, ASK_LINE);
		return 0;
	}
	if (r < 0 && r != -EINPROGRESS)
		return r;
	p->fds.names++;
	a->in = chunk_take(&p->chunks, &a->tenant->memory, true);
	r = a->in ? tcp_world->watch(&p->poll, &a->tcp, token_of(a)) : -ENOBUFS;
	if (r < 0)
		return r;
	count(a, WC_names_tcp);
	wait_for(a, ASK_CONNECTS);
	return 0;
}

static void silent(struct names_pod *pod)
{
	uint64_t *gauge = &pod->gate->board->c[LC_names_silent_gauge];

	if (board_get(gauge) == 0)
		log_limited(LOG_WARN, "names_silent", "namespace=%s listener=%s resolvers=%u",
			    pod->gate->terms.ns, pod->gate->terms.name, names_resolvers(pod)->n);
	board_set(gauge, 1);
	pod->silent_at = clock_now();
}

static void fail(struct ask *a)
{
	struct names *ns = names_of(a);
	struct waiter *w;

	count(a, WC_names_unanswered);
	if (!a->heard)
		silent(a->pod);
	if (!say_stale(a))
		while ((w = list_pop(&a->waiters, struct waiter, node))) {
			say_failed(ns, w, (enum dns_rcode)a->worst);
			waiter_free(ns, w);
		}
	over(a);
}

/* This one has not answered: the next, as long as there is hope. */
static void try_next(struct ask *a)
{
	for (;;) {
		const struct names_resolvers *r = names_resolvers(a->pod);

		leave(a);
		if (r->n == 0 || a->tries >= tries_most(a)) {
			fail(a);
			return;
		}
		a->which = (uint8_t)((a->first + a->tries++) % r->n);
		a->to = r->at[a->which];
		a->strays = 0;
		if (begin_udp(a) == 0)
			return;
	}
}

static void again_by_tcp(struct ask *a)
{
	leave(a);
	if (begin_tcp(a) < 0)
		try_next(a);
}

static void timed_out(struct ask *a)
{
	struct names_pod *pod = a->pod;
	unsigned n = max_of((unsigned)names_resolvers(pod)->n, 1u);

	/* Waiting for a socket of ours says nothing about it. */
	if (a->phase != ASK_SOCKET && a->phase != ASK_LINE && a->which == pod->first)
		pod->first = (uint8_t)((a->which + 1u) % n);
	(void)say_stale(a);
	try_next(a);
}

/* ---- hearing ---- */

static void answered(struct ask *a, struct slice m, const struct dns_reply *r)
{
	struct names *ns = names_of(a);

	a->pod->first = a->which;
	board_set(&a->pod->gate->board->c[LC_names_silent_gauge], 0);
	say_all(a, slice_of(m.p, r->bytes), r->additional);
	cache_put(&ns->cache, &a->pod->cache, a->tenant, &a->key, m, r,
		  (uint32_t)ns->path->knobs->names_cache);
	over(a);
}

/* What a resolver said: 0: it was no answer to this; else what becomes of the ask is decided. */
static int hear(struct ask *a, struct slice m, bool tcp)
{
	struct dns_reply r;
	int e = dns_reply(m, &a->q, a->id, &r);

	a->heard = true;
	if (e == -EAGAIN) {
		if (tcp || ++a->strays > STRAYS_MOST)
			tcp ? try_next(a) : again_by_tcp(a);
		else
			return 0;
	} else if (e < 0) {
		try_next(a);
	} else if (r.flags & DNS_TC && !tcp) {
		again_by_tcp(a);
	} else if ((r.rcode == DNS_FORMERR || r.rcode == DNS_NOTIMP) && !a->plain) {
		a->plain = true;	/* older than EDNS */
		a->tries--;
		try_next(a);
	} else if (r.rcode != DNS_NOERROR && r.rcode != DNS_NXDOMAIN) {
		a->worst = r.rcode == DNS_REFUSED ? DNS_REFUSED : DNS_SERVFAIL;
		try_next(a);
	} else {
		answered(a, m, &r);
	}
	return 1;
}

static void hear_udp(struct ask *a)
{
	struct names *ns = names_of(a);

	for (unsigned i = 0; i < READ_BURST; i++) {
		ssize_t n = recv(a->udp.v, ns->in, sizeof ns->in, 0);

		if (n < 0 && errno == EAGAIN) {
			a->ready &= (uint8_t)~READY_IN;
			return;
		}
		if (n < 0) {		/* nobody is there, says the kernel */
			try_next(a);
			return;
		}
		sched_charge(&ns->path->sched, (size_t)n);
		if (hear(a, slice_of(ns->in, (size_t)n), false))
			return;
	}
	sched_wake(&ns->path->sched, &a->unit);
}

static void say_tcp(struct ask *a)
{
	uint8_t m[LENGTH + DNS_QUERY + DNS_OPT];
	struct iovec v = { .iov_base = m };
	size_t n;

	if (!(a->ready & READY_OUT))
		return;
	a->id = (uint16_t)rand_u32();
	n = dns_ask(m + LENGTH, &a->q, a->id, !a->plain);
	m[0] = (uint8_t)(n >> 8);
	m[1] = (uint8_t)n;
	v.iov_len = n + LENGTH;
	if (a->tcp.ops->write(&a->tcp, &v, 1) != (ssize_t)v.iov_len)
		try_next(a);		/* a new socket takes that much */
	else
		a->phase = ASK_HEARS;
}

static void hear_tcp(struct ask *a)
{
	struct chunk *in = a->in;

	while (a->ready & (READY_IN | READY_END)) {
		ssize_t n = a->tcp.ops->read(&a->tcp, in->data + in->end, in->room - in->end);
		size_t whole;

		if (n == -EAGAIN && !(a->ready & READY_END)) {
			a->ready &= (uint8_t)~READY_IN;
			return;
		}
		if (n <= 0) {
			try_next(a);
			return;
		}
		sched_charge(&names_of(a)->path->sched, (size_t)n);
		in->end += (uint32_t)n;
		if (in->end < LENGTH)
			continue;
		whole = LENGTH + ((size_t)in->data[0] << 8 | in->data[1]);
		if (in->end < whole)
			continue;	/* it fits: a large chunk takes any message */
		(void)hear(a, slice_of(in->data + LENGTH, whole - LENGTH), true);
		return;
	}
}

static void step(struct sched_unit *u)
{
	struct ask *a = container_of(u, struct ask, unit);

	if (a->phase != ASK_OVER && a->expired) {
		timed_out(a);
		return;
	}
	switch ((enum phase)a->phase) {
	case ASK_SOCKET:
		list_remove(&a->thirsty);
		if (begin_udp(a) < 0)
			try_next(a);
		break;
	case ASK_UDP:
		if (a->ready & (READY_IN | READY_ERR))
			hear_udp(a);
		break;
	case ASK_LINE:
		list_remove(&a->thirsty);
		if (begin_tcp(a) < 0)
			try_next(a);
		break;
	case ASK_CONNECTS:
		if (a->ready & READY_ERR)
			try_next(a);
		else
			say_tcp(a);
		break;
	case ASK_HEARS:
		hear_tcp(a);
		break;
	case ASK_BEGINS:
	case ASK_OVER:
		break;
	}
}

/* ---- from outside ---- */

void ask_event(struct names *ns, struct slot_ref ref, unsigned bits)
{
	struct ask *a = slab_at(&ns->asks, ref);

	if (a == NULL || a->phase == ASK_OVER)
		return;
	a->ready |= (uint8_t)bits;
	if (a->phase != ASK_UDP || bits & (READY_IN | READY_ERR))
		sched_wake(&ns->path->sched, &a->unit);
}

bool ask_has_entry(const struct names *ns, const struct wheel_entry *e)
{
	return (const uint8_t *)e >= ns->asks.mem && (const uint8_t *)e < ns->asks.mem + ns->asks.map_bytes;
}

void ask_deadline(struct wheel_entry *e)
{
	struct ask *a = container_of(e, struct ask, deadline);

	a->expired = true;
	sched_wake(&names_of(a)->path->sched, &a->unit);
}

void asks_feed(struct names_pod *pod)
{
	list_each(it, &pod->thirsty)
		sched_wake(&pod->names->path->sched, &container_of(it, struct ask, thirsty)->unit);
}

void asks_end(struct names_pod *pod)
{
	struct names *ns = pod->names;

	for (uint32_t i = 0; i < ns->asks.fresh && ns->asks.live; i++) {
		struct ask *a = slab_at(&ns->asks, (struct slot_ref){ i, ns->asks.gen[i] });

		if (a && a->magic == ASK_MAGIC && a->pod == pod)
			over(a);
	}
}

static struct ask *find(struct names *ns, const struct names_key *k)
{
	list_each(it, &ns->asked[k->hash % NAMES_BUCKETS]) {
		struct ask *a = container_of(it, struct ask, in_bucket);

		if (names_key_eq(&a->key, k))
			return a;
	}
	return NULL;
}

static struct ask *begin(struct names *ns, struct names_pod *pod, struct tenant *t,
			 const struct dns_query *q, const struct names_key *k)
{
	struct ask *a = slab_take(&ns->asks, NULL);

	if (a == NULL)
		return NULL;
	a->magic = ASK_MAGIC;
	a->pod = pod;
	a->tenant = t;
	tenant_ref(t);
	a->q = *q;
	a->key = *k;
	a->worst = DNS_SERVFAIL;
	a->first = pod->first;
	a->udp = FD_NONE;
	list_init(&a->thirsty);
	list_init(&a->waiters);
	sched_unit_init(&a->unit, t, step);
	wheel_entry_init(&a->deadline);
	list_add_tail(&ns->asked[k->hash % NAMES_BUCKETS], &a->in_bucket);
	return a;
}

int ask_for(struct names *ns, const struct names_from *from, const struct dns_query *q,
	    const struct names_key *k)
{
	struct gate *g = from->pod->gate;
	struct ask *a = find(ns, k);
	struct waiter *w;
	bool fresh = a == NULL;

	if (names_resolvers(from->pod)->n == 0)
		return -ENOENT;
	gate_now(g);
	if (g->tenant->names >= (uint32_t)ns->path->knobs->names_pending)
		return -EUSERS;
	w = slab_take(&ns->waiters, NULL);
	if (w && fresh)
		a = begin(ns, from->pod, g->tenant, q, k);
	if (w && a == NULL)
		slab_give(&ns->waiters, w);
	if (w == NULL || a == NULL)
		return -EUSERS;
	w->from = *from;
	w->q = *q;
	w->tenant = g->tenant;
	tenant_ref(w->tenant);
	w->tenant->names++;
	from->pod->waiters++;
	list_add_tail(&a->waiters, &w->node);
	if (fresh)
		try_next(a);
	else
		board_add(&ns->path->mine->c[WC_names_joined], 1);
	return 0;
}
