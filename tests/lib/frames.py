# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""HTTP/2 frames by hand, for callers that must do what no library would: bad ones, and many at once.

    c = frames.Caller(port)
    c.send(frames.headers(1, frames.get("/x")))
    c.answered(1)

Header blocks out are literals that the other side keeps in its table, without Huffman codes; of those
that come in nothing but the status is understood."""
import socket
import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW_SIZE = 4
# Of the static table: what a whole status is one octet of.
STATUS = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*entries):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *e) for e in entries))


def window_update(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def rst(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def _string(s):
    n = len(s)
    if n < 127:
        return bytes([n]) + s
    out, n = b"\x7f", n - 127
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n]) + s


def line(name, value, kept=True):
    """kept: it enters the table of whoever gets it."""
    return (b"\x40" if kept else b"\x00") + _string(name.encode()) + _string(value.encode())


def get(path, *more, method="GET", kept=True):
    """The block of a request; more: pairs."""
    pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")]
    return b"".join(line(n, v, kept) for n, v in pseudo + list(more))


def headers(stream, block, end=True, whole=True):
    return frame(HEADERS, END_STREAM * end + END_HEADERS * whole, stream, block)


def status(block):
    while block and block[0] & 0xe0 == 0x20:     # a change of the table's size
        block = block[1:]
    return STATUS.get(block[0], 0) if block else 0


class Side:
    def __init__(self, s, first):
        self.s, self.held = s, b""
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(first)

    def send(self, b):
        self.s.sendall(b)

    def next(self):
        """(kind, flags, stream, payload); None at the end."""
        while len(self.held) < 9 or len(self.held) < 9 + int.from_bytes(self.held[:3], "big"):
            try:
                more = self.s.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.held += more
        n = 9 + int.from_bytes(self.held[:3], "big")
        f, self.held = self.held[:n], self.held[n:]
        kind, flags, stream, payload = f[3], f[4], int.from_bytes(f[5:9], "big") & 0x7fffffff, f[9:]
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        return kind, flags, stream, payload

    def close(self):
        self.s.close()


class Callee(Side):
    """The end that answers."""

    def __init__(self, s, *entries):
        super().__init__(s, settings(*entries))

    def next(self):
        while not self.greeted and len(self.held) < len(PREFACE):
            more = self.s.recv(65536)
            if not more:
                return None
            self.held += more
        if not self.greeted:
            assert self.held.startswith(PREFACE), self.held[:40]
            self.held, self.greeted = self.held[len(PREFACE):], True
        return super().next()

    greeted = False


class Caller(Side):
    def __init__(self, port, *entries, timeout=30, first=None):
        """first: instead of SETTINGS with those entries."""
        super().__init__(socket.create_connection(("127.0.0.1", port), timeout),
                         PREFACE + (settings(*entries) if first is None else first))

    def answered(self, *streams):
        """Reads until all of these have ended; {stream: (status, bytes of the body, code of a reset)}."""
        out = {s: [0, 0, None] for s in streams}
        open_ = set(streams)
        while open_:
            f = self.next()
            if f is None:
                raise ConnectionError("the connection ended")
            kind, flags, stream, payload = f
            if kind == GOAWAY and struct.unpack(">I", payload[4:8])[0]:
                raise ConnectionError(f"GOAWAY {struct.unpack('>I', payload[4:8])[0]}")
            if stream not in open_:
                continue
            if kind == HEADERS:
                out[stream][0] = out[stream][0] or status(payload)
            elif kind == DATA:
                out[stream][1] += len(payload)
            elif kind == RST_STREAM:
                out[stream][2] = struct.unpack(">I", payload)[0]
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                open_.discard(stream)
        return {s: tuple(v) for s, v in out.items()}
