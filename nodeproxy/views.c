/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See views.h. */
#include "nodeproxy/views.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "nodeproxy/replace.h"
#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

#ifndef F_SEAL_WRITE
#define F_SEAL_WRITE 0x0008
#endif

#define REV_MOST (1ull << 62)
#define REV_LEAP (1ull << 32)

static struct fd dup_of(struct fd f)
{
	return (struct fd){ fd_is_open(f) ? fcntl(f.v, F_DUPFD_CLOEXEC, 0) : -1 };
}

static void viewset_copy(struct viewset *to, const struct viewset *from)
{
	fd_close(&to->base);
	fd_close(&to->overlay);
	to->b = from->b;
	to->o = from->o;
	to->base = dup_of(from->base);
	to->overlay = dup_of(from->overlay);
	if (!fd_is_open(to->base))	/* no descriptors left: then there is none */
		to->b.rev = 0;
	if (!fd_is_open(to->overlay))
		to->o.rev = 0;
}

/* Rev, kind and base travel in the entry's number and name. */
static void viewset_keep(struct master *m)
{
	struct viewset *v = &m->views.newest;

	if (v->b.rev)
		keep_put(&m->kept, v->base, v->b.rev, "view/base");
	if (v->o.rev)
		keep_put(&m->kept, v->overlay, v->o.rev, "view/overlay");
	else
		keep_drop(&m->kept, "view/overlay");
}

static void take(struct master *m, struct fd *fd, struct msg_view *v, const char *name)
{
	struct stat st;
	uint64_t rev = 0;

	if (!kept_take(&m->kept, fd, &rev, "%s", name) || fstat(fd->v, &st) < 0)
		return;
	v->rev = rev;
	v->bytes = (uint64_t)st.st_size;
}

void views_open(struct master *m)
{
	struct views *vs = &m->views;
	struct viewset *v = &vs->newest;

	v->base = v->overlay = vs->good.base = vs->good.overlay = vs->sources = FD_NONE;
	take(m, &v->base, &v->b, "view/base");
	take(m, &v->overlay, &v->o, "view/overlay");
	v->b.kind = VIEW_BASE;
	v->b.base_rev = v->o.base_rev = v->b.rev;
	v->o.kind = VIEW_OVERLAY;
	if (!v->b.rev)
		v->o.rev = 0;
	viewset_copy(&vs->good, v);
	vs->most = max_of(viewset_rev(v), ((const struct procs *)m->procs.p)->failed_rev);
	(void)kept_take(&m->kept, &vs->sources, &vs->sources_rev.rev, "sources");
}

/* A memory file that nobody can write, grow or shrink any more; what is inside is checked by whoever
 * maps it.  Nothing else is passed on: any other descriptor would be a power that the sender has and
 * the receiver has not. */
bool views_is_sealed(struct fd f, uint64_t *bytes)
{
	const int frozen = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
	int seals = fcntl(f.v, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & frozen) != frozen || fstat(f.v, &st) < 0 || st.st_size <= 0)
		return false;
	*bytes = (uint64_t)st.st_size;
	return true;
}

/* Views go forward, and not by leaps: a number near the end would leave none for the next sender. */
static const char *view_is_wrong(const struct master *m, const struct msg_view *v, struct fd f)
{
	uint64_t newest = viewset_rev(&m->views.newest), bytes;

	if (v->kind != VIEW_BASE && v->kind != VIEW_OVERLAY)
		return "a view of no kind";
	if (!views_is_sealed(f, &bytes) || bytes != v->bytes)
		return "a view that is no sealed memory of its size";
	if (v->rev == 0 || v->rev < newest || v->rev > REV_MOST ||
	    (newest && v->rev - newest > REV_LEAP))
		return "a view whose revision cannot be";
	return NULL;
}

static void send_one(struct child *c, enum msg_type t, const struct msg_view *v, struct fd f)
{
	int r = chan_send(&c->chan, t, v, (struct slice){ 0 }, &f.v, 1);

	if (r == -ENOBUFS)
		c->view_late = true;	/* newest wins: it gets that one when there is room */
}

void views_send(struct master *m, struct child *c)
{
	const struct viewset *v = &m->views.newest;
	enum msg_type t = child_is_worker(c) ? MSG_VIEW_HERE : MSG_VIEW_SEEN;

	c->view_late = false;
	if (!c->has_chan || !c->told || !v->b.rev)
		return;
	send_one(c, t, &v->b, v->base);
	if (v->o.rev)
		send_one(c, t, &v->o, v->overlay);
}

static void send_newest(struct master *m, bool overlay)
{
	const struct viewset *v = &m->views.newest;

	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (c->role == ROLE_SYNCD || c->role == ROLE_KEYD || !c->has_chan || !c->told)
			continue;
		send_one(c, child_is_worker(c) ? MSG_VIEW_HERE : MSG_VIEW_SEEN,
			 overlay ? &v->o : &v->b, overlay ? v->overlay : v->base);
	}
}

void views_made(struct master *m, struct child *c, const struct msg_view *v, struct fd *fd)
{
	struct viewset *n = &m->views.newest;
	bool overlay = v->kind == VIEW_OVERLAY;
	const char *wrong = view_is_wrong(m, v, *fd);

	if (wrong) {
		child_broke(c, wrong);
		return;
	}
	if (overlay && (v->base_rev != n->b.rev || !n->b.rev)) {
		/* Honest when all workers have refused its base meanwhile. */
		log_limited(LOG_WARN, "view_not_taken", "rev=%llu base=%llu have=%llu",
			    (unsigned long long)v->rev, (unsigned long long)v->base_rev,
			    (unsigned long long)n->b.rev);
		views_lack(m, MSG_VIEW_MADE);
		return;
	}
	m->views.most = max_of(m->views.most, v->rev);
	if (overlay) {
		fd_close(&n->overlay);
		n->overlay = fd_take(fd);
		n->o = *v;
	} else {
		fd_close(&n->base);
		fd_close(&n->overlay);
		n->base = fd_take(fd);
		n->b = *v;
		n->o.rev = 0;
	}
	viewset_keep(m);
	log_debug("view_here", "rev=%llu kind=%s bytes=%llu", (unsigned long long)v->rev,
		  overlay ? "overlay" : "base", (unsigned long long)v->bytes);
	send_newest(m, overlay);
	procs_write(m);
}

/* All who are ready refused rev: it is a bad one.  Some serve it: then it is those who refused. */
static void judge(struct master *m, uint64_t rev, const char *why)
{
	struct procs *page = m->procs.p;
	struct child *syncd = &m->child[CHILD_SYNCD];
	unsigned serve = 0, refuse = 0, silent = 0;

	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		const struct child *c = &m->child[i];

		if (c->state != PROC_READY)
			continue;
		if (c->rev >= rev)
			serve++;
		else if (c->refused_rev == rev)
			refuse++;
		else
			silent++;
	}
	if (refuse == 0 || (silent && !serve))
		return;
	if (serve == 0) {
		struct msg_refused f = { .rev = rev };

		if (page->failed_rev == rev)
			return;
		log_error("view_failed", "rev=%llu why=\"%s\"", (unsigned long long)rev, why);
		page->failed_rev = rev;
		if (rev == viewset_rev(&m->views.newest) && m->views.good.b.rev) {
			viewset_copy(&m->views.newest, &m->views.good);
			viewset_keep(m);
			if (!m->views.newest.b.rev)
				views_lack(m, MSG_VIEW_MADE);
		}
		if (syncd->has_chan && syncd->told)
			chan_offer(&syncd->chan, MSG_VIEW_FAILED, &f, slice_str(why), NULL, 0);
		procs_write(m);
		return;
	}
	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		struct child *c = &m->child[i];

		if (c->state == PROC_READY && c->refused_rev == rev && c->rev < rev)
			(void)child_replace(c, m->knobs.drain_ms);
	}
}

void views_lacks_endpoints(struct master *m, const struct msg_service *of)
{
	struct child *syncd = &m->child[CHILD_SYNCD];

	/* Unsaid, whoever waits asks again. */
	if (syncd->has_chan && syncd->told)
		(void)chan_say(&syncd->chan, MSG_ENDPOINTS_WANTED, of);
}

void views_adopted(struct master *m, struct child *c, uint64_t rev)
{
	bool first = c->rev == 0;

	if (rev == 0 || rev > m->views.most) {
		child_broke(c, "adopted a view that does not exist");
		return;
	}
	if (rev < c->rev)
		return;
	c->rev = rev;
	if (rev == viewset_rev(&m->views.newest) && viewset_rev(&m->views.good) != rev)
		viewset_copy(&m->views.good, &m->views.newest);
	judge(m, rev, "");	/* others may have refused it before */
	if (first)
		master_settle(m);	/* now it can accept */
	else
		procs_write(m);
}

void views_refused(struct master *m, struct child *c, uint64_t rev, const char *why)
{
	if (rev == 0 || rev > m->views.most) {
		child_broke(c, "refused a view that does not exist");
		return;
	}
	log_limited(LOG_WARN, "view_refused", "worker=%u rev=%llu why=\"%s\"", c->id,
		    (unsigned long long)rev, why);
	c->refused_rev = rev;
	judge(m, rev, why);
	procs_write(m);
}

void views_lack(struct master *m, enum msg_type t)
{
	m->views.lacks_view |= t == MSG_VIEW_MADE;
	m->views.lacks_sources |= t == MSG_SOURCES_MADE;
}

static bool ask_again(struct master *m, enum msg_type t)
{
	struct child *c = &m->child[CHILD_SYNCD];
	struct msg_lost l = { .type = t, .rev = viewset_rev(&m->views.newest) };

	return c->has_chan && c->told && chan_say(&c->chan, MSG_AGAIN, &l) == 0;
}

/* Whatever it said to our predecessor we have by now: its answer to PING came behind that. */
void views_adopted_syncd(struct master *m)
{
	if (m->views.adopting && ask_again(m, MSG_NONE))
		m->views.adopting = false;
}

void views_tick(struct master *m)
{
	struct views *v = &m->views;

	if (v->lacks_view && ask_again(m, MSG_VIEW_MADE))
		v->lacks_view = false;
	if (v->lacks_sources && ask_again(m, MSG_SOURCES_MADE))
		v->lacks_sources = false;
}

void sources_made(struct master *m, struct child *c, const struct msg_rev *rev, struct fd *fd)
{
	struct views *v = &m->views;
	uint64_t bytes;

	if (!views_is_sealed(*fd, &bytes)) {
		child_broke(c, "a report that is no sealed memory");
		return;
	}
	fd_close(&v->sources);
	v->sources = fd_take(fd);
	v->sources_rev = *rev;
	keep_put(&m->kept, v->sources, rev->rev, "sources");
	sources_send(m, &m->child[CHILD_ADMIND]);
}

void sources_send(struct master *m, struct child *c)
{
	if (c->has_chan && c->told && fd_is_open(m->views.sources))
		chan_offer(&c->chan, MSG_SOURCES_SEEN, &m->views.sources_rev,
				(struct slice){ 0 }, &m->views.sources.v, 1);
}
