/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See master.h. */
#include "nodeproxy/master.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "nodeproxy/beat.h"
#include "nodeproxy/birth.h"
#include "nodeproxy/cpus.h"
#include "nodeproxy/death.h"
#include "nodeproxy/homes.h"
#include "nodeproxy/leave.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/orders.h"
#include "nodeproxy/programs.h"
#include "nodeproxy/replace.h"
#include "nodeproxy/upgrade.h"
#include "nodeproxy/words.h"
#include "nodeproxy/survey.h"

#define TICK_MS 1000

static struct master the;

/* ---- settings and shared memory ---- */

int master_plan(const struct knobs *k, int cpu[], unsigned *ret_n, char error[128])
{
	cpu_set_t mask;

	if (sched_getaffinity(0, sizeof mask, &mask) < 0) {
		snprintf(error, 128, "the affinity mask cannot be read");
		return -errno;
	}
	/* one slot of the board stays free for replacing */
	return cpus_plan(k->workers, &mask, BOARD_WORKERS - 1, cpu, ret_n, error);
}

static int plan(const struct knobs *k, int cpu[], unsigned *n)
{
	char error[128];
	int r = master_plan(k, cpu, n, error);

	if (r < 0)
		words_say("workers: %s: %s", k->workers, error);
	return r;
}

static int load(const char *file, struct knobs *ret)
{
	char error[KNOBS_ERROR];
	int r = knobs_load(file, ret, error);

	if (r < 0)
		words_say("%s", error);
	return r;
}

/* Only -t looks: at a start what keyd has kept may do. */
static int try_identity(const char *file, const struct knobs *k)
{
	enum knob_index row = KNOB_identity_issuer;
	struct knob_row r;
	char words[320];
	int e = identity_try(k, &row, words);

	if (e < 0)
		words_say("%s: %s: %s", file, knobs_row(row, &r) ? r.key : "", words);
	return e;
}

/* What cannot be opened now is a mistake now; later it is an accident. */
static int try_keys(const char *file, const struct knobs *k)
{
	enum knob_index secret;
	struct knob_row row;
	char words[320];
	unsigned i;
	int r = keys_try(k, &i, words);

	if (r < 0) {
		words_say("%s: listeners[%u].%s", file, i, words);
		return r;
	}
	r = files_try_secrets(k, &secret);
	if (r < 0 && knobs_row(secret, &row))
		words_say("%s: %s: cannot be opened: %s", file, row.key,
			  r == -EINVAL ? "not a regular file" : strerror(-r));
	return r;
}

int master_test(const char *file)
{
	static struct knobs k;
	int cpu[BOARD_WORKERS];
	unsigned n;

	if (load(file, &k) < 0 || try_keys(file, &k) < 0 || try_identity(file, &k) < 0 || plan(&k, cpu, &n) < 0)
		return 1;
	printf("%s: ok\n", file);
	return 0;
}

/* The first master reads the file; later ones go on with what it read. */
static int settings(struct master *m, const char *file)
{
	struct slice bytes;
	uint64_t level = 0;
	int r;

	if (kept_take(&m->kept, &m->knobs_fd, &level, "knobs")) {
		r = memfd_map_sealed(m->knobs_fd, sizeof m->knobs, &bytes);
		if (r < 0)
			return r;
		r = knobs_check(bytes.p, bytes.n);
		if (r == 0)
			memcpy(&m->knobs, bytes.p, sizeof m->knobs);
		memfd_unmap(&bytes);
		log_level = level < LOG_LEVELS ? (enum log_level)level : LOG_INFO;
		return r;
	}
	r = load(file, &m->knobs);
	if (r == 0)
		r = try_keys(file, &m->knobs);
	if (r < 0)
		return r;
	log_level = (enum log_level)min_of(m->knobs.log_level, (uint32_t)LOG_ERROR);
	r = memfd_sealed("nodeproxy-knobs", slice_of(&m->knobs, sizeof m->knobs), &m->knobs_fd);
	if (r == 0)
		keep_put(&m->kept, m->knobs_fd, log_level, "knobs");
	return r;
}

static int shared_open(struct master *m, const char *name, size_t bytes, struct shared *ret)
{
	char path[64];
	struct stat st;
	int r = 0;

	ret->fd = FD_NONE;
	ret->bytes = bytes;
	/* The panics of an older build may have another shape: then ours begin anew. */
	if (kept_take(&m->kept, &ret->fd, NULL, "%s", name) &&
	    (fstat(ret->fd.v, &st) < 0 || (size_t)st.st_size != bytes))
		fd_close(&ret->fd);
	if (!fd_is_open(ret->fd)) {
		r = memfd_shared(name, bytes, &ret->fd);
		if (r < 0)
			return r;
		(void)fchmod(ret->fd.v, 0600);	/* nobody opens it again through /proc */
		if (ret == &m->archive)
			keep_share(&m->kept, ret->fd, 0, "%s", name);
		else
			keep_put(&m->kept, ret->fd, 0, "%s", name);
	}
	r = memfd_map_shared(ret->fd, bytes, true, &ret->p);
	if (r < 0)
		return r;
	/* Another open file of the same memory: it cannot be mapped writable. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", ret->fd.v);
	ret->fd_ro.v = open(path, O_RDONLY | O_CLOEXEC);
	return ret->fd_ro.v < 0 ? -errno : 0;
}

static int shared_pages(struct master *m)
{
	struct procs *page;
	struct board *b;
	int r;

	/* Room for as many workers as there can ever be: what nobody touches costs nothing. */
	r = shared_open(m, "board", board_bytes(BOARD_WORKERS), &m->board);
	if (r == 0)
		r = shared_open(m, "procs", sizeof(struct procs), &m->procs);
	if (r == 0)
		r = shared_open(m, "panics", sizeof(struct panic_archive), &m->archive);
	if (r < 0)
		return r;
	b = m->board.p;
	(void)board_mend(b, board_slots(m->board.bytes));	/* new, or a worker spoiled it */
	page = m->procs.p;
	page->magic = PROCS_MAGIC;
	m->started_unix_ms = m->kept.started_unix_ms;
	m->started_mono_ms = m->kept.started_mono_ms;
	page->master_starts++;
	page->master = USAGE_UNKNOWN;
	m->slots = min_of(page->slots, (uint32_t)BOARD_WORKERS);
	reload_open(m);
	return 0;
}

/* ---- messages ---- */

static void hello(struct child *c, const struct msg_hello *h)
{
	/* An adopted child may have said it to our predecessor, and say it to us. */
	if (c->state != PROC_STARTING || (c->told && c->ours)) {
		child_broke(c, "a second HELLO");
		return;
	}
	if (h->role != c->role || h->pid != (uint32_t)c->pid ||
	    !msg_text(h->build, sizeof h->build) || strcmp(h->build, msg_build()) != 0) {
		if (c->m->phase == PHASE_TRIAL)
			upgrade_give_up(c->m, c, "is not of the new build");
		child_broke(c, "is not of our build, or lies about itself");
		return;
	}
	if (!c->retired)	/* else STOP came first, and it is leaving */
		child_tell(c);
}

static void ready(struct master *m, struct child *c)
{
	if (c->state == PROC_DRAINING)
		return;		/* told to drain in the middle of its birth */
	if (c->state != PROC_STARTING) {
		child_broke(c, "a second READY");
		return;
	}
	c->ready_at = clock_now();
	log_info("child_ready", "child=%s/%u pid=%d ms=%lld", role_name(c->role), c->id,
		 (int)c->pid, (long long)mono_diff_ms(clock_now(), c->started));
	child_became(c, PROC_READY);
	if (c->role == ROLE_KEYD)
		reload_ready(m, c);
}

void master_message(struct master *m, struct child *c, const struct msg *msg)
{
	struct fd *fd = &c->chan.in.fd[0];	/* taken by whom it is for, else closed */

	if (!c->told && msg->type != MSG_HELLO) {
		child_broke(c, "spoke before START");
		return;
	}
	switch (msg->type) {
	case MSG_HELLO:
		hello(c, msg->p);
		break;
	case MSG_READY:
		ready(m, c);
		break;
	case MSG_PONG:
		if (c->role == ROLE_SYNCD)
			views_adopted_syncd(m);
		if (!c->ours && c->state == PROC_STARTING)
			ready(m, c);	/* its READY died with the former master */
		break;
	case MSG_LOST:
		child_tell_again(c, ((const struct msg_lost *)msg->p)->type);
		break;
	case MSG_DRAINED:
		if (c->state == PROC_DRAINING)
			child_stop(c);
		else
			child_broke(c, "drained, and nobody had asked");
		break;
	case MSG_VIEW_ADOPTED:
		views_adopted(m, c, ((const struct msg_rev *)msg->p)->rev);
		break;
	case MSG_VIEW_REFUSED: {
		char why[129];

		snprintf(why, sizeof why, "%.*s", (int)msg->tail.n, (const char *)msg->tail.p);
		views_refused(m, c, ((const struct msg_refused *)msg->p)->rev, why);
		break;
	}
	case MSG_VIEW_MADE:
		views_made(m, c, msg->p, fd);
		break;
	case MSG_ENDPOINTS_WANT:
		views_lacks_endpoints(m, msg->p);
		break;
	case MSG_NS_MODES:
		spaces_told(m, c, msg->p);
		break;
	case MSG_FILE_WANT:
		files_want(m, c, msg->p);
		break;
	case MSG_KNOBS_OK:
	case MSG_KNOBS_REFUSED:
	case MSG_KNOBS_USED:
		reload_heard(m, c, msg);
		break;
	case MSG_SOURCE_AGAIN:
		files_send_source(m);
		break;
	case MSG_CERTS_MADE:
		keys_made(m, c, msg->p, fd);
		break;
	case MSG_SOURCES_MADE:
		sources_made(m, c, msg->p, fd);
		break;
	case MSG_STORE_COPIED:
		upgrade_copied(m, msg->p);
		break;
	case MSG_POD_PROVEN:
		proof_heard(m, msg->p);
		break;
	case MSG_BANK_WANT:
		homes_bank_want(m, c, msg->p);
		break;
	case MSG_WORKLOAD_HERE:
		workloads_here(m, c, msg->p);
		break;
	case MSG_WORKLOAD_GONE:
		workloads_gone(m, c, msg->p);
		break;
	case MSG_WORKLOADS_ALL:
		workloads_all(m);
		break;
	case MSG_ORDER:
		order(m, c, msg->p);
		break;
	default:
		break;		/* msg.def lets nothing else come here */
	}
}

/* ---- signals ---- */

static void on_signal(void *arg, int signo)
{
	struct master *m = arg;

	clock_tick();
	if (signo == SIGHUP) {
		(void)files_send_log(m, &m->child[CHILD_ADMIND]);
		return;
	}
	/* The second time: without patience.  (One that retires has its deadline already.) */
	if (m->terms++ > 0)
		master_leave(m, 0);
	else if (m->phase != PHASE_RETIRING)
		master_leave(m, m->knobs.drain_ms);
}

/* ---- what follows from a change ---- */

void master_settle(struct master *m)
{
	listeners_settle(m);
	pods_settle(m);
	replace_settle(m);
	keys_settle(m);
	procs_write(m);
	service_settle(m);
	upgrade_settle(m);
	if (master_is_leaving(m))
		leave_step(m);
}

static void tick(void *arg)
{
	children_tick(arg);
	service_tick(arg);
	listeners_tick(arg);
	keys_tick(arg);
	identity_tick(arg);
	resolvers_tick(arg);
	roots_tick(arg);
	pods_tick(arg);
	survey(arg);
}

/* Its end is ours. */
static void on_keeper(void *arg)
{
	struct master *m = arg;
	const struct msg *msg;
	int r;

	clock_tick();
	while ((r = chan_recv(&m->kept.chan, &msg)) == 1)
		if (msg->type == MSG_REAPED)
			child_reaped(m, msg->p);
		else
			upgrade_heard(m, msg);
	if (r == 0 || r == -EAGAIN || r == -EMFILE)
		return;
	log_error("keeper_died", "error=\"%s\"", strerror(-r));
	for (unsigned i = 0; i < CHILDREN; i++)
		if (child_is_alive(&m->child[i]))
			child_kill(&m->child[i], "the keeper died");
	doors_close(m);
	exit(1);
}

/* ---- birth ---- */

static int fail(const char *what, int r)
{
	words_say("%s: %s", what, strerror(-r));
	return 1;
}

static int open_all(struct master *m, const char *file)
{
	const char *what = "settings";
	uid_t uid;
	gid_t gid;
	int r;

	r = settings(m, file);
	if (r < 0)
		return m->kept.birth == BIRTH_AGAIN ? fail(what, r) : 1;	/* load() said why */
	if (plan(&m->knobs, m->cpu, &m->n_workers) < 0)
		return 1;
	r = shared_pages(m);
	if (r < 0)
		return fail("shared memory", r);
	views_open(m);
	r = children_open(m);
	if (r < 0)
		return fail("children", r);
	keys_open(m);
	if (identity_open(m) < 0)
		return fail("identities", -ENOMEM);
	account_of(ROLE_SYNCD, &uid, &gid);
	if (files_open(m, uid, gid) < 0 || doors_open(m) < 0 || listeners_open(m) < 0)
		return 1;
	pods_open(m);
	return 0;
}

int master_main(const char *file, const char *path)
{
	struct master *m = &the;
	struct msg_build build = { "" };
	struct fd three = { CHAN_FD };
	const char *step = "";
	sigset_t nothing;
	int r;

	m->doors.admin = FD_NONE;
	m->file = file;
	prctl(PR_SET_NAME, "nodeproxy-mastr");
	fcntl(CHAN_FD, F_SETFD, FD_CLOEXEC);
	log_init("master", NULL);
	log_open();
	panic_init(NULL, "master");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a log file at its limit is an error, not the end */
	r = role_enter(ROLE_MASTER, 0, 0, &step);
	if (r < 0)
		return fail(step, r);
	r = kept_open(&m->kept, &three);
	if (r < 0)
		return fail("keeper", r);
	m->path = path;
	m->upgrade.program = FD_NONE;
	m->phase = m->kept.birth == BIRTH_TRIAL ? PHASE_TRIAL : PHASE_SERVING;
	r = loop_init(&m->loop);
	if (r < 0)
		return fail("loop", r);
	r = open_all(m, file);
	if (r != 0) {
		if (m->kept.birth == BIRTH_FIRST)
			doors_close(m);
		keep_last_words(&m->kept, words_first());
		return r;
	}
	loop_signal_start(&m->loop, &m->on_term, SIGTERM, on_signal, m);
	loop_signal_start(&m->loop, &m->on_int, SIGINT, on_signal, m);
	loop_signal_start(&m->loop, &m->on_hup, SIGHUP, on_signal, m);
	chan_watch(&m->kept.chan, &m->loop, on_keeper, m);
	loop_timer_start(&m->loop, &m->tick, TICK_MS * NS_PER_MS, TICK_MS, tick, m);
	if (m->phase == PHASE_SERVING)
		service_open(m);
	if (m->kept.birth == BIRTH_AGAIN) {
		log_warn("adopting", "entries=%u", m->kept.n);
		children_adopt(m);
	}
	if (m->phase != PHASE_TRIAL)
		kept_drop_rest(&m->kept);
	children_start(m);
	master_settle(m);
	if (m->phase != PHASE_TRIAL)
		(void)chan_say(&m->kept.chan, MSG_MASTER_READY, &build);
	sigemptyset(&nothing);
	sigprocmask(SIG_SETMASK, &nothing, NULL);	/* blocked since the keeper forked us */
	loop_run(&m->loop);
	return 0;
}
