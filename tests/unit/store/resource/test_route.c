/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTPRoute, GRPCRoute, TLSRoute, TCPRoute and ReferenceGrant: rows from good ones; each limit and each form of
 * the Gateway API by line, field and reason. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "store/resource/resource.h"

static struct row *row;
static struct refusal *no;

static void read_one(const char *yaml)
{
	struct resource_reader r;

	row_free(&row);
	refusal_free(&no);
	resource_reader_init(&r, "f.yaml", slice_str(yaml));
	ck_assert_int_eq(resource_next(&r, &row, &no), 1);
}

static const struct row *accepted(const char *yaml)
{
	char text[1024];

	read_one(yaml);
	ck_assert_msg(row != NULL, "%.500s: %s", yaml, no ? refusal_text(no, text, sizeof text) : "?");
	return row;
}

static void done(void)
{
	row_free(&row);
	refusal_free(&no);
}

#define TOP(kind)                                                                                  \
	"apiVersion: gateway.networking.k8s.io/v1\nkind: " kind "\n"                               \
	"metadata: {name: r, namespace: shop, generation: 7}\nspec:\n"
#define PARENT "  parentRefs: [{group: \"\", kind: Service, name: web}]\n"
#define HTTP   TOP("HTTPRoute") PARENT "  rules:\n"
#define GRPC   TOP("GRPCRoute") PARENT "  rules:\n"
#define TCP    TOP("TCPRoute") PARENT "  rules:\n"
#define TLS    TOP("TLSRoute") PARENT "  rules: [{backendRefs: [{name: a, port: 1}]}]\n  hostnames: "
#define MATCH  HTTP "  - matches:\n    - "
#define CALL   GRPC "  - matches:\n    - "
#define M      "spec.rules[0].matches[0]."
#define LATER  "RegularExpression is not supported by this release: only Exact"
#define TOKEN  "must be letters, digits and !#$%&'*+-.^_`|~, not "

START_TEST(every_refusal_of_a_route_names_line_field_and_reason)
{
	static const struct {
		const char *yaml;
		uint32_t line;
		const char *field, *reason;
	} t[] = {
		{ MATCH "headers: [{type: RegularExpression, name: a, value: b}]\n", 8, M "headers[0].type", LATER },
		{ MATCH "headers: [{type: Prefix, name: a, value: b}]\n", 8, M "headers[0].type", "must be Exact, not \"Prefix\"" },
		{ MATCH "headers: [{value: b}]\n", 8, M "headers[0].name", "is required: its name, in any case; once in a match (of two that differ in case only the first counts). host is also what HTTP/2 calls :authority" },
		{ MATCH "headers: [{name: a}]\n", 8, M "headers[0].value", "is required: its whole value; of several lines with the name all values, joined by commas without blanks" },
		{ MATCH "headers: [{name: a, value: \"\"}]\n", 8, M "headers[0].value", "must not be empty" },
		{ MATCH "headers: [{name: \"\", value: b}]\n", 8, M "headers[0].name", "must not be empty" },
		{ MATCH "headers: [{name: \"a:b\", value: b}]\n", 8, M "headers[0].name", TOKEN "\"a:b\"" },
		{ MATCH "headers: [{name: \":path\", value: b}]\n", 8, M "headers[0].name", TOKEN "\":path\"" },
		{ MATCH "headers: [{name: \"a\", value: \"b\\r\\nc\"}]\n", 8, M "headers[0].value", "must not have control characters, not \"b??c\"" },
		{ MATCH "headers: [{name: a, value: b}, {name: b, value: c}, {name: a, value: c}]\n", 8, M "headers[2].name", "a is there twice" },
		{ MATCH "queryParams: [{type: RegularExpression, name: a, value: b}]\n", 8, M "queryParams[0].type", LATER },
		{ MATCH "queryParams: [{name: \"a b\", value: b}]\n", 8, M "queryParams[0].name", TOKEN "\"a b\"" },
		{ MATCH "queryParams: [{name: a, value: \"\"}]\n", 8, M "queryParams[0].value", "must not be empty" },
		{ MATCH "queryParams: [{name: a, value: b}, {name: a, value: b}]\n", 8, M "queryParams[1].name", "a is there twice" },
		{ MATCH "method: get\n", 8, M "method", "must be GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH, not \"get\"" },
		{ MATCH "path: {type: RegularExpression, value: /a}\n", 8, M "path.type", "RegularExpression is not supported by this release: only PathPrefix or Exact" },
		{ TOP("HTTPRoute") PARENT "  hostnames: [\"*.*.a\"]\n", 6, "spec.hostnames[0]", "must be lower-case letters, digits, - and ., perhaps with *. before them, not \"*.*.a\"" },
		{ TOP("HTTPRoute") PARENT "  useDefaultGateways: All\n", 6, "spec.useDefaultGateways", "not supported by this release (is about gateways)" },
		{ HTTP "  - backendRefs: [{name: a.b, port: 1}]\n", 7, "spec.rules[0].backendRefs[0].name", "must be the name of a Service, not \"a.b\"" },
		{ HTTP "  - backendRefs: [{name: a}]\n", 7, "spec.rules[0].backendRefs[0].port", "is required: port of the Service, not of its endpoints" },
		{ GRPC "  - timeouts: {}\n", 7, "spec.rules[0].timeouts", "unknown field" },
		{ CALL "method: {}\n", 8, M "method", "needs a service or a method" },
		{ CALL "method: {type: Exact}\n", 8, M "method", "needs a service or a method" },
		{ CALL "method: {type: RegularExpression, service: a.*}\n", 8, M "method.type", LATER },
		{ CALL "method: {service: a..b}\n", 8, M "method.service", "must be names of letters, digits and _ with dots between them, not \"a..b\"" },
		{ CALL "method: {service: a/b}\n", 8, M "method.service", "must be names of letters, digits and _ with dots between them, not \"a/b\"" },
		{ CALL "method: {service: a.1}\n", 8, M "method.service", "must be names of letters, digits and _ with dots between them, not \"a.1\"" },
		{ CALL "method: {method: a.b}\n", 8, M "method.method", "must be letters, digits and _, not starting with a digit, not \"a.b\"" },
		{ CALL "method: {method: 1}\n", 8, M "method.method", "must be text: write \"1\" in quotes" },
		{ CALL "headers: [{type: RegularExpression, name: a, value: b}]\n", 8, M "headers[0].type", LATER },
		{ CALL "path: {value: /a}\n", 8, M "path", "unknown field" },
		{ TOP("TCPRoute") PARENT, 4, "spec.rules", "is required: the one rule" },
		{ TCP "  - {backendRefs: [{name: a, port: 1}]}\n  - {backendRefs: [{name: a, port: 1}]}\n", 6, "spec.rules", "must have at most 1 entries, not 2" },
		{ TCP "  - {name: a}\n", 7, "spec.rules[0].backendRefs", "is required: where its connections go, shared out by weight" },
		{ TCP "  - {backendRefs: []}\n", 7, "spec.rules[0].backendRefs", "must have at least 1 entry" },
		{ TCP "  - matches: []\n", 7, "spec.rules[0].matches", "unknown field" },
		{ TCP "  - {backendRefs: [{name: a, port: 1, filters: []}]}\n", 7, "spec.rules[0].backendRefs[0].filters", "unknown field" },
		{ TOP("TLSRoute") PARENT "  rules: [{backendRefs: [{name: a, port: 1}]}]\n", 4, "spec.hostnames", "is required: the server names that it is about; *.a.b matches names of any number of labels below a.b, not a.b itself. Addresses are refused: nobody sends them as a name" },
		{ TLS "[]\n", 7, "spec.hostnames", "must have at least 1 entry" },
		{ TLS "[a, \"10.0.0.1\"]\n", 7, "spec.hostnames[1]", "must be a name, not \"10.0.0.1\"" },
		{ TLS "[\"a.*\"]\n", 7, "spec.hostnames[0]", "must be lower-case letters, digits, - and ., perhaps with *. before them, not \"a.*\"" },
		{ TOP("TLSRoute") PARENT "  hostnames: [a]\n", 4, "spec.rules", "is required: the one rule" },
		{ TOP("ReferenceGrant") "  from: [{group: a, kind: b, namespace: c}]\n", 4, "spec.to", "is required: objects of the grant's namespace; only Services have an effect" },
		{ TOP("ReferenceGrant") "  from: []\n  to: []\n", 5, "spec.from", "must have at least 1 entry" },
		{ TOP("ReferenceGrant") "  from: [{group: a, kind: b}]\n", 5, "spec.from[0].namespace", "is required: namespace of the routes" },
		{ TOP("ReferenceGrant") "  from: [{group: a, kind: b, namespace: c}]\n  to: [{kind: Service}]\n", 6, "spec.to[0].group", "is required: \"\", the group of Service" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		read_one(t[i].yaml);
		ck_assert_msg(no != NULL, "accepted: %s", t[i].yaml);
		ck_assert_msg(strcmp(no->field, t[i].field) == 0 && strcmp(no->reason, t[i].reason) == 0,
			      "%s\n is: %s: %s\nnot: %s: %s", t[i].yaml, no->field, no->reason, t[i].field,
			      t[i].reason);
		ck_assert_msg(no->line == t[i].line, "%s: line %u", t[i].yaml, no->line);
		ck_assert_int_eq(no->generation, 7);
	}
	done();
}
END_TEST

/* n times `one`, of which each has its number, between `before` and `after`. */
static const char *many(const char *before, const char *one, unsigned n, const char *after)
{
	static char text[65536];
	size_t at = (size_t)snprintf(text, sizeof text, "%s", before);

	for (unsigned i = 0; i < n; i++) {
		const char *hash = strchr(one, '#');

		at += (size_t)snprintf(text + at, sizeof text - at, "%.*s%u%s",
				       (int)(hash ? hash - one : (int)strlen(one)), one, i,
				       hash ? hash + 1 : "");
	}
	snprintf(text + at, sizeof text - at, "%s", after);
	return text;
}

START_TEST(as_many_as_the_api_allows_and_no_more)
{
	static const struct {
		const char *before, *one, *after;
		unsigned most;
		const char *field;
	} t[] = {
		{ TOP("HTTPRoute") "  parentRefs:\n", "  - {group: \"\", kind: Service, name: w#}\n", "", 32, "spec.parentRefs" },
		{ TOP("HTTPRoute") PARENT "  hostnames:\n", "  - a#.b\n", "", 16, "spec.hostnames" },
		{ HTTP, "  - {name: r#}\n", "", 16, "spec.rules" },
		{ HTTP "  - matches:\n", "    - {path: {value: /a#}}\n", "", 64, "spec.rules[0].matches" },
		{ HTTP "  - backendRefs:\n", "    - {name: a#, port: 1}\n", "", 16, "spec.rules[0].backendRefs" },
		{ MATCH "headers:\n", "      - {name: a#, value: b}\n", "", 16, M "headers" },
		{ MATCH "queryParams:\n", "      - {name: a#, value: b}\n", "", 16, M "queryParams" },
		{ GRPC, "  - {name: r#}\n", "", 16, "spec.rules" },
		{ GRPC "  - matches:\n", "    - {method: {service: a#}}\n", "", 64, "spec.rules[0].matches" },
		{ GRPC "  - backendRefs:\n", "    - {name: a#, port: 1}\n", "", 16, "spec.rules[0].backendRefs" },
		{ CALL "headers:\n", "      - {name: a#, value: b}\n", "", 16, M "headers" },
		{ TCP "  - backendRefs:\n", "    - {name: a#, port: 1}\n", "", 16, "spec.rules[0].backendRefs" },
		{ TOP("ReferenceGrant") "  from:\n", "  - {group: a, kind: b, namespace: c#}\n", "  to: [{group: \"\", kind: Service}]\n", 16, "spec.from" },
		{ TOP("ReferenceGrant") "  from: [{group: a, kind: b, namespace: c}]\n  to:\n", "  - {group: \"\", kind: Service, name: a#}\n", "", 16, "spec.to" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char reason[64];

		accepted(many(t[i].before, t[i].one, t[i].most, t[i].after));
		read_one(many(t[i].before, t[i].one, t[i].most + 1, t[i].after));
		ck_assert_msg(no != NULL, "%s", t[i].field);
		ck_assert_str_eq(no->field, t[i].field);
		snprintf(reason, sizeof reason, "must have at most %u entries, not %u", t[i].most,
			 t[i].most + 1);
		ck_assert_str_eq(no->reason, reason);
	}
	done();
}
END_TEST

START_TEST(a_whole_route_has_at_most_128_matches)
{
	char first[32768];

	snprintf(first, sizeof first, "%s",
		 many(GRPC "  - matches:\n", "    - {method: {service: a#}}\n", 64, "  - matches:\n"));
	snprintf(first, sizeof first, "%s",
		 many(first, "    - {method: {service: b#}}\n", 64, ""));
	ck_assert_uint_eq(accepted(first)->route.rules[1].n_matches, 64);
	read_one(many(first, "  - matches: [{method: {service: c#}}]\n", 1, ""));
	ck_assert_ptr_nonnull(no);
	ck_assert_str_eq(no->field, "spec.rules[2].matches");
	ck_assert_str_eq(no->reason, "more than 128 matches in the whole route");
	done();
}
END_TEST

START_TEST(texts_are_as_long_as_the_api_allows)
{
	static const struct {
		const char *before, *after;
		unsigned most;
	} t[] = {
		{ MATCH "headers: [{value: b, name: ", "}]\n", 256 },
		{ MATCH "headers: [{name: b, value: ", "}]\n", 4096 },
		{ MATCH "queryParams: [{value: b, name: ", "}]\n", 256 },
		{ MATCH "queryParams: [{name: b, value: ", "}]\n", 1024 },
		{ MATCH "path: {value: /", "}\n", 1023 },
		{ CALL "method: {service: ", "}\n", 1024 },
		{ CALL "method: {method: ", "}\n", 1024 },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char text[8192], longs[4200];

		memset(longs, 'a', sizeof longs);
		snprintf(text, sizeof text, "%s%.*s%s", t[i].before, (int)t[i].most, longs, t[i].after);
		accepted(text);
		snprintf(text, sizeof text, "%s%.*s%s", t[i].before, (int)t[i].most + 1, longs, t[i].after);
		read_one(text);
		ck_assert_msg(no && strstr(no->reason, "must be at most"), "row %zu", i);
	}
	done();
}
END_TEST

START_TEST(conditions_become_rows)
{
	const struct row *r = accepted(
		TOP("HTTPRoute") PARENT
		"  hostnames: [a.example, \"*.b\"]\n  rules:\n  - matches:\n"
		"    - method: PUT\n"
		"      headers: [{name: X-A, value: One}, {name: x-a, value: two}, {name: b, value: c, type: Exact}]\n"
		"      queryParams: [{name: Q, value: r}, {name: q, value: s}]\n"
		"    - {}\n"
		"    backendRefs: [{name: a.b.c, kind: ServiceImport, group: x.io}, {name: a, kind: Pod, port: 3}]\n");
	const struct row_match *m = r->route.rules[0].matches;

	ck_assert(r->route.has_hostnames);
	ck_assert_str_eq(m[0].path, "/");
	ck_assert_str_eq(m[0].method, "PUT");
	ck_assert_uint_eq(m[0].n_headers, 2);
	ck_assert_str_eq(m[0].headers[0].name, "x-a");
	ck_assert_str_eq(m[0].headers[0].value, "One");
	ck_assert_str_eq(m[0].headers[1].name, "b");
	ck_assert_uint_eq(m[0].n_params, 2);
	ck_assert_str_eq(m[0].params[0].name, "Q");
	ck_assert_str_eq(m[0].params[1].value, "s");
	ck_assert_str_eq(m[1].method, "");
	ck_assert_str_eq(r->route.rules[0].backends[0].other, "ServiceImport of x.io");
	ck_assert_str_eq(r->route.rules[0].backends[1].other, "Pod");
	done();
}
END_TEST

START_TEST(a_method_of_grpc_becomes_a_path)
{
	static const struct {
		const char *method, *path, *grpc_method;
		enum row_path type;
	} t[] = {
		{ "{service: a.B_1, method: Get}", "/a.B_1/Get", "", ROW_PATH_EXACT },
		{ "{service: .a.B, type: Exact}", "/.a.B", "", ROW_PATH_PREFIX },
		{ "{method: Get}", "/", "Get", ROW_PATH_PREFIX },
		{ "{service: \"\", method: Get}", "/", "Get", ROW_PATH_PREFIX },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char text[1024];
		const struct row_match *m;

		snprintf(text, sizeof text, CALL "method: %s\n", t[i].method);
		m = accepted(text)->route.rules[0].matches;
		ck_assert_str_eq(m->path, t[i].path);
		ck_assert_str_eq(m->grpc_method, t[i].grpc_method);
		ck_assert_int_eq(m->type, t[i].type);
	}
	ck_assert_uint_eq(accepted(TOP("GRPCRoute") PARENT)->route.n_rules, 0);
	ck_assert_str_eq(accepted(GRPC "  - {}\n")->route.rules[0].matches[0].path, "/");
	ck_assert_int_eq(accepted("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: GRPCRoute\n"
				  "metadata: {name: a}\nspec: {}\n")->kind, ROW_GRPCROUTE);
	done();
}
END_TEST

START_TEST(hostnames_of_a_tls_route_become_matches)
{
	static const char *const versions[] = { "v1", "v1alpha3", "v1alpha2" };
	const struct row *r = accepted(TLS "[a.b.example, \"*.b.example\"]\n");

	ck_assert_int_eq(r->kind, ROW_TLSROUTE);
	ck_assert(!r->route.has_hostnames);	/* that nobody looks at */
	ck_assert_uint_eq(r->route.rules[0].n_matches, 2);
	ck_assert_int_eq(r->route.rules[0].matches[0].type, ROW_PATH_EXACT);
	ck_assert_str_eq(r->route.rules[0].matches[0].path, "/example/b/a=");
	ck_assert_int_eq(r->route.rules[0].matches[1].type, ROW_PATH_PREFIX);
	ck_assert_str_eq(r->route.rules[0].matches[1].path, "/example/b");
	for (size_t i = 0; i < countof(versions); i++) {
		char text[512];

		snprintf(text, sizeof text, "apiVersion: gateway.networking.k8s.io/%s\nkind: TLSRoute\n"
			 "metadata: {name: a}\nspec: {hostnames: [a], rules: [{backendRefs: [{name: b, port: 1}]}]}\n",
			 versions[i]);
		accepted(text);
	}
	done();
}
END_TEST

START_TEST(a_tcp_route_and_a_grant_become_rows)
{
	const struct row *r = accepted("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\n"
				       "metadata: {name: a}\nspec: {rules: [{backendRefs: [{name: b, port: 1, weight: 3}]}]}\n");

	ck_assert_uint_eq(r->route.rules[0].n_matches, 1);
	ck_assert_uint_eq(r->route.rules[0].backends[0].weight, 3);
	r = accepted("apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\n"
		     "metadata: {name: g, namespace: far}\nspec:\n"
		     "  from:\n  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}\n"
		     "  - {group: gateway.networking.k8s.io, kind: Gateway, namespace: any}\n"
		     "  to:\n  - {group: \"\", kind: Secret}\n  - {group: \"\", kind: Service, name: api}\n");
	ck_assert(row_grants(r, ROW_HTTPROUTE, "shop", "api"));
	ck_assert(!row_grants(r, ROW_HTTPROUTE, "shop", "web"));
	ck_assert(!row_grants(r, ROW_GRPCROUTE, "shop", "api"));
	ck_assert(!row_grants(r, ROW_HTTPROUTE, "any", "api"));
	done();
}
END_TEST

UNIT_TESTS("route", every_refusal_of_a_route_names_line_field_and_reason,
	   as_many_as_the_api_allows_and_no_more, a_whole_route_has_at_most_128_matches,
	   texts_are_as_long_as_the_api_allows, conditions_become_rows, a_method_of_grpc_becomes_a_path,
	   hostnames_of_a_tls_route_become_matches, a_tcp_route_and_a_grant_become_rows)
