/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Between compile.c and the files of its parts. */
#ifndef NODEPROXY_STORE_VIEW_COMPILE_INNER_H
#define NODEPROXY_STORE_VIEW_COMPILE_INNER_H

#include "store/view/out.h"

int compile_str_cmp(const char *a, const char *b);	/* bytes; NULL is "" */
/* For qsort of struct row pointers: the older one first, then by namespace, name and kind. */
int compile_by_age(const void *a, const void *b);

/* The times of all units in the making. */
struct all_times {
	struct unit_times *p;
	uint32_t n, room;
};
/* The number + 1 of these, the same for the same; 0: they say nothing. */
uint32_t compile_times(struct out *, struct all_times *, const struct row_times *, const struct retries *);

/* The route names this Service, and this port of it (NULL: any), as a parent. */
bool compile_attached(const struct row_route *, const struct row *service,
		      const struct row_service_port *port);
/* The routes that matter here: those of the Service's namespace, then the others by namespace, each
 * the oldest first; caller frees; NULL: no memory. */
const struct row **compile_pick_routes(const struct unit_service *, uint32_t *ret_n);
/* The rules of all of them, in their order; the offset.  *filters: number of the first filter of
 * them, and then of the first behind them. */
uint32_t compile_put_rules(struct out *, const struct row *const *routes, uint32_t n,
			   uint32_t *filters, struct all_times *, uint32_t *ret_n);
/* The backends of all rules, in the order of the rules; the offset. */
uint32_t compile_put_backends(struct out *, const struct unit_service *,
			      const struct row *const *routes, uint32_t n, unit_id_fn id_of,
			      void *arg, uint32_t *filters, uint32_t *ret_n);
/* Tables, entries and all they need, of every port; says in the unit and its ports where they are. */
void compile_put_matches(struct out *, const struct row *service, const struct row *const *routes,
			 uint32_t n, const struct row_service_port *const *ports, uint32_t n_ports,
			 struct unit_svc *);
/* Bytes of a PathPrefix that must match: without the slashes at its end. */
uint32_t compile_prefix_key(const char *path);
/* What BackendTLSPolicies say of the ports, and where that is. */
void compile_put_tls(struct out *, const struct unit_service *, const struct row_service_port *const *ports,
		     uint32_t n_ports, struct unit_svc *);
/* The filters of all rules, then those of all backends, in their order; the offset. */
uint32_t compile_put_filters(struct out *, const struct unit_service *,
			     const struct row *const *routes, uint32_t n,
			     unit_id_fn id_of, void *arg, uint32_t *ret_n);

#endif
