/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See render.h. */
#include "admin/cli/render.h"

#include <stdio.h>
#include <stdlib.h>

#include "admin/cli/offline.h"
#include "admin/cli/print.h"
#include "admin/options.h"
#include "nodeproxy/lib/base/clock.h"

static void say_error(const struct response *r, const json_t *o)
{
	struct text t = text_of(1 << 16);

	text_adds(&t, "nodeproxyctl: ");
	if (string_at(o, "error"))
		print_clean(&t, string_at(o, "error"));
	else
		text_printf(&t, "the daemon answered with status %d", r->status);
	if (string_at(o, "where")) {
		text_adds(&t, ": ");
		print_clean(&t, string_at(o, "where"));
	}
	if (string_at(o, "do")) {
		text_addc(&t, '\n');
		print_clean(&t, string_at(o, "do"));
	}
	fprintf(stderr, "%s\n", t.p);
	text_fini(&t);
}

static void table_of(const struct asked *a, const json_t *o, int64_t now, struct text *out)
{
	const struct cmd_row *row = cmd_row(a->cmd);
	const char *s;

	switch (a->cmd) {
	case CMD_status:
		print_status(o, now, out);
		return;
	case CMD_check:
		print_findings(json_object_get(o, "findings"), out);
		return;
	case CMD_panic:
		for (s = string_at(o, "text"); s && *s; s++)	/* lines of cleaned text */
			text_addc(out, (uint8_t)*s < 0x20 && *s != '\n' ? '?' : *s);
		return;
	case CMD_version:
		text_printf(out, "nodeproxyctl %s\nnodeproxy    ", PACKAGE_VERSION);
		print_clean(out, string_at(o, "version") ? string_at(o, "version") : "?");
		text_addc(out, '\n');
		return;
	default:
		break;
	}
	if (!row->list[0]) {
		if (row->by_master)
			print_clean(out, string_at(o, "message") ? string_at(o, "message") : "done"),
				text_addc(out, '\n');
		else
			print_object(o, now, out);
		return;
	}
	if (row->by_master) {
		print_clean(out, string_at(o, "message") ? string_at(o, "message") : "done");
		text_addc(out, '\n');
		if (json_array_size(json_object_get(o, row->list)) == 0)
			return;
	}
	print_table(a->cmd, json_object_get(o, row->list), now, out);
	if (a->cmd == CMD_sources)
		print_refused(json_object_get(o, "refused"), now, out);
	if (a->cmd == CMD_config && json_array_size(json_object_get(o, "listeners"))) {
		json_t *shown = json_pack("{s:O}", "listeners", json_object_get(o, "listeners"));

		print_object(shown, now, out);
		json_decref(shown);
	}
}

int render_object(const struct asked *a, const json_t *o, int code)
{
	struct text out = text_of(CALL_ANSWER_BYTES * 2);
	char *dump;

	if (a->format == JSON) {
		dump = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		if (dump)
			text_adds(&out, dump);
		text_addc(&out, '\n');
		free(dump);
	} else if (a->format == YAML) {
		print_yaml(o, &out);
	} else if (code == EXIT_DONE) {
		table_of(a, o, clock_unix_ms(), &out);
	}
	if (out.n && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0))
		code = code == EXIT_DONE ? EXIT_REFUSED : code;
	if (code == EXIT_DONE && json_is_false(json_object_get(o, "ok")))	/* check, explain */
		code = EXIT_REFUSED;
	text_fini(&out);
	return code;
}

json_t *render_object_of(const struct response *r, int *code)
{
	json_error_t e;
	json_t *o = json_loadb(r->body.p ? r->body.p : "", r->body.n, 0, &e);

	*code = r->status >= 200 && r->status < 300 ? EXIT_DONE
		: r->status == 400		    ? EXIT_USAGE
						    : EXIT_REFUSED;
	if (!json_is_object(o)) {
		fprintf(stderr, "nodeproxyctl: the daemon's answer is not JSON: is this its socket?\n");
		json_decref(o);
		*code = EXIT_AWAY;
		return NULL;
	}
	if (*code != EXIT_DONE)
		say_error(r, o);
	return o;
}

int render(const struct asked *a, const struct response *r)
{
	int code;
	json_t *o = render_object_of(r, &code);

	if (!o)
		return code;
	if (a->cmd == CMD_version)
		json_object_set_new(o, "nodeproxyctl", json_string(PACKAGE_VERSION));
	if (a->cmd == CMD_check)
		offline_compare(o);
	code = render_object(a, o, code);
	json_decref(o);
	return code;
}
