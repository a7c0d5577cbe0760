/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See files.h. */
#include "nodeproxy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/outlet.h"
#include "nodeproxy/lib/ipc/messages.h"
#include "nodeproxy/lib/knobs/change.h"
#include "nodeproxy/master.h"
#include "nodeproxy/words.h"

#define SOURCE_EVENTS                                                                              \
	(IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE |       \
	 IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

static int complain(const char *what, const char *path, int r)
{
	words_say("%s: %s: %s", what, path, strerror(-r));
	return r;
}

/* ---- directories ---- */

int files_make_dirs(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof part)
		return -ENAMETOOLONG;
	memcpy(part, path, n + 1);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(part, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* The directory of the store: syncd's alone, and ours alone among all instances.  The lock belongs
 * to the open file, of which the keeper has a copy: a new master still holds it. */
static int make_state_dir(const struct master *m, struct fd *ret)
{
	struct fd d = FD_NONE;
	int r = files_make_dirs(m->knobs.state_dir, 0700);

	if (r == 0 || r == -EROFS) {
		d.v = open(m->knobs.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = d.v < 0 ? -errno : 0;
	}
	if (r == 0 && flock(d.v, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	/* Read-only it may still be read. */
	if (r == 0 && (fchown(d.v, m->files.sync_uid, m->files.sync_gid) < 0 ||
		       fchmod(d.v, 0700) < 0) && errno != EROFS)
		r = -errno;
	if (r < 0)
		fd_close(&d);
	else
		*ret = d;
	return r;
}

static int open_state_dir(struct master *m)
{
	const char *path = m->knobs.state_dir;
	struct fd *d = &m->files.state_dir;
	struct stat is, should;
	int r;

	if (kept_take(&m->kept, d, NULL, "state_dir")) {
		if (m->phase != PHASE_TRIAL ||
		    (fstat(d->v, &is) == 0 && stat(path, &should) == 0 &&
		     is.st_dev == should.st_dev && is.st_ino == should.st_ino))
			return 0;
		fd_close(d);	/* an older build's setting */
	}
	r = make_state_dir(m, d);
	if (r == -EBUSY) {
		words_say("state_dir: %s is in use by another nodeproxy", path);
		return r;
	}
	if (r == -ENOSPC || r == -EDQUOT || r == -EROFS || r == -EIO) {
		/* A disk that is full or broken is no reason not to route. */
		log_error("state_dir_not_opened", "path=%s error=\"%s\"", path, strerror(-r));
		return 0;
	}
	if (r < 0)
		return complain("state_dir", path, r);
	keep_share(&m->kept, *d, 0, "state_dir");
	return 0;
}

void files_renew_state_dir(struct master *m)
{
	struct fd d = FD_NONE;
	struct stat st;
	int r;

	if (fd_is_open(m->files.state_dir) && fstat(m->files.state_dir.v, &st) == 0 && st.st_nlink)
		return;
	r = make_state_dir(m, &d);
	if (r < 0) {
		log_limited(LOG_ERROR, "state_dir_not_opened", "path=%s error=\"%s\"",
			    m->knobs.state_dir, strerror(-r));
		return;
	}
	log_warn("state_dir_made", "path=%s", m->knobs.state_dir);
	fd_close(&m->files.state_dir);
	m->files.state_dir = d;
	keep_share(&m->kept, d, 0, "state_dir");
}

/* ---- the source ---- */

/* Splits source.path when it names one file. */
static void source_place(struct master *m, char dir[PATH_MAX])
{
	const char *path = m->knobs.source_path, *slash = strrchr(path, '/');
	struct stat st;

	snprintf(dir, PATH_MAX, "%s", path);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		m->files.only[0] = 0;
		return;
	}
	/* A file where the directory was is not what it held: that would take all of it away.  Who
	 * means it says so with a reload or a start. */
	if (fd_is_open(m->files.source_dir) && m->files.only[0] == 0)
		return;
	/* A file, or not there: what ends like a document is meant to be one. */
	if (!(stat(path, &st) == 0 && S_ISREG(st.st_mode)) && m->files.only[0] == 0 &&
	    !strstr(slash ? slash : path, ".yaml") && !strstr(slash ? slash : path, ".yml") &&
	    !strstr(slash ? slash : path, ".json"))
		return;
	snprintf(m->files.only, sizeof m->files.only, "%s", slash ? slash + 1 : path);
	if (!slash)
		snprintf(dir, PATH_MAX, ".");
	else
		dir[slash == path ? 1 : slash - path] = 0;
}

static int open_source(struct master *m, struct fd *ret_inotify)
{
	char dir[PATH_MAX], self[64];
	struct fd d, i;
	int r = 0;

	source_place(m, dir);
	d.v = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.v < 0)
		return -errno;
	i.v = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	/* By the descriptor, so that the watch and the listing are of the same directory. */
	snprintf(self, sizeof self, "/proc/self/fd/%d", d.v);
	if (i.v < 0 || inotify_add_watch(i.v, self, SOURCE_EVENTS) < 0)
		r = -errno;
	if (r < 0) {
		fd_close(&i);
		fd_close(&d);
		return r;
	}
	fd_close(&m->files.source_dir);
	m->files.source_dir = d;
	/* syncd goes on asking when we are dead: the next master opens in the same directory */
	keep_put(&m->kept, d, m->files.only[0] != 0, "source_dir");
	*ret_inotify = i;
	return 0;
}

/* ---- files of a registry ---- */

static const enum knob_index secret_row[SECRETS] = {
	[SECRET_CA] = KNOB_source_ca, [SECRET_CERT] = KNOB_source_cert, [SECRET_KEY] = KNOB_source_key,
	[SECRET_PASSWORD] = KNOB_source_password_file,
};

/* All of them, or none and -errno; *ret_which: of which. */
static int open_secrets(const struct knobs *k, struct fd f[SECRETS], uint32_t *ret_has, uint32_t *ret_which)
{
	const char *const path[SECRETS] = {
		[SECRET_CA] = k->source_ca, [SECRET_CERT] = k->source_cert, [SECRET_KEY] = k->source_key,
		[SECRET_PASSWORD] = k->source_password_file,
	};
	int r = 0;

	*ret_has = 0;
	for (uint32_t i = 0; i < SECRETS; i++)
		f[i] = FD_NONE;
	for (uint32_t i = 0; r == 0 && i < SECRETS; i++) {
		if (path[i][0] == 0)
			continue;
		*ret_which = i;
		*ret_has |= 1u << i;
		r = files_open_regular((struct fd){ AT_FDCWD }, path[i], &f[i]);
	}
	if (r == 0)
		return 0;
	*ret_has = 0;
	for (uint32_t i = 0; i < SECRETS; i++)
		fd_close(&f[i]);
	return r;
}

int files_try_secrets(const struct knobs *k, enum knob_index *ret_row)
{
	struct fd f[SECRETS];
	uint32_t has, which = 0;
	int r = open_secrets(k, f, &has, &which);

	*ret_row = secret_row[which];
	for (uint32_t i = 0; i < SECRETS; i++)
		fd_close(&f[i]);
	return r;
}

static void send_secrets(struct master *m, struct child *c)
{
	struct msg_source_secrets s = { 0 };
	struct fd f[SECRETS];
	struct knob_row row = { .key = "" };
	int fds[SECRETS];
	unsigned n = 0;

	s.error = open_secrets(&m->knobs, f, &s.has, &s.which);
	if (s.error < 0) {
		(void)knobs_row(secret_row[s.which], &row);
		log_limited(LOG_WARN, "source_file_not_opened", "what=%s error=\"%s\"", row.key,
			    strerror(-s.error));
	}
	for (uint32_t i = 0; i < SECRETS; i++)
		if (fd_is_open(f[i]))
			fds[n++] = f[i].v;
	chan_offer(&c->chan, MSG_SOURCE_SECRETS, &s, (struct slice){ 0 }, fds, n);
	for (uint32_t i = 0; i < SECRETS; i++)
		fd_close(&f[i]);
}

void files_send_source(struct master *m)
{
	struct child *c = &m->child[CHILD_SYNCD];
	struct msg_source s = { .error = 0 };
	struct fd inotify = FD_NONE;
	int fds[2];

	if (!c->has_chan || !c->told)
		return;
	if (m->knobs.source_kind != SOURCE_FILE) {
		send_secrets(m, c);
		return;
	}
	s.error = open_source(m, &inotify);
	snprintf(s.name, sizeof s.name, "%s", m->files.only);
	fds[0] = m->files.source_dir.v;
	fds[1] = inotify.v;
	if (s.error < 0)
		log_limited(LOG_WARN, "source_away", "path=%s error=\"%s\"", m->knobs.source_path,
			    strerror(-s.error));
	chan_offer(&c->chan, MSG_SOURCE_DIR, &s, (struct slice){ 0 }, fds, s.error ? 0 : 2);
	fd_close(&inotify);
}

void files_source_moved(struct master *m, const struct knobs *was)
{
	static const enum knob_index of_source[] = {
		KNOB_source_path, KNOB_source_endpoints, KNOB_source_ca, KNOB_source_server_name,
		KNOB_source_cert, KNOB_source_key, KNOB_source_user, KNOB_source_password_file,
	};
	bool moved = false;

	for (size_t i = 0; i < countof(of_source); i++)
		moved |= knobs_differ(was, &m->knobs, of_source[i]);
	if (!moved)
		return;
	fd_close(&m->files.source_dir);
	m->files.only[0] = 0;
	files_send_source(m);
}

static bool is_plain_name(const char *s)
{
	return s[0] && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && !strchr(s, '/');
}

/* Only after a look at what it is: to open a pipe, a device or a leased file can wait, or do
 * something. */
int files_open_regular(struct fd dir, const char *name, struct fd *ret)
{
	struct fd what = { openat(dir.v, name, O_PATH | O_CLOEXEC) };
	char self[64];
	struct stat st;
	int r = 0;

	if (what.v < 0)
		return -errno;
	if (fstat(what.v, &st) < 0) {
		r = -errno;
	} else if (!S_ISREG(st.st_mode)) {
		r = -EINVAL;
	} else {
		snprintf(self, sizeof self, "/proc/self/fd/%d", what.v);
		ret->v = open(self, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		r = ret->v < 0 ? -errno : 0;
		if (r == -ENOENT)	/* removed since, or no /proc: never "gone" by mistake */
			r = -EIO;
	}
	fd_close(&what);
	return r;
}

void files_want(struct master *m, struct child *c, const struct msg_file *want)
{
	struct msg_file here = *want;
	struct fd f = FD_NONE;

	here.zero = 0;
	if (!msg_text(want->name, sizeof want->name) || !is_plain_name(want->name) ||
	    (m->files.only[0] && strcmp(want->name, m->files.only) != 0)) {
		child_broke(c, "asked for a name that is not a file of the source");
		return;
	}
	/* Links are followed: mounted ConfigMaps are made of them, and who can write this directory is
	 * the operator. */
	if (fd_is_open(m->files.source_dir))
		here.error = files_open_regular(m->files.source_dir, here.name, &f);
	else
		here.error = -EIO;	/* never ENOENT: that would mean that the file is gone */
	chan_offer(&c->chan, MSG_FILE_HERE, &here, (struct slice){ 0 }, &f.v,
			here.error == 0);
	fd_close(&f);
}

/* ---- the access log ---- */

#define LOG_FLAGS (O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* A FIFO that nobody reads yet is opened as if we read it, too: its reader may come later, go and
 * come back, and what was written in between waits for it. */
static int open_log(const char *path, int more)
{
	struct stat st;
	int fd = open(path, LOG_FLAGS | O_WRONLY | more, 0640);

	if (fd < 0 && errno == ENXIO && stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
		fd = open(path, LOG_FLAGS | O_RDWR);
	return fd;
}

int files_try_log(const char *path, bool *ret_made)
{
	struct fd f;

	*ret_made = false;
	if (path[0] == 0 || strcmp(path, "-") == 0)
		return 0;
	f.v = open_log(path, 0);
	if (f.v < 0 && errno == ENOENT) {
		f.v = open_log(path, O_CREAT | O_EXCL);
		*ret_made = f.v >= 0;
	}
	if (f.v < 0)
		return -errno;
	fd_close(&f);
	return 0;
}

int files_send_log(struct master *m, struct child *c)
{
	const char *path = m->knobs.access_log_path;
	struct msg_empty none = { 0 };
	struct fd f = FD_NONE;
	int r = 0;

	if (!c->has_chan || !c->told)
		return -EAGAIN;
	if (strcmp(path, "-") == 0)
		f = outlet_again(STDERR_FILENO);
	else if (path[0])
		f.v = open_log(path, O_CREAT);
	if (path[0] && f.v < 0) {
		r = -errno;
		log_error("access_log_not_opened", "path=%s error=\"%s\"", path, strerror(-r));
	}
	if (chan_send(&c->chan, MSG_LOG_FILE, &none, (struct slice){ 0 }, &f.v,
		      fd_is_open(f)) < 0 && r == 0)
		r = -ENOBUFS;
	fd_close(&f);
	return r;
}

int files_open(struct master *m, uid_t sync_uid, gid_t sync_gid)
{
	char dir[PATH_MAX];
	uint64_t only = 0;

	m->files.state_dir = m->files.source_dir = FD_NONE;
	m->files.sync_uid = sync_uid;
	m->files.sync_gid = sync_gid;
	if (kept_take(&m->kept, &m->files.source_dir, &only, "source_dir") && only)
		source_place(m, dir);
	return open_state_dir(m);
}
