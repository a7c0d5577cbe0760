/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See birth.h. */
#include "nodeproxy/birth.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"
#include "nodeproxy/programs.h"

/* ---- shared memory of a slot ---- */

static size_t bytes_of(struct fd f)
{
	struct stat st;

	return fstat(f.v, &st) == 0 ? (size_t)st.st_size : 0;
}

static void send_ring(struct child *admind, const struct child *c)
{
	struct msg_ring ring = { .worker = c->id, .bytes = (uint32_t)bytes_of(c->ring_fd) };

	if (fd_is_open(c->ring_fd) && admind->has_chan && admind->told)
		chan_offer(&admind->chan, MSG_LOG_RING, &ring, (struct slice){ 0 }, &c->ring_fd.v, 1);
}

/* The ring that its next process writes to: the slot's, unless the settings want another size. */
static int ring_memory(struct master *m, struct child *c)
{
	size_t bytes = RING_BYTES((size_t)m->knobs.log_ring_bytes);
	struct fd f;
	void *p;
	int r;

	if (fd_is_open(c->ring_fd) && bytes_of(c->ring_fd) == bytes)
		return 0;
	r = memfd_shared("nodeproxy-ring", bytes, &f);
	if (r < 0)
		return r;
	r = memfd_map_shared(f, bytes, true, &p);
	if (r < 0) {
		fd_close(&f);
		return r;
	}
	ring_format(p, (uint32_t)m->knobs.log_ring_bytes);
	memfd_unmap(&(struct slice){ p, bytes });
	fd_close(&c->ring_fd);
	c->ring_fd = f;
	keep_put(&m->kept, f, 0, "ring/%u", c->id);
	send_ring(&m->child[CHILD_ADMIND], c);
	return 0;
}

static int panic_memory(struct master *m, struct child *c)
{
	void *p;
	int r = 0;

	if (c->panic)
		return 0;

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
	return 0;
}

int child_memory(struct master *m, struct child *c)
{
	int r = panic_memory(m, c);

	if (r < 0 || !child_is_worker(c))
		return r;
	if (!fd_is_open(c->ring_fd))
		(void)kept_take(&m->kept, &c->ring_fd, NULL, "ring/%u", c->id);
	return fd_is_open(c->ring_fd) ? 0 : ring_memory(m, c);
}

/* Whoever starts must find a board and rings, whatever the last worker wrote there. */
static void mend_memory(struct master *m)
{
	bool mended = board_mend(m->board.p, board_slots(m->board.bytes));
	void *p;

	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		struct fd f = m->child[i].ring_fd;

		if (!fd_is_open(f) || memfd_map_shared(f, sizeof(struct ring_shared), true, &p) < 0)
			continue;
		mended |= ring_mend(p, (uint32_t)(bytes_of(f) - sizeof(struct ring_shared)));
		memfd_unmap(&(struct slice){ p, sizeof(struct ring_shared) });
	}
	if (mended)
		log_limited(LOG_ERROR, "memory_mended", "what=\"a worker wrote over the head of "
							"the board or of its ring\"");
}

/* ---- the fork ---- */

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
	(void)unsetenv("NOTIFY_SOCKET");	/* only we speak for the service */
	fexecve(program_of(c->role).v, argv, environ);
	_exit(127);
}

static int fork_child(struct child *c)
{
	struct master *m = c->m;
	char name[32], id[16], ids[32];
	char *argv[] = { name, id, ids, NULL };
	struct fd pair[2];
	uid_t uid;
	gid_t gid;
	pid_t pid;
	int r = chan_pair(pair);

	if (r < 0)
		return r;
	snprintf(name, sizeof name, "%s", role_row(c->role)->program);
	snprintf(id, sizeof id, "%u", c->id);
	account_of(c->role, &uid, &gid);
	snprintf(ids, sizeof ids, "%u:%u", uid, gid);
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
	if (master_is_leaving(m) || child_is_alive(c))
		return;
	c->restarts += c->generation > 0;
	c->generation++;
	c->started = c->beat_at = clock_now();
	c->started_mono_ms = (uint64_t)(c->started.ns / NS_PER_MS);
	c->rev = c->refused_rev = c->behind_mono_ms = c->beat = 0;
	c->usage = USAGE_UNKNOWN;
	c->told = c->retired = c->pinged = c->stalled = false;
	if (child_is_worker(c))
		m->slots = max_of(m->slots, c->id + 1);
	r = child_memory(m, c);
	if (r == 0 && child_is_worker(c))
		r = ring_memory(m, c);
	if (r == 0) {
		memset(c->panic, 0, PANIC_PAGE_BYTES);
		r = fork_child(c);
	}
	if (r < 0) {
		c->fails++;
		log_error("not_started", "child=%s/%u error=\"%s\"", role_name(c->role), c->id,
			  strerror(-r));
		child_became(c, PROC_WAITING);
		child_start_later(c, m->knobs.respawn_min_ms);
		return;
	}
	c->ours = true;
	log_info("child_started", "child=%s/%u pid=%d cpu=%d generation=%u", role_name(c->role),
		 c->id, (int)c->pid, c->cpu, c->generation);
	child_watch(c);
	child_became(c, PROC_STARTING);
}

/* ---- the first words ---- */

static void tell_rings(struct master *m, struct child *c)
{
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		send_ring(c, &m->child[i]);
}

static void tell_admind(struct master *m, struct child *c)
{
	doors_send(m, c);
	(void)files_send_log(m, c);
	tell_rings(m, c);
	sources_send(m, c);
	pods_send(m, c);
	proofs_send(m);
}

void child_tell_again(struct child *c, uint32_t type)
{
	struct master *m = c->m;

	if (!c->has_chan || !c->told)
		return;
	log_limited(LOG_WARN, "said_again", "child=%s/%u message=%s", role_name(c->role), c->id,
		    type < MSGS ? msg_name((enum msg_type)type) : "");
	if (type == MSG_KNOBS_USE) {
		reload_tell(m, c);
		return;
	}
	if (type == MSG_KEY_LINE || type == MSG_KEY_FILE) {
		if (type == MSG_KEY_FILE)
			keys_send(m, c, &m->knobs, false);
		else
			keys_connect(m, c);
		return;
	}
	if (type == MSG_IDENTITY_FILE) {
		identity_send(m, c, &m->knobs, false);
		return;
	}
	if (type == MSG_IDENTITIES_HERE) {
		identity_here(m, c, true);
		return;
	}
	if (type == MSG_RESOLVERS_HERE) {
		resolvers_send(m, c);
		return;
	}
	if (type == MSG_CERTS_HERE) {
		keys_send_certs(m, c);
		return;
	}
	if (child_is_worker(c)) {
		if (type == MSG_LISTEN)
			listeners_tell_again(m, c->id);
		else if (type == MSG_POD_HERE || type == MSG_RESIDENT)
			pods_tell_again(m, c->id);
		else if (type == MSG_FELLOW_LINE)
			fellows_again(m, c->id);
		else if (type == MSG_ROOTS_HERE)
			roots_send(m, c);
		else if (type != MSG_BANK_HERE)	/* of those it asks for more */
			views_send(m, c);
		return;
	}
	if (c->role == ROLE_SYNCD && type == MSG_PODS_SEEN)
		pods_send(m, c);
	if (c->role != ROLE_ADMIND)
		return;		/* syncd has words of its own for what else it lacks */
	switch (type) {
	case MSG_VIEW_SEEN:
		views_send(m, c);
		break;
	case MSG_SOURCES_SEEN:
		sources_send(m, c);
		break;
	case MSG_PODS_SEEN:
		pods_send(m, c);
		break;
	case MSG_PROOFS_SEEN:
		proofs_send(m);
		break;
	case MSG_LOG_RING:
		tell_rings(m, c);
		break;
	case MSG_LOG_FILE:
		(void)files_send_log(m, c);
		break;
	case MSG_ADMIN_SOCKETS:
		doors_send(m, c);
		break;
	default:
		break;
	}
}

void child_tell(struct child *c)
{
	struct master *m = c->m;
	struct msg_start s = { .id = c->id,
			       .cpu = c->cpu < 0 ? 0 : (uint32_t)c->cpu,
			       .generation = c->generation,
			       .log_level = log_level,
			       .started_unix_ms = m->started_unix_ms,
			       .rev = max_of(viewset_rev(&m->views.newest), m->kept.old_rev),
			       .trial = m->phase == PHASE_TRIAL };
	int fds[CHAN_MAX_FDS] = { m->knobs_fd.v, c->panic_fd.v };
	struct fd dir = FD_NONE;
	unsigned n = 2;
	int r;

	mend_memory(m);
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
		fds[n++] = m->board.fd_ro.v;
		files_renew_state_dir(m);
		if (fd_is_open(m->files.state_dir))
			fds[n++] = m->files.state_dir.v;
		break;
	case ROLE_KEYD:
		dir = identity_dir(m);
		if (fd_is_open(dir))
			fds[n++] = dir.v;
		break;
	default:
		return;
	}
	r = chan_send(&c->chan, MSG_START, &s, (struct slice){ 0 }, fds, n);
	fd_close(&dir);
	if (r < 0) {
		child_kill(c, "cannot be told to start");
		return;
	}
	c->told = true;
	if (c->role == ROLE_SYNCD) {
		workloads_unsaid(m);
		pods_send(m, c);
		files_send_source(m);
		return;
	}
	if (c->role == ROLE_KEYD) {
		/* In this order: what it tells of listeners' files has identities that were kept with it. */
		identity_send(m, c, &m->knobs, false);
		identity_here(m, c, true);
		keys_send(m, c, &m->knobs, false);
		keys_connect(m, c);
		return;
	}
	if (c->role == ROLE_ADMIND)
		tell_admind(m, c);
	else
		keys_connect(m, c);
	keys_send_certs(m, c);
	resolvers_send(m, c);
	roots_send(m, c);
	views_send(m, c);
}
