#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What a stop and a replacement do to those who are there: callers still in the queue of a listener,
answers under way, idle keep-alive connections, upgraded and opaque streams."""
import contextlib
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


class Echo:
    """Says back what it hears, after switching protocols when asked to."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError):
            while data := c.recv(4096):
                if b"Upgrade: websocket" in data:
                    data = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                c.sendall(data)
        c.close()

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def dial(port):
    s = socket.create_connection(("127.0.0.1", port), timeout=15)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def hear_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        assert more, f"end after {data!r}"
        data += more
    return data


@contextlib.contextmanager
def world(drain_ms):
    raw, ws = np.free_port(), np.free_port()
    echo = Echo()
    with np.Host(workers=1, config=f"timeouts: {{drain: {drain_ms}}}") as host:
        host.raw, host.ws = raw, ws
        host.listeners = [
            dict(name="front", bind=f"127.0.0.1:{host.port}", namespace="shop", route="service", service="shop/web:80"),
            dict(name="raw", bind=f"127.0.0.1:{raw}", namespace="shop", route="service", service="shop/raw:90"),
            dict(name="ws", bind=f"127.0.0.1:{ws}", namespace="shop", route="service", service="shop/ws:91")]
        host.service("shop/web", 80, [host.backend("one").port])
        host.service("shop/raw", 90, [echo.port], app="tcp")
        host.service("shop/ws", 91, [echo.port])
        try:
            host.start()
            yield host
        finally:
            echo.stop()


def access(host, word):
    with contextlib.suppress(FileNotFoundError):
        return [line for line in open(host.access_log, errors="replace") if word in line]
    return []


def worker_of(host):
    return host.status()["workers"][0]["pid"]


def master_of(host):
    keeper = host.process.pid
    for pid in open(f"/proc/{keeper}/task/{keeper}/children").read().split():
        if open(f"/proc/{pid}/comm").read().strip() == "nodeproxy-mastr":
            return int(pid)
    raise AssertionError("there is no master")


def callers_in_the_queue_are_served_at_a_stop():
    with world(5000) as host:
        pid = worker_of(host)
        os.kill(pid, signal.SIGSTOP)
        try:
            callers = [dial(host.port) for _ in range(30)]
            for c in callers:
                c.sendall(GET)
            host.process.send_signal(signal.SIGTERM)
            np.until("the worker is told to drain", lambda: "event=draining" in open(host.log).read())
        finally:
            os.kill(pid, signal.SIGCONT)
        for c in callers:
            head = hear_head(c)
            assert head.startswith(b"HTTP/1.1 200 ") and b"Connection: close\r\n" in head, head
            c.close()
        assert host.process.wait(20) == 0


def a_stop_lets_the_idle_go_soon_and_streams_at_the_deadline():
    with world(3000) as host:
        idle, silent, stream, ws, busy = (dial(host.port), dial(host.port), dial(host.raw), dial(host.ws),
                                          dial(host.port))
        idle.sendall(GET)
        assert hear_head(idle).startswith(b"HTTP/1.1 200 ")
        stream.sendall(b"one")
        assert stream.recv(10) == b"one"
        ws.sendall(UPGRADE)
        assert hear_head(ws).startswith(b"HTTP/1.1 101 ")
        busy.sendall(GET[:10])  # a head under way is not idle
        np.until("all five are there", lambda: host.status()["connections"] == 5)
        host.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while idle.recv(4096):  # the body, then a clean end: a reset would raise
            pass
        assert silent.recv(10) == b""
        # long before the deadline: a stream still carries bytes, a request under way is finished
        stream.sendall(b"two")
        assert stream.recv(10) == b"two"
        busy.sendall(GET[10:])
        assert b"Connection: close\r\n" in hear_head(busy)
        for s in (stream, ws):
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(10) == b""
        assert time.monotonic() - began > 2.5, "the streams were cut before the deadline"
        assert host.process.wait(20) == 0
        cut = access(host, "reason=DRAIN_DEADLINE")
        assert len(cut) == 2 and any("listener=raw" in x for x in cut) and any("listener=ws" in x for x in cut), cut


def a_master_that_dies_during_a_stop_is_followed_by_one_that_drains():
    with world(20000) as host:
        stream = dial(host.raw)
        stream.sendall(b"one")
        assert stream.recv(10) == b"one"
        host.process.send_signal(signal.SIGTERM)
        for n in (1, 2):  # the second one, too
            np.until(f"master {n} stops", lambda n=n: open(host.log).read().count("event=stopping") == n)
            os.kill(master_of(host), signal.SIGKILL)
        np.until("master 3 stops", lambda: open(host.log).read().count("event=stopping") == 3)
        stream.sendall(b"two")
        assert stream.recv(10) == b"two", "the stream was cut"
        stream.close()
        assert host.process.wait(20) == 0
        assert "Address already in use" not in open(host.log).read()


def a_replacement_keeps_the_idle_until_the_deadline():
    with world(3000) as host:
        idle, forgotten = dial(host.port), dial(host.port)
        for s in (idle, forgotten):
            s.sendall(GET)
            assert hear_head(s).startswith(b"HTTP/1.1 200 ")
        old = worker_of(host)
        r = host.ctl("drain")
        assert r.returncode == 0, r.stderr
        np.until("another worker serves", lambda: any(w["pid"] != old and w["state"] == "ready"
                                                      for w in host.status()["workers"]))
        forgotten.settimeout(1.5)
        try:
            rest = forgotten.recv(4096)
            assert rest, "closed before the deadline"
            rest = forgotten.recv(4096)
            raise AssertionError("closed before the deadline")
        except TimeoutError:
            pass
        idle.sendall(GET)
        while True:
            head = hear_head(idle)
            if b"Connection: close\r\n" in head:
                break
        forgotten.settimeout(15)
        while forgotten.recv(4096):
            pass


if __name__ == "__main__":
    for test in (callers_in_the_queue_are_served_at_a_stop, a_stop_lets_the_idle_go_soon_and_streams_at_the_deadline,
                 a_replacement_keeps_the_idle_until_the_deadline,
                 a_master_that_dies_during_a_stop_is_followed_by_one_that_drains):
        began = time.monotonic()
        test()
        print(f"ok   {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
