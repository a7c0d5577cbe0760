/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Many hosts of one etcd in one process, for tests/bench/fleet: each has a client of its own and does with
 * it what the sync process does (source_etcd.c), but make anything of what it is told.  It reads all keys
 * page by page as of one revision, watches from there on, says its status and its pods under a lease, and
 * after a connection that was lost asks whether the history goes on and watches on behind it.
 *
 *   fleet_hosts PORT HOSTS PODS SERVICES        all keys are below /nodeproxy/fleet/
 *
 * Commands are lines of standard input, each answered by a line of JSON:
 *
 *   open N          more hosts begin, at once
 *   join MS         until all of them follow, at most so long: when they began to since the last `open` or
 *                   `lost`
 *   lost MS         until no host follows any more
 *   idle MS         nothing
 *   again N MS      N hosts, one after another, say all of their pods again, under another lease, as after a
 *                   restart; so long for each
 *   change RATE MS  one more client changes EndpointSlices, so many a second; how long from when a change
 *                   was due until a host was told, and until all were
 *
 * cpu_ms is that of this process meanwhile. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/said.h"

#define ROOT	    "/nodeproxy/fleet/"
#define PAGE	    500		/* these as in source_etcd.c */
#define SPREAD_MS   1000
#define AGAIN_MIN_MS 250
#define AGAIN_MAX_MS 10000
#define LATE_MS	    10000	/* for the last changes to arrive */
#define ENDPOINTS   10		/* of an EndpointSlice */

enum at { AT_AWAY, AT_ASKING, AT_READING, AT_FOLLOWING };

struct host {
	struct grpc_stock stock;
	struct etcd *e;
	enum at at;
	struct etcd_call *call;
	struct etcd_watch *watch;
	struct said said;
	struct loop_timer again;
	int64_t revision, page_revision;	/* 0: no snapshot yet; none is being read */
	uint8_t page_key[KEY_MAX];
	size_t page_n;
	int64_t again_ms;
	struct mono followed;		/* since when it follows, again */
};

/* A change: when it was due, how many hosts were told. */
struct change {
	struct mono due;
	uint32_t told;
};

struct samples {
	uint32_t *us;
	size_t n, room;
};

static struct loop loop;
static struct addr server;
static struct host *hosts, writer;
static uint32_t n_hosts, n_pods, n_services, opened, following;
static struct change *changes;
static uint32_t command, n_changes, made, arrived;	/* changes to be made; that all hosts were told */
static int64_t every_ns;
static struct mono began;
static struct samples one, all;
static uint64_t pages, keys, snapshots, asks, refused;
static struct loop_timer tick;

static _Noreturn void die(const char *what, int r)
{
	fprintf(stderr, "fleet_hosts: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void add(struct samples *s, int64_t us)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 65536;
		s->us = realloc(s->us, s->room * sizeof *s->us);
		if (s->us == NULL)
			die("samples", -ENOMEM);
	}
	s->us[s->n++] = (uint32_t)us;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double ms_at(const struct samples *s, unsigned permille)
{
	return s->n ? s->us[min_of(s->n - 1, s->n * permille / 1000)] / 1e3 : 0;
}

/* ---- a host ---- */

static void step(struct host *);

static void again_cb(void *arg)
{
	clock_tick();
	step(arg);
}

static void again_in(struct host *h, int64_t ms)
{
	loop_timer_start(&loop, &h->again, ms * NS_PER_MS, 0, again_cb, h);
}

static void set_at(struct host *h, enum at at)
{
	following -= h->at == AT_FOLLOWING;
	following += at == AT_FOLLOWING;
	if (at == AT_FOLLOWING)
		h->followed = clock_now();
	h->at = at;
}

static void try_again(struct host *h)
{
	set_at(h, AT_AWAY);
	h->again_ms = min_of(max_of(h->again_ms * 2, (int64_t)AGAIN_MIN_MS), (int64_t)AGAIN_MAX_MS);
	again_in(h, h->again_ms / 2 + rand_below((uint32_t)h->again_ms));
}

static void read_again(struct host *h)
{
	set_at(h, AT_AWAY);
	h->revision = h->page_revision = 0;
	again_in(h, rand_below(SPREAD_MS));
}

static void tell(const struct etcd_kv *kv)
{
	static const char mark[] = "\"bench/change\":\"";
	const char *p = memmem(kv->value.p, kv->value.n, mark, sizeof mark - 1);
	char *end = NULL;
	uint32_t of, i;
	int64_t us;

	if (p == NULL)
		return;		/* what a host says of itself */
	of = (uint32_t)strtoul(p + sizeof mark - 1, &end, 10);
	i = (uint32_t)strtoul(end + 1, NULL, 10);
	if (of != command || i >= made)
		return;		/* late, of a former command */
	us = mono_diff_us(clock_now(), changes[i].due);
	add(&one, us);
	if (++changes[i].told == n_hosts) {
		add(&all, us);
		arrived++;
	}
}

static void on_told(void *arg, const struct etcd_told *t)
{
	struct host *h = arg;

	clock_tick();
	for (size_t i = 0; i < t->events; i++)
		tell(&t->event[i].kv);
	if (t->whole)
		h->revision = max_of(h->revision, t->head.revision);
}

static void on_watch_ended(void *arg, enum grpc_status status, const char *words, int64_t compacted)
{
	struct host *h = arg;

	(void)words;
	h->watch = NULL;
	if (compacted > 0 || status == GRPC_RESOURCE_EXHAUSTED)
		read_again(h);
	else
		try_again(h);
}

static struct slice end_of_root(void)
{
	static uint8_t room[sizeof ROOT];

	return etcd_end(SLICE(ROOT), room);
}

static void follow(struct host *h)
{
	const struct etcd_watch_terms t = { .key = SLICE(ROOT), .end = end_of_root(), .from = h->revision + 1,
					    .told = on_told, .ended = on_watch_ended, .arg = h };

	clock_tick();
	h->watch = etcd_watch_new(h->e, &t);
	if (h->watch) {
		h->again_ms = 0;
		set_at(h, AT_FOLLOWING);
	} else {
		try_again(h);
	}
}

static void on_asked(void *arg, const struct etcd_answer *a)
{
	struct host *h = arg;

	h->call = NULL;
	asks++;
	if (a->status == GRPC_OUT_OF_RANGE)
		read_again(h);
	else if (a->status != GRPC_OK)
		try_again(h);
	else
		follow(h);
}

static void next_page(struct host *);

static void on_page(void *arg, const struct etcd_answer *a)
{
	struct host *h = arg;
	const struct etcd_result *r = a->result;

	h->call = NULL;
	if (a->status == GRPC_OUT_OF_RANGE) {
		read_again(h);
		return;
	}
	if (a->status != GRPC_OK || a->results != 1) {
		try_again(h);
		return;
	}
	if (h->page_revision == 0)
		h->page_revision = a->head.revision;
	pages++;
	keys += r->kvs;
	if (r->more && r->kvs) {
		struct slice last = r->kv[r->kvs - 1].key;

		h->page_n = min_of(last.n, sizeof h->page_key - 1);
		memcpy(h->page_key, last.p, h->page_n);
		h->page_key[h->page_n++] = 0;
		next_page(h);
		return;
	}
	snapshots++;
	h->revision = h->page_revision;
	follow(h);
}

static void next_page(struct host *h)
{
	const struct etcd_op op = { .kind = ETCD_RANGE, .key = slice_of(h->page_key, h->page_n),
				    .end = end_of_root(), .limit = PAGE, .revision = h->page_revision };

	h->call = etcd_op(h->e, &op, on_page, h);
	if (h->call)
		set_at(h, AT_READING);
	else
		try_again(h);
}

static void ask(struct host *h)
{
	const struct etcd_op op = { .kind = ETCD_RANGE, .key = SLICE(ROOT), .keys_only = true,
				    .revision = h->revision };

	h->call = etcd_op(h->e, &op, on_asked, h);
	if (h->call)
		set_at(h, AT_ASKING);
	else
		try_again(h);
}

static void step(struct host *h)
{
	if (!etcd_is_up(h->e) || h->call || h->watch)
		return;
	loop_timer_stop(&loop, &h->again);
	if (h->revision) {
		ask(h);
		return;
	}
	if (h->page_revision == 0) {
		h->page_n = sizeof ROOT - 1;
		memcpy(h->page_key, ROOT, h->page_n);
	}
	next_page(h);
}

static void on_up(void *arg)
{
	struct host *h = arg;

	if (!loop_timer_is_running(&h->again))
		step(h);
}

static void on_down(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

static void nothing(void *arg)
{
	(void)arg;
}

static void open_client(struct host *h, void (*up)(void *))
{
	const struct etcd_terms t = { .endpoint = &server, .endpoints = 1, .name = "", .user = "",
				      .up = up, .down = on_down, .arg = h };
	char why[GRPC_WORDS];
	int r = grpc_stock_init(&h->stock);

	if (r == 0)
		r = etcd_new(&loop, &h->stock, &t, &h->e, why);
	if (r < 0)
		die("a client", r);
}

static void open_host(uint32_t i)
{
	struct host *h = &hosts[i];
	char node[24], pod[16], text[400], *status = strdup("{}");
	int r;

	snprintf(node, sizeof node, "host-%u", i);
	r = said_init(&h->said, &loop, ROOT, node);
	open_client(h, on_up);
	for (uint32_t k = 0; k < n_pods && r == 0; k++) {
		snprintf(pod, sizeof pod, "pod-%u", k);
		snprintf(text, sizeof text,
			 "{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":{\"labels\":"
			 "{\"app\":\"a%u\"},\"name\":\"%s.%s\",\"namespace\":\"fleet\"},\"spec\":{\"addresses\":"
			 "[\"10.%u.%u.%u\"],\"draining\":false,\"node\":\"%s\",\"pod\":\"%s\",\"serviceAccount\":"
			 "\"default\",\"zone\":\"z1\"}}",
			 k, pod, node, i >> 8, i & 255, k & 255, node, pod);
		r = said_post(&h->said, "fleet", pod, text);
	}
	if (r < 0)
		die("a host", r);
	said_client(&h->said, h->e);
	said_text(&h->said, &status);
}

/* ---- changes ---- */

static void on_put(void *arg, const struct etcd_answer *a)
{
	(void)arg;
	refused += a->status != GRPC_OK;
}

/* False: there is no room for one more call, or no server. */
static bool put(uint32_t i)
{
	char key[120], text[1600];
	uint32_t s = i % n_services;
	size_t n;
	struct etcd_op op = { .kind = ETCD_PUT };

	snprintf(key, sizeof key, ROOT "ns/ns%u/discovery.k8s.io/EndpointSlice/s%u-1", s % 100, s);
	n = (size_t)snprintf(text, sizeof text,
			     "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{"
			     "\"annotations\":{\"bench/change\":\"%u.%u\"},"
			     "\"labels\":{\"kubernetes.io/service-name\":\"s%u\"},"
			     "\"name\":\"s%u-1\",\"namespace\":\"ns%u\"},\"addressType\":\"IPv4\",\"ports\":[{"
			     "\"name\":\"main\",\"port\":8080,\"protocol\":\"TCP\"}],\"endpoints\":[",
			     command, i, s, s, s % 100);
	for (uint32_t k = 0; k < ENDPOINTS; k++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"addresses\":[\"10.%u.%u.%u\"]}", k ? "," : "",
				      s >> 8, s & 255, k + (k == 0 ? 20 + i % 200 : 0));
	snprintf(text + n, sizeof text - n, "]}");
	op.key = slice_str(key);
	op.value = slice_str(text);
	return etcd_op(writer.e, &op, on_put, NULL) != NULL;
}

static void tick_cb(void *arg)
{
	(void)arg;
	clock_tick();
	while (made < n_changes && clock_now().ns >= began.ns + made * every_ns) {
		changes[made] = (struct change){ .due = { began.ns + made * every_ns } };
		if (!put(made))
			return;		/* with the next tick: it was due now */
		made++;
	}
}

/* ---- commands ---- */

/* Until done() says so, or so long: whether it did. */
static bool wait_ms(int64_t ms, bool (*done)(void))
{
	struct mono until = mono_after_ms(clock_tick(), ms);

	while (!(done && done()) && clock_now().ns < until.ns) {
		ev_run(loop.ev, EVRUN_ONCE);
		clock_tick();
	}
	return done && done();
}

static bool all_follow(void)
{
	return following == opened;
}

static bool none_follows(void)
{
	return following == 0;
}

static bool all_arrived(void)
{
	return made == n_changes && arrived == n_changes;
}

static void say(int64_t cpu, const char *more)
{
	printf("{\"cpu_ms\": %" PRId64 ", \"following\": %u, \"pages\": %" PRIu64 ", \"keys\": %" PRIu64
	       ", \"snapshots\": %" PRIu64 ", \"asks\": %" PRIu64 "%s}\n",
	       (int64_t)((clock_cpu_ns() - cpu) / NS_PER_MS), following, pages, keys, snapshots, asks, more);
	fflush(stdout);
	pages = keys = snapshots = asks = 0;
}

static void join(int64_t ms)
{
	int64_t cpu = clock_cpu_ns();
	char more[200] = "";
	uint32_t burst = 0, k = 0;

	one.n = 0;
	if (wait_ms(ms, all_follow)) {
		for (uint32_t i = 0; i < opened; i++)
			if (hosts[i].followed.ns > began.ns)
				add(&one, mono_diff_us(hosts[i].followed, began));
		qsort(one.us, one.n, sizeof *one.us, by_size);
		for (uint32_t i = 0; i < one.n; i++) {		/* most of them within 100 ms */
			while (one.us[i] - one.us[k] > 100000)
				k++;
			burst = max_of(burst, i - k + 1);
		}
		snprintf(more, sizeof more,
			 ", \"first_ms\": %.1f, \"p50_ms\": %.1f, \"last_ms\": %.1f, \"most_in_100_ms\": %u",
			 ms_at(&one, 0), ms_at(&one, 500), ms_at(&one, 1000), burst);
	}
	say(cpu, more);
}

static void change(uint32_t rate, int64_t ms)
{
	int64_t cpu = clock_cpu_ns();
	char more[400];

	command++;
	made = arrived = 0;
	one.n = all.n = 0;
	refused = 0;
	n_changes = (uint32_t)(rate * ms / 1000);
	every_ns = NS_PER_S / rate;
	changes = calloc(n_changes, sizeof *changes);
	if (changes == NULL)
		die("changes", -ENOMEM);
	began = clock_tick();
	loop_timer_start(&loop, &tick, 0, 1, tick_cb, NULL);
	(void)wait_ms(ms + LATE_MS, all_arrived);
	loop_timer_stop(&loop, &tick);
	qsort(one.us, one.n, sizeof *one.us, by_size);
	qsort(all.us, all.n, sizeof *all.us, by_size);
	snprintf(more, sizeof more,
		 ", \"changes\": %u, \"told\": %zu, \"told_all\": %zu, \"refused\": %" PRIu64 ", \"took_ms\": %" PRId64
		 ", \"host_p50_ms\": %.1f, \"host_p99_ms\": %.1f, \"all_p50_ms\": %.1f, \"all_p99_ms\": %.1f, "
		 "\"all_max_ms\": %.1f",
		 n_changes, one.n, all.n, refused, mono_diff_ms(clock_now(), began), ms_at(&one, 500), ms_at(&one, 990),
		 ms_at(&all, 500), ms_at(&all, 990), ms_at(&all, 1000));
	made = 0;		/* what comes late is nobody's */
	free(changes);
	say(cpu, more);
}

static void again(uint32_t n, int64_t ms)
{
	for (uint32_t i = 0; i < n; i++) {
		struct host *h = &hosts[i % n_hosts];

		said_client(&h->said, NULL);
		said_client(&h->said, h->e);
		(void)wait_ms(ms, NULL);
	}
}

int main(int argc, char **argv)
{
	char line[100];

	if (argc != 5) {
		fprintf(stderr, "usage: fleet_hosts PORT HOSTS PODS SERVICES\n");
		return 2;
	}
	server = (struct addr){ .family = 4, .port = (uint16_t)atoi(argv[1]), .ip = { 127, 0, 0, 1 } };
	n_hosts = (uint32_t)atoi(argv[2]);
	n_pods = (uint32_t)atoi(argv[3]);
	n_services = (uint32_t)atoi(argv[4]);
	hosts = calloc(n_hosts, sizeof *hosts);
	if (hosts == NULL || loop_init(&loop) < 0)
		die("hosts", -ENOMEM);
	rand_init();
	clock_tick();
	open_client(&writer, nothing);
	while (fgets(line, sizeof line, stdin)) {
		int64_t ms, cpu = clock_cpu_ns();
		uint32_t rate, n;

		if (sscanf(line, "join %" SCNd64, &ms) == 1) {
			join(ms);
		} else if (sscanf(line, "open %" SCNu32, &n) == 1) {
			began = clock_tick();
			for (; n && opened < n_hosts; n--)
				open_host(opened++);
			say(cpu, "");
		} else if (sscanf(line, "lost %" SCNd64, &ms) == 1) {
			(void)wait_ms(ms, none_follows);
			began = clock_now();
			say(cpu, "");
		} else if (sscanf(line, "idle %" SCNd64, &ms) == 1) {
			(void)wait_ms(ms, NULL);
			say(cpu, "");
		} else if (sscanf(line, "again %" SCNu32 " %" SCNd64, &n, &ms) == 2) {
			again(n, ms);
			say(cpu, "");
		} else if (sscanf(line, "change %" SCNu32 " %" SCNd64, &rate, &ms) == 2 && rate > 0 && ms > 0) {
			change(rate, ms);
		} else {
			die(line, -EINVAL);
		}
	}
	return 0;	/* all goes with the process */
}
