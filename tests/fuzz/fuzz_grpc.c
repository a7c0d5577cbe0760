/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Framing of gRPC: what comes in any pieces is the same messages as at once, none is over the bound, and
 * nothing is held that did not come.  The first byte is the size of the pieces, the second the bound. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "nodeproxy/lib/base/hash.h"
#include "store/sync/grpc_frame.h"

struct told {
	uint64_t digest;
	unsigned messages;
	int end;
};

static struct told tell(struct slice all, size_t step, uint32_t max)
{
	struct grpc_frames f = { .max = max };
	struct told t = { 0 };

	for (size_t at = 0; at < all.n && t.end == 0; at += step) {
		struct slice in = slice_of(all.p + at, min_of(step, all.n - at)), m;

		while ((t.end = grpc_frames_next(&f, &in, &m)) == 1) {
			must(m.n <= max);
			t.messages++;
			t.digest = t.digest * 31 + hash_stable(m);
		}
		must(t.end < 0 || in.n == 0);
		must(f.have <= all.n && f.room <= 4096u + 2 * all.n);
	}
	grpc_frames_fini(&f);
	return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told a, b;
	struct slice all;

	if (size < 2)
		return 0;
	all = slice_of(data + 2, size - 2);
	a = tell(all, 1 + data[0], 1u + data[1] * 16u);
	b = tell(all, max_of(all.n, (size_t)1), 1u + data[1] * 16u);
	must(a.messages == b.messages && a.digest == b.digest && a.end == b.end);
	return 0;
}
