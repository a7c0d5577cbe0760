/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See logdrain.h. */
#include "admin/logdrain.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"

#define LOSSES_MS    1000
#define PASS_RECORDS 4096	/* of one ring before the next one's turn */

static void sink_set(struct log_sink *s, struct fd fd, bool borrowed)
{
	s->fd = fd;
	s->borrowed = borrowed;
	s->out = outlet_of(fd.v);
	s->error = 0;
}

/* Writes what waits, as far as the file takes it. */
static void sink_flush(struct log_sink *s)
{
	while (s->at < s->n) {
		ssize_t r = outlet_write(&s->out, s->buf + s->at, s->n - s->at);

		if (r < 0) {
			s->error = (int)-r;
			return;
		}
		s->error = 0;
		s->at += (size_t)r;
	}
	s->at = s->n = 0;
}

/* A line of n bytes; false: no room, it is lost. */
static bool sink_add(struct log_sink *s, const uint8_t *line, size_t n)
{
	if (!fd_is_open(s->fd))
		return !s->wanted;
	if (s->n + n + 1 > LOGDRAIN_SINK_BYTES) {
		sink_flush(s);
		if (s->at) {
			memmove(s->buf, s->buf + s->at, s->n - s->at);
			s->n -= s->at;
			s->at = 0;
		}
		if (s->n + n + 1 > LOGDRAIN_SINK_BYTES)
			return false;
	}
	for (size_t i = 0; i < n; i++)
		s->buf[s->n + i] = line[i] < 0x20 || line[i] == 0x7f ? '?' : line[i];
	s->buf[s->n + n] = '\n';
	s->n += n + 1;
	s->lines++;
	return true;
}

size_t logdrain_pass(struct logdrain *d)
{
	uint8_t record[RING_RECORD_MAX];
	size_t bytes = 0;

	for (unsigned w = 0; w < BOARD_WORKERS; w++) {
		enum ring_kind kind;
		size_t n;

		if (!d->worker[w].map)
			continue;
		for (unsigned i = 0; i < PASS_RECORDS; i++) {
			if (!ring_take(&d->worker[w].ring, &kind, record, &n))
				break;
			bytes += n + 4;
			if (!sink_add(kind == RING_EVENT ? &d->events : &d->access, record, n))
				d->sink_drops[w]++;
		}
	}
	if (fd_is_open(d->access.fd))
		sink_flush(&d->access);
	sink_flush(&d->events);
	return bytes;
}

/* Once both take lines again, and not more often than once a second. */
static void say_losses(struct logdrain *d)
{
	uint64_t ring = 0, sink = 0;
	struct mono now = clock_tick();

	for (unsigned w = 0; w < BOARD_WORKERS; w++) {
		ring += d->worker[w].map ? ring_dropped(&d->worker[w].ring) : 0;
		sink += d->sink_drops[w];
	}
	if (ring + sink <= d->losses_said || d->access.error || d->events.error ||
	    mono_diff_ms(now, d->losses_at) < LOSSES_MS)
		return;
	log_warn("log_records_lost", "records=%llu at_ring=%llu at_sink=%llu",
		 (unsigned long long)(ring + sink - d->losses_said), (unsigned long long)ring,
		 (unsigned long long)sink);
	d->losses_said = ring + sink;
	d->losses_at = now;
}

static void timer_cb(void *arg)
{
	struct logdrain *d = arg;
	size_t bytes = logdrain_pass(d);

	say_losses(d);
	(void)log_lost();

	/* An eighth of a usual ring in one interval is much; a few lines are nothing to hurry for. */
	if (bytes > 128 * 1024)
		d->interval_ms = LOGDRAIN_MIN_MS;
	else if (bytes > 16 * 1024)
		d->interval_ms = max_of(d->interval_ms / 2, (unsigned)LOGDRAIN_MIN_MS);
	else
		d->interval_ms = min_of(d->interval_ms + 10, (unsigned)LOGDRAIN_MAX_MS);
	loop_timer_start(d->loop, &d->timer, (int64_t)d->interval_ms * NS_PER_MS, 0, timer_cb, d);
}

int logdrain_init(struct logdrain *d, struct loop *loop, int events_fd)
{
	memset(d, 0, sizeof *d);
	d->loop = loop;
	d->interval_ms = LOGDRAIN_MAX_MS;
	d->access.buf = malloc(LOGDRAIN_SINK_BYTES);
	d->events.buf = malloc(LOGDRAIN_SINK_BYTES);
	sink_set(&d->access, FD_NONE, false);
	sink_set(&d->events, (struct fd){ events_fd }, true);
	if (!d->access.buf || !d->events.buf)
		return -ENOMEM;
	loop_timer_start(loop, &d->timer, (int64_t)d->interval_ms * NS_PER_MS, 0, timer_cb, d);
	return 0;
}

static void ring_close(struct logdrain *d, unsigned w)
{
	if (!d->worker[w].map)
		return;
	d->nonsense[w] += d->worker[w].ring.nonsense;
	munmap(d->worker[w].map, d->worker[w].bytes);
	d->worker[w].map = NULL;
}

int logdrain_ring(struct logdrain *d, unsigned w, struct fd fd, size_t bytes)
{
	struct ring ring;
	void *map;
	int r;

	if (w >= BOARD_WORKERS || bytes < sizeof(struct ring_shared))
		return -EINVAL;
	r = memfd_map_shared(fd, bytes, true, &map);
	if (r < 0)
		return r;
	r = ring_open_reader(&ring, map, bytes);
	if (r < 0) {
		munmap(map, bytes);
		return r;
	}
	ring_close(d, w);
	d->worker[w].map = map;
	d->worker[w].bytes = bytes;
	d->worker[w].ring = ring;
	return 0;
}

/* Throws away the rest of a line whose beginning is in the old file. */
static void skip_cut_line(struct log_sink *s)
{
	if (s->at == 0 || s->buf[s->at - 1] == '\n')
		return;
	while (s->at < s->n && s->buf[s->at++] != '\n')
		;
}

void logdrain_access(struct logdrain *d, struct fd *fd, bool wanted)
{
	struct log_sink *s = &d->access;

	s->wanted = wanted;
	if (wanted && !fd_is_open(*fd)) {
		s->error = fd_is_open(s->fd) ? s->error : ENOENT;
		return;
	}
	if (fd_is_open(s->fd)) {
		sink_flush(s);
		skip_cut_line(s);
		fd_close(&s->fd);
	}
	sink_set(s, fd_take(fd), false);
	if (!fd_is_open(s->fd))
		s->at = s->n = 0;
}

void logdrain_report(const struct logdrain *d, struct state *st)
{
	for (unsigned w = 0; w < BOARD_WORKERS; w++) {
		const struct ring *r = &d->worker[w].ring;
		bool open = d->worker[w].map != NULL;

		st->losses[w] = (struct log_losses){
			.ring = open ? ring_dropped(r) : 0,
			.sink = d->sink_drops[w],
			.nonsense = d->nonsense[w] + (open ? r->nonsense : 0),
		};
	}
	st->log_lines = d->access.lines;
	st->log_error = d->access.error == EAGAIN ? 0 : d->access.error;
}

void logdrain_fini(struct logdrain *d)
{
	loop_timer_stop(d->loop, &d->timer);
	for (unsigned w = 0; w < BOARD_WORKERS; w++)
		ring_close(d, w);
	fd_close(&d->access.fd);
	free(d->access.buf);
	free(d->events.buf);
	d->access.buf = d->events.buf = NULL;
}
