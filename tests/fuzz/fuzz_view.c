/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Hostile view bytes: a base and an overlay on it, as a broken or taken-over sync process could
 * send them.  Input: four bytes, the length of the base; the base; the overlay.  Whatever passes
 * the check is then read through every accessor. */
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/net/addr.h"
#include "store/view/dump.h"
#include "store/view/layout.h"
#include "store/view/view.h"
#include "tests/fuzz/replay.h"

static void nothing(void *arg, const char *p, size_t n)
{
	*(size_t *)arg += n + (uint8_t)p[n - 1];
}

/* Every header is there, on two lines. */
static bool header_of(const void *arg, struct slice name, uint32_t *at, struct slice *ret)
{
	(void)arg;
	*ret = name;
	return (*at)++ < 2;
}

static void read_all(const struct view *v)
{
	static const struct slice paths[] = { SLICE("/"), SLICE("/a/b"), SLICE(""),
					      SLICE("/a/b/c/d") };
	struct vservice s;
	struct vport p;
	struct vrule r;
	struct vbackend b;
	struct addr vip;
	size_t sum = 0;
	char words[256];
	uint32_t first;

	struct vfilter f;

	view_dump(v, nothing, &sum);	/* words of filters among it */
	view_service_by_host(v, SLICE("web.shop.svc.cluster.local"), SLICE("shop"), &s);
	view_service_by_name(v, SLICE("shop"), SLICE("web"), &s);
	for (uint8_t i = 0; i < 16; i++)	/* some in each bucket */
		(void)view_knows(v, &(struct addr){ .family = 4, .ip = { 10, 0, 0, i } });
	for (uint32_t id = 0; id < 8; id++)
		view_service(v, id, &s);
	for (uint32_t i = 0; view_service_nth(v, i, &s); i++) {
		if (vservice_vip(&s, 0, &vip))
			view_service_by_vip(v, &vip, &s);
		vservice_port(&s, 80, &p);
		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			struct vpolicy y;
			struct vtls tls;
			bool is_uri;
			uint32_t all = vport_weights(&p);

			vport_policy(&p, &y);
			vport_tls(&p, &tls);
			for (uint32_t m = 0; m < 3; m++)
				sum += vport_tls_ca(&p, m).n + vport_tls_name(&p, m, &is_uri).n;
			if (vport_ready(&p))
				must(vport_by_weight(&p, all / 2) < vport_ready(&p));
			for (size_t m = 0; m < countof(paths); m++) {
				struct vrequest named = { .is_tls = true, .path = paths[m] };
				struct vrequest q = { .method = SLICE("GET"), .path = paths[m],
						      .query = SLICE("a=1&b=%32&c"),
						      .header = header_of };

				if (vport_match(&p, SLICE("shop"), m ? &q : NULL, &r) == MATCH_RULE)
					vrule_backend(&r, r.total_weight / 2, &b);
				if (vport_match(&p, SLICE("fifth"), &named, &r) == MATCH_RULE)
					vrule_words(&r, words, sizeof words);
				for (uint32_t n = 0; vport_rule_at(&p, n, &r) && n < 64; n++)
					vrule_misses(&r, &q, words, sizeof words);
				sum += vport_rules_for(&p, SLICE("other"), &first);
			}
			for (uint32_t m = 0; vport_rule_at(&p, m, &r) && m < 64; m++)
				for (uint32_t n = 0; vfilter_at(&s, &r.filters, n, &f); n++)
					vfilter_allows(&f, SLICE("https://x.a"));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct view *base, *v;
	uint64_t rev = 1;
	uint32_t n;
	struct fd fd;

	if (size < 4)
		return 0;
	memcpy(&n, data, 4);
	data += 4;
	size -= 4;
	n = min_of(n, (uint32_t)size);
	if (memfd_sealed("fuzz", slice_of(data, n), &fd) < 0)
		return 0;
	/* What the announcement says is the sender's to choose as well. */
	if (n >= sizeof(struct view_head))
		memcpy(&rev, data + offsetof(struct view_head, rev), 8);
	if (view_open_base(&fd, rev, &base) < 0)
		return 0;
	while (view_check_step(base, 0) == 0)
		;
	if (view_check_step(base, 0) == 1) {
		read_all(base);
		data += n;
		size -= n;
		if (size >= sizeof(struct view_head))
			memcpy(&rev, data + offsetof(struct view_head, rev), 8);
		if (memfd_sealed("fuzz", slice_of(data, size), &fd) == 0 &&
		    view_open_overlay(base, &fd, rev, &v) == 0) {
			read_all(v);
			view_unref(v);
		}
	}
	view_unref(base);
	return 0;
}
