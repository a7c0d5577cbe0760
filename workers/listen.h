/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Listening sockets: accepting is a step of the listener's tenant like any other work, so that a
 * flood of connects is paid for by those who called. */
#ifndef WORKERS_LISTEN_H
#define WORKERS_LISTEN_H

#include "workers/path/path.h"

#define LISTENERS_MAX 3072	/* own ones, those lent while a sibling is being replaced; of pods */
#define LISTENER_OF_POD UINT32_MAX	/* instead of an index; group: ref of the pod */

struct listener {
	struct fd fd;			/* -1: this place is free */
	struct gate *gate;
	struct tenant *tenant;		/* holds a reference */
	struct sched_unit unit;
	uint32_t index, group;		/* of the settings; whose socket it is */
	uint32_t burst;			/* accepts per step */
	bool closing;			/* not in the settings any more: who has connected is let in */
	struct mono close_at;		/* when closing */
	bool paused;			/* until listeners_resume(): the kernel has no memory */
	struct listeners *home;
};

struct listeners {
	struct path *path;
	struct fd spare;		/* given up for a moment when there is no other descriptor */
	/* Takes what was just accepted of a pod when somebody else shall have it (fellows.h); NULL: nobody. */
	bool (*pass)(void *arg, const struct gate *, struct stream *);
	void *pass_arg;
	unsigned n;
	struct listener at[LISTENERS_MAX];
};

/* spare: any descriptor that may be duplicated. */
void listeners_init(struct listeners *, struct path *, int spare);
/* Takes the descriptor.  0, -EINVAL (no such listener in the settings), -ENOSPC, or -errno. */
must_use int listeners_add(struct listeners *, struct fd *, uint32_t index, uint32_t group);
/* The same of a pod. */
must_use int listeners_add_pod(struct listeners *, struct fd *, struct gate *);
void listeners_drop(struct listeners *, uint32_t index, uint32_t group);
/* All but those that are closing: others hold the same sockets, or soon will. */
void listeners_drain(struct listeners *);
void listeners_drop_all(struct listeners *);
/* The end of a full stop: what is queued is accepted and the sockets are closed.  The master has turned
 * new callers away before (tcp_listener_hush), so those whose handshake was under way have arrived.
 * Not for sockets that anybody else shall go on using. */
void listeners_close(struct listeners *);
/* An event of the poll set with a token of TOKEN_LISTENER. */
void listeners_event(struct listeners *, uint64_t token);
/* After path_use(): sockets of listeners that are still there get their new index; the others are
 * closed a little later, after everybody was accepted who had connected until then. */
void listeners_use(struct listeners *, const struct knobs *was);
/* Now and then: those that were paused try again, tenants of a new view pay from now on. */
void listeners_resume(struct listeners *);

#endif
