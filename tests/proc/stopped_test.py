#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A process that does not read its channel (SIGSTOP) while changes pass: queues are bounded, the others
go on, and afterwards it has the newest state or was replaced.

    150 changes, each by itself; NP_FULL=1: 1,000, and a master that stays stopped."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
CHANGES = 1000 if FULL else 150
COMM = dict(worker="nodeproxy-worke", syncd="nodeproxy-syncd", admind="nodeproxy-admin", master="nodeproxy-mastr")
CONFIG = "timeouts: {drain: 1000}\nrespawn: {min: 5, max: 100}"


def pids_of(host, kind):
    return sorted(p for p, c in host.pids().items() if c == COMM[kind])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kib(pid):
    return int(open(f"/proc/{pid}/status").read().partition("VmRSS:")[2].split()[0])


def change(host, backends, i):
    host.service("shop/web", 80, [backends[i % 2].port])


def changes(host, backends, n, seen=True):
    """n changes; with seen each is served before the next one."""
    for i in range(n):
        change(host, backends, i)
        want = f"{backends[i % 2].name} /x\n".encode()
        if seen:
            np.until("the change", lambda: host.get("/x").body == want)
        else:
            time.sleep(0.004)
    return want


def begun(host):
    backends = host.backend("one"), host.backend("two")
    change(host, backends, 0)
    host.start()
    np.until("an answer", lambda: host.get("/x").status == 200)
    return backends


def newest_everywhere(host, workers):
    def same():
        st = host.status()
        ws = [w for w in st["workers"] if w["state"] == "ready"]
        return st["ready"] and len(ws) == workers and {w["rev"] for w in ws} == {st["rev"]}
    np.until("the newest revision everywhere", same)


def a_stopped_worker_gets_the_newest_view_or_is_replaced():
    with np.Host(workers=2, config=CONFIG) as host:
        backends = begun(host)
        master, victim = pids_of(host, "master")[0], pids_of(host, "worker")[0]
        before = descriptors(master)
        os.kill(victim, signal.SIGSTOP)
        # Connections that the kernel gives to the stopped one wait for it: ask the source's revision.
        rev = host.status()["rev"]
        for i in range(CHANGES):
            change(host, backends, i + 1)
            np.until("the revision", lambda: host.status()["rev"] > rev)
            rev = host.status()["rev"]
        assert descriptors(master) < before + 2 * 1024 + 64, "more than a queue"
        try:
            os.kill(victim, signal.SIGCONT)
        except ProcessLookupError:
            pass        # it was replaced meanwhile
        newest_everywhere(host, 2)
        want = f"{backends[CHANGES % 2].name} /x\n".encode()
        for _ in range(20):
            assert host.get("/x").body == want
        np.until("the queue to be empty", lambda: descriptors(master) <= before + 8)
        assert pids_of(host, "master") == [master]


def a_stopped_admind_has_the_newest_view_afterwards():
    with np.Host(workers=1, config=CONFIG) as host:
        backends = begun(host)
        master, admind = pids_of(host, "master")[0], pids_of(host, "admind")[0]
        before, memory = descriptors(master), resident_kib(master)
        os.kill(admind, signal.SIGSTOP)
        changes(host, backends, CHANGES)
        assert descriptors(master) < before + 2 * 1024 + 64, "more than a queue"
        os.kill(admind, signal.SIGCONT)
        newest_everywhere(host, 1)
        ports = {int(e["address"].rpartition(":")[2]) for e in host.ctl_json("get", "endpoints")["endpoints"]}
        assert ports == {backends[(CHANGES - 1) % 2].port}, ports
        np.until("the queue to be empty", lambda: descriptors(master) <= before + 8)
        assert resident_kib(master) < memory + 8192


def a_stopped_syncd_reads_the_newest_state_afterwards():
    with np.Host(workers=1, config=CONFIG) as host:
        backends = begun(host)
        syncd = pids_of(host, "syncd")[0]
        os.kill(syncd, signal.SIGSTOP)
        want = changes(host, backends, CHANGES, seen=False)
        assert host.get("/x").status == 200
        os.kill(syncd, signal.SIGCONT)
        np.until("the newest state", lambda: host.get("/x").body == want)
        newest_everywhere(host, 1)


def a_stopped_master_passes_the_newest_view_afterwards():
    with np.Host(workers=1, config=CONFIG) as host:
        backends = begun(host)
        master = pids_of(host, "master")[0]
        os.kill(master, signal.SIGSTOP)
        want = changes(host, backends, 150, seen=False)
        assert host.get("/x").status == 200
        os.kill(master, signal.SIGCONT)
        np.until("the newest state", lambda: host.get("/x").body == want)
        newest_everywhere(host, 1)
        assert pids_of(host, "master") == [master]


def a_stopped_keeper_knows_the_newest_state_afterwards():
    with np.Host(workers=1, config=CONFIG) as host:
        backends = begun(host)
        master = pids_of(host, "master")[0]
        host.process.send_signal(signal.SIGSTOP)
        want = changes(host, backends, CHANGES)
        worker = pids_of(host, "worker")[0]
        os.kill(worker, signal.SIGKILL)     # who is replaced now must not be lost with the master
        np.until("the replacement", lambda: pids_of(host, "worker") not in ([], [worker]) and host.get("/x").status == 200)
        worker = pids_of(host, "worker")
        host.process.send_signal(signal.SIGCONT)
        time.sleep(1.5)                     # what the channel did not take is said once a second
        os.kill(master, signal.SIGKILL)
        np.until("another master", lambda: pids_of(host, "master") not in ([], [master]) and host.status()["ready"])
        assert pids_of(host, "worker") == worker
        assert host.get("/x").body == want
        newest_everywhere(host, 1)


def a_master_that_stays_stopped_is_replaced():
    if not FULL:
        print("    skipped: takes 12 s (NP_FULL=1)")
        return
    with np.Host(workers=1, config=CONFIG) as host:
        backends = begun(host)
        master, worker = pids_of(host, "master")[0], pids_of(host, "worker")
        os.kill(master, signal.SIGSTOP)
        np.until("another master", lambda: pids_of(host, "master") not in ([], [master]), 30)
        assert "event=master_hangs" in open(host.log).read()
        assert pids_of(host, "worker") == worker
        changes(host, backends, 10)


TESTS = [a_stopped_worker_gets_the_newest_view_or_is_replaced, a_stopped_admind_has_the_newest_view_afterwards,
         a_stopped_syncd_reads_the_newest_state_afterwards, a_stopped_master_passes_the_newest_view_afterwards,
         a_stopped_keeper_knows_the_newest_state_afterwards, a_master_that_stays_stopped_is_replaced]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
