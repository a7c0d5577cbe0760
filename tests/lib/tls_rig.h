/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* For tests of TLS: a small certificate authority, and both ends of a connection in memory, over lines
 * that take and give as many bytes at once as the test says. */
#ifndef TESTS_LIB_TLS_RIG_H
#define TESTS_LIB_TLS_RIG_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "nodeproxy/lib/net/tls.h"

/* ---- certificates ---- */

struct rig_cert {
	X509 *x;
	EVP_PKEY *key;
	struct slice der;
};

struct rig_spec {
	const struct rig_cert *issuer;	/* NULL: itself */
	int kind;			/* EVP_PKEY_; 0: P-256 */
	const char *cn, *san, *usage;	/* usage NULL: server and client, of a CA none */
	bool ca;
	long from_s, to_s;		/* from now; 0, 0: an hour back, a day on */
};

struct rig_cert rig_cert(struct rig_spec);
void rig_cert_free(struct rig_cert *);
/* PEM of these (NULL-terminated), with a revocation list of the first that names revoked, if not NULL. */
struct slice rig_pem(const struct rig_cert *const *, const struct rig_cert *revoked);
struct slice rig_pem_key(const struct rig_cert *);
void rig_pem_free(struct slice *);

/* ---- lines ---- */

#define RIG_PIPE 262144u

struct rig_pipe {
	uint8_t *p;
	size_t at, end;
	size_t most;	/* that wait */
	size_t moved;	/* in and out, ever */
	bool ended;
};

struct rig_far {
	struct rig_pipe *in, *out;
	size_t step;	/* most bytes of one call; 0: any number */
};

/* A stream over far; close frees nothing. */
struct stream rig_stream(struct rig_far *);

/* ---- a pair ---- */

enum { RIG_SIGNS, RIG_SIGNS_LATER, RIG_SIGNS_NEVER, RIG_SIGNS_NOT };

struct rig_pair {
	struct tls_stock stock;
	struct budget memory;
	struct rig_pipe up, down;		/* client to server, server to client */
	struct rig_far far[2];			/* of the client, of the server */
	struct stream client, server;
	enum tls_went c, s;			/* of the last handshake step */
	int signs;
	const struct rig_cert *keys[8];		/* by key - 1 */
	struct slot_ref asked;
	struct tls_job job;
	unsigned asks;
};

void rig_pair_init(struct rig_pair *, const struct rig_cert *const keys[], unsigned n);
void rig_pair_fini(struct rig_pair *);
/* A leaf of these certificates, whose key is number key (from 1). */
struct tls_leaf rig_leaf(uint64_t key, const struct rig_cert *leaf, const struct rig_cert *above);
/* Connects two sides; lines are new. */
void rig_connect(struct rig_pair *, struct tls_side *client, struct tls_side *server);
/* Steps both until nothing moves; true: both are done. */
bool rig_shake(struct rig_pair *);
void rig_answer(struct rig_pair *);	/* RIG_SIGNS_LATER: now */
void rig_close(struct rig_pair *);

#endif
