/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The life of a view: opened, checked, held, unmapped; layers; what refuses a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/memfd.h"
#include "store/view/layout.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

#define SHOP                                                                                       \
	"namespace shop tenant=retail slot=3/1 weight=5 memory=4096 connections=10 requests=20"              \
	" placed=web@host-b placed=web@host-a placed=api@host-a placed=web@host-b\n"                \
	"service shop/web vip=10.96.0.1 slot=4/9 port=80/http/http port=9000/raw/tcp\n"            \
	"endpoint shop/web:http 10.0.0.2:8080 zone=a node=n1 host=h1\n"                            \
	"endpoint shop/web:http 10.0.0.1:8080 notready\n"                                          \
	"service shop/cart vip=10.96.0.2 vip=fd00::2 port=80\n"

static void assert_text(const struct view *v, const char *want)
{
	char *got = view_text(v);

	ck_assert_str_eq(got, want);
	free(got);
}

static int open_bytes(const void *p, size_t n, uint64_t rev, struct view **ret)
{
	struct fd fd;

	ck_assert_int_eq(memfd_sealed("test", slice_of(p, n), &fd), 0);
	return view_open_base(&fd, rev, ret);
}

/* The bytes of a base, to be spoiled. */
static uint8_t *base_bytes(const char *text, size_t *n)
{
	struct world *w = world_new();
	struct unit_namespace ns = { .name = slice_str("x"), .weight = 1 };
	struct builder *b;
	struct built f;
	uint8_t *p;

	world_say(w, text);
	b = world_builder(w);
	/* So much at once that the commit is a base again. */
	for (int i = 0; i < 2000; i++) {
		char name[16];

		ns.name = slice_of(name, (size_t)snprintf(name, sizeof name, "n%d", i));
		ck_assert_int_eq(builder_set_namespace(b, &ns), 0);
	}
	ck_assert_int_eq(builder_commit(b, 100, &f), 0);
	ck_assert(f.is_base);
	p = malloc(f.bytes);
	ck_assert_int_eq(pread(f.fd.v, p, f.bytes, 0), (ssize_t)f.bytes);
	*n = f.bytes;
	fd_close(&f.fd);
	world_free(&w);
	return p;
}

START_TEST(a_view_shows_what_was_said)
{
	struct view *v = view_from(SHOP);

	assert_text(v, "namespace shop tenant=retail slot=3/1 weight=5 memory=4096 connections=10 requests=20\n"
		       "  placed api node=host-a\n"
		       "  placed web node=host-a\n"
		       "  placed web node=host-b\n"
		       "service shop/cart vip=10.96.0.2 vip=fd00::2 slot=0/0\n"
		       "  port 80 auto endpoints=0 ready=0\n"
		       "service shop/web vip=10.96.0.1 slot=4/9\n"
		       "  port 80 http name=http endpoints=2 ready=1\n"
		       "    endpoint 10.0.0.2:8080 ready serving slot=8180/7 zone=a node=n1 host=h1\n"
		       "    endpoint 10.0.0.1:8080 slot=8180/7\n"
		       "  port 9000 tcp name=raw endpoints=0 ready=0\n");
	ck_assert_uint_eq(view_service_count(v), 2);
	ck_assert_uint_eq(view_rev(v), 1);
	view_unref(v);
}
END_TEST

START_TEST(an_overlay_replaces_adds_and_removes)
{
	struct world *w = world_new();
	const struct view *old = world_say(w, SHOP), *v;
	struct vservice s;

	view_ref(old);
	v = world_say(w, "remove service shop/cart\n"
			 "remove namespace shop\n"
			 "service shop/web vip=10.96.0.9 port=80/http/http\n"
			 "service bank/web port=80\n"
			 "namespace bank\n");
	ck_assert_uint_eq(view_rev(v), 2);
	ck_assert_uint_eq(view_base_rev(v), 1);
	assert_text(v, "namespace bank tenant=bank slot=0/0 weight=1 memory=0 connections=0 requests=0\n"
		       "service bank/web slot=0/0\n"
		       "  port 80 auto endpoints=0 ready=0\n"
		       "service shop/web vip=10.96.0.9 slot=0/0\n"
		       "  port 80 http name=http endpoints=2 ready=1\n"
		       "    endpoint 10.0.0.2:8080 ready serving slot=8180/7 zone=a node=n1 host=h1\n"
		       "    endpoint 10.0.0.1:8080 slot=8180/7\n");
	ck_assert_uint_eq(view_service_count(v), 2);
	ck_assert_uint_eq(view_namespace_count(v), 1);
	/* Whoever still holds the old one still sees the old one. */
	ck_assert(view_service_by_name(old, SLICE("shop"), SLICE("cart"), &s));
	ck_assert(!view_service_by_name(v, SLICE("shop"), SLICE("cart"), &s));
	ck_assert_uint_eq(view_rev(old), 1);
	view_unref(old);
	world_free(&w);
}
END_TEST

START_TEST(a_removed_service_can_come_back_in_an_overlay)
{
	struct world *w = world_new();
	struct vservice s;

	world_say(w, SHOP);
	world_say(w, "remove service shop/cart\n");
	ck_assert(!view_service_by_name(world_view(w), SLICE("shop"), SLICE("cart"), &s));
	world_say(w, "service shop/cart port=81\n");
	ck_assert(view_service_by_name(world_view(w), SLICE("shop"), SLICE("cart"), &s));
	ck_assert_uint_eq(vservice_ports(&s), 1);
	ck_assert_uint_eq(view_service_count(world_view(w)), 2);
	world_free(&w);
}
END_TEST

START_TEST(an_unknown_namespace_is_its_own_tenant)
{
	struct view *v = view_from(SHOP);
	struct vnamespace ns;

	view_namespace(v, SLICE("shop"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("retail")));
	ck_assert_uint_eq(ns.tenant_slot.slot, 3);
	ck_assert_uint_eq(ns.weight, 5);
	ck_assert_uint_eq(ns.memory_bytes, 4096);
	ck_assert_uint_eq(ns.connections, 10);
	ck_assert_uint_eq(ns.requests, 20);
	view_namespace(v, SLICE("elsewhere"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("elsewhere")));
	ck_assert_uint_eq(ns.tenant_slot.gen, 0);
	ck_assert_uint_eq(ns.weight, 1);
	view_unref(v);
}
END_TEST

START_TEST(accounts_are_where_the_registry_says)
{
	struct view *v = view_from(SHOP "namespace bank placed=web@host-c\n");
	static const struct {
		const char *ns, *account, *node;
		bool is;
	} rows[] = {
		{ "shop", "web", "host-a", true }, { "shop", "web", "host-b", true }, { "shop", "api", "host-a", true },
		{ "shop", "api", "host-b", false }, { "shop", "web", "host-c", false }, { "shop", "web", "", false },
		{ "shop", "", "host-a", false }, { "shop", "webx", "host-a", false }, { "shop", "we", "host-a", false },
		{ "bank", "web", "host-c", true }, { "bank", "web", "host-a", false }, { "none", "web", "host-a", false },
	};

	for (size_t i = 0; i < countof(rows); i++)
		ck_assert_msg(view_places(v, slice_str(rows[i].ns), slice_str(rows[i].account),
					  slice_str(rows[i].node)) == rows[i].is, "row %zu", i);
	view_unref(v);
}
END_TEST

START_TEST(an_unsealed_file_is_refused)
{
	struct fd fd = { memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	struct view *v;
	size_t n;
	uint8_t *p = base_bytes(SHOP, &n);

	ck_assert_int_eq(write(fd.v, p, n), (ssize_t)n);
	ck_assert_int_eq(view_open_base(&fd, 100, &v), -EPERM);
	ck_assert_int_eq(fd.v, -1);
	ck_assert_str_eq(view_problem(NULL), "not sealed");
	free(p);
}
END_TEST

START_TEST(a_file_that_was_not_announced_is_refused)
{
	struct view *v;
	size_t n;
	uint8_t *p = base_bytes(SHOP, &n);

	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	view_unref(v);
	ck_assert_int_eq(open_bytes(p, n, 99, &v), -EBADMSG);
	ck_assert_int_eq(open_bytes(p, n - 8, 100, &v), -EBADMSG);
	((struct view_head *)p)->version++;
	ck_assert_int_eq(open_bytes(p, n, 100, &v), -EBADMSG);
	ck_assert_str_eq(view_problem(NULL), "a version of another build");
	free(p);
}
END_TEST

START_TEST(a_spoiled_unit_refuses_the_base)
{
	size_t n;
	uint8_t *p = base_bytes(SHOP, &n);
	const struct view_head *h = (const struct view_head *)p;
	const struct view_dir *d = (const struct view_dir *)(p + h->dir);
	struct unit_svc *s = NULL;
	uint32_t id = 0, keep;
	struct view *v;
	/* Each of these, alone, must be seen. */
	uint32_t *spot[10];

	for (uint32_t i = 0; i < h->n_dir && s == NULL; i++) {
		struct unit_svc *u = (struct unit_svc *)(p + d[i].at);

		if (u->head.kind == UNIT_SERVICE && u->n_endpoints) {
			s = u;
			id = d[i].id;
		}
	}
	ck_assert_ptr_nonnull(s);
	spot[0] = &s->head.id;
	spot[1] = &s->head.name;
	spot[2] = &s->n_endpoints;
	spot[3] = &s->ports;
	spot[4] = &((struct unit_text *)(p + d[id - 1].at + s->head.texts))[1].n;
	spot[5] = &((struct unit_port *)(p + d[id - 1].at + s->ports))->n_ready;
	spot[6] = &((struct unit_endpoint *)(p + d[id - 1].at + s->endpoints))->zone;
	spot[7] = &s->head.kind;
	spot[8] = spot[9] = &s->lacks_endpoints;	/* also 1, as it has some */
	for (int i = 0; i < 10; i++) {
		keep = *spot[i];
		*spot[i] = i == 9 ? 1 : 0x7fffffff;
		ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
		ck_assert_int_eq(view_check_step(v, 1000000), -EBADMSG);
		ck_assert_msg(strncmp(view_problem(v), "unit ", 5) == 0, "%s", view_problem(v));
		view_unref(v);
		*spot[i] = keep;
	}
	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	view_unref(v);
	free(p);
}
END_TEST

/* It has none until it says otherwise, whatever slices there are. */
START_TEST(a_service_may_lack_its_endpoints)
{
	struct world *w = world_new();
	const struct view *v = world_say(w, "service shop/web port=80 vip=10.96.0.1 lacking\n"
					    "endpoint shop/web 10.0.0.1:8080\n"
					    "service shop/none port=80\n");
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("none"), &s));
	ck_assert(!vservice_lacks_endpoints(&s));
	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_lacks_endpoints(&s));
	ck_assert(vservice_port(&s, 80, &p));
	ck_assert_uint_eq(p.endpoints, 0);
	v = world_say(w, "service shop/web port=80 vip=10.96.0.1\n");
	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(!vservice_lacks_endpoints(&s));
	ck_assert(vservice_port(&s, 80, &p));
	ck_assert_uint_eq(p.endpoints, 1);
	world_free(&w);
}
END_TEST

START_TEST(a_spoiled_policy_refuses_the_base)
{
	size_t n;
	uint8_t *p = base_bytes("service shop/web port=80\nendpoint shop/web 10.0.0.1:80\n"
				"endpoint shop/web 10.0.0.2:80 weight=7\n"
				"endpoint shop/web 10.0.0.3:80 priority=1\n"
				"policy shop/p target=web connections=5 requests=6 pending=7 pending_ms=8 check=/a\n", &n);
	const struct view_head *h = (const struct view_head *)p;
	const struct view_dir *d = (const struct view_dir *)(p + h->dir);
	struct unit_svc *s = (struct unit_svc *)(p + d[0].at);
	struct unit_port *port = (struct unit_port *)(p + d[0].at + s->ports);
	struct unit_policy *y = (struct unit_policy *)(p + d[0].at + s->policies);
	struct unit_level *l = (struct unit_level *)(p + d[0].at + s->levels);
	uint32_t *spot[] = { &y->ejection.rate_interval_ms, &y->ejection.rate_deviation,
			     &y->ejection.rate_requests, &y->hash_name, &l->slot, &l->n_slots, &s->n_slots, &l->first, &l->n_ready, &l->n_total, &port->level, &port->n_levels,
			     &s->levels, &s->n_levels, &y->name, &y->connect_ms, &y->response_ms, &y->stall_ms,
			     &y->tcp_idle_ms, &y->connections, &y->requests, &y->ejection.base_ms,
			     &y->ejection.max_ms, &y->pending, &y->pending_ms, &y->check_path, &y->check_interval_ms,
			     &y->check_timeout_ms, &port->policy, &port->sum, &s->n_policies,
			     &s->n_sums, &s->policies, &s->sums };
	struct view *v;

	ck_assert_uint_eq(s->n_policies, 1);
	ck_assert_uint_eq(s->n_sums, 3);
	for (size_t i = 0; i < countof(spot); i++) {
		uint32_t keep = *spot[i];

		*spot[i] = 0x7fffffff;
		ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
		ck_assert_msg(view_check_step(v, 1000000) == -EBADMSG, "spot %zu", i);
		view_unref(v);
		*spot[i] = keep;
	}
	for (int i = 0; i < 28; i++) {
		struct unit_policy keep = *y;

		y->balancer = i == 0 ? BALANCERS : y->balancer;
		y->ejection.percent = i == 1 ? 0 : i == 2 ? 101 : y->ejection.percent;
		y->check = i == 3 ? CHECK_HTTP + 1 : y->check;
		y->balancing.slow_ms = i == 10 ? SLOW_MS_MAX + 1 : 0;
		y->balancing.slow_aggression_percent = i == 11 ? 9 : 100;
		y->balancing.slow_min_percent = i == 12 ? 0 : i == 13 ? 101 : 10;
		y->hash_by = i == 9 ? HASH_BYS : HASH_BY_NOTHING;
		y->prefer_zone = i == 4 ? 2 : 0;
		y->ejection.jitter_percent = i == 5 ? 101 : 50;
		y->balancing.overprovision_percent = i == 6 ? 99 : i == 7 ? 1001 : 140;
		y->balancing.panic_percent = i == 8 ? 101 : 50;
		y->balancing.checked = i != 14;
		y->check_healthy = i == 15 ? 0 : i == 16 ? 61 : 1;
		y->check_unhealthy = i == 17 ? 0 : i == 18 ? 61 : 2;
		y->check_statuses = i == 19 ? 9 : 1;
		y->delay_ms = i == 20 ? 600001 : 0;
		y->delay_percent = i == 21 ? 101 : 0;
		y->abort_percent = i == 22 ? 101 : 0;
		y->abort_status = i == 23 ? 399 : i == 24 ? 600 : 0;
		y->abort_grpc = i == 25 ? 18 : 0;
		y->zero = i == 26;
		y->zeros[2] = i == 27;
		ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
		ck_assert_msg(view_check_step(v, 1000000) == -EBADMSG, "byte %d", i);
		view_unref(v);
		*y = keep;
	}
	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	view_unref(v);
	free(p);
}
END_TEST

START_TEST(a_spoiled_rate_limit_refuses_the_base)
{
	size_t n;
	uint8_t *p = base_bytes("service shop/web port=80\nrate shop/p target=web identity=5/1000/5\n", &n);
	const struct view_head *h = (const struct view_head *)p;
	const struct view_dir *d = (const struct view_dir *)(p + h->dir);
	struct unit_svc *s = (struct unit_svc *)(p + d[0].at);
	struct unit_port *port = (struct unit_port *)(p + d[0].at + s->ports);
	struct unit_rate *y = (struct unit_rate *)(p + d[0].at + s->rates);
	const struct {
		uint32_t *at, value;
	} spot[] = {
		{ &y->name, 0x7fffffff }, { &y->key, RATE_KEYS }, { &y->identity.requests, 0 },
		{ &y->identity.requests, 1000001 }, { &y->identity.interval_ms, 0 },
		{ &y->identity.interval_ms, 86400001 }, { &y->identity.burst, 0 },
		{ &y->identity.burst, 1000001 }, { &y->total.burst, 1 }, { &y->total.requests, 1 },
		{ &port->rate, 2 }, { &s->n_rates, 0 }, { &s->n_rates, 1u << 30 }, { &s->rates, 0x7fffffff },
	};
	struct view *v;

	ck_assert_uint_eq(s->n_rates, 1);
	for (size_t i = 0; i < countof(spot); i++) {
		uint32_t keep = *spot[i].at;

		*spot[i].at = spot[i].value;
		ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
		ck_assert_msg(view_check_step(v, 1000000) == -EBADMSG, "spot %zu", i);
		view_unref(v);
		*spot[i].at = keep;
	}
	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	view_unref(v);
	free(p);
}
END_TEST

#define FOUR_CAS   "ca=x ca=x ca=x ca=x "
#define TWO_NAMES  "dns=a.b uri=c:d "

START_TEST(a_spoiled_policy_of_tls_refuses_the_base)
{
	size_t n;
	uint8_t *p = base_bytes("configmap shop/x\nservice shop/web port=80/a port=81/b\n"
				"backendtls shop/p target=web#a host=a.b " FOUR_CAS FOUR_CAS TWO_NAMES TWO_NAMES "dns=e\n"
				"backendtls shop/q target=web#b host=a.b ca=x dns=f\n", &n);
	const struct view_head *h = (const struct view_head *)p;
	const struct view_dir *d = (const struct view_dir *)(p + h->dir);
	struct unit_svc *s = (struct unit_svc *)(p + d[0].at);
	struct unit_port *port = (struct unit_port *)(p + d[0].at + s->ports);
	struct unit_tls *y = (struct unit_tls *)(p + d[0].at + s->tls);
	const struct {
		uint32_t *at, value;
	} spot[] = {
		{ &y->name, 0x7fffffff }, { &y->host, 0x7fffffff }, { &y->flags, TLS_TRUSTS_HOST + 1 },
		{ &y->ca, 0x7fffffff }, { &y->n_cas, VTLS_CAS + 1 }, { &y->first, 0x7fffffff },
		{ &y->n_names, VTLS_NAMES + 1 }, { &port->tls, 3 }, { &s->n_tls, 0 }, { &s->n_tls, 1u << 30 },
		{ &s->tls, 0x7fffffff },
	};
	struct view *v;

	ck_assert_uint_eq(s->n_tls, 2);
	ck_assert_uint_eq(s->n_cas, VTLS_CAS + 1);	/* of both: that many are there */
	ck_assert_uint_eq(s->n_tls_names, VTLS_NAMES + 1);
	for (size_t i = 0; i < countof(spot); i++) {
		uint32_t keep = *spot[i].at;

		*spot[i].at = spot[i].value;
		ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
		ck_assert_msg(view_check_step(v, 1000000) == -EBADMSG, "spot %zu", i);
		view_unref(v);
		*spot[i].at = keep;
	}
	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	view_unref(v);
	free(p);
}
END_TEST

START_TEST(a_directory_out_of_order_refuses_the_base)
{
	size_t n;
	uint8_t *p = base_bytes(SHOP, &n);
	const struct view_head *h = (const struct view_head *)p;
	struct view_dir *d = (struct view_dir *)(p + h->dir), t = d[3];
	struct view *v;

	d[3] = d[4];
	d[4] = t;
	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), -EBADMSG);
	ck_assert_str_eq(view_problem(v), "directory not in order");
	view_unref(v);
	free(p);
}
END_TEST

START_TEST(a_full_index_refuses_the_base)
{
	size_t n;
	uint8_t *p = base_bytes(SHOP, &n);
	const struct view_head *h = (const struct view_head *)p;
	struct view *v;

	for (uint32_t i = 0; i < h->n_vips; i++)
		((struct view_slot *)(p + h->vips))[i].id = 1;
	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), -EBADMSG);
	ck_assert_str_eq(view_problem(v), "index too full");
	view_unref(v);
	free(p);
}
END_TEST

START_TEST(a_base_is_checked_in_slices)
{
	size_t n;
	uint8_t *p = base_bytes(SHOP, &n);
	struct view *v;
	int steps = 0, r;

	ck_assert_int_eq(open_bytes(p, n, 100, &v), 0);
	while ((r = view_check_step(v, 0)) == 0)
		steps++;
	ck_assert_int_eq(r, 1);
	ck_assert_int_gt(steps, 50); /* 2,000 units, 64 items in a step */
	view_unref(v);
	free(p);
}
END_TEST

START_TEST(an_overlay_waits_for_its_base)
{
	struct builder *b;
	struct built base, over, other;
	struct view *v, *o;
	struct unit_namespace ns = { .name = slice_str("a"), .weight = 1 };

	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	ck_assert_int_eq(builder_set_namespace(b, &ns), 0);
	ck_assert_int_eq(builder_commit(b, 5, &base), 0);
	ns.weight = 2;
	ck_assert_int_eq(builder_set_namespace(b, &ns), 0);
	ck_assert_int_eq(builder_commit(b, 6, &over), 0);
	other.fd.v = dup(over.fd.v);
	ck_assert_int_eq(view_open_base(&base.fd, 5, &v), 0);
	ck_assert_int_eq(view_open_overlay(v, &other.fd, 6, &o), -EBUSY);
	ck_assert_int_eq(other.fd.v, -1);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	ck_assert_int_eq(view_open_overlay(v, &over.fd, 6, &o), 0);
	view_unref(v); /* the overlaid view keeps the base */
	ck_assert_uint_eq(view_rev(o), 6);
	view_unref(o);
	builder_free(&b);
}
END_TEST

START_TEST(an_overlay_on_another_base_is_stale)
{
	struct builder *b[2];
	struct built f[2], over;
	struct view *v, *o;
	struct unit_namespace ns = { .name = slice_str("a"), .weight = 1 };

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(builder_new(SLICE("x"), &b[i]), 0);
		ck_assert_int_eq(builder_commit(b[i], 5, &f[i]), 0);
	}
	ck_assert_int_eq(builder_set_namespace(b[1], &ns), 0);
	ck_assert_int_eq(builder_commit(b[1], 6, &over), 0);
	/* The same revision, but the base of another builder: ids would mean other things. */
	ck_assert_int_eq(view_open_base(&f[0].fd, 5, &v), 0);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	ck_assert_int_eq(view_open_overlay(v, &over.fd, 6, &o), -ESTALE);
	view_unref(v);
	fd_close(&f[1].fd);
	for (int i = 0; i < 2; i++)
		builder_free(&b[i]);
}
END_TEST

START_TEST(an_overlay_that_would_take_long_to_verify_is_refused)
{
	struct world *w = world_new();
	const struct view *base = world_say(w, SHOP);
	uint8_t *p = calloc(1, OVERLAY_MAX_BYTES + 1);
	struct view *v;
	struct fd fd;

	ck_assert_int_eq(memfd_sealed("test", slice_of(p, OVERLAY_MAX_BYTES + 1), &fd), 0);
	ck_assert_int_eq(view_open_overlay(base, &fd, 2, &v), -EMSGSIZE);
	ck_assert_str_eq(view_problem(NULL), "empty or too large");
	free(p);
	world_free(&w);
}
END_TEST

static size_t mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	size_t sum = 0;

	while (fgets(line, sizeof line, f)) {
		unsigned long a, b;

		if (strstr(line, "memfd:view") && sscanf(line, "%lx-%lx", &a, &b) == 2)
			sum += b - a;
	}
	fclose(f);
	return sum;
}

START_TEST(a_large_base_is_unmapped_in_pieces)
{
	struct unit_namespace ns = { .weight = 1 };
	struct builder *b;
	struct built f;
	struct view *v;
	size_t before;
	int calls = 0;

	ck_assert_int_eq(builder_new(SLICE("x"), &b), 0);
	for (int i = 0; i < 20000; i++) {
		char name[16];

		ns.name = slice_of(name, (size_t)snprintf(name, sizeof name, "n%d", i));
		ck_assert_int_eq(builder_set_namespace(b, &ns), 0);
	}
	ck_assert_int_eq(builder_commit(b, 1, &f), 0);
	ck_assert_uint_gt(f.bytes, 2u << 20);
	builder_free(&b);
	before = mapped_bytes();
	ck_assert_int_eq(view_open_base(&f.fd, 1, &v), 0);
	ck_assert_uint_gt(mapped_bytes(), before + (2u << 20));
	view_unref(v);
	ck_assert_uint_gt(mapped_bytes(), before + (2u << 20));
	ck_assert(view_has_trash());
	while (view_trim())
		calls++;
	ck_assert_int_ge(calls, 2);
	ck_assert_uint_eq(mapped_bytes(), before);
}
END_TEST

UNIT_TESTS("view", a_view_shows_what_was_said, an_overlay_replaces_adds_and_removes,
	   a_removed_service_can_come_back_in_an_overlay, an_unknown_namespace_is_its_own_tenant,
	   accounts_are_where_the_registry_says,
	   an_unsealed_file_is_refused, a_file_that_was_not_announced_is_refused,
	   a_spoiled_unit_refuses_the_base, a_service_may_lack_its_endpoints, a_spoiled_policy_refuses_the_base, a_spoiled_rate_limit_refuses_the_base, a_spoiled_policy_of_tls_refuses_the_base,
	   a_directory_out_of_order_refuses_the_base,
	   a_full_index_refuses_the_base, a_base_is_checked_in_slices,
	   an_overlay_waits_for_its_base, an_overlay_on_another_base_is_stale,
	   an_overlay_that_would_take_long_to_verify_is_refused, a_large_base_is_unmapped_in_pieces)
