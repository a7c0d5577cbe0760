/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* proxyproto(): any bytes; whole or split, the answer is the same, and never beyond what is there. */
#include "tests/fuzz/replay.h"

#include "workers/codec/proxyproto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxied all, some;
	int r = proxyproto(slice_of(data, size), &all);

	must(r <= 0 || (all.bytes <= size && all.bytes <= PROXYPROTO_MAX));
	must(r <= 0 || all.local == (all.from.family == 0));
	for (size_t n = 0; n < min_of(size, (size_t)300); n++) {
		int k = proxyproto(slice_of(data, n), &some);

		must(k == 0 || k == r);
		must(k <= 0 || some.bytes == all.bytes);
	}
	return 0;
}
