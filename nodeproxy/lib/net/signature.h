/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Signatures of TLS by a private key, for processes that hold one. */
#ifndef NODEPROXY_LIB_NET_SIGNATURE_H
#define NODEPROXY_LIB_NET_SIGNATURE_H

#include <openssl/evp.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define SIGNATURE_MAX 512u	/* RSA of 4,096 bits */

/* Whether this kind of key signs by this algorithm (of TLS: RFC 8446, 4.2.3). */
bool signature_is_of(const EVP_PKEY *, unsigned algorithm);
/* 0 and its length, or -EINVAL. */
must_use int signature_make(EVP_PKEY *, unsigned algorithm, struct slice bytes,
			    uint8_t out[SIGNATURE_MAX], size_t *ret_n);

#endif
