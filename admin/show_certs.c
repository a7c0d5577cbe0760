/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* certs: certificates of this host, as the key process has told of them; and what check finds of them. */
#include <stdio.h>

#include "admin/show.h"

const struct certs_leaf *show_leaf(const struct state *st, const struct knobs_listener *l,
				   char names[CERTS_NAMES])
{
	const struct certs_identity *i;
	const struct certs_entry *e;

	names[0] = 0;
	if (st->certs == NULL || l->tls != TLS_TERMINATE)
		return NULL;
	if (l->tls_identity[0]) {
		i = certs_identity_of(st->certs, l->tls_ns, l->tls_account);
		snprintf(names, CERTS_NAMES, "spiffe://%.100s/ns/%s/sa/%s", st->certs->issuer.trust_domain,
			 l->tls_ns, l->tls_account);
		return i && i->leaves ? &i->leaf[0] : NULL;
	}
	e = certs_of(st->certs, l->name);
	for (unsigned p = 0; p < CERTS_PAIRS; p++) {
		const struct certs_entry *more = certs_nth(st->certs, l->name, p);
		size_t at = strlen(names);

		if (more)
			snprintf(names + at, CERTS_NAMES - at, "%s%s", at ? ", " : "", more->names);
	}
	return e ? &e->leaf : NULL;
}

/* ---- the list ---- */

static void show_leaves(struct text *t, const struct certs_leaf *l, uint32_t n, int64_t to_s)
{
	js_open(t, "keys", '[');
	for (uint32_t i = 0; i < n; i++)
		js_str(t, NULL, cert_key_name(l[i].kind));
	js_close(t, ']');
	if (n == 0)
		return;
	js_i64(t, "from_unix_ms", l[0].from_unix_s * 1000);
	js_i64(t, "to_unix_ms", to_s * 1000);
}

static void show_issuer(struct text *t, const struct certs_issuer *i, int64_t now_s)
{
	bool has = i->to_unix_s != 0;

	js_open(t, NULL, '{');
	js_str(t, "kind", "issuer");
	js_str(t, "name", certs_issuer_name(i->kind));
	/* files: each of theirs is an identity's */
	js_str(t, "state", has && i->to_unix_s <= now_s ? identity_state_name(IDENTITY_EXPIRED) :
			   has || i->kind == CERTS_ISSUER_FILES ? identity_state_name(IDENTITY_VALID) :
								 identity_state_name(IDENTITY_WAITING));
	js_open(t, "keys", '[');
	js_close(t, ']');
	if (has) {
		js_i64(t, "from_unix_ms", i->from_unix_s * 1000);
		js_i64(t, "to_unix_ms", i->to_unix_s * 1000);
	}
	js_str(t, "problem", i->problem);
	js_close(t, '}');
}

static void show_identity(struct text *t, const struct certs *c, const struct certs_identity *i, int64_t now_s)
{
	char name[CERTS_NAMES];

	snprintf(name, sizeof name, "spiffe://%.100s/ns/%s/sa/%s", c->issuer.trust_domain, i->ns, i->account);
	js_open(t, NULL, '{');
	js_str(t, "kind", "identity");
	js_str(t, "name", name);
	js_str(t, "state", identity_state_name(certs_identity_state(i, now_s)));
	show_leaves(t, i->leaf, i->leaves, certs_identity_ends(i));
	if (i->leaves && i->renew_unix_s != INT64_MAX)
		js_i64(t, "renew_unix_ms", i->renew_unix_s * 1000);
	js_u64(t, "renewals_total", i->renewals);
	js_u64(t, "failures", i->failures);
	js_str(t, "problem", i->problem);
	js_close(t, '}');
}

static void show_listener(struct text *t, const struct certs_entry *e, int64_t now_s)
{
	js_open(t, NULL, '{');
	js_str(t, "kind", "listener");
	js_str(t, "name", e->listener);
	js_str(t, "state", identity_state_name(e->leaf.to_unix_s <= now_s ? IDENTITY_EXPIRED : IDENTITY_VALID));
	show_leaves(t, &e->leaf, 1, e->leaf.to_unix_s);
	js_str(t, "problem", "");
	js_close(t, '}');
}

void show_certs(struct state *st, const struct call *call, struct answer *ret)
{
	const struct certs *c = st->certs;
	int64_t now_s = st->now_unix_ms / 1000;
	struct text *t;

	(void)call;
	*ret = show_ok();
	t = &ret->body;
	js_str(t, "issuer", certs_issuer_name(c ? c->issuer.kind : CERTS_ISSUER_NONE));
	js_str(t, "trust_domain", c ? c->issuer.trust_domain : "");
	js_open(t, "trust_domains", '[');
	for (uint32_t i = 0; c && i < c->bundles; i++)
		js_str(t, NULL, certs_bundles(c)[i].trust_domain);
	js_close(t, ']');
	js_open(t, "certs", '[');
	if (c && c->issuer.kind != CERTS_ISSUER_NONE)
		show_issuer(t, &c->issuer, now_s);
	for (uint32_t i = 0; c && i < c->identities; i++)
		show_identity(t, c, &certs_identities(c)[i], now_s);
	for (uint32_t i = 0; c && i < c->n; i++)
		show_listener(t, &c->at[i], now_s);
	js_close(t, ']');
	show_end(ret);
}

/* ---- what check finds ---- */

#define CERT_WARN_S (14 * 86400)	/* what renews certificates every 60 of 90 days has failed */

static void check_listener(const struct state *st, const char *name, const struct certs_leaf *leaf,
			   struct findings *f)
{
	int64_t left = leaf->to_unix_s - st->now_unix_ms / 1000, life = leaf->to_unix_s - leaf->from_unix_s;

	if (left <= 0)
		found(f, CHECK_certificate_expired, name, "the certificate of listener %s expired %lld hours ago",
		      name, (long long)(-left / 3600));
	else if (left < min_of((int64_t)CERT_WARN_S, life / 4))
		found(f, CHECK_certificate_expires, name, "the certificate of listener %s expires in %lld hours",
		      name, (long long)(left / 3600));
}

/* Those of files: that of an identity is told of there. */
static void check_files(const struct state *st, const struct knobs_listener *l, struct findings *f)
{
	for (unsigned i = 0; i < max_of(knobs_paths(l->tls_certificate), 1u); i++) {
		const struct certs_entry *e = certs_nth(st->certs, l->name, i);
		char name[CERTS_LISTENER];

		(void)certs_name(l->name, i, name);
		if (e)
			check_listener(st, name, &e->leaf, f);
		else
			found(f, CHECK_certificate_missing, name,
			      "listener %s has no certificate: who asks for its names gets another", name);
	}
}

static void check_listeners(const struct state *st, struct findings *f)
{
	for (uint32_t i = 0; i < st->knobs->n_listeners && i < KNOBS_LISTENERS; i++) {
		const struct knobs_listener *l = &st->knobs->listener[i];
		char names[CERTS_NAMES];
		const struct certs_leaf *leaf = show_leaf(st, l, names);

		if (l->tls != TLS_TERMINATE)
			continue;
		if (leaf == NULL) {
			found(f, CHECK_certificate_missing, l->name,
			      "listener %s has no certificate: nobody can connect to it", l->name);
			continue;
		}
		if (!l->tls_identity[0])
			check_files(st, l, f);
	}
}

static void check_issuer(const struct state *st, struct findings *f)
{
	const struct certs_issuer *i = &st->certs->issuer;
	int64_t now_s = st->now_unix_ms / 1000, left = i->to_unix_s - now_s, life = i->to_unix_s - i->from_unix_s;
	int64_t soon = min_of(max_of(life / 10, 2 * st->knobs->identity_lifetime_ms / 1000), life / 4);

	if (i->kind == CERTS_ISSUER_NONE)
		return;
	if (i->problem[0])
		found(f, CHECK_issuer_refused, NULL, "%s", i->problem);
	if (i->kind != CERTS_ISSUER_NODE_CA)
		return;
	if (i->to_unix_s == 0)
		found(f, CHECK_issuer_missing, NULL,
		      "identities are not issued: there is no authority that can be used");
	else if (now_s < i->from_unix_s)
		found(f, CHECK_identity_clock, NULL, "the authority of this host is valid in %lld seconds only",
		      (long long)(i->from_unix_s - now_s));
	else if (left <= 0)
		found(f, CHECK_issuer_expired, NULL, "the authority of this host expired %lld hours ago",
		      (long long)(-left / 3600));
	else if (left < soon)
		found(f, CHECK_issuer_ends, NULL, "the authority of this host expires in %lld hours",
		      (long long)(left / 3600));
	else if (left < life / 4)
		found(f, CHECK_issuer_expires, NULL, "the authority of this host expires in %lld hours",
		      (long long)(left / 3600));
}

static void check_identity(const struct state *st, const struct certs_identity *i, struct findings *f)
{
	int64_t now_s = st->now_unix_ms / 1000, left = certs_identity_ends(i) - now_s;
	char name[160];

	snprintf(name, sizeof name, "%s/%s", i->ns, i->account);
	if (i->leaves == 0)
		found(f, CHECK_identity_missing, name, "%s has no certificate: %s", name,
		      i->problem[0] ? i->problem : "it is being issued");
	else if (left <= 0)
		found(f, CHECK_identity_expired, name, "the certificate of %s expired %lld minutes ago: %s", name,
		      (long long)(-left / 60), i->problem);
	else if (now_s < i->leaf[0].from_unix_s)
		found(f, CHECK_identity_clock, name, "the certificate of %s is valid in %lld seconds only", name,
		      (long long)(i->leaf[0].from_unix_s - now_s));
	else if (left < (i->leaf[0].to_unix_s - i->leaf[0].from_unix_s) / 4)
		found(f, CHECK_identity_expires, name, "the certificate of %s expires in %lld minutes: %s", name,
		      (long long)(left / 60), i->problem);
	else if (i->failures)
		found(f, CHECK_identity_overdue, name, "the certificate of %s could not be renewed %u times: %s",
		      name, i->failures, i->problem);
}

/* Hosts have hundreds: the first of them say it. */
#define IDENTITIES_SAID 20u

void show_check_certs(const struct state *st, struct findings *f)
{
	unsigned before = f->n[f->pass];

	check_listeners(st, f);
	if (st->certs == NULL)
		return;
	check_issuer(st, f);
	for (uint32_t i = 0; i < st->certs->identities && f->n[f->pass] - before < IDENTITIES_SAID; i++)
		check_identity(st, &certs_identities(st->certs)[i], f);
}
