/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Copies of requests: what is copied, where it goes, and that nobody else feels it. */
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE	"service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define FOR	"X-Forwarded-For: 127.0.0.1\r\n"
#define PROTO	"X-Forwarded-Proto: http\r\n"
#define ANSWER	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
#define TWO ONE "service t/m port=80/main/http\nendpoint t/m:main $2\n" \
	    "route t/r parent=t/s\n"

static uint64_t counter(const struct rig *r, enum worker_counter c)
{
	return __atomic_load_n(&r->path.mine->c[c], __ATOMIC_RELAXED);
}

/* One request with these bytes is answered; its copy comes as want, "" for none. */
static void copies(struct rig *r, const char *sent, const char *rest, const char *body, const char *want)
{
	int c = rig_dial(r), b, m;

	rig_say(r, c, sent);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, c, rest);
	rig_hear(r, b, body);
	if (want[0]) {
		m = rig_accept(r, 2);	/* while the other waits for its answer */
		rig_hear(r, m, want);
		rig_say(r, m, "HTTP/1.1 500 Oops\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad");
		rig_hear_end(r, m);
		close(m);
	} else {
		ck_assert(rig_nobody_calls(r, 2));
	}
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	rig_hear(r, c, ANSWER "\r\n");
	close(b);
	close(c);
	rig_until_quiet(r);
}

#define MIRRORED TWO "rule mirror=t/m:80 request.set=A:b rewrite=path:/new backend=t/s:80\n"

START_TEST(a_copy_goes_where_the_filter_says_and_its_answer_nowhere)
{
	struct rig *r = rig_new(MIRRORED, NULL);

	copies(r, "GET /a?b HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", "", "",
	       "GET /new?b HTTP/1.1\r\nHost: x\r\n" PROTO "X-Forwarded-For: 1.2.3.4, 127.0.0.1\r\nA: b\r\n\r\n");
	copies(r, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe", "llo", "hello",
	       "POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" FOR PROTO "A: b\r\n\r\nhello");
	copies(r, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n",
	       "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
	       "POST /new HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" FOR PROTO "A: b\r\n\r\n"
	       "5\r\nhello\r\n0\r\n\r\n");
	ck_assert_uint_eq(counter(r, WC_mirrors), 3);
	ck_assert_uint_eq(counter(r, WC_mirrors_failed), 0);
	ck_assert_uint_eq(counter(r, WC_mirrors_dropped), 0);
	ck_assert_uint_eq(r->path.mirrors, 0);
	rig_log(r, "status=200 method=GET path=\"/a?b\"");
	rig_log(r, "status=200 method=POST path=\"/a\"");
	rig_log(r, "status=200 method=POST path=\"/a\"");
	ck_assert_uint_eq(r->lines, 3);		/* copies have none */
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(a_copy_has_no_faults)
{
	struct rig *r = rig_new(MIRRORED "policy t/p target=m delay=60000/100 abort=503/0/100\n", NULL);

	copies(r, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "", "",
	       "GET /new HTTP/1.1\r\nHost: x\r\n" FOR PROTO "A: b\r\n\r\n");
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(a_body_that_is_too_large_is_not_copied)
{
	static char body[70001];
	struct rig *r = rig_new(MIRRORED, NULL);

	memset(body, 'a', sizeof body - 1);
	copies(r, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", body, body, "");
	ck_assert_uint_eq(counter(r, WC_mirrors), 0);
	ck_assert_uint_eq(counter(r, WC_mirrors_dropped), 1);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(a_copy_that_fails_is_counted_and_nothing_else)
{
	struct rig *r = rig_new(TWO "rule mirror=t/m:80 mirror=t/none:80 mirror=t/m:81 backend=t/s:80\n", NULL);

	rig_close_back(r, 2);
	for (int i = 0; i < 3; i++) {
		int c = rig_dial(r), b;

		rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		b = rig_accept(r, 1);
		rig_hear_head(r, b);
		rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		rig_hear(r, c, ANSWER "\r\n");
		close(b);
		close(c);
		rig_until_quiet(r);
	}
	ck_assert_uint_eq(counter(r, WC_mirrors), 3);
	ck_assert_uint_eq(counter(r, WC_mirrors_failed), 3);
	ck_assert_uint_eq(counter(r, WC_mirrors_dropped), 6);	/* Services and ports that are not there */
	ck_assert_uint_eq(counter(r, WC_retries), 0);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(a_portion_of_requests_is_copied)
{
	struct rig *r = rig_new(TWO "rule prefix=/none mirror=t/m:80*0/100 backend=t/s:80\n"
				    "rule prefix=/all mirror=t/m:80*100/100 mirror=t/m:80 backend=t/s:80\n", NULL);
	int c, b, m[2];

	copies(r, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n", "", "", "");
	c = rig_dial(r);
	rig_say(r, c, "GET /all HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	for (int i = 0; i < 2; i++)
		m[i] = rig_accept(r, 2);
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(rig_hear_head(r, m[i]), "GET /all HTTP/1.1\r\nHost: x\r\n" FOR PROTO "\r\n");
		close(m[i]);
	}
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "\r\n");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_drain_does_not_wait_for_copies)
{
	struct rig *r = rig_new(MIRRORED, NULL);
	int c = rig_dial(r), b, m;

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	m = rig_accept(r, 2);
	rig_hear_head(r, m);
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "Connection: close\r\n\r\n");
	close(c);
	close(b);
	path_drain(&r->path);
	rig_hear_cut(r, m);
	close(m);
	rig_until_quiet(r);
	ck_assert_uint_eq(path_live(&r->path), 0);
	rig_end(&r, -1, -1);
}
END_TEST

UNIT_TESTS("mirror", a_copy_goes_where_the_filter_says_and_its_answer_nowhere,
	   a_body_that_is_too_large_is_not_copied, a_copy_has_no_faults,
	   a_copy_that_fails_is_counted_and_nothing_else, a_portion_of_requests_is_copied,
	   a_drain_does_not_wait_for_copies)
