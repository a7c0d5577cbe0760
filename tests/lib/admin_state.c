/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See admin_state.h. */
#include "tests/lib/admin_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/panic.h"
#include "tests/lib/view_from.h"

#define WORKERS 2

static const char world[] =
	"namespace shop tenant=acme slot=3/1 weight=5\n"
	"service shop/web slot=4/1 port=80/http/http port=9000\n"
	"endpoint shop/web:http 10.0.0.1:8080 zone=a\n"
	"endpoint shop/web:http 10.0.0.2:8081 notready\n"
	"policy shop/slow target=web#http response=15000 connections=10 requests=50 balancer=RoundRobin\n"
	"service shop/api slot=5/1 port=80\n"
	"route shop/split parent=shop/web:80\n"
	"rule prefix=/a name=one backend=shop/api:80*9 backend=shop/gone:1\n";

static const char report[] =
	"{\"sources\":[{\"kind\":\"file\",\"path\":\"/etc/np\",\"state\":\"synced\",\"documents\":4,"
	"\"accepted\":3,\"refused\":1,\"since_unix_ms\":1000}],"
	"\"refused\":[{\"source\":\"a.yaml\",\"line\":3,\"field\":\"spec.ports[0].port\","
	"\"reason\":\"must be 1..65535\\u001b[2J\",\"kind\":\"Service\",\"namespace\":\"shop\","
	"\"name\":\"bad\",\"serving_last_good\":false}],"
	"\"rev\":7,\"durable\":true,\"store\":{\"path\":\"store.db\",\"rev\":7},"
	"\"resources\":[{\"kind\":\"HTTPRoute\",\"namespace\":\"shop\",\"name\":\"split\","
	"\"source\":\"r.yaml\",\"line\":1,\"created\":null,\"generation\":0,\"status\":{\"parents\":["
	"{\"parentRef\":{\"name\":\"web\"},\"conditions\":[{\"type\":\"Accepted\",\"status\":\"True\","
	"\"reason\":\"Accepted\"},{\"type\":\"ResolvedRefs\",\"status\":\"False\","
	"\"reason\":\"BackendNotFound\"}]}]}},"
	"{\"kind\":\"HTTPRoute\",\"namespace\":\"shop\",\"name\":\"lost\",\"source\":\"r.yaml\",\"line\":9,"
	"\"status\":{\"parents\":[{\"parentRef\":{\"name\":\"nobody\"},\"conditions\":[{"
	"\"type\":\"Accepted\",\"status\":\"False\",\"reason\":\"NoMatchingParent\"}]}]}},"
	"{\"kind\":\"TrafficPolicy\",\"namespace\":\"shop\",\"name\":\"slow\",\"source\":\"p.yaml\",\"line\":1,"
	"\"status\":{\"ancestors\":[{\"ancestorRef\":{\"name\":\"web\",\"sectionName\":\"http\"},\"conditions\":[{"
	"\"type\":\"Accepted\",\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"}]}]}},"
	"{\"kind\":\"TrafficPolicy\",\"namespace\":\"shop\",\"name\":\"late\",\"source\":\"p.yaml\",\"line\":9,"
	"\"status\":{\"ancestors\":[{\"ancestorRef\":{\"name\":\"web\",\"sectionName\":\"http\"},\"conditions\":[{"
	"\"type\":\"Accepted\",\"status\":\"False\",\"reason\":\"Conflicted\",\"message\":\"another policy "
	"counts instead: port 80: TrafficPolicy shop/slow\"}]}]}}]}";

void admin_state_report(struct state *st, const char *json)
{
	struct fd fd;

	must(memfd_sealed("report", slice_str(json), &fd) == 0);
	report_put(&st->report, &fd);
}

void admin_state_requests(struct admin_pages *p, unsigned worker, struct slot_gen at, unsigned status,
			  enum reason reason, uint64_t ns, unsigned times)
{
	struct board_service *s = board_service(p->board, worker, at.slot, at.gen);

	board_add(&s->c[SC_exchanges], times);
	hist_add(&s->hist[SH_duration], ns, times);
	hist_add(&s->hist[SH_response], ns / 2, times);
	while (times--)
		outcome_add(&s->outcomes, outcome_key(true, status, reason));
}

static void numbers(struct admin_pages *p)
{
	static const struct slot_gen web = { 4, 1 }, other_generation = { 5, 9 };
	struct board *b = p->board;

	for (unsigned w = 0; w < WORKERS; w++) {
		struct board_service *s = board_service(b, w, web.slot, web.gen);
		struct board_tenant *t = board_tenant(b, w, 3, 1);

		admin_state_requests(p, w, web, 200, REASON_DONE, 2000000, 10);
		admin_state_requests(p, w, web, 503, REASON_DONE, 80000000000, 1);
		admin_state_requests(p, w, web, 503, REASON_BACK_REFUSED, 1000000, w);
		board_add(&s->c[SC_bytes_in], 1000);
		board_add(&s->c[SC_retries], 3);
		board_add(&t->c[TC_conns], 3);
		board_add(&t->c[TC_conns_gauge], 2);
		board_add(&t->reasons[REASON_BACK_CUT], 1);
		hist_add(&t->hist[TH_wait], 1000000, 3);
		hist_add(&t->hist[TH_wait], 4000000000u, 1);
		board_add(&b->worker[w].reasons[REASON_DONE], 10);
		board_add(&b->worker[w].reasons[REASON_BACK_CUT], 1);
		board_add(&b->worker[w].c[WC_conns_gauge], 2);
		b->worker[w].listeners = w ? 10 : UINT64_MAX;
		snprintf(b->worker[w].listener[w].name, 64, "front");
		b->worker[w].listener[w].c[LC_requests_gauge] = 1;
		b->worker[w].listener[w].c[LC_conns_gauge] = 3;
		b->worker[w].listener[w].c[LC_refused] = 4;
		snprintf(b->worker[w].listener[9].name, 64, "frontier");
		b->worker[w].listener[9].c[LC_refused] = 100;
		/* another generation: what the view does not name does not count */
		admin_state_requests(p, w, other_generation, 200, REASON_DONE, 1, 77);
	}
	clock_tick();
	for (uint32_t i = 0; i < 4; i++)
		must(board_limit_take(b, i & 1, i, 80, 9, LIMIT_CONNECTIONS, 10));
	must(board_limit_take(b, 0, 0, 80, 9, LIMIT_REQUESTS, 50));
	board_add(&board_service(b, 1, 4, 1)->c[SC_limited_requests], 6);
	board_endpoint(b, 100 + 8080, 7)->exchanges = 20;
	board_endpoint(b, 100 + 8080, 7)->load = 1;
}

struct admin_pages *admin_state_new(struct state *st)
{
	struct admin_pages *p = calloc(1, sizeof *p);
	struct panic_page page = { .magic = PANIC_MAGIC, .pid = 4711, .line = 12 };

	must(p != NULL);
	memset(st, 0, sizeof *st);
	knobs_default(&p->knobs);
	snprintf(p->knobs.node, sizeof p->knobs.node, "host-a");
	p->board = mmap(NULL, board_bytes(WORKERS + 1), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(p->board != MAP_FAILED);
	board_format(p->board, WORKERS + 1);
	numbers(p);
	p->procs = (struct procs){ .magic = PROCS_MAGIC, .started_unix_ms = 1000, .master_starts = 1,
				   .rev = 7, .count = 4, .slots = WORKERS + 1,
				   .workers = WORKERS };
	for (uint32_t i = 0; i < 4; i++)
		p->procs.proc[i] = (struct proc){ .role = i < 2 ? ROLE_WORKER : i == 2 ? ROLE_SYNCD
										       : ROLE_ADMIND,
						  .id = i < 2 ? i : 0, .state = PROC_READY,
						  .pid = 100 + i, .cpu = i < 2 ? (int32_t)i : -1,
						  .started_mono_ms = 1000, .rev = 7,
						  .usage = { 1500000000, 3 << 20, 1 << 20 } };
	memcpy(page.role, "worker", 7);
	memcpy(page.what, "must(x)", 8);
	memcpy(p->panics.entry[3].page, &page, sizeof page);
	p->panics.entry[3].serial = 5;

	st->knobs = &p->knobs;
	st->board = p->board;
	st->board_slots = WORKERS + 1;
	st->procs_shared = &p->procs;
	st->panics = &p->panics;
	st->view = view_from(world);
	st->report = report_none();
	st->log_level = LOG_INFO;
	st->started_unix_ms = 1000;
	st->open_files_limit = 1048576;
	st->landlock_abi = 1;
	admin_state_report(st, report);
	state_refresh(st);
	return p;
}

void admin_state_free(struct state *st, struct admin_pages **p)
{
	report_fini(&st->report);
	if (st->view)
		view_unref(st->view);
	munmap((*p)->board, board_bytes(WORKERS + 1));
	free(*p);
	*p = NULL;
}

json_t *admin_ask(struct state *st, const char *method, const char *target, const char *body,
		  uint32_t uid, int *ret_status, struct msg_order *ret_order)
{
	struct wire_request req = { .method = WIRE_OTHER, .target = slice_str(target),
				    .body = slice_str(body) };
	struct msg_order order;
	struct answer a;
	json_error_t e;
	json_t *o;

	if (strcmp(method, "GET") == 0)
		req.method = WIRE_GET;
	else if (strcmp(method, "POST") == 0)
		req.method = WIRE_POST;
	if (dispatch(st, &req, uid, 7, &a, ret_order ? ret_order : &order) == DISPATCH_ORDER) {
		*ret_status = 0;
		return json_object();
	}
	must(!a.body.cut);
	o = json_loadb(a.body.p, a.body.n, JSON_REJECT_DUPLICATES, &e);
	if (!o)
		fprintf(stderr, "%s: not JSON: %s\n%s\n", target, e.text, a.body.p);
	must(o != NULL);
	*ret_status = a.status;
	text_fini(&a.body);
	return o;
}
