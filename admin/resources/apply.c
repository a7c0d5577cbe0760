/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* apply and delete: documents into the registry, and out of it.  See resources.h.
 *
 *   judged    every document of every -f, by store/resource; one that is refused stops everything
 *   prepared  what each object is now, and becomes; still nothing is written
 *   written   one after the other, each over the version it was prepared from; a conflict is one of
 *             that object, the others go on; a registry that does not answer ends it
 *   waited    until the daemon of this host has taken or refused each: wait.c */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/resources/reach.h"
#include "admin/resources/resources.h"
#include "admin/resources/wait.h"
#include "nodeproxy/lib/base/clock.h"
#include "store/registry/change.h"
#include "store/registry/vip.h"
#include "store/resource/resource.h"

#define WAIT_SECONDS	 5
#define WAIT_SECONDS_MAX 3600

/* An object: what is wanted of it, and what is there. */
struct item {
	struct row *row;
	struct registry_value have;
	struct change change;
	char vip[ADDR_TEXT];
	json_t *said;		/* in "changes" */
};

struct batch {
	struct item *v;
	size_t n, room;
	json_t *refused;
	int code;
};

static void batch_fini(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		row_free(&b->v[i].row);
		row_free(&b->v[i].change.row);
		registry_value_fini(&b->v[i].have);
	}
	free(b->v);
	json_decref(b->refused);
}

/* ---- judged ---- */

static void refuse(struct batch *b, const char *source, uint32_t line, const char *field,
		   const char *reason)
{
	json_array_append_new(b->refused, json_pack("{s:s, s:I, s:s, s:s}", "source", source, "line",
						    (json_int_t)line, "field", field, "reason", reason));
	b->code = say_error(EXIT_REFUSED, "%s:%u: %s%s%s", source, line, field, field[0] ? ": " : "",
			    reason);
}

static void add(struct batch *b, struct row *row)
{
	if (b->n == b->room) {
		size_t room = b->room ? b->room * 2 : 16;
		struct item *v = realloc(b->v, room * sizeof *v);

		if (v == NULL) {
			row_free(&row);
			b->code = say_error(EXIT_REFUSED, "out of memory");
			return;
		}
		b->v = v;
		b->room = room;
	}
	b->v[b->n++] = (struct item){ .row = row };
}

static void judge(struct batch *b, const char *source, struct slice bytes)
{
	struct resource_reader reader;
	struct refusal *refusal;
	struct row *row;
	int r;

	resource_reader_init(&reader, source, bytes);
	while ((r = resource_next(&reader, &row, &refusal)) != 0) {
		if (r < 0)
			b->code = say_error(EXIT_REFUSED, "%s: out of memory", source);
		else if (row)
			add(b, row);
		else
			refuse(b, refusal->source, refusal->line, refusal->field, refusal->reason);
		refusal_free(&refusal);
	}
}

static void judge_fd(struct batch *b, const char *source, int fd)
{
	size_t room = 1 << 16, n = 0;
	char *p = malloc(room);

	while (p) {
		ssize_t got = read(fd, p + n, room - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			b->code = say_error(EXIT_REFUSED, "%s: %s", source, strerror(errno));
			free(p);
			return;
		}
		n += (size_t)got;
		if (got == 0 || n > DOC_FILE_MAX)	/* which the reader refuses */
			break;
		if (n == room) {
			char *q = realloc(p, room *= 2);

			if (q == NULL)
				free(p);
			p = q;
		}
	}
	if (p)
		judge(b, source, slice_of(p, n));
	else
		b->code = say_error(EXIT_REFUSED, "%s: out of memory", source);
	free(p);
}

static void judge_file(struct batch *b, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		b->code = say_error(EXIT_REFUSED, "%s: %s", path, strerror(errno));
		return;
	}
	judge_fd(b, path, fd);
	close(fd);
}

static int is_document(const struct dirent *d)
{
	return resource_is_file(d->d_name);
}

/* A file, "-", or what a file source would read of a directory. */
static void judge_path(struct batch *b, const char *path)
{
	struct dirent **names;
	char file[PATH_MAX + 300];
	int n;

	if (strcmp(path, "-") == 0) {
		judge_fd(b, "stdin", STDIN_FILENO);
		return;
	}
	n = scandir(path, &names, is_document, alphasort);
	if (n < 0 && errno == ENOTDIR) {
		judge_file(b, path);
		return;
	}
	if (n < 0) {
		b->code = say_error(EXIT_REFUSED, "%s: %s", path, strerror(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
		judge_file(b, file);
		free(names[i]);
	}
	free(names);
}

static int by_key(const void *a, const void *b)
{
	const struct row *x = (*(struct item *const *)a)->row, *y = (*(struct item *const *)b)->row;
	int order = x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : strcmp(x->ns, y->ns);

	return order ? order : strcmp(x->name, y->name);
}

/* Two documents of one object: which of them would be meant? */
static void refuse_twice(struct batch *b)
{
	struct item **v = calloc(b->n + 1, sizeof(struct item *));

	for (size_t i = 0; v && i < b->n; i++)
		v[i] = &b->v[i];
	if (v && b->n)
		qsort(v, b->n, sizeof(struct item *), by_key);
	for (size_t i = 1; v && i < b->n; i++)
		if (by_key(&v[i - 1], &v[i]) == 0) {
			const struct row *x = v[i - 1]->row, *y = v[i]->row;
			char why[RESOURCES_WORDS + 300], words[RESOURCES_WORDS];

			snprintf(why, sizeof why, "%s is also at %.200s:%u",
				 resources_words(x->kind, x->ns, x->name, words), x->source, x->line);
			refuse(b, y->source, y->line, "", why);
		}
	free(v);
}

/* All documents of -f.  False: there are refusals, or none to begin with, which is said. */
static bool judge_all(const struct options *o, struct batch *b)
{
	const char *paths = options_value(o, "-f");
	char path[PATH_MAX];

	for (const char *p = paths, *end; p; p = *end ? end + 1 : NULL) {
		end = strchrnul(p, '\n');
		snprintf(path, sizeof path, "%.*s", (int)min_of((size_t)(end - p), sizeof path - 1), p);
		judge_path(b, path);
	}
	refuse_twice(b);
	if (b->code == EXIT_DONE && b->n == 0)
		b->code = say_error(EXIT_REFUSED, "there are no documents in what was given");
	if (b->code != EXIT_DONE && json_array_size(b->refused))
		say_error(b->code, "nothing was written");
	return b->code == EXIT_DONE;
}

/* ---- prepared ---- */

static const char *result_word(enum change_result r)
{
	return r == CHANGE_CREATED ? "created" : r == CHANGE_CONFIGURED ? "configured" : "unchanged";
}

static void say(struct item *i, const char *result, const char *message)
{
	json_object_set_new(i->said, "result", json_string(result));
	if (message)
		json_object_set_new(i->said, "message", json_string(message));
}

static void say_where(struct item *i, const char *where)
{
	if (where)
		json_object_set_new(i->said, "where", json_string(where));
}

/* An address that the object has already stays; a new one is claimed when it is written. */
static bool keeps_vip(const struct registry *r, struct item *i)
{
	return r->ops->vip_claim && change_wants_vip(i->row) &&
	       change_vip_of(&i->have, i->vip, sizeof i->vip);
}

static enum registry_error become(struct registry *r, struct item *i)
{
	int e;

	row_free(&i->change.row);
	e = change_make(i->row, &i->have, i->vip[0] ? i->vip : NULL, clock_unix_ms(), &i->change);
	if (e == 0)
		return REGISTRY_DONE;
	return registry_fail(r, e == -ENOMEM ? REGISTRY_MEMORY : REGISTRY_UNFIT, "%s:%u: %s", i->row->source,
			     i->row->line, e == -ENOMEM ? "out of memory" : "with what is added to it, it is "
			     "too large");
}

static enum registry_error prepare(struct registry *r, struct item *i)
{
	char group[CHANGE_GROUP];
	struct registry_key k = change_key(i->row, group);
	enum registry_error e = registry_get(r, &k, &i->have);

	if (e == REGISTRY_DONE) {
		(void)keeps_vip(r, i);
		e = become(r, i);
	}
	if (e == REGISTRY_DONE) {
		say(i, result_word(i->change.result), NULL);
		say_where(i, i->have.where);
		if (i->change.row->generation)
			json_object_set_new(i->said, "generation", json_integer(i->change.row->generation));
	}
	return e;
}

/* ---- written ---- */

#define OWNER (2 * 256 + 2)

static const char *owner_of(const struct row *row, char out[OWNER])
{
	snprintf(out, OWNER, "%s/%s", row->ns, row->name);
	return out;
}

static enum registry_error allocate(struct registry *r, const struct knobs *k, struct item *i)
{
	char owner[OWNER];
	enum registry_error e = vip_allocate(r, &k->service_base, k->service_bits, owner_of(i->row, owner),
					     i->vip);

	return e == REGISTRY_DONE ? become(r, i) : e;
}

/* The words of an error that came before stay. */
static void release(struct registry *r, const struct row *row, const char *ip)
{
	char owner[OWNER], problem[sizeof r->problem];

	memcpy(problem, r->problem, sizeof problem);
	(void)r->ops->vip_release(r, ip, owner_of(row, owner));	/* else it is lost until somebody looks */
	memcpy(r->problem, problem, sizeof problem);
}

/* The i-th address that a Service says it has; false: there is none. */
static bool written_vip(const struct row *row, unsigned i, char out[ADDR_TEXT])
{
	if (row->kind != ROW_SERVICE || row->service.headless || row->service.cluster_ip[i].family == 0)
		return false;
	addr_text(&row->service.cluster_ip[i], false, out);
	return true;
}

/* Addresses that are written are claimed like others, so that they are nobody else's.  Who may not claim
 * writes them all the same. */
static enum registry_error claim_written(struct registry *r, const struct row *row)
{
	char ip[ADDR_TEXT], owner[OWNER];
	enum registry_error e;

	for (unsigned i = 0; i < countof(row->service.cluster_ip); i++) {
		if (!written_vip(row, i, ip))
			continue;
		e = r->ops->vip_claim(r, ip, owner_of(row, owner));
		if (e == REGISTRY_TAKEN)
			return registry_fail(r, e, "clusterIP %s is another Service's", ip);
		if (e != REGISTRY_DONE && e != REGISTRY_DENIED)
			return e;
	}
	return REGISTRY_DONE;
}

/* Gives back what row has and the other has not. */
static void release_others(struct registry *r, const struct row *row, const char *keep)
{
	char ip[ADDR_TEXT];

	for (unsigned i = 0; i < countof(row->service.cluster_ip); i++)
		if (written_vip(row, i, ip) && strcmp(ip, keep) != 0)
			release(r, row, ip);
}

static enum registry_error write_item(struct registry *r, const struct knobs *k, struct item *i)
{
	char group[CHANGE_GROUP], had[ADDR_TEXT] = "", now[ADDR_TEXT] = "", *where = NULL;
	struct registry_key key = change_key(i->row, group);
	bool gives = r->ops->vip_claim != NULL, allocates = gives && change_wants_vip(i->row) && !i->vip[0];
	enum registry_error e = allocates ? allocate(r, k, i)
			      : gives	  ? claim_written(r, i->change.row)
					  : REGISTRY_DONE;

	if (gives) {
		(void)change_vip_of(&i->have, had, sizeof had);
		(void)written_vip(i->change.row, 0, now);
	}
	if (e == REGISTRY_DONE)
		e = registry_put_if(r, &key, slice_str(i->change.row->json), i->have.version, &where);
	/* Who writes the same object at the same time has claimed the same address: it is theirs then. */
	if (e != REGISTRY_DONE && e != REGISTRY_AWAY && e != REGISTRY_CONFLICT && gives)
		release_others(r, i->change.row, had);
	else if (e == REGISTRY_DONE && had[0] && strcmp(had, now) != 0)
		release(r, i->row, had);
	say_where(i, where);
	free(where);
	return e;
}

/* False: nothing more can be written. */
static bool said(struct batch *b, struct item *i, const struct registry *r, enum registry_error e)
{
	char text[800], words[RESOURCES_WORDS];

	if (e == REGISTRY_DONE)
		return true;
	snprintf(text, sizeof text, "%s: %s", r->problem, registry_todo(e));
	say(i, e == REGISTRY_CONFLICT ? "conflict" : "failed", text);
	b->code = say_error(e == REGISTRY_AWAY ? EXIT_AWAY : EXIT_REFUSED, "%s: %s",
			    resources_words(i->row->kind, i->row->ns, i->row->name, words), text);
	return e != REGISTRY_AWAY && e != REGISTRY_FAILED && e != REGISTRY_MEMORY;
}

static enum registry_error remove_item(struct registry *r, struct item *i)
{
	char group[CHANGE_GROUP];
	struct registry_key key = change_key(i->row, group);
	enum registry_error e = registry_delete_if(r, &key, i->have.version);

	if (e == REGISTRY_DONE && r->ops->vip_release && change_vip_of(&i->have, i->vip, sizeof i->vip))
		release(r, i->row, i->vip);
	return e;
}

/* One after the other; what the host has is asked for before the first. */
static void change_all(struct batch *b, struct registry *r, const struct knobs *k, bool remove,
		       struct waiting *w)
{
	bool more = true;

	if (w->seconds)
		wait_begin(w);
	for (size_t n = 0; n < b->n; n++) {
		struct item *i = &b->v[n];

		if (!more)
			say(i, "not tried", NULL);
		else if (remove && i->have.version)
			more = said(b, i, r, remove_item(r, i));
		else if (!remove && i->change.result != CHANGE_UNCHANGED)
			more = said(b, i, r, write_item(r, k, i));
	}
}

/* ---- both ---- */

static void open_changes(struct batch *b, json_t *changes)
{
	for (size_t n = 0; n < b->n; n++) {
		struct item *i = &b->v[n];

		i->said = json_pack("{s:s}", "kind", row_kind_name(i->row->kind));
		if (i->row->ns[0])
			json_object_set_new(i->said, "namespace", json_string(i->row->ns));
		json_object_set_new(i->said, "name", json_string(i->row->name));
		json_object_set_new(i->said, "result", json_string("not tried"));
		json_array_append_new(changes, i->said);
	}
}

/* What each object is now, and what is to be done with it.  False: something stands in the way of all of
 * it, which is said. */
static bool look_at_all(struct batch *b, struct registry *r, bool remove)
{
	bool fits = true;

	for (size_t n = 0; n < b->n; n++) {
		struct item *i = &b->v[n];
		char group[CHANGE_GROUP];
		struct registry_key key = change_key(i->row, group);
		enum registry_error e = remove ? registry_get(r, &key, &i->have) : prepare(r, i);

		fits &= e == REGISTRY_DONE;
		if (!said(b, i, r, e))
			break;
		if (remove && e == REGISTRY_DONE) {
			say(i, i->have.version ? "deleted" : "absent", NULL);
			say_where(i, i->have.where);
		}
	}
	for (size_t n = 0; !fits && n < b->n; n++)
		if (!json_object_get(b->v[n].said, "message"))
			say(&b->v[n], "not tried", NULL);
	if (!fits)
		say_error(b->code, "nothing was written");
	return fits;
}

static int64_t generation_of(const struct registry_value *v)
{
	json_t *o = v->json ? json_loads(v->json, 0, NULL) : NULL;
	json_int_t g = json_integer_value(json_object_get(json_object_get(o, "metadata"), "generation"));

	json_decref(o);
	return g;
}

static void wait_for_all(struct batch *b, const struct waiting *w)
{
	struct wait_item *v = calloc(b->n + 1, sizeof *v);
	size_t n = 0;
	int code;

	for (size_t k = 0; v && k < b->n; k++) {
		struct item *i = &b->v[k];
		const char *result = json_string_value(json_object_get(i->said, "result"));
		bool gone = strcmp(result, "deleted") == 0;

		if (!gone && strcmp(result, "created") != 0 && strcmp(result, "configured") != 0)
			continue;
		v[n++] = (struct wait_item){
			.said = i->said, .kind = i->row->kind, .ns = i->row->ns, .name = i->row->name,
			.gone = gone, .generation = gone ? 0 : i->change.row->generation,
			.same_generation = !gone && generation_of(&i->have) == i->change.row->generation,
		};
	}
	code = v ? wait_for(w, v, n) : EXIT_DONE;
	b->code = b->code == EXIT_DONE ? code : b->code;
	free(v);
}

/* --wait; false: not a number, which is said. */
static bool wait_of(const struct options *o, struct waiting *ret)
{
	const char *asked = options_value(o, "--wait");

	*ret = (struct waiting){ .seconds = options_value(o, "--registry") ? 0 : WAIT_SECONDS };
	if (!asked)
		return true;
	ret->is_asked = true;
	return slice_u64(slice_str(asked), WAIT_SECONDS_MAX, &ret->seconds);
}

/* What apply and delete do once everything is judged. */
static json_t *run(const struct options *o, struct batch *b, bool remove)
{
	bool dry = options_value(o, "--dry-run") != NULL;
	struct knobs *k = resources_knobs(o, options_value(o, "--registry") == NULL, &b->code);
	struct registry *r = k ? reach_registry(o, k, !dry, &b->code) : NULL;
	json_t *changes = json_array();
	struct waiting w;

	if (r == NULL) {
		json_decref(changes);
		free(k);
		return NULL;
	}
	(void)wait_of(o, &w);	/* was looked at first */
	w.socket = resources_socket(o) ? resources_socket(o) : k->admin_socket;
	open_changes(b, changes);
	if (!look_at_all(b, r, remove))
		w.seconds = 0;
	else if (dry)
		w.seconds = 0;
	else
		change_all(b, r, k, remove, &w);
	w.written = r->written;
	registry_close(&r);	/* and its lock, before anybody waits */
	if (w.seconds)
		wait_for_all(b, &w);
	free(k);
	return json_pack("{s:b, s:b, s:o, s:O}", "ok", b->code == EXIT_DONE, "dry_run", dry, "changes", changes,
			 "refused", b->refused);
}

json_t *resources_apply(const struct options *o, int *code)
{
	struct batch b = { .refused = json_array() };
	json_t *ret = NULL;
	struct waiting w;

	if (!wait_of(o, &w))
		b.code = options_wrong("not a number of seconds: ", options_value(o, "--wait"));
	else if (!options_value(o, "-f"))
		b.code = options_wrong("-f is missing: what is to be applied?", "");
	else if (judge_all(o, &b))
		ret = run(o, &b, false);
	else
		ret = json_pack("{s:b, s:b, s:[], s:O}", "ok", false, "dry_run",
				options_value(o, "--dry-run") != NULL, "changes", "refused", b.refused);
	*code = b.code;
	batch_fini(&b);
	return ret;
}

/* A row that is only a key. */
static bool add_key(struct batch *b, const struct registry_key *k)
{
	struct row *row = calloc(1, sizeof *row);

	if (!row || !resource_kind_of(k->kind, &row->kind) || !(row->ns = strdup(k->ns)) ||
	    !(row->name = strdup(k->name))) {
		row_free(&row);
		b->code = say_error(EXIT_REFUSED, "out of memory");
		return false;
	}
	add(b, row);
	return b->code == EXIT_DONE;
}

/* What is asked for, as keys.  False: nothing is to be done, which is said. */
static bool take_keys(const struct options *o, struct batch *b)
{
	bool files = options_value(o, "-f") != NULL;
	struct registry_key k;
	struct waiting w;
	int r = resources_key(o, &k);

	if (r >= 0)
		b->code = r;
	else if (!wait_of(o, &w))
		b->code = options_wrong("not a number of seconds: ", options_value(o, "--wait"));
	else if (files == (k.kind != NULL))
		b->code = options_wrong("delete takes KIND [NAMESPACE/]NAME, or -f", "");
	else if (!files && !k.name[0])
		b->code = options_wrong("the name is missing: a kind as a whole is not deleted", "");
	return b->code == EXIT_DONE && (files ? judge_all(o, b) : add_key(b, &k));
}

json_t *resources_delete(const struct options *o, int *code)
{
	struct batch b = { .refused = json_array() };
	json_t *ret = take_keys(o, &b) ? run(o, &b, true) : NULL;
	char words[RESOURCES_WORDS];

	/* Who names one object wants to know that it was not there. */
	if (b.code == EXIT_DONE && !options_value(o, "-f") && b.v[0].have.version == 0) {
		const struct row *row = b.v[0].row;

		b.code = say_error(EXIT_REFUSED, "there is no %s in the registry",
				   resources_words(row->kind, row->ns, row->name, words));
		json_object_set_new(ret, "ok", json_false());
	}
	*code = b.code;
	batch_fini(&b);
	return ret;
}
