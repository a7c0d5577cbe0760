/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* From a document that schema_check() accepted to its row: one function per kind, in a file of
 * its own.  Each fills only its member of the row's union and judges what one field alone cannot
 * say.  0, -EINVAL with the judge told why, or -ENOMEM; row_free takes what was made so far. */
#ifndef NODEPROXY_STORE_RESOURCE_MAKE_H
#define NODEPROXY_STORE_RESOURCE_MAKE_H

#include "store/resource/schema.h"

must_use int make_namespace(struct judge *, const struct doc_node *root, struct row *);
must_use int make_tenant(struct judge *, const struct doc_node *root, struct row *);
must_use int make_service(struct judge *, const struct doc_node *root, struct row *);
must_use int make_slice(struct judge *, const struct doc_node *root, struct row *);
must_use int make_route(struct judge *, const struct doc_node *root, struct row *);
must_use int make_grant(struct judge *, const struct doc_node *root, struct row *);
must_use int make_policy(struct judge *, const struct doc_node *root, struct row *);
must_use int make_rate(struct judge *, const struct doc_node *root, struct row *);
must_use int make_workload(struct judge *, const struct doc_node *root, struct row *);
must_use int make_backend_tls(struct judge *, const struct doc_node *root, struct row *);
must_use int make_config_map(struct judge *, const struct doc_node *root, struct row *);
must_use int make_resident(struct judge *, const struct doc_node *root, struct row *);

/* The filters of a rule or of one of its back ends, in rules[rule].filters or, backend >= 0, in
 * rules[rule].backendRefs[backend].filters, of a route in ns. */
must_use int make_filters(struct judge *, const struct doc_node *list, const char *ns, uint32_t rule,
			  int backend, struct row_filter **ret, uint32_t *ret_n);
/* What filters ask of the rule that has them, rules[at], when all of it was made. */
must_use int make_filters_fit(struct judge *, const struct doc_node *rule, uint32_t at,
			      const struct row_rule *);
must_use int make_backend_policy(struct judge *, const struct doc_node *root, struct row *);

/* `timeouts` and `retry` of a rule, `retries` of a policy: route_times.c. */
must_use int make_rule_times(struct judge *, const struct doc_node *rule, uint32_t at, struct row_rule *);
must_use int make_policy_retries(struct judge *, const struct doc_node *spec, struct row_policy *);
/* budget and rate may be NULL: the defaults. */
void make_budget(const struct doc_node *budget, const struct doc_node *rate, struct row_budget *);

/* group and kind of a reference must name a Service, which absent ones do. */
must_use int make_must_be_service(struct judge *, const struct doc_node *ref, const char *where);
must_use int make_health(struct judge *, const struct doc_node *check, struct row_health *);
/* spec.targetRefs of a policy: Services of its own namespace.  *ret_n counts what row_free must take,
 * also when it fails. */
must_use int make_targets(struct judge *, const struct doc_node *spec, struct row_target **ret,
			  uint32_t *ret_n);
/* A map of labels, or of what they must be; *ret_n counts what row_free must take, also when it fails. */
must_use int make_labels(struct judge *, const struct doc_node *map, struct row_pair **ret, uint32_t *ret_n);
/* A malloced copy of the text of a field of map, or of def when it is absent; NULL: no memory. */
char *make_text(const struct doc_node *map, const char *field, const char *def);
/* The number of a field of map, or def when it is absent. */
int64_t make_number(const struct doc_node *map, const char *field, int64_t def);
/* The ms of a duration of map, or def when it is absent. */
uint32_t make_duration(const struct doc_node *map, const char *field, uint32_t def);
/* The flag of a field of map, or def when it is absent. */
bool make_flag(const struct doc_node *map, const char *field, bool def);
/* The text of a field of map, empty when it is absent. */
struct slice make_slice_of(const struct doc_node *map, const char *field);
enum row_protocol make_protocol(const struct doc_node *map);
/* Zeroed memory for n things, never NULL without -ENOMEM: *ret stays NULL for n == 0. */
#define make_array(n, ret)                                                                         \
	((n) == 0 ? 0 : (*(ret) = calloc((n), sizeof **(ret))) ? 0 : -ENOMEM)

#endif
