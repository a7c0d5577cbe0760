/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The certificates of all listeners, as the key process has read and checked them: one sealed file that
 * workers make their TLS sides from and operators are shown.  Everything in it is public; a key is only
 * named.  Whoever reads one checks it first: then all its offsets lie within. */
#ifndef NODEPROXY_LIB_NET_CERTS_H
#define NODEPROXY_LIB_NET_CERTS_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define CERTS_MAGIC 0x4e504354u	/* "NPCT" */
#define CERTS_MAX   128u	/* entries: one per listener */
#define CERTS_CHAIN 8u
#define CERTS_NAMES 256u
#define CERTS_BYTES (64u << 20)

enum cert_key { CERT_KEY_ED25519, CERT_KEY_P256, CERT_KEY_RSA, CERT_KEYS };

struct certs_span {
	uint32_t at, n;
};

/* A certificate with what is above it, and the name of its key. */
struct certs_leaf {
	uint64_t key;			/* to ask the key process for */
	int64_t from_unix_s, to_unix_s;	/* it is valid */
	uint32_t kind;			/* enum cert_key */
	uint32_t chain_n;
	struct certs_span chain[CERTS_CHAIN];	/* DER, leaf first */
};

/* Of a listener that has files. */
struct certs_entry {
	char listener[64];
	struct certs_leaf leaf;
	struct certs_span client_ca;	/* PEM; empty: none */
	char names[CERTS_NAMES];	/* what it says it is for, for people */
};

struct certs {
	uint32_t magic, bytes;		/* of the whole file */
	uint32_t n, zero;
	struct certs_entry at[];
};

/* 0 or -EBADMSG. */
must_use int certs_check(struct slice file);
/* Of a checked one; NULL: none of this listener. */
const struct certs_entry *certs_of(const struct certs *, const char *listener);
static inline struct slice certs_bytes(const struct certs *c, struct certs_span s)
{
	return slice_of((const uint8_t *)c + s.at, s.n);
}
const char *cert_key_name(uint32_t kind);

#endif
