#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""`nodeproxyctl debug`: each word makes the process do what it says, and the instance survives it as it
should: callers are served all the while.  NP_FULL=1 also builds without debug commands and looks for
traces of them."""
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
if subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "debug", "--help"], capture_output=True).returncode != 0:
    np.skip("built without debug commands")
CONFIG = "timeouts: {drain: 2000}\nrespawn: {min: 1, max: 50}"
COMM = dict(master="nodeproxy-mastr", worker="nodeproxy-worke", syncd="nodeproxy-syncd", admind="nodeproxy-admin")


class Callers(threading.Thread):
    """Somebody who asks all the time; what went wrong."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.on, self.ok, self.cut, self.wrong, self.slowest = host, True, 0, 0, [], 0
        self.start()

    def run(self):
        while self.on:
            began = time.monotonic()
            try:
                r = self.host.get("/x", timeout=20)
                self.ok += r.status == 200
                if r.status != 200:
                    self.wrong.append(f"status {r.status}")
            except (ConnectionResetError, BrokenPipeError, np.http.client.RemoteDisconnected):
                self.cut += 1
            except OSError as e:
                self.wrong.append(repr(e))
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.003)

    def stop(self):
        self.on = False
        self.join()
        return self


def of(host, kind):
    return sorted(p for p, c in host.pids().items() if c == COMM[kind])


def worker(host, i):
    return next(w for w in host.status()["workers"] if w["id"] == i)


def an_id(host):
    """Of a worker that serves: replacements have other ids."""
    return next(w["id"] for w in host.status()["workers"] if w["state"] == "ready")


def debug(host, *words):
    r = host.ctl("debug", *words)
    # who answers may be the one that goes
    assert r.returncode == 0 or (r.returncode == 3 and "admind" in words), (words, r.stderr)


def settled(host):
    np.until("ready", lambda: host.status()["ready"] and len(of(host, "worker")) == 2)


def each_word_is_checked(host):
    for words, code, part in ((["explode"], 2, "cannot misbehave like that"), (["panic", "--process", "keeper"], 2, "does not exist"),
                              (["refuse-view", "--process", "syncd"], 2, "cannot do that"), (["stall", "600001"], 2, "too large"),
                              (["slow-tenant", "5"], 1, "no such tenant"), (["kill", "--worker", "63"], 1, "no such process"),
                              (["kill", "5"], 2, "too large"), ([], 2, "missing")):
        r = host.ctl("debug", *words)
        assert r.returncode == code and part in r.stderr, (words, r)


def panic_is_kept_and_the_process_replaced(host):
    for process in ("worker", "syncd", "admind"):
        before = of(host, process)
        debug(host, "panic", "--process", process)
        np.until(f"another {process}", lambda: set(of(host, process)) != set(before) and len(of(host, process)) == len(before))
        settled(host)
        np.until("its page", lambda: any(p["role"] == process and "nodeproxyctl debug panic" in p["what"]
                                         for p in host.ctl_json("get", "panics")["panics"]))


def a_panic_of_the_master_is_no_loss(host):
    children = [of(host, k) for k in ("worker", "syncd", "admind")]
    before = of(host, "master")
    debug(host, "panic", "--process", "master")
    np.until("another master", lambda: of(host, "master") not in (before, []))
    np.until("its start to be counted", lambda: host.status()["master_starts"] == 2)
    settled(host)
    assert children == [of(host, k) for k in ("worker", "syncd", "admind")]


def killed_ones_are_replaced(host):
    for process in ("worker", "syncd", "admind"):
        before = of(host, process)
        debug(host, "kill", "--process", process)
        np.until(f"another {process}", lambda: set(of(host, process)) != set(before) and len(of(host, process)) == len(before))
        settled(host)


def a_stall_ends_and_nobody_waits_for_it(host):
    i = an_id(host)
    pid = worker(host, i)["pid"]
    debug(host, "stall", "4000", "--worker", str(i))
    np.until("the line", lambda: f"event=stalled child=worker/{i}" in open(host.log).read())
    np.until("its end", lambda: worker(host, i)["state"] == "ready")
    for process in ("syncd", "admind", "master"):
        debug(host, "stall", "300", "--process", process)
    settled(host)
    assert worker(host, i)["pid"] == pid


def stop_and_resume(host):
    pid = worker(host, 1)["pid"]
    debug(host, "stop", "--worker", "1")
    np.until("it to be stopped", lambda: ") T " in open(f"/proc/{pid}/stat").read())
    debug(host, "resume", "--worker", "1")
    np.until("it to go on", lambda: ") T " not in open(f"/proc/{pid}/stat").read())


def who_drops_its_channel_is_replaced(host):
    for process in ("worker", "syncd", "admind"):
        before = of(host, process)
        debug(host, "drop-channel", "--process", process)
        np.until(f"another {process}", lambda: set(of(host, process)) != set(before) and len(of(host, process)) == len(before))
        settled(host)


def who_refuses_a_view_is_replaced_and_the_view_served(host):
    before, rev = worker(host, 0)["pid"], host.status()["rev"]
    debug(host, "refuse-view", "1", "--worker", "0")
    host.service("shop/other", 80, [1])
    np.until("the new view everywhere", lambda: all(w["rev"] > rev for w in host.status()["workers"]))
    np.until("a replacement", lambda: before not in of(host, "worker"))
    settled(host)
    assert "was told to refuse it" in open(host.log).read()
    # all refuse: the revision is marked failed, and the old view goes on
    for w in host.status()["workers"]:
        debug(host, "refuse-view", "1", "--worker", str(w["id"]))
    host.service("shop/more", 80, [1])
    np.until("the failed revision", lambda: host.status()["failed_rev"])
    assert host.get("/x").status == 200
    host.service("shop/more", 80, [2])
    np.until("the next one", lambda: all(w["rev"] > host.status()["failed_rev"] for w in host.status()["workers"]))


def descriptors_leak(host):
    i = an_id(host)
    for process in ("worker", "syncd", "admind", "master"):
        pid = worker(host, i)["pid"] if process == "worker" else of(host, process)[0]
        before = len(os.listdir(f"/proc/{pid}/fd"))
        debug(host, "leak-fd", "300", "--process", process, "--worker", str(i))
        np.until("them", lambda: len(os.listdir(f"/proc/{pid}/fd")) >= before + 290)


def a_slow_tenant_is_slow_and_alone(host):
    def busy():
        return host.metric("nodeproxy_tenant_busy_seconds_total", tenant="shop") / max(host.metric("nodeproxy_tenant_turns_total", tenant="shop"), 1)
    before = busy()
    for i in (0, 1):
        debug(host, "slow-tenant", "3000", "--tenant", "shop", "--worker", str(i))
    np.until("its turns to be long", lambda: host.get("/x").status == 200 and busy() > before + 0.0003)
    for i in (0, 1):
        debug(host, "slow-tenant", "0", "--tenant", "shop", "--worker", str(i))


def the_instance():
    with np.Host(workers=2, config=CONFIG) as host:
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        # the tenant has a slot of its own
        host.write("shop.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
        host.start()
        np.until("an answer", lambda: host.get("/x").status == 200)
        for step in (each_word_is_checked, killed_ones_are_replaced, panic_is_kept_and_the_process_replaced,
                     who_drops_its_channel_is_replaced, stop_and_resume, a_slow_tenant_is_slow_and_alone,
                     who_refuses_a_view_is_replaced_and_the_view_served, descriptors_leak,
                     a_panic_of_the_master_is_no_loss, a_stall_ends_and_nobody_waits_for_it):
            if len(sys.argv) > 1 and step.__name__ not in sys.argv[1:]:
                continue
            began = time.monotonic()
            callers = Callers(host)
            step(host)
            callers.stop()
            assert not callers.wrong and callers.cut <= 4, (step.__name__, callers.wrong[:3], callers.cut)
            assert callers.slowest < 5, f"{step.__name__}: {callers.slowest:.1f} s"
            print(f"ok {step.__name__} ({time.monotonic() - began:.1f} s; {callers.ok} answered, {callers.cut} cut)", flush=True)
        text = open(host.log, errors="replace").read()
        assert "AddressSanitizer" not in text and 'what="must' not in text


def a_build_without_has_no_trace():
    """No word of it in any program, no row, no help."""
    words = ("slow-tenant", "drop-channel", "refuse-view", "leak-fd", "/v1/debug", "nodeproxyctl debug", "misbehave")
    with tempfile.TemporaryDirectory(prefix="np-debug.") as build:
        quiet = dict(cwd=build, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([os.path.join(os.path.abspath(np.SOURCE), "configure"), "-q", "--enable-werror", "--disable-debug-commands",
                        "CFLAGS=-O1"] + ([f"CC={os.environ['CC']}"] if "CC" in os.environ else []), **quiet)
        subprocess.run(["make", "-s", "-j2", "all"], **quiet)
        for program in ("nodeproxy/nodeproxy", "nodeproxy-worker", "nodeproxy-syncd", "nodeproxy-admind", "admin/nodeproxyctl"):
            bytes_ = open(os.path.join(build, program), "rb").read()
            for w in words:
                assert w.encode() not in bytes_, f"{program} has {w!r}"
        r = subprocess.run([os.path.join(build, "admin/nodeproxyctl"), "--help"], capture_output=True, text=True)
        assert not re.search(r"^\s*debug\b", r.stdout, re.M), r.stdout
    print("ok a_build_without_has_no_trace")


the_instance()
if FULL:
    a_build_without_has_no_trace()
else:
    print("skipped: a_build_without_has_no_trace builds everything once more: NP_FULL=1")
