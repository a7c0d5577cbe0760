/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See secure.h. */
#include "workers/path/secure.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "workers/path/mesh.h"

#define ALPN SLICE("\x02h2\x08http/1.1")

/* ---- sides ---- */

static struct tls_leaf leaf_of(const struct certs *c, const struct certs_leaf *l, unsigned set)
{
	struct tls_leaf leaf = { .n = l->chain_n, .key = l->key, .set = set };

	for (uint32_t i = 0; i < l->chain_n && i < TLS_CHAIN; i++)
		leaf.der[i] = certs_bytes(c, l->chain[i]);
	return leaf;
}

/* The certificates that a listener shows: of its files, each for its names, or of its identity, which has
 * two. */
static unsigned find_leaves(const struct certs *c, const struct knobs_listener *k,
			    struct tls_leaf leaf[TLS_LEAVES], int64_t *ret_ends_s)
{
	const bool by_identity = k->tls_identity[0];
	const struct certs_identity *i = by_identity ? certs_identity_of(c, k->tls_ns, k->tls_account) : NULL;
	unsigned n = 0;

	static_must(CERTS_PAIRS <= TLS_LEAVES && countof(i->leaf) <= TLS_LEAVES);
	*ret_ends_s = INT64_MAX;
	for (unsigned l = 0; i && l < i->leaves; l++) {
		leaf[n++] = leaf_of(c, &i->leaf[l], 0);
		*ret_ends_s = min_of(*ret_ends_s, i->leaf[l].to_unix_s);
	}
	for (unsigned l = 0; !by_identity && l < CERTS_PAIRS; l++) {
		const struct certs_entry *e = certs_nth(c, k->name, l);

		if (e == NULL)
			continue;
		leaf[n++] = leaf_of(c, &e->leaf, l);
		*ret_ends_s = min_of(*ret_ends_s, e->leaf.to_unix_s);
	}
	return n;
}

/* Whom it trusts, counted; 0, also with none, or -EINVAL. */
static int find_trust(struct path *p, const struct knobs_listener *k, struct tls_trust **ret)
{
	const struct certs_entry *e = certs_of(p->certs, k->name);
	const char *why = "";

	if (k->tls_client == TLS_CLIENT_OFF)
		return 0;
	if (k->tls_client_trust == TLS_TRUST_MESH) {
		*ret = p->mesh;
		if (p->mesh)
			tls_trust_ref(p->mesh);
		return p->mesh ? 0 : -EINVAL;
	}
	return e && e->client_ca.n ? tls_trust_new(certs_bytes(p->certs, e->client_ca), ret, &why) : -EINVAL;
}

/* Tickets belong to an identity, whichever of its listeners gave them; those of files to the listener. */
static int make_side(struct gate *g, const struct knobs_listener *k)
{
	struct tls_leaf leaf[TLS_LEAVES];
	struct tls_terms t = { .server = true, .tls12 = k->tls_min_version == TLS_MIN_1_2,
			       .optional = k->tls_client == TLS_CLIENT_OPTIONAL, .leaf = leaf, .alpn = ALPN,
			       .context = slice_str(k->tls_identity[0] ? k->tls_identity : k->name) };
	int r;

	t.leaves = find_leaves(g->path->certs, k, leaf, &t.ends_unix_s);
	if (t.leaves == 0)
		return 0;	/* not yet */
	r = find_trust(g->path, k, &t.trust);
	if (r == 0)
		r = tls_side_new(&g->path->tls, &t, &g->side);
	if (t.trust)
		tls_trust_unref(&t.trust);
	return r;
}

/* Without certificates, or with such as cannot be used, callers wait, until their time is up. */
void secure_gate(struct gate *g, const struct knobs_listener *k)
{
	if (g->side)
		tls_side_unref(&g->side);
	if (k->tls == TLS_TERMINATE && g->path->certs && make_side(g, k) < 0)
		log_limited(LOG_ERROR, "certificate_not_used", "listener=%s", k->name);
}

/* at start */
int secure_init(struct path *p)
{
	wraps_init(&p->wraps);
	/* of callers, and of endpoints */
	return tls_stock_init(&p->tls, (uint32_t)p->knobs->max_conns + BOARD_CLAIMS);
}

void secure_fini(struct path *p)
{
	mesh_fini(p);
	wraps_fini(&p->wraps);
	tls_stock_fini(&p->tls);
}

static void wake_one(struct conn *c)
{
	if (c->state == CONN_HELLO)
		conn_wake(c);
}

static bool same_bytes(const struct certs *a, struct certs_span x, const struct certs *b, struct certs_span y)
{
	return slice_eq(certs_bytes(a, x), certs_bytes(b, y));
}

static bool same_leaves(const struct tls_leaf *a, const struct tls_leaf *b, unsigned n)
{
	for (unsigned l = 0; l < n; l++) {
		if (a[l].key != b[l].key || a[l].n != b[l].n || a[l].set != b[l].set)
			return false;
		for (unsigned i = 0; i < a[l].n; i++)
			if (!slice_eq(a[l].der[i], b[l].der[i]))
				return false;
	}
	return true;
}

/* Whether a listener would be the same by both: most changes are of somebody else's certificate. */
static bool is_same(const struct certs *a, const struct certs *b, const struct knobs_listener *k, bool same_mesh)
{
	struct tls_leaf leaf[2][TLS_LEAVES];
	const struct certs_entry *x = certs_of(a, k->name), *y = certs_of(b, k->name);
	int64_t ends[2];
	unsigned n = find_leaves(a, k, leaf[0], &ends[0]);

	if (n == 0 || n != find_leaves(b, k, leaf[1], &ends[1]) || !same_leaves(leaf[0], leaf[1], n))
		return false;
	if (k->tls_client == TLS_CLIENT_OFF)
		return true;
	if (k->tls_client_trust == TLS_TRUST_MESH)
		return same_mesh;
	return x && y && same_bytes(a, x->client_ca, b, y->client_ca);
}

void path_certs(struct path *p, const struct certs *certs)
{
	const struct certs *was = p->certs;
	bool same_mesh = was && mesh_is_same(was, certs);

	p->certs = certs;
	if (!same_mesh)
		mesh_renew(p);
	for (uint32_t i = 0; i < p->knobs->n_listeners; i++) {
		const struct knobs_listener *k = &p->knobs->listener[i];
		struct gate *g = p->gate[i];

		if (g->side == NULL || !was || !is_same(was, certs, k, same_mesh))
			secure_gate(g, k);
	}
	path_each_conn(p, wake_one);
}

void path_signed(struct path *p, uint64_t cookie, struct slice signature)
{
	struct tls *t = tls_find(&p->tls, (struct slot_ref){ (uint32_t)(cookie >> 32), (uint32_t)cookie });
	struct conn *c;

	if (t == NULL)
		return;		/* the caller has gone meanwhile */
	tls_signed(t, signature);
	c = slab_at(&p->conns, tls_owner(t));
	if (c && c->state == CONN_SHAKE)
		conn_wake(c);
}

/* ---- steps ---- */

static enum reason reason_of(enum tls_fault f)
{
	static const uint8_t reasons[TLS_FAULTS] = {
#define FAULT(name, words) [TLS_FAULT_##name] = REASON_TLS_##name,
#define REASON_TLS_NONE REASON_OUR_BUG
#include "nodeproxy/lib/net/tls_faults.def"
#undef REASON_TLS_NONE
#undef FAULT
	};

	return (enum reason)reasons[f];
}

static bool waits(struct conn *c, unsigned bits)
{
	c->front.want |= (uint8_t)bits;
	return false;
}

/* A handshake costs as much as hundreds of requests: a tenant may begin so many. */
static bool may_shake(struct conn *c)
{
	struct tenant *t = c->tenant;
	uint32_t rate = (uint32_t)c->path->knobs->tenant_handshakes;

	if (t->handshakes.rate != rate)
		t->handshakes = ratelimit_of(rate, max_of(rate, 8u));
	return ratelimit_take(&t->handshakes, clock_now());
}

static bool failed(struct conn *c, enum reason why)
{
	board_add(&c->gate->board->c[LC_tls_failed], 1);
	conn_end(c, why, CONN_EV_GONE);		/* the alert shall arrive, not a reset */
	return false;
}

bool secure_hello(struct conn *c)
{
	struct path *p = c->path;
	struct gate *g = c->gate;
	struct stream over;

	if (c->expired)
		return failed(c, g->side ? REASON_TLS_SLOW : REASON_TLS_NO_SIGNATURE);
	if (!(c->front.ready & READY_IN) && c->front.in == NULL)
		return waits(c, READY_IN);
	if (g->side == NULL)
		return false;	/* path_certs() wakes it */
	if (!may_shake(c)) {
		conn_end(c, REASON_OVER_HANDSHAKES, CONN_EV_CUT);
		return false;
	}
	if (g->terms.route == LISTEN_ORIGINAL && c->dialled.family == 0 &&
	    tcp_world->dialled(&c->front.s, &c->dialled) < 0)
		c->dialled.family = 0;	/* nothing to be known: as without TLS */
	if (tls_new(&p->tls, g->side, &c->tenant->memory, slab_ref(&p->conns, c), &c->front.s, &over) < 0) {
		conn_end(c, REASON_TLS_NO_MEMORY, CONN_EV_CUT);
		return false;
	}
	c->front.s = over;
	/* what came behind the PROXY header */
	if (c->front.in) {
		int r = tls_feed(&c->front.s, leg_waiting(&c->front));

		leg_used(&c->front, conn_purse(c), leg_waiting(&c->front).n);
		if (r < 0) {
			conn_end(c, REASON_TLS_NO_MEMORY, CONN_EV_CUT);
			return false;
		}
	}
	conn_event(c, CONN_EV_SHAKE);
	return true;
}

bool secure_shake(struct conn *c)
{
	struct leg *f = &c->front;

	if (c->expired)
		return failed(c, tls_waits_for_key(&f->s) ? REASON_KEYD_SILENT : REASON_TLS_SLOW);
	switch (tls_handshake(&f->s)) {
	case TLS_DONE:
		break;
	case TLS_IN:
		f->ready &= (uint8_t)~READY_IN;
		return waits(c, READY_IN);
	case TLS_OUT:
		f->ready &= (uint8_t)~READY_OUT;
		return waits(c, READY_OUT);
	case TLS_KEY:
		return false;		/* path_signed() wakes it */
	case TLS_FAILED:
		return failed(c, reason_of(tls_why(&f->s)));
	}
	board_add(&c->gate->board->c[LC_tls_handshakes], 1);
	board_add(&c->gate->board->c[LC_tls_resumed], tls_is_resumed(&f->s));
	f->ready |= READY_IN;	/* a request may have come with the last flight */
	wheel_clear(&c->path->wheel, &c->deadline);
	conn_event(c, CONN_EV_SECURED);
	return true;
}

const struct stream *secure_stream(const struct conn *c)
{
	const struct conn *at = c->is_stream ? slab_at(&c->path->conns, c->outer) : c;

	return c->secure && at && at->front.s.ops && at->state != CONN_HELLO ? &at->front.s : NULL;
}
