#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""How the routing state scales: SERVICES x ENDPOINTS in files, one nodeproxy with two workers.

    top_builddir=BUILD tests/scale/scale.py [--services 1000] [--endpoints 10] [--changes 200] [--layout files|one]

Measures, and prints as a Markdown table: from the start of the sync process to its first view (from the
files, then from the store after a restart), from one changed endpoint in a file to the last worker that
serves it (p50, p99), what of that is ours, and the memory of all processes (PSS) at READY.  Loads only
its own directory; run it alone (flock -x) for times worth keeping."""
import argparse
import http.client
import json
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import np  # noqa: E402


def documents(i, endpoints, first=1):
    """Service number i with its endpoints; first is the last byte of the first address."""
    text = (f"apiVersion: v1\nkind: Service\nmetadata: {{name: svc-{i}, namespace: ns-{i % 20}}}\n"
            f"spec:\n  clusterIP: 10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}\n"
            f"  ports:\n  - {{name: http, port: 80, targetPort: 8080, appProtocol: http}}\n---\n"
            f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
            f"metadata:\n  name: svc-{i}-1\n  namespace: ns-{i % 20}\n  labels: {{kubernetes.io/service-name: svc-{i}}}\n"
            f"addressType: IPv4\nports:\n- {{name: http, port: 8080}}\nendpoints:\n")
    for e in range(endpoints):
        last = first if e == 0 else 100 + e
        text += f"- addresses: [127.{1 + i // 65536}.{i // 256 % 256}.{last}]\n  conditions: {{ready: true}}\n"
    return text + "---\n"


def pss_kib(pids):
    """{pid: PSS in KiB}."""
    found = {}
    for p in pids:
        try:
            found[p] = int(re.search(r"^Pss:\s+(\d+) kB", open(f"/proc/{p}/smaps_rollup").read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return found


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def sources(host):
    return host.ctl_json("get", "sources")


class Admin(http.client.HTTPConnection):
    """The admin socket, kept open: a question costs less than what it measures."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def oldest(self):
        """The oldest revision that a worker serves."""
        self.request("GET", "/v1/status")
        return min(w["rev"] for w in json.load(self.getresponse())["workers"])


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--services", type=int, default=1000)
    a.add_argument("--endpoints", type=int, default=10)
    a.add_argument("--changes", type=int, default=200)
    a.add_argument("--workers", type=int, default=2)
    a.add_argument("--layout", choices=["files", "one"], default="files", help="a file per Service, or 500 in each file")
    a = a.parse_args()
    np.need_root()
    rows = []
    with np.Host(workers=a.workers) as host:
        back = host.backend("one")
        host.service("shop/web", 80, [back.port])
        if a.layout == "files":
            for i in range(a.services):
                host.write(f"svc-{i:06}.yaml", documents(i, a.endpoints))
        else:
            for i in range(0, a.services, 500):
                host.write(f"some-{i:06}.yaml", "".join(documents(k, a.endpoints) for k in range(i, min(i + 500, a.services))))
        began = time.monotonic()
        host.start(wait=False)
        host.await_ready(120)
        rows.append(("start to ready, state from files", f"{(time.monotonic() - began) * 1000:.0f} ms"))
        s = np.until("all accepted", lambda: (r := sources(host)) and r["sources"][0]["state"] == "synced" and r, 120)
        assert s["sources"][0]["accepted"] == 2 * a.services + 2, s["sources"]
        t = s["timings_ms"]
        rows.append(("files to view (first file asked for .. VIEW_MADE)", f"{t['snapshot']['last']:.0f} ms"))
        t = np.until("the store to have all", lambda: (r := sources(host)) and r["durable"] and
                     r["store"]["rev"] == r["rev"] and r["timings_ms"], 60)
        rows.append(("the store written for the first time", f"{t['store_write']['last']:.0f} ms"))
        rows.append(("&nbsp;&nbsp;at most that long at once", f"{t['store_step']['max']:.1f} ms"))
        time.sleep(1.5)  # what start-up allocated is given back after a second
        pids = host.pids()
        pss = pss_kib(pids)
        rows.append(("PSS of all processes at READY", f"{sum(pss.values()) / 1024:.1f} MiB"))
        for p, k in sorted(pss.items(), key=lambda x: -x[1]):
            rows.append((f"&nbsp;&nbsp;{open(f'/proc/{p}/cmdline').read().split(chr(0))[0].rsplit('/', 1)[-1]}", f"{k / 1024:.1f} MiB"))
        assert host.get("/").status == 200

        # one endpoint of one Service at a time
        lat, admin = [], Admin(host.socket)
        for n in range(a.changes if a.layout == "files" else 0):
            i = n * 37 % a.services
            before = admin.oldest()
            start = time.monotonic()
            host.write(f"svc-{i:06}.yaml", documents(i, a.endpoints, first=2 + n % 90))
            while admin.oldest() <= before:
                assert time.monotonic() - start < 30, "a change did not arrive"
                time.sleep(0.0005)
            lat.append((time.monotonic() - start) * 1000)
        if lat:
            rows.append((f"one endpoint changed in its file .. served by all workers, {len(lat)} changes: p50",
                         f"{percentile(lat, 50):.1f} ms"))
            rows.append(("&nbsp;&nbsp;p99", f"{percentile(lat, 99):.1f} ms"))
            np.until("the report of the changes", lambda: sources(host)["timings_ms"]["change"]["count"] >= len(lat), 30)
            t = sources(host)["timings_ms"]
            rows.append(("&nbsp;&nbsp;of it: event .. VIEW_MADE, last, most (20 ms of it is the wait for more)",
                         f"{t['change']['last']:.1f}, {t['change']['max']:.1f} ms"))
            rows.append(("&nbsp;&nbsp;the store's transaction, last", f"{t['store_write']['last']:.1f} ms"))
        rows.append(("held the loop longest: for the store, for a report",
                     f"{t['store_step']['max']:.1f}, {t['report_step'].get('max', 0):.1f} ms"))
        pss = pss_kib(host.pids())
        rows.append(("PSS after the changes", f"{sum(pss.values()) / 1024:.1f} MiB"))

        # a cold start with the source away
        np.until("the store to have all", lambda: (r := sources(host)) and r["durable"] and r["store"]["rev"] == r["rev"], 30)
        assert host.stop() == 0
        os.rename(host.resources, host.resources + ".away")
        began = time.monotonic()
        host.start(wait=False)
        host.await_ready(120)
        rows.append(("start to ready, state from the store, source away", f"{(time.monotonic() - began) * 1000:.0f} ms"))
        assert host.get("/").status == 200
        t = np.until("the report", lambda: (r := sources(host)["timings_ms"]) and r["store_to_view"]["count"] and r, 30)
        rows.append(("store to view (opening the store .. VIEW_MADE)", f"{t['store_to_view']['last']:.0f} ms"))
        os.rename(host.resources + ".away", host.resources)
    print(f"### {a.services} Services x {a.endpoints} endpoints, {a.workers} workers, layout {a.layout}\n\n| what | measured |\n|---|---|")
    for what, value in rows:
        print(f"| {what} | {value} |")


main()
