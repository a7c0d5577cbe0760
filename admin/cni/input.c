/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See input.h. */
#include "admin/cni/input.h"

#include <stdio.h>

#define DEFAULT_SOCKET	"/run/nodeproxy/admin.sock"
#define DEFAULT_SECONDS 5
#define MOST_SECONDS	60

static const char *const commands[CNI_COMMANDS] = { "ADD", "DEL", "CHECK", "VERSION" };
/* Their results are what prevResult is, and that is passed on as it came. */
static const char *const versions[] = { "1.0.0", "0.4.0", "0.3.1" };
/* Of the specification, for everybody or for other plugins: not ours to refuse. */
static const char *const known[] = { "cniVersion", "name", "type", "prevResult", "runtimeConfig",
				     "capabilities", "args", "ipMasq", "ipam", "dns",
				     "socket", "whenAway", "timeoutSeconds", "serviceAccount" };

int cni_fail(struct cni_error *e, enum cni_code code, const char *msg, const char *details)
{
	e->code = code;
	snprintf(e->msg, sizeof e->msg, "%s", msg);
	snprintf(e->details, sizeof e->details, "%s", details ? details : "");
	return -1;
}

static int find_command(const char *word, enum cni_command *ret, struct cni_error *e)
{
	for (unsigned i = 0; word && i < CNI_COMMANDS; i++)
		if (strcmp(word, commands[i]) == 0) {
			*ret = (enum cni_command)i;
			return 0;
		}
	return cni_fail(e, CNI_BAD_ENV, "CNI_COMMAND is ADD, DEL, CHECK or VERSION", word);
}

/* ---- the configuration ---- */

static bool is_in(const char *word, const char *const *of, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, of[i]) == 0)
			return true;
	return false;
}

/* What an error names, too; unless it is one that we have, 1.0.0. */
static int take_version(struct cni_input *in, struct cni_error *e)
{
	const json_t *v = json_object_get(in->config, "cniVersion");
	const char *s = json_string_value(v);

	if (s && is_in(s, versions, countof(versions))) {
		snprintf(in->version, sizeof in->version, "%s", s);
		return 0;
	}
	/* Whoever asks for our versions need not have one of them. */
	if (in->command == CNI_SAY_VERSION)
		return 0;
	return cni_fail(e, CNI_BAD_VERSION, "cniVersion is 1.0.0, 0.4.0 or 0.3.1", s);
}

/* A text of the configuration with 1 to room - 1 bytes; not there: it stays what it is. */
static int take_text(const struct cni_input *in, const char *key, char *to, size_t room,
		     struct cni_error *e)
{
	const json_t *v = json_object_get(in->config, key);
	size_t n = json_string_length(v);

	if (!v)
		return 0;
	/* jansson lets no NUL into a string. */
	if (!json_is_string(v) || n == 0 || n >= room)
		return cni_fail(e, CNI_BAD_CONFIG, "this is a text, not empty and not too long", key);
	memcpy(to, json_string_value(v), n + 1);
	return 0;
}

static int take_away(struct cni_input *in, struct cni_error *e)
{
	const json_t *v = json_object_get(in->config, "whenAway");
	const char *s = json_string_value(v);

	if (v && (!s || (strcmp(s, "fail") != 0 && strcmp(s, "open") != 0)))
		return cni_fail(e, CNI_BAD_CONFIG, "whenAway is fail or open", s);
	in->open = s && strcmp(s, "open") == 0;
	return 0;
}

static int take_seconds(struct cni_input *in, struct cni_error *e)
{
	const json_t *v = json_object_get(in->config, "timeoutSeconds");

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > MOST_SECONDS)
		return cni_fail(e, CNI_BAD_CONFIG, "timeoutSeconds is 1 to 60", NULL);
	in->seconds = (int)json_integer_value(v);
	return 0;
}

static int take_config(struct cni_input *in, struct slice json, struct cni_error *e)
{
	json_error_t why;
	const char *key;
	json_t *v;

	in->config = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, &why);
	if (!in->config)
		return cni_fail(e, CNI_UNDECODABLE, "the configuration is not JSON", why.text);
	if (!json_is_object(in->config))
		return cni_fail(e, CNI_UNDECODABLE, "the configuration is not a JSON object", NULL);
	if (take_version(in, e) < 0)
		return -1;
	if (in->command == CNI_SAY_VERSION)
		return 0;
	json_object_foreach(in->config, key, v)
		if (!is_in(key, known, countof(known)))
			return cni_fail(e, CNI_BAD_FIELD, "unknown key in the configuration", key);
	if (take_text(in, "socket", in->socket, sizeof in->socket, e) < 0 ||
	    take_text(in, "serviceAccount", in->account, sizeof in->account, e) < 0 ||
	    take_away(in, e) < 0 || take_seconds(in, e) < 0)
		return -1;
	in->result = json_object_get(in->config, "prevResult");
	if (in->command == CNI_ADD && !json_is_object(in->result))
		return cni_fail(e, CNI_BAD_CONFIG, "there is no prevResult",
				"it is a chained plugin: put it behind the one that makes the interface");
	return 0;
}

/* args.cni.labels, by the conventions of CNI: [{"key": ..., "value": ...}] */
static int take_labels(struct cni_input *in, struct cni_error *e)
{
	const json_t *cni = json_object_get(json_object_get(in->config, "args"), "cni");
	const json_t *list = json_object_get(cni, "labels"), *one;
	size_t i, at = 0;

	json_array_foreach(list, i, one) {
		const char *key = json_string_value(json_object_get(one, "key"));
		const char *value = json_string_value(json_object_get(one, "value"));
		int n;

		if (!key || !value)
			return cni_fail(e, CNI_BAD_CONFIG, "a label has a key and a value",
					"args.cni.labels");
		n = snprintf(in->labels + at, sizeof in->labels - at, "%s%s=%s", at ? "," : "", key, value);
		if (n < 0 || (size_t)n >= sizeof in->labels - at)
			return cni_fail(e, CNI_BAD_CONFIG, "too many labels, or too long ones",
					"args.cni.labels");
		at += (size_t)n;
	}
	return 0;
}

/* ---- the environment ---- */

/* KEY=VALUE;KEY=VALUE: the value of one into room bytes; false: it is not there, or too long. */
static bool find_arg(const char *args, const char *key, char *to, size_t room)
{
	size_t n = strlen(key);

	while (args && *args) {
		const char *end = strchrnul(args, ';');
		size_t value = (size_t)(end - args);

		if (value > n && strncmp(args, key, n) == 0 && args[n] == '=') {
			value -= n + 1;
			if (value == 0 || value >= room)
				return false;
			memcpy(to, args + n + 1, value);
			to[value] = 0;
			return true;
		}
		args = *end ? end + 1 : end;
	}
	return false;
}

static int take_env(const struct cni_env *env, struct cni_input *in, struct cni_error *e)
{
	if (!find_arg(env->args, "K8S_POD_NAME", in->name, sizeof in->name) ||
	    !find_arg(env->args, "K8S_POD_NAMESPACE", in->ns, sizeof in->ns))
		return cni_fail(e, CNI_BAD_ENV, "CNI_ARGS has no K8S_POD_NAME and K8S_POD_NAMESPACE of at "
				"most 63 bytes", env->args);
	if (env->netns && strlen(env->netns) < sizeof in->netns)
		snprintf(in->netns, sizeof in->netns, "%s", env->netns);
	/* Who deletes may have none any more. */
	if ((env->netns && !in->netns[0] && env->netns[0]) || (in->netns[0] && in->netns[0] != '/') ||
	    (!in->netns[0] && in->command != CNI_DEL))
		return cni_fail(e, CNI_BAD_ENV, "CNI_NETNS is the absolute path of a network namespace, of at "
				"most 191 bytes", env->netns);
	return 0;
}

int cni_input_read(const struct cni_env *env, struct slice json, struct cni_input *ret,
		   struct cni_error *e)
{
	*ret = (struct cni_input){ .version = CNI_VERSION, .socket = DEFAULT_SOCKET,
				   .seconds = DEFAULT_SECONDS, .account = "default" };
	if (find_command(env->command, &ret->command, e) < 0 || take_config(ret, json, e) < 0)
		return -1;
	if (ret->command == CNI_SAY_VERSION)
		return 0;
	return take_env(env, ret, e) < 0 || take_labels(ret, e) < 0 ? -1 : 0;
}

void cni_input_fini(struct cni_input *in)
{
	json_decref(in->config);
	in->config = NULL;
	in->result = NULL;
}
