/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See finding.h. */
#include "admin/finding.h"

#include <stdarg.h>
#include <stdio.h>

#define BACKLOG	   4096		/* what listeners.c asks for */
#define PORTS_FEW  10000	/* connections to one endpoint address and port */
#define NOFILE_FEW 16384
#define NOFILE_UNIT 1048576	/* what our unit asks for */

static const char *const severity_name[] = { "error", "warning", "info" };

static const struct {
	const char *name;
	enum severity severity;
	const char *todo;
} rows[CHECKS] = {
#define CHECK(name, severity, title, todo) [CHECK_##name] = { #name, severity, todo },
#include "admin/checks.def"
#undef CHECK
};

void found(struct findings *f, enum check c, const char *where, const char *fmt, ...)
{
	char what[700];
	va_list ap;

	if (rows[c].severity != f->pass)
		return;
	f->n[f->pass]++;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	js_open(f->t, NULL, '{');
	js_str(f->t, "severity", severity_name[f->pass]);
	js_str(f->t, "check", rows[c].name);
	js_str(f->t, "what", what);
	if (where)
		js_str(f->t, "where", where);
	js_str(f->t, "do", rows[c].todo);
	js_close(f->t, '}');
}

void findings_all(struct text *t, void (*fn)(struct findings *, void *arg), void *arg)
{
	struct findings f = { .t = t };

	js_open(t, "findings", '[');
	for (f.pass = ERROR; f.pass < SEVERITIES; f.pass++)
		fn(&f, arg);
	js_close(t, ']');
	js_bool(t, "ok", f.n[ERROR] == 0);
	js_u64(t, "errors", f.n[ERROR]);
	js_u64(t, "warnings", f.n[WARNING]);
	js_str(t, "version", PACKAGE_VERSION);
}

static void check_kernel(struct findings *f, const struct facts *h)
{
	if (!h->pidfd)
		found(f, CHECK_pidfd, h->kernel, "kernel %s has no pidfd_open()", h->kernel);
	if (!h->memfd_seals)
		found(f, CHECK_memfd, h->kernel, "kernel %s has no memory files that can be sealed",
		      h->kernel);
	if (!h->seccomp)
		found(f, CHECK_seccomp, h->kernel, "kernel %s has no system call filters", h->kernel);
	if (!h->close_range)
		found(f, CHECK_close_range, h->kernel, "kernel %s has no close_range()", h->kernel);
	if (!h->reuseport)
		found(f, CHECK_reuseport, h->kernel, "kernel %s has no SO_REUSEPORT", h->kernel);
	if (h->landlock == 0)
		found(f, CHECK_landlock, h->kernel, "the kernel offers no Landlock: processes are "
		      "confined by uid and system call filter only");
	if (h->clock == CLOCK_UNSYNCED)
		found(f, CHECK_clock, NULL, "the clock of this host is not synchronised");
}

static void check_sysctls(struct findings *f, const struct facts *h)
{
	if (h->somaxconn >= 0 && h->somaxconn < BACKLOG)
		found(f, CHECK_somaxconn, "net.core.somaxconn",
		      "at most %d callers can wait for a listener (net.core.somaxconn); the "
		      "listeners ask for %d", h->somaxconn, BACKLOG);
	if (h->port_low >= 0 && h->port_high >= 0 && h->port_high - h->port_low + 1 < PORTS_FEW)
		found(f, CHECK_ports, "net.ipv4.ip_local_port_range",
		      "%d local ports: no more connections than that to one endpoint",
		      max_of(h->port_high - h->port_low + 1, 0));
	if (h->tcp_tw_reuse == 0)
		found(f, CHECK_tw_reuse, "net.ipv4.tcp_tw_reuse",
		      "ports of finished connections to endpoints are not used again for a minute");
	if (h->tcp_syncookies == 0)
		found(f, CHECK_syncookies, "net.ipv4.tcp_syncookies",
		      "SYN cookies are off: a flood of SYNs keeps callers out");
	if (h->file_max > 0 && h->files_used > h->file_max / 5 * 4)
		found(f, CHECK_files_host, "fs.file-max", "%lld of %lld files of this host are open",
		      (long long)h->files_used, (long long)h->file_max);
	if (h->nr_open > 0 && h->nr_open < NOFILE_UNIT)
		found(f, CHECK_nr_open, "fs.nr_open",
		      "fs.nr_open is %lld: the unit asks for %d descriptors per process",
		      (long long)h->nr_open, NOFILE_UNIT);
	if (h->nofile_hard >= 0 && h->nofile_hard < NOFILE_FEW)
		found(f, CHECK_fds_limit, NULL, "at most %lld descriptors per process",
		      (long long)h->nofile_hard);
}

static void check_setup(struct findings *f, const struct facts *h, int64_t max_conns)
{
	char names[256];

	if (h->caps_missing) {
		facts_caps_text(h->caps_missing, names, sizeof names);
		found(f, CHECK_capabilities, NULL, "the master lacks %s", names);
	}
	/* a caller, and for most an endpoint; as many again for what is neither */
	if (max_conns > 0 && h->nofile_hard >= 0 && 2 * max_conns + 512 > h->nofile_hard)
		found(f, CHECK_fds_settings, "limits.connections",
		      "limits.connections is %lld, which needs %lld descriptors: a worker may have %lld",
		      (long long)max_conns, (long long)(2 * max_conns + 512),
		      (long long)h->nofile_hard);
	if (h->watchdog == 0)
		found(f, CHECK_watchdog, NULL, "the service manager would not notice that nodeproxy hangs");
	if (h->programs_differ == 1)
		found(f, CHECK_programs_differ, NULL, "the programs on disk are not those that run");
	if (h->cpus_away > 0)
		found(f, CHECK_cpus_away, "workers", "%d of the chosen CPUs are offline or not ours any more",
		      h->cpus_away);
	if (h->lent > 0)
		found(f, CHECK_lent, NULL, "%d groups of listeners are served by a sibling of their worker",
		      h->lent);
	if (h->admin_away == 1)
		found(f, CHECK_admin_away, NULL, "another socket, or none, stands where our admin socket was");
	if (h->state_bytes > 0 && (h->state_free_bytes < h->state_bytes / 20 ||
				   h->state_free_bytes < 64 << 20 || h->state_free_inodes == 0))
		found(f, CHECK_state_full, NULL, "%lld MiB of %lld MiB and %lld inodes are left for state_dir",
		      (long long)h->state_free_bytes >> 20, (long long)h->state_bytes >> 20,
		      (long long)h->state_free_inodes);
}

void check_host(struct findings *f, const struct facts *h, int64_t max_conns)
{
	if (h->at_unix_ms == 0)
		return;		/* nobody has looked yet */
	check_kernel(f, h);
	check_sysctls(f, h);
	check_setup(f, h, max_conns);
}
