/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Lines that a proxy adds to heads, and those it takes away: each rule of it. */
#include <regex.h>
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define FOR	 "X-Forwarded-For: 127.0.0.1\r\n"
#define PROTO	 "X-Forwarded-Proto: http\r\n"
#define PARENT	 "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define OK	 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* The request with these lines, as the endpoint sees its lines; answered. */
static const char *seen(struct rig *r, const char *lines)
{
	static char head[16384];
	int c = rig_dial(r), b;
	const char *got;

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n");
	rig_say(r, c, lines);
	rig_say(r, c, "\r\n");
	b = rig_accept(r, 1);
	got = rig_hear_head(r, b);
	ck_assert_int_eq(strncmp(got, "GET / HTTP/1.1\r\nHost: x\r\n", 25), 0);
	snprintf(head, sizeof head, "%s", got + 25);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	rig_hear(r, c, OK);
	close(b);
	close(c);
	rig_until_quiet(r);
	return head;
}

struct rule {
	const char *sent, *got;
};

static void follow(const struct rule *rule, size_t n, void (*change)(struct knobs *))
{
	struct rig *r = rig_new(ONE_HTTP, change);

	for (size_t i = 0; i < n; i++)
		ck_assert_str_eq(seen(r, rule[i].sent), rule[i].got);
	rig_end(&r, -1, -1);
}

START_TEST(a_caller_is_written_behind_what_it_said)
{
	static const struct rule rules[] = {
		{ "", FOR PROTO "\r\n" },
		{ "X-Forwarded-For: 1.2.3.4\r\nA: b\r\nx-forwarded-for: 5.6.7.8\r\n",
		  PROTO "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1\r\nA: b\r\n\r\n" },
		{ "X-Forwarded-Proto: https\r\n", FOR "X-Forwarded-Proto: https\r\n\r\n" },
		{ "X-Forwarded-Proto: https\r\nX-Forwarded-For: a\r\n",
		  "X-Forwarded-For: a, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n" },
		{ "X-Forwarded-Host: h\r\n", FOR PROTO "X-Forwarded-Host: h\r\n\r\n" },
		{ "Forwarded: for=a\r\nA: b\r\nForwarded: for=\"[::1]\";by=c, for=d\r\n",
		  FOR PROTO "Forwarded: for=a, for=\"[::1]\";by=c, for=d, for=127.0.0.1;proto=http\r\n"
		  "A: b\r\n\r\n" },
		/* What would take ours into a quoted string of theirs, and what says nothing. */
		{ "Forwarded: for=a\r\nForwarded: for=\"b\r\nForwarded: for=\"c\\\"\r\nForwarded:\r\n"
		  "X-Forwarded-For:\r\nX-Forwarded-For: \"\r\n",
		  PROTO "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=a, for=127.0.0.1;proto=http\r\n\r\n" },
		/* Not his to take away from the next hop. */
		{ "Connection: x-forwarded-for, forwarded\r\nX-Forwarded-For: a\r\nForwarded: for=a\r\n",
		  PROTO "X-Forwarded-For: a, 127.0.0.1\r\nForwarded: for=a, for=127.0.0.1;proto=http\r\n\r\n" },
	};

	follow(rules, countof(rules), NULL);
}
END_TEST

static void replace(struct knobs *k)
{
	k->listener[0].forwarded = FORWARDED_REPLACE;
}

#define OURS FOR PROTO "X-Forwarded-Host: x\r\nForwarded: for=127.0.0.1;proto=http\r\n"

START_TEST(what_a_stranger_says_is_replaced)
{
	static const struct rule rules[] = {
		{ "", OURS "\r\n" },
		{ "X-Forwarded-For: 1.2.3.4\r\nA: b\r\nx-forwarded-for: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
		  "X-FORWARDED-HOST: bank\r\nForwarded: for=a\r\nForwarded: host=bank\r\n",
		  OURS "A: b\r\n\r\n" },
	};

	follow(rules, countof(rules), replace);
}
END_TEST

START_TEST(an_ipv6_caller_is_quoted_in_forwarded)
{
	struct rig *r = rig_new(ONE_HTTP, replace);
	int c, b;

	r->path.gate[0]->terms.proxy_protocol = PROXY_PROTOCOL_REQUIRE;
	c = rig_dial(r);
	rig_say(r, c, "PROXY TCP6 2001:db8::7 2001:db8::1 50000 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear(r, b, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::7\r\n" PROTO
		       "X-Forwarded-Host: x\r\nForwarded: for=\"[2001:db8::7]\";proto=http\r\n\r\n");
	rig_end(&r, c, b);
}
END_TEST

static void via(struct knobs *k)
{
	k->headers_via = HEADERS_VIA_ON;
}

START_TEST(via_is_off_or_written_both_ways)
{
	static const struct rule on[] = {
		{ "", FOR PROTO "Via: 1.1 nodeproxy\r\n\r\n" },
		{ "via: 1.0 fred\r\nA: b\r\nVia: 1.1 p.example (x, y)\r\n",
		  FOR PROTO "Via: 1.0 fred, 1.1 p.example (x, y), 1.1 nodeproxy\r\nA: b\r\n\r\n" },
	};
	static const struct rule off[] = { { "Via: 1.0 fred\r\n", FOR PROTO "Via: 1.0 fred\r\n\r\n" } };
	struct rig *r;
	int c, b;

	follow(off, countof(off), NULL);
	r = rig_new(ONE_HTTP, via);
	for (size_t i = 0; i < countof(on); i++) {
		c = rig_dial(r);
		rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n");
		rig_say(r, c, on[i].sent);
		rig_say(r, c, "\r\n");
		b = rig_accept(r, 1);
		rig_hear(r, b, "GET / HTTP/1.1\r\nHost: x\r\n");
		rig_hear(r, b, on[i].got);
		rig_say(r, b, "HTTP/1.1 103 Early Hints\r\n\r\n");
		rig_hear(r, c, "HTTP/1.1 103 Early Hints\r\nVia: 1.1 nodeproxy\r\n\r\n");
		rig_say(r, b, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nVia: 1.1 b\r\nA: c\r\n\r\n");
		rig_hear(r, c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 b, 1.0 nodeproxy\r\nA: c\r\n\r\n");
		rig_hear_cut(r, b);
		close(b);
		close(c);
	}
	rig_end(&r, -1, -1);
}
END_TEST

static int64_t zero(void)
{
	return 7 * NS_PER_S;
}

static int64_t then(void)
{
	return 784111777250;	/* RFC 9110 section 5.6.7 */
}

#define THEN "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

START_TEST(a_final_response_has_a_date)
{
	struct rig *r;
	int c, b;

	clock_simulate(zero, then);
	r = rig_new(ONE_HTTP, NULL);
	c = rig_dial(r);
	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 102 Processing\r\n\r\n");
	ck_assert_str_eq(rig_hear_head(r, c), "HTTP/1.1 102 Processing\r\n\r\n");
	rig_say(r, b, "HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n");
	ck_assert_str_eq(rig_hear_head(r, c), "HTTP/1.1 304 Not Modified\r\n" THEN "A: b\r\n\r\n");
	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear_head(r, b);
	/* It has one, and a Connection line does not take it away. */
	rig_say(r, b, "HTTP/1.1 204 No Content\r\ndate: yesterday\r\nConnection: date\r\n\r\n");
	ck_assert_str_eq(rig_hear_head(r, c), "HTTP/1.1 204 No Content\r\ndate: yesterday\r\n\r\n");
	rig_say(r, c, "BAD\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 400 Bad Request\r\n" THEN "Content-Type: text/plain\r\n");
	rig_end(&r, c, b);
	clock_simulate(NULL, NULL);
}
END_TEST

static void make(struct knobs *k)
{
	k->headers_request_id = k->headers_traceparent = HEADERS_MAKE;
}

#define HEX8  "[0-9a-f]{8}"
#define UUID  HEX8 "-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
#define MADE  "X-Request-Id: " UUID "\r\n"
#define TRACE "traceparent: 00-" HEX8 HEX8 HEX8 HEX8 "-" HEX8 HEX8 "-00\r\n"

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;

	ck_assert_int_eq(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	ck_assert_msg(regexec(&re, text, 0, NULL, 0) == 0, "\"%s\" is not \"%s\"", text, pattern);
	regfree(&re);
}

START_TEST(a_request_has_a_name_and_a_trace)
{
	static const struct rule rules[] = {	/* got: a pattern */
		{ "", MADE TRACE "\r\n$" },
		{ "A: b\r\n", MADE TRACE "A: b\r\n\r\n$" },
		{ "X-Request-Id: mine\r\n", TRACE "X-Request-Id: mine\r\n\r\n$" },
		{ "X-Request-Id: mine\r\ntraceparent: " PARENT "\r\ntracestate: a=b\r\n",
		  PROTO "X-Request-Id: mine\r\ntraceparent: " PARENT "\r\ntracestate: a=b\r\n\r\n$" },
		{ "traceparent: " PARENT "\r\ntracestate: a=b\r\nTraceState: c=d\r\n",
		  PROTO MADE "traceparent: " PARENT "\r\ntracestate: a=b\r\nTraceState: c=d\r\n\r\n$" },
		/* Not valid, or twice: made anew. */
		{ "X-Request-Id:\r\nA: b\r\n", PROTO MADE TRACE "A: b\r\n\r\n$" },
		{ "X-Request-Id: a b\r\nA: b\r\n", PROTO MADE TRACE "A: b\r\n\r\n$" },
		{ "X-Request-Id: a\xe9\r\nA: b\r\n", PROTO MADE TRACE "A: b\r\n\r\n$" },
		{ "X-Request-Id: a\r\nA: b\r\nx-request-id: a\r\n", PROTO MADE TRACE "A: b\r\n\r\n$" },
		{ "traceparent: 00-1-1-00\r\nA: b\r\ntracestate: a=b\r\ntracestate: c=d\r\n",
		  PROTO MADE TRACE "A: b\r\n\r\n$" },
		{ "traceparent: " PARENT "\r\nTraceparent: " PARENT "\r\nA: b\r\ntracestate: a=b\r\n",
		  PROTO MADE TRACE "A: b\r\n\r\n$" },
		{ "tracestate: a=b\r\nA: b\r\n", PROTO MADE TRACE "A: b\r\n\r\n$" },
		/* Not the caller's to take away. */
		{ "Connection: traceparent, tracestate, x-request-id\r\nX-Request-Id: a\r\ntraceparent: " PARENT
		  "\r\ntracestate: a=b\r\n",
		  PROTO "X-Request-Id: a\r\ntraceparent: " PARENT "\r\ntracestate: a=b\r\n\r\n$" },
	};
	struct rig *r = rig_new(ONE_HTTP, make);
	const char *head, *id, *trace;
	char words[200];

	for (size_t i = 0; i < countof(rules); i++)
		assert_matches(seen(r, rules[i].sent), rules[i].got);
	while (r->lines < countof(rules))
		rig_log(r, "reason=DONE");
	/* One draw: the same 128 bits, and the access line has them. */
	head = seen(r, "");
	id = strstr(head, "X-Request-Id: ") + 14;
	trace = strstr(head, "traceparent: 00-") + 16;
	for (int i = 0, k = 0; i < 36; i++)
		if (id[i] != '-')
			ck_assert_int_eq(id[i], trace[k++]);
	snprintf(words, sizeof words, "request_id=%.36s", id);
	rig_log(r, words);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(names_are_passed_on_where_nothing_shall_be_made)
{
	static const struct rule rules[] = {
		{ "", FOR PROTO "\r\n" },
		{ "X-Request-Id: a b\r\nX-Request-Id:\r\ntraceparent: 1\r\ntracestate: a\r\n",
		  FOR PROTO "X-Request-Id: a b\r\nX-Request-Id:\r\ntraceparent: 1\r\ntracestate: a\r\n\r\n" },
	};

	follow(rules, countof(rules), NULL);	/* as the rig has it */
}
END_TEST

START_TEST(a_refused_head_is_logged_with_its_name)
{
	struct rig *r = rig_new(ONE_HTTP, make);
	int c = rig_dial(r);

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nBroken\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), " 400 "));
	rig_log(r, "reason=BAD_REQUEST request_id=mine");
	close(c);
	c = rig_dial(r);
	rig_say(r, c, "GET / HTTP/1.1\r\nBroken\r\nX-Request-Id: mine\r\n\r\n");
	rig_log(r, "reason=BAD_REQUEST request_id=-");
	close(c);
	c = rig_dial(r);
	rig_say(r, c, "POST / HTTP/1.1\r\nX-Request-Id: a\"b\r\nHost: x\r\nContent-Length: x\r\n\r\n");
	rig_log(r, "reason=BAD_FRAMING request_id=a\\x22b");
	rig_end(&r, c, -1);
}
END_TEST

UNIT_TESTS("forward", a_caller_is_written_behind_what_it_said, what_a_stranger_says_is_replaced,
	   an_ipv6_caller_is_quoted_in_forwarded, via_is_off_or_written_both_ways, a_final_response_has_a_date,
	   a_request_has_a_name_and_a_trace, names_are_passed_on_where_nothing_shall_be_made,
	   a_refused_head_is_logged_with_its_name)
