/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How identities are issued and who is trusted: identity.* of nodeproxy.yaml, and what its files hold.
 *
 *   phase    how
 *   staged   terms_add() per file that the master opened, as it comes
 *   made     terms_make(): all of them at once.  What is wrong is said and left out
 *   in use   terms_inherit(): what was left out is as it was before.  So a file that is being written,
 *            or is away, changes nothing */
#ifndef NODEPROXY_KEYD_TERMS_H
#define NODEPROXY_KEYD_TERMS_H

#include "nodeproxy/keyd/issuer.h"
#include "nodeproxy/lib/ipc/messages.h"

#define TERMS_FILES (IDENTITIES_MAX + CERTS_BUNDLES + 3u)	/* and CA, passphrase, lists */

struct terms_file {
	struct msg_identity_file m;
	uint8_t *p[2];
	size_t n[2];
	char words[PAIR_WORDS];		/* it could not be read */
};

struct terms_staged {
	struct terms_file *at;		/* TERMS_FILES of them */
	unsigned n;
};

struct terms_bundle {
	char trust_domain[256];
	uint8_t *pem;
	size_t n;
};

struct terms {
	enum certs_issuer_kind kind;
	char trust_domain[256];
	int64_t life_s;
	struct issuer *issuer;		/* NULL: none that can be used */
	struct terms_bundle bundle[CERTS_BUNDLES];
	unsigned bundles;
	uint8_t *crl, *passphrase;
	size_t crl_n, passphrase_n;
	char problem[PAIR_WORDS];	/* the first thing that is wrong; "": nothing */
	bool passphrase_bad, bundles_bad, crl_bad;
};

/* 0 or -ENOMEM. */
must_use int terms_init(struct terms_staged *);
/* Reads them. */
void terms_add(struct terms_staged *, const struct msg_identity_file *, struct fd fd[2]);
void terms_drop(struct terms_staged *);
/* Of all that is staged, which is dropped.  strict: an expired certificate is wrong, too. */
void terms_make(struct terms_staged *, const struct msg_identity_terms *, bool strict, struct terms *ret);
/* What is missing in these for something that is wrong is taken from those before. */
void terms_inherit(struct terms *, struct terms *before);
void terms_free(struct terms *);
void terms_fini(struct terms_staged *);

#endif
