/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See sim.h. */
#include "tests/sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "store/view/build.h"
#include "workers/path/exchange.h"

#define RING_DATA 65536u

static struct sim *world;	/* the one that lives */

static int64_t world_mono(void)
{
	return world->world_ns;
}
static int64_t world_unix(void)
{
	return 1795370000000 + world->world_ns / NS_PER_MS;
}

static const struct { const char *name; uint16_t port; enum row_app app; } service[GATES] = {
	[GATE_HTTP] = { "web", 80, ROW_APP_HTTP },
	[GATE_RAW] = { "raw", 81, ROW_APP_TCP },
	[GATE_AUTO] = { "auto", 82, ROW_APP_AUTO },
	[GATE_H2] = { "h2", 83, ROW_APP_H2 },
};

static int dialled(void *arg, struct link *l)
{
	struct sim *s = arg;
	struct endpoint *e;

	/* 10.0.<gate>.<n>: which Service it is of. */
	if (net_chance(&s->net, s->refuse))
		return -ECONNREFUSED;
	e = endpoint_new(s, l, l->addr.ip[2] == GATE_RAW || l->addr.ip[2] == GATE_AUTO);
	if (l->addr.ip[2] == GATE_H2)
		endpoint_h2_begin(e);
	return 0;
}

static void *fresh(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	must(p != MAP_FAILED);
	return p;
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = calloc(1, sizeof *s);

	must(s);	/* a test that failed has left its world behind */
	never_aborts = true;
	world = s;
	s->seed = seed;
	s->http2 = seed % 3 == 0;
	s->world_ns = 1000 * NS_PER_S;
	net_init(&s->net, seed, &s->world_ns);
	s->net.dialled = dialled;
	s->net.arg = s;
	s->net.pipes = net_chance(&s->net, 2);
	net_use(&s->net);
	rand_seed(seed);
	clock_simulate(world_mono, world_unix);
	list_init(&s->callers);
	list_init(&s->endpoints);
	s->far_limits = h2_limits_default;
	s->far_limits.streams = 1 + net_rand(&s->net, 20);
	s->far_limits.window = 65535;

	s->knobs = fresh(sizeof *s->knobs);
	knobs_default(s->knobs);
	s->knobs->max_conns = 256;
	s->knobs->pooled = 4;
	s->knobs->worker_memory = 16 << 20;
	s->knobs->n_listeners = GATES;
	for (int i = 0; i < GATES; i++) {
		struct knobs_listener *l = &s->knobs->listener[i];

		snprintf(l->name, sizeof l->name, "l%d", i);
		strcpy(l->ns, i == GATE_RAW ? "back" : "front");
		l->route = LISTEN_SERVICE;
		strcpy(l->service_ns, "front");
		strcpy(l->service_name, service[i].name);
		l->service_port = service[i].port;
	}
	s->board = fresh(board_bytes(1));
	board_format(s->board, 1);
	rand_seed(seed);	/* lives are what they are whatever the board took for itself */
	s->ring_mem = fresh(RING_BYTES(RING_DATA));
	ring_format(s->ring_mem, RING_DATA);
	must(ring_open_writer(&s->ring_in, s->ring_mem, RING_BYTES(RING_DATA)) == 0);
	must(ring_open_reader(&s->ring_out, s->ring_mem, RING_BYTES(RING_DATA)) == 0);
	must(builder_new(SLICE("cluster.local"), &s->builder) == 0);
	s->path = fresh(sizeof *s->path);
	return s;
}

static void start(struct sim *s)
{
	if (s->path->knobs)
		return;
	if (s->starve)
		s->knobs->tenant_memory = s->starve;
	must(path_init(s->path, s->knobs, s->board, 0, &s->ring_in) == 0);
	s->path->fds.limit = s->path->fds.fixed + s->path->fds.reserve + 1024;
}

void sim_free(struct sim **sp)
{
	struct sim *s = *sp;

	*sp = NULL;
	if (s->path->knobs)
		path_fini(s->path);
	list_each(it, &s->callers)
		caller_free(container_of(it, struct caller, node));
	list_each(it, &s->endpoints)
		endpoint_free(container_of(it, struct endpoint, node));
	net_fini(&s->net);
	net_use(NULL);
	builder_free(&s->builder);
	clock_simulate(NULL, NULL);
	munmap(s->path, sizeof *s->path);
	munmap(s->board, board_bytes(1));
	munmap(s->ring_mem, RING_BYTES(RING_DATA));
	munmap(s->knobs, sizeof *s->knobs);
	world = NULL;
	free(s);
}

static struct slot_gen endpoint_slot(void *arg, const struct addr *a)
{
	(void)arg;
	return (struct slot_gen){ 1u + a->ip[2] * 8u + a->ip[3], 1 };
}

static struct slot_gen limit_slot(void *arg, uint16_t port)
{
	(void)arg;
	return (struct slot_gen){ port, 1 };
}

void sim_view(struct sim *s, unsigned endpoints)
{
	struct built built;
	struct view *v;
	int r;

	start(s);
	for (unsigned i = 0; i < GATES; i++) {
		char empty[1] = "", name[8], ns[8] = "front";
		struct row_service_port port = { .name = empty, .port = service[i].port,
						 .target_port = 8080, .app = service[i].app,
						 .app_protocol = empty };
		struct row svc = { .kind = ROW_SERVICE, .ns = ns, .name = name,
				   .service = { .n_ports = 1, .ports = &port } };
		struct row_slice_port sport = { .name = empty, .port = 8080 };
		struct row_endpoint ep[4];
		struct row slice = { .kind = ROW_SLICE, .ns = ns, .name = name,
				     .slice = { .service = name, .family = 4, .n_ports = 1,
						.n_endpoints = endpoints, .ports = &sport,
						.endpoints = ep } };
		struct row_target target = { .name = name, .section = empty };
		struct row policy = { .kind = ROW_POLICY, .ns = ns, .name = name,
				      .policy = { .n_targets = 1, .targets = &target,
						  .requests = s->max_requests, .pending = s->pending,
						  .pending_ms = s->pending ? 200 : 0,
						  .balancing = balancing_default,
						  .ejection = ejection_default } };
		const struct row *slices[1] = { &slice }, *policies[1] = { &policy };
		struct unit_service u = { .service = &svc, .slices = slices, .n_slices = 1,
					  .slot = { 1 + i, 1 }, .endpoint_slot = endpoint_slot,
					  .policies = policies, .n_policies = s->max_requests > 0,
					  .limit_slot = limit_slot };

		must(endpoints <= countof(ep));
		snprintf(name, sizeof name, "%s", service[i].name);
		for (unsigned k = 0; k < endpoints; k++)
			ep[k] = (struct row_endpoint){
				.n_addrs = 1, .ready = true, .serving = true, .zone = empty,
				.node = empty, .target = empty, .host = empty,
				.addr = { .ip = { 10, 0, (uint8_t)i, (uint8_t)k }, .family = 4 } };
		must(builder_set_service(s->builder, &u) == 0);
	}
	for (unsigned i = 0; i < 2; i++)
		must(builder_set_namespace(s->builder, &(struct unit_namespace){
			.name = i ? SLICE("back") : SLICE("front"), .tenant_slot = { 1 + i, 1 },
			.weight = 1 + i }) == 0);
	must(builder_commit(s->builder, ++s->rev, &built) == 0);
	if (built.is_base) {
		must(view_open_base(&built.fd, built.rev, &v) == 0);
		while ((r = view_check_step(v, 1000)) == 0)
			;
		must(r == 1);
	} else {
		must(view_open_overlay(s->path->view, &built.fd, built.rev, &v) == 0);
	}
	path_adopt(s->path, v);
}

static struct link *call(struct sim *s, int gate)
{
	struct addr peer = { .ip = { 10, 9, 9, 9 }, .port = 5555, .family = 4 };
	struct stream st;
	struct link *l = net_call(&s->net, &st);

	l->addr = peer;
	if (conn_new(s->path->gate[gate], &st, &peer) == NULL) {
		link_leave(&s->net, l);
		return NULL;
	}
	return l;
}

/* By bits of the seed, so that lives without HTTP/2 are what they were. */
static struct caller *begin(struct sim *s, struct caller *c)
{
	if (s->http2 && net_chance(&s->net, 2)) {
		c->half_close = false;
		c->h2 = h2_side_new(c);
		c->h2_was = true;
	}
	return c;
}

struct caller *sim_caller(struct sim *s, int gate, unsigned n)
{
	struct link *l = call(s, gate);
	unsigned first = s->plans;

	if (l == NULL || first + n > PLANS_MAX)
		return NULL;
	for (unsigned i = 0; i < n; i++)
		plan_make(&s->net, &s->plan[s->plans++]);
	return begin(s, caller_new(s, l, first, n));
}

struct caller *sim_flow(struct sim *s, int gate, uint64_t bytes)
{
	struct link *l = call(s, gate);

	return l ? caller_new_opaque(s, l, bytes) : NULL;
}

static bool event(void *arg, uint64_t token, unsigned bits)
{
	return path_event(arg, token, bits);
}

static void read_log(struct sim *s)
{
	uint8_t line[RING_RECORD_MAX + 1];
	enum ring_kind kind;
	size_t n;

	while (ring_take(&s->ring_out, &kind, line, &n)) {
		const char *r;

		line[n] = 0;
		must(kind == RING_ACCESS && memchr(line, '\n', n) == NULL && strlen((char *)line) == n);
		r = strstr((char *)line, " reason=");
		must(r);
		for (unsigned i = 0; i < REASONS; i++) {
			const char *name = reason_row((enum reason)i)->name;
			size_t len = strlen(name);

			if (!strncmp(r + 8, name, len) && r[8 + len] == ' ')
				s->log_by_reason[i]++;
		}
		s->log_lines++;
	}
	must(ring_dropped(&s->ring_in) == 0);
}

void sim_pass(struct sim *s)
{
	struct path *p = s->path;

	net_tick(&s->net);
	list_each(it, &s->endpoints) {
		struct endpoint *e = container_of(it, struct endpoint, node);

		if (e->link->connecting && net_chance(&s->net, 3)) {
			if (net_chance(&s->net, s->refuse)) {
				link_refuse(&s->net, e->link, -ECONNREFUSED);
				e->done = true;
			} else if (!e->dead_end || net_chance(&s->net, 2)) {
				link_accept(&s->net, e->link);
			}
		}
		if (!e->done && !net_chance(&s->net, 4))
			endpoint_step(e);
		if (e->done)
			endpoint_free(e);
	}
	list_each(it, &s->callers) {
		struct caller *c = container_of(it, struct caller, node);

		if (!net_chance(&s->net, 4))
			caller_step(c);
		if (c->done)
			caller_free(c);
	}
	if (net_chance(&s->net, s->fail_memory)) {
		struct slab *which[] = { &p->chunks.small, &p->chunks.large, &p->exchanges, &p->conns,
					 &p->blocks, &p->pool.backs, &p->pool.entries, &p->h2.sessions,
					 &p->h2.streams, &p->trunks.trunks, &p->trunks.bundles };

		if (net_chance(&s->net, 8))
			p->h2.fail_after = 1 + net_rand(&s->net, 50);
		which[net_rand(&s->net, countof(which))]->fail_after = 1 + net_rand(&s->net, 5);
	}
	clock_tick();
	net_collect(&s->net, event, p);
	if (clock_now().ns >= p->due.ns)	/* as the worker's timer does */
		path_deadlines(p);
	for (unsigned i = 1 + net_rand(&s->net, 3); i && sched_run(&p->sched); i--)
		;
	path_reap(p);
	read_log(s);
	s->world_ns += 1000 + net_rand(&s->net, 50000);
}

bool sim_run(struct sim *s, int64_t ms)
{
	int64_t until = s->world_ns + ms * NS_PER_MS;
	uint64_t moved = s->net.moved;
	unsigned still = 0;

	while (s->n_callers && s->world_ns < until) {
		sim_pass(s);
		still = s->net.moved == moved ? still + 1 : 0;
		moved = s->net.moved;
		if (still > 50)
			s->world_ns += 20 * NS_PER_MS;
	}
	return s->n_callers == 0;
}

const char *sim_state(struct sim *s)
{
	static char text[2048];
	struct strbuf b = strbuf_on(text, sizeof text);
	struct path *p = s->path;

	strbuf_printf(&b, "trunks %u sessions %u streams %u ", p->trunks.trunks.live, p->h2.sessions.live,
		      p->h2.streams.live);
	strbuf_printf(&b, "conns %u exchanges %u backs %u idle %u small %u large %u blocks %u memory %zu "
		    "runnable %u links %u wheel %u tenants %u,%u", p->conns.live, p->exchanges.live,
		    p->pool.backs.live, p->pool.idle, p->chunks.small.live, p->chunks.large.live,
		    p->blocks.live, p->memory.used, p->sched.runnable, s->net.n_links,
		    p->wheel.count, p->gate[0]->tenant->conns, p->gate[1]->tenant->conns);
	list_each(it, &s->callers) {
		struct caller *c = container_of(it, struct caller, node);

		strbuf_printf(&b, "; caller of %u+%u sent %u answered %u out %zu in %zu", c->first, c->n,
			    c->sending, c->answering, c->out.n - c->out.at, c->in.n - c->in.at);
		if (c->opaque)
			strbuf_printf(&b, " flow %llu sent %llu got %llu",
				    (unsigned long long)c->flow, (unsigned long long)c->flow_sent,
				    (unsigned long long)c->flow_got);
		if (c->link)
			strbuf_printf(&b, " link in %llu/%llu out %llu/%llu ends %d%d%d%d event %d%d",
				    (unsigned long long)(c->link->in.wrote - c->link->in.read),
				    (unsigned long long)(c->link->in.wrote - c->link->in.arrived),
				    (unsigned long long)(c->link->out.wrote - c->link->out.read),
				    (unsigned long long)(c->link->out.wrote - c->link->out.arrived),
				    c->link->in.end_wrote, c->link->in.end_arrived,
				    c->link->out.end_wrote, c->link->out.end_arrived,
				    c->link->event, c->link->watched);
	}
	list_each(it, &s->endpoints) {
		struct endpoint *e = container_of(it, struct endpoint, node);

		strbuf_printf(&b, "; endpoint out %zu in %zu ends %d head %d%s%s",
			      e->out.n - e->out.at, e->in.n - e->in.at, e->ends_when_sent,
			      (int)(e->flow_at & 1), e->dead_end ? " dead" : "",
			      e->link->connecting ? " connecting" : "");
	}
	for (uint32_t i = 0; i < p->conns.fresh; i++) {
		struct conn *c = slab_at(&p->conns, (struct slot_ref){ i, p->conns.gen[i] });

		if (c == NULL)
			continue;
		strbuf_printf(&b, "; conn %s ready %x want %x out %zu in %d eof %d",
			    conn_state_name(c->state), c->front.ready, c->front.want,
			    c->front.out.bytes, c->front.in != NULL, c->front.eof);
		if (c->ex)
			strbuf_printf(&b, " at %s", stage_name(c->ex->at));
		if (c->ex && c->ex->back)
			strbuf_printf(&b, " back ready %x want %x out %zu in %d eof %d",
				    c->ex->back->leg.ready, c->ex->back->leg.want,
				    c->ex->back->leg.out.bytes, c->ex->back->leg.in != NULL,
				    c->ex->back->leg.eof);
	}
	return text;
}

const char *sim_check(struct sim *s)
{
	struct path *p = s->path;
	uint64_t held = 0;

	/* A request goes on to its endpoint after its caller has left, over a slow line a few bytes at a
	 * time: until nothing has moved for longer than timeouts.response, the longest. */
	for (int still = 0; still < 400; still++) {
		uint64_t moved = s->net.moved;

		sim_pass(s);
		s->world_ns += NS_PER_S;
		if (s->net.moved != moved)
			still = 0;
	}
	for (uint32_t i = 0; i < 64; i++)
		held += s->board->endpoint[i].load != 0;
	if (p->conns.live || p->exchanges.live || p->pool.backs.live || p->chunks.small.live ||
	    p->h2.sessions.live || p->h2.streams.live || p->h2.bytes || p->streams ||
	    p->trunks.trunks.live || p->trunks.bundles.live || p->trunks.taken || p->fds.none ||
	    p->pendings.n || p->pendings.lines.live || p->pendings.sources.live ||
	    p->chunks.large.live || p->blocks.live > 1 || p->memory.used || p->sched.runnable ||
	    s->net.n_links || p->wheel.count || p->gate[0]->tenant->conns ||
	    p->gate[1]->tenant->conns || p->gate[0]->tenant->requests ||
	    p->gate[1]->tenant->requests || path_has_dead(p))
		return sim_state(s);
	for (int i = 0; i < GATES; i++)
		if (p->gate[i]->conns || p->gate[i]->requests)
			return "counts of a gate";
	return held ? "claims on endpoints" : NULL;
}
