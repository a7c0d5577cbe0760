/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See homes.h. */
#include "nodeproxy/homes.h"

#include <errno.h>

#include "nodeproxy/death.h"
#include "nodeproxy/fellows.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

void homes_say_here(struct child *c, struct pod *p)
{
	struct msg_pod_here here = { .ref = p->ref, .only_out = p->words.uid != 0,
				     .fellow = fellow_of(p, c->id) };
	int fds[POD_LISTENERS];
	unsigned n = (fd_is_open(p->fd[POD_OUT6]) ? 2 : 1) * pod_sockets(p->words.uid);

	memcpy(here.name, p->words.name, sizeof here.name);
	memcpy(here.ns, p->words.ns, sizeof here.ns);
	here.n_resolvers = p->words.n_resolvers;
	memcpy(here.resolver, p->words.resolver, sizeof here.resolver);
	for (unsigned i = 0; i < n; i++)
		fds[i] = pod_socket(p, i)->v;
	if (chan_send(&c->chan, MSG_POD_HERE, &here, (struct slice){ 0 }, fds, n) == -ENOBUFS)
		child_kill(c, "channel full");
}

void homes_say(struct master *m, uint64_t slots, enum msg_type t, uint32_t ref)
{
	struct msg_pod pod = { .ref = ref };

	for (unsigned s = 0; s < BOARD_WORKERS; s++) {
		struct child *c = &m->child[s];

		if (slots & 1ull << s && child_is_alive(c) && c->has_chan && c->told &&
		    chan_say(&c->chan, t, &pod) == -ENOBUFS)
			child_kill(c, "channel full");
	}
}

uint64_t homes_should(const struct master *m, unsigned slot)
{
	uint64_t bits = 0;

	for (unsigned k = 0; k < min_of(m->n_workers, (unsigned)POD_HOMES); k++) {
		int holder = m->listeners.holder[(slot + k) % m->n_workers];

		if (holder >= 0)
			bits |= 1ull << holder;
	}
	return bits;
}

bool homes_settle(struct master *m, struct pod *p)
{
	uint64_t should = homes_should(m, pods_slot_of(&m->pods, p)), was = p->told;

	if (should == was)
		return false;
	/* A new master does not know what its predecessor's words did. */
	if (m->kept.birth == BIRTH_AGAIN && !p->cleared)
		homes_say(m, ~0ull, MSG_POD_DROP, p->ref);
	p->cleared = true;
	p->told = should;
	pod_touched(m, p);
	fellows_connect(m, p);
	for (unsigned s = 0; s < BOARD_WORKERS; s++)
		if (should & ~was & 1ull << s)
			homes_say_here(&m->child[s], p);
	homes_say(m, was & ~should, MSG_POD_DROP, p->ref);
	fellows_tell(m, p, was & should);
	return true;
}

void homes_forget(struct master *m, unsigned slot)
{
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->told & 1ull << slot)
			pod_touched(m, p);
		p->told &= ~(1ull << slot);
		p->knows &= ~(1ull << slot);
	}
}

/* 0, -EAGAIN, or -errno; who or what is gone by now wants nothing. */
static int open_wanted(struct master *m, const struct pod_want *w)
{
	const struct pod *p = pods_by_ref(m, w->ref, POD_CAPTURED);
	const struct child *c = &m->child[w->worker];
	struct errand_job job = { .kind = ERRAND_BANK, .ref = w->ref, .rules = FD_NONE,
				  .list = FD_NONE };

	if (!p || !child_is_alive(c) || c->generation != w->generation)
		return 0;
	job.inside = p->fd[POD_NETNS];
	memcpy(job.n, w->n, sizeof job.n);
	return errand_start(m, &job, c);
}

void homes_fill(struct master *m)
{
	struct pods *ps = &m->pods;
	unsigned n = 0;

	while (n < ps->n_wants && open_wanted(m, &ps->want[n]) != -EAGAIN)
		n++;
	ps->n_wants -= n;
	memmove(ps->want, ps->want + n, ps->n_wants * sizeof ps->want[0]);
}

void homes_bank_want(struct master *m, struct child *c, const struct msg_bank_want *w)
{
	struct pod_want want = { .ref = w->ref, .worker = c->id, .generation = c->generation };
	unsigned most = 0;
	int r;

	memcpy(want.n, w->n, sizeof want.n);
	for (unsigned i = 0; i < BANK_KINDS; i++)
		most = max_of(most, (unsigned)w->n[i]);
	if (most > BANK_ERRAND || most == 0) {
		child_broke(c, "asked for more sockets than anybody may");
		return;
	}
	r = m->pods.n_wants ? -EAGAIN : open_wanted(m, &want);
	if (r == -EAGAIN && m->pods.n_wants < POD_WANTS)
		m->pods.want[m->pods.n_wants++] = want;
	else if (r < 0)		/* it asks again */
		log_limited(LOG_WARN, "bank_not_filled", "worker=%u error=\"%s\"", c->id, strerror(-r));
}

void homes_bank(struct master *m, const struct errand *e, const struct msg_bank *b, const struct fd *fd,
	       unsigned n)
{
	struct child *c = &m->child[e->worker];
	int fds[CHAN_MAX_FDS];

	if (!child_is_alive(c) || c->generation != e->generation || !c->has_chan ||
	    e->job.kind != ERRAND_BANK)
		return;
	for (unsigned i = 0; i < n; i++)
		fds[i] = fd[i].v;
	chan_offer(&c->chan, MSG_BANK_HERE, b, (struct slice){ 0 }, fds, n);
}
