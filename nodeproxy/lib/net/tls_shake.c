/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The handshake of a TLS connection: its steps, the signature that it waits for, the session that a client
 * resumes, and the bytes that somebody has read before it began. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pool.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/net/spiffe.h"
#include "nodeproxy/lib/net/tls_inner.h"

#define SHAKE_READ 4096u	/* ciphertext read at once before the handshake is over */

/* A resumed connection: BoringSSL has looked at nothing but the ticket. */
static bool is_still_good(struct tls *t)
{
	const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(t->ssl);
	const struct tls_side *s = t->side;
	enum tls_fault f = TLS_FAULT_NONE;

	if (!SSL_session_reused(t->ssl) || s->trust == NULL)
		return true;
	if (chain && sk_CRYPTO_BUFFER_num(chain)) {
		f = tls_trust_judge(s->trust, chain, s->server, true, clock_unix_ms() / 1000);
		if (f == TLS_FAULT_NONE)
			f = tls_side_wants(s, sk_CRYPTO_BUFFER_value(chain, 0));
	} else if (SSL_CTX_get_verify_mode(s->ctx) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) {
		f = TLS_FAULT_NO_CERTIFICATE;
	}
	if (f == TLS_FAULT_NONE)
		return true;
	SSL_send_fatal_alert(t->ssl, f == TLS_FAULT_REVOKED ? SSL_AD_CERTIFICATE_REVOKED :
				     f == TLS_FAULT_EXPIRED ? SSL_AD_CERTIFICATE_EXPIRED :
							      SSL_AD_ACCESS_DENIED);
	t->fault = (uint8_t)f;
	return false;
}

/* Once per connection, not for each line that names it. */
static void name_peer(struct tls *t)
{
	const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(t->ssl);
	CRYPTO_BUFFER *leaf;
	char text[SPIFFE_MAX];
	size_t n;

	if (!t->side->server || chain == NULL || sk_CRYPTO_BUFFER_num(chain) == 0)
		return;
	leaf = sk_CRYPTO_BUFFER_value(chain, 0);
	n = tls_name(leaf, text, sizeof text);
	t->peer = OPENSSL_strndup(text, n);
	t->element = tls_peer_words(t, leaf, slice_starts(slice_of(text, n), SLICE("spiffe://")));
}

static enum tls_went shake(struct tls *t)
{
	int r, e, f = tls_flush(t);

	if (f < 0 && f != -EAGAIN) {
		tls_broke(t, SSL_ERROR_SYSCALL);
		return TLS_FAILED;
	}
	if (f < 0)
		return TLS_OUT;
	r = SSL_do_handshake(t->ssl);
	e = r == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, r);
	if (r == 1 && !is_still_good(t))
		e = SSL_ERROR_SSL;
	/* BoringSSL leaves the other side alone when it is we who cannot go on. */
	if (t->fault == TLS_FAULT_NO_SIGNATURE || t->fault == TLS_FAULT_NO_MEMORY)
		SSL_send_fatal_alert(t->ssl, SSL_AD_INTERNAL_ERROR);
	f = tls_flush(t);
	if (e != SSL_ERROR_NONE && e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_PRIVATE_KEY_OPERATION) {
		tls_broke(t, e);
		return TLS_FAILED;
	}
	if (f < 0 && f != -EAGAIN) {
		tls_broke(t, SSL_ERROR_SYSCALL);
		return TLS_FAILED;
	}
	if (f < 0)
		return TLS_OUT;		/* the other side is not done before it has all of it */
	if (e == SSL_ERROR_NONE) {
		t->state = TLS_OPEN;
		name_peer(t);
		return TLS_DONE;
	}
	return e == SSL_ERROR_WANT_READ ? TLS_IN : TLS_KEY;
}

enum tls_went tls_handshake(struct stream *s)
{
	struct tls *t = s->tls;
	enum tls_went w;
	int64_t before;

	must(t->magic == TLS_MAGIC);
	if (t->state == TLS_BROKEN)
		return TLS_FAILED;
	if (t->state == TLS_OPEN)
		return TLS_DONE;
	before = tls_begin(t, SHAKE_READ);
	w = shake(t);
	tls_end(t, before);
	return t->state == TLS_BROKEN ? TLS_FAILED : w;
}

int tls_client(struct stream *s, struct slice alpn, uint64_t with)
{
	struct tls *t = s->tls;
	struct tls_side *side = t->side;
	unsigned i = with % TLS_SESSIONS;
	int64_t before = tls_begin(t, 0);
	bool good;

	must(!side->server && t->state == TLS_SHAKES);
	good = alpn.n == 0 || SSL_set_alpn_protos(t->ssl, alpn.p, (unsigned)alpn.n) == 0;
	t->with = with;
	if (good && with && side->kept[i].session && side->kept[i].with == with) {
		good = SSL_set_session(t->ssl, side->kept[i].session);
		/* Tickets of TLS 1.3 are for one use: otherwise whoever listens sees that it is the same. */
		if (SSL_SESSION_should_be_single_use(side->kept[i].session)) {
			SSL_SESSION_free(side->kept[i].session);
			side->kept[i].session = NULL;
		}
	}
	tls_end(t, before);
	return good && t->state == TLS_SHAKES ? 0 : -ENOMEM;
}

void tls_signed(struct tls *t, struct slice sig)
{
	struct tls_job *j = t->job;

	if (j == NULL || j->sig_n || j->failed)
		return;		/* an answer that came twice */
	if (sig.n == 0 || sig.n > sizeof j->sig) {
		j->failed = true;
		t->fault = TLS_FAULT_NO_SIGNATURE;
		return;
	}
	memcpy(j->sig, sig.p, sig.n);
	j->sig_n = (uint16_t)sig.n;
}

static bool waits_for_key(const struct tls *t)
{
	return t->job && t->job->sig_n == 0 && !t->job->failed;
}

bool tls_waits_for_key(const struct stream *s)
{
	return waits_for_key(s->tls);
}

void tls_ask_again(struct tls_stock *s)
{
	for (uint32_t i = 0; i < s->conns.fresh; i++) {
		struct slot_ref who = { i, s->conns.gen[i] };
		struct tls *t = slab_at(&s->conns, who);

		if (t && waits_for_key(t) && s->ask(s->arg, who, t->job) < 0)
			tls_signed(t, (struct slice){ NULL, 0 });
	}
}

int tls_feed(struct stream *s, struct slice bytes)
{
	struct tls *t = s->tls;
	int64_t before = tls_begin(t, 0);

	must(t->state == TLS_SHAKES && t->in_n == 0);
	t->in_p = bytes.p;
	t->in_n = bytes.n;
	tls_end(t, before);
	return t->state == TLS_BROKEN ? -ENOMEM : 0;
}
