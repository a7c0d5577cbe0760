/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy.yaml: defaults, refusals with file, line, key and what is allowed, and the way back. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>

#include "nodeproxy/lib/knobs/knobs.h"

static struct knobs k, k2;
static char error[KNOBS_ERROR];

static int parse(const char *yaml)
{
	return knobs_parse(slice_str(yaml), "f", &k, error);
}

#define L	    "listeners:\n- name: a\n  bind: 127.0.0.1:80\n  namespace: shop\n"
#define L_OK	    L "  service: shop/web:80\n"
#define L_WITH(key) "listeners:\n- name: a\n  bind: 127.0.0.1:80\n  namespace: shop\n  service: shop/web:80\n" key "\n"

START_TEST(every_refusal_names_file_line_key_and_what_is_allowed)
{
	static const struct {
		const char *yaml, *error;
	} row[] = {
		{ "- a\n", "f:1: must be a mapping of keys, not a list" },
		{ "a: [\n", "f:2: not YAML: did not find expected node content while parsing a flow node, column 1" },
		{ "node: a\n---\nnode: b\n", "f:3: a second document: only one is read" },
		{ "node: a\n---\nb: [\n", "f:4: not YAML: did not find expected node content while parsing a flow node, column 1" },
		{ "node: a\nnode: b\n", "f:2: the key node is there twice" },
		{ "nodes: a\n", "f:1: nodes: unknown key (did you mean node?)" },
		{ "\nfrobnicate: a\n", "f:2: frobnicate: unknown key" },
		{ "admn: {socket: /x}\n", "f:1: admn: unknown key (did you mean admin?)" },
		{ "admin:\n  sokcet: /x\n", "f:2: admin.sokcet: unknown key (did you mean socket?)" },
		{ "admin.socket: /x\n", "f:1: admin.socket: unknown key (write socket: below a line admin:)" },
		{ "admin: {a.b: 1}\n", "f:1: admin.a.b: unknown key" },
		{ "admin: 4\n", "f:1: admin: must be a mapping, not a number" },
		{ "node: [a]\n", "f:1: node: must be one value, not a list" },
		{ "node: {a: b}\n", "f:1: node: must be one value, not a mapping" },
		{ "zone:\n", "f:1: zone: has no value; for none write \"\"" },
		{ "node: A_b\n", "f:1: node: must be a DNS name of lower-case letters, digits, - and ., not \"A_b\"" },
		{ "node: \"\"\n", "f:1: node: must be a DNS name of lower-case letters, digits, - and ., not \"\"" },
		{ "trust_domain: a..b\n", "f:1: trust_domain: must be a DNS name of lower-case letters, digits, - and ., not \"a..b\"" },
		{ "cluster: \"\"\n", "f:1: cluster: must not be empty, not \"\"" },
		{ "zone: \"a b\"\n", "f:1: zone: must be at most 63 letters, digits, -, _ and ., the first and last a letter or digit, not \"a b\"" },
		{ "workers: 0\n", "f:1: workers: must be auto, a number from 1 to 1024, or a list like cpus=0,2-5, not \"0\"" },
		{ "workers: cpus=\n", "f:1: workers: must be auto, a number from 1 to 1024, or a list like cpus=0,2-5, not \"cpus=\"" },
		{ "state_dir: var\n", "f:1: state_dir: must be an absolute path (start with /), not \"var\"" },
		{ "state_dir: \"/a\\nb\"\n", "f:1: state_dir: control characters are not allowed, not \"/a?b\"" },
		{ "source:\n  path: res.d\n", "f:2: source.path: must be an absolute path (start with /), not \"res.d\"" },
		{ "source:\n  kind: etcd\n", "f:1: source.endpoints: is required with kind: etcd, like 10.0.0.1:2379" },
		{ "source: {kind: kubernetes}\n", "f:1: source.kind: kubernetes is not served by this release: only file and etcd" },
		{ "source: {kind: xds}\n", "f:1: source.kind: xds is not served by this release: only file and etcd" },
		{ "source: {endpoints: 10.0.0.1:2379}\n", "f:1: source.endpoints: has a meaning only with kind: etcd" },
		{ "source: {kind: etcd, endpoints: etcd.example:2379}\n", "f:1: source.endpoints: must be at most 16 addresses with ports like 10.0.0.1:2379 or [fd00::1]:2379, not \"etcd.example:2379\"" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1}\n", "f:1: source.endpoints: must be at most 16 addresses with ports like 10.0.0.1:2379 or [fd00::1]:2379, not \"10.0.0.1\"" },
		{ "source: {kind: etcd, endpoints: [10.0.0.1:2379, [a]]}\n", "f:1: source.endpoints: must be a list of words" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, prefix: np}\n", "f:1: source.prefix: must start with /, not end with it, and have no blank in it, not \"np\"" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, ca: ca.pem}\n", "f:1: source.ca: must be an absolute path (start with /), not \"ca.pem\"" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, cert: /c, key: /k}\n", "f:1: source.ca: is required with cert" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, ca: /ca, cert: /c}\n", "f:1: source.key: is required with cert" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, ca: /ca, key: /k}\n", "f:1: source.cert: is required with key" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, server_name: etcd}\n", "f:1: source.server_name: has a meaning only with ca" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, user: host}\n", "f:1: source.password_file: is required with user" },
		{ "source: {kind: etcd, endpoints: 10.0.0.1:2379, user: host, password_file: /p}\n", "f:1: source.user: needs ca: without TLS everybody on the way could read the password" },
		{ "source: {kind: ftp}\n", "f:1: source.kind: must be one of file|etcd|kubernetes|xds, not ftp" },
		{ "admin: {metrics: \"15020\"}\n", "f:1: admin.metrics: must be an address with a port like 127.0.0.1:15020 or [::1]:15020, or empty, not \"15020\"" },
		{ "admin: {group: \"a b\"}\n", "f:1: admin.group: must be the name of a group, not \"a b\"" },
		{ "access_log: {path: x}\n", "f:1: access_log.path: must be empty, - or an absolute path (start with /), not \"x\"" },
		{ "service_cidr: 10.96.0.1/12\n", "f:1: service_cidr: must be a range like 10.96.0.0/12 (prefix at most 30, for IPv6 126), and no bit set behind the prefix, not \"10.96.0.1/12\"" },
		{ "service_cidr: 10.96.0.0/31\n", "f:1: service_cidr: must be a range like 10.96.0.0/12 (prefix at most 30, for IPv6 126), and no bit set behind the prefix, not \"10.96.0.0/31\"" },
		{ "service_cidr: 10.96.0.0\n", "f:1: service_cidr: must be a range like 10.96.0.0/12 (prefix at most 30, for IPv6 126), and no bit set behind the prefix, not \"10.96.0.0\"" },
		{ "limits: {head_bytes: 7}\n", "f:1: limits.head_bytes: must be a whole number from 1024 to 65536 (bytes), not 7" },
		{ "limits: {head_bytes: 1.5}\n", "f:1: limits.head_bytes: must be a whole number from 1024 to 65536 (bytes), not 1.5" },
		{ "limits: {head_bytes: -1}\n", "f:1: limits.head_bytes: must be a whole number from 1024 to 65536 (bytes), not -1" },
		{ "limits: {headers: 10s}\n", "f:1: limits.headers: must be a whole number from 8 to 256 (lines), not 10s" },
		{ "timeouts: {idle: 1Ki}\n", "f:1: timeouts.idle: must be a whole number from 10 to 86400000 (ms), not 1Ki" },
		{ "timeouts: {idle: 99999999999999999999h}\n", "f:1: timeouts.idle: must be a whole number from 10 to 86400000 (ms), not 99999999999999999999h" },
		{ "log_ring_bytes: 65537\n", "f:1: log_ring_bytes: must be a power of two, not 65537" },
		{ "log: {level: loud}\n", "f:1: log.level: must be one of debug|info|warn|error, not loud" },
		{ "node: a\nrespawn: {min: 5000, max: 100}\n", "f:1: respawn.min: must not be above respawn.max" },
		{ "identity: {issuer: x}\n", "f:1: identity.issuer: must be one of none|node-ca|files, not x" },
		{ "node: a\nidentity:\n  issuer: node-ca\n", "f:1: identity.ca_certificate: is required with identity.issuer: node-ca" },
		{ "node: a\nidentity: {issuer: node-ca, ca_certificate: /c}\n", "f:1: identity.ca_key: is required with identity.issuer: node-ca" },
		{ "node: a\nidentity: {issuer: node-ca, ca_certificate: /c, ca_key: /k}\n", "f:1: identity.bundle: is required with identity.issuer: node-ca or files" },
		{ "node: a\nidentity: {issuer: files, bundle: /b}\n", "f:1: identity.files: is required with identity.issuer: files" },
		{ "node: a\nidentity:\n  issuer: files\n  bundle: /b\n  files: /f\n  ca_key: /k\n", "f:6: identity.ca_key: has a meaning only with identity.issuer: node-ca" },
		{ "node: a\nidentity: {crl: /c}\n", "f:2: identity.crl: has a meaning only with identity.issuer: node-ca or files" },
		{ "identity: {bundle: b}\n", "f:1: identity.bundle: must be empty or an absolute path (start with /), not \"b\"" },
		{ "node: a\nstate_dir: /x\nidentity: {dir: /x}\n", "f:3: identity.dir: must be a directory of its own, neither state_dir nor run_dir" },
		{ "identity: {dir: \"\"}\n", "f:1: identity.dir: must be an absolute path (start with /), not \"\"" },
		{ "identity: {lifetime: 4m}\n", "f:1: identity.lifetime: must be a whole number from 300000 to 2592000000 (ms), not 4m" },
		{ "listeners: {a: b}\n", "f:1: listeners: must be a list, not a mapping" },
		{ "listeners: [a]\n", "f:1: listeners[0]: must be a mapping, not text" },
		{ "listeners:\n- name: a\n", "f:2: listeners[0].bind: is required: address and port: 127.0.0.1:8080, [::1]:8080, 0.0.0.0:0" },
		{ "listeners:\n- bind: \"[::1]:80\"\n", "f:2: listeners[0].name: is required: name of the listener, unique" },
		{ "listeners:\n- name: a\n  bind: 1.2.3.4\n", "f:3: listeners[0].bind: must be an address with a port like 127.0.0.1:8080 or [::1]:8080, not \"1.2.3.4\"" },
		{ "listeners:\n- name: A\n", "f:2: listeners[0].name: must be at most 63 lower-case letters, digits and -, not at the ends, not \"A\"" },
		{ L_WITH("  colour: red"), "f:6: listeners[0].colour: unknown key" },
		{ L_WITH("  rout: host"), "f:6: listeners[0].rout: unknown key (did you mean route?)" },
		{ L_WITH("  tls_identity: shop/web"), "f:6: listeners[0].tls_identity: has a meaning only with tls: terminate" },
		{ L_WITH("  tls: terminate\n  tls_identity: Shop/web"), "f:7: listeners[0].tls_identity: must be namespace/account, like shop/web, not \"Shop/web\"" },
		{ L_WITH("  tls: terminate\n  tls_identity: web"), "f:7: listeners[0].tls_identity: must be namespace/account, like shop/web, not \"web\"" },
		{ L_WITH("  tls: terminate\n  tls_identity: shop/web\n  tls_key: /k"), "f:8: listeners[0].tls_key: has a meaning only with tls: terminate, and without tls_identity" },
		{ L_WITH("  tls: terminate\n  tls_identity: shop/web\n  tls_min_version: 1.2"), "f:8: listeners[0].tls_min_version: has a meaning only with tls: terminate, and without tls_identity" },
		{ L_WITH("  tls: terminate\n  tls_identity: shop/web\n  tls_client: require"), "f:2: listeners[0].tls_client_trust: is required with tls_client and tls_identity, and mesh" },
		{ L_WITH("  tls: terminate\n  tls_identity: shop/web\n  tls_client_trust: mesh"), "f:8: listeners[0].tls_client_trust: has a meaning only with tls_client: optional or require" },
		{ L_WITH("  tls: terminate\n  tls_certificate: /c\n  tls_key: /k\n  tls_client: require\n  tls_client_trust: mesh\n  tls_client_ca: /c"), "f:11: listeners[0].tls_client_ca: has a meaning only with tls_client_trust: file" },
		{ "node: a\n" L_WITH("  tls: terminate\n  tls_identity: shop/web"), "f:4: listeners[0].tls_identity: needs identity.issuer" },
		{ "node: a\n" L_WITH("  tls: terminate\n  tls_certificate: /c\n  tls_key: /k\n  tls_client: require\n  tls_client_trust: mesh"), "f:4: listeners[0].tls_client_trust: needs identity.issuer" },
		{ L, "f:2: listeners[0].service: is required with route: service, like shop/web:80" },
		{ L_WITH("  route: host"), "f:5: listeners[0].service: has a meaning only with route: service" },
		{ L_WITH("  route: ring"), "f:6: listeners[0].route: must be one of service|host|original-destination, not ring" },
		{ L "  service: web:80\n", "f:5: listeners[0].service: must be namespace/name:port, like shop/web:80, not \"web:80\"" },
		{ L "  service: shop/web\n", "f:5: listeners[0].service: must be namespace/name:port, like shop/web:80, not \"shop/web\"" },
		{ L "  service: shop/web:0\n", "f:5: listeners[0].service: must be namespace/name:port, like shop/web:80, not \"shop/web:0\"" },
		{ L "  service: shop/web:65536\n", "f:5: listeners[0].service: must be namespace/name:port, like shop/web:80, not \"shop/web:65536\"" },
		{ L_OK "- {name: a, bind: \"127.0.0.1:81\", namespace: b, route: host}\n", "f:6: listeners[1].name: a is the name of another listener" },
		{ L_OK "- {name: b, bind: \"127.0.0.1:80\", namespace: b, route: host}\n", "f:6: listeners[1].bind: 127.0.0.1:80 is bound by listener a already" },
	};

	knobs_default(&k);
	for (size_t i = 0; i < countof(row); i++) {
		k.magic = 77;
		ck_assert_msg(parse(row[i].yaml) == -EINVAL, "accepted: %s", row[i].yaml);
		ck_assert_str_eq(error, row[i].error);
		ck_assert_uint_eq(k.magic, 77);		/* untouched on failure */
	}
}
END_TEST

START_TEST(an_empty_file_means_the_defaults)
{
	knobs_default(&k2);
	if (k2.node[0] == 0)
		snprintf(k2.node, sizeof k2.node, "a");
	ck_assert_int_eq(parse(k2.node[0] ? "# nothing\n" : "node: a\n"), 0);
	ck_assert_mem_eq(&k, &k2, sizeof k);
	ck_assert_str_eq(k.admin_socket, "/run/nodeproxy/admin.sock");
	ck_assert_str_eq(k.workers, "auto");
	ck_assert_int_eq(k.service_bits, 12);
	ck_assert_int_eq(k.service_base.ip[0], 10);
	ck_assert_int_eq(k.n_listeners, 0);
	ck_assert_int_eq(knobs_check(&k, sizeof k), 0);
}
END_TEST

START_TEST(what_is_written_is_what_is_used)
{
	ck_assert_int_eq(parse("node: host-a\n"
			       "workers: cpus=0,2-5\n"
			       "run_dir: /tmp/r\n"
			       "service_cidr: fd00:10::/112\n"
			       "limits: {worker_memory: 64Mi, head_bytes: 8Ki}\n"
			       "timeouts: {idle: 30s, tcp_idle: 2h, connect: 50}\n"
			       "log: {level: debug}\n"
			       "listeners:\n"
			       "- {name: a, bind: \"[::1]:8080\", namespace: shop, service: \"shop/web:81\"}\n"
			       "- {name: b, bind: \"0.0.0.0:0\", namespace: shop, route: original-destination, "
			       "connections: 10, requests: 3, forwarded: replace}\n"
			       "- {name: c, bind: \"0.0.0.0:0\", namespace: shop, route: host}\n"), 0);
	ck_assert_str_eq(k.node, "host-a");
	ck_assert_str_eq(k.admin_socket, "/tmp/r/admin.sock");	/* follows run_dir */
	ck_assert_int_eq(k.service_base.family, 6);
	ck_assert_int_eq(k.service_bits, 112);
	ck_assert_int_eq(k.worker_memory, 64 << 20);
	ck_assert_int_eq(k.head_bytes, 8192);
	ck_assert_int_eq(k.idle_ms, 30000);
	ck_assert_int_eq(k.tcp_idle_ms, 7200000);
	ck_assert_int_eq(k.connect_ms, 50);
	ck_assert_int_eq(k.log_level, 0);
	ck_assert_int_eq(k.n_listeners, 3);
	ck_assert_int_eq(k.listener[0].addr.family, 6);
	ck_assert_int_eq(k.listener[0].addr.port, 8080);
	ck_assert_str_eq(k.listener[0].service_ns, "shop");
	ck_assert_str_eq(k.listener[0].service_name, "web");
	ck_assert_int_eq(k.listener[0].service_port, 81);
	ck_assert_int_eq(k.listener[1].route, LISTEN_ORIGINAL);
	ck_assert_int_eq(k.listener[1].connections, 10);
	ck_assert_int_eq(k.listener[1].requests, 3);
	ck_assert_int_eq(k.listener[1].forwarded, FORWARDED_REPLACE);
	ck_assert_int_eq(k.listener[0].requests, 0);
	ck_assert_int_eq(k.listener[0].forwarded, FORWARDED_APPEND);
	ck_assert_int_eq(k.listener[2].route, LISTEN_HOST);
	ck_assert_int_eq(knobs_check(&k, sizeof k), 0);
	ck_assert_int_eq(parse("run_dir: /tmp/r\nadmin: {socket: /tmp/s}\n"), 0);
	ck_assert_str_eq(k.admin_socket, "/tmp/s");
}
END_TEST

START_TEST(what_is_printed_reads_back_to_the_same)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	ck_assert_int_eq(parse("access_log: {path: \"/a\\\"\\\\\\u2028\\U0001F600 b\", format: json}\n"
			       "admin: {metrics: \"\"}\nrun_dir: /x\n" L_OK), 0);
	knobs_print(&k, f);
	fclose(f);
	ck_assert_msg(knobs_parse(slice_of(text, n), "again", &k2, error) == 0, "%s", error);
	ck_assert_mem_eq(&k, &k2, sizeof k);
	free(text);
}
END_TEST

START_TEST(every_row_has_a_value_a_default_and_help)
{
	struct knob_row row;
	unsigned i;
	char text[512];

	knobs_default(&k);
	for (i = 0; knobs_row(i, &row); i++) {
		ck_assert_msg(row.help[0] != 0, "%s has no help", row.key);
		if (row.of_listener)
			continue;
		knobs_value(&k, i, text, sizeof text);
		if (strcmp(row.key, "node") != 0)
			ck_assert_str_eq(text, row.def);
		if (strcmp(row.type, "number") == 0)
			ck_assert_msg(row.unit[0] && row.min < row.max, "%s", row.key);
	}
	ck_assert_uint_gt(i, 40);
}
END_TEST

START_TEST(what_arrives_over_a_channel_is_checked_again)
{
	ck_assert_int_eq(parse("node: a\n" L_OK), 0);
#define BAD(change)                                                                                \
	do {                                                                                       \
		k2 = k;                                                                            \
		change;                                                                            \
		ck_assert_msg(knobs_check(&k2, sizeof k2) == -EBADMSG, #change);                   \
	} while (0)
	ck_assert_int_eq(knobs_check(&k, sizeof k), 0);
	ck_assert_int_eq(knobs_check(&k, sizeof k - 1), -EBADMSG);
	BAD(k2.magic++);
	BAD(k2.bytes--);
	BAD(memset(k2.node, 'a', sizeof k2.node));
	BAD(k2.node[0] = 0);
	BAD(k2.state_dir[0] = 'x');
	BAD(k2.run_dir[1] = '\xff');
	BAD(k2.turn_us = 0);
	BAD(k2.max_conns = INT64_MIN);
	BAD(k2.log_level = 4);
	BAD(k2.access_log_format = UINT32_MAX);
	BAD(k2.source_kind = SOURCE_ETCD);
	BAD(k2.n_source_endpoints = 1);
	BAD(strcpy(k2.source_ca, "/ca"));
	BAD(k2.log_ring_bytes++);
	BAD(k2.respawn_min_ms = k2.respawn_max_ms + 1);
	BAD(k2.identity_issuer = IDENTITY_NODE_CA);
	BAD(k2.identity_issuer = IDENTITY_FILES);
	BAD(strcpy(k2.identity_bundle, "/b"));
	BAD(k2.identity_dir[0] = 'x');
	BAD(k2.service_bits = 13);
	BAD(k2.service_base.ip[15] = 1);
	BAD(k2.n_listeners = KNOBS_LISTENERS + 1);
	BAD(k2.n_listeners = UINT32_MAX);
	BAD(k2.n_listeners = 2);
	BAD(k2.listener[0].addr.port++);
	BAD(k2.listener[0].route = 3);
	BAD(k2.listener[0].forwarded = 2);
	BAD(k2.listener[0].connections = 1000001);
	BAD(k2.listener[0].requests = -1);
	BAD(k2.listener[0].route = LISTEN_HOST);
	BAD(k2.listener[0].service_port++);
	BAD(k2.listener[0].service_ns[0] = 'x');
	BAD(memset(k2.listener[0].service_name, 'a', sizeof k2.listener[0].service_name));
#undef BAD
}
END_TEST

START_TEST(lists_of_cpus_are_understood)
{
	static const struct {
		const char *text;
		int e;
		uint32_t count, cpus;
	} row[] = {
		{ "auto", 0, 0, 0 },	     { "1", 0, 1, 0 },	       { "1024", 0, 1024, 0 },
		{ "cpus=3", 0, 0, 1 },	     { "cpus=0,2-5", 0, 0, 5 }, { "cpus=1,1", 0, 0, 1 },
		{ "0", -EINVAL, 0, 0 },	     { "1025", -EINVAL, 0, 0 }, { "", -EINVAL, 0, 0 },
		{ "cpus=", -EINVAL, 0, 0 },  { "cpus=1,", -EINVAL, 0, 0 }, { "cpus=,1", -EINVAL, 0, 0 },
		{ "cpus=3-1", -EINVAL, 0, 0 }, { "cpus=1024", -EINVAL, 0, 0 }, { "cpus=1-", -EINVAL, 0, 0 },
		{ "cpus=-1", -EINVAL, 0, 0 }, { "cpus=a", -EINVAL, 0, 0 }, { "Auto", -EINVAL, 0, 0 },
	};

	for (size_t i = 0; i < countof(row); i++) {
		uint32_t count = 99;
		cpu_set_t set;

		ck_assert_msg(knobs_workers(row[i].text, &count, &set) == row[i].e, "%s", row[i].text);
		if (row[i].e == 0) {
			ck_assert_uint_eq(count, row[i].count);
			ck_assert_int_eq(CPU_COUNT(&set), (int)row[i].cpus);
		}
	}
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
	ck_assert_int_eq(knobs_load("/nonexistent/x.yaml", &k, error), -ENOENT);
	ck_assert_str_eq(error, "/nonexistent/x.yaml: cannot read: No such file or directory");
	ck_assert_int_eq(knobs_load("/", &k, error), -EISDIR);
}
END_TEST

UNIT_TESTS("knobs", every_refusal_names_file_line_key_and_what_is_allowed,
	   an_empty_file_means_the_defaults, what_is_written_is_what_is_used,
	   what_is_printed_reads_back_to_the_same, every_row_has_a_value_a_default_and_help,
	   what_arrives_over_a_channel_is_checked_again, lists_of_cpus_are_understood,
	   a_file_that_cannot_be_read_is_named)
