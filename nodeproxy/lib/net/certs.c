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

static bool identity_is_fine(const struct certs_identity *i, size_t head, size_t n)
{
	if (!is_text(i->ns, sizeof i->ns) || !is_text(i->account, sizeof i->account) ||
	    !is_text(i->problem, sizeof i->problem) || i->state >= IDENTITY_STATES ||
	    i->leaves > countof(i->leaf))
		return false;
	for (uint32_t k = 0; k < i->leaves; k++)
		if (!leaf_is_fine(&i->leaf[k], head, n))
			return false;
	return true;
}

int certs_check(struct slice file)
{
	const struct certs *c = (const struct certs *)(const void *)file.p;
	size_t head;

	if (file.n < sizeof *c || c->magic != CERTS_MAGIC || c->bytes != file.n || c->n > CERTS_MAX ||
	    c->identities > CERTS_IDENTITIES || c->bundles > CERTS_BUNDLES)
		return -EBADMSG;
	head = certs_head(c->n, c->identities, c->bundles);
	if (head > file.n || !lies_within(c->crl, head, file.n) || c->issuer.kind >= CERTS_ISSUERS ||
	    !is_text(c->issuer.trust_domain, sizeof c->issuer.trust_domain) ||
	    !is_text(c->issuer.problem, sizeof c->issuer.problem))
		return -EBADMSG;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct certs_entry *e = &c->at[i];

		if (!is_text(e->listener, sizeof e->listener) || !is_text(e->names, sizeof e->names) ||
		    !lies_within(e->client_ca, head, file.n) || !leaf_is_fine(&e->leaf, head, file.n))
			return -EBADMSG;
	}
	for (uint32_t i = 0; i < c->identities; i++)
		if (!identity_is_fine(&certs_identities(c)[i], head, file.n))
			return -EBADMSG;
	for (uint32_t i = 0; i < c->bundles; i++) {
		const struct certs_bundle *b = &certs_bundles(c)[i];

		if (!is_text(b->trust_domain, sizeof b->trust_domain) || b->pem.n == 0 ||
		    !lies_within(b->pem, head, file.n))
			return -EBADMSG;
	}
	return 0;
}

int64_t certs_identity_ends(const struct certs_identity *i)
{
	int64_t to = i->leaves ? INT64_MAX : 0;

	for (uint32_t k = 0; k < i->leaves; k++)
		to = min_of(to, i->leaf[k].to_unix_s);
	return to;
}

enum identity_state certs_identity_state(const struct certs_identity *i, int64_t now_s)
{
	return i->leaves && certs_identity_ends(i) <= now_s ? IDENTITY_EXPIRED : (enum identity_state)i->state;
}

const struct certs_identity *certs_identity_of(const struct certs *c, const char *ns, const char *account)
{
	const struct certs_identity *all = certs_identities(c);

	for (uint32_t i = 0; i < c->identities; i++)
		if (strcmp(all[i].ns, ns) == 0 && strcmp(all[i].account, account) == 0)
			return &all[i];
	return NULL;
}

const struct certs_entry *certs_of(const struct certs *c, const char *listener)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (strcmp(c->at[i].listener, listener) == 0)
			return &c->at[i];
	return NULL;
}

const char *certs_name(const char *listener, unsigned i, char out[CERTS_LISTENER])
{
	size_t n = strnlen(listener, CERTS_LISTENER - 3);

	memcpy(out, listener, n);
	if (i) {
		out[n++] = '/';		/* in no name of a listener */
		out[n++] = (char)('0' + i % 10);
	}
	out[n] = 0;
	return out;
}

const struct certs_entry *certs_nth(const struct certs *c, const char *listener, unsigned i)
{
	char name[CERTS_LISTENER];

	return certs_of(c, certs_name(listener, i, name));
}

const char *cert_key_name(uint32_t kind)
{
	static const char *const names[CERT_KEYS] = { "Ed25519", "P-256", "RSA" };

	return kind < CERT_KEYS ? names[kind] : "?";
}

static const char *const refusals[SIGN_REFUSALS][2] = {
	[SIGN_FINE] = { "", "signed" },
#define REFUSAL(name, label, words) [SIGN_##name] = { label, words },
#include "nodeproxy/lib/net/refusals.def"
};

const char *sign_refusal_words(enum sign_refusal r)
{
	return refusals[r < SIGN_REFUSALS ? r : SIGN_FAILED][1];
}

const char *sign_refusal_label(enum sign_refusal r)
{
	return refusals[r < SIGN_REFUSALS ? r : SIGN_FAILED][0];
}

const char *identity_state_name(uint32_t state)
{
	static const char *const names[IDENTITY_STATES] = { "waiting", "valid", "overdue", "expired" };

	return state < IDENTITY_STATES ? names[state] : "?";
}

const char *certs_issuer_name(uint32_t kind)
{
	static const char *const names[CERTS_ISSUERS] = { "none", "node-ca", "files" };

	return kind < CERTS_ISSUERS ? names[kind] : "?";
}
