/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See begin.h. */
#include "nodeproxy/lib/role/begin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/role/enter.h"

#define KNOBS_MOST (16u << 20)
#define RETRY_MS   100	/* a HELLO that the kernel had no memory for is sent again */
#define START_MS   30000	/* the master answers HELLO at once; a dead one gives the end instead */

static _Noreturn void fail(int code, const char *event, const char *what, int r)
{
	log_error(event, "what=\"%s\" error=\"%s\"", what, r < 0 ? strerror(-r) : "");
	exit(code);
}

/* A descriptor 3 that is a SEQPACKET socket: nobody starts us like that by hand. */
static bool has_channel(void)
{
	int type = 0;
	socklen_t n = sizeof type;

	return getsockopt(CHAN_FD, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

/* "UID:GID", from the master. */
static bool ids_parse(const char *s, uid_t *uid, gid_t *gid)
{
	const char *colon = strchr(s, ':');
	uint64_t u, g;

	if (!colon || !slice_u64(slice_of(s, (size_t)(colon - s)), UINT32_MAX - 1, &u) ||
	    !slice_u64(slice_str(colon + 1), UINT32_MAX - 1, &g) || u == 0 || g == 0)
		return false;
	*uid = (uid_t)u;
	*gid = (gid_t)g;
	return true;
}

/* The master decides when we end: Ctrl-C and kill go to it, we see STOP, DRAIN or the end of the
 * channel.  SIGPIPE has no meaning here, and a file at its
 * limit (SIGXFSZ) is an error of the write. */
static void set_signals(void)
{
	static const int ignored[] = { SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
	sigset_t none;

	for (size_t i = 0; i < countof(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static const struct msg *wait_start(struct chan *ch)
{
	struct pollfd p = { .fd = ch->fd.v, .events = POLLIN };
	const struct msg *m;
	int r, waited_ms = 0;

	for (;;) {
		r = poll(&p, 1, RETRY_MS);
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0) {
			waited_ms += RETRY_MS;
			if (waited_ms >= START_MS)
				fail(ROLE_EXIT_START, "no_start", "the master does not answer", 0);
			(void)chan_flush(ch);
			continue;
		}
		r = chan_recv(ch, &m);
		if (r == 0 || r == -EAGAIN)
			continue;
		if (r == -EPIPE)
			exit(0);	/* the master died or changed its mind: nobody needs us */
		if (r < 0)
			fail(ROLE_EXIT_START, "no_start", "bad message", r);
		if (m->type == MSG_STOP)
			exit(0);
		if (m->type == MSG_START)
			return m;
	}
}

void role_begin(enum role role, int argc, char **argv, struct role_born *ret)
{
	const struct role_row *row = role_row(role);
	const char *step = NULL;
	const struct msg *m;
	struct msg_hello hello = { .role = role, .pid = (uint32_t)getpid() };
	struct fd three = { CHAN_FD };
	void *page = NULL;
	uid_t uid = 0;
	gid_t gid = 0;
	int r;

	must(row);
	log_init(role_name(role), NULL);
	if (argc < 3 || !has_channel() || !ids_parse(argv[2], &uid, &gid)) {
		fprintf(stderr, "%s is part of nodeproxy and is started by it\n", row->program);
		exit(ROLE_EXIT_USAGE);
	}
	memset(ret, 0, sizeof *ret);
	fcntl(CHAN_FD, F_SETFD, FD_CLOEXEC);
	(void)syscall(SYS_close_range, CHAN_FD + 1, ~0u, 0);
	log_open();
	set_signals();
	panic_init(NULL, role_name(role));
	r = role_enter(role, uid, gid, &step);
	if (r < 0)
		fail(ROLE_EXIT_ENTER, "cannot_enter_role", step, r);
	/* sanitizers look at their own memory through /proc */
#ifdef NP_SANITIZED
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
	chan_init(&ret->chan, &three, role, ROLE_MASTER);
	snprintf(hello.build, sizeof hello.build, "%s", msg_build());
	r = chan_say(&ret->chan, MSG_HELLO, &hello);
	if (r < 0)
		exit(0);
	m = wait_start(&ret->chan);
	memcpy(&ret->start, m->p, sizeof ret->start);
	r = memfd_map_sealed(m->fd[0], KNOBS_MOST, &ret->knobs);
	if (r < 0)
		fail(ROLE_EXIT_START, "no_start", "knobs", r);
	r = memfd_map_shared(m->fd[1], PANIC_PAGE_BYTES, true, &page);
	if (r < 0)
		fail(ROLE_EXIT_START, "no_start", "panic page", r);
	ret->panic = page;
	panic_init(ret->panic, role_name(role));
	for (unsigned i = 2; i < m->nfds; i++)
		ret->fd[ret->nfds++] = fd_take(&ret->chan.in.fd[i]);
	fd_close(&ret->chan.in.fd[0]);	/* they are mapped */
	fd_close(&ret->chan.in.fd[1]);
	if (ret->start.log_level < LOG_LEVELS)
		log_level = (enum log_level)ret->start.log_level;
#ifndef NP_SANITIZED
	if (role == ROLE_SYNCD || role == ROLE_KEYD) {
		unsigned at = role == ROLE_SYNCD;	/* behind the board */
		int dir = ret->nfds > at ? ret->fd[at].v : -1;

		r = role_landlock(&dir, dir >= 0 ? 1 : 0);
		if (r < 0)
			fail(ROLE_EXIT_ENTER, "cannot_enter_role", "landlock", r);
	}
#endif
}

void role_ready(struct chan *ch)
{
	struct msg_empty none = { 0 };

	(void)chan_say(ch, MSG_READY, &none);
}

#ifdef NP_SANITIZED
/* A leak check at exit needs ptrace, which the filter answers with death; leaks are found by the
 * counters of the slabs. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif
