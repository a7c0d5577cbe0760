/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A store in a directory of its own, and what a process that starts from it must serve. */
#ifndef TESTS_UNIT_STORE_SYNC_SHELF_H
#define TESTS_UNIT_STORE_SYNC_SHELF_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/db/apply.h"
#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"

static char path[64];
static int dir = -1;

static inline void setup_dir(void)
{
	snprintf(path, sizeof path, "/tmp/np-test-keep-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir, 0);
}

static inline void drop_dir(void)
{
	DIR *d = fdopendir(dup(dir));

	for (struct dirent *e; (e = readdir(d)) != NULL;)
		unlinkat(dir, e->d_name, 0);
	closedir(d);
	close(dir);
	rmdir(path);
}

/* The view with its slots. */
static inline char *full_dump(struct world *w)
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
	SERVICE("api", "clusterIP: 10.0.0.7,") ROUTE("r", "web", "/a", "api")              \
	TENANT("t", "shop, bank") POLICY("p", TO(""), "limits: {requests: 9}")

/* What a new process finds must be what w serves; slots too, unless the store was damaged: an index
 * that is wrong is not looked for, and costs an endpoint its counters. */
static inline void restarted_serves_the_same(struct world *w, bool slots)
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

static inline void restarted_is_the_same(struct world *w)
{
	restarted_serves_the_same(w, true);
}

static inline void patch(const char *name, off_t at, const void *p, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, p, n, at), (ssize_t)n);
	close(fd);
}

static inline bool is_here(const char *name)
{
	return faccessat(dir, name, F_OK, 0) == 0;
}

/* A store with two revisions; what each of them serves is put into dumps.  The second is (also) in
 * the log, as after a kill. */
static inline void two_revisions(char *dumps[2], bool keep_log)
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
static inline int started_from(char *dumps[2])
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

static inline void forget(char *dumps[2])
{
	free(dumps[0]);
	free(dumps[1]);
}

static inline off_t size_of(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) < 0 ? 0 : st.st_size;
}

#endif
