/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Sides for endpoints in TLS: one per wording of a policy, in places that are not more than so many. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/path_rig.h"
#include "tests/lib/tls_rig.h"
#include "tests/unit/test.h"
#include "workers/path/wrap.h"
#include "workers/pool/pool.h"

#define WORDINGS 600u

static struct rig_cert root;

/* Services t/s0, t/s1, … each with a policy of its own wording, which trusts what the host trusts. */
static struct rig *rig_of(unsigned services)
{
	struct rig *r;
	FILE *f;
	char *text;
	size_t n;

	f = open_memstream(&text, &n);
	ck_assert_ptr_nonnull(f);
	fputs("namespace t slot=3/1\n", f);
	for (unsigned i = 0; i < services; i++)
		fprintf(f, "service t/s%u port=80/main/http\nbackendtls t/p%u target=s%u host=h%u.example system\n", i, i,
			i, i);
	fclose(f);
	r = rig_new(text, NULL);
	root = rig_cert((struct rig_spec){ .cn = "root", .ca = true });
	free(text);
	return r;
}

/* What the host trusts. */
static void trusts(struct rig *r, const struct rig_cert *c)
{
	const struct rig_cert *all[] = { c, NULL };
	struct slice pem = rig_pem(all, NULL);
	struct fd fd = { memfd_create("roots", MFD_CLOEXEC) };

	ck_assert_int_eq(write(fd.v, pem.p, pem.n), (int)pem.n);
	ck_assert_int_eq(lseek(fd.v, 0, SEEK_SET), 0);
	rig_pem_free(&pem);
	wraps_roots(&r->path, &fd);
}

static uint32_t find(struct rig *r, unsigned i)
{
	struct vservice s;
	struct vport port;
	char name[16];

	snprintf(name, sizeof name, "s%u", i);
	ck_assert(view_service_by_name(r->path.view, SLICE("t"), slice_str(name), &s));
	ck_assert(vservice_port(&s, 80, &port));
	clock_tick();
	return wrap_find(&r->path, &port);
}

static unsigned set_of(uint32_t number)
{
	return number % WRAPS / WRAP_WAY;
}

static unsigned sides(const struct rig *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WRAPS; i++)
		n += r->path.wraps.at[i].side != NULL;
	return n;
}

static void finish(struct rig **r)
{
	rig_free(r);
	rig_cert_free(&root);
}

START_TEST(one_wording_has_one_side)
{
	struct rig *r = rig_of(2);
	uint32_t a, b;

	trusts(r, &root);
	rig_view(r, "service t/s9 port=80/main/http\nbackendtls t/p9 target=s9 host=h0.example system\n");
	a = find(r, 0);
	b = find(r, 1);
	ck_assert_uint_ne(a, 0);
	ck_assert_uint_ne(b, 0);
	ck_assert_uint_ne(a, b);
	ck_assert_uint_eq(find(r, 0), a);
	ck_assert_uint_eq(find(r, 9), a);	/* of another policy, and the same in all that matters */
	ck_assert_uint_eq(sides(r), 2);
	/* It says something else. */
	rig_view(r, "backendtls t/p9 target=s9 host=h0.example dns=a.example system\n");
	b = find(r, 9);
	ck_assert_uint_ne(b, a);
	rig_view(r, "backendtls t/p9 target=s9 host=h0.example uri=a.example system\n");
	ck_assert_uint_ne(find(r, 9), b);
	ck_assert_uint_eq(find(r, 0), a);
	finish(&r);
}
END_TEST

START_TEST(the_one_not_used_for_longest_makes_room)
{
	struct rig *r = rig_of(WORDINGS);
	struct rig_pipe pipe = { .p = malloc(RIG_PIPE), .most = RIG_PIPE };
	struct rig_far far = { &pipe, &pipe, 0 };
	struct tenant t = { .memory = { .limit = 1u << 24 } };
	struct stream on_old = rig_stream(&far), late = rig_stream(&far);
	struct back_key key = { 0 };
	unsigned at[WRAP_WAY + 1], n = 1, i = 1;
	uint32_t number[WRAP_WAY + 1], again;

	trusts(r, &root);
	at[0] = 0;
	number[0] = find(r, 0);
	for (; n < WRAP_WAY; i++) {
		ck_assert_uint_lt(i, WORDINGS);
		number[n] = find(r, i);
		if (set_of(number[n]) == set_of(number[0]))
			at[n++] = i;
	}
	/* All its places are taken; nobody had to go. */
	for (unsigned k = 0; k < WRAP_WAY; k++)
		ck_assert_uint_eq(find(r, at[k]), number[k]);
	key.tls = number[1];
	ck_assert_int_eq(wrap_begin(&r->path, &key, &t, WRAP_HTTP1, &on_old), 0);
	ck_assert(wrap_is_on(&on_old));
	/* The first is in use, so the second goes. */
	ck_assert_uint_eq(find(r, at[0]), number[0]);
	do {
		ck_assert_uint_lt(i, WORDINGS);
		again = find(r, i++);
	} while (set_of(again) != set_of(number[0]));
	ck_assert_uint_eq(again % WRAPS, number[1] % WRAPS);
	ck_assert_uint_ne(again, number[1]);
	for (unsigned k = 0; k < WRAP_WAY; k++)
		if (k != 1)
			ck_assert_uint_eq(find(r, at[k]), number[k]);
	/* Nothing that was found before goes by the side that is there now. */
	ck_assert_int_eq(wrap_begin(&r->path, &key, &t, WRAP_HTTP1, &late), -ESTALE);
	ck_assert(!wrap_is_on(&late));
	/* It comes back, as another; a connection goes on with what it has. */
	again = find(r, at[1]);
	ck_assert_uint_ne(again, 0);
	ck_assert_uint_ne(again, number[1]);
	stream_close(&on_old, true);
	ck_assert_uint_eq(t.memory.used, 0);
	/* There are never more. */
	for (i = 0; i < WORDINGS; i++)
		ck_assert_uint_ne(find(r, i), 0);
	ck_assert_uint_eq(sides(r), WRAPS);
	free(pipe.p);
	finish(&r);
}
END_TEST

START_TEST(nobody_is_trusted_until_the_host_trusts_somebody)
{
	struct rig *r = rig_of(1);
	uint32_t made, first, second;

	ck_assert_uint_eq(find(r, 0), 0);
	made = r->path.wraps.made;
	ck_assert_uint_eq(find(r, 0), 0);
	ck_assert_uint_eq(r->path.wraps.made, made);	/* that is known, and not tried at each request */
	trusts(r, &root);
	first = find(r, 0);
	ck_assert_uint_ne(first, 0);
	trusts(r, &root);
	second = find(r, 0);
	ck_assert_uint_ne(second, 0);
	ck_assert_uint_ne(second, first);
	finish(&r);
}
END_TEST

UNIT_TESTS("wrap", one_wording_has_one_side, the_one_not_used_for_longest_makes_room,
	   nobody_is_trusted_until_the_host_trusts_somebody)
