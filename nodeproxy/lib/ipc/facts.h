/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What this host offers and how it is set up, for `nodeproxyctl check`.  The master gathers it (the
 * others are confined and cannot look) and tells it in the procs page; without a daemon nodeproxyctl
 * gathers what it can see itself.  Numbers of -1 and empty texts: not known here. */
#ifndef NODEPROXY_LIB_IPC_FACTS_H
#define NODEPROXY_LIB_IPC_FACTS_H

#include <stdint.h>

#include "nodeproxy/lib/base/must.h"

enum fact_clock { CLOCK_UNKNOWN, CLOCK_SYNCED, CLOCK_UNSYNCED };

struct facts {
	uint64_t at_unix_ms;		/* 0: nobody has gathered anything */
	/* the host */
	char kernel[64];
	int32_t pidfd, memfd_seals, seccomp, close_range, reuseport;	/* 1: there, 0: not */
	int32_t landlock;		/* its version, 0: none */
	int32_t somaxconn, tcp_tw_reuse, tcp_syncookies;
	int32_t port_low, port_high;	/* ip_local_port_range */
	int64_t file_max, files_used, nr_open;
	int32_t cgroup;			/* 1, 2; 0: none mounted */
	int32_t clock;			/* enum fact_clock */
	/* the master, or whoever gathers */
	int64_t nofile, nofile_hard;
	uint64_t caps_missing;		/* bits of those that the master should have and has not */
	/* the master's alone: -1 elsewhere */
	int32_t watchdog;		/* 1: the service manager watches us, 0: it could and does not */
	int32_t programs_differ;	/* 1: other files stand where the running programs were found */
	int32_t cpus_away;		/* chosen CPUs that are offline or not ours any more */
	int32_t lent;			/* groups of listeners that are not at home */
	int32_t admin_away;		/* 1: another socket, or none, stands where ours was */
	int64_t state_free_bytes, state_free_inodes, state_bytes;	/* of its file system */
};

/* All but what is the master's alone. */
void facts_gather(struct facts *);
/* "NET_BIND_SERVICE, SETUID": at most n bytes with NUL. */
void facts_caps_text(uint64_t caps, char *ret, uint32_t n);

#endif
