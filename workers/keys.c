/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keys.h. */
#include "workers/keys.h"

#include <errno.h>
#include <string.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"

static_must(TLS_SIGN_MAX == MSG_SIGN_BYTES && TLS_SIG_MAX == MSG_SIGNED_BYTES);
static_must(sizeof(struct tls_ticket_key) == sizeof(((struct msg_ticket_keys *)0)->now));

/* No line: it is asked when there is one.  A full one is not waited for: whoever can fill it does not
 * read its answers. */
static int ask(void *arg, struct slot_ref who, const struct tls_job *j)
{
	struct keys *k = arg;
	struct msg_sign m = { .cookie = (uint64_t)who.slot << 32 | who.gen, .key = j->key,
			      .algorithm = j->algorithm, .n = j->n };

	if (!k->has_line)
		return 0;
	memcpy(m.bytes, j->in, j->n);
	return chan_send(&k->chan, MSG_SIGN_WANT, &m, (struct slice){ 0 }, NULL, 0) == -ENOBUFS ? -ENOBUFS : 0;
}

static void signed_here(struct keys *k, const struct msg_signed *m)
{
	struct slice sig = slice_of(m->bytes, m->n <= sizeof m->bytes ? m->n : 0);

	if (m->refusal) {
		board_add(&k->path->mine->c[WC_signatures_refused], 1);
		log_limited(LOG_WARN, "signature_refused", "refusal=%u", m->refusal);
		sig.n = 0;
	}
	path_signed(k->path, m->cookie, sig);
}

static void line_cb(void *arg)
{
	struct keys *k = arg;
	const struct msg *m;
	int r;

	clock_tick();
	while ((r = chan_recv(&k->chan, &m)) != 0) {
		if (r == 1 && m->type == MSG_SIGN_HERE) {
			signed_here(k, m->p);
		} else if (r == 1 && m->type == MSG_TICKET_KEYS) {
			const struct msg_ticket_keys *t = m->p;

			memcpy(&k->path->tls.now, t->now, sizeof t->now);
			memcpy(&k->path->tls.before, t->before, sizeof t->before);
		} else if (r < 0 && r != -EAGAIN) {
			log_limited(LOG_WARN, "key_line_lost", "error=\"%s\"", strerror(-r));
			chan_fini(&k->chan);
			k->has_line = false;
			k->lost = true;
			return;
		}
	}
}

void keys_init(struct keys *k, struct path *p, struct loop *l)
{
	*k = (struct keys){ .path = p, .loop = l };
	p->tls.ask = ask;
	p->tls.arg = k;
}

void keys_line(struct keys *k, struct fd *fd)
{
	if (k->has_line)
		chan_fini(&k->chan);
	chan_init(&k->chan, fd, ROLE_WORKER, ROLE_KEYD);
	k->has_line = true;
	k->lost = false;
	chan_watch(&k->chan, k->loop, line_cb, k);
	tls_ask_again(&k->path->tls);
}

int keys_certs(struct keys *k, uint64_t serial, struct fd fd)
{
	struct slice was = k->certs, now;
	int r = memfd_map_sealed(fd, CERTS_BYTES, &now);

	if (r == 0 && (r = certs_check(now)) < 0)
		memfd_unmap(&now);
	if (r < 0)
		return r;
	k->certs = now;
	k->serial = serial;
	path_certs(k->path, (const struct certs *)(const void *)now.p);
	memfd_unmap(&was);
	return 0;
}

void keys_leave(struct keys *k)
{
	struct msg_empty none = { 0 };

	if (k->has_line)
		(void)chan_say(&k->chan, MSG_KEY_LEAVE, &none);
}

void keys_fini(struct keys *k)
{
	keys_leave(k);
	if (k->has_line)
		chan_fini(&k->chan);
	k->has_line = false;
}
