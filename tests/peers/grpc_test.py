#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Real gRPC through nodeproxy: clients and servers of Python and Go, each with each, for unary calls, streams
both ways, statuses and trailers, retries, deadlines, cancellation and messages of 4 MiB; and all of it through a GRPCRoute
that gives each method to one of them; and over TLS."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402
from pki import Authority  # noqa: E402

np.only_in_tiers("process")
np.need_root()
HERE = os.path.join(np.SOURCE, "tests/peers")
PYTHON = "/usr/bin/python3"         # that of the distribution, which has its grpcio

RETRIES = """---
apiVersion: nodeproxy.io/v1alpha1
kind: TrafficPolicy
metadata: {{name: {lang}, namespace: shop}}
spec:
  targetRefs: [{{group: "", kind: Service, name: {lang}}}]
  retries: {{on: [unavailable], attempts: 2}}
"""


def peers(tmp):
    """{language: command}; what is not installed is said and left out."""
    out = {}
    if subprocess.run([PYTHON, "-c", "import grpc"], capture_output=True).returncode == 0:
        out["python"] = [PYTHON, os.path.join(HERE, "grpc_peer.py")]
    else:
        print("not tried: Python, python3-grpcio is not installed")
    go = os.path.join(tmp, "grpc_peer")
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=os.path.join(tmp, "cache"),
               GOTOOLCHAIN="local")
    command = "/usr/lib/go/bin/go"
    if os.path.exists(command) and os.path.isdir("/usr/share/gocode/src/google.golang.org/grpc"):
        r = subprocess.run([command, "build", "-o", go, os.path.join(HERE, "grpc_peer.go")], env=env, capture_output=True)
        assert r.returncode == 0, r.stderr.decode()[-2000:]
        out["go"] = [go]
    else:
        print("not tried: Go, golang-go and golang-google-grpc-dev are not installed")
    return out


SERVICE = "test.Peer"


def route(servers):
    """A Service without endpoints and appProtocol, whose methods are those of the servers, in turn."""
    one, other = servers[0], servers[-1]

    def to(name):
        return f"backendRefs: [{{name: {name}, port: 50051}}]"
    return (f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\n"
            f"metadata: {{name: routed, namespace: shop}}\nspec:\n"
            f"  parentRefs: [{{group: '', kind: Service, name: routed}}]\n  rules:\n"
            f"  - matches: [{{method: {{service: {SERVICE}}}}}]\n    {to(one)}\n"
            f"  - matches: [{{method: {{service: {SERVICE}, method: Echo}}}}, {{method: {{service: {SERVICE}, method: Chat}}}}]\n"
            f"    {to(other)}\n")


def over_tls(host, server):
    """TLS on either side: to a Service whose endpoint is a listener of ours that terminates it."""
    ca, near, far = Authority(host.dir), np.free_port(), np.free_port()
    cert, key = ca.issue("far", "p256")
    host.service("shop/far", 50051, [far], app="kubernetes.io/h2c", extra=(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: far, namespace: shop}\nspec:\n"
        "  targetRefs: [{group: '', kind: Service, name: far}]\n"
        "  validation: {hostname: shop.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca, namespace: shop}\ndata:\n  ca.crt: |\n" +
        "".join(f"    {line}\n" for line in open(ca.cert).read().splitlines())))
    host.listeners += [dict(name="near", bind=f"127.0.0.1:{near}", namespace="shop", route="service", service="shop/far:50051"),
                       dict(name="far", bind=f"127.0.0.1:{far}", namespace="shop", route="service",
                            service=f"shop/{server}:50051", tls="terminate", tls_certificate=cert, tls_key=key)]
    return near


def main():
    with np.Host(workers=2) as host:
        known = peers(host.dir)
        if not known:
            np.skip("neither Python's nor Go's gRPC is here")
        servers, ports, ends = [], {}, {}
        host.listeners = []
        for lang, command in known.items():
            port, ports[lang] = np.free_port(), np.free_port()
            ends[lang] = port
            servers.append(subprocess.Popen(command + ["serve", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True))
            assert servers[-1].stdout.readline() == "ready\n"
            host.service(f"shop/{lang}", 50051, [port], app="kubernetes.io/h2c", extra=RETRIES.format(lang=lang))
            host.listeners.append(dict(name=lang, bind=f"127.0.0.1:{ports[lang]}", namespace="shop", route="service",
                                       service=f"shop/{lang}:50051"))
        port = np.free_port()
        host.service("shop/routed", 80, [], app=None, extra=route(list(known)))
        host.listeners.append(dict(name="routed", bind=f"127.0.0.1:{port}", namespace="shop", route="service",
                                   service="shop/routed:80"))
        ports["routed"] = port
        ports["tls"] = over_tls(host, list(known)[-1])
        try:
            host.start()
            np.until("both to be ready", lambda: host.status()["ready"])
            bad = False
            for client, command in known.items():
                for server in ports:
                    if server == "tls" and command is not list(known.values())[0]:
                        continue
                    r = subprocess.run(command + ["call", str(ports[server])], capture_output=True, text=True, timeout=300)
                    bad |= r.returncode != 0 or "FAILED" in r.stdout or not r.stdout
                    print("".join(f"{client} -> {server}: {line}\n" for line in (r.stdout + r.stderr[-1000:]).splitlines()), end="",
                          flush=True)
            assert not bad
            for end in ends.values():
                np.until("calls by the route to each", lambda: any(
                    "route=shop/routed" in line and f"endpoint=127.0.0.1:{end} " in line for line in open(host.access_log)))
            assert all(w["restarts"] == 0 for w in host.status()["workers"])
        finally:
            for s in servers:
                s.stdin.close()
                s.wait(20)


main()
