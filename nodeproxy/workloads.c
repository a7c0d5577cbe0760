/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See workloads.h. */
#include "nodeproxy/workloads.h"

#include <errno.h>
#include <stdio.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

#define AGAIN_FIRST_MS 1000

static bool is_one(const struct pod *p, const char *ns, const char *name)
{
	return p->source == POD_OF_WORKLOAD && p->state != POD_NONE && strcmp(p->words.name, name) == 0 &&
	       strcmp(p->words.ns, ns) == 0;
}

static struct pod *find(struct master *m, const char *ns, const char *name, enum pod_state state)
{
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].state == state && is_one(&m->pods.at[i], ns, name))
			return &m->pods.at[i];
	return NULL;
}

/* ---- what syncd hears ---- */

static bool can_hear(const struct child *syncd)
{
	return syncd->has_chan && syncd->told && !syncd->chan.queued;
}

/* False: it has no room now. */
static bool say_state(struct master *m, const struct pod *p, int error)
{
	struct child *c = &m->child[CHILD_SYNCD];
	struct msg_workload_state s = { .error = error };

	if (!can_hear(c))
		return false;
	memcpy(s.name, p->words.name, sizeof s.name);
	memcpy(s.ns, p->words.ns, sizeof s.ns);
	return chan_send(&c->chan, MSG_WORKLOAD_STATE, &s, slice_str(error ? p->why : ""), NULL, 0) == 0;
}

static bool is_tried(struct master *m, const struct pod *p)
{
	return find(m, p->words.ns, p->words.name, POD_LATER) ||
	       find(m, p->words.ns, p->words.name, POD_WAITING) ||
	       find(m, p->words.ns, p->words.name, POD_ENTERING);
}

/* While an older version is captured, and this one waits, it is this one that counts. */
static void answer(struct master *m)
{
	for (unsigned i = 0; i < PODS_MAX && can_hear(&m->child[CHILD_SYNCD]); i++) {
		struct pod *p = &m->pods.at[i];

		if (p->source != POD_OF_WORKLOAD || p->answered || p->word != WORKLOAD_SAID)
			continue;
		if (p->state == POD_LATER && p->why[0])
			p->answered = say_state(m, p, -EAGAIN);
		else if (p->state == POD_CAPTURED && !is_tried(m, p))
			p->answered = say_state(m, p, 0);
	}
}

/* ---- tries ---- */

/* True: that is news, for the list too. */
static bool later(struct master *m, struct pod *p, const char *why)
{
	int64_t ms = min_of((int64_t)AGAIN_FIRST_MS << min_of(p->tries, 10u), (int64_t)WORKLOAD_AGAIN_MS);

	p->state = POD_LATER;
	pod_touched(m, p);
	p->tries++;
	p->until = mono_after_ms(clock_now(), ms);
	if (strncmp(why, p->why, sizeof p->why - 1) == 0)
		return false;
	log_info("workload_not_captured", "workload=%s/%s why=\"%s\"", p->words.ns, p->words.name, why);
	snprintf(p->why, sizeof p->why, "%s", why);
	p->answered = false;
	return true;
}

/* LATER, and its time has come; true: the list is another. */
static bool try_again(struct master *m, struct pod *p)
{
	const struct pod *other = pods_find(m, p->words.ns, p->words.name, POD_CAPTURED);

	if (other && other->source == POD_OF_ORDER)
		return later(m, p, "an operator has added a pod of that name: remove it with "
				"`nodeproxyctl pod remove`");
	p->state = POD_WAITING;
	pod_touched(m, p);
	m->pods.waiting++;
	return false;
}

static void ask_for_more(struct master *m)
{
	struct child *c = &m->child[CHILD_SYNCD];
	struct msg_lost l = { .type = MSG_WORKLOAD_HERE };

	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].state == POD_NONE && c->has_chan && c->told &&
		    chan_say(&c->chan, MSG_AGAIN, &l) == 0) {
			m->pods.turned_away = false;
			return;
		}
}

void workloads_settle(struct master *m)
{
	bool other = false;
	char why[64];

	if (pods_may_change(m, why, sizeof why) < 0)
		return;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->source != POD_OF_WORKLOAD)
			continue;
		if (p->state == POD_CAPTURED && p->word == WORKLOAD_GONE) {
			pods_leave(m, p, "its Workload is gone");
			other = true;
		} else if (p->state == POD_LATER && p->word == WORKLOAD_GONE) {
			p->state = POD_NONE;
			pod_touched(m, p);
			other = true;
		} else if (p->state == POD_WAITING && p->word == WORKLOAD_GONE) {
			p->state = POD_NONE;
			pod_touched(m, p);
			m->pods.waiting--;
			other = true;
		} else if (p->state == POD_LATER && mono_diff_ms(p->until, clock_now()) <= 0) {
			other |= try_again(m, p);
		}
	}
	pods_free_some(m);
	pods_enter_some(m);
	if (other)
		pods_changed(m);
	if (m->pods.turned_away)
		ask_for_more(m);
	answer(m);
}

void workload_failed(struct master *m, struct pod *p, int error, const char *words)
{
	if (p->word == WORKLOAD_GONE) {
		p->state = POD_NONE;
		return;
	}
	if (later(m, p, words[0] ? words : strerror(-error)))
		pods_changed(m);
	answer(m);
}

void workload_said_again(struct master *m, struct pod *p, struct pod *have)
{
	p->state = POD_NONE;
	have->words = p->words;
	have->modes = p->modes;
	have->knows = 0;
	have->word = p->word;
	have->answered = false;
	pod_touched(m, have);
	pods_changed(m);
	workloads_settle(m);
}

void workload_lost(struct master *m, const struct pod *p)
{
	struct pod *next;

	if (p->source != POD_OF_WORKLOAD || p->word == WORKLOAD_GONE)
		return;
	next = find(m, p->words.ns, p->words.name, POD_LATER);
	if (!next)
		next = pods_slot(m, &p->words, POD_OF_WORKLOAD);
	if (!next)
		return;		/* there is room when the next syncd says it */
	next->word = p->word;
	(void)later(m, next, "its network namespace is not there any more");
}

/* ---- what syncd says ---- */

void workloads_unsaid(struct master *m)
{
	for (unsigned i = 0; i < PODS_MAX; i++)
		m->pods.at[i].word = WORKLOAD_UNSAID;
}

static bool same_place(const struct pod *p, const struct pod_words *w)
{
	return strcmp(p->words.netns, w->netns) == 0 && p->words.uid == w->uid;
}

/* One that is, or is being, captured where it should be; else one that waits for it; NULL: none. */
static struct pod *known(struct master *m, const struct pod_words *w)
{
	static const enum pod_state order[] = { POD_LATER, POD_WAITING, POD_ENTERING, POD_CAPTURED };

	for (unsigned i = 0; i < countof(order); i++) {
		struct pod *p = find(m, w->ns, w->name, order[i]);

		if (p && (order[i] == POD_LATER || order[i] == POD_WAITING || same_place(p, w)))
			return p;
	}
	return NULL;
}

/* No slot: it is asked for again when there is one. */
static void turn_away(struct master *m, const struct pod_words *w)
{
	struct pod p = { .words = *w };

	snprintf(p.why, sizeof p.why, "this host has %d pods already", PODS_MAX);
	log_limited(LOG_WARN, "workload_not_captured", "workload=%s/%s why=\"%s\"", w->ns, w->name, p.why);
	(void)say_state(m, &p, -EBUSY);
	m->pods.turned_away = true;
}

void workloads_here(struct master *m, struct child *c, const struct msg_workload *here)
{
	const struct pod_words *w = &here->words;
	struct pod *p;
	struct ns_modes modes;
	bool other;

	if (pod_problem(w, false)) {
		child_broke(c, "a Workload that can be no pod");
		return;
	}
	/* What is captured of an older version is that Workload's still. */
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (is_one(&m->pods.at[i], w->ns, w->name))
			m->pods.at[i].word = WORKLOAD_SAID;
	p = known(m, w);
	if (!p) {
		p = pods_slot(m, w, POD_OF_WORKLOAD);
		if (!p) {
			turn_away(m, w);
			return;
		}
		p->state = POD_LATER;
		p->until = clock_now();
		p->word = WORKLOAD_SAID;
	}
	other = memcmp(&p->words, w, sizeof *w) != 0;
	p->words = *w;
	modes = spaces_modes(m, w->ns);
	p->modes = pod_modes(w, &modes);
	p->answered = false;
	pod_touched(m, p);
	if (p->state == POD_LATER && other) {
		p->tries = 0;
		p->until = clock_now();
	}
	if (other)
		pods_changed(m);
	workloads_settle(m);
}

void workloads_gone(struct master *m, struct child *c, const struct msg_workload_name *gone)
{
	if (!msg_text(gone->ns, sizeof gone->ns) || !msg_text(gone->name, sizeof gone->name)) {
		child_broke(c, "a Workload without a name");
		return;
	}
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (is_one(&m->pods.at[i], gone->ns, gone->name))
			m->pods.at[i].word = WORKLOAD_GONE;
	workloads_settle(m);
}

void workloads_all(struct master *m)
{
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (m->pods.at[i].source == POD_OF_WORKLOAD && m->pods.at[i].word == WORKLOAD_UNSAID)
			m->pods.at[i].word = WORKLOAD_GONE;
	workloads_settle(m);
}

void workload_may_come(struct master *m, const struct pod_words *w)
{
	struct pod *p = find(m, w->ns, w->name, POD_LATER);

	if (p)
		p->until = clock_now();
	workloads_settle(m);
}

int workload_has(struct master *m, const struct pod_words *w, char *text, size_t n)
{
	for (unsigned i = 0; i < PODS_MAX; i++) {
		const struct pod *p = &m->pods.at[i];

		if (!is_one(p, w->ns, w->name) || p->word == WORKLOAD_GONE || p->state == POD_LEAVING ||
		    p->state == POD_FREEING || p->state == POD_CUT)
			continue;
		snprintf(text, n, "Workload %s/%s says how that pod is captured: change or delete it", w->ns,
			 w->name);
		return -EEXIST;
	}
	return 0;
}
