/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Conns of listeners that terminate TLS, from their first byte until the handshake is over.  From then on
 * the stream of the conn's leg is the one over TLS, and nobody asks what it is.
 *
 *   HELLO   waits for the caller's first bytes, and for certificates if there are none yet; holds nothing
 *   SHAKE   the handshake; a signature of the key process is waited for without bits
 *
 * A gate has a side (lib/net/tls.h) made of its settings and of the certificates that the worker was
 * told of last; conns go on with theirs. */
#ifndef WORKERS_PATH_SECURE_H
#define WORKERS_PATH_SECURE_H

#include "workers/path/conn.h"

/* At start.  0 or -errno. */
must_use int secure_init(struct path *);
void secure_fini(struct path *);
bool secure_hello(struct conn *);
bool secure_shake(struct conn *);
/* Makes the side of a gate anew, as its listener's settings have it. */
void secure_gate(struct gate *, const struct knobs_listener *);
/* What is told of a conn's TLS; NULL: it has none. */
const struct stream *secure_stream(const struct conn *);

#endif
