/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What identities are made of, as it comes from files and from others: the first byte says which of file
 * (certificate chain and key), request for a certificate, roots and revocation lists, list of who is here, and
 * the file of all certificates the rest is.  What is accepted can be printed and is then the same. */
#include "tests/fuzz/replay.h"

#include <openssl/mem.h>
#include <stdlib.h>

#include "nodeproxy/keyd/identities.h"
#include "nodeproxy/keyd/roots.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/keyfile.h"
#include "nodeproxy/lib/net/mint.h"

#define URI "spiffe://mesh.example/ns/shop/sa/web"

static void a_pair(struct slice s)
{
	static char text[1 << 20], again_text[1 << 20];
	struct issue w = { .uri = URI };
	struct strbuf b = strbuf_on(text, sizeof text), c = strbuf_on(again_text, sizeof again_text);
	struct pair p = { .key = NULL }, again = { .key = NULL };
	char words[PAIR_WORDS];

	if (pair_chain(&p, s, false, "x", words) == 0 && pair_key(&p, s, SLICE("words"), "x", words) == 0 &&
	    pair_print(&p, &b) == 0) {
		must(pair_chain(&again, strbuf_slice(&b), false, "x", words) == 0);
		must(pair_key(&again, strbuf_slice(&b), slice_of(NULL, 0), "x", words) == 0);
		must(again.leaf.key == p.leaf.key && pair_print(&again, &c) == 0);
		must(slice_eq(strbuf_slice(&b), strbuf_slice(&c)));
		(void)!issuer_check(&w, &p, words);
	} else {
		must(words[0]);
	}
	pair_free(&p);
	pair_free(&again);
}

static void a_request(struct slice s)
{
	EVP_PKEY *key = NULL;

	if (mint_request_key(s, URI, &key) == 0)
		EVP_PKEY_free(key);
}

static void a_bundle(struct slice s)
{
	char words[PAIR_WORDS];

	if (roots_check(s, ROOTS_WANTED, "x", words) < 0)
		must(words[0]);
	if (roots_check(s, LISTS_WANTED, "x", words) < 0)
		must(words[0]);
}

static void a_list(struct slice s)
{
	struct identities here;
	struct fd none = FD_NONE;
	uint64_t *at = malloc(s.n + 8);		/* a mapping is aligned */

	memcpy(at, s.p, s.n);
	must(identities_init(&here, &none) == 0);
	if (identities_here(&here, slice_of(at, s.n), 1800000000) == 0)
		(void)identities_step(&here, 1800000000, 4);
	identities_fini(&here);
	free(at);
}

static void a_page(struct slice s)
{
	uint64_t *at = malloc(s.n + 8);
	const struct certs *c = (const void *)at;
	uint8_t sum = 0;

	memcpy(at, s.p, s.n);
	if (certs_check(slice_of(at, s.n)) == 0) {
		for (uint32_t i = 0; i < c->identities; i++) {
			const struct certs_identity *one = &certs_identities(c)[i];

			must(certs_identity_of(c, one->ns, one->account));
			for (uint32_t k = 0; k < one->leaves; k++)
				for (uint32_t j = 0; j < one->leaf[k].chain_n; j++)
					sum ^= certs_bytes(c, one->leaf[k].chain[j]).p[0];
		}
		for (uint32_t i = 0; i < c->bundles; i++)
			sum ^= certs_bytes(c, certs_bundles(c)[i].pem).p[0];
		__asm__ volatile("" ::"r"(sum));
	}
	free(at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(struct slice) = { a_pair, a_request, a_bundle, a_list, a_page };

	log_level = LOG_ERROR;
	if (size)
		what[data[0] % countof(what)](slice_of(data + 1, size - 1));
	return 0;
}
