/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Access lines: one line each, bounded, whatever strangers write. */
#include <stdio.h>

#include "tests/unit/test.h"
#include "workers/obs/accesslog.h"

#define DATA 65536

static int64_t mono_zero(void)
{
	return 0;
}

static int64_t unix_fixed(void)
{
	return 1795374488123;	/* 2026-11-22T19:08:08.123Z */
}

static struct accesslog a;
static struct ring writer, reader;
static struct ring_shared *mem;
static char who[ACCESS_WHO_MAX];

static struct access_line start(bool json)
{
	clock_simulate(mono_zero, unix_fixed);
	clock_tick();
	mem = aligned_alloc(64, RING_BYTES(DATA));
	ring_format(mem, DATA);
	ck_assert_int_eq(ring_open_writer(&writer, mem, RING_BYTES(DATA)), 0);
	ck_assert_int_eq(ring_open_reader(&reader, mem, RING_BYTES(DATA)), 0);
	accesslog_init(&a, &writer, json);
	return (struct access_line){
		.who = slice_of(who, accesslog_who(&a, SLICE("t"), SLICE("ns"), SLICE("front"), who)),
		.service = SLICE("ns/web:80"), .method = SLICE("GET"), .path = SLICE("/a?b"),
		.protocol = SLICE("HTTP/2"),
		.endpoint = SLICE("10.0.0.1:80"), .status = 200, .reason = REASON_DONE,
		.bytes_in = 90, .bytes_out = 18446744073709551615u, .duration_us = 12345,
		.connect_us = -1, .response_us = 7, .rev = 5, .request_id = SLICE("a-1"),
	};
}

static const char *line(void)
{
	static uint8_t out[RING_RECORD_MAX + 1];
	enum ring_kind kind;
	size_t n;

	ck_assert(ring_take(&reader, &kind, out, &n));
	ck_assert_int_eq(kind, RING_ACCESS);
	out[n] = 0;
	free(mem);
	clock_simulate(NULL, NULL);
	return (const char *)out;
}

START_TEST(a_text_line_has_every_field)
{
	struct access_line l = start(false);

	accesslog_put(&a, &l);
	ck_assert_str_eq(line(),
			 "time=2026-11-22T19:08:08.123Z tenant=t namespace=ns listener=front "
			 "service=ns/web:80 route=- method=GET path=\"/a?b\" protocol=HTTP/2 status=200 reason=DONE "
			 "flag=- endpoint=10.0.0.1:80 bytes_in=90 bytes_out=18446744073709551615 "
			 "duration_us=12345 connect_us=0 response_us=7 rev=5 request_id=a-1");
}
END_TEST

START_TEST(a_json_line_has_the_same_members)
{
	struct access_line l = start(true);

	accesslog_put(&a, &l);
	ck_assert_str_eq(line(),
			 "{\"time\":\"2026-11-22T19:08:08.123Z\",\"tenant\":\"t\",\"namespace\":\"ns\","
			 "\"listener\":\"front\",\"service\":\"ns/web:80\",\"route\":\"-\","
			 "\"method\":\"GET\",\"path\":\"/a?b\",\"protocol\":\"HTTP/2\",\"status\":200,\"reason\":\"DONE\","
			 "\"flag\":\"-\",\"endpoint\":\"10.0.0.1:80\",\"bytes_in\":90,"
			 "\"bytes_out\":18446744073709551615,\"duration_us\":12345,\"connect_us\":0,"
			 "\"response_us\":7,\"rev\":5,\"request_id\":\"a-1\"}");
}
END_TEST

START_TEST(a_grpc_status_is_told_where_there_was_one)
{
	for (int json = 0; json < 2; json++) {
		struct access_line l = start(json);

		l.grpc = 1 + 14;
		accesslog_put(&a, &l);
		ck_assert_ptr_nonnull(strstr(line(), json ? "\"flag\":\"-\",\"grpc_status\":14,\"endpoint\":\""
							  : "flag=- grpc_status=14 endpoint="));
	}
}
END_TEST

START_TEST(attempts_are_told_where_there_were_several)
{
	for (int json = 0; json < 2; json++) {
		struct access_line l = start(json);

		l.attempts = 3;
		accesslog_put(&a, &l);
		ck_assert_ptr_nonnull(strstr(line(), json ? "10.0.0.1:80\",\"attempts\":3,\"bytes_in\":" :
							    "10.0.0.1:80 attempts=3 bytes_in="));
	}
}
END_TEST

START_TEST(strangers_cannot_break_the_line)
{
	static const char bad[] = "/\"\\\n\r\x7f\xff ok";

	for (int json = 0; json < 2; json++) {
		struct access_line l = start(json);
		const char *got;

		l.path = slice_of(bad, sizeof bad - 1);
		l.method = SLICE("A \"B");
		l.request_id = SLICE("\xff\"\\x");
		accesslog_put(&a, &l);
		got = line();
		ck_assert_ptr_null(strpbrk(got, "\n\r\x7f\xff"));
		ck_assert_ptr_nonnull(strstr(got, json ? "\"/\\u0022\\u005c\\u000a\\u000d\\u007f\\u00ff ok\""
						       : "\"/\\x22\\x5c\\x0a\\x0d\\x7f\\xff ok\""));
		ck_assert_ptr_nonnull(strstr(got, json ? ":\"\\u00ff\\u0022\\u005cx\"}"
						       : " request_id=\\xff\\x22\\x5cx"));
		ck_assert_ptr_nonnull(strstr(got, json ? "A_\\u0022B" : "A_\\x22B"));
	}
}
END_TEST

/* Whole ones where nothing must be escaped; else no escape is cut. */
START_TEST(long_names_fit_their_room)
{
	char name[64] = "", odd[64] = "";

	memset(name, 'n', 63);
	memset(odd, 1, 63);
	for (int json = 0; json < 2; json++) {
		struct access_line l = start(json);
		const char *got;
		char whole[80];

		l.who.n = accesslog_who(&a, slice_str(name), slice_str(name), slice_str(odd), who);
		ck_assert_uint_le(l.who.n, ACCESS_WHO_MAX);
		accesslog_put(&a, &l);
		got = line();
		snprintf(whole, sizeof whole, json ? "\"tenant\":\"%s\"" : " tenant=%s ", name);
		ck_assert_ptr_nonnull(strstr(got, whole));
		snprintf(whole, sizeof whole, json ? "\"namespace\":\"%s\"" : " namespace=%s ", name);
		ck_assert_ptr_nonnull(strstr(got, whole));
		ck_assert_ptr_nonnull(strstr(got, json ? "\\u0001\"," : "\\x01 "));
	}
}
END_TEST

START_TEST(the_longest_line_fits)
{
	static uint8_t junk[4096];

	memset(junk, 1, sizeof junk);
	for (int json = 0; json < 2; json++) {
		struct access_line l = start(json);
		struct slice s = slice_of(junk, sizeof junk);

		l.who.n = accesslog_who(&a, s, s, s, who);
		ck_assert_uint_le(l.who.n, ACCESS_WHO_MAX);
		l.service = l.route = l.method = l.path = l.endpoint = l.request_id = s;
		l.bytes_in = l.rev = UINT64_MAX;
		l.duration_us = l.connect_us = l.response_us = INT64_MAX;
		l.status = 4294967295u;
		accesslog_put(&a, &l);
		ck_assert_uint_le(strlen(line()), ACCESS_LINE_MAX);
	}
}
END_TEST

UNIT_TESTS("accesslog", a_text_line_has_every_field, a_json_line_has_the_same_members,
	   a_grpc_status_is_told_where_there_was_one, attempts_are_told_where_there_were_several, strangers_cannot_break_the_line, long_names_fit_their_room, the_longest_line_fits)
