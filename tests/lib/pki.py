# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""For tests of TLS: certificates by openssl, endpoints that speak TLS, conditions of resources."""
import contextlib
import os
import socket
import ssl
import subprocess
import threading


def openssl(*words, feed=None):
    r = subprocess.run(["openssl", *words], input=feed, capture_output=True)
    assert r.returncode == 0, (words, r.stderr)
    return r.stdout


class Authority:
    """A root, and files of certificates that it issues."""

    def __init__(self, where, name="root"):
        self.dir, self.name, self.cert, self.key = where, name, f"{where}/{name}.pem", f"{where}/{name}.key"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", "30", "-out", self.cert,
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, kind="ed25519", san="DNS:shop.example,DNS:localhost", days=10):
        cert, key, csr, ext = (f"{self.dir}/{name}.{x}" for x in ("pem", "key", "csr", "ext"))
        if kind == "ed25519":
            openssl("genpkey", "-algorithm", "ed25519", "-out", key)
        elif kind == "rsa":
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
        else:
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", csr)
        with open(ext, "w") as f:
            f.write(f"subjectAltName={san}\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
                    "basicConstraints=critical,CA:FALSE\n")
        openssl("x509", "-req", "-in", csr, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", str(days),
                "-extfile", ext, "-out", cert)
        os.chmod(key, 0o600)
        return cert, key


class TlsBackend:
    """An endpoint that speaks TLS with this certificate, and HTTP/1.1 in it: "NAME path"."""

    def __init__(self, name, cert, key, alpn=("http/1.1",)):
        self.name, self.seen, self.handshakes, self.resumed, self.clear = name, [], 0, 0, b""
        self.echoes, self.hangs_up = False, False    # bytes, whatever they are; after each answer
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.context.set_alpn_protocols(list(alpn))
        self.context.sni_callback = lambda sock, sni, ctx: self.seen.append(sni)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        try:
            first = c.recv(1, socket.MSG_PEEK)
            if first != b"\x16":
                self.clear += c.recv(65536)
            with self.context.wrap_socket(c, server_side=True) as t:
                self.handshakes += 1
                self.resumed += t.session_reused
                while self.echoes and (data := t.recv(65536)):
                    t.sendall(data)
                if self.echoes:
                    t.unwrap()
                    return
                f = t.makefile("rb")
                while (line := f.readline()):
                    n = 0
                    while (h := f.readline()) not in (b"\r\n", b""):
                        if h.lower().startswith(b"content-length:"):
                            n = int(h.split(b":")[1])
                    body = f.read(n)
                    said = b"%s %s %d\n" % (self.name.encode(), line.split()[1], len(body))
                    t.sendall(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" %
                              (b"Connection: close\r\n" if self.hangs_up else b"", len(said), said))
                    if self.hangs_up:
                        return
        except (OSError, ValueError):
            c.close()

    def stop(self):
        # Whoever waits in accept() for a number that is only closed accepts for whoever has it next.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def condition(host, kind, key, name):
    status = host.ctl_json("describe", kind, key).get("status", {})
    for c in (status.get("parents") or status.get("ancestors") or [{"conditions": []}])[0]["conditions"]:
        if c["type"] == name:
            return c["status"], c["reason"], c["message"]
    return None, None, None
