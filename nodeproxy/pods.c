/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pods.h. */
#include "nodeproxy/pods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/homes.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/pods.h"
#include "nodeproxy/residents.h"
#include "nodeproxy/master.h"
#include "nodeproxy/podlist.h"
#include "nodeproxy/programs.h"
#include "nodeproxy/workloads.h"

#define FD_NAME	   "pod/%u/%u"
#define LOOK_MS 2000	/* between two looks whether pods are still there */

/* ---- the list ---- */

unsigned pods_slot_of(const struct pods *ps, const struct pod *p)
{
	return (unsigned)(p - ps->at);
}

struct pod *pods_find(struct master *m, const char *ns, const char *name, enum pod_state state)
{
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->state == state && strcmp(p->words.name, name) == 0 &&
		    strcmp(p->words.ns, ns) == 0)
			return p;
	}
	return NULL;
}

struct pod *pods_by_ref(struct master *m, uint32_t ref, enum pod_state state)
{
	struct pod *p = &m->pods.at[POD_SLOT(ref)];

	return p->state == state && p->ref == ref ? p : NULL;
}

/* A captured pod whose namespace has this inode. */
static const struct pod *by_inode(const struct master *m, uint64_t inode)
{
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].state == POD_CAPTURED && m->pods.at[i].inode == inode &&
		    !m->pods.at[i].words.uid)
			return &m->pods.at[i];
	return NULL;
}

/* One that is the processes of this uid. */
static const struct pod *by_uid(const struct master *m, uint32_t uid)
{
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].state == POD_CAPTURED && m->pods.at[i].words.uid == uid)
			return &m->pods.at[i];
	return NULL;
}

struct rules pod_rules(const struct pod *p)
{
	struct rules r = { .uid = p->words.uid, .stays = p->stays, .origin = p->origin != ORIGIN_OWN };

	if (r.uid && fd_is_open(p->fd[POD_OUT4]))
		r.port = netns_port(p->fd[POD_OUT4]);
	return r;
}

struct fd *pod_socket(struct pod *p, unsigned i)
{
	unsigned per_family = pod_sockets(p->words.uid);

	return &p->fd[i < per_family ? POD_OUT4 + i : POD_OUT6 + (i - per_family)];
}

/* ---- coming and going ---- */

/* Whether pods may come and go now; words why not. */
int pods_may_change(const struct master *m, char *text, size_t n)
{
	if (m->phase == PHASE_SERVING && m->upgrade.state == UPGRADE_NONE)
		return 0;
	snprintf(text, n, "an upgrade or the end is under way");
	return -EBUSY;
}

static void keep(struct master *m, const struct pod *p)
{
	unsigned slot = pods_slot_of(&m->pods, p);

	for (unsigned i = 0; i < POD_FDS; i++)
		if (fd_is_open(p->fd[i]))
			keep_share(&m->kept, p->fd[i], p->inode, FD_NAME, slot, i);
}

static void close_pod(struct pod *p)
{
	for (unsigned i = 0; i < POD_FDS; i++)
		fd_close(&p->fd[i]);
}

/* Nothing of it is left, but the keeper's copies for a moment.  Ours go before it hears of that: who
 * closes the last one of the socket that owns the rules waits for the kernel to be done with them, some
 * 15 ms, and the keeper has the time. */
static void release(struct master *m, struct pod *p)
{
	unsigned slot = pods_slot_of(&m->pods, p), had = 0;

	for (unsigned i = 0; i < POD_FDS; i++)
		had |= (unsigned)fd_is_open(p->fd[i]) << i;
	close_pod(p);
	for (unsigned i = 0; i < POD_FDS; i++)
		if (had & 1u << i)
			keep_drop(&m->kept, FD_NAME, slot, i);
	m->pods.leaving--;
	p->state = POD_NONE;
	pod_touched(m, p);
}

void pods_release_some(struct master *m)
{
	bool more = false, gone = false;

	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->state != POD_CUT)
			continue;
		if (mono_diff_ms(p->until, clock_now()) > 0) {
			more = true;
			continue;
		}
		if (!origin_leaves(m, p)) {
			more = true;
			continue;
		}
		release(m, p);
		gone = true;
	}
	if (gone)
		podpages_tell(m);
	if (gone && m->phase == PHASE_SERVING)
		pods_enter_some(m);
	if (!more)
		loop_timer_stop(&m->loop, &m->pods.cut);
}

static void cut_cb(void *arg)
{
	clock_tick();
	pods_release_some(arg);
}

static void cut(struct master *m, struct pod *p)
{
	homes_say(m, ~0ull, MSG_POD_GONE, p->ref);
	p->state = POD_CUT;
	p->until = mono_after_ms(clock_now(), POD_CUT_MS);
	if (!loop_timer_is_running(&m->pods.cut))
		loop_timer_start(&m->loop, &m->pods.cut, POD_CUT_MS * NS_PER_MS, POD_CUT_MS / 2, cut_cb, m);
}

void pods_leave(struct master *m, struct pod *p, const char *why)
{
	log_info("pod_left", "pod=%s/%s why=\"%s\"", p->words.ns, p->words.name, why);
	p->state = POD_LEAVING;
	p->told = 0;
	pod_touched(m, p);
	m->pods.captured--;
	m->pods.leaving++;
}

/* Whoever waits for an errand, as long as one can be started. */
void pods_free_some(struct master *m)
{
	for (unsigned i = 0; i < PODS_MAX && m->pods.leaving; i++) {
		struct pod *p = &m->pods.at[i];
		struct errand_job job = { .kind = ERRAND_FREE, .ref = p->ref, .inside = FD_NONE,
					  .rules = p->fd[POD_TABLE], .list = FD_NONE, .how = pod_rules(p) };
		int r;

		if (p->state != POD_LEAVING || p->in_change)
			continue;
		r = errand_start(m, &job, NULL);
		if (r == -EAGAIN)
			return;		/* one that ends looks here again */
		if (r == 0)
			p->state = POD_FREEING;
		else if (!p->stays)	/* such rules go with their socket */
			cut(m, p);
	}
}

/* An errand there would wait for that one to be gone, in the place of one that it waits for. */
static bool one_leaves_there(const struct master *m, const struct pod *p)
{
	unsigned left = m->pods.leaving;

	for (unsigned i = 0; i < PODS_MAX && left; i++) {
		if (!pod_is_leaving(&m->pods.at[i]))
			continue;
		if (m->pods.at[i].words.uid == p->words.uid &&
		    strcmp(m->pods.at[i].words.netns, p->words.netns) == 0)
			return true;
		left--;
	}
	return false;
}

/* Refs grow: whoever comes and goes all the time does not get before others.  Who comes back waits for
 * somebody to accept, too. */
static struct pod *waits_longest(struct master *m)
{
	struct pod *first = NULL;

	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->state == POD_WAITING && (p->asker != 0 || homes_should(m, i)) &&
		    (!first || (int32_t)(p->ref - first->ref) < 0) && !one_leaves_there(m, p))
			first = p;
	}
	return first;
}

void pods_enter_some(struct master *m)
{
	while (m->pods.waiting) {
		struct pod *p = waits_longest(m);
		struct errand_job job = { .kind = ERRAND_ENTER, .inside = FD_NONE, .rules = FD_NONE,
					  .list = FD_NONE };

		if (!p)
			return;
		job.ref = p->ref;
		job.cookie = p->cookie;
		job.how = (struct rules){ .uid = p->words.uid, .stays = away_stays(p),
					  .origin = origin_is_wanted(p) };
		memcpy(job.netns, p->words.netns, sizeof job.netns);
		if (errand_start(m, &job, NULL) < 0)
			return;
		m->pods.waiting--;
		p->state = POD_ENTERING;
		pod_touched(m, p);
		p->stays = job.how.stays;
		p->origin = job.how.origin ? ORIGIN_SHOWN : ORIGIN_OWN;	/* if it comes back well */
	}
}

static bool is_own_account(uint32_t uid)
{
	for (unsigned r = 0; r < ROLES; r++) {
		uid_t its;
		gid_t gid;

		account_of((enum role)r, &its, &gid);
		if (its == uid)
			return true;
	}
	return false;
}

int pods_found(const struct master *m, const struct errand_job *job, uint64_t inode, char *text, size_t n)
{
	uint32_t uid = job->how.uid;
	const struct pod *p = uid ? by_uid(m, uid) : by_inode(m, inode);
	char uid_text[16];

	if (uid && is_own_account(uid)) {
		snprintf(text, n, "uid %u is an account of nodeproxy itself", uid);
		return -EINVAL;
	}
	if (!p)
		return 0;
	snprintf(uid_text, sizeof uid_text, "uid %u", uid);
	snprintf(text, n, "%s is captured already, as pod %s/%s", uid ? uid_text : job->netns, p->words.ns,
		 p->words.name);
	return -EALREADY;
}

void pods_freed(struct master *m, uint32_t ref, int error)
{
	struct pod *p = pods_by_ref(m, ref, POD_FREEING);

	if (!p)
		return;
	if (error < 0 && p->stays) {
		p->state = POD_LEAVING;		/* again, with the next tick */
		return;
	}
	p->stays = false;
	pod_touched(m, p);
	if (!m->pods.closed)
		cut(m, p);
}

/* An errand captured what is not to be captured any more: rules that stay would outlive it. */
static void take_back(struct master *m, const struct pod *p, struct fd table)
{
	struct errand_job job = { .kind = ERRAND_FREE, .ref = p->ref, .inside = FD_NONE, .rules = table,
				  .list = FD_NONE, .how.uid = p->words.uid };
	int r = p->stays ? errand_start(m, &job, NULL) : 0;

	if (r < 0)
		log_warn("rules_left", "pod=%s/%s netns=%s uid=%u error=\"%s\"", p->words.ns, p->words.name,
			 p->words.netns, p->words.uid, strerror(-r));
}

static void answer(struct master *m, const struct pod *p, int error, const char *text)
{
	struct child *admind = &m->child[CHILD_ADMIND];
	struct msg_order_done done = { .serial = p->order, .error = error };

	if (admind->has_chan && admind->generation == p->asker)
		chan_offer(&admind->chan, MSG_ORDER_DONE, &done, slice_str(text), NULL, 0);
}

/* The same pod once more: what is said of it now counts. */
static void say_again(struct master *m, const struct pod *p, struct pod *have)
{
	char text[256];

	have->words = p->words;
	have->modes = p->modes;
	have->knows = 0;
	pod_touched(m, have);
	for (unsigned s = 0; s < BOARD_WORKERS; s++)	/* its resolvers may be others */
		if (have->told & 1ull << s)
			homes_say_here(&m->child[s], have);
	snprintf(text, sizeof text, "pod %s/%s is captured already", p->words.ns, p->words.name);
	pods_changed(m);
	answer(m, p, 0, text);
}

/* Whom the errand for p found captured is this one. */
static bool is_there(const struct pod *old, const struct pod *p, const struct msg_pod_entered *e)
{
	return old && old->inode == e->inode && old->words.uid == p->words.uid;
}

void pods_entered(struct master *m, uint32_t ref, const struct msg_pod_entered *e, struct slice words,
		  struct fd *fd, unsigned n)
{
	struct pod *p = pods_by_ref(m, ref, POD_ENTERING), *old;
	char text[512] = "";

	if (!p)
		return;
	p->state = POD_NONE;
	pod_touched(m, p);
	old = pods_find(m, p->words.ns, p->words.name, POD_CAPTURED);
	/* Another build's master, if one is tried just now, would not know of it. */
	if (e->error < 0 || pods_may_change(m, text, sizeof text) < 0 ||
	    n < 2 + pod_sockets(p->words.uid)) {
		if (e->error < 0)
			snprintf(text, sizeof text, "%.*s", (int)words.n, (const char *)words.p);
		if (e->error == 0 && n >= 2 && (p->asker != 0 || p->word == WORKLOAD_GONE))
			take_back(m, p, fd[1]);
		if (p->asker == 0 && e->error == 0) {
			p->state = POD_WAITING;		/* later, or for that one to do */
			m->pods.waiting++;
			return;
		}
		if (p->source == POD_OF_WORKLOAD) {
			if (e->error == -EALREADY && is_there(old, p, e) && old->source == p->source)
				workload_said_again(m, p, old);
			else
				workload_failed(m, p, e->error, text);
			return;
		}
		if (p->asker == 0) {
			log_info("pod_not_back", "pod=%s/%s why=\"%s\"", p->words.ns, p->words.name, text);
			pods_changed(m);
			return;
		}
		if (e->error == -EALREADY && is_there(old, p, e))
			say_again(m, p, old);
		else
			answer(m, p, e->error < 0 ? e->error : -ECANCELED, text);
		return;
	}
	if (old)
		pods_leave(m, old, "another network namespace or uid has its name");
	p->fd[POD_NETNS] = fd_take(&fd[0]);
	p->fd[POD_TABLE] = fd_take(&fd[1]);
	for (unsigned i = 0; i < min_of(n - 2, 2 * pod_sockets(p->words.uid)); i++)
		*pod_socket(p, i) = fd_take(&fd[2 + i]);
	p->state = POD_CAPTURED;
	p->inode = e->inode;
	p->cookie = e->cookie;
	p->addresses = e->addresses;
	p->since_unix_ms = (uint64_t)clock_unix_ms();
	p->cleared = true;
	p->answered = false;
	p->tries = 0;
	p->why[0] = 0;
	p->told = p->knows = 0;
	p->proof = (struct proof){ .state = PROOF_NONE };
	m->pods.captured++;
	keep(m, p);
	log_info("pod_captured", "pod=%s/%s inode=%llu uid=%u ipv6=%d", p->words.ns, p->words.name,
		 (unsigned long long)p->inode, p->words.uid, fd_is_open(p->fd[POD_OUT6]));
	residents_settle(m);
	(void)homes_settle(m, p);
	pods_changed(m);
	pods_free_some(m);
	snprintf(text, sizeof text, "pod %s/%s is captured", p->words.ns, p->words.name);
	answer(m, p, 0, text);
	workloads_settle(m);
}

/* ---- what should be ---- */

static bool is_captured(const struct pod *p)
{
	return p->state == POD_CAPTURED;
}

static void look(struct master *m)
{
	struct errand_job job = { .kind = ERRAND_LOOK, .inside = FD_NONE, .rules = FD_NONE };
	int r;

	proof_begin(m);
	r = errand_list(m, is_captured, &job.list);
	if (r == 0 && fd_is_open(job.list)) {
		r = errand_start(m, &job, NULL);
		fd_close(&job.list);
	}
	m->pods.look_due = r == -EAGAIN;
	if (r < 0 && r != -EAGAIN)
		log_limited(LOG_WARN, "pods_not_looked_at", "pods=%u error=\"%s\"", m->pods.captured,
			    strerror(-r));
}

void pods_settle(struct master *m)
{
	bool other = false;

	if (m->pods.look_due && m->phase == PHASE_SERVING)
		look(m);
	/* Before whoever comes and goes: callers wait for these. */
	if (m->pods.n_wants)
		homes_fill(m);
	away_settle(m);
	if (m->pods.leaving && m->phase != PHASE_TRIAL)
		pods_free_some(m);
	if (m->pods.waiting && m->phase == PHASE_SERVING)
		pods_enter_some(m);
	if (m->pods.closed || m->phase == PHASE_TRIAL || m->pods.captured == 0)
		return;
	origins_settle(m);
	residents_settle(m);
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].state == POD_CAPTURED)
			other |= homes_settle(m, &m->pods.at[i]);
	if (other)
		podpages_tell(m);
}

void pods_tell_again(struct master *m, unsigned slot)
{
	homes_forget(m, slot);
	pods_settle(m);
}

void pods_left(struct master *m, uint32_t ref)
{
	struct pod *p = pods_by_ref(m, ref, POD_CAPTURED);

	/* While another build takes over it would have the pod still. */
	if (!p || m->upgrade.state != UPGRADE_NONE || m->phase != PHASE_SERVING)
		return;
	pods_leave(m, p, "its network namespace is not there any more");
	workload_lost(m, p);
	pods_free_some(m);
	pods_changed(m);
}

/* A slot for one that is to be captured; NULL: there is none. */
struct pod *pods_slot(struct master *m, const struct pod_words *w, enum pod_source source)
{
	const struct ns_modes of_ns = spaces_modes(m, w->ns);
	struct pod *p = NULL;

	for (unsigned i = 0; i < PODS_MAX && !p; i++)
		if (m->pods.at[i].state == POD_NONE)
			p = &m->pods.at[i];
	if (!p)
		return NULL;
	*p = (struct pod){ .words = *w, .source = source, .modes = pod_modes(w, &of_ns) };
	for (unsigned i = 0; i < POD_FDS; i++)
		p->fd[i] = FD_NONE;
	p->ref = ++m->pods.refs * PODS_MAX + pods_slot_of(&m->pods, p);
	return p;
}

/* ---- modes ---- */

void pods_modes_told(struct master *m, const char *ns, const struct ns_modes *of_ns)
{
	bool other = false;

	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];
		struct ns_modes now;

		if (p->state == POD_NONE || pod_is_leaving(p) || (ns && strcmp(ns, p->words.ns) != 0))
			continue;
		now = ns ? *of_ns : spaces_modes(m, p->words.ns);
		now = pod_modes(&p->words, &now);
		if (ns_modes_eq(&now, &p->modes))
			continue;
		p->modes = now;
		p->knows = 0;
		pod_touched(m, p);
		other = true;
	}
	if (!other || m->phase == PHASE_TRIAL)	/* until then the list is another master's */
		return;
	pods_changed(m);
	pods_settle(m);
}

void pods_tick(struct master *m)
{
	errands_tick(m);
	pods_settle(m);		/* should an errand have failed, or not have been forked for want of memory */
	workloads_settle(m);
	podpages_tick(m);
	proof_tick(m);
}

/* In a turn of its own, between two ticks: what the tick does is enough for one. */
static void look_cb(void *arg)
{
	struct master *m = arg;

	clock_tick();
	if (m->pods.captured && m->phase == PHASE_SERVING)
		look(m);
}

/* ---- masters that come and go ---- */

void pods_take_over(struct master *m, const struct pod_told *t)
{
	struct pod *p = &m->pods.at[POD_SLOT(t->ref)];
	bool whole;

	p->words = t->words;
	p->ref = t->ref;
	p->inode = t->inode;
	p->cookie = t->cookie;
	p->since_unix_ms = t->since_unix_ms;
	p->modes = t->modes;
	p->source = (enum pod_source)t->source;
	p->addresses = t->addresses;
	p->stays = t->stays;
	/* What an errand of our predecessor's was about is done once more. */
	p->origin = t->origin == ORIGIN_COMING ? ORIGIN_OWN :
		    t->origin == ORIGIN_GOING  ? ORIGIN_ENDING :
		    t->origin < ORIGIN_STATES  ? (enum origin_state)t->origin : ORIGIN_OWN;
	p->origin_until = mono_after_ms(clock_now(), t->origin == ORIGIN_ENDING ? m->knobs.drain_ms : 0);
	if (t->waits) {		/* a Workload's: syncd says it again */
		p->state = POD_LATER;
		memcpy(p->why, t->why, sizeof p->why);
		return;
	}
	for (unsigned i = 0; i < POD_FDS; i++)
		(void)kept_take(&m->kept, &p->fd[i], NULL, FD_NAME, POD_SLOT(t->ref), i);
	whole = fd_is_open(p->fd[POD_NETNS]) && fd_is_open(p->fd[POD_TABLE]);
	for (unsigned i = 0; i < pod_sockets(p->words.uid); i++)
		whole &= fd_is_open(*pod_socket(p, i));
	if (!whole) {		/* it left when our predecessor died; what is left of it goes, too */
		for (unsigned i = 0; i < POD_FDS; i++)
			if (fd_is_open(p->fd[i]))
				keep_drop(&m->kept, FD_NAME, POD_SLOT(t->ref), i);
		close_pod(p);
		return;
	}
	p->state = t->leaves ? POD_LEAVING : POD_CAPTURED;
	m->pods.captured += !t->leaves;
	m->pods.leaving += t->leaves != 0;
}

/* Those that an instance before this one had. */
static void come_back(struct master *m)
{
	struct pods *ps = &m->pods;
	const struct pods_page *page;
	struct slice bytes;
	int r = podlist_read(m->knobs.run_dir, &bytes);

	if (r < 0) {
		if (r != -ENOENT)
			log_warn("pods_not_read", "dir=%s error=\"%s\"", m->knobs.run_dir, strerror(-r));
		return;
	}
	page = pods_page(bytes);
	for (uint32_t i = 0; page && i < page->n; i++) {
		struct pod *p = &ps->at[i];

		p->state = POD_WAITING;
		p->words = page->pod[i].words;
		p->cookie = page->pod[i].cookie;
		p->modes = page->pod[i].modes;
		p->source = (enum pod_source)page->pod[i].source;
		p->ref = ++ps->refs * PODS_MAX + i;
		ps->waiting++;
	}
	free((void *)(uintptr_t)bytes.p);
}

void pods_open(struct master *m)
{
	struct pods *ps = &m->pods;

	for (unsigned i = 0; i < PODS_MAX; i++)
		for (unsigned k = 0; k < POD_FDS; k++)
			ps->at[i].fd[k] = FD_NONE;
	podpages_init(&ps->pages);
	loop_timer_start(&m->loop, &ps->look, (LOOK_MS + 500) * NS_PER_MS, LOOK_MS, look_cb, m);
	ps->closed = m->listeners.closed;
	if (m->kept.birth == BIRTH_FIRST)
		come_back(m);
	if (!ps->closed)
		podpages_adopt(m);
	if (ps->captured)
		log_info("pods_adopted", "pods=%u", ps->captured);
}

void pods_close(struct master *m)
{
	m->pods.closed = true;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->state != POD_CAPTURED)
			continue;
		pods_leave(m, p, "nodeproxy stops");
		if (p->in_change ? away_stays(p) : p->stays)
			release(m, p);
	}
	pods_free_some(m);
}

void pods_retire(struct master *m)
{
	m->pods.closed = true;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		for (unsigned k = POD_TABLE; k < POD_FDS; k++)
			fd_close(&m->pods.at[i].fd[k]);
		pod_touched(m, &m->pods.at[i]);
	}
}
