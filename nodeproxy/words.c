/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See words.h. */
#include "nodeproxy/words.h"

#include <stdarg.h>
#include <stdio.h>

#include "nodeproxy/lib/base/log.h"

static char first[256];

void words_say(const char *fmt, ...)
{
	char text[600];		/* settings: file:line: key: reason */
	char line[sizeof text + 16];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n = snprintf(line, sizeof line, "nodeproxy: %s\n", text);
	log_text(line, (size_t)n);
	if (first[0])
		return;
	snprintf(first, sizeof first, "%.255s", text);
	for (char *p = first; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

const char *words_first(void)
{
	return first;
}
