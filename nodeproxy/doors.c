/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See doors.h. */
#include "nodeproxy/doors.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/knobs/change.h"
#include "nodeproxy/master.h"
#include "nodeproxy/words.h"

#define ADMIN_NAME   "admin/%s"		/* 6 + 103 < MSG_NAME */
#define METRICS_NAME "metrics/%s"

/* From the file itself: name services may ask the network, and we never do. */
static int group_id(const char *name, gid_t *ret)
{
	FILE *f;
	struct group *g = NULL;

	*ret = 0;
	if (name[0] == 0)
		return 0;
	f = fopen("/etc/group", "re");
	while (f && (g = fgetgrent(f)) && strcmp(g->gr_name, name) != 0)
		;
	if (g)
		*ret = g->gr_gid;
	if (f)
		fclose(f);
	return g ? 0 : -ENOENT;
}

static int set_group(const char *path, gid_t gid)
{
	return chown(path, 0, gid) < 0 || chmod(path, gid ? 0660 : 0600) < 0 ? -errno : 0;
}

static int make_parent(const char *path)
{
	char dir[sizeof((struct sockaddr_un){ 0 }).sun_path];
	char *slash;

	snprintf(dir, sizeof dir, "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return files_make_dirs(dir, 0755);
}

static int open_admin(const char *path, gid_t gid, struct fd *ret)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct fd s, probe;
	struct stat st;
	mode_t was;
	int r;

	if (strlen(path) >= sizeof a.sun_path)
		return -ENAMETOOLONG;
	r = make_parent(path);
	if (r < 0)
		return r;
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	s.v = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	probe.v = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s.v < 0 || probe.v < 0) {
		r = -errno;
	} else if (connect(probe.v, (struct sockaddr *)&a, sizeof a) == 0 || errno == EAGAIN) {
		r = -EADDRINUSE;	/* somebody answers there */
	} else {
		if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
			unlink(path);	/* left by an instance that is gone */
		was = umask(0177);
		if (bind(s.v, (struct sockaddr *)&a, sizeof a) < 0)
			r = -errno;
		umask(was);
		if (r == 0 && gid)
			r = set_group(path, gid);
		if (r == 0 && listen(s.v, 128) < 0)
			r = -errno;
	}
	fd_close(&probe);
	if (r < 0)
		fd_close(&s);
	else
		*ret = s;
	return r;
}

static int open_metrics(const char *text, struct fd *ret)
{
	struct sockaddr_storage ss;
	struct fd f = FD_NONE;
	struct addr a;
	socklen_t n;
	int one = 1, r;

	if (!text[0])
		return 0;
	r = addr_parse(slice_str(text), &a);
	if (r < 0)
		return r;
	n = addr_to_sockaddr(&a, &ss);
	f.v = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f.v < 0 || setsockopt(f.v, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(f.v, (struct sockaddr *)&ss, n) < 0 || listen(f.v, 128) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&f);
	else
		*ret = f;
	return r;
}

static int complain(const char *what, const char *path, int r)
{
	if (r < 0)
		words_say("%s: %s: %s", what, path, strerror(-r));
	return r;
}

/* On trial: the older master serves at another name, which goes when we take over. */
static void find_old_admin(struct master *m)
{
	static const char prefix[] = "admin/";

	for (unsigned i = 0; i < m->kept.n; i++) {
		const struct kept_entry *e = &m->kept.entry[i];

		if (fd_is_open(e->fd) && strncmp(e->name, prefix, sizeof prefix - 1) == 0)
			snprintf(m->doors.old_admin, sizeof m->doors.old_admin, "%.107s",
				 e->name + sizeof prefix - 1);
	}
}

void doors_take_over(struct master *m)
{
	if (m->doors.old_admin[0])
		(void)unlink(m->doors.old_admin);
	doors_send(m, &m->child[CHILD_ADMIND]);
}

int doors_open(struct master *m)
{
	const struct knobs *k = &m->knobs;
	struct doors *d = &m->doors;
	gid_t gid;
	int r;

	d->admin = d->metrics = FD_NONE;
	if (!kept_take(&m->kept, &d->admin, NULL, ADMIN_NAME, k->admin_socket)) {
		r = complain("admin.group", k->admin_group, group_id(k->admin_group, &gid));
		if (r == 0)
			r = complain("admin.socket", k->admin_socket,
				     open_admin(k->admin_socket, gid, &d->admin));
		if (r < 0)
			return r;
		keep_share(&m->kept, d->admin, 0, ADMIN_NAME, k->admin_socket);
		find_old_admin(m);
	}
	if (!k->admin_metrics[0] ||
	    kept_take(&m->kept, &d->metrics, NULL, METRICS_NAME, k->admin_metrics))
		return 0;
	r = complain("admin.metrics", k->admin_metrics, open_metrics(k->admin_metrics, &d->metrics));
	if (r == 0)
		keep_share(&m->kept, d->metrics, 0, METRICS_NAME, k->admin_metrics);
	return r;
}

void doors_send(struct master *m, struct child *c)
{
	struct msg_sockets s = { .has_metrics = fd_is_open(m->doors.metrics) };
	int fds[2] = { m->doors.admin.v, m->doors.metrics.v };

	if (m->phase != PHASE_TRIAL && c->has_chan && c->told)
		chan_offer(&c->chan, MSG_ADMIN_SOCKETS, &s, (struct slice){ 0 }, fds,
			   1 + s.has_metrics);
}

void doors_close(struct master *m)
{
	if (fd_is_open(m->doors.admin))		/* else the name is another instance's */
		(void)unlink(m->knobs.admin_socket);
}

/* ---- other settings ---- */

int doors_try(struct master *m, const struct knobs *now, struct doors *opened,
	      enum knob_index *ret_bad, char why[160])
{
	bool socket = knobs_differ(&m->knobs, now, KNOB_admin_socket);
	gid_t gid = 0;
	int r = 0;

	opened->admin = opened->metrics = FD_NONE;
	if (knobs_differ(&m->knobs, now, KNOB_admin_group) || socket) {
		*ret_bad = KNOB_admin_group;
		r = group_id(now->admin_group, &gid);
		if (r < 0)
			snprintf(why, 160, "there is no group %s", now->admin_group);
	}
	if (r == 0 && socket) {
		*ret_bad = KNOB_admin_socket;
		r = open_admin(now->admin_socket, gid, &opened->admin);
		if (r < 0)
			snprintf(why, 160, "cannot open %s: %s", now->admin_socket, strerror(-r));
	}
	if (r == 0 && knobs_differ(&m->knobs, now, KNOB_admin_metrics)) {
		*ret_bad = KNOB_admin_metrics;
		r = open_metrics(now->admin_metrics, &opened->metrics);
		if (r < 0)
			snprintf(why, 160, "cannot listen on %s: %s", now->admin_metrics,
				 strerror(-r));
	}
	if (r < 0)
		doors_undo(now, opened);
	return r;
}

void doors_undo(const struct knobs *now, struct doors *opened)
{
	if (fd_is_open(opened->admin))
		(void)unlink(now->admin_socket);
	fd_close(&opened->admin);
	fd_close(&opened->metrics);
}

void doors_keep(struct master *m, const struct knobs *now, const struct doors *opened)
{
	if (fd_is_open(opened->admin))
		keep_share(&m->kept, opened->admin, 0, ADMIN_NAME, now->admin_socket);
	if (fd_is_open(opened->metrics))
		keep_share(&m->kept, opened->metrics, 0, METRICS_NAME, now->admin_metrics);
}

void doors_use(struct master *m, const struct knobs *was, struct doors *opened)
{
	const struct knobs *now = &m->knobs;
	struct doors *d = &m->doors;
	bool admin = fd_is_open(opened->admin);
	bool metrics = knobs_differ(was, now, KNOB_admin_metrics);
	gid_t gid;
	int r;

	if (admin) {
		fd_close(&d->admin);
		d->admin = fd_take(&opened->admin);
		(void)unlink(was->admin_socket);
		keep_drop(&m->kept, ADMIN_NAME, was->admin_socket);
	} else if (knobs_differ(was, now, KNOB_admin_group)) {
		r = group_id(now->admin_group, &gid);
		if (r == 0)
			r = set_group(now->admin_socket, gid);
		if (r < 0)
			log_error("group_not_set", "path=%s error=\"%s\"", now->admin_socket,
				  strerror(-r));
	}
	if (metrics) {
		fd_close(&d->metrics);
		d->metrics = fd_take(&opened->metrics);
		keep_drop(&m->kept, METRICS_NAME, was->admin_metrics);
	}
	if (admin || metrics)
		doors_send(m, &m->child[CHILD_ADMIND]);
}
