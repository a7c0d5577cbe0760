/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See secure.h. */
#include "workers/path/secure.h"

#include "nodeproxy/lib/base/log.h"

#define ALPN SLICE("\x02h2\x08http/1.1")

/* ---- sides ---- */

static int make_side(struct gate *g, const struct certs_entry *e)
{
	const struct certs *c = g->path->certs;
	const struct knobs_listener *k = &g->knobs;
	struct tls_leaf leaf = { .n = e->leaf.chain_n, .key = e->leaf.key };
	struct tls_terms t = { .server = true, .tls12 = k->tls_min_version == TLS_MIN_1_2,
			       .optional = k->tls_client == TLS_CLIENT_OPTIONAL, .leaf = &leaf,
			       .leaves = 1, .alpn = ALPN, .context = slice_str(k->name) };
	const char *why = "";
	int r = 0;

	for (uint32_t i = 0; i < e->leaf.chain_n && i < TLS_CHAIN; i++)
		leaf.der[i] = certs_bytes(c, e->leaf.chain[i]);
	if (k->tls_client != TLS_CLIENT_OFF)
		r = e->client_ca.n ? tls_trust_new(certs_bytes(c, e->client_ca), &t.trust, &why) : -1;
	if (r == 0)
		r = tls_side_new(&g->path->tls, &t, &g->side);
	if (t.trust)
		tls_trust_unref(&t.trust);
	return r;
}

/* Without certificates, or with such as cannot be used, callers wait, until their time is up. */
void secure_gate(struct gate *g)
{
	const struct certs *c = g->path->certs;
	const struct certs_entry *e = c ? certs_of(c, g->knobs.name) : NULL;

	if (g->side)
		tls_side_unref(&g->side);
	if (g->knobs.tls == TLS_TERMINATE && e && make_side(g, e) < 0)
		log_limited(LOG_ERROR, "certificate_not_used", "listener=%s", g->knobs.name);
}

/* at start */
int secure_init(struct path *p)
{
	return tls_stock_init(&p->tls, (uint32_t)p->knobs->max_conns);
}

void secure_fini(struct path *p)
{
	tls_stock_fini(&p->tls);
}

static void wake_one(struct conn *c)
{
	if (c->state == CONN_HELLO)
		conn_wake(c);
}

void path_certs(struct path *p, const struct certs *certs)
{
	p->certs = certs;
	for (uint32_t i = 0; i < p->knobs->n_listeners; i++)
		secure_gate(p->gate[i]);
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
	if (g->knobs.route == LISTEN_ORIGINAL && c->dialled.family == 0 &&
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
