/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whether a file of roots, or of revocation lists, is one that workers can trust by: they make of it what
 * lib/net/tls_trust.h says, and so nothing that would fail there is passed on. */
#ifndef NODEPROXY_KEYD_ROOTS_H
#define NODEPROXY_KEYD_ROOTS_H

#include "nodeproxy/keyd/pair.h"

enum roots_wanted { ROOTS_WANTED, LISTS_WANTED };	/* revocation lists may stand with roots, too */

/* 0, or -EINVAL with words that begin with the field. */
must_use int roots_check(struct slice pem, enum roots_wanted, const char *field, char words[PAIR_WORDS]);

#endif
