/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The text format, for the files that make series of metrics: a family is its head and its samples. */
#ifndef ADMIN_METRICS_INNER_H
#define ADMIN_METRICS_INNER_H

#include "admin/metrics.h"

enum metric {
#define METRIC(id, name, type, labels, help) M_##id,
#include "admin/metrics.def"
};

/* metrics_format.c */
const char *metrics_name(enum metric);
void metrics_family(struct text *, const char *name, const char *type, const char *help);
/* The head of a family that has its row; its name, for the samples. */
const char *metrics_begin(struct text *, enum metric);
/* A label value: backslash, quote and newline escaped, other control bytes and what is not UTF-8
 * replaced (strbuf_json's rules would not do: Prometheus knows no \u). */
void metrics_label(struct text *, char before, const char *name, struct slice);
/* The end of a sample that has labels. */
void metrics_value(struct text *, uint64_t);
/* A family of one sample without labels. */
void metrics_plain(struct text *, enum metric, uint64_t);
/* Prometheus counts in seconds; nothing is lost on the way. */
void metrics_seconds(struct text *, uint64_t ns);
/* A value of a row of counters.def behind its labels, in the unit of its name. */
void metrics_row_value(struct text *, const struct counter_row *, uint64_t);
const char *metrics_type_of(const struct counter_row *);
/* The end of a sample of bucket i of a histogram; sum: of all up to it. */
void metrics_bucket_end(struct text *, unsigned i, uint64_t sum);

/* metrics_service.c: of Services, their limits and their endpoints. */
void metrics_services(const struct state *, struct text *);
void metrics_limits(const struct state *, struct text *);
void metrics_endpoints(const struct state *, struct text *);

#endif
