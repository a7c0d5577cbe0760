#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""TLS to endpoints, as BackendTLSPolicies want it: who is trusted, what is never sent, what is told."""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402
from pki import Authority, TlsBackend, condition  # noqa: E402

np.only_in_tiers("process")
np.need_root()


def config_map(host, name, *files):
    text = "".join(open(f).read() for f in files)
    host.write(f"{name}.yaml", f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata:\n  ca.crt: |\n" +
               "".join(f"    {line}\n" for line in text.splitlines()))


def policy(host, name="secure", service="web", hostname="shop.example", ca=("ca",), names=(), system=False, created="", api="v1"):
    trusted = "    wellKnownCACertificates: System\n" if system else "    caCertificateRefs: [%s]\n" % ", ".join(
        "{group: '', kind: ConfigMap, name: %s}" % c for c in ca)
    sans = "    subjectAltNames: [%s]\n" % ", ".join("{type: %s, %s: '%s'}" % (t, "uri" if t == "URI" else "hostname", n)
                                                    for t, n in names) if names else ""
    host.write(f"policy-{name}.yaml", f"apiVersion: gateway.networking.k8s.io/{api}\nkind: BackendTLSPolicy\n"
               f"metadata: {{name: {name}, namespace: shop{', creationTimestamp: ' + created if created else ''}}}\nspec:\n"
               f"  targetRefs: [{{group: '', kind: Service, name: {service}}}]\n"
               f"  validation:\n    hostname: {hostname}\n{trusted}{sans}")


def answers(host, status, why=None, path="/x"):
    """Until a request is answered so: what is written shows a moment later."""
    def one():
        a = host.get(path)
        return a.status == status and (why is None or a.headers.get("x-nodeproxy-reason") == why)
    np.until(f"{status} {why or ''}", one)


class Deaf:
    """An endpoint that hears what is said, and hangs up."""

    def __init__(self):
        self.heard, self.listener = b"", socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                with self.listener.accept()[0] as c:
                    self.heard += c.recv(65536)
        except OSError:
            return


def requests_go_over_tls_and_connections_are_kept():
    with np.Host(workers=1) as host:
        ca = Authority(host.dir)
        one = TlsBackend("one", *ca.issue("one"))
        config_map(host, "ca", ca.cert)
        host.service("shop/web", 80, [one.port])
        policy(host, api="v1alpha3")
        host.start()
        for i in range(4):
            a = host.get(f"/{i}")
            assert (a.status, a.body) == (200, b"one /%d 0\n" % i), (a.status, a.headers, a.body)
        a = host.get("/body", "POST", b"x" * 300000)
        assert a.body == b"one /body 300000\n", a.body
        assert one.handshakes == 1 and one.seen == ["shop.example"] and one.clear == b"", (one.handshakes, one.seen, one.clear)
        np.until("conditions", lambda: condition(host, "backendtlspolicy", "shop/secure", "Accepted")[0] == "True")
        assert condition(host, "backendtlspolicy", "shop/secure", "ResolvedRefs")[:2] == ("True", "ResolvedRefs")
        port = host.ctl_json("describe", "service", "shop/web")["ports"][0]["tls"]
        assert port == dict(policy="secure", hostname="shop.example", system=False, issuers=1, names=[]), port
        assert "endpoints are asked for shop.example" in host.ctl("explain", "--from", "shop/front", "web.shop/x").stdout
        rows = host.ctl_json("get", "policies")["policies"]
        assert [(r["kind"], r["accepted"]) for r in rows] == [("BackendTLSPolicy", "True")], rows
        # an older one counts before it, and asks for another name
        policy(host, "older", hostname="localhost", created="2001-01-01T00:00:00Z")
        policy(host, created="2002-01-01T00:00:00Z")
        np.until("the conflict", lambda: condition(host, "backendtlspolicy", "shop/secure", "Accepted")[1] == "Conflicted")
        np.until("the other name", lambda: host.get("/x").status == 200 and one.seen[-1] == "localhost")
        one.stop()


def nobody_else_is_sent_anything():
    with np.Host(workers=1, config="timeouts: {handshake: 300ms}") as host:
        ca, other = Authority(host.dir), Authority(host.dir, "other")
        config_map(host, "ca", ca.cert)
        config_map(host, "other", other.cert)
        one = TlsBackend("one", *ca.issue("one", "p256", san="DNS:one.example,URI:spiffe://cluster.local/ns/shop/sa/web"))
        late = TlsBackend("late", *ca.issue("late", days=-1))
        clear, mute, deaf = host.backend("clear"), socket.create_server(("127.0.0.1", 0)), Deaf()
        host.service("shop/web", 80, [one.port])
        policy(host, ca=["other"])
        host.start()
        answers(host, 503, "BACK_TLS_CERTIFICATE")
        policy(host)
        answers(host, 503, "BACK_TLS_NAME")
        policy(host, names=[("Hostname", "two.example"), ("URI", "spiffe://cluster.local/ns/shop/sa/web2")])
        np.until("the names", lambda: len(host.ctl_json("describe", "service", "shop/web")["ports"][0]["tls"]["names"]) == 2)
        answers(host, 503, "BACK_TLS_NAME")
        policy(host, names=[("Hostname", "two.example"), ("URI", "spiffe://cluster.local/ns/shop/sa/web")])
        answers(host, 200)
        policy(host, names=[("Hostname", "one.example")], ca=["other", "ca"])
        np.until("both issuers", lambda: host.ctl_json("describe", "service", "shop/web")["ports"][0]["tls"]["issuers"] == 2)
        answers(host, 200)
        assert one.seen[-1] == "shop.example", one.seen[-1]
        host.service("shop/web", 80, [late.port])
        answers(host, 503, "BACK_TLS_EXPIRED")
        host.service("shop/web", 80, [deaf.port])
        answers(host, 503, "BACK_TLS_FAILED")
        host.service("shop/web", 80, [mute.getsockname()[1]])
        answers(host, 503, "BACK_TLS_SLOW")
        assert deaf.heard[:1] == b"\x16" and b"GET" not in deaf.heard and one.clear == late.clear == b"", deaf.heard
        # who trusts nobody sends nothing
        host.service("shop/web", 80, [one.port])
        policy(host, ca=["gone"], hostname="one.example")
        answers(host, 503, "NO_BACK_TLS")
        seen = one.handshakes
        np.until("conditions", lambda: condition(host, "backendtlspolicy", "shop/secure", "ResolvedRefs")[1] == "InvalidCACertificateRef")
        assert condition(host, "backendtlspolicy", "shop/secure", "Accepted")[:2] == ("False", "NoValidCACertificate")
        assert host.get("/x").status == 503 and one.handshakes == seen
        # it comes
        config_map(host, "gone", ca.cert)
        answers(host, 200)
        # no policy, no TLS
        os.unlink(f"{host.resources}/policy-secure.yaml")
        host.service("shop/web", 80, [clear.port])
        answers(host, 200)
        one.stop(), late.stop(), mute.close(), deaf.listener.shutdown(socket.SHUT_RDWR), deaf.listener.close()


def the_host_s_issuers_are_read_anew():
    with np.Host(workers=2) as host:
        ca, other = Authority(host.dir), Authority(host.dir, "other")
        roots = f"{host.dir}/roots.pem"
        host.config = f"system_ca: {roots}"
        one = TlsBackend("one", *ca.issue("one"))
        host.service("shop/web", 80, [one.port])
        policy(host, system=True)
        host.start()
        answers(host, 503, "NO_BACK_TLS")
        with open(roots, "w") as f:
            f.write(open(other.cert).read())
        answers(host, 503, "BACK_TLS_CERTIFICATE")
        with open(roots + "~", "w") as f:
            f.write(open(other.cert).read() + open(ca.cert).read())
        os.rename(roots + "~", roots)
        answers(host, 200)
        assert condition(host, "backendtlspolicy", "shop/secure", "Accepted")[:2] == ("True", "Accepted")
        one.stop()


def who_was_spoken_to_before_is_resumed():
    with np.Host(workers=1) as host:
        ca = Authority(host.dir)
        one = TlsBackend("one", *ca.issue("one"))
        one.hangs_up = True
        config_map(host, "ca", ca.cert)
        host.service("shop/web", 80, [one.port])
        policy(host)
        host.start()
        for _ in range(5):
            assert host.get("/x").status == 200
        assert one.handshakes == 5 and one.resumed >= 3, (one.handshakes, one.resumed)
        one.stop()


def bytes_that_nobody_knows_go_over_tls_too():
    with np.Host(workers=1) as host:
        ca = Authority(host.dir)
        one = TlsBackend("one", *ca.issue("one"), alpn=())
        one.echoes = True
        config_map(host, "ca", ca.cert)
        host.service("shop/web", 80, [one.port], app="tcp")
        policy(host)
        host.start()
        data = os.urandom(3 << 20)
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            got = bytearray()
            for at in range(0, len(data), 65536):
                s.sendall(data[at:at + 65536])
                while len(got) < at:
                    got += s.recv(65536)
            s.shutdown(socket.SHUT_WR)
            while (more := s.recv(65536)):
                got += more
        assert got == data and one.clear == b"", (len(got), one.clear)
        one.stop()


def http2_goes_over_tls_and_health_is_asked_in_it():
    """The endpoint is another nodeproxy, whose listener terminates TLS."""
    with np.Host(workers=1) as far, np.Host(workers=1) as host:
        ca = Authority(far.dir)
        cert, key = ca.issue("web")
        far.service("shop/web", 80, [far.backend("one").port])
        far.listeners = [dict(name="front", bind=f"127.0.0.1:{far.port}", namespace="shop", route="service",
                              service="shop/web:80", tls="terminate", tls_certificate=cert, tls_key=key)]
        far.start()
        config_map(host, "ca", ca.cert)
        host.service("shop/web", 80, [far.port], app="kubernetes.io/h2c", extra=(
            "---\napiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p, namespace: shop}\n"
            "spec:\n  targetRefs: [{group: '', kind: Service, name: web}]\n"
            "  healthCheck: {type: HTTP, path: /health, interval: 100ms}\n"))
        policy(host)
        host.start()
        for i in range(20):
            a = host.get(f"/{i}", "POST", b"y" * 10000 * i)
            assert (a.status, a.body) == (200, b"one /%d\n" % i), (a.status, a.headers, a.body)
        # one for all requests, and one for each check; checks are HTTP/1.1
        np.until("checks", lambda: host.metric("nodeproxy_worker_health_checks_total") > 2)
        assert host.metric("nodeproxy_worker_health_checks_failed_total") == 0
        assert host.metric("nodeproxy_worker_trunks_opened_total") == 1
        log = far.logged("/health", "/19")
        lines = [x for x in log.splitlines() if "/19" in x]
        assert len(lines) == 1 and "protocol=HTTP/2" in lines[0] and "tls_version=" in lines[0], lines
        policy(host, hostname="other.example")
        answers(host, 503, "BACK_TLS_NAME")
        np.until("it to be unwell", lambda: host.metric("nodeproxy_worker_health_checks_failed_total") > 0)


TESTS = [requests_go_over_tls_and_connections_are_kept, nobody_else_is_sent_anything, the_host_s_issuers_are_read_anew,
         who_was_spoken_to_before_is_resumed, bytes_that_nobody_knows_go_over_tls_too,
         http2_goes_over_tls_and_health_is_asked_in_it]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
