/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store follows the model: after a restart everything is as it was, slots too; while it cannot
 * be written nothing else stops, and afterwards it has all of it. */
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/store/sync/shelf.h"

START_TEST(a_restart_finds_everything_as_it_was)
{
	struct world w;
	struct keep keep;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", SERVICE("gone", "") SLICES("g", "gone", AT("127.0.0.9")) ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	ck_assert(journal_is_empty(&w.model.journal));
	tell(&w, "a.yaml", ALL);
	tell(&w, "b.yaml", SERVICE("more", ""));
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 2, false));
	ck_assert_uint_eq(keep.commits, 2);
	/* Nothing to say: no transaction. */
	ck_assert(keep_write(&keep, &w.model, 2, false));
	ck_assert_uint_eq(keep.commits, 2);
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_source_that_answers_the_same_after_a_restart_changes_nothing)
{
	struct world w, again;
	struct keep keep;
	struct keep_loaded loaded;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	keep_close(&keep);
	world_init(&again, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &again.model, &loaded), 0);
	ck_assert_uint_eq(keep.rev, 1);
	ck_assert(model_settle(&again.model));
	publish(&again);
	ck_assert(keep_write(&keep, &again.model, 1, false));
	model_snapshot(&again.model);
	tell(&again, "a.yaml", ALL);
	ck_assert(!settle(&again));
	/* A document that is broken now keeps the version from the store. */
	model_snapshot(&again.model);
	tell(&again, "a.yaml", SERVICE("web", "nonsense: 1,"));
	ck_assert(settle(&again));
	ck_assert(serves(&again, "shop/web"));
	ck_assert(!serves(&again, "shop/api"));
	keep_close(&keep);
	world_fini(&again);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_row_that_is_not_valid_any_more_hurts_nobody_else)
{
	struct world w;
	struct keep keep;
	struct keep_loaded loaded;
	struct db_resource bad = { .kind = SLICE("Service"), .ns = SLICE("shop"),
				   .name = SLICE("bad"), .json = SLICE("{\"kind\":7"),
				   .source = SLICE("a.yaml"), .line = 1 };
	struct db_slot odd = { SLICE("endpoint"), SLICE("no slash"), 5, 5 };
	struct db_slot far = { SLICE("service"), SLICE("shop/far"), 4000000, 5 };
	char *text;

	setup_dir();
	resource_digest(bad.json, bad.digest);
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	ck_assert_int_eq(db_change_begin(keep.db), 0);
	ck_assert_int_eq(db_put_resource(keep.db, &bad, 2), 0);
	ck_assert_int_eq(db_put_slot(keep.db, &odd), 0);
	ck_assert_int_eq(db_put_slot(keep.db, &far), 0);
	ck_assert_int_eq(db_change_commit(keep.db, 2), 0);
	keep_close(&keep);
	world_fini(&w);
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &w.model, &loaded), 0);
	ck_assert_uint_eq(loaded.refused, 1);
	ck_assert_uint_eq(loaded.rows, 6);
	ck_assert(model_settle(&w.model));
	publish(&w);
	ck_assert(serves(&w, "shop/web"));
	text = report_text(&w, &keep);
	ck_assert_ptr_nonnull(strstr(text, "\"source\":\"a.yaml\""));
	free(text);
	keep_close(&keep);
	world_fini(&w);
	drop_dir();
}
END_TEST

/* Files cannot grow: what a full disk looks like to SQLite.  Only around the write: Check has files
 * of its own. */
static void files_may_grow(bool yes)
{
	struct rlimit l;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &l), 0);
	l.rlim_cur = yes ? l.rlim_max : 4096;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &l), 0);
}

START_TEST(a_full_disk_stops_nothing_and_is_caught_up_with)
{
	struct world w;
	struct keep keep;
	char yaml[2048];

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	for (int i = 0; i < 20; i++) {
		bool wrote;

		snprintf(yaml, sizeof yaml, SERVICE("web", "") SLICES("web-1", "web", "{addresses: [127.0.1.%d]}"),
			 i + 1);
		tell(&w, "a.yaml", yaml);
		ck_assert(settle(&w));
		files_may_grow(false);
		wrote = keep_write(&keep, &w.model, w.rev, i % 3 == 0);
		files_may_grow(true);
		ck_assert(!wrote);
		ck_assert(!keep.durable);
		ck_assert_str_ne(keep.problem, "");
	}
	ck_assert_int_gt(keep.wait_ms, KEEP_WAIT_MIN_MS);
	ck_assert(serves(&w, "127.0.1.20"));
	ck_assert(keep_write(&keep, &w.model, w.rev, true));
	ck_assert(keep.durable);
	ck_assert_uint_eq(keep.rev, w.rev);
	ck_assert_str_eq(keep.found.aside, "");
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_store_removed_behind_our_back_is_written_whole_again)
{
	struct world w;
	struct keep keep;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	unlinkat(dir, "store.db", 0);
	unlinkat(dir, "store.db-wal", 0);
	tell(&w, "b.yaml", SERVICE("more", ""));
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 2, false));
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_journal_that_grows_too_long_becomes_a_rewrite)
{
	struct journal j = { .limit = 10 };
	char key[32];

	for (int i = 0; i < 4096; i++) {
		snprintf(key, sizeof key, "shop/s%d", i);
		journal_slot(&j, SLOT_SERVICE, slice_str(key), (struct slot_gen){ 1, 1 });
	}
	ck_assert(!j.rewrite);
	ck_assert_uint_eq(j.n, 4096);
	journal_row_gone(&j, ROW_SERVICE, "shop", "web");
	ck_assert(j.rewrite);
	ck_assert_uint_eq(j.n, 0);
	ck_assert(!journal_is_empty(&j));
	journal_clear(&j);
	ck_assert(journal_is_empty(&j));
	journal_fini(&j);
}
END_TEST

/* ---- written anew, in slices ---- */

static void some_service(char yaml[2048], int i, int endpoints, int salt)
{
	size_t n = (size_t)snprintf(yaml, 2048, "apiVersion: v1\nkind: Service\n"
				    "metadata: {name: s%d, namespace: n%d}\n"
				    "spec: {ports: [{port: 80}]}\n---\n"
				    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
				    "metadata: {name: s%d, namespace: n%d, labels: "
				    "{kubernetes.io/service-name: s%d}}\naddressType: IPv4\n"
				    "ports: [{port: 8080}]\nendpoints: [", i, i % 7, i, i % 7, i);

	for (int e = 0; e < endpoints; e++)
		n += (size_t)snprintf(yaml + n, 2048 - n, "%s{addresses: [127.0.%d.%d]}", e ? "," : "",
				      salt, e + 1);
	snprintf(yaml + n, 2048 - n, "]\n");
}

static bool change_something(struct world *w, int services)
{
	int i = (int)rand_below((uint32_t)services);
	char place[32], yaml[2048];

	snprintf(place, sizeof place, "%d.yaml", i);
	if (rand_below(4) == 0) {
		model_gone(&w->model, place);
	} else {
		some_service(yaml, i, (int)rand_below(6), (int)rand_below(200));
		tell(w, place, yaml);
	}
	return settle(w);
}

START_TEST(what_changes_while_the_store_is_written_anew_is_in_it)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct world w;
		struct keep keep;
		unsigned slices = 0;

		setup_dir();
		rand_seed(seed);
		world_init(&w, "10.96.0.0/12");
		ck_assert_int_eq(keep_open(&keep, dir), 0);
		for (int i = 0; i < 300; i++) {
			char place[32], yaml[2048];

			snprintf(place, sizeof place, "%d.yaml", i);
			some_service(yaml, i, i % 5, i % 200);
			tell(&w, place, yaml);
		}
		ck_assert(settle(&w));
		w.model.journal.rewrite = true;
		(void)keep_begin(&keep, &w.model, w.rev, false);
		while (keep_work(&keep, &w.model, w.rev, 1)) {
			slices++;
			for (uint32_t n = rand_below(3); n; n--)
				(void)change_something(&w, 320);
			/* As the sync process says it; it is noted. */
			(void)keep_begin(&keep, &w.model, w.rev, false);
		}
		ck_assert_uint_gt(slices, 20);
		ck_assert(keep.durable);
		ck_assert(keep_write(&keep, &w.model, w.rev, false));
		ck_assert(!is_here("store.db.new"));
		keep_close(&keep);
		restarted_is_the_same(&w);
		world_fini(&w);
		drop_dir();
	}
}
END_TEST

START_TEST(a_rewrite_that_is_cut_off_leaves_the_old_store)
{
	char *dumps[2];
	struct world w;
	struct keep keep;
	struct keep_loaded loaded;

	setup_dir();
	two_revisions(dumps, false);
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &w.model, &loaded), 0);
	ck_assert(model_settle(&w.model));
	publish(&w);
	tell(&w, "more.yaml", SERVICE("never-stored", ""));
	ck_assert(settle(&w));
	journal_clear(&w.model.journal);
	w.model.journal.rewrite = true;
	(void)keep_begin(&keep, &w.model, 7, false);
	ck_assert(keep_work(&keep, &w.model, 7, 0));
	ck_assert(is_here("store.db.new"));
	/* The process is gone; half of a new store lies there. */
	db_close(&keep.rewrite.db);
	rewrite_drop(&keep.rewrite);
	keep_close(&keep);
	world_fini(&w);
	ck_assert(is_here("store.db.new"));
	ck_assert_int_eq(started_from(dumps), 2);
	forget(dumps);
	drop_dir();
}
END_TEST

START_TEST(a_rewrite_that_finds_no_room_leaves_the_old_store_and_is_tried_again)
{
	struct world w;
	struct keep keep;
	bool wrote;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, w.rev, false));
	for (int i = 0; i < 100; i++) {
		char place[32], yaml[2048];

		snprintf(place, sizeof place, "%d.yaml", i);
		some_service(yaml, i, 5, 1);
		tell(&w, place, yaml);
	}
	ck_assert(settle(&w));
	journal_clear(&w.model.journal);
	w.model.journal.rewrite = true;
	files_may_grow(false);
	wrote = keep_write(&keep, &w.model, w.rev, true);
	files_may_grow(true);
	ck_assert(!wrote);
	ck_assert(w.model.journal.rewrite);
	ck_assert(!is_here("store.db.new"));
	ck_assert_uint_ne(keep.since_unix_ms, 0);
	ck_assert(keep_write(&keep, &w.model, w.rev, true));
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_log_that_cannot_be_written_back_is_left_behind)
{
	struct world w;
	struct keep keep;
	off_t most = 0;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, w.rev, false));
	keep.log_max = 300000;
	for (int i = 0; i < 300; i++) {
		struct stat st;
		char yaml[2048];

		/* As if it always failed. */
		ck_assert_int_eq(sqlite3_exec(keep.db->sql, "PRAGMA wal_autocheckpoint=0", NULL, NULL,
					      NULL), SQLITE_OK);
		some_service(yaml, 1, 5, i % 200 + 1);
		tell(&w, "b.yaml", yaml);
		ck_assert(settle(&w));
		ck_assert(keep_write(&keep, &w.model, w.rev, false));
		if (fstatat(dir, "store.db-wal", &st, 0) == 0)
			most = max_of(most, st.st_size);
	}
	ck_assert_int_gt(most, 200000);		/* it did grow */
	ck_assert_int_lt(most, 600000);		/* and not for ever */
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

static int64_t one_moment(void)
{
	return 1000 * NS_PER_S;
}

START_TEST(a_report_in_steps_is_the_report)
{
	struct world w;
	const struct keep k = { .durable = true };
	const struct report r = { .kind = "file", .path = "/x", .problem = "", .store_path = "/s" };
	struct report_job job = { 0 };
	struct fd whole = FD_NONE, stepped = FD_NONE;
	static char a[1 << 18], b[1 << 18];
	int e, steps = 0;
	ssize_t n;

	clock_simulate(one_moment, one_moment);		/* a report says since when */
	world_init(&w, "10.96.0.0/12");
	for (int i = 0; i < 200; i++) {
		char place[32], yaml[2048];

		snprintf(place, sizeof place, "%d.yaml", i);
		some_service(yaml, i, 1, 1);
		tell(&w, place, yaml);
	}
	(void)settle(&w);
	ck_assert_int_eq(report_make(&w.model, &k, &r, &whole), 0);
	while ((e = report_step(&job, &w.model, &k, &r, 0, &stepped)) == 0)
		steps++;
	ck_assert_int_eq(e, 1);
	ck_assert_int_gt(steps, 3);
	n = pread(whole.v, a, sizeof a, 0);
	ck_assert_int_gt(n, 10000);
	ck_assert_int_eq(pread(stepped.v, b, sizeof b, 0), n);
	ck_assert_mem_eq(a, b, (size_t)n);
	fd_close(&whole);
	fd_close(&stepped);
	/* The table of resources grows while one is made: it begins again, and says everything. */
	ck_assert_int_eq(report_step(&job, &w.model, &k, &r, 0, &stepped), 0);
	for (int i = 200; i < 600; i++) {
		char place[32], yaml[2048];

		snprintf(place, sizeof place, "%d.yaml", i);
		some_service(yaml, i, 1, 1);
		tell(&w, place, yaml);
	}
	(void)settle(&w);
	while ((e = report_step(&job, &w.model, &k, &r, 1000, &stepped)) == 0)
		;
	ck_assert_int_eq(e, 1);
	n = pread(stepped.v, a, sizeof a - 1, 0);
	a[n] = 0;
	for (int i = 0; i < 600; i++) {
		char want[64], *at;

		snprintf(want, sizeof want, "\"name\":\"s%d\",\"source\"", i);
		at = strstr(a, want);
		ck_assert_msg(at != NULL, "%s", want);
		ck_assert_ptr_null(strstr(at + 1, want));
	}
	fd_close(&stepped);
	world_fini(&w);
	clock_simulate(NULL, NULL);
}
END_TEST

UNIT_TESTS("keep", what_changes_while_the_store_is_written_anew_is_in_it,
	   a_rewrite_that_is_cut_off_leaves_the_old_store,
	   a_rewrite_that_finds_no_room_leaves_the_old_store_and_is_tried_again,
	   a_log_that_cannot_be_written_back_is_left_behind,
	   a_report_in_steps_is_the_report,
	   a_restart_finds_everything_as_it_was,
	   a_source_that_answers_the_same_after_a_restart_changes_nothing,
	   a_row_that_is_not_valid_any_more_hurts_nobody_else,
	   a_full_disk_stops_nothing_and_is_caught_up_with,
	   a_store_removed_behind_our_back_is_written_whole_again,
	   a_journal_that_grows_too_long_becomes_a_rewrite)
