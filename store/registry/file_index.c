/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which object is written where, as the files said when they were read or written last. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/registry/file_inner.h"

static uint64_t hash_of(const struct registry_key *k)
{
	char text[600];
	int n = snprintf(text, sizeof text, "%s/%s/%s", k->kind, k->ns, k->name);

	return hash_slice(slice_of(text, min_of((size_t)n, sizeof text - 1)));
}

static struct entry *find_from(struct hash_node *n, const struct registry_key *k)
{
	for (; n; n = hash_next(n)) {
		struct entry *e = container_of(n, struct entry, by_key);

		if (strcmp(e->kind, k->kind) == 0 && strcmp(e->ns, k->ns) == 0 &&
		    strcmp(e->name, k->name) == 0)
			return e;
	}
	return NULL;
}

void file_forget(struct file_registry *f, struct held *h)
{
	for (struct entry *e = h->entries, *next; e; e = next) {
		next = e->next;
		hash_remove(&f->by_key, &e->by_key);
		free(e);
	}
	h->entries = NULL;
}

int file_learn(struct file_registry *f, struct held *h, const struct edit *edit)
{
	file_forget(f, h);
	for (size_t i = 0; i < edit->n; i++) {
		const struct edit_doc *d = &edit->v[i];
		struct registry_key k = edit_key(d);
		size_t kind = strlen(k.kind) + 1, ns = strlen(k.ns) + 1, name = strlen(k.name) + 1;
		struct entry *e;

		if (name == 1)
			continue;	/* nobody's, as far as can be read */
		e = calloc(1, sizeof *e + kind + ns + name);
		if (e == NULL)
			return -ENOMEM;
		e->file = h;
		e->version = d->version;
		e->line = edit_line(d);
		e->broken = d->refusal && d->refusal->broken;
		e->kind = memcpy(e->text, k.kind, kind);
		e->ns = memcpy(e->text + kind, k.ns, ns);
		e->name = memcpy(e->text + kind + ns, k.name, name);
		if (hash_add(&f->by_key, &e->by_key, hash_of(&k)) < 0) {
			free(e);
			return -ENOMEM;
		}
		e->next = h->entries;
		h->entries = e;
	}
	return 0;
}

struct held *file_hold(struct file_registry *f, const char *name)
{
	size_t n = strlen(name) + 1;
	struct held *h = calloc(1, sizeof *h + n);

	if (h == NULL)
		return NULL;
	memcpy(h->name, name, n);
	h->next = f->files;
	f->files = h;
	return h;
}

struct held *file_held(const struct file_registry *f, const char *name)
{
	struct held *h = f->files;

	while (h && strcmp(h->name, name) != 0)
		h = h->next;
	return h;
}

struct entry *file_find(const struct file_registry *f, const struct registry_key *k)
{
	return find_from(hash_first(&f->by_key, hash_of(k)), k);
}

enum registry_error file_entry(struct file_registry *f, const struct registry_key *k,
			       struct entry **ret)
{
	struct entry *e = file_find(f, k);
	struct entry *twice = e ? find_from(hash_next(&e->by_key), k) : NULL;

	*ret = e;
	if (twice && twice->file == e->file && twice->line < e->line) {	/* as people read */
		*ret = twice;
		twice = e;
		e = *ret;
	}
	if (twice)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s %s%s%s is written twice, %s:%u and %s:%u: "
				     "remove one of them", k->kind, k->ns, k->ns[0] ? "/" : "", k->name,
				     e->file->name, e->line, twice->file->name, twice->line);
	if (e && e->broken)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s:%u seems to be %s %s%s%s, but cannot be "
				     "read: repair or remove it there", e->file->name, e->line, k->kind,
				     k->ns, k->ns[0] ? "/" : "", k->name);
	return REGISTRY_DONE;
}

size_t file_index_of(const struct edit *edit, const struct registry_key *k)
{
	size_t i = 0;

	for (; i < edit->n; i++) {
		struct registry_key d = edit_key(&edit->v[i]);

		if (strcmp(d.kind, k->kind) == 0 && strcmp(d.ns, k->ns) == 0 &&
		    strcmp(d.name, k->name) == 0)
			break;
	}
	return i;
}

char *file_where(const char *file, uint32_t line)
{
	char text[RESOURCE_FILE_NAME + 16];

	snprintf(text, sizeof text, "%s:%u", file, line);
	return strdup(text);
}

