/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The rows of knobs.def as two tables, and the place of a row's value in the settings it is of.  For
 * the files beside it; others see rows through knobs_row(). */
#ifndef NODEPROXY_LIB_KNOBS_ROWS_H
#define NODEPROXY_LIB_KNOBS_ROWS_H

#include "nodeproxy/lib/knobs/knobs.h"

enum knob_type { KNOB_STR, KNOB_NUM, KNOB_ENU };

struct knob {
	const char *key;
	enum knob_type type;
	size_t at, bytes;		/* in struct knobs or struct knobs_listener */
	int64_t min, max, num;
	const char *def, *unit, *values, *help;
	bool required;
	enum knob_reload reload;
};

enum {
#define LSTR(key, field, ...) LISTENER_KNOB_##field,
#define LNUM(key, field, ...) LISTENER_KNOB_##field,
#define LENU(key, field, ...) LISTENER_KNOB_##field,
#include "nodeproxy/lib/knobs/knobs.def"
	LISTENER_KNOBS
};

extern const struct knob knob[KNOBS], listener_knob[LISTENER_KNOBS];

static inline char *text_at(const void *base, const struct knob *k)
{
	return (char *)base + k->at;
}

static inline int64_t *num_at(const void *base, const struct knob *k)
{
	return (int64_t *)(void *)((char *)base + k->at);
}

static inline uint32_t *enu_at(const void *base, const struct knob *k)
{
	return (uint32_t *)(void *)((char *)base + k->at);
}

/* The i-th word of "a|b|c"; an empty slice after the last. */
struct slice knob_word(const char *values, unsigned i);
/* Which of them s is; false: none. */
bool knob_word_index(const char *values, struct slice s, uint32_t *ret);

#endif
