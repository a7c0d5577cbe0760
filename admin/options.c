/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See options.h. */
#include "admin/options.h"

#include <stdio.h>

static bool is_of(enum local l, const char *program)
{
	return strcmp(local_row(l)->program, program) == 0;
}

static size_t first_word(const char *words)
{
	return strcspn(words, " ");
}

/* The commands that begin with the same word. */
static void usage(FILE *f, const char *program, const char *word)
{
	fprintf(f, "usage: nodeproxyctl %s COMMAND [ARGUMENTS]\n\n", word);
	for (unsigned l = 0; l < LOCALS; l++) {
		const char *words = local_row((enum local)l)->words;

		if (is_of((enum local)l, program) && strncmp(words, word, strlen(word)) == 0)
			fprintf(f, "  %-16s  %s\n", words, local_row((enum local)l)->help);
	}
	fprintf(f, "\nnodeproxyctl %s COMMAND --help says its arguments\n", word);
}

static void command_usage(enum local l)
{
	const struct local_arg *a;

	printf("usage: nodeproxyctl %s", local_row(l)->words);
	for (unsigned i = 0; (a = local_arg(l, i)); i++)
		if (!a->option[0])
			printf(" %s", a->value);
		else
			printf(a->value[0] ? " [%s %s]" : " [%s]", a->option, a->value);
	printf("\n\n%s\n\n", local_row(l)->help);
	for (unsigned i = 0; (a = local_arg(l, i)); i++) {
		char left[64];

		snprintf(left, sizeof left, "%s%s%s", a->option, a->option[0] && a->value[0] ? " " : "",
			 a->value);
		printf("%-30s  %s\n", left, a->help);
	}
}

int options_wrong(const char *what, const char *which)
{
	fprintf(stderr, "nodeproxyctl: %s%s\nsee nodeproxyctl --help\n", what, which);
	return EXIT_USAGE;
}

/* The command of this program that the first words are; LOCALS: none.  *n_words of them. */
static enum local find(int argc, char **argv, const char *program, int *n_words)
{
	for (unsigned l = 0; l < LOCALS; l++) {
		const char *words = local_row((enum local)l)->words, *second = strchr(words, ' ');

		if (!is_of((enum local)l, program) || strncmp(words, argv[0], first_word(words)) != 0 ||
		    argv[0][first_word(words)])
			continue;
		*n_words = second ? 2 : 1;
		if (!second || (argc > 1 && strcmp(second + 1, argv[1]) == 0))
			return (enum local)l;
	}
	return LOCALS;
}

static bool is_repeated(const struct local_arg *a)
{
	size_t n = strlen(a->value);

	return n > 3 && strcmp(a->value + n - 3, "...") == 0;
}

static bool add_line(struct options *o, unsigned k, const char *value)
{
	size_t at = strlen(o->lines);

	if (at + strlen(value) + 2 > sizeof o->lines || strchr(value, '\n'))
		return false;
	snprintf(o->lines + at, sizeof o->lines - at, "%s%s", at ? "\n" : "", value);
	o->value[k] = o->lines;
	return true;
}

/* One option, with its value in the next word or behind it: --wait=3, -ojson.  -1, or an exit code. */
static int take_option(struct options *o, int argc, char **argv, int *i)
{
	const struct local_arg *row;
	const char *word = argv[*i], *value;

	for (unsigned k = 0; (row = local_arg(o->what, k)); k++) {
		size_t n = strlen(row->option);
		bool is_long = row->option[0] && row->option[1] == '-';

		if (n == 0 || strncmp(word, row->option, n) != 0)
			continue;
		if (!row->value[0]) {
			if (word[n])
				continue;
			value = "";
		} else if (word[n]) {
			if (is_long && word[n] != '=')
				continue;
			value = word + n + is_long;
		} else if (*i + 1 < argc) {
			value = argv[++*i];
		} else {
			return options_wrong("an option without its value: ", word);
		}
		if (!is_repeated(row))
			o->value[k] = value;
		else if (!add_line(o, k, value))
			return options_wrong("too many of them: ", row->option);
		return -1;
	}
	return options_wrong("unknown option: ", word);
}

/* The next positional argument. */
static int take_word(struct options *o, const char *word)
{
	const struct local_arg *row;

	for (unsigned k = 0; (row = local_arg(o->what, k)); k++)
		if (!row->option[0] && !o->value[k]) {
			o->value[k] = word;
			return -1;
		}
	return options_wrong("one word too many: ", word);
}

int options_read(int argc, char **argv, const char *program, struct options *ret)
{
	const struct local_arg *row;
	int used = 1, code = -1;

	*ret = (struct options){ .what = argc < 1 ? LOCALS : find(argc, argv, program, &used) };
	if (argc < 1)
		return options_wrong("no command", "");
	if (ret->what == LOCALS) {
		bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

		if (argc > 1 && !asked) {
			fprintf(stderr, "nodeproxyctl: there is no command %s %s\n", argv[0], argv[1]);
			return EXIT_USAGE;
		}
		usage(asked ? stdout : stderr, program, argv[0]);
		return asked ? EXIT_DONE : EXIT_USAGE;
	}
	must(!local_arg(ret->what, OPTIONS_MAX));
	for (int i = used; code < 0 && i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			command_usage(ret->what);
			return EXIT_DONE;
		}
		code = argv[i][0] == '-' && argv[i][1] ? take_option(ret, argc, argv, &i)
						       : take_word(ret, argv[i]);
	}
	for (unsigned k = 0; code < 0 && (row = local_arg(ret->what, k)); k++) {
		if (!row->option[0] && row->value[0] != '[' && !ret->value[k])
			code = options_wrong("missing: ", row->value);
	}
	return code;
}

const char *options_value(const struct options *o, const char *name)
{
	const struct local_arg *row;

	for (unsigned k = 0; (row = local_arg(o->what, k)); k++)
		if (strcmp(row->option[0] ? row->option : row->value, name) == 0)
			return o->value[k];
	return NULL;
}
