/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The rows of kinds.def, and the readers of texts. */
#include "tests/unit/test.h"

#include "store/resource/schema.h"

START_TEST(times_are_rfc_3339)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t ms;
	} row[] = {
		{ "1970-01-01T00:00:00Z", true, 0 },
		{ "2026-11-22T18:15:39Z", true, 1795371339000 },
		{ "2026-11-22t18:15:39.5z", true, 1795371339500 },
		{ "2026-11-22T18:15:39.123456789Z", true, 1795371339123 },
		{ "2026-11-22T19:15:39+01:00", true, 1795371339000 },
		{ "2026-11-22T12:45:39-05:30", true, 1795371339000 },
		{ "2024-02-29T00:00:00Z", true, 1709164800000 },
		{ "1970-01-01T00:00:00+01:00", true, 0 },	/* not before the epoch */
		{ "2025-02-29T00:00:00Z", false, 0 },	{ "2100-02-29T00:00:00Z", false, 0 },
		{ "2026-13-01T00:00:00Z", false, 0 },	{ "2026-00-01T00:00:00Z", false, 0 },
		{ "2026-01-00T00:00:00Z", false, 0 },	{ "2026-01-01T24:00:00Z", false, 0 },
		{ "2026-01-01T00:60:00Z", false, 0 },	{ "2026-01-01 00:00:00Z", false, 0 },
		{ "2026-01-01T00:00:00", false, 0 },	{ "2026-01-01T00:00:00.Z", false, 0 },
		{ "2026-01-01T00:00:00+0100", false, 0 }, { "2026-01-01T00:00:00Zx", false, 0 },
		{ "1969-12-31T23:59:59Z", false, 0 },	{ "", false, 0 },
		{ "2026-01-01T00:00:00+01:0", false, 0 }, { "2026-01-01T00:00:00.1", false, 0 },
	};

	for (size_t i = 0; i < countof(row); i++) {
		int64_t ms = -1;

		ck_assert_msg(schema_time(slice_str(row[i].text), &ms) == row[i].ok, "%s", row[i].text);
		if (row[i].ok)
			ck_assert_msg(ms == row[i].ms, "%s: %lld", row[i].text, (long long)ms);
	}
}
END_TEST

START_TEST(quantities_are_those_of_kubernetes_rounded_up)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t v;
	} row[] = {
		{ "0", true, 0 },	     { "64Mi", true, 64 << 20 },   { "1.5Ki", true, 1536 },
		{ "1k", true, 1000 },	     { "1M", true, 1000000 },	   { "2G", true, 2000000000 },
		{ "1T", true, 1000000000000 }, { "1Ti", true, 1ull << 40 }, { "0.1", true, 1 },
		{ "1.0000000001", true, 2 }, { ".5Gi", true, 1 << 29 },	   { "5.", true, 5 },
		{ "8Pi", true, 8ull << 50 }, { "999999999999999999", true, 999999999999999999ull },
		{ "999999999999999999P", false, 0 }, { "9999999999999999999", false, 0 },
		{ "", false, 0 },	     { "Mi", false, 0 },	   { "-1", false, 0 },
		{ "1 Mi", false, 0 },	     { "1MB", false, 0 },	   { "1.2.3", false, 0 },
		{ "1K", false, 0 },	     { "1mi", false, 0 },	   { ".", false, 0 },
	};

	for (size_t i = 0; i < countof(row); i++) {
		uint64_t v = 77;

		ck_assert_msg(schema_quantity(slice_str(row[i].text), &v) == row[i].ok, "%s", row[i].text);
		ck_assert_msg(v == (row[i].ok ? row[i].v : 77), "%s: %llu", row[i].text,
			      (unsigned long long)v);
	}
}
END_TEST

START_TEST(durations_are_those_of_gep_2257)
{
	static const struct {
		const char *text;
		bool ok;
		uint32_t ms;
		const char *again;
	} row[] = {
		{ "0h", true, 0, "0s" },	     { "0h0m0s", true, 0, "0s" },
		{ "150m", true, 9000000, "2h30m" },  { "7230s", true, 7230000, "2h30s" },
		{ "10s30m1h", true, 5410000, "1h30m10s" },
		{ "100ms200ms300ms", true, 600, "600ms" },
		{ "1h1m1s1ms", true, 3661001, "1h1m1s1ms" },
		{ "00001s", true, 1000, "1s" },	     { "1s1s", true, 2000, "2s" },
		{ "99999h", true, UINT32_MAX, "1193h2m47s295ms" },
		{ "99999h99999h99999h99999h", true, UINT32_MAX, "1193h2m47s295ms" },
		{ "1", false, 0, "" },		     { "1m1", false, 0, "" },
		{ "1d", false, 0, "" },		     { "1h30m10s20ms50h", false, 0, "" },
		{ "999999h", false, 0, "" },	     { "1.5h", false, 0, "" },
		{ "-15m", false, 0, "" },	     { "", false, 0, "" },
		{ "s", false, 0, "" },		     { "1 s", false, 0, "" },
		{ "1S", false, 0, "" },		     { "1msm", false, 0, "" },
		{ "1s ", false, 0, "" },	     { "+1s", false, 0, "" },
		{ "18446744073709551616ms", false, 0, "" },
	};

	for (size_t i = 0; i < countof(row); i++) {
		char text[SCHEMA_DURATION_TEXT];
		uint32_t ms = 77;

		ck_assert_msg(schema_duration(slice_str(row[i].text), &ms) == row[i].ok, "%s",
			      row[i].text);
		ck_assert_msg(ms == (row[i].ok ? row[i].ms : 77), "%s: %u", row[i].text, ms);
		if (row[i].ok)
			ck_assert_str_eq(schema_duration_text(ms, text), row[i].again);
	}
}
END_TEST

START_TEST(every_row_can_be_explained)
{
	const struct schema_field *f;
	const struct schema_kind *k;
	bool used[SCHEMA_OBJECTS] = { false };

	for (unsigned i = 0; (k = schema_kind_at(i)); i++) {
		ck_assert_int_eq(k->row, (int)i);
		ck_assert_str_eq(k->kind, row_kind_name(k->row));
		ck_assert(k->help[0] && k->versions[0]);
		used[k->object] = true;
	}
	for (unsigned i = 0; (f = schema_field_at(i)); i++) {
		bool top = strcmp(f->name, "apiVersion") == 0 || strcmp(f->name, "kind") == 0 ||
			   strcmp(f->name, "metadata") == 0 || strcmp(f->name, "spec") == 0;

		ck_assert_msg(f->help[0] || top, "%s has no help", f->name);
		used[f->of] |= f->of != SCHEMA_NO_OBJECT;
		ck_assert((f->type == SCHEMA_OBJ || f->type == SCHEMA_OBJS) == (f->of != SCHEMA_NO_OBJECT));
		ck_assert((f->type == SCHEMA_CHOICE || f->type == SCHEMA_CHOICES) == (f->values != NULL));
		/* Dropped and refused parts are not looked into. */
		if (f->word == SCHEMA_DROPPED || f->word == SCHEMA_REFUSED)
			ck_assert_int_eq(f->type, SCHEMA_ANY);
		/* The rows of an object stand together: the walk relies on it. */
		for (unsigned j = 0; i && f->object != schema_field_at(i - 1)->object && j < i; j++)
			ck_assert(schema_field_at(j)->object != f->object);
		for (unsigned j = 0; j < i; j++)
			ck_assert(schema_field_at(j)->object != f->object ||
				  strcmp(schema_field_at(j)->name, f->name) != 0);
	}
	for (unsigned o = 1; o < SCHEMA_OBJECTS; o++)
		ck_assert_msg(used[o] && schema_field_of(o, 0), "object %u", o);
}
END_TEST

UNIT_TESTS("schema", times_are_rfc_3339, quantities_are_those_of_kubernetes_rounded_up,
	   durations_are_those_of_gep_2257,
	   every_row_can_be_explained)
