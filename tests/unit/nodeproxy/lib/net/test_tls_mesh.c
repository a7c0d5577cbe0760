/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* tls_mesh: who is believed to be a workload, by whose word, and who is not. */
#include "nodeproxy/lib/net/tls_mesh.h"

#include <errno.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nodeproxy/lib/net/tls_trust.h"
#include "tests/lib/tls_rig.h"
#include "tests/unit/test.h"

#define A "URI:spiffe://a.example"
#define B "URI:spiffe://b.example"

static struct rig_cert root_a, next_a, root_b, stranger, node, plain, node_b;
static struct tls_trust *mesh;
static bool elsewhere;		/* the account has left that host */

static bool placed(void *arg, struct slice host, struct slice ns, struct slice account)
{
	ck_assert_ptr_eq(arg, &mesh);
	return !elsewhere && slice_eq(host, SLICE("host-a")) && slice_eq(ns, SLICE("shop")) &&
	       slice_eq(account, SLICE("web"));
}

static struct slice pem_of(const struct rig_cert *const *list, const struct rig_cert *revoked)
{
	return rig_pem(list, revoked);
}

/* lists: of what node has revoked, its own certificate before it. */
static struct tls_trust *mesh_of(const struct rig_cert *const *a, const struct rig_cert *const *b,
				 const struct rig_cert *revoked)
{
	const struct rig_cert *by[] = { &node, NULL };
	struct slice pem[2] = { pem_of(a, NULL), pem_of(b, NULL) }, all = { 0 }, lists = { 0 };
	const struct tls_mesh_bundle bundle[] = { { "a.example", pem[0] }, { "b.example", pem[1] } };
	struct tls_trust *t = NULL;
	const char *why = "";

	if (revoked) {
		all = pem_of(by, revoked);
		lists.p = memmem(all.p, all.n, "-----BEGIN X509", 15);
		lists.n = all.n - (size_t)(lists.p - all.p);
	}
	ck_assert_msg(tls_mesh_new(bundle, 2, lists, placed, &mesh, &t, &why) == 0, "%s", why);
	rig_pem_free(&pem[0]);
	rig_pem_free(&pem[1]);
	if (revoked)
		rig_pem_free(&all);
	return t;
}

static const struct rig_cert *const only_a[] = { &root_a, NULL }, *const both_a[] = { &root_a, &next_a, NULL },
				   *const only_next[] = { &next_a, NULL }, *const only_b[] = { &root_b, NULL };

static void setup(void)
{
	elsewhere = false;
	if (root_a.x)
		return;
	root_a = rig_cert((struct rig_spec){ .cn = "root a", .ca = true, .san = A });
	next_a = rig_cert((struct rig_spec){ .cn = "next a", .ca = true, .san = A });
	root_b = rig_cert((struct rig_spec){ .cn = "root b", .ca = true });
	stranger = rig_cert((struct rig_spec){ .cn = "stranger", .ca = true });
	node = rig_cert((struct rig_spec){ .cn = "host-a", .ca = true, .issuer = &root_a, .san = A "/node/host-a" });
	plain = rig_cert((struct rig_spec){ .cn = "plain", .ca = true, .issuer = &root_a });
	node_b = rig_cert((struct rig_spec){ .cn = "host-b", .ca = true, .issuer = &root_b, .san = B "/node/host-a" });
	mesh = mesh_of(only_a, only_b, NULL);
}

static enum tls_fault judge(const struct tls_trust *t, const struct rig_cert *const *chain, bool is_client, bool again)
{
	STACK_OF(CRYPTO_BUFFER) *s = sk_CRYPTO_BUFFER_new_null();
	enum tls_fault f;

	for (; *chain; chain++)
		sk_CRYPTO_BUFFER_push(s, CRYPTO_BUFFER_new((*chain)->der.p, (*chain)->der.n, NULL));
	f = tls_trust_judge(t, s, is_client, again, time(NULL));
	sk_CRYPTO_BUFFER_pop_free(s, CRYPTO_BUFFER_free);
	return f;
}

/* By this issuer, with it above, and by both ends. */
static enum tls_fault of(const struct tls_trust *t, struct rig_spec spec, const struct rig_cert *above)
{
	struct rig_cert leaf;
	const struct rig_cert *chain[] = { &leaf, above, NULL };
	enum tls_fault f;

	leaf = rig_cert(spec);
	f = judge(t, chain, true, false);
	ck_assert_uint_eq(judge(t, chain, false, false), f);
	rig_cert_free(&leaf);
	return f;
}

START_TEST(who_is_believed_and_who_not)
{
	static const struct {
		struct rig_spec spec;	/* its issuer stands above it */
		enum tls_fault fault;
	} rows[] = {
		{ { .san = A "/ns/shop/sa/web", .issuer = &node }, TLS_FAULT_NONE },
		{ { .san = A "/ns/shop/sa/web,DNS:web.example", .issuer = &node }, TLS_FAULT_NONE },
		/* an authority that is no host's speaks for whom it likes */
		{ { .san = A "/ns/shop/sa/db", .issuer = &plain }, TLS_FAULT_NONE },
		{ { .san = A "/ns/shop/sa/db", .issuer = &root_a }, TLS_FAULT_NONE },
		/* a host only for who is there */
		{ { .san = A "/ns/shop/sa/db", .issuer = &node }, TLS_FAULT_WRONG_NODE },
		{ { .san = A "/ns/bank/sa/web", .issuer = &node }, TLS_FAULT_WRONG_NODE },
		/* nobody for another trust domain */
		{ { .san = B "/ns/shop/sa/web", .issuer = &node }, TLS_FAULT_UNKNOWN_ROOT },
		{ { .san = B "/ns/shop/sa/web", .issuer = &root_a }, TLS_FAULT_UNKNOWN_ROOT },
		{ { .san = B "/ns/shop/sa/db", .issuer = &root_b }, TLS_FAULT_NONE },
		{ { .san = B "/ns/shop/sa/web", .issuer = &node_b }, TLS_FAULT_NONE },
		{ { .san = "URI:spiffe://c.example/ns/shop/sa/web", .issuer = &root_a }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		/* nobody without one identity */
		{ { .san = "DNS:web.example", .issuer = &root_a }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .cn = "spiffe://a.example/ns/shop/sa/web", .issuer = &root_a }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .san = A "/ns/shop/sa/web," A "/ns/shop/sa/db", .issuer = &node }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .san = A "/ns/shop/sa/web,URI:https://x.example", .issuer = &node }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .san = A "/ns/shop/sa/web/", .issuer = &node }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .san = A "/ns/shop/sa/..", .issuer = &node }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .san = A "/elsewhere", .issuer = &node }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		{ { .san = A "/node/host-a", .issuer = &root_a }, TLS_FAULT_WRONG_TRUST_DOMAIN },
		/* nor whom nothing vouches for, now */
		{ { .san = A "/ns/shop/sa/web", .issuer = &stranger }, TLS_FAULT_UNKNOWN_ROOT },
		{ { .san = A "/ns/shop/sa/web", .issuer = &node, .from_s = -100, .to_s = -5 }, TLS_FAULT_EXPIRED },
		{ { .san = A "/ns/shop/sa/web", .issuer = &node, .from_s = 100, .to_s = 500 }, TLS_FAULT_NOT_YET_VALID },
		{ { .san = A "/ns/shop/sa/web", .issuer = &node, .usage = "codeSigning" }, TLS_FAULT_WRONG_USAGE },
		{ { .san = A "/ns/shop/sa/web", .issuer = &node, .ca = true, .usage = "serverAuth,clientAuth" },
		  TLS_FAULT_WRONG_USAGE },
	};

	setup();
	for (size_t i = 0; i < countof(rows); i++) {
		enum tls_fault f = of(mesh, rows[i].spec, rows[i].spec.issuer);

		ck_assert_msg(f == rows[i].fault, "row %zu: %s instead of %s", i, tls_fault_name(f),
			      tls_fault_name(rows[i].fault));
	}
}
END_TEST

/* A host cannot make another authority, nor hide that it is the issuer behind certificates it adds. */
START_TEST(an_authority_of_a_host_is_found_wherever_it_stands)
{
	struct rig_cert sub, leaf, other;
	const struct rig_cert *hidden[] = { &leaf, &plain, &root_a, &node, NULL };
	const struct rig_cert *deeper[] = { &other, &sub, &node, NULL };
	const struct rig_cert *in_bundle[] = { &root_a, &node, NULL }, *alone[] = { &leaf, NULL };
	struct tls_trust *t;

	setup();
	leaf = rig_cert((struct rig_spec){ .san = A "/ns/shop/sa/db", .issuer = &node });
	ck_assert_uint_eq(judge(mesh, hidden, true, false), TLS_FAULT_WRONG_NODE);
	/* one below it: the rig's authorities have no bound of their own on the length of paths */
	sub = rig_cert((struct rig_spec){ .cn = "sub", .ca = true, .issuer = &node });
	other = rig_cert((struct rig_spec){ .san = A "/ns/shop/sa/db", .issuer = &sub });
	ck_assert_uint_eq(judge(mesh, deeper, true, false), TLS_FAULT_WRONG_NODE);
	/* not sent, because the bundle has it */
	t = mesh_of(in_bundle, only_b, NULL);
	ck_assert_uint_eq(judge(t, alone, true, false), TLS_FAULT_WRONG_NODE);
	tls_trust_unref(&t);
	rig_cert_free(&sub);
	rig_cert_free(&leaf);
	rig_cert_free(&other);
}
END_TEST

START_TEST(what_is_resumed_is_judged_by_today)
{
	struct rig_cert leaf;
	const struct rig_cert *chain[] = { &leaf, &node, NULL };
	struct tls_trust *t;

	setup();
	leaf = rig_cert((struct rig_spec){ .san = A "/ns/shop/sa/web", .issuer = &node });
	ck_assert_uint_eq(judge(mesh, chain, true, true), TLS_FAULT_NONE);
	elsewhere = true;
	ck_assert_uint_eq(judge(mesh, chain, true, true), TLS_FAULT_WRONG_NODE);
	ck_assert_uint_eq(judge(mesh, chain, true, false), TLS_FAULT_WRONG_NODE);
	elsewhere = false;
	t = mesh_of(only_a, only_b, &leaf);
	ck_assert_uint_eq(judge(t, chain, true, true), TLS_FAULT_REVOKED);
	ck_assert_uint_eq(judge(t, chain, true, false), TLS_FAULT_REVOKED);
	tls_trust_unref(&t);
	rig_cert_free(&leaf);
}
END_TEST

START_TEST(roots_overlap_while_they_are_replaced)
{
	struct rig_cert node2, old, new;
	const struct rig_cert *before[] = { &old, &node, NULL }, *after[] = { &new, &node2, NULL };
	struct tls_trust *both, *next;

	setup();
	node2 = rig_cert((struct rig_spec){ .cn = "host-a", .ca = true, .issuer = &next_a, .san = A "/node/host-a" });
	old = rig_cert((struct rig_spec){ .san = A "/ns/shop/sa/web", .issuer = &node });
	new = rig_cert((struct rig_spec){ .san = A "/ns/shop/sa/web", .issuer = &node2 });
	both = mesh_of(both_a, only_b, NULL);
	next = mesh_of(only_next, only_b, NULL);
	ck_assert_uint_eq(judge(mesh, before, true, false), TLS_FAULT_NONE);
	ck_assert_uint_ne(judge(mesh, after, true, false), TLS_FAULT_NONE);
	ck_assert_uint_eq(judge(both, before, true, false), TLS_FAULT_NONE);
	ck_assert_uint_eq(judge(both, after, true, false), TLS_FAULT_NONE);
	ck_assert_uint_ne(judge(next, before, true, false), TLS_FAULT_NONE);
	ck_assert_uint_eq(judge(next, after, true, false), TLS_FAULT_NONE);
	/* tickets of one are not taken by another: the context has the digest in it */
	ck_assert_mem_ne(tls_trust_digest(mesh), tls_trust_digest(both), 32);
	ck_assert_mem_ne(tls_trust_digest(next), tls_trust_digest(both), 32);
	tls_trust_unref(&both);
	both = mesh_of(both_a, only_b, NULL);
	tls_trust_unref(&next);
	next = mesh_of(both_a, only_b, NULL);
	ck_assert_mem_eq(tls_trust_digest(next), tls_trust_digest(both), 32);
	tls_trust_unref(&both);
	tls_trust_unref(&next);
	rig_cert_free(&node2);
	rig_cert_free(&old);
	rig_cert_free(&new);
}
END_TEST

START_TEST(bundles_that_are_wrong)
{
	struct tls_mesh_bundle b[2] = { { "a.example", SLICE("x") } };
	struct tls_trust *t = NULL;
	struct slice pem;
	const char *why;

	setup();
	ck_assert_int_eq(tls_mesh_new(b, 1, (struct slice){ 0 }, placed, &mesh, &t, &why), -EINVAL);
	ck_assert_str_eq(why, "has no certificate in it");
	pem = pem_of(only_a, NULL);
	b[0].pem = pem;
	b[1] = (struct tls_mesh_bundle){ "b.example", SLICE("-----BEGIN CERTIFICATE-----\nAA") };
	ck_assert_int_eq(tls_mesh_new(b, 2, (struct slice){ 0 }, placed, &mesh, &t, &why), -EINVAL);
	ck_assert_str_eq(why, "is not whole PEM");
	ck_assert_ptr_null(t);
	rig_pem_free(&pem);
}
END_TEST

UNIT_TESTS("tls_mesh", who_is_believed_and_who_not, an_authority_of_a_host_is_found_wherever_it_stands,
	   what_is_resumed_is_judged_by_today, roots_overlap_while_they_are_replaced, bundles_that_are_wrong)
