/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See registry.h: what all backends share. */
#include "store/registry/registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *words, *todo;
} errors[REGISTRY_ERRORS] = {
	[REGISTRY_DONE] = { "done", "" },
#define REGISTRY_ERROR(name, words, todo) [REGISTRY_##name] = { words, todo },
#include "store/registry/errors.def"
};

const char *registry_words(enum registry_error e)
{
	must((unsigned)e < REGISTRY_ERRORS);
	return errors[e].words;
}

const char *registry_todo(enum registry_error e)
{
	must((unsigned)e < REGISTRY_ERRORS);
	return errors[e].todo;
}

void registry_value_fini(struct registry_value *v)
{
	free(v->json);
	free(v->refusal);
	free(v->where);
	*v = (struct registry_value){ 0 };
}

void registry_close(struct registry **r)
{
	if (*r)
		(*r)->ops->close(*r);
	*r = NULL;
}

enum registry_error registry_fail(struct registry *r, enum registry_error e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->problem, sizeof r->problem, fmt, ap);
	va_end(ap);
	return e;
}
