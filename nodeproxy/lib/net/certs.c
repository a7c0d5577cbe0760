/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See certs.h. */
#include "nodeproxy/lib/net/certs.h"

#include <errno.h>

static bool is_text(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == 0)
			return true;
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	}
	return false;
}

static bool lies_within(struct certs_span s, size_t from, size_t n)
{
	return s.n == 0 || (s.at >= from && s.at <= n && s.n <= n - s.at);
}

static bool leaf_is_fine(const struct certs_leaf *l, size_t head, size_t n)
{
	if (l->kind >= CERT_KEYS || l->key == 0 || l->chain_n == 0 || l->chain_n > CERTS_CHAIN)
		return false;
	for (uint32_t k = 0; k < l->chain_n; k++)
		if (l->chain[k].n == 0 || !lies_within(l->chain[k], head, n))
			return false;
	return true;
}

int certs_check(struct slice file)
{
	const struct certs *c = (const struct certs *)(const void *)file.p;
	size_t head;

	if (file.n < sizeof *c || c->magic != CERTS_MAGIC || c->bytes != file.n || c->n > CERTS_MAX)
		return -EBADMSG;
	head = sizeof *c + c->n * sizeof c->at[0];
	if (head > file.n)
		return -EBADMSG;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct certs_entry *e = &c->at[i];

		if (!is_text(e->listener, sizeof e->listener) || !is_text(e->names, sizeof e->names) ||
		    !lies_within(e->client_ca, head, file.n) || !leaf_is_fine(&e->leaf, head, file.n))
			return -EBADMSG;
	}
	return 0;
}

const struct certs_entry *certs_of(const struct certs *c, const char *listener)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (strcmp(c->at[i].listener, listener) == 0)
			return &c->at[i];
	return NULL;
}

const char *cert_key_name(uint32_t kind)
{
	static const char *const names[CERT_KEYS] = { "Ed25519", "P-256", "RSA" };

	return kind < CERT_KEYS ? names[kind] : "?";
}
