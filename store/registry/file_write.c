/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Changes of files: an edit is read before it is written, and a file is replaced as a whole, if it is still
 * what was read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/registry/file_inner.h"

#define TEMPORARY   ".nodeproxyctl.tmp"	/* one writer at a time: one name; hidden, so no source reads it */

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
	bool same = file_read_all(f->dir, name, O_NOFOLLOW, &bytes, &n, &st) == 0 &&
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
	return r < 0 ? file_failed(f, name, -r) : REGISTRY_DONE;
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
	file_content_give(f, name, &c);
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
		e = file_failed(f, h->name, -r);
	else if (!edit_is_sound(&was->edit, &now, i, version))
		e = registry_fail(&f->r, REGISTRY_UNFIT, "%s is written in a way that cannot be changed "
				  "without touching its other documents: do it by hand", h->name);
	else
		e = write_file(f, h->name, slice_of(bytes, n), is_new ? NULL : was);
	if (e == REGISTRY_DONE && file_learn(f, h, &now) < 0)
		e = file_failed(f, h->name, ENOMEM);
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
	h = file_held(f, name);
	is_new = h == NULL || faccessat(f->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	if (h == NULL && (h = file_hold(f, name)) == NULL)
		return file_failed(f, name, ENOMEM);
	if (!is_new)	/* somebody wrote others into it: behind them */
		e = file_content_of(f, name, O_NOFOLLOW, &c);
	text = f->render((const char *)json.p, is_json(name));
	if (e == REGISTRY_DONE && text)
		bytes = edit_append(&c.edit, slice_str(text), &n);
	if (e == REGISTRY_DONE)
		e = commit(f, h, &c, is_new, bytes, n, c.edit.n, edit_version(json));
	free(text);
	free(bytes);
	file_content_fini(&c);
	*ret = h;
	return e;
}

/* The file of an object that is there, and which document it is, if that still has the version. */
static enum registry_error the_document(struct file_registry *f, const struct registry_key *k,
					uint64_t version, struct held **ret, struct content *c,
					size_t *ret_i)
{
	struct entry *e;
	enum registry_error err = file_entry(f, k, &e);

	*c = (struct content){ 0 };
	if (err != REGISTRY_DONE)
		return err;
	if (e == NULL)
		return registry_fail(&f->r, REGISTRY_CONFLICT, "it was removed meanwhile");
	*ret = e->file;
	err = file_content_of(f, e->file->name, O_NOFOLLOW, c);
	if (err != REGISTRY_DONE)
		return err;
	*ret_i = file_index_of(&c->edit, k);
	if (*ret_i == c->edit.n || c->edit.v[*ret_i].version != version)
		return registry_fail(&f->r, REGISTRY_CONFLICT, "%s was changed meanwhile", e->file->name);
	return REGISTRY_DONE;
}

enum registry_error file_put_if(struct registry *r, const struct registry_key *k,
				struct slice json, uint64_t version, char **ret_where)
{
	struct file_registry *f = file_of(r);
	struct content c = { 0 };
	struct held *h = NULL;
	struct entry *at;
	enum registry_error e;
	size_t i = 0, n = 0;

	must(f->render);
	if (version == 0) {
		e = file_entry(f, k, &at);
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
		file_content_fini(&c);
	}
	if (e == REGISTRY_DONE && ret_where && (at = file_find(f, k)))
		*ret_where = file_where(h->name, at->line);
	return e;
}

enum registry_error file_delete_if(struct registry *r, const struct registry_key *k,
				   uint64_t version)
{
	struct file_registry *f = file_of(r);
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
				e = file_failed(f, h->name, errno);
			else
				file_forget(f, h);
		} else {
			e = commit(f, h, &c, false, bytes, n, i, 0);
		}
	}
	free(bytes);
	file_content_fini(&c);
	return e;
}

