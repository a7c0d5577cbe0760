#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Real processes that run out of descriptors or of a tenant's memory: who is told, who goes on, what
the operator sees, and that it is over when it is over."""
import contextlib
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
LIMIT = 700


def dial(host):
    s = socket.create_connection(("127.0.0.1", host.port), timeout=15)
    s.sendall(GET)
    return s


def head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        assert more, f"end after {data!r}"
        data += more
    return data


def worker(host):
    return host.ctl_json("get", "workers")["workers"][0]


def findings(host):
    return [f["what"] for f in host.api("check")["findings"]]


def descriptors():
    with np.Host(workers=1, wrapper=["prlimit", f"--nofile={LIMIT}:{LIMIT}"]) as host:
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        w = np.until("the limit", lambda: worker(host)["descriptors_limit"] == LIMIT and worker(host))
        np.until("the count to be what /proc says", lambda: worker(host)["descriptors"] == len(os.listdir(f"/proc/{w['pid']}/fd")))
        served, told = [], 0
        for _ in range(LIMIT):
            c = dial(host)
            answer = head(c)
            if answer.startswith(b"HTTP/1.1 200 "):
                served.append(c)
                continue
            assert answer.startswith(b"HTTP/1.1 503 ") and b"NO_DESCRIPTORS" in answer, answer
            c.close()
            told += 1
            if told == 5:
                break
        assert told == 5 and len(served) > 300, (told, len(served))

        def seen():
            now = worker(host)
            return LIMIT - 256 <= now["descriptors"] + 2 <= LIMIT and now
        w = np.until("the gauge to say so", seen)
        # those who are there are served on; the master can still change what the worker serves
        for c in served[:20]:
            c.sendall(GET)
            assert b"HTTP/1.1 200 " in head(c)
        np.until("check to find it", lambda: any("descriptors" in x for x in findings(host)))
        rev = host.status()["rev"]
        host.service("shop/other", 81, [one.port])
        np.until("a new view in the full worker",
                 lambda: host.status()["rev"] > rev and worker(host)["rev"] == host.status()["rev"])
        for c in served:
            c.close()
        np.until("callers to be gone", lambda: worker(host)["connections"] == 0)
        c = dial(host)
        assert head(c).startswith(b"HTTP/1.1 200 ")
        c.close()
        assert host.metric("nodeproxy_worker_accept_refused_total") == 5
        w = worker(host)
        np.until("the count to be what /proc says", lambda: worker(host)["descriptors"] ==
                 len(os.listdir(f"/proc/{w['pid']}/fd")))


def memory():
    with np.Host(workers=1, config="limits: {tenant_memory: 400000}\ntimeouts: {head: 60000}") as host:
        host.service("shop/web", 80, [host.backend("one").port])
        host.start()
        good = dial(host)
        assert head(good).startswith(b"HTTP/1.1 200 ")
        halves = []
        # heads that are not finished wait in the tenant's memory, until it is told no
        for _ in range(200):
            s = socket.create_connection(("127.0.0.1", host.port), timeout=15)
            s.sendall(b"GET /half HTTP/1.1\r\nX: ")
            halves.append(s)
        tenant = lambda: max(host.ctl_json("get", "tenants")["tenants"], key=lambda t: t["memory_bytes"])  # noqa: E731
        np.until("the tenant to be short", lambda: tenant()["memory_grade"] == "refuse")
        assert tenant()["memory_bytes"] <= 400000
        np.until("the log to say so", lambda: "event=memory_grade of=tenant" in open(host.log).read())
        assert any("short of memory (refuse)" in x for x in findings(host)), findings(host)
        refused = dial(host)
        answer = head(refused)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"OVER_BUDGET" in answer, answer
        for s in halves + [refused]:
            s.close()
        np.until("it to be over", lambda: tenant()["memory_grade"] == "calm" and tenant()["memory_bytes"] == 0)
        good.sendall(GET)
        while not (answer := good.recv(65536)).startswith(b"HTTP/1.1 200 "):
            assert answer
        with contextlib.closing(dial(host)) as c:
            assert head(c).startswith(b"HTTP/1.1 200 ")


for test in (descriptors, memory):
    began = time.monotonic()
    test()
    print(f"ok   {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
