/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Commands that ask no daemon (LOCAL of commands.def): another program of ours is run in our place. */
#ifndef ADMIN_CLI_LOCAL_H
#define ADMIN_CLI_LOCAL_H

#include "nodeproxy/lib/base/must.h"

/* Whether the first word is one of theirs. */
bool local_is_word(const char *);
/* Becomes the program; argv begins with that word.  Comes back, with words on standard error, when it is
 * not to be found. */
void local_be(char **argv);

#endif
