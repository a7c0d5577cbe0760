/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See source.h. */
#include "nodeproxy/lib/knobs/source.h"

#include <errno.h>
#include <string.h>

int source_endpoints(struct slice text, struct addr ret[KNOBS_ENDPOINTS], uint32_t *ret_n)
{
	uint32_t n = 0;

	while (text.n) {
		const uint8_t *comma = memchr(text.p, ',', text.n);
		struct slice one = slice_of(text.p, comma ? (size_t)(comma - text.p) : text.n);

		text = slice_from(text, one.n + (comma != NULL));
		if (comma && text.n == 0)
			return -EINVAL;
		while (one.n && one.p[0] == ' ')
			one = slice_from(one, 1);
		while (one.n && one.p[one.n - 1] == ' ')
			one.n--;
		if (n == KNOBS_ENDPOINTS || addr_parse(one, &ret[n]) < 0 || ret[n].port == 0)
			return -EINVAL;
		n++;
	}
	*ret_n = n;
	return 0;
}

static bool is_prefix(struct slice s)
{
	if (s.n < 2 || s.p[0] != '/' || s.p[s.n - 1] == '/')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return true;
}

const char *source_text_wrong(const char *key, const char *v)
{
	struct addr a[KNOBS_ENDPOINTS];
	struct slice s = slice_str(v);
	uint32_t n;

#define IS(k) (strcmp(key, k) == 0)
	if (IS("source.path"))
		return v[0] == '/' ? NULL : "must be an absolute path (start with /)";
	if (IS("source.endpoints"))
		return source_endpoints(s, a, &n) == 0 ?
			       NULL :
			       "must be at most 16 addresses with ports like 10.0.0.1:2379 or [fd00::1]:2379";
	if (IS("source.prefix"))
		return is_prefix(s) ? NULL : "must start with /, not end with it, and have no blank in it";
	if (IS("source.ca") || IS("source.cert") || IS("source.key") || IS("source.password_file"))
		return s.n == 0 || v[0] == '/' ? NULL : "must be an absolute path (start with /)";
	if (IS("source.server_name"))
		for (size_t i = 0; i < s.n; i++)
			if (s.p[i] <= ' ' || s.p[i] > '~')
				return "must be a DNS name or an address";
	return NULL;
#undef IS
}

static bool is_loopback(const struct addr *a)
{
	static const uint8_t six[16] = { [15] = 1 };

	return a->family == 4 ? a->ip[0] == 127 : memcmp(a->ip, six, sizeof six) == 0;
}

/* A password would be readable by whoever is on the way. */
static bool is_in_the_clear(const struct knobs *k)
{
	for (uint32_t i = 0; k->source_ca[0] == 0 && i < k->n_source_endpoints; i++)
		if (!is_loopback(&k->source_endpoint[i]))
			return true;
	return false;
}

const char *source_wrong(const struct knobs *k, const char **ret_key)
{
	const bool etcd = k->source_kind == SOURCE_ETCD, tls = k->source_ca[0];
	const bool user = k->source_user[0], cert = k->source_cert[0];
	const struct {
		const char *key;
		bool given, needed, meant;
		const char *needs, *means;
	} rows[] = {
		{ "source.endpoints", k->source_endpoints[0], etcd, etcd,
		  "is required with kind: etcd, like 10.0.0.1:2379", "has a meaning only with kind: etcd" },
		{ "source.slices", k->source_slices != SLICES_ALL, false, etcd,
		  "", "has a meaning only with kind: etcd" },
		{ "source.ca", tls, cert, etcd,
		  "is required with cert", "has a meaning only with kind: etcd" },
		{ "source.server_name", k->source_server_name[0], false, tls,
		  "", "has a meaning only with ca" },
		{ "source.cert", cert, k->source_key[0], tls,
		  "is required with key", "has a meaning only with ca" },
		{ "source.key", k->source_key[0], cert, cert,
		  "is required with cert", "has a meaning only with cert" },
		{ "source.user", user, k->source_password_file[0], etcd,
		  "is required with password_file", "has a meaning only with kind: etcd" },
		{ "source.password_file", k->source_password_file[0], user, user,
		  "is required with user", "has a meaning only with user" },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		*ret_key = rows[i].key;
		if (rows[i].needed && !rows[i].given)
			return rows[i].needs;
		if (rows[i].given && !rows[i].meant)
			return rows[i].means;
	}
	*ret_key = "source.user";
	if (user && is_in_the_clear(k))
		return "needs ca: without TLS everybody on the way could read the password";
	return NULL;
}
