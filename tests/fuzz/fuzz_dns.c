/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Any bytes as a query, answered from a view; and as a resolver's reply to it, passed on.  What we write
 * is a message that we would believe ourselves. */
#include "tests/fuzz/replay.h"

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/view_from.h"
#include "workers/names/local.h"

static const struct view *view;
static uint8_t out[DNS_MOST];

static void as_query(struct slice in)
{
	struct local l = { .view = view, .ns = SLICE("shop"), .ttl = 5 };
	enum dns_rcode rcode;
	struct dns_query q;
	struct dns_reply r;
	size_t n;

	if (dns_query(in, &q) != DNS_GOOD)
		return;
	must(q.name.n > 0 && q.udp >= DNS_UDP);
	n = local_answer(&l, &q, out, DNS_UDP, &rcode);
	must(n <= DNS_UDP);
	must(n == 0 || dns_reply(slice_of(out, n), &q, q.id, &r) == 0);
	must(n == 0 || (r.rcode & 15) == (rcode & 15));
	/* The same bytes again, as what its question is answered with. */
	n = dns_ask(out, &q, q.id, q.edns);
	must(n <= DNS_QUERY + DNS_OPT && dns_query(slice_of(out, n), &q) == DNS_GOOD);
}

/* Two bytes: the id; then the message with which the resolver answers its own question. */
static void as_reply(struct slice in)
{
	uint8_t copy[DNS_MOST];
	struct dns_query q;
	struct dns_reply r, again;
	size_t n;

	if (in.n < DNS_HEAD || in.n > sizeof copy)
		return;
	memcpy(copy, in.p, in.n);
	copy[2] &= 0x7f;		/* what it answers: its question without the rest */
	memset(copy + 6, 0, 6);
	(void)dns_query(slice_of(copy, in.n), &q);
	if (q.name.n == 0 || dns_reply(in, &q, q.id, &r) != 0 || r.bytes == 0)
		return;
	must(r.bytes <= in.n);
	n = dns_pass_on(out, DNS_UDP, slice_of(in.p, r.bytes), r.additional, &q, 7, 30);
	must(n <= DNS_UDP && dns_reply(slice_of(out, n), &q, q.id, &again) == 0);
	n = dns_pass_on(out, DNS_MOST, slice_of(in.p, r.bytes), r.additional, &q, 7, 30);
	must((n >= r.bytes || r.flags & DNS_TC) && dns_reply(slice_of(out, n), &q, q.id, &again) == 0);
	must(again.ttl <= 30);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size);

	if (!view) {
		view = view_from("service shop/web vip=10.96.0.1 vip=fd96::1 port=80/http\n"
				 "service shop/db headless port=5432/pg\n"
				 "endpoint shop/db:pg 10.0.0.1:5432 host=db-0\n"
				 "endpoint shop/db:pg [fd00::1]:5432\n");
		rand_seed(1);
	}
	as_query(in);
	as_reply(in);
	return 0;
}
