/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See dns_text.h. */
#include "tests/lib/dns_text.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *name;
	uint16_t type;
} types[] = { { "A", DNS_A }, { "AAAA", DNS_AAAA }, { "PTR", DNS_PTR }, { "SRV", DNS_SRV }, { "SOA", DNS_SOA },
	      { "ANY", DNS_ANY }, { "TXT", 16 }, { "CNAME", DNS_CNAME }, { "AXFR", DNS_AXFR } };
static const char *const rcodes[] = { "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED" };

struct dns_query dns_query_from(const char *name, const char *type)
{
	struct dns_query q = { .id = 0x1234, .flags = DNS_RD, .class = DNS_IN, .udp = DNS_UDP };

	ck_assert(dns_name_from(slice_str(name), &q.name));
	for (size_t i = 0; i < countof(types); i++)
		if (strcmp(types[i].name, type) == 0)
			q.type = types[i].type;
	if (q.type == 0)
		q.type = (uint16_t)atoi(type);
	return q;
}

static unsigned u16(struct slice m, size_t at)
{
	ck_assert_uint_le(at + 2, m.n);
	return (unsigned)m.p[at] << 8 | m.p[at + 1];
}

#define NAME_ROOM 1024

/* The name at at, as text; where it ends. */
static size_t name_at(struct slice m, size_t at, char to[NAME_ROOM])
{
	const char *end_of = to + NAME_ROOM;
	size_t end = 0;
	int n;

	for (int hops = 0; hops < 300; hops++) {
		ck_assert_uint_lt(at, m.n);
		if (m.p[at] >= 0xc0) {
			end = end ? end : at + 2;
			at = u16(m, at) & 0x3fff;
			continue;
		}
		if (m.p[at] == 0) {
			*to = 0;
			return end ? end : at + 1;
		}
		ck_assert_uint_le(at + 1 + m.p[at], m.n);
		n = snprintf(to, (size_t)(end_of - to), "%.*s.", m.p[at], (const char *)m.p + at + 1);
		ck_assert_int_lt(n, end_of - to);
		to += n;
		at += m.p[at] + 1u;
	}
	ck_abort_msg("a name without end");
	return 0;
}

static struct {
	char at[65536];
	size_t n;
} said;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list a;
	int n;

	va_start(a, format);
	n = vsnprintf(said.at + said.n, sizeof said.at - said.n, format, a);
	va_end(a);
	ck_assert_int_lt(n, (int)(sizeof said.at - said.n));
	said.n += (size_t)n;
}

const char *dns_text(struct slice m)
{
	static const char *const before[] = { "", " |", " +" };
	char name[NAME_ROOM];
	size_t at;

	said.n = 0;

	ck_assert_uint_ge(m.n, DNS_HEAD);
	ck_assert(u16(m, 2) & DNS_QR);
	ck_assert_uint_lt(m.p[3] & 15u, countof(rcodes));
	say("%s%s%s", rcodes[m.p[3] & 15], m.p[2] & 4 ? " aa" : "", m.p[2] & 2 ? " tc" : "");
	at = DNS_HEAD;
	if (u16(m, 4))
		at = name_at(m, at, name) + 4;
	for (unsigned s = 0; s < 3; s++) {
		unsigned n = u16(m, 6 + 2 * s);

		if (n && !(s == 2 && n == 1 && m.n - at == DNS_OPT))
			say("%s", before[s]);
		for (unsigned i = 0; i < n; i++) {
			size_t data = name_at(m, at, name) + 10, end = data + u16(m, data - 2);
			unsigned type = u16(m, data - 10), ttl = u16(m, data - 4);
			struct addr a = { .family = type == DNS_A ? 4 : 6 };
			char ip[ADDR_TEXT];

			ck_assert_uint_le(end, m.n);
			at = end;
			if (type == DNS_OPT_TYPE) {
				say(" opt");
				continue;
			}
			if (type == DNS_A || type == DNS_AAAA) {
				ck_assert_uint_le(end - data, sizeof a.ip);
				memcpy(a.ip, m.p + data, end - data);
				say(" %s %s", type == DNS_A ? "A" : "AAAA", addr_text(&a, false, ip));
			} else if (type == DNS_SRV) {
				name_at(m, data + 6, name);
				say(" SRV %u %s", u16(m, data + 4), name);
			} else if (type == DNS_PTR || type == DNS_CNAME) {
				name_at(m, data, name);
				say(" %s %s", type == DNS_PTR ? "PTR" : "CNAME", name);
			} else {
				say(" %s", type == DNS_SOA ? "SOA" : "?");
			}
			say("/%u", ttl);
		}
	}
	ck_assert_uint_eq(at, m.n);
	return said.at;
}

static size_t put_record(uint8_t *to, const char *type, const char *value, unsigned ttl)
{
	struct dns_name name;
	struct addr a;
	size_t n = 12;

	memcpy(to, (const uint8_t[]){ 0xc0, DNS_HEAD, 0, 0, 0, 1, 0, 0, (uint8_t)(ttl >> 8), (uint8_t)ttl }, 10);
	for (size_t i = 0; i < countof(types); i++)
		if (strcmp(types[i].name, type) == 0)
			to[3] = (uint8_t)types[i].type;
	if (to[3] == DNS_A || to[3] == DNS_AAAA) {
		ck_assert_int_eq(addr_parse_ip(slice_str(value), &a), 0);
		memcpy(to + n, a.ip, a.family == 4 ? 4 : 16);
		n += a.family == 4 ? 4 : 16;
	} else if (to[3] == DNS_SOA) {
		memset(to + n, 0, 22);
		to[n + 21] = (uint8_t)atoi(value);
		n += 22;
	} else {
		ck_assert(dns_name_from(slice_str(value), &name));
		memcpy(to + n, name.at, name.n);
		n += name.n;
	}
	to[10] = (uint8_t)((n - 12) >> 8);
	to[11] = (uint8_t)(n - 12);
	return n;
}

size_t dns_reply_from(uint8_t *to, const struct dns_query *q, uint16_t id, const char *words)
{
	size_t n = dns_ask(to, q, id, false);
	char *copy = strdup(words), *save = NULL;
	unsigned section = 0;

	to[2] = 0x81;
	to[3] = 0x80;
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		size_t rcode = 0;

		for (size_t i = 0; i < countof(rcodes); i++)
			if (strcmp(w, rcodes[i]) == 0)
				rcode = i + 1;
		if (rcode) {
			to[3] |= (uint8_t)(rcode - 1);
		} else if (strcmp(w, "tc") == 0) {
			to[2] |= 2;
		} else if (strcmp(w, "|") == 0) {
			section = 1;
		} else if (strcmp(w, "opt") == 0) {
			memcpy(to + n, (const uint8_t[]){ 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0 }, 11);
			to[11]++;
			n += 11;
		} else {
			char *value = strtok_r(NULL, " ", &save), *slash = strrchr(value, '/');

			*slash = 0;
			n += put_record(to + n, w, value, (unsigned)atoi(slash + 1));
			to[7 + 2 * section]++;
		}
	}
	free(copy);
	return n;
}
