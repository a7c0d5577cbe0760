/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Tenant. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdlib.h>

int make_tenant(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *list = doc_get(spec, "namespaces");
	const struct doc_node *quotas = doc_get(spec, "quotas");
	struct row_tenant *t = &r->tenant;
	uint64_t bytes = 0;

	if (make_array(list->n, &t->namespaces) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list->first; m; m = m->next) {
		judge_field(j, "spec.namespaces[%u]", t->n_namespaces);
		if (m->text.n == 0)
			return judge_refuse(j, m->line, "must not be empty");
		for (uint32_t i = 0; i < t->n_namespaces; i++)
			if (slice_eq(slice_str(t->namespaces[i]), m->text))
				return judge_refuse(j, m->line, "%s is there twice", t->namespaces[i]);
		t->namespaces[t->n_namespaces] = strndup((const char *)m->text.p, m->text.n);
		if (t->namespaces[t->n_namespaces++] == NULL)
			return -ENOMEM;
	}
	t->weight = (uint32_t)make_number(spec, "weight", 1);
	t->connections = (uint32_t)make_number(quotas, "connections", 0);
	t->requests = (uint32_t)make_number(quotas, "requests", 0);
	if (doc_get(quotas, "memory") && !schema_quantity(make_slice_of(quotas, "memory"), &bytes))
		return -EINVAL;		/* the schema has read it already */
	t->memory_bytes = bytes;
	return 0;
}
