/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The certificates of all listeners and of all identities of this host, and whom the mesh trusts, as the
 * key process has read, checked or had them issued: one sealed file that workers make their TLS sides from
 * and operators are shown.  Everything in it is public; a key is only named.  Whoever reads one checks it
 * first: then all its offsets lie within. */
#ifndef NODEPROXY_LIB_NET_CERTS_H
#define NODEPROXY_LIB_NET_CERTS_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define CERTS_MAGIC 0x4e504354u	/* "NPCT" */
#define CERTS_MAX   256u	/* entries: one per listener, and for each further certificate of one */
#define CERTS_LISTENER 72u	/* NAME, or NAME/N of its further ones */
#define CERTS_PAIRS 8u		/* of a listener */
#define CERTS_CHAIN 8u
#define CERTS_NAMES 256u
#define CERTS_BYTES (64u << 20)
#define CERTS_IDENTITIES 640u	/* a pod or a listener each, and those are no more */
#define CERTS_BUNDLES 16u	/* trust domains */
#define CERTS_WORDS 192u

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
	char listener[CERTS_LISTENER];
	struct certs_leaf leaf;
	struct certs_span client_ca;	/* PEM; empty: none */
	char names[CERTS_NAMES];	/* what it says it is for, for people */
};

enum identity_state {
	IDENTITY_WAITING,	/* has no certificate yet */
	IDENTITY_VALID,
	IDENTITY_OVERDUE,	/* valid, but it was to be renewed and could not */
	IDENTITY_EXPIRED,
	IDENTITY_STATES
};
const char *identity_state_name(uint32_t);

/* A service account that has a pod or a listener on this host. */
struct certs_identity {
	char ns[64], account[64];
	uint32_t state;			/* enum identity_state, when this file was made */
	uint32_t leaves;		/* of different kinds of key, best first */
	int64_t renew_unix_s;		/* INT64_MAX: when its files change */
	uint32_t renewals, failures;	/* since keyd was started; failures since the last that was none */
	struct certs_leaf leaf[2];
	char problem[CERTS_WORDS];	/* of the last failure; "": none */
};

/* Whom a trust domain's certificates come from. */
struct certs_bundle {
	char trust_domain[256];
	struct certs_span pem;
};

enum certs_issuer_kind { CERTS_ISSUER_NONE, CERTS_ISSUER_NODE_CA, CERTS_ISSUER_FILES, CERTS_ISSUERS };
const char *certs_issuer_name(uint32_t);

struct certs_issuer {
	uint32_t kind;			/* enum certs_issuer_kind */
	uint32_t zero;
	int64_t from_unix_s, to_unix_s;	/* its own certificate is valid; 0: there is none */
	char trust_domain[256];		/* of what it issues */
	char problem[CERTS_WORDS];	/* why what came last is not used; "": it is */
};

enum sign_refusal {
	SIGN_FINE,
#define REFUSAL(name, label, words) SIGN_##name,
#include "nodeproxy/lib/net/refusals.def"
	SIGN_REFUSALS
};
const char *sign_refusal_words(enum sign_refusal);
const char *sign_refusal_label(enum sign_refusal);

struct certs {
	uint32_t magic, bytes;		/* of the whole file */
	uint32_t n, identities, bundles, zero;
	struct certs_span crl;		/* revocation lists for all bundles, PEM; empty: none */
	struct certs_issuer issuer;
	uint64_t refused[SIGN_REFUSALS];	/* signatures, since keyd was started */
	struct certs_entry at[];	/* n, then the identities, then the bundles */
};

static inline const struct certs_identity *certs_identities(const struct certs *c)
{
	return (const struct certs_identity *)(const void *)&c->at[c->n];
}

static inline const struct certs_bundle *certs_bundles(const struct certs *c)
{
	return (const struct certs_bundle *)(const void *)&certs_identities(c)[c->identities];
}

static inline size_t certs_head(uint32_t n, uint32_t identities, uint32_t bundles)
{
	return sizeof(struct certs) + n * sizeof(struct certs_entry) +
	       identities * sizeof(struct certs_identity) + bundles * sizeof(struct certs_bundle);
}

/* 0 or -EBADMSG. */
must_use int certs_check(struct slice file);
/* Of a checked one; NULL: none of this listener. */
const struct certs_entry *certs_of(const struct certs *, const char *listener);
/* The first end of its certificates; 0: it has none. */
int64_t certs_identity_ends(const struct certs_identity *);
/* Its state now: it may have ended since this was made. */
enum identity_state certs_identity_state(const struct certs_identity *, int64_t now_s);
/* The same of its i-th one: 0 is that for callers who ask for a name that none has. */
const struct certs_entry *certs_nth(const struct certs *, const char *listener, unsigned i);
/* What the i-th is called here; returns out. */
const char *certs_name(const char *listener, unsigned i, char out[CERTS_LISTENER]);
const struct certs_identity *certs_identity_of(const struct certs *, const char *ns, const char *account);
static inline struct slice certs_bytes(const struct certs *c, struct certs_span s)
{
	return slice_of((const uint8_t *)c + s.at, s.n);
}
const char *cert_key_name(uint32_t kind);

#endif
