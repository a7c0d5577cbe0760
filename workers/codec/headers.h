/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Bytes, names and lists as HTTP fields spell them (RFC 9110 sections 5.5, 5.6, 7.2).  Shared by
 * everything that reads HTTP/1; pure functions over slices, no state. */
#ifndef NODEPROXY_WORKERS_CODEC_HEADERS_H
#define NODEPROXY_WORKERS_CODEC_HEADERS_H

#include "nodeproxy/lib/base/must.h"
#include "workers/codec/codec.h"

/* Classes of a byte; one byte may be in several. */
enum byte_class {
	BC_TOKEN = 1,	/* tchar */
	BC_VALUE = 2,	/* of a field value: HTAB, SP, VCHAR, obs-text */
	BC_TARGET = 4,	/* of a request target: VCHAR without '#' (a fragment never travels) */
	BC_HOST = 8,	/* of a registered name: unreserved, sub-delims, '%' */
	BC_HEX = 16,
	BC_DIGIT = 32,
	BC_QUOTED = 64,	/* qdtext: HTAB, SP, VCHAR and obs-text without '"' and '\' */
};
extern const uint8_t byte_classes[256];

static inline bool byte_is(uint8_t c, enum byte_class k)
{
	return byte_classes[c] & k;
}

/* First byte at or after p that no field value may hold (a control byte other than HTAB), or end. */
const uint8_t *value_end(const uint8_t *p, const uint8_t *end);

/* HN_OTHER for names we do not act on; never HNS. */
enum header_name header_name_of(struct slice name);
/* False for framing, routing and hop-by-hop names, and those only the first proxy may write. */
bool header_may_be_trailer(struct slice name);

bool is_token(struct slice);
/* host [":" port], port at most 65535; nothing else: no userinfo, no blanks.  An empty port is
 * legal, an empty host is not. */
bool is_authority(struct slice, bool port_required);

/* Quoted strings that begin in s end in it: what is written behind s stands outside of them. */
bool quotes_are_closed(struct slice);
/* The value of a cookie of this name in the value of a Cookie header (RFC 6265 5.4), as it stands;
 * false: it has none. */
bool cookie_find(struct slice header, struct slice name, struct slice *ret);
/* Next element of a comma list, without blanks around it, empty ones skipped; false at the end. */
bool list_next(struct slice *rest, struct slice *ret);

#endif
