/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxyctl: asks the daemon over its admin socket and shows the answer.
 *
 * Everything it can ask is a row of commands.def; asked.c turns words into a request, render.c the answer
 * into text.  Exit codes: 0 done, 1 refused or not found (for check: an error was found), 2 usage, 3 the
 * daemon cannot be reached. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/cli/local.h"
#include "admin/cli/offline.h"
#include "admin/cli/render.h"
#include "admin/cli/watch.h"
#include "admin/options.h"

#define DEFAULT_SOCKET "/run/nodeproxy/admin.sock"

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

/* Without a daemon: what can be seen from here.  Still EXIT_AWAY. */
static int check_from_here(const struct asked *a)
{
	struct text t = text_of(1 << 20);
	char problem[512];
	struct response r;
	json_t *o;

	if (call_daemon(a->socket, "GET", cmd_row(CMD_check)->path, CALL_SECONDS, &r, problem) == 0) {
		int code = render(a, &r);

		text_fini(&r.body);
		return code;
	}
	*strchrnul(problem, '\n') = 0;
	offline_check(problem, &t);
	o = json_loadb(t.p ? t.p : "", t.n, 0, NULL);
	if (o)
		(void)render_object(a, o, EXIT_DONE);
	json_decref(o);
	text_fini(&t);
	return EXIT_AWAY;
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
		(void)asked_command(words, n, &n_command);
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
	code = asked_split(argc, argv, &a, words, &n_words, options, &n_options);
	if (code < 0) {
		a.cmd = asked_command(words, n_words, &used);
		if (a.cmd == CMDS && (a.help || (n_words == 1 && strcmp(words[0], "help") == 0))) {
			usage(stdout);
			code = EXIT_DONE;
		} else if (a.cmd == CMDS && n_words == 0) {
			usage(stderr);
			code = EXIT_USAGE;
		} else if (a.cmd == CMDS) {
			code = asked_wrong("there is no command %s", words[0]);
		} else if (a.help) {
			command_usage(a.cmd);
			code = EXIT_DONE;
		}
	}
	if (code < 0)
		code = asked_arguments(&a, words + used, n_words - used, options, n_options);
	if (code < 0)
		code = asked_files(&a);
	for (int i = 0; i < n_options; i++)
		if (strcmp(options[i].name, "-n") == 0)
			namespace = options[i].value;
	if (code < 0)
		code = asked_target(&a, namespace, &target);
	if (code < 0 && target.cut)
		code = asked_wrong("%s", "the arguments are too long");
	if (code < 0) {
		if (!a.socket || !a.socket[0])
			a.socket = DEFAULT_SOCKET;
		if (a.cmd == CMD_top) {
			code = watch(&a, target.p);
		} else if (a.cmd == CMD_check) {
			code = check_from_here(&a);
		} else if ((code = asked_send(&a, target.p, &r)) == EXIT_DONE) {
			code = render(&a, &r);
			text_fini(&r.body);
		}
	}
	text_fini(&target);
	free(words);
	free(options);
	return code;
}
