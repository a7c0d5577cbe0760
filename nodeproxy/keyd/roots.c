/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See roots.h. */
#include "nodeproxy/keyd/roots.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "nodeproxy/lib/net/pem.h"

#define MOST 512u

static int say(char words[PAIR_WORDS], const char *field, const char *what)
{
	snprintf(words, PAIR_WORDS, "%s: %s", field, what);
	return -EINVAL;
}

static int check_root(struct slice der, const char *field, char words[PAIR_WORDS])
{
	const uint8_t *p = der.p;
	X509 *x = d2i_X509(NULL, &p, (long)der.n);
	int r = 0;

	if (x == NULL || p != der.p + der.n)
		r = say(words, field, "a certificate in it cannot be read");
	else if (X509_check_ca(x) == 0)
		r = say(words, field, "a certificate in it may not issue others");
	X509_free(x);
	return r;
}

static int check_list(struct slice der, const char *field, char words[PAIR_WORDS])
{
	const uint8_t *p = der.p;
	X509_CRL *c = d2i_X509_CRL(NULL, &p, (long)der.n);
	int r = c && p == der.p + der.n ? 0 : say(words, field, "a revocation list in it cannot be read");

	X509_CRL_free(c);
	return r;
}

int roots_check(struct slice pem, enum roots_wanted wanted, const char *field, char words[PAIR_WORDS])
{
	uint8_t *der = OPENSSL_malloc(PEM_MAX);
	unsigned roots = 0, lists = 0;
	struct slice label;
	size_t n;
	int r;

	words[0] = 0;
	if (der == NULL)
		return say(words, field, "no memory");
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		if (slice_eq(label, SLICE("CERTIFICATE")) && wanted == ROOTS_WANTED) {
			r = check_root(slice_of(der, n), field, words);
			if (r == 0 && ++roots > MOST)
				r = say(words, field, "has more than 512 certificates in it");
		} else if (slice_eq(label, SLICE("X509 CRL"))) {
			r = check_list(slice_of(der, n), field, words);
			if (r == 0 && ++lists > MOST)
				r = say(words, field, "has more than 512 revocation lists in it");
		}
		if (r < 0)
			break;
	}
	if (r == -EINVAL && words[0] == 0)
		say(words, field, "is not whole PEM");
	if (r == 0 && wanted == ROOTS_WANTED && roots == 0)
		r = say(words, field, "has no certificate in it");
	if (r == 0 && wanted == LISTS_WANTED && lists == 0)
		r = say(words, field, "has no revocation list in it");
	OPENSSL_free(der);
	ERR_clear_error();
	return r;
}
