/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* TLS: a stream over any stream, either end of it, by BoringSSL.
 *
 *   stock   what all of a process share: memory, scratch, ticket keys, who signs
 *   side    one end's terms, frozen: certificates, whom it trusts, ALPN, versions.  Counted: connections
 *           go on with theirs when there is a newer one
 *   tls     a connection
 *
 *   phase       how
 *   handshake   tls_new(); tls_handshake() whenever what it waited for is there, until TLS_DONE.  A
 *               private key is never here: the signature is asked for (ask) and comes by tls_signed(),
 *               meanwhile the connection waits (TLS_KEY) and nobody else does
 *   open        the stream's operations; a TLS_FAILED one has only close
 *   gone        close
 *
 * Nothing blocks.  Between calls it holds no buffer but what waits: a part of a record that came, and
 * ciphertext that the stream below did not take.  What was not taken must be offered again, first, as
 * every stream wants it: its ciphertext is made once.  The end is close_notify; a stream below that
 * ends without it was cut.  The stream below must not be of the same stock. */
#ifndef NODEPROXY_LIB_NET_TLS_H
#define NODEPROXY_LIB_NET_TLS_H

#include "nodeproxy/lib/base/chunks.h"
#include "nodeproxy/lib/net/stream.h"

struct ssl_st;
struct ssl_ctx_st;
struct tls;
struct tls_side;
struct tls_trust;

enum tls_fault {
#define FAULT(name, words) TLS_FAULT_##name,
#include "nodeproxy/lib/net/tls_faults.def"
#undef FAULT
	TLS_FAULTS
};
const char *tls_fault_name(enum tls_fault);
const char *tls_fault_words(enum tls_fault);

/* ---- stock ---- */

#define TLS_RECORD    16384u	/* of plaintext */
#define TLS_BURST     4u	/* records made before they are written */
#define TLS_SCRATCH   (TLS_BURST * (TLS_RECORD + 512u))
#define TLS_SIGN_MAX  160u	/* what is signed: 64 + 33 + 1 + 48 bytes in TLS 1.3, 133 in 1.2 */
#define TLS_SIG_MAX   512u	/* RSA of 4,096 bits */

/* What somebody else's key shall sign. */
struct tls_job {
	uint64_t key;			/* of the leaf */
	uint16_t algorithm;		/* SSL_SIGN_ */
	uint16_t n, sig_n;
	bool failed;
	uint8_t in[TLS_SIGN_MAX];
	uint8_t sig[TLS_SIG_MAX];
};

#define TLS_TICKET_NAME 16u

/* Tickets are made with now and still taken when made with before. */
struct tls_ticket_key {
	uint8_t name[TLS_TICKET_NAME];	/* in clear in each ticket; all 0: there is no key */
	uint8_t aes[16], mac[32];
};

struct tls_stock {
	struct slab conns;
	uint8_t *in, *out, *plain;	/* scratch of one call */
	struct tls_ticket_key now, before;
	/* 0: asked, tls_signed() follows, now or later; -errno: it cannot be asked. */
	int (*ask)(void *arg, struct slot_ref, const struct tls_job *);
	void *arg;
};

/* At start.  0 or -errno. */
must_use int tls_stock_init(struct tls_stock *, uint32_t conns);
void tls_stock_fini(struct tls_stock *);
/* Heap of BoringSSL in this process, now. */
uint64_t tls_heap_bytes(void);

/* ---- sides ---- */

#define TLS_LEAVES 8u
#define TLS_CHAIN  8u
#define TLS_NAME   256u
#define TLS_NAMES  5u
#define TLS_SESSIONS 32u	/* that a client's side keeps, each of another server */

/* A certificate with what is above it, and the key to ask for. */
struct tls_leaf {
	struct slice der[TLS_CHAIN];
	unsigned n;
	uint64_t key;
	unsigned set;			/* 0: also for callers who ask for a name that none has, or for none */
};

/* What the other side's certificate must say, beside being of an issuer that is trusted. */
enum tls_rule {
	TLS_RULE_ANY,
	TLS_RULE_TRUST_DOMAIN,	/* one SPIFFE identity, of this trust domain */
	TLS_RULE_IDENTITY,	/* exactly this SPIFFE identity */
	TLS_RULE_HOST,		/* this DNS name, or this address */
	TLS_RULE_NAMES,		/* one of these names */
};

struct tls_name {
	bool is_uri;			/* else it is a DNS name, or an address */
	const char *text;
};

struct tls_terms {
	bool server;
	bool tls12;			/* 1.2 is spoken too */
	bool optional;			/* server: a certificate is asked for and may be missing */
	/* Of the names that callers ask for, and of different kinds of key, preferred first. */
	const struct tls_leaf *leaf;
	unsigned leaves;		/* server: at least one */
	struct slice alpn;		/* as in ClientHello, preferred first; empty: none */
	struct tls_trust *trust;	/* NULL: the other side is not asked (server); takes a reference */
	enum tls_rule rule;
	const char *name;		/* of the rule; client with HOST or NAMES: also SNI, when it is a DNS name */
	const struct tls_name *names;	/* of TLS_RULE_NAMES */
	unsigned n_names;
	int64_t ends_unix_s;		/* server: from then on no ticket is taken back; 0: as long as it lives */
	/* Tickets are taken back by sides of the same, that trust the same and want the same only. */
	struct slice context;
};

/* Copies all.  0, -EINVAL (a certificate cannot be used) or -ENOMEM. */
must_use int tls_side_new(struct tls_stock *, const struct tls_terms *, struct tls_side **ret);
void tls_side_ref(struct tls_side *);
void tls_side_unref(struct tls_side **);

/* ---- trust ---- */

/* Roots and revocation lists in PEM, at most TLS_TRUST_MAX of each.  0, -EINVAL or -ENOMEM, with words. */
#define TLS_TRUST_MAX 512u
must_use int tls_trust_new(struct slice pem, struct tls_trust **ret, const char **why);
/* The same of several texts together, and of what a file, which is read to its end, has in it. */
must_use int tls_trust_of(const struct slice *pem, unsigned n, struct tls_trust **ret, const char **why);
must_use int tls_trust_of_file(struct fd, struct tls_trust **ret, const char **why);
void tls_trust_ref(struct tls_trust *);
void tls_trust_unref(struct tls_trust **);

/* ---- connections ---- */

enum tls_went {
	TLS_DONE,
	TLS_IN, TLS_OUT,	/* the stream below must become readable, writable */
	TLS_KEY,		/* tls_signed() must come */
	TLS_FAILED,		/* tls_why(); an alert was sent if that could be */
};

/* Takes the stream below; *ret is the one over it.  memory pays for what BoringSSL holds; owner is for
 * tls_owner().  0 or -ENOMEM, and the stream below is the caller's still. */
must_use int tls_new(struct tls_stock *, struct tls_side *, struct budget *memory,
		     struct slot_ref owner, struct stream *below, struct stream *ret);
bool tls_is(const struct stream *);
/* Of a client, before its handshake: the protocols that it offers, as in ClientHello (empty: those of its
 * side), and with whom it talks: what that server gave is offered to it again, so that a handshake
 * is a resumption.  0 or -ENOMEM. */
must_use int tls_client(struct stream *, struct slice alpn, uint64_t with);
/* Bytes that were read from below before.  0 or -ENOMEM. */
must_use int tls_feed(struct stream *, struct slice);
must_use enum tls_went tls_handshake(struct stream *);
bool tls_waits_for_key(const struct stream *);
/* Whoever waits for a signature asks again: who was asked is gone. */
void tls_ask_again(struct tls_stock *);
/* The connection that a job came from; NULL: it is gone. */
struct tls *tls_find(struct tls_stock *, struct slot_ref);
struct slot_ref tls_owner(const struct tls *);
/* The signature of its job; empty: there is none. */
void tls_signed(struct tls *, struct slice);
enum tls_fault tls_why(const struct stream *);

/* Of a connection that is done: as long as it lives. */
bool tls_is_resumed(const struct stream *);
unsigned tls_version(const struct stream *);		/* 0x0303, 0x0304 */
struct slice tls_alpn(const struct stream *);		/* empty: none */
struct slice tls_server_name(const struct stream *);	/* empty: none */
const char *tls_cipher(const struct stream *);
/* DER of the other side's certificate; empty: none. */
struct slice tls_peer(const struct stream *);
/* What it calls itself: its SPIFFE identity, else its first name, as it stands there; empty: none.  What
 * begins with spiffe:// is an identity, and the only one of the certificate. */
struct slice tls_peer_name(const struct stream *);
/* Both sides' as an element of X-Forwarded-Client-Cert (tls_peer.c); empty: there is none.  Server only, as
 * the name. */
struct slice tls_peer_element(const struct stream *);

#endif
