/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Why a TLS connection broke: from what BoringSSL and the stream below said to one fault, its words, and
 * the errno of a stream. */
#include <errno.h>
#include <openssl/err.h>

#include "nodeproxy/lib/net/tls_inner.h"

static const struct {
	const char *name, *words;
} faults[TLS_FAULTS] = {
#define FAULT(name, words) { #name, words },
#include "nodeproxy/lib/net/tls_faults.def"
#undef FAULT
};

static const struct {
	int why;
	enum tls_fault fault;
} causes[] = {
#define CAUSE(why, name) { SSL_R_##why, TLS_FAULT_##name },
#include "nodeproxy/lib/net/tls_faults.def"
#undef CAUSE
};

const char *tls_fault_name(enum tls_fault f)
{
	return faults[f < TLS_FAULTS ? f : TLS_FAULT_NONE].name;
}

const char *tls_fault_words(enum tls_fault f)
{
	return faults[f < TLS_FAULTS ? f : TLS_FAULT_NONE].words;
}

void tls_broke(struct tls *t, int ssl_error)
{
	uint32_t e = ERR_peek_error();
	int why = ERR_GET_REASON(e);

	t->state = TLS_BROKEN;
	if (t->fault != TLS_FAULT_NONE)
		return;		/* a callback knew better */
	if (t->below_error == -ENOMEM || ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE) {
		t->fault = TLS_FAULT_NO_MEMORY;
		return;
	}
	if (e == 0 || ssl_error == SSL_ERROR_SYSCALL) {
		t->fault = SSL_in_init(t->ssl) ? TLS_FAULT_CLOSED : TLS_FAULT_TRUNCATED;
		return;
	}
	/* OpenSSL's clients say in clear why they end a handshake, when BoringSSL decrypts already. */
	t->fault = t->type == SSL3_RT_ALERT && t->record == TLS_HEADER + 2 ? TLS_FAULT_ALERT : TLS_FAULT_PROTOCOL;
	if (ERR_GET_LIB(e) != ERR_LIB_SSL) {
		/* beside records that do not decrypt, certificates and signatures are all that can err */
		if (ERR_GET_LIB(e) != ERR_LIB_CIPHER)
			t->fault = TLS_FAULT_BAD_CERTIFICATE;
		return;
	}
	for (size_t i = 0; i < countof(causes); i++)
		if (causes[i].why == why) {
			t->fault = (uint8_t)causes[i].fault;
			return;
		}
	if (why >= SSL_AD_REASON_OFFSET)
		t->fault = TLS_FAULT_ALERT;
}

int tls_errno(const struct tls *t)
{
	if (t->below_error)
		return t->below_error;
	switch ((enum tls_fault)t->fault) {
	case TLS_FAULT_NO_MEMORY:
		return -ENOMEM;
	case TLS_FAULT_TRUNCATED:
	case TLS_FAULT_CLOSED:
		return -ECONNRESET;
	default:
		return -EPROTO;
	}
}

