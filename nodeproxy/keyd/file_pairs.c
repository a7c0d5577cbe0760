/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The issuer that is another tool's files: a certificate with its key per identity, made elsewhere and
 * given as they are. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <stdio.h>

#include "nodeproxy/keyd/issuer.h"
#include "nodeproxy/lib/net/spiffe.h"

struct file_pair {
	struct msg_identity of;
	struct pair pair;		/* without certificates: words say why */
	char words[PAIR_WORDS];
};

struct file_pairs {
	struct issuer i;
	char trust_domain[256];
	struct file_pair *at;
	unsigned n;
};

static const struct file_pair *find(const struct file_pairs *f, const char *ns, const char *account)
{
	for (unsigned k = 0; k < f->n; k++)
		if (strcmp(f->at[k].of.ns, ns) == 0 && strcmp(f->at[k].of.account, account) == 0)
			return &f->at[k];
	return NULL;
}

static int take_file(struct issuer *i, const struct issue *w, struct pair *ret, char words[PAIR_WORDS])
{
	const struct file_pair *p = find((const struct file_pairs *)i, w->ns, w->account);

	if (p && p->pair.leaf.chain_n) {
		pair_copy(&p->pair, ret);
		return 0;
	}
	snprintf(words, PAIR_WORDS, "%s", p ? p->words : "identity.files: has none of it");
	return -EINVAL;
}

static void free_files(struct issuer *i)
{
	struct file_pairs *f = (struct file_pairs *)i;

	for (unsigned k = 0; k < f->n; k++)
		pair_free(&f->at[k].pair);
	OPENSSL_free(f->at);
	OPENSSL_free(f);
}

/* What is there now, or would be if it could be read. */
static bool is_in_files(const struct issuer *i, const struct issue *w, const struct pair *p)
{
	const struct file_pair *now = find((const struct file_pairs *)i, w->ns, w->account);

	return now && now->pair.leaf.chain_n && now->pair.leaf.chain_n == p->leaf.chain_n &&
	       now->pair.bytes[0] == p->bytes[0] && memcmp(now->pair.chain[0], p->chain[0], p->bytes[0]) == 0;
}

int file_pairs_new(const char *trust_domain, struct issuer **ret)
{
	static const struct issuer_kind kind = { .is = CERTS_ISSUER_FILES, .take = take_file,
						 .is_of = is_in_files, .free = free_files };
	struct file_pairs *f = OPENSSL_malloc(sizeof *f);

	if (f == NULL)
		return -ENOMEM;
	*f = (struct file_pairs){ .i.kind = &kind, .at = OPENSSL_malloc(IDENTITIES_MAX * sizeof f->at[0]) };
	if (f->at == NULL) {
		OPENSSL_free(f);
		return -ENOMEM;
	}
	snprintf(f->trust_domain, sizeof f->trust_domain, "%s", trust_domain);
	*ret = &f->i;
	return 0;
}

void file_pairs_add(struct issuer *i, const struct msg_identity *of, const char *why, struct slice certificate,
		    struct slice key, struct slice passphrase)
{
	struct file_pairs *f = (struct file_pairs *)i;
	struct spiffe id = { .trust_domain = slice_str(f->trust_domain), .ns = slice_str(of->ns),
			     .account = slice_str(of->account) };
	char uri[SPIFFE_MAX];
	struct issue w = { .uri = uri };
	struct file_pair *p = &f->at[f->n];
	int r;

	if (f->n == IDENTITIES_MAX)
		return;
	f->n++;
	*p = (struct file_pair){ .of = *of };
	if (why[0] == 0 && spiffe_print(&id, uri) < 0)
		why = "identity.files: that is no name of an identity";
	if (why[0]) {
		snprintf(p->words, sizeof p->words, "%s", why);
		return;
	}
	r = pair_chain(&p->pair, certificate, false, "identity.files: its certificate", p->words);
	if (r == 0)
		r = pair_key(&p->pair, key, passphrase, "identity.files: its key", p->words);
	if (r == 0)
		r = issuer_check(&w, &p->pair, p->words);
	ERR_clear_error();
	if (r < 0)
		pair_free(&p->pair);
}
