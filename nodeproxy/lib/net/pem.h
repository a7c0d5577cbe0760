/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* PEM (RFC 7468): blocks of base64 between lines that name them; what is between blocks is for people.
 *
 * Strict inside a block: nothing but base64 and line ends, so that a file that was cut or mixed up is
 * refused instead of half understood. */
#ifndef NODEPROXY_LIB_NET_PEM_H
#define NODEPROXY_LIB_NET_PEM_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

struct strbuf;

#define PEM_MAX 65536u	/* of one block, decoded */

/* The next block of *text, which is moved behind it: 1 and its label and bytes (in out); 0: there is
 * no more; -EINVAL: one that is broken, or larger than room. */
must_use int pem_next(struct slice *text, struct slice *ret_label, uint8_t *out, size_t room,
		      size_t *ret_n);

/* Writes a block, lines of 64. */
void pem_print(struct strbuf *, const char *label, struct slice der);

#endif
