/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One end's terms as an SSL_CTX, and what BoringSSL asks while it shakes hands: which certificate,
 * which protocol, whose is that ticket, is that chain good, a signature please. */
#include <errno.h>
#include <openssl/aes.h>
#include <openssl/bytestring.h>
#include <openssl/cipher.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/tls_inner.h"

#define TICKET_S 3600

/* ---- certificates ---- */

/* Signatures that we take, and give, by kind of key; SHA-1 and PKCS#1 (but 1.2's) are not among them. */
static const uint16_t accepted[] = {
	SSL_SIGN_ED25519, SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ECDSA_SECP384R1_SHA384,
	SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA512,
	SSL_SIGN_RSA_PKCS1_SHA256,
};

static const struct {
	int kind;
	uint16_t algorithm[3];
	size_t n;
} signs[] = {
	{ EVP_PKEY_ED25519, { SSL_SIGN_ED25519 }, 1 },
	{ EVP_PKEY_EC, { SSL_SIGN_ECDSA_SECP256R1_SHA256 }, 1 },
	{ EVP_PKEY_RSA, { SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA384,
			  SSL_SIGN_RSA_PSS_RSAE_SHA512 }, 3 },
};

static const SSL_PRIVATE_KEY_METHOD method = { .sign = tls_sign, .complete = tls_sign_done };

static int kind_of(X509 *x)
{
	EVP_PKEY *k = X509_get_pubkey(x);
	int kind = k ? EVP_PKEY_id(k) : 0;

	EVP_PKEY_free(k);
	for (size_t i = 0; i < countof(signs); i++)
		if (signs[i].kind == kind)
			return (int)i;
	return -1;
}

static int add_leaf(struct tls_side *s, const struct tls_leaf *l)
{
	struct leaf *mine = &s->leaf[s->leaves];

	if (l->n == 0 || l->n > TLS_CHAIN)
		return -EINVAL;
	for (unsigned i = 0; i < l->n; i++) {
		mine->chain[i] = CRYPTO_BUFFER_new(l->der[i].p, l->der[i].n, NULL);
		if (mine->chain[i] == NULL)
			return -ENOMEM;
		mine->n++;
	}
	s->leaves++;
	mine->key = l->key;
	mine->set = l->set;
	mine->x = X509_parse_from_buffer(mine->chain[0]);
	mine->kind = mine->x ? kind_of(mine->x) : -1;
	return mine->kind < 0 ? -EINVAL : 0;
}

static bool has(const uint16_t *list, size_t n, uint16_t what)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == what)
			return true;
	return false;
}

/* How well it is for the name that is asked for: by name, by a wildcard, or as what all get. */
static int fits(const struct leaf *l, const char *name)
{
	static const unsigned exact = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_WILDCARDS;
	size_t n = name ? strlen(name) : 0;

	if (n && X509_check_host(l->x, name, n, exact, NULL) == 1)
		return 3;
	if (n && X509_check_host(l->x, name, n, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1)
		return 2;
	return l->set == 0;
}

/* Of those that fit best the first that the other side can verify, else the first: then the handshake
 * says why not. */
static int choose_leaf(SSL *ssl, void *arg)
{
	struct tls *t = tls_of_ssl(ssl);
	struct tls_side *s = t->side;
	const char *name = s->leaves > 1 ? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) : NULL;
	const struct leaf *l = NULL;
	const uint16_t *peer;
	size_t n = SSL_get0_peer_verify_algorithms(ssl, &peer);
	int best = 0;

	(void)arg;
	if (s->leaves == 0)
		return 1;	/* a client without: the server decides */
	for (unsigned i = 0; i < s->leaves; i++) {
		const struct leaf *at = &s->leaf[i];
		int fit = 2 * fits(at, name) + has(peer, n, signs[at->kind].algorithm[0]);

		if (l == NULL || fit > best) {
			l = at;
			best = fit;
		}
	}
	ERR_clear_error();
	t->key = l->key;
	return SSL_set_chain_and_key(ssl, l->chain, l->n, NULL, &method) &&
	       SSL_set_signing_algorithm_prefs(ssl, signs[l->kind].algorithm, signs[l->kind].n);
}

/* ---- signatures ---- */

enum ssl_private_key_result_t tls_sign(SSL *ssl, uint8_t *out, size_t *out_n, size_t room,
				       uint16_t algorithm, const uint8_t *in, size_t n)
{
	struct tls *t = tls_of_ssl(ssl);
	struct tls_stock *s = t->side->stock;
	struct tls_job *j;

	(void)out, (void)out_n, (void)room;
	t->fault = TLS_FAULT_NO_SIGNATURE;	/* unless all goes well */
	if (n > TLS_SIGN_MAX || s->ask == NULL || never(t->job != NULL))
		return ssl_private_key_failure;
	t->job = j = OPENSSL_malloc(sizeof *j);
	if (j == NULL)
		return ssl_private_key_failure;
	*j = (struct tls_job){ .key = t->key, .algorithm = algorithm, .n = (uint16_t)n };
	memcpy(j->in, in, n);
	t->fault = TLS_FAULT_NONE;
	if (s->ask(s->arg, slab_ref(&s->conns, t), j) == 0)
		return ssl_private_key_retry;
	t->fault = TLS_FAULT_NO_SIGNATURE;
	return ssl_private_key_failure;
}

enum ssl_private_key_result_t tls_sign_done(SSL *ssl, uint8_t *out, size_t *out_n, size_t room)
{
	struct tls *t = tls_of_ssl(ssl);
	struct tls_job *j = t->job;

	if (j && j->sig_n == 0 && !j->failed)
		return ssl_private_key_retry;
	if (j == NULL || j->failed || j->sig_n > room)
		return ssl_private_key_failure;
	memcpy(out, j->sig, j->sig_n);
	*out_n = j->sig_n;
	OPENSSL_free(j);
	t->job = NULL;
	return ssl_private_key_success;
}

/* ---- the other side's certificate ---- */

enum tls_fault tls_side_wants(const struct tls_side *s, CRYPTO_BUFFER *leaf)
{
	enum tls_fault f = TLS_FAULT_WRONG_NAME;

	if (s->rule != TLS_RULE_NAMES)
		return tls_trust_rule(leaf, s->rule, s->name);
	for (unsigned i = 0; i < s->n_names && f != TLS_FAULT_NONE; i++)
		f = s->names[i].is_uri ? tls_trust_uri(leaf, s->names[i].text) :
					 tls_trust_rule(leaf, TLS_RULE_HOST, s->names[i].text);
	return f;
}

static enum ssl_verify_result_t verify(SSL *ssl, uint8_t *alert)
{
	struct tls *t = tls_of_ssl(ssl);
	const struct tls_side *s = t->side;
	const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(ssl);
	enum tls_fault f = chain == NULL || s->trust == NULL ? TLS_FAULT_NO_CERTIFICATE :
			   tls_trust_judge(s->trust, chain, s->server, false, clock_unix_ms() / 1000);

	if (f == TLS_FAULT_NONE)
		f = tls_side_wants(s, sk_CRYPTO_BUFFER_value(chain, 0));
	if (f == TLS_FAULT_NONE)
		return ssl_verify_ok;
	t->fault = (uint8_t)f;
	switch (f) {
	case TLS_FAULT_EXPIRED:
		*alert = SSL_AD_CERTIFICATE_EXPIRED;
		break;
	case TLS_FAULT_REVOKED:
		*alert = SSL_AD_CERTIFICATE_REVOKED;
		break;
	case TLS_FAULT_UNKNOWN_ROOT:
		*alert = SSL_AD_UNKNOWN_CA;
		break;
	case TLS_FAULT_WRONG_TRUST_DOMAIN:
	case TLS_FAULT_WRONG_NODE:
		*alert = SSL_AD_ACCESS_DENIED;
		break;
	case TLS_FAULT_NO_MEMORY:
		*alert = SSL_AD_INTERNAL_ERROR;
		break;
	default:
		*alert = SSL_AD_BAD_CERTIFICATE;
		break;
	}
	return ssl_verify_invalid;
}

/* ---- ALPN ---- */

/* Ours in our order.  Who names only others must not think that we speak one of them. */
static int select_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_n, const uint8_t *in, unsigned n,
		       void *arg)
{
	struct tls *t = tls_of_ssl(ssl);
	const struct tls_side *s = t->side;

	(void)arg;
	if (s->alpn_n == 0)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i < s->alpn_n; i += 1u + s->alpn[i])
		for (size_t k = 0; k < n && k + 1u + in[k] <= n; k += 1u + in[k])
			if (in[k] == s->alpn[i] && memcmp(in + k + 1, s->alpn + i + 1, in[k]) == 0) {
				*out = in + k + 1;
				*out_n = in[k];
				return SSL_TLSEXT_ERR_OK;
			}
	t->fault = TLS_FAULT_ALPN;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- tickets ---- */

bool tls_has_ticket_key(const struct tls_ticket_key *k)
{
	static const uint8_t none[TLS_TICKET_NAME];

	return memcmp(k->name, none, sizeof none) != 0;
}

/* 1: done; 2: done, and a newer ticket shall be given; 0: no ticket; -1: error. */
static int ticket(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, HMAC_CTX *mac,
		  int encrypt)
{
	const struct tls_side *side = tls_of_ssl(ssl)->side;
	const struct tls_stock *s = side->stock;
	const struct tls_ticket_key *k = &s->now;

	if (encrypt) {
		if (!tls_has_ticket_key(k))
			return -1;	/* 0 would be a crash in BoringSSL; tls_new() has seen to it */
		memcpy(name, k->name, sizeof k->name);
		rand_bytes(iv, AES_BLOCK_SIZE);
		return EVP_EncryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, k->aes, iv) &&
			HMAC_Init_ex(mac, k->mac, sizeof k->mac, EVP_sha256(), NULL) ? 1 : -1;
	}
	if (side->ends_unix_s && clock_unix_ms() / 1000 >= side->ends_unix_s)
		return 0;	/* what it would go on as has ended */
	if (memcmp(name, k->name, sizeof k->name) != 0) {
		k = &s->before;
		if (!tls_has_ticket_key(k) || memcmp(name, k->name, sizeof k->name) != 0)
			return 0;
	}
	if (!EVP_DecryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, k->aes, iv) ||
	    !HMAC_Init_ex(mac, k->mac, sizeof k->mac, EVP_sha256(), NULL))
		return -1;
	return k == &s->now ? 1 : 2;
}

/* A client keeps the newest of each server; it is used once, then the next one comes.  What is kept
 * is not the connection's any more. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *t = tls_of_ssl(ssl);
	struct tls_side *s = t->side;
	unsigned i = t->with % TLS_SESSIONS;
	int64_t before = tls_heap_now;

	if (t->with == 0)
		return 0;
	SSL_SESSION_free(s->kept[i].session);
	t->bytes += (uint64_t)(before - tls_heap_now);
	s->kept[i].with = t->with;
	s->kept[i].session = session;
	return 1;
}

/* ---- a side ---- */

static bool set_groups(SSL_CTX *ctx)
{
#ifdef SSL_GROUP_X25519_MLKEM768
	/* A BoringSSL of 2024 or later.  CECPQ2, which older ones have, was an experiment. */
	static const uint16_t groups[] = { SSL_GROUP_X25519_MLKEM768, SSL_GROUP_X25519,
					   SSL_GROUP_SECP256R1 };

	return SSL_CTX_set1_group_ids(ctx, groups, countof(groups));
#else
	static const int groups[] = { NID_X25519, NID_X9_62_prime256v1 };

	return SSL_CTX_set1_curves(ctx, groups, countof(groups));
#endif
}

static void set_context(const struct tls_side *s, const struct tls_terms *t,
			uint8_t out[SHA256_DIGEST_LENGTH])
{
	uint32_t wants[] = { t->rule, t->optional, (uint32_t)t->context.n };
	SHA256_CTX h;

	SHA256_Init(&h);
	SHA256_Update(&h, wants, sizeof wants);
	SHA256_Update(&h, t->context.p, t->context.n);
	SHA256_Update(&h, s->name, sizeof s->name);
	if (t->trust)
		SHA256_Update(&h, tls_trust_digest(t->trust), SHA256_DIGEST_LENGTH);
	SHA256_Final(out, &h);
}

static bool set_up(struct tls_side *s, const struct tls_terms *t)
{
	SSL_CTX *c = s->ctx;
	uint8_t context[SHA256_DIGEST_LENGTH];
	int mode = SSL_VERIFY_PEER;

	set_context(s, t, context);

	if (s->server && t->trust == NULL)
		mode = SSL_VERIFY_NONE;
	else if (s->server && !t->optional)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_custom_verify(c, mode, verify);
	SSL_CTX_set_cert_cb(c, choose_leaf, NULL);
	SSL_CTX_set_alpn_select_cb(c, select_alpn, NULL);
	SSL_CTX_set_options(c, SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (s->server) {
		SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	} else {
		SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(c, keep_session);
	}
	SSL_CTX_set_timeout(c, TICKET_S);
	SSL_CTX_set_session_psk_dhe_timeout(c, TICKET_S);
	if (s->server && t->trust) {
		STACK_OF(CRYPTO_BUFFER) *names = tls_trust_names(t->trust);

		if (names)
			SSL_CTX_set0_client_CAs(c, names);
	}
	return SSL_CTX_set_min_proto_version(c, t->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) &&
	       SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) && set_groups(c) &&
	       SSL_CTX_set_strict_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") &&
	       SSL_CTX_set_verify_algorithm_prefs(c, accepted, countof(accepted)) &&
	       SSL_CTX_set_num_tickets(c, 1) &&
	       (!s->server || SSL_CTX_set_tlsext_ticket_key_cb(c, ticket)) &&
	       SSL_CTX_set_session_id_context(c, context, sizeof context) &&
	       (s->server || s->alpn_n == 0 ||
		SSL_CTX_set_alpn_protos(c, s->alpn, (unsigned)s->alpn_n) == 0);
}

static int take_names(struct tls_side *s, const struct tls_terms *t)
{
	if (t->n_names > TLS_NAMES)
		return -EINVAL;
	for (unsigned i = 0; i < t->n_names; i++) {
		size_t n = strlen(t->names[i].text);

		if (n >= TLS_NAME)
			return -EINVAL;
		s->names[i].is_uri = t->names[i].is_uri;
		memcpy(s->names[i].text, t->names[i].text, n + 1);
		s->n_names++;
	}
	return 0;
}

int tls_side_new(struct tls_stock *stock, const struct tls_terms *t, struct tls_side **ret)
{
	struct tls_side *s = OPENSSL_malloc(sizeof *s);
	size_t name_n = t->name ? strlen(t->name) : 0;
	int r = 0;

	if (s == NULL)
		return -ENOMEM;
	*s = (struct tls_side){ .refs = 1, .stock = stock, .server = t->server, .rule = t->rule,
				.ends_unix_s = t->ends_unix_s };
	if (name_n >= sizeof s->name || t->alpn.n > sizeof s->alpn ||
	    t->leaves > TLS_LEAVES || (t->server && t->leaves == 0) ||
	    (!t->server && t->trust == NULL))
		r = -EINVAL;
	if (r == 0 && t->alpn.n)
		memcpy(s->alpn, t->alpn.p, s->alpn_n = t->alpn.n);
	if (r == 0 && name_n)
		memcpy(s->name, t->name, name_n);
	s->is_addr = addr_parse_ip(slice_str(s->name), &(struct addr){ 0 }) == 0;
	if (r == 0)
		r = take_names(s, t);
	for (unsigned i = 0; r == 0 && i < t->leaves; i++)
		r = add_leaf(s, &t->leaf[i]);
	if (r == 0) {
		s->trust = t->trust;
		if (s->trust)
			tls_trust_ref(s->trust);
		s->ctx = SSL_CTX_new(TLS_with_buffers_method());
		r = s->ctx && set_up(s, t) ? 0 : -ENOMEM;
	}
	ERR_clear_error();
	if (r < 0)
		tls_side_unref(&s);
	else
		*ret = s;
	return r;
}

void tls_side_ref(struct tls_side *s)
{
	s->refs++;
}

void tls_side_unref(struct tls_side **sp)
{
	struct tls_side *s = *sp;

	*sp = NULL;
	if (--s->refs)
		return;
	SSL_CTX_free(s->ctx);
	for (unsigned i = 0; i < TLS_LEAVES; i++) {
		for (size_t k = 0; k < s->leaf[i].n; k++)
			CRYPTO_BUFFER_free(s->leaf[i].chain[k]);
		X509_free(s->leaf[i].x);
	}
	for (unsigned i = 0; i < TLS_SESSIONS; i++)
		SSL_SESSION_free(s->kept[i].session);
	if (s->trust)
		tls_trust_unref(&s->trust);
	OPENSSL_free(s);
}
