#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What a host costs that keeps endpoints of all Services of an etcd, and of those only that are used on it.

    cd BUILD; top_srcdir=.. python3 ../tests/bench/on_demand.py [ENDPOINTS [USED]]     (default: 100000 50)

The registry is that of etcd_sync.py; nobody listens at its endpoints.  Says, for source.slices all and
on-demand: PSS of all processes of the host together after USED Services were used, that of each, how long
the first request to a Service took, and CPU of the sync process for a change of an endpoint of a Service that
nobody uses."""
import http.client
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402
from etcd_sync import Writer, cpu_s, objects, pss_mib  # noqa: E402

CHANGES = int(os.environ.get("CHANGES", "400"))


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
        w = Writer(c)
        w.fill(services)
        both = [measure(c, w, services, used, slices) for slices in ("on-demand", "all")]
        print(f"{endpoints} endpoints, {used} Services used: {both[0] / both[1]:.2f} of the memory")


main(*map(int, sys.argv[1:]))
