/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A registry, as somebody who writes resources needs it: nodeproxyctl apply, delete and get.
 *
 * No process of the daemon writes resources; an operator's program does, with the operator's own
 * rights.  What it asks is one struct of functions, so that validation, generations, addresses and
 * conflicts are the same whatever is behind it.  The seam speaks of objects (group, kind, namespace,
 * name) and of canonical JSON; where those lie (a file and a line, a key) is the backend's business
 * and comes out only as words.
 *
 * Each value has a version, which is another one after every change; 0 is the version of what is
 * absent.  Nothing is written but over the version that the writer has seen.
 *
 * A backend is a struct that begins with a struct registry; after an error problem has words for it,
 * one line.  Everything is done when a call returns; nothing is done when it returns an error, with
 * one exception: AWAY after a write that was on its way may have done it. */
#ifndef NODEPROXY_STORE_REGISTRY_REGISTRY_H
#define NODEPROXY_STORE_REGISTRY_REGISTRY_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

enum registry_error {
	REGISTRY_DONE,
#define REGISTRY_ERROR(name, words, todo) REGISTRY_##name,
#include "store/registry/errors.def"
	REGISTRY_ERRORS
};

const char *registry_words(enum registry_error);
const char *registry_todo(enum registry_error);

struct registry_key {
	const char *group;	/* "": core */
	const char *kind;	/* "Service" */
	const char *ns;		/* "" for kinds without namespace */
	const char *name;
};

struct registry_value {
	uint64_t version;	/* 0: there is no such object, and the rest is empty */
	char *json;		/* canonical; NULL: what is there is not valid (any more) */
	char *refusal;		/* why; NULL when it is valid */
	char *where;		/* for people: "web.yaml:12", or a key */
};

void registry_value_fini(struct registry_value *);

/* False: no more. */
typedef bool registry_each_fn(void *arg, const struct registry_key *, const struct registry_value *);

/* What a host says of itself: JSON of a stranger.  False: no more. */
typedef bool registry_host_fn(void *arg, const char *node, struct slice said);

struct registry;

struct registry_ops {
	const char *kind;	/* as source.kind in nodeproxy.yaml */
	/* Every object of a kind (NULL: all) in a namespace (NULL: all), in any order; key and value are
	 * borrowed for the call.  What nobody can tell whose it is is left out. */
	enum registry_error (*list)(struct registry *, const char *kind, const char *ns,
				    registry_each_fn *, void *arg);
	enum registry_error (*get)(struct registry *, const struct registry_key *,
				   struct registry_value *ret);
	/* version 0: only when there is no such object.  ret_where (may be NULL; free it): as of value. */
	enum registry_error (*put_if)(struct registry *, const struct registry_key *, struct slice json,
				      uint64_t version, char **ret_where);
	enum registry_error (*delete_if)(struct registry *, const struct registry_key *,
					 uint64_t version);
	/* The address is owner's ("namespace/name") from now on, or was already; TAKEN: it is another's.
	 * NULL: this registry gives no addresses, hosts find them by themselves. */
	enum registry_error (*vip_claim)(struct registry *, const char *ip, const char *owner);
	/* Gives it back, if it is owner's. */
	enum registry_error (*vip_release)(struct registry *, const char *ip, const char *owner);
	/* Every host that says something of itself (store/sync/said.h).  NULL: hosts do not write here. */
	enum registry_error (*hosts)(struct registry *, registry_host_fn *, void *arg);
	void (*close)(struct registry *);
};

struct registry {
	const struct registry_ops *ops;
	uint64_t written;	/* its revision after the last write of ours, where it has one; 0 else */
	char problem[512];
};

static inline enum registry_error registry_list(struct registry *r, const char *kind, const char *ns,
						registry_each_fn *fn, void *arg)
{
	return r->ops->list(r, kind, ns, fn, arg);
}

static inline enum registry_error registry_get(struct registry *r, const struct registry_key *key,
					       struct registry_value *ret)
{
	*ret = (struct registry_value){ 0 };
	return r->ops->get(r, key, ret);
}

static inline enum registry_error registry_put_if(struct registry *r, const struct registry_key *key,
						  struct slice json, uint64_t version,
						  char **ret_where)
{
	return r->ops->put_if(r, key, json, version, ret_where);
}

static inline enum registry_error registry_delete_if(struct registry *r,
						     const struct registry_key *key,
						     uint64_t version)
{
	return r->ops->delete_if(r, key, version);
}

void registry_close(struct registry **);
/* Notes the words of an error and returns it. */
enum registry_error registry_fail(struct registry *, enum registry_error, const char *fmt, ...)
	printf_like(3, 4);

#endif
