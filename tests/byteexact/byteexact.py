#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Random request/response pairs of every framing, split at random places in time, through the real
processes: what arrives is compared byte by byte with what was sent, at both ends.

    byteexact.py [--pairs N] [--seed S] [--direct] [--way h1-h1|h2-h1|h1-h2|h2-h2]

Callers and endpoints speak HTTP/1 or HTTP/2, each with each.  `make check` runs 1,000 pairs of h1-h1 and a
fifth as many of each other way, with a seed of its own, which it prints; --pairs 10000 is the measure, and
what NP_FULL=1 does.  --direct takes nodeproxy out, and with it all that it would put right: a test of this
file.  A wrong pair is printed with its plan and can be repeated with --seed S --way WAY --only PAIR, with
the others of its connection."""
import argparse
import asyncio
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import http2  # noqa: E402
import np  # noqa: E402
from plan import DEADLINE, Pair, Wrong, carried, pairs, same, send  # noqa: E402

HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"content-length",
       b"upgrade", b"host", b"trailer", b"expect"}
# What nodeproxy adds to a request.
ADDED = [b"X-Forwarded-For: 127.0.0.1\r\n", b"X-Forwarded-Proto: http\r\n"]
MADE = [re.compile(rb"X-Request-Id: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\r\n"),
        re.compile(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n")]
# And to a final response that has none.
DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")
# The same in HTTP/2.
ADDED2 = [x.lower() for x in ADDED]
MADE2 = [re.compile(m.pattern.replace(b"X-Request-Id", b"x-request-id")) for m in MADE]
DATE2 = re.compile(DATE.pattern.replace(b"Date", b"date"))
WAYS = {"h1-h1": (1, 1), "h2-h1": (2, 1), "h1-h2": (1, 2), "h2-h2": (2, 2)}


class Cut(Wrong):
    """The end came before it might."""


# ---- how it is read: an HTTP reader of its own, as strict as the other end promises to write

class Reader:
    def __init__(self, stream):
        self.stream, self.buf = stream, b""
        self.body = b""     # what has come of a body in chunks that was cut

    async def more(self):
        data = await asyncio.wait_for(self.stream.read(65536), DEADLINE)
        self.buf += data
        return bool(data)

    async def line(self):
        while b"\n" not in self.buf:
            if not await self.more():
                raise Cut(f"end inside a line {self.buf[:80]!r}")
        line, _, self.buf = self.buf.partition(b"\n")
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise Wrong(f"bad line end {line[:80]!r}")
        return line + b"\n"

    async def exactly(self, n):
        while len(self.buf) < n:
            if not await self.more():
                raise Cut(f"end after {len(self.buf)} of {n} bytes")
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
        self.body = b""
        while True:
            size = (await self.line())[:-2]
            if not size or size.strip(b"0123456789abcdef"):
                raise Wrong(f"chunk size {size!r}")
            if int(size, 16) == 0:
                break
            self.body += await self.exactly(int(size, 16))
            if await self.exactly(2) != b"\r\n":
                raise Wrong("chunk end")
        trailers = []
        while (line := await self.line()) != b"\r\n":
            trailers.append(line)
        return self.body, trailers

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


def request_head(world, lines, version):
    """Takes what nodeproxy adds from the lines of a head that came; the pair, and what is left."""
    numbers = [x for x in lines if x.lower().startswith(b"x-pair: ")]
    if len(numbers) != 1:
        raise Wrong(f"a request without a number: {lines!r}")
    pair = world.pairs[int(numbers[0][8:])]
    lines.remove(numbers[0])
    if not pair.plain:
        for line in ADDED if version == 1 else ADDED2:
            if lines.count(line) != 1:
                raise Wrong(f"{lines.count(line)} times {line!r}")
            lines.remove(line)
        for made in MADE if version == 1 else MADE2:
            take_one(lines, made)
    return pair


def begins(what, got, whole):
    """What has come of something that was cut."""
    same(f"{what}, cut", got, whole[:len(got)])


def is_local_answer(p, lines):
    """The endpoint broke off before anything of its answer was passed on."""
    ours = [x for x in lines if x.lower().startswith(b"x-nodeproxy-reason:")]
    if ours and not (p.cut == "endpoint" and ours[0].startswith(b"x-nodeproxy-reason: BACK_")):
        raise Wrong(f"{ours!r}")
    return bool(ours)


class World:
    def __init__(self, args):
        self.args, self.pairs, self.wrong, self.done, self.want = args, {}, [], 0, 0
        self.bytes = self.serving = self.conns = 0

    def fail(self, pair, what):
        self.wrong.append((pair.i if pair else -1, what))
        if len(self.wrong) < 20:
            print(f"WRONG {pair}\n  {what}", flush=True)

    # ---- the back-end
    async def serve(self, stream, writer, how):
        self.serving += 1
        try:
            await how(stream, writer)
        except asyncio.CancelledError:
            pass        # the end of the run; pooled connections are still open
        finally:
            self.serving -= 1

    async def serve_http1(self, stream, writer):
        r, pair = Reader(stream), None
        try:
            while True:
                pair = None
                r.body = b""
                got = await r.head()
                if got is None:
                    break
                first, lines = got
                pair = request_head(self, lines, 1)
                rng = random.Random(f"{self.args.seed}/{pair.i}/serve")
                kept, hop = split_lines(lines)
                pair.seen += 1
                same("request line", first, pair.method + b" " + pair.target + b" HTTP/1.1\r\n")
                same("request lines", kept, pair.lines_there())
                same("host", hop.get(b"host"), b"shop.example")
                if pair.expect and hop.get(b"expect"):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if pair.early is None:
                    await self.request_body(r, pair, hop)
                head, body = pair.response()
                self.bytes += len(head) + len(body)
                if pair.cut == "endpoint":
                    await send(rng, writer, head + body[:pair.cut_at])
                    break
                await send(rng, writer, head + body)
                if pair.early is not None:
                    if pair.back_close:
                        writer.write_eof()
                    await self.request_body(r, pair, hop)
                if pair.back_close:
                    break
        except (OSError, asyncio.TimeoutError, Cut) as e:
            if pair and pair.early is None and pair.cut != "caller":
                self.fail(pair, f"at the endpoint: {e!r}")
        except (Wrong, KeyError, ValueError) as e:
            self.fail(pair, f"at the endpoint: {e!r}")
        finally:
            writer.close()

    async def request_body(self, r, pair, hop):
        body, trailers = b"", []
        try:
            if b"transfer-encoding" in hop:
                same("coding", hop[b"transfer-encoding"], b"chunked")
                if b"content-length" in hop:
                    raise Wrong("two framings")
                body, trailers = await r.chunked()
            elif b"content-length" in hop:
                same("length", hop[b"content-length"], b"%d" % len(pair.body))
                body = await r.exactly(len(pair.body))
            elif pair.framing != "none" and not (pair.front == 2 and not pair.body and not pair.trailers):
                raise Wrong("no framing")
        except Cut:
            begins("request body", r.body if b"transfer-encoding" in hop else r.buf, pair.body)
            raise
        same("request body", body, pair.body)
        same("request trailers", trailers, pair.trailers_there())

    async def serve_http2(self, stream, writer):
        self.conns += 1
        rng, tasks = random.Random(f"{self.args.seed}/{self.conns}/serve"), set()
        end = http2.End(rng, stream, writer, False,
                        lambda s: tasks.add(asyncio.ensure_future(self.serve_stream(rng, end, s))), self.args.direct)
        try:
            await end.tasks[1]
            if end.error:
                self.fail(None, f"at the endpoint: {end.error}")
        finally:
            if tasks:
                await asyncio.wait(tasks, timeout=DEADLINE)
            await end.close()

    async def serve_stream(self, rng, end, s):
        pair = None
        try:
            _, (pseudo, lines) = await s.next()
            pair = request_head(self, lines, 2)
            kept, hop = split_lines(lines)
            pair.seen += 1
            same("pseudo headers", sorted(pseudo.items()),
                 [(b":authority", b"shop.example"), (b":method", pair.method), (b":path", pair.target), (b":scheme", b"http")])
            same("request lines", kept, pair.lines_there())
            if pair.framing == "length":
                same("length", hop.get(b"content-length"), b"%d" % len(pair.body))
            elif b"content-length" in hop:
                raise Wrong(f"a length {hop!r}")
            if pair.expect and hop.get(b"expect"):
                end.head(s, [(b":status", b"100")])
            if pair.early is not None:
                await self.answer(end, s, pair)
                if rng.random() < 0.5:
                    end.reset(s, 0)
                    return
            body, trailers = await s.message()
            same("request body", body, pair.body)
            same("request trailers", trailers, pair.trailers_there())
            if pair.early is None:
                await self.answer(end, s, pair)
        except http2.Reset as e:
            if pair is None or (pair.early is None and pair.cut != "caller"):
                self.fail(pair, f"at the endpoint: {e!r}")
            elif (got := getattr(e, "got", None)) is not None and not pair.body.startswith(got):
                self.fail(pair, f"at the endpoint: {len(got)} bytes before {e!r} are no part of the body")
        except (Wrong, KeyError, ValueError, OSError, asyncio.TimeoutError) as e:
            self.fail(pair, f"at the endpoint: {e!r}")
        finally:
            s.drop()

    async def answer(self, end, s, pair):
        for status, lines in pair.interim:
            end.head(s, [(b":status", b"%d" % status)] + pairs(carried(lines)))
        fields, ended = pair.response_fields()
        end.head(s, fields, ended)
        self.bytes += len(pair.resp_body)
        if pair.cut == "endpoint":
            await end.body(s, pair.resp_body[:pair.cut_at], [], end=False)
            end.reset(s, 2)
        elif not ended:
            await end.body(s, pair.resp_body, pair.resp_trailers)

    # ---- a caller: some pairs on one connection
    def group(self, way, first, count):
        front, back = WAYS[way]
        out = [Pair(self.args.seed, first + k, count == 1 or front == 2, front == 2 or k == count - 1, self.args.direct,
                    front, back) for k in range(count)]
        for p in out:
            self.pairs[p.i] = p
        return out

    def over(self, p):
        """The caller has what it wanted."""
        self.done += 1
        if p.cut is not None or p.early is not None:
            return      # the endpoint may still be at it
        if p.seen != 1:
            self.fail(p, f"reached the endpoint {p.seen} times")
        del self.pairs[p.i]

    async def call_http1(self, way, first, count):
        rng = random.Random(f"{self.args.seed}/{first}/call")
        group = self.group(way, first, count)
        at = 0
        try:
            stream, writer = await asyncio.wait_for(asyncio.open_connection(*self.target), DEADLINE)
        except (OSError, asyncio.TimeoutError) as e:
            self.fail(group[0], f"connect: {e!r}")
            return
        r = Reader(stream)
        sender = asyncio.ensure_future(self.send_all(rng, r, writer, group))
        try:
            for at, p in enumerate(group):
                if p.cut == "caller":
                    await sender
                else:
                    await self.response_of(r, p, at == count - 1)
                self.over(p)
        except (Wrong, OSError, ValueError, asyncio.TimeoutError) as e:
            if group[at].cut == "endpoint" and isinstance(e, (Cut, OSError)):
                if r.body and not group[at].resp_body.startswith(r.body):
                    self.fail(group[at], f"at the caller: {len(r.body)} bytes before {e!r} are no part of the body")
                self.over(group[at])
            else:
                self.fail(group[at], f"at the caller, {at + 1} of {count}: {e!r}")
        finally:
            sender.cancel()
            writer.close()

    async def send_all(self, rng, r, writer, group):
        """Pipelined: the heads and bodies of a group are one string to be split."""
        try:
            if group[0].cut == "caller":
                head, body = group[0].request()
                await send(rng, writer, head + body[:group[0].cut_at])
                return
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

    async def response_of(self, r, p, last):
        interim = []
        r.body = b""
        while True:
            got = await r.head()
            if got is None:
                raise Cut("no response")
            first, lines = got
            status = int(first.split(b" ", 2)[1])
            if status >= 200:
                break
            if status == 100 and p.expect:
                r.continued.set()
                continue
            interim.append((status, lines))
        if is_local_answer(p, lines):
            return
        if interim != [(s, p.there(lines)) for s, lines in p.interim]:
            raise Wrong(f"interim responses {interim!r} instead of {p.interim!r}")
        if not p.plain and not any(x.lower().startswith(b"date:") for x in p.resp_lines):
            take_one(lines, DATE)
        kept, hop = split_lines(lines)
        if p.back == 1:
            same("status line", first, b"HTTP/1.1 %d " % p.status + p.reason + b"\r\n")
        elif not re.fullmatch(rb"HTTP/1.1 %d [A-Za-z ]*\r\n" % p.status, first):
            raise Wrong(f"status line {first!r}")
        same("response lines", kept, p.there(p.resp_lines))
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
            same("response trailers", trailers, p.there(p.resp_trailers))
        if last and r.buf:
            raise Wrong(f"bytes behind the last response: {r.buf[:80]!r}")

    async def call_http2(self, way, first, count):
        """All at once, each on a stream of its own."""
        rng = random.Random(f"{self.args.seed}/{first}/call")
        group = self.group(way, first, count)
        try:
            stream, writer = await asyncio.wait_for(asyncio.open_connection(*self.target), DEADLINE)
        except (OSError, asyncio.TimeoutError) as e:
            self.fail(group[0], f"connect: {e!r}")
            return
        end = http2.End(rng, stream, writer, True)
        await asyncio.gather(*[self.call_stream(rng, end, p) for p in group])
        if end.error:
            self.fail(None, f"at the caller: {end.error}")
        await end.close()

    async def call_stream(self, rng, end, p):
        await asyncio.sleep(rng.choice([0, 0, 0, 0.001, 0.01]))
        fields, ended = p.request_fields()
        s = end.open(fields, ended)
        sender = asyncio.ensure_future(self.send_stream(rng, end, s, p, ended))
        s.continued = asyncio.Event()
        try:
            if p.cut == "caller":
                await sender
            else:
                await self.response_stream(s, p)
            self.over(p)
        except http2.Reset as e:
            got = getattr(e, "got", b"")
            if p.cut != "endpoint":
                self.fail(p, f"at the caller: {e!r}")
            elif not p.resp_body.startswith(got):
                self.fail(p, f"at the caller: {len(got)} bytes before {e!r} are no part of the body")
            else:
                self.over(p)
        except (Wrong, ValueError, asyncio.TimeoutError) as e:
            self.fail(p, f"at the caller: {e!r}")
        finally:
            sender.cancel()
            s.drop()

    async def send_stream(self, rng, end, s, p, ended):
        try:
            if p.cut == "caller":
                if not ended:
                    await end.body(s, p.body[:p.cut_at], [], end=False)
                await asyncio.sleep(rng.choice([0, 0, 0.002, 0.01]))
                end.reset(s, 8)
            elif not ended:
                if p.expect:
                    await asyncio.wait_for(s.continued.wait(), DEADLINE)
                await end.body(s, p.body, p.trailers)
                self.bytes += len(p.body)
        except (http2.Reset, asyncio.TimeoutError):
            pass    # the reading side says what is wrong

    async def response_stream(self, s, p):
        interim = []
        while True:
            kind, value = await s.next()
            if kind == http2.RESET:
                raise http2.Reset(f"reset with {value} before the head")
            if kind not in (http2.INTERIM, http2.HEAD):
                raise Wrong(f"{kind} before the head")
            pseudo, lines = value
            if kind == http2.HEAD:
                break
            if pseudo[b":status"] == b"100" and p.expect:
                s.continued.set()
                continue
            interim.append((int(pseudo[b":status"]), lines))
        if is_local_answer(p, lines):
            return
        same("interim responses", interim, [(n, carried(lines)) for n, lines in p.interim])
        if not p.plain and not any(x.lower().startswith(b"date:") for x in p.resp_lines):
            take_one(lines, DATE2)
        kept, hop = split_lines(lines)
        same("status", list(pseudo.items()), [(b":status", b"%d" % p.status)])
        same("response lines", kept, carried(p.resp_lines))
        if p.resp_framing == "length" and p.status != 204:
            same("length", hop.pop(b"content-length", None), b"%d" % len(p.resp_body))
        if hop.get(b"content-length", b"%d" % len(p.resp_body)) != b"%d" % len(p.resp_body) or len(hop) > 1:
            raise Wrong(f"lines of a connection {hop!r}")
        body, trailers = await s.message()
        same("response body", body, b"" if p.no_body else p.resp_body)
        same("response trailers", trailers, [] if p.no_body else carried(p.resp_trailers))

    async def run_way(self, way, n):
        rng = random.Random(f"{self.args.seed}/groups")
        groups, at = [], 0
        base = list(WAYS).index(way) * 1000000
        while at < n:
            k = min(rng.choice([1, 1, 1, 2, 3, 8, 50]), n - at)
            groups.append((base + at, k))
            at += k
        if self.args.only is not None:
            groups = [g for g in groups if g[0] <= self.args.only < g[0] + g[1]]
        self.want += sum(k for _, k in groups)
        todo, call = iter(groups), self.call_http2 if WAYS[way][0] == 2 else self.call_http1

        async def caller():
            for first, k in todo:
                await call(way, first, k)

        await asyncio.gather(*[caller() for _ in range(self.args.callers)])

    async def run(self, ways, ports, targets):
        """ports, targets: of endpoints that speak HTTP/1 and HTTP/2, and of who calls them."""
        servers = []
        for how, some in zip((self.serve_http1, self.serve_http2), ports):
            servers.append([await asyncio.start_server(lambda r, w, how=how: self.serve(r, w, how), "127.0.0.1", p, limit=1 << 20)
                            for p in some])
        for way, n in ways.items():
            back = WAYS[way][1] - 1
            self.target = targets[back] if targets else servers[back][0].sockets[0].getsockname()[:2]
            await self.run_way(way, n)
        for s in servers[0] + servers[1]:
            s.close()
        for _ in range(100):    # what a caller has read may still be being closed
            if self.serving == 0 or targets:
                break
            await asyncio.sleep(0.01)


def main():
    full = os.environ.get("NP_FULL", "") not in ("", "0")
    a = argparse.ArgumentParser()
    a.add_argument("--pairs", type=int, default=int(os.environ.get("NP_PAIRS", "10000" if full else "1000")))
    a.add_argument("--seed", default=os.environ.get("NP_SEED") or str(random.SystemRandom().randrange(1 << 32)))
    a.add_argument("--only", type=int)
    a.add_argument("--way", choices=list(WAYS))
    a.add_argument("--callers", type=int, default=8)
    a.add_argument("--direct", action="store_true")
    args = a.parse_args()
    ways = {way: args.pairs if way == (args.way or "h1-h1") else args.pairs // 5 for way in WAYS
            if way == (args.way or way) and not (args.direct and len(set(WAYS[way])) > 1)}
    if http2.h2 is None:
        print("not tried: HTTP/2, python3-h2 is not installed")
        ways = {way: n for way, n in ways.items() if way == "h1-h1"}
    print(f"byteexact: {', '.join(f'{n} {way}' for way, n in ways.items())}, --seed {args.seed}", flush=True)
    world, start = World(args), time.monotonic()
    if args.direct:
        asyncio.run(world.run(ways, ([0], [0]), None))
    else:
        np.only_in_tiers("process")
        ports, callers = [[np.free_port(), np.free_port()] for _ in range(2)], [np.free_port(), np.free_port()]
        listeners = [dict(name=name, bind=f"127.0.0.1:{port}", namespace="shop", route="service", service=f"shop/{name}:80")
                     for name, port in zip(("web", "web2"), callers)]
        with np.Host(workers=2, listeners=listeners) as host:
            host.service("shop/web", 80, ports[0])
            host.service("shop/web2", 80, ports[1], app="kubernetes.io/h2c")
            host.start()
            start = time.monotonic()
            asyncio.run(world.run(ways, ports, [("127.0.0.1", port) for port in callers]))
            if world.wrong:
                sys.stdout.write("---- nodeproxy.log\n" + open(host.log, errors="replace").read()[-4000:])
    took = time.monotonic() - start
    print(f"byteexact: {world.done} pairs arrived as sent, {len(world.wrong)} wrong, "
          f"{world.bytes / 1e6:.1f} MB, {took:.1f} s")
    if world.wrong:
        print(f"repeat one with --seed {args.seed} --pairs {args.pairs} --only {world.wrong[0][0]}")
    return 1 if world.wrong or world.done < world.want else 0


if __name__ == "__main__":
    sys.exit(main())
