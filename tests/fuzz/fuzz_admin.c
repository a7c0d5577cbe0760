/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Bytes of an admin or metrics client, through HTTP, dispatch and every answer, on a made-up host.
 * The first byte says who asks (its lowest bit: root), at which door (bit 1), and into pieces of
 * which size the rest is cut (the other bits).  Whatever comes: an answer is one JSON object, and
 * somebody who is not root orders nothing. */
#include "tests/fuzz/replay.h"

#include "admin/metrics.h"
#include "tests/lib/admin_state.h"

static void answered(struct answer *a, bool json)
{
	json_error_t e;

	must(a->status >= 200 && a->status < 600 && a->body.n > 0 && !a->body.cut);
	if (json) {
		json_t *o = json_loadb(a->body.p, a->body.n, JSON_REJECT_DUPLICATES, &e);

		must(json_is_object(o));
		json_decref(o);
	}
	text_fini(&a->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct state st;
	struct slice s = slice_of(p, n);
	struct msg_order order;
	struct wire w;
	size_t piece;
	bool root, metrics;

	if (!st.knobs)
		admin_state_new(&st);	/* for the life of the program */
	if (n == 0)
		return 0;
	root = p[0] & 1;
	metrics = p[0] & 2;
	piece = p[0] >> 2 ? p[0] >> 2 : 4096;
	s = slice_from(s, 1);
	wire_init(&w);
	while (s.n) {
		struct answer a = { .status = 0 };
		size_t used;
		enum wire_result r = wire_feed(&w, slice_of(s.p, min_of(piece, s.n)), &used);

		must(used <= min_of(piece, s.n));
		s = slice_from(s, used);
		if (r == WIRE_BAD) {
			must(w.status >= 400 && w.why);
			break;
		}
		if (r == WIRE_MORE)
			continue;
		if (metrics) {
			metrics_answer(&st, &w.req, &a);
			answered(&a, false);
		} else if (dispatch(&st, &w.req, root ? 0 : 1000, 1, &a, &order) == DISPATCH_ANSWERED) {
			answered(&a, true);
		} else {
			must(root);
		}
		wire_next(&w);
	}
	wire_fini(&w);
	return 0;
}
