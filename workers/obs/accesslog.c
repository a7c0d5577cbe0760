/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See accesslog.h. */
#include "workers/obs/accesslog.h"

#include <time.h>

#include "nodeproxy/lib/base/strbuf.h"

/* Six bytes per byte when all of it is escaped in JSON. */
#define WORST 6
/* The longest line: who; service and route of 63 + 1 + 63 + 6 bytes and a few; a method of 32; the
 * path; an endpoint of 56; a request id; what TLS says; 8 numbers of 20 digits; at most 500 bytes of
 * names and time. */
static_must(ACCESS_WHO_MAX +
		    WORST * (2 * 135 + 32 + ACCESS_PATH_MAX + 56 + ACCESS_REQUEST_ID_MAX +
			     ACCESS_SNI_MAX + ACCESS_CLIENT_MAX) + 8 + 8 * 20 + 3 + 48 + 500 <=
	    ACCESS_LINE_MAX);
static_must(3 * ACCESS_NAME_MAX + 60 <= ACCESS_WHO_MAX);

void accesslog_init(struct accesslog *a, struct ring *ring, bool json)
{
	*a = (struct accesslog){ .ring = ring, .json = json, .day_s = -1 };
}

static inline char *put(char *q, const void *p, size_t n)
{
	memcpy(q, p, n);
	return q + n;
}
#define PUT(q, lit) put(q, lit, sizeof(lit) - 1)

static char *put_u64(char *q, uint64_t v)
{
	char digits[20], *d;

	if (v < 10) {
		*q++ = (char)('0' + v);
		return q;
	}
	d = u64_digits(v, digits);
	return put(q, d, (size_t)(digits + sizeof digits - d));
}

static char *put_i64(char *q, int64_t v)
{
	return put_u64(q, v < 0 ? 0 : (uint64_t)v);
}

static inline bool is_plain(uint8_t c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static char *put_escaped(char *q, struct slice s, size_t max, bool json)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = min_of(s.n, max);

	for (size_t i = 0; i < n; i++) {
		uint8_t c = s.p[i];

		if (likely(is_plain(c)) || c == ' ') {
			*q++ = (char)c;
			continue;
		}
		if (json)	/* the byte as the code point of the same number */
			q = PUT(q, "\\u00");
		else
			q = PUT(q, "\\x");
		*q++ = hex[c >> 4];
		*q++ = hex[c & 15];
	}
	return q;
}

/* A word: as it is, "-" when empty; blanks are escaped too. */
static char *put_word(char *q, struct slice s, size_t max, bool json)
{
	size_t n = min_of(s.n, max);

	if (n == 0) {
		*q++ = '-';
		return q;
	}
	for (size_t i = 0; i < n; i++) {
		if (likely(is_plain(s.p[i])))
			*q++ = (char)s.p[i];
		else if (s.p[i] == ' ')
			*q++ = '_';
		else
			q = put_escaped(q, slice_of(s.p + i, 1), 1, json);
	}
	return q;
}

/* What of a word fits: all of it unless bytes of it, which names of Kubernetes do not have, must be
 * escaped. */
static char *put_name(char *q, struct slice s, bool json)
{
	size_t room = ACCESS_NAME_MAX, n = 0;

	for (; n < s.n; n++) {
		size_t spelled = is_plain(s.p[n]) || s.p[n] == ' ' ? 1 : json ? 6 : 4;

		if (spelled > room)
			break;
		room -= spelled;
	}
	return put_word(q, s, n, json);
}

/* That of the reason, after that of a delay. */
static char *put_flags(char *q, const struct access_line *l, const struct reason_row *why)
{
	if (unlikely(l->delayed)) {
		q = PUT(q, "DI");
		if (why->flag[0] == '-')
			return q;
		*q++ = ',';
	}
	return put(q, why->flag, strlen(why->flag));
}

size_t accesslog_who(const struct accesslog *a, struct slice tenant, struct slice ns,
		     struct slice listener, char out[ACCESS_WHO_MAX])
{
	char *q = out;

	q = a->json ? PUT(q, "\",\"tenant\":\"") : PUT(q, " tenant=");
	q = put_name(q, tenant, a->json);
	q = a->json ? PUT(q, "\",\"namespace\":\"") : PUT(q, " namespace=");
	q = put_name(q, ns, a->json);
	q = a->json ? PUT(q, "\",\"listener\":\"") : PUT(q, " listener=");
	q = put_name(q, listener, a->json);
	return (size_t)(q - out);
}

static void spell_date(struct accesslog *a, int64_t s)
{
	time_t t = (time_t)s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(a->date, sizeof a->date, "%Y-%m-%dT%H:%M:%S", &tm);
	a->day_s = s;
}

static char *put_time(char *q, struct accesslog *a)
{
	struct mono now = clock_now();
	int64_t ms;
	unsigned part;

	/* The wall clock is read once per 100 ms; between, the monotonic clock stands in. */
	if (a->day_s < 0 || now.ns - a->offset_at.ns > 100 * NS_PER_MS) {
		a->offset_ms = clock_unix_ms() - now.ns / NS_PER_MS;
		a->offset_at = now;
	}
	ms = a->offset_ms + now.ns / NS_PER_MS;
	if (ms / 1000 != a->day_s)
		spell_date(a, ms / 1000);
	part = (unsigned)(ms % 1000);
	q = put(q, a->date, 19);
	*q++ = '.';
	*q++ = (char)('0' + part / 100);
	*q++ = (char)('0' + part / 10 % 10);
	*q++ = (char)('0' + part % 10);
	*q++ = 'Z';
	return q;
}

static char *put_text(char *q, struct accesslog *a, const struct access_line *l,
		      const struct reason_row *why)
{
	q = PUT(q, "time=");
	q = put_time(q, a);
	q = put(q, l->who.p, min_of(l->who.n, (size_t)ACCESS_WHO_MAX));
	q = PUT(q, " service=");
	q = put_word(q, l->service, 135, false);
	q = PUT(q, " route=");
	q = put_word(q, l->route, 135, false);
	q = PUT(q, " method=");
	q = put_word(q, l->method, 32, false);
	q = PUT(q, " path=\"");
	q = put_escaped(q, l->path, ACCESS_PATH_MAX, false);
	q = PUT(q, "\" protocol=");
	q = put_word(q, l->protocol, 8, false);
	q = PUT(q, " status=");
	q = put_u64(q, l->status);
	q = PUT(q, " reason=");
	q = put(q, why->name, strlen(why->name));
	q = PUT(q, " flag=");
	q = put_flags(q, l, why);
	if (l->grpc) {
		q = PUT(q, " grpc_status=");
		q = put_u64(q, l->grpc - 1u);
	}
	q = PUT(q, " endpoint=");
	q = put_word(q, l->endpoint, 56, false);
	if (unlikely(l->attempts > 1)) {
		q = PUT(q, " attempts=");
		q = put_u64(q, l->attempts);
	}
	q = PUT(q, " bytes_in=");
	q = put_u64(q, l->bytes_in);
	q = PUT(q, " bytes_out=");
	q = put_u64(q, l->bytes_out);
	q = PUT(q, " duration_us=");
	q = put_i64(q, l->duration_us);
	q = PUT(q, " connect_us=");
	q = put_i64(q, l->connect_us);
	q = PUT(q, " response_us=");
	q = put_i64(q, l->response_us);
	q = PUT(q, " rev=");
	q = put_u64(q, l->rev);
	q = PUT(q, " request_id=");
	q = put_word(q, l->request_id, ACCESS_REQUEST_ID_MAX, false);
	if (l->tls_version.n) {
		q = PUT(q, " tls_version=");
		q = put_word(q, l->tls_version, 3, false);
		q = PUT(q, " tls_cipher=");
		q = put_word(q, l->tls_cipher, 48, false);
	}
	if (l->tls_version.n || l->server_name.n) {
		q = PUT(q, " server_name=");
		q = put_word(q, l->server_name, ACCESS_SNI_MAX, false);
	}
	if (l->tls_version.n) {
		q = PUT(q, " client=");
		q = put_word(q, l->client, ACCESS_CLIENT_MAX, false);
	}
	return q;
}

static char *put_json(char *q, struct accesslog *a, const struct access_line *l,
		      const struct reason_row *why)
{
	q = PUT(q, "{\"time\":\"");
	q = put_time(q, a);
	q = put(q, l->who.p, min_of(l->who.n, (size_t)ACCESS_WHO_MAX));
	q = PUT(q, "\",\"service\":\"");
	q = put_word(q, l->service, 135, true);
	q = PUT(q, "\",\"route\":\"");
	q = put_word(q, l->route, 135, true);
	q = PUT(q, "\",\"method\":\"");
	q = put_word(q, l->method, 32, true);
	q = PUT(q, "\",\"path\":\"");
	q = put_escaped(q, l->path, ACCESS_PATH_MAX, true);
	q = PUT(q, "\",\"protocol\":\"");
	q = put_word(q, l->protocol, 8, true);
	q = PUT(q, "\",\"status\":");
	q = put_u64(q, l->status);
	q = PUT(q, ",\"reason\":\"");
	q = put(q, why->name, strlen(why->name));
	q = PUT(q, "\",\"flag\":\"");
	q = put_flags(q, l, why);
	*q++ = '"';
	if (l->grpc) {
		q = PUT(q, ",\"grpc_status\":");
		q = put_u64(q, l->grpc - 1u);
	}
	q = PUT(q, ",\"endpoint\":\"");
	q = put_word(q, l->endpoint, 56, true);
	*q++ = '"';
	if (unlikely(l->attempts > 1)) {
		q = PUT(q, ",\"attempts\":");
		q = put_u64(q, l->attempts);
	}
	q = PUT(q, ",\"bytes_in\":");
	q = put_u64(q, l->bytes_in);
	q = PUT(q, ",\"bytes_out\":");
	q = put_u64(q, l->bytes_out);
	q = PUT(q, ",\"duration_us\":");
	q = put_i64(q, l->duration_us);
	q = PUT(q, ",\"connect_us\":");
	q = put_i64(q, l->connect_us);
	q = PUT(q, ",\"response_us\":");
	q = put_i64(q, l->response_us);
	q = PUT(q, ",\"rev\":");
	q = put_u64(q, l->rev);
	q = PUT(q, ",\"request_id\":\"");
	q = put_word(q, l->request_id, ACCESS_REQUEST_ID_MAX, true);
	if (l->tls_version.n) {
		q = PUT(q, "\",\"tls_version\":\"");
		q = put_word(q, l->tls_version, 3, true);
		q = PUT(q, "\",\"tls_cipher\":\"");
		q = put_word(q, l->tls_cipher, 48, true);
	}
	if (l->tls_version.n || l->server_name.n) {
		q = PUT(q, "\",\"server_name\":\"");
		q = put_word(q, l->server_name, ACCESS_SNI_MAX, true);
	}
	if (l->tls_version.n) {
		q = PUT(q, "\",\"client\":\"");
		q = put_word(q, l->client, ACCESS_CLIENT_MAX, true);
	}
	*q++ = '"';
	*q++ = '}';
	return q;
}

void accesslog_put(struct accesslog *a, const struct access_line *l)
{
	const struct reason_row *why = reason_row(l->reason);
	char *from, *end;

	if (a->ring == NULL)
		return;
	from = (char *)ring_reserve(a->ring, ACCESS_LINE_MAX);
	if (from == NULL)
		return;		/* the ring counted it */
	end = a->json ? put_json(from, a, l, why) : put_text(from, a, l, why);
	ring_commit(a->ring, RING_ACCESS, (size_t)(end - from));
}
