/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Names of the mesh, answered from the view.
 *
 *   name                               answer
 *   SVC                                Service of the pod's own namespace
 *   SVC.NS, SVC.NS.svc[.DOMAIN]        Service of that one
 *   HOST.SVC.NS.svc[.DOMAIN]           its ready endpoint of that hostname, or whose address is written
 *                                      with dashes (10-0-0-1)
 *   _PORT._tcp.SVC.NS.svc[.DOMAIN]     SRV: its port of that name
 *   D.C.B.A.in-addr.arpa, .ip6.arpa    PTR: whose address it is
 *
 * A Service with addresses is those, by family; a headless one is all its ready endpoints, from a random
 * one on, as many as fit.  What does not exist below DOMAIN, or below svc, does not exist at all: such
 * names never leave the host.  Names of one and two labels (and addresses) that are none of ours are
 * somebody else's to answer. */
#ifndef WORKERS_NAMES_LOCAL_H
#define WORKERS_NAMES_LOCAL_H

#include "store/view/view.h"
#include "workers/names/dns.h"

#define LOCAL_RECORDS 256	/* of an answer, whatever would fit */
#define LOCAL_LOOKS   4096	/* endpoints looked at for one of a certain name */

struct local {
	const struct view *view;
	struct slice ns;		/* of who asks */
	uint32_t ttl;			/* s */
	struct vservice *endpoints_of;	/* set to the Service whose endpoints are the answer; NULL: not asked */
};

/* The answer at p, of at least DNS_QUERY + DNS_OPT bytes: its length, and its rcode; 0: the name is
 * not ours. */
size_t local_answer(const struct local *, const struct dns_query *, uint8_t *p, size_t room,
		    enum dns_rcode *ret);

#endif
