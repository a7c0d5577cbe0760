/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What conditions of routes look at: the method, headers and parameters of one request.  Each is
 * looked for when the first condition wants it and remembered for the others of this request. */
#ifndef NODEPROXY_STORE_VIEW_ASKED_H
#define NODEPROXY_STORE_VIEW_ASKED_H

#include "store/view/reader.h"

#define ASKED_KNOWN 32 /* so many are remembered, further ones looked for again */

struct seen {
	struct slice value; /* of a header: its first line; of a parameter: as it came, encoded */
	uint32_t next;	    /* of a header that has more lines: where to look for them; else 0 */
	bool is_there;
	bool is_encoded; /* %, + */
};

struct asked {
	struct slice unit;
	const struct unit_svc *svc;
	const struct vrequest *request;
	uint32_t known;			/* bits of seen */
	struct seen seen[ASKED_KNOWN];	/* not zeroed */
};

static inline void asked_init(struct asked *a, const struct vservice *s, const struct vrequest *q)
{
	a->unit = vservice_unit(s);
	a->svc = vservice_svc(s);
	a->request = q;
	a->known = 0;
}

/* What the request has of it; NULL: the view is broken.  Good until the next call. */
const struct seen *asked_look(struct asked *, uint32_t ask, struct seen *room);
/* <0, 0, >0: what is there against these bytes, as slice_cmp() would order them decoded and joined. */
int asked_cmp(const struct asked *, uint32_t ask, const struct seen *, struct slice want);
/* All conditions of the entry hold; else *ret_failed (may be NULL) is the first that does not. */
bool asked_holds(struct asked *, const struct unit_entry *, uint32_t *ret_failed);

#endif
