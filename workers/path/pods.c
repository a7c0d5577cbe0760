/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pods.h. */
#include "workers/path/pods.h"

#include <errno.h>
#include <string.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/proof.h"
#include "workers/path/exchange.h"

#define PROOFS_PER_S  4	/* of a pod: each family once, and somebody in it who guesses */
#define POD_NAME_TOLD 55	/* of a name of at most 63, behind "out:" */

static struct gate *make_gate(struct path *p, uint32_t ref, enum gate_direction d, const char *ns,
			      const char *name)
{
	struct gate_terms t = { .route = LISTEN_ORIGINAL };
	struct strbuf logged = strbuf_on(t.name, sizeof t.name);
	struct strbuf its_ns = strbuf_on(t.ns, sizeof t.ns);
	struct gate *g;

	/* A name that is cut is still this pod's for people. */
	strbuf_adds(&logged, d == GATE_OUT ? "out:" : "in:");
	strbuf_add(&logged, slice_of(name, strnlen(name, POD_NAME_TOLD)));
	strbuf_adds(&its_ns, ns);
	g = gate_new(p, &t);
	if (g) {
		g->pod = ref;
		p->gates_of_pods++;
		g->direction = d;
	}
	return g;
}

void path_pod_bury(struct path *p, uint32_t ref)
{
	for (unsigned d = 0; d < GATE_DIRECTIONS; d++) {
		const struct gate *g = p->pod[ref % BANKS][d];

		if (g && g->pod != ref)
			path_pod_gone(p, g->pod);
	}
}

struct gate *path_pod_gate(struct path *p, uint32_t ref, enum gate_direction d, const char *ns, const char *name)
{
	struct gate **of = p->pod[ref % BANKS];

	if (of[d] == NULL)
		of[d] = make_gate(p, ref, d, ns, name);
	return of[d] && of[d]->pod == ref ? of[d] : NULL;
}

int path_pod_here(struct path *p, uint32_t ref, const char *ns, const char *name, bool has_ipv6,
		  struct gate *ret[GATE_DIRECTIONS])
{
	path_pod_bury(p, ref);
	for (unsigned d = 0; d < GATE_DIRECTIONS; d++) {
		ret[d] = path_pod_gate(p, ref, (enum gate_direction)d, ns, name);
		if (ret[d] == NULL) {
			path_pod_gone(p, ref);
			return -ENOMEM;
		}
	}
	bank_open(&p->banks, ref, has_ipv6, false);
	return 0;
}

void path_pod_close_idle(struct path *p, uint32_t ref)
{
	for (uint32_t i = 0; i < p->pool.backs.fresh; i++) {
		struct back *b = slab_at(&p->pool.backs, (struct slot_ref){ i, p->pool.backs.gen[i] });

		if (b && b->idle_at && b->key.pod == ref)
			path_close_back(p, b);
	}
	trunks_close_pod(&p->trunks, ref, false);
}

/* Connections of others that lead into it: as if its application had died.  Those that have none yet are
 * told by the bank. */
static void cut_guests(struct path *p, uint32_t ref)
{
	for (uint32_t i = 0; i < p->conns.fresh; i++) {
		struct conn *c = slab_at(&p->conns, (struct slot_ref){ i, p->conns.gen[i] });
		struct back *b = c && c->magic == CONN_MAGIC && c->state == CONN_BUSY && c->ex ?
					 c->ex->back : NULL;

		if (!b || b->key.pod != ref || c->gate->pod == ref)
			continue;
		if (!b->on && stream_is_open(&b->leg.s))
			tcp_world->cut(&b->leg.s);
		conn_wake(c);
	}
}

void path_pod_gone(struct path *p, uint32_t ref)
{
	struct gate **of = p->pod[ref % BANKS];

	for (unsigned d = 0; d < GATE_DIRECTIONS; d++)
		if (of[d] && of[d]->pod == ref)
			gate_retire(p, &of[d], 0);
	path_gates_expire(p);
	bank_close(&p->banks, ref);
	path_pod_close_idle(p, ref);
	cut_guests(p, ref);
	trunks_close_pod(&p->trunks, ref, true);
	residents_gone(p, ref);
}

static bool waits_for(const struct conn *c, uint32_t ref)
{
	const struct exchange *ex = c->ex;

	return c->state == CONN_BUSY && ex && ex->at == STAGE_connect && ex->back &&
	       ex->back->key.pod == ref && !stream_is_open(&ex->back->leg.s);
}

void path_pod_bank(struct path *p, uint32_t ref, unsigned sort, struct fd *fd, unsigned n)
{
	p->banks.most = path_bank_most(p);
	if (!bank_put(&p->banks, ref, sort, fd, n))
		return;
	/* Somebody found it empty, which is rare: who it was is looked for now. */
	for (uint32_t i = 0; i < p->conns.fresh; i++) {
		struct conn *c = slab_at(&p->conns, (struct slot_ref){ i, p->conns.gen[i] });

		if (c && c->magic == CONN_MAGIC && waits_for(c, ref))
			conn_wake(c);
	}
}

static bool is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	return a->family == 4 ? a->ip[0] == 127 : memcmp(a->ip, one, sizeof one) == 0;
}

bool pod_denies(struct gate *g, const struct addr *dialled)
{
	gate_now(g);
	return g->modes.of[MODE_unknown_destination] == MODE_DENY &&
	       !(g->path->view && view_knows(g->path->view, dialled)) && !residents_at(g->path, dialled);
}

bool pod_is_own_port(const struct gate *g, const struct addr *dialled)
{
	/* What goes to loopback is never redirected: it was dialled. */
	if (g->direction == GATE_OUT)
		return is_loopback(dialled);
	return pod_port_is_ours(dialled->port);
}

bool pod_is_proof(const struct gate *g, const struct addr *dialled)
{
	return g->direction == GATE_OUT && addr_is_proof(dialled);
}

bool pod_proves(struct gate *g, const struct addr *dialled)
{
	if (mono_diff_ms(clock_now(), g->proofs_at) >= 1000) {
		g->proofs_at = clock_now();
		g->proofs = 0;
	}
	if (g->proofs == PROOFS_PER_S)
		return false;
	g->proofs++;
	if (g->path->proven)
		g->path->proven(g->pod, dialled->family, dialled->port);
	return true;
}
