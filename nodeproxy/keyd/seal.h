/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What keyd keeps on disk: small files in the one directory that it was born with, of its own and nobody
 * else's to read.  With a passphrase they are encrypted as well (AES-256-GCM, under a key that PBKDF2 makes
 * of it), each bound to its name; without one their modes are all that protects them.
 *
 * A file is there whole or not at all.  What cannot be read, for whatever reason, is as if it were not
 * there: whoever kept it can have it made again. */
#ifndef NODEPROXY_KEYD_SEAL_H
#define NODEPROXY_KEYD_SEAL_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define SEAL_NAME  192u	/* of a file, with NUL */
#define SEAL_BYTES (1u << 20)

enum seal_state {
	SEAL_SHUT,	/* nothing is kept: there is no directory, or what it is sealed with is not known */
	SEAL_CLEAR,	/* there is no passphrase */
	SEAL_SEALED,
};

struct seal {
	enum seal_state state;
	struct fd dir;
	uint8_t key[32];
};

/* Takes the directory; it is shut until the passphrase is said. */
void seal_init(struct seal *, struct fd *dir);
/* Another passphrase; empty: none.  It takes a fraction of a second.  0 or -errno, and it is shut. */
must_use int seal_passphrase(struct seal *, struct slice);
void seal_shut(struct seal *);
/* 0, -EBADF (it is shut) or -errno. */
must_use int seal_put(const struct seal *, const char *name, struct slice);
/* 0 with all of it, that OPENSSL_free() wipes and frees; -ENOENT; -EBADMSG: under another passphrase, or
 * not as it was written; -errno. */
must_use int seal_get(const struct seal *, const char *name, uint8_t **ret, size_t *ret_n);
/* Removes the files that end so and are not wanted. */
void seal_sweep(const struct seal *, const char *end, bool (*wanted)(void *arg, const char *name), void *arg);
void seal_fini(struct seal *);

#endif
