#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""From a resource file to what every worker serves.

  view_time.py [--services 1000] [--endpoints 10] [--changes 50] [--rate 200 --secs 10]

Start: all files there -> ready.  Change: one EndpointSlice is replaced (rename) -> every worker
reports a newer revision; the time includes asking for the status, about a millisecond.  --rate
replaces that many slices a second, one after another, and shows CPU and the backlog at the end.
"""
import argparse
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402


def addresses(service, n, salt=0):
    return [f"10.{1 + service // 250}.{service % 250}.{1 + (i + salt) % 250}" for i in range(n)]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--services", type=int, default=1000)
    a.add_argument("--endpoints", type=int, default=10)
    a.add_argument("--changes", type=int, default=50)
    a.add_argument("--rate", type=float, default=0)
    a.add_argument("--secs", type=float, default=10)
    a.add_argument("--workers", default="2")
    o = a.parse_args()
    lab.own_namespace()
    files = {f"s{i:05}.yaml": lab.service(f"ns{i % 20}", f"s{i}", 80, 8080, addresses(i, o.endpoints))
             for i in range(o.services)}
    with lab.Nodeproxy(files, [(8080, "ns0", "ns0/s0:80")], workers=o.workers) as np:
        status = np.get("status")
        print(f"machine: {lab.machine()}")
        print(f"{o.services} Services x {o.endpoints} endpoints, {o.workers} workers: ready after "
              f"{np.ready_s * 1000:.0f} ms at rev {status['rev']}, {np.cpu_s():.2f} s of CPU")
        for s in np.get("sources")["sources"]:
            print(f"source: {s}")
        m = np.memory()
        print("PSS KiB: " + ", ".join(f"{k} {v}" for k, v in m.items()))
        took = []
        for k in range(o.changes):
            before = np.get("status")
            revs = {w["id"]: w["rev"] for w in before["workers"]}
            i = k * 7 % o.services
            t = time.monotonic()
            np.write(f"s{i:05}.yaml", lab.service(f"ns{i % 20}", f"s{i}", 80, 8080,
                                                  addresses(i, o.endpoints, k + 1)))
            np.wait(lambda s: all(w["rev"] > revs.get(w["id"], 0) for w in s["workers"]), 10, 0.0005)
            took.append((time.monotonic() - t) * 1000)
        if took:
            took.sort()
            print(f"one endpoint change to all workers, {len(took)} times: median "
                  f"{statistics.median(took):.1f} ms, p90 {took[len(took) * 9 // 10]:.1f} ms, "
                  f"max {took[-1]:.1f} ms")
        if o.rate:
            c0, t0, k = np.cpu_s(), time.monotonic(), 0
            rev0 = np.get("status")["rev"]
            while time.monotonic() < t0 + o.secs:
                i = k % o.services
                np.write(f"s{i:05}.yaml", lab.service(f"ns{i % 20}", f"s{i}", 80, 8080,
                                                      addresses(i, o.endpoints, k + 99)))
                k += 1
                pause = t0 + k / o.rate - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
            t1 = time.monotonic()
            end = np.wait(lambda s: all(w["rev"] == s["rev"] for w in s["workers"]), 30)
            print(f"{k / (t1 - t0):.0f} changes/s for {t1 - t0:.0f} s: {end['rev'] - rev0} revisions, "
                  f"{(np.cpu_s() - c0) / (t1 - t0) * 100:.1f} % of a CPU, all workers up to date "
                  f"{(time.monotonic() - t1) * 1000:.0f} ms after the last")
            print("PSS KiB: " + ", ".join(f"{k} {v}" for k, v in np.memory().items()))


if __name__ == "__main__":
    main()
