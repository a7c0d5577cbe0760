/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Looking around for `nodeproxyctl check`: what the host offers, whether what we were given is still
 * there.  The master does it because everybody else is confined; it only looks, and tells it in the
 * procs page (facts.h). */
#ifndef NODEPROXY_SURVEY_H
#define NODEPROXY_SURVEY_H

struct master;

/* At the start, and from the tick: looks again now and then. */
void survey(struct master *);

#endif
