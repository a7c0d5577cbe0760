/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keystore.h. */
#include "nodeproxy/keyd/keystore.h"

#include <errno.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/pem.h"

#define FILE_MAX (1u << 20)
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096	/* signatures fit their message */

static int say(char words[KEYSTORE_WORDS], const char *field, const char *what)
{
	snprintf(words, KEYSTORE_WORDS, "%s: %s", field, what);
	return -EINVAL;
}

static void key_free(struct key *k)
{
	EVP_PKEY_free(k->key);
	for (unsigned i = 0; i < CERTS_CHAIN; i++)
		OPENSSL_free(k->chain[i]);
	OPENSSL_free(k->client_ca);
	*k = (struct key){ 0 };
}

/* ---- reading ---- */

/* All of a file in memory that OPENSSL_free() wipes; 0 or -errno, -EMSGSIZE. */
static int read_all(struct fd f, uint8_t **ret, size_t *ret_n)
{
	size_t room = 4096, n = 0;
	uint8_t *p = OPENSSL_malloc(room), *more;
	int r = p ? 0 : -ENOMEM;

	while (r == 0) {
		ssize_t k = read(f.v, p + n, room - n);

		if (k == 0)
			break;
		if (k < 0) {
			r = errno == EINTR ? 0 : -errno;
			continue;
		}
		n += (size_t)k;
		if (n < room)
			continue;
		if (room >= FILE_MAX) {
			r = -EMSGSIZE;
			break;
		}
		more = OPENSSL_realloc(p, room * 2);
		if (more == NULL) {
			r = -ENOMEM;
			break;
		}
		p = more;
		room *= 2;
	}
	if (r < 0)
		OPENSSL_free(p);
	else
		*ret = p, *ret_n = n;
	return r;
}

static int read_file(struct fd f, const char *field, uint8_t **ret, size_t *ret_n,
		     char words[KEYSTORE_WORDS])
{
	int r = read_all(f, ret, ret_n);

	if (r == -EMSGSIZE)
		say(words, field, "is larger than 1 MiB");
	else if (r < 0)
		say(words, field, strerror(-r));
	return r;
}

/* ---- a certificate ---- */

/* DNS names, addresses and URIs, as much as fits, for people. */
static void names_of(X509 *x, char out[CERTS_NAMES])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	struct strbuf b = strbuf_on(out, CERTS_NAMES);

	for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *s = g->type == GEN_DNS ? g->d.dNSName :
				       g->type == GEN_URI ? g->d.uniformResourceIdentifier : NULL;

		if (s == NULL)
			continue;
		if (b.n)
			strbuf_addc(&b, ',');
		strbuf_quoted(&b, slice_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)), 200);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}

static int take_leaf(struct key *k, X509 *x, bool strict, EVP_PKEY **ret, char words[KEYSTORE_WORDS])
{
	struct certs_entry *e = &k->entry;
	EVP_PKEY *pub = X509_get_pubkey(x);
	uint8_t hash[SHA256_DIGEST_LENGTH], *spki = NULL;
	const char *wrong = NULL;
	int n, kind = pub ? EVP_PKEY_id(pub) : 0;

	*ret = pub;
	e->from_unix_s = mint_unix_s(X509_get0_notBefore(x));
	e->to_unix_s = mint_unix_s(X509_get0_notAfter(x));
	names_of(x, e->names);
	if (kind == EVP_PKEY_ED25519) {
		e->kind = CERT_KEY_ED25519;
	} else if (kind == EVP_PKEY_EC) {
		e->kind = CERT_KEY_P256;
		if (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(pub))) !=
		    NID_X9_62_prime256v1)
			wrong = "its key is on another curve than P-256";
	} else if (kind == EVP_PKEY_RSA) {
		e->kind = CERT_KEY_RSA;
		if (EVP_PKEY_bits(pub) < RSA_BITS_MIN || EVP_PKEY_bits(pub) > RSA_BITS_MAX)
			wrong = "its RSA key has not 2048 to 4096 bits";
	} else {
		wrong = "its key is none of Ed25519, P-256 and RSA";
	}
	if (wrong == NULL && strict && e->to_unix_s <= clock_unix_ms() / 1000)
		wrong = "has expired";
	if (wrong)
		return say(words, "tls_certificate", wrong);
	/* The same key has the same name in every life of this process: who waits for a signature when
	 * it dies asks the next one. */
	n = i2d_PUBKEY(pub, &spki);
	if (n <= 0)
		return say(words, "tls_certificate", "no memory");
	SHA256(spki, (size_t)n, hash);
	OPENSSL_free(spki);
	memcpy(&e->key, hash, sizeof e->key);
	e->key |= 1;
	return 0;
}

static int take_chain(struct key *k, struct slice pem, bool strict, EVP_PKEY **pub,
		      char words[KEYSTORE_WORDS])
{
	uint8_t *der = OPENSSL_malloc(PEM_MAX);
	struct slice label;
	size_t n;
	int r;

	if (der == NULL)
		return say(words, "tls_certificate", "no memory");
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		const uint8_t *p = der;
		X509 *x;

		if (!slice_eq(label, SLICE("CERTIFICATE")))
			continue;	/* the key may be in the same file */
		if (k->entry.chain_n == CERTS_CHAIN) {
			r = say(words, "tls_certificate", "has more than 8 certificates in it");
			break;
		}
		x = d2i_X509(NULL, &p, (long)n);
		if (x == NULL || p != der + n)
			r = say(words, "tls_certificate", "a certificate in it cannot be read");
		else if (k->entry.chain_n == 0)
			r = take_leaf(k, x, strict, pub, words);
		X509_free(x);
		if (r < 0)
			break;
		k->chain[k->entry.chain_n] = OPENSSL_memdup(der, n);
		k->chain_bytes[k->entry.chain_n++] = n;
	}
	if (r == -EINVAL && words[0] == 0)
		say(words, "tls_certificate", "is not whole PEM");
	if (r == 0 && k->entry.chain_n == 0)
		r = say(words, "tls_certificate", "has no certificate in it");
	OPENSSL_free(der);
	return r;
}

/* ---- a key ---- */

static int take_key(struct key *k, struct slice pem, const EVP_PKEY *pub, char words[KEYSTORE_WORDS])
{
	const char *why;
	int r = keyfile_read(pem, slice_of(NULL, 0), &k->key, &why);

	if (r < 0)
		return say(words, "tls_key", why);
	return EVP_PKEY_cmp(pub, k->key) == 1 ? 0 : say(words, "tls_key", "is not the key of the certificate");
}

/* ---- who may be a client ---- */

static int check_client_ca(struct slice pem, char words[KEYSTORE_WORDS])
{
	uint8_t *der = OPENSSL_malloc(PEM_MAX);
	struct slice label;
	unsigned roots = 0;
	size_t n;
	int r;

	if (der == NULL)
		return say(words, "tls_client_ca", "no memory");
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		const uint8_t *p = der;

		if (slice_eq(label, SLICE("CERTIFICATE"))) {
			X509 *x = d2i_X509(NULL, &p, (long)n);

			if (x == NULL || p != der + n)
				r = say(words, "tls_client_ca", "a certificate in it cannot be read");
			else if (X509_check_ca(x) == 0)
				r = say(words, "tls_client_ca", "a certificate in it may not issue others");
			else if (++roots > 512)
				r = say(words, "tls_client_ca", "has more than 512 certificates in it");
			X509_free(x);
		} else if (slice_eq(label, SLICE("X509 CRL"))) {
			X509_CRL *c = d2i_X509_CRL(NULL, &p, (long)n);

			if (c == NULL || p != der + n)
				r = say(words, "tls_client_ca", "a revocation list in it cannot be read");
			X509_CRL_free(c);
		}
		if (r < 0)
			break;
	}
	if (r == -EINVAL && words[0] == 0)
		say(words, "tls_client_ca", "is not whole PEM");
	if (r == 0 && roots == 0)
		r = say(words, "tls_client_ca", "has no certificate in it");
	OPENSSL_free(der);
	return r;
}

/* ---- the store ---- */

int keystore_add(struct keystore *s, const char *listener, bool tls12, struct fd certificate,
		 struct fd key, struct fd client_ca, bool strict, char words[KEYSTORE_WORDS])
{
	struct key *k = &s->staged.at[s->staged.n];
	EVP_PKEY *pub = NULL;
	uint8_t *pem = NULL;
	size_t n = 0;
	int r;

	words[0] = 0;
	if (s->staged.n == CERTS_MAX)
		return -ENOSPC;
	*k = (struct key){ .tls12 = tls12 };
	snprintf(k->entry.listener, sizeof k->entry.listener, "%s", listener);
	r = read_file(certificate, "tls_certificate", &pem, &n, words);
	if (r == 0)
		r = take_chain(k, slice_of(pem, n), strict, &pub, words);
	OPENSSL_free(pem);
	pem = NULL;
	if (r == 0)
		r = read_file(key, "tls_key", &pem, &n, words);
	if (r == 0)
		r = take_key(k, slice_of(pem, n), pub, words);
	OPENSSL_free(pem);
	if (r == 0 && fd_is_open(client_ca)) {
		r = read_file(client_ca, "tls_client_ca", &k->client_ca, &k->client_ca_bytes, words);
		if (r == 0)
			r = check_client_ca(slice_of(k->client_ca, k->client_ca_bytes), words);
	}
	EVP_PKEY_free(pub);
	ERR_clear_error();
	if (r < 0)
		key_free(k);
	else
		s->staged.n++;
	return r;
}

static void set_free(struct keyset *s)
{
	for (unsigned i = 0; i < s->n; i++)
		key_free(&s->at[i]);
	s->n = 0;
}

void keystore_drop(struct keystore *s)
{
	set_free(&s->staged);
}

void keystore_use(struct keystore *s, const char *const failed[])
{
	set_free(&s->before);
	s->before = s->now;
	s->now = s->staged;
	s->staged.n = 0;
	for (; *failed; failed++)
		for (unsigned i = 0; i < s->before.n; i++)
			if (strcmp(s->before.at[i].entry.listener, *failed) == 0 &&
			    s->now.n < CERTS_MAX) {
				s->now.at[s->now.n++] = s->before.at[i];	/* moves */
				s->before.at[i] = s->before.at[--s->before.n];
				break;
			}
}

/* Several listeners may have it: what one of them may, the key may. */
static const struct key *find(const struct keyset *s, uint64_t id)
{
	const struct key *k = NULL;

	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].entry.key == id && (k == NULL || s->at[i].tls12))
			k = &s->at[i];
	return k;
}

const struct key *keystore_find(const struct keystore *s, uint64_t id)
{
	const struct key *k = find(&s->now, id);

	return k ? k : find(&s->before, id);
}

int keystore_certs(const struct keystore *s, struct fd *ret)
{
	size_t n = sizeof(struct certs) + s->now.n * sizeof(struct certs_entry), at = n;
	struct certs *c;
	int r;

	for (unsigned i = 0; i < s->now.n; i++) {
		const struct key *k = &s->now.at[i];

		n += k->client_ca_bytes;
		for (unsigned j = 0; j < k->entry.chain_n; j++)
			n += k->chain_bytes[j];
	}
	c = n <= CERTS_BYTES ? OPENSSL_malloc(n) : NULL;
	if (c == NULL)
		return -ENOMEM;
	*c = (struct certs){ .magic = CERTS_MAGIC, .bytes = (uint32_t)n, .n = s->now.n };
	for (unsigned i = 0; i < s->now.n; i++) {
		const struct key *k = &s->now.at[i];
		struct certs_entry *e = &c->at[i];

		*e = k->entry;
		for (unsigned j = 0; j < e->chain_n; j++) {
			e->chain[j] = (struct certs_span){ (uint32_t)at, (uint32_t)k->chain_bytes[j] };
			memcpy((uint8_t *)c + at, k->chain[j], k->chain_bytes[j]);
			at += k->chain_bytes[j];
		}
		if (k->client_ca_bytes) {
			e->client_ca = (struct certs_span){ (uint32_t)at, (uint32_t)k->client_ca_bytes };
			memcpy((uint8_t *)c + at, k->client_ca, k->client_ca_bytes);
			at += k->client_ca_bytes;
		}
	}
	r = memfd_sealed("nodeproxy-certs", slice_of(c, n), ret);
	OPENSSL_free(c);
	return r;
}

void keystore_fini(struct keystore *s)
{
	set_free(&s->staged);
	set_free(&s->now);
	set_free(&s->before);
}
