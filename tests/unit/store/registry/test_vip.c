/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Addresses from a registry that gives each only once, and how an object becomes what is written:
 * against a registry in memory, with writers that come between. */
#include <stdio.h>

#include "store/registry/change.h"
#include "store/registry/vip.h"
#include "tests/unit/test.h"

#define OWNERS 256

/* ip -> owner; and somebody who claims what we are about to. */
struct fake {
	struct registry r;
	struct { char ip[ADDR_TEXT], owner[64]; } vip[OWNERS];
	unsigned n, claims;
	const char *thief;	/* takes every address first, this often */
	unsigned thefts;
	enum registry_error broken;
};

static enum registry_error claim(struct registry *r, const char *ip, const char *owner)
{
	struct fake *f = container_of(r, struct fake, r);

	f->claims++;
	if (f->broken)
		return registry_fail(r, f->broken, "it is away");
	if (f->thefts) {
		f->thefts--;
		ck_assert(claim(r, ip, f->thief) != REGISTRY_AWAY);
	}
	for (unsigned i = 0; i < f->n; i++)
		if (strcmp(f->vip[i].ip, ip) == 0)
			return strcmp(f->vip[i].owner, owner) == 0 ? REGISTRY_DONE : REGISTRY_TAKEN;
	ck_assert_uint_lt(f->n, OWNERS);
	snprintf(f->vip[f->n].ip, sizeof f->vip[0].ip, "%s", ip);
	snprintf(f->vip[f->n++].owner, sizeof f->vip[0].owner, "%s", owner);
	return REGISTRY_DONE;
}

static const struct registry_ops fake_ops = { .kind = "fake", .vip_claim = claim };

static struct addr range(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse_ip(slice_str(text), &a), 0);
	return a;
}

START_TEST(every_address_of_a_range_is_tried_once_and_no_edge)
{
	struct addr base = range("10.1.2.0");
	bool seen[256] = { 0 };

	ck_assert_uint_eq(vip_room(&base, 28), 14);
	for (uint64_t n = 0; n < 14; n++) {
		struct addr a = vip_address(&base, 28, SLICE("shop/web"), n);

		ck_assert(a.ip[3] >= 1 && a.ip[3] <= 14 && !seen[a.ip[3]]);
		seen[a.ip[3]] = true;
	}
	ck_assert_uint_eq(vip_room(&base, 32), 1);
	base = range("fd00::");
	ck_assert_uint_eq(vip_room(&base, 108), 1 << 20);
	ck_assert_uint_eq(vip_room(&base, 64), 1ull << 63);
}
END_TEST

START_TEST(an_address_is_claimed_once_and_stays)
{
	struct fake f = { .r = { .ops = &fake_ops } };
	struct addr base = range("10.96.0.0"), hashed = vip_address(&base, 12, SLICE("shop/web"), 0);
	char one[ADDR_TEXT], again[ADDR_TEXT], text[ADDR_TEXT];

	ck_assert_int_eq(vip_allocate(&f.r, &base, 12, "shop/web", one), REGISTRY_DONE);
	ck_assert_str_eq(one, addr_text(&hashed, false, text));	/* as without a registry */
	ck_assert_int_eq(vip_allocate(&f.r, &base, 12, "shop/web", again), REGISTRY_DONE);
	ck_assert_str_eq(one, again);
	ck_assert_uint_eq(f.n, 1);
}
END_TEST

START_TEST(ten_writers_in_conflict_get_ten_addresses)
{
	struct fake f = { .r = { .ops = &fake_ops }, .thief = "bank/thief", .thefts = 3 };
	struct addr base = range("10.1.2.0");
	char ip[10][ADDR_TEXT], owner[32];

	for (int i = 0; i < 10; i++) {	/* 14 places: 3 are stolen at most */
		snprintf(owner, sizeof owner, "shop/web-%d", i);
		ck_assert_int_eq(vip_allocate(&f.r, &base, 28, owner, ip[i]), REGISTRY_DONE);
		for (int k = 0; k < i; k++)
			ck_assert_str_ne(ip[i], ip[k]);
	}
	ck_assert_uint_eq(f.thefts, 0);
	ck_assert_uint_gt(f.n, 10);	/* a thief came first */
	while (f.n < 14) {
		snprintf(owner, sizeof owner, "shop/more-%u", f.n);
		ck_assert_int_eq(vip_allocate(&f.r, &base, 28, owner, ip[0]), REGISTRY_DONE);
	}
	ck_assert_int_eq(vip_allocate(&f.r, &base, 28, "shop/too-many", ip[0]), REGISTRY_FULL);
	ck_assert_ptr_nonnull(strstr(f.r.problem, "none of 14"));
}
END_TEST

START_TEST(what_cannot_be_reached_is_no_taken_address)
{
	struct fake f = { .r = { .ops = &fake_ops }, .broken = REGISTRY_AWAY };
	struct addr base = range("10.1.2.0");
	char ip[ADDR_TEXT];

	ck_assert_int_eq(vip_allocate(&f.r, &base, 28, "shop/web", ip), REGISTRY_AWAY);
	ck_assert_uint_eq(f.claims, 1);
}
END_TEST

/* ---- what an object becomes ---- */

static struct row *row_of(const char *yaml)
{
	struct resource_reader reader;
	struct refusal *refusal;
	struct row *row;

	resource_reader_init(&reader, "new.yaml", slice_str(yaml));
	ck_assert_int_eq(resource_next(&reader, &row, &refusal), 1);
	ck_assert_msg(row != NULL, "%s", refusal ? refusal->reason : "");
	return row;
}

#define SERVICE(meta, port)                                                                        \
	"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop" meta "}\n"          \
	"spec: {ports: [{port: " port "}]}\n"

/* The JSON that yaml becomes over have (NULL: nothing); checks the result. */
static char *becomes(const char *yaml, const char *have, const char *vip, enum change_result result)
{
	struct row *row = row_of(yaml);
	struct registry_value v = { .version = have != NULL, .json = (char *)(uintptr_t)have };
	struct change c;
	char *json;

	ck_assert_int_eq(change_make(row, &v, vip, 1700000000000, &c), 0);
	ck_assert_int_eq(c.result, result);
	json = strdup(c.row->json);
	row_free(&c.row);
	row_free(&row);
	return json;
}

START_TEST(a_new_object_gets_an_age_and_a_generation)
{
	char *json = becomes(SERVICE("", "80"), NULL, NULL, CHANGE_CREATED);

	ck_assert_ptr_nonnull(strstr(json, "\"creationTimestamp\":\"2023-11-14T22:13:20Z\""));
	ck_assert_ptr_nonnull(strstr(json, "\"generation\":1"));
	free(json);
	json = becomes(SERVICE(", generation: 7, creationTimestamp: '2001-02-03T04:05:06Z'", "80"),
		       NULL, NULL, CHANGE_CREATED);	/* as it was exported */
	ck_assert_ptr_nonnull(strstr(json, "2001-02-03"));
	ck_assert_ptr_nonnull(strstr(json, "\"generation\":7"));
	free(json);
}
END_TEST

START_TEST(the_generation_counts_changes_of_what_is_meant)
{
	char *one = becomes(SERVICE("", "80"), NULL, NULL, CHANGE_CREATED), *two, *three;

	free(becomes(SERVICE("", "80"), one, NULL, CHANGE_UNCHANGED));
	free(becomes(SERVICE(", generation: 99", "80"), one, NULL, CHANGE_UNCHANGED));
	two = becomes(SERVICE(", labels: {a: b}", "80"), one, NULL, CHANGE_CONFIGURED);
	ck_assert_ptr_nonnull(strstr(two, "\"generation\":1"));
	three = becomes(SERVICE("", "81"), two, NULL, CHANGE_CONFIGURED);
	ck_assert_ptr_nonnull(strstr(three, "\"generation\":2"));
	ck_assert_ptr_nonnull(strstr(three, "2023-11-14"));
	free(one);
	free(two);
	free(three);
}
END_TEST

START_TEST(an_object_without_an_age_stays_the_oldest)
{
	struct row *old = row_of(SERVICE("", "80"));
	char *json;

	free(becomes(SERVICE("", "80"), old->json, NULL, CHANGE_UNCHANGED));
	json = becomes(SERVICE(", creationTimestamp: '2001-02-03T04:05:06Z'", "81"), old->json, NULL,
		       CHANGE_CONFIGURED);
	ck_assert_ptr_null(strstr(json, "creationTimestamp"));
	ck_assert_ptr_nonnull(strstr(json, "\"generation\":1"));
	free(json);
	row_free(&old);
}
END_TEST

START_TEST(an_allocated_address_is_written_into_the_service)
{
	struct row *plain = row_of(SERVICE("", "80"));
	struct registry_value v = { .version = 1 };
	char ip[ADDR_TEXT];

	ck_assert(change_wants_vip(plain));
	v.json = becomes(SERVICE("", "80"), NULL, "10.96.1.2", CHANGE_CREATED);
	ck_assert(change_vip_of(&v, ip, sizeof ip));
	ck_assert_str_eq(ip, "10.96.1.2");
	free(becomes(SERVICE("", "80"), v.json, ip, CHANGE_UNCHANGED));
	registry_value_fini(&v);
	row_free(&plain);
}
END_TEST

UNIT_TESTS("registry", every_address_of_a_range_is_tried_once_and_no_edge,
	   an_address_is_claimed_once_and_stays, ten_writers_in_conflict_get_ten_addresses,
	   what_cannot_be_reached_is_no_taken_address, a_new_object_gets_an_age_and_a_generation,
	   the_generation_counts_changes_of_what_is_meant, an_object_without_an_age_stays_the_oldest,
	   an_allocated_address_is_written_into_the_service)
