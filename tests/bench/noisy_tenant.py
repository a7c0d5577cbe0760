#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A polite tenant's latency beside a noisy one on the same worker.

  noisy_tenant.py [--conns 2000] [--rate 1000] [--secs 3] [--rounds 3]

The noisy tenant keeps CONNS connections full: of pipelined HTTP requests, or of opaque bytes.  The
polite one sends RATE requests/s over 16 connections, open loop.  Worker on CPU 1, everything else
on CPU 0.  Compare the rows of one run; the first (quiet) is the reference.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--conns", type=int, default=2000)
    a.add_argument("--rate", type=float, default=1000)
    a.add_argument("--secs", type=float, default=3)
    a.add_argument("--rounds", type=int, default=3)
    o = a.parse_args()
    lab.own_namespace()
    os.sched_setaffinity(0, {0})
    tmp = tempfile.mkdtemp(prefix="np-load-")
    tool = lab.load_tool(tmp)
    servers = [subprocess.Popen([tool, "origin", "9000"]), subprocess.Popen([tool, "origin", "9001"]),
               subprocess.Popen([tool, "sink", "9002"])]
    res = {"polite.yaml": lab.service("polite", "web", 80, 9000, ["127.0.0.1"]),
           "noisy.yaml": lab.service("noisy", "web", 80, 9001, ["127.0.0.1"]) + "---\n" +
           lab.service("noisy", "raw", 81, 9002, ["127.0.0.1"], app="tcp")}
    try:
        with lab.Nodeproxy(res, [(8080, "polite", "polite/web:80"), (8081, "noisy", "noisy/web:80"),
                                 (8082, "noisy", "noisy/raw:81")], workers="cpus=1") as np:
            print(f"machine: {lab.machine()}")
            print("| beside it | p50 µs | p90 | p99 | p99.9 | errors | noisy MB/s |\n|---|--:|--:|--:|--:|--:|--:|")
            for _ in range(o.rounds):
                for what, argv in (("quiet", None),
                                   (f"{o.conns} connections of requests", ["flood", "8081"]),
                                   (f"{o.conns} connections of bytes", ["pour", "8082"])):
                    noise = None
                    if argv:
                        noise = subprocess.Popen([tool] + argv + [str(o.conns), str(o.secs + 2)],
                                                 stdout=subprocess.PIPE, text=True)
                        np.wait(lambda s: True, 5)
                        time.sleep(1.5)          # until its connections are there and full
                    r = json.loads(subprocess.run([tool, "ask", "8080", "16", str(o.rate), str(o.secs)],
                                                  capture_output=True, text=True, check=True).stdout)
                    mb = ""
                    if noise:
                        n = json.loads(noise.communicate()[0])
                        mb = f"{n['sent'] / 1e6 / (o.secs + 2):.0f}" + (f" ({n['cut']} cut)" if n["cut"] else "")
                    print(f"| {what} | {r['p50']} | {r['p90']} | {r['p99']} | {r['p999']} | {r['errors']} | {mb} |",
                          flush=True)
    finally:
        for s in servers:
            s.terminate()
            s.wait()
        os.unlink(tool)
        os.rmdir(tmp)


if __name__ == "__main__":
    main()
