/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keyfile.h. */
#include "nodeproxy/lib/net/keyfile.h"

#include <errno.h>
#include <openssl/bytestring.h>
#include <openssl/cipher.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pkcs8.h>
#include <openssl/x509.h>

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/pem.h"

#define ROUNDS 200000	/* of PBKDF2: a fraction of a second for who has the passphrase */
#define SALT   16u
#define KEY_MAX 8192u	/* of DER: RSA of 4,096 bits takes a third */

static EVP_PKEY *take(struct slice label, struct slice der, struct slice passphrase, bool *ret_is_key)
{
	const uint8_t *p = der.p;
	CBS cbs;

	CBS_init(&cbs, der.p, der.n);
	*ret_is_key = true;
	if (slice_eq(label, SLICE("PRIVATE KEY")))
		return EVP_parse_private_key(&cbs);
	if (slice_eq(label, SLICE("EC PRIVATE KEY")))
		return d2i_PrivateKey(EVP_PKEY_EC, NULL, &p, (long)der.n);
	if (slice_eq(label, SLICE("RSA PRIVATE KEY")))
		return d2i_PrivateKey(EVP_PKEY_RSA, NULL, &p, (long)der.n);
	if (slice_eq(label, SLICE("ENCRYPTED PRIVATE KEY")))
		return PKCS8_parse_encrypted_private_key(&cbs, (const char *)passphrase.p, passphrase.n);
	*ret_is_key = false;	/* certificates, parameters */
	return NULL;
}

int keyfile_read(struct slice pem, struct slice passphrase, EVP_PKEY **ret, const char **why)
{
	uint8_t *der = OPENSSL_malloc(PEM_MAX);
	struct slice label;
	EVP_PKEY *k = NULL;
	size_t n = 0;
	int r;

	*why = "no memory";
	if (der == NULL)
		return -ENOMEM;
	*why = "is not whole PEM, or its key is encrypted in a way that is not PKCS#8";
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &n)) == 1) {
		bool sealed = slice_eq(label, SLICE("ENCRYPTED PRIVATE KEY")), is_key;

		*why = "is encrypted: a key without passphrase is needed";
		if (sealed && passphrase.n == 0) {
			r = -EINVAL;
			break;
		}
		k = take(label, slice_of(der, n), passphrase, &is_key);
		*why = sealed ? "its key cannot be read: is the passphrase another one?" :
				"its key cannot be read";
		if (is_key) {
			r = k ? 0 : -EINVAL;
			break;
		}
		*why = "is not whole PEM";
	}
	if (r == 0 && k == NULL) {
		*why = "has no private key in it";
		r = -EINVAL;
	}
	OPENSSL_free(der);
	ERR_clear_error();
	if (r == 0)
		*ret = k;
	return r;
}

int keyfile_print(EVP_PKEY *key, struct slice passphrase, char **ret, size_t *ret_n)
{
	uint8_t salt[SALT], *der = NULL;
	char *text = OPENSSL_malloc(KEY_MAX * 2);
	size_t n = 0;
	CBB out = { 0 };
	bool ok = text && CBB_init(&out, 512);

	rand_bytes(salt, sizeof salt);
	if (ok && passphrase.n)
		ok = PKCS8_marshal_encrypted_private_key(&out, -1, EVP_aes_256_cbc(),
							 (const char *)passphrase.p, passphrase.n, salt,
							 sizeof salt, ROUNDS, key);
	else if (ok)
		ok = EVP_marshal_private_key(&out, key);
	ok = ok && CBB_finish(&out, &der, &n) && n <= KEY_MAX;
	if (ok) {
		struct strbuf b = strbuf_on(text, KEY_MAX * 2);

		pem_print(&b, passphrase.n ? "ENCRYPTED PRIVATE KEY" : "PRIVATE KEY", slice_of(der, n));
		*ret = text;
		*ret_n = b.n;
	} else {
		CBB_cleanup(&out);
		OPENSSL_free(text);
	}
	OPENSSL_free(der);
	ERR_clear_error();
	return ok ? 0 : -ENOMEM;
}

struct slice keyfile_passphrase(struct slice file)
{
	while (file.n && (file.p[file.n - 1] == '\n' || file.p[file.n - 1] == '\r'))
		file.n--;
	return file.n <= KEYFILE_PASSPHRASE ? file : slice_of(file.p, 0);
}
