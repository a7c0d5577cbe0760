/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is read of gRPC: timeouts and statuses. */
#include "tests/unit/test.h"
#include "workers/path/grpc.h"

START_TEST(timeouts_are_read_as_the_protocol_writes_them)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "1H", 3600000 }, { "2M", 120000 }, { "3S", 3000 }, { "100m", 100 },
		{ "1u", 1 }, { "1500u", 2 }, { "1n", 1 }, { "0m", 0 }, { "0n", 0 },
		{ "99999999H", INT32_MAX }, { "99999999n", 100 }, { "99999999S", INT32_MAX },
		{ "", -1 }, { "m", -1 }, { "1", -1 }, { "1s", -1 }, { "1h", -1 }, { "1 m", -1 },
		{ " 1m", -1 }, { "+1m", -1 }, { "-1m", -1 }, { "1.5S", -1 }, { "100000000n", -1 },
		{ "1mm", -1 }, { "0x1m", -1 },
	};

	for (size_t i = 0; i < countof(rows); i++)
		ck_assert_msg(grpc_timeout_ms(slice_str(rows[i].text)) == rows[i].ms, "%s: %lld",
			      rows[i].text, (long long)grpc_timeout_ms(slice_str(rows[i].text)));
}
END_TEST

static struct head head_with(const char *name, const char *value)
{
	struct head h = { .n = 2 };

	h.h[0] = (struct header){ .name = SLICE("content-type"), .value = SLICE("application/grpc") };
	h.h[1] = (struct header){ .name = slice_str(name), .value = slice_str(value) };
	return h;
}

START_TEST(a_status_that_grpc_does_not_have_is_unknown)
{
	static const struct {
		const char *name, *value;
		unsigned status;
	} rows[] = {
		{ "grpc-status", "0", 1 + 0 }, { "Grpc-Status", "16", 1 + 16 }, { "grpc-status", "17", 1 + 2 },
		{ "grpc-status", "", 1 + 2 }, { "grpc-status", "x", 1 + 2 }, { "grpc-message", "1", 0 },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		static struct exchange ex;
		struct head h = head_with(rows[i].name, rows[i].value);

		ex.grpc = 0;
		grpc_status(&ex, &h);
		ck_assert_uint_eq(ex.grpc, rows[i].status);
	}
}
END_TEST

START_TEST(a_deadline_is_counted_from_the_first_byte)
{
	static struct exchange ex;
	struct head h = head_with("grpc-timeout", "250m");

	ex.began.ns = 7 * NS_PER_S;
	grpc_deadline(&ex, &h);
	ck_assert_int_eq(ex.until.ns, 7 * NS_PER_S + 250 * NS_PER_MS);
	ex.until.ns = 0;
	h = head_with("grpc-timeout", "soon");
	grpc_deadline(&ex, &h);
	ck_assert_int_eq(ex.until.ns, 0);
}
END_TEST

START_TEST(pushback_is_a_number_or_no)
{
	static const struct { const char *text; int64_t ms; } rows[] = {
		{ "0", 0 }, { "150", 150 }, { "300000", 300000 }, { "300001", -1 }, { "-1", -1 }, { "", -1 },
		{ "1s", -1 }, { " 1", -1 }, { "+1", -1 }, { "1.5", -1 }, { "99999999999999999999", -1 },
	};

	for (size_t i = 0; i < countof(rows); i++)
		ck_assert_msg(grpc_pushback_ms(slice_str(rows[i].text), 300000) == rows[i].ms, "%s",
			      rows[i].text);
}
END_TEST

UNIT_TESTS("grpc", pushback_is_a_number_or_no, timeouts_are_read_as_the_protocol_writes_them,
	   a_status_that_grpc_does_not_have_is_unknown, a_deadline_is_counted_from_the_first_byte)
