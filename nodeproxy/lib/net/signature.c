/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See signature.h. */
#include "nodeproxy/lib/net/signature.h"

#include <errno.h>
#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

enum {
	ECDSA_P256_SHA256 = 0x0403,
	PSS_SHA256 = 0x0804, PSS_SHA384 = 0x0805, PSS_SHA512 = 0x0806,
	ED25519 = 0x0807,
};

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

bool signature_is_of(const EVP_PKEY *key, unsigned algorithm)
{
	bool known;

	(void)digest_of(key, algorithm, &known);
	return known;
}

int signature_make(EVP_PKEY *key, unsigned algorithm, struct slice bytes,
		   uint8_t out[SIGNATURE_MAX], size_t *ret_n)
{
	bool known;
	const EVP_MD *md = digest_of(key, algorithm, &known);
	size_t n = SIGNATURE_MAX;
	int r = -EINVAL;
	EVP_PKEY_CTX *pc;
	EVP_MD_CTX c;

	EVP_MD_CTX_init(&c);
	if (known && EVP_DigestSignInit(&c, &pc, md, NULL, key) &&
	    (EVP_PKEY_id(key) != EVP_PKEY_RSA ||
	     (EVP_PKEY_CTX_set_rsa_padding(pc, RSA_PKCS1_PSS_PADDING) &&
	      EVP_PKEY_CTX_set_rsa_pss_saltlen(pc, -1))) &&	/* as long as the hash */
	    (size_t)EVP_PKEY_size(key) <= SIGNATURE_MAX &&
	    EVP_DigestSign(&c, out, &n, bytes.p, bytes.n)) {
		*ret_n = n;
		r = 0;
	}
	EVP_MD_CTX_cleanup(&c);
	ERR_clear_error();
	return r;
}
