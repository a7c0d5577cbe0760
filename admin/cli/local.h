/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Commands that work with the rights of who gives them (LOCAL of commands.def): another program of ours
 * is run in our place. */
#ifndef ADMIN_CLI_LOCAL_H
#define ADMIN_CLI_LOCAL_H

#include "admin/command.h"

/* What the words are the beginning of; LOCALS: none.  *n_words: of the command; 1 when only the first is
 * right, and the program has to say what is wrong. */
enum local local_find(char *const *words, int n, int *n_words);
/* Becomes the program; argv begins with the command's words.  Comes back, with words on standard error,
 * when it is not to be found. */
void local_be(enum local, char **argv);

#endif
