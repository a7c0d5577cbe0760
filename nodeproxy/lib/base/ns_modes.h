/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Modes of namespaces: ns_modes.def.  A namespace that nobody wrote down has all of them 0, as has one
 * whose Namespace has no such labels. */
#ifndef NODEPROXY_LIB_BASE_NS_MODES_H
#define NODEPROXY_LIB_BASE_NS_MODES_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

enum ns_mode {
#define MODE(word, label, pods, help) MODE_##word,
#include "nodeproxy/lib/base/ns_modes.def"
	NS_MODES
};

/* MODE_PASS, MODE_DENY, MODE_DIRECT, ...: each a value of the one mode that has it. */
enum ns_mode_value {
#define MODE_VALUE(word, name, number, text, help) MODE_##name = (number),
#include "nodeproxy/lib/base/ns_modes.def"
};

/* of[MODE_same_host] is MODE_DIRECT or MODE_VETH, and so on. */
struct ns_modes {
	uint8_t of[NS_MODES];
};
static_must(sizeof(struct ns_modes) % 4 == 0);	/* it travels in messages and units */

#define NS_MODES_PREFIX "nodeproxy.io/"

/* A value of every mode that its rows have. */
bool ns_modes_are_valid(const struct ns_modes *);
static inline bool ns_modes_eq(const struct ns_modes *a, const struct ns_modes *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}
static inline bool ns_modes_are_default(const struct ns_modes *a)
{
	static const struct ns_modes none;

	return ns_modes_eq(a, &none);
}

const char *ns_mode_label(enum ns_mode);	/* behind NS_MODES_PREFIX */
const char *ns_mode_help(enum ns_mode);
bool ns_mode_is_of_pods(enum ns_mode);		/* a pod may have it as a label, too */
/* NULL: no value of this mode has that number. */
const char *ns_mode_text(enum ns_mode, unsigned value);
const char *ns_mode_value_help(enum ns_mode, unsigned value);
/* "pass or deny"; returns out. */
const char *ns_mode_words(enum ns_mode, char *out, size_t room);

/* The mode of this label, with its prefix; NS_MODES: none. */
enum ns_mode ns_mode_by_label(struct slice);
/* false: no value of this mode is called that. */
must_use bool ns_mode_parse(enum ns_mode, struct slice text, uint8_t *ret);

#endif
