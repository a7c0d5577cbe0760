#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Whoever reads our logs stops reading: nobody waits for them, losses are counted and said, and when
they come back all goes on.  Also: a child, or the master, that does not read its channel."""
import fcntl
import os
import pty
import signal
import sys
import threading
import time
import tty

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
COMM = dict(worker="nodeproxy-worke", syncd="nodeproxy-syncd", admind="nodeproxy-admin", master="nodeproxy-mastr")
SMALL = "timeouts: {drain: 1000}\nrespawn: {min: 5, max: 100}\nlog_ring_bytes: 65536"


def pid_of(host, kind):
    return next((p for p, c in host.pids().items() if c == COMM[kind]), 0)


def served(host):
    one = host.backend("one")
    host.service("shop/web", 80, [one.port])
    host.start()
    np.until("an answer", lambda: host.get("/x").status == 200)
    return host


def ask_much(host, requests, path="/" + "p" * 200):
    """Requests one after the other on kept connections; the slowest of them in seconds."""
    import http.client
    slowest, c = 0.0, http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    for _ in range(requests):
        began = time.monotonic()
        c.request("GET", path)
        assert c.getresponse().read()
        slowest = max(slowest, time.monotonic() - began)
    c.close()
    return slowest


def dropped(host):
    return host.status()["workers"][0]["log_dropped"]


class Reader:
    """The other end of a pipe or terminal, which is read only when we want."""

    def __init__(self, fd):
        self.fd, self.text, self.on = fd, "", False

    def go(self):
        self.on = True
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while self.on:
            try:
                b = os.read(self.fd, 65536)
            except OSError:
                return
            if not b:
                return
            self.text += b.decode(errors="replace")


def standard_error_that_nobody_reads_stops_nobody():
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    with np.Host(workers=1, config=SMALL + "\nlog: {level: debug}", stderr=w) as host:
        served(host)
        assert not fcntl.fcntl(w, fcntl.F_GETFL) & os.O_NONBLOCK, "the pipe is not ours to change"
        # fill the pipe through every process that writes to it
        np.until("a full pipe", lambda: host.ctl("log-level", "debug").returncode == 0 and
                 host.metric("nodeproxy_log_lines_lost_total", process="master") > 0)
        assert ask_much(host, 200) < 5
        # all of the master's and the keeper's work goes on
        two = host.backend("two")
        host.service("shop/web", 80, [two.port])
        np.until("the change", lambda: host.get("/x").body == b"two /x\n")
        for kind in ("worker", "syncd", "admind", "master"):
            victim = pid_of(host, kind)
            os.kill(victim, signal.SIGKILL)
            np.until(f"another {kind}", lambda: pid_of(host, kind) not in (0, victim) and host.status()["ready"])
        assert host.get("/x").status == 200
        reader = Reader(r)
        reader.go()
        np.until("lines again, and how many were lost", lambda: host.ctl("log-level", "info").returncode == 0 and
                 "role=master event=log_lines_lost lines=" in reader.text)
        np.until("a line of the master", lambda: "event=order" in reader.text.rpartition("role=master event=log_lines_lost")[2])
        assert host.stop() == 0
        np.until("the last words", lambda: "event=stopped" in reader.text)
        reader.on = False
    os.close(w)


def an_access_log_on_a_fifo_that_nobody_reads_any_more_costs_lines_only():
    host = np.Host(workers=1, config=SMALL)
    os.mkfifo(host.access_log)
    with host:
        served(host)        # without any reader: no reason not to start
        slowest = 0.0
        for _ in range(60):
            slowest = max(slowest, ask_much(host, 100))
            if dropped(host):
                break
        assert dropped(host), "more than a pipe and two buffers hold was not lost"
        assert slowest < 5, slowest
        assert host.metric("nodeproxy_log_dropped_records_total") > 0
        reader = Reader(os.open(host.access_log, os.O_RDONLY))
        reader.go()
        np.until("the words about it", lambda: "event=log_records_lost records=" in open(host.log).read())
        ask_much(host, 1, "/after")
        np.until("lines again", lambda: 'path="/after"' in reader.text)
        reader.on = False


def an_access_log_on_a_terminal_that_is_held_costs_lines_only():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with np.Host(workers=1, config=SMALL) as host:
        os.symlink(os.ttyname(theirs), host.access_log)
        served(host)
        for _ in range(60):
            assert ask_much(host, 100) < 5
            if dropped(host):
                break
        assert dropped(host)
        reader = Reader(ours)
        reader.go()

        def after():
            ask_much(host, 1, "/after")
            return 'path="/after"' in reader.text
        np.until("lines again", after)
        reader.on = False
    os.close(ours), os.close(theirs)


def a_full_disk_costs_lines_only():
    import subprocess
    with np.Host(workers=1, config=SMALL) as host:
        place = os.path.join(host.dir, "small")
        os.mkdir(place)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place]).returncode != 0:
            print("    skipped: cannot mount")
            return
        try:
            host.access_log = os.path.join(place, "access.log")
            served(host)
            for _ in range(100):
                assert ask_much(host, 100) < 5
                if dropped(host):
                    break
            assert dropped(host)
            assert "access_log" in host.ctl("check").stdout or "log" in host.ctl("check").stdout

            def words():    # what waited may fill the disk once more
                os.truncate(host.access_log, 0)
                return "event=log_records_lost records=" in open(host.log).read()
            np.until("the words about it", words)
            os.truncate(host.access_log, 0)
            ask_much(host, 1, "/after")
            np.until("lines again", lambda: 'path="/after"' in open(host.access_log).read())
            assert host.stop() == 0
        finally:
            subprocess.run(["umount", place])


def a_stopped_admind_stops_no_worker():
    with np.Host(workers=1, config=SMALL) as host:
        served(host)
        admind = pid_of(host, "admind")
        os.kill(admind, signal.SIGSTOP)
        assert ask_much(host, 2000) < 5         # 2,000 lines of 400 bytes: twelve rings
        two = host.backend("two")
        host.service("shop/web", 80, [two.port])
        np.until("the change", lambda: host.get("/x").body == b"two /x\n")
        os.kill(admind, signal.SIGCONT)
        np.until("the count", lambda: dropped(host) > 0)
        np.until("the words about it", lambda: "event=log_records_lost records=" in open(host.log).read())
        ask_much(host, 1, "/after")
        np.until("lines again", lambda: 'path="/after"' in open(host.access_log).read())
        assert pid_of(host, "admind") == admind


TESTS = [standard_error_that_nobody_reads_stops_nobody, a_stopped_admind_stops_no_worker,
         an_access_log_on_a_fifo_that_nobody_reads_any_more_costs_lines_only,
         an_access_log_on_a_terminal_that_is_held_costs_lines_only, a_full_disk_costs_lines_only]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
