/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 from a caller: a conn in the state MUX is a session, and each request on it is a conn of its
 * own, whose front is the request's stream.
 *
 *   session   the accepted socket: counted, timed while it is quiet, charged for frames and header
 *             compression; its step moves frames and tells streams what came for them
 *   stream    a conn from the same slab (is_stream): STREAM, BUSY, CLOSED.  It has its own unit on the
 *             same tenant, deadline and exchange, and is no connection: nothing is counted for it but
 *             its request
 *
 * Neither points at the other across steps: the stream's conn has the slot_ref of the session's (outer),
 * the h2_stream that of the stream's (its user).  A session that ends ends its streams first; a stream
 * that ends closes its h2_stream, which goes on until what was written to it is out. */
#ifndef WORKERS_PATH_MUX_H
#define WORKERS_PATH_MUX_H

#include "nodeproxy/lib/net/h2.h"
#include "workers/path/conn.h"

/* ---- the session ---- */

/* Makes the session of a conn, which begins with these bytes.  False: no memory. */
must_use bool mux_begin(struct conn *, struct slice first);
/* A step; true: the conn may go on at once in its new state. */
bool mux_step(struct conn *);
/* Its state has become another: the streams that are left end for its reason. */
void mux_fini(struct conn *);

/* ---- a stream ---- */

static inline struct h2_stream *mux_stream(const struct conn *c)
{
	return h2_stream_of(c->front.s.other);
}
/* After a step of it: the session sends what was written. */
void mux_kick(struct conn *);

/* The limits of sessions by these settings. */
void mux_limits(struct h2_limits *, const struct knobs *);
/* The reason of who offends so. */
enum reason mux_reason(enum h2_offence);

#endif
