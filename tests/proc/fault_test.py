#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The n-th allocation or system call of one process fails, once, or it is killed there; n = 1.. until
it runs untouched.

    tests/proc/fault_test.py [WALK ...]      all n of these walks (NP_FULL=1: of all), else a sample

A walk is process:kind:phase, for example worker:sys:pass.  The phases of a process' life:

    birth   from its first instruction until it serves; each replacement takes the next n, so one
            instance stands them all
    pass    one round of everything (a view, HTTP, TCP, a change, a question, the log opened again),
            counted from its beginning in a process that is up; repeated with the next n
    swap    worker: it replaces another, which drains when this one is ready
    end     worker: drained and replaced; the others: the whole instance is stopped, so one each
    first   the whole instance is started, so one each (master and keeper, who are not replaced then)

Whatever fails, the host serves in the end, the process has coped or was replaced with a line that
says why, keeper and master are who they were (a master that was injected itself is replaced), no
descriptor and no claim is lost, and stopping leaves nobody behind.  NP_FAULT_TRACE=1 shows where
each fault was."""
import http.client
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
PRELOAD = os.path.join(np.BUILD, "tests/lib/fault.so")
if b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read():
    np.skip("a sanitized build brings its own allocator: runs in the plain build")
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
FROM, TO = int(os.environ.get("NP_FROM", "1")), int(os.environ.get("NP_TO", str(1 << 60)))
VERBOSE = os.environ.get("NP_VERBOSE", "") != ""

PROGRAM = dict(worker="nodeproxy-worker", syncd="nodeproxy-syncd", admind="nodeproxy-admind",
               master="nodeproxy: master", keeper="nodeproxy")
COMM = dict(worker="nodeproxy-worke", syncd="nodeproxy-syncd", admind="nodeproxy-admin", master="nodeproxy-mastr")
KIND = dict(alloc=1, sys=2, kill=3)      # kill: SIGKILL at the n-th system call
PHASES = dict(worker=("birth", "pass", "swap", "end"), syncd=("birth", "pass", "end"), admind=("birth", "pass", "end"),
              master=("birth", "pass", "end", "first"), keeper=("first", "end"))
BIRTH_MS = 1500
LOST = (OSError, http.client.HTTPException, AssertionError, ValueError, KeyError)


class Control:
    """struct control of tests/lib/fault.c."""
    FIELDS = dict(kind=(32, "I"), births=(36, "I"), next=(40, "Q"), pid=(48, "I"), fired=(52, "I"), n=(56, "Q"),
                  count=(64, "Q"), live=(72, "q"), logged=(112, "I"), born=(116, "I"))
    LOG, ENTRY, MOST = 120, struct.Struct("<IIQ24s"), 8192

    def __init__(self, path):
        object.__setattr__(self, "path", path)
        with open(path, "wb") as f:
            f.truncate(self.LOG + self.ENTRY.size * self.MOST)
        with open(path, "r+b") as f:
            object.__setattr__(self, "m", mmap.mmap(f.fileno(), 0))

    def __getattr__(self, name):
        at, kind = self.FIELDS[name]
        return struct.unpack_from("<" + kind, self.m, at)[0]

    def __setattr__(self, name, value):
        at, kind = self.FIELDS[name]
        struct.pack_into("<" + kind, self.m, at, value)

    @property
    def call(self):
        return self.m[80:112].split(b"\0")[0].decode()

    def meant(self, process):
        self.m[0:32] = PROGRAM[process].encode().ljust(32, b"\0")

    def arm(self, pid, n):
        self.births, self.n, self.pid, self.fired, self.count = 0, 0, pid, 0, 0
        self.n = n

    def rest(self):
        self.births, self.n = 0, 0

    def entry(self, i):
        pid, _, n, call = self.ENTRY.unpack_from(self.m, self.LOG + (i % self.MOST) * self.ENTRY.size)
        return pid, n, call.split(b"\0")[0].decode()


class Echo:
    """A TCP back-end: sends back what it hears."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        with c:
            try:
                while (b := c.recv(65536)):
                    c.sendall(b)
            except OSError:
                pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path, timeout=5):
        super().__init__("localhost", timeout=timeout)
        self.unix = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix)


class Subject:
    """One instance, and one kind of process of it whose calls fail."""

    def __init__(self, process, kind):
        self.process, self.kind, self.side = process, kind, 0
        tcp = np.free_port()
        config = (f"timeouts: {{drain: 1000, pooled: 30, idle: 2000}}\n"
                  f"respawn: {{min: 1, max: 1, birth: {BIRTH_MS}}}\nlimits: {{connections: 256}}\n"
                  "log_ring_bytes: 65536")
        self.host = np.Host(workers=1, config=config)
        self.host.listeners = [
            dict(name="front", bind=f"127.0.0.1:{self.host.port}", namespace="shop", route="service",
                 service="shop/web:80"),
            dict(name="tcp", bind=f"127.0.0.1:{tcp}", namespace="shop", route="service", service="shop/echo:7")]
        self.tcp = tcp
        self.control = Control(os.path.join(self.host.dir, "fault"))
        self.control.meant(process)
        self.control.kind = KIND[kind]
        self.host.env = dict(LD_PRELOAD=PRELOAD, NP_FAULT_FILE=self.control.path)
        self.echo = Echo()
        self.backs = [self.host.backend("one"), self.host.backend("two")]
        self.host.service("shop/web", 80, [self.backs[0].port])
        self.host.service("shop/echo", 7, [self.echo.port], app="tcp")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.host.__exit__(kind, value, trace)
        self.echo.stop()

    # ---- who is there
    def pid(self, process=None):
        process = process or self.process
        if process == "keeper":
            return self.host.process.pid
        pids = [p for p, c in self.host.pids().items() if c == COMM[process]]
        return pids[-1] if pids else 0

    def kill(self):
        p = self.pid()
        if p:
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def ask(self, path, method="GET", timeout=5):
        c = UnixHTTP(self.host.socket, timeout)
        try:
            c.request(method, path)
            r = c.getresponse()
            body = r.read()
            if r.status != 200:
                raise ValueError(f"{path}: {r.status} {body[:200]}")
            return json.loads(body)
        finally:
            c.close()

    def descriptors(self, pid):
        """How many, without pipes: a worker keeps some that it once needed."""
        return sum(not link(pid, d).startswith("pipe:") for d in os.listdir(f"/proc/{pid}/fd"))

    # ---- one round of everything
    def steps(self):
        host, other = self.host, self.backs[1 - self.side]
        name = other.name

        def post():
            body = b"x" * 70000
            r = host.get("/post", "POST", body)
            assert r.status == 200, r.status
            return True

        def keep_alive():
            c = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)
            try:
                for i in range(2):
                    c.request("GET", f"/k{i}")
                    r = c.getresponse()
                    r.read()
                    assert r.status == 200, r.status
            finally:
                c.close()
            return True

        def tcp():
            with socket.create_connection(("127.0.0.1", self.tcp), timeout=5) as s:
                s.sendall(b"hello")
                got = b""
                while len(got) < 5:
                    b = s.recv(16)
                    assert b, "cut"
                    got += b
            return True

        def changed():
            return host.get("/x", timeout=5).body == f"{name} /x\n".encode()

        host.service("shop/web", 80, [other.port])
        self.side = 1 - self.side
        return [("HTTP", keep_alive, True), ("a body", post, True), ("TCP", tcp, True), ("the change", changed, False),
                ("status", lambda: self.ask("/v1/status")["ready"], False),
                ("metrics", lambda: host.metric("nodeproxy_ready") == 1, False),
                ("log-reopen", lambda: self.ask("/v1/log-reopen", "POST") is not None, False)]

    def round(self):
        """All steps, each until it works.  Traffic may fail only where its worker is hit."""
        for what, step, traffic in self.steps():
            if traffic and self.process != "worker":
                step()
            else:
                np.until(what, lambda s=step: quiet(s), 15)

    def start(self):
        self.host.start()
        for _ in range(8):
            self.round()
        self.master = self.pid("master")
        self.measure()
        return self

    def measure(self):
        self.base = {p: self.rest_of(p) for p in COMM}

    def drained(self, pid):
        """That worker is replaced and has left."""
        np.until("the order", lambda: quiet(lambda: self.ask("/v1/drain", "POST")), 10)
        np.until("the old worker to leave", lambda: not alive(pid), 20)

    def rest_of(self, process):
        """Descriptors of a process at rest: the least seen in a while."""
        pid, seen = self.pid(process), []
        for _ in range(8):
            seen.append(self.descriptors(pid))
            time.sleep(0.01)
        return min(seen)

    def nothing_lost(self):
        """After a fault: who must be there is, and holds no more than before."""
        assert self.host.process.poll() is None, "the keeper has left"
        if self.process != "master":
            assert self.pid("master") == self.master, "the master has died"
        worst = {}

        def settled():
            worst.clear()
            for p, base in self.base.items():
                pid = self.pid(p)
                now = self.descriptors(pid)
                if now > base:
                    worst[p] = (now, base, sorted(link(pid, d) for d in os.listdir(f"/proc/{pid}/fd")))
                    return False
            for w in self.ask("/v1/workers")["workers"]:
                if w.get("connections"):
                    worst["connections"] = w
                    return False
            return True
        try:
            np.until("descriptors to be given back", lambda: quiet(settled), 5)
        except AssertionError:
            raise AssertionError(f"more than before: {worst}")

    def words_since(self, at):
        with open(self.host.log, "rb") as f:
            f.seek(at)
            return f.read().decode(errors="replace")

    def stopped(self):
        pids = self.host.pids()
        code = self.host.stop()
        left = [p for p in pids if alive(p)]
        assert not left, f"left behind: {left}"
        return code


def quiet(step):
    try:
        return step()
    except LOST:
        return None


def link(pid, descriptor):
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return "pipe: closed meanwhile"


def alive(pid):
    try:
        return ") Z " not in open(f"/proc/{pid}/stat").read()
    except OSError:
        return False


class Findings(list):
    def add(self, walk, n, call, what):
        self.append((walk, n, call, what))
        print(f"    FOUND {walk} n={n} call={call}: {what}", flush=True)


class Points:
    """The n of a walk: those that are wanted, or all from the first on."""

    def __init__(self, wanted, first=1):
        self.wanted = list(wanted) if wanted else None
        self.n = self.wanted.pop(0) if wanted else max(FROM, first)
        self.over, self.tried, self.missed = False, 0, 0

    def after(self, n, fired):
        """n was tried; sets the next one."""
        self.tried += bool(fired)
        if self.wanted is None:
            # how many there are differs a little from time to time: twice untouched is the end
            self.missed = 0 if fired else self.missed + 1
            self.over, self.n = self.missed == 2 or n >= TO, n + 1
        elif self.wanted:
            self.n = self.wanted.pop(0)
        else:
            self.over = True


def births(walk, process, kind, points, found):
    """Each replacement fails a call later."""
    while not points.over:
        with Subject(process, kind) as s:
            s.start()
            c, healthy = s.control, True
            while healthy and not points.over:
                seen, at, before = c.logged, os.path.getsize(s.host.log), s.pid()
                c.next, c.fired = points.n, 0
                c.births = 1
                s.kill()
                # until one is up; those that die on the way are followed by the next n
                up = s_up(s, before, single=points.wanted is not None)
                c.births = 0
                last, fired, call = c.next - 1, c.fired and up, c.call
                c.rest()
                points.tried += c.logged - seen - bool(fired)
                if VERBOSE:
                    for i in range(seen, c.logged):
                        print("    ", *c.entry(i), flush=True)
                try:
                    np.until(f"a {process} that serves", lambda: quiet(lambda: s.ask("/v1/status")["ready"]), 40)
                    s.round()
                    if process == "master":
                        s.master = s.pid("master")
                    s.nothing_lost()
                except LOST as e:
                    found.add(walk, last, call, e)
                    print(s.words_since(at)[-3000:])
                    healthy = False
                for w in s.words_since(at).splitlines():
                    if "did not become ready" in w or "event=hangs" in w:
                        print(f"    a hang at {walk} n<={last}: {w}", flush=True)
                points.after(last, fired or not up)
            finish(s, walk, found)


def s_up(s, before, single):
    """Waits for a new process that serves; False when the one that came had no more than its death."""
    c, end = s.control, time.monotonic() + 40
    states = dict(worker=lambda st: [w["pid"] for w in st["workers"] if w["state"] == "ready"])
    while time.monotonic() < end:
        if single and c.births and c.pid not in (0, before) and (c.fired or c.n >= c.next):
            c.births = 0            # only this n; the next one starts untouched
        pid = s.pid()
        if pid and pid != before:
            st = quiet(lambda: s.ask("/v1/status", timeout=1))
            if st:
                if s.process in states:
                    ready = states[s.process](st)
                elif s.process == "admind":
                    ready = [pid]
                elif s.process == "master":
                    ready = [pid] if st.get("ready") and settled_master(s, pid) else []
                else:
                    ready = [p["pid"] for p in st["processes"] if p["role"] == s.process and p["state"] == "ready"]
                if pid in ready and alive(pid):
                    return c.pid == pid
        time.sleep(0.002)
    return False


def settled_master(s, pid):
    """It answers orders."""
    return quiet(lambda: s.ask("/v1/log-reopen", "POST", timeout=1)) is not None and alive(pid)


def finish(s, walk, found):
    try:
        code = s.stopped()
        assert code == 0, f"exit code {code}"
    except LOST as e:
        found.add(walk, 0, "", e)
    except subprocess.TimeoutExpired:
        found.add(walk, 0, "", "does not stop")


def passes(walk, process, kind, points, found):
    while not points.over:
        with Subject(process, kind) as s:
            s.start()
            c, healthy = s.control, True
            while healthy and not points.over:
                n, at, pid = points.n, os.path.getsize(s.host.log), s.pid()
                c.arm(pid, n)
                try:
                    s.round()
                    fired, count, call = c.fired, c.count, c.call
                    c.arm(pid, 0)
                    np.until("ready", lambda: quiet(lambda: s.ask("/v1/status")["ready"]), 40)
                    died = not alive(pid)
                    if died and process == "master":
                        s.master = s.pid("master")
                    s.nothing_lost()
                    words = s.words_since(at)
                    assert 'what="must' not in words, "an assertion failed"
                    if died:
                        print(f"    died: {walk} n={n} {call}: " + " | ".join(
                            w.partition("event=")[2] for w in words.splitlines() if "level=error" in w or "level=crit" in w)[:300])
                        assert "level=error" in words or "level=crit" in words, "died without a word"
                        s.round()       # the next one starts like the first: warm
                    if VERBOSE:
                        print(f"     {n} of {count}: {call if fired else 'not reached'} live={c.live}", flush=True)
                except LOST as e:
                    fired, healthy = c.fired, False
                    found.add(walk, n, c.call, e)
                    print(s.words_since(at)[-3000:])
                points.after(n, fired)
            finish(s, walk, found)


def drains(walk, process, kind, points, found):
    """The end of a worker: drained with a connection open, replaced by an untouched one."""
    while not points.over:
        with Subject(process, kind) as s:
            s.start()
            s.drained(s.pid())      # both slots have been used: their pages are there
            s.round()
            s.measure()
            c, healthy = s.control, True
            while healthy and not points.over:
                n, at, pid = points.n, os.path.getsize(s.host.log), s.pid()
                try:
                    held = http.client.HTTPConnection("127.0.0.1", s.host.port, timeout=5)
                    held.request("GET", "/held")
                    held.getresponse().read()
                    c.arm(pid, n)
                    s.drained(pid)
                    held.close()
                    fired, call = c.fired, c.call
                    c.rest()
                    s.round()
                    s.nothing_lost()
                    if VERBOSE:
                        print(f"     {n}: {call if fired else 'not reached'}", flush=True)
                except LOST as e:
                    fired, healthy = c.fired, False
                    found.add(walk, n, c.call, e)
                    print(s.words_since(at)[-3000:])
                points.after(n, fired)
            finish(s, walk, found)


def swaps(walk, process, kind, points, found):
    """A worker that replaces another one does not come up, again and again; the old one serves."""
    while not points.over:
        with Subject(process, kind) as s:
            s.start()
            s.drained(s.pid())
            s.round()
            s.measure()
            c, healthy = s.control, True
            while healthy and not points.over:
                n, at, pid = points.n, os.path.getsize(s.host.log), s.pid()
                try:
                    c.next, c.fired, c.births = n, 0, 1
                    np.until("the order", lambda: quiet(lambda: s.ask("/v1/drain", "POST")), 10)
                    np.until("a new one", lambda: c.pid not in (0, pid) or not alive(pid), 20)
                    if points.wanted is None:
                        # each that dies is followed by one that dies a call later; callers see nothing
                        while alive(pid) and "event=draining" not in s.words_since(at):
                            ok = quiet(lambda: s.host.get("/x").status == 200)
                            assert ok or "event=draining" in s.words_since(at), "the old one did not serve"
                    last, fired, call = c.next - 1, c.fired and alive(c.pid), c.call
                    c.rest()
                    np.until("the old worker to leave", lambda: not alive(pid), 40)
                    s.round()
                    s.nothing_lost()
                except LOST as e:
                    last, fired, call, healthy = c.next - 1, c.fired, c.call, False
                    found.add(walk, last, c.call, e)
                    print(s.words_since(at)[-3000:])
                if VERBOSE:
                    print(f"     {n}..{last}: {call if fired else 'not reached'}", flush=True)
                points.tried += last - n
                points.after(last, fired)
            finish(s, walk, found)


def ends(walk, process, kind, points, found):
    """The whole instance is stopped while a call fails: one instance each."""
    while not points.over:
        n = points.n
        with Subject(process, kind) as s:
            try:
                s.host.start()
                s.control.arm(s.pid(), n)
                code = s.stopped()
                assert code == 0 or process in ("master", "keeper"), f"exit code {code}"
            except LOST + (subprocess.TimeoutExpired,) as e:
                found.add(walk, n, s.control.call, e)
                print(s.words_since(0)[-3000:])
                s.host.process.kill()
            fired, call = s.control.fired, s.control.call
        if VERBOSE:
            print(f"     {n}: {call if fired else 'not reached'}", flush=True)
        points.after(n, fired)


def firsts(walk, process, kind, points, found):
    """The whole instance is started while a call of keeper or master fails: it serves, or leaves
    with words, nobody behind, and the next start works."""
    while not points.over:
        n = points.n
        with Subject(process, kind) as s:
            c = s.control
            c.next, c.births = n, 1
            try:
                s.host.start(wait=False)
                np.until("an end or an answer", lambda: s.host.process.poll() is not None or
                         quiet(lambda: s.ask("/v1/status")["ready"]), 60)
                c.births = 0
                left = s.host.process.poll()
                if left is not None:
                    words = s.words_since(0).replace("fault: ", "")
                    assert left != 0 and ("nodeproxy:" in words or "level=error" in words or "panic" in words), \
                        f"left with {left} in silence"
                    assert c.fired, "left untouched"
                    s.host.start()
                s.round()
                assert s.stopped() == 0
            except LOST + (subprocess.TimeoutExpired,) as e:
                found.add(walk, n, c.call, e)
                print(s.words_since(0)[-3000:])
                s.host.process.kill()
            fired, call = c.fired, c.call
        if VERBOSE:
            print(f"     {n}: {call if fired else 'not reached'}{'' if left is None else ' left'}", flush=True)
        points.after(n, fired)


WALKS = {f"{p}:{k}:{phase}": (p, k, phase) for p, phases in PHASES.items() for phase in phases for k in KIND}
# What make check takes: a few n of each, always the same.
SAMPLE = {"worker:alloc:pass": [1, 2], "worker:sys:pass": [3, 9, 21, 40], "syncd:alloc:pass": [2, 11, 40],
          "syncd:sys:pass": [2, 7, 15], "admind:alloc:pass": [1, 5, 20], "admind:sys:pass": [2, 6, 12],
          "master:sys:pass": [2, 6, 12],
          "worker:kill:birth": [9, 60, 120], "master:kill:birth": [5, 80], "master:kill:pass": [4, 9], "worker:kill:swap": [20]}


def main():
    names = sys.argv[1:]
    every = FULL or names
    found = Findings()
    for name in names or (WALKS if FULL else SAMPLE):
        process, kind, phase = WALKS[name]
        walk = dict(birth=births, swap=swaps, end=drains if process == "worker" else ends, first=firsts)
        walk["pass"] = passes
        began = time.monotonic()
        # the first call of a master gives it the name that we know it by
        points = Points(None if every else SAMPLE[name], 2 if process == "master" and phase == "birth" else 1)
        walk[phase](name, process, kind, points, found)
        print(f"{name}: {points.tried} calls failed in turn ({time.monotonic() - began:.1f} s)", flush=True)
    assert not found, f"{len(found)} findings"
    print("fault: all survived")


main()
