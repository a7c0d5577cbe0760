#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What a MiB of a long body costs the worker, by the protocols in front and behind.

  stream.py [--rounds 7] [--secs 2] [--perf WAY]

Eight downloads at once of 64 MiB each, over and over, through one worker: HTTP/1.1 or HTTP/2 from the
caller (h2load), HTTP/1.1 (here) or HTTP/2 (nghttpd) from the endpoint.  The worker's CPU time
per MiB that it read; ratios against h1-h1 are taken within a round, and their medians printed.  --perf
WAY: one run of that way under perf record, in stream.perf.  Needs nghttp2-client and nghttp2-server.
"""
import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

SIZE = 64 << 20
WAYS = {"h1-h1": (1, "--h1"), "h1-h2": (2, "--h1"), "h2-h1": (1, ""), "h2-h2": (2, "")}     # port of the listener, caller
H1_AT, H2_AT = 9001, 9002


def endpoint():
    """Answers any head with SIZE bytes."""
    piece = bytes(1 << 20)
    listener = socket.create_server(("127.0.0.1", H1_AT), backlog=64)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode()

    def serve(c):
        got = b""
        with c, contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in got:
                    more = c.recv(65536)
                    if not more:
                        return
                    got += more
                got = got.split(b"\r\n\r\n", 1)[1]
                c.sendall(head)
                for _ in range(SIZE // len(piece)):
                    c.sendall(piece)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def worker(np):
    return [p for p in np.pids() if "worker" in open(f"/proc/{p}/cmdline").read().split("\0")[0]][0]


def cpu_us(pid):
    return int(open(f"/proc/{pid}/schedstat").read().split()[0]) / 1000


def received():
    """Bytes that came over loopback so far: all of a body comes to the worker, and goes on from there."""
    return int([x for x in open("/proc/net/dev") if x.strip().startswith("lo:")][0].split(":")[1].split()[0])


def run(np, way, secs):
    port, flag = WAYS[way]
    load = subprocess.Popen(["h2load", *flag.split(), "-c", "8", "-m", "1", "-t", "1", "-D", str(int(secs) + 30), "-w", "24", "-W", "24",
                             f"http://127.0.0.1:{8000 + port}/body"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    try:
        pid = worker(np)
        began = received()
        while received() < began + (32 << 20):
            time.sleep(0.01)
        cpu, bytes_ = cpu_us(pid), received()
        time.sleep(secs)
        return (cpu_us(pid) - cpu) / ((received() - bytes_) / 2 / 1048576), (received() - bytes_) / 2 / 1048576 / secs
    finally:
        load.kill()
        load.wait()


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--rounds", type=int, default=7)
    a.add_argument("--secs", type=float, default=2)
    a.add_argument("--perf", choices=WAYS)
    o = a.parse_args()
    lab.own_namespace()
    resources = {f"{n}.yaml": lab.service("shop", n, 80, at, ["127.0.0.1"], app=app)
                 for n, at, app in (("one", H1_AT, "http"), ("two", H2_AT, "kubernetes.io/h2c"))}
    with lab.Nodeproxy(resources, [(8001, "shop", "shop/one:80"), (8002, "shop", "shop/two:80")], workers="cpus=1") as np:
        body = os.path.join(np.dir, "body")
        with open(body, "wb") as f:
            f.truncate(SIZE)
        os.sched_setaffinity(0, {0})
        threading.Thread(target=endpoint, daemon=True).start()
        server = subprocess.Popen(["nghttpd", "--no-tls", "-d", np.dir, "-w", "24", "-W", "24", str(H2_AT)], stdout=subprocess.DEVNULL)
        try:
            if o.perf:
                perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "5000", "-g", "-o", "stream.perf", "-p",
                                         str(worker(np)), "--", "sleep", str(o.secs)])
                print(run(np, o.perf, o.secs + 1))
                return perf.wait()
            got = {way: [] for way in WAYS}
            for _ in range(o.rounds):
                for way in WAYS:
                    got[way].append(run(np, way, o.secs))
            for way, rs in got.items():
                ratio = statistics.median(r[0] / base[0] for r, base in zip(rs, got["h1-h1"], strict=True))
                print(f"{way}  {statistics.median(r[0] for r in rs):7.1f} us/MiB  {ratio:5.2f} x h1-h1  "
                      f"{statistics.median(r[1] for r in rs):7.0f} MiB/s  rounds {[round(r[0]) for r in rs]}")
        finally:
            server.kill()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
