/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Every allocation of ours fails once while documents are read: the answer is -ENOMEM or whole, the
 * reader goes on with the next document, and nothing leaks (the sanitizer looks).  The linker turns
 * our calls of malloc and its family to the functions below (--wrap). */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "nodeproxy/lib/knobs/knobs.h"
#include "store/resource/resource.h"

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
char *__real_strdup(const char *);
char *__real_strndup(const char *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
char *__wrap_strdup(const char *);
char *__wrap_strndup(const char *, size_t);

static unsigned calls, fail_at;		/* 0: none */

/* Check itself is linked with us: only while armed, around the calls under test. */
static bool armed;

static bool fails(void)
{
	return armed && ++calls == fail_at;
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

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : __real_strndup(s, n);
}

static const char yaml[] =
	"{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"
	"---\n"
	"apiVersion: nodeproxy.io/v1alpha1\nkind: Tenant\nmetadata: {name: t}\n"
	"spec: {namespaces: [a, b], weight: 2}\n"
	"---\n"
	"apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
	"spec: {ports: [{name: a, port: 1, targetPort: x}, {name: b, port: 2, appProtocol: http}]}\n"
	"---\n"
	"{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {externalIPs: [1.2.3.4]}}\n"
	"---\n"
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
	"metadata: {name: s, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n"
	"ports: [{name: a, port: 1}]\n"
	"endpoints: [{addresses: [127.0.0.1], zone: z, hostname: h, targetRef: {kind: Pod, name: p}}, {addresses: [127.0.0.2]}]\n"
	"---\n"
	"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
	"spec:\n  parentRefs: [{group: \"\", kind: Service, name: web}]\n"
	"  rules: [{name: x, matches: [{path: {value: /a}, method: GET, headers: [{name: A, value: b}], queryParams: [{name: c, value: d}]}, {}], backendRefs: [{name: web, port: 1}], "
	"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c, d]}}, "
	"{type: URLRewrite, urlRewrite: {hostname: h, path: {type: ReplaceFullPath, replaceFullPath: /a}}}, "
	"{type: CORS, cors: {allowOrigins: [http://a, https://b], exposeHeaders: [c]}}, "
	"{type: RequestMirror, requestMirror: {backendRef: {name: web, port: 1}}}]}, {}]\n"
	"---\n"
	"apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: r}\n"
	"spec:\n  parentRefs: [{group: \"\", kind: Service, name: web}]\n"
	"  rules: [{matches: [{method: {service: a, method: b}}, {method: {method: c}}], backendRefs: [{name: x, kind: Pod}]}]\n"
	"---\n"
	"apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: r}\n"
	"spec: {rules: [{backendRefs: [{name: web, port: 1}]}]}\n"
	"---\n"
	"apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: r}\n"
	"spec: {hostnames: [a.b, '*.c'], rules: [{backendRefs: [{name: web, port: 1}]}]}\n"
	"---\n"
	"apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g}\n"
	"spec: {from: [{group: a, kind: b, namespace: c}], to: [{group: d, kind: e, name: f}]}\n"
	"---\n"
	"apiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p}\n"
	"spec: {targetRefs: [{group: \"\", kind: Service, name: web, sectionName: a}, {group: \"\", kind: Service, name: x}]}\n"
	"---\n"
	"apiVersion: nodeproxy.io/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: p}\n"
	"spec: {targetRefs: [{group: \"\", kind: Service, name: web}], total: {requests: 5}}\n"
	"---\n"
	"apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata: {name: w, labels: {a: b, c: d}}\n"
	"spec: {networkNamespace: /a, node: b}\n"
	"---\n"
	"apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: t}\n"
	"spec: {targetRefs: [{group: \"\", kind: Service, name: web}], validation: {hostname: a, caCertificateRefs: "
	"[{group: x, kind: Secret, name: b}], subjectAltNames: [{type: URI, uri: 'a:b'}]}}\n"
	"---\n"
	"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {ca.crt: x}\n";

/* Reads all documents; returns how many answers were -ENOMEM. */
static unsigned read_all(unsigned *ret_rows, unsigned *ret_refusals)
{
	struct resource_reader r;
	struct row *row, *again;
	struct refusal *no, *no_again;
	unsigned failed = 0;
	int e;

	*ret_rows = *ret_refusals = 0;
	resource_reader_init(&r, "f.yaml", SLICE(yaml));
	for (;;) {
		armed = true;
		e = resource_next(&r, &row, &no);
		armed = false;
		if (e == 0)
			break;
		if (e < 0) {
			ck_assert_int_eq(e, -ENOMEM);
			ck_assert(!row && !no);
			failed++;
			continue;
		}
		ck_assert((row == NULL) != (no == NULL));
		*ret_rows += row != NULL;
		*ret_refusals += no != NULL;
		if (row) {
			armed = true;
			e = resource_json("store", 1, slice_str(row->json), &again, &no_again);
			armed = false;
			if (e < 0)
				failed++;
			else
				ck_assert(again && !no_again);
			row_free(&again);
		}
		row_free(&row);
		refusal_free(&no);
	}
	return failed;
}

START_TEST(any_allocation_may_fail_while_a_file_is_read)
{
	unsigned rows, refusals, n = 0, failed;

	fail_at = 0;
	ck_assert_uint_eq(read_all(&rows, &refusals), 0);
	ck_assert_uint_eq(rows, 14);
	ck_assert_uint_eq(refusals, 1);
	do {
		fail_at = ++n;
		calls = 0;
		failed = read_all(&rows, &refusals);
		if (calls >= fail_at)		/* something failed: it cost one document, or one JSON */
			ck_assert_msg(failed == 1 && rows + refusals >= 14, "call %u: %u, %u", n, failed,
				      rows + refusals);
	} while (calls >= fail_at);
	ck_assert_uint_gt(n, 100);
}
END_TEST

START_TEST(any_allocation_may_fail_while_settings_are_read)
{
	static struct knobs k;
	char error[KNOBS_ERROR];
	unsigned n = 0;
	int e;

	do {
		fail_at = ++n;
		calls = 0;
		armed = true;
		e = knobs_parse(SLICE("node: a\nlisteners:\n- {name: a, bind: \"[::1]:1\", namespace: b, route: host}\n"),
				"f", &k, error);
		armed = false;
		if (e == -ENOMEM)
			ck_assert_str_eq(error, "f: out of memory");
	} while (calls >= fail_at);
	ck_assert_int_eq(e, 0);
	ck_assert_uint_gt(n, 2);
}
END_TEST

UNIT_TESTS("memory", any_allocation_may_fail_while_a_file_is_read,
	   any_allocation_may_fail_while_settings_are_read)
