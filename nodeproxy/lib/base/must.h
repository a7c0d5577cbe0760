/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Assertions by blast radius, and the handful of macros everybody needs.
 *
 *   must(x)        shared things (slabs, views, the loop): cheap, always on, panics.
 *   never(x)       the logic of one conn or exchange; x is the impossible condition.  It is an
 *                  expression: aborts where tests asked for it (never_aborts), else counts,
 *                  returns true, and the caller ends that one conn with REASON_OUR_BUG.
 *   must_slow(x)   whole-structure checks; compiled only with NP_SLOW_CHECKS (tests).
 *   static_must    layouts.
 *
 * What comes from the network, the registry, a pod or another process is never asserted. */
#ifndef NODEPROXY_LIB_BASE_MUST_H
#define NODEPROXY_LIB_BASE_MUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must_use	  __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

#define static_must(x) _Static_assert(x, #x)

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define countof(a)			(sizeof(a) / sizeof((a)[0]))
/* Each argument is evaluated once; the names are unique so that uses can nest. */
#define min_of(a, b) PICK_OF(a, <, b, __COUNTER__)
#define max_of(a, b) PICK_OF(a, >, b, __COUNTER__)
#define PICK_OF(a, op, b, n)  PICK_OF_(a, op, b, n)
#define PICK_OF_(a, op, b, n)                                                                      \
	({                                                                                         \
		__auto_type pick_a##n = (a);                                                       \
		__auto_type pick_b##n = (b);                                                       \
		pick_a##n op pick_b##n ? pick_a##n : pick_b##n;                                    \
	})
#define likely(x)			__builtin_expect(!!(x), 1)
#define unlikely(x)			__builtin_expect(!!(x), 0)

_Noreturn void panic(const char *file, int line, const char *fmt, ...) printf_like(3, 4);

#define must(x)                                                                                    \
	do {                                                                                       \
		if (unlikely(!(x)))                                                                \
			panic(__FILE__, __LINE__, "must(%s)", #x);                                 \
	} while (0)

#ifdef NP_SLOW_CHECKS
#define must_slow(x) must(x)
#else
#define must_slow(x) ((void)0)
#endif

/* Tests, fuzz targets and the simulation set it, so that a bug stops them at once. */
extern bool never_aborts;
/* How often never() was true in this process; exported as a metric. */
extern uint64_t never_count;
bool never_happened(const char *file, int line, const char *what);

#define never(x) (unlikely(x) && never_happened(__FILE__, __LINE__, #x))

#endif
