/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Documents: YAML and JSON as one tree that remembers where each thing stood.
 *
 * Everything that people or registries write for us is read here: the bootstrap file (by
 * lib/knobs, in the master) and the resources (by store/resource, in the sync process).  What is
 * read is hostile: a document has a largest size, depth and number of nodes; anchors, aliases,
 * tags, merge keys and duplicate keys are refused with their line.
 *
 * A YAML file is cut into documents at its `---` lines before it is parsed (YAML forbids such a
 * line inside any scalar), so a document that does not parse never hides the next one.
 *
 * A struct doc owns its tree: nodes and texts live in its blocks until doc_fini().  yaml.c links
 * libyaml and json.c links jansson; a program that uses only one of them links only that one. */
#ifndef NODEPROXY_LIB_DOC_DOC_H
#define NODEPROXY_LIB_DOC_DOC_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define DOC_BYTES_MAX	(1u << 20)	/* one document */
#define DOC_FILE_MAX	(16u << 20)	/* one file of documents */
#define DOC_DEPTH_MAX	32
#define DOC_NODES_MAX	100000u
#define DOC_ERROR	256

/* Plain YAML scalars are what Kubernetes takes them for: yes, on, True … are booleans, ~ is null.
 * DOC_NUMBER is any number that is not a plain decimal integer of 64 bits (1.5, 1e3, 0x1f, 017). */
enum doc_type { DOC_NULL, DOC_BOOL, DOC_INT, DOC_NUMBER, DOC_STR, DOC_LIST, DOC_MAP };

struct doc_node {
	enum doc_type type;
	uint32_t line;			/* of its first character; 1 is the first */
	uint32_t n;			/* LIST, MAP: members */
	bool boolean;			/* BOOL */
	bool hidden;			/* set by a reader: doc_canonical leaves it out */
	int64_t number;			/* INT */
	struct slice text;		/* scalars: as written, a NUL follows */
	struct slice key;		/* member of a MAP: its key, a NUL follows */
	struct doc_node *first, *last;	/* LIST, MAP: members as written */
	struct doc_node *next;
	struct doc_node **sorted;	/* MAP: by key, bytewise */
};

struct doc {
	struct doc_node *root;		/* after an error: as far as it was read, or NULL */
	uint32_t line;			/* where the document starts */
	uint32_t nodes;
	struct doc_block *blocks;
};

struct doc_error {
	uint32_t line;
	char text[DOC_ERROR];		/* one line, ASCII, what is wrong and what to do */
};

/* The documents of one YAML file.  bytes are borrowed and must stay. */
struct doc_stream {
	struct slice rest;
	uint32_t line;
	bool any;			/* something was handed out */
};

void doc_stream_init(struct doc_stream *, struct slice bytes);
/* The next document: 1; 0 at the end; -EINVAL with ret_error when this document is broken (too
 * large, not YAML, duplicate keys …) and -ENOMEM: the stream then stands behind it and goes on.
 * Documents without content are skipped.  In all cases doc_fini(ret) is due; after an error its
 * root holds what was read before it, good for nothing but guessing whose document it was. */
must_use int doc_yaml_next(struct doc_stream *, struct doc *ret, struct doc_error *ret_error);

/* One JSON value.  0, -EINVAL with ret_error, or -ENOMEM; doc_fini(ret) is due in all cases.
 * Only errors have a line inside the text: every node says line (the parser knows no more). */
must_use int doc_json(struct slice bytes, uint32_t line, struct doc *ret,
		      struct doc_error *ret_error);

void doc_fini(struct doc *);

/* The member with this key; NULL when absent, null, or when node is NULL or not a map. */
struct doc_node *doc_get(const struct doc_node *, const char *key);
/* "text", "list", … for messages. */
const char *doc_type_name(enum doc_type);

/* Canonical JSON: keys sorted bytewise, no blanks, null members and hidden nodes left out; the
 * same object gives the same bytes, whether it came as YAML or JSON.  *ret is malloced, ends with
 * a NUL and is the caller's.  -EINVAL: a DOC_NUMBER outside anything hidden. */
must_use int doc_canonical(const struct doc_node *, char **ret, size_t *ret_n);

/* For "did you mean": the candidate nearest to word, or NULL when none is near enough.
 * nth(arg, i) says the i-th candidate, NULL after the last. */
const char *doc_nearest(struct slice word, const char *(*nth)(const void *arg, unsigned i),
			const void *arg);
/* A copy of strangers' bytes for a message: at most room - 1, what is not printable ASCII as ?,
 * cut with "...".  Returns out. */
const char *doc_clean(struct slice, char *out, size_t room);

/* For yaml.c and json.c: how a tree is made.  NULL: no memory (or too many nodes). */
void *doc_take(struct doc *, size_t bytes);
struct doc_node *doc_node_new(struct doc *, enum doc_type, uint32_t line);
must_use int doc_text(struct doc *, struct slice, struct slice *ret);	/* 0 or -ENOMEM */
void doc_append(struct doc_node *parent, struct doc_node *member);
/* Sorts a finished map: 0, -ENOMEM, or -EEXIST with the later one of two equal keys. */
must_use int doc_seal(struct doc *, struct doc_node *map, const struct doc_node **ret_twice);

#endif
