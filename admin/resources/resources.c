/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resources.h: what its commands share. */
#include "admin/resources/resources.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "admin/cli/call.h"
#include "admin/cli/print.h"
#include "admin/resources/reach.h"
#include "store/resource/resource.h"

#define DEFAULT_FILE "/etc/nodeproxy/nodeproxy.yaml"
#define ASK_SECONDS  5
static_must(KNOBS_ERROR >= 512);	/* call_daemon */

int say_error(int code, const char *fmt, ...)
{
	struct text clean = text_of(1 << 16);
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	print_clean(&clean, text);
	fprintf(stderr, "nodeproxyctl: %s\n", clean.p ? clean.p : "");
	text_fini(&clean);
	return code;
}

/* ---- the settings ---- */

const char *resources_socket(const struct options *o)
{
	const char *s = options_value(o, "-s");

	if (!s)
		s = getenv("NODEPROXY_SOCKET");
	return s && s[0] ? s : NULL;
}

/* One key and its value, as in nodeproxy.yaml. */
static void add_setting(json_t *file, const char *key, const char *value)
{
	const char *dot = strchr(key, '.');
	json_t *v = json_loads(value, JSON_DECODE_ANY, NULL), *section = file;
	char name[64];

	if (!json_is_integer(v)) {
		json_decref(v);
		v = json_string(value);
	}
	if (dot) {
		snprintf(name, sizeof name, "%.*s", (int)(dot - key), key);
		if (!json_object_get(file, name))
			json_object_set_new(file, name, json_object());
		section = json_object_get(file, name);
	}
	json_object_set_new(section, dot ? dot + 1 : key, v);
}

/* What concerns the registry and the store of the daemon's settings, as a nodeproxy.yaml; free() it. */
static char *settings_text(const json_t *answer)
{
	static const char *const needed[] = { "node", "cluster", "zone", "domain", "state_dir",
					      "service_cidr", "source.", "admin.socket" };
	json_t *file = json_object(), *s;
	char *text;
	size_t i;

	json_array_foreach(json_object_get(answer, "settings"), i, s) {
		const char *key = json_string_value(json_object_get(s, "key"));
		const char *value = json_string_value(json_object_get(s, "value"));

		for (size_t k = 0; key && value && k < countof(needed); k++)
			if (strncmp(key, needed[k], strlen(needed[k])) == 0)
				add_setting(file, key, value);
	}
	text = json_dumps(file, 0);
	json_decref(file);
	return text;
}

/* 0; -1: nobody answers, or nonsense: words in error. */
static int ask_daemon(const char *socket, struct knobs *ret, char error[KNOBS_ERROR])
{
	struct response r;
	json_t *answer;
	char *text;
	int e;

	if (call_daemon(socket, "GET", "/v1/config", ASK_SECONDS, &r, error) < 0)
		return -1;
	answer = json_loadb(r.body.p ? r.body.p : "", r.body.n, 0, NULL);
	text = settings_text(answer);
	e = text ? knobs_parse(slice_str(text), "the daemon's settings", ret, error) : -1;
	free(text);
	json_decref(answer);
	text_fini(&r.body);
	return e < 0 ? -1 : 0;
}

struct knobs *resources_knobs(const struct options *o, bool must, int *code)
{
	const char *file = options_value(o, "-c"), *socket = resources_socket(o);
	struct knobs *k = calloc(1, sizeof *k);
	char error[KNOBS_ERROR];
	int r;

	if (k == NULL) {
		*code = say_error(EXIT_REFUSED, "out of memory");
		return NULL;
	}
	knobs_default(k);
	if (!file)
		file = getenv("NODEPROXY_CONFIG");
	if (!file && socket) {
		if (ask_daemon(socket, k, error) == 0)
			return k;
		if (must)
			*code = say_error(EXIT_AWAY, "%s\nsay with -c FILE which nodeproxy.yaml names the registry",
					  error);
	} else {
		if (!file && !must && access(DEFAULT_FILE, F_OK) < 0)
			return k;
		r = knobs_load(file ? file : DEFAULT_FILE, k, error);
		if (r == 0)
			return k;
		*code = say_error(EXIT_REFUSED, "%s", error);
		must = true;
	}
	if (!must)
		return k;
	free(k);
	return NULL;
}

/* ---- which object ---- */

/* A kind, or its plural, in any case. */
static bool kind_of(const char *word, enum row_kind *ret)
{
	size_t n = strlen(word);
	char one[64];

	if (resource_kind_of(word, ret))
		return true;
	if (n < 2 || n >= sizeof one || strcasecmp(word + n - 1, "s") != 0)
		return false;
	snprintf(one, sizeof one, "%.*s", (int)n - 1, word);
	if (resource_kind_of(one, ret))
		return true;
	if (n < 4 || strcasecmp(word + n - 3, "ies") != 0)
		return false;
	snprintf(one, sizeof one, "%.*sy", (int)n - 3, word);
	return resource_kind_of(one, ret);
}

int resources_key(const struct options *o, struct registry_key *ret)
{
	static char ns[256], name[256];
	const char *kind = options_value(o, "KIND"), *asked = options_value(o, "[NAMESPACE/]NAME");
	const char *in = options_value(o, "-n"), *slash;
	enum row_kind k;

	*ret = (struct registry_key){ "", NULL, "", "" };
	if (!kind)
		kind = options_value(o, "[KIND]");
	if (!asked)
		asked = options_value(o, "[[NAMESPACE/]NAME]");
	if (!kind)
		return -1;
	if (!kind_of(kind, &k))
		return say_error(EXIT_USAGE, "there is no kind %.200s: kinds are %s", kind, resource_kinds());
	ret->kind = row_kind_name(k);
	if (!asked)
		return -1;
	slash = strchr(asked, '/');
	if (slash && in)
		return say_error(EXIT_USAGE, "the namespace is given twice: %.300s and -n %.300s", asked, in);
	if (!resource_is_namespaced(k) && (slash || in))
		return say_error(EXIT_USAGE, "a %s is in no namespace", ret->kind);
	if (resource_is_namespaced(k) && !slash && !in)
		return say_error(EXIT_USAGE, "a %s is in a namespace: write NAMESPACE/%.300s, or -n", ret->kind,
				 asked);
	if (strlen(asked) >= sizeof name || (in && strlen(in) >= sizeof ns))
		return say_error(EXIT_USAGE, "the name is too long");
	snprintf(name, sizeof name, "%s", slash ? slash + 1 : asked);
	snprintf(ns, sizeof ns, "%.*s", slash ? (int)(slash - asked) : 255, slash ? asked : in ? in : "");
	if (!name[0] || (resource_is_namespaced(k) && !ns[0]))
		return say_error(EXIT_USAGE, "an empty name");
	ret->ns = ns;
	ret->name = name;
	return -1;
}

const char *resources_words(enum row_kind kind, const char *ns, const char *name, char out[RESOURCES_WORDS])
{
	snprintf(out, RESOURCES_WORDS, "%s %.253s%s%.253s", row_kind_name(kind), ns, ns[0] ? "/" : "", name);
	return out;
}

/* ---- documents ---- */

static json_t *text_or_null(const char *s)
{
	return s && s[0] ? json_string(s) : json_null();
}

json_t *resources_document(const struct registry_key *k, const struct registry_value *v)
{
	json_t *object = v->json ? json_loads(v->json, 0, NULL) : NULL;
	json_t *meta = json_object_get(object, "metadata"), *x;
	json_t *o = json_object();

	json_object_set_new(o, "kind", json_string(k->kind));
	json_object_set_new(o, "namespace", text_or_null(k->ns));
	json_object_set_new(o, "name", json_string(k->name));
	x = json_object_get(meta, "generation");
	json_object_set_new(o, "generation", x ? json_incref(x) : json_null());
	x = json_object_get(meta, "creationTimestamp");
	json_object_set_new(o, "created", x ? json_incref(x) : json_null());
	json_object_set_new(o, "where", text_or_null(v->where));
	json_object_set_new(o, "refused", text_or_null(v->refusal));
	json_object_set_new(o, "object", object ? object : json_null());
	return o;
}

static int by_key(const void *a, const void *b)
{
	static const char *const keys[] = { "kind", "namespace", "name" };
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	enum row_kind i = ROW_KINDS, k = ROW_KINDS;

	(void)resource_kind_of(json_string_value(json_object_get(x, "kind")), &i);
	(void)resource_kind_of(json_string_value(json_object_get(y, "kind")), &k);
	if (i != k)
		return i < k ? -1 : 1;
	for (size_t n = 0; n < countof(keys); n++) {
		const char *s = json_string_value(json_object_get(x, keys[n]));
		const char *t = json_string_value(json_object_get(y, keys[n]));
		int order = strcmp(s ? s : "", t ? t : "");

		if (order)
			return order;
	}
	return 0;
}

json_t *resources_sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **v = calloc(n + 1, sizeof(json_t *)), *ret = json_array();

	for (size_t i = 0; v && i < n; i++)
		v[i] = json_array_get(list, i);
	if (v && n)
		qsort(v, n, sizeof(json_t *), by_key);
	for (size_t i = 0; v && i < n; i++)
		json_array_append(ret, v[i]);
	free(v);
	json_decref(list);
	return ret;
}
