/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* check: what is wrong with this host, worst first, and what to do about each (checks.def). */
#include "admin/finding.h"
#include "admin/show.h"
#include "nodeproxy/lib/net/proof.h"
#include "workers/obs/grade.h"

#include <stdio.h>
#include <sys/wait.h>

#define ENDPOINTS_LATE_S 3	/* etcd needs milliseconds */

static void check_ready(const struct state *st, struct findings *f)
{
	struct text why = text_of(2048);

	if (!gather_ready(st, &why))
		found(f, CHECK_not_ready, NULL,
		      "not ready: %s", why.p ? why.p : "");
	text_fini(&why);
}

static void check_processes(const struct state *st, struct findings *f)
{
	char where[64];

	for (uint32_t i = 0; st->has_procs && i < st->procs.count; i++) {
		const struct proc *p = &st->procs.proc[i];
		int64_t age = gather_age_s(st, p->started_mono_ms);

		if (p->state == PROC_NONE || p->role >= ROLES)
			continue;
		snprintf(where, sizeof where, "%s %u", role_name((enum role)p->role), p->id);
		if (proc_loops(p))
			found(f, CHECK_crash_loop, where,
			      "%s is in a crash loop: it died %u times in a row, each time soon after its "
			      "start, and is started again later and later", where, p->fails);
		else if (p->state == PROC_STALLED)
			found(f, CHECK_stalled, where,
			      "%s hangs; its listeners are served by a sibling", where);
		else if (p->state == PROC_WAITING)
			found(f, CHECK_waiting, where,
			      "%s died and waits to be started again (%u restarts)", where,
			      p->restarts);
		else if (p->restarts && age < 3600)
			found(f, CHECK_died, where,
			      "%s died (%s %d) and was started again %lld s ago; restarts: %u", where,
			      WIFSIGNALED(p->last_status) ? "signal" : "exit",
			      WIFSIGNALED(p->last_status) ? WTERMSIG(p->last_status)
							  : WEXITSTATUS(p->last_status),
			      (long long)age, p->restarts);
		if (p->panics)
			found(f, CHECK_panicked, where,
			      "%s panicked; panics: %u", where, p->panics);
		if (p->role == ROLE_WORKER && p->state == PROC_READY && p->rev < st->procs.rev)
			found(f, CHECK_view_behind, where,
			      "%s serves rev %llu, the newest is %llu", where,
			      (unsigned long long)p->rev, (unsigned long long)st->procs.rev);
		if (p->role == ROLE_WORKER && p->refused_rev > p->rev)
			found(f, CHECK_view_refused, where,
			      "%s refused view rev %llu", where, (unsigned long long)p->refused_rev);
	}
	if (st->has_procs && st->procs.failed_rev > st->procs.rev)
		found(f, CHECK_view_failed, NULL,
		      "all workers refused rev %llu; they serve an older one",
		      (unsigned long long)st->procs.failed_rev);
	if (st->has_procs && st->procs.master_starts > 1)
		found(f, CHECK_master_died, NULL,
		      "the master was started %llu times",
		      (unsigned long long)st->procs.master_starts);
	if (st->has_procs && st->procs.stalls)
		found(f, CHECK_stalls, NULL,
		      "workers stood still for a second and more; times: %llu",
		      (unsigned long long)st->procs.stalls);
	if (st->has_procs && st->procs.bad_messages)
		found(f, CHECK_bad_messages, NULL,
		      "%llu messages between our processes broke the rules",
		      (unsigned long long)st->procs.bad_messages);
	if (st->has_procs && st->procs.accounts_missing)
		found(f, CHECK_accounts, NULL,
		      "the accounts of our processes do not exist: fixed unused uids are used");
}

static void check_sources(struct state *st, struct findings *f)
{
	const json_t *report = report_brief(&st->report), *o;
	size_t i;

	if (!report) {
		found(f, CHECK_no_report, NULL,
		      "the sync process has not reported: resources do not change%s%s",
		      st->report.broken ? "; " : "", st->report.problem);
		return;
	}
	if (st->report.broken)
		found(f, CHECK_report_broken, NULL, "the newest report of the sync process is unreadable: %s",
		      st->report.problem);
	json_array_foreach(jget_array(report, "sources"), i, o)
		if (strcmp(jget_str(o, "state"), "synced") != 0)
			found(f, CHECK_source_away, jget_str(o, "path"),
			      "source %.40s is %.40s: %.200s %.200s", jget_str(o, "kind"),
			      jget_str(o, "state"), jget_str(o, "path"), jget_str(o, "problem"));
	json_array_foreach(jget_array(report, "sources"), i, o)
		if (strcmp(jget_str(o, "state"), "synced") == 0 && jget_u64(o, "documents") == 0)
			found(f, CHECK_source_empty, jget_str(o, "path"),
			      "source %.40s has no documents: %.200s", jget_str(o, "kind"),
			      jget_str(o, "path"));
	json_array_foreach(jget_array(report, "sources"), i, o) {
		const json_t *d = json_object_get(o, "on_demand");
		int64_t s = jget_u64(d, "oldest_mono_ms") ? gather_age_s(st, jget_u64(d, "oldest_mono_ms")) : 0;

		if (s >= ENDPOINTS_LATE_S)
			found(f, CHECK_endpoints_late, NULL,
			      "endpoints of %llu Services that are asked for have not come, those of %.200s for %lld s",
			      (unsigned long long)jget_u64(d, "services_fetched"), jget_str(d, "oldest"), (long long)s);
	}
	json_array_foreach(jget_array(report, "refused"), i, o) {
		char where[300];

		snprintf(where, sizeof where, "%.200s:%llu", jget_str(o, "source"),
			 (unsigned long long)jget_u64(o, "line"));
		found(f, CHECK_refused, where,
		      "refused: %.200s: %.60s: %.300s%s", where, jget_str(o, "field"),
		      jget_str(o, "reason"),
		      jget_bool(o, "serving_last_good") ? " (the last good version is served)" : "");
	}
	if (json_is_false(json_object_get(report, "durable")))
		found(f, CHECK_not_durable, st->knobs->state_dir,
		      "not durable for %lld s: the store cannot be written; a restart without the "
		      "source would serve an older state (%.200s)",
		      (long long)gather_age_s(st, jget_u64(json_object_get(report, "store"),
							   "since_mono_ms")),
		      jget_str(json_object_get(report, "store"), "problem"));
	if (jget_str(json_object_get(report, "store"), "moved_aside")[0])
		found(f, CHECK_store_aside, st->knobs->state_dir,
		      "the store was damaged and was moved aside as %.60s, then written anew (%.200s)",
		      jget_str(json_object_get(report, "store"), "moved_aside"),
		      jget_str(json_object_get(report, "store"), "moved_aside_why"));
	if (jget_u64(json_object_get(report, "slots"), "exhausted"))
		found(f, CHECK_slots, NULL,
		      "%llu tenants, Services or endpoints have no counters of their own",
		      (unsigned long long)jget_u64(json_object_get(report, "slots"), "exhausted"));
}

static uint32_t endpoints_out(const struct state *st, const struct vport *p)
{
	struct endpoint_sums n;
	struct vendpoint e;
	uint32_t out = 0;

	for (uint32_t i = 0; i < p->endpoints && vport_endpoint(p, i, &e); i++) {
		if (!e.ready || slot_is_shared(e.slot, BOARD_ENDPOINTS))
			continue;
		gather_endpoint(st, p, &e, &n);
		out += n.out_ms > 0;
	}
	return out;
}

static void check_services(const struct state *st, struct findings *f)
{
	struct vservice s;
	unsigned empty = 0, failing = 0;

	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++) {
		struct vport p;

		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			struct slice ns = vservice_ns(&s), name = vservice_name(&s);
			uint32_t out = endpoints_out(st, &p);

			if (out && failing++ < 10)
				found(f, CHECK_endpoints_out, NULL,
				      "Service %.*s/%.*s:%u: %u of %u ready endpoints failed in a row "
				      "and are passed over", (int)min_of(ns.n, (size_t)64),
				      (const char *)ns.p, (int)min_of(name.n, (size_t)200),
				      (const char *)name.p, p.port, out, vport_ready(&p));
			/* Routes lead elsewhere: the Service's own endpoints do not matter. */
			if (vport_ready(&p) || vport_rules(&p) || vservice_lacks_endpoints(&s) || empty++ >= 10)
				continue;
			found(f, CHECK_no_endpoint, NULL,
			      "Service %.*s/%.*s:%u has no ready endpoint",
			      (int)min_of(ns.n, (size_t)64), (const char *)ns.p,
			      (int)min_of(name.n, (size_t)200), (const char *)name.p, p.port);
		}
	}
	if (empty > 10)
		found(f, CHECK_no_endpoint, NULL,
		      "%u more ports of Services have no ready endpoint", empty - 10);
	if (failing > 10)
		found(f, CHECK_endpoints_out, NULL,
		      "%u more ports of Services have endpoints that failed in a row", failing - 10);
	for (uint32_t i = 0; st->view && i < st->knobs->n_listeners && i < KNOBS_LISTENERS; i++) {
		const struct knobs_listener *l = &st->knobs->listener[i];
		struct vport p;

		if (l->route != LISTEN_SERVICE)
			continue;
		if (!view_service_by_name(st->view, slice_str(l->service_ns),
					  slice_str(l->service_name), &s))
			found(f, CHECK_listener_service, l->name,
			      "listener %s leads to Service %s/%s, which does not exist", l->name,
			      l->service_ns, l->service_name);
		else if (!vservice_port(&s, (uint16_t)l->service_port, &p))
			found(f, CHECK_listener_port, l->name,
			      "listener %s leads to port %u of Service %s/%s, which has none such",
			      l->name, l->service_port, l->service_ns, l->service_name);
	}
}

struct tenants_arg {
	const struct state *st;
	struct findings *f;
};

static void check_tenant(void *arg, const struct vnamespace *ten)
{
	struct tenants_arg *a = arg;
	struct tenant_sums n;
	unsigned grade;
	char name[80];

	gather_tenant(a->st, ten->tenant_slot, &n);
	grade = (unsigned)min_of(n.c[TC_memory_grade_gauge], (uint64_t)GRADES);
	if (grade == GRADE_calm)
		return;
	snprintf(name, sizeof name, "%.*s", (int)min_of(ten->tenant.n, (size_t)64),
		 ten->tenant.n ? (const char *)ten->tenant.p : "");
	found(a->f, CHECK_tenant_memory, name[0] ? name : "(others)",
	      "tenant %s is short of memory (%s): %s", name[0] ? name : "(others)", grade_name(grade),
	      grade_words(grade));
}

static void check_tenants(const struct state *st, struct findings *f)
{
	struct tenants_arg a = { .st = st, .f = f };

	if (st->view)
		gather_tenants(st, check_tenant, &a);
}

static void check_names(const struct state *st, const struct pod_told *p, struct findings *f)
{
	struct addr a[RESOLVCONF_MOST];
	char where[132];

	if (p->leaves || p->waits || p->words.uid)
		return;
	snprintf(where, sizeof where, "%s/%s", p->words.ns, p->words.name);
	if (state_resolvers(st, p, a) == 0)
		found(f, CHECK_names_unasked, where, "pod %s has no resolver: %s has none whose address means the "
		      "same inside a pod", where, st->knobs->names_resolv_conf);
	else if (state_names_are_silent(st, p))
		found(f, CHECK_names_silent, where, "none of the resolvers of pod %s answered when they were asked "
		      "last", where);
}

static void check_pods(const struct state *st, struct findings *f)
{
	const struct pods_page *page = state_pods_page(st);
	const struct proofs_page *proofs = state_proofs_page(st);
	char where[132];

	for (uint32_t i = 0; page && i < page->n; i++) {
		const struct pod_told *p = &page->pod[i];
		const struct pod_proof *proof = proof_of(proofs, p->ref);

		check_names(st, p, f);
		if (p->leaves || !proof || proof->state != PROOF_FAILED)
			continue;
		snprintf(where, sizeof where, "%s/%s", p->words.ns, p->words.name);
		found(f, CHECK_pod_not_captured, where,
		      "a connection from inside pod %s to %s went past nodeproxy, or nowhere, since %lld s",
		      where, PROOF_TEXT,
		      (long long)max_of(st->now_unix_ms - (int64_t)proof->failed_unix_ms, 0ll) / 1000);
	}
}

static void check_settings(const struct state *st, struct findings *f)
{
	const struct procs_reload *r = &st->procs.reload;

	if (st->has_procs && r->at_unix_ms && !r->ok)
		found(f, CHECK_reload, NULL,
		      "the last reload was refused, the settings before it are in use: %.*s",
		      (int)strnlen(r->reason, sizeof r->reason), r->reason);
}

static void check_limits(const struct state *st, struct findings *f)
{
	for (unsigned id = 0; id < st->workers; id++) {
		uint64_t conns = gather_worker(st, id, WC_conns_gauge);
		uint64_t fds = gather_worker(st, id, WC_fds_gauge);
		uint64_t fds_limit = gather_worker(st, id, WC_fds_limit_gauge);
		const struct log_losses *l = &st->losses[id];
		unsigned grade = (unsigned)min_of(gather_worker(st, id, WC_memory_grade_gauge),
						  (uint64_t)GRADES);
		uint64_t shed = gather_worker(st, id, WC_shed_tenants_gauge);
		uint64_t unknown = gather_worker(st, id, WC_unknown_syscalls);
		uint64_t bugs = gather_worker(st, id, WC_bugs);

		if (fds_limit && fds + 256 > fds_limit)
			found(f, CHECK_fds_out, NULL,
			      "worker %u refuses callers: it uses %llu of %llu descriptors", id,
			      (unsigned long long)fds, (unsigned long long)fds_limit);
		else if (fds_limit && fds > fds_limit / 5 * 4)
			found(f, CHECK_fds_many, NULL,
			      "worker %u uses %llu of %llu descriptors", id,
			      (unsigned long long)fds, (unsigned long long)fds_limit);
		if (conns > (uint64_t)st->knobs->max_conns / 5 * 4)
			found(f, CHECK_conns_many, NULL,
			      "worker %u has %llu connections of limits.connections %lld", id,
			      (unsigned long long)conns, (long long)st->knobs->max_conns);
		if (grade > GRADE_calm)
			found(f, grade >= GRADE_slow ? CHECK_memory_out : CHECK_memory_short, NULL,
			      "worker %u is short of memory (%s): %s", id, grade_name(grade),
			      grade_words(grade));
		if (shed)
			found(f, CHECK_overload, NULL,
			      "worker %u is overloaded and refuses requests of tenants over their share; such tenants: %llu",
			      id, (unsigned long long)shed);
		if (l->ring)
			found(f, CHECK_log_ring, NULL,
			      "worker %u dropped %llu log records: its ring was full", id,
			      (unsigned long long)l->ring);
		if (l->sink)
			found(f, CHECK_log_sink, st->knobs->access_log_path,
			      "%llu log records of worker %u could not be written", 
			      (unsigned long long)l->sink, id);
		if (l->nonsense)
			found(f, CHECK_log_nonsense, NULL,
			      "the log ring of worker %u was overwritten %llu times", id,
			      (unsigned long long)l->nonsense);
		if (bugs)
			found(f, CHECK_bugs, NULL,
			      "worker %u ended %llu connections by a bug of ours", id,
			      (unsigned long long)bugs);
		if (unknown)
			found(f, CHECK_syscalls, NULL,
			      "worker %u was refused %llu system calls by its filter", id,
			      (unsigned long long)unknown);
	}
	if (st->log_error)
		found(f, CHECK_log_error, st->knobs->access_log_path,
		      "the access log cannot be written: %s", strerror(st->log_error));
}

static void check_all(struct findings *f, void *arg)
{
	struct state *st = arg;

	check_ready(st, f);
	check_processes(st, f);
	check_sources(st, f);
	check_services(st, f);
	check_pods(st, f);
	check_settings(st, f);
	check_limits(st, f);
	show_check_certs(st, f);
	check_tenants(st, f);
	if (st->has_procs)
		check_host(f, &st->procs.facts, st->knobs->max_conns);
}

void show_check(struct state *st, const struct call *c, struct answer *ret)
{
	(void)c;
	*ret = show_ok();
	findings_all(&ret->body, check_all, st);
	show_end(ret);
}
