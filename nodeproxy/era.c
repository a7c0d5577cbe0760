/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See era.h. */
#include "nodeproxy/era.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "nodeproxy/master.h"

int era_fork(struct era *e, char *const argv[])
{
	struct fd pair[2];
	pid_t pid;
	int r = chan_pair(pair);

	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0) {
		if (dup2(pair[1].v, CHAN_FD) < 0 || fcntl(CHAN_FD, F_SETFD, 0) < 0)
			_exit(126);
		fexecve(e->exe.v, argv, environ);
		_exit(127);
	}
	r = pid < 0 ? -errno : 0;
	fd_close(&pair[1]);
	if (r < 0) {
		fd_close(&pair[0]);
		return r;
	}
	e->pid = pid;
	e->born = clock_tick();
	vital_begin(&e->vital, e->born);
	e->told = e->told_count = 0;
	e->told_all = false;
	chan_init(&e->chan, &pair[0], ROLE_KEEPER, ROLE_MASTER);
	return 0;
}

void era_tell(struct era *e, const struct table *table, uint32_t from,
	      const struct msg_kept_end *about)
{
	while (e->pid && !e->told_all && e->chan.queued == 0) {
		const struct table_entry *t;
		struct msg_kept_end end = *about;

		if (e->told >= table->n) {
			end.count = e->told_count;
			end.birth = e->birth;
			end.rev = e->launch.rev;
			e->told_all = chan_say(&e->chan, MSG_KEPT_END, &end) == 0;
			return;
		}
		t = &table->entry[e->told];
		if (t->era == from && (e->birth != BIRTH_TRIAL || t->m.shared)) {
			if (chan_send(&e->chan, MSG_KEPT, &t->m, (struct slice){ 0 }, &t->fd.v, 1) < 0)
				return;
			e->told_count++;
		}
		e->told++;
	}
}

void era_over(struct era *e, struct table *table)
{
	table_drop(table, e->id, true);
	fd_close(&e->exe);
	*e = (struct era){ .exe = FD_NONE };
}
