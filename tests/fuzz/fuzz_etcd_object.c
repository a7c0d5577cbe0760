/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A key and its value, as anybody may have written them: a place has a printable name of bounded length, and
 * comes out as exactly one row, which the key says, or one refusal.  A zero ends the key. */
#include "tests/fuzz/replay.h"

#include "store/sync/etcd_object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	struct etcd_kv kv = { .created = 7, .modified = 9 };
	struct documents docs = { 0 };
	struct key_parts parts = { 0 };
	char name[KEY_MAX], again[KEY_MAX];
	const char *why = NULL;
	bool plain;

	if (zero == NULL)
		return 0;
	kv.key = slice_of(data, (size_t)(zero - data));
	kv.value = slice_of(zero + 1, size - kv.key.n - 1);
	plain = etcd_object_name(kv.key, name);
	must(strlen(name) < KEY_MAX);
	for (const char *c = name; *c; c++)
		must(*c > ' ' && *c <= '~');
	must(plain == slice_eq(slice_str(name), kv.key));
	if (key_read(kv.key, &parts, &why) < 0) {
		must(why && why[0]);
		return 0;
	}
	if (!plain || parts.place > KEY_NODE)
		return 0;
	must(etcd_object_read(name, &parts, &kv, &docs) == 0 && docs.n == 1);
	must(!docs.v[0].row != !docs.v[0].refusal);
	if (docs.v[0].row) {
		const struct row *r = docs.v[0].row;
		char group[64];
		const struct registry_key k = { resource_group(r->kind, group, sizeof group),
						row_kind_name(r->kind), r->ns, r->name };

		if (parts.place == KEY_NODE)	/* only a pod of that host, and nobody else can say one */
			must(r->kind == ROW_RESIDENT && slice_eq(slice_str(r->resident.node), parts.node) &&
			     resource_resident_place("", r->resident.node, r->ns, r->resident.pod, again, sizeof again) &&
			     strcmp(again, name) == 0);
		else
			must(r->kind != ROW_RESIDENT && key_write("", &k, again) > 0 && strcmp(again, name) == 0);
		must(r->created_rev == 7);
	}
	documents_fini(&docs);
	return 0;
}
