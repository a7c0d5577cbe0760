/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What tls.c, tls_fault.c, tls_shake.c, tls_side.c and tls_stock.c share. */
#ifndef NODEPROXY_LIB_NET_TLS_INNER_H
#define NODEPROXY_LIB_NET_TLS_INNER_H

#include <openssl/ssl.h>

#include "nodeproxy/lib/net/tls_trust.h"

#define TLS_MAGIC 0x4e50544cu	/* "NPTL" */
#define TLS_HEADER 5u		/* of a record */

struct leaf {
	CRYPTO_BUFFER *chain[TLS_CHAIN];
	size_t n;
	uint64_t key;
	int kind;		/* EVP_PKEY_ */
	unsigned set;
	X509 *x;		/* the first of the chain */
};

struct tls_side {
	uint32_t refs;
	SSL_CTX *ctx;
	struct tls_stock *stock;
	bool server;
	int64_t ends_unix_s;
	struct leaf leaf[TLS_LEAVES];
	unsigned leaves;
	struct tls_trust *trust;
	enum tls_rule rule;
	char name[TLS_NAME];
	bool is_addr;		/* name: no server name is sent (RFC 6066) */
	struct {
		bool is_uri;
		char text[TLS_NAME];
	} names[TLS_NAMES];
	unsigned n_names;
	uint8_t alpn[64];
	size_t alpn_n;
	struct {
		uint64_t with;
		SSL_SESSION *session;
	} kept[TLS_SESSIONS];	/* a client's; where: with % TLS_SESSIONS */
};

enum tls_state { TLS_SHAKES, TLS_OPEN, TLS_BROKEN };

/* A quiet one is all of this and its SSL. */
struct tls {
	uint32_t magic;
	uint8_t state;			/* enum tls_state */
	uint8_t fault;			/* enum tls_fault */
	bool owes;			/* ciphertext waits: the last byte of what it is of was not taken */
	uint8_t type;			/* of the record that it reads, or has read last */
	bool ended;			/* close_notify has come */
	bool cut;			/* the stream below has ended */
	bool said_end;			/* ours has gone out */
	bool dry;			/* in this call nothing more is to be had below */
	int below_error;
	struct slot_ref owner;
	uint64_t with;			/* of a client: whose session it keeps; 0: nobody's */
	char *peer;			/* its certificate's name */
	char *element;			/* all that it says, as one of a header */
	struct stream below;
	SSL *ssl;
	struct tls_side *side;
	struct budget *memory;
	uint64_t bytes, charged;	/* BoringSSL's, for this one; what was paid for */
	uint32_t record, record_have;	/* that it reads: its length as far as known, what came of it */
	struct tls_job *job;		/* a signature is waited for, or has come */
	uint64_t key;			/* of the leaf in use */
	const uint8_t *in_p;		/* ciphertext that was read, of the scratch or kept */
	uint8_t *kept;			/* between calls */
	size_t in_n;
	size_t ask;			/* most that is read from below at once */
	uint8_t *out;			/* ciphertext that waits for the stream below */
	uint32_t out_at, out_n;
	uint32_t scratch_n;		/* of stock->out, in this call */
};

extern int64_t tls_heap_now;	/* bytes */

static inline struct tls *tls_of_ssl(const SSL *ssl)
{
	return SSL_get_app_data(ssl);
}

/* Around each call that BoringSSL is asked something in: ask is how much ciphertext is read at once, end
 * gets what begin gave. */
int64_t tls_begin(struct tls *, size_t ask);
void tls_end(struct tls *, int64_t before);
/* Ciphertext below, oldest first: 0: all of it; -EAGAIN; -errno. */
int tls_flush(struct tls *);
/* It is TLS_BROKEN, and why.  ssl_error: SSL_ERROR_ of the call. */
void tls_broke(struct tls *, int ssl_error);
/* What a stream that is broken says. */
int tls_errno(const struct tls *);

/* What its certificate must say. */
enum tls_fault tls_side_wants(const struct tls_side *, CRYPTO_BUFFER *leaf);
/* See tls_peer.c; NULL: no memory. */
char *tls_peer_words(const struct tls *, CRYPTO_BUFFER *leaf, bool has_identity);
bool tls_has_ticket_key(const struct tls_ticket_key *);
/* tls_side.c: BoringSSL's questions. */
enum ssl_private_key_result_t tls_sign(SSL *, uint8_t *, size_t *, size_t, uint16_t, const uint8_t *,
				       size_t);
enum ssl_private_key_result_t tls_sign_done(SSL *, uint8_t *, size_t *, size_t);

#endif
