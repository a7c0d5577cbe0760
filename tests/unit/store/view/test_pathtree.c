/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Path -> rule -> backend, in Gateway API precedence. */
#include <stdio.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

static struct vport port_of(const struct view *v, uint16_t number)
{
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, number, &p));
	return p;
}

static enum match_result match_path(const struct vport *p, struct slice path, struct vrule *ret)
{
	struct vrequest q = { .method = SLICE("GET"), .path = path };

	return vport_match(p, SLICE("shop"), &q, ret);
}

/* "route/rule", "direct" or "nothing". */
static const char *match(const struct view *v, uint16_t number, const char *path)
{
	static char out[128];
	struct vport p = port_of(v, number);
	struct vrule r;

	switch (match_path(&p, slice_str(path), &r)) {
	case MATCH_DIRECT:
		return "direct";
	case MATCH_NOTHING:
	case MATCH_BY_NAME:
		return "nothing";
	case MATCH_RULE:
		snprintf(out, sizeof out, "%.*s/%.*s", (int)r.route_name.n, r.route_name.p,
			 (int)r.rule_name.n, r.rule_name.p);
	}
	return out;
}

START_TEST(a_port_without_routes_serves_itself)
{
	struct view *v = view_from("service shop/web port=80\n");

	ck_assert_str_eq(match(v, 80, "/"), "direct");
	view_unref(v);
}
END_TEST

START_TEST(exact_beats_prefix_and_longer_beats_shorter)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route shop/r parent=shop/web\n"
				   "rule name=root prefix=/\n"
				   "rule name=a prefix=/a\n"
				   "rule name=ab prefix=/a/b\n"
				   "rule name=exact exact=/a/b\n"
				   "rule name=long prefix=/a/b/c/d\n");
	static const struct {
		const char *path, *want;
	} row[] = {
		{ "/", "r/root" },	  { "/x", "r/root" },	      { "/a", "r/a" },
		{ "/a/", "r/a" },	  { "/ab", "r/root" },	      { "/a/b", "r/exact" },
		{ "/a/b/", "r/ab" },	  { "/a/b/c", "r/ab" },	      { "/a/bc", "r/a" },
		{ "/a/b/c/d", "r/long" }, { "/a/b/c/d/e", "r/long" }, { "/a/b/c/dd", "r/ab" },
		{ "//a", "r/root" },	  { "/A", "r/root" },	      { "", "r/root" },
		{ "*", "nothing" },	  { "a", "nothing" },
	};

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(strcmp(match(v, 80, row[i].path), row[i].want) == 0,
			      "%s -> %s, not %s", row[i].path, match(v, 80, row[i].path),
			      row[i].want);
	view_unref(v);
}
END_TEST

START_TEST(a_trailing_slash_of_a_prefix_means_nothing_but_length)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route shop/r parent=shop/web\n"
				   "rule name=short prefix=/foo\n"
				   "rule name=slash prefix=/foo/\n"
				   "rule name=exact exact=/foo/\n");

	ck_assert_str_eq(match(v, 80, "/foo"), "r/slash");
	ck_assert_str_eq(match(v, 80, "/foo/bar"), "r/slash");
	ck_assert_str_eq(match(v, 80, "/foo/"), "r/exact");
	ck_assert_str_eq(match(v, 80, "/foobar"), "nothing");
	view_unref(v);
}
END_TEST

START_TEST(the_oldest_route_wins_then_the_first_name)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route shop/young parent=shop/web created=2000\n"
				   "rule name=1 prefix=/a\n"
				   "rule name=2 prefix=/b\n"
				   "rule name=3 exact=/c\n"
				   "route shop/old parent=shop/web created=1000\n"
				   "rule name=1 prefix=/a\n"
				   "rule name=2 exact=/c\n"
				   "route shop/also-old parent=shop/web created=1000\n"
				   "rule name=1 prefix=/a\n"
				   "rule name=2 prefix=/a\n"
				   "route shop/ageless parent=shop/web\n"
				   "rule name=1 prefix=/b\n");

	ck_assert_str_eq(match(v, 80, "/a"), "also-old/1");
	ck_assert_str_eq(match(v, 80, "/b"), "ageless/1");
	ck_assert_str_eq(match(v, 80, "/c"), "old/2");
	view_unref(v);
}
END_TEST

START_TEST(a_longer_prefix_of_a_young_route_beats_an_old_route)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route shop/young parent=shop/web created=2000\n"
				   "rule name=1 prefix=/a/b\n"
				   "route shop/old parent=shop/web created=1000\n"
				   "rule name=1 prefix=/a\n");

	ck_assert_str_eq(match(v, 80, "/a/b"), "young/1");
	ck_assert_str_eq(match(v, 80, "/a"), "old/1");
	view_unref(v);
}
END_TEST

START_TEST(a_route_binds_only_the_ports_it_names)
{
	struct view *v = view_from("service shop/web port=80/http port=81/alt port=82/raw\n"
				   "route shop/by-number parent=shop/web:80\n"
				   "rule name=1\n"
				   "route shop/by-name parent=shop/web#alt\n"
				   "rule name=1 prefix=/alt\n"
				   "route shop/mismatch parent=shop/web:82#alt\n"
				   "rule name=1\n"
				   "route shop/other parent=shop/db\n"
				   "rule name=1\n");

	ck_assert_str_eq(match(v, 80, "/"), "by-number/1");
	ck_assert_str_eq(match(v, 81, "/alt/x"), "by-name/1");
	ck_assert_str_eq(match(v, 81, "/"), "nothing");
	ck_assert_str_eq(match(v, 82, "/"), "direct");
	view_unref(v);
}
END_TEST

START_TEST(a_consumer_route_does_not_bind_everybody)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route bank/mine parent=shop/web\n"
				   "rule name=1\n");

	ck_assert_str_eq(match(v, 80, "/"), "direct");
	view_unref(v);
}
END_TEST

START_TEST(rules_are_listed_in_order_of_precedence)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route shop/r parent=shop/web\n"
				   "rule prefix=/a exact=/z prefix=/a/b\n"
				   "rule prefix=/ exact=/b\n");
	static const char *const want[] = { "Exact /b", "Exact /z", "PathPrefix /a/b",
					    "PathPrefix /a", "PathPrefix /" };
	struct vport p = port_of(v, 80);
	struct vrule r;
	char words[64];

	ck_assert_uint_eq(vport_rules(&p), 5);
	for (uint32_t i = 0; i < 5; i++) {
		ck_assert(vport_rule_at(&p, i, &r));
		ck_assert_uint_eq(r.index, i);
		vrule_words(&r, words, sizeof words);
		ck_assert_str_eq(words, want[i]);
	}
	ck_assert(!vport_rule_at(&p, 5, &r));
	view_unref(v);
}
END_TEST

START_TEST(backends_share_by_weight)
{
	struct view *v =
		view_from("service shop/web port=80\n"
			  "service shop/v2 port=80\n"
			  "service bank/web port=80\n"
			  "route shop/r parent=shop/web\n"
			  "rule backend=shop/web:80*3 backend=shop/v2:80*0 backend=shop/v2:80*2 "
			  "backend=shop/none:80 backend=shop/v2:99 backend=bank/web:80\n");
	static const char *const want[] = { "web", "web", "web", "v2", "v2", "none", "v2", "web" };
	struct vport p = port_of(v, 80);
	struct vbackend b;
	struct vrule r;

	ck_assert_int_eq(match_path(&p, SLICE("/"), &r), MATCH_RULE);
	ck_assert_uint_eq(r.backends, 6);
	ck_assert_uint_eq(r.total_weight, 8);
	for (uint32_t dice = 0; dice < 8; dice++) {
		ck_assert(vrule_backend(&r, dice, &b));
		ck_assert(slice_eq(b.name, slice_str(want[dice])));
		/* No such Service; no such port; another namespace without a grant. */
		ck_assert_int_eq(b.valid, dice < 5);
	}
	ck_assert(!vrule_backend(&r, 8, &b));
	ck_assert(vrule_backend(&r, 4, &b));
	ck_assert(slice_eq(vservice_name(&b.port.service), SLICE("v2")));
	ck_assert_uint_eq(b.port.port, 80);
	view_unref(v);
}
END_TEST

START_TEST(a_rule_without_backends_matches_and_has_no_weight)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "route shop/r parent=shop/web\n"
				   "rule name=empty prefix=/gone\n");
	struct vport p = port_of(v, 80);
	struct vbackend b;
	struct vrule r;

	ck_assert_int_eq(match_path(&p, SLICE("/gone"), &r), MATCH_RULE);
	ck_assert_uint_eq(r.total_weight, 0);
	ck_assert(!vrule_backend(&r, 0, &b));
	view_unref(v);
}
END_TEST

START_TEST(a_backend_that_comes_later_needs_no_new_route)
{
	struct world *w = world_new();
	struct vbackend b;
	struct vport p;
	struct vrule r;

	world_say(w, "service shop/web port=80\n"
		     "route shop/r parent=shop/web\n"
		     "rule backend=shop/late:80\n");
	for (int there = 0; there < 2; there++) {
		p = port_of(world_view(w), 80);
		ck_assert_int_eq(match_path(&p, SLICE("/"), &r), MATCH_RULE);
		ck_assert(vrule_backend(&r, 0, &b));
		ck_assert_int_eq(b.valid, there);
		world_say(w, "service shop/late port=80\n");
	}
	world_free(&w);
}
END_TEST

/* The obvious way, to compare with: every entry, in the order the view lists them. */
static uint32_t slow_match(const struct vport *p, struct slice path)
{
	struct vrule r;
	char words[256];

	for (uint32_t i = 0; vport_rule_at(p, i, &r); i++) {
		bool exact;
		struct slice key;

		vrule_words(&r, words, sizeof words);
		exact = words[0] == 'E';
		key = slice_str(strchr(words, ' ') + 1);
		if (exact) {
			if (slice_eq(key, path))
				return i;
			continue;
		}
		while (key.n && key.p[key.n - 1] == '/')
			key.n--;
		if (slice_starts(path, key) && (path.n == key.n || path.p[key.n] == '/'))
			return i;
	}
	return UINT32_MAX;
}

static size_t random_path(char *out)
{
	size_t n = 0;

	for (uint32_t k = rand_below(5) + 1; k; k--) {
		out[n++] = '/';
		for (uint32_t c = rand_below(3); c; c--)
			out[n++] = (char)('a' + rand_below(2));
	}
	out[n] = 0;
	return n;
}

START_TEST(the_search_agrees_with_trying_every_rule)
{
	rand_seed(7);
	for (int round = 0; round < 60; round++) {
		char text[16384], path[64];
		struct view *v;
		struct vport p;
		int at = snprintf(text, sizeof text, "service shop/web port=80\n");

		for (uint32_t k = rand_below(4) + 1; k; k--) {
			at += snprintf(text + at, sizeof text - (size_t)at,
				       "route shop/r%u parent=shop/web created=%u\n", k,
				       rand_below(3));
			for (uint32_t m = rand_below(12) + 1; m; m--) {
				random_path(path);
				at += snprintf(text + at, sizeof text - (size_t)at, "rule %s=%s\n",
					       rand_below(3) ? "prefix" : "exact", path);
			}
		}
		v = view_from(text);
		p = port_of(v, 80);
		for (int i = 0; i < 300; i++) {
			struct slice s = slice_of(path, random_path(path));
			struct vrule r;
			bool hit = match_path(&p, s, &r) == MATCH_RULE;
			uint32_t want = slow_match(&p, s);

			ck_assert_msg((hit ? r.index : UINT32_MAX) == want, "%s: %u, not %u\n%s",
				      path, hit ? r.index : UINT32_MAX, want, text);
		}
		view_unref(v);
	}
}
END_TEST

UNIT_TESTS("pathtree", a_port_without_routes_serves_itself,
	   exact_beats_prefix_and_longer_beats_shorter,
	   a_trailing_slash_of_a_prefix_means_nothing_but_length,
	   the_oldest_route_wins_then_the_first_name,
	   a_longer_prefix_of_a_young_route_beats_an_old_route,
	   a_route_binds_only_the_ports_it_names, a_consumer_route_does_not_bind_everybody,
	   rules_are_listed_in_order_of_precedence, backends_share_by_weight,
	   a_rule_without_backends_matches_and_has_no_weight,
	   a_backend_that_comes_later_needs_no_new_route, the_search_agrees_with_trying_every_rule)
