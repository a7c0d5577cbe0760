/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See errand.h. */
#include "nodeproxy/errand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/homes.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/master.h"
#include "nodeproxy/origin.h"

static const char *const kinds[] = {
	[ERRAND_ENTER] = "enter",   [ERRAND_BANK] = "bank",   [ERRAND_CHANGE] = "change", [ERRAND_FREE] = "free",
	[ERRAND_ORIGIN] = "origin", [ERRAND_SWEEP] = "sweep", [ERRAND_LOOK] = "look",
};

/* May it be captured, whoever it found? */
static void answer_found(struct errand *e, const struct msg_pod_found *found)
{
	struct msg_errand_done answer = { .error = 0 };
	char text[384] = "";

	answer.error = pods_found(e->m, &e->job, found->inode, text, sizeof text);
	chan_offer(&e->chan, MSG_POD_ENTER, &answer, slice_str(text), NULL, 0);
}

static void said(struct errand *e, const struct msg *msg)
{
	struct fd *fd = e->chan.in.fd;

	switch (msg->type) {
	case MSG_POD_FOUND:
		answer_found(e, msg->p);
		break;
	case MSG_POD_ENTERED:
		e->answered = true;
		pods_entered(e->m, e->job.ref, msg->p, msg->tail, fd, msg->nfds);
		break;
	case MSG_BANK_OPENED:
		homes_bank(e->m, e, msg->p, fd, msg->nfds);
		break;
	case MSG_POD_VISITED:
		proof_visited(e->m, msg->p);
		break;
	case MSG_POD_LEFT:
		pods_left(e->m, ((const struct msg_pod *)msg->p)->ref);
		break;
	case MSG_ERRAND_DONE:
		e->error = ((const struct msg_errand_done *)msg->p)->error;
		break;
	default:
		break;
	}
}

static void over(struct errand *e)
{
	chan_fini(&e->chan);
	e->runs = false;
	if (e->error)
		log_limited(LOG_WARN, "errand_failed", "errand=%s error=\"%s\"", kinds[e->job.kind],
			    strerror(-e->error));
	if (e->job.kind == ERRAND_ENTER && !e->answered) {
		struct msg_pod_entered none = { .error = -ETIMEDOUT };

		pods_entered(e->m, e->job.ref, &none,
			     SLICE("what should have entered its network namespace did not end well"),
			     NULL, 0);
	}
	if (e->job.kind == ERRAND_CHANGE)
		away_changed(e->m, e->job.ref, e->job.how.stays, e->error);
	if (e->job.kind == ERRAND_FREE)
		pods_freed(e->m, e->job.ref, e->error);
	if (e->job.kind == ERRAND_ORIGIN)
		origin_done(e->m, e->job.ref, e->error);
	if (e->job.kind == ERRAND_SWEEP)
		origins_are_swept(e->m);
	pods_settle(e->m);
}

static void hear(void *arg)
{
	struct errand *e = arg;
	const struct msg *msg;
	int r;

	clock_tick();
	while ((r = chan_recv(&e->chan, &msg)) == 1)
		said(e, msg);
	if (r == -EMFILE)
		log_limited(LOG_WARN, "descriptors_lost", "errand=%s", kinds[e->job.kind]);
	else if (r < 0 && r != -EAGAIN)
		over(e);
}

static int say_job(struct errand *e)
{
	const struct errand_job *job = &e->job;
	const struct fd *of_job[] = { &job->inside, &job->rules, &job->list };
	struct msg_errand w = { .kind = job->kind, .ref = job->ref, .cookie = job->cookie,
				.uid = job->how.uid, .port = job->how.port, .stays = job->how.stays,
				.origin = job->how.origin, .has_ipv6 = job->has_ipv6 };
	int fds[countof(of_job)];
	unsigned n = 0;

	memcpy(w.n, job->n, sizeof w.n);
	memcpy(w.netns, job->netns, sizeof w.netns);
	for (unsigned i = 0; i < countof(of_job); i++) {
		if (!fd_is_open(*of_job[i]))
			continue;
		w.fds |= (uint8_t)(1u << i);
		fds[n++] = of_job[i]->v;
	}
	return chan_send(&e->chan, MSG_ERRAND, &w, (struct slice){ 0 }, fds, n);
}

int errand_start(struct master *m, const struct errand_job *job, const struct child *whom)
{
	struct errand *e = NULL;
	struct fd pair[2];
	int r;

	for (unsigned i = 0; i < ERRANDS && !e; i++)
		if (!m->pods.errand[i].runs)
			e = &m->pods.errand[i];
	if (!e)
		return -EAGAIN;
	r = chan_pair(pair);
	if (r < 0)
		return r;
	*e = (struct errand){ .m = m, .job = *job, .began = clock_tick(), .error = -EIO };
	chan_init(&e->chan, &pair[0], ROLE_MASTER, ROLE_ERRAND);
	r = say_job(e);
	if (r == 0)
		r = forker_fork(m, pair[1]);
	fd_close(&pair[1]);
	if (r < 0) {
		chan_fini(&e->chan);
		return r;
	}
	e->runs = true;
	e->job.inside = e->job.rules = e->job.list = FD_NONE;	/* it has its own */
	if (whom) {
		e->worker = whom->id;
		e->generation = whom->generation;
	}
	chan_watch(&e->chan, &m->loop, hear, e);
	return 0;
}

void errands_tick(struct master *m)
{
	for (unsigned i = 0; i < ERRANDS; i++)
		if (m->pods.errand[i].runs)
			forker_look(m, m->pods.errand[i].began);
}

int errand_list(const struct master *m, bool (*fn)(const struct pod *), struct fd *ret)
{
	struct errand_pod *list = calloc(PODS_MAX, sizeof *list);
	size_t n = 0;
	int r = 0;

	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		const struct pod *p = &m->pods.at[i];
		struct errand_pod *to = &list[n];

		if (!fn(p))
			continue;
		to->ref = p->ref;
		to->uid = p->words.uid;
		to->inode = p->inode;
		to->token = p->proof.token;
		to->has_ipv6 = fd_is_open(p->fd[POD_OUT6]);
		memcpy(to->netns, p->words.netns, sizeof to->netns);
		n++;
	}
	*ret = FD_NONE;
	if (n)
		r = memfd_sealed("nodeproxy-errand", slice_of(list, n * sizeof *list), ret);
	free(list);
	return r;
}
