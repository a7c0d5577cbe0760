/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* status, workers, sources, version: is this host well, and who runs. */
#include "admin/show.h"
#include "workers/obs/grade.h"

#include <string.h>
#include <sys/wait.h>

const char *call_text(const struct call *c, const char *name)
{
	const struct arg_row *a;

	for (unsigned i = 0; i < CMD_ARGS && (a = cmd_arg(c->cmd, i)); i++)
		if (strcmp(a->name, name) == 0)
			return c->arg[i].given ? c->arg[i].text : NULL;
	return NULL;
}

bool call_number(const struct call *c, const char *name, uint64_t *ret)
{
	const struct arg_row *a;

	for (unsigned i = 0; i < CMD_ARGS && (a = cmd_arg(c->cmd, i)); i++)
		if (strcmp(a->name, name) == 0 && c->arg[i].given) {
			*ret = c->arg[i].number;
			return true;
		}
	return false;
}

struct answer show_ok(void)
{
	struct answer a = { .status = 200, .type = "application/json",
			    .body = text_of(SERVE_ANSWER_BYTES) };

	js_open(&a.body, NULL, '{');
	return a;
}

void show_end(struct answer *a)
{
	js_close(&a->body, '}');
	text_addc(&a->body, '\n');
}

/* By the clock that nobody sets: a wall clock that jumps makes nobody older. */
static void uptime(const struct state *st, const char *key, uint64_t since_mono_ms, struct text *t)
{
	if (since_mono_ms == 0)
		js_null(t, key);
	else
		js_i64(t, key, gather_age_s(st, since_mono_ms));
}

/* How the last process of this slot died, in words; null when none has. */
static void last_exit(const struct proc *p, struct text *t)
{
	char words[64];

	if (p->restarts == 0 && p->last_status == 0) {
		js_null(t, "last_exit");
		return;
	}
	if (WIFSIGNALED(p->last_status))
		snprintf(words, sizeof words, "signal %d", WTERMSIG(p->last_status));
	else
		snprintf(words, sizeof words, "exit %d", WEXITSTATUS(p->last_status));
	js_str(t, "last_exit", words);
}

static void known(struct text *t, const char *key, int64_t v)
{
	if (v < 0)
		js_null(t, key);
	else
		js_i64(t, key, v);
}

static void usage(const struct usage *u, struct text *t)
{
	known(t, "cpu_ns", u->cpu_ns);
	known(t, "resident_bytes", u->resident_bytes);
	known(t, "private_bytes", u->private_bytes);
}

void show_worker(const struct state *st, uint32_t id, bool counters, struct text *t)
{
	const struct proc *p = gather_proc(st, ROLE_WORKER, id);
	const struct log_losses *l = &st->losses[id];

	if (!p)
		return;		/* the spare slot */
	js_open(t, NULL, '{');
	js_u64(t, "id", id);
	js_u64(t, "pid", p->pid);
	if (p->cpu >= 0)
		js_i64(t, "cpu", p->cpu);
	else
		js_null(t, "cpu");
	js_str(t, "state", proc_word(p));
	js_u64(t, "rev", p->rev);
	js_u64(t, "refused_rev", p->refused_rev);
	js_i64(t, "behind_seconds", p->behind_mono_ms ? gather_age_s(st, p->behind_mono_ms) : 0);
	js_u64(t, "restarts", p->restarts);
	js_u64(t, "panics", p->panics);
	uptime(st, "uptime_seconds", p->state == PROC_WAITING ? 0 : p->started_mono_ms, t);
	last_exit(p, t);
	usage(&p->usage, t);
	js_u64(t, "connections", gather_worker(st, id, WC_conns_gauge));
	js_u64(t, "back_connections", gather_worker(st, id, WC_backs_gauge));
	js_u64(t, "pooled_connections", gather_worker(st, id, WC_pooled_gauge));
	js_u64(t, "memory_bytes", gather_worker(st, id, WC_chunk_bytes_gauge));
	js_str(t, "memory_grade", grade_name((unsigned)min_of(
		gather_worker(st, id, WC_memory_grade_gauge), (uint64_t)GRADES)));
	js_u64(t, "run_delay_ns", gather_worker(st, id, WC_run_delay_ns_gauge));
	js_u64(t, "shed_tenants", gather_worker(st, id, WC_shed_tenants_gauge));
	js_u64(t, "descriptors", gather_worker(st, id, WC_fds_gauge));
	js_u64(t, "descriptors_limit", gather_worker(st, id, WC_fds_limit_gauge));
	js_u64(t, "log_dropped", l->ring + l->sink);
	if (counters) {
		struct counter_row row;

		js_open(t, "counters", '{');
		for (unsigned i = 0; worker_counter_row(i, &row); i++)
			js_u64(t, row.name, gather_worker(st, id, (enum worker_counter)i));
		js_close(t, '}');
	}
	js_close(t, '}');
}

static void workers(const struct state *st, bool counters, struct text *t)
{
	js_open(t, "workers", '[');
	for (unsigned id = 0; id < st->workers; id++)
		show_worker(st, id, counters, t);
	js_close(t, ']');
}

void show_workers(struct state *st, const struct call *c, struct answer *ret)
{
	(void)c;
	*ret = show_ok();
	workers(st, true, &ret->body);
	show_end(ret);
}

static void processes(const struct state *st, struct text *t)
{
	js_open(t, "processes", '[');
	for (uint32_t i = 0; st->has_procs && i < st->procs.count; i++) {
		const struct proc *p = &st->procs.proc[i];

		if (p->state == PROC_NONE || p->role >= ROLES)
			continue;
		js_open(t, NULL, '{');
		js_str(t, "role", role_name((enum role)p->role));
		js_u64(t, "id", p->id);
		js_u64(t, "pid", p->pid);
		js_str(t, "state", proc_word(p));
		js_u64(t, "restarts", p->restarts);
		js_u64(t, "panics", p->panics);
		uptime(st, "uptime_seconds", p->started_mono_ms, t);
		last_exit(p, t);
		usage(&p->usage, t);
		js_close(t, '}');
	}
	js_close(t, ']');
}

/* Why the store cannot be written, and for how long: null when it can. */
static void not_durable(const struct state *st, const json_t *report, struct text *t)
{
	const json_t *store = json_object_get(report, "store");

	if (!json_is_false(json_object_get(report, "durable"))) {
		js_null(t, "not_durable");
		return;
	}
	js_open(t, "not_durable", '{');
	js_str(t, "why", jget_str(store, "problem"));
	js_i64(t, "since_unix_ms", gather_unix_ms(st, jget_u64(store, "since_mono_ms")));
	js_i64(t, "seconds", gather_age_s(st, jget_u64(store, "since_mono_ms")));
	js_close(t, '}');
}

/* Which settings are in use, and how the last reload ended. */
static void config(const struct state *st, struct text *t)
{
	const struct procs_reload *r = &st->procs.reload;

	js_open(t, "config", '{');
	js_u64(t, "generation", st->procs.config_generation);
	js_u64(t, "since_unix_ms", st->procs.config_unix_ms);
	js_u64(t, "reloads_done", r->done);
	js_u64(t, "reloads_refused", r->refused);
	if (r->at_unix_ms == 0) {
		js_null(t, "last_reload");
	} else {
		js_open(t, "last_reload", '{');
		js_u64(t, "at_unix_ms", r->at_unix_ms);
		js_bool(t, "ok", r->ok != 0);
		js_slice(t, "reason", slice_of(r->reason, strnlen(r->reason, sizeof r->reason)));
		js_close(t, '}');
	}
	js_close(t, '}');
}

/* Dates as the wall clock, which may have been set since, says them now. */
static void fresh_dates(const struct state *st, const json_t *report)
{
	json_t *o;
	size_t i;

	json_array_foreach(jget_array(report, "sources"), i, o)
		if (json_is_object(o))
			json_object_set_new(o, "since_unix_ms", json_integer(gather_unix_ms(
					    st, jget_u64(o, "since_mono_ms"))));
	o = json_object_get(report, "store");
	if (jget_u64(o, "since_mono_ms"))
		json_object_set_new(o, "since_unix_ms",
				    json_integer(gather_unix_ms(st, jget_u64(o, "since_mono_ms"))));
}

void show_status(struct state *st, const struct call *c, struct answer *ret)
{
	const json_t *report = report_brief(&st->report);
	const json_t *sources = jget_array(report, "sources");
	struct text why = text_of(2048), *t;
	bool ready = gather_ready(st, &why);
	uint64_t dropped = 0;

	(void)c;
	fresh_dates(st, report);
	*ret = show_ok();
	t = &ret->body;
	js_bool(t, "ready", ready);
	if (!ready)
		js_slice(t, "why", text_slice(&why));
	text_fini(&why);
	js_str(t, "node", st->knobs->node);
	js_str(t, "cluster", st->knobs->cluster);
	js_str(t, "version", PACKAGE_VERSION);
	js_u64(t, "started_unix_ms", st->started_unix_ms);
	uptime(st, "uptime_seconds", st->procs.started_mono_ms, t);
	js_str(t, "log_level", log_level_name(st->log_level));
	/* The state's; a report may be a little older than the view that was made from it. */
	js_u64(t, "rev", max_of(jget_u64(report, "rev"), st->procs.rev));
	js_u64(t, "view_rev", st->procs.rev);
	js_u64(t, "failed_rev", st->procs.failed_rev);
	if (json_is_boolean(json_object_get(report, "durable")))
		js_bool(t, "durable", jget_bool(report, "durable"));
	else
		js_null(t, "durable");
	not_durable(st, report, t);
	js_u64(t, "services", st->view ? view_service_count(st->view) : 0);
	js_u64(t, "connections", gather_workers(st, WC_conns_gauge));
	for (unsigned i = 0; i < st->workers; i++)
		dropped += st->losses[i].ring + st->losses[i].sink;
	js_u64(t, "log_dropped", dropped);
	js_bool(t, "shutting_down", st->procs.shutting_down != 0);
	js_open(t, "upgrade", '{');
	js_bool(t, "running", st->procs.upgrading != 0);
	js_u64(t, "old_masters", st->procs.old_masters);
	js_u64(t, "old_workers", st->procs.old_workers);
	js_close(t, '}');
	js_bool(t, "accounts_missing", st->procs.accounts_missing != 0);
	js_u64(t, "master_starts", st->procs.master_starts);
	js_u64(t, "stalls", st->procs.stalls);
	js_u64(t, "bad_messages", st->procs.bad_messages);
	config(st, t);
	workers(st, false, t);
	processes(st, t);
	js_u64(t, "refused", json_array_size(jget_array(report, "refused")));
	if (sources) {
		js_node(t, "sources", sources);
	} else {
		/* The sync process is away or new: say which source there should be. */
		js_open(t, "sources", '[');
		js_open(t, NULL, '{');
		js_str(t, "kind", st->knobs->source_kind == SOURCE_FILE ? "file" : "etcd");
		js_str(t, "path", st->knobs->source_kind == SOURCE_FILE ? st->knobs->source_path
									: st->knobs->source_prefix);
		js_str(t, "state", "unknown");
		js_u64(t, "refused", 0);
		js_close(t, '}');
		js_close(t, ']');
	}
	show_end(ret);
}

void show_sources(struct state *st, const struct call *c, struct answer *ret)
{
	const json_t *report = report_brief(&st->report);
	const char *key;
	json_t *v;

	(void)c;
	if (!report) {
		answer_error(ret, 503, "the sync process has not reported yet",
			     st->report.broken ? st->report.problem : NULL,
			     "look at its state in `nodeproxyctl status`; ask again in a second");
		return;
	}
	fresh_dates(st, report);
	*ret = show_ok();
	json_object_foreach((json_t *)(uintptr_t)report, key, v)
		js_node(&ret->body, key, v);
	show_end(ret);
}

void show_version(struct state *st, const struct call *c, struct answer *ret)
{
	(void)c;
	*ret = show_ok();
	js_str(&ret->body, "version", PACKAGE_VERSION);
	js_str(&ret->body, "api", "v1");
	js_str(&ret->body, "kernel", st->kernel);
	show_end(ret);
}
