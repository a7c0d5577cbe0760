/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See path_rig.h. */
#include "tests/lib/path_rig.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "nodeproxy/lib/base/rand.h"

#define RING_DATA 65536

static int listen_on(uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd, 128), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

/* $1 -> 127.0.0.1:PORT */
static char *expand(const struct rig *r, const char *text)
{
	char *out = malloc(strlen(text) * 4 + 64), *q = out;

	for (; *text; text++) {
		if (text[0] == '$' && text[1] >= '1' && text[1] <= '0' + RIG_BACKS) {
			q += sprintf(q, "127.0.0.1:%u", r->back_port[text[1] - '1']);
			text++;
		} else {
			*q++ = *text;
		}
	}
	*q = 0;
	return out;
}

struct rig *rig_new(const char *view, void (*change)(struct knobs *))
{
	struct rig *r = calloc(1, sizeof *r);
	struct knobs *k = &r->knobs;
	struct fd fd;
	size_t n = board_bytes(1);

	signal(SIGPIPE, SIG_IGN);
	rand_seed(1);
	knobs_default(k);
	k->n_listeners = 1;
	strcpy(k->listener[0].name, "front");
	strcpy(k->listener[0].ns, "t");
	k->listener[0].route = LISTEN_SERVICE;
	strcpy(k->listener[0].service_ns, "t");
	strcpy(k->listener[0].service_name, "s");
	k->listener[0].service_port = 80;
	/* Most tests compare whole heads. */
	k->headers_request_id = k->headers_traceparent = HEADERS_PASS;
	if (change)
		change(k);
	r->board = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	ck_assert_ptr_ne(r->board, MAP_FAILED);
	board_format(r->board, 1);
	r->ring_mem = aligned_alloc(64, RING_BYTES(RING_DATA));
	ring_format(r->ring_mem, RING_DATA);
	ck_assert_int_eq(ring_open_writer(&r->ring, r->ring_mem, RING_BYTES(RING_DATA)), 0);
	ck_assert_int_eq(ring_open_reader(&r->reader, r->ring_mem, RING_BYTES(RING_DATA)), 0);
	ck_assert_int_eq(path_init(&r->path, k, r->board, 0, &r->ring), 0);
	listeners_init(&r->listeners, &r->path, 0);
	fd.v = listen_on(&r->port);
	ck_assert_int_eq(listeners_add(&r->listeners, &fd, 0, 0), 0);
	for (int i = 0; i < RIG_BACKS; i++)
		r->back_fd[i] = listen_on(&r->back_port[i]);
	r->world = world_new();
	if (view)
		rig_view(r, view);
	return r;
}

void rig_view(struct rig *r, const char *text)
{
	char *t = expand(r, text);
	const struct view *v = world_say(r->world, t);

	free(t);
	view_ref(v);
	path_adopt(&r->path, v);
}

void rig_free(struct rig **rp)
{
	struct rig *r = *rp;

	*rp = NULL;
	listeners_drop_all(&r->listeners);
	fd_close(&r->listeners.spare);
	path_fini(&r->path);
	world_free(&r->world);
	for (int i = 0; i < RIG_BACKS; i++)
		if (r->back_fd[i] >= 0)
			close(r->back_fd[i]);
	munmap(r->board, board_bytes(1));
	free(r->ring_mem);
	free(r);
}

void rig_event(void *arg, uint64_t token, unsigned bits)
{
	struct rig *r = arg;

	if (!path_event(&r->path, token, bits))
		listeners_event(&r->listeners, token);
}

static int pass(struct rig *r)
{
	int n;

	clock_tick();
	path_deadlines(&r->path);
	n = poll_collect(&r->path.poll, 0, rig_event, r);
	sched_run(&r->path.sched);
	path_reap(&r->path);
	return n;
}

void rig_pass(struct rig *r)
{
	pass(r);
}

/* Real time for what the kernel still has to do; never a sleep. */
static bool too_late(int64_t began)
{
	return clock_tick().ns - began > 10 * NS_PER_S;
}

void rig_until_quiet(struct rig *r)
{
	for (int quiet = 0; quiet < 50;)
		quiet = pass(r) || r->path.sched.runnable ? 0 : quiet + 1;
}

int rig_dial(struct rig *r)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(r->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

int rig_accept(struct rig *r, int back)
{
	int64_t began = clock_tick().ns;

	for (;;) {
		int fd = accept4(r->back_fd[back - 1], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		ck_assert_msg(!too_late(began), "nobody calls endpoint %d", back);
		pass(r);
	}
}

bool rig_nobody_calls(struct rig *r, int back)
{
	int fd;

	rig_until_quiet(r);
	fd = accept4(r->back_fd[back - 1], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0;
}

void rig_close_back(struct rig *r, int back)
{
	close(r->back_fd[back - 1]);
	r->back_fd[back - 1] = -1;
}

void rig_say_bytes(struct rig *r, int fd, const void *p, size_t n)
{
	int64_t began = clock_tick().ns;

	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k > 0) {
			p = (const char *)p + k;
			n -= (size_t)k;
			began = clock_tick().ns;
			continue;
		}
		ck_assert_msg(k < 0 && errno == EAGAIN, "cannot say: %s", strerror(errno));
		ck_assert_msg(!too_late(began), "nobody listens");
		pass(r);
	}
}

void rig_say(struct rig *r, int fd, const char *text)
{
	rig_say_bytes(r, fd, text, strlen(text));
}

/* Some bytes, at least one; 0: the end. */
static size_t some(struct rig *r, int fd, char *to, size_t room, const char *wanted)
{
	int64_t began = clock_tick().ns;

	for (;;) {
		ssize_t k = recv(fd, to, room, 0);

		if (k >= 0)
			return (size_t)k;
		ck_assert_msg(errno == EAGAIN, "waiting for \"%s\": %s", wanted, strerror(errno));
		ck_assert_msg(!too_late(began), "waiting for \"%s\": nothing comes", wanted);
		pass(r);
	}
}

/* The Date line that begins at at, of which up to *got are there, is whole and ours: taken out. */
static void take_date(struct rig *r, int fd, char *have, size_t at, size_t *got)
{
	while (*got - at < HTTP1_DATE_TEXT) {
		size_t k = some(r, fd, have + *got, HTTP1_DATE_TEXT - (*got - at), "a Date line");

		ck_assert_uint_gt(k, 0);
		*got += k;
	}
	ck_assert_msg(memcmp(have + at, "Date: ", 6) == 0 &&
			      memcmp(have + at + HTTP1_DATE_TEXT - 6, " GMT\r\n", 6) == 0,
		      "a strange Date: \"%.*s\"", HTTP1_DATE_TEXT, have + at);
	*got -= HTTP1_DATE_TEXT;
	memmove(have + at, have + at + HTTP1_DATE_TEXT, *got - at);
}

void rig_hear(struct rig *r, int fd, const char *text)
{
	size_t n = strlen(text), got = 0, same = 0;
	char *have = malloc(n + HTTP1_DATE_TEXT + 1);

	while (got < n) {
		size_t k = some(r, fd, have + got, n - got, text);

		got += k;
		have[got] = 0;
		ck_assert_msg(k > 0, "end after \"%s\", expected \"%s\"", have, text);
		while (same < got && have[same] == text[same])
			same++;
		if (same < got && same >= 2 && memcmp(have + same - 2, "\r\nDa", min_of(got - same + 2, 4ul)) == 0)
			take_date(r, fd, have, same, &got);
		ck_assert_msg(memcmp(have, text, got) == 0, "heard \"%s\", expected \"%s\"", have, text);
	}
	free(have);
}

const char *rig_hear_head(struct rig *r, int fd)
{
	static char head[16384];
	size_t n = 0;

	do {
		ck_assert_msg(some(r, fd, head + n, 1, "a head") == 1, "end after \"%.*s\"", (int)n,
			      head);
		n++;
		ck_assert_uint_lt(n, sizeof head - 1);
	} while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4));
	head[n] = 0;
	return head;
}

void rig_hear_end(struct rig *r, int fd)
{
	char byte[2] = "";

	ck_assert_msg(some(r, fd, byte, 1, "the end") == 0, "heard \"%s\", expected the end", byte);
}

void rig_hear_cut(struct rig *r, int fd)
{
	int64_t began = clock_tick().ns;
	char bytes[4096];

	for (;;) {
		ssize_t k = recv(fd, bytes, sizeof bytes, 0);

		if (k == 0 || (k < 0 && errno != EAGAIN))
			return;
		ck_assert_msg(!too_late(began), "the connection lives on");
		pass(r);
	}
}

void rig_log(struct rig *r, const char *words)
{
	int64_t began = clock_tick().ns;
	static uint8_t line[RING_RECORD_MAX];
	enum ring_kind kind;
	char *copy, *save = NULL;
	size_t n;

	while (!ring_take(&r->reader, &kind, line, &n) || kind != RING_ACCESS) {
		ck_assert_msg(!too_late(began), "no access line with \"%s\"", words);
		pass(r);
	}
	n = min_of(n, sizeof r->log - 1);
	memcpy(r->log, line, n);
	r->log[n] = 0;
	r->lines++;
	copy = strdup(words);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		const char *at = strstr(r->log, w);

		ck_assert_msg(at && (at[strlen(w)] == ' ' || !at[strlen(w)] || strchr(w, '"')),
			      "\"%s\" has no word \"%s\"", r->log, w);
	}
	free(copy);
}

void rig_must_be_empty(struct rig *r)
{
	int64_t began = clock_tick().ns;

	while (r->path.conns.live || r->path.pool.backs.live || r->path.exchanges.live ||
	       r->path.trunks.trunks.live) {
		ck_assert_msg(!too_late(began), "left: %u conns, %u backs, %u exchanges, %u trunks",
			      r->path.conns.live, r->path.pool.backs.live, r->path.exchanges.live,
			      r->path.trunks.trunks.live);
		pass(r);
	}
	ck_assert_uint_eq(r->path.h2.sessions.live + r->path.h2.streams.live, 0);
	ck_assert_uint_eq(r->path.memory.used, 0);
	ck_assert_uint_eq(r->path.chunks.small.live + r->path.chunks.large.live, 0);
	ck_assert_uint_eq(r->path.pipes.open, r->path.pipes.n_spare);
	for (unsigned i = 0; i < BOARD_CLAIMS; i++)
		ck_assert_uint_eq(r->path.mine->claim[i].endpoint | r->path.mine->claim[i].limit, 0);
}

void rig_end(struct rig **r, int caller, int back)
{
	if (caller >= 0)
		close(caller);
	if (back >= 0)
		close(back);
	rig_must_be_empty(*r);
	rig_free(r);
}
