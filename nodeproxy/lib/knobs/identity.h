/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The settings of identities, and of the TLS of listeners: which belong together.  For the files beside
 * it. */
#ifndef NODEPROXY_LIB_KNOBS_IDENTITY_H
#define NODEPROXY_LIB_KNOBS_IDENTITY_H

#include "nodeproxy/lib/knobs/knobs.h"

/* What is missing, or has no meaning, in the TLS of a listener: the key and words (until the next
 * call); NULL: nothing. */
const char *identity_tls_wrong(const struct knobs_listener *, const char **ret_key);
/* The same of identities. */
const char *identity_wrong(const struct knobs *, const char **ret_key);
/* A listener that needs identities, where there are none: which key of it; NULL: there is none such. */
const char *identity_unmet(const struct knobs *, const struct knobs_listener *);

#endif
