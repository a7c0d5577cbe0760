/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The issuer that a mesh needs nothing beside: the authority of this host, which a root has made
 * (nodeproxyctl ca issue-node).  It signs for identities of this host and, because peers look where an
 * identity is placed, is believed for no others. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "nodeproxy/keyd/issuer.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/spiffe.h"

struct node_ca {
	struct issuer i;
	struct pair pair;	/* its own */
	X509 *x;
};

static int say(char words[PAIR_WORDS], const char *what)
{
	snprintf(words, PAIR_WORDS, "%s", what);
	return -EINVAL;
}

static void free_node(struct issuer *i)
{
	struct node_ca *a = (struct node_ca *)i;

	X509_free(a->x);
	pair_free(&a->pair);
	OPENSSL_free(a);
}

static int sign_request(struct issuer *i, const struct issue *w, struct slice request, struct pair *ret,
			char words[PAIR_WORDS])
{
	struct node_ca *a = (struct node_ca *)i;
	struct mint m = { .what = MINT_WORKLOAD, .signer = a->pair.key, .issuer = a->x, .uri = w->uri,
			  .name = "", .now_s = w->now_s, .life_s = w->life_s };
	EVP_PKEY *key = NULL;
	uint8_t *der = NULL;
	size_t n = 0;
	int r = mint_request_key(request, w->uri, &key);

	if (r < 0)
		return say(words, "the request is not in order");
	m.subject = key;
	r = mint(&m, &der, &n);
	EVP_PKEY_free(key);
	if (r < 0)
		return say(words, r == -EINVAL ? "the certificate of the node's authority has expired" :
						 "no memory");
	return pair_issued(ret, der, n, &a->pair, words);
}

/* Below the same certificate: one that was made anew, even of the same key, may be there because peers
 * need it. */
static bool is_of_node(const struct issuer *i, const struct issue *w, const struct pair *p)
{
	const struct node_ca *a = (const struct node_ca *)i;

	(void)w;
	return p->leaf.chain_n == a->pair.leaf.chain_n + 1 && p->bytes[1] == a->pair.bytes[0] &&
	       memcmp(p->chain[1], a->pair.chain[0], p->bytes[1]) == 0;
}

int node_ca_new(struct slice certificate, struct slice key, struct slice passphrase, const char *trust_domain,
		const char *node, bool strict, struct issuer **ret, char words[PAIR_WORDS])
{
	static const struct issuer_kind kind = { .is = CERTS_ISSUER_NODE_CA, .sign = sign_request,
						 .is_of = is_of_node, .free = free_node };
	struct node_ca *a = OPENSSL_malloc(sizeof *a);
	struct spiffe id = { .trust_domain = slice_str(trust_domain), .host = slice_str(node) };
	char uri[SPIFFE_MAX], says[SPIFFE_MAX];
	const uint8_t *der;
	int r;

	if (a == NULL)
		return say(words, "identity.ca_key: no memory");
	*a = (struct node_ca){ .i.kind = &kind };
	r = pair_chain(&a->pair, certificate, strict, "identity.ca_certificate", words);
	if (r == 0)
		r = pair_key(&a->pair, key, passphrase, "identity.ca_key", words);
	der = a->pair.chain[0];
	if (r == 0)
		a->x = d2i_X509(NULL, &der, (long)a->pair.bytes[0]);
	if (r == 0 && (a->x == NULL || X509_check_ca(a->x) != 1 ||
		       !(X509_get_key_usage(a->x) & KU_KEY_CERT_SIGN)))
		r = say(words, "identity.ca_certificate: may not issue others");
	if (r == 0 && (spiffe_print(&id, uri) < 0 || mint_uri(a->x, says, sizeof says) < 0 ||
		       strcmp(uri, says) != 0)) {
		snprintf(words, PAIR_WORDS, "identity.ca_certificate: is not of %.150s", uri);
		r = -EINVAL;
	}
	if (r == 0 && a->pair.leaf.chain_n >= CERTS_CHAIN)
		r = say(words, "identity.ca_certificate: has more than 7 certificates in it");
	ERR_clear_error();
	if (r < 0) {
		free_node(&a->i);
		return r;
	}
	a->i.from_unix_s = a->pair.leaf.from_unix_s;
	a->i.to_unix_s = a->pair.leaf.to_unix_s;
	*ret = &a->i;
	return 0;
}
