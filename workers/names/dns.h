/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Messages of DNS (RFC 1035, EDNS of RFC 6891), as far as a forwarder needs them: the question of a
 * query, an answer that is written record by record, and what has come from a resolver, walked through
 * and never trusted.
 *
 * c-ares was looked at for this (1.18 of Debian 12).  Its parsers (ares_parse_*_reply) know some types
 * of answers, turn them into lists that they allocate, and forget the rest of the message, of which we
 * need all, with the places of its TTLs; it builds queries, allocated too, and no answers; and its
 * channel, one per pod it would be, reads files and makes sockets without our mark when it likes.  So
 * nothing of it is left to be used.
 *
 * Names are kept as they are on the wire (labels with their lengths, ended by the root's), without
 * compression, at most DNS_NAME bytes.  All functions here are pure and bounded: a message is walked
 * once from front to end, and a name's pointers lead backwards only, each time to before where the last
 * one did. */
#ifndef WORKERS_NAMES_DNS_H
#define WORKERS_NAMES_DNS_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/net/addr.h"

#define DNS_NAME     255	/* bytes of a name on the wire */
#define DNS_LABEL    63
#define DNS_HEAD     12
#define DNS_QUERY    (DNS_HEAD + DNS_NAME + 4)
#define DNS_OPT	     11		/* an OPT record of ours */
#define DNS_UDP	     512	/* what anybody takes by UDP (RFC 1035 4.2.1) */
#define DNS_UDP_OURS 1232	/* what passes every path unbroken (flag day 2020) */
#define DNS_MOST     65535

enum dns_type {
	DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_AAAA = 28, DNS_SRV = 33,
	DNS_OPT_TYPE = 41, DNS_IXFR = 251, DNS_AXFR = 252, DNS_ANY = 255,
};
enum dns_class { DNS_IN = 1 };
enum dns_rcode {
	DNS_NOERROR, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED,
	DNS_BADVERS = 16,	/* its upper bits are in the OPT record */
};

#define DNS_QR 0x8000u
#define DNS_AA 0x0400u
#define DNS_TC 0x0200u
#define DNS_RD 0x0100u
#define DNS_RA 0x0080u
#define DNS_AD 0x0020u
#define DNS_CD 0x0010u

struct dns_name {
	uint8_t n;			/* bytes, with the root's */
	uint8_t at[DNS_NAME];
};

/* ---- queries ---- */

struct dns_query {
	uint16_t id, flags;
	struct dns_name name;		/* as it was written */
	uint16_t type, class;
	bool edns, dnssec;		/* it has an OPT record; that has DO */
	uint16_t udp;			/* bytes it takes by UDP, DNS_UDP at least */
};

enum dns_verdict {
	DNS_GOOD,
	DNS_SILENCE,			/* no query at all: whoever answers may begin a loop */
	DNS_ANSWER_FORMERR,		/* maybe only id and flags are known: name.n 0 */
	DNS_ANSWER_NOTIMP,		/* another opcode (likewise), a transfer */
	DNS_ANSWER_REFUSED,		/* another class */
	DNS_ANSWER_BADVERS,
};

enum dns_verdict dns_query(struct slice, struct dns_query *ret);

/* ---- names ---- */

bool dns_name_eq(const struct dns_name *, const struct dns_name *);	/* without regard to case */
void dns_name_lower(struct dns_name *);
/* "a.b.c", with or without the root's dot; false: it is no name. */
must_use bool dns_name_from(struct slice text, struct dns_name *ret);
/* Takes the first label off: its bytes, borrowed; an empty one is the root. */
struct slice dns_label(const struct dns_name *, unsigned *at);
unsigned dns_labels(const struct dns_name *);	/* without the root */
/* a is b, or below it. */
bool dns_name_is_below(const struct dns_name *a, const struct dns_name *b);

/* ---- answers that we write ---- */

/* What does not fit marks it as cut; later calls do nothing. */
struct dns_out {
	uint8_t *p;
	size_t n, room;
	bool cut;
	const struct dns_name *asked;	/* borrowed; names that it ends with become pointers to it */
};

/* Header and question (none where q->name.n is 0). */
void dns_begin(struct dns_out *, uint8_t *p, size_t room, const struct dns_query *, uint16_t flags,
	       enum dns_rcode);
enum dns_section { DNS_IN_ANSWER, DNS_IN_AUTHORITY, DNS_IN_ADDITIONAL };
void dns_put_addr(struct dns_out *, enum dns_section, const struct dns_name *owner, uint32_t ttl,
		  const struct addr *);
void dns_put_ptr(struct dns_out *, const struct dns_name *owner, uint32_t ttl, const struct dns_name *to);
void dns_put_srv(struct dns_out *, const struct dns_name *owner, uint32_t ttl, uint16_t port,
		 const struct dns_name *to);
/* Of a zone, for answers without records: ttl is how long nobody need ask again. */
void dns_put_soa(struct dns_out *, enum dns_section, const struct dns_name *zone, uint32_t ttl);
/* The OPT record of an answer to a query that has one. */
void dns_put_opt(struct dns_out *, const struct dns_query *, enum dns_rcode);
/* What was written is kept up to this, for taking back a record that did not fit. */
struct dns_mark {
	size_t n;
	uint16_t counts[3];
};
struct dns_mark dns_mark(const struct dns_out *);
void dns_back(struct dns_out *, struct dns_mark);
/* Only part of the answer fits: it says so. */
void dns_set_truncated(struct dns_out *);
static inline bool dns_is_truncated(const struct dns_out *o)
{
	return o->p[2] & DNS_TC >> 8;
}
void dns_set_rcode(struct dns_out *, enum dns_rcode);

/* ---- what we ask, and what comes back ---- */

/* A query for a resolver, at most DNS_QUERY + DNS_OPT bytes at p; its length. */
size_t dns_ask(uint8_t *p, const struct dns_query *, uint16_t id, bool edns);

struct dns_reply {
	uint16_t flags;
	uint8_t rcode;
	uint32_t ttl;			/* of the record that dies first, or of a negative answer by its SOA;
					 * 0: not to be kept */
	size_t bytes;			/* of the message without its OPT record and what stands behind it */
	uint16_t additional;		/* records of the last section within these bytes */
};

/* What was asked as q with this id is answered by these bytes: 0; -EAGAIN: they are about something else
 * (whoever sent them lies, or is late); -EBADMSG: they are, and are nonsense. */
must_use int dns_reply(struct slice, const struct dns_query *q, uint16_t id, struct dns_reply *ret);

/* Such a message (bytes and additional of its dns_reply), for who asked q: with its id and the case of
 * its name, TTLs lowered by age_s (or all of them at most most_s), cut to room with TC.  The length at
 * to. */
size_t dns_pass_on(uint8_t *to, size_t room, struct slice message, uint16_t additional,
		   const struct dns_query *q, uint32_t age_s, uint32_t most_s);

#endif
