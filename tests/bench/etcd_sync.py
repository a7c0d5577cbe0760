#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What an etcd of many endpoints costs the sync process: the first read of it, and one change of an endpoint.

    cd BUILD; top_srcdir=.. python3 ../tests/bench/etcd_sync.py [ENDPOINTS ...]     (default: 1000 100000)

Ten endpoints in a Service.  Says, for each number: wall time from the first page to the view, CPU of it, PSS of
the sync process; then its CPU for a change, over CHANGES of them at 200 a second, and the time from when it
heard of one to the view."""
import base64
import http.client
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402

CHANGES = int(os.environ.get("CHANGES", "1000"))
ROOT = "/nodeproxy/default/"
TICKS = os.sysconf("SC_CLK_TCK")


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
        "endpoints": [{"addresses": [f"10.{i >> 8 & 255}.{i & 255}.{k + (20 if k == 0 and change % 2 else 1)}"]}
                      for k in range(10)]}


class Writer:
    """The JSON gateway of etcd: many keys in one transaction."""

    def __init__(self, c):
        self.http = http.client.HTTPConnection("127.0.0.1", c.ports[0][0], timeout=60)

    def put(self, pairs):
        def b64(s):
            return base64.b64encode(s.encode()).decode()
        ops = [{"requestPut": {"key": b64(ROOT + k), "value": b64(json.dumps(v))}} for k, v in pairs]
        self.http.request("POST", "/v3/kv/txn", json.dumps({"success": ops}))
        r = self.http.getresponse()
        body = r.read()
        assert r.status == 200, body


def cpu_s(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / TICKS


def pss_mib(pid):
    return sum(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:")) / 1024


def measure(endpoints):
    services = endpoints // 10
    with etcd.Cluster() as c, np.Host(workers=1) as host:
        w, batch = Writer(c), []
        for i in range(services):
            batch += objects(i)
            if len(batch) >= 126 or i == services - 1:
                w.put(batch)
                batch = []
        host.source = f"{{kind: etcd, endpoints: '{c.endpoints()[0]}'}}"
        host.listeners = [dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="ns0", route="host")]
        host.start(wait=False)
        np.until("all documents", lambda: host.api("status")["sources"][0]["documents"] == 2 * services, 300)
        pid = next(p for p, comm in host.pids().items() if comm == "nodeproxy-syncd")
        host.await_ready(60)
        first_ms = host.api("sources")["timings_ms"]["snapshot"]["last"]
        first_cpu = cpu_s(pid)
        time.sleep(5)       # the store and the report come behind
        pss, before, began = pss_mib(pid), cpu_s(pid), time.monotonic()
        for n in range(CHANGES):
            w.put([list(objects(random.randrange(services), n))[1]])
            time.sleep(max(0.0, began + (n + 1) / 200 - time.monotonic()))
        time.sleep(3)
        each = (cpu_s(pid) - before) / CHANGES * 1000
        print(f"{endpoints} endpoints: first read {first_ms:.0f} ms to the view, {first_cpu:.2f} s CPU of syncd until ready, "
              f"PSS {pss:.0f} MiB; a change {each:.2f} ms CPU, change step {host.api('sources')['timings_ms']['change']}")
        return each


each = [measure(int(n)) for n in (sys.argv[1:] or ["1000", "100000"])]
if len(each) > 1:
    print(f"CPU of a change, {(sys.argv[1:] or ['1000', '100000'])[-1]} against the first: {each[-1] / each[0]:.2f} times")
