/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resource.h: refusals. */
#include "store/resource/resource.h"

#include <stdio.h>
#include <stdlib.h>

void refusal_free(struct refusal **r)
{
	if (*r == NULL)
		return;
	free((*r)->source);
	free((*r)->field);
	free((*r)->reason);
	free((*r)->kind);
	free((*r)->ns);
	free((*r)->name);
	free(*r);
	*r = NULL;
}

const char *refusal_text(const struct refusal *r, char *out, size_t room)
{
	snprintf(out, room, "%s:%u: %s%s%s", r->source, r->line, r->field, r->field[0] ? ": " : "",
		 r->reason);
	return out;
}
