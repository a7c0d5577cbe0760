/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Windows of an HTTP/2 session: as wide as the path needs, within what its user allows.
 *
 * Bandwidth times delay is measured as gRPC does: a PING goes out while DATA comes in, and what
 * came until it is answered is what was on its way.  When that is most of the window, the window was
 * what limited it, and is made twice that.  Nothing is measured while nothing comes, nor once the
 * windows are as wide as they may be. */
#include "nodeproxy/lib/net/h2_inner.h"

/* The connection's window is this many of a stream's, as at the start (64 and 256 KiB). */
#define CONN_PER_STREAM 4u

void h2_window_init(struct h2 *h)
{
	h->window = h->lim->window;
	h->window_conn = h->window_limit = h->lim->window_conn;
}

/* The stream's window is announced for all streams, old and new, by SETTINGS. */
static void set_windows(struct h2 *h, uint32_t window, uint32_t conn)
{
	nghttp2_settings_entry e = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window };
	int r = 0;

	if (window != h->window)
		r = nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, &e, 1);
	if (r == 0 && conn != h->window_conn)
		r = nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0, (int32_t)conn);
	if (r == NGHTTP2_ERR_NOMEM)
		h->fatal = H2_OFFENCE_MEMORY;
	h->window = window;
	h->window_conn = conn;
}

void h2_window_got(struct h2 *h, size_t n)
{
	if (h->bdp_runs) {
		h->bdp_bytes += n;
		return;
	}
	if (h->window >= h->lim->window_most || h->window_conn >= h->window_limit ||
	    clock_now().ns < h->bdp_next.ns)
		return;
	h->bdp_runs = true;
	h->bdp_bytes = n;
	h2_ping(h, H2_PING_BDP);
}

void h2_window_ping_sent(struct h2 *h)
{
	h->bdp_sent = clock_now();
}

void h2_window_ping_answered(struct h2 *h)
{
	struct mono now = clock_now();
	uint64_t window, conn;

	if (!h->bdp_runs)
		return;
	h->bdp_runs = false;
	h->rtt_ns = max_of(now.ns - h->bdp_sent.ns, (int64_t)1);
	if (h->bdp_bytes * 3 < (uint64_t)h->window * 2) {
		h->bdp_next = mono_after_ms(now, h->lim->bdp_ms);
		return;
	}
	window = min_of(h->bdp_bytes * 2, (uint64_t)h->lim->window_most);
	window = max_of(min_of(window, (uint64_t)h->window_limit), (uint64_t)h->window);
	conn = min_of(window * CONN_PER_STREAM, (uint64_t)h->window_limit);
	conn = max_of(conn, (uint64_t)h->window_conn);
	set_windows(h, (uint32_t)window, (uint32_t)conn);
}

void h2_windows(struct h2 *h, uint32_t bytes)
{
	uint32_t conn, window;

	bytes = max_of(min_of(bytes, (uint32_t)INT32_MAX), (uint32_t)H2_FRAME_MOST);
	h->window_limit = bytes;
	if (h->state >= H2_DYING || h->window_conn <= bytes)
		return;
	conn = bytes;
	window = min_of(h->window, max_of(conn / CONN_PER_STREAM, H2_FRAME_MOST));
	set_windows(h, window, conn);
}

uint32_t h2_window(const struct h2 *h)
{
	return h->window;
}

int64_t h2_rtt_us(const struct h2 *h)
{
	return h->rtt_ns / NS_PER_US;
}
