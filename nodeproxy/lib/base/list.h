/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Intrusive doubly linked lists.  A head is a node that points to itself when empty; a node that
 * is in no list points to itself too, so taking it out twice is harmless. */
#ifndef NODEPROXY_LIB_BASE_LIST_H
#define NODEPROXY_LIB_BASE_LIST_H

#include "nodeproxy/lib/base/must.h"

struct node {
	struct node *next, *prev;
};

static inline void list_init(struct node *h)
{
	h->next = h->prev = h;
}

static inline bool list_is_empty(const struct node *h)
{
	return h->next == h;
}

#define node_is_linked(n) (!list_is_empty(n))

static inline void list_add_tail(struct node *h, struct node *n)
{
	n->prev = h->prev;
	n->next = h;
	h->prev->next = n;
	h->prev = n;
}

static inline void list_add_head(struct node *h, struct node *n)
{
	list_add_tail(h->next, n);
}

static inline void list_remove(struct node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = n;
}

static inline struct node *list_first(const struct node *h)
{
	return h->next == h ? NULL : h->next;
}

/* All of from, to the end of h. */
static inline void list_move_all(struct node *h, struct node *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = h->prev;
	h->prev->next = from->next;
	from->prev->next = h;
	h->prev = from->prev;
	list_init(from);
}

#define list_pop(h, type, member)                                                                  \
	({                                                                                         \
		struct node *n_ = list_first(h);                                                   \
		if (n_)                                                                            \
			list_remove(n_);                                                           \
		n_ ? container_of(n_, type, member) : NULL;                                        \
	})

#define list_entry(n, type, member) container_of(n, type, member)

/* The body may take the current node out. */
#define list_each(it, h)                                                                           \
	for (struct node *it = (h)->next, *it##_next_ = it->next; it != (h);                       \
	     it = it##_next_, it##_next_ = it->next)

#endif
