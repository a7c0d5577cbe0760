/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See log.h. */
#include "nodeproxy/lib/base/log.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "nodeproxy/lib/base/outlet.h"
#include "nodeproxy/lib/base/strbuf.h"

enum log_level log_level = LOG_INFO;

static const char *the_role = "-";
static struct ring *the_ring;
static struct outlet out = { STDERR_FILENO, OUTLET_SHARED };
static struct fd out_fd = { -1 };
static uint64_t lost, lost_said;
static const char *const names[LOG_LEVELS] = { "debug", "info", "warn", "error" };

void log_init(const char *role, struct ring *ring)
{
	the_role = role;
	the_ring = ring;
}

void log_open(void)
{
	fd_close(&out_fd);
	out_fd = outlet_again(STDERR_FILENO);
	out = outlet_of(fd_is_open(out_fd) ? out_fd.v : STDERR_FILENO);
}

const struct outlet *log_outlet(void)
{
	return &out;
}

const char *log_level_name(enum log_level l)
{
	return names[l];
}

int log_level_of(const char *name)
{
	for (int i = 0; i < LOG_LEVELS; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

static void add_time(struct strbuf *b)
{
	int64_t ms = clock_unix_ms();
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	strbuf_printf(b, "time=%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
		      tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
}

void log_text(const char *text, size_t n)
{
	if (outlet_write(&out, text, n) < 0)
		lost++;
}

static bool say_lost(void)
{
	char text[192];
	struct strbuf b = strbuf_on(text, sizeof text);

	if (lost == lost_said)
		return true;
	add_time(&b);
	strbuf_printf(&b, " level=warn role=%s event=log_lines_lost lines=%llu\n", the_role,
		      (unsigned long long)(lost - lost_said));
	if (outlet_write(&out, b.p, b.n) < 0)
		return false;
	lost_said = lost;
	return true;
}

uint64_t log_lost(void)
{
	(void)say_lost();
	return lost;
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	char text[1024];
	struct strbuf b = strbuf_on(text, sizeof text);
	va_list ap;
	int r;

	if (level < log_level)
		return;
	add_time(&b);
	strbuf_printf(&b, " level=%s role=%s event=%s", names[level], the_role, event);
	if (fmt && fmt[0]) {
		strbuf_addc(&b, ' ');
		va_start(ap, fmt);
		r = vsnprintf(b.p + b.n, b.room - b.n, fmt, ap);
		va_end(ap);
		b.n += r < 0 ? 0 : min_of((size_t)r, b.room - b.n - 1);
	}
	for (size_t i = 0; i < b.n; i++)	/* one line stays one line */
		if ((uint8_t)b.p[i] < 0x20)
			b.p[i] = ' ';
	if (the_ring) {
		uint8_t *to = ring_reserve(the_ring, b.n);

		if (to) {
			memcpy(to, b.p, b.n);
			ring_commit(the_ring, RING_EVENT, b.n);
		}
		return;
	}
	b.n = min_of(b.n, sizeof text - 2);
	b.p[b.n++] = '\n';
	if (say_lost())
		log_text(b.p, b.n);
	else
		lost++;
}
