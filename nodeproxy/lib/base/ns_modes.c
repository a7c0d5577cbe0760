/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See ns_modes.h. */
#include "nodeproxy/lib/base/ns_modes.h"

#include "nodeproxy/lib/base/strbuf.h"

struct mode_row {
	const char *label, *help;
	bool pods;
};

struct value_row {
	enum ns_mode mode;
	unsigned number;
	const char *text, *help;
};

static const struct mode_row mode_rows[NS_MODES] = {
#define MODE(word, label, pods, help) { label, help, pods },
#include "nodeproxy/lib/base/ns_modes.def"
};

static const struct value_row value_rows[] = {
#define MODE_VALUE(word, name, number, text, help) { MODE_##word, number, text, help },
#include "nodeproxy/lib/base/ns_modes.def"
};

static const struct value_row *value_of(enum ns_mode m, unsigned number)
{
	for (size_t i = 0; i < countof(value_rows); i++)
		if (value_rows[i].mode == m && value_rows[i].number == number)
			return &value_rows[i];
	return NULL;
}

bool ns_modes_are_valid(const struct ns_modes *a)
{
	for (unsigned m = 0; m < NS_MODES; m++)
		if (!value_of((enum ns_mode)m, a->of[m]))
			return false;
	return true;
}

const char *ns_mode_label(enum ns_mode m)
{
	return mode_rows[m].label;
}

const char *ns_mode_help(enum ns_mode m)
{
	return mode_rows[m].help;
}

bool ns_mode_is_of_pods(enum ns_mode m)
{
	return mode_rows[m].pods;
}

const char *ns_mode_text(enum ns_mode m, unsigned value)
{
	const struct value_row *v = value_of(m, value);

	return v ? v->text : NULL;
}

const char *ns_mode_value_help(enum ns_mode m, unsigned value)
{
	const struct value_row *v = value_of(m, value);

	return v ? v->help : NULL;
}

const char *ns_mode_words(enum ns_mode m, char *out, size_t room)
{
	struct strbuf s = strbuf_on(out, room);
	const char *text;

	for (unsigned i = 0; (text = ns_mode_text(m, i)); i++) {
		if (i)
			strbuf_adds(&s, ns_mode_text(m, i + 1) ? ", " : " or ");
		strbuf_adds(&s, text);
	}
	return out;
}

enum ns_mode ns_mode_by_label(struct slice label)
{
	const struct slice prefix = SLICE(NS_MODES_PREFIX);
	unsigned m = 0;

	if (!slice_starts(label, prefix))
		return NS_MODES;
	while (m < NS_MODES && !slice_eq(slice_from(label, prefix.n), slice_str(mode_rows[m].label)))
		m++;
	return (enum ns_mode)m;
}

bool ns_mode_parse(enum ns_mode m, struct slice text, uint8_t *ret)
{
	const char *have;

	for (unsigned i = 0; (have = ns_mode_text(m, i)); i++) {
		if (!slice_eq(text, slice_str(have)))
			continue;
		*ret = (uint8_t)i;
		return true;
	}
	return false;
}
