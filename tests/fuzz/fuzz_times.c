/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Times as texts: durations of GEP-2257 against a reading of the GEP's own expression, letter by letter,
 * and back from what we write of them; grpc-retry-pushback-ms against what a number is. */
#include "tests/fuzz/replay.h"

#include "store/resource/schema.h"
#include "workers/path/grpc.h"

/* ^([0-9]{1,5}(h|m|s|ms)){1,4}$, tried from the left, the longer unit first. */
static bool expected(const uint8_t *p, size_t n, unsigned parts, uint64_t sum, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	if (n == 0 && parts)
		*ret = sum;
	if (n == 0 || parts == 4)
		return n == 0 && parts;
	while (i < n && i < 5 && p[i] >= '0' && p[i] <= '9')
		v = v * 10 + (p[i++] - '0');
	if (i == 0 || i == n)
		return false;
	p += i;
	n -= i;
	if (n >= 2 && p[0] == 'm' && p[1] == 's' && expected(p + 2, n - 2, parts + 1, sum + v, ret))
		return true;
	v *= p[0] == 'h' ? 3600000 : p[0] == 'm' ? 60000 : 1000;
	return (p[0] == 'h' || p[0] == 'm' || p[0] == 's') &&
	       expected(p + 1, n - 1, parts + 1, sum + v, ret);
}

static void pushback(const uint8_t *p, size_t n)
{
	int64_t ms = grpc_pushback_ms(slice_of(p, n), 300000), want = n ? 0 : -1;

	for (size_t i = 0; i < n && want >= 0; i++) {
		want = p[i] >= '0' && p[i] <= '9' ? want * 10 + (p[i] - '0') : -1;
		want = want > 300000 || n > 10 ? -1 : want;
	}
	must(ms == want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[SCHEMA_DURATION_TEXT];
	uint32_t ms = 77, again = 0;
	uint64_t want = 0;
	bool ok = schema_duration(slice_of(data, size), &ms);

	must(ok == expected(data, size, 0, 0, &want));
	must(ms == (ok ? min_of(want, (uint64_t)UINT32_MAX) : 77));
	if (ok) {
		schema_duration_text(ms, text);
		must(schema_duration(slice_str(text), &again) && again == ms);
	}
	pushback(data, size);
	return 0;
}
