/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See dns.h. */
#include "workers/names/dns.h"

#include <errno.h>

#define POINTER	   0xc0u	/* the two upper bits of a label's length */
#define OPCODE(f)  ((f) >> 11 & 15)
#define RECORD	   10		/* bytes of one behind its name, before its data */
#define SOA_LEAST  22		/* two names of the root, five numbers */
#define OPT_DO	   0x8000u
#define SOA_SERIAL 1u
#define SOA_SOON   3600u	/* refresh, retry and expire are for secondaries, of which there are none */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void set16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void set32(uint8_t *p, uint32_t v)
{
	set16(p, v >> 16);
	set16(p + 2, v & 0xffff);
}

/* ---- names ---- */

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b)
{
	/* Lengths are below the letters, so they are not changed by it. */
	return slice_caseeq(slice_of(a->at, a->n), slice_of(b->at, b->n));
}

void dns_name_lower(struct dns_name *a)
{
	for (unsigned i = 0; i < a->n; i++)
		a->at[i] = byte_lower(a->at[i]);
}

bool dns_name_from(struct slice text, struct dns_name *ret)
{
	size_t n = 0;

	if (text.n && text.p[text.n - 1] == '.')
		text.n--;
	while (text.n) {
		const uint8_t *dot = memchr(text.p, '.', text.n);
		size_t label = dot ? (size_t)(dot - text.p) : text.n;

		if (label == 0 || label > DNS_LABEL || n + label + 2 > DNS_NAME)
			return false;
		ret->at[n] = (uint8_t)label;
		memcpy(ret->at + n + 1, text.p, label);
		n += label + 1;
		if (dot && label + 1 == text.n)
			return false;		/* two dots at the end */
		text = slice_from(text, label + (dot != NULL));
	}
	ret->at[n] = 0;
	ret->n = (uint8_t)(n + 1);
	return true;
}

struct slice dns_label(const struct dns_name *a, unsigned *at)
{
	unsigned n = *at < a->n ? a->at[*at] : 0, begin = *at + 1;

	if (n == 0 || begin + n >= a->n)
		return (struct slice){ 0 };
	*at = begin + n;
	return slice_of(a->at + begin, n);
}

unsigned dns_labels(const struct dns_name *a)
{
	unsigned at = 0, n = 0;

	while (dns_label(a, &at).n)
		n++;
	return n;
}

/* Where in a the name b begins, of which it is the end; -1: it is not. */
static int below(const struct dns_name *a, const struct dns_name *b)
{
	unsigned at = 0, want = a->n - b->n;

	if (a->n < b->n)
		return -1;
	while (at < want && dns_label(a, &at).n)
		;
	if (at != want || !slice_caseeq(slice_of(a->at + at, b->n), slice_of(b->at, b->n)))
		return -1;
	return (int)at;
}

bool dns_name_is_below(const struct dns_name *a, const struct dns_name *b)
{
	return below(a, b) >= 0;
}

/* A name without pointers; where it ends, 0: it is none. */
static size_t read_name(struct slice m, size_t at, struct dns_name *ret)
{
	size_t n = 0;

	for (;;) {
		size_t label;

		if (at + n >= m.n || n >= DNS_NAME)
			return 0;
		label = m.p[at + n];
		if (label > DNS_LABEL)
			return 0;
		n += label + 1;
		if (label == 0)
			break;
	}
	if (n > DNS_NAME || at + n > m.n)
		return 0;
	memcpy(ret->at, m.p + at, n);
	ret->n = (uint8_t)n;
	return at + n;
}

/* Where the name at at ends, perhaps with a pointer, which leads backwards; 0: it is none. */
static size_t skip_name(struct slice m, size_t at)
{
	size_t begin = at;

	while (at < m.n && at - begin < DNS_NAME) {
		uint8_t label = m.p[at];

		if (label == 0)
			return at + 1;
		if ((label & POINTER) == POINTER) {
			size_t to;

			if (at + 2 > m.n)
				return 0;
			to = get16(m.p + at) & 0x3fff;
			return to >= DNS_HEAD && to < at ? at + 2 : 0;
		}
		if (label > DNS_LABEL)
			return 0;
		at += (size_t)label + 1;
	}
	return 0;
}

/* ---- records ---- */

struct record {
	size_t begin, ttl_at, data, end;
	uint16_t type, class;
	uint32_t ttl;
};

/* The record at at; false: there is none that is whole. */
static bool record_at(struct slice m, size_t at, struct record *ret)
{
	size_t name = skip_name(m, at);

	if (name == 0 || m.n - name < RECORD)
		return false;
	*ret = (struct record){ .begin = at, .ttl_at = name + 4, .data = name + RECORD,
				.end = name + RECORD + get16(m.p + name + 8),
				.type = get16(m.p + name), .class = get16(m.p + name + 2),
				.ttl = get32(m.p + name + 4) };
	if (ret->ttl > INT32_MAX)
		ret->ttl = 0;		/* RFC 2181, 8 */
	return ret->end <= m.n;
}

/* ---- queries ---- */

/* Records behind the question, of which an OPT record matters; false: nonsense. */
static bool read_rest(struct slice m, size_t at, struct dns_query *q, uint8_t *ret_version)
{
	unsigned before = get16(m.p + 6) + get16(m.p + 8), all = before + get16(m.p + 10);

	for (unsigned i = 0; i < all; i++) {
		struct record r;

		if (!record_at(m, at, &r))
			return false;
		if (r.type == DNS_OPT_TYPE) {
			if (q->edns || i < before || r.ttl_at - r.begin != 5 || m.p[r.begin] != 0)
				return false;	/* one, of the root, behind all others */
			q->edns = true;
			q->udp = max_of(r.class, (uint16_t)DNS_UDP);
			*ret_version = m.p[r.ttl_at + 1];
			q->dnssec = get16(m.p + r.ttl_at + 2) & OPT_DO;
		}
		at = r.end;
	}
	return true;
}

enum dns_verdict dns_query(struct slice m, struct dns_query *q)
{
	uint8_t version = 0;
	size_t at;

	*q = (struct dns_query){ .udp = DNS_UDP };
	if (m.n < DNS_HEAD)
		return DNS_SILENCE;
	q->id = get16(m.p);
	q->flags = get16(m.p + 2);
	if (q->flags & DNS_QR)
		return DNS_SILENCE;
	if (OPCODE(q->flags) != 0)
		return DNS_ANSWER_NOTIMP;
	if (get16(m.p + 4) != 1)
		return DNS_ANSWER_FORMERR;	/* RFC 9619 */
	at = read_name(m, DNS_HEAD, &q->name);
	if (at == 0 || m.n - at < 4) {
		q->name.n = 0;
		return DNS_ANSWER_FORMERR;
	}
	q->type = get16(m.p + at);
	q->class = get16(m.p + at + 2);
	if (!read_rest(m, at + 4, q, &version)) {
		q->edns = false;
		return DNS_ANSWER_FORMERR;
	}
	if (version != 0)
		return DNS_ANSWER_BADVERS;
	if (q->class != DNS_IN)
		return DNS_ANSWER_REFUSED;
	if (q->type == DNS_AXFR || q->type == DNS_IXFR || q->type == DNS_OPT_TYPE)
		return DNS_ANSWER_NOTIMP;
	return DNS_GOOD;
}

/* ---- answers that we write ---- */

static uint8_t *room(struct dns_out *o, size_t n)
{
	if (o->cut || n > o->room - o->n) {
		o->cut = true;
		return NULL;
	}
	o->n += n;
	return o->p + o->n - n;
}

void dns_begin(struct dns_out *o, uint8_t *p, size_t bytes, const struct dns_query *q, uint16_t flags,
	       enum dns_rcode rcode)
{
	uint8_t *at;

	*o = (struct dns_out){ .p = p, .room = bytes, .asked = &q->name };
	must(bytes >= DNS_QUERY + DNS_OPT);
	at = room(o, DNS_HEAD);
	memset(at, 0, DNS_HEAD);
	set16(at, q->id);
	/* Opcode and RD as they came (RFC 1035 4.1.1), CD too (RFC 4035 3.1.6). */
	set16(at + 2, DNS_QR | DNS_RA | (q->flags & (0x7800 | DNS_RD | DNS_CD)) | flags | (rcode & 15));
	if (q->name.n == 0)
		return;
	set16(at + 4, 1);
	at = room(o, q->name.n + 4u);
	memcpy(at, q->name.at, q->name.n);
	set16(at + q->name.n, q->type);
	set16(at + q->name.n + 2, q->class);
}

/* A name that the one in the question ends with is a pointer there. */
static void put_name(struct dns_out *o, const struct dns_name *a)
{
	int in = o->asked->n && a->n > 1 ? below(o->asked, a) : -1;
	uint8_t *at = room(o, in >= 0 ? 2 : a->n);

	if (at == NULL)
		return;
	if (in >= 0)
		set16(at, (uint32_t)POINTER << 8 | (uint32_t)(DNS_HEAD + in));
	else
		memcpy(at, a->at, a->n);
}

static void put16(struct dns_out *o, uint32_t v)
{
	uint8_t *at = room(o, 2);

	if (at)
		set16(at, v);
}

static void put32(struct dns_out *o, uint32_t v)
{
	put16(o, v >> 16);
	put16(o, v & 0xffff);
}

/* Up to its data; what it will be at, for record_end(). */
static size_t record_begin(struct dns_out *o, const struct dns_name *owner, uint16_t type, uint32_t ttl)
{
	put_name(o, owner);
	put16(o, type);
	put16(o, DNS_IN);
	put32(o, ttl);
	put16(o, 0);
	return o->n;
}

static void record_end(struct dns_out *o, enum dns_section s, size_t data)
{
	uint8_t *count = o->p + 6 + 2 * (unsigned)s;

	if (o->cut)
		return;
	set16(o->p + data - 2, (uint32_t)(o->n - data));
	set16(count, get16(count) + 1u);
}

void dns_put_addr(struct dns_out *o, enum dns_section s, const struct dns_name *owner, uint32_t ttl,
		  const struct addr *a)
{
	size_t data = record_begin(o, owner, a->family == 4 ? DNS_A : DNS_AAAA, ttl);
	size_t n = a->family == 4 ? 4 : 16;
	uint8_t *at = room(o, n);

	if (at)
		memcpy(at, a->ip, n);
	record_end(o, s, data);
}

void dns_put_ptr(struct dns_out *o, const struct dns_name *owner, uint32_t ttl, const struct dns_name *to)
{
	size_t data = record_begin(o, owner, DNS_PTR, ttl);

	put_name(o, to);
	record_end(o, DNS_IN_ANSWER, data);
}

void dns_put_srv(struct dns_out *o, const struct dns_name *owner, uint32_t ttl, uint16_t port,
		 const struct dns_name *to)
{
	size_t data = record_begin(o, owner, DNS_SRV, ttl);
	uint8_t *at;

	put16(o, 0);		/* priority and weight: we balance, not the caller */
	put16(o, 100);
	put16(o, port);
	at = room(o, to->n);	/* never compressed (RFC 2782) */
	if (at)
		memcpy(at, to->at, to->n);
	record_end(o, DNS_IN_ANSWER, data);
}

void dns_put_soa(struct dns_out *o, enum dns_section s, const struct dns_name *zone, uint32_t ttl)
{
	size_t data = record_begin(o, zone, DNS_SOA, ttl);

	put_name(o, zone);
	put_name(o, zone);
	put32(o, SOA_SERIAL);
	for (int i = 0; i < 3; i++)
		put32(o, SOA_SOON);
	put32(o, ttl);
	record_end(o, s, data);
}

static void write_opt(uint8_t *at, const struct dns_query *q, enum dns_rcode rcode)
{
	memset(at, 0, DNS_OPT);
	set16(at + 1, DNS_OPT_TYPE);
	set16(at + 3, DNS_UDP_OURS);
	at[5] = (uint8_t)(rcode >> 4);
	set16(at + 7, q->dnssec ? OPT_DO : 0);
}

void dns_put_opt(struct dns_out *o, const struct dns_query *q, enum dns_rcode rcode)
{
	uint8_t *at = q->edns ? room(o, DNS_OPT) : NULL;

	if (at == NULL)
		return;
	write_opt(at, q, rcode);
	set16(o->p + 10, get16(o->p + 10) + 1u);
}

struct dns_mark dns_mark(const struct dns_out *o)
{
	struct dns_mark m = { .n = o->n };

	for (unsigned i = 0; i < 3; i++)
		m.counts[i] = get16(o->p + 6 + 2 * i);
	return m;
}

void dns_back(struct dns_out *o, struct dns_mark m)
{
	o->n = m.n;
	o->cut = false;
	for (unsigned i = 0; i < 3; i++)
		set16(o->p + 6 + 2 * i, m.counts[i]);
}

void dns_set_truncated(struct dns_out *o)
{
	set16(o->p + 2, get16(o->p + 2) | DNS_TC);
}

void dns_set_rcode(struct dns_out *o, enum dns_rcode rcode)
{
	set16(o->p + 2, (get16(o->p + 2) & ~15u) | (rcode & 15));
}

/* ---- what we ask, and what comes back ---- */

size_t dns_ask(uint8_t *p, const struct dns_query *q, uint16_t id, bool edns)
{
	size_t n = DNS_HEAD;

	memset(p, 0, DNS_HEAD);
	set16(p, id);
	set16(p + 2, DNS_RD | (q->flags & (DNS_AD | DNS_CD)));
	set16(p + 4, 1);
	memcpy(p + n, q->name.at, q->name.n);
	n += q->name.n;
	set16(p + n, q->type);
	set16(p + n + 2, q->class);
	n += 4;
	if (!edns)
		return n;
	set16(p + 10, 1);
	write_opt(p + n, q, DNS_NOERROR);
	return n + DNS_OPT;
}

/* What a record says about how long the message may be kept. */
static void learn(struct slice m, const struct record *r, bool authority, bool *has_soa, uint32_t *ttl)
{
	*ttl = min_of(*ttl, r->ttl);
	if (!authority || r->type != DNS_SOA || r->end - r->data < SOA_LEAST)
		return;
	*has_soa = true;
	*ttl = min_of(*ttl, get32(m.p + r->end - 4));	/* RFC 2308, 5 */
}

int dns_reply(struct slice m, const struct dns_query *q, uint16_t id, struct dns_reply *ret)
{
	struct dns_reply a = { 0 };
	struct dns_name name;
	unsigned answers, before, all;
	uint32_t ttl = INT32_MAX;
	bool has_soa = false;
	size_t at;

	if (m.n < DNS_HEAD || get16(m.p) != id)
		return -EAGAIN;
	a.flags = get16(m.p + 2);
	a.rcode = a.flags & 15;
	if (!(a.flags & DNS_QR) || OPCODE(a.flags) != 0)
		return -EAGAIN;
	/* Who does not understand a query may leave the question out. */
	if (get16(m.p + 4) == 0 && m.n == DNS_HEAD && (a.rcode == DNS_FORMERR || a.rcode == DNS_NOTIMP)) {
		*ret = a;
		return 0;
	}
	if (get16(m.p + 4) != 1 || (at = read_name(m, DNS_HEAD, &name)) == 0 || m.n - at < 4 ||
	    !dns_name_eq(&name, &q->name) || get16(m.p + at) != q->type || get16(m.p + at + 2) != q->class)
		return -EAGAIN;
	answers = get16(m.p + 6);
	before = answers + get16(m.p + 8);
	all = before + get16(m.p + 10);
	at += 4;
	a.bytes = at;
	for (unsigned i = 0; i < all; i++) {
		struct record r;

		if (!record_at(m, at, &r)) {
			if (!(a.flags & DNS_TC))
				return -EBADMSG;
			break;		/* some cut within a record; nothing of it is used */
		}
		if (r.type == DNS_OPT_TYPE) {
			if (i < before)
				return -EBADMSG;
			a.rcode |= (uint8_t)(m.p[r.ttl_at] << 4);
			break;
		}
		learn(m, &r, i >= answers && i < before, &has_soa, &ttl);
		at = a.bytes = r.end;
		a.additional += i >= before;
	}
	if ((a.rcode == DNS_NOERROR && answers) || ((a.rcode == DNS_NOERROR || a.rcode == DNS_NXDOMAIN) && has_soa))
		a.ttl = a.flags & DNS_TC ? 0 : ttl;
	*ret = a;
	return 0;
}

static void lower_ttls(uint8_t *p, size_t n, size_t at, uint32_t age_s, uint32_t most_s)
{
	struct record r;

	while (at < n && record_at(slice_of(p, n), at, &r)) {
		set32(p + r.ttl_at, min_of(r.ttl - min_of(r.ttl, age_s), most_s));
		at = r.end;
	}
}

size_t dns_pass_on(uint8_t *to, size_t bytes, struct slice m, uint16_t additional,
		   const struct dns_query *q, uint32_t age_s, uint32_t most_s)
{
	size_t question = DNS_HEAD + q->name.n + 4u, n = m.n;
	uint32_t flags = get16(m.p + 2) & ~DNS_RD;

	must(m.n >= question && bytes >= DNS_QUERY + DNS_OPT);
	if (flags & DNS_TC || n + (q->edns ? DNS_OPT : 0) > bytes) {
		n = question;
		flags |= DNS_TC;
	}
	memcpy(to, m.p, n);
	set16(to, q->id);
	set16(to + 2, flags | DNS_RA | (q->flags & DNS_RD));
	memcpy(to + DNS_HEAD, q->name.at, q->name.n);
	if (flags & DNS_TC)
		memset(to + 6, 0, 6);
	else
		set16(to + 10, additional);
	lower_ttls(to, n, question, age_s, most_s);
	if (q->edns) {
		write_opt(to + n, q, DNS_NOERROR);
		set16(to + 10, get16(to + 10) + 1u);
		n += DNS_OPT;
	}
	return n;
}
