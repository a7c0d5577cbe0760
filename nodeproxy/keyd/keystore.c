/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keystore.h. */
#include "nodeproxy/keyd/keystore.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/net/pem.h"

#define FILE_MAX (1u << 20)

static int say(char words[PAIR_WORDS], const char *field, const char *what)
{
	snprintf(words, PAIR_WORDS, "%s: %s", field, what);
	return -EINVAL;
}

static void key_free(struct key *k)
{
	pair_free(&k->pair);
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
		     char words[PAIR_WORDS])
{
	int r = read_all(f, ret, ret_n);

	if (r == -EMSGSIZE)
		say(words, field, "is larger than 1 MiB");
	else if (r < 0)
		say(words, field, strerror(-r));
	return r;
}

/* ---- who may be a client ---- */

static int check_client_ca(struct slice pem, char words[PAIR_WORDS])
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
		 struct fd key, struct fd client_ca, bool strict, char words[PAIR_WORDS])
{
	struct key *k = &s->staged.at[s->staged.n];
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
		r = pair_chain(&k->pair, slice_of(pem, n), strict, "tls_certificate", words);
	OPENSSL_free(pem);
	pem = NULL;
	if (r == 0)
		r = read_file(key, "tls_key", &pem, &n, words);
	if (r == 0)
		r = pair_key(&k->pair, slice_of(pem, n), slice_of(NULL, 0), "tls_key", words);
	OPENSSL_free(pem);
	if (r == 0 && fd_is_open(client_ca)) {
		r = read_file(client_ca, "tls_client_ca", &k->client_ca, &k->client_ca_bytes, words);
		if (r == 0)
			r = check_client_ca(slice_of(k->client_ca, k->client_ca_bytes), words);
	}
	ERR_clear_error();
	if (r < 0) {
		key_free(k);
		return r;
	}
	pair_names(&k->pair, k->entry.names);
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
		if (s->at[i].pair.leaf.key == id && (k == NULL || s->at[i].tls12))
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

		n += k->client_ca_bytes + pair_bytes(&k->pair);
	}
	c = n <= CERTS_BYTES ? OPENSSL_malloc(n) : NULL;
	if (c == NULL)
		return -ENOMEM;
	*c = (struct certs){ .magic = CERTS_MAGIC, .bytes = (uint32_t)n, .n = s->now.n };
	for (unsigned i = 0; i < s->now.n; i++) {
		const struct key *k = &s->now.at[i];
		struct certs_entry *e = &c->at[i];

		*e = k->entry;
		e->leaf = pair_put(&k->pair, c, &at);
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
