/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Listening sockets: pauses, a full stop, and where a caller wanted to go. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define GET	 "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static int fail_with, fail_times = INT_MAX;

static int failing_accept(int listener, struct stream *ret, struct addr *peer)
{
	return fail_with && fail_times-- > 0 ? fail_with : tcp_kernel.accept(listener, ret, peer);
}

static struct tcp_world failing;

static void use_failing(void)
{
	failing = tcp_kernel;
	failing.accept = failing_accept;
	tcp_world = &failing;
}

static void serve(struct rig *r, int c)
{
	int b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear_head(r, c);
	rig_hear(r, c, "hi");
	close(b);
	close(c);
}

START_TEST(a_listener_that_was_paused_for_want_of_memory_accepts_again)
{
	static const int errors[] = { -ENOBUFS, -ENOMEM };

	for (size_t i = 0; i < countof(errors); i++) {
		struct rig *r = rig_new(ONE_HTTP, NULL);
		int c;

		use_failing();
		fail_with = errors[i];
		c = rig_dial(r);
		rig_until_quiet(r);
		ck_assert(r->listeners.at[0].paused);
		/* still none: it stays paused, and does not spin */
		listeners_resume(&r->listeners);
		rig_until_quiet(r);
		ck_assert(r->listeners.at[0].paused);
		fail_with = 0;
		listeners_resume(&r->listeners);
		serve(r, c);
		ck_assert(!r->listeners.at[0].paused);
		tcp_world = &tcp_kernel;
		rig_must_be_empty(r);
		rig_free(&r);
	}
}
END_TEST

START_TEST(at_the_last_descriptor_a_caller_is_refused_and_not_left_waiting)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r);

	use_failing();
	fail_with = -EMFILE;
	fail_times = 1;			/* then the spare one is free */
	ck_assert_int_eq(send(c, GET, strlen(GET), MSG_NOSIGNAL), (ssize_t)strlen(GET));
	rig_hear(r, c, "HTTP/1.1 503 Service Unavailable\r\n");
	close(c);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_NO_DESCRIPTORS]), 1);
	ck_assert(fd_is_open(r->listeners.spare));
	/* When even that does not help it waits instead of spinning. */
	fail_times = INT_MAX;
	c = rig_dial(r);
	rig_until_quiet(r);
	ck_assert(r->listeners.at[0].paused);
	fail_with = 0;
	listeners_resume(&r->listeners);
	serve(r, c);
	tcp_world = &tcp_kernel;
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

/* Nobody accepts for a moment: callers queue.  Then the stop. */
START_TEST(at_a_full_stop_those_who_are_queued_are_served)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c[20], late, b;
	struct tcp_info info;
	socklen_t n = sizeof info;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(r->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	for (int i = 0; i < 20; i++) {
		c[i] = rig_dial(r);
		ck_assert_int_eq(send(c[i], GET, strlen(GET), MSG_NOSIGNAL), (ssize_t)strlen(GET));
	}
	for (unsigned i = 0; i < LISTENERS_MAX; i++)
		if (fd_is_open(r->listeners.at[i].fd))
			ck_assert_int_eq(tcp_listener_hush(r->listeners.at[i].fd.v), 0);
	path_drain(&r->path);
	/* Who comes now is not answered, so he may find our successor. */
	late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert(connect(late, (struct sockaddr *)&a, sizeof a) < 0 && errno == EINPROGRESS);
	listeners_close(&r->listeners);
	ck_assert_uint_eq(r->listeners.n, 0);
	ck_assert_int_eq(getsockopt(late, IPPROTO_TCP, TCP_INFO, &info, &n), 0);
	ck_assert_int_eq(info.tcpi_state, TCP_SYN_SENT);
	ck_assert_uint_eq(r->path.conns.live, 20);
	for (int i = 0; i < 20; i++) {
		b = rig_accept(r, 1);
		rig_hear_head(r, b);
		rig_say(r, b, OK2);
		close(b);
	}
	for (int i = 0; i < 20; i++) {
		ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c[i]), "Connection: close\r\n"));
		rig_hear(r, c[i], "hi");
		rig_hear_end(r, c[i]);
		close(c[i]);
	}
	close(late);
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

START_TEST(a_listener_that_is_sent_again_replaces_itself)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct fd again = { fcntl(r->listeners.at[0].fd.v, F_DUPFD_CLOEXEC, 0) };
	uint32_t fds = path_fds_used(&r->path);

	ck_assert_int_eq(listeners_add(&r->listeners, &again, 0, 0), 0);
	ck_assert_uint_eq(r->listeners.n, 1);
	ck_assert_uint_eq(path_fds_used(&r->path), fds);
	serve(r, rig_dial(r));
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

/* ---- where a caller wanted to go ---- */

static void by_original(struct knobs *k)
{
	k->listener[0].route = LISTEN_ORIGINAL;
}

static struct addr wanted;

static int fake_dialled(const struct stream *s, struct addr *ret)
{
	(void)s;
	*ret = wanted;
	return 0;
}

START_TEST(the_address_that_was_dialled_chooses_the_service)
{
	static const char world[] = "service t/one vip=10.96.0.1 port=80/main/http\n"
				    "endpoint t/one:main $1\n"
				    "service t/two vip=10.96.0.2 port=80/main/http port=81/raw/tcp\n"
				    "endpoint t/two:main $2\nendpoint t/two:raw $3\n";
	struct rig *r = rig_new(world, by_original);
	int c, b;

	failing = tcp_kernel;
	failing.dialled = fake_dialled;
	tcp_world = &failing;
	for (int i = 1; i <= 2; i++) {
		wanted = (struct addr){ .ip = { 10, 96, 0, (uint8_t)i }, .port = 80, .family = 4 };
		c = rig_dial(r);
		rig_say(r, c, GET);
		b = rig_accept(r, i);
		rig_hear_head(r, b);
		rig_say(r, b, OK2);
		rig_hear(r, c, OK2);
		rig_log(r, i == 1 ? "service=t/one:80 status=200" : "service=t/two:80 status=200");
		close(c);
		close(b);
	}
	/* the port too, and with it the protocol */
	wanted.port = 81;
	c = rig_dial(r);
	b = rig_accept(r, 3);
	rig_say(r, b, "220 hello\r\n");
	rig_hear(r, c, "220 hello\r\n");
	close(b);
	close(c);
	rig_log(r, "service=t/two:81");
	/* nobody's address */
	wanted.ip[3] = 9;
	c = rig_dial(r);
	rig_say(r, c, GET);
	rig_hear(r, c, "HTTP/1.1 404 Not Found\r\n");
	rig_log(r, "reason=NO_SERVICE");
	close(c);
	tcp_world = &tcp_kernel;
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

/* Without a redirect the socket's own address is what was dialled. */
START_TEST(without_a_redirect_it_is_the_sockets_own_address)
{
	struct rig *r = rig_new(NULL, by_original);
	char world[200];

	snprintf(world, sizeof world, "service t/s vip=127.0.0.1 port=%u/main/http\n"
		 "endpoint t/s:main $1\n", r->port);
	rig_view(r, world);
	serve(r, rig_dial(r));
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

UNIT_TESTS("listen",
	   a_listener_that_was_paused_for_want_of_memory_accepts_again,
	   at_the_last_descriptor_a_caller_is_refused_and_not_left_waiting,
	   at_a_full_stop_those_who_are_queued_are_served,
	   a_listener_that_is_sent_again_replaces_itself,
	   the_address_that_was_dialled_chooses_the_service,
	   without_a_redirect_it_is_the_sockets_own_address)
