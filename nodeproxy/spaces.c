/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See spaces.h. */
#include "nodeproxy/spaces.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/children.h"
#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

struct space {
	struct hash_node by_name;
	struct ns_modes modes;
	uint32_t round;		/* of spaces.round when it was told last */
	char name[64];
};

static struct space *find(const struct spaces *ss, const char *ns)
{
	for (struct hash_node *n = hash_first(&ss->by_name, hash_slice(slice_str(ns))); n; n = hash_next(n)) {
		struct space *s = container_of(n, struct space, by_name);

		if (strcmp(s->name, ns) == 0)
			return s;
	}
	return NULL;
}

struct ns_modes spaces_modes(const struct master *m, const char *ns)
{
	const struct space *s = find(&m->spaces, ns);

	return s ? s->modes : (struct ns_modes){ { 0 } };
}

static void forget(struct spaces *ss, struct space *s)
{
	hash_remove(&ss->by_name, &s->by_name);
	free(s);
}

static int remember(struct spaces *ss, const struct msg_ns_modes *told)
{
	struct space *s = find(ss, told->ns);

	if (ns_modes_are_default(&told->modes)) {
		if (s)
			forget(ss, s);
		return 0;
	}
	if (!s) {
		if (ss->by_name.count >= SPACES_MAX)
			return -ENOSPC;
		s = calloc(1, sizeof *s);
		if (!s)
			return -ENOMEM;
		memcpy(s->name, told->ns, sizeof s->name);
		if (hash_add(&ss->by_name, &s->by_name, hash_slice(slice_str(s->name))) < 0) {
			free(s);
			return -ENOMEM;
		}
	}
	s->modes = told->modes;
	s->round = ss->round;
	return 0;
}

/* Those that were not told since the beginning. */
static void sweep(struct spaces *ss)
{
	for (size_t b = 0; b < ss->by_name.buckets; b++) {
		for (struct hash_node *n = ss->by_name.bucket[b], *next; n; n = next) {
			struct space *s = container_of(n, struct space, by_name);

			next = n->next;
			if (s->round != ss->round)
				forget(ss, s);
		}
	}
}

void spaces_told(struct master *m, struct child *c, const struct msg_ns_modes *told)
{
	struct spaces *ss = &m->spaces;
	int r;

	switch ((enum ns_told)told->told) {
	case NS_TOLD_BEGIN:
		ss->round++;
		return;
	case NS_TOLD_ONE:
		if (!msg_text(told->ns, sizeof told->ns) || !ns_modes_are_valid(&told->modes))
			break;
		r = remember(ss, told);
		if (r < 0)
			log_limited(LOG_WARN, "modes_not_kept", "namespace=%s error=\"%s\"", told->ns,
				    strerror(-r));
		pods_modes_told(m, told->ns, &told->modes);
		return;
	case NS_TOLD_END:
		sweep(ss);
		pods_modes_told(m, NULL, NULL);
		return;
	}
	child_broke(c, "told modes that there are not");
}
