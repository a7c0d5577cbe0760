/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See tls_trust.h. */
#include "nodeproxy/lib/net/tls_trust.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/pem.h"
#include "nodeproxy/lib/net/spiffe.h"

#define DEPTH 4	/* certificates between leaf and root, at most */

struct tls_trust {
	uint32_t refs;
	X509_STORE *store;
	STACK_OF(X509_CRL) *crls;
	unsigned roots;
	uint8_t digest[SHA256_DIGEST_LENGTH];	/* of the file */
	tls_path_fn *path;			/* NULL: all are good */
	void *path_arg;
	struct tls_mesh *mesh;			/* not NULL: it is one, and the rest is empty */
};

/* ---- roots and lists ---- */

static int add_root(struct tls_trust *t, struct slice der, const char **why)
{
	const uint8_t *p = der.p;
	X509 *x = d2i_X509(NULL, &p, (long)der.n);
	int r = 0;

	*why = "a certificate in it cannot be read";
	if (x == NULL || p != der.p + der.n) {
		r = -EINVAL;
	} else if (X509_check_ca(x) == 0) {
		*why = "a certificate in it may not issue others";
		r = -EINVAL;
	} else if (++t->roots > TLS_TRUST_MAX) {
		*why = "more certificates than 512";
		r = -EINVAL;
	} else if (!X509_STORE_add_cert(t->store, x)) {
		r = -ENOMEM;
	}
	X509_free(x);
	return r;
}

static int add_crl(struct tls_trust *t, struct slice der, const char **why)
{
	const uint8_t *p = der.p;
	X509_CRL *c = d2i_X509_CRL(NULL, &p, (long)der.n);

	*why = "a revocation list in it cannot be read";
	if (c == NULL || p != der.p + der.n || sk_X509_CRL_num(t->crls) >= TLS_TRUST_MAX ||
	    !sk_X509_CRL_push(t->crls, c)) {
		X509_CRL_free(c);
		return -EINVAL;
	}
	return X509_STORE_add_crl(t->store, c) ? 0 : -ENOMEM;
}

int tls_trust_new(struct slice pem, struct tls_trust **ret, const char **why)
{
	struct tls_trust *t = OPENSSL_malloc(sizeof *t);
	uint8_t *der = OPENSSL_malloc(PEM_MAX);
	struct slice label;
	size_t n;
	int r = -ENOMEM;

	*why = "no memory";
	if (t == NULL || der == NULL)
		goto out;
	*t = (struct tls_trust){ .refs = 1, .store = X509_STORE_new(), .crls = sk_X509_CRL_new_null() };
	if (t->store == NULL || t->crls == NULL)
		goto out;
	SHA256(pem.p, pem.n, t->digest);
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		if (slice_eq(label, SLICE("CERTIFICATE")))
			r = add_root(t, slice_of(der, n), why);
		else if (slice_eq(label, SLICE("X509 CRL")))
			r = add_crl(t, slice_of(der, n), why);
		else
			continue;
		if (r < 0)
			goto out;
	}
	if (r < 0)
		*why = "is not whole PEM";
	else if (t->roots == 0)
		*why = "has no certificate in it";
	r = r < 0 ? r : t->roots ? 0 : -EINVAL;
	if (r == 0)
		*ret = t;
out:
	ERR_clear_error();
	OPENSSL_free(der);
	if (r < 0 && t)
		tls_trust_unref(&t);
	return r;
}

void tls_trust_ref(struct tls_trust *t)
{
	t->refs++;
}

void tls_trust_unref(struct tls_trust **tp)
{
	struct tls_trust *t = *tp;

	*tp = NULL;
	if (--t->refs)
		return;
	X509_STORE_free(t->store);
	sk_X509_CRL_pop_free(t->crls, X509_CRL_free);
	tls_mesh_free(&t->mesh);
	OPENSSL_free(t);
}

void tls_trust_path(struct tls_trust *t, tls_path_fn *path, void *arg)
{
	t->path = path;
	t->path_arg = arg;
}

int tls_trust_of_mesh(struct tls_mesh *m, const uint8_t digest[32], struct tls_trust **ret)
{
	struct tls_trust *t = OPENSSL_malloc(sizeof *t);

	if (t == NULL)
		return -ENOMEM;
	*t = (struct tls_trust){ .refs = 1, .mesh = m };
	memcpy(t->digest, digest, sizeof t->digest);
	*ret = t;
	return 0;
}

STACK_OF(CRYPTO_BUFFER) *tls_trust_names(const struct tls_trust *t)
{
	STACK_OF(CRYPTO_BUFFER) *names = sk_CRYPTO_BUFFER_new_null();
	STACK_OF(X509_OBJECT) *all = t->store ? X509_STORE_get0_objects(t->store) : NULL;

	for (size_t i = 0; names && i < sk_X509_OBJECT_num(all) && i < 64; i++) {
		X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
		CRYPTO_BUFFER *b = NULL;
		uint8_t *der = NULL;
		int n = x ? i2d_X509_NAME(X509_get_subject_name(x), &der) : 0;

		if (n > 0)
			b = CRYPTO_BUFFER_new(der, (size_t)n, NULL);
		OPENSSL_free(der);
		if (b && !sk_CRYPTO_BUFFER_push(names, b))
			CRYPTO_BUFFER_free(b);
	}
	return names;
}

const uint8_t *tls_trust_digest(const struct tls_trust *t)
{
	return t->digest;
}

/* ---- a chain ---- */

static enum tls_fault fault_of(int e)
{
	switch (e) {
	case X509_V_OK:
		return TLS_FAULT_NONE;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return TLS_FAULT_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_FAULT_NOT_YET_VALID;
	case X509_V_ERR_CERT_REVOKED:
		return TLS_FAULT_REVOKED;
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_INVALID_CA:
	case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
	case X509_V_ERR_PATH_LENGTH_EXCEEDED:
	case X509_V_ERR_INVALID_NON_CA:
		return TLS_FAULT_WRONG_USAGE;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
	case X509_V_ERR_CERT_UNTRUSTED:
		return TLS_FAULT_UNKNOWN_ROOT;
	case X509_V_ERR_OUT_OF_MEM:
		return TLS_FAULT_NO_MEMORY;
	default:
		return TLS_FAULT_BAD_CERTIFICATE;
	}
}

/* An issuer without a list has revoked nothing; and an old list is better than none. */
static int forgive(int ok, X509_STORE_CTX *c)
{
	switch (X509_STORE_CTX_get_error(c)) {
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_CRL_HAS_EXPIRED:
		X509_STORE_CTX_set_error(c, X509_V_OK);
		return 1;
	default:
		return ok;
	}
}

static enum tls_fault by_signatures(const struct tls_trust *t, X509 *leaf, STACK_OF(X509) *above,
				    bool is_client, int64_t now)
{
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	enum tls_fault f = TLS_FAULT_NO_MEMORY;
	unsigned long flags = sk_X509_CRL_num(t->crls) ?
				      X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL : 0;

	if (c && X509_STORE_CTX_init(c, t->store, leaf, above)) {
		X509_STORE_CTX_set_purpose(c, is_client ? X509_PURPOSE_SSL_CLIENT :
							  X509_PURPOSE_SSL_SERVER);
		X509_STORE_CTX_set_time(c, flags, (time_t)now);
		X509_STORE_CTX_set_flags(c, flags);
		X509_STORE_CTX_set_depth(c, DEPTH);
		X509_STORE_CTX_set_verify_cb(c, forgive);
		f = X509_verify_cert(c) == 1 ? TLS_FAULT_NONE :
					       fault_of(X509_STORE_CTX_get_error(c));
		if (f == TLS_FAULT_NONE && X509_check_ca(leaf) == 1)
			f = TLS_FAULT_WRONG_USAGE;	/* who issues does not speak */
		if (f == TLS_FAULT_NONE && t->path)
			f = t->path(t->path_arg, X509_STORE_CTX_get0_chain(c));
	}
	X509_STORE_CTX_free(c);
	ERR_clear_error();
	return f;
}

static enum tls_fault by_time_and_lists(const struct tls_trust *t, X509 *x, int64_t now)
{
	time_t at = (time_t)now;

	if (X509_cmp_time(X509_get0_notBefore(x), &at) > 0)
		return TLS_FAULT_NOT_YET_VALID;
	if (X509_cmp_time(X509_get0_notAfter(x), &at) <= 0)
		return TLS_FAULT_EXPIRED;
	for (size_t i = 0; i < sk_X509_CRL_num(t->crls); i++) {
		X509_CRL *c = sk_X509_CRL_value(t->crls, i);
		X509_REVOKED *entry;

		if (X509_NAME_cmp(X509_CRL_get_issuer(c), X509_get_issuer_name(x)) == 0 &&
		    X509_CRL_get0_by_serial(c, &entry, X509_get_serialNumber(x)) == 1)
			return TLS_FAULT_REVOKED;
	}
	return TLS_FAULT_NONE;
}

enum tls_fault tls_trust_judge(const struct tls_trust *t, const STACK_OF(CRYPTO_BUFFER) *chain,
			       bool is_client, bool again, int64_t now)
{
	STACK_OF(X509) *above = sk_X509_new_null();
	enum tls_fault f = TLS_FAULT_NONE;
	size_t n = sk_CRYPTO_BUFFER_num(chain);
	X509 *leaf = NULL;

	if (t->mesh) {
		sk_X509_free(above);
		return tls_mesh_judge(t->mesh, chain, is_client, again, now);
	}
	if (n == 0 || n > TLS_CHAIN || above == NULL)
		f = TLS_FAULT_BAD_CERTIFICATE;
	for (size_t i = 0; i < n && f == TLS_FAULT_NONE; i++) {
		X509 *x = X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(chain, i));

		if (x == NULL)
			f = TLS_FAULT_BAD_CERTIFICATE;
		else if (again)
			f = by_time_and_lists(t, x, now);
		if (i == 0)
			leaf = x;
		else if (x && !sk_X509_push(above, x))
			X509_free(x);
	}
	if (f == TLS_FAULT_NONE && !again)
		f = by_signatures(t, leaf, above, is_client, now);
	if (f == TLS_FAULT_NONE && again && t->path) {
		f = sk_X509_insert(above, leaf, 0) ? t->path(t->path_arg, above) : TLS_FAULT_NO_MEMORY;
		if (sk_X509_num(above) && sk_X509_value(above, 0) == leaf)
			leaf = NULL;	/* it is freed with them */
	}
	X509_free(leaf);
	sk_X509_pop_free(above, X509_free);
	ERR_clear_error();
	return f;
}

/* ---- names ---- */

/* The one URI among the names; a second one, of whatever kind, makes it nobody's. */
int tls_identity_of(X509 *x, char out[SPIFFE_MAX])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	struct spiffe id;
	int uris = 0, n = -EINVAL;

	for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		struct slice s;

		if (g->type != GEN_URI)
			continue;
		s = slice_of(ASN1_STRING_get0_data(g->d.uniformResourceIdentifier),
			     (size_t)ASN1_STRING_length(g->d.uniformResourceIdentifier));
		if (uris++ || spiffe_parse(s, &id) < 0)
			continue;
		memcpy(out, s.p, s.n);
		out[s.n] = 0;
		n = (int)s.n;
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return uris == 1 ? n : -EINVAL;
}

static size_t copy_name(const ASN1_STRING *s, char *out, size_t room)
{
	size_t n = min_of((size_t)ASN1_STRING_length(s), room);

	memcpy(out, ASN1_STRING_get0_data(s), n);
	return n;
}

size_t tls_name(CRYPTO_BUFFER *der, char *out, size_t room)
{
	X509 *x = X509_parse_from_buffer(der);
	GENERAL_NAMES *names = x ? X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL) : NULL;
	char id[SPIFFE_MAX];
	int k = x ? tls_identity_of(x, id) : -EINVAL;
	bool is_identity = k > 0;
	size_t n = 0;

	if (is_identity) {
		n = min_of((size_t)k, room);
		memcpy(out, id, n);
	}
	for (size_t i = 0; n == 0 && names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS || g->type == GEN_URI || g->type == GEN_EMAIL)
			n = copy_name(g->d.ia5, out, room);
	}
	k = n == 0 && x ? X509_NAME_get_index_by_NID(X509_get_subject_name(x), NID_commonName, -1) : -1;
	if (k >= 0)
		n = copy_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(X509_get_subject_name(x), k)),
			      out, room);
	/* Only the first is an identity; nothing else shall look like one. */
	if (!is_identity && slice_starts(slice_of(out, n), SLICE("spiffe://")))
		n = 0;
	GENERAL_NAMES_free(names);
	X509_free(x);
	ERR_clear_error();
	return n;
}

int tls_identity(struct slice der, char out[1024])
{
	const uint8_t *p = der.p;
	X509 *x = d2i_X509(NULL, &p, (long)der.n);
	int n = x && p == der.p + der.n ? tls_identity_of(x, out) : -EINVAL;

	static_must(SPIFFE_MAX == 1024);
	X509_free(x);
	ERR_clear_error();
	return n;
}

/* An address is only found among the addresses of a certificate, never among its DNS names; the name of
 * its subject is for people. */
static bool is_called(X509 *x, const char *name)
{
	struct addr a;

	if (addr_parse_ip(slice_str(name), &a) == 0)
		return X509_check_ip(x, a.ip, a.family == 4 ? 4 : 16, 0) == 1;
	return X509_check_host(x, name, strlen(name), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

enum tls_fault tls_trust_rule(CRYPTO_BUFFER *der, enum tls_rule rule, const char *name)
{
	enum tls_fault f = TLS_FAULT_NONE;
	char text[SPIFFE_MAX];
	struct spiffe id;
	X509 *x;
	int n;

	if (rule == TLS_RULE_ANY)
		return f;
	x = X509_parse_from_buffer(der);
	if (x == NULL)
		return TLS_FAULT_BAD_CERTIFICATE;
	if (rule == TLS_RULE_HOST) {
		f = is_called(x, name) ? f : TLS_FAULT_WRONG_NAME;
	} else {
		n = tls_identity_of(x, text);
		if (n < 0 || spiffe_parse(slice_of(text, (size_t)n), &id) < 0)
			f = TLS_FAULT_WRONG_TRUST_DOMAIN;
		else if (rule == TLS_RULE_TRUST_DOMAIN)
			f = slice_eq(id.trust_domain, slice_str(name)) ? f :
									 TLS_FAULT_WRONG_TRUST_DOMAIN;
		else
			f = strcmp(text, name) == 0 ? f : TLS_FAULT_WRONG_NAME;
	}
	X509_free(x);
	ERR_clear_error();
	return f;
}

enum tls_fault tls_trust_uri(CRYPTO_BUFFER *der, const char *uri)
{
	X509 *x = X509_parse_from_buffer(der);
	GENERAL_NAMES *names = x ? X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL) : NULL;
	enum tls_fault f = x ? TLS_FAULT_WRONG_NAME : TLS_FAULT_BAD_CERTIFICATE;

	for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_URI &&
		    slice_eq(slice_of(ASN1_STRING_get0_data(g->d.uniformResourceIdentifier),
				      (size_t)ASN1_STRING_length(g->d.uniformResourceIdentifier)),
			     slice_str(uri)))
			f = TLS_FAULT_NONE;
	}
	GENERAL_NAMES_free(names);
	X509_free(x);
	ERR_clear_error();
	return f;
}
