/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Trust that is not in one piece of memory: of several texts, or of a file. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "nodeproxy/lib/net/tls.h"

/* A host's bundle is some hundred KB. */
#define FILE_MAX (4u << 20)

int tls_trust_of(const struct slice *pem, unsigned n, struct tls_trust **ret, const char **why)
{
	size_t room = 0, at = 0;
	uint8_t *text;
	int r;

	for (unsigned i = 0; i < n; i++)
		room += pem[i].n + 1;
	*why = "no memory";
	text = malloc(room + 1);
	if (text == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		if (pem[i].n)
			memcpy(text + at, pem[i].p, pem[i].n);
		at += pem[i].n;
		text[at++] = '\n';
	}
	r = tls_trust_new(slice_of(text, at), ret, why);
	free(text);
	return r;
}

int tls_trust_of_file(struct fd f, struct tls_trust **ret, const char **why)
{
	uint8_t *text = malloc(FILE_MAX);
	size_t n = 0;
	ssize_t k = -1;
	int r = -EINVAL;

	*why = "no memory";
	if (text == NULL)
		return -ENOMEM;
	while (n < FILE_MAX && (k = read(f.v, text + n, FILE_MAX - n)) > 0)
		n += (size_t)k;
	*why = k < 0 ? "cannot be read" : "is too large";
	if (k == 0)
		r = tls_trust_new(slice_of(text, n), ret, why);
	free(text);
	return r;
}
