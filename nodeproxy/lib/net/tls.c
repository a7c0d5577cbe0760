/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See tls.h: the connection.
 *
 * BoringSSL reads and writes by a BIO that never waits.  Ciphertext is read from below in pieces as
 * large as the caller's room, so that what comes out of it fits there, into scratch; a part of a record
 * goes on into BoringSSL's own buffer, which it has only while it needs one.  What is written is
 * gathered in scratch, up to TLS_BURST records, and goes out in one call. */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pool.h>

#include "nodeproxy/lib/net/tls_inner.h"

#define CHARGE_STEP 4096u	/* budgets are asked seldom */

/* ---- memory ---- */

/* What a call took or gave is this connection's, and so is the record that has come in part: BoringSSL
 * keeps that in memory which it does not ask our functions for. */
static void account(struct tls *t, int64_t before)
{
	int64_t bytes = (int64_t)t->bytes + tls_heap_now - before;
	uint64_t holds;

	t->bytes = (uint64_t)max_of(bytes, (int64_t)0);
	holds = t->bytes + (t->record_have > TLS_HEADER && t->record_have < t->record ? t->record : 0);
	if (holds > t->charged) {
		uint64_t more = (holds - t->charged + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;

		if (budget_charge(t->memory, more) < 0) {
			t->state = TLS_BROKEN;
			t->fault = TLS_FAULT_NO_MEMORY;
			return;
		}
		t->charged += more;
	} else if (t->charged - holds >= 2 * CHARGE_STEP) {
		uint64_t less = (t->charged - holds) / CHARGE_STEP * CHARGE_STEP;

		budget_return(t->memory, less);
		t->charged -= less;
	}
}

/* ---- the BIO ---- */

static int bio_read(BIO *b, char *out, int room)
{
	struct tls *t = BIO_get_data(b);
	struct tls_stock *s = t->side->stock;
	ssize_t n;

	BIO_clear_retry_flags(b);
	if (room <= 0)
		return 0;
	if (t->in_n == 0 && !t->dry && !t->cut && t->below_error == 0) {
		size_t ask = min_of(t->ask, (size_t)TLS_SCRATCH);

		n = t->below.ops->read(&t->below, s->in, ask);
		if (n > 0) {
			t->in_p = s->in;
			t->in_n = (size_t)n;
			/* One call saved per read; not in a handshake, which nobody calls again for
			 * an end that has been told. */
			t->dry = (size_t)n < ask && t->state == TLS_OPEN &&
				 !(t->below.ops->more && t->below.ops->more(&t->below));
		} else if (n == 0) {
			t->cut = true;
		} else if (n == -EAGAIN) {
			t->dry = true;
		} else {
			t->below_error = (int)n;
		}
	}
	if (t->in_n == 0) {
		if (t->cut)
			return 0;
		if (t->below_error == 0)
			BIO_set_retry_read(b);
		return -1;
	}
	n = (ssize_t)min_of(t->in_n, (size_t)room);
	memcpy(out, t->in_p, (size_t)n);
	/* It asks for a header, then for just the rest of that record. */
	if (t->record_have >= t->record) {
		if (t->record_have == TLS_HEADER) {
			t->record = TLS_HEADER + (uint32_t)room;
		} else {
			t->record = TLS_HEADER;
			t->record_have = 0;
		}
	}
	if (t->record_have == 0)
		t->type = (uint8_t)out[0];
	t->record_have += (uint32_t)n;
	t->in_p += n;
	t->in_n -= (size_t)n;
	if (t->in_n == 0 && t->kept) {
		OPENSSL_free(t->kept);
		t->kept = NULL;
	}
	return (int)n;
}

/* Behind what waits. */
static bool add_out(struct tls *t, const uint8_t *p, size_t n)
{
	size_t waits = t->out_n - t->out_at;
	uint8_t *more = OPENSSL_malloc(waits + n);

	if (more == NULL)
		return false;
	if (waits)
		memcpy(more, t->out + t->out_at, waits);
	memcpy(more + waits, p, n);
	OPENSSL_free(t->out);
	t->out = more;
	t->out_at = 0;
	t->out_n = (uint32_t)(waits + n);
	return true;
}

static int bio_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	if (n <= 0)
		return 0;
	if (t->out || (size_t)n > TLS_SCRATCH - t->scratch_n) {
		/* seldom: an alert while something waits, a flight with large tickets */
		if (t->scratch_n && !add_out(t, t->side->stock->out, t->scratch_n))
			return -1;
		t->scratch_n = 0;
		return add_out(t, (const uint8_t *)p, (size_t)n) ? n : -1;
	}
	memcpy(t->side->stock->out + t->scratch_n, p, (size_t)n);
	t->scratch_n += (uint32_t)n;
	return n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static const BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *m;

	if (m == NULL && (m = BIO_meth_new(BIO_get_new_index(), "nodeproxy")) != NULL) {
		BIO_meth_set_read(m, bio_read);
		BIO_meth_set_write(m, bio_write);
		BIO_meth_set_ctrl(m, bio_ctrl);
	}
	return m;
}

/* ---- calls ---- */

/* What was read and not used waits here until the next call. */
static void keep_rest(struct tls *t)
{
	uint8_t *k;

	if (t->in_n == 0)
		return;
	if (t->kept && t->in_p == t->kept)
		return;
	k = OPENSSL_malloc(t->in_n);
	if (k == NULL) {
		t->state = TLS_BROKEN;
		t->fault = TLS_FAULT_NO_MEMORY;
		t->in_n = 0;
		return;
	}
	memcpy(k, t->in_p, t->in_n);
	OPENSSL_free(t->kept);
	t->kept = k;
	t->in_p = k;
}

int64_t tls_begin(struct tls *t, size_t ask)
{
	t->dry = false;
	t->ask = ask;
	t->scratch_n = 0;
	ERR_clear_error();
	return tls_heap_now;
}

void tls_end(struct tls *t, int64_t before)
{
	keep_rest(t);
	account(t, before);
	ERR_clear_error();
}

int tls_flush(struct tls *t)
{
	struct tls_stock *s = t->side->stock;

	for (;;) {
		bool waiting = t->out_n > t->out_at;
		uint8_t *p = waiting ? t->out + t->out_at : s->out;
		uint32_t n = waiting ? t->out_n - t->out_at : t->scratch_n;
		struct iovec v = { p, n };
		ssize_t k;

		if (n == 0)
			return 0;
		k = t->below_error < 0 ? t->below_error : t->below.ops->write(&t->below, &v, 1);
		if (k < 0 && k != -EAGAIN) {
			t->below_error = (int)k;
			t->scratch_n = 0;
			return (int)k;
		}
		k = max_of(k, (ssize_t)0);
		if (waiting) {
			t->out_at += (uint32_t)k;
			if (t->out_at == t->out_n) {
				OPENSSL_free(t->out);
				t->out = NULL;
				t->out_at = t->out_n = 0;
				continue;
			}
			return -EAGAIN;
		}
		t->scratch_n = 0;
		if ((uint32_t)k == n)
			return 0;
		if (add_out(t, p + k, n - (uint32_t)k))
			return -EAGAIN;
		t->state = TLS_BROKEN;
		t->fault = TLS_FAULT_NO_MEMORY;
		t->below_error = -ENOMEM;
		return -ENOMEM;
	}
}

/* ---- the stream ---- */

static ssize_t tls_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct tls *t = s->tls;
	size_t got = 0;
	int64_t before;

	if (t->state != TLS_OPEN)
		return t->state == TLS_SHAKES ? -EAGAIN : tls_errno(t);
	if (t->ended)
		return 0;
	before = tls_begin(t, room);
	while (got < room) {
		int r = SSL_read(t->ssl, buf + got, (int)min_of(room - got, (size_t)1 << 30)), e;

		if (r > 0) {
			got += (size_t)r;
			continue;
		}
		e = SSL_get_error(t->ssl, r);
		if (e == SSL_ERROR_WANT_READ)
			break;
		if (e == SSL_ERROR_ZERO_RETURN)
			t->ended = true;
		else
			tls_broke(t, e);
		break;
	}
	if (t->scratch_n)	/* an alert, or an answer to a change of keys */
		(void)tls_flush(t);
	tls_end(t, before);
	if (got)
		return (ssize_t)got;
	if (t->ended)
		return 0;
	return t->state == TLS_OPEN ? -EAGAIN : tls_errno(t);
}

static bool tls_more(struct stream *s)
{
	const struct tls *t = s->tls;

	return t->ended || t->cut || t->below_error || t->state == TLS_BROKEN || t->in_n;
}

/* The next record's plaintext: where it lies, or gathered.  *at counts bytes of all iovecs. */
static size_t next_record(struct tls *t, const struct iovec *v, int n, size_t at, const uint8_t **ret)
{
	uint8_t *plain = t->side->stock->plain;
	size_t k = 0;

	for (int i = 0; i < n; i++) {
		size_t len = v[i].iov_len, take;

		if (at >= len) {
			at -= len;
			continue;
		}
		take = min_of(len - at, (size_t)TLS_RECORD - k);
		if (k == 0 && (take == TLS_RECORD || i + 1 == n)) {
			*ret = (const uint8_t *)v[i].iov_base + at;
			return take;
		}
		memcpy(plain + k, (const uint8_t *)v[i].iov_base + at, take);
		k += take;
		at = 0;
		if (k == TLS_RECORD)
			break;
	}
	*ret = plain;
	return k;
}

/* Makes records of what is behind the first *at bytes. */
static int encrypt(struct tls *t, const struct iovec *v, int n, size_t *at)
{
	for (unsigned i = 0; i < TLS_BURST; i++) {
		const uint8_t *p;
		size_t k = next_record(t, v, n, *at, &p);
		int r;

		if (k == 0)
			return 0;
		r = SSL_write(t->ssl, p, (int)k);
		if (r != (int)k) {
			tls_broke(t, SSL_get_error(t->ssl, r));
			return tls_errno(t);
		}
		*at += k;
	}
	return 0;
}

/* While ciphertext waits the last byte that it is of is not taken: so that the caller comes again when
 * there is room, without bytes of its own in two places. */
static ssize_t tls_write(struct stream *s, const struct iovec *v, int n)
{
	struct tls *t = s->tls;
	int64_t before;
	size_t at;
	int r;

	if (t->state != TLS_OPEN || t->said_end)
		return t->state == TLS_SHAKES ? -EAGAIN : t->said_end ? -EPIPE : tls_errno(t);
	before = tls_begin(t, 0);
	r = tls_flush(t);
	if (r == 0) {
		at = t->owes;		/* that byte comes first, and is out */
		t->owes = false;
		r = encrypt(t, v, n, &at);
		if (r == 0)
			r = tls_flush(t);
		if (r == -EAGAIN && at) {
			t->owes = true;
			at--;
		}
		if (at && (r == 0 || r == -EAGAIN))
			r = (int)at;
	}
	tls_end(t, before);
	return r;
}

static int tls_finish(struct stream *s)
{
	struct tls *t = s->tls;
	int64_t before;
	int r;

	if (t->state == TLS_BROKEN)
		return tls_errno(t);
	before = tls_begin(t, 0);
	if (!t->said_end && t->state == TLS_OPEN) {
		(void)SSL_shutdown(t->ssl);
		t->said_end = true;
	}
	r = tls_flush(t);
	tls_end(t, before);
	return r < 0 ? r : t->below.ops->finish(&t->below);
}

static int tls_error(struct stream *s)
{
	struct tls *t = s->tls;

	return t->state == TLS_BROKEN ? tls_errno(t) : t->below.ops->error(&t->below);
}

static void tls_free(struct tls *t)
{
	struct tls_side *side = t->side;

	SSL_free(t->ssl);
	OPENSSL_free(t->job);
	OPENSSL_free(t->kept);
	OPENSSL_free(t->out);
	OPENSSL_free(t->peer);
	OPENSSL_free(t->element);
	budget_return(t->memory, t->charged);
	t->magic = 0;
	slab_give(&side->stock->conns, t);
	tls_side_unref(&side);
}

static void tls_close(struct stream *s, bool abort)
{
	struct tls *t = s->tls;

	if (!abort && t->state == TLS_OPEN && !t->said_end) {
		(void)tls_begin(t, 0);
		(void)SSL_shutdown(t->ssl);
		(void)tls_flush(t);
	}
	stream_close(&t->below, abort);
	ERR_clear_error();
	tls_free(t);
}

static const struct stream_ops tls_ops = {
	.name = "tls", .read = tls_read, .more = tls_more, .write = tls_write, .finish = tls_finish,
	.error = tls_error, .close = tls_close,
};

/* ---- birth, and what is known ---- */

int tls_new(struct tls_stock *stock, struct tls_side *side, struct budget *memory,
	    struct slot_ref owner, struct stream *below, struct stream *ret)
{
	struct tls *t = slab_take(&stock->conns, NULL);
	int64_t before = tls_heap_now;
	BIO *b;

	if (t == NULL)
		return -ENOMEM;
	t->magic = TLS_MAGIC;
	t->side = side;
	t->memory = memory;
	t->owner = owner;
	t->ssl = SSL_new(side->ctx);
	b = t->ssl ? BIO_new(bio_method()) : NULL;
	if (b) {
		BIO_set_data(b, t);
		BIO_set_init(b, 1);
		SSL_set_bio(t->ssl, b, b);
		SSL_set_app_data(t->ssl, t);
		SSL_set_shed_handshake_config(t->ssl, 1);
		SSL_set_mode(t->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		if (side->server && !tls_has_ticket_key(&stock->now))
			SSL_set_options(t->ssl, SSL_OP_NO_TICKET);
		if (side->server)
			SSL_set_accept_state(t->ssl);
		else
			SSL_set_connect_state(t->ssl);
		if (!side->server && (side->rule == TLS_RULE_HOST || side->rule == TLS_RULE_NAMES) && !side->is_addr &&
		    !SSL_set_tlsext_host_name(t->ssl, side->name))
			b = NULL;
	}
	tls_side_ref(side);
	if (b)
		account(t, before);
	ERR_clear_error();
	if (b == NULL || t->state == TLS_BROKEN) {
		tls_free(t);
		return -ENOMEM;
	}
	t->below = *below;
	below->ops = NULL;
	*ret = (struct stream){ .ops = &tls_ops, .tls = t };
	return 0;
}

bool tls_is(const struct stream *s)
{
	return s->ops == &tls_ops;
}

struct tls *tls_find(struct tls_stock *s, struct slot_ref r)
{
	return slab_at(&s->conns, r);
}

struct slot_ref tls_owner(const struct tls *t)
{
	return t->owner;
}

enum tls_fault tls_why(const struct stream *s)
{
	return (enum tls_fault)s->tls->fault;
}

bool tls_is_resumed(const struct stream *s)
{
	return SSL_session_reused(s->tls->ssl);
}

unsigned tls_version(const struct stream *s)
{
	return (unsigned)SSL_version(s->tls->ssl);
}

struct slice tls_alpn(const struct stream *s)
{
	const uint8_t *p;
	unsigned n;

	SSL_get0_alpn_selected(s->tls->ssl, &p, &n);
	return slice_of(p, n);
}

struct slice tls_server_name(const struct stream *s)
{
	return slice_str(SSL_get_servername(s->tls->ssl, TLSEXT_NAMETYPE_host_name));
}

const char *tls_cipher(const struct stream *s)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(s->tls->ssl);

	return c ? SSL_CIPHER_standard_name(c) : "";
}

struct slice tls_peer_name(const struct stream *s)
{
	return slice_str(s->tls->peer);
}

struct slice tls_peer_element(const struct stream *s)
{
	return slice_str(s->tls->element);
}

struct slice tls_peer(const struct stream *s)
{
	const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(s->tls->ssl);
	const CRYPTO_BUFFER *b = chain && sk_CRYPTO_BUFFER_num(chain) ?
					 sk_CRYPTO_BUFFER_value(chain, 0) : NULL;

	return b ? slice_of(CRYPTO_BUFFER_data(b), CRYPTO_BUFFER_len(b)) : (struct slice){ NULL, 0 };
}
