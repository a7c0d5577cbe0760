/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy.yaml: any bytes.  What is accepted passes the check of what arrives over a channel,
 * and is printed as a file that reads back to the same; and any bytes as a struct knobs. */
#include "tests/fuzz/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/knobs/knobs.h"

static struct knobs a, b;

static void print(bool read_back)
{
	char error[KNOBS_ERROR];
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	must(f != NULL);
	knobs_print(&a, f);
	must(fclose(f) == 0);
	must(!read_back || knobs_parse(slice_of(text, n), "again", &b, error) == 0);
	must(!read_back || memcmp(&a, &b, sizeof a) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[KNOBS_ERROR] = "";

	memset(&a, 0, sizeof a);
	if (knobs_parse(slice_of(data, size), "fuzz.yaml", &a, error) == 0) {
		must(knobs_check(&a, sizeof a) == 0);
		print(true);
	} else {
		must(strncmp(error, "fuzz.yaml:", 10) == 0);
	}
	/* The same bytes over a good struct: the check reads all of it and says something. */
	knobs_default(&a);
	if (size > 2) {
		size_t at = (data[0] | (size_t)data[1] << 8) % sizeof a;

		memcpy((uint8_t *)&a + at, data + 2, min_of(size - 2, sizeof a - at));
		if (knobs_check(&a, sizeof a) == 0)
			print(false);
	}
	return 0;
}
