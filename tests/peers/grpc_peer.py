#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A gRPC server and a client of Python's grpcio, without generated code: messages are bytes.

    grpc_peer.py serve PORT       says "ready" when it listens; ends with its standard input
    grpc_peer.py call PORT        every case once; a line "ok NAME" or "FAILED NAME: why" for each

grpc_peer.go is the same in Go; grpc_test.py lets each speak with each through nodeproxy."""
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "test.Peer"
MIB = 1 << 20
BIG = [("grpc.max_receive_message_length", 16 * MIB), ("grpc.max_send_message_length", 16 * MIB)]
cancelled = threading.Semaphore(0)


# ---- the server

asked = {}          # calls of Flaky by key


def flaky(request, context):
    """KEY N [PUSHBACK]: the first N calls of a key fail; then how many there were."""
    key, n, *pushback = request.split()
    asked[key] = asked.get(key, 0) + 1
    if asked[key] <= int(n):
        if pushback:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback[0].decode()),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    return b"%d" % asked[key]

def echo(request, context):
    context.set_trailing_metadata((("x-trailer", "behind"),))
    return request


def fail(request, context):
    code = {c.value[0]: c for c in grpc.StatusCode}[int(request)]
    context.set_trailing_metadata((("x-trailer", "of a failure"),))
    context.abort(code, "as it was asked for")


def count(request, context):
    for i in range(int(request)):
        yield b"%d" % i


def add(requests, context):
    return b"%d" % sum(int(r) for r in requests)


def chat(requests, context):
    for r in requests:
        yield b"re: " + r


def hang(request, context):
    over = threading.Event()

    def ended():
        cancelled.release()
        over.set()
    # A call that ends while the message is sent is never resumed here.
    if not context.add_callback(ended):
        ended()
        return
    yield b"begun"
    over.wait(60)


def wait_cancelled(request, context):
    return b"yes" if cancelled.acquire(timeout=20) else b"no"


def serve(port):
    one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=BIG)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
        "Echo": one(echo), "Fail": one(fail), "Flaky": one(flaky), "Count": many(count), "Hang": many(hang), "WaitCancelled": one(wait_cancelled),
        "Add": grpc.stream_unary_rpc_method_handler(add), "Chat": grpc.stream_stream_rpc_method_handler(chat)}),))
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop(0)


# ---- the client

def status_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e
    raise AssertionError("no failure")


class Cases:
    def __init__(self, channel):
        def m(kind, name):
            return getattr(channel, kind)(f"/{SERVICE}/{name}")
        self.echo, self.fail = m("unary_unary", "Echo"), m("unary_unary", "Fail")
        self.count, self.hang = m("unary_stream", "Count"), m("unary_stream", "Hang")
        self.add, self.chat = m("stream_unary", "Add"), m("stream_stream", "Chat")
        self.wait = m("unary_unary", "WaitCancelled")
        self.flaky = m("unary_unary", "Flaky")

    def unary(self):
        got, call = self.echo.with_call(b"hello", metadata=(("x-here", "1"), ("x-data-bin", b"\0\1\xff")), timeout=20)
        assert got == b"hello"
        assert dict(call.trailing_metadata())["x-trailer"] == "behind"

    def empty(self):
        assert self.echo(b"", timeout=20) == b""

    def four_mib(self):
        big = bytes(range(256)) * (4 * MIB // 256)
        assert self.echo(big, timeout=40) == big

    def statuses(self):
        for code in range(1, 17):
            e = status_of(lambda c=code: self.fail(b"%d" % c, timeout=20))
            assert e.code().value[0] == code, (code, e)
            assert e.details() == "as it was asked for", e
            assert dict(e.trailing_metadata())["x-trailer"] == "of a failure"

    def server_streams(self):
        assert list(self.count(b"500", timeout=20)) == [b"%d" % i for i in range(500)]

    def client_streams(self):
        assert self.add((b"%d" % i for i in range(500)), timeout=20) == b"124750"

    def both_stream(self):
        heard = threading.Semaphore(1)

        def say():
            for i in range(100):            # each only when the one before was answered
                heard.acquire()
                yield b"%d" % i
        for i, r in enumerate(self.chat(say(), timeout=20)):
            assert r == b"re: %d" % i
            heard.release()

    def retries(self):
        """nodeproxy's: the policy of the Service wants two for UNAVAILABLE."""
        key = b"%d" % time.monotonic_ns()
        assert self.flaky(key + b"a 2", timeout=20) == b"3"
        assert status_of(lambda: self.flaky(key + b"b 9", timeout=20)).code() == grpc.StatusCode.UNAVAILABLE
        assert self.flaky(key + b"b 0", timeout=20) == b"4"

    def pushback(self):
        key, began = b"%d" % time.monotonic_ns(), time.monotonic()
        assert self.flaky(key + b"a 1 300", timeout=20) == b"2"
        assert time.monotonic() - began >= 0.3
        assert status_of(lambda: self.flaky(key + b"b 1 -1", timeout=20)).code() == grpc.StatusCode.UNAVAILABLE
        assert self.flaky(key + b"b 0", timeout=20) == b"2"

    def deadline(self):
        began = time.monotonic()
        e = status_of(lambda: list(self.hang(b"", timeout=0.5)))
        assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e
        assert time.monotonic() - began < 15
        assert self.wait(b"", timeout=30) == b"yes"

    def cancellation(self):
        call = self.hang(b"", timeout=60)
        assert next(call) == b"begun"
        call.cancel()
        assert self.wait(b"", timeout=30) == b"yes"

    def many_at_once(self):
        calls = [self.echo.future(b"%d" % i, timeout=30) for i in range(200)]
        assert [c.result() for c in calls] == [b"%d" % i for i in range(200)]


def call(port):
    failed = False
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=BIG) as channel:
        cases = Cases(channel)
        for name in ("unary", "empty", "four_mib", "statuses", "server_streams", "client_streams", "both_stream", "retries", "pushback", "deadline",
                     "cancellation", "many_at_once"):
            try:
                getattr(cases, name)()
                print("ok", name, flush=True)
            except (AssertionError, grpc.RpcError, StopIteration) as e:
                failed = True
                print(f"FAILED {name}: {e!r}"[:300], flush=True)
    return failed


sys.exit({"serve": serve, "call": call}[sys.argv[1]](int(sys.argv[2])))
