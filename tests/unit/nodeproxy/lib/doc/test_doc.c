/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Documents: cutting, lines, types, limits, canonical JSON. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>

#include "nodeproxy/lib/doc/doc.h"

static struct doc doc;
static struct doc_error err;

static int one(const char *yaml)
{
	struct doc_stream st;

	doc_stream_init(&st, slice_str(yaml));
	return doc_yaml_next(&st, &doc, &err);
}

START_TEST(every_refusal_names_the_line_and_what_to_do)
{
	static const struct {
		const char *yaml;
		uint32_t line;
		const char *text;
	} row[] = {
		{ "a: 1\nb: &x 2\n", 2, "anchors and aliases are not accepted: write it out" },
		{ "a: *x\n", 1, "anchors and aliases are not accepted: write it out" },
		{ "a: 1\n\nb: &x\n  c: 1\n", 3, "anchors and aliases are not accepted: write it out" },
		{ "a: &x [1]\n", 1, "anchors and aliases are not accepted: write it out" },
		{ "a: 1\nb: !!str 2\n", 2, "tags (!) are not accepted: leave it out" },
		{ "a: !x {b: 1}\n", 1, "tags (!) are not accepted: leave it out" },
		{ "a: 1\nb: 2\na: 3\n", 3, "the key a is there twice" },
		{ "a: {b: 1,\n  \"b\": 2}\n", 2, "the key b is there twice" },
		{ "a:\n  <<: {b: 1}\n", 2, "merge keys (<<) are not accepted: write it out" },
		{ "? [a]\n: b\n", 1, "a key must be plain text" },
		{ "? {a: b}\n: b\n", 1, "a key must be plain text" },
		{ "a: \"x\\0y\"\n", 1, "a NUL byte in a text" },
		{ "a:\n\tb: 1\n", 2, "not YAML: a tab in the indentation: use blanks" },
		{ "a: 1\nb: \xff\n", 2, "not YAML: invalid leading UTF-8 octet (byte 0xff)" },
		{ "a: \x01\n", 1, "not YAML: control characters are not allowed (byte 0x01)" },
		{ "a: [1\nb: 2\n", 2,
		  "not YAML: did not find expected ',' or ']' while parsing a flow sequence, column 2" },
		{ "%TAG ! x\n---\na: 1\n", 1, "directives (%) are not accepted" },
		{ "# x\n%YAML 1.2\na: 1\n", 2, "a directive needs a --- line" },
	};

	for (size_t i = 0; i < countof(row); i++) {
		ck_assert_msg(one(row[i].yaml) == -EINVAL, "%s", row[i].yaml);
		ck_assert_str_eq(err.text, row[i].text);
		ck_assert_msg(err.line == row[i].line, "%s: line %u", row[i].yaml, err.line);
		doc_fini(&doc);
	}
}
END_TEST

START_TEST(plain_scalars_have_the_types_kubernetes_gives_them)
{
	static const struct {
		const char *text;
		enum doc_type type;
		int64_t number;
		bool boolean;
	} row[] = {
		{ "x", DOC_STR, 0, false },	  { "\"1\"", DOC_STR, 0, false },
		{ "'true'", DOC_STR, 0, false },  { "\"\"", DOC_STR, 0, false },
		{ "1", DOC_INT, 1, false },	  { "-7", DOC_INT, -7, false },
		{ "+7", DOC_INT, 7, false },	  { "0", DOC_INT, 0, false },
		{ "9223372036854775807", DOC_INT, INT64_MAX, false },
		{ "9223372036854775808", DOC_NUMBER, 0, false },
		{ "017", DOC_NUMBER, 0, false },  { "0x1f", DOC_NUMBER, 0, false },
		{ "0xg", DOC_STR, 0, false },	  { "1.5", DOC_NUMBER, 0, false },
		{ "1e3", DOC_NUMBER, 0, false },  { "1_000", DOC_NUMBER, 0, false },
		{ ".inf", DOC_NUMBER, 0, false }, { ".NaN", DOC_NUMBER, 0, false },
		{ "1.2.3.4", DOC_STR, 0, false }, { "1e", DOC_STR, 0, false },
		{ "-", DOC_LIST, 0, false },	  { ".", DOC_STR, 0, false },
		{ "true", DOC_BOOL, 0, true },	  { "Yes", DOC_BOOL, 0, true },
		{ "on", DOC_BOOL, 0, true },	  { "FALSE", DOC_BOOL, 0, false },
		{ "no", DOC_BOOL, 0, false },	  { "off", DOC_BOOL, 0, false },
		{ "tRue", DOC_STR, 0, false },	  { "y", DOC_STR, 0, false },
		{ "[]", DOC_LIST, 0, false },	  { "{}", DOC_MAP, 0, false },
		{ "2026-01-31T12:00:00Z", DOC_STR, 0, false },
		{ "64Mi", DOC_STR, 0, false },
	};
	char yaml[80];

	for (size_t i = 0; i < countof(row); i++) {
		const struct doc_node *n;

		snprintf(yaml, sizeof yaml, "a:\n  %s\n", row[i].text);
		ck_assert_msg(one(yaml) == 1, "%s: %s", yaml, err.text);
		n = doc_get(doc.root, "a");
		ck_assert_msg(n && n->type == row[i].type, "%s is type %d", row[i].text, n ? (int)n->type : -1);
		ck_assert_int_eq(n->number, row[i].number);
		ck_assert_int_eq(n->boolean, row[i].boolean);
		doc_fini(&doc);
	}
	static const char *const nulls[] = { "~", "null", "Null", "NULL", "" };

	for (size_t i = 0; i < countof(nulls); i++) {
		snprintf(yaml, sizeof yaml, "a: %s\nb: 1\n", nulls[i]);
		ck_assert_int_eq(one(yaml), 1);
		ck_assert_ptr_null(doc_get(doc.root, "a"));
		ck_assert_uint_eq(doc.root->n, 2);
		doc_fini(&doc);
	}
}
END_TEST

START_TEST(a_broken_document_hides_no_other)
{
	static const char yaml[] = "# only a comment\n"
				   "---\n"
				   "a: 1\n"
				   "---\n"
				   "b: [\n"
				   "--- # a document that says nothing\n"
				   "---\n"
				   "...\n"
				   "c: \"--- is not a line of its own\"\n"
				   "...\n"
				   "%YAML 1.1\n"
				   "--- {d: 4}\n"
				   "---\r\n"
				   "e: |\r\n"
				   "  --- indented\r\n"
				   "---\tx: y\n"
				   "---\n"
				   "f: 6\n";
	static const struct {
		int e;
		uint32_t line;
		const char *key;
	} row[] = {
		{ 1, 3, "a" }, { -EINVAL, 6, NULL }, { 1, 9, "c" },	{ 1, 12, "d" },
		{ 1, 14, "e" }, { -EINVAL, 16, NULL }, { 1, 18, "f" },	{ 0, 0, NULL },
	};
	struct doc_stream st;

	doc_stream_init(&st, slice_str(yaml));
	for (size_t i = 0; i < countof(row); i++) {
		int e = doc_yaml_next(&st, &doc, &err);

		ck_assert_msg(e == row[i].e, "document %zu: %d (%s)", i, e, e < 0 ? err.text : "");
		if (e == 1) {
			ck_assert_uint_eq(doc.line, row[i].line);
			ck_assert_ptr_nonnull(doc_get(doc.root, row[i].key));
			ck_assert_uint_eq(doc_get(doc.root, row[i].key)->line, row[i].line);
		} else if (e < 0) {
			ck_assert_msg(err.line == row[i].line || err.line + 1 == row[i].line, "%u",
				      err.line);
		}
		doc_fini(&doc);
	}
}
END_TEST

START_TEST(a_byte_order_mark_and_crlf_are_taken)
{
	ck_assert_int_eq(one("\xef\xbb\xbf" "a: 1\r\nb: 2\r\n"), 1);
	ck_assert_uint_eq(doc_get(doc.root, "b")->line, 2);
	doc_fini(&doc);
}
END_TEST

START_TEST(members_say_the_line_of_their_key)
{
	ck_assert_int_eq(one("# x\na:\n\n  b:\n  - c: 1\n    d:\n      - 2\n"), 1);
	const struct doc_node *a = doc_get(doc.root, "a"), *b = doc_get(a, "b");

	ck_assert_uint_eq(doc.line, 2);
	ck_assert_uint_eq(a->line, 2);
	ck_assert_uint_eq(b->line, 4);
	ck_assert_uint_eq(b->first->line, 5);
	ck_assert_uint_eq(doc_get(b->first, "d")->line, 6);
	ck_assert_uint_eq(doc_get(b->first, "d")->first->line, 7);
	doc_fini(&doc);
}
END_TEST

START_TEST(depth_size_and_number_of_values_are_bounded)
{
	static char big[2 << 20];
	size_t n = 0;

	for (int i = 0; i < DOC_DEPTH_MAX; i++)
		big[n++] = '[';
	for (int i = 0; i < DOC_DEPTH_MAX; i++)
		big[n++] = ']';
	big[n] = 0;
	ck_assert_int_eq(one(big), 1);
	doc_fini(&doc);
	ck_assert_int_eq(doc_json(slice_str(big), 1, &doc, &err), 0);
	doc_fini(&doc);
	memmove(big + 1, big, n + 1);
	memcpy(big + n + 1, "]", 2);
	ck_assert_int_eq(one(big), -EINVAL);
	ck_assert_str_eq(err.text, "nested deeper than 32");
	doc_fini(&doc);
	ck_assert_int_eq(doc_json(slice_str(big), 7, &doc, &err), -EINVAL);
	ck_assert_str_eq(err.text, "nested deeper than 32");
	ck_assert_uint_eq(err.line, 7);
	doc_fini(&doc);

	n = 0;
	big[n++] = '[';
	for (unsigned i = 0; i < DOC_NODES_MAX; i++, n += 2)
		memcpy(big + n, "1,", 2);
	memcpy(big + n - 1, "]", 2);
	ck_assert_int_eq(one(big), -EINVAL);
	ck_assert_str_eq(err.text, "more than 100000 values in one document");
	doc_fini(&doc);
	ck_assert_int_eq(doc_json(slice_str(big), 1, &doc, &err), -EINVAL);
	ck_assert_str_eq(err.text, "more than 100000 values in one document");
	doc_fini(&doc);

	memset(big, 'x', DOC_BYTES_MAX + 1);
	memcpy(big + DOC_BYTES_MAX + 1, "\n---\na: 1\n", 11);
	struct doc_stream st;

	doc_stream_init(&st, slice_str(big));
	ck_assert_int_eq(doc_yaml_next(&st, &doc, &err), -EINVAL);
	ck_assert_str_eq(err.text, "a document of more than 1048576 bytes");
	doc_fini(&doc);
	ck_assert_int_eq(doc_yaml_next(&st, &doc, &err), 1);
	doc_fini(&doc);
	ck_assert_int_eq(doc_json(slice_of(big, DOC_BYTES_MAX + 1), 1, &doc, &err), -EINVAL);
	doc_fini(&doc);
}
END_TEST

START_TEST(json_is_refused_with_its_place)
{
	static const struct {
		const char *json, *text;
	} row[] = {
		{ "{\"a\":1,\"a\":2}", "not JSON: duplicate object key near '\"a\"', column 10" },
		{ "{\"a\":", "not JSON: unexpected token near end of file, column 5" },
		{ "", "not JSON: '[' or '{' expected near end of file, column 0" },
		{ "{\"a\":\"\\u0000\"}", "not JSON: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"', column 13" },
		{ "{} x", "not JSON: end of file expected near 'x', column 4" },
		{ "{\"a\":99999999999999999999}", "not JSON: too big integer near '99999999999999999999', column 25" },
	};

	for (size_t i = 0; i < countof(row); i++) {
		ck_assert_int_eq(doc_json(slice_str(row[i].json), 1, &doc, &err), -EINVAL);
		if (row[i].json[0])
			ck_assert_str_eq(err.text, row[i].text);
		ck_assert_uint_eq(err.line, 1);
		doc_fini(&doc);
	}
	ck_assert_int_eq(doc_json(SLICE("{\n\"a\": x}"), 10, &doc, &err), -EINVAL);
	ck_assert_uint_eq(err.line, 11);
	doc_fini(&doc);
}
END_TEST

static void canonical_is(const char *want)
{
	char *text;
	size_t n;

	ck_assert_int_eq(doc_canonical(doc.root, &text, &n), 0);
	ck_assert_str_eq(text, want);
	ck_assert_uint_eq(n, strlen(want));
	free(text);
	doc_fini(&doc);
}

START_TEST(the_same_object_gives_the_same_canonical_json)
{
	static const char want[] =
		"{\"a\":[1,-2,true,null,\"x\"],\"b\":{\"B\":\"q\\\"\\\\\\n\\t\\r\\u0001/\xc3\xa9\",\"a\":\"\"},\"z\":{}}";

	ck_assert_int_eq(one("z: {}\nnothing: ~\nb:\n  a: ''\n  B: \"q\\\"\\\\\\n\\t\\r\\x01/\\u00e9\"\n"
			     "a: [1, -2, yes, ~, x]\n"), 1);
	canonical_is(want);
	ck_assert_int_eq(doc_json(slice_str(want), 1, &doc, &err), 0);
	canonical_is(want);
}
END_TEST

START_TEST(a_number_with_two_meanings_has_no_canonical_form)
{
	static const char *const row[] = { "a: 1.5", "a: 0x10", "a: [017]", "a: 1e3" };
	char *text;
	size_t n;

	for (size_t i = 0; i < countof(row); i++) {
		ck_assert_int_eq(one(row[i]), 1);
		ck_assert_int_eq(doc_canonical(doc.root, &text, &n), -EINVAL);
		doc_get(doc.root, "a")->hidden = true;
		canonical_is("{}");
	}
}
END_TEST

static const char *nth_word(const void *arg, unsigned i)
{
	const char *const *words = arg;

	return words[i];
}

START_TEST(a_suggestion_is_near_or_is_not_made)
{
	static const char *const words[] = { "ports", "selector", "type", "clusterIP", "kind", NULL };
	static const struct {
		const char *word, *near;
	} row[] = {
		{ "port", "ports" },   { "prots", "ports" },   { "Ports", "ports" },
		{ "clusterip", "clusterIP" }, { "selectors", "selector" }, { "tpye", "type" },
		{ "", NULL },	       { "x", NULL },	       { "externalName", NULL },
		{ "abcd", NULL },
	};
	char lots[300];

	for (size_t i = 0; i < countof(row); i++) {
		const char *near = doc_nearest(slice_str(row[i].word), nth_word, words);

		ck_assert_msg(near == NULL ? row[i].near == NULL :
					     row[i].near && strcmp(near, row[i].near) == 0,
			      "%s: %s", row[i].word, near ? near : "-");
	}
	memset(lots, 'p', sizeof lots);
	ck_assert_ptr_null(doc_nearest(slice_of(lots, sizeof lots), nth_word, words));
}
END_TEST

START_TEST(strangers_bytes_become_one_line_of_ascii)
{
	char out[8];

	ck_assert_str_eq(doc_clean(SLICE("a\n\xff\"b"), out, sizeof out), "a??\"b");
	ck_assert_str_eq(doc_clean(SLICE("1234567"), out, sizeof out), "1234567");
	ck_assert_str_eq(doc_clean(SLICE("12345678"), out, sizeof out), "1234...");
}
END_TEST

UNIT_TESTS("doc", every_refusal_names_the_line_and_what_to_do,
	   plain_scalars_have_the_types_kubernetes_gives_them, a_broken_document_hides_no_other,
	   a_byte_order_mark_and_crlf_are_taken, members_say_the_line_of_their_key,
	   depth_size_and_number_of_values_are_bounded, json_is_refused_with_its_place,
	   the_same_object_gives_the_same_canonical_json,
	   a_number_with_two_meanings_has_no_canonical_form, a_suggestion_is_near_or_is_not_made,
	   strangers_bytes_become_one_line_of_ascii)
