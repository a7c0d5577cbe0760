/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Every allocation of the builder and of opening a view fails once: the call says -ENOMEM, nothing
 * is half done, the same call again succeeds, and what comes out is what would have come out. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/view/dump.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

static long left = -1; /* allocations until one fails; below 0: none does */
static bool ours;      /* one of our calls is under way: Check allocates too */
static bool fired;

static bool fails(void)
{
	if (!ours || left < 0 || left-- > 0)
		return false;
	fired = true;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

#define OURS(call)                                                                                 \
	({                                                                                         \
		ours = true;                                                                       \
		int r_ = (call);                                                                   \
		ours = false;                                                                      \
		r_;                                                                                \
	})

/* At most one of two tries fails, and only for want of memory. */
#define TWICE(r, call)                                                                             \
	do {                                                                                       \
		(r) = OURS(call);                                                                  \
		if ((r) < 0) {                                                                     \
			ck_assert_int_eq((r), -ENOMEM);                                            \
			(r) = OURS(call);                                                          \
		}                                                                                  \
		ck_assert_int_ge((r), 0);                                                          \
	} while (0)

#define TEXT(s) ((char *)(uintptr_t)(s))

static struct row_service_port port = { .name = TEXT("http"),
					.port = 80,
					.app_protocol = TEXT("") };
static struct row_slice_port slice_port = { .name = TEXT("http"), .port = 8080 };
static struct row_endpoint endpoint[2] = {
	{ .n_addrs = 1,
	  .addr = { .ip = { 10, 0, 0, 1 }, .family = 4 },
	  .ready = true,
	  .zone = TEXT("a"),
	  .node = TEXT("n"),
	  .target = TEXT(""),
	  .host = TEXT("") },
	{ .n_addrs = 1,
	  .addr = { .ip = { 10, 0, 0, 2 }, .family = 4 },
	  .ready = true,
	  .zone = TEXT("b"),
	  .node = TEXT("n"),
	  .target = TEXT(""),
	  .host = TEXT("") },
};
/* Enough of one path for a fork. */
#define HEADER(v) { .name = TEXT("x"), .value = TEXT(v) }
#define MATCH(i)  { .type = ROW_PATH_PREFIX, .path = TEXT("/a"), .n_headers = 1, .headers = &header[i] }
static struct row_pair header[] = { HEADER("1"), HEADER("2"), HEADER("3"), HEADER("4"), HEADER("5"),
				    HEADER("6"), HEADER("7"), HEADER("8"), HEADER("9") };
static struct row_match matches[] = { MATCH(0), MATCH(1), MATCH(2), MATCH(3), MATCH(4), MATCH(5),
				      MATCH(6), MATCH(7), MATCH(8) };
static struct row_backend backend = {
	.ns = TEXT("shop"), .name = TEXT("v2"), .port = 80, .weight = 1
};
static struct row_rule rule = {
	.name = TEXT(""), .n_matches = countof(matches), .matches = matches, .n_backends = 1, .backends = &backend
};
static struct row_parent parent = { .ns = TEXT("shop"), .name = TEXT("web"), .section = TEXT("") };
static struct row service = { .kind = ROW_SERVICE,
			      .ns = TEXT("shop"),
			      .name = TEXT("web"),
			      .service = {
				      .n_ports = 1,
				      .ports = &port,
				      .cluster_ip = { { .ip = { 10, 96, 0, 1 }, .family = 4 } } } };
static struct row slice = { .kind = ROW_SLICE,
			    .ns = TEXT("shop"),
			    .name = TEXT("web-1"),
			    .slice = { .service = TEXT("web"),
				       .family = 4,
				       .n_ports = 1,
				       .ports = &slice_port,
				       .n_endpoints = 2,
				       .endpoints = endpoint } };
static struct row route = {
	.kind = ROW_HTTPROUTE,
	.ns = TEXT("shop"),
	.name = TEXT("r"),
	.route = { .n_parents = 1, .parents = &parent, .n_rules = 1, .rules = &rule }
};

static int set_ns(struct builder *b, int i, uint32_t weight)
{
	char name[16];
	struct unit_namespace u = { .weight = weight };

	u.name = slice_of(name, (size_t)snprintf(name, sizeof name, "n%d", i));
	return builder_set_namespace(b, &u);
}

/* Sealed files are taken by the attempt that fails, so both tries need their own. */
static struct fd copy(struct fd f)
{
	struct fd c = { dup(f.v) };

	ck_assert_int_ge(c.v, 0);
	return c;
}

static struct view *open_base(struct built *f)
{
	struct view *v;
	struct fd one = copy(f->fd), two = copy(f->fd);
	int r = OURS(view_open_base(&one, f->rev, &v));

	if (r == -ENOMEM)
		r = view_open_base(&two, f->rev, &v);
	ck_assert_int_eq(r, 0);
	fd_close(&two);
	fd_close(&f->fd);
	ck_assert_int_eq(view_check_step(v, 1000000), 1);
	return v;
}

static struct view *open_overlay(struct view *on, struct built *f)
{
	struct view *v;
	struct fd one = copy(f->fd), two = copy(f->fd);
	int r = OURS(view_open_overlay(on, &one, f->rev, &v));

	if (r == -ENOMEM)
		r = view_open_overlay(on, &two, f->rev, &v);
	ck_assert_int_eq(r, 0);
	fd_close(&two);
	fd_close(&f->fd);
	return v;
}

/* A base, an overlay on it, a base in the background with changes under way; its dump. */
static char *life(void)
{
	const struct row *const slices[] = { &slice }, *const routes[] = { &route };
	struct unit_service u = { .service = &service,
				  .slices = slices,
				  .n_slices = 1,
				  .routes = routes,
				  .n_routes = 1 };
	struct view *v, *o;
	struct builder *b;
	uint64_t rev = 1;
	struct built f;
	char *text;
	int r;

	TWICE(r, builder_new(SLICE("cluster.local"), &b));
	TWICE(r, builder_set_service(b, &u));
	TWICE(r, builder_commit(b, rev++, &f));
	v = open_base(&f);
	for (int i = 0; i < 270; i++) {
		TWICE(r, set_ns(b, i, 6));
		if (i % 90 == 89) {
			TWICE(r, builder_commit(b, rev++, &f));
			ck_assert(!f.is_base);
			o = open_overlay(v, &f);
			view_unref(v);
			v = o;
		}
	}
	if (!builder_wants_work(b)) { /* the start of it failed, the commit did not */
		TWICE(r, builder_commit(b, rev++, &f));
		fd_close(&f.fd);
		ck_assert(builder_wants_work(b));
	}
	for (int step = 0; step < 100; step++) {
		if (step == 3) {
			TWICE(r, set_ns(b, 0, 9));
			TWICE(r, builder_remove_namespace(b, SLICE("n1")));
			TWICE(r, builder_commit(b, rev++, &f));
			fd_close(&f.fd);
		}
		r = OURS(builder_work(b, 0, &f));
		if (r == 1)
			break;
		ck_assert(r == 0 || r == -ENOMEM);
		if (!builder_wants_work(b)) { /* given up: the next commit starts again */
			TWICE(r, builder_commit(b, rev++, &f));
			fd_close(&f.fd);
			ck_assert(builder_wants_work(b));
		}
	}
	ck_assert_int_eq(r, 1);
	view_unref(v);
	v = open_base(&f);
	ck_assert_uint_eq(view_rev(v), rev - 1);
	builder_free(&b);
	left = -1;
	text = view_text(v);
	view_unref(v);
	while (view_trim())
		;
	return text;
}

START_TEST(any_allocation_may_fail_once)
{
	char *want = life();
	long n, last = 0;

	ck_assert_msg(strstr(want, "backend shop/v2:80") && strstr(want, "namespace n0 "), "%s",
		      want);
	/* The first hundred one by one, where everything happens for the first time; then a sample:
	 * most of the rest are the same two calls of 270 namespaces. */
	for (n = 0;; n += n < 100 ? 1 : 5) {
		char *got;

		left = n;
		fired = false;
		got = life();
		ck_assert_msg(strcmp(got, want) == 0, "after allocation %ld failed", n);
		free(got);
		if (!fired)
			break;
		last = n;
	}
	ck_assert_int_gt(last, 300);
	free(want);
}
END_TEST

UNIT_TESTS("shortage", any_allocation_may_fail_once)
