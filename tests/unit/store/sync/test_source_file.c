/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The file source against a master that opens files of a real directory: what it tells, in which
 * change sets, and what it does when the directory goes away. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "store/sync/source.h"
#include "tests/unit/test.h"

#define WATCH (IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | \
	       IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static struct loop loop;
static struct chan ours, theirs;	/* the source's end, the master's end */
static struct source_file *source;
static char path[64], said[1 << 16];
static int dir = -1;
static unsigned wants, agains, change_sets, inotifies;
static int open_error;			/* what the master answers instead of a file */

/* ---- what it says ---- */

static void say(const char *word, const char *place)
{
	size_t n = strlen(said);

	snprintf(said + n, sizeof said - n, "%s%s%s ", word, place ? ":" : "", place ? place : "");
}
static void on_snapshot(void *arg)
{
	(void)arg;
	say("snapshot", NULL);
}
static void on_place(void *arg, const char *place, struct slice content)
{
	char text[64];

	(void)arg;
	snprintf(text, sizeof text, "%s=%.*s", place, (int)min_of(content.n, (size_t)20), content.p);
	say("place", text);
}
static void on_same(void *arg, const char *place)
{
	(void)arg;
	say("same", place);
}
static char why_not[200];		/* of the last unreadable */

static void on_unreadable(void *arg, const char *place, const char *why)
{
	(void)arg;
	snprintf(why_not, sizeof why_not, "%s", why);
	say("unreadable", place);
}
static void on_gone(void *arg, const char *place)
{
	(void)arg;
	say("gone", place);
}
static void on_end(void *arg)
{
	(void)arg;
	change_sets++;
	say("end", NULL);
}
static void on_lost(void *arg, const char *why)
{
	(void)arg, (void)why;
	say("lost", NULL);
}

/* ---- the master ---- */

static void send_dir(const char *only)
{
	struct msg_source src = { 0 };
	int fds[2] = { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		       inotify_init1(IN_CLOEXEC | IN_NONBLOCK) };

	snprintf(src.name, sizeof src.name, "%s", only);
	if (fds[0] < 0 || inotify_add_watch(fds[1], path, WATCH) < 0) {
		src.error = -ENOENT;
		ck_assert_int_eq(chan_send(&theirs, MSG_SOURCE_DIR, &src, (struct slice){ 0 }, NULL, 0),
				 0);
	} else {
		inotifies++;
		ck_assert_int_eq(chan_send(&theirs, MSG_SOURCE_DIR, &src, (struct slice){ 0 }, fds, 2),
				 0);
	}
	if (fds[0] >= 0)
		close(fds[0]);
	close(fds[1]);
}

static void answer(const struct msg *m)
{
	struct msg_file file;
	int fd;

	if (m->type == MSG_SOURCE_AGAIN) {
		agains++;
		send_dir("");
		return;
	}
	ck_assert_int_eq(m->type, MSG_FILE_WANT);
	wants++;
	memcpy(&file, m->p, sizeof file);
	ck_assert_ptr_null(strchr(file.name, '/'));
	fd = open_error ? -1 : openat(dir, file.name, O_RDONLY | O_CLOEXEC);
	file.error = open_error ? open_error : fd < 0 ? -errno : 0;
	ck_assert_int_eq(chan_send(&theirs, MSG_FILE_HERE, &file, (struct slice){ 0 }, &fd, fd >= 0), 0);
	if (fd >= 0)
		close(fd);
}

static void pass(void)
{
	const struct msg *m;

	while (chan_recv(&theirs, &m) == 1)
		answer(m);
	while (chan_recv(&ours, &m) == 1)
		source_file_message(source, m);
	loop_once(&loop);
}

/* Until something said has been heard (the text is taken out of what was said then). */
static void hear(const char *what)
{
	struct mono end = mono_after_ms(clock_tick(), 10000);

	while (strstr(said, what) == NULL && clock_tick().ns < end.ns) {
		pass();
		usleep(500);
	}
	ck_assert_msg(strstr(said, what) != NULL, "waited for \"%s\", heard \"%s\"", what, said);
	said[0] = 0;
}

static void write_file(const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void begin(void)
{
	static const struct source_events events = {
		.snapshot = on_snapshot, .place = on_place, .same = on_same,
		.unreadable = on_unreadable, .gone = on_gone, .end = on_end, .lost = on_lost,
	};
	struct fd pair[2];

	snprintf(path, sizeof path, "/tmp/np-test-source-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	said[0] = 0;
	wants = agains = change_sets = inotifies = 0;
	open_error = 0;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(chan_pair(pair), 0);
	chan_init(&ours, &pair[0], ROLE_SYNCD, ROLE_MASTER);
	chan_init(&theirs, &pair[1], ROLE_MASTER, ROLE_SYNCD);
	ck_assert_int_eq(source_file_new(&loop, &ours, path, &events, &source), 0);
}

static void end(void)
{
	DIR *d = fdopendir(dup(dir));

	source_file_free(&source);
	chan_fini(&ours);
	chan_fini(&theirs);
	loop_fini(&loop);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		unlinkat(dir, e->d_name, 0);
	closedir(d);
	close(dir);
	rmdir(path);
}

START_TEST(all_files_are_one_snapshot_and_others_are_not_looked_at)
{
	begin();
	write_file("a.yaml", "A");
	write_file("b.json", "B");
	write_file("c.yml", "C");
	write_file(".hidden.yaml", "x");
	write_file("notes.txt", "x");
	write_file("a.yaml~", "x");
	send_dir("");
	hear("end ");
	/* Written a moment ago: the first view does not come without them. */
	ck_assert_uint_eq(wants, 3);
	ck_assert_uint_eq(change_sets, 1);
	end();
}
END_TEST

START_TEST(an_empty_directory_is_a_snapshot_of_nothing)
{
	begin();
	send_dir("");
	hear("snapshot end ");
	end();
}
END_TEST

START_TEST(a_changed_file_is_told_and_the_others_are_left_alone)
{
	begin();
	write_file("a.yaml", "A");
	write_file("b.yaml", "B");
	send_dir("");
	hear("end ");
	wants = 0;
	write_file("b.yaml", "B2");
	hear("place:b.yaml=B2 end ");
	ck_assert_uint_le(wants, 3);	/* written over: looked at until it stands still */
	/* Written again as it was. */
	write_file("b.yaml", "B2");
	hear("same:b.yaml end ");
	unlinkat(dir, "a.yaml", 0);
	hear("gone:a.yaml end ");
	/* Several at once are one change set. */
	change_sets = 0;
	write_file("c.yaml", "C");
	write_file("d.yaml", "D");
	ck_assert_int_eq(renameat(dir, "b.yaml", dir, "e.yaml"), 0);
	hear("end ");
	ck_assert_uint_eq(change_sets, 1);
	end();
}
END_TEST

/* However young, it was written elsewhere: it waits for no second look (under a stream of changes that
 * was another 50 ms for many). */
START_TEST(a_file_put_in_place_by_a_rename_is_read_once)
{
	int64_t ms = clock_unix_ms() + 900;
	struct timespec young = { ms / 1000, ms % 1000 * NS_PER_MS };

	begin();
	write_file("a.yaml", "A");
	send_dir("");
	hear("place:a.yaml=A end ");
	write_file(".new", "A2");
	ck_assert_int_eq(utimensat(dir, ".new", (struct timespec[]){ young, young }, 0), 0);
	wants = 0;
	ck_assert_int_eq(renameat(dir, ".new", dir, "a.yaml"), 0);
	hear("place:a.yaml=A2 end ");
	ck_assert_uint_eq(wants, 1);
	end();
}
END_TEST

START_TEST(a_new_look_at_the_directory_reads_only_what_changed)
{
	begin();
	write_file("a.yaml", "A");
	send_dir("");
	hear("place:a.yaml=A end ");
	/* Too young to be told apart by its times: its bytes are compared. */
	send_dir("");
	hear("snapshot same:a.yaml end ");
	write_file("b.yaml", "B");
	send_dir("");
	hear("place:b.yaml=B");
	end();
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_is_not_gone)
{
	begin();
	write_file("a.yaml", "A");
	send_dir("");
	hear("end ");
	open_error = -EACCES;
	write_file("a.yaml", "B");
	hear("unreadable:a.yaml end ");
	open_error = 0;
	write_file("a.yaml", "B");
	hear("place:a.yaml=B end ");
	end();
}
END_TEST

START_TEST(a_directory_that_goes_is_lost_and_its_files_are_not_gone)
{
	char away[80];

	begin();
	write_file("a.yaml", "A");
	write_file("b.yaml", "B");
	send_dir("");
	hear("end ");
	/* Removed: its files go first. */
	unlinkat(dir, "a.yaml", 0);
	unlinkat(dir, "b.yaml", 0);
	rmdir(path);
	for (int i = 0; i < 200 && strstr(said, "lost") == NULL; i++) {
		pass();
		usleep(1000);
	}
	ck_assert_ptr_nonnull(strstr(said, "lost"));
	ck_assert_ptr_null(strstr(said, "gone"));
	/* It is asked for until it is back. */
	for (int i = 0; i < 5000 && agains < 2; i++) {
		pass();
		usleep(1000);
	}
	ck_assert_uint_ge(agains, 2);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	close(dir);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_file("c.yaml", "C");
	said[0] = 0;
	hear("place:c.yaml=C end ");
	/* Moved away and another put there: the same. */
	snprintf(away, sizeof away, "%s.away", path);
	ck_assert_int_eq(rename(path, away), 0);
	hear("lost");
	ck_assert_int_eq(rename(away, path), 0);
	hear("snapshot same:c.yaml end ");
	end();
}
END_TEST

START_TEST(an_empty_directory_that_is_removed_is_lost_within_seconds)
{
	begin();
	send_dir("");
	hear("snapshot end ");
	rmdir(path);
	hear("lost");
	end();
}
END_TEST

START_TEST(a_swapped_link_means_a_look_at_everything)
{
	begin();
	ck_assert_int_eq(mkdirat(dir, "..v1", 0700), 0);
	ck_assert_int_eq(symlinkat("..v1", dir, "..data"), 0);
	write_file("..v1/a.yaml", "A");
	ck_assert_int_eq(symlinkat("..data/a.yaml", dir, "a.yaml"), 0);
	send_dir("");
	hear("place:a.yaml=A end ");
	ck_assert_int_eq(mkdirat(dir, "..v2", 0700), 0);
	write_file("..v2/a.yaml", "A2");
	ck_assert_int_eq(symlinkat("..v2", dir, "..new"), 0);
	ck_assert_int_eq(renameat(dir, "..new", dir, "..data"), 0);
	hear("place:a.yaml=A2 ");
	for (int v = 1; v <= 2; v++) {
		char name[32];

		snprintf(name, sizeof name, "..v%d/a.yaml", v);
		unlinkat(dir, name, 0);
		snprintf(name, sizeof name, "..v%d", v);
		unlinkat(dir, name, AT_REMOVEDIR);
	}
	end();
}
END_TEST

START_TEST(one_file_as_a_source_that_goes_is_lost)
{
	begin();
	write_file("only", "O");
	write_file("other.yaml", "x");
	send_dir("only");
	hear("snapshot place:only=O end ");
	ck_assert_uint_eq(wants, 1);
	unlinkat(dir, "only", 0);
	hear("lost");
	end();
}
END_TEST

START_TEST(a_file_larger_than_allowed_is_handed_over_cut)
{
	int fd;

	begin();
	fd = openat(dir, "big.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(fd, (off_t)DOC_FILE_MAX * 4), 0);
	close(fd);
	send_dir("");
	hear("end ");
	end();
}
END_TEST

START_TEST(a_file_is_not_read_while_it_is_written)
{
	int fd;

	begin();
	write_file("a.yaml", "whole");
	write_file("b.yaml", "B");
	send_dir("");
	hear("end ");
	/* A change of its own is pending when somebody begins to write in place. */
	write_file("a.yaml", "other");
	fd = openat(dir, "a.yaml", O_WRONLY | O_TRUNC | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "ha", 2), 2);
	write_file("b.yaml", "B2");
	hear("place:b.yaml=B2 end ");	/* nobody else waits for it */
	for (int i = 0; i < 100; i++) {
		pass();
		usleep(1000);
	}
	ck_assert_str_eq(said, "");
	/* Nor when all files are looked at. */
	send_dir("");
	hear("end ");
	ck_assert_int_eq(write(fd, "lf", 2), 2);
	close(fd);
	hear("place:a.yaml=half end ");
	/* New and written slowly. */
	fd = openat(dir, "c.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "ne", 2), 2);
	for (int i = 0; i < 150; i++) {
		pass();
		usleep(1000);
	}
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(write(fd, "w", 1), 1);
	close(fd);
	hear("place:c.yaml=new end ");
	end();
}
END_TEST

START_TEST(a_file_that_is_never_closed_is_read_all_the_same)
{
	int fd;

	begin();
	send_dir("");
	hear("end ");
	fd = openat(dir, "a.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "A", 1), 1);
	hear("place:a.yaml=A end ");
	close(fd);
	end();
}
END_TEST

START_TEST(an_empty_file_is_not_believed_at_once)
{
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	int fd;

	begin();
	write_file("a.yaml", "A");
	send_dir("");
	hear("end ");
	/* Empty, old and closed, as a file looks while the kernel is still emptying it. */
	write_file("b.yaml", "");
	fd = openat(dir, "b.yaml", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(futimens(fd, old), 0);
	close(fd);
	ck_assert_int_eq(renameat(dir, "b.yaml", dir, "a.yaml"), 0);
	hear("same:a.yaml ");
	said[0] = 0;
	write_file("a.yaml", "AA");
	hear("place:a.yaml=AA end ");
	/* It stays empty: then it is. */
	write_file("a.yaml", "");
	hear("place:a.yaml= end ");
	end();
}
END_TEST

START_TEST(a_link_has_no_writer)
{
	begin();
	write_file("a", "A");
	send_dir("");
	hear("end ");
	ck_assert_int_eq(symlinkat("a", dir, "a.yaml"), 0);
	hear("place:a.yaml=A end ");
	end();
}
END_TEST

START_TEST(a_file_that_could_not_be_read_is_asked_for_again_without_an_event)
{
	begin();
	write_file("a.yaml", "A");
	write_file("b.yaml", "B");
	send_dir("");
	hear("end ");
	open_error = -EIO;
	write_file("a.yaml", "A2");
	hear("unreadable:a.yaml end ");
	ck_assert_str_eq(why_not, "cannot be read: Input/output error");
	/* Still so: the refusal stands, and is not told again. */
	hear("same:a.yaml end ");
	wants = 0;
	open_error = 0;
	hear("place:a.yaml=A2 end ");
	ck_assert_uint_eq(wants, 1);	/* nobody else is asked for */
	for (int i = 0; i < 700; i++) {
		pass();
		usleep(1000);
	}
	ck_assert_str_eq(said, "");	/* and it is left alone from now on */
	end();
}
END_TEST

START_TEST(a_file_that_cannot_be_read_at_the_start_is_told_when_it_can)
{
	begin();
	write_file("a.yaml", "A");
	open_error = -ESTALE;
	send_dir("");
	hear("snapshot unreadable:a.yaml end ");
	open_error = 0;
	hear("place:a.yaml=A end ");
	end();
}
END_TEST

START_TEST(what_is_no_file_is_refused_and_the_master_does_not_wait_for_it)
{
	begin();
	write_file("a.yaml", "A");
	open_error = -EINVAL;	/* as the master says for a pipe */
	send_dir("");
	hear("unreadable:a.yaml end ");
	ck_assert_str_eq(why_not, "is not a regular file");
	end();
}
END_TEST

START_TEST(more_files_than_allowed_are_one_refusal_and_the_others_are_read)
{
	char said_of_dir[100];

	begin();
	source_file_bounds(source, 2, 1000);
	write_file("a.yaml", "A");
	write_file("b.yaml", "B");
	send_dir("");
	hear("end ");
	write_file("c.yaml", "C");
	write_file("d.yaml", "D");
	write_file("a.yaml", "A2");
	hear("place:a.yaml=A2 end ");
	send_dir("");
	snprintf(said_of_dir, sizeof said_of_dir, "unreadable:%s ", path);
	hear(said_of_dir);
	ck_assert_str_eq(why_not, "2 files of this directory are not read: more than 2; put several "
				  "documents into one file");
	for (int i = 0; i < 20; i++)
		pass();
	ck_assert_ptr_null(strstr(said, "gone"));
	unlinkat(dir, "a.yaml", 0);
	unlinkat(dir, "b.yaml", 0);
	hear("gone:");
	send_dir("");
	hear("snapshot ");
	for (int i = 0; i < 300 && !strstr(said, "end"); i++) {
		pass();
		usleep(1000);
	}
	ck_assert_ptr_null(strstr(said, "unreadable"));
	end();
}
END_TEST

START_TEST(more_bytes_than_allowed_are_refused_and_taken_when_there_is_room)
{
	begin();
	source_file_bounds(source, 10, 10);
	write_file("a.yaml", "12345678");
	send_dir("");
	hear("place:a.yaml=12345678 end ");
	write_file("b.yaml", "123");
	hear("unreadable:b.yaml end ");
	ck_assert_ptr_nonnull(strstr(why_not, "too much"));
	unlinkat(dir, "a.yaml", 0);
	hear("gone:a.yaml end ");
	hear("place:b.yaml=123 end ");
	end();
}
END_TEST

/* A directory whose events are lost: the test holds the other end of what looks like inotify. */
START_TEST(lost_events_mean_a_look_at_everything)
{
	struct inotify_event overflow = { .wd = -1, .mask = IN_Q_OVERFLOW };
	struct msg_source src = { 0 };
	int p[2], fds[2];

	begin();
	write_file("a.yaml", "A");
	ck_assert_int_eq(pipe(p), 0);
	fds[0] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[1] = p[0];
	ck_assert_int_eq(chan_send(&theirs, MSG_SOURCE_DIR, &src, (struct slice){ 0 }, fds, 2), 0);
	close(fds[0]);
	close(fds[1]);
	hear("snapshot place:a.yaml=A end ");
	write_file("b.yaml", "B");
	ck_assert_int_eq(renameat(dir, "b.yaml", dir, "a.yaml"), 0);
	write_file("c.yaml", "C");
	for (int i = 0; i < 100; i++) {
		pass();
		usleep(1000);
	}
	ck_assert_str_eq(said, "");	/* nobody said a word about it */
	ck_assert_int_eq(write(p[1], &overflow, sizeof overflow), (ssize_t)sizeof overflow);
	hear("snapshot ");
	for (int i = 0; i < 2000 && !strstr(said, "end"); i++) {
		pass();
		usleep(1000);
	}
	ck_assert_ptr_nonnull(strstr(said, "place:a.yaml=B"));
	ck_assert_ptr_nonnull(strstr(said, "place:c.yaml=C"));
	close(p[1]);
	end();
}
END_TEST

START_TEST(more_files_than_the_window_are_one_snapshot)
{
	char name[32];

	begin();
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof name, "f%03d.yaml", i);
		write_file(name, name);
	}
	send_dir("");
	hear("end ");
	ck_assert_uint_eq(wants, 500);
	ck_assert_uint_eq(change_sets, 1);
	end();
}
END_TEST

UNIT_TESTS("source_file", all_files_are_one_snapshot_and_others_are_not_looked_at,
	   an_empty_directory_is_a_snapshot_of_nothing,
	   a_file_put_in_place_by_a_rename_is_read_once,
	   a_changed_file_is_told_and_the_others_are_left_alone,
	   a_new_look_at_the_directory_reads_only_what_changed,
	   a_file_that_cannot_be_opened_is_not_gone,
	   a_directory_that_goes_is_lost_and_its_files_are_not_gone,
	   an_empty_directory_that_is_removed_is_lost_within_seconds,
	   a_swapped_link_means_a_look_at_everything, one_file_as_a_source_that_goes_is_lost,
	   a_file_larger_than_allowed_is_handed_over_cut,
	   a_file_is_not_read_while_it_is_written,
	   a_file_that_is_never_closed_is_read_all_the_same, a_link_has_no_writer,
	   an_empty_file_is_not_believed_at_once,
	   a_file_that_could_not_be_read_is_asked_for_again_without_an_event,
	   a_file_that_cannot_be_read_at_the_start_is_told_when_it_can,
	   what_is_no_file_is_refused_and_the_master_does_not_wait_for_it,
	   more_files_than_allowed_are_one_refusal_and_the_others_are_read,
	   more_bytes_than_allowed_are_refused_and_taken_when_there_is_room,
	   lost_events_mean_a_look_at_everything, more_files_than_the_window_are_one_snapshot)
