/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Answers for people: aligned tables, YAML, and numbers one can read.
 *
 * What comes from the daemon may quote documents and other strangers' bytes, so everything printed
 * as text is cleaned: no control byte reaches a terminal.  Pure: JSON in, text out. */
#ifndef ADMIN_CLI_PRINT_H
#define ADMIN_CLI_PRINT_H

#include "admin/command.h"
#include "admin/text.h"

/* The rows of list as a table with the columns of the command; an empty list says so. */
void print_table(enum cmd, const json_t *list, int64_t now_unix_ms, struct text *out);
/* Any object as "Key: value" lines, lists of objects as tables below. */
void print_object(const json_t *, int64_t now_unix_ms, struct text *out);
/* A list of objects as a table: the keys of the first are the columns; empty: nothing. */
void print_list(const json_t *, int64_t now_unix_ms, struct text *out);
void print_refused(const json_t *list, int64_t now_unix_ms, struct text *out);
/* Two lines each, for they are sentences: what is wrong, and what to do. */
void print_findings(const json_t *list, struct text *out);
void print_status(const json_t *, int64_t now_unix_ms, struct text *out);
void print_yaml(const json_t *, struct text *out);

/* What fits on a terminal: the first lines, each cut to so many columns. */
void print_fit(struct slice, size_t columns, size_t lines, struct text *out);

/* "1.5M", "3d4h", "12.3s": for tables only.  Returns out. */
const char *human_bytes(uint64_t, char out[32]);
const char *human_seconds(int64_t, char out[32]);
const char *human_ns(uint64_t, char out[32]);

/* Cleans while it appends. */
void print_clean(struct text *, const char *);

#endif
