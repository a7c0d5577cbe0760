/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See wait.h.
 *
 * The daemon tells which generation of an object it has.  Of EndpointSlices, which it does not list one
 * by one, and of changes in metadata alone, which have no generation, revisions tell: that of the
 * registry up to which the daemon has read, or, of files, its own, which goes on when what is served
 * changes.  A change that changes nothing served is believed after a while, as long as the source is
 * read.
 *
 * Several objects may come in several change sets; so in the end what is served has to stand still for
 * a moment, before the workers are asked whether they have it. */
#include "admin/resources/wait.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/cli/call.h"
#include "admin/resources/resources.h"
#include "nodeproxy/lib/base/clock.h"

#define LOOK_MS	      50
#define QUIET_MS      2000	/* for a revision that may never come */
#define STILL_MS      150	/* change sets that belong together come closer than that */
#define LOOKS_MAX     1000	/* objects that are asked for one by one */
#define STATE_WORDS   600

/* An object, or NULL; *ret_status 0: nobody answers. */
static json_t *ask(const char *socket, const char *target, int *ret_status)
{
	char problem[512];
	struct response r;
	json_t *o;

	*ret_status = 0;
	if (call_daemon(socket, "GET", target, 5, &r, problem) < 0)
		return NULL;
	o = json_loadb(r.body.p ? r.body.p : "", r.body.n, 0, NULL);
	*ret_status = r.status;
	text_fini(&r.body);
	return o;
}

static bool ask_rev(const char *socket, uint64_t *ret)
{
	int status;
	json_t *o = ask(socket, "/v1/status", &status);
	json_int_t rev = json_integer_value(json_object_get(o, "rev"));

	json_decref(o);
	*ret = rev > 0 ? (uint64_t)rev : 0;
	return status == 200;
}

void wait_begin(struct waiting *w)
{
	w->was_there = ask_rev(w->socket, &w->rev);
}

static const char *text_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* The source is read, up to this revision of its own. */
static bool source_is_read(const char *socket, uint64_t revision)
{
	int status;
	json_t *o = ask(socket, "/v1/sources", &status);
	const json_t *source = json_array_get(json_object_get(o, "sources"), 0);
	bool is = strcmp(text_at(source, "state"), "synced") == 0 &&
		  json_integer_value(json_object_get(source, "revision")) >= (json_int_t)revision;

	json_decref(o);
	return is;
}

/* The first condition that is not as one wants it, anywhere in a status. */
static bool bad_condition(const json_t *v, char out[STATE_WORDS])
{
	const char *key;
	json_t *x;
	size_t i;

	if (json_is_object(v) && strcmp(text_at(v, "status"), "False") == 0 && json_object_get(v, "type")) {
		snprintf(out, STATE_WORDS, "%.60s=False (%.60s): %.400s", text_at(v, "type"),
			 text_at(v, "reason"), text_at(v, "message"));
		return true;
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, x)
		if (bad_condition(x, out))
			return true;
	json_array_foreach(v, i, x)
		if (bad_condition(x, out))
			return true;
	return false;
}

static void say_state(struct wait_item *i, const char *words)
{
	json_object_set_new(i->said, "state", json_string(words));
}

static json_t *describe(const char *socket, const struct wait_item *i, int *ret_status)
{
	struct text target = text_of(4096);
	json_t *o;

	text_adds(&target, "/v1/resources/");
	call_escape(&target, row_kind_name(i->kind));
	text_addc(&target, '/');
	if (i->ns[0]) {
		call_escape(&target, i->ns);
		text_addc(&target, '/');
	}
	call_escape(&target, i->name);
	o = ask(socket, target.p ? target.p : "", ret_status);
	text_fini(&target);
	return o;
}

static bool tells_generation(const struct wait_item *i)
{
	return i->kind != ROW_SLICE && (i->gone || (i->generation && !i->same_generation));
}

/* 1: settled well, 0: not yet, -1: refused. */
static int look(const struct waiting *w, struct wait_item *i)
{
	int status, r = 0;
	json_t *o = describe(w->socket, i, &status);
	json_t *refused = json_array_get(json_object_get(o, "refused"), 0);
	char words[STATE_WORDS] = "accepted";
	uint64_t rev;

	if (refused && !i->gone) {
		snprintf(words, sizeof words, "refused: %.50s%s%.500s", text_at(refused, "field"),
			 text_at(refused, "field")[0] ? ": " : "", text_at(refused, "reason"));
		r = -1;
	} else if (!tells_generation(i)) {
		r = w->written ? source_is_read(w->socket, w->written)
			       : ask_rev(w->socket, &rev) && rev > w->rev;
	} else if (i->gone) {
		r = status == 404 || (status == 200 && !json_object_get(o, "source"));
	} else {
		r = status == 200 && json_integer_value(json_object_get(o, "generation")) == i->generation;
	}
	if (r > 0 && i->gone)
		snprintf(words, sizeof words, "gone");
	else if (r > 0)
		(void)bad_condition(json_object_get(o, "status"), words);
	if (r)
		say_state(i, words);
	json_decref(o);
	return r;
}

static void say_unseen(const struct waiting *w, struct wait_item *i)
{
	char words[STATE_WORDS];

	snprintf(words, sizeof words, "not seen by the daemon after %llu s", (unsigned long long)w->seconds);
	say_state(i, words);
}

static bool wait_one(const struct waiting *w, struct wait_item *i, struct mono until, struct mono quiet)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * NS_PER_MS };
	int r;

	while ((r = look(w, i)) == 0 && clock_tick().ns < until.ns) {
		if (!tells_generation(i) && clock_tick().ns >= quiet.ns && !w->written &&
		    source_is_read(w->socket, 0)) {
			say_state(i, "nothing that is served changed");
			return true;
		}
		nanosleep(&pause, NULL);
	}
	if (r == 0)
		say_unseen(w, i);
	return r > 0;
}

/* The revision that stays for a moment, or the one that there is after some. */
static uint64_t await_still(const char *socket, struct mono until)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * NS_PER_MS };
	struct mono give_up = mono_after_ms(clock_tick(), QUIET_MS), since = clock_tick();
	uint64_t rev = 0, now = 0;

	while (mono_diff_ms(clock_tick(), since) < STILL_MS && clock_tick().ns < min_of(give_up.ns, until.ns)) {
		if (!ask_rev(socket, &now))
			break;
		if (now != rev)
			since = clock_tick();
		rev = now;
		nanosleep(&pause, NULL);
	}
	return rev;
}

/* Workers that serve an older revision. */
static unsigned workers_behind(const char *socket, uint64_t rev)
{
	int status;
	json_t *o = ask(socket, "/v1/status", &status), *worker;
	unsigned n = 0;
	size_t i;

	json_array_foreach(json_object_get(o, "workers"), i, worker)
		n += strcmp(text_at(worker, "state"), "ready") == 0 &&
		     json_integer_value(json_object_get(worker, "rev")) < (json_int_t)rev;
	json_decref(o);
	return n;
}

int wait_for(const struct waiting *w, struct wait_item *v, size_t n)
{
	struct mono until = mono_after_ms(clock_tick(), (int64_t)w->seconds * 1000);
	struct mono quiet = mono_after_ms(clock_tick(), QUIET_MS);
	const struct timespec pause = { .tv_nsec = LOOK_MS * NS_PER_MS };
	unsigned behind;
	uint64_t rev;
	bool ok = true;

	if (n == 0)
		return EXIT_DONE;
	if (!w->was_there)
		return say_error(w->is_asked ? EXIT_AWAY : EXIT_DONE, "no daemon answers at %s: what was written "
				 "is read when one starts", w->socket);
	for (size_t i = 0; i < min_of(n, (size_t)LOOKS_MAX); i++)
		ok &= wait_one(w, &v[i], until, quiet);
	rev = await_still(w->socket, until);
	while ((behind = workers_behind(w->socket, rev)) && clock_tick().ns < until.ns)
		nanosleep(&pause, NULL);
	if (behind)
		return say_error(EXIT_REFUSED, "%u workers do not serve it yet: see nodeproxyctl get workers", behind);
	return ok ? EXIT_DONE : EXIT_REFUSED;
}
