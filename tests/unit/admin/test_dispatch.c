/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Permission, arguments and the answers, on a made-up host. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>

#include "tests/lib/admin_state.h"
#include "workers/obs/endpoint.h"
#include "workers/obs/grade.h"

static struct state st;
static struct admin_pages *pages;

static void begin(void)
{
	pages = admin_state_new(&st);
}

static void end(void)
{
	admin_state_free(&st, &pages);
}

static json_t *get(const char *target, int expected)
{
	int status;
	json_t *o = admin_ask(&st, "GET", target, "", 0, &status, NULL);

	ck_assert_msg(status == expected, "%s: %d %s", target, status, json_dumps(o, 0));
	if (status >= 400)
		ck_assert_str_ne(jget_str(o, "error"), "");
	return o;
}

static const json_t *item(const json_t *o, const char *list, size_t i)
{
	const json_t *v = json_array_get(json_object_get(o, list), i);

	ck_assert_msg(v != NULL, "no %s[%zu]", list, i);
	return v;
}

#define ck_assert_json_str(o, key, is) ck_assert_str_eq(jget_str(o, key), is)
#define ck_assert_json_u64(o, key, is) ck_assert_uint_eq(jget_u64(o, key), is)

START_TEST(a_command_has_no_more_arguments_than_are_looked_at)
{
	for (unsigned c = 0; c < CMDS; c++)
		ck_assert_msg(cmd_arg((enum cmd)c, CMD_ARGS) == NULL, "%s", cmd_row((enum cmd)c)->words);
}
END_TEST

START_TEST(nobody_may_look_but_not_touch)
{
	begin();
	for (unsigned c = 0; c < CMDS; c++) {
		const struct cmd_row *row = cmd_row((enum cmd)c);
		bool look = row->permission == PERMISSION_LOOK;
		char path[64];
		int status;

		snprintf(path, sizeof path, "%s%s", row->path,
			 row->path[strlen(row->path) - 1] == '/' ? "x" : "");
		json_decref(admin_ask(&st, row->method == CMD_POST ? "POST" : "GET", path, "", 65534,
				      &status, NULL));
		ck_assert_msg(look == (status != 403), "%s: %d", path, status);
		ck_assert_msg(look || status == 403, "%s reached the command", path);
		/* and the permission is asked before the arguments are looked at */
		if (!look) {
			json_decref(admin_ask(&st, "POST", path, "{broken", 65534, &status, NULL));
			ck_assert_int_eq(status, 403);
		}
		ck_assert_msg(row->help[0] && row->words[0], "%s has no help", path);
		ck_assert(row->method == CMD_GET || !look);
	}
	end();
}
END_TEST

START_TEST(a_command_has_one_method_and_known_arguments)
{
	static const struct { const char *method, *target, *body; int status; } cases[] = {
		{ "POST", "/v1/status", "", 405 },
		{ "GET", "/v1/drain", "", 405 },
		{ "PUT", "/v1/drain", "", 405 },
		{ "GET", "/", "", 404 },
		{ "GET", "/v1/status/", "", 404 },
		{ "GET", "/v1/resources/", "", 404 },
		{ "GET", "/v1/services?nonsense=1", "", 400 },
		{ "GET", "/v1/services?namespace=%zz", "", 400 },
		{ "GET", "/v1/services?&namespace=shop&", "", 200 },
		{ "POST", "/v1/drain?worker=x", "", 400 },
		{ "POST", "/v1/drain?worker=3", "", 404 },
		{ "POST", "/v1/drain?worker=1", "", 0 },
		{ "POST", "/v1/drain", "{\"worker\":1,\"deadline\":5}", 0 },
		{ "POST", "/v1/drain", "{\"worker\":-1}", 400 },
		{ "POST", "/v1/drain", "{\"worker\":[1]}", 400 },
		{ "POST", "/v1/drain", "{\"worker\":1,\"worker\":0}", 400 },
		{ "POST", "/v1/drain", "[]", 400 },
		{ "POST", "/v1/drain", "{", 400 },
		{ "GET", "/v1/explain", "", 400 },
		{ "GET", "/v1/explain?url=web.shop/a&method=POST&from=x", "", 200 },
		{ "GET", "/v1/explain?url=web.shop/a&from=x/nobody", "", 404 },
		{ "GET", "/v1/top", "", 200 },
		{ "GET", "/v1/top?by=services", "", 200 },
		{ "GET", "/v1/top?by=cats", "", 400 },
		{ "GET", "/v1/top?interval=2", "", 400 },	/* nodeproxyctl's own */
		{ "POST", "/v1/pod-add", "", 400 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&netns=/run/netns/a", "", 0 },
		{ "POST", "/v1/pod-add", "{\"name\":\"a\",\"namespace\":\"shop\",\"pid\":7,\"label\":\"a=b,c=d\"}", 0 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop", "", 400 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&netns=/x&pid=7", "", 400 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&uid=1000", "", 0 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&uid=0", "", 400 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&uid=4294967296", "", 400 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&uid=1000&pid=7", "", 400 },
		{ "POST", "/v1/pod-add?name=A&namespace=shop&netns=/x", "", 400 },
		{ "POST", "/v1/pod-add?name=a&namespace=shop&netns=/x&label=nonsense", "", 400 },
		{ "POST", "/v1/pod-remove?name=a", "", 400 },
		{ "POST", "/v1/pod-remove?name=a&namespace=shop", "", 0 },
		{ "POST", "/v1/pod-remove?name=a&namespace=shop&netns=/x", "", 0 },
		{ "POST", "/v1/pod-remove?name=a&namespace=shop&netns=x", "", 400 },
		{ "POST", "/v1/pod-remove?name=a&namespace=shop&label=a=b", "", 400 },
		{ "GET", "/v1/pods?namespace=shop", "", 200 },
		{ "POST", "/v1/log-level", "", 400 },
		{ "POST", "/v1/log-level?level=loud", "", 400 },
		{ "POST", "/v1/log-level", "{\"level\":\"debug\"}", 0 },
		{ "POST", "/v1/log-reopen", "", 0 },
#ifdef NP_DEBUG_COMMANDS
		{ "POST", "/v1/debug?what=panic&worker=1", "", 0 },
		{ "POST", "/v1/debug?what=explode", "", 400 },
		{ "POST", "/v1/debug", "", 400 },
#endif
	};

	begin();
	for (size_t i = 0; i < countof(cases); i++) {
		int status;
		json_t *o = admin_ask(&st, cases[i].method, cases[i].target, cases[i].body, 0, &status,
				      NULL);

		ck_assert_msg(status == cases[i].status, "%s %s %s: %d", cases[i].method,
			      cases[i].target, cases[i].body, status);
		json_decref(o);
	}
	end();
}
END_TEST

START_TEST(an_order_says_what_was_asked_and_who_asked)
{
	struct msg_order order;
	int status;

	begin();
	json_decref(admin_ask(&st, "POST", "/v1/drain", "{\"worker\":1,\"deadline\":5}", 0, &status,
			      &order));
	ck_assert_int_eq(order.order, ORDER_DRAIN);
	ck_assert_uint_eq(order.worker, 1);
	ck_assert_int_eq(order.number, 5000);
	ck_assert_str_eq(order.who, "uid=0 pid=7");
	json_decref(admin_ask(&st, "POST", "/v1/drain", "", 0, &status, &order));
	ck_assert_uint_eq(order.worker, UINT32_MAX);
	ck_assert_int_eq(order.number, pages->knobs.drain_ms);
	json_decref(admin_ask(&st, "POST", "/v1/upgrade?deadline=7", "", 0, &status, &order));
	ck_assert_int_eq(order.order, ORDER_UPGRADE);
	ck_assert_int_eq(order.number, 7000);
	json_decref(admin_ask(&st, "POST", "/v1/upgrade", "", 0, &status, &order));
	ck_assert_int_eq(order.number, pages->knobs.drain_ms);
	json_decref(admin_ask(&st, "POST", "/v1/log-level?level=error", "", 0, &status, &order));
	ck_assert_int_eq(order.order, ORDER_LOG_LEVEL);
	ck_assert_int_eq(order.number, LOG_ERROR);
	end();
}
END_TEST

START_TEST(what_the_master_refuses_is_an_error_with_its_words)
{
	struct msg_order order = { .order = ORDER_DRAIN };
	struct answer a;

	dispatch_ordered(&order, -EBUSY, SLICE("worker 1 drains already"), &a);
	ck_assert_int_eq(a.status, 409);
	ck_assert_ptr_nonnull(strstr(a.body.p, "worker 1 drains already"));
	text_fini(&a.body);
	dispatch_ordered(&order, INT32_MIN, (struct slice){ 0 }, &a);
	ck_assert_int_eq(a.status, 500);
	text_fini(&a.body);
	dispatch_ordered(&order, 0, (struct slice){ 0 }, &a);
	ck_assert_int_eq(a.status, 200);
	text_fini(&a.body);
}
END_TEST

START_TEST(status_has_what_tools_rely_on_and_is_never_ready_by_mistake)
{
	json_t *o;

	begin();
	o = get("/v1/status", 200);
	ck_assert(jget_bool(o, "ready"));
	ck_assert(jget_bool(o, "durable"));
	ck_assert_json_u64(o, "rev", 7);
	ck_assert_json_str(o, "node", "host-a");
	ck_assert_json_str(o, "version", PACKAGE_VERSION);
	ck_assert_json_u64(item(o, "workers", 1), "pid", 101);
	ck_assert_json_u64(item(o, "workers", 1), "cpu", 1);
	ck_assert_json_u64(item(o, "workers", 1), "rev", 7);
	ck_assert_json_u64(item(o, "workers", 1), "connections", 2);
	ck_assert_json_str(item(o, "workers", 1), "state", proc_state_name(PROC_READY));
	ck_assert_json_u64(item(o, "sources", 0), "refused", 1);
	ck_assert_json_str(item(o, "sources", 0), "state", "synced");
	json_decref(o);

	pages->procs.proc[1].rev = 0;
	o = get("/v1/status", 200);
	ck_assert(!jget_bool(o, "ready"));
	ck_assert_ptr_nonnull(strstr(jget_str(o, "why"), "worker 1 has no view"));
	json_decref(o);
	/* its replacement starts in the spare slot */
	pages->procs.proc[1].rev = 7;
	pages->procs.proc[1].state = PROC_DRAINING;
	pages->procs.count = 5;
	pages->procs.proc[4] = pages->procs.proc[0];
	pages->procs.proc[4].id = 2;
	pages->procs.proc[4].state = PROC_STARTING;
	o = get("/v1/status", 200);
	ck_assert(!jget_bool(o, "ready"));
	ck_assert_uint_eq(json_array_size(json_object_get(o, "workers")), 3);
	json_decref(o);
	pages->procs.proc[4].state = PROC_READY;
	o = get("/v1/status", 200);
	ck_assert(jget_bool(o, "ready"));
	ck_assert_json_str(item(o, "workers", 1), "state", proc_state_name(PROC_DRAINING));
	json_decref(o);
	pages->procs.proc[4] = pages->procs.proc[1] = (struct proc){ 0 };
	o = get("/v1/status", 200);
	ck_assert(!jget_bool(o, "ready"));
	ck_assert_uint_eq(json_array_size(json_object_get(o, "workers")), 1);
	json_decref(o);

	/* the sync process has said nothing: unknown, not fine */
	report_fini(&st.report);
	o = get("/v1/status", 200);
	ck_assert(json_is_null(json_object_get(o, "durable")));
	ck_assert_json_str(item(o, "sources", 0), "state", "unknown");
	json_decref(o);
	json_decref(get("/v1/sources", 503));
	end();
}
END_TEST

START_TEST(a_draining_worker_does_not_hide_its_replacement)
{
	begin();
	pages->procs.count = 5;
	pages->procs.proc[4] = pages->procs.proc[1];
	pages->procs.proc[4].state = PROC_DRAINING;
	pages->procs.proc[4].pid = 55;
	pages->procs.proc[4].started_mono_ms = 5000;
	state_refresh(&st);
	ck_assert_uint_eq(gather_proc(&st, ROLE_WORKER, 1)->pid, 101);
	end();
}
END_TEST

START_TEST(lists_come_from_the_view_and_count_only_its_generation)
{
	const json_t *s;
	json_t *o;

	begin();
	o = get("/v1/services", 200);
	s = item(o, "services", 1);
	ck_assert_json_str(s, "name", "web");
	ck_assert_json_str(s, "tenant", "acme");
	ck_assert_json_u64(item(s, "ports", 0), "port", 80);
	ck_assert_json_u64(item(s, "ports", 0), "ready", 1);
	ck_assert_json_u64(item(s, "ports", 0), "endpoints", 2);
	ck_assert_json_u64(json_object_get(s, "requests"), "total", 23);
	ck_assert_json_u64(json_object_get(s, "requests"), "5xx", 3);
	ck_assert_json_u64(json_object_get(s, "reasons"), "DONE", 22);
	ck_assert_json_u64(json_object_get(s, "reasons"), "BACK_REFUSED", 1);
	ck_assert_uint_eq(json_array_size(json_object_get(s, "outcomes")), 3);
	ck_assert_json_u64(item(s, "outcomes", 2), "status", 503);
	ck_assert_json_str(item(s, "outcomes", 2), "class", "5xx");
	ck_assert_json_str(item(s, "outcomes", 2), "reason", "BACK_REFUSED");
	ck_assert_json_u64(s, "retries", 6);
	ck_assert_json_u64(json_object_get(s, "duration"), "count", 23);
	ck_assert_json_u64(json_object_get(s, "duration"), "p50_ns", hist_until_ns(hist_at(2000000)));
	ck_assert_json_u64(json_object_get(s, "response"), "p50_ns", hist_until_ns(hist_at(1000000)));
	ck_assert(json_is_null(json_object_get(item(json_object_get(s, "duration"), "buckets", 2), "until_ns")));
	ck_assert_json_str(item(o, "services", 0), "name", "api");
	ck_assert_json_u64(json_object_get(item(o, "services", 0), "requests"), "total", 0);
	json_decref(o);
	o = get("/v1/services?namespace=other", 200);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "services")), 0);
	json_decref(o);

	o = get("/v1/endpoints?namespace=shop&service=web", 200);
	s = item(o, "endpoints", 0);
	ck_assert_json_str(s, "address", "10.0.0.1:8080");
	ck_assert_json_str(s, "state", "ready");
	ck_assert_json_u64(s, "exchanges", 20);
	ck_assert_json_u64(s, "in_flight", 1);
	ck_assert_json_str(item(o, "endpoints", 1), "state", "not-ready");
	json_decref(o);

	for (unsigned w = 0; w < 2; w++) {
		uint64_t *c = pages->board->worker[w].tenant[3].c;

		board_set(&c[TC_shed], 5);
		board_set(&c[TC_shed_percent_gauge], w ? 7 : 32);
	}
	o = get("/v1/tenants", 200);
	s = item(o, "tenants", 0);
	ck_assert_json_u64(s, "shed_total", 10);
	ck_assert_json_u64(s, "shed_percent", 32);	/* where it is most */
	ck_assert_json_str(s, "name", "acme");
	ck_assert_json_u64(s, "connections", 4);
	ck_assert_json_u64(json_object_get(s, "reasons"), "BACK_CUT", 2);
	json_decref(o);
	o = get("/v1/namespaces", 200);
	ck_assert_json_u64(item(o, "namespaces", 0), "services", 2);
	json_decref(o);

	o = get("/v1/reasons", 200);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "reasons")), 2);
	json_decref(o);
	o = get("/v1/reasons?all", 200);
	json_decref(o);
	o = get("/v1/reasons?all=1", 200);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "reasons")), REASONS - 1);
	json_decref(o);
	snprintf(pages->knobs.listener[0].name, 64, "front");
	pages->knobs.listener[0].requests = 9;
	pages->knobs.n_listeners = 1;
	o = get("/v1/listeners", 200);
	s = item(o, "listeners", 0);
	ck_assert_json_str(s, "name", "front");
	ck_assert_json_u64(s, "requests_quota", 9);
	ck_assert_json_u64(s, "requests_now", 2);		/* of two workers */
	ck_assert_json_u64(s, "connections", 6);
	ck_assert_json_u64(s, "refused_total", 8);
	json_decref(o);
	o = get("/v1/config", 200);
	s = item(o, "listeners", 0);
	ck_assert_json_str(s, "requests", "9");
	ck_assert_json_str(s, "forwarded", "append");
	ck_assert_json_str(s, "route", "service");
	json_decref(o);
	json_decref(get("/v1/workers", 200));
	end();
}
END_TEST

START_TEST(a_route_that_nothing_attached_is_listed_with_its_reason)
{
	const json_t *r;
	json_t *o;

	begin();
	o = get("/v1/routes", 200);
	r = item(o, "routes", 0);
	ck_assert_json_str(r, "name", "split");
	ck_assert_json_str(r, "accepted", "True");
	ck_assert_json_str(r, "resolved_refs", "False");
	ck_assert_json_str(item(r, "backends", 0), "ref", "shop/api:80");
	ck_assert_json_u64(item(r, "backends", 0), "weight", 9);
	r = item(o, "routes", 1);
	ck_assert_json_str(r, "name", "lost");
	ck_assert_json_str(r, "accepted", "False");
	ck_assert(json_is_null(json_object_get(r, "service")));
	json_decref(o);
	end();
}
END_TEST

START_TEST(describe_knows_conditions_live_numbers_and_refusals)
{
	const json_t *c;
	json_t *o;

	begin();
	o = get("/v1/resources/httproute/shop/split", 200);
	c = item(item(json_object_get(o, "status"), "parents", 0), "conditions", 1);
	ck_assert_json_str(c, "type", "ResolvedRefs");
	ck_assert_json_str(c, "status", "False");
	ck_assert_json_str(item(o, "rules", 0), "service", "shop/web");
	json_decref(o);
	o = get("/v1/resources/SVC/shop/web", 200);
	ck_assert_json_str(o, "kind", "Service");
	ck_assert_json_u64(item(o, "endpoints", 0), "exchanges", 20);
	ck_assert_json_str(item(o, "routes", 0), "route", "shop/split");
	json_decref(o);
	o = get("/v1/resources/service/shop/bad", 200);	/* only refused */
	ck_assert_json_str(item(o, "refused", 0), "source", "a.yaml");
	json_decref(o);
	o = get("/v1/resources/tenant/acme", 200);
	ck_assert_json_u64(o, "weight", 5);
	json_decref(o);
	o = get("/v1/resources/service/shop/web", 200);
	c = item(o, "ports", 0);
	ck_assert_json_str(c, "policy", "shop/slow");
	ck_assert_json_str(c, "balancer", "RoundRobin");
	ck_assert_json_u64(json_object_get(c, "timeouts_ms"), "response", 15000);
	ck_assert_json_u64(json_object_get(c, "timeouts_ms"), "connect", 2000);	/* the knob's */
	ck_assert_json_u64(json_object_get(json_object_get(c, "limits"), "connections"), "max", 10);
	ck_assert_json_u64(json_object_get(json_object_get(c, "limits"), "connections"), "now", 4);
	ck_assert_json_u64(json_object_get(json_object_get(c, "limits"), "requests"), "now", 1);
	ck_assert_json_u64(json_object_get(c, "ejection"), "consecutive_failures", 5);
	ck_assert(json_is_null(json_object_get(item(o, "ports", 1), "policy")));
	ck_assert_json_str(item(o, "endpoints", 0), "policy", "slow");
	ck_assert_json_u64(item(o, "endpoints", 0), "weight", 100);
	ck_assert_json_u64(o, "limited_requests", 6);
	json_decref(o);
	o = get("/v1/resources/trafficpolicy/shop/slow", 200);
	c = item(item(json_object_get(o, "status"), "ancestors", 0), "conditions", 0);
	ck_assert_json_str(c, "status", "True");
	ck_assert_json_str(item(o, "ports", 0), "service", "web");
	ck_assert_json_u64(item(o, "ports", 0), "port", 80);
	json_decref(o);
	o = get("/v1/resources/policy/shop/late", 200);
	c = item(item(json_object_get(o, "status"), "ancestors", 0), "conditions", 0);
	ck_assert_json_str(c, "reason", "Conflicted");
	ck_assert_uint_eq(json_array_size(json_object_get(o, "ports")), 0);
	json_decref(o);
	json_decref(get("/v1/resources/trafficpolicy/shop/none", 404));
	o = get("/v1/policies", 200);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "policies")), 2);
	ck_assert_json_str(item(o, "policies", 1), "name", "late");
	ck_assert_json_str(item(o, "policies", 1), "reason", "Conflicted");
	json_decref(o);
	o = get("/v1/policies?namespace=other", 200);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "policies")), 0);
	json_decref(o);
	json_decref(get("/v1/resources/namespace/shop", 200));
	json_decref(get("/v1/resources/namespace/none", 404));
	json_decref(get("/v1/resources/service/shop/none", 404));
	json_decref(get("/v1/resources/service/web", 400));
	json_decref(get("/v1/resources/tenant/shop/acme", 400));
	json_decref(get("/v1/resources/pod/shop/web", 404));
	json_decref(get("/v1/resources/service/shop/a/b", 400));
	end();
}
END_TEST

static bool has_finding(const char *severity, const char *words)
{
	json_t *o = get("/v1/check", 200);
	bool has = false;
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(o, "findings"), i, f) {
		ck_assert_str_ne(jget_str(f, "do"), "");
		has |= strcmp(jget_str(f, "severity"), severity) == 0 &&
		       strstr(jget_str(f, "what"), words);
	}
	json_decref(o);
	return has;
}

START_TEST(check_finds_what_is_wrong_and_says_what_to_do)
{
	begin();
	ck_assert(has_finding("warning", "refused: a.yaml:3: spec.ports[0].port"));
	ck_assert(!has_finding("error", ""));
	ck_assert(has_finding("warning", "shop/api:80 has no ready endpoint"));
	pages->procs.proc[0].state = PROC_WAITING;
	pages->procs.proc[0].fails = PROC_LOOPS;
	ck_assert(has_finding("error", "not ready"));
	ck_assert(has_finding("error", "worker 0 is in a crash loop"));
	pages->procs.proc[0].state = PROC_READY;
	pages->procs.proc[0].rev = 6;
	ck_assert(has_finding("warning", "serves rev 6, the newest is 7"));
	pages->procs.failed_rev = 8;
	ck_assert(has_finding("error", "all workers refused rev 8"));
	st.losses[1].sink = 3;
	ck_assert(has_finding("warning", "3 log records of worker 1"));
	board_set(&pages->board->worker[1].c[WC_fds_limit_gauge], 1000);
	board_set(&pages->board->worker[1].c[WC_fds_gauge], 744);
	ck_assert(!has_finding("error", "refuses callers"));
	board_set(&pages->board->worker[1].c[WC_fds_gauge], 745);
	ck_assert(has_finding("error", "worker 1 refuses callers: it uses 745 of 1000 descriptors"));
	board_set(&pages->board->worker[1].c[WC_memory_grade_gauge], GRADE_slow);
	ck_assert(has_finding("error", "worker 1 is short of memory (slow)"));
	board_set(&pages->board->worker[1].tenant[3].c[TC_memory_grade_gauge], GRADE_lean);
	ck_assert(has_finding("warning", "tenant acme is short of memory (lean)"));
	pages->procs.stalls = 2;
	ck_assert(has_finding("warning", "stood still for a second and more; times: 2"));
	admin_state_report(&st, "{\"sources\":[],\"durable\":false}");
	ck_assert(has_finding("error", "not durable"));
	admin_state_report(&st, "{\"sources\":7,\"refused\":{},\"resources\":\"x\",\"rev\":\"y\"}");
	json_decref(get("/v1/sources", 200));
	json_decref(get("/v1/status", 200));
	json_decref(get("/v1/routes", 200));
	admin_state_report(&st, "not json");
	ck_assert(has_finding("warning", "report of the sync process is unreadable"));
	report_fini(&st.report);
	ck_assert(has_finding("error", "the sync process has not reported"));
	snprintf(pages->knobs.listener[0].name, 64, "front");
	snprintf(pages->knobs.listener[0].service_ns, 64, "shop");
	snprintf(pages->knobs.listener[0].service_name, 64, "none");
	pages->knobs.n_listeners = 1;
	ck_assert(has_finding("error", "listener front leads to Service shop/none"));
	ck_assert(!has_finding("error", "has no certificate"));
	pages->knobs.listener[0].tls = TLS_TERMINATE;
	ck_assert(has_finding("error", "listener front has no certificate"));
	end();
}
END_TEST

/* A certificate of so many days that has so many left. */
static struct certs *certificate(int days, int left)
{
	static _Alignas(8) uint8_t bytes[sizeof(struct certs) + sizeof(struct certs_entry)];
	struct certs *c = (void *)bytes;
	int64_t now = clock_unix_ms() / 1000;

	*c = (struct certs){ .magic = CERTS_MAGIC, .bytes = sizeof bytes, .n = 1 };
	c->at[0] = (struct certs_entry){ .listener = "front", .names = "shop.example",
					 .leaf = { .key = 1, .kind = CERT_KEY_P256,
						   .from_unix_s = now - (days - left) * 86400,
						   .to_unix_s = now + left * 86400 } };
	return c;
}

START_TEST(a_certificate_is_shown_and_missed_before_it_is_needed)
{
	const json_t *s;
	json_t *o;

	begin();
	snprintf(pages->knobs.listener[0].name, 64, "front");
	pages->knobs.n_listeners = 1;
	pages->knobs.listener[0].tls = TLS_TERMINATE;
	st.certs = certificate(90, 20);
	ck_assert(!has_finding("warning", "certificate") && !has_finding("error", "certificate"));
	o = get("/v1/listeners", 200);
	s = item(o, "listeners", 0);
	ck_assert_json_str(s, "tls", "terminate");
	ck_assert_json_str(s, "certificate_names", "shop.example");
	ck_assert_json_str(s, "certificate_key", "P-256");
	json_decref(o);
	st.certs = certificate(90, 13);
	ck_assert(has_finding("warning", "the certificate of listener front expires in 31"));
	st.certs = certificate(8, 3);
	ck_assert(!has_finding("warning", "certificate"));
	st.certs = certificate(8, 1);
	ck_assert(has_finding("warning", "the certificate of listener front expires in 2"));
	st.certs = certificate(8, -1);
	ck_assert(has_finding("error", "the certificate of listener front expired 24 hours ago"));
	st.certs = NULL;
	end();
}
END_TEST

static bool has_check(const char *name)
{
	json_t *o = get("/v1/check", 200);
	bool has = false;
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(o, "findings"), i, f)
		has |= strcmp(jget_str(f, "check"), name) == 0;
	json_decref(o);
	return has;
}

/* Rows of checks.def that are numbers of ours; the others are in tests/proc/check_test.py. */
START_TEST(a_finding_comes_with_its_number_and_goes_with_it)
{
#define COMES_AND_GOES(name, place, bad, fine)                                                     \
	do {                                                                                       \
		place = fine;                                                                      \
		ck_assert_msg(!has_check(#name), #name " without a reason");                      \
		place = bad;                                                                       \
		ck_assert_msg(has_check(#name), "no " #name);                                      \
		place = fine;                                                                      \
		ck_assert_msg(!has_check(#name), #name " stays");                                  \
	} while (0)
	struct proc *w;
	uint64_t *c;

	begin();
	w = &pages->procs.proc[0];
	c = pages->board->worker[1].c;
	COMES_AND_GOES(waiting, w->state, PROC_WAITING, PROC_READY);
	COMES_AND_GOES(not_ready, w->state, PROC_STARTING, PROC_READY);
	COMES_AND_GOES(panicked, w->panics, 1, 0);
	COMES_AND_GOES(view_behind, w->rev, 6, 7);
	COMES_AND_GOES(view_refused, w->refused_rev, 8, 0);
	COMES_AND_GOES(bad_messages, pages->procs.bad_messages, 3, 0);
	COMES_AND_GOES(accounts, pages->procs.accounts_missing, 1, 0);
	COMES_AND_GOES(master_died, pages->procs.master_starts, 2, 1);
	COMES_AND_GOES(conns_many, c[WC_conns_gauge], 60000, 2);
	COMES_AND_GOES(bugs, c[WC_bugs], 1, 0);
	COMES_AND_GOES(syscalls, c[WC_unknown_syscalls], 1, 0);
	COMES_AND_GOES(memory_short, c[WC_memory_grade_gauge], GRADE_slow - 1, GRADE_calm);
	COMES_AND_GOES(overload, c[WC_shed_tenants_gauge], 1, 0);
	COMES_AND_GOES(memory_out, c[WC_memory_grade_gauge], GRADE_slow, GRADE_calm);
	ck_assert(!has_check("endpoints_out"));
	for (unsigned i = 0; i < ejection_default.failures; i++)
		endpoint_failed(board_endpoint(pages->board, 100 + 8080, 7), &ejection_default, clock_tick(), clock_tick());
	ck_assert(has_check("endpoints_out"));
	board_endpoint(pages->board, 100 + 8080, 7)->health = 0;
	ck_assert(!has_check("endpoints_out"));
	c[WC_fds_limit_gauge] = 10000;
	COMES_AND_GOES(fds_many, c[WC_fds_gauge], 9000, 100);
	COMES_AND_GOES(fds_out, c[WC_fds_gauge], 9800, 100);
	COMES_AND_GOES(log_ring, st.losses[1].ring, 1, 0);
	COMES_AND_GOES(log_sink, st.losses[1].sink, 1, 0);
	COMES_AND_GOES(log_nonsense, st.losses[1].nonsense, 1, 0);
	COMES_AND_GOES(log_error, st.log_error, ENOSPC, 0);
	admin_state_report(&st, "{\"sources\":[{\"kind\":\"file\",\"state\":\"lost\"}],"
				"\"slots\":{\"exhausted\":3},"
				"\"store\":{\"moved_aside\":\"store.db.bad-1\"}}");
	ck_assert(has_check("source_away") && has_check("slots") && has_check("store_aside"));
	admin_state_report(&st, "{\"sources\":[{\"kind\":\"file\",\"state\":\"synced\",\"documents\":1}]}");
	ck_assert(!has_check("source_away") && !has_check("slots") && !has_check("store_aside"));
	end();
#undef COMES_AND_GOES
}
END_TEST

START_TEST(panics_are_found_by_serial_and_cleaned)
{
	json_t *o;

	begin();
	o = get("/v1/panics/latest", 200);
	ck_assert_json_u64(o, "serial", 5);
	ck_assert_ptr_nonnull(strstr(jget_str(o, "text"), "must(x)"));
	json_decref(o);
	json_decref(get("/v1/panics/5", 200));
	json_decref(get("/v1/panics/6", 404));
	json_decref(get("/v1/panics/x", 400));
	memset(pages->panics.entry, 0xfe, sizeof pages->panics.entry);
	json_decref(get("/v1/panics", 200));
	json_decref(get("/v1/panics/latest", 200));
	memset(pages->panics.entry, 0, sizeof pages->panics.entry);
	o = get("/v1/panics", 200);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "panics")), 0);
	json_decref(o);
	json_decref(get("/v1/panics/latest", 404));
	end();
}
END_TEST

START_TEST(a_scribbled_board_leaves_answers_readable)
{
	static const char *const targets[] = { "/v1/status", "/v1/check", "/v1/services", "/v1/endpoints",
					       "/v1/tenants", "/v1/workers", "/v1/reasons" };

	begin();
	for (unsigned w = 0; w < 2; w++) {
		memset(pages->board->worker[w].c, 0xff, sizeof pages->board->worker[w].c);
		memset(pages->board->worker[w].reasons, 0xff, sizeof pages->board->worker[w].reasons);
		memset(pages->board->worker[w].service[4].c, 0xff, sizeof(uint64_t) * SCS);
		memset(pages->board->worker[w].tenant[3].c, 0xff, sizeof(uint64_t) * TCS);
	}
	memset(&pages->board->endpoint[100 + 8080].load, 0xff, 40);
	pages->board->workers = UINT32_MAX;
	for (size_t i = 0; i < countof(targets); i++)
		json_decref(get(targets[i], 200));
	end();
}
END_TEST

START_TEST(without_a_view_lists_say_so_instead_of_being_empty)
{
	begin();
	view_unref(st.view);
	st.view = NULL;
	json_decref(get("/v1/services", 503));
	json_decref(get("/v1/endpoints", 503));
	json_decref(get("/v1/routes", 503));
	json_decref(get("/v1/tenants", 503));
	json_decref(get("/v1/namespaces", 503));
	json_decref(get("/v1/status", 200));
	json_decref(get("/v1/check", 200));
	json_decref(get("/v1/resources/httproute/shop/split", 200));
	json_decref(get("/v1/resources/tenant/acme", 404));
	end();
}
END_TEST

static const json_t *last_step(const json_t *o)
{
	const json_t *steps = json_object_get(o, "steps");

	return json_array_get(steps, json_array_size(steps) - 1);
}

START_TEST(explain_goes_the_way_of_a_request_and_says_where_it_ends)
{
	static const struct { const char *target, *step, *what; bool ok; } cases[] = {
		{ "/v1/explain?url=web.shop/a", "answer", "NO_BACKEND", false },
		{ "/v1/explain?url=http://web.shop.svc.cluster.local:80/b&method=POST", "answer",
		  "NO_ROUTE", false },
		{ "/v1/explain?url=web.shop:9000", "answer", "NO_ENDPOINT", false },
		{ "/v1/explain?url=nobody.shop/", "answer", "NO_SERVICE", false },
		{ "/v1/explain?url=:80/", "answer", "NO_SERVICE", false },
		{ "/v1/explain?url=api.shop/", "answer", "NO_ENDPOINT", false },
	};

	begin();
	for (size_t i = 0; i < countof(cases); i++) {
		json_t *o = get(cases[i].target, 200);

		ck_assert_msg(json_is_true(json_object_get(o, "ok")) == cases[i].ok, "%s: %s",
			      cases[i].target, json_dumps(o, 0));
		ck_assert_msg(strcmp(jget_str(last_step(o), "step"), cases[i].step) == 0 &&
			      strcmp(jget_str(last_step(o), "what"), cases[i].what) == 0, "%s: %s",
			      cases[i].target, json_dumps(o, 0));
		json_decref(o);
	}
	end();
}
END_TEST

START_TEST(top_has_totals_of_tenants_services_and_endpoints)
{
	json_t *o;

	begin();
	o = get("/v1/top", 200);
	ck_assert_json_str(item(o, "rows", 0), "name", "acme");
	ck_assert_json_u64(item(o, "rows", 0), "now", 4);
	ck_assert_json_u64(item(o, "rows", 0), "failed_total", 2);
	ck_assert_json_u64(json_object_get(item(o, "rows", 0), "failures"), "BACK_CUT", 2);
	json_decref(o);
	o = get("/v1/top?by=services", 200);
	ck_assert_json_str(item(o, "rows", 1), "name", "shop/web");
	ck_assert_json_u64(item(o, "rows", 1), "exchanges_total", 23);
	ck_assert_json_u64(item(o, "rows", 1), "failed_total", 3);
	ck_assert_json_u64(item(o, "rows", 1), "now", 1);
	ck_assert_json_u64(json_object_get(item(o, "rows", 1), "failures"), "BACK_REFUSED", 1);
	ck_assert_json_u64(json_object_get(item(o, "rows", 1), "failures"), "503", 2);
	ck_assert_json_u64(json_object_get(item(o, "rows", 1), "time"), "count", 23);
	json_decref(o);
	o = get("/v1/top?by=endpoints", 200);
	ck_assert_json_str(item(o, "rows", 0), "name", "shop/web 10.0.0.1:8080");
	ck_assert_json_u64(item(o, "rows", 0), "exchanges_total", 20);
	json_decref(o);
	end();
}
END_TEST

UNIT_TESTS("dispatch", a_command_has_no_more_arguments_than_are_looked_at, nobody_may_look_but_not_touch, a_command_has_one_method_and_known_arguments,
	   an_order_says_what_was_asked_and_who_asked,
	   what_the_master_refuses_is_an_error_with_its_words,
	   status_has_what_tools_rely_on_and_is_never_ready_by_mistake,
	   a_draining_worker_does_not_hide_its_replacement,
	   lists_come_from_the_view_and_count_only_its_generation,
	   a_route_that_nothing_attached_is_listed_with_its_reason,
	   describe_knows_conditions_live_numbers_and_refusals,
	   explain_goes_the_way_of_a_request_and_says_where_it_ends,
	   top_has_totals_of_tenants_services_and_endpoints,
	   check_finds_what_is_wrong_and_says_what_to_do,
	   a_certificate_is_shown_and_missed_before_it_is_needed,
	   a_finding_comes_with_its_number_and_goes_with_it, panics_are_found_by_serial_and_cleaned,
	   a_scribbled_board_leaves_answers_readable, without_a_view_lists_say_so_instead_of_being_empty)
