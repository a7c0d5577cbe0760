/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See offline.h. */
#include "admin/cli/offline.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/finding.h"

#define DEFAULT_FILE "/etc/nodeproxy/nodeproxy.yaml"

struct offline {
	struct facts facts;
	const char *problem, *file;
	char refusal[512];	/* of the bootstrap file; "": fine, or nobody could be asked */
};

/* Beside this program (also in a build tree), where it is installed, or in PATH. */
static void be_nodeproxy(const char *file)
{
	static const char *const beside[] = { "../sbin/nodeproxy", "../nodeproxy/nodeproxy" };
	char exe[PATH_MAX], path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	if (n > 0) {
		exe[n] = 0;
		*strrchr(exe, '/') = 0;
		for (size_t i = 0; i < countof(beside); i++) {
			snprintf(path, sizeof path, "%s/%s", exe, beside[i]);
			execl(path, "nodeproxy", "-t", "-c", file, (char *)NULL);
		}
	}
	execlp("nodeproxy", "nodeproxy", "-t", "-c", file, (char *)NULL);
	_exit(127);
}

/* Runs nodeproxy -t and keeps the first line of what it complains about. */
static void ask_nodeproxy(struct offline *o)
{
	int p[2], status = 0, null;
	size_t at = 0;
	ssize_t n;
	pid_t pid;

	if (access(o->file, F_OK) < 0) {
		snprintf(o->refusal, sizeof o->refusal, "%s: there is no such file", o->file);
		return;
	}
	if (pipe(p) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		null = open("/dev/null", O_RDWR);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(p[1], STDERR_FILENO);
		be_nodeproxy(o->file);
	}
	close(p[1]);
	while (at + 1 < sizeof o->refusal &&
	       (n = read(p[0], o->refusal + at, sizeof o->refusal - 1 - at)) > 0)
		at += (size_t)n;
	o->refusal[at] = 0;
	o->refusal[strcspn(o->refusal, "\n")] = 0;
	close(p[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 127)
		o->refusal[0] = 0;
}

static void check(struct findings *f, void *arg)
{
	struct offline *o = arg;

	found(f, CHECK_no_daemon, NULL, "%s", o->problem);
	if (o->refusal[0])
		found(f, CHECK_settings, o->file, "%s", o->refusal);
	check_host(f, &o->facts, 0);
}

void offline_check(const char *problem, struct text *ret)
{
	const char *file = getenv("NODEPROXY_CONFIG");
	struct offline o = { .problem = problem, .file = file ? file : DEFAULT_FILE };

	facts_gather(&o.facts);
	o.facts.caps_missing = 0;	/* ours are nobody's measure */
	ask_nodeproxy(&o);
	js_open(ret, NULL, '{');
	findings_all(ret, check, &o);
	js_close(ret, '}');
}

static void compare(struct findings *f, void *arg)
{
	found(f, CHECK_ctl_differs, NULL, "nodeproxyctl is %s, the daemon %.60s", PACKAGE_VERSION,
	      (const char *)arg);
}

void offline_compare(json_t *answer)
{
	const char *version = json_string_value(json_object_get(answer, "version"));
	struct text t = text_of(4096);
	json_t *more;

	if (!version || strcmp(version, PACKAGE_VERSION) == 0)
		return;
	js_open(&t, NULL, '{');
	findings_all(&t, compare, (void *)(uintptr_t)version);
	js_close(&t, '}');
	more = json_loadb(t.p ? t.p : "", t.n, 0, NULL);
	text_fini(&t);
	if (more)
		json_array_extend(json_object_get(answer, "findings"), json_object_get(more, "findings"));
	json_decref(more);
}
