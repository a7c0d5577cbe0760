/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See tls_mesh.h. */
#include "nodeproxy/lib/net/tls_mesh.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>

#include "nodeproxy/lib/net/spiffe.h"
#include "nodeproxy/lib/net/tls_trust.h"

struct domain {
	char name[256];
	struct tls_trust *trust;
};

struct tls_mesh {
	unsigned n;
	struct domain *at;
	tls_placed_fn *placed;
	void *arg;
};

void tls_mesh_free(struct tls_mesh **mp)
{
	struct tls_mesh *m = *mp;

	*mp = NULL;
	if (m == NULL)
		return;
	for (unsigned i = 0; i < m->n; i++)
		tls_trust_unref(&m->at[i].trust);
	OPENSSL_free(m->at);
	OPENSSL_free(m);
}

/* The whole path, leaf first; what sends more than its path is judged by all of it when it resumes. */
static enum tls_fault judge_path(void *arg, const STACK_OF(X509) *path)
{
	const struct tls_mesh *m = arg;
	char text[SPIFFE_MAX], above[SPIFFE_MAX];
	struct spiffe id, issuer;
	int n = sk_X509_num(path) ? tls_identity_of(sk_X509_value(path, 0), text) : -EINVAL;

	if (n < 0 || spiffe_parse(slice_of(text, (size_t)n), &id) < 0 || id.account.n == 0)
		return TLS_FAULT_WRONG_TRUST_DOMAIN;
	for (size_t i = 1; i < sk_X509_num(path); i++) {
		n = tls_identity_of(sk_X509_value(path, i), above);
		if (n < 0 || spiffe_parse(slice_of(above, (size_t)n), &issuer) < 0)
			continue;	/* an authority of another kind: its root vouches for it */
		if (issuer.host.n == 0 || !slice_eq(issuer.trust_domain, id.trust_domain) ||
		    !m->placed(m->arg, issuer.host, id.ns, id.account))
			return TLS_FAULT_WRONG_NODE;
	}
	return TLS_FAULT_NONE;
}

enum tls_fault tls_mesh_judge(const struct tls_mesh *m, const STACK_OF(CRYPTO_BUFFER) *chain, bool is_client,
			      bool again, int64_t now)
{
	const CRYPTO_BUFFER *leaf = sk_CRYPTO_BUFFER_num(chain) ? sk_CRYPTO_BUFFER_value(chain, 0) : NULL;
	char text[SPIFFE_MAX];
	struct spiffe id;
	int n = leaf ? tls_identity(slice_of(CRYPTO_BUFFER_data(leaf), CRYPTO_BUFFER_len(leaf)), text) :
		       -EINVAL;

	if (n < 0 || spiffe_parse(slice_of(text, (size_t)n), &id) < 0)
		return TLS_FAULT_WRONG_TRUST_DOMAIN;
	for (unsigned i = 0; i < m->n; i++)
		if (slice_eq(id.trust_domain, slice_str(m->at[i].name)))
			return tls_trust_judge(m->at[i].trust, chain, is_client, again, now);
	return TLS_FAULT_WRONG_TRUST_DOMAIN;
}

/* Roots and all lists, in one piece. */
static int add(struct tls_mesh *m, const struct tls_mesh_bundle *b, struct slice lists, const char **why)
{
	uint8_t *pem = OPENSSL_malloc(b->pem.n + 1 + lists.n);
	struct domain *d = &m->at[m->n];
	int r;

	*why = "no memory";
	if (pem == NULL || strlen(b->trust_domain) >= sizeof d->name) {
		OPENSSL_free(pem);
		return -ENOMEM;
	}
	memcpy(pem, b->pem.p, b->pem.n);
	pem[b->pem.n] = '\n';
	if (lists.n)
		memcpy(pem + b->pem.n + 1, lists.p, lists.n);
	r = tls_trust_new(slice_of(pem, b->pem.n + 1 + lists.n), &d->trust, why);
	OPENSSL_free(pem);
	if (r < 0)
		return r;
	memcpy(d->name, b->trust_domain, strlen(b->trust_domain) + 1);
	tls_trust_path(d->trust, judge_path, m);
	m->n++;
	return 0;
}

int tls_mesh_new(const struct tls_mesh_bundle *b, unsigned n, struct slice lists, tls_placed_fn *placed,
		 void *arg, struct tls_trust **ret, const char **why)
{
	struct tls_mesh *m = OPENSSL_malloc(sizeof *m);
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX h;
	int r = 0;

	*why = "no memory";
	if (m == NULL)
		return -ENOMEM;
	*m = (struct tls_mesh){ .at = OPENSSL_malloc((n + 1) * sizeof m->at[0]), .placed = placed, .arg = arg };
	if (m->at == NULL)
		r = -ENOMEM;
	SHA256_Init(&h);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = add(m, &b[i], lists, why);
		if (r == 0) {
			SHA256_Update(&h, m->at[i].name, strlen(m->at[i].name) + 1);
			SHA256_Update(&h, tls_trust_digest(m->at[i].trust), SHA256_DIGEST_LENGTH);
		}
	}
	SHA256_Final(digest, &h);
	if (r == 0)
		r = tls_trust_of_mesh(m, digest, ret);
	ERR_clear_error();
	if (r < 0)
		tls_mesh_free(&m);
	return r;
}
