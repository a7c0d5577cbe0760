/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See spiffe.h. */
#include "nodeproxy/lib/net/spiffe.h"

#include <errno.h>

#include "nodeproxy/lib/base/strbuf.h"

static bool is_word(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static bool is_trust_domain(struct slice s)
{
	if (s.n == 0 || s.n > 255)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_word(s.p[i]))
			return false;
	return true;
}

/* A segment of the path; those that mean a folder are none. */
static bool is_segment(struct slice s)
{
	if (s.n == 0 || s.n > 253 || slice_eq(s, SLICE(".")) || slice_eq(s, SLICE("..")))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_word(s.p[i]) && !(s.p[i] >= 'A' && s.p[i] <= 'Z'))
			return false;
	return true;
}

/* What is before the next slash, or all. */
static struct slice cut(struct slice *rest)
{
	const uint8_t *slash = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
	struct slice s = *rest;

	if (slash == NULL) {
		*rest = slice_from(*rest, rest->n);
		return s;
	}
	s.n = (size_t)(slash - s.p);
	*rest = slice_from(*rest, s.n + 1);
	return s;
}

int spiffe_parse(struct slice text, struct spiffe *ret)
{
	struct slice rest = slice_from(text, sizeof "spiffe://" - 1), kind;
	struct spiffe id = { 0 };

	if (text.n >= SPIFFE_MAX || !slice_starts(text, SLICE("spiffe://")) ||
	    text.p[text.n - 1] == '/')
		return -EINVAL;
	id.trust_domain = cut(&rest);
	if (!is_trust_domain(id.trust_domain))
		return -EINVAL;
	kind = cut(&rest);
	if (slice_eq(kind, SLICE("node"))) {
		id.host = cut(&rest);
		if (!is_segment(id.host))
			return -EINVAL;
	} else if (slice_eq(kind, SLICE("ns"))) {
		id.ns = cut(&rest);
		if (!is_segment(id.ns) || !slice_eq(cut(&rest), SLICE("sa")))
			return -EINVAL;
		id.account = cut(&rest);
		if (!is_segment(id.account))
			return -EINVAL;
	} else {
		return -EINVAL;
	}
	if (rest.n)
		return -EINVAL;
	*ret = id;
	return 0;
}

int spiffe_print(const struct spiffe *id, char out[SPIFFE_MAX])
{
	struct strbuf b = strbuf_on(out, SPIFFE_MAX);
	struct spiffe again;

	strbuf_adds(&b, "spiffe://");
	strbuf_add(&b, id->trust_domain);
	if (id->host.n) {
		strbuf_adds(&b, "/node/");
		strbuf_add(&b, id->host);
	} else {
		strbuf_adds(&b, "/ns/");
		strbuf_add(&b, id->ns);
		strbuf_adds(&b, "/sa/");
		strbuf_add(&b, id->account);
	}
	if (b.cut || spiffe_parse(strbuf_slice(&b), &again) < 0)
		return -EINVAL;
	return (int)b.n;
}
