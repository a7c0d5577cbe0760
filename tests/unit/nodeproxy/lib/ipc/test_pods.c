/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What an operator, or somebody in his place, may call a pod; and the list of them. */
#include "nodeproxy/lib/ipc/pods.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/test.h"

static struct pod_words good(void)
{
	return (struct pod_words){ .name = "web-1.x", .ns = "shop", .account = "default",
				   .netns = "/run/netns/a", .labels = "app=web,a.b/c_d=E" };
}

START_TEST(words_are_names_paths_and_labels_and_nothing_else)
{
	static const struct { const char *name, *ns, *account, *netns, *labels; } bad[] = {
		{ "", NULL, NULL, NULL, NULL }, { "Web", NULL, NULL, NULL, NULL },
		{ "-web", NULL, NULL, NULL, NULL }, { "web-", NULL, NULL, NULL, NULL },
		{ "web.", NULL, NULL, NULL, NULL }, { "we b", NULL, NULL, NULL, NULL },
		{ "we\"b", NULL, NULL, NULL, NULL }, { "../x", NULL, NULL, NULL, NULL },
		{ NULL, "", NULL, NULL, NULL }, { NULL, "a.b", NULL, NULL, NULL },
		{ NULL, NULL, "", NULL, NULL }, { NULL, NULL, "a\n", NULL, NULL },
		{ NULL, NULL, NULL, "", NULL }, { NULL, NULL, NULL, "run/netns/a", NULL },
		{ NULL, NULL, NULL, "/a\nb", NULL }, { NULL, NULL, NULL, NULL, "a" },
		{ NULL, NULL, NULL, NULL, "=b" }, { NULL, NULL, NULL, NULL, "a=b," },
		{ NULL, NULL, NULL, NULL, "a=b;c=d" }, { NULL, NULL, NULL, NULL, "a=\"" },
		{ NULL, NULL, NULL, NULL, "nodeproxy.io/x=y" },
		{ NULL, NULL, NULL, NULL, "a=b,nodeproxy.io/when-away=open" },
		{ NULL, NULL, NULL, NULL, "nodeproxy.io/source-address=" },
		{ NULL, NULL, NULL, NULL, "nodeproxy.io/source-address=owned,a=b" },
	};
	struct pod_words w = good();

	ck_assert_ptr_null(pod_problem(&w, false));
	w.labels[0] = 0;
	ck_assert_ptr_null(pod_problem(&w, false));
	for (size_t i = 0; i < countof(bad); i++) {
		w = good();
		if (bad[i].name)
			snprintf(w.name, sizeof w.name, "%s", bad[i].name);
		if (bad[i].ns)
			snprintf(w.ns, sizeof w.ns, "%s", bad[i].ns);
		if (bad[i].account)
			snprintf(w.account, sizeof w.account, "%s", bad[i].account);
		if (bad[i].netns)
			snprintf(w.netns, sizeof w.netns, "%s", bad[i].netns);
		if (bad[i].labels)
			snprintf(w.labels, sizeof w.labels, "%s", bad[i].labels);
		ck_assert_msg(pod_problem(&w, false) != NULL, "case %zu", i);
		ck_assert_msg((pod_problem(&w, true) != NULL) == (bad[i].name || bad[i].ns || (bad[i].netns && bad[i].netns[0])), "case %zu", i);
	}
}
END_TEST

START_TEST(a_uid_takes_the_place_of_a_namespace)
{
	struct pod_words w = good();

	w.uid = 1000;
	ck_assert_ptr_nonnull(pod_problem(&w, false));		/* both */
	w.netns[0] = 0;
	ck_assert_ptr_null(pod_problem(&w, false));
	w.uid = 0;
	ck_assert_ptr_nonnull(pod_problem(&w, false));		/* neither */
	w.uid = UINT32_MAX;
	ck_assert_ptr_nonnull(pod_problem(&w, false));
	w.uid = 1000;
	w.n_resolvers = 1;
	w.resolver[0] = (struct msg_ip){ .family = 4, .ip = { 10, 0, 0, 1 } };
	ck_assert_ptr_nonnull(pod_problem(&w, false));
	w.n_resolvers = 0;
	snprintf(w.labels, sizeof w.labels, "nodeproxy.io/source-address=own");
	ck_assert_ptr_nonnull(pod_problem(&w, false));
}
END_TEST

START_TEST(a_label_of_a_pod_overrules_its_namespace)
{
	struct ns_modes of_ns = { .of = { [MODE_source_address] = MODE_OWN, [MODE_when_away] = MODE_CLOSED } };
	struct pod_words w = good();
	struct ns_modes m = pod_modes(&w, &of_ns);

	ck_assert(ns_modes_eq(&m, &of_ns));
	snprintf(w.labels, sizeof w.labels, "a=b,nodeproxy.io/source-address=proxy-protocol,c=d");
	ck_assert_ptr_null(pod_problem(&w, false));
	m = pod_modes(&w, &of_ns);
	ck_assert_uint_eq(m.of[MODE_source_address], MODE_PROXY_PROTOCOL);
	ck_assert_uint_eq(m.of[MODE_when_away], MODE_CLOSED);
}
END_TEST

START_TEST(words_without_an_end_are_refused)
{
	struct pod_words w = good();

	memset(w.name, 'a', sizeof w.name);
	ck_assert_ptr_nonnull(pod_problem(&w, true));
	w = good();
	memset(w.ns, 'a', sizeof w.ns);
	ck_assert_ptr_nonnull(pod_problem(&w, true));
	w = good();
	memset(w.account, 'a', sizeof w.account);
	ck_assert_ptr_nonnull(pod_problem(&w, false));
	w = good();
	memset(w.netns, '/', sizeof w.netns);
	ck_assert_ptr_nonnull(pod_problem(&w, false));
	w = good();
	for (size_t i = 0; i < sizeof w.labels; i++)
		w.labels[i] = "a=,"[i % 3];
	ck_assert_ptr_nonnull(pod_problem(&w, false));
}
END_TEST

START_TEST(a_list_has_the_size_that_it_says_and_good_words)
{
	struct pods_page *p = calloc(1, PODS_PAGE_BYTES(2));

	p->magic = PODS_MAGIC;
	p->n = 2;
	p->pod[0].words = p->pod[1].words = good();
	ck_assert_ptr_eq(pods_page(slice_of(p, PODS_PAGE_BYTES(2))), p);
	ck_assert_ptr_null(pods_page(slice_of(p, PODS_PAGE_BYTES(2) - 1)));
	ck_assert_ptr_null(pods_page(slice_of(p, PODS_PAGE_BYTES(1))));
	ck_assert_ptr_null(pods_page(slice_of(p, 3)));
	p->pod[1].words.name[0] = '"';
	ck_assert_ptr_null(pods_page(slice_of(p, PODS_PAGE_BYTES(2))));
	p->n = PODS_MAX + 1;
	ck_assert_ptr_null(pods_page(slice_of(p, PODS_PAGE_BYTES(2))));
	free(p);
}
END_TEST

START_TEST(proofs_have_the_size_that_they_say_and_known_states)
{
	struct proofs_page *p = calloc(1, PROOFS_PAGE_BYTES(2));

	p->magic = PROOFS_MAGIC;
	p->n = 2;
	p->pod[1].ref = 7;
	p->pod[1].state = PROOF_FAILED;
	ck_assert_ptr_eq(proofs_page(slice_of(p, PROOFS_PAGE_BYTES(2))), p);
	ck_assert_ptr_eq(proof_of(p, 7), &p->pod[1]);
	ck_assert_ptr_null(proof_of(p, 8));
	ck_assert_ptr_null(proof_of(NULL, 7));
	ck_assert_ptr_null(proofs_page(slice_of(p, PROOFS_PAGE_BYTES(2) - 1)));
	ck_assert_ptr_null(proofs_page(slice_of(p, PROOFS_PAGE_BYTES(1))));
	ck_assert_ptr_null(proofs_page(slice_of(p, 3)));
	p->pod[0].state = PROOFS;
	ck_assert_ptr_null(proofs_page(slice_of(p, PROOFS_PAGE_BYTES(2))));
	p->pod[0].state = 0;
	p->n = PODS_MAX + 1;
	ck_assert_ptr_null(proofs_page(slice_of(p, PROOFS_PAGE_BYTES(2))));
	p->n = 2;
	p->magic = PODS_MAGIC;
	ck_assert_ptr_null(proofs_page(slice_of(p, PROOFS_PAGE_BYTES(2))));
	free(p);
}
END_TEST

UNIT_TESTS("ipc/pods", proofs_have_the_size_that_they_say_and_known_states, words_are_names_paths_and_labels_and_nothing_else, a_uid_takes_the_place_of_a_namespace,
	   words_without_an_end_are_refused, a_label_of_a_pod_overrules_its_namespace, a_list_has_the_size_that_it_says_and_good_words)
