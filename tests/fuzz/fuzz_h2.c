/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 sessions, as server and as client, against a peer that sends anything.
 *
 * The first byte chooses the side, how the line splits bytes, and how little memory there is; then
 * each byte is an act: of the peer (frames that are right, nearly right or raw bytes) or of the
 * session's user (answers, writes, reads, closes, drains, lets time pass).  Checked: whatever happens,
 * streams stay valid until closed, a dead session stays dead, and in the end every byte is given back
 * (rig_fini). */
#include "tests/fuzz/replay.h"

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/h2_rig.h"

#define HELD 16		/* streams the user holds at once; more are closed when they come */

static struct h2_rig rig;
static struct h2_stream *held[HELD];
static const uint8_t *at, *end;
static uint32_t next;	/* id of the peer's next request */

#define F(n, v) { (const uint8_t *)(n), (const uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, 0 }
static const struct h2_field ok[] = { F(":status", "200"), F("X-Two", "2") };
static const struct h2_field early[] = { F(":status", "103") };
static const struct h2_field get[] = { F(":method", "GET"), F(":scheme", "http"), F(":authority", "a"),
				       F(":path", "/") };
static const struct h2_field sums[] = { F("x-sum", "7") };

static uint8_t byte(void)
{
	return at < end ? *at++ : 0;
}

static void frame(int to, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	const struct rig_line *l = &rig.line[to];

	if (l->end - l->at + n + 9 <= RIG_LINE_BYTES / 2)
		rig_frame(&rig, to, type, flags, id, p, n);
}

static void peer_acts(int side, uint8_t what)
{
	static uint8_t zeros[16384];
	uint32_t id = byte() % 16;
	uint8_t number[6] = { 0 };
	size_t n;

	switch (what % 14) {
	case 0:		/* a request, or an answer: 200 or 103 */
		if (side == RIG_SERVER) {
			frame(side, 1, byte() & 1 ? 5 : 4, next, rig_get, sizeof rig_get);
			next += 2;
		} else {
			uint8_t flags = byte() & 1 ? 5 : 4;
			bool is_early = byte() & 1;

			frame(side, 1, flags, id | 1, is_early ? "\x48\x03" "103" : "\x88", is_early ? 5 : 1);
		}
		break;
	case 1:		/* DATA */
		frame(side, 0, byte() & 1, id | 1, zeros, (size_t)byte() << (id % 7));
		break;
	case 2:		/* WINDOW_UPDATE */
		number[1] = byte() & 0x7f;
		number[3] = byte();
		frame(side, 8, 0, id, number, 4);
		break;
	case 3:
		number[3] = byte() % 16;
		frame(side, 3, 0, id | 1, number, 4);
		break;
	case 4:		/* SETTINGS of one entry, or ACK */
		number[1] = byte() % 10;
		number[4] = byte();
		number[5] = byte();
		frame(side, 4, 0, 0, number, 6);
		break;
	case 5:
		frame(side, 4, 1, 0, NULL, 0);
		break;
	case 6:
		frame(side, 6, byte() & 1, 0, "\2\0\0\0\0\0\0\1", 8);
		break;
	case 7:
		number[3] = byte();
		frame(side, 7, 0, 0, (uint8_t[8]){ 0, 0, 0, number[3], 0, 0, 0, (uint8_t)id }, 8);
		break;
	case 8:		/* trailers */
		frame(side, 1, 5, id | 1, "\0\1x\1y", 5);
		break;
	case 9:		/* a block in pieces, more or less right */
		frame(side, 1, byte() & 1, id | 1, at, min_of((size_t)(end - at), (size_t)id));
		frame(side, 9, byte() & 4, id | 1, at, min_of((size_t)(end - at), (size_t)7));
		break;
	case 10:	/* any frame */
		n = min_of((size_t)byte(), (size_t)(end - at));
		frame(side, what >> 4, byte(), id, at, min_of(n, (size_t)(end - at)));
		at += min_of(n, (size_t)(end - at));
		break;
	case 11:	/* any bytes */
		n = min_of((size_t)byte(), (size_t)(end - at));
		if (rig.line[side].end < RIG_LINE_BYTES / 2)
			rig_bytes(&rig, side, at, n);
		at += n;
		break;
	case 12:
		rig.line[!side].most = (size_t)byte() * 64;
		break;
	default:	/* it reads what it got */
		rig.line[!side].at = rig.line[!side].end;
		break;
	}
}

static void close_held(unsigned i, bool abort)
{
	if (held[i] == NULL)
		return;
	stream_close(&held[i]->s, abort);
	held[i] = NULL;
}

static void collect(int side)
{
	struct h2_stream *st;
	unsigned news;

	while ((st = h2_next(rig.h[side], &news))) {
		unsigned i = 0, k;

		must(news != 0);
		for (k = 0; k < HELD && held[k] != st; k++)
			;
		while (i < HELD && held[i])
			i++;
		if (k == HELD && i < HELD)
			held[i] = st;
		else if (k == HELD)
			stream_close(&st->s, true);
	}
}

static void user_acts(int side, uint8_t what)
{
	static uint8_t body[30000], sink[30000];
	uint8_t arg = byte();
	struct h2_stream *st = held[arg % HELD];
	struct iovec v[2] = { { body, (size_t)arg * 100 }, { body, (size_t)byte() } };
	struct slice name, value;

	switch (what % 14) {
	case 0:
		collect(side);
		break;
	case 1:
		if (side == RIG_CLIENT && st == NULL)
			(void)!h2_request(rig.h[side], get, countof(get), arg & 32, &rig.tenant, NULL,
					  &held[arg % HELD]);
		else if (st)
			(void)!h2_respond(st, ok, countof(ok), arg & 32);
		break;
	case 2:
		if (st)
			(void)!st->s.ops->write(&st->s, v, 2);
		break;
	case 3:
		if (st)
			(void)!st->s.ops->read(&st->s, sink, v[0].iov_len + 1);
		break;
	case 4:
		if (st)
			(void)!st->s.ops->finish(&st->s);
		break;
	case 5:
		close_held(arg % HELD, arg & 32);
		break;
	case 6:
		if (st)
			h2_reset(st, arg >> 4);
		break;
	case 7:
		if (st)
			(void)!h2_trailers(st, sums, countof(sums));
		break;
	case 8:
		if (st)
			(void)!h2_interim(st, early, countof(early));
		break;
	case 9:
		while (st && h2_block(st)) {
			for (uint32_t i = 0; h2_block_line(h2_block(st), i, &name, &value); i++)
				must(name.n + value.n <= h2_block(st)->used);
			h2_block_take(st);
		}
		break;
	case 10:
		rig_pass_ms((int64_t)arg * 50);
		must(h2_tick(rig.h[side]) > 0);
		break;
	case 11:
		h2_windows(rig.h[side], (uint32_t)arg << 12);
		break;
	case 12:
		if (arg & 1)
			h2_drain(rig.h[side]);
		else if (st)
			h2_stream_pays(st, &rig.all);
		break;
	default:
		if (arg > 250)
			h2_end(rig.h[side], arg);
		else if (arg > 245)
			rig.line[side].is_cut = true;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int side;
	enum h2_state was = H2_OPEN;

	if (size < 2 || size > 4096)
		return 0;
	rand_seed(1);
	rig_init(&rig);
	side = data[0] & 1 ? RIG_SERVER : RIG_CLIENT;
	rig.end[side].step = data[0] & 2 ? 7 : 0;
	if (data[0] & 4)
		rig.session[side].limit = 20000 + (size_t)(data[0] >> 4) * 4000;
	if (data[0] & 8)
		rig.stock.fail_after = 1 + (data[0] >> 4) * 16u;
	if (data[0] & 32)
		rig.lim[side].out_bytes = 100;
	rig.lim[side].streams = 10;
	next = 1;
	at = data + 1;
	end = data + size;
	if (rig_start(&rig, side)) {
		if (side == RIG_SERVER && data[1] != 0xff)
			rig_hello(&rig);
		else if (side == RIG_CLIENT && data[1] != 0xff)
			rig_frame(&rig, side, 4, 0, 0, NULL, 0);
		while (at < end) {
			uint8_t what = byte();
			enum h2_state now;

			if (what & 1)
				peer_acts(side, what >> 1);
			else
				user_acts(side, what >> 1);
			if (what & 0x40)
				rig_step(&rig, side);
			now = h2_state(rig.h[side]);
			/* It never gets younger. */
			must(now >= was);
			was = now;
			must(now < H2_DYING || h2_streams(rig.h[side]) == 0);
		}
		rig_run(&rig);
		if (data[0] & 16)
			h2_free(&rig.h[side]);
		else
			collect(side);
	}
	for (unsigned i = 0; i < HELD; i++)
		close_held(i, i & 1);
	rig_fini(&rig);
	return 0;
}
