/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* pods: who is captured on this host, or should be, and what each does now.  The list is the master's (pods.h of
 * lib/ipc), the counters are of the two gates that a pod has in its workers. */
#include "admin/show.h"

#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/net/addr.h"

/* All pages, as one. */
static void put_together(struct state *st)
{
	struct pods_page *all = st->pods;

	*all = (struct pods_page){ .magic = PODS_MAGIC };
	for (unsigned i = 0; i < PODS_PAGES; i++) {
		const struct pods_page *page = st->pods_told[i].n ? pods_page(st->pods_told[i]) : NULL;

		if (!page)
			continue;
		memcpy(&all->pod[all->n], page->pod, page->n * sizeof page->pod[0]);
		all->n += page->n;
	}
	st->pods_bytes = slice_of(all, PODS_PAGE_BYTES(all->n));
}

void state_pods(struct state *st, uint32_t page, struct fd fd)
{
	struct slice now;

	if (page >= PODS_PAGES || memfd_map_sealed(fd, PODS_PAGE_BYTES(PODS_A_PAGE), &now) < 0)
		return;
	if (!pods_page(now)) {
		memfd_unmap(&now);
		return;
	}
	if (st->pods_told[page].n)
		memfd_unmap(&st->pods_told[page]);
	st->pods_told[page] = now;
	if (!st->pods)
		st->pods = calloc(1, PODS_PAGE_BYTES(PODS_MAX));
	if (st->pods)
		put_together(st);
}

void state_proofs(struct state *st, struct fd fd)
{
	struct slice now;

	if (memfd_map_sealed(fd, PROOFS_PAGE_BYTES(PODS_MAX), &now) < 0)
		return;
	if (!proofs_page(now)) {
		memfd_unmap(&now);
		return;
	}
	if (st->proofs_bytes.n)
		memfd_unmap(&st->proofs_bytes);
	st->proofs_bytes = now;
}

void state_host_resolvers(struct state *st, struct fd fd)
{
	struct addr all[RESOLVCONF_MOST];
	unsigned n = 0;

	st->n_resolvers = 0;
	if (fd_is_open(fd) && resolvconf_read(fd.v, all, &n) < 0)
		n = 0;
	for (unsigned i = 0; i < n; i++)
		if (resolver_is_far(&all[i]))
			st->resolver[st->n_resolvers++] = all[i];
}

unsigned state_resolvers(const struct state *st, const struct pod_told *p, struct addr ret[RESOLVCONF_MOST])
{
	unsigned n = min_of(p->words.n_resolvers, (uint32_t)POD_RESOLVERS);

	static_must(POD_RESOLVERS <= RESOLVCONF_MOST);
	memset(ret, 0, RESOLVCONF_MOST * sizeof *ret);
	for (unsigned i = 0; i < n; i++) {
		ret[i].family = p->words.resolver[i].family;
		memcpy(ret[i].ip, p->words.resolver[i].ip, sizeof ret[i].ip);
	}
	if (n)
		return n;
	memcpy(ret, st->resolver, sizeof st->resolver);
	return st->n_resolvers;
}

static struct addr address(const uint8_t ip[16])
{
	static const uint8_t ipv4[12] = { [10] = 0xff, [11] = 0xff };
	bool four = memcmp(ip, ipv4, sizeof ipv4) == 0;
	struct addr a = { .family = four ? 4 : 6 };

	memcpy(a.ip, four ? ip + 12 : ip, four ? 4 : 16);
	return a;
}

const struct pod_told *state_pod_at(const struct state *st, const struct addr *at)
{
	const struct pods_page *page = state_pods_page(st);
	const struct pod_told *found = NULL;

	for (uint32_t i = 0; page && i < page->n; i++) {
		for (uint32_t k = 0; k < page->pod[i].addresses.n; k++) {
			struct addr a = address(page->pod[i].addresses.ip[k]);

			a.port = at->port;
			if (!addr_eq(&a, at) || page->pod[i].leaves || page->pod[i].waits)
				continue;
			if (found)
				return NULL;
			found = &page->pod[i];
		}
	}
	return found;
}

/* The counters of one of its gates. */
static void of_gate(const struct state *st, const char *word, const struct pod_told *p, uint64_t n[LCS])
{
	char name[64];

	snprintf(name, sizeof name, "%s:%.55s", word, p->words.name);
	gather_listener(st, name, n);
}

bool state_names_are_silent(const struct state *st, const struct pod_told *p)
{
	uint64_t n[LCS];

	of_gate(st, "out", p, n);
	return n[LC_names_silent_gauge] != 0;
}

static void direction(const struct state *st, const char *word, const struct pod_told *p,
		      const uint64_t passed[2], struct text *t)
{
	uint64_t n[LCS];

	of_gate(st, word, p, n);
	js_open(t, word, '{');
	js_u64(t, "connections", n[LC_conns_gauge]);
	js_u64(t, "connections_total", n[LC_conns]);
	js_u64(t, "refused_total", n[LC_refused]);
	js_u64(t, "passed_other_total", passed[PASSED_OUT_OTHER]);
	js_u64(t, "passed_link_local_total", passed[PASSED_OUT_LINK_LOCAL]);
	js_close(t, '}');
}

static void proof(const struct pod_proof *f, struct text *t)
{
	static const char *const words[PROOFS] = { "not proven", "proven", "failed" };

	js_str(t, "proof", words[f->state]);
	if (f->proven_unix_ms)
		js_u64(t, "proven_unix_ms", f->proven_unix_ms);
	else
		js_null(t, "proven_unix_ms");
	if (f->failed_unix_ms)
		js_u64(t, "failed_unix_ms", f->failed_unix_ms);
	else
		js_null(t, "failed_unix_ms");
}

/* Whom it asks for names of others, and whether they answered. */
static void names(const struct state *st, const struct pod_told *p, struct text *t)
{
	struct addr a[RESOLVCONF_MOST];
	unsigned n = state_resolvers(st, p, a);
	char text[ADDR_TEXT];

	if (p->words.uid) {
		js_null(t, "names");
		return;
	}
	js_open(t, "names", '{');
	js_bool(t, "own", p->words.n_resolvers > 0);
	js_open(t, "resolvers", '[');
	for (unsigned i = 0; i < n; i++)
		js_str(t, NULL, addr_text(&a[i], false, text));
	js_close(t, ']');
	js_bool(t, "silent", state_names_are_silent(st, p));
	js_close(t, '}');
}

static void pod(const struct state *st, const struct pod_told *p, const struct proofs_page *proofs,
		struct text *t)
{
	static const struct pod_proof none;
	const struct pod_proof *f = proof_of(proofs, p->ref);

	f = f ? f : &none;
	js_open(t, NULL, '{');
	js_str(t, "namespace", p->words.ns);
	js_str(t, "name", p->words.name);
	js_str(t, "service_account", p->words.account);
	js_str(t, "labels", p->words.labels);
	if (p->words.uid) {
		js_null(t, "netns");
		js_u64(t, "uid", p->words.uid);
	} else {
		js_str(t, "netns", p->words.netns);
		js_null(t, "uid");
	}
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
	js_open(t, "addresses", '[');
	for (uint32_t i = 0; i < p->addresses.n; i++) {
		char ip[ADDR_TEXT];
		struct addr a = address(p->addresses.ip[i]);

		js_str(t, NULL, addr_text(&a, false, ip));
	}
	js_close(t, ']');
	js_u64(t, "since_unix_ms", p->since_unix_ms);
	js_open(t, "workers", '[');
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		if (p->workers & 1ull << i)
			js_u64(t, NULL, i);
	js_close(t, ']');
	names(st, p, t);
	proof(f, t);
	direction(st, "out", p, &f->passed[PASSED_OUT_OTHER], t);
	direction(st, "in", p, &f->passed[PASSED_IN_OTHER], t);
	js_close(t, '}');
}

void show_pods(struct state *st, const struct call *c, struct answer *ret)
{
	const struct pods_page *page = state_pods_page(st);
	const struct proofs_page *proofs = state_proofs_page(st);
	const char *only = call_text(c, "namespace");
	struct text *t;

	*ret = show_ok();
	t = &ret->body;
	js_open(t, "pods", '[');
	for (uint32_t i = 0; page && i < page->n; i++)
		if (!page->pod[i].leaves && (!only || strcmp(only, page->pod[i].words.ns) == 0))
			pod(st, &page->pod[i], proofs, t);
	js_close(t, ']');
	show_end(ret);
}
