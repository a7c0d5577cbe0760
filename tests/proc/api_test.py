#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Every field of every answer is a row of admin/fields.def, of which nodeproxy-api(7) is made, with the
type that stands there; and every row is answered by something."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "man"))
import np  # noqa: E402
from from_commands import fields  # noqa: E402

np.only_in_tiers("process")
np.need_root()
SANITIZED = b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read()
ROWS = {name: rows for name, (_, rows) in fields(os.path.join(np.SOURCE, "admin/fields.def")).items()}
# Answered only in states that this test does not make: others do, by these names.
RARE = {("not_durable", k) for k in ("why", "since_unix_ms", "seconds")} | {
    ("store", "since_mono_ms"), ("store", "since_unix_ms"), ("status", "why"), ("status", "not_durable"),
    ("worker", "last_exit"), ("pod", "proven_unix_ms"), ("pod", "failed_unix_ms")} | {
    ("source", k) for k in ("endpoint", "connected", "revision", "cluster_id", "snapshots", "snapshot_why", "on_demand")} | {     # etcd_test.py
    ("on_demand", k) for k, *_ in ROWS["on_demand"]}    # demand_test.py
PLAIN = {"text": str, "number": int, "real": float, "flag": bool}
ROUTES = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules:
  - {matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{name: web, port: 80}], timeouts: {request: 20s},
     retry: {codes: [503], attempts: 2}}
  - {matches: [{path: {type: PathPrefix, value: /dead}}], backendRefs: [{name: dead, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: nobody, port: 80}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: theirs, namespace: bank}
spec:
  parentRefs: [{group: "", kind: Service, name: web, namespace: shop}]
  rules: [{backendRefs: [{name: web, namespace: shop, port: 80}]}]
---
apiVersion: nodeproxy.io/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  limits: {connections: 100, requests: 100}
  retries: {on: [reset, retriable-status-codes], statusCodes: [503, 429]}
  loadBalancer: {type: Maglev, hash: {type: SourceIP}}
---
apiVersion: nodeproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  identity: {requests: 100000}
  total: {requests: 100000}
---
apiVersion: nodeproxy.io/v1alpha1
kind: TrafficPolicy
metadata: {name: dead, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: dead}]
  loadBalancer: {slowStart: {window: 10s}}
  ejection: {successRate: {}}
  healthCheck: {type: TCP, interval: 1h, unhealthyThreshold: 1}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: dead, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: dead}]
  validation: {hostname: dead.example, wellKnownCACertificates: System, subjectAltNames: [{type: Hostname, hostname: b.example}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: bad, namespace: shop}
spec: {ports: [{port: 99999}]}
"""
seen, wrong = set(), []


def spread(name, optional=False):
    """{key: (object, type)} of an object, with those of the objects it takes over."""
    out = {}
    for key, kind, _ in ROWS[name]:
        null = kind.endswith("?") or optional
        if key:
            out[key] = (name, kind.rstrip("?") + ("?" if null else ""))
        else:
            out.update(spread(kind.rstrip("?"), null))
            seen.add((name, ""))
    return out


def compare(name, value, where):
    if not isinstance(value, dict):
        wrong.append(f"{where}: not a {name}: {value!r:.80}")
        return
    known = spread(name)
    for key in known.keys() - value.keys():
        if not known[key][1].endswith("?"):
            wrong.append(f"{where}.{key}: missing, though the row says that it is always there")
    for key, v in value.items():
        if key not in known:
            wrong.append(f'{where}.{key}: FIELD("{name}", "{key}", ...) is missing in admin/fields.def')
            continue
        owner, kind = known[key]
        one(kind, v, f"{where}.{key}", (owner, key))


def one(kind, v, where, row):
    if v is None and kind.endswith("?"):
        return
    seen.add(row)
    kind = kind.rstrip("?")
    if kind == "any":
        return
    if kind in PLAIN:
        good = type(v) is PLAIN[kind] or kind == "real" and type(v) is int
        if not good or kind == "number" and v < 0:
            wrong.append(f"{where}: not {kind}: {v!r:.80}")
    elif kind == "map":
        for k, n in v.items():
            one("real" if type(n) is float else "number", n, f"{where}.{k}", row)
    elif kind == "words":
        for k, text in v.items():
            one("text", text, f"{where}.{k}", row)
    elif kind in ("texts", "numbers"):
        for x in v:
            one(kind[:-1], x, where, row)
    elif kind.startswith("["):
        for i, x in enumerate(v):
            compare(kind[1:-1], x, f"{where}[{i}]")
    else:
        compare(kind, v, where)


def ask(host, name, target, method="GET"):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(np.DEADLINE)
        s.connect(host.socket)
        s.sendall(f"{method} {target} HTTP/1.0\r\n\r\n".encode())
        got = b""
        while more := s.recv(65536):
            got += more
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200", f"{target}: {head!r} {body!r}"
    answer = json.loads(body)
    compare(name, answer, target)
    return answer


IDENTITY = "identity: {{issuer: node-ca, dir: {dir}/kept, ca_certificate: {dir}/node/node.pem, ca_key: {dir}/node/node.key, " \
           "bundle: {dir}/ca/root.pem}}\n"


def world(host, nobody):
    host.service("shop/web", 80, [host.backend("one").port])
    nobody.bind(("127.0.0.1", 0))       # and does not listen: whoever connects is refused
    host.service("shop/dead", 80, [nobody.getsockname()[1]])
    host.write("routes.yaml", ROUTES)
    cert, key = (os.path.join(host.dir, f"web.{x}") for x in ("pem", "key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=web", "-addext",
                    "subjectAltName=DNS:shop.example", "-keyout", key, "-out", cert], check=True, capture_output=True)
    front = dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service", service="shop/web:80")
    for words in (("init", "--dir", f"{host.dir}/ca"), ("issue-node", "--dir", f"{host.dir}/ca", "--node", "test", "--out", f"{host.dir}/node")):
        subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "ca", *words], check=True, capture_output=True)
    host.config = IDENTITY.format(dir=host.dir)
    host.listeners = [front, dict(front, name="secure", bind="127.0.0.1:0", tls="terminate", tls_certificate=cert, tls_key=key),
                      dict(front, name="mesh", bind="127.0.0.1:0", tls="terminate", tls_identity="shop/web")]
    host.start()
    np.until("the certificate to be told", lambda: "certificate_names" in host.ctl_json("get", "listeners")["listeners"][1])
    np.until("the refused document", lambda: host.status()["refused"] == 1)
    assert [host.get(path).status for path in ("/a", "/b", "/dead")] == [200, 404, 503]

    def counted():
        web = next(s for s in host.ctl_json("get", "services")["services"] if s["name"] == "web")
        return [web["requests"][k] for k in ("2xx", "4xx", "5xx")] == [1, 1, 1]
    np.until("the requests to be counted", counted)
    np.until("a check of its health", lambda: any(e["state"] == "unhealthy"
                                                  for e in host.ctl_json("get", "endpoints")["endpoints"]))
    np.until("what the processes cost", lambda: all(p["cpu_ns"] is not None for p in host.status()["processes"]))


@contextlib.contextmanager
def busy(host):
    """One request after the other, while something else is done."""
    done = threading.Event()

    def ask_on():
        while not done.is_set():
            host.get("/a")
    t = threading.Thread(target=ask_on, daemon=True)
    t.start()
    yield
    done.set()
    t.join()


def answers(host):
    for name in ("status", "check", "services", "endpoints", "routes", "namespaces", "tenants", "listeners", "certs", "policies", "workers", "sources",
                 "config", "version"):
        ask(host, name, f"/v1/{name}")
    ask(host, "reasons", "/v1/reasons?all=1")
    for target in ("service/shop/web", "service/shop/bad", "httproute/shop/split", "httproute/shop/lost", "grpcroute/bank/theirs",
                   "trafficpolicy/shop/web", "trafficpolicy/shop/dead", "namespace/shop", "tenant/shop"):
        ask(host, "describe", f"/v1/resources/{target}")
    for url in ("web.shop/a", "web.shop/zzz", "nobody"):
        for more in ("", "&from=shop"):
            ask(host, "explain", f"/v1/explain?url={url}{more}")
    for by in ("tenants", "services", "endpoints"):
        ask(host, "top", f"/v1/top?by={by}")
        with busy(host):
            compare("top_rates", host.ctl_json("top", by, "--once", "--interval", "1"), f"nodeproxyctl top {by}")


def pods(host):
    pod = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        np.until("another network namespace",
                 lambda: os.readlink(f"/proc/{pod.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        ask(host, "pod_add", f"/v1/pod-add?name=a&namespace=shop&pid={pod.pid}&label=app%3Da", "POST")
        np.until("its workers", lambda: all(p["workers"] for p in host.api("pods")["pods"]))
        host.write("nowhere.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"
                   "metadata: {name: nowhere, namespace: shop}\nspec: {networkNamespace: /nowhere}\n")
        own = os.stat(f"/proc/{host.status()['workers'][0]['pid']}").st_uid
        host.write("own.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"
                   f"metadata: {{name: own, namespace: shop}}\nspec: {{uid: {own}}}\n")
        np.until("why two are not captured", lambda: 2 == sum(p["problem"] is not None for p in host.api("pods")["pods"]))
        ask(host, "pods", "/v1/pods")
        ask(host, "describe", "/v1/resources/workload/shop/nowhere")
        ask(host, "pod_remove", "/v1/pod-remove?name=a&namespace=shop", "POST")
    finally:
        pod.kill()
        pod.wait()


def orders(host):
    ask(host, "log_level", "/v1/log-level?level=info", "POST")
    ask(host, "log_reopen", "/v1/log-reopen", "POST")
    host.config += "timeouts: {idle: 55000}"
    host.write_config()
    ask(host, "reload", "/v1/reload", "POST")
    ask(host, "status", "/v1/status")
    was = {w["pid"] for w in host.status()["workers"]}
    ask(host, "drain", f"/v1/drain?worker={host.status()['workers'][0]['id']}&deadline=1", "POST")

    def replaced():
        s = host.status()
        return s["ready"] and len(s["workers"]) == 2 and {w["pid"] for w in s["workers"]} != was
    np.until("another worker", replaced)


def a_panic(host):
    worker = str(host.status()["workers"][0]["id"])
    if SANITIZED or host.ctl("debug", "panic", "--worker", worker).returncode == 2:
        print("not tried: a panic on purpose (sanitized build, or one without debug commands)")
        RARE.update((n, k) for n in ("panic_page", "panic", "panics", "debug") for k, _, _ in ROWS[n])
        RARE.add(("process", "last_exit"))
        return
    serial = np.until("the panic", lambda: host.ctl_json("get", "panics")["panics"])[0]["serial"]
    ask(host, "panics", "/v1/panics")
    ask(host, "panic", f"/v1/panics/{serial}")
    np.until("all workers", lambda: host.status()["ready"])
    ask(host, "debug", f"/v1/debug?what=slow-tenant&tenant=shop&number=0&worker={host.status()['workers'][0]['id']}", "POST")
    np.until("all workers", lambda: host.status()["ready"])
    ask(host, "status", "/v1/status")


with np.Host(workers=2) as host, socket.socket() as closed:
    world(host, closed)
    for step in (answers, a_panic, pods, orders):
        step(host)
    ask(host, "upgrade", "/v1/upgrade?deadline=1", "POST")
    assert host.stop() == 0
for name, rows in ROWS.items():
    for key, kind, _ in rows:
        if (name, key) not in seen and (name, key) not in RARE:
            wrong.append(f'FIELD("{name}", "{key}", ...): nothing answers it')
for w in dict.fromkeys(wrong):
    print(w)
print(f"api: {len(seen)} fields were answered")
sys.exit(1 if wrong else 0)
