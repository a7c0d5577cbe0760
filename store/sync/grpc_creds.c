/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grpc_inner.h: whom a channel trusts, and the certificate and key that it shows itself with.  This
 * key is the process's own, for its registry; those of workloads are never here. */
#include <errno.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/pem.h"
#include "nodeproxy/lib/net/signature.h"
#include "store/sync/grpc_inner.h"

struct grpc_creds {
	struct tls_trust *trust;
	struct tls_leaf leaf;		/* n 0: none */
	EVP_PKEY *key;
};

static int say(char why[GRPC_WORDS], const char *which, const char *what)
{
	snprintf(why, GRPC_WORDS, "%s: %s", which, what);
	return -EINVAL;
}

static int take_chain(struct grpc_creds *c, struct slice pem, char why[GRPC_WORDS])
{
	uint8_t *der = malloc(PEM_MAX);
	struct slice label;
	size_t n = 0;
	int r;

	if (der == NULL)
		return -ENOMEM;
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		uint8_t *copy;

		if (!slice_eq(label, SLICE("CERTIFICATE")))
			continue;
		copy = c->leaf.n < TLS_CHAIN ? malloc(n) : NULL;
		if (copy == NULL) {
			r = -ENOMEM;
			break;
		}
		memcpy(copy, der, n);
		c->leaf.der[c->leaf.n++] = slice_of(copy, n);
	}
	free(der);
	if (r == -EINVAL)
		return say(why, "cert", "is not whole PEM");
	if (r == 0 && c->leaf.n == 0)
		return say(why, "cert", "has no certificate in it");
	return r;
}

/* The key must be that of the first certificate. */
static int take_key(struct grpc_creds *c, struct slice pem, char why[GRPC_WORDS])
{
	const uint8_t *p = c->leaf.der[0].p;
	X509 *x = d2i_X509(NULL, &p, (long)c->leaf.der[0].n);
	EVP_PKEY *pub = x ? X509_get_pubkey(x) : NULL;
	const char *words = NULL;
	int r = 0;

	if (pub == NULL)
		r = say(why, "cert", "its certificate cannot be read");
	else if (keyfile_read(pem, (struct slice){ 0 }, &c->key, &words) < 0)
		r = say(why, "key", words);
	else if (EVP_PKEY_cmp(pub, c->key) != 1)
		r = say(why, "key", "is not the key of the certificate");
	EVP_PKEY_free(pub);
	X509_free(x);
	return r;
}

int grpc_creds_new(const struct grpc_terms *t, uint64_t key_id, struct grpc_creds **ret,
		   char why[GRPC_WORDS])
{
	struct grpc_creds *c;
	const char *words = "";
	int r;

	*ret = NULL;
	if (t->ca.n == 0)
		return t->cert.n || t->key.n ? say(why, "cert", "is of no use without ca") : 0;
	if (!t->cert.n != !t->key.n)
		return say(why, "cert", "and key belong together");
	c = calloc(1, sizeof *c);
	if (c == NULL)
		return -ENOMEM;
	r = tls_trust_new(t->ca, &c->trust, &words);
	if (r == -EINVAL)
		r = say(why, "ca", words);
	if (r == 0 && t->cert.n) {
		c->leaf.key = key_id;
		r = take_chain(c, t->cert, why);
		if (r == 0)
			r = take_key(c, t->key, why);
	}
	if (r < 0)
		grpc_creds_free(&c);
	else
		*ret = c;
	return r;
}

void grpc_creds_free(struct grpc_creds **cp)
{
	struct grpc_creds *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	if (c->trust)
		tls_trust_unref(&c->trust);
	for (unsigned i = 0; i < c->leaf.n; i++)
		free((void *)(uintptr_t)c->leaf.der[i].p);
	EVP_PKEY_free(c->key);
	free(c);
}

int grpc_creds_side(const struct grpc_creds *c, struct tls_stock *stock, const char *name,
		    struct tls_side **ret)
{
	const struct tls_terms t = {
		.tls12 = true,	/* registries of others */
		.leaf = &c->leaf, .leaves = c->leaf.n > 0,
		.alpn = SLICE("\2h2"),
		.trust = c->trust,
		.rule = TLS_RULE_HOST, .name = name,
		.context = SLICE("grpc"),
	};

	return tls_side_new(stock, &t, ret);
}

void grpc_creds_sign(const struct grpc_creds *c, struct tls_stock *stock, struct slot_ref ref,
		     const struct tls_job *job)
{
	uint8_t sig[SIGNATURE_MAX];
	size_t n = 0;

	if (signature_make(c->key, job->algorithm, slice_of(job->in, job->n), sig, &n) < 0)
		n = 0;
	tls_signed(tls_find(stock, ref), slice_of(sig, n));
}
