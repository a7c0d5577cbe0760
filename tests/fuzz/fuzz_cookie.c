/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* cookie_find(): any name (up to the first 0) and any header; what is found lies in the header, behind
 * the name and '=', as a cookie of its own. */
#include "tests/fuzz/replay.h"

#include "workers/codec/headers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	struct slice name, header, got;
	const uint8_t *before;

	if (zero == NULL || zero == data)
		return 0;
	name = slice_of(data, (size_t)(zero - data));
	header = slice_from(slice_of(data, size), name.n + 1);
	if (!cookie_find(header, name, &got))
		return 0;
	must(got.p >= header.p + name.n + 1 && got.p + got.n <= header.p + header.n);
	must(got.n == 0 || memchr(got.p, ';', got.n) == NULL);
	before = got.p;
	while (before > header.p && before[-1] != '=')
		before--;
	must(before > header.p);
	before -= name.n + 1;
	must(before >= header.p && memcmp(before, name.p, name.n) == 0);
	must(before == header.p || before[-1] == ';' || before[-1] == ' ' || before[-1] == '\t');
	return 0;
}
