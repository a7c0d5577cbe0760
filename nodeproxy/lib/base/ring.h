/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A ring of records in shared memory: one writer, one reader, neither trusts the other.
 *
 * Workers write log lines here and never block; admind reads them.  A record is a 32-bit word
 * (length << 8 | kind) and its bytes, padded to 4.  No room: the record is dropped and counted.
 * The ring outlives both ends: a new reader goes on where the old one stopped.  Each side keeps
 * its own cursor in private memory as well and treats what the other wrote as hostile: a reader
 * that finds nonsense skips to the writer's cursor and counts it. */
#ifndef NODEPROXY_LIB_BASE_RING_H
#define NODEPROXY_LIB_BASE_RING_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define RING_MAGIC	0x4e50524eu	/* "NPRN" */
#define RING_RECORD_MAX 16384u

enum ring_kind { RING_PAD, RING_ACCESS, RING_EVENT };

struct ring_shared {
	uint32_t magic, bytes;			/* of data: a power of two */
	_Alignas(64) uint64_t head;		/* written by the writer: bytes ever put */
	uint64_t dropped;			/* records that found no room */
	_Alignas(64) uint64_t tail;		/* written by the reader: bytes ever taken */
	_Alignas(64) uint8_t data[];
};

#define RING_BYTES(data_bytes) (sizeof(struct ring_shared) + (data_bytes))

struct ring {
	struct ring_shared *sh;
	uint32_t bytes;		/* private copies: never read back from shared memory */
	uint64_t cursor;
	uint64_t seen_tail;	/* writer: last tail read, so most puts do not touch it */
	uint64_t rests_at;	/* writer: the cursor at the last ring_rest() */
	uint64_t rested_at;	/* writer: the cursor when the pages were given back last */
	uint64_t nonsense;	/* reader: times the writer's bytes made no sense */
};

/* Fresh memory of RING_BYTES(bytes); bytes is a power of two >= 4096. */
void ring_format(struct ring_shared *, uint32_t bytes);
/* Formats it again when its header is not that of a ring of so many bytes: the next writer and reader
 * must find one, whatever the last writer did to it.  True when it was mended. */
bool ring_mend(struct ring_shared *, uint32_t bytes);
/* Opens one end; map_bytes is the size of the mapping.  0 or -EBADMSG. */
must_use int ring_open_writer(struct ring *, struct ring_shared *, size_t map_bytes);
must_use int ring_open_reader(struct ring *, struct ring_shared *, size_t map_bytes);

/* Room for a record of at most max bytes, to be written in place; NULL: no room (counted). */
uint8_t *ring_reserve(struct ring *, size_t max);
/* Publishes the first n bytes of what was reserved. */
void ring_commit(struct ring *, enum ring_kind, size_t n);
/* The oldest record, copied out (n bytes at most RING_RECORD_MAX); false when there is none. */
bool ring_take(struct ring *, enum ring_kind *kind, uint8_t out[RING_RECORD_MAX], size_t *n);
uint64_t ring_dropped(const struct ring *);
/* By the writer, now and then, with nothing reserved: when all was read and nothing was written since
 * the last call, the pages go back to the kernel.  (Shared memory only; elsewhere nothing happens.) */
void ring_rest(struct ring *);

#endif
