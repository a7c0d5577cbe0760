/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Where certificates of identities come from: the one seam between what is issued and who issues.
 *
 *   sign   gets a request (CSR, PKCS#10) by a key that was made for it here, and gives the chain: the
 *          private key stays.  Whoever issues elsewhere gets the same request
 *   take   gives a pair as another tool has made it
 *
 * An issuer has exactly one of the two.  It is made of files that the master opened (terms.h), and is
 * replaced as a whole. */
#ifndef NODEPROXY_KEYD_ISSUER_H
#define NODEPROXY_KEYD_ISSUER_H

#include "nodeproxy/keyd/pair.h"
#include "nodeproxy/lib/ipc/messages.h"

/* Whose certificate, and from when on for how long at most. */
struct issue {
	const char *ns, *account;
	const char *uri;
	int64_t now_s, life_s;
};

struct issuer;

struct issuer_kind {
	enum certs_issuer_kind is;
	/* 0 with the chain in ret, or -errno with words. */
	int (*sign)(struct issuer *, const struct issue *, struct slice request, struct pair *ret,
		    char words[PAIR_WORDS]);
	/* 0 with one pair, that the caller frees, or -errno with words. */
	int (*take)(struct issuer *, const struct issue *, struct pair *ret, char words[PAIR_WORDS]);
	/* Whether this pair is what it would issue now, or as good. */
	bool (*is_of)(const struct issuer *, const struct issue *, const struct pair *);
	void (*free)(struct issuer *);
};

struct issuer {
	const struct issuer_kind *kind;
	int64_t from_unix_s, to_unix_s;	/* its own certificate; 0: it has none */
};

/* From a host's authority (ca issue-node), for this host of this trust domain.  0, or -errno with words. */
must_use int node_ca_new(struct slice certificate, struct slice key, struct slice passphrase,
			 const char *trust_domain, const char *node, bool strict, struct issuer **ret,
			 char words[PAIR_WORDS]);
/* Of pairs that another tool keeps in files; -ENOMEM. */
must_use int file_pairs_new(const char *trust_domain, struct issuer **ret);
/* One more; or why it could not be read. */
void file_pairs_add(struct issuer *, const struct msg_identity *, const char *why, struct slice certificate,
		    struct slice key, struct slice passphrase);
static inline void issuer_free(struct issuer **i)
{
	if (*i)
		(*i)->kind->free(*i);
	*i = NULL;
}

/* What came is looked at as if strangers had sent it: for this identity, and valid. */
must_use int issuer_check(const struct issue *, const struct pair *, char words[PAIR_WORDS]);
/* The pairs of an identity, best first: 0 with how many, or -errno with words. */
#define ISSUER_PAIRS 2u
must_use int issuer_issue(struct issuer *, const struct issue *, struct pair ret[ISSUER_PAIRS],
			  unsigned *ret_n, char words[PAIR_WORDS]);

#endif
