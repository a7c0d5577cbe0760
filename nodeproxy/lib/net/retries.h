/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is sent again, and when: the same struct in rows, in a view and on the data path. */
#ifndef NODEPROXY_LIB_NET_RETRIES_H
#define NODEPROXY_LIB_NET_RETRIES_H

#include <stddef.h>

#include "nodeproxy/lib/base/must.h"

enum retry_on {
#define RETRY_ON(name, ...) RETRY_ON_##name,
#include "nodeproxy/lib/net/retries.def"
	RETRY_ONS
};
static_must(RETRY_ONS <= 32);

#define RETRY_CODE_MIN	 400u
#define RETRY_CODE_MAX	 599u
#define RETRY_CODE_WORDS 7u
static_must(32 * RETRY_CODE_WORDS > RETRY_CODE_MAX - RETRY_CODE_MIN);

/* All 0: nothing. */
struct retries {
	uint32_t on;			/* bits of enum retry_on */
	uint32_t codes[RETRY_CODE_WORDS];	/* those of retriable-status-codes */
	uint32_t attempts;		/* after the first */
	/* The n-th waits for least_ms, and a random part of base_ms * 2^(n - 1), of which max_ms is most. */
	uint32_t least_ms, base_ms, max_ms;
};

/* Of a status that can be one of retriable-status-codes. */
static inline bool retry_is_code(unsigned status)
{
	return status >= RETRY_CODE_MIN && status <= RETRY_CODE_MAX;
}
static inline void retries_add_code(struct retries *r, unsigned status)
{
	r->codes[(status - RETRY_CODE_MIN) / 32] |= 1u << (status - RETRY_CODE_MIN) % 32;
}
static inline bool retries_have_code(const struct retries *r, unsigned status)
{
	return retry_is_code(status) &&
	       r->codes[(status - RETRY_CODE_MIN) / 32] >> (status - RETRY_CODE_MIN) % 32 & 1;
}

struct retry_row {
	const char *text;
	unsigned from, to;	/* statuses of HTTP; 0: none */
	unsigned grpc;		/* 1 + grpc-status; 0: none */
};
/* NULL after the last. */
static inline const struct retry_row *retry_row(unsigned i)
{
	static const struct retry_row row[] = {
#define RETRY_ON(name, text, from, to, grpc) { text, from, to, grpc },
#include "nodeproxy/lib/net/retries.def"
	};

	return i < countof(row) ? &row[i] : NULL;
}

/* Whether it wants an answer of this status (grpc: 1 + grpc-status, where that is all there is of it)
 * replaced by another. */
static inline bool retries_want(const struct retries *r, unsigned status, unsigned grpc)
{
	for (unsigned i = 0; r->on >> i; i++) {
		const struct retry_row *row = retry_row(i);

		if (!(r->on >> i & 1))
			continue;
		if (i == RETRY_ON_retriable_status_codes && retries_have_code(r, status))
			return true;
		if ((row->from && status >= row->from && status <= row->to) ||
		    (row->grpc && row->grpc == grpc))
			return true;
	}
	return false;
}

#define RETRY_PERCENT	  20
#define RETRY_INTERVAL_MS 10000
#define RETRY_RATE	  10
#define RETRY_RATE_MS	  1000

#endif
