#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A worker that dies whenever it is started, that hangs, or that dies holding claims: what its
siblings, callers and operators notice."""
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402
import survive  # noqa: E402

np.only_in_tiers("process")
survive.own_network()

# Stands where nodeproxy-worker is looked for; the real one only while there is no file.  ELF, because
# a script cannot be started from a descriptor that is closed on exec.
LAUNCHER = r"""
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "1") == 0 && access("%s", F_OK) == 0)
		_exit(3);
	execv("%s", argv);
	return 127;
}
"""


def launcher(tmp, broken):
    os.mkdir(f"{tmp}/libexec")
    for name in ("nodeproxy-syncd", "nodeproxy-admind"):
        os.symlink(os.path.join(np.BUILD, name), f"{tmp}/libexec/{name}")
    open(f"{tmp}/launcher.c", "w").write(LAUNCHER % (broken, os.path.join(np.BUILD, "nodeproxy-worker")))
    subprocess.run(["cc", "-o", f"{tmp}/libexec/nodeproxy-worker", f"{tmp}/launcher.c"], check=True)
    os.chmod(tmp, 0o755)
    return f"{tmp}/libexec"


def worker(host, n):
    return next((w for w in host.api("status")["workers"] if w["id"] == n), None)


def logged(host, what):
    return re.findall(rf"event={what}", open(host.log).read())


def a_crash_loop_costs_only_the_worker_that_is_in_it():
    with survive.Run(keep=8, new=50, ws=2, streams=2, think_us=5000) as run:
        host = run.host
        broken = os.path.join(host.dir, "broken")
        host.stop()
        host.config = "timeouts: {drain: 1000}\nrespawn: {min: 20, max: 160}"
        host.env = dict(NODEPROXY_LIBEXEC=launcher(host.dir, broken))
        host.start()
        run.callers.start(host.port, run.tcp, **run.load)
        np.until("all callers to be served", run._all_served)
        open(broken, "w").close()
        run.callers.take()
        os.kill(worker(host, 1)["pid"], signal.SIGKILL)
        np.until("the loop to be seen", lambda: worker(host, 1)["state"] == "crash-loop")
        run.callers.take()      # what the death itself cut is over
        waits = np.until("the longest wait", lambda: [
            int(w) for w in re.findall(r"event=child_died child=worker/1 .*next_in_ms=(\d+)", open(host.log).read())
        ] if "next_in_ms=160" in open(host.log).read() else None)
        assert waits == sorted(waits) and waits[0] == 0 and max(waits) == 160, waits
        findings = host.api("check")["findings"]
        assert any(f["severity"] == "error" and "worker 1 is in a crash loop" in f["what"] for f in findings), findings
        assert not host.status()["ready"]
        assert "crash-loop" in host.ctl("get", "workers").stdout
        numbers, events = run.callers.take()
        assert numbers["answers"] > 0 and not [e for e in events if e["ev"] not in ("late", "starved", "machine")], events
        os.unlink(broken)
        np.until("it to serve again", lambda: host.status()["ready"] and worker(host, 1)["state"] == "ready")
        numbers, events = run.callers.take()
        assert not [e for e in events if e["ev"] not in ("late", "starved", "machine")], events
        print(f"    waits in ms: {waits[:8]}")


def those_who_call_a_worker_that_hangs_are_served_by_a_sibling():
    with survive.Run(keep=0, new=0, ws=0, streams=0) as run:
        host = run.host
        victim = worker(host, 1)["pid"]
        os.kill(victim, signal.SIGSTOP)
        began, callers = time.monotonic(), []
        for _ in range(32):     # about half of them wait in its queue
            c = socket.create_connection(("127.0.0.1", host.port))
            c.settimeout(np.DEADLINE)
            c.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            callers.append(c)
        for c in callers:
            assert c.recv(4096).startswith(b"HTTP/1.1 200")
        waited = time.monotonic() - began
        text = open(host.log).read()
        assert "event=lent group=1 worker=0 home=1" in text and "event=hangs" not in text, "not before its end"
        np.until("check to find it", lambda: any("worker 1 hangs" in f["what"] for f in host.api("check")["findings"]))
        assert worker(host, 1)["state"] == "stalled"
        np.until("it to be counted", lambda: host.status()["stalls"] >= 1 and host.metric("nodeproxy_worker_stalls_total") >= 1)
        os.kill(victim, signal.SIGCONT)
        np.until("it to go on", lambda: logged(host, "goes_on") and worker(host, 1)["state"] == "ready")

        def accepted():         # its group is at home again
            with socket.create_connection(("127.0.0.1", host.port)) as c:
                c.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
                assert c.recv(4096).startswith(b"HTTP/1.1 200")
                return c.getsockname()[1] in survive.holders([victim], (host.port,))[victim]
        np.until("it to accept", accepted)
        assert worker(host, 1)["restarts"] == 0
        print(f"    32 callers of two workers, one of them stopped: all answered after {waited * 1000:.0f} ms")


def claims_of_a_dead_worker_are_returned_before_another_starts():
    with survive.Run(keep=0, new=0, ws=0, streams=0) as run:
        host = run.host
        assert host.ctl("log-level", "debug").returncode == 0
        streams = []
        while True:             # until both hold some
            streams.append(socket.create_connection(("127.0.0.1", run.tcp)))
            streams[-1].sendall(b"echo")
            assert streams[-1].recv(16) == b"echo"
            held = survive.holders(survive.of_kind(host, "worker"), (run.tcp,))
            if len(streams) >= 8 and min(map(len, held.values())) >= 2:
                break

        def in_flight():
            return sum(e["in_flight"] for e in host.api("endpoints")["endpoints"])
        np.until("a claim of each stream", lambda: in_flight() == len(streams))
        victim = worker(host, 0)["pid"]
        os.kill(victim, signal.SIGKILL)
        np.until("the replacement", lambda: run.followed(victim))
        assert in_flight() == len(streams) - len(held[victim]), (in_flight(), held)
        text = open(host.log).read()
        buried = text.index(f"event=buried worker=0 claims={len(held[victim])}\n")
        assert buried < text.index("event=child_started child=worker/0", text.index(f"pid={victim}") + 20)
        for s in streams:
            s.close()
        np.until("no claim to be left", lambda: in_flight() == 0)
        print(f"    {len(streams)} streams, {len(held[victim])} of them returned")


TESTS = [a_crash_loop_costs_only_the_worker_that_is_in_it, those_who_call_a_worker_that_hangs_are_served_by_a_sibling,
         claims_of_a_dead_worker_are_returned_before_another_starts]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
