/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See tls_rig.h. */
#include "tests/lib/tls_rig.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/curve25519.h>
#include <openssl/ec_key.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

/* ---- certificates ---- */

static EVP_PKEY *make_key(int kind)
{
	EVP_PKEY *k = EVP_PKEY_new();

	if (kind == EVP_PKEY_ED25519) {
		uint8_t pub[32], priv[64];

		EVP_PKEY_free(k);
		ED25519_keypair(pub, priv);
		return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, priv, 32);
	}
	if (kind == EVP_PKEY_RSA) {
		BIGNUM *e = BN_new();
		RSA *r = RSA_new();

		must(BN_set_word(e, RSA_F4) && RSA_generate_key_ex(r, 2048, e, NULL));
		BN_free(e);
		must(EVP_PKEY_assign_RSA(k, r));
	} else {
		EC_KEY *e = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);

		must(EC_KEY_generate_key(e) && EVP_PKEY_assign_EC_KEY(k, e));
	}
	return k;
}

static void extend(X509 *x, int nid, const char *value)
{
	X509V3_CTX c;
	X509_EXTENSION *e;

	X509V3_set_ctx_nodb(&c);
	X509V3_set_ctx(&c, x, x, NULL, NULL, 0);
	e = X509V3_EXT_nconf_nid(NULL, &c, nid, value);
	must(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

struct rig_cert rig_cert(struct rig_spec s)
{
	static long serial = 1000;
	struct rig_cert c = { .x = X509_new(), .key = make_key(s.kind) };
	EVP_PKEY *by = s.issuer ? s.issuer->key : c.key;
	X509_NAME *name = X509_get_subject_name(c.x);
	uint8_t *der = NULL;
	int n;

	if (s.from_s == 0 && s.to_s == 0) {
		s.from_s = -3600;
		s.to_s = 86400;
	}
	must(X509_set_version(c.x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(c.x), serial++));
	must(X509_gmtime_adj(X509_getm_notBefore(c.x), s.from_s));
	must(X509_gmtime_adj(X509_getm_notAfter(c.x), s.to_s));
	if (s.cn)
		must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)s.cn, -1,
						-1, 0));
	must(X509_set_issuer_name(c.x, s.issuer ? X509_get_subject_name(s.issuer->x) : name));
	must(X509_set_pubkey(c.x, c.key));
	extend(c.x, NID_basic_constraints, s.ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	extend(c.x, NID_key_usage, !s.ca ? "critical,digitalSignature" :
			   s.usage ? "critical,digitalSignature,keyCertSign" :
				     "critical,keyCertSign,cRLSign");
	if (!s.ca || s.usage)
		extend(c.x, NID_ext_key_usage, s.usage ? s.usage : "serverAuth,clientAuth");
	if (s.san)
		extend(c.x, NID_subject_alt_name, s.san);
	must(X509_sign(c.x, by, EVP_PKEY_id(by) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()));
	n = i2d_X509(c.x, &der);
	must(n > 0);
	c.der = slice_of(der, (size_t)n);
	return c;
}

void rig_cert_free(struct rig_cert *c)
{
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	OPENSSL_free((void *)(uintptr_t)c->der.p);
	*c = (struct rig_cert){ 0 };
}

static struct slice taken(BIO *b)
{
	const uint8_t *p;
	size_t n;
	uint8_t *copy;

	must(BIO_mem_contents(b, &p, &n));
	copy = malloc(n);
	memcpy(copy, p, n);
	BIO_free(b);
	return slice_of(copy, n);
}

struct slice rig_pem(const struct rig_cert *const *c, const struct rig_cert *revoked)
{
	BIO *b = BIO_new(BIO_s_mem());

	for (size_t i = 0; c[i]; i++)
		must(PEM_write_bio_X509(b, c[i]->x));
	if (revoked) {
		X509_CRL *l = X509_CRL_new();
		X509_REVOKED *r = X509_REVOKED_new();
		ASN1_TIME *t = ASN1_TIME_new();

		must(X509_CRL_set_version(l, 1));
		must(X509_CRL_set_issuer_name(l, X509_get_issuer_name(revoked->x)));
		must(X509_gmtime_adj(t, -10) && X509_CRL_set1_lastUpdate(l, t));
		must(X509_REVOKED_set_revocationDate(r, t));
		must(X509_gmtime_adj(t, 86400) && X509_CRL_set1_nextUpdate(l, t));
		must(X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->x)));
		must(X509_CRL_add0_revoked(l, r) && X509_CRL_sign(l, c[0]->key, EVP_sha256()));
		must(PEM_write_bio_X509_CRL(b, l));
		X509_CRL_free(l);
		ASN1_TIME_free(t);
	}
	return taken(b);
}

struct slice rig_pem_key(const struct rig_cert *c)
{
	BIO *b = BIO_new(BIO_s_mem());

	must(PEM_write_bio_PKCS8PrivateKey(b, c->key, NULL, NULL, 0, NULL, NULL));
	return taken(b);
}

void rig_pem_free(struct slice *s)
{
	free((void *)(uintptr_t)s->p);
	*s = (struct slice){ NULL, 0 };
}

/* ---- lines ---- */

static struct rig_far *far_of(struct stream *s)
{
	return (struct rig_far *)(void *)s->other;
}

static ssize_t far_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct rig_far *f = far_of(s);
	struct rig_pipe *p = f->in;
	size_t n = min_of(room, p->end - p->at);

	if (f->step)
		n = min_of(n, f->step);
	if (n == 0)
		return p->ended ? 0 : -EAGAIN;
	memcpy(buf, p->p + p->at, n);
	p->at += n;
	p->moved += n;
	return (ssize_t)n;
}

/* With a step a short read does not mean that there is no more: so it says. */
static bool far_more(struct stream *s)
{
	struct rig_far *f = far_of(s);

	return f->step && f->in->end > f->in->at;
}

static ssize_t far_write(struct stream *s, const struct iovec *v, int n)
{
	struct rig_far *f = far_of(s);
	struct rig_pipe *p = f->out;
	size_t room, done = 0;

	memmove(p->p, p->p + p->at, p->end - p->at);
	p->end -= p->at;
	p->at = 0;
	room = p->most - min_of(p->end, p->most);
	if (f->step)
		room = min_of(room, f->step);
	if (p->ended)
		return -EPIPE;
	for (int i = 0; i < n && room; i++) {
		size_t k = min_of(room, v[i].iov_len);

		memcpy(p->p + p->end, v[i].iov_base, k);
		p->end += k;
		done += k;
		room -= k;
	}
	p->moved += done;
	return done ? (ssize_t)done : -EAGAIN;
}

static int far_finish(struct stream *s)
{
	far_of(s)->out->ended = true;
	return 0;
}

static int far_error(struct stream *s)
{
	(void)s;
	return 0;
}

static void far_close(struct stream *s, bool abort)
{
	(void)abort;
	far_of(s)->out->ended = true;
}

static const struct stream_ops far_ops = {
	.name = "far", .read = far_read, .more = far_more, .write = far_write,
	.finish = far_finish, .error = far_error, .close = far_close,
};

struct stream rig_stream(struct rig_far *f)
{
	return (struct stream){ .ops = &far_ops, .other = (struct stream *)(void *)f };
}

/* ---- a pair ---- */

static void sign(struct rig_pair *p, const struct tls_job *j, struct slot_ref who)
{
	EVP_PKEY *k = p->keys[j->key - 1]->key;
	struct tls *t = tls_find(&p->stock, who);
	uint8_t sig[TLS_SIG_MAX];
	size_t n = sizeof sig;
	EVP_PKEY_CTX *pc;
	EVP_MD_CTX m;

	EVP_MD_CTX_init(&m);
	must(EVP_DigestSignInit(&m, &pc, SSL_get_signature_algorithm_digest(j->algorithm), NULL, k));
	if (SSL_is_signature_algorithm_rsa_pss(j->algorithm))
		must(EVP_PKEY_CTX_set_rsa_padding(pc, RSA_PKCS1_PSS_PADDING) &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(pc, -1));
	must(EVP_DigestSign(&m, sig, &n, j->in, j->n));
	EVP_MD_CTX_cleanup(&m);
	must(t != NULL);
	tls_signed(t, slice_of(sig, n));
}

static int ask(void *arg, struct slot_ref who, const struct tls_job *j)
{
	struct rig_pair *p = arg;

	p->asks++;
	p->asked = who;
	p->job = *j;
	if (p->signs == RIG_SIGNS_NOT)
		return -EPIPE;
	if (p->signs == RIG_SIGNS_NEVER)
		tls_signed(tls_find(&p->stock, who), (struct slice){ NULL, 0 });
	return 0;
}

void rig_answer(struct rig_pair *p)
{
	struct slot_ref who = p->asked;

	p->asked = SLOT_NONE;
	if (who.gen && tls_find(&p->stock, who))
		sign(p, &p->job, who);
}

void rig_pair_init(struct rig_pair *p, const struct rig_cert *const keys[], unsigned n)
{
	*p = (struct rig_pair){ .memory = { .limit = 1u << 24 } };
	must(tls_stock_init(&p->stock, 8) == 0);
	p->stock.ask = ask;
	p->stock.arg = p;
	p->up.p = malloc(RIG_PIPE + 65536);
	p->down.p = malloc(RIG_PIPE + 65536);
	for (unsigned i = 0; i < n; i++)
		p->keys[i] = keys[i];
}

void rig_pair_fini(struct rig_pair *p)
{
	rig_close(p);
	free(p->up.p);
	free(p->down.p);
	must(p->stock.conns.live == 0 && p->memory.used == 0);
	tls_stock_fini(&p->stock);
}

struct tls_leaf rig_leaf(uint64_t key, const struct rig_cert *leaf, const struct rig_cert *above)
{
	struct tls_leaf l = { .der = { leaf->der }, .n = 1, .key = key };

	if (above)
		l.der[l.n++] = above->der;
	return l;
}

void rig_connect(struct rig_pair *p, struct tls_side *client, struct tls_side *server)
{
	struct stream c, s;

	rig_close(p);
	p->up = (struct rig_pipe){ .p = p->up.p, .most = RIG_PIPE };
	p->down = (struct rig_pipe){ .p = p->down.p, .most = RIG_PIPE };
	p->far[0] = (struct rig_far){ &p->down, &p->up, p->far[0].step };
	p->far[1] = (struct rig_far){ &p->up, &p->down, p->far[1].step };
	c = rig_stream(&p->far[0]);
	s = rig_stream(&p->far[1]);
	must(tls_new(&p->stock, client, &p->memory, SLOT_NONE, &c, &p->client) == 0);
	must(tls_new(&p->stock, server, &p->memory, SLOT_NONE, &s, &p->server) == 0);
	p->c = p->s = TLS_IN;
}

bool rig_shake(struct rig_pair *p)
{
	size_t was;

	do {
		was = p->up.moved + p->down.moved + p->asks;
		for (int i = 0; i < 2; i++) {
			enum tls_went *w = i ? &p->s : &p->c;

			if (*w != TLS_DONE && *w != TLS_FAILED)
				*w = tls_handshake(i ? &p->server : &p->client);
			if (*w == TLS_KEY && p->signs == RIG_SIGNS)
				rig_answer(p);
		}
	} while (was != p->up.moved + p->down.moved + p->asks ||
		 (p->signs != RIG_SIGNS_LATER && (p->c == TLS_KEY || p->s == TLS_KEY)));
	return p->c == TLS_DONE && p->s == TLS_DONE;
}

void rig_close(struct rig_pair *p)
{
	stream_close(&p->client, true);
	stream_close(&p->server, true);
}
