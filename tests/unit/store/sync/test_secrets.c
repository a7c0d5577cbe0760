/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Files by which a registry is reached: what is taken, what is no news, and what leaves all as it was. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/sync/secrets.h"
#include "tests/unit/test.h"

static char why[SECRETS_WORDS];

/* A message with these files; NULL: not among them. */
static int take(struct secrets *s, const char *const text[SECRETS], int error)
{
	struct msg_source_secrets h = { .error = error, .which = SECRET_KEY };
	struct msg m = { .type = MSG_SOURCE_SECRETS, .p = &h };
	int r;

	for (uint32_t i = 0; i < SECRETS; i++) {
		if (text[i] == NULL)
			continue;
		h.has |= 1u << i;
		m.fd[m.nfds].v = memfd_create("secret", MFD_CLOEXEC);
		ck_assert_int_eq(write(m.fd[m.nfds].v, text[i], strlen(text[i])), (ssize_t)strlen(text[i]));
		m.nfds++;
	}
	if (error)
		h.has = 0;
	r = secrets_take(s, &m, why);
	for (unsigned i = 0; i < m.nfds; i++)
		close(m.fd[i].v);
	return r;
}

static bool is(const struct secrets *s, enum source_secret which, const char *text)
{
	return slice_eq(s->v[which], slice_str(text));
}

START_TEST(what_is_handed_over_is_news_once)
{
	const char *files[SECRETS] = { "CA", NULL, NULL, "secret\r\n" };
	struct secrets s = { 0 };
	struct knobs k = { 0 };

	ck_assert(!secrets_fit(&s, &k));	/* nothing came yet, not even that there is nothing */
	ck_assert_int_eq(take(&s, files, 0), 1);
	ck_assert(is(&s, SECRET_CA, "CA") && is(&s, SECRET_PASSWORD, "secret") && s.v[SECRET_KEY].n == 0);
	ck_assert_int_eq(take(&s, files, 0), 0);
	ck_assert(!secrets_fit(&s, &k));
	strcpy(k.source_ca, "/ca");
	strcpy(k.source_password_file, "/p");
	ck_assert(secrets_fit(&s, &k));
	files[SECRET_PASSWORD] = "other";
	ck_assert_int_eq(take(&s, files, 0), 1);
	ck_assert(is(&s, SECRET_PASSWORD, "other"));
	files[SECRET_PASSWORD] = NULL;
	ck_assert_int_eq(take(&s, files, 0), 1);
	ck_assert(!secrets_fit(&s, &k));
	secrets_fini(&s);
}
END_TEST

START_TEST(what_cannot_be_read_leaves_all_as_it_was)
{
	static char large[(256 << 10) + 1];
	const struct {
		const char *password;
		int error, r;
		const char *why;
	} rows[] = {
		{ "", 0, -EINVAL, "source.password_file: is empty, or not a file of text" },
		{ "\n", 0, -EINVAL, "source.password_file: is empty, or not a file of text" },
		{ large, 0, -EFBIG, "source.password_file: File too large" },
		{ "x", -ENOENT, -ENOENT, "source.key: No such file or directory" },
	};
	const char *files[SECRETS] = { "CA", NULL, NULL, "kept" };
	struct secrets s = { 0 };

	memset(large, 'a', sizeof large - 1);
	ck_assert_int_eq(take(&s, files, 0), 1);
	for (size_t i = 0; i < countof(rows); i++) {
		files[SECRET_CA] = "another";
		files[SECRET_PASSWORD] = rows[i].password;
		ck_assert_int_eq(take(&s, files, rows[i].error), rows[i].r);
		ck_assert_str_eq(why, rows[i].why);
		ck_assert(is(&s, SECRET_CA, "CA") && is(&s, SECRET_PASSWORD, "kept"));
	}
	secrets_fini(&s);
}
END_TEST

UNIT_TESTS("secrets", what_is_handed_over_is_news_once, what_cannot_be_read_leaves_all_as_it_was)
