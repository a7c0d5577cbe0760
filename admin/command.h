/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Commands: the rows of commands.def, for the daemon and for nodeproxyctl.  All of it is constant
 * data; nothing here knows how a command is answered. */
#ifndef ADMIN_COMMAND_H
#define ADMIN_COMMAND_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

enum cmd {
#define CMD(name, words, method, path, permission, answers, list, help) CMD_##name,
#include "admin/commands.def"
	CMDS
};

/* Those that ask no daemon. */
enum local {
#define LOCAL(name, words, program, help) LOCAL_##name,
#include "admin/commands.def"
	LOCALS
};

/* No permission is 0: a row without one does not compile. */
enum permission { PERMISSION_LOOK = 1, PERMISSION_CHANGE = 2, PERMISSION_DEBUG = 4 };
enum cmd_method { CMD_GET, CMD_POST };
/* LOCAL ones are nodeproxyctl's own: the daemon knows no such argument. */
enum arg_kind {
	ARG_TEXT, ARG_TEXTS, ARG_NUMBER, ARG_FLAG, ARG_LOCAL_TEXT, ARG_LOCAL_NUMBER, ARG_LOCAL_FLAG
};

struct cmd_row {
	const char *name, *words;
	enum cmd_method method;
	const char *path;
	enum permission permission;
	bool by_master;
	const char *list, *help;
};

struct arg_row {
	enum cmd cmd;
	const char *name;
	enum arg_kind kind;
	const char *option, *value, *help;
};

struct col_row {
	enum cmd cmd;
	const char *heading, *path;
};

struct local_row {
	const char *words, *program, *help;
};

struct local_arg {
	enum local local;
	const char *option, *value, *help;
};

#define CMD_ARGS 12	/* of one command at most */

static inline bool arg_is_local(const struct arg_row *a)
{
	return a->kind >= ARG_LOCAL_TEXT;
}

static inline bool arg_is_flag(const struct arg_row *a)
{
	return a->kind == ARG_FLAG || a->kind == ARG_LOCAL_FLAG;
}

const struct cmd_row *cmd_row(enum cmd);
/* The i-th argument or column of a command; NULL after the last. */
const struct arg_row *cmd_arg(enum cmd, unsigned i);
const struct col_row *cmd_col(enum cmd, unsigned i);

const struct local_row *local_row(enum local);
/* The i-th argument; NULL after the last. */
const struct local_arg *local_arg(enum local, unsigned i);

/* The command of a path without its query; *rest is what follows a path that ends with "/".
 * CMDS: none.  The method is the caller's to compare. */
enum cmd cmd_of_path(struct slice path, struct slice *ret_rest);

/* What somebody with these credentials (SO_PEERCRED of the admin socket) may do: uid 0 everything.
 * The socket is 0600, or 0660 with the group that admin.group names, so whoever else was let in by
 * the kernel may look. */
unsigned permission_of_uid(uint32_t uid);
bool cmd_is_allowed(enum cmd, unsigned permissions);

#endif
