/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The handshake that websockets have in HTTP/1 only (RFC 6455 section 4).  In HTTP/2 (RFC 8441) there
 * is none, so who stands between the two speaks our half of it: a key towards an HTTP/1 server, and
 * the answer to the key of an HTTP/1 client.  It proves that the other side speaks websocket; it is no
 * secret, and SHA-1 is as good as anything. */
#ifndef NODEPROXY_WORKERS_CODEC_WEBSOCKET_H
#define NODEPROXY_WORKERS_CODEC_WEBSOCKET_H

#include "nodeproxy/lib/base/slice.h"

#define WEBSOCKET_KEY_BYTES 24u		/* 16 bytes in base64 */
#define WEBSOCKET_ACCEPT_BYTES 28u	/* 20 bytes in base64 */

/* A new key. */
void websocket_key(uint8_t out[WEBSOCKET_KEY_BYTES]);
/* What a server must answer to it. */
void websocket_accept(struct slice key, uint8_t out[WEBSOCKET_ACCEPT_BYTES]);

#endif
