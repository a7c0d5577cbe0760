/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* lib/net/tls: both ends in memory, whatever the pieces that bytes come in. */
#include <check.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/net/tls_inner.h"
#include "tests/lib/tls_rig.h"

#define TD   "URI:spiffe://cluster.local"
#define ALPN SLICE("\x02h2\x08http/1.1")

static struct rig_cert root, other_root, node, web_ed, web_p256, web_rsa, api;
static struct rig_pair pair;
static struct tls_trust *trust;
static struct tls_side *client, *server;
static int64_t ahead_ms;

static int64_t unix_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000 + ahead_ms;
}

static int64_t mono_ns(void)
{
	return NS_PER_S;
}

static struct tls_trust *trust_of(const struct rig_cert *c, const struct rig_cert *revoked_by,
				  const struct rig_cert *revoked)
{
	const struct rig_cert *roots[] = { c, NULL }, *by[] = { revoked_by, NULL };
	struct slice pem = rig_pem(roots, NULL), list, all;
	struct tls_trust *t = NULL;
	const char *why;
	uint8_t *p;

	if (revoked) {
		list = rig_pem(by, revoked);
		/* only the list of it: issuers of leaves are no roots */
		p = memmem(list.p, list.n, "-----BEGIN X509", 15);
		ck_assert_ptr_nonnull(p);
		all.n = pem.n + list.n - (size_t)(p - list.p);
		all.p = malloc(all.n);
		memcpy((uint8_t *)(uintptr_t)all.p, pem.p, pem.n);
		memcpy((uint8_t *)(uintptr_t)all.p + pem.n, p, all.n - pem.n);
		rig_pem_free(&list);
		rig_pem_free(&pem);
		pem = all;
	}
	ck_assert_msg(tls_trust_new(pem, &t, &why) == 0, "%s", why);
	rig_pem_free(&pem);
	return t;
}

/* A side of one certificate (NULL: none). */
static struct tls_side *side(bool is_server, uint64_t key, const struct rig_cert *leaf,
			     struct tls_trust *t, enum tls_rule rule, const char *name)
{
	struct tls_leaf l;
	struct tls_terms terms = { .server = is_server, .leaf = &l, .leaves = leaf != NULL,
				   .alpn = ALPN, .trust = t, .rule = rule, .name = name,
				   .context = SLICE("front") };
	struct tls_side *s = NULL;

	if (leaf)
		l = rig_leaf(key, leaf, &node);
	ck_assert_int_eq(tls_side_new(&pair.stock, &terms, &s), 0);
	return s;
}

static void setup(void)
{
	const struct rig_cert *keys[] = { &web_ed, &web_p256, &web_rsa, &api };

	rand_init();
	clock_simulate(mono_ns, unix_ms);
	ahead_ms = 0;
	root = rig_cert((struct rig_spec){ .cn = "root", .ca = true });
	other_root = rig_cert((struct rig_spec){ .cn = "other", .ca = true });
	node = rig_cert((struct rig_spec){ .cn = "host-a", .ca = true, .issuer = &root,
					   .san = TD "/node/host-a" });
	web_ed = rig_cert((struct rig_spec){ .kind = EVP_PKEY_ED25519, .issuer = &node,
					     .san = TD "/ns/shop/sa/web,DNS:web.example" });
	web_p256 = rig_cert((struct rig_spec){ .issuer = &node, .san = TD "/ns/shop/sa/web,DNS:web.example" });
	web_rsa = rig_cert((struct rig_spec){ .kind = EVP_PKEY_RSA, .issuer = &node, .san = "DNS:web.example" });
	api = rig_cert((struct rig_spec){ .kind = EVP_PKEY_ED25519, .issuer = &node,
					  .san = TD "/ns/shop/sa/api" });
	rig_pair_init(&pair, keys, 4);
	trust = trust_of(&root, NULL, NULL);
	client = server = NULL;
}

static void teardown(void)
{
	rig_close(&pair);
	if (client)
		tls_side_unref(&client);
	if (server)
		tls_side_unref(&server);
	tls_trust_unref(&trust);
	rig_pair_fini(&pair);
	clock_simulate(NULL, NULL);
	for (struct rig_cert *const *c = (struct rig_cert *[]){ &root, &other_root, &node, &web_ed,
								  &web_p256, &web_rsa, &api, NULL };
	     *c; c++)
		rig_cert_free(*c);
}

static void mutual(void)
{
	server = side(true, 1, &web_ed, trust, TLS_RULE_TRUST_DOMAIN, "cluster.local");
	client = side(false, 4, &api, trust, TLS_RULE_IDENTITY, "spiffe://cluster.local/ns/shop/sa/web");
}

static ssize_t put(struct stream *s, const char *text)
{
	struct iovec v = { (char *)(uintptr_t)text, strlen(text) };

	return s->ops->write(s, &v, 1);
}

/* What comes of it; -1 with *error: nothing. */
static struct slice get(struct stream *s, char *buf, size_t room, ssize_t *error)
{
	size_t n = 0;
	ssize_t k = 0;

	while (n < room && (k = s->ops->read(s, (uint8_t *)buf + n, room - n)) > 0)
		n += (size_t)k;
	if (error)
		*error = k;
	return slice_of(buf, n);
}

static void say_and_hear(void)
{
	char buf[64];
	ssize_t e;

	ck_assert_int_eq(put(&pair.client, "hello"), 5);
	ck_assert(slice_eq(get(&pair.server, buf, sizeof buf, &e), SLICE("hello")));
	ck_assert_int_eq(e, -EAGAIN);
	ck_assert_int_eq(put(&pair.server, "to you"), 6);
	ck_assert(slice_eq(get(&pair.client, buf, sizeof buf, &e), SLICE("to you")));
	ck_assert_int_eq(e, -EAGAIN);
}

/* ---- handshakes ---- */

START_TEST(both_know_each_other_and_talk)
{
	char id[1024];

	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(tls_version(&pair.server), 0x0304);
	ck_assert(slice_eq(tls_alpn(&pair.server), SLICE("h2")));
	ck_assert(slice_eq(tls_alpn(&pair.client), SLICE("h2")));
	ck_assert_int_gt(tls_identity(tls_peer(&pair.server), id), 0);
	ck_assert_str_eq(id, "spiffe://cluster.local/ns/shop/sa/api");
	ck_assert(slice_eq(tls_peer_name(&pair.server), slice_str(id)));
	ck_assert_uint_eq(pair.asks, 2);
	ck_assert(!tls_is_resumed(&pair.server));
	say_and_hear();
}
END_TEST

/* Whatever the pieces, of one byte or of more than a flight. */
START_TEST(pieces_of_any_size_do)
{
	static const size_t steps[] = { 1, 2, 3, 5, 7, 64, 1000, 4095 };

	mutual();
	pair.far[0].step = steps[_i % 8];
	pair.far[1].step = steps[(_i / 8) % 8];
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	pair.far[0].step = pair.far[1].step = 0;
	say_and_hear();
}
END_TEST

START_TEST(leaf_is_one_that_the_other_side_can_verify)
{
	struct tls_leaf l[2] = { rig_leaf(1, &web_ed, &node), rig_leaf(2, &web_p256, &node) };
	struct tls_terms t = { .server = true, .leaf = l, .leaves = 2, .context = SLICE("x") };
	static const uint16_t only_p256[] = { SSL_SIGN_ECDSA_SECP256R1_SHA256 };

	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &server), 0);
	client = side(false, 0, NULL, trust, TLS_RULE_HOST, "web.example");
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(pair.job.key, 1);
	ck_assert(slice_eq(tls_peer(&pair.client), web_ed.der));
	ck_assert(slice_eq(tls_server_name(&pair.server), SLICE("web.example")));

	ck_assert(SSL_CTX_set_verify_algorithm_prefs(client->ctx, only_p256, 1));
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(pair.job.key, 2);
	ck_assert(slice_eq(tls_peer(&pair.client), web_p256.der));
}
END_TEST

START_TEST(leaf_is_the_one_of_the_name_that_is_asked_for)
{
	struct rig_cert all = rig_cert((struct rig_spec){ .issuer = &node, .san = "DNS:*.wild.example" });
	struct rig_cert one = rig_cert((struct rig_spec){ .issuer = &node, .san = "DNS:one.wild.example,DNS:*.two.example" });
	struct tls_leaf l[4] = { rig_leaf(1, &web_ed, &node), rig_leaf(2, &all, &node), rig_leaf(3, &one, &node),
				 rig_leaf(4, &web_p256, &node) };
	struct tls_terms t = { .server = true, .leaf = l, .leaves = 4, .context = SLICE("x") };
	static const struct {
		const char *name;
		unsigned leaf;
	} row[] = { { "one.wild.example", 2 }, { "ONE.wild.example", 2 }, { "a.two.example", 2 }, { "other.wild.example", 1 },
		    { "web.example", 0 }, { "else.where", 0 }, { "10.0.0.1", 0 }, { "a.b.wild.example", 0 } };
	static const uint16_t only_p256[] = { SSL_SIGN_ECDSA_SECP256R1_SHA256 };

	for (unsigned i = 0; i < 4; i++)
		l[i].set = i;
	pair.keys[1] = &all;
	pair.keys[2] = &one;
	pair.keys[3] = &web_p256;
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &server), 0);
	for (size_t i = 0; i < countof(row); i++) {
		client = side(false, 0, NULL, trust, TLS_RULE_HOST, row[i].name);
		rig_connect(&pair, client, server);
		(void)rig_shake(&pair);
		ck_assert_msg(pair.job.key == row[i].leaf + 1, "%s: %u", row[i].name, (unsigned)pair.job.key);
		rig_close(&pair);
		tls_side_unref(&client);
	}
	/* of the same name the one that can be verified */
	client = side(false, 0, NULL, trust, TLS_RULE_HOST, "web.example");
	ck_assert(SSL_CTX_set_verify_algorithm_prefs(client->ctx, only_p256, 1));
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(pair.job.key, 4);
	rig_close(&pair);
	rig_cert_free(&all);
	rig_cert_free(&one);
}
END_TEST

START_TEST(address_is_found_among_addresses_only)
{
	static const struct {
		const char *san, *name;
		bool good;
	} rows[] = {
		{ "IP:10.0.0.1,DNS:web.example", "10.0.0.1", true },
		{ "IP:10.0.0.1", "10.0.0.2", false },
		{ "DNS:10.0.0.1", "10.0.0.1", false },
		{ "IP:fd00:0:0:0:0:0:0:1", "fd00::1", true },
		{ "IP:10.0.0.1", "web.example", false },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct rig_cert c = rig_cert((struct rig_spec){ .issuer = &node, .cn = "c",
								.san = rows[i].san });
		const struct rig_cert *was = pair.keys[0];

		pair.keys[0] = &c;
		server = side(true, 1, &c, NULL, TLS_RULE_ANY, NULL);
		client = side(false, 0, NULL, trust, TLS_RULE_HOST, rows[i].name);
		rig_connect(&pair, client, server);
		ck_assert_msg(rig_shake(&pair) == rows[i].good, "%s as %s", rows[i].san, rows[i].name);
		if (rows[i].good)	/* RFC 6066: a literal address is not sent */
			ck_assert_uint_eq(tls_server_name(&pair.server).n, 0);
		rig_close(&pair);
		tls_side_unref(&server);
		tls_side_unref(&client);
		pair.keys[0] = was;
		rig_cert_free(&c);
	}
}
END_TEST

START_TEST(rsa_signs_too)
{
	server = side(true, 3, &web_rsa, NULL, TLS_RULE_ANY, NULL);
	client = side(false, 0, NULL, trust, TLS_RULE_HOST, "web.example");
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(tls_peer(&pair.server).n, 0);
	say_and_hear();
}
END_TEST

START_TEST(tls_1_2_only_where_it_is_wanted)
{
	struct tls_leaf l = rig_leaf(2, &web_p256, &node);
	struct tls_terms t = { .server = true, .leaf = &l, .leaves = 1, .context = SLICE("x"),
			       .tls12 = true };

	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &server), 0);
	client = side(false, 0, NULL, trust, TLS_RULE_HOST, "web.example");
	ck_assert(SSL_CTX_set_min_proto_version(client->ctx, TLS1_2_VERSION));
	ck_assert(SSL_CTX_set_max_proto_version(client->ctx, TLS1_2_VERSION));
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(tls_version(&pair.server), 0x0303);
	say_and_hear();

	rig_close(&pair);
	tls_side_unref(&server);
	server = side(true, 2, &web_p256, NULL, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_VERSION);
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_VERSION);
}
END_TEST

START_TEST(a_slow_signer_delays_nobody_else)
{
	mutual();
	pair.signs = RIG_SIGNS_LATER;
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(pair.s, TLS_KEY);
	ck_assert_uint_eq(tls_handshake(&pair.server), TLS_KEY);
	ck_assert(tls_waits_for_key(&pair.server));
	tls_ask_again(&pair.stock);
	ck_assert_uint_eq(pair.asks, 2);
	rig_answer(&pair);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(pair.c, TLS_KEY);
	rig_answer(&pair);
	ck_assert(rig_shake(&pair));
	say_and_hear();
	/* a late second answer changes nothing */
	tls_signed(pair.server.tls, SLICE("x"));
	say_and_hear();
}
END_TEST

START_TEST(no_signature_no_connection)
{
	mutual();
	pair.signs = _i ? RIG_SIGNS_NOT : RIG_SIGNS_NEVER;
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(pair.s, TLS_FAILED);
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_NO_SIGNATURE);
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_ALERT);
	ck_assert_int_eq(pair.server.ops->read(&pair.server, (uint8_t[1]){ 0 }, 1), -EPROTO);
}
END_TEST

/* ---- who is not let in, and why ---- */

START_TEST(certificates_that_do_not_do)
{
	static const struct {
		struct rig_spec spec;
		enum tls_fault fault;
		enum { BY_NODE, BY_OTHER, BY_ROOT_REVOKED } by;
	} rows[] = {
		{ { .san = TD "/ns/shop/sa/web", .from_s = -100, .to_s = -5 }, TLS_FAULT_EXPIRED, BY_NODE },
		{ { .san = TD "/ns/shop/sa/web", .from_s = 100, .to_s = 500 }, TLS_FAULT_NOT_YET_VALID, BY_NODE },
		{ { .san = TD "/ns/shop/sa/web" }, TLS_FAULT_UNKNOWN_ROOT, BY_OTHER },
		{ { .san = TD "/ns/shop/sa/web" }, TLS_FAULT_REVOKED, BY_ROOT_REVOKED },
		{ { .san = TD "/ns/shop/sa/web", .usage = "codeSigning" }, TLS_FAULT_WRONG_USAGE, BY_NODE },
		{ { .san = TD "/ns/shop/sa/web", .ca = true, .usage = "serverAuth,clientAuth" }, TLS_FAULT_WRONG_USAGE, BY_NODE },
		{ { .san = "URI:spiffe://other.example/ns/shop/sa/web" }, TLS_FAULT_WRONG_TRUST_DOMAIN, BY_NODE },
		{ { .san = "DNS:web.example" }, TLS_FAULT_WRONG_TRUST_DOMAIN, BY_NODE },
		{ { .san = TD "/ns/shop/sa/web," TD "/ns/shop/sa/api" }, TLS_FAULT_WRONG_TRUST_DOMAIN, BY_NODE },
		{ { .san = TD "/elsewhere" }, TLS_FAULT_WRONG_TRUST_DOMAIN, BY_NODE },
	};
	bool of_client = _i % 2;
	struct rig_spec spec = rows[_i / 2].spec;
	struct rig_cert bad;
	struct tls_trust *t = NULL;
	enum tls_fault f;

	ck_assert_uint_eq(countof(rows), 10);
	spec.issuer = rows[_i / 2].by == BY_OTHER ? &other_root : &node;
	bad = rig_cert(spec);
	pair.keys[4] = &bad;
	if (rows[_i / 2].by == BY_ROOT_REVOKED)
		t = trust_of(&root, &node, &bad);
	server = side(true, of_client ? 1 : 5, of_client ? &web_ed : &bad, of_client && t ? t : trust,
		      TLS_RULE_TRUST_DOMAIN, "cluster.local");
	client = side(false, of_client ? 5 : 4, of_client ? &bad : &api, !of_client && t ? t : trust,
		      TLS_RULE_TRUST_DOMAIN, "cluster.local");
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	f = tls_why(of_client ? &pair.server : &pair.client);
	ck_assert_msg(f == rows[_i / 2].fault, "%s instead of %s", tls_fault_name(f),
		      tls_fault_name(rows[_i / 2].fault));
	rig_close(&pair);
	rig_cert_free(&bad);
	if (t)
		tls_trust_unref(&t);
}
END_TEST

/* Of the right issuer by its words, but not by its signature. */
START_TEST(forged_certificate)
{
	((uint8_t *)(uintptr_t)api.der.p)[api.der.n - 1] ^= 1;
	mutual();
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_BAD_CERTIFICATE);
}
END_TEST

/* Endpoints are told of it in a header. */
START_TEST(nothing_but_an_identity_looks_like_one)
{
	static const struct rig_spec rows[] = {
		{ .cn = "spiffe://cluster.local/ns/shop/sa/root" },
		{ .san = "URI:spiffe://a/ns/b/sa/c;x" }, { .san = "URI:spiffe://a/ns/b/sa/c\\r\\nx" },
		{ .san = TD "/ns/shop/sa/web," TD "/ns/shop/sa/root" }, { .san = "DNS:spiffe://a/ns/b/sa/c" },
	};
	struct rig_spec spec = rows[_i];
	struct rig_cert odd;

	spec.issuer = &node;
	odd = rig_cert(spec);
	pair.keys[4] = &odd;
	server = side(true, 1, &web_ed, trust, TLS_RULE_ANY, NULL);
	client = side(false, 5, &odd, trust, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(tls_peer_name(&pair.server).n, 0);
	ck_assert(memmem(tls_peer_element(&pair.server).p, tls_peer_element(&pair.server).n, "URI=", 4) == NULL);
	ck_assert(memmem(tls_peer_element(&pair.server).p, tls_peer_element(&pair.server).n, "DNS=", 4) == NULL);
	rig_close(&pair);
	rig_cert_free(&odd);
}
END_TEST

/* Behind whose it is and the hash. */
START_TEST(all_that_a_certificate_says_fits_an_element)
{
	static const struct {
		struct rig_spec spec;
		const char *want;
	} rows[] = {
		{ { .cn = "a", .san = TD "/ns/shop/sa/api,DNS:a.example,DNS:*.b.example" },
		  ";Subject=\"CN=a\";URI=spiffe://cluster.local/ns/shop/sa/api;DNS=a.example;DNS=*.b.example" },
		{ { .cn = "a, \"b\"; URI=x", .san = "URI:http://a/?b=c,URI:http://d" },
		  ";Subject=\"CN=a\\\\, \\\\\\\"b\\\\\\\"\\\\; URI=x\";URI=\"http://a/?b=c\";URI=http://d" },
		{ { .cn = "\xc3\xa4\r\nX: y" }, ";Subject=\"CN=\\\\C3\\\\A4\\\\0D\\\\0AX: y\"" },
	};
	struct rig_spec spec = rows[_i].spec;
	struct rig_cert c;
	struct slice e;

	spec.issuer = &node;
	c = rig_cert(spec);
	pair.keys[4] = &c;
	server = side(true, 1, &web_ed, trust, TLS_RULE_ANY, NULL);
	client = side(false, 5, &c, trust, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	e = tls_peer_element(&pair.server);
	ck_assert(slice_starts(e, SLICE("By=spiffe://cluster.local/ns/shop/sa/web;Hash=")));
	e = slice_from(e, sizeof "By=spiffe://cluster.local/ns/shop/sa/web;Hash=" - 1 + 64);
	ck_assert_msg(slice_eq(e, slice_str(rows[_i].want)), "%.*s", (int)e.n, (const char *)e.p);
	rig_close(&pair);
	rig_cert_free(&c);
}
END_TEST

START_TEST(another_identity_than_expected)
{
	server = side(true, 1, &web_ed, trust, TLS_RULE_TRUST_DOMAIN, "cluster.local");
	client = side(false, 4, &api, trust, TLS_RULE_IDENTITY, "spiffe://cluster.local/ns/shop/sa/db");
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_WRONG_NAME);
	tls_side_unref(&client);
	client = side(false, 4, &api, trust, TLS_RULE_HOST, "elsewhere.example");
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_WRONG_NAME);
}
END_TEST

START_TEST(no_certificate_where_one_is_wanted)
{
	struct tls_leaf l = rig_leaf(1, &web_ed, &node);
	struct tls_terms t = { .server = true, .leaf = &l, .leaves = 1, .trust = trust,
			       .optional = true, .rule = TLS_RULE_TRUST_DOMAIN,
			       .name = "cluster.local" };

	server = side(true, 1, &web_ed, trust, TLS_RULE_TRUST_DOMAIN, "cluster.local");
	client = side(false, 0, NULL, trust, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_NO_CERTIFICATE);
	rig_close(&pair);
	tls_side_unref(&server);
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &server), 0);	/* it may be missing */
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_uint_eq(tls_peer(&pair.server).n, 0);
	rig_close(&pair);
	tls_side_unref(&client);
	client = side(false, 4, &api, trust, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert(slice_eq(tls_peer(&pair.server), api.der));
}
END_TEST

START_TEST(no_protocol_in_common)
{
	struct tls_leaf l = rig_leaf(1, &web_ed, &node);
	struct tls_terms t = { .server = true, .leaf = &l, .leaves = 1, .alpn = SLICE("\x03xyz") };

	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &server), 0);
	client = side(false, 0, NULL, trust, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_ALPN);
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_ALPN);
}
END_TEST

START_TEST(nothing_in_common)
{
	static const uint16_t only_p256[] = { SSL_SIGN_ECDSA_SECP256R1_SHA256 };
	static const int p384[] = { NID_secp384r1 };

	server = side(true, 1, &web_ed, NULL, TLS_RULE_ANY, NULL);
	client = side(false, 0, NULL, trust, TLS_RULE_ANY, NULL);
	if (_i)
		ck_assert(SSL_CTX_set1_curves(client->ctx, p384, 1));
	else
		ck_assert(SSL_CTX_set_verify_algorithm_prefs(client->ctx, only_p256, 1));
	rig_connect(&pair, client, server);
	ck_assert(!rig_shake(&pair));
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_NO_COMMON);
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_NO_COMMON);
}
END_TEST

/* ---- bytes that are not as they should be ---- */

static void feed(const void *p, size_t n)
{
	memcpy(pair.up.p + pair.up.end, p, n);
	pair.up.end += n;
}

START_TEST(what_is_not_tls)
{
	server = side(true, 1, &web_ed, NULL, TLS_RULE_ANY, NULL);
	client = side(false, 0, NULL, trust, TLS_RULE_ANY, NULL);
	rig_connect(&pair, client, server);
	if (_i == 0)
		feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
	else
		feed("\x16\x07\x07\x00\x10" "0123456789abcdef", 21);
	ck_assert_uint_eq(tls_handshake(&pair.server), TLS_FAILED);
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_NOT_TLS);
}
END_TEST

/* As OpenSSL sends it when it does not like the certificate. */
START_TEST(an_alert_in_clear_is_an_alert)
{
	mutual();
	rig_connect(&pair, client, server);
	pair.c = tls_handshake(&pair.client);
	pair.s = tls_handshake(&pair.server);
	ck_assert_uint_eq(pair.s, TLS_KEY);
	rig_answer(&pair);
	ck_assert_uint_eq(tls_handshake(&pair.server), TLS_IN);
	feed("\x14\x03\x03\x00\x01\x01\x15\x03\x03\x00\x02\x02\x30", 13);
	ck_assert_uint_eq(tls_handshake(&pair.server), TLS_FAILED);
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_ALERT);
}
END_TEST

START_TEST(end_within_the_handshake)
{
	size_t hello;

	mutual();
	rig_connect(&pair, client, server);
	ck_assert_uint_eq(tls_handshake(&pair.client), TLS_IN);
	hello = pair.up.end;
	ck_assert_uint_gt(hello, 100);
	pair.up.end = (size_t)_i * hello / 20;
	pair.up.ended = true;
	ck_assert_uint_eq(tls_handshake(&pair.server), TLS_FAILED);
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_CLOSED);
	ck_assert_int_eq(pair.server.ops->read(&pair.server, (uint8_t[1]){ 0 }, 1), -ECONNRESET);
}
END_TEST

START_TEST(spoiled_flights_end_with_a_fault)
{
	uint8_t *p;

	mutual();
	rig_connect(&pair, client, server);
	pair.c = tls_handshake(&pair.client);
	p = pair.up.p + (size_t)_i * (pair.up.end - 1) / 40;
	*p ^= 0x55;
	rig_shake(&pair);
	ck_assert(pair.s != TLS_DONE);
	if (pair.s == TLS_FAILED)
		ck_assert_uint_ne(tls_why(&pair.server), TLS_FAULT_NONE);
}
END_TEST

START_TEST(a_record_that_was_changed_breaks_it)
{
	char buf[64];
	ssize_t e;

	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_int_eq(put(&pair.client, "good"), 4);
	ck_assert_int_eq(put(&pair.client, "hello"), 5);
	pair.up.p[pair.up.end - 3] ^= 1;
	ck_assert_int_eq(pair.server.ops->read(&pair.server, (uint8_t *)buf, sizeof buf), 4);
	ck_assert(pair.server.ops->more(&pair.server));
	get(&pair.server, buf, sizeof buf, &e);
	ck_assert_int_eq(e, -EPROTO);
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_PROTOCOL);
	get(&pair.client, buf, sizeof buf, &e);
	ck_assert_int_eq(e, -EPROTO);
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_ALERT);
	ck_assert_int_lt(put(&pair.server, "x"), 0);
}
END_TEST

/* ---- the end ---- */

START_TEST(end_is_an_end_only_with_a_word)
{
	char buf[64];
	ssize_t e;

	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	ck_assert_int_eq(put(&pair.client, "last"), 4);
	if (_i == 0) {
		ck_assert_int_eq(pair.client.ops->finish(&pair.client), 0);
		pair.up.ended = false;	/* the line lives on: only the word says it */
		ck_assert_int_eq(pair.server.ops->read(&pair.server, (uint8_t *)buf, sizeof buf), 4);
		ck_assert(pair.server.ops->more(&pair.server));
		get(&pair.server, buf, sizeof buf, &e);
		ck_assert_int_eq(e, 0);
		/* the other way goes on */
		ck_assert_int_eq(put(&pair.server, "answer"), 6);
		ck_assert(slice_eq(get(&pair.client, buf, sizeof buf, &e), SLICE("answer")));
		ck_assert_int_eq(put(&pair.client, "x"), -EPIPE);
		return;
	}
	pair.up.ended = true;
	ck_assert(slice_eq(get(&pair.server, buf, sizeof buf, &e), SLICE("last")));
	ck_assert_int_eq(e, -ECONNRESET);
	ck_assert_uint_eq(tls_why(&pair.server), TLS_FAULT_TRUNCATED);
}
END_TEST

START_TEST(close_says_it_and_abort_does_not)
{
	char buf[8];
	ssize_t e;

	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	stream_close(&pair.client, _i);
	get(&pair.server, buf, sizeof buf, &e);
	ck_assert_int_eq(e, _i ? -ECONNRESET : 0);
}
END_TEST

START_TEST(a_word_that_finds_no_room_is_said_later)
{
	char buf[64];
	ssize_t e;

	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	pair.up.most = pair.up.end - pair.up.at;
	ck_assert_int_eq(pair.client.ops->finish(&pair.client), -EAGAIN);
	ck_assert(!pair.up.ended);
	pair.up.most = RIG_PIPE;
	ck_assert_int_eq(pair.client.ops->finish(&pair.client), 0);
	get(&pair.server, buf, sizeof buf, &e);
	ck_assert_int_eq(e, 0);
}
END_TEST

/* ---- much, and little room ---- */

/* Bytes in iovecs of odd sizes, through a line with little room, read with little room: all come, in
 * order, and what is taken is never more than the line took. */
START_TEST(much_through_little)
{
	enum { ALL = 200000 };
	static uint8_t src[ALL], dst[ALL];
	size_t sent = 0, got = 0, room = (size_t[]){ 1, 17, 4056, 16384, 65536 }[_i % 5];
	unsigned idle = 0;

	for (size_t i = 0; i < ALL; i++)
		src[i] = (uint8_t)(i * 7 + i / 251);
	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	pair.up.most = _i < 5 ? 5000 : 100000;
	while (got < ALL && idle < 10) {
		struct iovec v[3];
		ssize_t k;
		int n = 0;

		for (size_t at = sent; at < ALL && n < 3; n++) {
			size_t len = min_of((size_t)ALL - at, (size_t)(n == 0 ? 333 : 30011));

			v[n] = (struct iovec){ src + at, len };
			at += len;
		}
		k = n ? pair.client.ops->write(&pair.client, v, n) : 0;
		idle++;
		if (k > 0) {
			sent += (size_t)k;
			idle = 0;
		} else {
			ck_assert(k == 0 || k == -EAGAIN);
		}
		for (int i = 0; i < 50; i++) {
			k = pair.server.ops->read(&pair.server, dst + got,
						  min_of(room, (size_t)ALL - got));
			if (k <= 0)
				break;
			got += (size_t)k;
			idle = 0;
		}
	}
	ck_assert_uint_eq(got, ALL);
	ck_assert_int_eq(memcmp(src, dst, ALL), 0);
}
END_TEST

START_TEST(a_quiet_connection_holds_no_buffer)
{
	static uint8_t large[10000];
	struct iovec v = { large, sizeof large };
	uint64_t held;

	mutual();
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	say_and_hear();
	held = pair.server.tls->bytes;
	ck_assert_uint_gt(held, 500);	/* it is counted at all */
	ck_assert_uint_lt(held, 8000);
	/* half a record: it must wait somewhere */
	ck_assert_int_eq(pair.client.ops->write(&pair.client, &v, 1), sizeof large);
	pair.up.end -= 3;
	ck_assert_uint_eq(get(&pair.server, (char *)large, sizeof large, NULL).n, 0);
	ck_assert_uint_gt(pair.server.tls->charged, held + sizeof large);
	pair.up.end += 3;
	ck_assert_uint_eq(get(&pair.server, (char *)large, sizeof large, NULL).n, sizeof large);
	ck_assert_uint_le(pair.server.tls->charged, held + 8192);
	ck_assert_uint_le(pair.client.tls->charged, 12288);
	ck_assert_uint_ge(pair.memory.used, pair.server.tls->bytes + pair.client.tls->bytes);
}
END_TEST

START_TEST(no_memory_is_a_fault)
{
	struct stream below;
	struct stream s;

	mutual();
	rig_connect(&pair, client, server);
	pair.memory.limit = pair.memory.used;
	ck_assert(!rig_shake(&pair));
	ck_assert(tls_why(&pair.server) == TLS_FAULT_NO_MEMORY || tls_why(&pair.client) == TLS_FAULT_NO_MEMORY);
	rig_close(&pair);
	pair.memory.limit = 1;
	below = rig_stream(&pair.far[0]);
	ck_assert_int_eq(tls_new(&pair.stock, client, &pair.memory, SLOT_NONE, &below, &s), -ENOMEM);
	ck_assert(stream_is_open(&below));
	pair.memory.limit = 0;
}
END_TEST

/* ---- resumption ---- */

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	if (kept)
		SSL_SESSION_free(kept);
	kept = s;
	return 1;
}

static void forget_session(void)
{
	if (kept)
		SSL_SESSION_free(kept);
	kept = NULL;
}

/* A first connection whose ticket is kept. */
static void first(void)
{
	forget_session();
	SSL_CTX_set_session_cache_mode(client->ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(client->ctx, keep_session);
	rig_connect(&pair, client, server);
	ck_assert(rig_shake(&pair));
	say_and_hear();
	ck_assert_ptr_nonnull(kept);
}

static bool again(struct tls_side *at)
{
	rig_connect(&pair, client, at);
	ck_assert(SSL_set_session(pair.client.tls->ssl, kept));
	return rig_shake(&pair);
}

static void make_ticket_keys(void)
{
	rand_bytes(&pair.stock.now, sizeof pair.stock.now);
}

START_TEST(tickets_are_taken_back_by_the_same_identity_only)
{
	struct tls_leaf l = rig_leaf(1, &web_ed, &node);
	struct tls_terms t = { .server = true, .leaf = &l, .leaves = 1, .trust = trust,
			       .rule = TLS_RULE_TRUST_DOMAIN, .name = "cluster.local",
			       .context = SLICE("front"), .alpn = ALPN };
	struct tls_side *same, *other;

	make_ticket_keys();
	mutual();
	first();
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &same), 0);
	t.context = SLICE("another");
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &other), 0);
	pair.asks = 0;
	ck_assert(again(same));
	ck_assert(tls_is_resumed(&pair.server) && tls_is_resumed(&pair.client));
	ck_assert_uint_eq(pair.asks, 0);
	ck_assert(slice_eq(tls_peer(&pair.server), api.der));
	say_and_hear();
	ck_assert(again(other));
	ck_assert(!tls_is_resumed(&pair.server));
	rig_close(&pair);
	tls_side_unref(&same);
	tls_side_unref(&other);
	forget_session();
}
END_TEST

START_TEST(no_ticket_is_taken_back_after_the_end_of_our_own_certificate)
{
	struct tls_leaf l = rig_leaf(1, &web_ed, &node);
	struct tls_terms t = { .server = true, .leaf = &l, .leaves = 1, .trust = trust,
			       .rule = TLS_RULE_TRUST_DOMAIN, .name = "cluster.local",
			       .context = SLICE("front"), .alpn = ALPN, .ends_unix_s = time(NULL) + 600 };
	struct tls_side *ends;

	make_ticket_keys();
	mutual();
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &ends), 0);
	first();
	ck_assert(again(ends));
	ck_assert(tls_is_resumed(&pair.server));
	say_and_hear();
	ahead_ms = 601 * 1000;
	ck_assert(again(ends));
	ck_assert(!tls_is_resumed(&pair.server));
	rig_close(&pair);
	tls_side_unref(&ends);
	forget_session();
}
END_TEST

START_TEST(ticket_keys_are_rotated)
{
	struct tls_ticket_key one;

	mutual();
	make_ticket_keys();
	first();
	one = pair.stock.now;
	pair.stock.before = one;
	make_ticket_keys();
	ck_assert(again(server));
	ck_assert(tls_is_resumed(&pair.server));	/* still taken, and renewed */
	say_and_hear();
	pair.stock.before = (struct tls_ticket_key){ { 0 }, { 0 }, { 0 } };
	ck_assert(again(server));
	ck_assert(tls_is_resumed(&pair.server));	/* the newer ticket */
	say_and_hear();
	make_ticket_keys();
	ck_assert(again(server));
	ck_assert(!tls_is_resumed(&pair.server));
	forget_session();
}
END_TEST

/* As if nothing but the revocation list, or the policy, were another: else the ticket is not taken. */
static void same_context(struct tls_side *s)
{
	ck_assert(SSL_CTX_set_session_id_context(s->ctx, (const uint8_t *)"same", 4));
}

/* BoringSSL itself looks at nothing but the ticket. */
START_TEST(a_resumed_caller_is_judged_again)
{
	struct tls_trust *t = NULL;
	struct tls_side *now = NULL;

	make_ticket_keys();
	mutual();
	same_context(server);
	first();
	if (_i == 0) {		/* revoked meanwhile */
		t = trust_of(&root, &node, &api);
		now = side(true, 1, &web_ed, t, TLS_RULE_TRUST_DOMAIN, "cluster.local");
	} else if (_i == 1) {	/* policy: another trust domain is wanted */
		now = side(true, 1, &web_ed, trust, TLS_RULE_TRUST_DOMAIN, "other.example");
	} else {		/* expired meanwhile; the ticket is as old as BoringSSL's clock says */
		ahead_ms = 2 * 86400 * 1000ll;
		now = server;
		tls_side_ref(now);
	}
	same_context(now);
	pair.asks = 0;
	ck_assert(!again(now) || pair.s != TLS_DONE);
	ck_assert_uint_eq(pair.asks, 0);	/* it was resumed, as far as BoringSSL goes */
	ck_assert_uint_eq(pair.s, TLS_FAILED);
	ck_assert_uint_eq(tls_why(&pair.server), _i == 0 ? TLS_FAULT_REVOKED :
						 _i == 1 ? TLS_FAULT_WRONG_TRUST_DOMAIN :
							   TLS_FAULT_EXPIRED);
	rig_close(&pair);
	tls_side_unref(&now);
	if (t)
		tls_trust_unref(&t);
	forget_session();
}
END_TEST

static bool client_shakes(struct slice alpn, uint64_t with)
{
	rig_connect(&pair, client, server);
	ck_assert_int_eq(tls_client(&pair.client, alpn, with), 0);
	return rig_shake(&pair);
}

START_TEST(a_client_takes_a_server_of_any_of_the_names)
{
	static const struct {
		struct tls_name names[2];
		bool good;
	} row[] = {
		{ { { false, "other.example" }, { false, "web.example" } }, true },
		{ { { false, "other.example" }, { true, "spiffe://cluster.local/ns/shop/sa/web" } }, true },
		{ { { true, "spiffe://cluster.local/ns/shop/sa/web2" }, { false, "example" } }, false },
		{ { { true, "web.example" }, { false, "spiffe://cluster.local/ns/shop/sa/web" } }, false },
	};
	struct tls_terms t = { .trust = trust, .rule = TLS_RULE_NAMES, .name = "asked.example", .n_names = 2 };

	server = side(true, 1, &web_ed, NULL, TLS_RULE_ANY, NULL);
	t.names = row[_i].names;
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &client), 0);
	ck_assert(client_shakes(SLICE("\x02h2"), 0) == row[_i].good);
	ck_assert_uint_eq(tls_why(&pair.client), row[_i].good ? TLS_FAULT_NONE : TLS_FAULT_WRONG_NAME);
	if (row[_i].good) {
		ck_assert(slice_eq(tls_server_name(&pair.server), SLICE("asked.example")));
		ck_assert(slice_eq(tls_alpn(&pair.client), SLICE("h2")));
		say_and_hear();
	}
	t.n_names = TLS_NAMES + 1;
	rig_close(&pair);
	tls_side_unref(&client);
	ck_assert_int_eq(tls_side_new(&pair.stock, &t, &client), -EINVAL);
}
END_TEST

START_TEST(a_client_resumes_with_whom_it_has_talked_to)
{
	make_ticket_keys();
	server = side(true, 1, &web_ed, NULL, TLS_RULE_ANY, NULL);
	client = side(false, 0, NULL, trust, TLS_RULE_HOST, "web.example");
	for (int i = 0; i < 3; i++) {
		ck_assert(client_shakes((struct slice){ 0 }, 7));
		say_and_hear();		/* the ticket comes behind the handshake */
		ck_assert(tls_is_resumed(&pair.client) == (i > 0));
		rig_close(&pair);
	}
	/* Another server, which takes the place; and nobody's. */
	ck_assert(client_shakes((struct slice){ 0 }, 7 + TLS_SESSIONS));
	say_and_hear();
	ck_assert(!tls_is_resumed(&pair.client));
	rig_close(&pair);
	ck_assert(client_shakes((struct slice){ 0 }, 7));
	ck_assert(!tls_is_resumed(&pair.client));
	rig_close(&pair);
	ck_assert(client_shakes((struct slice){ 0 }, 0));
	say_and_hear();
	ck_assert(!tls_is_resumed(&pair.client));
	/* What is kept is judged again. */
	rig_close(&pair);
	ck_assert(client_shakes((struct slice){ 0 }, 7) && (say_and_hear(), true));
	rig_close(&pair);
	ahead_ms = 3 * 86400000ll;
	ck_assert(!client_shakes((struct slice){ 0 }, 7));
	ck_assert_uint_eq(tls_why(&pair.client), TLS_FAULT_EXPIRED);
}
END_TEST

START_TEST(trust_files_that_are_wrong)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "", "has no certificate in it" },
		{ "-----BEGIN CERTIFICATE-----\nAAAA\n", "is not whole PEM" },
		{ "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		  "a certificate in it cannot be read" },
		{ "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
		  "a revocation list in it cannot be read" },
	};
	const struct rig_cert *leaf[] = { &web_ed, NULL };
	struct slice pem = rig_pem(leaf, NULL);
	struct tls_trust *t;
	const char *why;

	for (size_t i = 0; i < countof(rows); i++) {
		ck_assert_int_eq(tls_trust_new(slice_str(rows[i].text), &t, &why), -EINVAL);
		ck_assert_str_eq(why, rows[i].why);
	}
	ck_assert_int_eq(tls_trust_new(pem, &t, &why), -EINVAL);
	ck_assert_str_eq(why, "a certificate in it may not issue others");
	rig_pem_free(&pem);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tls");
	TCase *t = tcase_create("all");
	SRunner *r;
	int bad;

	never_aborts = true;
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, both_know_each_other_and_talk);
	tcase_add_loop_test(t, pieces_of_any_size_do, 0, 64);
	tcase_add_test(t, leaf_is_one_that_the_other_side_can_verify);
	tcase_add_test(t, leaf_is_the_one_of_the_name_that_is_asked_for);
	tcase_add_test(t, address_is_found_among_addresses_only);
	tcase_add_test(t, rsa_signs_too);
	tcase_add_test(t, tls_1_2_only_where_it_is_wanted);
	tcase_add_test(t, a_slow_signer_delays_nobody_else);
	tcase_add_loop_test(t, no_signature_no_connection, 0, 2);
	tcase_add_loop_test(t, certificates_that_do_not_do, 0, 20);
	tcase_add_test(t, forged_certificate);
	tcase_add_loop_test(t, nothing_but_an_identity_looks_like_one, 0, 5);
	tcase_add_loop_test(t, all_that_a_certificate_says_fits_an_element, 0, 3);
	tcase_add_test(t, another_identity_than_expected);
	tcase_add_test(t, no_certificate_where_one_is_wanted);
	tcase_add_test(t, no_protocol_in_common);
	tcase_add_loop_test(t, nothing_in_common, 0, 2);
	tcase_add_loop_test(t, what_is_not_tls, 0, 2);
	tcase_add_test(t, an_alert_in_clear_is_an_alert);
	tcase_add_loop_test(t, end_within_the_handshake, 0, 20);
	tcase_add_loop_test(t, spoiled_flights_end_with_a_fault, 0, 40);
	tcase_add_test(t, a_record_that_was_changed_breaks_it);
	tcase_add_loop_test(t, end_is_an_end_only_with_a_word, 0, 2);
	tcase_add_loop_test(t, close_says_it_and_abort_does_not, 0, 2);
	tcase_add_test(t, a_word_that_finds_no_room_is_said_later);
	tcase_add_loop_test(t, much_through_little, 0, 10);
	tcase_add_test(t, a_quiet_connection_holds_no_buffer);
	tcase_add_test(t, no_memory_is_a_fault);
	tcase_add_test(t, tickets_are_taken_back_by_the_same_identity_only);
	tcase_add_test(t, no_ticket_is_taken_back_after_the_end_of_our_own_certificate);
	tcase_add_test(t, ticket_keys_are_rotated);
	tcase_add_loop_test(t, a_resumed_caller_is_judged_again, 0, 3);
	tcase_add_loop_test(t, a_client_takes_a_server_of_any_of_the_names, 0, 4);
	tcase_add_test(t, a_client_resumes_with_whom_it_has_talked_to);
	tcase_add_test(t, trust_files_that_are_wrong);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
