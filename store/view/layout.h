/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The bytes of a view file, ours alone: made by build.c and compile.c, read by everything else
 * here.
 *
 *   view_head | units, each at a multiple of 8 | view_dir[], by id | names: index | vips: index |
 *   known, gone: sets
 *
 * A base and an overlay look the same; an overlay's directory also holds tombstones (bytes 0). Both
 * indexes are open-addressing tables (linear probing, a power of two of slots, at least a quarter
 * empty) of keyed SipHash values and unit ids; the key is random per builder, so tenants cannot aim
 * at one bucket.  What an index says is always compared with the unit itself, so an entry that has
 * gone stale (the unit is gone, or has another address now) is only a miss.
 *
 * Inside a unit everything is offsets from its start, multiples of 4; texts are numbered, text 0 is
 * empty.  Numbers are little endian.  Any change here raises VIEW_VERSION: a worker of another
 * build refuses the file instead of guessing. */
#ifndef NODEPROXY_STORE_VIEW_LAYOUT_H
#define NODEPROXY_STORE_VIEW_LAYOUT_H

#include "nodeproxy/lib/base/balancing.h"
#include "nodeproxy/lib/base/ejection.h"
#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/ns_modes.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/retries.h"

#define VIEW_MAGIC     0x5756504eu /* "NPVW" */
#define VIEW_VERSION   4u
#define VIEW_MAX_BYTES (4ull << 30)
/* An overlay is verified in one go, about 2 ms at this size; the builder stays well below. */
#define OVERLAY_MAX_BYTES (16ull << 20)
#define VIEW_DOMAIN	  253 /* longest DNS name */

enum view_layer { LAYER_BASE = 1, LAYER_OVERLAY = 2 };

struct view_set { /* of addresses: known.h */
	uint64_t at;
	uint32_t n_buckets, n;
};

struct view_head {
	uint32_t magic;
	uint16_t version;
	uint16_t layer;
	uint64_t bytes;			 /* of the file */
	uint64_t rev, base_rev;		 /* base: both the same */
	uint8_t key[16];		 /* of the indexes; an overlay has its base's */
	uint64_t dir, names, vips;	 /* offsets */
	struct view_set known, gone;	 /* base: gone is empty */
	uint32_t n_dir, n_names, n_vips; /* entries and slots */
	uint32_t services, namespaces;	 /* live units in this file */
	uint32_t domain_n;
	uint8_t domain[256];
};
static_must(sizeof(struct view_head) == 384);

struct view_dir {
	uint32_t id;	/* ascending, never 0 */
	uint32_t bytes; /* 0: the unit of the base is gone */
	uint64_t at;
};

struct view_slot {
	uint32_t hash;
	uint32_t id; /* 0: empty */
};

#define UNIT_MAGIC 0x5455504eu /* "NPUT" */

enum unit_kind { UNIT_SERVICE = 1, UNIT_NAMESPACE = 2 };

struct unit_head {
	uint32_t magic;
	uint32_t bytes;
	uint32_t id;
	uint32_t kind;
	uint32_t texts, n_texts; /* struct unit_text[] */
	uint32_t ns, name;	 /* texts; ns is empty for a namespace */
};

struct unit_text {
	uint32_t at, n;
};

struct unit_budget { /* of retries; always set */
	uint32_t policy; /* its name; empty: the defaults */
	uint32_t backend_policy; /* 1: that of an XBackendTrafficPolicy */
	uint32_t percent, interval_ms, least;
};

struct unit_svc {
	struct unit_head head;
	uint32_t slot, gen;
	struct addr vip[2]; /* port 0; family 0: none */
	uint32_t ports, n_ports;
	uint32_t endpoints, n_endpoints;
	uint32_t tables, n_tables;
	uint32_t entries, n_entries;
	uint32_t conds, n_conds;
	uint32_t asks, n_asks;
	uint32_t forks, n_forks;
	uint32_t twigs, n_twigs; /* uint32_t[]: see unit_fork */
	uint32_t rules, n_rules;
	uint32_t backends, n_backends;
	uint32_t policies, n_policies;
	uint32_t rates, n_rates;
	uint32_t sums, n_sums; /* uint32_t[]: see unit_port.sum */
	uint32_t levels, n_levels;
	uint32_t slots, n_slots; /* uint16_t[]: tables of Maglev */
	uint32_t filters, n_filters;
	uint32_t times, n_times;
	uint32_t tls, n_tls;
	uint32_t tls_names, n_tls_names;
	uint32_t cas, n_cas; /* uint32_t[]: texts in PEM */
	struct unit_budget budget;
	uint32_t lacks_endpoints; /* 1: they are in the registry and not on this host; it has none */
};

struct unit_port {
	uint16_t port;
	uint8_t protocol; /* enum app_protocol */
	uint8_t zero;
	uint32_t name;
	uint32_t endpoint, n_endpoints; /* first of its run, and how many */
	uint32_t n_ready;		/* the first n_ready of them */
	uint32_t table, n_tables; /* of routes; the one for all callers, if there is one, first */
	uint32_t entry, n_entries; /* those of all its tables */
	uint32_t policy;  /* its number + 1; 0: none */
	uint32_t rate;	  /* likewise */
	uint32_t tls;	  /* likewise */
	uint32_t sum;	  /* where sums of the weights of its endpoints begin, + 1: for each endpoint
			   * that of all up to it; 0: they are all alike */
	uint32_t level, n_levels; /* first of its run, and how many; 0: all are of one level,
				   * and there is no table of Maglev */
};

/* Ready endpoints that are alike good: those of the best level stand first. */
struct unit_level {
	uint32_t first, n_ready; /* of the endpoints of the port */
	uint32_t n_total;	 /* with those that are not ready, without those that terminate */
	uint32_t slot, n_slots;	 /* its table: each slot a position after first; n 0: none */
	uint8_t priority;
	uint8_t far; /* 1: in another zone than the host, which matters to the policy */
	uint8_t zero[2];
};

#define ENDPOINT_READY	     1u
#define ENDPOINT_SERVING     2u
#define ENDPOINT_TERMINATING 4u

struct unit_endpoint {
	uint8_t ip[16];
	uint16_t port;
	uint8_t family;
	uint8_t flags;
	uint32_t slot, gen;
	uint32_t zone, node, host;
};
static_must(sizeof(struct unit_endpoint) == 40);

/* The routes of a port that count for the same callers. */
struct unit_table {
	uint32_t ns;   /* text: those of this namespace, ascending; empty: everybody else */
	uint32_t kind; /* enum route_kind */
	uint32_t entry, n_entries;
	uint32_t n_exact; /* the first n_exact of them */
};

/* One match of one rule.  The entries of a table stand in order of precedence, which is also the
 * order the lookup needs: exact ones by path; then prefixes, longest first, by path; those of one
 * path by what else they want. */
struct unit_entry {
	uint32_t path;
	uint32_t key_n; /* bytes of path that must match: a prefix without its
			 * trailing slashes */
	uint32_t rule;
	uint16_t exact;	  /* 0 or 1 */
	uint16_t n_conds; /* all must hold */
	uint32_t cond;
	uint32_t more; /* so many behind it have the same path */
	uint32_t fork; /* of the first of many with the same path: its number + 1; 0: none */
};

struct unit_cond {
	uint32_t ask;
	uint32_t value; /* text */
};

/* What conditions look at; two that look at the same name the same one. */
struct unit_ask {
	uint32_t what; /* enum ask */
	uint32_t name; /* text: of the header, in lower case, or of the parameter */
};

enum ask { ASK_METHOD, ASK_GRPC_METHOD, ASK_HEADER, ASK_PARAM, ASKS };

/* Among many entries of one path, those that have a condition on one ask are found by its value.
 * Twigs are numbers of entries of the table: first those with a condition on the ask, ordered by the
 * bytes of the value and then by precedence; then the others, by precedence. */
struct unit_fork {
	uint32_t ask;
	uint32_t twig, n_valued, n_rest;
};

struct unit_rule {
	uint32_t route_ns, route_name, name;
	uint32_t backend, n_backends;
	uint32_t total_weight;
	uint32_t filter, n_filters;
	uint32_t times; /* its number + 1; 0: none */
};

#define TIMES_REQUEST 1u
#define TIMES_ATTEMPT 2u

/* Of a rule or a policy; 0 where it says nothing. */
struct unit_times {
	uint32_t set; /* TIMES_: which of these are said; 0 then is no limit */
	uint32_t request_ms, attempt_ms;
	struct retries retry;
};

struct unit_backend {
	uint32_t id; /* of the Service's unit; 0: refused */
	uint32_t ns, name;
	uint32_t weight;
	uint16_t port;
	uint16_t zero;
	uint32_t filter, n_filters;
};

/* Those of one rule or backend stand together, in the order of their kinds. */
struct unit_filter {
	uint32_t kind;	       /* enum filter_kind */
	uint32_t edit, n_edit; /* bytes of header modifiers, of CORS to an origin that may: see edit.h */
	uint32_t host, path;   /* texts */
	uint32_t cut;	       /* bytes of the request's path that path takes the place of */
	uint8_t path_is;       /* enum new_path */
	uint8_t scheme;	       /* enum new_scheme */
	uint16_t port, status;
	uint8_t cors;	       /* CORS_* */
	uint8_t zero;
	uint32_t miss, n_miss; /* edits of responses: to another origin, and to a request without one */
	uint32_t plain, n_plain;
	uint32_t lines, n_lines;     /* of answers to preflights */
	uint32_t origins, n_origins; /* see vfilter_allows() */
	uint32_t to, to_ns, to_name; /* id of the Service of a mirror, 0: refused; texts */
	uint32_t numerator, denominator;
};

/* The TrafficPolicy of a port; 0 where it says nothing, but for ejection. */
struct unit_policy {
	uint32_t name; /* its namespace is the Service's */
	uint8_t balancer; /* enum balancer */
	uint8_t prefer_zone; /* 0 or 1 */
	uint8_t hash_by; /* enum hash_by */
	uint8_t check; /* enum check_type; 0: none, and all of it below is 0 */
	uint32_t hash_name;
	uint32_t connect_ms, response_ms, stall_ms, tcp_idle_ms;
	uint32_t connections, requests;
	uint32_t pending, pending_ms;
	uint32_t slot, gen; /* of the limits on the board */
	struct balancing balancing;
	struct ejection ejection;
	uint32_t times; /* as that of a rule */
	uint32_t delay_ms;
	uint16_t abort_status;
	uint8_t abort_grpc, delay_percent, abort_percent, zeros[3];
	uint32_t check_path, check_interval_ms, check_timeout_ms;
	uint8_t check_healthy, check_unhealthy, check_statuses, zero;
	struct unit_statuses {
		uint16_t from, to;
	} check_status[8];
};

struct unit_pace {
	uint32_t requests, interval_ms, burst; /* all 0: no limit */
};

/* The RateLimitPolicy of a port. */
struct unit_rate {
	uint32_t name; /* its namespace is the Service's */
	uint32_t key;  /* enum rate_key */
	struct unit_pace identity, total;
	uint32_t slot, gen; /* on the board */
};

#define TLS_TRUSTS_HOST 1u /* the issuers that the host trusts */

/* The BackendTLSPolicy of a port. */
struct unit_tls {
	uint32_t name; /* its namespace is the Service's */
	uint32_t host;
	uint32_t flags;	    /* TLS_ */
	uint32_t ca, n_cas; /* issuers; without any nobody is trusted */
	uint32_t first, n_names;
	uint32_t id[4]; /* of all this, the same for the same as long as the builder lives */
};

struct unit_tls_name {
	uint32_t is_uri;
	uint32_t text;
};

struct unit_nspace {
	struct unit_head head;
	uint32_t slot, gen; /* of the tenant */
	uint32_t tenant;
	uint32_t weight;
	uint32_t connections, requests;
	uint64_t memory_bytes;
	struct ns_modes modes;
	uint32_t placed, n_placed; /* struct unit_placed[], by account and node, each once */
	uint32_t zero;
};
static_must(sizeof(struct unit_nspace) % 8 == 0);

/* A workload of this service account is on that host. */
struct unit_placed {
	uint32_t account, node; /* texts */
};

#endif
