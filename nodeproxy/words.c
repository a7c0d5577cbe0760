/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See words.h. */
#include "nodeproxy/words.h"

#include <stdarg.h>
#include <stdio.h>

static char last[600];	/* settings: file:line: key: reason */

void words_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last, sizeof last, fmt, ap);
	va_end(ap);
	fprintf(stderr, "nodeproxy: %s\n", last);
	for (char *p = last; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

const char *words_last(void)
{
	return last;
}
