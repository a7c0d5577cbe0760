#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Processes die, hang, are replaced and leave; callers do not notice more than they must.

NP_FULL=1 kills 1,000 times in each place (foreground and PID 1 of a pid namespace), else 40 times."""
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
SEED = int(os.environ.get("NP_SEED", "1"))
PROGRAM = os.path.join(np.BUILD, "nodeproxy/nodeproxy")
SANITIZED = b"__asan_init" in open(PROGRAM, "rb").read()
# comm of each kind: the kernel keeps 15 characters
COMM = dict(keeper="nodeproxy", master="nodeproxy-mastr", worker="nodeproxy-worke", syncd="nodeproxy-syncd",
            admind="nodeproxy-admin")


def of_kind(host, kind):
    return sorted(p for p, comm in host.pids().items() if comm == COMM[kind] and
                  (kind != "keeper" or p == keeper(host)))


def keeper(host):
    """The process itself, or its child when a wrapper (unshare) stands between."""
    if not host.wrapper:
        return host.process.pid
    return min(p for p, comm in host.pids().items() if comm == COMM["keeper"])


def complete(host, workers=2):
    kinds = sorted(k for c in host.pids().values() for k, v in COMM.items() if v == c)
    return kinds == sorted(["keeper", "master", "syncd", "admind"] + ["worker"] * workers)


def whole_without(host, *pids):
    """All processes are there, and none of these."""
    return lambda: not set(pids) & set(host.pids()) and complete(host)


def alive(pid):
    try:
        return ") Z " not in open(f"/proc/{pid}/stat").read()
    except OSError:
        return False


class Load:
    """Callers that connect, ask once and close; counts how that ended."""

    def __init__(self, host, threads=4, pause=0.002):
        self.port, self.pause, self.on = host.port, pause, True
        self.ok = self.refused = self.cut = self.other = self.late = 0
        self.slowest, self.lock, self.words = 0.0, threading.Lock(), []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def _one(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            c.request("GET", "/x")
            r = c.getresponse()
            r.read()
            return "ok" if r.status == 200 else f"status {r.status}"
        except ConnectionRefusedError:
            return "refused"
        except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, http.client.IncompleteRead):
            return "cut"
        except (OSError, http.client.HTTPException) as e:
            return repr(e)
        finally:
            c.close()

    def _run(self):
        while self.on:
            began = time.monotonic()
            how = self._one()
            took = time.monotonic() - began
            with self.lock:
                if how in ("ok", "refused", "cut"):
                    setattr(self, how, getattr(self, how) + 1)
                else:
                    self.other += 1
                    self.words.append(how)
                self.slowest = max(self.slowest, took)
                self.late += took > 0.2
            time.sleep(self.pause)

    def stop(self):
        self.on = False
        for t in self.threads:
            t.join()
        return self

    def __str__(self):
        return (f"ok={self.ok} refused={self.refused} cut={self.cut} other={self.other} late={self.late} "
                f"slowest={self.slowest * 1000:.0f}ms {' '.join(sorted(set(self.words))[:3])}")


def served(host, **more):
    """A host with one Service and one back-end, ready."""
    one = host.backend("one")
    host.service("shop/web", 80, [one.port])
    host.start(**more)
    np.until("an answer", lambda: host.get("/x").status == 200)
    np.until("all processes", lambda: complete(host))
    return host


CONFIG = "timeouts: {drain: 2000}\nrespawn: {min: 20, max: 500}"


def processes_are_what_roles_def_says():
    uids = dict(worker=64610, syncd=64612, admind=64613)
    accounts = dict(line.split(":")[:3:2] for line in open("/etc/passwd") if line.count(":") >= 6)
    names = dict(worker="nodeproxy", syncd="nodeproxy-sync", admind="nodeproxy-admin")
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        for kind, uid in uids.items():
            uid = int(accounts.get(names[kind], uid))
            for pid in of_kind(host, kind):
                s = dict(line.rstrip("\n").split(":\t", 1) for line in open(f"/proc/{pid}/status") if ":\t" in line)
                assert s["Uid"].split() == [str(uid)] * 4, (kind, s["Uid"])
                assert "0" not in s["Gid"].split() and s["Groups"].strip() == "", (kind, s["Gid"], s["Groups"])
                for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    assert int(s[cap], 16) == 0, (kind, cap, s[cap])
                assert s["NoNewPrivs"] == "1" and s["Seccomp"] == "2", (kind, s["NoNewPrivs"], s["Seccomp"])
        for kind in ("keeper", "master"):
            s = open(f"/proc/{of_kind(host, kind)[0]}/status").read()
            caps = int(re.search(r"CapEff:\t(\w+)", s)[1], 16)
            forbidden = 1 << 21 | 1 << 19 | 1 << 13 | 1 << 16 | 1 << 17  # SYS_ADMIN PTRACE NET_RAW MODULE RAWIO
            assert caps & forbidden == 0, (kind, hex(caps))
            assert "Seccomp:\t2" in s
        cpus = [tuple(os.sched_getaffinity(p)) for p in of_kind(host, "worker")]
        assert all(len(c) == 1 for c in cpus), f"workers are not pinned: {cpus}"
        linked = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout
        for no in ("ssl", "crypto", "sqlite", "nghttp2", "jansson", "llhttp", "protobuf-c"):
            assert f"lib{no}" not in linked, f"root links {no}"


def a_worker_that_dies_is_replaced_and_nobody_is_refused():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        load = Load(host)
        for _ in range(5):
            victim = random.choice(of_kind(host, "worker"))
            os.kill(victim, signal.SIGKILL)
            np.until("the replacement", whole_without(host, victim))
        load.stop()
        assert load.refused == 0 and load.other == 0, str(load)
        assert load.ok > 0 and load.cut <= 5 * 4, str(load)
        workers = host.status()["workers"]
        assert sum(w["restarts"] for w in workers) == 5, workers
        print(f"    5 workers killed: {load}")


def a_dead_master_is_followed_by_one_that_keeps_the_children():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        before = {k: of_kind(host, k) for k in ("worker", "syncd", "admind")}
        load = Load(host)
        for i in range(5):
            master = of_kind(host, "master")[0]
            os.kill(master, signal.SIGKILL)
            np.until("a new master", whole_without(host, master))
        load.stop()
        assert before == {k: of_kind(host, k) for k in ("worker", "syncd", "admind")}
        assert load.refused == load.cut == load.other == 0, str(load)
        # the new master still does its work: changes, orders, replacing
        two = host.backend("two")
        host.service("shop/web", 80, [two.port])
        np.until("the change", lambda: host.get("/x").body == b"two /x\n")
        assert host.ctl("log-level", "debug").returncode == 0
        os.kill(before["worker"][0], signal.SIGKILL)
        np.until("the replacement", whole_without(host, before["worker"][0]))
        np.until("ready", lambda: host.status()["ready"])
        print(f"    5 masters killed: {load}")


def how_an_adopted_child_died_is_known():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        master, worker = of_kind(host, "master")[0], host.status()["workers"][0]["pid"]
        os.kill(master, signal.SIGKILL)
        np.until("the next master", whole_without(host, master))
        os.kill(worker, signal.SIGKILL)         # not a child of this master: the keeper reaps it
        np.until("the replacement", whole_without(host, worker))
        np.until("how it died", lambda: "signal 9" in [w["last_exit"] for w in host.status()["workers"]])


def master_and_worker_die_in_the_same_moment():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        load = Load(host)
        for i in range(20):
            worker, master = random.choice(of_kind(host, "worker")), of_kind(host, "master")[0]
            os.kill(worker, signal.SIGKILL)
            end = time.perf_counter() + random.random() * 0.01
            while time.perf_counter() < end:
                pass
            os.kill(master, signal.SIGKILL)     # it is there: nobody else may end a master
            np.until("all processes", whole_without(host, master, worker))
        load.stop()
        assert load.refused == 0 and load.other == 0, str(load)
        np.until("ready", lambda: host.status()["ready"])
        print(f"    20 pairs killed: {load}")


def kill_at_random(host, kills):
    rng = random.Random(SEED)
    load = Load(host)
    done = {}
    while sum(done.values()) < kills:
        kind = rng.choice(["master", "worker", "worker", "syncd", "admind"])
        pids = of_kind(host, kind)
        if pids:
            try:
                os.kill(rng.choice(pids), signal.SIGKILL)
                done[kind] = done.get(kind, 0) + 1
            except ProcessLookupError:
                pass
        if rng.random() < 0.5:      # else also while others are being born
            np.until("all processes", lambda: complete(host))
    np.until("all processes", lambda: complete(host))
    load.stop()
    np.until("ready", lambda: host.status()["ready"])
    np.until("an answer", lambda: host.get("/x").status == 200)
    assert load.refused == 0, str(load)
    print(f"    killed {done}: {load}")
    pids = host.pids()
    host.process.send_signal(signal.SIGTERM) if not host.wrapper else os.kill(keeper(host), signal.SIGTERM)
    assert host.process.wait(np.DEADLINE) == 0
    np.until("nobody to be left", lambda: not [p for p in pids if alive(p)])


def random_deaths_in_the_foreground():
    with np.Host(workers=2, config="timeouts: {drain: 2000}\nrespawn: {min: 1, max: 50}") as host:
        kill_at_random(served(host), 1000 if FULL else 40)


def random_deaths_below_pid_1():
    wrapper = ["unshare", "-pf", "--mount-proc", "--kill-child"]
    if subprocess.run(wrapper + ["true"], capture_output=True).returncode != 0:
        print("    skipped: no pid namespaces here")
        return
    with np.Host(workers=2, config="timeouts: {drain: 2000}\nrespawn: {min: 1, max: 50}", wrapper=wrapper) as host:
        served(host)
        assert "\nNSpid:\t%d\t1\n" % keeper(host) in open(f"/proc/{keeper(host)}/status").read()
        kill_at_random(host, 1000 if FULL else 40)


def nothing_outlives_the_keeper():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        pids = host.pids()
        host.process.kill()
        host.process.wait()
        np.until("nobody to be left", lambda: not [p for p in pids if alive(p)])
        host.start()        # and its place is free: ports, socket, store
        assert host.get("/x").status == 200


def term_drains_and_leaves_nothing():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        pids = host.pids()
        assert host.stop() == 0
        assert not [p for p in pids if alive(p)], "left behind"
        assert not os.path.exists(host.socket)
        try:
            socket.create_connection(("127.0.0.1", host.port), timeout=5).close()
            raise AssertionError("the listener is still there")
        except ConnectionRefusedError:
            pass


def two_instances_do_not_share_state_socket_or_port():
    with np.Host(workers=1, config=CONFIG) as host:
        served_one(host)
        for change, words in ((dict(), "in use by another nodeproxy"),
                              (dict(dir="state_dir"), "Address already in use")):
            text = open(os.path.join(host.dir, "nodeproxy.yaml")).read()
            if change:
                text = text.replace(f"state_dir: {host.dir}/state", f"state_dir: {host.dir}/other")
            path = os.path.join(host.dir, "second.yaml")
            open(path, "w").write(text)
            r = subprocess.run([PROGRAM, "-c", path], capture_output=True, text=True, timeout=np.DEADLINE)
            assert r.returncode != 0 and words in r.stderr, (r.returncode, r.stderr)
        assert host.get("/x").status == 200     # the first one did not suffer
        assert host.status()["ready"]


def served_one(host):
    one = host.backend("one")
    host.service("shop/web", 80, [one.port])
    host.start()
    np.until("an answer", lambda: host.get("/x").status == 200)


def drain_replaces_workers_without_losing_a_request():
    for workers in (1, 2):
        with np.Host(workers=workers, config=CONFIG) as host:
            served_one(host)
            before = of_kind(host, "worker")
            load = Load(host)
            r = host.ctl("drain")
            assert r.returncode == 0, r.stderr
            np.until("all to be replaced", lambda: complete(host, workers) and not set(before) & set(host.pids()))
            load.stop()
            assert load.refused == load.cut == load.other == 0, str(load)
            np.until("ready", lambda: host.status()["ready"])
            print(f"    {workers} drained: {load}")


def a_worker_that_hangs_is_killed():
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        victim = of_kind(host, "worker")[0]
        os.kill(victim, signal.SIGSTOP)
        np.until("the replacement", whole_without(host, victim), 40)
        assert host.get("/x").status == 200
        assert "event=hangs" in open(host.log).read()


def a_panic_is_archived():
    if SANITIZED:
        print("    skipped: a sanitizer keeps fatal signals to itself")
        return
    with np.Host(workers=2, config=CONFIG) as host:
        served(host)
        victim = of_kind(host, "worker")[0]
        os.kill(victim, signal.SIGSEGV)
        np.until("the replacement", whole_without(host, victim))
        np.until("the page", lambda: str(victim) in host.ctl("panic", "show").stdout)
        os.kill(of_kind(host, "master")[0], signal.SIGKILL)     # the archive outlives the master
        np.until("the page", lambda: complete(host) and str(victim) in host.ctl("panic", "show").stdout)


def hup_opens_the_access_log_again():
    with np.Host(workers=1, config=CONFIG) as host:
        served_one(host)
        np.until("a line", lambda: os.path.getsize(host.access_log) > 0)
        os.rename(host.access_log, host.access_log + ".1")
        host.process.send_signal(signal.SIGHUP)
        np.until("the new file", lambda: os.path.exists(host.access_log))
        host.get("/x")
        np.until("a line in it", lambda: os.path.getsize(host.access_log) > 0)


def options_and_bad_files_are_answered():
    r = subprocess.run([PROGRAM, "-V"], capture_output=True, text=True)
    assert r.returncode == 0 and r.stdout.startswith("nodeproxy "), r
    assert subprocess.run([PROGRAM, "-x"], capture_output=True).returncode == 2
    assert subprocess.run([PROGRAM, "word"], capture_output=True).returncode == 2
    with np.Host(workers=1) as host:
        host.write_config()
        good = os.path.join(host.dir, "nodeproxy.yaml")
        r = subprocess.run([PROGRAM, "-t", "-c", good], capture_output=True, text=True)
        assert r.returncode == 0 and ": ok" in r.stdout, r
        bad = os.path.join(host.dir, "bad.yaml")
        for text, words in (("nonsense: 1\n", "bad.yaml:1"), ("workers: cpus=900\n", "affinity mask"),
                            ("workers: 0\n", "workers"), ("source: {kind: xds}\n", "source.kind")):
            open(bad, "w").write(text)
            for flags in (["-t"], []):
                r = subprocess.run([PROGRAM, *flags, "-c", bad], capture_output=True, text=True, timeout=np.DEADLINE)
                assert r.returncode == 1 and words in r.stderr, (text, flags, r)
        r = subprocess.run([PROGRAM, "-c", os.path.join(host.dir, "none.yaml")], capture_output=True, text=True)
        assert r.returncode == 1 and "none.yaml" in r.stderr, r
    for program in ("nodeproxy-worker", "nodeproxy-syncd", "nodeproxy-admind"):
        r = subprocess.run([os.path.join(np.BUILD, program)], capture_output=True, text=True)
        assert r.returncode == 2 and "is started by it" in r.stderr, r


TESTS = [options_and_bad_files_are_answered, processes_are_what_roles_def_says, term_drains_and_leaves_nothing,
         two_instances_do_not_share_state_socket_or_port, a_worker_that_dies_is_replaced_and_nobody_is_refused,
         a_dead_master_is_followed_by_one_that_keeps_the_children, how_an_adopted_child_died_is_known,
         master_and_worker_die_in_the_same_moment,
         nothing_outlives_the_keeper, drain_replaces_workers_without_losing_a_request, a_worker_that_hangs_is_killed,
         a_panic_is_archived, hup_opens_the_access_log_again,
         random_deaths_in_the_foreground, random_deaths_below_pid_1]

if __name__ == "__main__":
    random.seed(SEED)
    wanted = sys.argv[1:]
    for test in TESTS:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
