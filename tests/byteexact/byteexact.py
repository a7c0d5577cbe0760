#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Random request/response pairs of every framing, split at random places in time, through the real
processes: what arrives is compared byte by byte with what was sent, at both ends.

    byteexact.py [--pairs N] [--seed S] [--direct] [--connect HOST:PORT --listen PORT,PORT]

`make check` runs 1,000 pairs with a seed of its own, which it prints; --pairs 10000 is the measure.
--direct takes nodeproxy out, and with it all that it would put right: a test of this file.  A wrong pair is printed with its plan and can
be repeated alone with --seed S --only PAIR."""
import argparse
import asyncio
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
TARGET = TOKEN.replace("#", "") + "/:@;=,()[]\"<>{}\\"
HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"content-length",
       b"upgrade", b"host", b"trailer", b"expect"}
# What nodeproxy adds to a request.
ADDED = [b"X-Forwarded-For: 127.0.0.1\r\n", b"X-Forwarded-Proto: http\r\n"]
MADE = [re.compile(rb"X-Request-Id: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\r\n"),
        re.compile(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n")]
# And to a final response that has none.
DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")
DEADLINE = 60  # s without a byte: the pair counts as lost


class Wrong(Exception):
    pass


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


class Pair:
    """The plan of one request and its response; the same for a seed and a number."""

    def __init__(self, seed, i, alone, last, plain=False):
        rng = self.rng = random.Random(f"{seed}/{i}")
        self.i, self.seen, self.last = i, 0, last
        self.v10 = last and rng.random() < 0.15
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
        self.trailers = trailer_lines(rng) if self.framing == "chunked" else []
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
        self.resp_trailers = trailer_lines(rng) if self.resp_framing == "chunked" else []
        self.back_close = rng.random() < 0.1 or self.resp_framing == "close" or self.back10
        self.plain = plain
        if plain:
            self.v10 = self.back10 = False
            self.back_close = last

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
            return out
        return out + (chunked(rng, self.resp_body, self.resp_trailers, self.plain) if self.resp_framing == "chunked"
                      else self.resp_body)

    def __str__(self):
        return (f"pair {self.i}: {self.method.decode()} {'1.0' if self.v10 else '1.1'} {self.framing} "
                f"{len(self.body)} bytes, {len(self.trailers)} trailers{', expect' if self.expect else ''} -> "
                f"{self.status} {'1.0 ' if self.back10 else ''}{self.resp_framing} {len(self.resp_body)} bytes, "
                f"{len(self.resp_trailers)} trailers, {len(self.interim)} interim{', close' if self.back_close else ''}")


# ---- how it is sent

async def send(rng, writer, data):
    """data in random pieces, some of them apart in time."""
    at = 0
    mode = rng.random()
    while at < len(data):
        if mode < 0.3:
            n = len(data)
        elif mode < 0.7:
            n = rng.choice([1, 2, 7, 50, 500, 5000, 50000])
        else:
            n = rng.randrange(1, 3) if at < 400 else rng.randrange(1, 100000)
        writer.write(data[at:at + n])
        at += n
        if rng.random() < 0.5:
            await asyncio.wait_for(writer.drain(), DEADLINE)
        if rng.random() < 0.1:
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.003]))
    await asyncio.wait_for(writer.drain(), DEADLINE)


# ---- how it is read: an HTTP reader of its own, as strict as the other end promises to write

class Reader:
    def __init__(self, stream):
        self.stream, self.buf = stream, b""

    async def more(self):
        data = await asyncio.wait_for(self.stream.read(65536), DEADLINE)
        self.buf += data
        return bool(data)

    async def line(self):
        while b"\n" not in self.buf:
            if not await self.more():
                raise Wrong(f"end inside a line {self.buf[:80]!r}")
        line, _, self.buf = self.buf.partition(b"\n")
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise Wrong(f"bad line end {line[:80]!r}")
        return line + b"\n"

    async def exactly(self, n):
        while len(self.buf) < n:
            if not await self.more():
                raise Wrong(f"end after {len(self.buf)} of {n} bytes")
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    async def head(self):
        """The first line and the others; None at the end of the connection."""
        if not self.buf and not await self.more():
            return None
        first, lines = await self.line(), []
        while (line := await self.line()) != b"\r\n":
            lines.append(line)
        return first, lines

    async def chunked(self):
        body = b""
        while True:
            size = (await self.line())[:-2]
            if not size or size.strip(b"0123456789abcdef"):
                raise Wrong(f"chunk size {size!r}")
            if int(size, 16) == 0:
                break
            body += await self.exactly(int(size, 16))
            if await self.exactly(2) != b"\r\n":
                raise Wrong("chunk end")
        trailers = []
        while (line := await self.line()) != b"\r\n":
            trailers.append(line)
        return body, trailers

    async def until_close(self):
        while await self.more():
            pass
        out, self.buf = self.buf, b""
        return out


def split_lines(lines):
    """What is end-to-end, as it came; and a dict of the rest."""
    kept, hop = [], {}
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() in HOP:
            if name.lower() in hop:
                raise Wrong(f"{name!r} twice")
            hop[name.lower()] = value.strip()
        else:
            kept.append(line)
    return kept, hop


def take_one(lines, pattern):
    found = [x for x in lines if pattern.fullmatch(x)]
    if len(found) != 1:
        raise Wrong(f"{found!r} is not one line like {pattern.pattern!r}")
    lines.remove(found[0])


def same(what, got, want):
    if got != want:
        at = next((k for k in range(min(len(got), len(want))) if got[k] != want[k]), min(len(got), len(want)))
        raise Wrong(f"{what}: {len(got)} instead of {len(want)}, first difference at {at}: "
                    f"{got[at:at + 60]!r} instead of {want[at:at + 60]!r}")


class World:
    def __init__(self, args):
        self.args, self.pairs, self.wrong, self.done = args, {}, [], 0
        self.bytes = self.serving = 0

    def fail(self, pair, what):
        self.wrong.append((pair.i if pair else -1, what))
        if len(self.wrong) < 20:
            print(f"WRONG {pair}\n  {what}", flush=True)

    # ---- the back-end
    async def serve(self, stream, writer):
        self.serving += 1
        try:
            await self.serve_all(stream, writer)
        except asyncio.CancelledError:
            pass        # the end of the run; pooled connections are still open
        finally:
            self.serving -= 1

    async def serve_all(self, stream, writer):
        r, pair = Reader(stream), None
        try:
            while True:
                pair = None
                got = await r.head()
                if got is None:
                    break
                first, lines = got
                numbers = [x for x in lines if x.startswith(b"X-Pair: ")]
                if len(numbers) != 1:
                    raise Wrong(f"a request without a number: {first!r} {lines!r}")
                pair = self.pairs[int(numbers[0][8:])]
                rng = random.Random(f"{self.args.seed}/{pair.i}/serve")
                lines.remove(numbers[0])
                if not pair.plain:
                    for line in ADDED:
                        if lines.count(line) != 1:
                            raise Wrong(f"{lines.count(line)} times {line!r}")
                        lines.remove(line)
                    for made in MADE:
                        take_one(lines, made)
                kept, hop = split_lines(lines)
                pair.seen += 1
                same("request line", first, pair.method + b" " + pair.target + b" HTTP/1.1\r\n")
                same("request lines", kept, pair.lines)
                same("host", hop.get(b"host"), b"shop.example")
                if pair.expect and hop.get(b"expect"):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body, trailers = b"", []
                if b"transfer-encoding" in hop:
                    same("coding", hop[b"transfer-encoding"], b"chunked")
                    if b"content-length" in hop:
                        raise Wrong("two framings")
                    body, trailers = await r.chunked()
                elif b"content-length" in hop:
                    same("length", hop[b"content-length"], b"%d" % len(pair.body))
                    body = await r.exactly(len(pair.body))
                elif pair.framing != "none":
                    raise Wrong("no framing")
                same("request body", body, pair.body)
                same("request trailers", trailers, pair.trailers)
                data = pair.response()
                self.bytes += len(data)
                await send(rng, writer, data)
                if pair.back_close:
                    break
        except (Wrong, KeyError, ValueError) as e:
            self.fail(pair, f"at the endpoint: {e!r}")
        except (OSError, asyncio.TimeoutError) as e:
            if pair:
                self.fail(pair, f"at the endpoint: {e!r}")
        finally:
            writer.close()

    # ---- a caller: some pairs on one connection
    async def call(self, first, count):
        rng = random.Random(f"{self.args.seed}/{first}/call")
        group = [Pair(self.args.seed, first + k, count == 1, k == count - 1, self.args.direct) for k in range(count)]
        for p in group:
            self.pairs[p.i] = p
        at = finished = 0
        try:
            host, port = self.target
            stream, writer = await asyncio.wait_for(asyncio.open_connection(host, port), DEADLINE)
        except (OSError, asyncio.TimeoutError) as e:
            self.fail(group[0], f"connect: {e!r}")
            return
        r = Reader(stream)
        sender = asyncio.ensure_future(self.send_all(rng, r, writer, group))
        try:
            for at, p in enumerate(group):
                await self.response_of(r, p, sender, at == count - 1)
                self.done += 1
                finished += 1
        except (Wrong, OSError, ValueError, asyncio.TimeoutError) as e:
            self.fail(group[at], f"at the caller, {at + 1} of {count}: {e!r}")
        finally:
            sender.cancel()
            writer.close()
            for p in group[:finished]:
                if p.seen != 1:
                    self.fail(p, f"reached the endpoint {p.seen} times")
                del self.pairs[p.i]

    async def send_all(self, rng, r, writer, group):
        """Pipelined: the heads and bodies of a group are one string to be split."""
        try:
            if group[0].expect:
                head, body = group[0].request()
                r.continued = asyncio.Event()
                await send(rng, writer, head)
                await asyncio.wait_for(r.continued.wait(), DEADLINE)
                await send(rng, writer, body)
                return
            data = b"".join(b"".join(p.request()) for p in group)
            self.bytes += len(data)
            await send(rng, writer, data)
        except (OSError, asyncio.TimeoutError):
            pass    # the reading side says what is wrong

    async def response_of(self, r, p, sender, last):
        interim = []
        while True:
            got = await r.head()
            if got is None:
                raise Wrong("no response")
            first, lines = got
            status = int(first.split(b" ", 2)[1])
            if status >= 200:
                break
            if status == 100 and p.expect:
                r.continued.set()
                continue
            interim.append((status, lines))
        ours = [x for x in lines if x.startswith(b"x-nodeproxy-reason:")]
        if ours:
            raise Wrong(f"{first!r} {ours!r}")
        if interim != p.interim:
            raise Wrong(f"interim responses {interim!r} instead of {p.interim!r}")
        if not p.plain and not any(x.lower().startswith(b"date:") for x in p.resp_lines):
            take_one(lines, DATE)
        kept, hop = split_lines(lines)
        same("status line", first, b"HTTP/1.1 %d " % p.status + p.reason + b"\r\n")
        same("response lines", kept, p.resp_lines)
        trailers = None
        if p.no_body:
            body = b""
            if b"transfer-encoding" in hop and (p.v10 or p.status == 204):
                raise Wrong("a coding where none may be")
            if p.resp_framing == "length" and p.status != 204:
                same("length", hop.get(b"content-length"), b"%d" % len(p.resp_body))
        elif b"transfer-encoding" in hop:
            if p.v10 or b"content-length" in hop:
                raise Wrong(f"framing {hop!r}")
            body, trailers = await r.chunked()
        elif b"content-length" in hop:
            same("length", hop[b"content-length"], b"%d" % len(p.resp_body))
            body = await r.exactly(len(p.resp_body))
        else:
            if hop.get(b"connection", b"").lower() != b"close":
                raise Wrong(f"a body until close without saying so: {hop!r}")
            if not last:
                raise Wrong("the connection ends in the middle")
            body = await r.until_close()
        if not p.no_body:
            same("response body", body, p.resp_body)
        if trailers is not None:
            same("response trailers", trailers, p.resp_trailers)
        if last and r.buf:
            raise Wrong(f"bytes behind the last response: {r.buf[:80]!r}")

    async def run(self, ports, target):
        servers = [await asyncio.start_server(self.serve, "127.0.0.1", p, limit=1 << 20) for p in ports]
        self.target = target or ("127.0.0.1", servers[0].sockets[0].getsockname()[1])
        rng = random.Random(f"{self.args.seed}/groups")
        groups, at = [], 0
        while at < self.args.pairs:
            n = min(rng.choice([1, 1, 1, 2, 3, 8, 50]), self.args.pairs - at)
            groups.append((at, n))
            at += n
        if self.args.only is not None:
            groups = [g for g in groups if g[0] <= self.args.only < g[0] + g[1]]
        todo = iter(groups)

        async def caller():
            for first, n in todo:
                await self.call(first, n)

        await asyncio.gather(*[caller() for _ in range(self.args.callers)])
        for s in servers:
            s.close()
        for _ in range(100):    # what a caller has read may still be being closed
            if self.serving == 0 or target:
                break
            await asyncio.sleep(0.01)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--pairs", type=int, default=int(os.environ.get("NP_PAIRS", "1000")))
    a.add_argument("--seed", default=os.environ.get("NP_SEED") or str(random.SystemRandom().randrange(1 << 32)))
    a.add_argument("--only", type=int)
    a.add_argument("--callers", type=int, default=8)
    a.add_argument("--direct", action="store_true")
    args = a.parse_args()
    print(f"byteexact: {args.pairs} pairs, --seed {args.seed}", flush=True)
    world, start = World(args), time.monotonic()
    if args.direct:
        asyncio.run(world.run([0], None))
    else:
        np.only_in_tiers("process")
        ports = [np.free_port(), np.free_port()]
        with np.Host(workers=2) as host:
            host.service("shop/web", 80, ports)
            host.start()
            start = time.monotonic()
            asyncio.run(world.run(ports, ("127.0.0.1", host.port)))
            if world.wrong:
                sys.stdout.write("---- nodeproxy.log\n" + open(host.log, errors="replace").read()[-4000:])
    took = time.monotonic() - start
    print(f"byteexact: {world.done} pairs arrived as sent, {len(world.wrong)} wrong, "
          f"{world.bytes / 1e6:.1f} MB, {took:.1f} s")
    if world.wrong:
        print(f"repeat one with --seed {args.seed} --pairs {args.pairs} --only {world.wrong[0][0]}")
    want = args.pairs if args.only is None else 1
    return 1 if world.wrong or world.done < want else 0


if __name__ == "__main__":
    sys.exit(main())
