/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Identities: who issues what for whom and for how long, what is kept on disk, and whom nobody gets. */
#include "nodeproxy/keyd/identities.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/keyd/page.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/pem.h"
#include "tests/unit/test.h"

#define NOW	1800000000
#define DAY	86400
#define DOMAIN	"mesh.example"
#define NODE	"spiffe://" DOMAIN "/node/host-a"
#define WEB	"spiffe://" DOMAIN "/ns/shop/sa/web"

/* ---- the world ---- */

struct authority {
	EVP_PKEY *key;
	X509 *x;
	char pem[4096], key_pem[4096];
};

static char dir[64];
static struct authority root, node;
static struct authority made_here[16];	/* by the test that runs */
static unsigned n_made;
static char roots[4096];
static int64_t unix_now = NOW;

static int64_t mono(void)
{
	return 1;
}

static int64_t unix_ms(void)
{
	return unix_now * 1000;
}

static struct authority authority(enum mint_what what, const struct authority *above, const char *uri, int64_t life)
{
	struct authority a = { 0 };
	struct mint m = { .what = what, .uri = uri, .name = "x", .now_s = NOW, .life_s = life };
	const uint8_t *p;
	uint8_t *der;
	char *text;
	struct strbuf b = strbuf_on(a.pem, sizeof a.pem);
	size_t n;

	ck_assert_int_eq(mint_key(EVP_PKEY_EC, &a.key), 0);
	m.subject = a.key;
	m.signer = above ? above->key : a.key;
	m.issuer = above ? above->x : NULL;
	ck_assert_int_eq(mint(&m, &der, &n), 0);
	pem_print(&b, "CERTIFICATE", slice_of(der, n));
	p = der;
	a.x = d2i_X509(NULL, &p, (long)n);
	OPENSSL_free(der);
	ck_assert_int_eq(keyfile_print(a.key, (struct slice){ 0 }, &text, &n), 0);
	snprintf(a.key_pem, sizeof a.key_pem, "%.*s", (int)n, text);
	OPENSSL_free(text);
	ck_assert_uint_lt(n_made, countof(made_here));
	made_here[n_made++] = a;
	return a;
}

static void setup(void)
{
	for (; root.key && n_made; n_made--) {
		EVP_PKEY_free(made_here[n_made - 1].key);
		X509_free(made_here[n_made - 1].x);
	}
	clock_simulate(mono, unix_ms);
	log_level = LOG_ERROR;
	unix_now = NOW;
	if (root.key)
		return;
	root = authority(MINT_ROOT, NULL, "spiffe://" DOMAIN, 3650 * (int64_t)DAY);
	node = authority(MINT_NODE, &root, NODE, 90 * DAY);
	n_made = 0;	/* these two stay */
	snprintf(roots, sizeof roots, "%s", root.pem);
}

static struct fd file(const char *text)
{
	struct fd f;

	ck_assert_int_eq(memfd_sealed("test", slice_str(text), &f), 0);
	ck_assert_int_eq(lseek(f.v, 0, SEEK_SET), 0);
	return f;
}

static struct terms_staged staged;

static void put(enum identity_file what, const char *a, const char *b, const char *name)
{
	struct msg_identity_file m = { .what = what };
	struct fd fd[2] = { a ? file(a) : FD_NONE, b ? file(b) : FD_NONE };

	if (staged.at == NULL)
		ck_assert_int_eq(terms_init(&staged), 0);
	if (a == NULL)
		m.error = -ENOENT;
	if (what == IDENTITY_FILE_BUNDLE)
		snprintf(m.trust_domain, sizeof m.trust_domain, "%s", name);
	if (what == IDENTITY_FILE_PAIR)
		sscanf(name, "%63[^.].%63s", m.of.ns, m.of.account);
	terms_add(&staged, &m, fd);
	fd_close(&fd[0]);
	fd_close(&fd[1]);
}

static struct terms made(enum certs_issuer_kind issuer, int64_t life)
{
	struct msg_identity_terms m = { .issuer = issuer, .life_s = life, .trust_domain = DOMAIN, .node = "host-a",
					.count = staged.n };
	struct terms t;

	terms_make(&staged, &m, false, &t);
	ck_assert_uint_eq(staged.n, 0);
	return t;
}

static struct terms usual(int64_t life)
{
	put(IDENTITY_FILE_CA, node.pem, node.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	return made(CERTS_ISSUER_NODE_CA, life);
}

static struct identities begin(bool with_dir)
{
	struct identities s;
	struct fd d = FD_NONE;

	if (with_dir && !dir[0]) {
		snprintf(dir, sizeof dir, "/tmp/np-test.XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(dir));
	}
	if (with_dir)
		d.v = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(identities_init(&s, &d), 0);
	return s;
}

static void empty(void)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
	dir[0] = 0;
}

static void use(struct identities *s, struct terms t)
{
	identities_terms(s, &t, unix_now);
}

static void here(struct identities *s, const char *a, const char *b)
{
	_Alignas(8) uint8_t bytes[IDENTITIES_BYTES(2)] = { 0 };
	struct msg_identities *l = (void *)bytes;

	l->n = (a != NULL) + (b != NULL);
	if (a)
		sscanf(a, "%63[^.].%63s", l->at[0].ns, l->at[0].account);
	if (b)
		sscanf(b, "%63[^.].%63s", l->at[1].ns, l->at[1].account);
	ck_assert_int_eq(identities_here(s, slice_of(l, IDENTITIES_BYTES(l->n)), unix_now), 0);
}

static void step(struct identities *s)
{
	while (identities_step(s, unix_now, 4))
		;
}

/* What is told of the only identity; valid until the next call. */
static const struct certs_identity *told(struct identities *s)
{
	static const uint64_t none_refused[SIGN_REFUSALS];
	static struct keystore none;
	static struct slice was;
	struct fd f;

	memfd_unmap(&was);
	ck_assert_int_eq(page_make(&none, s, none_refused, unix_now, &f), 0);
	ck_assert_int_eq(memfd_map_sealed(f, CERTS_BYTES, &was), 0);
	fd_close(&f);
	ck_assert_int_eq(certs_check(was), 0);
	return certs_identities((const void *)was.p);
}

static X509 *leaf_of(const struct pair *p)
{
	const uint8_t *der = p->chain[0];

	return d2i_X509(NULL, &der, (long)p->bytes[0]);
}

/* ---- issued ---- */

START_TEST(an_identity_has_two_certificates_that_its_root_vouches_for)
{
	struct identities s;

	setup();
	s = begin(false);
	use(&s, usual(DAY));
	ck_assert_str_eq(s.terms.problem, "");
	here(&s, "shop.web", NULL);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	step(&s);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_VALID);
	ck_assert_uint_eq(told(&s)->leaves, 2);
	ck_assert_uint_eq(told(&s)->leaf[0].kind, CERT_KEY_ED25519);
	ck_assert_uint_eq(told(&s)->leaf[1].kind, CERT_KEY_P256);
	for (unsigned i = 0; i < 2; i++) {
		const struct pair *p = &s.at[0].pair[i];
		const struct msg_identity *of = NULL;
		X509_STORE *store = X509_STORE_new();
		X509_STORE_CTX *c = X509_STORE_CTX_new();
		STACK_OF(X509) *above = sk_X509_new_null();
		X509 *x = leaf_of(p);
		char uri[1024];

		X509_STORE_add_cert(store, root.x);
		sk_X509_push(above, node.x);
		X509_STORE_CTX_init(c, store, x, above);
		X509_STORE_CTX_set_purpose(c, i ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
		X509_STORE_CTX_set_time(c, 0, NOW);
		ck_assert_int_eq(X509_verify_cert(c), 1);
		ck_assert_int_gt(mint_uri(x, uri, sizeof uri), 0);
		ck_assert_str_eq(uri, WEB);
		ck_assert_uint_eq(p->leaf.chain_n, 2);
		ck_assert_int_eq(p->leaf.from_unix_s, NOW - MINT_BACK_S);
		ck_assert_int_eq(p->leaf.to_unix_s, NOW + DAY);
		ck_assert_ptr_eq(identities_find(&s, p->leaf.key, &of), p);
		ck_assert_str_eq(of->account, "web");
		X509_STORE_CTX_free(c);
		X509_STORE_free(store);
		sk_X509_free(above);
		X509_free(x);
	}
	identities_fini(&s);
}
END_TEST

START_TEST(it_is_renewed_at_half_of_its_life_and_the_old_key_signs_until_the_next)
{
	int64_t first = INT64_MAX, last = 0;
	struct identities s;
	uint64_t keys[3];
	const struct msg_identity *of;

	setup();
	s = begin(false);
	use(&s, usual(3600));
	for (unsigned i = 0; i < 300; i++) {
		here(&s, "shop.web", NULL);
		step(&s);
		first = min_of(first, s.at[0].renew_unix_s);
		last = max_of(last, s.at[0].renew_unix_s);
		here(&s, NULL, NULL);
		ck_assert_uint_eq(s.n, 0);
	}
	ck_assert_int_ge(first, NOW + 1440);	/* 0.4 and 0.6 of an hour */
	ck_assert_int_le(last, NOW + 2160);
	ck_assert_int_gt(last - first, 400);	/* not all at once */
	here(&s, "shop.web", NULL);
	for (unsigned i = 0; i < 3; i++) {
		step(&s);
		keys[i] = s.at[0].pair[0].leaf.key;
		ck_assert_ptr_nonnull(identities_find(&s, keys[i], &of));
		if (i)
			ck_assert_ptr_nonnull(identities_find(&s, keys[i - 1], &of));
		ck_assert_uint_eq(told(&s)->renewals, i);
		unix_now = s.at[0].renew_unix_s - 1;
		step(&s);
		ck_assert_uint_eq(s.at[0].pair[0].leaf.key, keys[i]);
		unix_now++;
	}
	step(&s);
	ck_assert_ptr_null(identities_find(&s, keys[1], &of));
	identities_fini(&s);
}
END_TEST

START_TEST(nothing_outlives_who_issued_it)
{
	struct authority old;
	struct identities s;

	setup();
	old = authority(MINT_NODE, &root, NODE, 600);
	s = begin(false);
	put(IDENTITY_FILE_CA, old.pem, old.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	use(&s, made(CERTS_ISSUER_NODE_CA, DAY));
	here(&s, "shop.web", NULL);
	step(&s);
	ck_assert_int_eq(s.at[0].pair[0].leaf.to_unix_s, NOW + 600);
	unix_now = NOW + 590;
	step(&s);
	ck_assert_int_eq(s.at[0].pair[0].leaf.to_unix_s, NOW + 600);
	ck_assert_int_ge(s.at[0].renew_unix_s, unix_now + 30);	/* no storm at the end */
	unix_now = NOW + 601;
	step(&s);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_EXPIRED);
	ck_assert_str_eq(told(&s)->problem, "the certificate of the node's authority has expired");
	/* another one comes: at once, whatever the wait after a failure is */
	use(&s, usual(DAY));
	step(&s);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_VALID);
	identities_fini(&s);
}
END_TEST

START_TEST(another_authority_issues_anew_and_files_that_are_wrong_change_nothing)
{
	struct authority next, other;
	struct identities s;
	uint64_t key;

	setup();
	next = authority(MINT_NODE, &root, NODE, 90 * DAY);
	s = begin(false);
	use(&s, usual(DAY));
	here(&s, "shop.web", NULL);
	step(&s);
	key = s.at[0].pair[0].leaf.key;
	use(&s, usual(DAY));
	step(&s);
	ck_assert_uint_eq(s.at[0].pair[0].leaf.key, key);	/* the same files */
#define STAYS(says) do {									\
	use(&s, made(CERTS_ISSUER_NODE_CA, DAY));							\
	step(&s);										\
	ck_assert_str_eq(s.terms.problem, says);						\
	ck_assert_uint_eq(s.at[0].pair[0].leaf.key, key);					\
	ck_assert_uint_eq(s.terms.bundles, 1);							\
	ck_assert_ptr_nonnull(s.terms.issuer);							\
	ck_assert_uint_eq(told(&s)->state, IDENTITY_VALID);					\
} while (0)
	put(IDENTITY_FILE_CA, next.pem, node.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	STAYS("identity.ca_key: is not the key of the certificate");
	put(IDENTITY_FILE_CA, NULL, NULL, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	STAYS("identity.ca_certificate: cannot be opened: No such file or directory");
	put(IDENTITY_FILE_CA, node.pem, node.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, "-----BEGIN CERTIFICATE-----\nAA", NULL, DOMAIN);
	STAYS("identity.bundle: mesh.example: is not whole PEM");
	put(IDENTITY_FILE_CA, node.pem, node.key_pem, NULL);
	STAYS("identity.bundle: no trust domain has a file in it");
	put(IDENTITY_FILE_CA, node.pem, node.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	put(IDENTITY_FILE_CRL, roots, NULL, NULL);
	STAYS("identity.crl: has no revocation list in it");
	put(IDENTITY_FILE_CA, node.pem, node.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	put(IDENTITY_FILE_PASSPHRASE, "\n", NULL, NULL);
	STAYS("identity.passphrase_file: is empty, or too long");
#undef STAYS
	put(IDENTITY_FILE_CA, next.pem, next.key_pem, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	use(&s, made(CERTS_ISSUER_NODE_CA, DAY));
	ck_assert_str_eq(s.terms.problem, "");
	step(&s);
	ck_assert_uint_ne(s.at[0].pair[0].leaf.key, key);
	/* none that is not of this host may issue here */
#define NOT(says, a) do {									\
	other = (a);										\
	put(IDENTITY_FILE_CA, other.pem, other.key_pem, NULL);					\
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);						\
	use(&s, made(CERTS_ISSUER_NODE_CA, DAY));							\
	ck_assert_str_eq(s.terms.problem, says);						\
} while (0)
	NOT("identity.ca_certificate: is not of " NODE, authority(MINT_NODE, &root, NODE "b", DAY));
	NOT("identity.ca_certificate: is not of " NODE, authority(MINT_NODE, &root, "spiffe://other.example/node/host-a", DAY));
	NOT("identity.ca_certificate: is not of " NODE, authority(MINT_ROOT, NULL, "spiffe://" DOMAIN, DAY));
	NOT("identity.ca_certificate: may not issue others", authority(MINT_WORKLOAD, &root, WEB, DAY));
#undef NOT
	identities_fini(&s);
}
END_TEST

START_TEST(files_of_another_tool_are_used_as_they_are)
{
	struct authority web, other, expired;
	struct identities s;
	uint64_t key;

	setup();
	web = authority(MINT_WORKLOAD, &node, WEB, DAY);
	other = authority(MINT_WORKLOAD, &node, "spiffe://" DOMAIN "/ns/shop/sa/other", DAY);
	expired = authority(MINT_WORKLOAD, &node, WEB, 5);
	unix_now = NOW + 10;
	s = begin(false);
	here(&s, "shop.web", NULL);
#define PAIR(a, b, want, says) do {								\
	put(IDENTITY_FILE_PAIR, a, b, "shop.web");						\
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);						\
	use(&s, made(CERTS_ISSUER_FILES, DAY));							\
	step(&s);										\
	ck_assert_uint_eq(told(&s)->state, want);						\
	ck_assert_str_eq(told(&s)->problem, says);						\
} while (0)
	PAIR(NULL, NULL, IDENTITY_WAITING, "identity.files: cannot be opened: No such file or directory");
	PAIR(other.pem, other.key_pem, IDENTITY_WAITING, "what was issued is of another identity");
	PAIR(web.pem, other.key_pem, IDENTITY_WAITING, "identity.files: its key: is not the key of the certificate");
	PAIR(expired.pem, expired.key_pem, IDENTITY_WAITING, "what was issued has expired");
	PAIR(web.pem, web.key_pem, IDENTITY_VALID, "");
	ck_assert_int_eq(told(&s)->renew_unix_s, INT64_MAX);
	key = s.at[0].pair[0].leaf.key;
	PAIR(other.pem, other.key_pem, IDENTITY_OVERDUE, "what was issued is of another identity");
	ck_assert_uint_eq(s.at[0].pair[0].leaf.key, key);
	PAIR(web.pem, web.key_pem, IDENTITY_VALID, "");
	web = authority(MINT_WORKLOAD, &node, WEB, DAY);
	PAIR(web.pem, web.key_pem, IDENTITY_VALID, "");
	ck_assert_uint_ne(s.at[0].pair[0].leaf.key, key);
#undef PAIR
	identities_fini(&s);
}
END_TEST

START_TEST(failures_are_tried_again_later_and_later)
{
	struct identities s;
	int64_t waited[12];

	setup();
	s = begin(false);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	use(&s, made(CERTS_ISSUER_NODE_CA, DAY));
	here(&s, "shop.web", NULL);
	for (unsigned i = 0; i < countof(waited); i++) {
		step(&s);
		ck_assert_uint_eq(s.at[0].failures, i + 1);
		waited[i] = s.at[0].again_unix_s - unix_now;
		unix_now = s.at[0].again_unix_s;
	}
	ck_assert_int_le(waited[0], 8);
	ck_assert_int_ge(waited[11], 150);
	ck_assert_int_le(waited[11], 450);
	/* a clock that is set back does not make it wait */
	unix_now = NOW - 100 * (int64_t)DAY;
	step(&s);
	ck_assert_uint_eq(s.at[0].failures, countof(waited) + 1);
	identities_fini(&s);
}
END_TEST

/* ---- kept ---- */

static size_t read_file(const char *name, uint8_t out[65536], mode_t *mode)
{
	char path[256];
	struct stat st;
	int f;
	ssize_t n;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(f, 0);
	ck_assert_int_eq(fstat(f, &st), 0);
	*mode = st.st_mode & 07777;
	n = read(f, out, 65536);
	close(f);
	ck_assert_int_gt(n, 0);
	return (size_t)n;
}

static struct terms with_passphrase(const char *words, bool ca)
{
	if (words)
		put(IDENTITY_FILE_PASSPHRASE, words, NULL, NULL);
	if (ca)
		put(IDENTITY_FILE_CA, node.pem, node.key_pem, NULL);
	else
		put(IDENTITY_FILE_CA, NULL, NULL, NULL);
	put(IDENTITY_FILE_BUNDLE, roots, NULL, DOMAIN);
	return made(CERTS_ISSUER_NODE_CA, DAY);
}

static struct identities again(struct identities *s, const char *words, bool ca)
{
	struct identities next;

	identities_fini(s);
	next = begin(true);
	use(&next, with_passphrase(words, ca));
	here(&next, "shop.web", NULL);
	step(&next);
	return next;
}

START_TEST(a_host_starts_without_its_issuer_while_they_are_valid)
{
	struct identities s;
	uint8_t b[65536];
	mode_t mode;
	uint64_t key;
	size_t n;

	setup();
	s = begin(true);
	use(&s, with_passphrase(NULL, true));
	here(&s, "shop.web", NULL);
	step(&s);
	key = s.at[0].pair[1].leaf.key;
	n = read_file("shop.web.pem", b, &mode);
	ck_assert_uint_eq(mode, 0600);
	ck_assert_ptr_nonnull(memmem(b, n, "PRIVATE KEY", 11));	/* the control of what follows */
	s = again(&s, NULL, false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_VALID);
	ck_assert_uint_eq(told(&s)->leaves, 2);
	ck_assert_uint_eq(s.at[0].pair[1].leaf.key, key);
	unix_now = NOW + DAY / 10 * 7;
	s = again(&s, NULL, false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_OVERDUE);
	ck_assert_uint_eq(s.at[0].pair[1].leaf.key, key);
	s = again(&s, NULL, true);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_VALID);
	ck_assert_uint_ne(s.at[0].pair[1].leaf.key, key);
	unix_now += 2 * DAY;
	s = again(&s, NULL, false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);	/* expired: of no use */
	identities_fini(&s);
	empty();
}
END_TEST

START_TEST(what_is_sealed_opens_with_its_passphrase_under_its_name_only)
{
	struct identities s;
	uint8_t b[65536];
	char from[256], to[256];
	mode_t mode;
	uint64_t key;
	size_t n;

	setup();
	s = begin(true);
	use(&s, with_passphrase("correct horse\n", true));
	here(&s, "shop.web", "shop.other");
	step(&s);
	key = s.at[0].pair[0].leaf.key;
	n = read_file("shop.web.pem", b, &mode);
	ck_assert_uint_eq(mode, 0600);
	ck_assert_ptr_null(memmem(b, n, "PRIVATE KEY", 11));
	ck_assert_ptr_null(memmem(b, n, "CERTIFICATE", 11));
	s = again(&s, "correct horse", false);
	ck_assert_uint_eq(s.at[0].pair[0].leaf.key, key);
	s = again(&s, "wrong horse", false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	s = again(&s, NULL, false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	/* another identity's in its place */
	snprintf(from, sizeof from, "%s/shop.other.pem", dir);
	snprintf(to, sizeof to, "%s/shop.web.pem", dir);
	ck_assert_int_eq(rename(from, to), 0);
	s = again(&s, "correct horse", false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	/* the passphrase cannot be read: nothing is written in clear instead */
	identities_fini(&s);
	s = begin(true);
	put(IDENTITY_FILE_PASSPHRASE, NULL, NULL, NULL);
	use(&s, with_passphrase(NULL, true));
	here(&s, "shop.clear", NULL);
	step(&s);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_VALID);
	snprintf(from, sizeof from, "%s/shop.clear.pem", dir);
	ck_assert_int_lt(access(from, F_OK), 0);
	/* what somebody wrote in clear is not taken while there is one */
	identities_fini(&s);
	s = begin(true);
	use(&s, with_passphrase(NULL, true));
	here(&s, "shop.web", NULL);
	step(&s);
	ck_assert_int_eq(access(to, F_OK), 0);
	s = again(&s, "correct horse", false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	identities_fini(&s);
	empty();
}
END_TEST

START_TEST(damaged_files_are_as_if_there_were_none)
{
	struct identities s;
	uint8_t b[65536];
	char path[256];
	mode_t mode;
	size_t n;

	setup();
	s = begin(true);
	use(&s, with_passphrase("p", true));
	here(&s, "shop.web", NULL);
	step(&s);
	n = read_file("shop.web.pem", b, &mode);
	snprintf(path, sizeof path, "%s/shop.web.pem", dir);
	for (size_t i = 0; i < n; i += 397) {
		FILE *f = fopen(path, "w");

		b[i] ^= 1;
		fwrite(b, 1, i % 2 ? n : i + 1, f);
		fclose(f);
		b[i] ^= 1;
		s = again(&s, "p", false);
		ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	}
	unlink(path);
	ck_assert_int_eq(symlink("/etc/passwd", path), 0);
	s = again(&s, "p", false);
	ck_assert_uint_eq(told(&s)->state, IDENTITY_WAITING);
	identities_fini(&s);
	empty();
}
END_TEST

START_TEST(who_left_is_forgotten_and_after_an_hour_so_is_the_file)
{
	const struct msg_identity *of;
	struct identities s;
	char path[256];
	uint64_t key;

	setup();
	s = begin(true);
	use(&s, with_passphrase(NULL, true));
	here(&s, "shop.web", "shop.other");
	step(&s);
	key = s.at[0].pair[0].leaf.key;
	here(&s, "shop.other", NULL);
	step(&s);
	ck_assert_ptr_null(identities_find(&s, key, &of));
	snprintf(path, sizeof path, "%s/shop.web.pem", dir);
	ck_assert_int_eq(access(path, F_OK), 0);
	here(&s, "shop.other", "shop.web");		/* back soon: the same */
	ck_assert_ptr_nonnull(identities_find(&s, key, &of));
	here(&s, "shop.other", NULL);
	unix_now += 3601;
	step(&s);
	ck_assert_int_lt(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/shop.other.pem", dir);
	ck_assert_int_eq(access(path, F_OK), 0);
	identities_fini(&s);
	empty();
}
END_TEST

START_TEST(a_list_that_lies_is_refused)
{
	_Alignas(8) uint8_t bytes[IDENTITIES_BYTES(2)];
	struct msg_identities *l = (void *)bytes;
	struct identities s;

	setup();
	s = begin(false);
#define TRY(size, change) do {									\
	memset(bytes, 0, sizeof bytes);								\
	l->n = 2;										\
	strcpy(l->at[0].ns, "a"), strcpy(l->at[0].account, "b");					\
	strcpy(l->at[1].ns, "c"), strcpy(l->at[1].account, "d");					\
	change;											\
	ck_assert_int_eq(identities_here(&s, slice_of(bytes, size), NOW), -EBADMSG);		\
	ck_assert_uint_eq(s.n, 0);								\
} while (0)
	TRY(0, (void)0);
	TRY(sizeof bytes - 1, (void)0);
	TRY(sizeof bytes, l->n = 1);
	TRY(sizeof bytes, l->n = UINT32_MAX);
	TRY(sizeof bytes, l->at[1].ns[0] = 0);
	TRY(sizeof bytes, l->at[1].account[0] = 0);
	TRY(sizeof bytes, strcpy(l->at[1].ns, "../x"));
	TRY(sizeof bytes, memset(l->at[1].account, 'x', 64));
#undef TRY
	identities_fini(&s);
}
END_TEST

UNIT_TESTS("identities", an_identity_has_two_certificates_that_its_root_vouches_for,
	   it_is_renewed_at_half_of_its_life_and_the_old_key_signs_until_the_next, nothing_outlives_who_issued_it,
	   another_authority_issues_anew_and_files_that_are_wrong_change_nothing,
	   files_of_another_tool_are_used_as_they_are, failures_are_tried_again_later_and_later,
	   a_host_starts_without_its_issuer_while_they_are_valid,
	   what_is_sealed_opens_with_its_passphrase_under_its_name_only, damaged_files_are_as_if_there_were_none,
	   who_left_is_forgotten_and_after_an_hour_so_is_the_file, a_list_that_lies_is_refused)
