/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See command.h. */
#include "admin/command.h"

#define BY_HERE		 false
#define BY_MASTER(order) true

static const struct cmd_row cmds[] = {
#define CMD(name, words, method, path, permission, answers, list, help)                            \
	[CMD_##name] = { #name, words, CMD_##method, path, PERMISSION_##permission, BY_##answers,  \
			 list, help },
#include "admin/commands.def"
};
static_must(countof(cmds) == CMDS);

static const struct arg_row args[] = {
#define ARG(cmd, name, kind, option, value, help)                                                  \
	{ CMD_##cmd, #name, ARG_##kind, option, value, help },
#include "admin/commands.def"
};

static const struct col_row cols[] = {
#define COL(cmd, heading, path) { CMD_##cmd, heading, path },
#include "admin/commands.def"
};

static const struct local_row locals[] = {
#define LOCAL(name, words, program, help) { words, program, help },
#include "admin/commands.def"
};
static_must(countof(locals) == LOCALS);

static const struct local_arg local_args[] = {
#define LARG(local, option, value, help) { LOCAL_##local, option, value, help },
#include "admin/commands.def"
};

const struct cmd_row *cmd_row(enum cmd c)
{
	must((unsigned)c < CMDS);
	return &cmds[c];
}

const struct arg_row *cmd_arg(enum cmd c, unsigned i)
{
	for (size_t k = 0; k < countof(args); k++)
		if (args[k].cmd == c && i-- == 0)
			return &args[k];
	return NULL;
}

const struct col_row *cmd_col(enum cmd c, unsigned i)
{
	for (size_t k = 0; k < countof(cols); k++)
		if (cols[k].cmd == c && i-- == 0)
			return &cols[k];
	return NULL;
}

const struct local_row *local_row(enum local l)
{
	must((unsigned)l < LOCALS);
	return &locals[l];
}

const struct local_arg *local_arg(enum local l, unsigned i)
{
	for (size_t k = 0; k < countof(local_args); k++)
		if (local_args[k].local == l && i-- == 0)
			return &local_args[k];
	return NULL;
}

enum cmd cmd_of_path(struct slice path, struct slice *ret_rest)
{
	for (unsigned c = 0; c < CMDS; c++) {
		struct slice p = slice_str(cmds[c].path);

		if (p.p[p.n - 1] == '/' ? slice_starts(path, p) && path.n > p.n
					: slice_eq(path, p)) {
			*ret_rest = slice_from(path, p.n);
			return (enum cmd)c;
		}
	}
	return CMDS;
}

unsigned permission_of_uid(uint32_t uid)
{
	return uid == 0 ? PERMISSION_LOOK | PERMISSION_CHANGE | PERMISSION_DEBUG : PERMISSION_LOOK;
}

bool cmd_is_allowed(enum cmd c, unsigned permissions)
{
	return (unsigned)c < CMDS && (cmds[c].permission & permissions) != 0;
}
