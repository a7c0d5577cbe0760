/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Questions by TCP: in pieces, many at once, half of one, nonsense; who says nothing, who goes, and who
 * is one too many. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/dns_text.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/names/names.h"
#include "workers/path/pods.h"

#define REF 5
#define WEB "NOERROR aa A 10.96.0.1/5"

static struct rig *r;
static struct names ns;
static struct tcp_world world;
static struct sockaddr_in to;
static int64_t now_ns;
static const char *dialled_ip;

static int64_t now(void)
{
	return now_ns;
}

static int64_t unix_ms(void)
{
	return now_ns / NS_PER_MS;
}

static int dialled(const struct stream *s, struct addr *ret)
{
	(void)s;
	*ret = (struct addr){ .family = 4, .port = 53 };
	return inet_pton(AF_INET, dialled_ip, ret->ip) == 1 ? 0 : -1;
}

static void on_event(void *arg, uint64_t token, unsigned bits)
{
	(void)arg;
	ck_assert(names_event(&ns, token, bits));
}

static void pass(void)
{
	clock_tick();
	for (int quiet = 0; quiet < 3; quiet++) {
		bool more = true;

		while (more) {
			if (poll_collect(&r->path.poll, 0, on_event, NULL))
				quiet = 0;
			clock_tick();
			if (ns.due.ns <= clock_now().ns)
				names_deadlines(&ns);
			more = sched_run(&r->path.sched);
			names_reap(&ns);
		}
	}
}

static void later_ms(int64_t ms)
{
	now_ns += ms * NS_PER_MS;
	pass();
}

static void begin(void)
{
	struct gate *g[GATE_DIRECTIONS];
	struct fd fd[NAMES_SOCKETS_FAMILY] = { { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) },
					       { socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0) } };
	socklen_t n = sizeof to;

	now_ns = 1000 * NS_PER_S;
	clock_simulate(now, unix_ms);
	world = tcp_kernel;
	world.dialled = dialled;
	tcp_world = &world;
	dialled_ip = "192.0.2.53";
	r = rig_new("service t/web vip=10.96.0.1 port=80/main/http\n", NULL);
	memset(&ns, 0, sizeof ns);
	ck_assert_int_eq(names_init(&ns, &r->path), 0);
	ck_assert_int_eq(path_pod_here(&r->path, REF, "t", "p", false, g), 0);
	to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_eq(bind(fd[NAMES_TCP].v, (struct sockaddr *)&to, sizeof to), 0);
	ck_assert_int_eq(listen(fd[NAMES_TCP].v, 256), 0);
	ck_assert_int_eq(tcp_listener_setup(fd[NAMES_TCP].v), 0);	/* as the master does */
	ck_assert_int_eq(getsockname(fd[NAMES_TCP].v, (struct sockaddr *)&to, &n), 0);
	ck_assert_int_eq(names_pod_here(&ns, REF, 4, fd), 0);
}

static void end(void)
{
	pass();
	ck_assert_uint_eq(ns.callers.live, 0);
	names_pod_gone(&ns, REF);
	names_reap(&ns);
	ck_assert_uint_eq(r->path.fds.names, 0);
	path_pod_gone(&r->path, REF);
	ck_assert_uint_eq(r->path.memory.used, 0);
	names_fini(&ns);
	tcp_world = &tcp_kernel;
	clock_simulate(NULL, NULL);
	clock_tick();
	rig_free(&r);
}

static int call(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	pass();
	return fd;
}

/* A question behind its length, at p. */
static size_t question(uint8_t *p, const char *name, uint16_t id)
{
	struct dns_query q = dns_query_from(name, "A");
	size_t n = dns_ask(p + 2, &q, id, false);

	p[0] = (uint8_t)(n >> 8);
	p[1] = (uint8_t)n;
	return n + 2;
}

static void say(int fd, const void *p, size_t n)
{
	ck_assert_int_eq(send(fd, p, n, MSG_NOSIGNAL), (int)n);
	pass();
}

static bool is_quiet(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The next answer; or "end". */
static const char *heard(int fd, uint16_t id)
{
	static uint8_t m[DNS_MOST];
	ssize_t n;

	for (int i = 0; i < 1000 && is_quiet(fd); i++) {	/* the kernel may take its time */
		(void)poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 10);
		pass();
	}
	n = recv(fd, m, 2, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? "nothing" : "end";
	ck_assert_int_eq(n, 2);
	n = recv(fd, m, (size_t)m[0] << 8 | m[1], MSG_WAITALL);
	ck_assert_uint_eq((unsigned)m[0] << 8 | m[1], id);
	return dns_text(slice_of(m, (size_t)n));
}

START_TEST(questions_come_in_pieces_and_many_at_once)
{
	uint8_t m[8192];
	size_t n = 0;
	int c;

	begin();
	c = call();
	n = question(m, "web", 1);
	for (size_t i = 0; i < n; i++) {
		ck_assert(is_quiet(c));
		say(c, m + i, 1);
	}
	ck_assert_str_eq(heard(c, 1), WEB);
	n = 0;
	for (uint16_t id = 2; id < 200; id++)
		n += question(m + n, "web.t.svc", id);
	say(c, m, n - 3);
	for (uint16_t id = 2; id < 199; id++)
		ck_assert_str_eq(heard(c, id), WEB);
	ck_assert(is_quiet(c));
	/* Who has said all gets all. */
	ck_assert_int_eq(send(c, m + n - 3, 3, 0), 3);
	ck_assert_int_eq(shutdown(c, SHUT_WR), 0);
	pass();
	ck_assert_str_eq(heard(c, 199), WEB);
	ck_assert_str_eq(heard(c, 0), "end");
	close(c);
	end();
}
END_TEST

START_TEST(nonsense_and_silence_end_it)
{
	static const uint8_t long_one[] = { 0xff, 0xff, 0 }, answer[] = { 0, 12, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
			     none[] = { 0, 0 }, short_one[] = { 0, 1, 7 };
	static const struct {
		const uint8_t *p;
		size_t n;
	} rows[] = { { long_one, sizeof long_one }, { answer, sizeof answer }, { none, sizeof none },
		     { short_one, sizeof short_one } };
	uint8_t m[512];
	size_t n;
	int c;

	begin();
	for (size_t i = 0; i < countof(rows); i++) {
		c = call();
		say(c, rows[i].p, rows[i].n);
		ck_assert_msg(strcmp(heard(c, 0), "end") == 0, "row %zu", i);
		close(c);
	}
	/* What can be answered is, before the end. */
	c = call();
	n = question(m, "web", 1);
	memcpy(m + n, long_one, sizeof long_one);
	say(c, m, n + sizeof long_one);
	ck_assert_str_eq(heard(c, 1), WEB);
	ck_assert_str_eq(heard(c, 0), "end");
	close(c);
	/* Time, also for the rest of a question. */
	c = call();
	say(c, m, n);
	ck_assert_str_eq(heard(c, 1), WEB);
	later_ms(9000);
	say(c, m, 5);
	ck_assert(is_quiet(c));
	later_ms(1200);
	ck_assert_str_eq(heard(c, 0), "end");
	close(c);
	/* Who has asked and is gone. */
	c = call();
	ck_assert_int_eq(send(c, m, n, 0), (int)n);
	close(c);
	end();
}
END_TEST

START_TEST(a_pod_has_so_many_callers_and_its_tenant_counts_them)
{
	static int c[NAMES_CALLERS_POD + 1];
	uint8_t m[512];
	size_t n = question(m, "web", 1);

	begin();
	for (unsigned i = 0; i < countof(c); i++)
		c[i] = call();
	ck_assert_uint_eq(ns.callers.live, NAMES_CALLERS_POD);
	ck_assert_uint_eq(ns.pod[REF].gate->tenant->conns, NAMES_CALLERS_POD);
	ck_assert_str_eq(heard(c[NAMES_CALLERS_POD], 0), "end");
	say(c[7], m, n);
	ck_assert_str_eq(heard(c[7], 1), WEB);
	for (unsigned i = 0; i < countof(c); i++)
		close(c[i]);
	pass();
	ck_assert_uint_eq(ns.pod[REF].gate->tenant->conns, 0);
	/* Whoever dials our own port. */
	dialled_ip = "127.0.0.1";
	c[0] = call();
	ck_assert_str_eq(heard(c[0], 0), "end");
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_OWN_PORT]), 1);
	close(c[0]);
	end();
}
END_TEST

START_TEST(who_takes_no_answers_is_not_read)
{
	uint8_t m[4096];
	size_t n = 0;
	ssize_t k;
	int c;

	begin();
	c = call();
	while (n + 64 < sizeof m)
		n += question(m + n, "web", 1);
	for (int i = 0; i < 4000; i++) {
		k = send(c, m, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		pass();
		if (k < 0)
			break;
	}
	ck_assert_int_lt(k, 0);
	ck_assert_uint_lt(r->path.memory.used, 256 << 10);
	close(c);
	end();
}
END_TEST

START_TEST(a_worker_that_drains_lets_go_who_has_its_answer)
{
	uint8_t m[512];
	size_t n = question(m, "web", 1);
	int asked, fresh, part;

	begin();
	asked = call();
	say(asked, m, n);
	ck_assert_str_eq(heard(asked, 1), WEB);
	fresh = call();
	part = call();
	say(part, m, 7);
	names_drain(&ns);
	pass();
	ck_assert_str_eq(heard(asked, 0), "end");
	ck_assert(is_quiet(fresh));
	say(part, m + 7, n - 7);
	say(fresh, m, n);
	ck_assert_str_eq(heard(part, 1), WEB);
	ck_assert_str_eq(heard(part, 0), "end");
	ck_assert_str_eq(heard(fresh, 1), WEB);
	ck_assert_str_eq(heard(fresh, 0), "end");
	ck_assert_uint_eq(names_live(&ns), 0);
	ck_assert_uint_eq(ns.sockets, 0);
	close(asked);
	close(fresh);
	close(part);
	end();
}
END_TEST

UNIT_TESTS("names/caller", questions_come_in_pieces_and_many_at_once, nonsense_and_silence_end_it,
	   a_pod_has_so_many_callers_and_its_tenant_counts_them, who_takes_no_answers_is_not_read,
	   a_worker_that_drains_lets_go_who_has_its_answer)
