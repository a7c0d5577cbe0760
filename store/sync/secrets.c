/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See secrets.h. */
#include "store/sync/secrets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nodeproxy/lib/ipc/messages.h"

#define SECRET_MAX (256u << 10)

static void forget(struct slice *s)
{
	if (s->p) {
		explicit_bzero((void *)(uintptr_t)s->p, s->n);
		free((void *)(uintptr_t)s->p);
	}
	*s = (struct slice){ 0 };
}

static void forget_all(struct slice v[SECRETS])
{
	for (uint32_t i = 0; i < SECRETS; i++)
		forget(&v[i]);
}

/* 0 or -errno.  A password is one line. */
static int read_one(int fd, enum source_secret which, struct slice *ret)
{
	uint8_t *p = malloc(SECRET_MAX);
	size_t n = 0;
	ssize_t r = 1;

	if (p == NULL)
		return -ENOMEM;
	while (r > 0 && n < SECRET_MAX) {
		r = pread(fd, p + n, SECRET_MAX - n, (off_t)n);
		n += r > 0 ? (size_t)r : 0;
	}
	if (r < 0)
		r = -errno;
	else if (n == SECRET_MAX)
		r = -EFBIG;
	while (which == SECRET_PASSWORD && n && (p[n - 1] == '\n' || p[n - 1] == '\r'))
		n--;
	if (r == 0 && (n == 0 || (which == SECRET_PASSWORD && memchr(p, 0, n))))
		r = -EINVAL;
	*ret = slice_of(p, n);
	if (r < 0)
		forget(ret);
	return (int)r;
}

int secrets_take(struct secrets *s, const struct msg *m, char why[SECRETS_WORDS])
{
	static const char *const name[SECRETS] = { "ca", "cert", "key", "password_file" };
	const struct msg_source_secrets *h = m->p;
	struct slice now[SECRETS] = { { 0 } };
	uint32_t which = h->which % SECRETS;
	bool other = h->has != s->has || !s->came;
	int r = h->error;

	for (uint32_t i = 0, n = 0; r == 0 && i < SECRETS; i++) {
		if (!(h->has & 1u << i))
			continue;
		which = i;
		r = n < m->nfds ? read_one(m->fd[n++].v, (enum source_secret)i, &now[i]) : -EBADMSG;
		other |= !slice_eq(now[i], s->v[i]);
	}
	if (r < 0)
		snprintf(why, SECRETS_WORDS, "source.%s: %s", name[which],
			 r == -EINVAL ? "is empty, or not a file of text" : strerror(-r));
	if (r < 0 || !other) {
		forget_all(now);
		return r;
	}
	forget_all(s->v);
	memcpy(s->v, now, sizeof now);
	s->has = h->has;
	s->came = true;
	return 1;
}

bool secrets_fit(const struct secrets *s, const struct knobs *k)
{
	uint32_t needs = (uint32_t)(k->source_ca[0] != 0) << SECRET_CA |
			 (uint32_t)(k->source_cert[0] != 0) << SECRET_CERT |
			 (uint32_t)(k->source_key[0] != 0) << SECRET_KEY |
			 (uint32_t)(k->source_password_file[0] != 0) << SECRET_PASSWORD;

	return s->came && s->has == needs;
}

void secrets_fini(struct secrets *s)
{
	forget_all(s->v);
}
