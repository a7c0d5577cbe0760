/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The answer of the daemon, as the text that was asked for. */
#ifndef ADMIN_CLI_RENDER_H
#define ADMIN_CLI_RENDER_H

#include <jansson.h>

#include "admin/cli/asked.h"

static inline const char *string_at(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* The answer as an object, when it is one and no error; NULL with the exit code. */
json_t *render_object_of(const struct response *, int *code);
/* Writes it; the exit code, which is code unless something went wrong or the answer says no. */
int render_object(const struct asked *, const json_t *, int code);
/* Both. */
int render(const struct asked *, const struct response *);

#endif
