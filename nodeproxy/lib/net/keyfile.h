/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Files of private keys, in PEM: PKCS#8, plain or under a passphrase (PBES2), and what older tools write.
 * Only who may hold a private key links this. */
#ifndef NODEPROXY_LIB_NET_KEYFILE_H
#define NODEPROXY_LIB_NET_KEYFILE_H

#include <openssl/evp.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define KEYFILE_PASSPHRASE 1024u	/* longest */

/* The first private key of these bytes; passphrase empty: there is none.  0, or -EINVAL or -ENOMEM with
 * words that follow the name of the file or field. */
must_use int keyfile_read(struct slice pem, struct slice passphrase, EVP_PKEY **ret, const char **why);
/* In PEM, under the passphrase unless it is empty; OPENSSL_free() wipes and frees it.  0 or -ENOMEM. */
must_use int keyfile_print(EVP_PKEY *, struct slice passphrase, char **ret, size_t *ret_n);
/* A passphrase as it stands in a file: without the end of its line.  Empty: none that can be used. */
struct slice keyfile_passphrase(struct slice file);

#endif
