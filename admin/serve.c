/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See serve.h. */
#include "admin/serve.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define IN_BYTES 4096

enum client_state { READING, ASKED, WRITING, LEAVING };

struct serve_client {
	struct serve *serve;
	unsigned slot;
	struct fd fd;
	struct loop_io io;
	enum serve_door door;
	enum client_state state;
	uint32_t uid, pid;
	struct wire wire;
	struct mono since;	/* of the state, or of the first byte of the request */
	struct mono progress;	/* last byte either way */
	bool head_only, keep_alive;
	struct text head, body;
	size_t out_at;		/* of head and body together */
	size_t thrown;		/* bytes thrown away while leaving */
	size_t in_at, in_n;
	uint8_t in[IN_BYTES];
};

void answer_error(struct answer *a, int status, const char *error, const char *where,
		  const char *todo)
{
	*a = (struct answer){ .status = status, .type = "application/json",
			      .body = text_of(65536) };
	js_open(&a->body, NULL, '{');
	js_str(&a->body, "error", error);
	if (where)
		js_str(&a->body, "where", where);
	if (todo)
		js_str(&a->body, "do", todo);
	js_close(&a->body, '}');
	text_addc(&a->body, '\n');
}

static void door_cb(void *arg, unsigned events);

/* Listening sockets are watched only while there is a place to put a client. */
static void doors_update(struct serve *s)
{
	for (int d = 0; d < DOORS; d++) {
		bool open = fd_is_open(s->door[d]) && !s->paused &&
			    (d != DOOR_METRICS || s->on_metrics < SERVE_METRICS);

		if (open == s->door_open[d])
			continue;
		s->door_open[d] = open;
		if (open)
			loop_io_start(s->loop, &s->door_io[d], s->door[d].v, LOOP_READ, door_cb, s);
		else
			loop_io_stop(s->loop, &s->door_io[d]);
	}
}

static void out_drop(struct serve_client *c)
{
	bool large = c->body.n > 65536;

	c->serve->out_bytes -= c->head.n + c->body.n;
	text_fini(&c->head);
	text_fini(&c->body);
	c->out_at = 0;
	if (large)	/* what it took to make it, too */
		malloc_trim(0);
}

static void client_close(struct serve_client *c)
{
	struct serve *s = c->serve;

	loop_io_stop(s->loop, &c->io);
	out_drop(c);
	wire_fini(&c->wire);
	fd_close(&c->fd);
	s->client[c->slot] = NULL;
	s->gen[c->slot]++;	/* even: free */
	s->clients--;
	s->on_metrics -= c->door == DOOR_METRICS;
	free(c);
	doors_update(s);
}

static void enter(struct serve_client *c, enum client_state state)
{
	c->state = state;
	c->since = c->progress = clock_now();
}

/* Takes the body.  What cannot be held is answered by a short error. */
static void client_answer(struct serve_client *c, struct answer *a)
{
	struct serve *s = c->serve;

	if (a->body.cut) {
		text_fini(&a->body);
		answer_error(a, 503, "the answer is too large", NULL,
			     "ask for less, for example with ?namespace=NAME");
	} else if (a->body.n + s->out_bytes > SERVE_ALL_BYTES) {
		text_fini(&a->body);
		answer_error(a, 503, "too many large answers are on their way", NULL,
			     "ask again in a few seconds");
	}
	c->head = text_of(4096);
	wire_response_head(&c->head, a->status, a->type, a->body.n, c->keep_alive, a->allow);
	c->body = a->body;
	a->body = text_of(0);
	if (c->head_only) {
		text_fini(&c->body);
		c->body = text_of(0);
	}
	s->out_bytes += c->head.n + c->body.n;
	c->out_at = 0;
	enter(c, WRITING);
}

static void client_bad(struct serve_client *c, int status, const char *why)
{
	struct answer a;

	answer_error(&a, status, why, NULL, NULL);
	c->keep_alive = false;
	c->head_only = false;
	client_answer(c, &a);
}

static void client_ask(struct serve_client *c)
{
	struct serve *s = c->serve;
	struct asker who = { .door = c->door, .uid = c->uid, .pid = c->pid,
			     .ref = { c->slot, s->gen[c->slot] } };
	struct answer a = { .status = 500, .type = "text/plain" };

	c->keep_alive = c->wire.req.keep_alive && !s->finishing;
	c->head_only = c->wire.req.method == WIRE_HEAD_METHOD;
	if (s->fn(s->arg, &who, &c->wire.req, &a))
		client_answer(c, &a);
	else
		enter(c, ASKED);
}

/* One step; false: the kernel has to move first, or the client is gone (*gone). */
static bool step_reading(struct serve_client *c, bool *gone)
{
	size_t used;

	if (c->in_at == c->in_n) {
		ssize_t n = read(c->fd.v, c->in, sizeof c->in);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n <= 0) {
			*gone = true;
			return false;
		}
		c->in_at = 0;
		c->in_n = (size_t)n;
		c->progress = clock_now();
	}
	if (wire_is_idle(&c->wire))
		c->since = clock_now();
	switch (wire_feed(&c->wire, slice_of(c->in + c->in_at, c->in_n - c->in_at), &used)) {
	case WIRE_MORE:
		c->in_at += used;
		if (c->wire.head_done && c->wire.wants_continue) {
			static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";

			c->wire.wants_continue = false;
			/* A client whose buffer has no room for 25 bytes times out. */
			if (send(c->fd.v, go, sizeof go - 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
				*gone = true;
		}
		return !*gone;
	case WIRE_REQUEST:
		c->in_at += used;
		client_ask(c);
		return true;
	case WIRE_BAD:
		client_bad(c, c->wire.status, c->wire.why);
		return true;
	}
	return false;
}

static bool step_writing(struct serve_client *c, bool *gone)
{
	size_t all = c->head.n + c->body.n;

	if (c->out_at < all) {
		struct slice h = slice_from(text_slice(&c->head), c->out_at);
		size_t body_at = c->out_at > c->head.n ? c->out_at - c->head.n : 0;
		struct slice b = slice_from(text_slice(&c->body), body_at);
		struct iovec iov[2] = { { (void *)(uintptr_t)h.p, h.n },
					{ (void *)(uintptr_t)b.p, b.n } };
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
		ssize_t n = sendmsg(c->fd.v, &m, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n < 0) {
			*gone = true;
			return false;
		}
		c->out_at += (size_t)n;
		c->progress = clock_now();
		if (c->out_at < all)
			return true;
	}
	out_drop(c);
	if (c->keep_alive && !c->serve->finishing) {
		wire_next(&c->wire);
		enter(c, READING);
	} else {
		shutdown(c->fd.v, SHUT_WR);
		enter(c, LEAVING);
	}
	return true;
}

static bool step_leaving(struct serve_client *c, bool *gone)
{
	ssize_t n = read(c->fd.v, c->in, sizeof c->in);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || (c->thrown += (size_t)n) > 16 * WIRE_BODY) {
		*gone = true;
		return false;
	}
	return true;
}

static void client_run(struct serve_client *c)
{
	bool more = true, gone = false;
	unsigned want;

	/* Bounded: one client with a full pipeline must not hold the others up. */
	for (int i = 0; i < 32 && more && !gone; i++) {
		switch (c->state) {
		case READING:
			more = step_reading(c, &gone);
			break;
		case ASKED:
			more = false;
			break;
		case WRITING:
			more = step_writing(c, &gone);
			break;
		case LEAVING:
			more = step_leaving(c, &gone);
			break;
		}
	}
	if (gone) {
		client_close(c);
		return;
	}
	if (c->state == ASKED)
		want = 0;
	else if (c->state == WRITING || (c->state == READING && c->in_at < c->in_n))
		want = LOOP_WRITE;
	else
		want = LOOP_READ;
	loop_io_change(c->serve->loop, &c->io, want);
}

static void client_cb(void *arg, unsigned events)
{
	(void)events;
	clock_tick();
	client_run(arg);
}

static void tick_cb(void *arg)
{
	struct serve *s = arg;
	struct mono now = clock_tick();

	for (unsigned i = 0; i < SERVE_CLIENTS; i++) {
		struct serve_client *c = s->client[i];
		int64_t age, quiet;

		if (!c)
			continue;
		age = mono_diff_ms(now, c->since);
		quiet = mono_diff_ms(now, c->progress);
		if (c->state == READING && !wire_is_idle(&c->wire) && age > SERVE_READ_MS) {
			s->timed_out++;
			client_bad(c, 408, "the request did not arrive within 10 seconds");
			client_run(c);
		} else if ((c->state == READING && quiet > SERVE_IDLE_MS) ||
			   (c->state == WRITING && (quiet > SERVE_STALL_MS || age > SERVE_WRITE_MS)) ||
			   (c->state == LEAVING && age > SERVE_LEAVE_MS)) {
			s->timed_out += c->state == WRITING;
			client_close(c);
		}
	}
	s->paused = false;
	doors_update(s);
	if (s->clients == 0)
		loop_timer_stop(s->loop, &s->tick);
}

static void tick_start(struct serve *s)
{
	if (!loop_timer_is_running(&s->tick))
		loop_timer_start(s->loop, &s->tick, NS_PER_S, 1000, tick_cb, s);
}

/* Makes room by closing the client that was idle longest, between requests if there is one. */
static bool shed_one(struct serve *s)
{
	struct serve_client *oldest = NULL;

	for (unsigned i = 0; i < SERVE_CLIENTS; i++) {
		struct serve_client *c = s->client[i];

		if (c && (c->state == READING || c->state == LEAVING) && wire_is_idle(&c->wire) &&
		    (!oldest || c->progress.ns < oldest->progress.ns))
			oldest = c;
	}
	if (!oldest)
		return false;
	s->shed++;
	client_close(oldest);
	return true;
}

static bool client_new(struct serve *s, enum serve_door door, struct fd *fd)
{
	struct serve_client *c;
	unsigned slot = 0;

	if (s->clients == SERVE_CLIENTS && !shed_one(s))
		return false;
	c = calloc(1, sizeof *c);
	if (!c)
		return false;
	while (s->client[slot])
		slot++;
	c->serve = s;
	c->slot = slot;
	c->door = door;
	c->fd = fd_take(fd);
	c->head = c->body = text_of(0);
	wire_init(&c->wire);
	if (door == DOOR_ADMIN) {
		struct ucred cred = { .uid = UINT32_MAX };
		socklen_t n = sizeof cred;

		if (getsockopt(c->fd.v, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
			cred = (struct ucred){ .uid = UINT32_MAX };
		c->uid = cred.uid;
		c->pid = (uint32_t)cred.pid;
	} else {
		c->uid = UINT32_MAX;
	}
	enter(c, READING);
	s->client[slot] = c;
	s->gen[slot] |= 1;	/* odd: taken */
	s->clients++;
	tick_start(s);
	s->on_metrics += door == DOOR_METRICS;
	s->accepted++;
	loop_io_start(s->loop, &c->io, c->fd.v, LOOP_READ, client_cb, c);
	return true;
}

static void door_cb(void *arg, unsigned events)
{
	struct serve *s = arg;

	(void)events;
	clock_tick();
	for (int d = 0; d < DOORS; d++) {
		for (int i = 0; i < 8 && s->door_open[d]; i++) {
			struct fd fd = { accept4(s->door[d].v, NULL, NULL,
						 SOCK_NONBLOCK | SOCK_CLOEXEC) };

			if (!fd_is_open(fd)) {
				/* Short of descriptors: without a pause this would spin. */
				if ((errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				     errno == ENOMEM) && !shed_one(s)) {
					s->paused = true;
					tick_start(s);
					doors_update(s);
				}
				break;
			}
			if (!client_new(s, (enum serve_door)d, &fd))
				fd_close(&fd);
			doors_update(s);
		}
	}
}

void serve_init(struct serve *s, struct loop *loop, serve_fn *fn, void *arg)
{
	memset(s, 0, sizeof *s);
	s->loop = loop;
	s->fn = fn;
	s->arg = arg;
	for (int d = 0; d < DOORS; d++)
		s->door[d] = FD_NONE;
}

void serve_open(struct serve *s, enum serve_door d, struct fd *fd)
{
	if (s->door_open[d])
		loop_io_stop(s->loop, &s->door_io[d]);
	s->door_open[d] = false;
	fd_close(&s->door[d]);
	s->door[d] = fd_take(fd);
	doors_update(s);
}

void serve_finish(struct serve *s)
{
	s->finishing = true;
	for (int d = 0; d < DOORS; d++) {
		struct fd none = FD_NONE;

		serve_open(s, (enum serve_door)d, &none);
	}
	for (unsigned i = 0; i < SERVE_CLIENTS; i++)
		if (s->client[i] && s->client[i]->state == READING && wire_is_idle(&s->client[i]->wire))
			client_close(s->client[i]);
}

void serve_answer(struct serve *s, struct slot_ref ref, struct answer *a)
{
	struct serve_client *c = ref.slot < SERVE_CLIENTS && s->gen[ref.slot] == ref.gen
					 ? s->client[ref.slot] : NULL;

	if (!c || c->state != ASKED) {
		text_fini(&a->body);
		return;
	}
	client_answer(c, a);
	client_run(c);
}

void serve_fini(struct serve *s)
{
	for (unsigned i = 0; i < SERVE_CLIENTS; i++)
		if (s->client[i])
			client_close(s->client[i]);
	for (int d = 0; d < DOORS; d++) {
		if (s->door_open[d])
			loop_io_stop(s->loop, &s->door_io[d]);
		s->door_open[d] = false;
		fd_close(&s->door[d]);
	}
	loop_timer_stop(s->loop, &s->tick);
}
