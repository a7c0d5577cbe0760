/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resolvers.h. */
#include "nodeproxy/resolvers.h"

#include <fcntl.h>

#include "nodeproxy/files.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

void resolvers_send(struct master *m, struct child *c)
{
	struct msg_resolvers r = { 0 };
	struct fd f = FD_NONE;

	if (!c->has_chan || !c->told)
		return;
	/* Each has one of its own: where reading goes on is shared otherwise. */
	r.error = files_open_regular((struct fd){ AT_FDCWD }, m->knobs.names_resolv_conf, &f);
	chan_offer(&c->chan, MSG_RESOLVERS_HERE, &r, (struct slice){ 0 }, &f.v, r.error == 0);
	fd_close(&f);
}

/* True when it is another file, or another content, than at the last look. */
static bool look(struct master *m)
{
	struct resolvers *seen = &m->resolvers;
	struct stat st = { 0 };
	bool other;

	if (stat(m->knobs.names_resolv_conf, &st) < 0)
		st = (struct stat){ 0 };
	other = seen->dev != st.st_dev || seen->ino != st.st_ino || seen->size != st.st_size ||
		seen->at.tv_sec != st.st_mtim.tv_sec || seen->at.tv_nsec != st.st_mtim.tv_nsec;
	*seen = (struct resolvers){ .dev = st.st_dev, .ino = st.st_ino, .size = st.st_size,
				    .at = st.st_mtim };
	return other;
}

void resolvers_tick(struct master *m)
{
	if (!look(m))
		return;
	for (unsigned i = 0; i < CHILDREN; i++)
		if (child_is_worker(&m->child[i]) || m->child[i].role == ROLE_ADMIND)
			resolvers_send(m, &m->child[i]);
}
