/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The answers of admind: one function per HERE row of commands.def, from a struct state to JSON.
 *
 * They read and never change anything but the state's cache of the parsed report.  An answer is one
 * object; lists are under the key that the row names, sorted as the view sorts (namespace, name).
 * Fields may be added, never renamed. */
#ifndef ADMIN_SHOW_H
#define ADMIN_SHOW_H

#include "admin/command.h"
#include "admin/finding.h"
#include "admin/gather.h"
#include "admin/serve.h"

/* A command with its arguments, decoded and checked against its rows. */
struct call {
	enum cmd cmd;
	char rest[512];			/* of a path that ends with "/" */
	struct {
		bool given;
		uint64_t number;	/* NUMBER */
		char text[2048];	/* TEXTS: lines */
	} arg[CMD_ARGS];
	uint32_t uid, pid;
};

/* The text of an argument, NULL when it was not given. */
const char *call_text(const struct call *, const char *name);
bool call_number(const struct call *, const char *name, uint64_t *ret);

/* Each fills *ret: status and a JSON body. */
typedef void show_fn(struct state *, const struct call *, struct answer *ret);

#define CMD(name, words, method, path, permission, answers, list, help) show_fn show_##name;
#include "admin/commands.def"

/* The answer to a reload that was done; changed: settings came into use by it. */
void show_reloaded(const struct state *, bool changed, struct slice words, struct answer *ret);

/* Shared by several answers. */
struct answer show_ok(void);
/* False: the answer says that there is no view yet. */
bool show_has_view(const struct state *, struct answer *);
void show_end(struct answer *);		/* closes the object, adds the newline */
/* What there is to say of certificates. */
void show_check_certs(const struct state *, struct findings *);
/* The certificate that a listener shows (of two the preferred one), and whom it is for; NULL: there is none
 * yet. */
const struct certs_leaf *show_leaf(const struct state *, const struct knobs_listener *, char names[CERTS_NAMES]);
/* A worker for status and workers; nothing for a slot without one. */
void show_worker(const struct state *, uint32_t id, bool counters, struct text *);
/* Counters of a Service, into an open object. */
void show_service_counters(const struct state *, struct slot_gen, struct text *);
/* {"reasons": {NAME: count}}: how exchanges of a Service ended. */
void show_service_reasons(const struct service_sums *, struct text *);
/* A histogram as one object: quantiles for people, buckets that are not empty for programs. */
void show_hist(struct text *, const char *key, const struct hist *);
/* The histograms of a tenant, into an open object. */
void show_tenant_times(struct text *, const struct tenant_sums *);
/* ready, unhealthy, ejected, probing, terminating or not-ready. */
const char *show_endpoint_state(const struct vendpoint *, const struct endpoint_sums *);
/* Endpoint i of a port with its live counters, as one object. */
void show_endpoint(const struct state *, const struct vservice *, const struct vport *, uint32_t i,
		   const struct vendpoint *, struct text *);
/* What holds for a port (its TrafficPolicy, or what holds without one), into an open object. */
void show_policy(const struct state *, const struct vport *, struct text *);
/* The filters of a rule or backend as "filters", one text each. */
#define FILTER_WORDS 1024
void show_filters(const struct vservice *, const struct vfilters *, struct text *);
/* Names that conditions and lists share: resolved status of a condition of a route, as "True",
 * "False" or "Unknown" of the worst parent; "" when there is none. */
const char *show_condition(const json_t *resource, const char *type);

#endif
