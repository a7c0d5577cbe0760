/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the sync process shows itself with to a registry, and whom it trusts: files that the master opened
 * and did not read (SOURCE_SECRETS).  They are read anew when they are handed over anew. */
#ifndef NODEPROXY_STORE_SYNC_SECRETS_H
#define NODEPROXY_STORE_SYNC_SECRETS_H

#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/lib/knobs/knobs.h"

#define SECRETS_WORDS 160u

struct secrets {
	struct slice v[SECRETS];	/* by enum source_secret; owned */
	uint32_t has;			/* as of msg_source_secrets */
	bool came;
};

/* 1: they are others now; 0: as they were; -errno with words: one cannot be read, they are as they were. */
must_use int secrets_take(struct secrets *, const struct msg *, char why[SECRETS_WORDS]);
/* They are all that the settings name, and no more. */
bool secrets_fit(const struct secrets *, const struct knobs *);
void secrets_fini(struct secrets *);

#endif
