/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See dispatch.h. */
#include "admin/dispatch.h"

#include <errno.h>
#include <stdio.h>

#include "nodeproxy/lib/ipc/debug.h"

/* A row's `answers` is HERE or MASTER(order). */
#define ORDER_HERE	0
#define ORDER_MASTER(o) o
static const int order_of[CMDS] = {
#define CMD(name, words, method, path, permission, answers, list, help)                            \
	[CMD_##name] = ORDER_##answers,
#include "admin/commands.def"
};

#define SHOW_HERE(name) show_##name
#define SHOW_NONE(name) NULL
#define SHOW_MASTER(o)	SHOW_NONE
static show_fn *const show_of[CMDS] = {
#define CMD(name, words, method, path, permission, answers, list, help)                            \
	[CMD_##name] = SHOW_##answers (name),
#include "admin/commands.def"
};

static int arg_index(enum cmd c, const char *name)
{
	const struct arg_row *a;

	for (int i = 0; i < CMD_ARGS && (a = cmd_arg(c, (unsigned)i)); i++)
		if (a->option[0] && strcmp(a->name, name) == 0)
			return i;
	/* A positional one is in the path, unless the command takes no rest of it. */
	if (cmd_row(c)->path[strlen(cmd_row(c)->path) - 1] != '/')
		for (int i = 0; i < CMD_ARGS && (a = cmd_arg(c, (unsigned)i)); i++)
			if (strcmp(a->name, name) == 0)
				return i;
	return -1;
}

static bool arg_set(struct call *c, const char *name, const char *text, struct answer *error)
{
	int i = arg_index(c->cmd, name);
	size_t at = 0;

	if (i < 0 || arg_is_local(cmd_arg(c->cmd, (unsigned)i))) {
		answer_error(error, 400, "this command has no such argument", name,
			     "see nodeproxy-api(7)");
		return false;
	}
	if (cmd_arg(c->cmd, (unsigned)i)->kind == ARG_TEXTS)
		at = strlen(c->arg[i].text);
	snprintf(c->arg[i].text + at, sizeof c->arg[i].text - at, "%s%s", at ? "\n" : "", text);
	switch (cmd_arg(c->cmd, (unsigned)i)->kind) {
	case ARG_NUMBER:
		if (!slice_u64(slice_str(text), UINT32_MAX, &c->arg[i].number)) {
			answer_error(error, 400, "this argument is a whole number", name, NULL);
			return false;
		}
		break;
	case ARG_FLAG:
		c->arg[i].number = strcmp(text, "0") != 0 && strcmp(text, "false") != 0;
		break;
	case ARG_TEXT:
	case ARG_TEXTS:
	case ARG_LOCAL_TEXT:
	case ARG_LOCAL_NUMBER:
	case ARG_LOCAL_FLAG:
		break;
	}
	c->arg[i].given = true;
	return true;
}

static bool query_args(struct call *c, struct slice query, struct answer *error)
{
	while (query.n) {
		const uint8_t *amp = memchr(query.p, '&', query.n), *eq;
		struct slice pair = slice_of(query.p, amp ? (size_t)(amp - query.p) : query.n);
		char name[32], value[sizeof c->arg[0].text];
		struct slice v = { 0 };

		query = slice_from(query, pair.n + (amp ? 1 : 0));
		if (pair.n == 0)
			continue;
		eq = memchr(pair.p, '=', pair.n);
		if (eq) {
			v = slice_from(pair, (size_t)(eq - pair.p) + 1);
			pair.n = (size_t)(eq - pair.p);
		}
		if (wire_decode(pair, true, name, sizeof name) < 0 ||
		    wire_decode(v, true, value, sizeof value) < 0) {
			answer_error(error, 400, "the query string is not name=value&...", NULL, NULL);
			return false;
		}
		if (!arg_set(c, name, value, error))
			return false;
	}
	return true;
}

static bool body_args(struct call *c, struct slice body, struct answer *error)
{
	json_error_t e;
	json_t *o, *v;
	const char *name;
	bool ok = true;

	if (slice_trim(body).n == 0)
		return true;
	o = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, &e);
	if (!json_is_object(o)) {
		answer_error(error, 400, "the body is not a JSON object", o ? NULL : e.text, NULL);
		json_decref(o);
		return false;
	}
	json_object_foreach(o, name, v) {
		char number[32];

		snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
		if (!json_is_string(v) && !json_is_integer(v) && !json_is_boolean(v)) {
			answer_error(error, 400, "an argument is a string, a number or a boolean", name,
				     NULL);
			ok = false;
		} else {
			ok = arg_set(c, name,
				     json_is_string(v)	  ? json_string_value(v)
				     : json_is_integer(v) ? number
				     : json_is_true(v)	  ? "1"
							  : "0",
				     error);
		}
		if (!ok)
			break;
	}
	json_decref(o);
	return ok;
}

#ifdef NP_DEBUG_COMMANDS
static bool slot_of_tenant(const struct state *st, const char *name, uint32_t *ret)
{
	struct vnamespace ns;

	for (uint32_t i = 0; st->view && view_namespace_nth(st->view, i, &ns); i++)
		if (slice_eq(ns.tenant, slice_str(name))) {
			*ret = ns.tenant_slot.slot;
			return true;
		}
	return false;
}

static bool debug_order(const struct state *st, const struct call *c, struct msg_order *o,
			struct answer *error)
{
	const char *what = call_text(c, "what"), *process = call_text(c, "process"),
		   *tenant = call_text(c, "tenant");
	uint32_t which = debug_of(what ? what : "");
	const struct debug_row *row = debug_row(which);
	uint64_t n;

	if (!row) {
		answer_error(error, 400, "it cannot misbehave like that", what,
			     "see `nodeproxyctl debug --help` for what it can do");
		return false;
	}
	o->process = ROLE_WORKER;
	for (uint32_t r = ROLE_MASTER; process && r < ROLES; r++)
		if (strcmp(process, role_name((enum role)r)) == 0)
			o->process = r;
	if ((process && strcmp(process, role_name((enum role)o->process)) != 0) ||
	    !(row->roles & 1u << o->process)) {
		answer_error(error, 400, "that process does not exist, or cannot do that", process,
			     "the process is worker, syncd, admind, keyd or master");
		return false;
	}
	o->worker = call_number(c, "worker", &n) ? (uint32_t)n : 0;
	if (!call_number(c, "number", &n))
		n = (uint64_t)row->def;
	if (n > (uint64_t)row->most) {
		answer_error(error, 400, "the number is too large", call_text(c, "number"), NULL);
		return false;
	}
	if (which == DEBUG_SLOW_TENANT &&
	    !slot_of_tenant(st, tenant ? tenant : "", &o->slot)) {
		answer_error(error, 404, "there is no such tenant", tenant,
			     "name it with --tenant; list them with `nodeproxyctl get tenants`");
		return false;
	}
	o->number = (int64_t)(n << 8 | which);
	return true;
}
#endif

static bool take_word(const struct call *c, const char *arg, char *to, size_t room)
{
	const char *from = call_text(c, arg);

	if (!from)
		return true;
	return snprintf(to, room, "%s", from) < (int)room;
}

/* Lines of addresses; what is wrong, NULL: nothing. */
static const char *take_resolvers(const char *lines, struct pod_words *w)
{
	for (const char *at = lines, *end; at && *at; at = *end ? end + 1 : end) {
		struct addr a;

		end = strchrnul(at, '\n');
		if (addr_parse_ip(slice_of(at, (size_t)(end - at)), &a) < 0)
			return "a resolver is an address, without port";
		if (!resolver_is_far(&a))
			return "a resolver is at the address of one host, and not at 127.0.0.1 or ::1: inside the "
			       "pod that is the pod";
		if (w->n_resolvers == POD_RESOLVERS)
			return "a pod has at most 3 resolvers";
		w->resolver[w->n_resolvers].family = a.family;
		memcpy(w->resolver[w->n_resolvers++].ip, a.ip, sizeof a.ip);
	}
	return NULL;
}

/* Who the pod is and where; with only_name who, and where if that is said. */
static bool pod_order(const struct call *c, bool only_name, struct msg_order *o, struct answer *error)
{
	struct pod_words *w = &o->pod;
	const char *problem = "a name, path or label is too long";
	uint64_t pid, uid;
	bool fits = take_word(c, "name", w->name, sizeof w->name) &&
		    take_word(c, "namespace", w->ns, sizeof w->ns) &&
		    take_word(c, "netns", w->netns, sizeof w->netns);

	if (fits && !only_name) {
		snprintf(w->account, sizeof w->account, "default");
		fits = take_word(c, "service_account", w->account, sizeof w->account) &&
		       take_word(c, "label", w->labels, sizeof w->labels);
		if (call_number(c, "pid", &pid) && w->netns[0]) {
			answer_error(error, 400, "--netns and --pid say the same thing twice", NULL, NULL);
			return false;
		}
		if (call_number(c, "pid", &pid))
			snprintf(w->netns, sizeof w->netns, "/proc/%u/ns/net", (unsigned)pid);
		if (call_number(c, "uid", &uid))
			w->uid = uid < UINT32_MAX ? (uint32_t)uid : UINT32_MAX;
	}
	if (fits)
		problem = only_name ? NULL : take_resolvers(call_text(c, "resolver"), w);
	if (fits && !problem)
		problem = pod_problem(w, only_name);
	if (problem)
		answer_error(error, 400, problem, NULL, "see `nodeproxyctl pod add --help`");
	return !problem;
}

static bool make_order(const struct state *st, const struct call *c, struct msg_order *o,
		       struct answer *error)
{
	uint64_t n;
	int level;

	*o = (struct msg_order){ .order = (uint32_t)order_of[c->cmd], .worker = UINT32_MAX };
	snprintf(o->who, sizeof o->who, "uid=%u pid=%u", c->uid, c->pid);
	switch (order_of[c->cmd]) {
	case ORDER_DRAIN:
		o->number = st->knobs->drain_ms;
		if (call_number(c, "deadline", &n))
			o->number = (int64_t)n * 1000;
		if (call_number(c, "worker", &n)) {
			o->worker = (uint32_t)n;
			if (n >= st->workers) {
				answer_error(error, 404, "there is no such worker", call_text(c, "worker"),
					     "list them with `nodeproxyctl get workers`");
				return false;
			}
		}
		return true;
	case ORDER_POD_ADD:
	case ORDER_POD_REMOVE:
		return pod_order(c, o->order == ORDER_POD_REMOVE, o, error);
	case ORDER_UPGRADE:
		o->number = st->knobs->drain_ms;
		if (call_number(c, "deadline", &n))
			o->number = (int64_t)n * 1000;
		return true;
#ifdef NP_DEBUG_COMMANDS
	case ORDER_DEBUG:
		return debug_order(st, c, o, error);
#endif
	case ORDER_LOG_LEVEL:
		level = call_text(c, "level") ? log_level_of(call_text(c, "level")) : -1;
		if (level < 0) {
			answer_error(error, 400, "the level is debug, info, warn or error",
				     call_text(c, "level"), NULL);
			return false;
		}
		o->number = level;
		return true;
	default:
		return true;
	}
}

enum dispatch_result dispatch(struct state *st, const struct wire_request *req, uint32_t uid,
			      uint32_t pid, struct answer *ret, struct msg_order *order)
{
	const uint8_t *q = memchr(req->target.p, '?', req->target.n);
	struct slice path = req->target, query = { 0 }, rest;
	struct call c = { .uid = uid, .pid = pid };
	const struct cmd_row *row;

	if (q) {
		query = slice_from(path, (size_t)(q - path.p) + 1);
		path.n = (size_t)(q - path.p);
	}
	c.cmd = cmd_of_path(path, &rest);
	if (c.cmd == CMDS) {
		answer_error(ret, 404, "there is no such path", NULL, "see nodeproxy-api(7)");
		return DISPATCH_ANSWERED;
	}
	row = cmd_row(c.cmd);
	if (row->method == CMD_POST ? req->method != WIRE_POST
				    : req->method != WIRE_GET && req->method != WIRE_HEAD_METHOD) {
		answer_error(ret, 405, "this path has another method", row->path,
			     row->method == CMD_POST ? "use POST" : "use GET");
		ret->allow = row->method == CMD_POST ? "POST" : "GET, HEAD";
		return DISPATCH_ANSWERED;
	}
	if (!cmd_is_allowed(c.cmd, permission_of_uid(uid))) {
		answer_error(ret, 403, "only root may do this", row->words,
			     "run it as root; members of admin.group may look");
		return DISPATCH_ANSWERED;
	}
	if (wire_decode(rest, false, c.rest, sizeof c.rest) < 0) {
		answer_error(ret, 400, "the path has bytes that cannot be a name", NULL, NULL);
		return DISPATCH_ANSWERED;
	}
	if (!query_args(&c, query, ret) || !body_args(&c, req->body, ret))
		return DISPATCH_ANSWERED;
	if (row->by_master)
		return make_order(st, &c, order, ret) ? DISPATCH_ORDER : DISPATCH_ANSWERED;
	state_refresh(st);
	show_of[c.cmd](st, &c, ret);
	return DISPATCH_ANSWERED;
}

void dispatch_ordered(const struct msg_order *o, int32_t error, struct slice words,
		      struct answer *ret)
{
	static const struct { int error, status; } statuses[] = {
		{ EINVAL, 400 }, { EPERM, 403 }, { EACCES, 403 }, { ENOENT, 404 }, { ESRCH, 404 },
		{ EBUSY, 409 }, { EALREADY, 409 }, { EOPNOTSUPP, 501 }, { ENOSYS, 501 },
		{ ECANCELED, 409 }, { ETIMEDOUT, 504 }, { EBADMSG, 422 }, { EPIPE, 503 }, { EAGAIN, 503 },
	};
	char text[600];
	int status = 500;

	snprintf(text, sizeof text, "%.*s", (int)min_of(words.n, sizeof text - 1),
		 (const char *)words.p);
	if (error == 0) {
		*ret = show_ok();
		js_bool(&ret->body, "done", true);
		if (text[0])
			js_str(&ret->body, "message", text);
		show_end(ret);
		return;
	}
	for (size_t i = 0; i < countof(statuses); i++)
		if (error == -statuses[i].error)
			status = statuses[i].status;
	answer_error(ret, status, text[0] ? text : strerror(error > INT32_MIN && error < 0 ? -error : EIO),
		     NULL,
		     o->order == ORDER_RELOAD	  ? "nothing was changed"
		     : o->order == ORDER_LOG_REOPEN ? "see access_log.path in `nodeproxyctl get config`"
						  : "see standard error of nodeproxy");
}
