/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Keys of objects: what is written is read back, and what is none is said to be none. */
#include <errno.h>

#include "store/registry/key.h"
#include "tests/unit/test.h"

static bool is(struct slice s, const char *text)
{
	return slice_eq(s, slice_str(text));
}

START_TEST(key_of_an_object_is_read_back_as_that_object)
{
	static const struct {
		struct registry_key of;
		const char *key;
	} rows[] = {
		{ { "", "Service", "shop", "web" }, "/np/prod/ns/shop/core/Service/web" },
		{ { "nodeproxy.io", "Tenant", "", "shop" }, "/np/prod/global/nodeproxy.io/Tenant/shop" },
		{ { "discovery.k8s.io", "EndpointSlice", "a", "b" },
		  "/np/prod/ns/a/discovery.k8s.io/EndpointSlice/b" },
	};
	char root[KEY_MAX], key[KEY_MAX];
	struct key_parts k;
	const char *why;

	ck_assert_int_eq(key_root("/np", "prod", root), 9);
	for (size_t i = 0; i < countof(rows); i++) {
		ck_assert_int_eq(key_write(root, &rows[i].of, key), (int)strlen(rows[i].key));
		ck_assert_str_eq(key, rows[i].key);
		ck_assert_int_eq(key_read(slice_str(key + strlen(root)), &k, &why), 0);
		ck_assert(k.place == (rows[i].of.ns[0] ? KEY_NS : KEY_GLOBAL));
		ck_assert(is(k.group, rows[i].of.group) && is(k.kind, rows[i].of.kind) &&
			  is(k.ns, rows[i].of.ns) && is(k.name, rows[i].of.name));
	}
}
END_TEST

START_TEST(keys_of_hosts_and_addresses_are_told_apart)
{
	struct key_parts k;
	const char *why;

	ck_assert_int_eq(key_read(SLICE("node/host-a/ns/x/y"), &k, &why), 0);
	ck_assert(k.place == KEY_NODE && is(k.node, "host-a") && is(k.rest, "ns/x/y"));
	ck_assert_int_eq(key_read(SLICE("vip/10.96.0.1"), &k, &why), 0);
	ck_assert(k.place == KEY_VIP && is(k.rest, "10.96.0.1"));
}
END_TEST

START_TEST(what_is_no_key_is_refused)
{
	static const char *const bad[] = {
		"", "/", "ns", "ns/", "ns/shop", "ns/shop/core/Service", "ns/shop/core/Service/", "ns//core/Service/a",
		"ns/shop//Service/a", "ns/shop/core//a", "ns/shop/core/Service/a/", "ns/shop/core/Service/a/b",
		"global/core/Namespace", "global/core/Namespace/a/b", "node", "node/", "node//x", "node/a", "vip/", "Ns/a/b/c/d",
	};
	struct key_parts k;
	const char *why = NULL;

	for (size_t i = 0; i < countof(bad); i++) {
		ck_assert_msg(key_read(slice_str(bad[i]), &k, &why) == -EINVAL, "%s", bad[i]);
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(key_that_is_too_long_is_not_cut)
{
	char name[KEY_MAX], out[KEY_MAX];
	const struct registry_key k = { "", "Service", "shop", name };

	memset(name, 'a', sizeof name);
	name[KEY_MAX - 1] = 0;
	ck_assert_int_eq(key_write("/np/prod/", &k, out), -ENAMETOOLONG);
}
END_TEST

UNIT_TESTS("registry/key", key_of_an_object_is_read_back_as_that_object, keys_of_hosts_and_addresses_are_told_apart,
	   what_is_no_key_is_refused, key_that_is_too_long_is_not_cut)
