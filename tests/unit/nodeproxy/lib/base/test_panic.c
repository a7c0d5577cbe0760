/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A process that panics leaves a page behind; what is in a page is shown, never trusted. */
#include "tests/unit/test.h"

#include <stdio.h>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/base/trail.h"

static struct panic_page *page;

static int die_by(void (*how)(void))
{
	struct rlimit none = { 0, 0 };
	pid_t pid;
	int st;

	page = mmap(NULL, PANIC_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		panic_init(page, "worker");
		panic_doing("relay");
		how();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &st, 0), pid);
	ck_assert_uint_eq(page->pid, page->magic == PANIC_MAGIC ? (uint32_t)pid : 0);
	return st;
}

static void by_must(void)
{
	static struct trail t;

	for (unsigned i = 0; i < TRAIL_LEN; i++)
		trail_add(&t, 4, i, 5);
	trail_add(&t, 1, 2, 3);
	panic_trail(&t);
	page->rev = 77;
	must(1 + 1 == 3);
}

START_TEST(a_failed_must_says_what_where_and_what_it_was_doing)
{
	char text[4096];
	int st = die_by(by_must);

	ck_assert(WIFSIGNALED(st) && WTERMSIG(st) == SIGABRT);
	ck_assert_uint_eq(page->magic, PANIC_MAGIC);
	panic_page_text(page, text, sizeof text);
	ck_assert_ptr_nonnull(strstr(text, "must(1 + 1 == 3)"));
	ck_assert_ptr_nonnull(strstr(text, "test_panic.c"));
	ck_assert_ptr_nonnull(strstr(text, "doing=relay rev=77"));
	ck_assert_ptr_null(strstr(text, "trail 4+0->5"));	/* sixteen are kept, oldest first */
	ck_assert_ptr_nonnull(strstr(text, "trail 4+1->5\ntrail 4+2->5\n"));
	ck_assert_ptr_nonnull(strstr(text, "trail 4+15->5\ntrail 1+2->3\n"));
	ck_assert_ptr_nonnull(strstr(text, "role=worker"));
}
END_TEST

static void by_never(void)
{
	never_aborts = false;
	if (!never(1 == 1) || never_count != 1)
		_exit(9);
}

START_TEST(never_does_not_kill_in_production)
{
	int st = die_by(by_never);

	ck_assert(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	ck_assert_uint_eq(page->magic, 0);
}
END_TEST

START_TEST(a_hostile_page_is_shown_as_harmless_text)
{
	uint8_t bytes[PANIC_PAGE_BYTES];
	char text[2000];
	size_t n;

	memset(bytes, 0xff, sizeof bytes);
	n = panic_page_text((const struct panic_page *)(void *)bytes, text, sizeof text);
	ck_assert_uint_lt(n, sizeof text + 1);
	for (size_t i = 0; i + 1 < n; i++)
		ck_assert(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7f));
	ck_assert_uint_le(panic_page_text((const struct panic_page *)(void *)bytes, text, 10), 10);
}
END_TEST

#ifndef NP_SANITIZED
static void by_segv(void)
{
	raise(SIGSEGV);
}

START_TEST(a_fatal_signal_leaves_a_page_and_the_same_death)
{
	int st = die_by(by_segv);

	ck_assert(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
	ck_assert_uint_eq(page->magic, PANIC_MAGIC);
	ck_assert_uint_eq(page->signo, SIGSEGV);
}
END_TEST
#define UNSANITIZED , a_fatal_signal_leaves_a_page_and_the_same_death
#else
#define UNSANITIZED	/* the sanitizer takes fatal signals itself */
#endif

UNIT_TESTS("panic", a_failed_must_says_what_where_and_what_it_was_doing,
	   never_does_not_kill_in_production, a_hostile_page_is_shown_as_harmless_text UNSANITIZED)
