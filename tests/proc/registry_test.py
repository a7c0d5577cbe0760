#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""nodeproxyctl apply, delete and get against a real etcd with TLS and authentication: the roles are those
that nodeproxy-registry(7) makes, word for word, and each may do what it says and nothing else; ten writers
lose no change, and no address is given twice."""
import ipaddress
import json
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
CTL = os.path.join(np.BUILD, "admin/nodeproxyctl")
CIDR = ipaddress.ip_network("10.77.0.0/24")
ROOT = "/nodeproxy/mesh"


def run(*words, text=None, code=0, env=None):
    r = subprocess.run(words, input=text, capture_output=True, text=True, timeout=np.DEADLINE,
                       env=dict(os.environ, **(env or {})))
    assert code is None or r.returncode == code, (words, r.returncode, r.stdout, r.stderr)
    return r


def env(c, who="root"):
    return {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": c.urls(0)[0], "ETCDCTL_CACERT": c.at("ca.pem"),
            "ETCDCTL_CERT": c.at(f"{who}.pem"), "ETCDCTL_KEY": c.at(f"{who}-key.pem")}


def keys(c, below):
    return c.ctl("get", "--prefix", "--keys-only", f"{ROOT}/{below}").split()


def denied(c, *words, user):
    r = c.run(*words, user=user)
    assert r.returncode == 1 and "permission denied" in r.stderr, (words, r)


def make_roles(c):
    """What nodeproxy-registry(7) says, and a user for the last of its roles, who is nobody's there."""
    page = open(os.path.join(np.SOURCE, "man/nodeproxy-registry.7"), encoding="utf-8").read()
    commands = [line for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", page, re.M | re.S)
                for line in block.replace("\\e", "\\").splitlines() if line.startswith("etcdctl ")]
    assert len(commands) > 20, commands
    for name, word in (("root.password", "r"), ("shop.password", "s"), ("mesh.password", "m")):
        with open(c.at(name), "w") as f:
            f.write(word + "\n")
    more = ["etcdctl user add mesh --interactive=false <mesh.password", "etcdctl user grant-role mesh nodeproxy-mesh"]
    at = next(i for i, c in enumerate(commands) if "user add root" in c)
    script = f"set -e; cd {c.dir}\n" + "\n".join(commands[:at] + more + commands[at:])
    run("bash", "-c", script, env=dict(env(c), ROOT=ROOT, NODE="test", NAMESPACE="shop", OPERATOR="shop-admin",
                                       PASSWORD=c.at("shop.password"), ROOT_PASSWORD=c.at("root.password")))


def write_settings(c):
    """A nodeproxy.yaml as the host has it, and one of who runs the mesh."""
    for name, who, more in (("host", "test", ""),
                            ("mesh", "people", f", user: mesh, password_file: {c.at('mesh.password')}")):
        with open(c.at(f"{name}.yaml"), "w") as f:
            f.write(f"node: test\ncluster: mesh\nservice_cidr: {CIDR}\n"
                    f"source: {{kind: etcd, endpoints: ['127.0.0.1:{c.ports[0][0]}'], ca: {c.at('ca.pem')}, "
                    f"cert: {c.at(who + '.pem')}, key: {c.at(who + '-key.pem')}{more}}}\n")


def mesh(c, *words, text=None, code=0):
    r = run(CTL, "-c", c.at("mesh.yaml"), *words, text=text, code=code, env={"NODEPROXY_SOCKET": c.at("none")})
    return r.stdout if code == 0 else r.stdout + r.stderr


def shop(c, *words, text=None, code=0, password="shop.password"):
    """An operator of the namespace, on the host: its settings, but himself."""
    r = run(CTL, *words, "-c", c.at("host.yaml"), "--user", "shop-admin", "--password-file", c.at(password),
            "--cert", c.at("people.pem"), "--cert-key", c.at("people-key.pem"), text=text, code=code,
            env={"NODEPROXY_SOCKET": c.at("none")})
    return r.stdout if code == 0 else r.stdout + r.stderr


def service(name, ns="shop", port=80, more=""):
    return (f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {ns}}}\n"
            f"spec: {{{more}ports: [{{port: {port}}}]}}\n")


def route(backend):
    return ("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop}\n"
            "spec:\n  parentRefs: [{group: '', kind: Service, name: web}]\n"
            f"  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n")


def got(c, kind, name):
    return json.loads(mesh(c, "get", kind, name, "-o", "json"))


def objects_are_keys(c):
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n" + service("web") + "---\n" + route("web")
    out = mesh(c, "apply", "--dry-run", "-f", "-", text=text)
    assert out.count("created (dry run)") == 3 and keys(c, "") == [], out
    out = mesh(c, "apply", "-f", "-", "--wait", "0", text=text)
    assert f"Service shop/web created ({ROOT}/ns/shop/core/Service/web)" in out, out
    ip = got(c, "service", "shop/web")["spec"]["clusterIP"]
    assert ipaddress.ip_address(ip) in CIDR, ip
    assert keys(c, "") == sorted([f"{ROOT}/global/core/Namespace/shop", f"{ROOT}/ns/shop/core/Service/web",
                                    f"{ROOT}/ns/shop/gateway.networking.k8s.io/HTTPRoute/web", f"{ROOT}/vip/{ip}"])
    assert c.ctl("get", "--print-value-only", f"{ROOT}/vip/{ip}").strip() == "shop/web"
    assert mesh(c, "apply", "-f", "-", text=text).count(" unchanged ") == 3
    assert "configured" in mesh(c, "apply", "-f", "-", "--wait", "0", text=service("web", port=81))
    o = got(c, "service", "shop/web")
    assert o["spec"]["clusterIP"] == ip and o["metadata"]["generation"] == 2, o
    # one that says its address has that, and no other may
    mesh(c, "apply", "-f", "-", "--wait", "0", text=service("fixed", more="clusterIP: 10.77.0.9, "))
    out = mesh(c, "apply", "-f", "-", text=service("thief", more="clusterIP: 10.77.0.9, "), code=1)
    assert "Service shop/thief: clusterIP 10.77.0.9 is another Service's" in out, out
    assert keys(c, "vip/") == sorted([f"{ROOT}/vip/{ip}", f"{ROOT}/vip/10.77.0.9"])
    assert f"{ROOT}/ns/shop/core/Service/thief" not in keys(c, "ns/")
    mesh(c, "apply", "-f", "-", "--wait", "0", text=service("fixed", more="clusterIP: 10.77.0.10, "))
    assert keys(c, "vip/") == sorted([f"{ROOT}/vip/{ip}", f"{ROOT}/vip/10.77.0.10"])
    mesh(c, "apply", "-f", "-", "--wait", "0", text=service("headless", more="clusterIP: None, "))
    # what is in there by others' hands
    c.put(f"{ROOT}/ns/shop/core/Service/odd", '{"kind": "Service"}')
    out = mesh(c, "get", "service", "-n", "shop")
    assert f"{ROOT}/ns/shop/core/Service/odd:1: apiVersion" in out, out
    assert "Service shop/odd deleted" in mesh(c, "delete", "service", "shop/odd", "--wait", "0")
    # without a daemon it is said, and done
    r = run(CTL, "-c", c.at("mesh.yaml"), "delete", "service", "shop/fixed", env={"NODEPROXY_SOCKET": c.at("none")})
    assert "no daemon answers" in r.stderr and "deleted" in r.stdout, r
    assert keys(c, "vip/") == [f"{ROOT}/vip/{ip}"]


def each_may_what_it_says(c):
    # the operators of a namespace: it, and nothing of others
    assert "Service shop/mine created" in shop(c, "apply", "-f", "-", "--wait", "0", text=service("mine"))
    assert "configured" in shop(c, "apply", "-f", "-", "--wait", "0", text=service("mine", port=81))
    out = shop(c, "apply", "-f", "-", text=service("more") + "---\n" + service("web", ns="bank"), code=1)
    assert "Service bank/web: etcdserver: permission denied" in out and "nothing was written" in out, out
    assert f"{ROOT}/ns/shop/core/Service/more" not in keys(c, "ns/shop/")
    assert "permission denied" in shop(c, "get", "service", code=1)
    assert "mine" in shop(c, "get", "service", "-n", "shop")
    assert "permission denied" in shop(c, "delete", "namespace", "shop", code=1)
    assert "authentication failed" in shop(c, "get", "service", "-n", "shop", code=1, password="mesh.password")
    # a host: reads what is to be served, writes below its name
    host = (CTL, "-c", c.at("host.yaml"))
    assert "mine" in run(*host, "get", "service").stdout
    r = run(*host, "apply", "-f", "-", text=service("mine", port=99), code=1)
    assert "permission denied" in r.stderr, r
    r = run(*host, "delete", "service", "shop/mine", code=1)
    assert "permission denied" in r.stderr, r
    c.ctl("put", f"{ROOT}/node/test/slices/x", "x", user="test")
    for key in (f"{ROOT}/node/other/x", f"{ROOT}/node/testb", f"{ROOT}/ns/shop/core/Service/x", f"{ROOT}/vip/10.77.0.1", "/x"):
        denied(c, "put", key, "x", user="test")
    denied(c, "get", "/x", user="test")
    c.ctl("del", f"{ROOT}/node/test/slices/x", user="test")
    shop(c, "delete", "service", "shop/mine", "--wait", "0")


def ten_writers(c):
    """Each its own Service, and all of them one route."""
    results, was = [], got(c, "httproute", "shop/web")["metadata"]["generation"]

    def writer(n):
        results.append(subprocess.run([CTL, "-c", c.at("mesh.yaml"), "apply", "--wait", "0", "-o", "json", "-f", "-"],
                                      input=service(f"own-{n}") + "---\n" + route(f"own-{n}"), capture_output=True, text=True))
    threads = [threading.Thread(target=writer, args=(n,)) for n in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    done = 0
    for r in results:
        own, shared = json.loads(r.stdout)["changes"]
        assert own["result"] == "created", r
        assert shared["result"] in ("configured", "conflict"), r
        assert r.returncode == (0 if shared["result"] == "configured" else 1), r
        if shared["result"] == "conflict":
            assert "changed meanwhile" in shared["message"], shared
        done += shared["result"] == "configured"
    assert done >= 1 and got(c, "httproute", "shop/web")["metadata"]["generation"] == was + done, (was, done)
    ips = [got(c, "service", f"shop/own-{n}")["spec"]["clusterIP"] for n in range(10)]
    assert len(set(ips)) == 10 and all(ipaddress.ip_address(ip) in CIDR for ip in ips), ips
    for n, ip in enumerate(ips):
        assert c.ctl("get", "--print-value-only", f"{ROOT}/vip/{ip}").strip() == f"shop/own-{n}"
    out = mesh(c, "delete", "--wait", "0", "-f", "-", text="---\n".join(service(f"own-{n}") for n in range(10)))
    assert out.count(" deleted ") == 10, out
    assert len(keys(c, "vip/")) == 1              # given back, but for web's


def documents_move(c):
    """From etcd to files and back: the same objects."""
    d = c.at("files")
    os.mkdir(d)
    kinds = ("namespace", "service", "httproute")
    text = "---\n".join(mesh(c, "get", k, "-o", "yaml") for k in kinds)
    run(CTL, "apply", "--registry", d, "-f", "-", text=text)
    for k in kinds:
        assert json.loads(run(CTL, "get", k, "--registry", d, "-o", "json").stdout) == json.loads(mesh(c, "get", k, "-o", "json"))
    assert " created " not in mesh(c, "apply", "-f", d)


def away_is_said(c):
    r = run(CTL, "get", "service", "--registry", d := c.at("files"), "--user", "x", code=2)
    assert "--user is for an etcd" in r.stderr and d, r
    r = run(CTL, "get", "service", "--registry", "etcd:nowhere", code=2)
    assert "10.0.0.1:2379" in r.stderr, r
    r = run(CTL, "get", "service", "--registry", f"etcd:127.0.0.1:{c.ports[0][0]}", "--cert", c.at("people.pem"), code=2)
    assert "source.key" in r.stderr or "source.ca" in r.stderr, r
    c.kill(0)
    out = mesh(c, "apply", "-f", "-", text=service("late"), code=3)
    assert "etcd: " in out, out
    c.start(0)
    assert "created" in mesh(c, "apply", "-f", "-", "--wait", "0", text=service("late"))


def what_is_applied_is_served(c):
    """On a host whose source it is: the settings are the daemon's, but who asks."""
    with np.Host(workers=1, config=f"cluster: mesh\nservice_cidr: {CIDR}") as host:
        one, two = host.backend("one"), host.backend("two")
        host.source = (f"{{kind: etcd, endpoints: ['{c.endpoints()[0]}'], ca: {c.at('ca.pem')}, cert: {c.at('test.pem')}, "
                       f"key: {c.at('test-key.pem')}}}")
        host.start()
        mesh(c, "delete", "httproute", "shop/web", "--wait", "0")

        def apply(port):
            docs = service("web").replace("{port: 80}", "{name: main, port: 80, appProtocol: http}") + (
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                "metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}\n"
                f"addressType: IPv4\nports: [{{name: main, port: {port}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n")
            r = run(CTL, "-s", host.socket, "apply", "-f", "-", "--user", "shop-admin", "--password-file", c.at("shop.password"),
                    "--cert", c.at("people.pem"), "--cert-key", c.at("people-key.pem"), text=docs)
            assert r.stdout.count(": accepted") >= 1, r
        apply(one.port)
        assert host.get("/x").body == b"one /x\n"
        apply(two.port)
        assert host.get("/x").body == b"two /x\n"
        # what hosts say of it, for whoever may read that
        mesh(c, "apply", "-f", "-", "--wait", "0", text=route("nowhere"))
        np.until("the host to say what is wrong", lambda: "1 of 1 not: test: ResolvedRefs=False (BackendNotFound)" in
                 mesh(c, "get", "httproute"))
        o = got(c, "httproute", "shop/web")
        assert o["status"]["hosts"] == 1 and o["status"]["problems"][0]["node"] == "test", o
        assert "HOSTS" not in shop(c, "get", "httproute", "-n", "shop")
        c.put(f"{ROOT}/node/evil/status", '{"problems": [1, {"kind": 2}, {"kind": "HTTPRoute", "namespace": "shop", "name": "web"}]}')
        c.put(f"{ROOT}/node/other/status", "garbage")
        assert "2 of 2 not:" in mesh(c, "get", "httproute")
        mesh(c, "apply", "-f", "-", "--wait", "0", text=route("web"))
        np.until("it to be mended", lambda: "1 of 2 not: evil: =False ()" in mesh(c, "get", "httproute"))
        ip = json.loads(host.ctl("describe", "service", "shop/web", "-o", "json").stdout)["status"]["clusterIP"]
        assert ip == got(c, "service", "shop/web")["spec"]["clusterIP"], ip


def main():
    with etcd.Cluster(1, tls=True) as c:
        c.certificate("test")
        c.certificate("people")
        make_roles(c)
        write_settings(c)
        objects_are_keys(c)
        each_may_what_it_says(c)
        ten_writers(c)
        documents_move(c)
        what_is_applied_is_served(c)
        away_is_said(c)
    print("registry: keys, roles, ten writers, addresses, moved, served, away")


main()
