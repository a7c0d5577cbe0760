/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What comes to a pod, whose address its application is shown, and who goes straight to it.  The pods are
 * on this host: sockets "inside" are ours, and every address of 127/8 may be shown. */
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/net/tcp.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/codec/proxyproto.h"
#include "workers/path/pods.h"

#define REF    (5 * BANKS + 3)
#define OTHER  (5 * BANKS + 4)
#define CALLER "127.0.0.9"

static struct tcp_world world;
static uint16_t to;	/* what callers of the rig dial: on 127.0.0.1; or the Service's */
static bool outward;

static int dialled(const struct stream *s, struct addr *ret)
{
	(void)s;
	*ret = (struct addr){ .family = 4, .port = to, .ip = { 127, 0, 0, 1 } };
	if (outward)
		*ret = (struct addr){ .family = 4, .port = 80, .ip = { 10, 96, 0, 1 } };
	return 0;
}

static uint32_t wanted;	/* in whose bank something was missed last */

static void want(uint32_t ref, const uint16_t n[BANK_SORTS])
{
	(void)n;
	wanted = ref;
}

static void told(struct rig *r, enum ns_mode_value origin)
{
	struct resident_told t = { .ref = REF, .origin = (uint8_t)origin, .name = "p", .ns = "t" };

	ck_assert_int_eq(residents_here(&r->path, &t), 0);
}

static struct rig *start_with(const char *view, enum gate_direction d, enum ns_mode_value origin)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct rig *r = rig_new(view, NULL);
	struct fd fd = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	struct gate *g[GATE_DIRECTIONS];
	socklen_t n = sizeof a;

	world = tcp_kernel;
	world.dialled = dialled;
	tcp_world = &world;
	to = r->back_port[0];
	outward = d == GATE_OUT;
	r->path.banks.want = want;
	told(r, origin);
	ck_assert_int_eq(path_pod_here(&r->path, REF, "t", "p", false, g), 0);
	ck_assert_int_eq(bind(fd.v, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd.v, 16), 0);
	ck_assert_int_eq(getsockname(fd.v, (struct sockaddr *)&a, &n), 0);
	r->port = ntohs(a.sin_port);
	ck_assert_int_eq(listeners_add_pod(&r->listeners, &fd, g[d]), 0);
	return r;
}

static struct rig *start(enum ns_mode_value origin)
{
	return start_with("namespace t\n", GATE_IN, origin);
}

static void finish(struct rig **r, int caller, int back)
{
	path_pod_gone(&(*r)->path, REF);
	listeners_drop(&(*r)->listeners, LISTENER_OF_POD, REF);
	rig_end(r, caller, back);
	tcp_world = &tcp_kernel;
}

/* From CALLER, to the pod. */
static int call(struct rig *r, uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct fd inside = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	socklen_t n = sizeof a;
	int c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	path_pod_bank(&r->path, REF, bank_sort(4, false), &inside, 1);
	ck_assert_int_eq(inet_pton(AF_INET, CALLER, &a.sin_addr), 1);
	ck_assert_int_eq(bind(c, (struct sockaddr *)&a, sizeof a), 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons(r->port);
	(void)!connect(c, (struct sockaddr *)&a, sizeof a);
	ck_assert_int_eq(getsockname(c, (struct sockaddr *)&a, &n), 0);
	*ret_port = ntohs(a.sin_port);
	return c;
}

/* The application is there; its caller's address. */
static int accept_from(struct rig *r, const char *ip)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	char text[INET_ADDRSTRLEN];
	int fd = rig_accept(r, 1);

	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&a, &n), 0);
	ck_assert_str_eq(inet_ntop(AF_INET, &a.sin_addr, text, sizeof text), ip);
	return fd;
}

START_TEST(an_application_sees_its_caller_or_the_pod)
{
	for (int own = 0; own < 2; own++) {
		struct rig *r = start(own ? MODE_OWN : MODE_PRESERVE);
		uint16_t port;
		int c = call(r, &port), b = accept_from(r, own ? "127.0.0.1" : CALLER);

		rig_say(r, c, "up");
		rig_hear(r, b, "up");
		rig_say(r, b, "down");
		rig_hear(r, c, "down");
		finish(&r, c, b);
	}
}
END_TEST

START_TEST(an_application_is_told_its_caller_before_the_first_byte)
{
	struct rig *r = start(MODE_PROXY_PROTOCOL);
	uint8_t header[PROXYPROTO_TOLD];
	struct proxied said;
	uint16_t port;
	int c = call(r, &port), b = accept_from(r, "127.0.0.1");

	rig_say(r, c, "up");
	for (size_t n = 0; n < 28; ) {
		ssize_t k = recv(b, header + n, 28 - n, 0);

		n += k > 0 ? (size_t)k : 0;
		rig_pass(r);
	}
	ck_assert_int_eq(proxyproto(slice_of(header, 28), &said), 1);
	ck_assert_uint_eq(said.bytes, 28);
	ck_assert_int_eq(said.from.ip[3], 9);
	ck_assert_uint_eq(said.from.port, port);
	ck_assert_int_eq(said.to.ip[3], 1);
	ck_assert_uint_eq(said.to.port, to);
	rig_hear(r, b, "up");
	finish(&r, c, b);
}
END_TEST

START_TEST(who_showed_its_caller_is_cut_when_it_has_had_its_time)
{
	struct rig *r = start(MODE_PRESERVE);
	uint16_t port;
	int c = call(r, &port), b = accept_from(r, CALLER), d, e;

	told(r, MODE_PRESERVE);				/* the same again */
	ck_assert_uint_eq(r->path.residents.ending, 0);
	told(r, MODE_OWN);
	told(r, MODE_PRESERVE);				/* back in time */
	ck_assert_uint_eq(r->path.residents.ending, 0);
	r->knobs.drain_ms = 1000;
	told(r, MODE_OWN);
	d = call(r, &port);
	e = accept_from(r, "127.0.0.1");
	residents_tick(&r->path);
	rig_say(r, c, "up");
	rig_hear(r, b, "up");
	r->path.residents.at[REF % BANKS].bound_until = clock_now();
	residents_tick(&r->path);
	rig_hear_cut(r, c);
	rig_hear_cut(r, b);
	rig_log(r, "listener=in:p reason=ORIGIN_CHANGED");
	rig_say(r, d, "up");
	rig_hear(r, e, "up");
	ck_assert_uint_eq(r->path.residents.ending, 0);
	close(c);
	close(b);
	finish(&r, d, e);
}
END_TEST

#define SERVICE "service t/s vip=10.96.0.1 port=80/main/tcp\nendpoint t/s:main $1\n"

/* Another pod has the address of all endpoints here. */
static void lives_there(struct rig *r, uint32_t ref)
{
	struct addr at = { .family = 4, .ip = { 127, 0, 0, 1 } };
	struct resident_told t = { .ref = ref, .origin = MODE_PRESERVE, .name = "o", .ns = "u", .at = &at, .n = 1 };

	ck_assert_int_eq(residents_here(&r->path, &t), 0);
}

static void put(struct rig *r, uint32_t ref)
{
	struct fd inside = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	path_pod_bank(&r->path, ref, bank_sort(4, false), &inside, 1);
	fd_close(&inside);
}

static const struct gate *in_of(const struct rig *r, uint32_t ref)
{
	return r->path.pod[ref % BANKS][GATE_IN];
}

static void until_missed(struct rig *r, uint32_t ref)
{
	for (int i = 0; i < 100000 && wanted != ref; i++)
		rig_pass(r);
	ck_assert_uint_eq(wanted, ref);
}

START_TEST(a_pod_is_gone_to_straight_from_inside_it)
{
	struct rig *r = start_with(SERVICE, GATE_OUT, MODE_OWN);
	int c, b;

	lives_there(r, OTHER);
	c = rig_dial(r);
	rig_say(r, c, "up");
	until_missed(r, OTHER);
	put(r, OTHER);
	b = accept_from(r, "127.0.0.1");
	rig_hear(r, b, "up");
	ck_assert_uint_eq(in_of(r, OTHER)->conns, 1);
	rig_say(r, b, "down");
	rig_hear(r, c, "down");
	path_pod_gone(&r->path, OTHER);		/* what runs there ends with it */
	rig_hear_cut(r, b);
	rig_hear_cut(r, c);
	rig_log(r, "listener=out:p reason=BACK_CUT");
	finish(&r, c, b);
}
END_TEST

/* By its own socket, wherever that leads. */
START_TEST(who_is_not_to_go_straight_leaves_by_its_own_interface)
{
	for (int i = 0; i < 3; i++) {
		struct rig *r = start_with(i == 0 ? SERVICE "namespace t mode=same-host:veth\n" : SERVICE, GATE_OUT,
					   MODE_OWN);
		int c, b;

		lives_there(r, OTHER);
		if (i == 1)
			lives_there(r, OTHER + 1);	/* an address of two is nobody's */
		if (i == 2)
			path_pod_gone(&r->path, OTHER);
		wanted = 0;
		c = rig_dial(r);
		rig_say(r, c, "up");
		until_missed(r, REF);
		put(r, REF);
		b = rig_accept(r, 1);
		rig_hear(r, b, "up");
		path_pod_gone(&r->path, OTHER);
		path_pod_gone(&r->path, OTHER + 1);
		finish(&r, c, b);
	}
}
END_TEST

START_TEST(a_guest_counts_for_the_pod_it_comes_to_and_its_tenant)
{
	struct rig *r = start_with(SERVICE "namespace t tenant=t slot=1/1\nnamespace u tenant=u slot=2/1 connections=1\n",
				   GATE_OUT, MODE_OWN);
	int c, d, b;

	lives_there(r, OTHER);
	c = rig_dial(r);
	rig_say(r, c, "up");
	until_missed(r, OTHER);
	put(r, OTHER);
	b = rig_accept(r, 1);
	d = rig_dial(r);
	rig_say(r, d, "up");
	rig_hear_cut(r, d);
	rig_log(r, "listener=out:p reason=BACK_REFUSED");
	ck_assert_uint_eq(in_of(r, OTHER)->board->c[LC_refused], 1);
	ck_assert_uint_eq(in_of(r, OTHER)->board->c[LC_conns], 1);
	close(d);
	close(c);
	close(b);
	rig_until_quiet(r);
	ck_assert_uint_eq(in_of(r, OTHER)->conns, 0);
	path_pod_gone(&r->path, OTHER);
	finish(&r, -1, -1);
}
END_TEST

START_TEST(a_pod_that_goes_while_it_is_waited_for_is_an_endpoint_that_refuses)
{
	struct rig *r = start_with(SERVICE "endpoint t/s:main $2\n", GATE_OUT, MODE_OWN);
	struct pollfd p[2] = { { .fd = r->back_fd[0], .events = POLLIN }, { .fd = r->back_fd[1], .events = POLLIN } };
	int c, b;

	lives_there(r, OTHER);
	c = rig_dial(r);
	rig_say(r, c, "up");
	until_missed(r, OTHER);
	path_pod_gone(&r->path, OTHER);
	until_missed(r, REF);			/* the next one is elsewhere by now */
	put(r, REF);
	while (poll(p, 2, 0) == 0)
		rig_pass(r);
	b = rig_accept(r, p[0].revents ? 1 : 2);
	rig_hear(r, b, "up");
	finish(&r, c, b);
}
END_TEST

START_TEST(a_captured_pod_is_a_known_destination)
{
	struct rig *r = start_with("namespace t mode=unknown-destination:deny\n", GATE_OUT, MODE_OWN);
	struct gate *g = r->path.pod[REF % BANKS][GATE_OUT];
	struct addr at = { .family = 4, .ip = { 127, 0, 0, 1 }, .port = 9 };

	ck_assert(pod_denies(g, &at));
	lives_there(r, OTHER);
	ck_assert(!pod_denies(g, &at));
	at.ip[3] = 2;
	ck_assert(pod_denies(g, &at));
	path_pod_gone(&r->path, OTHER);
	finish(&r, -1, -1);
}
END_TEST

UNIT_TESTS("residents", a_pod_is_gone_to_straight_from_inside_it,
	   who_is_not_to_go_straight_leaves_by_its_own_interface, a_guest_counts_for_the_pod_it_comes_to_and_its_tenant,
	   a_pod_that_goes_while_it_is_waited_for_is_an_endpoint_that_refuses, a_captured_pod_is_a_known_destination,
	   an_application_sees_its_caller_or_the_pod, an_application_is_told_its_caller_before_the_first_byte,
	   who_showed_its_caller_is_cut_when_it_has_had_its_time)
