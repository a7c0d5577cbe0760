/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The builder: when a base, when an overlay, and that whatever it decides, the view says the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/view/layout.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

static void set_ns(struct builder *b, int i, uint32_t weight)
{
	char name[16];
	struct unit_namespace u = { .weight = weight };

	u.name = slice_of(name, (size_t)snprintf(name, sizeof name, "n%d", i));
	ck_assert_int_eq(builder_set_namespace(b, &u), 0);
}

static uint32_t weight_of(const struct view *v, int i)
{
	char name[16];
	struct vnamespace ns;

	view_namespace(v, slice_of(name, (size_t)snprintf(name, sizeof name, "n%d", i)), &ns);
	return ns.weight;
}

static struct view *open_base(struct built *f)
{
	struct view *v;

	ck_assert(f->is_base);
	ck_assert_int_eq(view_open_base(&f->fd, f->rev, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	return v;
}

START_TEST(the_first_commit_is_a_base_the_next_an_overlay)
{
	struct builder *b;
	struct built f;

	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	ck_assert_int_eq(builder_commit(b, 3, &f), 0);
	ck_assert(f.is_base);
	ck_assert_uint_eq(f.rev, 3);
	ck_assert_uint_eq(f.base_rev, 3);
	fd_close(&f.fd);
	ck_assert_int_eq(builder_commit(b, 3, &f), -EINVAL);
	ck_assert_int_eq(builder_commit(b, 7, &f), 0); /* nothing changed: the revision did */
	ck_assert(!f.is_base);
	ck_assert_uint_eq(f.rev, 7);
	ck_assert_uint_eq(f.base_rev, 3);
	fd_close(&f.fd);
	builder_free(&b);
}
END_TEST

START_TEST(what_did_not_change_is_not_in_the_overlay)
{
	struct builder_stats st;
	struct builder *b;
	struct built f;

	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	for (int i = 0; i < 100; i++)
		set_ns(b, i, 1);
	ck_assert_int_eq(builder_commit(b, 1, &f), 0);
	fd_close(&f.fd);
	for (int i = 0; i < 100; i++)
		set_ns(b, i, i == 50 ? 2 : 1);
	builder_stats(b, &st);
	ck_assert_uint_eq(st.overlay_units, 1);
	ck_assert_uint_eq(st.namespaces, 100);
	builder_free(&b);
}
END_TEST

START_TEST(a_grown_overlay_becomes_a_base_in_the_background)
{
	struct builder *b;
	struct built f;
	struct view *v;
	uint64_t rev = 1;
	int slices = 0, r;

	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	for (int i = 0; i < 1000; i++)
		set_ns(b, i, 1);
	ck_assert_int_eq(builder_commit(b, rev, &f), 0);
	fd_close(&f.fd);
	for (int i = 0; i <= 256; i++) {
		ck_assert(!builder_wants_work(b));
		set_ns(b, i, 2);
		ck_assert_int_eq(builder_commit(b, ++rev, &f), 0);
		ck_assert(!f.is_base);
		fd_close(&f.fd);
	}
	ck_assert(builder_wants_work(b));
	/* Changes before, at and after the place where the job is: all of them are in the base. */
	for (;;) {
		r = builder_work(b, 0, &f);
		if (r != 0)
			break;
		if (slices == 5) {
			struct built over;

			set_ns(b, 3, 30);
			set_ns(b, 900, 31);
			set_ns(b, 5000, 32);
			ck_assert_int_eq(builder_remove_namespace(b, SLICE("n10")), 0);
			ck_assert_int_eq(builder_remove_namespace(b, SLICE("n910")), 0);
			ck_assert(!builder_wants_work(b));
			ck_assert_int_eq(builder_work(b, 1000, &over), 0);
			ck_assert_int_eq(builder_commit(b, ++rev, &over), 0);
			fd_close(&over.fd);
		}
		slices++;
	}
	ck_assert_int_eq(r, 1);
	ck_assert_int_gt(slices, 20);
	ck_assert_uint_eq(f.rev, rev);
	ck_assert(!builder_wants_work(b));
	v = open_base(&f);
	ck_assert_uint_eq(weight_of(v, 3), 30);
	ck_assert_uint_eq(weight_of(v, 4), 2);
	ck_assert_uint_eq(weight_of(v, 257), 1);
	ck_assert_uint_eq(weight_of(v, 900), 31);
	ck_assert_uint_eq(weight_of(v, 5000), 32);
	ck_assert_uint_eq(view_namespace_count(v), 1000 + 1 - 2);
	/* And the next overlay lies on it. */
	set_ns(b, 1, 99);
	ck_assert_int_eq(builder_commit(b, ++rev, &f), 0);
	ck_assert(!f.is_base);
	ck_assert_uint_eq(f.base_rev, rev - 1);
	fd_close(&f.fd);
	view_unref(v);
	builder_free(&b);
}
END_TEST

START_TEST(very_much_at_once_is_a_base_at_once)
{
	struct builder *b;
	struct built f;

	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	ck_assert_int_eq(builder_commit(b, 1, &f), 0);
	fd_close(&f.fd);
	for (int i = 0; i < 5000; i++)
		set_ns(b, i, 1);
	ck_assert_int_eq(builder_commit(b, 2, &f), 0);
	ck_assert(f.is_base);
	ck_assert(!builder_wants_work(b));
	fd_close(&f.fd);
	builder_free(&b);
}
END_TEST

START_TEST(large_units_end_an_overlay_by_bytes)
{
	struct world *w = world_new();
	char *text = malloc(1 << 20);
	struct builder_stats st;
	int services = 0;

	world_say(w, "service shop/a port=80\n");
	do {
		int at = snprintf(text, 1 << 20,
				  "service shop/s%d port=80 port=81 port=82 port=83\n", services++);

		for (int i = 0; i < 250; i++)
			at += snprintf(text + at, (1u << 20) - (size_t)at,
				       "endpoint shop/s%d 10.0.0.%d:80 node=node-%d\n",
				       services - 1, i, i);
		ck_assert(!builder_wants_work(world_builder(w)));
		world_say(w, text);
		builder_stats(world_builder(w), &st);
	} while (st.overlay_bytes <= 1u << 20);
	ck_assert_uint_lt(st.overlay_units, 256);
	ck_assert(builder_wants_work(world_builder(w)));
	free(text);
	world_free(&w);
}
END_TEST

START_TEST(ids_of_names_that_are_gone_are_used_again)
{
	struct builder *b;
	struct built f;
	struct view *v;

	/* Names come and go for ever; the directory must not grow with them. */
	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	for (int round = 0; round < 12; round++) {
		struct view_head h;
		uint32_t last_id;

		for (int i = 0; i < 1200; i++) {
			char name[16];
			struct slice s = slice_of(name, (size_t)snprintf(name, sizeof name, "n%d",
									 (round - 1) * 1200 + i));

			if (round)
				ck_assert_int_eq(builder_remove_namespace(b, s), 0);
			set_ns(b, round * 1200 + i, 7);
		}
		ck_assert_int_eq(builder_commit(b, (uint64_t)round + 1, &f), 0);
		ck_assert_int_eq(pread(f.fd.v, &h, sizeof h, 0), sizeof h);
		ck_assert_int_eq(pread(f.fd.v, &last_id, 4,
				       (off_t)(h.dir + (h.n_dir - 1) * sizeof(struct view_dir))),
				 4);
		v = open_base(&f);
		ck_assert_uint_eq(view_namespace_count(v), 1200);
		ck_assert_uint_eq(weight_of(v, round * 1200), 7);
		ck_assert_uint_eq(weight_of(v, round * 1200 - 1), 1);
		view_unref(v);
		ck_assert_uint_le(last_id, 4 * 1200);
	}
	builder_free(&b);
}
END_TEST

/* ---- a long random life, compared with a view made from scratch ---- */

static void random_line(char *out, size_t n)
{
	uint32_t svc = rand_below(12), ns = rand_below(3);

	switch (rand_below(9)) {
	case 0:
		snprintf(out, n, "remove service ns%u/s%u\n", ns, svc);
		break;
	case 1:
		snprintf(out, n, "remove endpoints ns%u/s%u\n", ns, svc);
		break;
	case 2:
	case 3:
		snprintf(out, n, "service ns%u/s%u vip=10.96.%u.%u port=80 port=%u/x\n", ns, svc,
			 ns, svc + 20 * rand_below(2), 81 + rand_below(3));
		break;
	case 4:
	case 5:
		snprintf(out, n, "endpoint ns%u/s%u 10.0.0.%u:80%s\n", ns, svc, rand_below(250),
			 rand_below(3) ? "" : " notready");
		break;
	case 6:
		snprintf(out, n, "namespace ns%u weight=%u\n", ns, 1 + rand_below(9));
		break;
	case 7:
		snprintf(out, n,
			 "route ns%u/r%u parent=ns%u/s%u created=%u\nrule prefix=/p%u "
			 "backend=ns%u/s%u:80\n",
			 ns, rand_below(4), ns, svc, rand_below(4), rand_below(9), ns,
			 rand_below(14));
		break;
	case 8:
		snprintf(out, n, "remove route ns%u/r%u\n", ns, rand_below(4));
		break;
	}
}

static void assert_found(const struct view *v)
{
	for (uint32_t i = 0; i < view_service_count(v); i++) {
		struct vservice s, t;
		struct addr vip;

		ck_assert(view_service_nth(v, i, &s));
		ck_assert(view_service_by_name(v, vservice_ns(&s), vservice_name(&s), &t));
		ck_assert_uint_eq(s.id, t.id);
		ck_assert_ptr_eq(s.unit, t.unit);
		if (vservice_vip(&s, 0, &vip)) {
			ck_assert(view_service_by_vip(v, &vip, &t));
			ck_assert(vservice_vip(&t, 0, &vip));
		}
	}
}

START_TEST(however_it_came_about_the_view_is_the_same)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct world *w = world_new();
		char *all = calloc(1, 1 << 20);
		size_t n = 0;

		rand_seed(seed);
		for (int step = 0; step < 120; step++) {
			char line[256];
			const struct view *v;
			struct view *fresh;
			char *a, *b;

			random_line(line, sizeof line);
			memcpy(all + n, line, strlen(line) + 1);
			n += strlen(line);
			v = world_say(w, line);
			if (rand_below(10) == 0) {
				/* A great deal of noise, so that bases come too. */
				struct builder *bl = world_builder(w);

				for (int i = 0; i < 300; i++)
					set_ns(bl, i, 1 + rand_below(9));
				v = world_say(w, "");
				v = world_work(w, rand_below(2) ? 3 : 1000, 5);
				for (int i = 0; i < 300; i++) {
					char name[16];
					struct slice s = slice_of(
						name, (size_t)snprintf(name, 16, "n%d", i));

					ck_assert_int_eq(builder_remove_namespace(bl, s), 0);
				}
				v = world_say(w, "");
			}
			if (step % 10)
				continue;
			fresh = view_from(all);
			a = view_text(v);
			b = view_text(fresh);
			ck_assert_str_eq(a, b);
			assert_found(v);
			free(a);
			free(b);
			view_unref(fresh);
		}
		free(all);
		world_free(&w);
	}
}
END_TEST

UNIT_TESTS("build", the_first_commit_is_a_base_the_next_an_overlay,
	   what_did_not_change_is_not_in_the_overlay,
	   a_grown_overlay_becomes_a_base_in_the_background, very_much_at_once_is_a_base_at_once,
	   large_units_end_an_overlay_by_bytes, ids_of_names_that_are_gone_are_used_again,
	   however_it_came_about_the_view_is_the_same)
