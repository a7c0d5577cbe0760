/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See asked.h. */
#include "admin/cli/asked.h"

#include <errno.h>
#include <stdio.h>

#include "admin/cli/resolv.h"
#include "admin/options.h"

int asked_wrong(const char *fmt, const char *what)
{
	fprintf(stderr, "nodeproxyctl: ");
	fprintf(stderr, fmt, what);
	fprintf(stderr, "\nsee nodeproxyctl --help\n");
	return EXIT_USAGE;
}

enum cmd asked_command(char **words, int n, int *n_words)
{
	enum cmd best = CMDS;

	*n_words = 0;
	for (unsigned c = 0; c < CMDS; c++) {
		char copy[64], *save, *w;
		int i = 0;

		snprintf(copy, sizeof copy, "%s", cmd_row((enum cmd)c)->words);
		for (w = strtok_r(copy, " ", &save); w && i < n && strcmp(w, words[i]) == 0;
		     w = strtok_r(NULL, " ", &save))
			i++;
		if (!w && i > *n_words) {
			best = (enum cmd)c;
			*n_words = i;
		}
	}
	return best;
}

/* The option as an argument of the command: its index, -1 when it has none such. */
static int option_index(enum cmd c, const char *option)
{
	const struct arg_row *a;

	for (int i = 0; (a = cmd_arg(c, (unsigned)i)); i++)
		if (a->option[0] && strcmp(a->option, option) == 0)
			return i;
	return -1;
}

static bool set_format(struct asked *a, const char *word)
{
	static const char *const names[] = { [TABLE] = "table", [JSON] = "json", [YAML] = "yaml" };

	for (unsigned i = 0; i < countof(names); i++)
		if (strcmp(word, names[i]) == 0) {
			a->format = (enum format)i;
			return true;
		}
	return false;
}

/* An option with its value in the same word (--worker=1, -ojson) or the next; NULL: none. */
static const char *option_value(char **argv, int argc, int *i, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (argv[*i][n] == '=' && name[1] == '-')
		return argv[*i] + n + 1;
	if (argv[*i][n] && name[1] != '-')
		return argv[*i] + n;
	if (argv[*i][n] == 0 && *i + 1 < argc)
		return argv[++*i];
	return NULL;
}

/* An option of any command: which ones this command has is looked at later. */
static bool any_option(int argc, char **argv, int *i, struct option_seen *ret)
{
	const struct arg_row *a;

	for (unsigned c = 0; c < CMDS; c++)
		for (unsigned k = 0; (a = cmd_arg((enum cmd)c, k)); k++) {
			if (!a->option[0])
				continue;
			ret->name = a->option;
			ret->value = arg_is_flag(a) ? strcmp(argv[*i], a->option) == 0 ? "1" : NULL
						    : option_value(argv, argc, i, a->option);
			if (ret->value)
				return true;
		}
	return false;
}

int asked_split(int argc, char **argv, struct asked *a, char **words, int *n_words,
		struct option_seen *options, int *n_options)
{
	for (int i = 1; i < argc; i++) {
		const char *v, *was = argv[i];

		if (argv[i][0] != '-' || argv[i][1] == 0) {
			words[(*n_words)++] = argv[i];
			continue;
		}
		if (strcmp(was, "--help") == 0 || strcmp(was, "-h") == 0) {
			a->help = true;
			continue;
		}
		if (strcmp(was, "--version") == 0 || strcmp(was, "-V") == 0) {
			printf("nodeproxyctl %s\n", PACKAGE_VERSION);
			return EXIT_DONE;
		}
		if ((v = option_value(argv, argc, &i, "-s"))) {
			a->socket = v;
			continue;
		}
		if ((v = option_value(argv, argc, &i, "-o"))) {
			if (!set_format(a, v))
				return asked_wrong("the format is table, json or yaml, not %s", v);
			continue;
		}
		if (!any_option(argc, argv, &i, &options[*n_options]))
			return asked_wrong("unknown option, or one without its value: %s", was);
		(*n_options)++;
	}
	return -1;
}

static bool is_number(const char *s)
{
	uint64_t v;

	return slice_u64(slice_str(s), UINT32_MAX, &v);
}

/* One more of an argument that may be given several times. */
static bool add_line(struct asked *a, int k, const char *value)
{
	size_t at = strlen(a->lines);

	if (at + strlen(value) + 2 > sizeof a->lines || strchr(value, '\n'))
		return false;
	snprintf(a->lines + at, sizeof a->lines - at, "%s%s", at ? "\n" : "", value);
	a->value[k] = a->lines;
	return true;
}

int asked_arguments(struct asked *a, char **words, int n_words,
		    const struct option_seen *options, int n_options)
{
	const struct arg_row *row;
	int at = 0;

	for (int i = 0; i < n_options; i++) {
		int k = option_index(a->cmd, options[i].name);

		if (k < 0 && strcmp(options[i].name, "-n") == 0 && a->cmd == CMD_describe) {
			continue;	/* looked at with the name */
		}
		if (k < 0)
			return asked_wrong("this command has no %s", options[i].name);
		row = cmd_arg(a->cmd, (unsigned)k);
		if ((row->kind == ARG_NUMBER || row->kind == ARG_LOCAL_NUMBER) &&
		    !is_number(options[i].value))
			return asked_wrong("not a whole number: %s", options[i].value);
		if (row->kind != ARG_TEXTS)
			a->value[k] = options[i].value;
		else if (!add_line(a, k, options[i].value))
			return asked_wrong("too many of them: %s", options[i].name);
	}
	for (int k = 0; k < CMD_ARGS && (row = cmd_arg(a->cmd, (unsigned)k)); k++) {
		if (row->option[0])
			continue;
		if (at < n_words)
			a->value[k] = words[at++];
		else if (row->value[0] != '[' || row->value[strlen(row->value) - 1] != ']')
			return asked_wrong("%s is missing", row->value);
	}
	if (at < n_words)
		return asked_wrong("one word too many: %s", words[at]);
	return -1;
}

static int arg_index(enum cmd c, const char *name)
{
	const struct arg_row *row;

	for (int i = 0; i < CMD_ARGS && (row = cmd_arg(c, (unsigned)i)); i++)
		if (strcmp(row->name, name) == 0)
			return i;
	return -1;
}

int asked_files(struct asked *a)
{
	int file = arg_index(a->cmd, "resolv_conf"), to = arg_index(a->cmd, "resolver"), r;

	if (file < 0 || !a->value[file])
		return -1;
	r = resolv_add(a->value[file], a->lines, sizeof a->lines);
	a->value[to] = a->lines;
	if (r == 0)
		return -1;
	fprintf(stderr, "nodeproxyctl: %s: %s\n", a->value[file],
		r == -ENOENT ? "it is not there, or has no nameserver" : strerror(-r));
	return EXIT_USAGE;
}

/* describe KIND NS/NAME -> KIND/NS/NAME, each part escaped. */
static int describe_path(const struct asked *a, const char *namespace, struct text *t)
{
	const char *kind = a->value[0], *name = a->value[1], *slash;

	if (!name)
		return asked_wrong("%s is missing", "[NAMESPACE/]NAME");
	slash = strchr(name, '/');
	call_escape(t, kind);
	text_addc(t, '/');
	if (slash) {
		char ns[256];

		snprintf(ns, sizeof ns, "%.*s", (int)min_of((size_t)(slash - name), sizeof ns - 1), name);
		call_escape(t, ns);
		text_addc(t, '/');
		name = slash + 1;
	} else if (namespace) {
		call_escape(t, namespace);
		text_addc(t, '/');
	}
	call_escape(t, name);
	return -1;
}

int asked_target(const struct asked *a, const char *namespace, struct text *t)
{
	const struct arg_row *row;
	char before = '?';

	text_adds(t, cmd_row(a->cmd)->path);
	if (a->cmd == CMD_describe)
		return describe_path(a, namespace, t);
	if (a->cmd == CMD_panic) {
		call_escape(t, a->value[0] ? a->value[0] : "latest");
		return -1;
	}
	for (unsigned i = 0; i < CMD_ARGS && (row = cmd_arg(a->cmd, i)); i++) {
		if (!a->value[i] || arg_is_local(row))
			continue;
		for (const char *v = a->value[i], *end; v; v = *end ? end + 1 : NULL) {
			char one[sizeof a->lines];

			end = row->kind == ARG_TEXTS ? strchrnul(v, '\n') : v + strlen(v);
			snprintf(one, sizeof one, "%.*s", (int)(end - v), v);
			text_addc(t, before);
			text_adds(t, row->name);
			text_addc(t, '=');
			call_escape(t, one);
			before = '&';
		}
	}
	return -1;
}

const char *asked_value(const struct asked *a, const char *name)
{
	int i = arg_index(a->cmd, name);

	return i < 0 ? NULL : a->value[i];
}

uint64_t asked_number(const struct asked *a, const char *name, uint64_t otherwise)
{
	const char *v = asked_value(a, name);

	if (v)
		(void)slice_u64(slice_str(v), UINT32_MAX, &otherwise);
	return otherwise;
}

int asked_send(const struct asked *a, const char *target, struct response *r)
{
	char problem[512];

	if (call_daemon(a->socket, cmd_row(a->cmd)->method == CMD_POST ? "POST" : "GET", target,
			a->cmd == CMD_upgrade ? CALL_LONG_SECONDS : CALL_SECONDS, r, problem) == 0)
		return EXIT_DONE;
	fprintf(stderr, "nodeproxyctl: %s\n", problem);
	return EXIT_AWAY;
}
