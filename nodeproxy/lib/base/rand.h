/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Randomness, through one door that a simulation can replace.
 *
 * rand_u32/rand_below are a fast generator (xoshiro128**, Blackman and Vigna, public domain
 * algorithm) seeded from the kernel: for choices, jitter and balancing.  rand_bytes is
 * getrandom(2): for keys.  rand_ids is the same read in larger pieces: for names that must not be
 * guessed and must not come twice, one per request; not for keys, because what is ready in memory can
 * be read there. */
#ifndef NODEPROXY_LIB_BASE_RAND_H
#define NODEPROXY_LIB_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

/* Seeds from the kernel; called once per process, before seccomp. */
void rand_init(void);
/* Simulation and tests: the same seed gives the same sequence, also for rand_bytes. */
void rand_seed(uint64_t seed);
uint32_t rand_u32(void);
uint64_t rand_u64(void);
/* Uniform in [0, n); n >= 1. */
uint32_t rand_below(uint32_t n);
void rand_bytes(void *p, size_t n);
void rand_ids(void *p, size_t n);	/* n at most 64; no fork may follow without exec */

#endif
