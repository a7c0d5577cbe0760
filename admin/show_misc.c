/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* config, reasons, panics: what was set, why things ended, who broke. */
#include "admin/show.h"

#include <string.h>

#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/knobs/change.h"

static const char *const routes[] = { "service", "host", "original-destination" };

static void show_tls(struct text *t, const struct state *st, const struct knobs_listener *l,
		     const uint64_t n[LCS])
{
	char names[CERTS_NAMES];
	const struct certs_leaf *leaf = show_leaf(st, l, names);

	js_str(t, "tls", l->tls == TLS_TERMINATE ? "terminate" : "off");
	if (l->tls != TLS_TERMINATE)
		return;
	js_u64(t, "tls_handshakes_total", n[LC_tls_handshakes]);
	js_u64(t, "tls_resumed_total", n[LC_tls_resumed]);
	js_u64(t, "tls_failed_total", n[LC_tls_failed]);
	if (leaf == NULL)
		return;		/* the key process has not told of it */
	js_str(t, "certificate_names", names);
	js_str(t, "certificate_key", cert_key_name(leaf->kind));
	js_i64(t, "certificate_from_unix_ms", leaf->from_unix_s * 1000);
	js_i64(t, "certificate_to_unix_ms", leaf->to_unix_s * 1000);
}

void show_listeners(struct state *st, const struct call *c, struct answer *ret)
{
	struct text *t;

	(void)c;
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "listeners", '[');
	for (uint32_t i = 0; i < st->knobs->n_listeners && i < KNOBS_LISTENERS; i++) {
		const struct knobs_listener *l = &st->knobs->listener[i];
		uint64_t n[LCS];

		gather_listener(st, l->name, n);
		js_open(t, NULL, '{');
		js_str(t, "name", l->name);
		js_str(t, "bind", l->bind);
		js_str(t, "namespace", l->ns);
		js_str(t, "route", l->route < countof(routes) ? routes[l->route] : "unknown");
		js_str(t, "service", l->service);
		js_u64(t, "connections_quota", (uint64_t)l->connections);
		js_u64(t, "requests_quota", (uint64_t)l->requests);
		js_u64(t, "connections", n[LC_conns_gauge]);
		js_u64(t, "requests_now", n[LC_requests_gauge]);
		js_u64(t, "connections_total", n[LC_conns]);
		js_u64(t, "refused_total", n[LC_refused]);
		show_tls(t, st, l, n);
		js_close(t, '}');
	}
	js_close(t, ']');
	show_end(ret);
}

void show_config(struct state *st, const struct call *c, struct answer *ret)
{
	struct knob_row row;
	struct text *t;
	char value[640];

	(void)c;
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "settings", '[');
	for (unsigned i = 0; knobs_row(i, &row); i++) {
		if (row.of_listener)
			continue;
		knobs_value(st->knobs, i, value, sizeof value);
		js_open(t, NULL, '{');
		js_str(t, "key", row.key);
		js_str(t, "value", value);
		js_str(t, "default", row.def);
		js_str(t, "unit", row.unit ? row.unit : "");
		js_str(t, "reload", knob_reload_name(row.reload));
		js_str(t, "help", row.help);
		js_close(t, '}');
	}
	js_close(t, ']');
	js_open(t, "listeners", '[');
	for (uint32_t i = 0; i < st->knobs->n_listeners && i < KNOBS_LISTENERS; i++) {
		const struct knobs_listener *l = &st->knobs->listener[i];

		js_open(t, NULL, '{');
		for (unsigned k = 0; knobs_listener_value(l, k, value, sizeof value) &&
				     knobs_row(KNOBS + k, &row); k++)
			js_str(t, row.key, value);
		js_close(t, '}');
	}
	js_close(t, ']');
	show_end(ret);
}

static void show_change(void *arg, const struct knob_change *c)
{
	struct text *t = arg;

	js_open(t, NULL, '{');
	js_str(t, "key", c->key);
	js_str(t, "was", c->was);
	js_str(t, "now", c->now);
	js_str(t, "takes_effect", knob_reload_name(c->reload));
	js_close(t, '}');
}

void show_reloaded(const struct state *st, bool changed, struct slice words, struct answer *ret)
{
	*ret = show_ok();
	js_bool(&ret->body, "done", true);
	js_slice(&ret->body, "message", words);
	js_open(&ret->body, "changes", '[');
	if (changed)
		knobs_changes(&st->knobs_was, st->knobs, show_change, &ret->body);
	js_close(&ret->body, ']');
	show_end(ret);
}

void show_reasons(struct state *st, const struct call *c, struct answer *ret)
{
	uint64_t all = 0;
	struct text *t;

	call_number(c, "all", &all);
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "reasons", '[');
	for (unsigned i = REASON_NONE + 1; i < REASONS; i++) {
		const struct reason_row *r = reason_row((enum reason)i);
		uint64_t n = gather_reason(st, (enum reason)i);

		if (n == 0 && !all)
			continue;
		js_open(t, NULL, '{');
		js_str(t, "reason", r->name);
		js_u64(t, "count", n);
		js_str(t, "fault", fault_name(r->fault));
		js_str(t, "flag", r->flag);
		js_i64(t, "http", r->http);
		js_str(t, "words", r->words);
		js_close(t, '}');
	}
	js_close(t, ']');
	show_end(ret);
}

/* A copy of the k-th newest page; pages were written by processes that broke. */
static bool panic_nth(const struct state *st, unsigned k, uint64_t *ret_serial,
		      struct panic_page *ret)
{
	uint64_t below = UINT64_MAX;
	const uint8_t *page = NULL;

	if (!st->panics)
		return false;
	for (;;) {
		uint64_t best = 0;

		for (unsigned i = 0; i < PANICS_MAX; i++) {
			uint64_t s = __atomic_load_n(&st->panics->entry[i].serial, __ATOMIC_ACQUIRE);

			if (s > best && s < below) {
				best = s;
				page = st->panics->entry[i].page;
			}
		}
		if (best == 0)
			return false;
		below = best;
		if (k-- == 0)
			break;
	}
	memcpy(ret, page, sizeof *ret);
	*ret_serial = below;
	return true;
}

static struct slice bounded(const char *s, size_t n)
{
	return slice_of(s, strnlen(s, n));
}

static void panic_row(uint64_t serial, const struct panic_page *p, struct text *t)
{
	js_u64(t, "serial", serial);
	js_u64(t, "at_unix_ms", p->at_unix_ms);
	js_slice(t, "role", bounded(p->role, sizeof p->role));
	js_u64(t, "pid", p->pid);
	js_slice(t, "what", bounded(p->what, sizeof p->what));
	js_slice(t, "file", bounded(p->file, sizeof p->file));
	js_u64(t, "line", p->line);
	js_u64(t, "signal", p->signo);
	js_slice(t, "doing", bounded(p->stage, sizeof p->stage));
	js_u64(t, "rev", p->rev);
	js_slice(t, "version", bounded(p->version, sizeof p->version));
}

void show_panics(struct state *st, const struct call *c, struct answer *ret)
{
	struct panic_page p;
	uint64_t serial;

	(void)c;
	*ret = show_ok();
	js_open(&ret->body, "panics", '[');
	for (unsigned k = 0; k < PANICS_MAX && panic_nth(st, k, &serial, &p); k++) {
		js_open(&ret->body, NULL, '{');
		panic_row(serial, &p, &ret->body);
		js_close(&ret->body, '}');
	}
	js_close(&ret->body, ']');
	show_end(ret);
}

void show_panic(struct state *st, const struct call *c, struct answer *ret)
{
	bool latest = strcmp(c->rest, "latest") == 0;
	uint64_t want = 0, serial = 0;
	struct panic_page p;
	char text[8192];

	if (!latest && !slice_u64(slice_str(c->rest), UINT64_MAX, &want)) {
		answer_error(ret, 400, "a panic is named by its serial, or \"latest\"", c->rest,
			     "list them with `nodeproxyctl get panics`");
		return;
	}
	for (unsigned k = 0; k < PANICS_MAX && panic_nth(st, k, &serial, &p); k++) {
		if (!latest && serial != want)
			continue;
		*ret = show_ok();
		panic_row(serial, &p, &ret->body);
		panic_page_text(&p, text, sizeof text);
		js_str(&ret->body, "text", text);
		show_end(ret);
		return;
	}
	answer_error(ret, 404, latest ? "no process of ours has panicked" : "no such panic is kept",
		     latest ? NULL : c->rest,
		     latest ? NULL : "list them with `nodeproxyctl get panics`; the last 16 are kept");
}
