/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See mint.h.  DER is written byte by byte (RFC 5280, RFC 2986, RFC 8410), so that what is in a
 * certificate stands here, and nothing else is in it. */
#include "nodeproxy/lib/net/mint.h"

#include <errno.h>
#include <openssl/bytestring.h>
#include <openssl/digest.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "nodeproxy/lib/base/rand.h"

#define ID_BYTES 20u
#define REQUEST_MAX 4096u

/* object identifiers, as they stand in DER */
#define OID_ED25519	    "\x2b\x65\x70"
#define OID_ECDSA_SHA256    "\x2a\x86\x48\xce\x3d\x04\x03\x02"
#define OID_RSA_SHA256	    "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
#define OID_COMMON_NAME	    "\x55\x04\x03"
#define OID_SUBJECT_KEY_ID  "\x55\x1d\x0e"
#define OID_KEY_USAGE	    "\x55\x1d\x0f"
#define OID_ALT_NAME	    "\x55\x1d\x11"
#define OID_CONSTRAINTS	    "\x55\x1d\x13"
#define OID_ISSUER_KEY_ID   "\x55\x1d\x23"
#define OID_EXTENDED_USAGE  "\x55\x1d\x25"
#define OID_SERVER_AUTH	    "\x2b\x06\x01\x05\x05\x07\x03\x01"
#define OID_CLIENT_AUTH	    "\x2b\x06\x01\x05\x05\x07\x03\x02"
#define OID_EXTENSIONS	    "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"	/* of a request */

#define USAGE_SIGN "\x03\x02\x07\x80"	/* digitalSignature */
#define USAGE_CA   "\x03\x02\x01\x06"	/* keyCertSign, cRLSign */

#define PUT(cbb, bytes) CBB_add_bytes((cbb), (const uint8_t *)(bytes), sizeof(bytes) - 1)

static bool put_oid(CBB *in, const char *oid, size_t n)
{
	CBB c;

	return CBB_add_asn1(in, &c, CBS_ASN1_OBJECT) && CBB_add_bytes(&c, (const uint8_t *)oid, n) &&
	       CBB_flush(in);
}
#define PUT_OID(cbb, oid) put_oid((cbb), (oid), sizeof(oid) - 1)

/* ---- keys ---- */

int mint_key(int kind, EVP_PKEY **ret)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(kind, NULL);
	EVP_PKEY *k = NULL;
	bool ok = c && EVP_PKEY_keygen_init(c) &&
		  (kind != EVP_PKEY_EC ||
		   EVP_PKEY_CTX_set_ec_paramgen_curve_nid(c, NID_X9_62_prime256v1)) &&
		  EVP_PKEY_keygen(c, &k);

	EVP_PKEY_CTX_free(c);
	ERR_clear_error();
	if (!ok)
		return -ENOMEM;
	*ret = k;
	return 0;
}

int mint_key_id(const EVP_PKEY *k, uint8_t out[ID_BYTES])
{
	uint8_t *spki = NULL, hash[SHA256_DIGEST_LENGTH];
	int n = i2d_PUBKEY(k, &spki);

	if (n <= 0)
		return -ENOMEM;
	SHA256(spki, (size_t)n, hash);
	OPENSSL_free(spki);
	memcpy(out, hash, ID_BYTES);
	return 0;
}

/* ---- pieces ---- */

static bool put_algorithm(CBB *in, const EVP_PKEY *signer)
{
	CBB c, null;

	if (!CBB_add_asn1(in, &c, CBS_ASN1_SEQUENCE))
		return false;
	switch (EVP_PKEY_id(signer)) {
	case EVP_PKEY_ED25519:
		return PUT_OID(&c, OID_ED25519) && CBB_flush(in);
	case EVP_PKEY_EC:
		return PUT_OID(&c, OID_ECDSA_SHA256) && CBB_flush(in);
	default:
		return PUT_OID(&c, OID_RSA_SHA256) && CBB_add_asn1(&c, &null, CBS_ASN1_NULL) &&
		       CBB_flush(in);
	}
}

/* 128 bits, positive, and not one byte more than it takes to say that. */
static bool put_serial(CBB *in)
{
	uint8_t b[16];
	CBB c;

	rand_bytes(b, sizeof b);
	b[0] |= 1;
	return CBB_add_asn1(in, &c, CBS_ASN1_INTEGER) && (!(b[0] & 0x80) || CBB_add_u8(&c, 0)) &&
	       CBB_add_bytes(&c, b, sizeof b) && CBB_flush(in);
}

static bool put_time(CBB *in, int64_t unix_s)
{
	time_t t = (time_t)unix_s;
	bool old;
	char text[32];
	struct tm tm;
	CBB c;

	if (!gmtime_r(&t, &tm) || tm.tm_year < 50 || tm.tm_year > 8000)
		return false;
	old = tm.tm_year < 150;	/* before 2050 */
	snprintf(text, sizeof text, "%0*d%02d%02d%02d%02d%02dZ", old ? 2 : 4,
		 old ? tm.tm_year % 100 : tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec);
	return CBB_add_asn1(in, &c, old ? CBS_ASN1_UTCTIME : CBS_ASN1_GENERALIZEDTIME) &&
	       CBB_add_bytes(&c, (const uint8_t *)text, strlen(text)) && CBB_flush(in);
}

/* One common name, or nothing. */
static bool put_name(CBB *in, const char *name)
{
	CBB seq, set, one, text;

	if (!CBB_add_asn1(in, &seq, CBS_ASN1_SEQUENCE))
		return false;
	if (name[0] == 0)
		return CBB_flush(in);
	return CBB_add_asn1(&seq, &set, CBS_ASN1_SET) && CBB_add_asn1(&set, &one, CBS_ASN1_SEQUENCE) &&
	       PUT_OID(&one, OID_COMMON_NAME) && CBB_add_asn1(&one, &text, CBS_ASN1_UTF8STRING) &&
	       CBB_add_bytes(&text, (const uint8_t *)name, strlen(name)) && CBB_flush(in);
}

static bool put_name_of(CBB *in, X509 *x)
{
	uint8_t *der = NULL;
	int n = i2d_X509_NAME(X509_get_subject_name(x), &der);
	bool ok = n > 0 && CBB_add_bytes(in, der, (size_t)n);

	OPENSSL_free(der);
	return ok;
}

/* Opens an extension: its bytes go into *ret. */
static bool open_extension(CBB *in, CBB *one, const char *oid, size_t n, bool critical, CBB *ret)
{
	return CBB_add_asn1(in, one, CBS_ASN1_SEQUENCE) && put_oid(one, oid, n) &&
	       (!critical || CBB_add_asn1_bool(one, 1)) && CBB_add_asn1(one, ret, CBS_ASN1_OCTETSTRING);
}
#define OPEN(in, one, oid, critical, ret) open_extension((in), (one), (oid), sizeof(oid) - 1, (critical), (ret))

static bool put_uri(CBB *in, const char *uri, bool critical)
{
	CBB one, bytes, seq, name;

	return OPEN(in, &one, OID_ALT_NAME, critical, &bytes) &&
	       CBB_add_asn1(&bytes, &seq, CBS_ASN1_SEQUENCE) &&
	       CBB_add_asn1(&seq, &name, CBS_ASN1_CONTEXT_SPECIFIC | 6) &&
	       CBB_add_bytes(&name, (const uint8_t *)uri, strlen(uri)) && CBB_flush(in);
}

static bool put_constraints(CBB *in, enum mint_what what)
{
	CBB one, bytes, seq;

	if (!OPEN(in, &one, OID_CONSTRAINTS, true, &bytes) ||
	    !CBB_add_asn1(&bytes, &seq, CBS_ASN1_SEQUENCE))
		return false;
	return (what == MINT_WORKLOAD ||
		(CBB_add_asn1_bool(&seq, 1) && CBB_add_asn1_uint64(&seq, what == MINT_ROOT))) &&
	       CBB_flush(in);
}

static bool put_usage(CBB *in, enum mint_what what)
{
	CBB one, bytes, seq;

	if (!OPEN(in, &one, OID_KEY_USAGE, true, &bytes) ||
	    !(what == MINT_WORKLOAD ? PUT(&bytes, USAGE_SIGN) : PUT(&bytes, USAGE_CA)) || !CBB_flush(in))
		return false;
	if (what != MINT_WORKLOAD)
		return true;
	return OPEN(in, &one, OID_EXTENDED_USAGE, false, &bytes) &&
	       CBB_add_asn1(&bytes, &seq, CBS_ASN1_SEQUENCE) && PUT_OID(&seq, OID_SERVER_AUTH) &&
	       PUT_OID(&seq, OID_CLIENT_AUTH) && CBB_flush(in);
}

static bool put_key_ids(CBB *in, const uint8_t mine[ID_BYTES], struct slice above)
{
	CBB one, bytes, seq, id;

	if (!OPEN(in, &one, OID_SUBJECT_KEY_ID, false, &bytes) ||
	    !CBB_add_asn1(&bytes, &id, CBS_ASN1_OCTETSTRING) || !CBB_add_bytes(&id, mine, ID_BYTES) ||
	    !CBB_flush(in))
		return false;
	return above.n == 0 ||	/* of an authority of others, that says no name of its key */
	       (OPEN(in, &one, OID_ISSUER_KEY_ID, false, &bytes) &&
		CBB_add_asn1(&bytes, &seq, CBS_ASN1_SEQUENCE) &&
		CBB_add_asn1(&seq, &id, CBS_ASN1_CONTEXT_SPECIFIC) &&
		CBB_add_bytes(&id, above.p, above.n) && CBB_flush(in));
}

/* What was written as *ret, signed behind it: SEQUENCE { tbs, algorithm, signature }. */
static int seal(CBB *tbs, EVP_PKEY *signer, uint8_t **ret, size_t *ret_n)
{
	const EVP_MD *md = EVP_PKEY_id(signer) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
	uint8_t *body = NULL, *sig = NULL;
	size_t body_n = 0, n = 0;
	EVP_MD_CTX c;
	CBB out = { 0 }, seq, bits;
	int r = -ENOMEM;

	EVP_MD_CTX_init(&c);
	if (!CBB_finish(tbs, &body, &body_n) || !EVP_DigestSignInit(&c, NULL, md, NULL, signer) ||
	    !EVP_DigestSign(&c, NULL, &n, body, body_n) || !(sig = OPENSSL_malloc(n)) ||
	    !EVP_DigestSign(&c, sig, &n, body, body_n))
		goto out;
	if (CBB_init(&out, body_n + n + 64) && CBB_add_asn1(&out, &seq, CBS_ASN1_SEQUENCE) &&
	    CBB_add_bytes(&seq, body, body_n) && put_algorithm(&seq, signer) &&
	    CBB_add_asn1(&seq, &bits, CBS_ASN1_BITSTRING) && CBB_add_u8(&bits, 0) &&
	    CBB_add_bytes(&bits, sig, n) && CBB_finish(&out, ret, ret_n))
		r = 0;
out:
	if (r < 0)
		CBB_cleanup(&out);
	EVP_MD_CTX_cleanup(&c);
	OPENSSL_free(body);
	OPENSSL_free(sig);
	ERR_clear_error();
	return r;
}

/* ---- certificates ---- */

static void subject_words(const struct mint *m, const uint8_t id[ID_BYTES], char out[64])
{
	out[0] = 0;
	if (m->what == MINT_WORKLOAD)
		return;
	/* The bytes of its key: two of one name are two, when one follows the other. */
	snprintf(out, 64, "nodeproxy %s %.30s %02x%02x%02x%02x", m->what == MINT_ROOT ? "root" : "node",
		 m->name, id[0], id[1], id[2], id[3]);
}

int mint(const struct mint *m, uint8_t **ret, size_t *ret_n)
{
	int64_t from = m->now_s - MINT_BACK_S, to = m->now_s + m->life_s;
	uint8_t id[ID_BYTES], above[ID_BYTES];
	const ASN1_OCTET_STRING *skid = m->issuer ? X509_get0_subject_key_id(m->issuer) : NULL;
	struct slice above_id = { above, 0 };
	char name[64];
	CBB tbs = { 0 }, seq, c, all;
	int r;

	if (m->issuer) {
		to = min_of(to, mint_unix_s(X509_get0_notAfter(m->issuer)));
		if (to <= m->now_s || X509_check_private_key(m->issuer, m->signer) != 1) {
			ERR_clear_error();
			return -EINVAL;
		}
	}
	r = mint_key_id(m->subject, id);
	if (r < 0)
		return r;
	if (skid && ASN1_STRING_length(skid) == ID_BYTES) {
		memcpy(above, ASN1_STRING_get0_data(skid), ID_BYTES);
		above_id.n = ID_BYTES;
	} else if (!m->issuer) {
		memcpy(above, id, ID_BYTES);
		above_id.n = ID_BYTES;
	}
	subject_words(m, id, name);
	if (!CBB_init(&tbs, 1024) || !CBB_add_asn1(&tbs, &seq, CBS_ASN1_SEQUENCE) ||
	    !CBB_add_asn1(&seq, &c, CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0) ||
	    !CBB_add_asn1_uint64(&c, 2) || !put_serial(&seq) || !put_algorithm(&seq, m->signer) ||
	    !(m->issuer ? put_name_of(&seq, m->issuer) : put_name(&seq, name)) ||
	    !CBB_add_asn1(&seq, &c, CBS_ASN1_SEQUENCE) || !put_time(&c, from) || !put_time(&c, to) ||
	    !put_name(&seq, name) || !EVP_marshal_public_key(&seq, m->subject) ||
	    !CBB_add_asn1(&seq, &c, CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 3) ||
	    !CBB_add_asn1(&c, &all, CBS_ASN1_SEQUENCE) || !put_constraints(&all, m->what) ||
	    !put_usage(&all, m->what) || !put_key_ids(&all, id, above_id) ||
	    !put_uri(&all, m->uri, m->what == MINT_WORKLOAD) || !CBB_flush(&tbs)) {
		CBB_cleanup(&tbs);
		ERR_clear_error();
		return -ENOMEM;
	}
	return seal(&tbs, m->signer, ret, ret_n);
}

/* ---- requests ---- */

int mint_request(EVP_PKEY *key, const char *uri, uint8_t **ret, size_t *ret_n)
{
	CBB tbs = { 0 }, seq, attributes, one, set, all;

	if (!CBB_init(&tbs, 512) || !CBB_add_asn1(&tbs, &seq, CBS_ASN1_SEQUENCE) ||
	    !CBB_add_asn1_uint64(&seq, 0) || !put_name(&seq, "") || !EVP_marshal_public_key(&seq, key) ||
	    !CBB_add_asn1(&seq, &attributes, CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0) ||
	    !CBB_add_asn1(&attributes, &one, CBS_ASN1_SEQUENCE) || !PUT_OID(&one, OID_EXTENSIONS) ||
	    !CBB_add_asn1(&one, &set, CBS_ASN1_SET) || !CBB_add_asn1(&set, &all, CBS_ASN1_SEQUENCE) ||
	    !put_uri(&all, uri, true) || !CBB_flush(&tbs)) {
		CBB_cleanup(&tbs);
		ERR_clear_error();
		return -ENOMEM;
	}
	return seal(&tbs, key, ret, ret_n);
}

static int one_uri(const GENERAL_NAMES *names, char *out, size_t room)
{
	const ASN1_STRING *s = NULL;

	for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type != GEN_URI)
			continue;
		if (s)
			return -EINVAL;
		s = g->d.uniformResourceIdentifier;
	}
	if (s == NULL || (size_t)ASN1_STRING_length(s) >= room ||
	    memchr(ASN1_STRING_get0_data(s), 0, (size_t)ASN1_STRING_length(s)))
		return -EINVAL;
	memcpy(out, ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
	out[ASN1_STRING_length(s)] = 0;
	return ASN1_STRING_length(s);
}

int mint_request_key(struct slice der, const char *uri, EVP_PKEY **ret)
{
	const uint8_t *p = der.p;
	X509_REQ *q = der.n <= REQUEST_MAX ? d2i_X509_REQ(NULL, &p, (long)der.n) : NULL;
	STACK_OF(X509_EXTENSION) *all = q ? X509_REQ_get_extensions(q) : NULL;
	EVP_PKEY *key = q ? X509_REQ_get_pubkey(q) : NULL;
	GENERAL_NAMES *names = all ? X509V3_get_d2i(all, NID_subject_alt_name, NULL, NULL) : NULL;
	char says[2048];
	int r = -EINVAL;

	if (key && p == der.p + der.n && X509_REQ_verify(q, key) == 1 && names &&
	    sk_X509_EXTENSION_num(all) == 1 && sk_GENERAL_NAME_num(names) == 1 &&
	    one_uri(names, says, sizeof says) > 0 && strcmp(says, uri) == 0) {
		*ret = key;
		key = NULL;
		r = 0;
	}
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
	EVP_PKEY_free(key);
	X509_REQ_free(q);
	ERR_clear_error();
	return r;
}

/* ---- looking ---- */

int mint_uri(X509 *x, char *out, size_t room)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int n = one_uri(names, out, room);

	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return n;
}

int64_t mint_unix_s(const ASN1_TIME *t)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days = 0, seconds = 0;
	bool known = epoch && ASN1_TIME_diff(&days, &seconds, epoch, t);

	ASN1_TIME_free(epoch);
	return known ? (int64_t)days * 86400 + seconds : INT64_MAX;
}
