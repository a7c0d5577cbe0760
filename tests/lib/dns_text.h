/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Messages of DNS from words and as words, for tests.  Unlike what we ship it follows pointers. */
#ifndef TESTS_LIB_DNS_TEXT_H
#define TESTS_LIB_DNS_TEXT_H

#include "workers/names/dns.h"

/* A query: type A, AAAA, PTR, SRV, SOA, ANY, TXT or a number, then flags: "edns=1232", "do". */
struct dns_query dns_query_from(const char *name, const char *type);
/* "NOERROR aa A 10.0.0.1/5 A 10.0.0.2/5 | SOA/5 + A 10.0.0.1/5 opt"; static. */
const char *dns_text(struct slice message);
/* A reply to q by a resolver: records of RDATA texts as "A 10.0.0.1/300 CNAME other/60", behind " | " in
 * the authority section (SOA MINIMUM/TTL), "opt" at the end; flags "tc", "SERVFAIL", ... At to, its
 * length. */
size_t dns_reply_from(uint8_t *to, const struct dns_query *q, uint16_t id, const char *words);

#endif
