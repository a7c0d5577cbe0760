#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What a host costs that keeps endpoints of all Services of an etcd, and of those only that are used on it.

    cd BUILD; top_srcdir=.. python3 ../tests/bench/on_demand.py [ENDPOINTS [USED]]     (default: 100000 50)

Ten endpoints in a Service, at addresses of loopback where nobody listens.  Says, for source.slices all and on-demand: PSS of all processes of the host together
after USED Services were used, that of each, how long the first request to a Service took, and CPU of the sync
process for a change of an endpoint of a Service that nobody uses."""
import base64
import http.client
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402

CHANGES = int(os.environ.get("CHANGES", "400"))
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
        "endpoints": [{"addresses": [f"127.{(i >> 8) + 1}.{i & 255}.{k + (20 if k == 0 and change % 2 else 1)}"]}
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


def first_ms(host, i):
    began = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)
    c.request("GET", "/", headers={"Host": f"s{i}.ns{i % 100}"})
    r = c.getresponse()
    r.read()
    c.close()
    assert r.getheader("x-nodeproxy-reason") in ("BACK_REFUSED", None), r.getheaders()
    return (time.monotonic() - began) * 1000


def measure(c, w, services, used, slices):
    with np.Host(workers=2) as host:
        host.source = f"{{kind: etcd, endpoints: '{c.endpoints()[0]}', slices: {slices}}}"
        host.listeners = [dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="ns0", route="host")]
        host.start(wait=False)
        np.until("the source to be read", lambda: host.api("status")["sources"][0]["state"] == "synced", 300)
        host.await_ready(60)
        first = [first_ms(host, i * (services // used)) for i in range(used)]
        time.sleep(8)       # the store, bases and the report come behind
        pss = {f"{comm}/{p}": pss_mib(p) for p, comm in host.pids().items()}
        pid = next(p for p, comm in host.pids().items() if comm == "nodeproxy-syncd")
        before, began = cpu_s(pid), time.monotonic()
        for n in range(CHANGES):
            w.put([list(objects(services - 1 - n % 100, n))[1]])
            time.sleep(max(0.0, began + (n + 1) / 200 - time.monotonic()))
        time.sleep(2)
        each = (cpu_s(pid) - before) / CHANGES * 1000
        print(f"{slices}: PSS of the host {sum(pss.values()):.1f} MiB "
              f"({', '.join(f'{k.split(chr(47))[0]} {v:.1f}' for k, v in sorted(pss.items()))}); first request of a "
              f"Service {statistics.median(first):.1f} ms, at most {max(first):.1f} ms; a change that concerns "
              f"nobody {each:.2f} ms CPU of syncd", flush=True)
        return sum(pss.values())


def main(endpoints=100000, used=50):
    services = endpoints // 10
    with etcd.Cluster() as c:
        w, batch = Writer(c), []
        for i in range(services):
            batch += objects(i)
            if len(batch) >= 126 or i == services - 1:
                w.put(batch)
                batch = []
        both = [measure(c, w, services, used, slices) for slices in ("on-demand", "all")]
        print(f"{endpoints} endpoints, {used} Services used: {both[0] / both[1]:.2f} of the memory")


main(*map(int, sys.argv[1:]))
