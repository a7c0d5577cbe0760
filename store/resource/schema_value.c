/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a text that is a time, a quantity or a duration says, and whether it is one. */
#include <stdio.h>
#include <time.h>

#include "store/resource/schema.h"

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
