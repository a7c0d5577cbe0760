#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Pods come and go, many at once, each with a connection, and nothing is left of them: no descriptor, no
rule, no socket, no process, no memory.  500 times (sanitized, where it takes long, 50 times); with
NP_SOAK=1 10,000 times."""
import collections
import contextlib
import os
import re
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402
import survive  # noqa: E402

SOAK = os.environ.get("NP_SOAK", "") not in ("", "0")
AT_ONCE = 16
WARM = 32
SANITIZED = b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read()
CYCLES = 10000 if SOAK else 50 if SANITIZED else 500
# Sockets for the server's pod that two workers keep ready after a burst; they are fewer some 10 s later.
BANKS = 0 if SOAK else 128
GROWS_KIB = 512         # of a role; where a sanitizer keeps what was freed nothing can be said


def memory_kib(host):
    """{role: Pss of all its processes, but for files: others may run, or end, that share those}"""
    out = {}
    for pid, comm in host.pids().items():
        for role, name in survive.COMM.items():
            if comm == name:
                rollup = open(f"/proc/{pid}/smaps_rollup").read()
                out[role] = out.get(role, 0) + sum(int(n) for n in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", rollup, re.M))
    return out


def descriptors(host):
    """{role: open descriptors}, without the pages of the list of pods (memory files): one stays when a slot of its was
    used once, and how many are depends on how many pods leave at the same time."""
    pages = collections.Counter()
    for pid, comm in host.pids().items():
        for role, name in survive.COMM.items():
            with contextlib.suppress(OSError):
                if comm == name:
                    pages[role] += sum(os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:nodeproxy-pods")
                                       for fd in os.listdir(f"/proc/{pid}/fd"))
    return {role: n - pages[role] for role, n in survive.descriptors(host).items()}


def sockets_inside(pod):
    def read():
        return sum(len(open(f"/proc/thread-self/net/{kind}").readlines()) - 1 for kind in ("udp", "udp6")) + sum(
            line.split()[3] == "0A" for kind in ("tcp", "tcp6") for line in open(f"/proc/thread-self/net/{kind}"))
    return lab.inside(pod.ns, read)


def cycles(pods, server, n):
    """n of them, by all these at once; each waits for what it has begun."""
    left, lock, failed = [n], threading.Lock(), []

    def run(pod):
        while not failed:
            with lock:
                if left[0] == 0:
                    return
                left[0] -= 1
            try:
                pod.order("add")
                assert pod.ask(server.ip4, 8080, timeout=np.DEADLINE) == server.name.encode() + b" hello\n"
                pod.order("remove")
            except BaseException as e:  # pylint: disable=broad-except
                failed.append(f"{pod.name}: {e!r} {traceback.format_exc()}")
    threads = [threading.Thread(target=run, args=(p,)) for p in pods]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed


def nothing_is_left(host, pods, before):
    np.until("no rules in them", lambda: not any(p.rules() for p in pods))
    np.until("no sockets in them", lambda: not any(sockets_inside(p) for p in pods))
    np.until("errands to be over", lambda: "nodeproxy-erran" not in host.pids().values())
    now = {}

    def same():
        now.update(processes=sorted(host.pids().values()), descriptors=descriptors(host))
        return now["processes"] == before["processes"] and all(
            n <= before["descriptors"][role] + (BANKS if role == "worker" else 0) for role, n in now["descriptors"].items())
    try:
        np.until("what was there before", same)
    except AssertionError as e:
        raise AssertionError(f"{e}: {before}, now {now}") from None


def pods_come_and_go_and_nothing_is_left():
    with lab.Lab(pods=AT_ONCE + 1, config="timeouts: {drain: 2000, connect: 30000}") as mesh:
        host, pods, server = mesh.hosts[0].np, mesh.pods[:-1], mesh.pods[-1]
        mesh.start()
        server.add()
        with server.serve(8080):
            cycles(pods, server, WARM)
            np.until("no rules in them", lambda: not any(p.rules() for p in pods))
            np.until("errands to be over", lambda: "nodeproxy-erran" not in host.pids().values())
            before = dict(processes=sorted(host.pids().values()), descriptors=descriptors(host))
            memory, began = memory_kib(host), time.monotonic()
            cycles(pods, server, CYCLES)
            took = time.monotonic() - began
            nothing_is_left(host, pods, before)
        after = memory_kib(host)
        grown = {role: after[role] - memory[role] for role in memory}
        assert [p["name"] for p in host.api("pods")["pods"]] == [server.name]
        assert server.rules()
        print(f"{CYCLES} cycles, {CYCLES / took:.0f} per second; KiB more: {grown}")
        assert SANITIZED or all(n <= GROWS_KIB for n in grown.values()), grown


TESTS = [pods_come_and_go_and_nothing_is_left]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
