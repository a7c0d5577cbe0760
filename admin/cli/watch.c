/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See watch.h. */
#include "admin/cli/watch.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "admin/cli/print.h"
#include "admin/cli/render.h"
#include "admin/cli/top.h"
#include "admin/options.h"
#include "nodeproxy/lib/base/clock.h"

/* The column of this heading; NULL: there is none. */
static const struct col_row *column_of(enum cmd c, const char *heading)
{
	const struct col_row *col;

	for (unsigned i = 0; (col = cmd_col(c, i)); i++)
		if (strcasecmp(col->heading, heading) == 0)
			return col;
	return NULL;
}

/* As much as the terminal shows, so that nothing wraps or scrolls away: the idlest are left out. */
static int show_screen(const struct asked *a, const json_t *rates, const struct col_row *sort)
{
	struct text all = text_of(CALL_ANSWER_BYTES * 2), fits = text_of(CALL_ANSWER_BYTES * 2);
	struct winsize w = { .ws_col = 80, .ws_row = 24 };
	const json_t *rows = json_object_get(rates, "rows");
	bool ok;

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	if (w.ws_row < 4 || w.ws_col < 20)
		w = (struct winsize){ .ws_col = 80, .ws_row = 24 };
	text_printf(&all, "%zu ", json_array_size(rows));
	print_clean(&all, string_at(rates, "by") ? string_at(rates, "by") : "rows");
	text_printf(&all, ", the last %.1f s, sorted by %s\n",
		    json_number_value(json_object_get(rates, "seconds")),
		    sort ? sort->heading : "CPU%, REQ/S");
	print_table(a->cmd, rows, clock_unix_ms(), &all);
	text_adds(&fits, "\033[H\033[J");
	print_fit(text_slice(&all), w.ws_col, w.ws_row - 1u, &fits);
	ok = fwrite(fits.p, 1, fits.n, stdout) == fits.n && fflush(stdout) == 0;
	text_fini(&all);
	text_fini(&fits);
	return ok ? EXIT_DONE : EXIT_REFUSED;
}

int watch(const struct asked *a, const char *target)
{
	bool screen = isatty(STDOUT_FILENO) && a->format == TABLE && !asked_value(a, "once");
	uint64_t left = asked_value(a, "once") ? 1 : asked_number(a, "count", screen ? UINT64_MAX : 1);
	struct timespec interval = { .tv_sec = (time_t)max_of(asked_number(a, "interval", 2), 1ull) };
	const char *heading = asked_value(a, "sort");
	const struct col_row *sort = heading ? column_of(a->cmd, heading) : NULL;
	json_t *before = NULL;
	int code = EXIT_DONE;

	if (heading && !sort)
		return asked_wrong("there is no column %s: use a heading of the table, as REQ/S or P99",
				   heading);
	while (code == EXIT_DONE && (left || !before)) {
		struct response r;
		json_t *now, *rates;

		code = asked_send(a, target, &r);
		if (code != EXIT_DONE)
			break;
		now = render_object_of(&r, &code);
		text_fini(&r.body);
		rates = code == EXIT_DONE && before
				? top_rates(before, now, sort ? sort->path : NULL) : NULL;
		if (rates) {
			code = screen ? show_screen(a, rates, sort) : render_object(a, rates, code);
			left--;
		}
		json_decref(rates);
		json_decref(before);
		before = now;
		if (left)
			nanosleep(&interval, NULL);
	}
	json_decref(before);
	return code;
}
