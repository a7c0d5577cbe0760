#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Changes of endpoints in one etcd, and when the workers of all hosts serve them.

    cd BUILD; top_srcdir=.. python3 ../tests/bench/etcd_rate.py [--hosts 2] [--services 1000] [--rate 200] [--secs 20]

Real hosts, each a nodeproxy of two workers in a network namespace of its own, that share a real etcd.  One
EndpointSlice after another gets an address that was never there before; the change has arrived at a host when
every worker of it serves a revision with that address, and at all when it has at the last.  The time counts from
when it is sent to etcd, by a writer that waits for each answer: the rate that it reached is said, too.  Nobody
is asked: revisions and views are read where they are (change_rate.py).

Exit 1: a change never arrived.  Times are goals: say the machine, and how busy it was."""
import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import change_rate  # noqa: E402
import etcd_sync    # noqa: E402
import np           # noqa: E402
del sys.modules["lab"]      # that of tests/bench: the tests' hosts have one of the same name
sys.path.insert(0, os.path.join(HERE, "..", "lab"))
import discovery_test  # noqa: E402

P99_MS, STEP_MS = 100, 1
bench, hosts_lab = change_rate.lab, discovery_test.lab      # two modules of one name


class Host:
    """What change_rate.py reads of a nodeproxy: its processes."""

    def __init__(self, host, layout):
        self.np, self.proc = host.np, host.np.process
        self.watch, self.changes = change_rate.Watch(self, layout, host.np.workers), change_rate.Changes()
        self.known = max(self.watch.revs())

    def pids(self):
        return self.np.pids()

    def look(self):
        revs = self.watch.revs()
        now = time.monotonic()
        if max(revs) > self.known:
            self.known = max(revs)
            self.changes.published(self.watch)
        self.changes.served(now, min(revs))

    def cpu_s(self):
        return sum(etcd_sync.cpu_s(p) for p in self.pids())


def writer(mesh, c):
    conn = http.client.HTTPConnection(c.address, c.ports[0][0])
    conn.sock = hosts_lab.inside(mesh.wire, lambda: hosts_lab.connect(c.address, c.ports[0][0], 60))
    conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return etcd_sync.Writer(c, connection=conn)


def slice_at(i, ip):
    key, doc = list(etcd_sync.objects(i))[1]
    doc["endpoints"][0]["addresses"] = [ip]
    return key, doc


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--hosts", type=int, default=2)
    a.add_argument("--services", type=int, default=1000)
    a.add_argument("--rate", type=float, default=200)
    a.add_argument("--secs", type=float, default=20)
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        layout = json.loads(subprocess.run([bench.load_tool(tmp, "layout")], check=True, capture_output=True).stdout)
    with discovery_test.hosts_of_one_etcd(o.hosts, 0) as (mesh, c):
        w = writer(mesh, c)
        w.fill(o.services)
        for h in mesh.hosts:
            h.np.listeners = [dict(name="front", bind=f"127.0.0.1:{h.np.port}", namespace="ns0", route="host")]
        mesh.start()
        np.until("all documents", lambda: all(h.np.api("status")["sources"][0]["documents"] == 2 * o.services
                                              for h in mesh.hosts), 60)
        hosts = [Host(h, layout) for h in mesh.hosts]
        print(f"machine: {bench.machine()}; load {os.getloadavg()[0]:.2f} at the start", flush=True)
        cpu, t0, k = [h.cpu_s() for h in hosts], time.monotonic(), 0
        end = t0 + o.secs
        while True:
            now = time.monotonic()
            if now >= end and (not any(h.changes.waiting for h in hosts) or now >= end + change_rate.LOST_S):
                break
            for h in hosts:
                h.look()
            due = t0 + k / o.rate
            if now < end and now >= due:
                ip = bytes((10, 128 + (k >> 16) % 64, k >> 8 & 255, k & 255))
                sent = time.monotonic()
                for h in hosts:
                    h.changes.made(sent, ip)
                w.put([slice_at(k % o.services, ".".join(str(b) for b in ip))])
                k += 1
            pause = min(now + 0.001, t0 + k / o.rate) - time.monotonic()
            if pause > 0:
                time.sleep(pause)
        secs = time.monotonic() - t0
        cpu = [(h.cpu_s() - was) / secs * 100 for h, was in zip(hosts, cpu)]
        lost, steps = 0, []
        for n, h in enumerate(hosts):
            t = sorted(h.changes.took) or [float("nan")]
            lost += h.changes.lost + len(h.changes.waiting)
            steps += [x["counters"]["view_step_ns_gauge"] / 1e6 for x in h.np.api("workers")["workers"]]
            print(f"host {n}: {len(t)} of {k} changes ({k / o.secs:.0f}/s): sent -> all its workers serve it p50 "
                  f"{change_rate.at(t, 500):.1f} ms, p99 {change_rate.at(t, 990):.1f} ms, max {t[-1]:.1f} ms; {cpu[n]:.0f} % of a CPU")
        t = sorted(max(x) for x in zip(*(h.changes.took for h in hosts))) or [float("nan")]
        p99 = change_rate.at(t, 990)
        print(f"all hosts: p50 {change_rate.at(t, 500):.1f} ms, p99 {p99:.1f} ms (goal {P99_MS} ms: {'met' if p99 <= P99_MS else 'MISSED'}); "
              f"{lost} never arrived")
        if k < o.rate * o.secs * 0.95:
            print(f"the machine was too busy for {o.rate:.0f} changes/s")
        print(f"longest step of view work in a worker, CPU time: {max(steps):.3f} ms (goal {STEP_MS} ms: "
              f"{'met' if max(steps) <= STEP_MS else 'MISSED'})")
        return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
