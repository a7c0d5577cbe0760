/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Slices, text building, reasons, log lines, rate limits, sealed memory. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/reason.h"
#include "nodeproxy/lib/base/strbuf.h"

START_TEST(numbers_are_digits_only_and_bounded)
{
	static const struct { const char *s; bool ok; uint64_t v; } row[] = {
		{ "0", true, 0 }, { "42", true, 42 }, { "007", true, 7 },
		{ "18446744073709551615", true, UINT64_MAX }, { "18446744073709551616", false, 0 },
		{ "", false, 0 }, { "+1", false, 0 }, { "-1", false, 0 }, { " 1", false, 0 },
		{ "1 ", false, 0 }, { "0x1", false, 0 }, { "1_0", false, 0 },
		{ "99999999999999999999999", false, 0 },
	};

	for (size_t i = 0; i < countof(row); i++) {
		uint64_t v = 77;

		ck_assert_msg(slice_u64(slice_str(row[i].s), UINT64_MAX, &v) == row[i].ok, "%s",
			      row[i].s);
		ck_assert_uint_eq(v, row[i].ok ? row[i].v : 77);
	}
	uint64_t v;
	ck_assert(!slice_u64(SLICE("65536"), 65535, &v));
}
END_TEST

START_TEST(slices_compare_as_bytes)
{
	ck_assert(slice_eq(SLICE("ab"), SLICE("ab")));
	ck_assert(!slice_eq(SLICE("ab"), SLICE("abc")));
	ck_assert(slice_caseeq(SLICE("Content-Length"), SLICE("content-lENGTH")));
	ck_assert(!slice_caseeq(SLICE("a@"), SLICE("a`")));	/* only letters fold */
	ck_assert_int_lt(slice_cmp(SLICE("a"), SLICE("ab")), 0);
	ck_assert_int_gt(slice_cmp(SLICE("b"), SLICE("ab")), 0);
	ck_assert(slice_starts(SLICE("/api/x"), SLICE("/api")));
	ck_assert(slice_eq(slice_trim(SLICE(" \t x y\t ")), SLICE("x y")));
	ck_assert_uint_eq(slice_from(SLICE("abc"), 9).n, 0);
}
END_TEST

START_TEST(a_text_that_does_not_fit_is_cut_once_and_stays_valid)
{
	char room[8];
	struct strbuf b = strbuf_on(room, sizeof room);

	strbuf_adds(&b, "1234567");
	ck_assert(!b.cut);
	strbuf_addc(&b, '8');
	ck_assert(b.cut);
	strbuf_adds(&b, "");
	ck_assert_str_eq(room, "1234567");
	b = strbuf_on(room, sizeof room);
	strbuf_printf(&b, "%s", "too long for it");
	ck_assert(b.cut);
	ck_assert_str_eq(room, "");
}
END_TEST

START_TEST(bytes_of_strangers_stay_one_line)
{
	char room[200];
	struct strbuf b = strbuf_on(room, sizeof room);

	strbuf_quoted(&b, slice_of("a\"\\\n\x80z", 6), 100);
	ck_assert_str_eq(room, "a\\x22\\x5c\\x0a\\x80z");
	b = strbuf_on(room, sizeof room);
	strbuf_quoted(&b, SLICE("abcdef"), 3);
	ck_assert_str_eq(room, "abc...");
}
END_TEST

START_TEST(json_strings_are_valid_utf8_whatever_came_in)
{
	static const struct { const char *in, *out; } row[] = {
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\n\x01", "\"\\u000a\\u0001\"" },
		{ "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"" },
		{ "\xc3", "\"\\ufffd\"" },			/* cut short */
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },		/* overlong */
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },	/* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf0\x9f\x90\x84", "\"\xf0\x9f\x90\x84\"" },
	};

	for (size_t i = 0; i < countof(row); i++) {
		char room[100];
		struct strbuf b = strbuf_on(room, sizeof room);

		strbuf_json(&b, slice_str(row[i].in));
		ck_assert_str_eq(room, row[i].out);
	}
}
END_TEST

START_TEST(numbers_print_as_printf_does)
{
	char room[64], want[64];
	static const int64_t v[] = { 0, 1, -1, 10, 999, INT64_MAX, INT64_MIN };

	for (size_t i = 0; i < countof(v); i++) {
		struct strbuf b = strbuf_on(room, sizeof room);

		strbuf_i64(&b, v[i]);
		snprintf(want, sizeof want, "%lld", (long long)v[i]);
		ck_assert_str_eq(room, want);
	}
	struct strbuf b = strbuf_on(room, sizeof room);
	strbuf_hex(&b, 0xbeef, 8);
	ck_assert_str_eq(room, "0000beef");
}
END_TEST

START_TEST(every_reason_says_who_is_at_fault_and_why)
{
	for (unsigned i = 0; i < REASONS; i++) {
		const struct reason_row *r = reason_row((enum reason)i);

		ck_assert_msg(r->name && r->words[0] && r->flag[0], "reason %u", i);
		/* What nobody is to blame for may be a good answer of our own. */
		ck_assert_msg(r->http == 0 || (r->http >= 400 && r->http < 600) ||
			      (r->fault == FAULT_NOBODY && r->http >= 200 && r->http < 400), "%s", r->name);
		ck_assert_msg(r->retry == RETRY_NO || r->http >= 500, "%s", r->name);
		ck_assert_str_ne(fault_name(r->fault), "");
	}
	ck_assert_str_eq(reason_row((enum reason)9999)->name, "OUR_BUG");
}
END_TEST

START_TEST(a_bucket_gives_its_burst_then_its_rate)
{
	struct ratelimit r = ratelimit_of(10, 5);
	struct mono t = { NS_PER_S };
	unsigned n = 0;

	while (ratelimit_take(&r, t))
		n++;
	ck_assert_uint_eq(n, 5);
	t.ns += NS_PER_S / 2;
	for (n = 0; ratelimit_take(&r, t);)
		n++;
	ck_assert_uint_eq(n, 5);
	t.ns += 3600 * NS_PER_S;		/* saved up no more than the burst */
	for (n = 0; ratelimit_take(&r, t);)
		n++;
	ck_assert_uint_eq(n, 5);
	t.ns -= NS_PER_S;			/* a clock that steps back gives nothing and breaks nothing */
	ck_assert(!ratelimit_take(&r, t));
	ck_assert_uint_eq(r.refused, 4);
}
END_TEST

START_TEST(only_sealed_memory_is_mapped)
{
	struct fd f, g;
	struct slice m;

	ck_assert_int_eq(memfd_sealed("t", SLICE("hello"), &f), 0);
	ck_assert_int_eq(memfd_map_sealed(f, 4, &m), -EMSGSIZE);
	ck_assert_int_eq(memfd_map_sealed(f, 100, &m), 0);
	ck_assert(slice_eq(m, SLICE("hello")));
	ck_assert_int_lt(write(f.v, "x", 1), 0);
	memfd_unmap(&m);
	fd_close(&f);

	g.v = memfd_create("u", MFD_ALLOW_SEALING);
	ck_assert_int_eq(write(g.v, "hello", 5), 5);
	ck_assert_int_eq(memfd_map_sealed(g, 100, &m), -EPERM);
	fd_close(&g);
}
END_TEST

START_TEST(shared_memory_can_be_closed_to_later_writers)
{
	struct fd f;
	void *w, *r;

	ck_assert_int_eq(memfd_shared("t", 8192, &f), 0);
	ck_assert_int_eq(memfd_map_shared(f, 8193, true, &w), -EMSGSIZE);
	ck_assert_int_eq(memfd_map_shared(f, 8192, true, &w), 0);
	ck_assert_int_eq(memfd_seal_future_writes(f), 0);
	ck_assert_int_lt(memfd_map_shared(f, 8192, true, &r), 0);
	ck_assert_int_eq(memfd_map_shared(f, 8192, false, &r), 0);
	*(int *)w = 7;
	ck_assert_int_eq(*(int *)r, 7);
	munmap(w, 8192);
	munmap(r, 8192);
	fd_close(&f);
}
END_TEST

START_TEST(an_event_line_goes_to_the_ring_as_one_line)
{
	static _Alignas(64) uint8_t mem[RING_BYTES(4096)];
	struct ring_shared *sh = (struct ring_shared *)mem;
	struct ring w, r;
	enum ring_kind kind;
	uint8_t out[RING_RECORD_MAX + 1];
	size_t n;

	ring_format(sh, 4096);
	ck_assert_int_eq(ring_open_writer(&w, sh, sizeof mem), 0);
	ck_assert_int_eq(ring_open_reader(&r, sh, sizeof mem), 0);
	log_init("test", &w);
	log_info("thing_happened", "name=%s", "a\nb");
	log_debug("not_written", "x=%d", 1);
	log_init("test", NULL);
	ck_assert(ring_take(&r, &kind, out, &n));
	out[n] = 0;
	ck_assert_int_eq(kind, RING_EVENT);
	ck_assert_ptr_nonnull(strstr((char *)out, "level=info role=test event=thing_happened name=a b"));
	ck_assert(!ring_take(&r, &kind, out, &n));
	ck_assert_int_eq(log_level_of("warn"), LOG_WARN);
	ck_assert_int_eq(log_level_of("loud"), -1);
}
END_TEST

UNIT_TESTS("text", numbers_are_digits_only_and_bounded, slices_compare_as_bytes,
	   a_text_that_does_not_fit_is_cut_once_and_stays_valid, bytes_of_strangers_stay_one_line,
	   json_strings_are_valid_utf8_whatever_came_in, numbers_print_as_printf_does,
	   every_reason_says_who_is_at_fault_and_why, a_bucket_gives_its_burst_then_its_rate,
	   only_sealed_memory_is_mapped, shared_memory_can_be_closed_to_later_writers,
	   an_event_line_goes_to_the_ring_as_one_line)
