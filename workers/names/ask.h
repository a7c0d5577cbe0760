/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Questions that somebody else has to answer: they are asked of the pod's resolvers, from inside the
 * pod, by sockets of its bank.
 *
 * An ask is one question under way; who asks the same meanwhile waits for the same answer.  Each waiter
 * counts for the tenant until it has its answer, and a tenant has at most names.pending of them, so
 * that a flood of questions, or a resolver that is silent, costs nobody else anything.
 *
 *   phase     waits for                                        ends with
 *   SOCKET    a socket of UDP of the bank                      it: UDP; time: the next resolver
 *   UDP       an answer                                        it: OVER; it is cut: LINE; one that is of no
 *                                                              use, a refusal, time: the next resolver
 *   LINE      a socket of TCP of the bank                      as SOCKET: CONNECTS
 *   CONNECTS  the connection                                   it: HEARS; else the next resolver
 *   HEARS     an answer behind its length                      as UDP
 *   OVER                                                       names_reap() takes it
 *
 * A resolver that answered is the first to be asked next time.  Each question goes out with a random id
 * from a port that the kernel chooses anew, by a socket that is connected, so that only the resolver's
 * address can answer; who guesses often gets the question asked again by TCP.
 *
 * When no resolver answers, an answer that has outlived its TTL is better than none (RFC 8767): it is
 * told after the first of them did not, while the others are asked still. */
#ifndef WORKERS_NAMES_ASK_H
#define WORKERS_NAMES_ASK_H

#include "workers/names/names.h"

#define ASKS	      4096	/* of a worker */
#define ASK_WAITERS   8192
#define STALE_TTL_S   30	/* of an answer that is older than it may be (RFC 8767, 5) */
#define STALE_HOLD_MS 30000	/* nobody is asked again for so long when nobody answered */

size_t ask_bytes(void);
size_t waiter_bytes(void);
/* Asks for it, or waits with who asked before: 0; -EUSERS: the tenant has too many under way, or there is
 * no room; -ENOENT: there is no resolver. */
must_use int ask_for(struct names *, const struct names_from *, const struct dns_query *,
		     const struct names_key *);
/* Passes on what is kept; stale: though it has outlived its TTL. */
void ask_say_cached(struct names *, const struct names_from *, const struct dns_query *, struct cached *,
		    bool stale);
void ask_event(struct names *, struct slot_ref, unsigned bits);
bool ask_has_entry(const struct names *, const struct wheel_entry *);
void ask_deadline(struct wheel_entry *);
/* Sockets of its bank have come. */
void asks_feed(struct names_pod *);
/* The pod's end: nobody waits any more. */
void asks_end(struct names_pod *);
void asks_reap(struct names *);

#endif
