/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Resources: any bytes as a file of YAML documents, and as one JSON object.
 *
 * Checked: every document is a row or a refusal, never both or neither; a refusal is one line of
 * ASCII with a line number inside the file; a row's canonical JSON is accepted again and gives the
 * same object and the same digest, so what the store keeps is what was accepted. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "nodeproxy/lib/base/must.h"
#include "store/resource/resource.h"

static void check_ascii(const char *s)
{
	must(s != NULL);
	for (; *s; s++)
		must(*s >= 0x20 && *s < 0x7f);
}

static void check_refusal(const struct refusal *r, uint32_t lines)
{
	must(r->line >= 1 && r->line <= lines);
	must(r->doc_line >= 1 && r->doc_line <= lines);
	check_ascii(r->field);
	check_ascii(r->reason);
	check_ascii(r->kind);
	check_ascii(r->ns);
	check_ascii(r->name);
	must(r->reason[0] != 0);
}

static void check_row(const struct row *r)
{
	struct row *again;
	struct refusal *no;

	must(r->name[0] != 0);
	must(resource_json("store", 1, slice_str(r->json), &again, &no) == 0);
	must(again && !no);
	must(again->kind == r->kind);
	must(strcmp(again->name, r->name) == 0 && strcmp(again->ns, r->ns) == 0);
	must(again->created_unix_ms == r->created_unix_ms && again->generation == r->generation);
	must(strcmp(again->json, r->json) == 0);
	must(memcmp(again->digest, r->digest, sizeof r->digest) == 0);
	row_free(&again);
}

static void check(struct row *r, struct refusal *no, uint32_t lines)
{
	must((r == NULL) != (no == NULL));
	if (r)
		check_row(r);
	else
		check_refusal(no, lines);
	row_free(&r);
	refusal_free(&no);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct resource_reader reader;
	struct row *r;
	struct refusal *no;
	uint32_t lines = 2;

	/* YAML counts a few more things as line ends than \n. */
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n' || data[i] == '\r' || data[i] == 0x85 || data[i] == 0xa8 ||
			 data[i] == 0xa9;
	resource_reader_init(&reader, "fuzz.yaml", slice_of(data, size));
	for (;;) {
		int e = resource_next(&reader, &r, &no);

		must(e == 0 || e == 1);
		if (e == 0)
			break;
		check(r, no, lines);
	}
	must(resource_json("fuzz.json", 1, slice_of(data, size), &r, &no) == 0);
	check(r, no, lines);
	return 0;
}
