/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See schema.h: the rows, and the walk over a document. */
#include "store/resource/schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* What the columns of kinds.def become. */
#define TEXT(f, lo, hi)	 .type = SCHEMA_TEXT, .form = FORM_##f, .min = lo, .max = hi
#define CHOICE(v, l)	 .type = SCHEMA_CHOICE, .values = v, .later = l
#define NUMBER(lo, hi)	 .type = SCHEMA_NUMBER, .min = lo, .max = hi
#define FLAG		 .type = SCHEMA_FLAG
#define TIME		 .type = SCHEMA_TIME
#define QUANTITY(lo, hi) .type = SCHEMA_QUANTITY, .min = lo, .max = hi
#define DURATION(lo, hi) .type = SCHEMA_DURATION, .min = lo, .max = hi
#define PORTREF		 .type = SCHEMA_PORTREF
#define OBJ(o)		 .type = SCHEMA_OBJ, .of = SCHEMA_##o
#define OBJS(o, lo, hi)	 .type = SCHEMA_OBJS, .of = SCHEMA_##o, .min = lo, .max = hi
#define TEXTS(f, lo, hi) .type = SCHEMA_TEXTS, .form = FORM_##f, .min = lo, .max = hi
#define MAP(f)		 .type = SCHEMA_MAP, .form = FORM_##f
#define ANY		 .type = SCHEMA_ANY
#define NUMBERS(lo, hi)	 .type = SCHEMA_NUMBERS, .min = lo, .max = hi
#define CHOICES(v)	 .type = SCHEMA_CHOICES, .values = v

/* clang-format off */
static const struct schema_field row[] = {
#define FIELD(o, n, t, w, r, h) \
	{ .object = SCHEMA_##o, .name = n, t, .word = SCHEMA_##w, .required = r, .help = h },
#include "store/resource/kinds.def"
};

static const struct schema_kind kind_row[] = {
#define KIND(r, k, v, ns, o, h) { r, k, v, ns, SCHEMA_##o, h },
#include "store/resource/kinds.def"
};
/* clang-format on */

const struct schema_kind *schema_kind_at(unsigned i)
{
	return i < countof(kind_row) ? &kind_row[i] : NULL;
}

const struct schema_field *schema_field_at(unsigned i)
{
	return i < countof(row) ? &row[i] : NULL;
}

/* The rows of an object stand together: where they start (a file of endpoints asks often). */
static unsigned first_row(enum schema_object o)
{
	static uint16_t start[SCHEMA_OBJECTS];	/* + 1; 0: not looked for yet */

	if (start[o] == 0) {
		unsigned j = 0;

		while (j < countof(row) && row[j].object != o)
			j++;
		start[o] = (uint16_t)(j + 1);
	}
	return start[o] - 1u;
}

const struct schema_field *schema_field_of(enum schema_object o, unsigned i)
{
	unsigned j = first_row(o) + i;

	return j < countof(row) && row[j].object == o ? &row[j] : NULL;
}

void judge_field(struct judge *j, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->field, sizeof j->field, fmt, ap);
	va_end(ap);
}

int judge_refuse(struct judge *j, uint32_t line, const char *fmt, ...)
{
	va_list ap;

	j->line = line;
	va_start(ap, fmt);
	vsnprintf(j->reason, sizeof j->reason, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- forms ---- */

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

static bool is_label_key(struct slice s)
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

static const char *form_wrong(enum schema_form f, struct slice s)
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
		return s.n == 0 || is_label_key(s) ?
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

static bool digits(struct slice s, size_t at, size_t n, int *ret)
{
	uint64_t v;

	if (s.n < at + n || !slice_u64(slice_of(s.p + at, n), 9999, &v))
		return false;
	*ret = (int)v;
	return true;
}

bool schema_time(struct slice s, int64_t *ret)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	struct tm tm = { 0 };
	int year, zh = 0, zm = 0, ms = 0, month_days;
	size_t at = 19;
	int64_t t;
	bool minus = false;

	if (s.n < 20 || s.p[4] != '-' || s.p[7] != '-' || (s.p[10] != 'T' && s.p[10] != 't') ||
	    s.p[13] != ':' || s.p[16] != ':')
		return false;
	if (!digits(s, 0, 4, &year) || !digits(s, 5, 2, &tm.tm_mon) ||
	    !digits(s, 8, 2, &tm.tm_mday) || !digits(s, 11, 2, &tm.tm_hour) ||
	    !digits(s, 14, 2, &tm.tm_min) || !digits(s, 17, 2, &tm.tm_sec))
		return false;
	if (year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return false;
	month_days = days[tm.tm_mon - 1];
	if (tm.tm_mon == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		month_days = 29;
	if (tm.tm_mday < 1 || tm.tm_mday > month_days)
		return false;
	if (s.p[at] == '.') {
		int weight = 100;
		size_t first = ++at;

		for (; at < s.n && s.p[at] >= '0' && s.p[at] <= '9'; at++, weight /= 10)
			ms += (s.p[at] - '0') * weight;
		if (at == first)
			return false;
	}
	if (at + 1 == s.n && (s.p[at] == 'Z' || s.p[at] == 'z')) {
		at++;
	} else if (at + 6 == s.n && (s.p[at] == '+' || s.p[at] == '-') && s.p[at + 3] == ':') {
		minus = s.p[at] == '-';
		if (!digits(s, at + 1, 2, &zh) || !digits(s, at + 4, 2, &zm) || zh > 23 || zm > 59)
			return false;
	} else {
		return false;
	}
	tm.tm_year = year - 1900;
	tm.tm_mon--;
	t = (int64_t)timegm(&tm) - (minus ? -1 : 1) * (zh * 3600 + zm * 60);
	*ret = max_of(t, (int64_t)0) * 1000 + ms;
	return true;
}

bool schema_quantity(struct slice s, uint64_t *ret)
{
	static const struct {
		const char *suffix;
		unsigned power, base;
	} unit[] = {
		{ "", 0, 10 },	 { "k", 3, 10 },  { "M", 6, 10 },  { "G", 9, 10 },  { "T", 12, 10 },
		{ "P", 15, 10 }, { "Ki", 1, 2 },  { "Mi", 2, 2 },  { "Gi", 3, 2 },  { "Ti", 4, 2 },
		{ "Pi", 5, 2 },
	};
	unsigned __int128 v = 0, divide = 1;
	size_t i = 0, count = 0;
	bool point = false;

	for (; i < s.n && (s.p[i] == '.' || (s.p[i] >= '0' && s.p[i] <= '9')); i++) {
		if (s.p[i] == '.') {
			if (point)
				return false;
			point = true;
			continue;
		}
		if (++count > 18)
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
		if (point)
			divide *= 10;
	}
	if (count == 0)
		return false;
	s = slice_from(s, i);
	for (size_t u = 0; u < countof(unit); u++) {
		if (!slice_eq(s, slice_str(unit[u].suffix)))
			continue;
		/* at most 10^18 * 2^50 or 10^18 * 10^15: 2^110 */
		if (unit[u].base == 2)
			v <<= 10 * unit[u].power;
		else
			for (unsigned p = 0; p < unit[u].power; p++)
				v *= 10;
		v = (v + divide - 1) / divide;
		if (v > UINT64_MAX)
			return false;
		*ret = (uint64_t)v;
		return true;
	}
	return false;
}

static const struct {
	const char *name;
	uint32_t ms;
} duration_unit[] = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

bool schema_duration(struct slice s, uint32_t *ret_ms)
{
	uint64_t sum = 0;

	/* ^([0-9]{1,5}(h|m|s|ms)){1,4}$; any order, any unit twice */
	for (unsigned parts = 0; parts == 0 || s.n; parts++) {
		size_t digits = 0, letters = 0, u = 0;
		uint64_t n = 0;

		while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
			n = digits < 5 ? n * 10 + (s.p[digits++] - '0') : (digits++, n);
		while (digits + letters < s.n && s.p[digits + letters] >= 'a' &&
		       s.p[digits + letters] <= 'z')
			letters++;
		while (u < countof(duration_unit) &&
		       !slice_eq(slice_of(s.p + digits, letters), slice_str(duration_unit[u].name)))
			u++;
		if (digits < 1 || digits > 5 || u == countof(duration_unit) || parts == 4)
			return false;
		sum += n * duration_unit[u].ms;	/* at most 4 * 99999 h: 2^41 ms */
		s = slice_from(s, digits + letters);
	}
	/* 49 days: over every bound */
	*ret_ms = (uint32_t)min_of(sum, (uint64_t)UINT32_MAX);
	return true;
}

const char *schema_duration_text(uint32_t ms, char out[SCHEMA_DURATION_TEXT])
{
	size_t n = 0;

	if (ms == 0)
		snprintf(out, SCHEMA_DURATION_TEXT, "0s");
	for (size_t u = 0; u < countof(duration_unit); u++) {
		if (ms < duration_unit[u].ms)
			continue;
		n += (size_t)snprintf(out + n, SCHEMA_DURATION_TEXT - n, "%u%s",
				      ms / duration_unit[u].ms, duration_unit[u].name);
		ms %= duration_unit[u].ms;
	}
	return out;
}

/* ---- the walk ---- */

/* Where we are, from the leaf to the root; index -1: name is a field; name NULL: key of a map. */
struct at {
	const struct at *up;
	const char *name;
	struct slice key;
	int64_t index;
};

static void write_at(const struct at *at, struct judge *j)
{
	size_t n;
	char key[128];

	if (at == NULL) {
		j->field[0] = 0;
		return;
	}
	write_at(at->up, j);
	n = strlen(j->field);
	if (at->index >= 0)
		snprintf(j->field + n, sizeof j->field - n, "[%lld]", (long long)at->index);
	else if (at->name)
		snprintf(j->field + n, sizeof j->field - n, "%s%s", n ? "." : "", at->name);
	else
		snprintf(j->field + n, sizeof j->field - n, "[%s]",
			 doc_clean(at->key, key, sizeof key));
}

static int refuse(struct judge *j, const struct at *at, uint32_t line, const char *fmt, ...)
	printf_like(4, 5);
static int refuse(struct judge *j, const struct at *at, uint32_t line, const char *fmt, ...)
{
	va_list ap;

	write_at(at, j);
	j->line = line;
	va_start(ap, fmt);
	vsnprintf(j->reason, sizeof j->reason, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int wrong_type(struct judge *j, const struct at *at, const struct doc_node *n,
		      const char *want)
{
	char seen[64];

	if (n->type == DOC_LIST || n->type == DOC_MAP || n->type == DOC_NULL)
		return refuse(j, at, n->line, "must be %s, not %s", want, doc_type_name(n->type));
	return refuse(j, at, n->line, "must be %s, not %s", want,
		      doc_clean(n->text, seen, sizeof seen));
}

static int check_text(struct judge *j, const struct at *at, enum schema_form form, int64_t min,
		      int64_t max, const struct doc_node *n)
{
	const char *why;
	char seen[64];

	if (n->type == DOC_BOOL || n->type == DOC_INT || n->type == DOC_NUMBER)
		return refuse(j, at, n->line, "must be text: write \"%s\" in quotes",
			      doc_clean(n->text, seen, sizeof seen));
	if (n->type != DOC_STR)
		return wrong_type(j, at, n, "text");
	doc_clean(n->text, seen, sizeof seen);
	if ((int64_t)n->text.n < min)
		return refuse(j, at, n->line, "must not be empty");
	if (max && (int64_t)n->text.n > max)
		return refuse(j, at, n->line, "must be at most %lld bytes, not %zu", (long long)max,
			      n->text.n);
	why = form_wrong(form, n->text);
	return why ? refuse(j, at, n->line, "%s, not \"%s\"", why, seen) : 0;
}

static bool in_words(const char *words, struct slice s)
{
	while (words && *words) {
		size_t n = (size_t)(strchrnul(words, '|') - words);

		if (slice_eq(s, slice_of(words, n)))
			return true;
		words += n + (words[n] == '|');
	}
	return false;
}

/* "a|b|c" as "a, b or c". */
static const char *words_text(const char *words, char *out, size_t room)
{
	size_t n = 0;

	out[0] = 0;
	while (*words && n < room) {
		int len = (int)(strchrnul(words, '|') - words);
		bool last = words[len] == 0;

		n += (size_t)snprintf(out + n, room - n, "%s%.*s", n == 0 ? "" : last ? " or " : ", ",
				      len, words);
		words += len + !last;
	}
	return out;
}

static int check_choice(struct judge *j, const struct at *at, const struct schema_field *f,
			const struct doc_node *n)
{
	char seen[64], words[400];

	if (n->type != DOC_STR)
		return wrong_type(j, at, n, words_text(f->values, words, sizeof words));
	if (in_words(f->values, n->text))
		return 0;
	words_text(f->values, words, sizeof words);
	doc_clean(n->text, seen, sizeof seen);
	if (in_words(f->later, n->text))
		return refuse(j, at, n->line, "%s is not supported by this release: only %s", seen, words);
	return refuse(j, at, n->line, "must be %s, not \"%s\"", words, seen);
}

static int check_number(struct judge *j, const struct at *at, const struct schema_field *f,
			const struct doc_node *n)
{
	if (n->type != DOC_INT)
		return wrong_type(j, at, n, "a whole number");
	if (n->number >= f->min && n->number <= f->max)
		return 0;
	if (f->max == INT64_MAX)
		return refuse(j, at, n->line, "must be at least %lld, not %lld", (long long)f->min,
			      (long long)n->number);
	return refuse(j, at, n->line, "must be from %lld to %lld, not %lld", (long long)f->min,
		      (long long)f->max, (long long)n->number);
}

/* Of numbers, or of words out of a choice. */
static int check_simple_list(struct judge *j, const struct at *up, const struct schema_field *f,
			     const struct doc_node *n)
{
	int64_t i = 0;
	int e = 0;

	if (n->type != DOC_LIST)
		return wrong_type(j, up, n, "a list");
	if (n->n > SCHEMA_LIST_MAX)
		return refuse(j, up, n->line, "must have at most %d entries, not %u", SCHEMA_LIST_MAX,
			      n->n);
	for (const struct doc_node *m = n->first; m && e == 0; m = m->next) {
		struct at at = { .up = up, .index = i++ };

		e = f->type == SCHEMA_NUMBERS ? check_number(j, &at, f, m) : check_choice(j, &at, f, m);
	}
	return e;
}

static int check_map(struct judge *j, const struct at *up, const struct schema_field *f,
		     const struct doc_node *n)
{
	int e;

	if (n->type != DOC_MAP)
		return wrong_type(j, up, n, "a mapping of names to texts");
	for (const struct doc_node *m = n->first; m; m = m->next) {
		struct at at = { .up = up, .key = m->key, .index = -1 };

		if (!is_label_key(m->key))
			return refuse(j, &at, m->line,
				      "the name must be letters, digits, -, _ and ., perhaps with a DNS name and / before");
		if (m->type == DOC_NULL)
			return refuse(j, &at, m->line, "has no value; for none write \"\"");
		e = check_text(j, &at, f->form, 0, 0, m);
		if (e < 0)
			return e;
	}
	return 0;
}

static const char *nth_field(const void *arg, unsigned i)
{
	const struct schema_field *f = schema_field_of(*(const enum schema_object *)arg, i);

	return f ? f->name : NULL;
}

static const struct schema_field *find_field(enum schema_object o, struct slice name)
{
	for (size_t i = first_row(o); i < countof(row) && row[i].object == o; i++)
		if (slice_eq(slice_str(row[i].name), name))
			return &row[i];
	return NULL;
}

static int check_field(struct judge *, const struct at *, const struct schema_field *,
		       struct doc_node *);

/* The rows, and with them this recursion, are at most seven deep. */
static int check_object(struct judge *j, const struct at *up, enum schema_object o,
			struct doc_node *n)
{
	const struct schema_field *f;
	int e;

	if (n->type != DOC_MAP)
		return wrong_type(j, up, n, "a mapping of fields");
	for (struct doc_node *m = n->first; m; m = m->next) {
		char name[64];
		struct at at = { .up = up, .name = name, .index = -1 };

		f = find_field(o, m->key);
		if (f == NULL) {
			const char *near = doc_nearest(m->key, nth_field, &o);

			doc_clean(m->key, name, sizeof name);
			if (near)
				return refuse(j, &at, m->line, "unknown field (did you mean %s?)", near);
			return refuse(j, &at, m->line, "unknown field");
		}
		at.name = f->name;
		e = m->type == DOC_NULL ? 0 : check_field(j, &at, f, m);
		if (e < 0)
			return e;
	}
	for (unsigned i = 0; (f = schema_field_of(o, i)); i++) {
		struct at at = { .up = up, .name = f->name, .index = -1 };

		if (f->required && doc_get(n, f->name) == NULL)
			return refuse(j, &at, n->line, "is required%s%s", f->help[0] ? ": " : "",
				      f->help);
	}
	return 0;
}

static int check_list(struct judge *j, const struct at *up, const struct schema_field *f,
		      struct doc_node *n)
{
	int64_t i = 0;
	int e;

	if (n->type != DOC_LIST)
		return wrong_type(j, up, n, "a list");
	if (n->n < f->min)
		return refuse(j, up, n->line, "must have at least %lld entr%s", (long long)f->min,
			      f->min == 1 ? "y" : "ies");
	if (n->n > f->max)
		return refuse(j, up, n->line, "must have at most %lld entries, not %u",
			      (long long)f->max, n->n);
	for (struct doc_node *m = n->first; m; m = m->next) {
		struct at at = { .up = up, .index = i++ };

		if (f->type == SCHEMA_OBJS)
			e = check_object(j, &at, f->of, m);
		else
			e = check_text(j, &at, f->form, 0,
				       f->form == FORM_HEADER_NAME ? 256 : 253, m);
		if (e < 0)
			return e;
	}
	return 0;
}

static int check_field(struct judge *j, const struct at *at, const struct schema_field *f,
		       struct doc_node *n)
{
	char seen[64];
	char least[SCHEMA_DURATION_TEXT], most[SCHEMA_DURATION_TEXT];
	uint32_t ms;
	uint64_t v;
	int64_t t;

	if (f->word == SCHEMA_DROPPED) {
		n->hidden = true;
		return 0;
	}
	if (f->word == SCHEMA_REFUSED) {
		/* Empty is the same as absent, and tools like to write it. */
		if ((n->type == DOC_LIST || n->type == DOC_MAP) && n->n == 0)
			return 0;
		return refuse(j, at, n->line, "not supported by this release (%s)", f->help);
	}
	doc_clean(n->text, seen, sizeof seen);
	switch (f->type) {
	case SCHEMA_TEXT:
		return check_text(j, at, f->form, f->min, f->max, n);
	case SCHEMA_CHOICE:
		return check_choice(j, at, f, n);
	case SCHEMA_NUMBER:
		return check_number(j, at, f, n);
	case SCHEMA_NUMBERS:
	case SCHEMA_CHOICES:
		return check_simple_list(j, at, f, n);
	case SCHEMA_FLAG:
		return n->type == DOC_BOOL ? 0 : wrong_type(j, at, n, "true or false");
	case SCHEMA_TIME:
		if (n->type != DOC_STR || !schema_time(n->text, &t))
			return wrong_type(j, at, n, "a time like 2026-01-31T12:00:00Z");
		return 0;
	case SCHEMA_QUANTITY:
		if ((n->type != DOC_INT && n->type != DOC_STR) || !schema_quantity(n->text, &v))
			return wrong_type(j, at, n, "a quantity like 64Mi or 1G");
		if (v < (uint64_t)f->min || v > (uint64_t)f->max)
			return refuse(j, at, n->line, "must be from %lld to %lld bytes, not %s",
				      (long long)f->min, (long long)f->max, seen);
		return 0;
	case SCHEMA_DURATION:
		if (n->type != DOC_STR || !schema_duration(n->text, &ms))
			return wrong_type(j, at, n, "a duration like 500ms, 30s or 1h30m (at most four "
					  "whole numbers of five digits, each with h, m, s or ms)");
		if (ms < f->min || ms > f->max)
			return refuse(j, at, n->line, "must be from %s to %s, not %s",
				      schema_duration_text((uint32_t)f->min, least),
				      schema_duration_text((uint32_t)f->max, most), seen);
		return 0;
	case SCHEMA_PORTREF:
		if (n->type == DOC_INT && n->number >= 1 && n->number <= 65535)
			return 0;
		if (n->type == DOC_STR && n->text.n <= 15 && schema_is_dns_label(n->text))
			return 0;
		return wrong_type(j, at, n,
				  "a port from 1 to 65535, or the name of one (at most 15 lower-case "
				  "letters, digits and -)");
	case SCHEMA_OBJ:
		return check_object(j, at, f->of, n);
	case SCHEMA_OBJS:
	case SCHEMA_TEXTS:
		return check_list(j, at, f, n);
	case SCHEMA_MAP:
		return check_map(j, at, f, n);
	case SCHEMA_ANY:
		return 0;
	}
	return 0;
}

static const char *nth_kind(const void *arg __attribute__((unused)), unsigned i)
{
	return i < countof(kind_row) ? kind_row[i].kind : NULL;
}

const char *schema_kinds(char *out, size_t room)
{
	size_t n = 0;

	out[0] = 0;
	for (size_t i = 0; i < countof(kind_row) && n < room; i++)
		if (kind_row[i].row != ROW_RESIDENT)	/* which hosts write */
			n += (size_t)snprintf(out + n, room - n, "%s%s", i ? ", " : "", kind_row[i].kind);
	return out;
}

int schema_kind_of(struct judge *j, const struct doc_node *root, const struct schema_kind **ret)
{
	const struct doc_node *kind = doc_get(root, "kind"), *version = doc_get(root, "apiVersion");
	char seen[64], words[400];
	const char *near;

	judge_field(j, "%s", "");
	if (root->type != DOC_MAP)
		return judge_refuse(j, root->line, "must be a mapping with apiVersion, kind and metadata, not %s",
				    doc_type_name(root->type));
	judge_field(j, "kind");
	if (kind == NULL)
		return judge_refuse(j, root->line, "is required: one of %s",
				    schema_kinds(words, sizeof words));
	doc_clean(kind->text, seen, sizeof seen);
	for (size_t i = 0; i < countof(kind_row) && kind->type == DOC_STR; i++) {
		const struct schema_kind *k = &kind_row[i];

		if (!slice_eq(kind->text, slice_str(k->kind)))
			continue;
		judge_field(j, "apiVersion");
		words_text(k->versions, words, sizeof words);
		if (version == NULL)
			return judge_refuse(j, root->line, "is required: %s for kind %s", words, k->kind);
		if (version->type != DOC_STR || !in_words(k->versions, version->text))
			return judge_refuse(j, version->line, "must be %s for kind %s, not \"%s\"", words,
					    k->kind, doc_clean(version->text, seen, sizeof seen));
		*ret = k;
		return 0;
	}
	if (kind->type == DOC_STR && slice_eq(kind->text, SLICE("List")))
		return judge_refuse(j, kind->line,
				    "a List is not served: write each object as a document of its own, "
				    "with --- lines between them");
	near = doc_nearest(kind->text, nth_kind, NULL);
	if (near)
		return judge_refuse(j, kind->line, "\"%s\" is not served by this release (did you mean %s?)",
				    seen, near);
	return judge_refuse(j, kind->line, "\"%s\" is not served by this release, only %s", seen,
			    schema_kinds(words, sizeof words));
}

static int check_mode(struct judge *j, enum row_kind kind, enum ns_mode m, const struct doc_node *label)
{
	char words[64], seen[64];
	uint8_t value;

	if (kind != ROW_NAMESPACE && !((kind == ROW_WORKLOAD || kind == ROW_RESIDENT) && ns_mode_is_of_pods(m)))
		return judge_refuse(j, label->line, "is for Namespaces only");
	if (ns_mode_parse(m, label->text, &value))
		return 0;
	return judge_refuse(j, label->line, "must be %s, not \"%s\"", ns_mode_words(m, words, sizeof words),
			    doc_clean(label->text, seen, sizeof seen));
}

/* Our own labels and annotations are checked by name: one that is ignored would look obeyed. */
static int check_ours(struct judge *j, enum row_kind kind, const struct doc_node *meta,
		      const char *map)
{
	const struct doc_node *m = doc_get(meta, map);
	const bool labels = map[0] == 'l';
	char name[128];

	for (m = m ? m->first : NULL; m; m = m->next) {
		enum ns_mode mode = labels ? ns_mode_by_label(m->key) : NS_MODES;

		if (!slice_starts(m->key, SLICE("nodeproxy.io/")))
			continue;
		judge_field(j, "metadata.%s[%s]", map, doc_clean(m->key, name, sizeof name));
		if (mode < NS_MODES) {
			int e = check_mode(j, kind, mode, m);

			if (e < 0)
				return e;
			continue;
		}
		if (labels && slice_eq(m->key, SLICE("nodeproxy.io/mtls")))
			return judge_refuse(j, m->line, "not supported by this release");
		if (!labels && (slice_eq(m->key, SLICE("nodeproxy.io/weight")) ||
				slice_eq(m->key, SLICE("nodeproxy.io/priority")))) {
			if (kind == ROW_SLICE)
				continue;
			return judge_refuse(j, m->line, "is for EndpointSlices only");
		}
		if (!labels && slice_eq(m->key, SLICE("nodeproxy.io/service-accounts"))) {
			if (kind == ROW_SERVICE)
				continue;
			return judge_refuse(j, m->line, "is for Services only");
		}
		return judge_refuse(j, m->line, "unknown %s of nodeproxy.io",
				    labels ? "label" : "annotation");
	}
	return 0;
}

int schema_check(struct judge *j, const struct schema_kind *k, struct doc_node *root)
{
	const struct doc_node *meta, *n;
	int e = check_object(j, NULL, k->object, root);
	char seen[64];

	if (e < 0)
		return e;
	meta = doc_get(root, "metadata");
	n = doc_get(meta, "namespace");
	judge_field(j, "metadata.namespace");
	if (!k->namespaced && n)
		return judge_refuse(j, n->line, "a %s is in no namespace: leave it out", k->kind);
	n = doc_get(meta, "name");
	judge_field(j, "metadata.name");
	if ((k->row == ROW_NAMESPACE || k->row == ROW_TENANT || k->row == ROW_SERVICE) &&
	    !schema_is_dns_label(n->text))
		return judge_refuse(j, n->line, "must be at most 63 lower-case letters, digits and -, "
				    "starting and ending with a letter or digit, not \"%s\"",
				    doc_clean(n->text, seen, sizeof seen));
	e = check_ours(j, k->row, meta, "labels");
	return e < 0 ? e : check_ours(j, k->row, meta, "annotations");
}
