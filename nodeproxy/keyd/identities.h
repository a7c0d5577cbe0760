/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The identities of this host: of each service account that has a pod or a listener here its certificates
 * and keys, issued, renewed, kept on disk.
 *
 *   state     what is there                              ends with
 *   WAITING   no certificate: none was kept, and none    an issuer that can
 *             could be issued so far
 *   VALID     pairs, and those before them               half of their life (up to a tenth earlier or later):
 *             for handshakes under way                   new ones, or
 *   OVERDUE   the same, after a failed renewal           a renewal; it is tried again and again
 *   EXPIRED   the same, of no use                        it, too
 *
 * Who is not here any more is forgotten at once, with its keys; its file stays for an hour, because pods
 * come back. */
#ifndef NODEPROXY_KEYD_IDENTITIES_H
#define NODEPROXY_KEYD_IDENTITIES_H

#include "nodeproxy/keyd/seal.h"
#include "nodeproxy/keyd/terms.h"

struct identity {
	struct msg_identity of;
	struct pair pair[ISSUER_PAIRS], before[ISSUER_PAIRS];
	unsigned n, n_before;
	int64_t renew_unix_s;		/* from then on */
	int64_t again_unix_s;		/* after a failure: not before */
	uint32_t renewals, failures;
	uint32_t told;			/* enum identity_state */
	char problem[PAIR_WORDS];
};

struct identities {
	struct identity *at;		/* IDENTITIES_MAX of them */
	unsigned n;
	struct terms terms;
	struct seal seal;
	int64_t sweep_unix_s;
	bool changed;			/* since the caller has set it to false */
};

/* Takes the directory.  0 or -ENOMEM. */
must_use int identities_init(struct identities *, struct fd *dir);
void identities_fini(struct identities *);
/* Other terms: takes them. */
void identities_terms(struct identities *, struct terms *, int64_t now_s);
/* Who is here: struct msg_identities; -EBADMSG: it is none. */
must_use int identities_here(struct identities *, struct slice list, int64_t now_s);
/* Issues and renews what is due, at most this many: whether there is more. */
bool identities_step(struct identities *, int64_t now_s, unsigned most);
/* The pair of this key, and of whom; NULL: nobody here has it. */
const struct pair *identities_find(const struct identities *, uint64_t key, const struct msg_identity **ret);

/* What identities_put() writes, in struct certs of this many identities and bundles. */
size_t identities_bytes(const struct identities *);
void identities_put(struct identities *, struct certs *, size_t *at, int64_t now_s);

#endif
