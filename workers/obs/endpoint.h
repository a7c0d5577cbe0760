/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the workers of a host learn about an endpoint, on the board: how fast it answers, how much
 * it has to do, whether it fails.  All workers learn together, so that a host with eight of them
 * finds a slow endpoint as soon as a host with one.
 *
 * Response time: peak EWMA (as Finagle and Linkerd compute it): a slower answer counts at once, a
 * faster one by 1 - e^(-dt/tau), and without answers the estimate decays by e^(-dt/tau), tau 10 s;
 * after a second without any, tau 0.5 s: who is not asked cannot show that he is well again, so what
 * was learned about him is forgotten soon (5 s of a failure within 5.5 s).
 * An endpoint that owes answers is as slow as the time since it was last heard of says, so one that
 * hangs is avoided before its first answer is late.  A failure is a sample of 5 s, however fast it
 * came: an endpoint that fails at once must not look like the best one.
 *
 * Health: ejection and circuit breaker are one thing.  Who fails five times in a row (connects,
 * answers of 5xx, cuts, timeouts) is out for 1 s; then one exchange of all workers together is its
 * probe: fails that, out for twice as long, up to a minute; succeeds, forgotten.  Each time is longer
 * by chance, by up to a half, so that hosts do not try in step.  A TrafficPolicy may say other
 * numbers, or never: struct ejection, which is an argument everywhere, for the words are shared by
 * workers that must read them alike (and by the ports of a Service that have the endpoint in common,
 * each of which reads them by its own numbers).  Being out is a matter of preference: see balance.h
 * for what happens when most are.
 *
 *   breaker     word holds              ends with
 *   closed      failures in a row       the fifth failure: open
 *   open        until when              the first pick after that: half open, its exchange is the probe
 *   half open   since when              the probe goes well: closed; it fails: open, for longer
 *
 * One that succeeds less often than the others (pool/outlier.h) goes out in the same way; it is not
 * forgotten at once but by one time out per interval in which it did not go out again.
 *
 * Only what was begun in a state says anything about it: answers to requests that were under way when
 * the endpoint went out, or when its probe began, change nothing.  A probe is lost when the endpoint
 * owes no answer any more and still nobody has said how it went (its caller left, its worker died):
 * then the next pick is the probe.
 *
 * Slow start: since when it is ready is noted by whoever looks at the port, where a policy asks for it.
 *
 * Any worker may scribble here: results are numbers to compare, never more. */
#ifndef NODEPROXY_WORKERS_OBS_ENDPOINT_H
#define NODEPROXY_WORKERS_OBS_ENDPOINT_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/balancing.h"
#include "nodeproxy/lib/base/ejection.h"
#include "workers/obs/board.h"

#define ENDPOINT_TAU_MS	    10000	/* Linkerd's decay */
#define ENDPOINT_IDLE_MS    1000	/* without an answer for so long it decays ... */
#define ENDPOINT_IDLE_TIMES 20		/* ... so many times as fast */
#define ENDPOINT_FLOOR_US   1000	/* faster ones are alike: the difference is the machine's noise */
#define ENDPOINT_DEFAULT_US 30000	/* of one that has not answered yet but has to */
#define ENDPOINT_PENALTY_US 5000000	/* what a failure counts as */
#define ENDPOINT_LOST_MS    1000	/* from pick to claim is never longer: a lost probe's least age */

enum breaker { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKERS };

/* Exchanges and flows now; those of them whose endpoint has not answered yet. */
static inline uint32_t endpoint_in_flight(const struct board_endpoint *e)
{
	return (uint32_t)board_get(&e->load);
}

static inline uint32_t endpoint_waiting(const struct board_endpoint *e)
{
	return (uint32_t)(board_get(&e->load) >> 32);
}

/* The estimate now, in µs; 0: nothing is known. */
uint32_t endpoint_rtt_us(const struct board_endpoint *, struct mono now);
/* What P2C compares: the time that one more exchange would take, in µs. */
uint64_t endpoint_load(const struct board_endpoint *, struct mono now);
/* The part of it that one exchange alone takes; at least 1. */
uint64_t endpoint_expected_us(const struct board_endpoint *, struct mono now);

/* An exchange was sent to one that owed nothing: it has been silent since now. */
void endpoint_woken(struct board_endpoint *, struct mono now);
/* The head of an answer came, us after its request was sent. */
void endpoint_answered(struct board_endpoint *, uint32_t us, struct mono now);
/* Nobody waits any more for an answer that had not come after us: it is at least as slow. */
void endpoint_abandoned(struct board_endpoint *, uint32_t us, struct mono now);
/* A connect or an exchange, that was given to it at that time, failed by its fault; true: it is out
 * because of it. */
bool endpoint_failed(struct board_endpoint *, const struct ejection *, struct mono began,
		     struct mono now);
/* An exchange, or the connect of an opaque flow, went well. */
void endpoint_succeeded(struct board_endpoint *, struct mono began);
/* The head of a good answer came: that is all a probe has to show, its body may take hours. */
void endpoint_proved(struct board_endpoint *, struct mono began);

/* Nothing bad is known of it: the others need not be asked. */
static inline bool endpoint_is_well(const struct board_endpoint *e)
{
	return board_get(&e->health) == 0;
}

/* It succeeds less often than the others: out, when it is not already. */
bool endpoint_eject(struct board_endpoint *, const struct ejection *, struct mono now);
/* An interval has passed in which it did not go out for that. */
void endpoint_forgive(struct board_endpoint *);
/* It is out, or was, because of its success rate. */
bool endpoint_is_out_by_rate(const struct board_endpoint *);
enum breaker endpoint_breaker(const struct board_endpoint *, const struct ejection *);
/* It gets nothing: its time is not over, or its probe is under way. */
bool endpoint_is_out(const struct board_endpoint *, const struct ejection *, struct mono now);
/* Whoever picks it, when it is not out: true when this exchange may go there, which then is the probe
 * if it needs one; false: another worker was faster. */
must_use bool endpoint_probe(struct board_endpoint *, const struct ejection *, struct mono now);
/* It was seen to be ready, or not to be. */
void endpoint_seen(struct board_endpoint *, bool ready, struct mono now);
/* How much of its part it gets, in 1,024ths: less than all of them while it starts slowly. */
#define ENDPOINT_WARM 1024u
uint32_t endpoint_warmth(const struct board_endpoint *, const struct balancing *, struct mono now);

/* Ms until it may be tried again; 0: it is not out. */
uint32_t endpoint_out_ms(const struct board_endpoint *, const struct ejection *, struct mono now);

#endif
