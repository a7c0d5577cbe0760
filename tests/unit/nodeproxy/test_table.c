/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The keeper's descriptors: whose they are, who inherits them, and that none is left open. */
#include "nodeproxy/table.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "tests/unit/test.h"

static struct table t;

static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int put(uint32_t era, const char *name, uint64_t number, bool shared)
{
	struct msg_keep m = { .number = number, .shared = shared };
	struct fd f = { open("/dev/null", O_RDONLY | O_CLOEXEC) };
	int v = f.v;

	snprintf(m.name, sizeof m.name, "%s", name);
	table_keep(&t, era, &m, &f);
	ck_assert(!fd_is_open(f));	/* taken */
	return v;
}

static void take_away(uint32_t era, const char *name)
{
	struct msg_keep m = { .number = 0 };
	struct fd none = FD_NONE;

	snprintf(m.name, sizeof m.name, "%s", name);
	table_keep(&t, era, &m, &none);
}

static const struct table_entry *of(uint32_t era, const char *name)
{
	for (unsigned i = 0; i < t.n; i++)
		if (t.entry[i].era == era && strcmp(t.entry[i].m.name, name) == 0)
			return &t.entry[i];
	return NULL;
}

static void fini(void)
{
	for (uint32_t era = 1; era < 4; era++)
		table_drop(&t, era, true);
	free(t.entry);
	t = (struct table){ 0 };
}

START_TEST(a_name_belongs_to_an_era_and_a_later_one_replaces_it)
{
	unsigned before = open_descriptors();

	put(1, "view/base", 7, false);
	put(2, "view/base", 8, false);
	put(1, "view/base", 9, false);
	ck_assert_uint_eq(t.n, 2);
	ck_assert_uint_eq(of(1, "view/base")->m.number, 9);
	ck_assert_uint_eq(of(2, "view/base")->m.number, 8);
	take_away(2, "view/base");
	take_away(2, "never/there");
	ck_assert_ptr_null(of(2, "view/base"));
	put(1, "knobs", 1, false);		/* into the hole */
	ck_assert_uint_eq(t.n, 2);
	fini();
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(shared_entries_go_over_unless_the_heir_has_its_own)
{
	unsigned before = open_descriptors();
	int old, own;

	old = put(1, "listen/a/0", 0, true);
	put(1, "listen/b/0", 0, true);
	put(1, "board", 0, false);
	own = put(2, "listen/b/0", 0, true);	/* another address, say */
	table_inherit(&t, 1, 2);
	ck_assert_int_eq(of(2, "listen/a/0")->fd.v, old);
	ck_assert_int_eq(of(2, "listen/b/0")->fd.v, own);
	ck_assert_ptr_null(of(1, "listen/a/0"));
	ck_assert_ptr_null(of(1, "listen/b/0"));
	ck_assert_ptr_nonnull(of(1, "board"));
	/* What the former owner says about it from now on changes nothing. */
	take_away(1, "listen/a/0");
	ck_assert_ptr_nonnull(of(2, "listen/a/0"));
	/* And its end takes only what is its own. */
	table_drop(&t, 1, true);
	ck_assert_uint_eq(table_count(&t, 1, ""), 0);
	ck_assert_uint_eq(table_count(&t, 2, "listen/"), 2);
	fini();
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(nonsense_is_not_kept_and_a_full_table_says_no)
{
	struct msg_keep m = { .number = 0 };
	unsigned before = open_descriptors();
	struct fd f = { open("/dev/null", O_RDONLY | O_CLOEXEC) };

	memset(m.name, 'x', sizeof m.name);	/* no end */
	table_keep(&t, 1, &m, &f);
	ck_assert_uint_eq(t.n, 0);
	ck_assert(fd_is_open(f));		/* the caller's still */
	fd_close(&f);
	fini();
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(an_era_is_ended_by_its_pidfds_and_no_other)
{
	struct fd pidfd[2];
	pid_t pid[2];
	int status;

	for (uint32_t i = 0; i < 2; i++) {
		struct msg_keep m = { .name = "pid/worker/0" };

		pid[i] = fork();
		if (pid[i] == 0)
			for (;;)
				pause();
		pidfd[i].v = pidfd_open(pid[i], 0);
		ck_assert_int_ge(pidfd[i].v, 0);
		m.number = (uint64_t)pid[i];
		table_keep(&t, i + 1, &m, &pidfd[i]);
	}
	table_drop(&t, 1, false);
	ck_assert_uint_eq(table_count(&t, 1, "pid/worker/"), 1);
	table_kill(&t, 1);
	ck_assert_int_eq(waitpid(pid[0], &status, 0), pid[0]);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_int_eq(waitpid(pid[1], &status, WNOHANG), 0);
	table_kill(&t, 0);
	ck_assert_int_eq(waitpid(pid[1], &status, 0), pid[1]);
	fini();
}
END_TEST

UNIT_TESTS("table", a_name_belongs_to_an_era_and_a_later_one_replaces_it,
	   shared_entries_go_over_unless_the_heir_has_its_own,
	   nonsense_is_not_kept_and_a_full_table_says_no, an_era_is_ended_by_its_pidfds_and_no_other)
