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

/* k=v,k=v */
static bool are_labels(const char *s)
{
	while (*s) {
		const char *key = s;

		while (*s && is_label_byte(*s))
			s++;
		if (s == key || *s != '=')
			return false;
		s++;
		while (*s && is_label_byte(*s))
			s++;
		if (*s == ',' && s[1])
			s++;
		else if (*s)
			return false;
	}
	return true;
}

const char *pod_problem(const struct pod_words *w, bool only_name)
{
	if (!ends(w->name, sizeof w->name) || !is_name(w->name, true))
		return "the name of a pod is 1 to 63 lower case letters, digits, - and dots";
	if (!ends(w->ns, sizeof w->ns) || !is_name(w->ns, false))
		return "the namespace is 1 to 63 lower case letters, digits and -";
	if (only_name)
		return NULL;
	if (!ends(w->account, sizeof w->account) || !is_name(w->account, true))
		return "the service account is 1 to 63 lower case letters, digits, - and dots";
	if (!msg_text(w->netns, sizeof w->netns) || w->netns[0] != '/')
		return "the network namespace is named by an absolute path, or by a process in it";
	if (!ends(w->labels, sizeof w->labels) || !are_labels(w->labels))
		return "labels are key=value, with commas between them";
	return NULL;
}

const struct pods_page *pods_page(struct slice bytes)
{
	const struct pods_page *p = (const struct pods_page *)(const void *)bytes.p;

	if (bytes.n < sizeof *p || p->magic != PODS_MAGIC || p->n > PODS_MAX ||
	    bytes.n != PODS_PAGE_BYTES(p->n))
		return NULL;
	for (uint32_t i = 0; i < p->n; i++)
		if (pod_problem(&p->pod[i].words, false))
			return NULL;
	return p;
}

uint32_t pods_captured(const struct pods_page *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n; i++)
		n += !p->pod[i].leaves;
	return n;
}
