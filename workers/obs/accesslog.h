/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One line per finished exchange, written straight into the worker's log ring.
 *
 * This runs once per request: pieces are copied, numbers are spelled by hand, nothing is printed
 * with formats; the date is spelled once per second.  Texts of strangers are escaped and bounded,
 * so that a line stays one line.
 *
 * text   time=2026-11-22T18:00:00.123Z tenant=… namespace=… listener=… service=ns/name:80
 *        route=ns/name method=GET path="/x" protocol=HTTP/1.1 status=200 reason=DONE flag=-
 *        [grpc_status=0] endpoint=1.2.3.4:80 [attempts=2]
 *        bytes_in=90 bytes_out=260 duration_us=123 connect_us=0 response_us=101 rev=5
 *        request_id=… [tls_version=1.3 tls_cipher=…] [server_name=…] [client=…]
 * json   an object of the same members; numbers are numbers */
#ifndef WORKERS_OBS_ACCESSLOG_H
#define WORKERS_OBS_ACCESSLOG_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/reason.h"
#include "nodeproxy/lib/base/ring.h"
#include "nodeproxy/lib/base/slice.h"

#define ACCESS_PATH_MAX	 256
#define ACCESS_REQUEST_ID_MAX 128
#define ACCESS_NAME_MAX	 63	/* of a tenant, a namespace or a listener, spelled */
#define ACCESS_WHO_MAX	 256	/* bytes of the part made once per listener; each gate holds one */
#define ACCESS_SNI_MAX	 128
#define ACCESS_CLIENT_MAX 200
#define ACCESS_LINE_MAX	 8704

struct accesslog {
	struct ring *ring;
	bool json;
	int64_t day_s;		/* the second that date spells; -1: none yet */
	int64_t offset_ms;	/* wall clock less monotonic clock */
	struct mono offset_at;
	char date[20];		/* 2026-11-22T18:00:00 */
};

struct access_line {
	struct slice who;		/* from accesslog_who() */
	struct slice service, route;	/* empty: "-" */
	struct slice method, path;	/* of strangers */
	struct slice protocol;		/* the caller's; empty: "-" */
	struct slice endpoint;
	struct slice request_id;	/* of strangers, or made here */
	struct slice tls_version, tls_cipher;	/* empty: no TLS, and then none of these */
	struct slice server_name, client;	/* of strangers */
	unsigned status;		/* 0: none was sent */
	uint8_t grpc;			/* 1 + grpc-status; 0: there was none */
	unsigned attempts;		/* told when it is more than one */
	enum reason reason;
	bool delayed;			/* on purpose */
	uint64_t bytes_in, bytes_out;
	int64_t duration_us, connect_us, response_us;
	uint64_t rev;
};

/* ring NULL: no log. */
void accesslog_init(struct accesslog *, struct ring *, bool json);
/* The part of a line that stays: tenant, namespace and listener, escaped; of one that has to be escaped as
 * much as there is room for.  Returns its length. */
size_t accesslog_who(const struct accesslog *, struct slice tenant, struct slice ns,
		     struct slice listener, char out[ACCESS_WHO_MAX]);
void accesslog_put(struct accesslog *, const struct access_line *);

#endif
