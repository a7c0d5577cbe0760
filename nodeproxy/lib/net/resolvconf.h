/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whom a host asks for names: the nameserver lines of a resolv.conf(5), read as the C library does it
 * and never by a privileged process. */
#ifndef NODEPROXY_LIB_NET_RESOLVCONF_H
#define NODEPROXY_LIB_NET_RESOLVCONF_H

#include "nodeproxy/lib/net/addr.h"

#define RESOLVCONF_BYTES 16384	/* so much of a file is looked at */
#define RESOLVCONF_MOST	 3	/* as many as the C library asks */

/* The first of them that are addresses, with port 0; how many.  (Those of one link, with a zone behind
 * them, are none: they mean something else elsewhere.) */
unsigned resolvconf_parse(struct slice text, struct addr ret[RESOLVCONF_MOST]);
/* The same of an open file: 0, or -errno. */
must_use int resolvconf_read(int fd, struct addr ret[RESOLVCONF_MOST], unsigned *n);
/* From inside a pod it means what it means here, and somebody else than whoever asks: it is the address
 * of one host, and no loopback. */
bool resolver_is_far(const struct addr *);

#endif
