/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd.h: leases.
 *
 *   WANTED    none is held: granted when the client is up
 *   GRANTING  asked for
 *   HELD      renewed after a third of its time, with any member; what fails is tried again soon,
 *             until the time since the last renewal was begun is over
 *
 * A renewal is a call of its own, so it does not matter which connection the last one had. */
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/etcd_inner.h"

#define TTL_MIN_S	2
#define AGAIN_MIN_MS	200		/* after a grant that failed */
#define AGAIN_MAX_MS	10000

enum lease_state { LEASE_WANTED, LEASE_GRANTING, LEASE_HELD };

struct etcd_lease {
	struct node in_etcd;
	struct etcd *e;
	enum lease_state state;
	int64_t id, ttl_s;
	int64_t again_ms;
	struct mono begun;		/* the call under way */
	struct mono until;		/* HELD: what is kept is there so long, whatever happens */
	struct etcd_call *call;
	struct loop_timer next;
	struct etcd_lease_terms on;
};

static void next_cb(void *arg);

static void after_ms(struct etcd_lease *l, int64_t ms)
{
	loop_timer_start(l->e->loop, &l->next, ms * NS_PER_MS, 0, next_cb, l);
}

/* To the next renewal of one that was just given or renewed. */
static int64_t third_ms(const struct etcd_lease *l)
{
	return l->ttl_s * 1000 / 4 + rand_below((uint32_t)(l->ttl_s * 1000 / 6));
}

static void lose(struct etcd_lease *l, const char *why)
{
	bool was_held = l->state == LEASE_HELD;

	l->state = LEASE_WANTED;
	l->again_ms = min_of(max_of(l->again_ms * 2, (int64_t)AGAIN_MIN_MS), (int64_t)AGAIN_MAX_MS);
	after_ms(l, l->again_ms / 2 + rand_below((uint32_t)l->again_ms));
	if (was_held)
		l->on.lost(l->on.arg, why);
}

static void done_cb(void *arg, const struct etcd_answer *a)
{
	struct etcd_lease *l = arg;

	l->call = NULL;
	if (a->status != GRPC_OK && l->state == LEASE_HELD && a->status != GRPC_NOT_FOUND) {
		after_ms(l, max_of(third_ms(l) / 4, (int64_t)AGAIN_MIN_MS));
	} else if (a->status != GRPC_OK) {
		lose(l, a->words);
	} else if (a->ttl_s <= 0 || a->lease == 0) {
		lose(l, "etcd knows nothing of the lease any more");
	} else {
		bool is_new = l->state == LEASE_GRANTING;

		l->state = LEASE_HELD;
		l->id = a->lease;
		l->ttl_s = min_of(max_of(a->ttl_s, (int64_t)TTL_MIN_S), (int64_t)86400);
		l->until = mono_after_ms(l->begun, l->ttl_s * 1000);
		l->again_ms = 0;
		after_ms(l, third_ms(l));
		if (is_new)
			l->on.held(l->on.arg, l->id);
	}
}

static void ask(struct etcd_lease *l)
{
	bool renews = l->state == LEASE_HELD;
	struct etcd_mem mem = { 0 };
	struct slice m;
	int r = renews ? etcd_msg_lease(&mem, l->id, &m) : etcd_msg_grant(&mem, l->on.ttl_s, &m);

	if (r == 0 && etcd_is_up(l->e))
		l->call = etcd_call_new(l->e, renews ? ETCD_DO_KEEP : ETCD_DO_GRANT, &mem, m, done_cb, l);
	else
		etcd_mem_fini(&mem);
	l->begun = clock_now();
	if (l->call && !renews)
		l->state = LEASE_GRANTING;
}

/* One way or the other it is called again: by an answer, by this timer, or by etcd_leases_up(). */
static void step(struct etcd_lease *l)
{
	if (l->state == LEASE_HELD && clock_now().ns >= l->until.ns) {
		etcd_call_cancel(&l->call);
		lose(l, "could not be renewed in time");
		return;
	}
	if (l->call == NULL)
		ask(l);
	if (l->state == LEASE_HELD)	/* the answer sets it anew */
		after_ms(l, max_of(mono_diff_ms(l->until, clock_now()), (int64_t)1));
	else if (l->call == NULL)
		after_ms(l, AGAIN_MAX_MS);
}

static void next_cb(void *arg)
{
	clock_tick();
	step(arg);
}

void etcd_leases_up(struct etcd *e)
{
	for (struct node *it = e->leases.next; it != &e->leases; it = it->next) {
		struct etcd_lease *l = list_entry(it, struct etcd_lease, in_etcd);

		if (l->state == LEASE_WANTED)
			after_ms(l, 0);
		else if (l->state == LEASE_HELD && l->call == NULL)
			after_ms(l, 0);
	}
}

struct etcd_lease *etcd_lease_new(struct etcd *e, const struct etcd_lease_terms *t)
{
	struct etcd_lease *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	must(t->ttl_s >= TTL_MIN_S);
	l->e = e;
	l->on = *t;
	l->ttl_s = t->ttl_s;
	list_add_tail(&e->leases, &l->in_etcd);
	after_ms(l, 0);
	return l;
}

static void nobody_cb(void *arg, const struct etcd_answer *a)
{
	(void)arg;
	(void)a;
}

void etcd_lease_free(struct etcd_lease **lp, bool revoke)
{
	struct etcd_lease *l = *lp;
	struct etcd_mem mem = { 0 };
	struct slice m;

	*lp = NULL;
	if (l == NULL)
		return;
	etcd_call_cancel(&l->call);
	loop_timer_stop(l->e->loop, &l->next);
	if (revoke && l->state == LEASE_HELD && etcd_is_up(l->e) && etcd_msg_lease(&mem, l->id, &m) == 0)
		(void)!etcd_call_new(l->e, ETCD_DO_REVOKE, &mem, m, nobody_cb, NULL);
	else
		etcd_mem_fini(&mem);
	list_remove(&l->in_etcd);
	free(l);
}
