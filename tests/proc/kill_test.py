#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""SIGKILL for each process while a worker is being replaced by one that has come only so far: held
by SIGSTOP at a moment of its birth, the victims die, it may go on.  Whatever that was, one worker
serves the newest revision in the end and nobody is left over.  (Every moment of every process' own
life: fault_test.py with kind kill.)"""
import mmap
import os
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
if b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read():
    np.skip("a sanitized build brings its own allocator: runs in the plain build")
COMM = dict(worker="nodeproxy-worke", syncd="nodeproxy-syncd", admind="nodeproxy-admin", master="nodeproxy-mastr")
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
STOP = 4        # of tests/lib/fault.c
# where the new worker is held: before HELLO, before START is read, just before READY
MOMENTS = dict(exec=1, hello=40, told=70) if FULL else dict(exec=1, told=70)
VICTIMS = [("old",), ("new",), ("master",), ("syncd",), ("admind",), ("old", "master"), ("new", "master"),
           ("old", "new"), ("syncd", "admind", "master")]


def alive(pid):
    try:
        return ") Z " not in open(f"/proc/{pid}/stat").read()
    except OSError:
        return False


def pid_of(host, kind):
    return next((p for p, c in host.pids().items() if c == COMM[kind]), 0)


def workers(host):
    return sorted(p for p, c in host.pids().items() if c == COMM["worker"])


def dies_in_between(host, control, moment, victims):
    old = workers(host)[0]
    control(kind=STOP, births=1, next=MOMENTS[moment])
    assert host.ctl("drain").returncode == 0
    np.until("the new worker to be held", lambda: stopped_worker(host, old))
    new = stopped_worker(host, old)
    control(births=0)
    who = dict(old=old, new=new, master=pid_of(host, "master"), syncd=pid_of(host, "syncd"), admind=pid_of(host, "admind"))
    for v in victims:
        os.kill(who[v], signal.SIGKILL)
    if "new" not in victims:
        os.kill(new, signal.SIGCONT)
    np.until("all of the dead to be replaced", lambda: all(not alive(who[v]) for v in victims) and
             pid_of(host, "master") and pid_of(host, "syncd") and pid_of(host, "admind"))
    np.until("one worker", lambda: len(workers(host)) == 1 and host.status()["ready"])
    np.until("the newest revision", lambda: [w["rev"] for w in host.status()["workers"]] == [host.status()["rev"]])
    assert host.get("/x").status == 200


def stopped_worker(host, old):
    for p in workers(host):
        if p != old and ") T " in open(f"/proc/{p}/stat").read():
            return p
    return 0


def main():

    for moment in MOMENTS:
        for victims in VICTIMS if FULL or moment == "exec" else VICTIMS[:3]:
            began = time.monotonic()
            host = np.Host(workers=1, config="timeouts: {drain: 500}\nrespawn: {min: 1, max: 50, birth: 3000}")
            path = os.path.join(host.dir, "fault")
            with open(path, "wb") as f:
                f.truncate(120 + 40 * 8192)
            with open(path, "r+b") as f:
                m = mmap.mmap(f.fileno(), 0)
            m[0:32] = b"nodeproxy-worker".ljust(32, b"\0")

            def control(**fields):
                at = dict(kind=(32, "I"), births=(36, "I"), next=(40, "Q"))
                for k, v in fields.items():
                    struct.pack_into("<" + at[k][1], m, at[k][0], v)
            host.env = dict(LD_PRELOAD=os.path.join(np.BUILD, "tests/lib/fault.so"), NP_FAULT_FILE=path)
            with host:
                one = host.backend("one")
                host.service("shop/web", 80, [one.port])
                host.start()
                np.until("an answer", lambda: host.get("/x").status == 200)
                dies_in_between(host, control, moment, victims)
                pids = host.pids()
                assert host.stop() == 0
                np.until("nobody to be left", lambda: not [p for p in pids if alive(p)])
            print(f"ok held at {moment}: {' '.join(victims)} killed ({time.monotonic() - began:.1f} s)", flush=True)


main()
