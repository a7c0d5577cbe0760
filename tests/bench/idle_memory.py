#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Memory at READY, and what an idle keep-alive connection costs over that.

  idle_memory.py [--conns 5000] [--workers 2] [--after 60] [--h2 [--full-tables]]

Each connection has had one answer before it idles.  Then all of them ask at once, and close: PSS right
after that burst, and --after seconds later, when what it filled must have gone back.  PSS of all
processes is ours; the kernel's part (sockets of both ends, slab) is shown beside it and is the same for
every proxy.

With --h2 they are HTTP/2, 1,000 of them, with 50 answers each.  The burst is 100 connections with 100
streams each, and the idle ones stay: what they cost after it is to be what they cost before.  Exit 1
when it is more than 20 KiB each.  With --full-tables all lines of all requests enter the callers' header
tables, which are full then: the most that a caller can make us keep.
"""
import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
sys.path.insert(0, os.path.join(lab.TOP, "tests/lib"))  # noqa: E402
import frames  # noqa: E402

REQUEST = b"GET /x HTTP/1.1\r\nHost: bench\r\n\r\n"


def ask(s):
    s.sendall(REQUEST)
    answered(s)


def answered(s):
    got = b""
    while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 128:
        more = s.recv(4096)
        if not more:
            raise RuntimeError("connection ended: " + repr(got[:100]))
        got += more
    if not got.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(repr(got[:100]))


def settled(np):
    """Memory, once two readings half a second apart are within 1 %."""
    last = np.memory()
    for _ in range(20):
        time.sleep(0.5)
        m = np.memory()
        if abs(m["sum"] - last["sum"]) * 100 <= last["sum"]:
            return m
        last = m
    return last


class Http1:
    def __init__(self):
        self.s = socket.create_connection(("127.0.0.1", 8080), 5)
        ask(self.s)

    def ask(self):
        ask(self.s)

    def close(self):
        self.s.close()


class Http2:
    requests = 50
    full_tables = False
    STEADY = (("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101"),
              ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
              ("accept-encoding", "gzip, deflate, br, zstd"), ("accept-language", "en-US,en;q=0.5"))

    def __init__(self):
        self.c, self.id = frames.Caller(8080), 1
        for _ in range(self.requests):
            self.ask()

    def request(self):
        i = self.id
        self.id += 2
        varying = [("x-session", f"{i:032x}"), ("cookie", f"id={i:064x}")]
        if self.full_tables:
            return i, frames.headers(i, frames.get(f"/items/{i}", *self.STEADY, *varying))
        # What is always the same is said once: behind that they are the newest of the table, last first.
        steady = b"".join(frames.line(*x) for x in self.STEADY) if i == 1 else \
            bytes(0x80 + 62 + k for k in reversed(range(len(self.STEADY))))
        return i, frames.headers(i, frames.get(f"/items/{i}", kept=False) + steady +
                                 b"".join(frames.line(*x, kept=False) for x in varying))

    def ask(self):
        self.send(1)
        self.answered()

    def send(self, streams):
        asked = [self.request() for _ in range(streams)]
        self.asked = [i for i, _ in asked]
        self.c.send(b"".join(b for _, b in asked))

    def answered(self):
        for i, (status, n, code) in self.c.answered(*self.asked).items():
            if status != 200 or code is not None or n < 128:
                raise RuntimeError(f"stream {i}: {status} {n} {code}")

    def close(self):
        self.c.close()


def burst(conns, streams):
    callers = [Http2() for _ in range(conns)]
    for c in callers:
        c.send(streams)
    for c in callers:
        c.answered()
    return callers


def h2_after(np, m0, conns, after):
    """What is left of a burst; true: no more than an idle connection may cost."""
    def each(m):
        return (m["sum"] - m0["sum"]) / len(conns)
    before = each(settled(np))
    callers = burst(100, 100)
    during = np.memory()
    for c in callers:
        c.close()
    time.sleep(after)
    left = each(np.memory())
    print(f"100 connections x 100 streams: PSS over READY {during['sum'] - m0['sum']} KiB while they are there; "
          f"{after:.0f} s after they closed {left:.1f} KiB for each of the idle ones ({before:.1f} before)")
    for c in conns[::50]:
        c.ask()
    return max(before, left) <= 20


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--conns", type=int)
    a.add_argument("--h2", action="store_true")
    a.add_argument("--full-tables", action="store_true")
    a.add_argument("--workers", default="2")
    a.add_argument("--after", type=float, default=60)
    o = a.parse_args()
    o.conns = o.conns or (1000 if o.h2 else 5000)
    Http2.full_tables = o.full_tables
    kind = Http2 if o.h2 else Http1
    lab.own_namespace()
    tmp = tempfile.mkdtemp(prefix="np-load-")
    origin = subprocess.Popen([lab.load_tool(tmp), "origin", "9000"])
    try:
        with lab.Nodeproxy({"web.yaml": lab.service("bench", "web", 80, 9000, ["127.0.0.1"])},
                           [(8080, "bench", "bench/web:80")], workers=o.workers,
                           extra="timeouts: {idle: 600000}") as np:
            # A first few, so that what is touched once is not counted per connection.
            for _ in range(8):
                kind().close()
            m0, k0 = settled(np), lab.kernel_memory()
            conns = [kind() for _ in range(o.conns)]
            m1, k1 = settled(np), lab.kernel_memory()
            c0 = np.cpu_s()
            time.sleep(2)
            c1 = np.cpu_s()
            for c in conns[::50]:
                c.ask()
            print(f"machine: {lab.machine()}")
            print(f"READY after {np.ready_s * 1000:.0f} ms, {o.workers} workers")
            print("| process | PSS at READY KiB | with the connections KiB |\n|---|--:|--:|")
            for k in m0:
                print(f"| {k} | {m0[k]} | {m1.get(k, 0)} |")
            n = len(conns)
            print(f"\n{n} idle connections: {(m1['sum'] - m0['sum']) * 1024 / n:.0f} bytes each (PSS of all "
                  f"processes), {(c1 - c0) / 2 * 100:.2f} % of a CPU while idle")
            print(f"kernel, both ends of both sides: socket buffers {(k1[0] - k0[0]) * 1024 / n:.0f}, "
                  f"slab {(k1[1] - k0[1]) * 1024 / n:.0f} bytes per connection")
            if o.h2:
                return 0 if h2_after(np, m0, conns, o.after) else 1
            for c in conns:
                c.s.sendall(REQUEST)
            for c in conns:
                answered(c.s)
            m2 = np.memory()
            for c in conns:
                c.close()
            time.sleep(1)
            m3 = np.memory()
            time.sleep(o.after)
            m4 = np.memory()
            print(f"all {n} ask at once: PSS over READY {m2['sum'] - m0['sum']} KiB at the last answer, "
                  f"{m3['sum'] - m0['sum']} KiB 1 s after they closed, {m4['sum'] - m0['sum']} KiB "
                  f"{o.after:.0f} s after that")
    finally:
        origin.terminate()
        origin.wait()
        os.unlink(tmp + "/load")
        os.rmdir(tmp)
    return 0


if __name__ == "__main__":
    sys.exit(main())
