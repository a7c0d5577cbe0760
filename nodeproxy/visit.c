/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See visit.h. */
#include "nodeproxy/visit.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/fsuid.h>

#include "nodeproxy/addresses.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/net/proof.h"
#include "nodeproxy/netns.h"
#include "nodeproxy/nft.h"

/* Sockets that were dialled: they stay open until somebody has hung up. */
struct dials {
	struct pollfd at[2 * VISITS];
	unsigned n;
	struct fd home;		/* the namespace that we were in */
};

/* Without our mark, so that it is redirected.  False: there is no way there from this pod, which says
 * nothing. */
static bool dial(unsigned family, uint16_t token, struct dials *d)
{
	struct addr a = proof_addr(family, token);
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(&a, &ss);
	struct fd f = { socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	if (f.v < 0)
		return false;
	if (connect(f.v, (struct sockaddr *)&ss, n) < 0 && errno != EINPROGRESS && errno != ECONNREFUSED) {
		fd_close(&f);
		return false;
	}
	d->at[d->n++] = (struct pollfd){ .fd = f.v, .events = POLLRDHUP };
	return true;
}

static bool go(const struct errand_pod *p, const struct dials *d)
{
	struct fd ns;
	uint64_t inode;
	bool there;

	if (p->uid)
		return setns(d->home.v, CLONE_NEWNET) == 0;
	if (netns_open(p->netns, &ns, &inode) < 0)
		return false;
	there = inode == p->inode && setns(ns.v, CLONE_NEWNET) == 0;
	fd_close(&ns);
	return there;
}

static void visit(const struct errand_pod *p, struct chan *ch, struct dials *d)
{
	struct msg_pod_visited v = { .ref = p->ref };

	if (!go(p, d))
		return;
	v.counted = nft_count(p->uid, v.passed) == 0;
	v.looked = !p->uid && addresses_read(&v.addresses) == 0;	/* those of a uid are everybody's here */
	setfsuid(p->uid);		/* whose sockets these are goes by it */
	v.dialled = dial(4, p->token, d);
	if (p->has_ipv6)
		v.dialled |= (uint16_t)(dial(6, p->token, d) << 1);
	setfsuid(0);
	errand_say(ch, MSG_POD_VISITED, &v, "", NULL, 0);
}

void visit_pods(const struct errand_pod *pod, size_t n, struct chan *ch)
{
	struct dials d = { .n = 0 };
	struct mono end;
	uint64_t inode;
	int64_t left;

	if (netns_open("/proc/self/ns/net", &d.home, &inode) < 0)
		return;

	for (size_t i = 0, visits = 0; i < n && visits < VISITS; i++) {
		if (!pod[i].token)
			continue;
		visit(&pod[i], ch, &d);
		visits++;
	}
	/* Whose socket was closed before it was accepted would not have arrived. */
	clock_tick();
	end = mono_after_ms(clock_now(), VISIT_MS);
	for (unsigned open = d.n; open && (left = mono_diff_ms(end, clock_now())) > 0; clock_tick()) {
		if (poll(d.at, d.n, (int)left) < 0 && errno != EINTR)
			return;
		open = 0;
		for (unsigned i = 0; i < d.n; i++) {
			if (d.at[i].revents)
				d.at[i].fd = -1;	/* ends with us */
			open += d.at[i].fd >= 0;
		}
	}
}
