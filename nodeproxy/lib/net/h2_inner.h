/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the parts of an HTTP/2 session (h2.c, h2_send.c, h2_stream.c, h2_window.c, h2_wire.c,
 * h2_memory.c) share; nobody else includes it. */
#ifndef NODEPROXY_LIB_NET_H2_INNER_H
#define NODEPROXY_LIB_NET_H2_INNER_H

#include <nghttp2/nghttp2.h>

#include "nodeproxy/lib/net/h2.h"
#include "nodeproxy/lib/net/h2_guard.h"

#define H2_MAGIC 0x4e504832u		/* "NPH2" */
#define H2_STREAM_MAGIC 0x4e504853u	/* "NPHS" */
#define H2_GOAWAY_BYTES 17u		/* frame header + last stream + code */

/* PINGs of ours, by the first byte of what they carry; a number follows. */
enum h2_ping { H2_PING_ALIVE, H2_PING_DRAIN, H2_PING_BDP, H2_PINGS };

struct h2 {
	uint32_t magic;
	uint8_t state;			/* enum h2_state */
	uint8_t offence;		/* enum h2_offence */
	uint8_t fatal;			/* enum h2_offence found inside a callback: to be acted on */
	uint8_t suspect;		/* enum h2_offence that would explain nghttp2's verdict */
	bool server;
	bool peer_leaves;
	bool is_greeted;		/* SETTINGS of the peer were understood */
	bool is_heard;			/* our first SETTINGS were acknowledged */
	bool is_asked;			/* whether it lives: no answer yet */
	uint8_t early;			/* in 640ths of ping_idle_ms: less than a tenth */
	bool is_nesting;		/* what nghttp2 allocates now comes from the nest */
	struct h2_stock *stock;
	const struct h2_limits *lim;
	struct stream *below;
	struct budget *budget;
	nghttp2_session *ng;
	nghttp2_mem mem;
	size_t bytes;			/* allocated by ng */
	size_t charged;			/* of them, in steps; less only when the session must end */
	struct h2_guard guard;
	uint64_t understood;		/* frames, of those that the guard counts */
	int64_t wasted;			/* frames that nghttp2 left out */
	struct chunkq held;		/* input that has to wait */
	struct chunkq out;		/* frames that wait to be written */
	const uint8_t *packed;		/* a frame of nghttp2 that found no room in out */
	size_t packed_n;
	uint8_t bye[H2_GOAWAY_BYTES];
	uint8_t bye_at, bye_n;
	struct node streams, ready;
	uint32_t wired;			/* streams that nghttp2 knows */
	uint32_t wanting;		/* streams that want room */
	uint32_t block_size;		/* of the block at hand, decoded */
	struct h2_stream *heading;	/* whose it is; NULL: nobody wants it */
	size_t kept;			/* body bytes in streams */
	struct mono heard;		/* the last bytes came */
	struct mono asked;		/* since when is_asked */
	struct mono told;		/* our first SETTINGS; ns 0: not yet */
	struct mono drained;		/* the first GOAWAY was queued */
	struct mono unread;		/* since when out waits; 0: it does not */
	uint64_t written, written_then;	/* bytes, ever, and when unread was set */
	/* windows */
	uint32_t window, window_conn, window_limit;
	bool bdp_runs;
	uint64_t bdp_bytes;
	struct mono bdp_sent, bdp_next;
	int64_t rtt_ns;
	uint32_t pings;			/* numbers */
	uint16_t unseen[H2_OFFENCES];	/* streams that ended for it before h2_next() gave them */
	uint32_t n_unseen;		/* all of them */
	uint32_t nested;		/* bytes of nest that are taken */
	_Alignas(16) uint8_t nest[];
};

/* The whole in pages: the slots of a slab begin on pages then. */
#define H2_BYTES (7 * 4096u)
#define H2_NEST_BYTES (H2_BYTES - offsetof(struct h2, nest))

/* h2.c */
void h2_fail(struct h2 *, enum h2_offence, enum h2_code);
void h2_ping(struct h2 *, enum h2_ping);
void h2_news(struct h2_stream *, unsigned news);
/* A stream that its user will never see ends for this. */
void h2_unseen(struct h2 *, enum h2_offence);

/* h2_memory.c */
nghttp2_mem h2_memory(struct h2 *);

/* h2_stream.c */
/* NULL: nghttp2 must not be asked about it any more. */
static inline nghttp2_session *h2_stream_wire(const struct h2_stream *st)
{
	return st->held != H2_HELD_BY_USER && st->h && st->h->state < H2_DYING ? st->h->ng : NULL;
}

/* nghttp2 has no memory for what was asked of it. */
static inline void h2_shortage(struct h2 *h, int r)
{
	if (r == NGHTTP2_ERR_NOMEM)
		h->fatal = H2_OFFENCE_MEMORY;
}

static inline struct h2_block *h2_block_of(struct chunk *c)
{
	return (struct h2_block *)(void *)c->data;
}

static inline void h2_block_clear(struct chunk *c, enum h2_block_kind kind)
{
	h2_block_init(h2_block_of(c), kind, c->room - sizeof(struct h2_block));
}

struct h2_stream *h2_stream_new(struct h2 *, int32_t id, struct budget *, enum h2_held);
/* The wire forgets it. */
void h2_stream_unwired(struct h2_stream *, uint32_t code);
/* Adds a line to the block that is received; false: no memory. */
must_use bool h2_block_begin(struct h2_stream *);
must_use bool h2_block_add(struct h2_stream *, struct slice name, struct slice value);
/* It is whole; false: it may not come here. */
must_use bool h2_block_end(struct h2_stream *, bool end);
/* The same into any chunk that holds a block; a large one takes the place of a small one. */
must_use bool h2_block_add_to(struct chunk_pool *, struct budget *, struct chunk **,
			      struct slice name, struct slice value);
void h2_stream_free(struct h2_stream *);
/* News of room for one or all who asked for it. */
void h2_room_news(struct h2_stream *);
void h2_wants_room(struct h2 *);
/* Resets it for an offence of the peer. */
void h2_stream_offends(struct h2_stream *, enum h2_offence);
/* Body bytes that came in: they are kept, or thrown away and given back to the windows. */
void h2_stream_got(struct h2_stream *, struct slice);

/* h2_send.c: nghttp2 asks how much of a body goes into a frame, and for it */
ssize_t h2_stream_pack(nghttp2_session *, int32_t id, uint8_t *, size_t length, uint32_t *flags,
		       nghttp2_data_source *, void *h);
int h2_stream_send(nghttp2_session *, nghttp2_frame *, const uint8_t *head, size_t length,
		   nghttp2_data_source *, void *h);

/* h2_window.c */
void h2_window_init(struct h2 *);
void h2_window_got(struct h2 *, size_t n);
void h2_window_ping_sent(struct h2 *);
void h2_window_ping_answered(struct h2 *);

/* h2_wire.c: what nghttp2 calls */
must_use int h2_wire_callbacks(nghttp2_session_callbacks **, nghttp2_option **);

#endif
