/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See wrap.h. */
#include "workers/path/wrap.h"

#include <errno.h>

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/poll.h"
#include "workers/path/path.h"

void wraps_init(struct wraps *w)
{
	*w = (struct wraps){ .roots = FD_NONE };
}

static void drop(struct wrap *w)
{
	if (w->side)
		tls_side_unref(&w->side);
	*w = (struct wrap){ 0 };
}

void wraps_fini(struct wraps *ws)
{
	for (unsigned i = 0; i < WRAPS; i++)
		drop(&ws->at[i]);
	if (ws->host)
		tls_trust_unref(&ws->host);
	fd_close(&ws->roots);
}

/* ---- whom to trust ---- */

void wraps_roots(struct path *p, struct fd *fd)
{
	struct wraps *ws = &p->wraps;

	for (unsigned i = 0; i < WRAPS; i++)
		if (ws->at[i].trusts_host)
			drop(&ws->at[i]);
	if (ws->host)
		tls_trust_unref(&ws->host);
	fd_close(&ws->roots);
	ws->roots = fd_take(fd);
}

/* Seldom, and only where somebody asks for it: what it takes, ten milliseconds and a megabyte, is not
 * taken on hosts that have no use for it. */
static int trust_host(struct wraps *ws, struct tls_trust **ret, const char **why)
{
	int r = 0;

	*why = "system_ca is not there";
	if (ws->host == NULL) {
		r = fd_is_open(ws->roots) ? tls_trust_of_file(ws->roots, &ws->host, why) : -ENOENT;
		fd_close(&ws->roots);
	}
	if (r == 0)
		tls_trust_ref(*ret = ws->host);
	return r;
}

static int trust_cas(const struct vport *port, const struct vtls *v, struct tls_trust **ret, const char **why)
{
	struct slice ca[VTLS_CAS];

	*why = "it trusts nobody";
	if (v->cas == 0)
		return -ENOENT;
	for (uint32_t i = 0; i < v->cas; i++)
		ca[i] = vport_tls_ca(port, i);
	return tls_trust_of(ca, v->cas, ret, why);
}

/* ---- sides ---- */

static const char *text_of(struct slice s, char out[TLS_NAME])
{
	size_t n = min_of(s.n, (size_t)TLS_NAME - 1);

	if (n)
		memcpy(out, s.p, n);
	out[n] = 0;
	return out;
}

static int make_side(struct path *p, const struct vport *port, const struct vtls *v, struct tls_side **ret,
		     const char **why)
{
	char host[TLS_NAME], text[TLS_NAMES][TLS_NAME];
	struct tls_name name[TLS_NAMES];
	struct tls_terms t = { .tls12 = true, .rule = v->names ? TLS_RULE_NAMES : TLS_RULE_HOST,
			       .name = text_of(v->host, host), .names = name, .n_names = v->names };
	int r;

	static_must(VTLS_NAMES <= TLS_NAMES);
	for (uint32_t i = 0; i < v->names; i++)
		name[i].text = text_of(vport_tls_name(port, i, &name[i].is_uri), text[i]);
	r = v->trusts_host ? trust_host(&p->wraps, &t.trust, why) : trust_cas(port, v, &t.trust, why);
	if (r < 0)
		return r;
	*why = "no memory";
	r = tls_side_new(&p->tls, &t, ret);
	tls_trust_unref(&t.trust);
	return r;
}

static void make(struct path *p, const struct vport *port, const struct vtls *v, struct wrap *w)
{
	struct slice ns = vservice_ns(&port->service);
	const char *why = "";
	int r;

	drop(w);
	memcpy(w->id, v->id, sizeof w->id);
	w->trusts_host = v->trusts_host;
	/* Where it lies can be told from it. */
	w->number = ++p->wraps.made * WRAPS + (uint32_t)(w - p->wraps.at);
	r = make_side(p, port, v, &w->side, &why);
	if (r < 0)
		log_limited(LOG_ERROR, "backend_tls_not_used", "policy=%.*s/%.*s error=\"%s\"", (int)ns.n,
			    (const char *)ns.p, (int)v->name.n, (const char *)v->name.p, why);
	if (r == -ENOMEM)
		w->number = 0;		/* the next request tries again */
}

uint32_t wrap_find(struct path *p, const struct vport *port)
{
	struct wrap *set, *oldest;
	struct vtls v;

	if (!vport_tls(port, &v))
		return 0;
	oldest = set = &p->wraps.at[v.id[0] % (WRAPS / WRAP_WAY) * WRAP_WAY];
	for (unsigned i = 0; i < WRAP_WAY; i++) {
		struct wrap *w = &set[i];

		if (likely(w->number && w->id[0] == v.id[0] && w->id[1] == v.id[1])) {
			w->used = clock_now();
			return w->side ? w->number : 0;
		}
		if (w->number == 0 || (oldest->number && w->used.ns < oldest->used.ns))
			oldest = w;
	}
	make(p, port, &v, oldest);
	oldest->used = clock_now();
	return oldest->side ? oldest->number : 0;
}

/* ---- streams ---- */

int wrap_begin(struct path *p, const struct back_key *key, struct tenant *t, enum wrap_speaks speaks,
	       struct stream *s)
{
	static const struct slice alpn[] = { [WRAP_OPAQUE] = { NULL, 0 }, [WRAP_HTTP1] = SLICE("\x08http/1.1"),
					     [WRAP_HTTP2] = SLICE("\x02h2") };
	const struct wrap *w = &p->wraps.at[key->tls % WRAPS];
	struct slice who = slice_of(&key->addr, sizeof key->addr);
	struct stream below = *s, over;

	if (w->number != key->tls || w->side == NULL)
		return -ESTALE;
	if (tls_new(&p->tls, w->side, &t->memory, SLOT_NONE, &below, &over) < 0)
		return -ENOMEM;
	*s = over;
	return tls_client(s, alpn[speaks], hash_slice(who) | 1);
}

bool wrap_is_on(const struct stream *s)
{
	return tls_is(s);
}

int wrap_errno(const struct stream *s)
{
	switch (tls_why(s)) {
	case TLS_FAULT_NO_CERTIFICATE: case TLS_FAULT_BAD_CERTIFICATE: case TLS_FAULT_UNKNOWN_ROOT:
	case TLS_FAULT_WRONG_USAGE: case TLS_FAULT_WRONG_TRUST_DOMAIN:
		return -EKEYREJECTED;
	case TLS_FAULT_REVOKED:
		return -EKEYREVOKED;
	case TLS_FAULT_EXPIRED: case TLS_FAULT_NOT_YET_VALID:
		return -EKEYEXPIRED;
	case TLS_FAULT_WRONG_NAME:
		return -ENOKEY;
	case TLS_FAULT_NO_MEMORY:
		return -ENOMEM;
	default:
		return -EBADE;
	}
}

int wrap_shake(struct stream *s, uint8_t *ready, uint8_t *want)
{
	switch (tls_handshake(s)) {
	case TLS_DONE:
		*ready |= READY_IN;	/* something may have come with the last flight */
		return 1;
	case TLS_IN:
		*ready &= (uint8_t)~READY_IN;
		*want |= READY_IN;
		return 0;
	case TLS_OUT:
		*ready &= (uint8_t)~READY_OUT;
		*want |= READY_OUT;
		return 0;
	case TLS_KEY:			/* these sides have none */
	case TLS_FAILED:
		break;
	}
	return wrap_errno(s);
}
