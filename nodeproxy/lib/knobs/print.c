/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Settings as YAML that knobs_load() reads back to the same. */
#include <string.h>

#include "nodeproxy/lib/knobs/rows.h"

/* The code point at s (which is UTF-8) and how many bytes it takes; a byte that is not UTF-8
 * counts as itself. */
static uint32_t code_point(const uint8_t *s, unsigned *ret_n)
{
	unsigned n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;
	uint32_t c = n == 1 ? s[0] : s[0] & (0xff >> (n + 1));

	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) {
			*ret_n = 1;
			return s[0];
		}
		c = c << 6 | (s[i] & 0x3f);
	}
	*ret_n = n;
	return c;
}

/* ASCII only: some code points are line ends to YAML. */
static void print_text(const char *text, FILE *f)
{
	const uint8_t *s = (const uint8_t *)text;
	unsigned n = 1;

	fputc('"', f);
	for (; *s; s += n) {
		uint32_t c = code_point(s, &n);

		if (c >= 0x7f)
			fprintf(f, "\\U%08x", c);
		else
			fprintf(f, c == '"' || c == '\\' ? "\\%c" : "%c", (int)c);
	}
	fputc('"', f);
}

static void print_value(const void *base, const struct knob *k, FILE *f)
{
	struct slice w;

	if (k->type == KNOB_STR) {
		print_text(text_at(base, k), f);
	} else if (k->type == KNOB_NUM) {
		fprintf(f, "%lld", (long long)*num_at(base, k));
	} else {
		w = knob_word(k->values, *enu_at(base, k));
		fwrite(w.p, 1, w.n, f);
	}
}

void knobs_print(const struct knobs *k, FILE *f)
{
	char section[64] = "";

	for (unsigned i = 0; i < countof(knob); i++) {
		const char *dot = strchr(knob[i].key, '.');
		size_t n = dot ? (size_t)(dot - knob[i].key) : 0;

		if (dot && (strncmp(section, knob[i].key, n) != 0 || section[n])) {
			snprintf(section, sizeof section, "%.*s", (int)n, knob[i].key);
			fprintf(f, "%s:\n", section);
		} else if (dot == NULL) {
			section[0] = 0;
		}
		fprintf(f, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : knob[i].key);
		print_value(k, &knob[i], f);
		fputc('\n', f);
	}
	fprintf(f, "listeners:%s\n", k->n_listeners ? "" : " []");
	for (unsigned i = 0; i < k->n_listeners; i++) {
		for (unsigned j = 0; j < countof(listener_knob); j++) {
			fprintf(f, "%s%s: ", j ? "    " : "  - ", listener_knob[j].key);
			print_value(&k->listener[i], &listener_knob[j], f);
			fputc('\n', f);
		}
	}
}
