/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An exchange: one request and its response, or one opaque flow.
 *
 * It proceeds through the stages of stages.def and ends with exactly one reason, accounted once.
 * It belongs to its conn and does not outlive it.  Heads are only looked at in the step that read
 * them; what is needed later is copied (texts for the log, the request head where it may have to
 * be sent again). */
#ifndef WORKERS_PATH_EXCHANGE_H
#define WORKERS_PATH_EXCHANGE_H

#include "workers/path/conn.h"
#include "workers/path/stages.def"

#define EXCHANGE_MAGIC 0x4e504558u	/* "NPEX" */
#define HEAD_IOVS 48		/* of a head that is written at once */
#define EXCHANGE_TEXT  896		/* names of Service and route, method, path, request id, upgrade */

enum stage {
#define X(name) STAGE_##name,
	STAGES(X)
#undef X
	STAGE_COUNT
};

enum step { NEXT, WAIT, END };

/* How far the answer of an HTTP exchange is. */
enum answer {
	ANSWER_NONE,		/* no byte of a final response was given to the caller */
	ANSWER_BODY,		/* its head was */
	ANSWER_DONE,		/* all of it was written */
};

/* A delay on purpose. */
enum delay { DELAY_NONE, DELAY_WAITS, DELAY_OVER };

/* One direction of a relay. */
struct flow {
	struct http1_body body;
	struct pipe *pipe;	/* holds bytes on their way to the sink */
	bool bulk;		/* the source fills whole buffers: worth a pipe */
	bool done;		/* all was read and given to the sink */
	bool keeps;		/* what is taken of the request is kept, to be sent again: replay.c */
	struct chunk *trailers;	/* complete lines that go behind the body; NULL: none */
	uint64_t took, gave;	/* bytes, with framing */
};

/* What the TrafficPolicy of the target says, copied from the view; without one all 0 but for
 * balancing and ejection, which then are the defaults. */
struct policy {
	struct slot_gen service;	/* the target's, of the board */
	uint32_t connect_ms, response_ms, stall_ms, tcp_idle_ms;	/* 0: the knob */
	struct slot_gen limit;		/* slot 0: no limits */
	uint32_t connections, requests;	/* 0: any number */
	struct balancing balancing;
	uint32_t times;			/* not 0: it says something of vtimes */
	uint32_t tls;			/* number of what endpoints' TLS must be (wrap.h); 0: they speak none */
	uint32_t pending, pending_ms;	/* so many wait, so long; 0: none */
	struct ejection ejection;
	uint8_t balancer;		/* enum balancer */
	bool faults;			/* some are injected */
};

struct exchange {
	uint32_t magic;
	uint8_t at;			/* enum stage */
	uint8_t reason;			/* enum reason */
	uint8_t answer;			/* enum answer */
	uint8_t attempts;		/* connections tried */
	uint8_t after;			/* enum conn_event: what account tells the conn */
	uint8_t pending;		/* enum pending */
	uint8_t delay;			/* enum delay */
	uint8_t await;			/* enum await */
	uint8_t fault_grpc;		/* 1 + status of an injected failure, to gRPC; 0: of fault_status */
	uint16_t fault_status;		/* of an injected failure; 0: none */
	uint8_t lacks;			/* enum reason: for what it waits, or waited in vain */
	bool partial;			/* what waits at the back is part of a head */
	bool is_http;
	bool is_head, upgrade, is_grpc;	/* of the request */
	bool front_http10;
	bool front_keep;		/* another request may follow on the front */
	bool back_keep;			/* the response lets the back live */
	bool can_replay;		/* idempotent and without a body */
	bool holds_claim;
	bool is_counted;		/* as a request under way, of tenant and gate */
	bool expects_continue;		/* the caller may wait for a 100 before it sends the body */
	bool is_tunnel;			/* opaque, or after 101 */
	bool sent_head;			/* the request head was given to the back */
	bool back_deaf;			/* it takes no more of the request body */
	bool fresh_only;		/* after a stale back: no pooled one again */
	bool peeks;			/* has waited for a ClientHello */
	bool passes;			/* from or to a pod, as it was dialled: no Service is asked for */
	bool has_hash;
	bool has_trying;		/* somebody has limited its times or wants retries: trying is set */
	uint8_t retries;		/* attempts after the first that a rule or policy wanted */
	uint8_t resent;			/* all after the first */
	uint8_t spent;			/* enum reason: why an answer that is to be tried again was not */
	uint8_t until_why;		/* enum reason, when until has come */
	struct conn *conn;
	const struct front_codec *front_codec;
	const struct back_codec *back_codec;
	struct tenant *tenant;		/* the conn's */
	struct back *back;		/* attached; NULL: none */
	struct pending_source *source;	/* while it waits or was called; NULL: in no line */
	const struct view *view;	/* held from match to connect; NULL: not held */
	struct vport target;		/* while view is held */
	struct slot_gen service;	/* of the board */
	struct policy policy;
	struct addr endpoint;
	struct {			/* in a pod of this host (residents.h); NULL: in none */
		struct gate *gate;
		struct tenant *tenant;
	} guest;
	struct slot_gen endpoint_slot;
	struct {			/* the port whose endpoints serve, to be found again without view */
		uint32_t id;		/* of its Service */
		struct slot_gen slot;
		uint16_t port;
	} again;
	struct flow up, down;		/* request, response */
	struct chunk *edits;		/* what filters do with the response head, or the lines of an answer
					 * that they give; NULL: nothing */
	struct slice answer_lines;	/* complete ones that an answer of ours has besides */
	uint16_t answer_status;		/* of that; 0: its reason's */
	struct chunk *mirror;		/* what is copied of the request, until it has gone out; NULL: nothing */
	struct chunkq replay;		/* the request head as sent, or as it must wait */
	struct mono slow_since;		/* since then nothing but the body is waited for; ns 0: no */
	uint64_t slow_took;		/* bytes of it that had come by then */
	struct mono began, connect_began, connected, sent, head_at;
	struct mono pending_until;
	struct mono until;		/* at the latest; ns 0: nobody has said when */
	struct mono wait_until;		/* for the next attempt, or for endpoints (await); ns 0: it need not wait */
	struct mono await_began;	/* when it began to wait for endpoints */
	uint64_t bytes_in, bytes_out, sent_before;
	uint64_t rev;
	unsigned status;
	uint64_t hash;			/* has_hash: of the key, where the policy asks for one */
	struct tried tried;
	struct node node;		/* of those that wait for a place; of the dead */
	struct slice service_text, route_text, method, path_text, endpoint_text, request_id;
	struct slice server_name;	/* of a connection that goes by TLSRoutes; empty: none */
	struct slice upgrade_token;	/* asked for by a CONNECT over HTTP/2 */
	struct slice websocket_key;	/* whose answer only we can check, or must make */
	uint8_t grpc;			/* 1 + grpc-status of the answer; 0: none came */
	uint16_t text_n;
	char text[EXCHANGE_TEXT];	/* not zeroed */
	struct trying {			/* not zeroed; while has_trying; attempt.c */
		struct vtimes times;
		struct mono until;	/* of the whole exchange */
		uint8_t until_why;
		struct chunkq body;	/* of the request, as it was sent; replay.c */
	} trying;
};

/* Starts one; head NULL: opaque.  The head is the path's scratch head, of head.bytes at the start
 * of the conn's input.  NULL: no memory. */
struct exchange *exchange_new(struct conn *, const struct head *);
/* Runs stages until one waits or all are done; the conn hears of the end by conn_event(). */
void exchange_run(struct exchange *);
/* The access line of a caller whose handshake has not come to an end: there was no exchange.  shook: it
 * had begun, so that its stream is one of TLS. */
void account_unasked(struct conn *, bool shook);
/* Ends it from outside (deadline of a drain, bug): accounts it; the conn is not told. */
void exchange_abort(struct exchange **, enum reason);
void exchange_free(struct path *, struct exchange *);	/* by the reaper */
const char *stage_name(unsigned);

/* ---- for the stages ---- */

static inline enum step end(struct exchange *ex, enum reason why)
{
	ex->reason = (uint8_t)why;
	return END;
}

/* Keeps a text, as much as fits. */
struct slice exchange_text(struct exchange *, struct slice);
/* Keeps what the caller calls the request, if that is valid. */
void exchange_keep_id(struct exchange *, const struct head *);
void exchange_keep_websocket_key(struct exchange *, const struct head *);
void exchange_release_view(struct exchange *);
/* The picked endpoint on the board. */
struct board_endpoint *exchange_endpoint(const struct exchange *);
/* Something rare has happened: the worker and the exchange's Service count it. */
void exchange_event(const struct exchange *, enum worker_counter, enum service_counter);
/* The Service of the target on the board, of this worker. */
struct board_service *exchange_service(const struct exchange *);
/* It is at fault: noted on the board. */
void exchange_back_failed(struct exchange *);
/* Takes one of a limit of the target's for this claim on the board; false: none is left. */
bool exchange_take_limit(struct exchange *, uint32_t claim_no, enum limit, uint32_t max);
/* The request head, kept for when it can go on: WAIT; END: it cannot be. */
enum step exchange_keep_request(struct exchange *);
/* Lets go of the view; what serves it is found again in the view of then; false: it is gone. */
void exchange_leave_view(struct exchange *);
must_use bool exchange_find_port_again(struct exchange *);
/* The deadline of its conn, not later than what the caller, its route or its policy allow. */
static inline void exchange_deadline_ms(struct exchange *ex, int64_t ms)
{
	if (unlikely(ex->until.ns))
		ms = min_of(ms, max_of(mono_diff_ms(ex->until, clock_now()) + 1, (int64_t)1));
	conn_deadline_ms(ex->conn, ms);
}
static inline bool exchange_is_over(const struct exchange *ex)
{
	return unlikely(ex->until.ns) && clock_now().ns >= ex->until.ns;
}
/* Lets go of the back: into the pool when it may be used again, else closed. */
void exchange_release_back(struct exchange *, bool reusable, bool abort);

/* ---- attempts (attempt.c) ---- */

/* A failure that is ours to mend, not the endpoint's: trying another one would not help. */
static inline bool attempt_is_ours(enum reason why)
{
	return why == REASON_NO_DESCRIPTORS || why == REASON_NO_MEMORY || why == REASON_NO_POD_SOCKET;
}
/* What the rule (NULL: none) and the policy of the target say of its times and retries. */
void attempt_begin(struct exchange *, const struct vrule *);
/* One that is limited (has_trying) has a back: the time of this attempt begins. */
void attempt_starts(struct exchange *);
/* It failed for this reason before anything of an answer, and the request may be sent again whatever
 * it is: to another endpoint, as long as attempts and the Service's retry budget last. */
enum step exchange_try_another(struct exchange *, enum reason);
/* The same where only a rule or policy may want that.  True: *ret says what becomes of it. */
bool attempt_failed(struct exchange *, enum reason, enum step *ret);
/* The same of the final head at hand, of which nothing was given to the caller.  True: it is not to be
 * given.  rest: what was read behind it. */
bool attempt_answered(struct exchange *, struct slice rest, enum step *ret);
/* Waits for the time of the next attempt, then has the target at hand again. */
enum step attempt_wait(struct exchange *);
/* The reason that is told: ex->reason, or why the answer that was given is not one of another. */
static inline enum reason attempt_reason(const struct exchange *ex)
{
	return unlikely(ex->spent) && ex->reason == REASON_DONE ? (enum reason)ex->spent
								 : (enum reason)ex->reason;
}

/* ---- endpoints that are not here yet (await.c) ---- */

/* Its Service lacks them. */
enum step await_begin(struct exchange *);
/* Something has woken it: NEXT when the target is at hand again. */
enum step await_go_on(struct exchange *);
static inline bool await_is_on(const struct exchange *ex)
{
	return ex->await == AWAIT_WAITS || ex->await == AWAIT_CALLED;
}

/* ---- a request that may be sent again (replay.c) ---- */

/* From now on what is sent of it is kept, if it is not known to be too large. */
void replay_begin(struct exchange *);
/* These bytes of its body go out, as the endpoint gets them. */
void replay_add(struct exchange *, const struct iovec *, int n);
/* It will not be sent again: nothing is kept any more. */
void replay_drop(struct exchange *);
/* What was kept of the body goes out again, behind the head.  0 or -errno. */
must_use int replay_send(struct exchange *);
/* Something of its body was kept, so its head is not its end. */
static inline bool replay_has_body(const struct exchange *ex)
{
	return ex->up.keeps && (ex->trying.body.bytes || ex->up.trailers);
}

/* ---- heads on their way (forward.c) ---- */

/* Complete lines, as HTTP/1 spells them, that are added to a head. */
struct added {
	struct slice fixed;	/* as they were written when the conn began */
	struct slice more;	/* in the arena */
	struct slice date;	/* for a final response that has none */
};
/* Those of a request and of a response; lines of the scratch head that they stand for are dropped
 * from it.  0, -1: too large.  Of a request once per exchange: what is made anew is made here. */
must_use int exchange_request_lines(struct exchange *, struct added *);
must_use int exchange_response_lines(struct exchange *, struct added *);

#define X(name) enum step stage_##name(struct exchange *);
STAGES(X)
#undef X

/* ---- flows (flow.c) ---- */

enum flowed {
	FLOW_WAIT,	/* for the source or the sink: want bits are set */
	FLOW_AGAIN,	/* has moved enough for one step */
	FLOW_DONE,	/* everything was read and written */
	FLOW_SOURCE,	/* the source ended or broke before its end */
	FLOW_SINK,	/* the sink broke */
	FLOW_BAD,	/* the source's framing is wrong */
	FLOW_STARVED,	/* the tenant has no memory left for now; nothing was read */
	FLOW_LOST,	/* the same with bytes in hand: they are lost, so nothing may follow them */
};

/* What a flow starts with in this step: a head to write before the first bytes of the source, in
 * one write with them, and source bytes that were read with that head and wait nowhere else. */
struct flow_start {
	struct iovec *head;
	int n;
	struct slice rest;
};

/* Moves what can be moved.  start may be NULL. */
enum flowed flow_run(struct exchange *, struct flow *, struct leg *from, struct leg *to,
		     const struct flow_start *start);
void flow_fini(struct path *, struct flow *);
/* Bytes of trailers that go behind the body of the flow.  0 or -ENOBUFS. */
must_use int flow_trailers_add(struct conn *, struct flow *, struct slice);
/* Bytes to parse a head from: what waits at the leg and what was read now, of at most max bytes.
 * partial: what waits was parsed already and is not enough, so more is needed.  The bytes are in the
 * scratch buffer when *ret_chunk is NULL, else in that chunk, which the caller now holds and gives
 * back.  >0, 0 (end), -EAGAIN (what there is waits at the leg), -EMSGSIZE, -ENOBUFS, -errno. */
must_use ssize_t flow_head_bytes(struct conn *, struct leg *, bool partial, size_t max,
				 struct slice *ret, struct chunk **ret_chunk);
/* Puts bytes back that were not enough: in *chunk (taken back) or in the scratch buffer. */
must_use int flow_head_wait(struct conn *, struct leg *, struct slice, struct chunk **chunk);

#endif
