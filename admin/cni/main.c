/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-cni: a chained CNI plugin that has pods captured as they are made, and set free as they
 * go, by the admin socket.
 *
 * It changes nothing in the pod itself and keeps nothing: what it knows is what the runtime tells it
 * (input.h), what is true the daemon knows.  The answer of ADD is the one of the plugin before it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/cli/call.h"
#include "admin/cni/input.h"
#include "admin/command.h"

static int say(const json_t *o)
{
	int r = json_dumpf(o, stdout, JSON_COMPACT);

	return r < 0 || putchar('\n') == EOF || fflush(stdout) != 0 ? 1 : 0;
}

static int say_error(const char *version, const struct cni_error *e)
{
	json_t *o = json_pack("{s:s, s:i, s:s}", "cniVersion", version, "code", (int)e->code, "msg", e->msg);

	if (o && e->details[0])		/* what is not UTF-8 is left out */
		(void)json_object_set_new(o, "details", json_string(e->details));
	if (o)
		(void)say(o);
	json_decref(o);
	fprintf(stderr, "nodeproxy-cni: %s%s%s\n", e->msg, e->details[0] ? ": " : "", e->details);
	return 1;
}

/* ---- the daemon ---- */

static void add_arg(struct text *t, const char *name, const char *value)
{
	if (!value[0])
		return;
	text_printf(t, "%c%s=", t->p && memchr(t->p, '?', t->n) ? '&' : '?', name);
	call_escape(t, value);
}

static int refused(const struct response *r, struct cni_error *e)
{
	json_t *o = json_loadb(r->body.p ? r->body.p : "", r->body.n, 0, NULL);
	const char *why = json_string_value(json_object_get(o, "error"));
	const char *advice = json_string_value(json_object_get(o, "do"));
	/* It is upgraded just now, or somebody else adds the same pod; or its master has died. */
	bool later = r->status == 409 || r->status == 503 || r->status == 504;

	cni_fail(e, later ? CNI_TRY_LATER : CNI_REFUSED, why ? why : "what listens there is not nodeproxy",
		 advice);
	json_decref(o);
	return -1;
}

/* 0 and the answer; -ENOENT: it knows no such pod; -1; -EAGAIN: it cannot be reached. */
static int ask(const struct cni_input *in, enum cmd cmd, const struct text *target, struct response *r,
	       struct cni_error *e)
{
	char problem[512];

	if (target->cut)
		return cni_fail(e, CNI_IO, "no memory", NULL);
	if (call_daemon(in->socket, cmd_row(cmd)->method == CMD_POST ? "POST" : "GET", target->p, in->seconds,
			r, problem) < 0) {
		*strchrnul(problem, '\n') = 0;
		cni_fail(e, CNI_TRY_LATER, "nodeproxy cannot be reached", problem);
		return -EAGAIN;
	}
	if (r->status == 200)
		return 0;
	(void)refused(r, e);
	return r->status == 404 ? -ENOENT : -1;
}

static struct text target_of(const struct cni_input *in, enum cmd cmd)
{
	struct text t = text_of(8192);

	text_adds(&t, cmd_row(cmd)->path);
	if (cmd != CMD_pods)
		add_arg(&t, "name", in->name);
	add_arg(&t, "namespace", in->ns);
	if (cmd != CMD_pods)
		add_arg(&t, "netns", in->netns);
	if (cmd == CMD_pod_add) {
		add_arg(&t, "service_account", in->account);
		add_arg(&t, "label", in->labels);
	}
	return t;
}

static int order(const struct cni_input *in, enum cmd cmd, struct cni_error *e)
{
	struct text target = target_of(in, cmd);
	struct response answer = { .status = 0 };
	int r = ask(in, cmd, &target, &answer, e);

	text_fini(&target);
	text_fini(&answer.body);
	return r;
}

/* ---- commands ---- */

static void note(const struct cni_input *in, const char *what, const struct cni_error *e)
{
	fprintf(stderr, "nodeproxy-cni: pod %s/%s %s: %s\n", in->ns, in->name, what, e->details);
}

static int add(const struct cni_input *in, struct cni_error *e)
{
	int r = order(in, CMD_pod_add, e);
	json_t *result;

	if (r == -EAGAIN && in->open)
		note(in, "is not captured", e);
	else if (r < 0)
		return -1;
	result = json_copy((json_t *)(uintptr_t)in->result);
	if (!result || json_object_set_new(result, "cniVersion", json_string(in->version)) < 0 ||
	    say(result) != 0)
		r = cni_fail(e, CNI_IO, "the result cannot be written", NULL);
	else
		r = 0;
	json_decref(result);
	return r;
}

/* Whoever is gone is free.  A runtime says DEL again and again, and late, when another pod has the name:
 * so only with the namespace that is meant; and one that is gone the daemon finds out by itself, as it
 * does when it was away. */
static int del(const struct cni_input *in, struct cni_error *e)
{
	int r = in->netns[0] ? order(in, CMD_pod_remove, e) : 0;

	if (r == -EAGAIN)
		note(in, "is not removed", e);
	return r == -EAGAIN || r == -ENOENT ? 0 : r;
}

/* Whether a list of pods has it, captured in this namespace. */
static int look(const struct cni_input *in, const json_t *pods, struct cni_error *e)
{
	const json_t *pod;
	size_t i;

	json_array_foreach(pods, i, pod) {
		const char *name = json_string_value(json_object_get(pod, "name"));
		const char *netns = json_string_value(json_object_get(pod, "netns"));

		if (name && netns && strcmp(name, in->name) == 0 && strcmp(netns, in->netns) == 0)
			return 0;
	}
	return cni_fail(e, CNI_NOT_CAPTURED, "the pod is not captured",
			"nodeproxyctl pod add captures it, as does making it anew");
}

static int check(const struct cni_input *in, struct cni_error *e)
{
	struct text target = target_of(in, CMD_pods);
	struct response answer = { .status = 0 };
	json_t *o = NULL;
	int r = ask(in, CMD_pods, &target, &answer, e);

	if (r == 0) {
		o = json_loadb(answer.body.p ? answer.body.p : "", answer.body.n, 0, NULL);
		r = look(in, json_object_get(o, "pods"), e);
	}
	json_decref(o);
	text_fini(&target);
	text_fini(&answer.body);
	if (r == -EAGAIN && in->open) {
		note(in, "may not be captured", e);
		return 0;
	}
	return r;
}

static int say_versions(const struct cni_input *in, struct cni_error *e)
{
	json_t *o = json_pack("{s:s, s:[s, s, s]}", "cniVersion", in->version, "supportedVersions", "0.3.1",
			      "0.4.0", "1.0.0");
	int r = o ? say(o) : 1;

	json_decref(o);
	return r ? cni_fail(e, CNI_IO, "the versions cannot be written", NULL) : 0;
}

static int run(const struct cni_input *in, struct cni_error *e)
{
	switch (in->command) {
	case CNI_ADD:
		return add(in, e);
	case CNI_DEL:
		return del(in, e);
	case CNI_CHECK:
		return check(in, e);
	case CNI_SAY_VERSION:
	case CNI_COMMANDS:
		break;
	}
	return say_versions(in, e);
}

/* -1: it is too long, or cannot be read. */
static int read_all(struct text *t, struct cni_error *e)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(STDIN_FILENO, buf, sizeof buf)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cni_fail(e, CNI_IO, "the configuration cannot be read", strerror(errno));
		text_add(t, slice_of(buf, (size_t)n));
		if (t->cut)
			return cni_fail(e, CNI_BAD_CONFIG, "the configuration is longer than 1 MiB", NULL);
	}
	return 0;
}

static int usage(void)
{
	printf("nodeproxy-cni %s: a chained CNI plugin (ADD, DEL, CHECK, VERSION; 1.0.0, 0.4.0, 0.3.1)\n\n"
	       "It is run by a container runtime, with CNI_COMMAND in the environment and the configuration "
	       "on\nstandard input; see nodeproxy-cni(8).\n", PACKAGE_VERSION);
	return fflush(stdout) == 0 ? 0 : 1;
}

int main(void)
{
	struct cni_env env = { getenv("CNI_COMMAND"), getenv("CNI_NETNS"), getenv("CNI_ARGS") };
	struct text json = text_of(CNI_INPUT_BYTES);
	struct cni_input in = { .version = CNI_VERSION };
	struct cni_error e = { .code = CNI_IO };
	int r;

	if (!env.command)
		return usage();
	r = read_all(&json, &e);
	if (r == 0)
		r = cni_input_read(&env, text_slice(&json), &in, &e);
	if (r == 0)
		r = run(&in, &e);
	r = r < 0 ? say_error(in.version, &e) : 0;
	cni_input_fini(&in);
	text_fini(&json);
	return r;
}
