#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What the service manager is told (nodeproxy/service.c), heard on a socket of our own."""
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402
import survive  # noqa: E402

np.only_in_tiers("process")
np.need_root()


class Manager:
    """The other end of NOTIFY_SOCKET: every message, in order, as a dict."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path[0] == "@" else path)
        self.heard = []

    def more(self):
        self.socket.setblocking(False)
        try:
            while True:
                text = self.socket.recv(4096).decode()
                self.heard.append(dict(line.split("=", 1) for line in text.split("\n")))
        except BlockingIOError:
            return self.heard

    def wait(self, what, condition, **more):
        return np.until(f"the manager to hear {what}", lambda: [h for h in self.more() if condition(h)], **more)

    def forget(self):
        self.more()
        self.heard.clear()


def told(host, path, **env):
    """A served host that tells a manager."""
    m = Manager(path)
    host.env = dict(NOTIFY_SOCKET=path, **env)
    one = host.backend("one")
    host.service("shop/web", 80, [one.port])
    host.start()
    return m


CONFIG = "timeouts: {drain: 2500}\nrespawn: {min: 20, max: 200}"


def ready_says_who_the_main_process_is_and_what_serves():
    with np.Host(workers=2, config=CONFIG) as host:
        m = told(host, os.path.join(host.dir, "notify"))
        ready = m.wait("READY", lambda h: h.get("READY") == "1")[0]
        assert ready["MAINPID"] == str(host.process.pid), ready
        assert re.fullmatch(r"2 workers, revision \d+", ready["STATUS"]), ready
        assert not any("WATCHDOG" in h for h in m.more()), "nobody asked for the watchdog"
        # A change of what serves is a change of STATUS, and no second READY.
        os.kill(survive.of_kind(host, "worker")[0], signal.SIGSTOP)
        m.wait("of the one that hangs", lambda h: h.get("STATUS", "").startswith("1 of 2 workers"))
        os.kill(survive.of_kind(host, "worker")[0], signal.SIGCONT)
        m.wait("of its return", lambda h: h.get("STATUS", "").startswith("2 workers") and h is not ready)
        assert sum("READY" in h for h in m.more()) == 1, m.heard
        # The next master says that it is ready, and for the same main process.
        master = survive.of_kind(host, "master")[0]
        m.forget()
        os.kill(master, signal.SIGKILL)
        ready = m.wait("READY again", lambda h: h.get("READY") == "1")[0]
        assert ready["MAINPID"] == str(host.process.pid), ready
        host.process.send_signal(signal.SIGTERM)
        stop = m.wait("STOPPING", lambda h: h.get("STOPPING") == "1")[0]
        assert stop["STATUS"] == "draining" and int(stop["EXTEND_TIMEOUT_USEC"]) >= 2500 * 1000, stop
        assert host.process.wait(np.DEADLINE) == 0


def an_abstract_socket_is_a_socket():
    with np.Host(workers=1, config=CONFIG) as host:
        m = told(host, "@np-test-%d" % os.getpid())
        m.wait("READY", lambda h: h.get("READY") == "1")


def below_pid_1_no_main_process_is_named():
    if subprocess.run(survive.PID_1 + ["true"], capture_output=True).returncode != 0:
        print("    skipped: no pid namespaces here")
        return
    with np.Host(workers=1, config=CONFIG, wrapper=survive.PID_1) as host:
        m = told(host, os.path.join(host.dir, "notify"))
        ready = m.wait("READY", lambda h: h.get("READY") == "1")[0]
        assert "MAINPID" not in ready, ready


def the_watchdog_is_fed_while_a_worker_lives_and_not_when_all_hang():
    with np.Host(workers=2, config=CONFIG) as host:
        m = told(host, os.path.join(host.dir, "notify"), WATCHDOG_USEC="800000")

        def fed(times):
            m.forget()
            np.until("the watchdog to be fed", lambda: sum("WATCHDOG" in h for h in m.more()) >= times)
        fed(5)
        workers = survive.of_kind(host, "worker")
        os.kill(workers[0], signal.SIGSTOP)
        np.until("the stall to be seen", lambda: "event=stalled" in open(host.log).read())
        fed(3)                          # one of two is well
        os.kill(survive.of_kind(host, "master")[0], signal.SIGKILL)
        fed(5)                          # also by the next master
        os.kill(workers[1], signal.SIGSTOP)
        np.until("nobody to be well", lambda: "event=watchdog_withheld" in open(host.log).read())
        m.forget()
        # Three times the interval of feeding: a late one of before cannot be in it.
        quiet = time.monotonic() + 0.6
        while time.monotonic() < quiet and "event=hangs" not in open(host.log).read():
            assert not m.more(), m.heard
            time.sleep(0.05)
        for w in workers:
            os.kill(w, signal.SIGCONT)
        fed(5)


def a_watchdog_of_another_process_is_not_ours():
    with np.Host(workers=1, config=CONFIG) as host:
        m = told(host, os.path.join(host.dir, "notify"), WATCHDOG_USEC="100000", WATCHDOG_PID="1")
        m.wait("READY", lambda h: h.get("READY") == "1")
        assert host.stop() == 0
        assert not any("WATCHDOG" in h for h in m.more()), m.heard


def reloading_ends_with_ready_also_when_the_file_is_refused():
    with np.Host(workers=1, config=CONFIG) as host:
        m = told(host, os.path.join(host.dir, "notify"))
        m.wait("READY", lambda h: h.get("READY") == "1")
        for config, code in ((CONFIG.replace("2500", "2400"), 0), ("nonsense: 1", 1)):
            m.forget()
            host.config = config
            host.write_config()
            r = host.ctl("reload")
            assert r.returncode == code, (code, r)
            m.wait("the end", lambda h: h.get("READY") == "1")
            begin, end = [h for h in m.more() if "RELOADING" in h or "READY" in h]
            assert 0 < int(begin["MONOTONIC_USEC"]) <= time.monotonic_ns() / 1000, begin
            assert begin["STATUS"] == "reloading" and end["STATUS"].startswith("1 worker,"), (begin, end)


def children_do_not_know_the_socket():
    with np.Host(workers=1, config=CONFIG) as host:
        told(host, os.path.join(host.dir, "notify"))
        for kind in ("worker", "syncd", "admind"):
            environ = open(f"/proc/{survive.of_kind(host, kind)[0]}/environ").read()
            assert "NOTIFY_SOCKET" not in environ, kind


TESTS = [ready_says_who_the_main_process_is_and_what_serves, an_abstract_socket_is_a_socket,
         below_pid_1_no_main_process_is_named, the_watchdog_is_fed_while_a_worker_lives_and_not_when_all_hang,
         a_watchdog_of_another_process_is_not_ours, reloading_ends_with_ready_also_when_the_file_is_refused,
         children_do_not_know_the_socket]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
