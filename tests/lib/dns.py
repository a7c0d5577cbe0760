# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""DNS for tests: questions, answers as text, and a resolver that answers as a test wants it to."""
import contextlib
import random
import socket
import struct
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}
NAMES = {v: k for k, v in TYPES.items()}
RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]
TC, QR, RD = 0x0200, 0x8000, 0x0100


def name_bytes(name):
    labels = [x for x in name.rstrip(".").split(".") if x]
    return b"".join(bytes([len(x)]) + x.encode() for x in labels) + b"\0"


def query(name, kind="A", ident=None, edns=None, flags=RD):
    ident = random.getrandbits(16) if ident is None else ident
    more = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    return struct.pack(">6H", ident, flags, 1, 0, 0, 1 if edns else 0) + name_bytes(name) + \
        struct.pack(">HH", TYPES.get(kind, kind), 1) + more


def read_name(m, at):
    labels, end = [], None
    while True:
        n = m[at]
        if n & 0xc0 == 0xc0:
            end = end or at + 2
            at = struct.unpack_from(">H", m, at)[0] & 0x3fff
        elif n == 0:
            return ".".join(labels), end or at + 1
        else:
            labels.append(m[at + 1:at + 1 + n].decode())
            at += n + 1


class Message:
    """.id .flags .rcode .name .type, .answers as [(type, text, ttl)], .tc"""

    def __init__(self, m):
        self.bytes = m
        self.id, self.flags, qd, an, ns, ar = struct.unpack_from(">6H", m)
        self.rcode, self.tc = RCODES[self.flags & 15], bool(self.flags & TC)
        at, self.name, self.type, self.edns = 12, None, None, None
        for _ in range(qd):
            self.name, at = read_name(m, at)
            kind, = struct.unpack_from(">H", m, at)
            self.type, at = NAMES.get(kind, kind), at + 4
        self.answers = []
        for i in range(an + ns + ar):
            owner, at = read_name(m, at)
            kind, _, ttl, n = struct.unpack_from(">HHIH", m, at)
            data = at + 10
            if kind == 41:
                self.edns = struct.unpack_from(">H", m, at + 2)[0]
            if i < an:
                self.answers.append((NAMES.get(kind, kind), self._text(m, kind, data, n), ttl))
            at = data + n

    @staticmethod
    def _text(m, kind, at, n):
        if kind == 1:
            return socket.inet_ntop(socket.AF_INET, m[at:at + 4])
        if kind == 28:
            return socket.inet_ntop(socket.AF_INET6, m[at:at + 16])
        if kind in (2, 5, 12):
            return read_name(m, at)[0]
        if kind == 33:
            return f"{struct.unpack_from('>H', m, at + 4)[0]} {read_name(m, at + 6)[0]}"
        return m[at:at + n].hex()

    @property
    def texts(self):
        return sorted(text for _, text, _ in self.answers)


def reply(q, *records, rcode="NOERROR", flags=0, ident=None, soa=None):
    """An answer to the bytes of a query; records are (type, text, ttl)."""
    m = Message(q)
    end = 12 + len(name_bytes(m.name)) + 4
    out = b""
    for kind, text, ttl in records:
        data = {"A": lambda t: socket.inet_pton(socket.AF_INET, t), "AAAA": lambda t: socket.inet_pton(socket.AF_INET6, t),
                "CNAME": name_bytes}.get(kind, lambda t: bytes([len(t)]) + t.encode())(text)
        out += b"\xc0\x0c" + struct.pack(">HHIH", TYPES[kind], 1, ttl, len(data)) + data
    if soa is not None:
        data = b"\0\0" + struct.pack(">5I", 1, 1, 1, 1, soa)
        out += b"\0" + struct.pack(">HHIH", 6, 1, soa, len(data)) + data
    return struct.pack(">6H", m.id if ident is None else ident, QR | 0x0180 | flags | RCODES.index(rcode), 1, len(records),
                       soa is not None, 0) + q[12:end] + out


class Resolver:
    """At these addresses, port 53, UDP and TCP, from sockets that make(fn) makes (in a namespace).  fn(query, tcp) gives
    the bytes of an answer, several, or None.  .asked: (name, type, tcp) of all queries."""

    def __init__(self, addresses, fn, make=lambda fn: fn()):
        self.fn, self.asked, self.sockets = fn, [], []
        for a in addresses:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                s = make(lambda a=a, kind=kind: self._bind(a, kind))
                self.sockets.append(s)
                run = self._udp if kind == socket.SOCK_DGRAM else self._tcp
                threading.Thread(target=run, args=(s,), daemon=True).start()

    @staticmethod
    def _bind(address, kind):
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, 53))
        if kind == socket.SOCK_STREAM:
            s.listen(16)
        return s

    def _answers(self, q, tcp):
        m = Message(q)
        self.asked.append((m.name, m.type, tcp))
        a = self.fn(q, tcp)
        return [] if a is None else [a] if isinstance(a, bytes) else a

    def _udp(self, s):
        with contextlib.suppress(OSError):
            while True:
                q, peer = s.recvfrom(65535)
                if len(q) < 12:
                    return      # closed
                for a in self._answers(q, False):
                    s.sendto(a, peer)

    def _tcp(self, s):
        with contextlib.suppress(OSError):
            while True:
                c, _ = s.accept()
                threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError), c:
            while q := read_message(c):
                for a in self._answers(q, True):
                    c.sendall(struct.pack(">H", len(a)) + a)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


def read_exactly(s, n):
    out = b""
    while len(out) < n:
        more = s.recv(n - len(out))
        if not more:
            return b""
        out += more
    return out


def read_message(s):
    n = read_exactly(s, 2)
    return read_exactly(s, struct.unpack(">H", n)[0]) if n else b""


def ask(address, name, kind="A", tcp=False, timeout=10, **more):
    """In the namespace of the calling thread."""
    q = query(name, kind, **more)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                       socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.connect((address, 53))
        if tcp:
            s.sendall(struct.pack(">H", len(q)) + q)
            m = Message(read_message(s))
        else:
            s.send(q)
            m = Message(s.recv(65535))
    assert m.id == struct.unpack_from(">H", q)[0], "of another question"
    return m
