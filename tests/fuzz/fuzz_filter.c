/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Addresses that filters make of what a caller wrote: any head, any of some filters.
 *
 * The first byte chooses the filter, the rest is the head of a request.  Checked: a path begins with one
 * slash (with more only where the caller's did and its beginning is kept), holds no byte that a target
 * may not, and ends as the caller's; a Location is one line, begins with a scheme and a host that is the
 * filter's, the caller's or the Service's, and has the caller's query; neither writes more than its room.
 * Values of headers are tried as origins. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "nodeproxy/lib/base/must.h"
#include "tests/lib/view_from.h"
#include "workers/codec/headers.h"
#include "workers/path/filter.h"

static const struct http1_limits limits = { .head_bytes = 8192, .headers = 100, .uri_bytes = 4096 };

static const char world[] =
	"service t/s port=8080\nroute t/r parent=t/s\n"
	"rule prefix=/a redirect=prefix:/\n"
	"rule prefix=/b redirect=prefix:/x/y\n"
	"rule prefix=/c/d redirect=prefix:,host:h.example,scheme:https\n"
	"rule prefix=/e redirect=path:/,port:81\n"
	"rule prefix=/ redirect=scheme:http\n";
static const char origins[] =
	"service t/o port=80\nroute t/o parent=t/o\n"
	"rule cors=https://*.a.example|http://*:81|https://b\n";

static struct view *view, *allowed;
static struct vport port;
static struct vfilter cors;

static bool ends_with(struct slice s, struct slice end)
{
	return s.n >= end.n && slice_eq(slice_from(s, s.n - end.n), end);
}

static void died(void)
{
	view_unref(view);
	view_unref(allowed);
}

static void born(void)
{
	struct vservice s;
	struct vport p;
	struct vrule r;

	must(atexit(died) == 0);
	view = view_from(world);
	must(view_service_by_name(view, SLICE("t"), SLICE("s"), &s) && vservice_port(&s, 8080, &port));
	allowed = view_from(origins);
	must(view_service_by_name(allowed, SLICE("t"), SLICE("o"), &s) && vservice_port(&s, 80, &p) &&
	     vport_match(&p, SLICE("t"), &(struct vrequest){ .method = SLICE("GET"), .path = SLICE("/") },
				 &r) == MATCH_RULE && vfilter_at(&s, &r.filters, 0, &cors));
}

/* Whoever is allowed has a scheme, a host without anything that ends one, and the port that was meant. */
static void check_origin(struct slice o)
{
	static const uint8_t ends[] = "/?#@:\\";

	if (!vfilter_allows(&cors, o))
		return;
	must(o.n > 8);
	o = slice_from(o, byte_lower(o.p[4]) == 's' ? 8 : 7);
	if (ends_with(o, SLICE(":81")))
		o.n -= 3;
	must(o.n > 0);
	for (size_t i = 0; i < o.n; i++)
		must(!memchr(ends, o.p[i], sizeof ends));
}

static void check_path(const struct vfilter *f, struct slice from)
{
	uint8_t *out = malloc(from.n + f->path.n + 1);	/* exactly: the sanitizer sees more */
	struct slice to;

	must(out != NULL);
	to = filter_path(f, from, out);
	must(to.n && to.p[0] == '/');
	must(to.n == 1 || to.p[1] != '/' || f->path_is == PATH_KEPT);
	for (size_t i = 0; i < to.n; i++)
		must(byte_is(to.p[i], BC_TARGET));
	if (f->path_is == PATH_PREFIX) {
		struct slice rest = slice_from(from, f->cut);

		must(slice_starts(to, f->path));
		while (f->path.n == 0 && rest.n > 1 && rest.p[1] == '/')
			rest = slice_from(rest, 1);
		must(ends_with(to, rest) && to.n == max_of(f->path.n + rest.n, (size_t)1));
	}
	free(out);
}

static void check_location(const struct vfilter *f, const struct head *h, bool by_address)
{
	size_t room = filter_location_room(f, h), n;
	char *out = malloc(room);
	struct slice s;

	must(out != NULL);
	n = filter_location(f, &port, h, by_address, out);
	must(n <= room);
	s = slice_of(out, n);
	for (size_t i = 0; i < n; i++)
		must(byte_is((uint8_t)out[i], BC_TARGET));
	must(slice_starts(s, f->scheme == SCHEME_HTTPS ? SLICE("https://") : SLICE("http://")));
	s = slice_from(s, f->scheme == SCHEME_HTTPS ? 8 : 7);
	if (f->host.n) {
		must(slice_starts(s, f->host));
		s = slice_from(s, f->host.n);
	} else if (h->authority.n) {
		size_t i = 0;

		while (i < s.n && i < h->authority.n && s.p[i] == h->authority.p[i])
			i++;
		must(i > 0);
		s = slice_from(s, i);
	} else {
		must(slice_starts(s, SLICE("s.t.svc")));
		s = slice_from(s, 7);
	}
	/* Behind the host only a port may come before the path. */
	while (s.n && (byte_is(s.p[0], BC_DIGIT) || s.p[0] == ':'))
		s = slice_from(s, 1);
	must(s.n && s.p[0] == '/');
	if (h->query.p)
		must(ends_with(s, h->query));
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct head h;
	struct vrequest q;
	struct vfilter f;
	struct vrule r;
	enum reason why;

	if (view == NULL)
		born();
	if (size < 2 || http1_request(slice_of(data + 1, size - 1), &limits, &h, &why) != 1)
		return 0;
	for (uint32_t i = 0; i < h.n; i++)
		check_origin(h.h[i].value);
	q = (struct vrequest){ .method = h.method, .path = h.path };
	if (vport_match(&port, SLICE("t"), &q, &r) != MATCH_RULE)
		return 0;
	must(vfilter_at(&r.port.service, &r.filters, 0, &f));
	if (h.path.n && h.path.p[0] == '/')
		check_path(&f, h.path);
	check_location(&f, &h, data[0] & 1);
	return 0;
}
