/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the text of one setting must be like, and what some texts say.  For the files beside it. */
#ifndef NODEPROXY_LIB_KNOBS_TEXT_H
#define NODEPROXY_LIB_KNOBS_TEXT_H

#include "nodeproxy/lib/knobs/knobs.h"

/* What is wrong with this text for this key, in words; NULL: nothing. */
const char *text_wrong(const char *key, const char *v);
/* The same for a key of a listener. */
const char *text_listener_wrong(const char *key, const char *v);

bool text_is_dns_name(struct slice);
/* "10.96.0.0/12"; the bits behind the prefix are zero and at least two of them exist. */
must_use int text_cidr(struct slice, struct addr *ret, uint32_t *ret_bits);
/* "shop/web:80", into service_ns, service_name and service_port. */
must_use int text_service(struct slice, struct knobs_listener *);
/* "shop/web": a namespace and a service account, into tls_ns and tls_account. */
must_use int text_identity(struct slice, struct knobs_listener *);

#endif
