/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keystore.h. */
#include "nodeproxy/keyd/keystore.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <stdio.h>

#include "nodeproxy/keyd/roots.h"

static void key_free(struct key *k)
{
	pair_free(&k->pair);
	OPENSSL_free(k->client_ca);
	*k = (struct key){ 0 };
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
	r = pair_file(certificate, "tls_certificate", &pem, &n, words);
	if (r == 0)
		r = pair_chain(&k->pair, slice_of(pem, n), strict, "tls_certificate", words);
	OPENSSL_free(pem);
	pem = NULL;
	if (r == 0)
		r = pair_file(key, "tls_key", &pem, &n, words);
	if (r == 0)
		r = pair_key(&k->pair, slice_of(pem, n), slice_of(NULL, 0), "tls_key", words);
	OPENSSL_free(pem);
	if (r == 0 && fd_is_open(client_ca)) {
		r = pair_file(client_ca, "tls_client_ca", &k->client_ca, &k->client_ca_bytes, words);
		if (r == 0)
			r = roots_check(slice_of(k->client_ca, k->client_ca_bytes), ROOTS_WANTED,
					"tls_client_ca", words);
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

size_t keystore_bytes(const struct keystore *s)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->now.n; i++)
		n += s->now.at[i].client_ca_bytes + pair_bytes(&s->now.at[i].pair);
	return n;
}

void keystore_put(const struct keystore *s, struct certs *c, size_t *at)
{
	for (unsigned i = 0; i < s->now.n; i++) {
		const struct key *k = &s->now.at[i];
		struct certs_entry *e = &c->at[i];

		*e = k->entry;
		e->leaf = pair_put(&k->pair, c, at);
		if (k->client_ca_bytes) {
			e->client_ca = (struct certs_span){ (uint32_t)*at, (uint32_t)k->client_ca_bytes };
			memcpy((uint8_t *)c + *at, k->client_ca, k->client_ca_bytes);
			*at += k->client_ca_bytes;
		}
	}
}

void keystore_fini(struct keystore *s)
{
	set_free(&s->staged);
	set_free(&s->now);
	set_free(&s->before);
}
