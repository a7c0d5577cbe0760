/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See identities.h. */
#include "nodeproxy/keyd/identities.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/spiffe.h"

#define FILE_END    ".pem"
#define KEY_END	    "-----END PRIVATE KEY-----\n"
#define AGAIN_MIN_S 5		/* after a failure, doubled by each */
#define AGAIN_MAX_S 300
#define PAUSE_S	    30		/* between renewals, whatever life an issuer that ends soon gives */
#define SWEEP_S	    3600

static_must(IDENTITIES_MAX == CERTS_IDENTITIES);

int identities_init(struct identities *s, struct fd *dir)
{
	*s = (struct identities){ .at = OPENSSL_malloc(IDENTITIES_MAX * sizeof s->at[0]) };
	seal_init(&s->seal, dir);
	return s->at ? 0 : -ENOMEM;
}

static void free_pairs(struct pair p[ISSUER_PAIRS], unsigned *n)
{
	for (unsigned i = 0; i < *n; i++)
		pair_free(&p[i]);
	*n = 0;
}

static void free_one(struct identity *i)
{
	free_pairs(i->pair, &i->n);
	free_pairs(i->before, &i->n_before);
}

void identities_fini(struct identities *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free_one(&s->at[i]);
	OPENSSL_free(s->at);
	terms_free(&s->terms);
	seal_fini(&s->seal);
}

/* ---- one ---- */

static int want(const struct identities *s, const struct identity *i, int64_t now_s, char uri[SPIFFE_MAX],
		struct issue *ret)
{
	struct spiffe id = { .trust_domain = slice_str(s->terms.trust_domain), .ns = slice_str(i->of.ns),
			     .account = slice_str(i->of.account) };

	*ret = (struct issue){ .ns = i->of.ns, .account = i->of.account, .uri = uri, .now_s = now_s,
			       .life_s = s->terms.life_s };
	return spiffe_print(&id, uri) < 0 ? -EINVAL : 0;
}

/* The last second of all its pairs; 0: it has none. */
static int64_t ends(const struct identity *i)
{
	int64_t to = i->n ? INT64_MAX : 0;

	for (unsigned k = 0; k < i->n; k++)
		to = min_of(to, i->pair[k].leaf.to_unix_s);
	return to;
}

static enum identity_state state_of(const struct identity *i, int64_t now_s)
{
	return i->n == 0	  ? IDENTITY_WAITING :
	       ends(i) <= now_s	  ? IDENTITY_EXPIRED :
	       i->failures	  ? IDENTITY_OVERDUE :
				    IDENTITY_VALID;
}

/* At half of its life, a tenth of it earlier or later: not all at once, and with time for many tries. */
static void plan(const struct identities *s, struct identity *i)
{
	const struct certs_leaf *l = &i->pair[0].leaf;
	int64_t from = l->from_unix_s + MINT_BACK_S, to = ends(i), life = max_of(to - from, (int64_t)0);
	int64_t spread = min_of(life / 5, (int64_t)UINT32_MAX / 2);

	i->again_unix_s = 0;
	i->renew_unix_s = from + life / 2 - spread / 2 + (int64_t)rand_below((uint32_t)spread + 1);
	if (s->terms.kind == CERTS_ISSUER_FILES)
		i->renew_unix_s = INT64_MAX;	/* when they change */
}

/* Nothing is to be done: it has time, and is what the issuer would issue; or there is no issuer now. */
static bool is_good(const struct identities *s, const struct identity *i, int64_t now_s)
{
	char uri[SPIFFE_MAX];
	struct issue w;

	if (i->n == 0 || now_s >= i->renew_unix_s || ends(i) <= now_s || now_s < i->pair[0].leaf.from_unix_s)
		return false;
	return s->terms.issuer == NULL ||
	       (want(s, i, now_s, uri, &w) == 0 &&
		s->terms.issuer->kind->is_of(s->terms.issuer, &w, &i->pair[0]));
}

/* After a failure; a clock that was set back does not make it longer. */
static bool waits(const struct identity *i, int64_t now_s)
{
	return i->again_unix_s > now_s && i->again_unix_s - now_s <= 2 * AGAIN_MAX_S;
}

/* ---- kept on disk ---- */

static void file_name(const struct msg_identity *of, char out[SEAL_NAME])
{
	static_must(SEAL_NAME >= 2 * 64 + sizeof FILE_END);
	snprintf(out, SEAL_NAME, "%s.%s" FILE_END, of->ns, of->account);	/* a namespace has no dots */
}

static void keep(const struct identities *s, const struct identity *i)
{
	char name[SEAL_NAME], *text;
	struct strbuf b;
	int r = 0;

	if (s->terms.kind == CERTS_ISSUER_FILES || s->seal.state == SEAL_SHUT)
		return;
	text = OPENSSL_malloc(SEAL_BYTES);
	if (text == NULL)
		return;
	b = strbuf_on(text, SEAL_BYTES - 64);	/* what sealing adds */
	for (unsigned k = 0; r == 0 && k < i->n; k++)
		r = pair_print(&i->pair[k], &b);
	file_name(&i->of, name);
	if (r == 0)
		r = seal_put(&s->seal, name, strbuf_slice(&b));
	OPENSSL_free(text);
	if (r < 0)
		log_limited(LOG_WARN, "identity_not_kept", "identity=%s/%s error=\"%s\"", i->of.ns, i->of.account,
			    strerror(-r));
}

static int read_pairs(const struct issue *w, struct slice text, struct pair p[ISSUER_PAIRS], unsigned *n,
		      char words[PAIR_WORDS])
{
	int r = 0;

	while (r == 0 && text.n && *n < ISSUER_PAIRS) {
		const uint8_t *end = memmem(text.p, text.n, KEY_END, sizeof KEY_END - 1);
		struct slice one = slice_of(text.p, end ? (size_t)(end - text.p) + sizeof KEY_END - 1 : text.n);

		p[*n] = (struct pair){ 0 };
		++*n;
		r = pair_chain(&p[*n - 1], one, true, "it", words);
		if (r == 0)
			r = pair_key(&p[*n - 1], one, slice_of(NULL, 0), "it", words);
		if (r == 0)
			r = issuer_check(w, &p[*n - 1], words);
		text = slice_from(text, one.n);
	}
	return r;
}

/* What was kept, if it is of use. */
static void fetch(const struct identities *s, struct identity *i, int64_t now_s)
{
	char name[SEAL_NAME], words[PAIR_WORDS] = "", uri[SPIFFE_MAX];
	struct issue w;
	uint8_t *p = NULL;
	size_t n = 0;
	int r;

	if (s->terms.kind != CERTS_ISSUER_NODE_CA || want(s, i, now_s, uri, &w) < 0)
		return;
	file_name(&i->of, name);
	r = seal_get(&s->seal, name, &p, &n);
	if (r == 0)
		r = read_pairs(&w, slice_of(p, n), i->pair, &i->n, words);
	else
		snprintf(words, sizeof words, "%s", r == -EBADMSG ? "it is under another passphrase, or damaged" :
								    strerror(-r));
	OPENSSL_free(p);
	ERR_clear_error();
	if (r < 0)
		free_pairs(i->pair, &i->n);
	if (r < 0 && r != -ENOENT)
		log_info("identity_not_fetched", "identity=%s/%s why=\"%s\"", i->of.ns, i->of.account, words);
	if (i->n)
		plan(s, i);
}

static bool is_here(void *arg, const char *name)
{
	const struct identities *s = arg;
	char here[SEAL_NAME];

	for (unsigned i = 0; i < s->n; i++) {
		file_name(&s->at[i].of, here);
		if (strcmp(here, name) == 0)
			return true;
	}
	return false;
}

/* ---- issued ---- */

static void failed(struct identity *i, int64_t now_s, const char *words)
{
	uint32_t wait = AGAIN_MIN_S << min_of(i->failures, 8u);

	wait = min_of(wait, (uint32_t)AGAIN_MAX_S);
	i->again_unix_s = now_s + wait / 2 + rand_below(wait);
	i->failures++;
	if (strcmp(words, i->problem) != 0 || i->failures == 1)
		log_warn("identity_not_issued", "identity=%s/%s why=\"%s\"", i->of.ns, i->of.account, words);
	snprintf(i->problem, sizeof i->problem, "%s", words);
}

static void issue(struct identities *s, struct identity *i, int64_t now_s)
{
	struct pair made[ISSUER_PAIRS];
	char words[PAIR_WORDS], uri[SPIFFE_MAX];
	struct issue w;
	unsigned n = 0;

	s->changed = true;
	if (s->terms.issuer == NULL || want(s, i, now_s, uri, &w) < 0) {
		failed(i, now_s, s->terms.issuer ? "that is no name of an identity" :
				 s->terms.problem[0] ? s->terms.problem : "there is no issuer");
		return;
	}
	if (issuer_issue(s->terms.issuer, &w, made, &n, words) < 0) {
		failed(i, now_s, words);
		return;
	}
	i->renewals += i->n > 0;
	free_pairs(i->before, &i->n_before);
	memcpy(i->before, i->pair, sizeof i->before);
	i->n_before = i->n;
	memcpy(i->pair, made, sizeof i->pair);
	i->n = n;
	i->failures = 0;
	i->problem[0] = 0;
	plan(s, i);
	i->renew_unix_s = max_of(i->renew_unix_s, now_s + PAUSE_S);
	keep(s, i);
	log_info("identity_issued", "identity=%s/%s keys=%u seconds=%lld", i->of.ns, i->of.account, n,
		 (long long)(ends(i) - now_s));
}

static void sweep(struct identities *s, int64_t now_s)
{
	if (s->sweep_unix_s == 0 || s->sweep_unix_s - now_s > SWEEP_S)
		s->sweep_unix_s = now_s + SWEEP_S;
	if (now_s < s->sweep_unix_s)
		return;
	s->sweep_unix_s = now_s + SWEEP_S;
	if (s->terms.kind == CERTS_ISSUER_NODE_CA)
		seal_sweep(&s->seal, FILE_END, is_here, s);
}

bool identities_step(struct identities *s, int64_t now_s, unsigned most)
{
	sweep(s, now_s);
	for (unsigned i = 0; i < s->n; i++) {
		struct identity *one = &s->at[i];

		if (is_good(s, one, now_s)) {
			one->failures = 0;	/* what was wrong is not there any more */
			one->problem[0] = 0;
		} else if (!waits(one, now_s)) {
			if (most-- == 0)
				return true;
			issue(s, one, now_s);
		}
		s->changed |= state_of(one, now_s) != one->told;
	}
	return false;
}

/* ---- what is told ---- */

/* Whether what is kept is sealed in another way than so far. */
static bool seals_otherwise(const struct terms *t, const struct terms *was, const struct seal *seal)
{
	return seal->state == SEAL_SHUT || t->passphrase_bad != was->passphrase_bad ||
	       t->passphrase_n != was->passphrase_n ||
	       (t->passphrase_n && memcmp(t->passphrase, was->passphrase, t->passphrase_n) != 0);
}

void identities_terms(struct identities *s, struct terms *t, int64_t now_s)
{
	struct terms was = s->terms;
	bool otherwise;
	int r = 0;

	otherwise = seals_otherwise(t, &was, &s->seal) && !(t->passphrase_bad && was.passphrase);
	terms_inherit(t, &was);
	terms_free(&was);
	s->terms = *t;
	*t = (struct terms){ .kind = CERTS_ISSUER_NONE };
	if (otherwise && s->terms.passphrase_bad)
		seal_shut(&s->seal);	/* never in clear what was to be sealed */
	else if (otherwise)
		r = seal_passphrase(&s->seal, slice_of(s->terms.passphrase, s->terms.passphrase_n));
	if (r < 0)
		log_error("identities_not_kept", "error=\"%s\"", strerror(-r));
	for (unsigned i = 0; i < s->n; i++) {
		s->at[i].again_unix_s = 0;	/* what failed may go now */
		if (s->at[i].n == 0)
			fetch(s, &s->at[i], now_s);
	}
	s->changed = true;
}

static struct identity *find(struct identities *s, const struct msg_identity *of)
{
	for (unsigned i = 0; i < s->n; i++)
		if (strcmp(s->at[i].of.ns, of->ns) == 0 && strcmp(s->at[i].of.account, of->account) == 0)
			return &s->at[i];
	return NULL;
}

static bool is_text(const char *s, size_t n)
{
	return s[0] && memchr(s, 0, n) && !strchr(s, '/');
}

static void add(struct identities *s, const struct msg_identity *of, int64_t now_s)
{
	struct identity *i = &s->at[s->n++];

	*i = (struct identity){ .of = *of };
	fetch(s, i, now_s);
}

int identities_here(struct identities *s, struct slice list, int64_t now_s)
{
	const struct msg_identities *head = (const void *)list.p;
	const struct msg_identity *all = head->at;
	bool here[IDENTITIES_MAX] = { false };
	uint32_t n;

	if (list.n < sizeof *head || head->n > IDENTITIES_MAX || list.n != IDENTITIES_BYTES(head->n))
		return -EBADMSG;
	n = head->n;
	for (uint32_t k = 0; k < n; k++) {
		struct identity *i;

		if (!is_text(all[k].ns, sizeof all[k].ns) || !is_text(all[k].account, sizeof all[k].account))
			return -EBADMSG;
		i = find(s, &all[k]);
		if (i)
			here[i - s->at] = true;
	}
	for (unsigned i = s->n; i-- > 0;) {
		if (here[i])
			continue;
		free_one(&s->at[i]);
		s->at[i] = s->at[--s->n];
		here[i] = here[s->n];
	}
	for (uint32_t k = 0; k < n; k++)
		if (find(s, &all[k]) == NULL)
			add(s, &all[k], now_s);
	s->changed = true;
	return 0;
}

const struct pair *identities_find(const struct identities *s, uint64_t key, const struct msg_identity **ret)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct identity *one = &s->at[i];

		*ret = &one->of;
		for (unsigned k = 0; k < one->n; k++)
			if (one->pair[k].leaf.key == key)
				return &one->pair[k];
		for (unsigned k = 0; k < one->n_before; k++)
			if (one->before[k].leaf.key == key)
				return &one->before[k];
	}
	return NULL;
}

size_t identities_bytes(const struct identities *s)
{
	size_t n = s->terms.crl_n;

	for (unsigned i = 0; i < s->n; i++)
		for (unsigned k = 0; k < s->at[i].n; k++)
			n += pair_bytes(&s->at[i].pair[k]);
	for (unsigned i = 0; i < s->terms.bundles; i++)
		n += s->terms.bundle[i].n;
	return n;
}

static struct certs_span put(struct certs *c, size_t *at, const uint8_t *p, size_t n)
{
	struct certs_span span = { n ? (uint32_t)*at : 0, (uint32_t)n };

	if (n)
		memcpy((uint8_t *)c + *at, p, n);
	*at += n;
	return span;
}

static void put_one(struct identity *i, struct certs_identity *e, struct certs *c, size_t *at, int64_t now_s)
{
	i->told = state_of(i, now_s);
	*e = (struct certs_identity){ .state = i->told, .leaves = i->n, .renew_unix_s = i->renew_unix_s,
				      .renewals = i->renewals, .failures = i->failures };
	memcpy(e->ns, i->of.ns, sizeof e->ns);
	memcpy(e->account, i->of.account, sizeof e->account);
	memcpy(e->problem, i->problem, sizeof e->problem);
	for (unsigned k = 0; k < i->n; k++)
		e->leaf[k] = pair_put(&i->pair[k], c, at);
}

void identities_put(struct identities *s, struct certs *c, size_t *at, int64_t now_s)
{
	struct certs_identity *e = (struct certs_identity *)(uintptr_t)certs_identities(c);
	struct certs_bundle *b = (struct certs_bundle *)(uintptr_t)certs_bundles(c);
	const struct terms *t = &s->terms;

	c->issuer = (struct certs_issuer){ .kind = t->kind };
	if (t->issuer) {
		c->issuer.from_unix_s = t->issuer->from_unix_s;
		c->issuer.to_unix_s = t->issuer->to_unix_s;
	}
	memcpy(c->issuer.trust_domain, t->trust_domain, sizeof c->issuer.trust_domain);
	memcpy(c->issuer.problem, t->problem, sizeof c->issuer.problem);
	for (unsigned i = 0; i < s->n; i++)
		put_one(&s->at[i], &e[i], c, at, now_s);
	for (unsigned i = 0; i < t->bundles; i++) {
		memcpy(b[i].trust_domain, t->bundle[i].trust_domain, sizeof b[i].trust_domain);
		b[i].pem = put(c, at, t->bundle[i].pem, t->bundle[i].n);
	}
	c->crl = put(c, at, t->crl, t->crl_n);
	s->changed = false;
}
