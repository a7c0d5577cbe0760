/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Namespace: labels of it choose the modes of ns_modes.def. */
#include "store/resource/make.h"

int make_namespace(struct judge *j __attribute__((unused)), const struct doc_node *root, struct row *r)
{
	const struct doc_node *labels = doc_get(doc_get(root, "metadata"), "labels");

	for (const struct doc_node *l = labels ? labels->first : NULL; l; l = l->next) {
		enum ns_mode m = ns_mode_by_label(l->key);

		/* Which the walk over the document has accepted. */
		if (m == NS_MODES || !ns_mode_parse(m, l->text, &r->namespace.modes.of[m]))
			r->namespace.unused_labels++;
	}
	return 0;
}
