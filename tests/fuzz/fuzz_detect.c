/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* detect(): any bytes; an answer once given is never taken back by more bytes. */
#include "tests/fuzz/replay.h"

#include "nodeproxy/lib/base/must.h"
#include "workers/codec/detect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum detected all = detect(slice_of(data, size));
	size_t step = size / 64 + 1;

	for (size_t n = 0; n < size; n += step) {
		enum detected some = detect(slice_of(data, n));

		must(some == DETECT_MORE || some == all);
	}
	return 0;
}
