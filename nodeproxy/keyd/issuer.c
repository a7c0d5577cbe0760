/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See issuer.h: keys and requests, whoever signs. */
#include "nodeproxy/keyd/issuer.h"

#include <errno.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/spiffe.h"

static int say(char words[PAIR_WORDS], const char *what)
{
	snprintf(words, PAIR_WORDS, "%s", what);
	return -EINVAL;
}

int issuer_check(const struct issue *w, const struct pair *p, char words[PAIR_WORDS])
{
	const uint8_t *der = p->chain[0];
	X509 *x = p->leaf.chain_n ? d2i_X509(NULL, &der, (long)p->bytes[0]) : NULL;
	char uri[SPIFFE_MAX];
	int r = 0;

	if (x == NULL)
		r = say(words, "what was issued cannot be read");
	else if (mint_uri(x, uri, sizeof uri) < 0 || strcmp(uri, w->uri) != 0)
		r = say(words, "what was issued is of another identity");
	else if (p->leaf.to_unix_s <= w->now_s)
		r = say(words, "what was issued has expired");
	X509_free(x);
	return r;
}

static int by_request(struct issuer *i, const struct issue *w, int kind, struct pair *p,
		      char words[PAIR_WORDS])
{
	uint8_t *request = NULL;
	size_t n;
	int r = mint_key(kind, &p->key);

	if (r == 0)
		r = mint_request(p->key, w->uri, &request, &n);
	if (r < 0)
		return say(words, "no memory");
	r = i->kind->sign(i, w, slice_of(request, n), p, words);
	OPENSSL_free(request);
	if (r == 0 && (!p->public || EVP_PKEY_cmp(p->public, p->key) != 1))
		r = say(words, "what was issued is for another key");
	return r;
}

int issuer_issue(struct issuer *i, const struct issue *w, struct pair ret[ISSUER_PAIRS], unsigned *ret_n,
		 char words[PAIR_WORDS])
{
	static const int kinds[ISSUER_PAIRS] = { EVP_PKEY_ED25519, EVP_PKEY_EC };
	unsigned n = i->kind->take ? 1 : ISSUER_PAIRS;
	struct pair made[ISSUER_PAIRS] = { 0 };
	int r = 0;

	words[0] = 0;
	for (unsigned k = 0; r == 0 && k < n; k++) {
		r = i->kind->take ? i->kind->take(i, w, &made[k], words) :
				    by_request(i, w, kinds[k], &made[k], words);
		if (r == 0)
			r = issuer_check(w, &made[k], words);
	}
	for (unsigned k = 0; k < n; k++)
		if (r == 0)
			ret[k] = made[k];	/* moves */
		else
			pair_free(&made[k]);
	if (r == 0)
		*ret_n = n;
	return r;
}
