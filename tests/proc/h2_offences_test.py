#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What an HTTP/2 peer can do wrong, through the real processes: each row of h2_offences.def that a peer
can bring about, with its limit, its last words, its reason in the access log, its counter, and the tenant
that is charged.  Another tenant is served all the while, also over the same endpoint that attacks us."""
import contextlib
import os
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frames  # noqa: E402
import np  # noqa: E402
from frames import (CONTINUATION, DATA, END_HEADERS, GOAWAY, PING, PRIORITY, RST_STREAM, SETTINGS,  # noqa: E402
                    frame, get, headers, line, rst, settings, window_update)

np.only_in_tiers("process")
SOURCE = os.path.join(np.SOURCE, "nodeproxy/lib/net/h2_offences.def")
CODES = {c: i for i, c in enumerate(
    ("NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
     "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM").split())}
OFFENCES = {m[1]: (m[2], CODES[m[3]]) for m in
            re.finditer(r"^OFFENCE\((\w+), +(\w+), +H2_(\w+),", open(SOURCE).read(), re.M)}
# What no frames of a caller bring about, and where it is tested.
ELSEWHERE = {
    "NONE": "no offence",
    "CUT": "FRONT_CUT: vtc h2-h1-cancel and others",
    "SETTINGS_UNHEARD": "10 s: lib/net/test_h2_guard.c",
    "STALLED": "a_window_that_stays_closed(), lib/net/test_h2_guard.c",
    "SILENT": "callers are not asked; endpoints: pool/test_trunk.c",
    "MEMORY": "OVER_BUDGET: path/test_mux.c, lib/net/test_h2.c",
    "OVER_BUDGET": "OVER_BUDGET: lib/net/test_h2.c",
    "NO_ROOM": "lib/net/test_h2_guard.c",
    "HEAD_TOO_LARGE": "an answer: vtc h2-h1-local-answers",
}


class Endpoint:
    """HTTP/1.1: /big is a body that does not end, /hold is never answered, all else is "ok"."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError), c:
            while head := c.recv(65536):
                if b"/big" in head:
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                    while True:
                        c.sendall(bytes(65536))
                if b"/hold" not in head:
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def greeted(c):
    """Its SETTINGS have come and were taken."""
    while c.next()[0] != SETTINGS:
        pass


def many(n, one):
    def act(c):
        c.send(b"".join(one(i) for i in range(n)))
    return act


def bomb(c):
    entry = line("x", "v" * 3900)
    block = get("/", kept=False) + entry + b"\xbe" * 60
    c.send(headers(1, block))


def slow_head(c):
    greeted(c)
    c.send(headers(1, get("/")[:5], whole=False))


def closed_stream(c):
    c.send(headers(1, get("/")))
    c.answered(1)
    c.send(headers(1, get("/")))


def dribble(c):
    c.send(headers(1, get("/big")))
    for _ in range(2000):
        c.send(window_update(1, 1))
        while (f := c.next()) and f[0] not in (DATA, GOAWAY):
            pass
        if f is None or f[0] == GOAWAY:
            return f
    return None


def too_many(c):
    greeted(c)
    c.send(b"".join(headers(2 * i + 1, get("/hold", kept=False)) for i in range(102)))


def deaf(c):
    c.send(window_update(0, 0x7fff0000 - 65535) + headers(1, get("/big")))


def twice(i):
    return headers(2 * i + 1, get("/", (":path", "/"), kept=False))


# offence: (what to do, entries of SETTINGS)
ATTACKS = {
    "PREFACE": (None, ()),      # it begins with another frame
    "PROTOCOL": (many(1, lambda i: frame(CONTINUATION, END_HEADERS, 1)), ()),
    "STREAM_CLOSED": (closed_stream, ()),
    "FLOW_CONTROL": (many(1, lambda i: window_update(0, 0x7fffffff)), ()),
    "FRAME_SIZE": (many(1, lambda i: frame(PING, 0, 0, b"12345")), ()),
    "COMPRESSION": (many(1, lambda i: headers(1, b"\xff\xff\x7f")), ()),
    "HEADER_BOMB": (bomb, ()),
    "CONTINUATIONS": (many(1, lambda i: headers(1, get("/"), whole=False) + frame(CONTINUATION, 0, 1, b"\x10") * 9), ()),
    "HEAD_SLOW": (slow_head, ()),
    "EMPTY_FRAMES": (many(1, lambda i: headers(1, get("/hold"), end=False) + frame(DATA, 0, 1) * 11), ()),
    "PINGS": (many(200, lambda i: frame(PING, 0, 0, b"12345678")), ()),
    "SETTINGS": (many(200, lambda i: settings((3, 100))), ()),
    "SETTINGS_LONG": (many(1, lambda i: settings(*[(3, 100)] * 17)), ()),
    "PRIORITIES": (many(200, lambda i: frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")), ()),
    "WINDOW_UPDATES": (many(20, lambda i: window_update(0, 1)), ()),
    "DRIBBLE": (dribble, ((frames.INITIAL_WINDOW_SIZE, 0),)),
    "RESETS": (many(1100, lambda i: headers(2 * i + 1, get("/hold", kept=False)) + rst(2 * i + 1)), ()),
    "RESETS_CAUSED": (many(200, twice), ()),
    "STREAMS": (too_many, ()),
    "GLITCHES": (many(1200, lambda i: frame(0x42, 0, 0, b"x")), ()),
    "DEAF": (deaf, ((frames.INITIAL_WINDOW_SIZE, 0x7fffffff),)),
    "BAD_MESSAGE": (many(1, twice), ()),
}

def reasons(host, tenant):
    return {k: v for t in host.api("tenants")["tenants"] if t["name"] == tenant for k, v in t["reasons"].items()
            if k.startswith("H2_")}


def last_words(c, stream):
    """The code of GOAWAY, or of a reset of that stream; None: the end came without."""
    while f := c.next():
        if f[0] == GOAWAY and f[3][4:8] != bytes(4):
            return "CONN", int.from_bytes(f[3][4:8], "big")
        if f[0] == RST_STREAM and stream:
            return "STREAM", int.from_bytes(f[3], "big")
    return None


def fine(c, stream):
    """The other tenant is served, on the connection it has had all the time."""
    c.send(headers(stream, get("/", kept=False)))
    status, n, code = c.answered(stream)[stream]
    assert (status, n, code) == (200, 2, None), (status, n, code)


def attacked(host, port, name):
    act, entries = ATTACKS[name]
    scope, code = OFFENCES[name]
    c = frames.Caller(port, *entries, first=None if act else frame(PING, 0, 0, b"12345678"))
    if act:
        act(c)
    if name != "DEAF":          # who hears nothing but what was sent before
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            heard = last_words(c, scope == "STREAM")
            assert name == "DRIBBLE" or heard == (scope, code), (name, heard)
    return c


def a_window_that_stays_closed(host, port):
    """Ends the stream alone: by the time that the request has, or by that of the session."""
    c = frames.Caller(port, (frames.INITIAL_WINDOW_SIZE, 0))
    c.send(headers(1, get("/big", kept=False)))
    assert c.answered(1)[1][2] is not None
    fine_after = headers(3, get("/hold", kept=False)) + rst(3) + frame(PING, 0, 0, b"still up")
    c.send(fine_after)
    while (f := c.next())[0] != PING or not f[1] & frames.ACK:
        pass
    c.close()
    np.until("that in the log", lambda: re.search(r"tenant=bad .* reason=(FRONT_SLOW|H2_STALLED) flag=SI ",
                                                  open(host.access_log).read()))


def each_offence_of_a_caller_has_its_words_its_reason_its_counter_and_its_tenant():
    missing = set(OFFENCES) - set(ATTACKS) - set(ELSEWHERE)
    assert not missing, f"offences without a test: {missing}"
    bad, good = np.free_port(), np.free_port()
    end = Endpoint()
    listeners = [dict(name=ns, bind=f"127.0.0.1:{port}", namespace=ns, route="service", service=f"{ns}/web:80")
                 for ns, port in (("bad", bad), ("good", good))]
    with np.Host(workers=1, listeners=listeners, config="timeouts: {head: 1000, stall: 1000}") as host:
        for ns in ("bad", "good"):
            host.service(f"{ns}/web", 80, [end.port])
        host.start()
        other, stream = frames.Caller(good), 1
        kept = []
        for name in ATTACKS:
            kept.append(attacked(host, bad, name))
            fine(other, stream)
            stream += 2
        np.until("all of them to be counted", lambda: set(reasons(host, "bad")) >= {f"H2_{n}" for n in ATTACKS})
        a_window_that_stays_closed(host, bad)
        for name in ATTACKS:
            assert host.metric("nodeproxy_reasons_total", reason=f"H2_{name}") > 0, name
        assert reasons(host, "good") == {}, reasons(host, "good")
        for name, flag in (("DRIBBLE", "DPE"), ("STREAMS", "DPE")):
            host.logged(rf"tenant=bad .* reason=H2_{name} flag={flag} ")


# Huffman's code makes these no shorter, so they come as they are.
ATTACK, HOLD = "/XXXX", "/ZZZZ"


class BadEndpoint:
    """HTTP/2: ATTACK begins the attack on the connection that it came on; HOLD is answered when told to, all
    else at once."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port, self.attack, self.go, self.held = self.listener.getsockname()[1], None, threading.Event(), 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, s):
        c = frames.Callee(s, (frames.INITIAL_WINDOW_SIZE, 0))
        with contextlib.suppress(OSError), s:
            while f := c.next():
                kind, _, stream, block = f
                if kind != frames.HEADERS:
                    continue
                if ATTACK.encode() in block:
                    self.attack(c, stream)
                    continue
                if HOLD.encode() in block:
                    self.held += 1
                    assert self.go.wait(np.DEADLINE)
                c.send(headers(stream, b"\x88"))


def on_stream(make):
    return lambda c, stream: c.send(make(stream))


def small_windows(c, stream):
    for _ in range(2000):
        c.send(window_update(stream, 1))
        while (f := c.next()) and f[0] not in (DATA, GOAWAY):
            pass
        if f is None or f[0] == GOAWAY:
            return


OK = b"\x88"
# name: (what an endpoint does, the reason of the request that gets it)
BACK_ATTACKS = {
    "pings": (on_stream(lambda s: frame(PING, 0, 0, b"12345678") * 300), "BACK_BAD_H2"),
    "settings": (on_stream(lambda s: settings((3, 100)) * 200), "BACK_BAD_H2"),
    "window updates": (on_stream(lambda s: window_update(0, 1) * 60), "BACK_BAD_H2"),
    "empty frames": (on_stream(lambda s: headers(s, OK, end=False) + frame(DATA, 0, s) * 11), "BACK_BAD_H2"),
    "continuations": (on_stream(lambda s: headers(s, OK, whole=False) + frame(CONTINUATION, 0, s, b"\x88") * 9),
                      "BACK_BAD_H2"),
    "header bomb": (on_stream(lambda s: headers(s, OK + line("x", "v" * 3900) + b"\xbe" * 60)), "BACK_HEAD_TOO_LARGE"),
    "frame size": (on_stream(lambda s: frame(PING, 0, 0, b"12345")), "BACK_BAD_H2"),
    "pushes": (on_stream(lambda s: frame(frames.PUSH_PROMISE, END_HEADERS, s, b"\0\0\0\2" + get("/"))), "BACK_BAD_H2"),
    "useless frames": (on_stream(lambda s: frame(0x42, 0, 0, b"x") * 1200), "BACK_BAD_H2"),
    "reset": (on_stream(rst), "BACK_RESET"),
    "a bad message": (on_stream(lambda s: headers(s, b"\x88\x88")), "BACK_BAD_RESPONSE"),
    "windows of a byte": (small_windows, "BACK_BAD_H2"),
    # The last: how long is waited for it is how long this machine has for any of the others.
    "a closed window": (on_stream(lambda s: b""), "BACK_STALLED"),
}


def patience(host, ns, stall):
    host.write(f"policy-{ns}.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\n"
               f"metadata: {{name: p, namespace: {ns}}}\nspec: {{targetRefs: [{{group: '', kind: Service, name: web}}], "
               f"timeouts: {{stall: {stall}, response: 10m}}}}\n")


def an_endpoint_that_attacks_hurts_the_tenant_alone_whose_request_it_got():
    bad, good = np.free_port(), np.free_port()
    end = BadEndpoint()
    listeners = [dict(name=ns, bind=f"127.0.0.1:{port}", namespace=ns, route="service", service=f"{ns}/web:80")
                 for ns, port in (("bad", bad), ("good", good))]
    with np.Host(workers=1, listeners=listeners) as host:
        for ns in ("bad", "good"):
            host.service(f"{ns}/web", 80, [end.port], app="kubernetes.io/h2c")
            patience(host, ns, "10m")
        host.start()
        other = frames.Caller(good)
        other.send(headers(1, get(HOLD, kept=False)))
        np.until("the endpoint to have a request of the other tenant", lambda: end.held)
        for i, (name, (end.attack, reason)) in enumerate(BACK_ATTACKS.items()):
            if reason == "BACK_STALLED":
                patience(host, "bad", "1s")
                np.until("the worker to have it", lambda: "stall=1000 " in host.ctl("describe", "service", "bad/web").stdout and
                         {w["rev"] for w in host.status()["workers"]} == {host.status()["view_rev"]})
            c = frames.Caller(bad)
            # A body of which the endpoint takes nothing, so that the request waits for it.
            c.send(headers(1, get(ATTACK, method="POST", kept=False), end=False) + frame(DATA, 0, 1, bytes(4000)))
            status, _, code = c.answered(1)[1]
            lines = np.until(f"{name} in the log", lambda: [x for x in open(host.access_log) if "tenant=bad" in x][i:])  # noqa: B023
            assert len(lines) == 1 and f"reason={reason} " in lines[0], (name, reason, lines, status, code)
            c.close()
        end.go.set()
        assert other.answered(1)[1][2] is None
        log = np.until("that in the log", lambda: [x for x in open(host.access_log) if "tenant=good" in x])
        assert len(log) == 1 and "reason=DONE " in log[0], log


if __name__ == "__main__":
    for f in [each_offence_of_a_caller_has_its_words_its_reason_its_counter_and_its_tenant,
              an_endpoint_that_attacks_hurts_the_tenant_alone_whose_request_it_got]:
        print(f.__name__)
        f()
