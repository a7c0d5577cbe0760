/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Requests against routes: whatever path, query and headers a caller makes up, the rule that is chosen
 * matches, and none that comes before it does.  Input: lines; the first is method, the second path, the
 * third query, then name: value; the last byte says which namespace asks. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/replay.h"
#include "tests/lib/view_from.h"

#define LINES 20

static const char world[] =
	"service shop/web port=80\n"
	"route shop/r parent=shop/web\n"
	"rule prefix=/a method=GET prefix=/a/ header=x:1 exact=/a/b param=q:a%b exact=/a/b param=q:c+d\n"
	"rule prefix=/ header=x:1 header=y:2 prefix=/ header=x:1,2 prefix=/a/b/c param=q:1 param=r:2\n"
	"rule prefix=/p header=x:1\nrule prefix=/p header=x:2\nrule prefix=/p header=x:3 param=q:1\n"
	"rule prefix=/p header=x:1,2\nrule prefix=/p header=x:5\nrule prefix=/p method=PUT\n"
	"rule prefix=/p header=x:7\nrule prefix=/p header=x:8\nrule prefix=/p header=x:9 header=y:1\n"
	"rule prefix=/q param=q:1\nrule prefix=/q param=q:2\nrule prefix=/q param=q:a%b header=x:1\n"
	"rule prefix=/q param=q:c+d\nrule prefix=/q param=q:5\nrule prefix=/q param=q:6\nrule prefix=/q param=q:7\n"
	"rule prefix=/q param=q:8 method=GET\nrule prefix=/q param=q:9\nrule prefix=/q header=x:1\n"
	"grpcroute other/g parent=shop/web\n"
	"rule call=/s/m grpc_service=/s grpc_method=m\nrule grpc_method=n header=x:1\n";

struct request {
	struct slice method, path, query, name[LINES], value[LINES];
	uint32_t n;
};

static bool header_of(const void *arg, struct slice name, uint32_t *at, struct slice *ret)
{
	const struct request *r = arg;

	while (*at < r->n) {
		uint32_t i = (*at)++;

		if (slice_caseeq(r->name[i], name)) {
			*ret = r->value[i];
			return true;
		}
	}
	return false;
}

static struct slice next_line(struct slice *rest)
{
	const uint8_t *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
	struct slice line = slice_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);

	*rest = slice_from(*rest, line.n + 1);
	return line;
}

static void read_request(struct slice rest, struct request *r)
{
	*r = (struct request){ .method = next_line(&rest) };
	r->path = next_line(&rest);
	r->query = next_line(&rest);
	while (rest.n && r->n < LINES) {
		struct slice line = next_line(&rest);
		const uint8_t *colon = line.n ? memchr(line.p, ':', line.n) : NULL;

		r->name[r->n] = slice_of(line.p, colon ? (size_t)(colon - line.p) : line.n);
		r->value[r->n] = slice_trim(slice_from(line, r->name[r->n].n + 1));
		r->n++;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct view *v;
	uint32_t first = 0, n, hit = UINT32_MAX;
	struct request r;
	struct vrequest q;
	struct vservice s;
	struct vport p;
	struct vrule rule;
	struct slice ns = size && data[size - 1] & 1 ? SLICE("other") : SLICE("shop");
	char words[160];

	if (v == NULL)
		v = view_from(world);
	read_request(slice_of(data, size), &r);
	q = (struct vrequest){ .method = r.method, .path = r.path, .query = r.query, .header = header_of,
			       .arg = &r };
	must(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s) && vservice_port(&s, 80, &p));
	n = vport_rules_for(&p, ns, &first);
	must(n > 0);
	if (vport_match(&p, ns, &q, &rule) == MATCH_RULE)
		hit = rule.index;
	for (uint32_t i = first; i < first + n; i++) {
		must(vport_rule_at(&p, i, &rule));
		must(vrule_misses(&rule, &q, words, sizeof words) == (i != hit));
		if (i == hit)
			return 0;
	}
	must(hit == UINT32_MAX);
	return 0;
}
