/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* /metrics as Prometheus reads it, and the health paths. */
#include "tests/unit/test.h"

#include <ctype.h>
#include <stdio.h>

#include "admin/metrics.h"
#include "nodeproxy/lib/base/memfd.h"
#include "tests/lib/admin_state.h"
#include "tests/lib/view_from.h"

static struct state st;
static struct admin_pages *pages;

static const char *skip_name(const char *p)
{
	ck_assert_msg(isalpha(*p) || *p == '_' || *p == ':', "no name: %.40s", p);
	while (isalnum(*p) || *p == '_' || *p == ':')
		p++;
	return p;
}

/* One sample line, by the grammar of the text format; the family's name must be the current one. */
static void check_sample(const char *line, const char *family, const char *type)
{
	const char *p = skip_name(line);
	size_t n = (size_t)(p - line), f = strlen(family);

	ck_assert_msg(n >= f && strncmp(line, family, f) == 0, "%s outside its family %s", line,
		      family);
	if (n > f)
		ck_assert_msg(strcmp(type, "histogram") == 0, "%s in %s", line, family);
	if (*p == '{') {
		do {
			p = skip_name(p + 1);
			ck_assert_msg(p[0] == '=' && p[1] == '"', "label: %s", line);
			for (p += 2; *p != '"'; p++) {
				ck_assert_msg(*p && (uint8_t)*p >= 0x20, "label value: %s", line);
				if (*p == '\\')
					ck_assert_msg(strchr("\\\"n", *++p), "escape: %s", line);
			}
			p++;
		} while (*p == ',');
		ck_assert_msg(*p == '}', "end of labels: %s", line);
		p++;
	}
	ck_assert_msg(*p == ' ', "no value: %s", line);
	strtod(p + 1, (char **)(uintptr_t)&p);
	ck_assert_msg(*p == 0, "value: %s", line);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The whole exposition; no series twice, no family twice. */
static void check_format(char *text)
{
	static char *series[20000], family[128], type[32];
	char *families[400], *save, *line;
	size_t n = 0, nf = 0;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			ck_assert_int_eq(sscanf(line + 7, "%127s", family), 1);
			families[nf++] = strdup(family);
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			char name[128];

			ck_assert_int_eq(sscanf(line + 7, "%127s %31s", name, type), 2);
			ck_assert_str_eq(name, family);
			ck_assert(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 ||
				  strcmp(type, "histogram") == 0);
		} else {
			check_sample(line, family, type);
			*strrchr(line, ' ') = 0;
			ck_assert_uint_lt(n, countof(series));
			series[n++] = line;
		}
	}
	qsort(series, n, sizeof *series, by_text);
	for (size_t i = 1; i < n; i++)
		ck_assert_msg(strcmp(series[i], series[i - 1]) != 0, "twice: %s", series[i]);
	qsort(families, nf, sizeof *families, by_text);
	for (size_t i = 1; i < nf; i++)
		ck_assert_msg(strcmp(families[i], families[i - 1]) != 0, "twice: %s", families[i]);
	for (size_t i = 0; i < nf; i++)
		free(families[i]);
	ck_assert_uint_gt(n, 50);
}

static struct text scrape(void)
{
	struct text t = text_of(8 << 20);

	metrics_text(&st, &t);
	ck_assert(!t.cut);
	return t;
}

START_TEST(every_line_is_one_that_prometheus_reads)
{
	struct text t;

	pages = admin_state_new(&st);
	snprintf(pages->knobs.listener[0].name, 64, "front");
	pages->knobs.n_listeners = 1;
	t = scrape();
	check_format(t.p);
	text_fini(&t);
	/* a fresh host: nothing arrived yet */
	view_unref(st.view);
	st.view = NULL;
	report_fini(&st.report);
	st.has_procs = false;
	t = scrape();
	check_format(t.p);
	text_fini(&t);
	admin_state_free(&st, &pages);
}
END_TEST

START_TEST(numbers_are_summed_over_workers_and_histograms_add_up)
{
	static const char *const lines[] = {
		"nodeproxy_service_requests_total{namespace=\"shop\",service=\"web\",code=\"200\",reason=\"DONE\",flag=\"-\"} 20\n",
		"nodeproxy_service_requests_total{namespace=\"shop\",service=\"web\",code=\"503\",reason=\"DONE\",flag=\"-\"} 2\n",
		"nodeproxy_service_requests_total{namespace=\"shop\",service=\"web\",code=\"503\",reason=\"BACK_REFUSED\",flag=\"UF\"} 1\n",
		"nodeproxy_service_retries_total{namespace=\"shop\",service=\"web\"} 6\n",
		"nodeproxy_service_retries_total{namespace=\"shop\",service=\"api\"} 0\n",
		"nodeproxy_service_request_duration_seconds_bucket{namespace=\"shop\",service=\"web\",le=\"6.5536e-05\"} 0\n",
		"nodeproxy_service_request_duration_seconds_bucket{namespace=\"shop\",service=\"web\",le=\"0.001048576\"} 1\n",
		"nodeproxy_service_request_duration_seconds_bucket{namespace=\"shop\",service=\"web\",le=\"0.002097152\"} 21\n",
		"nodeproxy_service_request_duration_seconds_bucket{namespace=\"shop\",service=\"web\",le=\"68.71947674\"} 21\n",
		"nodeproxy_service_request_duration_seconds_bucket{namespace=\"shop\",service=\"web\",le=\"+Inf\"} 23\n",
		"nodeproxy_service_request_duration_seconds_sum{namespace=\"shop\",service=\"web\"} 160.041000000\n",
		"nodeproxy_service_request_duration_seconds_count{namespace=\"shop\",service=\"web\"} 23\n",
		"nodeproxy_service_response_seconds_count{namespace=\"shop\",service=\"web\"} 23\n",
		"nodeproxy_reasons_total{reason=\"BACK_CUT\",fault=\"back\",flag=\"UC\"} 2\n",
		"nodeproxy_tenant_connections{tenant=\"acme\"} 4\n",
		"nodeproxy_listener_requests{listener=\"front\"} 2\n",
		"nodeproxy_listener_refused_total{listener=\"front\"} 8\n",
		"nodeproxy_tenant_wait_seconds_bucket{tenant=\"acme\",le=\"8.192e-06\"} 0\n",
		"nodeproxy_tenant_wait_seconds_bucket{tenant=\"acme\",le=\"0.002097152\"} 6\n",
		"nodeproxy_tenant_wait_seconds_bucket{tenant=\"acme\",le=\"2.147483648\"} 6\n",
		"nodeproxy_tenant_wait_seconds_bucket{tenant=\"acme\",le=\"8.589934592\"} 8\n",
		"nodeproxy_tenant_wait_seconds_bucket{tenant=\"acme\",le=\"+Inf\"} 8\n",
		"nodeproxy_tenant_wait_seconds_sum{tenant=\"acme\"} 8.006000000\n",
		"nodeproxy_tenant_wait_seconds_count{tenant=\"acme\"} 8\n",
		"nodeproxy_endpoint_in_flight{namespace=\"shop\",service=\"web\",endpoint=\"10.0.0.1:8080\"} 1\n",
		"nodeproxy_service_limit{namespace=\"shop\",service=\"web\",port=\"80\",limit=\"connections\"} 10\n",
		"nodeproxy_service_limit_held{namespace=\"shop\",service=\"web\",port=\"80\",limit=\"connections\"} 4\n",
		"nodeproxy_service_limit_held{namespace=\"shop\",service=\"web\",port=\"80\",limit=\"requests\"} 1\n",
		"nodeproxy_service_limited_requests_total{namespace=\"shop\",service=\"web\"} 6\n",
		"nodeproxy_process_up{role=\"worker\",id=\"1\"} 1\n",
		"nodeproxy_process_cpu_seconds_total{role=\"worker\",id=\"1\"} 1.500000000\n",
		"nodeproxy_process_private_memory_bytes{role=\"syncd\",id=\"0\"} 1048576\n",
		"nodeproxy_process_resident_memory_bytes{role=\"master\",id=\"0\"} 8192\n",
		"nodeproxy_worker_busy_seconds_total{worker=\"1\"} 1.000000002\n",
		"nodeproxy_worker_view_lag_seconds{worker=\"0\"} 0.000000000\n",
		"nodeproxy_worker_view_lag_seconds{worker=\"1\"} 2.500000000\n",
		"nodeproxy_worker_beat_age_seconds{worker=\"1\"} 0.250000000\n",
		"nodeproxy_refused_documents 1\n", "nodeproxy_durable 1\n", "nodeproxy_ready 1\n",
		"nodeproxy_worker_connections{worker=\"0\"} 2\n",
		"nodeproxy_log_dropped_records_total{worker=\"1\",at=\"sink\"} 4\n",
	};
	struct text t;

	pages = admin_state_new(&st);
	snprintf(pages->knobs.listener[0].name, 64, "front");
	pages->knobs.n_listeners = 1;
	st.losses[1].sink = 4;
	pages->procs.master = (struct usage){ -1, 8192, -1 };
	pages->procs.proc[1].behind_mono_ms = 10000;
	state_refresh(&st);
	st.now_mono_ms = 12500;
	board_set(&pages->board->worker[1].c[WC_busy_ns], 1000000002);
	board_set(&pages->board->worker[1].c[WC_beat_ms_gauge], 12250);
	t = scrape();
	ck_assert_ptr_null(strstr(t.p, "cpu_seconds_total{role=\"master\""));	/* not known */
	ck_assert_ptr_null(strstr(t.p, "beat_age_seconds{worker=\"0\""));
	ck_assert_ptr_null(strstr(t.p, "service=\"api\",code="));	/* never used */
	for (size_t i = 0; i < countof(lines); i++)
		ck_assert_msg(strstr(t.p, lines[i]) != NULL, "missing: %s", lines[i]);
	text_fini(&t);
	admin_state_free(&st, &pages);
}
END_TEST

START_TEST(hostile_words_stay_inside_their_label)
{
	struct text t;

	pages = admin_state_new(&st);
	admin_state_report(&st, "{\"sources\":[{\"kind\":\"a\\\"} 1\\nforged{x=\\\"\\\\\",\"state\":\"x\"}]}");
	t = scrape();
	ck_assert_ptr_nonnull(strstr(t.p, "kind=\"a\\\"} 1\\nforged{x=\\\"\\\\\",source"));
	check_format(t.p);
	text_fini(&t);
	admin_state_free(&st, &pages);
}
END_TEST

/* An endpoint that answers with everything, and a worker that writes anything. */
START_TEST(outcomes_are_bounded_and_only_what_can_be_is_told)
{
	static const struct slot_gen api = { 5, 1 };
	struct outcomes *o;
	struct text t;
	unsigned lines = 0;

	pages = admin_state_new(&st);
	for (unsigned status = 100; status < 600; status++)
		admin_state_requests(pages, 1, api, status, REASON_DONE, 1000, 1);
	t = scrape();
	check_format(t.p);
	text_fini(&t);
	t = scrape();
	ck_assert_ptr_nonnull(strstr(t.p, "service=\"api\",code=\"5xx\",reason=\"OTHER\",flag=\"-\"} "));
	for (const char *p = t.p; (p = strstr(p, "service=\"api\",code=")); p++)
		lines++;
	ck_assert_uint_le(lines, OUTCOME_SLOTS + OUTCOME_CLASSES);
	text_fini(&t);

	o = &board_service(pages->board, 0, 4, 1)->outcomes;
	memset(o, 0xff, sizeof *o);
	for (unsigned i = 0; i < OUTCOME_SLOTS; i += 2)
		o->slot[i].key = outcome_key(true, 200, REASON_DONE);
	t = scrape();
	check_format(t.p);
	text_fini(&t);
	admin_state_free(&st, &pages);
}
END_TEST

START_TEST(who_shares_a_slot_is_one_series)
{
	struct text t;

	pages = admin_state_new(&st);
	view_unref(st.view);
	st.view = view_from("service shop/one port=80\nservice shop/two port=80\n");
	admin_state_requests(pages, 0, (struct slot_gen){ 0, 0 }, 201, REASON_DONE, 1, 3);
	t = scrape();
	ck_assert_ptr_nonnull(strstr(t.p, "nodeproxy_service_requests_total{namespace=\"\",service=\"\","
					  "code=\"201\",reason=\"DONE\",flag=\"-\"} 3\n"));
	ck_assert_ptr_null(strstr(t.p, "service=\"one\""));
	check_format(t.p);
	text_fini(&t);
	admin_state_free(&st, &pages);
}
END_TEST

static int status_of(enum wire_method m, const char *target)
{
	struct wire_request req = { .method = m, .target = slice_str(target) };
	struct answer a;

	metrics_answer(&st, &req, &a);
	text_fini(&a.body);
	return a.status;
}

START_TEST(health_is_200_only_when_all_workers_serve_a_view)
{
	pages = admin_state_new(&st);
	ck_assert_int_eq(status_of(WIRE_GET, "/healthz/ready"), 200);
	ck_assert_int_eq(status_of(WIRE_HEAD_METHOD, "/healthz/ready?x=1"), 200);
	ck_assert_int_eq(status_of(WIRE_POST, "/healthz/ready"), 405);
	ck_assert_int_eq(status_of(WIRE_GET, "/"), 404);
	ck_assert_int_eq(status_of(WIRE_POST, "/"), 404);
	ck_assert_int_eq(status_of(WIRE_GET, "/metrics"), 200);
	pages->procs.proc[0].state = PROC_STARTING;
	state_refresh(&st);
	ck_assert_int_eq(status_of(WIRE_GET, "/healthz/ready"), 503);
	pages->procs.proc[0].state = PROC_READY;
	pages->procs.proc[0].rev = 0;
	state_refresh(&st);
	ck_assert_int_eq(status_of(WIRE_GET, "/healthz/ready"), 503);
	pages->procs.proc[0].rev = 1;
	pages->procs.shutting_down = 1;
	state_refresh(&st);
	ck_assert_int_eq(status_of(WIRE_GET, "/healthz/ready"), 503);
	ck_assert_int_eq(status_of(WIRE_GET, "/healthz/live"), 200);
	admin_state_free(&st, &pages);
}
END_TEST

START_TEST(calls_of_grpc_are_requests_and_counted_by_their_status_too)
{
	struct outcomes *o;
	struct text t;

	pages = admin_state_new(&st);
	for (unsigned w = 0; w < 2; w++) {
		o = &board_service(pages->board, w, 4, 1)->outcomes;
		for (unsigned i = 0; i <= 16; i += 8)
			outcome_add(o, outcome_key_grpc(outcome_key(true, 207, REASON_DONE), (uint8_t)(1 + i)));
	}
	state_refresh(&st);
	t = scrape();
	ck_assert_ptr_nonnull(strstr(t.p, "code=\"207\",reason=\"DONE\",flag=\"-\"} 6\n"));
	for (unsigned i = 0; i <= 16; i += 8) {
		char line[160];

		snprintf(line, sizeof line, "nodeproxy_service_grpc_responses_total{namespace=\"shop\","
			 "service=\"web\",status=\"%u\"} 2\n", i);
		ck_assert_msg(strstr(t.p, line) != NULL, "%s", line);
	}
	check_format(t.p);
	text_fini(&t);
	admin_state_free(&st, &pages);
}
END_TEST

START_TEST(pods_are_told_with_what_is_known_of_them)
{
	static const char *const lines[] = {
		"nodeproxy_pod_captured{namespace=\"shop\",pod=\"web\"} 1\n",
		"nodeproxy_pod_captured{namespace=\"shop\",pod=\"lost\"} 0\n",
		"nodeproxy_pod_passed_flows_total{namespace=\"shop\",pod=\"web\",direction=\"out\",what=\"other\"} 3\n",
		"nodeproxy_pod_passed_flows_total{namespace=\"shop\",pod=\"web\",direction=\"in\",what=\"link_local\"} 4\n",
		"nodeproxy_pod_passed_flows_total{namespace=\"shop\",pod=\"new\",direction=\"in\",what=\"other\"} 0\n",
		"nodeproxy_pods 4\n",
	};
	static const char *const names[] = { "web", "lost", "new", "unknown", "leaver" };
	struct pods_page *pods = calloc(1, PODS_PAGE_BYTES(5));
	struct proofs_page *proofs = calloc(1, PROOFS_PAGE_BYTES(3));
	struct text t;

	pages = admin_state_new(&st);
	pods->magic = PODS_MAGIC;
	proofs->magic = PROOFS_MAGIC;
	for (pods->n = 0; pods->n < 5; pods->n++)
		pods->pod[pods->n] = (struct pod_told){
			.words = { .ns = "shop", .account = "default", .netns = "/n" }, .ref = 600 + pods->n };
	for (unsigned i = 0; i < 5; i++)
		snprintf(pods->pod[i].words.name, 64, "%s", names[i]);
	pods->pod[4].leaves = 1;
	proofs->pod[proofs->n++] = (struct pod_proof){ .ref = 600, .state = PROOF_PROVEN, .passed = { 3, 0, 0, 4 } };
	proofs->pod[proofs->n++] = (struct pod_proof){ .ref = 601, .state = PROOF_FAILED };
	proofs->pod[proofs->n++] = (struct pod_proof){ .ref = 602, .state = PROOF_NONE };
	st.pods_bytes = slice_of(pods, PODS_PAGE_BYTES(pods->n));
	st.proofs_bytes = slice_of(proofs, PROOFS_PAGE_BYTES(proofs->n));
	t = scrape();
	check_format(t.p);
	text_fini(&t);
	t = scrape();
	for (size_t i = 0; i < countof(lines); i++)
		ck_assert_msg(strstr(t.p, lines[i]) != NULL, "missing: %s", lines[i]);
	ck_assert_ptr_null(strstr(t.p, "captured{namespace=\"shop\",pod=\"new\""));	/* not visited yet */
	ck_assert_ptr_null(strstr(t.p, "pod=\"unknown\""));
	ck_assert_ptr_null(strstr(t.p, "pod=\"leaver\""));
	text_fini(&t);
	free(pods);
	free(proofs);
	admin_state_free(&st, &pages);
}
END_TEST

static void page_comes(uint32_t page, unsigned n, const char *name)
{
	struct pods_page *p = calloc(1, PODS_PAGE_BYTES(n));
	struct fd f;

	p->magic = PODS_MAGIC;
	for (p->n = 0; p->n < n; p->n++) {
		p->pod[p->n].words = (struct pod_words){ .ns = "shop", .account = "default", .netns = "/n" };
		snprintf(p->pod[p->n].words.name, 64, "%s-%u", name, p->n);
	}
	ck_assert_int_eq(memfd_sealed("test", slice_of(p, PODS_PAGE_BYTES(n)), &f), 0);
	state_pods(&st, page, f);
	fd_close(&f);
	free(p);
}

START_TEST(pages_of_pods_are_one_list)
{
	const struct pods_page *all;

	pages = admin_state_new(&st);
	page_comes(3, 2, "c");
	page_comes(0, PODS_A_PAGE, "a");
	page_comes(PODS_PAGES, 1, "none");		/* there is no such page */
	all = state_pods_page(&st);
	ck_assert_uint_eq(all->n, PODS_A_PAGE + 2);
	ck_assert_str_eq(all->pod[PODS_A_PAGE].words.name, "c-0");
	page_comes(0, PODS_A_PAGE + 1, "more");		/* than a page has: what was there counts */
	ck_assert_uint_eq(state_pods_page(&st)->n, PODS_A_PAGE + 2);
	page_comes(0, 0, "");
	ck_assert_uint_eq(state_pods_page(&st)->n, 2);
	page_comes(3, 0, "");
	page_comes(PODS_PAGES - 1, 1, "z");
	ck_assert_uint_eq(state_pods_page(&st)->n, 1);
	for (unsigned i = 0; i < PODS_PAGES; i++)
		if (st.pods_told[i].n)
			memfd_unmap(&st.pods_told[i]);
	free(st.pods);
	admin_state_free(&st, &pages);
}
END_TEST

UNIT_TESTS("metrics", pages_of_pods_are_one_list, pods_are_told_with_what_is_known_of_them, every_line_is_one_that_prometheus_reads,
	   calls_of_grpc_are_requests_and_counted_by_their_status_too,
	   numbers_are_summed_over_workers_and_histograms_add_up,
	   hostile_words_stay_inside_their_label,
	   outcomes_are_bounded_and_only_what_can_be_is_told, who_shares_a_slot_is_one_series,
	   health_is_200_only_when_all_workers_serve_a_view)
