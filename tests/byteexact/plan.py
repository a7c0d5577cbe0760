# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What byteexact.py sends, and how it is split: the plans of a request and its response, for callers and
endpoints of HTTP/1 and HTTP/2, and what each of the two must see of the other's."""
import asyncio
import random

TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
TARGET = TOKEN.replace("#", "") + "/:@;=,()[]\"<>{}\\"
DEADLINE = 60  # s without a byte: the pair counts as lost


class Wrong(Exception):
    pass


def same(what, got, want):
    if got != want:
        at = next((k for k in range(min(len(got), len(want))) if got[k] != want[k]), min(len(got), len(want)))
        raise Wrong(f"{what}: {len(got)} instead of {len(want)}, first difference at {at}: "
                    f"{got[at:at + 60]!r} instead of {want[at:at + 60]!r}")


# ---- what is sent

def text(rng, n, alphabet):
    return "".join(rng.choice(alphabet) for _ in range(n)).encode()


def header_lines(rng, most, special=True):
    """Lines that must arrive exactly: odd case, odd blanks, bytes >= 0x80, repeated names."""
    lines = []
    for _ in range(rng.randrange(most)):
        name = b"X-" + text(rng, rng.randrange(1, 12), TOKEN)
        if special and rng.random() < 0.02:
            name = rng.choice([b"Date", b"Via", b"X-Forwarded-For2", b"Cookie", b"ETag"])
        n = rng.choice([0, 1, 5, 20, 60, 300])
        value = bytes(rng.choice(b"abc DEF\t;,=\"/\xe9\x80\xff(){}[]") for _ in range(n))
        lines.append(name + b":" + rng.choice([b"", b" ", b"\t ", b"  "]) + value + rng.choice([b"", b" ", b"\t"]) + b"\r\n")
    return lines


def body_bytes(rng):
    return rng.randbytes(rng.choice([0, 1, 2, 10, 100, 1000, 4095, 4096, 16384, 16385, 50000,
                                     16383, 65535, 65536, rng.choice([131072, 262143, 262144, 262145]),
                                     rng.randrange(1, 70000), rng.randrange(1, 300000)]))


def trailer_lines(rng):
    return header_lines(rng, 4, False) if rng.random() < 0.4 else []


def chunked(rng, body, trailers, plain):
    """body in random chunks with legal extensions, leading zeros and either case."""
    if plain:
        return (b"%x\r\n" % len(body) + body + b"\r\n" if body else b"") + b"0\r\n" + b"".join(trailers) + b"\r\n"
    out, at = [], 0
    small = rng.random() < 0.3
    while at < len(body):
        n = min(len(body) - at, rng.randrange(1, 40) if small and len(body) < 5000 else rng.randrange(1, 70000))
        size = rng.choice(["%x", "%X", "0%x", "000%x"]) % n
        ext = rng.choice(["", "", "", ";a", ";a=b;c", " ;a = b", ';q="x;\\"y"', ";a=b\t;c"])
        out.append((size + ext).encode() + b"\r\n" + body[at:at + n] + b"\r\n")
        at += n
    dropped = [b"Content-Length: 3\r\n"] if trailers and rng.random() < 0.2 else []
    return b"".join(out) + rng.choice([b"0", b"000"]) + b"\r\n" + b"".join(dropped + trailers) + b"\r\n"


def carried(lines):
    """How lines look where HTTP/2 has carried them."""
    return [n.lower() + b": " + v.strip(b" \t\r\n") + b"\r\n" for n, _, v in (x.partition(b":") for x in lines)]


def pairs(lines):
    """Of lines that look so: names and values."""
    return [(n, v[1:-2]) for n, _, v in (x.partition(b":") for x in lines)]


def joined(lines):
    """And with the crumbs of a cookie in one line (RFC 9113 section 8.2.3)."""
    cookies = [x for x in lines if x.startswith(b"cookie: ")]
    full = [x[8:-2] for x in cookies if len(x) > 10]
    if len(cookies) < 2:
        return lines
    keep = cookies[0] if len(full) != 1 else b"cookie: " + full[0] + b"\r\n"
    at = lines.index(keep)
    out = [x for i, x in enumerate(lines) if i == at or x not in cookies]
    out[out.index(keep)] = b"cookie: " + b"; ".join(full) + b"\r\n"
    return out


class Pair:
    """The plan of one request and its response; the same for a seed and a number.

    front, back: 1 or 2, what the caller and the endpoint speak
    early        the endpoint answers when it has so many bytes of the body
    cut          "caller" or "endpoint": it breaks off after cut_at bytes of what it sends"""

    def __init__(self, seed, i, alone, last, plain=False, front=1, back=1):
        rng = self.rng = random.Random(f"{seed}/{i}")
        self.i, self.seen, self.last, self.front, self.back = i, 0, last, front, back
        self.v10 = last and front == 1 and rng.random() < 0.15
        self.method = rng.choice([b"GET", b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"BREW"])
        self.target = b"/" + text(rng, rng.choice([0, 3, 10, 100, 900]), TARGET)
        if rng.random() < 0.4:
            self.target += b"?" + text(rng, rng.randrange(60), TARGET + "?")
        self.lines = header_lines(rng, 12)
        self.framing = rng.choice(["none", "length", "chunked"]) if self.method in (b"GET", b"HEAD", b"OPTIONS") \
            else rng.choice(["length", "length", "chunked", "chunked"])
        if self.v10 and self.framing == "chunked":
            self.framing = "length"
        self.body = body_bytes(rng) if self.framing != "none" else b""
        self.trailers = trailer_lines(rng) if self.framing == "chunked" or (front == 2 and self.body) else []
        self.expect = alone and not self.v10 and bool(self.body) and rng.random() < 0.3

        # the response
        self.status = rng.choice([200, 200, 200, 200, 201, 404, 500, 204, 304])
        self.reason = rng.choice([b"OK", b"", b"Not \xe9 usual", b"a b c"])
        self.back10 = rng.random() < 0.1
        self.interim = [] if self.v10 or self.back10 else \
            [(rng.choice([102, 103]), header_lines(rng, 3)) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
        self.resp_lines = header_lines(rng, 12)
        self.resp_framing = rng.choice(["length", "length", "chunked", "chunked", "close"])
        if self.back10 and self.resp_framing == "chunked":
            self.resp_framing = "close"
        if not last and self.resp_framing == "close":
            self.resp_framing = "length"
        self.no_body = self.method == b"HEAD" or self.status in (204, 304)
        self.resp_body = body_bytes(rng)
        self.resp_trailers = trailer_lines(rng) if self.resp_framing == "chunked" or (back == 2 and self.resp_body) else []
        self.back_close = rng.random() < 0.1 or self.resp_framing == "close" or self.back10
        self.plain = plain
        if plain:
            self.v10 = self.back10 = False
            self.back_close = last
        self.early = self.cut = None
        if back == 2:
            self.back10 = self.back_close = False
        if (front, back) == (1, 1) or plain or not alone:
            return
        odd = rng.random()
        if odd < 0.06 and self.body and not self.expect:
            self.early = rng.randrange(len(self.body))
        elif odd < 0.12:
            self.cut, self.cut_at = "caller", rng.randrange(len(self.body) + 1)
            self.interim, self.expect = [], False   # python3-h2 wants none for a stream that it has reset
        elif odd < 0.18 and self.resp_body and not self.no_body and not self.v10 and (back == 2 or self.resp_framing != "close"):
            self.cut, self.cut_at = "endpoint", rng.randrange(len(self.resp_body))

    # What the other end must see.
    def lines_there(self):
        if self.front == 2:
            return carried(self.lines) if self.plain else joined(carried(self.lines))
        return self.lines if self.back == 1 else carried(self.lines)

    def there(self, lines):
        return lines if (self.front, self.back) == (1, 1) else carried(lines)

    def trailers_there(self):
        """HTTP/1 has none behind a body of a known length."""
        return self.there(self.trailers) if self.back == 2 or self.framing == "chunked" else []

    def request_fields(self):
        """The head in HTTP/2; and whether the stream ends with it."""
        rng = self.rng
        pseudo = [(b":method", self.method), (b":scheme", b"http"), (b":path", self.target),
                  (b":authority", b"shop.example")]
        rng.shuffle(pseudo)
        hop = [b"x-pair: %d\r\n" % self.i]
        if self.framing == "length":
            hop.append(b"content-length: %d\r\n" % len(self.body))
        if self.expect:
            hop.append(b"expect: 100-continue\r\n")
        if rng.random() < 0.3:
            hop.append(b"te: trailers\r\n")
        if rng.random() < 0.1:
            hop.append(b"host: shop.example\r\n")
        lines = carried(self.lines)
        for h in hop:
            lines.insert(rng.randrange(len(lines) + 1), h)
        empty = not self.body and not self.trailers
        return pseudo + pairs(lines), empty and (self.framing == "none" or rng.random() < 0.5)

    def response_fields(self):
        rng, lines = self.rng, carried(self.resp_lines)
        if self.resp_framing == "length" and self.status != 204:
            lines.insert(rng.randrange(len(lines) + 1), b"content-length: %d\r\n" % len(self.resp_body))
        empty = self.no_body or (not self.resp_body and not self.resp_trailers)
        return [(b":status", b"%d" % self.status)] + pairs(lines), empty and (self.no_body or rng.random() < 0.5)

    def request(self):
        """The head, then the body as it goes over the wire."""
        rng = self.rng
        hop = [b"Host: shop.example\r\n", b"X-Pair: %d\r\n" % self.i]
        if self.plain:
            pass
        elif rng.random() < 0.3:
            hop += [b"Keep-Alive: timeout=5\r\n", b"X-Hop: 1\r\n",
                    b"Connection: x-hop" + (b"" if not self.last else b", close") + b"\r\n"]
        elif self.last and not self.v10 and rng.random() < 0.5:
            hop.append(b"connection: Close\r\n")
        if self.framing == "length":
            spelt = [b"Content-Length: %d\r\n"] + \
                ([] if self.plain else [b"content-length:%d\r\n", b"Content-Length: 00%d \r\n"])
            hop.append(rng.choice(spelt) % len(self.body))
        elif self.framing == "chunked":
            hop.append(b"Transfer-Encoding: chunked\r\n" if self.plain or rng.random() < 0.5 else
                       b"transfer-encoding:Chunked \r\n")
        if self.expect:
            hop.append(b"Expect: 100-continue\r\n")
        lines = self.lines[:]
        for h in hop:       # order of our lines is kept, what is of this hop stands anywhere
            lines.insert(rng.randrange(len(lines) + 1), h)
        absolute = not self.plain and rng.random() < 0.1
        head = self.method + b" " + (b"http://shop.example" if absolute else b"") + self.target + \
            (b" HTTP/1.0\r\n" if self.v10 else b" HTTP/1.1\r\n") + b"".join(lines) + b"\r\n"
        if rng.random() < 0.05 and not self.plain:
            head = b"\r\n" + head
        return head, chunked(rng, self.body, self.trailers, self.plain) if self.framing == "chunked" else self.body

    def response(self):
        """The same of the response, with its interim ones."""
        rng = self.rng
        out = b"".join(b"HTTP/1.1 %d Early\r\n" % s + b"".join(lines) + b"\r\n" for s, lines in self.interim)
        hop = []
        if self.status == 204:
            pass
        elif self.resp_framing == "length":
            hop.append(b"Content-Length: %d\r\n" % len(self.resp_body))
        elif self.resp_framing == "chunked":
            hop.append(b"Transfer-Encoding: chunked\r\n")
        if self.back_close and not self.back10:
            hop.append(b"Connection: close\r\n")
        elif not self.plain and not self.back_close and rng.random() < 0.3:
            hop += [b"Connection: keep-alive, x-hop\r\n", b"x-hop: 2\r\n", b"Keep-Alive: 3\r\n"]
        lines = self.resp_lines[:]
        for h in hop:
            lines.insert(rng.randrange(len(lines) + 1), h)
        out += (b"HTTP/1.0 " if self.back10 else b"HTTP/1.1 ") + b"%d " % self.status + self.reason + b"\r\n" + \
            b"".join(lines) + b"\r\n"
        if self.no_body:
            return out, b""
        return out, (chunked(rng, self.resp_body, self.resp_trailers, self.plain) if self.resp_framing == "chunked"
                     else self.resp_body)

    def __str__(self):
        odd = f", early at {self.early}" if self.early is not None else ""
        odd += f", cut by the {self.cut} at {self.cut_at}" if self.cut else ""
        return (f"pair {self.i} h{self.front}-h{self.back}: {self.method.decode()} {'1.0 ' if self.v10 else ''}{self.framing} "
                f"{len(self.body)} bytes, {len(self.trailers)} trailers{', expect' if self.expect else ''} -> "
                f"{self.status} {'1.0 ' if self.back10 else ''}{self.resp_framing} {len(self.resp_body)} bytes, "
                f"{len(self.resp_trailers)} trailers, {len(self.interim)} interim{', close' if self.back_close else ''}{odd}")


# ---- how it is sent

async def send(rng, writer, data, head=400):
    """data in random pieces, some of them apart in time; its first bytes, where a head is, in small ones."""
    at = 0
    mode = rng.random()
    while at < len(data):
        if mode < 0.3:
            n = len(data)
        elif mode < 0.7:
            n = rng.choice([1, 2, 7, 50, 500, 5000, 50000])
        else:
            n = rng.randrange(1, 3) if at < head else rng.randrange(1, 100000)
        writer.write(data[at:at + n])
        at += n
        if rng.random() < 0.5:
            await asyncio.wait_for(writer.drain(), DEADLINE)
        if rng.random() < 0.1:
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.003]))
    await asyncio.wait_for(writer.drain(), DEADLINE)
