/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One question: what it is, whose name it asks for, and the answer.  See names.h. */
#include <errno.h>

#include "workers/names/ask.h"
#include "workers/names/local.h"
#include "workers/names/names.h"

/* An answer that is nothing but its rcode. */
static void refuse(struct names *ns, const struct names_from *from, const struct dns_query *q,
		   enum dns_rcode rcode)
{
	struct dns_out o;

	dns_begin(&o, ns->out, sizeof ns->out, q, 0, rcode);
	dns_put_opt(&o, q, rcode);
	names_say(ns, from, o.n);
}

/* It is none of ours: from what was answered before, or by asking. */
static void pass_on(struct names *ns, const struct names_from *from, const struct dns_query *q)
{
	struct names_key k = names_key(from->pod->ref, q);
	struct cached *c = cache_find(&ns->cache, &k);
	bool fresh = c && cached_is_fresh(c);
	int r;

	/* While it is known that nobody answers nobody is asked. */
	if (c && (fresh || (clock_now().ns < c->again_at.ns &&
			    cached_is_of_use(c, ns->path->knobs->names_stale_ms)))) {
		ask_say_cached(ns, from, q, c, !fresh);
		return;
	}
	r = ask_for(ns, from, q, &k);
	if (r == -EUSERS) {
		board_add(&ns->path->mine->c[WC_names_refused], 1);
		board_add(&from->pod->gate->tenant->board->c[TC_names_refused], 1);
		refuse(ns, from, q, DNS_REFUSED);
	} else if (r < 0) {
		refuse(ns, from, q, DNS_SERVFAIL);
	}
}

static void answer(struct names *ns, const struct names_from *from, const struct dns_query *q)
{
	struct local l = { .view = ns->path->view, .ns = slice_str(from->pod->gate->terms.ns),
			   .ttl = (uint32_t)(ns->path->knobs->names_ttl_ms / 1000) };
	enum dns_rcode rcode;
	size_t n;

	if (l.view == NULL) {		/* which names are ours is not known yet */
		refuse(ns, from, q, DNS_SERVFAIL);
		return;
	}
	n = local_answer(&l, q, ns->out, names_room(from, q), &rcode);
	if (n == 0) {
		pass_on(ns, from, q);
		return;
	}
	board_add(&ns->path->mine->c[WC_names_local], 1);
	names_say(ns, from, n);
}

int names_question(struct names *ns, const struct names_from *from, struct slice message)
{
	struct gate *g = from->pod->gate;
	struct dns_query q;

	gate_now(g);
	board_add(&ns->path->mine->c[WC_names], 1);
	board_add(&g->tenant->board->c[TC_names], 1);
	switch (dns_query(message, &q)) {
	case DNS_GOOD:
		answer(ns, from, &q);
		return 0;
	case DNS_ANSWER_FORMERR:
		refuse(ns, from, &q, DNS_FORMERR);
		return 0;
	case DNS_ANSWER_NOTIMP:
		refuse(ns, from, &q, DNS_NOTIMP);
		return 0;
	case DNS_ANSWER_REFUSED:
		refuse(ns, from, &q, DNS_REFUSED);
		return 0;
	case DNS_ANSWER_BADVERS:
		refuse(ns, from, &q, DNS_BADVERS);
		return 0;
	case DNS_SILENCE:
		break;
	}
	return -EBADMSG;
}
