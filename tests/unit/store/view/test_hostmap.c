/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Host names and addresses -> Services. */
#include <stdio.h>

#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

static const char world_text[] = "service shop/web vip=10.96.0.1 vip=fd00::1 port=80\n"
				 "service bank/web vip=10.96.0.2 port=80\n"
				 "service bank/svc port=80\n";

/* "ns/name", or "" when there is none. */
static const char *by_host(const struct view *v, const char *host, const char *caller)
{
	static char out[256];
	struct vservice s;

	if (!view_service_by_host(v, slice_str(host), slice_str(caller), &s))
		return "";
	snprintf(out, sizeof out, "%.*s/%.*s", (int)vservice_ns(&s).n, vservice_ns(&s).p,
		 (int)vservice_name(&s).n, vservice_name(&s).p);
	return out;
}

START_TEST(a_host_name_means_what_kubernetes_dns_means)
{
	static const struct {
		const char *host, *caller, *want;
	} row[] = {
		{ "web", "shop", "shop/web" },
		{ "web", "bank", "bank/web" },
		{ "web", "elsewhere", "" },
		{ "web.bank", "shop", "bank/web" },
		{ "web.bank.svc", "shop", "bank/web" },
		{ "web.bank.svc.cluster.local", "shop", "bank/web" },
		{ "web.bank.svc.cluster.local.", "shop", "bank/web" },
		{ "WEB.Bank.SVC.Cluster.LOCAL", "shop", "bank/web" },
		{ "svc.bank", "shop", "bank/svc" },
		{ "svc.bank.svc", "shop", "bank/svc" },
		{ "web.bank.cluster.local", "shop", "" },
		{ "web.bank.svc.cluster", "shop", "" },
		{ "web.bank.svc.cluster.local.evil", "shop", "" },
		{ "web.bank.svc.evil.cluster.local", "shop", "" },
		{ "web.bank.svccluster.local", "shop", "" },
		{ "www.web.bank", "shop", "" },
		{ "", "shop", "" },
		{ ".", "shop", "" },
		{ "..", "shop", "" },
		{ "web.", "shop", "shop/web" },
		{ "web..", "shop", "" },
		{ ".bank", "shop", "" },
		{ "web..svc", "shop", "" },
		{ "10.96.0.1", "shop", "" },
		{ "webwebwebwebwebwebwebwebwebwebwebwebwebwebwebwebwebwebwebwebwebw.bank", "shop",
		  "" },
	};
	struct view *v = view_from(world_text);

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(strcmp(by_host(v, row[i].host, row[i].caller), row[i].want) == 0,
			      "%s from %s", row[i].host, row[i].caller);
	view_unref(v);
}
END_TEST

START_TEST(a_byte_that_is_not_text_finds_nothing)
{
	struct view *v = view_from(world_text);
	struct vservice s;

	ck_assert(!view_service_by_host(v, slice_of("web\0", 4), SLICE("shop"), &s));
	ck_assert(!view_service_by_host(v, slice_of("\0", 1), SLICE("shop"), &s));
	ck_assert(!view_service_by_name(v, slice_of(NULL, 0), slice_of(NULL, 0), &s));
	view_unref(v);
}
END_TEST

static bool by_vip(const struct view *v, const char *ip, struct vservice *s)
{
	struct addr a;

	ck_assert_int_eq(addr_parse_ip(slice_str(ip), &a), 0);
	a.port = 4711;
	return view_service_by_vip(v, &a, s);
}

START_TEST(an_address_finds_its_service_whatever_the_port)
{
	struct view *v = view_from(world_text);
	struct addr none = { 0 };
	struct vservice s;

	ck_assert(by_vip(v, "10.96.0.2", &s) && slice_eq(vservice_ns(&s), SLICE("bank")));
	ck_assert(by_vip(v, "fd00::1", &s) && slice_eq(vservice_ns(&s), SLICE("shop")));
	ck_assert(!by_vip(v, "10.96.0.3", &s));
	ck_assert(!view_service_by_vip(v, &none, &s)); /* Services without one do not answer */
	view_unref(v);
}
END_TEST

START_TEST(an_address_that_moved_finds_only_its_new_owner)
{
	struct world *w = world_new();
	struct vservice s;

	world_say(w, world_text);
	world_say(w, "service shop/web vip=10.96.0.7 port=80\n");
	ck_assert(!by_vip(world_view(w), "10.96.0.1", &s));
	ck_assert(by_vip(world_view(w), "10.96.0.7", &s));
	world_say(w, "service bank/new vip=10.96.0.1 port=80\n");
	ck_assert(by_vip(world_view(w), "10.96.0.1", &s) &&
		  slice_eq(vservice_name(&s), SLICE("new")));
	world_say(w, "remove service bank/new\n");
	ck_assert(!by_vip(world_view(w), "10.96.0.1", &s));
	world_free(&w);
}
END_TEST

START_TEST(a_headless_service_has_no_address)
{
	struct view *v = view_from("service shop/db headless vip=10.96.0.5 port=5432\n");
	struct vservice s;

	ck_assert(!by_vip(v, "10.96.0.5", &s));
	ck_assert_str_eq(by_host(v, "db", "shop"), "shop/db");
	view_unref(v);
}
END_TEST

UNIT_TESTS("hostmap", a_host_name_means_what_kubernetes_dns_means,
	   a_byte_that_is_not_text_finds_nothing, an_address_finds_its_service_whatever_the_port,
	   an_address_that_moved_finds_only_its_new_owner, a_headless_service_has_no_address)
