/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Settings that are several paths, with blanks between them. */
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/knobs/knobs.h"

static struct slice nth(const char *list, unsigned i)
{
	struct slice s = slice_str(list);

	for (;; i--) {
		const uint8_t *blank = s.n ? memchr(s.p, ' ', s.n) : NULL;
		struct slice one = slice_of(s.p, blank ? (size_t)(blank - s.p) : s.n);

		if (i == 0)
			return one;
		s = blank ? slice_from(s, one.n + 1) : slice_from(s, s.n);
	}
}

unsigned knobs_paths(const char *list)
{
	unsigned n = 0;
	size_t bytes = 0;

	for (struct slice one; (one = nth(list, n)).n; n++) {
		if (one.p[0] != '/' || n == KNOBS_PATHS)
			return 0;
		bytes += one.n + (n > 0);
	}
	return bytes == strlen(list) ? n : 0;
}

bool knobs_path(const char *list, unsigned i, char ret[KNOBS_PATH])
{
	struct slice one = nth(list, i);
	size_t n = min_of(one.n, (size_t)KNOBS_PATH - 1);

	if (n)
		memcpy(ret, one.p, n);
	ret[n] = 0;
	return n > 0;
}
