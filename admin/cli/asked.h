/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What was asked: from the words of a command line to a request, by the rows of commands.def. */
#ifndef ADMIN_CLI_ASKED_H
#define ADMIN_CLI_ASKED_H

#include "admin/cli/call.h"
#include "admin/command.h"

enum format { TABLE, JSON, YAML };

struct asked {
	enum cmd cmd;
	const char *socket;
	enum format format;
	const char *value[CMD_ARGS];	/* of the arguments; NULL: not given */
	char lines[2048];	/* of the one argument of a command that may be given several times */
	bool help;
};

struct option_seen {
	const char *name, *value;
};

/* Says what is wrong with the words (fmt with one %s, for what); EXIT_USAGE. */
int asked_wrong(const char *fmt, const char *what);
/* The command whose words these are: the longest that fits; *n_words of them. */
enum cmd asked_command(char **words, int n, int *n_words);
/* Splits argv into words and options.  -1, or an exit code. */
int asked_split(int argc, char **argv, struct asked *, char **words, int *n_words,
		struct option_seen *options, int *n_options);
/* What stands behind the words of the command.  -1, or an exit code. */
int asked_arguments(struct asked *, char **words, int n_words, const struct option_seen *options,
		    int n_options);
/* What a file says is told as if it had been said here.  -1, or an exit code. */
int asked_files(struct asked *);
/* The path and query of the request.  -1, or an exit code. */
int asked_target(const struct asked *, const char *namespace, struct text *);
/* The value of an argument; NULL: it was not given. */
const char *asked_value(const struct asked *, const char *name);
uint64_t asked_number(const struct asked *, const char *name, uint64_t otherwise);

/* EXIT_DONE: the answer is there; else an exit code, with words on standard error. */
int asked_send(const struct asked *, const char *target, struct response *);

#endif
