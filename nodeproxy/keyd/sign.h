/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a worker may have signed.
 *
 * In TLS 1.3 either side signs 64 blanks, words that say what for, and a hash: nothing else in the world
 * has that shape, so a worker that is not ours any more can use a key to finish handshakes and for
 * nothing else.  TLS 1.2 signs two random numbers and the share of the key exchange, whose shape is
 * checked, too, and which a key signs only when its listener speaks 1.2: for other keys such bytes are
 * refused.  As a client only identities sign. */
#ifndef NODEPROXY_KEYD_SIGN_H
#define NODEPROXY_KEYD_SIGN_H

#include "nodeproxy/lib/net/certs.h"
#include "nodeproxy/lib/net/signature.h"

#define SIGN_MAX SIGNATURE_MAX

/* Whose key it is. */
enum sign_whose { SIGN_OF_LISTENER, SIGN_OF_LISTENER_TLS12, SIGN_OF_IDENTITY };

/* Whether key may sign these bytes by this algorithm (of TLS: RFC 8446, 4.2.3). */
must_use enum sign_refusal sign_check(const EVP_PKEY *key, enum sign_whose, unsigned algorithm,
				      struct slice bytes);
/* After that. */
must_use enum sign_refusal sign(EVP_PKEY *key, unsigned algorithm, struct slice bytes,
				uint8_t out[SIGN_MAX], size_t *ret_n);

#endif
