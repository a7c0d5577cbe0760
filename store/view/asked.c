/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See asked.h.  Nothing is copied: a parameter is decoded, and the lines of a header are joined,
 * while they are compared.
 *
 * Parameters: pieces between '&', name and value at the first '=', %HH decoded, '+' is a blank (as
 * HTML forms and the libraries of every language have it); a % that two hexadecimal digits do not
 * follow is itself.  Of two with one name the first counts.  Headers: lines of one name are joined
 * with commas, as RFC 9110 5.3 lets any recipient do. */
#include "store/view/asked.h"

static int hex(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next byte of encoded text, which is not empty. */
static uint8_t decode(struct slice *s)
{
	uint8_t c = s->p[0];
	size_t n = 1;

	if (c == '%' && s->n >= 3 && hex(s->p[1]) >= 0 && hex(s->p[2]) >= 0) {
		c = (uint8_t)(hex(s->p[1]) << 4 | hex(s->p[2]));
		n = 3;
	} else if (c == '+') {
		c = ' ';
	}
	*s = slice_from(*s, n);
	return c;
}

static int encoded_cmp(struct slice encoded, struct slice want)
{
	while (encoded.n && want.n) {
		uint8_t c = decode(&encoded);

		if (c != want.p[0])
			return c < want.p[0] ? -1 : 1;
		want = slice_from(want, 1);
	}
	return (encoded.n > 0) - (want.n > 0);
}

static bool is_encoded(struct slice s)
{
	return s.n && (memchr(s.p, '%', s.n) || memchr(s.p, '+', s.n));
}

static void look_for_param(struct slice query, struct slice name, struct seen *ret)
{
	while (query.n) {
		const uint8_t *end = memchr(query.p, '&', query.n), *is;
		struct slice piece = slice_of(query.p, end ? (size_t)(end - query.p) : query.n);
		struct slice key;

		query = slice_from(query, piece.n + 1);
		is = piece.n ? memchr(piece.p, '=', piece.n) : NULL;
		key = slice_of(piece.p, is ? (size_t)(is - piece.p) : piece.n);
		if (encoded_cmp(key, name) != 0)
			continue;
		ret->value = slice_from(piece, key.n + (is != NULL));
		ret->is_there = true;
		ret->is_encoded = is_encoded(ret->value);
		return;
	}
}

static void look_for_header(const struct vrequest *q, struct slice name, struct seen *ret)
{
	struct slice again;
	uint32_t at = 0;

	if (q->header == NULL || !q->header(q->arg, name, &at, &ret->value))
		return;
	ret->is_there = true;
	ret->next = at;
	if (!q->header(q->arg, name, &at, &again))
		ret->next = 0;
}

/* "/service/method": what is behind the last slash. */
static void look_for_grpc_method(struct slice path, struct seen *ret)
{
	const uint8_t *slash = path.n ? memrchr(path.p, '/', path.n) : NULL;

	ret->is_there = slash && slash > path.p;
	if (ret->is_there)
		ret->value = slice_from(path, (size_t)(slash - path.p) + 1);
}

static const struct unit_ask *ask_at(const struct asked *a, uint32_t ask)
{
	return unit_item(a->unit, a->svc->asks, a->svc->n_asks, sizeof(struct unit_ask), ask);
}

const struct seen *asked_look(struct asked *a, uint32_t ask, struct seen *room)
{
	const struct unit_ask *u = ask_at(a, ask);
	const struct vrequest *q = a->request;
	struct seen *s = room;

	if (likely(ask < ASKED_KNOWN)) {
		s = &a->seen[ask];
		if (a->known & 1u << ask)
			return s;
		a->known |= 1u << ask;
	}
	*s = (struct seen){ .is_there = false };
	if (u == NULL)
		return s;
	switch ((enum ask)u->what) {
	case ASK_METHOD:
		s->value = q->method;
		s->is_there = true;
		break;
	case ASK_GRPC_METHOD:
		look_for_grpc_method(q->path, s);
		break;
	case ASK_HEADER:
		look_for_header(q, unit_text(a->unit, u->name), s);
		break;
	case ASK_PARAM:
		look_for_param(q->query, unit_text(a->unit, u->name), s);
		break;
	case ASKS:
		break;
	}
	return s;
}

static int joined_cmp(const struct vrequest *q, struct slice name, const struct seen *s,
		      struct slice want)
{
	struct slice piece = s->value;
	uint32_t at = s->next;

	for (;;) {
		size_t n = min_of(piece.n, want.n);
		int c = n ? memcmp(piece.p, want.p, n) : 0;

		if (c || piece.n > want.n)
			return c ? c : 1;
		want = slice_from(want, n);
		if (!q->header(q->arg, name, &at, &piece))
			return want.n ? -1 : 0;
		if (want.n == 0 || want.p[0] != ',')
			return want.n && ',' < want.p[0] ? -1 : 1;
		want = slice_from(want, 1);
	}
}

int asked_cmp(const struct asked *a, uint32_t ask, const struct seen *s, struct slice want)
{
	const struct unit_ask *u = ask_at(a, ask);

	if (unlikely(s->is_encoded))
		return encoded_cmp(s->value, want);
	if (unlikely(s->next) && u)
		return joined_cmp(a->request, unit_text(a->unit, u->name), s, want);
	return slice_cmp(s->value, want);
}

bool asked_holds(struct asked *a, const struct unit_entry *e, uint32_t *ret_failed)
{
	for (uint32_t i = 0; i < e->n_conds; i++) {
		const struct unit_cond *c = unit_item(a->unit, a->svc->conds, a->svc->n_conds,
						      sizeof *c, e->cond + i);
		const struct seen *s;
		struct seen room;
		struct slice want;

		if (c == NULL)
			return false;
		s = asked_look(a, c->ask, &room);
		want = unit_text(a->unit, c->value);
		/* Most that differ do so in length. */
		if (s->is_there && (s->is_encoded || s->next || s->value.n == want.n) &&
		    asked_cmp(a, c->ask, s, want) == 0)
			continue;
		if (ret_failed)
			*ret_failed = e->cond + i;
		return false;
	}
	return true;
}
