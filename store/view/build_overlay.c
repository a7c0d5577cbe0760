/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An overlay: all units that differ from the base, put together in memory and sealed.  The last few stay
 * open for a while (build.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/memfd.h"
#include "store/view/build_inner.h"

int build_overlay(struct builder *b, uint64_t rev, struct built *ret)
{
	int64_t start = clock_cpu_ns();
	uint32_t live = 0, services = 0, d = 0;
	uint64_t at = sizeof(struct view_head), bytes = 0, sets;
	struct view_head *h;
	struct index names, vips;
	struct view_dir *dir;
	int r;

	for (uint32_t i = 0; i < b->n_changed; i++) {
		const struct unit *u = unit_by_id(b, b->changed[i]);

		live += u->bytes != NULL;
		services += u->bytes != NULL && u->kind == UNIT_SERVICE;
		bytes += u->bytes ? u->n : 0;
	}
	names = (struct index){ .n = build_slots(live) };
	vips = (struct index){ .n = build_slots(2 * services) };
	bytes += at + (uint64_t)b->n_changed * sizeof *dir +
		 ((uint64_t)names.n + vips.n) * sizeof(struct view_slot);
	sets = bytes;
	bytes += knowns_bytes(&b->knowns, KNOWN_CAME) + knowns_bytes(&b->knowns, KNOWN_WENT);
	if (bytes > b->room_over) {
		uint8_t *p = realloc(b->over, bytes * 2);

		if (p == NULL)
			return -ENOMEM;
		b->over = p;
		b->room_over = bytes * 2;
	}
	h = (struct view_head *)b->over;
	build_head(b, h, LAYER_OVERLAY);
	h->bytes = bytes;
	h->rev = rev;
	h->base_rev = b->base_rev;
	h->services = services;
	h->namespaces = live - services;
	h->n_dir = b->n_changed;
	h->n_names = names.n;
	h->n_vips = vips.n;
	h->vips = sets - (uint64_t)vips.n * sizeof(struct view_slot);
	h->names = h->vips - (uint64_t)names.n * sizeof(struct view_slot);
	h->dir = h->names - (uint64_t)b->n_changed * sizeof *dir;
	memset(b->over + h->names, 0, bytes - h->names);
	names.slot = (struct view_slot *)(b->over + h->names);
	vips.slot = (struct view_slot *)(b->over + h->vips);
	knowns_write(&b->knowns, KNOWN_CAME, b->over + sets, sets, &h->known);
	sets += knowns_bytes(&b->knowns, KNOWN_CAME);
	knowns_write(&b->knowns, KNOWN_WENT, b->over + sets, sets, &h->gone);
	dir = (struct view_dir *)(b->over + h->dir);
	for (uint32_t i = 0; i < b->n_changed; i++) {
		const struct unit *u = unit_by_id(b, b->changed[i]);

		dir[d++] = (struct view_dir){ u->id, u->bytes ? u->n : 0, u->bytes ? at : 0 };
		if (u->bytes == NULL)
			continue;
		memcpy(b->over + at, u->bytes, u->n);
		at += u->n;
		if (never(!build_index_name(b, &names, u) || !build_index_vips(b, &vips, u)))
			return -EIO;
	}
	r = memfd_sealed("view-overlay", slice_of(b->over, bytes), &ret->fd);
	if (r < 0)
		return r;
	fd_close(&b->kept[b->next_kept]);
	b->kept[b->next_kept].v = fcntl(ret->fd.v, F_DUPFD_CLOEXEC, 3);
	b->next_kept = (b->next_kept + 1) % KEPT_OVERLAYS;
	ret->is_base = false;
	ret->rev = rev;
	ret->base_rev = b->base_rev;
	ret->bytes = bytes;
	b->overlays++;
	b->last_overlay_us = (clock_cpu_ns() - start) / NS_PER_US;
	return 0;
}
