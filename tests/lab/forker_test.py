#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Who forks errands: a small process of the master's, which may die at any time.  With NP_FULL=1 also one that
hangs: seven seconds."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

PROC = "nodeproxy-forkr"
FULL = os.environ.get("NP_FULL", "") not in ("", "0")


def forkers(host):
    return [p for p, comm in host.np.pids().items() if comm == PROC]


def master(host):
    return next(p for p, comm in host.np.pids().items() if comm == "nodeproxy-mastr")


def children(pid):
    return {int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()}


def gone(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def errands_go_on_whoever_of_their_forkers_dies():
    with lab.Lab(pods=4, config="timeouts: {drain: 2000}\npods: {check: 500}") as mesh:
        host, pods = mesh.hosts[0], mesh.pods
        server = pods[0]
        mesh.start()
        assert not forkers(host), "without pods there is none"
        server.add()
        first, = forkers(host)
        assert first in children(master(host))
        # It holds nothing of what the master has: no listener, no page, no pod's namespace.
        assert len(os.listdir(f"/proc/{first}/fd")) <= 4, os.listdir(f"/proc/{first}/fd")
        with server.serve(8080):
            # What ends a group of processes is for the master to hear.
            for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(first, s)
            pods[1].add()
            assert forkers(host) == [first]
            # A dead one is followed by another, and nobody is kept from coming, going or dialling.
            os.kill(first, signal.SIGKILL)
            pods[2].add()
            pods[1].remove()
            assert pods[2].ask(server.ip4, 8080) == server.name.encode() + b" hello\n"
            second, = forkers(host)
            assert second != first
            # It ends with its master; the next one has its own.
            old = master(host)
            os.kill(old, signal.SIGKILL)
            np.until("the forker to end with its master", lambda: gone(second))
            host.np.await_ready()
            # Who asks before all know of the new master is told to look before asking again.
            np.until("it to be added", lambda: host.np.ctl("pod", "add", pods[1].name, "--namespace", "shop", "--netns", pods[1].netns)
                     .returncode == 0 or [p for p in host.np.api("pods")["pods"] if p["name"] == pods[1].name and p["captured"]])
            third, = forkers(host)
            assert third in children(master(host)) and master(host) != old
            assert pods[1].ask(server.ip4, 8080) == server.name.encode() + b" hello\n"
        log = open(host.np.log).read()
        assert log.count("event=forker_died") == 1, "it says so once"
    assert gone(third)


def one_that_hangs_is_killed_and_who_waited_for_it_is_told():
    with lab.Lab(pods=2, config="timeouts: {drain: 2000}\npods: {check: 0}") as mesh:
        host, pods = mesh.hosts[0], mesh.pods
        mesh.start()
        pods[0].add()
        hangs, = forkers(host)
        os.kill(hangs, signal.SIGSTOP)
        r = host.np.ctl("pod", "add", pods[1].name, "--namespace", "shop", "--netns", pods[1].netns)
        assert r.returncode == 1 and "did not end well" in r.stderr, r
        pods[1].add()
        assert gone(hangs) and forkers(host) != [hangs]
        assert "event=forker_hangs" in open(host.np.log).read()


TESTS = [errands_go_on_whoever_of_their_forkers_dies] + ([one_that_hangs_is_killed_and_who_waited_for_it_is_told] if FULL else [])

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
