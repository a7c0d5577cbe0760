/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See peek.h. */
#include "workers/path/peek.h"

#include <errno.h>

#include "nodeproxy/lib/net/tls_hello.h"

/* Of a ClientHello of TLS_HELLO_MAX in records of a reasonable number. */
#define PEEK_MAX (TLS_HELLO_MAX + 4096u)

static enum step waits(struct exchange *ex)
{
	struct conn *c = ex->conn;

	if (!ex->peeks)
		conn_deadline_ms(c, c->path->knobs->handshake_ms);
	ex->peeks = true;
	c->front.want |= READY_IN;
	return WAIT;
}

static enum step found(struct exchange *ex, const struct tls_hello *h, char path[SERVER_NAME_PATH],
		       struct slice *ret)
{
	struct conn *c = ex->conn;
	int n;

	if (h->server_name.n == 0)
		return end(ex, REASON_NO_SERVER_NAME);
	ex->server_name = exchange_text(ex, h->server_name);
	n = server_name_path(h->server_name, false, path);
	if (n < 0)
		return end(ex, REASON_NO_TLS_ROUTE);
	if (ex->peeks)
		wheel_clear(&c->path->wheel, &c->deadline);
	*ret = slice_of(path, (size_t)n);
	return NEXT;
}

enum step peek_server_name(struct exchange *ex, char path[SERVER_NAME_PATH], struct slice *ret)
{
	struct conn *c = ex->conn;
	struct leg *f = &c->front;
	struct tls_hello h;
	ssize_t n;
	int r;

	static_must(sizeof c->path->scratch >= TLS_HELLO_MAX);
	if (ex->is_http)
		return end(ex, REASON_TLS_NOT_TLS);
	if (ex->peeks && c->expired)
		return end(ex, REASON_TLS_SLOW);
	for (;;) {
		r = f->in ? tls_hello(leg_waiting(f), c->path->scratch, &h) : 0;
		if (r == 1)
			return found(ex, &h, path, ret);
		if (r < 0)
			return end(ex, REASON_TLS_NOT_TLS);
		n = leg_read_more(f, conn_purse(c), PEEK_MAX);
		if (n == -EAGAIN)
			return waits(ex);
		if (n <= 0)
			return end(ex, n == 0 ? REASON_TLS_CLOSED :
				       n == -ENOBUFS ? REASON_OVER_BUDGET :
				       n == -EMSGSIZE ? REASON_TLS_NOT_TLS : REASON_FRONT_CUT);
		sched_charge(&c->path->sched, (size_t)n);
	}
}
