/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Between compile.c and compile_routes.c. */
#ifndef NODEPROXY_STORE_VIEW_COMPILE_INNER_H
#define NODEPROXY_STORE_VIEW_COMPILE_INNER_H

#include "store/view/out.h"

int compile_str_cmp(const char *a, const char *b);	/* bytes; NULL is "" */
/* For qsort of struct row pointers: the older one first, then by namespace and name. */
int compile_by_age(const void *a, const void *b);

/* The routes that matter here, oldest first; caller frees; NULL: no memory. */
const struct row **compile_pick_routes(const struct unit_service *, uint32_t *ret_n);
/* The rules of all of them, in their order; the offset. */
uint32_t compile_put_rules(struct out *, const struct row *const *routes, uint32_t n,
			   uint32_t *ret_n);
/* The backends of all rules, in the order of the rules; the offset. */
uint32_t compile_put_backends(struct out *, const struct row *const *routes, uint32_t n,
			      unit_id_fn id_of, void *arg, uint32_t *ret_n);
/* The entries of one port, appended; the arrays of all ports lie back to back. */
void compile_put_entries(struct out *, const struct row *service, const struct row *const *routes,
			 uint32_t n, const struct row_service_port *port, uint32_t unit_port_at,
			 uint32_t first, uint32_t *total);

#endif
