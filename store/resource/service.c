/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Service. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* clusterIP and clusterIPs, which say the same. */
static int addresses(struct judge *j, const struct doc_node *spec, struct row_service *s)
{
	const struct doc_node *one = doc_get(spec, "clusterIP"), *list = doc_get(spec, "clusterIPs");
	struct slice first = one ? one->text : (struct slice){ 0 };
	unsigned n = 0;

	if (list && list->n) {
		judge_field(j, "spec.clusterIPs[0]");
		if (first.n && !slice_eq(first, list->first->text))
			return judge_refuse(j, list->first->line, "must be equal to spec.clusterIP");
		first = list->first->text;
	}
	judge_field(j, list && list->n ? "spec.clusterIPs" : "spec.clusterIP");
	if (slice_eq(first, SLICE("None"))) {
		if (list && list->n > 1)
			return judge_refuse(j, list->line, "None must be the only entry");
		s->headless = true;
		return 0;
	}
	if (first.n == 0) {
		if (list && list->n > 1)
			return judge_refuse(j, list->line, "an entry must not be empty");
		return 0;
	}
	if (list == NULL || list->n == 0)
		return addr_parse_ip(first, &s->cluster_ip[0]);
	for (const struct doc_node *m = list->first; m; m = m->next, n++) {
		judge_field(j, "spec.clusterIPs[%u]", n);
		if (addr_parse_ip(m->text, &s->cluster_ip[n]) < 0)
			return judge_refuse(j, m->line, "must be an address");
	}
	if (n == 2 && s->cluster_ip[0].family == s->cluster_ip[1].family)
		return judge_refuse(j, list->first->next->line,
				    "must be of another family than the first (one IPv4, one IPv6)");
	return 0;
}

static enum row_app app_of(struct slice s)
{
	if (slice_eq(s, SLICE("http")))
		return ROW_APP_HTTP;
	if (slice_eq(s, SLICE("tcp")))
		return ROW_APP_TCP;
	if (slice_eq(s, SLICE("kubernetes.io/h2c")))
		return ROW_APP_H2;
	return ROW_APP_AUTO;
}

static int port(struct judge *j, const struct doc_node *m, struct row_service *s, bool only)
{
	struct row_service_port *p = &s->ports[s->n_ports++];
	const struct doc_node *target = doc_get(m, "targetPort");

	p->port = (uint16_t)make_number(m, "port", 0);
	p->protocol = make_protocol(m);
	p->app = app_of(make_slice_of(m, "appProtocol"));
	p->name = make_text(m, "name", "");
	p->app_protocol = make_text(m, "appProtocol", "");
	if (p->name == NULL || p->app_protocol == NULL)
		return -ENOMEM;
	if (target && target->type == DOC_INT) {
		p->target_port = (uint16_t)target->number;
	} else if (target) {
		p->target_name = make_text(m, "targetPort", "");
		if (p->target_name == NULL)
			return -ENOMEM;
	}
	judge_field(j, "spec.ports[%u].name", s->n_ports - 1);
	if (!only && p->name[0] == 0)
		return judge_refuse(j, m->line, "is required when there is more than one port");
	for (uint32_t i = 0; i + 1 < s->n_ports; i++) {
		const struct row_service_port *q = &s->ports[i];

		judge_field(j, "spec.ports[%u].name", s->n_ports - 1);
		if (strcmp(q->name, p->name) == 0)
			return judge_refuse(j, m->line, "%s is the name of ports[%u] already", p->name, i);
		judge_field(j, "spec.ports[%u].port", s->n_ports - 1);
		if (q->port == p->port && q->protocol == p->protocol)
			return judge_refuse(j, m->line, "%u is the port of ports[%u] already", p->port, i);
	}
	return 0;
}

#define SELECTOR_MAX 64u
#define ACCOUNTS_MAX 64u

int make_labels(struct judge *j, const struct doc_node *map, struct row_pair **ret, uint32_t *ret_n)
{
	if (map && map->n > SELECTOR_MAX)
		return judge_refuse(j, map->line, "must be at most %u labels", SELECTOR_MAX);
	if (make_array(map ? map->n : 0, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = map ? map->first : NULL; m; m = m->next) {
		struct row_pair *p = &(*ret)[(*ret_n)++];

		p->name = strndup((const char *)m->key.p, m->key.n);
		p->value = strndup((const char *)m->text.p, m->text.n);
		if (!p->name || !p->value)
			return -ENOMEM;
	}
	return 0;
}

/* Accounts with commas, and perhaps spaces, between them. */
static int accounts(struct judge *j, const struct doc_node *meta, struct row_service *s)
{
	static const char name[] = "nodeproxy.io/service-accounts";
	const struct doc_node *a = doc_get(doc_get(meta, "annotations"), name);
	struct slice rest = a ? a->text : (struct slice){ 0 };
	char seen[64];

	judge_field(j, "metadata.annotations[%s]", name);
	if (a && make_array(ACCOUNTS_MAX, &s->accounts) < 0)
		return -ENOMEM;
	for (bool more = a != NULL; more;) {
		const uint8_t *comma = rest.n ? memchr(rest.p, ',', rest.n) : NULL;
		struct slice one = slice_of(rest.p, comma ? (size_t)(comma - rest.p) : rest.n);

		more = comma != NULL;
		rest = slice_from(rest, one.n + more);
		while (one.n && one.p[0] == ' ')
			one = slice_from(one, 1);
		while (one.n && one.p[one.n - 1] == ' ')
			one.n--;
		if (!schema_is_dns_name(one) || one.n > 63)
			return judge_refuse(j, a->line, "must be names of service accounts with commas between them, "
					    "not \"%s\"", doc_clean(a->text, seen, sizeof seen));
		if (s->n_accounts == ACCOUNTS_MAX)
			return judge_refuse(j, a->line, "must be at most %u accounts", ACCOUNTS_MAX);
		s->accounts[s->n_accounts] = strndup((const char *)one.p, one.n);
		if (s->accounts[s->n_accounts++] == NULL)
			return -ENOMEM;
	}
	return 0;
}

int make_service(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *list = doc_get(spec, "ports");
	struct row_service *s = &r->service;
	int e = addresses(j, spec, s);

	if (e == 0)
		e = accounts(j, doc_get(root, "metadata"), s);
	if (e == 0)
		judge_field(j, "spec.selector");
	if (e == 0)
		e = make_labels(j, doc_get(spec, "selector"), &s->selector, &s->n_selector);
	if (e < 0)
		return e;
	judge_field(j, "spec.ports");
	if (!s->headless && (list == NULL || list->n == 0))
		return judge_refuse(j, spec->line, "is required unless clusterIP is None");
	judge_field(j, "spec.type");
	if (s->headless && doc_get(spec, "type") &&
	    !slice_eq(make_slice_of(spec, "type"), SLICE("ClusterIP")))
		return judge_refuse(j, doc_get(spec, "type")->line,
				    "must be ClusterIP when clusterIP is None");
	if (list == NULL)
		return 0;
	if (make_array(list->n, &s->ports) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list->first; m; m = m->next) {
		e = port(j, m, s, list->n == 1);
		if (e < 0)
			return e;
	}
	return 0;
}
