/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A worker's line to the key process, and the certificates that it was told of.
 *
 * What is to be signed goes out as it comes up, and the answer wakes the conn that waits.  While there is
 * no line (the key process is dead, or not there yet) requests wait in their connections; the next line
 * asks for all of them again. */
#ifndef WORKERS_KEYS_H
#define WORKERS_KEYS_H

#include "nodeproxy/lib/ipc/chan.h"
#include "workers/path/path.h"

struct keys {
	struct path *path;
	struct loop *loop;
	struct chan chan;	/* while has_line */
	bool has_line;
	bool lost;		/* the line has ended; cleared by whoever asks for another */
	struct slice certs;	/* mapped */
	uint64_t serial;
};

void keys_init(struct keys *, struct path *, struct loop *);
void keys_fini(struct keys *);
/* Takes the descriptor. */
void keys_line(struct keys *, struct fd *);
/* Maps and checks them: 0 or -errno, and those before stay. */
must_use int keys_certs(struct keys *, uint64_t serial, struct fd);
/* This worker ends, and not by accident. */
void keys_leave(struct keys *);

#endif
