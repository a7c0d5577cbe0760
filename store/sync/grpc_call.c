/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grpc.h: calls.
 *
 *   HEAD   the head of the answer is waited for
 *   BODY   messages come, until trailers say how it ended
 *   OVER   nobody is told any more; its stream is closed, the reaper frees it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/sync/grpc_inner.h"

#define FIELDS 16u
#define TIMEOUT_MAX_MS 99999999	/* gRPC: at most eight digits */

enum call_state { CALL_HEAD, CALL_BODY, CALL_OVER };

struct grpc_call {
	struct node in_channel;
	struct grpc *g;
	enum call_state state;
	struct h2_stream *st;		/* NULL once it is over */
	struct grpc_frames frames;
	uint8_t *out;			/* messages of ours, framed, that wait for a window */
	size_t out_at, out_n, out_room;
	bool open;			/* more of them may come */
	struct loop_timer deadline;
	void (*on_message)(void *arg, struct slice);
	void (*on_ended)(void *arg, enum grpc_status, const char *words);
	void *arg;
};

/* ---- the end ---- */

static void retire(struct grpc_call *c)
{
	c->state = CALL_OVER;
	if (c->st)
		stream_close(&c->st->s, true);
	c->st = NULL;
	loop_timer_stop(c->g->loop, &c->deadline);
	list_remove(&c->in_channel);
	list_add_tail(&c->g->dead, &c->in_channel);
	grpc_soon(c->g);
}

static void end(struct grpc_call *c, enum grpc_status status, const char *words)
{
	retire(c);
	c->on_ended(c->arg, status, words);
}

static void deadline_cb(void *arg)
{
	struct grpc_call *c = arg;

	clock_tick();
	end(c, GRPC_DEADLINE_EXCEEDED, "no answer in time");
}

void grpc_calls_end(struct grpc *g, const char *why)
{
	struct grpc_call *c;

	/* One that ended may cancel others: always the first of those that are left. */
	while (!list_is_empty(&g->calls)) {
		c = list_entry(g->calls.next, struct grpc_call, in_channel);
		end(c, GRPC_UNAVAILABLE, why);
	}
}

void grpc_calls_reap(struct grpc *g)
{
	struct grpc_call *c;

	while ((c = list_pop(&g->dead, struct grpc_call, in_channel))) {
		grpc_frames_fini(&c->frames);
		if (c->out)
			explicit_bzero(c->out, c->out_room);	/* it may have been a password */
		free(c->out);
		free(c);
	}
}

void grpc_calls_drop(struct grpc *g)
{
	while (!list_is_empty(&g->calls))
		retire(list_entry(g->calls.next, struct grpc_call, in_channel));
	grpc_calls_reap(g);
}

/* ---- what the other side says about it ---- */

/* Of an answer that is no answer of gRPC: "HTTP to gRPC status code mapping". */
static enum grpc_status of_http(struct slice status)
{
	static const struct {
		const char *http;
		enum grpc_status status;
	} rows[] = {
		{ "400", GRPC_INTERNAL }, { "401", GRPC_UNAUTHENTICATED },
		{ "403", GRPC_PERMISSION_DENIED }, { "404", GRPC_UNIMPLEMENTED },
		{ "429", GRPC_UNAVAILABLE }, { "502", GRPC_UNAVAILABLE },
		{ "503", GRPC_UNAVAILABLE }, { "504", GRPC_UNAVAILABLE },
	};

	for (size_t i = 0; i < countof(rows); i++)
		if (slice_eq(status, slice_str(rows[i].http)))
			return rows[i].status;
	return GRPC_UNKNOWN;
}

static enum grpc_status of_reset(uint32_t code)
{
	switch (code) {
	case H2_REFUSED_STREAM:
		return GRPC_UNAVAILABLE;
	case H2_CANCEL:
		return GRPC_CANCELLED;
	case H2_ENHANCE_YOUR_CALM:
		return GRPC_RESOURCE_EXHAUSTED;
	case H2_INADEQUATE_SECURITY:
		return GRPC_PERMISSION_DENIED;
	default:
		return GRPC_INTERNAL;
	}
}

static int hex(uint8_t c)
{
	c = byte_lower(c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded; what comes out is for people and logs. */
static void decode(struct slice in, char out[GRPC_WORDS])
{
	size_t n = 0;

	for (size_t i = 0; i < in.n && n + 1 < GRPC_WORDS; i++) {
		uint8_t c = in.p[i];

		if (c == '%' && i + 2 < in.n && hex(in.p[i + 1]) >= 0 && hex(in.p[i + 2]) >= 0) {
			c = (uint8_t)(hex(in.p[i + 1]) << 4 | hex(in.p[i + 2]));
			i += 2;
		}
		out[n++] = c >= ' ' && c < 127 && c != '"' && c != '\\' ? (char)c : '?';
	}
	out[n] = 0;
}

static bool line_of(const struct h2_block *b, const char *name, struct slice *ret)
{
	struct slice n, v;

	for (uint32_t i = 0; h2_block_line(b, i, &n, &v); i++)
		if (slice_eq(n, slice_str(name))) {
			*ret = v;
			return true;
		}
	return false;
}

/* The lines that end a call; copied out, because the block goes. */
static enum grpc_status last_words(const struct h2_block *b, char words[GRPC_WORDS])
{
	struct slice v;
	uint64_t n;

	words[0] = 0;
	if (line_of(b, "grpc-message", &v))
		decode(v, words);
	if (!line_of(b, "grpc-status", &v) || !slice_u64(v, INT32_MAX, &n)) {
		snprintf(words, GRPC_WORDS, "an answer without grpc-status");
		return GRPC_UNKNOWN;
	}
	return n < GRPC_STATUSES ? (enum grpc_status)n : GRPC_UNKNOWN;
}

/* False: the call has ended. */
static bool take_head(struct grpc_call *c)
{
	const struct h2_block *b = h2_block(c->st);
	char words[GRPC_WORDS] = "";
	struct slice v = { 0 };
	enum grpc_status s;

	if (!line_of(b, ":status", &v) || !slice_eq(v, SLICE("200"))) {
		s = of_http(v);
		snprintf(words, sizeof words, "HTTP status %.3s", v.n == 3 ? (const char *)v.p : "?");
	} else if (!line_of(b, "content-type", &v) || !slice_starts(v, SLICE("application/grpc"))) {
		s = GRPC_UNKNOWN;
		snprintf(words, sizeof words, "the answer is not one of gRPC");
	} else if (b->is_end) {
		s = last_words(b, words);
	} else {
		h2_block_take(c->st);
		c->state = CALL_BODY;
		return true;
	}
	end(c, s, words);
	return false;
}

static const char *words_of(int r)
{
	return r == -EMSGSIZE ? "a message larger than allowed" :
	       r == -EPROTO   ? "a message that is compressed" :
				"no memory for a message";
}

/* False: the call is over. */
static bool take_body(struct grpc_call *c)
{
	struct iovec v;

	while (h2_body(c->st, &v, 1) > 0) {
		struct slice in = slice_of(v.iov_base, v.iov_len), message;
		int r;

		while ((r = grpc_frames_next(&c->frames, &in, &message)) == 1) {
			c->on_message(c->arg, message);
			if (c->state == CALL_OVER)
				return false;
		}
		if (r < 0) {
			end(c, r == -EPROTO ? GRPC_INTERNAL : GRPC_RESOURCE_EXHAUSTED, words_of(r));
			return false;
		}
		h2_body_take(c->st, v.iov_len);
	}
	return true;
}

static void take_trailers(struct grpc_call *c)
{
	char words[GRPC_WORDS];
	enum grpc_status s = last_words(h2_block(c->st), words);

	if (s == GRPC_OK && grpc_frames_is_inside(&c->frames)) {
		s = GRPC_INTERNAL;
		snprintf(words, sizeof words, "the last message was cut");
	}
	end(c, s, words);
}

/* ---- what we say ---- */

/* As far as windows and memory allow; the rest with a later step. */
static void flush(struct grpc_call *c)
{
	while (c->out_at < c->out_n) {
		struct iovec v = { c->out + c->out_at, c->out_n - c->out_at };
		ssize_t n = c->st->s.ops->write(&c->st->s, &v, 1);

		if (n <= 0)
			return;		/* of an end there will be news */
		c->out_at += (size_t)n;
	}
	c->out_at = c->out_n = 0;
	if (!c->open)
		(void)c->st->s.ops->finish(&c->st->s);
}

void grpc_calls_flush(struct grpc *g)
{
	for (struct node *it = g->calls.next; it != &g->calls; it = it->next)
		flush(list_entry(it, struct grpc_call, in_channel));
}

static int put(struct grpc_call *c, struct slice m)
{
	size_t want = c->out_n + GRPC_HEAD_BYTES + m.n;

	if (m.n > INT32_MAX)
		return -ENOMEM;
	if (want > c->out_room) {
		uint8_t *p = realloc(c->out, want);

		if (p == NULL)
			return -ENOMEM;
		c->out = p;
		c->out_room = want;
	}
	grpc_frame_head((uint32_t)m.n, c->out + c->out_n);
	if (m.n)
		memcpy(c->out + c->out_n + GRPC_HEAD_BYTES, m.p, m.n);
	c->out_n = want;
	return 0;
}

void grpc_call_news(struct grpc_call *c, unsigned news)
{
	const struct h2_block *b;

	if (c->state == CALL_OVER)
		return;
	while (c->state == CALL_HEAD && (b = h2_block(c->st))) {
		if (b->kind == H2_INTERIM)
			h2_block_take(c->st);
		else if (!take_head(c))
			return;
	}
	if (c->state == CALL_BODY && !take_body(c))
		return;
	if (c->state == CALL_BODY && h2_block(c->st)) {
		take_trailers(c);
		return;
	}
	if (h2_state(c->g->h2) >= H2_DYING)
		return;		/* the channel says why all of them end */
	if (news & H2_NEWS_RESET)
		end(c, of_reset(c->st->code),
		    c->st->offence ? h2_offence_row(c->st->offence)->words : "the call was reset");
	else if (c->st->gets == H2_GETS_NOTHING)
		end(c, GRPC_UNKNOWN, "an answer without grpc-status");
}

/* ---- making one ---- */

static struct h2_field line(const char *name, const char *value)
{
	return (struct h2_field){ (const uint8_t *)name, (const uint8_t *)value, strlen(name),
				  strlen(value), 0 };
}

static int request(struct grpc_call *c, const struct grpc_call_terms *t)
{
	const struct grpc *g = c->g;
	struct h2_field f[FIELDS];
	char timeout[24];
	size_t n = 0;

	f[n++] = line(":method", "POST");
	f[n++] = line(":scheme", g->creds ? "https" : "http");
	f[n++] = line(":path", t->method);
	f[n++] = line(":authority", g->authority);
	f[n++] = line("te", "trailers");
	f[n++] = line("content-type", "application/grpc");
	f[n++] = line("user-agent", "nodeproxy/" PACKAGE_VERSION);
	if (t->deadline_ms) {
		snprintf(timeout, sizeof timeout, "%lldm",
			 (long long)min_of(t->deadline_ms, (int64_t)TIMEOUT_MAX_MS));
		f[n++] = line("grpc-timeout", timeout);
	}
	if (g->token[0]) {
		f[n] = line(g->token_name, g->token);
		f[n++].is_secret = 1;
	}
	must(n + t->fields <= FIELDS);
	for (unsigned i = 0; i < t->fields; i++)
		f[n++] = t->field[i];
	return h2_request(g->h2, f, n, false, &g->stock->budget, c, &c->st);
}

struct grpc_call *grpc_call(struct grpc *g, const struct grpc_call_terms *t, struct slice message)
{
	struct grpc_call *c = g->state == GRPC_UP && !g->leave[0] ? calloc(1, sizeof *c) : NULL;

	if (c == NULL)
		return NULL;
	c->g = g;
	c->open = t->open;
	c->frames.max = g->message_max;
	c->on_message = t->message;
	c->on_ended = t->ended;
	c->arg = t->arg;
	if (put(c, message) < 0 || request(c, t) < 0) {
		free(c->out);
		free(c);
		return NULL;
	}
	list_add_tail(&g->calls, &c->in_channel);
	if (t->deadline_ms)
		loop_timer_start(g->loop, &c->deadline, t->deadline_ms * NS_PER_MS, 0, deadline_cb, c);
	h2_stream_stalls(c->st, t->deadline_ms ? t->deadline_ms : INT32_MAX);
	grpc_soon(g);
	return c;
}

int grpc_call_send(struct grpc_call *c, struct slice message)
{
	int r;

	if (c->state == CALL_OVER || !c->open)
		return -EPIPE;
	r = put(c, message);
	if (r < 0)
		return r;
	grpc_soon(c->g);
	return 0;
}

void grpc_call_cancel(struct grpc_call **cp)
{
	struct grpc_call *c = *cp;

	*cp = NULL;
	if (c && c->state != CALL_OVER)
		retire(c);
}
