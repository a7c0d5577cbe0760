/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-admind: the process that answers operators and scrapers, and writes the logs.
 *
 * It holds what the master handed it (state.h), changes nothing itself, and asks the master by
 * ORDER where something is to be changed.  Views are opened and checked as a worker does it: bases in
 * slices, overlays at once; one that is wrong is not shown, the workers decide about it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "admin/dispatch.h"
#include "admin/logdrain.h"
#include "admin/metrics.h"
#include "admin/show.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/ratelimit.h"
#include "nodeproxy/lib/ipc/debug.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/role/begin.h"
#include "nodeproxy/lib/role/enter.h"

#define CHECK_SLICE_US	1000
#define ORDER_WAIT_MS	15000
#define ORDERS_MAX	SERVE_CLIENTS	/* a client has at most one under way */

struct pending {
	bool used;
	struct slot_ref client;
	struct msg_order order;
	struct mono since;
	uint64_t knobs_used;	/* of the state, when it was asked */
};

static struct admind {
	struct loop loop;
	struct role_born born;
	struct state state;
	struct serve serve;
	struct logdrain drain;
	struct view *checking;		/* a base that is not yet checked */
	struct fd waiting;		/* the newest overlay on that base */
	struct msg_view waiting_msg;
	struct loop_timer check_timer, order_timer, ask_again;
	uint64_t lacks[MSGS / 64 + 1];	/* bits of message types to be asked for again */
	struct pending pending[ORDERS_MAX];
	struct ratelimit orders;	/* below what the channel drops without a word */
	uint64_t serial;
} the;

#define ASK_AGAIN_MS	250

/* ---- what did not arrive ---- */

static void ask_again_cb(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < countof(the.lacks); i++)
		for (uint64_t *bits = &the.lacks[i]; *bits; *bits &= *bits - 1) {
			struct msg_lost l = { .type = i * 64 + (uint32_t)__builtin_ctzll(*bits) };

			chan_say(&the.born.chan, MSG_LOST, &l);
		}
}

/* Not at once: whatever we were short of is short now. */
static void lack(enum msg_type t)
{
	the.lacks[t / 64] |= 1ull << t % 64;
	if (!loop_timer_is_running(&the.ask_again))
		loop_timer_start(&the.loop, &the.ask_again, ASK_AGAIN_MS * NS_PER_MS, 0,
				 ask_again_cb, NULL);
}

/* ---- views ---- */

static bool is_shortage(int r)
{
	return r != -EBADMSG && r != -EPERM && r != -EMSGSIZE && r != -ESTALE && r != -EBUSY;
}

static void view_show(struct view *v)
{
	if (the.state.view)
		view_unref(the.state.view);
	the.state.view = v;
	while (view_trim())	/* nobody waits for us: the pages of an old base go at once */
		;
}

static void lay_over(struct fd *fd, const struct msg_view *m)
{
	struct view *v;
	int r = view_open_overlay(the.state.view, fd, m->rev, &v);

	if (r == 0) {
		view_show(v);
		return;
	}
	log_limited(LOG_WARN, "view_not_shown", "rev=%llu problem=\"%s\"",
		    (unsigned long long)m->rev, view_problem(NULL));
	if (is_shortage(r))
		lack(MSG_VIEW_SEEN);
}

static void check_cb(void *arg)
{
	struct view *v = the.checking;
	int r;

	(void)arg;
	if (!v)
		return;
	r = view_check_step(v, CHECK_SLICE_US);
	if (r == 0) {
		loop_timer_start(&the.loop, &the.check_timer, NS_PER_MS, 0, check_cb, NULL);
		return;
	}
	the.checking = NULL;
	if (r < 0) {
		log_limited(LOG_WARN, "view_not_shown", "rev=%llu problem=\"%s\"",
			    (unsigned long long)view_rev(v), view_problem(v));
		view_unref(v);
		fd_close(&the.waiting);
		return;
	}
	view_show(v);
	if (fd_is_open(the.waiting))
		lay_over(&the.waiting, &the.waiting_msg);
	fd_close(&the.waiting);
}

static void view_seen(const struct msg_view *m, struct fd *fd)
{
	int r;

	if (m->kind == VIEW_BASE) {
		if (the.checking)
			view_unref(the.checking);
		the.checking = NULL;
		fd_close(&the.waiting);
		if (the.state.view && view_base_rev(the.state.view) == m->rev)
			return;		/* said again because of its overlay, which follows */
		r = view_open_base(fd, m->rev, &the.checking);
		if (r < 0) {
			the.checking = NULL;
			log_limited(LOG_WARN, "view_not_shown", "rev=%llu problem=unreadable",
				    (unsigned long long)m->rev);
			if (is_shortage(r))
				lack(MSG_VIEW_SEEN);
			return;
		}
		check_cb(NULL);
	} else if (the.checking && view_rev(the.checking) == m->base_rev) {
		fd_close(&the.waiting);
		the.waiting = fd_take(fd);
		the.waiting_msg = *m;
	} else if (the.state.view && view_base_rev(the.state.view) == m->base_rev) {
		lay_over(fd, m);
	} else if (!the.state.view || m->base_rev > view_base_rev(the.state.view)) {
		lack(MSG_VIEW_SEEN);
	}
}

/* ---- orders ---- */

static void order_answer(struct pending *p, int32_t error, struct slice words)
{
	struct slot_ref client = p->client;
	struct answer a;

	p->used = false;
	if (p->order.order == ORDER_RELOAD && error == 0)
		show_reloaded(&the.state, the.state.knobs_used != p->knobs_used, words, &a);
	else
		dispatch_ordered(&p->order, error, words, &a);
	serve_answer(&the.serve, client, &a);
}

static int64_t order_wait_ms(const struct msg_order *o)
{
	return ORDER_WAIT_MS + (o->order == ORDER_UPGRADE ? the.state.knobs->upgrade_ms : 0);
}

static void order_timer_cb(void *arg)
{
	struct mono now = clock_tick();
	unsigned left = 0;

	(void)arg;
	for (unsigned i = 0; i < ORDERS_MAX; i++) {
		struct pending *p = &the.pending[i];

		if (p->used && mono_diff_ms(now, p->since) > order_wait_ms(&p->order))
			order_answer(p, -ETIMEDOUT, SLICE("the master did not answer in time"));
		left += p->used;
	}
	if (left == 0)
		loop_timer_stop(&the.loop, &the.order_timer);
}

/* 0, or -errno when it cannot be asked now. */
static int order_send(const struct asker *who, struct msg_order *o)
{
	struct pending *p = NULL;
	int r;

	for (unsigned i = 0; i < ORDERS_MAX && !p; i++)
		if (!the.pending[i].used)
			p = &the.pending[i];
	if (!p)
		return -EBUSY;
	if (!ratelimit_take(&the.orders, clock_now()))
		return -EAGAIN;
	o->serial = ++the.serial;
	r = chan_send(&the.born.chan, MSG_ORDER, o, (struct slice){ 0 }, NULL, 0);
	if (r < 0)
		return r;
	*p = (struct pending){ .used = true, .client = who->ref, .order = *o,
			       .since = clock_now(), .knobs_used = the.state.knobs_used };
	if (!loop_timer_is_running(&the.order_timer))
		loop_timer_start(&the.loop, &the.order_timer, NS_PER_S, 1000, order_timer_cb, NULL);
	return 0;
}

static void order_done(const struct msg_order_done *d, struct slice words)
{
	/* 0: a new master, which knows nothing of what its predecessor was asked. */
	for (unsigned i = 0; i < ORDERS_MAX; i++)
		if (the.pending[i].used &&
		    (d->serial == 0 || the.pending[i].order.serial == d->serial))
			order_answer(&the.pending[i], d->error, words);
}

/* ---- requests ---- */

static bool answer_cb(void *arg, const struct asker *who, const struct wire_request *req,
		      struct answer *ret)
{
	struct msg_order order;
	int r;

	(void)arg;
	logdrain_report(&the.drain, &the.state);
	if (who->door == DOOR_METRICS) {
		state_refresh(&the.state);
		metrics_answer(&the.state, req, ret);
		return true;
	}
	if (dispatch(&the.state, req, who->uid, who->pid, ret, &order) == DISPATCH_ANSWERED)
		return true;
	r = order_send(who, &order);
	if (r == 0)
		return false;
	dispatch_ordered(&order, r,
			 r == -EAGAIN ? SLICE("more orders than the master takes in a second: "
					      "ask again in a moment")
				      : SLICE("the master cannot be asked now"), ret);
	return true;
}

/* ---- the channel ---- */

static void knobs_try(const struct msg_knobs *m, struct fd fd)
{
	struct slice knobs;

	if (knobs_map(fd, &knobs) < 0) {
		chan_offer(&the.born.chan, MSG_KNOBS_REFUSED, m,
			   SLICE("these settings are not of our build"), NULL, 0);
		return;
	}
	memfd_unmap(&knobs);
	chan_say(&the.born.chan, MSG_KNOBS_OK, m);
}

/* What comes of them (sockets, the access log) comes in messages of its own. */
static void knobs_use(struct fd fd)
{
	struct slice now;
	int r = knobs_map(fd, &now);

	if (r < 0) {
		log_error("settings_not_used", "error=\"%s\"", strerror(-r));
		exit(1);	/* the next one is born with them */
	}
	if (slice_eq(now, the.born.knobs)) {
		memfd_unmap(&now);
		return;
	}
	the.state.knobs_was = *the.state.knobs;
	the.state.knobs_used++;
	the.state.knobs = (const struct knobs *)(const void *)now.p;
	memfd_unmap(&the.born.knobs);
	the.born.knobs = now;
}

static void ring_here(const struct msg_ring *m, struct fd fd)
{
	int r;

	logdrain_pass(&the.drain);	/* what its former process wrote last, if this is another ring */
	r = logdrain_ring(&the.drain, m->worker, fd, m->bytes);

	if (r < 0) {
		log_limited(LOG_WARN, "ring_not_read", "worker=%u error=\"%s\"", m->worker,
			    strerror(-r));
		lack(MSG_LOG_RING);
	}
}

static void certs_here(struct fd fd)
{
	struct slice was = slice_of(the.state.certs, the.state.certs ? the.state.certs->bytes : 0), now;
	int r = memfd_map_sealed(fd, CERTS_BYTES, &now);

	if (r == 0 && (r = certs_check(now)) < 0)
		memfd_unmap(&now);
	if (r < 0) {
		log_error("certificates_not_shown", "error=\"%s\"", strerror(-r));
		return;
	}
	the.state.certs = (const struct certs *)(const void *)now.p;
	if (was.n)
		memfd_unmap(&was);
}

static void message(const struct msg *m, struct fd fd[CHAN_MAX_FDS])
{
	const struct msg_log_level *level;

	switch (m->type) {
	case MSG_ADMIN_SOCKETS:
		if (m->nfds == 0) {	/* a new build answers; we stay for the logs */
			serve_finish(&the.serve);
			break;
		}
		serve_open(&the.serve, DOOR_ADMIN, &fd[0]);
		serve_open(&the.serve, DOOR_METRICS, &fd[1]);
		break;
	case MSG_LOG_FILE:
		if (!fd_is_open(fd[0]) && strcmp(the.state.knobs->access_log_path, "-") == 0)
			fd[0].v = dup(log_outlet()->fd);
		logdrain_access(&the.drain, &fd[0], the.state.knobs->access_log_path[0] != 0);
		break;
	case MSG_KNOBS_TRY:
		knobs_try(m->p, fd[0]);
		break;
	case MSG_KNOBS_USE:
		knobs_use(fd[0]);
		chan_say(&the.born.chan, MSG_KNOBS_USED, m->p);
		break;
	case MSG_LOG_RING:
		ring_here(m->p, fd[0]);
		break;
	case MSG_VIEW_SEEN:
		view_seen(m->p, &fd[0]);
		break;
	case MSG_CERTS_HERE:
		certs_here(fd[0]);
		break;
	case MSG_SOURCES_SEEN:
		report_put(&the.state.report, &fd[0]);
		break;
	case MSG_RESOLVERS_HERE:
		state_host_resolvers(&the.state, m->nfds ? fd[0] : FD_NONE);
		break;
	case MSG_PODS_SEEN:
		state_pods(&the.state, ((const struct msg_pods_seen *)m->p)->page, fd[0]);
		break;
	case MSG_PROOFS_SEEN:
		state_proofs(&the.state, fd[0]);
		break;
	case MSG_ORDER_DONE:
		order_done(m->p, m->tail);
		break;
	case MSG_LOG_LEVEL:
		level = m->p;
		if (level->level < LOG_LEVELS)
			log_level = the.state.log_level = (enum log_level)level->level;
		break;
	case MSG_PING:
		chan_say(&the.born.chan, MSG_PONG, m->p);
		break;
#ifdef NP_DEBUG_COMMANDS
	case MSG_DEBUG:
		if (!debug_do(m->p))
			debug_drop(&the.born.chan);	/* its only other one */
		break;
#endif
	case MSG_STOP:
		loop_stop(&the.loop);
		break;
	default:
		break;	/* msg.def lets nothing else come here */
	}
}

static void chan_cb(void *arg)
{
	(void)arg;
	clock_tick();
	for (int i = 0; i < 64; i++) {
		struct fd fd[CHAN_MAX_FDS];
		const struct msg *m;
		int r = chan_recv(&the.born.chan, &m);

		if (r == 0)
			return;
		if (r == -EMFILE)
			lack(m->type);
		if (r == -EMFILE || r == -EAGAIN)
			continue;
		if (r < 0) {
			log_error("channel_lost", "error=\"%s\"", strerror(-r));
			loop_stop(&the.loop);
			return;
		}
		for (unsigned k = 0; k < CHAN_MAX_FDS; k++)
			fd[k] = k < m->nfds ? fd_take(&((struct msg *)(uintptr_t)m)->fd[k]) : FD_NONE;
		message(m, fd);
		for (unsigned k = 0; k < CHAN_MAX_FDS; k++)
			fd_close(&fd[k]);
	}
}

/* ---- birth ---- */

/* The board is only looked at, sparsely: a read-only mapping of all of it costs nothing. */
static void map_given(struct role_born *b)
{
	void *p;

	if (knobs_check(b->knobs.p, b->knobs.n) < 0) {
		log_error("bad_knobs", "bytes=%zu", b->knobs.n);
		exit(ROLE_EXIT_START);
	}
	the.state.knobs = (const struct knobs *)b->knobs.p;
	if (b->nfds > 0 && memfd_map_shared(b->fd[0], sizeof(struct board), false, &p) == 0) {
		const struct board *small = p;
		unsigned n = small->workers;
		size_t bytes = n >= 1 && n <= BOARD_WORKERS ? board_bytes(n) : 0;
		void *all;

		if (bytes && memfd_map_shared(b->fd[0], bytes, false, &all) == 0 &&
		    board_check(all, bytes) == 0 && ((const struct board *)all)->workers == n) {
			the.state.board = all;
			the.state.board_slots = n;
		}
		munmap(p, sizeof(struct board));
	}
	if (b->nfds > 1 && memfd_map_shared(b->fd[1], sizeof(struct procs), false, &p) == 0)
		the.state.procs_shared = p;
	if (b->nfds > 2 && memfd_map_shared(b->fd[2], sizeof(struct panic_archive), false, &p) == 0)
		the.state.panics = p;
	for (unsigned i = 0; i < b->nfds; i++)
		fd_close(&b->fd[i]);
	if (the.state.board_slots == 0 || !the.state.procs_shared || !the.state.panics) {
		log_error("pages_missing", "board=%d procs=%d panics=%d", the.state.board_slots != 0,
			  the.state.procs_shared != NULL, the.state.panics != NULL);
		exit(1);	/* blind it would lie; its replacement may have the memory */
	}
}

static void about_this_host(struct state *st)
{
	struct utsname u;
	struct rlimit r;

	if (uname(&u) == 0)
		snprintf(st->kernel, sizeof st->kernel, "%.63s", u.release);
	if (getrlimit(RLIMIT_NOFILE, &r) == 0)
		st->open_files_limit = r.rlim_cur == RLIM_INFINITY ? 0 : r.rlim_cur;
}

int main(int argc, char **argv)
{
	/* What the filter refuses later: asking for Landlock, and opening /dev/urandom. */
	the.state.landlock_abi = role_landlock_version();
	json_object_seed(0);
	the.state.report = report_none();
	the.waiting = FD_NONE;
	role_begin(ROLE_ADMIND, argc, argv, &the.born);
	log_init("admind", NULL);
	if (the.born.start.log_level < LOG_LEVELS)
		log_level = (enum log_level)the.born.start.log_level;
	the.state.log_level = log_level;
	the.state.started_unix_ms = the.born.start.started_unix_ms;
	about_this_host(&the.state);
	map_given(&the.born);
	if (loop_init(&the.loop) < 0 || logdrain_init(&the.drain, &the.loop, log_outlet()->fd) < 0)
		panic(__FILE__, __LINE__, "no memory at start");
	serve_init(&the.serve, &the.loop, answer_cb, NULL);
	/* Half of the channel's, so that clocks which tick apart never make the master drop one that
	 * somebody waits for. */
	the.orders = ratelimit_of(msg_rule(MSG_ORDER)->rate / 2, msg_rule(MSG_ORDER)->rate);
	chan_watch(&the.born.chan, &the.loop, chan_cb, NULL);
	role_ready(&the.born.chan);
	loop_run(&the.loop);

	logdrain_pass(&the.drain);	/* what the workers said last */
	serve_fini(&the.serve);
	logdrain_fini(&the.drain);
	if (the.checking)
		view_unref(the.checking);
	fd_close(&the.waiting);
	view_show(NULL);
	report_fini(&the.state.report);
	chan_fini(&the.born.chan);
	loop_fini(&the.loop);
	return 0;
}
