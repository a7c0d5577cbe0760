#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Listeners that terminate TLS, and the key process: what callers get (openssl, curl, Python), what is in
which process' memory, and what happens when files change, are wrong, or the key process is away."""
import concurrent.futures
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402
from pki import Authority, TlsBackend, condition, openssl  # noqa: E402

np.only_in_tiers("process")
np.need_root()
SANITIZED = b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read()
COMM = dict(worker="nodeproxy-worke", keyd="nodeproxy-keyd", syncd="nodeproxy-syncd", admind="nodeproxy-admin",
            master="nodeproxy-mastr")


def pid_of(host, kind):
    return next((p for p, c in host.pids().items() if c == COMM[kind]), 0)


def pids_of(host, kind):
    return [p for p, c in host.pids().items() if c == COMM[kind]]


def listener(host, cert, key, **more):
    return dict(dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service", service="shop/web:80",
                     tls="terminate", tls_certificate=cert, tls_key=key), **more)


def served(host, cert, key, **more):
    one = host.backend("one")
    host.service("shop/web", 80, [one.port])
    host.listeners = [listener(host, cert, key, **more)]
    host.start()
    return host


def curl(host, ca, *words, path="/x", name="shop.example"):
    r = subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert", ca, "--resolve", f"{name}:{host.port}:127.0.0.1",
                        *words, f"https://{name}:{host.port}{path}"], capture_output=True, text=True)
    return r.returncode, r.stdout, r.stderr


def context(ca, cert=None, key=None, alpn=None):
    c = ssl.create_default_context(cafile=ca)
    if cert:
        c.load_cert_chain(cert, key)
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


def ask(host, c, path="/x", timeout=20, lines=""):
    """One request over TLS: status, body and the socket's version."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=timeout) as s, \
            c.wrap_socket(s, server_hostname="shop.example") as t:
        t.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\n{lines}Connection: close\r\n\r\n".encode())
        data = b""
        while (more := t.recv(65536)):
            data += more
        return int(data.split()[1]), data.split(b"\r\n\r\n", 1)[1], t.version()


def reason(host, name):
    return host.metric("nodeproxy_reasons_total", reason=name)


def log_of(host):
    return open(host.log, errors="replace").read()


# ---- callers

def curl_is_served_in_both_versions_of_http_with_each_kind_of_key():
    for kind in ("ed25519", "p256", "rsa"):
        with np.Host() as host:
            ca = Authority(host.dir)
            served(host, *ca.issue("web", kind))
            for words, version in (((), "2"), (("--http1.1",), "1.1")):
                code, out, err = curl(host, ca.cert, *words, "-w", "%{http_version} %{scheme}", path="/" + kind)
                assert code == 0 and out == f"one /{kind}\n{version} HTTPS", (kind, code, out, err)
            big = "x" * 300000
            host.backends[0].body = big.encode()
            code, out, err = curl(host, ca.cert, path="/big")
            assert code == 0 and out == big, (code, len(out), err)
            host.logged(f'path="/{kind}"')


def a_slow_reader_gets_all_of_it():
    with np.Host() as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        body = host.backends[0].body = os.urandom(1 << 20) * 6
        want = hashlib.sha256(body).hexdigest()
        for alpn in ("http/1.1", None):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.settimeout(20)
                s.connect(("127.0.0.1", host.port))
                c = context(ca.cert, alpn=[alpn] if alpn else None)
                with c.wrap_socket(s, server_hostname="shop.example") as t:
                    t.sendall(b"GET /x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                    data = bytearray()
                    while (more := t.recv(5000)):
                        data += more
            assert hashlib.sha256(data.split(b"\r\n\r\n", 1)[1]).hexdigest() == want, len(data)
        for words in ((), ("--http1.1",)):
            out = f"{host.dir}/out"
            code, _, err = curl(host, ca.cert, "--limit-rate", "20M", "-o", out, *words)
            assert code == 0 and hashlib.sha256(open(out, "rb").read()).hexdigest() == want, (words, code, err)


def endpoints_hear_of_https_and_the_log_says_what_was_spoken():
    with np.Host() as host:
        ca = Authority(host.dir)
        web = ca.issue("web")
        served(host, *web)
        assert ask(host, context(ca.cert))[0] == 200
        line = host.logged("server_name=shop.example")
        assert "tls_version=1.3" in line and "tls_cipher=TLS_" in line and "client=-" in line, line


def what_does_not_speak_tls_is_told_by_an_end_and_counted():
    with np.Host() as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            data = s.recv(100)
            assert b"HTTP" not in data, data
        np.until("the reason", lambda: reason(host, "TLS_NOT_TLS") == 1)
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            s.sendall(b"\x16\x03\x01\x00\x80")
        np.until("the reason", lambda: reason(host, "TLS_CLOSED") == 1)
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            c = context(ca.cert, alpn=["nothing/1"])
            try:
                c.wrap_socket(s, server_hostname="shop.example")
                raise AssertionError("a protocol that nobody speaks")
            except ssl.SSLError as e:
                assert "application protocol" in str(e).lower().replace("_", " "), e
        np.until("the reason", lambda: reason(host, "TLS_ALPN") == 1)
        # who does not trust us says so
        other = Authority(host.dir, "other")
        assert curl(host, other.cert)[0] == 60
        np.until("the reason", lambda: reason(host, "TLS_ALERT") == 1)
        assert curl(host, ca.cert)[0] == 0
        assert host.metric("nodeproxy_listener_tls_failed_total", listener="front") == 4


def callers_get_the_certificate_of_the_name_they_ask_for():
    with np.Host(workers=1) as host:
        ca = Authority(host.dir)
        pairs = [ca.issue(name, kind, san) for name, kind, san in (
            ("first", "ed25519", "DNS:shop.example"), ("one", "p256", "DNS:one.wild.example"), ("wild", "rsa", "DNS:*.wild.example"))]
        served(host, *(" ".join(files) for files in zip(*pairs)))
        for name in ("shop.example", "one.wild.example", "a.wild.example"):
            code, out, err = curl(host, ca.cert, name=name)
            assert code == 0 and out == "one /x\n", (name, code, out, err)
        for name in ("else.where", "a.b.wild.example"):      # gets the first, which is not of that name
            assert curl(host, ca.cert, name=name)[0] == 60, name
        names = host.ctl_json("get", "listeners")["listeners"][0]["certificate_names"]
        assert names == "shop.example, one.wild.example, *.wild.example", names
        # another one of them, and one that is wrong: it goes on with what it had
        again = ca.issue("one", "p256", "DNS:one.example,DNS:deep.one.example")
        np.until("the other", lambda: curl(host, ca.cert, name="deep.one.example")[0] == 0)
        open(again[1], "w").close()
        np.until("the log", lambda: "listener=front/1 why=\"tls_key:" in log_of(host))
        assert curl(host, ca.cert, name="deep.one.example")[0] == 0
        assert curl(host, ca.cert, name="shop.example")[0] == 0
        host.listeners[0]["tls_key"] = pairs[0][1]
        host.write_config()
        said = host.ctl("reload")
        assert said.returncode != 0 and "tls_key: must be as many files as tls_certificate" in said.stderr + said.stdout, said


def a_version_is_spoken_when_it_is_wanted():
    with np.Host() as host:
        ca = Authority(host.dir)
        cert, key = ca.issue("web", "p256")
        served(host, cert, key)
        assert curl(host, ca.cert, "--tls-max", "1.2")[0] == 35
        np.until("the reason", lambda: reason(host, "TLS_VERSION") == 1)
        host.listeners = [listener(host, cert, key, tls_min_version="1.2")]
        host.write_config()
        assert host.ctl("reload").returncode == 0
        def older():
            return curl(host, ca.cert, "--tls-max", "1.2")[0] == 0
        np.until("TLS 1.2", older)
        c = context(ca.cert)
        c.maximum_version = ssl.TLSVersion.TLSv1_2
        assert ask(host, c)[2] == "TLSv1.2"
        assert ask(host, context(ca.cert))[2] == "TLSv1.3"


def callers_certificates_are_asked_for_and_judged():
    with np.Host() as host:
        ca, other = Authority(host.dir), Authority(host.dir, "other")
        cert, key = ca.issue("web")
        alice = ca.issue("alice", "p256", san="URI:spiffe://cluster.local/ns/shop/sa/alice")
        mallory = other.issue("mallory")
        served(host, cert, key, tls_client="require", tls_client_ca=ca.cert)
        assert ask(host, context(ca.cert, *alice))[0] == 200
        np.until("a line", lambda: "client=spiffe://cluster.local/ns/shop/sa/alice" in open(host.access_log).read())
        der = ssl.PEM_cert_to_DER_cert(open(alice[0]).read())
        heads = []
        host.backends[0].heads = heads
        ask(host, context(ca.cert, *alice), lines="X-Forwarded-Client-Cert: Hash=forged\r\n")
        got = [v for k, v in heads[-1] if k == b"x-forwarded-client-cert"]
        assert got == [f"Hash={hashlib.sha256(der).hexdigest()};Subject=\"CN=alice\";URI=spiffe://cluster.local/ns/shop/sa/alice".encode()], got
        assert (b"x-forwarded-proto", b"https") in heads[-1], heads[-1]
        for c, name in ((context(ca.cert), "TLS_NO_CERTIFICATE"), (context(ca.cert, *mallory), "TLS_UNKNOWN_ROOT")):
            try:
                ask(host, c)
                raise AssertionError(name)
            except OSError:
                pass
            np.until(name, lambda: reason(host, name) == 1)
        # revoked: the list is in the same file, which is read anew when it changes
        with open(f"{host.dir}/index.txt", "w"):
            pass
        with open(f"{host.dir}/ca.cnf", "w") as f:
            f.write(f"[ca]\ndefault_ca=x\n[x]\ndatabase={host.dir}/index.txt\ndefault_md=sha256\ndefault_crl_days=10\n")
        openssl("ca", "-config", f"{host.dir}/ca.cnf", "-revoke", alice[0], "-keyfile", ca.key, "-cert", ca.cert)
        crl = openssl("ca", "-config", f"{host.dir}/ca.cnf", "-gencrl", "-keyfile", ca.key, "-cert", ca.cert)
        # a session from before is not a way in
        c = context(ca.cert, *alice)
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s, \
                c.wrap_socket(s, server_hostname="shop.example") as t:
            t.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            t.recv(65536)
            session = t.session
        with open(ca.cert + "~", "wb") as f:
            f.write(open(ca.cert, "rb").read() + crl)
        os.rename(ca.cert + "~", f"{host.dir}/roots.pem")
        host.listeners = [listener(host, cert, key, tls_client="require", tls_client_ca=f"{host.dir}/roots.pem")]
        host.write_config()
        r = host.ctl("reload")
        assert r.returncode == 0, r.stderr

        def revoked():
            try:
                ask(host, context(f"{ca.cert}", *alice))
                return False
            except OSError:
                return reason(host, "TLS_REVOKED") > 0
        np.until("the list to be in use", revoked)
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            try:
                with c.wrap_socket(s, server_hostname="shop.example", session=session) as t:
                    t.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
                    assert not t.recv(100)
            except OSError:
                pass
        # optional: none is fine, a bad one is not
        host.listeners = [listener(host, cert, key, tls_client="optional", tls_client_ca=f"{host.dir}/roots.pem")]
        host.write_config()
        assert host.ctl("reload").returncode == 0

        def none_is_fine():
            try:
                return ask(host, context(ca.cert))[0] == 200
            except OSError:
                return False
        np.until("callers without certificate", none_is_fine)
        try:
            ask(host, context(ca.cert, *mallory))
            raise AssertionError("mallory")
        except OSError:
            pass


def a_load_balancer_may_stand_in_front():
    with np.Host() as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"), proxy_protocol="require")
        heads = host.backends[0].heads = []
        for together in (False, True):      # the header alone, or with the first bytes of TLS
            with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
                header = b"PROXY TCP4 192.0.2.7 192.0.2.9 4711 443\r\n"
                inc, out = ssl.MemoryBIO(), ssl.MemoryBIO()
                t = context(ca.cert).wrap_bio(inc, out, server_hostname="shop.example")
                if not together:
                    s.sendall(header)
                    header = b""
                data, sent = b"", False
                while b"one /x" not in data:
                    try:
                        if not sent:
                            t.do_handshake()
                            t.write(b"GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n")
                            sent = True
                        data += t.read(65536)
                    except ssl.SSLWantReadError:
                        if out.pending:
                            s.sendall(header + out.read())
                            header = b""
                        inc.write(s.recv(65536))
            assert (b"x-forwarded-for", b"192.0.2.7") in heads[-1] and (b"x-forwarded-proto", b"https") in heads[-1], heads[-1]
        assert host.metric("nodeproxy_worker_unknown_syscalls_total") == 0
        assert "unknown" not in log_of(host)


def nobody_is_cut_while_all_of_it_changes():
    """Callers on kept connections, while files, workers and the key process change under them."""
    with np.Host(config="respawn: {min: 5, max: 100}") as host:
        ca = Authority(host.dir)
        cert, key = ca.issue("web")
        served(host, cert, key)
        stop, failed, done = threading.Event(), [], []

        def caller():
            c = context(ca.cert)
            while not stop.is_set():
                try:
                    assert ask(host, c)[0] == 200
                    done.append(1)
                except Exception as e:      # noqa: B902: whatever befell it
                    failed.append(repr(e))
        threads = [threading.Thread(target=caller) for _ in range(6)]
        for t in threads:
            t.start()

        def more(n=20):
            want = len(done) + n
            np.until("more answers", lambda: len(done) >= want)
        more()
        for kind in ("p256", "rsa", "ed25519"):
            c2, k2 = ca.issue("next-" + kind, kind)
            os.rename(k2, key)
            os.rename(c2, cert)
            was = log_of(host).count("keys_in_use")
            np.until("the new ones", lambda: log_of(host).count("keys_in_use") > was)
            more()
        os.kill(pid_of(host, "keyd"), signal.SIGKILL)
        more()
        r = host.ctl("drain", "--worker", "0")
        assert r.returncode == 0, r.stderr
        more()
        stop.set()
        for t in threads:
            t.join()
        assert not failed, (len(failed), failed[:3])


def connections_are_resumed_by_whatever_worker():
    with np.Host(workers=2) as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        c = context(ca.cert)
        session, resumed = None, 0
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s, \
                    c.wrap_socket(s, server_hostname="shop.example", session=session) as t:
                t.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                while t.recv(65536):
                    pass
                resumed += t.session_reused
                session = t.session or session
        assert resumed >= 28, resumed
        np.until("the count", lambda: host.metric("nodeproxy_listener_tls_resumed_total") == resumed)


def a_slow_caller_is_cut_and_a_flood_is_bounded():
    with np.Host(config="timeouts: {handshake: 300}\nlimits: {tenant_handshakes: 5}") as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            assert s.recv(1) == b""         # said nothing
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")
            while s.recv(100):
                pass
        np.until("the reason", lambda: reason(host, "TLS_SLOW") == 2)
        host.logged("tenant=shop namespace=shop listener=front service=- .* reason=TLS_SLOW flag=")

        def one(_):
            try:
                return ask(host, context(ca.cert))[0]
            except OSError:
                return 0
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            got = list(pool.map(one, range(60)))
        assert got.count(0) > 0 and got.count(200) > 0, got
        n = reason(host, "OVER_HANDSHAKES")
        assert n > 0
        np.until("a line of each", lambda: open(host.access_log).read().count(" reason=OVER_HANDSHAKES flag=UO ") == n)


def a_flood_of_one_tenant_is_its_own():
    """Full handshakes of shop, more than it may begin; bank, on the same worker, gets every one of its own."""
    with np.Host(workers=1, config="limits: {tenant_handshakes: 20}") as host:
        ca, other = Authority(host.dir), np.free_port()
        cert, key = ca.issue("web", "p256")
        served(host, cert, key)
        host.stop()
        host.service("bank/web", 80, [host.backends[0].port])
        host.listeners.append(listener(host, cert, key, name="bank", bind=f"127.0.0.1:{other}", namespace="bank",
                                       service="bank/web:80"))
        host.start()
        leave, begun = threading.Event(), []

        def flood():
            while not leave.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as s, \
                            context(ca.cert).wrap_socket(s, server_hostname="shop.example"):
                        begun.append(1)
                except OSError:
                    begun.append(0)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(flood)
            np.until("the flood to be over its limit", lambda: reason(host, "OVER_HANDSHAKES") > 20)
            for _ in range(15):
                with socket.create_connection(("127.0.0.1", other), timeout=20) as s, \
                        context(ca.cert).wrap_socket(s, server_hostname="shop.example") as t:
                    t.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    assert t.recv(100).startswith(b"HTTP/1.1 200 "), begun.count(0)
            leave.set()
        assert begun.count(0) > 0 and begun.count(1) > 0, begun
        assert host.metric("nodeproxy_listener_tls_handshakes_total", listener="bank") == 15


# ---- settings

def wrong_files_are_refused_with_their_place():
    with np.Host() as host:
        ca = Authority(host.dir)
        cert, key = ca.issue("web")
        cert2, key2 = ca.issue("two")
        served(host, cert, key)
        keyd = pid_of(host, "keyd")
        for more, words in (
                (dict(tls_key=f"{host.dir}/none"), r"nodeproxy.yaml:\d+: listeners\[0\].tls_key: cannot open .*/none: No such file"),
                (dict(tls_key=key2), r"nodeproxy.yaml:\d+: listeners\[0\].tls_key: is not the key of the certificate"),
                (dict(tls_certificate=key), r"nodeproxy.yaml:\d+: listeners\[0\].tls_certificate: has no certificate in it"),
                (dict(tls_certificate="relative"), r"nodeproxy.yaml:\d+: listeners\[0\].tls_certificate: must be an absolute path"),
                (dict(tls_certificate=""), r"nodeproxy.yaml:\d+: listeners\[0\].tls_certificate: is required with tls: terminate"),
                (dict(tls="off"), r"nodeproxy.yaml:\d+: listeners\[0\].tls_certificate: has a meaning only with tls: terminate"),
                (dict(tls_client="require"), r"nodeproxy.yaml:\d+: listeners\[0\].tls_client_ca: is required with tls_client"),
                (dict(tls_client_ca=ca.cert), r"nodeproxy.yaml:\d+: listeners\[0\].tls_client_ca: has a meaning only with tls_client"),
                (dict(tls_client="require", tls_client_ca=cert), r"nodeproxy.yaml:\d+: listeners\[0\].tls_client_ca: a certificate in it may not issue others"),
                (dict(tls_key=host.dir), r"nodeproxy.yaml:\d+: listeners\[0\].tls_key: cannot open .*: not a regular file")):
            host.listeners = [listener(host, cert, key, **more)]
            host.write_config()
            r = host.ctl("reload")
            assert r.returncode == 1 and re.search(words, r.stderr + r.stdout), (more, r.stdout, r.stderr)
            assert curl(host, ca.cert)[0] == 0      # the last good ones serve
        assert pid_of(host, "keyd") == keyd
        host.listeners = [listener(host, cert2, key2)]
        host.write_config()
        assert host.ctl("reload").returncode == 0
        host.listeners = [listener(host, f"{host.dir}/none", key)]
        host.write_config()
        r = subprocess.run([os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "-t", "-c", f"{host.dir}/nodeproxy.yaml"],
                           capture_output=True, text=True)
        assert r.returncode == 1 and "listeners[0].tls_certificate: cannot open" in r.stderr, r


def the_key_process_runs_while_some_listener_wants_it():
    with np.Host() as host:
        ca = Authority(host.dir)
        cert, key = ca.issue("web")
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        assert not pid_of(host, "keyd")
        plain = dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service", service="shop/web:80")
        second = np.free_port()
        host.listeners = [plain, dict(listener(host, cert, f"{host.dir}/root.key"), name="secure", bind=f"127.0.0.1:{second}")]
        host.write_config()
        r = host.ctl("reload")
        assert r.returncode == 1 and "listeners[1].tls_key: is not the key of the certificate" in r.stderr, r
        np.until("it to leave again", lambda: not pid_of(host, "keyd"))
        host.listeners[1]["tls_key"] = key
        host.write_config()
        r = host.ctl("reload")
        assert r.returncode == 0, r.stderr
        assert pid_of(host, "keyd")
        port, host.port = host.port, second
        np.until("an answer", lambda: curl(host, ca.cert)[0] == 0)
        host.port = port
        assert host.get("/plain").status == 200
        host.listeners = [plain]
        host.write_config()
        assert host.ctl("reload").returncode == 0
        np.until("it to leave", lambda: not pid_of(host, "keyd"))
        assert host.get("/plain").status == 200


def files_that_change_are_read_anew():
    with np.Host() as host:
        ca = Authority(host.dir)
        cert, key = ca.issue("web")
        served(host, cert, key)
        was = ssl.get_server_certificate(("127.0.0.1", host.port))
        c2, k2 = ca.issue("next", "p256")
        os.rename(c2, cert)         # for a moment the key is another's
        np.until("the key process to see it", lambda: "key_files_not_used" in log_of(host))
        assert ssl.get_server_certificate(("127.0.0.1", host.port)) == was
        os.rename(k2, key)
        np.until("the new certificate", lambda: ssl.get_server_certificate(("127.0.0.1", host.port)) != was)
        assert curl(host, ca.cert)[0] == 0


# ---- the key process

def traffic_goes_on_without_the_key_process_and_handshakes_wait_for_the_next():
    with np.Host(config="respawn: {min: 5, max: 100}") as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        c = context(ca.cert)
        s = socket.create_connection(("127.0.0.1", host.port), timeout=20)
        t = c.wrap_socket(s, server_hostname="shop.example")

        def again():
            t.sendall(b"GET /kept HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            data = b""
            while b"one /kept" not in data:
                data += t.recv(65536)
        again()
        keyd = pid_of(host, "keyd")
        os.kill(keyd, signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(ask, host, context(ca.cert)) for _ in range(6)]
            again()                     # stopped: traffic is not
            np.until("callers to wait", lambda: host.metric("nodeproxy_worker_tls_connections") >= 7)
            assert not any(w.done() for w in waiting)
            os.kill(keyd, signal.SIGKILL)
            again()
            for w in waiting:           # the next one is asked
                assert w.result()[0] == 200
        assert pid_of(host, "keyd") not in (0, keyd)
        again()
        t.close()
        for _ in range(5):
            was = pid_of(host, "keyd")
            os.kill(was, signal.SIGKILL)
            assert ask(host, context(ca.cert))[0] == 200
            np.until("another", lambda: pid_of(host, "keyd") not in (0, was))


def a_silent_key_process_ends_handshakes_with_a_reason():
    with np.Host(config="timeouts: {handshake: 300}") as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        keyd = pid_of(host, "keyd")
        os.kill(keyd, signal.SIGSTOP)
        try:
            ask(host, context(ca.cert))
            raise AssertionError("a signature from a stopped process")
        except OSError:
            pass
        np.until("the reason", lambda: reason(host, "KEYD_SILENT") == 1)
        os.kill(keyd, signal.SIGCONT)
        np.until("an answer", lambda: curl(host, ca.cert)[0] == 0)


def workers_and_master_may_die_too():
    with np.Host(config="respawn: {min: 5, max: 100}") as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        for kind in ("worker", "master", "worker", "keyd", "master"):
            was = pid_of(host, kind)
            os.kill(was, signal.SIGKILL)
            np.until(f"another {kind}", lambda: pid_of(host, kind) not in (0, was))
            np.until("an answer", lambda: curl(host, ca.cert)[0] == 0)
        assert len(pids_of(host, "keyd")) == 1


def secrets_of(key):
    """What a private key looks like in memory, by openssl's reading of the file."""
    der = openssl("pkey", "-in", key, "-outform", "DER")
    text = openssl("pkey", "-in", key, "-noout", "-text").decode()
    raw = bytes.fromhex(re.sub(r"[\s:]", "", re.search(r"priv:\n([\s0-9a-f:]+)", text)[1]))[-32:]
    h = hashlib.sha512(raw).digest()
    yield "PKCS#8", der[-34:] if len(der) < 60 else der[:60]
    yield "raw", raw
    yield "raw backwards", raw[::-1]
    yield "expanded, first half", h[:32]
    yield "expanded, second half", h[32:]
    yield "text", b"".join(l for l in open(key, "rb").read().splitlines() if b"-" not in l)[:40]


def found_in(pid, needles):
    """Which of them lie in the memory of a process."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, perms = line.split()[:2]
            a, b = (int(x, 16) for x in span.split("-"))
            if "r" not in perms or "[v" in line or b - a > 1 << 28:
                continue
            tail = b""
            for at in range(a, b, 1 << 22):
                try:
                    mem.seek(at)
                    data = tail + mem.read(min(1 << 22, b - at))
                except OSError:
                    break
                found |= {n for n, what in needles if what in data}
                tail = data[-64:]
    return found


def no_worker_has_a_private_key():
    # a sanitizer's memory takes half a minute to look through
    for kind in ("ed25519",) if SANITIZED else ("ed25519", "p256"):
        with np.Host() as host:
            ca = Authority(host.dir)
            cert, key = ca.issue("web", kind)
            served(host, cert, key)
            needles = list(secrets_of(key))
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                load = [pool.submit(lambda: [ask(host, context(ca.cert))[0] for _ in range(6)]) for _ in range(8)]
                for who in pids_of(host, "worker") + [pid_of(host, k) for k in ("master", "syncd", "admind")] + [host.keeper()]:
                    assert not found_in(who, needles), (kind, host.pids()[who], found_in(who, needles))
                control = found_in(pid_of(host, "keyd"), needles)
                assert all(set(l.result()) == {200} for l in load)
            for who in pids_of(host, "worker"):
                assert not found_in(who, needles), (kind, found_in(who, needles))
            # the same search finds it where it is
            assert control & {"raw", "raw backwards"}, (kind, control)
            assert "text" not in control and "PKCS#8" not in control, control   # the file's bytes were wiped


def the_key_process_is_locked_up():
    with np.Host() as host:
        ca = Authority(host.dir)
        served(host, *ca.issue("web"))
        pid = pid_of(host, "keyd")
        status = dict(l.split(":\t", 1) for l in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in l)
        assert status["Uid"].split()[0] == "64611" or "nodeproxy-keys" in open("/etc/passwd").read(), status["Uid"]
        assert status["CapEff"].strip("0") == "" and status["Seccomp"].strip() == "2", status
        assert re.search(r"Max core file size\s+0\s+0", open(f"/proc/{pid}/limits").read())
        if "memory_not_locked" not in log_of(host) and not SANITIZED:   # sanitizers lock nothing
            assert int(status["VmLck"].split()[0]) > 0, status["VmLck"]
        files = [os.readlink(f"/proc/{pid}/fd/{f}") for f in os.listdir(f"/proc/{pid}/fd") if int(f) > 2]
        assert not any(f.startswith("/") and not f.startswith(("/dev/null", "/memfd:", host.dir + "/nodeproxy.log")) for f in files), files
        assert not [f for f in files if "web.key" in f], files


# ---- TLS that nobody opens here

def a_tls_route_leads_by_server_name():
    with np.Host() as host:
        ca = Authority(host.dir)
        one = TlsBackend("one", *ca.issue("one", san="DNS:one.example"))
        wild = TlsBackend("wild", *ca.issue("wild", "p256", san="DNS:*.two.example"))
        host.service("shop/web", 443, [one.port], app=None, extra="".join(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: %s, namespace: shop}\n"
            "spec:\n  parentRefs: [{group: '', kind: Service, name: web}]\n  hostnames: ['%s']\n"
            "  rules: [{backendRefs: [{name: %s, port: 443}]}]\n" % r
            for r in (("one", "one.example", "web"), ("two", "*.two.example", "wild"), ("gone", "gone.example", "nobody"))))
        host.service("shop/wild", 443, [wild.port], app=None)
        host.listeners = [dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service",
                               service="shop/web:443")]
        host.start()
        assert curl(host, ca.cert, name="one.example")[1] == "one /x 0\n"
        assert curl(host, ca.cert, name="a.two.example")[1] == "wild /x 0\n"
        for name in ("two.example", "other.example", "gone.example"):
            assert curl(host, ca.cert, name=name)[0] == 35, name
        try:
            raise AssertionError(host.get("/").status)
        except OSError:
            pass
        np.until("all of it to be counted", lambda: (reason(host, "NO_TLS_ROUTE"), reason(host, "NO_BACKEND"),
                                                    reason(host, "TLS_NOT_TLS")) == (2, 1, 1))
        np.until("conditions", lambda: condition(host, "tlsroute", "shop/one", "Accepted")[:2] == ("True", "Accepted"))
        assert condition(host, "tlsroute", "shop/one", "Accepted")[2] == ""
        assert condition(host, "tlsroute", "shop/gone", "ResolvedRefs")[1] == "BackendNotFound"
        rows = {r["name"]: r for r in host.ctl_json("get", "routes")["routes"]}
        assert rows["two"]["kind"] == "TLSRoute" and rows["two"]["match"] == "server name *.two.example", rows["two"]
        for url, name in (("web.shop:443", "other.example"), ("web.shop:443", "x.two.example")):
            said = host.ctl("explain", "--from", "shop/front", "-H", f"host: {name}", url, "-o", "json")
            assert said.returncode == ("other" in name), said
            said = {s["step"]: s for s in json.loads(said.stdout)["steps"]}
            assert said["route"]["what"] == ("none" if "other" in name else "shop/two"), said
        host.logged(r"route=shop/two .*reason=DONE .*server_name=a.two.example")
        # HTTPRoute counts before it
        host.write("h.yaml", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: h, namespace: shop}\n"
                   "spec:\n  parentRefs: [{group: '', kind: Service, name: web}]\n  rules: [{backendRefs: [{name: web, port: 443}]}]\n")
        np.until("the conflict", lambda: condition(host, "tlsroute", "shop/two", "Accepted")[:2] == ("False", "Conflicted"))
        one.stop(), wild.stop()


TESTS = [a_tls_route_leads_by_server_name, curl_is_served_in_both_versions_of_http_with_each_kind_of_key,
         a_slow_reader_gets_all_of_it, endpoints_hear_of_https_and_the_log_says_what_was_spoken,
         what_does_not_speak_tls_is_told_by_an_end_and_counted, a_version_is_spoken_when_it_is_wanted,
         callers_get_the_certificate_of_the_name_they_ask_for,
         callers_certificates_are_asked_for_and_judged, a_load_balancer_may_stand_in_front,
         nobody_is_cut_while_all_of_it_changes, connections_are_resumed_by_whatever_worker,
         a_slow_caller_is_cut_and_a_flood_is_bounded, a_flood_of_one_tenant_is_its_own, wrong_files_are_refused_with_their_place,
         the_key_process_runs_while_some_listener_wants_it, files_that_change_are_read_anew,
         traffic_goes_on_without_the_key_process_and_handshakes_wait_for_the_next,
         a_silent_key_process_ends_handshakes_with_a_reason, workers_and_master_may_die_too,
         no_worker_has_a_private_key, the_key_process_is_locked_up]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
