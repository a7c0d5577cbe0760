/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See fellows.h. */
#include "workers/fellows.h"

#include <errno.h>
#include <string.h>

#include "nodeproxy/lib/base/log.h"
#include "workers/path/conn.h"

static struct fellow *find(struct fellows *fs, uint32_t worker)
{
	for (unsigned i = 0; i < FELLOWS; i++)
		if (fs->at[i].is_open && fs->at[i].worker == worker)
			return &fs->at[i];
	return NULL;
}

/* ---- passing ---- */

uint32_t fellow_surplus(uint64_t mine, uint64_t theirs)
{
	uint64_t enough;	/* of theirs: then mine are 5/4 of it and the spare ones */

	if (mine <= FELLOW_SPARE || mine > UINT32_MAX)
		return 0;
	enough = (4 * (mine - FELLOW_SPARE) + 4) / 5;
	return enough > theirs ? (uint32_t)(enough - theirs) : 0;
}

/* True: it is on its way.  No room on the line says that the fellow does not read fast enough: then it
 * stays here, and is one less that may be tried. */
static bool pass(void *arg, const struct gate *g, struct stream *s)
{
	struct fellows *fs = arg;
	struct msg_conn_passed m = { .ref = g->pod, .direction = g->direction };
	__auto_type home = &fs->home[g->pod % BANKS];
	struct fellow *f = home->ref == g->pod ? find(fs, home->worker) : NULL;

	if (!f || f->surplus == 0)
		return false;
	f->surplus--;
	if (chan_try(&f->here, MSG_CONN_PASSED, &m, &s->fd.v, 1) < 0)
		return false;
	f->unread = true;
	board_add(&fs->path->mine->c[WC_passed], 1);
	stream_close(s, false);		/* our copy: the connection goes on */
	return true;
}

/* ---- taking ---- */

static struct gate *gate_of(const struct fellow *f, const struct msg_conn_passed *m)
{
	const struct fellows *fs = f->all;
	__auto_type home = &fs->home[m->ref % BANKS];
	struct gate *g = fs->path->pod[m->ref % BANKS][m->direction];

	return home->ref == m->ref && home->worker == f->worker && g && g->pod == m->ref ? g : NULL;
}

static bool give_back(struct fellow *f, const struct msg_conn_passed *m, struct fd fd)
{
	struct msg_conn_passed back = *m;

	back.returned = 1;
	return chan_try(&f->here, MSG_CONN_PASSED, &back, &fd.v, 1) == 0;
}

/* mine: it was accepted here.  False: no honest fellow sends that. */
static bool take(struct fellow *f, const struct msg_conn_passed *m, bool mine, struct fd *fd)
{
	const struct path *p = f->all->path;
	struct stream s;
	struct addr peer;
	struct gate *g;

	if (m->direction >= GATE_DIRECTIONS || tcp_may_adopt(*fd, &peer) < 0)
		return false;
	g = gate_of(f, m);
	if (!mine && (!g || !conn_has_room(g)) && give_back(f, m, *fd)) {
		fd_close(fd);
		return true;
	}
	s = tcp_adopt(fd);
	if (!g) {
		board_add(&p->mine->c[WC_passed_lost], 1);
		stream_close(&s, true);
		return true;
	}
	board_add(&p->mine->c[mine ? WC_passed_back : WC_taken], 1);
	(void)conn_new(g, &s, &peer);
	return true;
}

/* What waits at an end of the line, at most so many: how many, or -errno when it has ended, or ends. */
static int read_some(struct fellow *f, struct chan *end, int most)
{
	const struct msg *m;

	for (int n = 0; n < most; n++) {
		int r = chan_recv(end, &m);

		if (r == 0)
			return n;
		if (r == 1) {
			const struct msg_conn_passed *c = m->p;
			struct msg *mine = (struct msg *)(uintptr_t)m;	/* to take its descriptor */

			if (c->returned)
				f->surplus = 0;
			if (!take(f, c, end == &f->there || c->returned, &mine->fd[0]))
				return -EPROTO;
		} else if (r == -EMFILE || r == -EAGAIN) {
			board_add(&f->all->path->mine->c[WC_passed_lost], 1);
		} else {
			return r;
		}
	}
	return most;
}

/* ---- lines ---- */

/* None of the two ends can be sent by any more, by nobody: what is there is all, and each of the two
 * that reads of it begins it. */
static void close_line(struct fellow *f)
{
	chan_finish(&f->here);
	chan_finish(&f->there);
	(void)read_some(f, &f->here, CHAN_SHORT);
	(void)read_some(f, &f->there, CHAN_SHORT);
	chan_fini(&f->here);
	chan_fini(&f->there);
	f->is_open = false;
	f->all->path->fds.listeners -= 2;
}

static void end_line(struct fellow *f, int r)
{
	if (r == -EPIPE)
		log_info("fellow_line_ended", "worker=%u", f->worker);
	else
		log_limited(LOG_WARN, "fellow_line_ended", "worker=%u why=\"it sent what no worker sends\"",
			    f->worker);
	close_line(f);
}

static void line_cb(void *arg)
{
	struct fellow *f = arg;
	int r;

	clock_tick();
	r = read_some(f, &f->here, FELLOW_BURST);	/* of more there is another event */
	if (r < 0)
		end_line(f, r);
}

/* What the fellow has not read is begun here after all: whether there was any. */
static bool take_back(struct fellow *f)
{
	int r;

	if (!f->unread)
		return false;
	f->unread = false;
	r = read_some(f, &f->there, CHAN_SHORT);
	if (r < 0)
		end_line(f, r);
	return r != 0;
}

static bool is_silent(const struct fellow *f)
{
	uint64_t now = (uint64_t)(clock_now().ns / NS_PER_MS);

	return board_get(&f->all->board->worker[f->worker].c[WC_beat_ms_gauge]) + FELLOW_SILENT_MS < now;
}

/* Where a line can go; NULL: that fellow is passed nothing. */
static struct fellow *free_place(struct fellows *fs)
{
	for (unsigned i = 0; i < FELLOWS; i++)
		if (!fs->at[i].is_open)
			return &fs->at[i];
	for (unsigned i = 0; i < FELLOWS; i++)
		if (is_silent(&fs->at[i])) {	/* of another size of nodeproxy, perhaps */
			close_line(&fs->at[i]);
			return &fs->at[i];
		}
	return NULL;
}

void fellows_line(struct fellows *fs, uint32_t worker, struct fd ends[2])
{
	struct fellow *f = find(fs, worker);

	if (f)
		close_line(f);
	if (worker >= fs->slots || fs->draining || (f = free_place(fs)) == NULL)
		return;			/* the ends are the caller's, still */
	f->is_open = true;
	f->worker = worker;
	f->surplus = 0;
	f->unread = false;
	chan_init(&f->here, &ends[0], ROLE_WORKER, ROLE_WORKER);
	chan_init(&f->there, &ends[1], ROLE_WORKER, ROLE_WORKER);
	chan_watch(&f->here, fs->loop, line_cb, f);
	fs->path->fds.listeners += 2;
}

void fellows_init(struct fellows *fs, struct listeners *ls, struct loop *loop)
{
	memset(fs, 0, sizeof *fs);
	fs->listeners = ls;
	fs->path = ls->path;
	fs->board = ls->path->board;
	fs->slots = fs->board->workers;
	fs->loop = loop;
	for (unsigned i = 0; i < FELLOWS; i++)
		fs->at[i].all = fs;
	ls->pass_arg = fs;
}

void fellows_home(struct fellows *fs, uint32_t ref, uint32_t worker)
{
	__auto_type home = &fs->home[ref % BANKS];
	struct fellow *was = home->ref == ref && home->worker != worker ? find(fs, home->worker) : NULL;

	if (was)
		(void)take_back(was);
	home->ref = ref;
	home->worker = worker;
}

void fellows_gone(struct fellows *fs, uint32_t ref)
{
	if (fs->home[ref % BANKS].ref == ref)
		fs->home[ref % BANKS].ref = 0;
}

void fellows_tick(struct fellows *fs)
{
	uint64_t mine = board_get(&fs->path->mine->c[WC_conns_gauge]);
	uint32_t any = 0;

	for (unsigned i = 0; i < FELLOWS; i++) {
		struct fellow *f = &fs->at[i];
		bool late = f->is_open && take_back(f);

		f->surplus = 0;
		if (!f->is_open || late || is_silent(f))
			continue;
		f->surplus = min_of(fellow_surplus(mine, board_get(&fs->board->worker[f->worker].c[WC_conns_gauge])),
				    (uint32_t)FELLOW_MOST);
		any |= f->surplus;
	}
	fs->listeners->pass = any ? pass : NULL;
}

void fellows_drain(struct fellows *fs)
{
	fs->draining = true;
	fs->listeners->pass = NULL;
	for (unsigned i = 0; i < FELLOWS; i++)
		if (fs->at[i].is_open)
			close_line(&fs->at[i]);
}
