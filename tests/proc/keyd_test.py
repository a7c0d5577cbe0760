#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The key process alone, with us as its master and as workers that are not ours any more: nothing is signed
but what a TLS server signs, for keys that are there; nonsense ends a line and not the process."""
import fcntl
import os
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


class Keyd:
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
        send(self.master, "START", struct.pack("<IIIIQQII", 0, 0, 1, 1, 0, 0, 0, 0),
             (memory(b"knobs", seal | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL), memory(bytes(4096), seal)))
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
            send(self.master, "KEY_FILE", struct.pack("<iIIIII64s", 0, 0, i, tls12, look, 0, listener.encode()), fds)
            for f in fds:
                os.close(f)
        send(self.master, "KEY_FILES", struct.pack("<II", len(rows) if count is None else count, look))

    def keys(self):
        """{listener: number of its key}, as all others are told."""
        _, _, (f,) = hear(self.master, "CERTS_MADE")
        data = os.pread(f, 1 << 20, 0)
        os.close(f)
        assert b"PRIVATE" not in data
        n, = struct.unpack_from("<I", data, 8)
        size = 64 + 8 + 16 + 8 + 8 * 8 + 8 + 256
        return {data[16 + i * size:].split(b"\0", 1)[0].decode(): struct.unpack_from("<Q", data, 16 + i * size + 64)[0]
                for i in range(n)}

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
                ("nothing", b"", ED25519), ("a client's handshake", SERVER.replace(b"server", b"client") + HASH, ED25519),
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


for test in (only_what_a_server_signs, keys_of_listeners_that_are_gone_sign_no_more, nonsense_ends_a_line_and_nothing_else):
    if not sys.argv[1:] or test.__name__ in sys.argv[1:]:
        test()
