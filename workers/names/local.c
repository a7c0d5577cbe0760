/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See local.h. */
#include "workers/names/local.h"

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"

#define LABELS 5	/* of the longest name of ours before DOMAIN */

enum found { FOUND, NO_SUCH_NAME, NOT_OURS };

/* What is asked for. */
struct asked {
	const struct local *l;
	const struct dns_query *q;
	struct dns_name name;		/* in lower case */
	struct dns_name domain;
	bool below;			/* the name is below domain */
	unsigned n;			/* labels before domain */
	struct slice label[LABELS];	/* the first of them */
	struct slice last;
	struct vservice service;
	struct slice port, host;	/* what stands before SVC; empty: nothing */
};

static bool wants(const struct asked *a, unsigned type)
{
	return a->q->type == type || a->q->type == DNS_ANY;
}

static bool wants_family(const struct asked *a, unsigned family)
{
	return wants(a, family == 4 ? DNS_A : DNS_AAAA);
}

/* ---- which Service ---- */

static void split(struct asked *a)
{
	unsigned at = 0, end = a->name.n - 1u;

	a->below = dns_name_from(view_domain(a->l->view), &a->domain) && a->domain.n > 1 &&
		   dns_name_is_below(&a->name, &a->domain);
	if (a->below)
		end = (unsigned)(a->name.n - a->domain.n);
	for (; at < end; a->n++) {
		a->last = dns_label(&a->name, &at);
		if (a->n < LABELS)
			a->label[a->n] = a->last;
	}
}

static enum found service_of(struct asked *a, struct slice ns, struct slice name)
{
	return view_service_by_name(a->l->view, ns, name, &a->service) ? FOUND : NO_SUCH_NAME;
}

/* The last labels are SVC and NS; before them HOST, or _PORT and _tcp, may stand. */
static enum found service_below(struct asked *a, unsigned n)
{
	if (n == 4 && (a->label[0].p[0] != '_' || !slice_eq(a->label[1], SLICE("_tcp"))))
		return NO_SUCH_NAME;
	if (n == 4)
		a->port = slice_from(a->label[0], 1);
	else if (n == 3)
		a->host = a->label[0];
	else if (n != 2)
		return NO_SUCH_NAME;
	return service_of(a, a->label[n - 1], a->label[n - 2]);
}

static bool is_namespace(const struct asked *a, struct slice ns)
{
	struct vnamespace v;

	view_namespace(a->l->view, ns, &v);
	return v.tenant_slot.gen != 0;
}

/* FOUND without a Service: the name is there, and there is nothing at it. */
static enum found find(struct asked *a)
{
	bool svc = slice_eq(a->last, SLICE("svc"));

	if (a->below && a->n <= (svc ? 1 : 0))
		return FOUND;
	if (a->below && svc && a->n == 2)
		return is_namespace(a, a->label[0]) ? FOUND : NO_SUCH_NAME;
	if (a->below && !svc)
		return NO_SUCH_NAME;
	if (svc && a->n > 2)
		return a->n <= LABELS ? service_below(a, a->n - 1) : NO_SUCH_NAME;
	if (a->n == 1 && service_of(a, a->l->ns, a->label[0]) == FOUND)
		return FOUND;
	if (a->n == 2 && service_of(a, a->label[1], a->label[0]) == FOUND)
		return FOUND;
	return NOT_OURS;
}

/* ---- its addresses ---- */

/* "10-0-0-1", as names of endpoints without hostname are written. */
static struct slice dashed(const struct addr *a, char to[ADDR_TEXT])
{
	addr_text(a, false, to);
	for (char *c = to; *c; c++)
		if (*c == '.' || *c == ':')
			*c = '-';
	return slice_str(to);
}

static bool is_called(const struct vendpoint *e, struct slice host)
{
	char text[ADDR_TEXT];

	return slice_eq(e->host, host) || slice_eq(dashed(&e->addr, text), host);
}

/* Ports of a Service are ports of the same pods: the one with most of them stands for all. */
static bool widest_port(const struct vservice *s, struct vport *ret)
{
	struct vport p;
	bool has = false;

	for (uint32_t i = 0; vservice_port_at(s, i, &p); i++)
		if (!has || vport_ready(&p) > vport_ready(ret)) {
			*ret = p;
			has = true;
		}
	return has;
}

/* What was put fits; false: it is taken back, and nothing more will. */
static bool fits(struct dns_out *o, struct dns_mark before)
{
	if (!o->cut)
		return true;
	dns_back(o, before);
	dns_set_truncated(o);
	return false;
}

static bool put_addr(const struct asked *a, struct dns_out *o, const struct addr *addr)
{
	struct dns_mark before = dns_mark(o);

	dns_put_addr(o, DNS_IN_ANSWER, &a->q->name, a->l->ttl, addr);
	return fits(o, before);
}

static void put_vips(const struct asked *a, struct dns_out *o)
{
	struct addr vip;

	for (unsigned i = 0; i < 2; i++)
		if (vservice_vip(&a->service, i, &vip) && wants_family(a, vip.family) && !put_addr(a, o, &vip))
			return;
}

static bool has_vip(const struct vservice *s)
{
	struct addr vip;

	return vservice_vip(s, 0, &vip) || vservice_vip(s, 1, &vip);
}

/* Endpoints that are ready, from a random one on; false: none is (called host, if that is said). */
static bool put_endpoints(const struct asked *a, struct dns_out *o)
{
	struct vport port;
	uint32_t n, first, put = 0;
	bool any = false;

	if (!widest_port(&a->service, &port) || (n = vport_ready(&port)) == 0)
		return a->host.n == 0;
	first = rand_below(n);
	for (uint32_t i = 0; i < min_of(n, (uint32_t)LOCAL_LOOKS) && put < LOCAL_RECORDS; i++) {
		struct vendpoint e;

		if (!vport_endpoint(&port, vport_ready_at(&port, (first + i) % n), &e) ||
		    (a->host.n && !is_called(&e, a->host)))
			continue;
		any = true;
		e.addr.port = 0;
		if (wants_family(a, e.addr.family) && !put_addr(a, o, &e.addr))
			break;
		put += wants_family(a, e.addr.family);
	}
	return any || a->host.n == 0;
}

/* ---- other records ---- */

/* SVC.NS.svc.DOMAIN, with a label in front unless it is empty; false: it would be too long. */
static bool full_name(const struct asked *a, const struct vservice *s, struct slice host,
		      struct dns_name *ret)
{
	char text[DNS_NAME + 1];
	struct strbuf b = strbuf_on(text, sizeof text);

	strbuf_add(&b, host);
	if (host.n)
		strbuf_addc(&b, '.');
	strbuf_add(&b, vservice_name(s));
	strbuf_addc(&b, '.');
	strbuf_add(&b, vservice_ns(s));
	strbuf_adds(&b, ".svc.");
	strbuf_add(&b, view_domain(a->l->view));
	return !b.cut && dns_name_from(slice_of(text, b.n), ret);
}

static bool named_port(const struct vservice *s, struct slice name, struct vport *ret)
{
	for (uint32_t i = 0; vservice_port_at(s, i, ret); i++)
		if (slice_eq(vport_name(ret), name))
			return true;
	return false;
}

static bool put_srv(const struct asked *a, struct dns_out *o, uint16_t port, const struct dns_name *to)
{
	struct dns_mark before = dns_mark(o);

	dns_put_srv(o, &a->q->name, a->l->ttl, port, to);
	return fits(o, before);
}

/* Who asked for SRV records will ask for these next; room for them or not, the answer is whole. */
static void put_more(const struct asked *a, struct dns_out *o, const struct dns_name *owner,
		     const struct addr *addr)
{
	struct dns_mark before = dns_mark(o);

	dns_put_addr(o, DNS_IN_ADDITIONAL, owner, a->l->ttl, addr);
	if (o->cut)
		dns_back(o, before);
}

static void put_srv_of_endpoints(const struct asked *a, struct dns_out *o, const struct vport *port)
{
	uint32_t n = vport_ready(port), first = n ? rand_below(n) : 0;
	uint32_t most = min_of(n, (uint32_t)LOCAL_RECORDS);

	/* All of a section stand together: first who, then where. */
	for (unsigned more = 0; more < 2; more++)
		for (uint32_t i = 0; i < most; i++) {
			struct dns_name to;
			struct vendpoint e;
			char text[ADDR_TEXT];

			if (!vport_endpoint(port, vport_ready_at(port, (first + i) % n), &e) ||
			    !full_name(a, &a->service, e.host.n ? e.host : dashed(&e.addr, text), &to))
				continue;
			if (more)
				put_more(a, o, &to, &e.addr);
			else if (!put_srv(a, o, e.addr.port, &to))
				return;
		}
}

static bool put_port(const struct asked *a, struct dns_out *o)
{
	struct dns_name to;
	struct vport port;
	struct addr vip;

	if (!named_port(&a->service, a->port, &port))
		return false;
	if (!wants(a, DNS_SRV))
		return true;
	if (!has_vip(&a->service)) {
		put_srv_of_endpoints(a, o, &port);
		return true;
	}
	if (!full_name(a, &a->service, (struct slice){ 0 }, &to) || !put_srv(a, o, port.port, &to))
		return true;
	for (unsigned i = 0; i < 2; i++)
		if (vservice_vip(&a->service, i, &vip))
			put_more(a, o, &to, &vip);
	return true;
}

/* ---- addresses to names ---- */

static int hex(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The address whose name this is. */
static bool reversed(const struct dns_name *name, struct addr *ret)
{
	static const struct {
		const char *zone;
		unsigned labels;
		uint8_t family;
	} of[] = { { "in-addr.arpa", 4, 4 }, { "ip6.arpa", 32, 6 } };
	struct dns_name zone;
	unsigned at = 0;

	for (unsigned k = 0; k < countof(of); k++) {
		if (!dns_name_from(slice_str(of[k].zone), &zone) || !dns_name_is_below(name, &zone) ||
		    dns_labels(name) != of[k].labels + 2)
			continue;
		*ret = (struct addr){ .family = of[k].family };
		for (unsigned i = of[k].labels; i-- > 0;) {
			struct slice label = dns_label(name, &at);
			uint64_t byte;

			if (of[k].family == 4 && slice_u64(label, 255, &byte))
				ret->ip[i] = (uint8_t)byte;
			else if (of[k].family == 6 && label.n == 1 && hex(label.p[0]) >= 0)
				ret->ip[i / 2] |= (uint8_t)(hex(label.p[0]) << (i % 2 ? 0 : 4));
			else
				return false;
		}
		return true;
	}
	return false;
}

static void put_name_of(const struct asked *a, struct dns_out *o)
{
	struct dns_mark before = dns_mark(o);
	struct dns_name to;

	if (!wants(a, DNS_PTR) || !full_name(a, &a->service, (struct slice){ 0 }, &to))
		return;
	dns_put_ptr(o, &a->q->name, a->l->ttl, &to);
	(void)fits(o, before);
}

/* ---- all of it ---- */

/* Of a Service that was found. */
static bool are_endpoints(const struct asked *a)
{
	return a->service.view && (a->host.n || !has_vip(&a->service));
}

size_t local_answer(const struct local *l, const struct dns_query *q, uint8_t *p, size_t room,
		    enum dns_rcode *ret)
{
	struct asked a = { .l = l, .q = q, .name = q->name };
	enum dns_rcode rcode = DNS_NOERROR;
	bool reverse = false;
	struct dns_mark begin;
	struct dns_out o;
	struct addr addr;
	enum found f;

	dns_name_lower(&a.name);
	split(&a);
	if (reversed(&a.name, &addr)) {
		reverse = true;
		f = view_service_by_vip(l->view, &addr, &a.service) ? FOUND : NOT_OURS;
	} else {
		f = find(&a);
	}
	if (f == NOT_OURS)
		return 0;
	if (l->endpoints_of && f == FOUND && !reverse && are_endpoints(&a))
		*l->endpoints_of = a.service;
	dns_begin(&o, p, room - (q->edns ? DNS_OPT : 0), q, DNS_AA, DNS_NOERROR);
	begin = dns_mark(&o);
	if (f == NO_SUCH_NAME)
		rcode = DNS_NXDOMAIN;
	else if (reverse)
		put_name_of(&a, &o);
	else if (a.service.view == NULL && a.below && a.n == 0 && wants(&a, DNS_SOA))
		dns_put_soa(&o, DNS_IN_ANSWER, &a.domain, l->ttl);
	else if (a.service.view == NULL)
		;		/* an empty one on the way to others */
	else if (a.port.n)
		rcode = put_port(&a, &o) ? DNS_NOERROR : DNS_NXDOMAIN;
	else if (a.host.n || !has_vip(&a.service))
		rcode = put_endpoints(&a, &o) ? DNS_NOERROR : DNS_NXDOMAIN;
	else
		put_vips(&a, &o);
	if (o.n == begin.n && !dns_is_truncated(&o)) {
		dns_put_soa(&o, DNS_IN_AUTHORITY, &a.domain, l->ttl);
		(void)fits(&o, begin);
	}
	dns_set_rcode(&o, rcode);
	o.room = room;
	dns_put_opt(&o, q, rcode);
	*ret = rcode;
	return o.n;
}
