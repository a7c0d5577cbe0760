/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Memory of nghttp2: counted, charged to the session's budget, and laid out so that an idle session is
 * small.
 *
 * What a session of nghttp2 is made of is taken from the nest behind its struct h2, in one piece: 25.5
 * KB, of which the last 16 KiB are a buffer for frames that hardly ever holds more than the few bytes of
 * a head.  From malloc that buffer lies wherever a burst has left room, on pages that were touched
 * before; here all but its beginning is never touched, and struct h2 with all the rest lies on three
 * pages (test: an_idle_session_touches_three_pages).  What comes later, header tables and streams, is
 * malloc's. */
#include <malloc.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/h2_inner.h"

/* What is charged goes up and down in steps of this: budgets are asked seldom. */
#define CHARGE_STEP 4096u

/* When so much less is in use than once was, malloc is asked to give back what it holds. */
#define TRIM_BYTES (1u << 20)

/* In front of each piece of the nest. */
struct piece {
	_Alignas(16) size_t bytes;
};

static bool is_nested(const struct h2 *h, const void *p)
{
	return (const uint8_t *)p >= h->nest && (const uint8_t *)p < h->nest + H2_NEST_BYTES;
}

static size_t size_of(const struct h2 *h, void *p)
{
	return is_nested(h, p) ? ((const struct piece *)p)[-1].bytes : malloc_usable_size(p);
}

/* Only while the session is made; NULL: no room. */
static void *nest_take(struct h2 *h, size_t n)
{
	size_t bytes = (n + 15) & ~(size_t)15;
	struct piece *p = (struct piece *)(void *)(h->nest + h->nested);

	if (!h->is_nesting || bytes + sizeof *p > H2_NEST_BYTES - h->nested)
		return NULL;
	h->nested += (uint32_t)(bytes + sizeof *p);
	p->bytes = bytes;
	return p + 1;
}

/* What the allocator really gave is what counts.  A refusal does not fail the allocation: nghttp2 1.52
 * frees twice what it has no memory for (an item whose push into the queue of a stream failed).  It ends
 * the session as soon as nghttp2 has returned, and what it is over its budget meanwhile is bounded by
 * what one h2_read() or call begins. */
static void account(struct h2 *h, size_t before, size_t now)
{
	h->bytes += now - before;
	h->stock->bytes += now - before;
	if (h->bytes > h->charged) {
		size_t more = (h->bytes - h->charged + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;

		if (h->fatal)
			return;
		if (budget_charge(h->budget, more) < 0)
			h->fatal = H2_OFFENCE_MEMORY;
		else
			h->charged += more;
	} else if (h->charged - h->bytes >= 2 * CHARGE_STEP) {
		size_t less = (h->charged - h->bytes) / CHARGE_STEP * CHARGE_STEP - CHARGE_STEP;

		budget_return(h->budget, less);
		h->charged -= less;
	}
}

static void *allocated(struct h2 *h, size_t before, void *p)
{
	if (unlikely(h->stock->fail_after && --h->stock->fail_after == 0))
		h->fatal = H2_OFFENCE_MEMORY;
	if (p)
		account(h, before, size_of(h, p));
	return p;
}

static void *ng_malloc(size_t n, void *user)
{
	void *p = nest_take(user, n);

	return allocated(user, 0, p ? p : malloc(n));
}

static void *ng_calloc(size_t n, size_t size, void *user)
{
	void *p = nest_take(user, n * size);

	if (p)
		memset(p, 0, n * size);
	return allocated(user, 0, p ? p : calloc(n, size));
}

static void *ng_realloc(void *old, size_t n, void *user)
{
	struct h2 *h = user;
	size_t before;
	void *p;

	if (old == NULL)
		return ng_malloc(n, user);
	before = size_of(h, old);
	if (!is_nested(h, old))
		return allocated(h, before, realloc(old, n));
	if (n <= before)
		return old;
	p = malloc(n);
	if (p)
		memcpy(p, old, before);
	return allocated(h, before, p);
}

static void ng_free(void *p, void *user)
{
	struct h2 *h = user;

	if (p == NULL)
		return;
	account(h, size_of(h, p), 0);
	if (!is_nested(h, p))
		free(p);
}

/* What burst sessions have freed lies between what idle ones still use: malloc gives such pages back when
 * it is asked, and never by itself. */
void h2_stock_trim(struct h2_stock *s)
{
	s->bytes_most = max_of(s->bytes_most, s->bytes);
	if (s->bytes_most - s->bytes < TRIM_BYTES)
		return;
	s->bytes_most = s->bytes;
	malloc_trim(0);
}

nghttp2_mem h2_memory(struct h2 *h)
{
	return (nghttp2_mem){ h, ng_malloc, ng_free, ng_calloc, ng_realloc };
}
