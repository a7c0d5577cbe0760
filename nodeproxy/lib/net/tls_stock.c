/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What all TLS connections of a process share; and BoringSSL's memory, counted: libcrypto asks these
 * three functions for all it needs, where a program has them.
 *
 * A program that holds private keys must not link this: what is freed is wiped only when it is small,
 * as traffic secrets are; wiping the buffers of every record would cost as much as half of what it
 * takes to encrypt it, and the same plaintext has gone through buffers of ours. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <strings.h>

#include "nodeproxy/lib/net/tls_inner.h"

#define WIPE_MAX 4096u

int64_t tls_heap_now;

void *OPENSSL_memory_alloc(size_t);
void OPENSSL_memory_free(void *);
size_t OPENSSL_memory_get_size(void *);

void *OPENSSL_memory_alloc(size_t n)
{
	void *p = malloc(n);

	if (p)
		tls_heap_now += (int64_t)malloc_usable_size(p);
	return p;
}

void OPENSSL_memory_free(void *p)
{
	size_t n;

	if (p == NULL)
		return;
	n = malloc_usable_size(p);
	tls_heap_now -= (int64_t)n;
	if (n <= WIPE_MAX)
		explicit_bzero(p, n);
	free(p);
}

size_t OPENSSL_memory_get_size(void *p)
{
	return malloc_usable_size(p);
}

uint64_t tls_heap_bytes(void)
{
	return (uint64_t)tls_heap_now;
}

/* at start */
int tls_stock_init(struct tls_stock *s, uint32_t conns)
{
	int r;

	*s = (struct tls_stock){ .in = malloc(TLS_SCRATCH), .out = malloc(TLS_SCRATCH),
				 .plain = malloc(TLS_RECORD) };
	r = s->in && s->out && s->plain ? slab_init(&s->conns, "tls", sizeof(struct tls), conns) :
					  -ENOMEM;
	if (r < 0)
		tls_stock_fini(s);
	return r;
}

void tls_stock_fini(struct tls_stock *s)
{
	free(s->in);
	free(s->out);
	free(s->plain);
	if (s->conns.mem)
		slab_fini(&s->conns);
	explicit_bzero(&s->now, sizeof s->now);
	explicit_bzero(&s->before, sizeof s->before);
	*s = (struct tls_stock){ 0 };
}
