/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The words of a LOCAL command (commands.def), for the programs that nodeproxyctl becomes: which command
 * they are, and its arguments.  Says on standard error what is wrong with them. */
#ifndef ADMIN_OPTIONS_H
#define ADMIN_OPTIONS_H

#include "admin/command.h"

#define OPTIONS_MAX 20	/* arguments of one command */

/* As nodeproxyctl's: what a program ends with. */
enum { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, EXIT_AWAY };

struct options {
	enum local what;
	const char *value[OPTIONS_MAX];	/* in the order of their rows; NULL: not given; a flag: "" */
	char lines[8192];		/* of an argument given several times: one a line */
};

/* argv[0] is the first word of the command.  -1: go on; else what to exit with (help was asked for, or
 * it is wrong). */
must_use int options_read(int argc, char **argv, const char *program, struct options *ret);
/* Of an option ("--dir"), or of a positional argument by its value ("KIND"). */
const char *options_value(const struct options *, const char *name);
int options_wrong(const char *what, const char *which);

#endif
