/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The name that a caller of TLS asks for, as a path, so that routes by name are found as routes by path
 * are: the labels from the right, the last one marked.
 *
 *   a.shop.example    /example/shop/a=
 *   *.shop.example    /example/shop         the prefix of all names below, and not of shop.example itself
 *   no name           /                     which begins with no name's path */
#ifndef NODEPROXY_LIB_NET_SERVER_NAME_H
#define NODEPROXY_LIB_NET_SERVER_NAME_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define SERVER_NAME_MAX  255u
#define SERVER_NAME_PATH (SERVER_NAME_MAX + 3u)	/* "/", "=", NUL */

/* In any case, perhaps with the dot of the root behind it and, where that may be, *. before it: the
 * length, without NUL, of what is put into out; -EINVAL: it is no such name, or too long. */
must_use int server_name_path(struct slice name, bool may_be_wild, char out[SERVER_NAME_PATH]);
/* The name that a path is of; out as large, "" for none. */
void server_name_of_path(struct slice path, char out[SERVER_NAME_PATH]);

#endif
