/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See local.h. */
#include "admin/cli/local.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"

#define PROGRAM "nodeproxy-ca"

bool local_is_word(const char *word)
{
	size_t n = strlen(word);

	for (unsigned l = 0; l < LOCALS; l++) {
		const char *words = local_row((enum local)l)->words;

		if (strncmp(words, word, n) == 0 && words[n] == ' ')
			return true;
	}
	return false;
}

/* Beside this program (also in a build tree), or where it is installed. */
void local_be(char **argv)
{
	static const char *const beside[] = { "..", "../libexec/nodeproxy" };
	const char *env = getenv("NODEPROXY_LIBEXEC");
	char exe[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	if (env && env[0]) {
		snprintf(path, sizeof path, "%s/" PROGRAM, env);
		execv(path, argv);
	}
	if (n > 0) {
		exe[n] = 0;
		*strrchr(exe, '/') = 0;
		for (size_t i = 0; i < countof(beside); i++) {
			snprintf(path, sizeof path, "%s/%s/" PROGRAM, exe, beside[i]);
			execv(path, argv);
		}
	}
	execv(LIBEXECDIR "/" PROGRAM, argv);
	fprintf(stderr, "nodeproxyctl: cannot start " PROGRAM " (beside it, or in " LIBEXECDIR "): %s\n",
		strerror(errno));
}
