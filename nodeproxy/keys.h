/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the master does for the key process: opens the files of listeners that terminate TLS, unread;
 * makes a line between it and each worker; passes on the certificates it has made of them.  It runs while
 * some listener wants it, or there are identities (identity.h).  Once a second the files are looked at from outside: others are read anew. */
#ifndef NODEPROXY_KEYS_H
#define NODEPROXY_KEYS_H

#include <sys/types.h>

#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/lib/knobs/knobs.h"

struct master;
struct child;

#define KEY_FILES 3	/* certificate, key, clients' CA (of the first certificate) */

struct keys {
	struct fd certs;	/* the newest; none yet */
	uint64_t serial;
	struct {
		dev_t dev;
		ino_t ino;
		off_t size;
		struct timespec at;
	} seen[KNOBS_LISTENERS][KNOBS_PATHS * KEY_FILES];
};

bool keys_are_wanted(const struct knobs *);
/* Takes over what a former master had. */
void keys_open(struct master *);
/* Whether the files can be opened: 0, or -errno with the listener and words ("tls_key: …"). */
must_use int keys_try(const struct knobs *, unsigned *ret_listener, char words[320]);
/* To keyd: the files of all listeners of these settings. */
void keys_send(struct master *, struct child *, const struct knobs *, bool try);
/* Lines of this child: of a worker the one to keyd, of keyd those to all workers. */
void keys_connect(struct master *, struct child *);
void keys_made(struct master *, struct child *, const struct msg_rev *, struct fd *);
void keys_send_certs(struct master *, struct child *);
/* It runs when it should, and not else. */
void keys_settle(struct master *);
void keys_tick(struct master *);

#endif
