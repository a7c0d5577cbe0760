/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Resident: a captured pod as its host says it.
 *
 * Who says it is known by where it is written, and by nothing in it: a place that ends with
 * node/NODE/pod/NAMESPACE/POD, which in a registry only that host may write (registry/key.h), and which no
 * file can be called.  What is written anywhere else is refused, whatever it says. */
#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/net/resolvconf.h"
#include "store/resource/make.h"
#include "store/resource/resource.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOURCE_NAME 253u

bool resource_resident_place(const char *root, const char *node, const char *ns, const char *pod, char *out,
			     size_t room)
{
	return (size_t)snprintf(out, room, "%snode/%s/pod/%s/%s", root, node, ns, pod) < room;
}

/* The first part has no dots, so that all behind it is the host: no name of one is one of another. */
bool resource_resident_name(const char *pod, const char *node, char *out, size_t room)
{
	unsigned long long h = hash_stable(slice_str(pod));	/* the same on every host */
	int n = strchr(pod, '.') ? snprintf(out, room, "x-%016llx.%s", h, node)
				 : snprintf(out, room, "%s.%s", pod, node);

	return n > 0 && (size_t)n < room && (size_t)n <= RESOURCE_NAME;
}

static int its_place(struct judge *j, const struct doc_node *spec, const struct row *r)
{
	const struct row_resident *p = &r->resident;
	char end[1024], name[RESOURCE_NAME + 1];
	size_t n_place = strlen(r->source), n_end;

	judge_field(j, "spec.node");
	if (!resource_resident_place("", p->node, r->ns, p->pod, end, sizeof end))
		return judge_refuse(j, spec->line, "is too long");
	n_end = strlen(end);
	if (n_place < n_end || strcmp(r->source + n_place - n_end, end) != 0 ||
	    (n_place > n_end && r->source[n_place - n_end - 1] != '/'))
		return judge_refuse(j, spec->line, "a Resident is said by its host alone, of pods that it has captured "
				    "(nodeproxy-registry(7)): nobody else can write one");
	judge_field(j, "metadata.name");
	if (!resource_resident_name(p->pod, p->node, name, sizeof name) || strcmp(name, r->name) != 0)
		return judge_refuse(j, spec->line, "must be made of spec.pod and spec.node");
	return 0;
}

bool resource_resident_may_have(const struct addr *a)
{
	static const uint8_t zero[10];

	if (!resolver_is_far(a))
		return false;
	return a->family == 4 ? a->ip[0] != 169 || a->ip[1] != 254	/* of one link */
			      : memcmp(a->ip, zero, sizeof zero) != 0;	/* one of IPv4 in other words */
}

static int addresses(struct judge *j, const struct doc_node *list, struct row_resident *p)
{
	for (const struct doc_node *m = list ? list->first : NULL; m; m = m->next) {
		struct addr *a = &p->addr[p->n_addrs];

		judge_field(j, "spec.addresses[%u]", p->n_addrs);
		if (addr_parse_ip(m->text, a) < 0)
			return judge_refuse(j, m->line, "must be an address");
		/* Else it would be this host's own, wherever it is read. */
		if (!resource_resident_may_have(a))
			return judge_refuse(j, m->line, "must be an address that means the same on every host");
		for (uint32_t i = 0; i < p->n_addrs; i++)
			if (addr_eq(&p->addr[i], a))
				return judge_refuse(j, m->line, "is there twice");
		p->n_addrs++;		/* the schema has counted them */
	}
	return 0;
}

int make_resident(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *meta = doc_get(root, "metadata");
	struct row_resident *p = &r->resident;
	int e;

	p->node = make_text(spec, "node", "");
	p->pod = make_text(spec, "pod", "");
	p->account = make_text(spec, "serviceAccount", "default");
	p->zone = make_text(spec, "zone", "");
	p->draining = make_flag(spec, "draining", false);
	if (!p->node || !p->pod || !p->account || !p->zone)
		return -ENOMEM;
	e = its_place(j, spec, r);
	if (e == 0)
		e = addresses(j, doc_get(spec, "addresses"), p);
	if (e == 0)
		judge_field(j, "metadata.labels");
	return e < 0 ? e : make_labels(j, doc_get(meta, "labels"), &p->labels, &p->n_labels);
}
