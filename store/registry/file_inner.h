/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The registry of files as file.c, file_index.c, file_content.c and file_write.c have it. */
#ifndef NODEPROXY_STORE_REGISTRY_FILE_INNER_H
#define NODEPROXY_STORE_REGISTRY_FILE_INNER_H

#include <sys/stat.h>

#include "nodeproxy/lib/base/hash.h"
#include "store/registry/edit.h"
#include "store/registry/file.h"

/* Which object is written where: the index of what was read. */
struct entry {
	struct hash_node by_key;
	struct held *file;
	uint64_t version;
	uint32_t line;
	bool broken;		/* no YAML: whose it is is a guess */
	struct entry *next;	/* of the same file */
	char *kind, *ns, *name;
	char text[];
};

struct held {			/* a file */
	struct held *next;
	struct entry *entries;
	char name[];
};

/* A file and what it says. */
struct content {
	char *bytes;
	size_t n;
	struct stat st;
	struct edit edit;
};

struct file_registry {
	struct registry r;
	int dir;
	bool one;		/* only is the one file that counts */
	char only[RESOURCE_FILE_NAME];
	registry_render_fn *render;
	struct hash by_key;
	struct held *files;
	struct content last;	/* that was read: as long as a file has these bytes, this is what it says */
	char last_name[RESOURCE_FILE_NAME];
};

static inline struct file_registry *file_of(struct registry *r)
{
	return container_of(r, struct file_registry, r);
}

/* file_index.c */
void file_forget(struct file_registry *, struct held *);
/* What the file says now.  0 or -ENOMEM. */
must_use int file_learn(struct file_registry *, struct held *, const struct edit *);
/* A file that says nothing yet; NULL: no memory. */
struct held *file_hold(struct file_registry *, const char *name);
struct held *file_held(const struct file_registry *, const char *name);
/* Where the object is written; NULL: nowhere. */
struct entry *file_find(const struct file_registry *, const struct registry_key *);
/* The same, of an object that is written once and can be read; else an error. */
enum registry_error file_entry(struct file_registry *, const struct registry_key *, struct entry **ret);
/* Which of the documents it is; edit.n: none. */
size_t file_index_of(const struct edit *, const struct registry_key *);
/* FILE:LINE, malloc'ed; NULL: no memory. */
char *file_where(const char *file, uint32_t line);

/* file_content.c.  What an errno of a file means; with words. */
enum registry_error file_failed(struct file_registry *, const char *name, int error);
/* All of a file; st (may be NULL) as it was.  Links are followed to read, never to write. */
must_use int file_read_all(int dir, const char *name, int flags, char **ret, size_t *ret_n, struct stat *st);
/* What a file says; nothing, when it is gone. */
enum registry_error file_content_of(struct file_registry *, const char *name, int flags, struct content *ret);
/* Back from who has looked at it: the next one will often want the same file. */
void file_content_give(struct file_registry *, const char *name, struct content *);
void file_content_fini(struct content *);

/* file_write.c: see struct registry_ops. */
enum registry_error file_put_if(struct registry *, const struct registry_key *, struct slice json,
				uint64_t version, char **ret_where);
enum registry_error file_delete_if(struct registry *, const struct registry_key *, uint64_t version);

#endif
