/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Resources: documents to rows, or to refusals.
 *
 * The one door between what people and registries write and what we believe.  Validation is total:
 * a document becomes a row as a whole or is refused as a whole, with source, line, field and
 * reason.  Documents are judged one by one; nothing here looks at another document (two of the
 * same name, a Service that a route names: that is the model's business in store/sync).
 *
 * What is known of each kind and field is one row of kinds.def, from which validation and
 * nodeproxy-resources(5) come. */
#ifndef NODEPROXY_STORE_RESOURCE_RESOURCE_H
#define NODEPROXY_STORE_RESOURCE_RESOURCE_H

#include "nodeproxy/lib/doc/doc.h"
#include "store/rows.h"

/* Why a document was not accepted.  All texts are one line of printable ASCII and never NULL. */
struct refusal {
	char *source;		/* as given to the reader */
	uint32_t line;		/* where it is wrong, or where the document starts; >= 1 */
	char *field;		/* "spec.ports[0].port"; "" when it is the document as a whole */
	char *reason;
	char *kind, *ns, *name;	/* whose document it was, as far as could be read; "" when unknown */
	uint32_t doc_line;	/* where the document starts */
	int64_t generation;	/* metadata.generation; 0: absent */
	bool broken;		/* not YAML or over a limit: kind, ns and name are a guess from what
				 * came before the error.  Nobody can tell which object is missing,
				 * so the file's earlier objects must stay. */
};

/* Where a Resident is written, and what it is called; false: it does not fit. */
must_use bool resource_resident_place(const char *root, const char *node, const char *ns, const char *pod,
				      char *out, size_t room);
/* It means the same on every host. */
bool resource_resident_may_have(const struct addr *);
must_use bool resource_resident_name(const char *pod, const char *node, char *out, size_t room);

void refusal_free(struct refusal **);
/* "source:line: field: reason" for logs; returns out. */
const char *refusal_text(const struct refusal *, char *out, size_t room);

/* All documents of one YAML file.  source and bytes are borrowed until the last next(). */
struct resource_reader {
	struct doc_stream stream;
	const char *source;
	bool too_large;
};

void resource_reader_init(struct resource_reader *, const char *source, struct slice bytes);
/* The next document: 1 with exactly one of *ret_row (row_free is due) and *ret_refusal
 * (refusal_free is due) set and the other NULL; 0 at the end; -ENOMEM (both NULL; the reader
 * stands behind that document).  A file over DOC_FILE_MAX is one refusal without a name. */
must_use int resource_next(struct resource_reader *, struct row **ret_row,
			   struct refusal **ret_refusal);

/* One object as JSON: from our own store at cold start, or from a registry.  Same validation; 0
 * with exactly one of both set, or -ENOMEM.  line is what the row and any refusal say. */
must_use int resource_json(const char *source, uint32_t line, struct slice json,
			   struct row **ret_row, struct refusal **ret_refusal);

/* SHA-256 of a document's text, as row.digest is that of row.json. */
void resource_digest(struct slice json, uint8_t ret[32]);

/* The kinds this release serves, as "Namespace, Tenant, ...". */
const char *resource_kinds(void);
/* The kind that commands call by this word, its name in lower case; false: there is none. */
bool resource_kind_of(const char *word, enum row_kind *ret);
bool resource_is_namespaced(enum row_kind);
/* Its group, "" for core; returns out. */
const char *resource_group(enum row_kind, char *out, size_t room);

/* Names of files in a directory that are documents: *.yaml, *.yml, *.json, not hidden, of printable
 * ASCII and short enough for a message. */
#define RESOURCE_FILE_NAME 256	/* with its NUL */
bool resource_is_file(const char *name);

#endif
