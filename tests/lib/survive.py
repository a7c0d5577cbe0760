# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Who notices when a process dies, is replaced or reads its file again: the measures behind
tests/bench/survival (100 times each) and tests/proc/survival_test.py (a few times each).

One instance (of two workers) between callers that remember every connection (tests/bench/callers.c)
and an origin.  Something happens to the instance at a random moment, again as soon as it is ready
again; afterwards every connection that was cut is held against what was true at that moment: the
sockets of every worker are read from /proc and sock_diag just before the kill, so it is known whose
connection it was.

    own        held by the process that was killed: the price of its death
    foreign    held by another one, or opened after the kill: never allowed
    machine    late, while a thread that does nothing but wake up on each CPU was late as well: the
               machine stood still, or was busy with others
    young      opened between the look and the kill, so by whom it was held is not known

All of it runs in a network namespace of its own: few sockets to look through, ports never clash."""
import contextlib
import datetime
import http.client
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import np

COMM = dict(keeper="nodeproxy", master="nodeproxy-mastr", worker="nodeproxy-worke", syncd="nodeproxy-syncd",
            admind="nodeproxy-admin")
SECOND = 10**9
DYING = 2 * 10**6      # ns: a system call of the victim that was under way on another CPU may still accept
PID_1 = ["unshare", "-pf", "--mount-proc", "--kill-child"]


def own_network():
    """Runs the script again in a network namespace of its own."""
    if not os.environ.get("NP_OWN_NETWORK"):
        np.need_root()
        os.environ["NP_OWN_NETWORK"] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable,
                              os.path.abspath(sys.argv[0])] + sys.argv[1:])
    # The callers open hundreds of connections a second: those that are over must not use up the ports.
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/tcp_max_tw_buckets", "w") as f:
        f.write("512")


# ---- processes

def of_kind(host, kind):
    pids = sorted(p for p, comm in host.pids().items() if comm == COMM[kind])
    return pids if kind != "keeper" else pids[:1]


def slots(host):
    """How many slots of the board workers were ever started in: keeper and master keep two descriptors of each."""
    return 1 + max(map(int, re.findall(r"^time=\S+ .*role=worker event=started id=(\d+)", open(host.log).read(), re.M)))


def descriptors(host):
    """{role: open descriptors of all its processes}"""
    out = dict.fromkeys(COMM, 0)
    for pid, comm in host.pids().items():
        for role, name in COMM.items():
            if comm == name:
                with contextlib.suppress(OSError):
                    out[role] += len(os.listdir(f"/proc/{pid}/fd"))
    return out


def pss_kib(host):
    """Of the workers and of all the others; what a worker needs swings with the load."""
    total = dict(worker=0, rest=0)
    for pid, comm in host.pids().items():
        if comm in COMM.values():
            with contextlib.suppress(OSError, TypeError):
                total["worker" if comm == COMM["worker"] else "rest"] += int(
                    re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1])
    return total


def alive(pid):
    try:
        return ") Z " not in open(f"/proc/{pid}/stat").read()
    except OSError:
        return False


# ---- whose connection is it

def sockets(ports):
    """{inode: caller's port} of the accepted connections of these listening ports (sock_diag(7))."""
    want = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xfff & ~(1 << 10 | 1 << 6)) + bytes(48)
    out = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as s:      # NETLINK_SOCK_DIAG
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        s.send(struct.pack("=IHHII", 16 + len(want), 20, 0x301, 1, 0) + want)
        while True:
            data = s.recv(1 << 18)
            at = 0
            while at < len(data):
                n, kind = struct.unpack_from("=IH", data, at)
                if kind in (2, 3):      # error, done
                    return out
                sport, dport = struct.unpack_from("!HH", data, at + 20)
                if sport in ports:
                    out[struct.unpack_from("=I", data, at + 16 + 68)[0]] = dport
                at += (n + 3) & ~3


def holders(pids, ports):
    """{pid: set of caller's ports}"""
    diag, out = sockets(ports), {}
    for pid in pids:
        out[pid] = held = set()
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    to = os.readlink(fd.path)
                    if to.startswith("socket:[") and (port := diag.get(int(to[8:-1]))):
                        held.add(port)
    return out


# ---- callers

class Callers:
    """tests/bench/callers.c: an origin and its callers."""

    def __init__(self, tmp):
        self.program = os.path.join(tmp, "callers")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench/callers.c")
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-pthread", "-o", self.program, source], check=True)
        self.http, self.echo = np.free_port(), np.free_port()
        self.origin = subprocess.Popen([self.program, "origin", str(self.http), str(self.echo)],
                                       stdin=subprocess.DEVNULL)
        self.load, self.events, self.numbers = None, [], None
        self.lock = threading.Condition()
        np.until("the origin", lambda: not socket.create_connection(("127.0.0.1", self.echo)).close())

    def start(self, http, tcp, keep=128, new=200, ws=16, streams=16, think_us=0, echo_ms=20, late_ms=200):
        self.ports, self.late_ms = (http, tcp), late_ms
        self.load = subprocess.Popen([self.program, "load"] + [str(x) for x in (
            http, tcp, keep, new, ws, streams, think_us, echo_ms, late_ms)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self.load.stdout,), daemon=True).start()

    def _read(self, lines):
        for line in lines:
            try:
                e = json.loads(line)
            except ValueError:
                return          # they were killed in the middle of it
            with self.lock:
                if e["ev"] == "numbers":
                    self.numbers = e
                    self.lock.notify_all()
                else:
                    self.events.append(e)

    def take(self):
        """What happened since the last time: (numbers, events)."""
        with self.lock:
            self.numbers = None
            self.load.stdin.write("take\n")
            self.load.stdin.flush()
            if not self.lock.wait_for(lambda: self.numbers, np.DEADLINE):
                raise AssertionError("the callers do not answer")
            events, self.events = self.events, []
            return self.numbers, events

    def stop(self):
        if self.load:
            with contextlib.suppress(OSError):
                self.load.stdin.close()
            self.load.wait(10)
            self.load = None

    def close(self):
        for p in (self.load, self.origin):
            if p and p.poll() is None:
                p.kill()
                p.wait()


# ---- one run

class Run:
    """An instance under load; `with Run(...) as run:`; load: see Callers.start."""

    def __init__(self, drain_ms=1000, pid_1=False, seed=1, workers=2, **load):
        self.load, self.random, self.workers = load, random.Random(seed), workers
        self.drain_ms, self.tcp = drain_ms, np.free_port()
        self.host = np.Host(workers=workers, wrapper=PID_1 if pid_1 else (), config=self.config())
        self.host.access_log = "/dev/null"
        self.callers = None
        self.happened, self.changes = [], 0

    def __enter__(self):
        h = self.host
        h.__enter__()
        try:
            self.callers = c = Callers(h.dir)
            h.listeners = [dict(name=n, bind=f"127.0.0.1:{p}", namespace="shop", route="service", service=s)
                           for n, p, s in (("front", h.port, "shop/web:80"), ("stream", self.tcp, "shop/raw:90"))]
            h.service("shop/web", 80, [c.http])
            h.service("shop/raw", 90, [c.echo], app="tcp")
            h.start()
            np.until("an answer", lambda: h.get("/x").status == 200)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc):
        if self.callers:
            self.callers.close()
        self.host.__exit__(*exc)

    def status(self):
        return self.host.api("status")

    def begin(self, what=""):
        """The numbers before any load, then the load."""
        self.wait_settled()
        if what in ("drain", "resize"):     # a slot once used keeps its pages, a group its sockets
            self.callers.start(self.host.port, self.tcp, **self.load)
            np.until("all callers to be served", self._all_served)
            getattr(self, what)()
            getattr(self, what)()
            self.callers.take()
            self.callers.stop()
            self.happened.clear()
            np.until("no connection to be left", lambda: not any(
                w["connections"] + w["back_connections"] + w["pooled_connections"] for w in self.status()["workers"]))
        for _ in range(8):      # views of the same shape as in the end: a few overlays are kept
            self.change()
        self.before = dict(descriptors=descriptors(self.host), pss=pss_kib(self.host), slots=slots(self.host))
        self.callers.start(self.host.port, self.tcp, **self.load)
        np.until("all callers to be served", self._all_served)

    def _all_served(self):
        n, _ = self.callers.take()
        return n["answers"] > 0 and (n["echoes"] > 0 or not self.load.get("ws", 1))

    def wait_settled(self):
        """All processes are there and none too many."""
        np.until("all processes to be ready", lambda: self.ready() and self.complete())

    def complete(self):
        kinds = sorted(k for c in self.host.pids().values() for k, v in COMM.items() if v == c)
        return kinds == sorted(["keeper", "master", "syncd", "admind"] + ["worker"] * self.workers)

    def ready(self):
        """Every process does its work."""
        s = self.status()
        p = s["processes"]
        return s["ready"] and all(x["state"] == "ready" for x in p) and len(p) == self.workers + 2

    def followed(self, *pids):
        """Others do the work of these."""
        return not set(pids) & set(self.host.pids()) and self.complete() and self.ready()

    def moment(self):
        """Any moment of the load's life: up to 50 ms from now."""
        end = time.monotonic() + self.random.uniform(0, 0.05)
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)

    # ---- what can happen
    def kill_worker(self):
        pids = of_kind(self.host, "worker")
        self.moment()
        held = holders(pids, self.callers.ports)
        victim = self.random.choice(pids)
        at = time.monotonic_ns()
        os.kill(victim, signal.SIGKILL)
        others = set().union(*(held[p] for p in pids if p != victim))
        gone = time.monotonic_ns() + DYING
        self.happened.append(dict(at=at, gone=gone, pid=victim, own=held[victim], others=others))
        np.until("the replacement", lambda: self.followed(victim))

    def kill_master(self):
        before = {k: of_kind(self.host, k) for k in ("worker", "syncd", "admind")}
        master, starts = of_kind(self.host, "master")[0], self.status()["master_starts"]
        self.moment()
        at = time.monotonic_ns()
        os.kill(master, signal.SIGKILL)
        self.happened.append(dict(at=at, pid=master))
        np.until("a new master", lambda: self.status()["master_starts"] > starts and self.ready() and self.complete())
        after = {k: of_kind(self.host, k) for k in before}
        if before != after:
            raise AssertionError(f"children of the dead master were not kept: {before} -> {after}")
        if len(self.happened) % 10 == 1:
            self.change()

    def change(self):
        """The new master still does its work: a change reaches all workers."""
        was = self.status()["view_rev"]
        self.changes += 1
        self.host.service("shop/more", 80, [1000 + self.changes])
        np.until("the change", lambda: all(w["rev"] > was for w in self.status()["workers"]))

    def kill_syncd(self):
        self.kill_one("syncd")

    def kill_admind(self):
        self.kill_one("admind")

    def kill_one(self, kind):
        pid = of_kind(self.host, kind)[0]
        self.moment()
        self.happened.append(dict(at=time.monotonic_ns(), pid=pid))
        os.kill(pid, signal.SIGKILL)
        np.until(f"another {kind}", lambda: self.followed(pid))

    def drain(self):
        """All workers are replaced, one by one."""
        pids = of_kind(self.host, "worker")
        self.moment()
        self.happened.append(dict(at=time.monotonic_ns()))
        self.ctl("drain")
        np.until("other workers", lambda: self.followed(*pids))

    def ctl(self, *words):
        r = self.host.ctl(*words)
        if r.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {r.returncode}: {r.stderr.strip()} {r.stdout.strip()}")

    def config(self, idle_ms=60000):
        return (f"timeouts: {{drain: {self.drain_ms}, pooled: 300, idle: {idle_ms}}}\n"
                "respawn: {min: 1, max: 50}")

    def reload(self):
        """A changed file is read again, and taken over by every process."""
        h, i = self.host, len(self.happened)
        h.config = self.config(60001 + i % 7)
        h.write_config()
        self.moment()
        self.happened.append(dict(at=time.monotonic_ns()))
        self.ctl("reload")
        self.wait_settled()

    def resize(self):
        """Another number of workers: one more, then one less."""
        h = self.host
        h.workers = self.workers = 5 - self.workers
        h.write_config()
        self.moment()
        self.happened.append(dict(at=time.monotonic_ns()))
        self.ctl("reload")
        self.wait_settled()

    def upgrade(self):
        """All processes but the keeper are followed by others, of the same binaries."""
        h = self.host
        pids = [p for k in ("master", "worker", "syncd", "admind") for p in of_kind(h, k)]
        self.moment()
        self.happened.append(dict(at=time.monotonic_ns()))
        self.ctl("upgrade")
        np.until("new processes", lambda: self.followed(*pids))

    # ---- the whole
    def measure(self, what, times, control_s, progress=lambda i: None):
        """Runs one measure; a dict of numbers."""
        self.begin(what)
        began = time.monotonic()
        time.sleep(control_s)           # the same load, and nothing happens
        control, _ = self.callers.take()
        drops, memory = tcp_drops(), []
        control["seconds"] = time.monotonic() - began
        began = time.monotonic()
        for i in range(times):
            getattr(self, what)()
            if i % max(1, times // 20) == 0 or i == times - 1:
                memory.append((i, pss_kib(self.host)))
            progress(i + 1)
        time.sleep(0.3)                 # what the last one did to callers is seen
        numbers, events = self.callers.take()
        seconds = time.monotonic() - began
        drops = tcp_drops() - drops
        self.callers.stop()
        out = dict(measure=what, times=times, seconds=round(seconds, 1), control=control, numbers=numbers,
                   memory_kib=memory, dropped_syns=drops, drain_ms=self.drain_ms,
                   events=[e for e in events if e["ev"] in ("refused", "wrong", "starved")][:200], **self.judge(events))
        out.update(self.after())
        return out

    def judge(self, events):
        """Every cut connection, held against who was killed when."""
        own = foreign = young = late_connects = late_answers = 0
        refused = sum(e["ev"] == "refused" for e in events)
        wrong = sum(e["ev"] == "wrong" for e in events)
        streams_early, shortest = 0, None
        late, blamed, drains = [], [], self.drains()
        stood = [(e["at"] - e["ms"] * 10**6, e["at"]) for e in events if e["ev"] == "machine"]
        machine = 0
        for e in events:
            kill = next((h for h in reversed(self.happened) if h["at"] <= e["at"]), None)
            if e["ev"] == "late":
                since = (e["at"] - kill["at"]) / 1e6 if kill else None
                began = e["at"] - e["more"] * 10**6
                share = max([min(b, e["at"]) - max(a, began) for a, b in stood], default=0) / max(1, e["at"] - began)
                share = max(0, share)
                late.append(dict(e, since_ms=since, machine_share=round(share, 2)))
                if share > 0.3:
                    machine += 1
                else:
                    late_connects += e["asks"] <= 1 and e["kind"] != "tcp"
                    late_answers += e["asks"] > 1
            if e["ev"] not in ("cut", "idle"):
                continue
            if kill and "own" in kill:
                if e["port"] in kill["own"] and e["opened"] < kill["at"]:
                    own += 1
                elif e["opened"] < kill["gone"] and e["at"] < kill["at"] + SECOND and e["port"] not in kill["others"]:
                    young += 1
                elif e["ev"] == "cut":
                    foreign += 1
                    blamed.append(e)
            elif e["ev"] == "cut" and e["kind"] in ("ws", "tcp"):
                # A stream may be cut at the deadline of a drain that began when it was open.
                begun = [d for d in drains if e["opened"] - SECOND // 20 <= d <= e["at"]]
                had = (e["at"] - begun[0]) / 1e6 if begun else 0
                shortest = had if shortest is None else min(shortest, had)
                streams_early += had < self.drain_ms * 0.95
        return dict(own=own, foreign=foreign, young=young, refused=refused, wrong=wrong, late_connects=late_connects,
                    late_answers=late_answers, machine=machine, late=late[:50],
                    machine_stood=[e for e in events if e["ev"] == "machine"][:50], streams_cut_early=streams_early,
                    stream_had_ms=shortest and round(shortest), blamed=blamed[:20])

    def drains(self):
        """When a worker began to drain, by the log; in the callers' time."""
        to_mono = time.monotonic_ns() - time.time_ns()
        return [int(datetime.datetime.fromisoformat(t.replace("Z", "+00:00")).timestamp() * 1e9) + to_mono for t in
                re.findall(r"^time=(\S+) .*role=worker event=draining", open(self.host.log).read(), re.M)]

    def after(self):
        """What is left when the load has gone."""
        h, problems = self.host, []
        try:
            self.wait_settled()
        except AssertionError as e:
            problems.append(str(e))

        def rest():
            now.update(descriptors(h))
            # Where drains take longer than the time between two, one more slot is used.
            for role in ("keeper", "master"):
                now[role] -= 2 * (slots(h) - self.before["slots"])
            return all(now[r] <= self.before["descriptors"][r] for r in now)
        now = {}
        try:
            np.until("the descriptors of before", rest, 8)
        except AssertionError:
            problems.append("descriptors")
        claims = sum(e["in_flight"] for e in h.api("endpoints")["endpoints"])
        out = dict(descriptors_before=self.before["descriptors"], descriptors_after=now,
                   pss_before=self.before["pss"], pss_after=pss_kib(h), claims=claims)
        pids = h.pids()
        with contextlib.suppress(ProcessLookupError):
            os.kill(h.keeper(), signal.SIGTERM)
        out["exit_code"] = h.process.wait(np.DEADLINE)
        out["orphans"] = sorted(p for p in pids if alive(p))
        out["problems"] = problems
        return out


def tcp_drops():
    """SYNs and completed connections that found a full queue."""
    lines = open("/proc/self/net/netstat").read().splitlines()
    names, values = [x.split() for x in lines if x.startswith("TcpExt:")]
    row = dict(zip(names[1:], map(int, values[1:])))
    return row["ListenOverflows"] + row["ListenDrops"]


def growth_kib(memory, whose):
    """What the highest sum of the last third is above that of the middle third, per time.  Peaks,
    because a sum depends on whether the newest processes have touched their memory yet."""
    third = len(memory) // 3
    if third < 2:
        return 0.0
    middle, last = memory[third:2 * third], memory[-third:]
    return (max(m[whose] for _, m in last) - max(m[whose] for _, m in middle)) / (last[-1][0] - middle[-1][0])


# ---- what must hold: (measure, method, what the run needs, callers' failures that are allowed)
MEASURES = {
    "worker": ("kill_worker", {}, "own"),
    "master": ("kill_master", {}, "none"),
    "pid1-worker": ("kill_worker", dict(pid_1=True), "own"),
    "pid1-master": ("kill_master", dict(pid_1=True), "none"),
    "syncd": ("kill_syncd", {}, "none"),
    "admind": ("kill_admind", {}, "none"),
    "drain": ("drain", {}, "drain"),
    "reload": ("reload", {}, "drain"),
    "resize": ("resize", {}, "drain"),
    "upgrade": ("upgrade", {}, "drain"),
}


def verdict(name, r):
    """What of the measure does not hold, as words; empty: all of it does."""
    allowed, n, no = MEASURES[name][2], r["numbers"], []
    if r["refused"]:
        no.append(f"{r['refused']} refused")
    if r["wrong"]:
        no.append(f"{r['wrong']} wrong answers")
    if r["late_connects"]:
        no.append(f"{r['late_connects']} new connections waited over 200 ms")
    if allowed == "own":
        if r["foreign"]:
            no.append(f"{r['foreign']} connections of others cut")
        if not r["own"]:
            no.append("no connection of a victim was cut: nothing was measured")
    else:
        if n["failed"]:
            no.append(f"{n['failed']} failed")
        if n["retried"]:
            no.append(f"{n['retried']} had to be sent again")
        if allowed == "none" and n["cut_ws"] + n["cut_tcp"]:
            no.append(f"{n['cut_ws'] + n['cut_tcp']} streams cut")
        if r["streams_cut_early"]:
            no.append(f"{r['streams_cut_early']} streams cut before the deadline")
    for role, after in r["descriptors_after"].items():
        before = r["descriptors_before"][role]
        if after > before:
            no.append(f"{after - before} descriptors more in {role}")
    if r["claims"]:
        no.append(f"{r['claims']} claims left on the board")
    if r["orphans"]:
        no.append(f"{len(r['orphans'])} orphans")
    if r["exit_code"]:
        no.append(f"left with {r['exit_code']}")
    for whose, most in (("rest", 8), ("worker", 64)):
        grows = growth_kib(r["memory_kib"], whose)
        if r["times"] >= 20 and grows > most:
            no.append(f"memory ({whose}) grows by {grows:.0f} KiB each time")
    return no + r["problems"]


def missing(name):
    """The command of this measure, when nodeproxyctl does not know it."""
    word = MEASURES[name][0]
    word = "reload" if word == "resize" else word
    if word not in ("drain", "reload", "upgrade"):
        return None
    words = subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "help"], capture_output=True, text=True)
    return None if f"\n  {word} " in words.stdout + words.stderr else word


def run(name, times, control_s=3.0, seed=1, progress=lambda i: None, **more):
    method, needs, _ = MEASURES[name]
    with Run(seed=seed, **needs, **more) as r:
        out = r.measure(method, times, control_s, progress)
    out["measure"] = name
    out["not_held"] = verdict(name, out)
    return out
