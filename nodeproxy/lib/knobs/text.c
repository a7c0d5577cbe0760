/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See text.h.
 *
 * The rows say names, types and bounds; what one row cannot say (an absolute path, an address, a
 * list of CPUs) is in text_wrong(), one case per key, run for the file and again for what arrives
 * over a channel. */
#include "nodeproxy/lib/knobs/text.h"

#include <errno.h>

#include "nodeproxy/lib/knobs/source.h"

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

bool text_is_dns_name(struct slice s)
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

int text_cidr(struct slice s, struct addr *ret, uint32_t *ret_bits)
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

int text_service(struct slice s, struct knobs_listener *l)
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

int text_identity(struct slice s, struct knobs_listener *l)
{
	const uint8_t *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct slice ns, account;

	if (slash == NULL)
		return -EINVAL;
	ns = slice_of(s.p, (size_t)(slash - s.p));
	account = slice_from(s, ns.n + 1);
	if (!is_dns_label(ns) || !text_is_dns_name(account) || account.n > 63)
		return -EINVAL;
	memcpy(l->tls_ns, ns.p, ns.n);
	l->tls_ns[ns.n] = 0;
	memcpy(l->tls_account, account.p, account.n);
	l->tls_account[account.n] = 0;
	return 0;
}

const char *text_wrong(const char *key, const char *v)
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
		return text_is_dns_name(s) ? NULL : "must be a DNS name of lower-case letters, digits, - and .";
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
		return text_cidr(s, &a, &n) == 0 ?
			       NULL :
			       "must be a range like 10.96.0.0/12 (prefix at most 30, for IPv6 126), and no "
			       "bit set behind the prefix";
	return NULL;
}

const char *text_listener_wrong(const char *key, const char *v)
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
		return s.n == 0 || text_identity(s, &l) == 0 ? NULL :
								"must be namespace/account, like shop/web";
	if (IS("service"))
		return s.n == 0 || text_service(s, &l) == 0 ? NULL :
							       "must be namespace/name:port, like shop/web:80";
	return NULL;
#undef IS
}
