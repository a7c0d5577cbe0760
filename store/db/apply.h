/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A change set made durable: one transaction.
 *
 * db_change_begin, any number of puts and deletes, db_change_commit.  After any error the whole
 * change is rolled back (the later calls do nothing and return an error too), and the caller still
 * has it in memory to try again. */
#ifndef NODEPROXY_STORE_DB_APPLY_H
#define NODEPROXY_STORE_DB_APPLY_H

#include "store/db/query.h"

must_use int db_change_begin(struct db *);
must_use int db_put_resource(struct db *, const struct db_resource *, uint64_t rev);
must_use int db_delete_resource(struct db *, struct slice kind, struct slice ns, struct slice name);
/* A slot that another key of the scope held is taken from it. */
must_use int db_put_slot(struct db *, const struct db_slot *);
must_use int db_delete_slot(struct db *, struct slice scope, struct slice key);
/* Forgets all resources and slots: the caller writes everything anew. */
must_use int db_clear(struct db *);
must_use int db_put_meta(struct db *, const char *key, uint64_t value);
/* Ends it without a revision: only where nobody can find half of a state (anew.h). */
must_use int db_change_end(struct db *);
must_use int db_change_commit(struct db *, uint64_t rev);
void db_change_drop(struct db *);

#endif
