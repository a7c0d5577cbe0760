/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See posts.h. */
#include "store/sync/posts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"

#define AGAIN_MS  1000	/* after it could not be put */
#define DENIED_MS 60000	/* after it was forbidden */

struct post {
	struct node in_posts;		/* due, under_way or told */
	char *text;			/* NULL: the key is to be deleted */
	char key[KEY_MAX];
};

static struct post *post_of(struct node *n)
{
	return container_of(n, struct post, in_posts);
}

static void next(struct posts *);

static void timer_cb(void *arg)
{
	clock_tick();
	next(arg);
}

static void later(struct posts *p, int64_t ms)
{
	loop_timer_start(p->loop, &p->timer, (ms + (int64_t)rand_below((uint32_t)ms)) * NS_PER_MS, 0, timer_cb, p);
}

static void post_free(struct post *x)
{
	list_remove(&x->in_posts);
	free(x->text);
	free(x);
}

/* What is under way, if anything, does not count: it is due again, first as it was. */
static void not_done(struct posts *p)
{
	list_move_all(&p->under_way, &p->due);
	list_move_all(&p->due, &p->under_way);
}

static void done(void *arg, const struct etcd_answer *a)
{
	struct posts *p = arg;

	p->call = NULL;
	if (a->status != GRPC_OK) {
		not_done(p);
		later(p, a->status == GRPC_PERMISSION_DENIED ? p->denied_ms : AGAIN_MS);
		return;
	}
	/* Those that are another by now are due already. */
	list_each(it, &p->under_way)
		if (post_of(it)->text == NULL)
			post_free(post_of(it));
	list_move_all(&p->told, &p->under_way);
	next(p);
}

static struct etcd_op op_of(const struct posts *p, const struct post *x)
{
	if (x->text == NULL)
		return (struct etcd_op){ .kind = ETCD_DELETE, .key = slice_str(x->key) };
	return (struct etcd_op){ .kind = ETCD_PUT, .key = slice_str(x->key), .value = slice_str(x->text),
				 .lease = p->lease };
}

static void next(struct posts *p)
{
	struct etcd_op op[POSTS_A_CALL];
	struct etcd_txn txn = { .then = op };

	if (p->e == NULL || p->lease == 0 || p->call || list_is_empty(&p->due) || loop_timer_is_running(&p->timer))
		return;
	list_each(it, &p->due) {
		if (txn.n_then == countof(op))
			break;
		op[txn.n_then++] = op_of(p, post_of(it));
		list_remove(it);
		list_add_tail(&p->under_way, it);
	}
	p->call = etcd_txn(p->e, &txn, done, p);
	if (p->call)
		return;
	not_done(p);
	later(p, AGAIN_MS);
}

int posts_init(struct posts *p, struct loop *loop, const char *root, const char *node)
{
	*p = (struct posts){ .loop = loop, .denied_ms = DENIED_MS };
	list_init(&p->due);
	list_init(&p->under_way);
	list_init(&p->told);
	return snprintf(p->root, sizeof p->root, "%snode/%s/pod/", root, node) >= (int)sizeof p->root
		       ? -ENAMETOOLONG : 0;
}

void posts_fini(struct posts *p)
{
	posts_client(p, NULL);
	list_each(it, &p->due)		/* where all are without a client */
		post_free(post_of(it));
}

/* Whatever was told may not be there any more, and what is under way goes with another lease. */
static void all_due(struct posts *p)
{
	not_done(p);
	list_move_all(&p->due, &p->told);
}

void posts_client(struct posts *p, struct etcd *e)
{
	loop_timer_stop(p->loop, &p->timer);
	etcd_call_cancel(&p->call);
	p->lease = 0;
	p->e = e;
	all_due(p);
}

void posts_lease(struct posts *p, int64_t lease)
{
	p->lease = lease;
	all_due(p);
	next(p);
}

static struct post *find_in(struct node *list, const char *key)
{
	list_each(it, list)
		if (strcmp(post_of(it)->key, key) == 0)
			return post_of(it);
	return NULL;
}

static struct post *find(struct posts *p, const char *key)
{
	struct post *x = find_in(&p->due, key);

	if (x == NULL)
		x = find_in(&p->under_way, key);
	return x ? x : find_in(&p->told, key);
}

int posts_set(struct posts *p, const char *ns, const char *pod, const char *text)
{
	char key[KEY_MAX], *copy = text ? strdup(text) : NULL;
	struct post *x;

	if (text && copy == NULL)
		return -ENOMEM;
	if (snprintf(key, sizeof key, "%s%s/%s", p->root, ns, pod) >= (int)sizeof key) {
		free(copy);
		return -ENAMETOOLONG;
	}
	x = find(p, key);
	if (x == NULL) {
		x = calloc(1, sizeof *x);
		if (x == NULL) {
			free(copy);
			return -ENOMEM;
		}
		memcpy(x->key, key, sizeof key);
	} else {
		list_remove(&x->in_posts);
	}
	free(x->text);
	x->text = copy;
	list_add_tail(&p->due, &x->in_posts);
	next(p);
	return 0;
}

bool posts_any(const struct posts *p)
{
	return !list_is_empty(&p->due) || !list_is_empty(&p->under_way) || !list_is_empty(&p->told);
}
