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

enum local local_find(char *const *words, int n, int *n_words)
{
	enum local best = LOCALS;

	*n_words = 0;
	for (unsigned l = 0; l < LOCALS; l++) {
		const char *row = local_row((enum local)l)->words, *second = strchr(row, ' ');
		size_t first = strcspn(row, " ");
		int used;

		if (n < 1 || strncmp(words[0], row, first) != 0 || words[0][first])
			continue;
		used = second && n > 1 && strcmp(words[1], second + 1) == 0 ? 2 : 1;
		if (used > *n_words) {
			*n_words = used;
			best = (enum local)l;
		}
	}
	return best;
}

/* Beside this program (also in a build tree), or where it is installed. */
void local_be(enum local l, char **argv)
{
	static const char *const beside[] = { "..", "../libexec/nodeproxy" };
	const char *env = getenv("NODEPROXY_LIBEXEC"), *program = local_row(l)->program;
	char exe[PATH_MAX], path[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	if (env && env[0]) {
		snprintf(path, sizeof path, "%s/%s", env, program);
		execv(path, argv);
	}
	if (n > 0) {
		exe[n] = 0;
		*strrchr(exe, '/') = 0;
		for (size_t i = 0; i < countof(beside); i++) {
			snprintf(path, sizeof path, "%s/%s/%s", exe, beside[i], program);
			execv(path, argv);
		}
	}
	snprintf(path, sizeof path, LIBEXECDIR "/%s", program);
	execv(path, argv);
	fprintf(stderr, "nodeproxyctl: cannot start %s (beside it, or in " LIBEXECDIR "): %s\n", program,
		strerror(errno));
}
