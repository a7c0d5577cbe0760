/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See knobs.h: nodeproxy.yaml to struct knobs.  What one value must be like is in text.c, which belong
 * together in source.c and identity.c. */
#include "nodeproxy/lib/knobs/knobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "nodeproxy/lib/doc/doc.h"
#include "nodeproxy/lib/knobs/identity.h"
#include "nodeproxy/lib/knobs/rows.h"
#include "nodeproxy/lib/knobs/source.h"
#include "nodeproxy/lib/knobs/text.h"

struct reading {
	const char *file;
	char *error;
	struct knobs *k;
	struct knobs_lines *lines;
};

static int wrong(struct reading *r, uint32_t line, const char *key, const char *fmt, ...)
	printf_like(4, 5);
static int wrong(struct reading *r, uint32_t line, const char *key, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(r->error, KNOBS_ERROR, "%.200s:%u: %s%s", r->file, line, key,
			 key[0] ? ": " : "");

	va_start(ap, fmt);
	if (n > 0 && n < KNOBS_ERROR)
		vsnprintf(r->error + n, (size_t)(KNOBS_ERROR - n), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* "10s" in ms, "64Mi" in bytes, "500" as it is. */
static bool read_number(const struct knob *k, struct slice s, int64_t *ret)
{
	static const struct {
		const char *unit, *suffix;
		uint64_t factor;
	} unit[] = {
		{ "ms", "ms", 1 },	  { "ms", "s", 1000 },	    { "ms", "m", 60000 },
		{ "ms", "h", 3600000 },	  { "us", "us", 1 },	    { "us", "ms", 1000 },
		{ "bytes", "Ki", 1024 }, { "bytes", "Mi", 1 << 20 }, { "bytes", "Gi", 1 << 30 },
	};
	size_t n = 0;
	uint64_t v, factor = 1;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	if (n < s.n) {
		struct slice suffix = slice_from(s, n);

		factor = 0;
		for (size_t i = 0; i < countof(unit); i++)
			if (strcmp(k->unit, unit[i].unit) == 0 &&
			    slice_eq(suffix, slice_str(unit[i].suffix)))
				factor = unit[i].factor;
	}
	if (factor == 0 || !slice_u64(slice_of(s.p, n), INT64_MAX / (1 << 30), &v))
		return false;
	*ret = (int64_t)(v * factor);
	return true;
}

static int read_value(struct reading *, void *base, const struct knob *, const char *key,
		      const struct doc_node *);

/* A list of words is what it would be between commas. */
static int read_words(struct reading *r, void *base, const struct knob *k, const char *key,
		      const struct doc_node *n)
{
	struct doc_node all = { .type = DOC_STR, .line = n->line };
	char text[1024];
	size_t at = 0;

	for (const struct doc_node *one = n->first; one; one = one->next) {
		if (one->type != DOC_STR || one->text.n == 0 || memchr(one->text.p, ',', one->text.n))
			return wrong(r, one->line, key, "must be a list of words");
		if (one->text.n + 2 > sizeof text - at)
			return wrong(r, one->line, key, "must be at most %zu bytes", k->bytes - 1);
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", at ? "," : "",
				       (int)one->text.n, (const char *)one->text.p);
	}
	all.text = slice_of(text, at);
	return read_value(r, base, k, key, &all);
}

static int read_value(struct reading *r, void *base, const struct knob *k, const char *key,
		      const struct doc_node *n)
{
	struct slice s = n->text;
	const char *why;
	char seen[64];

	if (n->type == DOC_LIST && strcmp(key, "source.endpoints") == 0)
		return read_words(r, base, k, key, n);
	if (n->type == DOC_LIST || n->type == DOC_MAP)
		return wrong(r, n->line, key, "must be one value, not %s", doc_type_name(n->type));
	if (n->type == DOC_NULL)
		return wrong(r, n->line, key, "has no value; for none write \"\"");
	doc_clean(s, seen, sizeof seen);
	switch (k->type) {
	case KNOB_NUM:
		if (!read_number(k, s, num_at(base, k)) || *num_at(base, k) < k->min ||
		    *num_at(base, k) > k->max)
			return wrong(r, n->line, key, "must be a whole number from %lld to %lld (%s), not %s",
				     (long long)k->min, (long long)k->max, k->unit, seen);
		if (strcmp(key, "log_ring_bytes") == 0 &&
		    (*num_at(base, k) & (*num_at(base, k) - 1)) != 0)
			return wrong(r, n->line, key, "must be a power of two, not %s", seen);
		return 0;
	case KNOB_ENU:
		if (!knob_word_index(k->values, s, enu_at(base, k)))
			return wrong(r, n->line, key, "must be one of %s, not %s", k->values, seen);
		if (strcmp(key, "source.kind") == 0 && *enu_at(base, k) > SOURCE_ETCD)
			return wrong(r, n->line, key, "%s is not served by this release: only file and etcd",
				     seen);
		return 0;
	case KNOB_STR:
		break;
	}
	if (s.n >= k->bytes)
		return wrong(r, n->line, key, "must be at most %zu bytes", k->bytes - 1);
	memset(text_at(base, k), 0, k->bytes);
	memcpy(text_at(base, k), s.p, s.n);
	why = base == r->k ? text_wrong(k->key, text_at(base, k)) :
			     text_listener_wrong(k->key, text_at(base, k));
	return why ? wrong(r, n->line, key, "%s, not \"%s\"", why, seen) : 0;
}

/* The names a key could have had: of a listener for "[]", else those behind the prefix. */
static const char *nth_key(const void *arg, unsigned i)
{
	static const char *const top[] = { "listeners", "admin",  "source",  "access_log", "log",
					   "limits",	"timeouts", "scheduler", "respawn", "identity" };
	const char *prefix = arg;
	size_t n = strlen(prefix);

	if (strcmp(prefix, "[]") == 0)
		return i < countof(listener_knob) ? listener_knob[i].key : NULL;
	for (unsigned j = 0; j < countof(knob); j++)
		if (strncmp(knob[j].key, prefix, n) == 0 && strchr(knob[j].key + n, '.') == NULL &&
		    i-- == 0)
			return knob[j].key + n;
	return n == 0 && i < countof(top) ? top[i] : NULL;
}

static int unknown_key(struct reading *r, const struct doc_node *n, const char *prefix,
		       const char *shown)
{
	const char *near = doc_nearest(n->key, nth_key, prefix);
	char key[64], whole[160];

	snprintf(whole, sizeof whole, "%s%s", shown, doc_clean(n->key, key, sizeof key));
	for (unsigned i = 0; prefix[0] == 0 && i < countof(knob); i++)
		if (slice_eq(n->key, slice_str(knob[i].key)))
			return wrong(r, n->line, whole, "unknown key (write %s: below a line %.*s:)",
				     strchr(knob[i].key, '.') + 1, (int)strcspn(knob[i].key, "."),
				     knob[i].key);
	if (near)
		return wrong(r, n->line, whole, "unknown key (did you mean %s?)", near);
	return wrong(r, n->line, whole, "unknown key");
}

static int read_listener(struct reading *r, const struct doc_node *n, unsigned i)
{
	struct knobs_listener *l = &r->k->listener[i];
	uint32_t line[countof(listener_knob)] = { 0 };
	const char *wrong_key, *wrong_words;
	char key[160], place[32];
	int e;

	snprintf(place, sizeof place, "listeners[%u]", i);
	if (n->type != DOC_MAP)
		return wrong(r, n->line, place, "must be a mapping, not %s", doc_type_name(n->type));
	for (const struct doc_node *m = n->first; m; m = m->next) {
		unsigned row = 0;

		while (row < countof(listener_knob) &&
		       !slice_eq(m->key, slice_str(listener_knob[row].key)))
			row++;
		snprintf(key, sizeof key, "%s.", place);
		if (row == countof(listener_knob))
			return unknown_key(r, m, "[]", key);
		snprintf(key, sizeof key, "%s.%s", place, listener_knob[row].key);
		e = read_value(r, l, &listener_knob[row], key, m);
		if (e < 0)
			return e;
		line[row] = m->line;
		if (strcmp(listener_knob[row].key, "bind") == 0)
			r->lines->bind[i] = m->line;
		if (strcmp(listener_knob[row].key, "bind") == 0)
			must(addr_parse(slice_str(l->bind), &l->addr) == 0);
		if (strcmp(listener_knob[row].key, "tls_identity") == 0 && l->tls_identity[0])
			must(text_identity(slice_str(l->tls_identity), l) == 0);
		if (strcmp(listener_knob[row].key, "service") == 0 && l->service[0])
			must(text_service(slice_str(l->service), l) == 0);
	}
	for (unsigned row = 0; row < countof(listener_knob); row++) {
		bool service = strcmp(listener_knob[row].key, "service") == 0;

		snprintf(key, sizeof key, "%s.%s", place, listener_knob[row].key);
		if (listener_knob[row].required && line[row] == 0)
			return wrong(r, n->line, key, "is required: %s", listener_knob[row].help);
		if (service && l->route == LISTEN_SERVICE && l->service[0] == 0)
			return wrong(r, n->line, key, "is required with route: service, like shop/web:80");
		if (service && l->route != LISTEN_SERVICE && l->service[0])
			return wrong(r, line[row], key, "has a meaning only with route: service");
	}
	wrong_words = identity_tls_wrong(l, &wrong_key);
	for (unsigned row = 0; wrong_words && row < countof(listener_knob); row++)
		if (strcmp(listener_knob[row].key, wrong_key) == 0) {
			snprintf(key, sizeof key, "%s.%s", place, wrong_key);
			return wrong(r, line[row] ? line[row] : n->line, key, "%s", wrong_words);
		}
	for (unsigned j = 0; j < i; j++) {
		snprintf(key, sizeof key, "%s.name", place);
		if (strcmp(r->k->listener[j].name, l->name) == 0)
			return wrong(r, line[0], key, "%s is the name of another listener", l->name);
		snprintf(key, sizeof key, "%s.bind", place);
		if (l->addr.port && addr_eq(&r->k->listener[j].addr, &l->addr))
			return wrong(r, line[1], key, "%s is bound by listener %s already", l->bind,
				     r->k->listener[j].name);
	}
	return 0;
}

static int read_map(struct reading *r, const struct doc_node *map, const char *prefix)
{
	char key[160], section_prefix[162];
	int e;

	for (const struct doc_node *m = map->first; m; m = m->next) {
		unsigned row = 0;
		bool section = false;

		if (prefix[0] == 0 && slice_eq(m->key, SLICE("listeners"))) {
			if (m->type == DOC_NULL)
				continue;
			if (m->type != DOC_LIST)
				return wrong(r, m->line, "listeners", "must be a list, not %s",
					     doc_type_name(m->type));
			for (const struct doc_node *l = m->first; l; l = l->next) {
				if (r->k->n_listeners == KNOBS_LISTENERS)
					return wrong(r, l->line, "listeners", "more than %d entries",
						     KNOBS_LISTENERS);
				e = read_listener(r, l, r->k->n_listeners);
				if (e < 0)
					return e;
				r->k->n_listeners++;
			}
			continue;
		}
		if (prefix[0])
			snprintf(key, sizeof key, "%s%.100s", prefix, (const char *)m->key.p);
		else
			snprintf(key, sizeof key, "%.100s", (const char *)m->key.p);
		for (; row < countof(knob) && strcmp(knob[row].key, key) != 0; row++)
			section |= prefix[0] == 0 &&
				   strncmp(knob[row].key, key, strlen(key)) == 0 &&
				   knob[row].key[strlen(key)] == '.';
		if (row < countof(knob) && strlen(key) == strlen(prefix) + m->key.n &&
		    (prefix[0] || strchr(key, '.') == NULL)) {
			e = read_value(r, r->k, &knob[row], key, m);
			if (e < 0)
				return e;
			r->lines->key[row] = m->line;
		} else if (section) {
			if (m->type == DOC_NULL)
				continue;
			if (m->type != DOC_MAP)
				return wrong(r, m->line, key, "must be a mapping, not %s",
					     doc_type_name(m->type));
			snprintf(section_prefix, sizeof section_prefix, "%s.", key);
			e = read_map(r, m, section_prefix);
			if (e < 0)
				return e;
		} else {
			return unknown_key(r, m, prefix, prefix);
		}
	}
	return 0;
}

/* Where a key is; other when it is not there. */
static uint32_t line_of(const struct reading *r, const char *key, uint32_t other)
{
	for (unsigned i = 0; i < countof(knob); i++)
		if (strcmp(knob[i].key, key) == 0 && r->lines->key[i])
			return r->lines->key[i];
	return other;
}

static bool was_set(const struct reading *r, const char *key)
{
	return line_of(r, key, 0) != 0;
}

static int read_all(struct reading *r, const struct doc_node *root)
{
	struct knobs *k = r->k;
	const char *key, *why;
	int e;

	if (root->type != DOC_MAP)
		return wrong(r, root->line, "", "must be a mapping of keys, not %s",
			     doc_type_name(root->type));
	e = read_map(r, root, "");
	if (e < 0)
		return e;
	if (!was_set(r, "admin.socket") && was_set(r, "run_dir")) {
		int n;

		memset(k->admin_socket, 0, sizeof k->admin_socket);	/* equal knobs are equal bytes */
		n = snprintf(k->admin_socket, sizeof k->admin_socket, "%s/admin.sock", k->run_dir);

		if (n < 0 || (size_t)n >= sizeof k->admin_socket)
			return wrong(r, root->line, "run_dir",
				     "is too long for admin.socket (at most %zu bytes with it): set it",
				     sizeof k->admin_socket - 1);
	}
	if (k->node[0] == 0)
		return wrong(r, root->line, "node",
			     "is required: the host name of this machine is not a DNS name");
	if (k->respawn_min_ms > k->respawn_max_ms)
		return wrong(r, root->line, "respawn.min", "must not be above respawn.max");
	why = identity_wrong(k, &key);
	if (why)
		return wrong(r, line_of(r, key, root->line), key, "%s", why);
	must(source_endpoints(slice_str(k->source_endpoints), k->source_endpoint, &k->n_source_endpoints) == 0);
	why = source_wrong(k, &key);
	if (why)
		return wrong(r, line_of(r, key, root->line), key, "%s", why);
	for (unsigned i = 0; i < k->n_listeners; i++) {
		char place[64];

		key = identity_unmet(k, &k->listener[i]);
		snprintf(place, sizeof place, "listeners[%u].%s", i, key ? key : "");
		if (key)
			return wrong(r, r->lines->bind[i], place, "needs identity.issuer");
	}
	must(text_cidr(slice_str(k->service_cidr), &k->service_base, &k->service_bits) == 0);
	return 0;
}

void knobs_default(struct knobs *k)
{
	char host[sizeof k->node] = "";

	memset(k, 0, sizeof *k);
	k->magic = KNOBS_MAGIC;
	k->bytes = sizeof *k;
	for (unsigned i = 0; i < countof(knob); i++) {
		if (knob[i].type == KNOB_STR)
			snprintf(text_at(k, &knob[i]), knob[i].bytes, "%s", knob[i].def);
		else if (knob[i].type == KNOB_NUM)
			*num_at(k, &knob[i]) = knob[i].num;
		else
			must(knob_word_index(knob[i].values, slice_str(knob[i].def), enu_at(k, &knob[i])));
	}
	must(text_cidr(slice_str(k->service_cidr), &k->service_base, &k->service_bits) == 0);
	if (gethostname(host, sizeof host - 1) == 0) {
		for (char *c = host; *c; c++)
			*c = (char)byte_lower((uint8_t)*c);
		if (text_is_dns_name(slice_str(host)))
			memcpy(k->node, host, sizeof host);
	}
}

static int parse(struct slice bytes, const char *name, struct knobs *ret,
		 struct knobs_lines *lines, char error[KNOBS_ERROR])
{
	struct reading r = { .file = name, .error = error, .lines = lines };
	struct doc_stream st;
	struct doc_error de = { 0 };
	struct doc doc = { 0 }, second = { 0 };
	int e;

	memset(lines, 0, sizeof *lines);
	r.k = malloc(sizeof *r.k);
	if (r.k == NULL) {
		snprintf(error, KNOBS_ERROR, "%.200s: out of memory", name);
		return -ENOMEM;
	}
	knobs_default(r.k);
	doc_stream_init(&st, bytes);
	e = doc_yaml_next(&st, &doc, &de);
	if (e == 1) {
		e = read_all(&r, doc.root);
		if (e == 0) {
			e = doc_yaml_next(&st, &second, &de);
			if (e == 1)
				e = wrong(&r, second.line, "", "a second document: only one is read");
			else if (e == -EINVAL)
				e = wrong(&r, de.line, "", "%s", de.text);
		}
	} else if (e == 0) {
		struct doc_node none = { .type = DOC_MAP, .line = 1 };

		e = read_all(&r, &none);	/* an empty file: all defaults */
	} else if (e == -EINVAL) {
		e = wrong(&r, de.line, "", "%s", de.text);
	}
	if (e == -ENOMEM)
		snprintf(error, KNOBS_ERROR, "%.200s: out of memory", name);
	doc_fini(&doc);
	doc_fini(&second);
	if (e == 0)
		*ret = *r.k;
	free(r.k);
	return e;
}

int knobs_parse(struct slice bytes, const char *name, struct knobs *ret, char error[KNOBS_ERROR])
{
	struct knobs_lines lines;

	return parse(bytes, name, ret, &lines, error);
}

int knobs_load_lines(const char *path, struct knobs *ret, struct knobs_lines *lines,
		     char error[KNOBS_ERROR])
{
	uint8_t *bytes = malloc(DOC_BYTES_MAX + 1);
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC), e = 0;

	if (fd < 0 || bytes == NULL)
		e = fd < 0 ? -errno : -ENOMEM;
	while (e == 0 && n <= DOC_BYTES_MAX) {
		ssize_t got = read(fd, bytes + n, DOC_BYTES_MAX + 1 - n);

		if (got == 0)
			break;
		if (got > 0)
			n += (size_t)got;
		else if (errno != EINTR)
			e = -errno;
	}
	if (fd >= 0)
		close(fd);
	if (e < 0)
		snprintf(error, KNOBS_ERROR, "%.300s: cannot read: %s", path, strerror(-e));
	else
		e = parse(slice_of(bytes, n), path, ret, lines, error);
	free(bytes);
	return e;
}

int knobs_load(const char *path, struct knobs *ret, char error[KNOBS_ERROR])
{
	struct knobs_lines lines;

	return knobs_load_lines(path, ret, &lines, error);
}
