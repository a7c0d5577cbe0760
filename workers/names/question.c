/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One question: what it is, whose name it asks for, and the answer.  See names.h. */
#include <errno.h>

#include "workers/names/ask.h"
#include "workers/names/lacking.h"
#include "workers/names/local.h"
#include "workers/names/names.h"

void names_refuse(struct names *ns, const struct names_from *from, const struct dns_query *q,
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
		names_refuse(ns, from, q, DNS_REFUSED);
	} else if (r < 0) {
		names_refuse(ns, from, q, DNS_SERVFAIL);
	}
}

/* Asking for endpoints by name is using them: who has the answer goes there without us. */
static void count_lookup(struct names *ns, const struct vservice *s)
{
	struct slot_gen at = vservice_slot(s);

	board_add(&board_service(ns->path->board, ns->path->worker, at.slot, at.gen)->c[SC_lookups], 1);
}

/* False: *ret lacks the endpoints that are the answer. */
static bool answer(struct names *ns, const struct names_from *from, const struct dns_query *q,
		   struct vservice *ret)
{
	struct local l = { .view = ns->path->view, .ns = slice_str(from->pod->gate->terms.ns),
			   .ttl = (uint32_t)(ns->path->knobs->names_ttl_ms / 1000), .endpoints_of = ret };
	enum dns_rcode rcode;
	size_t n;

	ret->view = NULL;
	if (l.view == NULL) {		/* which names are ours is not known yet */
		names_refuse(ns, from, q, DNS_SERVFAIL);
		return true;
	}
	n = local_answer(&l, q, ns->out, names_room(from, q), &rcode);
	if (ret->view && vservice_lacks_endpoints(ret))
		return false;
	if (n == 0) {
		pass_on(ns, from, q);
		return true;
	}
	if (ret->view)
		count_lookup(ns, ret);
	board_add(&ns->path->mine->c[WC_names_local], 1);
	names_say(ns, from, n);
	return true;
}

bool names_answer(struct names *ns, const struct names_from *from, const struct dns_query *q)
{
	struct vservice s;

	return answer(ns, from, q, &s);
}

static void answer_or_wait(struct names *ns, const struct names_from *from, const struct dns_query *q)
{
	struct vservice s;

	if (answer(ns, from, q, &s) || lacking_wait(ns, from, q, &s) == 0)
		return;
	board_add(&ns->path->mine->c[WC_names_refused], 1);
	board_add(&from->pod->gate->tenant->board->c[TC_names_refused], 1);
	names_refuse(ns, from, q, DNS_SERVFAIL);
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
		answer_or_wait(ns, from, &q);
		return 0;
	case DNS_ANSWER_FORMERR:
		names_refuse(ns, from, &q, DNS_FORMERR);
		return 0;
	case DNS_ANSWER_NOTIMP:
		names_refuse(ns, from, &q, DNS_NOTIMP);
		return 0;
	case DNS_ANSWER_REFUSED:
		names_refuse(ns, from, &q, DNS_REFUSED);
		return 0;
	case DNS_ANSWER_BADVERS:
		names_refuse(ns, from, &q, DNS_BADVERS);
		return 0;
	case DNS_SILENCE:
		break;
	}
	return -EBADMSG;
}
