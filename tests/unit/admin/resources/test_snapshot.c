/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A copy of the store is one whole revision, whatever its owner does meanwhile. */
#include "admin/resources/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/db/apply.h"
#include "store/db/dir.h"
#include "tests/unit/test.h"

#define ROWS  24
#define BYTES 6000	/* so that the log begins anew every few revisions */
#define TAKEN 8
#define BULK  (8u << 20)	/* of what does not change, so that a copy takes longer than a few revisions */

static char state[64], problem[512];

static void write_bulk(struct db *db)
{
	struct db_resource d = { .kind = SLICE("Bulk"), .source = SLICE("b.yaml"), .line = 1, .name = SLICE("b") };
	char *json = malloc(BULK);

	if (json == NULL)
		_exit(6);
	memset(json, 'y', BULK);
	d.json = slice_of(json, BULK);
	if (db_change_begin(db) < 0 || db_put_resource(db, &d, 0) < 0 || db_change_commit(db, 0) < 0)
		_exit(7);
	free(json);
}

static void write_rev(struct db *db, uint64_t rev)
{
	static char json[BYTES];

	memset(json, 'x', sizeof json);
	if (db_change_begin(db) < 0)
		_exit(2);
	for (unsigned i = 0; i < ROWS; i++) {
		char name[16];
		struct db_resource d = { .kind = SLICE("Service"), .ns = SLICE("shop"),
					 .json = slice_of(json, sizeof json - i * 100),
					 .source = SLICE("a.yaml"), .line = 1, .generation = (int64_t)rev };

		snprintf(name, sizeof name, "s%u", i);
		d.name = slice_str(name);
		if (db_put_resource(db, &d, rev) < 0)
			_exit(3);
	}
	if (db_change_commit(db, rev) < 0)
		_exit(4);
}

/* Writes revision after revision until it is killed. */
static void be_owner(int ready)
{
	int dir = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct db_found found;
	struct db *db;

	/* A test that fails must not leave it behind. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || dir < 0 || db_open(dir, &db, &found) < 0)
		_exit(1);
	write_bulk(db);
	for (uint64_t rev = 1;; rev++) {
		write_rev(db, rev);
		if (rev == 1 && write(ready, "x", 1) != 1)
			_exit(5);
	}
}

struct seen {
	uint64_t rev;
	unsigned rows;
};

static int see(void *arg, const struct db_resource *d)
{
	struct seen *s = arg;

	if (slice_eq(d->kind, SLICE("Bulk")))
		return 0;
	ck_assert_int_eq(d->generation, (int64_t)s->rev);
	s->rows++;
	return 0;
}

static uint64_t look_at(const struct snapshot *s)
{
	struct db_found found;
	struct seen seen = { 0 };
	struct db *db = NULL;

	ck_assert_msg(db_open(s->dir, &db, &found) == 0 && !found.fresh, "%s", found.why);
	ck_assert_int_eq(db_meta(db, "rev", &seen.rev), 0);
	ck_assert_int_eq(db_each_resource(db, see, &seen), 0);
	ck_assert_uint_eq(seen.rows, ROWS);
	db_close(&db);
	return seen.rev;
}

static void remove_state(void)
{
	char command[100];

	snprintf(command, sizeof command, "rm -rf %s", state);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(a_copy_is_one_revision_while_its_owner_writes)
{
	struct snapshot s;
	uint64_t last = 0;
	int p[2];
	pid_t pid;
	char c;

	snprintf(state, sizeof state, "/tmp/np-test-snapshot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(state));
	ck_assert_int_eq(pipe(p), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		be_owner(p[1]);
	close(p[1]);
	ck_assert_int_eq(read(p[0], &c, 1), 1);
	for (int i = 0; i < TAKEN; i++) {
		uint64_t rev;

		ck_assert_msg(snapshot_take(&s, state, problem) == 0, "%s", problem);
		rev = look_at(&s);
		ck_assert_uint_ge(rev, last);
		last = rev;
		snapshot_close(&s);
	}
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	/* What it left behind is the same kind of thing. */
	ck_assert_int_eq(snapshot_take(&s, state, problem), 0);
	ck_assert_uint_ge(look_at(&s), last);
	snapshot_close(&s);
	close(p[0]);
	remove_state();
}
END_TEST

START_TEST(nothing_is_left_behind)
{
	struct snapshot s;
	char name[100];

	snprintf(state, sizeof state, "/tmp/np-test-snapshot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(state));
	ck_assert_int_eq(setenv("TMPDIR", state, 1), 0);
	ck_assert_int_eq(snapshot_take(&s, state, problem), -ENOENT);
	ck_assert_ptr_nonnull(strstr(problem, "there is no store"));
	snapshot_close(&s);
	snprintf(name, sizeof name, "%s/" DB_NAME, state);
	ck_assert_int_eq(symlink("/etc/passwd", name), 0);
	ck_assert_int_lt(snapshot_take(&s, state, problem), 0);	/* no link is followed */
	snapshot_close(&s);
	ck_assert_int_eq(unlink(name), 0);
	ck_assert_int_eq(mkdir(name, 0700), 0);
	ck_assert_int_lt(snapshot_take(&s, state, problem), 0);
	snapshot_close(&s);
	ck_assert_int_eq(rmdir(name), 0);
	ck_assert_int_eq(snapshot_take(&s, "/nonexistent", problem), -ENOENT);
	snapshot_close(&s);
	ck_assert_int_eq(unsetenv("TMPDIR"), 0);
	ck_assert_int_eq(rmdir(state), 0);	/* it is empty */
}
END_TEST

UNIT_TESTS("snapshot", a_copy_is_one_revision_while_its_owner_writes, nothing_is_left_behind)
