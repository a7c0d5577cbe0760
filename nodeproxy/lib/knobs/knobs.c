/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See knobs.h: nodeproxy.yaml to struct knobs.
 *
 * The rows say names, types and bounds; what one row cannot say (an absolute path, an address, a
 * list of CPUs) is in check_text(), one case per key, run for the file and again for what arrives
 * over a channel. */
#include "nodeproxy/lib/knobs/knobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/doc/doc.h"
#include "nodeproxy/lib/knobs/source.h"

enum knob_type { KNOB_STR, KNOB_NUM, KNOB_ENU };

struct knob {
	const char *key;
	enum knob_type type;
	size_t at, bytes;		/* in struct knobs or struct knobs_listener */
	int64_t min, max, num;
	const char *def, *unit, *values, *help;
	bool required;
	enum knob_reload reload;
};

/* clang-format off */
static const struct knob knob[] = {
#define STR(key, field, bytes, def, reload, help) \
	{ key, KNOB_STR, offsetof(struct knobs, field), bytes, 0, 0, 0, def, "", "", help, false, \
	  RELOAD_##reload },
#define NUM(key, field, min, max, def, unit, reload, help) \
	{ key, KNOB_NUM, offsetof(struct knobs, field), 8, min, max, def, #def, unit, "", help, \
	  false, RELOAD_##reload },
#define ENU(key, field, values, def, reload, help) \
	{ key, KNOB_ENU, offsetof(struct knobs, field), 4, 0, 0, 0, def, "", values, help, false, \
	  RELOAD_##reload },
#include "nodeproxy/lib/knobs/knobs.def"
};

static const struct knob listener_knob[] = {
#define LSTR(key, field, bytes, required, help) \
	{ key, KNOB_STR, offsetof(struct knobs_listener, field), bytes, 0, 0, 0, "", "", "", help, required, \
	  RELOAD_LIVE },
#define LNUM(key, field, min, max, def, unit, help) \
	{ key, KNOB_NUM, offsetof(struct knobs_listener, field), 8, min, max, def, #def, unit, "", help, false, \
	  RELOAD_LIVE },
#define LENU(key, field, values, def, help) \
	{ key, KNOB_ENU, offsetof(struct knobs_listener, field), 4, 0, 0, 0, def, "", values, help, false, \
	  RELOAD_LIVE },
#include "nodeproxy/lib/knobs/knobs.def"
};
/* clang-format on */

static char *text_at(const void *base, const struct knob *k)
{
	return (char *)base + k->at;
}

static int64_t *num_at(const void *base, const struct knob *k)
{
	return (int64_t *)(void *)((char *)base + k->at);
}

static uint32_t *enu_at(const void *base, const struct knob *k)
{
	return (uint32_t *)(void *)((char *)base + k->at);
}

/* The i-th word of "a|b|c"; an empty slice after the last. */
static struct slice word_at(const char *values, unsigned i)
{
	const char *bar;

	for (; i && values; i--) {
		values = strchr(values, '|');
		values = values ? values + 1 : NULL;
	}
	if (values == NULL)
		return (struct slice){ 0 };
	bar = strchrnul(values, '|');
	return slice_of(values, (size_t)(bar - values));
}

static bool word_index(const char *values, struct slice s, uint32_t *ret)
{
	struct slice w;

	for (uint32_t i = 0; (w = word_at(values, i)).n; i++) {
		if (slice_eq(w, s)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

/* ---- what one value must be like ---- */

static bool is_dns_label(struct slice s)
{
	if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') &&
		    s.p[i] != '-')
			return false;
	return true;
}

static bool is_dns_name(struct slice s)
{
	if (s.n > 253)
		return false;
	for (;;) {
		const uint8_t *dot = s.n ? memchr(s.p, '.', s.n) : NULL;

		if (!is_dns_label(slice_of(s.p, dot ? (size_t)(dot - s.p) : s.n)))
			return false;
		if (dot == NULL)
			return true;
		s = slice_from(s, (size_t)(dot - s.p) + 1);
	}
}

/* Letters, digits and -_. inside; what Kubernetes allows as the value of a label. */
static bool is_label_value(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i], l = byte_lower(c);
		bool inner = i && i + 1 < s.n;

		if (!(l >= 'a' && l <= 'z') && !(c >= '0' && c <= '9') &&
		    !(inner && (c == '-' || c == '_' || c == '.')))
			return false;
	}
	return s.n <= 63;
}

static bool is_utf8(struct slice s)
{
	for (size_t i = 0; i < s.n;) {
		uint8_t c = s.p[i];
		size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
		uint32_t v = n == 1 ? c : c & (0xff >> (n + 1));

		if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || n > s.n - i)
			return false;
		for (size_t k = 1; k < n; k++) {
			if ((s.p[i + k] & 0xc0) != 0x80)
				return false;
			v = v << 6 | (s.p[i + k] & 0x3f);
		}
		if ((n == 3 && v < 0x800) || (n == 4 && (v < 0x10000 || v > 0x10ffff)) ||
		    (v >= 0xd800 && v < 0xe000))
			return false;
		i += n;
	}
	return true;
}

static bool is_absolute_path(const char *s)
{
	return s[0] == '/';
}

int knobs_workers(const char *text, uint32_t *ret_count, cpu_set_t *ret_cpus)
{
	struct slice s = slice_str(text);
	uint64_t v, to;
	cpu_set_t set;

	CPU_ZERO(&set);
	if (slice_eq(s, SLICE("auto"))) {
		v = 0;
	} else if (slice_starts(s, SLICE("cpus="))) {
		s = slice_from(s, 5);
		do {
			const uint8_t *comma = s.n ? memchr(s.p, ',', s.n) : NULL, *dash;
			struct slice part = slice_of(s.p, comma ? (size_t)(comma - s.p) : s.n);
			struct slice from = part;

			dash = part.n ? memchr(part.p, '-', part.n) : NULL;
			if (dash)
				from.n = (size_t)(dash - part.p);
			if (!slice_u64(from, CPU_SETSIZE - 1, &v))
				return -EINVAL;
			to = v;
			if (dash && (!slice_u64(slice_from(part, from.n + 1), CPU_SETSIZE - 1, &to) ||
				     to < v))
				return -EINVAL;
			for (; v <= to; v++)
				CPU_SET(v, &set);
			if (comma && part.n + 1 == s.n)
				return -EINVAL;
			s = slice_from(s, part.n + 1);
		} while (s.n);
		v = 0;
	} else if (!slice_u64(s, CPU_SETSIZE, &v) || v == 0) {
		return -EINVAL;
	}
	*ret_count = (uint32_t)v;
	*ret_cpus = set;
	return 0;
}

/* "10.96.0.0/12"; the bits behind the prefix are zero and at least two of them exist. */
static int parse_cidr(struct slice s, struct addr *ret, uint32_t *ret_bits)
{
	const uint8_t *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct addr a;
	uint64_t bits;

	if (slash == NULL || addr_parse_ip(slice_of(s.p, (size_t)(slash - s.p)), &a) < 0)
		return -EINVAL;
	if (!slice_u64(slice_from(s, (size_t)(slash - s.p) + 1), a.family == 4 ? 30 : 126, &bits) ||
	    bits == 0)
		return -EINVAL;
	for (uint32_t i = (uint32_t)bits; i < (a.family == 4 ? 32u : 128u); i++)
		if (a.ip[i / 8] & (0x80 >> i % 8))
			return -EINVAL;
	*ret = a;
	*ret_bits = (uint32_t)bits;
	return 0;
}

static int parse_service(struct slice s, struct knobs_listener *l)
{
	const uint8_t *slash = s.n ? memchr(s.p, '/', s.n) : NULL, *colon;
	struct slice ns, name;
	uint64_t port;

	if (slash == NULL)
		return -EINVAL;
	ns = slice_of(s.p, (size_t)(slash - s.p));
	s = slice_from(s, ns.n + 1);
	colon = s.n ? memchr(s.p, ':', s.n) : NULL;
	if (colon == NULL)
		return -EINVAL;
	name = slice_of(s.p, (size_t)(colon - s.p));
	if (!is_dns_label(ns) || !is_dns_label(name) ||
	    !slice_u64(slice_from(s, name.n + 1), 65535, &port) || port == 0)
		return -EINVAL;
	memcpy(l->service_ns, ns.p, ns.n);
	l->service_ns[ns.n] = 0;
	memcpy(l->service_name, name.p, name.n);
	l->service_name[name.n] = 0;
	l->service_port = (uint32_t)port;
	return 0;
}

/* "shop/web": a namespace and a service account. */
static int parse_identity(struct slice s, struct knobs_listener *l)
{
	const uint8_t *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct slice ns, account;

	if (slash == NULL)
		return -EINVAL;
	ns = slice_of(s.p, (size_t)(slash - s.p));
	account = slice_from(s, ns.n + 1);
	if (!is_dns_label(ns) || !is_dns_name(account) || account.n > 63)
		return -EINVAL;
	memcpy(l->tls_ns, ns.p, ns.n);
	l->tls_ns[ns.n] = 0;
	memcpy(l->tls_account, account.p, account.n);
	l->tls_account[account.n] = 0;
	return 0;
}

/* What is wrong with this text for this key, in words; NULL: nothing. */
static const char *text_wrong(const char *key, const char *v)
{
	struct slice s = slice_str(v);
	struct addr a;
	uint32_t n;
	cpu_set_t cpus;

#define IS(k) (strcmp(key, k) == 0)
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] == 0x7f)
			return "control characters are not allowed";
	if (!is_utf8(s))
		return "must be UTF-8";
	if (IS("node") || IS("trust_domain") || IS("domain"))
		return is_dns_name(s) ? NULL : "must be a DNS name of lower-case letters, digits, - and .";
	if (IS("cluster") && s.n == 0)
		return "must not be empty";
	if (IS("cluster") || IS("zone"))
		return is_label_value(s) ? NULL :
					   "must be at most 63 letters, digits, -, _ and ., the first and "
					   "last a letter or digit";
	if (IS("workers"))
		return knobs_workers(v, &n, &cpus) == 0 ?
			       NULL :
			       "must be auto, a number from 1 to 1024, or a list like cpus=0,2-5";
	if (strncmp(key, "source.", 7) == 0)
		return source_text_wrong(key, v);
	if (IS("state_dir") || IS("run_dir") || IS("admin.socket") || IS("identity.dir"))
		return is_absolute_path(v) ? NULL : "must be an absolute path (start with /)";
	if (IS("identity.ca_certificate") || IS("identity.ca_key") || IS("identity.files") ||
	    IS("identity.bundle") || IS("identity.crl") || IS("identity.passphrase_file") || IS("system_ca"))
		return s.n == 0 || is_absolute_path(v) ? NULL : "must be empty or an absolute path (start with /)";
	if (IS("access_log.path"))
		return s.n == 0 || strcmp(v, "-") == 0 || is_absolute_path(v) ?
			       NULL :
			       "must be empty, - or an absolute path (start with /)";
	if (IS("admin.metrics"))
		return s.n == 0 || addr_parse(s, &a) == 0 ?
			       NULL :
			       "must be an address with a port like 127.0.0.1:15020 or [::1]:15020, or empty";
	if (IS("admin.group")) {
		for (size_t i = 0; i < s.n; i++)
			if (s.p[i] == ':' || s.p[i] == ' ' || s.p[i] == '/' || s.p[i] >= 0x80)
				return "must be the name of a group";
		return NULL;
	}
	if (IS("service_cidr"))
		return parse_cidr(s, &a, &n) == 0 ?
			       NULL :
			       "must be a range like 10.96.0.0/12 (prefix at most 30, for IPv6 126), and no "
			       "bit set behind the prefix";
	return NULL;
}

static const char *listener_text_wrong(const char *key, const char *v)
{
	struct knobs_listener l;
	struct slice s = slice_str(v);
	struct addr a;

	if (IS("name") || IS("namespace"))
		return is_dns_label(s) ? NULL :
					 "must be at most 63 lower-case letters, digits and -, not at the "
					 "ends";
	if (IS("bind"))
		return addr_parse(s, &a) == 0 ?
			       NULL :
			       "must be an address with a port like 127.0.0.1:8080 or [::1]:8080";
	if (IS("tls_certificate") || IS("tls_key"))
		return s.n == 0 || knobs_paths(v) ? NULL : "must be an absolute path (start with /), or up to 8, "
							   "with single blanks between them";
	if (IS("tls_client_ca"))
		return s.n == 0 || is_absolute_path(v) ? NULL : "must be an absolute path (start with /)";
	if (IS("tls_identity"))
		return s.n == 0 || parse_identity(s, &l) == 0 ? NULL :
								"must be namespace/account, like shop/web";
	if (IS("service"))
		return s.n == 0 || parse_service(s, &l) == 0 ? NULL :
							       "must be namespace/name:port, like shop/web:80";
	return NULL;
#undef IS
}

/* What is missing, or has no meaning, in the TLS of a listener: the key and words; NULL: nothing. */
static const char *tls_wrong(const struct knobs_listener *l, const char **ret_key)
{
	const bool on = l->tls == TLS_TERMINATE, asks = l->tls_client != TLS_CLIENT_OFF;
	const bool files = on && !l->tls_identity[0], mesh = asks && l->tls_client_trust == TLS_TRUST_MESH;
	const struct {
		const char *key;
		bool given, needed, meant;
		const char *with;
	} rows[] = {
		{ "tls_identity", l->tls_identity[0], false, on, "tls: terminate" },
		{ "tls_certificate", l->tls_certificate[0], files, files, "tls: terminate" },
		{ "tls_key", l->tls_key[0], files, files, "tls: terminate" },
		{ "tls_min_version", l->tls_min_version != TLS_MIN_1_3, false, files, "tls: terminate" },
		{ "tls_client", asks, false, on, "tls: terminate" },
		{ "tls_client_trust", l->tls_client_trust != TLS_TRUST_FILE, asks && l->tls_identity[0], asks,
		  asks ? "tls_client and tls_identity, and mesh" : "tls_client: optional or require" },
		{ "tls_client_ca", l->tls_client_ca[0], asks && !mesh, asks && !mesh,
		  mesh ? "tls_client_trust: file" :
		  asks ? "tls_client, or tls_client_trust: mesh" : "tls_client: optional or require" },
	};
	static char words[128];

	*ret_key = "tls_key";
	if (knobs_paths(l->tls_certificate) != knobs_paths(l->tls_key) && l->tls_key[0] && l->tls_certificate[0])
		return "must be as many files as tls_certificate";
	for (size_t i = 0; i < countof(rows); i++) {
		*ret_key = rows[i].key;
		if (rows[i].needed && !rows[i].given) {
			snprintf(words, sizeof words, "is required with %s", rows[i].with);
			return words;
		}
		if (rows[i].given && !rows[i].meant) {
			snprintf(words, sizeof words, "has a meaning only with %s%s", rows[i].with,
				 on && strcmp(rows[i].with, "tls: terminate") == 0 ?
					 ", and without tls_identity" : "");
			return words;
		}
	}
	return NULL;
}

/* The same of identities. */
static const char *identity_wrong(const struct knobs *k, const char **ret_key)
{
	const struct {
		const char *key, *value;
		bool needed, meant;
		const char *with;
	} rows[] = {
		{ "identity.ca_certificate", k->identity_ca_certificate, k->identity_issuer == IDENTITY_NODE_CA,
		  k->identity_issuer == IDENTITY_NODE_CA, "node-ca" },
		{ "identity.ca_key", k->identity_ca_key, k->identity_issuer == IDENTITY_NODE_CA,
		  k->identity_issuer == IDENTITY_NODE_CA, "node-ca" },
		{ "identity.files", k->identity_files, k->identity_issuer == IDENTITY_FILES,
		  k->identity_issuer == IDENTITY_FILES, "files" },
		{ "identity.bundle", k->identity_bundle, k->identity_issuer != IDENTITY_NONE,
		  k->identity_issuer != IDENTITY_NONE, "node-ca or files" },
		{ "identity.crl", k->identity_crl, false, k->identity_issuer != IDENTITY_NONE, "node-ca or files" },
		{ "identity.passphrase_file", k->identity_passphrase, false,
		  k->identity_issuer != IDENTITY_NONE, "node-ca or files" },
	};
	static char words[96];

	*ret_key = "identity.dir";
	if (strcmp(k->identity_dir, k->state_dir) == 0 || strcmp(k->identity_dir, k->run_dir) == 0)
		return "must be a directory of its own, neither state_dir nor run_dir";
	for (size_t i = 0; i < countof(rows); i++) {
		*ret_key = rows[i].key;
		if (rows[i].needed && !rows[i].value[0]) {
			snprintf(words, sizeof words, "is required with identity.issuer: %s", rows[i].with);
			return words;
		}
		if (rows[i].value[0] && !rows[i].meant) {
			snprintf(words, sizeof words, "has a meaning only with identity.issuer: %s", rows[i].with);
			return words;
		}
	}
	return NULL;
}

/* A listener that needs identities, where there are none: which key of it; NULL: there is none such. */
static const char *identity_unmet(const struct knobs *k, const struct knobs_listener *l)
{
	if (k->identity_issuer != IDENTITY_NONE)
		return NULL;
	return l->tls_identity[0] ? "tls_identity" :
	       l->tls_client_trust == TLS_TRUST_MESH ? "tls_client_trust" : NULL;
}

/* ---- reading the file ---- */

struct reading {
	const char *file;
	char *error;
	struct knobs *k;
	struct knobs_lines *lines;
};
static_must(countof(knob) == KNOBS);

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
		if (!word_index(k->values, s, enu_at(base, k)))
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
			     listener_text_wrong(k->key, text_at(base, k));
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
			must(parse_identity(slice_str(l->tls_identity), l) == 0);
		if (strcmp(listener_knob[row].key, "service") == 0 && l->service[0])
			must(parse_service(slice_str(l->service), l) == 0);
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
	wrong_words = tls_wrong(l, &wrong_key);
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
	must(parse_cidr(slice_str(k->service_cidr), &k->service_base, &k->service_bits) == 0);
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
			must(word_index(knob[i].values, slice_str(knob[i].def), enu_at(k, &knob[i])));
	}
	must(parse_cidr(slice_str(k->service_cidr), &k->service_base, &k->service_bits) == 0);
	if (gethostname(host, sizeof host - 1) == 0) {
		for (char *c = host; *c; c++)
			*c = (char)byte_lower((uint8_t)*c);
		if (is_dns_name(slice_str(host)))
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

/* ---- the other directions ---- */

/* The code point at s (which is UTF-8) and how many bytes it takes; a byte that is not UTF-8
 * counts as itself. */
static uint32_t code_point(const uint8_t *s, unsigned *ret_n)
{
	unsigned n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;
	uint32_t c = n == 1 ? s[0] : s[0] & (0xff >> (n + 1));

	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) {
			*ret_n = 1;
			return s[0];
		}
		c = c << 6 | (s[i] & 0x3f);
	}
	*ret_n = n;
	return c;
}

/* ASCII only: some code points are line ends to YAML. */
static void print_text(const char *text, FILE *f)
{
	const uint8_t *s = (const uint8_t *)text;
	unsigned n = 1;

	fputc('"', f);
	for (; *s; s += n) {
		uint32_t c = code_point(s, &n);

		if (c >= 0x7f)
			fprintf(f, "\\U%08x", c);
		else
			fprintf(f, c == '"' || c == '\\' ? "\\%c" : "%c", (int)c);
	}
	fputc('"', f);
}

static void print_value(const void *base, const struct knob *k, FILE *f)
{
	struct slice w;

	if (k->type == KNOB_STR) {
		print_text(text_at(base, k), f);
	} else if (k->type == KNOB_NUM) {
		fprintf(f, "%lld", (long long)*num_at(base, k));
	} else {
		w = word_at(k->values, *enu_at(base, k));
		fwrite(w.p, 1, w.n, f);
	}
}

void knobs_print(const struct knobs *k, FILE *f)
{
	char section[64] = "";

	for (unsigned i = 0; i < countof(knob); i++) {
		const char *dot = strchr(knob[i].key, '.');
		size_t n = dot ? (size_t)(dot - knob[i].key) : 0;

		if (dot && (strncmp(section, knob[i].key, n) != 0 || section[n])) {
			snprintf(section, sizeof section, "%.*s", (int)n, knob[i].key);
			fprintf(f, "%s:\n", section);
		} else if (dot == NULL) {
			section[0] = 0;
		}
		fprintf(f, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : knob[i].key);
		print_value(k, &knob[i], f);
		fputc('\n', f);
	}
	fprintf(f, "listeners:%s\n", k->n_listeners ? "" : " []");
	for (unsigned i = 0; i < k->n_listeners; i++) {
		for (unsigned j = 0; j < countof(listener_knob); j++) {
			fprintf(f, "%s%s: ", j ? "    " : "  - ", listener_knob[j].key);
			print_value(&k->listener[i], &listener_knob[j], f);
			fputc('\n', f);
		}
	}
}

bool knobs_row(unsigned i, struct knob_row *ret)
{
	static const char *const type[] = { "text", "number", "word" };
	const struct knob *k;

	if (i >= countof(knob) + countof(listener_knob))
		return false;
	k = i < countof(knob) ? &knob[i] : &listener_knob[i - countof(knob)];
	*ret = (struct knob_row){ .key = k->key, .type = type[k->type], .def = k->def,
				  .unit = k->unit, .values = k->values, .help = k->help,
				  .min = k->min, .max = k->type == KNOB_STR ? (int64_t)k->bytes - 1 : k->max,
				  .reload = k->reload, .of_listener = i >= countof(knob),
				  .required = k->required };
	return true;
}

static void value_text(const void *base, const struct knob *k, char *out, size_t n)
{
	struct slice w;

	if (k->type == KNOB_STR) {
		snprintf(out, n, "%s", text_at(base, k));
	} else if (k->type == KNOB_NUM) {
		snprintf(out, n, "%lld", (long long)*num_at(base, k));
	} else {
		w = word_at(k->values, *enu_at(base, k));
		snprintf(out, n, "%.*s", (int)w.n, w.n ? (const char *)w.p : "");
	}
}

void knobs_value(const struct knobs *k, unsigned i, char *out, size_t n)
{
	out[0] = 0;
	if (i < countof(knob))
		value_text(k, &knob[i], out, n);
}

bool knobs_listener_value(const struct knobs_listener *l, unsigned i, char *out, size_t n)
{
	if (i >= countof(listener_knob))
		return false;
	value_text(l, &listener_knob[i], out, n);
	return true;
}

static bool value_is_sane(const void *base, const struct knob *k, bool of_listener)
{
	if (k->type == KNOB_NUM)
		return *num_at(base, k) >= k->min && *num_at(base, k) <= k->max;
	if (k->type == KNOB_ENU)
		return *enu_at(base, k) < 32 && word_at(k->values, *enu_at(base, k)).n;
	if (memchr(text_at(base, k), 0, k->bytes) == NULL)
		return false;
	return (of_listener ? listener_text_wrong(k->key, text_at(base, k)) :
			      text_wrong(k->key, text_at(base, k))) == NULL;
}

static bool listener_is_sane(const struct knobs_listener *l)
{
	struct knobs_listener again = { 0 };
	const char *key;

	for (unsigned j = 0; j < countof(listener_knob); j++)
		if (!value_is_sane(l, &listener_knob[j], true))
			return false;
	if (addr_parse(slice_str(l->bind), &again.addr) < 0 || !addr_eq(&again.addr, &l->addr))
		return false;
	if ((l->route == LISTEN_SERVICE) != (l->service[0] != 0))
		return false;
	if (l->service[0] && parse_service(slice_str(l->service), &again) < 0)
		return false;
	if (tls_wrong(l, &key) || (l->tls_identity[0] && parse_identity(slice_str(l->tls_identity), &again) < 0))
		return false;
	if (!memchr(l->tls_ns, 0, sizeof l->tls_ns) || !memchr(l->tls_account, 0, sizeof l->tls_account) ||
	    strcmp(l->tls_ns, again.tls_ns) != 0 || strcmp(l->tls_account, again.tls_account) != 0)
		return false;
	return memchr(l->service_ns, 0, sizeof l->service_ns) &&
	       memchr(l->service_name, 0, sizeof l->service_name) &&
	       strcmp(l->service_ns, again.service_ns) == 0 &&
	       strcmp(l->service_name, again.service_name) == 0 &&
	       l->service_port == again.service_port;
}

/* What was parsed is what is written. */
static bool same_endpoints(const struct knobs *k)
{
	struct addr a[KNOBS_ENDPOINTS];
	uint32_t n;

	if (source_endpoints(slice_str(k->source_endpoints), a, &n) < 0 || n != k->n_source_endpoints)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!addr_eq(&a[i], &k->source_endpoint[i]))
			return false;
	return true;
}

int knobs_check(const void *bytes, size_t n)
{
	const struct knobs *k = bytes;
	const char *key;
	struct addr base;
	uint32_t bits;

	if (n != sizeof *k || k->magic != KNOBS_MAGIC || k->bytes != sizeof *k ||
	    k->n_listeners > KNOBS_LISTENERS)
		return -EBADMSG;
	for (unsigned i = 0; i < countof(knob); i++)
		if (!value_is_sane(k, &knob[i], false))
			return -EBADMSG;
	if (identity_wrong(k, &key))
		return -EBADMSG;
	if (k->source_kind > SOURCE_ETCD || source_wrong(k, &key) || !same_endpoints(k))
		return -EBADMSG;
	if ((k->log_ring_bytes & (k->log_ring_bytes - 1)) || k->respawn_min_ms > k->respawn_max_ms)
		return -EBADMSG;
	if (parse_cidr(slice_str(k->service_cidr), &base, &bits) < 0 ||
	    !addr_eq(&base, &k->service_base) || bits != k->service_bits)
		return -EBADMSG;
	for (unsigned i = 0; i < k->n_listeners; i++)
		if (!listener_is_sane(&k->listener[i]) || identity_unmet(k, &k->listener[i]))
			return -EBADMSG;
	return 0;
}

int knobs_map(struct fd f, struct slice *ret)
{
	struct slice s = { 0 };
	int r = memfd_map_sealed(f, sizeof(struct knobs), &s);

	if (r == -EMSGSIZE)
		return -EBADMSG;	/* another build's */
	if (r == 0)
		r = knobs_check(s.p, s.n);
	if (r < 0) {
		memfd_unmap(&s);
		return r;
	}
	*ret = s;
	return 0;
}
