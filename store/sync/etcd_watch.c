/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd.h: watches.  Each is a stream of its own.
 *
 *   ASKED    for its beginning, or whether it lives: something is due
 *   TOLD     something came since the last look
 *   SILENT   nothing did: the next look asks
 *
 * That a connection lives does not say that its member still hears of changes, so the stream itself is
 * asked.  An answer to that question says nothing about revisions: older servers give it before changes
 * that came first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/etcd_inner.h"

#define LOOK_MS 10000

enum watch_state { WATCH_ASKED, WATCH_TOLD, WATCH_SILENT };

struct etcd_watch {
	struct node in_etcd;
	struct etcd *e;
	struct grpc_call *call;
	enum watch_state state;
	bool is_created;
	struct mono *heard;
	struct loop_timer look;
	void (*told)(void *arg, const struct etcd_told *);
	void (*ended)(void *arg, enum grpc_status, const char *words, int64_t compacted);
	void *arg;
};

void etcd_watch_free(struct etcd_watch **wp)
{
	struct etcd_watch *w = *wp;

	*wp = NULL;
	if (w == NULL)
		return;
	grpc_call_cancel(&w->call);
	loop_timer_stop(w->e->loop, &w->look);
	list_remove(&w->in_etcd);
	free(w);
}

static void end(struct etcd_watch *w, enum grpc_status s, const char *words, int64_t compacted)
{
	void (*ended)(void *, enum grpc_status, const char *, int64_t) = w->ended;
	void *arg = w->arg;

	etcd_judge(w->e, s, words);
	etcd_watch_free(&w);
	ended(arg, s, words, compacted);
}

/* etcd's own words; of a watch that is refused it says the status only there. */
static void cancelled(struct etcd_watch *w, const struct etcd_watched *m)
{
	char words[GRPC_WORDS];
	size_t n = 0;

	for (const char *p = m->reason; *p && n + 1 < sizeof words; p++)
		words[n++] = *p >= ' ' && *p < 127 && *p != '"' && *p != '\\' ? *p : '?';
	words[n] = 0;
	if (m->compacted > 0)
		end(w, GRPC_OUT_OF_RANGE, "what is asked for was compacted", m->compacted);
	else if (strstr(words, "permission denied"))
		end(w, GRPC_PERMISSION_DENIED, words, 0);
	else
		end(w, GRPC_UNAVAILABLE, words[0] ? words : "the watch was cancelled", 0);
}

static void on_message(void *arg, struct slice bytes)
{
	struct etcd_watch *w = arg;
	struct etcd_mem mem = { 0 };
	struct etcd_watched m;
	int r = etcd_msg_watched(&mem, bytes, &m);

	w->state = WATCH_TOLD;
	if (r == 0 && w->heard)
		*w->heard = clock_now();
	if (r < 0) {
		end(w, r == -ENOMEM ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL,
		    r == -ENOMEM ? "no memory for what is told" : "what is told is not of etcd", 0);
	} else if (!etcd_knows(w->e, &m.told.head)) {
		end(w, GRPC_FAILED_PRECONDITION, "the watch is of another cluster", 0);
	} else if (m.is_end) {
		cancelled(w, &m);
	} else if (m.is_created || m.is_progress) {
		if (!w->is_created)
			grpc_fine(w->e->g);
		w->is_created = true;
	} else if (!w->is_created) {
		end(w, GRPC_INTERNAL, "a watch that was not made tells something", 0);
	} else {
		w->told(w->arg, &m.told);
	}
	etcd_mem_fini(&mem);
}

static void on_ended(void *arg, enum grpc_status s, const char *words)
{
	struct etcd_watch *w = arg;

	w->call = NULL;
	end(w, s == GRPC_OK ? GRPC_UNAVAILABLE : s, s == GRPC_OK ? "the watch was closed" : words, 0);
}

static void ask(struct etcd_watch *w)
{
	struct etcd_mem mem = { 0 };
	struct slice m;

	/* No memory: it counts as asked, and the member as one that does not answer. */
	if (etcd_msg_progress(&mem, &m) == 0)
		(void)!grpc_call_send(w->call, m);
	etcd_mem_fini(&mem);
	w->state = WATCH_ASKED;
}

static void look_cb(void *arg)
{
	struct etcd_watch *w = arg;

	clock_tick();
	switch (w->state) {
	case WATCH_TOLD:
		w->state = WATCH_SILENT;
		break;
	case WATCH_SILENT:
		ask(w);
		break;
	case WATCH_ASKED:
		end(w, GRPC_DEADLINE_EXCEEDED, "the watch does not answer", 0);
		break;
	}
}

struct etcd_watch *etcd_watch_new(struct etcd *e, const struct etcd_watch_terms *t)
{
	struct etcd_watch *w = e->state == ETCD_UP ? calloc(1, sizeof *w) : NULL;
	const struct grpc_call_terms c = {
		.method = etcd_method_path(ETCD_DO_WATCH), .open = true, .field = &etcd_led, .fields = 1,
		.message = on_message, .ended = on_ended, .arg = w,
	};
	struct etcd_mem mem = { 0 };
	struct slice m;

	if (w && etcd_msg_watch(&mem, t->key, t->end, t->from, &m) == 0)
		w->call = grpc_call(e->g, &c, m);
	etcd_mem_fini(&mem);
	if (w == NULL || w->call == NULL) {
		free(w);
		return NULL;
	}
	w->e = e;
	w->state = WATCH_ASKED;
	w->heard = t->heard;
	w->told = t->told;
	w->ended = t->ended;
	w->arg = t->arg;
	list_add_tail(&e->watches, &w->in_etcd);
	/* Those of many hosts begin together; they do not ask together. */
	loop_timer_start(e->loop, &w->look, (LOOK_MS + rand_below(LOOK_MS)) * NS_PER_MS, LOOK_MS,
			 look_cb, w);
	return w;
}
