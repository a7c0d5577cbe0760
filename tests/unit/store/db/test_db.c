/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store: what is committed is there, what is broken is moved aside, and whatever happens in the
 * middle (kill -9, any failing call of the VFS), what is found is one whole revision. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/rand.h"
#include "store/db/apply.h"
#include "store/db/dir.h"
#include "tests/unit/test.h"

static char path[64];
static int dir = -1;
static struct db_found found;

static void setup_dir(void)
{
	snprintf(path, sizeof path, "/tmp/np-test-db-XXXXXX");
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

static bool here(const char *name)
{
	return faccessat(dir, name, F_OK, 0) == 0;
}

static struct db *opened(void)
{
	struct db *db = NULL;

	ck_assert_int_eq(db_open(dir, &db, &found), 0);
	return db;
}

static struct db_resource doc(const char *name, const char *json)
{
	return (struct db_resource){ .kind = SLICE("Service"), .ns = SLICE("shop"),
				     .name = slice_str(name), .json = slice_str(json),
				     .source = SLICE("a.yaml"), .digest = { 7 }, .line = 3,
				     .created_unix_ms = 12345, .generation = 2 };
}

/* The rows of a change set; all carry its revision as their text. */
#define ROWS 5

static int write_rev(struct db *db, uint64_t rev)
{
	char name[16], json[24];
	int r = db_change_begin(db);

	snprintf(json, sizeof json, "%llu", (unsigned long long)rev);
	for (int i = 0; r == 0 && i < ROWS; i++) {
		snprintf(name, sizeof name, "s%d", i);
		struct db_resource d = doc(name, json);

		r = db_put_resource(db, &d, rev);
	}
	if (r == 0)
		r = db_change_commit(db, rev);
	else
		db_change_drop(db);
	return r;
}

struct seen {
	unsigned rows;
	uint64_t rev;
	bool mixed;
};

static int see(void *arg, const struct db_resource *d)
{
	struct seen *s = arg;
	uint64_t rev = 0;

	ck_assert(slice_u64(d->json, UINT64_MAX, &rev));
	s->mixed |= s->rows > 0 && rev != s->rev;
	s->rev = rev;
	s->rows++;
	return 0;
}

/* The revision in the store; fails the test when it is not a whole one. */
static uint64_t whole_rev(struct db *db)
{
	struct seen s = { 0 };
	uint64_t rev = 99;

	ck_assert_int_eq(db_each_resource(db, see, &s), 0);
	ck_assert_int_eq(db_meta(db, "rev", &rev), 0);
	ck_assert(!s.mixed);
	ck_assert_uint_eq(s.rows, rev ? ROWS : 0);
	ck_assert_uint_eq(s.rev, rev);
	return rev;
}

START_TEST(a_fresh_directory_gives_an_empty_store)
{
	setup_dir();
	struct db *db = opened();

	ck_assert(found.fresh);
	ck_assert_str_eq(found.aside, "");
	ck_assert_uint_eq(whole_rev(db), 0);
	ck_assert(db_is_in_place(db));
	db_close(&db);
	ck_assert_ptr_null(db);
	drop_dir();
}
END_TEST

static int see_doc(void *arg, const struct db_resource *d)
{
	struct db_resource want = doc("web", "{\"a\":1}");

	++*(int *)arg;
	ck_assert(slice_eq(d->kind, want.kind) && slice_eq(d->ns, want.ns));
	ck_assert(slice_eq(d->name, want.name) && slice_eq(d->json, want.json));
	ck_assert(slice_eq(d->source, want.source));
	ck_assert_mem_eq(d->digest, want.digest, 32);
	ck_assert_uint_eq(d->line, 3);
	ck_assert_int_eq(d->created_unix_ms, 12345);
	ck_assert_int_eq(d->generation, 2);
	return 0;
}

static int see_slot(void *arg, const struct db_slot *s)
{
	++*(int *)arg;
	ck_assert(slice_eq(s->scope, SLICE("service")) && slice_eq(s->key, SLICE("shop/web")));
	ck_assert_uint_eq(s->slot, 17);
	ck_assert_uint_eq(s->gen, 4000000000u);
	return 0;
}

START_TEST(what_is_committed_is_read_back_after_reopening)
{
	int rows = 0, slots = 0;
	uint64_t rev = 0, gen = 0;

	setup_dir();
	struct db *db = opened();
	struct db_resource web = doc("web", "{\"a\":1}"), old = doc("old", "{}");
	struct db_slot slot = { SLICE("service"), SLICE("shop/web"), 17, 4000000000u };
	struct db_slot gone = { SLICE("service"), SLICE("shop/old"), 18, 1 };

	ck_assert_int_eq(db_change_begin(db), 0);
	ck_assert_int_eq(db_put_resource(db, &old, 1), 0);
	ck_assert_int_eq(db_put_resource(db, &web, 1), 0);
	ck_assert_int_eq(db_put_slot(db, &gone), 0);
	ck_assert_int_eq(db_change_commit(db, 1), 0);
	ck_assert_int_eq(db_change_begin(db), 0);
	ck_assert_int_eq(db_delete_resource(db, old.kind, old.ns, old.name), 0);
	ck_assert_int_eq(db_delete_slot(db, gone.scope, gone.key), 0);
	ck_assert_int_eq(db_put_slot(db, &slot), 0);
	ck_assert_int_eq(db_put_meta(db, "gen", 5), 0);
	ck_assert_int_eq(db_change_commit(db, 2), 0);
	db_close(&db);
	db = opened();
	ck_assert(!found.fresh);
	ck_assert_int_eq(db_each_resource(db, see_doc, &rows), 0);
	ck_assert_int_eq(db_each_slot(db, see_slot, &slots), 0);
	ck_assert_int_eq(rows, 1);
	ck_assert_int_eq(slots, 1);
	ck_assert_int_eq(db_meta(db, "rev", &rev), 0);
	ck_assert_int_eq(db_meta(db, "gen", &gen), 0);
	ck_assert_uint_eq(rev, 2);
	ck_assert_uint_eq(gen, 5);
	db_close(&db);
	drop_dir();
}
END_TEST

START_TEST(a_dropped_change_leaves_nothing)
{
	setup_dir();
	struct db *db = opened();
	struct db_resource web = doc("web", "7");

	ck_assert_int_eq(write_rev(db, 1), 0);
	ck_assert_int_eq(db_change_begin(db), 0);
	ck_assert_int_eq(db_clear(db), 0);
	ck_assert_int_eq(db_put_resource(db, &web, 2), 0);
	db_change_drop(db);
	ck_assert_int_eq(db_put_resource(db, &web, 2), -ECANCELED);
	ck_assert_uint_eq(whole_rev(db), 1);
	db_close(&db);
	drop_dir();
}
END_TEST

static void write_file(const char *name, const void *p, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
	close(fd);
}

START_TEST(a_file_that_is_no_database_is_moved_aside_and_said)
{
	char junk[8192];

	setup_dir();
	memset(junk, 'x', sizeof junk);
	for (int i = 1; i <= DB_ASIDE_MAX + 2; i++) {
		char aside[32];

		/* The first free name, then over the oldest: never more than four. */
		snprintf(aside, sizeof aside, "store.db.bad-%d", (i - 1) % DB_ASIDE_MAX + 1);
		write_file(DB_NAME, junk, sizeof junk);
		struct db *db = opened();

		ck_assert(found.fresh);
		ck_assert_str_eq(found.aside, aside);
		ck_assert_str_ne(found.why, "");
		ck_assert(here(aside));
		ck_assert_uint_eq(whole_rev(db), 0);
		ck_assert_int_eq(write_rev(db, 1), 0);
		db_close(&db);
		unlinkat(dir, DB_NAME, 0);
		usleep(20000);	/* file times move in ticks of the kernel's clock */
	}
	ck_assert(!here("store.db.bad-5"));
	drop_dir();
}
END_TEST

static void run_sql(const char *sql)
{
	sqlite3 *s = NULL;

	ck_assert_int_eq(db_dir_use(dir), 0);
	ck_assert_int_eq(sqlite3_open(DB_PATH, &s), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(s, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(s);
}

START_TEST(another_programs_or_a_newer_database_is_moved_aside)
{
	static const struct {
		const char *sql, *why;
	} row[] = {
		{ "CREATE TABLE theirs (x)", "another program's database" },
		{ "PRAGMA user_version=7; PRAGMA application_id=1", "another program's database" },
		{ "PRAGMA application_id=1313887060; PRAGMA user_version=999",
		  "written by a newer nodeproxy" },
		{ "PRAGMA application_id=1313887060; PRAGMA user_version=1; CREATE TABLE meta (x)",
		  NULL },
	};

	ck_assert_int_eq(DB_APPLICATION_ID, 1313887060);
	for (size_t i = 0; i < countof(row); i++) {
		setup_dir();
		run_sql(row[i].sql);
		struct db *db = opened();

		ck_assert_str_eq(found.aside, "store.db.bad-1");
		if (row[i].why)
			ck_assert_str_eq(found.why, row[i].why);
		ck_assert_uint_eq(whole_rev(db), 0);
		db_close(&db);
		drop_dir();
	}
}
END_TEST

START_TEST(a_flipped_page_is_found_at_open_or_harmless)
{
	setup_dir();
	for (int page = 0; page < 12; page++) {
		struct db *db = opened();
		struct stat st;
		char junk[512];

		db_close(&db);
		db = opened();
		ck_assert_int_eq(write_rev(db, 1), 0);
		db_close(&db);
		ck_assert_int_eq(fstatat(dir, DB_NAME, &st, 0), 0);
		if (page * 4096 >= st.st_size)
			break;
		int fd = openat(dir, DB_NAME, O_WRONLY | O_CLOEXEC);

		memset(junk, 0xa5, sizeof junk);
		ck_assert_int_eq(pwrite(fd, junk, sizeof junk, page * 4096), sizeof junk);
		close(fd);
		db = opened();
		ck_assert_str_ne(found.aside, "");
		ck_assert_uint_eq(whole_rev(db), 0);
		db_close(&db);
		unlinkat(dir, DB_NAME, 0);
	}
	drop_dir();
}
END_TEST

START_TEST(no_file_outside_the_directory_can_be_reached)
{
	sqlite3 *s = NULL;
	char sql[200];

	setup_dir();
	struct db *db = opened();

	ck_assert_int_eq(write_rev(db, 1), 0);
	ck_assert_int_ne(sqlite3_open_v2("/etc/passwd", &s, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	sqlite3_close(s);
	snprintf(sql, sizeof sql, "ATTACH '%s/other.db' AS x; CREATE TABLE x.t (a)", path);
	ck_assert_int_ne(sqlite3_exec(db->sql, sql, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_ne(sqlite3_exec(db->sql, "ATTACH 'other.db' AS y; CREATE TABLE y.t (a)", NULL,
				      NULL, NULL), SQLITE_OK);
	ck_assert(!here("other.db"));
	ck_assert_uint_eq(whole_rev(db), 1);
	db_close(&db);
	/* Nor is a link followed out of it. */
	unlinkat(dir, DB_NAME, 0);
	ck_assert_int_eq(symlinkat("/tmp/np-test-db-elsewhere", dir, DB_NAME), 0);
	db = opened();
	ck_assert_str_eq(found.why, "store.db is no regular file");
	ck_assert(here("store.db"));
	db_close(&db);
	ck_assert_int_ne(access("/tmp/np-test-db-elsewhere", F_OK), 0);
	drop_dir();
}
END_TEST

START_TEST(it_works_without_rights_on_the_directories_above)
{
	char above[100], state[120];
	int status;

	if (geteuid() != 0) {
		fprintf(stderr, "skip: needs root to become another user\n");
		return;
	}
	snprintf(above, sizeof above, "/tmp/np-test-db-above-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(above));	/* 0700 root */
	snprintf(state, sizeof state, "%s/state", above);
	ck_assert_int_eq(mkdir(state, 0700), 0);
	ck_assert_int_eq(chown(state, 64612, 64612), 0);
	dir = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pid = fork();

	if (pid == 0) {
		struct db *db = NULL;

		if (setresgid(64612, 64612, 64612) < 0 || setresuid(64612, 64612, 64612) < 0)
			_exit(2);
		if (access(state, F_OK) == 0)
			_exit(3);
		if (db_open(dir, &db, &found) < 0 || write_rev(db, 1) < 0 || write_rev(db, 2) < 0)
			_exit(4);
		db_close(&db);
		if (db_open(dir, &db, &found) < 0 || whole_rev(db) != 2)
			_exit(5);
		db_close(&db);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	snprintf(path, sizeof path, "%.60s", state);
	drop_dir();
	rmdir(above);
}
END_TEST

START_TEST(a_second_process_is_told_that_it_is_busy)
{
	int status;

	setup_dir();
	struct db *db = opened();

	ck_assert_int_eq(write_rev(db, 1), 0);
	pid_t pid = fork();

	if (pid == 0) {
		struct db *mine = NULL;

		_exit(db_open(dir, &mine, &found) == -EBUSY ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(write_rev(db, 2), 0);
	db_close(&db);
	drop_dir();
}
END_TEST

START_TEST(a_removed_file_is_noticed)
{
	setup_dir();
	struct db *db = opened();

	unlinkat(dir, DB_NAME, 0);
	ck_assert(!db_is_in_place(db));
	write_file(DB_NAME, "", 0);
	ck_assert(!db_is_in_place(db));
	db_close(&db);
	drop_dir();
}
END_TEST

/* Killed at a random moment, the writer leaves the last revision it reported or the next. */
START_TEST(kill_9_in_mid_transaction_leaves_a_whole_revision)
{
	uint64_t rev = 0;

	setup_dir();
	for (int round = 0; round < 60; round++) {
		int said[2];
		uint64_t last = rev, n;

		ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
		pid_t pid = fork();

		if (pid == 0) {
			struct db *db = NULL;

			if (db_open(dir, &db, &found) < 0)
				_exit(1);
			for (uint64_t v = rev + 1;; v++)
				if (write_rev(db, v) < 0 || write(said[1], &v, sizeof v) < 0)
					_exit(2);
		}
		close(said[1]);
		/* At least one commit, then a moment that is not in step with the commits. */
		ck_assert_int_eq(read(said[0], &n, sizeof n), sizeof n);
		usleep(rand_below(3000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		do
			last = n;
		while (read(said[0], &n, sizeof n) == sizeof n);
		close(said[0]);
		struct db *db = opened();

		ck_assert_str_eq(found.aside, "");
		rev = whole_rev(db);
		ck_assert_uint_ge(rev, last);
		ck_assert_uint_le(rev, last + 1);
		db_close(&db);
	}
	ck_assert_uint_gt(rev, 60);
	drop_dir();
}
END_TEST

/* ---- a VFS that fails the n-th call ---- */

struct faulty_file {
	sqlite3_file base;
	sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;
static long calls_left;		/* 0: no fault ahead */
static int fault_code;
static bool fault_stays, fault_fired;

static bool fails(void)
{
	if (fault_fired && fault_stays)
		return true;
	if (calls_left == 0 || --calls_left > 0)
		return false;
	fault_fired = true;
	return true;
}

#define REAL(f) (((struct faulty_file *)(f))->real)

static int f_close(sqlite3_file *f)
{
	int rc = REAL(f)->pMethods->xClose(REAL(f));

	sqlite3_free(REAL(f));
	return rc;
}
static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return fails() ? SQLITE_IOERR_READ : REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	return fails() ? fault_code : REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 n)
{
	return fails() ? SQLITE_IOERR_TRUNCATE : REAL(f)->pMethods->xTruncate(REAL(f), n);
}
static int f_sync(sqlite3_file *f, int flags)
{
	return fails() ? SQLITE_IOERR_FSYNC : REAL(f)->pMethods->xSync(REAL(f), flags);
}
static int f_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	return fails() ? SQLITE_IOERR_FSTAT : REAL(f)->pMethods->xFileSize(REAL(f), ret);
}
static int f_lock(sqlite3_file *f, int how)
{
	return REAL(f)->pMethods->xLock(REAL(f), how);
}
static int f_unlock(sqlite3_file *f, int how)
{
	return REAL(f)->pMethods->xUnlock(REAL(f), how);
}
static int f_reserved(sqlite3_file *f, int *ret)
{
	return REAL(f)->pMethods->xCheckReservedLock(REAL(f), ret);
}
static int f_control(sqlite3_file *f, int op, void *p)
{
	return REAL(f)->pMethods->xFileControl(REAL(f), op, p);
}
static int f_sector(sqlite3_file *f)
{
	return REAL(f)->pMethods->xSectorSize(REAL(f));
}
static int f_device(sqlite3_file *f)
{
	return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static int f_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret)
{
	/* Version 1: without the shared-memory methods, which we never use. */
	static const sqlite3_io_methods methods = {
		.iVersion = 1, .xClose = f_close, .xRead = f_read, .xWrite = f_write,
		.xTruncate = f_truncate, .xSync = f_sync, .xFileSize = f_size, .xLock = f_lock,
		.xUnlock = f_unlock, .xCheckReservedLock = f_reserved, .xFileControl = f_control,
		.xSectorSize = f_sector, .xDeviceCharacteristics = f_device,
	};
	struct faulty_file *f = (struct faulty_file *)file;
	int rc;

	(void)vfs;
	memset(f, 0, sizeof *f);
	if (fails())
		return SQLITE_CANTOPEN;
	f->real = sqlite3_malloc(real_vfs->szOsFile);
	memset(f->real, 0, (size_t)real_vfs->szOsFile);
	rc = real_vfs->xOpen(real_vfs, name, f->real, flags, ret);
	if (rc == SQLITE_OK)
		f->base.pMethods = &methods;
	else
		sqlite3_free(f->real);
	return rc;
}

static int f_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	(void)vfs;
	return fails() ? SQLITE_IOERR_DELETE : real_vfs->xDelete(real_vfs, name, sync_dir);
}

static void one_fault(long n, int code, bool stays)
{
	struct db *db = NULL;
	int r, wrote = 0;
	uint64_t rev;

	setup_dir();
	fault_fired = false;
	calls_left = 0;
	db = opened();
	ck_assert_int_eq(write_rev(db, 1), 0);
	db_close(&db);

	calls_left = n;
	fault_code = code;
	fault_stays = stays;
	r = db_open(dir, &db, &found);
	/* A disk that fails must never look like a damaged store. */
	ck_assert_str_eq(found.aside, "");
	if (r == 0) {
		for (uint64_t v = 2; v < 6; v++)
			if (write_rev(db, v) == 0)
				wrote = (int)v;
		db_close(&db);
	}
	calls_left = 0;
	fault_stays = false;
	db = opened();
	ck_assert_str_eq(found.aside, "");
	rev = whole_rev(db);
	/* A commit that failed may have happened; one that succeeded has. */
	ck_assert_uint_ge(rev, (uint64_t)max_of(wrote, 1));
	ck_assert_uint_le(rev, 5);
	ck_assert_int_eq(write_rev(db, 6), 0);
	ck_assert_uint_eq(whole_rev(db), 6);
	db_close(&db);
	drop_dir();
}

START_TEST(whichever_call_fails_what_is_found_later_is_a_whole_revision)
{
	static const int codes[] = { SQLITE_FULL, SQLITE_IOERR_WRITE };
	sqlite3_vfs faulty;
	long n = 1;

	setup_dir();
	ck_assert_int_eq(db_dir_use(dir), 0);
	drop_dir();
	real_vfs = sqlite3_vfs_find("unix");
	faulty = *real_vfs;
	faulty.zName = "faulty";
	faulty.szOsFile = sizeof(struct faulty_file);
	faulty.xOpen = f_open;
	faulty.xDelete = f_delete;
	ck_assert_int_eq(sqlite3_vfs_register(&faulty, 1), SQLITE_OK);
	for (size_t c = 0; c < countof(codes); c++) {
		for (int stays = 0; stays < 2; stays++) {
			for (n = 1;; n++) {
				one_fault(n, codes[c], stays);
				if (!fault_fired)
					break;	/* beyond the last call: untouched */
			}
			ck_assert_int_gt(n, 20);
		}
	}
	sqlite3_vfs_unregister(&faulty);
	sqlite3_vfs_register(real_vfs, 1);
}
END_TEST

UNIT_TESTS("db", a_fresh_directory_gives_an_empty_store,
	   what_is_committed_is_read_back_after_reopening, a_dropped_change_leaves_nothing,
	   a_file_that_is_no_database_is_moved_aside_and_said,
	   another_programs_or_a_newer_database_is_moved_aside,
	   a_flipped_page_is_found_at_open_or_harmless,
	   no_file_outside_the_directory_can_be_reached,
	   it_works_without_rights_on_the_directories_above,
	   a_second_process_is_told_that_it_is_busy, a_removed_file_is_noticed,
	   kill_9_in_mid_transaction_leaves_a_whole_revision,
	   whichever_call_fails_what_is_found_later_is_a_whole_revision)
