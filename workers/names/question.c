/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One question: what it is, whose name it asks for, and the answer.  See names.h. */
#include <errno.h>

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

static size_t room_of(const struct names_from *from, const struct dns_query *q)
{
	return from->socket ? min_of(q->udp, (uint16_t)NAMES_UDP) : DNS_MOST;
}

static void answer(struct names *ns, const struct names_from *from, const struct dns_query *q)
{
	struct local l = { .view = ns->path->view, .ns = slice_str(from->pod->gate->knobs.ns),
			   .ttl = (uint32_t)(ns->path->knobs->names_ttl_ms / 1000) };
	enum dns_rcode rcode;
	size_t n;

	if (l.view == NULL) {		/* which names are ours is not known yet */
		refuse(ns, from, q, DNS_SERVFAIL);
		return;
	}
	n = local_answer(&l, q, ns->out, room_of(from, q), &rcode);
	if (n)
		names_say(ns, from, n);
	else
		refuse(ns, from, q, DNS_SERVFAIL);
}

int names_question(struct names *ns, const struct names_from *from, struct slice message)
{
	struct dns_query q;

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
