/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See key.h. */
#include "store/registry/key.h"

#include <errno.h>
#include <stdio.h>

#define CORE "core"

static int fits(int n)
{
	return n < 0 || (unsigned)n >= KEY_MAX ? -ENAMETOOLONG : n;
}

int key_root(const char *prefix, const char *cluster, char out[KEY_MAX])
{
	return fits(snprintf(out, KEY_MAX, "%s/%s/", prefix, cluster));
}

int key_write(const char *root, const struct registry_key *k, char out[KEY_MAX])
{
	const char *group = k->group[0] ? k->group : CORE;

	if (k->ns[0])
		return fits(snprintf(out, KEY_MAX, "%sns/%s/%s/%s/%s", root, k->ns, group, k->kind, k->name));
	return fits(snprintf(out, KEY_MAX, "%sglobal/%s/%s/%s", root, group, k->kind, k->name));
}

/* Up to the next slash, which is taken, too; empty: there is nothing, or nothing in between. */
static struct slice part(struct slice *s)
{
	const uint8_t *slash = s->n ? memchr(s->p, '/', s->n) : NULL;
	struct slice p = slice_of(s->p, slash ? (size_t)(slash - s->p) : s->n);

	*s = slice_from(*s, p.n + (slash != NULL));
	return p;
}

static int no(const char **ret_words, const char *words)
{
	*ret_words = words;
	return -EINVAL;
}

int key_read(struct slice rest, struct key_parts *ret, const char **ret_words)
{
	struct key_parts k = { 0 };
	struct slice first = part(&rest);
	bool in_ns = slice_eq(first, SLICE("ns"));

	if (slice_eq(first, SLICE("vip")) || slice_eq(first, SLICE("node"))) {
		k.place = slice_eq(first, SLICE("vip")) ? KEY_VIP : KEY_NODE;
		if (k.place == KEY_NODE)
			k.node = part(&rest);
		k.rest = rest;
		if (rest.n == 0 || (k.place == KEY_NODE && k.node.n == 0))
			return no(ret_words, "is no key: vip/ADDRESS or node/NODE/... is");
		*ret = k;
		return 0;
	}
	if (!in_ns && !slice_eq(first, SLICE("global")))
		return no(ret_words, "is no key: ns/, global/, node/ and vip/ are known here");
	k.place = in_ns ? KEY_NS : KEY_GLOBAL;
	if (in_ns)
		k.ns = part(&rest);
	k.group = part(&rest);
	k.kind = part(&rest);
	k.name = rest;
	if (k.name.n == 0 || memchr(k.name.p, '/', k.name.n) || k.kind.n == 0 || k.group.n == 0 ||
	    (in_ns && k.ns.n == 0))
		return no(ret_words, in_ns ? "is no key: ns/NAMESPACE/GROUP/KIND/NAME is"
					   : "is no key: global/GROUP/KIND/NAME is");
	if (slice_eq(k.group, SLICE(CORE)))
		k.group = SLICE("");
	*ret = k;
	return 0;
}
