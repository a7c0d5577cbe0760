/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A file of documents, and how one of them is changed without touching the others.
 *
 * People write such files by hand, with comments, in their own order, several objects in one.  So a
 * document is a range of lines: from its first line with content to its last; everything outside,
 * comments and --- lines included, stays byte for byte.  Comments inside go with what they are about.
 *
 * Pure: bytes in, bytes out.  An edit is only believed after the result was read again and says what
 * it said, but for the one document (edit_is_sound). */
#ifndef NODEPROXY_STORE_REGISTRY_EDIT_H
#define NODEPROXY_STORE_REGISTRY_EDIT_H

#include "store/registry/registry.h"
#include "store/resource/resource.h"

struct edit_doc {
	struct row *row;		/* one of both */
	struct refusal *refusal;
	uint64_t version;		/* of its content; never 0 */
	size_t marker;			/* where its --- line starts; from: it has none */
	size_t from, to;		/* its lines */
	bool on_marker;			/* it begins on its --- line, which is part of it then */
};

struct edit {
	struct slice bytes;		/* borrowed */
	struct edit_doc *v;
	size_t n, room;
};

/* name: of the file, for words.  0 or -ENOMEM; edit_fini is due in both cases. */
must_use int edit_read(struct edit *, const char *name, struct slice bytes);
void edit_fini(struct edit *);

/* What the document says it is, as far as it could be read. */
struct registry_key edit_key(const struct edit_doc *);
uint32_t edit_line(const struct edit_doc *);
/* What changed documents have as their version. */
uint64_t edit_version(struct slice json);

/* The file with one document another one (text, which ends with a newline), one more, or one less.
 * malloc'ed; NULL: no memory. */
char *edit_replace(const struct edit *, size_t i, struct slice text, size_t *ret_n);
char *edit_append(const struct edit *, struct slice text, size_t *ret_n);
char *edit_remove(const struct edit *, size_t i, size_t *ret_n);

/* now is was with document i replaced by one of this version (i == was->n: with that one appended;
 * version 0: without i). */
bool edit_is_sound(const struct edit *was, const struct edit *now, size_t i, uint64_t version);
/* Nothing but blanks and --- lines. */
bool edit_is_blank(struct slice bytes);

#endif
