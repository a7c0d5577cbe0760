/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Workload: its words are those of `nodeproxyctl pod add` (pod_problem() of lib/ipc/pods.h), and must
 * fit where those do. */
#include "nodeproxy/lib/net/resolvconf.h"
#include "store/resource/make.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LABELS_ROOM 256		/* of struct pod_words */

static bool is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return true;
}

/* k=v,k=v */
static int labels(struct judge *j, const struct doc_node *map, bool only_out, char **ret)
{
	char text[LABELS_ROOM] = "";
	size_t at = 0;

	for (const struct doc_node *m = map ? map->first : NULL; m; m = m->next) {
		size_t n = (at > 0) + m->key.n + 1 + m->text.n;

		judge_field(j, "metadata.labels");
		if (only_out && slice_starts(m->key, SLICE(NS_MODES_PREFIX)))
			return judge_refuse(j, m->line, "of nodeproxy.io are for what comes to a Workload, and of a uid nothing does");
		if (n >= sizeof text - at)
			return judge_refuse(j, m->line, "must be at most %d bytes when they are written as "
					    "key=value with commas between them", LABELS_ROOM - 1);
		snprintf(text + at, sizeof text - at, "%s%.*s=%.*s", at ? "," : "", (int)m->key.n,
			 (const char *)m->key.p, (int)m->text.n, (const char *)m->text.p);
		at += n;
	}
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int resolvers(struct judge *j, const struct doc_node *list, struct row_workload *w)
{
	for (const struct doc_node *m = list ? list->first : NULL; m; m = m->next) {
		struct addr *a = &w->resolver[w->n_resolvers];

		judge_field(j, "spec.resolvers");
		if (w->uid)
			return judge_refuse(j, m->line, "are of no use to processes of a uid: names are not answered to them");
		if (addr_parse_ip(m->text, a) < 0 || !resolver_is_far(a))
			return judge_refuse(j, m->line, "must be addresses that mean the same inside its network "
					    "namespace, and %.*s is none", (int)m->text.n,
					    (const char *)m->text.p);
		w->n_resolvers++;	/* the schema has counted them */
	}
	return 0;
}

int make_workload(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *meta = doc_get(root, "metadata");
	const struct doc_node *name = doc_get(meta, "name"), *netns = doc_get(spec, "networkNamespace");
	struct row_workload *w = &r->workload;
	int e;

	judge_field(j, "metadata.name");
	if (name->text.n > 63)
		return judge_refuse(j, name->line, "must be at most 63 bytes: it is the name of a pod");
	judge_field(j, "spec");
	if (!netns == !doc_get(spec, "uid"))
		return judge_refuse(j, spec->line, "must have either networkNamespace or uid");
	judge_field(j, "spec.networkNamespace");
	if (netns && (netns->text.p[0] != '/' || !is_ascii(netns->text)))
		return judge_refuse(j, netns->line, "must be an absolute path, in ASCII");
	w->account = make_text(spec, "serviceAccount", "default");
	w->netns = make_text(spec, "networkNamespace", "");
	w->node = make_text(spec, "node", "");
	w->uid = (uint32_t)make_number(spec, "uid", 0);
	if (!w->account || !w->netns || !w->node)
		return -ENOMEM;
	e = resolvers(j, doc_get(spec, "resolvers"), w);
	return e < 0 ? e : labels(j, doc_get(meta, "labels"), w->uid != 0, &w->labels);
}
