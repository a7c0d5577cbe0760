/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Names of the mesh: every form of them, by family, and what of it is not ours to answer. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/dns_text.h"
#include "tests/lib/view_from.h"
#include "workers/names/local.h"

#define WORLD                                                                                           \
	"namespace empty slot=3/1\n"                                                                    \
	"service shop/web vip=10.96.0.1 vip=fd96::1 port=80/http port=9000/raw\n"                       \
	"endpoint shop/web:http 10.0.0.9:8080 host=web-0\n"                                             \
	"service other/web vip=10.96.0.2 port=80\n"                                                     \
	"service shop/six vip=fd96::6 port=80/main\n"                                                   \
	"service shop/db headless port=5432/pg port=9100/metrics\n"                                     \
	"endpoint shop/db:pg 10.0.0.1:5432 host=db-0\n"                                                 \
	"endpoint shop/db:pg 10.0.0.2:5432 notready host=db-1\n"                                        \
	"endpoint shop/db:pg [fd00::1]:5432\n"                                                          \
	"endpoint shop/db:metrics 10.0.0.1:9100 host=db-0\n"                                            \
	"service shop/none headless port=80\n"
#define NODATA "NOERROR aa | SOA/5"
#define GONE   "NXDOMAIN aa | SOA/5"

static uint8_t wire[DNS_MOST];

static const char *ask(const struct view *v, const char *name, const char *type, size_t room, uint16_t edns)
{
	const struct local l = { .view = v, .ns = SLICE("shop"), .ttl = 5 };
	struct dns_query q = dns_query_from(name, type);
	enum dns_rcode rcode = DNS_REFUSED;
	size_t n;

	q.edns = edns;
	n = local_answer(&l, &q, wire, room, &rcode);
	if (n == 0)
		return "-";
	ck_assert_uint_le(n, room);
	ck_assert_int_eq(wire[3] & 15, rcode);
	return dns_text(slice_of(wire, n));
}

START_TEST(every_form_of_a_name_has_its_answer)
{
	static const struct {
		const char *name, *type, *want;
	} rows[] = {
		{ "web", "A", "NOERROR aa A 10.96.0.1/5" },
		{ "WEB.", "AAAA", "NOERROR aa AAAA fd96::1/5" },
		{ "web.other", "A", "NOERROR aa A 10.96.0.2/5" },
		{ "web.other.svc", "A", "NOERROR aa A 10.96.0.2/5" },
		{ "web.other.svc.cluster.local", "A", "NOERROR aa A 10.96.0.2/5" },
		{ "Web.Other.SVC.Cluster.Local", "A", "NOERROR aa A 10.96.0.2/5" },
		{ "web", "ANY", "NOERROR aa A 10.96.0.1/5 AAAA fd96::1/5" },
		/* The other family, and other types: the name is there, and nothing is at it. */
		{ "web.other", "AAAA", NODATA },
		{ "six", "A", NODATA },
		{ "six", "AAAA", "NOERROR aa AAAA fd96::6/5" },
		{ "web", "TXT", NODATA },
		{ "web", "65", NODATA },
		/* Headless: who is ready. */
		{ "db.shop.svc.cluster.local", "A", "NOERROR aa A 10.0.0.1/5" },
		{ "db", "AAAA", "NOERROR aa AAAA fd00::1/5" },
		{ "db", "TXT", NODATA },
		{ "none", "A", NODATA },
		{ "db-0.db.shop.svc.cluster.local", "A", "NOERROR aa A 10.0.0.1/5" },
		{ "db-0.db.shop.svc", "A", "NOERROR aa A 10.0.0.1/5" },
		{ "db-0.db.shop.svc.cluster.local", "AAAA", NODATA },
		{ "db-1.db.shop.svc.cluster.local", "A", GONE },
		{ "db-2.db.shop.svc.cluster.local", "A", GONE },
		{ "x.none.shop.svc.cluster.local", "A", GONE },
		{ "web-0.web.shop.svc.cluster.local", "A", "NOERROR aa A 10.0.0.9/5" },
		{ "10-0-0-1.db.shop.svc.cluster.local", "A", "NOERROR aa A 10.0.0.1/5" },
		{ "fd00--1.db.shop.svc.cluster.local", "AAAA", "NOERROR aa AAAA fd00::1/5" },
		/* Ports. */
		{ "_http._tcp.web.shop.svc.cluster.local", "SRV",
		  "NOERROR aa SRV 80 web.shop.svc.cluster.local./5 + A 10.96.0.1/5 AAAA fd96::1/5" },
		{ "_metrics._tcp.db.shop.svc.cluster.local", "SRV",
		  "NOERROR aa SRV 9100 db-0.db.shop.svc.cluster.local./5 + A 10.0.0.1/5" },
		{ "_http._tcp.web.shop.svc.cluster.local", "A", NODATA },
		{ "_none._tcp.web.shop.svc.cluster.local", "SRV", GONE },
		{ "_http._udp.web.shop.svc.cluster.local", "SRV", GONE },
		{ "x._tcp.web.shop.svc.cluster.local", "SRV", GONE },
		/* Addresses. */
		{ "1.0.96.10.in-addr.arpa", "PTR", "NOERROR aa PTR web.shop.svc.cluster.local./5" },
		{ "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.D.f.ip6.arpa", "PTR",
		  "NOERROR aa PTR web.shop.svc.cluster.local./5" },
		{ "1.0.96.10.in-addr.arpa", "A", NODATA },
		{ "1.0.0.10.in-addr.arpa", "PTR", "-" },
		{ "0.96.10.in-addr.arpa", "PTR", "-" },
		{ "256.0.96.10.in-addr.arpa", "PTR", "-" },
		/* What is not below the domain does not leave the host ... */
		{ "cluster.local", "SOA", "NOERROR aa SOA/5" },
		{ "cluster.local", "A", NODATA },
		{ "svc.cluster.local", "A", NODATA },
		{ "shop.svc.cluster.local", "A", GONE },		/* nobody wrote that namespace down */
		{ "empty.svc.cluster.local", "A", NODATA },
		{ "nope.shop.svc.cluster.local", "A", GONE },
		{ "web.nope.svc.cluster.local", "A", GONE },
		{ "www.example.org.shop.svc.cluster.local", "A", GONE },
		{ "www.example.org.svc.cluster.local", "A", GONE },
		{ "www.example.org.cluster.local", "A", GONE },
		{ "pod.cluster.local", "A", GONE },
		{ "a.b.c.d.web.shop.svc.cluster.local", "A", GONE },
		{ "nope.shop.svc", "A", GONE },
		{ "a.b.c.d.e.f.g.svc", "A", GONE },
		/* ... and all other names are somebody else's. */
		{ "nope", "A", "-" },
		{ "nope.shop", "A", "-" },
		{ "web.nope", "A", "-" },
		{ "www.example.org", "A", "-" },
		{ "web.shop.svc.cluster.local.org", "A", "-" },
		{ "xcluster.local", "A", "-" },
		{ "", "SOA", "-" },
		{ "svc", "A", "-" },
	};
	struct view *v = view_from(WORLD);

	rand_seed(1);
	for (size_t i = 0; i < countof(rows); i++) {
		const char *text = ask(v, rows[i].name, rows[i].type, DNS_UDP, 0);

		ck_assert_msg(strcmp(text, rows[i].want) == 0, "%s %s: %s", rows[i].name, rows[i].type, text);
	}
	view_unref(v);
}
END_TEST

START_TEST(endpoints_of_a_headless_service_come_in_any_order_as_many_as_fit)
{
	char world[20000] = "service shop/db headless port=5432/pg\n";
	bool first[100] = { false };
	unsigned different = 0;
	struct view *v;

	rand_seed(1);
	for (int i = 0; i < 100; i++)
		sprintf(world + strlen(world), "endpoint shop/db:pg 10.0.0.%d:5432\n", i + 1);
	v = view_from(world);
	for (int i = 0; i < 100; i++) {
		const char *text = ask(v, "db", "A", DNS_UDP, 0);
		unsigned last;

		ck_assert_msg(sscanf(text, "NOERROR aa tc A 10.0.0.%u/5", &last) == 1, "%s", text);
		first[last - 1] = true;
		/* 512 - 12 head - 8 question = 492, 16 each */
		ck_assert_uint_eq(wire[6] << 8 | wire[7], 30);
	}
	for (int i = 0; i < 100; i++)
		different += first[i];
	ck_assert_uint_gt(different, 40);
	/* With the room of an OPT record, and by TCP. */
	ck_assert(strstr(ask(v, "db", "A", DNS_UDP, 1), "NOERROR aa tc A"));
	ck_assert(strstr(ask(v, "db", "A", DNS_UDP, 1), " opt"));
	ck_assert(strstr(ask(v, "db", "A", 1232, 1), "NOERROR aa tc A"));
	ck_assert(strstr(ask(v, "db", "A", DNS_MOST, 0), "NOERROR aa A"));
	ck_assert_uint_eq(wire[6] << 8 | wire[7], 100);
	/* Of SRV records those that fit, of what goes with them likewise. */
	ck_assert(strstr(ask(v, "_pg._tcp.db.shop.svc", "SRV", DNS_UDP, 0), "NOERROR aa tc SRV"));
	ck_assert(strstr(ask(v, "_pg._tcp.db.shop.svc", "SRV", 6700, 0), "NOERROR aa SRV"));
	ck_assert(wire[11] > 0 && wire[11] < 100);
	view_unref(v);
}
END_TEST

UNIT_TESTS("names/local", every_form_of_a_name_has_its_answer,
	   endpoints_of_a_headless_service_come_in_any_order_as_many_as_fit)
