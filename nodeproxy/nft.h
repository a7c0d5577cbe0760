/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The rules that capture a pod: one nftables table, "inet nodeproxy", put there in one transaction by
 * netlink, in the network namespace of whoever calls.
 *
 *   outbound   TCP that leaves the pod, but for what carries our mark (sockets that we opened there)
 *              and for what never leaves it (by lo), is redirected to POD_OUT on loopback
 *   names      UDP to port 53, and TCP, that leaves the pod, but for what carries our mark and for what
 *              never leaves it, is redirected to POD_NAMES on loopback
 *   inbound    TCP that comes to an address of the pod by any other interface is redirected to POD_IN
 *
 * Only a first segment (SYN) is redirected: connections that exist are untouched, although conntrack
 * takes them for new ones.  IPv6 addresses of one link (fe80::) cannot be dialled by what the
 * redirection leaves of them: they pass.
 *
 * What we ask resolvers from inside has a zone of connection tracking of its own: after a port of the
 * pod was used for a name, its translation is remembered for half a minute, and a question of ours
 * from the same port to the same resolver would come back to us.
 *
 * What passes untouched is counted, by flow (the first packet of what conntrack takes for one), as no
 * packet of a flow but its first meets these chains: what goes to addresses of one link, and what is
 * neither TCP nor a question.  Counters are objects of the table with names of their own, so that they
 * are read apart from whatever rules there are.
 *
 * Where applications see the address of their caller (origin.h), connections of ours to them have a source
 * that is not the pod's, and what the application answers must come back to us (route.h):
 *
 *   ours       what our sockets send by lo is tracked in a zone of its own, in that direction: the same
 *              caller may have the same port in a connection that was redirected
 *   callers    such connections are marked, when they begin: ORIGIN_MARK
 *   answers    and so is each answer
 *
 * The table belongs to the netlink socket that made it: nobody else changes it, and when the last copy
 * of that socket is closed the kernel removes it.  So whatever becomes of us, a pod is never left with
 * rules that lead to nobody.  Unless that is wanted: a table that stays belongs to nobody, and says by an
 * empty chain that it is ours.  Without us what it captures is refused, as nobody listens; whoever
 * captures the pod again puts a new table in its place, in the same transaction.
 *
 * Processes of a uid, in our own namespace, have a table with the uid in its name, of which only outbound
 * is there, for what they send, and without names.  Anybody on the host could listen on the port that it
 * leads to when we are away, so it never stays: what stays is a second one, -away, that refuses whatever
 * the first has not redirected.
 *
 * With the last rule that needs connection tracking go the translations of connections that were
 * redirected, and what their ends say to each other, an end among it, does not arrive any more.  So
 * a pod is set free in two steps: rules that match nothing, in a table that does not stay, take the
 * place of those that capture, and when the connections have ended the table goes. */
#ifndef NODEPROXY_NFT_H
#define NODEPROXY_NFT_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/messages.h"

#define POD_OUT	 15001
#define POD_IN	 15006
#define POD_NAMES 15053
#define POD_MARK 0x539		/* of 0xfff: as in Istio, whose rules let it pass as well */

/* How they are, for one pod. */
struct rules {
	uint32_t uid;		/* of this user's processes, in our own namespace, to that port on loopback; */
	uint16_t port;		/* 0: of all of the pod whose namespace it is */
	bool stays;		/* in a table that does */
	bool origin;		/* with callers and answers */
};

/* 0 and the socket; -EEXIST, -EPERM: there is such a table already; else -errno. */
must_use int nft_capture(struct rules, struct fd *ret);
/* In any namespace, by the socket, both in one transaction; 0 or -errno.  The same rules in another way; from
 * now on nothing is redirected that was not before (of rules that are so). */
must_use int nft_change(struct fd, struct rules);
must_use int nft_free(struct fd, struct rules);
/* Flows that passed, of that uid or (0) the pod, in the namespace of whoever calls.  0 or -errno. */
must_use int nft_count(uint32_t uid, uint64_t ret[PASSED]);

#endif
