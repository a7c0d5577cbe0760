/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The list of pods: sealed memory files that the master makes whenever it changes, for admind to show, for
 * syncd to make endpoints of and, in the keeper's table, for the next master to go on with. */
#ifndef NODEPROXY_LIB_IPC_PODS_H
#define NODEPROXY_LIB_IPC_PODS_H

#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/ipc/messages.h"

#define PODS_MAGIC 0x344c504eu	/* "NPL4" */

/* Who says that it is to be captured. */
enum pod_source { POD_OF_ORDER, POD_OF_WORKLOAD };

#define POD_WHY 160		/* words why one is not */

struct pod_told {
	struct pod_words words;
	uint64_t inode, cookie;		/* of its network namespace */
	uint64_t since_unix_ms;		/* captured */
	uint32_t ref;
	uint32_t has_ipv6;
	uint64_t workers;		/* bits of slots: who accepts its connections */
	uint32_t leaves;		/* it is being set free: for the next master, and syncd */
	struct ns_modes modes;		/* its namespace's, but for what its own labels say */
	uint32_t waits;			/* not captured, and tried again: a Workload's */
	uint32_t source;		/* enum pod_source */
	uint32_t stays;			/* its rules do when nodeproxy is away */
	uint32_t origin;		/* enum origin_state, of the master: for the next one */
	struct pod_addresses addresses;
	char why[POD_WHY];		/* waits */
};

struct pods_page {
	uint32_t magic, n;
	struct pod_told pod[];
};

/* The list is told in pages, of so many slots each. */
#define PODS_A_PAGE 32
#define PODS_PAGES  (PODS_MAX / PODS_A_PAGE)

#define PODS_PAGE_BYTES(n) (sizeof(struct pods_page) + (n) * sizeof(struct pod_told))

/* Whether what leaves a pod comes to us: dialled from inside now and then (nodeproxy/proof.h). */
enum proof_state { PROOF_NONE, PROOF_PROVEN, PROOF_FAILED, PROOFS };

struct pod_proof {
	uint32_t ref;
	uint32_t state;			/* enum proof_state */
	uint64_t proven_unix_ms;	/* the last time; 0: never */
	uint64_t failed_unix_ms;	/* since then not any more; 0: it is not so */
	uint64_t passed[PASSED];
};

/* Beside the list: it changes all the time, and nobody goes on with it. */
struct proofs_page {
	uint32_t magic, n;
	struct pod_proof pod[];
};

#define PROOFS_MAGIC	     0x4e505046u	/* "NPPF" */
#define PROOFS_PAGE_BYTES(n) (sizeof(struct proofs_page) + (n) * sizeof(struct pod_proof))

/* What is wrong with these words, for the operator; NULL: nothing.  With only_name there need not be a
 * network namespace, and the others are not looked at. */
const char *pod_problem(const struct pod_words *, bool only_name);
/* What holds for a pod whose namespace has these modes. */
struct ns_modes pod_modes(const struct pod_words *, const struct ns_modes *of_ns);
/* The page in these bytes; NULL: they are none. */
const struct pods_page *pods_page(struct slice);
const struct proofs_page *proofs_page(struct slice);
/* Of this pod; NULL: nothing is known of it. */
const struct pod_proof *proof_of(const struct proofs_page *, uint32_t ref);
/* Those that neither wait nor leave. */
uint32_t pods_captured(const struct pods_page *);

#endif
