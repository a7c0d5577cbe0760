/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pair.h. */
#include "nodeproxy/keyd/pair.h"

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
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/pem.h"

#define FILE_MAX (1u << 20)
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096	/* signatures fit their message */

static int say(char words[PAIR_WORDS], const char *field, const char *what)
{
	snprintf(words, PAIR_WORDS, "%s: %s", field, what);
	return -EINVAL;
}

void pair_free(struct pair *k)
{
	EVP_PKEY_free(k->key);
	EVP_PKEY_free(k->public);
	for (unsigned i = 0; i < CERTS_CHAIN; i++)
		OPENSSL_free(k->chain[i]);
	*k = (struct pair){ 0 };
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

int pair_file(struct fd f, const char *field, uint8_t **ret, size_t *ret_n, char words[PAIR_WORDS])
{
	int r = read_all(f, ret, ret_n);

	if (r == -EMSGSIZE)
		say(words, field, "is larger than 1 MiB");
	else if (r < 0)
		say(words, field, strerror(-r));
	return r;
}

static int take_leaf(struct pair *p, X509 *x, bool strict, EVP_PKEY **ret, const char *field,
		     char words[PAIR_WORDS])
{
	struct certs_leaf *e = &p->leaf;
	EVP_PKEY *pub = X509_get_pubkey(x);
	uint8_t hash[SHA256_DIGEST_LENGTH], *spki = NULL;
	const char *wrong = NULL;
	int n, kind = pub ? EVP_PKEY_id(pub) : 0;

	*ret = pub;
	e->from_unix_s = mint_unix_s(X509_get0_notBefore(x));
	e->to_unix_s = mint_unix_s(X509_get0_notAfter(x));
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
		return say(words, field, wrong);
	/* The same key has the same name in every life of this process: who waits for a signature when
	 * it dies asks the next one. */
	n = i2d_PUBKEY(pub, &spki);
	if (n <= 0)
		return say(words, field, "no memory");
	SHA256(spki, (size_t)n, hash);
	OPENSSL_free(spki);
	memcpy(&e->key, hash, sizeof e->key);
	e->key |= 1;
	return 0;
}

int pair_chain(struct pair *k, struct slice pem, bool strict, const char *field, char words[PAIR_WORDS])
{
	uint8_t *der = OPENSSL_malloc(PEM_MAX);
	struct slice label;
	size_t n;
	int r;

	words[0] = 0;
	if (der == NULL)
		return say(words, field, "no memory");
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		const uint8_t *p = der;
		X509 *x;

		if (!slice_eq(label, SLICE("CERTIFICATE")))
			continue;	/* the key may be in the same file */
		if (k->leaf.chain_n == CERTS_CHAIN) {
			r = say(words, field, "has more than 8 certificates in it");
			break;
		}
		x = d2i_X509(NULL, &p, (long)n);
		if (x == NULL || p != der + n)
			r = say(words, field, "a certificate in it cannot be read");
		else if (k->leaf.chain_n == 0)
			r = take_leaf(k, x, strict, &k->public, field, words);
		X509_free(x);
		if (r < 0)
			break;
		k->chain[k->leaf.chain_n] = OPENSSL_memdup(der, n);
		k->bytes[k->leaf.chain_n++] = n;
	}
	if (r == -EINVAL && words[0] == 0)
		say(words, field, "is not whole PEM");
	if (r == 0 && k->leaf.chain_n == 0)
		r = say(words, field, "has no certificate in it");
	OPENSSL_free(der);
	return r;
}

int pair_key(struct pair *k, struct slice pem, struct slice passphrase, const char *field, char words[PAIR_WORDS])
{
	const char *why;
	int r = keyfile_read(pem, passphrase, &k->key, &why);

	if (r < 0)
		return say(words, field, why);
	return EVP_PKEY_cmp(k->public, k->key) == 1 ? 0 : say(words, field, "is not the key of the certificate");
}

/* ---- telling ---- */

/* DNS names, addresses and URIs, as much as fits, for people. */
void pair_names(const struct pair *k, char out[CERTS_NAMES])
{
	const uint8_t *der = k->chain[0];
	X509 *x = d2i_X509(NULL, &der, (long)k->bytes[0]);
	GENERAL_NAMES *names = x ? X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL) : NULL;
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
	X509_free(x);
	ERR_clear_error();
}

size_t pair_bytes(const struct pair *k)
{
	size_t n = 0;

	for (unsigned i = 0; i < k->leaf.chain_n; i++)
		n += k->bytes[i];
	return n;
}

struct certs_leaf pair_put(const struct pair *k, void *file, size_t *at)
{
	struct certs_leaf l = k->leaf;

	for (unsigned i = 0; i < l.chain_n; i++) {
		l.chain[i] = (struct certs_span){ (uint32_t)*at, (uint32_t)k->bytes[i] };
		memcpy((uint8_t *)file + *at, k->chain[i], k->bytes[i]);
		*at += k->bytes[i];
	}
	return l;
}

/* ---- making ---- */

int pair_issued(struct pair *k, uint8_t *der, size_t n, const struct pair *issuer, char words[PAIR_WORDS])
{
	const uint8_t *p = der;
	X509 *x = d2i_X509(NULL, &p, (long)n);
	int r = x ? take_leaf(k, x, false, &k->public, "what was issued", words) :
		    say(words, "what was issued", "cannot be read");

	X509_free(x);
	if (r == 0 && issuer->leaf.chain_n >= CERTS_CHAIN)
		r = say(words, "what was issued", "has too many certificates above it");
	if (r < 0) {
		OPENSSL_free(der);
		return r;
	}
	k->chain[0] = der;
	k->bytes[0] = n;
	k->leaf.chain_n = 1;
	for (unsigned i = 0; i < issuer->leaf.chain_n; i++) {
		k->chain[i + 1] = OPENSSL_memdup(issuer->chain[i], issuer->bytes[i]);
		k->bytes[i + 1] = issuer->bytes[i];
		k->leaf.chain_n++;
	}
	return 0;
}

void pair_copy(const struct pair *from, struct pair *ret)
{
	*ret = *from;
	if (ret->key)
		EVP_PKEY_up_ref(ret->key);
	if (ret->public)
		EVP_PKEY_up_ref(ret->public);
	for (unsigned i = 0; i < from->leaf.chain_n; i++)
		ret->chain[i] = OPENSSL_memdup(from->chain[i], from->bytes[i]);
}

int pair_print(const struct pair *k, struct strbuf *b)
{
	char *text;
	size_t n;
	int r = keyfile_print(k->key, slice_of(NULL, 0), &text, &n);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < k->leaf.chain_n; i++)
		pem_print(b, "CERTIFICATE", slice_of(k->chain[i], k->bytes[i]));
	strbuf_add(b, slice_of(text, n));
	OPENSSL_free(text);
	return b->cut ? -ENOSPC : 0;
}
