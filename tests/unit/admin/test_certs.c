/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What operators see of certificates: get certs, check and /metrics, long before one ends. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "admin/metrics.h"
#include "tests/lib/admin_state.h"

#define HOUR 3600

/* Two identities and a listener with files. */
static _Alignas(8) uint8_t bytes[sizeof(struct certs) + sizeof(struct certs_entry) +
				 2 * sizeof(struct certs_identity) + sizeof(struct certs_bundle)];
static struct certs *head = (void *)bytes;
static struct certs_entry *front;
static struct certs_identity *web, *pay;
static struct certs_bundle *bundle;

static struct state st;
static struct admin_pages *pages;
static int64_t now_s;

static struct certs_leaf leaf(uint32_t kind, int64_t from_s, int64_t to_s)
{
	return (struct certs_leaf){ .key = 1, .kind = kind, .from_unix_s = now_s + from_s, .to_unix_s = now_s + to_s };
}

static void begin(void)
{
	pages = admin_state_new(&st);
	now_s = clock_unix_ms() / 1000;
	memset(bytes, 0, sizeof bytes);
	front = &head->at[0];
	web = (void *)(front + 1);
	pay = web + 1;
	bundle = (void *)(pay + 1);
	*head = (struct certs){ .magic = CERTS_MAGIC, .bytes = sizeof bytes, .n = 1, .identities = 2, .bundles = 1,
				    .issuer = { .kind = CERTS_ISSUER_NODE_CA, .from_unix_s = now_s - 40 * 24 * HOUR,
						.to_unix_s = now_s + 60 * 24 * HOUR, .trust_domain = "mesh.example" },
				    .refused = { [SIGN_NO_KEY] = 3 } };
	*front = (struct certs_entry){ .listener = "front", .names = "shop.example",
					   .leaf = leaf(CERT_KEY_RSA, -10 * 24 * HOUR, 50 * 24 * HOUR) };
	*web = (struct certs_identity){ .ns = "shop", .account = "web", .state = IDENTITY_VALID, .leaves = 2,
					    .renew_unix_s = now_s + 11 * HOUR, .renewals = 4 };
	web->leaf[0] = leaf(CERT_KEY_ED25519, -HOUR, 23 * HOUR);
	web->leaf[1] = leaf(CERT_KEY_P256, -HOUR, 22 * HOUR);
	*pay = *web;
	snprintf(pay->account, sizeof pay->account, "pay");
	snprintf(bundle->trust_domain, sizeof bundle->trust_domain, "mesh.example");
	ck_assert_ptr_eq(certs_identities(head), web);
	ck_assert_ptr_eq(certs_bundles(head), bundle);
	st.certs = head;
	pages->knobs.identity_lifetime_ms = 24 * HOUR * 1000;
}

static void end(void)
{
	st.certs = NULL;
	admin_state_free(&st, &pages);
}

static json_t *get(const char *target)
{
	int status;
	json_t *o = admin_ask(&st, "GET", target, "", 0, &status, NULL);

	ck_assert_int_eq(status, 200);
	return o;
}

/* "" or how bad. */
static const char *check(const char *name)
{
	static char said[16];
	json_t *o = get("/v1/check");
	const json_t *f;
	size_t i;

	said[0] = 0;
	json_array_foreach(json_object_get(o, "findings"), i, f)
		if (strcmp(jget_str(f, "check"), name) == 0)
			snprintf(said, sizeof said, "%s", jget_str(f, "severity"));
	json_decref(o);
	return said;
}

START_TEST(each_certificate_is_listed_with_its_end)
{
	const json_t *all, *c;
	json_t *o;

	begin();
	pay->leaves = 0;
	pay->state = IDENTITY_WAITING;
	snprintf(pay->problem, sizeof pay->problem, "no issuer");
	o = get("/v1/certs");
	ck_assert_str_eq(jget_str(o, "issuer"), "node-ca");
	ck_assert_str_eq(jget_str(o, "trust_domain"), "mesh.example");
	all = json_object_get(o, "certs");
	ck_assert_uint_eq(json_array_size(all), 4);
	c = json_array_get(all, 0);
	ck_assert_str_eq(jget_str(c, "kind"), "issuer");
	ck_assert_str_eq(jget_str(c, "state"), "valid");
	ck_assert_uint_eq(jget_u64(c, "to_unix_ms"), (uint64_t)(now_s + 60 * 24 * HOUR) * 1000);
	c = json_array_get(all, 1);
	ck_assert_str_eq(jget_str(c, "name"), "spiffe://mesh.example/ns/shop/sa/web");
	ck_assert_uint_eq(json_array_size(json_object_get(c, "keys")), 2);
	ck_assert_uint_eq(jget_u64(c, "to_unix_ms"), (uint64_t)(now_s + 22 * HOUR) * 1000);	/* the first end */
	ck_assert_uint_eq(jget_u64(c, "renew_unix_ms"), (uint64_t)(now_s + 11 * HOUR) * 1000);
	ck_assert_uint_eq(jget_u64(c, "renewals_total"), 4);
	c = json_array_get(all, 2);
	ck_assert_str_eq(jget_str(c, "state"), "waiting");
	ck_assert_str_eq(jget_str(c, "problem"), "no issuer");
	ck_assert_ptr_null(json_object_get(c, "to_unix_ms"));
	c = json_array_get(all, 3);
	ck_assert_str_eq(jget_str(c, "kind"), "listener");
	ck_assert_str_eq(jget_str(c, "name"), "front");
	json_decref(o);
	web->leaf[1].to_unix_s = now_s - 1;		/* it has ended since the key process told of it */
	o = get("/v1/certs");
	ck_assert_str_eq(jget_str(json_array_get(json_object_get(o, "certs"), 1), "state"), "expired");
	json_decref(o);
	st.certs = NULL;
	o = get("/v1/certs");
	ck_assert_uint_eq(json_array_size(json_object_get(o, "certs")), 0);
	json_decref(o);
	end();
}
END_TEST

START_TEST(a_finding_comes_long_before_it_hurts)
{
	struct certs_issuer fine;
	struct certs_identity well;

#define COMES_AND_GOES(name, severity, bad, fine_again) do {						\
	ck_assert_msg(check(#name)[0] == 0, #name " without a reason");				\
	bad;											\
	ck_assert_str_eq(check(#name), severity);						\
	fine_again;										\
	ck_assert_msg(check(#name)[0] == 0, #name " stays");					\
} while (0)
#define IDENTITY(name, severity, bad) COMES_AND_GOES(name, severity, bad, *web = well)
#define ISSUER(name, severity, bad) COMES_AND_GOES(name, severity, bad, head->issuer = fine)
	begin();
	fine = head->issuer;
	well = *web;
	IDENTITY(identity_missing, "error", web->leaves = 0);
	IDENTITY(identity_overdue, "warning", web->failures = 2);
	IDENTITY(identity_expires, "error", web->leaf[1] = leaf(CERT_KEY_P256, -19 * HOUR, 5 * HOUR));
	IDENTITY(identity_expired, "error", web->leaf[1] = leaf(CERT_KEY_P256, -25 * HOUR, -HOUR));
	IDENTITY(identity_clock, "error", web->leaf[0] = leaf(CERT_KEY_ED25519, 60, 24 * HOUR));
	ISSUER(identity_clock, "error", head->issuer.from_unix_s = now_s + 60);
	ISSUER(issuer_refused, "warning", snprintf(head->issuer.problem, CERTS_WORDS, "identity.bundle: x"));
	ISSUER(issuer_missing, "error", head->issuer.to_unix_s = 0);
	ISSUER(issuer_expired, "error", head->issuer.to_unix_s = now_s - 1);
	ISSUER(issuer_ends, "error", head->issuer.to_unix_s = now_s + 4 * 24 * HOUR);
	ISSUER(issuer_expires, "warning", head->issuer.to_unix_s = now_s + 12 * 24 * HOUR);
	/* one of hours: its leaves live as long as it does, and that is no reason */
	ISSUER(issuer_ends, "error", (head->issuer.from_unix_s = now_s - 10 * HOUR, head->issuer.to_unix_s = now_s + 3 * HOUR));
	head->issuer.from_unix_s = now_s;
	head->issuer.to_unix_s = now_s + 12 * HOUR;
	ck_assert_str_eq(check("issuer_ends"), "");
	head->issuer = (struct certs_issuer){ .kind = CERTS_ISSUER_FILES };
	ck_assert_str_eq(check("issuer_missing"), "");
	end();
}
END_TEST

START_TEST(a_listener_shows_what_its_identity_has)
{
	json_t *o;
	const json_t *l;

	begin();
	snprintf(pages->knobs.listener[0].name, 64, "front");
	pages->knobs.n_listeners = 1;
	pages->knobs.listener[0].tls = TLS_TERMINATE;
	snprintf(pages->knobs.listener[0].tls_identity, 128, "shop/web");
	snprintf(pages->knobs.listener[0].tls_ns, 64, "shop");
	snprintf(pages->knobs.listener[0].tls_account, 64, "web");
	o = get("/v1/listeners");
	l = json_array_get(json_object_get(o, "listeners"), 0);
	ck_assert_str_eq(jget_str(l, "certificate_names"), "spiffe://mesh.example/ns/shop/sa/web");
	ck_assert_str_eq(jget_str(l, "certificate_key"), "Ed25519");
	json_decref(o);
	ck_assert_str_eq(check("certificate_missing"), "");
	snprintf(pages->knobs.listener[0].tls_account, 64, "other");
	ck_assert_str_eq(check("certificate_missing"), "error");
	end();
}
END_TEST

START_TEST(metrics_say_how_long_there_is_left)
{
	static const char *const has[] = {
		"nodeproxy_certificate_expiry_seconds{kind=\"listener\",name=\"front\"} 43",
		"nodeproxy_certificate_expiry_seconds{kind=\"identity\",name=\"shop/web\"} 79",
		"nodeproxy_certificate_expiry_seconds{kind=\"identity\",name=\"shop/pay\"} -",
		"nodeproxy_certificate_expiry_seconds{kind=\"issuer\",name=\"mesh.example\"} 518",
		"nodeproxy_identities{state=\"valid\"} 1\n", "nodeproxy_identities{state=\"expired\"} 1\n",
		"nodeproxy_identity_renewals_total{namespace=\"shop\",account=\"web\"} 4\n",
		"nodeproxy_identity_failures{namespace=\"shop\",account=\"pay\"} 7\n",
		"nodeproxy_key_refusals_total{why=\"no_key\"} 3\n", "nodeproxy_key_refusals_total{why=\"tls12\"} 0\n",
	};
	struct text t;

	begin();
	pay->failures = 7;
	pay->leaf[0] = leaf(CERT_KEY_ED25519, -25 * HOUR, -HOUR);
	st.now_unix_ms = now_s * 1000;
	t = text_of(1 << 20);
	metrics_text(&st, &t);
	for (size_t i = 0; i < countof(has); i++)
		ck_assert_msg(strstr(t.p, has[i]) != NULL, "missing: %s", has[i]);
	text_fini(&t);
	end();
}
END_TEST

UNIT_TESTS("certs", each_certificate_is_listed_with_its_end, a_finding_comes_long_before_it_hurts,
	   a_listener_shows_what_its_identity_has, metrics_say_how_long_there_is_left)
