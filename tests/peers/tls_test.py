#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Real TLS stacks against a listener that terminates it: Go's crypto/tls and openssl s_client, in both
versions, both versions of HTTP, with and without certificates, resumed."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
HERE = os.path.join(np.SOURCE, "tests/peers")


def openssl(*words, feed=b""):
    r = subprocess.run(["openssl", *words], input=feed, capture_output=True, timeout=60)
    return (r.stdout + r.stderr).decode(errors="replace")


def certificates(where):
    ca, key = f"{where}/ca.pem", f"{where}/ca.key"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=root", "-keyout", key,
            "-out", ca, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name, kind in (("web", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("alice", ["ed25519"])):
        openssl("req", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", f"{where}/{name}.key", "-out", f"{where}/csr")
        with open(f"{where}/ext", "w") as f:
            f.write("subjectAltName=DNS:shop.example\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("x509", "-req", "-in", f"{where}/csr", "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "9", "-extfile",
                f"{where}/ext", "-out", f"{where}/{name}.pem")
    return ca


def go(where):
    out = f"{where}/tls_peer"
    for command in ("/usr/lib/go/bin/go", "/usr/local/go/bin/go"):
        if os.path.exists(command):
            env = dict(os.environ, GO111MODULE="off", GOFLAGS="", GOCACHE=f"{where}/cache", GOTOOLCHAIN="local")
            r = subprocess.run([command, "build", "-o", out, os.path.join(HERE, "tls_peer.go")], env=env, capture_output=True)
            assert r.returncode == 0, r.stderr.decode()[-2000:]
            return out
    print("not tried: Go, golang-go is not installed")
    return None


with np.Host(workers=2) as host:
    ca, one, port = certificates(host.dir), host.backend("one"), np.free_port()
    host.service("shop/web", 80, [one.port])
    listener = dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service", service="shop/web:80",
                    tls="terminate", tls_certificate=f"{host.dir}/web.pem", tls_key=f"{host.dir}/web.key", tls_min_version="1.2")
    host.listeners = [listener, dict(listener, name="mutual", bind=f"127.0.0.1:{port}", tls_client="require", tls_client_ca=ca)]
    host.start()
    peer = go(host.dir)
    for version, number in (("1.2", "303"), ("1.3", "304")):
        for proto, said in (("h2", "HTTP/2.0"), ("h1", "HTTP/1.1")):
            for at, own in ((host.port, ()), (port, (f"{host.dir}/alice.pem", f"{host.dir}/alice.key"))):
                if peer:
                    r = subprocess.run([peer, str(at), ca, version, proto, *own], capture_output=True, text=True, timeout=60)
                    assert re.match(rf"200 {said} {number} TLS_\w+ true\n", r.stdout), (version, proto, own, r.stdout, r.stderr)
        flag = "-tls1_" + version[-1]
        out = openssl("s_client", "-connect", f"127.0.0.1:{host.port}", "-servername", "shop.example", "-CAfile", ca, flag, "-alpn",
                      "h2,http/1.1", "-verify_return_error", "-brief")
        assert f"TLSv{version}" in out and "Verification: OK" in out, out
        out = openssl("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", ca, flag, "-cert", f"{host.dir}/alice.pem", "-key",
                      f"{host.dir}/alice.key", "-quiet", "-ign_eof",
                      feed=b"GET /s HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        assert "one /s" in out, out
    print("ok tls peers" if peer else "ok openssl alone")
