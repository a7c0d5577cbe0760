/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which addresses a view knows: those of its endpoints, whatever came and went before. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "store/view/layout.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

static bool knows(const struct view *v, const char *ip)
{
	struct addr a;

	ck_assert_int_eq(addr_parse_ip(slice_str(ip), &a), 0);
	a.port = 4711;
	return view_knows(v, &a);
}

START_TEST(endpoints_of_both_families_are_known_ready_or_not_and_nobody_else)
{
	struct world *w = world_new();
	const struct view *v = world_say(w, "service a/s vip=10.96.0.1 port=80\n"
					    "endpoint a/s 10.0.0.1:80\nendpoint a/s 10.0.0.2:80 notready\n"
					    "endpoint a/s [fd00::1]:80\n"	/* not of the VIP's family */
					    "service a/t port=80\nendpoint a/t 10.0.0.1:90\n");

	ck_assert(knows(v, "10.0.0.1") && knows(v, "10.0.0.2") && knows(v, "fd00::1"));
	ck_assert(!knows(v, "10.96.0.1") && !knows(v, "10.0.0.3") && !knows(v, "::"));
	ck_assert(!view_knows(v, &(struct addr){ 0 }));
	v = world_say(w, "remove service a/s\n");
	ck_assert(knows(v, "10.0.0.1") && !knows(v, "10.0.0.2") && !knows(v, "fd00::1"));
	v = world_say(w, "remove service a/t\n");
	ck_assert(!knows(v, "10.0.0.1"));
	v = world_say(w, "service a/u port=80\nendpoint a/u 10.0.0.2:80\n");
	ck_assert(knows(v, "10.0.0.2") && !knows(v, "10.0.0.1"));
	world_free(&w);
}
END_TEST

#define SERVICES 40
#define ADDRESSES 60

/* Any history: overlays, bases made at once and bases made in slices say the same as a list does. */
static void live(int seed)
{
	static uint8_t has[SERVICES][ADDRESSES];
	struct world *w = world_new();
	uint64_t bases = 0;

	memset(has, 0, sizeof has);
	rand_seed((uint64_t)seed);
	for (int step = 0; step < 150; step++) {
		const struct view *v = NULL;
		int many = rand_below(10) == 0 ? 30 : 2;
		struct builder_stats stats;
		char text[16384];

		for (int k = 0; k < many; k++) {
			unsigned s = rand_below(SERVICES), n = rand_below(6);
			int at = snprintf(text, sizeof text, "remove endpoints a/s%u\nremove service a/s%u\n", s, s);

			memset(has[s], 0, ADDRESSES);
			if (n)
				at += snprintf(text + at, sizeof text - (size_t)at, "service a/s%u port=80\n", s);
			for (unsigned i = 1; i < n; i++) {
				unsigned a = rand_below(ADDRESSES);

				has[s][a] = 1;
				at += snprintf(text + at, sizeof text - (size_t)at, "endpoint a/s%u 10.0.0.%u:80\n", s, a);
			}
			v = world_say(w, text);
		}
		if (rand_below(4) == 0)
			v = world_work(w, 1000, 100000);
		builder_stats(world_builder(w), &stats);
		bases = stats.bases;
		for (unsigned a = 0; a < ADDRESSES; a++) {
			bool want = false;
			char ip[20];

			for (unsigned s = 0; s < SERVICES; s++)
				want |= has[s][a];
			snprintf(ip, sizeof ip, "10.0.0.%u", a);
			ck_assert_msg(knows(v, ip) == want, "seed %d step %d: %s", seed, step, ip);
		}
	}
	ck_assert_uint_ge(bases, 1);
	world_free(&w);
}

START_TEST(any_history_leaves_what_its_last_state_has)
{
	for (int seed = 1; seed <= 6; seed++)
		live(seed);
}
END_TEST

START_TEST(many_addresses_at_once_are_found_in_base_and_overlay)
{
	struct world *w = world_new();
	static char text[400000];
	const struct view *v;
	char ip[24];
	size_t at;

	for (int round = 0; round < 2; round++) {
		at = (size_t)snprintf(text, sizeof text, "service a/s%d port=80\n", round);
		for (int i = 0; i < 5000; i++)
			at += (size_t)snprintf(text + at, sizeof text - at, "endpoint a/s%d 10.%d.%d.%d:80\n", round,
					       round, i / 250, i % 250);
		v = world_say(w, text);
	}
	for (int i = 0; i < 10000; i++) {
		snprintf(ip, sizeof ip, "10.%d.%d.%d", i / 5000, i % 5000 / 250, i % 250);
		ck_assert_msg(knows(v, ip), "%s", ip);
	}
	ck_assert(!knows(v, "10.2.0.1") && !knows(v, "10.0.20.0"));
	world_free(&w);
}
END_TEST

START_TEST(a_spoiled_set_refuses_the_base)
{
	struct world *w = world_new();
	struct built f;
	struct slice map;
	struct view_head *h;
	uint32_t *start;
	uint8_t *p;

	world_say_files(w, "service a/s port=80\nendpoint a/s 10.0.0.1:80\nendpoint a/s 10.0.0.2:80\n"
			   "endpoint a/s 10.0.0.3:80\nendpoint a/s 10.0.0.4:80\n", &f);
	ck_assert(f.is_base);
	ck_assert_int_eq(memfd_map_sealed(f.fd, 1 << 20, &map), 0);
	p = malloc(map.n);
	memcpy(p, map.p, map.n);
	h = (struct view_head *)p;
	ck_assert_uint_eq(h->known.n, 4);
	ck_assert_uint_eq(h->known.n_buckets, 2);
	start = (uint32_t *)(p + h->known.at);
	for (int i = 0; i < 10; i++) {
		struct view_head keep = *h;
		uint32_t keep_start[3] = { start[0], start[1], start[2] };
		struct view *v = NULL;
		struct fd fd;
		int r;

		h->known.n_buckets = i == 1 ? 0 : i == 2 ? 3 : i == 3 ? 1u << 31 : keep.known.n_buckets;
		h->known.n = i == 4 ? 3 : i == 5 ? 1u << 30 : keep.known.n;
		h->known.at = i == 6 ? keep.known.at + 4 : i == 7 ? 1ull << 60 : keep.known.at;
		start[1] = i == 8 ? 5 : start[1];
		start[0] = i == 9 ? start[1] + 1 : start[0];
		ck_assert_int_eq(memfd_sealed("test", slice_of(p, map.n), &fd), 0);
		r = view_open_base(&fd, f.rev, &v);
		if (r == 0)
			r = view_check_step(v, 1000000);
		ck_assert_msg(i == 0 ? r == 1 : r == -EBADMSG, "case %d: %d", i, r);
		if (v)
			view_unref(v);
		*h = keep;
		memcpy(start, keep_start, sizeof keep_start);
	}
	free(p);
	memfd_unmap(&map);
	fd_close(&f.fd);
	world_free(&w);
}
END_TEST

UNIT_TESTS("view/known", endpoints_of_both_families_are_known_ready_or_not_and_nobody_else,
	   any_history_leaves_what_its_last_state_has, many_addresses_at_once_are_found_in_base_and_overlay,
	   a_spoiled_set_refuses_the_base)
