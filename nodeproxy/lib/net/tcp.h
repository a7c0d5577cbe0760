/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* TCP streams: accepting, connecting, and their place in the worker's poll set.
 *
 * Every socket call of the data path is behind stream.h or the table below, so that a simulation
 * can be the network (tcp_world). */
#ifndef NODEPROXY_LIB_NET_TCP_H
#define NODEPROXY_LIB_NET_TCP_H

#include "nodeproxy/lib/base/poll.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/stream.h"

struct tcp_world {
	/* The next waiting connection: 0, -EAGAIN, -EMFILE, or what befell it (-ECONNABORTED ..). */
	int (*accept)(int listener, struct stream *ret, struct addr *peer);
	/* 0: connected; -EINPROGRESS: READY_OUT or READY_ERR will tell; else -errno and no stream. */
	int (*connect)(const struct addr *, struct stream *ret);
	/* The same by a socket of that family that was opened elsewhere; taken.  from: with this address
	 * as its own, for which it was prepared; NULL: with whatever the kernel chooses. */
	int (*connect_by)(struct fd *, const struct addr *from, const struct addr *, struct stream *ret);
	/* Ends it at once, for both sides: what is done with it from now on fails. */
	void (*cut)(const struct stream *);
	/* The address the caller had dialled, before any redirection on this host. */
	int (*dialled)(const struct stream *, struct addr *ret);
	/* Edge-triggered, for as long as the stream is open. */
	int (*watch)(struct poll *, const struct stream *, uint64_t token);
};

extern const struct tcp_world tcp_kernel;
extern const struct tcp_world *tcp_world;	/* what the data path uses: &tcp_kernel */

/* Sockets accepted from this listener have Nagle's algorithm off: once per listener instead of
 * once per connection.  0 or -errno. */
must_use int tcp_listener_setup(int listener);
/* A descriptor that another process sent: 0 when it is what accept() gives, a socket of TCP that neither
 * listens nor blocks (that it does not linger, either, roles.def sees to); else -EPROTO. */
must_use int tcp_may_adopt(struct fd, struct addr *peer);
/* Takes it. */
struct stream tcp_adopt(struct fd *);
/* From now on nobody new gets an answer from this listener (the kernel drops SYNs, so a caller tries
 * again and meets our successor, or a refusal when we are gone), while those whose handshake is
 * under way still arrive.  For everybody who shares the socket, so the master does it.  0 or
 * -errno. */
must_use int tcp_listener_hush(int listener);

#endif
