/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* EndpointSlice. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int port(struct judge *j, const struct doc_node *m, struct row_slice *s)
{
	struct row_slice_port *p = &s->ports[s->n_ports++];

	p->name = make_text(m, "name", "");
	if (p->name == NULL)
		return -ENOMEM;
	p->port = (uint16_t)make_number(m, "port", 0);
	p->protocol = make_protocol(m);
	judge_field(j, "ports[%u].name", s->n_ports - 1);
	for (uint32_t i = 0; i + 1 < s->n_ports; i++)
		if (strcmp(s->ports[i].name, p->name) == 0)
			return judge_refuse(j, m->line, p->name[0] ? "%s is the name of ports[%u] already" :
								     "%sis required, as ports[%u] has none",
					    p->name, i);
	return 0;
}

/* Of all endpoints: "" and what the others take, each with its end. */
static size_t texts_size(const struct doc_node *endpoints)
{
	size_t n = 1;

	for (const struct doc_node *m = endpoints->first; m; m = m->next) {
		const struct doc_node *target = doc_get(m, "targetRef");

		n += make_slice_of(m, "zone").n + make_slice_of(m, "nodeName").n + make_slice_of(m, "hostname").n + 3;
		if (target)
			n += make_slice_of(target, "kind").n + make_slice_of(target, "name").n + 2;
	}
	return n;
}

static void put(char **next, struct slice t)
{
	if (t.n)
		memcpy(*next, t.p, t.n);
	*next += t.n;
}

static char *text(struct row_slice *s, char **next, struct slice t)
{
	char *at = *next;

	if (t.n == 0)
		return s->texts;
	put(next, t);
	*(*next)++ = 0;
	return at;
}

static char *target_text(struct row_slice *s, char **next, const struct doc_node *target)
{
	char *at = *next;

	if (target == NULL)
		return s->texts;
	put(next, make_slice_of(target, "kind"));
	put(next, SLICE("/"));
	put(next, make_slice_of(target, "name"));
	*(*next)++ = 0;
	return at;
}

/* next: where its texts are put. */
static int endpoint(struct judge *j, const struct doc_node *m, struct row_slice *s, char **next)
{
	struct row_endpoint *ep = &s->endpoints[s->n_endpoints++];
	const struct doc_node *list = doc_get(m, "addresses"), *conditions = doc_get(m, "conditions");
	unsigned n = 0;

	for (const struct doc_node *a = list->first; a; a = a->next, n++) {
		struct addr addr;

		judge_field(j, "endpoints[%u].addresses[%u]", s->n_endpoints - 1, n);
		if (addr_parse_ip(a->text, &addr) < 0 || addr.family != s->family)
			return judge_refuse(j, a->line, "must be an IPv%u address, as addressType says, not \"%.60s\"",
					    s->family, (const char *)a->text.p);
		if (n == 0)
			ep->addr = addr;
	}
	ep->n_addrs = n;
	ep->ready = make_flag(conditions, "ready", true);
	ep->serving = make_flag(conditions, "serving", ep->ready);
	ep->terminating = make_flag(conditions, "terminating", false);
	ep->zone = text(s, next, make_slice_of(m, "zone"));
	ep->node = text(s, next, make_slice_of(m, "nodeName"));
	ep->host = text(s, next, make_slice_of(m, "hostname"));
	ep->target = target_text(s, next, doc_get(m, "targetRef"));
	return 0;
}

/* An annotation that is a whole number; *ret stays when there is none. */
static int annotation(struct judge *j, const struct doc_node *meta, const char *name, unsigned min,
		      unsigned max, uint64_t *ret)
{
	const struct doc_node *a = doc_get(doc_get(meta, "annotations"), name);
	char seen[64];
	uint64_t n;

	if (a == NULL)
		return 0;
	judge_field(j, "metadata.annotations[%s]", name);
	if (!slice_u64(a->text, max, &n) || n < min)
		return judge_refuse(j, a->line, "must be a whole number from %u to %u, not \"%s\"", min,
				    max, doc_clean(a->text, seen, sizeof seen));
	*ret = n;
	return 0;
}

static int annotations(struct judge *j, const struct doc_node *meta, struct row_slice *s)
{
	uint64_t weight = ROW_WEIGHT, priority = 0;
	int e = annotation(j, meta, "nodeproxy.io/weight", 1, ROW_WEIGHT_MAX, &weight);

	if (e == 0)
		e = annotation(j, meta, "nodeproxy.io/priority", 0, ROW_PRIORITY_MAX, &priority);
	s->weight = (uint16_t)weight;
	s->priority = (uint8_t)priority;
	return e;
}

int make_slice(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *meta = doc_get(root, "metadata"), *labels = doc_get(meta, "labels");
	const struct doc_node *service = doc_get(labels, "kubernetes.io/service-name");
	const struct doc_node *list;
	struct row_slice *s = &r->slice;
	char *next;
	int e;

	judge_field(j, "metadata.labels[kubernetes.io/service-name]");
	if (service == NULL || service->text.n == 0)
		return judge_refuse(j, labels ? labels->line : meta->line,
				    "is required: the name of the Service whose endpoints these are");
	s->service = strdup((const char *)service->text.p);
	if (s->service == NULL)
		return -ENOMEM;
	if (!schema_is_dns_label(service->text))
		return judge_refuse(j, service->line, "must be the name of a Service, not \"%s\"", s->service);
	e = annotations(j, meta, s);
	if (e < 0)
		return e;
	s->family = slice_eq(make_slice_of(root, "addressType"), SLICE("IPv4")) ? 4 : 6;
	list = doc_get(root, "ports");
	if (make_array(list ? list->n : 0, &s->ports) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list ? list->first : NULL; m; m = m->next) {
		e = port(j, m, s);
		if (e < 0)
			return e;
	}
	list = doc_get(root, "endpoints");
	if (list == NULL || list->n == 0)
		return 0;
	s->texts = calloc(1, texts_size(list));
	if (s->texts == NULL || make_array(list->n, &s->endpoints) < 0)
		return -ENOMEM;
	next = s->texts + 1;
	for (const struct doc_node *m = list->first; m; m = m->next) {
		e = endpoint(j, m, s, &next);
		if (e < 0)
			return e;
	}
	return 0;
}
