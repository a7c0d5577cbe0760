/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What resolvers are asked, what of it is kept and for how long: a pod's questions and its resolvers
 * are sockets of the test, the time is the test's. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/dns_text.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/names/ask.h"
#include "workers/path/pods.h"

#define REF 5

static struct rig *r;
static struct names ns;
static struct names_from from;
static int client, resolver[2];
static int64_t now_ns;
static unsigned wanted[BANK_SORTS];

static int64_t now(void)
{
	return now_ns;
}

static int64_t unix_ms(void)
{
	return now_ns / NS_PER_MS;
}

static void want(uint32_t ref, const uint16_t n[BANK_SORTS])
{
	ck_assert_uint_eq(ref, REF);
	for (unsigned i = 0; i < BANK_SORTS; i++)
		wanted[i] += n[i];
}

static int bound(struct addr *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &n), 0);
	addr_from_sockaddr(&ss, ret);
	return fd;
}

static void on_event(void *arg, uint64_t token, unsigned bits)
{
	(void)arg;
	ck_assert(names_event(&ns, token, bits));
}

static void pass(void)
{
	clock_tick();
	for (bool more = true; more; ) {
		poll_collect(&r->path.poll, 0, on_event, NULL);
		clock_tick();
		if (ns.due.ns <= clock_now().ns)
			names_deadlines(&ns);
		more = sched_run(&r->path.sched);
		names_reap(&ns);
	}
}

static void later_ms(int64_t ms)
{
	now_ns += ms * NS_PER_MS;
	pass();
}

/* Sockets "inside" come. */
static void put(unsigned n)
{
	struct fd none;

	if (wanted[bank_sort(4, true)] == 0)	/* it keeps what somebody has looked for */
		ck_assert_int_eq(bank_take_udp(&r->path.banks, REF, 4, &none), -EAGAIN);
	for (unsigned i = 0; i < n; i++) {
		struct fd fd = { socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0) };

		path_pod_bank(&r->path, REF, bank_sort(4, true), &fd, 1);
	}
	names_pod_bank(&ns, REF);
	pass();
}

static void change(struct knobs *k)
{
	k->names_timeout_ms = 1000;
	k->names_stale_ms = 3600000;
	k->names_cache = 2;
	k->names_pending = 3;
}

static void begin(unsigned resolvers)
{
	struct gate *g[GATE_DIRECTIONS];
	struct fd fd[NAMES_SOCKETS_FAMILY];
	struct addr a;

	now_ns = 1000 * NS_PER_S;
	clock_simulate(now, unix_ms);
	memset(wanted, 0, sizeof wanted);
	r = rig_new("service t/s port=80/main/http\n", change);
	r->path.banks.want = want;
	memset(&ns, 0, sizeof ns);
	ck_assert_int_eq(names_init(&ns, &r->path), 0);
	ck_assert_int_eq(path_pod_here(&r->path, REF, "t", "p", false, g), 0);
	fd[NAMES_TCP].v = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(listen(fd[NAMES_TCP].v, 1), 0);
	fd[NAMES_UDP_SOCKET].v = bound(&a);
	ck_assert_int_eq(names_pod_here(&ns, REF, 4, fd), 0);
	client = bound(&a);
	from = (struct names_from){ .pod = &ns.pod[REF], .addr = a,
				    .socket = &ns.pod[REF].socket[NAMES_UDP_SOCKET] };
	for (unsigned i = 0; i < 2; i++)
		resolver[i] = bound(&ns.host.at[i]);
	ns.host.n = resolvers;	/* directly: addresses of loopback are refused */
}

static void end(void)
{
	names_pod_gone(&ns, REF);
	pass();
	ck_assert_uint_eq(ns.waiters.live + ns.asks.live + ns.cache.answers.live + ns.callers.live, 0);
	ck_assert_uint_eq(r->path.fds.names, 0);
	path_pod_gone(&r->path, REF);
	ck_assert_uint_eq(r->path.memory.used, 0);
	names_fini(&ns);
	for (unsigned i = 0; i < 2; i++)
		close(resolver[i]);
	close(client);
	clock_simulate(NULL, NULL);
	clock_tick();
	rig_free(&r);
}

static void question(const char *name, const char *type, uint16_t id)
{
	struct dns_query q = dns_query_from(name, type);
	uint8_t m[DNS_QUERY + DNS_OPT];

	clock_tick();
	ck_assert_int_eq(names_question(&ns, &from, slice_of(m, dns_ask(m, &q, id, false))), 0);
	pass();
}

static bool is_quiet(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The kernel may take its time. */
static void await(int fd)
{
	for (int i = 0; i < 1000 && is_quiet(fd); i++) {
		(void)poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 10);
		pass();
	}
}

/* The next answer: its words. */
static const char *heard(uint16_t id)
{
	static uint8_t m[DNS_MOST];
	ssize_t n;

	await(client);
	n = recv(client, m, sizeof m, 0);
	ck_assert_int_ge(n, 0);
	ck_assert_uint_eq((unsigned)m[0] << 8 | m[1], id);
	return dns_text(slice_of(m, (size_t)n));
}

/* The question that this resolver is asked, which is answered with words (NULL: not). */
static void asked(unsigned which, const char *words)
{
	uint8_t m[DNS_MOST], out[DNS_MOST];
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	struct dns_query q;
	ssize_t n;
	size_t k;

	await(resolver[which]);
	n = recvfrom(resolver[which], m, sizeof m, 0, (struct sockaddr *)&ss, &len);
	ck_assert_int_ge(n, 0);
	ck_assert_int_eq(dns_query(slice_of(m, (size_t)n), &q), DNS_GOOD);
	ck_assert(q.edns && q.udp == DNS_UDP_OURS && q.flags & DNS_RD);
	if (words) {
		k = dns_reply_from(out, &q, q.id, words);
		ck_assert_int_eq(sendto(resolver[which], out, k, 0, (struct sockaddr *)&ss, len), (int)k);
		pass();
	}
}

static bool nobody_is_asked(void)
{
	return is_quiet(resolver[0]) && is_quiet(resolver[1]);
}

START_TEST(an_answer_is_kept_for_as_long_as_it_says)
{
	begin(1);
	put(2);
	question("Www.example.org", "A", 1);
	asked(0, "A 192.0.2.1/60 A 192.0.2.2/90 opt");
	ck_assert_str_eq(heard(1), "NOERROR A 192.0.2.1/60 A 192.0.2.2/90");
	later_ms(20500);
	question("www.Example.org", "A", 2);
	ck_assert_str_eq(heard(2), "NOERROR A 192.0.2.1/40 A 192.0.2.2/70");
	question("www.example.org", "AAAA", 3);
	asked(0, "| SOA 30/600");
	ck_assert_str_eq(heard(3), "NOERROR | SOA/600");
	later_ms(29000);
	question("www.example.org", "AAAA", 4);
	ck_assert_str_eq(heard(4), "NOERROR | SOA/571");
	later_ms(10600);		/* 60 s after the first, 39 after the second */
	for (uint16_t id = 5; id < 7; id++) {
		question("www.example.org", id == 5 ? "A" : "AAAA", id);
		asked(0, "A 192.0.2.3/0");
		ck_assert_str_eq(heard(id), "NOERROR A 192.0.2.3/0");
	}
	question("www.example.org", "A", 7);
	asked(0, NULL);	/* that one was not to be kept */
	end();
}
END_TEST

START_TEST(who_asks_the_same_waits_for_the_same_answer)
{
	begin(1);
	put(2);
	for (uint16_t id = 1; id <= 3; id++)
		question("www.example.org", "A", id);
	question("www.example.org", "A", 4);	/* names.pending */
	ck_assert_str_eq(heard(4), "REFUSED");
	asked(0, "A 192.0.2.1/60");
	ck_assert(nobody_is_asked());
	for (uint16_t id = 1; id <= 3; id++)
		ck_assert_str_eq(heard(id), "NOERROR A 192.0.2.1/60");
	ck_assert(is_quiet(client));
	ck_assert_uint_eq(from.pod->gate->tenant->names, 0);
	end();
}
END_TEST

START_TEST(an_old_answer_is_better_than_none)
{
	begin(2);
	put(4);
	question("www.example.org", "A", 1);
	asked(0, "A 192.0.2.1/60");
	ck_assert_str_eq(heard(1), "NOERROR A 192.0.2.1/60");
	later_ms(100000);
	/* The first is silent: it is told, and the other asked still. */
	question("www.example.org", "A", 2);
	asked(0, NULL);
	ck_assert(is_quiet(client));
	later_ms(1200);
	ck_assert_str_eq(heard(2), "NOERROR A 192.0.2.1/30");
	asked(1, NULL);
	/* For a while nobody is asked again. */
	later_ms(1200);
	ck_assert(nobody_is_asked());	/* the last has two times as long */
	later_ms(1200);
	question("www.example.org", "A", 3);
	ck_assert_str_eq(heard(3), "NOERROR A 192.0.2.1/30");
	ck_assert(nobody_is_asked());
	/* Then they are; what comes takes its place, though nobody waits for it any more. */
	later_ms(31000);
	question("www.example.org", "A", 4);
	asked(0, NULL);
	later_ms(1200);
	ck_assert_str_eq(heard(4), "NOERROR A 192.0.2.1/30");
	asked(1, "A 192.0.2.2/60");
	question("www.example.org", "A", 5);
	ck_assert(nobody_is_asked());
	ck_assert_str_eq(heard(5), "NOERROR A 192.0.2.2/60");
	/* Too old is too old; and it goes. */
	later_ms(3700000);
	question("www.example.org", "A", 6);
	for (int i = 0; i < 3; i++)
		later_ms(1200);
	ck_assert_str_eq(heard(6), "SERVFAIL");
	names_tick(&ns);
	ck_assert_uint_eq(ns.cache.answers.live, 0);
	end();
}
END_TEST

START_TEST(the_next_is_asked_when_one_is_silent_or_fails)
{
	begin(2);
	put(4);
	question("a.example.org", "A", 1);
	asked(0, NULL);
	ck_assert(nobody_is_asked());
	later_ms(1200);
	asked(1, "A 192.0.2.1/60");
	ck_assert_str_eq(heard(1), "NOERROR A 192.0.2.1/60");
	question("b.example.org", "A", 2);		/* now that one is the first */
	asked(1, "SERVFAIL");
	asked(0, "A 192.0.2.1/60");
	ck_assert_str_eq(heard(2), "NOERROR A 192.0.2.1/60");
	question("c.example.org", "A", 3);
	asked(0, "SERVFAIL");
	asked(1, "SERVFAIL");
	ck_assert_str_eq(heard(3), "SERVFAIL");
	ck_assert_uint_eq(board_get(&from.pod->gate->board->c[LC_names_silent_gauge]), 0);
	question("d.example.org", "A", 4);
	for (int i = 0; i < 3; i++)
		later_ms(1200);
	ck_assert_str_eq(heard(4), "SERVFAIL");
	ck_assert_uint_eq(board_get(&from.pod->gate->board->c[LC_names_silent_gauge]), 1);
	later_ms(61000);
	names_tick(&ns);
	ck_assert_uint_eq(board_get(&from.pod->gate->board->c[LC_names_silent_gauge]), 0);
	end();
}
END_TEST

START_TEST(a_lone_resolver_that_is_slow_has_time)
{
	begin(1);
	put(2);
	question("a.example.org", "A", 1);
	asked(0, NULL);
	later_ms(1200);
	later_ms(1900);
	ck_assert(is_quiet(client));
	asked(0, "A 192.0.2.1/60");
	ck_assert_str_eq(heard(1), "NOERROR A 192.0.2.1/60");
	end();
}
END_TEST

START_TEST(a_pod_keeps_what_it_used_last_and_its_tenant_pays)
{
	struct budget *memory;
	size_t one;

	begin(1);
	put(2);
	memory = &from.pod->gate->tenant->memory;
	question("a.example.org", "A", 1);
	asked(0, "A 192.0.2.1/60");
	one = memory->used;
	ck_assert_uint_gt(one, CACHE_BYTES);
	question("b.example.org", "A", 2);
	asked(0, "A 192.0.2.2/60");
	question("a.example.org", "A", 3);
	question("c.example.org", "A", 4);
	asked(0, "A 192.0.2.3/60");
	ck_assert_uint_eq(memory->used, 2 * one);
	question("a.example.org", "A", 5);
	ck_assert(nobody_is_asked());
	question("b.example.org", "A", 6);
	asked(0, NULL);
	/* Traffic goes before: what was kept goes, and no more is kept. */
	ck_assert_int_eq(budget_charge(memory, memory->limit * 3 / 4), 0);
	question("a.example.org", "A", 7);
	ck_assert(nobody_is_asked());
	names_tick(&ns);
	ck_assert_uint_eq(memory->used, memory->limit * 3 / 4);
	for (uint16_t id = 8; id < 10; id++) {
		question("a.example.org", "A", id);
		asked(0, "A 192.0.2.1/60");
	}
	budget_return(memory, memory->limit * 3 / 4);
	end();
}
END_TEST

START_TEST(a_question_waits_for_a_socket_inside)
{
	begin(1);
	question("a.example.org", "A", 1);
	ck_assert_uint_gt(wanted[bank_sort(4, true)], 0);
	ck_assert(nobody_is_asked());
	put(1);
	asked(0, "A 192.0.2.1/60");
	ck_assert_str_eq(heard(1), "NOERROR A 192.0.2.1/60");
	/* It is used again, from another port. */
	for (uint16_t id = 2; id < 9; id++) {
		char name[] = "x0.example.org";

		name[1] = (char)('0' + id);
		question(name, "A", id);
		asked(0, "A 192.0.2.1/60");
		ck_assert_str_eq(heard(id), "NOERROR A 192.0.2.1/60");
	}
	/* None comes. */
	question("b.example.org", "A", 9);
	question("c.example.org", "A", 10);
	asked(0, NULL);
	ck_assert(nobody_is_asked());
	for (int i = 0; i < 3; i++)
		later_ms(1200);
	ck_assert_str_eq(heard(9), "SERVFAIL");
	ck_assert_str_eq(heard(10), "SERVFAIL");
	end();
}
END_TEST

START_TEST(without_resolvers_other_names_cannot_be_found_out)
{
	const struct names_resolvers near = { .n = 2, .at = { { .ip = { 127, 0, 0, 53 }, .port = 53, .family = 4 },
							       { .ip = { [15] = 1 }, .port = 53, .family = 6 } } };

	begin(0);
	names_use_resolvers(&ns, 0, &near);
	ck_assert_uint_eq(ns.host.n, 0);
	question("a.example.org", "A", 1);
	ck_assert_str_eq(heard(1), "SERVFAIL");
	end();
}
END_TEST

#define HEADLESS "service t/h headless port=80 slot=3/1"
#define TWO	 "endpoint t/h 10.0.0.1:80\n"

START_TEST(endpoints_that_are_not_here_are_waited_for)
{
	begin(1);
	rig_view(r, HEADLESS " lacking\n" TWO);
	for (uint16_t id = 1; id <= 3; id++)
		question(id == 3 ? "_x._tcp.h.t.svc.cluster.local" : "h.t.svc.cluster.local", "A", id);
	ck_assert(is_quiet(client));
	ck_assert_uint_eq(ns.lacking.live, 3);
	ck_assert_uint_eq(from.pod->waiters, 3);
	question("h.t.svc.cluster.local", "A", 4);	/* names.pending */
	ck_assert_str_eq(heard(4), "SERVFAIL");
	/* A name that is something else's waits for nobody. */
	question("s.t.svc.cluster.local", "SRV", 5);
	(void)heard(5);
	rig_view(r, "service t/other port=80\n");
	names_view(&ns);
	ck_assert(is_quiet(client));
	rig_view(r, HEADLESS "\n");
	names_view(&ns);
	ck_assert_str_eq(heard(1), "NOERROR aa A 10.0.0.1/5");
	ck_assert_str_eq(heard(2), "NOERROR aa A 10.0.0.1/5");
	(void)heard(3);
	ck_assert_uint_eq(ns.lacking.live, 0);
	ck_assert_uint_eq(from.pod->waiters, 0);
	/* Whoever asks, uses them. */
	ck_assert_uint_ge(board_get(&board_service(r->board, 0, 3, 1)->c[SC_lookups]), 2);
	end();
}
END_TEST

START_TEST(endpoints_that_do_not_come_cannot_be_found_out)
{
	begin(1);
	rig_view(r, HEADLESS " lacking\n" TWO);
	question("h.t.svc.cluster.local", "A", 1);
	later_ms(1000);
	names_tick(&ns);
	ck_assert(is_quiet(client));
	later_ms(1100);
	names_tick(&ns);
	ck_assert_str_eq(heard(1), "SERVFAIL");
	question("h.t.svc.cluster.local", "A", 2);
	ck_assert_uint_eq(ns.lacking.live, 1);
	end();		/* the pod leaves meanwhile */
}
END_TEST

UNIT_TESTS("names/ask", endpoints_that_are_not_here_are_waited_for, endpoints_that_do_not_come_cannot_be_found_out, an_answer_is_kept_for_as_long_as_it_says, who_asks_the_same_waits_for_the_same_answer,
	   an_old_answer_is_better_than_none, a_lone_resolver_that_is_slow_has_time, the_next_is_asked_when_one_is_silent_or_fails,
	   a_pod_keeps_what_it_used_last_and_its_tenant_pays, a_question_waits_for_a_socket_inside,
	   without_resolvers_other_names_cannot_be_found_out)
