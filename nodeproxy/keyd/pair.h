/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A certificate with what is above it, and its private key: how the key process holds both, of a
 * listener's files as of an identity.  What all others are told of it is struct certs_leaf. */
#ifndef NODEPROXY_KEYD_PAIR_H
#define NODEPROXY_KEYD_PAIR_H

#include <openssl/evp.h>

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/net/certs.h"

struct strbuf;

#define PAIR_WORDS CERTS_WORDS

struct pair {
	struct certs_leaf leaf;		/* without spans */
	EVP_PKEY *key, *public;		/* public: the certificate's */
	uint8_t *chain[CERTS_CHAIN];
	size_t bytes[CERTS_CHAIN];
};

/* All of a file that OPENSSL_free() wipes and frees; 0 or -errno with words. */
must_use int pair_file(struct fd, const char *field, uint8_t **ret, size_t *ret_n, char words[PAIR_WORDS]);
/* The certificates of a PEM file, leaf first.  0, or -EINVAL with words that begin with the field
 * ("tls_certificate: has expired": only when it is strict). */
must_use int pair_chain(struct pair *, struct slice pem, bool strict, const char *field,
			char words[PAIR_WORDS]);
/* After that: its key. */
must_use int pair_key(struct pair *, struct slice pem, struct slice passphrase, const char *field,
		      char words[PAIR_WORDS]);
void pair_free(struct pair *);
/* What an issuer has made: takes the certificate (freed when it is refused), copies the issuer's own
 * chain behind it.  0, or -EINVAL with words. */
must_use int pair_issued(struct pair *, uint8_t *der, size_t n, const struct pair *issuer,
			 char words[PAIR_WORDS]);
void pair_copy(const struct pair *, struct pair *ret);
/* All of it as PEM, its key in clear: for what is sealed.  0, -ENOSPC or -ENOMEM. */
must_use int pair_print(const struct pair *, struct strbuf *);
/* DNS names and URIs of the leaf, as many as fit, for people. */
void pair_names(const struct pair *, char out[CERTS_NAMES]);

/* What pair_put() copies to file from *at on, which it moves. */
size_t pair_bytes(const struct pair *);
struct certs_leaf pair_put(const struct pair *, void *file, size_t *at);

#endif
