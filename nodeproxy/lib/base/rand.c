/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See rand.h. */
#include "nodeproxy/lib/base/rand.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "nodeproxy/lib/base/must.h"

static uint32_t s[4];
static bool simulated;
/* Of rand_ids: read in one call, used from its end.  A size that costs the kernel a few microseconds
 * each hundred requests. */
static uint8_t ready[2304];
static size_t n_ready;

static uint32_t rotl(uint32_t x, int k)
{
	return x << k | x >> (32 - k);
}

static void kernel_bytes(void *p, size_t n)
{
	uint8_t *b = p;

	while (n) {
		ssize_t r = getrandom(b, n, 0);

		must(r > 0 || errno == EINTR);
		if (r > 0)
			b += r, n -= (size_t)r;
	}
}

void rand_init(void)
{
	kernel_bytes(s, sizeof s);
	s[0] |= 1;	/* never all zero */
	simulated = false;
}

void rand_seed(uint64_t seed)
{
	/* splitmix64 spreads small seeds over the state. */
	for (int i = 0; i < 2; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		z ^= z >> 31;
		memcpy(s + 2 * i, &z, 8);
	}
	s[0] |= 1;
	simulated = true;
}

uint32_t rand_u32(void)
{
	uint32_t r, t;

	if (unlikely(!(s[0] | s[1] | s[2] | s[3])))
		rand_init();
	r = rotl(s[1] * 5, 7) * 9;
	t = s[1] << 9;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 11);
	return r;
}

uint64_t rand_u64(void)
{
	return (uint64_t)rand_u32() << 32 | rand_u32();
}

uint32_t rand_below(uint32_t n)
{
	must(n > 0);
	/* Lemire, "Fast Random Integer Generation in an Interval" (2019), without the rejection:
	 * the bias of at most n/2^32 does not matter to balancing. */
	return (uint32_t)((uint64_t)rand_u32() * n >> 32);
}

void rand_bytes(void *p, size_t n)
{
	uint8_t *b = p;

	if (!simulated) {
		kernel_bytes(p, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)(rand_u32() >> 24);
}

void rand_ids(void *p, size_t n)
{
	must(n <= 64);
	if (simulated) {
		rand_bytes(p, n);
		return;
	}
	if (unlikely(n_ready < n)) {
		kernel_bytes(ready, sizeof ready);
		n_ready = sizeof ready;
	}
	n_ready -= n;
	memcpy(p, ready + n_ready, n);
	memset(ready + n_ready, 0, n);		/* given out once */
}
