/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What policies are attached to: Services of their own namespace, or one port of each (GEP-713,
 * direct). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/resource/make.h"

static int target(struct judge *j, const struct doc_node *m, struct row_target *all, uint32_t at)
{
	struct row_target *t = &all[at];
	char where[64];
	int e;

	snprintf(where, sizeof where, "spec.targetRefs[%u]", at);
	e = make_must_be_service(j, m, where);
	if (e < 0)
		return e;
	t->name = make_text(m, "name", "");
	t->section = make_text(m, "sectionName", "");
	if (t->name == NULL || t->section == NULL)
		return -ENOMEM;
	judge_field(j, "%s", where);
	for (uint32_t i = 0; i < at; i++)
		if (strcmp(t->name, all[i].name) == 0 && strcmp(t->section, all[i].section) == 0)
			return judge_refuse(j, m->line, "is the same as targetRefs[%u]", i);
	return 0;
}

int make_targets(struct judge *j, const struct doc_node *spec, struct row_target **ret, uint32_t *ret_n)
{
	const struct doc_node *list = doc_get(spec, "targetRefs");

	*ret_n = 0;
	if (make_array(list->n, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list->first; m; m = m->next) {
		int e = target(j, m, *ret, (*ret_n)++);

		if (e < 0)
			return e;
	}
	return 0;
}
