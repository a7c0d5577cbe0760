/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pods.h. */
#include "nodeproxy/lib/ipc/pods.h"

static bool ends(const char *s, size_t n)
{
	return memchr(s, 0, n) != NULL;
}

/* Lower case letters, digits, and between them - and (where names have more than one part) dots. */
static bool is_name(const char *s, bool dots)
{
	const char *last = s;

	if (!s[0] || strchr("-.", s[0]))
		return false;
	for (; *s; last = s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-' ||
		      (*s == '.' && dots)))
			return false;
	return *last != '-' && *last != '.';
}

static bool is_label_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       strchr("-_./", c) != NULL;
}

/* The next of k=v,k=v, and behind it; false: what there is next is none. */
static bool next_label(const char **s, struct slice *ret_key, struct slice *ret_value)
{
	const char *key = *s, *value = key, *end;

	while (*value && is_label_byte(*value))
		value++;
	if (value == key || *value != '=')
		return false;
	*ret_key = slice_of(key, (size_t)(value - key));
	for (end = ++value; *end && is_label_byte(*end); end++)
		;
	*ret_value = slice_of(value, (size_t)(end - value));
	if (*end == ',' && end[1])
		end++;
	else if (*end)
		return false;
	*s = end;
	return true;
}

/* NULL: all of them are labels, and those of ours are known. */
static const char *labels_problem(const char *s, bool only_out)
{
	struct slice key, value;
	uint8_t mode;

	while (*s) {
		enum ns_mode m;

		if (!next_label(&s, &key, &value))
			return "labels are key=value, with commas between them";
		if (!slice_starts(key, SLICE(NS_MODES_PREFIX)))
			continue;
		if (only_out)
			return "nothing comes to processes of a uid by nodeproxy: they have no label of nodeproxy.io";
		m = ns_mode_by_label(key);
		if (m == NS_MODES || !ns_mode_is_of_pods(m))
			return "of nodeproxy.io a pod has only the label source-address";
		if (!ns_mode_parse(m, value, &mode))
			return "the label nodeproxy.io/source-address is preserve, proxy-protocol or own";
	}
	return NULL;
}

const char *pod_problem(const struct pod_words *w, bool only_name)
{
	if (!ends(w->name, sizeof w->name) || !is_name(w->name, true))
		return "the name of a pod is 1 to 63 lower case letters, digits, - and dots";
	if (!ends(w->ns, sizeof w->ns) || !is_name(w->ns, false))
		return "the namespace is 1 to 63 lower case letters, digits and -";
	if (!msg_text(w->netns, sizeof w->netns) || (w->netns[0] && w->netns[0] != '/'))
		return "the network namespace is named by an absolute path, or by a process in it";
	if (!only_name && (w->netns[0] != 0) == (w->uid != 0))
		return "a pod is either in a network namespace, or all processes of a uid but 0";
	if (w->uid == UINT32_MAX)
		return "there is no such uid";
	if (w->uid && w->n_resolvers)
		return "names are not answered to processes of a uid: they have the host's resolvers";
	if (only_name)
		return NULL;
	if (!ends(w->account, sizeof w->account) || !is_name(w->account, true))
		return "the service account is 1 to 63 lower case letters, digits, - and dots";
	if (!ends(w->labels, sizeof w->labels))
		return "labels are too long";
	if (w->n_resolvers > POD_RESOLVERS)
		return "a pod has at most 3 resolvers";
	return labels_problem(w->labels, w->uid != 0);
}

struct ns_modes pod_modes(const struct pod_words *w, const struct ns_modes *of_ns)
{
	struct ns_modes modes = *of_ns;
	const char *s = w->labels;
	struct slice key, value;

	while (*s && next_label(&s, &key, &value)) {
		enum ns_mode m = ns_mode_by_label(key);

		if (m < NS_MODES && ns_mode_is_of_pods(m))
			(void)!ns_mode_parse(m, value, &modes.of[m]);
	}
	return modes;
}

const struct pods_page *pods_page(struct slice bytes)
{
	const struct pods_page *p = (const struct pods_page *)(const void *)bytes.p;

	if (bytes.n < sizeof *p || p->magic != PODS_MAGIC || p->n > PODS_MAX ||
	    bytes.n != PODS_PAGE_BYTES(p->n))
		return NULL;
	for (uint32_t i = 0; i < p->n; i++)
		if (pod_problem(&p->pod[i].words, false) || !ns_modes_are_valid(&p->pod[i].modes) ||
		    p->pod[i].source > POD_OF_WORKLOAD || !memchr(p->pod[i].why, 0, POD_WHY) ||
		    p->pod[i].addresses.n > POD_ADDRESSES)
			return NULL;
	return p;
}

const struct proofs_page *proofs_page(struct slice bytes)
{
	const struct proofs_page *p = (const struct proofs_page *)(const void *)bytes.p;

	if (bytes.n < sizeof *p || p->magic != PROOFS_MAGIC || p->n > PODS_MAX ||
	    bytes.n != PROOFS_PAGE_BYTES(p->n))
		return NULL;
	for (uint32_t i = 0; i < p->n; i++)
		if (p->pod[i].state >= PROOFS)
			return NULL;
	return p;
}

const struct pod_proof *proof_of(const struct proofs_page *p, uint32_t ref)
{
	for (uint32_t i = 0; p && i < p->n; i++)
		if (p->pod[i].ref == ref)
			return &p->pod[i];
	return NULL;
}

uint32_t pods_captured(const struct pods_page *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n; i++)
		n += !p->pod[i].leaves && !p->pod[i].waits;
	return n;
}
