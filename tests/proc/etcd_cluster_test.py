#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Three members of an etcd that die, stop, forget and are made anew under a host, or are away for an hour: every
change arrives, none is taken back that was not, and nobody restarts nodeproxy.  With NP_FULL more of it."""
import os
import random
import signal
import struct
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import etcd  # noqa: E402
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
ROOT = "/nodeproxy/default/"
FULL = os.environ.get("NP_FULL", "") not in ("", "0")


def put(c, pair):
    np.until("a put", lambda: c.put(ROOT + pair[0], pair[1]) or True)


def source(host):
    return host.api("status")["sources"][0]


def serves(host, name):
    np.until(f"{name} to answer", lambda: host.get("/x").body == f"{name} /x\n".encode())


def connected(c, host):
    """Index of the member that the host is connected to."""
    return c.endpoints().index(np.until("a connection", lambda: (s := source(host))["connected"] and s)["endpoint"])


def members_die(c, host, backs):
    """The one that is connected, the leader, any: each change after it is served, without a snapshot."""
    before = source(host)["snapshots"]
    victims = [lambda: connected(c, host)] + ([c.leader] + [lambda: random.randrange(3)] * 10 if FULL else [])
    for i, choose in enumerate(victims):
        victim = choose()
        c.kill(victim)
        back = backs[(i + 1) % 2]
        put(c, etcd.slice_of("shop", "web", "web-1", back.port))
        serves(host, back.name)
        c.start(victim)
    assert source(host)["snapshots"] == before, source(host)


def member_that_stops_is_left(c, host, backs):
    """It is there, its connection lives, and it says nothing: another one is asked."""
    victim = connected(c, host)
    c.pause(victim)
    try:
        put(c, etcd.slice_of("shop", "web", "web-1", backs[1].port))
        serves(host, backs[1].name)
        assert connected(c, host) != victim
    finally:
        c.pause(victim, False)


def quorum_is_lost(c, host, backs):
    """One member alone knows nothing for sure: what is served stays, and it is said."""
    put(c, etcd.slice_of("shop", "web", "web-1", backs[0].port))
    serves(host, backs[0].name)
    alive = connected(c, host)
    dead = [i for i in range(3) if i != alive]
    for i in dead:
        c.kill(i)
    np.until("the source to be lost", lambda: source(host)["state"] == "lost")
    serves(host, backs[0].name)
    for i in dead:
        c.start(i, wait=False)
    c.await_ready()
    np.until("the source to be synced", lambda: source(host)["state"] == "synced")


def gap_that_was_compacted(c, host, backs):
    before = source(host)["snapshots"]
    syncd = next(p for p, comm in host.pids().items() if comm == "nodeproxy-syncd")
    os.kill(syncd, signal.SIGSTOP)
    try:
        c.kill(0)
        c.start(0)
        put(c, etcd.slice_of("shop", "web", "web-1", backs[1].port))
        c.ctl("compact", str(c.revision()))
    finally:
        os.kill(syncd, signal.SIGCONT)
    serves(host, backs[1].name)
    s = np.until("a second snapshot", lambda: (s := source(host))["snapshots"] == before + 1 and s)
    assert s["snapshot_why"] == "what changed meanwhile was compacted", s


def restore(c, backup):
    """etcd as of the backup, from nothing else; nobody says so to the host."""
    c.kill(0)
    c.wipe(0)
    peer = c.urls(0)[1]
    c.ctl("snapshot", "restore", c.at(backup), "--name", "m0", "--data-dir", c.at("data0"), "--initial-cluster", f"m0={peer}",
          "--initial-advertise-peer-urls", peer, members=[0])
    c.start(0)


def older_snapshot_is_restored(c, host, backs):
    put(c, etcd.slice_of("shop", "web", "web-1", backs[0].port))
    serves(host, backs[0].name)
    c.ctl("snapshot", "save", c.at("backup"))
    put(c, etcd.slice_of("shop", "web", "web-1", backs[1].port))
    c.put(ROOT + "global/core/Namespace/later",
          {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}})
    serves(host, backs[1].name)
    np.until("three documents", lambda: source(host)["documents"] == 3)
    restore(c, "backup")
    serves(host, backs[0].name)
    s = np.until("two documents", lambda: (s := source(host))["documents"] == 2 and s)
    assert "older snapshot" in s["snapshot_why"] or "anew" in s["snapshot_why"], s


def registry_is_emptied(c, host, backs):
    """A cluster that was made anew, with nothing in it: what is served stays until something is written."""
    c.kill(0)
    c.wipe(0)
    c.start(0)
    s = np.until("the source to be lost", lambda: (s := source(host))["state"] == "lost" and "nothing is written" in s["problem"] and s)
    assert s["documents"] == 2, s
    serves(host, backs[0].name)
    put(c, etcd.service("shop", "web", 80))
    put(c, etcd.slice_of("shop", "web", "web-1", backs[1].port))
    serves(host, backs[1].name)
    np.until("the source to be synced", lambda: source(host)["state"] == "synced")


def lease(c, host):
    """What is kept by a lease goes with it."""
    key, value = etcd.slice_of("shop", "web", "leased", 1)
    granted = c.ctl("lease", "grant", "2").split()[1]
    c.ctl("put", "--lease", granted, ROOT + key, feed=etcd.json.dumps(value))
    np.until("three documents", lambda: source(host)["documents"] == 3)
    np.until("two documents", lambda: source(host)["documents"] == 2)


def hour_without(c, host, backs):
    """A minute at a time on a clock of the test's own: traffic goes on, what is said is true, and the first
    attempt after that hour is not long in coming."""
    put(c, etcd.slice_of("shop", "web", "web-1", backs[0].port))
    serves(host, backs[0].name)
    c.kill(0)
    for minute in range(1, 61):
        with open(host.clock, "r+b") as f:
            f.write(struct.pack("<qq", minute * 60 * 10**9, minute * 60 * 10**9))
        serves(host, backs[0].name)     # one that a jump of the clock took for late may fail
    np.until("an hour to be said", lambda: host.metric("nodeproxy_source_stale_seconds") >= 3540)
    assert source(host)["state"] == "lost" and host.api("status")["ready"]
    c.start(0)
    put(c, etcd.slice_of("shop", "web", "web-1", backs[1].port))
    serves(host, backs[1].name)
    np.until("nothing to be stale", lambda: host.metric("nodeproxy_source_stale_seconds") == 0)


def world(members, tests):
    with etcd.Cluster(members) as c, np.Host(workers=1) as host:
        host.clock = os.path.join(host.dir, "clock")
        with open(host.clock, "wb") as f:
            f.write(bytes(16))
        host.env = dict(LD_PRELOAD=os.path.join(np.BUILD, "tests/lib/clock.so"), NP_CLOCK_FILE=host.clock,
                        ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
        backs = host.backend("one"), host.backend("two")
        put(c, etcd.service("shop", "web", 80))
        put(c, etcd.slice_of("shop", "web", "web-1", backs[0].port))
        host.source = f"{{kind: etcd, endpoints: '{', '.join(c.endpoints())}'}}"
        host.start()
        serves(host, "one")
        keeper, syncd = set(host.pids()), [p for p, comm in host.pids().items() if comm == "nodeproxy-syncd"]
        for t in tests:
            t(c, host, backs)
        assert [p for p, comm in host.pids().items() if comm == "nodeproxy-syncd"] == syncd, (keeper, host.pids())


world(3, [members_die] + ([quorum_is_lost, member_that_stops_is_left] if FULL else []))
world(1, [lambda c, host, backs: lease(c, host), hour_without,
          gap_that_was_compacted, older_snapshot_is_restored, registry_is_emptied])
