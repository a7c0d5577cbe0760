/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pipes.h. */
#include "workers/pool/pipes.h"

#include <fcntl.h>
#include <unistd.h>

/* Below this, splice costs more than copying: past the soft limit of its user's pipe pages the
 * kernel gives pipes of one or two pages. */
#define ROOM_MIN 65536

void pipes_init(struct pipes *p, unsigned max)
{
	*p = (struct pipes){ .max = min_of(max, (unsigned)PIPES_MAX) };
}

void pipes_limit(struct pipes *p, unsigned max)
{
	p->max = min_of(max, (unsigned)PIPES_MAX);
}

static void shut(struct pipes *ps, struct pipe *p)
{
	fd_close(&p->in);
	fd_close(&p->out);
	p->used = false;
	ps->open--;
}

void pipes_fini(struct pipes *ps)
{
	for (unsigned i = 0; i < PIPES_MAX; i++)
		if (ps->pipe[i].used)
			shut(ps, &ps->pipe[i]);
	ps->n_spare = 0;
}

static struct pipe *use(struct pipe *p, uint32_t *user)
{
	p->user = user;
	++*user;
	return p;
}

struct pipe *pipe_take(struct pipes *ps, uint32_t *user)
{
	unsigned in_use = ps->open - ps->n_spare;
	int fds[2], room;

	if (in_use + *user >= ps->max)
		return NULL;
	if (ps->n_spare)
		return use(&ps->pipe[ps->spare[--ps->n_spare]], user);
	if (ps->off || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return NULL;
	room = fcntl(fds[0], F_SETPIPE_SZ, (int)PIPE_BYTES);
	if (room < 0)
		room = fcntl(fds[0], F_GETPIPE_SZ);
	if (room < ROOM_MIN) {
		close(fds[0]);
		close(fds[1]);
		ps->off = ps->open == 0;
		return NULL;
	}
	for (unsigned i = 0; i < PIPES_MAX; i++) {
		struct pipe *p = &ps->pipe[i];

		if (p->used)
			continue;
		*p = (struct pipe){ .out = { fds[0] }, .in = { fds[1] }, .room = (uint32_t)room,
				    .used = true };
		ps->open++;
		return use(p, user);
	}
	must(!"fewer than PIPES_MAX are open");
	return NULL;
}

void pipes_trim(struct pipes *ps)
{
	while (ps->n_spare)
		shut(ps, &ps->pipe[ps->spare[--ps->n_spare]]);
}

void pipe_give(struct pipes *ps, struct pipe **pp)
{
	struct pipe *p = *pp;

	*pp = NULL;
	must(*p->user > 0);
	--*p->user;
	if (p->held == 0 && ps->n_spare < PIPES_SPARE && ps->open <= ps->max)
		ps->spare[ps->n_spare++] = (uint16_t)(p - ps->pipe);
	else
		shut(ps, p);
}
