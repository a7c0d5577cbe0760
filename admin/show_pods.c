/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* pods: who is captured on this host, or should be, and what each does now.  The list is the master's (pods.h of
 * lib/ipc), the counters are of the two gates that a pod has in its workers. */
#include "admin/show.h"

#include <stdio.h>

#include "nodeproxy/lib/base/memfd.h"

void state_pods(struct state *st, struct fd fd)
{
	struct slice now;

	if (memfd_map_sealed(fd, PODS_PAGE_BYTES(PODS_MAX), &now) < 0)
		return;
	if (!pods_page(now)) {
		memfd_unmap(&now);
		return;
	}
	if (st->pods_bytes.n)
		memfd_unmap(&st->pods_bytes);
	st->pods_bytes = now;
}

static void direction(const struct state *st, const char *word, const struct pod_told *p,
		      struct text *t)
{
	uint64_t n[LCS];
	char name[64];

	snprintf(name, sizeof name, "%s:%.55s", word, p->words.name);
	gather_listener(st, name, n);
	js_open(t, word, '{');
	js_u64(t, "connections", n[LC_conns_gauge]);
	js_u64(t, "connections_total", n[LC_conns]);
	js_u64(t, "refused_total", n[LC_refused]);
	js_close(t, '}');
}

static void pod(const struct state *st, const struct pod_told *p, struct text *t)
{
	js_open(t, NULL, '{');
	js_str(t, "namespace", p->words.ns);
	js_str(t, "name", p->words.name);
	js_str(t, "service_account", p->words.account);
	js_str(t, "labels", p->words.labels);
	js_str(t, "netns", p->words.netns);
	js_str(t, "source", p->source == POD_OF_WORKLOAD ? "workload" : "order");
	js_bool(t, "captured", !p->waits);
	if (p->waits)
		js_str(t, "problem", p->why);
	else
		js_null(t, "problem");
	js_u64(t, "inode", p->inode);
	js_bool(t, "ipv6", p->has_ipv6);
	js_open(t, "modes", '{');
	for (unsigned m = 0; m < NS_MODES; m++)
		js_str(t, ns_mode_label((enum ns_mode)m), ns_mode_text((enum ns_mode)m, p->modes.of[m]));
	js_close(t, '}');
	js_u64(t, "since_unix_ms", p->since_unix_ms);
	js_open(t, "workers", '[');
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		if (p->workers & 1ull << i)
			js_u64(t, NULL, i);
	js_close(t, ']');
	direction(st, "out", p, t);
	direction(st, "in", p, t);
	js_close(t, '}');
}

void show_pods(struct state *st, const struct call *c, struct answer *ret)
{
	const struct pods_page *page = st->pods_bytes.n ? pods_page(st->pods_bytes) : NULL;
	const char *only = call_text(c, "namespace");
	struct text *t;

	*ret = show_ok();
	t = &ret->body;
	js_open(t, "pods", '[');
	for (uint32_t i = 0; page && i < page->n; i++)
		if (!page->pod[i].leaves && (!only || strcmp(only, page->pod[i].words.ns) == 0))
			pod(st, &page->pod[i], t);
	js_close(t, ']');
	show_end(ret);
}
