#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The two workers that are at home with a pod share its connections: the fuller one passes new ones on,
and nobody notices when one of them stands still, dies, or when the master does."""
import contextlib
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402
import survive  # noqa: E402

KEPT = 60       # by one worker: some 35 more than the other must have before it is no fuller
WAITS = 5       # s: of a call.  A worker that stands still is ended after 10
COUNTED = ("passed", "passed_back", "passed_lost", "taken")


class Shared:
    """A host with two pods, whose workers have many connections and few."""

    def __init__(self, mesh, stack):
        self.client, self.server = mesh.pods
        self.host, self.vip = mesh.hosts[0].np, mesh.vip["shop/web"]
        self.stack = stack
        self.full, self.empty = survive.of_kind(self.host, "worker")

    def ask(self):
        assert self.client.ask(self.vip, 80, timeout=WAITS) == b"pod01 hello\n"

    @contextlib.contextmanager
    def standing(self, pid):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def seen_standing(self):
        return open(self.host.log).read().count("event=stalled")

    def fill(self):
        """All by one worker, for it alone accepts."""
        with self.standing(self.empty):
            for _ in range(KEPT):
                s = self.stack.enter_context(self.client.dial(self.vip, 80))
                s.sendall(b"hello\n")
                assert lab.read_line(s) == b"pod01 hello\n"

    def counted(self, *names):
        workers = self.host.api("workers")["workers"]
        return [sum(w["counters"][n] for w in workers) for n in names or COUNTED]

    def until_more(self, what, name):
        """Calls are made until another one is counted there, and all are answered."""
        was = self.counted(name)

        def more():
            self.ask()
            return self.counted(name) > was
        np.until(what, more)

    def lines(self):
        """Descriptors by which the full one speaks to other processes of the host: of no others is the number
        the same whenever it is quiet."""
        unix = {row.split()[6] for row in open(f"/proc/{self.full}/net/unix").read().splitlines()[1:]}
        links = [os.readlink(f"/proc/{self.full}/fd/{fd}") for fd in os.listdir(f"/proc/{self.full}/fd")]
        return len([at for at in links if at.startswith("socket:[") and at[8:-1] in unix])

    def quiet(self):
        """Nothing of anybody but what is kept."""
        np.until("the end of all other calls", lambda: sum(w["connections"] for w in self.host.api("workers")["workers"]) <= KEPT)


@contextlib.contextmanager
def shared():
    with lab.Lab(pods=2, config="timeouts: {drain: 1000}\nrespawn: {min: 1, max: 50}") as mesh, contextlib.ExitStack() as stack:
        mesh.service("shop/web", 80, [mesh.pods[1]])
        mesh.start()
        mesh.pods[0].add()      # the other one is not captured: each call is one connection of a caller
        stack.enter_context(mesh.pods[1].serve(8080))
        s = Shared(mesh, stack)
        s.fill()
        yield s


def one_that_stands_still_keeps_nobody_waiting(s):
    s.until_more("a connection that was passed on", "taken")
    longest = 0

    def some_came_back():
        """Before the master sees, after a second and more, that it stands still, and says that it is no home now."""
        nonlocal longest
        s.until_more("the other one to be at work", "taken")
        was, seen = s.counted("passed_back"), s.seen_standing()
        with s.standing(s.empty):
            for _ in range(8):
                began = time.monotonic()
                s.ask()
                longest = max(longest, time.monotonic() - began)
            return s.counted("passed_back") > was and s.seen_standing() == seen
    np.until("connections that were passed to one that stands still to be served", some_came_back)
    s.quiet()
    passed, back, lost, taken = s.counted()
    assert lost == 0 and passed == taken + back, (passed, back, lost, taken)
    print(f"    the longest call took {longest * 1000:.0f} ms; passed {passed:.0f}, {back:.0f} came back", flush=True)


class Calls:
    """Callers at work, who remember what went wrong."""

    def __init__(self, s):
        self.callers = [lab.Caller(s.client, s.vip) for _ in range(4)]
        for c in self.callers:
            c.start()

    def failed(self):
        for c in self.callers:
            c.ended = True
        for c in self.callers:
            c.join(np.DEADLINE)
            assert not c.is_alive()
        return [f for c in self.callers for f in c.failed]

    def go_on(self):
        was = [c.calls for c in self.callers]
        np.until("each to be served again", lambda: all(c.calls > n + 2 for c, n in zip(self.callers, was)))


def another(host, kind, was):
    np.until(f"another {kind}", lambda: len(survive.of_kind(host, kind)) == len(was) and survive.of_kind(host, kind) != was and
             host.status()["ready"])


def die(s):
    """The one that has few."""
    workers = survive.of_kind(s.host, "worker")
    os.kill(s.empty, signal.SIGKILL)
    another(s.host, "worker", workers)
    s.empty = next(p for p in survive.of_kind(s.host, "worker") if p != s.full)


def one_that_dies_takes_only_what_is_its_own(s):
    before = np.until("its lines", s.lines)
    for _ in range(3):
        s.until_more("a connection that was passed on", "taken")
        calls = Calls(s)
        calls.go_on()
        die(s)
        calls.go_on()
        for _, _, what in calls.failed():       # of the dead one; nobody has waited in vain
            assert "reset" in what.lower() or "answered with b''" in what, what
    s.until_more("a connection that was passed on to the new one", "taken")
    s.quiet()
    np.until("no lines but those it had", lambda: s.lines() == before)


def a_new_master_connects_them_again(s):
    before = np.until("its lines", s.lines)
    masters = survive.of_kind(s.host, "master")
    calls = Calls(s)
    calls.go_on()
    os.kill(masters[0], signal.SIGKILL)
    another(s.host, "master", masters)
    s.until_more("a connection that was passed on still", "taken")
    calls.go_on()
    assert calls.failed() == []
    die(s)      # the lines of its predecessor were there still; now it must make one
    s.until_more("a connection that was passed on by a new line", "taken")
    s.quiet()
    np.until("no lines but those it had", lambda: s.lines() == before)


TESTS = [one_that_stands_still_keeps_nobody_waiting, one_that_dies_takes_only_what_is_its_own, a_new_master_connects_them_again]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    with shared() as at:
        for test in TESTS:
            began = time.monotonic()
            test(at)
            print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
