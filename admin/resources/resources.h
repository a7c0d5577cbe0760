/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-resources: nodeproxyctl's apply, delete and get of documents in the registry, and store.
 *
 * No process of the daemon writes resources.  The operator's program reads nodeproxy.yaml for where the
 * registry is, judges documents with the very code that the sync process uses, and writes with the
 * rights of who runs it; the daemon is only asked what became of it. */
#ifndef ADMIN_RESOURCES_RESOURCES_H
#define ADMIN_RESOURCES_RESOURCES_H

#include <jansson.h>

#include "admin/options.h"
#include "admin/text.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "store/registry/registry.h"
#include "store/rows.h"

/* The answers; NULL when words on standard error are all there is. */
json_t *resources_apply(const struct options *, int *ret_code);
json_t *resources_delete(const struct options *, int *ret_code);
json_t *resources_get(const struct options *, int *ret_code);
json_t *resources_store_check(const struct options *, int *ret_code);
json_t *resources_store_export(const struct options *, int *ret_code);

/* ---- what they share ---- */

/* "nodeproxyctl: ..." on standard error; returns code. */
int say_error(int code, const char *fmt, ...) printf_like(2, 3);
/* The socket of the daemon; NULL: as nodeproxy.yaml says. */
const char *resources_socket(const struct options *);
/* What nodeproxy.yaml says: that of -c or NODEPROXY_CONFIG; else as the daemon has read it whose socket
 * was named; else where it is usually.  NULL: said why not, with *ret_code.  must: else, when nothing
 * was named and there is none, defaults do. */
struct knobs *resources_knobs(const struct options *, bool must, int *ret_code);
/* KIND and [NAMESPACE/]NAME as a key (group is not filled in); name "": none was given.  -1, or an exit
 * code after words.  The texts live as long as the process. */
int resources_key(const struct options *, struct registry_key *ret);
/* "Kind namespace/name"; returns out. */
#define RESOURCES_WORDS 600
const char *resources_words(enum row_kind, const char *ns, const char *name, char out[RESOURCES_WORDS]);

/* An entry of "documents". */
json_t *resources_document(const struct registry_key *, const struct registry_value *);
/* By kind as kinds.def has them, namespace and name; takes the list. */
json_t *resources_sorted(json_t *documents);

#endif
