/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A fuzz target is one function.  Built with -fsanitize=fuzzer the library brings main(); else
 * replay.c does and runs the target over its corpus (tests/fuzz/corpus/NAME) and found crashes
 * (tests/fuzz/found/NAME) under `make check`. */
#ifndef TESTS_FUZZ_REPLAY_H
#define TESTS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
