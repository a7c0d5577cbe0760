/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Clients of the two listening sockets: pipelines, slow ones, too many, those who leave. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/serve.h"

static struct loop loop;
static struct serve serve;
static char path[64];
static struct slot_ref late;
static unsigned asked;
static size_t body_bytes;
static int64_t fake_ns;

static int64_t fake_mono(void)
{
	return fake_ns;
}

static int64_t fake_unix(void)
{
	return 1;
}

static bool answer_cb(void *arg, const struct asker *who, const struct wire_request *req,
		      struct answer *ret)
{
	(void)arg;
	asked++;
	ck_assert_uint_eq(who->uid, getuid());
	ck_assert_uint_eq(who->pid, (uint32_t)getpid());
	if (slice_eq(req->target, SLICE("/late"))) {
		late = who->ref;
		return false;
	}
	*ret = (struct answer){ .status = 200, .type = "text/plain", .body = text_of(8 << 20) };
	text_add(&ret->body, req->target);
	while (ret->body.n < body_bytes)
		text_adds(&ret->body, "0123456789");
	return true;
}

static void begin(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct fd door = { socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	ck_assert_int_eq(loop_init(&loop), 0);
	snprintf(path, sizeof path, "/tmp/np-test-serve.%d", getpid());
	unlink(path);
	memcpy(sa.sun_path, path, sizeof path);
	ck_assert_int_eq(bind(door.v, (struct sockaddr *)&sa, sizeof sa), 0);
	ck_assert_int_eq(listen(door.v, 128), 0);
	serve_init(&serve, &loop, answer_cb, NULL);
	serve_open(&serve, DOOR_ADMIN, &door);
	asked = 0;
	body_bytes = 0;
}

static void end(void)
{
	serve_fini(&serve);
	loop_fini(&loop);
	unlink(path);
	clock_simulate(NULL, NULL);
}

static int client(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, path, sizeof path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	return fd;
}

static void say(int fd, const char *s)
{
	ck_assert_int_eq(send(fd, s, strlen(s), MSG_NOSIGNAL), (ssize_t)strlen(s));
}

/* Runs the loop and reads until it ends with what is wanted (or the end when wanted is NULL). */
static char *hear(int fd, const char *wanted)
{
	static char buf[12 << 20];
	size_t n = 0;

	for (int quiet = 0; quiet < 200;) {
		ssize_t r;

		loop_once(&loop);
		r = recv(fd, buf + n, sizeof buf - n - 1, 0);
		if (r > 0) {
			n += (size_t)r;
			quiet = 0;
		} else if (r == 0 || (r < 0 && errno != EAGAIN)) {
			buf[n] = 0;
			ck_assert_msg(!wanted || strstr(buf, wanted), "ended: %.200s", buf);
			return buf;
		} else {
			quiet++;
		}
		buf[n] = 0;
		if (wanted && strstr(buf, wanted))
			return buf;
	}
	ck_abort_msg("never heard %s, but %.300s", wanted ? wanted : "the end", buf);
	return buf;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

START_TEST(pipelined_requests_are_answered_in_order)
{
	char *text;
	int fd;

	begin();
	fd = client();
	for (int i = 0; i < 100; i++) {
		char req[64];

		snprintf(req, sizeof req, "GET /%03d HTTP/1.1\r\nHost: a\r\n\r\n", i);
		say(fd, req);
	}
	text = hear(fd, "/099");
	ck_assert_uint_eq(count(text, "HTTP/1.1 200 OK"), 100);
	for (int i = 1; i < 100; i++) {
		char a[16], b[16];

		snprintf(a, sizeof a, "/%03d", i - 1);
		snprintf(b, sizeof b, "/%03d", i);
		ck_assert(strstr(text, a) < strstr(text, b));
	}
	close(fd);
	end();
}
END_TEST

START_TEST(a_late_answer_holds_the_next_request_back_and_finds_only_its_client)
{
	struct answer a = { .status = 200, .type = "text/plain", .body = text_of(100) };
	struct slot_ref first;
	char *text;
	int fd, again;

	begin();
	fd = client();
	say(fd, "GET /late HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
	while (asked == 0)
		loop_once(&loop);
	first = late;
	for (int i = 0; i < 10; i++)
		loop_once(&loop);
	ck_assert_uint_eq(asked, 1);
	text_adds(&a.body, "at last");
	serve_answer(&serve, late, &a);
	text = hear(fd, "/next");
	ck_assert(strstr(text, "at last") && strstr(text, "at last") < strstr(text, "/next"));
	close(fd);
	/* The client went away: its place is another's, who must not get the answer. */
	while (serve.clients)
		loop_once(&loop);
	again = client();
	say(again, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
	while (asked < 3)
		loop_once(&loop);
	ck_assert_uint_eq(first.slot, late.slot);
	a = (struct answer){ .status = 200, .type = "text/plain", .body = text_of(100) };
	text_adds(&a.body, "not yours");
	serve_answer(&serve, first, &a);
	a = (struct answer){ .status = 200, .type = "text/plain", .body = text_of(100) };
	text_adds(&a.body, "yours");
	serve_answer(&serve, late, &a);
	ck_assert_ptr_null(strstr(hear(again, "yours"), "not yours"));
	close(again);
	end();
}
END_TEST

START_TEST(who_finishes_answers_what_was_asked_and_nobody_new)
{
	struct answer a = { .status = 200, .type = "text/plain", .body = text_of(100) };
	int idle, busy, next;

	begin();
	idle = client();
	busy = client();
	next = client();
	say(idle, "GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
	hear(idle, "/one");
	say(busy, "GET /late HTTP/1.1\r\nHost: a\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n");
	say(next, "GET /half HTTP/1.1\r\nHo");
	while (asked < 2 || serve.clients < 3)
		loop_once(&loop);
	for (int i = 0; i < 10; i++)
		loop_once(&loop);
	serve_finish(&serve);
	hear(idle, NULL);			/* the end */
	text_adds(&a.body, "at last");
	serve_answer(&serve, late, &a);
	ck_assert_ptr_null(strstr(hear(busy, NULL), "/never"));
	say(next, "st: a\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(hear(next, NULL), "/half"));
	ck_assert_uint_eq(asked, 3);
	close(idle);
	close(busy);
	close(next);
	while (serve.clients)
		loop_once(&loop);
	end();
}
END_TEST

START_TEST(a_large_answer_arrives_whole_and_head_has_no_body)
{
	char *text;
	int fd;

	begin();
	body_bytes = 6 << 20;
	fd = client();
	say(fd, "GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	text = hear(fd, NULL);
	ck_assert_uint_ge(strlen(text), body_bytes);
	ck_assert_ptr_nonnull(strstr(text, "Connection: close"));
	close(fd);
	fd = client();
	say(fd, "HEAD /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	text = hear(fd, NULL);
	ck_assert_uint_lt(strlen(text), 400);
	ck_assert_ptr_nonnull(strstr(text, "Content-Length: 62914"));
	close(fd);
	ck_assert_uint_eq(serve.out_bytes, 0);
	end();
}
END_TEST

START_TEST(nonsense_gets_an_error_and_the_connection_ends)
{
	char *text;
	int fd;

	begin();
	fd = client();
	say(fd, "GET / HTTP/1.1\r\nHost : a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
	text = hear(fd, NULL);
	ck_assert_ptr_nonnull(strstr(text, "HTTP/1.1 400"));
	ck_assert_ptr_nonnull(strstr(text, "{\"error\":"));
	ck_assert_uint_eq(asked, 0);
	close(fd);
	fd = client();
	say(fd, "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	hear(fd, "100 Continue\r\n\r\n");
	say(fd, "{}");
	hear(fd, "200 OK");
	close(fd);
	end();
}
END_TEST

START_TEST(a_slow_request_is_timed_out_and_an_idle_client_makes_room)
{
	int fd[SERVE_CLIENTS + 1], slow;
	char *text;

	begin();
	fake_ns = 1000 * NS_PER_S;
	clock_simulate(fake_mono, fake_unix);
	slow = client();
	say(slow, "GET / HT");
	for (int i = 0; i < 5; i++)
		loop_once(&loop);
	fake_ns += (SERVE_READ_MS + 100) * NS_PER_MS;
	serve.tick.fn(serve.tick.arg);
	text = hear(slow, NULL);
	ck_assert_ptr_nonnull(strstr(text, "HTTP/1.1 408"));
	close(slow);
	for (int i = 0; i < 5; i++)
		loop_once(&loop);
	ck_assert_uint_eq(serve.clients, 0);

	for (int i = 0; i < SERVE_CLIENTS; i++) {
		fake_ns += NS_PER_MS;
		fd[i] = client();
		loop_once(&loop);
		loop_once(&loop);
	}
	ck_assert_uint_eq(serve.clients, SERVE_CLIENTS);
	say(fd[0], "GET /0 HT");	/* the oldest is in the middle of something */
	loop_once(&loop);
	fd[SERVE_CLIENTS] = client();
	say(fd[SERVE_CLIENTS], "GET /new HTTP/1.1\r\nHost: a\r\n\r\n");
	hear(fd[SERVE_CLIENTS], "/new");
	ck_assert_uint_eq(serve.shed, 1);
	ck_assert_int_eq(recv(fd[1], &(char){ 0 }, 1, 0), 0);	/* the idle one went */
	say(fd[0], "TP/1.1\r\nHost: a\r\n\r\n");
	hear(fd[0], "/0");
	for (int i = 0; i <= SERVE_CLIENTS; i++)
		close(fd[i]);
	end();
}
END_TEST

START_TEST(a_client_that_does_not_read_is_closed)
{
	int fd;

	begin();
	fake_ns = 1000 * NS_PER_S;
	clock_simulate(fake_mono, fake_unix);
	body_bytes = 6 << 20;
	fd = client();
	say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
	for (int i = 0; i < 50; i++)
		loop_once(&loop);
	ck_assert_uint_eq(serve.clients, 1);
	ck_assert_uint_gt(serve.out_bytes, 0);
	fake_ns += (SERVE_STALL_MS + 100) * NS_PER_MS;
	serve.tick.fn(serve.tick.arg);
	ck_assert_uint_eq(serve.clients, 0);
	ck_assert_uint_eq(serve.out_bytes, 0);
	close(fd);
	end();
}
END_TEST

START_TEST(without_descriptors_accepting_pauses_and_goes_on)
{
	struct rlimit was, low;
	int fd, top;

	begin();
	fd = client();
	say(fd, "GET /patient HTTP/1.1\r\nHost: a\r\n\r\n");
	top = dup(fd);
	close(top);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	low = (struct rlimit){ .rlim_cur = (rlim_t)top, .rlim_max = was.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (int i = 0; i < 5; i++)
		loop_once(&loop);
	ck_assert_uint_eq(serve.clients, 0);
	ck_assert(!serve.door_open[DOOR_ADMIN]);	/* else the loop would spin */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	serve.tick.fn(serve.tick.arg);
	hear(fd, "/patient");
	close(fd);
	end();
}
END_TEST

UNIT_TESTS("serve", who_finishes_answers_what_was_asked_and_nobody_new,
	   without_descriptors_accepting_pauses_and_goes_on, pipelined_requests_are_answered_in_order,
	   a_late_answer_holds_the_next_request_back_and_finds_only_its_client,
	   a_large_answer_arrives_whole_and_head_has_no_body,
	   nonsense_gets_an_error_and_the_connection_ends,
	   a_slow_request_is_timed_out_and_an_idle_client_makes_room,
	   a_client_that_does_not_read_is_closed)
