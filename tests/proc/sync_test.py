#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The sync process and its store in real life: it is killed under traffic, its source goes away and
comes back, the host starts without a source, and with a store that is junk."""
import contextlib
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()


def source(host):
    return host.ctl_json("get", "sources")


def answers(host, name):
    return np.until(f"answers of {name}", lambda: host.get("/x").body == f"{name} /x\n".encode())


def syncd(host):
    return next(p for p in host.status()["processes"] if p["role"] == "syncd")


def killed_under_traffic(host, one, two):
    revs = [host.status()["view_rev"]]
    for n in range(3):
        was = syncd(host)["pid"]
        host.service("shop/web", 80, [(one, two)[n % 2].port])
        time.sleep(0.005 * n)               # before, in, and after its change
        os.kill(was, signal.SIGKILL)
        np.until("another syncd", lambda: (p := syncd(host)) and p["pid"] != was and p["state"] == "ready")
        answers(host, ("one", "two")[n % 2])
        np.until("the report", lambda: source(host)["sources"][0]["state"] == "synced")
        revs.append(host.status()["view_rev"])
    assert revs == sorted(set(revs)), f"views went back: {revs}"

    def at_rest():
        workers = host.status()["workers"]
        return len({w["rev"] for w in workers}) == 1 and workers
    for w in np.until("all workers at one revision", at_rest):
        assert w["restarts"] == 0 and w["rev"] >= revs[-1], w


def source_away_and_back(host, one, two):
    host.service("shop/web", 80, [one.port])
    answers(host, "one")
    away = host.resources + ".away"
    os.rename(host.resources, away)
    np.until("the source to be lost", lambda: source(host)["sources"][0]["state"] == "lost")
    assert host.get("/x").body == b"one /x\n"
    os.rename(away, host.resources)
    np.until("the source to be back", lambda: source(host)["sources"][0]["state"] == "synced")
    host.service("shop/web", 80, [two.port])
    answers(host, "two")
    # Removed file by file, as rm -r does it: lost, not empty.
    shutil.copytree(host.resources, away)
    shutil.rmtree(host.resources)
    np.until("the source to be lost", lambda: source(host)["sources"][0]["state"] == "lost")
    assert host.get("/x").body == b"two /x\n"
    # The host starts without it, from the store.
    rev = host.status()["view_rev"]
    assert host.stop() == 0
    host.start()
    answers(host, "two")
    assert host.status()["view_rev"] >= rev
    np.until("the source to be said lost", lambda: source(host)["sources"][0]["state"] == "lost")
    shutil.copytree(away, host.resources)
    np.until("the source to be back", lambda: source(host)["sources"][0]["state"] == "synced")
    # Emptied on purpose is something else.
    for f in os.listdir(host.resources):
        os.unlink(os.path.join(host.resources, f))
    np.until("no Service", lambda: source(host)["sources"][0]["accepted"] == 0)
    np.until("refusal", lambda: host.get("/x").status >= 500)
    host.service("shop/web", 80, [one.port])
    answers(host, "one")


def junk_for_a_store(host, one):
    assert host.stop() == 0
    store = os.path.join(host.dir, "state", "store.db")
    for f in os.listdir(os.path.dirname(store)):
        if f.startswith("store.db-"):
            os.unlink(os.path.join(os.path.dirname(store), f))
    with open(store, "r+b") as f:
        f.write(b"junk" * 4096)
    host.start()
    answers(host, "one")
    s = np.until("a store", lambda: (r := source(host)) and r["durable"] and r["store"]["rev"] > 0 and r["store"])
    assert s["moved_aside"] == "store.db.bad-1", s
    assert os.path.exists(store + ".bad-1") and "store_moved_aside" in open(host.log).read()


def killed_at_the_worst_moments(one, two):
    """While it starts, while the store is written anew, while a report is made: again and again, and what
    is then in the store is everything."""
    with np.Host(workers=1, config="respawn: {min: 1, max: 20}") as host:
        state = os.path.join(host.dir, "state")
        many = [19000 + i for i in range(8)]
        for i in range(150):
            host.service(f"shop/many-{i}", 80, many)
        host.service("shop/web", 80, [one.port])
        host.start()
        answers(host, "one")
        all_of_it = np.until("all", lambda: (r := source(host)["sources"][0]) and r["state"] == "synced" and r["accepted"])
        services = host.status()["services"]    # two names may hash to one address: one less

        def kill():
            was = syncd(host)["pid"]
            os.kill(was, signal.SIGKILL)
            return np.until("another syncd", lambda: (p := syncd(host)) and p["pid"] not in (0, was) and p["pid"])

        def anew():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(state, "store.db"))      # it is written again, beside
            np.until("a new store", lambda: os.path.exists(os.path.join(state, "store.db.new")) or
                     os.path.exists(os.path.join(state, "store.db")))

        moments, rev = (kill, anew, lambda: time.sleep(0.05), lambda: time.sleep(0.2)), 0
        for n in range(8):
            host.service("shop/web", 80, [(two, one)[n % 2].port])
            moments[n % 4]()
            kill()
            answers(host, ("two", "one")[n % 2])
            now = host.status()["view_rev"]
            assert now >= rev, f"views went back: {rev} {now}"
            rev = now
        np.until("everything", lambda: (r := source(host)) and r["sources"][0]["accepted"] == all_of_it and
                 r["durable"] and r["store"]["rev"] == r["rev"])
        assert host.status()["workers"][0]["restarts"] == 0
        assert host.stop() == 0
        os.rename(host.resources, host.resources + ".away")
        host.start()
        answers(host, "one")
        np.until("everything", lambda: host.status()["services"] == services)
        assert not os.path.exists(os.path.join(state, "store.db.new")), os.listdir(state)


def main():
    with np.Host(workers=2, config="respawn: {min: 1, max: 50}") as host:
        one, two = host.backend("one"), host.backend("two")
        host.service("shop/web", 80, [one.port])
        host.start()
        answers(host, "one")
        killed_under_traffic(host, one, two)
        source_away_and_back(host, one, two)
        junk_for_a_store(host, one)
        killed_at_the_worst_moments(one, two)
        print("sync: killed, source lost, cold start, junk for a store: served all the time")


main()
