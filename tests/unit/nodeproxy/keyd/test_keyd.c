/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* keyd: what it reads, what it tells, and what it signs and does not sign. */
#include "nodeproxy/keyd/keystore.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <unistd.h>

#include "nodeproxy/keyd/page.h"
#include "nodeproxy/keyd/sign.h"
#include "nodeproxy/lib/base/memfd.h"
#include "tests/lib/tls_rig.h"
#include "tests/unit/test.h"

static struct rig_cert root, ed, p256, rsa, old;
static struct keystore store;
static struct identities nobody_here;
static const uint64_t none_refused[SIGN_REFUSALS];
static char words[PAIR_WORDS];

static void make(void)
{
	if (root.x)
		return;
	root = rig_cert((struct rig_spec){ .cn = "root", .ca = true });
	ed = rig_cert((struct rig_spec){ .kind = EVP_PKEY_ED25519, .issuer = &root, .san = "DNS:shop.example,DNS:*.shop.example" });
	p256 = rig_cert((struct rig_spec){ .issuer = &root, .san = "DNS:p256.example" });
	rsa = rig_cert((struct rig_spec){ .kind = EVP_PKEY_RSA, .issuer = &root });
	old = rig_cert((struct rig_spec){ .issuer = &root, .from_s = -100, .to_s = -10 });
}

static struct fd file_of(struct slice s)
{
	struct fd f;

	ck_assert_int_eq(memfd_sealed("test", s, &f), 0);
	ck_assert_int_eq(lseek(f.v, 0, SEEK_SET), 0);
	return f;
}

static struct fd pem_of(const struct rig_cert *a, const struct rig_cert *b)
{
	const struct rig_cert *list[] = { a, b, NULL };
	struct slice s = rig_pem(list, NULL);
	struct fd f = file_of(s);

	rig_pem_free(&s);
	return f;
}

static struct fd key_of(const struct rig_cert *c)
{
	struct slice s = rig_pem_key(c);
	struct fd f = file_of(s);

	rig_pem_free(&s);
	return f;
}

static int add_files(const char *name, bool tls12, struct fd cert, struct fd key, struct fd ca, bool strict)
{
	int r = keystore_add(&store, name, tls12, cert, key, ca, strict, words);

	fd_close(&cert);
	fd_close(&key);
	fd_close(&ca);
	return r;
}

static void add(const char *name, const struct rig_cert *c, bool tls12)
{
	ck_assert_msg(add_files(name, tls12, pem_of(c, &root), key_of(c), FD_NONE, true) == 0, "%s", words);
}

static const char *const nobody[] = { NULL };

/* ---- files ---- */

START_TEST(what_is_read_is_told_but_no_key)
{
	const struct certs *c;
	const struct certs_entry *e;
	struct slice file, key;
	struct fd f;

	make();
	add("front", &ed, false);
	ck_assert_int_eq(add_files("side", true, pem_of(&p256, NULL), key_of(&p256), pem_of(&root, NULL), true), 0);
	add("rsa", &rsa, false);
	keystore_use(&store, nobody);
	ck_assert_int_eq(page_make(&store, &nobody_here, none_refused, 0, &f), 0);
	ck_assert_int_eq(memfd_map_sealed(f, CERTS_BYTES, &file), 0);
	ck_assert_int_eq(certs_check(file), 0);
	c = (const void *)file.p;
	e = certs_of(c, "front");
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(e->leaf.chain_n, 2);
	ck_assert(slice_eq(certs_bytes(c, e->leaf.chain[0]), ed.der));
	ck_assert(slice_eq(certs_bytes(c, e->leaf.chain[1]), root.der));
	ck_assert_str_eq(e->names, "shop.example,*.shop.example");
	ck_assert_str_eq(cert_key_name(e->leaf.kind), "Ed25519");
	ck_assert_ptr_nonnull(keystore_find(&store, e->leaf.key));
	ck_assert_int_gt(e->leaf.to_unix_s, e->leaf.from_unix_s);
	e = certs_of(c, "side");
	ck_assert_uint_gt(certs_bytes(c, e->client_ca).n, 100);
	ck_assert_ptr_null(certs_of(c, "none"));
	key = rig_pem_key(&ed);		/* the positive control: it is findable where it is */
	ck_assert_ptr_nonnull(memmem(key.p, key.n, "PRIVATE KEY", 11));
	ck_assert_ptr_null(memmem(file.p, file.n, "PRIVATE KEY", 11));
	rig_pem_free(&key);
	memfd_unmap(&file);
	fd_close(&f);
	keystore_fini(&store);
}
END_TEST

START_TEST(files_that_do_not_do)
{
	static const char enc[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";

	make();
#define WRONG(cert, key, ca, says) do {								\
	ck_assert_int_lt(add_files("front", false, cert, key, ca, true), 0);			\
	ck_assert_str_eq(words, says);								\
	ck_assert_uint_eq(store.staged.n, 0);							\
} while (0)
	WRONG(pem_of(&ed, NULL), key_of(&p256), FD_NONE, "tls_key: is not the key of the certificate");
	WRONG(pem_of(&p256, NULL), key_of(&ed), FD_NONE, "tls_key: is not the key of the certificate");
	WRONG(pem_of(&old, NULL), key_of(&old), FD_NONE, "tls_certificate: has expired");
	WRONG(file_of(SLICE("x")), key_of(&ed), FD_NONE, "tls_certificate: has no certificate in it");
	WRONG(key_of(&ed), key_of(&ed), FD_NONE, "tls_certificate: has no certificate in it");
	WRONG(file_of(SLICE("-----BEGIN CERTIFICATE-----\nAA")), key_of(&ed), FD_NONE, "tls_certificate: is not whole PEM");
	WRONG(pem_of(&ed, NULL), pem_of(&ed, NULL), FD_NONE, "tls_key: has no private key in it");
	WRONG(pem_of(&ed, NULL), file_of(slice_str(enc)), FD_NONE, "tls_key: is encrypted: a key without passphrase is needed");
	WRONG(pem_of(&ed, NULL), key_of(&ed), pem_of(&ed, NULL), "tls_client_ca: a certificate in it may not issue others");
	WRONG(pem_of(&ed, NULL), key_of(&ed), file_of(SLICE("y")), "tls_client_ca: has no certificate in it");
	WRONG(FD_NONE, key_of(&ed), FD_NONE, "tls_certificate: Bad file descriptor");
#undef WRONG
	/* where nothing better can be had, an old one is */
	ck_assert_int_eq(add_files("front", false, pem_of(&old, NULL), key_of(&old), FD_NONE, false), 0);
	keystore_fini(&store);
}
END_TEST

START_TEST(who_failed_goes_on_with_what_it_had)
{
	static const char *const failed[] = { "front", NULL };
	uint64_t front, side;

	make();
	add("front", &ed, false);
	add("side", &p256, false);
	front = store.staged.at[0].pair.leaf.key;
	side = store.staged.at[1].pair.leaf.key;
	keystore_use(&store, nobody);
	add("side", &rsa, false);
	keystore_use(&store, failed);
	ck_assert_uint_eq(store.now.n, 2);
	ck_assert_ptr_nonnull(keystore_find(&store, front));
	ck_assert_ptr_nonnull(keystore_find(&store, side));	/* a handshake may be under way */
	keystore_use(&store, failed);
	ck_assert_ptr_nonnull(keystore_find(&store, front));
	ck_assert_ptr_null(keystore_find(&store, side));
	keystore_use(&store, nobody);
	keystore_use(&store, nobody);
	ck_assert_ptr_null(keystore_find(&store, front));
	keystore_fini(&store);
}
END_TEST

START_TEST(a_certs_file_that_lies_is_refused)
{
	static _Alignas(8) uint8_t bytes[sizeof(struct certs) + sizeof(struct certs_entry) +
					 sizeof(struct certs_identity) + sizeof(struct certs_bundle) + 100];
	struct certs *c = (void *)bytes;
	const uint32_t head = sizeof bytes - 100;
	struct certs_entry good = { .listener = "a", .leaf = { .key = 1, .chain_n = 1 }, .names = "" }, *e = &c->at[0];
	struct certs_identity well = { .ns = "a", .account = "b", .leaves = 1, .leaf[0] = { .key = 1, .chain_n = 1 } };
	struct certs_identity *i = (void *)&c->at[1];
	struct certs_bundle fine = { .trust_domain = "a", .pem = { head, 100 } }, *b = (void *)&i[1];

	good.leaf.chain[0] = (struct certs_span){ head, 100 };
	well.leaf[0].chain[0] = (struct certs_span){ head, 100 };
#define TRY(want, change) do {									\
	*c = (struct certs){ .magic = CERTS_MAGIC, .bytes = sizeof bytes, .n = 1, .identities = 1, .bundles = 1 };	\
	*e = good;										\
	*i = well;										\
	*b = fine;										\
	change;											\
	ck_assert_int_eq(certs_check(slice_of(bytes, sizeof bytes)), want);			\
} while (0)
	TRY(0, (void)0);
	TRY(-EBADMSG, c->magic++);
	TRY(-EBADMSG, c->bytes--);
	TRY(-EBADMSG, c->n = 2);
	TRY(-EBADMSG, c->n = UINT32_MAX);
	TRY(-EBADMSG, e->leaf.chain_n = 0);
	TRY(-EBADMSG, e->leaf.chain_n = 9);
	TRY(-EBADMSG, e->leaf.chain[0].n = 101);
	TRY(-EBADMSG, e->leaf.chain[0].at = head - 1);
	TRY(-EBADMSG, e->leaf.chain[0].at = UINT32_MAX);
	TRY(-EBADMSG, e->client_ca = ((struct certs_span){ head + 50, UINT32_MAX }));
	TRY(-EBADMSG, e->leaf.kind = CERT_KEYS);
	TRY(-EBADMSG, e->leaf.key = 0);
	TRY(-EBADMSG, memset(e->listener, 'a', sizeof e->listener));
	TRY(-EBADMSG, e->names[0] = '\n');
	TRY(-EBADMSG, c->identities = 2);
	TRY(-EBADMSG, c->identities = UINT32_MAX);
	TRY(-EBADMSG, c->bundles = 2);
	TRY(-EBADMSG, c->bundles = UINT32_MAX);
	TRY(-EBADMSG, c->issuer.kind = CERTS_ISSUERS);
	TRY(-EBADMSG, memset(c->issuer.trust_domain, 'a', sizeof c->issuer.trust_domain));
	TRY(-EBADMSG, c->issuer.problem[0] = '\n');
	TRY(0, c->crl = ((struct certs_span){ head, 100 }));
	TRY(-EBADMSG, c->crl = ((struct certs_span){ head, 101 }));
	TRY(-EBADMSG, i->state = IDENTITY_STATES);
	TRY(-EBADMSG, i->leaves = 3);
	TRY(-EBADMSG, i->leaf[0].chain[0].at = head - 1);
	TRY(-EBADMSG, memset(i->ns, 'a', sizeof i->ns));
	TRY(-EBADMSG, memset(i->account, 'a', sizeof i->account));
	TRY(-EBADMSG, i->problem[0] = 1);
	TRY(-EBADMSG, b->pem.n = 0);
	TRY(-EBADMSG, b->pem.at = head - 1);
	TRY(-EBADMSG, memset(b->trust_domain, 'a', sizeof b->trust_domain));
#undef TRY
	ck_assert_int_eq(certs_check(slice_of(bytes, 3)), -EBADMSG);
}
END_TEST

/* ---- signatures ---- */

static struct slice tls13(uint8_t b[160], const char *who, size_t hash)
{
	memset(b, ' ', 64);
	memcpy(b + 64, who, strlen(who) + 1);
	memset(b + 64 + strlen(who) + 1, 7, hash);
	return slice_of(b, 64 + strlen(who) + 1 + hash);
}

static struct slice tls12(uint8_t b[160], uint8_t curve, uint8_t n)
{
	memset(b, 0x55, 64);
	b[64] = 3;
	b[65] = 0;
	b[66] = curve;
	b[67] = n;
	memset(b + 68, 4, n);
	return slice_of(b, 68u + n);
}

#define SERVER "TLS 1.3, server CertificateVerify"
#define CLIENT "TLS 1.3, client CertificateVerify"

START_TEST(handshakes_of_servers_are_signed)
{
	static const struct {
		struct rig_cert *by;
		unsigned algorithm;
	} rows[] = { { &ed, SSL_SIGN_ED25519 }, { &p256, SSL_SIGN_ECDSA_SECP256R1_SHA256 },
		     { &rsa, SSL_SIGN_RSA_PSS_RSAE_SHA256 }, { &rsa, SSL_SIGN_RSA_PSS_RSAE_SHA384 },
		     { &rsa, SSL_SIGN_RSA_PSS_RSAE_SHA512 } };
	uint8_t b[160], sig[SIGN_MAX];
	size_t n;

	make();
	for (size_t i = 0; i < countof(rows); i++) {
		struct slice in = tls13(b, SERVER, i % 2 ? 48 : 32);
		EVP_PKEY_CTX *pc;
		EVP_MD_CTX c;

		ck_assert_int_eq(sign_check(rows[i].by->key, SIGN_OF_LISTENER, rows[i].algorithm, in), SIGN_FINE);
		ck_assert_int_eq(sign(rows[i].by->key, rows[i].algorithm, in, sig, &n), SIGN_FINE);
		EVP_MD_CTX_init(&c);
		ck_assert(EVP_DigestVerifyInit(&c, &pc, SSL_get_signature_algorithm_digest((uint16_t)rows[i].algorithm),
					       NULL, rows[i].by->key));
		if (rows[i].by == &rsa)
			ck_assert(EVP_PKEY_CTX_set_rsa_padding(pc, 6) && EVP_PKEY_CTX_set_rsa_pss_saltlen(pc, -1));
		ck_assert(EVP_DigestVerify(&c, sig, n, in.p, in.n));
		EVP_MD_CTX_cleanup(&c);
	}
	ck_assert_int_eq(sign_check(p256.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_ECDSA_SECP256R1_SHA256, tls12(b, 29, 32)), SIGN_FINE);
	ck_assert_int_eq(sign_check(p256.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_ECDSA_SECP256R1_SHA256, tls12(b, 23, 65)), SIGN_FINE);
}
END_TEST

START_TEST(nothing_else_is_signed)
{
	uint8_t b[160];
	struct slice in;

	make();
#define NOT(why, bytes) ck_assert_int_eq(sign_check(p256.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_ECDSA_SECP256R1_SHA256, bytes), why)
	NOT(SIGN_NOT_A_HANDSHAKE, ((struct slice){ NULL, 0 }));
	NOT(SIGN_NOT_A_HANDSHAKE, p256.der);				/* a certificate */
	NOT(SIGN_NOT_A_HANDSHAKE, slice_of(p256.der.p + 4, 150));	/* what of it is signed */
	NOT(SIGN_NOT_A_HANDSHAKE, tls13(b, "TLS 1.3, client CertificateVerify", 32));
	NOT(SIGN_NOT_A_HANDSHAKE, tls13(b, "TLS 1.3, server CertificateVerifx", 32));
	NOT(SIGN_NOT_A_HANDSHAKE, tls13(b, SERVER, 31));
	NOT(SIGN_NOT_A_HANDSHAKE, tls13(b, SERVER, 33));
	NOT(SIGN_NOT_A_HANDSHAKE, tls13(b, SERVER, 0));
	for (size_t i = 0; i < 98; i++) {
		in = tls13(b, SERVER, 32);
		b[i] ^= 1;
		NOT(SIGN_NOT_A_HANDSHAKE, in);
	}
	NOT(SIGN_NOT_A_HANDSHAKE, tls12(b, 29, 33));
	NOT(SIGN_NOT_A_HANDSHAKE, tls12(b, 24, 65));
	NOT(SIGN_NOT_A_HANDSHAKE, slice_of(b, 67));
#undef NOT
	ck_assert_int_eq(sign_check(p256.key, SIGN_OF_LISTENER, SSL_SIGN_ECDSA_SECP256R1_SHA256, tls12(b, 29, 32)), SIGN_TLS12);
	/* of an identity: either end of 1.3, and nothing of 1.2 */
	ck_assert_int_eq(sign_check(ed.key, SIGN_OF_IDENTITY, SSL_SIGN_ED25519, tls13(b, SERVER, 48)), SIGN_FINE);
	ck_assert_int_eq(sign_check(ed.key, SIGN_OF_IDENTITY, SSL_SIGN_ED25519, tls13(b, CLIENT, 32)), SIGN_FINE);
	ck_assert_int_eq(sign_check(ed.key, SIGN_OF_LISTENER, SSL_SIGN_ED25519, tls13(b, CLIENT, 32)), SIGN_NOT_A_HANDSHAKE);
	ck_assert_int_eq(sign_check(ed.key, SIGN_OF_IDENTITY, SSL_SIGN_ED25519, tls12(b, 29, 32)), SIGN_TLS12);
	in = tls13(b, CLIENT, 32);
	b[80] ^= 1;
	ck_assert_int_eq(sign_check(ed.key, SIGN_OF_IDENTITY, SSL_SIGN_ED25519, in), SIGN_NOT_A_HANDSHAKE);
	in = tls13(b, SERVER, 32);
	ck_assert_int_eq(sign_check(p256.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_ED25519, in), SIGN_ALGORITHM);
	ck_assert_int_eq(sign_check(ed.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_ECDSA_SECP256R1_SHA256, in), SIGN_ALGORITHM);
	ck_assert_int_eq(sign_check(rsa.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_RSA_PKCS1_SHA256, in), SIGN_ALGORITHM);
	ck_assert_int_eq(sign_check(rsa.key, SIGN_OF_LISTENER_TLS12, SSL_SIGN_RSA_PKCS1_SHA1, in), SIGN_ALGORITHM);
	for (unsigned i = 0; i <= SIGN_REFUSALS; i++)
		ck_assert_uint_gt(strlen(sign_refusal_words((enum sign_refusal)i)), 3);
	ck_assert_str_eq(sign_refusal_label(SIGN_NO_KEY), "no_key");
}
END_TEST

UNIT_TESTS("keyd", what_is_read_is_told_but_no_key, files_that_do_not_do, who_failed_goes_on_with_what_it_had,
	   a_certs_file_that_lies_is_refused, handshakes_of_servers_are_signed, nothing_else_is_signed)
