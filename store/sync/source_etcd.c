/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The source etcd: keys below PREFIX/CLUSTER/ (registry/key.h), whose values are objects as JSON.
 *
 *   AWAY       no member is connected, or what was asked for was refused
 *   ASKING     whether the history that was told goes on: the key that changed last must be there as it
 *              was told, at that revision.  Then the watch goes on behind it, and nothing is read again
 *   READING    a snapshot: all keys as of one revision, page by page
 *   FOLLOWING  a watch from the revision behind
 *   DOUBTING   a watch of a registry in which nothing is written any more
 *
 * A snapshot tells only what is other than it was told: of a key with the same value it says that it is the
 * same.  It is read when none was yet, when what changed meanwhile was compacted, and when the
 * history is another one (the registry was restored from an older snapshot, or made anew).
 *
 * Nothing is forgotten because a registry is away, or empty: a registry that has lost everything has
 * nothing to say.  That all is gone is believed only when each key was seen to go.
 *
 * What is told becomes true SETTLE_MS after its first event, so that a burst costs one change set.  A
 * connection that is lost for less than LOST_MS is nobody's business. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/etcd_object.h"
#include "store/sync/fetch.h"
#include "store/sync/known.h"
#include "store/sync/said.h"
#include "store/sync/secrets.h"
#include "store/sync/source.h"

#define PAGE		500
#define POD_BYTES	4096	/* what a host says of one pod */
#define SETTLE_MS	8
#define LOST_MS		5000
#define AGAIN_MIN_MS	250	/* after something that was refused */
#define AGAIN_MAX_MS	10000
#define SPREAD_MS	1000	/* over which many hosts that lost their history begin to read it again */
#define SECRETS_MS	5000	/* to the next look whether files are others, while it is away */
#define SECRETS_LOOKS	12	/* and every so many of them otherwise */

enum at { AT_AWAY, AT_ASKING, AT_READING, AT_FOLLOWING, AT_DOUBTING };

struct source_etcd {
	struct source source;
	struct loop *loop;
	struct chan *chan;
	struct source_events on;
	struct grpc_stock stock;
	char root[KEY_MAX], root_end[KEY_MAX];
	/* how it is reached */
	const struct knobs *knobs;
	struct secrets secret;
	unsigned looks;
	struct etcd *e;
	/* where it is */
	enum at at;
	struct etcd_call *call;
	struct etcd_watch *watch;
	uint64_t cluster;		/* of what was told */
	int64_t revision;		/* up to which everything was told; 0: no snapshot yet */
	char mark[KEY_MAX];		/* the key that changed last */
	int64_t mark_modified;		/* 0: it was deleted, or there was none */
	/* a snapshot */
	uint8_t page_key[KEY_MAX];	/* the next page begins here */
	size_t page_n;
	int64_t page_revision, page;	/* of it; keys of one */
	uint64_t listing, told;		/* told: keys of objects in it */
	bool keys_only;			/* the next value is too large */
	char why[160];			/* why it is read */
	struct known known;
	uint32_t left_out;		/* keys that there was no room for */
	/* a change set */
	bool is_open;			/* something was told since the last end */
	bool is_whole;			/* and nothing is missing in between */
	struct mono since;
	struct loop_timer settle, lost, again, secrets;
	bool is_lost;			/* and it was said */
	int64_t lost_ms, spread_ms;
	int64_t again_ms;
	char trouble[GRPC_WORDS + 80];
	struct source_news news;
	struct said said;
	struct demand *demand;		/* NULL: all EndpointSlices are told */
	struct fetcher fetcher;
};

static void step(struct source_etcd *);

static struct slice root_of(const struct source_etcd *s)
{
	return slice_str(s->root);
}

static struct slice end_of(const struct source_etcd *s)
{
	return slice_str(s->root_end);
}

/* ---- telling ---- */

static void open_set(struct source_etcd *s)
{
	if (!s->is_open)
		s->since = clock_now();
	s->is_open = true;
}

static void unreadable(struct source_etcd *s, struct known_key *k, const char *why)
{
	known_bytes(&s->known, k, 0);
	s->on.unreadable(s->on.arg, k->name, why);
}

static void tell_value(struct source_etcd *s, struct known_key *k, const struct key_parts *parts,
		       const struct etcd_kv *kv)
{
	struct documents docs = { 0 };
	char why[120];

	if (s->keys_only) {
		unreadable(s, k, "a value that is too large to be read");
		return;
	}
	if (s->known.bytes - k->bytes + kv->value.n > SOURCE_BYTES_MAX) {
		snprintf(why, sizeof why, "is too much: all values together may have %u MiB",
			 SOURCE_BYTES_MAX >> 20);
		unreadable(s, k, why);
		return;
	}
	known_bytes(&s->known, k, (uint32_t)kv->value.n);
	if (etcd_object_read(k->name, parts, kv, &docs) < 0) {
		documents_fini(&docs);
		k->modified = 0;
		s->on.same(s->on.arg, k->name);		/* as it was; once more with the next snapshot */
		return;
	}
	s->on.documents(s->on.arg, k->name, &docs);
}

static bool is_as_told(const struct known_key *k, const struct etcd_kv *kv, uint64_t digest)
{
	return k->modified && k->modified == kv->modified && k->created == kv->created && k->digest == digest;
}

static bool is_ours(const struct source_etcd *s, struct slice key)
{
	return slice_starts(key, root_of(s)) && key.n > strlen(s->root);
}

/* Not what hosts say of themselves, which they do whatever became of the rest. */
static bool is_of_objects(const struct source_etcd *s, struct slice key)
{
	return is_ours(s, key) && !slice_starts(slice_from(key, strlen(s->root)), SLICE("node/"));
}

/* What hosts say of their pods; ours the master says (locals.h).  Nothing else of a host is told. */
static bool is_of_pod(const struct source_etcd *s, const struct key_parts *k)
{
	return k->place == KEY_NODE && slice_starts(k->rest, SLICE("pod/")) &&
	       !slice_eq(k->node, slice_str(s->knobs->node));
}

/* Of more pods than a host can have the rest is left out, until all is read again. */
static struct known_key *known_pod(struct source_etcd *s, const char *name, struct slice node)
{
	char place[KEY_MAX], why[80];
	struct known_key *k = known_find(&s->known, name);

	if (k || known_owned(&s->known, node) < PODS_MAX)
		return known_make_of(&s->known, name, node);
	/* root, node/NODE/pod/ */
	snprintf(place, sizeof place, "%.*s", (int)(strlen(s->root) + 5 + node.n + 5), name);
	snprintf(why, sizeof why, "not all of them are read: it says more than %u pods", PODS_MAX);
	s->on.unreadable(s->on.arg, place, why);
	return NULL;
}

/* A slice of a Service that nobody uses here, or an object that is none: not told (any more). */
static bool is_left(struct source_etcd *s, const char *name, const struct key_parts *k, const struct etcd_kv *kv)
{
	struct known_key *known;
	char room[64];

	if (s->demand == NULL || !fetch_is_slice(k) ||
	    demand_seen(s->demand, k->ns, k->name, slice_service(kv->value, room), (uint32_t)s->listing))
		return false;
	s->told++;
	s->left_out += demand_slice_find(s->demand, k->ns, k->name) == NULL;
	known = known_find(&s->known, name);
	if (known) {
		open_set(s);
		s->on.gone(s->on.arg, known->name);
		known_free(&s->known, known);
	}
	return true;
}

/* A key as it is now.  Those of addresses, and what hosts say of themselves, are not objects. */
static void tell(struct source_etcd *s, const struct etcd_kv *kv)
{
	char name[KEY_MAX];
	struct key_parts parts = { 0 };
	const char *why = "is no key: it is too long, or not of printable characters";
	bool plain = etcd_object_name(kv->key, name), good, is_pod;
	uint64_t digest = hash_slice(kv->value);
	struct known_key *k;

	good = plain && key_read(slice_from(kv->key, strlen(s->root)), &parts, &why) == 0;
	is_pod = good && is_of_pod(s, &parts);
	if (!is_pod && (good ? parts.place != KEY_NS && parts.place != KEY_GLOBAL : !is_of_objects(s, kv->key)))
		return;
	if (good && is_left(s, name, &parts, kv))
		return;
	open_set(s);
	k = is_pod ? known_pod(s, name, parts.node) : known_make(&s->known, name);
	if (k == NULL) {
		s->left_out += !is_pod || known_owned(&s->known, parts.node) < PODS_MAX;
		return;
	}
	s->told += !is_pod;
	k->listed = s->listing;
	if (is_as_told(k, kv, digest)) {
		s->on.same(s->on.arg, k->name);
		return;
	}
	k->created = kv->created;
	k->modified = kv->modified;
	k->digest = digest;
	if (is_pod && kv->value.n > POD_BYTES)
		unreadable(s, k, "is too large for what is said of a pod");
	else if (good)
		tell_value(s, k, &parts, kv);
	else
		unreadable(s, k, why);
}

static void forget_slice(struct source_etcd *s, const struct etcd_kv *kv)
{
	struct key_parts parts;
	const char *why;

	if (key_read(slice_from(kv->key, strlen(s->root)), &parts, &why) == 0 && fetch_is_slice(&parts))
		demand_gone(s->demand, parts.ns, parts.name);
}

/* What was fetched is of a later revision than what the watch is telling. */
static bool is_known_better(const struct source_etcd *s, const struct etcd_kv *kv)
{
	const struct known_key *k;
	char name[KEY_MAX];

	if (s->demand == NULL || !etcd_object_name(kv->key, name))
		return false;
	k = known_find(&s->known, name);
	return k && k->modified > kv->modified;
}

static void untell(struct source_etcd *s, const struct etcd_kv *kv)
{
	char name[KEY_MAX];
	struct known_key *k;

	(void)etcd_object_name(kv->key, name);
	if (s->demand)
		forget_slice(s, kv);
	k = known_find(&s->known, name);
	if (k == NULL)
		return;
	open_set(s);
	s->on.gone(s->on.arg, k->name);
	known_free(&s->known, k);
}

static void mark(struct source_etcd *s, const struct etcd_kv *kv, bool is_delete)
{
	if (kv->key.n >= sizeof s->mark || memchr(kv->key.p, 0, kv->key.n))
		return;		/* the one before is as good */
	memcpy(s->mark, kv->key.p, kv->key.n);
	s->mark[kv->key.n] = 0;
	s->mark_modified = is_delete ? 0 : kv->modified;
}

/* Everything that was told is true now. */
static void end_set(struct source_etcd *s)
{
	char why[120];

	loop_timer_stop(s->loop, &s->settle);
	loop_timer_stop(s->loop, &s->lost);
	if (s->left_out) {
		snprintf(why, sizeof why, "%u keys are not read: more than %u", s->left_out, s->known.most);
		s->on.unreadable(s->on.arg, s->root, why);
	}
	if (s->demand)
		(void)demand_settle(s->demand);
	s->is_lost = false;
	s->again_ms = 0;
	s->on.end(s->on.arg);
	s->is_open = false;
	s->since = (struct mono){ 0 };
}

static void settle_cb(void *arg)
{
	struct source_etcd *s = arg;

	clock_tick();
	if (s->is_whole)	/* else the rest is on its way */
		end_set(s);
}

/* ---- losing it ---- */

static void try_again(struct source_etcd *);

static void say_lost(struct source_etcd *s)
{
	loop_timer_stop(s->loop, &s->lost);
	s->is_lost = true;
	s->is_open = false;
	s->since = (struct mono){ 0 };
	s->page_revision = 0;		/* a snapshot under way is none any more, and is begun anew */
	if (s->at == AT_READING) {
		etcd_call_cancel(&s->call);
		s->at = AT_AWAY;
		try_again(s);
	}
	s->on.lost(s->on.arg, s->trouble);
}

static void lost_cb(void *arg)
{
	clock_tick();
	say_lost(arg);
}

/* Not yet said: most troubles are over with the next member. */
static void trouble(struct source_etcd *s, const char *fmt, ...) printf_like(2, 3);
static void trouble(struct source_etcd *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->trouble, sizeof s->trouble, fmt, ap);
	va_end(ap);
	if (s->is_lost)
		say_lost(s);		/* in other words */
	else if (!loop_timer_is_running(&s->lost))
		loop_timer_start(s->loop, &s->lost, s->lost_ms * NS_PER_MS, 0, lost_cb, s);
}

static void again_cb(void *arg)
{
	clock_tick();
	step(arg);
}

static void again_in(struct source_etcd *s, int64_t ms)
{
	loop_timer_start(s->loop, &s->again, ms * NS_PER_MS, 0, again_cb, s);
}

/* Something was refused, for which the client does not look for another member by itself. */
static void try_again(struct source_etcd *s)
{
	s->again_ms = min_of(max_of(s->again_ms * 2, (int64_t)AGAIN_MIN_MS), (int64_t)AGAIN_MAX_MS);
	again_in(s, s->again_ms / 2 + rand_below((uint32_t)s->again_ms));
}

static void hear(struct source_etcd *s)
{
	s->news.heard = clock_now();
}

/* ---- slices that are asked for ---- */

static void on_got(void *arg, const struct etcd_kv *kv)
{
	struct source_etcd *s = arg;

	hear(s);
	if (is_ours(s, kv->key))
		tell(s, kv);
}

/* At once: somebody waits. */
static void on_fetched(void *arg)
{
	struct source_etcd *s = arg;

	if (demand_settle(s->demand) && s->is_open && s->is_whole)
		end_set(s);
}

static void fetch(struct source *source)
{
	struct source_etcd *s = container_of(source, struct source_etcd, source);

	if (s->demand && s->at == AT_FOLLOWING)
		fetcher_run(&s->fetcher, s->e);
}

/* ---- a watch ---- */

/* The history that was told goes on no more: everything is read again, not by all at once. */
static void read_again(struct source_etcd *s, const char *why)
{
	snprintf(s->why, sizeof s->why, "%s", why);
	s->revision = 0;
	s->page_revision = 0;
	again_in(s, rand_below((uint32_t)s->spread_ms));
}

static void on_told(void *arg, const struct etcd_told *t)
{
	struct source_etcd *s = arg;
	bool any = false;

	if (s->at == AT_DOUBTING) {
		for (size_t i = 0; i < t->events; i++)
			any |= is_of_objects(s, t->event[i].kv.key);
		if (!any)
			return;
		etcd_watch_free(&s->watch);
		s->at = AT_AWAY;
		read_again(s, "something is written in it again");
		return;
	}
	for (size_t i = 0; i < t->events; i++) {
		const struct etcd_event *e = &t->event[i];

		if (!is_ours(s, e->kv.key))
			continue;
		if (is_known_better(s, &e->kv))
			;
		else if (e->is_delete)
			untell(s, &e->kv);
		else
			tell(s, &e->kv);
		mark(s, &e->kv, e->is_delete);
	}
	s->is_whole = t->whole;
	if (t->whole)
		s->revision = max_of(s->revision, t->head.revision);
	if (s->is_open && t->whole && !loop_timer_is_running(&s->settle))
		loop_timer_start(s->loop, &s->settle, SETTLE_MS * NS_PER_MS, 0, settle_cb, s);
}

static void on_watch_ended(void *arg, enum grpc_status status, const char *words, int64_t compacted)
{
	struct source_etcd *s = arg;

	s->watch = NULL;
	fetcher_stop(&s->fetcher);
	if (s->is_open && s->is_whole)
		end_set(s);
	s->at = AT_AWAY;
	if (compacted > 0) {
		read_again(s, "what changed meanwhile was compacted");
		return;
	}
	if (status == GRPC_RESOURCE_EXHAUSTED) {
		read_again(s, "too much changed at once");
		return;
	}
	trouble(s, "watch: %s: %s", grpc_status_name(status), words);
	try_again(s);
}

static void follow(struct source_etcd *s, enum at at, int64_t from)
{
	const struct etcd_watch_terms t = { .key = root_of(s), .end = end_of(s), .from = from,
					    .told = on_told, .ended = on_watch_ended, .arg = s,
					    .heard = &s->news.heard };

	s->watch = etcd_watch_new(s->e, &t);
	if (s->watch) {
		s->at = at;
		s->is_whole = true;
	} else {
		s->at = AT_AWAY;
		try_again(s);
	}
}

/* ---- whether the history goes on ---- */

static void on_asked(void *arg, const struct etcd_answer *a)
{
	struct source_etcd *s = arg;
	int64_t modified;

	s->call = NULL;
	s->at = AT_AWAY;
	if (a->status == GRPC_OUT_OF_RANGE && strstr(a->words, "future")) {
		read_again(s, "it was restored from an older snapshot");
	} else if (a->status == GRPC_OUT_OF_RANGE) {
		read_again(s, "what changed meanwhile was compacted");
	} else if (a->status != GRPC_OK) {
		trouble(s, "%s: %s", grpc_status_name(a->status), a->words);
		try_again(s);
	} else {
		hear(s);
		modified = a->results && a->result[0].kvs ? a->result[0].kv[0].modified : 0;
		if (a->head.cluster != s->cluster || modified != s->mark_modified) {
			read_again(s, a->head.cluster != s->cluster ? "it was made anew, as another cluster"
								    : "it was restored from an older snapshot");
			return;
		}
		follow(s, AT_FOLLOWING, s->revision + 1);
		if (s->at == AT_FOLLOWING)
			end_set(s);
		fetch(&s->source);
	}
}

static void ask(struct source_etcd *s)
{
	const struct etcd_op op = { .kind = ETCD_RANGE, .key = slice_str(s->mark), .keys_only = true,
				    .revision = s->revision };

	s->call = etcd_op(s->e, &op, on_asked, s);
	s->at = s->call ? AT_ASKING : AT_AWAY;
	if (s->call == NULL)
		try_again(s);
}

/* ---- a snapshot ---- */

static void next_page(struct source_etcd *);

static void start_snapshot(struct source_etcd *s)
{
	loop_timer_stop(s->loop, &s->settle);	/* it ends with its last page, and not before */
	s->listing++;
	s->told = 0;
	s->left_out = 0;
	s->page_n = strlen(s->root);
	memcpy(s->page_key, s->root, s->page_n);
	s->page_revision = 0;
	s->page = PAGE;
	s->keys_only = false;
	s->mark_modified = 0;
	snprintf(s->mark, sizeof s->mark, "%s", s->root);
	open_set(s);
	s->on.snapshot(s->on.arg);
}

static void end_snapshot(struct source_etcd *s)
{
	uint32_t were = s->on.places(s->on.arg);
	int64_t from;

	if (s->told == 0 && were > 0) {
		snprintf(s->trouble, sizeof s->trouble,
			 "nothing is written below %.180s any more, which is not believed while this host knows %u",
			 s->root, were);
		from = s->page_revision + 1;
		say_lost(s);
		follow(s, AT_DOUBTING, from);
		return;
	}
	list_each(it, &s->known.all) {
		struct known_key *k = list_entry(it, struct known_key, in_known);

		if (k->listed != s->listing)
			known_free(&s->known, k);
	}
	if (s->demand)
		demand_listed(s->demand, (uint32_t)s->listing);
	s->revision = s->page_revision;
	s->news.snapshots++;
	snprintf(s->news.snapshot_why, sizeof s->news.snapshot_why, "%s", s->why);
	s->why[0] = 0;
	follow(s, AT_FOLLOWING, s->revision + 1);
	end_set(s);
	fetch(&s->source);
}

/* The next page begins behind this key: with it and a zero.  Behind one that is too long, behind all that
 * begin as it does. */
static void next_behind(struct source_etcd *s, struct slice last)
{
	size_t n = min_of(last.n, sizeof s->page_key - 1);

	memcpy(s->page_key, last.p, n);
	s->page_key[n] = n < last.n ? 0xff : 0;
	s->page_n = n + 1;
}

/* False: the page is none. */
static bool take_page(struct source_etcd *s, const struct etcd_answer *a)
{
	const struct etcd_result *r = &a->result[0];
	struct slice last = slice_of(s->page_key, s->page_n);

	if (a->results != 1 || (r->more && r->kvs == 0))
		return false;
	for (size_t i = 0; i < r->kvs; i++) {
		const struct etcd_kv *kv = &r->kv[i];

		if (!is_ours(s, kv->key) || slice_cmp(kv->key, last) < (i > 0) || kv->modified > s->page_revision)
			return false;
		last = kv->key;
		tell(s, kv);
		if (kv->modified > s->mark_modified)
			mark(s, kv, false);
	}
	if (r->kvs)
		next_behind(s, last);
	s->page = PAGE;
	s->keys_only = false;
	return true;
}

/* The values of a page are too many for a message: fewer; of one that is too large only the key. */
static void smaller_page(struct source_etcd *s)
{
	if (s->page > 1)
		s->page /= 2;
	else
		s->keys_only = true;
	next_page(s);
}

static void on_page(void *arg, const struct etcd_answer *a)
{
	struct source_etcd *s = arg;

	s->call = NULL;
	s->at = AT_AWAY;
	if (a->status == GRPC_RESOURCE_EXHAUSTED && strstr(a->words, "larger than") && !s->keys_only) {
		smaller_page(s);
	} else if (a->status == GRPC_OUT_OF_RANGE) {
		read_again(s, "what was being read was compacted");
	} else if (a->status != GRPC_OK) {
		trouble(s, "%s: %s", grpc_status_name(a->status), a->words);
		try_again(s);		/* the same page, at the same revision */
	} else {
		hear(s);
		loop_timer_stop(s->loop, &s->lost);
		if (s->page_revision && a->head.cluster != s->cluster) {
			read_again(s, "it was made anew while it was read");
			return;
		}
		if (s->page_revision == 0) {
			s->cluster = a->head.cluster;
			s->page_revision = a->head.revision;
		}
		if (!take_page(s, a))
			etcd_leave(s->e, "keys that were not asked for");
		else if (a->result[0].more)
			next_page(s);
		else
			end_snapshot(s);
	}
}

static void next_page(struct source_etcd *s)
{
	const struct etcd_op op = {
		.kind = ETCD_RANGE, .key = slice_of(s->page_key, s->page_n), .end = end_of(s),
		.limit = s->page, .revision = s->page_revision, .keys_only = s->keys_only,
	};

	s->call = etcd_op(s->e, &op, on_page, s);
	s->at = s->call ? AT_READING : AT_AWAY;
	if (s->call == NULL)
		try_again(s);
}

/* ---- the client ---- */

/* What is to be done next, when nothing is. */
static void step(struct source_etcd *s)
{
	if (s->e == NULL || !etcd_is_up(s->e) || s->call || s->watch)
		return;
	loop_timer_stop(s->loop, &s->again);
	if (s->revision) {
		ask(s);
		return;
	}
	if (s->page_revision == 0)
		start_snapshot(s);
	next_page(s);
}

static void on_up(void *arg)
{
	struct source_etcd *s = arg;

	if (!loop_timer_is_running(&s->again))
		step(s);
}

static void on_down(void *arg, const char *why)
{
	struct source_etcd *s = arg;

	if (s->watch == NULL)
		trouble(s, "%s", why);
}

static void close_client(struct source_etcd *s)
{
	said_client(&s->said, NULL);
	fetcher_stop(&s->fetcher);
	etcd_call_cancel(&s->call);
	etcd_watch_free(&s->watch);
	etcd_free(&s->e);
	if (s->is_open && s->is_whole && s->at == AT_FOLLOWING)
		end_set(s);
	s->at = AT_AWAY;
}

static void open_client(struct source_etcd *s)
{
	const struct etcd_terms t = {
		.endpoint = s->knobs->source_endpoint, .endpoints = s->knobs->n_source_endpoints,
		.ca = s->secret.v[SECRET_CA], .cert = s->secret.v[SECRET_CERT], .key = s->secret.v[SECRET_KEY],
		.name = s->knobs->source_server_name, .user = s->knobs->source_user,
		.password = s->secret.v[SECRET_PASSWORD], .cluster = s->cluster,
		.up = on_up, .down = on_down, .arg = s,
	};
	char why[GRPC_WORDS];
	int r;

	if (!secrets_fit(&s->secret, s->knobs))
		return;		/* the others are on their way */
	r = etcd_new(s->loop, &s->stock, &t, &s->e, why);
	if (r == 0) {
		said_client(&s->said, s->e);
		return;
	}
	snprintf(s->trouble, sizeof s->trouble, "source.%s", r == -EINVAL ? why : strerror(-r));
	say_lost(s);
}

/* ---- what comes from the master ---- */

static void secrets_cb(void *arg)
{
	struct source_etcd *s = arg;

	if (s->at != AT_FOLLOWING || ++s->looks % SECRETS_LOOKS == 0)
		(void)chan_say(s->chan, MSG_SOURCE_AGAIN, &(struct msg_empty){ 0 });
}

static void take_secrets(struct source_etcd *s, const struct msg *m)
{
	char why[SECRETS_WORDS];
	int r = secrets_take(&s->secret, m, why);

	if (r == 1) {
		close_client(s);
		open_client(s);
	} else if (r < 0 && s->e == NULL) {
		snprintf(s->trouble, sizeof s->trouble, "%s", why);
		say_lost(s);
	}
}

static struct source_etcd *self(const struct source *s)
{
	return container_of(s, struct source_etcd, source);
}

static void message(struct source *source, const struct msg *m)
{
	if (m->type == MSG_SOURCE_SECRETS)
		take_secrets(self(source), m);
}

static void dropped(struct source *source, enum msg_type type)
{
	if (type == MSG_SOURCE_SECRETS)
		(void)chan_say(self(source)->chan, MSG_SOURCE_AGAIN, &(struct msg_empty){ 0 });
}

static bool same_registry(const struct knobs *a, const struct knobs *b)
{
	return strcmp(a->source_endpoints, b->source_endpoints) == 0 && strcmp(a->source_ca, b->source_ca) == 0 &&
	       strcmp(a->source_server_name, b->source_server_name) == 0 &&
	       strcmp(a->source_cert, b->source_cert) == 0 && strcmp(a->source_key, b->source_key) == 0 &&
	       strcmp(a->source_user, b->source_user) == 0 &&
	       strcmp(a->source_password_file, b->source_password_file) == 0;
}

static int settings(struct source *source, const struct knobs *k)
{
	struct source_etcd *s = self(source);
	bool same = same_registry(s->knobs, k);

	s->knobs = k;
	if (same)
		return 0;
	close_client(s);
	open_client(s);
	return 0;
}

static struct mono since(const struct source *source)
{
	return self(source)->since;
}

static void news(const struct source *source, struct source_news *ret)
{
	const struct source_etcd *s = self(source);

	*ret = s->news;
	ret->is_registry = true;
	ret->is_connected = s->e && etcd_is_up(s->e);
	if (s->e)
		addr_text(etcd_endpoint(s->e), true, ret->endpoint);
	ret->revision = s->revision;
	ret->cluster = s->cluster;
}

static void say(struct source *source, char **text)
{
	said_text(&self(source)->said, text);
}

static void post(struct source *source, const char *ns, const char *pod, const char *text)
{
	/* What there is no memory for is posted again with the next change, or by the next process. */
	(void)!said_post(&self(source)->said, ns, pod, text);
}

static void leave(struct source *source, const char *ns, const char *name)
{
	struct source_etcd *s = self(source);
	struct demand_service *of = demand_find(s->demand, ns, name);
	char key[KEY_MAX];

	if (of == NULL || s->at != AT_FOLLOWING || !s->is_whole)
		return;
	for (const struct demand_slice *x = demand_slice_of(s->demand, of, NULL); x;
	     x = demand_slice_of(s->demand, of, x)) {
		struct known_key *k = fetch_key(s->root, x, key) ? known_find(&s->known, key) : NULL;

		if (k == NULL)
			continue;
		open_set(s);
		s->on.gone(s->on.arg, k->name);
		known_free(&s->known, k);
	}
	demand_leave(s->demand, of);
	if (s->is_open && !loop_timer_is_running(&s->settle))
		loop_timer_start(s->loop, &s->settle, SETTLE_MS * NS_PER_MS, 0, settle_cb, s);
}

static void end(struct source *source)
{
	struct source_etcd *s = self(source);

	said_fini(&s->said);
	fetcher_stop(&s->fetcher);
	etcd_call_cancel(&s->call);
	etcd_watch_free(&s->watch);
	etcd_free(&s->e);
	grpc_stock_fini(&s->stock);
	loop_timer_stop(s->loop, &s->settle);
	loop_timer_stop(s->loop, &s->lost);
	loop_timer_stop(s->loop, &s->again);
	loop_timer_stop(s->loop, &s->secrets);
	known_fini(&s->known);
	secrets_fini(&s->secret);
	free(s);
}

static const struct source_ops ops = {
	.message = message, .dropped = dropped, .settings = settings, .since = since, .news = news,
	.say = say, .post = post, .fetch = fetch, .leave = leave, .free = end,
};

struct source *source_of_etcd(struct source_etcd *s)
{
	return &s->source;
}

void source_etcd_bounds(struct source_etcd *s, uint32_t keys, int64_t lost_ms, int64_t spread_ms)
{
	s->known.most = keys;
	s->lost_ms = lost_ms;
	s->spread_ms = spread_ms;
	if (loop_timer_is_running(&s->lost))
		loop_timer_start(s->loop, &s->lost, lost_ms * NS_PER_MS, 0, lost_cb, s);
}

int source_etcd_new(struct loop *loop, struct chan *chan, const struct knobs *k,
		    const struct source_events *events, struct demand *demand, struct source_etcd **ret)
{
	struct source_etcd *s = calloc(1, sizeof *s);
	struct slice last;
	int r;

	if (s == NULL)
		return -ENOMEM;
	r = grpc_stock_init(&s->stock);
	if (r == 0) {
		r = key_root(k->source_prefix, k->cluster, s->root);
		if (r >= 0)
			r = said_init(&s->said, loop, s->root, k->node);
		if (r < 0)
			grpc_stock_fini(&s->stock);
	}
	if (r < 0) {
		free(s);
		return r;
	}
	last = etcd_end(root_of(s), (uint8_t *)s->root_end);
	s->root_end[last.n] = 0;
	s->source.ops = &ops;
	s->loop = loop;
	s->chan = chan;
	s->on = *events;
	s->knobs = k;
	s->demand = demand;
	s->fetcher = (struct fetcher){ .loop = loop, .root = s->root, .demand = demand, .got = on_got,
				       .done = on_fetched, .arg = s };
	known_init(&s->known, SOURCE_KEYS_MAX);
	snprintf(s->trouble, sizeof s->trouble, "no member was reached yet");
	source_etcd_bounds(s, SOURCE_KEYS_MAX, LOST_MS, SPREAD_MS);
	loop_timer_start(loop, &s->lost, s->lost_ms * NS_PER_MS, 0, lost_cb, s);
	loop_timer_start(loop, &s->secrets, SECRETS_MS * NS_PER_MS, SECRETS_MS, secrets_cb, s);
	*ret = s;
	return 0;
}
