/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See ids.h. */
#include "workers/codec/ids.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/codec/headers.h"

void ids_draw(struct ids *ret)
{
	static const uint8_t none[sizeof ret->span];

	rand_ids(ret, sizeof *ret);
	ret->trace[6] = (ret->trace[6] & 0x0f) | 0x40;	/* RFC 9562: version 4 */
	ret->trace[8] = (ret->trace[8] & 0x3f) | 0x80;	/* and variant; so it is not all zero */
	if (memcmp(ret->span, none, sizeof none) == 0)
		ret->span[0] = 1;
}

/* Of every byte, two digits. */
#define SIXTEEN(h) h "0" h "1" h "2" h "3" h "4" h "5" h "6" h "7" \
		   h "8" h "9" h "a" h "b" h "c" h "d" h "e" h "f"
static const char hex[] = SIXTEEN("0") SIXTEEN("1") SIXTEEN("2") SIXTEEN("3")
			  SIXTEEN("4") SIXTEEN("5") SIXTEEN("6") SIXTEEN("7")
			  SIXTEEN("8") SIXTEEN("9") SIXTEEN("a") SIXTEEN("b")
			  SIXTEEN("c") SIXTEEN("d") SIXTEEN("e") SIXTEEN("f");

static char *put_hex(char *q, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++, q += 2)
		memcpy(q, hex + 2 * p[i], 2);
	return q;
}

char *ids_put_request_id(const struct ids *ids, char *q)
{
	q = put_hex(q, ids->trace, 4);
	*q++ = '-';
	q = put_hex(q, ids->trace + 4, 2);
	*q++ = '-';
	q = put_hex(q, ids->trace + 6, 2);
	*q++ = '-';
	q = put_hex(q, ids->trace + 8, 2);
	*q++ = '-';
	return put_hex(q, ids->trace + 10, 6);
}

char *ids_put_traceparent(const struct ids *ids, char *q)
{
	memcpy(q, "00-", 3);
	q = put_hex(q + 3, ids->trace, 16);
	*q++ = '-';
	q = put_hex(q, ids->span, 8);
	memcpy(q, "-00", 3);
	return q + 3;
}

bool request_id_is_valid(struct slice s)
{
	bool bad = false;

	if (s.n == 0 || s.n > REQUEST_ID_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		bad |= s.p[i] - 0x21u > 0x7e - 0x21u;
	return !bad;
}

/* n lower-case hexadecimal digits; *ret_zero: all of them are 0. */
static bool is_hex(const uint8_t *p, size_t n, bool *ret_zero)
{
	uint8_t all = '0';

	for (size_t i = 0; i < n; i++) {
		/* 0x20 is set in digits and small letters, and in no capital. */
		if (!byte_is(p[i], BC_HEX) || !(p[i] & 0x20))
			return false;
		all |= p[i];
	}
	*ret_zero = all == '0';
	return true;
}

bool traceparent_is_valid(struct slice s)
{
	bool zero, trace_zero, span_zero;

	if (s.n < TRACEPARENT_TEXT || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
		return false;
	if (!is_hex(s.p, 2, &zero) || !is_hex(s.p + 3, 32, &trace_zero) ||
	    !is_hex(s.p + 36, 16, &span_zero) || trace_zero || span_zero ||
	    (s.p[0] == 'f' && s.p[1] == 'f'))
		return false;
	if (!is_hex(s.p + 53, 2, &trace_zero))
		return false;
	return s.n == TRACEPARENT_TEXT || (!zero && s.p[TRACEPARENT_TEXT] == '-');
}
