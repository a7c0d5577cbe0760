/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See rows.h: the tables, and what the rest of the program may see of them. */
#include "nodeproxy/lib/knobs/rows.h"

/* clang-format off */
const struct knob knob[KNOBS] = {
#define STR(key, field, bytes, def, reload, help) \
	{ key, KNOB_STR, offsetof(struct knobs, field), bytes, 0, 0, 0, def, "", "", help, false, \
	  RELOAD_##reload },
#define NUM(key, field, min, max, def, unit, reload, help) \
	{ key, KNOB_NUM, offsetof(struct knobs, field), 8, min, max, def, #def, unit, "", help, \
	  false, RELOAD_##reload },
#define ENU(key, field, values, def, reload, help) \
	{ key, KNOB_ENU, offsetof(struct knobs, field), 4, 0, 0, 0, def, "", values, help, false, \
	  RELOAD_##reload },
#include "nodeproxy/lib/knobs/knobs.def"
};

const struct knob listener_knob[LISTENER_KNOBS] = {
#define LSTR(key, field, bytes, required, help) \
	{ key, KNOB_STR, offsetof(struct knobs_listener, field), bytes, 0, 0, 0, "", "", "", help, required, \
	  RELOAD_LIVE },
#define LNUM(key, field, min, max, def, unit, help) \
	{ key, KNOB_NUM, offsetof(struct knobs_listener, field), 8, min, max, def, #def, unit, "", help, false, \
	  RELOAD_LIVE },
#define LENU(key, field, values, def, help) \
	{ key, KNOB_ENU, offsetof(struct knobs_listener, field), 4, 0, 0, 0, def, "", values, help, false, \
	  RELOAD_LIVE },
#include "nodeproxy/lib/knobs/knobs.def"
};
/* clang-format on */

struct slice knob_word(const char *values, unsigned i)
{
	const char *bar;

	for (; i && values; i--) {
		values = strchr(values, '|');
		values = values ? values + 1 : NULL;
	}
	if (values == NULL)
		return (struct slice){ 0 };
	bar = strchrnul(values, '|');
	return slice_of(values, (size_t)(bar - values));
}

bool knob_word_index(const char *values, struct slice s, uint32_t *ret)
{
	struct slice w;

	for (uint32_t i = 0; (w = knob_word(values, i)).n; i++) {
		if (slice_eq(w, s)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

bool knobs_row(unsigned i, struct knob_row *ret)
{
	static const char *const type[] = { "text", "number", "word" };
	const struct knob *k;

	if (i >= countof(knob) + countof(listener_knob))
		return false;
	k = i < countof(knob) ? &knob[i] : &listener_knob[i - countof(knob)];
	*ret = (struct knob_row){ .key = k->key, .type = type[k->type], .def = k->def,
				  .unit = k->unit, .values = k->values, .help = k->help,
				  .min = k->min, .max = k->type == KNOB_STR ? (int64_t)k->bytes - 1 : k->max,
				  .reload = k->reload, .of_listener = i >= countof(knob),
				  .required = k->required };
	return true;
}

static void value_text(const void *base, const struct knob *k, char *out, size_t n)
{
	struct slice w;

	if (k->type == KNOB_STR) {
		snprintf(out, n, "%s", text_at(base, k));
	} else if (k->type == KNOB_NUM) {
		snprintf(out, n, "%lld", (long long)*num_at(base, k));
	} else {
		w = knob_word(k->values, *enu_at(base, k));
		snprintf(out, n, "%.*s", (int)w.n, w.n ? (const char *)w.p : "");
	}
}

void knobs_value(const struct knobs *k, unsigned i, char *out, size_t n)
{
	out[0] = 0;
	if (i < countof(knob))
		value_text(k, &knob[i], out, n);
}

bool knobs_listener_value(const struct knobs_listener *l, unsigned i, char *out, size_t n)
{
	if (i >= countof(listener_knob))
		return false;
	value_text(l, &listener_knob[i], out, n);
	return true;
}
