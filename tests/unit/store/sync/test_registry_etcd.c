/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The registry of keys, against a real etcd: nobody's change is lost, an address is one owner's, and what
 * one may not is said to be so. */
#include "store/sync/registry_etcd.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/registry/vip.h"
#include "tests/lib/etcd_here.h"
#include "tests/unit/test.h"

#define ROOT	"/nodeproxy/here/"
#define WRITERS 10
#define CHANGES 3	/* of each writer */

static struct etcd_here here;
static char problem[512];
static const struct registry_key web = { "", "Service", "shop", "web" };

static int64_t wait_ms = 20000;

static enum registry_error open_as(const char *user, const char *password, struct registry **ret)
{
	const struct registry_etcd_terms t = {
		.endpoint = &here.addr, .endpoints = 1, .name = "", .user = user,
		.password = slice_str(password), .prefix = "/nodeproxy", .cluster = "here", .wait_ms = wait_ms,
	};

	return registry_etcd_open(&t, ret, problem);
}

static struct registry *opened(void)
{
	struct registry *r;

	ck_assert_msg(open_as("", "", &r) == REGISTRY_DONE, "%s", problem);
	return r;
}

static const char *service(const char *name, unsigned port)
{
	static char text[400];

	snprintf(text, sizeof text, "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"%s\","
		 "\"namespace\":\"shop\"},\"spec\":{\"ports\":[{\"port\":%u}]}}", name, port);
	return text;
}

static struct registry_value got(struct registry *r, const struct registry_key *k)
{
	struct registry_value v;

	ck_assert_msg(registry_get(r, k, &v) == REGISTRY_DONE, "%s", r->problem);
	return v;
}

static void clear(void)
{
	ck_assert_int_eq(etcd_here_ctl(&here, "del --prefix /"), 0);
}

START_TEST(an_object_is_a_key_and_changes_only_as_it_was_seen)
{
	struct registry *r = opened();
	struct registry_value v = got(r, &web), old;
	char *where = NULL;

	ck_assert_uint_eq(v.version, 0);
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 80)), 7, NULL), REGISTRY_CONFLICT);
	ck_assert_ptr_nonnull(strstr(r->problem, "removed meanwhile"));
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 80)), 0, &where), REGISTRY_DONE);
	ck_assert_str_eq(where, ROOT "ns/shop/core/Service/web");
	free(where);
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 81)), 0, NULL), REGISTRY_CONFLICT);
	old = got(r, &web);
	ck_assert_ptr_nonnull(strstr(old.json, "80"));
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 82)), old.version, NULL),
			 REGISTRY_DONE);
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 83)), old.version, NULL),
			 REGISTRY_CONFLICT);
	ck_assert_ptr_nonnull(strstr(r->problem, "changed meanwhile"));
	ck_assert_int_eq(registry_delete_if(r, &web, old.version), REGISTRY_CONFLICT);
	v = got(r, &web);
	ck_assert_ptr_nonnull(strstr(v.json, "82"));
	ck_assert_uint_gt(v.version, old.version);
	ck_assert_int_eq(registry_delete_if(r, &web, v.version), REGISTRY_DONE);
	ck_assert_int_eq(registry_delete_if(r, &web, v.version), REGISTRY_CONFLICT);
	registry_value_fini(&v);
	registry_value_fini(&old);
	registry_close(&r);
}
END_TEST

START_TEST(what_is_no_object_of_its_key_is_told)
{
	struct registry *r = opened();
	struct registry_value v;

	ck_assert_int_eq(etcd_here_ctl(&here, "put " ROOT "ns/shop/core/Service/web '{\"a\": 1}'"), 0);
	v = got(r, &web);
	ck_assert_uint_ne(v.version, 0);
	ck_assert_ptr_null(v.json);
	ck_assert_ptr_nonnull(strstr(v.refusal, ROOT "ns/shop/core/Service/web:1: "));
	/* and can be repaired */
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("other", 1)), v.version, NULL), REGISTRY_DONE);
	registry_value_fini(&v);
	v = got(r, &web);
	ck_assert_ptr_null(v.json);
	ck_assert_ptr_nonnull(strstr(v.refusal, "is Service shop/other, which its key is not"));
	registry_value_fini(&v);
	registry_close(&r);
	clear();
}
END_TEST

static bool count(void *arg, const struct registry_key *k, const struct registry_value *v)
{
	unsigned *n = arg;

	ck_assert_str_eq(k->ns, "shop");
	ck_assert_ptr_nonnull(v->json);
	(*n)++;
	return true;
}

static bool first_only(void *arg, const struct registry_key *k, const struct registry_value *v)
{
	(void)k;
	(void)v;
	(*(unsigned *)arg)++;
	return false;
}

START_TEST(lists_come_page_by_page)
{
	struct registry *r = opened();
	unsigned n = 0;
	char name[16];

	for (unsigned i = 0; i < 450; i++) {
		struct registry_key k = { "", "Service", "shop", name };

		snprintf(name, sizeof name, "s%u", i);
		ck_assert_int_eq(registry_put_if(r, &k, slice_str(service(name, 80)), 0, NULL), REGISTRY_DONE);
	}
	/* of others: another namespace that begins alike, no object, an address, a host's */
	ck_assert_int_eq(etcd_here_ctl(&here, "put " ROOT "ns/shopping/core/Service/a x"), 0);
	ck_assert_int_eq(etcd_here_ctl(&here, "put " ROOT "ns/shop/nonsense x"), 0);
	ck_assert_int_eq(etcd_here_ctl(&here, "put " ROOT "vip/10.0.0.1 shop/web"), 0);
	ck_assert_int_eq(registry_list(r, "Service", "shop", count, &n), REGISTRY_DONE);
	ck_assert_uint_eq(n, 450);
	n = 0;
	ck_assert_int_eq(registry_list(r, "HTTPRoute", "shop", count, &n), REGISTRY_DONE);
	ck_assert_int_eq(registry_list(r, "Namespace", NULL, count, &n), REGISTRY_DONE);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(registry_list(r, NULL, NULL, first_only, &n), REGISTRY_DONE);
	ck_assert_uint_eq(n, 1);
	registry_close(&r);
	clear();
}
END_TEST

/* ---- writers that do not know of each other ---- */

static void be_forked(void (*what)(unsigned), unsigned me)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rand_init();
	what(me);
	_exit(0);
}

static void fork_all(void (*what)(unsigned))
{
	pid_t pid[WRITERS];
	int status;

	for (unsigned i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		ck_assert_int_ge(pid[i], 0);
		if (pid[i] == 0)
			be_forked(what, i);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "writer %u: %x", i, (unsigned)status);
	}
}

/* Adds one to the port, as often as it may, over what it has seen. */
static void change(unsigned me)
{
	unsigned done = 0, port;
	struct registry *r;

	(void)me;
	if (open_as("", "", &r) != REGISTRY_DONE)
		_exit(1);
	while (done < CHANGES) {
		struct registry_value v;
		enum registry_error e = registry_get(r, &web, &v);
		const char *at = e == REGISTRY_DONE && v.json ? strstr(v.json, "\"port\":") : NULL;

		if (!at || sscanf(at, "\"port\":%u", &port) != 1)
			_exit(2);
		e = registry_put_if(r, &web, slice_str(service("web", port + 1)), v.version, NULL);
		registry_value_fini(&v);
		if (e != REGISTRY_DONE && e != REGISTRY_CONFLICT)
			_exit(3);
		done += e == REGISTRY_DONE;
	}
	registry_close(&r);
}

START_TEST(ten_writers_lose_no_change)
{
	struct registry *r = opened();
	struct registry_value v;

	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 1000)), 0, NULL), REGISTRY_DONE);
	fork_all(change);
	v = got(r, &web);
	ck_assert_msg(strstr(v.json, "\"port\":1030") != NULL, "%s", v.json);
	registry_value_fini(&v);
	registry_close(&r);
	clear();
}
END_TEST

/* 14 addresses, ten owners with two each would not fit: one each does. */
static void take_vip(unsigned me)
{
	struct addr base;
	struct registry *r;
	char ip[ADDR_TEXT], again[ADDR_TEXT], owner[32];

	snprintf(owner, sizeof owner, "shop/s%u", me);
	if (addr_parse_ip(SLICE("10.1.2.0"), &base) < 0 || open_as("", "", &r) != REGISTRY_DONE)
		_exit(1);
	if (vip_allocate(r, &base, 28, owner, ip) != REGISTRY_DONE)
		_exit(2);
	if (vip_allocate(r, &base, 28, owner, again) != REGISTRY_DONE || strcmp(ip, again) != 0)
		_exit(3);
	/* Not another's to give back. */
	if (r->ops->vip_release(r, ip, "shop/other") != REGISTRY_DONE ||
	    r->ops->vip_claim(r, ip, "shop/other") != REGISTRY_TAKEN)
		_exit(4);
	registry_close(&r);
}

START_TEST(ten_owners_have_ten_addresses)
{
	struct registry *r;
	struct addr base;
	char ip[ADDR_TEXT], owner[32];
	unsigned more = 0;

	ck_assert_int_eq(addr_parse_ip(SLICE("10.1.2.0"), &base), 0);
	fork_all(take_vip);
	/* So many are left, and then none. */
	r = opened();
	for (enum registry_error e = REGISTRY_DONE; e == REGISTRY_DONE; more++) {
		snprintf(owner, sizeof owner, "bank/s%u", more);
		e = vip_allocate(r, &base, 28, owner, ip);
		ck_assert(e == REGISTRY_DONE || e == REGISTRY_FULL);
	}
	ck_assert_uint_eq(more, 14 - WRITERS + 1);
	snprintf(owner, sizeof owner, "bank/s%u", 0);
	ck_assert_int_eq(vip_allocate(r, &base, 28, owner, ip), REGISTRY_DONE);
	ck_assert_int_eq(r->ops->vip_release(r, ip, owner), REGISTRY_DONE);
	ck_assert_int_eq(r->ops->vip_claim(r, ip, "shop/late"), REGISTRY_DONE);
	registry_close(&r);
	clear();
}
END_TEST

START_TEST(what_is_away_is_said_and_comes_back)
{
	struct registry *r = opened(), *hasty, *none;
	struct registry_value v;

	wait_ms = 50;
	ck_assert_int_eq(open_as("", "", &hasty), REGISTRY_DONE);
	etcd_here_kill(&here);
	ck_assert_int_eq(registry_get(hasty, &web, &v), REGISTRY_AWAY);
	ck_assert_int_eq(open_as("", "", &none), REGISTRY_AWAY);
	ck_assert(problem[0]);
	registry_close(&hasty);
	wait_ms = 20000;
	etcd_here_again(&here);
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 80)), 0, NULL), REGISTRY_DONE);
	registry_close(&r);
	clear();
}
END_TEST

START_TEST(who_may_not_is_told)
{
	static const char *const made[] = {
		"user add root:r", "user grant-role root root", "user add shop:s", "role add shop",
		"role grant-permission shop --prefix=true readwrite " ROOT "ns/shop/", "user grant-role shop shop",
		"auth enable",
	};
	struct registry_key other = { "", "Service", "shopping", "web" };
	struct registry_value v;
	struct registry *r;
	unsigned n = 0;

	for (size_t i = 0; i < countof(made); i++)
		ck_assert_msg(etcd_here_ctl(&here, made[i]) == 0, "%s", made[i]);
	ck_assert_int_eq(open_as("shop", "wrong", &r), REGISTRY_DENIED);
	ck_assert_ptr_nonnull(strstr(problem, "authentication failed"));
	ck_assert_int_eq(open_as("shop", "s", &r), REGISTRY_DONE);
	ck_assert_int_eq(registry_put_if(r, &web, slice_str(service("web", 80)), 0, NULL), REGISTRY_DONE);
	v = got(r, &web);
	ck_assert_int_eq(registry_put_if(r, &other, slice_str(service("web", 80)), 0, NULL), REGISTRY_DENIED);
	ck_assert_ptr_nonnull(strstr(r->problem, "permission denied"));
	ck_assert_int_eq(registry_get(r, &other, &(struct registry_value){ 0 }), REGISTRY_DENIED);
	ck_assert_int_eq(registry_list(r, "Service", NULL, count, &n), REGISTRY_DENIED);
	ck_assert_int_eq(registry_list(r, "Service", "shop", count, &n), REGISTRY_DONE);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(r->ops->vip_claim(r, "10.0.0.1", "shop/web"), REGISTRY_DENIED);
	ck_assert_ptr_nonnull(strstr(r->problem, "clusterIP"));
	ck_assert_int_eq(registry_delete_if(r, &web, v.version), REGISTRY_DONE);
	registry_value_fini(&v);
	registry_close(&r);
}
END_TEST

int main(void)
{
	const TTest *const all[] = {
		an_object_is_a_key_and_changes_only_as_it_was_seen, what_is_no_object_of_its_key_is_told,
		lists_come_page_by_page, ten_writers_lose_no_change, ten_owners_have_ten_addresses,
		what_is_away_is_said_and_comes_back, who_may_not_is_told,
	};
	int r;

	rand_init();
	if (!etcd_here_start(&here)) {
		printf("SKIP: there is no etcd here\n");
		return 77;
	}
	r = unit_run("registry_etcd", all, countof(all));
	etcd_here_stop(&here);
	return r;
}
