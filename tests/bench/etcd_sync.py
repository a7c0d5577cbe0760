#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What an etcd of many endpoints costs the sync process: the first read of it, and one change of an endpoint.

    cd BUILD; top_srcdir=.. python3 ../tests/bench/etcd_sync.py [ENDPOINTS ...]     (default: 1000 100000)

Ten endpoints in a Service; with $WORDS they have zone, node and pod, as Kubernetes writes them. Says, for each number:
wall time from the first page to the view, CPU of it, PSS of each process; then the sync process' CPU for a change, over
CHANGES of them (1,000; $CHANGES) at 200 a second, bases that are built meanwhile included, and the time from when it
heard of one to the view. Then it loses its etcd while MISSED endpoints change (1,000; $MISSED), twice, the second time
with what changed compacted: bytes that came over its connection, and its CPU, until it has what it missed."""
import base64
import collections
import contextlib
import http.client
import json
import os
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402

CHANGES, MISSED = int(os.environ.get("CHANGES", "1000")), int(os.environ.get("MISSED", "1000"))
ROOT = "/nodeproxy/default/"
TICKS = os.sysconf("SC_CLK_TCK")


def words(i, k):
    """What Kubernetes says of an endpoint beside its address."""
    if not os.environ.get("WORDS"):
        return {}
    return {"zone": f"eu-central-1{'abc'[k % 3]}", "nodeName": f"ip-10-0-{k}-{i % 200}.eu-central-1.compute.internal",
            "targetRef": {"kind": "Pod", "namespace": f"ns{i % 100}", "name": f"s{i}-7d9c5b6f4-x{k}z"}}


def objects(i, change=0):
    name, ns = f"s{i}", f"ns{i % 100}"
    ip = f"10.{96 + (i >> 16)}.{i >> 8 & 255}.{i & 255}"
    yield f"ns/{ns}/core/Service/{name}", {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": ns},
        "spec": {"clusterIP": ip, "ports": [{"name": "main", "port": 80, "protocol": "TCP", "appProtocol": "http"}]}}
    yield f"ns/{ns}/discovery.k8s.io/EndpointSlice/{name}-1", {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": ns, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"name": "main", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [f"127.{(i >> 8) + 1 & 255}.{i & 255}.{k + (20 if k == 0 and change % 2 else 1)}"], **words(i, k)}
                      for k in range(10)]}


def b64(s):
    return base64.b64encode(s.encode()).decode()


class Writer:
    """The JSON gateway of etcd: many keys in one transaction."""

    def __init__(self, c, root=ROOT, connection=None):
        """connection: one that is there already, from inside the namespace that c is in."""
        self.root = root
        self.http = connection or http.client.HTTPConnection("127.0.0.1", c.ports[0][0], timeout=60)

    def call(self, method, body):
        self.http.request("POST", f"/v3/kv/{method}", json.dumps(body))
        r = self.http.getresponse()
        said = r.read()
        assert r.status == 200, said
        return json.loads(said)

    def put(self, pairs):
        self.call("txn", {"success": [{"requestPut": {"key": b64(self.root + k), "value": b64(json.dumps(v))}}
                                      for k, v in pairs]})

    def count(self, prefix):
        """Keys below it, which ends with a slash."""
        return int(self.call("range", {"key": b64(self.root + prefix), "range_end": b64(self.root + prefix[:-1] + "0"),
                                       "count_only": True}).get("count", 0))

    def fill(self, services):
        batch = []
        for i in range(services):
            batch += objects(i)
            if len(batch) >= 126 or i == services - 1:
                self.put(batch)
                batch = []


def cpu_s(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / TICKS


def pss_mib(pid):
    return sum(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:")) / 1024


class Wire:
    """What stands between the host and its etcd: counts bytes, and can be cut."""

    def __init__(self, port):
        self.to, self.bytes, self.is_cut, self.open = port, 0, False, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near = self.listener.accept()[0]
            if self.is_cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.to))
            for a, b in ((near, far), (far, near)):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.open.add(a)
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 16):
                self.bytes += len(data)
                b.sendall(data)
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.open.discard(a)

    def cut(self, is_cut):
        self.is_cut = is_cut
        for s in list(self.open) if is_cut else ():
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


def gap(c, host, pid, wire, w, services, compacts):
    wire.cut(True)
    np.until("it noticed", lambda: not host.api("status")["sources"][0]["connected"])
    for n in range(MISSED):
        w.put([list(objects(n % services, n + compacts))[1]])
    rev = c.revision()
    if compacts:
        c.ctl("compact", str(rev))
    before, n, t = cpu_s(pid), wire.bytes, time.monotonic()
    wire.cut(False)
    np.until("it has what it missed", lambda: host.api("status")["sources"][0]["revision"] >= rev, 120)
    t = time.monotonic() - t
    time.sleep(2)       # the view, the store and the report
    return f"{(wire.bytes - n) / 2**20:.2f} MiB, {cpu_s(pid) - before:.2f} s CPU, {t:.1f} s"


def measure(endpoints):
    services = endpoints // 10
    with etcd.Cluster() as c, np.Host(workers=int(os.environ.get("WORKERS", "1"))) as host:
        wire = Wire(c.ports[0][0])
        w = Writer(c)
        w.fill(services)
        host.source = f"{{kind: etcd, endpoints: '127.0.0.1:{wire.port}'}}"
        host.listeners = [dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="ns0", route="host")]
        host.start(wait=False)
        np.until("all documents", lambda: host.api("status")["sources"][0]["documents"] == 2 * services, 300)
        pid = next(p for p, comm in host.pids().items() if comm == "nodeproxy-syncd")
        host.await_ready(60)
        first_ms = host.api("sources")["timings_ms"]["snapshot"]["last"]
        first_cpu, first_bytes = cpu_s(pid), wire.bytes
        time.sleep(5)       # the store and the report come behind
        pss = collections.Counter()
        for p, comm in sorted(host.pids().items()):
            pss[comm.removeprefix("nodeproxy-")] += pss_mib(p)
        before, began = cpu_s(pid), time.monotonic()
        for n in range(CHANGES):
            w.put([list(objects(random.randrange(services), n))[1]])
            time.sleep(max(0.0, began + (n + 1) / 200 - time.monotonic()))
        time.sleep(3)
        each = (cpu_s(pid) - before) / CHANGES * 1000
        print(f"{endpoints} endpoints: first read {first_ms:.0f} ms to the view, {first_cpu:.2f} s CPU of syncd until ready, "
              f"{first_bytes / 2**20:.1f} MiB; PSS {sum(pss.values()):.0f} MiB: "
              + ", ".join(f"{name} {mib:.0f}" for name, mib in pss.items())
              + f"; a change {each:.2f} ms CPU, change step {host.api('sources')['timings_ms']['change']}", flush=True)
        for compacts in (False, True):
            print(f"{endpoints} endpoints, {MISSED} changes missed{', and compacted' if compacts else ''}: "
                  f"{gap(c, host, pid, wire, w, services, compacts)}", flush=True)
        return each


if __name__ == "__main__":
    each = [measure(int(n)) for n in (sys.argv[1:] or ["1000", "100000"])]
    if len(each) > 1:
        print(f"CPU of a change, {(sys.argv[1:] or ['1000', '100000'])[-1]} against the first: {each[-1] / each[0]:.2f} times")
