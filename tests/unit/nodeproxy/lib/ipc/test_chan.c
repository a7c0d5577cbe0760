/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Channels and the message table: everybody may say what msg.def lets them say, nobody anything
 * else, and neither a full channel nor missing descriptors break it. */
#include "nodeproxy/lib/ipc/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/ipc/procs.h"
#include "tests/unit/test.h"

static void pair(struct chan *a, enum role ra, struct chan *b, enum role rb)
{
	struct fd fd[2];

	ck_assert_int_eq(chan_pair(fd), 0);
	chan_init(a, &fd[0], ra, rb);
	chan_init(b, &fd[1], rb, ra);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < 1024; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

START_TEST(every_row_is_heard_by_whom_it_is_for_and_by_nobody_else)
{
	static _Alignas(8) uint8_t bytes[CHAN_MAX_BYTES];
	unsigned allowed = 0;

	for (uint32_t t = 0; t < MSGS + 3; t++) {
		const struct msg_rule *rule = msg_rule(t);

		for (unsigned from = 0; from < ROLES; from++)
			for (unsigned to = 0; to < ROLES; to++) {
				struct msg m = { 0 };
				size_t n = sizeof(struct msg_head) + (rule ? rule->bytes : 0);
				bool may = rule && msg_may(rule, from, to);
				int r;

				memcpy(bytes, &(struct msg_head){ .type = t }, 8);
				r = msg_parse(bytes, n, rule ? rule->fds_min : 0, from, to, &m);
				ck_assert_int_eq(r, may ? 0 : -EPROTO);
				allowed += may;
			}
	}
	ck_assert_uint_gt(allowed, MSGS - 1);
	ck_assert_ptr_null(msg_rule(MSG_NONE));
}
END_TEST

START_TEST(wrong_lengths_and_descriptors_are_refused)
{
	static _Alignas(8) uint8_t bytes[CHAN_MAX_BYTES + 8];

	for (uint32_t t = 1; t < MSGS; t++) {
		const struct msg_rule *r = msg_rule(t);
		unsigned from = (unsigned)__builtin_ctz(r->from), to = (unsigned)__builtin_ctz(r->to);
		size_t n = sizeof(struct msg_head) + r->bytes;
		struct msg m;

		memcpy(bytes, &(struct msg_head){ .type = t }, 8);
		ck_assert_int_eq(msg_parse(bytes, n - 1, r->fds_min, from, to, &m), -EPROTO);
		ck_assert_int_eq(msg_parse(bytes, n + r->tail, r->fds_max, from, to, &m), 0);
		ck_assert_uint_eq(m.tail.n, r->tail);
		ck_assert_int_eq(msg_parse(bytes, n + r->tail + 1, r->fds_min, from, to, &m),
				 -EPROTO);
		ck_assert_int_eq(msg_parse(bytes, n, r->fds_max + 1, from, to, &m), -EPROTO);
		if (r->fds_min)
			ck_assert_int_eq(msg_parse(bytes, n, r->fds_min - 1, from, to, &m),
					 -EPROTO);
		for (size_t k = 0; k < sizeof(struct msg_head); k++)
			ck_assert_int_eq(msg_parse(bytes, k, 0, from, to, &m), -EPROTO);
		bytes[4] = 1;
		ck_assert_int_eq(msg_parse(bytes, n, r->fds_min, from, to, &m), -EPROTO);
		bytes[4] = 0;
	}
}
END_TEST

START_TEST(a_message_arrives_with_its_text_and_descriptors)
{
	struct chan m, s;
	const struct msg *got;
	struct msg_rev rev = { .rev = 7 };
	struct msg_refused why = { .rev = 9 };
	struct stat a, b;
	int f = memfd_create("x", MFD_CLOEXEC);
	unsigned before = open_fds();

	pair(&m, ROLE_MASTER, &s, ROLE_SYNCD);
	ck_assert_int_eq(chan_recv(&m, &got), 0);
	ck_assert_int_eq(chan_send(&s, MSG_SOURCES_MADE, &rev, (struct slice){ 0 }, &f, 1), 0);
	ck_assert_int_eq(chan_send(&m, MSG_VIEW_FAILED, &why, SLICE("all refused"), NULL, 0), 0);
	ck_assert_int_eq(chan_recv(&m, &got), 1);
	ck_assert_int_eq(got->type, MSG_SOURCES_MADE);
	ck_assert_uint_eq(((const struct msg_rev *)got->p)->rev, 7);
	ck_assert_uint_eq(got->nfds, 1);
	ck_assert_int_eq(fstat(f, &a), 0);
	ck_assert_int_eq(fstat(got->fd[0].v, &b), 0);
	ck_assert_uint_eq(a.st_ino, b.st_ino);
	ck_assert_int_eq(fcntl(got->fd[0].v, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(chan_recv(&s, &got), 1);
	ck_assert_int_eq(got->type, MSG_VIEW_FAILED);
	ck_assert(slice_eq(got->tail, SLICE("all refused")));
	ck_assert_int_eq(chan_recv(&m, &got), 0);	/* closes what was not taken */
	chan_fini(&m);
	ck_assert_int_eq(chan_recv(&s, &got), -EPIPE);
	ck_assert_int_eq(chan_say(&s, MSG_READY, &(struct msg_empty){ 0 }), -EPIPE);
	chan_fini(&s);
	ck_assert_uint_eq(open_fds(), before);
	close(f);
}
END_TEST

START_TEST(a_message_without_descriptors_has_none)
{
	struct chan m, w;
	const struct msg *got;

	/* Zeroed memory once stood for descriptor 0: a receiver that looked closed its standard input,
	 * and later whatever had that number next. */
	pair(&m, ROLE_MASTER, &w, ROLE_WORKER);
	ck_assert_int_eq(chan_say(&w, MSG_READY, &(struct msg_empty){ 0 }), 0);
	ck_assert_int_eq(chan_recv(&m, &got), 1);
	for (unsigned i = 0; i < CHAN_MAX_FDS; i++)
		ck_assert(!fd_is_open(got->fd[i]));
	chan_fini(&m);
	chan_fini(&w);
}
END_TEST

START_TEST(the_role_comes_from_the_channel_and_a_liar_is_refused)
{
	struct chan m, w;
	const struct msg *got;
	struct {
		struct msg_head head;
		struct msg_view view;
	} lie = { .head = { .type = MSG_VIEW_MADE } };

	pair(&m, ROLE_MASTER, &w, ROLE_WORKER);
	ck_assert_int_eq(send(w.fd.v, &lie, sizeof lie, 0), sizeof lie);
	ck_assert_int_eq(chan_recv(&m, &got), -EPROTO);
	ck_assert_uint_eq(m.refused, 1);
	chan_fini(&m);
	chan_fini(&w);
}
END_TEST

START_TEST(too_many_descriptors_are_closed_and_refused)
{
	struct chan m, s;
	const struct msg *got;
	struct {
		struct msg_head head;
		struct msg_rev rev;
	} b = { .head = { .type = MSG_SOURCES_MADE } };
	char room[CMSG_SPACE(200 * sizeof(int))];
	struct iovec iov = { &b, sizeof b };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
			    .msg_controllen = sizeof room };
	struct cmsghdr *c;
	unsigned before = open_fds();

	pair(&m, ROLE_MASTER, &s, ROLE_SYNCD);
	memset(room, 0, sizeof room);
	c = CMSG_FIRSTHDR(&h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(200 * sizeof(int));	/* all of them standard input */
	ck_assert_int_ge(sendmsg(s.fd.v, &h, 0), 0);
	ck_assert_int_eq(chan_recv(&m, &got), -EPROTO);
	chan_fini(&m);
	chan_fini(&s);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

START_TEST(descriptor_pressure_is_not_a_crime)
{
	struct chan m, s;
	const struct msg *got;
	struct msg_rev rev = { .rev = 1 };
	struct rlimit l, tight;
	int f = memfd_create("x", MFD_CLOEXEC);
	unsigned before;

	pair(&m, ROLE_MASTER, &s, ROLE_SYNCD);
	ck_assert_int_eq(chan_send(&s, MSG_SOURCES_MADE, &rev, (struct slice){ 0 }, &f, 1), 0);
	ck_assert_int_eq(chan_send(&s, MSG_SOURCES_MADE, &rev, (struct slice){ 0 }, &f, 1), 0);
	before = open_fds();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
	tight = l;
	tight.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	ck_assert_int_eq(chan_recv(&m, &got), -EMFILE);
	ck_assert_int_eq(got->type, MSG_SOURCES_MADE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
	ck_assert_uint_eq(open_fds(), before);
	ck_assert_int_eq(chan_recv(&m, &got), 1);
	chan_fini(&m);
	chan_fini(&s);
	close(f);
}
END_TEST

START_TEST(descriptor_pressure_excuses_nothing_else)
{
	static const struct {
		enum msg_type type;
		unsigned sent;
		int first;
	} rows[] = {
		{ MSG_READY, 1, -EPROTO },		/* may carry none */
		{ MSG_VIEW_ADOPTED, 1, -EPROTO },	/* another role's */
		{ MSG_VIEW_MADE, 1, -EMFILE },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct chan m, s;
		const struct msg *got;
		struct {
			struct msg_head head;
			uint8_t body[sizeof(struct msg_view)];
		} b = { .head = { .type = rows[i].type } };
		char room[CMSG_SPACE(sizeof(int))] = { 0 };
		struct iovec iov = { &b, sizeof b.head + msg_rule(rows[i].type)->bytes };
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
				    .msg_controllen = sizeof room };
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		struct rlimit l, tight;
		int r, times = 0;

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
		tight = l;
		tight.rlim_cur = 3;
		pair(&m, ROLE_MASTER, &s, ROLE_SYNCD);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
		do {
			ck_assert_int_ge(sendmsg(s.fd.v, &h, 0), 0);
			r = chan_recv(&m, &got);
			if (times == 0)
				ck_assert_int_eq(r, rows[i].first);
		} while (r != -EPROTO && ++times < 100000);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
		ck_assert_int_eq(r, -EPROTO);	/* nor does it excuse a flood */
		chan_fini(&m);
		chan_fini(&s);
	}
}
END_TEST

START_TEST(an_empty_datagram_is_not_taken_for_the_end)
{
	struct chan m, w;
	const struct msg *got;

	pair(&m, ROLE_MASTER, &w, ROLE_WORKER);
	ck_assert_int_eq(send(w.fd.v, "", 0, 0), 0);
	ck_assert_int_eq(chan_recv(&m, &got), -EPROTO);
	ck_assert_uint_eq(m.refused, 1);
	ck_assert_int_eq(chan_recv(&m, &got), 0);
	fd_close(&w.fd);
	ck_assert_int_eq(chan_recv(&m, &got), -EPIPE);
	chan_fini(&m);
	chan_fini(&w);
}
END_TEST

static void nothing(void *arg)
{
	(void)arg;
}

START_TEST(a_full_channel_queues_in_order_up_to_its_bound)
{
	struct chan m, w;
	struct loop loop;
	const struct msg *got;
	struct msg_ping ping = { 0 };
	uint64_t sent = 0, seen = 0;
	unsigned before = open_fds();
	int r;

	ck_assert_int_eq(loop_init(&loop), 0);
	pair(&m, ROLE_MASTER, &w, ROLE_WORKER);
	chan_watch(&m, &loop, nothing, NULL);
	for (;;) {
		ping.n = sent;
		r = chan_say(&m, MSG_PING, &ping);
		if (r < 0)
			break;
		sent++;
	}
	ck_assert_int_eq(r, -ENOBUFS);
	ck_assert_uint_eq(m.queued, CHAN_QUEUE);
	ck_assert_uint_gt(sent, CHAN_QUEUE);
	for (int pass = 0; pass < 1000 && seen < sent; pass++) {
		while (chan_recv(&w, &got) == 1) {
			ck_assert_uint_eq(((const struct msg_ping *)got->p)->n, seen);
			seen++;
		}
		loop_once(&loop);
	}
	ck_assert_uint_eq(seen, sent);
	ck_assert_uint_eq(m.queued, 0);
	chan_fini(&m);
	chan_fini(&w);
	loop_fini(&loop);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

START_TEST(queued_descriptors_survive_their_owner)
{
	struct chan m, w;
	const struct msg *got;
	struct msg_listen l = { 0 };
	unsigned before = open_fds();
	uint32_t seen = 0;
	bool wide;

	pair(&m, ROLE_MASTER, &w, ROLE_WORKER);
	for (uint32_t i = 0; i < 400; i++) {
		int f = memfd_create("x", MFD_CLOEXEC);

		l.listener = i;
		ck_assert_int_eq(chan_send(&m, MSG_LISTEN, &l, (struct slice){ 0 }, &f, 1), 0);
		close(f);
	}
	wide = m.queued > 0;
	ck_assert(wide);
	for (int pass = 0; pass < 1000 && seen < 400; pass++) {
		while (chan_recv(&w, &got) == 1) {
			ck_assert_uint_eq(((const struct msg_listen *)got->p)->listener, seen++);
			ck_assert_int_ge(fcntl(got->fd[0].v, F_GETFD), 0);
		}
		l.listener = 400;
		if (m.queued)		/* a send pushes what waits first */
			(void)chan_say(&m, MSG_PING, &(struct msg_ping){ 0 });
		else
			break;
		while (chan_recv(&w, &got) == 1)
			if (got->type == MSG_LISTEN)
				ck_assert_uint_eq(
					((const struct msg_listen *)got->p)->listener, seen++);
	}
	ck_assert_uint_eq(seen, 400);
	chan_fini(&m);
	chan_fini(&w);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

/* Both ends of the pair are in one process here; it is the same when two have both (workers/fellows.h). */
START_TEST(what_must_not_wait_is_refused_where_there_is_no_room)
{
	struct msg_conn_passed c = { 0 };
	struct fd end[2];
	struct chan a, b;
	const struct msg *got;
	unsigned before = open_fds(), sent = 0, seen = 0;

	ck_assert_int_eq(chan_pair_short(end), 0);
	chan_init(&a, &end[0], ROLE_WORKER, ROLE_WORKER);
	chan_init(&b, &end[1], ROLE_WORKER, ROLE_WORKER);
	while (chan_try(&a, MSG_CONN_PASSED, &c, &a.fd.v, 1) == 0)
		ck_assert_uint_le(++sent, CHAN_SHORT);
	ck_assert_uint_ge(sent, 2);
	ck_assert_int_eq(chan_try(&a, MSG_CONN_PASSED, &c, &a.fd.v, 1), -EAGAIN);
	ck_assert_uint_eq(a.queued, 0);
	ck_assert_int_eq(chan_recv(&b, &got), 1);
	ck_assert_int_eq(chan_try(&a, MSG_CONN_PASSED, &c, &a.fd.v, 1), 0);
	/* After the end of sending nothing is sent, and nothing that was is lost. */
	chan_finish(&a);
	chan_finish(&b);
	ck_assert_int_eq(chan_try(&a, MSG_CONN_PASSED, &c, &a.fd.v, 1), -EPIPE);
	ck_assert_int_eq(chan_try(&b, MSG_CONN_PASSED, &c, &a.fd.v, 1), -EPIPE);
	while (chan_recv(&b, &got) == 1)
		seen++;
	ck_assert_uint_eq(seen, sent);
	ck_assert_int_eq(chan_recv(&b, &got), -EPIPE);
	ck_assert_int_eq(chan_recv(&a, &got), -EPIPE);
	chan_fini(&a);
	chan_fini(&b);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

static int64_t sim_ns;
static int64_t sim_now(void)
{
	return sim_ns;
}

START_TEST(over_its_rate_is_dropped_far_over_is_refused)
{
	struct chan m, w;
	const struct msg *got;
	struct msg_ping pong = { 0 };
	unsigned kept = 0, dropped = 0;
	int r;

	sim_ns = NS_PER_S;
	clock_simulate(sim_now, NULL);
	pair(&m, ROLE_MASTER, &w, ROLE_WORKER);
	for (int i = 0; i < 150; i++) {
		ck_assert_int_eq(chan_say(&w, MSG_PONG, &pong), 0);
		r = chan_recv(&m, &got);
		kept += r == 1;
		dropped += r == -EAGAIN;
	}
	ck_assert_uint_eq(kept, 100);		/* the burst: twice the rate of 50 */
	ck_assert_uint_eq(dropped, 50);
	sim_ns += NS_PER_S;
	ck_assert_int_eq(chan_say(&w, MSG_PONG, &pong), 0);
	ck_assert_int_eq(chan_recv(&m, &got), 1);
	r = 0;
	for (int i = 0; i < 1000 && r != -EPROTO; i++) {
		ck_assert_int_eq(chan_say(&w, MSG_PONG, &pong), 0);
		r = chan_recv(&m, &got);
	}
	ck_assert_int_eq(r, -EPROTO);
	clock_simulate(NULL, NULL);
	chan_fini(&m);
	chan_fini(&w);
}
END_TEST

START_TEST(texts_must_end_and_be_printable)
{
	ck_assert(msg_text("abc", 4));
	ck_assert(msg_text("", 1));
	ck_assert(!msg_text("abc", 3));
	ck_assert(!msg_text("a\nc", 4));
	ck_assert(!msg_text("a\x80" "c", 4));
	ck_assert_str_eq(role_name(ROLE_SYNCD), "syncd");
	ck_assert_str_eq(role_name(99), "none");
	ck_assert_str_eq(msg_name(MSG_HELLO), "HELLO");
	ck_assert_uint_lt(strlen(msg_build()), MSG_BUILD_ID);
	ck_assert_ptr_nonnull(strstr(msg_build(), PACKAGE_VERSION));
}
END_TEST

START_TEST(a_procs_page_is_copied_whole_or_not_at_all)
{
	static struct procs shared, mine;

	ck_assert_int_eq(procs_copy(&shared, &mine), -EBADMSG);
	shared.magic = PROCS_MAGIC;
	shared.count = 2;
	ck_assert_int_eq(procs_copy(&shared, &mine), 0);
	ck_assert_uint_eq(mine.count, 2);
	shared.seq = 1;		/* a writer that died in the middle, or writes now */
	ck_assert_int_eq(procs_copy(&shared, &mine), -EAGAIN);
	shared.seq = 2;
	shared.count = PROCS_MAX + 1;
	ck_assert_int_eq(procs_copy(&shared, &mine), -EBADMSG);
	ck_assert_str_eq(proc_state_name(PROC_READY), "ready");
	ck_assert_str_eq(proc_state_name(77), "none");
	ck_assert_str_eq(proc_word(&(struct proc){ .state = PROC_STALLED, .fails = 9 }), "stalled");
	ck_assert_str_eq(proc_word(&(struct proc){ .state = PROC_WAITING, .fails = 2 }), "waiting");
	ck_assert_str_eq(proc_word(&(struct proc){ .state = PROC_WAITING, .fails = 3 }), "crash-loop");
}
END_TEST

UNIT_TESTS("ipc/chan", every_row_is_heard_by_whom_it_is_for_and_by_nobody_else,
	   wrong_lengths_and_descriptors_are_refused,
	   a_message_arrives_with_its_text_and_descriptors,
	   a_message_without_descriptors_has_none, the_role_comes_from_the_channel_and_a_liar_is_refused,
	   too_many_descriptors_are_closed_and_refused, descriptor_pressure_is_not_a_crime,
	   descriptor_pressure_excuses_nothing_else, an_empty_datagram_is_not_taken_for_the_end,
	   a_full_channel_queues_in_order_up_to_its_bound, queued_descriptors_survive_their_owner,
	   what_must_not_wait_is_refused_where_there_is_no_room,
	   over_its_rate_is_dropped_far_over_is_refused, texts_must_end_and_be_printable,
	   a_procs_page_is_copied_whole_or_not_at_all)
