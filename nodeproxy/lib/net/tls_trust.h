/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whom a side trusts: roots and revocation lists; the whole judgement of a certificate chain.
 *
 * Once by signatures, when a connection is made; a resumed one brings the chain that was judged then,
 * sealed in its ticket, and BoringSSL does not look at it again: then all but the signatures is judged
 * anew, because time has passed and there may be a newer revocation list. */
#ifndef NODEPROXY_LIB_NET_TLS_TRUST_H
#define NODEPROXY_LIB_NET_TLS_TRUST_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "nodeproxy/lib/net/tls.h"

struct tls_mesh;

/* Judges a path that is good otherwise, leaf first: all that was verified, or all that came when it is judged
 * again. */
typedef enum tls_fault tls_path_fn(void *arg, const STACK_OF(X509) *);
void tls_trust_path(struct tls_trust *, tls_path_fn *, void *arg);
/* One that is a mesh (tls_mesh.c), and says that it is this one: takes it.  0 or -ENOMEM. */
must_use int tls_trust_of_mesh(struct tls_mesh *, const uint8_t digest[32], struct tls_trust **ret);
must_use enum tls_fault tls_mesh_judge(const struct tls_mesh *, const STACK_OF(CRYPTO_BUFFER) *, bool is_client,
				       bool again, int64_t now);
void tls_mesh_free(struct tls_mesh **);

/* Chain as it came, leaf first; now in seconds of Unix time. */
must_use enum tls_fault tls_trust_judge(const struct tls_trust *, const STACK_OF(CRYPTO_BUFFER) *,
					bool is_client, bool again, int64_t now);
must_use enum tls_fault tls_trust_rule(CRYPTO_BUFFER *leaf, enum tls_rule, const char *name);
/* One of its names is this URI. */
must_use enum tls_fault tls_trust_uri(CRYPTO_BUFFER *leaf, const char *uri);
/* For the list of issuers that a server sends; NULL: none. */
STACK_OF(CRYPTO_BUFFER) *tls_trust_names(const struct tls_trust *);
/* Says which one it is. */
const uint8_t *tls_trust_digest(const struct tls_trust *);	/* 32 bytes */
/* The identity, else the first name (DNS, URI, address of mail, common name) of a certificate, as it stands
 * there; what begins as a SPIFFE identity is the only and a valid one. */
size_t tls_name(CRYPTO_BUFFER *, char *out, size_t room);
/* The one SPIFFE identity of a certificate: its length with NUL in out, or -EINVAL. */
must_use int tls_identity(struct slice der, char out[1024]);
must_use int tls_identity_of(X509 *, char out[1024]);

#endif
