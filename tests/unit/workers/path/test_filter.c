/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What filters of routes do with requests and responses. */
#include <sys/socket.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/codec/headers.h"
#include "workers/path/filter.h"

#define ONE	  "service t/s port=80/main/http\nendpoint t/s:main $1\nroute t/r parent=t/s\n"
#define FOR	  "X-Forwarded-For: 127.0.0.1\r\n"
#define PROTO	  "X-Forwarded-Proto: http\r\n"
#define ANSWER	  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"

/* One exchange through a rule: what is sent, what the endpoint sees, what it answers, what comes. */
static void goes(const char *rule, const char *sent, const char *seen, const char *answer,
		 const char *got)
{
	char view[4096];
	struct rig *r;
	int c, b;

	snprintf(view, sizeof view, ONE "%s\n", rule);
	r = rig_new(view, NULL);
	c = rig_dial(r);
	rig_say(r, c, sent);
	b = rig_accept(r, 1);
	ck_assert_str_eq(rig_hear_head(r, b), seen);
	rig_say(r, b, answer);
	rig_hear(r, c, got);
	rig_end(&r, c, b);
}

START_TEST(headers_of_requests_are_set_added_and_removed)
{
	static const struct {
		const char *filters, *sent, *seen;
	} t[] = {
		{ "request.set=X-A:1", "", FOR PROTO "X-A: 1\r\n" },
		{ "request.set=X-A:1", "x-a: 2\r\nB: c\r\nX-a: 3\r\n", FOR PROTO "B: c\r\nX-A: 1\r\n" },
		{ "request.add=X-A:bar,baz", "B: c\r\nX-A: foo\r\nD: e\r\n",
		  FOR PROTO "B: c\r\nX-A: foo\r\nD: e\r\nX-A: bar,baz\r\n" },
		{ "request.remove=x-a", "X-A: foo\r\nX-AB: x\r\nX-B: x\r\n", FOR PROTO "X-AB: x\r\nX-B: x\r\n" },
		{ "request.remove=x-a", "B: c\r\nX-A: foo\r\n", FOR PROTO "B: c\r\n" },
		{ "request.remove=x-a request.remove=abc request.set=n:v request.add=o:w",
		  "X-A: 1\r\nAbC: 2\r\nAbd: 3\r\nN: 4\r\nO: 5\r\n", FOR PROTO "Abd: 3\r\nO: 5\r\nn: v\r\no: w\r\n" },
		/* of the rule, then of the backend */
		{ "request.set=X-A:1 request.add=X-B:1 backend=t/s:80 @request.set=X-A:2 @request.add=X-B:2", "",
		  FOR PROTO "X-B: 1\r\nX-A: 2\r\nX-B: 2\r\n" },
		/* as if the caller had said so */
		{ "request.set=X-Forwarded-For:1.2.3.4", "X-Forwarded-For: 9.9.9.9\r\n",
		  PROTO "X-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n" },
		{ "request.remove=x-forwarded-for", "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\n",
		  FOR PROTO },
		{ "request.set=X-Forwarded-Proto:https", "", FOR "X-Forwarded-Proto: https\r\n" },
		{ "request.remove=Forwarded", "Forwarded: for=a\r\n", FOR PROTO },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char rule[512], sent[512], seen[512];

		snprintf(rule, sizeof rule, strstr(t[i].filters, "backend=") ? "rule %s" : "rule %s backend=t/s:80",
			 t[i].filters);
		snprintf(sent, sizeof sent, "GET /a?b HTTP/1.1\r\nHost: x\r\n%s\r\n", t[i].sent);
		snprintf(seen, sizeof seen, "GET /a?b HTTP/1.1\r\nHost: x\r\n%s\r\n", t[i].seen);
		goes(rule, sent, seen, ANSWER "\r\n", ANSWER "\r\n");
	}
}
END_TEST

START_TEST(headers_of_responses_are_set_added_and_removed)
{
	static const struct {
		const char *filters, *sent, *got;
	} t[] = {
		{ "response.set=Server:none", "Server: nginx/1\r\nA: b\r\n", "A: b\r\nServer: none\r\n" },
		{ "response.add=Set-Cookie:a=b", "Set-Cookie: c=d\r\n", "Set-Cookie: c=d\r\nSet-Cookie: a=b\r\n" },
		{ "response.remove=Server", "A: b\r\nserver: x\r\n", "A: b\r\n" },
		{ "response.set=A:1 backend=t/s:80 @response.set=A:2 @response.remove=b", "A: b\r\nB: c\r\n",
		  "A: 2\r\n" },
		{ "response.set=Date:never", "Date: now\r\n", "Date: never\r\n" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char rule[512], sent[512], got[512];

		snprintf(rule, sizeof rule, strstr(t[i].filters, "backend=") ? "rule %s" : "rule %s backend=t/s:80",
			 t[i].filters);
		snprintf(sent, sizeof sent, ANSWER "%s\r\n", t[i].sent);
		snprintf(got, sizeof got, ANSWER "%s\r\n", t[i].got);
		goes(rule, "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		     "GET / HTTP/1.1\r\nHost: x\r\n" FOR PROTO "\r\n", sent, got);
	}
}
END_TEST

START_TEST(an_interim_response_and_an_answer_of_ours_are_not_changed)
{
	struct rig *r = rig_new(ONE "rule response.set=A:b backend=t/s:80\nrule prefix=/n response.set=A:b backend=t/n:80\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 103 Early Hints\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 103 Early Hints\r\n\r\n");
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "A: b\r\n\r\n");
	rig_say(r, c, "GET /n HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 31\r\n"
		       "x-nodeproxy-reason: NO_BACKEND\r\n\r\n");
	rig_hear(r, c, "the route's backend is invalid\n");
	rig_end(&r, c, b);
}
END_TEST

/* The view that the filter came from is gone when the response comes. */
START_TEST(a_response_is_changed_as_the_route_said_when_it_was_matched)
{
	struct rig *r = rig_new(ONE "rule response.set=A:old backend=t/s:80\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_view(r, "route t/r parent=t/s\nrule response.set=A:new backend=t/s:80\n");
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "A: old\r\n\r\n");
	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear_head(r, b);
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "A: new\r\n\r\n");
	rig_end(&r, c, b);
}
END_TEST

/* An edit that does not fit a small chunk. */
START_TEST(a_large_edit_of_a_response_is_kept_too)
{
	static char value[3001], view[16384], got[16384];
	struct rig *r;
	int c, b;

	memset(value, 'v', sizeof value - 1);
	snprintf(view, sizeof view, ONE "rule response.set=A:%s response.set=B:%s backend=t/s:80 @response.add=C:%s\n",
		 value, value, value);
	snprintf(got, sizeof got, ANSWER "A: %s\r\nB: %s\r\nC: %s\r\n\r\n", value, value, value);
	r = rig_new(view, NULL);
	c = rig_dial(r);
	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, got);
	rig_end(&r, c, b);
}
END_TEST

/* A connection that is not accepted at once, and one that turns out to be stale: what was kept has the
 * changes. */
START_TEST(what_is_sent_again_has_the_changes)
{
	struct rig *r = rig_new(ONE "rule request.set=A:b response.set=C:d backend=t/s:80\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "C: d\r\n\r\n");
	rig_say(r, c, "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear_head(r, b);
	close(b);
	b = rig_accept(r, 1);
	ck_assert_str_eq(rig_hear_head(r, b), "GET /2 HTTP/1.1\r\nHost: x\r\n" FOR PROTO "A: b\r\n\r\n");
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "C: d\r\n\r\n");
	rig_end(&r, c, b);
}
END_TEST

static void make(struct knobs *k)
{
	k->headers_request_id = HEADERS_MAKE;
}

START_TEST(a_request_id_that_is_set_is_the_one_of_the_log)
{
	struct rig *r = rig_new(ONE "rule request.set=X-Request-Id:mine backend=t/s:80\n", make);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: theirs\r\n\r\n");
	b = rig_accept(r, 1);
	ck_assert_str_eq(rig_hear_head(r, b), "GET / HTTP/1.1\r\nHost: x\r\n" FOR PROTO "X-Request-Id: mine\r\n\r\n");
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "\r\n");
	rig_log(r, "request_id=mine reason=DONE");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(more_lines_than_a_head_has_are_refused)
{
	static char sent[16384];
	struct rig *r = rig_new(ONE "rule request.add=A:b backend=t/s:80\n", NULL);
	size_t n = (size_t)snprintf(sent, sizeof sent, "GET / HTTP/1.1\r\nHost: x\r\n");
	int c = rig_dial(r);

	r->path.limits.headers = HEAD_LINES_MAX;
	for (int i = 0; i < HEAD_LINES_MAX - 1; i++)
		n += (size_t)snprintf(sent + n, sizeof sent - n, "B: c\r\n");
	snprintf(sent + n, sizeof sent - n, "\r\n");
	rig_say(r, c, sent);
	rig_log(r, "reason=TOO_LARGE");
	rig_end(&r, c, -1);
}
END_TEST

/* ---- addresses ---- */

/* What a redirect of this rule answers to GET target with these lines. */
static void answers(struct rig *r, const char *target, const char *lines, const char *want)
{
	static char got[16384];
	int c = rig_dial(r);

	rig_say(r, c, "GET ");
	rig_say(r, c, target);
	rig_say(r, c, " HTTP/1.1\r\n");
	rig_say(r, c, lines);
	rig_say(r, c, "\r\n");
	snprintf(got, sizeof got, "%s", rig_hear_head(r, c));
	ck_assert_msg(strncmp(got, "HTTP/1.1 ", 9) == 0 && strncmp(got + 9, want, strlen(want)) == 0,
		      "%s %s: %s", target, want, got);
	close(c);
	rig_until_quiet(r);
}

START_TEST(a_redirect_follows_the_matrix_of_scheme_and_port)
{
	static const struct {
		unsigned port;		/* of the Service */
		const char *words, *host, *want;
	} t[] = {
		{ 80, "status:302", "x", "http://x/a?b" },
		{ 80, "status:302", "x:8080", "http://x:8080/a?b" },
		{ 8080, "host:h.example", "x", "http://h.example:8080/a?b" },
		{ 8080, "host:h.example", "x:9", "http://h.example:8080/a?b" },
		{ 80, "host:h.example", "x", "http://h.example/a?b" },
		{ 443, "host:h.example", "x", "http://h.example:443/a?b" },
		{ 8080, "scheme:https", "x:9", "https://x/a?b" },
		{ 8080, "scheme:http", "x:9", "http://x/a?b" },
		{ 80, "scheme:https,port:443", "x", "https://x/a?b" },
		{ 80, "scheme:https,port:80", "x", "https://x:80/a?b" },
		{ 80, "scheme:http,port:443", "x", "http://x:443/a?b" },
		{ 80, "scheme:http,port:80", "x", "http://x/a?b" },
		{ 80, "port:8443", "x", "http://x:8443/a?b" },
		{ 80, "port:80", "x:9", "http://x/a?b" },
		{ 80, "scheme:https", "[::1]:8080", "https://[::1]/a?b" },
		{ 80, "scheme:https", "[::1]", "https://[::1]/a?b" },
		{ 80, "path:/new", "x", "http://x/new?b" },
		{ 80, "prefix:/n/", "x", "http://x/n?b" },
		{ 80, "scheme:https,host:h,port:1,path:/,status:308", "x", "https://h:1/?b" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char view[512], lines[64], want[256];
		struct rig *r;

		snprintf(view, sizeof view, "service t/s port=80/main/http port=%u/more/http\nroute t/r parent=t/s\n"
			 "rule prefix=/a redirect=%s\n", t[i].port == 80 ? 81 : t[i].port, t[i].words);
		r = rig_new(view, NULL);
		r->knobs.listener[0].service_port = t[i].port;
		r->path.gate[0]->terms.service_port = t[i].port;
		r->path.gate[0]->seen = NULL;
		snprintf(lines, sizeof lines, "Host: %s\r\n", t[i].host);
		snprintf(want, sizeof want, "%s\r\nLocation: %s\r\n",
			 strstr(t[i].words, "308") ? "308 Permanent Redirect" : "302 Found", t[i].want);
		answers(r, "/a?b", lines, want);
		rig_end(&r, -1, -1);
	}
}
END_TEST

START_TEST(a_redirect_has_its_reason_and_keeps_the_connection)
{
	struct rig *r = rig_new(ONE "rule redirect=status:301,host:h\n", NULL);
	int c = rig_dial(r);

	rig_say(r, c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 301 Moved Permanently\r\nLocation: http://h/a\r\nContent-Type: text/plain\r\n"
		       "Content-Length: 32\r\nx-nodeproxy-reason: REDIRECTED\r\n\r\n"
		       "a filter of the route redirects\n");
	rig_log(r, "status=301 reason=REDIRECTED route=t/r");
	rig_say(r, c, "HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 301 Moved Permanently\r\nLocation: http://h/b\r\nContent-Type: text/plain\r\n"
		       "Content-Length: 32\r\nx-nodeproxy-reason: REDIRECTED\r\n\r\n");
	rig_say(r, c, "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 301 Moved Permanently\r\nLocation: http://h/c\r\n");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(odd_targets_are_not_redirected_elsewhere)
{
	static const struct {
		const char *rule, *target, *lines, *want;
	} t[] = {
		{ "rule redirect=status:302", "//evil.example/a", "Host: x\r\n", "http://x//evil.example/a" },
		{ "rule prefix=/a redirect=prefix:/", "/a//evil.example", "Host: x\r\n", "http://x/evil.example" },
		{ "rule prefix=/a redirect=prefix:/", "/a///evil.example/b", "Host: x\r\n", "http://x/evil.example/b" },
		{ "rule redirect=scheme:https", "/\\evil.example", "Host: x\r\n", "https://x/\\evil.example" },
		{ "rule redirect=scheme:https", "http://y:81/a?b", "Host: x\r\n", "https://y/a?b" },
		{ "rule redirect=scheme:https", "http://y?b", "Host: x\r\n", "https://y/?b" },
		{ "rule redirect=scheme:https", "/?", "Host: x\r\n", "https://x/?" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char view[512], want[256];
		struct rig *r;

		snprintf(view, sizeof view, ONE "%s\n", t[i].rule);
		snprintf(want, sizeof want, "302 Found\r\nLocation: %s\r\n", t[i].want);
		r = rig_new(view, NULL);
		answers(r, t[i].target, t[i].lines, want);
		rig_end(&r, -1, -1);
	}
}
END_TEST

START_TEST(without_a_host_a_redirect_names_the_service)
{
	struct rig *r = rig_new(ONE "rule redirect=status:302\n", NULL);
	int c = rig_dial(r);

	rig_say(r, c, "GET //evil.example HTTP/1.0\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 302 Found\r\nLocation: http://s.t.svc//evil.example\r\n");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_long_target_is_redirected_too)
{
	static char target[8001], want[9000];
	struct rig *r = rig_new(ONE "rule redirect=scheme:https\n", NULL);

	memset(target, 'a', sizeof target - 1);
	target[0] = '/';
	snprintf(want, sizeof want, "302 Found\r\nLocation: https://x%s\r\n", target);
	answers(r, target, "Host: x\r\n", want);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(a_prefix_is_replaced_by_whole_elements)
{
	static const struct {
		const char *path, *prefix, *with, *want;
	} t[] = {
		{ "/foo/bar", "/foo", "/xyz", "/xyz/bar" },   { "/foo/bar", "/foo", "/xyz/", "/xyz/bar" },
		{ "/foo/bar", "/foo/", "/xyz", "/xyz/bar" },  { "/foo/bar", "/foo/", "/xyz/", "/xyz/bar" },
		{ "/foo", "/foo", "/xyz", "/xyz" },	      { "/foo/", "/foo", "/xyz", "/xyz/" },
		{ "/foo/bar", "/foo", "", "/bar" },	      { "/foo/", "/foo", "", "/" },
		{ "/foo", "/foo", "", "/" },		      { "/foo/", "/foo", "/", "/" },
		{ "/foo", "/foo", "/", "/" },		      { "/foo", "/foo/", "/xyz/", "/xyz" },
		{ "/foo//bar", "/foo", "/", "/bar" },	      { "/foo//bar", "/foo", "/xyz", "/xyz//bar" },
		{ "/", "/", "/xyz", "/xyz/" },		      { "/a/b", "/", "/xyz", "/xyz/a/b" },
		{ "/a/b", "/", "/", "/a/b" },		      { "/f%6fo/foo", "/f%6fo", "/%78", "/%78/foo" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		const char *query = i % 2 ? "?q=/foo" : "";
		char rule[256], sent[256], seen[256];

		snprintf(rule, sizeof rule, "rule prefix=%s rewrite=prefix:%s backend=t/s:80", t[i].prefix, t[i].with);
		snprintf(sent, sizeof sent, "GET %s%s HTTP/1.1\r\nHost: x\r\n\r\n", t[i].path, query);
		snprintf(seen, sizeof seen, "GET %s%s HTTP/1.1\r\nHost: x\r\n" FOR PROTO "\r\n", t[i].want, query);
		goes(rule, sent, seen, ANSWER "\r\n", ANSWER "\r\n");
	}
}
END_TEST

static void replace(struct knobs *k)
{
	k->listener[0].forwarded = FORWARDED_REPLACE;
}

START_TEST(a_rewrite_changes_host_and_path_for_the_endpoint_alone)
{
	struct rig *r = rig_new(ONE "rule rewrite=host:other.example,path:/whole backend=t/s:80\n", replace);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET /a/b?c HTTP/1.1\r\nHost: x:80\r\n\r\n");
	b = rig_accept(r, 1);
	ck_assert_str_eq(rig_hear_head(r, b), "GET /whole?c HTTP/1.1\r\nHost: other.example\r\n" FOR PROTO
			 "X-Forwarded-Host: x:80\r\nForwarded: for=127.0.0.1;proto=http\r\n\r\n");
	rig_say(r, b, ANSWER "\r\n");
	rig_hear(r, c, ANSWER "\r\n");
	rig_log(r, "path=\"/a/b?c\" status=200");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_path_that_gets_too_long_is_refused)
{
	static char target[4301];
	struct rig *r = rig_new(ONE "rule rewrite=prefix:/xyz backend=t/s:80\n", NULL);

	memset(target, 'a', sizeof target - 1);
	target[0] = '/';
	answers(r, target, "Host: x\r\n", "431 ");
	rig_end(&r, -1, -1);
}
END_TEST

/* ---- CORS ---- */

#define ALLOW	"Access-Control-Allow-"
#define ASK	"Access-Control-Request-Method: PUT\r\n"
#define VARY_3	"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
#define AGE	"Access-Control-Max-Age: 5\r\n"

START_TEST(a_preflight_is_answered_here)
{
	static const struct {
		const char *words, *lines, *want;
	} t[] = {
		{ "https://a.example", "Origin: https://a.example\r\n" ASK,
		  ALLOW "Origin: https://a.example\r\n" AGE VARY_3 },
		{ "https://a.example|http://b:81,methods:PUT|GET,headers:X-A|b,age:60,cred,expose:c",
		  "Origin: http://b:81\r\n" ASK,
		  ALLOW "Origin: http://b:81\r\n" ALLOW "Methods: PUT, GET\r\n" ALLOW "Headers: X-A, b\r\n"
		  ALLOW "Credentials: true\r\nAccess-Control-Max-Age: 60\r\n" VARY_3 },
		{ "*,methods:*,headers:*", "Origin: https://x\r\n" ASK,
		  ALLOW "Origin: *\r\n" ALLOW "Methods: *\r\n" ALLOW "Headers: *\r\n" AGE },
		{ "*,methods:*,headers:*,cred", "Origin: https://x\r\n" ASK "Access-Control-Request-Headers: x-a, b\r\n",
		  ALLOW "Origin: https://x\r\n" ALLOW "Methods: PUT\r\n" ALLOW "Headers: x-a, b\r\n"
		  ALLOW "Credentials: true\r\n" AGE VARY_3 },
		{ "*,methods:*,headers:*,cred", "Origin: https://x\r\n" ASK,
		  ALLOW "Origin: https://x\r\n" ALLOW "Methods: PUT\r\n" ALLOW "Credentials: true\r\n" AGE VARY_3 },
		/* not of those, so nothing is allowed */
		{ "https://a.example,methods:PUT", "Origin: https://b.example\r\n" ASK, "Vary: Origin\r\n" },
		{ "https://a.example", "Origin: https://a.example\r\nOrigin: https://a.example\r\n" ASK,
		  "Vary: Origin\r\n" },
		{ "https://a.example", "Origin: null\r\n" ASK, "Vary: Origin\r\n" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char view[512], sent[512], got[1024];
		struct rig *r;
		int c;

		snprintf(view, sizeof view, ONE "rule cors=%s backend=t/s:80\n", t[i].words);
		snprintf(sent, sizeof sent, "OPTIONS /a HTTP/1.1\r\nHost: x\r\n%s\r\n", t[i].lines);
		snprintf(got, sizeof got, "HTTP/1.1 200 OK\r\n%sContent-Type: text/plain\r\nContent-Length: 35\r\n"
			 "x-nodeproxy-reason: PREFLIGHT\r\n\r\na CORS filter of the route answers\n", t[i].want);
		r = rig_new(view, NULL);
		c = rig_dial(r);
		rig_say(r, c, sent);
		rig_hear(r, c, got);
		rig_log(r, "status=200 reason=PREFLIGHT");
		rig_end(&r, c, -1);
	}
}
END_TEST

START_TEST(responses_say_who_may_read_them)
{
	static const struct {
		const char *words, *lines, *answer, *got;
	} t[] = {
		{ "https://a.example,expose:X-A|b", "Origin: https://a.example\r\n", "A: b\r\n",
		  "A: b\r\nAccess-Control-Expose-Headers: X-A, b\r\nVary: Origin\r\n" ALLOW "Origin: https://a.example\r\n" },
		{ "*,expose:*", "Origin: https://a.example\r\n", "", ALLOW "Origin: *\r\nAccess-Control-Expose-Headers: *\r\n" },
		{ "*,expose:*,cred", "Origin: https://a\r\n", "", ALLOW "Credentials: true\r\nVary: Origin\r\n" ALLOW "Origin: https://a\r\n" },
		/* what the endpoint says of it gives way */
		{ "*", "Origin: https://a\r\n", ALLOW "Origin: https://b\r\nAccess-Control-Allow-Credentials: true\r\n",
		  ALLOW "Origin: *\r\n" },
		{ "https://a.example", "Origin: https://b\r\n", ALLOW "Origin: *\r\nA: b\r\n", "A: b\r\nVary: Origin\r\n" },
		/* not asked by a script of another origin */
		{ "https://a.example", "", "A: b\r\n", "A: b\r\nVary: Origin\r\n" },
		{ "*", "", ALLOW "Origin: x\r\n", ALLOW "Origin: x\r\n" },
		/* modifiers have the last word */
		{ "* response.set=Access-Control-Allow-Origin:z", "Origin: https://a\r\n", "", ALLOW "Origin: z\r\n" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char rule[512], sent[512], seen[512], answer[512], got[512];

		snprintf(rule, sizeof rule, "rule cors=%s backend=t/s:80", t[i].words);
		snprintf(sent, sizeof sent, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", t[i].lines);
		snprintf(seen, sizeof seen, "GET / HTTP/1.1\r\nHost: x\r\n" FOR PROTO "%s\r\n", t[i].lines);
		snprintf(answer, sizeof answer, ANSWER "%s\r\n", t[i].answer);
		snprintf(got, sizeof got, ANSWER "%s\r\n", t[i].got);
		goes(rule, sent, seen, answer, got);
	}
}
END_TEST

START_TEST(an_options_request_that_is_no_preflight_goes_on)
{
	goes("rule cors=* backend=t/s:80", "OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\r\n",
	     "OPTIONS / HTTP/1.1\r\nHost: x\r\n" FOR PROTO "Origin: https://a\r\n\r\n", ANSWER "\r\n",
	     ANSWER ALLOW "Origin: *\r\n\r\n");
	goes("rule cors=* backend=t/s:80", "OPTIONS / HTTP/1.1\r\nHost: x\r\n" ASK "\r\n",
	     "OPTIONS / HTTP/1.1\r\nHost: x\r\n" FOR PROTO ASK "\r\n", ANSWER "\r\n", ANSWER "\r\n");
}
END_TEST

START_TEST(origins_match_whole_or_by_the_labels_of_a_star)
{
	static const struct {
		const char *allowed, *origin;
		bool want;
	} t[] = {
		{ "https://a.example", "https://a.example", true },
		{ "https://a.example", "HTTPS://A.example", true },
		{ "https://a.example", "http://a.example", false },
		{ "https://a.example", "https://a.example:443", false },
		{ "https://a.example", "https://a.example.evil", false },
		{ "https://a.example", "https://evil.a.example", false },
		{ "https://*.example", "https://a.example", true },
		{ "https://*.example", "https://a.b.c.example", true },
		{ "https://*.example", "https://example", false },
		{ "https://*.example", "https://.example", false },
		{ "https://*.example", "https://aexample", false },
		{ "https://*.example", "https://a.example:80", false },
		{ "https://*.example", "https://evil/.example", false },
		{ "https://*.example", "https://evil:80#.example", false },
		{ "https://*.example", "https://evil@.example", false },
		{ "https://*.example:81", "https://a.example:81", true },
		{ "https://*.example:81", "https://a.example", false },
		{ "http://*", "http://a.b", true },
		{ "http://*", "http://a.b:80", false },
		{ "http://*", "http://", false },
		{ "http://*:80", "http://a:80", true },
		{ "http://*:80", "http://:80", false },
		{ "https://x|https://*.y", "https://a.y", true },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char text[256];
		struct vfilter f;
		struct vservice s;
		struct vport port;
		struct vrule r;
		struct view *v;

		snprintf(text, sizeof text, "service t/s port=80\nroute t/r parent=t/s\nrule cors=%s\n", t[i].allowed);
		v = view_from(text);
		ck_assert(view_service_by_name(v, SLICE("t"), SLICE("s"), &s) && vservice_port(&s, 80, &port) &&
			  vport_match(&port, SLICE("t"), &(struct vrequest){ .method = SLICE("GET"), .path = SLICE("/") },
				 &r) == MATCH_RULE &&
			  vfilter_at(&s, &r.filters, 0, &f));
		ck_assert_msg(vfilter_allows(&f, slice_str(t[i].origin)) == t[i].want, "%s %s", t[i].allowed,
			      t[i].origin);
		view_unref(v);
	}
}
END_TEST

START_TEST(a_redirect_can_be_read_by_who_may_call)
{
	struct rig *r = rig_new(ONE "rule cors=https://a.example redirect=host:h\n", NULL);

	answers(r, "/", "Host: x\r\nOrigin: https://a.example\r\n",
		"302 Found\r\nVary: Origin\r\n" ALLOW "Origin: https://a.example\r\nLocation: http://h/\r\n");
	rig_end(&r, -1, -1);
}
END_TEST

/* ---- property: an edit is what its words say ---- */

static const char *const names[] = { "a", "X-A", "x-a", "ABC", "abd", "Cookie", "X-Request-Id", "Via", "date",
				     "x-forwarded-for", "traceparent" };

struct pair {
	const char *name;
	char value[16];
};

static const char *any_name(void)
{
	return names[rand_below(countof(names))];
}

static size_t without(struct pair *p, size_t n, const char *name)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (strcasecmp(p[i].name, name) != 0)
			p[k++] = p[i];
	return k;
}

/* Check keeps a mark of each assertion that holds, and there are many here. */
#define MUST(x, ...) do { if (!(x)) ck_abort_msg(__VA_ARGS__); } while (0)

static void one_world(void)
{
	static const char *const verb[] = { "set", "add", "remove" };
	static struct head h;
	char rule[2048] = "service t/s port=80\nroute t/r parent=t/s\nrule", head[2048];
	struct pair model[64], put = { .name = NULL };
	struct vfilter f = { .kind = FILTERS };
	struct http1_limits limits = { 8192, 100, 1024 };
	struct vservice s;
	struct vport port;
	struct vrule vr;
	struct view *v;
	enum reason why;
	size_t n = 0, at;
	const char *used[8];
	unsigned changes = rand_below(8), lines = rand_below(20);

	snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: x\r\n");
	model[n++] = (struct pair){ "Host", "x" };
	for (unsigned i = 0; i < lines; i++) {
		model[n].name = any_name();
		snprintf(model[n].value, sizeof model[n].value, "v%u", i);
		snprintf(head + strlen(head), sizeof head - strlen(head), "%s: %s\r\n", model[n].name,
			 model[n].value);
		n++;
	}
	strcat(head, "\r\n");
	for (unsigned i = 0; i < changes; i++) {
		unsigned what = rand_below(3);
		bool twice = false;

		used[i] = any_name();
		for (unsigned k = 0; k < i; k++)
			twice |= strcasecmp(used[k], used[i]) == 0;
		if (twice)
			continue;
		snprintf(rule + strlen(rule), sizeof rule - strlen(rule), what < 2 ? " request.%s=%s:p%u" :
			 " request.%s=%s", verb[what], used[i], i);
		if (what != 1)
			n = without(model, n, used[i]);
		if (what == 0) {
			/* those that are set come before those that are added */
			put.name = used[i];
			snprintf(put.value, sizeof put.value, "p%u", i);
			model[n++] = put;
		}
	}
	for (unsigned i = 0; i < changes; i++) {
		char word[64], *p;

		snprintf(word, sizeof word, "request.add=%s:p%u", used[i], i);
		p = strstr(rule, word);
		if (p == NULL)
			continue;
		model[n].name = used[i];
		snprintf(model[n++].value, sizeof model[0].value, "p%u", i);
	}
	strcat(rule, "\n");
	v = view_from(rule);
	ck_assert(view_service_by_name(v, SLICE("t"), SLICE("s"), &s) && vservice_port(&s, 80, &port) &&
		  vport_match(&port, SLICE("t"), &(struct vrequest){ .method = SLICE("GET"),
								   .path = SLICE("/") }, &vr) == MATCH_RULE);
	ck_assert_int_eq(http1_request(slice_str(head), &limits, &h, &why), 1);
	if (vfilter_at(&s, &vr.filters, 0, &f))
		ck_assert_int_eq(filter_edit(&h, f.edit), 0);
	at = 0;
	for (uint32_t i = 0; i < h.n; i++) {
		const struct header *x = &h.h[i];

		if (x->drop && x->id != HN_HOST)
			continue;
		MUST(at < n && slice_eq(x->name, slice_str(model[at].name)) &&
			      slice_eq(x->value, slice_str(model[at].value)), "%s%s: line %zu", rule, head, at);
		at++;
	}
	MUST(at == n, "%s%s", rule, head);
	/* What is noted of known names is what is there. */
	for (unsigned id = HN_OTHER + 1; id < HNS; id++) {
		unsigned there = 0;

		for (uint32_t i = 0; i < h.n; i++)
			there += h.h[i].id == id;
		MUST((there > 0) == ((h.has & HN_BIT(id)) != 0) && (there > 1) == ((h.twice & HN_BIT(id)) != 0) &&
		     (there == 0 || head_line(&h, (enum header_name)id)->id == id), "%s%s: name %u", rule, head, id);
	}
	view_unref(v);
}

START_TEST(an_edit_of_any_head_is_what_its_words_say)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		rand_seed(seed);
		one_world();
	}
}
END_TEST

UNIT_TESTS("filter", headers_of_requests_are_set_added_and_removed,
	   headers_of_responses_are_set_added_and_removed,
	   an_interim_response_and_an_answer_of_ours_are_not_changed,
	   a_response_is_changed_as_the_route_said_when_it_was_matched, a_large_edit_of_a_response_is_kept_too,
	   what_is_sent_again_has_the_changes, a_request_id_that_is_set_is_the_one_of_the_log,
	   more_lines_than_a_head_has_are_refused,
	   a_redirect_follows_the_matrix_of_scheme_and_port, a_redirect_has_its_reason_and_keeps_the_connection,
	   odd_targets_are_not_redirected_elsewhere, without_a_host_a_redirect_names_the_service,
	   a_long_target_is_redirected_too, a_prefix_is_replaced_by_whole_elements,
	   a_rewrite_changes_host_and_path_for_the_endpoint_alone, a_path_that_gets_too_long_is_refused,
	   a_preflight_is_answered_here, responses_say_who_may_read_them, an_options_request_that_is_no_preflight_goes_on,
	   origins_match_whole_or_by_the_labels_of_a_star, a_redirect_can_be_read_by_who_may_call,
	   an_edit_of_any_head_is_what_its_words_say)
