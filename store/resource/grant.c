/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* ReferenceGrant: who may name the objects of its namespace.  Grants for kinds that nobody here
 * looks at are kept as they are; they permit nothing. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdlib.h>

int make_grant(struct judge *j __attribute__((unused)), const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *from = doc_get(spec, "from");
	const struct doc_node *to = doc_get(spec, "to");
	struct row_grant *g = &r->grant;

	if (make_array(from->n, &g->from) < 0 || make_array(to->n, &g->to) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = from->first; m; m = m->next) {
		struct row_grant_from *f = &g->from[g->n_from++];

		f->group = make_text(m, "group", "");
		f->kind = make_text(m, "kind", "");
		f->ns = make_text(m, "namespace", "");
		if (f->group == NULL || f->kind == NULL || f->ns == NULL)
			return -ENOMEM;
	}
	for (const struct doc_node *m = to->first; m; m = m->next) {
		struct row_grant_to *t = &g->to[g->n_to++];

		t->group = make_text(m, "group", "");
		t->kind = make_text(m, "kind", "");
		t->name = make_text(m, "name", "");
		if (t->group == NULL || t->kind == NULL || t->name == NULL)
			return -ENOMEM;
	}
	return 0;
}
