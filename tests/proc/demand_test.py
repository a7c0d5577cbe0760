#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Endpoints on demand, from a real etcd: the first request to a Service waits for them and is served, nobody else
waits; what nobody uses is let go; a restart without etcd has what was in use, and only that."""
import os
import re
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "man"))
import etcd  # noqa: E402
import np  # noqa: E402
from from_commands import fields  # noqa: E402

np.only_in_tiers("process")
np.need_root()
ROOT = "/nodeproxy/default/"
FIELDS = [key for key, *_ in fields(os.path.join(np.SOURCE, "admin/fields.def"))["on_demand"][1]]
UNUSED = [f"unused{i}" for i in range(6)]


def put(c, pair):
    c.put(ROOT + pair[0], pair[1])


def service(c, name, n, *ports, slice_name=None):
    key, value = etcd.service("shop", name, 80)
    value["spec"]["clusterIP"] = f"10.96.0.{n}"
    put(c, (key, value))
    if ports:
        put(c, etcd.slice_of("shop", name, slice_name or f"{name}-x1", *ports))


def ask(host, name):
    return host.get("/x", headers={"Host": name})


def demand(host):
    d = host.status()["sources"][0]["on_demand"]
    assert set(d) == {"services_here", "services_fetched", "slices_left", "fetches", "let_go", "refused", "last_ms", "max_ms",
                      "oldest", "oldest_mono_ms"}, d
    return d


def has(host, *names):
    np.until(f"{names} to be here", lambda: here(host) == set(names))


def here(host):
    return {s["name"] for s in host.ctl_json("get", "services")["services"] if not s["lacks_endpoints"]}


def first_use(host, one, two):
    """Those who ask first wait together; one fetch is made for all of them."""
    has(host, "pinned")
    got = []
    threads = [threading.Thread(target=lambda: got.append(ask(host, "web").body)) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [b"one /x\n"] * 5, got
    assert ask(host, "odd").body == b"two /x\n"       # its slice is called as it likes
    has(host, "pinned", "web", "odd")
    want = dict(services_here=3, services_fetched=0, fetches=3, slices_left=len(UNUSED), oldest=None)
    np.until(f"{want} to be reported", lambda: want.items() <= demand(host).items())
    assert set(demand(host)) == set(FIELDS), demand(host)
    assert sum(host.metric("nodeproxy_worker_endpoint_waits_total", worker=w) for w in "01") >= 2
    assert host.metric("nodeproxy_source_services_here") == 3
    r = ask(host, "none")
    assert r.status == 503 and r.headers["x-nodeproxy-reason"] == "NO_ENDPOINT", r.headers
    x = host.ctl("explain", "--from", "shop", "unused0").stdout
    assert "would be fetched" in x, x


def changes(host, c, two):
    """What is here is followed; what is not costs no revision."""
    put(c, etcd.slice_of("shop", "web", "web-x1", two.port))
    np.until("web to be two", lambda: ask(host, "web").body == b"two /x\n")
    rev, gone = host.status()["rev"], demand(host)["let_go"]
    for name in UNUSED[:3]:
        put(c, etcd.slice_of("shop", name, f"{name}-x1", two.port))
    put(c, etcd.slice_of("shop", "web", "web-x2", two.port))
    np.until("another revision", lambda: host.status()["rev"] > rev)
    now = host.status()["rev"]
    assert now == rev + 1 or demand(host)["let_go"] > gone, (rev, now)


def let_go(host):
    """Of those that nobody uses; a listener's stays, and so does one that is asked for meanwhile."""
    np.until("odd to be let go", lambda: (ask(host, "web"), "odd" not in here(host))[1])
    assert here(host) >= {"pinned", "web"}, here(host)
    np.until("that to be reported", lambda: demand(host)["let_go"] >= 1)
    assert ask(host, "odd").body == b"two /x\n"


def away(host, c):
    """A first use has its reason after the bound; whoever has endpoints does not wait. A restart serves what was used."""
    c.kill(0)
    began, got = time.monotonic(), []
    t = threading.Thread(target=lambda: got.append(ask(host, UNUSED[0])))
    t.start()
    assert ask(host, "web").body == b"two /x\n"
    t.join()
    assert got[0].status == 503 and got[0].headers["x-nodeproxy-reason"] == "ENDPOINTS_NOT_HERE", got[0].headers
    assert time.monotonic() - began >= 1
    host.logged(rf"service=shop/{UNUSED[0]}:80 .* status=503 reason=ENDPOINTS_NOT_HERE flag=UH")
    np.until("that to be found", lambda: f"those of shop/{UNUSED[0]} for" in host.ctl("check").stdout)
    assert host.stop() == 0
    host.start(wait=False)
    np.until("web from the store", lambda: ask(host, "web").body == b"two /x\n")
    assert here(host) >= {"pinned", "web"} and UNUSED[1] not in here(host), here(host)
    c.start(0)
    np.until("the source to be synced", lambda: host.status()["sources"][0]["state"] == "synced")
    assert ask(host, UNUSED[0]).body == b"two /x\n"
    np.until("nothing to be found", lambda: "that are asked for have not come" not in host.ctl("check").stdout)


def main():
    with etcd.Cluster() as c, np.Host(workers=2) as host:
        one, two = host.backend("one"), host.backend("two")
        service(c, "pinned", 1, one.port)
        service(c, "web", 2, one.port)
        service(c, "odd", 3, two.port, slice_name="called-as-it-likes")
        service(c, "none", 4)
        for i, name in enumerate(UNUSED):
            service(c, name, 10 + i, one.port)
        host.source = f"{{kind: etcd, endpoints: '{c.endpoints()[0]}', slices: on-demand, slices_idle: 2s}}"
        host.config += "timeouts: {endpoints: 1s}\n"
        host.listeners = [dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="host"),
                          dict(name="pinned", bind="127.0.0.1:0", namespace="shop", route="service",
                               service="shop/pinned:80")]
        host.start()
        first_use(host, one, two)
        changes(host, c, two)
        let_go(host)
        away(host, c)
        assert not re.search("unknown_call|our_bug", open(host.log).read())


main()
