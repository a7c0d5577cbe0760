#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Resources from a real etcd, with TLS and permissions: what is written is served, and what is served goes on
being so while etcd is away; nobody restarts anything.  NP_FULL=1 also shows it a password that is wrong."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
ROOT = "/nodeproxy/default/"
FULL = os.environ.get("NP_FULL", "") not in ("", "0")


def put(c, pair, **more):
    c.put(ROOT + pair[0], pair[1], **more)


def source(host):
    return host.status()["sources"][0]


def serves(host, name):
    np.until(f"{name} to answer", lambda: host.get("/x").body == f"{name} /x\n".encode())


def reach(c, who="host-a"):
    tls = f", ca: {c.at('ca.pem')}, cert: {c.at(who + '.pem')}, key: {c.at(who + '-key.pem')}" if c.tls else ""
    return f"{{kind: etcd, endpoints: [{', '.join(c.endpoints())}]{tls}}}"


def roles(c):
    """As nodeproxy(8), REGISTRY, has them."""
    for who in ("host-a", "tenant"):
        c.certificate(who)
    for line in ("user add root --no-password", "user grant-role root root",
                 "role add nodeproxy-host", f"role grant-permission --prefix nodeproxy-host read {ROOT}",
                 "role add nodeproxy-host-a", f"role grant-permission --prefix nodeproxy-host-a readwrite {ROOT}node/host-a/",
                 "user add host-a --no-password", "user grant-role host-a nodeproxy-host",
                 "user grant-role host-a nodeproxy-host-a", "role add shop",
                 f"role grant-permission --prefix shop readwrite {ROOT}ns/shop/",
                 "user add tenant --no-password", "user grant-role tenant shop", "auth enable"):
        c.ctl(*line.split())


def permissions(c, one):
    """Whoever writes elsewhere than in its own may not."""
    def may(who, key):
        return c.run("put", ROOT + key, "x", user=who).returncode == 0
    assert may("host-a", "node/host-a/x") and may("tenant", "ns/shop/apps/Unknown/x")
    for who, key in (("host-a", "ns/shop/core/Service/web"), ("host-a", "node/host-b/x"), ("host-a", "vip/10.96.0.1"),
                     ("tenant", "ns/bank/core/Service/web"), ("tenant", "node/host-a/x"),
                     ("tenant", "global/core/Namespace/shop")):
        assert not may(who, key), (who, key)
    put(c, etcd.slice_of("shop", "web", "web-1", one.port), user="tenant")


def refused(host, c):
    """One by one, with key and field; the last good version stays."""
    service = etcd.service("shop", "web", 80)
    c.put(ROOT + service[0], '{"kind": "Service"')
    c.put(ROOT + "ns/bank/core/Service/web", service[1])
    c.put(ROOT + "global/what", "x")
    want = {ROOT + service[0]: True, ROOT + "ns/bank/core/Service/web": False, ROOT + "global/what": False,
            ROOT + "ns/shop/apps/Unknown/x": False}
    r = np.until("four to be refused", lambda: (r := host.ctl_json("get", "sources")["refused"]) and
                 {x["source"] for x in r} == set(want) and r)
    assert {x["source"]: x["serving_last_good"] for x in r} == want, r
    assert {x["field"] for x in r if "bank" in x["source"]} == {"metadata.namespace"}, r
    serves(host, "one")
    put(c, service)
    for key in list(want)[1:]:
        c.ctl("del", key)
    np.until("nothing to be refused", lambda: not host.ctl_json("get", "sources")["refused"])


def away(host, c, one, two):
    """Traffic goes on, also from a sync process that was born meanwhile; then what changed is there."""
    c.kill(0)
    np.until("the source to be lost", lambda: source(host)["state"] == "lost")
    assert source(host)["problem"], source(host)
    assert host.metric("nodeproxy_source_stale_seconds") >= 4
    assert "source etcd is lost" in host.ctl("check").stdout, host.ctl("check").stdout
    syncd = next(p for p, comm in host.pids().items() if comm == "nodeproxy-syncd")
    os.kill(syncd, signal.SIGKILL)
    serves(host, "one")
    np.until("another sync process", lambda: any(p != syncd and comm == "nodeproxy-syncd" for p, comm in host.pids().items()))
    np.until("it to say that it is lost", lambda: source(host)["state"] == "lost" and source(host)["documents"] == 2)
    serves(host, "one")
    c.start(0)
    put(c, etcd.slice_of("shop", "web", "web-1", two.port), user="tenant" if c.tls else None)
    serves(host, "two")
    np.until("the source to be synced", lambda: source(host)["state"] == "synced")
    assert host.metric("nodeproxy_source_stale_seconds") == 0
    assert host.status()["ready"] and source(host)["connected"]


def compacted(host, c, one):
    """What changed in a gap and was compacted costs a snapshot, and nothing else is told anew."""
    before = source(host)["snapshots"]
    c.kill(0, signal.SIGKILL)
    np.until("it to be noticed", lambda: not source(host)["connected"] or source(host)["state"] == "lost")
    c.start(0)
    put(c, etcd.slice_of("shop", "web", "web-1", one.port))
    serves(host, "one")
    assert source(host)["snapshots"] == before, source(host)


def replace(path, text):
    with open(path + "~", "w") as f:
        f.write(text)
    os.rename(path + "~", path)


def others(host, c, two):
    """Another user by a reload, then another password by its file alone; what cannot be is refused before."""
    password = os.path.join(host.dir, "password")
    c.ctl("user", "add", "by-name:first")
    c.ctl("user", "grant-role", "by-name", "nodeproxy-host")
    kept = host.source
    host.source = kept[:-1] + f", user: by-name, password_file: {password}}}"
    host.write_config()
    r = host.ctl("reload")
    assert r.returncode == 1 and "source.password_file: cannot be opened" in r.stderr + r.stdout, r
    replace(password, "wrong\n" if FULL else "first\n")
    assert host.ctl("reload").returncode == 0
    if FULL:
        np.until("the password to be refused", lambda: "authentication failed" in source(host)["problem"])
        replace(password, "first\n")
        np.until("the password to be read again", lambda: source(host)["state"] == "synced")
    put(c, etcd.slice_of("shop", "web", "web-1", two.port))
    serves(host, "two")
    # What the certificate file says now is of nobody, then of us again.
    for kind in ("", "-key"):
        os.rename(c.at(f"host-a{kind}.pem"), c.at(f"kept{kind}.pem"))
    for kind in ("-key", ""):
        replace(c.at(f"host-a{kind}.pem"), open(c.at("ca.pem")).read())
    assert host.ctl("reload").returncode == 0
    for kind in ("-key", ""):
        replace(c.at(f"host-a{kind}.pem"), open(c.at(f"kept{kind}.pem")).read())
    host.source = kept
    host.write_config()
    assert host.ctl("reload").returncode == 0
    np.until("the certificate to be enough", lambda: source(host)["state"] == "synced" and source(host)["connected"])
    assert source(host)["snapshots"] == 1, source(host)


def main():
    with etcd.Cluster(tls=True) as c, np.Host(workers=1) as host:
        one, two = host.backend("one"), host.backend("two")
        roles(c)
        put(c, etcd.service("shop", "web", 80))
        host.source = reach(c)
        permissions(c, one)
        host.start()
        s = source(host)
        assert host.metric("nodeproxy_source_snapshots_total") == 1
        assert s["kind"] == "etcd" and s["path"] == ROOT and s["connected"] and s["snapshots"] == 1, s
        serves(host, "one")
        refused(host, c)
        others(host, c, two)
        put(c, etcd.slice_of("shop", "web", "web-1", one.port))
        serves(host, "one")
        away(host, c, one, two)
        compacted(host, c, one)
        assert "unknown_call" not in open(host.log).read()


main()
