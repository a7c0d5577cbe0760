/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd.h: the client and its calls. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/sync/etcd_inner.h"

#define STRANGERS	3u	/* answers of an unknown cluster, of each endpoint, until it is the one */
#define PROOFS		2u	/* tokens that were of no use, before the member is left */

struct etcd_call {
	struct node in_etcd;
	struct etcd *e;
	enum etcd_method method;
	struct grpc_call *call;
	struct etcd_mem mem;
	struct etcd_answer answer;
	bool is_answered;
	const char *fault;		/* of the answer; NULL: none */
	etcd_done_fn *done;
	void *arg;
};

const struct h2_field etcd_led = { (const uint8_t *)"hasleader", (const uint8_t *)"true", 9, 4, 0 };

const char *etcd_method_path(enum etcd_method m)
{
	static const char *const path[ETCD_METHODS] = {
#define METHOD(name, method) method,
#include "store/sync/etcd.def"
#undef METHOD
	};

	return path[m];
}

struct slice etcd_end(struct slice prefix, uint8_t *room)
{
	size_t n = prefix.n;

	while (n > 0 && prefix.p[n - 1] == 0xff)
		n--;
	if (n == 0)
		return SLICE("\0");	/* no end */
	memcpy(room, prefix.p, n);
	room[n - 1]++;
	return slice_of(room, n);
}

/* ---- whom to believe ---- */

static void prove(struct etcd *);

/* The token at hand is none any more: as etcd says it, or as it says that there is none. */
static bool is_about_token(enum grpc_status s, const char *words)
{
	return s == GRPC_UNAUTHENTICATED || strstr(words, "invalid auth token") ||
	       strstr(words, "revision of auth store is old") || strstr(words, "user name is empty");
}

void etcd_judge(struct etcd *e, enum grpc_status s, const char *words)
{
	if (s != GRPC_OK && e->user[0] && is_about_token(s, words)) {
		if (e->state != ETCD_UP)
			return;
		if (e->proofs >= PROOFS) {
			grpc_leave(e->g, words);
			return;
		}
		prove(e);
		e->on_down(e->arg, words);
		return;
	}
	switch (s) {
	case GRPC_OK:
		e->proofs = 0;
		grpc_fine(e->g);
		break;
	case GRPC_UNAVAILABLE:
	case GRPC_DEADLINE_EXCEEDED:
	case GRPC_UNIMPLEMENTED:
	case GRPC_INTERNAL:
	case GRPC_DATA_LOSS:
	case GRPC_UNKNOWN:
	case GRPC_UNAUTHENTICATED:
		grpc_leave(e->g, words[0] ? words : grpc_status_name(s));
		break;
	default:	/* the answer is no, and would be of any member */
		break;
	}
}

bool etcd_knows(struct etcd *e, const struct etcd_head *h)
{
	char why[96];

	if (e->cluster == 0)
		e->cluster = h->cluster;
	if (h->cluster == e->cluster) {
		e->strangers = 0;
		return true;
	}
	if (h->cluster != e->stranger)
		e->strangers = 0;
	e->stranger = h->cluster;
	if (++e->strangers >= STRANGERS * e->endpoints) {
		e->cluster = h->cluster;
		e->strangers = 0;
		return true;
	}
	snprintf(why, sizeof why, "is of another cluster: %llx, not %llx", (unsigned long long)h->cluster,
		 (unsigned long long)e->cluster);
	grpc_leave(e->g, why);
	return false;
}

/* ---- calls ---- */

static void call_free(struct etcd_call *c)
{
	list_remove(&c->in_etcd);
	etcd_mem_fini(&c->mem);
	free(c);
}

static void on_message(void *arg, struct slice m)
{
	struct etcd_call *c = arg;
	int r;

	if (c->is_answered) {
		c->fault = "two answers to one question";
		return;
	}
	c->is_answered = true;
	r = etcd_msg_answer(&c->mem, c->method, m, &c->answer);
	if (r < 0)
		c->fault = r == -ENOMEM ? "no memory for the answer" : "the answer is not one of etcd";
}

static void on_ended(void *arg, enum grpc_status s, const char *words)
{
	struct etcd_call *c = arg;
	struct etcd *e = c->e;

	if (s == GRPC_OK && !c->is_answered)
		c->fault = "there was no answer";
	if (s == GRPC_OK && c->fault) {
		s = GRPC_INTERNAL;
		words = c->fault;
	}
	/* A token is given by whoever knows the password: its head says nothing yet. */
	if (s == GRPC_OK && !etcd_knows(e, &c->answer.head)) {
		s = GRPC_FAILED_PRECONDITION;
		words = "the answer is of another cluster";
	}
	if (s != GRPC_OK)
		c->answer = (struct etcd_answer){ .status = s, .words = words, .token = "" };
	if (c->method != ETCD_DO_AUTHENTICATE)
		etcd_judge(e, s, words);
	c->done(c->arg, &c->answer);
	call_free(c);
}

struct etcd_call *etcd_call_new(struct etcd *e, enum etcd_method method, struct etcd_mem *mem,
				struct slice message, etcd_done_fn *done, void *arg)
{
	struct etcd_call *c = calloc(1, sizeof *c);
	const struct grpc_call_terms t = {
		.method = etcd_method_path(method), .deadline_ms = ETCD_CALL_MS,
		.field = &etcd_led, .fields = 1,
		.message = on_message, .ended = on_ended, .arg = c,
	};

	if (c)
		c->call = grpc_call(e->g, &t, message);
	if (c == NULL || c->call == NULL) {
		free(c);
		etcd_mem_fini(mem);
		return NULL;
	}
	etcd_mem_fini(mem);		/* its bytes are the channel's now */
	c->mem.is_secret = mem->is_secret;
	c->e = e;
	c->method = method;
	c->done = done;
	c->arg = arg;
	list_add_tail(&e->calls, &c->in_etcd);
	return c;
}

struct etcd_call *etcd_op(struct etcd *e, const struct etcd_op *op, etcd_done_fn *done, void *arg)
{
	static const enum etcd_method method[] = {
		[ETCD_RANGE] = ETCD_DO_RANGE, [ETCD_PUT] = ETCD_DO_PUT, [ETCD_DELETE] = ETCD_DO_DELETE,
	};
	struct etcd_mem mem = { 0 };
	struct slice m;

	if (e->state != ETCD_UP || etcd_msg_op(&mem, op, &m) < 0) {
		etcd_mem_fini(&mem);
		return NULL;
	}
	return etcd_call_new(e, method[op->kind], &mem, m, done, arg);
}

struct etcd_call *etcd_txn(struct etcd *e, const struct etcd_txn *t, etcd_done_fn *done, void *arg)
{
	struct etcd_mem mem = { 0 };
	struct slice m;

	must(max_of(t->n_conds, max_of(t->n_then, t->n_otherwise)) <= ETCD_OPS);
	if (e->state != ETCD_UP || etcd_msg_txn(&mem, t, &m) < 0) {
		etcd_mem_fini(&mem);
		return NULL;
	}
	return etcd_call_new(e, ETCD_DO_TXN, &mem, m, done, arg);
}

void etcd_call_cancel(struct etcd_call **cp)
{
	struct etcd_call *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	grpc_call_cancel(&c->call);
	call_free(c);
}

/* ---- the client ---- */

static void go_up(struct etcd *e)
{
	e->state = ETCD_UP;
	etcd_leases_up(e);
	e->on_up(e->arg);
}

static void on_proof(void *arg, const struct etcd_answer *a)
{
	struct etcd *e = arg;

	e->proof = NULL;
	if (e->state != ETCD_PROVING)
		return;
	if (a->status == GRPC_OK) {
		grpc_token(e->g, "token", a->token);
		e->has_token = true;
		go_up(e);
	} else if (strstr(a->words, "authentication is not enabled")) {
		go_up(e);
	} else {
		grpc_leave(e->g, a->words);
	}
}

static void prove(struct etcd *e)
{
	struct etcd_mem mem = { 0 };
	struct slice m;

	e->state = ETCD_PROVING;
	e->proofs++;
	e->has_token = false;
	grpc_token(e->g, "token", NULL);
	if (etcd_msg_authenticate(&mem, e->user, e->password, &m) == 0)
		e->proof = etcd_call_new(e, ETCD_DO_AUTHENTICATE, &mem, m, on_proof, e);
	else
		etcd_mem_fini(&mem);
	if (e->proof == NULL)
		grpc_leave(e->g, "no memory");
}

static void channel_up(void *arg)
{
	struct etcd *e = arg;

	/* To look at a password costs etcd a tenth of a second, of each of a thousand hosts that come back. */
	if (e->user[0] && !e->has_token)
		prove(e);
	else
		go_up(e);
}

static void channel_down(void *arg, const char *why)
{
	struct etcd *e = arg;

	e->state = ETCD_DOWN;
	e->on_down(e->arg, why);
}

bool etcd_is_up(const struct etcd *e)
{
	return e->state == ETCD_UP;
}

const struct addr *etcd_endpoint(const struct etcd *e)
{
	return grpc_endpoint(e->g);
}

void etcd_leave(struct etcd *e, const char *why)
{
	grpc_leave(e->g, why);
}

int etcd_new(struct loop *loop, struct grpc_stock *stock, const struct etcd_terms *t, struct etcd **ret,
	     char why[GRPC_WORDS])
{
	struct etcd *e = calloc(1, sizeof *e);
	const struct grpc_terms g = {
		.endpoint = t->endpoint, .endpoints = t->endpoints, .message_max = ETCD_MESSAGE_MAX,
		.ca = t->ca, .cert = t->cert, .key = t->key, .name = t->name,
		.up = channel_up, .down = channel_down, .arg = e,
	};
	int r;

	if (e == NULL)
		return -ENOMEM;
	r = strlen(t->user) < sizeof e->user && t->password.n < sizeof e->password ? 0 : -EINVAL;
	if (r < 0)
		snprintf(why, GRPC_WORDS, "user or password: longer than %u bytes", ETCD_PASSWORD - 1);
	else
		r = grpc_new(loop, stock, &g, &e->g, why);
	if (r < 0) {
		free(e);
		return r;
	}
	e->loop = loop;
	e->cluster = t->cluster;
	e->endpoints = t->endpoints;
	snprintf(e->user, sizeof e->user, "%s", t->user);
	if (t->password.n)
		memcpy(e->password, t->password.p, t->password.n);
	list_init(&e->calls);
	list_init(&e->watches);
	list_init(&e->leases);
	e->on_up = t->up;
	e->on_down = t->down;
	e->arg = t->arg;
	*ret = e;
	return 0;
}

void etcd_free(struct etcd **ep)
{
	struct etcd *e = *ep;

	*ep = NULL;
	if (e == NULL)
		return;
	etcd_call_cancel(&e->proof);
	/* What a lease said with its last breath. */
	list_each(it, &e->calls) {
		struct etcd_call *c = list_entry(it, struct etcd_call, in_etcd);

		must(c->method == ETCD_DO_REVOKE);
		etcd_call_cancel(&c);
	}
	must(list_is_empty(&e->watches) && list_is_empty(&e->leases));
	grpc_free(&e->g);
	explicit_bzero(e, sizeof *e);
	free(e);
}
