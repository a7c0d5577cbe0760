/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See file.h. */
#include "store/registry/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/hash.h"
#include "store/registry/edit.h"

#define TEMPORARY   ".nodeproxyctl.tmp"	/* one writer at a time: one name; hidden, so no source reads it */
#define LOCK_LOOK_MS 20

/* Which object is written where: the index of what was read. */
struct entry {
	struct hash_node by_key;
	struct held *file;
	uint64_t version;
	uint32_t line;
	bool broken;		/* no YAML: whose it is is a guess */
	struct entry *next;	/* of the same file */
	char *kind, *ns, *name;
	char text[];
};

struct held {			/* a file */
	struct held *next;
	struct entry *entries;
	char name[];
};

/* A file and what it says. */
struct content {
	char *bytes;
	size_t n;
	struct stat st;
	struct edit edit;
};

struct file_registry {
	struct registry r;
	int dir;
	bool one;		/* only is the one file that counts */
	char only[RESOURCE_FILE_NAME];
	registry_render_fn *render;
	struct hash by_key;
	struct held *files;
	struct content last;	/* that was read: as long as a file has these bytes, this is what it says */
	char last_name[RESOURCE_FILE_NAME];
};

static struct file_registry *of(struct registry *r)
{
	return container_of(r, struct file_registry, r);
}

static enum registry_error failed(struct file_registry *f, const char *name, int error)
{
	enum registry_error e = error == EACCES || error == EPERM ? REGISTRY_DENIED
			      : error == ENOMEM			  ? REGISTRY_MEMORY
								  : REGISTRY_FAILED;

	return registry_fail(&f->r, e, "%s: %s", name, strerror(error));
}

/* ---- the index ---- */

static uint64_t hash_of(const struct registry_key *k)
{
	char text[600];
	int n = snprintf(text, sizeof text, "%s/%s/%s", k->kind, k->ns, k->name);

	return hash_slice(slice_of(text, min_of((size_t)n, sizeof text - 1)));
}

static struct entry *find_from(struct hash_node *n, const struct registry_key *k)
{
	for (; n; n = hash_next(n)) {
		struct entry *e = container_of(n, struct entry, by_key);

		if (strcmp(e->kind, k->kind) == 0 && strcmp(e->ns, k->ns) == 0 &&
		    strcmp(e->name, k->name) == 0)
			return e;
	}
	return NULL;
}

static void forget(struct file_registry *f, struct held *h)
{
	for (struct entry *e = h->entries, *next; e; e = next) {
		next = e->next;
		hash_remove(&f->by_key, &e->by_key);
		free(e);
	}
	h->entries = NULL;
}

/* What the file says now.  0 or -ENOMEM. */
static int learn(struct file_registry *f, struct held *h, const struct edit *edit)
{
	forget(f, h);
	for (size_t i = 0; i < edit->n; i++) {
		const struct edit_doc *d = &edit->v[i];
		struct registry_key k = edit_key(d);
		size_t kind = strlen(k.kind) + 1, ns = strlen(k.ns) + 1, name = strlen(k.name) + 1;
		struct entry *e;

		if (name == 1)
			continue;	/* nobody's, as far as can be read */
		e = calloc(1, sizeof *e + kind + ns + name);
		if (e == NULL)
			return -ENOMEM;
		e->file = h;
		e->version = d->version;
		e->line = edit_line(d);
		e->broken = d->refusal && d->refusal->broken;
		e->kind = memcpy(e->text, k.kind, kind);
		e->ns = memcpy(e->text + kind, k.ns, ns);
		e->name = memcpy(e->text + kind + ns, k.name, name);
		if (hash_add(&f->by_key, &e->by_key, hash_of(&k)) < 0) {
			free(e);
			return -ENOMEM;
		}
		e->next = h->entries;
		h->entries = e;
	}
	return 0;
}

static struct held *hold(struct file_registry *f, const char *name)
{
	size_t n = strlen(name) + 1;
	struct held *h = calloc(1, sizeof *h + n);

	if (h == NULL)
		return NULL;
	memcpy(h->name, name, n);
	h->next = f->files;
	f->files = h;
	return h;
}

static struct held *held_named(const struct file_registry *f, const char *name)
{
	struct held *h = f->files;

	while (h && strcmp(h->name, name) != 0)
		h = h->next;
	return h;
}

/* ---- reading ---- */

/* All of a file; st (may be NULL) as it was.  Links are followed to read, never to write. */
static int read_all(int dir, const char *name, int flags, char **ret, size_t *ret_n, struct stat *st)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
	struct stat here;
	size_t n = 0, room;
	char *p = NULL;
	int r = fd < 0 ? -errno : 0;

	*ret = NULL;
	if (r == 0 && fstat(fd, st ? st : &here) < 0)
		r = -errno;
	if (r == 0 && !S_ISREG((st ? st : &here)->st_mode))
		r = -EINVAL;
	room = r == 0 ? min_of((size_t)(st ? st : &here)->st_size, (size_t)DOC_FILE_MAX) + 2 : 0;
	if (r == 0 && (p = malloc(room)) == NULL)
		r = -ENOMEM;
	while (r == 0) {
		ssize_t got = read(fd, p + n, room - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			r = -errno;
		if (got <= 0)
			break;
		n += (size_t)got;
		if (n == room) {
			char *q = n > DOC_FILE_MAX ? NULL : realloc(p, room * 2);

			if (q == NULL)
				r = n > DOC_FILE_MAX ? -EFBIG : -ENOMEM;
			else
				p = q;
			room *= 2;
		}
	}
	if (fd >= 0)
		close(fd);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	*ret_n = n;
	return 0;
}

static void content_fini(struct content *c)
{
	edit_fini(&c->edit);
	free(c->bytes);
	*c = (struct content){ 0 };
}

/* Back from who has looked at it: the next one will often want the same file. */
static void content_give(struct file_registry *f, const char *name, struct content *c)
{
	if (c->bytes == NULL || strlen(name) >= sizeof f->last_name) {
		content_fini(c);
		return;
	}
	content_fini(&f->last);
	f->last = *c;
	snprintf(f->last_name, sizeof f->last_name, "%s", name);
	*c = (struct content){ 0 };
}

/* Takes what is known of these bytes; false: nothing. */
static bool content_known(struct file_registry *f, const char *name, struct content *c)
{
	if (f->last.bytes == NULL || strcmp(f->last_name, name) != 0 || f->last.n != c->n ||
	    memcmp(f->last.bytes, c->bytes, c->n) != 0)
		return false;
	free(c->bytes);
	c->bytes = f->last.bytes;
	c->edit = f->last.edit;
	f->last = (struct content){ 0 };
	return true;
}

static enum registry_error content_of(struct file_registry *f, const char *name, int flags,
				      struct content *ret)
{
	int r;

	*ret = (struct content){ 0 };
	r = read_all(f->dir, name, flags, &ret->bytes, &ret->n, &ret->st);
	if (r == -ENOENT)	/* removed since it was listed: it says nothing */
		return REGISTRY_DONE;
	if (r == 0 && !content_known(f, name, ret))
		r = edit_read(&ret->edit, name, slice_of(ret->bytes, ret->n));
	if (r == -ELOOP)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s is a symbolic link: change the file it "
				     "points to", name);
	if (r == -EINVAL)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s is not a regular file", name);
	return r < 0 ? failed(f, name, -r) : REGISTRY_DONE;
}

static enum registry_error read_file(struct file_registry *f, const char *name)
{
	struct held *h = hold(f, name);
	struct content c;
	enum registry_error e;

	if (h == NULL)
		return failed(f, name, ENOMEM);
	e = content_of(f, name, 0, &c);
	if (e == REGISTRY_DONE && learn(f, h, &c.edit) < 0)
		e = failed(f, name, ENOMEM);
	content_fini(&c);
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
		e = failed(f, "the directory", errno);
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
				e = failed(f, "the directory", ENOMEM);
		}
		if (e == REGISTRY_DONE && (names[n] = strdup(it->d_name)))
			n++;
		else
			e = failed(f, "the directory", ENOMEM);
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

static char *where_of(const char *file, uint32_t line)
{
	char text[RESOURCE_FILE_NAME + 16];

	snprintf(text, sizeof text, "%s:%u", file, line);
	return strdup(text);
}

static enum registry_error value_of(struct file_registry *f, const char *file,
				    const struct edit_doc *d, struct registry_value *ret)
{
	char text[1024];

	*ret = (struct registry_value){ .version = d->version, .where = where_of(file, edit_line(d)) };
	if (d->row)
		ret->json = strdup(d->row->json);
	else
		ret->refusal = strdup(refusal_text(d->refusal, text, sizeof text));
	if (ret->where && (ret->json || ret->refusal))
		return REGISTRY_DONE;
	registry_value_fini(ret);
	return failed(f, file, ENOMEM);
}

/* The one document that is this object; no_doc: there is none. */
static enum registry_error the_entry(struct file_registry *f, const struct registry_key *k,
				     struct entry **ret)
{
	struct entry *e = find_from(hash_first(&f->by_key, hash_of(k)), k);
	struct entry *twice = e ? find_from(hash_next(&e->by_key), k) : NULL;

	*ret = e;
	if (twice && twice->file == e->file && twice->line < e->line) {	/* as people read */
		*ret = twice;
		twice = e;
		e = *ret;
	}
	if (twice)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s %s%s%s is written twice, %s:%u and %s:%u: "
				     "remove one of them", k->kind, k->ns, k->ns[0] ? "/" : "", k->name,
				     e->file->name, e->line, twice->file->name, twice->line);
	if (e && e->broken)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s:%u seems to be %s %s%s%s, but cannot be "
				     "read: repair or remove it there", e->file->name, e->line, k->kind,
				     k->ns, k->ns[0] ? "/" : "", k->name);
	return REGISTRY_DONE;
}

/* Which of the documents it is; edit.n: none. */
static size_t index_of(const struct edit *edit, const struct registry_key *k)
{
	size_t i = 0;

	for (; i < edit->n; i++) {
		struct registry_key d = edit_key(&edit->v[i]);

		if (strcmp(d.kind, k->kind) == 0 && strcmp(d.ns, k->ns) == 0 &&
		    strcmp(d.name, k->name) == 0)
			break;
	}
	return i;
}

static enum registry_error file_get(struct registry *r, const struct registry_key *k,
				    struct registry_value *ret)
{
	struct file_registry *f = of(r);
	struct content c = { 0 };
	struct entry *e;
	enum registry_error err = the_entry(f, k, &e);
	size_t i;

	if (err != REGISTRY_DONE || e == NULL)
		return err;
	err = content_of(f, e->file->name, 0, &c);
	if (err == REGISTRY_DONE) {
		i = index_of(&c.edit, k);
		if (i < c.edit.n)
			err = value_of(f, e->file->name, &c.edit.v[i], ret);
	}
	content_give(f, e->file->name, &c);
	return err;
}

static enum registry_error file_list(struct registry *r, const char *kind, const char *ns,
				     registry_each_fn *fn, void *arg)
{
	struct file_registry *f = of(r);
	enum registry_error err = REGISTRY_DONE;
	bool more = true;

	for (struct held *h = f->files; h && more && err == REGISTRY_DONE; h = h->next) {
		struct content c;

		err = content_of(f, h->name, 0, &c);
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
		content_fini(&c);
	}
	return err;
}

/* ---- writing ---- */

static int write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			s = slice_from(s, (size_t)n);
	}
	return 0;
}

/* The bytes as the temporary file, on the disk, with owner and mode of was (NULL: a new one). */
static int write_temporary(struct file_registry *f, struct slice bytes, const struct stat *was)
{
	int fd, r;

	(void)unlinkat(f->dir, TEMPORARY, 0);	/* of a writer that was killed */
	fd = openat(f->dir, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes);
	if (r == 0 && was && (fchown(fd, was->st_uid, was->st_gid) < 0 ||
			      fchmod(fd, was->st_mode & 07777) < 0))
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

/* The last look: is the file still what was read? */
static bool is_same(struct file_registry *f, const char *name, const struct content *was)
{
	struct stat st;
	size_t n = 0;
	char *bytes;
	bool same = read_all(f->dir, name, O_NOFOLLOW, &bytes, &n, &st) == 0 &&
		    n == was->n && memcmp(bytes, was->bytes, n) == 0;

	free(bytes);
	return same;
}

static int put_in_place(struct file_registry *f, const char *name, bool is_new)
{
	if (!is_new)
		return renameat(f->dir, TEMPORARY, f->dir, name) < 0 ? -errno : 0;
	/* Never over what came meanwhile; NFS knows that only of links. */
	if (renameat2(f->dir, TEMPORARY, f->dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (linkat(f->dir, TEMPORARY, f->dir, name, 0) < 0)
		return -errno;
	return unlinkat(f->dir, TEMPORARY, 0) < 0 ? -errno : 0;
}

/* was: what the file was read as, NULL when there is none. */
static enum registry_error write_file(struct file_registry *f, const char *name, struct slice bytes,
				      const struct content *was)
{
	int r = bytes.n > DOC_FILE_MAX ? -EFBIG : write_temporary(f, bytes, was ? &was->st : NULL);

	if (r == 0 && was && !is_same(f, name, was)) {
		(void)unlinkat(f->dir, TEMPORARY, 0);
		return registry_fail(&f->r, REGISTRY_CONFLICT, "%s was changed meanwhile", name);
	}
	if (r == 0)
		r = put_in_place(f, name, was == NULL);
	if (r < 0)
		(void)unlinkat(f->dir, TEMPORARY, 0);
	if (r == 0 && fsync(f->dir) < 0)
		r = -errno;
	if (r == -EEXIST)
		return registry_fail(&f->r, REGISTRY_CONFLICT, "%s was made meanwhile", name);
	return r < 0 ? failed(f, name, -r) : REGISTRY_DONE;
}

/* What was written is what will be read; takes it. */
static void remember(struct file_registry *f, const char *name, struct edit *now)
{
	struct content c = { .bytes = malloc(now->bytes.n + 1), .n = now->bytes.n, .edit = *now };

	if (c.bytes == NULL)
		return;
	if (c.n)
		memcpy(c.bytes, now->bytes.p, c.n);
	c.edit.bytes = slice_of(c.bytes, c.n);
	*now = (struct edit){ 0 };
	content_give(f, name, &c);
}

/* Reads what an edit would leave, and writes it when that is what it should be.  i, version: see
 * edit_is_sound. */
static enum registry_error commit(struct file_registry *f, struct held *h, struct content *was,
				  bool is_new, char *bytes, size_t n, size_t i, uint64_t version)
{
	struct edit now = { 0 };
	enum registry_error e;
	int r = bytes ? edit_read(&now, h->name, slice_of(bytes, n)) : -ENOMEM;

	if (r < 0)
		e = failed(f, h->name, -r);
	else if (!edit_is_sound(&was->edit, &now, i, version))
		e = registry_fail(&f->r, REGISTRY_UNFIT, "%s is written in a way that cannot be changed "
				  "without touching its other documents: do it by hand", h->name);
	else
		e = write_file(f, h->name, slice_of(bytes, n), is_new ? NULL : was);
	if (e == REGISTRY_DONE && learn(f, h, &now) < 0)
		e = failed(f, h->name, ENOMEM);
	if (e == REGISTRY_DONE)
		remember(f, h->name, &now);
	edit_fini(&now);
	return e;
}

/* Where an object that is nowhere yet is written: a file of its own. */
static void new_name(const struct registry_key *k, char out[RESOURCE_FILE_NAME])
{
	uint8_t digest[32];
	char text[700];
	int n = snprintf(text, sizeof text, "%s.%s%s%s.yaml", k->kind, k->ns, k->ns[0] ? "." : "",
			 k->name);

	for (char *p = text; *p; p++)
		*p = (char)byte_lower((uint8_t)*p);
	if (n < RESOURCE_FILE_NAME) {
		memcpy(out, text, (size_t)n + 1);
		return;
	}
	resource_digest(slice_of(text, (size_t)n), digest);	/* names may have 253 bytes */
	n = snprintf(out, RESOURCE_FILE_NAME, "%.64s.", k->kind);
	for (int i = 0; i < 16; i++)
		n += snprintf(out + n, RESOURCE_FILE_NAME - (size_t)n, "%02x", digest[i]);
	snprintf(out + n, RESOURCE_FILE_NAME - (size_t)n, ".yaml");
	for (char *p = out; *p; p++)
		*p = (char)byte_lower((uint8_t)*p);
}

static bool is_json(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && strcmp(name + n - 5, ".json") == 0;
}

static enum registry_error create(struct file_registry *f, const struct registry_key *k,
				  struct slice json, struct held **ret)
{
	char name[RESOURCE_FILE_NAME], *text, *bytes = NULL;
	struct content c = { 0 };
	enum registry_error e = REGISTRY_DONE;
	struct held *h;
	bool is_new;
	size_t n = 0;

	if (f->one)
		memcpy(name, f->only, sizeof name);
	else
		new_name(k, name);
	h = held_named(f, name);
	is_new = h == NULL || faccessat(f->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	if (h == NULL && (h = hold(f, name)) == NULL)
		return failed(f, name, ENOMEM);
	if (!is_new)	/* somebody wrote others into it: behind them */
		e = content_of(f, name, O_NOFOLLOW, &c);
	text = f->render((const char *)json.p, is_json(name));
	if (e == REGISTRY_DONE && text)
		bytes = edit_append(&c.edit, slice_str(text), &n);
	if (e == REGISTRY_DONE)
		e = commit(f, h, &c, is_new, bytes, n, c.edit.n, edit_version(json));
	free(text);
	free(bytes);
	content_fini(&c);
	*ret = h;
	return e;
}

/* The file of an object that is there, and which document it is, if that still has the version. */
static enum registry_error the_document(struct file_registry *f, const struct registry_key *k,
					uint64_t version, struct held **ret, struct content *c,
					size_t *ret_i)
{
	struct entry *e;
	enum registry_error err = the_entry(f, k, &e);

	*c = (struct content){ 0 };
	if (err != REGISTRY_DONE)
		return err;
	if (e == NULL)
		return registry_fail(&f->r, REGISTRY_CONFLICT, "it was removed meanwhile");
	*ret = e->file;
	err = content_of(f, e->file->name, O_NOFOLLOW, c);
	if (err != REGISTRY_DONE)
		return err;
	*ret_i = index_of(&c->edit, k);
	if (*ret_i == c->edit.n || c->edit.v[*ret_i].version != version)
		return registry_fail(&f->r, REGISTRY_CONFLICT, "%s was changed meanwhile", e->file->name);
	return REGISTRY_DONE;
}

static enum registry_error file_put_if(struct registry *r, const struct registry_key *k,
				       struct slice json, uint64_t version, char **ret_where)
{
	struct file_registry *f = of(r);
	struct content c = { 0 };
	struct held *h = NULL;
	struct entry *at;
	enum registry_error e;
	size_t i = 0, n = 0;

	must(f->render);
	if (version == 0) {
		e = the_entry(f, k, &at);
		if (e == REGISTRY_DONE && at)
			e = registry_fail(r, REGISTRY_CONFLICT, "%s:%u was written meanwhile",
					  at->file->name, at->line);
		if (e == REGISTRY_DONE)
			e = create(f, k, json, &h);
	} else {
		e = the_document(f, k, version, &h, &c, &i);
		if (e == REGISTRY_DONE) {
			char *text = f->render((const char *)json.p, is_json(h->name));
			char *bytes = text ? edit_replace(&c.edit, i, slice_str(text), &n) : NULL;

			e = commit(f, h, &c, false, bytes, n, i, edit_version(json));
			free(text);
			free(bytes);
		}
		content_fini(&c);
	}
	if (e == REGISTRY_DONE && ret_where && (at = find_from(hash_first(&f->by_key, hash_of(k)), k)))
		*ret_where = where_of(h->name, at->line);
	return e;
}

static enum registry_error file_delete_if(struct registry *r, const struct registry_key *k,
					  uint64_t version)
{
	struct file_registry *f = of(r);
	struct content c;
	struct held *h;
	char *bytes = NULL;
	size_t i, n = 0;
	enum registry_error e = the_document(f, k, version, &h, &c, &i);

	must(f->render);
	if (e == REGISTRY_DONE) {
		bytes = edit_remove(&c.edit, i, &n);
		if (bytes && c.edit.n == 1 && !f->one && edit_is_blank(slice_of(bytes, n))) {
			if (!is_same(f, h->name, &c))
				e = registry_fail(r, REGISTRY_CONFLICT, "%s was changed meanwhile",
						  h->name);
			else if (unlinkat(f->dir, h->name, 0) < 0 || fsync(f->dir) < 0)
				e = failed(f, h->name, errno);
			else
				forget(f, h);
		} else {
			e = commit(f, h, &c, false, bytes, n, i, 0);
		}
	}
	free(bytes);
	content_fini(&c);
	return e;
}

/* ---- life ---- */

static void file_close(struct registry *r)
{
	struct file_registry *f = of(r);

	for (struct held *h = f->files, *next; h; h = next) {
		next = h->next;
		forget(f, h);
		free(h);
	}
	content_fini(&f->last);
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
	return f->dir < 0 ? failed(f, above, errno) : REGISTRY_DONE;
}

static enum registry_error lock(struct file_registry *f, const char *path, int64_t wait_ms)
{
	const struct timespec pause = { .tv_nsec = LOCK_LOOK_MS * NS_PER_MS };
	struct mono until = mono_after_ms(clock_tick(), wait_ms);

	while (flock(f->dir, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return failed(f, path, errno);
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
