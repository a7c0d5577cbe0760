/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Captured pods on the data path: two gates each, for what leaves the pod and for what comes to it,
 * which fix whose connections these are by the socket they came in on.
 *
 *   phase   who       how
 *   here    worker.c  path_pod_here(): gates, bank; the caller adds the listening sockets to the gates
 *   drop    worker.c  only the sockets go: what runs goes on, with the bank
 *   gone    worker.c  path_pod_gone(): what runs is cut */
#ifndef WORKERS_PATH_PODS_H
#define WORKERS_PATH_PODS_H

#include "workers/path/path.h"

/* Ports of ours inside pods: whoever dials them gets nowhere, least of all to us again. */
enum { POD_PORT_OUT = 15001, POD_PORT_IN = 15006, POD_PORT_TUNNEL = 15008, POD_PORT_NAMES = 15053 };

/* 0, or -ENOMEM.  Again: the same gates. */
must_use int path_pod_here(struct path *, uint32_t ref, const char *ns, const char *name,
			   bool has_ipv6, struct gate *ret[GATE_DIRECTIONS]);
void path_pod_gone(struct path *, uint32_t ref);
/* Another one that had this one's slot, and whose end was not heard, has left, too. */
void path_pod_bury(struct path *, uint32_t ref);
/* Connections inside it that wait for a next request, and those that requests share once these have ended. */
void path_pod_close_idle(struct path *, uint32_t ref);
/* Sockets inside it have come. */
void path_pod_bank(struct path *, uint32_t ref, unsigned sort, struct fd *fd, unsigned n);
/* The namespace denies destinations that nobody knows, and this, no address and port of a Service, is one. */
bool pod_denies(struct gate *, const struct addr *dialled);
/* Who dialled, in the pod, the address that proves that it is captured (lib/net/proof.h). */
bool pod_is_proof(const struct gate *, const struct addr *dialled);
/* Then it is told.  False: it comes too often to be what dials it for that. */
bool pod_proves(struct gate *, const struct addr *dialled);
/* The gate, made if there is none yet; NULL: no memory.  Nobody else has its slot. */
struct gate *path_pod_gate(struct path *, uint32_t ref, enum gate_direction, const char *ns, const char *name);
static inline bool pod_port_is_ours(uint16_t port)
{
	return port == POD_PORT_OUT || port == POD_PORT_IN || port == POD_PORT_TUNNEL || port == POD_PORT_NAMES;
}
/* Who dialled one of our own ports. */
bool pod_is_own_port(const struct gate *, const struct addr *dialled);

#endif
