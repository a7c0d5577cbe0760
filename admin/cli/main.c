/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxyctl: asks the daemon over its admin socket and shows the answer.
 *
 * Everything it can ask is a row of commands.def; this file only turns words into a request and the
 * answer into text.  Exit codes: 0 done, 1 refused or not found (for check: an error was found),
 * 2 usage, 3 the daemon cannot be reached. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "admin/cli/call.h"
#include "admin/cli/local.h"
#include "admin/cli/offline.h"
#include "admin/cli/print.h"
#include "admin/cli/resolv.h"
#include "admin/cli/top.h"
#include "admin/options.h"
#include "nodeproxy/lib/base/clock.h"

#define DEFAULT_SOCKET "/run/nodeproxy/admin.sock"

enum format { TABLE, JSON, YAML };

struct asked {
	enum cmd cmd;
	const char *socket;
	enum format format;
	const char *value[CMD_ARGS];	/* of the arguments; NULL: not given */
	char lines[2048];	/* of the one argument of a command that may be given several times */
	bool help;
};

static void usage(FILE *f)
{
	fprintf(f, "nodeproxyctl %s: look at and steer the nodeproxy of this host\n\n"
		   "usage: nodeproxyctl [-s SOCKET] [-o table|json|yaml] COMMAND [ARGUMENTS]\n\n",
		PACKAGE_VERSION);
	for (unsigned c = 0; c < CMDS; c++)
		fprintf(f, "  %-16s  %s\n", cmd_row((enum cmd)c)->words, cmd_row((enum cmd)c)->help);
	for (unsigned l = 0; l < LOCALS; l++)
		fprintf(f, "  %-16s  %s\n", local_row((enum local)l)->words, local_row((enum local)l)->help);
	fprintf(f, "\n  -s SOCKET   admin socket; default: $NODEPROXY_SOCKET, else %s\n"
		   "  -o FORMAT   table (default), json or yaml\n"
		   "  -n NAME     namespace\n"
		   "  --help      of a command: nodeproxyctl COMMAND --help\n\n"
		   "exit codes: 0 done, 1 refused or not found, 2 usage, 3 the daemon cannot be reached\n",
		DEFAULT_SOCKET);
}

static void command_usage(enum cmd c)
{
	const struct cmd_row *row = cmd_row(c);
	const struct arg_row *a;
	size_t wide = 0;

	printf("usage: nodeproxyctl %s", row->words);
	for (unsigned i = 0; (a = cmd_arg(c, i)); i++)
		if (a->option[0])
			printf(arg_is_flag(a) ? " [%s]" : " [%s %s]", a->option, a->value);
		else
			printf(" %s", a->value);
	printf("\n\n%s\n", row->help);
	for (unsigned i = 0; (a = cmd_arg(c, i)); i++)
		wide = max_of(wide, strlen(a->option) + 1 + strlen(a->value));
	for (unsigned i = 0; (a = cmd_arg(c, i)); i++) {
		char left[64];

		snprintf(left, sizeof left, "%s%s%s", a->option, a->option[0] && a->value[0] ? " " : "",
			 a->value);
		printf("%s  %-*s  %s\n", i == 0 ? "\n" : "", (int)wide, left, a->help);
	}
	printf("\n%s; API: %s %s\n", row->permission == PERMISSION_LOOK ? "may be asked by whoever may "
	       "connect to the socket" : "only by root", row->method == CMD_GET ? "GET" : "POST",
	       row->path);
}

static int wrong(const char *fmt, const char *what)
{
	fprintf(stderr, "nodeproxyctl: ");
	fprintf(stderr, fmt, what);
	fprintf(stderr, "\nsee nodeproxyctl --help\n");
	return EXIT_USAGE;
}

/* The command whose words these are: the longest that fits; *n_words of them. */
static enum cmd find_command(char **words, int n, int *n_words)
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

struct option_seen {
	const char *name, *value;
};

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

/* Splits argv into words and options.  -1, or an exit code. */
static int split(int argc, char **argv, struct asked *a, char **words, int *n_words,
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
				return wrong("the format is table, json or yaml, not %s", v);
			continue;
		}
		if (!any_option(argc, argv, &i, &options[*n_options]))
			return wrong("unknown option, or one without its value: %s", was);
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

static int take_arguments(struct asked *a, char **words, int n_words,
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
			return wrong("this command has no %s", options[i].name);
		row = cmd_arg(a->cmd, (unsigned)k);
		if ((row->kind == ARG_NUMBER || row->kind == ARG_LOCAL_NUMBER) &&
		    !is_number(options[i].value))
			return wrong("not a whole number: %s", options[i].value);
		if (row->kind != ARG_TEXTS)
			a->value[k] = options[i].value;
		else if (!add_line(a, k, options[i].value))
			return wrong("too many of them: %s", options[i].name);
	}
	for (int k = 0; k < CMD_ARGS && (row = cmd_arg(a->cmd, (unsigned)k)); k++) {
		if (row->option[0])
			continue;
		if (at < n_words)
			a->value[k] = words[at++];
		else if (row->value[0] != '[' || row->value[strlen(row->value) - 1] != ']')
			return wrong("%s is missing", row->value);
	}
	if (at < n_words)
		return wrong("one word too many: %s", words[at]);
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

/* What a file says is told as if it had been said here. */
static int take_files(struct asked *a)
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
		return wrong("%s is missing", "[NAMESPACE/]NAME");
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

static int make_target(const struct asked *a, const char *namespace, struct text *t)
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

static const char *string_at(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static void say_error(const struct response *r, const json_t *o)
{
	struct text t = text_of(1 << 16);

	text_adds(&t, "nodeproxyctl: ");
	if (string_at(o, "error"))
		print_clean(&t, string_at(o, "error"));
	else
		text_printf(&t, "the daemon answered with status %d", r->status);
	if (string_at(o, "where")) {
		text_adds(&t, ": ");
		print_clean(&t, string_at(o, "where"));
	}
	if (string_at(o, "do")) {
		text_addc(&t, '\n');
		print_clean(&t, string_at(o, "do"));
	}
	fprintf(stderr, "%s\n", t.p);
	text_fini(&t);
}

static void table_of(const struct asked *a, const json_t *o, int64_t now, struct text *out)
{
	const struct cmd_row *row = cmd_row(a->cmd);
	const char *s;

	switch (a->cmd) {
	case CMD_status:
		print_status(o, now, out);
		return;
	case CMD_check:
		print_findings(json_object_get(o, "findings"), out);
		return;
	case CMD_panic:
		for (s = string_at(o, "text"); s && *s; s++)	/* lines of cleaned text */
			text_addc(out, (uint8_t)*s < 0x20 && *s != '\n' ? '?' : *s);
		return;
	case CMD_version:
		text_printf(out, "nodeproxyctl %s\nnodeproxy    ", PACKAGE_VERSION);
		print_clean(out, string_at(o, "version") ? string_at(o, "version") : "?");
		text_addc(out, '\n');
		return;
	default:
		break;
	}
	if (!row->list[0]) {
		if (row->by_master)
			print_clean(out, string_at(o, "message") ? string_at(o, "message") : "done"),
				text_addc(out, '\n');
		else
			print_object(o, now, out);
		return;
	}
	if (row->by_master) {
		print_clean(out, string_at(o, "message") ? string_at(o, "message") : "done");
		text_addc(out, '\n');
		if (json_array_size(json_object_get(o, row->list)) == 0)
			return;
	}
	print_table(a->cmd, json_object_get(o, row->list), now, out);
	if (a->cmd == CMD_sources)
		print_refused(json_object_get(o, "refused"), now, out);
	if (a->cmd == CMD_config && json_array_size(json_object_get(o, "listeners"))) {
		json_t *shown = json_pack("{s:O}", "listeners", json_object_get(o, "listeners"));

		print_object(shown, now, out);
		json_decref(shown);
	}
}

static int show_object(const struct asked *a, const json_t *o, int code)
{
	struct text out = text_of(CALL_ANSWER_BYTES * 2);
	char *dump;

	if (a->format == JSON) {
		dump = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		if (dump)
			text_adds(&out, dump);
		text_addc(&out, '\n');
		free(dump);
	} else if (a->format == YAML) {
		print_yaml(o, &out);
	} else if (code == EXIT_DONE) {
		table_of(a, o, clock_unix_ms(), &out);
	}
	if (out.n && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0))
		code = code == EXIT_DONE ? EXIT_REFUSED : code;
	if (code == EXIT_DONE && json_is_false(json_object_get(o, "ok")))	/* check, explain */
		code = EXIT_REFUSED;
	text_fini(&out);
	return code;
}

/* The answer as an object, when it is one and no error; NULL with the exit code. */
static json_t *object_of(const struct response *r, int *code)
{
	json_error_t e;
	json_t *o = json_loadb(r->body.p ? r->body.p : "", r->body.n, 0, &e);

	*code = r->status >= 200 && r->status < 300 ? EXIT_DONE
		: r->status == 400		    ? EXIT_USAGE
						    : EXIT_REFUSED;
	if (!json_is_object(o)) {
		fprintf(stderr, "nodeproxyctl: the daemon's answer is not JSON: is this its socket?\n");
		json_decref(o);
		*code = EXIT_AWAY;
		return NULL;
	}
	if (*code != EXIT_DONE)
		say_error(r, o);
	return o;
}

static int show(const struct asked *a, const struct response *r)
{
	int code;
	json_t *o = object_of(r, &code);

	if (!o)
		return code;
	if (a->cmd == CMD_version)
		json_object_set_new(o, "nodeproxyctl", json_string(PACKAGE_VERSION));
	if (a->cmd == CMD_check)
		offline_compare(o);
	code = show_object(a, o, code);
	json_decref(o);
	return code;
}

/* ---- asking ---- */

static int ask(const struct asked *a, const char *target, struct response *r)
{
	char problem[512];

	if (call_daemon(a->socket, cmd_row(a->cmd)->method == CMD_POST ? "POST" : "GET", target,
			a->cmd == CMD_upgrade ? CALL_LONG_SECONDS : CALL_SECONDS, r, problem) == 0)
		return EXIT_DONE;
	fprintf(stderr, "nodeproxyctl: %s\n", problem);
	return EXIT_AWAY;
}

/* Without a daemon: what can be seen from here.  Still EXIT_AWAY. */
static int check_from_here(const struct asked *a)
{
	struct text t = text_of(1 << 20);
	char problem[512];
	struct response r;
	json_t *o;

	if (call_daemon(a->socket, "GET", cmd_row(CMD_check)->path, CALL_SECONDS, &r, problem) == 0) {
		int code = show(a, &r);

		text_fini(&r.body);
		return code;
	}
	*strchrnul(problem, '\n') = 0;
	offline_check(problem, &t);
	o = json_loadb(t.p ? t.p : "", t.n, 0, NULL);
	if (o)
		(void)show_object(a, o, EXIT_DONE);
	json_decref(o);
	text_fini(&t);
	return EXIT_AWAY;
}

/* The value of an argument; NULL: it was not given. */
static const char *value_of(const struct asked *a, const char *name)
{
	int i = arg_index(a->cmd, name);

	return i < 0 ? NULL : a->value[i];
}

static uint64_t number_of(const struct asked *a, const char *name, uint64_t otherwise)
{
	const char *v = value_of(a, name);

	if (v)
		(void)slice_u64(slice_str(v), UINT32_MAX, &otherwise);
	return otherwise;
}

/* The column of this heading; NULL: there is none. */
static const struct col_row *column_of(enum cmd c, const char *heading)
{
	const struct col_row *col;

	for (unsigned i = 0; (col = cmd_col(c, i)); i++)
		if (strcasecmp(col->heading, heading) == 0)
			return col;
	return NULL;
}

/* As much as the terminal shows, so that nothing wraps or scrolls away: the idlest are left out. */
static int show_screen(const struct asked *a, const json_t *rates, const struct col_row *sort)
{
	struct text all = text_of(CALL_ANSWER_BYTES * 2), fits = text_of(CALL_ANSWER_BYTES * 2);
	struct winsize w = { .ws_col = 80, .ws_row = 24 };
	const json_t *rows = json_object_get(rates, "rows");
	bool ok;

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	if (w.ws_row < 4 || w.ws_col < 20)
		w = (struct winsize){ .ws_col = 80, .ws_row = 24 };
	text_printf(&all, "%zu ", json_array_size(rows));
	print_clean(&all, string_at(rates, "by") ? string_at(rates, "by") : "rows");
	text_printf(&all, ", the last %.1f s, sorted by %s\n",
		    json_number_value(json_object_get(rates, "seconds")),
		    sort ? sort->heading : "CPU%, REQ/S");
	print_table(a->cmd, rows, clock_unix_ms(), &all);
	text_adds(&fits, "\033[H\033[J");
	print_fit(text_slice(&all), w.ws_col, w.ws_row - 1u, &fits);
	ok = fwrite(fits.p, 1, fits.n, stdout) == fits.n && fflush(stdout) == 0;
	text_fini(&all);
	text_fini(&fits);
	return ok ? EXIT_DONE : EXIT_REFUSED;
}

/* top: looks again and again and shows what happened in between. */
static int watch(const struct asked *a, const char *target)
{
	bool screen = isatty(STDOUT_FILENO) && a->format == TABLE && !value_of(a, "once");
	uint64_t left = value_of(a, "once") ? 1 : number_of(a, "count", screen ? UINT64_MAX : 1);
	struct timespec interval = { .tv_sec = (time_t)max_of(number_of(a, "interval", 2), 1ull) };
	const char *heading = value_of(a, "sort");
	const struct col_row *sort = heading ? column_of(a->cmd, heading) : NULL;
	json_t *before = NULL;
	int code = EXIT_DONE;

	if (heading && !sort)
		return wrong("there is no column %s: use a heading of the table, as REQ/S or P99",
			     heading);
	while (code == EXIT_DONE && (left || !before)) {
		struct response r;
		json_t *now, *rates;

		code = ask(a, target, &r);
		if (code != EXIT_DONE)
			break;
		now = object_of(&r, &code);
		text_fini(&r.body);
		rates = code == EXIT_DONE && before
				? top_rates(before, now, sort ? sort->path : NULL) : NULL;
		if (rates) {
			code = screen ? show_screen(a, rates, sort) : show_object(a, rates, code);
			left--;
		}
		json_decref(rates);
		json_decref(before);
		before = now;
		if (left)
			nanosleep(&interval, NULL);
	}
	json_decref(before);
	return code;
}

/* Becomes another program when the words are a command of its. */
static void be_local(int argc, char **argv)
{
	char **next = calloc((size_t)argc + 1, sizeof *next), *words[2];
	int at[2], n = 0, n_command, n_local, moved, k = 0;
	enum local l;

	for (int i = 1; i < argc && n < 2; i++) {
		if (argv[i][0] != '-' || argv[i][1] == 0) {
			at[n] = i;
			words[n++] = argv[i];
		} else if (argv[i][1] && strchr("sonc", argv[i][1]) && argv[i][2] == 0) {
			i++;	/* its value */
		}
	}
	l = local_find(words, n, &n_local);
	if (l < LOCALS && next) {
		(void)find_command(words, n, &n_command);
		moved = strchr(local_row(l)->words, ' ') ? n : 1;	/* what is no command, too: to be told */
		for (int i = 0; i < moved; i++)
			next[k++] = words[i];
		for (int i = 1; i < argc; i++)
			if (i != at[0] && !(moved == 2 && i == at[1]))
				next[k++] = argv[i];
		if (n_local > n_command) {
			local_be(l, next);
			exit(EXIT_REFUSED);
		}
	}
	free(next);
}

int main(int argc, char **argv)
{
	struct asked a = { .cmd = CMDS, .socket = getenv("NODEPROXY_SOCKET") };
	char **words = calloc((size_t)argc + 1, sizeof *words);
	struct option_seen *options = calloc((size_t)argc + 1, sizeof *options);
	int n_words = 0, n_options = 0, used, code;
	struct text target = text_of(8192);
	const char *namespace = NULL;
	struct response r;

	if (!words || !options)
		return EXIT_REFUSED;
	be_local(argc, argv);
	code = split(argc, argv, &a, words, &n_words, options, &n_options);
	if (code < 0) {
		a.cmd = find_command(words, n_words, &used);
		if (a.cmd == CMDS && (a.help || (n_words == 1 && strcmp(words[0], "help") == 0))) {
			usage(stdout);
			code = EXIT_DONE;
		} else if (a.cmd == CMDS && n_words == 0) {
			usage(stderr);
			code = EXIT_USAGE;
		} else if (a.cmd == CMDS) {
			code = wrong("there is no command %s", words[0]);
		} else if (a.help) {
			command_usage(a.cmd);
			code = EXIT_DONE;
		}
	}
	if (code < 0)
		code = take_arguments(&a, words + used, n_words - used, options, n_options);
	if (code < 0)
		code = take_files(&a);
	for (int i = 0; i < n_options; i++)
		if (strcmp(options[i].name, "-n") == 0)
			namespace = options[i].value;
	if (code < 0)
		code = make_target(&a, namespace, &target);
	if (code < 0 && target.cut)
		code = wrong("%s", "the arguments are too long");
	if (code < 0) {
		if (!a.socket || !a.socket[0])
			a.socket = DEFAULT_SOCKET;
		if (a.cmd == CMD_top) {
			code = watch(&a, target.p);
		} else if (a.cmd == CMD_check) {
			code = check_from_here(&a);
		} else if ((code = ask(&a, target.p, &r)) == EXIT_DONE) {
			code = show(&a, &r);
			text_fini(&r.body);
		}
	}
	text_fini(&target);
	free(words);
	free(options);
	return code;
}
