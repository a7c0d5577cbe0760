/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The settings of a source: what one alone may be, and which belong together.  For knobs.c. */
#ifndef NODEPROXY_LIB_KNOBS_SOURCE_H
#define NODEPROXY_LIB_KNOBS_SOURCE_H

#include "nodeproxy/lib/knobs/knobs.h"

/* Members of an etcd: words between commas.  0, or -EINVAL. */
must_use int source_endpoints(struct slice text, struct addr ret[KNOBS_ENDPOINTS], uint32_t *ret_n);
/* What is wrong with the text of a key source.*; NULL: nothing. */
const char *source_text_wrong(const char *key, const char *v);
/* What is missing, or has no meaning, beside the others: the key and words; NULL: nothing. */
const char *source_wrong(const struct knobs *, const char **ret_key);

#endif
