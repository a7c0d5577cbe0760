/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grpc.h. */
#include "workers/path/grpc.h"

#define TIMEOUT_DIGITS	8

int64_t grpc_timeout_ms(struct slice s)
{
	static const struct { char unit; uint64_t ms, per; } units[] = {
		{ 'H', 3600000, 1 }, { 'M', 60000, 1 }, { 'S', 1000, 1 },
		{ 'm', 1, 1 }, { 'u', 1, 1000 }, { 'n', 1, 1000000 },
	};
	uint64_t n;

	if (s.n < 2 || s.n > TIMEOUT_DIGITS + 1 || !slice_u64(slice_of(s.p, s.n - 1), UINT64_MAX, &n))
		return -1;
	for (size_t i = 0; i < countof(units); i++)
		if (s.p[s.n - 1] == (uint8_t)units[i].unit)
			return (int64_t)min_of((n * units[i].ms + units[i].per - 1) / units[i].per,
					       (uint64_t)INT32_MAX);
	return -1;
}

bool grpc_line(const struct head *h, struct slice name, struct slice *ret)
{
	for (uint32_t i = 0; i < h->n; i++) {
		if (!slice_caseeq(h->h[i].name, name))
			continue;
		*ret = h->h[i].value;
		return true;
	}
	return false;
}

void grpc_deadline(struct exchange *ex, const struct head *h)
{
	struct slice v;
	int64_t ms;

	if (!grpc_line(h, SLICE("grpc-timeout"), &v))
		return;
	ms = grpc_timeout_ms(v);
	if (ms >= 0)
		ex->until = mono_after_ms(ex->began, ms);
	ex->until_why = REASON_CALLER_DEADLINE;
}

int64_t grpc_pushback_ms(struct slice s, uint32_t most)
{
	uint64_t n;

	return s.n <= 10 && slice_u64(s, most, &n) ? (int64_t)n : -1;
}

void grpc_status(struct exchange *ex, const struct head *h)
{
	struct slice v;
	uint64_t n;

	if (!grpc_line(h, SLICE("grpc-status"), &v))
		return;
	/* Numbers that the protocol does not have are what it calls UNKNOWN. */
	ex->grpc = (uint8_t)(slice_u64(v, GRPC_STATUSES - 1, &n) ? 1 + n : 1 + 2);
}

/* What the specification of gRPC makes of a status of HTTP. */
static unsigned of_http(unsigned http)
{
	switch (http) {
	case 400:
		return 13;
	case 401:
		return 16;
	case 403:
		return 7;
	case 404:
		return 12;
	case 429: case 502: case 503: case 504:
		return 14;
	default:
		return 2;
	}
}

unsigned grpc_local(struct exchange *ex, const struct reason_row *row)
{
	enum reason why = (enum reason)ex->reason;
	unsigned status = of_http((unsigned)row->http);

	/* The tables of gRPC make UNAVAILABLE of 429, which libraries send again at once; and what is
	 * meant has a name. */
	if (why == REASON_RATE_LIMITED)
		status = 8;
	else if (ex->fault_grpc)
		status = ex->fault_grpc - 1u;
	else if (why == REASON_CALLER_DEADLINE || why == REASON_REQUEST_TIMEOUT ||
		 why == REASON_BACK_TRY_TIMEOUT)
		status = 4;
	else if (why == REASON_NO_BACKEND)
		status = 14;	/* the Gateway API: a call for a backend that does not exist is UNAVAILABLE */

	ex->grpc = (uint8_t)(1 + status);
	return status;
}
