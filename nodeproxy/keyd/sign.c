/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See sign.h. */
#include "nodeproxy/keyd/sign.h"

#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

enum {
	ECDSA_P256_SHA256 = 0x0403,
	PSS_SHA256 = 0x0804, PSS_SHA384 = 0x0805, PSS_SHA512 = 0x0806,
	ED25519 = 0x0807,
};

#define BLANKS 64u
#define CONTEXT "TLS 1.3, server CertificateVerify"	/* and a zero */

const char *sign_refusal_words(enum sign_refusal r)
{
	static const char *const words[SIGN_REFUSALS] = {
		[SIGN_FINE] = "signed",
		[SIGN_NO_KEY] = "no listener of this host has this key",
		[SIGN_NOT_A_HANDSHAKE] = "these are not bytes that a TLS server signs",
		[SIGN_TLS12] = "the listener does not speak TLS 1.2",
		[SIGN_ALGORITHM] = "not an algorithm of this key",
		[SIGN_FAILED] = "the signature failed",
	};

	return words[r < SIGN_REFUSALS ? r : SIGN_FAILED];
}

static bool is_tls13(struct slice b)
{
	for (size_t i = 0; i < BLANKS && i < b.n; i++)
		if (b.p[i] != ' ')
			return false;
	/* the hash of SHA-256 or SHA-384, by the cipher suite */
	return (b.n == BLANKS + sizeof CONTEXT + 32 || b.n == BLANKS + sizeof CONTEXT + 48) &&
	       memcmp(b.p + BLANKS, CONTEXT, sizeof CONTEXT) == 0;
}

/* The two randoms; a named curve; its number; a share of just its length. */
static bool is_tls12(struct slice b)
{
	const uint8_t *p = b.p + 64;

	if (b.n < 64 + 4 || p[0] != 3 || p[1] != 0 || b.n != 64 + 4 + (size_t)p[3])
		return false;
	return (p[2] == 29 && p[3] == 32) || (p[2] == 23 && p[3] == 65 && p[4] == 4);
}

static const EVP_MD *digest_of(const EVP_PKEY *key, unsigned algorithm, bool *ret_known)
{
	int kind = EVP_PKEY_id(key);

	*ret_known = true;
	if (kind == EVP_PKEY_ED25519 && algorithm == ED25519)
		return NULL;
	if (kind == EVP_PKEY_EC && algorithm == ECDSA_P256_SHA256)
		return EVP_sha256();
	if (kind == EVP_PKEY_RSA && algorithm == PSS_SHA256)
		return EVP_sha256();
	if (kind == EVP_PKEY_RSA && algorithm == PSS_SHA384)
		return EVP_sha384();
	if (kind == EVP_PKEY_RSA && algorithm == PSS_SHA512)
		return EVP_sha512();
	*ret_known = false;
	return NULL;
}

enum sign_refusal sign_check(const EVP_PKEY *key, bool tls12, unsigned algorithm, struct slice bytes)
{
	bool known;

	if (!is_tls13(bytes)) {
		if (!is_tls12(bytes))
			return SIGN_NOT_A_HANDSHAKE;
		if (!tls12)
			return SIGN_TLS12;
	}
	(void)digest_of(key, algorithm, &known);
	return known ? SIGN_FINE : SIGN_ALGORITHM;
}

enum sign_refusal sign(EVP_PKEY *key, unsigned algorithm, struct slice bytes, uint8_t out[SIGN_MAX],
		       size_t *ret_n)
{
	enum sign_refusal r = SIGN_FAILED;
	bool known;
	const EVP_MD *md = digest_of(key, algorithm, &known);
	size_t n = SIGN_MAX;
	EVP_PKEY_CTX *pc;
	EVP_MD_CTX c;

	EVP_MD_CTX_init(&c);
	if (known && EVP_DigestSignInit(&c, &pc, md, NULL, key) &&
	    (EVP_PKEY_id(key) != EVP_PKEY_RSA ||
	     (EVP_PKEY_CTX_set_rsa_padding(pc, RSA_PKCS1_PSS_PADDING) &&
	      EVP_PKEY_CTX_set_rsa_pss_saltlen(pc, -1))) &&	/* as long as the hash */
	    (size_t)EVP_PKEY_size(key) <= SIGN_MAX &&
	    EVP_DigestSign(&c, out, &n, bytes.p, bytes.n)) {
		*ret_n = n;
		r = SIGN_FINE;
	}
	EVP_MD_CTX_cleanup(&c);
	ERR_clear_error();
	return r;
}
