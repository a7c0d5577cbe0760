/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whom this host believes to be a workload of the mesh: by the bundles that the key process has told of, and
 * of what authorities of hosts issue only what is where the registry says (lib/net/tls_mesh.h).  Of this
 * host the list of the key process counts: who has a pod or a listener here, whoever wrote it down. */
#ifndef WORKERS_PATH_MESH_H
#define WORKERS_PATH_MESH_H

#include "workers/path/path.h"

/* Whether both make the same of it. */
bool mesh_is_same(const struct certs *, const struct certs *);
/* p->mesh of p->certs, anew.  Sides go on with the one that they were made with. */
void mesh_renew(struct path *);
void mesh_fini(struct path *);

#endif
