/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Certificates of the mesh, made: a root, an authority per host that it vouches for, a workload's.
 *
 *   MINT_ROOT      self-signed, CA, one level below it; URI spiffe://<trust domain>
 *   MINT_NODE      CA for leaves only; URI spiffe://<trust domain>/node/<host>.  Without name constraints:
 *                  they would say that it issues for its own trust domain only, and rustls refuses any
 *                  chain that has them.  Whoever trusts looks at the name instead (tls_mesh.h)
 *   MINT_WORKLOAD  digitalSignature for both ends of TLS; URI spiffe://<trust domain>/ns/<>/sa/<>, and
 *                  no subject, so that extension is critical (RFC 5280, 4.2.1.6)
 *
 * Serial numbers are 128 random bits; what is issued is valid from five minutes back, because clocks
 * differ, and never longer than who issues it.  A request (CSR, PKCS#10) carries a key to whoever may
 * sign: it is checked to be the holder's own. */
#ifndef NODEPROXY_LIB_NET_MINT_H
#define NODEPROXY_LIB_NET_MINT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

enum mint_what { MINT_ROOT, MINT_NODE, MINT_WORKLOAD };

#define MINT_BACK_S 300	/* valid from so long ago */

struct mint {
	enum mint_what what;
	const EVP_PKEY *subject;	/* whose key it says; the public half is enough */
	EVP_PKEY *signer;		/* of the issuer; of a root: the subject's own */
	X509 *issuer;			/* NULL: a root */
	const char *uri;
	const char *name;		/* behind words that say what it is, for people; "": none */
	int64_t now_s, life_s;
};

/* DER that OPENSSL_free() frees.  0, -EINVAL (the issuer has expired, or has no such key), -ENOMEM. */
must_use int mint(const struct mint *, uint8_t **ret, size_t *ret_n);
/* EVP_PKEY_ED25519 or EVP_PKEY_EC (P-256).  0 or -ENOMEM. */
must_use int mint_key(int kind, EVP_PKEY **ret);
/* The first 20 bytes of SHA-256 of a public key: what certificates call it (RFC 7093).  0 or -ENOMEM. */
must_use int mint_key_id(const EVP_PKEY *, uint8_t out[20]);

/* A request for a certificate of this URI; DER that OPENSSL_free() frees.  0 or -ENOMEM. */
must_use int mint_request(EVP_PKEY *, const char *uri, uint8_t **ret, size_t *ret_n);
/* The key of one that is signed by it and asks for this URI and nothing beside; 0 or -EINVAL. */
must_use int mint_request_key(struct slice der, const char *uri, EVP_PKEY **ret);

/* The one URI of a certificate, whatever it is: its length with NUL in out, or -EINVAL. */
must_use int mint_uri(X509 *, char *out, size_t room);
/* Seconds since 1970; INT64_MAX: none that can be said. */
int64_t mint_unix_s(const ASN1_TIME *);

#endif
