/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See notify.h. */
#include "nodeproxy/notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nodeproxy/lib/base/slice.h"

void notify(const char *fmt, ...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	char text[512];
	va_list ap;
	int s, len;

	if (n < 2 || n >= sizeof a.sun_path || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(a.sun_path, path, n);
	if (path[0] == '@')
		a.sun_path[0] = 0;	/* the abstract namespace */
	va_start(ap, fmt);
	len = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof text)
		return;
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return;
	(void)!sendto(s, text, (size_t)len, MSG_NOSIGNAL, (struct sockaddr *)&a,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(s);
}

int64_t notify_watchdog_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *whom = getenv("WATCHDOG_PID");
	uint64_t v, pid;

	if (!us || !slice_u64(slice_str(us), INT64_MAX, &v))
		return 0;
	/* Meant for the process that was started: our keeper. */
	if (whom && (!slice_u64(slice_str(whom), INT32_MAX, &pid) || (pid_t)pid != getppid()))
		return 0;
	return (int64_t)(v / 1000);
}
