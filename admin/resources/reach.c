/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See reach.h. */
#include "admin/resources/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/cli/print.h"
#include "nodeproxy/lib/doc/doc.h"
#include "nodeproxy/lib/knobs/source.h"
#include "store/registry/file.h"
#include "store/sync/registry_etcd.h"

#define ETCD	     "etcd:"
#define LOCK_WAIT_MS 30000	/* for another writer */
#define AWAY_MS	     5000	/* for a member that answers */
#define SECRET_MAX   (64u << 10)

/* A registry_render_fn. */
static char *render(const char *json, bool as_json)
{
	json_t *o = json_loads(json, 0, NULL);
	struct text t = text_of(4 * DOC_BYTES_MAX);
	char *dump = NULL, *ret;

	if (o && as_json && (dump = json_dumps(o, JSON_INDENT(2)))) {
		text_adds(&t, dump);
		text_addc(&t, '\n');
	} else if (o && !as_json) {
		print_yaml(o, &t);
	}
	free(dump);
	json_decref(o);
	ret = t.cut || t.n == 0 ? NULL : strndup(t.p, t.n);
	text_fini(&t);
	return ret;
}

static struct registry *open_files(const char *path, bool write, int *code)
{
	struct registry *r;
	char problem[512];
	enum registry_error e = registry_file_open(path, write ? render : NULL, LOCK_WAIT_MS, &r, problem);

	if (e != REGISTRY_DONE)
		*code = say_error(e == REGISTRY_AWAY ? EXIT_AWAY : EXIT_REFUSED, "%s: %s", problem,
				  registry_todo(e));
	return r;
}

/* ---- etcd ---- */

/* An option in the place of a setting. */
static bool put(const struct options *o, const char *option, char *setting, size_t room, int *code)
{
	const char *v = options_value(o, option);

	if (!v)
		return true;
	if (strlen(v) >= room) {
		*code = say_error(EXIT_USAGE, "%s: must be at most %zu bytes", option, room - 1);
		return false;
	}
	snprintf(setting, room, "%s", v);
	return true;
}

/* The settings with what was said instead; false: said what is wrong. */
static bool settings(const struct options *o, const char *endpoints, struct knobs *k, int *code)
{
	const char *key, *why;

	if (endpoints) {
		k->source_kind = SOURCE_ETCD;
		snprintf(k->source_endpoints, sizeof k->source_endpoints, "%s", endpoints);
		if (strlen(endpoints) >= sizeof k->source_endpoints ||
		    source_endpoints(slice_str(endpoints), k->source_endpoint, &k->n_source_endpoints) < 0) {
			*code = say_error(EXIT_USAGE, "--registry " ETCD ": must be addresses with ports like "
					  "10.0.0.1:2379");
			return false;
		}
	}
	if (options_value(o, "--user") || options_value(o, "--cert"))	/* not as the host */
		k->source_user[0] = k->source_password_file[0] = k->source_cert[0] = k->source_key[0] = 0;
	if (!put(o, "--user", k->source_user, sizeof k->source_user, code) ||
	    !put(o, "--password-file", k->source_password_file, sizeof k->source_password_file, code) ||
	    !put(o, "--cert", k->source_cert, sizeof k->source_cert, code) ||
	    !put(o, "--cert-key", k->source_key, sizeof k->source_key, code) ||
	    !put(o, "--ca", k->source_ca, sizeof k->source_ca, code))
		return false;
	why = source_wrong(k, &key);
	if (why)
		*code = say_error(EXIT_USAGE, "%s: %s", key, why);
	return why == NULL;
}

/* A file of who asks; "": none is needed.  False: said why not. */
static bool read_secret(const char *path, char *room, struct slice *ret, int *code)
{
	size_t n = 0;
	ssize_t got = 0;
	int fd = path[0] ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

	*ret = (struct slice){ 0 };
	if (path[0] == 0)
		return true;
	while (fd >= 0 && n < SECRET_MAX && (got = read(fd, room + n, SECRET_MAX - n)) > 0)
		n += (size_t)got;
	if (fd < 0 || got < 0 || n == SECRET_MAX)
		*code = say_error(EXIT_REFUSED, "%s: %s", path, n == SECRET_MAX ? "is too large" :
				  strerror(errno));
	*ret = slice_of(room, n);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && got >= 0 && n < SECRET_MAX;
}

static struct registry *open_etcd(const struct knobs *k, int *code)
{
	struct registry_etcd_terms t = {
		.endpoint = k->source_endpoint, .endpoints = k->n_source_endpoints,
		.name = k->source_server_name, .user = k->source_user, .prefix = k->source_prefix,
		.cluster = k->cluster, .wait_ms = AWAY_MS,
	};
	char (*room)[SECRET_MAX] = calloc(4, SECRET_MAX);
	struct registry *r = NULL;
	enum registry_error e;
	char problem[512];

	if (room && read_secret(k->source_ca, room[0], &t.ca, code) &&
	    read_secret(k->source_cert, room[1], &t.cert, code) &&
	    read_secret(k->source_key, room[2], &t.key, code) &&
	    read_secret(k->source_password_file, room[3], &t.password, code)) {
		const uint8_t *end = t.password.n ? memchr(t.password.p, '\n', t.password.n) : NULL;

		if (end)
			t.password.n = (size_t)(end - t.password.p);
		e = registry_etcd_open(&t, &r, problem);
		if (e != REGISTRY_DONE)
			*code = say_error(e == REGISTRY_AWAY ? EXIT_AWAY : EXIT_REFUSED, "%s: %s", problem,
					  registry_todo(e));
	}
	if (room)
		explicit_bzero(room, 4 * SECRET_MAX);
	free(room);
	return r;
}

struct registry *reach_registry(const struct options *o, const struct knobs *configured, bool write,
				int *code)
{
	static const char *const of_etcd[] = { "--user", "--password-file", "--cert", "--cert-key", "--ca" };
	const char *where = options_value(o, "--registry");
	bool etcd = where ? strncmp(where, ETCD, strlen(ETCD)) == 0 : configured->source_kind == SOURCE_ETCD;
	struct knobs *k;
	struct registry *r = NULL;

	for (size_t i = 0; !etcd && i < countof(of_etcd); i++)
		if (options_value(o, of_etcd[i])) {
			*code = say_error(EXIT_USAGE, "%s is for an etcd, and the registry is files", of_etcd[i]);
			return NULL;
		}
	if (!etcd)
		return open_files(where ? where : configured->source_path, write, code);
	k = malloc(sizeof *k);
	if (k == NULL) {
		*code = say_error(EXIT_REFUSED, "out of memory");
		return NULL;
	}
	*k = *configured;
	if (settings(o, where ? where + strlen(ETCD) : NULL, k, code))
		r = open_etcd(k, code);
	free(k);
	return r;
}
