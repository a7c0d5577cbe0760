/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Files that people write, and one document of them changed, added or removed: whatever stands around it
 * stays byte for byte, and what is believed to be sound says what it said. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "store/registry/edit.h"

#define DOCS 6u	/* of one file that are tried */

static const char text[] =
	"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"new\"}}\n";

static uint64_t version_of_text(void)
{
	struct edit e;
	uint64_t v;

	must(edit_read(&e, "t", slice_str(text)) == 0 && e.n == 1 && e.v[0].row);
	v = e.v[0].version;
	edit_fini(&e);
	return v;
}

/* was with document i made another one; from and to: what may be other bytes. */
static void look_at(const struct edit *was, char *bytes, size_t n, size_t i, uint64_t version, size_t from,
		    size_t to)
{
	struct edit now;
	size_t tail = was->bytes.n - to;

	must(bytes && n >= from + tail);
	must(from == 0 || memcmp(bytes, was->bytes.p, from) == 0);
	must(tail == 0 || memcmp(bytes + n - tail, was->bytes.p + to, tail) == 0);
	must(edit_read(&now, "f.yaml", slice_of(bytes, n)) == 0);
	if (edit_is_sound(was, &now, i, version)) {
		size_t gone = version == 0;

		for (size_t k = 0; k < was->n; k++) {
			const struct edit_doc *d;

			if (k == i)
				continue;
			d = &now.v[k - (k > i ? gone : 0)];
			must((d->row != NULL) == (was->v[k].row != NULL));
			must(!d->row || strcmp(d->row->json, was->v[k].row->json) == 0);
		}
		must(gone || strcmp(now.v[i].row->name, "new") == 0);
	}
	edit_fini(&now);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size);
	uint64_t version = version_of_text();
	struct edit e;
	size_t n, before = 0;
	char *bytes;

	if (size > 65536)
		return 0;
	must(edit_read(&e, "f.yaml", in) == 0);
	for (size_t i = 0; i < e.n; i++) {
		const struct edit_doc *d = &e.v[i];

		must(d->version && before <= d->marker && d->marker <= d->from && d->from <= d->to &&
		     d->to <= size);
		before = d->to;
	}
	for (size_t i = 0; i < min_of(e.n, (size_t)DOCS); i++) {
		bytes = edit_replace(&e, i, slice_str(text), &n);
		look_at(&e, bytes, n, i, version, e.v[i].from, e.v[i].to);
		bytes = edit_remove(&e, i, &n);
		look_at(&e, bytes, n, i, 0, e.v[i].marker, e.v[i].to);
	}
	bytes = edit_append(&e, slice_str(text), &n);
	look_at(&e, bytes, n, e.n, version, size, size);
	(void)edit_is_blank(in);
	edit_fini(&e);
	return 0;
}
