/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The newest view, on its way from syncd to the workers and admind.  The master passes descriptors
 * and never maps one.  Newest wins; a revision that all workers refuse is marked failed, and those
 * who start later get the last one that somebody serves. */
#ifndef NODEPROXY_VIEWS_H
#define NODEPROXY_VIEWS_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/lib/ipc/messages.h"

struct master;
struct child;
struct msg;

struct viewset {
	struct fd base, overlay;
	struct msg_view b, o;	/* rev 0: there is none */
};

struct views {
	struct viewset newest, good;
	uint64_t most;			/* highest revision that was ever passed on */
	struct fd sources;		/* syncd's report, for admind */
	bool lacks_view, lacks_sources;	/* what syncd made did not arrive: it is asked again */
	bool adopting;			/* syncd has not yet answered a new master */
	struct msg_rev sources_rev;
};

void views_open(struct master *);
static inline uint64_t viewset_rev(const struct viewset *v)
{
	return v->o.rev ? v->o.rev : v->b.rev;
}

/* What children say of views; who says what cannot be is broken (child_broke). */
void views_made(struct master *, struct child *, const struct msg_view *, struct fd *fd);
void views_adopted(struct master *, struct child *, uint64_t rev);
/* A worker lacks endpoints in its view: syncd is told. */
void views_lacks_endpoints(struct master *, const struct msg_service *);
void views_refused(struct master *, struct child *, uint64_t rev, const char *why);
/* The newest view to one child (a worker, or admind). */
void views_send(struct master *, struct child *);
/* What came with a message of syncd did not arrive. */
void views_lack(struct master *, enum msg_type);
/* syncd has answered the first words of a new master: what the old one died with is said again. */
void views_adopted_syncd(struct master *);
/* Once a second: asks syncd again. */
void views_tick(struct master *);
/* Memory that nobody can change any more, and its size. */
bool views_is_sealed(struct fd, uint64_t *ret_bytes);
void sources_made(struct master *, struct child *, const struct msg_rev *, struct fd *fd);
void sources_send(struct master *, struct child *);

#endif
