/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The builder as build.c, build_base.c and build_overlay.c have it, and what they share. */
#ifndef NODEPROXY_STORE_VIEW_BUILD_INNER_H
#define NODEPROXY_STORE_VIEW_BUILD_INNER_H

#include "nodeproxy/lib/base/hash.h"
#include "store/view/build.h"
#include "store/view/known.h"

#define KEPT_OVERLAYS 4

struct unit {
	struct hash_node by_key;
	uint32_t id;
	enum unit_kind kind;
	uint32_t users;		/* how many references other units hold on this id */
	uint32_t *refs, n_refs; /* the ids this one refers to */
	struct known_list known; /* addresses of its endpoints */
	uint8_t *heap;		/* its bytes when they are not in the base */
	const uint8_t *bytes;	/* NULL: there is no such unit (only a name) */
	uint32_t n;
	bool changed; /* in builder.changed */
	bool in_job_again;
	uint64_t job_at; /* offset in the base being made; 0: not copied yet */
	uint32_t job_n;
	bool job_named; /* in the index of names of the base being made */
	uint32_t ns_n, name_n;
	uint8_t key[]; /* ns, name */
};

struct index {
	struct view_slot *slot;
	uint32_t n, used;
};

struct job {
	bool on;
	struct fd fd;
	uint32_t next_id;
	uint64_t at; /* next offset, flushed and staged */
	uint8_t *piece;
	uint32_t staged;
	struct index names, vips;
	uint32_t *again, n_again, room_again;
	int64_t cpu_ns;
};

struct builder {
	struct slice domain;
	uint8_t domain_bytes[256];
	uint8_t key[16];
	struct hash by_key;
	struct unit **unit; /* by id - 1; NULL: free id */
	uint32_t n_units, room_units;
	uint32_t *free_ids, n_free, room_free;
	uint32_t services, namespaces;		    /* live */
	uint32_t *changed, n_changed, room_changed; /* ids, ascending */
	uint64_t changed_bytes;
	struct knowns knowns;
	bool dirty; /* changes since the last commit */
	uint64_t rev, base_rev;
	struct fd base_fd, old_base_fd;
	struct slice base; /* mapped; empty before the first */
	struct fd kept[KEPT_OVERLAYS];
	uint32_t next_kept;
	struct unit_bytes scratch;
	uint8_t *over; /* an overlay being put together */
	uint64_t room_over;
	struct job job;
	uint64_t bases, overlays;
	int64_t last_base_us, last_overlay_us;
};

static inline struct unit *unit_by_id(const struct builder *b, uint32_t id)
{
	return id >= 1 && id <= b->n_units ? b->unit[id - 1] : NULL;
}

/* Makes room for n of them.  False: no memory. */
bool build_grow(void **p, uint32_t *room, uint32_t n, size_t size);
void build_unit_free(struct builder *, struct unit *);

/* How many slots an index of n has. */
uint32_t build_slots(uint32_t n);
/* False: the table would get too full (or there is no memory, when it was never made). */
bool build_index_name(const struct builder *, struct index *, const struct unit *);
bool build_index_vips(const struct builder *, struct index *, const struct unit *);
void build_head(const struct builder *, struct view_head *, enum view_layer);

/* The next overlay, true as rev.  0 or -errno. */
must_use int build_overlay(struct builder *, uint64_t rev, struct built *ret);

void build_base_stop(struct builder *);
/* spare: how many more units may come while the job runs; past it the job starts again. */
must_use int build_base_start(struct builder *, uint32_t spare);
/* 1: *ret is the new base; 0: the budget is used up; -errno. */
must_use int build_base_run(struct builder *, int64_t budget_ns, struct built *ret);
/* All of it at once.  0 or -errno. */
must_use int build_base_now(struct builder *, struct built *ret);

#endif
