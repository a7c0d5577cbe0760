/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a caller's first TLS message says in clear, looked at without being consumed: a pure function of
 * bytes.  It may come in several segments and several records, and with key shares of after-quantum
 * sizes it is larger than one segment. */
#ifndef NODEPROXY_LIB_NET_TLS_HELLO_H
#define NODEPROXY_LIB_NET_TLS_HELLO_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define TLS_HELLO_MAX 16384u	/* of the message */

struct tls_hello {
	struct slice server_name;	/* empty: none; a host name, as it was sent */
	struct slice alpn;		/* as in the message: lengths and names; empty: none */
};

/* 1: *ret is set, its slices lie in room; 0: there is more to come; -EPROTO: these bytes are no such
 * message; -EMSGSIZE: one that is too large. */
must_use int tls_hello(struct slice bytes, uint8_t room[TLS_HELLO_MAX], struct tls_hello *ret);

#endif
