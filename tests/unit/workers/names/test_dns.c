/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Messages: what is a query and what is not, what a resolver may say, and what of it goes on. */
#include "tests/unit/test.h"

#include <errno.h>

#include "tests/lib/dns_text.h"

#define BYTES(...) slice_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define HEAD(flags, qd, ar) 0x12, 0x34, (flags) >> 8, (flags) & 255, 0, qd, 0, 0, 0, 0, 0, ar
#define WEB 3, 'W', 'e', 'b', 0
#define OPT(version, rest) 0, 0, 41, 4, 208, 0, version, 0x80, 0, 0, rest

static struct dns_query q;
static uint8_t wire[DNS_MOST];

START_TEST(a_query_is_what_it_says)
{
	ck_assert_int_eq(dns_query(BYTES(HEAD(0x0110, 1, 0), WEB, 0, 28, 0, 1), &q), DNS_GOOD);
	ck_assert_uint_eq(q.id, 0x1234);
	ck_assert_uint_eq(q.type, DNS_AAAA);
	ck_assert_uint_eq(q.name.n, 5);
	ck_assert(!q.edns && q.udp == DNS_UDP && q.flags == (DNS_RD | DNS_CD));
	ck_assert_int_eq(dns_query(BYTES(HEAD(0x0100, 1, 1), WEB, 0, 1, 0, 1, OPT(0, 0)), &q), DNS_GOOD);
	ck_assert(q.edns && q.dnssec && q.udp == 1232);
	/* The root; bytes behind the message are nobody's. */
	ck_assert_int_eq(dns_query(BYTES(HEAD(0, 1, 0), 0, 0, 2, 0, 1, 9, 9), &q), DNS_GOOD);
	ck_assert_uint_eq(q.name.n, 1);
}
END_TEST

START_TEST(what_is_no_query_gets_no_answer_and_what_is_a_bad_one_is_told_so)
{
	static const struct {
		enum dns_verdict want;
		size_t n;
		uint8_t m[64];
	} rows[] = {
#define ROW(want, ...) { want, sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ } }
		ROW(DNS_SILENCE, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0),
		ROW(DNS_SILENCE, HEAD(0x8100, 1, 0), WEB, 0, 1, 0, 1),			/* an answer */
		ROW(DNS_ANSWER_NOTIMP, HEAD(0x2800, 1, 0), WEB, 0, 1, 0, 1),		/* an update */
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 0, 0)),				/* no question */
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 2, 0), WEB, 0, 1, 0, 1, WEB, 0, 1, 0, 1),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 0), WEB, 0, 1, 0),		/* cut */
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 0), 3, 'w', 'e'),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 0)),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 0), 0xc0, 12, 0, 1, 0, 1),	/* it points to itself */
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 0), 1, 'a', 0xc0, 12, 0, 1, 0, 1),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 0), 0x43, 'w', 'e', 'b', 0, 0, 1, 0, 1),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 1), WEB, 0, 1, 0, 1),		/* a record that is not there */
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 1), WEB, 0, 1, 0, 1, OPT(0, 4)),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 1), WEB, 0, 1, 0, 1, 0xc0, 23, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0),
		ROW(DNS_ANSWER_FORMERR, HEAD(0x0100, 1, 2), WEB, 0, 1, 0, 1, OPT(0, 0), OPT(0, 0)),
		ROW(DNS_ANSWER_BADVERS, HEAD(0x0100, 1, 1), WEB, 0, 1, 0, 1, OPT(1, 0)),
		ROW(DNS_ANSWER_REFUSED, HEAD(0x0100, 1, 0), WEB, 0, 16, 0, 3),		/* version.bind */
		ROW(DNS_ANSWER_NOTIMP, HEAD(0x0100, 1, 0), WEB, 0, 252, 0, 1),		/* a transfer */
	};

	for (size_t i = 0; i < countof(rows); i++)
		ck_assert_msg(dns_query(slice_of(rows[i].m, rows[i].n), &q) == rows[i].want, "row %zu", i);
}
END_TEST

START_TEST(a_name_has_at_most_255_bytes)
{
	uint8_t m[DNS_HEAD + 300] = { HEAD(0x0100, 1, 0) };
	struct dns_name a, b;
	char text[300];

	memset(m + DNS_HEAD, 1, 254);
	m[DNS_HEAD + 254] = 0;
	m[DNS_HEAD + 256] = 1;
	m[DNS_HEAD + 258] = 1;
	ck_assert_int_eq(dns_query(slice_of(m, DNS_HEAD + 259), &q), DNS_GOOD);
	ck_assert_uint_eq(q.name.n, 255);
	memset(m + DNS_HEAD, 1, 256);
	m[DNS_HEAD + 256] = 0;
	ck_assert_int_eq(dns_query(slice_of(m, sizeof m), &q), DNS_ANSWER_FORMERR);

	memset(text, 'a', sizeof text);
	ck_assert(dns_name_from(slice_of(text, 63), &a) && !dns_name_from(slice_of(text, 64), &a));
	for (int i = 63; i < 300; i += 64)
		text[i] = '.';
	ck_assert(dns_name_from(slice_of(text, 253), &a) && a.n == 255);
	ck_assert(!dns_name_from(slice_of(text, 254), &a));
	ck_assert(!dns_name_from(SLICE("a..b"), &a) && !dns_name_from(SLICE(".a"), &a) &&
		  !dns_name_from(SLICE("a.."), &a));
	ck_assert(dns_name_from(SLICE("a.B.c."), &a) && dns_labels(&a) == 3);
	ck_assert(dns_name_from(SLICE("b.C"), &b) && dns_name_is_below(&a, &b) && !dns_name_is_below(&b, &a));
	ck_assert(dns_name_from(SLICE("c"), &b) && dns_name_is_below(&a, &b));
	ck_assert(dns_name_from(SLICE("xb.c"), &b) && !dns_name_is_below(&a, &b));
	ck_assert(dns_name_from(SLICE(""), &b) && dns_labels(&b) == 0 && dns_name_is_below(&a, &b));
}
END_TEST

static int reply(size_t n, struct dns_reply *ret)
{
	return dns_reply(slice_of(wire, n), &q, 7, ret);
}

START_TEST(an_answer_is_believed_only_when_it_answers_what_was_asked)
{
	struct dns_reply a;
	size_t n;

	q = dns_query_from("www.example.org", "A");
	n = dns_reply_from(wire, &q, 7, "A 192.0.2.1/300 A 192.0.2.2/60 opt");
	ck_assert_int_eq(reply(n, &a), 0);
	ck_assert_uint_eq(a.ttl, 60);
	ck_assert_uint_eq(a.bytes, n - DNS_OPT);
	ck_assert_int_eq(dns_reply(slice_of(wire, n), &q, 8, &a), -EAGAIN);
	for (unsigned at = 2; at < 33; at++) {		/* up to the class: every byte counts */
		uint8_t was = wire[at];

		if (at == 2 || at == 3 || (at > 5 && at < 12))
			continue;
		wire[at] ^= 0x40;
		ck_assert_msg(reply(n, &a) == -EAGAIN, "byte %u", at);
		wire[at] = was;
	}
	wire[14] ^= 0x20;				/* but for the case of letters */
	ck_assert_int_eq(reply(n, &a), 0);
	wire[2] &= 0x7f;				/* our own question, sent back */
	ck_assert_int_eq(reply(n, &a), -EAGAIN);
	wire[2] |= 0x80;
	for (size_t cut = DNS_HEAD + 21; cut + DNS_OPT < n; cut++)
		ck_assert_msg(reply(cut, &a) == -EBADMSG, "cut at %zu", cut);
	wire[2] |= 2;					/* cut, and says so */
	ck_assert_int_eq(reply(n - 20, &a), 0);
	ck_assert(a.flags & DNS_TC && a.ttl == 0);
	n = dns_pass_on(wire + 1000, 512, slice_of(wire, a.bytes), a.additional, &q, 0, 1000);
	ck_assert_str_eq(dns_text(slice_of(wire + 1000, n)), "NOERROR tc");
	wire[2] &= (uint8_t)~2;
	/* An OPT record among the answers; a pointer that leads nowhere. */
	n = dns_reply_from(wire, &q, 7, "opt");
	wire[7] = 1;
	wire[11] = 0;
	ck_assert_int_eq(reply(n, &a), -EBADMSG);
	n = dns_reply_from(wire, &q, 7, "A 192.0.2.1/300");
	wire[n - 15] = 33;				/* itself */
	ck_assert_int_eq(reply(n, &a), -EBADMSG);
	wire[n - 15] = 3;				/* the head */
	ck_assert_int_eq(reply(n, &a), -EBADMSG);
	/* A server that knows no EDNS may answer with its head alone. */
	n = dns_reply_from(wire, &q, 7, "FORMERR");
	wire[5] = 0;
	ck_assert_int_eq(reply(DNS_HEAD, &a), 0);
	ck_assert_uint_eq(a.rcode, DNS_FORMERR);
	wire[3] = 0x80;
	ck_assert_int_eq(reply(DNS_HEAD, &a), -EAGAIN);
}
END_TEST

START_TEST(how_long_an_answer_may_be_kept_is_in_it)
{
	static const struct {
		const char *words;
		uint32_t ttl;
	} rows[] = {
		{ "A 192.0.2.1/300", 300 },
		{ "CNAME x.example.org/30 A 192.0.2.1/300", 30 },
		{ "NXDOMAIN | SOA 9/60", 9 },
		{ "NXDOMAIN | SOA 90/60", 60 },
		{ "| SOA 5/60", 5 },			/* no such type at that name */
		{ "CNAME x.example.org/30 | SOA 5/60", 5 },
		{ "NXDOMAIN", 0 },
		{ "", 0 },
		{ "SERVFAIL | SOA 9/60", 0 },
		{ "A 192.0.2.1/0", 0 },
	};
	struct dns_reply a;

	q = dns_query_from("www.example.org", "A");
	for (size_t i = 0; i < countof(rows); i++) {
		size_t n = dns_reply_from(wire, &q, 7, rows[i].words);

		ck_assert_int_eq(reply(n, &a), 0);
		ck_assert_msg(a.ttl == rows[i].ttl, "%s: %u", rows[i].words, a.ttl);
	}
	/* A TTL with its highest bit set is none. */
	reply(dns_reply_from(wire, &q, 7, "A 192.0.2.1/300"), &a);
	wire[a.bytes - 10] = 0x80;
	ck_assert_int_eq(reply(a.bytes, &a), 0);
	ck_assert_uint_eq(a.ttl, 0);
}
END_TEST

START_TEST(what_goes_on_has_the_callers_id_and_letters_its_room_and_older_records)
{
	struct dns_query other = dns_query_from("WWW.example.ORG", "A");
	uint8_t to[DNS_MOST], many[4000] = "";
	struct dns_reply a;
	size_t n;

	q = dns_query_from("www.example.org", "A");
	n = dns_reply_from(wire, &q, 7, "CNAME x.example.org/30 A 192.0.2.1/300 opt");
	ck_assert_int_eq(reply(n, &a), 0);
	n = dns_pass_on(to, 512, slice_of(wire, a.bytes), a.additional, &other, 10, 1000);
	ck_assert_str_eq(dns_text(slice_of(to, n)), "NOERROR CNAME x.example.org./20 A 192.0.2.1/290");
	ck_assert_mem_eq(to, ((uint8_t[]){ 0x12, 0x34, 0x81, 0x80 }), 4);
	ck_assert_mem_eq(to + DNS_HEAD, other.name.at, other.name.n);
	other.edns = true;
	n = dns_pass_on(to, 512, slice_of(wire, a.bytes), a.additional, &other, 100, 30);
	ck_assert_str_eq(dns_text(slice_of(to, n)), "NOERROR CNAME x.example.org./0 A 192.0.2.1/30 opt");
	for (int i = 0; i < 40; i++)
		strcat((char *)many, "A 192.0.2.1/300 ");
	ck_assert_int_eq(reply(dns_reply_from(wire, &q, 7, (char *)many), &a), 0);
	n = dns_pass_on(to, 512, slice_of(wire, a.bytes), a.additional, &other, 0, 1000);
	ck_assert_str_eq(dns_text(slice_of(to, n)), "NOERROR tc opt");
	n = dns_pass_on(to, DNS_MOST, slice_of(wire, a.bytes), a.additional, &other, 0, 1000);
	ck_assert_uint_eq(n, a.bytes + DNS_OPT);
}
END_TEST

START_TEST(a_question_to_a_resolver_asks_the_same)
{
	struct dns_query seen;
	size_t n;

	q = dns_query_from("www.example.org", "AAAA");
	q.dnssec = true;
	q.flags = DNS_CD;			/* RD is ours */
	n = dns_ask(wire, &q, 99, true);
	ck_assert_uint_le(n, DNS_QUERY + DNS_OPT);
	ck_assert_int_eq(dns_query(slice_of(wire, n), &seen), DNS_GOOD);
	ck_assert(seen.id == 99 && seen.edns && seen.dnssec && seen.type == DNS_AAAA && seen.udp == DNS_UDP_OURS);
	ck_assert_uint_eq(seen.flags, DNS_RD | DNS_CD);
	n = dns_ask(wire, &q, 99, false);
	ck_assert_int_eq(dns_query(slice_of(wire, n), &seen), DNS_GOOD);
	ck_assert(!seen.edns);
}
END_TEST

UNIT_TESTS("names/dns", a_query_is_what_it_says,
	   what_is_no_query_gets_no_answer_and_what_is_a_bad_one_is_told_so, a_name_has_at_most_255_bytes,
	   an_answer_is_believed_only_when_it_answers_what_was_asked, how_long_an_answer_may_be_kept_is_in_it,
	   what_goes_on_has_the_callers_id_and_letters_its_room_and_older_records,
	   a_question_to_a_resolver_asks_the_same)
