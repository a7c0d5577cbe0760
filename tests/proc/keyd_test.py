#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The key process alone, with us as its master and as workers that are not ours any more: nothing is signed
but what is signed in a TLS handshake, for keys of listeners and of identities that are here; nonsense ends a
line and not the process."""
import contextlib
import datetime
import fcntl
import hashlib
import os
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
TABLE = {}
for row in subprocess.run([os.path.join(np.BUILD, "tests/hostile/hostile"), "--table"], capture_output=True, text=True,
                          check=True).stdout.splitlines():
    if len(row.split()) == 9:
        number, name, _, _, size, *_ = row.split()
        TABLE[name] = (int(number), int(size))
NAMES = {number: name for name, (number, _) in TABLE.items()}
ED25519, P256, PSS = 0x0807, 0x0403, 0x0804
SERVER = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
CLIENT = SERVER.replace(b"server", b"client")
HASH = bytes(range(32))
TICKETS = []        # that came while something else was waited for


def message(name, payload=b""):
    number, size = TABLE[name]
    assert len(payload) <= size, (name, len(payload), size)
    return struct.pack("<II", number, 0) + payload.ljust(size, b"\0")


def send(s, name, payload=b"", fds=()):
    socket.send_fds(s, [message(name, payload)], list(fds))


def hear(s, name=None, seconds=np.DEADLINE):
    """The next message (of this name): (name, payload, fds); None: the end."""
    while True:
        assert select.select([s], [], [], seconds)[0], f"nothing came, {name} was waited for"
        data, fds, _, _ = socket.recv_fds(s, 2048, 8)
        if not data:
            return None
        got = NAMES[struct.unpack_from("<I", data)[0]]
        if name in (None, got):
            return got, data[8:], fds
        if got == "TICKET_KEYS":
            TICKETS.append(data[8:])
        for f in fds:
            os.close(f)


def memory(data, seals):
    f = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(f, data)
    os.lseek(f, 0, os.SEEK_SET)
    fcntl.fcntl(f, fcntl.F_ADD_SEALS, seals)
    return f


class Page:
    """lib/net/certs.h, as all others are told of it."""
    HEAD, LEAF = 24 + 8 + 8 + 16 + 256 + 192 + 8 * 6, 96
    LISTENER = 72 + LEAF + 8 + 256
    IDENTITY = 128 + 8 + 8 + 8 + 2 * LEAF + 192

    def __init__(self, data):
        assert b"PRIVATE" not in data
        n, identities = struct.unpack_from("<II", data, 8)
        text = lambda at: data[at:].split(b"\0", 1)[0].decode()      # noqa: E731
        key = lambda at: struct.unpack_from("<Q", data, at)[0]       # noqa: E731
        self.keys, self.identities = {}, {}
        for i in range(n):
            at = self.HEAD + i * self.LISTENER
            self.keys[text(at)] = key(at + 72)
        for i in range(identities):
            at = self.HEAD + n * self.LISTENER + i * self.IDENTITY
            state, leaves = struct.unpack_from("<II", data, at + 128)
            self.identities[f"{text(at)}/{text(at + 64)}"] = dict(
                state=("waiting", "valid", "overdue", "expired")[state], problem=text(at + self.IDENTITY - 192),
                keys=[key(at + 152 + k * self.LEAF) for k in range(leaves)],
                certificates=[self._der(data, at + 152 + k * self.LEAF) for k in range(leaves)])
        self.problem = text(self.HEAD - 8 * 6 - 192)

    @staticmethod
    def _der(data, leaf):
        n, = struct.unpack_from("<I", data, leaf + 28)
        spans = [struct.unpack_from("<II", data, leaf + 32 + 8 * i) for i in range(n)]
        return [data[at:at + n] for at, n in spans]


class Keyd:
    def __init__(self, kept=None):
        self.kept = kept        # the directory that it is born with

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="np-test.")
        self.master, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log = open(f"{self.dir.name}/log", "wb")

        def third():
            os.dup2(theirs.fileno(), 3)
        self.process = subprocess.Popen([os.path.join(np.BUILD, "nodeproxy-keyd"), "0", "64611:64611"], preexec_fn=third,
                                        pass_fds=(3,), close_fds=True, stderr=self.log, stdin=subprocess.DEVNULL)
        theirs.close()
        assert hear(self.master)[0] == "HELLO"
        seal = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        fds = [memory(b"knobs", seal | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL), memory(bytes(4096), seal)]
        if self.kept:
            os.makedirs(self.kept, exist_ok=True)
            os.chmod(self.kept, 0o700)
            os.chown(self.kept, 64611, 64611)
            fds.append(os.open(self.kept, os.O_RDONLY | os.O_DIRECTORY))
        send(self.master, "START", struct.pack("<IIIIQQII", 0, 0, 1, 1, 0, 0, 0, 0), fds)
        assert hear(self.master, "READY")
        return self

    def __exit__(self, kind, value, trace):
        self.master.close()
        code = self.process.wait(np.DEADLINE)
        if kind is None:
            assert code == 0, code
        else:
            print(open(f"{self.dir.name}/log").read())
        self.dir.cleanup()

    def certificate(self, kind):
        cert, key = f"{self.dir.name}/{kind}.pem", f"{self.dir.name}/{kind}.key"
        new = {"ed25519": ["ed25519"], "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}[kind]
        subprocess.run(["openssl", "req", "-x509", "-newkey", *new, "-nodes", "-subj", "/CN=web", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        return cert, key

    def files(self, *rows, count=None, look=0):
        """Rows of (listener, kind, speaks 1.2); what is told of them."""
        for i, (listener, kind, tls12) in enumerate(rows):
            fds = [os.open(p, os.O_RDONLY) for p in self.certificate(kind)]
            send(self.master, "KEY_FILE", struct.pack("<iIIIII72s", 0, 0, i, tls12, look, 0, listener.encode()), fds)
            for f in fds:
                os.close(f)
        send(self.master, "KEY_FILES", struct.pack("<II", len(rows) if count is None else count, look))

    def page(self):
        _, _, (f,) = hear(self.master, "CERTS_MADE")
        data = os.pread(f, 1 << 22, 0)
        os.close(f)
        return Page(data)

    def keys(self):
        """{listener: number of its key}"""
        return self.page().keys

    def terms(self, node, bundle, issuer=1, life=86400, count=None, passphrase=None):
        """The authority in the directory node, and a bundle of mesh.example."""
        rows = [(0, b"", [passphrase])] if passphrase else []
        rows += [(1, b"", [f"{node}/node.pem", f"{node}/node.key"]), (2, b"mesh.example", [bundle])]
        for what, domain, paths in rows:
            fds = []
            with contextlib.suppress(FileNotFoundError):
                fds = [os.open(p, os.O_RDONLY) for p in paths]
            send(self.master, "IDENTITY_FILE", struct.pack("<iIII256s", 0 if fds else -2, what, 0, 0, domain), fds)
            for f in fds:
                os.close(f)
        send(self.master, "IDENTITY_TERMS", struct.pack("<IIIIq256s256s", len(rows) if count is None else count, 0, issuer, 0,
                                                        life, b"mesh.example", b"host-a"))

    def here(self, *accounts):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        rows = [struct.pack("64s64s", *(w.encode() for w in a.split("/"))) for a in accounts]
        f = memory(struct.pack("<II", len(rows), 0) + b"".join(rows), seals)
        send(self.master, "IDENTITIES_HERE", struct.pack("<Q", 1), (f,))
        os.close(f)

    def page_with(self, condition):
        while not condition(page := self.page()):
            pass
        return page

    def line(self, worker=0):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        send(self.master, "KEY_LINE", struct.pack("<II", worker, 0), (theirs.fileno(),))
        theirs.close()
        return ours, hear(ours, "TICKET_KEYS")[1]

    def alive(self):
        send(self.master, "PING", struct.pack("<Q", 7))
        return hear(self.master, "PONG")[1][:8] == struct.pack("<Q", 7)


def ask(line, key, data, algorithm=ED25519, n=None):
    """(refusal, signature)"""
    send(line, "SIGN_WANT", struct.pack("<QQII160s", 5, key, algorithm, len(data) if n is None else n, data))
    _, payload, _ = hear(line, "SIGN_HERE")
    cookie, refusal, n = struct.unpack_from("<QII", payload)
    assert cookie == 5
    return refusal, payload[16:16 + n]


def only_what_a_server_signs():
    with Keyd() as k:
        k.files(("front", "ed25519", 0), ("old", "p256", 1), ("big", "rsa", 0))
        keys = k.keys()
        line, _ = k.line()
        for name, algorithm in (("front", ED25519), ("old", P256), ("big", PSS)):
            refusal, sig = ask(line, keys[name], SERVER + HASH, algorithm)
            assert refusal == 0 and len(sig) >= 64, (name, refusal)
        key12 = bytes(64) + b"\3\0\x1d\x20" + bytes(32)
        assert ask(line, keys["old"], key12, P256)[0] == 0
        der = subprocess.run(["openssl", "x509", "-in", k.certificate("ed25519")[0], "-outform", "DER"], capture_output=True).stdout
        for what, data, algorithm in (
                ("nothing", b"", ED25519), ("a client's handshake", CLIENT + HASH, ED25519),
                ("a certificate", der[:160], ED25519), ("what of it is signed", der[4:164], ED25519), ("too short", SERVER + HASH[:31], ED25519),
                ("no blanks", SERVER[1:] + HASH + b"x", ED25519), ("TLS 1.2 of one that does not speak it", key12, ED25519),
                ("another algorithm", SERVER + HASH, P256), ("zeroes", bytes(160), ED25519)):
            refusal, sig = ask(line, keys["front"], data, algorithm)
            assert refusal != 0 and sig == b"", what
        assert ask(line, keys["front"], SERVER + HASH, n=2**32 - 1)[0] != 0
        for number in (0, 1, 2**64 - 1, keys["front"] ^ 2):     # keys that nobody has
            assert ask(line, number, SERVER + HASH)[0] != 0
        assert k.alive()
    print("ok only_what_a_server_signs")


def keys_of_listeners_that_are_gone_sign_no_more():
    with Keyd() as k:
        k.files(("front", "ed25519", 0), ("side", "p256", 0))
        keys, (line, _) = k.keys(), k.line()
        k.files(("side", "p256", 0))
        k.keys()
        assert ask(line, keys["front"], SERVER + HASH)[0] == 0      # handshakes may be under way
        k.files(("side", "p256", 0))
        k.keys()
        assert ask(line, keys["front"], SERVER + HASH)[0] != 0
        # some of the files were lost on their way: what is in use stays, and they are asked for
        now = k.line(1)[0]
        k.files(("front", "ed25519", 0), count=2)
        assert struct.unpack_from("<I", hear(k.master, "LOST")[1])[0] == TABLE["KEY_FILE"][0]
        assert ask(now, keys["side"], SERVER + HASH, P256)[0] != 0    # files of another round, another key
        assert k.alive()
    print("ok keys_of_listeners_that_are_gone_sign_no_more")


def nonsense_ends_a_line_and_nothing_else():
    with Keyd() as k:
        k.files(("front", "ed25519", 0))
        key = k.keys()["front"]
        good, tickets = k.line(0)
        for data in (b"", b"x", b"x" * 2000, message("SIGN_WANT")[:-1], message("SIGN_WANT") + b"x", message("SIGN_HERE"),
                     message("STOP"), message("KEY_FILES"), struct.pack("<II", 9999, 0)):
            bad, _ = k.line(1)
            if data:
                bad.send(data)
                assert hear(bad) is None, data[:20]
            bad.close()
            assert ask(good, key, SERVER + HASH)[0] == 0
        # each of them went without a word: tickets are made anew, and those before are taken no more
        assert len(TICKETS) >= 8, len(TICKETS)
        assert TICKETS[-1][:64] != tickets[:64] and TICKETS[-1][64:128] == bytes(64)
        leaving, before = k.line(2)
        send(leaving, "KEY_LEAVE")
        leaving.close()
        assert ask(good, key, SERVER + HASH)[0] == 0
        assert k.line(3)[1][:64] == before[:64]         # who says goodbye changes nothing
        flood, _ = k.line(4)
        flood.setblocking(False)
        want = message("SIGN_WANT", struct.pack("<QQII160s", 5, key, ED25519, len(SERVER + HASH), SERVER + HASH))
        sent = 0
        try:
            while sent < 200000:
                flood.send(want)
                sent += 1
        except OSError:
            pass
        assert ask(good, key, SERVER + HASH)[0] == 0    # others have their turn
        assert k.alive()
    print("ok nonsense_ends_a_line_and_nothing_else")


def ca(*words):
    subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "ca", *words], check=True, capture_output=True)


def mesh(where):
    """A root and an authority of host-a: their directories."""
    root, node = f"{where}/root", f"{where}/host-a"
    ca("init", "--dir", root, "--trust-domain", "mesh.example")
    ca("issue-node", "--dir", root, "--node", "host-a", "--out", node)
    return root, node


def valid(*names):
    return lambda page: all(page.identities.get(n, {}).get("state") == "valid" for n in names)


def identities_sign_handshakes_while_they_are_here():
    with tempfile.TemporaryDirectory(prefix="np-test.") as d, Keyd() as k:
        root, node = mesh(d)
        k.files(("front", "ed25519", 0))
        front = k.keys()["front"]
        k.terms(node, f"{root}/root.pem")
        k.here("shop/web", "shop/pay")
        page = k.page_with(valid("shop/web", "shop/pay"))
        web, pay = page.identities["shop/web"], page.identities["shop/pay"]
        assert len(set(web["keys"] + pay["keys"])) == 4
        line, _ = k.line()
        for key, algorithm in zip(web["keys"] + pay["keys"], (ED25519, P256) * 2):
            for said in (SERVER, CLIENT):           # either end
                refusal, sig = ask(line, key, said + HASH, algorithm)
                assert refusal == 0 and len(sig) >= 64, refusal
        # TLS 1.2, certificates, requests and whatever else: nothing; nor another algorithm
        der = web["certificates"][0][0]
        tbs = der[4:164]
        request = b"\x30\x81\x9d\x02\x01\x00\x30\x00" + bytes(150)
        for what, data, algorithm in (("TLS 1.2", bytes(64) + b"\3\0\x1d\x20" + bytes(32), ED25519),
                                      ("a certificate", der[:160], ED25519), ("what of it is signed", tbs, ED25519),
                                      ("a request", request, ED25519), ("nothing", b"", ED25519),
                                      ("a JWT", b"eyJhbGciOiJFZERTQSJ9.e30", ED25519),
                                      ("a hash", HASH, ED25519), ("another algorithm", SERVER + HASH, P256),
                                      ("an exporter", b" " * 64 + b"TLS 1.3, client ertificateVerify\0\0" + HASH, ED25519)):
            refusal, sig = ask(line, web["keys"][0], data, algorithm)
            assert refusal != 0 and sig == b"", what
        # the key of a listener does not sign as a client; keys that nobody has, and that of the authority
        assert ask(line, front, CLIENT + HASH)[0] != 0
        authority = subprocess.run(["openssl", "pkey", "-in", f"{node}/node.key", "-pubout", "-outform", "DER"],
                                   capture_output=True, check=True).stdout
        number = struct.unpack_from("<Q", hashlib.sha256(authority).digest())[0] | 1
        for key in (number, 0, 2**64 - 1, web["keys"][0] ^ 2):
            assert ask(line, key, SERVER + HASH, P256)[0] != 0
        # who has no pod and no listener here any more
        k.here("shop/pay")
        k.page_with(lambda p: "shop/web" not in p.identities)
        assert ask(line, web["keys"][0], SERVER + HASH)[0] != 0
        assert ask(line, pay["keys"][0], SERVER + HASH)[0] == 0
        log = open(f"{k.dir.name}/log").read()
        assert "nobody on this host has this key" in log and k.alive()
        # lists and files that lie, or do not arrive, change nothing
        k.terms(node, f"{root}/root.pem", count=7)
        assert struct.unpack_from("<I", hear(k.master, "LOST")[1])[0] == TABLE["IDENTITY_FILE"][0]
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        for bad in (b"", b"\1", struct.pack("<II", 2, 0) + bytes(128), struct.pack("<II", 2**31, 0)):
            f = memory(bad, seals)
            send(k.master, "IDENTITIES_HERE", struct.pack("<Q", 1), (f,))
            os.close(f)
        assert ask(line, pay["keys"][0], SERVER + HASH)[0] == 0 and k.alive()
    print("ok identities_sign_handshakes_while_they_are_here")


def what_is_issued_is_what_openssl_reads():
    with tempfile.TemporaryDirectory(prefix="np-test.") as d, Keyd() as k:
        root, node = mesh(d)
        k.terms(node, f"{root}/root.pem", life=3600)
        k.here("shop/web")
        web = k.page_with(valid("shop/web")).identities["shop/web"]
        for chain, kind in zip(web["certificates"], ("ED25519", "prime256v1")):
            assert len(chain) == 2
            for name, der in zip(("leaf", "node"), chain):
                with open(f"{d}/{name}.der", "wb") as f:
                    f.write(der)
                subprocess.run(["openssl", "x509", "-inform", "DER", "-in", f"{d}/{name}.der", "-out", f"{d}/{name}.pem"], check=True)
            for purpose in ("sslserver", "sslclient"):
                subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", f"{root}/root.pem",
                                "-untrusted", f"{d}/node.pem", f"{d}/leaf.pem"], check=True, capture_output=True)
            text = subprocess.run(["openssl", "x509", "-in", f"{d}/leaf.pem", "-noout", "-text"], check=True, capture_output=True,
                                  text=True).stdout
            assert kind in text, text
            assert re.search(r"Subject: *\n", text), text
            for name, critical, says in (("Subject Alternative Name", " critical", "URI:spiffe://mesh.example/ns/shop/sa/web"),
                                         ("Key Usage", " critical", "Digital Signature"), ("Basic Constraints", " critical", "CA:FALSE"),
                                         ("Extended Key Usage", "", "TLS Web Server Authentication, TLS Web Client Authentication")):
                m = re.search(rf"X509v3 {name}:(.*)\n *(.*)", text)
                assert m and m[1].rstrip() == critical and m[2].strip() == says, (name, text)
            assert "Name Constraints" not in text
            serial = int(subprocess.run(["openssl", "x509", "-in", f"{d}/leaf.pem", "-noout", "-serial"], capture_output=True,
                                        text=True, check=True).stdout.split("=")[1], 16)
            assert serial.bit_length() > 100, serial
            times = [datetime.datetime.strptime(t.strip(), "%b %d %H:%M:%S %Y %Z")
                     for t in re.search(r"Not Before: (.*)\n *Not After : (.*)", text).groups()]
            assert times[1] - times[0] == datetime.timedelta(seconds=3900), times
    print("ok what_is_issued_is_what_openssl_reads")


def what_is_kept_is_found_again_and_nobody_elses():
    with tempfile.TemporaryDirectory(prefix="np-test.") as d:
        os.chmod(d, 0o711)
        root, node = mesh(d)
        with Keyd(f"{d}/kept") as k:
            k.terms(node, f"{root}/root.pem")
            k.here("shop/web")
            keys = k.page_with(valid("shop/web")).identities["shop/web"]["keys"]
        st = os.stat(f"{d}/kept/shop.web.pem")
        assert st.st_mode & 0o777 == 0o600 and st.st_uid == 64611, oct(st.st_mode)
        assert "PRIVATE KEY" in open(f"{d}/kept/shop.web.pem").read()
        with Keyd(f"{d}/kept") as k:        # without its issuer
            k.terms(f"{d}/nowhere", f"{root}/root.pem")
            k.here("shop/web")
            assert k.page_with(valid("shop/web")).identities["shop/web"]["keys"] == keys
            status = open(f"/proc/{k.process.pid}/status").read()
            assert re.search(r"^Seccomp:\s*2$", status, re.M)
    print("ok what_is_kept_is_found_again_and_nobody_elses")


for test in (only_what_a_server_signs, keys_of_listeners_that_are_gone_sign_no_more, nonsense_ends_a_line_and_nothing_else,
             identities_sign_handshakes_while_they_are_here, what_is_issued_is_what_openssl_reads,
             what_is_kept_is_found_again_and_nobody_elses):
    if not sys.argv[1:] or test.__name__ in sys.argv[1:]:
        test()
