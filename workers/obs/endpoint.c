/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See endpoint.h.
 *
 * Each of the two words changes by compare and swap alone, so a worker that dies in between leaves
 * it as it was.  Times are milliseconds modulo 2^32 (49 days): differences of that age mean
 * nothing, and decayed to nothing they are. */
#include "workers/obs/endpoint.h"

#include "nodeproxy/lib/base/rand.h"

#define ONE (1ull << 32)	/* 1 in fixed point */

/* rtt: estimate in µs | time of the last change in ms << 32. */

static uint32_t ms_of(struct mono t)
{
	return (uint32_t)((uint64_t)t.ns / (uint64_t)NS_PER_MS);
}

static uint64_t times(uint64_t a, uint64_t b)
{
	return (uint64_t)(((unsigned __int128)a * b) >> 32);
}

/* e^(-ms/tau) in fixed point: whole steps of 1,024 ms by squaring, the rest as 1 - x + x²/2, whose
 * error is below 2e-4. */
static uint64_t left_after(uint32_t ms)
{
	static const uint64_t step = 3876932134u;	/* e^-0.1024 */
	uint64_t x = (uint64_t)(ms & 1023) * ONE / ENDPOINT_TAU_MS, square = step, r;

	r = ONE - x + times(x, x) / 2;
	for (uint32_t n = min_of(ms >> 10, 1023u); n; n >>= 1) {
		if (n & 1)
			r = times(r, square);
		square = times(square, square);
	}
	return r;
}

/* Ms since the word last changed; another worker's clock may be a little ahead. */
static uint32_t age_ms(uint64_t word, struct mono now)
{
	uint32_t d = ms_of(now) - (uint32_t)(word >> 32);

	return d > INT32_MAX ? 0 : d;
}

static uint32_t decayed_us(uint64_t word, struct mono now)
{
	uint32_t age = min_of(age_ms(word, now), 60u * 1000);	/* then nothing is left of it */

	if (age > ENDPOINT_IDLE_MS)
		age += (age - ENDPOINT_IDLE_MS) * (ENDPOINT_IDLE_TIMES - 1);
	return age == 0 ? (uint32_t)word : (uint32_t)times((uint32_t)word, left_after(age));
}

uint32_t endpoint_rtt_us(const struct board_endpoint *e, struct mono now)
{
	return decayed_us(board_get(&e->rtt), now);
}

static inline uint64_t expected_us(const struct board_endpoint *e, uint64_t load, struct mono now)
{
	uint64_t word = board_get(&e->rtt);
	uint64_t us = decayed_us(word, now);

	if (us)
		us = max_of(us, (uint64_t)ENDPOINT_FLOOR_US);
	if (load >> 32)		/* owes answers */
		us = max_of(us ? us : ENDPOINT_DEFAULT_US, (uint64_t)age_ms(word, now) * 1000);
	return us + 1;
}

uint64_t endpoint_expected_us(const struct board_endpoint *e, struct mono now)
{
	return expected_us(e, board_get(&e->load), now);
}

uint64_t endpoint_load(const struct board_endpoint *e, struct mono now)
{
	uint64_t load = board_get(&e->load);

	return expected_us(e, load, now) * ((uint64_t)(uint32_t)load + 1);
}

/* How the estimate changes with a sample. */
enum sample { SAMPLE_NONE, SAMPLE_ANSWER, SAMPLE_AT_LEAST };

static void sample(struct board_endpoint *e, enum sample kind, uint32_t us, struct mono now)
{
	uint64_t was = board_get(&e->rtt), is;

	do {
		uint32_t cur = decayed_us(was, now);

		if (kind != SAMPLE_NONE && us >= cur)
			cur = us;
		else if (kind == SAMPLE_ANSWER)
			cur = us + (uint32_t)times(cur - us, left_after(age_ms(was, now)));
		is = (uint64_t)ms_of(now) << 32 | cur;
	} while (!__atomic_compare_exchange_n(&e->rtt, &was, is, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

void endpoint_woken(struct board_endpoint *e, struct mono now)
{
	sample(e, SAMPLE_NONE, 0, now);
}

void endpoint_answered(struct board_endpoint *e, uint32_t us, struct mono now)
{
	sample(e, SAMPLE_ANSWER, max_of(us, 1u), now);
}

void endpoint_abandoned(struct board_endpoint *e, uint32_t us, struct mono now)
{
	sample(e, SAMPLE_AT_LEAST, us, now);
}

/* ---- health ---- */

enum event { EV_FAILED, EV_STREAK, EV_RATE, EV_SUCCEEDED, EV_PROBED, EVENTS };

/* EV_STREAK is the failure that makes the streak as long as allowed.  In OPEN all but a probe is about
 * something older. */
#define CLOSED BREAKER_CLOSED
#define OPEN   BREAKER_OPEN
#define HALF   BREAKER_HALF_OPEN
static const uint8_t breaker_next[BREAKERS][EVENTS] = {
/*            FAILED  STREAK  RATE    SUCCEEDED  PROBED */
[CLOSED]  = { CLOSED, OPEN,   OPEN,   CLOSED,    CLOSED },
[OPEN]    = { OPEN,   OPEN,   OPEN,   OPEN,      HALF   },
[HALF]    = { OPEN,   OPEN,   HALF,   CLOSED,    HALF   },
};
#undef CLOSED
#undef OPEN
#undef HALF

/* failures in a row | times out << 8 | state << 14 | by rate << 16 | ms << 32: until when (open), since
 * when (half open). */
struct health {
	enum breaker state;
	bool by_rate;
	uint32_t streak, outs, ms;
};

static struct health unpack(uint64_t word)
{
	uint32_t state = word >> 14 & 3;

	/* One that a sibling made up is none. */
	return (struct health){ .streak = word & 0xff, .outs = word >> 8 & 0x3f,
				.state = state < BREAKERS ? (enum breaker)state : BREAKER_CLOSED,
				.by_rate = word >> 16 & 1, .ms = (uint32_t)(word >> 32) };
}

static uint64_t pack(struct health h)
{
	return (uint64_t)h.ms << 32 | (uint64_t)h.by_rate << 16 | (uint64_t)h.state << 14 |
	       (uint64_t)(h.outs & 0x3f) << 8 | (h.streak & 0xff);
}

static bool swap(struct board_endpoint *e, uint64_t *was, struct health is)
{
	return __atomic_compare_exchange_n(&e->health, was, pack(is), false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

/* Whose policy has changed to never is closed. */
static enum breaker state_of(struct health h, const struct ejection *ej)
{
	return ej->failures || ej->rate_interval_ms ? h.state : BREAKER_CLOSED;
}

/* Of one that is open. */
static uint32_t left_ms(struct health h, const struct ejection *ej, struct mono now)
{
	uint32_t d = h.ms - ms_of(now);

	return d > ej->max_ms ? 0 : d;
}

static bool is_before(struct mono t, uint32_t ms)
{
	return (int32_t)(ms_of(t) - ms) < 0;
}

static bool probe_is_lost(const struct board_endpoint *e, struct health h, struct mono now)
{
	return endpoint_waiting(e) == 0 && ms_of(now) - h.ms >= ENDPOINT_LOST_MS;
}

static struct health opened(struct health was, bool by_rate, const struct ejection *ej, struct mono now)
{
	uint64_t ms = (uint64_t)ej->base_ms << min_of(was.outs, 31u);

	ms = min_of(ms, (uint64_t)ej->max_ms);	/* before it is stretched: 2^32 * 200 fits */
	ms += ms * rand_below(ej->jitter_percent * 10u + 1) / 1000;
	ms = min_of(ms, (uint64_t)ej->max_ms);
	return (struct health){ .state = BREAKER_OPEN, .outs = min_of(was.outs + 1, 32u),
				.by_rate = by_rate, .ms = ms_of(now) + (uint32_t)ms };
}

bool endpoint_failed(struct board_endpoint *e, const struct ejection *ej, struct mono began,
		     struct mono now)
{
	uint64_t was = board_get(&e->health);
	enum breaker next;
	struct health h;

	sample(e, SAMPLE_AT_LEAST, ENDPOINT_PENALTY_US, now);
	if (ej->failures == 0 && ej->rate_interval_ms == 0)
		return false;
	do {
		h = unpack(was);
		if (h.state == BREAKER_OPEN || (h.state == BREAKER_HALF_OPEN && is_before(began, h.ms)))
			return false;
		h.streak = min_of(h.streak + 1, 255u);
		next = breaker_next[h.state][ej->failures && h.streak >= ej->failures ? EV_STREAK :
											 EV_FAILED];
		if (next == BREAKER_OPEN)
			h = opened(h, h.state == BREAKER_HALF_OPEN && h.by_rate, ej, now);
	} while (!swap(e, &was, h));
	return next == BREAKER_OPEN;
}

void endpoint_succeeded(struct board_endpoint *e, struct mono began)
{
	uint64_t was = board_get(&e->health);
	struct health h;

	if (likely(was == 0))
		return;
	h = unpack(was);
	if (h.state == BREAKER_HALF_OPEN && is_before(began, h.ms))
		return;
	/* Lost to another worker's failure: then that is the newer truth. */
	if (breaker_next[h.state][EV_SUCCEEDED] == BREAKER_CLOSED && (h.streak || h.state || !h.by_rate))
		(void)swap(e, &was, h.by_rate ? (struct health){ .outs = h.outs, .by_rate = true } :
						(struct health){ 0 });
}

bool endpoint_eject(struct board_endpoint *e, const struct ejection *ej, struct mono now)
{
	uint64_t was = board_get(&e->health);
	struct health h = unpack(was);

	return breaker_next[h.state][EV_RATE] != h.state && swap(e, &was, opened(h, true, ej, now));
}

void endpoint_forgive(struct board_endpoint *e)
{
	uint64_t was = board_get(&e->health);
	struct health h = unpack(was);

	if (likely(!h.by_rate) || h.state != BREAKER_CLOSED)
		return;
	h.outs -= h.outs > 0;
	h.by_rate = h.outs > 0;
	(void)swap(e, &was, h);
}

bool endpoint_is_out_by_rate(const struct board_endpoint *e)
{
	return unpack(board_get(&e->health)).by_rate;
}

void endpoint_proved(struct board_endpoint *e, struct mono began)
{
	if (unlikely(!endpoint_is_well(e)) &&
	    unpack(board_get(&e->health)).state == BREAKER_HALF_OPEN)
		endpoint_succeeded(e, began);
}

enum breaker endpoint_breaker(const struct board_endpoint *e, const struct ejection *ej)
{
	return state_of(unpack(board_get(&e->health)), ej);
}

uint32_t endpoint_out_ms(const struct board_endpoint *e, const struct ejection *ej, struct mono now)
{
	struct health h = unpack(board_get(&e->health));

	return state_of(h, ej) == BREAKER_OPEN ? left_ms(h, ej, now) : 0;
}

bool endpoint_is_out(const struct board_endpoint *e, const struct ejection *ej, struct mono now)
{
	struct health h = unpack(board_get(&e->health));

	switch (state_of(h, ej)) {
	case BREAKER_OPEN:
		return left_ms(h, ej, now) > 0;
	case BREAKER_HALF_OPEN:
		return !probe_is_lost(e, h, now);
	case BREAKER_CLOSED:
	case BREAKERS:
		break;
	}
	return false;
}

bool endpoint_probe(struct board_endpoint *e, const struct ejection *ej, struct mono now)
{
	uint64_t was = board_get(&e->health);
	struct health h = unpack(was);

	if (state_of(h, ej) == BREAKER_CLOSED)
		return true;
	if (endpoint_is_out(e, ej, now))
		return false;
	h.state = (enum breaker)breaker_next[h.state][EV_PROBED];
	h.ms = ms_of(now);
	return swap(e, &was, h);
}

/* ---- slow start ---- */

void endpoint_seen(struct board_endpoint *e, bool ready, struct mono now)
{
	uint32_t was = __atomic_load_n(&e->ready_ms, __ATOMIC_RELAXED);

	if (likely(ready == (was != 0)))
		return;
	(void)__atomic_compare_exchange_n(&e->ready_ms, &was, ready ? ms_of(now) | 1 : 0, false,
					  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static double power(double x, unsigned n)
{
	double r = 1;

	for (; n; n >>= 1, x *= x)
		if (n & 1)
			r *= x;
	return r;
}

/* t^(100/percent), 0 < t < 1, to a 4096th: where y^percent is t^100. */
static double curve(double t, unsigned percent)
{
	double lo = 0, hi = 1, want = power(t, 100);

	if (percent == 100)
		return t;
	for (int i = 0; i < 12; i++) {
		double y = (lo + hi) / 2;

		if (power(y, percent) < want)
			lo = y;
		else
			hi = y;
	}
	return (lo + hi) / 2;
}

uint32_t endpoint_warmth(const struct board_endpoint *e, const struct balancing *b, struct mono now)
{
	uint32_t since = __atomic_load_n(&e->ready_ms, __ATOMIC_RELAXED), age = ms_of(now) - since;
	double part;

	/* Of the future: another worker's clock is a little ahead, or nonsense. */
	if (age > INT32_MAX)
		age = 0;
	if (b->slow_ms == 0 || since == 0 || age >= b->slow_ms)
		return ENDPOINT_WARM;
	part = curve((double)max_of(age, 1u) / b->slow_ms, b->slow_aggression_percent);
	return max_of((uint32_t)(part * ENDPOINT_WARM), b->slow_min_percent * ENDPOINT_WARM / 100);
}
