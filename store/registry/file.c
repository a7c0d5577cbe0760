/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See file.h: opening, reading and closing it. */
#include "store/registry/file_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"

#define LOCK_LOOK_MS 20

static enum registry_error read_file(struct file_registry *f, const char *name)
{
	struct held *h = file_hold(f, name);
	struct content c;
	enum registry_error e;

	if (h == NULL)
		return file_failed(f, name, ENOMEM);
	e = file_content_of(f, name, 0, &c);
	if (e == REGISTRY_DONE && file_learn(f, h, &c.edit) < 0)
		e = file_failed(f, name, ENOMEM);
	file_content_fini(&c);
	return e;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum registry_error read_dir(struct file_registry *f)
{
	int copy = openat(f->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	enum registry_error e = REGISTRY_DONE;
	char **names = NULL;
	size_t n = 0, room = 0;

	if (d == NULL) {
		e = file_failed(f, "the directory", errno);
		if (copy >= 0)
			close(copy);
	}
	for (const struct dirent *it; d && e == REGISTRY_DONE && (it = readdir(d));) {
		if (!resource_is_file(it->d_name))
			continue;
		if (n == room) {
			char **more = realloc(names, (room = room ? room * 2 : 64) * sizeof *more);

			names = more ? more : names;
			if (more == NULL)
				e = file_failed(f, "the directory", ENOMEM);
		}
		if (e == REGISTRY_DONE && (names[n] = strdup(it->d_name)))
			n++;
		else
			e = file_failed(f, "the directory", ENOMEM);
	}
	if (n)
		qsort(names, n, sizeof *names, by_name);
	for (size_t i = 0; i < n; i++) {
		if (e == REGISTRY_DONE)
			e = read_file(f, names[i]);
		free(names[i]);
	}
	free(names);
	if (d)
		closedir(d);
	return e;
}

static enum registry_error value_of(struct file_registry *f, const char *file,
				    const struct edit_doc *d, struct registry_value *ret)
{
	char text[1024];

	*ret = (struct registry_value){ .version = d->version, .where = file_where(file, edit_line(d)) };
	if (d->row)
		ret->json = strdup(d->row->json);
	else
		ret->refusal = strdup(refusal_text(d->refusal, text, sizeof text));
	if (ret->where && (ret->json || ret->refusal))
		return REGISTRY_DONE;
	registry_value_fini(ret);
	return file_failed(f, file, ENOMEM);
}

static enum registry_error file_get(struct registry *r, const struct registry_key *k,
				    struct registry_value *ret)
{
	struct file_registry *f = file_of(r);
	struct content c = { 0 };
	struct entry *e;
	enum registry_error err = file_entry(f, k, &e);
	size_t i;

	if (err != REGISTRY_DONE || e == NULL)
		return err;
	err = file_content_of(f, e->file->name, 0, &c);
	if (err == REGISTRY_DONE) {
		i = file_index_of(&c.edit, k);
		if (i < c.edit.n)
			err = value_of(f, e->file->name, &c.edit.v[i], ret);
	}
	file_content_give(f, e->file->name, &c);
	return err;
}

static enum registry_error file_list(struct registry *r, const char *kind, const char *ns,
				     registry_each_fn *fn, void *arg)
{
	struct file_registry *f = file_of(r);
	enum registry_error err = REGISTRY_DONE;
	bool more = true;

	for (struct held *h = f->files; h && more && err == REGISTRY_DONE; h = h->next) {
		struct content c;

		err = file_content_of(f, h->name, 0, &c);
		for (size_t i = 0; err == REGISTRY_DONE && more && i < c.edit.n; i++) {
			struct registry_key k = edit_key(&c.edit.v[i]);
			struct registry_value v;

			if (k.name[0] == 0 || (kind && strcmp(kind, k.kind) != 0) ||
			    (ns && strcmp(ns, k.ns) != 0))
				continue;
			err = value_of(f, h->name, &c.edit.v[i], &v);
			if (err == REGISTRY_DONE)
				more = fn(arg, &k, &v);
			registry_value_fini(&v);
		}
		file_content_fini(&c);
	}
	return err;
}

/* ---- life ---- */

static void file_close(struct registry *r)
{
	struct file_registry *f = file_of(r);

	for (struct held *h = f->files, *next; h; h = next) {
		next = h->next;
		file_forget(f, h);
		free(h);
	}
	file_content_fini(&f->last);
	hash_fini(&f->by_key);
	if (f->dir >= 0)
		close(f->dir);	/* and with it the lock */
	free(f);
}

static const struct registry_ops file_ops = {
	.kind = "file",
	.list = file_list,
	.get = file_get,
	.put_if = file_put_if,
	.delete_if = file_delete_if,
	.close = file_close,
};

static enum registry_error open_dir(struct file_registry *f, const char *path)
{
	char above[PATH_MAX], *slash;
	const char *name;
	struct stat st;

	f->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir >= 0)
		return REGISTRY_DONE;
	if (errno != ENOTDIR || stat(path, &st) < 0)
		return registry_fail(&f->r, errno == EACCES ? REGISTRY_DENIED : REGISTRY_AWAY, "%s: %s",
				     path, strerror(errno));
	snprintf(above, sizeof above, "%s", path);
	slash = strrchr(above, '/');
	name = slash ? slash + 1 : above;
	if (strlen(path) >= sizeof above || strlen(name) >= sizeof f->only)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s: the name is too long", path);
	f->one = true;
	snprintf(f->only, sizeof f->only, "%.*s", RESOURCE_FILE_NAME - 1, name);
	if (slash)
		slash[slash == above] = 0;
	f->dir = open(slash ? above : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return f->dir < 0 ? file_failed(f, above, errno) : REGISTRY_DONE;
}

static enum registry_error lock(struct file_registry *f, const char *path, int64_t wait_ms)
{
	const struct timespec pause = { .tv_nsec = LOCK_LOOK_MS * NS_PER_MS };
	struct mono until = mono_after_ms(clock_tick(), wait_ms);

	while (flock(f->dir, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return file_failed(f, path, errno);
		if (clock_tick().ns >= until.ns)
			return registry_fail(&f->r, REGISTRY_BUSY, "%s is locked by another writer", path);
		nanosleep(&pause, NULL);
	}
	return REGISTRY_DONE;
}

enum registry_error registry_file_open(const char *path, registry_render_fn *render, int64_t wait_ms,
				       struct registry **ret, char problem[512])
{
	struct file_registry *f = calloc(1, sizeof *f);
	enum registry_error e;

	*ret = NULL;
	if (f == NULL) {
		snprintf(problem, 512, "out of memory");
		return REGISTRY_MEMORY;
	}
	f->r.ops = &file_ops;
	f->dir = -1;
	f->render = render;
	e = open_dir(f, path);
	if (e == REGISTRY_DONE && render)
		e = lock(f, path, wait_ms);
	if (e == REGISTRY_DONE)
		e = f->one ? read_file(f, f->only) : read_dir(f);
	if (e != REGISTRY_DONE) {
		snprintf(problem, 512, "%.511s", f->r.problem);
		file_close(&f->r);
		return e;
	}
	*ret = &f->r;
	return REGISTRY_DONE;
}
