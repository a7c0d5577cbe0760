/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See programs.h. */
#include "nodeproxy/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"
#include "nodeproxy/upgrade.h"
#include "nodeproxy/words.h"

static struct {
	struct fd program[ROLES];
	uid_t uid[ROLES];
	gid_t gid[ROLES];
} the = { .program = { [0 ... ROLES - 1] = { -1 } } };

/* In this order: where the operator says, beside the running nodeproxy (also in a build tree),
 * where it was installed. */
static int find_program(struct master *m, enum role role)
{
	static const char *const beside[] = { "", "../", "../libexec/nodeproxy/" };
	const char *name = role_row(role)->program, *env = getenv("NODEPROXY_LIBEXEC");
	char exe[PATH_MAX], path[PATH_MAX + 128];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	char *slash;
	int f = -1;

	if (kept_take(&m->kept, &the.program[role], NULL, "program/%s", name))
		return 0;
	if (n > 0) {
		exe[n] = 0;
		slash = strrchr(exe, '/');
		if (slash)
			slash[1] = 0;
	}
	if (env) {
		snprintf(path, sizeof path, "%s/%s", env, name);
		f = open(path, O_PATH | O_CLOEXEC);
	}
	for (size_t i = 0; f < 0 && n > 0 && i < countof(beside); i++) {
		snprintf(path, sizeof path, "%s%s%s", exe, beside[i], name);
		f = open(path, O_PATH | O_CLOEXEC);
	}
	if (f < 0) {
		snprintf(path, sizeof path, "%s/%s", LIBEXECDIR, name);
		f = open(path, O_PATH | O_CLOEXEC);
	}
	if (f < 0) {
		words_say("cannot find %s beside nodeproxy or in %s: %s", name, LIBEXECDIR,
			  strerror(errno));
		return -ENOENT;
	}
	if (m->phase == PHASE_TRIAL && !upgrade_may_run(f)) {
		words_say("%s: %s", path, UPGRADE_MAY_RUN);
		close(f);
		return -EPERM;
	}
	the.program[role].v = fcntl(f, F_DUPFD_CLOEXEC, 10);	/* out of the channel's way */
	close(f);
	if (the.program[role].v < 0)
		return -errno;
	/* A package upgrade must not mix versions under a running master. */
	keep_put(&m->kept, the.program[role], 0, "program/%s", name);
	return 0;
}

/* From the file itself: name services may ask the network, and we never do. */
static bool find_account(enum role role)
{
	const struct role_row *row = role_row(role);
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd *p = NULL;

	while (f && (p = fgetpwent(f)) && strcmp(p->pw_name, row->account) != 0)
		;
	the.uid[role] = p && p->pw_uid ? p->pw_uid : row->uid;
	the.gid[role] = p && p->pw_gid ? p->pw_gid : row->uid;
	if (f)
		fclose(f);
	return p && p->pw_uid && p->pw_gid;
}

int programs_open(struct master *m)
{
	bool all = true;

	for (enum role role = ROLE_WORKER; role <= ROLE_KEYD; role++) {
		int r = find_program(m, role);

		if (r < 0)
			return r;
		all &= find_account(role);
	}
	((struct procs *)m->procs.p)->accounts_missing = !all;
	if (!all && m->kept.birth != BIRTH_AGAIN)
		log_warn("accounts_missing", "worker=%u syncd=%u admind=%u keyd=%u", the.uid[ROLE_WORKER],
			 the.uid[ROLE_SYNCD], the.uid[ROLE_ADMIND], the.uid[ROLE_KEYD]);
	return 0;
}

struct fd program_of(enum role role)
{
	return the.program[role];
}

void account_of(enum role role, uid_t *uid, gid_t *gid)
{
	*uid = the.uid[role];
	*gid = the.gid[role];
}
