/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See seal.h. */
#include "nodeproxy/keyd/seal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/aead.h>
#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"

#define ROUNDS 200000	/* of PBKDF2 */
#define SALT   "salt"
#define SALT_N 16u
#define HEAD   "nodeproxy sealed 1\n"
#define HEAD_N (sizeof HEAD - 1)
#define NONCE  12u
#define TAG    16u

void seal_init(struct seal *s, struct fd *dir)
{
	*s = (struct seal){ .dir = fd_take(dir) };
}


/* ---- files ---- */

static int write_all(struct fd f, struct slice a)
{
	while (a.n) {
		ssize_t n = write(f.v, a.p, a.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		a = slice_from(a, (size_t)n);
	}
	return fsync(f.v) < 0 ? -errno : 0;
}

/* Under another name first: whoever reads it, or starts after the power went, finds the one or the
 * other. */
static int put_file(const struct seal *s, const char *name, struct slice a)
{
	char temporary[SEAL_NAME + 2];
	struct fd f;
	int r;

	snprintf(temporary, sizeof temporary, "%s~", name);
	(void)unlinkat(s->dir.v, temporary, 0);
	f.v = openat(s->dir.v, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (f.v < 0)
		return -errno;
	r = write_all(f, a);
	fd_close(&f);
	if (r == 0 && renameat(s->dir.v, temporary, s->dir.v, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(s->dir.v, temporary, 0);
	else
		(void)fsync(s->dir.v);
	return r;
}

static int get_file(const struct seal *s, const char *name, uint8_t **ret, size_t *ret_n)
{
	struct fd f = { openat(s->dir.v, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) };
	uint8_t *p = NULL;
	struct stat st;
	size_t n = 0;
	int r = 0;

	if (f.v < 0)
		return -errno;
	if (fstat(f.v, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > SEAL_BYTES)
		r = -EBADMSG;
	if (r == 0 && !(p = OPENSSL_malloc((size_t)st.st_size)))
		r = -ENOMEM;
	while (r == 0 && n < (size_t)st.st_size) {
		ssize_t k = read(f.v, p + n, (size_t)st.st_size - n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			r = k < 0 ? -errno : -EBADMSG;
		else
			n += (size_t)k;
	}
	fd_close(&f);
	if (r < 0)
		OPENSSL_free(p);
	else
		*ret = p, *ret_n = n;
	return r;
}

/* ---- the key ---- */

/* The one that is there, else a new one. */
static int salt(const struct seal *s, uint8_t out[SALT_N])
{
	uint8_t *p = NULL;
	size_t n = 0;
	int r = get_file(s, SALT, &p, &n);

	if (r == 0 && n == SALT_N)
		memcpy(out, p, SALT_N);
	OPENSSL_free(p);
	if (r == 0 && n == SALT_N)
		return 0;
	rand_bytes(out, SALT_N);
	return put_file(s, SALT, slice_of(out, SALT_N));
}

void seal_shut(struct seal *s)
{
	OPENSSL_cleanse(s->key, sizeof s->key);
	s->state = SEAL_SHUT;
}

int seal_passphrase(struct seal *s, struct slice passphrase)
{
	uint8_t b[SALT_N];
	int r;

	seal_shut(s);
	if (!fd_is_open(s->dir))
		return 0;
	if (passphrase.n == 0) {
		s->state = SEAL_CLEAR;
		return 0;
	}
	r = salt(s, b);
	if (r == 0 && !PKCS5_PBKDF2_HMAC((const char *)passphrase.p, passphrase.n, b, sizeof b, ROUNDS,
					 EVP_sha256(), sizeof s->key, s->key))
		r = -ENOMEM;
	if (r == 0)
		s->state = SEAL_SEALED;
	return r;
}

/* ---- what is kept ---- */

static bool aead(const struct seal *s, bool open, const char *name, const uint8_t nonce[NONCE], struct slice in,
		  uint8_t *out, size_t room, size_t *ret_n)
{
	const uint8_t *ad = (const uint8_t *)name;
	EVP_AEAD_CTX c;
	bool ok;

	if (!EVP_AEAD_CTX_init(&c, EVP_aead_aes_256_gcm(), s->key, sizeof s->key, TAG, NULL))
		return false;
	ok = open ? EVP_AEAD_CTX_open(&c, out, ret_n, room, nonce, NONCE, in.p, in.n, ad, strlen(name)) :
		    EVP_AEAD_CTX_seal(&c, out, ret_n, room, nonce, NONCE, in.p, in.n, ad, strlen(name));
	EVP_AEAD_CTX_cleanup(&c);
	ERR_clear_error();
	return ok;
}

int seal_put(const struct seal *s, const char *name, struct slice a)
{
	uint8_t *p, *nonce;
	size_t n = 0;
	int r = -ENOMEM;

	if (s->state == SEAL_SHUT)
		return -EBADF;
	if (s->state == SEAL_CLEAR)
		return put_file(s, name, a);
	p = OPENSSL_malloc(HEAD_N + NONCE + a.n + TAG);
	if (p == NULL)
		return -ENOMEM;
	memcpy(p, HEAD, HEAD_N);
	nonce = p + HEAD_N;
	rand_bytes(nonce, NONCE);
	if (aead(s, false, name, nonce, a, nonce + NONCE, a.n + TAG, &n))
		r = put_file(s, name, slice_of(p, HEAD_N + NONCE + n));
	OPENSSL_free(p);
	return r;
}

int seal_get(const struct seal *s, const char *name, uint8_t **ret, size_t *ret_n)
{
	uint8_t *p, *plain;
	size_t n = 0;
	bool sealed;
	int r;

	if (s->state == SEAL_SHUT)
		return -ENOENT;
	r = get_file(s, name, &p, &n);
	if (r < 0)
		return r;
	sealed = n >= HEAD_N + NONCE + TAG && memcmp(p, HEAD, HEAD_N) == 0;
	if (!sealed && s->state == SEAL_CLEAR) {
		*ret = p;
		*ret_n = n;
		return 0;
	}
	/* In clear, while there is a passphrase: who could write it need not know that. */
	plain = sealed && s->state == SEAL_SEALED ? OPENSSL_malloc(n) : NULL;
	r = -EBADMSG;
	if (plain && aead(s, true, name, p + HEAD_N, slice_of(p + HEAD_N + NONCE, n - HEAD_N - NONCE), plain, n,
			   ret_n)) {
		*ret = plain;
		plain = NULL;
		r = 0;
	}
	OPENSSL_free(plain);
	OPENSSL_free(p);
	return r;
}

void seal_sweep(const struct seal *s, const char *end, bool (*wanted)(void *arg, const char *name), void *arg)
{
	struct fd again = { fd_is_open(s->dir) ? openat(s->dir.v, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1 };
	DIR *d = again.v >= 0 ? fdopendir(again.v) : NULL;
	const struct dirent *e;

	if (d == NULL) {
		fd_close(&again);
		return;
	}
	while ((e = readdir(d))) {
		size_t n = strlen(e->d_name), k = strlen(end);

		if (n > k && strcmp(e->d_name + n - k, end) == 0 && !wanted(arg, e->d_name))
			(void)unlinkat(s->dir.v, e->d_name, 0);
	}
	closedir(d);
}

void seal_fini(struct seal *s)
{
	seal_shut(s);
	fd_close(&s->dir);
}
