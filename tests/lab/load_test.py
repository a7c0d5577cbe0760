#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Fifty pods (sanitized: sixteen) of two hosts call each other all the time, over connections that they keep and new ones,
while processes of nodeproxy die, are upgraded and are stopped and started: who has to notice does,
nobody else, and all of them are served again."""
import contextlib
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402
import survive  # noqa: E402

SANITIZED = b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read()
PODS = 8 if SANITIZED else 25   # of a host


class Load:
    def __init__(self, mesh):
        self.callers = [lab.Caller(p, mesh.vip["shop/web"] if i % 2 else mesh.vip["shop/web/6"]) for i, p in enumerate(mesh.pods)]
        for c in self.callers:
            c.start()
        self.go_on("the load")

    def go_on(self, what):
        """Everybody is served once more from now on; what failed since the last time."""
        was = [(c.calls, len(c.failed)) for c in self.callers]
        np.until(f"all to be served after {what}", lambda: all(c.calls > n + 1 and len(c.failed) == f for c, (n, f) in zip(
            self.callers, was)) or self.again(was), 60)
        failed = [f for c in self.callers for f in c.failed]
        for c in self.callers:
            c.failed.clear()
        return failed

    def again(self, was):
        """Calls that were under way may fail: from those that did not on."""
        for i, c in enumerate(self.callers):
            if len(c.failed) != was[i][1]:
                was[i] = (c.calls, len(c.failed))
        return False

    def stop(self):
        for c in self.callers:
            c.ended = True
        for c in self.callers:
            c.join(np.DEADLINE)


def nobody(failed):
    assert not failed, failed


def only_kept(failed):
    """Connections that the dead had; who dials anew is served by somebody else."""
    assert all(kind == "kept" or "reset" in what.lower() or "answered with b''" in what for _, kind, what in failed), failed


def deaths_and_upgrades_under_traffic_of_many_pods():
    with lab.Lab(hosts=2, pods=PODS, config="timeouts: {drain: 1000, connect: 20000}\nrespawn: {min: 1, max: 50}") as mesh, contextlib.ExitStack() as stack:
        one, other = mesh.hosts
        mesh.service("shop/web", 80, [h.pods[i] for h in mesh.hosts for i in (0, 1)])
        mesh.start()
        for h in mesh.hosts:
            threads = [threading.Thread(target=p.order, args=("add",)) for p in h.pods]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            for p in h.pods[:2]:
                stack.enter_context(p.serve(8080))
        load = Load(mesh)
        stack.callback(load.stop)

        def settled(host):
            np.until("all processes", lambda: host.np.status()["ready"] and len(survive.of_kind(host.np, "worker")) == 2)

        for kind in ("syncd", "admind", "master"):
            pid = survive.of_kind(one.np, kind)[0]
            os.kill(pid, 9)
            np.until(f"another {kind}", lambda k=kind, p=pid: survive.of_kind(one.np, k) not in ([], [p]))
            settled(one)
            nobody(load.go_on(f"the death of a {kind}"))
            print(f"    {kind} died: nobody noticed", flush=True)
        for pid in survive.of_kind(one.np, "worker"):
            os.kill(pid, 9)
            np.until("another worker", lambda p=pid: len(survive.of_kind(one.np, "worker")) == 2 and p not in survive.of_kind(one.np, "worker"))
            settled(one)
            failed = load.go_on("the death of a worker")
            only_kept(failed)
            print(f"    a worker died: {len(failed)} connections of it were cut", flush=True)
        for what in ("upgrade", "drain"):
            r = other.np.ctl(what)
            assert r.returncode == 0, r.stderr
            settled(other)
            failed = load.go_on(what)
            assert all(kind == "kept" for _, kind, _ in failed), failed     # by the deadline of the drain
            print(f"    {what}: {len(failed)} kept connections were cut by its deadline", flush=True)
        # The keeper dies, and with it all of them: pods go on without, but nobody is at addresses of Services.
        os.kill(one.np.keeper(), 9)
        one.np.process.wait(np.DEADLINE)
        np.until("no rules", lambda: not any(p.rules() for p in one.pods))
        one.np.start()
        np.until("its pods to be back", lambda: len(one.np.api("pods")["pods"]) == PODS)
        print(f"    the keeper died, and nodeproxy was started again: {len(load.go_on('the death of the keeper'))} calls failed", flush=True)
        # The host goes down while its source is away, and comes up.
        one.np.stop()
        os.rename(one.np.resources, one.np.resources + ".away")
        one.np.start()
        np.until("its pods to be back", lambda: [p["captured"] for p in one.np.api("pods")["pods"]] == [True] * PODS)
        back = time.monotonic()
        failed = load.go_on("a start from the store")
        # Who dialled before dials again as if nothing had happened, for seconds, and is told at last that nobody is there.
        nobody([f for f in load.go_on("that") if f[0] > back])
        print(f"    a stop, and a start without the source: {len(failed)} calls failed", flush=True)


TESTS = [deaths_and_upgrades_under_traffic_of_many_pods]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
