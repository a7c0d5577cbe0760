/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store follows the model: after a restart everything is as it was, slots too; while it cannot
 * be written nothing else stops, and afterwards it has all of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/db/apply.h"
#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"

static char path[64];
static int dir = -1;

static void setup_dir(void)
{
	snprintf(path, sizeof path, "/tmp/np-test-keep-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir, 0);
}

static void drop_dir(void)
{
	DIR *d = fdopendir(dup(dir));

	for (struct dirent *e; (e = readdir(d)) != NULL;)
		unlinkat(dir, e->d_name, 0);
	closedir(d);
	close(dir);
	rmdir(path);
}

/* The view with its slots. */
static char *full_dump(struct world *w)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	view_dump(w->view, dump_say, f);
	fclose(f);
	return text;
}

#define ALL                                                                                        \
	SERVICE("web", "") SLICES("web-1", "web", AT("127.0.0.1") "," AT("127.0.0.2"))             \
	SERVICE("api", "clusterIP: 10.0.0.7,") ROUTE("r", "web", "/a", "api") TENANT("t", "shop, bank")

/* What a new process finds must be what w serves. */
static void restarted_is_the_same(struct world *w)
{
	struct world again;
	struct keep keep;
	struct keep_loaded loaded;
	char *was = full_dump(w), *now;

	world_init(&again, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &again.model, &loaded), 0);
	ck_assert_uint_eq(loaded.refused, 0);
	ck_assert(model_settle(&again.model));
	publish(&again);
	now = full_dump(&again);
	ck_assert_str_eq(now, was);
	ck_assert_uint_eq(again.model.gen, w->model.gen);
	free(was);
	free(now);
	keep_close(&keep);
	world_fini(&again);
}

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
	ck_assert_uint_eq(loaded.rows, 5);
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

UNIT_TESTS("keep", a_restart_finds_everything_as_it_was,
	   a_source_that_answers_the_same_after_a_restart_changes_nothing,
	   a_row_that_is_not_valid_any_more_hurts_nobody_else,
	   a_full_disk_stops_nothing_and_is_caught_up_with,
	   a_store_removed_behind_our_back_is_written_whole_again,
	   a_journal_that_grows_too_long_becomes_a_rewrite)
