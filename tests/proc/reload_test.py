#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""nodeproxy.yaml is read again while it runs: all of it comes into use, or nothing; callers do not
notice.  NP_FULL=1 also waits for a process that does not answer, and reloads 100 times."""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import np  # noqa: E402
from lifecycle_test import Load, complete, of_kind, whole_without  # noqa: E402

np.only_in_tiers("process")
np.need_root()
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
FAST = "respawn: {min: 20, max: 500}"
CONFIG = "timeouts: {drain: 2000}\n" + FAST


@contextlib.contextmanager
def host_of(workers=2, config=CONFIG, **more):
    with np.Host(workers=workers, config=config, **more) as host:
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        np.until("an answer", lambda: host.get("/x").status == 200)
        yield host


def reload(host, **changes):
    """Changes the file and reloads; the answer in JSON."""
    for k, v in changes.items():
        setattr(host, k, v)
    host.write_config()
    r = host.ctl("reload", "-o", "json")
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    return json.loads(r.stdout)


def refused(host, **changes):
    """The same where nothing may change; the operator's words.  The file is put right again."""
    was = {k: getattr(host, k) for k in changes}
    before, pids, generation = settings(host), set(host.pids()), host.status()["config"]["generation"]
    for k, v in changes.items():
        setattr(host, k, v)
    host.write_config()
    r = host.ctl("reload")
    for k, v in was.items():
        setattr(host, k, v)
    host.write_config()
    assert r.returncode == 1, (r.returncode, r.stdout, r.stderr)
    status = host.status()
    assert settings(host) == before and set(host.pids()) == pids and status["config"]["generation"] == generation
    assert status["config"]["last_reload"]["ok"] is False, status["config"]
    assert host.get("/x").status == 200
    return r.stderr


def settings(host):
    o = host.ctl_json("get", "config")
    return {s["key"]: s["value"] for s in o["settings"]}, o["listeners"]


def listener(name, port, service="shop/web:80", ns="shop", **more):
    return dict(dict(name=name, bind=f"127.0.0.1:{port}", namespace=ns, route="service", service=service), **more)


def ask(port, connection=None, timeout=20):
    c = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    c.request("GET", "/x")
    r = c.getresponse()
    r.read()
    if connection is None:
        c.close()
    return r


class Echo:
    """A back-end that switches protocols and then says everything again."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += c.recv(4096)
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            while b := c.recv(4096):
                c.sendall(b)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Socket:
    """An upgraded connection through nodeproxy to an Echo."""

    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.s.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            got = self.s.recv(4096)
            assert got, head
            head += got
        if b" 101 " not in head:
            raise ValueError(f"not switched: {head}")

    def lives(self):
        self.s.sendall(b"ping")
        got = b""
        while len(got) < 4:
            more = self.s.recv(4096)
            if not more:
                return False
            got += more
        return got == b"ping"


class KeptAlive:
    """Callers with many requests on a connection; whoever is told so connects again."""

    def __init__(self, host, threads=4):
        self.port, self.on, self.ok, self.bad, self.lock = host.port, True, 0, [], threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self):
        c = None
        while self.on:
            try:
                c = c or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                r = ask(self.port, c)
                with self.lock:
                    self.ok += r.status == 200
                    if r.status != 200:
                        self.bad.append(r.status)
                if r.will_close:
                    c.close()
                    c = None
            except (OSError, http.client.HTTPException) as e:
                with self.lock:
                    self.bad.append(repr(e))
                c = None
            time.sleep(0.001)
        if c:
            c.close()

    def stop(self):
        self.on = False
        for t in self.threads:
            t.join()
        assert self.ok and not self.bad, (self.ok, self.bad[:5])
        return self.ok


# ---- what is refused

def a_wrong_file_changes_nothing():
    with host_of() as host:
        assert reload(host) == {"done": True, "message": f"nothing has changed in {host.dir}/nodeproxy.yaml", "changes": []}
        words = refused(host, config="timeouts: {idle: x}")
        assert re.search(r"nodeproxy.yaml:\d+: timeouts.idle: must be a whole number", words), words
        assert "nothing was changed" in words, words
        words = refused(host, workers="cpus=900")
        assert re.search(r"nodeproxy.yaml:2: workers: none of these CPUs", words), words
        for key, text in (("node", None), ("state_dir", "state_dir: /tmp/elsewhere"), ("cluster", "cluster: x"),
                          ("trust_domain", "trust_domain: x")):
            if key == "node":
                path = os.path.join(host.dir, "nodeproxy.yaml")
                words = edit(host, path, "node: test", "node: other")
            elif key == "state_dir":
                path = os.path.join(host.dir, "nodeproxy.yaml")
                words = edit(host, path, f"state_dir: {host.dir}/state", text)
            else:
                words = refused(host, config=CONFIG + "\n" + text)
            assert re.search(r"nodeproxy.yaml:\d+: %s: changing it from .* needs a restart" % key, words), words
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            ls = [listener("front", host.port), listener("second", port)]
            words = refused(host, listeners=ls)
            assert re.search(r"nodeproxy.yaml:\d+: listeners\[1\].bind: cannot listen on 127.0.0.1:%d: Address" % port,
                             words), words
        words = refused(host, access_log="/nonexistent/x.log")
        assert re.search(r"nodeproxy.yaml:\d+: access_log.path: cannot open /nonexistent/x.log: No such", words), words
        assert host.metric("nodeproxy_config_last_reload_successful") == 0
        reload(host)
        assert host.metric("nodeproxy_config_last_reload_successful") == 1


def edit(host, path, old, new):
    text = open(path).read()
    assert old in text
    open(path, "w").write(text.replace(old, new))
    r = host.ctl("reload")
    open(path, "w").write(text)
    assert r.returncode == 1, r
    return r.stderr


# ---- what is used

def times_limits_and_log_change_under_a_websocket():
    with host_of() as host:
        echo = Echo()
        host.backends.append(echo)
        host.service("shop/ws", 80, [echo.port])
        ws_port = np.free_port()
        reload(host, listeners=[listener("front", host.port), listener("ws", ws_port, "shop/ws:80")])
        ws, workers = np.until("a socket", lambda: Socket(ws_port)), of_kind(host, "worker")
        answer = reload(host, config="timeouts: {drain: 2000, idle: 300}\nlimits: {uri_bytes: 64}\n"
                                     "log: {level: debug}\nscheduler: {turn_us: 100}\n" + FAST,
                        access_log=host.dir + "/other.log", access_format="json")
        told = {c["key"]: (c["was"], c["now"], c["takes_effect"]) for c in answer["changes"]}
        assert told["timeouts.idle"] == ("60000", "300", "live") and told["access_log.format"][1] == "json", told
        assert len(told) == 6, told
        c = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
        assert ask(host.port, c).status == 200
        began = time.monotonic()
        assert c.sock.recv(1) == b"" and time.monotonic() - began < 10      # not after a minute
        assert host.get("/" + "x" * 100).status == 414
        np.until("JSON lines in the other file", lambda: '"path":"/x"' in open(host.dir + "/other.log").read())
        np.until("the level", lambda: host.status()["log_level"] == "debug")
        assert ws.lives() and of_kind(host, "worker") == workers
        # and by those that die from now on
        os.kill(workers[0], signal.SIGKILL)
        np.until("the replacement", whole_without(host, workers[0]))
        assert settings(host)[0]["timeouts.idle"] == "300"


def listeners_come_and_go_under_load():
    # no deadline comes near, however slow the machine is
    with host_of(config="timeouts: {drain: 60000}\n" + FAST) as host:
        load, kept = Load(host), KeptAlive(host)
        two = host.backend("two")
        host.service("shop/two", 80, [two.port])
        port, other = np.free_port(), np.free_port()
        front, second = listener("front", host.port), listener("second", port, "shop/two:80")
        reload(host, listeners=[second, front])         # a new one before the old one: indices shift
        np.until("the new listener", lambda: ask(port).getheader("X-Backend") == "two")
        # the same socket for another Service, under another name, at another place
        reload(host, listeners=[front, listener("zweiter", port)])
        np.until("the other Service", lambda: ask(port).getheader("X-Backend") == "one")
        # the caller who is on a listener that goes is told so with its next answer
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        ask(port, c)
        flood = Flood(port)
        reload(host, listeners=[front, listener("zweiter", other)])
        r = ask(port, c)
        assert r.status == 200 and r.will_close, (r.status, r.getheaders())
        # a kernel that lets nobody attach a filter leaves a gap of a microsecond
        assert flood.stop() == [] or ("still_dialled" in open(host.log).read() and len(flood.bad) <= 2), flood.bad
        assert ask(other).getheader("X-Backend") == "one"
        # other callers: what they are is fixed when they are accepted, so they finish
        c = http.client.HTTPConnection("127.0.0.1", other, timeout=20)
        ask(other, c)
        reload(host, listeners=[front, listener("zweiter", other, ns="else")])
        assert ask(other, c).will_close
        np.until("the other tenant", lambda: ask(other) and "namespace=else" in open(host.access_log).read())
        reload(host, listeners=[front])
        np.until("nobody there", lambda: is_refused(other))
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        print(f"    {load}; kept alive: {kept.stop()}; until it was gone: {flood.ok}")


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        return False
    except ConnectionRefusedError:
        return True


class Flood:
    """Callers at a listener that goes: served or refused, but never cut."""

    def __init__(self, port, threads=4):
        self.port, self.ok, self.bad, self.lock = port, 0, [], threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()
        np.until("callers", lambda: self.ok > 20)

    def _run(self):
        while True:
            try:
                r = ask(self.port)
                with self.lock:
                    self.ok += 1
                    if r.status != 200:
                        self.bad.append(r.status)
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as e:
                with self.lock:
                    self.bad.append(repr(e))
                return

    def stop(self):
        for t in self.threads:
            t.join(np.DEADLINE)
            assert not t.is_alive(), "the listener is still there"
        return self.bad


def what_is_cut_at_the_deadline_has_its_reason():
    with host_of(config="timeouts: {drain: 300}\n" + FAST) as host:
        echo = Echo()
        host.backends.append(echo)
        host.service("shop/ws", 80, [echo.port])
        port = np.free_port()
        reload(host, listeners=[listener("front", host.port), listener("ws", port, "shop/ws:80")])
        ws = np.until("a socket", lambda: Socket(port))
        reload(host, listeners=[listener("front", host.port)])
        with contextlib.suppress(ConnectionResetError):
            assert ws.s.recv(1) == b""
        np.until("the reason", lambda: "reason=LISTENER_GONE" in open(host.access_log).read())


def workers_change_under_load():
    with host_of() as host:
        load, kept = Load(host), KeptAlive(host)
        stay = of_kind(host, "worker")[0]
        for n in (4, 1, 2):
            reload(host, workers=n)
            np.until(f"{n} workers", lambda: host.status()["ready"] and complete(host, n))
            assert len([w for w in host.status()["workers"] if w["state"] == "ready"]) == n
            assert stay in of_kind(host, "worker")
        cpus = sorted(os.sched_getaffinity(0))
        reload(host, workers=f"cpus={cpus[-1]}")
        np.until("one worker", lambda: complete(host, 1))
        pid = of_kind(host, "worker")[0]
        assert os.sched_getaffinity(pid) == {cpus[-1]}, (os.sched_getaffinity(pid), cpus)
        assert host.status()["workers"][0]["cpu"] == cpus[-1]
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        print(f"    {load}; kept alive: {kept.stop()}")


def what_sizes_memory_replaces_the_workers():
    with host_of() as host:
        before, load, kept = of_kind(host, "worker"), Load(host), KeptAlive(host)
        answer = reload(host, config=CONFIG + "\nlog_ring_bytes: 65536\nlimits: {connections: 1000}")
        assert {c["takes_effect"] for c in answer["changes"]} == {"workers"}, answer
        assert "replaced one by one" in answer["message"], answer
        np.until("others", lambda: complete(host) and not set(before) & set(host.pids()))
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        kept.stop()
        at = os.path.getsize(host.access_log)
        host.get("/late")
        np.until("a line by way of the new ring", lambda: "/late" in open(host.access_log).read()[at:])


def doors_and_source_move():
    with host_of() as host:
        old_socket, old_metrics = host.socket, host.metrics
        new = os.path.join(host.dir, "moved.sock")
        elsewhere = os.path.join(host.dir, "elsewhere.d")
        os.rename(host.resources, elsewhere)
        host.resources, metrics = elsewhere, np.free_port()
        two = host.backend("two")
        host.service("shop/web", 80, [two.port])
        host.metrics = metrics
        host.socket = new
        host.write_config()
        host.socket = old_socket
        r = host.ctl("reload")      # the answer comes by the old one
        assert r.returncode == 0, r
        host.socket = new
        assert not os.path.exists(old_socket) and host.status()["config"]["generation"] == 2
        assert is_refused(old_metrics) and host.metric("nodeproxy_config_generation") == 2
        np.until("the other directory", lambda: host.get("/x").body == b"two /x\n")
        np.until("its name", lambda: host.status()["sources"][0]["path"] == elsewhere)
        os.kill(of_kind(host, "master")[0], signal.SIGKILL)
        np.until("a new master", lambda: complete(host))
        np.until("an order", lambda: host.ctl("log-reopen").returncode == 0)


# ---- who dies meanwhile

def trying(host, **changes):
    """A reload that waits for a process which does not answer: the thread, and the list of its end."""
    for k, v in changes.items():
        setattr(host, k, v)
    host.write_config()
    end = []
    t = threading.Thread(target=lambda: end.append(host.ctl("reload")), daemon=True)
    t.start()
    np.until("the order", lambda: "event=order order=6" in open(host.log).read())
    return t, end


def a_master_that_dies_between_the_phases_leaves_the_old_settings():
    with host_of() as host:
        worker, master = of_kind(host, "worker")[0], of_kind(host, "master")[0]
        os.kill(worker, signal.SIGSTOP)
        port = np.free_port()
        t, end = trying(host, config="timeouts: {drain: 2000, idle: 300}\n" + FAST,
                        listeners=[listener("front", host.port), listener("new", port)])
        os.kill(master, signal.SIGKILL)
        np.until("a new master", whole_without(host, master))
        os.kill(worker, signal.SIGCONT)
        np.until("ready", lambda: host.status()["ready"])
        assert settings(host)[0]["timeouts.idle"] == "60000" and is_refused(port)
        assert worker in of_kind(host, "worker")
        r = np.until("a reload", lambda: host.ctl("reload"))
        assert r.returncode == 0, r
        assert settings(host)[0]["timeouts.idle"] == "300" and ask(port).status == 200
        # and one that dies after them leaves the new ones
        master = of_kind(host, "master")[0]
        reload(host, config="timeouts: {drain: 2000, idle: 400}\n" + FAST, workers=3)
        os.kill(master, signal.SIGKILL)
        np.until("a new master", lambda: master not in host.pids() and complete(host, 3))
        np.until("ready", lambda: host.status()["ready"])
        assert settings(host)[0]["timeouts.idle"] == "400" and ask(port).status == 200
        c = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
        ask(host.port, c)
        assert c.sock.recv(1) == b""


def who_dies_meanwhile_is_born_with_the_winner():
    with host_of() as host:
        syncd = of_kind(host, "syncd")[0]
        os.kill(syncd, signal.SIGSTOP)
        t, end = trying(host, config="timeouts: {drain: 2000, idle: 300}\n" + FAST)
        assert host.ctl("reload").returncode == 1       # one at a time
        os.kill(syncd, signal.SIGKILL)
        t.join(np.DEADLINE)
        assert end and end[0].returncode == 0, end
        np.until("another syncd", whole_without(host, syncd))
        assert settings(host)[0]["timeouts.idle"] == "300"


def who_refuses_is_named_and_nothing_changes():
    with host_of() as host:
        r = host.ctl("debug", "refuse-settings", "1", "--worker", "1")
        if r.returncode != 0:
            print("    skipped: built without debug commands")
            return
        port, pid = np.free_port(), host.status()["workers"][1]["pid"]
        words = refused(host, config="timeouts: {idle: 300}", workers=3,
                        listeners=[listener("front", host.port), listener("new", port)])
        assert f"worker 1 (pid {pid}): told to refuse" in words, words
        assert is_refused(port)
        reload(host, config="timeouts: {idle: 300}")


def who_does_not_answer_refuses():
    if not FULL:
        print("    skipped: takes 5 s, NP_FULL=1 does it")
        return
    with host_of() as host:
        syncd = of_kind(host, "syncd")[0]
        os.kill(syncd, signal.SIGSTOP)
        words = refused(host, config="timeouts: {idle: 300}")
        os.kill(syncd, signal.SIGCONT)
        assert f"sync 0 (pid {syncd}) did not say" in words or f"syncd 0 (pid {syncd}) did not say" in words, words
        reload(host, config="timeouts: {idle: 300}")


def nothing_leaks():
    times = 100 if FULL else 20
    with host_of() as host:
        ports = [np.free_port() for _ in range(3)]

        def descriptors():
            # less the pages that stay with a slot of the board once a worker was started in it
            return {c: sum(not re.search("nodeproxy-(panic|ring)", os.readlink(f"/proc/{p}/fd/{x}"))
                           for x in os.listdir(f"/proc/{p}/fd")) for p, c in host.pids().items()}

        def turn(i):
            reload(host, config=CONFIG + f"\nlimits: {{headers: {100 + i % 7}}}", workers=2 + i % 2, metrics=ports[i % 2],
                   listeners=[listener("front", host.port)] + ([listener("more", ports[2])] if i % 2 else []))
        for i in (1, 2):
            turn(i)
        np.until("two workers", lambda: complete(host, 2))
        np.until("closed sockets", lambda: is_refused(ports[2]))
        before = descriptors()
        for i in range(1, times + 1):
            turn(i)
        np.until("two workers", lambda: complete(host, 2))
        np.until("as many descriptors", lambda: all(abs(n - before[c]) <= 1 for c, n in descriptors().items()))
        assert host.status()["config"]["reloads_done"] == times + 2
        print(f"    {times} reloads, descriptors {before} -> {descriptors()}")


TESTS = [a_wrong_file_changes_nothing, times_limits_and_log_change_under_a_websocket, listeners_come_and_go_under_load,
         what_is_cut_at_the_deadline_has_its_reason, workers_change_under_load, what_sizes_memory_replaces_the_workers,
         doors_and_source_move, a_master_that_dies_between_the_phases_leaves_the_old_settings,
         who_dies_meanwhile_is_born_with_the_winner, who_refuses_is_named_and_nothing_changes,
         who_does_not_answer_refuses, nothing_leaks]

if __name__ == "__main__":
    wanted = sys.argv[1:]
    for test in TESTS:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
