/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grpc.h: stock and channels.
 *
 * A connection is told about by two callbacks, of its descriptor and of the timer `again`; both only
 * step().  What a call of grpc.h changes is done by the next step, so no callback of a user's is ever
 * under another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/net/tcp.h"
#include "store/sync/grpc_inner.h"

#define CHANNELS	16u
#define STREAMS		1024u
#define SMALL_CHUNKS	2048u		/* 8 MiB; only what is touched is used */
#define LARGE_CHUNKS	16u		/* header blocks */
#define BUDGET		(8u << 20)
#define WINDOW_MOST	(1u << 20)	/* what comes is taken out at once */
#define DIAL_MS		3000
#define SHAKE_MS	5000
#define GREET_MS	5000
#define LOST_MS		300		/* all that lose a server come back within this time */
#define NEXT_MS		50		/* to the next endpoint, before all were tried */
#define PAUSE_MIN_MS	200		/* after a round */
#define PAUSE_MAX_MS	10000
#define ROUNDS		16		/* reads in one step */
#define STARVED_MS	10

static const char *const names[GRPC_STATUSES] = {
#define STATUS(name, words) words,
#include "store/sync/grpc_status.def"
#undef STATUS
};

const char *grpc_status_name(enum grpc_status s)
{
	return names[s < GRPC_STATUSES ? s : GRPC_UNKNOWN];
}

/* ---- stock ---- */

/* BoringSSL asks for a signature, of the channel whose key it is. */
static int sign(void *arg, struct slot_ref ref, const struct tls_job *job)
{
	struct grpc_stock *s = arg;

	list_each(it, &s->channels) {
		const struct grpc *g = list_entry(it, struct grpc, in_stock);

		if (g->id == job->key && g->creds) {
			grpc_creds_sign(g->creds, &s->tls, ref, job);
			return 0;
		}
	}
	return -ENOENT;
}

int grpc_stock_init(struct grpc_stock *s)
{
	int r = chunk_pool_init(&s->chunks, SMALL_CHUNKS, LARGE_CHUNKS);

	if (r < 0)
		return r;
	s->budget = (struct budget){ .limit = BUDGET };
	s->last_id = 0;
	list_init(&s->channels);
	r = h2_stock_init(&s->h2, &s->chunks, CHANNELS, STREAMS);
	if (r == 0) {
		r = tls_stock_init(&s->tls, CHANNELS);
		if (r == 0) {
			s->tls.ask = sign;
			s->tls.arg = s;
			return 0;
		}
		h2_stock_fini(&s->h2);
	}
	chunk_pool_fini(&s->chunks);
	return r;
}

void grpc_stock_fini(struct grpc_stock *s)
{
	must(list_is_empty(&s->channels));
	tls_stock_fini(&s->tls);
	h2_stock_fini(&s->h2);
	chunk_pool_fini(&s->chunks);
}

/* ---- states ---- */

static void step(struct grpc *);

static void timer_cb(void *arg);

static void again_cb(void *arg)
{
	clock_tick();
	step(arg);
}

static void io_cb(void *arg, unsigned events)
{
	(void)events;
	clock_tick();
	step(arg);
}

void grpc_soon(struct grpc *g)
{
	if (!loop_timer_is_running(&g->again))
		loop_timer_start(g->loop, &g->again, 0, 0, again_cb, g);
}

/* The one place that changes it; what it is worth waiting for is the timer's. */
static void move(struct grpc *g, enum grpc_state to, int64_t ms)
{
	g->state = to;
	loop_timer_start(g->loop, &g->timer, ms * NS_PER_MS, 0, timer_cb, g);
}

static int64_t pause_ms(const struct grpc *g)
{
	int64_t ms;

	if (g->was_fine)
		return rand_below(LOST_MS);
	if (g->attempts < g->endpoints)
		return rand_below(NEXT_MS);
	ms = PAUSE_MIN_MS;
	for (unsigned i = g->attempts / g->endpoints; i > 1 && ms < PAUSE_MAX_MS; i--)
		ms *= 2;
	ms = min_of(ms, (int64_t)PAUSE_MAX_MS);
	return ms / 2 + rand_below((uint32_t)ms);
}

static void disconnect(struct grpc *g)
{
	if (g->fd >= 0)
		loop_io_stop(g->loop, &g->io);
	g->fd = -1;
	if (g->h2) {
		/* The last words of a connection that is in order: what can be written at once. */
		if (h2_state(g->h2) < H2_DYING) {
			h2_end(g->h2, H2_NO_ERROR);
			(void)h2_write(g->h2);
		}
		h2_free(&g->h2);
	}
	stream_close(&g->line, false);
}

/* This attempt, or connection, is over. */
static void fail(struct grpc *g, const char *what)
{
	char why[GRPC_WORDS + ADDR_TEXT + 8], at[ADDR_TEXT];

	snprintf(why, sizeof why, "%s: %s", addr_text(&g->endpoint[g->at], true, at), what);
	disconnect(g);
	g->attempts++;
	g->leave[0] = 0;
	move(g, GRPC_WAITING, pause_ms(g));
	g->was_fine = false;
	g->at = (g->at + 1) % g->endpoints;
	grpc_calls_end(g, why);
	g->on_down(g->arg, why);
}

static void fail_errno(struct grpc *g, int r)
{
	fail(g, strerror(-r));
}

/* ---- connecting ---- */

static const char *name_of(const struct grpc *g, char room[ADDR_TEXT])
{
	return g->name[0] ? g->name : addr_text(&g->endpoint[g->at], false, room);
}

/* Servers of gRPC take a client that asks whether they live, while it has no call, for a nuisance. */
static uint32_t tick(struct grpc *g)
{
	g->limits.ping_idle_ms = list_is_empty(&g->calls) ? 0 : h2_limits_default.ping_idle_ms;
	return h2_tick(g->h2);
}

static void greet(struct grpc *g)
{
	g->h2 = h2_new(&g->stock->h2, false, &g->limits, &g->line, &g->stock->budget);
	if (g->h2 == NULL) {
		fail(g, "no memory for another connection");
		return;
	}
	move(g, GRPC_GREETING, GREET_MS);
}

static void encrypt(struct grpc *g)
{
	struct tls_side *side = NULL;
	struct stream tls;
	char name[ADDR_TEXT];
	int r;

	if (g->creds == NULL) {
		greet(g);
		return;
	}
	r = grpc_creds_side(g->creds, &g->stock->tls, name_of(g, name), &side);
	if (r == 0) {
		r = tls_new(&g->stock->tls, side, &g->stock->budget, SLOT_NONE, &g->line, &tls);
		tls_side_unref(&side);
	}
	if (r < 0) {
		fail_errno(g, r);
		return;
	}
	g->line = tls;
	move(g, GRPC_SHAKING, SHAKE_MS);
}

static void dial(struct grpc *g)
{
	int r = tcp_world->connect(&g->endpoint[g->at], &g->line);

	if (r < 0 && r != -EINPROGRESS) {
		fail_errno(g, r);
		return;
	}
	g->fd = g->line.fd.v;
	loop_io_start(g->loop, &g->io, g->fd, LOOP_READ | LOOP_WRITE, io_cb, g);
	move(g, GRPC_DIALING, DIAL_MS);
}

static void step_dialing(struct grpc *g)
{
	int r = g->line.ops->error(&g->line);

	if (r < 0)
		fail_errno(g, r);
	else
		encrypt(g);
}

static void step_shaking(struct grpc *g)
{
	enum tls_went went = tls_handshake(&g->line);

	if (went == TLS_KEY && !tls_waits_for_key(&g->line))
		went = tls_handshake(&g->line);		/* our key signs at once */
	switch (went) {
	case TLS_DONE:
		if (slice_eq(tls_alpn(&g->line), SLICE("h2")))
			greet(g);
		else
			fail(g, "does not speak HTTP/2 (ALPN h2)");
		break;
	case TLS_IN:
		loop_io_change(g->loop, &g->io, LOOP_READ);
		break;
	case TLS_OUT:
		loop_io_change(g->loop, &g->io, LOOP_READ | LOOP_WRITE);
		break;
	case TLS_KEY:
	case TLS_FAILED:
		fail(g, tls_fault_words(tls_why(&g->line)));
		break;
	}
}

/* ---- a session ---- */

static void tell_news(struct grpc *g)
{
	struct h2_stream *st;
	unsigned news;

	while ((st = h2_next(g->h2, &news)))
		if (st->user)
			grpc_call_news(st->user, news);
}

static bool is_over(struct grpc *g)
{
	enum h2_offence o = h2_offence(g->h2);

	if (h2_state(g->h2) < H2_DYING)
		return false;
	if (o == H2_OFFENCE_NONE || o == H2_OFFENCE_CUT)
		fail(g, "the connection was closed");
	else
		fail(g, h2_offence_row(o)->words);
	return true;
}

static void step_session(struct grpc *g)
{
	enum h2_went in = H2_MORE, out = H2_MORE;

	for (int i = 0; i < ROUNDS; i++) {
		in = h2_read(g->h2, g->stock->scratch, sizeof g->stock->scratch);
		tell_news(g);
		grpc_calls_flush(g);
		out = h2_write(g->h2);
		if (is_over(g))
			return;
		if (in == H2_DRY && !(g->line.ops->more && g->line.ops->more(&g->line)))
			break;
		if (in == H2_FULL && out == H2_FULL)
			break;
		in = H2_MORE;
	}
	if (g->leave[0]) {
		char why[GRPC_WORDS];

		memcpy(why, g->leave, sizeof why);
		fail(g, why);
		return;
	}
	if (h2_peer_is_leaving(g->h2)) {
		fail(g, "the server is leaving");
		return;
	}
	if (g->state == GRPC_GREETING && h2_is_greeted(g->h2)) {
		move(g, GRPC_UP, tick(g));
		g->on_up(g->arg);
	}
	if (in == H2_MORE)
		grpc_soon(g);
	else if (out == H2_STARVED)
		loop_timer_start(g->loop, &g->again, STARVED_MS * NS_PER_MS, 0, again_cb, g);
	loop_io_change(g->loop, &g->io, LOOP_READ | (out == H2_FULL ? LOOP_WRITE : 0));
}

static void step(struct grpc *g)
{
	grpc_calls_reap(g);
	switch (g->state) {
	case GRPC_WAITING:
		break;
	case GRPC_DIALING:
		step_dialing(g);
		break;
	case GRPC_SHAKING:
		step_shaking(g);
		break;
	case GRPC_GREETING:
	case GRPC_UP:
		step_session(g);
		break;
	}
	grpc_calls_reap(g);
}

static void timer_cb(void *arg)
{
	struct grpc *g = arg;
	uint32_t ms;

	clock_tick();
	switch (g->state) {
	case GRPC_WAITING:
		dial(g);
		break;
	case GRPC_DIALING:
		fail(g, "does not accept connections");
		break;
	case GRPC_SHAKING:
		fail(g, "no TLS handshake in time");
		break;
	case GRPC_GREETING:
		fail(g, "does not speak HTTP/2");
		break;
	case GRPC_UP:
		ms = tick(g);
		loop_timer_start(g->loop, &g->timer, ms * NS_PER_MS, 0, timer_cb, g);
		step(g);
		break;
	}
}

/* ---- from outside ---- */

enum grpc_state grpc_state(const struct grpc *g)
{
	return g->state;
}

const struct addr *grpc_endpoint(const struct grpc *g)
{
	return &g->endpoint[g->at];
}

void grpc_leave(struct grpc *g, const char *why)
{
	if (g->state != GRPC_UP)
		return;
	snprintf(g->leave, sizeof g->leave, "%s", why[0] ? why : "is of no use");
	grpc_soon(g);
}

void grpc_fine(struct grpc *g)
{
	g->attempts = 0;
	g->was_fine = true;
}

void grpc_token(struct grpc *g, const char *name, const char *value)
{
	if (value == NULL || strlen(value) >= sizeof g->token)
		value = "";
	snprintf(g->token_name, sizeof g->token_name, "%s", name);
	snprintf(g->token, sizeof g->token, "%s", value);
}

int grpc_new(struct loop *loop, struct grpc_stock *stock, const struct grpc_terms *t,
	     struct grpc **ret, char why[GRPC_WORDS])
{
	struct grpc *g;
	char room[ADDR_TEXT];
	int r;

	if (t->endpoints == 0 || t->endpoints > GRPC_ENDPOINTS || strlen(t->name) >= sizeof g->name) {
		snprintf(why, GRPC_WORDS, "endpoints: 1 to %u", GRPC_ENDPOINTS);
		return -EINVAL;
	}
	g = calloc(1, sizeof *g);
	if (g == NULL)
		return -ENOMEM;
	g->id = ++stock->last_id;
	r = grpc_creds_new(t, g->id, &g->creds, why);
	if (r < 0) {
		free(g);
		return r;
	}
	g->loop = loop;
	g->stock = stock;
	memcpy(g->endpoint, t->endpoint, t->endpoints * sizeof *t->endpoint);
	g->endpoints = t->endpoints;
	g->at = rand_below(t->endpoints);
	g->message_max = t->message_max;
	g->limits = h2_limits_default;
	g->limits.window_most = WINDOW_MOST;
	snprintf(g->name, sizeof g->name, "%s", t->name);
	snprintf(g->authority, sizeof g->authority, "%s",
		 t->name[0] ? t->name : addr_text(&g->endpoint[0], true, room));
	g->on_up = t->up;
	g->on_down = t->down;
	g->arg = t->arg;
	g->fd = -1;
	list_init(&g->calls);
	list_init(&g->dead);
	list_add_tail(&stock->channels, &g->in_stock);
	move(g, GRPC_WAITING, 0);
	*ret = g;
	return 0;
}

void grpc_free(struct grpc **gp)
{
	struct grpc *g = *gp;

	*gp = NULL;
	if (g == NULL)
		return;
	grpc_calls_drop(g);
	disconnect(g);
	loop_timer_stop(g->loop, &g->timer);
	loop_timer_stop(g->loop, &g->again);
	list_remove(&g->in_stock);
	grpc_creds_free(&g->creds);
	explicit_bzero(g->token, sizeof g->token);
	free(g);
}
