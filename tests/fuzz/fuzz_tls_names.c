/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is read before or beside TLS: the first byte says which of ClientHello, name (SPIFFE identity,
 * server name), PEM and trust file, certificate the rest is. */
#include "tests/fuzz/replay.h"

#include <openssl/pool.h>

#include "nodeproxy/lib/net/pem.h"
#include "nodeproxy/lib/net/server_name.h"
#include "nodeproxy/lib/net/spiffe.h"
#include "nodeproxy/lib/net/tls_hello.h"
#include "nodeproxy/lib/net/tls_trust.h"

static void a_name(struct slice s)
{
	char path[SERVER_NAME_PATH], name[SERVER_NAME_PATH], again[SERVER_NAME_PATH];
	int n = server_name_path(s, true, path);

	if (n < 0)
		return;
	must(path[0] == '/' && strlen(path) == (size_t)n && n < (int)SERVER_NAME_PATH);
	server_name_of_path(slice_of(path, (size_t)n), name);
	must(server_name_path(slice_str(name), true, again) == n && strcmp(again, path) == 0);
}

static void a_hello(struct slice s)
{
	static uint8_t room[TLS_HELLO_MAX];
	struct tls_hello all, some;
	int r = tls_hello(s, room, &all);

	must(r != 1 || all.server_name.n < 256);
	if (r == 1)
		a_name(all.server_name);
	for (size_t n = 0; n < min_of(s.n, (size_t)600); n++) {
		int k = tls_hello(slice_of(s.p, n), room, &some);

		must(k == 0 || k == r);
	}
}

static void an_identity(struct slice s)
{
	char out[SPIFFE_MAX];
	struct spiffe id;

	if (spiffe_parse(s, &id) < 0)
		return;
	must(spiffe_print(&id, out) == (int)s.n && memcmp(out, s.p, s.n) == 0);
}

static void a_file(struct slice s)
{
	static uint8_t out[PEM_MAX];
	struct slice text = s, label;
	struct tls_trust *t;
	const char *why;
	size_t n;

	while (pem_next(&text, &label, out, 1 + s.n % 3000, &n) == 1)
		must(n > 0 && n <= 1 + s.n % 3000 && label.n < 128);
	if (tls_trust_new(s, &t, &why) == 0)
		tls_trust_unref(&t);
	else
		must(why != NULL);
}

static void a_certificate(struct slice s)
{
	STACK_OF(CRYPTO_BUFFER) *chain = sk_CRYPTO_BUFFER_new_null();
	CRYPTO_BUFFER *b = CRYPTO_BUFFER_new(s.p, s.n, NULL);
	char out[SPIFFE_MAX];
	struct spiffe id;
	int n = tls_identity(s, out);

	must(n < 0 || spiffe_parse(slice_of(out, (size_t)n), &id) == 0);
	must(n < 0 || tls_trust_rule(b, TLS_RULE_IDENTITY, out) == TLS_FAULT_NONE);
	(void)!tls_trust_rule(b, TLS_RULE_HOST, "shop.example");
	sk_CRYPTO_BUFFER_push(chain, b);
	sk_CRYPTO_BUFFER_pop_free(chain, CRYPTO_BUFFER_free);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = slice_of(data, size);

	if (size == 0)
		return 0;
	s = slice_from(s, 1);
	switch (data[0] % 4) {
	case 0:
		a_hello(s);
		break;
	case 1:
		an_identity(s);
		a_name(s);
		break;
	case 2:
		a_file(s);
		break;
	default:
		a_certificate(s);
		break;
	}
	return 0;
}
