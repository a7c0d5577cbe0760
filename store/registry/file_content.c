/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A file and what it says.  What was read last is kept: as long as the file has these bytes it need not be
 * parsed again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/registry/file_inner.h"

enum registry_error file_failed(struct file_registry *f, const char *name, int error)
{
	enum registry_error e = error == EACCES || error == EPERM ? REGISTRY_DENIED
			      : error == ENOMEM			  ? REGISTRY_MEMORY
								  : REGISTRY_FAILED;

	return registry_fail(&f->r, e, "%s: %s", name, strerror(error));
}

int file_read_all(int dir, const char *name, int flags, char **ret, size_t *ret_n, struct stat *st)
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

void file_content_fini(struct content *c)
{
	edit_fini(&c->edit);
	free(c->bytes);
	*c = (struct content){ 0 };
}

void file_content_give(struct file_registry *f, const char *name, struct content *c)
{
	if (c->bytes == NULL || strlen(name) >= sizeof f->last_name) {
		file_content_fini(c);
		return;
	}
	file_content_fini(&f->last);
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

enum registry_error file_content_of(struct file_registry *f, const char *name, int flags,
				    struct content *ret)
{
	int r;

	*ret = (struct content){ 0 };
	r = file_read_all(f->dir, name, flags, &ret->bytes, &ret->n, &ret->st);
	if (r == -ENOENT)	/* removed since it was listed: it says nothing */
		return REGISTRY_DONE;
	if (r == 0 && !content_known(f, name, ret))
		r = edit_read(&ret->edit, name, slice_of(ret->bytes, ret->n));
	if (r == -ELOOP)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s is a symbolic link: change the file it "
				     "points to", name);
	if (r == -EINVAL)
		return registry_fail(&f->r, REGISTRY_UNFIT, "%s is not a regular file", name);
	return r < 0 ? file_failed(f, name, -r) : REGISTRY_DONE;
}

