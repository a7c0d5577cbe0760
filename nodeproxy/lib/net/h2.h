/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An HTTP/2 session over any stream, giving streams: RFC 9113 by nghttp2, its limits by us.
 *
 * It is mechanics only: frames, flow control, floods, windows.  What a header list means is for its
 * user (a codec, a tunnel, a client of ours).  Nothing here calls its user: the user runs the
 * session in its own turn,
 *
 *   h2_read()   moves bytes from the stream below into frames, a bounded number per call
 *   h2_next()   says which streams have news, so that their exchanges can be woken
 *   h2_write()  moves frames out, in few and large writes
 *   h2_tick()   looks at the clock: keep-alive, stalls, a drain's second step
 *
 * and what one stream's user does may change that stream and the queues, nothing else.
 *
 *   state       means                                              h2_next() gives
 *   OPEN        all of it works                                    anything
 *   LEAVING     GOAWAY with no last stream was sent, or is on its  anything
 *               way; the peer may not have seen it: new streams
 *               are served
 *   LAST        the final GOAWAY is out; streams finish            anything but new streams
 *   DYING       last words wait to be written                      the end of every stream
 *   DEAD        nothing more can be read or written                the same
 *
 * A struct h2_stream is a struct stream and is closed as one.  It stays valid until its user closes
 * it, also when the peer has reset it or the session is gone.  One that its user has closed still
 * sends what was written to it, and is then freed.
 *
 * Memory: sessions and streams lie in slabs, bytes in chunks.  What nghttp2 allocates, frames on
 * their way out and header blocks of streams not seen yet are charged to the session's budget, bodies
 * and all else that its user has not taken to the stream's (h2_stream_pays), so that a connection
 * many share is paid by each for his own part; once a stream is closed, its budget is not needed any
 * more.  No more memory: the stream ends with OVER_BUDGET, the session with MEMORY; nothing else
 * does. */
#ifndef NODEPROXY_LIB_NET_H2_H
#define NODEPROXY_LIB_NET_H2_H

#include "nodeproxy/lib/base/chunks.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/net/h2_block.h"
#include "nodeproxy/lib/net/stream.h"

struct nghttp2_session_callbacks;
struct nghttp2_option;
struct h2;

/* RFC 9113 section 7. */
enum h2_code {
	H2_NO_ERROR, H2_PROTOCOL_ERROR, H2_INTERNAL_ERROR, H2_FLOW_CONTROL_ERROR,
	H2_SETTINGS_TIMEOUT, H2_STREAM_CLOSED, H2_FRAME_SIZE_ERROR, H2_REFUSED_STREAM, H2_CANCEL,
	H2_COMPRESSION_ERROR, H2_CONNECT_ERROR, H2_ENHANCE_YOUR_CALM, H2_INADEQUATE_SECURITY,
	H2_HTTP_1_1_REQUIRED,
};

enum h2_offence {
#define OFFENCE(name, scope, code, words) H2_OFFENCE_##name,
#include "nodeproxy/lib/net/h2_offences.def"
#undef OFFENCE
	H2_OFFENCES
};

struct h2_offence_row {
	const char *name, *words;
	bool is_stream;		/* ends that stream only */
	enum h2_code code;
};
const struct h2_offence_row *h2_offence_row(enum h2_offence);

struct h2_limits {
#define LIMIT(name, value, words) uint32_t name;
#include "nodeproxy/lib/net/h2_limits.def"
#undef LIMIT
};
extern const struct h2_limits h2_limits_default;

/* What all sessions of a process are made from. */
struct h2_stock {
	struct slab sessions, streams;
	struct chunk_pool *chunks;
	struct nghttp2_session_callbacks *callbacks;
	struct nghttp2_option *option;
	uint64_t offences[H2_OFFENCES];		/* how often, ever */
	uint64_t bytes;				/* nghttp2's, now */
	uint64_t bytes_most;			/* since h2_stock_trim() gave some back */
	/* Fault injection: nghttp2's n-th allocation from now on is refused; 0: off. */
	uint32_t fail_after;
};

/* At start.  0 or -errno. */
must_use int h2_stock_init(struct h2_stock *, struct chunk_pool *, uint32_t sessions,
			   uint32_t streams);
void h2_stock_fini(struct h2_stock *);
/* Now and then: what nghttp2 has freed goes back to the kernel, once it is much. */
void h2_stock_trim(struct h2_stock *);

/* ---- sessions ---- */

enum h2_state { H2_OPEN, H2_LEAVING, H2_LAST, H2_DYING, H2_DEAD };

/* How far h2_read() and h2_write() came. */
enum h2_went {
	H2_DRY,		/* nothing more to read (the stream below said so or gave less than there
			 * was room for) or to write */
	H2_MORE,	/* a bound was reached: call again */
	H2_FULL,	/* read: much waits to be written first; write: below takes no more */
	H2_STARVED,	/* no memory: call again when some was given back */
	H2_OVER,	/* nothing will ever come of it (but write: until that says so too) */
};

/* The stream below and the limits stay the caller's and live as long as the session.  NULL: no
 * room. */
struct h2 *h2_new(struct h2_stock *, bool server, const struct h2_limits *, struct stream *below,
		  struct budget *);
/* Streams that are still held stay valid, and broken. */
void h2_free(struct h2 **);
/* Bytes that were read from the stream below before the session was made: what h2_read() begins with.
 * 0 or -ENOBUFS. */
must_use int h2_begins_with(struct h2 *, struct slice);

enum h2_went h2_read(struct h2 *, uint8_t *scratch, size_t room);
enum h2_went h2_write(struct h2 *);

enum h2_news {
	H2_NEWS_BLOCK = 1,	/* a header block waits; of a stream never seen: a request */
	H2_NEWS_DATA = 2,	/* body bytes, or their end */
	H2_NEWS_ROOM = 4,	/* room to write again, after a write that did not take all */
	H2_NEWS_RESET = 8,	/* it is broken: code and offence say why */
	H2_NEWS_CLOSED = 16,	/* both sides have ended it in good order */
};

struct h2_stream;
/* The next stream with news, and which (H2_NEWS_ bits); NULL: no more. */
struct h2_stream *h2_next(struct h2 *, unsigned *ret_news);
/* An offence for which a stream has ended that h2_next() never gave, each once; NONE: no more. */
enum h2_offence h2_next_unseen(struct h2 *);
/* A stream that its user has seen and not closed; NULL: none. */
struct h2_stream *h2_held(const struct h2 *);

/* Once a second or so, and at the latest after the milliseconds it returned last. */
uint32_t h2_tick(struct h2 *);
/* No new streams, those that are there may finish; a server tells its peer in two steps, so that
 * no request is lost that it has already sent. */
void h2_drain(struct h2 *);
/* Ends it at once: last words with this code, then DEAD once they are written. */
void h2_end(struct h2 *, enum h2_code);
/* The most that may be on its way to us: windows grow up to it and shrink to it. */
void h2_windows(struct h2 *, uint32_t bytes);

enum h2_state h2_state(const struct h2 *);
enum h2_offence h2_offence(const struct h2 *);	/* why it is dying or dead */
bool h2_wants_write(const struct h2 *);
bool h2_is_greeted(const struct h2 *);	/* its first SETTINGS came: what it takes is known */
bool h2_is_idle(const struct h2 *);		/* no stream is open or held */
/* The same, and nothing is under way that h2_tick() would look at but the silence of the peer. */
bool h2_is_quiet(const struct h2 *);
uint32_t h2_streams(const struct h2 *);		/* open on the wire */
/* How many requests could be started now: 0 when leaving, either side. */
uint32_t h2_room(const struct h2 *);
bool h2_peer_is_leaving(const struct h2 *);	/* GOAWAY came */
bool h2_peer_takes_connect(const struct h2 *);	/* SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441) */
/* Its limit of a header list; UINT32_MAX: it said none. */
uint32_t h2_peer_head_bytes(const struct h2 *);
size_t h2_bytes(const struct h2 *);		/* what nghttp2 has allocated for it */
int64_t h2_rtt_us(const struct h2 *);		/* as last measured; 0: not yet */
uint32_t h2_window(const struct h2 *);		/* of a stream, as it is now */

/* ---- streams ---- */

enum h2_gets { H2_GETS_HEAD, H2_GETS_BODY, H2_GETS_NOTHING };
enum h2_sends { H2_SENDS_HEAD, H2_SENDS_BODY, H2_SENDS_LAST, H2_SENDS_NOTHING };
/* Who still knows it; nobody: freed. */
enum h2_held { H2_HELD_BY_BOTH, H2_HELD_BY_USER, H2_HELD_BY_WIRE };

struct h2_stream {
	struct stream s;
	uint32_t magic;
	int32_t id;
	uint8_t held;			/* enum h2_held */
	uint8_t gets;			/* enum h2_gets: what is still to come from the peer */
	uint8_t sends;			/* enum h2_sends: what is still to come from us */
	uint8_t news;			/* H2_NEWS_ bits not collected yet */
	uint8_t offence;		/* enum h2_offence, when we reset it for one */
	bool is_new;			/* its user has not seen it */
	bool wants_room;		/* a write did not take all, and no news of room since */
	bool is_held_up;		/* nor did the last one */
	bool is_deferred;		/* nghttp2 waits to be told of more to send */
	bool was_reset;			/* by either side; code says why */
	uint32_t code;			/* enum h2_code, of the reset */
	uint32_t stall_ms;		/* 0: as the limits of the session say */
	struct h2 *h;			/* NULL: the session is gone */
	struct h2_stock *stock;
	struct budget *budget;
	void *user;			/* its user's */
	struct node all, ready;
	struct node blocks;		/* header blocks received, one chunk each, oldest first */
	struct chunk *block;		/* the one being received */
	uint8_t n_blocks;		/* waiting there */
	uint32_t withheld;		/* bytes of in not yet returned to the connection's window */
	struct chunkq in, out;
	struct chunk *trailers;		/* to be sent behind out */
	uint64_t received, sent;	/* body bytes */
	uint64_t sent_then;		/* of sent, when the stall clock was set */
	struct mono born, stalled;	/* stalled: since when something waits; 0: nothing does */
};

/* The oldest header block that waits, valid until h2_block_take(); NULL: none. */
struct h2_block *h2_block(const struct h2_stream *);
void h2_block_take(struct h2_stream *);
/* Takes it away together with its chunk, which is the caller's to give back; NULL: none. */
struct chunk *h2_block_lift(struct h2_stream *);

/* All of them: 0 or -errno; -ENOTCONN: the stream or session is broken; -EPROTO: not now.
 * h2_request: also -EAGAIN: no more streams now (h2_room), -ENOTCONN also: leaving. */
must_use int h2_request(struct h2 *, const struct h2_field *, size_t n, bool end, struct budget *,
			void *user, struct h2_stream **ret);
must_use int h2_respond(struct h2_stream *, const struct h2_field *, size_t n, bool end);
must_use int h2_interim(struct h2_stream *, const struct h2_field *, size_t n);
/* Behind the body, and its end; -ENOBUFS also. */
must_use int h2_trailers(struct h2_stream *, const struct h2_field *, size_t n);
/* Ends it with this code; it still must be closed. */
void h2_reset(struct h2_stream *, enum h2_code);
/* Its user has more patience, or less, than the limits of the session have; once he has closed it they
 * hold again. */
static inline void h2_stream_stalls(struct h2_stream *st, int64_t ms)
{
	st->stall_ms = (uint32_t)min_of(ms, (int64_t)INT32_MAX);
}
/* From now on this budget pays for what is kept of it. */
void h2_stream_pays(struct h2_stream *, struct budget *);
/* Body bytes where they lie, as an alternative to reading them: iovecs filled (0: none now), and
 * the first n of them are done with. */
int h2_body(const struct h2_stream *, struct iovec *, int max);
void h2_body_take(struct h2_stream *, size_t n);

static inline struct h2_stream *h2_stream_of(struct stream *s)
{
	return container_of(s, struct h2_stream, s);
}

#endif
