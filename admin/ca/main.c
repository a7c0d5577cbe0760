/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-ca: nodeproxyctl's `ca` commands, a program of their own because it links libcrypto.
 *
 * It speaks to nobody: it reads and writes files of two directories.  The root's key is needed for
 * `issue-node` alone and belongs on a machine that is not a host of the mesh; what goes to a host is
 * what `issue-node` writes.  Nothing that is there is overwritten unasked, and a file is whole or not
 * there.  Exit codes as nodeproxyctl's: 0 done, 1 refused, 2 usage. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/options.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/mint.h"
#include "nodeproxy/lib/net/pem.h"
#include "nodeproxy/lib/net/spiffe.h"

#define FILE_MOST (1u << 20)
#define TEXT_MAX  16384u
#define DAY_S	  86400

/* ---- words ---- */

static int refuse(const char *path, const char *what)
{
	fprintf(stderr, "nodeproxyctl: %s: %s\n", path, what);
	return EXIT_REFUSED;
}

static const char *value_of(const struct options *o, const char *option, const char *otherwise)
{
	const char *value = options_value(o, option);

	return value ? value : otherwise;
}

static int days_of(const struct options *a, const char *otherwise, uint64_t most, int64_t *ret_s)
{
	uint64_t days;

	if (!slice_u64(slice_str(value_of(a, "--days", otherwise)), most, &days) || days == 0)
		return options_wrong("not a number of days that is allowed: ", value_of(a, "--days", otherwise));
	*ret_s = (int64_t)days * DAY_S;
	return EXIT_DONE;
}

static int kind_of(const struct options *a, int *ret)
{
	const char *word = value_of(a, "--key", "p256");

	*ret = strcmp(word, "p256") == 0 ? EVP_PKEY_EC : strcmp(word, "ed25519") == 0 ? EVP_PKEY_ED25519 : 0;
	return *ret ? EXIT_DONE : options_wrong("a key is p256 or ed25519, not ", word);
}

/* ---- files ---- */

static int open_dir(const char *path, bool make, struct fd *ret)
{
	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return refuse(path, strerror(errno));
	ret->v = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ret->v < 0 ? refuse(path, strerror(errno)) : EXIT_DONE;
}

/* All of a file, with a zero behind it; NULL with errno. */
static uint8_t *read_file(struct fd dir, const char *name, size_t *ret_n)
{
	int f = openat(dir.v, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t *p = f < 0 ? NULL : OPENSSL_malloc(FILE_MOST + 1);
	size_t n = 0;
	ssize_t k = 0;

	while (p && n < FILE_MOST && (k = read(f, p + n, FILE_MOST - n)) > 0)
		n += (size_t)k;
	if (p && (k < 0 || n == FILE_MOST)) {
		errno = k < 0 ? errno : EFBIG;
		OPENSSL_free(p);
		p = NULL;
	}
	if (f >= 0)
		close(f);
	if (p)
		p[n] = 0;
	*ret_n = n;
	return p;
}

static int read_passphrase(const char *path, char out[KEYFILE_PASSPHRASE], struct slice *ret)
{
	struct slice s;
	uint8_t *p;
	size_t n;

	*ret = slice_of(out, 0);
	if (path == NULL)
		return EXIT_DONE;
	p = read_file((struct fd){ AT_FDCWD }, path, &n);
	if (p == NULL)
		return refuse(path, strerror(errno));
	s = slice_of(p, strcspn((const char *)p, "\n"));
	s = keyfile_passphrase(s);
	if (s.n)
		memcpy(out, s.p, s.n);
	ret->n = s.n;
	OPENSSL_free(p);
	return s.n ? EXIT_DONE : refuse(path, "its first line is empty, or longer than 1024 bytes");
}

/* Beside it, then in its place: unless it shall not be overwritten, then only where nothing is. */
static int write_file(struct fd dir, const char *dir_name, const char *name, mode_t mode, struct slice bytes,
		      bool force)
{
	char next[300], path[600];
	int f, r = 0;

	snprintf(next, sizeof next, ".%s.next", name);
	snprintf(path, sizeof path, "%s/%s", dir_name, name);
	(void)unlinkat(dir.v, next, 0);
	f = openat(dir.v, next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (f < 0)
		return refuse(path, strerror(errno));
	for (size_t at = 0; r == 0 && at < bytes.n;) {
		ssize_t k = write(f, bytes.p + at, bytes.n - at);

		if (k < 0)
			r = -errno;
		else
			at += (size_t)k;
	}
	if (r == 0 && (fchmod(f, mode) < 0 || fsync(f) < 0))
		r = -errno;
	close(f);
	if (r == 0 && (force ? renameat(dir.v, next, dir.v, name) :
			       linkat(dir.v, next, dir.v, name, 0)) < 0)
		r = -errno;
	if (r < 0 || !force)
		(void)unlinkat(dir.v, next, 0);
	if (r == 0 && fsync(dir.v) < 0)
		r = -errno;
	return r == 0 ? EXIT_DONE : refuse(path, r == -EEXIST ? "is there already; --force overwrites it" :
								strerror(-r));
}

/* None of these may be there, unless it may be overwritten: said before anything is written. */
static int look_first(struct fd dir, const char *dir_name, const char *const names[], bool force)
{
	struct stat st;
	char path[600];

	for (; *names && !force; names++)
		if (fstatat(dir.v, *names, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			snprintf(path, sizeof path, "%s/%s", dir_name, *names);
			return refuse(path, "is there already; --force overwrites it");
		}
	return EXIT_DONE;
}

static int write_cert(struct fd dir, const char *dir_name, const char *name, struct slice der, bool force)
{
	char text[TEXT_MAX];
	struct strbuf b = strbuf_on(text, sizeof text);

	pem_print(&b, "CERTIFICATE", der);
	return write_file(dir, dir_name, name, 0644, strbuf_slice(&b), force);
}

static int write_key(struct fd dir, const char *dir_name, const char *name, EVP_PKEY *key,
		     struct slice passphrase, bool force)
{
	char *text;
	size_t n;
	int code;

	if (keyfile_print(key, passphrase, &text, &n) < 0)
		return refuse(name, "no memory");
	code = write_file(dir, dir_name, name, 0600, slice_of(text, n), force);
	OPENSSL_free(text);
	return code;
}

/* ---- init ---- */

static int make_root(const struct options *a, const char *td, int64_t life_s, int kind, struct fd dir)
{
	const char *where = value_of(a, "--dir", NULL);
	bool force = value_of(a, "--force", NULL);
	char uri[SPIFFE_MAX], passphrase[KEYFILE_PASSPHRASE];
	struct mint m = { .what = MINT_ROOT, .uri = uri, .name = td, .life_s = life_s,
			  .now_s = clock_unix_ms() / 1000 };
	struct slice seal;
	EVP_PKEY *key = NULL;
	uint8_t *der = NULL;
	size_t n;
	int code = read_passphrase(value_of(a, "--passphrase-file", NULL), passphrase, &seal);

	if (code == EXIT_DONE)
		code = look_first(dir, where, (const char *[]){ "root.key", "root.pem", NULL }, force);
	if (code)
		return code;
	snprintf(uri, sizeof uri, "spiffe://%s", td);
	if (mint_key(kind, &key) < 0)
		return refuse(where, "no memory");
	m.subject = m.signer = key;
	code = mint(&m, &der, &n) < 0 ? refuse(where, "the certificate cannot be made") :
					write_key(dir, where, "root.key", key, seal, force);
	if (code == EXIT_DONE)
		code = write_cert(dir, where, "root.pem", slice_of(der, n), force);
	if (code == EXIT_DONE)
		printf("%s/root.pem: root of %s\n%s/root.key: its key%s: keep it where no host is\n", where,
		       uri, where, seal.n ? ", sealed" : "");
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	OPENSSL_cleanse(passphrase, sizeof passphrase);
	return code;
}

static int init(const struct options *a)
{
	const char *td = value_of(a, "--trust-domain", "cluster.local"), *where = value_of(a, "--dir", NULL);
	struct spiffe id = { .trust_domain = slice_str(td), .host = SLICE("h") };
	char uri[SPIFFE_MAX];
	struct fd dir = FD_NONE;
	int64_t life_s;
	int kind, code;

	if (where == NULL)
		return options_wrong("--dir is missing", "");
	if (spiffe_print(&id, uri) < 0)
		return options_wrong("a trust domain is lower case letters, digits, dots, - and _, not ", td);
	code = days_of(a, "3650", 36500, &life_s);
	if (code == EXIT_DONE)
		code = kind_of(a, &kind);
	if (code == EXIT_DONE)
		code = open_dir(where, true, &dir);
	if (code == EXIT_DONE)
		code = make_root(a, td, life_s, kind, dir);
	fd_close(&dir);
	return code;
}

/* ---- issue-node ---- */

struct root {
	uint8_t *pem;
	size_t n;
	X509 *x;
	EVP_PKEY *key;
	char trust_domain[256];
};

static void root_free(struct root *r)
{
	OPENSSL_free(r->pem);
	X509_free(r->x);
	EVP_PKEY_free(r->key);
}

/* The next certificate of a PEM file; NULL: none, or (*bad) one that cannot be read. */
static X509 *next_cert(struct slice *pem, uint8_t *der, bool *bad)
{
	struct slice label;
	size_t n;
	int r;

	while ((r = pem_next(pem, &label, der, PEM_MAX, &n)) == 1) {
		const uint8_t *p = der;
		X509 *x;

		if (!slice_eq(label, SLICE("CERTIFICATE")))
			continue;
		x = d2i_X509(NULL, &p, (long)n);
		*bad = x == NULL;
		return x;
	}
	*bad = r < 0;
	return NULL;
}

static int read_root(const char *where, struct fd dir, struct slice passphrase, struct root *ret)
{
	static uint8_t der[PEM_MAX];
	char path[600], uri[SPIFFE_MAX];
	struct slice pem;
	const char *why;
	uint8_t *key;
	size_t n;
	bool bad;
	int r;

	snprintf(path, sizeof path, "%s/root.pem", where);
	ret->pem = read_file(dir, "root.pem", &ret->n);
	if (ret->pem == NULL)
		return refuse(path, strerror(errno));
	pem = slice_of(ret->pem, ret->n);
	ret->x = next_cert(&pem, der, &bad);
	if (ret->x == NULL || X509_check_ca(ret->x) != 1)
		return refuse(path, "its first certificate is not of an authority");
	r = mint_uri(ret->x, uri, sizeof uri);
	if (r < 0 || strncmp(uri, "spiffe://", 9) != 0 || strchr(uri + 9, '/') || !uri[9] || r > 255)
		return refuse(path, "does not say which trust domain it is of");
	memcpy(ret->trust_domain, uri + 9, (size_t)r - 9 + 1);
	snprintf(path, sizeof path, "%s/root.key", where);
	key = read_file(dir, "root.key", &n);
	if (key == NULL)
		return refuse(path, strerror(errno));
	r = keyfile_read(slice_of(key, n), passphrase, &ret->key, &why);
	OPENSSL_free(key);
	if (r < 0)
		return refuse(path, why);
	return X509_check_private_key(ret->x, ret->key) == 1 ? EXIT_DONE :
							       refuse(path, "is not the key of root.pem");
}

static int write_node(const struct options *a, const struct root *root, const char *node, int64_t life_s, int kind,
		      struct fd dir)
{
	const char *where = value_of(a, "--out", NULL);
	bool force = value_of(a, "--force", NULL);
	struct spiffe id = { .trust_domain = slice_str(root->trust_domain), .host = slice_str(node) };
	char uri[SPIFFE_MAX], bundle[300], passphrase[KEYFILE_PASSPHRASE];
	struct mint m = { .what = MINT_NODE, .signer = root->key, .issuer = root->x, .uri = uri, .name = node,
			  .now_s = clock_unix_ms() / 1000, .life_s = life_s };
	struct slice seal;
	EVP_PKEY *key = NULL;
	uint8_t *der = NULL;
	size_t n;
	int code = read_passphrase(value_of(a, "--node-passphrase-file", NULL), passphrase, &seal);

	snprintf(bundle, sizeof bundle, "%s.pem", root->trust_domain);
	if (code == EXIT_DONE && spiffe_print(&id, uri) < 0)
		code = options_wrong("not the name of a host: ", node);
	if (code == EXIT_DONE)
		code = look_first(dir, where, (const char *[]){ "node.key", "node.pem", bundle, NULL }, force);
	if (code)
		return code;
	if (mint_key(kind, &key) < 0)
		return refuse(where, "no memory");
	m.subject = key;
	code = mint(&m, &der, &n) < 0 ? refuse(where, "the root has expired: make another") :
					write_key(dir, where, "node.key", key, seal, force);
	if (code == EXIT_DONE)
		code = write_cert(dir, where, "node.pem", slice_of(der, n), force);
	if (code == EXIT_DONE)
		code = write_file(dir, where, bundle, 0644, slice_of(root->pem, root->n), force);
	if (code == EXIT_DONE)
		printf("%s/node.pem: issues as %s\n%s/node.key: its key%s\n%s/%s: whom the mesh trusts\n", where,
		       uri, where, seal.n ? ", sealed" : "", where, bundle);
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	OPENSSL_cleanse(passphrase, sizeof passphrase);
	return code;
}

static int issue_node(const struct options *a)
{
	const char *node = value_of(a, "--node", NULL), *from = value_of(a, "--dir", NULL),
		   *where = value_of(a, "--out", NULL);
	struct fd dir = FD_NONE, out = FD_NONE;
	char passphrase[KEYFILE_PASSPHRASE];
	struct root root = { 0 };
	struct slice seal;
	int64_t life_s;
	int kind, code;

	if (!node || !from || !where)
		return options_wrong(!from ? "--dir is missing" : !node ? "--node is missing" : "--out is missing", "");
	code = days_of(a, "90", 3650, &life_s);
	if (code == EXIT_DONE)
		code = kind_of(a, &kind);
	if (code == EXIT_DONE)
		code = read_passphrase(value_of(a, "--passphrase-file", NULL), passphrase, &seal);
	if (code == EXIT_DONE)
		code = open_dir(from, false, &dir);
	if (code == EXIT_DONE)
		code = read_root(from, dir, seal, &root);
	if (code == EXIT_DONE)
		code = open_dir(where, true, &out);
	if (code == EXIT_DONE)
		code = write_node(a, &root, node, life_s, kind, out);
	root_free(&root);
	fd_close(&dir);
	fd_close(&out);
	OPENSSL_cleanse(passphrase, sizeof passphrase);
	return code;
}

/* ---- show ---- */

static void print_time(const char *words, int64_t unix_s)
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	printf("  %-9s %04d-%02d-%02d %02d:%02d UTC\n", words, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
	       tm.tm_hour, tm.tm_min);
}

static int show_cert(const char *where, const char *name, X509 *x)
{
	int64_t now = clock_unix_ms() / 1000, from = mint_unix_s(X509_get0_notBefore(x)),
		to = mint_unix_s(X509_get0_notAfter(x));
	const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
	EVP_PKEY *k = X509_get_pubkey(x);
	char uri[SPIFFE_MAX], quoted[SPIFFE_MAX * 4];
	struct strbuf b = strbuf_on(quoted, sizeof quoted);
	uint8_t *der = NULL, hash[SHA256_DIGEST_LENGTH];
	int n = i2d_X509(x, &der);

	if (mint_uri(x, uri, sizeof uri) < 0)
		snprintf(uri, sizeof uri, "no identity");
	strbuf_quoted(&b, slice_str(uri), SPIFFE_MAX);
	printf("%s/%s: %s%s\n", where, name, quoted, X509_check_ca(x) == 1 ? ", issues" : "");
	printf("  %-9s %s\n", "key", !k ? "?" : EVP_PKEY_id(k) == EVP_PKEY_ED25519 ? "Ed25519" :
	       EVP_PKEY_id(k) == EVP_PKEY_EC ? "P-256" : "RSA");
	print_time("from", from);
	print_time(to <= now ? "EXPIRED" : "to", to);
	printf("  %-9s ", "serial");
	for (int i = 0; i < ASN1_STRING_length(serial); i++)
		printf("%02x", ASN1_STRING_get0_data(serial)[i]);
	SHA256(der, n > 0 ? (size_t)n : 0, hash);
	printf("\n  %-9s ", "sha256");
	for (size_t i = 0; i < sizeof hash; i++)
		printf("%02x", hash[i]);
	printf("\n");
	OPENSSL_free(der);
	EVP_PKEY_free(k);
	ERR_clear_error();
	return to <= now ? EXIT_REFUSED : EXIT_DONE;
}

static int show(const struct options *a)
{
	static const char *const names[] = { "root.pem", "node.pem" };
	const char *where = value_of(a, "--dir", NULL);
	static uint8_t der[PEM_MAX];
	struct fd dir = FD_NONE;
	unsigned shown = 0;
	int code;

	if (where == NULL)
		return options_wrong("--dir is missing", "");
	code = open_dir(where, false, &dir);
	if (code)
		return code;
	for (size_t i = 0; i < countof(names); i++) {
		size_t n;
		uint8_t *pem = read_file(dir, names[i], &n);
		struct slice rest = slice_of(pem, pem ? n : 0);
		bool bad = false;
		X509 *x;

		while (pem && (x = next_cert(&rest, der, &bad))) {
			code = max_of(code, show_cert(where, names[i], x));
			X509_free(x);
			shown++;
		}
		if (bad)
			code = refuse(names[i], "a certificate in it cannot be read");
		OPENSSL_free(pem);
	}
	fd_close(&dir);
	return shown || code ? code : refuse(where, "neither root.pem nor node.pem is there");
}

int main(int argc, char **argv)
{
	static int (*const does[LOCALS])(const struct options *) = {
		[LOCAL_ca_init] = init, [LOCAL_ca_issue_node] = issue_node, [LOCAL_ca_show] = show,
	};
	struct options o;
	int code;

	rand_init();
	code = options_read(argc, argv, "nodeproxy-ca", &o);
	return code >= 0 ? code : does[o.what](&o);
}
