/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See changeset.h. */
#include "store/sync/changeset.h"

#include <errno.h>
#include <stdlib.h>

struct refusal *refusal_of_place(const char *place, const char *reason)
{
	struct refusal *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->source = strdup(place);
	r->reason = strdup(reason);
	r->field = strdup("");
	r->kind = strdup("");
	r->ns = strdup("");
	r->name = strdup("");
	if (!r->source || !r->reason || !r->field || !r->kind || !r->ns || !r->name)
		refusal_free(&r);
	return r;
}

static struct document *add(struct documents *d)
{
	if (d->n == d->room) {
		size_t room = d->room ? d->room * 2 : 8;
		struct document *v = realloc(d->v, room * sizeof *v);

		if (v == NULL)
			return NULL;
		d->v = v;
		d->room = room;
	}
	d->v[d->n] = (struct document){ 0 };
	return &d->v[d->n++];
}

int documents_add_row(struct documents *d, struct row **row)
{
	struct document *doc = add(d);

	if (doc == NULL) {
		row_free(row);
		return -ENOMEM;
	}
	doc->row = *row;
	*row = NULL;
	return 0;
}

int documents_add_refusal(struct documents *d, struct refusal **refusal)
{
	struct document *doc = *refusal ? add(d) : NULL;

	if (doc == NULL) {
		refusal_free(refusal);
		return -ENOMEM;
	}
	doc->refusal = *refusal;
	*refusal = NULL;
	return 0;
}

int documents_read(struct documents *d, const char *place, struct slice content)
{
	struct resource_reader reader;
	struct row *row;
	struct refusal *refusal;
	int r, bad = 0;

	resource_reader_init(&reader, place, content);
	while ((r = resource_next(&reader, &row, &refusal)) != 0) {
		if (r < 0)
			bad = r;
		else if ((r = row ? documents_add_row(d, &row)
				  : documents_add_refusal(d, &refusal)) < 0)
			bad = r;
	}
	return bad;
}

void documents_fini(struct documents *d)
{
	for (size_t i = 0; i < d->n; i++) {
		row_free(&d->v[i].row);
		refusal_free(&d->v[i].refusal);
	}
	free(d->v);
	*d = (struct documents){ 0 };
}
