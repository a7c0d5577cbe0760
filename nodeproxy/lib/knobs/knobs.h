/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The settings of one instance, from nodeproxy.yaml.
 *
 * struct knobs is plain memory without pointers: the master parses the file once and hands the
 * result to its children as a sealed memfd.  Rows: knobs.def. */
#ifndef NODEPROXY_LIB_KNOBS_KNOBS_H
#define NODEPROXY_LIB_KNOBS_KNOBS_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/net/addr.h"

#define KNOBS_MAGIC	0x4e504b4eu	/* "NPKN" */
#define KNOBS_LISTENERS 128

#define KNOBS_ENDPOINTS 16	/* of source.endpoints */

enum source_kind { SOURCE_FILE, SOURCE_ETCD, SOURCE_KUBERNETES, SOURCE_XDS };
enum source_slices { SLICES_ALL, SLICES_ON_DEMAND };
enum log_format { LOG_TEXT, LOG_JSON };
enum debug_scheduler { DEBUG_SCHEDULER_ON, DEBUG_SCHEDULER_OFF };
enum proxy_protocol { PROXY_PROTOCOL_OFF, PROXY_PROTOCOL_REQUIRE };
enum headers_via { HEADERS_VIA_OFF, HEADERS_VIA_ON };
enum headers_ids { HEADERS_MAKE, HEADERS_PASS };	/* request_id, traceparent */
enum forwarded { FORWARDED_APPEND, FORWARDED_REPLACE };
enum identity_issuer { IDENTITY_NONE, IDENTITY_NODE_CA, IDENTITY_FILES };
enum listen_tls { TLS_OFF, TLS_TERMINATE };
enum listen_tls_version { TLS_MIN_1_3, TLS_MIN_1_2 };
enum listen_tls_trust { TLS_TRUST_FILE, TLS_TRUST_MESH };
enum listen_tls_client { TLS_CLIENT_OFF, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRE };
enum listen_route { LISTEN_SERVICE, LISTEN_HOST, LISTEN_ORIGINAL };

/* Rows of knobs.def that are not of a listener, in its order. */
enum knob_index {
#define STR(key, field, ...) KNOB_##field,
#define NUM(key, field, ...) KNOB_##field,
#define ENU(key, field, ...) KNOB_##field,
#include "nodeproxy/lib/knobs/knobs.def"
	KNOBS
};

/* How a change takes effect: see knobs.def. */
enum knob_reload { RELOAD_LIVE, RELOAD_WORKERS, RELOAD_RESTART };

struct knobs_listener {
#define LSTR(key, field, bytes, required, help) char field[bytes];
#define LNUM(key, field, min, max, def, unit, help) int64_t field;
#define LENU(key, field, values, def, help)	uint32_t field;
#include "nodeproxy/lib/knobs/knobs.def"
	struct addr addr;	/* bind, parsed */
	char tls_ns[64];	/* tls_identity, parsed */
	char tls_account[64];
	char service_ns[64];	/* service, parsed */
	char service_name[64];
	uint32_t service_port;
};

struct knobs {
	uint32_t magic, bytes;	/* of this struct: another build's is refused */
#define STR(key, field, bytes, def, reload, help)	       char field[bytes];
#define NUM(key, field, min, max, def, unit, reload, help) int64_t field;
#define ENU(key, field, values, def, reload, help)	       uint32_t field;
#include "nodeproxy/lib/knobs/knobs.def"
	struct addr service_base;	/* service_cidr, parsed: first address and length of the prefix */
	uint32_t service_bits;
	struct addr source_endpoint[KNOBS_ENDPOINTS];	/* source.endpoints, parsed */
	uint32_t n_source_endpoints;
	uint32_t n_listeners;
	struct knobs_listener listener[KNOBS_LISTENERS];
};

#define KNOBS_ERROR 512

/* Where in the file a key is; 0: it is not there. */
struct knobs_lines {
	uint32_t key[KNOBS];
	uint32_t bind[KNOBS_LISTENERS];
};

/* Defaults of every row; node is the host name. */
void knobs_default(struct knobs *);
/* Reads the file at path.  0, or -errno with "file:line: key: what is wrong and what is allowed"
 * in error; *ret is only changed on success.  What is not in the file has its default. */
must_use int knobs_load(const char *path, struct knobs *ret, char error[KNOBS_ERROR]);
/* And where the keys are; *lines is changed in any case. */
must_use int knobs_load_lines(const char *path, struct knobs *ret, struct knobs_lines *lines,
			      char error[KNOBS_ERROR]);
/* The same for bytes that were read from a file called name. */
must_use int knobs_parse(struct slice bytes, const char *name, struct knobs *ret,
			 char error[KNOBS_ERROR]);
/* Every key with its value, as YAML that knobs_load reads back to the same. */
void knobs_print(const struct knobs *, FILE *);
/* One row after the other, for help texts and JSON: returns false after the last. */
struct knob_row {
	const char *key, *type, *def, *unit, *values, *help;
	int64_t min, max;
	enum knob_reload reload;
	bool of_listener, required;
};
bool knobs_row(unsigned i, struct knob_row *ret);
/* The value of row i (not of_listener) as text. */
void knobs_value(const struct knobs *, unsigned i, char *out, size_t n);
/* The same of a listener: row KNOBS + i of knobs_row(); false after the last. */
bool knobs_listener_value(const struct knobs_listener *, unsigned i, char *out, size_t n);
/* Checks what the master handed over (a struct knobs of n bytes, aligned): magic, size, that all
 * strings end, that numbers, words and addresses are within their rows.  0 or -EBADMSG. */
must_use int knobs_check(const void *bytes, size_t n);
/* Maps what the master handed over and checks it: 0, -EBADMSG, or -errno.  memfd_unmap() it. */
must_use int knobs_map(struct fd, struct slice *ret);
/* Paths with single blanks between them: how many there are, 0: not at most KNOBS_PATHS absolute ones.
 * The i-th; false: there are no more. */
#define KNOBS_PATHS 8u
#define KNOBS_PATH  200u
unsigned knobs_paths(const char *list);
bool knobs_path(const char *list, unsigned i, char ret[KNOBS_PATH]);
/* What `workers` asks for.  auto: 0 with *ret_count 0; a number: 0 with it; "cpus=0,2-5": 0 with
 * *ret_count 0 and the CPUs in *ret_cpus (else empty).  -EINVAL: none of these. */
must_use int knobs_workers(const char *workers, uint32_t *ret_count, cpu_set_t *ret_cpus);

#endif
