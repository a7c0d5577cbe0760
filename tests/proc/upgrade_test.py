#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""New binaries take over, or the old ones go on; callers notice neither.

The programs are in a tree of their own, so that a test can put others in their place.  What is tried
does not look at versions: it is enough that it was started from what lies there now.

NP_FULL=1: 100 upgrades in a row, and a minute of random deaths."""
import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import np  # noqa: E402
from drain_test import Echo, dial, hear_head, GET  # noqa: E402
from lifecycle_test import COMM, Load, alive, complete, keeper, of_kind  # noqa: E402

np.only_in_tiers("process")
np.need_root()
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
MANY, SECONDS = (100, 60) if FULL else (5, 2)
SEED = int(os.environ.get("NP_SEED", "1"))
# the time to become ready: long, because a sanitized build on a busy machine is slow
CONFIG = "timeouts: {drain: 3000, upgrade: 60000}"


@contextlib.contextmanager
def host_of(workers=2, config=CONFIG, listeners=None, wrapper=(), link=False, notify=None):
    top = tempfile.mkdtemp(prefix="np-tree.")
    tree = os.path.join(top, "current" if link else "one")
    try:
        np.programs(os.path.join(top, "one"))
        if link:
            os.symlink("one", tree)
        with np.Host(workers=workers, config=config, tree=tree, wrapper=wrapper) as host:
            if listeners:
                host.listeners = listeners(host)
            if notify:
                host.env = dict(NOTIFY_SOCKET=notify(host))
            host.service("shop/web", 80, [host.backend("one").port])
            host.start()
            np.until("an answer", lambda: host.get("/x").status == 200)
            yield host
    finally:
        shutil.rmtree(top, ignore_errors=True)


def upgrade(host, *words):
    r = host.ctl("upgrade", *words)
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    return r.stdout


@contextlib.contextmanager
def nothing_to_serve(host):
    """New workers have no view: the source is away and no copy of the store can be made."""
    blocked = os.path.join(host.dir, "state/next")
    os.rename(host.resources, host.resources + ".away")
    open(blocked, "w").close()
    try:
        yield
    finally:
        os.remove(blocked)
        os.rename(host.resources + ".away", host.resources)


class Asked:
    """An upgrade under way: what a test does meanwhile, then how it ended."""

    def __init__(self, host):
        self.host, self.before = host, set(host.pids())
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        self.result = self.host.ctl("upgrade")

    def new(self, kind):
        """A process of the new build, once it is there."""
        return np.until(f"a new {kind}", lambda: [p for p, comm in self.host.pids().items()
                                                  if comm == COMM[kind] and p not in self.before])[0]

    def refusal(self):
        self.thread.join()
        assert self.result.returncode == 1, self.result
        return self.result.stderr


def goes_on_as_before(host, before, words, expected):
    """The same processes serve, nobody new is left, and the operator was told why."""
    assert "the running version goes on" in words and expected in words, (expected, words)
    np.until("the new ones to be gone", lambda: set(host.pids()) == set(before))
    np.until("ready", lambda: host.status()["ready"])
    assert host.get("/x").status == 200
    np.until("no copy of the store", lambda: not os.path.exists(os.path.join(host.dir, "state/next")))
    host.service("shop/more", 80, [host.backends[0].port])
    np.until("changes are served", lambda: "more" in host.ctl("get", "services").stdout)


def settled(host, workers=2):
    """One master with its children and nobody of an earlier one."""
    return lambda: complete(host, workers) and host.status()["ready"]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def put(tree, name, data, mode=0o755):
    path = os.path.join(tree, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + "~", "wb") as f:
        f.write(data)
    os.chmod(path + "~", mode)
    os.rename(path + "~", path)


def of_version(tree, version, names=np.PROGRAMS):
    """Programs that say to be of another version, hence of another build: five letters for five."""
    for name in names:
        data = open(os.path.join(np.BUILD, name), "rb").read()
        # A linker may make one string of "0.1.0" and of what ends in it.
        assert b"0.1.0\0" in data, name
        put(tree, name, data.replace(b"0.1.0\0", version + b"\0"))


def a_new_build_takes_over_and_no_request_is_lost():
    with host_of() as host:
        before, was = host.pids(), host.status()
        load = Load(host)
        of_version(host.tree, b"9.8.7")         # the running ones are "(deleted)" now
        words = upgrade(host)
        assert "now version 9.8.7" in words and "2 old workers" in words, words
        np.until("the old ones to leave", settled(host))
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        after = host.pids()
        assert set(before) & set(after) == {keeper(host)}, (before, after)
        exe = os.readlink(f"/proc/{of_kind(host, 'master')[0]}/exe")
        assert exe == os.path.join(host.tree, "nodeproxy/nodeproxy"), exe
        now = host.status()
        assert now["version"] == "9.8.7" and now["started_unix_ms"] == was["started_unix_ms"], now
        assert now["rev"] >= was["rev"], (now["rev"], was["rev"])
        master = of_kind(host, "master")[0]     # from now on it is a master like any other
        os.kill(master, signal.SIGKILL)
        np.until("its successor", lambda: complete(host) and master not in host.pids())
        assert host.status()["version"] == "9.8.7" and set(host.pids()) - set(after) == set(of_kind(host, "master"))
        print(f"    {load}")


def upgrades_in_a_row_leave_nothing_behind():
    with host_of(config="timeouts: {drain: 1000, upgrade: 60000}") as host:
        upgrade(host)
        np.until("the old ones to leave", settled(host))
        fds, rev = descriptors(keeper(host)), host.status()["rev"]
        load, slow = Load(host), 0
        for _ in range(MANY):
            began = time.monotonic()
            while (r := host.ctl("upgrade")).returncode == 1 and "still drain" in r.stderr:
                slow += 1
                time.sleep(0.05)
            assert r.returncode == 0, (r.stdout, r.stderr)
            np.until("a request", lambda: host.get("/x").status == 200)
            now = host.status()
            assert now["rev"] >= rev, (now["rev"], rev)
            rev = now["rev"]
        np.until("the old ones to leave", settled(host))
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        assert descriptors(keeper(host)) == fds, (fds, sorted(os.listdir(f"/proc/{keeper(host)}/fd")))
        assert len(of_kind(host, "master")) == 1
        print(f"    {MANY} upgrades, {slow} refused for a while, the last took {time.monotonic() - began:.2f} s: {load}")


def streams_go_on_until_the_deadline_and_old_workers_show():
    echo, raw = Echo(), np.free_port()
    try:
        with host_of(listeners=lambda host: [
                dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service",
                     service="shop/web:80"),
                dict(name="raw", bind=f"127.0.0.1:{raw}", namespace="shop", route="service",
                     service="shop/raw:90")]) as host:
            host.service("shop/raw", 90, [echo.port], app="tcp")
            np.until("the service", lambda: "raw" in host.ctl("get", "services").stdout)
            stream, idle, half = dial(raw), dial(host.port), dial(host.port)
            stream.sendall(b"one")
            assert stream.recv(10) == b"one"
            idle.sendall(GET)
            assert hear_head(idle).startswith(b"HTTP/1.1 200 ")
            half.sendall(GET[:10])
            np.until("all three are there", lambda: host.status()["connections"] == 3)
            upgrade(host, "--deadline", "1")
            began = time.monotonic()
            np.until("the old ones show", lambda: host.status()["upgrade"]["old_masters"] == 1)
            stream.sendall(b"two")
            assert stream.recv(10) == b"two"
            half.sendall(GET[10:])
            assert b"Connection: close\r\n" in hear_head(half)
            while idle.recv(4096):          # its body, then a clean end
                pass
            with contextlib.suppress(ConnectionResetError):
                assert stream.recv(10) == b""
            assert time.monotonic() - began > 0.8, "cut before the deadline"
            np.until("the old ones to leave", settled(host))
            np.until("nobody old shows", lambda: host.status()["upgrade"]["old_masters"] == 0)
            host.logged("LISTENER_GONE|DRAIN")      # the old workers' last words
    finally:
        echo.stop()


def a_program_that_is_no_good_changes_nothing():
    with host_of(config="timeouts: {drain: 1000, upgrade: 60000}") as host:
        before = host.pids()
        load, main = Load(host, threads=1), os.path.join(host.tree, "nodeproxy/nodeproxy")

        def tried(expected):
            goes_on_as_before(host, before, Asked(host).refusal(), expected)

        put(host.tree, "nodeproxy/nodeproxy", open("/bin/false", "rb").read())
        tried("the new master died: exit 1")
        fds = descriptors(keeper(host))
        put(host.tree, "nodeproxy/nodeproxy", b"not a program")
        tried("the new master died: exit 127")
        np.programs(host.tree)
        of_version(host.tree, b"9.8.7", ["nodeproxy-worker"])
        tried("is not of the new build")
        put(host.tree, "nodeproxy-worker", open("/bin/false", "rb").read())
        tried(" died: exit 1")
        np.programs(host.tree)
        os.chmod(os.path.join(host.tree, "nodeproxy-syncd"), 0o757)
        tried("only root may write")
        np.programs(host.tree)
        for spoil in (lambda: os.chmod(main, 0o777), lambda: os.chown(main, 64999, 0), lambda: os.remove(main)):
            np.programs(host.tree)
            spoil()
            words = Asked(host).refusal()       # not even tried
            assert "only root may write" in words or "No such file" in words, words
        np.programs(host.tree)
        path = os.path.join(host.dir, "nodeproxy.yaml")
        good = open(path).read()
        open(path, "w").write(good + "nonsense: 1\n")
        tried("nonsense")
        open(path, "w").write(good)
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        assert set(host.pids()) == set(before)
        assert descriptors(keeper(host)) == fds, (fds, descriptors(keeper(host)))
        upgrade(host)                           # and when it is good again
        np.until("the old ones to leave", settled(host))


def one_that_does_not_become_ready_is_ended():
    with host_of(config="timeouts: {drain: 1000, upgrade: 800}") as host:
        before = host.pids()
        with nothing_to_serve(host):
            asked = Asked(host)
            asked.new("admind")
            assert host.status()["upgrade"]["running"]
            assert "is under way" in host.ctl("upgrade").stderr
            words = asked.refusal()
        goes_on_as_before(host, before, words, "not ready within 800 ms: worker/0 has no view, worker/1 has")
        # one that does nothing at all
        path = os.path.join(host.dir, "nodeproxy.yaml")
        good = open(path).read()
        open(path, "w").write("exec sleep 1000\n")
        put(host.tree, "nodeproxy/nodeproxy", open("/bin/bash", "rb").read())
        words = Asked(host).refusal()
        open(path, "w").write(good)
        goes_on_as_before(host, before, words, "not ready within 800 ms\n")


def deaths_on_the_way_lose_nobody():
    with host_of(config="timeouts: {drain: 1000, upgrade: 60000}") as host:
        before, load = host.pids(), Load(host, threads=2)
        # the new master, on trial
        with nothing_to_serve(host):
            asked = Asked(host)
            asked.new("admind")
            os.kill(asked.new("master"), signal.SIGKILL)
            words = asked.refusal()
        goes_on_as_before(host, before, words, "the new master died: signal 9")
        # the serving one: its successor is of the old build, and the trial is over
        with nothing_to_serve(host):
            asked = Asked(host)
            asked.new("admind")
            tried, victim = asked.new("master"), [p for p in of_kind(host, "master") if p in before][0]
            os.kill(victim, signal.SIGKILL)
            np.until("the one on trial to be gone", lambda: not alive(tried))
            np.until("its successor", settled(host))
        assert len(set(host.pids()) & set(before)) == len(before) - 1
        assert "the master died before it answered" in asked.refusal()
        # the old one while its workers drain: they see the end of their channels
        old = of_kind(host, "master")[0]
        slow = dial(host.port)
        slow.sendall(GET[:10])
        np.until("it is there", lambda: host.status()["connections"] > 0)
        upgrade(host)
        os.kill(old, signal.SIGKILL)
        np.until("the old ones to leave", settled(host))
        slow.close()
        # the new one right after it took over
        children = set(host.pids()) - set(of_kind(host, "master"))
        master = of_kind(host, "master")[0]
        os.kill(master, signal.SIGKILL)
        np.until("its successor", lambda: complete(host) and not alive(master))
        np.until("ready", lambda: host.status()["ready"])
        assert children <= set(host.pids())
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        pids = host.pids()
        assert host.stop() == 0
        assert not [p for p in pids if alive(p)], "left behind"


def the_store_and_the_rest_go_over():
    """With the source away: what is served after the upgrade can only come from the store."""
    with host_of() as host:
        rev = host.status()["rev"]
        np.until("durable", lambda: host.status()["durable"])
        os.rename(host.resources, host.resources + ".away")
        upgrade(host)
        np.until("the old ones to leave", settled(host))
        np.until("durable", lambda: host.status()["durable"])
        assert host.get("/x").status == 200 and host.status()["rev"] >= rev
        np.until("the copy to be gone", lambda: not os.path.exists(os.path.join(host.dir, "state/next")))
        assert not [n for n in os.listdir(os.path.join(host.dir, "state")) if "bad" in n]
        assert host.stop() == 0
        db = sqlite3.connect(os.path.join(host.dir, "state/store.db"))
        assert db.execute("SELECT value FROM meta WHERE key = 'rev'").fetchone()[0] >= rev
        assert db.execute("SELECT count(*) FROM resource").fetchone()[0] >= 2
        db.close()
        host.start()
        np.until("an answer", lambda: host.get("/x").status == 200)


def what_the_file_says_now_is_what_the_new_ones_do():
    with host_of() as host:
        more, old_socket = np.free_port(), host.socket
        host.workers, host.socket, host.metrics = 3, os.path.join(host.dir, "other.sock"), np.free_port()
        host.listeners = [dict(name=name, bind=f"127.0.0.1:{port}", namespace="shop", route="service",
                               service="shop/web:80") for name, port in (("front", host.port), ("more", more))]
        host.write_config()
        now, host.socket = host.socket, old_socket
        load = Load(host)
        upgrade(host)
        host.socket = now
        np.until("the old ones to leave", settled(host, 3))
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        assert not os.path.exists(old_socket)
        assert host.metric("nodeproxy_up") >= 0
        host.port = more
        for _ in range(20):
            assert host.get("/x").status == 200


def below_pid_1_it_is_the_same():
    wrapper = ["unshare", "-pf", "--mount-proc", "--kill-child"]
    if subprocess.run(wrapper + ["true"], capture_output=True).returncode != 0:
        print("    skipped: no pid namespaces here")
        return
    with host_of(wrapper=wrapper) as host:
        was, load = keeper(host), Load(host)
        of_version(host.tree, b"9.8.7")
        upgrade(host)
        np.until("the old ones to leave", lambda: len(of_kind(host, "master")) == 1 and host.status()["ready"])
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        assert keeper(host) == was and host.status()["version"] == "9.8.7"
        os.kill(keeper(host), signal.SIGTERM)
        assert host.process.wait(np.DEADLINE) == 0


def the_next_programs_are_where_a_link_leads_by_then():
    with host_of(link=True) as host:
        two = os.path.join(os.path.dirname(host.tree), "two")
        of_version(two, b"9.8.7")
        os.symlink("two", host.tree + "~")
        os.rename(host.tree + "~", host.tree)
        assert "now version 9.8.7" in upgrade(host)
        np.until("the old ones to leave", settled(host))


def the_service_manager_hears_of_it():
    heard = []

    def notify(host):
        path = os.path.join(host.dir, "notify")
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(path)

        def listen():
            with contextlib.suppress(OSError):
                while True:
                    heard.append(s.recv(4096).decode())
        threading.Thread(target=listen, daemon=True).start()
        return path

    with host_of(notify=notify) as host:
        np.until("READY", lambda: any("READY=1" in h for h in heard))
        for good in (True, False):
            heard.clear()
            if good:
                upgrade(host)
            else:
                put(host.tree, "nodeproxy/nodeproxy", open("/bin/false", "rb").read())
                Asked(host).refusal()
            np.until("READY", lambda: any("READY=1" in h for h in heard))
            words = [h for h in heard if "RELOADING=1" in h or "READY=1" in h]
            assert "RELOADING=1" in words[0] and "MONOTONIC_USEC=" in words[0] and len(words) == 2, heard
            if good:
                assert f"MAINPID={keeper(host)}" in words[1], heard
            assert not any("STOPPING=1" in h for h in heard), heard
        np.until("the old ones to leave", settled(host))


def deaths_at_random_among_upgrades_cut_only_their_own():
    rng, results, kills, on = random.Random(SEED), {}, {}, threading.Event()
    with host_of(config="timeouts: {drain: 500, upgrade: 5000}\nrespawn: {min: 1, max: 50}") as host:
        load = Load(host)

        def upgrades():
            while not on.wait(0.02):
                r = host.ctl("upgrade")
                word = "ok" if r.returncode == 0 else r.stderr.split("\n")[0].split(":")[-1].strip()[:60]
                results[word] = results.get(word, 0) + 1

        thread = threading.Thread(target=upgrades, daemon=True)
        thread.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            kind = rng.choice(["master", "master", "worker", "syncd", "admind"])
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(rng.choice(of_kind(host, kind)), signal.SIGKILL)
                kills[kind] = kills.get(kind, 0) + 1
            time.sleep(rng.uniform(0.01, 0.3))
        on.set()
        thread.join()
        np.until("one master and its children", settled(host))
        load.stop()
        assert load.refused == load.other == 0, str(load)
        assert load.cut <= 8 * kills.get("worker", 0) + 8, (str(load), kills)
        assert host.get("/x").status == 200
        np.until("durable", lambda: host.status()["durable"])
        print(f"    killed {kills}: {load}\n    upgrades: {results}")
        pids = host.pids()
        assert host.stop() == 0
        assert not [p for p in pids if alive(p)], "left behind"


TESTS = [deaths_at_random_among_upgrades_cut_only_their_own, below_pid_1_it_is_the_same, the_next_programs_are_where_a_link_leads_by_then, the_service_manager_hears_of_it,
         a_new_build_takes_over_and_no_request_is_lost, upgrades_in_a_row_leave_nothing_behind,
         streams_go_on_until_the_deadline_and_old_workers_show, a_program_that_is_no_good_changes_nothing,
         one_that_does_not_become_ready_is_ended, deaths_on_the_way_lose_nobody, the_store_and_the_rest_go_over,
         what_the_file_says_now_is_what_the_new_ones_do]

if __name__ == "__main__":
    wanted = sys.argv[1:]
    for test in TESTS:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
