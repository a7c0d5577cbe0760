#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""nodeproxyctl apply, delete, get and store: documents get into the registry whole or not at all, over
nobody else's change, and from there to the workers; and what a host has kept can be looked at and taken
out, whether its daemon runs or not."""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
CTL = os.path.join(np.BUILD, "admin/nodeproxyctl")


def ctl(*words, code=0, text=None, env=None):
    r = subprocess.run([CTL, *words], input=text, capture_output=True, text=True, timeout=np.DEADLINE,
                       env=dict(os.environ, **(env or {})))
    assert r.returncode == code, (words, r.returncode, r.stdout, r.stderr)
    return r.stdout if code == 0 else r.stdout + r.stderr


def service(name, port, extra=""):
    """A Service shop/NAME with one endpoint, as one document after another."""
    return (f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop{extra}}}\n"
            f"spec: {{ports: [{{name: main, port: 80, appProtocol: http}}]}}\n---\n"
            f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
            f"metadata: {{name: {name}-a, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\n"
            f"addressType: IPv4\nports: [{{name: main, port: {port}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n")


ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: %s, port: 80}]}]
"""


def applied_is_served(host, one, two):
    out = ctl("-s", host.socket, "apply", "-f", "-", text=service("web", one.port))
    lines = out.splitlines()
    assert lines[0].startswith("Service shop/web created (service.shop.web.yaml:1)") and lines[0].endswith("accepted"), out
    assert lines[1].startswith("EndpointSlice shop/web-a created") and len(lines) == 2, out
    assert host.get("/x").body == b"one /x\n"       # apply has waited
    out = ctl("-s", host.socket, "apply", "-f", "-", text=service("web", one.port))
    assert out.count(" unchanged ") == 2 and "accepted" not in out, out
    o = json.loads(ctl("-s", host.socket, "-o", "json", "get", "service", "shop/web"))
    assert o["metadata"]["generation"] == 1 and o["metadata"]["creationTimestamp"].endswith("Z"), o
    changed = json.loads(ctl("-s", host.socket, "apply", "-o", "json", "-f", "-", text=service("web", two.port)))
    assert changed["ok"] and [c["result"] for c in changed["changes"]] == ["unchanged", "configured"], changed
    assert changed["changes"][1]["generation"] == 2 and changed["changes"][1]["state"] == "accepted", changed
    assert host.get("/x").body == b"two /x\n"
    # another kind of thing, whose condition is told
    out = ctl("-s", host.socket, "apply", "-f", "-", text=ROUTE % "nowhere")
    assert "HTTPRoute shop/web created" in out and "ResolvedRefs=False (BackendNotFound)" in out, out
    out = ctl("-s", host.socket, "apply", "-f", "-", text=ROUTE % "web")
    assert out.rstrip().endswith("accepted"), out
    # words of the daemon are the plurals, as before; kinds are documents
    assert "REQUESTS" in ctl("-s", host.socket, "get", "services")
    assert ctl("-s", host.socket, "get", "service").split()[:3] == ["KIND", "NAMESPACE", "NAME"]
    assert "kind: HTTPRoute" in ctl("-s", host.socket, "get", "httproutes", "-n", "shop", "-o", "yaml")
    listed = json.loads(ctl("-s", host.socket, "get", "endpointslice", "-ojson"))
    assert listed["kind"] == "List" and [x["metadata"]["name"] for x in listed["items"]] == ["web-a"], listed


def refused_changes_nothing(host):
    was = sorted(os.listdir(host.resources))
    path = os.path.join(host.dir, "bad.yaml")
    with open(path, "w") as f:
        f.write(service("fresh", 1) + "---\n" + service("worse", 2).replace("port: 80", "port: 80000"))
    out = ctl("-s", host.socket, "apply", "-f", path, code=1)
    assert f"{path}:16: spec.ports[0].port: " in out and "nothing was written" in out, out
    assert sorted(os.listdir(host.resources)) == was
    r = json.loads(subprocess.run([CTL, "-s", host.socket, "-o", "json", "apply", "-f", path],
                                  capture_output=True, text=True).stdout)
    assert not r["ok"] and r["changes"] == [] and r["refused"][0]["line"] == 16, r
    assert r["refused"][0]["field"] == "spec.ports[0].port", r
    # the same twice, an empty one, none
    out = ctl("-s", host.socket, "apply", "-f", "-", text=ROUTE % "a" + "---\n" + ROUTE % "b", code=1)
    assert "HTTPRoute shop/web is also at stdin:1" in out, out
    assert "no documents" in ctl("-s", host.socket, "apply", "-f", "-", text="# nothing\n", code=1)
    assert "-f is missing" in ctl("-s", host.socket, "apply", code=2)
    assert "No such file" in ctl("-s", host.socket, "apply", "-f", "/nonexistent/x.yaml", code=1)
    assert "not a number" in ctl("-s", host.socket, "apply", "-f", "-", "--wait", "soon", code=2)
    out = ctl("-s", host.socket, "apply", "--dry-run", "-f", "-", text=service("fresh", 1))
    assert "Service shop/fresh created (dry run)" in out, out
    assert sorted(os.listdir(host.resources)) == was


KINDS = """apiVersion: v1
kind: Namespace
metadata: {name: kinds}
---
apiVersion: nodeproxy.io/v1alpha1
kind: Tenant
metadata: {name: kinds}
spec: {namespaces: [kinds], weight: 2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: kinds}
spec: {ports: [{name: main, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: kinds, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: main, port: 1}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: http, namespace: kinds}
spec: {parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc, namespace: kinds}
spec: {parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: tls, namespace: kinds}
spec: {parentRefs: [{group: "", kind: Service, name: web}], hostnames: [a.example], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: tcp, namespace: kinds}
spec: {parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: kinds}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: "", kind: Service}]}
---
apiVersion: nodeproxy.io/v1alpha1
kind: TrafficPolicy
metadata: {name: policy, namespace: kinds}
spec: {targetRefs: [{group: "", kind: Service, name: web}], loadBalancer: {type: RoundRobin}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: backend, namespace: kinds}
spec: {targetRefs: [{group: "", kind: Service, name: web}], retryConstraint: {budget: {percent: 20, interval: 10s}}}
---
apiVersion: nodeproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: rate, namespace: kinds}
spec: {targetRefs: [{group: "", kind: Service, name: web}], total: {requests: 10, interval: 1s}}
---
apiVersion: nodeproxy.io/v1alpha1
kind: Workload
metadata: {name: w, namespace: kinds}
spec: {networkNamespace: /run/netns/none, serviceAccount: web}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secure, namespace: kinds}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.example, wellKnownCACertificates: System}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: kinds}
data:
  ca.crt: |
"""


def every_kind_is_told(host):
    """The daemon says of each kind what became of it."""
    ca = os.path.join(host.dir, "ca")
    ctl("ca", "init", "--dir", ca)
    pem = "".join(f"    {line}\n" for line in open(os.path.join(ca, "root.pem")).read().splitlines())
    known = ctl("get", "thing", "--registry", host.resources, code=2).split("kinds are ")[1].strip().split(", ")
    assert set(known) == {line.split()[1] for line in KINDS.splitlines() if line.startswith("kind: ")}, known
    o = json.loads(ctl("-s", host.socket, "apply", "-o", "json", "-f", "-", text=KINDS + pem))
    for c in o["changes"]:
        assert c["result"] == "created" and c["state"], c
        assert c["state"] == "accepted" or "=False" in c["state"], c
    o = json.loads(ctl("-s", host.socket, "delete", "-o", "json", "-f", "-", text=KINDS + pem))
    assert {c["result"] for c in o["changes"]} == {"deleted"} and len(o["changes"]) == len(known), o


BY_HAND = """# the shop
apiVersion: v1
kind: Service
metadata: {name: hand, namespace: shop}   # by hand
spec: {ports: [{name: main, port: 80, appProtocol: http}]}
--- # and where it is
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hand-a, namespace: shop, labels: {kubernetes.io/service-name: hand}}
addressType: IPv4
ports: [{name: main, port: 1}]
endpoints: [{addresses: [127.0.0.1]}]
---
# last
apiVersion: v1
kind: Namespace
metadata: {name: shop}
"""


def files_by_hand_stay(host, two):
    host.write("shop.yaml", BY_HAND)
    os.chmod(os.path.join(host.resources, "shop.yaml"), 0o640)
    out = ctl("-s", host.socket, "apply", "-f", "-", text=service("hand", two.port))
    assert "Service shop/hand unchanged (shop.yaml:2)" in out, out
    assert "EndpointSlice shop/hand-a configured (shop.yaml:7): accepted" in out, out
    path = os.path.join(host.resources, "shop.yaml")
    text = open(path).read()
    head, tail = BY_HAND.split("apiVersion: discovery")[0], BY_HAND[BY_HAND.index("---\n# last"):]
    assert text.startswith(head) and text.endswith(tail) and f"port: {two.port}" in text, text
    assert os.stat(path).st_mode & 0o777 == 0o640
    ctl("-s", host.socket, "delete", "service", "shop/hand")
    out = ctl("-s", host.socket, "delete", "-f", "-", text=service("hand", 1))
    assert "Service shop/hand absent" in out and "EndpointSlice shop/hand-a deleted" in out, out
    text = open(path).read()
    assert "# the shop" in text and "# last" in text and "kind: Namespace" in text and "hand" not in text.replace("by hand", ""), text


def deleted_is_gone(host):
    out = ctl("-s", host.socket, "delete", "httproute", "web", "-n", "shop")
    assert "HTTPRoute shop/web deleted (httproute.shop.web.yaml:1): gone" in out, out
    assert not os.path.exists(os.path.join(host.resources, "httproute.shop.web.yaml"))
    assert "there is no HTTPRoute shop/web" in ctl("-s", host.socket, "delete", "httproute", "shop/web", code=1)
    assert "there is no HTTPRoute shop/web" in ctl("-s", host.socket, "get", "httproute", "shop/web", code=1)
    for words, code, says in ((("delete",), 2, "KIND [NAMESPACE/]NAME, or -f"), (("delete", "service"), 2, "name is missing"),
                              (("delete", "thing", "a/b"), 2, "there is no kind thing"), (("get", "service", "web"), 2, "or -n"),
                              (("get",), 2, "KIND"), (("get", "namespace", "a/b"), 2, "in no namespace"),
                              (("get", "service", "a/b", "c"), 2, "one word too many"), (("store", "what"), 2, "no command store what"),
                              (("get", "service", "-o", "xml"), 2, "not xml")):
        assert says in ctl("-s", host.socket, *words, code=code), words


def ten_writers(host):
    """Each writes its own object and changes the one that all change; nobody's change is lost."""
    d = os.path.join(host.dir, "shared")
    os.mkdir(d)
    ctl("apply", "--registry", d, "-f", "-", text=service("all", 1))
    failures = []

    def writer(n):
        for k in range(2):
            r = subprocess.run([CTL, "apply", "--registry", d, "-f", "-"], capture_output=True, text=True,
                               input=service(f"own-{n}-{k}", 1) + "---\n" + service("all", 100 + 10 * n + k))
            if r.returncode:
                failures.append(r.stderr)
    threads = [threading.Thread(target=writer, args=(n,)) for n in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    # They took turns: each change is one generation.
    assert failures == [], failures
    o = json.loads(ctl("get", "endpointslice", "shop/all-a", "--registry", d, "-o", "json"))
    assert o["metadata"]["generation"] == 21, o
    assert len(json.loads(ctl("get", "service", "--registry", d, "-o", "json"))["items"]) == 21
    assert sorted(f for f in os.listdir(d) if not f.endswith(".yaml")) == []


def killed_in_the_middle(host):
    """Whenever it is killed, the file is the old or the new one."""
    d = os.path.join(host.dir, "killed")
    os.mkdir(d)
    docs = {v: "---\n".join(service(f"s{i}", v) for i in range(20)) for v in (1000, 2000)}
    path = os.path.join(d, "all.yaml")
    with open(path, "w") as f:
        f.write(docs[1000])
    for n in range(12):
        p = subprocess.Popen([CTL, "apply", "--registry", path, "-f", "-"], stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        p.stdin.write(docs[2000 if n % 2 == 0 else 1000])
        p.stdin.close()
        try:
            p.wait(0.01 * (n + 1))
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
        ports = [e["ports"][0]["port"] for e in json.loads(ctl("get", "endpointslice", "--registry", path, "-o", "json"))["items"]]
        assert len(ports) == 20 and set(ports) <= {1000, 2000}, ports
    ctl("apply", "--registry", path, "-f", "-", text=docs[2000])
    assert os.listdir(d) == ["all.yaml"], os.listdir(d)


def store_is_checked_and_exported(host):
    c = json.loads(ctl("-s", host.socket, "store", "check", "-o", "json"))
    assert c["ok"] and c["schema"] == 1 and c["rev"] > 0 and c["documents"] == 3 and c["problems"] == [], c
    assert c["view_bytes"] > 0, c
    exported = ctl("-s", host.socket, "store", "export")
    d = os.path.join(host.dir, "again")
    os.mkdir(d)
    out = ctl("apply", "--registry", d, "-f", "-", text=exported)
    assert out.count(" created ") == 3, out
    assert "unchanged" in ctl("apply", "--registry", d, "-f", "-", text=ctl("-s", host.socket, "store", "export", "-o", "json"))
    for kind in ("service", "endpointslice"):       # the Namespace, by hand, has no history
        a, b = (json.loads(ctl("get", kind, "-o", "json", *where)) for where in (("--registry", d), ("-s", host.socket)))
        assert a == b, (a, b)
    assert ctl("-s", host.socket, "store", "export", "service").count("kind: ") == 1
    assert host.status()["ready"]
    return d


def store_of_the_dead(host, d):
    conf = os.path.join(host.dir, "nodeproxy.yaml")
    out = ctl("-s", host.socket, "apply", "-f", "-", "--wait", "0", text=service("late", 9))
    assert "created" in out and "accepted" not in out, out
    np.until("the last change to be stored", lambda: "late" in ctl("-s", host.socket, "store", "export"))
    for pid in host.pids():                 # without a chance to close anything
        os.kill(pid, signal.SIGKILL)
    host.process.wait()
    assert "shop" in ctl("-c", conf, "store", "export", "service", "-n", "shop")
    assert json.loads(ctl("-c", conf, "store", "check", "-o", "json"))["documents"] == 5
    # no daemon: written all the same, and said
    r = subprocess.run([CTL, "apply", "-c", conf, "-f", "-"], input=ROUTE % "web", capture_output=True, text=True)
    assert r.returncode == 0 and "no daemon answers" in r.stderr and "created" in r.stdout, r
    assert "no daemon answers" in ctl("apply", "-c", conf, "--wait", "1", "-f", "-", text=ROUTE % "x", code=3)
    assert "-c FILE" in ctl("-s", host.socket, "apply", "-f", "-", text=ROUTE % "x", code=3)
    # the same by the environment
    assert "HTTPRoute" in ctl("get", "httproute", env={"NODEPROXY_CONFIG": conf})
    state = os.path.join(host.dir, "state")
    assert "there is no store" in ctl("store", "check", "--dir", d, code=1)
    return conf, state


def damage_is_told(conf, state):
    db = os.path.join(state, "store.db")
    with sqlite3.connect(db) as c:          # somebody edits it
        c.execute("UPDATE resource SET json = replace(json, '127.0.0.1', '127.0.0.9') WHERE kind = 'EndpointSlice' AND name = 'web-a'")
        c.execute("UPDATE resource SET ns = 'other' WHERE name = 'late'")
    c.close()
    out = ctl("-c", conf, "store", "check", code=1)
    assert "not what was stored" in out and "under another's name" in out and "web-a" in out, out
    out = ctl("-c", conf, "store", "export", code=1)
    assert "EndpointSlice shop/web-a: left out" in out and "kind: Namespace" in out, out
    with open(db, "r+b") as f:
        f.seek(0)
        f.write(b"garbage garbage garbage garbage")
    out = ctl("-c", conf, "store", "check", code=1)
    assert "store.db: " in out and "move it aside" in out, out
    assert open(db, "rb").read(7) == b"garbage"     # which only nodeproxy does


def main():
    with np.Host(workers=1) as host:
        one, two = host.backend("one"), host.backend("two")
        host.start()
        applied_is_served(host, one, two)
        refused_changes_nothing(host)
        files_by_hand_stay(host, two)
        deleted_is_gone(host)
        every_kind_is_told(host)
        ten_writers(host)
        killed_in_the_middle(host)
        d = store_is_checked_and_exported(host)
        conf, state = store_of_the_dead(host, d)
        damage_is_told(conf, state)
    print("apply: served, refused, by hand, deleted, kinds, ten writers, killed, exported, damaged")


main()
