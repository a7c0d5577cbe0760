/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A hostile sibling: any bytes as a datagram, any number of descriptors, any pair of roles.  What
 * the check lets through must be what the table says. */
#include <string.h>

#include "nodeproxy/lib/ipc/msg.h"
#include "tests/fuzz/replay.h"

/* Input: sender's role, receiver's role, descriptors, and the datagram. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(8) uint8_t bytes[CHAN_MAX_BYTES + 16];
	const struct msg_rule *r;
	enum role from, to;
	struct msg m = { 0 };
	size_t n;

	if (size < 3)
		return 0;
	from = data[0] % ROLES;
	to = data[1] % ROLES;
	n = min_of(size - 3, sizeof bytes);
	memcpy(bytes, data + 3, n);
	if (msg_parse(bytes, n, data[2], from, to, &m) < 0)
		return 0;
	r = msg_rule(m.type);
	must(r && msg_may(r, from, to));
	must(data[2] >= r->fds_min && data[2] <= r->fds_max && data[2] <= CHAN_MAX_FDS);
	must((const uint8_t *)m.p >= bytes && (const uint8_t *)m.p + r->bytes == m.tail.p);
	must(m.tail.n <= r->tail && m.tail.p + m.tail.n == bytes + n);
	if (m.type == MSG_KEEP && msg_text(m.p, MSG_NAME))
		must(strlen(m.p) < MSG_NAME);
	return 0;
}
