#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""rustls on either side: callers of a listener with files and with an identity of the mesh, both leaves, and an
endpoint under a BackendTLSPolicy.

Only with NP_FULL=1 (./run-tests --full): its crates (tests/peers/rustls/Cargo.toml) come from their registry, and are
built in a quarter of a minute or more.  Skipped where there is no cargo or no registry."""
import os
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/proc"))
import np  # noqa: E402
from backend_tls_test import answers, config_map, policy  # noqa: E402
from identity_test import DOMAIN, Instance, listener  # noqa: E402
from pki import Authority  # noqa: E402
from tls_test import reason  # noqa: E402

HERE = os.path.join(np.SOURCE, "tests/peers/rustls")
SCHEMES = {"ed25519": "ED25519", "p256": "ECDSA_NISTP256_SHA256"}


def build(where):
    cargo = shutil.which("cargo")
    if not cargo:
        np.skip("cargo is not installed (packages cargo-web and rustc-web)")
    here = os.path.join(where, "crate")     # cargo writes beside its manifest
    shutil.copytree(HERE, here)
    words = ["--manifest-path", os.path.join(here, "Cargo.toml")]
    env = dict(os.environ, CARGO_TARGET_DIR=where)
    r = subprocess.run([cargo, "fetch", *words], env=env, capture_output=True, text=True, timeout=300)
    if r.returncode != 0 and re.search("failed to download|Could not|[Tt]imed? ?out", r.stderr):
        np.skip("the registry of its crates is not reached")
    assert r.returncode == 0, r.stderr[-2000:]
    r = subprocess.run([cargo, "build", "--offline", *words], env=env, capture_output=True, text=True, timeout=900)
    assert r.returncode == 0, r.stderr[-2000:]
    return f"{where}/debug/rustls_peer"


def call(peer, *words):
    r = subprocess.run([peer, "call", *map(str, words)], capture_output=True, text=True, timeout=60)
    return r.stdout.strip() or r.stderr


class Endpoint:
    """rustls with this certificate: its port, and what it has said."""

    def __init__(self, peer, cert, key):
        self.p = subprocess.Popen([peer, "serve", cert, key], stdout=subprocess.PIPE, text=True)
        self.port, self.said = int(self.p.stdout.readline()), []
        threading.Thread(target=lambda: self.said.extend(self.p.stdout), daemon=True).start()

    def stop(self):
        self.p.terminate()
        self.p.wait()


def callers_of_files(peer):
    with np.Host(workers=1) as host:
        ca, alice = Authority(host.dir), Authority(host.dir, "alice")
        host.service("shop/web", 80, [host.backend("one").port])
        at = {}
        for kind in SCHEMES:
            cert, key = ca.issue(kind, kind)
            for mutual in (False, True):
                at[kind, mutual] = np.free_port()
                host.listeners = (host.listeners or []) + [dict(
                    name=f"{kind}-{mutual}".lower(), bind=f"127.0.0.1:{at[kind, mutual]}", namespace="shop", route="service",
                    service="shop/web:80", tls="terminate", tls_certificate=cert, tls_key=key, tls_min_version="1.2",
                    **(dict(tls_client="require", tls_client_ca=alice.cert) if mutual else {}))]
        host.start()
        for (kind, mutual), port in at.items():
            own = alice.issue(f"alice-{kind}", kind) if mutual else ()
            for version in ("1.3", "1.2"):
                said = call(peer, port, ca.cert, version, SCHEMES[kind], *own)
                assert said == f"200 TLSv{version.replace('.', '_')} {SCHEMES[kind]} true", (kind, mutual, version, said)
        said = call(peer, at["ed25519", True], ca.cert, "1.3", "ED25519")
        assert said.startswith("error: ") and reason(host, "TLS_NO_CERTIFICATE") == 1, said
        said = call(peer, at["ed25519", False], alice.cert, "1.3", "ED25519")
        assert said == "error: invalid peer certificate: UnknownIssuer", said


def callers_of_the_mesh(peer):
    with Instance() as host:
        m = host.mesh
        host.elsewhere("web-1")
        host.serve(listener(host, tls_client="require", tls_client_trust="mesh"))
        pair = m.identity(m.node("host-b"), "shop", "web")
        for scheme in SCHEMES.values():
            said = call(peer, host.port, m.pem, "1.3", scheme, *pair, f"spiffe://{DOMAIN}/ns/shop/sa/front")
            assert said == f"200 TLSv1_3 {scheme} true", said
        said = call(peer, host.port, m.pem, "1.3", "ED25519", *pair, f"spiffe://{DOMAIN}/ns/shop/sa/other")
        assert said.startswith("error: ") and f'it is ["spiffe://{DOMAIN}/ns/shop/sa/front"]' in said, said
        stranger = m.identity(m.node("host-b"), "shop", "other")      # not placed there
        said = call(peer, host.port, m.pem, "1.3", "ED25519", *stranger, f"spiffe://{DOMAIN}/ns/shop/sa/front")
        # It has said all that it has to say by then, and may find that out by writing more.
        assert said.startswith("error: "), said
        np.until("why", lambda: reason(host, "TLS_WRONG_NODE") == 1)


def an_endpoint_by_policy(peer):
    with np.Host(workers=1) as host:
        ca, other = Authority(host.dir), Authority(host.dir, "other")
        config_map(host, "ca", ca.cert)
        config_map(host, "other", other.cert)
        ends = {kind: Endpoint(peer, *ca.issue(kind, kind)) for kind in SCHEMES}
        try:
            policy(host)
            for i, (kind, end) in enumerate(ends.items()):
                host.service("shop/web", 80, [end.port])
                if i == 0:
                    host.start()
                answers(host, 200)
                np.until(f"it to be {kind}", lambda: host.get("/x").status == 200 and len(end.said) > 3)
                a = host.get("/rust", "POST", b"y" * 200000)
                assert a.body == b"rustls /rust 200000\n", a.body
                np.until("its line", lambda: end.said and end.said[-1].startswith("shop.example"))
                assert end.said[0] == "shop.example full\n" and "shop.example resumed\n" in end.said, end.said
            policy(host, ca=["other"])
            answers(host, 503, "BACK_TLS_CERTIFICATE")
            np.until("its word for it", lambda: "alert" in end.said[-1])
        finally:
            for end in ends.values():
                end.stop()


TESTS = [callers_of_files, callers_of_the_mesh, an_endpoint_by_policy]

if __name__ == "__main__":
    if os.environ.get("NP_FULL", "") in ("", "0"):
        np.skip("only with NP_FULL=1")
    with np.Host() as place:
        program = build(f"{place.dir}/target")
        for test in TESTS:
            test(program)
            print(f"ok {test.__name__}", flush=True)
