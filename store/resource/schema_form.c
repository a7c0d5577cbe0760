/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Forms of texts (enum schema_form): what each must look like, and what is said of one that does not. */
#include "store/resource/schema_inner.h"

static bool is_lower_alnum(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool schema_is_dns_label(struct slice s)
{
	if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_alnum(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

bool schema_is_dns_name(struct slice s)
{
	if (s.n == 0 || s.n > 253)
		return false;
	for (;;) {
		const uint8_t *dot = s.n ? memchr(s.p, '.', s.n) : NULL;

		if (!schema_is_dns_label(slice_of(s.p, dot ? (size_t)(dot - s.p) : s.n)))
			return false;
		if (dot == NULL)
			return true;
		s = slice_from(s, (size_t)(dot - s.p) + 1);
	}
}

/* 1..63 letters, digits, -_. with a letter or digit at both ends. */
static bool is_label_word(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		bool inner = i && i + 1 < s.n;

		if (!is_lower_alnum(byte_lower(s.p[i])) &&
		    !(inner && (s.p[i] == '-' || s.p[i] == '_' || s.p[i] == '.')))
			return false;
	}
	return s.n >= 1 && s.n <= 63;
}

bool schema_is_label_key(struct slice s)
{
	const uint8_t *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	size_t n = slash ? (size_t)(slash - s.p) : 0;

	if (slash && !schema_is_dns_name(slice_of(s.p, n)))
		return false;
	return is_label_word(slice_from(s, slash ? n + 1 : 0));
}

/* What is wrong with the value of a path match, as the CRD of HTTPRoute says it; NULL: nothing. */
static const char *path_wrong(struct slice s)
{
	static const char *const parts[] = { "//", "/./", "/../", "%2f", "%2F", "#" };
	static const char *const ends[] = { "/..", "/." };
	static const char marks[] = "-/._~!$&'()*+,;=:@";

	if (s.n == 0)
		return NULL;
	if (s.p[0] != '/')
		return "must start with /";
	for (size_t i = 0; i < countof(parts); i++) {
		if (memmem(s.p, s.n, parts[i], strlen(parts[i])))
			return i == 0 ? "must not contain //" :
			       i == 1 ? "must not contain /./" :
			       i == 2 ? "must not contain /../" :
			       i == 5 ? "must not contain #" :
					"must not contain an encoded slash (%2f)";
	}
	for (size_t i = 0; i < countof(ends); i++) {
		size_t n = strlen(ends[i]);

		if (s.n >= n && memcmp(s.p + s.n - n, ends[i], n) == 0)
			return i ? "must not end with /." : "must not end with /..";
	}
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c == '%') {
			if (s.n - i < 3 || !memchr("0123456789abcdefABCDEF", s.p[i + 1], 22) ||
			    !memchr("0123456789abcdefABCDEF", s.p[i + 2], 22))
				return "has a % that two hexadecimal digits do not follow";
		} else if (!is_lower_alnum(byte_lower(c)) && !memchr(marks, c, sizeof marks - 1)) {
			return "has a character that must be percent-encoded in a path";
		}
	}
	return NULL;
}

static bool is_token(struct slice s)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_alnum(byte_lower(s.p[i])) && !memchr(marks, s.p[i], sizeof marks - 1))
			return false;
	return s.n > 0;
}

/* [A-Za-z_][A-Za-z_0-9]* */
static bool is_grpc_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_alnum(byte_lower(s.p[i])) && s.p[i] != '_')
			return false;
	return s.n > 0 && !(s.p[0] >= '0' && s.p[0] <= '9');
}

/* Such names with dots between them, and perhaps one before. */
static bool is_grpc_service(struct slice s)
{
	if (s.n && s.p[0] == '.')
		s = slice_from(s, 1);
	for (;;) {
		const uint8_t *dot = s.n ? memchr(s.p, '.', s.n) : NULL;

		if (!is_grpc_name(slice_of(s.p, dot ? (size_t)(dot - s.p) : s.n)))
			return false;
		if (dot == NULL)
			return true;
		s = slice_from(s, (size_t)(dot - s.p) + 1);
	}
}

static const char *ip_wrong(struct slice s, bool of_endpoint)
{
	static const uint8_t zero[16];
	struct addr a;

	if (addr_parse_ip(s, &a) < 0)
		return "must be an IPv4 or IPv6 address";
	if (memcmp(a.ip, zero, sizeof zero) == 0)
		return "must not be the unspecified address";
	if (a.family == 4 ? a.ip[0] >= 224 : a.ip[0] == 0xff)
		return "must not be a multicast or reserved address";
	if (of_endpoint && (a.family == 4 ? a.ip[0] == 169 && a.ip[1] == 254 :
					    a.ip[0] == 0xfe && (a.ip[1] & 0xc0) == 0x80))
		return "must not be a link-local address";
	if (a.family == 6 && memcmp(a.ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0)
		return "must not be an IPv4 address written as IPv6";
	return NULL;
}

static const char *header_name_wrong(struct slice s)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	if (s.n == 0)
		return "must not be empty";
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_alnum(byte_lower(s.p[i])) && !memchr(marks, s.p[i], sizeof marks - 1))
			return "must be a header name: letters, digits and !#$%&'*+-.^_`|~";
	return NULL;
}

static const char *method_wrong(struct slice s)
{
	static const char *const known[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS",
					     "TRACE", "PATCH", "*" };

	for (size_t i = 0; i < countof(known); i++)
		if (slice_eq(s, slice_str(known[i])))
			return NULL;
	return "must be GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH or *";
}

/* ^\*$ | ^https?://(\*|(\*\.)?label(\.label)*)(:[0-9]{1,5})?$ */
static const char *origin_wrong(struct slice s)
{
	static const char form[] = "must be * or scheme://host[:port], of http or https, without a path";
	const uint8_t *colon;
	uint64_t port;

	if (slice_eq(s, SLICE("*")))
		return NULL;
	if (slice_starts(s, SLICE("http://")))
		s = slice_from(s, 7);
	else if (slice_starts(s, SLICE("https://")))
		s = slice_from(s, 8);
	else
		return form;
	colon = s.n ? memchr(s.p, ':', s.n) : NULL;
	if (colon) {
		size_t n = (size_t)(colon - s.p);

		if (s.n - n > 6 || !slice_u64(slice_from(s, n + 1), 65535, &port) || port == 0)
			return form;
		s.n = n;
	}
	if (slice_eq(s, SLICE("*")))
		return NULL;
	if (slice_starts(s, SLICE("*.")))
		s = slice_from(s, 2);
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_alnum(byte_lower(s.p[i])) && s.p[i] != '-' &&
		    (s.p[i] != '.' || i == 0 || i + 1 == s.n || s.p[i - 1] == '.'))
			return form;
	return s.n ? NULL : form;
}

static const char *header_value_wrong(struct slice s)
{
	if (s.n && (slice_trim(s).n != s.n))
		return "must not begin or end with a blank";
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return "must not have control characters";
	return NULL;
}

bool schema_statuses(struct slice s, uint16_t *ret_from, uint16_t *ret_to)
{
	uint64_t from, to;

	if ((s.n != 3 && (s.n != 7 || s.p[3] != '-')) || !slice_u64(slice_of(s.p, 3), 599, &from) ||
	    !slice_u64(slice_of(s.p + s.n - 3, 3), 599, &to) || from < 100 || from > to)
		return false;
	*ret_from = (uint16_t)from;
	*ret_to = (uint16_t)to;
	return true;
}

const char *schema_form_wrong(enum schema_form f, struct slice s)
{
	uint16_t from, to;

	switch (f) {
	case FORM_DNS_LABEL:
		return s.n == 0 || schema_is_dns_label(s) ?
			       NULL :
			       "must be at most 63 lower-case letters, digits and -, starting and ending with "
			       "a letter or digit";
	case FORM_DNS_NAME:
		return s.n == 0 || schema_is_dns_name(s) ?
			       NULL :
			       "must be lower-case letters, digits, - and ., each part starting and ending with "
			       "a letter or digit";
	case FORM_LABEL_KEY:
		return s.n == 0 || schema_is_label_key(s) ?
			       NULL :
			       "must be a name of letters, digits, -, _ and ., perhaps with a DNS name and / before";
	case FORM_LABELS:
		return s.n == 0 || is_label_word(s) ?
			       NULL :
			       "must be at most 63 letters, digits, -, _ and ., the first and last a letter or digit";
	case FORM_CLUSTER_IP:
		return s.n == 0 || slice_eq(s, SLICE("None")) ? NULL : ip_wrong(s, false);
	case FORM_ENDPOINT_IP:
		return ip_wrong(s, true);
	case FORM_IP_FAMILY:
		return slice_eq(s, SLICE("IPv4")) || slice_eq(s, SLICE("IPv6")) ? NULL :
										  "must be IPv4 or IPv6";
	case FORM_PATH:
		return path_wrong(s);
	case FORM_TOKEN:
		return s.n == 0 || is_token(s) ?
			       NULL :
			       "must be letters, digits and !#$%&'*+-.^_`|~";
	case FORM_HOSTNAME:
		return schema_is_dns_name(slice_from(s, slice_starts(s, SLICE("*.")) ? 2 : 0)) ?
			       NULL :
			       "must be lower-case letters, digits, - and ., perhaps with *. before them";
	case FORM_GRPC_SERVICE:
		return s.n == 0 || is_grpc_service(s) ?
			       NULL :
			       "must be names of letters, digits and _ with dots between them";
	case FORM_GRPC_METHOD:
		return s.n == 0 || is_grpc_name(s) ? NULL :
						     "must be letters, digits and _, not starting with a digit";
	case FORM_HEADER_NAME:
		return header_name_wrong(s);
	case FORM_METHOD:
		return method_wrong(s);
	case FORM_ORIGIN:
		return origin_wrong(s);
	case FORM_HEADER_VALUE:
		return header_value_wrong(s);
	case FORM_STATUSES:
		return schema_statuses(s, &from, &to) ? NULL : "must be a status like \"200\", or several like \"200-299\"";
	case FORM_ANNOTATIONS:
		return NULL;
	case FORM_LINES:
		for (size_t i = 0; i < s.n; i++)
			if ((s.p[i] < 0x20 && s.p[i] != '\n' && s.p[i] != '\r' && s.p[i] != '\t') ||
			    s.p[i] == 0x7f)
				return "must not have control characters";
		return NULL;
	case FORM_ANY:
		for (size_t i = 0; i < s.n; i++)
			if (s.p[i] < 0x20 || s.p[i] == 0x7f)
				return "must not have control characters";
		return NULL;
	}
	return NULL;
}

