/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The list of pods that outlives a stop: what was written is read, and nothing else is believed. */
#include "nodeproxy/podlist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/lib/ipc/pods.h"
#include "tests/unit/test.h"

static char dir[] = "/tmp/test_podlist.XXXXXX";
static char file[sizeof dir + 8];

static struct pods_page *page_of(unsigned n)
{
	struct pods_page *p = calloc(1, PODS_PAGE_BYTES(n));

	p->magic = PODS_MAGIC;
	p->n = n;
	for (unsigned i = 0; i < n; i++) {
		p->pod[i].inode = 100 + i;
		p->pod[i].words = (struct pod_words){ .name = "a", .ns = "b", .account = "c",
						      .netns = "/d" };
	}
	return p;
}

static int write_page(unsigned n)
{
	struct pods_page *p = page_of(n);
	int r = podlist_write(dir, slice_of(p, PODS_PAGE_BYTES(n)));

	free(p);
	return r;
}

static int read_page(unsigned *ret_n)
{
	struct slice s;
	int r = podlist_read(dir, &s);

	if (r < 0)
		return r;
	*ret_n = pods_page(s)->n;
	free((void *)(uintptr_t)s.p);
	return 0;
}

START_TEST(what_was_written_last_is_read)
{
	unsigned n = 77;

	ck_assert_int_eq(read_page(&n), -ENOENT);
	for (unsigned k = 0; k <= 3; k++) {
		ck_assert_int_eq(write_page(3 - k), 0);
		ck_assert_int_eq(read_page(&n), 0);
		ck_assert_uint_eq(n, 3 - k);
	}
	ck_assert_int_eq(write_page(PODS_MAX), 0);
	ck_assert_int_eq(read_page(&n), 0);
	ck_assert_uint_eq(n, PODS_MAX);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(podlist_write("/proc/nowhere", SLICE("x")), -ENOENT);
}
END_TEST

START_TEST(what_others_could_have_written_is_not_believed)
{
	unsigned n;

	if (geteuid() != 0) {
		fprintf(stderr, "skipped: the list is root's\n");
		return;
	}
	ck_assert_int_eq(write_page(1), 0);
	ck_assert_int_eq(chmod(file, 0620), 0);
	ck_assert_int_eq(read_page(&n), -EPERM);
	ck_assert_int_eq(chmod(file, 0600), 0);
	ck_assert_int_eq(chown(file, 64999, 0), 0);
	ck_assert_int_eq(read_page(&n), -EPERM);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(symlink("/etc/passwd", file), 0);
	ck_assert_int_eq(read_page(&n), -ELOOP);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(mkfifo(file, 0600), 0);
	ck_assert_int_eq(read_page(&n), -EPERM);
	ck_assert_int_eq(unlink(file), 0);
}
END_TEST

START_TEST(what_is_not_whole_is_not_believed)
{
	unsigned n;

	for (off_t cut = 0; cut < (off_t)PODS_PAGE_BYTES(2); cut += 61) {
		ck_assert_int_eq(write_page(2), 0);
		ck_assert_int_eq(truncate(file, cut), 0);
		ck_assert_int_eq(read_page(&n), -EBADMSG);
	}
	ck_assert_int_eq(truncate(file, 1 << 24), 0);
	ck_assert_int_eq(read_page(&n), -EBADMSG);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

static const char *make_dir(void)
{
	if (!mkdtemp(dir))
		abort();
	snprintf(file, sizeof file, "%s/pods", dir);
	return "podlist";
}

int main(void)
{
	const TTest *const tests[] = { what_was_written_last_is_read,
				       what_others_could_have_written_is_not_believed,
				       what_is_not_whole_is_not_believed };

	return unit_run(make_dir(), tests, countof(tests));
}
