/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* cni_input_read(): the command, CNI_NETNS and CNI_ARGS up to a 0 each, then the configuration.
 * Whatever comes: it is complete for its command, or there is a code and a message. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "admin/cni/input.h"

static struct slice cut(struct slice *rest)
{
	const uint8_t *zero = rest->n ? memchr(rest->p, 0, rest->n) : NULL;
	struct slice one = slice_of(rest->p, zero ? (size_t)(zero - rest->p) : rest->n);

	*rest = slice_from(*rest, one.n + (zero ? 1 : 0));
	return one;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size), word[3];
	struct cni_error e = { .code = 0 };
	struct cni_input in;
	char *text[3];
	int r;

	for (unsigned i = 0; i < 3; i++) {
		word[i] = cut(&rest);
		text[i] = strndup((const char *)word[i].p, word[i].n);
		must(text[i] != NULL);
	}
	r = cni_input_read(&(struct cni_env){ text[0], text[1], text[2] }, rest, &in, &e);
	must(r == 0 || (e.code && e.msg[0]));
	must(strlen(in.version) >= 5);
	if (r == 0 && in.command != CNI_SAY_VERSION) {
		must(in.name[0] && in.ns[0] && in.account[0] && in.socket[0]);
		must(in.netns[0] == '/' || (in.command == CNI_DEL && !in.netns[0]));
		must(in.seconds >= 1 && in.seconds <= 60);
		must(in.command != CNI_ADD || json_is_object(in.result));
	}
	cni_input_fini(&in);
	for (unsigned i = 0; i < 3; i++)
		free(text[i]);
	return 0;
}
