/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The data path of one worker: everything its conns and exchanges share.
 *
 * There is one per worker process (a simulation has several in one).  Events set ready bits and
 * wake the conn (path_event); steps dealt by the scheduler do the work; path_reap() at the end of a
 * pass is the only place where conns, backs and exchanges die. */
#ifndef WORKERS_PATH_PATH_H
#define WORKERS_PATH_PATH_H

#include "nodeproxy/lib/base/poll.h"
#include "nodeproxy/lib/base/wheel.h"
#include "nodeproxy/lib/knobs/change.h"
#include "nodeproxy/lib/net/h2.h"
#include "nodeproxy/lib/net/certs.h"
#include "nodeproxy/lib/net/tcp.h"
#include "nodeproxy/lib/net/tls.h"
#include "store/view/view.h"
#include "workers/codec/http1.h"
#include "workers/codec/http2.h"
#include "workers/obs/accesslog.h"
#include "workers/obs/board.h"
#include "workers/obs/grade.h"
#include "workers/pool/balance.h"
#include "workers/pool/bank.h"
#include "workers/pool/pipes.h"
#include "workers/pool/pool.h"
#include "workers/pool/trunk.h"
#include "workers/path/await.h"
#include "workers/path/health.h"
#include "workers/path/residents.h"
#include "workers/path/pending.h"
#include "workers/path/wrap.h"
#include "workers/sched/sched.h"

#define PATH_SCRATCH 65536u
/* HTTP/2 connections to endpoints of a worker; each may carry TRUNK_STREAMS requests. */
#define PATH_TRUNKS  8192u
#define PATH_FIELDS  (HEAD_LINES_MAX + HTTP2_FIELDS_EXTRA)
#define PATH_SLABS   12	/* of a path, that bursts fill */

struct conn;
struct exchange;
struct path;

/* Current ones, and those of three reloads whose conns have not ended yet; pods have others. */
#define GATES_OF_LISTENERS (4 * KNOBS_LISTENERS)

/* Which connections of a pod. */
enum gate_direction { GATE_OUT, GATE_IN, GATE_DIRECTIONS };

/* What the path goes by of a listener's settings.  A home has two gates of each pod and most pods are idle, so
 * a gate holds no more of them: its certificates are the settings' own (secure.h). */
struct gate_terms {
	char name[64], ns[64];
	char service_ns[64], service_name[64];
	uint32_t service_port;
	uint32_t route, forwarded, proxy_protocol, tls;	/* enums of knobs.def */
	uint32_t connections, requests;		/* 0: as many as its tenant may have */
};

/* A gate: one listener of the settings, or one direction of a pod (pods.h), as the path sees it.  What the view says of it is looked up
 * once per view.  It lives on without its listener while conns do that came in by it. */
struct gate {
	struct path *path;
	struct gate_terms terms;	/* it was made of or last given */
	uint32_t refs;			/* of the path while current, of sockets and conns */
	uint32_t conns, requests;	/* that came in by it and have not ended */
	bool gone;			/* no listener of the settings any more */
	uint8_t direction;		/* enum gate_direction, of a pod */
	uint32_t pod;			/* ref; 0: it is a listener's */
	uint32_t proofs;		/* that were told since proofs_at */
	struct mono proofs_at;
	struct mono gone_at;		/* when conns that came in by it are cut, if gone */
	struct board_listener *board;	/* its counters */
	struct tls_side *side;		/* NULL: no TLS, or no certificate yet */
	const struct view *seen;	/* the view the rest is from; compared, never followed */
	struct tenant *tenant;		/* holds a reference */
	struct ns_modes modes;		/* of the callers' namespace */
	uint64_t rate_key[RATE_KEYS];	/* whose requests its callers' are, to rate limits */
	bool has_service, has_port;	/* route: service: what the view has of it */
	struct vport port;		/* when has_port */
	uint16_t who_n;
	char who[ACCESS_WHO_MAX];	/* of the access line */
};

/* Descriptors of this process, counted without asking the kernel.  While fewer than reserve are
 * free no caller is taken, so that backs, the messages of the master and new listeners still find room;
 * while fewer than twice that are free nothing idle is kept.  Backs stop at half of it.  A listener
 * or pod that has next to none (less than one of FDS_FEW callers) is served on: others, whoever they are, have
 * not taken all.  It stops at a quarter, its backs at an eighth. */
#define FDS_RESERVE 256
#define FDS_FEW	    8

struct fds {
	uint32_t limit;			/* RLIMIT_NOFILE */
	uint32_t reserve;		/* FDS_RESERVE, or half of a limit that is below twice that */
	uint32_t fixed;			/* open since the start: channel, epoll sets, shared memory */
	uint32_t listeners;
	uint32_t names;			/* of workers/names: callers by TCP, what asks resolvers */
	uint32_t gone;			/* closed, while their conn or back waits for the reaper */
	uint32_t none;			/* backs that have a stream of a trunk and no descriptor */
};

struct path {
	/* given at path_init; borrowed */
	const struct knobs *knobs;	/* until path_use() */
	struct board *board;
	struct board_worker *mine;
	unsigned worker;

	struct poll poll;
	struct wheel wheel;
	struct sched sched;
	struct tenants tenants;
	struct budget memory;		/* of all tenants together */
	struct chunk_pool chunks;
	struct slab conns, exchanges, blocks;
	uint32_t streams;		/* of conns: requests of sessions, no sockets */
	uint32_t mirrors;		/* of conns: copies of requests, no sockets either */
	struct h2_stock h2;
	struct tls_stock tls;
	const struct certs *certs;	/* of path_certs() */
	struct tls_trust *mesh;		/* of their bundles; NULL: there are none */
	struct wraps wraps;
	struct h2_limits h2_limits;	/* of sessions of callers */
	struct pool pool;
	struct trunks trunks;
	struct pendings pendings;
	struct awaits awaits;
	struct health health;
	struct balance balance;
	struct pipes pipes;
	struct accesslog log;
	struct http1_limits limits;
	const struct view *view;	/* current; NULL before the first */
	struct gate *gate[KNOBS_LISTENERS];	/* per listener of the settings */
	struct gate *pod[BANKS][GATE_DIRECTIONS];	/* per slot of a pod; NULL: none */
	struct banks banks;
	struct residents residents;
	/* What proves that the pod is captured has arrived; NULL: nobody asks. */
	void (*proven)(uint32_t ref, unsigned family, uint16_t token);
	struct slab gates;
	uint32_t gates_gone;		/* that wait for the last of their conns */
	uint32_t gates_of_pods;
	struct fds fds;
	uint32_t sweep;			/* where path_give_back() goes on in the slab of backs */
	uint32_t trim[PATH_SLABS];	/* where pressure_tick() goes on in each slab */
	uint8_t grade;			/* enum grade of the worker's memory; pressure.c */
	struct {
		struct mono at;		/* when it was reckoned; 0: anew */
		uint64_t weights;	/* of the tenants that hold memory */
		const struct tenant *most;	/* furthest over its share; compared, never followed */
	} shares;
	struct shedding shedding;	/* overload.c */
	bool draining;
	bool past_deadline;		/* of the drain */

	struct node dead_conns, dead_backs, dead_exchanges;	/* for the reaper */
	struct node spent;		/* backs out of the pool that must be closed */
	struct sched_unit closer;	/* closes them; queued on the tenant of the first, with a reference */
	struct node starved;		/* conns that wait for memory of their tenant */
	struct mono starved_at;		/* when they were looked at last */
	struct mono date_until;		/* what date says is true until then */
	char date[HTTP1_DATE_TEXT];	/* a Date line */
	struct mono due;		/* no deadline was set that is earlier; ns INT64_MAX: none */

	/* Scratch of the step that runs.  The arena is for what is written beside the bytes passed
	 * on (request lines, framing); it is emptied after each write instead of at the end of the
	 * exchange, so that an endless chunked body needs no more than a short one. */
	struct arena arena;
	struct head head;
	struct h2_field fields[PATH_FIELDS];	/* of it, where it goes to an endpoint in HTTP/2 */
	int n_fields;			/* -1: too many */
	const struct exchange *head_of;	/* whose request head it holds; NULL: nobody's */
	struct chunk *head_chunk;	/* where that head lies when more waits behind it; of a front */
	struct chunk *head_spent;	/* the same, when all behind it was passed on: given after the step */
	uint8_t scratch[PATH_SCRATCH];
};

/* 0 or -errno.  ring NULL: no log. */
must_use int path_init(struct path *, const struct knobs *, struct board *, unsigned worker,
		       struct ring *access_ring);
void path_fini(struct path *);

/* Tokens of the poll set: three bits of kind, 29 of slot, 32 of generation. */
#define TOKEN_SHIFT 61
enum token_kind { TOKEN_CONN, TOKEN_BACK, TOKEN_TRUNK, TOKEN_LISTENER, TOKEN_CHECK, TOKEN_NAMES };
static inline uint64_t path_token(enum token_kind k, struct slot_ref r)
{
	return (uint64_t)k << TOKEN_SHIFT | (uint64_t)r.slot << 32 | r.gen;
}
static inline struct slot_ref token_ref(uint64_t token)
{
	return (struct slot_ref){ (uint32_t)(token >> 32) & ((1u << (TOKEN_SHIFT - 32)) - 1),
				  (uint32_t)token };
}
/* Sets ready bits and wakes whom they concern; false: a token of another kind (the caller's). */
bool path_event(struct path *, uint64_t token, unsigned bits);
/* Deadlines that passed wake their conns, not more than 1,024 at a time; sets p->due to when to call
 * this next. */
void path_deadlines(struct path *);
/* The wheel through which all deadlines of the path are set. */
static inline void path_deadline(struct path *p, struct wheel_entry *e, int64_t ms)
{
	struct mono due = mono_after_ms(clock_now(), ms);

	wheel_set(&p->wheel, e, due);
	if (due.ns < p->due.ns)
		p->due = due;
}
/* The end of a pass: buries the dead, wakes the starved. */
void path_reap(struct path *);
/* Some conn, back or exchange waits for the reaper. */
bool path_has_dead(const struct path *);

/* The Date line of now; spelled once a second. */
void path_spell_date(struct path *);
static inline struct slice path_date(struct path *p)
{
	if (unlikely(clock_now().ns >= p->date_until.ns))
		path_spell_date(p);
	return slice_of(p->date, sizeof p->date);
}

/* A new view: takes the caller's reference. */
void path_adopt(struct path *, const struct view *);
/* From now on the last answer of each conn says so; at the deadline (past_deadline) all end. */
void path_drain(struct path *);
void path_drain_deadline(struct path *);
/* Sessions whose gate is gone, or all of a worker that drains, tell their callers so. */
void path_wake_sessions(struct path *);
static inline uint32_t path_live(const struct path *p)
{
	return p->conns.live;
}
static inline bool path_has_pod(const struct path *p, uint32_t ref)
{
	const struct gate *g = p->pod[ref % BANKS][GATE_OUT];

	return g && g->pod == ref;
}
static inline uint32_t path_fds_used(const struct path *p)
{
	return p->fds.fixed + p->fds.listeners + p->fds.names + fd_is_open(p->wraps.roots) + p->banks.held + 2 * p->pipes.open + p->conns.live -
	       p->streams - p->mirrors + p->pool.backs.live - p->fds.none + p->trunks.open +
	       p->health.running - p->fds.gone;
}
static inline uint32_t path_fds_free(const struct path *p)
{
	uint32_t used = path_fds_used(p);

	return used < p->fds.limit ? p->fds.limit - used : 0;
}
static inline bool path_fds_are_scarce(const struct path *p)
{
	return path_fds_free(p) < 2 * p->fds.reserve;
}
/* What waits in a bank is at most one of 16 of them. */
static inline uint32_t path_bank_most(const struct path *p)
{
	return min_of(path_fds_free(p) / 16 + 1, (uint32_t)BANK_MOST);
}
static inline bool path_has_few(const struct path *p, const struct gate *g)
{
	return g->conns * FDS_FEW < p->conns.live - p->streams - p->mirrors;
}
static inline bool path_fds_for_front(const struct path *p, const struct gate *g)
{
	uint32_t n = path_fds_free(p);

	return likely(n >= p->fds.reserve) || (n >= p->fds.reserve / 4 && path_has_few(p, g));
}
static inline bool path_fds_for_back(const struct path *p, const struct gate *g)
{
	uint32_t n = path_fds_free(p);

	return likely(n > p->fds.reserve / 2) || (n > p->fds.reserve / 8 && path_has_few(p, g));
}
/* Closes some idle backs (of this tenant; NULL: of any), at most n, looking at a bounded number; how
 * many it closed. */
uint32_t path_give_back(struct path *, const struct tenant *, uint32_t n);
/* Closes this idle one. */
void path_close_back(struct path *, struct back *);
/* Closes an idle back or trunk that counts for these limits, of whatever tenant and endpoint; false: none was
 * found among a bounded number. */
bool path_give_back_limited(struct path *, uint16_t limit);
/* Others find no connection left for the Service port of these limits. */
static inline bool path_limit_is_full(struct path *p, uint16_t limit)
{
	return board_limit_is_full(p->board, p->worker, limit, clock_now());
}
/* A back is closed: it counts for no limit any more. */
static inline void path_limit_give(struct path *p, struct back *b)
{
	if (unlikely(b->key.limit))
		board_limit_give(p->board, p->worker, slab_ref(&p->pool.backs, b).slot,
				 LIMIT_CONNECTIONS);
}
/* An idle connection of this tenant to an endpoint is worth its descriptor and memory. */
bool path_keeps_idle(struct path *, struct tenant *);
must_use int path_trunks_init(struct path *);
void path_trunks_use(struct path *, const struct knobs *);
/* The same of idle trunks as path_give_back() and path_give_back_limited() do; and those that count for
 * limits which leave others without a connection. */
uint32_t path_trunks_give_back(struct path *, const struct tenant *, uint32_t n);
bool path_trunks_give_back_limited(struct path *, uint16_t limit);
uint32_t path_trunks_give_back_full(struct path *);
/* Callers without a request under way leave now (FIN, reason DRAINED): a full stop. */
void path_close_idle(struct path *);
/* Gauges that are cheaper to copy now and then than to keep. */
void path_gauges(struct path *);

/* Whether path_use() could take these settings: 0, or -EAGAIN (conns of listeners that were removed
 * before have not ended yet).  What sizes memory at birth is not looked at. */
must_use int path_try(const struct path *, const struct knobs *);
/* Other settings, after path_try(): borrowed until the next call.  Conns go on; those of listeners
 * that are gone, or let other callers in now, finish as in a drain. */
void path_use(struct path *, const struct knobs *, struct ring *access_ring);
/* Now and then: gates that are gone and past their deadline cut the conns that are left. */
void path_gates_expire(struct path *);
void path_gates_gauges(struct path *);
must_use int path_gates_init(struct path *);
void path_gates_fini(struct path *);
/* One that is current; NULL: no memory. */
struct gate *gate_new(struct path *, const struct gate_terms *);
/* It is current no more: what came in by it is cut after drain_ms.  Its reference is the caller's. */
void gate_retire(struct path *, struct gate **, int64_t drain_ms);
void gate_ref(struct gate *);
void gate_unref(struct gate **);

/* Certificates of listeners, checked; borrowed until the next call. */
void path_certs(struct path *, const struct certs *);
/* The answer to p->tls.ask: slot << 32 | generation, and the signature; empty: there is none. */
void path_signed(struct path *, uint64_t cookie, struct slice signature);
void path_each_conn(struct path *, void (*fn)(struct conn *));
/* The namespace of a listener that leads to this tenant, for the log: a tenant has no name of its own
 * here. */
const char *path_namespace_of(const struct path *, const struct tenant *);

/* Brings g up to date with the current view. */
void gate_resolve(struct gate *);
static inline void gate_now(struct gate *g)
{
	if (unlikely(g->seen != g->path->view || g->tenant == NULL))
		gate_resolve(g);
}

#endif
