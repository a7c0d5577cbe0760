/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The keys of this host's listeners, read from files that the master opened, and their certificates.
 *
 *   phase     how
 *   staged    keystore_add() per listener: read, parsed, key and certificate belong together
 *   in use    keystore_use(): all that is staged.  A listener whose files are wrong goes on with what
 *             it had, if it had something
 *   before    one round longer, for handshakes that were under way
 *   gone      the next round; what was a key is wiped */
#ifndef NODEPROXY_KEYD_KEYSTORE_H
#define NODEPROXY_KEYD_KEYSTORE_H

#include "nodeproxy/keyd/pair.h"
#include "nodeproxy/lib/base/fd.h"

struct key {
	struct certs_entry entry;	/* its names */
	struct pair pair;
	bool tls12;
	uint8_t *client_ca;
	size_t client_ca_bytes;
};

struct keyset {
	struct key at[CERTS_MAX];
	unsigned n;
};

struct keystore {
	struct keyset now, before, staged;
};

/* Stages the files of a listener; client_ca FD_NONE: none.  0, or -EINVAL, -ENOSPC, -errno of reading with
 * words ("tls_key: is not the key of the certificate").  An expired certificate is wrong when it is new
 * (strict), and else better than none. */
must_use int keystore_add(struct keystore *, const char *listener, bool tls12, struct fd certificate,
			  struct fd key, struct fd client_ca, bool strict, char words[PAIR_WORDS]);
void keystore_drop(struct keystore *);
/* failed: names of listeners whose staging failed, NULL-terminated. */
void keystore_use(struct keystore *, const char *const failed[]);
const struct key *keystore_find(const struct keystore *, uint64_t id);
/* What keystore_put() writes of what is in use: rows of c, which has room for them, and bytes from *at
 * on, which it moves. */
size_t keystore_bytes(const struct keystore *);
void keystore_put(const struct keystore *, struct certs *c, size_t *at);
void keystore_fini(struct keystore *);

#endif
