/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See outcome.h. */
#include "workers/obs/outcome.h"

static void one_more(uint64_t *n)
{
	__atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

void outcome_add_slowly(struct outcomes *o, uint32_t key, unsigned at)
{
	struct outcome_id what = { .is_http = key >> 31, .status = key >> 8 & 0x3ff };

	for (unsigned i = 0; i < OUTCOME_PROBES; i++, at = (at + 1) % OUTCOME_SLOTS) {
		struct outcome_slot *s = &o->slot[at];
		uint64_t is = __atomic_load_n(&s->key, __ATOMIC_RELAXED);

		if (is != 0 && is != key)
			continue;
		/* The count first: a reader never finds a key with another's count. */
		one_more(&s->n);
		__atomic_store_n(&s->key, key, __ATOMIC_RELEASE);
		return;
	}
	one_more(&o->other[outcome_class(&what)]);
}

bool outcome_of_key(uint64_t key, struct outcome_id *ret)
{
	struct outcome_id o = {
		.is_http = key >> 31 & 1,
		.grpc = (uint8_t)(key >> 18 & 0x1f),
		.status = (unsigned)(key >> 8 & 0x3ff),
		.reason = (enum reason)(key & 0xff),
	};

	if (key != outcome_key_grpc(outcome_key(o.is_http, o.status, o.reason), o.grpc) ||
	    o.grpc > GRPC_STATUSES || (o.grpc && !o.is_http) || o.reason == REASON_NONE ||
	    (unsigned)o.reason >= REASONS || (o.is_http ? o.status < 100 && o.status != 0 : o.status) ||
	    o.status > 999)
		return false;
	*ret = o;
	return true;
}

enum outcome_class outcome_class(const struct outcome_id *o)
{
	if (!o->is_http)
		return OUTCOME_flow;
	if (o->status < 100)
		return OUTCOME_none;
	return (enum outcome_class)min_of(o->status / 100 - 1, (unsigned)OUTCOME_5xx);
}

const char *outcome_class_name(enum outcome_class c)
{
	static const char *const names[OUTCOME_CLASSES] = { "1xx", "2xx", "3xx", "4xx", "5xx", "none",
							    "flow" };

	return (unsigned)c < OUTCOME_CLASSES ? names[c] : "none";
}
