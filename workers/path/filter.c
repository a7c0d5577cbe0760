/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See filter.h. */
#include "workers/path/filter.h"

#include "store/view/edit.h"
#include "workers/codec/headers.h"

int filter_edit(struct head *m, struct slice bytes)
{
	struct slice rest, line, name, value;
	struct edit e;

	if (!edit_open(bytes, &e))
		return -1;
	for (uint32_t i = 0; i < m->n; i++) {
		struct header *h = &m->h[i];

		if (!edit_drops(&e, h->name))
			continue;
		m->has &= ~HN_BIT(h->id);
		m->twice &= ~HN_BIT(h->id);
		h->id = HN_OTHER;
		h->drop = true;
	}
	rest = e.text;
	for (uint32_t i = 0; edit_line(&e, i, &rest, &line, &name, &value); i++) {
		if (m->n == HEAD_LINES_MAX)
			return -1;
		m->h[m->n] = (struct header){ .line = line, .name = name, .value = value,
					      .id = (uint8_t)header_name_of(name) };
		head_has(m, &m->h[m->n++]);
	}
	return 0;
}

/* ---- of a request ---- */

static const uint8_t *request_id_of(const struct head *h)
{
	return h->has & HN_BIT(HN_X_REQUEST_ID) ? head_line(h, HN_X_REQUEST_ID)->value.p : NULL;
}

static enum step edit_request(struct exchange *ex, struct slice edit)
{
	struct head *h = &ex->conn->path->head;
	const uint8_t *id = request_id_of(h);

	if (filter_edit(h, edit) < 0)
		return end(ex, REASON_TOO_LARGE);
	if (request_id_of(h) != id) {
		ex->request_id.n = 0;
		exchange_keep_id(ex, h);
	}
	return NEXT;
}

/* ---- of a response ---- */

/* Each edit is kept behind its length. */
static enum step keep_edit(struct exchange *ex, struct slice edit)
{
	struct path *p = ex->conn->path;
	struct chunk *c = ex->edits, *larger;
	uint32_t n = (uint32_t)edit.n, had = c ? c->end : 0;

	if (c == NULL || c->room - c->end < sizeof n + n) {
		larger = chunk_take(&p->chunks, &ex->tenant->memory,
				    had + sizeof n + n > CHUNK_SMALL_ROOM);
		if (larger == NULL || larger->room < had + sizeof n + n) {
			if (larger)
				chunk_give(&p->chunks, &larger);
			return end(ex, REASON_OVER_BUDGET);
		}
		if (c) {
			memcpy(larger->data, c->data, had);
			larger->end = had;
			chunk_give(&p->chunks, &ex->edits);
		}
		c = ex->edits = larger;
	}
	memcpy(c->data + c->end, &n, sizeof n);
	memcpy(c->data + c->end + sizeof n, edit.p, n);
	c->end += (uint32_t)sizeof n + n;
	return NEXT;
}

int filter_response(struct exchange *ex)
{
	struct slice s = slice_of(ex->edits->data, ex->edits->end);
	uint32_t n;

	while (s.n >= sizeof n) {
		memcpy(&n, s.p, sizeof n);
		s = slice_from(s, sizeof n);
		if (never(n > s.n) || filter_edit(&ex->conn->path->head, slice_of(s.p, n)) < 0)
			return -1;
		s = slice_from(s, n);
	}
	return 0;
}

/* ---- all of them ---- */

enum step filter_request(struct exchange *ex, const struct vrule *rule, const struct vfilters *all)
{
	enum step s = NEXT;
	struct vfilter f;

	for (uint32_t i = 0; s == NEXT && vfilter_at(&rule->port.service, all, i, &f); i++) {
		switch (f.kind) {
		case FILTER_REQUEST_HEADERS:
			s = edit_request(ex, f.edit);
			break;
		case FILTER_RESPONSE_HEADERS:
			s = keep_edit(ex, f.edit);
			break;
		case FILTERS:
			break;
		}
	}
	return s;
}
