/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The pods of this host whose traffic is captured in their own network namespaces.
 *
 *   state      what is there                                        ends with
 *   WAITING    it is to be captured: for the first time, or because an errand that can be started;
 *              it was before a stop (podlist.h)                     who was before: a worker, too
 *   ENTERING   an errand (netns.h) opens listeners, puts the rules  its answer
 *   CAPTURED   netns, rules and listeners, here and in the keeper   pod remove, another namespace of
 *                                                                   that name, the namespace's end, stop
 *   LEAVING    the same; waits for an errand that can be started    it
 *   FREEING    an errand makes the rules match nothing              its end
 *   CUT        workers cut what runs through them                   POD_CUT_MS
 *   LATER      nothing; it is a Workload's and could not be         its next try (workloads.h)
 *              captured, or was not tried yet
 *
 * A pod's connections are accepted by its home workers (two, unless there is only one), all from the
 * same sockets, and passed on by the fuller one (fellows.h); which pod it is follows from the socket and
 * from nothing else.  Homes go by groups, as those of host listeners do: who holds a group of listeners
 * holds its pods.  Workers get sockets inside the pod (their bank) in batches, ahead of need.
 *
 * With the last copy of the socket that owns its rules (ours goes first, the keeper's follows) the
 * rules of a pod are gone; they are made harmless before, so that both ends of the connections that
 * are cut learn it (nft.h), and what shows callers' addresses goes when those are cut (origin.h).  At the
 * full stop nothing is cut: workers drain meanwhile; rules that stay (away.h) lead to nobody from then on.
 * Namespaces are looked after: one that is not where it was, by its inode, has left.
 *
 * Processes of a uid in our own namespace are a pod, too, of which only what they dial is captured: it
 * has a listener for that and no others, on a port of its own.
 *
 * The list is also in run_dir: pods that are still there after a stop are captured again at the next
 * start.
 *
 * In the keeper's table: "pods/PAGE" (podpages.h), "pod/SLOT/WHICH". */
#ifndef NODEPROXY_PODS_H
#define NODEPROXY_PODS_H

#include "nodeproxy/away.h"
#include "nodeproxy/errand.h"
#include "nodeproxy/forker.h"
#include "nodeproxy/lib/ipc/pods.h"
#include "nodeproxy/podlist.h"
#include "nodeproxy/podpages.h"
#include "nodeproxy/origin.h"
#include "nodeproxy/workloads.h"
#include "nodeproxy/proof.h"

#define POD_HOMES     2
#define POD_LISTENERS (2 * POD_SOCKETS)

#define POD_CUT_MS    100

enum pod_state { POD_NONE, POD_WAITING, POD_ENTERING, POD_CAPTURED, POD_LEAVING, POD_FREEING, POD_CUT,
		 POD_LATER };
enum pod_fd { POD_NETNS, POD_TABLE, POD_OUT4, POD_IN4, POD_NAMES4, POD_NAMES_UDP4,
	      POD_OUT6, POD_IN6, POD_NAMES6, POD_NAMES_UDP6, POD_FDS };

struct pod {
	enum pod_state state;
	struct pod_words words;
	uint32_t ref;
	uint64_t inode, cookie;		/* of its namespace */
	uint64_t since_unix_ms;
	struct ns_modes modes;		/* of its namespace as it was told last, but for its own labels */
	struct fd fd[POD_FDS];
	uint64_t told;			/* bits of worker slots that have its listeners */
	uint64_t knows;			/* bits of worker slots that know it as it is now (residents.h) */
	struct proof proof;
	bool cleared;			/* what a former master said was taken back */
	bool stays;			/* its rules do when we are away (away.h); ENTERING: they will */
	bool in_change;			/* an errand puts the rules anew: who leaves waits for its end */
	struct pod_addresses addresses;	/* as an errand saw them last (residents.h) */
	enum origin_state origin;
	struct mono origin_until;	/* ENDING */
	struct mono until;		/* CUT; LATER: not tried again before */
	enum pod_source source;
	enum workload_word word;	/* OF_WORKLOAD, as the rest of these */
	bool answered;			/* syncd knows what became of it */
	unsigned tries;
	char why[POD_WHY];		/* LATER */
	uint64_t order;			/* WAITING, ENTERING: whom to answer, */
	uint32_t asker;			/* generation of the admind that passed it on; 0: it returns */
};

/* What a worker asked for while all errands were under way. */
#define POD_WANTS 64

struct pod_want {
	uint32_t ref;
	uint32_t worker, generation;
	uint16_t n[BANK_KINDS];
};

struct pods {
	struct pod at[PODS_MAX];
	struct forker forker;
	struct errand errand[ERRANDS];
	struct pod_want want[POD_WANTS];	/* the first n_wants, in the order they came */
	unsigned n_wants;
	uint32_t refs;			/* given out so far */
	unsigned captured, leaving, waiting;
	struct loop_timer cut, look;
	struct podpages pages;
	struct podlist list;
	bool turned_away;		/* a Workload for which there was no slot */
	bool proofs_changed;
	bool look_due;			/* as soon as an errand can be started */
	bool closed;
	enum { SWEEP_NONE, SWEEP_RUNS, SWEEP_DONE } sweep;	/* of the full stop (origin.h) */
};

/* Takes over what a former master, or an older build's, had. */
void pods_open(struct master *);
/* Its slot; one of that ref in that state, NULL: it is not so; the i-th of the sockets that messages speak of:
 * those of one family, then of the other. */
unsigned pods_slot_of(const struct pods *, const struct pod *);
struct pod *pods_by_ref(struct master *, uint32_t ref, enum pod_state);
struct fd *pod_socket(struct pod *, unsigned i);
/* For workloads.c and podorders.c: one of that name in that state; a slot for one that comes; the list is another; whether
 * pods may come and go now, words why not; who goes, what waits for errands. */
struct pod *pods_find(struct master *, const char *ns, const char *name, enum pod_state);
struct pod *pods_slot(struct master *, const struct pod_words *, enum pod_source);
void pods_changed(struct master *);
int pods_may_change(const struct master *, char *text, size_t n);
void pods_leave(struct master *, struct pod *, const char *why);
void pods_free_some(struct master *);
void pods_enter_some(struct master *);
/* Those that are cut and whose time is over. */
void pods_release_some(struct master *);
static inline bool pod_is_leaving(const struct pod *p)
{
	return p->state == POD_LEAVING || p->state == POD_FREEING || p->state == POD_CUT;
}
/* How its rules are; it is captured. */
struct rules pod_rules(const struct pod *);
/* Sockets of a family that a pod has, or processes of a uid. */
static inline unsigned pod_sockets(uint32_t uid)
{
	return uid ? 1 : POD_SOCKETS;
}

/* The modes of that namespace are other ones; NULL: all were told (spaces.h), of those that were not
 * they are the default. */
void pods_modes_told(struct master *, const char *ns, const struct ns_modes *);

/* What errands say.  pods_found: may what one that is to enter has found be captured?  0; -EALREADY, or -EINVAL,
 * and words. */
int pods_found(const struct master *, const struct errand_job *, uint64_t inode, char *text, size_t n);
void pods_entered(struct master *, uint32_t ref, const struct msg_pod_entered *, struct slice words,
		  struct fd *fd, unsigned n);
void pods_left(struct master *, uint32_t ref);
/* The errand that frees it is over; error < 0: it did not succeed. */
void pods_freed(struct master *, uint32_t ref, int error);

/* Makes true what should be: each pod's listeners with its home workers. */
void pods_settle(struct master *);
/* A worker lacks some of its sockets: all of them are said once more. */
void pods_tell_again(struct master *, unsigned slot);
/* Once a second. */
void pods_tick(struct master *);
/* What a former master said of one. */
void pods_take_over(struct master *, const struct pod_told *);
/* The full stop: nothing new is captured. */
void pods_close(struct master *);
/* Another build's master has them; workers that drain may still need sockets. */
void pods_retire(struct master *);

#endif
