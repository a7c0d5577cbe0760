/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See proof.h. */
#include "nodeproxy/proof.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/master.h"
#include "nodeproxy/residents.h"
#include "nodeproxy/visit.h"

static struct pod *captured(struct master *m, uint32_t ref)
{
	struct pod *p = &m->pods.at[POD_SLOT(ref)];

	return p->state == POD_CAPTURED && p->ref == ref ? p : NULL;
}

/* Spread, so that pods that came together do not stay together. */
static struct mono next(const struct master *m, unsigned misses)
{
	int64_t ms = m->knobs.pods_check_ms;

	if (misses)
		ms = min_of(ms, (int64_t)PROOF_AGAIN_MS);
	return mono_after_ms(clock_now(), ms * 3 / 4 + rand_below((uint32_t)ms / 2 + 1));
}

/* Also when pods.check was longer when its turn was set. */
static bool is_due(const struct master *m, const struct proof *f)
{
	int64_t left = mono_diff_ms(f->due, clock_now());

	return f->due.ns == 0 || left <= 0 || left > m->knobs.pods_check_ms * 5 / 4 + 1;
}

void proof_begin(struct master *m)
{
	for (unsigned i = 0, n = 0; i < PODS_MAX && n < VISITS && m->knobs.pods_check_ms; i++) {
		struct pod *p = &m->pods.at[i];
		struct proof *f = &p->proof;

		if (p->state != POD_CAPTURED || f->token || !is_due(m, f) ||
		    p->told == 0)		/* nobody accepts there */
			continue;
		f->token = (uint16_t)(1 + rand_below(UINT16_MAX));
		f->asked = clock_now();
		f->visited = false;
		f->dialled = f->heard = 0;
		n++;
	}
}

static void prove(struct pod *p)
{
	struct proof *f = &p->proof;

	if (f->state == PROOF_FAILED)
		log_info("pod_proven", "pod=%s/%s", p->words.ns, p->words.name);
	f->state = PROOF_PROVEN;
	f->misses = 0;
	f->proven_unix_ms = (uint64_t)clock_unix_ms();
	f->failed_unix_ms = 0;
}

static void miss(struct pod *p)
{
	struct proof *f = &p->proof;
	unsigned missed = f->dialled & ~f->heard;

	if (f->misses < PROOF_MISSES)
		f->misses++;
	if (f->state == PROOF_FAILED || f->misses < PROOF_MISSES)
		return;
	f->state = PROOF_FAILED;
	f->failed_unix_ms = (uint64_t)clock_unix_ms();
	log_warn("pod_not_captured", "pod=%s/%s ipv4=%d ipv6=%d", p->words.ns, p->words.name,
		 missed & 1 ? 0 : 1, missed & 2 ? 0 : 1);
}

/* As soon as there is something to say. */
static void judge(struct master *m, struct pod *p)
{
	struct proof *f = &p->proof;
	bool all = (f->heard & f->dialled) == f->dialled;

	if (!f->token || (!(f->visited && all) && mono_diff_ms(clock_now(), f->asked) < PROOF_MS))
		return;
	f->token = 0;
	if (!f->visited)
		return;			/* at once again */
	if (f->dialled && all)
		prove(p);
	else if (f->dialled)
		miss(p);
	f->due = next(m, f->misses);
	m->pods.proofs_changed = true;
}

void proof_visited(struct master *m, const struct msg_pod_visited *v)
{
	struct pod *p = captured(m, v->ref);

	if (!p)
		return;
	if (v->counted)
		memcpy(p->proof.passed, v->passed, sizeof v->passed);
	if (v->looked)
		residents_seen(m, p, &v->addresses);
	p->proof.dialled = v->dialled & 3;
	p->proof.visited = true;
	judge(m, p);
}

void proof_heard(struct master *m, const struct msg_pod_proven *v)
{
	struct pod *p = captured(m, v->ref);

	if (!p || !p->proof.token || p->proof.token != v->token)
		return;
	p->proof.heard |= v->family == 4 ? 1 : 2;
	judge(m, p);
}

void proofs_send(struct master *m)
{
	const struct child *admind = &m->child[CHILD_ADMIND];
	struct proofs_page *page = calloc(1, PROOFS_PAGE_BYTES(PODS_MAX));
	struct msg_rev rev = { .rev = m->pods.refs };
	struct fd f;

	m->pods.proofs_changed = !page;
	if (!page)
		return;
	page->magic = PROOFS_MAGIC;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		const struct pod *p = &m->pods.at[i];
		struct pod_proof *to = &page->pod[page->n];

		if (p->state != POD_CAPTURED)
			continue;
		*to = (struct pod_proof){ .ref = p->ref, .state = p->proof.state,
					  .proven_unix_ms = p->proof.proven_unix_ms,
					  .failed_unix_ms = p->proof.failed_unix_ms };
		memcpy(to->passed, p->proof.passed, sizeof to->passed);
		page->n++;
	}
	if (admind->has_chan && admind->told &&
	    memfd_sealed("nodeproxy-proofs", slice_of(page, PROOFS_PAGE_BYTES(page->n)), &f) == 0) {
		chan_offer(&m->child[CHILD_ADMIND].chan, MSG_PROOFS_SEEN, &rev, (struct slice){ 0 }, &f.v, 1);
		fd_close(&f);
	}
	free(page);
}

void proof_tick(struct master *m)
{
	for (unsigned i = 0; i < PODS_MAX && m->pods.captured; i++)
		if (m->pods.at[i].state == POD_CAPTURED)
			judge(m, &m->pods.at[i]);
	if (m->pods.proofs_changed)
		proofs_send(m);
}
