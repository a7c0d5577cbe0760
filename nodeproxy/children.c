/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See children.h. */
#include "nodeproxy/children.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define STOP_MS	      2000	/* from STOP to SIGKILL */
#define REPLACE_MS    30000	/* for the new one to accept, or the old one stays */
#define LIVED_MS      10000	/* who lived this long did not die of its start */
#define PING_MS	      1000	/* without a sign of life */
#define HANG_MS	      10000	/* a worker: dead for its callers anyway */
#define HANG_OTHER_MS 120000	/* syncd may build a large view, admind write to a slow disk */
#define BIRTH_MS      30000	/* from the fork to READY */
#define SPEAK_MS      5000	/* adopted in the middle of its birth */

static struct {
	struct fd program[ROLES];
	uid_t uid[ROLES];
	gid_t gid[ROLES];
	struct child *from, *to;	/* being replaced, and by whom */
	int64_t deadline_ms;
	struct mono give_up;
	uint64_t waiting;		/* bits of worker slots that wait for their replacement */
	int64_t waiting_deadline_ms;
} the = { .program = { [0 ... ROLES - 1] = { -1 } } };

/* ---- programs and accounts ---- */

/* In this order: where the operator says, beside the running nodeproxy (also in a build tree),
 * where it was installed. */
static int find_program(struct master *m, enum role role)
{
	static const char *const beside[] = { "", "../", "../libexec/nodeproxy/" };
	const char *name = role_row(role)->program, *env = getenv("NODEPROXY_LIBEXEC");
	char exe[PATH_MAX], path[PATH_MAX + 128];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	char *slash;
	int f = -1;

	if (kept_take(&m->kept, &the.program[role], NULL, "program/%s", name))
		return 0;
	if (n > 0) {
		exe[n] = 0;
		slash = strrchr(exe, '/');
		if (slash)
			slash[1] = 0;
	}
	if (env) {
		snprintf(path, sizeof path, "%s/%s", env, name);
		f = open(path, O_PATH | O_CLOEXEC);
	}
	for (size_t i = 0; f < 0 && n > 0 && i < countof(beside); i++) {
		snprintf(path, sizeof path, "%s%s%s", exe, beside[i], name);
		f = open(path, O_PATH | O_CLOEXEC);
	}
	if (f < 0) {
		snprintf(path, sizeof path, "%s/%s", LIBEXECDIR, name);
		f = open(path, O_PATH | O_CLOEXEC);
	}
	if (f < 0) {
		fprintf(stderr, "nodeproxy: cannot find %s beside nodeproxy or in %s: %s\n", name,
			LIBEXECDIR, strerror(errno));
		return -ENOENT;
	}
	the.program[role].v = fcntl(f, F_DUPFD_CLOEXEC, 10);	/* out of the channel's way */
	close(f);
	if (the.program[role].v < 0)
		return -errno;
	/* A package upgrade must not mix versions under a running master. */
	keep_put(&m->kept, the.program[role], 0, "program/%s", name);
	return 0;
}

/* From the file itself: name services may ask the network, and we never do. */
static bool find_account(enum role role)
{
	const struct role_row *row = role_row(role);
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd *p = NULL;

	while (f && (p = fgetpwent(f)) && strcmp(p->pw_name, row->account) != 0)
		;
	the.uid[role] = p && p->pw_uid ? p->pw_uid : row->uid;
	the.gid[role] = p && p->pw_gid ? p->pw_gid : row->uid;
	if (f)
		fclose(f);
	return p && p->pw_uid && p->pw_gid;
}

void children_ids(enum role role, uid_t *uid, gid_t *gid)
{
	*uid = the.uid[role];
	*gid = the.gid[role];
}

/* ---- shared memory of a slot ---- */

static int slot_memory(struct master *m, struct child *c)
{
	void *p;
	int r = 0;

	if (!kept_take(&m->kept, &c->panic_fd, NULL, "panic/%s/%u", role_name(c->role), c->id)) {
		r = memfd_shared("nodeproxy-panic", PANIC_PAGE_BYTES, &c->panic_fd);
		if (r == 0)
			keep_put(&m->kept, c->panic_fd, 0, "panic/%s/%u", role_name(c->role), c->id);
	}
	if (r == 0)
		r = memfd_map_shared(c->panic_fd, PANIC_PAGE_BYTES, true, &p);
	if (r < 0)
		return r;
	c->panic = p;
	if (!child_is_worker(c) ||
	    kept_take(&m->kept, &c->ring_fd, NULL, "ring/%u", c->id))
		return 0;
	r = memfd_shared("nodeproxy-ring", RING_BYTES((size_t)m->knobs.log_ring_bytes), &c->ring_fd);
	if (r < 0)
		return r;
	r = memfd_map_shared(c->ring_fd, RING_BYTES((size_t)m->knobs.log_ring_bytes), true, &p);
	if (r < 0)
		return r;
	ring_format(p, (uint32_t)m->knobs.log_ring_bytes);
	memfd_unmap(&(struct slice){ p, RING_BYTES((size_t)m->knobs.log_ring_bytes) });
	keep_put(&m->kept, c->ring_fd, 0, "ring/%u", c->id);
	return 0;
}

/* ---- the procs page ---- */

/* Readers retry while the number is odd, so a master that died in here left it odd for its
 * successor to put right. */
void procs_write(struct master *m)
{
	struct procs *p = m->procs.p;
	uint32_t seq = __atomic_load_n(&p->seq, __ATOMIC_RELAXED) | 1, n = 0;

	__atomic_store_n(&p->seq, seq, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	p->started_unix_ms = m->started_unix_ms;
	p->rev = viewset_rev(&m->views.newest);
	p->shutting_down = m->leaving;
	for (unsigned i = 0; i < CHILDREN; i++) {
		const struct child *c = &m->child[i];

		if (c->state == PROC_NONE)
			continue;
		p->proc[n++] = (struct proc){
			.role = c->role,
			.id = c->id,
			.state = c->state,
			.pid = child_is_alive(c) ? (uint32_t)c->pid : 0,
			.cpu = c->cpu,
			.restarts = c->restarts,
			.started_unix_ms = c->started_unix_ms,
			.rev = c->rev,
			.refused_rev = c->refused_rev,
			.last_status = c->last_status,
			.panics = c->panics,
		};
	}
	p->count = n;
	__atomic_store_n(&p->seq, seq + 1, __ATOMIC_RELEASE);
}

/* ---- state ---- */

void child_became(struct child *c, enum proc_state s)
{
	enum proc_state was = c->state;

	if (was == s)
		return;
	c->state = s;
	log_debug("child_state", "child=%s/%u from=%s to=%s", role_name(c->role), c->id,
		  proc_state_name(was), proc_state_name(s));
	master_settle(c->m);
}

bool child_can_accept(const struct child *c)
{
	/* Before the first view there is nothing to say to a caller; it waits in the queue. */
	return child_is_worker(c) && c->state == PROC_READY && c->has_chan && c->rev != 0;
}

/* ---- death ---- */

static void archive_panic(struct master *m, struct child *c)
{
	struct panic_archive *a = m->archive.p;
	uint64_t newest = 0;
	unsigned at = 0;
	char text[2048];
	size_t n;

	if (__atomic_load_n(&c->panic->magic, __ATOMIC_ACQUIRE) != PANIC_MAGIC)
		return;
	for (unsigned i = 0; i < PANICS_MAX; i++) {
		newest = max_of(newest, a->entry[i].serial);
		if (a->entry[i].serial < a->entry[at].serial)
			at = i;
	}
	a->entry[at].serial = 0;
	memcpy(a->entry[at].page, c->panic, PANIC_PAGE_BYTES);
	__atomic_store_n(&a->entry[at].serial, newest + 1, __ATOMIC_RELEASE);
	c->panics++;
	n = panic_page_text((const struct panic_page *)(const void *)a->entry[at].page, text,
			    sizeof text);
	log_error("panic", "serial=%llu %.*s", (unsigned long long)newest + 1, (int)min_of(n, 700u),
		  text);
	memset(c->panic, 0, PANIC_PAGE_BYTES);
}

static void chan_gone(struct child *c)
{
	if (c->has_chan)
		chan_fini(&c->chan);
	c->has_chan = c->told = false;
}

static void replaced_or_not(struct child *c);
static bool is_home(const struct master *m, unsigned slot);

/* How long the slot stays empty: not at all after one accident, then longer and longer. */
static int64_t back_off_ms(const struct master *m, const struct child *c)
{
	unsigned n = c->fails;

	if (n <= 1)
		return 0;
	return min_of(m->knobs.respawn_min_ms << min_of(n - 2, 20u), m->knobs.respawn_max_ms);
}

static void again_cb(void *arg)
{
	child_start(arg);
}

static void died(void *arg, unsigned events)
{
	struct child *c = arg;
	struct master *m = c->m;
	siginfo_t si = { 0 };
	int64_t lived, wait;
	unsigned returned;

	(void)events;
	clock_tick();
	c->last_status = -1;	/* not ours: the keeper reaps it */
	if (c->ours && waitid(P_PIDFD, (id_t)c->pidfd.v, &si, WEXITED) == 0)
		c->last_status = si.si_code == CLD_EXITED ? (si.si_status & 0xff) << 8 :
							    si.si_status & 0x7f;
	loop_io_stop(&m->loop, &c->on_death);
	loop_timer_stop(&m->loop, &c->again);
	fd_close(&c->pidfd);
	chan_gone(c);
	keep_drop(&m->kept, "pid/%s/%u", role_name(c->role), c->id);
	keep_drop(&m->kept, "chan/%s/%u", role_name(c->role), c->id);
	lived = mono_diff_ms(clock_now(), c->started);
	archive_panic(m, c);
	if (child_is_worker(c)) {
		returned = board_bury(m->board.p, c->id);
		listeners_forget(m, c->id);
		log_debug("buried", "worker=%u claims=%u", c->id, returned);
	}
	c->rev = 0;
	if (m->leaving || c->retired) {
		log_info("child_left", "child=%s/%u pid=%d status=%d", role_name(c->role), c->id,
			 (int)c->pid, c->last_status);
		child_became(c, PROC_NONE);
		replaced_or_not(c);
		return;
	}
	c->fails = lived < LIVED_MS ? c->fails + 1 : 1;
	wait = back_off_ms(m, c);
	log_error("child_died", "child=%s/%u pid=%d status=%d signal=%d lived_ms=%lld next_in_ms=%lld",
		  role_name(c->role), c->id, (int)c->pid, c->last_status,
		  c->last_status > 0 ? c->last_status & 0x7f : 0, (long long)lived,
		  (long long)wait);
	child_became(c, PROC_WAITING);		/* lends its listeners */
	replaced_or_not(c);
	if (c->state != PROC_WAITING)
		return;
	if (wait == 0)
		child_start(c);
	else
		loop_timer_start(&m->loop, &c->again, wait * NS_PER_MS, 0, again_cb, c);
}

static void watch(struct child *c)
{
	loop_io_start(&c->m->loop, &c->on_death, c->pidfd.v, LOOP_READ, died, c);
}

/* ---- the channel ---- */

static void kill_cb(void *arg)
{
	child_kill(arg, "did not stop");
}

static void heard(void *arg)
{
	struct child *c = arg;
	struct master *m = c->m;

	clock_tick();
	/* A bound, so that a child that talks all the time does not stop everything else. */
	for (int i = 0; i < 256 && c->has_chan; i++) {
		const struct msg *msg;
		int r = chan_recv(&c->chan, &msg);

		if (r == 0)
			return;
		if (r == 1) {
			c->beat_at = clock_now();
			c->pinged = c->stalled = false;
			master_message(m, c, msg);
		} else if (r == -EAGAIN) {
			log_limited(LOG_WARN, "over_its_rate", "child=%s/%u", role_name(c->role),
				    c->id);
		} else if (r == -EMFILE) {
			log_limited(LOG_WARN, "descriptors_lost", "child=%s/%u message=%s",
				    role_name(c->role), c->id, msg_name(msg->type));
		} else if (r == -EPROTO) {
			((struct procs *)m->procs.p)->bad_messages++;
			child_kill(c, "broke the message table");
			return;
		} else {
			/* It closed its end: its death follows, or is helped along. */
			chan_unwatch(&c->chan);
			loop_timer_start(&m->loop, &c->again, STOP_MS * NS_PER_MS, 0, kill_cb, c);
			return;
		}
	}
}

void child_kill(struct child *c, const char *why)
{
	log_error("child_killed", "child=%s/%u pid=%d why=\"%s\"", role_name(c->role), c->id,
		  (int)c->pid, why);
	if (fd_is_open(c->pidfd))
		(void)pidfd_send_signal(c->pidfd.v, SIGKILL, NULL, 0);
	if (c->has_chan)
		chan_unwatch(&c->chan);		/* nothing it says counts any more */
}

/* ---- birth ---- */

static _Noreturn void be_child(struct child *c, int chan, char *const argv[])
{
	cpu_set_t set;

	if (c->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET((unsigned)c->cpu, &set);
		(void)sched_setaffinity(0, sizeof set, &set);
	}
	if (dup2(chan, CHAN_FD) < 0 || fcntl(CHAN_FD, F_SETFD, 0) < 0)
		_exit(126);
	fexecve(the.program[c->role].v, argv, environ);
	_exit(127);
}

static int fork_child(struct child *c)
{
	struct master *m = c->m;
	char name[32], id[16], ids[32];
	char *argv[] = { name, id, ids, NULL };
	struct fd pair[2];
	pid_t pid;
	int r = chan_pair(pair);

	if (r < 0)
		return r;
	snprintf(name, sizeof name, "%s", role_row(c->role)->program);
	snprintf(id, sizeof id, "%u", c->id);
	snprintf(ids, sizeof ids, "%u:%u", the.uid[c->role], the.gid[c->role]);
	/* Before the fork: if we die right after it, the next master replaces this entry, and the
	 * child that nobody knows sees the end of its channel. */
	keep_put(&m->kept, pair[0], c->generation, "chan/%s/%u", role_name(c->role), c->id);
	pid = fork();
	if (pid == 0)
		be_child(c, pair[1].v, argv);
	r = pid < 0 ? -errno : 0;
	fd_close(&pair[1]);
	if (r == 0) {
		c->pidfd.v = pidfd_open(pid, 0);
		if (c->pidfd.v < 0) {
			r = -errno;
			kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
		}
	}
	if (r < 0) {
		fd_close(&pair[0]);
		return r;
	}
	c->pid = pid;
	keep_put(&m->kept, c->pidfd, (uint64_t)pid, "pid/%s/%u", role_name(c->role), c->id);
	chan_init(&c->chan, &pair[0], ROLE_MASTER, c->role);
	c->has_chan = true;
	return 0;
}

void child_start(struct child *c)
{
	struct master *m = c->m;
	int r;

	clock_tick();
	if (m->leaving || child_is_alive(c))
		return;
	c->restarts += c->generation > 0;
	c->generation++;
	c->started = c->beat_at = clock_now();
	c->started_unix_ms = (uint64_t)clock_unix_ms();
	c->rev = c->refused_rev = c->beat = 0;
	c->told = c->retired = c->pinged = c->stalled = false;
	memset(c->panic, 0, PANIC_PAGE_BYTES);
	r = fork_child(c);
	if (r < 0) {
		c->fails++;
		log_error("not_started", "child=%s/%u error=\"%s\"", role_name(c->role), c->id,
			  strerror(-r));
		child_became(c, PROC_WAITING);
		loop_timer_start(&m->loop, &c->again,
				 max_of(back_off_ms(m, c), m->knobs.respawn_min_ms) * NS_PER_MS, 0,
				 again_cb, c);
		return;
	}
	c->ours = true;
	log_info("child_started", "child=%s/%u pid=%d cpu=%d generation=%u", role_name(c->role),
		 c->id, (int)c->pid, c->cpu, c->generation);
	watch(c);
	chan_watch(&c->chan, &m->loop, heard, c);
	child_became(c, PROC_STARTING);
}

void child_tell(struct child *c)
{
	struct master *m = c->m;
	struct msg_start s = { .id = c->id,
			       .cpu = c->cpu < 0 ? 0 : (uint32_t)c->cpu,
			       .generation = c->generation,
			       .log_level = log_level,
			       .started_unix_ms = m->started_unix_ms,
			       .rev = viewset_rev(&m->views.newest) };
	int fds[CHAN_MAX_FDS] = { m->knobs_fd.v, c->panic_fd.v };
	unsigned n = 2;

	switch (c->role) {
	case ROLE_WORKER:
		fds[n++] = m->board.fd.v;
		fds[n++] = c->ring_fd.v;
		break;
	case ROLE_ADMIND:
		fds[n++] = m->board.fd_ro.v;
		fds[n++] = m->procs.fd_ro.v;
		fds[n++] = m->archive.fd_ro.v;
		break;
	case ROLE_SYNCD:
		fds[n++] = m->files.state_dir.v;
		break;
	default:
		return;
	}
	if (chan_send(&c->chan, MSG_START, &s, (struct slice){ 0 }, fds, n) < 0) {
		child_kill(c, "cannot be told to start");
		return;
	}
	c->told = true;
	if (c->role == ROLE_SYNCD) {
		files_send_source(m);
		return;
	}
	if (c->role == ROLE_ADMIND) {
		files_send_sockets(m, c);
		(void)files_send_log(m, c);
		for (unsigned i = 0; i <= m->n_workers; i++) {
			struct msg_ring ring = {
				.worker = i,
				.bytes = (uint32_t)RING_BYTES((size_t)m->knobs.log_ring_bytes),
			};

			chan_offer(&c->chan, MSG_LOG_RING, &ring, (struct slice){ 0 },
					&m->child[i].ring_fd.v, 1);
		}
		sources_send(m, c);
	}
	views_send(m, c);
}

void children_start(struct master *m)
{
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (!child_is_alive(c) && (!child_is_worker(c) || is_home(m, i)))
			child_start(c);
	}
}

/* ---- adoption ---- */

/* A child of a dead master, known by its pidfd and its channel.  What it was last heard of stands
 * in the procs page; an answer to PING makes up for a READY that was lost with the master. */
static void adopt(struct master *m, struct child *c)
{
	const struct procs *page = m->procs.p;
	struct msg_ping ping = { 0 };
	uint64_t pid = 0, generation = 0;
	struct fd chan = FD_NONE;

	for (uint32_t i = 0; i < min_of(page->count, (uint32_t)PROCS_MAX); i++) {
		const struct proc *p = &page->proc[i];

		if (p->role != c->role || p->id != c->id)
			continue;
		c->state = p->state < PROC_STATES ? (enum proc_state)p->state : PROC_NONE;
		c->restarts = p->restarts;
		c->panics = p->panics;
		c->rev = p->rev;
		c->refused_rev = p->refused_rev;
		c->last_status = p->last_status;
		c->started_unix_ms = p->started_unix_ms;
		if (c->cpu < 0 && p->cpu >= 0)
			c->cpu = p->cpu;
	}
	c->generation = c->restarts + (c->started_unix_ms != 0);
	c->started = c->beat_at = clock_tick();
	if (!kept_take(&m->kept, &c->pidfd, &pid, "pid/%s/%u", role_name(c->role), c->id) ||
	    !kept_take(&m->kept, &chan, &generation, "chan/%s/%u", role_name(c->role), c->id) ||
	    pidfd_send_signal(c->pidfd.v, 0, NULL, 0) < 0) {
		fd_close(&c->pidfd);
		fd_close(&chan);
		c->state = PROC_NONE;
		if (child_is_worker(c))
			(void)board_bury(m->board.p, c->id);
		archive_panic(m, c);
		return;
	}
	c->pid = (pid_t)pid;
	c->generation = (uint32_t)generation;
	c->told = true;
	chan_init(&c->chan, &chan, ROLE_MASTER, c->role);
	c->has_chan = true;
	c->retired = c->state == PROC_DRAINING;
	if (!child_is_alive(c))
		c->state = PROC_STARTING;
	watch(c);
	chan_watch(&c->chan, &m->loop, heard, c);
	(void)chan_say(&c->chan, MSG_PING, &ping);
	if (c->role != ROLE_SYNCD && c->rev != viewset_rev(&m->views.newest))
		c->view_late = true;
	log_info("child_adopted", "child=%s/%u pid=%d state=%s", role_name(c->role), c->id,
		 (int)c->pid, proc_state_name(c->state));
	if (c->state == PROC_DRAINING)
		child_drain(c, m->knobs.drain_ms);
}

int children_open(struct master *m)
{
	struct procs *page = m->procs.p;
	bool all = true;

	for (enum role role = ROLE_WORKER; role <= ROLE_ADMIND; role++) {
		int r = find_program(m, role);

		if (r < 0)
			return r;
		all &= find_account(role);
	}
	page->accounts_missing = !all;
	if (!all && !m->kept.adopted)
		log_warn("accounts_missing", "worker=%u syncd=%u admind=%u", the.uid[ROLE_WORKER],
			 the.uid[ROLE_SYNCD], the.uid[ROLE_ADMIND]);
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		c->m = m;
		c->role = i == CHILD_SYNCD ? ROLE_SYNCD : i == CHILD_ADMIND ? ROLE_ADMIND :
									     ROLE_WORKER;
		c->id = child_is_worker(c) ? i : 0;
		c->cpu = i < m->n_workers ? m->cpu[i] : -1;
		c->panic_fd = c->ring_fd = c->pidfd = FD_NONE;
		if (!child_is_worker(c) || i <= m->n_workers) {
			int r = slot_memory(m, c);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

void children_adopt(struct master *m)
{
	unsigned serving = 0;

	for (unsigned i = 0; i < CHILDREN; i++)
		if (m->child[i].panic)
			adopt(m, &m->child[i]);
	/* A replacement under way when our predecessor died: slots that serve get the homes, a
	 * worker too many drains. */
	for (unsigned i = 0; i <= m->n_workers; i++) {
		struct child *c = &m->child[i];

		if (c->state != PROC_READY && c->state != PROC_STARTING)
			continue;
		if (serving == m->n_workers) {
			child_drain(c, m->knobs.drain_ms);
			continue;
		}
		m->listeners.home[serving++] = (int)i;
	}
	for (unsigned i = 0; i <= m->n_workers && serving < m->n_workers; i++)
		if (!child_is_alive(&m->child[i])) {
			if (m->child[i].cpu < 0)
				m->child[i].cpu = m->cpu[serving];
			m->listeners.home[serving++] = (int)i;
		}
}

/* ---- draining, stopping, replacing ---- */

void child_stop(struct child *c)
{
	struct msg_empty none = { 0 };

	if (!child_is_alive(c))
		return;
	if (!c->has_chan || chan_say(&c->chan, MSG_STOP, &none) < 0) {
		child_kill(c, "cannot be told to stop");
		return;
	}
	c->retired = true;
	loop_timer_start(&c->m->loop, &c->again, STOP_MS * NS_PER_MS, 0, kill_cb, c);
}

static void drained_cb(void *arg)
{
	child_stop(arg);
}

void child_drain(struct child *c, int64_t deadline_ms)
{
	struct msg_drain d = { .deadline_ms = (uint64_t)max_of(deadline_ms, (int64_t)0) };

	if (!child_is_alive(c) || !c->has_chan)
		return;
	c->retired = true;
	if (chan_say(&c->chan, MSG_DRAIN, &d) < 0) {
		child_kill(c, "cannot be told to drain");
		return;
	}
	log_info("draining", "worker=%u deadline_ms=%lld", c->id, (long long)deadline_ms);
	/* The worker cuts what is left at the deadline and says DRAINED; the rest is for one that
	 * does not. */
	loop_timer_start(&c->m->loop, &c->again, (deadline_ms + STOP_MS) * NS_PER_MS, 0, drained_cb,
			 c);
	child_became(c, PROC_DRAINING);
}

static bool is_home(const struct master *m, unsigned slot)
{
	for (unsigned g = 0; g < m->n_workers; g++)
		if (m->listeners.home[g] == (int)slot)
			return true;
	return false;
}

int child_replace(struct child *c, int64_t deadline_ms)
{
	struct master *m = c->m;
	struct child *spare = NULL;

	if (!child_is_worker(c) || !is_home(m, c->id) || !child_is_alive(c) || m->leaving)
		return -ENOENT;
	if (the.from == c)
		return 0;
	for (unsigned i = 0; i <= m->n_workers && !spare; i++)
		if (m->child[i].state == PROC_NONE)
			spare = &m->child[i];
	if (the.from || !spare) {
		the.waiting |= 1ull << c->id;
		the.waiting_deadline_ms = deadline_ms;
		return -EAGAIN;
	}
	log_info("replacing", "worker=%u by=%u", c->id, spare->id);
	the.from = c;
	the.to = spare;
	the.deadline_ms = deadline_ms;
	the.give_up = mono_after_ms(clock_tick(), REPLACE_MS);
	spare->cpu = c->cpu;
	spare->fails = 0;
	child_start(spare);
	return 0;
}

static void replace_next(struct master *m)
{
	while (the.waiting && !the.from) {
		unsigned i = (unsigned)__builtin_ctzll(the.waiting);

		the.waiting &= the.waiting - 1;
		if (child_replace(&m->child[i], the.waiting_deadline_ms) == -EAGAIN)
			return;		/* the spare slot still drains */
	}
}

/* The new one can accept: it takes the groups, the old one drains. */
static void replace_step(struct master *m)
{
	struct child *from = the.from, *to = the.to;

	if (!from) {
		replace_next(m);
		return;
	}
	if (child_can_accept(to)) {
		the.from = the.to = NULL;
		listeners_move_home(m, from->id, to->id);
		listeners_settle(m);	/* LISTEN to the new one, LISTEN_DROP to the old one */
		if (child_is_alive(from))
			child_drain(from, the.deadline_ms);
		else
			child_became(from, PROC_NONE);
		return;
	}
	if (mono_diff_ms(clock_now(), the.give_up) > 0) {
		log_error("replacement_failed", "worker=%u by=%u", from->id, to->id);
		the.from = the.to = NULL;
		to->retired = true;
		child_kill(to, "did not become ready");
	}
}

/* After a death: a replacement that died is tried again by its own back-off; an old one that died
 * while its replacement starts leaves its slot empty. */
static void replaced_or_not(struct child *c)
{
	struct master *m = c->m;

	if (c == the.from) {
		log_info("replaced_early", "worker=%u by=%u", c->id, the.to->id);
		listeners_move_home(m, c->id, the.to->id);
		the.from = the.to = NULL;
		child_became(c, PROC_NONE);
	}
	replace_next(m);
}

/* ---- once a second ---- */

static void check_beat(struct master *m, struct child *c)
{
	const struct board *b = m->board.p;
	struct msg_ping ping = { 0 };
	uint64_t beat = 0;
	int64_t silent, hang = child_is_worker(c) ? HANG_MS : HANG_OTHER_MS;

	if (child_is_worker(c))
		beat = board_get(&b->worker[c->id].c[WC_beat_ms_gauge]);
	if (beat != c->beat) {
		c->beat = beat;
		c->beat_at = clock_now();
		c->pinged = c->stalled = false;
	}
	silent = mono_diff_ms(clock_now(), c->beat_at);
	if (silent >= PING_MS && !c->pinged) {	/* idle is no hang: an answer will tell */
		c->pinged = true;
		(void)chan_say(&c->chan, MSG_PING, &ping);
		return;
	}
	if (silent >= 2 * PING_MS && c->pinged && !c->stalled && child_is_worker(c)) {
		c->stalled = true;
		log_warn("stalled", "child=%s/%u pid=%d ms=%lld", role_name(c->role), c->id,
			 (int)c->pid, (long long)silent);
	}
	if (silent < hang)
		return;
	log_error("hangs", "child=%s/%u pid=%d ms=%lld", role_name(c->role), c->id, (int)c->pid,
		  (long long)silent);
	/* ABRT first: the panic page says where it was.  It is only caught where it can be. */
	(void)pidfd_send_signal(c->pidfd.v, silent < hang + 2 * PING_MS ? SIGABRT : SIGKILL, NULL,
				0);
}

void children_tick(struct master *m)
{
	clock_tick();
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (!child_is_alive(c) || !c->has_chan)
			continue;
		if (c->view_late && c->told)
			views_send(m, c);
		if (c->state == PROC_READY || c->state == PROC_DRAINING)
			check_beat(m, c);
		else if (mono_diff_ms(clock_now(), c->started) > BIRTH_MS ||
			 (!c->ours && mono_diff_ms(clock_now(), c->started) > SPEAK_MS))
			child_kill(c, "did not become ready");
	}
	replace_step(m);
}

void children_settle(struct master *m)
{
	if (the.from && child_can_accept(the.to))
		replace_step(m);
}
