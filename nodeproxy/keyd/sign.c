/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See sign.h. */
#include "nodeproxy/keyd/sign.h"

#define BLANKS 64u
#define AS_SERVER "TLS 1.3, server CertificateVerify"	/* and a zero */
#define AS_CLIENT "TLS 1.3, client CertificateVerify"
static_must(sizeof AS_SERVER == sizeof AS_CLIENT);

static bool is_tls13(struct slice b, const char *as)
{
	for (size_t i = 0; i < BLANKS && i < b.n; i++)
		if (b.p[i] != ' ')
			return false;
	/* the hash of SHA-256 or SHA-384, by the cipher suite */
	return (b.n == BLANKS + sizeof AS_SERVER + 32 || b.n == BLANKS + sizeof AS_SERVER + 48) &&
	       memcmp(b.p + BLANKS, as, sizeof AS_SERVER) == 0;
}

/* The two randoms; a named curve; its number; a share of just its length. */
static bool is_tls12(struct slice b)
{
	const uint8_t *p = b.p + 64;

	if (b.n < 64 + 4 || p[0] != 3 || p[1] != 0 || b.n != 64 + 4 + (size_t)p[3])
		return false;
	return (p[2] == 29 && p[3] == 32) || (p[2] == 23 && p[3] == 65 && p[4] == 4);
}

enum sign_refusal sign_check(const EVP_PKEY *key, enum sign_whose whose, unsigned algorithm,
			     struct slice bytes)
{
	if (!is_tls13(bytes, AS_SERVER) && !(whose == SIGN_OF_IDENTITY && is_tls13(bytes, AS_CLIENT))) {
		if (!is_tls12(bytes))
			return SIGN_NOT_A_HANDSHAKE;
		if (whose != SIGN_OF_LISTENER_TLS12)
			return SIGN_TLS12;
	}
	return signature_is_of(key, algorithm) ? SIGN_FINE : SIGN_ALGORITHM;
}

enum sign_refusal sign(EVP_PKEY *key, unsigned algorithm, struct slice bytes, uint8_t out[SIGN_MAX],
		       size_t *ret_n)
{
	return signature_make(key, algorithm, bytes, out, ret_n) == 0 ? SIGN_FINE : SIGN_FAILED;
}
