/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/1.x bodies: what belongs to them, and how it goes out.
 *
 * Data passes in place.  A chunked body is read by a machine of its own that takes input split
 * anywhere, one byte at a time if need be, and needs no memory but struct http1_body; what goes
 * out chunked is written as one chunk per call, however many chunks came in.  The grammar is RFC
 * 9112 section 7.1 and nothing else: every CRLF is exactly that. */
#include "workers/codec/headers.h"
#include "workers/codec/http1.h"

/* A chunk-size line, and a whole trailer section. */
#define CHUNK_LINE_MAX	4096
#define TRAILERS_MAX	8192u

/* Where in a line; means something only in the states that read lines. */
enum sub {
	/* BODY_CHUNK_SIZE */
	SUB_SIZE_FIRST, SUB_SIZE, SUB_BLANK, SUB_NAME_FIRST, SUB_NAME, SUB_NAME_BLANK,
	SUB_VALUE_FIRST, SUB_VALUE, SUB_QUOTED, SUB_ESCAPED, SUB_QUOTE_END, SUB_SIZE_LF,
	/* BODY_CHUNK_END */
	SUB_END_CR, SUB_END_LF,
	/* BODY_TRAILERS */
	SUB_LINE_FIRST, SUB_FIELD, SUB_CONTENT, SUB_CONTENT_LF, SUB_LAST_LF,
};

/* All framing text that is not a number, so that pieces which follow each other merge. */
static const uint8_t last_chunk[] = "\r\n0\r\n\r\n";
#define CRLF_AT	     (last_chunk)
#define ZERO_AT	     (last_chunk + 2)
#define LAST_CRLF_AT (last_chunk + 5)

struct out {
	struct iovec *iov;
	int n, max;
	int size_at;		/* the iovec that waits for the size of our chunk; -1: none open */
	uint64_t size;
};

static bool out_add(struct out *o, const void *p, size_t n)
{
	struct iovec *last = o->n ? &o->iov[o->n - 1] : NULL;

	if (last && o->size_at != o->n - 1 &&
	    (const uint8_t *)last->iov_base + last->iov_len == (const uint8_t *)p) {
		last->iov_len += n;
		return true;
	}
	if (o->n == o->max)
		return false;
	o->iov[o->n++] = (struct iovec){ (void *)p, n };
	return true;
}

/* Data of our chunk; opens it when none is open.  Leaves room for what closes it. */
static bool out_data(struct out *o, bool encode, const uint8_t *p, size_t n)
{
	if (!encode)
		return out_add(o, p, n);
	if (o->size_at < 0) {
		if (o->max - o->n < 3)
			return false;
		o->size_at = o->n++;
	} else if (o->max - o->n < 2) {
		return false;
	}
	o->size += n;
	return out_add(o, p, n);
}

/* Writes the size in front of our chunk and the CRLF behind it. */
static bool out_close_chunk(struct out *o, struct arena *a)
{
	static const char hex[] = "0123456789abcdef";
	unsigned digits;
	char *p;

	if (o->size_at < 0)
		return true;
	digits = (63 - (unsigned)__builtin_clzll(o->size)) / 4 + 1;
	p = arena_take(a, digits + 2);
	if (p == NULL)
		return false;
	for (unsigned i = 0; i < digits; i++)
		p[i] = hex[o->size >> 4 * (digits - 1 - i) & 15];
	memcpy(p + digits, "\r\n", 2);
	o->iov[o->size_at] = (struct iovec){ p, digits + 2 };
	o->size_at = -1;
	o->size = 0;
	return out_add(o, CRLF_AT, 2);
}

void http1_body_init(struct http1_body *b, const struct head *m, bool encode)
{
	*b = (struct http1_body){ .kind = m->body, .encode = encode, .state = BODY_DATA };
	if (m->body == BODY_LENGTH)
		b->left = m->length;
	if (m->body == BODY_CHUNKED) {
		b->state = BODY_CHUNK_SIZE;
		b->sub = SUB_SIZE_FIRST;
	}
	if (m->body == BODY_NONE || (m->body == BODY_LENGTH && b->left == 0 && !encode))
		b->state = BODY_DONE;
}

/* One byte of a chunk-size line: 1*HEXDIG *( BWS ";" BWS name [ BWS "=" BWS value ] ) CRLF.
 * Extensions end here.  A blank is legal only in front of or behind something: never at the end of
 * the line, and a CR never without its LF. */
static bool size_byte(struct http1_body *b, uint8_t c)
{
	bool blank = c == ' ' || c == '\t';

	if (++b->line > CHUNK_LINE_MAX)
		return false;
	switch (b->sub) {
	case SUB_SIZE_FIRST:
	case SUB_SIZE:
		if (byte_is(c, BC_HEX)) {
			if (b->left >> 60)
				return false;		/* over 64 bits */
			b->left = b->left << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
			b->sub = SUB_SIZE;
			return true;
		}
		if (b->sub == SUB_SIZE_FIRST)
			return false;
		break;
	case SUB_BLANK:
		if (c == ';')
			b->sub = SUB_NAME_FIRST;
		return c == ';' || blank;
	case SUB_NAME_FIRST:
		if (byte_is(c, BC_TOKEN))
			b->sub = SUB_NAME;
		return blank || byte_is(c, BC_TOKEN);
	case SUB_NAME:
		if (byte_is(c, BC_TOKEN))
			return true;
		if (c == '=') {
			b->sub = SUB_VALUE_FIRST;
			return true;
		}
		if (blank) {
			b->sub = SUB_NAME_BLANK;
			return true;
		}
		break;
	case SUB_NAME_BLANK:
		if (c == ';' || c == '=')
			b->sub = c == ';' ? SUB_NAME_FIRST : SUB_VALUE_FIRST;
		return c == ';' || c == '=' || blank;
	case SUB_VALUE_FIRST:
		if (c == '"')
			b->sub = SUB_QUOTED;
		else if (byte_is(c, BC_TOKEN))
			b->sub = SUB_VALUE;
		else
			return blank;
		return true;
	case SUB_VALUE:
		if (byte_is(c, BC_TOKEN))
			return true;
		break;
	case SUB_QUOTED:
		if (c == '"' || c == '\\') {
			b->sub = c == '"' ? SUB_QUOTE_END : SUB_ESCAPED;
			return true;
		}
		return byte_is(c, BC_QUOTED);
	case SUB_ESCAPED:
		b->sub = SUB_QUOTED;
		return byte_is(c, BC_VALUE);
	case SUB_QUOTE_END:
		break;
	case SUB_SIZE_LF:
		if (c != '\n')
			return false;
		b->line = 0;
		b->state = b->left ? BODY_DATA : BODY_TRAILERS;
		b->sub = SUB_LINE_FIRST;
		return true;
	default:
		if (never(true))
			return false;
	}
	/* Behind a size, a name or a value. */
	if (c == '\r')
		b->sub = SUB_SIZE_LF;
	else if (c == ';')
		b->sub = SUB_NAME_FIRST;
	else if (blank)
		b->sub = SUB_BLANK;
	else
		return false;
	return true;
}

/* A trailer section from p on.  A name is held back until it is known whether it may pass: where
 * it lies, or in b->name when the input ended in it.  Returns where it stopped (short of the end when
 * done or out of iovecs); NULL: refused, or no room in the arena. */
static const uint8_t *trailers(struct http1_body *b, const uint8_t *p, const uint8_t *end,
			       struct arena *a, struct out *o)
{
	const uint8_t *name_at = NULL;	/* where the name at hand started, if in this input */
	const uint8_t *from;
	uint8_t *copy;

	while (p < end && b->state == BODY_TRAILERS) {
		/* What one byte adds at most: a held-back name, a value, a CRLF. */
		if (o->max - o->n < 3) {
			if (b->sub != SUB_FIELD || name_at == NULL)
				return p;
			b->sub = SUB_LINE_FIRST;	/* to be read again */
			b->line -= b->name_n;
			return name_at;
		}
		switch (b->sub) {
		case SUB_LINE_FIRST:
			if (*p == '\r') {
				b->sub = SUB_LAST_LF;
				break;
			}
			b->name_n = 0;
			b->sub = SUB_FIELD;
			name_at = p;
			/* fall through */
		case SUB_FIELD:
			if (byte_is(*p, BC_TOKEN)) {
				if (b->name_n == sizeof b->name)
					return NULL;
				b->name[b->name_n++] = (char)*p;
				break;
			}
			if (*p != ':' || b->name_n == 0)
				return NULL;
			b->pass_line = (b->encode || b->keeps_trailers) &&
				       header_may_be_trailer(slice_of(b->name, b->name_n));
			if (b->pass_line && name_at) {
				(void)out_add(o, name_at, (size_t)(p + 1 - name_at));
			} else if (b->pass_line) {
				copy = arena_take(a, b->name_n + 1u);
				if (copy == NULL)
					return NULL;
				memcpy(copy, b->name, b->name_n);
				copy[b->name_n] = ':';
				(void)out_add(o, copy, b->name_n + 1u);
			}
			b->sub = SUB_CONTENT;
			break;
		case SUB_CONTENT:
			from = p;
			p = value_end(p, end);
			if ((size_t)(p - from) > TRAILERS_MAX - b->line)
				return NULL;
			b->line += (uint16_t)(p - from);
			if (b->pass_line && p > from)
				(void)out_add(o, from, (size_t)(p - from));
			if (p == end)
				return p;
			if (*p != '\r')
				return NULL;
			b->sub = SUB_CONTENT_LF;
			break;
		case SUB_CONTENT_LF:
			if (*p != '\n')
				return NULL;
			if (b->pass_line)
				(void)out_add(o, CRLF_AT, 2);
			b->sub = SUB_LINE_FIRST;
			name_at = NULL;
			break;
		case SUB_LAST_LF:
			if (*p != '\n')
				return NULL;
			if (b->encode)
				(void)out_add(o, LAST_CRLF_AT, 2);
			b->state = BODY_DONE;
			break;
		default:
			if (never(true))
				return NULL;
		}
		p++;
		if (++b->line > TRAILERS_MAX)
			return NULL;
	}
	return p;
}

static int bad(struct http1_body *b)
{
	b->state = BODY_BAD;
	return -1;
}

/* A chunk was announced with which the body is larger than it may be. */
static bool is_over(const struct http1_body *b)
{
	return b->most && b->left > b->most - b->passed;
}

static int pass_chunked(struct http1_body *b, struct slice in, struct arena *a, struct out *o,
			size_t *used)
{
	const uint8_t *p = in.p, *end = p + in.n, *next;
	size_t n;

	while (p < end && b->state != BODY_DONE) {
		switch (b->state) {
		case BODY_CHUNK_SIZE:
			/* The last chunk ends ours: two pieces, and never half of them. */
			if (b->sub == SUB_SIZE_LF && b->left == 0 && b->encode && o->max - o->n < 2)
				goto out;
			if (!size_byte(b, *p++))
				return bad(b);
			if (b->state == BODY_DATA && unlikely(is_over(b))) {
				b->state = BODY_OVER;
				return -1;
			}
			if (b->state == BODY_TRAILERS && b->encode &&
			    (!out_close_chunk(o, a) || !out_add(o, ZERO_AT, 3)))
				return bad(b);
			break;
		case BODY_DATA:
			n = (size_t)min_of(b->left, (uint64_t)(end - p));
			if (!out_data(o, b->encode, p, n))
				goto out;
			p += n;
			b->left -= n;
			b->passed += n;
			if (b->left == 0) {
				b->state = BODY_CHUNK_END;
				b->sub = SUB_END_CR;
			}
			break;
		case BODY_CHUNK_END:
			if (*p++ != (b->sub == SUB_END_CR ? '\r' : '\n'))
				return bad(b);
			if (b->sub == SUB_END_CR) {
				b->sub = SUB_END_LF;
				break;
			}
			b->state = BODY_CHUNK_SIZE;
			b->sub = SUB_SIZE_FIRST;
			break;
		case BODY_TRAILERS:
			if (b->keeps_trailers)
				b->trailers_at = (uint8_t)o->n;
			next = trailers(b, p, end, a, o);
			if (next == NULL)
				return bad(b);
			p = next;
			goto out;	/* all read, done, or out of iovecs */
		default:
			return bad(b);
		}
	}
out:
	if (!out_close_chunk(o, a))
		return bad(b);
	*used = (size_t)(p - in.p);
	return o->n;
}

static int pass_raw(struct http1_body *b, struct slice in, bool in_end, struct arena *a,
		    struct out *o, size_t *used)
{
	size_t n = in.n;

	if (b->kind == BODY_LENGTH) {
		n = (size_t)min_of(b->left, (uint64_t)n);
		if (b->ends_apart && n < in.n)
			return bad(b);
	} else if (unlikely(b->most && n > b->most - b->passed)) {
		b->state = BODY_OVER;
		return -1;
	}
	if (n && !out_data(o, b->encode, in.p, n))
		return bad(b);
	if (!out_close_chunk(o, a))
		return bad(b);
	http1_body_moved(b, n);
	if (in_end && n == in.n && (b->kind != BODY_LENGTH || (b->ends_apart && b->left == 0)))
		b->state = BODY_DONE;
	if (b->encode && b->state == BODY_DONE) {
		bool fits = b->trailers.n ? out_add(o, ZERO_AT, 3) &&
						    out_add(o, b->trailers.p, b->trailers.n) &&
						    out_add(o, LAST_CRLF_AT, 2)
					  : out_add(o, ZERO_AT, 5);

		if (!fits)
			return bad(b);
	}
	*used = n;
	return o->n;
}

int http1_body_pass(struct http1_body *b, struct slice in, bool in_end, struct arena *a,
		    struct iovec *iov, int max, size_t *used)
{
	struct out o = { .iov = iov, .max = max, .size_at = -1 };

	*used = 0;
	b->trailers_at = UINT8_MAX;
	if (b->state == BODY_DONE)
		return 0;
	if (b->state == BODY_BAD || b->state == BODY_OVER || never(max < HTTP1_BODY_IOVS))
		return -1;
	if (b->kind == BODY_CHUNKED)
		return pass_chunked(b, in, a, &o, used);
	return pass_raw(b, in, in_end, a, &o, used);
}

uint64_t http1_body_blind(const struct http1_body *b)
{
	if (b->state != BODY_DATA || b->encode)
		return 0;
	switch (b->kind) {
	case BODY_LENGTH:
		return b->left;
	case BODY_UNTIL_CLOSE:
	case BODY_TUNNEL:
		return UINT64_MAX;
	default:
		return 0;
	}
}

void http1_body_moved(struct http1_body *b, uint64_t n)
{
	if (b->kind == BODY_LENGTH) {
		if (never(n > b->left))
			n = b->left;
		b->left -= n;
		if (b->left == 0 && !b->ends_apart)
			b->state = BODY_DONE;
	}
	b->passed += n;
}
