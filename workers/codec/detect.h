/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* First bytes of a caller -> which codec.  A pure function of a slice. */
#ifndef NODEPROXY_WORKERS_CODEC_DETECT_H
#define NODEPROXY_WORKERS_CODEC_DETECT_H

#include "nodeproxy/lib/base/slice.h"

enum detected { DETECT_MORE, DETECT_HTTP1, DETECT_H2, DETECT_TLS, DETECT_OPAQUE };

/* MORE: too few bytes to say.  HTTP1: a method token (RFC 9110 section 9.1), a blank, a target, a
 * blank and "HTTP/"; never longer than 8 KiB of looking.  H2: the client preface (RFC 9113 3.4). */
enum detected detect(struct slice first);

#endif
