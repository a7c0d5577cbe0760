/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a request is called in the logs of everybody it passes: X-Request-Id, and traceparent of W3C
 * Trace Context (levels 1 and 2).  Pure functions; one draw of random bytes names both. */
#ifndef NODEPROXY_WORKERS_CODEC_IDS_H
#define NODEPROXY_WORKERS_CODEC_IDS_H

#include <stdbool.h>

#include "nodeproxy/lib/base/slice.h"

#define REQUEST_ID_MAX	 128	/* of a caller's */
#define REQUEST_ID_TEXT	 36	/* of ours: a UUID */
#define TRACEPARENT_TEXT 55

struct ids {
	uint8_t trace[16];	/* the bytes of a UUID, version 4 */
	uint8_t span[8];	/* never all zero */
};

void ids_draw(struct ids *);
/* The UUID, and "00-<trace>-<span>-00", without a NUL; both return where they ended. */
char *ids_put_request_id(const struct ids *, char *to);
char *ids_put_traceparent(const struct ids *, char *to);

/* 1 to 128 bytes of visible ASCII. */
bool request_id_is_valid(struct slice);
/* Version 00 as it is written there, or a later one that begins like it. */
bool traceparent_is_valid(struct slice);

#endif
