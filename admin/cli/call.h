/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One request to the daemon over its Unix socket, and the whole answer. */
#ifndef ADMIN_CLI_CALL_H
#define ADMIN_CLI_CALL_H

#include "admin/text.h"

#define CALL_ANSWER_BYTES (256u << 20)
#define CALL_SECONDS	  30	/* without a byte of the answer */
#define CALL_LONG_SECONDS 660	/* where the daemon works on it: the longest timeouts.upgrade, and more */

struct response {
	int status;
	struct text body;	/* the caller's to text_fini */
};

/* 0, or -errno (the daemon cannot be reached, went away, or speaks nonsense: -EPROTO) with a
 * sentence and advice in problem. */
must_use int call_daemon(const char *socket_path, const char *method, const char *target,
			 int seconds, struct response *ret, char problem[512]);
/* %XX for everything that may not stand in a path segment or query value. */
void call_escape(struct text *, const char *);

#endif
