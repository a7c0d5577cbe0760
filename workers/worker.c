/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The worker process: traffic, one per chosen CPU.
 *
 *   pass     sleep in the poll set until there is an event or a deadline; collect events, give libev
 *            its due (channel, timers), deal turns, bury the dead; without sleep while there is work
 *   views    a base is verified in slices between passes while the old view serves; an overlay at
 *            once; the newest wins; a bad one is refused and the old one goes on
 *   drain    listeners go, answers say "last one", at the deadline the rest is cut; then DRAINED.
 *            At a full stop nobody else has our listeners: whoever is in their queues is served too
 *   orphan   the channel has ended and nobody took it up: drain, then exit */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/ipc/debug.h"
#include "nodeproxy/lib/role/begin.h"
#include "nodeproxy/lib/role/enter.h"
#include "workers/fellows.h"
#include "workers/keys.h"
#include "workers/listen.h"
#include "workers/names/names.h"
#include "workers/path/pods.h"
#include "workers/reload.h"

#define PASS_BATCHES	8
#define TICK_MS		250
#define VIEW_SLICE_US	200
/* So long callers have the worker to themselves after such a slice, or after a piece of trimming. */
#define CHORE_REST_NS	(3 * NS_PER_MS)
#define TOKEN_LOOP	((uint64_t)(TOKEN_LISTENER + 1) << TOKEN_SHIFT)
static_must(TOKEN_LISTENER + 1 < 8);
/* A full stop.  Handshakes that were under way have LAST_CALL_MS to arrive.  A caller that says
 * nothing for IDLE_GRACE_MS is let go, so that idle connections do not hold up a stop until its
 * deadline; in a replacement they stay until then, there is no hurry. */
#define LAST_CALL_MS	100
#define IDLE_GRACE_MS	1000

/* A base that is being verified, and the overlay that waits for it. */
struct incoming {
	struct view *base;		/* NULL: none */
	struct fd overlay;
	uint64_t overlay_rev, overlay_base;
};

static struct worker {
	struct role_born born;
	struct loop loop;
	struct loop_timer tick, drain_deadline, last_call, idle_grace;
	bool loop_ready;		/* its descriptor is readable */
	bool chores;			/* a base to be checked, or to be unmapped */
	struct mono chores_at;		/* not before, while callers wait */
	struct ring ring;
	struct listeners listeners;
	struct incoming in;
	struct reload reload;
	struct keys keys;
	struct fellows fellows;
	bool draining, drained, orphan;
	uint64_t lacks[MSGS / 64 + 1];	/* bits of message types to be asked for again */
	struct path path;
	struct names names;
#ifdef NP_DEBUG_COMMANDS
	uint32_t refuses;		/* so many views */
#endif
} the;

static void say_rev(enum msg_type t, uint64_t rev)
{
	struct msg_rev m = { .rev = rev };

	chan_say(&the.born.chan, t, &m);
}

/* ---- the pass ---- */

static void on_event(void *arg, uint64_t token, unsigned bits)
{
	(void)arg;
	if (unlikely(token == TOKEN_LOOP))
		the.loop_ready = true;
	else if (!path_event(&the.path, token, bits) && !names_event(&the.names, token, bits))
		listeners_event(&the.listeners, token);
}

static void check_drained(void)
{
	struct msg_empty m = { 0 };

	if (!the.draining || the.drained || path_live(&the.path) || the.listeners.n || names_live(&the.names))
		return;
	the.drained = true;
	chan_say(&the.born.chan, MSG_DRAINED, &m);
	if (the.orphan)
		loop_stop(&the.loop);
}

/* How long the worker may sleep when nothing wakes it. */
static int sleep_ms(void)
{
	struct mono due = loop_due(&the.loop);
	int64_t ns = min_of(due.ns, min_of(the.path.due.ns, the.names.due.ns));

	if (the.chores)
		return 0;
	if (ns == INT64_MAX)
		return -1;
	ns = max_of(ns - clock_now().ns, (int64_t)0);
	return (int)min_of((ns + NS_PER_MS - 1) / NS_PER_MS, (int64_t)TICK_MS);
}

static void collect(int wait_ms)
{
	/* A turn can only go to whom it is known that they wait: with many ready at once, batch after
	 * batch before the next turn. */
	for (int k = 0; k < PASS_BATCHES; k++, wait_ms = 0)
		if (poll_collect(&the.path.poll, wait_ms, on_event, NULL) < POLL_BATCH)
			break;
}

static void chores(bool callers_wait);

/* One pass; true: there is more to do at once. */
static bool pass(bool more)
{
	struct path *p = &the.path;

	collect(more ? 0 : sleep_ms());
	if (unlikely(the.loop_ready || loop_due(&the.loop).ns <= clock_now().ns)) {
		the.loop_ready = false;
		loop_once(&the.loop);
		clock_tick();
	}
	if (p->due.ns <= clock_now().ns)
		path_deadlines(p);
	if (the.names.due.ns <= clock_now().ns)
		names_deadlines(&the.names);
	more = sched_run(&p->sched);
	if (path_has_dead(p) || !list_is_empty(&p->starved))
		path_reap(p);
	if (unlikely(names_have_dead(&the.names)))
		names_reap(&the.names);
	board_set(&p->mine->c[WC_beat_ms_gauge], (uint64_t)(clock_now().ns / NS_PER_MS));
	if (the.born.panic)
		the.born.panic->turn = board_get(&p->mine->c[WC_turns]);
	if (unlikely(the.chores))
		chores(more);
	if (unlikely(the.draining))
		check_drained();
	return more;
}

/* ---- what did not arrive ---- */

static void lack(enum msg_type t)
{
	the.lacks[t / 64] |= 1ull << t % 64;
}

/* Not at once: whatever we were short of is short now. */
static void ask_again(void)
{
	for (unsigned i = 0; i < countof(the.lacks); i++)
		for (uint64_t *bits = &the.lacks[i]; *bits; *bits &= *bits - 1) {
			struct msg_lost l = { .type = i * 64 + (uint32_t)__builtin_ctzll(*bits) };

			chan_say(&the.born.chan, MSG_LOST, &l);
		}
}

/* ---- views ---- */

/* No step of this work may keep traffic waiting for long; what it costs is CPU time, whoever else runs
 * meanwhile. */
static void view_step_ended(int64_t began_cpu_ns)
{
	uint64_t *longest = &the.path.mine->c[WC_view_step_ns_gauge];

	board_set(longest, max_of(board_get(longest), (uint64_t)(clock_cpu_ns() - began_cpu_ns)));
}

/* True when a view could not be opened because of us, not because of what is in it: then it is no
 * verdict, and we try again. */
static bool is_shortage(int r)
{
	return r != -EBADMSG && r != -EPERM && r != -EMSGSIZE && r != -ESTALE && r != -EBUSY;
}

static void lack_view(uint64_t rev, int r)
{
	log_limited(LOG_WARN, "view_not_opened", "rev=%llu error=\"%s\"", (unsigned long long)rev,
		    strerror(-r));
	lack(MSG_VIEW_HERE);
}

static void refuse(struct fd *fd, uint64_t rev, const char *why)
{
	struct msg_refused m = { .rev = rev };

	fd_close(fd);
	board_add(&the.path.mine->c[WC_views_refused], 1);
	log_error("view_refused", "rev=%llu why=\"%s\"", (unsigned long long)rev, why);
	if (chan_send(&the.born.chan, MSG_VIEW_REFUSED, &m,
		      slice_of(why, min_of(strlen(why), (size_t)127)), NULL, 0) < 0)
		log_warn("view_refusal_unsaid", "rev=%llu", (unsigned long long)rev);
}

static void adopt(struct view *v)
{
	uint64_t rev = view_rev(v);

	path_adopt(&the.path, v);
	names_view(&the.names);
	listeners_resume(&the.listeners);
	board_add(&the.path.mine->c[WC_views_adopted], 1);
	if (the.born.panic)
		the.born.panic->rev = rev;
	log_debug("view_adopted", "rev=%llu", (unsigned long long)rev);
	say_rev(MSG_VIEW_ADOPTED, rev);
}

static void lay_overlay(const struct view *on, struct fd *fd, uint64_t rev)
{
	struct view *v;
	int r = view_open_overlay(on, fd, rev, &v);

	if (r == 0)
		adopt(v);
	else if (is_shortage(r))
		lack_view(rev, r);
	else
		refuse(fd, rev, view_problem(NULL));
}

static void forget_incoming(void)
{
	if (the.in.base)
		view_unref(the.in.base);
	the.in.base = NULL;
	fd_close(&the.in.overlay);
}

static void check_step(struct view *base)
{
	struct fd none = FD_NONE;
	int r = view_check_step(base, VIEW_SLICE_US);

	if (r == 0) {
		the.chores = true;
		return;
	}
	if (r < 0) {
		refuse(&none, view_rev(base), view_problem(base));
		forget_incoming();
		return;
	}
	the.in.base = NULL;
	adopt(base);
	if (fd_is_open(the.in.overlay))
		lay_overlay(the.path.view, &the.in.overlay, the.in.overlay_rev);
	fd_close(&the.in.overlay);
}

static void check_incoming(void)
{
	int64_t began;

	if (the.in.base == NULL)
		return;
	began = clock_cpu_ns();
	check_step(the.in.base);
	view_step_ended(began);
}

/* A base that nobody holds any more goes a piece at a time, and not beside a slice of checking. */
static void trim(void)
{
	int64_t began;

	if (the.in.base || !view_has_trash())
		return;
	began = clock_cpu_ns();
	the.chores |= view_trim();
	view_step_ended(began);
}

/* What can wait, a piece at a time: at once when nobody else wants anything. */
static void chores(bool callers_wait)
{
	if (callers_wait && clock_now().ns < the.chores_at.ns)
		return;
	the.chores = false;
	check_incoming();
	trim();
	the.chores_at.ns = clock_tick().ns + CHORE_REST_NS;
}

static void view_here(const struct msg_view *m, struct fd fd)
{
	const struct view *now = the.path.view;
	struct view *v;
	int r;

#ifdef NP_DEBUG_COMMANDS
	if (the.refuses) {
		the.refuses--;
		refuse(&fd, m->rev, "was told to refuse it");
		return;
	}
#endif
	if (m->kind == VIEW_BASE && now && view_base_rev(now) == m->rev) {
		forget_incoming();	/* said again because of its overlay, which follows */
		fd_close(&fd);
	} else if (m->kind == VIEW_BASE) {
		forget_incoming();
		r = view_open_base(&fd, m->rev, &v);
		if (r < 0 && is_shortage(r)) {
			lack_view(m->rev, r);
			return;
		}
		if (r < 0) {
			refuse(&fd, m->rev, view_problem(NULL));
			return;
		}
		the.in.base = v;
		check_incoming();
	} else if (the.in.base && m->base_rev == view_base_rev(the.in.base)) {
		fd_close(&the.in.overlay);
		the.in.overlay = fd_take(&fd);
		the.in.overlay_rev = m->rev;
	} else if (now && m->base_rev == view_base_rev(now)) {
		lay_overlay(now, &fd, m->rev);
	} else {
		/* On a base that did not arrive, or one that is over by now. */
		fd_close(&fd);
		if (!now || m->base_rev > view_base_rev(now))
			lack(MSG_VIEW_HERE);
	}
}

/* ---- drain ---- */

static void on_drain_deadline(void *arg)
{
	(void)arg;
	clock_tick();
	listeners_drop_all(&the.listeners);
	path_drain_deadline(&the.path);
	path_reap(&the.path);
	names_end(&the.names);
	check_drained();
}

static void on_last_call(void *arg)
{
	(void)arg;
	clock_tick();
	listeners_close(&the.listeners);
}

static void on_idle_grace(void *arg)
{
	(void)arg;
	clock_tick();
	collect(0);		/* what has arrived meanwhile is not idle */
	path_close_idle(&the.path);
	path_reap(&the.path);
	check_drained();
}

static void drain(uint64_t ms, bool full_stop)
{
	ms = min_of(ms, (uint64_t)86400000);
	loop_timer_start(&the.loop, &the.drain_deadline, (int64_t)ms * NS_PER_MS, 0,
			 on_drain_deadline, NULL);
	if (the.draining)
		return;		/* with another deadline */
	the.draining = true;
	log_info("draining", "deadline_ms=%llu conns=%u full_stop=%d", (unsigned long long)ms,
		 path_live(&the.path), full_stop);
	if (full_stop && ms > LAST_CALL_MS) {
		loop_timer_start(&the.loop, &the.last_call, LAST_CALL_MS * NS_PER_MS, 0,
				 on_last_call, NULL);
		loop_timer_start(&the.loop, &the.idle_grace, IDLE_GRACE_MS * NS_PER_MS, 0,
				 on_idle_grace, NULL);
	} else {
		listeners_drain(&the.listeners);
	}
	fellows_drain(&the.fellows);
	path_drain(&the.path);
	names_drain(&the.names);
	names_reap(&the.names);
	path_reap(&the.path);
	check_drained();
}

/* ---- the channel ---- */

static void listen_here(const struct msg_listen *m, struct fd *fd)
{
	int r;

	if (the.draining) {
		fd_close(fd);
		return;
	}
	r = listeners_add(&the.listeners, fd, m->listener, m->group);
	if (r < 0) {
		fd_close(fd);
		if (r != -EINVAL)
			lack(MSG_LISTEN);
		log_error("listen_refused", "listener=%u group=%u error=%d", m->listener, m->group,
			  -r);
	}
}

/* ---- pods ---- */

static void pod_drop(uint32_t ref)
{
	listeners_drop(&the.listeners, LISTENER_OF_POD, ref);
	names_pod_drop(&the.names, ref);
}

/* In the order of messages.h. */
enum { POD_SOCKET_OUT, POD_SOCKET_IN, POD_SOCKET_NAMES };
static_must(POD_SOCKET_NAMES + NAMES_SOCKETS_FAMILY == POD_SOCKETS);

/* Those of a family. */
static int pod_listens(uint32_t ref, struct gate *g[GATE_DIRECTIONS], unsigned family, bool only_out,
		       struct fd *fd)
{
	int r = listeners_add_pod(&the.listeners, &fd[POD_SOCKET_OUT], g[GATE_OUT]);

	if (only_out)
		return r;
	if (r == 0)
		r = listeners_add_pod(&the.listeners, &fd[POD_SOCKET_IN], g[GATE_IN]);
	if (r == 0)
		r = names_pod_here(&the.names, ref, family, fd + POD_SOCKET_NAMES);
	return r;
}

static void pod_resolvers(const struct msg_pod_here *m)
{
	struct names_resolvers r = { .n = min_of(m->n_resolvers, (uint32_t)NAMES_RESOLVERS) };

	for (unsigned i = 0; i < r.n; i++) {
		r.at[i].family = m->resolver[i].family;
		r.at[i].port = NAMES_PORT;
		memcpy(r.at[i].ip, m->resolver[i].ip, sizeof r.at[i].ip);
	}
	names_use_resolvers(&the.names, m->ref, &r);
}

/* Also again: what was there is replaced. */
static void pod_here(const struct msg_pod_here *m, struct fd fd[CHAN_MAX_FDS], unsigned n)
{
	const unsigned per_family = m->only_out ? 1 : POD_SOCKETS;
	struct gate *g[GATE_DIRECTIONS];
	int r;

	if (the.draining || n < per_family || !msg_text(m->ns, sizeof m->ns) || !msg_text(m->name, sizeof m->name))
		return;
	pod_drop(m->ref);
	r = path_pod_here(&the.path, m->ref, m->ns, m->name, n > per_family, g);
	if (r == 0)
		r = pod_listens(m->ref, g, 4, m->only_out, fd);
	if (r == 0 && n == 2 * per_family)
		r = pod_listens(m->ref, g, 6, m->only_out, fd + per_family);
	if (!m->only_out)
		pod_resolvers(m);
	fellows_home(&the.fellows, m->ref, m->fellow);
	if (r < 0) {
		pod_drop(m->ref);
		lack(MSG_POD_HERE);
		log_error("pod_refused", "pod=%s/%s error=%d", m->ns, m->name, -r);
	}
}

static void resident_here(const struct msg_resident *m)
{
	static const uint8_t ipv4[12] = { [10] = 0xff, [11] = 0xff };
	struct addr at[POD_ADDRESSES];
	struct resident_told r = { .ref = m->ref, .origin = m->origin, .has_ipv6 = m->has_ipv6,
				   .name = m->name, .ns = m->ns, .at = at };

	static_must(POD_ADDRESSES == RESIDENT_ADDRESSES);
	if (!msg_text(m->ns, sizeof m->ns) || !msg_text(m->name, sizeof m->name))
		return;
	for (; r.n < min_of(m->addresses.n, (uint32_t)POD_ADDRESSES); r.n++) {
		const uint8_t *ip = m->addresses.ip[r.n];
		bool four = memcmp(ip, ipv4, sizeof ipv4) == 0;

		at[r.n] = (struct addr){ .family = four ? 4 : 6 };
		memcpy(at[r.n].ip, four ? ip + 12 : ip, four ? 4 : 16);
	}
	if (residents_here(&the.path, &r) < 0)
		lack(MSG_RESIDENT);
}

static void pod_gone(uint32_t ref)
{
	pod_drop(ref);
	fellows_gone(&the.fellows, ref);
	names_pod_gone(&the.names, ref);
	names_reap(&the.names);
	path_pod_gone(&the.path, ref);
	path_reap(&the.path);
}

static_must(BANK_KINDS == BANK_SORTS);

static void bank_want(uint32_t ref, const uint16_t n[BANK_SORTS])
{
	struct msg_bank_want w = { .ref = ref };

	memcpy(w.n, n, sizeof w.n);
	chan_say(&the.born.chan, MSG_BANK_WANT, &w);
}

static void endpoints_want(struct slice ns, struct slice name)
{
	struct msg_service w = { .ns = "" };

	if (ns.n >= sizeof w.ns || name.n >= sizeof w.name)
		return;
	memcpy(w.ns, ns.p, ns.n);
	memcpy(w.name, name.p, name.n);
	chan_say(&the.born.chan, MSG_ENDPOINTS_WANT, &w);
}

static void pod_proven(uint32_t ref, unsigned family, uint16_t token)
{
	struct msg_pod_proven v = { .ref = ref, .token = token, .family = (uint16_t)family };

	chan_say(&the.born.chan, MSG_POD_PROVEN, &v);
}

static void knobs_use(const struct msg_knobs *m, struct fd fd)
{
	int r = reload_use(&the.reload, &the.born.chan, m, fd);

	if (r == 0)
		return;
	log_error("settings_not_used", "error=%d", -r);
	exit(ROLE_EXIT_START);
}

static void certs_here(const struct msg_rev *m, struct fd fd)
{
	int r = keys_certs(&the.keys, m->rev, fd);

	if (r == 0)
		return;
	log_error("certificates_not_used", "error=\"%s\"", strerror(-r));
	if (r != -EBADMSG && r != -EPERM)
		lack(MSG_CERTS_HERE);
}

#ifdef NP_DEBUG_COMMANDS
static void misbehave(const struct msg_debug *d)
{
	if (debug_do(d))
		return;
	if (d->what == DEBUG_DROP_CHANNEL)
		debug_drop(&the.born.chan);
	else if (d->what == DEBUG_REFUSE_VIEW)
		the.refuses = (uint32_t)d->number;
	else if (d->what == DEBUG_REFUSE_SETTINGS)
		the.reload.refuses = (uint32_t)d->number;
	else if (d->what == DEBUG_SLOW_TENANT)
		sched_slow(&the.path.sched, d->slot, d->number);
}
#endif

static void handle(const struct msg *m)
{
	struct msg *mine = (struct msg *)(uintptr_t)m;	/* to take its descriptors */
	struct fd fd = FD_NONE;

	switch (m->type) {	/* those with more than one descriptor; who keeps none leaves them to the channel */
	case MSG_POD_HERE:
		pod_here(m->p, mine->fd, m->nfds);
		return;
	case MSG_BANK_HERE: {
		const struct msg_bank *b = m->p;

		path_pod_bank(&the.path, b->ref, b->sort, mine->fd, m->nfds);
		names_pod_bank(&the.names, b->ref);
		return;
	}
	case MSG_FELLOW_LINE:
		fellows_line(&the.fellows, ((const struct msg_fellow_line *)m->p)->worker, mine->fd);
		return;
	default:
		break;
	}
	if (m->nfds)
		fd = fd_take(&mine->fd[0]);

	switch (m->type) {
	case MSG_LISTEN:
		listen_here(m->p, &fd);
		break;
	case MSG_LISTEN_DROP: {
		const struct msg_listen *l = m->p;

		listeners_drop(&the.listeners, l->listener, l->group);
		break;
	}
	case MSG_RESIDENT:
		resident_here(m->p);
		break;
	case MSG_POD_FELLOW: {
		const struct msg_pod_fellow *h = m->p;

		fellows_home(&the.fellows, h->ref, h->worker);
		break;
	}
	case MSG_POD_DROP:
		pod_drop(((const struct msg_pod *)m->p)->ref);
		break;
	case MSG_POD_GONE:
		pod_gone(((const struct msg_pod *)m->p)->ref);
		break;
	case MSG_VIEW_HERE: {
		int64_t began = clock_cpu_ns();

		view_here(m->p, fd_take(&fd));
		view_step_ended(began);
		break;
	}
	case MSG_KEY_LINE:
		keys_line(&the.keys, &fd);
		break;
	case MSG_RESOLVERS_HERE:
		names_read_resolvers(&the.names, fd);
		break;
	case MSG_CERTS_HERE:
		certs_here(m->p, fd);
		break;
	case MSG_ROOTS_HERE:
		wraps_roots(&the.path, &fd);
		break;
	case MSG_DRAIN:
		drain(((const struct msg_drain *)m->p)->deadline_ms,
		      ((const struct msg_drain *)m->p)->full_stop);
		break;
	case MSG_KNOBS_TRY:
		reload_try(&the.reload, &the.born.chan, m->p, fd);
		break;
	case MSG_KNOBS_USE:
		knobs_use(m->p, fd);
		break;
	case MSG_LOG_LEVEL:
		log_level = (enum log_level)min_of(((const struct msg_log_level *)m->p)->level,
						   (uint32_t)LOG_ERROR);
		break;
	case MSG_PING:
		chan_say(&the.born.chan, MSG_PONG, m->p);
		break;
	case MSG_STOP:
		loop_stop(&the.loop);
		break;
#ifdef NP_DEBUG_COMMANDS
	case MSG_DEBUG:
		misbehave(m->p);
		break;
#endif
	default:
		break;
	}
	fd_close(&fd);
}

static void on_chan(void *arg)
{
	const struct msg *m;
	int r;

	(void)arg;
	clock_tick();
	while ((r = chan_recv(&the.born.chan, &m)) != 0) {
		if (r == 1) {
			handle(m);
			continue;
		}
		if (r == -EAGAIN)
			continue;
		if (r == -EMFILE) {
			log_limited(LOG_WARN, "descriptors_lost", "message=%s", msg_name(m->type));
			lack(m->type);
			continue;
		}
		/* Nobody can replace us any more: serve who is here, then go. */
		chan_unwatch(&the.born.chan);
		the.orphan = true;
		log_warn("channel_lost", "error=%d", -r);
		drain((uint64_t)the.path.knobs->drain_ms, false);
		if (the.drained)
			loop_stop(&the.loop);
		break;
	}
}

static void on_tick(void *arg)
{
	struct board_worker *b = the.path.mine;

	(void)arg;
	clock_tick();
	path_gates_expire(&the.path);
	residents_tick(&the.path);
	path_reap(&the.path);
	names_tick(&the.names);
	path_gauges(&the.path);
	fellows_tick(&the.fellows);
	ring_rest(&the.ring);
	board_set(&b->c[WC_unknown_syscalls], role_unknown_count);
	listeners_resume(&the.listeners);
	if (the.keys.lost) {
		the.keys.lost = false;
		lack(MSG_KEY_LINE);
	}
	ask_again();
	trim();
}

/* ---- birth ---- */

static _Noreturn void die(const char *what, int r)
{
	log_error("cannot_start", "what=%s error=%d", what, -r);
	exit(ROLE_EXIT_START);
}

static size_t bytes_of(struct fd fd)
{
	struct stat st;

	return fstat(fd.v, &st) < 0 || st.st_size < 0 ? 0 : (size_t)st.st_size;
}

static struct board *map_board(struct fd fd, unsigned id)
{
	size_t n = bytes_of(fd);
	void *p;
	int r = memfd_map_shared(fd, n, true, &p);

	if (r == 0)
		r = board_check(p, n);
	if (r == 0 && id >= ((struct board *)p)->workers)
		r = -EBADMSG;
	if (r < 0)
		die("board", r);
	return p;
}

static void map_ring(struct fd fd)
{
	size_t n = bytes_of(fd);
	void *p;
	int r = memfd_map_shared(fd, n, true, &p);

	if (r == 0)
		r = ring_open_writer(&the.ring, p, n);
	if (r < 0)
		die("ring", r);
}

int main(int argc, char **argv)
{
	const struct knobs *k;
	struct board *board;
	struct ring *access_ring;
	int r;

	tzset();	/* reads a file; afterwards none can be opened */
	role_begin(ROLE_WORKER, argc, argv, &the.born);
	signal(SIGPIPE, SIG_IGN);
	rand_init();
	k = (const struct knobs *)(const void *)the.born.knobs.p;
	r = knobs_check(k, the.born.knobs.n);
	if (r < 0 || the.born.nfds < 2)
		die("knobs", r);
	board = map_board(the.born.fd[0], the.born.start.id);
	map_ring(the.born.fd[1]);
	log_init("worker", &the.ring);
	log_level = (enum log_level)min_of(the.born.start.log_level, (uint32_t)LOG_ERROR);
	access_ring = k->access_log_path[0] ? &the.ring : NULL;
	the.in.overlay = FD_NONE;
	if ((r = loop_init(&the.loop)) < 0)
		die("loop", r);
	if ((r = path_init(&the.path, k, board, the.born.start.id, access_ring)) < 0)
		die("memory", r);
	the.path.banks.want = bank_want;
	if ((r = names_init(&the.names, &the.path)) < 0)
		die("memory", r);
	the.path.proven = pod_proven;
	the.path.awaits.ask = endpoints_want;
	listeners_init(&the.listeners, &the.path, the.born.chan.fd.v);
	fellows_init(&the.fellows, &the.listeners, &the.loop);
	keys_init(&the.keys, &the.path, &the.loop);
	the.reload = (struct reload){ .knobs = the.born.knobs, .path = &the.path,
				      .listeners = &the.listeners, .ring = &the.ring };
	r = loop_fd(&the.loop) < 0 ? -ENOTSUP :
		poll_add_listener(&the.path.poll, loop_fd(&the.loop), TOKEN_LOOP);
	if (r < 0)
		die("loop", r);
	loop_timer_start(&the.loop, &the.tick, TICK_MS * NS_PER_MS, TICK_MS, on_tick, NULL);
	chan_watch(&the.born.chan, &the.loop, on_chan, NULL);
	log_info("started", "id=%u cpu=%u generation=%u", the.born.start.id, the.born.start.cpu,
		 the.born.start.generation);
	role_ready(&the.born.chan);
	for (bool more = true; !loop_is_stopped(&the.loop); )
		more = pass(more);
	forget_incoming();
	listeners_drop_all(&the.listeners);
	fellows_drain(&the.fellows);
	path_drain_deadline(&the.path);
	keys_fini(&the.keys);
	names_fini(&the.names);
	path_fini(&the.path);
	loop_fini(&the.loop);
	return 0;
}
