/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* TLS that passes unopened, by the server name of its ClientHello. */
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/lib/hello.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define PORT(app)                                                                                  \
	"service t/s port=80/main" app "\nservice t/a port=1/main\nservice t/b port=1/main\n"      \
	"endpoint t/a:main $1\nendpoint t/b:main $2\nendpoint t/s:main $3\n"
#define ROUTES                                                                                     \
	"tlsroute t/names parent=t/s\nrule server_name=a.example server_name=alone backend=t/a:1\n" \
	"tlsroute t/below parent=t/s\nrule server_name=*.example backend=t/b:1\n"

static uint8_t hello[131072], got[131072];

/* The endpoint gets exactly these bytes. */
static void hear_bytes(struct rig *r, int fd, const uint8_t *p, size_t n)
{
	size_t k = 0;

	while (k < n) {
		ssize_t x = recv(fd, got + k, n - k, MSG_DONTWAIT);

		if (x < 0)
			rig_pass(r);
		else
			k += (size_t)x;
		ck_assert(x != 0);
	}
	ck_assert(memcmp(got, p, n) == 0);
}

static void ends_with(struct rig *r, const char *log)
{
	rig_log(r, log);
	ck_assert(rig_nobody_calls(r, 1) && rig_nobody_calls(r, 2) && rig_nobody_calls(r, 3));
}

START_TEST(the_name_says_where_it_goes_and_the_bytes_are_untouched)
{
	static const struct {
		const char *name, *log;
		int back;
	} row[] = {
		{ "a.example", "route=t/names reason=DONE server_name=a.example", 1 },
		{ "ALONE.", "route=t/names reason=DONE server_name=ALONE.", 1 },
		{ "x.a.example", "route=t/below reason=DONE server_name=x.a.example", 2 },
	};
	static const struct {
		const char *app;
		size_t share, piece;
	} how[] = { { "", 40, 16384 }, { "/tcp", 40, 16384 }, { "", 1300, 700 }, { "", 12000, 4096 }, { "/tcp", 60, 1 } };
	char view[1024];

	snprintf(view, sizeof view, "%s" ROUTES, how[_i].app[0] ? PORT("/tcp") : PORT(""));
	for (size_t i = 0; i < countof(row); i++) {
		struct rig *r = rig_new(view, NULL);
		size_t n = hello_of(hello, row[i].name, how[_i].share, how[_i].piece), at = 0;
		int c = rig_dial(r), b;

		/* In segments, of which none but the last is enough. */
		while (at < n) {
			size_t k = min_of(n - at, n / 7 + 1);

			ck_assert(at == 0 || rig_nobody_calls(r, row[i].back));
			rig_say_bytes(r, c, hello + at, k);
			at += k;
		}
		b = rig_accept(r, row[i].back);
		hear_bytes(r, b, hello, n);
		rig_say(r, b, "and back");
		rig_hear(r, c, "and back");
		rig_say(r, c, "more");
		rig_hear(r, b, "more");
		close(c);
		rig_hear_end(r, b);
		close(b);
		rig_log(r, row[i].log);
		rig_end(&r, -1, -1);
	}
}
END_TEST

START_TEST(what_has_no_route_is_reset_with_its_reason)
{
	static const struct {
		const char *name, *log;
	} row[] = {
		{ "example", "reason=NO_TLS_ROUTE flag=NR server_name=example" },
		{ "a/example", "reason=NO_TLS_ROUTE flag=NR" },
		{ "*.example", "reason=NO_TLS_ROUTE flag=NR" },
		{ NULL, "reason=NO_SERVER_NAME flag=NR" },
	};
	struct rig *r = rig_new(PORT("") ROUTES, NULL);

	for (size_t i = 0; i < countof(row); i++) {
		int c = rig_dial(r);

		rig_say_bytes(r, c, hello, hello_of(hello, row[i].name, 40, 16384));
		rig_hear_cut(r, c);
		ends_with(r, row[i].log);
		close(c);
	}
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(what_is_not_tls_is_reset)
{
	struct rig *r = rig_new(PORT("") ROUTES, NULL);
	static const char *const said[] = { "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "hello there\n",
					    "\x16\x03\x01\x40\x05\x01\x05zz" };

	for (size_t i = 0; i < countof(said); i++) {
		int c = rig_dial(r);

		rig_say(r, c, said[i]);
		rig_hear_cut(r, c);
		ends_with(r, "reason=TLS_NOT_TLS");
		close(c);
	}
	/* A message over 16 KiB. */
	int c = rig_dial(r);

	rig_say_bytes(r, c, hello, hello_of(hello, "a.example", 17000, 16384));
	rig_hear_cut(r, c);
	ends_with(r, "reason=TLS_NOT_TLS");
	close(c);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(who_leaves_in_the_hello_is_told_apart)
{
	struct rig *r = rig_new(PORT("/tcp") ROUTES, NULL);
	size_t n = hello_of(hello, "a.example", 40, 16384);
	int c = rig_dial(r);

	rig_say_bytes(r, c, hello, n / 2);
	rig_until_quiet(r);
	shutdown(c, SHUT_WR);
	rig_hear_cut(r, c);
	ends_with(r, "reason=TLS_CLOSED");
	rig_end(&r, c, -1);
}
END_TEST

static void impatient(struct knobs *k)
{
	k->handshake_ms = 1;
	k->detect_ms = 1;
}

START_TEST(a_slow_hello_ends_at_the_timeout_of_handshakes)
{
	struct rig *r = rig_new(_i ? PORT("/tcp") ROUTES : PORT("") ROUTES, impatient);
	int c = rig_dial(r);

	/* Nothing at all, then half of it. */
	rig_hear_cut(r, c);
	ends_with(r, "reason=TLS_SLOW");
	close(c);
	c = rig_dial(r);
	rig_say_bytes(r, c, hello, hello_of(hello, "a.example", 40, 16384) / 2);
	rig_hear_cut(r, c);
	ends_with(r, "reason=TLS_SLOW");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_view_may_come_while_the_name_does)
{
	struct rig *r = rig_new(PORT("") ROUTES, NULL);
	size_t n = hello_of(hello, "a.example", 1300, 500);
	int c = rig_dial(r), b;

	for (int i = 0; i < 40; i++) {
		rig_say_bytes(r, c, hello + i * 4, 4);
		rig_until_quiet(r);
		rig_view(r, i % 2 ? "service t/z port=1\n" : "remove service t/z\n");
	}
	rig_view(r, "tlsroute t/names parent=t/s\nrule server_name=a.example backend=t/b:1\n");
	rig_say_bytes(r, c, hello + 160, n - 160);
	b = rig_accept(r, 2);
	hear_bytes(r, b, hello, n);
	close(c);
	rig_hear_end(r, b);
	close(b);
	rig_log(r, "service=t/s:80 route=t/names reason=DONE");
	rig_end(&r, -1, -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("peek");
	TCase *t = tcase_create("all");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, the_name_says_where_it_goes_and_the_bytes_are_untouched, 0, 5);
	tcase_add_test(t, what_has_no_route_is_reset_with_its_reason);
	tcase_add_test(t, what_is_not_tls_is_reset);
	tcase_add_test(t, who_leaves_in_the_hello_is_told_apart);
	tcase_add_loop_test(t, a_slow_hello_ends_at_the_timeout_of_handshakes, 0, 2);
	tcase_add_test(t, a_view_may_come_while_the_name_does);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
