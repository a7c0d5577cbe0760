/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Payloads of msg.def.  Plain memory, fixed sizes, no pointers; every field of a received one is
 * hostile until checked.  Texts are NUL-terminated within their array (msg_text checks). */
#ifndef NODEPROXY_LIB_IPC_MESSAGES_H
#define NODEPROXY_LIB_IPC_MESSAGES_H

#include <stdint.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/ns_modes.h"

#define MSG_BUILD_ID 32		/* never changes: see msg.def */
#define MSG_NAME     128		/* the same */

struct msg_empty {
	uint32_t zero;
};

struct msg_hello {
	uint32_t role, pid;
	char build[MSG_BUILD_ID];	/* version and build of the binary: must be the master's own */
};

/* Descriptors of START, in this order:
 *   all      knobs (sealed), panic page (shared, 4096 bytes)
 *   worker   + board (shared, writable), log ring (shared, writable)
 *   admind   + board (shared; maps read-only), procs page (read-only), panic archive (read-only)
 *   syncd    + board (shared; maps read-only), state directory (none: it keeps nothing)
 *   keyd     + its directory; none: it keeps nothing */
struct msg_start {
	uint32_t id;			/* worker: 0..BOARD_WORKERS-1; others: 0 */
	uint32_t cpu;			/* worker: pinned there already */
	uint32_t generation;		/* times this slot was started, from 1 */
	uint32_t log_level;
	uint64_t started_unix_ms;	/* of the whole instance */
	uint64_t rev;			/* syncd: newest view the master holds; it makes later ones */
	uint32_t trial;			/* syncd: use the copy of the store, until STORE_CONFIRM */
	uint32_t zero;
};

struct msg_log_level {
	uint32_t level;
};

struct msg_knobs {
	uint64_t serial;		/* TRY, OK, REFUSED: of the reload; USE, USED: generation of the settings */
};

struct msg_ping {
	uint64_t n;
};

/* What one end lacks, so that the other says it once more: descriptor pressure is no crime. */
struct msg_lost {
	uint32_t type;			/* enum msg_type; AGAIN: MSG_NONE, whatever a dead master had */
	uint32_t zero;
	uint64_t rev;			/* AGAIN: newest view that the master has */
};

struct msg_listen {
	uint32_t listener;		/* index into the knobs that the worker was told last */
	uint32_t group;			/* whose reuseport socket: the worker's own id, or a lent one's */
};

struct msg_drain {
	uint64_t deadline_ms;		/* from now */
	uint32_t full_stop;		/* nobody else has the listeners: their queues are served */
	uint32_t zero;
};

struct msg_rev {
	uint64_t rev;
};

struct msg_service {
	char ns[64], name[64];
};

struct msg_refused {
	uint64_t rev;			/* + text */
};

enum view_kind { VIEW_BASE = 1, VIEW_OVERLAY = 2 };

struct msg_view {
	uint64_t rev;			/* of the state it makes true */
	uint64_t base_rev;		/* overlay: the base it lies on; base: rev */
	uint64_t bytes;			/* of the file */
	uint32_t kind;
	uint32_t zero;
};

struct msg_source {
	int32_t error;			/* no descriptors: -errno says why */
	uint32_t zero;
	char name[MSG_NAME * 2];	/* the one file to read in it; "": all of them */
};

enum source_secret { SECRET_CA, SECRET_CERT, SECRET_KEY, SECRET_PASSWORD, SECRETS };

struct msg_source_secrets {
	uint32_t has;			/* bits by enum source_secret: those that are handed over, in order */
	int32_t error;			/* of a file that could not be opened: -errno; nothing is handed over */
	uint32_t which;			/* error: of which */
	uint32_t zero;
};

struct msg_file {
	uint64_t serial;
	int32_t error;			/* FILE_HERE: 0 or -errno */
	uint32_t zero;
	char name[MSG_NAME * 2];	/* a name inside the source directory: no slash, not . or .. */
};

struct msg_store_copy {
	uint32_t make;			/* 0: remove it */
};

struct msg_store_copied {
	int32_t error;			/* 0 or -errno */
};

struct msg_ring {
	uint32_t worker;
	uint32_t bytes;			/* of the mapping */
};

struct msg_sockets {
	uint32_t has_metrics;		/* no descriptors at all: close what you have, finish what runs */
};

struct msg_key_file {
	int32_t error;			/* no descriptors: -errno says why */
	uint32_t which;			/* error: 0 certificate, 1 key, 2 clients' CA */
	uint32_t index;			/* of the listener in its settings, for words */
	uint32_t tls12;			/* it speaks TLS 1.2 too */
	uint32_t try;			/* as in KEY_FILES */
	uint32_t zero;
	char listener[72];		/* certs_name() */
};

struct msg_key_files {
	uint32_t count;			/* KEY_FILE messages before this one */
	uint32_t try;			/* 1: KNOBS_TRY follows, nothing is used; 0: use them */
};

struct msg_identity {
	char ns[64], account[64];	/* of a service account */
};

#define IDENTITIES_MAX 640u		/* PODS_MAX, and as many listeners as there may be */

/* One sealed file: all that have a pod or a listener on this host. */
struct msg_identities {
	uint32_t n, zero;
	struct msg_identity at[];
};

#define IDENTITIES_BYTES(n) (sizeof(struct msg_identities) + (n) * sizeof(struct msg_identity))

/* Descriptors: CA and PAIR: certificate, key; the others: their file. */
enum identity_file { IDENTITY_FILE_PASSPHRASE, IDENTITY_FILE_CA, IDENTITY_FILE_BUNDLE, IDENTITY_FILE_CRL,
		     IDENTITY_FILE_PAIR };

struct msg_identity_file {
	int32_t error;			/* no descriptors: -errno says why */
	uint32_t what;			/* enum identity_file */
	uint32_t which;			/* error: 0 the first, 1 the second */
	uint32_t zero;
	char trust_domain[256];		/* BUNDLE: whose */
	struct msg_identity of;		/* PAIR */
};

struct msg_identity_terms {
	uint32_t count;			/* IDENTITY_FILE messages before this one */
	uint32_t try;			/* as in KEY_FILES */
	uint32_t issuer;		/* enum certs_issuer_kind */
	uint32_t zero;
	int64_t life_s;
	char trust_domain[256], node[256];
};

struct msg_key_line {
	uint32_t worker;		/* to keyd: whose; to a worker: 0 */
	uint32_t zero;
};

#define MSG_SIGN_BYTES 160		/* TLS: 146 at most */
#define MSG_SIGNED_BYTES 512		/* RSA of 4,096 bits */

struct msg_sign {
	uint64_t cookie, key;
	uint32_t algorithm, n;
	uint8_t bytes[MSG_SIGN_BYTES];
};

struct msg_signed {
	uint64_t cookie;
	uint32_t refusal;		/* enum sign_refusal; 0: signed */
	uint32_t n;
	uint8_t bytes[MSG_SIGNED_BYTES];
};

struct msg_ticket_keys {
	uint8_t now[64], before[64];	/* struct tls_ticket_key; before all 0: none */
};

/* ---- local pods ---- */

#define PODS_MAX 512	/* of a host */

struct msg_ip {
	uint8_t family;			/* 4: the first four bytes; 6 */
	uint8_t zero[3];
	uint8_t ip[16];
};

#define POD_RESOLVERS 3	/* as many as the C library asks */

/* Who a pod is and where, as the operator says it; pod_problem() of pods.h checks it. */
struct pod_words {
	char name[64], ns[64], account[64];
	char netns[192];		/* path of its network namespace; "": uid */
	char labels[256];		/* k=v,k=v */
	uint32_t uid;			/* of processes in our own namespace; 0: netns */
	uint32_t n_resolvers;		/* that names of others are asked of; 0: those of the host */
	struct msg_ip resolver[POD_RESOLVERS];
};

/* A pod is named by its ref: a number that no other pod of the instance had before, and in its lowest
 * bits the slot that it has among those of the host. */
#define POD_SLOT(ref) ((ref) % PODS_MAX)

struct msg_pod {
	uint32_t ref;
};

/* Descriptors, POD_SOCKETS of IPv4, then (unless the pod has none) as many of IPv6: listeners for what
 * leaves the pod, for what comes to it, and for names, and a socket of UDP for these. */
#define POD_SOCKETS 4

struct msg_pod_here {
	uint32_t ref;
	uint32_t only_out;		/* of the sockets of each family only the first is there: of a uid */
	uint32_t fellow;		/* as in msg_pod_fellow */
	char name[64], ns[64];
	uint32_t n_resolvers;		/* of the pod itself; 0: those of the host are its */
	struct msg_ip resolver[POD_RESOLVERS];
};

/* Both ends: the one by which the receiver sends and hears, and that worker's. */
struct msg_fellow_line {
	uint32_t worker;
};

#define NO_FELLOW UINT32_MAX

struct msg_pod_fellow {
	uint32_t ref;
	uint32_t worker;		/* NO_FELLOW: nobody */
};

struct msg_conn_passed {
	uint32_t ref;			/* of the pod */
	uint32_t direction;		/* enum gate_direction */
	uint32_t returned;		/* to who had passed it */
};

/* Of a captured pod: IPv4 as ::ffff:a.b.c.d, sorted; of more than these some. */
#define POD_ADDRESSES 8
struct pod_addresses {
	uint32_t n, zero;
	uint8_t ip[POD_ADDRESSES][16];
};

/* Where a captured pod is, and how it is spoken to, by whichever worker. */
struct msg_resident {
	uint32_t ref;
	uint8_t origin;			/* enum ns_mode_value of source-address */
	uint8_t has_ipv6;
	uint8_t zero[2];
	char name[64], ns[64];
	struct pod_addresses addresses;
};

/* Sorts of sockets in banks: TCP of IPv4 and of IPv6, then UDP. */
#define BANK_KINDS 4

/* What an errand is to do: struct errand_job (nodeproxy/netns.h) without its descriptors, which of these
 * there are goes with it. */
struct msg_errand {
	uint32_t kind;
	uint32_t ref;
	uint64_t cookie;
	uint32_t uid;			/* of the rules, as the next three */
	uint16_t port;
	uint8_t stays, origin;
	uint16_t n[BANK_KINDS];
	uint8_t has_ipv6;
	uint8_t fds;			/* bits: inside, rules, list */
	uint8_t zero[6];
	char netns[192];
};

struct msg_errand_done {
	int32_t error;			/* 0 or -errno; POD_ENTER: + text */
	uint32_t zero;
};

struct msg_pod_found {
	uint64_t inode;			/* of its namespace */
};

/* Descriptors: the network namespace, the netlink socket that owns the rules, then as POD_HERE. */
struct msg_pod_entered {
	int32_t error;			/* 0, or -errno + text */
	uint32_t zero;
	uint64_t inode;			/* of the namespace */
	uint64_t cookie;		/* the same, of which no other has it until the host is booted */
	struct pod_addresses addresses;
};

/* Descriptor: a page of the list (pods.h). */
struct msg_pods_seen {
	uint64_t refs;			/* given out when it was made */
	uint32_t page;
	uint32_t zero;
};

/* Which pages there are, when all pods of before a stop are captured again, or could not be. */
struct msg_pods_all {
	uint32_t pages;			/* bits */
	uint32_t zero;
};

/* A Workload of this host, as syncd has it from the source. */
struct msg_workload {
	struct pod_words words;
};

struct msg_workload_name {
	char name[64], ns[64];
};

struct msg_workload_state {
	int32_t error;			/* 0: captured; -errno: not, + text why */
	uint32_t zero;
	char name[64], ns[64];
};

/* Flows that a pod's rules let pass untouched: what is not TCP, and what goes to addresses of one link. */
enum passed { PASSED_OUT_OTHER, PASSED_OUT_LINK_LOCAL, PASSED_IN_OTHER, PASSED_IN_LINK_LOCAL, PASSED };

struct msg_pod_visited {
	uint32_t ref;
	uint16_t dialled;		/* bits of families, IPv4 first: the proof's address has a route there */
	uint8_t counted, looked;	/* 1: passed was read; addresses were */
	uint64_t passed[PASSED];
	struct pod_addresses addresses;
};

/* A connection that proves that the pod is captured has arrived (lib/net/proof.h). */
struct msg_pod_proven {
	uint32_t ref;
	uint16_t token;
	uint16_t family;		/* 4 or 6 */
};

struct msg_bank {
	uint32_t ref;
	uint32_t sort;			/* of all descriptors that come with it */
};

/* The file that says whom the host asks for names. */
struct msg_resolvers {
	int32_t error;			/* no descriptor: -errno says why */
};

struct msg_bank_want {
	uint32_t ref;
	uint16_t n[BANK_KINDS];		/* sockets of each sort */
};

/* All of them (BEGIN, each whose modes are not the default, END: others that were told before have the
 * default), then each as it changes. */
enum ns_told { NS_TOLD_BEGIN = 1, NS_TOLD_ONE, NS_TOLD_END };

struct msg_ns_modes {
	uint32_t told;			/* enum ns_told */
	char ns[64];			/* ONE */
	struct ns_modes modes;
};

/* What admind may order; each is checked again by the master. */
enum order { ORDER_DRAIN = 1, ORDER_LOG_LEVEL, ORDER_LOG_REOPEN, ORDER_DEBUG, ORDER_UPGRADE,
	     ORDER_RELOAD, ORDER_POD_ADD, ORDER_POD_REMOVE };

struct msg_order {
	uint64_t serial;
	uint32_t order;
	uint32_t worker;		/* DRAIN, DEBUG: which worker; UINT32_MAX: all */
	int64_t number;			/* DRAIN, UPGRADE: deadline in ms, LOG_LEVEL: level, DEBUG: the
					 * number << 8 | which */
	char who[64];			/* "uid=0 pid=7", for the log */
	uint32_t process;		/* DEBUG: enum role; worker says which of them */
	uint32_t slot;			/* DEBUG: of a tenant */
	struct pod_words pod;		/* POD_ADD; POD_REMOVE: name, ns, netns or "" */
};

struct msg_debug {
	int64_t number;
	uint32_t what;			/* enum debug_what */
	uint32_t slot;			/* of a tenant */
};

struct msg_order_done {
	uint64_t serial;		/* 0: all that wait, the master that was asked is dead */
	int32_t error;			/* 0 or -errno; + text */
	uint32_t zero;
};

/* ---- keeper and master: see msg.def before you touch one of these ---- */

#define KEEPER_SPEAKS 1

struct msg_keep {
	char name[MSG_NAME];		/* "listen/front/0", "chan/worker/1", … */
	uint64_t number;		/* goes with it (pid, generation, …) */
	uint32_t shared;		/* of the instance: goes over to the next build's master */
	uint32_t zero;
};

/* Why there is a new master. */
enum kept_birth {
	BIRTH_FIRST,			/* nobody before it */
	BIRTH_AGAIN,			/* its predecessor died: has all of its entries */
	BIRTH_TRIAL,			/* beside an older build's: has the shared entries */
};

struct msg_kept_end {
	uint32_t count;
	uint32_t birth;			/* enum kept_birth */
	uint32_t speaks;		/* KEEPER_SPEAKS of the keeper */
	uint32_t started_mono_s;	/* the same by CLOCK_MONOTONIC; 0: not known */
	uint64_t started_unix_ms;	/* of the instance */
	uint64_t rev;			/* of the older master, when it said LAUNCH */
};

struct msg_build {
	char build[MSG_BUILD_ID];
};

struct msg_launch {
	uint64_t rev;			/* newest that the workers have */
	uint32_t ready_ms;		/* for the new one to become ready */
	uint32_t retire_ms;		/* for this one to drain and leave, afterwards */
};

struct msg_old_ones {
	uint32_t masters, workers;
};

struct msg_reaped {
	uint32_t pid;
	int32_t status;			/* as wait(2) has it */
};

struct msg_goodbye {
	int32_t exit_code;
	uint32_t zero;
};

/* True when s ends within its n bytes and is printable ASCII. */
bool msg_text(const char *s, uint32_t n);

#endif
