/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The registry that is a directory of files, or one file: what the file source reads.
 *
 * Objects are changed where they are written; new ones get a file of their own, KIND.NAMESPACE.NAME.yaml
 * (or are appended to the one file).  A file is replaced as a whole, by rename, with its owner and mode,
 * and only if it is still what was read.
 *
 *   opened to read    every file was read once; nothing is held
 *   opened to write   and the directory is locked (flock) against other writers until close
 *
 * Editors take no lock: what they save meanwhile is a conflict, seen right before the rename. */
#ifndef NODEPROXY_STORE_REGISTRY_FILE_H
#define NODEPROXY_STORE_REGISTRY_FILE_H

#include "store/registry/registry.h"

/* A document as text for a file that ends in .json (as_json) or is YAML: ends with a newline,
 * malloc'ed; NULL: no memory. */
typedef char *registry_render_fn(const char *json, bool as_json);

/* render: NULL opens it to read.  wait_ms: for another writer to be done.  On an error *ret is NULL and
 * problem has the words. */
must_use enum registry_error registry_file_open(const char *path, registry_render_fn *render,
						int64_t wait_ms, struct registry **ret,
						char problem[512]);

#endif
