/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Namespace: this release has no mode that a label of it could choose. */
#include "store/resource/make.h"

int make_namespace(struct judge *j __attribute__((unused)), const struct doc_node *root, struct row *r)
{
	const struct doc_node *labels = doc_get(doc_get(root, "metadata"), "labels");

	r->namespace.unused_labels = labels ? labels->n : 0;
	return 0;
}
