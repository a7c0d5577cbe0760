/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See h2_guard.h. */
#include "nodeproxy/lib/net/h2_guard.h"

/* RFC 9113 section 6. */
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
       CONTINUATION };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };
#define SETTING_BYTES 6u
#define PRIORITY_BYTES 5u

void h2_guard_init(struct h2_guard *g, const struct h2_limits *lim, bool server, struct mono now)
{
	*g = (struct h2_guard){
		.lim = lim, .server = server, .preface = server ? H2_PREFACE_BYTES : 0,
		.pings = ratelimit_of(lim->ping_rate, lim->ping_burst),
		.settings = ratelimit_of(lim->settings_rate, lim->settings_burst),
		.resets = ratelimit_of(lim->reset_rate, lim->reset_burst),
		.caused = ratelimit_of(lim->caused_rate, lim->caused_burst),
		.dribble = ratelimit_of(lim->dribble_rate, lim->dribble_burst),
		.glitches = ratelimit_of(lim->glitch_rate, lim->glitch_burst),
		.since = now,
	};
}

enum h2_offence h2_guard_empty(struct h2_guard *g, bool is_empty)
{
	g->empties = is_empty ? g->empties + 1 : 0;
	return g->empties > g->lim->empty_frames ? H2_OFFENCE_EMPTY_FRAMES : H2_OFFENCE_NONE;
}

#define LATE_MOST (1u << 20)

void h2_guard_opened(struct h2_guard *g)
{
	g->opened++;
	g->late = min_of(g->late + 1, LATE_MOST);
}

/* Bytes of a header block as they are on the wire.  Decoded they are bounded too, but HPACK can
 * also make much out of nothing: both are looked at. */
static enum h2_offence block_piece(struct h2_guard *g, uint32_t len, uint8_t flags)
{
	g->block_bytes += len;
	g->in_block = !(flags & END_HEADERS);
	if (g->block_bytes > 2 * g->lim->head_bytes)
		return H2_OFFENCE_HEADER_BOMB;
	return h2_guard_empty(g, len == 0);
}

static uint32_t id_of(const struct h2_guard *g)
{
	return (uint32_t)(g->hd[5] & 0x7f) << 24 | (uint32_t)g->hd[6] << 16 |
	       (uint32_t)g->hd[7] << 8 | g->hd[8];
}

/* HEADERS to a server.  A stream that was passed over cannot begin any more (RFC 9113 section
 * 5.1.1); one that began may get trailers.  What lies further back nobody remembers: it has ended,
 * or still gets some. */
static enum h2_offence begins(struct h2_guard *g, uint32_t id)
{
	if (id > g->last_id) {
		uint32_t ahead = (id - g->last_id) / 2;

		g->lately = (ahead < 64 ? g->lately << ahead : 0) | 1;
		g->last_id = id;
		h2_guard_opened(g);
	} else if (id & 1) {
		uint32_t back = (g->last_id - id) / 2;

		if (back < 64 && !(g->lately >> back & 1))
			return H2_OFFENCE_PROTOCOL;
	}
	return H2_OFFENCE_NONE;
}

/* n of the bytes left of a PRIORITY frame: the stream it depends on, and a weight.  nghttp2 does
 * not look at them where priorities are not used. */
static enum h2_offence priority_piece(struct h2_guard *g, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (g->left - i > 1)
			g->depends_on = g->depends_on << 8 | p[i];
		else if ((g->depends_on & 0x7fffffff) == id_of(g))
			return H2_OFFENCE_PROTOCOL;
	}
	return H2_OFFENCE_NONE;
}

static enum h2_offence frame(struct h2_guard *g, struct mono now)
{
	const struct h2_limits *lim = g->lim;
	uint32_t len = (uint32_t)g->hd[0] << 16 | (uint32_t)g->hd[1] << 8 | g->hd[2];
	uint32_t id = id_of(g);
	uint8_t type = g->hd[3], flags = g->hd[4];

	if (len > H2_FRAME_MOST)
		return H2_OFFENCE_FRAME_SIZE;
	g->left = len;
	g->frames += h2_guard_counts(type);
	g->inside_counts = h2_guard_counts(type) || type == CONTINUATION;
	if (g->in_block != (type == CONTINUATION))
		return H2_OFFENCE_PROTOCOL;
	if (!g->has_settings && type != SETTINGS)
		return H2_OFFENCE_PREFACE;
	switch (type) {
	case DATA:
		g->pings_earned = min_of(g->pings_earned + 1, lim->ping_burst);
		break;
	case HEADERS:
		if (g->server && begins(g, id))
			return H2_OFFENCE_PROTOCOL;
		g->block_bytes = g->continuations = 0;
		g->since = now;
		return block_piece(g, len, flags);
	case CONTINUATION:
		if (++g->continuations > lim->continuations)
			return H2_OFFENCE_CONTINUATIONS;
		return block_piece(g, len, flags);
	case PRIORITY:
		if (++g->priorities > lim->priorities * (1 + g->opened))
			return H2_OFFENCE_PRIORITIES;
		if (id == 0)
			return H2_OFFENCE_PROTOCOL;
		if (len != PRIORITY_BYTES)
			return H2_OFFENCE_FRAME_SIZE;
		break;
	case SETTINGS:
		g->has_settings = true;
		if (flags & ACK)
			break;
		if (len > lim->settings_entries * SETTING_BYTES)
			return H2_OFFENCE_SETTINGS_LONG;
		if (!ratelimit_take(&g->settings, now))
			return H2_OFFENCE_SETTINGS;
		break;
	case PING:
		if (flags & ACK)
			break;
		if (g->pings_earned)
			g->pings_earned--;
		else if (!ratelimit_take(&g->pings, now))
			return H2_OFFENCE_PINGS;
		break;
	case WINDOW_UPDATE:
		if (++g->window_updates > lim->window_updates + 2 * (g->opened + 10 * g->data_sent))
			return H2_OFFENCE_WINDOW_UPDATES;
		break;
	default:
		break;
	}
	return H2_OFFENCE_NONE;
}

/* A frame that begins a stream of the peer's is the start of much work. */
static bool is_request(const struct h2_guard *g)
{
	return g->server && g->hd[3] == HEADERS && id_of(g) > g->last_id;
}

/* One that goes on with a message of the peer's. */
static bool is_old(const struct h2_guard *g)
{
	return g->server && g->hd[3] <= HEADERS && id_of(g) % 2 && id_of(g) <= g->last_id;
}

enum h2_offence h2_guard_look(struct h2_guard *g, struct slice in, struct mono now,
			      struct h2_allowance *may, size_t *ret_n)
{
	size_t at = 0;

	g->old_id = 0;
	while (at < in.n) {
		enum h2_offence bad;
		size_t n;
		bool request, old;

		if (g->preface) {
			n = min_of(in.n - at, (size_t)g->preface);
			g->preface -= (uint32_t)n;
			at += n;
			continue;
		}
		if (g->left) {
			n = min_of(in.n - at, (size_t)g->left);
			if (g->hd[3] == PRIORITY) {
				bad = priority_piece(g, in.p + at, n);
				if (bad)
					return bad;
			}
			g->left -= (uint32_t)n;
			at += n;
			continue;
		}
		n = min_of(in.n - at, (size_t)(H2_FRAME_HEADER_BYTES - g->hd_n));
		memcpy(g->hd + g->hd_n, in.p + at, n);
		if (g->hd_n + n < H2_FRAME_HEADER_BYTES) {
			g->hd_n += (uint8_t)n;
			at += n;
			break;
		}
		request = is_request(g);
		old = is_old(g);
		/* A header that came in two pieces is begun already; it is this step's first. */
		if (may->frames == 0 || (request && may->requests == 0) || (old && at > 0)) {
			*ret_n = at;
			return H2_OFFENCE_NONE;
		}
		may->frames--;
		may->requests -= request;
		if (old)
			g->old_id = id_of(g);
		g->hd_n = 0;
		at += n;
		bad = frame(g, now);
		if (bad)
			return bad;
	}
	*ret_n = at;
	return H2_OFFENCE_NONE;
}

enum h2_offence h2_guard_cancelled(struct h2_guard *g, bool early, struct mono now)
{
	g->cancelled_early += early;
	if (g->opened >= g->lim->reset_watch && g->cancelled_early * 2 > g->opened)
		return H2_OFFENCE_RESETS;
	return ratelimit_take(&g->resets, now) ? H2_OFFENCE_NONE : H2_OFFENCE_RESETS;
}

enum h2_offence h2_guard_caused(struct h2_guard *g, struct mono now)
{
	return ratelimit_take(&g->caused, now) ? H2_OFFENCE_NONE : H2_OFFENCE_RESETS_CAUSED;
}

enum h2_offence h2_guard_useless(struct h2_guard *g, struct mono now)
{
	if (g->late) {
		g->late--;
		return H2_OFFENCE_NONE;
	}
	return ratelimit_take(&g->glitches, now) ? H2_OFFENCE_NONE : H2_OFFENCE_GLITCHES;
}

enum h2_offence h2_guard_sent(struct h2_guard *g, size_t bytes, bool is_cut, struct mono now)
{
	g->data_sent++;
	g->pings_earned = min_of(g->pings_earned + 1, g->lim->ping_burst);
	if (bytes >= H2_DECENT_BYTES)
		g->dribbles_earned = min_of(g->dribbles_earned + 1, g->lim->dribble_burst);
	if (bytes >= H2_DRIBBLE_BYTES || !is_cut)
		return H2_OFFENCE_NONE;
	if (g->dribbles_earned)
		g->dribbles_earned--;
	else if (!ratelimit_take(&g->dribble, now))
		return H2_OFFENCE_DRIBBLE;
	return H2_OFFENCE_NONE;
}

/* 16: small frames beside the full ones. */
void h2_guard_forgive(struct h2_guard *g, uint32_t window)
{
	g->late = min_of(g->late, LATE_MOST) + window / 4096 + 16;
}

static bool is_reset(const struct h2_guard *g, uint32_t id)
{
	for (size_t i = 0; i < H2_RESETS_KNOWN; i++)
		if (g->gone[i] == id)
			return true;
	return id <= g->gone_most;
}

void h2_guard_reset(struct h2_guard *g, uint32_t id)
{
	uint32_t *p = &g->gone[g->gone_n % H2_RESETS_KNOWN];

	if (is_reset(g, id))
		return;
	g->gone_n++;
	g->gone_most = max_of(g->gone_most, *p);
	*p = id;
}

/* Where too many were reset to know each, none that may be one of them is blamed. */
enum h2_offence h2_guard_closed(const struct h2_guard *g, uint32_t id)
{
	return is_reset(g, id) ? H2_OFFENCE_NONE : H2_OFFENCE_STREAM_CLOSED;
}

bool h2_guard_is_slow(const struct h2_guard *g, struct mono now)
{
	return (g->in_block || !g->has_settings) && mono_diff_ms(now, g->since) > g->lim->head_ms;
}
