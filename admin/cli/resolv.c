/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resolv.h. */
#include "admin/cli/resolv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/net/resolvconf.h"

int resolv_add(const char *file, char *lines, size_t room)
{
	struct fd f = { open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY) };
	struct addr a[RESOLVCONF_MOST];
	unsigned n = 0;
	int r = f.v < 0 ? -errno : resolvconf_read(f.v, a, &n);

	fd_close(&f);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		size_t at = strlen(lines);
		char text[ADDR_TEXT];

		if (snprintf(lines + at, room - at, "%s%s", at ? "\n" : "", addr_text(&a[i], false, text)) >=
		    (int)(room - at))
			return -ENOSPC;
	}
	return n ? 0 : -ENOENT;
}
