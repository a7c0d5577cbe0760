/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Connections between two workers that are at home with a pod: the test is the other one. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "nodeproxy/lib/ipc/msg.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/fellows.h"
#include "workers/path/pods.h"

#define REF   7
#define OTHER 1
#define WORLD "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define MANY  400	/* of ours, when we are the fuller one */

static struct rig *r;
static struct board *board;	/* the rig has no place for a second worker on its own */
static struct loop loop;
static struct fellows fs;
static struct chan theirs;		/* the test's end */
static struct tcp_world world;
static struct fd copies[3 * FELLOWS];	/* of our ends, which a fellow has, too */
static unsigned n_copies;

static int dialled(const struct stream *s, struct addr *ret)
{
	(void)s;
	*ret = (struct addr){ .family = 4, .port = 80, .ip = { 198, 51, 100, 1 } };
	return 0;
}

static void counts(uint64_t mine, uint64_t other)
{
	board_set(&r->path.mine->c[WC_conns_gauge], mine);
	board_set(&board->worker[OTHER].c[WC_conns_gauge], other);
	board_set(&board->worker[OTHER].c[WC_beat_ms_gauge], (uint64_t)(clock_tick().ns / NS_PER_MS));
	fellows_tick(&fs);
}

/* The fellow's end of a new line. */
static void line(uint32_t worker, struct chan *ret)
{
	struct fd pair[2], its;

	ck_assert_int_eq(chan_pair_short(pair), 0);
	its.v = fcntl(pair[1].v, F_DUPFD_CLOEXEC, 0);
	copies[n_copies++].v = fcntl(pair[0].v, F_DUPFD_CLOEXEC, 0);
	fellows_line(&fs, worker, pair);
	ck_assert(!fd_is_open(pair[0]) && !fd_is_open(pair[1]));
	chan_init(ret, &its, ROLE_WORKER, ROLE_WORKER);
}

static void start(void)
{
	struct gate *g[GATE_DIRECTIONS];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	struct fd fd = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	r = rig_new(WORLD, NULL);
	world = tcp_kernel;
	world.dialled = dialled;
	tcp_world = &world;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(path_pod_here(&r->path, REF, "t", "p", false, g), 0);
	ck_assert_int_eq(bind(fd.v, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd.v, 64), 0);
	ck_assert_int_eq(getsockname(fd.v, (struct sockaddr *)&a, &n), 0);
	r->port = ntohs(a.sin_port);
	ck_assert_int_eq(listeners_add_pod(&r->listeners, &fd, g[GATE_OUT]), 0);
	fellows_init(&fs, &r->listeners, &loop);
	board = mmap(NULL, board_bytes(OTHER + 1), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	fs.board = board;
	fs.slots = OTHER + 1;
	line(OTHER, &theirs);
	fellows_home(&fs, REF, OTHER);
}

static void finish(void)
{
	fellows_drain(&fs);
	chan_fini(&theirs);
	while (n_copies)
		fd_close(&copies[--n_copies]);
	path_pod_gone(&r->path, REF);
	listeners_drop(&r->listeners, LISTENER_OF_POD, REF);
	rig_until_quiet(r);
	rig_end(&r, -1, -1);
	loop_fini(&loop);
	munmap(board, board_bytes(OTHER + 1));
	tcp_world = &tcp_kernel;
}

static uint64_t counted(enum worker_counter c)
{
	return board_get(&r->path.mine->c[c]);
}

/* What has come from it; MSG_NONE: nothing. */
static enum msg_type hear(const struct msg **m)
{
	int n = chan_recv(&theirs, m);

	ck_assert_int_ge(n, 0);
	return n ? (*m)->type : MSG_NONE;
}

static void nothing_comes(void)
{
	const struct msg *m;

	ck_assert_int_eq(hear(&m), MSG_NONE);
}

/* A connection that was passed, and is the fellow's now. */
static struct fd passed(bool returned)
{
	const struct msg *m;
	const struct msg_conn_passed *p;

	ck_assert_int_eq(hear(&m), MSG_CONN_PASSED);
	p = m->p;
	ck_assert_uint_eq(p->ref % REF, 0);
	ck_assert_uint_eq(p->direction, GATE_OUT);
	ck_assert_uint_eq(p->returned, returned);
	return fd_take(&((struct msg *)(uintptr_t)m)->fd[0]);
}

static int dial(void)
{
	int c = rig_dial(r);

	rig_until_quiet(r);
	return c;
}

static void look(void)
{
	loop_once(&loop);
	rig_until_quiet(r);
}

START_TEST(only_who_has_more_by_a_margin_is_the_fuller_one)
{
	static const struct { uint64_t mine, theirs; uint32_t surplus; } of[] = {
		{ 0, 0, 0 }, { 16, 0, 0 }, { 17, 0, 1 }, { 17, 1, 0 }, { 100, 100, 0 }, { 125 + 16, 100, 0 },
		{ 126 + 16, 100, 1 }, { 400, 0, 308 }, { 400, 400, 0 }, { 0, 400, 0 }, { UINT64_MAX, 0, 0 },
	};

	for (size_t i = 0; i < countof(of); i++)
		ck_assert_uint_eq(fellow_surplus(of[i].mine, of[i].theirs), of[i].surplus);
	/* So many go, and then nobody is. */
	for (uint64_t mine = 0; mine < 500; mine += 7)
		for (uint64_t other = 0; other < 500; other += 11)
			ck_assert_uint_eq(fellow_surplus(mine, other + fellow_surplus(mine, other)), 0);
}
END_TEST

START_TEST(who_is_fuller_passes_on_and_who_is_not_keeps)
{
	struct fd it;
	int c;

	start();
	counts(100, 100);
	ck_assert_ptr_null(r->listeners.pass);	/* nothing is asked when a connection comes */
	close(dial());
	nothing_comes();
	ck_assert_uint_eq(r->path.conns.live, 1);	/* its other half is open, and waits */
	counts(MANY, 100);
	c = dial();
	it = passed(false);
	ck_assert_uint_eq(r->path.conns.live, 1);
	ck_assert_uint_eq(counted(WC_passed), 1);
	/* It is whole where it is now, and nowhere else. */
	ck_assert_int_eq(send(it.v, "there", 5, 0), 5);
	rig_hear(r, c, "there");
	fd_close(&it);
	rig_hear_end(r, c);
	close(c);
	/* No more than it has too few. */
	counts(17, 0);
	c = dial();
	it = passed(false);
	fd_close(&it);
	close(c);
	close(dial());
	nothing_comes();
	/* None of a pod that nobody else is at home with. */
	counts(MANY, 0);
	fellows_home(&fs, REF, NO_FELLOW);
	close(dial());
	nothing_comes();
	/* None to who does not pass its loop. */
	fellows_home(&fs, REF, OTHER);
	board_set(&board->worker[OTHER].c[WC_beat_ms_gauge],
		  (uint64_t)(clock_tick().ns / NS_PER_MS) - FELLOW_SILENT_MS - 1);
	fellows_tick(&fs);
	close(dial());
	nothing_comes();
	ck_assert_uint_eq(counted(WC_passed), 2);
	finish();
}
END_TEST

enum unread { AT_TICK, OTHER_HOME, OTHER_LINE, IT_CLOSES, WE_DRAIN, UNREADS };

static void leave_unread(enum unread how, struct chan *newer)
{
	switch (how) {
	case AT_TICK:
		counts(MANY, 0);
		break;
	case OTHER_HOME:
		fellows_home(&fs, REF, OTHER);	/* says nothing new */
		ck_assert(fs.at[0].unread);
		fellows_home(&fs, REF, OTHER + 1);
		break;
	case OTHER_LINE:
		line(OTHER, newer);
		break;
	case IT_CLOSES:
		chan_finish(&theirs);
		chan_finish(&fs.at[0].here);	/* it has that end, too */
		look();
		ck_assert(!fs.at[0].is_open);
		break;
	default:
		fellows_drain(&fs);
		break;
	}
}

START_TEST(what_is_not_read_is_begun_where_it_was_accepted)
{
	for (enum unread how = 0; how < UNREADS; how++) {
		const struct msg *m;
		struct chan newer;
		unsigned waits;
		int c[CHAN_SHORT + 4];
		struct fd it;

		start();
		counts(MANY, 0);
		for (size_t k = 0; k < countof(c); k++)
			c[k] = rig_dial(r);
		rig_until_quiet(r);
		/* What waits for it is bounded, whatever it may have. */
		waits = (unsigned)countof(c) - r->path.conns.live;
		ck_assert_uint_ge(waits, 2);
		ck_assert_uint_le(waits, CHAN_SHORT);
		ck_assert_uint_eq(counted(WC_passed), waits);
		it = passed(false);	/* this one it has read: it is its own */
		leave_unread(how, &newer);
		rig_until_quiet(r);
		ck_assert_uint_eq(r->path.conns.live, countof(c) - 1);
		ck_assert_uint_eq(counted(WC_passed_back), waits - 1);
		ck_assert_int_eq(chan_recv(&theirs, &m), how == AT_TICK || how == OTHER_HOME ? 0 : -EPIPE);
		for (size_t k = 0; k < countof(c); k++)
			close(c[k]);
		fd_close(&it);
		rig_until_quiet(r);
		if (how == AT_TICK) {	/* until the next one it is passed nothing */
			close(dial());
			nothing_comes();
			counts(MANY, 0);
			close(dial());
			it = passed(false);
			fd_close(&it);
		} else if (how == OTHER_LINE) {
			chan_fini(&newer);
		}
		finish();
	}
}
END_TEST

/* A caller's connection as a fellow accepts it: *ret_caller is its other end. */
static struct fd accepted(int *ret_caller)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct fd fd;

	ck_assert_int_eq(bind(l, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(l, 1), 0);
	ck_assert_int_eq(getsockname(l, (struct sockaddr *)&a, &n), 0);
	*ret_caller = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert(connect(*ret_caller, (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS);
	fd.v = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(fd.v, 0);
	close(l);
	return fd;
}

static void give(uint32_t ref, bool returned, struct fd fd)
{
	struct msg_conn_passed p = { .ref = ref, .direction = GATE_OUT, .returned = returned };

	ck_assert_int_eq(chan_try(&theirs, MSG_CONN_PASSED, &p, &fd.v, 1), 0);
	fd_close(&fd);
	look();
}

START_TEST(what_comes_from_a_fellow_is_begun_and_never_passed_on)
{
	int c, back;

	start();
	counts(MANY, 0);		/* it would be passed, had it been accepted here */
	give(REF, false, accepted(&c));
	nothing_comes();
	ck_assert_uint_eq(r->path.conns.live, 1);
	ck_assert_uint_eq(counted(WC_taken), 1);
	ck_assert_uint_eq(counted(WC_accepted), 0);
	/* Nor what it gives back, of ours. */
	give(REF, true, accepted(&back));
	nothing_comes();
	ck_assert_uint_eq(r->path.conns.live, 2);
	ck_assert_uint_eq(counted(WC_passed_back), 1);
	ck_assert_uint_eq(counted(WC_taken), 1);
	close(c);
	close(back);
	/* It had no room: it is passed nothing until the next tick. */
	close(dial());
	nothing_comes();
	rig_until_quiet(r);
	finish();
}
END_TEST

enum no_room { NOT_HEARD_YET, NOT_WITH_IT, TENANT_FULL, NO_DESCRIPTORS, NO_MEMORY, NO_ROOMS };

static void take_room(enum no_room why)
{
	struct path *p = &r->path;

	switch (why) {
	case NOT_WITH_IT:
		fellows_home(&fs, REF, OTHER + 1);
		break;
	case TENANT_FULL:
		p->pod[REF][GATE_OUT]->tenant->conns_max = 0;
		break;
	case NO_DESCRIPTORS:
		p->fds.limit = path_fds_used(p) + p->fds.reserve - 1;
		break;
	case NO_MEMORY:
		p->grade = GRADE_refuse;
		break;
	default:
		break;
	}
}

START_TEST(what_there_is_no_room_for_goes_back_once)
{
	for (enum no_room why = 0; why < NO_ROOMS; why++) {
		uint32_t ref = why == NOT_HEARD_YET ? 2 * REF : REF;
		struct fd it;
		char b;
		int c;

		start();
		take_room(why);
		give(ref, false, accepted(&c));
		it = passed(true);
		ck_assert_uint_eq(r->path.conns.live, 0);
		ck_assert_uint_eq(counted(WC_taken), 0);
		ck_assert_int_eq(recv(c, &b, 1, MSG_DONTWAIT), -1);
		ck_assert_int_eq(errno, EAGAIN);	/* its caller sees nothing of that */
		/* Given back to who does not know it any more, or has no room either: that is its end, unless
		 * there is some after all. */
		give(ref, true, it);
		nothing_comes();
		if (why != NO_MEMORY)
			rig_hear_cut(r, c);
		ck_assert_uint_eq(r->path.conns.live, why == NO_MEMORY);
		ck_assert_uint_eq(counted(WC_passed_lost), why <= NOT_WITH_IT);
		ck_assert(fs.at[0].is_open);
		close(c);
		finish();
	}
}
END_TEST

enum hostile { NO_SOCKET, UNIX_SOCKET, UDP_SOCKET, LISTENER, BLOCKS, NO_DIRECTION, NO_DESCRIPTOR, TOO_SHORT,
	       OTHER_WORDS, AS_IF_OURS, HOSTILE };

static void attack(enum hostile h)
{
	struct msg_conn_passed p = { .ref = REF, .direction = h == NO_DIRECTION ? GATE_DIRECTIONS : GATE_OUT };
	struct { struct msg_head head; struct msg_conn_passed p; } raw = { { .type = MSG_CONN_PASSED }, p };
	struct fd fd = FD_NONE, twin = FD_NONE;
	int sp[2], c = -1;

	switch (h) {
	case NO_SOCKET:
	case AS_IF_OURS:
		fd.v = open("/dev/null", O_RDWR | O_NONBLOCK | O_CLOEXEC);
		break;
	case UNIX_SOCKET:
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sp), 0);
		fd.v = sp[0];
		twin.v = sp[1];
		break;
	case UDP_SOCKET:
		fd.v = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		break;
	case LISTENER:
		fd.v = fcntl(r->listeners.at[0].fd.v, F_DUPFD_CLOEXEC, 0);
		break;
	case NO_DESCRIPTOR:
		ck_assert_int_eq(send(theirs.fd.v, &raw, sizeof raw, 0), sizeof raw);
		return;
	case TOO_SHORT:
		ck_assert_int_eq(send(theirs.fd.v, &raw, sizeof raw - 1, 0), sizeof raw - 1);
		return;
	case OTHER_WORDS:
		raw.head.type = MSG_STOP;
		ck_assert_int_eq(send(theirs.fd.v, &raw, sizeof raw.head + sizeof(struct msg_empty), 0),
				 sizeof raw.head + sizeof(struct msg_empty));
		return;
	default:
		fd = accepted(&c);
		break;
	}
	if (h == BLOCKS)
		ck_assert_int_eq(fcntl(fd.v, F_SETFL, 0), 0);
	if (h == AS_IF_OURS) {		/* it has our end, too: where we would read back what we had sent */
		ck_assert_int_eq(chan_try(&fs.at[0].here, MSG_CONN_PASSED, &p, &fd.v, 1), 0);
		fs.at[0].unread = true;
		fellows_tick(&fs);
	} else {
		ck_assert_int_eq(chan_try(&theirs, MSG_CONN_PASSED, &p, &fd.v, 1), 0);
	}
	fd_close(&fd);
	fd_close(&twin);
	if (c >= 0)
		close(c);
}

START_TEST(whatever_else_comes_ends_the_line_and_nothing_more)
{
	for (enum hostile h = 0; h < HOSTILE; h++) {
		const struct msg *m;
		int c;

		start();
		attack(h);
		look();
		ck_assert(!fs.at[0].is_open);
		ck_assert_int_eq(chan_recv(&theirs, &m), -EPIPE);
		ck_assert_uint_eq(r->path.conns.live, 0);
		/* Callers are served as before. */
		counts(MANY, 0);
		c = rig_dial(r);
		rig_until_quiet(r);
		ck_assert_uint_eq(r->path.conns.live, 1);
		close(c);
		rig_until_quiet(r);
		finish();
	}
}
END_TEST

/* As a new master has it: the fellow may hear of the newer one later. */
START_TEST(of_two_lines_to_a_fellow_the_newer_one_counts)
{
	struct chan newer;
	struct fd it;
	int c, b;

	start();
	counts(MANY, 0);
	c = dial();			/* by the older one, unread */
	{
		struct msg_conn_passed p = { .ref = REF, .direction = GATE_OUT };

		it = accepted(&b);	/* by the older one, and we have not looked */
		ck_assert_int_eq(chan_try(&theirs, MSG_CONN_PASSED, &p, &it.v, 1), 0);
		fd_close(&it);
		line(OTHER, &newer);
		ck_assert_int_eq(chan_try(&theirs, MSG_CONN_PASSED, &p, &theirs.fd.v, 1), -EPIPE);
	}
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.conns.live, 2);
	ck_assert_uint_eq(counted(WC_passed_back), 1);
	ck_assert_uint_eq(counted(WC_taken), 1);
	close(c);
	close(b);
	chan_fini(&theirs);
	theirs = newer;
	list_init(&theirs.queue);
	counts(MANY, 0);
	c = dial();
	it = passed(false);
	fd_close(&it);
	close(c);
	rig_until_quiet(r);
	finish();
}
END_TEST

static bool find_line(uint32_t worker)
{
	for (unsigned i = 0; i < FELLOWS; i++)
		if (fs.at[i].is_open && fs.at[i].worker == worker)
			return true;
	return false;
}

/* Lines to those that are not there any more make room. */
START_TEST(there_is_a_line_to_each_of_many_fellows_one_after_the_other)
{
	struct chan its[3 * FELLOWS];
	uint32_t fds;

	start();
	munmap(board, board_bytes(OTHER + 1));
	board = mmap(NULL, board_bytes(3 * FELLOWS), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	fs.board = board;
	fs.slots = 3 * FELLOWS;
	fds = path_fds_used(&r->path);	/* with the first */
	for (uint32_t w = OTHER + 1; w < 3 * FELLOWS; w++)
		line(w, &its[w]);
	ck_assert_uint_eq(path_fds_used(&r->path), fds + 2 * (FELLOWS - 1));
	for (uint32_t w = OTHER + 1; w < 3 * FELLOWS; w++) {
		const struct msg *m;

		ck_assert_int_eq(chan_recv(&its[w], &m), find_line(w) ? 0 : -EPIPE);
		chan_fini(&its[w]);
	}
	for (unsigned i = 0; i < FELLOWS; i++)
		ck_assert(fs.at[i].is_open);
	ck_assert(find_line(3 * FELLOWS - 1));
	finish();
}
END_TEST

UNIT_TESTS("fellows",
	   only_who_has_more_by_a_margin_is_the_fuller_one, who_is_fuller_passes_on_and_who_is_not_keeps,
	   what_is_not_read_is_begun_where_it_was_accepted,
	   what_comes_from_a_fellow_is_begun_and_never_passed_on, what_there_is_no_room_for_goes_back_once,
	   whatever_else_comes_ends_the_line_and_nothing_more, of_two_lines_to_a_fellow_the_newer_one_counts,
	   there_is_a_line_to_each_of_many_fellows_one_after_the_other)
