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

static struct podlist list;

static struct pods_page *page_of(unsigned n)
{
	struct pods_page *p = calloc(1, PODS_PAGE_BYTES(n));

	p->magic = PODS_MAGIC;
	p->n = n;
	for (unsigned i = 0; i < n; i++) {
		/* Between members there is whatever was there before. */
		memset(&p->pod[i], 0xa5, sizeof p->pod[i]);
		p->pod[i] = (struct pod_told){ .inode = 100 + i, .ref = 7 * PODS_MAX + i,
					       .words = { .name = "a", .ns = "b", .account = "c",
							  .netns = "/d" } };
	}
	return p;
}

static int write_all(const struct pods_page *p)
{
	int r = podlist_begin(&list, dir);

	for (unsigned i = 0; r == 0 && i < PODS_MAX; i++)
		r = podlist_put(&list, i, i < p->n ? &p->pod[i] : NULL);
	return r;
}

static int write_page(unsigned n)
{
	struct pods_page *p = page_of(n);
	int r = write_all(p);

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
	podlist_close(&list);
	ck_assert_int_eq(podlist_begin(&list, "/proc/nowhere"), -ENOENT);
	podlist_close(&list);
}
END_TEST

/* Bytes that differ from what they were. */
static off_t changed(const uint8_t *was, size_t n)
{
	uint8_t *is = malloc(n);
	off_t bytes = 0;
	FILE *f = fopen(file, "r");

	ck_assert(f && fread(is, 1, n, f) == n);
	fclose(f);
	for (size_t i = 0; i < n; i++)
		bytes += is[i] != was[i];
	free(is);
	return bytes;
}

START_TEST(a_place_that_is_broken_costs_its_pod_and_heals)
{
	struct pods_page *p = page_of(3);
	struct slice s;
	struct stat st;
	uint8_t *was;
	FILE *f;

	ck_assert_int_eq(write_all(p), 0);
	ck_assert_int_eq(stat(file, &st), 0);
	was = malloc((size_t)st.st_size);
	f = fopen(file, "r+");
	ck_assert(f && fread(was, 1, (size_t)st.st_size, f) == (size_t)st.st_size);
	ck_assert_int_eq(changed(was, (size_t)st.st_size), 0);
	/* Nothing is written that is there; of one that changed its place alone. */
	ck_assert_int_eq(write_all(p), 0);
	ck_assert_int_eq(changed(was, (size_t)st.st_size), 0);
	p->pod[1].inode = 7;
	ck_assert_int_eq(write_all(p), 0);
	ck_assert_int_le(changed(was, (size_t)st.st_size), 9);

	/* Half written. */
	ck_assert(fseek(f, (long)(st.st_size / PODS_MAX) + 300, SEEK_SET) == 0 && fputc('x', f) == 'x');
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(podlist_read(dir, &s), 0);
	ck_assert_uint_eq(pods_page(s)->n, 2);
	ck_assert_uint_eq(pods_page(s)->pod[1].inode, 102);
	free((void *)(uintptr_t)s.p);
	podlist_close(&list);			/* a new master */
	ck_assert_int_eq(write_all(p), 0);
	ck_assert_int_eq(podlist_read(dir, &s), 0);
	ck_assert_uint_eq(pods_page(s)->n, 3);
	free((void *)(uintptr_t)s.p);
	ck_assert_int_eq(unlink(file), 0);

	/* Somebody removed it: who writes what changed alone is told to write all. */
	ck_assert(list.anew);
	list.anew = false;
	ck_assert_int_eq(write_all(p), 0);
	ck_assert(list.anew);
	ck_assert_int_eq(podlist_read(dir, &s), 0);
	ck_assert_uint_eq(pods_page(s)->n, 3);
	free((void *)(uintptr_t)s.p);
	ck_assert_int_eq(unlink(file), 0);
	free(was);
	free(p);
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
	/* Nor written to: a new one takes its place. */
	podlist_close(&list);
	ck_assert_int_eq(write_page(1), 0);
	ck_assert_int_eq(read_page(&n), 0);
	ck_assert_int_eq(unlink(file), 0);
}
END_TEST

START_TEST(what_is_not_whole_is_not_believed)
{
	unsigned n;

	for (off_t cut = 0; cut < (off_t)PODS_PAGE_BYTES(2); cut += 61) {
		podlist_close(&list);
		ck_assert_int_eq(write_page(2), 0);
		ck_assert_int_eq(truncate(file, cut), 0);
		ck_assert_int_eq(read_page(&n), -EBADMSG);
	}
	ck_assert_int_eq(truncate(file, 1 << 24), 0);
	ck_assert_int_eq(read_page(&n), -EBADMSG);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(rmdir(dir), 0);
	podlist_close(&list);
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
				       a_place_that_is_broken_costs_its_pod_and_heals,
				       what_others_could_have_written_is_not_believed,
				       what_is_not_whole_is_not_believed };

	return unit_run(make_dir(), tests, countof(tests));
}
