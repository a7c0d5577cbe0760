/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store follows the model: after a restart everything is as it was, slots too; while it cannot
 * be written nothing else stops, and afterwards it has all of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/db/apply.h"
#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"

static char path[64];
static int dir = -1;

static void setup_dir(void)
{
	snprintf(path, sizeof path, "/tmp/np-test-keep-XXXXXX");
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

/* The view with its slots. */
static char *full_dump(struct world *w)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	view_dump(w->view, dump_say, f);
	fclose(f);
	return text;
}

#define ALL                                                                                        \
	SERVICE("web", "") SLICES("web-1", "web", AT("127.0.0.1") "," AT("127.0.0.2"))             \
	SERVICE("api", "clusterIP: 10.0.0.7,") ROUTE("r", "web", "/a", "api") TENANT("t", "shop, bank")

/* What a new process finds must be what w serves; slots too, unless the store was damaged: an index
 * that is wrong is not looked for, and costs an endpoint its counters. */
static void restarted_serves_the_same(struct world *w, bool slots)
{
	struct world again;
	struct keep keep;
	struct keep_loaded loaded;
	char *was = slots ? full_dump(w) : strdup(world_dump(w)), *now;

	world_init(&again, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &again.model, &loaded), 0);
	ck_assert_uint_eq(loaded.refused, 0);
	ck_assert(model_settle(&again.model));
	publish(&again);
	now = slots ? full_dump(&again) : strdup(world_dump(&again));
	ck_assert_msg(strcmp(now, was) == 0, "serves %.1000s\nnot %.1000s", now, was);
	if (slots)
		ck_assert_uint_eq(again.model.gen, w->model.gen);
	free(was);
	free(now);
	keep_close(&keep);
	world_fini(&again);
}

static void restarted_is_the_same(struct world *w)
{
	restarted_serves_the_same(w, true);
}

START_TEST(a_restart_finds_everything_as_it_was)
{
	struct world w;
	struct keep keep;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", SERVICE("gone", "") SLICES("g", "gone", AT("127.0.0.9")) ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	ck_assert(journal_is_empty(&w.model.journal));
	tell(&w, "a.yaml", ALL);
	tell(&w, "b.yaml", SERVICE("more", ""));
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 2, false));
	ck_assert_uint_eq(keep.commits, 2);
	/* Nothing to say: no transaction. */
	ck_assert(keep_write(&keep, &w.model, 2, false));
	ck_assert_uint_eq(keep.commits, 2);
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_source_that_answers_the_same_after_a_restart_changes_nothing)
{
	struct world w, again;
	struct keep keep;
	struct keep_loaded loaded;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	keep_close(&keep);
	world_init(&again, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &again.model, &loaded), 0);
	ck_assert_uint_eq(keep.rev, 1);
	ck_assert(model_settle(&again.model));
	publish(&again);
	ck_assert(keep_write(&keep, &again.model, 1, false));
	model_snapshot(&again.model);
	tell(&again, "a.yaml", ALL);
	ck_assert(!settle(&again));
	/* A document that is broken now keeps the version from the store. */
	model_snapshot(&again.model);
	tell(&again, "a.yaml", SERVICE("web", "nonsense: 1,"));
	ck_assert(settle(&again));
	ck_assert(serves(&again, "shop/web"));
	ck_assert(!serves(&again, "shop/api"));
	keep_close(&keep);
	world_fini(&again);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_row_that_is_not_valid_any_more_hurts_nobody_else)
{
	struct world w;
	struct keep keep;
	struct keep_loaded loaded;
	struct db_resource bad = { .kind = SLICE("Service"), .ns = SLICE("shop"),
				   .name = SLICE("bad"), .json = SLICE("{\"kind\":7"),
				   .source = SLICE("a.yaml"), .line = 1 };
	struct db_slot odd = { SLICE("endpoint"), SLICE("no slash"), 5, 5 };
	struct db_slot far = { SLICE("service"), SLICE("shop/far"), 4000000, 5 };
	char *text;

	setup_dir();
	resource_digest(bad.json, bad.digest);
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	ck_assert_int_eq(db_change_begin(keep.db), 0);
	ck_assert_int_eq(db_put_resource(keep.db, &bad, 2), 0);
	ck_assert_int_eq(db_put_slot(keep.db, &odd), 0);
	ck_assert_int_eq(db_put_slot(keep.db, &far), 0);
	ck_assert_int_eq(db_change_commit(keep.db, 2), 0);
	keep_close(&keep);
	world_fini(&w);
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	ck_assert_int_eq(keep_load(&keep, &w.model, &loaded), 0);
	ck_assert_uint_eq(loaded.refused, 1);
	ck_assert_uint_eq(loaded.rows, 5);
	ck_assert(model_settle(&w.model));
	publish(&w);
	ck_assert(serves(&w, "shop/web"));
	text = report_text(&w, &keep);
	ck_assert_ptr_nonnull(strstr(text, "\"source\":\"a.yaml\""));
	free(text);
	keep_close(&keep);
	world_fini(&w);
	drop_dir();
}
END_TEST

/* Files cannot grow: what a full disk looks like to SQLite.  Only around the write: Check has files
 * of its own. */
static void files_may_grow(bool yes)
{
	struct rlimit l;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &l), 0);
	l.rlim_cur = yes ? l.rlim_max : 4096;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &l), 0);
}

START_TEST(a_full_disk_stops_nothing_and_is_caught_up_with)
{
	struct world w;
	struct keep keep;
	char yaml[2048];

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	for (int i = 0; i < 20; i++) {
		bool wrote;

		snprintf(yaml, sizeof yaml, SERVICE("web", "") SLICES("web-1", "web", "{addresses: [127.0.1.%d]}"),
			 i + 1);
		tell(&w, "a.yaml", yaml);
		ck_assert(settle(&w));
		files_may_grow(false);
		wrote = keep_write(&keep, &w.model, w.rev, i % 3 == 0);
		files_may_grow(true);
		ck_assert(!wrote);
		ck_assert(!keep.durable);
		ck_assert_str_ne(keep.problem, "");
	}
	ck_assert_int_gt(keep.wait_ms, KEEP_WAIT_MIN_MS);
	ck_assert(serves(&w, "127.0.1.20"));
	ck_assert(keep_write(&keep, &w.model, w.rev, true));
	ck_assert(keep.durable);
	ck_assert_uint_eq(keep.rev, w.rev);
	ck_assert_str_eq(keep.found.aside, "");
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_store_removed_behind_our_back_is_written_whole_again)
{
	struct world w;
	struct keep keep;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	unlinkat(dir, "store.db", 0);
	unlinkat(dir, "store.db-wal", 0);
	tell(&w, "b.yaml", SERVICE("more", ""));
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 2, false));
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_journal_that_grows_too_long_becomes_a_rewrite)
{
	struct journal j = { .limit = 10 };
	char key[32];

	for (int i = 0; i < 4096; i++) {
		snprintf(key, sizeof key, "shop/s%d", i);
		journal_slot(&j, SLOT_SERVICE, slice_str(key), (struct slot_gen){ 1, 1 });
	}
	ck_assert(!j.rewrite);
	ck_assert_uint_eq(j.n, 4096);
	journal_row_gone(&j, ROW_SERVICE, "shop", "web");
	ck_assert(j.rewrite);
	ck_assert_uint_eq(j.n, 0);
	ck_assert(!journal_is_empty(&j));
	journal_clear(&j);
	ck_assert(journal_is_empty(&j));
	journal_fini(&j);
}
END_TEST

/* ---- damage ---- */

static void patch(const char *name, off_t at, const void *p, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, p, n, at), (ssize_t)n);
	close(fd);
}

static bool is_here(const char *name)
{
	return faccessat(dir, name, F_OK, 0) == 0;
}

/* A store with two revisions; what each of them serves is put into dumps.  The second is (also) in
 * the log, as after a kill. */
static void two_revisions(char *dumps[2], bool keep_log)
{
	struct world w;
	struct keep keep;
	char yaml[4096];
	size_t n = 0;

	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	for (int i = 0; i < 12; i++)
		n += (size_t)snprintf(yaml + n, sizeof yaml - n, "apiVersion: v1\nkind: Service\n"
				      "metadata: {name: side-%d, namespace: shop}\n"
				      "spec: {ports: [{port: %d}]}\n---\n", i, 1000 + i);
	tell(&w, "side.yaml", yaml);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 1, false));
	dumps[0] = strdup(world_dump(&w));
	keep_close(&keep);
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	w.model.journal.rewrite = false;
	tell(&w, "a.yaml", ALL SERVICE("more", "") SLICES("m", "more", AT("127.0.3.3")));
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, 2, false));
	dumps[1] = strdup(world_dump(&w));
	if (keep_log) {		/* as a process that is killed leaves it */
		ck_assert_int_eq(db_change_begin(keep.db), 0);
		ck_assert_int_eq(system("true"), 0);
		char cmd[200];

		snprintf(cmd, sizeof cmd, "cd %s && cp store.db a && cp store.db-wal b", path);
		ck_assert_int_eq(system(cmd), 0);
		db_change_drop(keep.db);
	}
	keep_close(&keep);
	if (keep_log) {
		ck_assert_int_eq(renameat(dir, "a", dir, "store.db"), 0);
		ck_assert_int_eq(renameat(dir, "b", dir, "store.db-wal"), 0);
	}
	world_fini(&w);
}

/* Starts from what is there: nothing, or exactly one of the revisions.  1 or 2, or 0 for nothing. */
static int started_from(char *dumps[2])
{
	struct world w;
	struct keep keep;
	struct keep_loaded loaded;
	int r, which = 0;

	world_init(&w, "10.96.0.0/12");
	r = keep_open(&keep, dir);
	if (r == 0)
		r = keep_load(&keep, &w.model, &loaded);
	if (r < 0) {		/* as syncd does: half a state is none */
		ck_assert_str_ne(keep.problem, "");
		if (r == -EBADMSG)
			ck_assert_str_ne(keep.aside, "");
		world_fini(&w);
		world_init(&w, "10.96.0.0/12");
		keep.rev = 0;
	}
	if (keep.rev) {
		(void)settle(&w);
		for (int i = 0; i < 2; i++)
			if (strcmp(world_dump(&w), dumps[i]) == 0)
				which = i + 1;
		ck_assert_msg(which != 0, "rev %llu serves what was never told:\n%s",
			      (unsigned long long)keep.rev, world_dump(&w));
	} else {
		ck_assert_uint_eq(w.model.resources.count, 0);
	}
	/* And it goes on from there: a store that can be written, and read back. */
	tell(&w, "new.yaml", SERVICE("new", ""));
	ck_assert(settle(&w));
	ck_assert_msg(keep_write(&keep, &w.model, w.rev + 10, true) ||
		      keep_write(&keep, &w.model, w.rev + 10, true), "%s", keep.problem);
	keep_close(&keep);
	restarted_serves_the_same(&w, false);
	world_fini(&w);
	return which;
}

static void forget(char *dumps[2])
{
	free(dumps[0]);
	free(dumps[1]);
}

static off_t size_of(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) < 0 ? 0 : st.st_size;
}

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

/* ---- written anew, in slices ---- */

static void some_service(char yaml[2048], int i, int endpoints, int salt)
{
	size_t n = (size_t)snprintf(yaml, 2048, "apiVersion: v1\nkind: Service\n"
				    "metadata: {name: s%d, namespace: n%d}\n"
				    "spec: {ports: [{port: 80}]}\n---\n"
				    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
				    "metadata: {name: s%d, namespace: n%d, labels: "
				    "{kubernetes.io/service-name: s%d}}\naddressType: IPv4\n"
				    "ports: [{port: 8080}]\nendpoints: [", i, i % 7, i, i % 7, i);

	for (int e = 0; e < endpoints; e++)
		n += (size_t)snprintf(yaml + n, 2048 - n, "%s{addresses: [127.0.%d.%d]}", e ? "," : "",
				      salt, e + 1);
	snprintf(yaml + n, 2048 - n, "]\n");
}

static bool change_something(struct world *w, int services)
{
	int i = (int)rand_below((uint32_t)services);
	char place[32], yaml[2048];

	snprintf(place, sizeof place, "%d.yaml", i);
	if (rand_below(4) == 0) {
		model_gone(&w->model, place);
	} else {
		some_service(yaml, i, (int)rand_below(6), (int)rand_below(200));
		tell(w, place, yaml);
	}
	return settle(w);
}

START_TEST(what_changes_while_the_store_is_written_anew_is_in_it)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct world w;
		struct keep keep;
		unsigned slices = 0;

		setup_dir();
		rand_seed(seed);
		world_init(&w, "10.96.0.0/12");
		ck_assert_int_eq(keep_open(&keep, dir), 0);
		for (int i = 0; i < 300; i++) {
			char place[32], yaml[2048];

			snprintf(place, sizeof place, "%d.yaml", i);
			some_service(yaml, i, i % 5, i % 200);
			tell(&w, place, yaml);
		}
		ck_assert(settle(&w));
		w.model.journal.rewrite = true;
		(void)keep_begin(&keep, &w.model, w.rev, false);
		while (keep_work(&keep, &w.model, w.rev, 1)) {
			slices++;
			for (uint32_t n = rand_below(3); n; n--)
				(void)change_something(&w, 320);
			/* As the sync process says it; it is noted. */
			(void)keep_begin(&keep, &w.model, w.rev, false);
		}
		ck_assert_uint_gt(slices, 20);
		ck_assert(keep.durable);
		ck_assert(keep_write(&keep, &w.model, w.rev, false));
		ck_assert(!is_here("store.db.new"));
		keep_close(&keep);
		restarted_is_the_same(&w);
		world_fini(&w);
		drop_dir();
	}
}
END_TEST

START_TEST(a_rewrite_that_is_cut_off_leaves_the_old_store)
{
	char *dumps[2];
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
	tell(&w, "more.yaml", SERVICE("never-stored", ""));
	ck_assert(settle(&w));
	journal_clear(&w.model.journal);
	w.model.journal.rewrite = true;
	(void)keep_begin(&keep, &w.model, 7, false);
	ck_assert(keep_work(&keep, &w.model, 7, 0));
	ck_assert(is_here("store.db.new"));
	/* The process is gone; half of a new store lies there. */
	db_close(&keep.rewrite.db);
	rewrite_drop(&keep.rewrite);
	keep_close(&keep);
	world_fini(&w);
	ck_assert(is_here("store.db.new"));
	ck_assert_int_eq(started_from(dumps), 2);
	forget(dumps);
	drop_dir();
}
END_TEST

START_TEST(a_rewrite_that_finds_no_room_leaves_the_old_store_and_is_tried_again)
{
	struct world w;
	struct keep keep;
	bool wrote;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, w.rev, false));
	for (int i = 0; i < 100; i++) {
		char place[32], yaml[2048];

		snprintf(place, sizeof place, "%d.yaml", i);
		some_service(yaml, i, 5, 1);
		tell(&w, place, yaml);
	}
	ck_assert(settle(&w));
	journal_clear(&w.model.journal);
	w.model.journal.rewrite = true;
	files_may_grow(false);
	wrote = keep_write(&keep, &w.model, w.rev, true);
	files_may_grow(true);
	ck_assert(!wrote);
	ck_assert(w.model.journal.rewrite);
	ck_assert(!is_here("store.db.new"));
	ck_assert_uint_ne(keep.since_unix_ms, 0);
	ck_assert(keep_write(&keep, &w.model, w.rev, true));
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_log_that_cannot_be_written_back_is_left_behind)
{
	struct world w;
	struct keep keep;
	off_t most = 0;

	setup_dir();
	world_init(&w, "10.96.0.0/12");
	ck_assert_int_eq(keep_open(&keep, dir), 0);
	tell(&w, "a.yaml", ALL);
	ck_assert(settle(&w));
	ck_assert(keep_write(&keep, &w.model, w.rev, false));
	keep.log_max = 300000;
	for (int i = 0; i < 300; i++) {
		struct stat st;
		char yaml[2048];

		/* As if it always failed. */
		ck_assert_int_eq(sqlite3_exec(keep.db->sql, "PRAGMA wal_autocheckpoint=0", NULL, NULL,
					      NULL), SQLITE_OK);
		some_service(yaml, 1, 5, i % 200 + 1);
		tell(&w, "b.yaml", yaml);
		ck_assert(settle(&w));
		ck_assert(keep_write(&keep, &w.model, w.rev, false));
		if (fstatat(dir, "store.db-wal", &st, 0) == 0)
			most = max_of(most, st.st_size);
	}
	ck_assert_int_gt(most, 200000);		/* it did grow */
	ck_assert_int_lt(most, 600000);		/* and not for ever */
	keep_close(&keep);
	restarted_is_the_same(&w);
	world_fini(&w);
	drop_dir();
}
END_TEST

START_TEST(a_report_in_steps_is_the_report)
{
	struct world w;
	const struct keep k = { .durable = true };
	const struct report r = { .kind = "file", .path = "/x", .problem = "", .store_path = "/s" };
	struct report_job job = { 0 };
	struct fd whole = FD_NONE, stepped = FD_NONE;
	static char a[1 << 18], b[1 << 18];
	int e, steps = 0;
	ssize_t n;

	world_init(&w, "10.96.0.0/12");
	for (int i = 0; i < 200; i++) {
		char place[32], yaml[2048];

		snprintf(place, sizeof place, "%d.yaml", i);
		some_service(yaml, i, 1, 1);
		tell(&w, place, yaml);
	}
	(void)settle(&w);
	ck_assert_int_eq(report_make(&w.model, &k, &r, &whole), 0);
	while ((e = report_step(&job, &w.model, &k, &r, 0, &stepped)) == 0)
		steps++;
	ck_assert_int_eq(e, 1);
	ck_assert_int_gt(steps, 3);
	n = pread(whole.v, a, sizeof a, 0);
	ck_assert_int_gt(n, 10000);
	ck_assert_int_eq(pread(stepped.v, b, sizeof b, 0), n);
	ck_assert_mem_eq(a, b, (size_t)n);
	fd_close(&whole);
	fd_close(&stepped);
	/* The table of resources grows while one is made: it begins again, and says everything. */
	ck_assert_int_eq(report_step(&job, &w.model, &k, &r, 0, &stepped), 0);
	for (int i = 200; i < 600; i++) {
		char place[32], yaml[2048];

		snprintf(place, sizeof place, "%d.yaml", i);
		some_service(yaml, i, 1, 1);
		tell(&w, place, yaml);
	}
	(void)settle(&w);
	while ((e = report_step(&job, &w.model, &k, &r, 1000, &stepped)) == 0)
		;
	ck_assert_int_eq(e, 1);
	n = pread(stepped.v, a, sizeof a - 1, 0);
	a[n] = 0;
	for (int i = 0; i < 600; i++) {
		char want[64], *at;

		snprintf(want, sizeof want, "\"name\":\"s%d\",\"source\"", i);
		at = strstr(a, want);
		ck_assert_msg(at != NULL, "%s", want);
		ck_assert_ptr_null(strstr(at + 1, want));
	}
	fd_close(&stepped);
	world_fini(&w);
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

UNIT_TESTS("keep", whichever_call_fails_the_state_is_served_and_stored_in_the_end,
	   what_changes_while_the_store_is_written_anew_is_in_it,
	   a_rewrite_that_is_cut_off_leaves_the_old_store,
	   a_rewrite_that_finds_no_room_leaves_the_old_store_and_is_tried_again,
	   a_log_that_cannot_be_written_back_is_left_behind,
	   a_report_in_steps_is_the_report, a_flipped_bit_in_a_text_is_found_and_not_served,
	   damage_met_while_running_is_moved_aside_and_everything_is_written_anew,
	   a_row_under_another_name_is_found, a_revision_that_cannot_be_is_damage,
	   a_trigger_or_a_view_in_the_store_is_not_run,
	   what_lies_in_place_of_the_store_is_moved_aside,
	   a_store_cut_short_is_moved_aside_or_empty,
	   whatever_the_bytes_are_nothing_is_served_that_was_not_told,
 a_restart_finds_everything_as_it_was,
	   a_source_that_answers_the_same_after_a_restart_changes_nothing,
	   a_row_that_is_not_valid_any_more_hurts_nobody_else,
	   a_full_disk_stops_nothing_and_is_caught_up_with,
	   a_store_removed_behind_our_back_is_written_whole_again,
	   a_journal_that_grows_too_long_becomes_a_rewrite)
