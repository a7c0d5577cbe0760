/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See health.h. */
#include "workers/path/exchange.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/obs/check.h"

#define STATUS_LINE  13		/* "HTTP/1.1 200 " */
#define FIRST_MS     500	/* the first check comes within so long */
#define AGAIN_MS     50		/* when too many have a socket */
#define CHECK_MAGIC  0x4e504843u	/* "NPHC" */

enum phase { PHASE_RESTS, PHASE_DIALS, PHASE_SHAKES, PHASE_ASKS, PHASE_HEARS };

struct check {
	uint32_t magic;
	uint32_t pass;			/* the walk that wanted it last */
	struct sched_unit unit;
	struct wheel_entry deadline;
	struct node in_bucket;
	struct path *path;
	struct tenant *tenant;		/* of the Service; holds a reference */
	struct slot_gen slot;		/* of the endpoint */
	struct addr addr;
	bool has_tls;			/* it is spoken to in TLS */
	uint32_t tls;			/* by this number (wrap.h); 0: nobody could be trusted */
	struct stream s;
	uint8_t phase;			/* enum phase */
	uint8_t ready;			/* READY_ bits */
	bool expired;
	uint8_t heard;			/* bytes of answer */
	struct vcheck what;		/* its path points into a view that is not held: it is in request */
	char service[130];		/* NAMESPACE/NAME, for the log */
	uint16_t request_n;
	char answer[STATUS_LINE];
	char request[HEALTH_REQUEST];
};

int health_status(struct slice s)
{
	static const char want[] = "HTTP/1.";
	uint64_t status;

	if (!slice_starts(slice_of(want, sizeof want - 1), slice_of(s.p, min_of(s.n, sizeof want - 1))))
		return 0;
	if (s.n < STATUS_LINE)
		return -1;
	if (s.p[7] < '0' || s.p[7] > '9' || s.p[8] != ' ' || (s.p[12] != ' ' && s.p[12] != '\r') ||
	    !slice_u64(slice_of(s.p + 9, 3), 599, &status) || status < 100)
		return 0;
	return (int)status;
}

/* ---- one check ---- */

static void leave(struct check *k)
{
	if (!stream_is_open(&k->s))
		return;
	stream_close(&k->s, false);
	k->path->health.running--;
}

static void rest(struct check *k, int64_t ms)
{
	k->phase = PHASE_RESTS;
	k->expired = false;
	path_deadline(k->path, &k->deadline, ms);
}

static void tell(const struct check *k, bool good)
{
	char text[ADDR_TEXT];

	log_limited(good ? LOG_INFO : LOG_WARN, "endpoint_health", "service=%s endpoint=%s state=%s",
		    k->service, addr_text(&k->addr, true, text), good ? "healthy" : "unhealthy");
}

static void over(struct check *k, bool good)
{
	struct path *p = k->path;
	int64_t ms = k->what.interval_ms;

	leave(k);
	board_add(&p->mine->c[WC_checks], 1);
	if (!good)
		board_add(&p->mine->c[WC_checks_failed], 1);
	if (check_note(p->board, k->slot.slot, k->slot.gen, good, k->what.healthy, k->what.unhealthy,
		       clock_now()))
		tell(k, good);
	/* Hosts that started together shall not ask together for ever. */
	rest(k, ms * 85 / 100 + rand_below((uint32_t)(ms * 30 / 100) + 1));
}

static void begin(struct check *k)
{
	struct path *p = k->path;
	int r;

	if (p->health.running >= HEALTH_AT_ONCE || path_fds_free(p) <= p->fds.reserve) {
		rest(k, AGAIN_MS);
		return;
	}
	k->ready = k->heard = 0;
	k->expired = false;
	if (k->has_tls && k->tls == 0) {
		over(k, false);
		p->health.rev = 0;	/* somebody may be trusted by the next time */
		return;
	}
	k->phase = PHASE_DIALS;
	r = tcp_world->connect(&k->addr, &k->s);
	if (r < 0 && r != -EINPROGRESS) {
		over(k, false);
		return;
	}
	p->health.running++;
	if (tcp_world->watch(&p->poll, &k->s, path_token(TOKEN_CHECK, slab_ref(&p->health.checks, k))) < 0) {
		leave(k);		/* our own trouble says nothing of the endpoint */
		rest(k, AGAIN_MS);
		return;
	}
	path_deadline(p, &k->deadline, k->what.timeout_ms);
}

/* TCP is there. */
static void arrive(struct check *k)
{
	struct back_key key = { .addr = k->addr, .tls = k->tls };

	if (!(k->ready & READY_OUT))
		return;
	k->phase = k->has_tls ? PHASE_SHAKES : PHASE_ASKS;
	if (k->has_tls && wrap_begin(k->path, &key, k->tenant,
				     k->what.type == CHECK_HTTP ? WRAP_HTTP1 : WRAP_OPAQUE, &k->s) < 0) {
		leave(k);		/* our own trouble, too */
		rest(k, AGAIN_MS);
		k->path->health.rev = 0;	/* it may have another number by now */
	}
}

static void shake(struct check *k)
{
	uint8_t want = 0;
	int r = wrap_shake(&k->s, &k->ready, &want);

	if (r < 0)
		over(k, false);
	else if (r)
		k->phase = PHASE_ASKS;
}

static void ask(struct check *k)
{
	struct iovec v = { k->request, k->request_n };

	if (!(k->ready & READY_OUT))
		return;
	if (k->what.type == CHECK_TCP)
		over(k, true);
	else if (k->s.ops->write(&k->s, &v, 1) != (ssize_t)k->request_n)
		over(k, false);		/* a new socket takes that much */
	else
		k->phase = PHASE_HEARS;
}

static bool is_expected(const struct vcheck *what, int status)
{
	for (unsigned i = 0; i < what->n_statuses; i++)
		if (status >= what->status[i].from && status <= what->status[i].to)
			return true;
	return false;
}

static void hear(struct check *k)
{
	while (k->ready & READY_IN || k->ready & READY_END) {
		ssize_t n = k->s.ops->read(&k->s, (uint8_t *)k->answer + k->heard,
					   sizeof k->answer - k->heard);
		int status;

		if (n == -EAGAIN) {
			k->ready &= (uint8_t)~READY_IN;
			if (k->ready & READY_END)
				over(k, false);
			return;
		}
		if (n <= 0) {
			over(k, false);
			return;
		}
		k->heard += (uint8_t)n;
		status = health_status(slice_of(k->answer, k->heard));
		if (status >= 0) {
			over(k, is_expected(&k->what, status));
			return;
		}
	}
}

static void step(struct sched_unit *u)
{
	struct check *k = container_of(u, struct check, unit);

	if (k->phase == PHASE_RESTS) {
		if (k->expired)
			begin(k);
		return;
	}
	if (k->expired || (k->phase <= PHASE_ASKS && k->ready & READY_ERR)) {
		over(k, false);
		return;
	}
	if (k->phase == PHASE_DIALS)
		arrive(k);
	if (k->phase == PHASE_SHAKES)
		shake(k);
	if (k->phase == PHASE_ASKS)
		ask(k);
	if (k->phase == PHASE_HEARS)
		hear(k);
}

void health_event(struct path *p, struct slot_ref ref, unsigned bits)
{
	struct check *k = slab_at(&p->health.checks, ref);

	if (k == NULL || !stream_is_open(&k->s))
		return;
	k->ready |= (uint8_t)bits;
	sched_wake(&p->sched, &k->unit);
}

bool health_has_entry(const struct path *p, const struct wheel_entry *e)
{
	const struct slab *s = &p->health.checks;

	return (const uint8_t *)e >= s->mem && (const uint8_t *)e < s->mem + s->map_bytes;
}

void health_deadline(struct wheel_entry *e)
{
	struct check *k = container_of(e, struct check, deadline);

	k->expired = true;
	sched_wake(&k->path->sched, &k->unit);
}

/* ---- which there are ---- */

static struct node *bucket_of(struct health *h, uint32_t slot)
{
	return &h->bucket[slot % HEALTH_BUCKETS];
}

static struct check *find(struct health *h, struct slot_gen slot)
{
	list_each(it, bucket_of(h, slot.slot)) {
		struct check *k = container_of(it, struct check, in_bucket);

		if (k->slot.slot == slot.slot && k->slot.gen == slot.gen)
			return k;
	}
	return NULL;
}

static void drop(struct check *k)
{
	struct path *p = k->path;

	leave(k);
	wheel_clear(&p->wheel, &k->deadline);
	sched_forget(&p->sched, &k->unit);
	list_remove(&k->in_bucket);
	tenant_give(&k->tenant);
	k->magic = 0;
	slab_give(&p->health.checks, k);
}

/* The namespace of its Service is another's now. */
static void change_tenant(struct check *k, struct tenant *t)
{
	struct sched *s = &k->path->sched;
	bool queued = sched_is_queued(&k->unit);

	sched_forget(s, &k->unit);
	if (wrap_is_on(&k->s)) {	/* the old one pays for its memory */
		leave(k);
		rest(k, AGAIN_MS);
	}
	tenant_ref(t);
	tenant_give(&k->tenant);
	k->tenant = k->unit.tenant = t;
	if (queued)
		sched_wake(s, &k->unit);
}

static void set_request(struct check *k, const struct vport *port)
{
	struct slice ns = vservice_ns(&port->service), name = vservice_name(&port->service);
	struct strbuf b = strbuf_on(k->service, sizeof k->service);

	strbuf_add(&b, ns);
	strbuf_addc(&b, '/');
	strbuf_add(&b, name);
	k->service[b.n] = 0;
	b = strbuf_on(k->request, sizeof k->request);
	strbuf_adds(&b, "GET ");
	strbuf_add(&b, k->what.path);
	strbuf_adds(&b, " HTTP/1.1\r\nHost: ");
	strbuf_add(&b, name);
	strbuf_addc(&b, '.');
	strbuf_add(&b, ns);
	strbuf_adds(&b, "\r\nUser-Agent: nodeproxy\r\nConnection: close\r\n\r\n");
	k->request_n = (uint16_t)b.n;	/* 255 of path, two names of 63: it fits */
	k->what.path = (struct slice){ NULL, 0 };
}

static void want(struct path *p, const struct vport *port, const struct vcheck *what,
		 const struct vendpoint *e, struct tenant *t)
{
	struct health *h = &p->health;
	struct check *k;

	if (e->slot.slot == 0 || e->slot.slot >= BOARD_ENDPOINTS)
		return;			/* there is no place for what it would find */
	k = find(h, e->slot);
	if (k && k->pass == h->pass)
		return;			/* by another port of the Service */
	if (k == NULL) {
		k = slab_take(&h->checks, NULL);
		if (k == NULL) {
			board_add(&p->mine->c[WC_checks_missed], 1);
			return;
		}
		k->magic = CHECK_MAGIC;
		k->path = p;
		k->slot = e->slot;
		k->addr = e->addr;
		tenant_ref(t);
		k->tenant = t;
		sched_unit_init(&k->unit, t, step);
		wheel_entry_init(&k->deadline);
		list_add_tail(bucket_of(h, e->slot.slot), &k->in_bucket);
		rest(k, rand_below(min_of(what->interval_ms, (uint32_t)FIRST_MS)));
	}
	if (unlikely(k->tenant != t))
		change_tenant(k, t);
	k->pass = h->pass;
	k->what = *what;
	k->has_tls = port->has_tls;
	k->tls = port->has_tls ? wrap_find(p, port) : 0;
	set_request(k, port);
}

/* Who is alive, as bits. */
static uint64_t alive(const struct path *p)
{
	unsigned n = min_of(p->board->workers, (uint32_t)BOARD_WORKERS);
	uint64_t now_ms = (uint64_t)(clock_now().ns / NS_PER_MS), bits = 1ull << p->worker;

	static_must(BOARD_WORKERS <= 64);
	for (unsigned w = 0; w < n; w++) {
		uint64_t beat = board_get(&p->board->worker[w].c[WC_beat_ms_gauge]);

		/* A beat that lies ahead was made in this very moment. */
		if (beat && (int64_t)(now_ms - beat) < HEALTH_ALIVE_MS)
			bits |= 1ull << w;
	}
	return bits;
}

static bool is_mine(const struct path *p, const struct vservice *s)
{
	struct slot_gen slot = vservice_slot(s);
	uint64_t key = (uint64_t)slot.gen << 32 | (slot.slot ?: s->id), best = 0;
	unsigned who = p->worker;

	for (unsigned w = 0; w < BOARD_WORKERS; w++) {
		uint64_t x = (key + w * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;

		if (!(p->health.alive >> w & 1))
			continue;
		x ^= x >> 29;
		x *= 0x94d049bb133111ebu;
		x ^= x >> 32;
		if (x >= best) {
			best = x;
			who = w;
		}
	}
	return who == p->worker;
}

static void walk_service(struct path *p, const struct vservice *s)
{
	struct tenant *t = NULL;
	struct vport port;

	for (uint32_t i = 0; vservice_port_at(s, i, &port); i++) {
		struct vendpoint e;
		struct vcheck what;

		if (!port.has_policy || !vport_check(&port, &what) || !is_mine(p, s))
			continue;
		if (t == NULL) {
			struct vnamespace ns;

			view_namespace(p->view, vservice_ns(s), &ns);
			t = tenant_take(&p->tenants, &(struct tenant_terms){
				.slot = ns.tenant_slot.slot, .gen = ns.tenant_slot.gen,
				.weight = ns.weight, .connections = ns.connections,
				.requests = ns.requests, .memory_bytes = ns.memory_bytes });
		}
		for (uint32_t k = 0; k < port.endpoints && vport_endpoint(&port, k, &e); k++)
			if (e.ready || e.serving)
				want(p, &port, &what, &e, t);
	}
	if (t)
		tenant_give(&t);
}

/* Of all whom the walk that has ended did not want; UINT32_MAX: of all. */
static void sweep(struct path *p, uint32_t pass)
{
	struct slab *s = &p->health.checks;

	for (uint32_t i = 0; i < s->fresh; i++) {
		struct check *k = slab_at(s, (struct slot_ref){ i, s->gen[i] });

		if (k && k->magic == CHECK_MAGIC && (k->pass != pass || pass == UINT32_MAX))
			drop(k);
	}
}

void health_tick(struct path *p)
{
	struct health *h = &p->health;
	struct vservice s;
	uint64_t now;

	if (p->view == NULL)
		return;
	if (p->draining) {
		sweep(p, UINT32_MAX);
		return;
	}
	now = alive(p);
	if (!h->walks && (h->rev != view_rev(p->view) || h->alive != now)) {
		h->walks = true;
		h->at = 0;
		h->pass = (h->pass + 1) % UINT32_MAX;
		h->rev = view_rev(p->view);
		h->alive = now;
	}
	for (unsigned i = 0; h->walks && i < HEALTH_SERVICES; i++) {
		if (view_service_after(p->view, h->at, &s)) {
			h->at = s.id;
			walk_service(p, &s);
		} else {
			h->walks = false;
			sweep(p, h->pass);
		}
	}
	board_set(&p->mine->c[WC_checks_gauge], h->checks.live);
}

int health_init(struct health *h)
{
	for (unsigned i = 0; i < HEALTH_BUCKETS; i++)
		list_init(&h->bucket[i]);
	return slab_init(&h->checks, "check", sizeof(struct check), HEALTH_CHECKS);
}

void health_fini(struct path *p)
{
	if (p->health.checks.mem)
		sweep(p, UINT32_MAX);
	slab_fini(&p->health.checks);
}
