/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See roots.h. */
#include "nodeproxy/roots.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

/* True when it is another file, or another content, than at the last look. */
static bool look(struct master *m)
{
	struct roots *seen = &m->roots, now;
	struct stat st;

	if (m->knobs.system_ca[0] == 0 || stat(m->knobs.system_ca, &st) < 0)
		memset(&st, 0, sizeof st);
	now = (struct roots){ true, st.st_dev, st.st_ino, st.st_size, st.st_mtim };
	if (seen->looked && seen->dev == now.dev && seen->ino == now.ino && seen->size == now.size &&
	    seen->at.tv_sec == now.at.tv_sec && seen->at.tv_nsec == now.at.tv_nsec)
		return false;
	*seen = now;
	return true;
}

/* What is not there, or no regular file, is said without a descriptor: then nobody is trusted. */
void roots_send(struct master *m, struct child *c)
{
	struct msg_empty none = { 0 };
	struct fd f = FD_NONE;

	if (!c->has_chan || !c->told || !child_is_worker(c))
		return;
	if (!m->roots.looked)
		(void)look(m);		/* before it is opened: a change after that is seen */
	if (m->knobs.system_ca[0] &&
	    files_open_regular((struct fd){ AT_FDCWD }, m->knobs.system_ca, &f) < 0)
		f = FD_NONE;
	chan_offer(&c->chan, MSG_ROOTS_HERE, &none, (struct slice){ 0 }, &f.v, fd_is_open(f));
	fd_close(&f);
}

void roots_tick(struct master *m)
{
	if (!look(m))
		return;
	log_debug("system_ca_changed", "path=%s", m->knobs.system_ca);
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		roots_send(m, &m->child[i]);
}
