/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Streams to endpoints in TLS, where a BackendTLSPolicy wants it.
 *
 * What a policy says becomes a side (lib/net/tls.h), made when the first request needs it and found
 * again by the id that the view gives to what it says: a policy that says something else has another
 * one.  The number of a side is part of the key of a connection (pool.h), so that what was trusted by
 * one policy never carries what goes by another; 0 is plain TCP.  A side that is not used makes room
 * for another; connections go on with theirs.
 *
 * A policy that nobody can be trusted by has no side: its exchanges end with NO_BACK_TLS.
 *
 *   phase        calls
 *   TCP is there wrap_begin(): the stream is the one over TLS now
 *   handshake    wrap_shake() whenever what it waited for is there, until 1 */
#ifndef WORKERS_PATH_WRAP_H
#define WORKERS_PATH_WRAP_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/net/tls.h"
#include "store/view/view.h"

struct path;
struct back_key;
struct tenant;

#define WRAPS	 128u
#define WRAP_WAY 4u	/* places of one id */

struct wraps {
	struct wrap {
		uint64_t id[2];		/* of the view */
		uint32_t number;	/* 0: nothing is here */
		struct mono used;
		bool trusts_host;
		struct tls_side *side;	/* NULL: nobody can be trusted */
	} at[WRAPS];
	uint32_t made;
	struct fd roots;		/* what the host trusts, until somebody needs it; none: it is not known */
	struct tls_trust *host;		/* the same, read; NULL: not yet, or it cannot be */
};

enum wrap_speaks { WRAP_OPAQUE, WRAP_HTTP1, WRAP_HTTP2 };

void wraps_init(struct wraps *);
void wraps_fini(struct wraps *);
/* The issuers that the host trusts, or trusts now; takes the descriptor. */
void wraps_roots(struct path *, struct fd *);
/* The number of what the policy of this port says; 0: it has none that can be used. */
must_use uint32_t wrap_find(struct path *, const struct vport *);
/* Puts TLS over the stream, by the number in the key.  0, -ENOMEM or -ESTALE (its place was needed). */
must_use int wrap_begin(struct path *, const struct back_key *, struct tenant *, enum wrap_speaks,
			struct stream *);
/* It was put there. */
bool wrap_is_on(const struct stream *);
/* 1: done; 0: it waits, for the READY_ bits in *want, *ready being without what there is no more; else as
 * wrap_errno(). */
must_use int wrap_shake(struct stream *, uint8_t *ready, uint8_t *want);
/* Why the handshake failed: -EKEYREJECTED (who is there is not trusted), -EKEYREVOKED, -EKEYEXPIRED (or not
 * valid yet), -ENOKEY (not of the name that is wanted), -ENOMEM, -EBADE (anything else). */
int wrap_errno(const struct stream *);

#endif
