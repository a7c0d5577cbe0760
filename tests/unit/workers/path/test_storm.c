/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A storm over three tiers in simulated time: each request to t/a makes its endpoint call t/b, that of
 * t/b calls t/c, and the endpoints of t/c fail from some moment on.  Every tier wants three retries of
 * each failure; what reaches the endpoints of a tier must stay within what its Service was asked for, a
 * fifth, and the reserve.  Without a budget it would be 4, 16 and 64 times as much. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/pool/retry.h"

#define TIERS	 3
#define INTERVAL_MS 1000
#define LEAST	 2		/* in an interval */
#define SPAN_MS	 6000
#define STEP_MS	 6

static int64_t now_ns, unix_ms;

static int64_t mono(void)
{
	return now_ns;
}

static int64_t wall(void)
{
	return unix_ms + now_ns / NS_PER_MS;
}

static struct {
	struct rig *r;
	unsigned asked[TIERS], served[TIERS];	/* of the Service; by its endpoints */
	bool fails;
} w;

static void by_host(struct knobs *k)
{
	k->listener[0].route = LISTEN_HOST;
	k->connect_attempts = 1;
}

/* One request to the Service of this tier, from the caller's side and the endpoint's; its status. */
static unsigned call(unsigned tier)
{
	char text[200];
	int c = rig_dial(w.r), idle = 0;
	size_t n = 0;

	w.asked[tier]++;
	snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %c\r\nConnection: close\r\n\r\n", 'a' + tier);
	rig_say(w.r, c, text);
	for (;;) {
		int b = accept4(w.r->back_fd[tier], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		ssize_t k;

		if (b >= 0) {
			unsigned status;

			rig_hear_head(w.r, b);
			w.served[tier]++;
			status = tier + 1 < TIERS ? call(tier + 1) : w.fails ? 503 : 200;
			snprintf(text, sizeof text, "HTTP/1.1 %u X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
				 status);
			rig_say(w.r, b, text);
			close(b);
			idle = 0;
		}
		rig_pass(w.r);
		k = recv(c, text + n, sizeof text - 1 - n, 0);
		if (k > 0)
			n += (size_t)k;
		if (n > 12)
			break;
		/* Nobody moves: it waits for the time of the next attempt. */
		if (++idle > 20)
			now_ns += NS_PER_MS;
	}
	close(c);
	text[n] = 0;
	return (unsigned)atoi(text + 9);
}

START_TEST(a_storm_over_three_tiers_stays_within_a_fifth_of_each)
{
	unsigned asked[TIERS], served[TIERS], ms = 0;
	char view[1024];
	size_t n = 0;

	now_ns = 1000 * NS_PER_S;
	unix_ms = 1795370000000;
	clock_simulate(mono, wall);
	clock_tick();
	for (unsigned i = 0; i < TIERS; i++)
		n += (size_t)snprintf(view + n, sizeof view - n,
				      "service t/%c slot=%u/1 port=80/main/http\nendpoint t/%c:main $%u\n"
				      "policy t/%c target=%c on=5xx retries=3 backoff=1/1 budget=20/%u/2\n",
				      'a' + i, 10 + i, 'a' + i, i + 1, 'a' + i, 'a' + i, INTERVAL_MS);
	memset(&w, 0, sizeof w);
	w.r = rig_new(view, by_host);
	rand_seed((uint64_t)_i + 1);
	while (ms < SPAN_MS) {
		if (ms >= SPAN_MS / 3 && !w.fails) {
			w.fails = true;
			memcpy(asked, w.asked, sizeof asked);
			memcpy(served, w.served, sizeof served);
		}
		call(0);
		ms += 1 + rand_below(2 * STEP_MS);
		now_ns = max_of(now_ns, (1000000 + (int64_t)ms) * NS_PER_MS);
		ms = (unsigned)(now_ns / NS_PER_MS - 1000000);
		clock_tick();
	}
	for (unsigned i = 0; i < TIERS; i++) {
		unsigned more = w.served[i] - served[i], of = w.asked[i] - asked[i];

		/* Every interval may have its least; requests of the interval before the storm count in
		 * the first of it. */
		ck_assert_msg(more <= of + of / 5 + asked[i] / 5 + LEAST * (SPAN_MS / INTERVAL_MS + 1),
			      "seed %d, tier %u: %u of %u", _i + 1, i, more, of);
		ck_assert_msg(more >= of + of / 10, "seed %d, tier %u: %u of %u", _i + 1, i, more, of);
		ck_assert_msg(more * 100ull <= of * 121ull + 100 * LEAST * (SPAN_MS / INTERVAL_MS + 1),
			      "seed %d, tier %u: %u of %u", _i + 1, i, more, of);
	}
	rig_until_quiet(w.r);
	rig_must_be_empty(w.r);
	rig_free(&w.r);
	clock_simulate(NULL, NULL);
	clock_tick();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("storm");
	TCase *tc = tcase_create("storm");
	SRunner *r;
	int failed;

	never_aborts = true;
	tcase_set_timeout(tc, 240);
	tcase_add_loop_test(tc, a_storm_over_three_tiers_stays_within_a_fifth_of_each, 0, 3);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
