/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See known.h. */
#include "store/sync/known.h"

#include <stdlib.h>
#include <string.h>

void known_init(struct known *k, uint32_t most)
{
	*k = (struct known){ .most = most };
	list_init(&k->all);
}

void known_fini(struct known *k)
{
	list_each(it, &k->all)
		known_free(k, list_entry(it, struct known_key, in_known));
	hash_fini(&k->by_name);
	hash_fini(&k->owners);
}

struct known_key *known_find(const struct known *k, const char *name)
{
	for (struct hash_node *n = hash_first(&k->by_name, hash_slice(slice_str(name))); n; n = hash_next(n)) {
		struct known_key *key = container_of(n, struct known_key, by_name);

		if (strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

struct known_key *known_make(struct known *k, const char *name)
{
	struct known_key *key = known_find(k, name);
	size_t n = strlen(name) + 1;

	if (key || k->by_name.count >= k->most)
		return key;
	key = calloc(1, sizeof *key + n);
	if (key == NULL || hash_add(&k->by_name, &key->by_name, hash_slice(slice_str(name))) < 0) {
		free(key);
		return NULL;
	}
	memcpy(key->name, name, n);
	list_add_tail(&k->all, &key->in_known);
	return key;
}

static struct known_owner *owner_find(const struct known *k, struct slice name)
{
	for (struct hash_node *n = hash_first(&k->owners, hash_slice(name)); n; n = hash_next(n)) {
		struct known_owner *o = container_of(n, struct known_owner, by_name);

		if (slice_eq(slice_of(o->name, o->n), name))
			return o;
	}
	return NULL;
}

static struct known_owner *owner_make(struct known *k, struct slice name)
{
	struct known_owner *o = owner_find(k, name);

	if (o)
		return o;
	o = calloc(1, sizeof *o + name.n);
	if (o == NULL || hash_add(&k->owners, &o->by_name, hash_slice(name)) < 0) {
		free(o);
		return NULL;
	}
	memcpy(o->name, name.p, name.n);
	o->n = name.n;
	return o;
}

static void owner_leave(struct known *k, struct known_owner *o)
{
	if (o == NULL || --o->keys > 0)
		return;
	hash_remove(&k->owners, &o->by_name);
	free(o);
}

uint32_t known_owned(const struct known *k, struct slice owner)
{
	const struct known_owner *o = owner_find(k, owner);

	return o ? o->keys : 0;
}

struct known_key *known_make_of(struct known *k, const char *name, struct slice owner)
{
	struct known_key *key = known_make(k, name);

	if (key == NULL || key->owner)
		return key;
	key->owner = owner_make(k, owner);
	if (key->owner == NULL) {
		known_free(k, key);
		return NULL;
	}
	key->owner->keys++;
	return key;
}

void known_free(struct known *k, struct known_key *key)
{
	list_remove(&key->in_known);
	hash_remove(&k->by_name, &key->by_name);
	k->bytes -= key->bytes;
	owner_leave(k, key->owner);
	free(key);
}

void known_bytes(struct known *k, struct known_key *key, uint32_t bytes)
{
	k->bytes += bytes;
	k->bytes -= key->bytes;
	key->bytes = bytes;
}
