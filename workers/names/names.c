/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See names.h. */
#include "workers/names/ask.h"
#include "workers/names/lacking.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "workers/path/conn.h"
#include "workers/path/pods.h"
#include "workers/path/pressure.h"

#define UDP_BURST    16u	/* questions of a step */
#define ACCEPT_BURST 4u
#define SILENT_MS    60000	/* so long it is said that nobody answered, if nobody is asked */
#define KIND_SHIFT   27		/* in the 29 bits of a token's slot */

static struct names_pod *pod_of(struct names *ns, uint32_t ref)
{
	struct names_pod *p = &ns->pod[ref % BANKS];

	return ref && p->ref == ref ? p : NULL;
}

/* ---- events ---- */

uint64_t names_token(enum names_kind k, struct slot_ref r)
{
	r.slot |= (uint32_t)k << KIND_SHIFT;
	return path_token(TOKEN_NAMES, r);
}

static uint64_t socket_token(struct names *ns, const struct names_socket *s)
{
	uint32_t pod = (uint32_t)(s->pod - ns->pod), which = (uint32_t)(s - s->pod->socket);

	return names_token(NAMES_KIND_SOCKET, (struct slot_ref){ pod * NAMES_SOCKETS + which, 1 });
}

static void socket_event(struct names *ns, uint32_t slot)
{
	struct names_socket *s = &ns->pod[slot / NAMES_SOCKETS % BANKS].socket[slot % NAMES_SOCKETS];

	if (fd_is_open(s->fd) && !s->dropped)
		sched_wake(&ns->path->sched, &s->unit);
}

bool names_event(struct names *ns, uint64_t token, unsigned bits)
{
	struct slot_ref r = token_ref(token);
	enum names_kind k = (enum names_kind)(r.slot >> KIND_SHIFT);

	if (token >> TOKEN_SHIFT != TOKEN_NAMES)
		return false;
	r.slot &= (1u << KIND_SHIFT) - 1;
	if (k == NAMES_KIND_SOCKET)
		socket_event(ns, r.slot);
	else if (k == NAMES_KIND_CALLER)
		caller_event(ns, r, bits);
	else
		ask_event(ns, r, bits);
	return true;
}

void names_deadline(struct names *ns, struct wheel_entry *e, int64_t ms)
{
	struct mono due = mono_after_ms(clock_now(), ms);

	wheel_set(&ns->wheel, e, due);
	if (due.ns < ns->due.ns)
		ns->due = due;
}

static void on_deadline(struct wheel_entry *e, void *arg)
{
	if (ask_has_entry(arg, e))
		ask_deadline(e);
	else
		caller_deadline(e);
}

void names_deadlines(struct names *ns)
{
	int64_t next;

	wheel_run_some(&ns->wheel, clock_now(), 1024, on_deadline, ns);
	next = wheel_next_ns(&ns->wheel, clock_now());
	ns->due.ns = next < 0 ? INT64_MAX : clock_now().ns + next;
}

void names_reap(struct names *ns)
{
	callers_reap(ns);
	asks_reap(ns);
}

/* ---- questions by UDP ---- */

/* What was redirected comes from an address of the pod; what comes from loopback was sent to us on
 * purpose. */
static bool is_direct(const struct addr *from)
{
	static const uint8_t one[16] = { [15] = 1 };

	return from->family == 4 ? from->ip[0] == 127 : memcmp(from->ip, one, sizeof one) == 0;
}

static void udp_step(struct sched_unit *u)
{
	struct names_socket *s = container_of(u, struct names_socket, unit);
	struct names *ns = s->pod->names;

	/* The event comes back while questions wait. */
	for (unsigned i = 0; i < UDP_BURST && sched_may_go_on(&ns->path->sched); i++) {
		struct names_from from = { .pod = s->pod, .socket = s };
		struct sockaddr_storage ss = { 0 };
		socklen_t len = sizeof ss;
		ssize_t n = recvfrom(s->fd.v, ns->in, sizeof ns->in, 0, (struct sockaddr *)&ss, &len);

		if (n < 0)
			return;		/* what befell an answer is told once, and nobody's concern */
		addr_from_sockaddr(&ss, &from.addr);
		sched_charge(&ns->path->sched, (size_t)n);
		if (is_direct(&from.addr)) {
			board_add(&ns->path->mine->reasons[REASON_OWN_PORT], 1);
			continue;
		}
		if (names_question(ns, &from, slice_of(ns->in, (size_t)n)) < 0)
			continue;	/* no query: silence */
	}
}

static uint64_t *rcode_counter(struct names *ns)
{
	uint64_t *c = ns->path->mine->c;

	switch (ns->out[3] & 15) {
	case DNS_NOERROR:
		return &c[WC_names_noerror];
	case DNS_NXDOMAIN:
		return &c[WC_names_nxdomain];
	case DNS_SERVFAIL:
		return &c[WC_names_servfail];
	default:
		return &c[WC_names_other];
	}
}

void names_say(struct names *ns, const struct names_from *from, size_t n)
{
	struct sockaddr_storage ss;
	socklen_t len;

	sched_charge(&ns->path->sched, n);
	board_add(rcode_counter(ns), 1);
	if (from->socket == NULL) {
		caller_say(ns, from->caller, n);
		return;
	}
	len = addr_to_sockaddr(&from->addr, &ss);
	/* Whoever gets no answer asks again. */
	if (fd_is_open(from->socket->fd))
		(void)!sendto(from->socket->fd.v, ns->out, n, MSG_NOSIGNAL, (struct sockaddr *)&ss, len);
}

/* ---- callers by TCP ---- */

static void pause_socket(struct names_socket *s, int error)
{
	log_limited(LOG_WARN, "accept_failed", "listener=names error=%d", -error);
	poll_remove(&s->pod->names->path->poll, s->fd.v);
	s->paused = true;
}

static void take_caller(struct names_socket *s, struct stream *st)
{
	struct gate *g = s->pod->gate;
	struct addr dialled;

	gate_now(g);
	if (tcp_world->dialled(st, &dialled) < 0 || is_direct(&dialled))
		conn_refuse(g, st, REASON_OWN_PORT);
	else
		caller_new(s->pod, g->tenant, st);
}

static void tcp_step(struct sched_unit *u)
{
	struct names_socket *s = container_of(u, struct names_socket, unit);
	struct path *p = s->pod->names->path;

	if (s->paused)
		return;
	for (unsigned i = 0; i < ACCEPT_BURST; i++) {
		struct stream st = { 0 };
		struct addr peer;
		int r = tcp_world->accept(s->fd.v, &st, &peer);

		if (r == -EAGAIN)
			return;
		if (r == -ECONNABORTED || r == -EINTR || r == -EPROTO)
			continue;
		if (r < 0) {
			pause_socket(s, r);
			return;
		}
		if (path_fds_free(p) <= p->fds.reserve)
			conn_refuse(s->pod->gate, &st, REASON_NO_DESCRIPTORS);
		else
			take_caller(s, &st);
	}
}

/* ---- sockets ---- */

static void close_socket(struct names_socket *s)
{
	struct names *ns = s->pod->names;

	if (!fd_is_open(s->fd))
		return;
	sched_forget(&ns->path->sched, &s->unit);
	/* It lives on in the master: closing alone would leave it in the set. */
	if (!s->paused && !s->dropped)
		poll_remove(&ns->path->poll, s->fd.v);
	fd_close(&s->fd);
	tenant_give(&s->tenant);
	ns->sockets--;
	ns->path->fds.listeners--;
}

static int open_socket(struct names_pod *p, unsigned which, struct fd *fd)
{
	struct names_socket *s = &p->socket[which];
	struct names *ns = p->names;
	bool udp = which % NAMES_SOCKETS_FAMILY == NAMES_UDP_SOCKET;
	int r;

	close_socket(s);
	r = poll_add_listener(&ns->path->poll, fd->v, socket_token(ns, s));
	if (r < 0)
		return r;
	s->fd = fd_take(fd);
	s->paused = s->dropped = false;
	s->tenant = p->gate->tenant;
	tenant_ref(s->tenant);
	sched_unit_init(&s->unit, s->tenant, udp ? udp_step : tcp_step);
	ns->sockets++;
	ns->path->fds.listeners++;
	return 0;
}

static void drop_socket(struct names_socket *s)
{
	struct path *p = s->pod->names->path;

	if (!fd_is_open(s->fd) || s->dropped)
		return;
	sched_forget(&p->sched, &s->unit);
	if (!s->paused)
		poll_remove(&p->poll, s->fd.v);
	s->dropped = true;
	if (s->pod->waiters == 0)
		close_socket(s);
}

/* ---- pods ---- */

static void leave(struct names_pod *p)
{
	struct names *ns = p->names;

	asks_end(p);
	lacking_end(ns, p);
	callers_end(ns, p);
	cache_drop_pod(&ns->cache, &p->cache);
	for (unsigned i = 0; i < NAMES_SOCKETS; i++)
		close_socket(&p->socket[i]);
	gate_unref(&p->gate);
	p->ref = 0;
	ns->pods--;
}

/* What is needed only where there are pods is touched when they come. */
static void init_pod(struct names *ns, struct names_pod *p)
{
	if (!ns->begun) {
		cache_begin(&ns->cache);
		for (unsigned i = 0; i < NAMES_BUCKETS; i++)
			list_init(&ns->asked[i]);
		ns->begun = true;
	}
	p->names = ns;
	list_init(&p->thirsty);
	cache_pod_init(&p->cache);
	for (unsigned k = 0; k < NAMES_SOCKETS; k++) {
		p->socket[k].fd = FD_NONE;
		p->socket[k].pod = p;
	}
}

int names_pod_here(struct names *ns, uint32_t ref, unsigned family, struct fd fd[NAMES_SOCKETS_FAMILY])
{
	struct names_pod *p = &ns->pod[ref % BANKS];
	struct gate *g = ns->path->pod[ref % BANKS][GATE_OUT];
	int r = 0;

	if (g == NULL || g->pod != ref)
		return -ENOENT;
	if (p->names == NULL)
		init_pod(ns, p);
	if (p->ref && p->ref != ref)
		leave(p);		/* its end was not heard */
	gate_now(g);
	if (p->ref == 0) {
		p->ref = ref;
		p->own = (struct names_resolvers){ 0 };
		p->first = 0;
		p->gate = g;
		gate_ref(g);
		ns->pods++;
	}
	for (unsigned i = 0; i < NAMES_SOCKETS_FAMILY && r == 0; i++)
		r = open_socket(p, (family == 6) * NAMES_SOCKETS_FAMILY + i, &fd[i]);
	return r;
}

void names_use_resolvers(struct names *ns, uint32_t ref, const struct names_resolvers *r)
{
	struct names_pod *p = pod_of(ns, ref);
	struct names_resolvers *of = p ? &p->own : &ns->host, now = { 0 };

	for (unsigned i = 0; i < r->n; i++)
		if (resolver_is_far(&r->at[i]))
			now.at[now.n++] = r->at[i];
	if ((ref && p == NULL) || memcmp(of, &now, sizeof now) == 0)
		return;
	*of = now;
	/* What others said is of no worth any more. */
	for (unsigned i = 0; i < BANKS; i++)
		if (ns->pod[i].ref && names_resolvers(&ns->pod[i]) == of) {
			ns->pod[i].first = 0;
			cache_drop_pod(&ns->cache, &ns->pod[i].cache);
		}
}

void names_read_resolvers(struct names *ns, struct fd fd)
{
	struct names_resolvers r = { 0 };
	unsigned n = 0;
	int e = fd_is_open(fd) ? resolvconf_read(fd.v, r.at, &n) : 0;

	if (e < 0)
		log_limited(LOG_WARN, "resolvers_not_read", "error=\"%s\"", strerror(-e));
	for (unsigned i = 0; i < n; i++)
		r.at[i].port = NAMES_PORT;
	r.n = n;
	names_use_resolvers(ns, 0, &r);
}

void names_pod_bank(struct names *ns, uint32_t ref)
{
	struct names_pod *p = pod_of(ns, ref);

	if (p)
		asks_feed(p);
}

void names_pod_drop(struct names *ns, uint32_t ref)
{
	struct names_pod *p = pod_of(ns, ref);

	for (unsigned i = 0; p && i < NAMES_SOCKETS; i++)
		drop_socket(&p->socket[i]);
}

void names_pod_gone(struct names *ns, uint32_t ref)
{
	struct names_pod *p = pod_of(ns, ref);

	if (p)
		leave(p);
}

void names_drain(struct names *ns)
{
	ns->draining = true;
	for (unsigned i = 0; i < BANKS; i++)
		names_pod_drop(ns, ns->pod[i].ref);
	callers_end(ns, NULL);
}

void names_end(struct names *ns)
{
	for (unsigned i = 0; i < BANKS; i++)
		if (ns->pod[i].ref) {
			asks_end(&ns->pod[i]);
			lacking_end(ns, &ns->pod[i]);
			callers_end(ns, &ns->pod[i]);
		}
	names_reap(ns);
}

/* ---- all ---- */

static void tick_socket(struct names_socket *s)
{
	struct names *ns = s->pod->names;
	struct path *p = ns->path;
	struct tenant *now = s->pod->gate->tenant;

	if (!fd_is_open(s->fd))
		return;
	if (s->dropped && s->pod->waiters == 0) {
		close_socket(s);
		return;
	}
	if (s->tenant != now) {
		sched_forget(&p->sched, &s->unit);
		tenant_give(&s->tenant);
		tenant_ref(now);
		s->tenant = s->unit.tenant = now;
	}
	if (s->paused && !s->dropped && poll_add_listener(&p->poll, s->fd.v, socket_token(ns, s)) == 0)
		s->paused = false;
}

void names_tick(struct names *ns)
{
	for (unsigned i = 0, seen = 0; i < BANKS && seen < ns->pods; i++) {
		struct names_pod *p = &ns->pod[i];

		if (p->ref == 0)
			continue;
		seen++;
		gate_now(p->gate);
		if (p->silent_at.ns && mono_diff_ms(clock_now(), p->silent_at) > SILENT_MS) {
			p->silent_at.ns = 0;
			board_set(&p->gate->board->c[LC_names_silent_gauge], 0);
		}
		if (p->cache.n && pressure_keeps_nothing(ns->path, p->gate->tenant))
			cache_drop_pod(&ns->cache, &p->cache);
		for (unsigned k = 0; k < NAMES_SOCKETS; k++)
			tick_socket(&p->socket[k]);
	}
	lacking_tick(ns);
	cache_tick(&ns->cache, ns->path->knobs->names_stale_ms);
	board_set(&ns->path->mine->c[WC_names_waiting_gauge], ns->waiters.live);
	board_set(&ns->path->mine->c[WC_names_kept_gauge], ns->cache.answers.live);
}

void names_view(struct names *ns)
{
	lacking_view(ns);
}

/* at start */
int names_init(struct names *ns, struct path *p)
{
	int r;

	ns->path = p;
	ns->due.ns = INT64_MAX;
	wheel_init(&ns->wheel, clock_now());
	list_init(&ns->dead);
	list_init(&ns->dead_asks);
	list_init(&ns->lacks);
	r = slab_init(&ns->callers, "names_caller", caller_bytes(), NAMES_CALLERS);
	if (r == 0)
		r = slab_init(&ns->asks, "names_ask", ask_bytes(), ASKS);
	if (r == 0)
		r = slab_init(&ns->waiters, "names_waiter", waiter_bytes(), ASK_WAITERS);
	if (r == 0)
		r = slab_init(&ns->lacking, "names_lacking", lacking_bytes(), LACKING_MOST);
	if (r == 0)
		r = cache_init(&ns->cache);
	return r;
}

void names_fini(struct names *ns)
{
	for (unsigned i = 0; i < BANKS; i++)
		if (ns->pod[i].ref)
			leave(&ns->pod[i]);
	names_reap(ns);
	slab_fini(&ns->callers);
	slab_fini(&ns->asks);
	slab_fini(&ns->waiters);
	slab_fini(&ns->lacking);
	cache_fini(&ns->cache);
}
