/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See opaque.h. */
#include "workers/codec/opaque.h"

void opaque_init(struct http1_body *b)
{
	*b = (struct http1_body){ .kind = BODY_TUNNEL, .state = BODY_DATA };
}

int opaque_pass(struct http1_body *b, struct slice in, bool in_end, struct iovec *v, size_t *used)
{
	*used = in.n;
	b->passed += in.n;
	if (in_end)
		b->state = BODY_DONE;
	if (in.n == 0)
		return 0;
	v[0] = (struct iovec){ (void *)(uintptr_t)in.p, in.n };
	return 1;
}
