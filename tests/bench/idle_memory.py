#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Memory at READY, and what an idle keep-alive connection costs over that.

  idle_memory.py [--conns 5000] [--workers 2] [--after 60]

Each connection has had one answer before it idles.  Then all of them ask at once, and close: PSS right
after that burst, and --after seconds later, when what it filled must have gone back.  PSS of all
processes is ours; the kernel's part (sockets of both ends, slab) is shown beside it and is the same for
every proxy.
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


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--conns", type=int, default=5000)
    a.add_argument("--workers", default="2")
    a.add_argument("--after", type=float, default=60)
    o = a.parse_args()
    lab.own_namespace()
    tmp = tempfile.mkdtemp(prefix="np-load-")
    origin = subprocess.Popen([lab.load_tool(tmp), "origin", "9000"])
    try:
        with lab.Nodeproxy({"web.yaml": lab.service("bench", "web", 80, 9000, ["127.0.0.1"])},
                           [(8080, "bench", "bench/web:80")], workers=o.workers,
                           extra="timeouts: {idle: 600000}") as np:
            # A first few, so that what is touched once is not counted per connection.
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", 8080), 5) as s:
                    ask(s)
            m0, k0 = settled(np), lab.kernel_memory()
            socks = []
            for _ in range(o.conns):
                s = socket.create_connection(("127.0.0.1", 8080), 5)
                ask(s)
                socks.append(s)
            m1, k1 = settled(np), lab.kernel_memory()
            c0 = np.cpu_s()
            time.sleep(2)
            c1 = np.cpu_s()
            for s in socks[::50]:
                ask(s)
            print(f"machine: {lab.machine()}")
            print(f"READY after {np.ready_s * 1000:.0f} ms, {o.workers} workers")
            print("| process | PSS at READY KiB | with the connections KiB |\n|---|--:|--:|")
            for k in m0:
                print(f"| {k} | {m0[k]} | {m1.get(k, 0)} |")
            n = len(socks)
            print(f"\n{n} idle connections: {(m1['sum'] - m0['sum']) * 1024 / n:.0f} bytes each (PSS of all "
                  f"processes), {(c1 - c0) / 2 * 100:.2f} % of a CPU while idle")
            print(f"kernel, both ends of both sides: socket buffers {(k1[0] - k0[0]) * 1024 / n:.0f}, "
                  f"slab {(k1[1] - k0[1]) * 1024 / n:.0f} bytes per connection")
            for s in socks:
                s.sendall(REQUEST)
            for s in socks:
                answered(s)
            m2 = np.memory()
            for s in socks:
                s.close()
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


if __name__ == "__main__":
    main()
