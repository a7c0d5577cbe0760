/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What leaves a pod for a Service: by which sockets, when there are none yet, and when the pod has
 * gone.  The pod is on this host: sockets "inside" are those of its address. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/net/proof.h"
#include "nodeproxy/lib/net/tcp.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/path/pods.h"

#define REF	(5 * BANKS + 3)
#define INSIDE	"127.0.0.2"
#define VIP	"10.96.0.1"
#define TO(app) "service t/s vip=" VIP " port=80/main/" app "\nendpoint t/s:main $1\n"
#define GET	"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static struct tcp_world world;
static unsigned asks;

static int dialled(const struct stream *s, struct addr *ret)
{
	(void)s;
	*ret = (struct addr){ .family = 4, .port = 80 };
	return inet_pton(AF_INET, VIP, ret->ip) == 1 ? 0 : -1;
}

static void want(uint32_t ref, const uint16_t n[BANK_SORTS])
{
	ck_assert_uint_eq(ref, REF);
	ck_assert_uint_gt(n[0], 0);
	asks++;
}

static struct fd listener(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	struct fd fd = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	ck_assert_int_eq(bind(fd.v, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd.v, 16), 0);
	ck_assert_int_eq(getsockname(fd.v, (struct sockaddr *)&a, &n), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* Callers of the rig are in the pod. */
static struct rig *start(const char *view, void (*change)(struct knobs *))
{
	struct rig *r = rig_new(view, change);
	struct gate *g[GATE_DIRECTIONS];

	asks = 0;
	world = tcp_kernel;
	world.dialled = dialled;
	tcp_world = &world;
	r->path.banks.want = want;
	ck_assert_int_eq(path_pod_here(&r->path, REF, "t", "p", false, g), 0);
	for (unsigned d = 0; d < GATE_DIRECTIONS; d++) {
		uint16_t port;
		struct fd fd = listener(&port);

		ck_assert_int_eq(listeners_add_pod(&r->listeners, &fd, g[d]), 0);
		if (d == GATE_OUT)
			r->port = port;
	}
	ck_assert_uint_eq(asks, 0);	/* nobody came yet */
	return r;
}

static void finish(struct rig **r, int caller, int back)
{
	path_pod_gone(&(*r)->path, REF);
	listeners_drop(&(*r)->listeners, LISTENER_OF_POD, REF);
	rig_end(r, caller, back);
	tcp_world = &tcp_kernel;
}

/* A socket inside comes. */
static void put(struct rig *r)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct fd fd = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	ck_assert_int_eq(inet_pton(AF_INET, INSIDE, &a.sin_addr), 1);
	ck_assert_int_eq(bind(fd.v, (struct sockaddr *)&a, sizeof a), 0);
	path_pod_bank(&r->path, REF, bank_sort(4, false), &fd, 1);
	ck_assert_int_lt(fd.v, 0);
}

/* Who calls that endpoint does so from inside. */
static int accept_inside(struct rig *r, int back)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	char text[INET_ADDRSTRLEN];
	int fd = rig_accept(r, back);

	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&a, &n), 0);
	ck_assert_str_eq(inet_ntop(AF_INET, &a.sin_addr, text, sizeof text), INSIDE);
	return fd;
}

static uint64_t connect_failures(const struct rig *r)
{
	return board_endpoint(r->board, 100u + r->back_port[0], 7)->connect_failures;
}

START_TEST(a_request_waits_for_a_socket_inside)
{
	struct rig *r = start(TO("http"), NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	ck_assert(rig_nobody_calls(r, 1));
	put(r);
	b = accept_inside(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK);
	rig_hear(r, c, OK);
	rig_log(r, "listener=out:p service=t/s:80 status=200 reason=DONE");
	finish(&r, c, b);
}
END_TEST

/* What an endpoint says that speaks HTTP/2: its settings, and 200 to the first request. */
static const uint8_t settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
static const uint8_t ok[] = { 0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88 };

START_TEST(a_trunk_waits_for_a_socket_inside_and_goes_with_the_pod)
{
	struct rig *r = start(TO("h2"), NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	ck_assert(rig_nobody_calls(r, 1));
	put(r);
	b = accept_inside(r, 1);
	rig_say_bytes(r, b, settings, sizeof settings);
	rig_until_quiet(r);
	rig_say_bytes(r, b, ok, sizeof ok);
	rig_hear_head(r, c);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.trunks.open, 1);	/* idle */
	path_pod_gone(&r->path, REF);
	rig_hear_cut(r, b);
	rig_hear_cut(r, c);
	finish(&r, c, b);
}
END_TEST

START_TEST(a_trunk_in_use_goes_with_the_pod)
{
	struct rig *r = start(TO("h2"), NULL);
	int c = rig_dial(r), b;

	put(r);
	rig_say(r, c, GET);
	b = accept_inside(r, 1);
	rig_say_bytes(r, b, settings, sizeof settings);
	rig_until_quiet(r);
	path_pod_gone(&r->path, REF);
	rig_hear_cut(r, c);
	rig_log(r, "reason=POD_GONE");
	rig_hear_cut(r, b);
	finish(&r, c, b);
}
END_TEST

static void soon(struct knobs *k)
{
	k->connect_ms = 20;
}

/* That no socket came is nobody's fault but ours, in whichever protocol the endpoint is spoken to. */
static void none_comes(const char *view)
{
	struct rig *r = start(view, soon);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 503 "));
	rig_log(r, "status=503 reason=NO_POD_SOCKET");
	ck_assert_uint_eq(connect_failures(r), 0);
	ck_assert(rig_nobody_calls(r, 1));
	finish(&r, c, -1);
}

START_TEST(a_socket_that_does_not_come_is_no_fault_of_the_endpoint)
{
	none_comes(TO("http"));
	none_comes(TO("h2"));
}
END_TEST

START_TEST(idle_connections_inside_go_with_the_pod)
{
	struct rig *r = start(TO("http"), NULL);
	int c = rig_dial(r), b;

	put(r);
	rig_say(r, c, GET);
	b = accept_inside(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK);
	rig_hear(r, c, OK);
	rig_until_quiet(r);
	path_pod_gone(&r->path, REF);
	rig_hear_cut(r, b);
	rig_hear_cut(r, c);
	finish(&r, c, b);
}
END_TEST

START_TEST(copies_go_out_by_sockets_inside_too)
{
	struct rig *r = start(TO("http") "service t/m port=80/main/http\nendpoint t/m:main $2\n"
					 "route t/r parent=t/s\nrule mirror=t/m:80 backend=t/s:80\n", NULL);
	int c = rig_dial(r), b, m;

	put(r);
	rig_say(r, c, GET);
	b = accept_inside(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK);
	rig_hear(r, c, OK);
	ck_assert(rig_nobody_calls(r, 2));
	put(r);
	m = accept_inside(r, 2);
	rig_hear_head(r, m);
	rig_say(r, m, OK);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.mirrors, 0);
	close(m);
	finish(&r, c, b);
}
END_TEST

#define DENIED "namespace t mode=unknown-destination:deny\nservice t/s port=80\nendpoint t/s 10.96.0.2:80\n"

START_TEST(an_unknown_destination_is_denied_http_in_its_own_words)
{
	struct rig *r = start(DENIED, NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 502 "));
	rig_log(r, "listener=out:p service=- status=502 reason=UNKNOWN_DESTINATION flag=UH");
	rig_hear_cut(r, c);
	close(c);
	c = rig_dial(r);
	rig_say(r, c, "\x16\x03\x01 not HTTP");
	rig_hear_cut(r, c);
	rig_log(r, "listener=out:p service=- status=0 reason=UNKNOWN_DESTINATION");
	finish(&r, c, -1);
}
END_TEST

static void soon_opaque(struct knobs *k)
{
	k->detect_ms = 20;
	k->connect_ms = 20;
}

START_TEST(who_says_nothing_to_an_unknown_destination_is_cut)
{
	struct rig *r = start(DENIED, soon_opaque);
	int c = rig_dial(r);

	rig_hear_cut(r, c);
	rig_log(r, "reason=UNKNOWN_DESTINATION");
	finish(&r, c, -1);
}
END_TEST

/* Some endpoint has the address, be it of another Service and port; or the namespace does not mind. */
START_TEST(known_addresses_and_all_of_others_pass)
{
	static const char *const views[] = {
		"namespace t mode=unknown-destination:deny\nservice t/s port=9\nendpoint t/s " VIP ":9\n",
		"namespace u mode=unknown-destination:deny\nnamespace t\n",
	};

	for (unsigned i = 0; i < countof(views); i++) {
		struct rig *r = start(views[i], soon_opaque);
		int c = rig_dial(r);

		rig_say(r, c, GET);
		rig_hear_cut(r, c);
		rig_log(r, "reason=NO_POD_SOCKET");	/* it was about to go there */
		finish(&r, c, -1);
	}
}
END_TEST

static const struct addr *other_dialled;
static unsigned proofs;

static int dialled_other(const struct stream *s, struct addr *ret)
{
	(void)s;
	*ret = *other_dialled;
	return 0;
}

static void proven(uint32_t ref, unsigned family, uint16_t token)
{
	ck_assert_uint_eq(ref, REF);
	ck_assert_uint_eq(family, other_dialled->family);
	ck_assert_uint_eq(token, other_dialled->port);
	proofs++;
}

static uint64_t listener_count(const struct rig *r, enum listener_counter which)
{
	return board_get(&r->path.pod[REF % BANKS][GATE_OUT]->board->c[which]);
}

START_TEST(what_proves_the_capture_is_told_and_is_nobodys_connection)
{
	struct addr proof4 = proof_addr(4, 4711), proof6 = proof_addr(6, 65535);
	struct rig *r = start(TO("tcp"), NULL);
	int c = -1;

	r->path.proven = proven;
	world.dialled = dialled_other;
	proofs = 0;
	for (unsigned i = 0; i < 4; i++) {
		other_dialled = i & 1 ? &proof6 : &proof4;
		c = rig_dial(r);
		rig_hear_end(r, c);
		close(c);
		ck_assert_uint_eq(proofs, i + 1);
	}
	ck_assert_uint_eq(listener_count(r, LC_conns), 0);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_accept_refused]), 0);
	c = rig_dial(r);		/* somebody in the pod guesses */
	rig_hear_cut(r, c);
	close(c);
	ck_assert_uint_eq(proofs, 4);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_OWN_PORT]), 1);
	ck_assert_uint_eq(r->path.conns.fresh, 0);	/* no slot was ever used */
	finish(&r, -1, -1);
}
END_TEST

UNIT_TESTS("pods", what_proves_the_capture_is_told_and_is_nobodys_connection,
	   an_unknown_destination_is_denied_http_in_its_own_words,
	   who_says_nothing_to_an_unknown_destination_is_cut, known_addresses_and_all_of_others_pass,
	   a_request_waits_for_a_socket_inside, a_trunk_waits_for_a_socket_inside_and_goes_with_the_pod,
	   a_trunk_in_use_goes_with_the_pod, a_socket_that_does_not_come_is_no_fault_of_the_endpoint,
	   idle_connections_inside_go_with_the_pod, copies_go_out_by_sockets_inside_too)
