/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See terms.h. */
#include "nodeproxy/keyd/terms.h"

#include <errno.h>
#include <openssl/mem.h>
#include <stdio.h>

#include "nodeproxy/keyd/roots.h"
#include "nodeproxy/lib/net/keyfile.h"

static const char *const fields[][2] = {
	[IDENTITY_FILE_PASSPHRASE] = { "identity.passphrase_file", "" },
	[IDENTITY_FILE_CA] = { "identity.ca_certificate", "identity.ca_key" },
	[IDENTITY_FILE_BUNDLE] = { "identity.bundle", "" },
	[IDENTITY_FILE_CRL] = { "identity.crl", "" },
	[IDENTITY_FILE_PAIR] = { "identity.files", "identity.files" },
};

int terms_init(struct terms_staged *s)
{
	*s = (struct terms_staged){ .at = OPENSSL_malloc(TERMS_FILES * sizeof s->at[0]) };
	return s->at ? 0 : -ENOMEM;
}

void terms_drop(struct terms_staged *s)
{
	for (unsigned i = 0; i < s->n; i++)
		for (unsigned k = 0; k < 2; k++)
			OPENSSL_free(s->at[i].p[k]);
	s->n = 0;
}

void terms_fini(struct terms_staged *s)
{
	terms_drop(s);
	OPENSSL_free(s->at);
}

/* ---- files ---- */

static bool is_name(const char *s, size_t n)
{
	return s[0] && memchr(s, 0, n) && !strchr(s, '/');
}

void terms_add(struct terms_staged *s, const struct msg_identity_file *m, struct fd fd[2])
{
	struct terms_file *f = &s->at[s->n];
	unsigned k = 0;

	if (s->n == TERMS_FILES || m->what >= countof(fields) ||
	    (m->what == IDENTITY_FILE_BUNDLE && !is_name(m->trust_domain, sizeof m->trust_domain)) ||
	    (m->what == IDENTITY_FILE_PAIR && (!is_name(m->of.ns, sizeof m->of.ns) ||
					       !is_name(m->of.account, sizeof m->of.account))))
		return;		/* the count does not match then */
	*f = (struct terms_file){ .m = *m };
	s->n++;
	if (m->error < 0) {
		k = fields[m->what][m->which & 1][0] ? m->which & 1 : 0;
		snprintf(f->words, sizeof f->words, "%s: cannot be opened: %s", fields[m->what][k],
			 strerror(-m->error));
		return;
	}
	for (k = 0; k < 2 && fields[m->what][k][0] && f->words[0] == 0; k++)
		if (pair_file(fd[k], fields[m->what][k], &f->p[k], &f->n[k], f->words) == 0 && f->n[k] == 0)
			snprintf(f->words, sizeof f->words, "%s: is empty", fields[m->what][k]);
}

static struct slice bytes_of(const struct terms_file *f, unsigned k)
{
	return slice_of(f->p[k], f->n[k]);
}

static const struct terms_file *find(const struct terms_staged *s, enum identity_file what)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].m.what == what)
			return &s->at[i];
	return NULL;
}

/* ---- made ---- */

static void note(struct terms *t, const char *words)
{
	if (t->problem[0] == 0)
		snprintf(t->problem, sizeof t->problem, "%s", words);
}

/* Moves the bytes. */
static void take(struct terms_file *f, uint8_t **ret, size_t *ret_n)
{
	*ret = f->p[0];
	*ret_n = f->n[0];
	f->p[0] = NULL;
}

static void make_passphrase(struct terms_file *f, struct terms *t)
{
	struct slice s = keyfile_passphrase(bytes_of(f, 0));

	if (f->words[0] == 0 && s.n == 0)
		snprintf(f->words, sizeof f->words, "identity.passphrase_file: is empty, or too long");
	if (f->words[0]) {
		note(t, f->words);
		t->passphrase_bad = true;
		return;
	}
	take(f, &t->passphrase, &t->passphrase_n);
	t->passphrase_n = s.n;
}

static void make_bundle(struct terms_file *f, struct terms *t)
{
	struct terms_bundle *b = &t->bundle[t->bundles];
	char field[PAIR_WORDS];

	snprintf(field, sizeof field, "identity.bundle: %.100s", f->m.trust_domain);
	if (f->words[0] == 0 && t->bundles == CERTS_BUNDLES)
		snprintf(f->words, sizeof f->words, "identity.bundle: more trust domains than 16");
	if (f->words[0] || roots_check(bytes_of(f, 0), ROOTS_WANTED, field, f->words) < 0) {
		note(t, f->words);
		t->bundles_bad = true;
		return;
	}
	*b = (struct terms_bundle){ .n = 0 };
	memcpy(b->trust_domain, f->m.trust_domain, sizeof b->trust_domain);
	take(f, &b->pem, &b->n);
	t->bundles++;
}

static void make_crl(struct terms_file *f, struct terms *t)
{
	if (f->words[0] || roots_check(bytes_of(f, 0), LISTS_WANTED, "identity.crl", f->words) < 0) {
		note(t, f->words);
		t->crl_bad = true;
		return;
	}
	take(f, &t->crl, &t->crl_n);
}

static void make_node_ca(const struct terms_staged *s, const struct msg_identity_terms *m, bool strict,
			 struct terms *t)
{
	const struct terms_file *f = find(s, IDENTITY_FILE_CA);
	char words[PAIR_WORDS] = "identity.ca_certificate: is missing";
	int r = f && f->words[0] == 0 ? 0 : -EINVAL;

	if (f && f->words[0])
		memcpy(words, f->words, sizeof words);
	if (r == 0)
		r = node_ca_new(bytes_of(f, 0), bytes_of(f, 1), slice_of(t->passphrase, t->passphrase_n),
				m->trust_domain, m->node, strict, &t->issuer, words);
	if (r < 0)
		note(t, words);
}

/* One that is wrong is missing, no more: its identity says so. */
static void make_pairs(const struct terms_staged *s, const struct msg_identity_terms *m, struct terms *t)
{
	if (file_pairs_new(m->trust_domain, &t->issuer) < 0) {
		note(t, "identity.files: no memory");
		return;
	}
	for (unsigned i = 0; i < s->n; i++) {
		const struct terms_file *f = &s->at[i];

		if (f->m.what == IDENTITY_FILE_PAIR)
			file_pairs_add(t->issuer, &f->m.of, f->words, bytes_of(f, 0), bytes_of(f, 1),
				       slice_of(t->passphrase, t->passphrase_n));
	}
}

void terms_make(struct terms_staged *s, const struct msg_identity_terms *m, bool strict, struct terms *t)
{
	*t = (struct terms){ .kind = m->issuer < CERTS_ISSUERS ? (enum certs_issuer_kind)m->issuer :
								  CERTS_ISSUER_NONE,
			     .life_s = m->life_s };
	memcpy(t->trust_domain, m->trust_domain, sizeof t->trust_domain);
	t->trust_domain[sizeof t->trust_domain - 1] = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].m.what == IDENTITY_FILE_PASSPHRASE)
			make_passphrase(&s->at[i], t);
	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].m.what == IDENTITY_FILE_BUNDLE)
			make_bundle(&s->at[i], t);
		else if (s->at[i].m.what == IDENTITY_FILE_CRL)
			make_crl(&s->at[i], t);
	if (t->kind == CERTS_ISSUER_NODE_CA)
		make_node_ca(s, m, strict, t);
	else if (t->kind == CERTS_ISSUER_FILES)
		make_pairs(s, m, t);
	if (t->kind != CERTS_ISSUER_NONE && t->bundles == 0 && !t->bundles_bad) {
		note(t, "identity.bundle: no trust domain has a file in it");
		t->bundles_bad = true;
	}
	terms_drop(s);
}

/* All bundles or none: half of a directory would be trust that was taken away. */
static void inherit_bundles(struct terms *t, struct terms *before)
{
	for (unsigned i = 0; i < t->bundles; i++)
		OPENSSL_free(t->bundle[i].pem);
	memcpy(t->bundle, before->bundle, sizeof t->bundle);
	t->bundles = before->bundles;
	before->bundles = 0;
}

void terms_inherit(struct terms *t, struct terms *before)
{
	if (t->issuer == NULL && t->kind == before->kind) {
		t->issuer = before->issuer;
		before->issuer = NULL;
	}
	if (t->passphrase_bad && before->passphrase) {
		t->passphrase = before->passphrase;
		t->passphrase_n = before->passphrase_n;
		t->passphrase_bad = false;
		before->passphrase = NULL;
	}
	if (t->bundles_bad && before->bundles)
		inherit_bundles(t, before);
	if (t->crl_bad) {
		t->crl = before->crl;
		t->crl_n = before->crl_n;
		before->crl = NULL;
		before->crl_n = 0;
	}
}

void terms_free(struct terms *t)
{
	issuer_free(&t->issuer);
	for (unsigned i = 0; i < t->bundles; i++)
		OPENSSL_free(t->bundle[i].pem);
	OPENSSL_free(t->crl);
	OPENSSL_free(t->passphrase);
	*t = (struct terms){ .kind = CERTS_ISSUER_NONE };
}
