/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* spiffe, pem, tls_hello, server_name: what strangers and operators write, read exactly or refused. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/pem.h"
#include "nodeproxy/lib/net/spiffe.h"
#include "nodeproxy/lib/net/server_name.h"
#include "nodeproxy/lib/net/tls_hello.h"
#include "tests/lib/hello.h"

/* ---- spiffe ---- */

START_TEST(identities_of_workloads_and_nodes)
{
	static const char *const good[] = {
		"spiffe://cluster.local/ns/shop/sa/web", "spiffe://a/ns/b/sa/c",
		"spiffe://td_1.example-2/ns/Shop/sa/web.v1", "spiffe://cluster.local/node/host-a",
	};
	struct spiffe id;
	char out[SPIFFE_MAX];

	for (size_t i = 0; i < countof(good); i++) {
		ck_assert_msg(spiffe_parse(slice_str(good[i]), &id) == 0, "%s", good[i]);
		ck_assert_int_eq(spiffe_print(&id, out), (int)strlen(good[i]));
		ck_assert_str_eq(out, good[i]);
	}
	ck_assert_int_eq(spiffe_parse(slice_str(good[0]), &id), 0);
	ck_assert(slice_eq(id.trust_domain, SLICE("cluster.local")));
	ck_assert(slice_eq(id.ns, SLICE("shop")) && slice_eq(id.account, SLICE("web")));
	ck_assert_uint_eq(id.host.n, 0);
}
END_TEST

START_TEST(names_that_are_no_identities)
{
	static const char *const bad[] = {
		"", "spiffe://", "spiffe:///ns/a/sa/b", "http://a/ns/b/sa/c", "SPIFFE://a/ns/b/sa/c",
		"spiffe://a", "spiffe://a/", "spiffe://a/ns/b", "spiffe://a/ns/b/sa", "spiffe://a/ns/b/sa/",
		"spiffe://a/ns/b/sa/c/", "spiffe://a/ns/b/sa/c/d", "spiffe://a/ns//sa/c", "spiffe://a/ns/../sa/c",
		"spiffe://a/ns/./sa/c", "spiffe://A/ns/b/sa/c", "spiffe://a:1/ns/b/sa/c", "spiffe://u@a/ns/b/sa/c",
		"spiffe://a/ns/b/sa/c?x", "spiffe://a/ns/b/sa/c#x", "spiffe://a/ns/b%2f/sa/c",
		"spiffe://a/sa/c/ns/b", "spiffe://a/node/", "spiffe://a/node/h/x", "spiffe://a/ns/b c/sa/d",
	};
	struct spiffe id = { .trust_domain = SLICE("a"), .ns = SLICE("b/c"), .account = SLICE("d") };
	char out[SPIFFE_MAX], longer[2000];

	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_msg(spiffe_parse(slice_str(bad[i]), &id) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(spiffe_print(&id, out), -EINVAL);
	memset(longer, 'a', sizeof longer);
	memcpy(longer, "spiffe://", 9);
	memcpy(longer + 100, "/ns/b/sa/", 9);
	ck_assert_int_eq(spiffe_parse(slice_of(longer, sizeof longer), &id), -EINVAL);
	ck_assert_int_eq(spiffe_parse(slice_of("spiffe://a/ns/b\0/sa/c", 21), &id), -EINVAL);
}
END_TEST

/* ---- PEM ---- */

START_TEST(blocks_one_after_the_other)
{
	struct slice text = SLICE("words for people\n"
				  "-----BEGIN ONE-----\r\nYWJj\r\n-----END ONE-----\r\n"
				  "more\n-----BEGIN TWO WORDS-----\n  YWJj\nZGVm\nZw==  \n-----END TWO WORDS-----"), l;
	uint8_t out[16];
	size_t n;

	ck_assert_int_eq(pem_next(&text, &l, out, sizeof out, &n), 1);
	ck_assert(slice_eq(l, SLICE("ONE")) && slice_eq(slice_of(out, n), SLICE("abc")));
	ck_assert_int_eq(pem_next(&text, &l, out, sizeof out, &n), 1);
	ck_assert(slice_eq(l, SLICE("TWO WORDS")) && slice_eq(slice_of(out, n), SLICE("abcdefg")));
	ck_assert_int_eq(pem_next(&text, &l, out, sizeof out, &n), 0);
}
END_TEST

START_TEST(blocks_that_are_broken)
{
	static const char *const bad[] = {
		"-----BEGIN A-----\nYWJj\n", "-----BEGIN A-----\nYWJj\n-----END B-----\n",
		"-----BEGIN A-----\n-----END A-----\n", "-----BEGIN A-----\nYW Jj\n-----END A-----\n",
		"-----BEGIN A-----\nYWJ\n-----END A-----\n", "-----BEGIN A-----\nYWJ=YWJj\n-----END A-----\n",
		"-----BEGIN A-----\nY===\n-----END A-----\n", "-----BEGIN A-----\nYR==YWJj\n-----END A-----\n",
		"-----BEGIN A-----\nYWJj\n-----BEGIN A-----\nYWJj\n-----END A-----\n",
		"-----BEGIN A-----\nYWJjYWJjYWJjYWJj\n-----END A-----\n",	/* more than there is room for */
		"-----BEGIN A-----\nYX==\n-----END A-----\n",	/* bits that mean nothing */
		"-----BEGIN A-----\nX: y\n\nYWJj\n-----END A-----\n",
	};

	for (size_t i = 0; i < countof(bad); i++) {
		struct slice text = slice_str(bad[i]), l;
		uint8_t out[8];
		size_t n;

		ck_assert_msg(pem_next(&text, &l, out, sizeof out, &n) == -EINVAL, "%s", bad[i]);
	}
}
END_TEST

/* ---- ClientHello ---- */

START_TEST(hello_in_any_pieces)
{
	static const struct {
		size_t share, piece;
	} rows[] = { { 40, 16384 }, { 1300, 16384 }, { 1300, 100 }, { 40, 1 }, { 12000, 4000 } };
	static uint8_t bytes[131072], room[TLS_HELLO_MAX];
	struct tls_hello h;
	size_t n = hello_of(bytes, "shop.example", rows[_i].share, rows[_i].piece);

	for (size_t k = 0; k < n; k += k < 400 || n - k < 50 ? 1 : 37)
		ck_assert_int_eq(tls_hello(slice_of(bytes, k), room, &h), 0);
	ck_assert_int_eq(tls_hello(slice_of(bytes, n), room, &h), 1);
	ck_assert(slice_eq(h.server_name, SLICE("shop.example")));
	ck_assert(slice_eq(h.alpn, SLICE("\x02h2")));
	memcpy(bytes + n, "more", 4);
	ck_assert_int_eq(tls_hello(slice_of(bytes, n + 4), room, &h), 1);
}
END_TEST

START_TEST(what_is_no_hello)
{
	static uint8_t bytes[131072], room[TLS_HELLO_MAX];
	struct tls_hello h;
	size_t n;

	ck_assert_int_eq(tls_hello(SLICE("GET / HTTP/1.1\r\n"), room, &h), -EPROTO);
	ck_assert_int_eq(tls_hello(SLICE("\x16\x02"), room, &h), -EPROTO);
	ck_assert_int_eq(tls_hello(SLICE("\x16\x03\x01\x00\x00"), room, &h), -EPROTO);
	ck_assert_int_eq(tls_hello(SLICE("\x16\x03\x01\x00\x01\x02"), room, &h), -EPROTO);
	n = hello_of(bytes, "shop.example", 17000, 16384);
	ck_assert_int_eq(tls_hello(slice_of(bytes, n), room, &h), -EMSGSIZE);
	n = hello_of(bytes, "shop example", 40, 16384);
	ck_assert_int_eq(tls_hello(slice_of(bytes, n), room, &h), -EPROTO);
	n = hello_of(bytes, "", 40, 16384);
	ck_assert_int_eq(tls_hello(slice_of(bytes, n), room, &h), -EPROTO);
}
END_TEST

START_TEST(a_server_name_is_a_path_and_back)
{
	static const struct {
		const char *name, *path, *back;
	} row[] = {
		{ "a.shop.example", "/example/shop/a=", NULL },
		{ "A.Shop.Example.", "/example/shop/a=", "a.shop.example" },
		{ "*.shop.example", "/example/shop", NULL },
		{ "host", "/host=", NULL },
		{ "*.host", "/host", NULL },
		{ "", "/", NULL },
	};
	static const char *const wrong[] = { "a/b", "a=", "a..b", ".a", ".", "a b", "a.*.b", "*", "*a.b", "a\x80" };
	char path[SERVER_NAME_PATH], name[SERVER_NAME_PATH], most[258];

	for (size_t i = 0; i < countof(row); i++) {
		ck_assert_int_eq(server_name_path(slice_str(row[i].name), true, path), (int)strlen(row[i].path));
		ck_assert_str_eq(path, row[i].path);
		server_name_of_path(slice_str(path), name);
		ck_assert_str_eq(name, row[i].back ? row[i].back : row[i].name);
	}
	for (size_t i = 0; i < countof(wrong); i++)
		ck_assert_msg(server_name_path(slice_str(wrong[i]), true, path) == -EINVAL, "%s", wrong[i]);
	/* What strangers write is never a pattern. */
	ck_assert_int_eq(server_name_path(SLICE("*.host"), false, path), -EINVAL);
	memset(most, 'a', sizeof most);
	ck_assert_int_eq(server_name_path(slice_of(most, 255), true, path), 257);
	ck_assert_int_eq(server_name_path(slice_of(most, 256), true, path), -EINVAL);
	server_name_of_path(slice_of(path, 257), name);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("names");
	TCase *t = tcase_create("all");
	SRunner *r;
	int bad;

	tcase_add_test(t, identities_of_workloads_and_nodes);
	tcase_add_test(t, names_that_are_no_identities);
	tcase_add_test(t, blocks_one_after_the_other);
	tcase_add_test(t, blocks_that_are_broken);
	tcase_add_loop_test(t, hello_in_any_pieces, 0, 5);
	tcase_add_test(t, what_is_no_hello);
	tcase_add_test(t, a_server_name_is_a_path_and_back);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
