/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The copy that new binaries work on: a whole revision of an open store, and never more than that. */
#include "store/db/copy.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/db/apply.h"
#include "store/db/dir.h"
#include "store/db/query.h"
#include "tests/unit/test.h"

static char path[64];
static int dir = -1;
static struct db_found found;

static void setup_dir(void)
{
	snprintf(path, sizeof path, "/tmp/np-test-copy-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir, 0);
}

static void drop_dir(void)
{
	db_copy_remove(dir);
	unlinkat(dir, DB_NAME, 0);
	unlinkat(dir, DB_NAME "-wal", 0);
	close(dir);
	ck_assert_int_eq(rmdir(path), 0);	/* nothing else was made */
}

static struct db *opened(int where)
{
	struct db *db = NULL;

	ck_assert_msg(db_open(where, &db, &found) == 0, "%s", found.why);
	return db;
}

static void commit(struct db *db, uint64_t rev)
{
	struct db_resource d = { .kind = SLICE("Service"), .ns = SLICE("shop"), .name = SLICE("web"),
				 .json = SLICE("{}"), .source = SLICE("a.yaml"), .line = 1 };

	ck_assert_int_eq(db_change_begin(db), 0);
	ck_assert_int_eq(db_put_resource(db, &d, rev), 0);
	ck_assert_int_eq(db_change_commit(db, rev), 0);
}

static uint64_t rev_of(struct db *db)
{
	uint64_t rev = 0;

	ck_assert_int_eq(db_meta(db, "rev", &rev), 0);
	return rev;
}

START_TEST(a_copy_is_what_was_committed_and_the_store_goes_on)
{
	struct db *db, *copy;
	int next = -1;

	setup_dir();
	db = opened(dir);
	commit(db, 5);
	ck_assert_int_eq(db_copy_make(db), 0);
	commit(db, 6);
	ck_assert_uint_eq(rev_of(db), 6);
	ck_assert_int_eq(db_copy_make(db), 0);	/* again: the newer one */
	commit(db, 7);
	db_close(&db);

	ck_assert_int_eq(db_copy_dir(dir, &next), 0);
	copy = opened(next);
	ck_assert(!found.fresh && found.aside[0] == 0);
	ck_assert_uint_eq(rev_of(copy), 6);
	commit(copy, 8);
	db_close(&copy);
	close(next);
	db_copy_remove(dir);

	db = opened(dir);
	ck_assert_uint_eq(rev_of(db), 7);	/* never chosen */
	db_close(&db);
	drop_dir();
}
END_TEST

START_TEST(without_a_copy_there_is_an_empty_store_to_work_on)
{
	struct db *copy;
	int next = -1;

	setup_dir();
	ck_assert_int_eq(db_copy_dir(dir, &next), 0);
	copy = opened(next);
	ck_assert(found.fresh);
	ck_assert_uint_eq(rev_of(copy), 0);
	db_close(&copy);
	close(next);
	drop_dir();
}
END_TEST

START_TEST(a_copy_that_cannot_be_made_leaves_nothing)
{
	struct db *db;
	int f;

	setup_dir();
	db = opened(dir);
	commit(db, 5);
	f = openat(dir, DB_NEXT_DIR, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);	/* in the way */
	ck_assert_int_ge(f, 0);
	close(f);
	ck_assert_int_lt(db_copy_make(db), 0);
	ck_assert_int_eq(unlinkat(dir, DB_NEXT_DIR, 0), 0);
	commit(db, 6);
	db_close(&db);
	drop_dir();
}
END_TEST

START_TEST(a_store_is_taken_while_another_process_has_it_open)
{
	int go[2], status;
	char c;
	pid_t pid;

	setup_dir();
	ck_assert(!db_is_taken(dir));		/* there is none */
	ck_assert_int_eq(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		struct db *db = NULL;

		if (db_open(dir, &db, &found) < 0)
			_exit(1);
		(void)!write(go[1], "x", 1);
		pause();
		_exit(0);
	}
	ck_assert_int_eq(read(go[0], &c, 1), 1);
	ck_assert(db_is_taken(dir));
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(!db_is_taken(dir));
	close(go[0]);
	close(go[1]);
	drop_dir();
}
END_TEST

UNIT_TESTS("copy", a_copy_is_what_was_committed_and_the_store_goes_on,
	   without_a_copy_there_is_an_empty_store_to_work_on, a_copy_that_cannot_be_made_leaves_nothing,
	   a_store_is_taken_while_another_process_has_it_open)
