/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rings -> files: lines stay lines, a hostile ring hurts only itself, a full file costs lines that
 * are counted, rotation loses none. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "admin/logdrain.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"

#define RING 65536u

static struct loop loop;
static struct logdrain d;
static struct ring writer[2];
static struct ring_shared *shared[2];
static int events[2];		/* a pipe: standard error */

static int new_file(void)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static size_t file_text(int fd, char *out, size_t room)
{
	ssize_t n = pread(fd, out, room - 1, 0);

	ck_assert_int_ge(n, 0);
	out[n] = 0;
	return (size_t)n;
}

static void setup(int access)
{
	struct fd file = { access };

	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(pipe2(events, O_CLOEXEC), 0);
	ck_assert_int_eq(logdrain_init(&d, &loop, events[1]), 0);
	for (unsigned w = 0; w < 2; w++) {
		struct fd fd;
		void *map;

		ck_assert_int_eq(memfd_shared("ring", RING_BYTES(RING), &fd), 0);
		ck_assert_int_eq(memfd_map_shared(fd, RING_BYTES(RING), true, &map), 0);
		shared[w] = map;
		ring_format(shared[w], RING);
		ck_assert_int_eq(ring_open_writer(&writer[w], shared[w], RING_BYTES(RING)), 0);
		ck_assert_int_eq(logdrain_ring(&d, w, fd, RING_BYTES(RING)), 0);
		fd_close(&fd);
	}
	logdrain_access(&d, &file, access >= 0);
}

static void teardown(void)
{
	logdrain_fini(&d);
	loop_fini(&loop);
	for (unsigned w = 0; w < 2; w++)
		munmap(shared[w], RING_BYTES(RING));
	close(events[0]);
	close(events[1]);
}

static bool put(unsigned w, enum ring_kind kind, struct slice s)
{
	uint8_t *to = ring_reserve(&writer[w], s.n);

	if (!to)
		return false;
	memcpy(to, s.p, s.n);
	ring_commit(&writer[w], kind, s.n);
	return true;
}

START_TEST(a_record_is_one_line_and_control_bytes_are_gone)
{
	int file = new_file(), keep = dup(file);
	char text[256];
	ssize_t n;

	setup(file);
	ck_assert(put(0, RING_ACCESS, SLICE("one\nforged\r\x1b[31m\0x\x7f")));
	ck_assert(put(1, RING_ACCESS, SLICE("two \xc3\xa9")));
	ck_assert(put(1, RING_EVENT, SLICE("an\nevent")));
	ck_assert(put(1, RING_ACCESS, SLICE("")));
	logdrain_pass(&d);
	file_text(keep, text, sizeof text);
	ck_assert_str_eq(text, "one?forged??[31m?x?\ntwo \xc3\xa9\n\n");
	n = read(events[0], text, sizeof text);
	ck_assert_int_eq(n, 9);
	ck_assert_mem_eq(text, "an?event\n", 9);
	close(keep);
	teardown();
}
END_TEST

START_TEST(a_hostile_ring_does_not_stop_the_others)
{
	int file = new_file(), keep = dup(file);
	struct state st = { 0 };
	char text[4096];

	rand_seed(7);
	setup(file);
	for (int i = 0; i < 2000; i++) {
		for (int k = 0; k < 20; k++)
			shared[0]->data[rand_below(RING)] = (uint8_t)rand_u32();
		shared[0]->head = rand_below(2) ? rand_u64() : shared[0]->tail + rand_below(RING);
		shared[0]->tail = rand_below(4) ? shared[0]->tail : rand_u64();
		shared[0]->bytes = rand_u32();
		shared[0]->magic = rand_u32();
		logdrain_pass(&d);
	}
	ck_assert_int_eq(ftruncate(keep, 0), 0);
	ck_assert_int_eq(lseek(keep, 0, SEEK_SET), 0);
	shared[0]->head = shared[0]->tail;
	logdrain_pass(&d);
	ck_assert_int_eq(ftruncate(keep, 0), 0);
	ck_assert_int_eq(lseek(keep, 0, SEEK_SET), 0);
	ck_assert(put(1, RING_ACCESS, SLICE("still here")));
	logdrain_pass(&d);
	file_text(keep, text, sizeof text);
	ck_assert_str_eq(text, "still here\n");
	logdrain_report(&d, &st);
	ck_assert_uint_gt(st.losses[0].nonsense, 0);
	ck_assert_uint_eq(st.losses[1].nonsense, 0);
	close(keep);
	teardown();
}
END_TEST

/* A pipe that nobody reads is a disk that is full. */
START_TEST(a_full_file_loses_whole_lines_and_counts_them)
{
	char line[200], *all = malloc(4 << 20);
	int fds[2], written = 0, lines = 0;
	struct state st = { 0 };
	size_t n = 0;

	ck_assert_int_eq(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	setup(fds[1]);
	for (int i = 0; i < 20000; i++) {
		snprintf(line, sizeof line, "line %06d %0150d", i, i);
		if (put(0, RING_ACCESS, slice_str(line)))
			written++;
		if (i % 100 == 99)
			logdrain_pass(&d);
	}
	ck_assert(put(0, RING_EVENT, SLICE("events still pass")));
	logdrain_pass(&d);
	ck_assert_int_eq(read(events[0], line, sizeof line), 18);
	logdrain_report(&d, &st);
	ck_assert_uint_gt(st.losses[0].sink, 0);
	ck_assert_uint_eq(st.losses[1].sink, 0);

	/* Somebody reads again: what waited comes out, whole lines only. */
	for (;;) {
		ssize_t r = read(fds[0], all + n, (4 << 20) - n);

		if (r > 0) {
			n += (size_t)r;
			logdrain_pass(&d);
		} else {
			break;
		}
	}
	for (size_t at = 0; at < n; lines++) {
		char *end = memchr(all + at, '\n', n - at);

		ck_assert_ptr_nonnull(end);
		ck_assert_int_eq(end - (all + at), 162);
		ck_assert_mem_eq(all + at, "line ", 5);
		at = (size_t)(end - all) + 1;
	}
	logdrain_report(&d, &st);
	ck_assert_uint_eq((uint64_t)lines + st.losses[0].sink, (uint64_t)written);
	ck_assert_int_eq(st.log_error, 0);
	free(all);
	close(fds[0]);
	teardown();
}
END_TEST

START_TEST(rotation_loses_no_line)
{
	int old = new_file(), old_keep = dup(old), new = new_file(), new_keep = dup(new);
	struct fd next = { new };
	char text[256];

	setup(old);
	ck_assert(put(0, RING_ACCESS, SLICE("before")));
	logdrain_pass(&d);
	logdrain_access(&d, &next, true);
	ck_assert(put(0, RING_ACCESS, SLICE("after")));
	logdrain_pass(&d);
	file_text(old_keep, text, sizeof text);
	ck_assert_str_eq(text, "before\n");
	file_text(new_keep, text, sizeof text);
	ck_assert_str_eq(text, "after\n");
	close(old_keep);
	close(new_keep);
	teardown();
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_again_leaves_the_old_one)
{
	int old = new_file(), keep = dup(old);
	struct fd none = FD_NONE;
	struct state st = { 0 };
	char text[256];

	setup(old);
	logdrain_access(&d, &none, true);
	ck_assert(put(0, RING_ACCESS, SLICE("still written")));
	logdrain_pass(&d);
	file_text(keep, text, sizeof text);
	ck_assert_str_eq(text, "still written\n");
	close(keep);
	teardown();

	/* never opened at all: lines are lost, and that is said */
	setup(-1);
	logdrain_access(&d, &none, true);
	ck_assert(put(1, RING_ACCESS, SLICE("lost")));
	logdrain_pass(&d);
	logdrain_report(&d, &st);
	ck_assert_uint_eq(st.losses[1].sink, 1);
	ck_assert_int_ne(st.log_error, 0);
	teardown();
}
END_TEST

START_TEST(without_a_file_access_lines_go_nowhere_and_are_not_losses)
{
	struct state st = { 0 };

	setup(-1);
	for (int i = 0; i < 50000; i++) {
		put(0, RING_ACCESS, SLICE("nobody wants this"));
		if (i % 100 == 0)
			logdrain_pass(&d);
	}
	logdrain_report(&d, &st);
	ck_assert_uint_eq(st.losses[0].sink, 0);
	ck_assert_uint_eq(st.losses[0].ring, 0);
	teardown();
}
END_TEST

UNIT_TESTS("logdrain", a_record_is_one_line_and_control_bytes_are_gone,
	   a_hostile_ring_does_not_stop_the_others, a_full_file_loses_whole_lines_and_counts_them,
	   rotation_loses_no_line,
	   a_file_that_cannot_be_opened_again_leaves_the_old_one, without_a_file_access_lines_go_nowhere_and_are_not_losses)
