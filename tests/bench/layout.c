/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Where change_rate.py finds things in the memory of this build: one line of JSON. */
#include <stddef.h>
#include <stdio.h>

#include "store/view/layout.h"
#include "workers/obs/board.h"

int main(void)
{
	printf("{\"worker\": %zu, \"stride\": %zu, \"rev\": %zu, \"head\": %zu, \"magic\": %u, "
	       "\"view_rev\": %zu, \"base_rev\": %zu}\n",
	       offsetof(struct board, worker), sizeof(struct board_worker),
	       offsetof(struct board_worker, c) + WC_view_rev_gauge * sizeof(uint64_t),
	       sizeof(struct view_head), VIEW_MAGIC, offsetof(struct view_head, rev),
	       offsetof(struct view_head, base_rev));
	return 0;
}
