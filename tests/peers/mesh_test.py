#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Other TLS stacks in the mesh: Go's crypto/tls and openssl verify what the authority of a host has issued for a
listener, show what another host's has issued for them, and are let in by that."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/proc"))
import np  # noqa: E402
from identity_test import DOMAIN, Instance, listener  # noqa: E402

HERE = os.path.join(np.SOURCE, "tests/peers")


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


with Instance() as host:
    m = host.mesh
    host.elsewhere("web-1")
    host.serve(listener(host, tls_client="require", tls_client_trust="mesh"))
    pair = m.identity(m.node("host-b"), "shop", "web")
    peer = go(host.dir)
    for proto, said in (("h2", "HTTP/2.0"), ("h1", "HTTP/1.1")):
        if peer:
            words = [peer, str(host.port), m.pem, "1.3", proto, *pair]
            r = subprocess.run([*words, f"spiffe://{DOMAIN}/ns/shop/sa/front"], capture_output=True, text=True, timeout=60)
            assert re.match(rf"200 {said} 304 TLS_\w+ true\n", r.stdout), (proto, r.stdout, r.stderr)
            r = subprocess.run([*words, f"spiffe://{DOMAIN}/ns/shop/sa/other"], capture_output=True, text=True, timeout=60)
            assert r.returncode == 1 and "it is [spiffe" in r.stdout, r.stdout
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{host.port}", "-CAfile", m.pem, "-x509_strict",
                        "-verify_return_error", "-cert", pair[0], "-cert_chain", pair[0], "-key", pair[1], "-quiet", "-ign_eof"],
                       capture_output=True, timeout=60,
                       input=b"GET /s HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
    assert b"one /s" in r.stdout, (r.stdout, r.stderr)
    print("ok mesh peers" if peer else "ok openssl alone")
