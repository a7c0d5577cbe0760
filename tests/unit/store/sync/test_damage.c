/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whatever the bytes of the store are, and whichever call under it fails: nothing is served that was not
 * told, and in the end the store has everything. */
#include "tests/unit/store/sync/shelf.h"

START_TEST(a_flipped_bit_in_a_text_is_found_and_not_served)
{
	char *dumps[2], *all;
	off_t n;
	int fd;

	setup_dir();
	two_revisions(dumps, false);
	n = size_of("store.db");
	all = malloc((size_t)n);
	fd = openat(dir, "store.db", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, all, (size_t)n), n);
	close(fd);
	/* The address of an endpoint, valid before and after. */
	char *at = memmem(all, (size_t)n, "127.0.3.3", 9);

	ck_assert_ptr_nonnull(at);
	while (at) {
		patch("store.db", at - all + 6, "7", 1);
		at = memmem(at + 1, (size_t)(all + n - at - 1), "127.0.3.3", 9);
	}
	ck_assert_int_eq(started_from(dumps), 0);
	ck_assert(is_here("store.db.bad-1"));
	free(all);
	forget(dumps);
	drop_dir();
}
END_TEST

START_TEST(damage_met_while_running_is_moved_aside_and_everything_is_written_anew)
{
	char *dumps[2], junk[4096];
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
	ck_assert_int_eq(sqlite3_exec(keep.db->sql, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory",
				      NULL, NULL, NULL), SQLITE_OK);
	memset(junk, 0x5a, sizeof junk);
	for (off_t at = 4096; at < size_of("store.db"); at += 4096)
		patch("store.db", at, junk, sizeof junk);
	tell(&w, "more.yaml", SERVICE("later", ""));
	ck_assert(settle(&w));
	ck_assert(!keep_write(&keep, &w.model, w.rev + 10, false));
	ck_assert(!keep.durable);
	ck_assert_str_eq(keep.aside, "store.db.bad-1");
	ck_assert_str_ne(keep.aside_why, "");
	ck_assert(serves(&w, "shop/later") && serves(&w, "shop/web"));
	ck_assert(keep_write(&keep, &w.model, w.rev + 10, true));
	ck_assert(keep.durable);
	ck_assert(is_here("store.db.bad-1"));
	keep_close(&keep);
	restarted_serves_the_same(&w, true);
	world_fini(&w);
	forget(dumps);
	drop_dir();
}
END_TEST

START_TEST(a_row_under_another_name_is_found)
{
	char *dumps[2];
	struct db *db = NULL;
	struct db_found found;

	setup_dir();
	two_revisions(dumps, false);
	ck_assert_int_eq(db_open(dir, &db, &found), 0);
	ck_assert_int_eq(sqlite3_exec(db->sql, "UPDATE resource SET name = 'evil' WHERE name = 'api'",
				      NULL, NULL, NULL), SQLITE_OK);
	db_close(&db);
	ck_assert_int_eq(started_from(dumps), 0);
	ck_assert(is_here("store.db.bad-1"));
	forget(dumps);
	drop_dir();
}
END_TEST

START_TEST(a_revision_that_cannot_be_is_damage)
{
	char *dumps[2];
	struct db *db = NULL;
	struct db_found found;

	setup_dir();
	two_revisions(dumps, false);
	ck_assert_int_eq(db_open(dir, &db, &found), 0);
	ck_assert_int_eq(sqlite3_exec(db->sql, "UPDATE meta SET value = -2 WHERE key = 'rev'", NULL,
				      NULL, NULL), SQLITE_OK);
	db_close(&db);
	ck_assert_int_eq(started_from(dumps), 0);
	forget(dumps);
	drop_dir();
}
END_TEST

START_TEST(a_trigger_or_a_view_in_the_store_is_not_run)
{
	static const char *const sql[] = {
		"CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM resource; END",
		"CREATE VIEW v AS SELECT 1",
		"ALTER TABLE slot RENAME TO old; CREATE VIEW slot AS WITH RECURSIVE c(x) AS (SELECT 1"
		" UNION ALL SELECT x + 1 FROM c) SELECT x AS scope, x AS key, x AS slot, x AS gen FROM c",
		"CREATE TABLE more (a)",
		"CREATE INDEX i ON resource (length(json))",
	};

	for (size_t i = 0; i < countof(sql); i++) {
		char *dumps[2];
		struct db *db = NULL;
		struct db_found found;

		setup_dir();
		two_revisions(dumps, false);
		ck_assert_int_eq(db_open(dir, &db, &found), 0);
		ck_assert_int_eq(sqlite3_exec(db->sql, sql[i], NULL, NULL, NULL), SQLITE_OK);
		db_close(&db);
		ck_assert_int_eq(started_from(dumps), 0);
		ck_assert(is_here("store.db.bad-1"));
		forget(dumps);
		drop_dir();
	}
}
END_TEST

START_TEST(what_lies_in_place_of_the_store_is_moved_aside)
{
	static const struct {
		const char *name;
		mode_t type;
	} row[] = {
		{ "store.db", S_IFDIR }, { "store.db", S_IFIFO }, { "store.db", S_IFLNK },
		{ "store.db", S_IFSOCK }, { "store.db-wal", S_IFDIR }, { "store.db-wal", S_IFIFO },
	};

	for (size_t i = 0; i < countof(row); i++) {
		char *dumps[2];
		char aside[64];

		setup_dir();
		two_revisions(dumps, false);
		ck_assert_int_eq(unlinkat(dir, row[i].name, 0) == 0 || errno == ENOENT, 1);
		if (row[i].type == S_IFDIR)
			ck_assert_int_eq(mkdirat(dir, row[i].name, 0700), 0);
		else if (row[i].type == S_IFLNK)
			ck_assert_int_eq(symlinkat("/etc/passwd", dir, row[i].name), 0);
		else
			ck_assert_int_eq(mknodat(dir, row[i].name, row[i].type | 0600, 0), 0);
		ck_assert_int_eq(started_from(dumps), 0);
		snprintf(aside, sizeof aside, "store.db.bad-1%s", row[i].name + strlen("store.db"));
		ck_assert_msg(is_here(aside) || row[i].type == S_IFLNK, "%s", aside);
		unlinkat(dir, aside, AT_REMOVEDIR);
		forget(dumps);
		drop_dir();
	}
}
END_TEST

START_TEST(a_store_cut_short_is_moved_aside_or_empty)
{
	for (int i = 0; i < 6; i++) {
		char *dumps[2];
		off_t n;

		setup_dir();
		two_revisions(dumps, false);
		n = size_of("store.db");
		const off_t cut[] = { 0, 1, 50, 4096, n / 2, n - 1 };
		int fd = openat(dir, "store.db", O_WRONLY | O_CLOEXEC);

		ck_assert_int_eq(ftruncate(fd, cut[i]), 0);
		close(fd);
		/* The last byte of a page may not be in use. */
		ck_assert_int_eq(started_from(dumps), cut[i] == n - 1 ? 2 : 0);
		forget(dumps);
		drop_dir();
	}
}
END_TEST

/* Bytes anywhere, in the store and in its log: NP_KEEP_SEEDS=n for more of them. */
START_TEST(whatever_the_bytes_are_nothing_is_served_that_was_not_told)
{
	const char *env = getenv("NP_KEEP_SEEDS");
	int seeds = env ? atoi(env) : 60, by[3] = { 0 };
	char *dumps[2], cmd[300];

	setup_dir();
	two_revisions(dumps, true);
	snprintf(cmd, sizeof cmd, "cd %s && cp store.db good && cp store.db-wal good-wal", path);
	ck_assert_int_eq(system(cmd), 0);
	for (int seed = 1; seed <= seeds; seed++) {
		bool log = seed % 3 == 0;
		const char *name = log ? "store.db-wal" : "store.db";
		int flips;
		off_t n;

		rand_seed((uint64_t)seed);
		flips = 1 << rand_below(6);
		snprintf(cmd, sizeof cmd, "cd %s && rm -f store.db* && cp good store.db && "
			 "%s", path, seed % 3 == 1 ? "true" : "cp good-wal store.db-wal");
		ck_assert_int_eq(system(cmd), 0);
		n = size_of(name);
		for (int i = 0; i < flips; i++) {
			uint64_t dice = rand_u64();
			uint8_t b = (uint8_t)(dice >> 56);

			/* Everywhere, and more often where pages begin. */
			patch(name, dice & 1 ? (off_t)(dice >> 8) % n
					     : (off_t)((dice >> 8) % (uint64_t)(n / 4096) * 4096 +
						       (dice >> 40) % 64), &b, 1);
		}
		by[started_from(dumps)]++;
	}
	/* Each of the ends was met. */
	ck_assert_int_gt(by[0], 0);
	ck_assert_int_gt(by[1] + by[2], 0);
	forget(dumps);
	drop_dir();
}
END_TEST

/* ---- system calls that fail: each one with NP_FULL=1, else every seventh ---- */

static long calls_left;		/* the one that fails; 0: none */
static bool calls_stay_broken, call_failed;
static int call_errno;
static long last_calls_left;

static bool call_fails(void)
{
	if (call_failed && calls_stay_broken) {
		errno = call_errno;
		return true;
	}
	if (calls_left == 0 || --calls_left > 0)
		return false;
	call_failed = true;
	errno = call_errno;
	return true;
}

static ssize_t bad_pread(int fd, void *p, size_t n, off_t at)
{
	return call_fails() ? -1 : pread(fd, p, n, at);
}
static ssize_t bad_pwrite(int fd, const void *p, size_t n, off_t at)
{
	return call_fails() ? -1 : pwrite(fd, p, n, at);
}
static int bad_ftruncate(int fd, off_t n)
{
	return call_fails() ? -1 : ftruncate(fd, n);
}
static int bad_fstat(int fd, struct stat *st)
{
	return call_fails() ? -1 : fstat(fd, st);
}
static int bad_fsync(int fd)
{
	return call_fails() ? -1 : fsync(fd);
}

static void hook_calls(bool on)
{
	static const struct {
		const char *name;
		sqlite3_syscall_ptr fn;
	} call[] = {
		{ "pread", (sqlite3_syscall_ptr)(void *)bad_pread },
		{ "pread64", (sqlite3_syscall_ptr)(void *)bad_pread },
		{ "pwrite", (sqlite3_syscall_ptr)(void *)bad_pwrite },
		{ "pwrite64", (sqlite3_syscall_ptr)(void *)bad_pwrite },
		{ "ftruncate", (sqlite3_syscall_ptr)(void *)bad_ftruncate },
		{ "fstat", (sqlite3_syscall_ptr)(void *)bad_fstat },
		{ "fsync", (sqlite3_syscall_ptr)(void *)bad_fsync },
	};
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

	for (size_t i = 0; i < countof(call); i++)
		(void)vfs->xSetSystemCall(vfs, call[i].name, on ? call[i].fn : NULL);
}

/* A life of a store under faults: opened, loaded, changed, written anew.  What is true afterwards is
 * true in memory whatever failed, and in the store once it can be written. */
static void scenario(long nth, bool stays)
{
	struct world w;
	struct keep keep;
	struct keep_loaded loaded;
	char *dumps[2];
	int r;

	setup_dir();
	two_revisions(dumps, true);
	world_init(&w, "10.96.0.0/12");
	calls_left = nth;
	calls_stay_broken = stays;
	call_failed = false;
	hook_calls(true);
	r = keep_open(&keep, dir);
	if (r == 0)
		r = keep_load(&keep, &w.model, &loaded);
	if (r < 0) {
		ck_assert_str_ne(keep.problem, "");
		world_fini(&w);
		world_init(&w, "10.96.0.0/12");
	} else {
		ck_assert(model_settle(&w.model));
		publish(&w);
		ck_assert_str_eq(world_dump(&w), dumps[1]);
	}
	model_snapshot(&w.model);
	tell(&w, "a.yaml", ALL SERVICE("first", ""));
	ck_assert(settle(&w));
	if (!keep_write(&keep, &w.model, w.rev + 10, true)) {
		ck_assert_str_ne(keep.problem, "");
		ck_assert(call_failed);
	}
	tell(&w, "a.yaml", ALL SERVICE("second", ""));
	ck_assert(settle(&w));
	if (stays)
		(void)keep_write(&keep, &w.model, w.rev + 10, true);
	w.model.journal.rewrite = true;
	(void)keep_write(&keep, &w.model, w.rev + 10, true);
	if (stays && call_failed)
		ck_assert(!keep.durable || !rewrite_is_on(&keep.rewrite));
	/* The disk is well again. */
	last_calls_left = calls_left;
	calls_left = 0;
	call_failed = false;
	ck_assert_msg(keep_write(&keep, &w.model, w.rev + 11, true) ||
		      keep_write(&keep, &w.model, w.rev + 11, true), "call %ld: %s", nth, keep.problem);
	hook_calls(false);
	ck_assert(serves(&w, "shop/second"));
	ck_assert(!is_here("store.db.new"));
	keep_close(&keep);
	restarted_serves_the_same(&w, false);
	world_fini(&w);
	forget(dumps);
	drop_dir();
}

/* The number of calls of the scenario is found by counting down from more than there can be. */
static long calls_of_scenario(void)
{
	long most = 1000000;

	calls_left = 0;
	scenario(most, false);
	return most - last_calls_left;
}

START_TEST(whichever_call_fails_the_state_is_served_and_stored_in_the_end)
{
	static const int errors[] = { EIO, ENOSPC };
	const char *full = getenv("NP_FULL");
	long n = calls_of_scenario(), step = full && *full ? 1 : 7;

	ck_assert_int_gt(n, 30);
	for (size_t e = 0; e < countof(errors); e++) {
		call_errno = errors[e];
		for (long nth = 1 + (long)e * 3; nth <= n; nth += step) {
			scenario(nth, false);
			scenario(nth, true);
		}
	}
}
END_TEST

UNIT_TESTS("damage", whichever_call_fails_the_state_is_served_and_stored_in_the_end,
	   a_flipped_bit_in_a_text_is_found_and_not_served,
	   damage_met_while_running_is_moved_aside_and_everything_is_written_anew,
	   a_row_under_another_name_is_found,
	   a_revision_that_cannot_be_is_damage,
	   a_trigger_or_a_view_in_the_store_is_not_run,
	   what_lies_in_place_of_the_store_is_moved_aside,
	   a_store_cut_short_is_moved_aside_or_empty,
	   whatever_the_bytes_are_nothing_is_served_that_was_not_told)
