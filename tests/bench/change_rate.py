#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Many changes of the configuration, under connections that must not notice.

  change_rate.py [--services 1000] [--endpoints 10] [--rate 200] [--secs 600] [--websockets 100]

One EndpointSlice after another is replaced (rename), each with an address that was never there before.
A change has arrived when every worker serves a revision with that address in it; the time counts from
the rename.  Nobody is asked: the revisions are read where the workers write them (the board), the
addresses where they are published (the memory of the views), once a millisecond.  Meanwhile WebSockets
are open through the proxy, their own Service among those that change; each says something every five
seconds and must hear it again.

Exit 1: a WebSocket was cut, or a change never arrived.  Times are goals: say the machine, and how busy
it was.
"""
import argparse
import base64
import collections
import hashlib
import json
import mmap
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

P99_MS, STEP_MS = 50, 1
ECHO_S, ECHO_LATE_S, LOST_S = 5, 10, 10


# ---- WebSockets: RFC 6455, as little of it as both ends here need ----

def frame(payload, mask=b""):
    if mask:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return bytes((0x81, len(payload) | (0x80 if mask else 0))) + mask + payload


def unframe(data):
    """A payload and what is behind its frame; None: not all of it is there."""
    if len(data) < 2:
        return None, data
    n, mask = data[1] & 0x7f, data[1] & 0x80
    at = 6 if mask else 2
    if len(data) < at + n:
        return None, data
    payload = data[at:at + n]
    if mask:
        payload = bytes(b ^ data[2 + i % 4] for i, b in enumerate(payload))
    return payload, data[at + n:]


def echo_server(port):
    """A process that says everything again; ends with its parent's kill."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    pid = os.fork()
    if pid:
        listener.close()
        return pid
    have = {}
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    conns = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                s = listener.accept()[0]
                conns[s.fileno()] = s
                have[s.fileno()] = (False, b"")
                poll.register(s, select.EPOLLIN)
                continue
            s, (open_, data) = conns[fd], have[fd]
            try:
                got = s.recv(65536)
            except OSError:
                got = b""
            if not got:
                poll.unregister(s)
                conns.pop(fd).close()
                continue
            data += got
            if not open_ and b"\r\n\r\n" in data:
                head, data = data.split(b"\r\n\r\n", 1)
                key = re.search(rb"(?im)^sec-websocket-key: *(\S+)", head)[1]
                accept = base64.b64encode(hashlib.sha1(
                    key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
                s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                open_ = True
            while open_:
                said, data = unframe(data)
                if said is None:
                    break
                s.sendall(frame(said))
            have[fd] = (open_, data)


class WebSocket:
    def __init__(self, port, number):
        self.s = socket.create_connection(("127.0.0.1", port), 10)
        self.s.sendall(b"GET /ws HTTP/1.1\r\nHost: ws\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
                       base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            got = self.s.recv(4096)
            if not got:
                raise RuntimeError("WebSocket refused: " + repr(self.data))
            self.data += got
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError("WebSocket refused: " + repr(head))
        self.s.setblocking(False)
        self.number, self.said, self.said_at, self.echoes, self.cut = number, None, 0.0, 0, None

    def say(self, now):
        if self.cut is None and self.said is not None and now - self.said_at > ECHO_LATE_S:
            self.cut = "no echo"
        if self.cut is None and self.said is None:
            self.said, self.said_at = b"%d/%d" % (self.number, self.echoes), now
            try:
                self.s.sendall(frame(self.said, os.urandom(4)))
            except OSError as e:
                self.cut = str(e)

    def hear(self):
        try:
            got = self.s.recv(4096)
        except BlockingIOError:
            return
        except OSError as e:
            got, self.cut = b"", str(e)
        if not got:
            self.cut = self.cut or "closed"
            return
        self.data += got
        payload, self.data = unframe(self.data)
        if payload is not None:
            if payload != self.said:
                self.cut = f"said {self.said}, heard {payload}"
            self.said, self.echoes = None, self.echoes + 1


# ---- what the workers serve, read without asking ----

class Watch:
    def __init__(self, np, layout, workers):
        self.l, self.workers = layout, workers
        self.master = next(p for p in np.pids() if p != np.proc.pid and
                           b"master" in open(f"/proc/{p}/cmdline", "rb").read())
        board = open(next(self.memory("board")), "rb")
        self.board = mmap.mmap(board.fileno(), 0, prot=mmap.PROT_READ)
        board.close()

    def memory(self, name):
        for fd in os.listdir(f"/proc/{self.master}/fd"):
            path = f"/proc/{self.master}/fd/{fd}"
            try:
                if os.readlink(path).startswith(f"/memfd:{name}"):
                    yield path
            except OSError:
                pass

    def revs(self):
        return [struct.unpack_from("<Q", self.board, self.l["worker"] + w * self.l["stride"] +
                                   self.l["rev"])[0] for w in range(self.workers)]

    def newest(self, kind):
        """Revision and bytes of the newest published view of this kind."""
        rev, best = 0, None
        for path in self.memory("view-" + kind):
            try:
                with open(path, "rb") as f:
                    head = f.read(self.l["head"])
                    if len(head) < self.l["head"] or struct.unpack_from("<I", head)[0] != self.l["magic"]:
                        continue
                    r = struct.unpack_from("<Q", head, self.l["view_rev"])[0]
                    if r > rev:
                        rev, best = r, head + f.read()
            except OSError:
                pass
        return rev, best


class Changes:
    """Those that were made and have not arrived."""

    def __init__(self):
        self.waiting = collections.deque()  # [renamed at, address, revision or None]
        self.took, self.lost = [], 0

    def made(self, at, ip):
        self.waiting.append([at, ip, None])

    def published(self, watch):
        rev, data = watch.newest("overlay")
        base, base_data = watch.newest("base")
        for c in self.waiting:
            if c[2] is None:
                if data is not None and c[1] in data:
                    c[2] = rev
                elif base_data is not None and c[1] in base_data:
                    c[2] = base

    def served(self, now, rev):
        left = collections.deque()
        for c in self.waiting:
            if c[2] is not None and c[2] <= rev:
                self.took.append((now - c[0]) * 1000)
            elif now - c[0] > LOST_S:
                self.lost += 1
            else:
                left.append(c)
        self.waiting = left


def addresses(service, n):
    return [f"10.{1 + service // 250}.{service % 250}.{1 + i}" for i in range(n)]


def at(sorted_, permille):
    return sorted_[min(len(sorted_) - 1, len(sorted_) * permille // 1000)]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--services", type=int, default=1000)
    a.add_argument("--endpoints", type=int, default=10)
    a.add_argument("--rate", type=float, default=200)
    a.add_argument("--secs", type=float, default=600)
    a.add_argument("--websockets", type=int, default=100)
    a.add_argument("--workers", type=int, default=2)
    o = a.parse_args()
    lab.own_namespace()
    tmp = tempfile.mkdtemp(prefix="np-load-")
    layout = json.loads(subprocess.run([lab.load_tool(tmp, "layout")], check=True, capture_output=True).stdout)
    os.unlink(tmp + "/layout")
    os.rmdir(tmp)
    origin = echo_server(9000)
    try:
        return run(o, layout)
    finally:
        os.kill(origin, signal.SIGKILL)
        os.waitpid(origin, 0)


def run(o, layout):
    # Service 0 carries the WebSockets: one endpoint that is there, and one that is never the same.
    files = {f"s{i:05}.yaml": lab.service(f"ns{i % 20}", f"s{i}", 80, 9000, addresses(i, o.endpoints))
             for i in range(1, o.services)}
    files["s00000.yaml"] = lab.service("ns0", "s0", 80, 9000, ["127.0.0.1"])
    with lab.Nodeproxy(files, [(8080, "ns0", "ns0/s0:80")], workers=str(o.workers)) as np:
        print(f"machine: {lab.machine()}; load {os.getloadavg()[0]:.2f} at the start", flush=True)
        sockets = [WebSocket(8080, i) for i in range(o.websockets)]
        by_fd = {w.s.fileno(): w for w in sockets}
        poll = select.epoll()
        for w in sockets:
            poll.register(w.s, select.EPOLLIN)
        watch, changes = Watch(np, layout, o.workers), Changes()
        pss, cpu = [np.memory()["sum"]], np.cpu_s()
        rev0 = max(watch.revs())
        t0 = time.monotonic()
        end, minute, known, k, say = t0 + o.secs, t0 + 60, rev0, 0, 0
        while True:
            now = time.monotonic()
            if now >= end and (not changes.waiting or now >= end + LOST_S):
                break
            revs = watch.revs()
            now = time.monotonic()
            if max(revs) > known:
                known = max(revs)
                changes.published(watch)
            changes.served(now, min(revs))
            for fd, _ in poll.poll(0):
                by_fd[fd].hear()
                if by_fd[fd].cut:
                    poll.unregister(fd)
            if sockets and now >= t0 + say * ECHO_S / len(sockets):
                sockets[say % len(sockets)].say(now)
                say += 1
            if now < end and now >= t0 + k / o.rate:
                i = k % o.services
                ip = bytes((10, 128 + (k >> 16) % 128, k >> 8 & 255, k & 255))
                text = ".".join(str(b) for b in ip)
                eps = ["127.0.0.1", text] if i == 0 else addresses(i, o.endpoints - 1) + [text]
                new, name = np.dir + "/new", f"{np.source}/s{i:05}.yaml"
                with open(new, "w") as f:
                    f.write(lab.service(f"ns{i % 20}", f"s{i}", 80, 9000, eps))
                now = time.monotonic()
                os.rename(new, name)
                changes.made(now, ip)
                k += 1
            if now >= minute and now < end:
                pss.append(np.memory()["sum"])
                minute += 60
            pause = min(now + 0.001, t0 + k / o.rate) - time.monotonic()
            if pause > 0:
                time.sleep(pause)
        took_s = time.monotonic() - t0
        cpu = (np.cpu_s() - cpu) / took_s * 100
        revs = max(watch.revs()) - rev0
        pss.append(np.memory()["sum"])
        steps = [w["counters"]["view_step_ns_gauge"] / 1e6 for w in np.get("workers")["workers"]]
        cut = [w for w in sockets if w.cut]
        changes.lost += len(changes.waiting)
        t = sorted(changes.took) or [float("nan")]
        print(f"{o.services} Services x {o.endpoints} endpoints, {o.workers} workers: {k} changes in "
              f"{took_s:.0f} s ({k / o.secs:.0f}/s), {revs} revisions, {cpu:.1f} % of a CPU, load "
              f"{os.getloadavg()[0]:.2f} at the end")
        print(f"rename -> all workers serve it: p50 {at(t, 500):.1f} ms, p99 {at(t, 990):.1f} ms, max "
              f"{t[-1]:.1f} ms (goal: p99 {P99_MS} ms: {'met' if at(t, 990) <= P99_MS else 'MISSED'}); "
              f"{changes.lost} never arrived")
        print(f"longest step of view work in a worker, CPU time: {max(steps):.3f} ms (goal {STEP_MS} ms: "
              f"{'met' if max(steps) <= STEP_MS else 'MISSED'})")
        print(f"WebSockets: {len(sockets)} open all the time, {sum(w.echoes for w in sockets)} echoes, "
              f"{len(cut)} cut {[w.cut for w in cut[:5]] if cut else ''}")
        print("PSS KiB of all processes, at the start, each minute, at the end: " +
              ", ".join(str(x) for x in pss))
        return 1 if cut or changes.lost else 0


if __name__ == "__main__":
    sys.exit(main())
