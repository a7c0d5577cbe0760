/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* mint, keyfile: certificates and requests are what was asked for, keys come back as they went. */
#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/bytestring.h>
#include <openssl/mem.h>
#include <openssl/x509v3.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/pem.h"
#include "tests/unit/test.h"

#define NOW 1800000000
#define WEB "spiffe://mesh.example/ns/shop/sa/web"

static X509 *x509_of(const struct mint *m)
{
	const uint8_t *p;
	uint8_t *der;
	size_t n;
	X509 *x;

	ck_assert_int_eq(mint(m, &der, &n), 0);
	p = der;
	x = d2i_X509(NULL, &p, (long)n);
	ck_assert_ptr_nonnull(x);
	ck_assert_ptr_eq(p, der + n);
	OPENSSL_free(der);
	return x;
}

static EVP_PKEY *key_of(int kind)
{
	EVP_PKEY *k;

	ck_assert_int_eq(mint_key(kind, &k), 0);
	return k;
}

static bool verifies(X509 *root, X509 *node, X509 *leaf, int64_t at)
{
	X509_STORE *s = X509_STORE_new();
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	STACK_OF(X509) *above = sk_X509_new_null();
	bool ok;

	X509_STORE_add_cert(s, root);
	sk_X509_push(above, node);
	ck_assert_int_eq(X509_STORE_CTX_init(c, s, leaf, above), 1);
	X509_STORE_CTX_set_purpose(c, X509_PURPOSE_SSL_SERVER);
	X509_STORE_CTX_set_time(c, 0, at);
	ok = X509_verify_cert(c) == 1;
	X509_STORE_CTX_free(c);
	X509_STORE_free(s);
	sk_X509_free(above);
	return ok;
}

START_TEST(a_chain_of_each_kind_of_key_holds_for_its_time_and_no_longer)
{
	static const int kinds[] = { EVP_PKEY_EC, EVP_PKEY_ED25519 };

	for (size_t i = 0; i < 4; i++) {
		EVP_PKEY *kr = key_of(kinds[i & 1]), *kn = key_of(kinds[i >> 1]), *kl = key_of(kinds[i & 1]);
		struct mint r = { .what = MINT_ROOT, .subject = kr, .signer = kr, .uri = "spiffe://mesh.example",
				  .name = "mesh.example", .now_s = NOW, .life_s = 86400 };
		X509 *root = x509_of(&r), *node, *leaf;
		struct mint n = { .what = MINT_NODE, .subject = kn, .signer = kr, .issuer = root, .name = "h",
				  .uri = "spiffe://mesh.example/node/h", .now_s = NOW, .life_s = 86400 * 2 };
		struct mint l = { .what = MINT_WORKLOAD, .subject = kl, .signer = kn, .uri = WEB, .name = "",
				  .now_s = NOW, .life_s = 3600 };
		char uri[256];
		int crit = 0;

		node = x509_of(&n);
		l.issuer = node;
		leaf = x509_of(&l);
		ck_assert_int_eq(mint_unix_s(X509_get0_notAfter(node)), NOW + 86400);	/* its issuer's */
		ck_assert_int_eq(mint_unix_s(X509_get0_notBefore(leaf)), NOW - MINT_BACK_S);
		ck_assert_int_eq(mint_unix_s(X509_get0_notAfter(leaf)), NOW + 3600);
		ck_assert_int_gt(mint_uri(leaf, uri, sizeof uri), 0);
		ck_assert_str_eq(uri, WEB);
		ck_assert_int_eq(X509_NAME_entry_count(X509_get_subject_name(leaf)), 0);
		GENERAL_NAMES_free(X509_get_ext_d2i(leaf, NID_subject_alt_name, &crit, NULL));
		ck_assert_int_eq(crit, 1);
		ck_assert_int_eq(X509_check_ca(leaf), 0);
		ck_assert(verifies(root, node, leaf, NOW));
		ck_assert(verifies(root, node, leaf, NOW - MINT_BACK_S + 1));
		ck_assert(!verifies(root, node, leaf, NOW + 3601));
		ck_assert(!verifies(root, node, leaf, NOW - MINT_BACK_S - 1));
		X509_free(leaf);
		X509_free(node);
		X509_free(root);
		EVP_PKEY_free(kl);
		EVP_PKEY_free(kn);
		EVP_PKEY_free(kr);
	}
}
END_TEST

START_TEST(who_has_expired_or_not_the_key_issues_nothing)
{
	EVP_PKEY *k = key_of(EVP_PKEY_EC), *other = key_of(EVP_PKEY_EC);
	struct mint r = { .what = MINT_ROOT, .subject = k, .signer = k, .uri = "spiffe://m", .name = "m",
			  .now_s = NOW, .life_s = 100 };
	X509 *root = x509_of(&r);
	struct mint n = { .what = MINT_NODE, .subject = other, .signer = k, .issuer = root, .name = "h",
			  .uri = "spiffe://m/node/h", .now_s = NOW + 100, .life_s = 100 };
	uint8_t *der;
	size_t bytes;

	ck_assert_int_eq(mint(&n, &der, &bytes), -EINVAL);
	n.now_s = NOW;
	n.signer = other;
	ck_assert_int_eq(mint(&n, &der, &bytes), -EINVAL);
	X509_free(root);
	EVP_PKEY_free(k);
	EVP_PKEY_free(other);
}
END_TEST

START_TEST(serial_numbers_are_128_bits_and_positive)
{
	EVP_PKEY *k = key_of(EVP_PKEY_ED25519);
	struct mint r = { .what = MINT_ROOT, .subject = k, .signer = k, .uri = "spiffe://m", .name = "m",
			  .now_s = NOW, .life_s = 100 };
	uint8_t last[17] = { 0 };

	for (int i = 0; i < 64; i++) {
		X509 *x = x509_of(&r);
		const ASN1_INTEGER *s = X509_get0_serialNumber(x);

		ck_assert_int_eq(s->type, V_ASN1_INTEGER);	/* not V_ASN1_NEG_INTEGER */
		ck_assert_int_eq(s->length, 16);
		ck_assert_int_ne(memcmp(s->data, last, 16), 0);
		memcpy(last, s->data, 16);
		X509_free(x);
	}
	EVP_PKEY_free(k);
}
END_TEST

START_TEST(a_request_is_its_holders_own_and_for_one_name)
{
	EVP_PKEY *k = key_of(EVP_PKEY_EC), *got;
	uint8_t *der;
	size_t n;

	ck_assert_int_eq(mint_request(k, WEB, &der, &n), 0);
	ck_assert_int_eq(mint_request_key(slice_of(der, n), WEB, &got), 0);
	ck_assert_int_eq(EVP_PKEY_cmp(got, k), 1);
	EVP_PKEY_free(got);
	ck_assert_int_eq(mint_request_key(slice_of(der, n), "spiffe://mesh.example/ns/shop/sa/db", &got), -EINVAL);
	for (size_t i = 0; i < n; i++) {	/* any bit of it counts */
		der[i] ^= 1;
		ck_assert_int_eq(mint_request_key(slice_of(der, n), WEB, &got), -EINVAL);
		der[i] ^= 1;
	}
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(mint_request_key(slice_of(der, i), WEB, &got), -EINVAL);
	OPENSSL_free(der);
	EVP_PKEY_free(k);
}
END_TEST

START_TEST(keys_come_back_from_files_with_their_passphrase_alone)
{
	static const int kinds[] = { EVP_PKEY_EC, EVP_PKEY_ED25519 };
	const char *why;

	for (size_t i = 0; i < 4; i++) {
		EVP_PKEY *k = key_of(kinds[i & 1]), *got;
		struct slice pass = i & 2 ? SLICE("secret") : slice_of("", 0);
		char *text;
		size_t n;

		ck_assert_int_eq(keyfile_print(k, pass, &text, &n), 0);
		ck_assert_int_eq(keyfile_read(slice_of(text, n), pass, &got, &why), 0);
		ck_assert_int_eq(EVP_PKEY_cmp(k, got), 1);
		EVP_PKEY_free(got);
		if (pass.n) {
			ck_assert_int_eq(keyfile_read(slice_of(text, n), SLICE("other"), &got, &why), -EINVAL);
			ck_assert_int_eq(keyfile_read(slice_of(text, n), slice_of("", 0), &got, &why), -EINVAL);
			ck_assert_str_eq(why, "is encrypted: a key without passphrase is needed");
		}
		ck_assert_int_eq(keyfile_read(slice_of(text, n / 2), pass, &got, &why), -EINVAL);
		OPENSSL_free(text);
		EVP_PKEY_free(k);
	}
	ck_assert_int_eq(keyfile_read(SLICE("nothing\n"), slice_of("", 0), &(EVP_PKEY *){ NULL }, &why), -EINVAL);
	ck_assert_str_eq(why, "has no private key in it");
	ck_assert(slice_eq(keyfile_passphrase(SLICE("a b\r\n")), SLICE("a b")));
	ck_assert_uint_eq(keyfile_passphrase(SLICE("\n")).n, 0);
}
END_TEST

START_TEST(what_is_written_as_pem_is_read_as_it_was)
{
	uint8_t in[200], out[256];
	char text[1024];

	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)(i * 7);
	for (size_t n = 1; n <= sizeof in; n++) {
		struct strbuf b = strbuf_on(text, sizeof text);
		struct slice rest, label;
		size_t got;

		pem_print(&b, "X", slice_of(in, n));
		rest = strbuf_slice(&b);
		ck_assert_int_eq(pem_next(&rest, &label, out, sizeof out, &got), 1);
		ck_assert(slice_eq(label, SLICE("X")) && got == n && memcmp(in, out, n) == 0);
		ck_assert_int_eq(pem_next(&rest, &label, out, sizeof out, &got), 0);
	}
}
END_TEST

UNIT_TESTS("mint", a_chain_of_each_kind_of_key_holds_for_its_time_and_no_longer, who_has_expired_or_not_the_key_issues_nothing,
	   serial_numbers_are_128_bits_and_positive, a_request_is_its_holders_own_and_for_one_name,
	   keys_come_back_from_files_with_their_passphrase_alone, what_is_written_as_pem_is_read_as_it_was)
